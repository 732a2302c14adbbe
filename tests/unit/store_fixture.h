/*
 * store_fixture.h -- what the programs that test the store begin with: a seed, a scripted clock, a
 * store that must be whole.  Included by one file of each program.
 */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../lib/store_kit.h"
#include "base/check.h"

static uint64_t seed;
static uint32_t script_now = 100;

static inline uint32_t
script_clock(void *ctx)
{
    (void)ctx;
    return script_now;
}

static inline struct store *
make_store_for(unsigned threads, size_t memory, bool evict, bool cas)
{
    struct store_config c = {
        .memory_bytes = memory, .value_bytes_max = 4 * MIB, .threads_max = threads,
        .cas_enabled = cas, .evict = evict, .hash_seed = 12345, .clock = script_clock,
    };
    struct store *s = NULL;
    assert_int_equal(store_create(&c, &s), 0);
    return s;
}

static inline struct store *
make_store(size_t memory, bool evict, bool cas)
{
    return make_store_for(8, memory, evict, cas);
}

/* Inside a section. */
static inline struct store_thread *
joined(struct store *s)
{
    struct store_thread *t = store_join(s);
    assert_non_null(t);
    store_enter(t);
    return t;
}

static inline void
assert_whole(struct store *s)
{
    const char *wrong = store_verify(s);
    if (wrong)
        fail_msg("%s (LARDER_SEED=%llu)", wrong, (unsigned long long)seed);
}

static inline void
assert_within_limit(struct store *s)
{
    struct store_stats n;
    store_stats_read(s, &n);
    if (n.memory_used_bytes > n.memory_limit_bytes)
        fail_msg("%llu bytes in use, the limit is %llu (LARDER_SEED=%llu)",
                 (unsigned long long)n.memory_used_bytes, (unsigned long long)n.memory_limit_bytes,
                 (unsigned long long)seed);
}

#endif
