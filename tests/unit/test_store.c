/*
 * test_store.c -- single properties of the store: growing, evicting, making room, limits, uploads.
 *
 * What any sequence of operations must answer is asked by test_store_model.c, what threads see of
 * one another by test_store_threads.c and test_history.c.
 */
#include "store_fixture.h"

static void
parted(struct store *s, struct store_thread *t)
{
    store_leave(t);
    assert_whole(s);
    store_part(t);
    store_destroy(s);
}

static enum store_outcome
put_sized(struct store *s, struct store_thread *t, unsigned number, size_t len)
{
    static char buf[64 << 10];
    char text[KIT_KEY_CHARS];
    struct store_put put = {.mode = STORE_SET, .key = kit_key(s, text, number),
                            .value = {buf, len}};
    return kit_put(s, t, &put, NULL, NULL);
}

/* A million entries: the index grows from 256 groups, nothing is lost on the way. */
static void
index_grows_and_loses_nothing(void **state)
{
    (void)state;
    struct store *s = make_store(256 * MIB, true, true);
    struct store_thread *t = joined(s);
    unsigned count = 1000000;
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(put_sized(s, t, i, 16), STORE_OK);
    struct store_view v;
    char text[KIT_KEY_CHARS];
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(kit_get(t, kit_key(s, text, i), NULL, &v), STORE_OK);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_int_equal(n.items_present, count);
    assert_int_equal(n.items_evicted, 0);
    assert_true(n.index_groups * 32 < (uint64_t)count * 2);
    assert_true(n.index_bytes < (uint64_t)count * 13);
    parted(s, t);
}

/* Twenty times what fits: every set is stored, the limit holds at every moment. */
static void
eviction_keeps_the_limit(void **state)
{
    (void)state;
    struct store *s = make_store(8 * MIB, true, true);
    struct store_thread *t = joined(s);
    for (unsigned i = 0; i < 400000; i++) {
        assert_int_equal(put_sized(s, t, i, 400), STORE_OK);
        if (i % 64)
            continue;
        kit_give_time(t);
        struct store_stats n;
        store_stats_read(s, &n);
        assert_true(n.memory_used_bytes <= n.memory_limit_bytes);
    }
    struct store_stats n;
    store_stats_read(s, &n);
    assert_true(n.items_evicted > 0);
    assert_true(n.bytes_present > 5 * MIB);
    parted(s, t);
}

/* Overwriting a few keys for long does not push out the others. */
static void
overwrites_leave_the_others_alone(void **state)
{
    (void)state;
    struct store *s = make_store(8 * MIB, true, true);
    struct store_thread *t = joined(s);
    unsigned kept = 1500;
    for (unsigned i = 0; i < kept * 100; i++) {
        size_t len = i % 100 == 0 ? 1000 : 900 + i % 7 * 8;
        assert_int_equal(put_sized(s, t, i % 100 == 0 ? i : 1 + i % 50, len), STORE_OK);
        if (i % 32 == 0)
            kit_give_time(t);
    }
    char text[KIT_KEY_CHARS];
    struct store_view v;
    for (unsigned i = 0; i < kept; i++)
        assert_int_equal(kit_get(t, kit_key(s, text, i * 100), NULL, &v), STORE_OK);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_int_equal(n.items_evicted, 0);
    parted(s, t);
}

/* -M: sets fail when full, and succeed again after deletes, however scattered. */
static void
without_eviction_deletes_make_room(void **state)
{
    (void)state;
    struct store *s = make_store(8 * MIB, false, true);
    struct store_thread *t = joined(s);
    unsigned full = 0;
    while (put_sized(s, t, full, 1000) == STORE_OK)
        full++;
    assert_true(full > 5000);
    char text[KIT_KEY_CHARS];
    struct store_view v;
    for (unsigned i = 0; i < full; i++)
        assert_int_equal(kit_get(t, kit_key(s, text, i), NULL, &v), STORE_OK);
    for (unsigned i = 0; i < full; i += 2)
        assert_int_equal(store_delete(t, kit_key(s, text, i)), STORE_OK);
    unsigned more = 0;
    while (more < full && put_sized(s, t, 1000000 + more, 1000) == STORE_OK)
        more++;
    assert_true(more > full / 4);
    for (unsigned i = 1; i < full; i += 2)
        assert_int_equal(kit_get(t, kit_key(s, text, i), NULL, &v), STORE_OK);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_int_equal(n.items_evicted, 0);
    parted(s, t);
}

/* -M: expired entries make room too, though nobody asks for them. */
static void
without_eviction_expiry_makes_room(void **state)
{
    (void)state;
    struct store *s = make_store(8 * MIB, false, true);
    struct store_thread *t = joined(s);
    char text[KIT_KEY_CHARS], value[1000] = "";
    unsigned full = 0;
    enum store_outcome outcome;
    do {
        struct store_put put = {.mode = STORE_SET, .key = kit_key(s, text, full),
                                .value = {value, sizeof value}, .expiry = script_now + 10};
        outcome = kit_put(s, t, &put, NULL, NULL);
        full++;
    } while (outcome == STORE_OK);
    script_now += 11;
    kit_give_time(t);
    store_delete(t, kit_key(s, text, 0));
    unsigned more = 0;
    while (more < full / 2 && put_sized(s, t, 1000000 + more, 1000) == STORE_OK)
        more++;
    assert_int_equal(more, full / 2);
    parted(s, t);
}

/* The limit goes down and up at run time; memory follows, what is left is right. */
static void
limit_is_lowered_and_raised(void **state)
{
    (void)state;
    struct store *s = make_store(64 * MIB, true, true);
    struct store_thread *t = joined(s);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(put_sized(s, t, i, 400), STORE_OK);
    assert_true(store_limit_set(s, 16 * MIB));
    for (unsigned i = 0; i < 100000 && store_maintain_due(s); i++)
        kit_give_time(t);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_true(n.memory_used_bytes <= 16 * MIB);
    assert_true(n.items_present > 10000);
    assert_true(store_limit_set(s, 64 * MIB));
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(put_sized(s, t, i, 400), STORE_OK);
    store_stats_read(s, &n);
    assert_true(n.bytes_present > 40 * MIB);
    assert_false(store_limit_set(s, (size_t)1 << 50));
    assert_false(store_limit_set(s, MIB));
    parted(s, t);
}

/* What an overwritten large value leaves empty is used again before fresh memory is touched. */
static void
emptied_segments_are_reused_first(void **state)
{
    (void)state;
    struct store *s = make_store(64 * MIB, true, true);
    struct store_thread *t = joined(s);
    char *value = calloc(1, MIB), text[KIT_KEY_CHARS];
    assert_non_null(value);
    for (unsigned i = 0; i < 400; i++) {
        struct store_put put = {.mode = STORE_SET, .key = kit_key(s, text, i % 3),
                                .value = {value, MIB}};
        assert_int_equal(kit_put(s, t, &put, NULL, NULL), STORE_OK);
        while (store_maintain_due(s))  /* the pieces of the old one are unlinked in slices */
            kit_give_time(t);
    }
    free(value);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_int_equal(n.items_evicted, 0);
    assert_true(n.memory_used_bytes < 12 * MIB);
    parted(s, t);
}

/* An upload that is dropped leaves nothing behind, and its memory comes back. */
static void
dropped_uploads_leave_nothing(void **state)
{
    (void)state;
    struct store *s = make_store(16 * MIB, true, true);
    struct store_thread *t = joined(s);
    for (unsigned i = 0; i < 200; i++) {
        struct store_upload *u;
        assert_int_equal(store_upload_open(t, 2 * MIB, &u), STORE_OK);
        char *at;
        size_t room;
        for (unsigned k = 0; k < i; k++) {
            while (store_upload_room(t, u, &at, &room) == STORE_AGAIN)
                kit_give_time(t);
            if (room > 1)
                store_upload_filled(t, u, room / 2 + 1);
        }
        store_upload_abort(t, u);
        kit_give_time(t);
    }
    struct store_stats n;
    store_stats_read(s, &n);
    assert_int_equal(n.items_stored, 0);
    assert_int_equal(n.borrowed_bytes, 0);
    assert_int_equal(n.segments_lent, 0);
    parted(s, t);
}

int
main(void)
{
    seed = kit_seed("test_store");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_grows_and_loses_nothing),
        cmocka_unit_test(eviction_keeps_the_limit),
        cmocka_unit_test(overwrites_leave_the_others_alone),
        cmocka_unit_test(without_eviction_deletes_make_room),
        cmocka_unit_test(without_eviction_expiry_makes_room),
        cmocka_unit_test(limit_is_lowered_and_raised),
        cmocka_unit_test(emptied_segments_are_reused_first),
        cmocka_unit_test(dropped_uploads_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
