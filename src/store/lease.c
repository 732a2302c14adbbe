/*
 * lease.c -- gets that may change what they find, and what makes such gets: new expiry, tokens,
 * vivifying, invalidating.
 *
 * First the entry is looked at without the lock, as by a plain get.  Only where something is due is
 * it looked at again under the lock, and what is due then is done there, in one step: so of those
 * who find the same entry without a token exactly one gives it one.  A miss that is to be vivified
 * is an add of an empty entry; who finds that somebody was faster looks once more.
 */
#include "inner.h"
#include "view.h"

#define ROUNDS 8u

/* Does this reader win the token?  The expiry is the one that counts when recache is looked at. */
static bool
wins(const struct store_get_options *how, uint32_t marks, uint32_t expiry)
{
    if (marks & STORE_MARK_TOKEN)
        return false;
    if (how->lease && marks & STORE_MARK_STALE)
        return true;
    return how->recache && expiry != STORE_EXPIRY_NEVER && expiry < how->recache_below;
}

static enum look
get_unlocked(struct store_thread *t, struct store_key key, const struct store_get_options *how,
             struct store_view *v)
{
    struct look_hit hit;
    enum look found = view_look(t, &key, v, &hit);
    if (found != LOOK_HIT)
        return found;
    if (wins(how, v->marks, v->expiry))
        return LOOK_LOCK;
    if (!how->no_bump)
        mark_access(t, hit.it, hit.access);
    return LOOK_HIT;
}

static void
set_expiry(struct store_thread *t, struct item *it, uint32_t expiry)
{
    uint32_t before = item_expiry(it);
    item_set_expiry(it, expiry);
    link_expires(t, it, before);
}

/* Group held.  True: it has changed. */
static bool
change(struct store_thread *t, const struct store_get_options *how, struct item *it,
       struct store_view *v)
{
    uint32_t expiry = how->has_expiry && how->expiry_first ? how->expiry : v->expiry;
    v->won = wins(how, v->marks, expiry);
    if (v->won)
        item_change_marks(it, 0, STORE_MARK_TOKEN);
    if (how->has_expiry)
        set_expiry(t, it, how->expiry);
    return v->won || how->has_expiry;
}

enum store_outcome
lease_get_locked(struct store_thread *t, struct store_key key, const struct store_get_options *how,
                 struct store_view *v)
{
    struct index *ix = &t->store->index;
    struct item *it;
    int slots_delta = 0;
    bool changed = false;
    struct index_hold h = index_lock(ix, key.hash);
    slot_word *slot = link_find_live(t, &h, key, &it, &v->gone, &slots_delta);
    if (slot) {
        view_fill(v, view_snapshot(t, it));
        if (!how->no_bump)
            mark_access(t, it, item_access(it));
        changed = change(t, how, it, v);
    }
    index_unlock(ix, &h, slots_delta != 0 || changed);
    link_settle(t, slots_delta);
    count_found(t, v->gone);
    return slot ? STORE_OK : STORE_MISS;
}

static enum store_outcome
get_once(struct store_thread *t, struct store_key key, const struct store_get_options *how,
         struct store_view *v)
{
    enum look found = how->has_expiry ? LOOK_LOCK : LOOK_AGAIN;
    for (unsigned round = 0; round < LOOK_ROUNDS && found == LOOK_AGAIN; round++)
        found = get_unlocked(t, key, how, v);
    if (found == LOOK_HIT)
        return STORE_OK;
    return found == LOOK_MISS ? STORE_MISS : lease_get_locked(t, key, how, v);
}

/* ---- vivifying ------------------------------------------------------------------------------ */

/* EXISTS: somebody else was faster. */
static enum store_outcome
vivify(struct store_thread *t, struct store_key key, const struct store_get_options *how,
       struct store_view *v)
{
    struct store_put put = {.mode = STORE_ADD, .key = key, .expiry = how->vivify_expiry,
                            .cas_new = how->cas_new, .has_cas_new = how->has_cas_new};
    struct put_job job;
    struct store_result result;
    put_job_init(&job, t, &put, 0);
    job.marks |= STORE_MARK_TOKEN | (how->no_bump ? 0 : STORE_MARK_FETCHED);
    job.absent = true;
    enum store_outcome outcome = put_run(t, &job, &result);
    if (outcome == STORE_OK)
        *v = (struct store_view){.value = "", .cas = result.cas, .expiry = STORE_EXPIRY_NEVER,
                                 .last_access = t->now & STORE_ACCESS_MASK, .gone = v->gone,
                                 .won = true, .vivified = true};
    return outcome;
}

enum store_outcome
lease_get(struct store_thread *t, struct store_key key, const struct store_get_options *how,
          struct store_view *v)
{
    v->won = v->vivified = false;
    for (unsigned round = 0; round < ROUNDS; round++) {
        enum store_outcome outcome = get_once(t, key, how, v);
        if (outcome != STORE_MISS || !how->vivify)
            return outcome;
        outcome = vivify(t, key, how, v);
        if (outcome != STORE_EXISTS)
            return outcome;
    }
    count(t, COUNT_AGAIN);
    return STORE_AGAIN;
}

/* ---- invalidating --------------------------------------------------------------------------- */

static enum store_outcome
mark_stale(struct store_thread *t, const struct store_invalidate *how)
{
    struct index *ix = &t->store->index;
    struct item *it;
    enum store_gone gone;
    int slots_delta = 0;
    enum store_outcome outcome = STORE_MISS;
    struct index_hold h = index_lock(ix, how->key.hash);
    slot_word *slot = link_find_live(t, &h, how->key, &it, &gone, &slots_delta);
    if (slot && how->compare && item_cas(it) != how->cas_expected) {
        outcome = STORE_EXISTS;
    } else if (slot) {
        item_change_marks(it, STORE_MARK_TOKEN, STORE_MARK_STALE);
        item_set_cas(it, how->has_cas_new ? how->cas_new : link_cas_next(t, item_cas(it)));
        if (how->has_expiry)
            set_expiry(t, it, how->expiry);
        outcome = STORE_OK;
    }
    index_unlock(ix, &h, outcome == STORE_OK || slots_delta != 0);
    link_settle(t, slots_delta);
    count_found(t, gone);
    return outcome;
}

/* An empty entry in its place. */
static enum store_outcome
make_empty(struct store_thread *t, const struct store_invalidate *how)
{
    struct store_put put = {.mode = STORE_REPLACE, .key = how->key,
                            .expiry = how->has_expiry ? how->expiry : STORE_EXPIRY_NEVER,
                            .cas_new = how->cas_new, .has_cas_new = how->has_cas_new};
    struct put_job job;
    put_job_init(&job, t, &put, how->client_flags);
    job.marks |= how->stale ? STORE_MARK_STALE : 0;
    job.marks_kept = STORE_MARK_KEY_BINARY;
    job.keep_cas = !how->stale;
    job.cas_is = how->compare ? &how->cas_expected : NULL;
    enum store_outcome outcome = put_run(t, &job, NULL);
    return outcome == STORE_NOT_STORED ? STORE_MISS : outcome;
}

enum store_outcome
store_invalidate(struct store_thread *t, const struct store_invalidate *how)
{
    DCHECK(t->inside);
    CHECK(how->stale || how->empty);
    ahead_go(t, &how->key);
    return how->empty ? make_empty(t, how) : mark_stale(t, how);
}
