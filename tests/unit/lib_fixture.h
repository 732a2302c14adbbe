/*
 * lib_fixture.h -- what the programs that test liblarder begin with: a cache with a scripted clock,
 * a thread that has joined it, values that tell whose they are.
 *
 * They see include/larder.h alone, as a program does that is linked with the library.
 */
#ifndef TESTS_UNIT_LIB_FIXTURE_H
#define TESTS_UNIT_LIB_FIXTURE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "larder.h"

#define MIB ((size_t)1 << 20)

static uint64_t script_now = 1700000000;    /* as time(NULL) would say it */

static inline uint64_t
script_clock(void *ctx)
{
    (void)ctx;
    return script_now;
}

static inline struct larder_config
config_of(size_t memory_bytes)
{
    return (struct larder_config){
        .size = sizeof(struct larder_config),
        .memory_bytes = memory_bytes,
        .value_bytes_max = 4 * MIB,
        .threads_max = 4,
        .wait_ms_max = 50,
        .hash_seed = 12345,
        .clock = script_clock,
    };
}

static inline struct larder *
made(struct larder_config config)
{
    struct larder *l = NULL;
    assert_int_equal(larder_create(&config, &l), LARDER_OK);
    assert_non_null(l);
    return l;
}

static inline struct larder_thread *
joined(struct larder *l)
{
    struct larder_thread *t = NULL;
    assert_int_equal(larder_join(l, &t), LARDER_OK);
    assert_non_null(t);
    return t;
}

static inline struct larder_stats
stats_of(struct larder *l)
{
    struct larder_stats s = {.size = sizeof s};
    assert_int_equal(larder_stats_read(l, &s), LARDER_OK);
    return s;
}

static inline void
assert_whole(struct larder *l)
{
    const char *wrong = larder_verify(l);
    struct larder_stats s = stats_of(l);
    if (wrong)
        fail_msg("%s", wrong);
    assert_int_equal(s.items_stored, s.items_present + s.items_replaced + s.items_deleted +
                                         s.items_expired + s.items_evicted + s.items_flushed);
    assert_int_equal(s.borrowed_bytes, 0);
    assert_int_equal(s.lent_bytes, 0);
}

/* With its only thread. */
static inline void
ended(struct larder *l, struct larder_thread *t)
{
    assert_whole(l);
    larder_part(t);
    larder_destroy(l);
}

/* Byte i of a value made from a stamp: any cut, swap or stale part shows. */
static inline char
byte_of(uint64_t stamp, size_t i)
{
    return (char)('!' + ((stamp * 1000003 + i) * 0x9e3779b97f4a7c15u >> 40) % 90);
}

static inline char *
value_made(uint64_t stamp, size_t n)
{
    char *at = malloc(n + 1);
    assert_non_null(at);
    for (size_t i = 0; i < n; i++)
        at[i] = byte_of(stamp, i);
    return at;
}

static inline bool
value_is(const char *at, size_t n, uint64_t stamp)
{
    for (size_t i = 0; i < n; i++)
        if (at[i] != byte_of(stamp, i))
            return false;
    return true;
}

static inline enum larder_error
set_stamped(struct larder_thread *t, struct larder_bytes key, uint64_t stamp, size_t n)
{
    char *value = value_made(stamp, n);
    enum larder_error error = larder_set(t, key, larder_span(value, n), 0);
    free(value);
    return error;
}

static inline struct larder_bytes
numbered(char text[24], unsigned number)
{
    return larder_span(text, (size_t)snprintf(text, 24, "key-%u", number));
}

/* Does the key have exactly this text? */
static inline void
assert_text(struct larder_thread *t, const char *key, const char *text)
{
    struct larder_view view;
    assert_int_equal(larder_get_alloc(t, larder_text(key), &view), LARDER_OK);
    assert_string_equal((const char *)view.value, text);
    assert_int_equal(view.value_bytes, strlen(text));
    larder_free(view.value);
}

static inline void
assert_missing(struct larder_thread *t, const char *key)
{
    char buffer[64];
    assert_int_equal(larder_get(t, larder_text(key), buffer, sizeof buffer, NULL), LARDER_MISS);
}

#endif
