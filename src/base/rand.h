/*
 * rand.h -- a random number nobody can foresee, for seeds and first numbers.
 */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stdint.h>
#include <sys/random.h>

#include "check.h"

static inline uint64_t
rand_seed(void)
{
    uint64_t seed;
    CHECK(getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed);
    return seed;
}

#endif
