/*
 * test_interleave_split.c -- commands on keys of a group while the index grows by splitting it.
 *
 * Of the keys some stay and some move; one lies in an overflow line before.  Nothing is evicted, so
 * none may ever be missed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "explore.h"
#include "scene.h"

#define GROUP_BITS 8u                  /* of the first 256 groups; number 0 is split first */
#define MOVES (1u << GROUP_BITS)       /* the bit of the hash that decides */
#define CROWD 10u                      /* in one bucket of 8 */

static struct store_key stays, moves, crowd[CROWD], fresh, elsewhere;
static char got[4];
static enum store_outcome put[SCHEDULE_THREADS_MAX], deleted;

static void
begin(void)
{
    for (unsigned i = 0; i < sizeof got; i++)
        got[i] = 0;
}

/* Thread 0 splits with its next new entry. */
static void
prepare(void)
{
    scene_open(true);
    stays = scene_key_of(0, GROUP_BITS + 1, 0, 0);
    moves = scene_key_of(MOVES, GROUP_BITS + 1, 0, 0);
    fresh = scene_key_of(MOVES, GROUP_BITS + 1, 0, 1);
    elsewhere = scene_key_of(77, GROUP_BITS, 0, 0);
    for (unsigned n = 0; n < SCHEDULE_THREADS_MAX; n++)
        scene_put(n, STORE_SET, scene_key_of(100 + n, GROUP_BITS, 0, 0), 'z', 0);
    scene_put(1, STORE_SET, stays, 'a', 0);
    scene_put(1, STORE_SET, moves, 'b', 0);
    scene_split_next(0);
}

static void
prepare_crowd(void)
{
    prepare();
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = scene_key_of(i % 2 ? MOVES : 0, GROUP_BITS + 1, 0, 2 + i / 2);
        scene_put(1, STORE_SET, crowd[i], 'c', 0);
    }
}

static void
split_0(void)
{
    put[0] = scene_put(0, STORE_SET, elsewhere, 'e', 0);
}

static bool
has_split(void)
{
    return atomic_load(&scene.s->index.group_count) == MOVES + 1;
}

/* ---- lookups --------------------------------------------------------------------------------- */

static void
get_both_1(void)
{
    got[0] = scene_get(1, stays, NULL, NULL);
    got[1] = scene_get(1, moves, NULL, NULL);
}

static void
get_moved_2(void)
{
    got[2] = scene_get(2, moves, NULL, NULL);
}

static void
check_get(void)
{
    SCENE_EXPECT(has_split());
    SCENE_EXPECT(got[0] == 'a' && got[1] == 'b' && got[2] == 'b');
    SCENE_EXPECT(scene_get(SCENE_MAIN, elsewhere, NULL, NULL) == 'e');
    scene_verify();
}

static const struct scenario split_get = {
    .name = "split_get", .prepare = prepare, .begin = begin,
    .threads = {split_0, get_both_1, get_moved_2}, .check = check_get, .finish = scene_close,
};

static void
get_crowd_1(void)
{
    got[0] = scene_get(1, crowd[CROWD - 2], NULL, NULL);
    got[1] = scene_get(1, crowd[CROWD - 1], NULL, NULL);
}

static void
check_get_crowd(void)
{
    SCENE_EXPECT(has_split());
    SCENE_EXPECT(got[0] == 'c' && got[1] == 'c');
    for (unsigned i = 0; i < CROWD; i++)
        SCENE_EXPECT(scene_get(SCENE_MAIN, crowd[i], NULL, NULL) == 'c');
    scene_verify();
}

static const struct scenario split_get_overflow = {
    .name = "split_get_overflow", .prepare = prepare_crowd, .begin = begin,
    .threads = {split_0, get_crowd_1}, .check = check_get_crowd, .finish = scene_close,
};

/* ---- changes --------------------------------------------------------------------------------- */

static void
overwrite_moved_1(void)
{
    put[1] = scene_put(1, STORE_SET, moves, 'm', 0);
    got[1] = scene_get(1, moves, NULL, NULL);
}

static void
delete_staying_2(void)
{
    deleted = scene_delete(2, stays);
    got[2] = scene_get(2, stays, NULL, NULL);
}

static void
check_change(void)
{
    SCENE_EXPECT(has_split());
    SCENE_EXPECT(put[1] == STORE_OK && got[1] == 'm');
    SCENE_EXPECT(deleted == STORE_OK && got[2] == '-');
    SCENE_EXPECT(scene_get(SCENE_MAIN, moves, NULL, NULL) == 'm');
    SCENE_EXPECT(scene_get(SCENE_MAIN, stays, NULL, NULL) == '-');
    scene_verify();
}

static const struct scenario split_change = {
    .name = "split_change", .prepare = prepare, .begin = begin,
    .threads = {split_0, overwrite_moved_1, delete_staying_2}, .check = check_change,
    .finish = scene_close,
};

static void
add_fresh_1(void)
{
    put[1] = scene_put(1, STORE_ADD, fresh, 'f', 0);
}

static void
add_fresh_2(void)
{
    put[2] = scene_put(2, STORE_ADD, fresh, 'g', 0);
}

static void
check_add(void)
{
    bool first = put[1] == STORE_OK;
    SCENE_EXPECT(has_split());
    SCENE_EXPECT(put[first ? 2 : 1] == STORE_NOT_STORED && put[first ? 1 : 2] == STORE_OK);
    SCENE_EXPECT(scene_get(SCENE_MAIN, fresh, NULL, NULL) == (first ? 'f' : 'g'));
    scene_verify();
}

static const struct scenario split_add = {
    .name = "split_add", .prepare = prepare, .begin = begin,
    .threads = {split_0, add_fresh_1, add_fresh_2}, .check = check_add, .finish = scene_close,
};

/* The entry is copied on by housekeeping while its slot moves. */
static void
prepare_clean(void)
{
    prepare();
    scene_seal(1);
    scene_leave_segments(4);           /* a chunk of groups is as large as one, nearly */
}

static void
maintain_2(void)
{
    scene_maintain(2, 2);
}

static void
check_clean(void)
{
    SCENE_EXPECT(has_split());
    SCENE_EXPECT(got[0] == 'a' && got[1] == 'b');
    SCENE_EXPECT(scene_get(SCENE_MAIN, moves, NULL, NULL) == 'b');
    scene_verify();
}

static const struct scenario split_clean_get = {
    .name = "split_clean_get", .prepare = prepare_clean, .begin = begin,
    .threads = {split_0, get_both_1, maintain_2}, .check = check_clean, .finish = scene_close,
};

SCENE_CASE(split_get)
SCENE_CASE(split_get_overflow)
SCENE_CASE(split_change)
SCENE_CASE(split_add)
SCENE_CASE(split_clean_get)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_get),
        cmocka_unit_test(test_split_get_overflow),
        cmocka_unit_test(test_split_change),
        cmocka_unit_test(test_split_add),
        cmocka_unit_test(test_split_clean_get),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
