/*
 * test_segment.c -- segments that are touched before they are filled.
 *
 * Goal: as many as were taken in 10 ms are free and resident, never more than 2 % of the limit, and
 * nobody else's share is touched: not what is kept for the copier, not what is owed.
 *
 * Method: a pool of its own under a scripted clock; the kernel is asked what is resident.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/segment.h"

#define SEG_BYTES ((size_t)64 << 10)
#define MS 1000000u

struct rig {
    struct budget budget;
    struct epoch epoch;
    struct segment_pool pool;
    struct segment_demand demand;
    uint64_t now_ns;
};

static void
rig_init(struct rig *r, uint32_t limit, uint32_t keep)
{
    memset(r, 0, sizeof *r);
    atomic_store(&r->budget.limit, limit * SEG_BYTES);
    atomic_store(&r->epoch.now, 1);
    r->now_ns = 1000 * (uint64_t)MS;
    assert_int_equal(segment_pool_init(&r->pool, SEG_BYTES, 1000 * SEG_BYTES, false, keep,
                                       &r->budget, &r->epoch), 0);
}

/* Another 10 ms have passed: touches what is due, returns how many segments that were. */
static unsigned
populate(struct rig *r)
{
    unsigned n = 0;
    r->now_ns += 10 * MS;
    while (segment_populate(&r->pool, &r->demand, r->now_ns))
        assert_true(++n < 1000);
    return n;
}

static uint32_t
take(struct rig *r)
{
    return segment_take(&r->pool, SEGMENT_ACTIVE, 0, r->pool.keep);
}

static bool
is_resident(struct rig *r, uint32_t seg)
{
    unsigned char pages[SEG_BYTES / 4096];
    size_t count = SEG_BYTES / (size_t)sysconf(_SC_PAGESIZE);
    assert_int_equal(mincore(segment_at(&r->pool, seg), SEG_BYTES, pages), 0);
    for (size_t i = 0; i < count; i++)
        if (!(pages[i] & 1))
            return false;
    return true;
}

static void
two_at_least(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 500, 0);
    assert_int_equal(populate(&r), 2);
    assert_int_equal(atomic_load(&r.budget.used), 2 * SEG_BYTES);
    assert_int_equal(atomic_load(&r.pool.ready), 2);
    assert_int_equal(populate(&r), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_true(is_resident(&r, take(&r)));
    assert_false(is_resident(&r, take(&r)));
    assert_int_equal(atomic_load(&r.budget.used), 3 * SEG_BYTES);
    segment_pool_fini(&r.pool);
}

static void
as_many_as_are_taken(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 500, 0);
    populate(&r);
    for (unsigned i = 0; i < 7; i++)
        take(&r);
    assert_int_equal(populate(&r), 7);
    for (unsigned i = 0; i < 7; i++)
        assert_true(is_resident(&r, take(&r)));
    for (unsigned i = 0; i < 30; i++)
        take(&r);
    assert_int_equal(populate(&r), 10);          /* 2 % of 500 */
    r.now_ns += 1000 * MS;                       /* nothing was taken for a second */
    populate(&r);
    assert_int_equal(r.demand.ahead, 2);
    segment_pool_fini(&r.pool);
}

/* What was given back to the system is touched as well. */
static void
given_back_is_touched_again(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 500, 0);
    populate(&r);
    atomic_store(&r.budget.limit, 0);
    while (segment_trim(&r.pool))
        ;
    assert_int_equal(atomic_load(&r.budget.used), 0);
    assert_false(is_resident(&r, 1) || is_resident(&r, 2));
    atomic_store(&r.budget.limit, 500 * SEG_BYTES);
    assert_int_equal(populate(&r), 2);
    assert_true(is_resident(&r, 1) && is_resident(&r, 2));
    assert_int_equal(r.pool.fresh, 3);
    segment_pool_fini(&r.pool);
}

/* What is free is given back for what is owed, before anything else must go; but not what is kept. */
static void
excess_is_what_trimming_leaves(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r, 100, 2);
    for (unsigned i = 0; i < 96; i++)
        assert_true(take(&r) != 0);
    assert_int_equal(populate(&r), 0);           /* the last four stay untouched */
    uint32_t seg[3];
    for (unsigned i = 0; i < 3; i++)
        seg[i] = segment_take(&r.pool, SEGMENT_LENT, 0, 0);
    for (unsigned i = 0; i < 3; i++)
        segment_retire(&r.pool, seg[i]);
    assert_int_equal(atomic_load(&r.pool.ready), 3);
    assert_int_equal(segment_excess(&r.pool), 0);
    budget_wish(&r.budget, 2 * SEG_BYTES);       /* of which one is not in use */
    assert_int_equal(segment_excess(&r.pool), 0);
    while (segment_trim(&r.pool))
        ;
    assert_int_equal(atomic_load(&r.budget.used), 98 * SEG_BYTES);
    atomic_store(&r.budget.owed, 3 * SEG_BYTES);
    assert_int_equal(segment_excess(&r.pool), SEG_BYTES);
    assert_false(segment_trim(&r.pool));
    assert_int_equal(atomic_load(&r.budget.used), 98 * SEG_BYTES);
    segment_pool_fini(&r.pool);
}

/* All of the limit can be taken, but for what is kept, wherever that lies. */
static void
others_have_their_share(void **state)
{
    (void)state;
    for (uint32_t keep = 0; keep <= 2; keep++) {
        struct rig r;
        rig_init(&r, 100, keep);
        uint32_t taken = 0;
        for (unsigned i = 0; i < 200; i++) {
            populate(&r);
            assert_true(atomic_load(&r.budget.used) <= 100 * SEG_BYTES);
            taken += take(&r) != 0;
        }
        assert_int_equal(taken, 100 - keep);
        segment_pool_fini(&r.pool);

        rig_init(&r, 100, keep);
        budget_wish(&r.budget, 99 * SEG_BYTES);
        assert_int_equal(populate(&r), 0);
        segment_pool_fini(&r.pool);
    }
}

/* However many have passed their grace period, a take does not look at all of them. */
static void
collected_a_few_at_a_time(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    struct rig r;
    uint32_t segs[COUNT];
    rig_init(&r, COUNT, 0);
    for (unsigned i = 0; i < COUNT; i++)
        segs[i] = segment_take(&r.pool, SEGMENT_LENT, 0, 0);
    for (unsigned i = 0; i < COUNT; i++)
        segment_seal(&r.pool, segs[i], 0);    /* empty: retired */
    assert_int_equal(r.pool.counts[SEGMENT_LIMBO], COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        uint32_t before = r.pool.counts[SEGMENT_LIMBO];
        assert_true(take(&r) != 0);
        assert_in_range(before - r.pool.counts[SEGMENT_LIMBO], 0, 32);
    }
    assert_int_equal(r.pool.counts[SEGMENT_LIMBO], 0);
    segment_pool_fini(&r.pool);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_at_least),
        cmocka_unit_test(as_many_as_are_taken),
        cmocka_unit_test(given_back_is_touched_again),
        cmocka_unit_test(excess_is_what_trimming_leaves),
        cmocka_unit_test(others_have_their_share),
        cmocka_unit_test(collected_a_few_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
