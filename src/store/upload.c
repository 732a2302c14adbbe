/*
 * upload.c -- values in pieces while they arrive.
 *
 * An upload fills segments lent to it, a piece becoming findable as soon as it is whole; nothing
 * leads to it before the head is stored.  Then the segments become ordinary ones.  Memory lent is
 * charged to the allowance of the connections when the upload is opened, so that an upload once
 * admitted never waits for another: for its whole length, but for half of what all uploads may have
 * at most.  What is longer turns its segments into ordinary ones each time that so much is lent to
 * it; so does one that is set aside, because it does not go on while others wait: it is admitted
 * again for the rest.
 */
#include "inner.h"

#include <stdlib.h>

#define PIECES_PER_SEGMENT 16u
#define PLACE_ROUNDS 8u                /* to find a place in a full group */
#define WASTE_SHARE 16u                /* of a segment may be left unused when it is sealed early */

struct store_upload {
    uint64_t serial;
    uint64_t value_bytes, received;
    uint32_t first, last;              /* segments lent, linked by `next`; 0: none yet */
    uint32_t fill;                     /* bytes of whole pieces in `last` */
    uint32_t piece;                    /* number of the piece being received */
    uint32_t piece_at;                 /* bytes of it that are there */
    size_t charged;                    /* bytes of the allowance */
    bool broken;                       /* a piece found no place in the index: NO_MEMORY */
    uint32_t lent;                     /* segments from first to last */
    uint32_t settled;                  /* pieces that are in ordinary segments already */
    bool aside;
    enum segment_queue queue;          /* of what settles before all is there: of a long one its
                                        * end would push out its own start in the small queue */
    char *part;                        /* aside, or not in a segment again yet: the piece_at bytes
                                        * of the piece; or NULL */
};

static uint32_t
piece_item_bytes(uint32_t payload)
{
    return item_bytes_for(ITEM_PIECE, 0, PIECE_ID_BYTES + payload);
}

bool
large_broken(const struct store_upload *u)
{
    return u->broken;
}

bool
large_complete(const struct store_upload *u)
{
    return u->received == u->value_bytes;
}

uint64_t
large_received(const struct store_upload *u)
{
    return u->received;
}

struct item_pieces
large_pieces(const struct store_upload *u)
{
    return (struct item_pieces){u->serial, u->value_bytes};
}

/* ---- admission ------------------------------------------------------------------------------ */

/* Of the allowance; the rest is for replies. */
static size_t
uploads_share(const struct store *s)
{
    return budget_allowance(&s->budget) / 4 * 3;
}

static bool
admit(struct store *s, size_t bytes)
{
    if (atomic_fetch_add_explicit(&s->uploads_open, 1, memory_order_relaxed) == 0) {
        atomic_fetch_add_explicit(&s->budget.borrowed, bytes, memory_order_relaxed);
        return true;
    }
    if (budget_borrow(&s->budget, bytes, uploads_share(s)))
        return true;
    atomic_fetch_sub_explicit(&s->uploads_open, 1, memory_order_relaxed);
    return false;
}

static uint32_t
segments_for(const struct store *s, uint64_t value_bytes)
{
    return (large_piece_count(s, value_bytes) + PIECES_PER_SEGMENT - 1) / PIECES_PER_SEGMENT;
}

/* At least two segments: one is being filled while those before it settle. */
static size_t
lent_max(const struct store *s)
{
    size_t segments = uploads_share(s) / 2 >> s->pool.seg_shift;
    return (segments > 2 ? segments : 2) << s->pool.seg_shift;
}

static size_t
charge_for(const struct store *s, uint64_t value_bytes)
{
    size_t all = (size_t)segments_for(s, value_bytes) << s->pool.seg_shift, most = lent_max(s);
    return all < most ? all : most;
}

static enum store_outcome
upload_create(struct store_thread *t, uint64_t value_bytes, size_t charged,
              struct store_upload **out_upload)
{
    struct store_upload *u = malloc(sizeof *u);
    if (!u)
        return STORE_NO_MEMORY;
    *u = (struct store_upload){.serial = ++t->serial_last, .value_bytes = value_bytes,
                               .charged = charged, .queue = QUEUE_MAIN};
    *out_upload = u;
    return STORE_OK;
}

static void
discharge(struct store *s, size_t charged)
{
    if (charged == 0)
        return;
    atomic_fetch_sub_explicit(&s->budget.borrowed, charged, memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->uploads_open, 1, memory_order_relaxed);
}

/* The limit may have been lowered below what a value of an allowed length needs. */
static bool
never_fits(const struct store *s, uint32_t segments)
{
    size_t threads = atomic_load_explicit(&s->joined, memory_order_relaxed);
    size_t others = threads + s->pool.keep + 2;
    return index_memory_bytes(&s->index) + ((others + segments) << s->pool.seg_shift) >
           atomic_load_explicit(&s->budget.limit, memory_order_relaxed);
}

enum store_outcome
store_upload_open(struct store_thread *t, uint64_t value_bytes, struct store_upload **out_upload)
{
    struct store *s = t->store;
    CHECK(value_bytes > s->inline_bytes_max);
    if (value_bytes > s->config.value_bytes_max)
        return STORE_TOO_LARGE;
    if (link_hopeless(s, t->now) || never_fits(s, segments_for(s, value_bytes)))
        return STORE_NO_MEMORY;
    size_t charge = charge_for(s, value_bytes);
    if (!admit(s, charge)) {
        count(t, COUNT_AGAIN);
        return STORE_AGAIN;
    }
    enum store_outcome outcome = upload_create(t, value_bytes, charge, out_upload);
    if (outcome != STORE_OK)
        discharge(s, charge);
    return outcome;
}

enum store_outcome
large_open_own(struct store_thread *t, uint64_t value_bytes, enum segment_queue queue,
               struct store_upload **out_upload)
{
    struct store *s = t->store;
    uint32_t segments = segments_for(s, value_bytes);
    if (link_hopeless(s, t->now) || never_fits(s, segments))
        return STORE_NO_MEMORY;
    enum store_outcome outcome = upload_create(t, value_bytes, 0, out_upload);
    if (outcome == STORE_OK && (size_t)segments << s->pool.seg_shift <= lent_max(s))
        (*out_upload)->queue = queue;
    return outcome;
}

static void
drop_part(struct store_thread *t, struct store_upload *u)
{
    if (u->part == NULL)
        return;
    free(u->part);
    u->part = NULL;
    store_repay(t, u->piece_at);
}

static void
upload_free(struct store_thread *t, struct store_upload *u)
{
    drop_part(t, u);
    discharge(t->store, u->charged);
    free(u);
}

static uint32_t
payload_max(const struct store *s, const struct store_upload *u)
{
    uint64_t left = u->value_bytes - (u->received - u->piece_at);
    return left < s->piece_bytes ? (uint32_t)left : s->piece_bytes;
}

/* ---- adoption ----------------------------------------------------------------------------- */

/* Copies the pieces of the last, partly filled segment behind what the thread stores anyway. */
static bool
copy_out(struct store_thread *t, enum segment_queue queue, uint32_t seg, uint32_t filled)
{
    struct store *s = t->store;
    for (uint32_t at = 0; at < filled;) {
        struct item *it = (struct item *)(void *)(segment_at(&s->pool, seg) + at);
        uint32_t bytes = item_bytes(it);
        enum store_outcome why;
        struct item *to = (struct item *)(void *)link_room(t, queue, bytes, &why);
        if (!to)
            return false;
        uint32_t changing = item_changing_bytes(it);
        words_read(to, it, changing);  /* readers may be there: the head is stored */
        memcpy((char *)to + changing, (const char *)it + changing, bytes - changing);
        uint64_t hash = item_hash(to, s->seed);
        struct index_hold h = index_lock(&s->index, hash);
        slot_word *w = index_find(&s->index, &h, hash, location_of(s, it));
        if (w) {
            link_gone(t, it, CAUSE_REPLACED);
            link_item(t, hash, to, w);
        }
        index_unlock(&s->index, &h, w != NULL);
        if (w)
            link_room_used(t, queue, bytes);
        at += bytes;
    }
    return true;
}

/* Seal it as it is, fill it up as the thread's own, or copy: whichever wastes least. */
static void
adopt_last(struct store_thread *t, struct store_upload *u, enum segment_queue queue)
{
    struct segment_pool *p = &t->store->pool;
    size_t waste_max = p->seg_bytes / WASTE_SHARE;
    size_t left_lent = p->seg_bytes - u->fill;
    size_t left_active = t->active[queue] ? p->seg_bytes - t->active_fill[queue] : 0;
    if (left_lent <= waste_max) {
        link_seal_segment(t->store, u->last, u->fill);
    } else if (left_active <= waste_max) {
        link_seal(t, queue);
        segment_activate(p, u->last);
        segment_fill(p, u->last, u->fill);
        t->active[queue] = u->last;
        t->active_fill[queue] = u->fill;
    } else if (copy_out(t, queue, u->last, u->fill)) {
        segment_retire(p, u->last);
    } else {
        link_seal_segment(t->store, u->last, u->fill);
    }
}

static uint32_t
next_lent(const struct store *s, uint32_t seg)
{
    return s->pool.segs[seg].link[ORDER_AGE].next;
}

void
large_stamp(struct store *s, struct store_upload *u)
{
    uint32_t flush_epoch = atomic_load_explicit(&s->flush_epoch, memory_order_relaxed);
    for (uint32_t seg = u->first; seg; seg = next_lent(s, seg))
        atomic_store_explicit(&s->pool.flush_epochs[seg], flush_epoch, memory_order_relaxed);
}

bool
large_is_stamped(const struct store *s, const struct store_upload *u)
{
    return !u->first || atomic_load_explicit(&s->pool.flush_epochs[u->first],
                                             memory_order_relaxed) ==
                            atomic_load_explicit(&s->flush_epoch, memory_order_relaxed);
}

/* What is lent becomes ordinary. */
static void
settle(struct store_thread *t, struct store_upload *u, enum segment_queue queue)
{
    struct store *s = t->store;
    large_stamp(s, u);
    for (uint32_t seg = u->first, next; seg; seg = next) {
        next = next_lent(s, seg);
        segment_open(&s->pool, seg, queue, t->now);
        if (seg != u->last)
            link_seal_segment(s, seg, segment_filled(&s->pool, seg));
    }
    if (u->last)
        adopt_last(t, u, queue);
    u->first = u->last = u->fill = u->lent = 0;
    u->settled = u->piece;
}

/* ---- receiving ----------------------------------------------------------------------------- */

/* A further segment is needed.  May fail for the moment. */
static enum store_outcome
lend_segment(struct store_thread *t, struct store_upload *u)
{
    struct store *s = t->store;
    if (u->lent && (size_t)u->lent << s->pool.seg_shift >= u->charged)
        settle(t, u, u->queue);
    uint32_t seg = segment_take(&s->pool, SEGMENT_LENT,
                                atomic_load_explicit(&s->flush_epoch, memory_order_relaxed),
                                segment_kept(&s->pool));
    if (!seg)
        return link_no_segment(t);
    segment_open(&s->pool, seg, QUEUE_SMALL, t->now);
    s->pool.segs[seg].link[ORDER_AGE].next = 0;
    if (u->last) {
        segment_fill(&s->pool, u->last, u->fill);
        s->pool.segs[u->last].link[ORDER_AGE].next = seg;
    } else {
        u->first = seg;
    }
    u->last = seg;
    u->fill = 0;
    u->lent++;
    return STORE_OK;
}

/* An upload that was set aside goes on: admitted for what is missing. */
static bool
admit_again(struct store *s, struct store_upload *u)
{
    uint64_t left = u->value_bytes - (u->received - u->piece_at);
    size_t charge = charge_for(s, left);
    if (!admit(s, charge))
        return false;
    u->charged = charge;
    u->aside = false;
    return true;
}

enum store_outcome
store_upload_room(struct store_thread *t, struct store_upload *u, char **out_at, size_t *out_len)
{
    struct store *s = t->store;
    *out_len = 0;
    if (large_complete(u))
        return STORE_OK;
    if (!link_ready(t))
        return link_no_segment(t);
    if (UNLIKELY(index_awaits_lines(&t->local))) {
        count(t, COUNT_AGAIN);         /* a whole piece cannot be put off */
        return STORE_AGAIN;
    }
    if (UNLIKELY(u->aside) && !admit_again(s, u)) {
        count(t, COUNT_AGAIN);
        return STORE_AGAIN;
    }
    uint32_t payload = payload_max(s, u);
    if (!u->last || u->fill + piece_item_bytes(payload) > s->pool.seg_bytes) {
        enum store_outcome outcome = lend_segment(t, u);
        if (outcome != STORE_OK)
            return outcome;
    }
    struct item *it = (struct item *)(void *)(segment_at(&s->pool, u->last) + u->fill);
    if (UNLIKELY(u->part != NULL)) {
        memcpy(it->rest + PIECE_ID_BYTES, u->part, u->piece_at);
        drop_part(t, u);
    }
    *out_at = it->rest + PIECE_ID_BYTES + u->piece_at;
    *out_len = payload - u->piece_at;
    return STORE_OK;
}

/* False: its group is full, and nothing may be evicted. */
static bool
link_piece(struct store_thread *t, uint64_t hash, struct item *it)
{
    struct store *s = t->store;
    bool crowd = false;
    for (unsigned round = 0; round < PLACE_ROUNDS; round++) {
        int slots_delta = 0;
        link_ready(t);
        struct index_hold h = index_lock(&s->index, hash);
        slot_word *slot = link_place(t, &h, hash, crowd, &slots_delta);
        if (slot)
            link_item(t, hash, it, slot);
        index_unlock(&s->index, &h, slot != NULL);
        link_settle(t, slots_delta);
        if (slot)
            return true;
        /* There is no way to put a piece off: neither until somebody else is done, nor until the
         * index, that grows elsewhere first, has come to this group. */
        if (link_relieve(t, &crowd) == STORE_AGAIN || round + 2 == PLACE_ROUNDS)
            crowd = s->config.evict;
    }
    return false;
}

/* The piece is whole: it can be found from now on, by those who know its serial. */
static void
finish_piece(struct store_thread *t, struct store_upload *u, uint32_t payload)
{
    struct store *s = t->store;
    struct item *it = (struct item *)(void *)(segment_at(&s->pool, u->last) + u->fill);
    it->lengths = (PIECE_ID_BYTES + payload) << 12 | ITEM_PIECE;
    it->expiry = STORE_EXPIRY_NEVER;
    it->access = access_make(t->now, 0, false);
    counter_add(&t->counters[COUNT_BYTES_STORED], item_bytes(it));
    struct item_piece_id id = {.serial = u->serial, .number = u->piece};
    memcpy(it->rest, &id, PIECE_ID_BYTES);
    uint64_t hash = item_piece_hash(id, s->seed);
    if (!link_piece(t, hash, it))
        u->broken = true;
    u->fill += item_bytes(it);
    u->piece++;
    u->piece_at = 0;
}

void
store_upload_filled(struct store_thread *t, struct store_upload *u, size_t n)
{
    uint32_t payload = payload_max(t->store, u);
    CHECK(n <= payload - u->piece_at);
    u->piece_at += (uint32_t)n;
    u->received += n;
    if (u->piece_at == payload)
        finish_piece(t, u, payload);
}

/*
 * Nothing leads to the pieces: their segments are declared flushed and put first in the line of
 * eviction, which unlinks them in slices.
 */
void
store_upload_abort(struct store_thread *t, struct store_upload *u)
{
    struct store *s = t->store;
    if (u->last)
        segment_fill(&s->pool, u->last, u->fill);
    for (uint32_t seg = u->first, next; seg; seg = next) {
        next = next_lent(s, seg);
        atomic_store_explicit(&s->pool.flush_epochs[seg], 0, memory_order_relaxed);
        segment_discard(&s->pool, seg, segment_filled(&s->pool, seg));
    }
    if (u->settled)                    /* those in ordinary segments */
        link_doom(t, u->serial, u->settled);
    link_flushed(s);
    upload_free(t, u);
}

void
large_adopt(struct store_thread *t, struct store_upload *u, enum segment_queue queue)
{
    t->new_bytes += u->value_bytes;
    settle(t, u, queue);
    upload_free(t, u);
}

/* ---- setting aside ------------------------------------------------------------------------ */

/* The started piece goes into memory that is borrowed for it; it may be there still, if no segment
 * was to be had since. */
static bool
save_part(struct store_thread *t, struct store_upload *u)
{
    if (u->piece_at == 0 || u->part != NULL)
        return true;
    if (!store_borrow_forced(t, u->piece_at))
        return false;
    u->part = malloc(u->piece_at);
    if (u->part == NULL) {
        store_repay(t, u->piece_at);
        return false;
    }
    struct item *it =
        (struct item *)(void *)(segment_at(&t->store->pool, u->last) + u->fill);
    memcpy(u->part, it->rest + PIECE_ID_BYTES, u->piece_at);
    return true;
}

bool
store_upload_set_aside(struct store_thread *t, struct store_upload *u)
{
    if (u->aside || !save_part(t, u))
        return false;
    discharge(t->store, u->charged);
    u->charged = 0;
    settle(t, u, QUEUE_SMALL);
    u->aside = true;
    return true;
}

bool
store_upload_is_aside(const struct store_upload *u)
{
    return u->aside;
}
