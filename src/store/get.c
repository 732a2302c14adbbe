/*
 * get.c -- looking: get, touch, prefetch.
 *
 * A get takes no lock and writes nothing that others read, but once per second and entry its last
 * access, and at most three times its frequency.  What it has read belongs together if the control
 * word of the group is afterwards what it was before.  A small value is copied, because it may
 * change in place; a longer one never changes and is used where it lies until the section ends.
 */
#include "inner.h"

struct item *
view_snapshot(struct store_thread *t, struct item *it)
{
    uint32_t bytes = item_bytes(it);
    if (bytes > STORE_SMALL_BYTES_MAX)
        return it;
    words_read(t->scratch, it, bytes);
    return (struct item *)(void *)t->scratch;
}

void
view_fill(struct store_view *v, struct item *seen)
{
    uint32_t access = item_access(seen);
    v->client_flags = item_client_flags(seen);
    v->expiry = item_expiry(seen);
    v->cas = item_cas(seen);
    v->last_access = access & ITEM_ACCESS_MASK;
    v->fetched = access >> 24 & MARK_FETCHED;
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

static void
mark_access(struct store_thread *t, struct item *it, uint32_t seen)
{
    uint32_t access = (t->now & ITEM_ACCESS_MASK) | (seen & ~ITEM_ACCESS_MASK) |
                      (uint32_t)MARK_FETCHED << 24;
    if (access != seen)
        word_replace(&it->access, seen, access);
}

enum look { LOOK_HIT, LOOK_MISS, LOOK_AGAIN, LOOK_DEAD };

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
    for (slot_word *w; (w = index_next(&s->index, &c, &slot)) != NULL;) {
        struct item *it = item_at(s, slot_location(slot));
        struct item *seen = view_snapshot(t, it);
        if (UNLIKELY(!link_has_key(seen, key.text)))
            continue;
        if (item_state(t, seen, slot_location(slot)) != ITEM_LIVE)
            return LOOK_DEAD;
        view_fill(v, seen);
        uint32_t access = item_access(seen);
        if (UNLIKELY(!index_same(&s->index, &h)))
            return LOOK_AGAIN;
        mark_access(t, it, access);
        slot_hit(w, slot);
        return LOOK_HIT;
    }
    v->gone = STORE_GONE_ABSENT;
    return LIKELY(index_same(&s->index, &h)) ? LOOK_MISS : LOOK_AGAIN;
}

static enum store_outcome
get_locked(struct store_thread *t, struct store_key key, const uint32_t *new_expiry,
           struct store_view *v)
{
    struct index *ix = &t->store->index;
    struct item *it;
    int slots_delta = 0;
    struct index_hold h = index_lock(ix, key.hash);
    slot_word *slot = link_find_live(t, &h, key, &it, &v->gone, &slots_delta);
    if (slot) {
        view_fill(v, view_snapshot(t, it));
        mark_access(t, it, item_access(it));
        slot_hit(slot, atomic_load_explicit(slot, memory_order_relaxed));
        if (new_expiry)
            word_write(&it->expiry, *new_expiry);
    }
    index_unlock(ix, &h, slots_delta != 0 || (slot && new_expiry));
    link_settle(t, slots_delta);
    return slot ? STORE_OK : STORE_MISS;
}

enum store_outcome
store_get(struct store_thread *t, struct store_key key, const uint32_t *new_expiry,
          struct store_view *out_view)
{
    DCHECK(t->inside);
    for (unsigned round = 0; round < LOOK_ROUNDS && !new_expiry; round++) {
        enum look found = look(t, key, out_view);
        if (LIKELY(found == LOOK_HIT))
            return STORE_OK;
        if (LIKELY(found == LOOK_MISS))
            return STORE_MISS;
        if (found == LOOK_DEAD)
            break;                     /* it is taken out, and counted, under the lock */
    }
    return get_locked(t, key, new_expiry, out_view);
}

/* ---- prefetch ------------------------------------------------------------------------------ */

#define AHEAD 64u

static void
prefetch_item(const struct store *s, uint64_t slot)
{
    const char *it = s->pool.memory.base + slot_location(slot) * 4;
    for (unsigned line = 0; line < 3; line++)
        prefetch(it + line * CACHE_LINE);
}

/* Buckets first, then what lies in them or in lines, then what lies in lines. */
static void
prefetch_some(const struct store *s, const uint64_t *hashes, unsigned n)
{
    const struct index *ix = &s->index;
    uint64_t in_lines = 0, slot;
    struct index_hold h;
    for (unsigned i = 0; i < n; i++)
        index_prefetch(ix, hashes[i]);
    for (unsigned i = 0; i < n; i++) {
        if (UNLIKELY(!index_look(ix, hashes[i], &h)))
            continue;
        struct index_cursor c = index_walk(ix, &h, hashes[i]);
        if (LIKELY(c.matches)) {
            prefetch_item(s, atomic_load_explicit(&c.slots[__builtin_ctz(c.matches)],
                                                  memory_order_relaxed));
        } else if (c.line) {
            prefetch(&ix->lines.at[c.line]);
            in_lines |= 1ull << i;
        }
    }
    for (; in_lines; in_lines &= in_lines - 1) {
        uint64_t hash = hashes[__builtin_ctzll(in_lines)];
        if (!index_look(ix, hash, &h))
            continue;
        struct index_cursor c = index_walk(ix, &h, hash);
        if (index_next(ix, &c, &slot))
            prefetch_item(s, slot);
    }
}

void
store_prefetch(struct store_thread *t, const uint64_t *hashes, unsigned n)
{
    DCHECK(t->inside);
    for (; n > AHEAD; n -= AHEAD, hashes += AHEAD)
        prefetch_some(t->store, hashes, AHEAD);
    prefetch_some(t->store, hashes, n);
}

uint64_t
store_hash(const struct store *s, struct slice key)
{
    return hash_bytes(key.at, key.len, s->seed);
}
