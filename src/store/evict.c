/*
 * evict.c -- how room is made: S3-FIFO over segments, with cleaning.
 *
 * New entries go to the small queue, a tenth of memory; those asked for again before they have come
 * to its end move on to the main queue, the others are evicted, and remembered for a while (ghost.h):
 * who comes back in time goes to the main queue at once.  There, entries asked for since the last
 * time get a second chance, for one of their hits.  So what is asked for once, by a scan, say, does
 * not push out what is asked for often.  (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need
 * for cache eviction", SOSP 2023.)
 *
 * The queues are queues of segments.  The oldest is walked from its start: what is to live on is
 * copied to a segment of the copier, what is not is unlinked, and the segment waits for its grace
 * period.
 *
 * Before anything is evicted segments are cleaned: that with the most dead bytes, overwritten,
 * deleted or expired, has its live entries copied on, within their queue.  Copying has a price, so
 * cleaning may copy two bytes for each that is stored; as that is used up it becomes more choosy.
 * So have promotions and second chances: when segment after segment lives on, the bar is raised, so
 * that whoever waits for room never waits for more than a few of them.
 *
 * Where nothing may be evicted (-M) there is only cleaning, of whatever has any dead bytes; two
 * segments are kept back for it.  When there is nothing to clean, not even after everything that has
 * expired was swept out, sets fail until something dies.
 *
 * The walk reads memory in order; the index lines that it needs are fetched sixteen entries ahead,
 * which is what makes it cheap.
 */
#include "inner.h"

#define BATCH 16u
#define SMALL_SHARE 10u                /* the small queue gives, if it has more than 1/10 */
#define BYTES_PER_ENTRY 2048u          /* copied, that cost as much as to look at an entry */
#define CLEAN_PRICE 2                  /* bytes copied for each that is stored */
#define CLEAN_CLASS 3u                 /* 15 % dead, where the credit is good ... */
#define CLEAN_CLASS_POORER 6u
#define CLEAN_CLASS_POOR 10u           /* ... 50 % where it is nearly used up */
#define CLEAN_CLASS_KEPT 1u            /* -M: that or more */
#define SPARED_SEGMENTS 8u             /* that live on, for one that is won, or ... */
#define SPARED_BYTES ((uint64_t)2 << 20)    /* ... so much */
#define RELINK_SHARE 16u               /* to move a segment costs no more than so much copied of it */
#define AGE_WEIGHT_SHIFT 10

struct look_ahead {
    struct item *item;
    uint64_t hash;
};

/* ---- one entry ------------------------------------------------------------------------------ */

/* What is to become of an entry: copied to a queue, or gone. */
struct fate {
    bool copied;
    enum cause cause;
    enum segment_queue queue;
    unsigned frequency;                /* of the copy */
};

static uint64_t
whole_bytes(struct item *it)
{
    return item_bytes(it) + (item_kind(it) & ITEM_PIECES ? item_pieces(it).value_bytes : 0);
}

/* Hits that an entry of this size must have had to move to the main queue: the larger, the more. */
static unsigned
hits_wanted(const struct store *s, uint64_t bytes)
{
    uint64_t mean = atomic_load_explicit(&s->mean_bytes, memory_order_relaxed);
    bytes <<= 8;
    return mean == 0 || bytes <= 2 * mean ? 1 : bytes <= 4 * mean ? 2 : 3;
}

/* One hit, or more when many have been spared without a segment being won; above 3 none is. */
static unsigned
bar(const struct store *s)
{
    uint64_t free_of_bar = (uint64_t)SPARED_SEGMENTS << s->pool.seg_shift;
    if (free_of_bar < SPARED_BYTES)
        free_of_bar = SPARED_BYTES;
    uint64_t in_vain = s->keep.in_vain;
    return in_vain < free_of_bar ? 1
                                 : (unsigned)((in_vain - free_of_bar) >> s->pool.seg_shift) + 2;
}

static struct fate
fate_of(const struct store_thread *t, struct item *it, enum segment_queue queue,
        enum item_state state)
{
    const struct store *s = t->store;
    unsigned frequency = item_frequency(it);
    struct fate gone = {.cause = state == ITEM_LIVE ? CAUSE_EVICTED : cause_of(state)};
    if (state != ITEM_LIVE)
        return gone;
    switch (s->keep.mode) {
    case KEEP_EVICT:
        break;
    case KEEP_CLEAN:
        return (struct fate){.copied = true, .queue = queue, .frequency = frequency};
    case KEEP_SMALL:
        if (frequency >= hits_wanted(s, whole_bytes(it)) && frequency >= bar(s))
            return (struct fate){.copied = true, .queue = QUEUE_MAIN};
        break;
    case KEEP_MAIN:
        if (frequency >= bar(s))
            return (struct fate){.copied = true, .queue = QUEUE_MAIN, .frequency = frequency - 1};
        break;
    }
    return gone;
}

/* Room for a copy in the copier's own segment; NULL: none at the moment. */
static struct item *
copy_room(struct store_thread *t, enum segment_queue queue, uint32_t bytes)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    struct copy_to *to = &k->copies[queue];
    uint32_t flush_epoch = atomic_load_explicit(&s->flush_epoch, memory_order_relaxed);
    if (to->seg && (to->fill + bytes > s->pool.seg_bytes ||
                    atomic_load_explicit(&s->pool.flush_epochs[to->seg], memory_order_relaxed) !=
                        flush_epoch)) {
        link_seal_segment(s, to->seg, to->fill);
        to->seg = 0;
    }
    if (!to->seg) {
        to->seg = segment_take(&s->pool, SEGMENT_ACTIVE, flush_epoch, 0);
        k->taken_by_copier += to->seg != 0;
        to->fill = 0;
        if (!to->seg && k->spare) {
            to->seg = k->spare;
            k->spare = 0;
            atomic_store_explicit(&s->pool.lacking, 1, memory_order_relaxed);
        }
        if (!to->seg)
            return NULL;
        atomic_store_explicit(&s->pool.flush_epochs[to->seg], flush_epoch, memory_order_relaxed);
        segment_open(&s->pool, to->seg, queue, t->now);
    }
    char *room = segment_at(&s->pool, to->seg) + to->fill;
    unpoison(room, bytes);
    return (struct item *)(void *)room;
}

/* Group held, entry alive: the copy takes its place.  Only the header of a long one can have
 * changed since it was copied. */
static void
link_copy(struct store_thread *t, uint64_t hash, slot_word *slot, struct item *it,
          struct item *to, struct fate fate)
{
    struct store *s = t->store;
    struct copy_to *copy = &s->keep.copies[fate.queue];
    uint32_t bytes = item_bytes(it);
    words_read(to, it, item_is_small(it) ? bytes : item_changing_bytes(it));
    to->access = access_make(to->access, fate.frequency, to->access >> ITEM_FETCHED_SHIFT & 1);
    atomic_fetch_sub_explicit(&s->pool.segs[segment_of(s, location_of(s, it))].live,
                              live_share(it), memory_order_release);
    link_item(t, hash, to, slot);
    copy->fill += bytes;
    segment_fill(&s->pool, copy->seg, copy->fill);
}

/* Running means of how long ago what is evicted was asked for, or stored, if it never was. */
static void
note_age(struct store_thread *t, struct item *it)
{
    struct keep *k = &t->store->keep;
    if (item_kind(it) & ITEM_PIECE)
        return;
    _Atomic uint64_t *mean =
        item_marks(it) & STORE_MARK_FETCHED ? &k->age_fetched : &k->age_unfetched;
    uint64_t age = (t->now - item_access(it)) & STORE_ACCESS_MASK;
    uint64_t old = atomic_load_explicit(mean, memory_order_relaxed);
    uint64_t new = old + (age << 8 >> AGE_WEIGHT_SHIFT) - (old >> AGE_WEIGHT_SHIFT);
    atomic_store_explicit(mean, old ? new : age << 8, memory_order_relaxed);
}

static void
note_copy(struct store *s, struct item *it)
{
    struct keep *k = &s->keep;
    uint32_t bytes = item_bytes(it);
    if (k->mode == KEEP_CLEAN) {
        add_to(&k->bytes_cleaning, bytes);
        k->clean_credit -= bytes;
        return;
    }
    add_to(&k->bytes_evicting, bytes);
    k->in_vain += bytes;
    add_to(k->mode == KEEP_SMALL ? &k->promoted : &k->second_chances, live_share(it) >> 32);
}

/* COPY: it lives on and must be copied, out of the lock; BUSY: whoever holds the group seems not to
 * run. */
enum tried { TRIED_DONE, TRIED_COPY, TRIED_BUSY, TRIED_NO_ROOM };

/* One look at an entry under its group's lock; `to`: room for a copy in fate->queue, or NULL. */
static enum tried
try_item(struct store_thread *t, struct item *it, uint64_t hash, struct item *to,
         uint32_t *copied, struct fate *fate)
{
    struct store *s = t->store;
    struct index *ix = &s->index;
    uint64_t location = location_of(s, it);
    enum segment_queue queue = segment_queue(&s->pool, s->keep.victim);
    int slots_delta = 0;
    enum tried tried = TRIED_DONE;
    bool evicted = false;
    struct index_hold h;
    if (!index_lock_soon(ix, hash, &h))
        return TRIED_BUSY;
    slot_word *slot = index_find(ix, &h, hash, location);
    if (slot) {
        *fate = fate_of(t, it, queue, item_state(t, it, location));
        if (!fate->copied) {
            evicted = fate->cause == CAUSE_EVICTED;
            link_remove(t, &h, slot, it, fate->cause);
            slots_delta--;
        } else if (to) {
            link_copy(t, hash, slot, it, to, *fate);
            note_copy(s, it);
            *copied += item_bytes(it);
        } else {
            tried = TRIED_COPY;
        }
    }
    index_unlock(ix, &h, slot != NULL && tried == TRIED_DONE);
    link_settle(t, slots_delta);
    if (evicted) {
        note_age(t, it);
        if (queue == QUEUE_SMALL && !(item_kind(it) & ITEM_PIECE))
            ghost_add(&s->ghost, hash);
    }
    return tried;
}

/*
 * DONE, BUSY, or NO_ROOM for a copy just now.  Copied bytes are added to *copied.
 *
 * A short entry that seems to live on has room made for its copy before it is looked at under the
 * lock.  A long one is copied in between, since it may turn out to be dead.
 */
static enum tried
evict_item(struct store_thread *t, struct item *it, uint64_t hash, uint32_t *copied)
{
    struct store *s = t->store;
    uint32_t bytes = item_bytes(it);
    struct fate fate;
    struct item *to = NULL;
    if (bytes <= STORE_SMALL_BYTES_MAX) {
        fate = fate_of(t, it, segment_queue(&s->pool, s->keep.victim), ITEM_LIVE);
        to = fate.copied ? copy_room(t, fate.queue, bytes) : NULL;
    }
    enum tried tried = try_item(t, it, hash, to, copied, &fate);
    if (tried != TRIED_COPY)
        return tried;
    to = copy_room(t, fate.queue, bytes);
    if (!to)
        return TRIED_NO_ROOM;
    if (bytes > STORE_SMALL_BYTES_MAX) /* all that never changes; link_copy() has the rest */
        memcpy((char *)to + item_changing_bytes(it), (const char *)it + item_changing_bytes(it),
               bytes - item_changing_bytes(it));
    return try_item(t, it, hash, to, copied, &fate);
}

bool
evict_expired(struct store_thread *t, struct item *it)
{
    struct store *s = t->store;
    struct index *ix = &s->index;
    uint64_t hash = evict_hash(s, it), location = location_of(s, it);
    struct index_hold h;
    int slots_delta = 0;
    if (!index_lock_soon(ix, hash, &h))
        return false;
    slot_word *slot = index_find(ix, &h, hash, location);
    if (slot) {
        enum item_state state = item_state(t, it, location);
        if (state != ITEM_LIVE) {
            link_remove(t, &h, slot, it, cause_of(state));
            slots_delta--;
        }
    }
    index_unlock(ix, &h, slots_delta != 0);
    link_settle(t, slots_delta);
    return true;
}

/* ---- one segment ---------------------------------------------------------------------------- */

uint64_t
evict_hash(const struct store *s, struct item *it)
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
    uint32_t filled = segment_filled(p, s->keep.victim);
    uint32_t at = s->keep.victim_at;
    unsigned n = 0;
    for (; n < most && at < filled; n++) {
        struct item *it = (struct item *)(void *)(segment_at(p, s->keep.victim) + at);
        ahead[n] = (struct look_ahead){it, evict_hash(s, it)};
        index_prefetch(&s->index, index_group_of(&s->index, ahead[n].hash), ahead[n].hash);
        if (s->keep.mode == KEEP_SMALL)
            ghost_prefetch(&s->ghost, ahead[n].hash);
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

/* A segment's worth has been won: whoever waited has it, and the bar is down again. */
static void
victim_done(struct store *s)
{
    struct keep *k = &s->keep;
    segment_retire(&s->pool, k->victim);
    k->victim = 0;
    k->won += s->pool.seg_bytes - k->victim_copied;
    if (k->won >= s->pool.seg_bytes) {
        k->won -= s->pool.seg_bytes;
        k->in_vain = 0;
    }
}

static void
lose_hope(struct store_thread *t)
{
    struct keep *k = &t->store->keep;
    atomic_store_explicit(&k->hopeless_until, t->now + 1, memory_order_relaxed);
    atomic_store_explicit(&k->hopeless, true, memory_order_relaxed);
}

/* No room for copies: what is left is evicted, or the segment goes back, partly cleaned. */
static void
give_up_copying(struct store_thread *t)
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

/* What a slice has done. */
struct slice_work {
    unsigned looked;                   /* entries */
    uint32_t copied;                   /* bytes */
};

/* Of the budget. */
static unsigned
left_of(const struct slice_work *w, unsigned budget)
{
    unsigned done = w->looked + w->copied / BYTES_PER_ENTRY;
    return done < budget ? budget - done : 0;
}

/* False: the slice is over, and the next goes on where this one stopped. */
static bool
walk_batch(struct store_thread *t, const struct look_ahead *ahead, unsigned n, unsigned budget,
           struct slice_work *w)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t bytes = item_bytes(ahead[i].item);
        enum tried tried = evict_item(t, ahead[i].item, ahead[i].hash, &w->copied);
        if (tried == TRIED_NO_ROOM)
            give_up_copying(t);
        if (tried != TRIED_DONE)
            return false;
        t->store->keep.victim_at += bytes;
        w->looked++;
        if (left_of(w, budget) == 0)
            return false;
    }
    return true;
}

/* Returns what is left of the budget. */
static unsigned
walk_victim(struct store_thread *t, unsigned budget)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    struct look_ahead ahead[BATCH];
    struct slice_work w = {0};
    unsigned n;
    if (budget_over(&s->budget) && segment_excess(&s->pool) > 0)
        /* the limit was lowered meanwhile, and what is free is not enough: things must go */
        k->mode = KEEP_EVICT;
    do {
        unsigned left = left_of(&w, budget);
        n = look_ahead(s, ahead, left < BATCH ? left : BATCH);
    } while (n && walk_batch(t, ahead, n, budget, &w));
    k->victim_copied += w.copied;
    if (n == 0)
        victim_done(s);
    return left_of(&w, budget);
}

/* ---- pieces --------------------------------------------------------------------------------- */

/*
 * A segment that is full of pieces of one value, all of which were asked for often enough, is not
 * copied but put at the young end of the main queue as it is.
 */
static bool
relink(struct store_thread *t)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    uint32_t filled = segment_filled(&s->pool, k->victim);
    struct item *it = (struct item *)(void *)segment_at(&s->pool, k->victim);
    uint64_t live = atomic_load_explicit(&s->pool.segs[k->victim].live, memory_order_relaxed);
    if (k->mode < KEEP_SMALL || live != filled || !(item_kind(it) & ITEM_PIECE))
        return false;
    unsigned wanted = bar(s), hits = hits_wanted(s, item_bytes(it));
    if (k->mode == KEEP_SMALL && wanted < hits)
        wanted = hits;
    uint64_t serial = item_piece_id(it).serial;
    for (uint32_t at = 0; at < filled; at += item_bytes(it)) {
        it = (struct item *)(void *)(segment_at(&s->pool, k->victim) + at);
        if (!(item_kind(it) & ITEM_PIECE) || item_piece_id(it).serial != serial ||
            item_frequency(it) < wanted)
            return false;
    }
    for (uint32_t at = 0; at < filled; at += item_bytes(it)) {
        it = (struct item *)(void *)(segment_at(&s->pool, k->victim) + at);
        unsigned frequency = k->mode == KEEP_MAIN ? item_frequency(it) - 1 : 0;
        word_write(&it->access, access_make(item_access(it), frequency, true));
    }
    k->in_vain += filled / RELINK_SHARE;
    atomic_store_explicit(&s->pool.segs[k->victim].queue, QUEUE_MAIN, memory_order_relaxed);
    segment_unpick(&s->pool, k->victim);
    k->victim = 0;
    return true;
}

/* ---- choosing ------------------------------------------------------------------------------- */

/* By what was stored since the last time, and what is left, how dead must a segment be? */
static unsigned
clean_class(struct store *s)
{
    struct keep *k = &s->keep;
    int64_t limit = (int64_t)atomic_load_explicit(&s->budget.limit, memory_order_relaxed);
    uint64_t taken = atomic_load_explicit(&s->pool.taken, memory_order_relaxed) -
                     k->taken_by_copier;
    k->clean_credit += CLEAN_PRICE * (int64_t)((taken - k->taken_seen) << s->pool.seg_shift);
    k->taken_seen = taken;
    if (k->clean_credit > limit)
        k->clean_credit = limit;
    if (k->clean_credit <= 0)
        return SEGMENT_DEAD_CLASSES;
    return k->clean_credit > limit / 2   ? CLEAN_CLASS
           : k->clean_credit > limit / 4 ? CLEAN_CLASS_POORER
                                         : CLEAN_CLASS_POOR;
}

static uint32_t
pick_to_clean(struct store *s, unsigned class_min)
{
    uint32_t flush_epoch = atomic_load_explicit(&s->flush_epoch, memory_order_relaxed);
    uint32_t seg = segment_pick_flushed(&s->pool, flush_epoch);
    s->keep.mode = KEEP_CLEAN;
    return seg ? seg : segment_pick_deadest(&s->pool, class_min);
}

/* Where nothing is evicted.  Before hope is lost all that has expired is swept out, once a second. */
static uint32_t
choose_kept(struct store_thread *t)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    if (atomic_load_explicit(&k->hopeless, memory_order_relaxed))
        return 0;
    uint32_t seg = pick_to_clean(s, CLEAN_CLASS_KEPT);
    if (!seg && !sweep_force(s, t->now))
        lose_hope(t);
    return seg;
}

static uint32_t
choose_queue(struct store *s)
{
    struct keep *k = &s->keep;
    size_t limit = atomic_load_explicit(&s->budget.limit, memory_order_relaxed);
    size_t small = atomic_load_explicit(&s->pool.queued[QUEUE_SMALL], memory_order_relaxed);
    size_t main = atomic_load_explicit(&s->pool.queued[QUEUE_MAIN], memory_order_relaxed);
    bool from_small = small << s->pool.seg_shift > limit / SMALL_SHARE || main == 0;
    k->mode = from_small ? KEEP_SMALL : KEEP_MAIN;
    return segment_pick_oldest(&s->pool, from_small ? QUEUE_SMALL : QUEUE_MAIN);
}

/* Lowering the limit is an order to evict, even where nothing else may cause it. */
static uint32_t
choose_over(struct store *s)
{
    s->keep.mode = KEEP_EVICT;
    uint32_t seg = segment_pick_oldest(&s->pool, QUEUE_SMALL);
    return seg ? seg : segment_pick_oldest(&s->pool, QUEUE_MAIN);
}

/* Where nothing is evicted: whether or not room is short, for what is flushed counts as alive. */
static uint32_t
choose_flushed(struct store *s)
{
    struct keep *k = &s->keep;
    if (LIKELY(!atomic_load_explicit(&k->flushed, memory_order_relaxed)) ||
        !atomic_exchange_explicit(&k->flushed, false, memory_order_acquire))
        return 0;
    uint32_t flush_epoch = atomic_load_explicit(&s->flush_epoch, memory_order_relaxed);
    uint32_t seg = segment_pick_flushed(&s->pool, flush_epoch);
    k->mode = KEEP_CLEAN;
    if (seg)                           /* that may not be all */
        atomic_store_explicit(&k->flushed, true, memory_order_relaxed);
    return seg;
}

void
evict_take_spare(struct store *s)
{
    struct keep *k = &s->keep;
    uint32_t flush_epoch = atomic_load_explicit(&s->flush_epoch, memory_order_relaxed);
    k->spare = segment_take(&s->pool, SEGMENT_ACTIVE, flush_epoch, 0);
    k->taken_by_copier += k->spare != 0;
    atomic_store_explicit(&s->pool.lacking, k->spare == 0, memory_order_relaxed);
}

/* What the copier has used it gets back before anybody else gets any.  False: it is in its grace
 * period. */
static bool
has_spare(struct store *s)
{
    if (atomic_load_explicit(&s->pool.lacking, memory_order_relaxed))
        evict_take_spare(s);
    return !atomic_load_explicit(&s->pool.lacking, memory_order_relaxed) ||
           atomic_load_explicit(&s->pool.ready, memory_order_relaxed) == 0;
}

/* The copier's segments go the way of all others, even if they are never full. */
static void
seal_old_copies(struct store *s)
{
    for (unsigned q = 0; q < SEGMENT_QUEUES; q++) {
        struct copy_to *copy = &s->keep.copies[q];
        if (copy->seg && link_age(s, copy->seg)) {
            link_seal_segment(s, copy->seg, copy->fill);
            copy->seg = 0;
        }
    }
}

static void
choose_victim(struct store_thread *t)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    k->victim_at = k->victim_copied = 0;
    k->victim = choose_flushed(s);
    if (k->victim)
        return;
    if (!segment_short(&s->pool) && segment_excess(&s->pool) == 0)
        return;
    if (budget_over(&s->budget) &&
        segment_excess(&s->pool) <= index_surplus_bytes(&s->index))
        return;                        /* the index is about to give as much back */
    seal_old_copies(s);
    if (budget_over(&s->budget)) {
        k->victim = choose_over(s);
    } else if (!s->config.evict) {
        k->victim = choose_kept(t);
    } else {
        if (!has_spare(s))
            return;
        k->victim = pick_to_clean(s, clean_class(s));
        if (!k->victim)
            k->victim = choose_queue(s);
    }
    if (k->victim)
        relink(t);
}

unsigned
evict_some(struct store_thread *t, unsigned budget)
{
    struct keep *k = &t->store->keep;
    if (!k->victim)
        choose_victim(t);
    return k->victim ? walk_victim(t, budget) : budget;
}
