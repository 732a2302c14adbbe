/*
 * test_keeper.c -- the thread that keeps house while nobody else does.
 *
 * Goal: without any call from another thread memory is touched ahead and a lowered limit is
 * reached; it works beside threads that store, and it ends when it is told to, busy or asleep.
 *
 * Method: a store, a keeper, and what the statistics say within a bounded time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "server/keeper.h"
#include "store/store.h"

#define MIB ((size_t)1 << 20)
#define WAIT_MS 20000

static struct store *
make_store(bool evict)
{
    struct store_config c = {.memory_bytes = 64 * MIB, .value_bytes_max = MIB, .threads_max = 4,
                             .evict = evict};
    struct store *s = NULL;
    assert_int_equal(store_create(&c, &s), 0);
    return s;
}

static struct store_stats
stats_of(struct store *s)
{
    struct store_stats n;
    store_stats_read(s, &n);
    return n;
}

static void
sleep_1ms(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* Stores `count` values of 1000 bytes; where there is no room it leaves that to the keeper. */
static void
store_values(struct store *s, struct store_thread *t, unsigned count)
{
    static char value[1000];
    unsigned waited_ms = 0;
    for (unsigned i = 0; i < count;) {
        char text[32];
        struct slice key = {text, (size_t)snprintf(text, sizeof text, "key-%u", i)};
        struct store_put put = {.mode = STORE_SET, .value = {value, sizeof value},
                                .key = {.text = key, .hash = store_hash(s, key)}};
        store_enter(t);
        enum store_outcome outcome = store_put(t, &put, NULL);
        store_leave(t);
        if (outcome == STORE_AGAIN) {
            assert_true(waited_ms++ < WAIT_MS);
            sleep_1ms();
            continue;
        }
        assert_int_equal(outcome, STORE_OK);
        i++;
    }
}

static void
memory_is_ready_before_it_is_wanted(void **state)
{
    (void)state;
    struct store *s = make_store(true);
    struct keeper *k;
    assert_int_equal(keeper_start(s, &k), 0);
    for (unsigned ms = 0; ms < WAIT_MS && stats_of(s).segments_free < 2; ms++)
        sleep_1ms();
    assert_int_equal(stats_of(s).segments_free, 2);
    assert_int_equal(stats_of(s).free_bytes, 2 * stats_of(s).segment_bytes);
    keeper_stop(k);
    store_destroy(s);
}

static void
a_lowered_limit_is_reached(void **state)
{
    (void)state;
    for (int evict = 0; evict <= 1; evict++) {
        struct store *s = make_store(evict);
        struct store_thread *t = store_join(s);
        struct keeper *k;
        store_values(s, t, 40000);
        assert_true(store_limit_set(s, 16 * MIB));
        assert_int_equal(keeper_start(s, &k), 0);
        for (unsigned ms = 0; ms < WAIT_MS && stats_of(s).memory_used_bytes > 16 * MIB; ms++)
            sleep_1ms();
        assert_true(stats_of(s).memory_used_bytes <= 16 * MIB);
        assert_true(stats_of(s).maintain_slices > 0);
        assert_true(stats_of(s).maintain_longest_ns > 0);
        keeper_stop(k);
        assert_null(store_verify(s));
        store_part(t);
        store_destroy(s);
    }
}

/* Who finds no room and only waits is helped; then the keeper ends in the middle of its work. */
static void
it_makes_room_for_others(void **state)
{
    (void)state;
    struct store *s = make_store(true);
    struct store_thread *t = store_join(s);
    struct keeper *k;
    assert_int_equal(keeper_start(s, &k), 0);
    store_values(s, t, 80000);
    assert_true(stats_of(s).items_evicted > 10000);
    assert_true(store_limit_set(s, 16 * MIB));
    keeper_stop(k);
    assert_null(store_verify(s));
    store_part(t);
    store_destroy(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_ready_before_it_is_wanted),
        cmocka_unit_test(a_lowered_limit_is_reached),
        cmocka_unit_test(it_makes_room_for_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
