/*
 * test_history.c -- what several threads do to a few keys at once must be what one entry could have
 * answered, one operation after the other.
 *
 * Goal: a cache may lose an entry at any moment, but it never returns a stale, mixed or wrong one,
 * and where nothing can be lost, nothing is: one add of many wins, no incr and no append is lost.
 *
 * Method: random histories of all operations, recorded and checked afterwards
 * (tests/lib/history.h), and races of one kind whose end is known.  The seed is printed with what
 * went wrong; LARDER_SEED begins with that history, HISTORY_SECONDS says how long new ones are
 * made; HISTORY_STRICT_CAS=1 asks that CAS numbers grow over all lives of a key, which the store
 * does not promise.  Threads do not run the same twice: a seed repeats what is tried, not always
 * what happens.
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

/* ---- random histories ------------------------------------------------------------------------ */

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
        if (getenv("HISTORY_STRICT_CAS") && !history_cas_grows(h, key, &v))
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
    /* One may always be too hard: where the machine is busy there are few histories. */
    assert_true(tally.gave_up <= 1 + tally.histories / 10);
}

/* ---- races whose end is known ---------------------------------------------------------------- */

#define RACERS 8u
#define BATCH 64u
#define ROUNDS (KIT_SANITIZED ? 10u : 60u)
#define COUNTS (KIT_SANITIZED ? 1000u : 20000u)
#define TOKENS (KIT_SANITIZED ? 60u : 300u)
#define TOKEN_BYTES 12u                /* "p:3:000042;" and a blank */
#define COUNTERS 3u

struct race;

struct racer {
    struct race *race;
    unsigned number;
    pthread_t thread;
    struct store_thread *t;
    uint64_t random;
    unsigned won[BATCH];               /* races won in this round */
    uint64_t sum[COUNTERS];
};

struct race {
    struct store *s;
    pthread_barrier_t gate;
    void (*run)(struct racer *r, unsigned round);
    void (*prepare)(struct race *race, unsigned round);  /* by racer 0, the others wait */
    unsigned rounds;
    uint64_t expected[BATCH];          /* CAS numbers */
    struct racer racers[RACERS];
};

static void *
race_thread(void *arg)
{
    struct racer *r = arg;
    r->t = store_join(r->race->s);
    CHECK(r->t);
    for (unsigned round = 0; round < r->race->rounds; round++) {
        if (r->number == 0 && r->race->prepare)
            r->race->prepare(r->race, round);
        pthread_barrier_wait(&r->race->gate);
        store_enter(r->t);
        r->race->run(r, round);
        store_leave(r->t);
        pthread_barrier_wait(&r->race->gate);
    }
    store_part(r->t);
    return NULL;
}

/* Nothing can be lost: there is room for all that is ever written; nothing flushes or expires. */
static void
race_start(struct race *race)
{
    struct store_config c = {.memory_bytes = 64 * MIB, .value_bytes_max = MIB,
                             .threads_max = RACERS + 1, .cas_enabled = true, .evict = true};
    assert_int_equal(store_create(&c, &race->s), 0);
    pthread_barrier_init(&race->gate, NULL, RACERS);
    for (unsigned i = 0; i < RACERS; i++) {
        struct racer *r = &race->racers[i];
        *r = (struct racer){.race = race, .number = i, .random = seed * 2 + i * 77 + 1};
        assert_int_equal(pthread_create(&r->thread, NULL, race_thread, r), 0);
    }
}

static void
race_join(struct race *race)
{
    for (unsigned i = 0; i < RACERS; i++)
        pthread_join(race->racers[i].thread, NULL);
    pthread_barrier_destroy(&race->gate);
    const char *wrong = store_verify(race->s);
    if (wrong)
        fail_msg("%s", wrong);
    struct store_stats n;
    store_stats_read(race->s, &n);
    assert_int_equal(n.items_evicted, 0);
}

/* One of all racers has won each race of a round, in all rounds: counted up in won[]. */
static void
assert_one_winner_each(const struct race *race)
{
    for (unsigned i = 0; i < BATCH; i++) {
        unsigned sum = 0;
        for (unsigned k = 0; k < RACERS; k++)
            sum += race->racers[k].won[i];
        if (sum != race->rounds)
            fail_msg("%u rounds for key %u, %u winners (LARDER_SEED=%llu)", race->rounds, i, sum,
                     (unsigned long long)seed);
    }
}

static size_t
race_len(unsigned key)
{
    static const size_t lens[] = {20, 100, 700, 3000};
    return lens[key % 4];
}

static enum store_outcome
race_put(struct race *race, struct store_thread *t, enum store_mode mode, unsigned key,
         uint64_t expected, uint64_t *out_cas)
{
    char text[KIT_KEY_CHARS], value[3000] = "";
    struct store_put put = {.mode = mode, .key = kit_key(race->s, text, key),
                            .value = {value, race_len(key)}, .cas_expected = expected};
    return kit_put(race->s, t, &put, out_cas, NULL);
}

static void
add_all(struct racer *r, unsigned round)
{
    for (unsigned i = 0; i < BATCH; i++)
        if (race_put(r->race, r->t, STORE_ADD, round * BATCH + i, 0, NULL) == STORE_OK)
            r->won[i]++;
}

static void
one_of_many_adds_wins(void **state)
{
    (void)state;
    static struct race race;
    race = (struct race){.run = add_all, .rounds = ROUNDS};
    race_start(&race);
    race_join(&race);
    assert_one_winner_each(&race);
    store_destroy(race.s);
}

static void
set_all(struct race *race, unsigned round)
{
    (void)round;
    store_enter(race->racers[0].t);
    for (unsigned i = 0; i < BATCH; i++)
        CHECK(race_put(race, race->racers[0].t, STORE_SET, i, 0, &race->expected[i]) == STORE_OK);
    store_leave(race->racers[0].t);
}

static void
cas_all(struct racer *r, unsigned round)
{
    (void)round;
    for (unsigned i = 0; i < BATCH; i++)
        if (race_put(r->race, r->t, STORE_CAS, i, r->race->expected[i], NULL) == STORE_OK)
            r->won[i]++;
}

static void
one_of_many_cas_wins(void **state)
{
    (void)state;
    static struct race race;
    race = (struct race){.run = cas_all, .prepare = set_all, .rounds = ROUNDS};
    race_start(&race);
    race_join(&race);
    assert_one_winner_each(&race);
    store_destroy(race.s);
}

/* ---- own keys -------------------------------------------------------------------------------- */

static bool
own_is(struct racer *r, struct store_key key, uint64_t stamp)
{
    struct store_view v;
    uint64_t seen = 0;
    if (kit_get(r->t, key, NULL, &v) == STORE_OK && v.value)
        memcpy(&seen, v.value, sizeof seen);
    return seen == stamp;
}

/* Stored, overwritten, deleted, looked at after each: how often this goes by is what counts. */
static void
own_keys(struct racer *r, unsigned round)
{
    (void)round;
    for (unsigned i = 0; i < COUNTS * 4; i++) {
        char text[KIT_KEY_CHARS], value[600] = "";
        struct store_key key = kit_key(r->race->s, text, r->number * 8 + i % 8);
        uint64_t stamps[2] = {(uint64_t)i * 2 + 1, (uint64_t)i * 2 + 2};
        size_t lens[2] = {8 + i % 100, i % 16 ? 24 : 600};
        for (unsigned k = 0; k < 2; k++) {
            memcpy(value, &stamps[k], sizeof stamps[k]);
            struct store_put put = {.mode = STORE_SET, .key = key, .value = {value, lens[k]}};
            CHECK(kit_put(r->race->s, r->t, &put, NULL, NULL) == STORE_OK);
            r->sum[0] += !own_is(r, key, stamps[k]);
        }
        r->sum[1] += store_delete(r->t, key) != STORE_OK;
        r->sum[2] += !own_is(r, key, 0);
        if (i % 64 == 0)
            kit_give_time(r->t);
    }
}

static void
a_thread_sees_its_own_changes(void **state)
{
    (void)state;
    static struct race race;
    race = (struct race){.run = own_keys, .rounds = 1};
    race_start(&race);
    race_join(&race);
    for (unsigned k = 0; k < RACERS; k++) {
        assert_int_equal(race.racers[k].sum[0], 0);    /* old values seen */
        assert_int_equal(race.racers[k].sum[1], 0);    /* deletes that missed */
        assert_int_equal(race.racers[k].sum[2], 0);    /* deleted values seen */
    }
    store_destroy(race.s);
}

/* ---- counting -------------------------------------------------------------------------------- */

/* One grows digit by digit, one has room, one lies in an item that is never changed in place. */
static void
set_counters(struct race *race, unsigned round)
{
    static const size_t lens[COUNTERS] = {1, 24, 700};
    (void)round;
    char text[KIT_KEY_CHARS], value[700];
    struct store_thread *t = race->racers[0].t;
    memset(value, ' ', sizeof value);
    value[0] = '0';
    store_enter(t);
    for (unsigned i = 0; i < COUNTERS; i++) {
        struct store_put put = {.mode = STORE_SET, .key = kit_key(race->s, text, i),
                                .value = {value, lens[i]}};
        CHECK(kit_put(race->s, t, &put, NULL, NULL) == STORE_OK);
    }
    store_leave(t);
}

static void
count_all(struct racer *r, unsigned round)
{
    (void)round;
    for (unsigned i = 0; i < COUNTS; i++) {
        char text[KIT_KEY_CHARS];
        uint64_t x = kit_random(&r->random), delta = x >> 40, number;
        unsigned c = (unsigned)(x & 0xffff) % COUNTERS;
        CHECK(kit_arith(r->t, kit_key(r->race->s, text, c), false, delta, &number, NULL) ==
              STORE_OK);
        r->sum[c] += delta;
        if (i % 64 == 0)
            kit_give_time(r->t);
    }
}

static void
no_incr_is_lost(void **state)
{
    (void)state;
    static struct race race;
    race = (struct race){.run = count_all, .prepare = set_counters, .rounds = 1};
    race_start(&race);
    race_join(&race);
    struct store_thread *t = store_join(race.s);
    store_enter(t);
    for (unsigned i = 0; i < COUNTERS; i++) {
        char text[KIT_KEY_CHARS];
        uint64_t sum = 0, number;
        for (unsigned k = 0; k < RACERS; k++)
            sum += race.racers[k].sum[i];
        assert_int_equal(kit_arith(t, kit_key(race.s, text, i), false, 0, &number, NULL), STORE_OK);
        assert_true(number == sum);
    }
    store_leave(t);
    store_part(t);
    store_destroy(race.s);
}

/* ---- joining --------------------------------------------------------------------------------- */

static void
set_empty(struct race *race, unsigned round)
{
    char text[KIT_KEY_CHARS];
    struct store_put put = {.mode = STORE_SET, .key = kit_key(race->s, text, round),
                            .value = {"", 0}};
    store_enter(race->racers[0].t);
    CHECK(kit_put(race->s, race->racers[0].t, &put, NULL, NULL) == STORE_OK);
    store_leave(race->racers[0].t);
}

static void
write_token(char token[TOKEN_BYTES + 1], bool append, unsigned racer, unsigned number)
{
    snprintf(token, TOKEN_BYTES + 1, "%c:%u:%06u; ", append ? 'a' : 'p', racer % 10,
             number % 1000000);
}

static void
join_all(struct racer *r, unsigned round)
{
    for (unsigned i = 0; i < TOKENS; i++) {
        char text[KIT_KEY_CHARS], token[TOKEN_BYTES + 1];
        bool append = i % 2;
        write_token(token, append, r->number, i);
        struct store_put put = {.mode = append ? STORE_APPEND : STORE_PREPEND,
                                .key = kit_key(r->race->s, text, round),
                                .value = {token, TOKEN_BYTES}};
        CHECK(kit_put(r->race->s, r->t, &put, NULL, NULL) == STORE_OK);
        if (i % 16 == 0)
            kit_give_time(r->t);
    }
}

/* All tokens once; those of a racer in its order behind the middle, the other way before it. */
static void
assert_all_tokens(const char *value, size_t len)
{
    unsigned next[RACERS], first_left[RACERS];
    for (unsigned k = 0; k < RACERS; k++) {
        first_left[k] = TOKENS - 2;
        next[k] = 1;
    }
    assert_int_equal(len, (size_t)RACERS * TOKENS * TOKEN_BYTES);
    for (size_t at = 0; at < len; at += TOKEN_BYTES) {
        char token[TOKEN_BYTES + 1];
        unsigned k = (unsigned)(value[at + 2] - '0');
        bool append = at >= len / 2;
        assert_true(k < RACERS);
        write_token(token, append, k, append ? next[k] : first_left[k]);
        assert_memory_equal(value + at, token, TOKEN_BYTES);
        next[k] += append ? 2 : 0;
        first_left[k] -= append ? 0 : 2;
    }
}

/* From nothing to a value in pieces. */
static void
no_append_is_lost(void **state)
{
    (void)state;
    static struct race race;
    race = (struct race){.run = join_all, .prepare = set_empty, .rounds = 1};
    race_start(&race);
    race_join(&race);
    struct store_thread *t = store_join(race.s);
    char *value = malloc(MIB);
    assert_non_null(value);
    store_enter(t);
    for (unsigned round = 0; round < race.rounds; round++) {
        char text[KIT_KEY_CHARS];
        struct store_view v;
        assert_int_equal(kit_get(t, kit_key(race.s, text, round), NULL, &v), STORE_OK);
        assert_true(v.value_bytes <= MIB && kit_read(t, &v, value));
        assert_all_tokens(value, v.value_bytes);
    }
    store_leave(t);
    store_part(t);
    free(value);
    store_destroy(race.s);
}

int
main(void)
{
    seed = kit_seed("test_history");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_are_linear),
        cmocka_unit_test(one_of_many_adds_wins),
        cmocka_unit_test(one_of_many_cas_wins),
        cmocka_unit_test(a_thread_sees_its_own_changes),
        cmocka_unit_test(no_incr_is_lost),
        cmocka_unit_test(no_append_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
