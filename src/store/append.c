/*
 * append.c -- append and prepend: a new entry made of the old one and more.
 *
 * The old value is read, the new one written, and it is linked only if the old entry is still the
 * same; otherwise it is done again.  After a few rounds the request is put off (AGAIN), so that
 * writers in each other's way do not hold up a worker.
 */
#include "inner.h"
#include "view.h"

#define ROUNDS 8
#define SPANS 64

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

/* The bytes of a view, in pieces or not.  MISS: some are gone. */
static enum store_outcome
upload_view(struct store_thread *t, struct store_upload *u, const struct store_view *v)
{
    if (!v->serial)
        return upload_bytes(t, u, v->value, v->value_bytes);
    for (uint64_t at = 0, n; at < v->value_bytes; at += n) {
        struct iovec spans[SPANS];
        unsigned count = store_spans(t, v->serial, v->value_bytes, at, UINT64_MAX, spans, SPANS,
                                     &n);
        if (count == 0)
            return STORE_MISS;
        for (unsigned i = 0; i < count; i++) {
            enum store_outcome outcome = upload_bytes(t, u, spans[i].iov_base, spans[i].iov_len);
            if (outcome != STORE_OK)
                return outcome;
        }
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

static enum store_outcome
join_large(struct store_thread *t, const struct store_put *put, const struct old_value *old,
           const struct store_view *added, struct store_result *out)
{
    struct store_upload *u;
    uint64_t total = old->view.value_bytes + added->value_bytes;
    enum store_outcome outcome = large_open_brief(t, total, &u);
    if (outcome != STORE_OK)
        return outcome;
    const struct store_view *parts[2] = {&old->view, added};
    if (put->mode == STORE_PREPEND) {
        parts[0] = added;
        parts[1] = &old->view;
    }
    for (unsigned i = 0; i < 2 && outcome == STORE_OK; i++) {
        outcome = upload_view(t, u, parts[i]);
        if (outcome == STORE_MISS && parts[i] == &old->view)
            store_drop_broken(t, put->key, old->view.serial);
        else if (outcome == STORE_MISS)    /* AGAIN where that will be stamped anew */
            outcome = large_is_stamped(t->store, put->upload) ? STORE_NO_MEMORY : STORE_AGAIN;
    }
    if (outcome == STORE_AGAIN && !t->store->config.evict)
        outcome = STORE_NO_MEMORY;     /* what made room for so much of it may never make more */
    if (outcome == STORE_OK && large_broken(u))
        outcome = STORE_NO_MEMORY;
    if (outcome != STORE_OK) {
        store_upload_abort(t, u);
        return outcome;
    }
    struct put_job job;
    join_init(&job, t, put, old);
    struct item_pieces pieces = large_pieces(u);
    job.kind |= ITEM_PIECES;
    job.parts[0] = (struct slice){(const char *)&pieces, sizeof pieces};
    large_stamp(t->store, u);
    outcome = put_run(t, &job, out);
    if (outcome == STORE_OK)
        large_adopt(t, u, job.queue);
    else
        store_upload_abort(t, u);
    return outcome;
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
        enum store_outcome outcome = absent ? vivify(t, put, out_adopted, out)
                                     : total > s->inline_bytes_max
                                         ? join_large(t, put, &old, &added, out)
                                         : join_inline(t, put, &old, out);
        if (outcome == STORE_OK && out)
            out->value_bytes = total;
        if (outcome != STORE_EXISTS && outcome != STORE_MISS)
            return outcome;            /* those: it was changed meanwhile, or lost a piece */
        if (!absent && total > s->inline_bytes_max)
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
    if (put->upload && outcome != STORE_AGAIN && !adopted)
        store_upload_abort(t, put->upload);
    return outcome;
}
