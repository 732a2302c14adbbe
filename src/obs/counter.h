/*
 * counter.h -- numbers that one thread writes and any thread may read.
 *
 * A counter belongs to the thread that adds to it: adding is a plain load and store, no locked
 * operation, no shared line.  Whoever reports sums the threads.  `stats reset` does not write other
 * threads' counters; it keeps the sums of that moment and reports differences.
 */
#ifndef OBS_COUNTER_H
#define OBS_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t counter;

static inline void
counter_add(counter *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline uint64_t
counter_read(const counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

#endif
