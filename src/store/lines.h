/*
 * lines.h -- the overflow lines of the index: what does not fit the buckets of its group.
 *
 *   line       [ 7 slots ][ next line ]                  64 bytes, number 0 is never used
 *   chunk      256 lines, 16 KiB: charged to the budget, and given back, at once
 *
 * The lowest line that is free is handed out first, so that after the index has shrunk the highest
 * chunks come free and go back to the system.
 *
 * Threads: any; `lock` is a spin lock, held for a few steps and never with another lock inside.
 * A line that is given back may still be looked at by readers (index.h): it is emptied, because
 * they may go on to lines that came back before they entered; `next` always is the number of a
 * line, and its page is dropped after a grace period only.
 */
#ifndef STORE_LINES_H
#define STORE_LINES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/region.h"
#include "budget.h"
#include "epoch.h"

#define INDEX_LINE_SLOTS 7u
#define LINE_CHUNK 256u

typedef _Atomic uint64_t slot_word;

struct index_line {
    CACHE_ALIGNED slot_word slots[INDEX_LINE_SLOTS];
    _Atomic uint64_t next;             /* number of the next line, 0: none */
};
_Static_assert(sizeof(struct index_line) == 64, "one cache line");

struct line_chunk {
    uint32_t free;                     /* first of its free lines, linked by `next`; 0: none */
    uint16_t free_count;
    uint16_t fresh;                    /* lines from here on were never used */
};

struct line_pool {
    struct index_line *at;
    struct region region, chunk_region;
    struct budget *budget;
    uint32_t chunk_max;
    CACHE_ALIGNED atomic_flag lock;    /* guards the next three */
    struct line_chunk *chunks;
    uint32_t lowest;                   /* chunks before this one have no line free */
    uint32_t chunk_count;
    atomic_bool trim_due;              /* lines of the last two chunks have come back */
    _Atomic uint32_t recalls;          /* spares taken before the last one are to be exchanged */
    atomic_bool busy;                  /* held by whoever charges or gives back; guards: */
    uint64_t dropping;                 /* epoch to pass before the chunk after the last goes; 0 */
    _Atomic uint64_t charged;          /* lines, written under busy */
    _Atomic uint64_t used;             /* lines that hang on groups */
};

/* 0 or -errno. */
int lines_init(struct line_pool *p, uint64_t lines_max, bool huge_pages,
               struct budget *budget);
void lines_fini(struct line_pool *p);

/* Up to `most` lines; returns how many.  *out_busy: there may be more when another thread has
 * charged a chunk, or given one back.  Not under another lock. */
unsigned lines_take(struct line_pool *p, uint64_t *out_lines, unsigned most, bool *out_busy);
void lines_give(struct line_pool *p, uint64_t line);

/* Gives the last chunk back if all its lines are free: in two calls, a grace period between. */
void lines_trim(struct line_pool *p, struct epoch *epoch);

static inline bool
lines_trim_due(const struct line_pool *p)
{
    return atomic_load_explicit(&p->trim_due, memory_order_relaxed);
}

/* A line that was just taken, ready to hang on a group. */
void line_clear(struct index_line *line, uint64_t next);

#endif
