/*
 * large.c -- values in pieces, and how their pieces are found.
 *
 * A value longer than 1/16 of a segment is kept as pieces.  A piece is an item like any other,
 * found through the index by (serial of the value, number of the piece); the head, found by the
 * key, says serial and length.  So pieces are moved and evicted by the ordinary code, there are no
 * chains to repair and no run of memory has to be free.  One piece missing is a miss.
 *
 *     head   [ header | cas | flags | key | serial, length ]
 *     piece  [ header | serial, number | bytes ... ]           sixteen to a segment
 *
 * upload.c says how they arrive.  What connections borrow, of the allowance that they share with
 * uploads, stands here too.
 */
#include "inner.h"
#include "view.h"

size_t
store_inline_bytes_max(const struct store *s)
{
    return s->inline_bytes_max;
}

uint32_t
large_piece_count(const struct store *s, uint64_t value_bytes)
{
    return (uint32_t)((value_bytes + s->piece_bytes - 1) / s->piece_bytes);
}

/* In a group that is held, or only looked at: a piece never changes; NULL: gone. */
static slot_word *
find_piece(struct store_thread *t, const struct index_hold *h, uint64_t hash,
           struct item_piece_id id, struct item **out_item)
{
    struct store *s = t->store;
    struct index_cursor c = index_walk(&s->index, h, hash);
    uint64_t slot;
    for (slot_word *w; (w = index_next(&s->index, &c, &slot)) != NULL;) {
        struct item *it = item_at(s, slot_location(slot));
        if (!(item_kind(it) & ITEM_PIECE))
            continue;
        struct item_piece_id found = item_piece_id(it);
        if (found.serial == id.serial && found.number == id.number) {
            *out_item = it;
            return w;
        }
    }
    return NULL;
}

static const char *
piece_payload(struct store_thread *t, uint64_t serial, uint32_t number)
{
    struct store *s = t->store;
    struct item_piece_id id = {.serial = serial, .number = number};
    uint64_t hash = item_piece_hash(id, s->seed);
    struct item *it = NULL;
    struct index_hold h;
    slot_word *w = NULL;
    bool same = false;
    for (unsigned round = 0; round < LOOK_ROUNDS && !same; round++)
        if (index_look(&s->index, hash, &h)) {
            w = find_piece(t, &h, hash, id, &it);
            same = index_same(&s->index, &h);
        }
    if (!same) {
        h = index_lock(&s->index, hash);
        w = find_piece(t, &h, hash, id, &it);
        index_unlock(&s->index, &h, false);
    }
    if (!w || item_state(t, it, location_of(s, it)) != ITEM_LIVE)
        return NULL;
    mark_access(t, it, item_access(it));
    return item_value(it) + PIECE_ID_BYTES;
}

unsigned
store_spans(struct store_thread *t, uint64_t serial, uint64_t value_bytes, uint64_t at,
            uint64_t bytes_max, struct iovec *spans, unsigned span_max, uint64_t *out_bytes)
{
    DCHECK(t->inside);
    uint32_t piece_bytes = t->store->piece_bytes;
    unsigned n = 0;
    uint64_t sum = 0;
    while (n < span_max && at < value_bytes && sum < bytes_max) {
        uint32_t number = (uint32_t)(at / piece_bytes);
        uint64_t start = (uint64_t)number * piece_bytes;
        uint64_t len = value_bytes - start < piece_bytes ? value_bytes - start : piece_bytes;
        const char *payload = piece_payload(t, serial, number);
        if (!payload)
            return 0;
        spans[n++] = (struct iovec){(void *)(uintptr_t)(payload + (at - start)),
                                    start + len - at};
        sum += start + len - at;
        at = start + len;
    }
    *out_bytes = sum;
    return n;
}

bool
large_unlink_piece(struct store_thread *t, uint64_t serial, uint32_t number)
{
    struct store *s = t->store;
    struct item_piece_id id = {.serial = serial, .number = number};
    uint64_t hash = item_piece_hash(id, s->seed);
    struct item *it;
    struct index_hold h;
    if (!index_lock_soon(&s->index, hash, &h))
        return false;
    slot_word *w = find_piece(t, &h, hash, id, &it);
    if (w)
        link_remove(t, &h, w, it, CAUSE_DELETED);
    index_unlock(&s->index, &h, w != NULL);
    link_settle(t, w ? -1 : 0);
    return true;
}

/* ---- what connections borrow --------------------------------------------------------------- */

static bool
borrow(struct store *s, size_t bytes, size_t most)
{
    if (!budget_borrow(&s->budget, bytes, most))
        return false;
    if (budget_take(&s->budget, bytes))
        return true;
    atomic_fetch_sub_explicit(&s->budget.borrowed, bytes, memory_order_relaxed);
    budget_wish(&s->budget, bytes);
    return false;
}

bool
store_borrow(struct store_thread *t, size_t bytes)
{
    return borrow(t->store, bytes, budget_allowance(&t->store->budget));
}

bool
store_borrow_spare(struct store_thread *t, size_t bytes)
{
    return borrow(t->store, bytes, budget_allowance(&t->store->budget) / 2);
}

/* Where nothing may be evicted no item makes way: then there is the reserve. */
bool
store_borrow_forced(struct store_thread *t, size_t bytes)
{
    struct store *s = t->store;
    if (!budget_borrow(&s->budget, bytes, budget_allowance(&s->budget) * 2))
        return false;
    if (budget_take(&s->budget, bytes))
        return true;
    if (s->config.evict) {
        atomic_fetch_add_explicit(&s->budget.used, bytes, memory_order_relaxed);
        return true;
    }
    if (budget_draw(&s->budget, bytes))
        return true;
    atomic_fetch_sub_explicit(&s->budget.borrowed, bytes, memory_order_relaxed);
    return false;
}

void
store_repay(struct store_thread *t, size_t bytes)
{
    budget_give(&t->store->budget, budget_undraw(&t->store->budget, bytes));
    atomic_fetch_sub_explicit(&t->store->budget.borrowed, bytes, memory_order_relaxed);
}
