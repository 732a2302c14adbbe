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

#endif
