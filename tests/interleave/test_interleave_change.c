/*
 * test_interleave_change.c -- incr, append, touch and flush_all while the same key is read and set.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "explore.h"
#include "one_key.h"

/* ---- arithmetic ------------------------------------------------------------------------------ */

static void
increase(unsigned thread)
{
    struct store_arith how = {.key = the_key, .delta = 1111};
    struct store_number number = {0};
    store_enter(scene.t[thread]);
    found.put[thread] = store_arith(scene.t[thread], &how, &number);
    store_leave(scene.t[thread]);
    found.number[thread] = number.number;
}

static void
increase_0(void)
{
    increase(0);
}

static void
increase_2(void)
{
    increase(2);
}

static uint64_t
read_number(unsigned thread)
{
    struct store_view v;
    uint64_t number = 0;
    store_enter(scene.t[thread]);
    if (store_get(scene.t[thread], &the_key, NULL, &v) != STORE_OK || v.value_bytes != 4)
        schedule_complain("the number is gone");
    else
        for (unsigned i = 0; i < 4; i++)
            number = number * 10 + (uint64_t)(v.value[i] - '0');
    store_leave(scene.t[thread]);
    return number;
}

static void
read_number_1(void)
{
    found.number[1] = read_number(1);
}

static void
prepare_number(void)
{
    one_key_prepare_absent();
    struct store_put put = {.mode = STORE_SET, .key = the_key, .value = {"1111", 4}};
    store_enter(scene.t[0]);
    store_put(scene.t[0], &put, NULL);
    store_leave(scene.t[0]);
}

static void
check_increase(void)
{
    SCENE_EXPECT(found.put[0] == STORE_OK && found.put[2] == STORE_OK);
    SCENE_EXPECT(found.number[0] + found.number[2] == 2222 + 3333);
    SCENE_EXPECT(found.number[1] == 1111 || found.number[1] == 2222 || found.number[1] == 3333);
    SCENE_EXPECT(read_number(SCENE_MAIN) == 3333);
    scene_verify();
}

static const struct scenario two_incr = {
    .name = "two_incr", .prepare = prepare_number, .begin = one_key_begin,
    .threads = {increase_0, read_number_1, increase_2}, .check = check_increase,
    .finish = scene_close,
};

/* ---- append ---------------------------------------------------------------------------------- */

static void
append_four(unsigned thread, const char *text)
{
    struct store_put put = {.mode = STORE_APPEND, .key = the_key, .value = {text, 4}};
    store_enter(scene.t[thread]);
    found.put[thread] = store_put(scene.t[thread], &put, NULL);
    store_leave(scene.t[thread]);
}

static void
append_0(void)
{
    append_four(0, "2222");
}

static void
append_1(void)
{
    append_four(1, "3333");
}

static void
check_append(void)
{
    struct store_view v;
    SCENE_EXPECT(found.put[0] == STORE_OK && found.put[1] == STORE_OK);
    store_enter(scene.t[SCENE_MAIN]);
    SCENE_EXPECT(store_get(scene.t[SCENE_MAIN], &the_key, NULL, &v) == STORE_OK);
    SCENE_EXPECT(v.value_bytes == 12 && (memcmp(v.value, "111122223333", 12) == 0 ||
                                         memcmp(v.value, "111133332222", 12) == 0));
    store_leave(scene.t[SCENE_MAIN]);
    scene_verify();
}

static const struct scenario two_appends = {
    .name = "two_appends", .prepare = prepare_number, .begin = one_key_begin,
    .threads = {append_0, append_1}, .check = check_append, .finish = scene_close,
};

static void
check_append_incr(void)
{
    struct store_view v;
    store_enter(scene.t[SCENE_MAIN]);
    SCENE_EXPECT(store_get(scene.t[SCENE_MAIN], &the_key, NULL, &v) == STORE_OK);
    SCENE_EXPECT(found.put[0] == STORE_OK && found.put[2] == STORE_OK);
    SCENE_EXPECT(v.value_bytes == 8 && (memcmp(v.value, "22222222", 8) == 0 ||
                                        memcmp(v.value, "11113333", 8) == 0));
    store_leave(scene.t[SCENE_MAIN]);
    scene_verify();
}

static void
nothing_1(void)
{
}

static const struct scenario append_incr = {
    .name = "append_incr", .prepare = prepare_number, .begin = one_key_begin,
    .threads = {append_0, nothing_1, increase_2}, .check = check_append_incr,
    .finish = scene_close,
};

static void
set_nines_2(void)
{
    struct store_put put = {.mode = STORE_SET, .key = the_key, .value = {"9999", 4}};
    store_enter(scene.t[2]);
    found.put[2] = store_put(scene.t[2], &put, NULL);
    store_leave(scene.t[2]);
}

/* The one that is set lies where the old one was. */
static void
check_append_set(void)
{
    struct store_view v;
    store_enter(scene.t[SCENE_MAIN]);
    SCENE_EXPECT(store_get(scene.t[SCENE_MAIN], &the_key, NULL, &v) == STORE_OK);
    SCENE_EXPECT(found.put[0] == STORE_OK && found.put[2] == STORE_OK);
    SCENE_EXPECT((v.value_bytes == 8 && memcmp(v.value, "99992222", 8) == 0) ||
                 (v.value_bytes == 4 && memcmp(v.value, "9999", 4) == 0));
    store_leave(scene.t[SCENE_MAIN]);
    scene_verify();
}

static const struct scenario append_set = {
    .name = "append_set", .prepare = prepare_number, .begin = one_key_begin,
    .threads = {append_0, nothing_1, set_nines_2}, .check = check_append_set,
    .finish = scene_close,
};

/* ---- touch ----------------------------------------------------------------------------------- */

static void
get_and_touch_0(void)
{
    uint32_t expiry = 1000;
    found.got[0] = scene_get(0, the_key, &expiry, NULL);
}

static void
get_view_1(void)
{
    found.got[1] = scene_get(1, the_key, NULL, &found.view);
}

static void
check_touch(void)
{
    struct store_view v;
    char final = scene_get(SCENE_MAIN, the_key, NULL, &v);
    SCENE_EXPECT(found.put[2] == STORE_OK);
    SCENE_EXPECT(final == 'c');
    SCENE_EXPECT(v.expiry == (found.got[0] == 'c' ? 1000 : 500));
    SCENE_EXPECT(found.got[0] == 'a' || found.got[0] == 'c');
    SCENE_EXPECT((found.got[1] == 'a' && (found.view.expiry == 0 || found.view.expiry == 1000)) ||
                 (found.got[1] == 'c' && (found.view.expiry == 500 || found.view.expiry == 1000)));
    scene_verify();
}

static void
prepare_touch(void)
{
    one_key_prepare_a();
    scene.expiry = 500;
}

static const struct scenario touch_set = {
    .name = "touch_set", .prepare = prepare_touch, .begin = one_key_begin,
    .threads = {get_and_touch_0, get_view_1, one_key_set_c_2}, .check = check_touch,
    .finish = scene_close,
};

static void
prepare_long_touch(void)
{
    one_key_prepare_long_a();
    scene.expiry = 500;
}

static const struct scenario touch_set_long = {
    .name = "touch_set_long", .prepare = prepare_long_touch, .begin = one_key_begin,
    .threads = {get_and_touch_0, get_view_1, one_key_set_c_2}, .check = check_touch,
    .finish = scene_close,
};

/* ---- flush_all ------------------------------------------------------------------------------- */

static void
flush_0(void)
{
    scene_flush(0);
    found.flushed = true;
    found.got[0] = scene_get(0, the_key, NULL, NULL);
}

static void
set_and_get_b_1(void)
{
    found.put_after_flush = found.flushed;
    found.put[1] = scene_put(1, STORE_SET, the_key, 'b', 0);
    found.got[1] = scene_get(1, the_key, NULL, NULL);
}

static void
check_flush(void)
{
    char final = one_key_final_letter();
    SCENE_EXPECT(found.put[1] == STORE_OK);
    SCENE_EXPECT(found.got[0] != 'a');
    SCENE_EXPECT(found.got[1] == 'b' || (found.got[1] == '-' && !found.put_after_flush));
    SCENE_EXPECT(final == 'b' || (final == '-' && !found.put_after_flush));
    SCENE_EXPECT(found.got[0] != 'b' || final == 'b');
    scene_verify();
}

static const struct scenario flush_set_get = {
    .name = "flush_set_get", .prepare = one_key_prepare_a, .begin = one_key_begin,
    .threads = {flush_0, set_and_get_b_1, one_key_get_2}, .check = check_flush,
    .finish = scene_close,
};

static const struct scenario flush_set_get_long = {
    .name = "flush_set_get_long", .prepare = one_key_prepare_long_a, .begin = one_key_begin,
    .threads = {flush_0, set_and_get_b_1, one_key_get_2}, .check = check_flush,
    .finish = scene_close,
};

SCENE_CASE(two_incr)
SCENE_CASE(two_appends)
SCENE_CASE(append_incr)
SCENE_CASE(append_set)
SCENE_CASE(touch_set)
SCENE_CASE(touch_set_long)
SCENE_CASE(flush_set_get)
SCENE_CASE(flush_set_get_long)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_incr),
        cmocka_unit_test(test_two_appends),
        cmocka_unit_test(test_append_incr),
        cmocka_unit_test(test_append_set),
        cmocka_unit_test(test_touch_set),
        cmocka_unit_test(test_touch_set_long),
        cmocka_unit_test(test_flush_set_get),
        cmocka_unit_test(test_flush_set_get_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
