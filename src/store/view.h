/*
 * view.h -- an item as a lookup tells of it.
 *
 * Without the group's lock, what is read here may be of two versions until index_same() says that
 * it is not.
 */
#ifndef STORE_VIEW_H
#define STORE_VIEW_H

#include "inner.h"

/* A hit; `seen` is the access word of the version that was read.  Not stored where it says so. */
static inline void
mark_access(struct store_thread *t, struct item *it, uint32_t seen)
{
    uint32_t access = access_make(t->now, frequency_next(access_frequency(seen)), true);
    if (access != seen)
        word_write(&it->access, access);
}

/* Of an entry that was found, but not looked at. */
static inline uint32_t
access_made_now(const struct store_thread *t, uint32_t seen)
{
    return access_make(t->now, frequency_next(access_frequency(seen)),
                       seen >> ITEM_FETCHED_SHIFT & 1);
}

/* A small item copied to the thread's scratch, a longer one itself. */
static inline struct item *
view_snapshot(struct store_thread *t, struct item *it)
{
    uint32_t bytes = item_bytes(it);
    if (bytes > STORE_SMALL_BYTES_MAX)
        return it;
    t->seen_bytes += bytes - t->seen_bytes / 16;
    words_read(t->scratch, it, bytes);
    return (struct item *)(void *)t->scratch;
}

/* What a lookup tells of a snapshot. */
static inline void
view_fill(struct store_view *v, struct item *seen)
{
    v->client_flags = item_client_flags(seen);
    v->expiry = item_expiry(seen);
    v->cas = item_cas(seen);
    v->last_access = item_access(seen) & STORE_ACCESS_MASK;
    v->marks = (uint8_t)item_marks(seen);
    v->serial = 0;
    v->value = item_value(seen);
    v->value_bytes = item_value_bytes(seen);
    if (UNLIKELY(item_kind(seen) & ITEM_PIECES)) {
        struct item_pieces p = item_pieces(seen);
        v->value = NULL;
        v->value_bytes = p.value_bytes;
        v->serial = p.serial;
    }
}

/* LOCK: it is there, and something is to be done that needs the lock; OTHER: another key. */
enum look { LOOK_HIT, LOOK_MISS, LOOK_AGAIN, LOOK_LOCK, LOOK_OTHER };

/* A hit: where it is, and the access word that was read. */
struct look_hit {
    struct item *it;
    uint32_t access;
};

/* What this slot leads to.  AGAIN: something has changed meanwhile. */
static inline enum look
view_look_at(struct store_thread *t, const struct store_key *key, const struct index_hold *h,
             uint64_t slot, struct store_view *v, struct look_hit *hit)
{
    struct store *s = t->store;
    struct item *it = item_at(s, slot_location(slot));
    struct item *seen = view_snapshot(t, it);
    if (UNLIKELY(!link_has_key(seen, key->text)))
        return LOOK_OTHER;
    if (item_state(t, seen, slot_location(slot)) != ITEM_LIVE)
        return LOOK_LOCK;              /* it is taken out, and counted */
    view_fill(v, seen);
    *hit = (struct look_hit){it, item_access(seen)};
    return LIKELY(index_same(&s->index, h)) ? LOOK_HIT : LOOK_AGAIN;
}

/* Without the lock.  Never OTHER. */
static inline enum look
view_look(struct store_thread *t, const struct store_key *key, struct store_view *v,
          struct look_hit *hit)
{
    struct store *s = t->store;
    struct index_hold h;
    uint64_t slot;
    if (UNLIKELY(!index_look(&s->index, key->hash, &h)))
        return LOOK_AGAIN;
    index_prefetch_line(&s->index, &h, key->hash);
    struct index_cursor c = index_walk(&s->index, &h, key->hash);
    while (index_next(&s->index, &c, &slot)) {
        enum look found = view_look_at(t, key, &h, slot, v, hit);
        if (LIKELY(found != LOOK_OTHER))
            return found;
    }
    v->gone = STORE_GONE_ABSENT;
    return LIKELY(index_same(&s->index, &h)) ? LOOK_MISS : LOOK_AGAIN;
}

#endif
