/*
 * test_history.c -- what several threads do to a few keys at once must be what one entry could have
 * answered, one operation after the other.
 *
 * Goal: a cache may lose an entry at any moment, but it never returns a stale, mixed or wrong one, and
 * where nothing can be lost, nothing is: one add of many wins, no incr and no append is lost.
 *
 * Method: random histories of all operations, recorded and checked afterwards (tests/lib/history.h),
 * and races of one kind whose end is known.  The seed is printed with what went wrong; LARDER_SEED
 * begins with that history, HISTORY_SECONDS says how long new ones are made.  Threads do not run the
 * same twice: a seed repeats what is tried, not always what happens.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../lib/history.h"
#include "../lib/store_kit.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"

#define SECONDS_DEFAULT 6
#define SECONDS_SANITIZED 4
#define SECONDS_LONG 600

static uint64_t seed;

static uint64_t
seconds_to_run(void)
{
    const char *given = getenv("HISTORY_SECONDS");
    if (given)
        return strtoull(given, NULL, 10);
    if (kit_long())
        return SECONDS_LONG;
    return KIT_SANITIZED ? SECONDS_SANITIZED : SECONDS_DEFAULT;
}

/* ---- random histories --------------------------------------------------------------------------- */

struct tally {
    size_t histories, operations, gave_up, configs_most;
};

static void
check_history(const struct history_plan *p, const struct history *h, struct tally *tally)
{
    static struct history_verdict v;
    char text[512];
    history_plan_print(p, text, sizeof text);
    for (unsigned key = 0; key < p->keys; key++) {
        v = (struct history_verdict){.configs_most = 0};
        if (!history_rules(h, key, &v) || !history_linear(h, key, &v))
            fail_msg("%s\n%s", text, v.text);
        tally->gave_up += v.gave_up;
        if (v.configs_most > tally->configs_most)
            tally->configs_most = v.configs_most;
    }
}

static void
run_one(uint64_t its_seed, struct tally *tally)
{
    struct history_plan p = history_plan_random(its_seed);
    struct history h;
    char text[512];
    history_plan_print(&p, text, sizeof text);
    const char *wrong = history_run(&p, &h);
    tally->histories++;
    tally->operations += h.count;
    if (wrong)
        fail_msg("%s\n%s", text, wrong);
    check_history(&p, &h, tally);
    history_fini(&h);
}

static void
histories_are_linear(void **state)
{
    (void)state;
    struct tally tally = {0};
    uint64_t end = clock_ns() + seconds_to_run() * 1000000000u;
    for (uint64_t i = 0; i == 0 || clock_ns() < end; i++)
        run_one(seed + i, &tally);
    print_message("%zu histories, %zu operations, %zu keys given up, at most %zu configurations\n",
                  tally.histories, tally.operations, tally.gave_up, tally.configs_most);
    assert_true(tally.gave_up * 10 <= tally.histories);
}

int
main(void)
{
    seed = kit_seed("test_history");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_are_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
