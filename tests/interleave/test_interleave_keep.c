/*
 * test_interleave_keep.c -- commands while housekeeping copies entries on, evicts them, and their
 * segments are used again.
 *
 * Where there is room for the copies nothing is evicted, so nothing may be missed or lose a change;
 * where there is none, a miss is allowed and a wrong value is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "explore.h"
#include "one_key.h"

#define CLEANER 0u

static struct store_key other_key;

/* Two entries in a segment that is worth cleaning, and room for `segments` more; threads 1 to
 * fillers - 1 have one that they fill. */
static void
prepare(bool evict, enum scene_size size, unsigned segments, unsigned fillers)
{
    scene_open(evict);
    the_key = scene_key(0);
    other_key = scene_key(1);
    scene.size = size;
    scene_put(0, STORE_SET, the_key, 'a', 0);
    scene_put(0, STORE_SET, other_key, 'o', 0);
    scene_seal(0);
    scene.size = SCENE_SMALL;
    for (unsigned n = 1; n < fillers; n++)
        scene_put(n, STORE_SET, scene_key(10 + n), 'z', 0);
    scene.size = size;
    scene_leave_segments(segments);
}

static void
prepare_small(void)
{
    prepare(true, SCENE_SMALL, 1, 3);
}

static void
prepare_long(void)
{
    prepare(true, SCENE_LONG, 1, 3);
}

static void
prepare_long_no_eviction(void)
{
    prepare(false, SCENE_LONG, 1, 3);
}

static void
prepare_no_room(void)
{
    prepare(true, SCENE_LONG, 0, 3);
}

static void
maintain_0(void)
{
    scene_maintain(CLEANER, 2);
}

static bool
was_cleaned(void)
{
    struct store_stats n;
    store_stats_read(scene.s, &n);
    return n.segments_free + n.segments_limbo > 0;
}

/* ---- cleaning: nothing is lost --------------------------------------------------------------- */

static void
check_clean_get(void)
{
    SCENE_EXPECT(was_cleaned());
    SCENE_EXPECT(found.got[0] == 'a' && found.got[1] == 'a' && found.got[2] == 'a');
    SCENE_EXPECT(one_key_final_letter() == 'a');
    SCENE_EXPECT(scene_get(SCENE_MAIN, other_key, NULL, NULL) == 'o');
    scene_verify();
}

static const struct scenario clean_get_small = {
    .name = "clean_get_small", .prepare = prepare_small, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_get_2}, .check = check_clean_get,
    .finish = scene_close,
};

static const struct scenario clean_get_long = {
    .name = "clean_get_long", .prepare = prepare_long, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_get_2}, .check = check_clean_get,
    .finish = scene_close,
};

static const struct scenario clean_get_no_eviction = {
    .name = "clean_get_no_eviction", .prepare = prepare_long_no_eviction, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_get_2}, .check = check_clean_get,
    .finish = scene_close,
};

static void
check_clean_set(void)
{
    SCENE_EXPECT(was_cleaned());
    SCENE_EXPECT(found.put[2] == STORE_OK);
    SCENE_EXPECT(found.got[0] == 'a' || (found.got[0] == 'c' && found.got[1] == 'c'));
    SCENE_EXPECT(found.got[1] == 'a' || found.got[1] == 'c');
    SCENE_EXPECT(one_key_final_letter() == 'c');
    scene_verify();
}

static const struct scenario clean_overwrite_in_place = {
    .name = "clean_overwrite_in_place", .prepare = prepare_small, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_set_c_2}, .check = check_clean_set,
    .finish = scene_close,
};

static const struct scenario clean_set_long = {
    .name = "clean_set_long", .prepare = prepare_long, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_set_c_2}, .check = check_clean_set,
    .finish = scene_close,
};

static void
check_clean_delete(void)
{
    SCENE_EXPECT(was_cleaned());
    SCENE_EXPECT(found.delete == STORE_OK);
    SCENE_EXPECT(found.got[0] == 'a' || (found.got[0] == '-' && found.got[1] == '-'));
    SCENE_EXPECT(one_key_final_letter() == '-');
    scene_verify();
}

static const struct scenario clean_delete = {
    .name = "clean_delete", .prepare = prepare_long, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_delete_2}, .check = check_clean_delete,
    .finish = scene_close,
};

static void
touch_1(void)
{
    uint32_t expiry = 1000;
    found.got[1] = scene_get(1, the_key, &expiry, NULL);
}

static void
check_clean_touch(void)
{
    struct store_view v;
    SCENE_EXPECT(was_cleaned());
    SCENE_EXPECT(found.got[1] == 'a' && found.got[2] == 'a');
    SCENE_EXPECT(scene_get(SCENE_MAIN, the_key, NULL, &v) == 'a' && v.expiry == 1000);
    scene_verify();
}

static const struct scenario clean_touch_small = {
    .name = "clean_touch_small", .prepare = prepare_small, .begin = one_key_begin,
    .threads = {maintain_0, touch_1, one_key_get_2}, .check = check_clean_touch,
    .finish = scene_close,
};

static const struct scenario clean_touch_long = {
    .name = "clean_touch_long", .prepare = prepare_long, .begin = one_key_begin,
    .threads = {maintain_0, touch_1, one_key_get_2}, .check = check_clean_touch,
    .finish = scene_close,
};

/* ---- cleaning: what is made of the old value ------------------------------------------------- */

#define APPENDED 20u

static char appended[APPENDED + 1] = "aaaaaaaaaaaaaaaaaaaa";
static struct store_view appended_view;

static void
append_2(void)
{
    struct store_put put = {.mode = STORE_APPEND, .key = the_key, .value = {appended, APPENDED}};
    store_enter(scene.t[2]);
    found.put[2] = store_put(scene.t[2], &put, NULL);
    store_leave(scene.t[2]);
}

static void
get_first_1(void)
{
    store_enter(scene.t[1]);
    SCENE_EXPECT(store_get(scene.t[1], &the_key, NULL, &appended_view) == STORE_OK);
    store_leave(scene.t[1]);
}

static void
check_clean_append(void)
{
    struct store_view v;
    store_enter(scene.t[SCENE_MAIN]);
    SCENE_EXPECT(was_cleaned());
    SCENE_EXPECT(found.put[2] == STORE_OK);
    SCENE_EXPECT(store_get(scene.t[SCENE_MAIN], &the_key, NULL, &v) == STORE_OK);
    SCENE_EXPECT(appended_view.value_bytes == v.value_bytes ||
                 appended_view.value_bytes + APPENDED == v.value_bytes);
    for (size_t i = 0; i < v.value_bytes; i++)
        SCENE_EXPECT(v.value[i] == 'a');
    store_leave(scene.t[SCENE_MAIN]);
    scene_verify();
}

static const struct scenario clean_append_small = {
    .name = "clean_append_small", .prepare = prepare_small, .begin = one_key_begin,
    .threads = {maintain_0, get_first_1, append_2}, .check = check_clean_append,
    .finish = scene_close,
};

static const struct scenario clean_append_long = {
    .name = "clean_append_long", .prepare = prepare_long, .begin = one_key_begin,
    .threads = {maintain_0, get_first_1, append_2}, .check = check_clean_append,
    .finish = scene_close,
};

/* A number in place of 'a', in the same segment. */
static void
prepare_number(void)
{
    scene_open(true);
    the_key = scene_key(0);
    other_key = scene_key(1);
    struct store_put put = {.mode = STORE_SET, .key = the_key, .value = {"9990", 4}};
    store_enter(scene.t[0]);
    store_put(scene.t[0], &put, NULL);
    store_leave(scene.t[0]);
    scene_put(0, STORE_SET, other_key, 'o', 0);
    scene_seal(0);
    scene_put(1, STORE_SET, scene_key(11), 'z', 0);
    scene_put(2, STORE_SET, scene_key(12), 'z', 0);
    scene_leave_segments(1);
}

static void
increase(unsigned thread, uint64_t delta)
{
    struct store_arith how = {.key = the_key, .delta = delta};
    struct store_number number = {0};
    store_enter(scene.t[thread]);
    found.put[thread] = store_arith(scene.t[thread], &how, &number);
    store_leave(scene.t[thread]);
    found.number[thread] = number.number;
}

/* In place, where it is the first. */
static void
increase_1(void)
{
    increase(1, 4);
}

/* Never: the text gets longer. */
static void
increase_2(void)
{
    increase(2, 60);
}

static void
check_clean_incr(void)
{
    SCENE_EXPECT(was_cleaned());
    SCENE_EXPECT(found.put[1] == STORE_OK && found.put[2] == STORE_OK);
    SCENE_EXPECT((found.number[1] == 9994 && found.number[2] == 10054) ||
                 (found.number[2] == 10050 && found.number[1] == 10054));
    struct store_view v;
    store_enter(scene.t[SCENE_MAIN]);
    SCENE_EXPECT(store_get(scene.t[SCENE_MAIN], &the_key, NULL, &v) == STORE_OK);
    SCENE_EXPECT(v.value_bytes == 5 && memcmp(v.value, "10054", 5) == 0);
    store_leave(scene.t[SCENE_MAIN]);
    scene_verify();
}

static const struct scenario clean_incr = {
    .name = "clean_incr", .prepare = prepare_number, .begin = one_key_begin,
    .threads = {maintain_0, increase_1, increase_2}, .check = check_clean_incr,
    .finish = scene_close,
};

/* ---- eviction -------------------------------------------------------------------------------- */

static void
check_evict_set(void)
{
    char final = one_key_final_letter();
    SCENE_EXPECT(found.put[2] == STORE_OK);
    SCENE_EXPECT(found.got[0] != 'c' || found.got[1] != 'a');
    SCENE_EXPECT(final == 'c');        /* it lies in a segment that is not full */
    scene_verify();
}

static const struct scenario evict_get_set = {
    .name = "evict_get_set", .prepare = prepare_no_room, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_set_c_2}, .check = check_evict_set,
    .finish = scene_close,
};

static void
check_evict_delete(void)
{
    SCENE_EXPECT(found.got[0] != '-' || found.got[1] == '-');
    SCENE_EXPECT(one_key_final_letter() == '-');
    scene_verify();
}

static const struct scenario evict_get_delete = {
    .name = "evict_get_delete", .prepare = prepare_no_room, .begin = one_key_begin,
    .threads = {maintain_0, one_key_get_twice_1, one_key_delete_2}, .check = check_evict_delete,
    .finish = scene_close,
};

/* ---- segments used again --------------------------------------------------------------------- */

/* Thread 2 has no segment: what it stores goes where `the_key` was, as soon as it may. */
static void
prepare_reuse(void)
{
    prepare(true, SCENE_LONG, 0, 2);
}

static void
evict_and_set_other_2(void)
{
    scene_maintain(2, 2);
    found.put[2] = scene_put(2, STORE_SET, other_key, 'p', 0);
}

static void
get_other_0(void)
{
    found.got[2] = scene_get(0, other_key, NULL, NULL);
}

static void
check_reuse(void)
{
    SCENE_EXPECT(found.got[0] == 'a' || found.got[0] == '-');
    SCENE_EXPECT(found.got[0] == 'a' || found.got[1] == '-');
    SCENE_EXPECT(found.put[2] == STORE_OK || found.put[2] == STORE_AGAIN);
    SCENE_EXPECT(found.put[2] != STORE_OK ||
                 scene_get(SCENE_MAIN, other_key, NULL, NULL) == 'p');
    scene_verify();
}

/* It works at all: with nobody inside the segment is at hand at once. */
static void
check_reuse_alone(void)
{
    SCENE_EXPECT(found.put[2] == STORE_OK);
    SCENE_EXPECT(one_key_final_letter() == '-');
    SCENE_EXPECT(scene_get(SCENE_MAIN, other_key, NULL, NULL) == 'p');
    scene_verify();
}

static void
nothing(void)
{
}

static const struct scenario reuse_alone = {
    .name = "reuse_alone", .prepare = prepare_reuse, .begin = one_key_begin,
    .threads = {nothing, nothing, evict_and_set_other_2}, .check = check_reuse_alone,
    .finish = scene_close,
};

static const struct scenario reuse_evicted = {
    .name = "reuse_evicted", .prepare = prepare_reuse, .begin = one_key_begin,
    .threads = {get_other_0, one_key_get_twice_1, evict_and_set_other_2}, .check = check_reuse,
    .finish = scene_close,
};

/* The last entry of a segment is deleted: it may be used again without housekeeping. */
static void
delete_and_set_other_2(void)
{
    scene_delete(2, the_key);
    scene_delete(2, other_key);
    found.put[2] = scene_put(2, STORE_SET, other_key, 'p', 0);
}

static const struct scenario reuse_emptied = {
    .name = "reuse_emptied", .prepare = prepare_reuse, .begin = one_key_begin,
    .threads = {get_other_0, one_key_get_twice_1, delete_and_set_other_2}, .check = check_reuse,
    .finish = scene_close,
};

/* The limit was lowered: memory goes back to the system, but not under a reader's feet. */
static void
prepare_trim(void)
{
    prepare_no_room();
    atomic_fetch_sub(&scene.s->budget.limit, scene.s->pool.seg_bytes);
}

static void
maintain_2(void)
{
    scene_maintain(2, 3);
}

static void
check_trim(void)
{
    SCENE_EXPECT(found.got[0] == 'a' || found.got[1] == '-');
    scene_verify();
}

static const struct scenario trim_get = {
    .name = "trim_get", .prepare = prepare_trim, .begin = one_key_begin,
    .threads = {get_other_0, one_key_get_twice_1, maintain_2}, .check = check_trim,
    .finish = scene_close,
};

/* Two at once want to keep house. */
static void
maintain_1(void)
{
    scene_maintain(1, 2);
}

static void
check_two_maintain(void)
{
    SCENE_EXPECT(found.got[2] == 'a' || found.got[2] == '-');
    SCENE_EXPECT(one_key_final_letter() == '-' || one_key_final_letter() == 'a');
    scene_verify();
}

static const struct scenario two_maintain = {
    .name = "two_maintain", .prepare = prepare_long, .begin = one_key_begin,
    .threads = {maintain_0, maintain_1, one_key_get_2}, .check = check_two_maintain,
    .finish = scene_close,
};

SCENE_CASE(clean_get_small)
SCENE_CASE(clean_get_long)
SCENE_CASE(clean_get_no_eviction)
SCENE_CASE(clean_overwrite_in_place)
SCENE_CASE(clean_set_long)
SCENE_CASE(clean_delete)
SCENE_CASE(clean_touch_small)
SCENE_CASE(clean_touch_long)
SCENE_CASE(clean_append_small)
SCENE_CASE(clean_append_long)
SCENE_CASE(clean_incr)
SCENE_CASE(evict_get_set)
SCENE_CASE(evict_get_delete)
SCENE_CASE(reuse_alone)
SCENE_CASE(reuse_evicted)
SCENE_CASE(reuse_emptied)
SCENE_CASE(trim_get)
SCENE_CASE(two_maintain)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean_get_small),
        cmocka_unit_test(test_clean_get_long),
        cmocka_unit_test(test_clean_get_no_eviction),
        cmocka_unit_test(test_clean_overwrite_in_place),
        cmocka_unit_test(test_clean_set_long),
        cmocka_unit_test(test_clean_delete),
        cmocka_unit_test(test_clean_touch_small),
        cmocka_unit_test(test_clean_touch_long),
        cmocka_unit_test(test_clean_append_small),
        cmocka_unit_test(test_clean_append_long),
        cmocka_unit_test(test_clean_incr),
        cmocka_unit_test(test_evict_get_set),
        cmocka_unit_test(test_evict_get_delete),
        cmocka_unit_test(test_reuse_alone),
        cmocka_unit_test(test_reuse_evicted),
        cmocka_unit_test(test_reuse_emptied),
        cmocka_unit_test(test_trim_get),
        cmocka_unit_test(test_two_maintain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
