/*
 * test_interleave_set.c -- set, add, cas, delete and get of one key at the same time: each must
 * look as if it had happened at one moment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "explore.h"
#include "one_key.h"

/* ---- a new entry against get and delete ------------------------------------------------------ */

static void
set_a_0(void)
{
    found.put[0] = scene_put(0, STORE_SET, the_key, 'a', 0);
}

static void
check_set_get_delete(void)
{
    char final = one_key_final_letter();
    SCENE_EXPECT(found.put[0] == STORE_OK);
    SCENE_EXPECT(final == (found.delete == STORE_OK ? '-' : 'a'));
    SCENE_EXPECT(found.got[0] == '-' || found.got[0] == 'a');
    SCENE_EXPECT(found.got[1] == 'a' || found.got[0] == '-' || found.delete == STORE_OK);
    scene_verify();
}

static const struct scenario set_get_delete = {
    .name = "set_get_delete", .prepare = one_key_prepare_absent, .begin = one_key_begin,
    .threads = {set_a_0, one_key_get_twice_1, one_key_delete_2}, .check = check_set_get_delete,
    .finish = scene_close,
};

/* ---- conditions: exactly one wins ------------------------------------------------------------ */

static void
add_a_0(void)
{
    found.put[0] = scene_put(0, STORE_ADD, the_key, 'a', 0);
}

static void
add_b_1(void)
{
    found.put[1] = scene_put(1, STORE_ADD, the_key, 'b', 0);
}

static void
check_two_adds(void)
{
    char final = one_key_final_letter();
    bool first = found.put[0] == STORE_OK;
    SCENE_EXPECT(found.put[first ? 1 : 0] == STORE_NOT_STORED);
    SCENE_EXPECT(found.put[first ? 0 : 1] == STORE_OK);
    SCENE_EXPECT(final == (first ? 'a' : 'b'));
    SCENE_EXPECT(found.got[2] == '-' || found.got[2] == final);
    scene_verify();
}

static const struct scenario two_adds = {
    .name = "two_adds", .prepare = one_key_prepare_absent, .begin = one_key_begin,
    .threads = {add_a_0, add_b_1, one_key_get_2}, .check = check_two_adds, .finish = scene_close,
};

static void
check_set_add(void)
{
    SCENE_EXPECT(found.put[0] == STORE_OK);
    SCENE_EXPECT(found.put[1] == STORE_OK || found.put[1] == STORE_NOT_STORED);
    SCENE_EXPECT(found.got[2] != 'b' || found.put[1] == STORE_OK);
    SCENE_EXPECT(one_key_final_letter() == 'a');
    scene_verify();
}

static const struct scenario set_add = {
    .name = "set_add", .prepare = one_key_prepare_absent, .begin = one_key_begin,
    .threads = {set_a_0, add_b_1, one_key_get_2}, .check = check_set_add, .finish = scene_close,
};

static void
cas_b_0(void)
{
    found.put[0] = scene_put(0, STORE_CAS, the_key, 'b', one_key_cas);
}

static void
cas_c_1(void)
{
    found.put[1] = scene_put(1, STORE_CAS, the_key, 'c', one_key_cas);
}

static void
check_two_cas(void)
{
    char final = one_key_final_letter();
    bool first = found.put[0] == STORE_OK;
    SCENE_EXPECT(found.put[first ? 1 : 0] == STORE_EXISTS);
    SCENE_EXPECT(found.put[first ? 0 : 1] == STORE_OK);
    SCENE_EXPECT(final == (first ? 'b' : 'c'));
    SCENE_EXPECT(found.got[2] == 'a' || found.got[2] == final);
    scene_verify();
}

static const struct scenario two_cas = {
    .name = "two_cas", .prepare = one_key_prepare_a, .begin = one_key_begin,
    .threads = {cas_b_0, cas_c_1, one_key_get_2}, .check = check_two_cas, .finish = scene_close,
};

/* ---- overwriting: where it lies, and elsewhere ----------------------------------------------- */

static void
set_b_0(void)
{
    found.put[0] = scene_put(0, STORE_SET, the_key, 'b', 0);
}

/* Nobody sets 'a' again: once gone it is gone.  A key that is always there is never missed. */
static void
check_overwrite(void)
{
    char final = one_key_final_letter();
    SCENE_EXPECT(found.put[0] == STORE_OK && found.put[2] == STORE_OK);
    SCENE_EXPECT(final == 'b' || final == 'c');
    SCENE_EXPECT(found.got[0] != '-' && found.got[1] != '-');
    SCENE_EXPECT(found.got[0] == 'a' || found.got[1] != 'a');
    SCENE_EXPECT(found.got[0] != final || found.got[1] == final);
    scene_verify();
}

static const struct scenario overwrite_in_place = {
    .name = "overwrite_in_place", .prepare = one_key_prepare_a, .begin = one_key_begin,
    .threads = {set_b_0, one_key_get_twice_1, one_key_set_c_2}, .check = check_overwrite,
    .finish = scene_close,
};

static const struct scenario overwrite_long = {
    .name = "overwrite_long", .prepare = one_key_prepare_long_a, .begin = one_key_begin,
    .threads = {set_b_0, one_key_get_twice_1, one_key_set_c_2}, .check = check_overwrite,
    .finish = scene_close,
};

/* From one that is copied to one that is viewed in place. */
static void
set_long_b_0(void)
{
    scene.size = SCENE_LONG;
    found.put[0] = scene_put(0, STORE_SET, the_key, 'b', 0);
}

static void
begin_small(void)
{
    one_key_begin();
    scene.size = SCENE_SMALL;
}

static void
check_overwrite_longer(void)
{
    SCENE_EXPECT(found.put[0] == STORE_OK);
    SCENE_EXPECT(found.got[1] != 'a' || found.got[0] == 'a');
    SCENE_EXPECT(found.delete == STORE_OK);
    SCENE_EXPECT(one_key_final_letter() == '-' || one_key_final_letter() == 'b');
    SCENE_EXPECT(found.got[0] != '-' || found.got[1] != 'a');
    scene_verify();
}

static const struct scenario overwrite_longer_delete = {
    .name = "overwrite_longer_delete", .prepare = one_key_prepare_a, .begin = begin_small,
    .threads = {set_long_b_0, one_key_get_twice_1, one_key_delete_2},
    .check = check_overwrite_longer, .finish = scene_close,
};

SCENE_CASE(set_get_delete)
SCENE_CASE(two_adds)
SCENE_CASE(set_add)
SCENE_CASE(two_cas)
SCENE_CASE(overwrite_in_place)
SCENE_CASE(overwrite_long)
SCENE_CASE(overwrite_longer_delete)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_get_delete),
        cmocka_unit_test(test_two_adds),
        cmocka_unit_test(test_set_add),
        cmocka_unit_test(test_two_cas),
        cmocka_unit_test(test_overwrite_in_place),
        cmocka_unit_test(test_overwrite_long),
        cmocka_unit_test(test_overwrite_longer_delete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
