/*
 * append.c -- append and prepend: a new entry made of the old one and more.
 *
 * The old value is read, the new one written, and it is linked only if the old entry is still the
 * same; otherwise it is done again.  After a few rounds the request is put off (AGAIN), so that
 * writers in each other's way do not hold up a worker.
 *
 * A long result is an upload that is filled from the two parts, a step to a call; the caller keeps
 * it between the calls.  Pieces never change, so what was copied of a value in pieces stays right
 * as long as the key leads to this serial.  A short value has none: in the end its copy is compared
 * with what is there.  Where it was in vain the next try has longer steps, so that no writers can
 * make it begin for ever.
 */
#include "inner.h"
#include "view.h"

#include <stdlib.h>

#define ROUNDS 8

struct store_append {
    struct store_upload *made;         /* the result, as far as it has come; NULL: not begun */
    uint64_t step_bytes;
    uint64_t old_serial, old_bytes;    /* of what it is made; serial 0: it is short */
    uint32_t flush_epoch;              /* when it was begun: later ones would miss its start */
};

/* What was there when we looked.  Nothing that follows uses the thread's scratch. */
struct old_value {
    struct store_view view;
    struct put_same same;
};

static enum store_outcome
look(struct store_thread *t, struct store_key key, struct old_value *old)
{
    struct index *ix = &t->store->index;
    struct item *it;
    int slots_delta = 0;
    struct index_hold h = index_lock(ix, key.hash);
    slot_word *slot = link_find_live(t, &h, key, &it, &old->view.gone, &slots_delta);
    if (slot) {
        old->same = (struct put_same){location_of(t->store, it), h.control};
        view_fill(&old->view, view_snapshot(t, it));
    }
    index_unlock(ix, &h, slots_delta != 0);
    link_settle(t, slots_delta);
    return slot ? STORE_OK : STORE_MISS;
}

static enum store_outcome
upload_bytes(struct store_thread *t, struct store_upload *u, const char *from, size_t n)
{
    while (n) {
        char *at;
        size_t room;
        enum store_outcome outcome = store_upload_room(t, u, &at, &room);
        if (outcome != STORE_OK)
            return outcome;
        CHECK(room > 0);
        size_t now = room < n ? room : n;
        memcpy(at, from, now);
        store_upload_filled(t, u, now);
        from += now;
        n -= now;
    }
    return STORE_OK;
}

/* A run of a view's bytes, from byte `at` on.  False: they are gone. */
static bool
view_run(struct store_thread *t, const struct store_view *v, uint64_t at, uint64_t bytes_max,
         struct slice *out_run)
{
    *out_run = (struct slice){v->value + at, v->value_bytes - at};
    if (v->serial) {
        struct iovec span;
        uint64_t bytes;
        if (store_spans(t, v->serial, v->value_bytes, at, bytes_max, &span, 1, &bytes) == 0)
            return false;
        *out_run = (struct slice){span.iov_base, span.iov_len};
    }
    if (out_run->len > bytes_max)
        out_run->len = bytes_max;
    return true;
}

/* The two parts of a result, and which of them is to be copied next. */
struct parts {
    const struct store_view *view[2];
};

static const struct store_view *
part_due(const struct parts *parts, const struct store_upload *made, uint64_t *out_at)
{
    uint64_t at = large_received(made), first_bytes = parts->view[0]->value_bytes;
    *out_at = at < first_bytes ? at : at - first_bytes;
    return parts->view[at >= first_bytes];
}

/* MISS: the part that is due is not whole any more. */
static enum store_outcome
copy_step(struct store_thread *t, const struct parts *parts, const struct store_append *a)
{
    struct store_upload *made = a->made;
    for (uint64_t left = a->step_bytes; !large_complete(made);) {
        uint64_t at;
        struct slice run;
        const struct store_view *from = part_due(parts, made, &at);
        if (left == 0)
            return STORE_UNFINISHED;
        if (!view_run(t, from, at, left, &run))
            return STORE_MISS;
        enum store_outcome outcome = upload_bytes(t, made, run.at, run.len);
        if (outcome != STORE_OK)
            return outcome;
        left -= run.len;
    }
    return STORE_OK;
}

/* EXISTS: another value was copied into it.  NO_MEMORY: parts of it have been evicted. */
static enum store_outcome
compare_copied(struct store_thread *t, const struct store_upload *made, uint64_t at,
               struct slice is)
{
    struct item_pieces p = large_pieces(made);
    struct store_view copy = {.serial = p.serial, .value_bytes = p.value_bytes};
    for (struct slice run; is.len > 0; is = (struct slice){is.at + run.len, is.len - run.len}) {
        if (!view_run(t, &copy, at, is.len, &run))
            return STORE_NO_MEMORY;
        if (memcmp(run.at, is.at, run.len) != 0)
            return STORE_EXISTS;
        at += run.len;
    }
    return STORE_OK;
}

/* What the client sent: in one run, or an upload of its own. */
static struct store_view
added_view(const struct store_put *put)
{
    struct store_view v = {.value = put->value.at, .value_bytes = put->value.len};
    if (put->upload) {
        struct item_pieces p = large_pieces(put->upload);
        v = (struct store_view){.value_bytes = p.value_bytes, .serial = p.serial};
    }
    return v;
}

static void
join_init(struct put_job *job, struct store_thread *t, const struct store_put *put,
          const struct old_value *old)
{
    put_job_init(job, t, put, old->view.client_flags);
    job->same = old->same;
    job->keep_expiry = true;
    job->marks_kept = STORE_MARK_KEY_BINARY;
    job->cas_is = put->compare ? &put->cas_expected : NULL;
}

static void
drop_made(struct store_thread *t, struct store_append *a)
{
    if (a->made)
        store_upload_abort(t, a->made);
    a->made = NULL;
}

void
store_append_drop(struct store_thread *t, struct store_append *a)
{
    drop_made(t, a);
    free(a);
    t->append = NULL;
}

static void
forget_append(struct store_thread *t, const struct store_put *put)
{
    if (put->append == NULL || *put->append == NULL)
        return;
    store_append_drop(t, *put->append);
    *put->append = NULL;
}

/* The one that this thread is at, or there is none yet. */
static enum store_outcome
take_turn(struct store_thread *t, const struct store_put *put)
{
    if (*put->append)
        return STORE_OK;
    if (t->append) {
        count(t, COUNT_AGAIN);
        return STORE_AGAIN;
    }
    *put->append = t->append = calloc(1, sizeof **put->append);
    return t->append ? STORE_OK : STORE_NO_MEMORY;
}

/* The result that there is, if it is made of this value; else it is begun. */
static enum store_outcome
resume_append(struct store_thread *t, const struct store_put *put, const struct old_value *old,
              uint64_t total)
{
    struct store *s = t->store;
    uint32_t flush_epoch = atomic_load_explicit(&s->flush_epoch, memory_order_relaxed);
    enum store_outcome outcome = take_turn(t, put);
    if (outcome != STORE_OK)
        return outcome;
    struct store_append *a = *put->append;
    if (a->made && a->old_serial == old->view.serial && a->old_bytes == old->view.value_bytes &&
        a->flush_epoch == flush_epoch)
        return STORE_OK;
    drop_made(t, a);
    if (a->step_bytes < total)
        a->step_bytes = a->step_bytes ? a->step_bytes * 2 : STORE_APPEND_STEP_BYTES;
    a->old_serial = old->view.serial;
    a->old_bytes = old->view.value_bytes;
    a->flush_epoch = flush_epoch;
    enum segment_queue queue = segment_queue(&s->pool, segment_of(s, old->same.location));
    return large_open_own(t, total, queue, &a->made);
}

static enum store_outcome
copy_parts(struct store_thread *t, const struct store_put *put, const struct old_value *old,
           const struct store_view *added)
{
    struct store_append *a = *put->append;
    struct store_upload *made = a->made;
    struct parts parts = {{&old->view, added}};
    if (put->mode == STORE_PREPEND)
        parts = (struct parts){{added, &old->view}};
    enum store_outcome outcome = copy_step(t, &parts, a);
    if (outcome == STORE_MISS) {
        uint64_t at;
        if (part_due(&parts, made, &at) != added) {
            store_drop_broken(t, put->key, old->view.serial);
            return STORE_MISS;
        }
        /* AGAIN where that will be stamped anew */
        return large_is_stamped(t->store, put->upload) ? STORE_NO_MEMORY : STORE_AGAIN;
    }
    if (outcome == STORE_OK && large_broken(made))
        return STORE_NO_MEMORY;
    if (outcome == STORE_OK && old->view.serial == 0) {
        uint64_t at = put->mode == STORE_PREPEND ? added->value_bytes : 0;
        struct slice is = {old->view.value, old->view.value_bytes};
        outcome = compare_copied(t, made, at, is);
        if (outcome == STORE_EXISTS)
            drop_made(t, a);
    }
    return outcome;
}

/* All is copied: the head. */
static enum store_outcome
store_made(struct store_thread *t, const struct store_put *put, const struct old_value *old,
           struct store_result *out)
{
    struct store_append *a = *put->append;
    struct put_job job;
    join_init(&job, t, put, old);
    struct item_pieces pieces = large_pieces(a->made);
    job.kind |= ITEM_PIECES;
    job.parts[0] = (struct slice){(const char *)&pieces, sizeof pieces};
    large_stamp(t->store, a->made);
    enum store_outcome outcome = put_run(t, &job, out);
    if (outcome == STORE_OK) {
        large_adopt(t, a->made, job.queue);
        free(a);
        *put->append = t->append = NULL;
    }
    return outcome;
}

/* AGAIN: nothing could be copied. */
static enum store_outcome
join_large(struct store_thread *t, const struct store_put *put, const struct old_value *old,
           const struct store_view *added, struct store_result *out)
{
    if (put->append == NULL)
        return STORE_UNFINISHED;
    enum store_outcome outcome =
        resume_append(t, put, old, old->view.value_bytes + added->value_bytes);
    if (outcome != STORE_OK)
        return outcome;
    const struct store_append *a = *put->append;
    uint64_t there = large_received(a->made);
    outcome = copy_parts(t, put, old, added);
    if (outcome == STORE_OK)
        outcome = store_made(t, put, old, out);
    return outcome == STORE_AGAIN && large_received(a->made) != there ? STORE_UNFINISHED : outcome;
}

static enum store_outcome
join_inline(struct store_thread *t, const struct store_put *put, const struct old_value *old,
            struct store_result *out)
{
    struct put_job job;
    join_init(&job, t, put, old);
    struct slice before = {old->view.value, old->view.value_bytes};
    job.parts[0] = put->mode == STORE_APPEND ? before : put->value;
    job.parts[1] = put->mode == STORE_APPEND ? put->value : before;
    return put_run(t, &job, out);
}

/* There was nothing to append to.  EXISTS: now there is. */
static enum store_outcome
vivify(struct store_thread *t, const struct store_put *put, bool *out_adopted,
       struct store_result *out)
{
    struct put_job job;
    struct item_pieces pieces;
    put_job_init(&job, t, put, put->client_flags);
    job.absent = true;
    job.parts[0] = put->value;
    if (put->upload) {
        pieces = large_pieces(put->upload);
        job.kind |= ITEM_PIECES;
        job.parts[0] = (struct slice){(const char *)&pieces, sizeof pieces};
    }
    enum store_outcome outcome = put_run(t, &job, out);
    if (outcome == STORE_OK && put->upload) {
        large_adopt(t, put->upload, job.queue);
        *out_adopted = true;
    }
    return outcome;
}

/* The longest value that may come out, for an entry with these client flags. */
static uint64_t
joined_bytes_max(const struct store *s, const struct store_put *put, uint32_t client_flags)
{
    if (!put->joined_bytes_max)
        return s->config.value_bytes_max;
    uint32_t flags_bytes = client_flags ? put->joined_flags_bytes : 0;
    return put->joined_bytes_max > flags_bytes ? put->joined_bytes_max - flags_bytes : 0;
}

/* EXISTS: the number is another than the one that was asked for. */
static enum store_outcome
join(struct store_thread *t, const struct store_put *put, bool *out_adopted,
     struct store_result *out)
{
    const struct store *s = t->store;
    struct store_view added = added_view(put);
    struct old_value old;
    for (unsigned round = 0; round < ROUNDS; round++) {
        bool absent = look(t, put->key, &old) == STORE_MISS;
        if (absent && !put->vivify)
            return STORE_NOT_STORED;
        if (!absent && put->compare &&
            (old.view.cas != put->cas_expected || put->cas_expected == 0))
            return STORE_EXISTS;
        uint64_t total = (absent ? 0 : old.view.value_bytes) + added.value_bytes;
        if (total > joined_bytes_max(s, put, absent ? put->client_flags : old.view.client_flags))
            return STORE_TOO_LARGE;
        if (absent && !put->upload && put->value.len > s->inline_bytes_max)
            return STORE_MISS;
        bool large = !absent && total > s->inline_bytes_max;
        enum store_outcome outcome = absent  ? vivify(t, put, out_adopted, out)
                                     : large ? join_large(t, put, &old, &added, out)
                                             : join_inline(t, put, &old, out);
        if (outcome == STORE_OK && out)
            out->value_bytes = total;
        if (outcome != STORE_EXISTS && outcome != STORE_MISS)
            return outcome;            /* those: it was changed meanwhile, or lost a piece */
        if (large)
            break;                     /* so much is not copied twice in one go */
    }
    return STORE_AGAIN;
}

enum store_outcome
append_put(struct store_thread *t, const struct store_put *put, struct store_result *out)
{
    bool adopted = false;
    if (put->upload)
        large_stamp(t->store, put->upload);
    bool broken = put->upload && large_broken(put->upload);
    enum store_outcome outcome = broken ? STORE_NO_MEMORY : join(t, put, &adopted, out);
    if (outcome == STORE_AGAIN || outcome == STORE_UNFINISHED)
        return outcome;
    forget_append(t, put);
    if (put->upload && !adopted)
        store_upload_abort(t, put->upload);
    return outcome;
}
