/*
 * test_uploads.c -- uploads in the states they go through before they are stored.
 *
 * Goal: what is found is what was received, whole; nothing waits for ever; when all are stored or
 * dropped nothing is lent or borrowed any more.
 */
#include "store_fixture.h"

#define TRIES_MAX 20000u

static struct store_thread *
joined(struct store *s)
{
    struct store_thread *t = store_join(s);
    assert_non_null(t);
    store_enter(t);
    return t;
}

static void
parted(struct store *s, struct store_thread *t)
{
    struct store_stats n;
    store_leave(t);
    store_stats_read(s, &n);
    assert_int_equal(n.borrowed_bytes, 0);
    assert_int_equal(n.segments_lent, 0);
    assert_whole(s);
    store_part(t);
    store_destroy(s);
}

/* Of the value of this stamp, from byte `at` on: as much as there is room for, `most` at most. */
static size_t
feed(struct store_thread *t, struct store_upload *u, uint64_t stamp, size_t at, size_t most)
{
    size_t room;
    char *to;
    enum store_outcome outcome;
    for (unsigned tries = 0; (outcome = store_upload_room(t, u, &to, &room)) == STORE_AGAIN;) {
        assert_true(++tries < TRIES_MAX);
        kit_give_time(t);
    }
    assert_int_equal(outcome, STORE_OK);
    size_t n = room < most ? room : most;
    for (size_t i = 0; i < n; i++)
        to[i] = kit_byte(stamp, at + i);
    if (n)
        store_upload_filled(t, u, n);
    return n;
}

static void
feed_all(struct store_thread *t, struct store_upload *u, uint64_t stamp, size_t from, size_t to)
{
    while (from < to)
        from += feed(t, u, stamp, from, to - from);
}

static void
assert_value(struct store *s, struct store_thread *t, unsigned number, uint64_t stamp, size_t len)
{
    char text[KIT_KEY_CHARS];
    struct store_view v;
    assert_int_equal(kit_get(t, kit_key(s, text, number), NULL, &v), STORE_OK);
    assert_int_equal(v.value_bytes, len);
    char *at = malloc(len);
    assert_non_null(at);
    assert_true(kit_read(t, &v, at));
    for (size_t i = 0; i < len; i++)
        assert_int_equal(at[i], kit_byte(stamp, i));
    free(at);
}

#define FILLING 1000000u               /* number of the first of these keys */

/* Small values, `most` at most; returns how many were stored. */
static unsigned
fill(struct store *s, struct store_thread *t, unsigned most)
{
    char text[KIT_KEY_CHARS], value[1000] = "";
    unsigned n = 0;
    enum store_outcome outcome = STORE_OK;
    for (; n < most && outcome == STORE_OK; n += outcome == STORE_OK) {
        struct store_put put = {.mode = STORE_SET, .key = kit_key(s, text, FILLING + n),
                                .value = {value, sizeof value}};
        outcome = kit_put(s, t, &put, NULL, NULL);
    }
    return n;
}

/*
 * Set aside in the middle of a piece, admitted again, and set aside once more before a segment
 * could be had: what had been received is there still.
 */
static void
set_aside_twice(void **state)
{
    (void)state;
    const size_t len = 300000, there = 100001;
    struct store *s = make_store(8 * MIB, false, true);
    struct store_thread *t = joined(s);
    struct store_upload *u;
    assert_int_equal(store_upload_open(t, len, &u), STORE_OK);
    feed_all(t, u, 7, 0, there);
    assert_true(store_upload_set_aside(t, u));

    unsigned full = fill(s, t, 20000);
    assert_true(full < 20000);
    char text[KIT_KEY_CHARS], *at;
    for (unsigned i = 0; i < full; i += 2)
        assert_int_equal(store_delete(t, kit_key(s, text, FILLING + i)), STORE_OK);
    size_t room;
    assert_int_equal(store_upload_room(t, u, &at, &room), STORE_AGAIN);
    assert_false(store_upload_is_aside(u));

    assert_true(store_upload_set_aside(t, u));
    feed_all(t, u, 7, there, len);
    struct store_put put = {.mode = STORE_SET, .key = kit_key(s, text, 1), .upload = u};
    enum store_outcome outcome;
    while ((outcome = store_put(t, &put, NULL)) == STORE_AGAIN)
        kit_give_time(t);
    assert_int_equal(outcome, STORE_OK);
    assert_value(s, t, 1, 7, len);
    parted(s, t);
}

int
main(void)
{
    seed = kit_seed("test_uploads");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_aside_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
