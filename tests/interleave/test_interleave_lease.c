/*
 * test_interleave_lease.c -- who wins the token of an entry that is absent, stale or due, while it
 * is read, changed in place and declared stale.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "explore.h"
#include "one_key.h"

static struct store_view views[SCHEDULE_THREADS_MAX];

static void
lease(unsigned thread)
{
    struct store_get_options how = {.lease = true, .vivify = true, .recache = true,
                                    .recache_below = scene.now + 50};
    store_enter(scene.t[thread]);
    found.put[thread] = store_get(scene.t[thread], &the_key, &how, &views[thread]);
    store_leave(scene.t[thread]);
}

static void
lease_0(void)
{
    lease(0);
}

static void
lease_1(void)
{
    lease(1);
}

static void
lease_2(void)
{
    lease(2);
}

static enum store_outcome
invalidate(unsigned thread)
{
    struct store_invalidate how = {.key = the_key, .stale = true};
    store_enter(scene.t[thread]);
    enum store_outcome outcome = store_invalidate(scene.t[thread], &how);
    store_leave(scene.t[thread]);
    return outcome;
}

/* Notes an access: its compare-exchange must not take back a mark. */
static void
read_2(void)
{
    found.got[2] = scene_get(2, the_key, NULL, NULL);
}

static void
invalidate_2(void)
{
    found.put[2] = invalidate(2);
}

static unsigned
winners(unsigned threads)
{
    unsigned won = 0;
    for (unsigned i = 0; i < threads; i++) {
        SCENE_EXPECT(found.put[i] == STORE_OK);
        won += views[i].won;
        SCENE_EXPECT(!(views[i].won && views[i].marks & STORE_MARK_TOKEN));
    }
    return won;
}

static uint8_t
marks_now(struct store_view *v)
{
    struct store_get_options peek = {.no_bump = true};
    store_enter(scene.t[SCENE_MAIN]);
    SCENE_EXPECT(store_get(scene.t[SCENE_MAIN], &the_key, &peek, v) == STORE_OK);
    store_leave(scene.t[SCENE_MAIN]);
    return v->marks;
}

/* ---- three miss ------------------------------------------------------------------------------ */

static void
check_vivify(void)
{
    struct store_view v;
    SCENE_EXPECT(winners(3) == 1);
    SCENE_EXPECT(views[0].vivified + views[1].vivified + views[2].vivified == 1);
    SCENE_EXPECT(marks_now(&v) & STORE_MARK_TOKEN && v.value_bytes == 0);
    for (unsigned i = 0; i < 3; i++)
        SCENE_EXPECT(views[i].cas == v.cas);
}

static const struct scenario three_vivify = {
    .name = "three_vivify", .prepare = one_key_prepare_absent, .begin = one_key_begin,
    .threads = {lease_0, lease_1, lease_2}, .check = check_vivify,
    .finish = scene_close,
};

/* ---- two find it stale, one reads ------------------------------------------------------------ */

static void
prepare_stale(void)
{
    one_key_prepare_a();
    SCENE_EXPECT(invalidate(0) == STORE_OK);
}

static void
prepare_stale_long(void)
{
    one_key_prepare_long_a();
    SCENE_EXPECT(invalidate(0) == STORE_OK);
}

/* Due for renewal: less than 50 seconds are left. */
static void
prepare_due(void)
{
    one_key_prepare_absent();
    scene.expiry = scene.now + 10;
    SCENE_EXPECT(scene_put(0, STORE_SET, the_key, 'a', 0) == STORE_OK);
}

static void
check_one_winner(void)
{
    struct store_view v;
    SCENE_EXPECT(winners(2) == 1);
    SCENE_EXPECT(found.got[2] == 'a');
    SCENE_EXPECT(marks_now(&v) & STORE_MARK_TOKEN);
}

static const struct scenario stale_lease = {
    .name = "stale_lease", .prepare = prepare_stale, .begin = one_key_begin,
    .threads = {lease_0, lease_1, read_2}, .check = check_one_winner,
    .finish = scene_close,
};

static const struct scenario stale_lease_long = {
    .name = "stale_lease_long", .prepare = prepare_stale_long, .begin = one_key_begin,
    .threads = {lease_0, lease_1, read_2}, .check = check_one_winner,
    .finish = scene_close,
};

static const struct scenario due_lease = {
    .name = "due_lease", .prepare = prepare_due, .begin = one_key_begin,
    .threads = {lease_0, lease_1, read_2}, .check = check_one_winner,
    .finish = scene_close,
};

/* ---- it is declared stale meanwhile ---------------------------------------------------------- */

static void
prepare_token(void)
{
    prepare_stale();
    lease(0);
    SCENE_EXPECT(views[0].won);
}

/* A token is cleared once: so one may win, and if nobody has, the next one will. */
static void
check_invalidated(void)
{
    struct store_view v;
    unsigned won = winners(2);
    SCENE_EXPECT(found.put[2] == STORE_OK && won <= 1);
    uint8_t marks = marks_now(&v);
    SCENE_EXPECT(marks & STORE_MARK_STALE);
    SCENE_EXPECT(!(marks & STORE_MARK_TOKEN) == (won == 0));
}

static const struct scenario invalidate_lease = {
    .name = "invalidate_lease", .prepare = prepare_token, .begin = one_key_begin,
    .threads = {lease_0, lease_1, invalidate_2}, .check = check_invalidated,
    .finish = scene_close,
};

SCENE_CASE(three_vivify)
SCENE_CASE(stale_lease)
SCENE_CASE(stale_lease_long)
SCENE_CASE(due_lease)
SCENE_CASE(invalidate_lease)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_vivify),
        cmocka_unit_test(test_stale_lease),
        cmocka_unit_test(test_stale_lease_long),
        cmocka_unit_test(test_due_lease),
        cmocka_unit_test(test_invalidate_lease),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
