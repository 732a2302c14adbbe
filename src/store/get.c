/*
 * get.c -- looking: get, prefetch.  Gets that may change what they find are in lease.c.
 *
 * A get takes no lock and writes nothing that others read, but once per second and entry its last
 * access, and at most three times its frequency.  What it has read belongs together if the control
 * word of the group is afterwards what it was before.  A small value is copied, because it may
 * change in place; a longer one never changes and is used where it lies until the section ends.
 */
#include "base/prefetch.h"
#include "inner.h"
#include "view.h"

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
        slot_hit(slot, atomic_load_explicit(slot, memory_order_relaxed));
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
    if (UNLIKELY(options != NULL))
        return lease_get(t, key, options, out_view);
    for (unsigned round = 0; round < LOOK_ROUNDS; round++) {
        enum look found = look(t, key, out_view);
        if (LIKELY(found == LOOK_HIT))
            return STORE_OK;
        if (LIKELY(found == LOOK_MISS))
            return STORE_MISS;
        if (found == LOOK_DEAD)
            break;                     /* it is taken out, and counted, under the lock */
    }
    return get_locked(t, key, out_view);
}

/* ---- prefetch ------------------------------------------------------------------------------ */

#define AHEAD 64u
#define FURTHER_LINES_MAX 4u

/* Items whose first lines have been asked for. */
struct ahead {
    const char *items[AHEAD];
    unsigned count;
};

static void
fetch_item(const struct store *s, struct ahead *a, uint64_t slot)
{
    const char *it = s->pool.memory.base + slot_location(slot) * 4;
    prefetch(it);
    a->items[a->count++] = it;
}

/*
 * Buckets first, then the items they lead to, then what lies in lines.  Most of a fetch is the walk
 * of the page tables, and how many of those a processor does at once depends on how close
 * together it finds them: so each step is a loop of its own, and the further lines of an item, as
 * many as those looked at before had, are asked for when its page is known.  (Measured: 1.35
 * instead of 1.75 reads per get.)
 */
static void
fetch(const struct store_thread *t, const uint64_t *hashes, unsigned n)
{
    const struct store *s = t->store;
    const struct index *ix = &s->index;
    struct index_hold h;
    struct ahead a = {.count = 0};
    uint64_t slots[AHEAD], in_lines = 0;
    unsigned found = 0;
    for (unsigned i = 0; i < n; i++)
        index_prefetch(ix, hashes[i]);
    for (unsigned i = 0; i < n; i++) {
        if (UNLIKELY(!index_look(ix, hashes[i], &h)))
            continue;
        struct index_cursor c = index_walk(ix, &h, hashes[i]);
        if (LIKELY(c.matches)) {
            slots[found++] = atomic_load_explicit(&c.slots[__builtin_ctz(c.matches)],
                                                  memory_order_relaxed);
        } else if (c.line) {
            prefetch(&ix->lines.at[c.line]);
            in_lines |= 1ull << i;
        }
    }
    for (unsigned i = 0; i < found; i++)
        fetch_item(s, &a, slots[i]);
    for (; in_lines; in_lines &= in_lines - 1) {
        uint64_t hash = hashes[__builtin_ctzll(in_lines)], slot;
        if (!index_look(ix, hash, &h))
            continue;
        struct index_cursor c = index_walk(ix, &h, hash);
        if (index_next(ix, &c, &slot))
            fetch_item(s, &a, slot);
    }
    uint32_t bytes = t->seen_bytes / 16;
    for (unsigned i = 0; i < a.count; i++) {
        const char *end = a.items[i] + bytes;
        const char *line = (const char *)(((uintptr_t)a.items[i] | (CACHE_LINE - 1)) + 1);
        for (unsigned k = 0; k < FURTHER_LINES_MAX && line < end; k++, line += CACHE_LINE)
            prefetch(line);
    }
}

void
store_prefetch(struct store_thread *t, const uint64_t *hashes, unsigned n)
{
    DCHECK(t->inside);
    for (; n > AHEAD; n -= AHEAD, hashes += AHEAD)
        fetch(t, hashes, AHEAD);
    fetch(t, hashes, n);
}

uint64_t
store_hash(const struct store *s, struct slice key)
{
    return hash_bytes(key.at, key.len, s->seed);
}
