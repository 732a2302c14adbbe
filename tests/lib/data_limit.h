/*
 * data_limit.h -- a limit on what a test may have in memory.
 */
#ifndef TESTS_DATA_LIMIT_H
#define TESTS_DATA_LIMIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

/* What counts against RLIMIT_DATA so far; the shadow of a sanitizer is terabytes. */
static inline rlim_t
data_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %*u %*u %*u %*u %lu", &pages), 1);
    fclose(f);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* The test may have `bytes` more from now on; returns the limit that it had, for data_limit_end. */
static inline struct rlimit
data_limit_begin(size_t bytes)
{
    struct rlimit before, less;
    assert_int_equal(getrlimit(RLIMIT_DATA, &before), 0);
    less = before;
    less.rlim_cur = data_bytes() + bytes;
    assert_int_equal(setrlimit(RLIMIT_DATA, &less), 0);
    return before;
}

static inline void
data_limit_end(struct rlimit before)
{
    assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
}

#endif
