/*
 * sweep.c -- what has expired is taken out without waiting for somebody to ask for it.
 *
 * Once a second a hand begins to pass over all segments.  Where the summary of a segment tells that
 * a part of it that is worth it has expired, its entries are looked at in order, those that have
 * expired are unlinked, and the summary is made anew from the others.  The room that they leave is
 * found by cleaning.  Of entries that live nothing but the header is read.
 */
#include "inner.h"

#define WORTH_SHARE 20u                /* a segment is swept if 1/20 of it has expired */
#define REST_SHARE 8u                  /* rounds asked for take at most 1/9 of the time */
#define LOOKS_PER_ENTRY 2u             /* summaries looked at, for one entry of the budget */

void
sweep_if_due(struct store *s, uint32_t now)
{
    struct keep *k = &s->keep;
    if (!atomic_load_explicit(&s->expiring, memory_order_relaxed) ||
        atomic_load_explicit(&k->sweeping, memory_order_relaxed) ||
        atomic_load_explicit(&k->swept_at, memory_order_relaxed) >= now)
        return;
    atomic_store_explicit(&k->swept_at, now, memory_order_relaxed);
    atomic_store_explicit(&k->sweeping, true, memory_order_relaxed);
}

bool
sweep_force(struct store *s, uint32_t now)
{
    struct keep *k = &s->keep;
    if (!atomic_load_explicit(&s->expiring, memory_order_relaxed) ||
        now < atomic_load_explicit(&k->forced_rest, memory_order_relaxed))
        return false;
    atomic_store_explicit(&k->forced, true, memory_order_relaxed);
    atomic_store_explicit(&k->sweeping, true, memory_order_relaxed);
    return true;
}

/* ---- one segment ---------------------------------------------------------------------------- */

/* The summary begins anew before the walk, and is added to after it: what is stored, or given
 * another time, behind the hand adds itself, and at worst is counted twice. */
static void
begin(struct store_thread *t, uint32_t seg, uint32_t sequence)
{
    struct keep *k = &t->store->keep;
    k->sweep_expired = segment_expired_about(&t->store->pool, seg, t->now);
    segment_expiry_begin(&t->store->pool, seg, t->now);
    k->sweep_seg = seg;
    k->sweep_at = 0;
    k->sweep_sequence = sequence;
    k->sweep_began = t->now;
    memset(k->sweep_bytes, 0, sizeof k->sweep_bytes);
}

/* False: the group of an entry is busy. */
static bool
look(struct store_thread *t, struct item *it)
{
    struct keep *k = &t->store->keep;
    uint32_t expiry = item_expiry(it);
    if (expiry == STORE_EXPIRY_NEVER || item_kind(it) & ITEM_PIECE)
        return true;
    if (expiry <= t->now)
        return evict_expired(t, it);
    uint32_t *sum = &k->sweep_bytes[segment_expiry_class(expiry - k->sweep_began)];
    uint32_t bytes = link_expiring_bytes(t->store, it);
    *sum += *sum < UINT32_MAX - bytes ? bytes : 0;
    return true;
}

/* True: the slice is over. */
static bool
walk(struct store_thread *t, unsigned *budget)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    if (!segment_is_still(&s->pool, k->sweep_seg, k->sweep_sequence)) {
        memset(k->sweep_bytes, 0, sizeof k->sweep_bytes);
        k->sweep_bytes[0] = k->sweep_expired;
        segment_expiry_add(&s->pool, k->sweep_seg, k->sweep_bytes);    /* it may come back */
        k->sweep_seg = 0;
        return false;
    }
    uint32_t filled = segment_filled(&s->pool, k->sweep_seg);
    for (; *budget && k->sweep_at < filled; --*budget) {
        struct item *it =
            (struct item *)(void *)(segment_at(&s->pool, k->sweep_seg) + k->sweep_at);
        uint32_t bytes = item_bytes(it);
        if (!look(t, it))
            return true;
        k->sweep_at += bytes;
    }
    if (k->sweep_at < filled)
        return true;
    segment_expiry_add(&s->pool, k->sweep_seg, k->sweep_bytes);
    k->sweep_seg = 0;
    return false;
}

/* ---- the round ------------------------------------------------------------------------------ */

static void
end_round(struct keep *k, uint32_t now)
{
    if (k->sweep_all) {
        atomic_store_explicit(&k->forced_rest, now + 1 + REST_SHARE * (now - k->sweep_all_began),
                              memory_order_relaxed);
        atomic_store_explicit(&k->forced, false, memory_order_relaxed);
    }
    atomic_store_explicit(&k->expired_held, k->sweep_sum, memory_order_relaxed);
    k->sweep_sum = 0;
    k->sweep_hand = 0;
    k->sweep_all = false;
    atomic_store_explicit(&k->sweeping, false, memory_order_relaxed);
}

/* The hand moves on until it finds a segment that is worth it.  False: the slice or the round is
 * over. */
static bool
find(struct store_thread *t, unsigned *looks)
{
    struct store *s = t->store;
    struct keep *k = &s->keep;
    if (!k->sweep_all && atomic_load_explicit(&k->forced, memory_order_relaxed)) {
        k->sweep_all = true;           /* from the start again */
        k->sweep_all_began = t->now;
        k->sweep_hand = 0;
        k->sweep_sum = 0;
    }
    uint32_t worth = k->sweep_all ? 1 : (uint32_t)(s->pool.seg_bytes / WORTH_SHARE);
    uint32_t end = segment_end(&s->pool);
    for (; *looks; --*looks) {
        uint32_t seg = ++k->sweep_hand;
        if (seg >= end) {
            end_round(k, t->now);
            return false;
        }
        uint32_t expired = segment_expired_about(&s->pool, seg, t->now);
        if (expired == 0)
            continue;
        uint32_t sequence = segment_sweepable(&s->pool, seg);
        if (sequence && expired >= worth) {
            begin(t, seg, sequence);
            return true;
        }
        if (sequence)
            k->sweep_sum += expired;
    }
    return false;
}

unsigned
sweep_some(struct store_thread *t, unsigned budget)
{
    struct keep *k = &t->store->keep;
    unsigned looks = budget * LOOKS_PER_ENTRY;
    while (budget) {
        if (!k->sweep_seg && !find(t, &looks))
            return looks ? budget : 0;
        if (walk(t, &budget))
            return budget;
    }
    return 0;
}
