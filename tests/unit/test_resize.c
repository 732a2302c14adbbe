/*
 * test_resize.c -- the index grows and shrinks, and nobody notices.
 *
 * Goal: nothing is lost or found twice on the way up or down, memory comes back, lines are few and
 * full; a key that is there is found at every moment by readers that take no lock; keys made to
 * collide fill one group and no more.
 *
 * Method: stores without a clock of their own, swung between few and many entries, alone and with
 * threads beside; store_verify() walks all invariants.
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

#include "base/check.h"
#include "base/hash.h"
#include "store/inner.h"

#define MIB ((size_t)1 << 20)

static const uint64_t seed = 0x5eed;

static struct store *
make_store(size_t memory_bytes, unsigned threads)
{
    struct store_config c = {.memory_bytes = memory_bytes, .value_bytes_max = MIB,
                             .threads_max = threads, .cas_enabled = true, .evict = true,
                             .hash_seed = seed};
    struct store *s;
    assert_int_equal(store_create(&c, &s), 0);
    return s;
}

static struct store_key
key_for(const struct store *s, char *text, uint64_t n)
{
    int len = snprintf(text, 32, "key:%llu", (unsigned long long)n);
    struct slice k = {text, (size_t)len};
    return (struct store_key){.text = k, .hash = store_hash(s, k)};
}

static enum store_outcome
set_number(struct store_thread *t, struct store_key key, uint64_t number)
{
    struct store_put put = {.mode = STORE_SET, .key = key,
                            .value = {(const char *)&number, sizeof number}};
    enum store_outcome outcome;
    while ((outcome = store_put(t, &put, NULL)) == STORE_AGAIN) {
        store_leave(t);
        store_maintain(t, STORE_MAINTAIN_BUDGET);
        store_enter(t);
    }
    return outcome;
}

static bool
has_number(struct store_thread *t, struct store_key key, uint64_t number)
{
    struct store_view v;
    return store_get(t, &key, NULL, &v) == STORE_OK && v.value_bytes == sizeof number &&
           memcmp(v.value, &number, sizeof number) == 0;
}

static void
set_range(struct store_thread *t, uint64_t from, uint64_t to)
{
    char text[32];
    for (uint64_t i = from; i < to; i++) {
        store_enter(t);
        assert_int_equal(set_number(t, key_for(t->store, text, i), i), STORE_OK);
        store_leave(t);
    }
}

static void
delete_range(struct store_thread *t, uint64_t from, uint64_t to)
{
    char text[32];
    for (uint64_t i = from; i < to; i++) {
        store_enter(t);
        assert_int_equal(store_delete(t, key_for(t->store, text, i)), STORE_OK);
        store_leave(t);
    }
}

static void
settle(struct store_thread *t)
{
    for (unsigned i = 0; i < 1000000 && store_maintain(t, STORE_MAINTAIN_BUDGET); i++)
        ;
    assert_false(store_maintain_due(t->store));
}

static void
verify(struct store *s)
{
    const char *wrong = store_verify(s);
    if (wrong)
        fail_msg("%s", wrong);
}

/* ---- alone --------------------------------------------------------------------------------- */

static void
shrinks_and_gives_memory_back(void **state)
{
    (void)state;
    const uint64_t many = 300000, few = 3000;
    struct store *s = make_store(128 * MIB, 2);
    struct store_thread *t = store_join(s);
    struct store_stats full, empty;
    for (unsigned swing = 0; swing < 3; swing++) {
        set_range(t, 0, many);
        store_stats_read(s, &full);
        assert_true(full.index_groups > many / 31);
        verify(s);
        delete_range(t, few, many);
        settle(t);
        verify(s);
        store_stats_read(s, &empty);
        assert_int_equal(empty.items_present, few);
        assert_true(empty.index_groups < 320);
        assert_true(empty.index_bytes < full.index_bytes / 10);
        char text[32];
        store_enter(t);
        for (uint64_t i = 0; i < few; i++)
            assert_true(has_number(t, key_for(s, text, i), i));
        store_leave(t);
        assert_true(store_delete(t, key_for(s, text, few)) == STORE_MISS);
    }
    assert_int_equal(empty.items_evicted, 0);
    store_part(t);
    store_destroy(s);
}

/* The index of what was there does not fit the new limit: it goes first, and not everything else. */
static void
limit_below_the_index(void **state)
{
    (void)state;
    const uint64_t many = 1000000;
    const size_t low = 9 * MIB;
    struct store *s = make_store(128 * MIB, 2);
    struct store_thread *t = store_join(s);
    struct store_stats n;
    set_range(t, 0, many);
    store_stats_read(s, &n);
    assert_int_equal(n.items_evicted, 0);
    assert_true(n.index_bytes > low);
    assert_true(store_limit_set(s, low));
    settle(t);
    store_stats_read(s, &n);
    assert_true(n.memory_used_bytes <= low);
    assert_true(n.index_bytes < low / 3);
    assert_true(n.bytes_present > low / 3);
    verify(s);
    assert_true(store_limit_set(s, 128 * MIB));
    set_range(t, 0, many);
    store_stats_read(s, &n);
    assert_int_equal(n.items_present, many);
    verify(s);
    store_part(t);
    store_destroy(s);
}

/* Random coming and going at one size: lines stay full, so that chains do not rot. */
static void
churn_keeps_lines_full(void **state)
{
    (void)state;
    const uint64_t live = 60000;
    struct store *s = make_store(64 * MIB, 1);
    struct store_thread *t = store_join(s);
    struct store_stats fresh, churned;
    set_range(t, 0, live);
    store_stats_read(s, &fresh);
    for (uint64_t i = 0; i < 6 * live; i++) {
        delete_range(t, i, i + 1);
        set_range(t, i + live, i + live + 1);
        if (i % 64 == 0)
            settle(t);
    }
    verify(s);
    store_stats_read(s, &churned);
    assert_int_equal(churned.items_present, live);
    assert_int_equal(churned.items_evicted, 0);
    assert_true(churned.index_lines_used < fresh.index_lines_used * 12 / 10 + 16);
    store_part(t);
    store_destroy(s);
}

/* ---- keys made to collide -------------------------------------------------------------------- */

static void
colliding_keys_fill_one_group(void **state)
{
    (void)state;
    const unsigned chosen_count = 3000, bits = 10;
    struct store *s = make_store(32 * MIB, 1);
    struct store_thread *t = store_join(s);
    set_range(t, 0, 5000);             /* fewer than 2^10 groups */
    char text[32];
    uint64_t n = 1000000, chosen = 0;
    store_enter(t);
    for (; chosen < chosen_count; n++) {
        struct store_key key = key_for(s, text, n);
        if ((key.hash & ((1u << bits) - 1)) != 77)
            continue;
        assert_int_equal(set_number(t, key, n), STORE_OK);
        assert_true(has_number(t, key, n));
        chosen++;
    }
    unsigned kept = 0;
    for (uint64_t i = 0; i < 5000; i++)
        kept += has_number(t, key_for(s, text, i), i);
    store_leave(t);
    assert_true(kept >= 5000 - 60);    /* those that shared the group */
    struct store_stats stats;
    store_stats_read(s, &stats);
    assert_true(stats.index_evicted >= chosen_count - 116);
    assert_true(stats.items_present < 5000 + 116);
    verify(s);
    store_part(t);
    store_destroy(s);
}

/*
 * A thread that charges lines or gives some back may be kept from running: until it is done others
 * wait where they need a line.  Nothing is evicted for it.
 */
static void
busy_lines_are_waited_for(void **state)
{
    (void)state;
    const uint64_t count = 20000;
    struct store *s = make_store(32 * MIB, 1);
    struct store_thread *t = store_join(s);
    struct store_upload *u;
    struct store_stats stats;
    enum store_outcome outcome = STORE_OK;
    char text[32], *at;
    size_t room;
    uint64_t stored = 0;
    store_enter(t);
    atomic_store(&s->index.lines.busy, true);
    for (; outcome == STORE_OK && stored < count; stored += outcome == STORE_OK) {
        struct store_put put = {.mode = STORE_SET, .key = key_for(s, text, stored),
                                .value = {(const char *)&stored, sizeof stored}};
        outcome = store_put(t, &put, NULL);
    }
    assert_int_equal(outcome, STORE_AGAIN);
    assert_int_equal(store_upload_open(t, MIB / 2, &u), STORE_OK);
    assert_int_equal(store_upload_room(t, u, &at, &room), STORE_AGAIN);
    atomic_store(&s->index.lines.busy, false);
    assert_int_equal(store_upload_room(t, u, &at, &room), STORE_OK);
    store_upload_abort(t, u);
    store_leave(t);
    set_range(t, stored, count);
    store_stats_read(s, &stats);
    assert_int_equal(stats.items_present, count);
    assert_int_equal(stats.index_evicted, 0);
    verify(s);
    store_part(t);
    store_destroy(s);
}

/* ---- what the sanitizer may not let pass ------------------------------------------------------ */

#if defined __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>

static void
free_memory_is_poisoned(void **state)
{
    (void)state;
    struct store *s = make_store(16 * MIB, 1);
    struct store_thread *t = store_join(s);
    set_range(t, 0, 20000);
    const char *active = segment_at(&s->pool, t->active[QUEUE_SMALL]);
    assert_false(__asan_address_is_poisoned(active + t->active_fill[QUEUE_SMALL] - 8));
    assert_true(__asan_address_is_poisoned(active + t->active_fill[QUEUE_SMALL] + 256));
    uint32_t sealed = s->pool.sealed[QUEUE_SMALL].first;
    const char *oldest = segment_at(&s->pool, sealed);
    assert_false(__asan_address_is_poisoned(oldest));
    delete_range(t, 0, 20000);
    set_range(t, 0, 20000);            /* segments are taken, so limbo is looked through */
    delete_range(t, 0, 20000);
    set_range(t, 0, 3000);
    assert_true(s->pool.free.count > 0);
    assert_true(__asan_address_is_poisoned(segment_at(&s->pool, s->pool.free.first)));
    store_part(t);
    store_destroy(s);
}
#else
static void
free_memory_is_poisoned(void **state)
{
    (void)state;
    skip();
}
#endif

/* ---- with others beside ---------------------------------------------------------------------- */

struct crowd {
    struct store *s;
    atomic_bool stop;
    _Atomic uint64_t looks;
    unsigned number;
};

#define STABLE 2000u

static void *
look_at_stable(void *arg)
{
    struct crowd *c = arg;
    struct store_thread *t = store_join(c->s);
    char text[32];
    CHECK(t);
    while (!atomic_load(&c->stop)) {
        store_enter(t);
        for (uint64_t i = 0; i < STABLE; i += 1 + i % 3) {
            CHECK(has_number(t, key_for(c->s, text, i), i));
            CHECK(!has_number(t, key_for(c->s, text, ~i), i));
            atomic_fetch_add_explicit(&c->looks, 1, memory_order_relaxed);
        }
        store_leave(t);
        store_maintain(t, STORE_MAINTAIN_BUDGET);
    }
    store_part(t);
    return NULL;
}

static void
readers_find_everything_while_it_swings(void **state)
{
    (void)state;
    struct crowd c = {.s = make_store(64 * MIB, 4)};
    struct store_thread *t = store_join(c.s);
    pthread_t readers[2];
    set_range(t, 0, STABLE);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, look_at_stable, &c), 0);
    for (unsigned swing = 0; swing < 12 || atomic_load(&c.looks) <= STABLE; swing++) {
        set_range(t, STABLE, 40000);
        delete_range(t, STABLE, 40000);
        while (store_maintain_due(c.s))
            store_maintain(t, STORE_MAINTAIN_BUDGET);
    }
    atomic_store(&c.stop, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    settle(t);
    verify(c.s);
    store_part(t);
    store_destroy(c.s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shrinks_and_gives_memory_back),
        cmocka_unit_test(limit_below_the_index),
        cmocka_unit_test(churn_keeps_lines_full),
        cmocka_unit_test(colliding_keys_fill_one_group),
        cmocka_unit_test(busy_lines_are_waited_for),
        cmocka_unit_test(free_memory_is_poisoned),
        cmocka_unit_test(readers_find_everything_while_it_swings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
