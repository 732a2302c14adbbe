/*
 * epoch.h -- who is inside the store, and since when: memory is reused only after everybody who
 * could still be looking at it has left once.
 *
 * Each participant owns one padded word: 0 = outside, else the epoch it entered in.
 *
 *     reader:     word = epoch  (exchange, seq_cst)  ... look ...  word = 0  (release)
 *     reclaimer:  unlink everything -> e = ++epoch (seq_cst) -> free when every word is 0 or >= e
 *
 * Why this is enough: the exchange and the increment are totally ordered.  A reader that entered
 * before the increment shows a word < e until it leaves; one that entered after it cannot find
 * what was unlinked before.  A plain store on entering would not do: the reclaimer could see
 * "outside" while the reader's first loads are already under way.  (Fraser, "Practical
 * lock-freedom", 2004, ch. 5.)
 *
 * Nobody ever waits here: what is not yet free is looked at again later.
 */
#ifndef STORE_EPOCH_H
#define STORE_EPOCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

/*
 * What follows must not come before: C11 gives that to a fence only, an exchange of ARM does not
 * keep later loads back.  On x86 a locked instruction does.  (ThreadSanitizer knows no fences.)
 */
#if defined __x86_64__ || defined __i386__ || UNDER_TSAN
#define EPOCH_FENCE() atomic_signal_fence(memory_order_seq_cst)
#else
#define EPOCH_FENCE() atomic_thread_fence(memory_order_seq_cst)
#endif

struct epoch_word {
    CACHE_ALIGNED _Atomic uint64_t since;    /* written by its thread; pairs with epoch_passed */
};

struct epoch {
    CACHE_ALIGNED _Atomic uint64_t now;      /* starts at 1 */
    struct epoch_word *words;
    unsigned word_count;
};

static inline void
epoch_enter(struct epoch *e, struct epoch_word *w)
{
    atomic_exchange(&w->since, atomic_load_explicit(&e->now, memory_order_relaxed));
    EPOCH_FENCE();
}

static inline void
epoch_leave(struct epoch_word *w)
{
    atomic_store_explicit(&w->since, 0, memory_order_release);
}

/* After everything has been unlinked: the epoch that must have passed before it is reused. */
static inline uint64_t
epoch_retire(struct epoch *e)
{
    uint64_t retired = atomic_fetch_add(&e->now, 1) + 1;
    EPOCH_FENCE();
    return retired;
}

static inline bool
epoch_passed(const struct epoch *e, uint64_t retired)
{
    for (unsigned i = 0; i < e->word_count; i++) {
        uint64_t since = atomic_load(&e->words[i].since);
        if (since != 0 && since < retired)
            return false;
    }
    return true;
}

#endif
