/*
 * write.c -- storing, deleting, counting.
 *
 * A long value goes into the cache by upload, a portion to a section, so that others get memory
 * back meanwhile; so is the long result of an append made.  In a section of the caller's all of it
 * must go in one go: there, what cannot be finished is given up, and the caller asks again.
 */
#include "inner.h"

#include <limits.h>

#define PORTION_BYTES ((size_t)1 << 20)

_Static_assert((int)LARDER_SET == (int)STORE_SET && (int)LARDER_ADD == (int)STORE_ADD &&
                   (int)LARDER_REPLACE == (int)STORE_REPLACE &&
                   (int)LARDER_APPEND == (int)STORE_APPEND &&
                   (int)LARDER_PREPEND == (int)STORE_PREPEND &&
                   (int)LARDER_CAS == (int)STORE_CAS,
               "a mode is the store's mode");

struct put {
    const struct larder_entry *entry;
    enum larder_mode mode;
    struct store_upload *upload;
    struct store_append *append;       /* what there is of a long result */
    struct larder_bytes rest;          /* of the value, where it is uploaded */
    uint64_t *out_cas;
};

static enum store_outcome
put_entry(struct larder_thread *t, struct put *p)
{
    const struct larder_entry *e = p->entry;
    struct store_result result;
    struct store_put put = {
        .mode = (enum store_mode)p->mode,
        .key = lib_key(t, e->key),
        .value = {e->value.at, e->value.len},
        .upload = p->upload,
        .append = &p->append,
        .client_flags = e->flags,
        .expiry = lib_expiry(t, e->ttl_s),
        .cas_expected = e->cas_expected,
    };
    enum store_outcome outcome;
    unsigned steps = t->inside ? UINT_MAX : PORTION_BYTES / STORE_APPEND_STEP_BYTES;
    do {
        outcome = store_put(t->store, &put, &result);
    } while (outcome == STORE_UNFINISHED && --steps > 0);
    if (outcome == STORE_UNFINISHED) {
        t->progressed = true;
        outcome = STORE_AGAIN;
    }
    if (outcome != STORE_AGAIN)
        p->upload = NULL;              /* consumed */
    if (outcome == STORE_OK) {
        lib_has_stored(t);
        if (p->out_cas)
            *p->out_cas = result.cas;
    }
    return outcome;
}

static enum store_outcome
put_step(struct larder_thread *t, void *ctx)
{
    return put_entry(t, ctx);
}

/* ---- long values ----------------------------------------------------------------------------- */

/* OK: all of it has arrived.  AGAIN: no room at the moment, or a portion is done. */
static enum store_outcome
fill_upload(struct larder_thread *t, struct put *p)
{
    size_t portion = t->inside ? SIZE_MAX : PORTION_BYTES;
    while (p->rest.len) {
        char *at;
        size_t room;
        if (portion == 0)
            return STORE_AGAIN;
        enum store_outcome outcome = store_upload_room(t->store, p->upload, &at, &room);
        if (outcome != STORE_OK)
            return outcome;
        size_t n = room < p->rest.len ? room : p->rest.len;
        memcpy(at, p->rest.at, n);
        store_upload_filled(t->store, p->upload, n);
        p->rest = larder_span((const char *)p->rest.at + n, p->rest.len - n);
        portion -= n < portion ? n : portion;
        t->progressed = true;
    }
    return STORE_OK;
}

static enum store_outcome
give_up_step(struct larder_thread *t, void *ctx)
{
    struct put *p = ctx;
    if (p->append)
        store_append_drop(t->store, p->append);
    if (p->upload)
        store_upload_abort(t->store, p->upload);
    p->append = NULL;
    p->upload = NULL;
    return STORE_OK;
}

static enum store_outcome
upload_step(struct larder_thread *t, void *ctx)
{
    struct put *p = ctx;
    enum store_outcome outcome = STORE_OK;
    if (!p->upload) {
        outcome = store_upload_open(t->store, p->entry->value.len, &p->upload);
        if (outcome != STORE_OK)
            p->upload = NULL;
        p->rest = p->entry->value;
    }
    if (outcome == STORE_OK)
        outcome = fill_upload(t, p);
    return outcome == STORE_OK ? put_entry(t, p) : outcome;
}

/* ---- the calls ------------------------------------------------------------------------------- */

static bool
mode_valid(enum larder_mode mode)
{
    switch (mode) {
    case LARDER_SET:
    case LARDER_ADD:
    case LARDER_REPLACE:
    case LARDER_APPEND:
    case LARDER_PREPEND:
    case LARDER_CAS:
        return true;
    }
    return false;
}

enum larder_error
larder_put(struct larder_thread *t, enum larder_mode mode, const struct larder_entry *entry,
           uint64_t *out_cas)
{
    struct put p = {.entry = entry, .mode = mode, .out_cas = out_cas};
    if (!lib_size_valid(entry, entry->size, sizeof *entry, sizeof *entry) || !mode_valid(mode))
        return LARDER_INVALID;
    if (!lib_key_valid(entry->key))
        return LARDER_BAD_KEY;
    if (entry->value.len > t->larder->value_bytes_max)
        return LARDER_TOO_LARGE;
    bool large = entry->value.len > t->larder->inline_bytes_max;
    enum larder_error error = lib_run(t, large ? upload_step : put_step, &p);
    if (p.upload || p.append)
        lib_run_once(t, give_up_step, &p);
    return error;
}

enum larder_error
larder_set(struct larder_thread *t, struct larder_bytes key, struct larder_bytes value,
           uint32_t ttl_s)
{
    struct larder_entry entry = {
        .size = sizeof entry, .key = key, .value = value, .ttl_s = ttl_s};
    return larder_put(t, LARDER_SET, &entry, NULL);
}

struct change {
    struct larder_bytes key;
    const uint64_t *cas_expected;      /* delete; NULL: any */
    bool decrement;
    uint64_t delta, *out_number;
};

static enum store_outcome
delete_step(struct larder_thread *t, void *ctx)
{
    struct change *c = ctx;
    struct store_key key = lib_key(t, c->key);
    return c->cas_expected ? store_delete_cas(t->store, key, *c->cas_expected)
                           : store_delete(t->store, key);
}

enum larder_error
larder_delete(struct larder_thread *t, struct larder_bytes key)
{
    struct change c = {.key = key};
    return lib_key_valid(key) ? lib_run(t, delete_step, &c) : LARDER_BAD_KEY;
}

enum larder_error
larder_delete_cas(struct larder_thread *t, struct larder_bytes key, uint64_t cas_expected)
{
    struct change c = {.key = key, .cas_expected = &cas_expected};
    return lib_key_valid(key) ? lib_run(t, delete_step, &c) : LARDER_BAD_KEY;
}

static enum store_outcome
arith_step(struct larder_thread *t, void *ctx)
{
    struct change *c = ctx;
    struct store_arith arith = {
        .key = lib_key(t, c->key), .decrement = c->decrement, .delta = c->delta};
    struct store_number number;
    enum store_outcome outcome = store_arith(t->store, &arith, &number);
    if (outcome == STORE_OK) {
        lib_has_stored(t);
        if (c->out_number)
            *c->out_number = number.number;
    }
    return outcome;
}

enum larder_error
larder_incr(struct larder_thread *t, struct larder_bytes key, uint64_t delta, uint64_t *out_number)
{
    struct change c = {.key = key, .delta = delta, .out_number = out_number};
    return lib_key_valid(key) ? lib_run(t, arith_step, &c) : LARDER_BAD_KEY;
}

enum larder_error
larder_decr(struct larder_thread *t, struct larder_bytes key, uint64_t delta, uint64_t *out_number)
{
    struct change c = {.key = key, .decrement = true, .delta = delta, .out_number = out_number};
    return lib_key_valid(key) ? lib_run(t, arith_step, &c) : LARDER_BAD_KEY;
}

/* ---- all at once ----------------------------------------------------------------------------- */

static enum store_outcome
flush_step(struct larder_thread *t, void *ctx)
{
    uint32_t delay_s = *(uint32_t *)ctx;
    uint32_t now = store_now(t->store);
    store_flush(t->store, delay_s < UINT32_MAX - now ? now + delay_s : UINT32_MAX);
    return STORE_OK;
}

void
larder_flush(struct larder_thread *t, uint32_t delay_s)
{
    lib_run(t, flush_step, &delay_s);
}

static enum store_outcome
forget_step(struct larder_thread *t, void *ctx)
{
    (void)ctx;
    store_flush_forget(t->store);
    return STORE_OK;
}

void
larder_flush_forget(struct larder_thread *t)
{
    lib_run_once(t, forget_step, NULL);
}
