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

/* view_look() with what was found ahead. */
static enum look
look_known(struct store_thread *t, const struct store_key *key, struct store_view *v,
           struct look_hit *hit)
{
    const struct ahead_look *known = ahead_known(t, key);
    if (UNLIKELY(known->hold.control & CONTROL_LOCK))
        return LOOK_AGAIN;
    if (LIKELY(known->slot))
        return view_look_at(t, key, &known->hold, known->slot, v, hit);
    v->gone = STORE_GONE_ABSENT;
    return index_same(&t->store->index, &known->hold) ? LOOK_MISS : LOOK_AGAIN;
}

enum store_outcome
store_get(struct store_thread *t, const struct store_key *key,
          const struct store_get_options *options, struct store_view *out_view)
{
    static const struct store_get_options plain = {0};
    DCHECK(t->inside);
    bool known = ahead_go(t, key);
    if (UNLIKELY(options != NULL))
        return lease_get(t, *key, options, out_view);
    for (unsigned round = 0; round < LOOK_ROUNDS; round++) {
        struct look_hit hit;
        enum look found = known ? look_known(t, key, out_view, &hit)
                                : view_look(t, key, out_view, &hit);
        known = false;
        if (LIKELY(found == LOOK_HIT)) {
            mark_access(t, hit.it, hit.access);
            return STORE_OK;
        }
        if (LIKELY(found == LOOK_MISS))
            return STORE_MISS;
        if (found == LOOK_LOCK)
            break;
    }
    return lease_get_locked(t, *key, &plain, out_view);
}

uint64_t
store_hash(const struct store *s, struct slice key)
{
    return hash_bytes(key.at, key.len, s->seed);
}
