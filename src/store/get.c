/*
 * get.c -- looking.  Gets that may change what they find are in lease.c.
 *
 * A get takes no lock, and stores nothing but one word of the entry: its last access, once a
 * second, and its frequency, until that is 3.  What it has read belongs together if the control
 * word of the group is afterwards what it was before.  A small value is copied, because it may
 * change in place; a longer one never changes and is used where it lies until the section ends.
 */
#include "inner.h"
#include "view.h"

enum look { LOOK_HIT, LOOK_MISS, LOOK_AGAIN, LOOK_DEAD, LOOK_OTHER };

/* What this slot leads to.  OTHER: to another key; AGAIN: something has changed meanwhile. */
static inline enum look
look_at(struct store_thread *t, struct store_key key, const struct index_hold *h, uint64_t slot,
        struct store_view *v)
{
    struct store *s = t->store;
    struct item *it = item_at(s, slot_location(slot));
    struct item *seen = view_snapshot(t, it);
    if (UNLIKELY(!link_has_key(seen, key.text)))
        return LOOK_OTHER;
    if (item_state(t, seen, slot_location(slot)) != ITEM_LIVE)
        return LOOK_DEAD;
    view_fill(v, seen);
    uint32_t access = item_access(seen);
    if (UNLIKELY(!index_same(&s->index, h)))
        return LOOK_AGAIN;
    mark_access(t, it, access);
    return LOOK_HIT;
}

static enum look
look(struct store_thread *t, struct store_key key, struct store_view *v)
{
    struct store *s = t->store;
    struct index_hold h;
    uint64_t slot;
    if (UNLIKELY(!index_look(&s->index, key.hash, &h)))
        return LOOK_AGAIN;
    index_prefetch_line(&s->index, &h, key.hash);
    struct index_cursor c = index_walk(&s->index, &h, key.hash);
    while (index_next(&s->index, &c, &slot)) {
        enum look found = look_at(t, key, &h, slot, v);
        if (LIKELY(found != LOOK_OTHER))
            return found;
    }
    v->gone = STORE_GONE_ABSENT;
    return LIKELY(index_same(&s->index, &h)) ? LOOK_MISS : LOOK_AGAIN;
}

/* The same with what was found ahead. */
static enum look
look_known(struct store_thread *t, struct store_key key, struct store_view *v)
{
    const struct ahead_look *known = ahead_known(t, key);
    if (UNLIKELY(known->hold.control & CONTROL_LOCK))
        return LOOK_AGAIN;
    if (LIKELY(known->slot))
        return look_at(t, key, &known->hold, known->slot, v);
    v->gone = STORE_GONE_ABSENT;
    return index_same(&t->store->index, &known->hold) ? LOOK_MISS : LOOK_AGAIN;
}

static enum store_outcome
get_locked(struct store_thread *t, struct store_key key, struct store_view *v)
{
    struct index *ix = &t->store->index;
    struct item *it;
    int slots_delta = 0;
    struct index_hold h = index_lock(ix, key.hash);
    slot_word *slot = link_find_live(t, &h, key, &it, &v->gone, &slots_delta);
    if (slot) {
        view_fill(v, view_snapshot(t, it));
        mark_access(t, it, item_access(it));
    }
    index_unlock(ix, &h, slots_delta != 0);
    link_settle(t, slots_delta);
    return slot ? STORE_OK : STORE_MISS;
}

enum store_outcome
store_get(struct store_thread *t, struct store_key key, const struct store_get_options *options,
          struct store_view *out_view)
{
    DCHECK(t->inside);
    bool known = ahead_go(t, key);
    if (UNLIKELY(options != NULL))
        return lease_get(t, key, options, out_view);
    for (unsigned round = 0; round < LOOK_ROUNDS; round++) {
        enum look found = known ? look_known(t, key, out_view) : look(t, key, out_view);
        known = false;
        if (LIKELY(found == LOOK_HIT))
            return STORE_OK;
        if (LIKELY(found == LOOK_MISS))
            return STORE_MISS;
        if (found == LOOK_DEAD)
            break;                     /* it is taken out, and counted, under the lock */
    }
    return get_locked(t, key, out_view);
}

uint64_t
store_hash(const struct store *s, struct slice key)
{
    return hash_bytes(key.at, key.len, s->seed);
}
