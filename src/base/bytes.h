/*
 * bytes.h -- a run of bytes with its length: the only way text from a client is passed about.
 *
 * A slice owns nothing and need not end in NUL.  at may be anything when len is 0.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *at;
    size_t len;
};

#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})

static inline bool
slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static inline bool
slice_starts(struct slice whole, struct slice start)
{
    return whole.len >= start.len && memcmp(whole.at, start.at, start.len) == 0;
}

#endif
