/*
 * put.c -- storing, deleting, counting: everything that changes an entry by its key.
 *
 * A new entry is written at the end of the thread's active segment and then linked under the lock
 * of its group.  Where a small one of equal shape lies there already, it is overwritten word by word
 * instead, and the room in the active segment is used for the next.
 */
#include "inner.h"
#include "view.h"

#include "base/num.h"

/* ---- set, add, replace, cas --------------------------------------------------------------- */

void
put_job_init(struct put_job *job, const struct store_thread *t, const struct store_put *put,
             uint32_t client_flags)
{
    *job = (struct put_job){.put = put, .client_flags = client_flags};
    job->kind = (client_flags ? ITEM_FLAGS : 0u) | (t->store->config.cas_enabled ? ITEM_CAS : 0u);
}

static void
fill_item(struct item *it, const struct put_job *job, uint32_t now)
{
    it->lengths = job->value_bytes << 12 | (uint32_t)job->put->key.text.len << 4 | job->kind;
    it->expiry = job->put->expiry;
    it->access = now & ITEM_ACCESS_MASK;
    char *at = it->rest + (job->kind & ITEM_CAS ? 8 : 0);
    if (job->kind & ITEM_FLAGS) {
        memcpy(at, &job->client_flags, sizeof job->client_flags);
        at += sizeof job->client_flags;
    }
    memcpy(at, job->put->key.text.at, job->put->key.text.len);
    at += job->put->key.text.len;
    for (unsigned i = 0; i < 2; i++) {
        if (job->parts[i].len)
            memcpy(at, job->parts[i].at, job->parts[i].len);
        at += job->parts[i].len;
    }
    memset(at, ' ', job->blanks);
}

/* Does the command's condition hold for the old entry (NULL: there is none)? */
static enum store_outcome
check_condition(const struct store_thread *t, const struct put_job *job,
                const struct index_hold *h, struct item *old)
{
    const struct put_same *same = &job->same;
    if (same->location) {
        if (!old || location_of(t->store, old) != same->location)
            return STORE_EXISTS;
        return item_is_small(old) && !(item_kind(old) & ITEM_PIECES) &&
                       h->control != same->control
                   ? STORE_EXISTS
                   : STORE_OK;
    }
    switch (job->put->mode) {
    case STORE_SET:
        return STORE_OK;
    case STORE_ADD:
        return old ? STORE_NOT_STORED : STORE_OK;
    case STORE_REPLACE:
    case STORE_APPEND:
    case STORE_PREPEND:
        return old ? STORE_OK : STORE_NOT_STORED;
    case STORE_CAS:
        if (!old)
            return STORE_MISS;
        return item_cas(old) == job->put->cas_expected && job->put->cas_expected ? STORE_OK
                                                                                 : STORE_EXISTS;
    }
    return STORE_NOT_STORED;
}

static bool
fits_in_place(const struct put_job *job, const struct item *old)
{
    return old && job->bytes <= STORE_SMALL_BYTES_MAX && item_kind(old) == job->kind &&
           !(job->kind & ITEM_PIECES) && item_bytes(old) == job->bytes;
}

/* Group held. */
static void
overwrite(struct store_thread *t, slot_word *slot, struct item *old, const struct item *it,
          uint32_t bytes)
{
    words_write(old, it, bytes);
    slot_hit(slot, atomic_load_explicit(slot, memory_order_relaxed));
    count(t, COUNT_REPLACED);
}

/* What storing needs to know under the lock. */
struct put_step {
    struct item *it;                   /* the new entry, filled, in the active segment */
    bool crowd;                        /* another entry of a full group may be evicted */
    bool full;                         /* the group was, nothing was done */
    bool used;                         /* the room of `it` */
};

/* Group held, condition met. */
static void
put_entry(struct store_thread *t, struct put_job *job, struct put_step *step,
          struct index_hold *h, slot_word *slot, struct item *old, int *slots_delta)
{
    uint64_t hash = job->put->key.hash;
    if (slot && fits_in_place(job, old)) {
        overwrite(t, slot, old, step->it, job->bytes);
        return;
    }
    unsigned frequency = 0;
    if (slot) {
        frequency = frequency_after(atomic_load_explicit(slot, memory_order_relaxed));
        link_gone(t, old, CAUSE_REPLACED);
    } else {
        slot = link_place(t, h, hash, step->crowd, slots_delta);
    }
    step->full = slot == NULL;
    step->used = !step->full;
    if (step->used)
        link_item(t, hash, step->it, slot, frequency);
}

static enum store_outcome
put_locked(struct store_thread *t, struct put_job *job, struct put_step *step, uint64_t *out_cas)
{
    struct index *ix = &t->store->index;
    const struct store_key key = job->put->key;
    struct item *old = NULL;
    enum store_gone gone;
    int slots_delta = 0;
    step->full = step->used = false;
    struct index_hold h = index_lock(ix, key.hash);
    slot_word *slot = link_find_live(t, &h, key, &old, &gone, &slots_delta);
    enum store_outcome outcome = check_condition(t, job, &h, slot ? old : NULL);
    if (outcome == STORE_OK) {
        uint64_t cas = ITEM_CAS & job->kind ? link_cas_next(t, slot ? item_cas(old) : 0) : 0;
        if (job->same.location)
            step->it->expiry = item_expiry(old);
        item_set_cas(step->it, cas);
        put_entry(t, job, step, &h, slot, old, &slots_delta);
        if (out_cas)
            *out_cas = cas;
        if (!step->full)
            count(t, COUNT_STORED);
    }
    index_unlock(ix, &h, outcome == STORE_OK || slots_delta != 0);
    if (step->used)
        link_room_used(t, job->bytes);
    link_settle(t, slots_delta);
    return outcome;
}

enum store_outcome
put_run(struct store_thread *t, struct put_job *job, uint64_t *out_cas)
{
    const struct store_key key = job->put->key;
    job->value_bytes = (uint32_t)(job->parts[0].len + job->parts[1].len) + job->blanks;
    job->bytes = item_bytes_for(job->kind, (uint32_t)key.text.len, job->value_bytes);
    enum store_outcome outcome;
    struct put_step step = {.it = (struct item *)(void *)link_room(t, job->bytes, &outcome)};
    if (!step.it)
        return outcome;
    fill_item(step.it, job, t->now);
    do {
        if (!link_ready(t))
            return link_no_segment(t);
        outcome = put_locked(t, job, &step, out_cas);
        if (LIKELY(!step.full))
            return outcome;
        outcome = link_relieve(t, &step.crowd);
    } while (outcome == STORE_OK);
    return outcome;
}

/* The value is all in segments lent to the upload: only its head is left to be stored. */
static enum store_outcome
put_upload(struct store_thread *t, const struct store_put *put, struct put_job *job,
           uint64_t *out_cas)
{
    CHECK(large_complete(put->upload));
    if (UNLIKELY(large_broken(put->upload))) {
        store_upload_abort(t, put->upload);
        return STORE_NO_MEMORY;
    }
    struct item_pieces pieces = large_pieces(put->upload);
    job->kind |= ITEM_PIECES;
    job->parts[0] = (struct slice){(const char *)&pieces, sizeof pieces};
    job->parts[1] = (struct slice){0};
    large_stamp(t->store, put->upload);
    enum store_outcome outcome = put_run(t, job, out_cas);
    if (outcome == STORE_OK)
        large_adopt(t, put->upload);
    else if (outcome != STORE_AGAIN)
        store_upload_abort(t, put->upload);
    return outcome;
}

enum store_outcome
store_put(struct store_thread *t, const struct store_put *put, uint64_t *out_cas)
{
    DCHECK(t->inside);
    if (put->mode == STORE_APPEND || put->mode == STORE_PREPEND)
        return append_put(t, put, out_cas);
    struct put_job job;
    put_job_init(&job, t, put, put->client_flags);
    if (put->upload)
        return put_upload(t, put, &job, out_cas);
    if (put->value.len > t->store->inline_bytes_max)
        return STORE_TOO_LARGE;        /* the caller's mistake: such values come by upload */
    job.parts[0] = put->value;
    return put_run(t, &job, out_cas);
}

/* ---- delete -------------------------------------------------------------------------------- */

enum store_outcome
store_delete(struct store_thread *t, struct store_key key)
{
    struct index *ix = &t->store->index;
    struct item *it;
    enum store_gone gone;
    int slots_delta = 0;
    struct index_hold h = index_lock(ix, key.hash);
    slot_word *slot = link_find_live(t, &h, key, &it, &gone, &slots_delta);
    if (slot) {
        link_remove(t, &h, slot, it, CAUSE_DELETED);
        slots_delta--;
    }
    index_unlock(ix, &h, slots_delta != 0);
    link_settle(t, slots_delta);
    return slot ? STORE_OK : STORE_MISS;
}

void
store_drop_broken(struct store_thread *t, struct store_key key, uint64_t serial)
{
    struct index *ix = &t->store->index;
    struct item *it;
    int slots_delta = 0;
    struct index_hold h = index_lock(ix, key.hash);
    slot_word *slot = link_find(t, &h, key, &it);
    if (slot && item_kind(it) & ITEM_PIECES && item_pieces(it).serial == serial) {
        enum item_state state = item_state(t, it, location_of(t->store, it));
        link_remove(t, &h, slot, it, state == ITEM_LIVE ? CAUSE_EVICTED : cause_of(state));
        slots_delta--;
    }
    index_unlock(ix, &h, slots_delta != 0);
    link_settle(t, slots_delta);
}

/* ---- incr, decr ---------------------------------------------------------------------------- */

static uint64_t
arith_result(uint64_t number, bool decrement, uint64_t delta)
{
    if (!decrement)
        return number + delta;         /* wraps modulo 2^64, as memcached does */
    return delta > number ? 0 : number - delta;
}

/*
 * A number that does not fit where the old one lies, or lies in an entry that readers use in
 * place: a new entry takes its place, of the old length where the text is not longer.
 */
static enum store_outcome
arith_replace(struct store_thread *t, struct store_key key, struct slice text, uint32_t old_bytes,
              uint32_t flags, struct put_same same)
{
    struct store_put put = {.mode = STORE_REPLACE, .key = key};
    struct put_job job;
    put_job_init(&job, t, &put, flags);
    job.parts[0] = text;
    job.blanks = text.len < old_bytes ? old_bytes - (uint32_t)text.len : 0;
    job.same = same;
    enum store_outcome outcome = put_run(t, &job, NULL);
    return outcome == STORE_EXISTS ? STORE_AGAIN : outcome;
}

enum store_outcome
store_arith(struct store_thread *t, struct store_key key, bool decrement, uint64_t delta,
            uint64_t *out_number)
{
    struct index *ix = &t->store->index;
    struct item *it;
    enum store_gone gone;
    int slots_delta = 0;
    struct index_hold h = index_lock(ix, key.hash);
    slot_word *slot = link_find_live(t, &h, key, &it, &gone, &slots_delta);
    if (!slot) {
        index_unlock(ix, &h, slots_delta != 0);
        link_settle(t, slots_delta);
        return STORE_MISS;
    }
    struct item *seen = view_snapshot(t, it);
    uint64_t number;
    uint32_t bytes = item_value_bytes(seen);
    if (item_kind(seen) & ITEM_PIECES ||
        !num_scan_u64((struct slice){item_value(seen), bytes}, &number)) {
        index_unlock(ix, &h, false);
        return STORE_NON_NUMERIC;
    }
    number = arith_result(number, decrement, delta);
    char text[NUM_U64_CHARS_MAX];
    size_t text_len = num_put_u64(text, number);
    if (text_len <= bytes && seen != it) {
        memcpy(item_value(seen), text, text_len);
        memset(item_value(seen) + text_len, ' ', bytes - text_len);
        item_set_cas(seen, link_cas_next(t, item_cas(seen)));
        words_write(it, seen, item_bytes(seen));
        slot_hit(slot, atomic_load_explicit(slot, memory_order_relaxed));
        index_unlock(ix, &h, true);
        *out_number = number;
        return STORE_OK;
    }
    struct put_same same = {location_of(t->store, it), h.control};
    uint32_t flags = item_client_flags(it);
    index_unlock(ix, &h, false);
    enum store_outcome outcome =
        arith_replace(t, key, (struct slice){text, text_len}, bytes, flags, same);
    if (outcome == STORE_OK)
        *out_number = number;
    return outcome;
}
