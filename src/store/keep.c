/*
 * keep.c -- housekeeping in slices: room made (evict.c), what has expired swept out (sweep.c), memory
 * given back, pieces of dead values unlinked.
 *
 * Whoever calls store_maintain() first does it; nobody waits for it.  A slice looks at a bounded
 * number of entries, then everything is left in a state from which anybody can go on.
 */
#include "inner.h"

#include <stdlib.h>

#include "base/clock.h"

#define SWEEP_SHARE 4u                 /* of the slices, while there is no end of room to be made */

/* ---- pieces of values that are gone ---------------------------------------------------------- */

static struct doomed *
next_doomed(struct keep *k)
{
    if (atomic_load_explicit(&k->doomed_count, memory_order_relaxed) == 0)
        return NULL;
    pthread_mutex_lock(&k->lock);
    struct doomed *d = k->doomed;
    if (d)
        k->doomed = d->next;
    pthread_mutex_unlock(&k->lock);
    return d;
}

static void
unlink_doomed(struct store_thread *t, unsigned budget)
{
    struct keep *k = &t->store->keep;
    struct doomed *d;
    while (budget && (d = next_doomed(k)) != NULL) {
        for (; budget && d->piece < d->piece_count; budget--)
            large_unlink_piece(t, d->serial, d->piece++);
        if (d->piece == d->piece_count) {
            atomic_fetch_sub_explicit(&k->doomed_count, 1, memory_order_relaxed);
            free(d);
            continue;
        }
        pthread_mutex_lock(&k->lock);
        d->next = k->doomed;
        k->doomed = d;
        pthread_mutex_unlock(&k->lock);
    }
}

/* ---- the slice ------------------------------------------------------------------------------- */

bool
store_maintain_due(const struct store *s)
{
    const struct keep *k = &s->keep;
    if (atomic_load_explicit(&k->doomed_count, memory_order_relaxed) ||
        atomic_load_explicit(&k->sweeping, memory_order_relaxed) ||
        atomic_load_explicit(&k->flushed, memory_order_relaxed) ||
        atomic_load_explicit(&s->pool.trim, memory_order_relaxed) || index_shrink_due(&s->index) ||
        ghost_due(&s->ghost))
        return true;
    bool can_evict = atomic_load_explicit(&s->pool.sealed_count, memory_order_relaxed) ||
                     atomic_load_explicit(&k->victim, memory_order_relaxed);
    if (s->config.evict || budget_over(&s->budget)) {
        if (budget_excess(&s->budget))
            return can_evict || atomic_load_explicit(&s->pool.ready, memory_order_relaxed);
        return can_evict && segment_short(&s->pool);
    }
    return (segment_short(&s->pool) || budget_excess(&s->budget)) &&
           !atomic_load_explicit(&k->hopeless, memory_order_relaxed);
}

/* What was asked for by somebody who may have gone since, and what was found a second ago. */
static void
lapse(struct store_thread *t)
{
    struct store *s = t->store;
    /* `now` is of the thread's last section: another one may have been here later */
    if (atomic_load_explicit(&s->keep.hopeless_until, memory_order_relaxed) <= t->now)
        link_hope(s);
    if (atomic_load_explicit(&s->wish_seen_at, memory_order_relaxed) < t->now) {
        size_t owed = atomic_load_explicit(&s->budget.owed, memory_order_relaxed);
        if (owed && owed == atomic_exchange_explicit(&s->wish_seen, owed, memory_order_relaxed))
            atomic_store_explicit(&s->budget.owed, 0, memory_order_relaxed);
        atomic_store_explicit(&s->wish_seen_at, t->now, memory_order_relaxed);
    }
    uint32_t until = atomic_load_explicit(&s->wanted_until, memory_order_relaxed);
    if (LIKELY(until == 0) || t->now < until)
        return;
    atomic_store_explicit(&s->wanted_until, 0, memory_order_relaxed);
    atomic_store_explicit(&s->pool.wanted, 0, memory_order_relaxed);
}

/*
 * What a slice costs is its thread's CPU time: being preempted meanwhile is not its fault.  That
 * clock is a system call, so the end of a slice is read off the wall clock first: it has taken no
 * more CPU time than that.  (In a virtual machine the CPU clock may say so, where it catches up
 * with time that the hypervisor had taken before.)
 */
struct stopwatch {
    uint64_t wall_ns, cpu_ns;
};

static uint64_t
thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct stopwatch
slice_begins(void)
{
    return (struct stopwatch){clock_ns(), thread_cpu_ns()};
}

static void
slice_ends(struct keep *k, struct stopwatch began)
{
    uint64_t longest = atomic_load_explicit(&k->longest_ns, memory_order_relaxed);
    uint64_t wall_ns = clock_ns() - began.wall_ns;
    add_to(&k->slices, 1);
    add_to(&k->time_ns, wall_ns < STORE_SLICE_LONG_NS ? wall_ns : STORE_SLICE_LONG_NS);
    if (LIKELY(wall_ns <= longest && wall_ns <= STORE_SLICE_LONG_NS))
        return;
    uint64_t cpu_ns = thread_cpu_ns() - began.cpu_ns;
    uint64_t took_ns = cpu_ns < wall_ns ? cpu_ns : wall_ns;
    add_to(&k->long_slices, took_ns > STORE_SLICE_LONG_NS);
    if (took_ns > longest)
        atomic_store_explicit(&k->longest_ns, took_ns, memory_order_relaxed);
}

bool
store_maintain(struct store_thread *t, unsigned budget)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    CHECK(!t->inside);
    lapse(t);
    sweep_if_due(s, store_clock(s));
    if (!store_maintain_due(s) || atomic_exchange_explicit(&k->busy, true, memory_order_acquire))
        return false;
    struct stopwatch began = slice_begins();
    link_seal_old(t);
    store_enter(t);
    uint64_t slices = atomic_load_explicit(&k->slices, memory_order_relaxed);
    if (!evict_some(t, budget) || slices % SWEEP_SHARE == 0)
        sweep_some(t, budget);
    unlink_doomed(t, budget);
    store_leave(t);
    if (index_shrink_due(&s->index))
        index_shrink(&s->index, &t->local, &s->epoch);
    segment_trim(&s->pool);
    ghost_fit(&s->ghost);
    slice_ends(k, began);
    atomic_store_explicit(&k->busy, false, memory_order_release);
    return store_maintain_due(s);
}
