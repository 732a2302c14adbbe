/*
 * test_interleave_large.c -- a value in pieces is stored while its key is read and deleted, while
 * its pieces are evicted, and while everything is flushed.
 *
 * Whatever is found is whole; a missing piece is a miss.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "explore.h"
#include "one_key.h"

/* The old value is in pieces too, in a full segment; there is room for the new one. */
static void
prepare(void)
{
    one_key_prepare_absent();
    scene.size = SCENE_PIECES;
    scene_put(0, STORE_SET, the_key, 'a', 0);
}

static void
prepare_absent(void)
{
    one_key_prepare_absent();
    scene.size = SCENE_PIECES;
}

static void
set_b_0(void)
{
    found.put[0] = scene_put(0, STORE_SET, the_key, 'b', 0);
}

static void
maintain_0(void)
{
    scene_maintain(0, 3);
}

static void
maintain_2(void)
{
    scene_maintain(2, 3);
}

/* ---- storing --------------------------------------------------------------------------------- */

static void
check_set_get_delete(void)
{
    char final = one_key_final_letter();
    SCENE_EXPECT(found.put[0] == STORE_OK);
    SCENE_EXPECT(found.delete == STORE_OK);
    SCENE_EXPECT(final == 'b' || final == '-');
    SCENE_EXPECT(found.got[0] != 'b' || found.got[1] != 'a');
    scene_verify();
}

static const struct scenario large_set_get_delete = {
    .name = "large_set_get_delete", .prepare = prepare, .begin = one_key_begin,
    .threads = {set_b_0, one_key_get_twice_1, one_key_delete_2}, .check = check_set_get_delete,
    .finish = scene_close,
};

static void
check_new_get_delete(void)
{
    SCENE_EXPECT(found.put[0] == STORE_OK);
    SCENE_EXPECT(one_key_final_letter() == (found.delete == STORE_OK ? '-' : 'b'));
    SCENE_EXPECT(found.got[0] == '-' || found.got[1] == 'b' || found.delete == STORE_OK);
    scene_verify();
}

static const struct scenario large_new_get_delete = {
    .name = "large_new_get_delete", .prepare = prepare_absent, .begin = one_key_begin,
    .threads = {set_b_0, one_key_get_twice_1, one_key_delete_2}, .check = check_new_get_delete,
    .finish = scene_close,
};

static void
check_two_sets(void)
{
    char final = one_key_final_letter();
    SCENE_EXPECT(found.put[0] == STORE_OK && found.put[2] == STORE_OK);
    SCENE_EXPECT(final == 'b' || final == 'c');
    SCENE_EXPECT(found.got[0] == 'a' || found.got[1] != 'a');
    scene_verify();
}

static const struct scenario large_two_sets = {
    .name = "large_two_sets", .prepare = prepare, .begin = one_key_begin,
    .threads = {set_b_0, one_key_get_twice_1, one_key_set_c_2}, .check = check_two_sets,
    .finish = scene_close,
};

/* ---- taking apart ---------------------------------------------------------------------------- */

/* The pieces of what was deleted are unlinked in slices, by whoever keeps house. */
static void
check_delete_maintain(void)
{
    SCENE_EXPECT(found.delete == STORE_OK);
    SCENE_EXPECT(found.got[0] == 'a' || found.got[1] == '-');
    SCENE_EXPECT(one_key_final_letter() == '-');
    scene_verify();
}

static const struct scenario large_delete_maintain = {
    .name = "large_delete_maintain", .prepare = prepare, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_delete_2},
    .check = check_delete_maintain, .finish = scene_close,
};

/* Another one is waiting to be taken apart already. */
static void
prepare_one_deleted(void)
{
    prepare();
    struct store_key deleted = scene_key(1);
    scene_put(0, STORE_SET, deleted, 'd', 0);
    scene_delete(0, deleted);
}

static void
check_two_deleted(void)
{
    SCENE_EXPECT(found.delete == STORE_OK);
    scene_maintain(SCENE_MAIN, 10);
    SCENE_EXPECT(!store_maintain_due(scene.s));
    scene_verify();
}

static const struct scenario large_two_deleted_maintain = {
    .name = "large_two_deleted_maintain", .prepare = prepare_one_deleted, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_delete_2},
    .check = check_two_deleted, .finish = scene_close,
};

/* Its segment is the only full one, and nothing else can be had. */
static void
prepare_evict(void)
{
    prepare();
    scene_seal(0);
    scene_leave_segments(0);
}

static void
check_evict(void)
{
    SCENE_EXPECT(found.got[0] == 'a' || found.got[1] == '-');
    scene_verify();
}

static const struct scenario large_evict_get = {
    .name = "large_evict_get", .prepare = prepare_evict, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_delete_2}, .check = check_evict,
    .finish = scene_close,
};

/* Cleaning copies pieces and head on: nothing may be missed. */
static void
prepare_clean(void)
{
    prepare();
    scene_seal(0);
    scene_leave_segments(1);
}

static void
check_clean(void)
{
    SCENE_EXPECT(found.got[0] == 'a' && found.got[1] == 'a' && found.got[2] == 'a');
    SCENE_EXPECT(one_key_final_letter() == 'a');
    scene_verify();
}

static const struct scenario large_clean_get = {
    .name = "large_clean_get", .prepare = prepare_clean, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_get_2}, .check = check_clean,
    .finish = scene_close,
};

/* ---- between opening and storing ------------------------------------------------------------- */

static void
flush_1(void)
{
    found.flush_after_put = found.stored;
    scene_flush(1);
    found.flushed = true;
    found.got[1] = scene_get(1, the_key, NULL, NULL);
}

static void
set_b_near_flush_0(void)
{
    found.put_after_flush = found.flushed;
    found.put[0] = scene_put(0, STORE_SET, the_key, 'b', 0);
    found.stored = true;
}

/* An upload is as old as its last step: either all of it is flushed, or nothing. */
static void
check_flush(void)
{
    char final = one_key_final_letter();
    SCENE_EXPECT(found.put[0] == STORE_OK);
    SCENE_EXPECT(found.got[1] == 'b' || found.got[1] == '-');
    SCENE_EXPECT(found.got[1] != 'b' || final == 'b');
    SCENE_EXPECT(final == '-' || (final == 'b' && !found.flush_after_put));
    SCENE_EXPECT(final == 'b' || !found.put_after_flush);
    scene_verify();
}

static const struct scenario large_flush = {
    .name = "large_flush", .prepare = prepare, .begin = one_key_begin,
    .threads = {set_b_near_flush_0, flush_1, one_key_get_2}, .check = check_flush,
    .finish = scene_close,
};

/* A client goes away in the middle of its upload. */
static void
abort_upload_0(void)
{
    struct store_upload *u;
    char *at;
    size_t room;
    struct store_thread *t = scene.t[0];
    store_enter(t);
    found.put[0] = store_upload_open(t, 5000, &u);
    if (found.put[0] == STORE_OK) {
        if (store_upload_room(t, u, &at, &room) == STORE_OK)
            store_upload_filled(t, u, room);
        store_upload_abort(t, u);
    }
    store_leave(t);
}

static void
prepare_abort(void)
{
    prepare();
    scene_seal(0);
    scene_leave_segments(6);
}

static void
check_abort(void)
{
    SCENE_EXPECT(found.put[0] == STORE_OK);
    SCENE_EXPECT(found.got[0] == 'a' || found.got[1] == '-');
    scene_verify();
}

static const struct scenario large_abort_maintain = {
    .name = "large_abort_maintain", .prepare = prepare_abort, .begin = one_key_begin,
    .threads = {abort_upload_0, one_key_get_twice_1, maintain_2}, .check = check_abort,
    .finish = scene_close,
};

SCENE_CASE(large_set_get_delete)
SCENE_CASE(large_new_get_delete)
SCENE_CASE(large_two_sets)
SCENE_CASE(large_delete_maintain)
SCENE_CASE(large_two_deleted_maintain)
SCENE_CASE(large_evict_get)
SCENE_CASE(large_clean_get)
SCENE_CASE(large_flush)
SCENE_CASE(large_abort_maintain)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large_set_get_delete),
        cmocka_unit_test(test_large_new_get_delete),
        cmocka_unit_test(test_large_two_sets),
        cmocka_unit_test(test_large_delete_maintain),
        cmocka_unit_test(test_large_two_deleted_maintain),
        cmocka_unit_test(test_large_evict_get),
        cmocka_unit_test(test_large_clean_get),
        cmocka_unit_test(test_large_flush),
        cmocka_unit_test(test_large_abort_maintain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
