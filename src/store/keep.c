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
#define SHRINK_PRICE 16u               /* entries that may be looked at in the same time */
#define TRIM_PRICE 40u
#define GHOST_PRICE 16u

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

/* Returns what is left of the budget. */
static unsigned
unlink_doomed(struct store_thread *t, unsigned budget)
{
    struct keep *k = &t->store->keep;
    struct doomed *d;
    while (budget && (d = next_doomed(k)) != NULL) {
        bool busy = false;
        for (; budget && d->piece < d->piece_count && !busy; budget--) {
            busy = !large_unlink_piece(t, d->serial, d->piece);
            d->piece += !busy;
        }
        if (d->piece == d->piece_count) {
            atomic_fetch_sub_explicit(&k->doomed_count, 1, memory_order_relaxed);
            free(d);
            continue;
        }
        pthread_mutex_lock(&k->lock);
        d->next = k->doomed;
        k->doomed = d;
        pthread_mutex_unlock(&k->lock);
        if (busy)
            break;
    }
    return budget;
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

/* ---- its parts ------------------------------------------------------------------------------- */

/* Each does a bounded part of what is due, and returns what it leaves of the budget. */

static unsigned
pay(unsigned budget, unsigned price)
{
    return budget > price ? budget - price : 0;
}

static unsigned
make_room(struct store_thread *t, unsigned budget)
{
    store_enter(t);
    budget = evict_some(t, budget);
    store_leave(t);
    return budget;
}

static unsigned
sweep(struct store_thread *t, unsigned budget)
{
    struct keep *k = &t->store->keep;
    if (!atomic_load_explicit(&k->sweeping, memory_order_relaxed) ||
        (k->victim && ++k->sweep_asked % SWEEP_SHARE != 0))
        return budget;
    store_enter(t);
    budget = sweep_some(t, budget);
    store_leave(t);
    return budget;
}

static unsigned
clear_doomed(struct store_thread *t, unsigned budget)
{
    if (atomic_load_explicit(&t->store->keep.doomed_count, memory_order_relaxed) == 0)
        return budget;
    store_enter(t);
    budget = unlink_doomed(t, budget);
    store_leave(t);
    return budget;
}

static unsigned
shrink_index(struct store_thread *t, unsigned budget)
{
    struct store *s = t->store;
    if (!index_shrink_due(&s->index))
        return budget;
    index_shrink(&s->index, &t->local, &s->epoch);
    return pay(budget, SHRINK_PRICE);
}

static unsigned
trim_segments(struct store_thread *t, unsigned budget)
{
    struct segment_pool *p = &t->store->pool;
    bool begun = atomic_load_explicit(&p->trim, memory_order_relaxed) != 0;
    if (!begun && budget_excess(p->budget) == 0)
        return budget;
    return segment_trim(p) || begun ? pay(budget, TRIM_PRICE) : budget;
}

static unsigned
fit_ghost(struct store_thread *t, unsigned budget)
{
    struct ghost *g = &t->store->ghost;
    if (!ghost_due(g))
        return budget;
    ghost_fit(g);
    return pay(budget, GHOST_PRICE);
}

static const struct part {
    unsigned (*work)(struct store_thread *t, unsigned budget);
    unsigned price;                    /* not begun with less than that left */
} parts[] = {
    {make_room, 1},
    {sweep, 1},
    {clear_doomed, 1},
    {shrink_index, SHRINK_PRICE},
    {trim_segments, TRIM_PRICE},
    {fit_ghost, GHOST_PRICE},
};

#define PARTS (sizeof parts / sizeof parts[0])

/* In turn: that for which a slice had too little left begins the next one. */
static void
work_through(struct store_thread *t, unsigned budget)
{
    struct keep *k = &t->store->keep;
    unsigned left = budget;
    for (unsigned i = 0; i < PARTS && left; i++) {
        unsigned before = left;
        if (left < budget && left < parts[k->turn].price)
            return;
        left = parts[k->turn].work(t, left);
        if (left == 0 && before < budget)
            return;
        k->turn = (k->turn + 1) % PARTS;
    }
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
    work_through(t, budget);
    slice_ends(k, began);
    atomic_store_explicit(&k->busy, false, memory_order_release);
    return store_maintain_due(s);
}
