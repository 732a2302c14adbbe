/*
 * hash.h -- one seeded 64-bit hash of a key for index and statistics.
 *
 * XXH3 by Yann Collet (xxhash, BSD-2-Clause): the fastest well-kept hash for short keys on the
 * machines we know.  It is not a MAC: the index bounds its chains, so that keys made to collide
 * under a leaked seed cost hits, never time.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t
hash_bytes(const void *at, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(at, len, seed);
}

/* A 64-bit finaliser (splitmix64, Steele et al. 2014): for numbers that are keys themselves. */
static inline uint64_t
hash_u64(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

#endif
