/*
 * change.c -- set add replace append prepend cas, and ms; delete, incr decr; and values that arrive
 * by upload.
 */
#include "inner.h"

#include <stdlib.h>

#include "base/num.h"

/* ---- how large is too large ------------------------------------------------------------------ */

/*
 * memcached's limit counts its own item: header 48, key and NUL, CR LF, CAS, flags if not zero.
 * Ours is smaller, but what fits must be the same on both: clients learn the limit from errors.
 */
#define REFERENCE_HEADER_BYTES (48u + 1 + 2)
#define REFERENCE_FLAGS_BYTES 4u

/* Of an entry without client flags. */
static uint64_t
value_bytes_max(const struct cmd_thread *t, const struct request *req)
{
    const struct cmd_config *config = &t->cmd->config;
    uint64_t beside = REFERENCE_HEADER_BYTES + req->key.len + (config->cas_enabled ? 8 : 0);
    uint64_t all = config->item_bytes_max;
    return beside < all ? all - beside : 0;
}

bool
too_large(const struct cmd_thread *t, const struct request *req)
{
    uint64_t flags_bytes = req->client_flags ? REFERENCE_FLAGS_BYTES : 0;
    return req->value_bytes + flags_bytes > value_bytes_max(t, req);
}

/* ---- replies --------------------------------------------------------------------------------- */

static bool
is_join(const struct request *req)
{
    return req->verb == VERB_APPEND || req->verb == VERB_PREPEND;
}

static enum verb
verb_of(const struct cmd_thread *t, const struct request *req)
{
    return UNLIKELY(req->dialect == DIALECT_BINARY) ? binary_store_verb(t, req) : req->verb;
}

/* A set that fails takes the old value with it: better none than one that should be gone. */
static bool
takes_old_with_it(const struct request *req)
{
    if (req->dialect == DIALECT_BINARY)
        return req->more.verb_plain == VERB_SET;
    return req->verb == VERB_SET || req->dialect == DIALECT_META;
}

/* Each attempt to store is counted once, however it ends. */
static void
count_set(struct cmd_thread *t, const struct request *req)
{
    if (LIKELY(req->dialect != DIALECT_META))
        count_prefix(t, req->key, DETAIL_SET);
}

enum cmd_outcome
store_refused(struct cmd_thread *t, const struct request *req, enum store_outcome why,
              struct reply *reply)
{
    bool large = why == STORE_TOO_LARGE;
    count_set(t, req);
    if (req->dialect != DIALECT_BINARY)    /* there memcached does not count them */
        count(t, large ? CMD_store_too_large : CMD_store_no_memory);
    if (takes_old_with_it(req))
        store_delete(t->store, key_of(t, req, req->key, 0));
    if (req->dialect == DIALECT_BINARY)
        return binary_stored(req, reply, why, 0);
    return answer(req, reply, large ? PROTO_TOO_LARGE : PROTO_NO_MEMORY_STORING);
}

static void
count_cas(struct cmd_thread *t, enum store_outcome outcome)
{
    count(t, outcome == STORE_OK     ? CMD_cas_hits
             : outcome == STORE_MISS ? CMD_cas_misses
                                     : CMD_cas_badval);
}

enum cmd_outcome
store_done(struct cmd_thread *t, const struct request *req, enum store_outcome outcome,
           const struct store_result *result, struct reply *reply)
{
    if (outcome == STORE_AGAIN) {
        t->stores += STORES_AT_AGAIN;
        return CMD_AGAIN;
    }
    if (outcome == STORE_TOO_LARGE || outcome == STORE_NO_MEMORY) {
        if (!is_join(req))
            return store_refused(t, req, outcome, reply);
        outcome = STORE_NOT_STORED;
    }
    count(t, CMD_cmd_set);
    count_set(t, req);
    t->stores++;
    if (verb_of(t, req) == VERB_CAS)
        count_cas(t, outcome);
    if (UNLIKELY(req->dialect == DIALECT_META))
        return meta_stored(req, reply, outcome, result);
    if (UNLIKELY(req->dialect == DIALECT_BINARY))
        return binary_stored(req, reply, outcome, outcome == STORE_OK ? result->cas : 0);
    switch (outcome) {
    case STORE_OK:
        return answer(req, reply, PROTO_STORED);
    case STORE_EXISTS:
        return answer(req, reply, PROTO_EXISTS);
    case STORE_MISS:
        return answer(req, reply, PROTO_NOT_FOUND);
    case STORE_NOT_STORED:
        return answer(req, reply, PROTO_NOT_STORED);
    case STORE_TOO_LARGE:
    case STORE_NO_MEMORY:
    case STORE_NON_NUMERIC:
    case STORE_AGAIN:
    case STORE_UNFINISHED:
        break;
    }
    CHECK(!"a storage command has no such outcome");
    return CMD_DONE;
}

/* ---- storing --------------------------------------------------------------------------------- */

/* Counted as an attempt, as memcached does: it has allocated the item by then. */
static enum cmd_outcome
bad_chunk(struct cmd_thread *t, const struct request *req, struct reply *reply)
{
    count(t, CMD_cmd_set);
    count_set(t, req);
    return answer(req, reply, PROTO_BAD_CHUNK);
}

struct store_put
put_of(struct cmd_thread *t, const struct request *req)
{
    static const enum store_mode modes[VERB_COUNT] = {
        [VERB_SET] = STORE_SET,       [VERB_ADD] = STORE_ADD,
        [VERB_REPLACE] = STORE_REPLACE, [VERB_APPEND] = STORE_APPEND,
        [VERB_PREPEND] = STORE_PREPEND, [VERB_CAS] = STORE_CAS,
    };
    struct store_put put = {
        .mode = modes[verb_of(t, req)],
        .key = key_of(t, req, req->key, 0),
        .client_flags = req->client_flags,
        .expiry = expiry_of(t, proto_exptime(req)),
        .cas_expected = req->number,
        .joined_bytes_max = value_bytes_max(t, req),
        .joined_flags_bytes = REFERENCE_FLAGS_BYTES,
    };
    if (UNLIKELY(req->dialect == DIALECT_META))
        meta_put_ask(req, &put);
    if (UNLIKELY(req->dialect == DIALECT_BINARY))
        binary_put_compare(t, req, &put);
    return put;
}

/* The value found no room for itself: whatever was to be done with it, that is not NOT_STORED. */
static enum cmd_outcome
value_refused(struct cmd_thread *t, const struct request *req, enum store_outcome why,
              struct reply *reply)
{
    return why == STORE_AGAIN ? store_done(t, req, why, NULL, reply)
                              : store_refused(t, req, why, reply);
}

/* A long value that came in one run with its command line: copied into an upload of its own. */
static enum store_outcome
upload_whole(struct cmd_thread *t, struct slice value, struct store_upload **out_upload)
{
    struct store_upload *u;
    enum store_outcome outcome = store_upload_open(t->store, value.len, &u);
    if (outcome != STORE_OK)
        return outcome;
    while (value.len) {
        char *at;
        size_t room;
        outcome = store_upload_room(t->store, u, &at, &room);
        if (outcome != STORE_OK) {
            store_upload_abort(t->store, u);
            return outcome;
        }
        size_t n = room < value.len ? room : value.len;
        memcpy(at, value.at, n);
        store_upload_filled(t->store, u, n);
        value.at += n;
        value.len -= n;
    }
    *out_upload = u;
    return STORE_OK;
}

void
cmd_cursor_drop(struct cmd_thread *t, struct cmd_cursor *cursor)
{
    if (cursor->append)
        store_append_drop(t->store, cursor->append);
    cursor->append = NULL;
}

enum cmd_outcome
run_store(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
          struct reply *reply)
{
    if (too_large(t, req))
        return store_refused(t, req, STORE_TOO_LARGE, reply);
    if (req->bad_chunk)
        return bad_chunk(t, req, reply);
    struct store_put put = put_of(t, req);
    put.value = (struct slice){req->value, req->value_bytes};
    bool joins = is_join(req);
    if (joins) {
        if (cursor->append && !reply->appends)
            return CMD_QUEUE;
        put.append = reply->appends ? &cursor->append : NULL;
    }
    bool by_upload = put.value.len > store_inline_bytes_max(t->cmd->config.store);
    struct store_result result;
    enum store_outcome outcome = STORE_MISS;
    if (LIKELY(!by_upload) || joins)
        outcome = store_put(t->store, &put, &result);
    if (UNLIKELY(by_upload) && outcome == STORE_MISS) {    /* joins: there is nothing there */
        outcome = upload_whole(t, put.value, &put.upload);
        if (outcome != STORE_OK)
            return value_refused(t, req, outcome, reply);
        outcome = store_put(t->store, &put, &result);
        if (outcome == STORE_AGAIN || outcome == STORE_UNFINISHED)
            store_upload_abort(t->store, put.upload);
    }
    if (outcome == STORE_UNFINISHED)
        return CMD_QUEUE;
    if (joins && outcome != STORE_AGAIN)
        reply->appends = false;        /* so another one of this client waits for its turn */
    return store_done(t, req, outcome, &result, reply);
}

enum cmd_outcome
run_delete(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
           struct reply *reply)
{
    (void)cursor;
    bool hit = store_delete(t->store, key_of(t, req, req->key, 0)) == STORE_OK;
    count(t, hit ? CMD_delete_hits : CMD_delete_misses);
    count_prefix(t, req->key, DETAIL_DELETE);
    return answer(req, reply, hit ? PROTO_DELETED : PROTO_NOT_FOUND);
}

enum cmd_outcome
run_arith(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
          struct reply *reply)
{
    (void)cursor;
    bool decr = req->verb == VERB_DECR;
    struct store_arith arith = {.key = key_of(t, req, req->key, 0), .decrement = decr,
                                .delta = req->number};
    struct store_number number;
    switch (store_arith(t->store, &arith, &number)) {
    case STORE_OK: {
        char text[NUM_U64_CHARS_MAX + 2];
        size_t n = num_put_u64(text, number.number);
        memcpy(text + n, "\r\n", 2);
        count(t, decr ? CMD_decr_hits : CMD_incr_hits);
        t->stores++;
        return answer(req, reply, (struct slice){text, n + 2});
    }
    case STORE_MISS:
        count(t, decr ? CMD_decr_misses : CMD_incr_misses);
        return answer(req, reply, PROTO_NOT_FOUND);
    case STORE_NON_NUMERIC:
        return answer(req, reply, PROTO_NON_NUMERIC);
    case STORE_AGAIN:
        t->stores += STORES_AT_AGAIN;
        return CMD_AGAIN;
    case STORE_NO_MEMORY:
    case STORE_TOO_LARGE:
        return answer(req, reply, PROTO_NO_MEMORY);
    case STORE_EXISTS:
    case STORE_NOT_STORED:
    case STORE_UNFINISHED:
        break;
    }
    CHECK(!"incr and decr have no such outcome");
    return CMD_DONE;
}

/* ---- uploads --------------------------------------------------------------------------------- */

/*
 * A storage request whose data block is arriving.  Where memory runs out in the middle (-M), the
 * rest of the block goes into a sink and the error is sent at its end.
 */
struct cmd_upload {
    struct request req;                /* its key lies in more.key_room, its flags in kept_flags */
    struct store_upload *store;        /* NULL: given up, the rest is thrown away */
    struct store_append *append;       /* what there is of a long result */
    uint64_t received;                 /* bytes of the value */
    unsigned tail_len;
    char tail[2];                      /* proto_tail_bytes(): what should be CR LF */
    char kept_flags[PROTO_KEPT_FLAGS_BYTES];
};

_Static_assert(CMD_APPEND_BYTES == STORE_APPEND_STEP_BYTES, "a step is a step");
_Static_assert(sizeof(struct cmd_upload) <= CMD_UPLOAD_BYTES - 128, "and what the store adds");

static struct cmd_upload *
upload_create(const struct request *req)
{
    struct cmd_upload *u = malloc(sizeof *u);
    if (!u)
        return NULL;
    *u = (struct cmd_upload){.req = *req};
    memcpy(u->req.more.key_room, req->key.at, req->key.len);
    u->req.key.at = u->req.more.key_room;
    if (req->dialect == DIALECT_META)
        proto_keep_flags(&u->req, u->kept_flags);
    u->req.batch = 0;
    return u;
}

enum cmd_body
cmd_begin_body(struct cmd_thread *t, const struct request *req, struct reply *reply,
               struct cmd_upload **out_upload)
{
    if (!reply_has_room(reply, LINE_BYTES, 0))
        return CMD_BODY_AGAIN;
    if (too_large(t, req)) {
        store_refused(t, req, STORE_TOO_LARGE, reply);
        return CMD_BODY_SWALLOW;
    }
    if (req->value_bytes <= store_inline_bytes_max(t->cmd->config.store))
        return CMD_BODY_COLLECT;
    struct store_upload *store;
    enum store_outcome outcome = store_upload_open(t->store, req->value_bytes, &store);
    if (outcome == STORE_AGAIN)
        return CMD_BODY_AGAIN;
    struct cmd_upload *u = outcome == STORE_OK ? upload_create(req) : NULL;
    if (!u) {
        if (outcome == STORE_OK)
            store_upload_abort(t->store, store);
        store_refused(t, req, STORE_NO_MEMORY, reply);
        return CMD_BODY_SWALLOW;
    }
    u->store = store;
    *out_upload = u;
    return CMD_BODY_UPLOAD;
}

/* The store cannot take the rest. */
static void
upload_give_up(struct cmd_thread *t, struct cmd_upload *u)
{
    store_upload_abort(t->store, u->store);
    u->store = NULL;
}

enum cmd_outcome
cmd_upload_room(struct cmd_thread *t, struct cmd_upload *u, char **out_at, size_t *out_len)
{
    uint64_t left = u->req.value_bytes - u->received;
    if (left == 0) {
        *out_at = u->tail + u->tail_len;
        *out_len = proto_tail_bytes(&u->req) - u->tail_len;
        return CMD_DONE;
    }
    if (u->store) {
        switch (store_upload_room(t->store, u->store, out_at, out_len)) {
        case STORE_OK:
            return CMD_DONE;
        case STORE_AGAIN:
            return CMD_AGAIN;
        default:
            upload_give_up(t, u);
        }
    }
    *out_at = t->sink;
    *out_len = left < sizeof t->sink ? left : sizeof t->sink;
    return CMD_DONE;
}

void
cmd_upload_filled(struct cmd_thread *t, struct cmd_upload *u, size_t n)
{
    if (u->received == u->req.value_bytes) {
        u->tail_len += (unsigned)n;
        CHECK(u->tail_len <= sizeof u->tail);
        return;
    }
    u->received += n;
    if (u->store)
        store_upload_filled(t->store, u->store, n);
}

bool
cmd_upload_set_aside(struct cmd_thread *t, struct cmd_upload *u)
{
    return u->store != NULL && store_upload_set_aside(t->store, u->store);
}

bool
cmd_upload_is_aside(const struct cmd_upload *u)
{
    return u->store != NULL && store_upload_is_aside(u->store);
}

uint64_t
cmd_upload_missing(const struct cmd_upload *u)
{
    return u->req.value_bytes - u->received + proto_tail_bytes(&u->req) - u->tail_len;
}

enum cmd_outcome
cmd_upload_finish(struct cmd_thread *t, struct cmd_upload *u, struct reply *reply)
{
    const size_t tail_bytes = proto_tail_bytes(&u->req);
    CHECK(u->received == u->req.value_bytes && u->tail_len == tail_bytes);
    if (!reply_has_room(reply, LINE_BYTES, 0))
        return CMD_FULL;
    enum cmd_outcome outcome;
    if (!u->store) {
        outcome = store_refused(t, &u->req, STORE_NO_MEMORY, reply);
    } else if (memcmp(u->tail, "\r\n", tail_bytes) != 0) {
        store_upload_abort(t->store, u->store);
        outcome = bad_chunk(t, &u->req, reply);
    } else if (u->append && !reply->appends) {
        return CMD_QUEUE;
    } else {
        struct store_put put = put_of(t, &u->req);
        put.upload = u->store;
        put.append = reply->appends ? &u->append : NULL;
        struct store_result result;
        enum store_outcome stored = store_put(t->store, &put, &result);
        if (stored == STORE_UNFINISHED)
            return CMD_QUEUE;
        if (stored != STORE_AGAIN)
            reply->appends = false;
        outcome = store_done(t, &u->req, stored, &result, reply);
        if (outcome == CMD_AGAIN)
            return CMD_AGAIN;
    }
    free(u);
    return outcome;
}

bool
cmd_upload_is_appended(const struct cmd_upload *u)
{
    return u->append != NULL;
}

void
cmd_upload_abort(struct cmd_thread *t, struct cmd_upload *u)
{
    if (u->append)
        store_append_drop(t->store, u->append);
    if (u->store)
        store_upload_abort(t->store, u->store);
    free(u);
}
