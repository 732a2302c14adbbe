/*
 * budget.h -- the limit on memory, and what is in use.
 *
 * Segments, index chunks and what connections borrowed are taken from one budget.  Taking fails
 * at the limit; a user that must have its share notes it in `owed`, and housekeeping gives up
 * segments until limit >= used + owed.  Lowering the limit works the same way.
 *
 * Where nothing may be evicted, nothing makes way for a connection: so a reserve is kept for them,
 * beside the limit that all others see.
 *
 * Threads: any.  used, owed and drawn are changed by atomic read-modify-writes; nothing is ordered
 * by them, the memory itself is handed over by locks.
 */
#ifndef STORE_BUDGET_H
#define STORE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct budget {
    atomic_size_t limit;       /* bytes, the reserve not among them */
    atomic_size_t used;        /* bytes */
    atomic_size_t owed;        /* bytes that somebody waits for, cleared when taken */
    atomic_size_t borrowed;    /* bytes, of used and drawn: connections' buffers, lent segments */
    atomic_size_t reserve;     /* bytes for connections alone, when the limit is reached */
    atomic_size_t drawn;       /* bytes, those of the reserve that are in use */
    atomic_size_t refused;     /* the limit that the system has set by giving no more; or 0 */
};

#define BUDGET_RESERVE_SHARE 32u       /* of all */

/* All that there is, for whoever does not evict and lends (`with_reserve`), or not. */
static inline void
budget_set(struct budget *b, size_t bytes, bool with_reserve)
{
    size_t reserve = with_reserve ? bytes / BUDGET_RESERVE_SHARE : 0;
    atomic_store(&b->reserve, reserve);
    atomic_store(&b->limit, bytes - reserve);
    atomic_store(&b->refused, 0);
}

static inline size_t
budget_all(const struct budget *b)
{
    return atomic_load_explicit(&b->limit, memory_order_relaxed) +
           atomic_load_explicit(&b->reserve, memory_order_relaxed);
}

/* Unless that makes more than `most`. */
static inline bool
budget_add(atomic_size_t *sum, size_t bytes, size_t most)
{
    size_t had = atomic_load_explicit(sum, memory_order_relaxed);
    do {
        if (had + bytes > most)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(sum, &had, had + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static inline bool
budget_draw(struct budget *b, size_t bytes)
{
    return budget_add(&b->drawn, bytes, atomic_load_explicit(&b->reserve, memory_order_relaxed));
}

/* Fills the reserve up first.  Returns how many bytes it did not need. */
static inline size_t
budget_undraw(struct budget *b, size_t bytes)
{
    size_t drawn = atomic_load_explicit(&b->drawn, memory_order_relaxed), back;
    do {
        back = drawn < bytes ? drawn : bytes;
    } while (back > 0 &&
             !atomic_compare_exchange_weak_explicit(&b->drawn, &drawn, drawn - back,
                                                    memory_order_relaxed, memory_order_relaxed));
    return bytes - back;
}

/* `keep`: bytes that must remain for others. */
static inline bool
budget_take_keeping(struct budget *b, size_t bytes, size_t keep)
{
    size_t used = atomic_load_explicit(&b->used, memory_order_relaxed);
    do {
        if (used + bytes + keep > atomic_load_explicit(&b->limit, memory_order_relaxed))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->used, &used, used + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

/* For whoever may wish; a wish is fulfilled by it. */
static inline bool
budget_take(struct budget *b, size_t bytes)
{
    if (!budget_take_keeping(b, bytes, 0))
        return false;
    atomic_store_explicit(&b->owed, 0, memory_order_relaxed);
    return true;
}

static inline void
budget_give(struct budget *b, size_t bytes)
{
    atomic_fetch_sub_explicit(&b->used, bytes, memory_order_relaxed);
}

/* Asks for segments to be given up; a wish, not a reservation. */
static inline void
budget_wish(struct budget *b, size_t bytes)
{
    size_t owed = atomic_load_explicit(&b->owed, memory_order_relaxed);
    while (owed < bytes &&
           !atomic_compare_exchange_weak_explicit(&b->owed, &owed, bytes, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

/* What connections and uploads may have together. */
static inline size_t
budget_allowance(const struct budget *b)
{
    return budget_all(b) / 4;
}

/* Counts bytes as theirs, unless that makes more than `most`. */
static inline bool
budget_borrow(struct budget *b, size_t bytes, size_t most)
{
    return budget_add(&b->borrowed, bytes, most);
}

/* The system gives no more: what is in use is the limit from now on, also what was taken while the
 * limit was changed. */
static inline void
budget_refused(struct budget *b)
{
    size_t used = atomic_load_explicit(&b->used, memory_order_relaxed);
    size_t limit = atomic_load_explicit(&b->limit, memory_order_relaxed);
    while (used < limit &&
           !atomic_compare_exchange_weak_explicit(&b->limit, &limit, used, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
    limit = atomic_load_explicit(&b->limit, memory_order_relaxed);
    while ((used = atomic_load_explicit(&b->used, memory_order_relaxed)) > limit &&
           !atomic_compare_exchange_weak_explicit(&b->limit, &limit, used, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
    atomic_store_explicit(&b->refused, budget_all(b), memory_order_relaxed);
}

/* The limit was lowered, and what is in use has not followed yet. */
static inline bool
budget_over(const struct budget *b)
{
    return atomic_load_explicit(&b->used, memory_order_relaxed) >
           atomic_load_explicit(&b->limit, memory_order_relaxed);
}

/* Bytes that must be given up. */
static inline size_t
budget_excess(const struct budget *b)
{
    size_t want = atomic_load_explicit(&b->used, memory_order_relaxed) +
                  atomic_load_explicit(&b->owed, memory_order_relaxed);
    size_t limit = atomic_load_explicit(&b->limit, memory_order_relaxed);
    return want > limit ? want - limit : 0;
}

#endif
