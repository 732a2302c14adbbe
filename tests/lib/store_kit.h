/*
 * store_kit.h -- what the tests of the store share: random numbers with a seed that is printed,
 * operations that wait where a worker would park, values read whole.
 *
 * Nothing here knows cmocka: what cannot be is a CHECK.  All functions may be called by several
 * threads at once, each with its own store_thread.
 */
#ifndef TESTS_STORE_KIT_H
#define TESTS_STORE_KIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

#define MIB ((size_t)1 << 20)
#define KIT_KEY_CHARS 32u

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define KIT_SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KIT_SANITIZED 1
#endif
#endif
#ifndef KIT_SANITIZED
#define KIT_SANITIZED 0
#endif

/* LARDER_SEED, or a new one; never 0.  Prints it with the name of the program. */
uint64_t kit_seed(const char *program);
/* tests/run --long. */
bool kit_long(void);

/* xorshift64: *state is never 0. */
static inline uint64_t
kit_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Byte i of a value made from a stamp: any cut, swap or stale part shows. */
static inline char
kit_byte(uint64_t stamp, size_t i)
{
    return (char)('!' + ((stamp * 1000003 + i) * 0x9e3779b97f4a7c15u >> 40) % 90);
}

void kit_fill(char *at, uint64_t stamp, size_t n);

/* The key "key-<number>", written to text[KIT_KEY_CHARS]. */
struct store_key kit_key(const struct store *s, char *text, unsigned number);
/* store_get() of a key that was just made. */
static inline enum store_outcome
kit_get(struct store_thread *t, struct store_key key, const struct store_get_options *options,
        struct store_view *out_view)
{
    return store_get(t, &key, options, out_view);
}


/* What is done while waiting: by default the section is left, a slice of housekeeping, and back. */
struct kit_wait {
    void (*wait)(void *ctx);
    void *ctx;
};

void kit_give_time(struct store_thread *t);

/* store_put() until it is not AGAIN, by upload where the value is long.  wait: NULL: the default. */
enum store_outcome kit_put(const struct store *s, struct store_thread *t, struct store_put *put,
                           uint64_t *out_cas, const struct kit_wait *wait);
enum store_outcome kit_arith(struct store_thread *t, struct store_key key, bool decrement,
                             uint64_t delta, uint64_t *out_number, const struct kit_wait *wait);

/* The bytes of a view, copied out; false: a part is gone. */
bool kit_read(struct store_thread *t, const struct store_view *v, char *to);

#endif
