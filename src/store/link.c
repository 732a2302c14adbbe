/*
 * link.c -- how an item becomes findable, and how it ceases to be: the only file that fills and
 * empties slots of entries, and so the only one that counts them.
 */
#include "inner.h"

#include <stdlib.h>

static const enum store_counter cause_counter[] = {
    [CAUSE_REPLACED] = COUNT_REPLACED, [CAUSE_DELETED] = COUNT_DELETED,
    [CAUSE_EXPIRED] = COUNT_EXPIRED,   [CAUSE_EVICTED] = COUNT_EVICTED,
    [CAUSE_FLUSHED] = COUNT_FLUSHED,
};

slot_word *
link_find(struct store_thread *t, const struct index_hold *h, struct store_key key,
          struct item **out_item)
{
    struct store *s = t->store;
    index_prefetch_line(&s->index, h, key.hash);
    struct index_cursor c = index_walk(&s->index, h, key.hash);
    uint64_t slot;
    for (slot_word *w; (w = index_next(&s->index, &c, &slot)) != NULL;) {
        struct item *it = item_at(s, slot_location(slot));
        if (link_has_key(it, key.text)) {
            *out_item = it;
            return w;
        }
    }
    return NULL;
}

slot_word *
link_find_live(struct store_thread *t, struct index_hold *h, struct store_key key,
               struct item **out_item, enum store_gone *out_gone, int *slots_delta)
{
    struct item *it;
    slot_word *w = link_find(t, h, key, &it);
    *out_gone = STORE_GONE_ABSENT;
    if (!w)
        return NULL;
    enum item_state state = item_state(t, it, location_of(t->store, it));
    if (LIKELY(state == ITEM_LIVE)) {
        *out_item = it;
        return w;
    }
    *out_gone = state == ITEM_EXPIRED ? STORE_GONE_EXPIRED : STORE_GONE_FLUSHED;
    link_remove(t, h, w, it, cause_of(state));
    --*slots_delta;
    return NULL;
}

/* ---- room -------------------------------------------------------------------------------- */

#define MEAN_WEIGHT 10000u             /* of so many entries stored, the mean is made */

/* Hands in what was stored since the last time. */
static void
hand_in_mean(struct store_thread *t)
{
    _Atomic uint64_t *mean = &t->store->mean_bytes;
    if (t->new_items == 0)
        return;
    uint64_t old = atomic_load_explicit(mean, memory_order_relaxed);
    uint64_t new = (t->new_bytes << 8) / t->new_items;
    uint64_t weight = old && t->new_items < MEAN_WEIGHT ? t->new_items : MEAN_WEIGHT;
    atomic_store_explicit(mean, (old * (MEAN_WEIGHT - weight) + new * weight) / MEAN_WEIGHT,
                          memory_order_relaxed);
    t->new_items = t->new_bytes = 0;
}

void
link_seal_segment(struct store *s, uint32_t seg, uint32_t filled)
{
    bool flushed = atomic_load_explicit(&s->pool.flush_epochs[seg], memory_order_relaxed) !=
                   atomic_load_explicit(&s->flush_epoch, memory_order_relaxed);
    segment_seal(&s->pool, seg, filled);
    if (UNLIKELY(flushed))
        link_flushed(s);
}

void
link_seal(struct store_thread *t, enum segment_queue queue)
{
    if (!t->active[queue])
        return;
    hand_in_mean(t);
    link_seal_segment(t->store, t->active[queue], t->active_fill[queue]);
    t->active[queue] = 0;
}

bool
link_age(struct store *s, uint32_t seg)
{
    struct segment_pool *p = &s->pool;
    uint32_t taken = (uint32_t)atomic_load_explicit(&p->taken, memory_order_relaxed);
    uint32_t old = (uint32_t)(atomic_load_explicit(&p->budget->limit, memory_order_relaxed) >>
                              p->seg_shift) / 2;
    bool aged = ((taken - p->segs[seg].sequence) & ~(1u << 31)) > old;
    if (aged)
        atomic_store_explicit(&p->segs[seg].aged, true, memory_order_relaxed);
    return aged;
}

void
link_seal_old(struct store_thread *t)
{
    for (unsigned q = 0; q < SEGMENT_QUEUES; q++)
        if (t->active[q] && link_age(t->store, t->active[q]))
            link_seal(t, (enum segment_queue)q);
}

/* Everything is in segments that somebody is filling: no housekeeping can make room. */
static bool
nothing_to_come(const struct store *s)
{
    return atomic_load_explicit(&s->pool.sealed_count, memory_order_relaxed) == 0 &&
           atomic_load_explicit(&s->pool.ready, memory_order_relaxed) == 0 &&
           atomic_load_explicit(&s->keep.victim, memory_order_relaxed) == 0 &&
           atomic_load_explicit(&s->keep.doomed_count, memory_order_relaxed) == 0 &&
           !segment_available(&s->pool, segment_kept(&s->pool) + 1);
}

/* No segment to be had: hold more of them ahead from now on. */
enum store_outcome
link_no_segment(struct store_thread *t)
{
    struct store *s = t->store;
    if (link_hopeless(s, t->now))
        return STORE_NO_MEMORY;
    if (nothing_to_come(s)) {
        if (!t->active[QUEUE_SMALL] && !t->active[QUEUE_MAIN])
            return STORE_NO_MEMORY;
        link_seal(t, QUEUE_SMALL);     /* then that is what can go */
        link_seal(t, QUEUE_MAIN);
    }
    uint32_t limit = (uint32_t)(atomic_load_explicit(&s->budget.limit, memory_order_relaxed) >>
                                s->pool.seg_shift);
    uint32_t most = limit / 50 < 4 ? 4 : limit / 50;
    uint32_t reserve = atomic_load_explicit(&s->pool.reserve, memory_order_relaxed);
    if (reserve < most)
        atomic_store_explicit(&s->pool.reserve, reserve + 1, memory_order_relaxed);
    count(t, COUNT_AGAIN);
    return STORE_AGAIN;
}

enum store_outcome
link_crowded(struct store_thread *t)
{
    if (!atomic_load_explicit(&t->store->keep.flushed, memory_order_relaxed) &&
        !sweep_force(t->store, t->now))
        return STORE_NO_MEMORY;
    count(t, COUNT_AGAIN);
    return STORE_AGAIN;
}

char *
link_room(struct store_thread *t, enum segment_queue queue, uint32_t bytes,
          enum store_outcome *out_why)
{
    struct store *s = t->store;
    uint32_t *seg = &t->active[queue], *fill = &t->active_fill[queue];
    uint32_t flush_epoch = atomic_load_explicit(&s->flush_epoch, memory_order_relaxed);
    if (*seg && (*fill + bytes > s->pool.seg_bytes ||
                 atomic_load_explicit(&s->pool.flush_epochs[*seg], memory_order_relaxed) !=
                     flush_epoch))
        link_seal(t, queue);
    if (!*seg) {
        *seg = segment_take(&s->pool, SEGMENT_ACTIVE, flush_epoch, segment_kept(&s->pool));
        *fill = 0;
        if (!*seg) {
            *out_why = link_no_segment(t);
            return NULL;
        }
        segment_open(&s->pool, *seg, queue, t->now);
    }
    char *room = segment_at(&s->pool, *seg) + *fill;
    unpoison(room, bytes);
    return room;
}

void
link_room_used(struct store_thread *t, enum segment_queue queue, uint32_t bytes)
{
    t->active_fill[queue] += bytes;
    segment_fill(&t->store->pool, t->active[queue], t->active_fill[queue]);
}

/* ---- linking ----------------------------------------------------------------------------- */

/* No group grows without bound, not even under keys made to collide: what is used least goes. */
static slot_word *
evict_crowded(struct store_thread *t, struct index_hold *h, uint64_t hash)
{
    struct store *s = t->store;
    slot_word *slot = index_crowded(&s->index, h, hash, link_reader(s));
    uint64_t location = slot_location(atomic_load_explicit(slot, memory_order_relaxed));
    struct item *it = item_at(s, location);
    enum item_state state = item_state(t, it, location);
    if (state == ITEM_LIVE && !(item_kind(it) & ITEM_PIECE))
        count(t, COUNT_INDEX_EVICTED);
    link_gone(t, it, state == ITEM_LIVE ? CAUSE_EVICTED : cause_of(state));
    return slot;
}

slot_word *
link_place(struct store_thread *t, struct index_hold *h, uint64_t hash, bool crowd,
           int *slots_delta)
{
    slot_word *slot = index_place(&t->store->index, h, hash, &t->local);
    if (LIKELY(slot != NULL)) {
        ++*slots_delta;
        return slot;
    }
    return crowd ? evict_crowded(t, h, hash) : NULL;
}

enum store_outcome
link_relieve(struct store_thread *t, bool *crowd)
{
    struct store *s = t->store;
    enum index_relief relief = index_relieve(&s->index, &t->local, link_reader(s));
    if (relief == INDEX_GREW)
        return STORE_OK;
    if (relief == INDEX_BUSY) {
        count(t, COUNT_AGAIN);
        return STORE_AGAIN;
    }
    *crowd = s->config.evict;
    if (s->config.evict)
        return STORE_OK;
    return relief == INDEX_FITS ? STORE_NO_MEMORY : link_no_segment(t);
}

uint32_t
link_expiring_bytes(const struct store *s, struct item *it)
{
    if (LIKELY(!(item_kind(it) & ITEM_PIECES)))
        return item_bytes(it);
    uint64_t bytes = item_pieces(it).value_bytes;
    return bytes < s->pool.seg_bytes ? (uint32_t)bytes : (uint32_t)s->pool.seg_bytes;
}

void
link_expires(struct store_thread *t, struct item *it, uint32_t before)
{
    struct store *s = t->store;
    uint32_t seg = segment_of(s, location_of(s, it)), expiry = item_expiry(it);
    if (LIKELY(before == expiry))
        return;
    int32_t bytes = (int32_t)link_expiring_bytes(s, it);
    segment_expires(&s->pool, seg, before, -bytes);
    segment_expires(&s->pool, seg, expiry, bytes);
    if (expiry && !atomic_load_explicit(&s->expiring, memory_order_relaxed))
        atomic_store_explicit(&s->expiring, true, memory_order_relaxed);
}

void
link_item(struct store_thread *t, uint64_t hash, struct item *it, slot_word *slot)
{
    struct store *s = t->store;
    uint64_t location = location_of(s, it);
    atomic_fetch_add_explicit(&s->pool.segs[segment_of(s, location)].live, live_share(it),
                              memory_order_relaxed);
    link_expires(t, it, STORE_EXPIRY_NEVER);
    atomic_store_explicit(slot, slot_make(location, hash, item_kind(it)), memory_order_release);
}

/* A note only: no memory is allocated under the lock. */
static void
doom_pieces(struct store_thread *t, struct item *it)
{
    struct item_pieces p = item_pieces(it);
    CHECK(t->doom_count < DOOMS_MAX);
    t->dooms[t->doom_count++] = (struct doomed){
        .serial = p.serial, .piece_count = large_piece_count(t->store, p.value_bytes)};
}

void
link_gone(struct store_thread *t, struct item *it, enum cause cause)
{
    struct store *s = t->store;
    uint32_t seg = segment_of(s, location_of(s, it));
    uint64_t share = live_share(it);
    /* released: whoever retires the segment knows that its groups were locked */
    uint64_t live = atomic_fetch_sub_explicit(&s->pool.segs[seg].live, share, memory_order_release);
    if (live == share || segment_class(&s->pool, seg, (uint32_t)live) !=
                             segment_class(&s->pool, seg, (uint32_t)(live - share)))
        t->thinned = seg;
    if (item_expiry(it))
        segment_expires(&s->pool, seg, item_expiry(it), -(int32_t)link_expiring_bytes(s, it));
    link_hope(s);
    if (item_kind(it) & ITEM_PIECE)
        return;
    count(t, cause_counter[cause]);
    if (!(item_marks(it) & STORE_MARK_FETCHED)) {
        if (cause == CAUSE_EVICTED)
            count(t, COUNT_EVICTED_UNFETCHED);
        else if (cause == CAUSE_EXPIRED)
            count(t, COUNT_EXPIRED_UNFETCHED);
    }
    if (item_kind(it) & ITEM_PIECES)
        doom_pieces(t, it);
}

void
link_remove(struct store_thread *t, struct index_hold *h, slot_word *slot, struct item *it,
            enum cause cause)
{
    link_gone(t, it, cause);
    index_remove(&t->store->index, h, slot, &t->local);
}

bool
link_ready(struct store_thread *t)
{
    index_local_fill(&t->store->index, &t->local);
    return t->store->config.evict || t->local.spare_count > 0;
}

void
link_doom(struct store_thread *t, uint64_t serial, uint32_t piece_count)
{
    struct keep *k = &t->store->keep;
    struct doomed *d = malloc(sizeof *d);
    if (!d) {                          /* then at once */
        for (uint32_t piece = 0; piece < piece_count;)
            piece += large_unlink_piece(t, serial, piece);
        return;
    }
    atomic_fetch_add_explicit(&k->doomed_count, 1, memory_order_relaxed);
    pthread_mutex_lock(&k->lock);
    *d = (struct doomed){.next = k->doomed, .serial = serial, .piece_count = piece_count};
    k->doomed = d;
    pthread_mutex_unlock(&k->lock);
}

/* To unlink a piece settles too, but a piece dooms nothing. */
static void
settle_dooms(struct store_thread *t)
{
    while (t->doom_count) {
        struct doomed d = t->dooms[--t->doom_count];
        link_doom(t, d.serial, d.piece_count);
    }
}

void
link_settle(struct store_thread *t, int slots_delta)
{
    struct store *s = t->store;
    if (slots_delta)
        index_counted(&s->index, &t->local, slots_delta, link_reader(s));
    index_local_fill(&s->index, &t->local);
    if (UNLIKELY(t->thinned)) {
        segment_thinned(&s->pool, t->thinned);
        t->thinned = 0;
    }
    if (UNLIKELY(t->doom_count))
        settle_dooms(t);
}

static uint64_t
hash_of(void *store, uint64_t location)
{
    struct store *s = store;
    return item_hash(item_at(s, location), s->seed);
}

static unsigned
frequency_of(void *store, uint64_t location)
{
    return item_frequency(item_at(store, location));
}

struct index_reader
link_reader(struct store *s)
{
    return (struct index_reader){hash_of, frequency_of, s};
}

/*
 * A Lamport clock per thread (Lamport 1978): numbers of one key only grow whoever writes it, and no
 * two threads ever give the same one, without a line that all of them write.
 *
 * Clients may choose numbers.  Those from 2^52 on are not followed, or one of them would push the
 * numbers of all keys out of the range of doubles, or around.
 */
#define CAS_FOLLOWED_END (1ull << 52)

uint64_t
link_cas_next(struct store_thread *t, uint64_t old)
{
    uint64_t p = t->store->residues;
    bool follow = old > t->cas_last && old < CAS_FOLLOWED_END;
    uint64_t least = (follow ? old : t->cas_last) + 1;
    uint64_t next = ((least + p - 1 - t->number) & ~(p - 1)) + t->number;
    if (UNLIKELY(next == old))         /* chosen by a client, and beyond what is followed */
        next += p;
    t->cas_last = next;
    return next;
}
