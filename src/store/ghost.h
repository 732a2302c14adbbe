/*
 * ghost.h -- keys that were evicted from the small queue without having been asked for again.
 *
 * One that is stored anew while it is remembered here goes straight to the main queue.  What is
 * remembered is 16 bits of the hash in one of many lines, each a ring of 31; a false hit, 31 of
 * 65,536 in a full line, only gives an entry a better place than it deserves.
 * (The ghost queue of S3-FIFO: Yang et al., "FIFO queues are all you need for cache eviction",
 * SOSP 2023.)
 *
 *   line   [ 31 marks, 16 bits each, 0 = empty ][ where the next goes, 16 ]        64 bytes
 *
 * Its size is a share of the limit.  Marks cannot be spread anew: when the limit changes, other
 * lines are looked at from then on, and what is left in them fades.
 *
 * Threads: any.  Marks are stored plainly, and of two at once one may be lost.  ghost_fit() by one
 * thread at a time.
 */
#ifndef STORE_GHOST_H
#define STORE_GHOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/prefetch.h"
#include "base/region.h"
#include "budget.h"

#define GHOST_MARKS 31u

struct ghost_line {
    CACHE_ALIGNED _Atomic uint16_t marks[GHOST_MARKS];
    _Atomic uint16_t next;
};
_Static_assert(sizeof(struct ghost_line) == CACHE_LINE, "a look is one line");

struct ghost {
    struct ghost_line *lines;
    struct region region;
    struct budget *budget;
    _Atomic uint32_t most;             /* lines that the system gives */
    _Atomic uint32_t count;            /* lines in use */
    _Atomic uint32_t held;             /* lines that are charged: more, while it shrinks */
    atomic_size_t touched;             /* bytes from the start that were touched ahead */
};

/* 0 or -errno. */
int ghost_init(struct ghost *g, size_t reserve_bytes, bool huge_pages, struct budget *budget);
void ghost_fini(struct ghost *g);

/* Makes it as large as the limit wants, a step at a time.  True: more is to be done now. */
bool ghost_fit(struct ghost *g);
bool ghost_due(const struct ghost *g);

void ghost_add(struct ghost *g, uint64_t hash);
bool ghost_has(const struct ghost *g, uint64_t hash);
void ghost_drop(struct ghost *g, uint64_t hash);

static inline size_t
ghost_bytes(const struct ghost *g)
{
    return (size_t)atomic_load_explicit(&g->count, memory_order_relaxed) * CACHE_LINE;
}

/* NULL: it has no lines yet. */
static inline struct ghost_line *
ghost_line_of(const struct ghost *g, uint64_t hash)
{
    uint64_t count = atomic_load_explicit(&g->count, memory_order_acquire);
    return count ? &g->lines[(hash >> 32) * count >> 32] : NULL;
}

static inline void
ghost_prefetch(const struct ghost *g, uint64_t hash)
{
    const struct ghost_line *line = ghost_line_of(g, hash);
    if (line)
        prefetch(line);
}

#endif
