/*
 * test_interleave_merge.c -- commands on keys of two groups while the index shrinks by merging
 * them, and while lines that nobody needs any more are given back.
 *
 * Of the keys some stay and some move down; some lie in overflow lines before, or after.  Nothing
 * is evicted, so none may ever be missed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "explore.h"
#include "scene.h"

#define GROUP_BITS 8u                  /* of the first 256 groups; the last one is 256 ... */
#define MOVES (1u << GROUP_BITS)       /* ... and goes into number 0 */
#define CROWD 18u                      /* in one bucket of 8 of each of the two groups */
#define FULL_GROUP 77u                 /* its bucket 0 is full */

static struct store_key stays, moves, fresh, crowd[CROWD], full[INDEX_SLOTS + 1];
static struct {
    char got[4];
    enum store_outcome put[SCHEDULE_THREADS_MAX], deleted;
    uint64_t number[SCHEDULE_THREADS_MAX];
} seen;

static void
begin(void)
{
    seen = (__typeof__(seen)){0};
}

static uint64_t
group_count(void)
{
    return atomic_load(&scene.s->index.group_count);
}

static void
count_slots_as(int64_t slots)
{
    atomic_store(&scene.s->index.slot_count, slots);
}

/* Two groups that housekeeping is to merge. */
static void
prepare(void)
{
    scene_open(true);
    stays = scene_key_of(0, GROUP_BITS + 1, 0, 0);
    moves = scene_key_of(MOVES, GROUP_BITS + 1, 0, 0);
    fresh = scene_key_of(MOVES, GROUP_BITS + 1, 0, 1);
    for (unsigned n = 0; n < SCHEDULE_THREADS_MAX; n++)
        scene_put(n, STORE_SET, scene_key_of(100 + n, GROUP_BITS, 0, 0), 'z', 0);
    scene_put(1, STORE_SET, stays, 'a', 0);
    scene_put(1, STORE_SET, moves, 'b', 0);
    scene_split_next(SCENE_MAIN);
    scene_put(SCENE_MAIN, STORE_SET, scene_key_of(104, GROUP_BITS, 0, 0), 'z', 0);
    CHECK(group_count() == MOVES + 1);
    count_slots_as(0);
}

static void
prepare_crowd(void)
{
    prepare();
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = scene_key_of(i % 2 ? MOVES : 0, GROUP_BITS + 1, 0, 2 + i / 2);
        scene_put(1, STORE_SET, crowd[i], 'c', 0);
    }
    for (unsigned i = 0; i <= INDEX_SLOTS; i++)
        full[i] = scene_key_of(FULL_GROUP, GROUP_BITS, 0, i);
    for (unsigned i = 0; i < INDEX_SLOTS; i++)
        scene_put(1, STORE_SET, full[i], 'f', 0);
    count_slots_as(0);
}

static void
merge_0(void)
{
    scene_maintain(0, 2);
}

static void
check_is(struct store_key key, char letter)
{
    SCENE_EXPECT(scene_get(SCENE_MAIN, key, NULL, NULL) == letter);
}

static bool
has_merged(void)
{
    return group_count() == MOVES;
}

/* ---- lookups --------------------------------------------------------------------------------- */

static void
get_both_1(void)
{
    seen.got[0] = scene_get(1, stays, NULL, NULL);
    seen.got[1] = scene_get(1, moves, NULL, NULL);
}

static void
get_moved_2(void)
{
    seen.got[2] = scene_get(2, moves, NULL, NULL);
}

static void
check_got(void)
{
    SCENE_EXPECT(seen.got[0] == 'a' && seen.got[1] == 'b' && seen.got[2] == 'b');
    check_is(stays, 'a');
    check_is(moves, 'b');
    scene_verify();
}

static void
check_get(void)
{
    SCENE_EXPECT(has_merged());
    check_got();
}

static const struct scenario merge_get = {
    .name = "merge_get", .prepare = prepare, .begin = begin,
    .threads = {merge_0, get_both_1, get_moved_2}, .check = check_get, .finish = scene_close,
};

/* The group is there again, at once: who has seen it before must notice. */
static void
merge_and_split_0(void)
{
    scene_maintain(0, 2);
    if (!has_merged())
        schedule_complain("nothing was merged");
    scene_split_next(0);
    seen.put[0] = scene_put(0, STORE_ADD, fresh, 'f', 0);
}

static void
check_again(void)
{
    SCENE_EXPECT(group_count() == MOVES + 1);
    SCENE_EXPECT(seen.put[0] == STORE_OK);
    check_is(fresh, 'f');
    check_got();
}

static const struct scenario merge_split_get = {
    .name = "merge_split_get", .prepare = prepare, .begin = begin,
    .threads = {merge_and_split_0, get_both_1, get_moved_2}, .check = check_again,
    .finish = scene_close,
};

/* ---- overflow lines -------------------------------------------------------------------------- */

static void
get_crowd_1(void)
{
    seen.got[0] = scene_get(1, crowd[CROWD - 2], NULL, NULL);
    seen.got[1] = scene_get(1, crowd[CROWD - 1], NULL, NULL);
}

static void
check_crowd(void)
{
    SCENE_EXPECT(has_merged());
    SCENE_EXPECT(seen.got[0] == 'c' && seen.got[1] == 'c');
    for (unsigned i = 0; i < CROWD; i++)
        check_is(crowd[i], 'c');
    scene_verify();
}

static const struct scenario merge_get_overflow = {
    .name = "merge_get_overflow", .prepare = prepare_crowd, .begin = begin,
    .threads = {merge_0, get_crowd_1}, .check = check_crowd, .finish = scene_close,
};

/* A line that the merge has left over hangs on another group next. */
static void
merge_and_spill_0(void)
{
    scene_maintain(0, 2);
    seen.put[0] = scene_put(0, STORE_ADD, full[INDEX_SLOTS], 'f', 0);
}

static void
check_spilled(void)
{
    SCENE_EXPECT(seen.put[0] == STORE_OK);
    for (unsigned i = 0; i <= INDEX_SLOTS; i++)
        check_is(full[i], 'f');
    check_crowd();
}

static const struct scenario merge_line_reused = {
    .name = "merge_line_reused", .prepare = prepare_crowd, .begin = begin,
    .threads = {merge_and_spill_0, get_crowd_1}, .check = check_spilled, .finish = scene_close,
};

/* ---- changes --------------------------------------------------------------------------------- */

static void
overwrite_moved_1(void)
{
    seen.put[1] = scene_put(1, STORE_SET, moves, 'm', 0);
    seen.got[1] = scene_get(1, moves, NULL, NULL);
}

static void
delete_staying_2(void)
{
    seen.deleted = scene_delete(2, stays);
    seen.got[2] = scene_get(2, stays, NULL, NULL);
}

static void
check_changes(void)
{
    SCENE_EXPECT(seen.put[1] == STORE_OK && seen.got[1] == 'm');
    SCENE_EXPECT(seen.deleted == STORE_OK && seen.got[2] == '-');
    check_is(moves, 'm');
    check_is(stays, '-');
    scene_verify();
}

static void
check_change(void)
{
    SCENE_EXPECT(has_merged());
    check_changes();
}

static const struct scenario merge_change = {
    .name = "merge_change", .prepare = prepare, .begin = begin,
    .threads = {merge_0, overwrite_moved_1, delete_staying_2}, .check = check_change,
    .finish = scene_close,
};

static void
check_change_again(void)
{
    SCENE_EXPECT(group_count() == MOVES + 1);
    check_is(fresh, 'f');
    check_changes();
}

static const struct scenario merge_split_change = {
    .name = "merge_split_change", .prepare = prepare, .begin = begin,
    .threads = {merge_and_split_0, overwrite_moved_1, delete_staying_2},
    .check = check_change_again, .finish = scene_close,
};

static void
delete_crowd_1(void)
{
    seen.deleted = scene_delete(1, crowd[1]);
    seen.got[1] = scene_get(1, crowd[1], NULL, NULL);
}

static void
get_other_crowd_2(void)
{
    seen.got[2] = scene_get(2, crowd[CROWD - 1], NULL, NULL);
}

/* The deletion moves a slot up from a line, which then is free. */
static void
check_delete_crowd(void)
{
    SCENE_EXPECT(has_merged());
    SCENE_EXPECT(seen.deleted == STORE_OK && seen.got[1] == '-' && seen.got[2] == 'c');
    for (unsigned i = 0; i < CROWD; i++)
        check_is(crowd[i], i == 1 ? '-' : 'c');
    scene_verify();
}

static const struct scenario merge_delete_overflow = {
    .name = "merge_delete_overflow", .prepare = prepare_crowd, .begin = begin,
    .threads = {merge_0, delete_crowd_1, get_other_crowd_2}, .check = check_delete_crowd,
    .finish = scene_close,
};

static void
add_fresh_1(void)
{
    seen.put[1] = scene_put(1, STORE_ADD, fresh, 'f', 0);
}

static void
add_fresh_2(void)
{
    seen.put[2] = scene_put(2, STORE_ADD, fresh, 'g', 0);
}

static void
check_add(void)
{
    bool first = seen.put[1] == STORE_OK;
    SCENE_EXPECT(has_merged());
    SCENE_EXPECT(seen.put[first ? 2 : 1] == STORE_NOT_STORED &&
                 seen.put[first ? 1 : 2] == STORE_OK);
    check_is(fresh, first ? 'f' : 'g');
    scene_verify();
}

static const struct scenario merge_add = {
    .name = "merge_add", .prepare = prepare, .begin = begin,
    .threads = {merge_0, add_fresh_1, add_fresh_2}, .check = check_add, .finish = scene_close,
};

/* ---- arithmetic ------------------------------------------------------------------------------ */

static void
prepare_number(void)
{
    prepare();
    struct store_put put = {.mode = STORE_SET, .key = moves, .value = {"1111", 4}};
    store_enter(scene.t[1]);
    CHECK(store_put(scene.t[1], &put, NULL) == STORE_OK);
    store_leave(scene.t[1]);
    count_slots_as(0);
}

static void
increase(unsigned thread)
{
    struct store_arith how = {.key = moves, .delta = 1111};
    struct store_number number = {0};
    store_enter(scene.t[thread]);
    seen.put[thread] = store_arith(scene.t[thread], &how, &number);
    store_leave(scene.t[thread]);
    seen.number[thread] = number.number;
}

static void
increase_1(void)
{
    increase(1);
}

static void
increase_2(void)
{
    increase(2);
}

static void
check_increase(void)
{
    SCENE_EXPECT(has_merged());
    SCENE_EXPECT(seen.put[1] == STORE_OK && seen.put[2] == STORE_OK);
    SCENE_EXPECT(seen.number[1] + seen.number[2] == 2222 + 3333);
    scene_verify();
    increase(SCENE_MAIN - 1);          /* what is in the store, and 1111 */
    SCENE_EXPECT(seen.number[2] == 4444);
}

static const struct scenario merge_incr = {
    .name = "merge_incr", .prepare = prepare_number, .begin = begin,
    .threads = {merge_0, increase_1, increase_2}, .check = check_increase,
    .finish = scene_close,
};

/* ---- lines given back ------------------------------------------------------------------------ */

#define SINGLES (INDEX_SLOTS + 1u)     /* the last of them lies in a line */

static uint64_t
line_of_group_0(void)
{
    return control_line(atomic_load(&scene.s->index.controls[0]));
}

/* Of two chunks the second holds nothing but the one line of group 0. */
static void
prepare_trim(void)
{
    struct index *ix = &scene.s->index;
    struct index_local *local;
    uint64_t lower[LINE_CHUNK];
    unsigned lower_count = 0;
    bool busy;
    scene_open(true);
    for (unsigned n = 0; n < SCHEDULE_THREADS_MAX; n++)
        scene_put(n, STORE_SET, scene_key_of(100 + n, GROUP_BITS, 0, 0), 'z', 0);
    local = &scene.t[1]->local;
    index_local_drain(ix, local);
    while (ix->lines.chunk_count == 1)
        lower_count += lines_take(&ix->lines, lower + lower_count, 1, &busy);
    local->spare_count = 1;
    local->spare[0] = lower[--lower_count];
    index_local_fill(ix, local);
    for (unsigned i = 0; i < SINGLES; i++) {
        crowd[i] = scene_key_of(0, GROUP_BITS, 0, i);
        scene_put(1, STORE_SET, crowd[i], 'c', 0);
    }
    CHECK(line_of_group_0() >= LINE_CHUNK);
    while (lower_count)
        lines_give(&ix->lines, lower[--lower_count]);
    index_local_drain(ix, local);
    index_local_fill(ix, local);
}

/* The line comes off its group, goes back to its chunk, and that to the system. */
static void
trim_0(void)
{
    seen.deleted = scene_delete(0, crowd[0]);
    index_local_drain(&scene.s->index, &scene.t[0]->local);
    scene_maintain(0, 3);
}

/* What a section has found on a group does not go before it ends. */
static void
walk_1(void)
{
    const struct line_pool *p = &scene.s->index.lines;
    struct store_view v;
    store_enter(scene.t[1]);
    bool hangs = line_of_group_0() >= LINE_CHUNK;
    SCENE_EXPECT(store_get(scene.t[1], &crowd[SINGLES - 1], NULL, &v) == STORE_OK);
    schedule_pause();
    SCENE_EXPECT(!hangs || atomic_load(&p->charged) == 2 * LINE_CHUNK);
    store_leave(scene.t[1]);
}

/* Other lines come and go in the pool meanwhile. */
static void
take_lines_2(void)
{
    scene_delete(2, crowd[1]);
    index_local_drain(&scene.s->index, &scene.t[2]->local);
    index_local_fill(&scene.s->index, &scene.t[2]->local);
    seen.got[2] = scene_get(2, crowd[SINGLES - 1], NULL, NULL);
}

static void
check_trim(void)
{
    SCENE_EXPECT(seen.deleted == STORE_OK);
    SCENE_EXPECT(seen.got[2] == 'c');
    SCENE_EXPECT(line_of_group_0() == 0);
    scene_maintain(SCENE_MAIN, 3);     /* nobody is inside any more */
    SCENE_EXPECT(atomic_load(&scene.s->index.lines.charged) == LINE_CHUNK);
    for (unsigned i = 2; i < SINGLES; i++)
        check_is(crowd[i], 'c');
    scene_verify();
}

static const struct scenario trim_lines_get = {
    .name = "trim_lines_get", .prepare = prepare_trim, .begin = begin,
    .threads = {trim_0, walk_1, take_lines_2}, .check = check_trim, .finish = scene_close,
};

SCENE_CASE(merge_get)
SCENE_CASE(merge_split_get)
SCENE_CASE(merge_get_overflow)
SCENE_CASE(merge_line_reused)
SCENE_CASE(merge_change)
SCENE_CASE(merge_split_change)
SCENE_CASE(merge_delete_overflow)
SCENE_CASE(merge_add)
SCENE_CASE(merge_incr)
SCENE_CASE(trim_lines_get)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_get),
        cmocka_unit_test(test_merge_split_get),
        cmocka_unit_test(test_merge_get_overflow),
        cmocka_unit_test(test_merge_line_reused),
        cmocka_unit_test(test_merge_change),
        cmocka_unit_test(test_merge_split_change),
        cmocka_unit_test(test_merge_delete_overflow),
        cmocka_unit_test(test_merge_add),
        cmocka_unit_test(test_merge_incr),
        cmocka_unit_test(test_trim_lines_get),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
