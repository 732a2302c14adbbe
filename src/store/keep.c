/*
 * keep.c -- housekeeping in slices: eviction, cleaning, memory given back, pieces of dead values.
 *
 * Whoever calls store_maintain() first does it; nobody waits for it.  A slice looks at a bounded
 * number of entries, then everything is left in a state from which anybody can go on.
 *
 * Eviction is plain FIFO over segments: the oldest sealed one is walked from its start, every
 * entry that the index still leads to is unlinked, and the segment waits for its grace period.
 * Before that, segments of which at least half is dead are cleaned: what lives in them is copied
 * on.  Overwrites alone must not push out what nobody has overwritten.
 * The walk reads memory in order; the index lines that it needs are fetched sixteen entries ahead,
 * which is what makes it cheap.
 *
 * Where nothing may be evicted (-M), segments with enough dead bytes are cleaned instead: live
 * entries are copied to a segment of the copier, for which two segments are always kept back.
 * When a whole round has found nothing worth cleaning, not even after looking for expired entries,
 * sets fail until something is deleted.
 */
#include "inner.h"

#include <stdlib.h>

#include "base/clock.h"

#define BATCH 16u
#define DEAD_SHARE 8u                  /* -M: cleaning pays from 1/8 of a segment on */
#define REST_SHARE 8u                  /* -M: rounds in vain take at most 1/9 of the time */
#define DEAD_PERCENT 50u               /* else: at most one byte is copied for each that is freed */

struct look_ahead {
    struct item *item;
    uint64_t hash;
};

/* ---- one entry ------------------------------------------------------------------------------ */

/* Room for a copy in the copier's own segment; NULL: none at the moment. */
static struct item *
copy_room(struct store_thread *t, uint32_t bytes)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    uint32_t flush_epoch = atomic_load_explicit(&s->flush_epoch, memory_order_relaxed);
    if (k->copy_seg &&
        (k->copy_fill + bytes > s->pool.seg_bytes ||
         atomic_load_explicit(&s->pool.flush_epochs[k->copy_seg], memory_order_relaxed) !=
             flush_epoch)) {
        segment_seal(&s->pool, k->copy_seg, k->copy_fill);
        k->copy_seg = 0;
    }
    if (!k->copy_seg) {
        k->copy_seg = segment_take(&s->pool, SEGMENT_ACTIVE, flush_epoch, 0);
        k->copy_fill = 0;
        if (!k->copy_seg)
            return NULL;
    }
    char *room = segment_at(&s->pool, k->copy_seg) + k->copy_fill;
    unpoison(room, bytes);
    return (struct item *)(void *)room;
}

/* Group held, entry alive: the copy takes its place.  Only the header of a long one can have
 * changed since it was copied. */
static void
link_copy(struct store_thread *t, uint64_t hash, slot_word *slot, struct item *it,
          struct item *to)
{
    struct store *s = t->store;
    uint32_t bytes = item_bytes(it);
    words_read(to, it, item_is_small(it) ? bytes : item_changing_bytes(it));
    atomic_fetch_sub_explicit(&s->pool.segs[segment_of(s, location_of(s, it))].live,
                              live_share(it), memory_order_release);
    link_item(t, hash, to, slot);
    s->keep.copy_fill += bytes;
}

/* COPY: it lives and must be copied, to where?  BUSY: whoever holds the group seems not to run. */
enum tried { TRIED_DONE, TRIED_COPY, TRIED_BUSY, TRIED_NO_ROOM };

/* One look at an entry under its group's lock. */
static enum tried
try_item(struct store_thread *t, struct item *it, uint64_t hash, struct item *to)
{
    struct store *s = t->store;
    struct index *ix = &s->index;
    enum keep_mode mode = s->keep.mode;
    uint64_t location = location_of(s, it);
    int slots_delta = 0;
    enum tried tried = TRIED_DONE;
    struct index_hold h;
    if (!index_lock_soon(ix, hash, &h))
        return TRIED_BUSY;
    slot_word *slot = index_find(ix, &h, hash, location);
    if (slot) {
        enum item_state state = item_state(t, it, location);
        if (state != ITEM_LIVE || mode == KEEP_EVICT) {
            link_remove(t, &h, slot, it, state == ITEM_LIVE ? CAUSE_EVICTED : cause_of(state));
            slots_delta--;
        } else if (to) {
            link_copy(t, hash, slot, it, to);
        } else if (mode == KEEP_CLEAN) {
            tried = TRIED_COPY;
        }
    }
    index_unlock(ix, &h, slot != NULL);
    link_settle(t, slots_delta);
    return tried;
}

/* DONE, BUSY, or NO_ROOM for a copy just now. */
static enum tried
keep_item(struct store_thread *t, struct item *it, uint64_t hash)
{
    enum tried tried = try_item(t, it, hash, NULL);
    if (tried != TRIED_COPY)
        return tried;
    struct item *to = copy_room(t, item_bytes(it));
    if (!to)
        return TRIED_NO_ROOM;
    if (!item_is_small(it))            /* all that never changes; link_copy() has the rest */
        memcpy((char *)to + item_changing_bytes(it), (const char *)it + item_changing_bytes(it),
               item_bytes(it) - item_changing_bytes(it));
    return try_item(t, it, hash, to);
}

/* ---- one segment ---------------------------------------------------------------------------- */

/* The key does not change, but words that hold a part of it are written with the value. */
static uint64_t
hash_unlocked(const struct store *s, struct item *it)
{
    _Alignas(8) char seen[STORE_SMALL_BYTES_MAX];
    uint32_t bytes = item_bytes(it);
    uint32_t head = (item_changing_bytes(it) + item_key_bytes(it) + 3) & ~3u;
    if (bytes > STORE_SMALL_BYTES_MAX || item_kind(it) & ITEM_PIECE)
        return item_hash(it, s->seed);
    words_read(seen, it, head);
    return item_hash((struct item *)(void *)seen, s->seed);
}

/* The next few entries of the victim, with their index lines on the way. */
static unsigned
look_ahead(const struct store *s, struct look_ahead *ahead, unsigned most)
{
    const struct segment_pool *p = &s->pool;
    uint32_t filled = p->segs[s->keep.victim].filled;
    uint32_t at = s->keep.victim_at;
    unsigned n = 0;
    for (; n < most && at < filled; n++) {
        struct item *it = (struct item *)(void *)(segment_at(p, s->keep.victim) + at);
        ahead[n] = (struct look_ahead){it, hash_unlocked(s, it)};
        index_prefetch(&s->index, index_group_of(&s->index, ahead[n].hash), ahead[n].hash);
        at += item_bytes(it);
    }
    uint64_t lines[BATCH];
    for (unsigned i = 0; i < n; i++)
        lines[i] = index_first_line(&s->index, ahead[i].hash);
    for (unsigned i = 0; i < n; i++)
        if (lines[i])
            prefetch(&s->index.lines.at[atomic_load_explicit(&s->index.lines.at[lines[i]].next,
                                                             memory_order_acquire)]);
    return n;
}

static bool
worth_cleaning(const struct store *s, uint32_t seg)
{
    if (atomic_load_explicit(&s->pool.flush_epochs[seg], memory_order_relaxed) !=
        atomic_load_explicit(&s->flush_epoch, memory_order_relaxed))
        return true;
    uint32_t live = (uint32_t)atomic_load_explicit(&s->pool.segs[seg].live,
                                                   memory_order_relaxed);
    return s->pool.seg_bytes - live >= s->pool.seg_bytes / DEAD_SHARE;
}

static void
victim_done(struct store *s)
{
    struct keep *k = &s->keep;
    if (k->mode != KEEP_SWEEP) {
        segment_retire(&s->pool, k->victim);
    } else {
        if (worth_cleaning(s, k->victim))
            k->rotations = 0;          /* the sweep has made it so */
        segment_unpick(&s->pool, k->victim);
    }
    k->victim = 0;
}

static void
lose_hope(struct store_thread *t)
{
    struct keep *k = &t->store->keep;
    k->rotations = 0;
    atomic_store_explicit(&k->hopeless_until, t->now + 1 + REST_SHARE * (t->now - k->round_began),
                          memory_order_relaxed);
    atomic_store_explicit(&k->hopeless, true, memory_order_relaxed);
}

/* No room for copies: what is left is evicted, or the segment goes back, partly cleaned. */
static void
give_up_cleaning(struct store_thread *t)
{
    struct store *s = t->store;
    if (s->config.evict) {
        s->keep.mode = KEEP_EVICT;
        return;
    }
    if (atomic_load_explicit(&s->pool.ready, memory_order_relaxed) > 0)
        return;                        /* in its grace period: the next slice will find it */
    segment_unpick(&s->pool, s->keep.victim);
    s->keep.victim = 0;
    lose_hope(t);
}

static void
walk_victim(struct store_thread *t, unsigned budget)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    struct look_ahead ahead[BATCH];
    if (budget_over(&s->budget)) {     /* the limit was lowered meanwhile: things must go */
        if (k->mode == KEEP_SWEEP)
            k->victim_at = 0;          /* what the sweep has left behind, too */
        k->mode = KEEP_EVICT;
    }
    while (budget) {
        unsigned n = look_ahead(s, ahead, budget < BATCH ? budget : BATCH);
        if (n == 0) {
            victim_done(s);
            return;
        }
        for (unsigned i = 0; i < n; i++) {
            uint32_t bytes = item_bytes(ahead[i].item);
            enum tried tried = keep_item(t, ahead[i].item, ahead[i].hash);
            if (tried == TRIED_NO_ROOM)
                give_up_cleaning(t);
            if (tried != TRIED_DONE)
                return;                /* the next slice goes on here */
            k->victim_at += bytes;
        }
        budget -= n;
    }
}

/* ---- choosing ------------------------------------------------------------------------------- */

/* Where nothing is evicted: segments are looked at in turn, then swept in turn, then it is
 * hopeless until something dies. */
static void
choose_cleaning(struct store_thread *t)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    uint32_t sealed = atomic_load_explicit(&s->pool.sealed_count, memory_order_relaxed);
    if (atomic_load_explicit(&k->hopeless, memory_order_relaxed))
        return;
    uint32_t seg = segment_pick_oldest(&s->pool);
    if (!seg) {
        k->round_began = t->now;
        lose_hope(t);
        return;
    }
    if (k->rotations == 0)
        k->round_began = t->now;
    k->victim = seg;
    k->victim_at = 0;
    if (worth_cleaning(s, seg)) {
        k->mode = KEEP_CLEAN;
        k->rotations = 0;
        return;
    }
    k->mode = KEEP_SWEEP;
    if (++k->rotations <= sealed)
        victim_done(s);                /* a first round only looks */
    else if (k->rotations > 2 * sealed)
        lose_hope(t);
}

/* Lowering the limit is an order to evict, even where nothing else may cause it. */
static void
choose_victim(struct store_thread *t)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    if (!segment_short(&s->pool) && segment_excess(&s->pool) == 0)
        return;
    if (budget_over(&s->budget) &&
        segment_excess(&s->pool) <= index_surplus_bytes(&s->index))
        return;                        /* the index is about to give as much back */
    if (!s->config.evict && !budget_over(&s->budget)) {
        choose_cleaning(t);
        return;
    }
    k->victim_at = 0;
    if (!budget_over(&s->budget)) {
        uint32_t flush_epoch = atomic_load_explicit(&s->flush_epoch, memory_order_relaxed);
        uint32_t live_max = (uint32_t)(s->pool.seg_bytes / 100 * (100 - DEAD_PERCENT));
        k->mode = KEEP_CLEAN;
        k->victim = segment_pick_emptiest(&s->pool, &k->scan, flush_epoch, live_max);
        if (k->victim)
            return;
    }
    k->mode = KEEP_EVICT;
    k->victim = segment_pick_oldest(&s->pool);
}

/* ---- pieces of values that are gone ---------------------------------------------------------- */

static void
unlink_doomed(struct store_thread *t, unsigned budget)
{
    struct keep *k = &t->store->keep;
    if (atomic_load_explicit(&k->doomed_count, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&k->lock);
    struct doomed *d = k->doomed;
    if (d)
        k->doomed = d->next;
    pthread_mutex_unlock(&k->lock);
    if (!d)
        return;
    while (budget-- && d->piece < d->piece_count)
        large_unlink_piece(t, d->serial, d->piece++);
    if (d->piece == d->piece_count) {
        atomic_fetch_sub_explicit(&k->doomed_count, 1, memory_order_relaxed);
        free(d);
        return;
    }
    pthread_mutex_lock(&k->lock);
    d->next = k->doomed;
    k->doomed = d;
    pthread_mutex_unlock(&k->lock);
}

/* ---- the slice ------------------------------------------------------------------------------- */

bool
store_maintain_due(const struct store *s)
{
    const struct keep *k = &s->keep;
    if (atomic_load_explicit(&k->doomed_count, memory_order_relaxed) ||
        atomic_load_explicit(&s->pool.trim, memory_order_relaxed) || index_shrink_due(&s->index))
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
add_to(_Atomic uint64_t *sum, uint64_t n)
{
    atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + n,
                          memory_order_relaxed);
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
    if (!store_maintain_due(s) || atomic_exchange_explicit(&k->busy, true, memory_order_acquire))
        return false;
    struct stopwatch began = slice_begins();
    store_enter(t);
    if (!k->victim)
        choose_victim(t);
    if (k->victim)
        walk_victim(t, budget);
    unlink_doomed(t, budget);
    store_leave(t);
    if (index_shrink_due(&s->index))
        index_shrink(&s->index, &t->local, &s->epoch);
    segment_trim(&s->pool);
    slice_ends(k, began);
    atomic_store_explicit(&k->busy, false, memory_order_release);
    return store_maintain_due(s);
}
