/*
 * words.h -- items that are read while they change: copied by words, in atomic loads and stores.
 *
 * A reader without the lock may see words of two versions; the version of the group tells it so.
 * Each load here acquires and each store releases, so that a reader that has seen one word of a
 * change also sees, when it looks at the control word again, that the group was locked for it.
 * (The usual seqlock needs fences for that, which ThreadSanitizer does not know; on x86 these
 * loads and stores cost nothing, on ARM they are ldar and stlr.  Boehm, "Can seqlocks get along
 * with programming language memory models?", MSPC 2012.)
 *
 * Addresses of items are multiples of 4; the other side may lie anywhere.
 */
#ifndef STORE_WORDS_H
#define STORE_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint32_t __attribute__((may_alias)) word32;
typedef uint64_t __attribute__((may_alias)) word64;

static inline uint32_t
word_read(const void *at)
{
    return __atomic_load_n((const word32 *)at, __ATOMIC_ACQUIRE);
}

static inline void
word_write(void *at, uint32_t value)
{
    __atomic_store_n((word32 *)at, value, __ATOMIC_RELEASE);
}

/* One try: whoever comes in between wins. */
static inline bool
word_replace(void *at, uint32_t was, uint32_t value)
{
    return __atomic_compare_exchange_n((word32 *)at, &was, value, false, __ATOMIC_RELEASE,
                                       __ATOMIC_RELAXED);
}

static inline size_t
words_odd(const void *at)
{
    return (uintptr_t)at & 4;
}

/* From an item.  `bytes`: a multiple of 4. */
static inline void
words_read(void *to, const void *from, size_t bytes)
{
    const char *f = from;
    char *t = to;
    size_t at = words_odd(f) && bytes ? 4 : 0;
    if (at)
        memcpy(t, &(uint32_t){word_read(f)}, 4);
    for (; at + 8 <= bytes; at += 8) {
        uint64_t w = __atomic_load_n((const word64 *)(const void *)(f + at), __ATOMIC_ACQUIRE);
        memcpy(t + at, &w, 8);
    }
    if (at < bytes)
        memcpy(t + at, &(uint32_t){word_read(f + at)}, 4);
}

/* Into an item. */
static inline void
words_write(void *to, const void *from, size_t bytes)
{
    const char *f = from;
    char *t = to;
    size_t at = words_odd(t) && bytes ? 4 : 0;
    uint64_t w;
    uint32_t half;
    if (at) {
        memcpy(&half, f, 4);
        word_write(t, half);
    }
    for (; at + 8 <= bytes; at += 8) {
        memcpy(&w, f + at, 8);
        __atomic_store_n((word64 *)(void *)(t + at), w, __ATOMIC_RELEASE);
    }
    if (at < bytes) {
        memcpy(&half, f + at, 4);
        word_write(t + at, half);
    }
}

#endif
