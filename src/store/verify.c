/*
 * verify.c -- does everything hang together?  Walks the whole store; tests call it after each step.
 *
 *   V1  every slot leads to an item inside the filled part of a segment that holds items
 *   V2  for each segment, `live` is the sum of what the index leads to in it
 *   V3  no location is found twice (its segment's sum would not fit), no key twice
 *   V4  stored = present + replaced + deleted + expired + evicted + flushed
 *   V5  segments by state are all there are; what is in use is charged to the budget
 *   V6  a sealed segment is in the list of its queue, and in that of how much of it is dead
 *   and I1 to I5 of index.h
 */
#include "inner.h"

#include <stdlib.h>

struct walk {
    struct store *s;
    uint64_t *live;                    /* per segment, as found */
};

static uint32_t
end_of_items(struct store *s, uint32_t seg)
{
    if (s->pool.segs[seg].state == SEGMENT_LENT)
        return (uint32_t)s->pool.seg_bytes;
    return segment_filled(&s->pool, seg);
}

static bool
state_holds_items(uint32_t state)
{
    return state == SEGMENT_ACTIVE || state == SEGMENT_SEALED || state == SEGMENT_VICTIM ||
           state == SEGMENT_LENT;
}

static const char *
seen_slot(void *ctx, uint64_t slot, uint64_t *out_hash)
{
    struct walk *w = ctx;
    struct store *s = w->s;
    uint32_t seg = segment_of(s, slot_location(slot));
    if (seg == 0 || seg >= s->pool.fresh || !state_holds_items(s->pool.segs[seg].state))
        return "V1: a slot leads to a segment that holds no items";
    struct item *it = item_at(s, slot_location(slot));
    size_t offset = (size_t)((char *)it - segment_at(&s->pool, seg));
    if (offset + item_bytes(it) > end_of_items(s, seg))
        return "V1: a slot leads beyond the filled part of a segment";
    if (slot >> SLOT_KIND_SHIFT != item_kind(it))
        return "V1: the kind in a slot is not that of its item";
    w->live[seg] += live_share(it);
    *out_hash = item_hash(it, s->seed);
    return NULL;
}

static bool
same_entry(struct item *a, struct item *b)
{
    if ((item_kind(a) ^ item_kind(b)) & ITEM_PIECE)
        return false;
    if (item_kind(a) & ITEM_PIECE)
        return memcmp(item_value(a), item_value(b), PIECE_ID_BYTES) == 0;
    return item_key_bytes(a) == item_key_bytes(b) &&
           memcmp(item_key(a), item_key(b), item_key_bytes(a)) == 0;
}

/* A key found twice has equal hashes, so both slots are candidates of one another. */
static const char *
verify_unique(struct store *s, uint64_t slot)
{
    struct item *it = item_at(s, slot_location(slot));
    uint64_t hash = item_hash(it, s->seed);
    struct index_hold h = index_lock(&s->index, hash);
    struct index_cursor c = index_walk(&s->index, &h, hash);
    unsigned found = 0;
    uint64_t other;
    while (index_next(&s->index, &c, &other))
        found += same_entry(it, item_at(s, slot_location(other)));
    index_unlock(&s->index, &h, false);
    return found == 1 ? NULL : "V3: a key is in the index twice";
}

static const char *
verify_index(struct walk *w)
{
    struct store *s = w->s;
    uint64_t groups = atomic_load(&s->index.group_count);
    const char *wrong = NULL;
    for (uint64_t g = 0; g < groups && !wrong; g++)
        wrong = index_verify_group(&s->index, g, seen_slot, w);
    for (uint64_t g = 0; g < groups && !wrong; g++)
        for (unsigned i = 0; i < INDEX_BUCKETS * INDEX_SLOTS && !wrong; i++) {
            slot_word *slots = s->index.groups[g].slots[i / INDEX_SLOTS];
            uint64_t slot = atomic_load(&slots[i % INDEX_SLOTS]);
            wrong = slot ? verify_unique(s, slot) : NULL;
        }
    return wrong;
}

/* Counts a list; UINT32_MAX: something in it does not belong there. */
static uint32_t
count_list(const struct segment_pool *p, const struct segment_list *list, enum segment_order order,
           unsigned wanted)
{
    uint32_t n = 0, before = 0;
    for (uint32_t seg = list->first; seg; before = seg, seg = p->segs[seg].link[order].next) {
        unsigned is = order == ORDER_AGE ? segment_queue(p, seg) : p->segs[seg].dead_class;
        if (p->segs[seg].state != SEGMENT_SEALED || is != wanted ||
            p->segs[seg].link[order].prev != before || n++ == list->count)
            return UINT32_MAX;
    }
    return n == list->count && list->last == before ? n : UINT32_MAX;
}

static bool
is_listed(const struct segment_pool *p)
{
    uint64_t by_age = 0, by_dead = 0, classes = 0;
    for (unsigned q = 0; q < SEGMENT_QUEUES; q++)
        by_age += count_list(p, &p->sealed[q], ORDER_AGE, q);
    for (unsigned class = 0; class < SEGMENT_DEAD_CLASSES; class++) {
        by_dead += count_list(p, &p->dead[class], ORDER_DEAD, class);
        classes += (uint64_t)class * p->dead[class].count;
    }
    return by_age == p->counts[SEGMENT_SEALED] && by_dead == by_age && classes == p->dead_classes &&
           by_age == atomic_load(&p->sealed_count);
}

static const char *
verify_segments(struct walk *w)
{
    struct store *s = w->s;
    uint32_t in_use = 0;
    for (uint32_t seg = 1; seg < s->pool.fresh; seg++) {
        if (atomic_load(&s->pool.segs[seg].live) != w->live[seg])
            return "V2: what is live in a segment is not what the index leads to";
        in_use += s->pool.segs[seg].state != SEGMENT_NONE;
    }
    uint32_t sum = 0;
    for (unsigned state = SEGMENT_FREE; state < SEGMENT_STATES; state++)
        sum += s->pool.counts[state];
    if (sum != in_use)
        return "V5: the counts by state are not those of the segments";
    if (s->pool.counts[SEGMENT_FREE] != s->pool.free.count ||
        s->pool.counts[SEGMENT_LIMBO] != s->pool.limbo.count ||
        atomic_load(&s->pool.ready) != s->pool.free.count + s->pool.limbo.count)
        return "V5: a list of segments does not have the length that is counted";
    if (!is_listed(&s->pool))
        return "V6: sealed segments do not stand in the lists they belong to";
    size_t least = (size_t)in_use * s->pool.seg_bytes + index_memory_bytes(&s->index) +
                   ghost_bytes(&s->ghost);
    return atomic_load(&s->budget.used) >= least
               ? NULL
               : "V5: memory in use is not charged to the budget";
}

const char *
store_verify(struct store *s)
{
    struct walk w = {s, calloc(s->pool.fresh, sizeof(uint64_t))};
    if (!w.live)
        return "out of memory";
    const char *wrong = verify_index(&w);
    if (!wrong)
        wrong = verify_segments(&w);
    free(w.live);
    if (wrong)
        return wrong;
    struct store_stats n;
    store_stats_read(s, &n);
    if (n.items_stored != n.items_present + n.items_replaced + n.items_deleted + n.items_expired +
                              n.items_evicted + n.items_flushed)
        return "V4: not every item that went away was counted once";
    return NULL;
}
