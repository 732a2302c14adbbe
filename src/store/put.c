/*
 * put.c -- storing and deleting.  append.c and arith.c store what they make of the old value;
 * lease.c vivifies and invalidates.
 *
 * A new entry is written at the end of a segment that the thread fills, of the small or of the main
 * queue, and then linked under the lock of its group.  Where a small one of equal shape lies there already, it is overwritten word by
 * word instead, and the room in the segment is used for the next.
 */
#include "inner.h"
#include "view.h"

/* ---- set, add, replace, cas --------------------------------------------------------------- */

void
put_job_init(struct put_job *job, const struct store_thread *t, const struct store_put *put,
             uint32_t client_flags)
{
    *job = (struct put_job){.put = put, .client_flags = client_flags};
    job->marks = put->key_binary ? STORE_MARK_KEY_BINARY : 0;
    job->kind = (client_flags ? ITEM_FLAGS : 0u) | (t->store->config.cas_enabled ? ITEM_CAS : 0u);
}

static void
fill_item(struct item *it, const struct put_job *job, uint32_t now)
{
    it->lengths = job->value_bytes << 12 | (uint32_t)job->put->key.text.len << 4 | job->kind;
    it->expiry = expiry_make(job->put->expiry, job->marks);
    it->access = access_make(now, 0, job->marks & STORE_MARK_FETCHED);
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

/* The old entry was declared out of date after this value was read: it is stored, but as stale. */
static bool
is_overtaken(const struct store_put *put, uint64_t old_cas)
{
    return put->mode == STORE_CAS && put->invalidate && put->cas_expected < old_cas;
}

/* Does the command's condition hold for the old entry (NULL: there is none)? */
static enum store_outcome
check_condition(const struct store_thread *t, const struct put_job *job,
                const struct index_hold *h, struct item *old)
{
    const struct put_same *same = &job->same;
    if (job->absent)
        return old ? STORE_EXISTS : STORE_OK;
    if (job->cas_is && old && item_cas(old) != *job->cas_is)
        return STORE_EXISTS;
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
        if (!job->put->cas_expected)
            return STORE_EXISTS;
        return item_cas(old) == job->put->cas_expected || is_overtaken(job->put, item_cas(old))
                   ? STORE_OK
                   : STORE_EXISTS;
    }
    return STORE_NOT_STORED;
}

/* Group held, condition met: what the new entry takes over from the old one.  Storing is a hit. */
static void
inherit(struct store_thread *t, struct put_job *job, struct item *it, const struct item *old)
{
    uint32_t expiry = job->put->expiry, marks = job->marks, old_marks = item_marks(old);
    bool overtaken = is_overtaken(job->put, item_cas(old));
    marks |= old_marks & job->marks_kept;
    if (UNLIKELY(overtaken))
        marks |= STORE_MARK_STALE | (old_marks & STORE_MARK_TOKEN);
    job->old_expiry = item_expiry(old);
    if (job->keep_expiry || overtaken)
        expiry = job->old_expiry;
    it->expiry = expiry_make(expiry, marks);
    it->access = access_make(t->now, frequency_next(item_frequency(old)),
                             marks & STORE_MARK_FETCHED);
}

/* The number of the new entry. */
static uint64_t
cas_of(struct store_thread *t, const struct put_job *job, const struct item *old)
{
    uint64_t old_cas = old ? item_cas(old) : 0;
    if (!(job->kind & ITEM_CAS))
        return 0;
    if (UNLIKELY(job->put->has_cas_new))
        return job->put->cas_new;
    return job->keep_cas ? old_cas : link_cas_next(t, old_cas);
}

static bool
fits_in_place(const struct put_job *job, const struct item *old)
{
    return old && job->bytes <= STORE_SMALL_BYTES_MAX && item_kind(old) == job->kind &&
           !(job->kind & ITEM_PIECES) && item_bytes(old) == job->bytes;
}

/* Group held. */
static void
overwrite(struct store_thread *t, struct item *old, const struct item *it, uint32_t bytes)
{
    uint32_t expiry = item_expiry(old);
    words_write(old, it, bytes);
    link_expires(t, old, expiry);
    count(t, COUNT_REPLACED);
}

/* What storing needs to know under the lock. */
struct put_step {
    struct item *it;                   /* the new entry, filled, in a segment of the thread */
    bool crowd;                        /* another entry of a full group may be evicted */
    bool full;                         /* the group was, nothing was done */
    bool refused;                      /* not evicting, and nearly everything is alive */
    bool used;                         /* the room of `it` */
};

/* Not evicting: what is left is for overwriting, and to move things about. */
static bool
is_crowded(const struct store *s)
{
    return !s->config.evict && atomic_load_explicit(&s->pool.crowded, memory_order_relaxed);
}

/* Group held, condition met. */
static void
put_entry(struct store_thread *t, struct put_job *job, struct put_step *step,
          struct index_hold *h, slot_word *slot, struct item *old, int *slots_delta)
{
    uint64_t hash = job->put->key.hash;
    if (slot && fits_in_place(job, old)) {
        overwrite(t, old, step->it, job->bytes);
        return;
    }
    if (slot) {
        link_gone(t, old, CAUSE_REPLACED);
    } else if (UNLIKELY(is_crowded(t->store))) {
        step->refused = true;
        return;
    } else {
        slot = link_place(t, h, hash, step->crowd, slots_delta);
    }
    step->full = slot == NULL;
    step->used = !step->full;
    if (step->used)
        link_item(t, hash, step->it, slot);
}

static enum store_outcome
put_locked(struct store_thread *t, struct put_job *job, struct put_step *step,
           struct store_result *out)
{
    struct index *ix = &t->store->index;
    const struct store_key key = job->put->key;
    struct item *old = NULL;
    enum store_gone gone;
    int slots_delta = 0;
    step->full = step->used = step->refused = false;
    struct index_hold h = index_lock(ix, key.hash);
    slot_word *slot = link_find_live(t, &h, key, &old, &gone, &slots_delta);
    enum store_outcome outcome = check_condition(t, job, &h, slot ? old : NULL);
    if (slot && outcome == STORE_NOT_STORED)
        word_write(&old->access, access_made_now(t, item_access(old)));    /* add */
    if (outcome == STORE_OK) {
        uint64_t cas = cas_of(t, job, slot ? old : NULL);
        if (slot)
            inherit(t, job, step->it, old);
        item_set_cas(step->it, cas);
        put_entry(t, job, step, &h, slot, old, &slots_delta);
        if (out)
            *out = (struct store_result){cas, job->value_bytes};
        if (LIKELY(!step->full && !step->refused)) {
            count(t, COUNT_STORED);
            counter_add(&t->counters[COUNT_BYTES_STORED], job->bytes);
        }
    }
    index_unlock(ix, &h, outcome == STORE_OK || slots_delta != 0);
    if (UNLIKELY(step->refused))
        outcome = link_crowded(t);
    if (step->used) {
        link_room_used(t, job->queue, job->bytes);
        t->new_items++;
        t->new_bytes += job->bytes;
    }
    link_settle(t, slots_delta);
    return outcome;
}

/*
 * The queue of the entry that it will replace; else main, where that is remembered to have been
 * evicted too early.  Looked at without the lock: what is wrong after all costs a place in a queue.
 */
static enum segment_queue
choose_queue(const struct store *s, uint64_t hash, bool *out_ghost)
{
    struct index_hold h;
    uint64_t slot;
    *out_ghost = false;
    if (index_look(&s->index, hash, &h)) {
        index_prefetch_line(&s->index, &h, hash);
        struct index_cursor c = index_walk(&s->index, &h, hash);
        if (index_next(&s->index, &c, &slot))
            return segment_queue(&s->pool, segment_of(s, slot_location(slot)));
    }
    *out_ghost = ghost_has(&s->ghost, hash);
    return *out_ghost ? QUEUE_MAIN : QUEUE_SMALL;
}

enum store_outcome
put_run(struct store_thread *t, struct put_job *job, struct store_result *out)
{
    struct store *s = t->store;
    const struct store_key key = job->put->key;
    bool ghost;
    enum store_outcome outcome;
    job->value_bytes = (uint32_t)(job->parts[0].len + job->parts[1].len) + job->blanks;
    job->bytes = item_bytes_for(job->kind, (uint32_t)key.text.len, job->value_bytes);
    job->queue = choose_queue(s, key.hash, &ghost);
    struct put_step step = {
        .it = (struct item *)(void *)link_room(t, job->queue, job->bytes, &outcome)};
    if (!step.it)
        return outcome;
    fill_item(step.it, job, t->now);
    do {
        if (!link_ready(t))
            return link_no_segment(t);
        outcome = put_locked(t, job, &step, out);
        if (UNLIKELY(ghost && step.used)) {
            ghost_drop(&s->ghost, key.hash);
            count(t, COUNT_GHOST_HITS);
        }
        if (LIKELY(!step.full))
            return outcome;
        outcome = link_relieve(t, &step.crowd);
    } while (outcome == STORE_OK);
    return outcome;
}

/* The value is all in segments lent to the upload: only its head is left to be stored. */
static enum store_outcome
put_upload(struct store_thread *t, const struct store_put *put, struct put_job *job,
           struct store_result *out)
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
    enum store_outcome outcome = put_run(t, job, out);
    if (outcome == STORE_OK && out)
        out->value_bytes = pieces.value_bytes;
    if (outcome == STORE_OK)
        large_adopt(t, put->upload, job->queue);
    else if (outcome != STORE_AGAIN)
        store_upload_abort(t, put->upload);
    return outcome;
}

enum store_outcome
store_put(struct store_thread *t, const struct store_put *put, struct store_result *out)
{
    DCHECK(t->inside);
    if (!ahead_go(t, &put->key))       /* on its way while the entry is written */
        index_prefetch(&t->store->index, index_group_of(&t->store->index, put->key.hash),
                       put->key.hash);
    ghost_prefetch(&t->store->ghost, put->key.hash);
    if (put->mode == STORE_APPEND || put->mode == STORE_PREPEND)
        return append_put(t, put, out);
    struct put_job job;
    put_job_init(&job, t, put, put->client_flags);
    if (put->upload)
        return put_upload(t, put, &job, out);
    if (put->value.len > t->store->inline_bytes_max)
        return STORE_TOO_LARGE;        /* the caller's mistake: such values come by upload */
    job.parts[0] = put->value;
    return put_run(t, &job, out);
}

uint64_t
store_entry_bytes(const struct store *s, uint64_t key_bytes, uint64_t value_bytes,
                  uint32_t client_flags)
{
    uint32_t kind = (client_flags ? ITEM_FLAGS : 0u) | (s->config.cas_enabled ? ITEM_CAS : 0u);
    uint32_t key = (uint32_t)key_bytes;
    if (value_bytes <= s->inline_bytes_max)
        return item_bytes_for(kind, key, (uint32_t)value_bytes);
    return item_bytes_for(kind, key, sizeof(struct item_pieces)) + value_bytes +
           (uint64_t)large_piece_count(s, value_bytes) * item_bytes_for(ITEM_PIECE, 0,
                                                                        PIECE_ID_BYTES);
}

/* ---- delete -------------------------------------------------------------------------------- */

static enum store_outcome
delete_if(struct store_thread *t, struct store_key key, const uint64_t *cas_expected)
{
    struct index *ix = &t->store->index;
    struct item *it;
    enum store_gone gone;
    int slots_delta = 0;
    enum store_outcome outcome = STORE_MISS;
    ahead_go(t, &key);
    struct index_hold h = index_lock(ix, key.hash);
    slot_word *slot = link_find_live(t, &h, key, &it, &gone, &slots_delta);
    if (slot && cas_expected && item_cas(it) != *cas_expected) {
        outcome = STORE_EXISTS;
    } else if (slot) {
        link_remove(t, &h, slot, it, CAUSE_DELETED);
        slots_delta--;
        outcome = STORE_OK;
    }
    index_unlock(ix, &h, slots_delta != 0);
    link_settle(t, slots_delta);
    count_found(t, gone);
    return outcome;
}

enum store_outcome
store_delete(struct store_thread *t, struct store_key key)
{
    return delete_if(t, key, NULL);
}

enum store_outcome
store_delete_cas(struct store_thread *t, struct store_key key, uint64_t cas_expected)
{
    return delete_if(t, key, &cas_expected);
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
