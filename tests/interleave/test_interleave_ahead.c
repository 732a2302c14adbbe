/*
 * test_interleave_ahead.c -- a thread announces two keys, then gets them, while others change what
 * it has found: the entries, their group, their segment.
 *
 * A get must answer with what is there when it is its turn, not when it was announced: what was
 * stored or deleted before it began is seen by it, and it never misses while there is an entry.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "explore.h"
#include "scene.h"

#define GROUP_BITS 8u                  /* of the first 256 groups */
#define MOVES (1u << GROUP_BITS)       /* the bit of the hash that decides in a split of group 0 */
#define CROWD 10u                      /* in one bucket of 8 */
#define ANNOUNCED 2u

/* The first stays in its group, the second would move with a split. */
static struct store_key keys[ANNOUNCED], crowd[CROWD], elsewhere;
static uint64_t hashes[ANNOUNCED];

static struct {
    char got[ANNOUNCED];
    bool was_stored[ANNOUNCED];        /* `stored`, when the get began */
    bool stored;                       /* whoever changes the second key has done so */
    enum store_outcome put, deleted;
} seen;

static void
begin(void)
{
    seen = (__typeof__(seen)){0};
}

static void
prepare(void)
{
    scene_open(true);
    keys[0] = scene_key_of(0, GROUP_BITS + 1, 0, 0);
    keys[1] = scene_key_of(MOVES, GROUP_BITS + 1, 0, 0);
    elsewhere = scene_key_of(77, GROUP_BITS, 0, 0);
    for (unsigned n = 0; n < SCHEDULE_THREADS_MAX; n++)
        scene_put(n, STORE_SET, scene_key_of(100 + n, GROUP_BITS, 0, 0), 'z', 0);
    scene_put(1, STORE_SET, keys[0], 'a', 0);
    scene_put(1, STORE_SET, keys[1], 'b', 0);
}

/* The second key lies in a line. */
static void
prepare_crowd(void)
{
    prepare();
    scene_delete(1, keys[1]);
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = scene_key_of(i % 2 ? MOVES : 0, GROUP_BITS + 1, 0, 2 + i / 2);
        scene_put(1, STORE_SET, crowd[i], 'c', 0);
    }
    scene_put(1, STORE_SET, keys[1], 'b', 0);
}

/* ---- the one that announces ------------------------------------------------------------------ */

static void
announce_and_get_1(void)
{
    store_enter(scene.t[1]);
    for (unsigned i = 0; i < ANNOUNCED; i++)
        hashes[i] = keys[i].hash;
    store_prefetch(scene.t[1], hashes, ANNOUNCED);
    for (unsigned i = 0; i < ANNOUNCED; i++) {
        struct store_key key = keys[i];
        key.ahead = i + 1;
        seen.was_stored[i] = seen.stored;
        seen.got[i] = scene_get_inside(1, key);
    }
    store_leave(scene.t[1]);
}

static char
final(unsigned number)
{
    return scene_get(SCENE_MAIN, keys[number], NULL, NULL);
}

/* The second key was 'b' and became `now`, in one step. */
static void
check_changed_to(char now)
{
    SCENE_EXPECT(seen.stored);
    SCENE_EXPECT(seen.got[0] == 'a' && final(0) == 'a');
    SCENE_EXPECT(seen.got[1] == now || (seen.got[1] == 'b' && !seen.was_stored[1]));
    SCENE_EXPECT(final(1) == now);
    scene_verify();
}

/* ---- the entry changes ----------------------------------------------------------------------- */

static void
overwrite_0(void)
{
    seen.put = scene_put(0, STORE_SET, keys[1], 'm', 0);
    seen.stored = true;
}

static void
check_overwritten(void)
{
    SCENE_EXPECT(seen.put == STORE_OK);
    check_changed_to('m');
}

static const struct scenario ahead_overwrite = {
    .name = "ahead_overwrite", .prepare = prepare, .begin = begin,
    .threads = {overwrite_0, announce_and_get_1}, .check = check_overwritten,
    .finish = scene_close,
};

/* It grows: the new one lies elsewhere. */
static void
prepare_replace(void)
{
    prepare();
    scene.size = SCENE_LONG;
}

static const struct scenario ahead_replace = {
    .name = "ahead_replace", .prepare = prepare_replace, .begin = begin,
    .threads = {overwrite_0, announce_and_get_1}, .check = check_overwritten,
    .finish = scene_close,
};

static const struct scenario ahead_replace_in_line = {
    .name = "ahead_replace_in_line", .prepare = prepare_crowd, .begin = begin,
    .threads = {overwrite_0, announce_and_get_1}, .check = check_overwritten,
    .finish = scene_close,
};

static void
delete_0(void)
{
    seen.deleted = scene_delete(0, keys[1]);
    seen.stored = true;
}

static void
check_deleted(void)
{
    SCENE_EXPECT(seen.deleted == STORE_OK);
    check_changed_to('-');
}

static const struct scenario ahead_delete = {
    .name = "ahead_delete", .prepare = prepare, .begin = begin,
    .threads = {delete_0, announce_and_get_1}, .check = check_deleted, .finish = scene_close,
};

/* Another one moves up from a line, to where it was. */
static const struct scenario ahead_delete_in_line = {
    .name = "ahead_delete_in_line", .prepare = prepare_crowd, .begin = begin,
    .threads = {delete_0, announce_and_get_1}, .check = check_deleted, .finish = scene_close,
};

static void
delete_first_of_crowd_0(void)
{
    seen.deleted = scene_delete(0, crowd[0]);
}

static void
check_moved_up(void)
{
    SCENE_EXPECT(seen.deleted == STORE_OK);
    SCENE_EXPECT(seen.got[0] == 'a' && seen.got[1] == 'b');
    for (unsigned i = 1; i < CROWD; i++)
        SCENE_EXPECT(scene_get(SCENE_MAIN, crowd[i], NULL, NULL) == 'c');
    scene_verify();
}

static const struct scenario ahead_move_up = {
    .name = "ahead_move_up", .prepare = prepare_crowd, .begin = begin,
    .threads = {delete_first_of_crowd_0, announce_and_get_1}, .check = check_moved_up,
    .finish = scene_close,
};

static void
add_absent_0(void)
{
    seen.put = scene_put(0, STORE_ADD, keys[1], 'm', 0);
    seen.stored = true;
}

static void
prepare_absent(void)
{
    prepare();
    scene_delete(1, keys[1]);
}

static void
check_added(void)
{
    SCENE_EXPECT(seen.put == STORE_OK);
    SCENE_EXPECT(seen.got[0] == 'a');
    SCENE_EXPECT(seen.got[1] == 'm' || (seen.got[1] == '-' && !seen.was_stored[1]));
    SCENE_EXPECT(final(1) == 'm');
    scene_verify();
}

static const struct scenario ahead_add = {
    .name = "ahead_add", .prepare = prepare_absent, .begin = begin,
    .threads = {add_absent_0, announce_and_get_1}, .check = check_added, .finish = scene_close,
};

static void
delete_and_set_0(void)
{
    seen.deleted = scene_delete(0, keys[1]);
    seen.put = scene_put(0, STORE_SET, keys[1], 'm', 0);
    seen.stored = true;
}

static void
check_deleted_and_set(void)
{
    SCENE_EXPECT(seen.deleted == STORE_OK && seen.put == STORE_OK);
    SCENE_EXPECT(seen.got[0] == 'a');
    SCENE_EXPECT(seen.got[1] == 'm' ||
                 ((seen.got[1] == 'b' || seen.got[1] == '-') && !seen.was_stored[1]));
    SCENE_EXPECT(final(1) == 'm');
    scene_verify();
}

static const struct scenario ahead_delete_set = {
    .name = "ahead_delete_set", .prepare = prepare, .begin = begin,
    .threads = {delete_and_set_0, announce_and_get_1}, .check = check_deleted_and_set,
    .finish = scene_close,
};

/* The slot is filled by another key meanwhile. */
static void
delete_and_set_other_0(void)
{
    seen.deleted = scene_delete(0, keys[1]);
    seen.stored = true;
    seen.put = scene_put(0, STORE_SET, crowd[0], 'o', 0);
}

static void
prepare_other(void)
{
    prepare();
    crowd[0] = scene_key_of(0, GROUP_BITS + 1, 0, 2);
}

static void
check_deleted_for_other(void)
{
    SCENE_EXPECT(seen.put == STORE_OK);
    SCENE_EXPECT(scene_get(SCENE_MAIN, crowd[0], NULL, NULL) == 'o');
    check_deleted();
}

static const struct scenario ahead_slot_reused = {
    .name = "ahead_slot_reused", .prepare = prepare_other, .begin = begin,
    .threads = {delete_and_set_other_0, announce_and_get_1}, .check = check_deleted_for_other,
    .finish = scene_close,
};

/* ---- the group changes ----------------------------------------------------------------------- */

static uint64_t
group_count(void)
{
    return atomic_load(&scene.s->index.group_count);
}

static void
prepare_split(void)
{
    prepare();
    scene_split_next(0);
}

static void
prepare_split_crowd(void)
{
    prepare_crowd();
    scene_split_next(0);
}

static void
split_0(void)
{
    seen.put = scene_put(0, STORE_SET, elsewhere, 'e', 0);
}

/* Once it is in the other group, it changes there. */
static void
split_and_overwrite_0(void)
{
    split_0();
    overwrite_0();
}

static void
check_split(void)
{
    SCENE_EXPECT(group_count() == MOVES + 1);
    SCENE_EXPECT(seen.got[0] == 'a' && seen.got[1] == 'b');
    SCENE_EXPECT(final(0) == 'a' && final(1) == 'b');
    scene_verify();
}

static void
check_split_changed(void)
{
    SCENE_EXPECT(group_count() == MOVES + 1);
    check_changed_to('m');
}

static const struct scenario ahead_split = {
    .name = "ahead_split", .prepare = prepare_split, .begin = begin,
    .threads = {split_0, announce_and_get_1}, .check = check_split, .finish = scene_close,
};

static const struct scenario ahead_split_lines = {
    .name = "ahead_split_lines", .prepare = prepare_split_crowd, .begin = begin,
    .threads = {split_0, announce_and_get_1}, .check = check_split, .finish = scene_close,
};

static const struct scenario ahead_split_change = {
    .name = "ahead_split_change", .prepare = prepare_split, .begin = begin,
    .threads = {split_and_overwrite_0, announce_and_get_1}, .check = check_split_changed,
    .finish = scene_close,
};

/* The last group is to be merged. */
static void
prepare_merge(void)
{
    prepare();
    scene_split_next(SCENE_MAIN);
    scene_put(SCENE_MAIN, STORE_SET, scene_key_of(104, GROUP_BITS, 0, 0), 'z', 0);
    CHECK(group_count() == MOVES + 1);
    atomic_store(&scene.s->index.slot_count, 0);
}

static void
prepare_merge_replace(void)
{
    prepare_merge();
    scene.size = SCENE_LONG;
}

static void
merge_0(void)
{
    scene_maintain(0, 2);
}

static void
merge_and_replace_0(void)
{
    merge_0();
    overwrite_0();
}

static void
merge_split_replace_0(void)
{
    merge_0();
    scene_split_next(0);
    seen.put = scene_put(0, STORE_SET, elsewhere, 'e', 0);
    overwrite_0();
}

static void
check_merge(void)
{
    SCENE_EXPECT(group_count() == MOVES);
    SCENE_EXPECT(seen.got[0] == 'a' && seen.got[1] == 'b');
    SCENE_EXPECT(final(0) == 'a' && final(1) == 'b');
    scene_verify();
}

static void
check_merge_changed(void)
{
    SCENE_EXPECT(group_count() == MOVES);
    check_changed_to('m');
}

static const struct scenario ahead_merge = {
    .name = "ahead_merge", .prepare = prepare_merge, .begin = begin,
    .threads = {merge_0, announce_and_get_1}, .check = check_merge, .finish = scene_close,
};

static const struct scenario ahead_merge_change = {
    .name = "ahead_merge_change", .prepare = prepare_merge_replace, .begin = begin,
    .threads = {merge_and_replace_0, announce_and_get_1}, .check = check_merge_changed,
    .finish = scene_close,
};

static const struct scenario ahead_merge_split_change = {
    .name = "ahead_merge_split_change", .prepare = prepare_merge_replace, .begin = begin,
    .threads = {merge_split_replace_0, announce_and_get_1}, .check = check_split_changed,
    .finish = scene_close,
};

/* ---- the segment goes ------------------------------------------------------------------------ */

static uint32_t segment_before;

/* Where the second key lies; 0: nowhere. */
static uint32_t
segment_now(void)
{
    struct index *ix = &scene.s->index;
    struct index_hold h;
    uint64_t slot;
    CHECK(index_look(ix, keys[1].hash, &h));
    struct index_cursor c = index_walk(ix, &h, keys[1].hash);
    return index_next(ix, &c, &slot) ? segment_of(scene.s, slot_location(slot)) : 0;
}

/* The entries are alone in a segment that is worth cleaning; there is room for `segments` more.
 * Thread 0 has none that it fills. */
static void
prepare_keep(unsigned segments)
{
    scene_open(true);
    keys[0] = scene_key_of(0, GROUP_BITS + 1, 0, 0);
    keys[1] = scene_key_of(MOVES, GROUP_BITS + 1, 0, 0);
    elsewhere = scene_key_of(77, GROUP_BITS, 0, 0);
    scene.size = SCENE_LONG;
    scene_put(0, STORE_SET, keys[0], 'a', 0);
    scene_put(0, STORE_SET, keys[1], 'b', 0);
    scene_seal(0);
    for (unsigned n = 1; n < SCHEDULE_THREADS_MAX; n++)
        scene_put(n, STORE_SET, scene_key_of(100 + n, GROUP_BITS, 0, 0), 'z', 0);
    scene_leave_segments(segments);
    segment_before = segment_now();
}

static void
prepare_clean(void)
{
    prepare_keep(1);
}

static void
prepare_evict(void)
{
    prepare_keep(0);
}

static void
maintain_0(void)
{
    scene_maintain(0, 2);
}

static void
check_cleaned(void)
{
    SCENE_EXPECT(segment_now() != 0 && segment_now() != segment_before);
    SCENE_EXPECT(seen.got[0] == 'a' && seen.got[1] == 'b');
    SCENE_EXPECT(final(0) == 'a' && final(1) == 'b');
    scene_verify();
}

static const struct scenario ahead_clean = {
    .name = "ahead_clean", .prepare = prepare_clean, .begin = begin,
    .threads = {maintain_0, announce_and_get_1}, .check = check_cleaned, .finish = scene_close,
};

static void
nothing_0(void)
{
}

static void
clean_and_replace_2(void)
{
    scene_maintain(2, 2);
    seen.put = scene_put(2, STORE_SET, keys[1], 'm', 0);
    seen.stored = true;
}

static const struct scenario ahead_clean_change = {
    .name = "ahead_clean_change", .prepare = prepare_clean, .begin = begin,
    .threads = {nothing_0, announce_and_get_1, clean_and_replace_2}, .check = check_overwritten,
    .finish = scene_close,
};

/* Evicted; its memory is used again if it can be. */
static void
evict_and_store_0(void)
{
    scene_maintain(0, 3);
    seen.stored = true;
    seen.put = scene_put(0, STORE_SET, elsewhere, 'e', 0);
}

static void
check_evicted(void)
{
    SCENE_EXPECT(segment_now() == 0);
    for (unsigned i = 0; i < ANNOUNCED; i++) {
        SCENE_EXPECT(seen.got[i] == '-' || (seen.got[i] == "ab"[i] && !seen.was_stored[i]));
        SCENE_EXPECT(final(i) == '-');
    }
    SCENE_EXPECT(seen.put == STORE_OK || seen.put == STORE_AGAIN);
    scene_verify();
}

static const struct scenario ahead_evict = {
    .name = "ahead_evict", .prepare = prepare_evict, .begin = begin,
    .threads = {evict_and_store_0, announce_and_get_1}, .check = check_evicted,
    .finish = scene_close,
};

SCENE_CASE(ahead_overwrite)
SCENE_CASE(ahead_replace)
SCENE_CASE(ahead_replace_in_line)
SCENE_CASE(ahead_delete)
SCENE_CASE(ahead_delete_in_line)
SCENE_CASE(ahead_move_up)
SCENE_CASE(ahead_add)
SCENE_CASE(ahead_delete_set)
SCENE_CASE(ahead_slot_reused)
SCENE_CASE(ahead_split)
SCENE_CASE(ahead_split_lines)
SCENE_CASE(ahead_split_change)
SCENE_CASE(ahead_merge)
SCENE_CASE(ahead_merge_change)
SCENE_CASE(ahead_merge_split_change)
SCENE_CASE(ahead_clean)
SCENE_CASE(ahead_clean_change)
SCENE_CASE(ahead_evict)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ahead_overwrite),
        cmocka_unit_test(test_ahead_replace),
        cmocka_unit_test(test_ahead_replace_in_line),
        cmocka_unit_test(test_ahead_delete),
        cmocka_unit_test(test_ahead_delete_in_line),
        cmocka_unit_test(test_ahead_move_up),
        cmocka_unit_test(test_ahead_add),
        cmocka_unit_test(test_ahead_delete_set),
        cmocka_unit_test(test_ahead_slot_reused),
        cmocka_unit_test(test_ahead_split),
        cmocka_unit_test(test_ahead_split_lines),
        cmocka_unit_test(test_ahead_split_change),
        cmocka_unit_test(test_ahead_merge),
        cmocka_unit_test(test_ahead_merge_change),
        cmocka_unit_test(test_ahead_merge_split_change),
        cmocka_unit_test(test_ahead_clean),
        cmocka_unit_test(test_ahead_clean_change),
        cmocka_unit_test(test_ahead_evict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
