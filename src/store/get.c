/*
 * get.c -- looking: get, touch, prefetch.
 *
 * A small value is copied while the group is locked, because it may change in place the moment it is
 * not; a longer one never changes and is used where it lies until the section ends.
 */
#include "inner.h"

void
view_fill(struct store_thread *t, struct item *it, struct store_view *v)
{
    uint32_t bytes = item_value_bytes(it);
    v->client_flags = item_client_flags(it);
    v->expiry = it->expiry;
    v->cas = item_cas(it);
    v->last_access = it->access & ITEM_ACCESS_MASK;
    v->fetched = it->access >> 24 & MARK_FETCHED;
    v->serial = 0;
    v->value_bytes = bytes;
    if (item_kind(it) & ITEM_PIECES) {
        struct item_pieces p = item_pieces(it);
        v->value = NULL;
        v->value_bytes = p.value_bytes;
        v->serial = p.serial;
    } else if (item_is_small(it)) {
        memcpy(t->scratch, item_value(it), bytes);
        v->value = t->scratch;
    } else {
        v->value = item_value(it);
    }
}

enum store_outcome
store_get(struct store_thread *t, struct store_key key, const uint32_t *new_expiry,
          struct store_view *out_view)
{
    struct index *ix = &t->store->index;
    struct item *it;
    int slots_delta = 0;
    struct index_hold h = index_lock(ix, key.hash);
    slot_word *slot = link_find_live(t, &h, key, &it, &out_view->gone, &slots_delta);
    if (!slot) {
        index_unlock(ix, &h, slots_delta != 0);
        link_settle(t, slots_delta);
        return STORE_MISS;
    }
    view_fill(t, it, out_view);
    uint32_t access = (t->now & ITEM_ACCESS_MASK) | (it->access & ~ITEM_ACCESS_MASK) |
                      (uint32_t)MARK_FETCHED << 24;
    if (it->access != access)
        it->access = access;
    if (new_expiry)
        it->expiry = *new_expiry;
    index_unlock(ix, &h, new_expiry != NULL);
    return STORE_OK;
}

void
store_prefetch(struct store_thread *t, const uint64_t *hashes, unsigned n)
{
    struct store *s = t->store;
    for (unsigned i = 0; i < n; i++)
        index_prefetch(&s->index, hashes[i]);
    for (unsigned i = 0; i < n; i++) {
        uint64_t location = index_guess(&s->index, hashes[i]);
        if (!location)
            continue;
        const char *it = s->pool.memory.base + location * 4;
        for (unsigned line = 0; line < 3; line++)
            __builtin_prefetch(it + line * CACHE_LINE, 0, 3);
    }
}

uint64_t
store_hash(const struct store *s, struct slice key)
{
    return hash_bytes(key.at, key.len, s->seed);
}
