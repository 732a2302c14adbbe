/*
 * test_evict_edges.c -- the eviction policy where it could come to no end, or forget something.
 */
#include "store/inner.h"

#include "../lib/data_limit.h"
#include "store_fixture.h"

#define SLICES_MAX 100000u             /* far more than there can be to do */

static char value[1 << 20];

static enum store_outcome
put_bytes(struct store *s, struct store_thread *t, unsigned number, size_t bytes, uint32_t expiry)
{
    char text[KIT_KEY_CHARS];
    struct store_put put = {.mode = STORE_SET, .key = kit_key(s, text, number), .expiry = expiry,
                            .value = {value, bytes}};
    return kit_put(s, t, &put, NULL, NULL);
}

/* Slices until there is nothing more to do; `most`: there still is. */
static unsigned
settle_down(struct store_thread *t, unsigned most)
{
    unsigned slices = 0;
    store_leave(t);
    while (slices < most && store_maintain(t, STORE_MAINTAIN_BUDGET))
        slices++;
    store_enter(t);
    return slices;
}

/* As many new keys as there is room for. */
static unsigned
fill_up(struct store *s, struct store_thread *t, size_t bytes)
{
    unsigned n = 0;
    while (put_bytes(s, t, n, bytes, 0) == STORE_OK)
        n++;
    return n;
}

static void
test_kept_flushed(void **state)
{
    (void)state;
    struct store *s = make_store(16 * MIB, false, true);
    struct store_thread *t = joined(s);
    unsigned before = fill_up(s, t, 100);
    store_flush(t, 0);
    unsigned after = fill_up(s, t, 100);
    assert_true(after >= before / 100 * 95);
    assert_whole(s);
    store_leave(t);
    store_part(t);
    store_destroy(s);
}

/*
 * Entries of a length that leaves more than a twentieth of each segment unused: to clean such a
 * segment wins nothing, however often it is done.
 */
static void
test_kept_tails(void **state)
{
    (void)state;
    struct store *s = make_store(16 * MIB, false, true);
    struct store_thread *t = joined(s);
    size_t bytes = s->pool.seg_bytes / 17;
    unsigned n = fill_up(s, t, bytes);
    uint64_t random = seed;
    for (unsigned i = 0; i < 2 * n; i++)
        assert_int_equal(put_bytes(s, t, (unsigned)(kit_random(&random) % n), bytes + i % 8 * 4, 0),
                         STORE_OK);
    assert_true(settle_down(t, SLICES_MAX) < SLICES_MAX);
    assert_whole(s);
    store_leave(t);
    store_part(t);
    store_destroy(s);
}

/* One thread seals what it had begun to fill before a flush when others have sealed newer ones. */
static void
test_kept_flushed_late(void **state)
{
    (void)state;
    struct store *s = make_store(16 * MIB, false, true);
    struct store_thread *t = joined(s), *late = joined(s);
    struct store_stats n;
    assert_int_equal(put_bytes(s, late, 1000000, 100, 0), STORE_OK);
    store_flush(t, 0);
    for (unsigned i = 0; i < 4000; i++)
        assert_int_equal(put_bytes(s, t, i, 100, 0), STORE_OK);
    assert_int_equal(put_bytes(s, late, 1000001, 100, 0), STORE_OK);
    settle_down(t, SLICES_MAX);
    assert_int_equal(s->pool.sealed[QUEUE_SMALL].count, 4000 * 128 / s->pool.seg_bytes);
    store_stats_read(s, &n);
    assert_int_equal(n.segments_limbo + n.segments_free, 1);
    assert_whole(s);
    store_leave(late);
    store_part(late);
    store_leave(t);
    store_part(t);
    store_destroy(s);
}

/* A long value expires after the segment of its head has been swept for others. */
static void
test_swept_twice(void **state)
{
    (void)state;
    script_now = 100;
    struct store *s = make_store(16 * MIB, true, true);
    struct store_thread *t = joined(s);
    struct store_stats n;
    assert_int_equal(put_bytes(s, t, 0, MIB, script_now + 1000), STORE_OK);
    for (unsigned i = 1; i < 100; i++)
        assert_int_equal(put_bytes(s, t, i, 500, script_now + 10), STORE_OK);
    script_now += 20;
    settle_down(t, SLICES_MAX);
    store_stats_read(s, &n);
    assert_int_equal(n.items_present, 1);
    script_now += 1000;
    settle_down(t, SLICES_MAX);
    store_stats_read(s, &n);
    assert_int_equal(n.items_present, 0);
    assert_int_equal(n.bytes_present, 0);
    assert_whole(s);
    store_leave(t);
    store_part(t);
    store_destroy(s);
}

/* The system gives less than the limit: that is the limit then, and sets go on. */
static void
fill_beyond_what_the_system_gives(bool evict)
{
    enum { LEN = 1000, COUNT = 60000 };
    struct rlimit before = data_limit_begin(24 * MIB);
    struct store *s = make_store(64 * MIB, evict, true);
    struct store_thread *t = joined(s);
    struct store_stats n;
    unsigned stored = 0;
    for (unsigned i = 0; i < COUNT; i++)
        stored += put_bytes(s, t, i, LEN, 0) == STORE_OK;
    store_stats_read(s, &n);
    assert_int_equal(n.items_present, stored - n.items_evicted);
    assert_in_range(n.bytes_present, 8 * MIB, 24 * MIB);
    assert_in_range(n.memory_limit_bytes, n.bytes_present, 24 * MIB);
    if (evict)
        assert_int_equal(stored, COUNT);
    else
        assert_int_equal(n.items_evicted, 0);
    assert_true(settle_down(t, SLICES_MAX) < SLICES_MAX);
    assert_whole(s);
    store_leave(t);
    store_part(t);
    store_destroy(s);
    data_limit_end(before);
}

static void
test_system_gives_less(void **state)
{
    (void)state;
    if (KIT_SANITIZED)
        skip();                        /* its shadow is terabytes */
    fill_beyond_what_the_system_gives(true);
    fill_beyond_what_the_system_gives(false);
}

/* The segments of an upload that was aborted. */
static void
test_kept_aborted(void **state)
{
    (void)state;
    struct store *s = make_store(16 * MIB, false, true);
    struct store_thread *t = joined(s);
    struct store_upload *u;
    char *at;
    size_t room;
    assert_int_equal(store_upload_open(t, MIB, &u), STORE_OK);
    for (size_t left = MIB - 1; left; left -= room) {
        assert_int_equal(store_upload_room(t, u, &at, &room), STORE_OK);
        room = room < left ? room : left;
        memset(at, 'v', room);
        store_upload_filled(t, u, room);
    }
    store_upload_abort(t, u);
    settle_down(t, SLICES_MAX);
    assert_int_equal(s->pool.counts[SEGMENT_SEALED], 0);
    assert_whole(s);
    store_leave(t);
    store_part(t);
    store_destroy(s);
}

int
main(int argc, char **argv)
{
    seed = kit_seed("test_evict");
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_flushed),
        cmocka_unit_test(test_kept_tails),
        cmocka_unit_test(test_kept_flushed_late),
        cmocka_unit_test(test_kept_aborted),
        cmocka_unit_test(test_swept_twice),
        cmocka_unit_test(test_system_gives_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
