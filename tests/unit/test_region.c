/*
 * test_region.c -- reserved address space, writable at once or in steps.
 *
 * Goal: what was asked for can be written and was zero, what was dropped is zero again, and under a
 * limit on data a reservation far beyond it is granted and only what is used counts.
 */
#define _GNU_SOURCE    /* mincore */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/region.h"

#include "../lib/data_limit.h"

#define MIB ((size_t)1 << 20)

static void
use_and_drop(size_t reserved, size_t used)
{
    struct region r;
    assert_int_equal(region_reserve(&r, reserved, false), 0);
    assert_true(r.reserved >= reserved);
    for (size_t bytes = 100000; bytes < used; bytes += 100000) {
        assert_int_equal(region_use(&r, bytes), 0);
        assert_true(r.usable >= bytes && r.usable <= r.reserved);
        assert_int_equal(r.base[bytes - 1], 0);
        memset(r.base + bytes - 100000, 'x', 100000);
    }
    region_drop(&r, MIB, MIB);
    assert_int_equal(r.base[MIB - 1], 'x');
    assert_int_equal(r.base[MIB], 0);
    assert_int_equal(r.base[2 * MIB - 1], 0);
    assert_int_equal(r.base[2 * MIB], 'x');
    assert_true(region_use(&r, r.reserved + 1) != 0);
    region_release(&r);
    assert_null(r.base);
}

static void
as_the_system_likes(void **state)
{
    (void)state;
    use_and_drop(1024 * MIB, 30 * MIB);
}

/* With -k: what is locked in memory is given back as well. */
static void
locked_and_dropped(void **state)
{
    (void)state;
    unsigned char mapped = 1;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct region r;
    assert_int_equal(region_reserve(&r, MIB, false), 0);
    assert_int_equal(region_use(&r, 2 * page), 0);
    memset(r.base, 'x', 2 * page);
    if (mlock(r.base, 2 * page) != 0)
        skip();                        /* not allowed here */
    region_drop(&r, 0, page);
    assert_int_equal(mincore(r.base, page, &mapped), 0);
    assert_false(mapped & 1);
    assert_int_equal(r.base[0], 0);
    assert_int_equal(r.base[page], 'x');
    region_release(&r);
}

/* What is there stays, what is not is there at once, and nothing beyond it. */
static void
touched_ahead(void **state)
{
    (void)state;
    unsigned char mapped[4] = {0};
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct region r;
    assert_int_equal(region_reserve(&r, MIB, false), 0);
    assert_int_equal(region_use(&r, 4 * page), 0);
    r.base[0] = 'x';
    if (!region_touch(&r, 0, 3 * page))
        skip();                        /* Linux before 5.14 */
    assert_int_equal(mincore(r.base, 4 * page, mapped), 0);
    assert_true(mapped[0] & mapped[1] & mapped[2] & 1);
    assert_false(mapped[3] & 1);
    assert_int_equal(r.base[0], 'x');
    assert_int_equal(r.base[page], 0);
    region_release(&r);
}

static void
within_a_limit_on_data(void **state)
{
    (void)state;
    struct rlimit before = data_limit_begin(512 * MIB);
    struct region r;
    assert_int_equal(region_reserve(&r, 256 * MIB, false), 0);
    assert_int_equal(r.usable, 0);     /* granted, it would be half of what there is */
    region_release(&r);
    use_and_drop(1024 * MIB, 30 * MIB);
    data_limit_end(before);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_system_likes),
        cmocka_unit_test(locked_and_dropped),
        cmocka_unit_test(touched_ahead),
        cmocka_unit_test(within_a_limit_on_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
