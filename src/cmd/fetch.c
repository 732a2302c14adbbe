/*
 * fetch.c -- get gets gat gats touch, and the gets of the binary protocol.
 *
 * A value of up to COPY_BYTES_MAX bytes is copied behind its header, a longer one goes out from
 * where it lies in the store: past that length a span costs less than the copy.  A request may be
 * left between any two keys, or at any byte of a long value, and is gone on with from the cursor.
 */
#include "inner.h"

#define WHOLE_SPANS_MAX 20u            /* pieces are at least 1/16 of 64 KiB less their headers */
#define KEYS_PER_CALL 1024u

static bool
is_gat(const struct request *req)
{
    return req->verb == VERB_GAT || req->verb == VERB_GATS;
}

static void
count_hit(struct cmd_thread *t, const struct request *req, struct slice key)
{
    count_prefix(t, key, DETAIL_HIT);
    count(t, is_gat(req) ? CMD_cmd_touch : CMD_cmd_get);
    count(t, is_gat(req) ? CMD_touch_hits : CMD_get_hits);
}

static void
count_miss(struct cmd_thread *t, const struct request *req, struct slice key)
{
    count_prefix(t, key, DETAIL_MISS);
    count(t, is_gat(req) ? CMD_cmd_touch : CMD_cmd_get);
    count(t, is_gat(req) ? CMD_touch_misses : CMD_get_misses);
}

/* No longer than proto_value_header_max(), whatever the dialect. */
static void
put_header(const struct cmd_thread *t, const struct request *req, struct reply *reply,
           struct slice key, const struct store_view *v)
{
    if (UNLIKELY(req->dialect == DIALECT_META)) {
        meta_put_head(t, req, reply, key, v);
        return;
    }
    if (UNLIKELY(req->dialect == DIALECT_BINARY)) {
        binary_put_hit(req, reply, key, v);
        return;
    }
    bool with_cas = req->verb == VERB_GETS || req->verb == VERB_GATS;
    reply_wrote(reply, proto_put_value_header(reply_at(reply), key, v->client_flags,
                                              (uint32_t)v->value_bytes, with_cas, v->cas));
}

/* What follows a value. */
static void
put_tail(const struct request *req, struct reply *reply)
{
    if (LIKELY(proto_tail_bytes(req) > 0))
        reply_text(reply, SLICE("\r\n"));
}

static size_t
header_bytes_max(const struct request *req, struct slice key)
{
    return UNLIKELY(req->dialect == DIALECT_META) ? LINE_BYTES : proto_value_header_max(key.len);
}

bool
value_fits(const struct request *req, const struct store_view *v, struct slice key,
           struct reply *reply)
{
    if (UNLIKELY(!v->value && v->value_bytes > CMD_WHOLE_BYTES_MAX)) {
        if (!reply->windows)
            reply->wanted = CMD_WINDOW_BYTES;
        return reply->windows;
    }
    size_t bytes = header_bytes_max(req, key) + v->value_bytes + 2;
    bool spans = v->value || reply->span_count + WHOLE_SPANS_MAX + 3 <= REPLY_SPANS_MAX;
    if (LIKELY(reply->bytes + bytes <= reply->bytes_max && spans))
        return true;
    if (reply->bytes == 0)
        reply->wanted = bytes;
    return false;
}

/* All of a value in pieces.  CMD_BROKEN: it is not all there any more. */
static enum cmd_outcome
put_pieces(struct cmd_thread *t, const struct request *req, const struct store_key *key,
           const struct store_view *v, struct reply *reply)
{
    struct iovec spans[WHOLE_SPANS_MAX];
    uint64_t bytes = 0;
    unsigned n = store_spans(t->store, v->serial, v->value_bytes, 0, v->value_bytes, spans,
                             WHOLE_SPANS_MAX, &bytes);
    if (n == 0) {
        store_drop_broken(t->store, *key, v->serial);
        return CMD_BROKEN;
    }
    CHECK(bytes == v->value_bytes);
    put_header(t, req, reply, key->text, v);
    for (unsigned i = 0; i < n; i++)
        reply_span(reply, spans[i].iov_base, spans[i].iov_len);
    put_tail(req, reply);
    return CMD_DONE;
}

/*
 * Before the first byte of a long value goes out: where it lies, if it is short enough for its rest
 * to be copied.  False: it is not all there any more.
 */
static bool
note_parts(struct cmd_thread *t, const struct cmd_cursor *cursor)
{
    struct value_parts *p = &t->parts;
    uint64_t bytes = 0;
    p->count = 0;
    if (cursor->value_bytes > CMD_WINDOW_BYTES + CMD_REST_BYTES_MAX)
        return true;
    unsigned n = store_spans(t->store, cursor->value_serial, cursor->value_bytes, 0,
                             cursor->value_bytes, p->spans, VALUE_SPANS_MAX, &bytes);
    if (n == 0)
        return false;
    p->serial = cursor->value_serial;
    p->count = bytes == cursor->value_bytes ? n : 0;
    return true;
}

/* As store_spans(), of what was noted. */
static unsigned
noted_spans(const struct value_parts *p, uint64_t at, uint64_t bytes_max, struct iovec *spans,
            unsigned span_max, uint64_t *out_bytes)
{
    uint64_t start = 0, sum = 0;
    unsigned n = 0;
    for (unsigned i = 0; i < p->count && n < span_max && sum < bytes_max; i++) {
        char *part = p->spans[i].iov_base;
        uint64_t end = start + p->spans[i].iov_len, from = at > start ? at : start;
        if (from < end) {
            spans[n++] = (struct iovec){part + (from - start), end - from};
            sum += end - from;
        }
        start = end;
    }
    *out_bytes = sum;
    return n;
}

static unsigned
value_spans(struct cmd_thread *t, const struct cmd_cursor *cursor, uint64_t at, uint64_t bytes_max,
            struct iovec *spans, unsigned span_max, uint64_t *out_bytes)
{
    if (t->parts.count > 0 && t->parts.serial == cursor->value_serial)
        return noted_spans(&t->parts, at, bytes_max, spans, span_max, out_bytes);
    return store_spans(t->store, cursor->value_serial, cursor->value_bytes, at, bytes_max, spans,
                       span_max, out_bytes);
}

/* The next window of the value in which the cursor stands, behind its header where v is given. */
static enum cmd_outcome
put_window(struct cmd_thread *t, const struct request *req, const struct store_key *key,
           const struct store_view *v, struct cmd_cursor *cursor, struct reply *reply)
{
    struct iovec spans[REPLY_SPANS_MAX];
    uint64_t bytes = 0;
    unsigned n = 0;
    if (!v || note_parts(t, cursor))
        n = value_spans(t, cursor, cursor->value_at, CMD_WINDOW_BYTES, spans,
                        REPLY_SPANS_MAX - reply->span_count - 3, &bytes);
    if (n == 0) {
        store_drop_broken(t->store, *key, cursor->value_serial);
        return CMD_BROKEN;
    }
    if (v)
        put_header(t, req, reply, key->text, v);
    for (unsigned i = 0; i < n; i++)
        reply_span(reply, spans[i].iov_base, spans[i].iov_len);
    cursor->value_at += bytes;
    cursor->window = bytes;
    return CMD_FULL;
}

static void
put_whole(const struct cmd_thread *t, const struct request *req, struct reply *reply,
          struct slice key, const struct store_view *v)
{
    put_header(t, req, reply, key, v);
    if (v->value_bytes > COPY_BYTES_MAX) {
        reply_span(reply, v->value, v->value_bytes);
        put_tail(req, reply);
        return;
    }
    char *at = reply_at(reply);
    memcpy(at, v->value, v->value_bytes);
    memcpy(at + v->value_bytes, "\r\n", 2);    /* where there is no tail it is written over */
    reply_wrote(reply, v->value_bytes + proto_tail_bytes(req));
}

enum cmd_outcome
put_value(struct cmd_thread *t, const struct request *req, const struct store_key *key,
          const struct store_view *v, struct cmd_cursor *cursor, struct reply *reply)
{
    if (LIKELY(v->value != NULL)) {
        put_whole(t, req, reply, key->text, v);
        return CMD_DONE;
    }
    if (v->value_bytes <= CMD_WHOLE_BYTES_MAX)
        return put_pieces(t, req, key, v, reply);
    cursor->value_at = 0;
    cursor->value_bytes = v->value_bytes;
    cursor->value_serial = v->serial;
    enum cmd_outcome outcome = put_window(t, req, key, v, cursor, reply);
    cursor->in_value = outcome == CMD_FULL;
    return outcome;
}

/* One key was not there. */
static enum cmd_outcome
miss(struct cmd_thread *t, const struct request *req, struct slice key, struct reply *reply)
{
    count_miss(t, req, key);
    if (UNLIKELY(req->dialect == DIALECT_BINARY))
        binary_put_miss(req, reply, key);
    return CMD_DONE;
}

/* One key: CMD_DONE whether it was there or not. */
static enum cmd_outcome
get_key(struct cmd_thread *t, const struct request *req, const struct store_key *key,
        struct cmd_cursor *cursor, struct reply *reply)
{
    struct store_view v;
    struct store_get_options touch;
    if (is_gat(req)) {
        touch = (struct store_get_options){.has_expiry = true,
                                           .expiry = expiry_of(t, proto_exptime(req))};
        /* What is told to expire is not there for a second try: it must be sure that it fits. */
        if (store_get(t->store, key, NULL, &v) != STORE_OK)
            return miss(t, req, key->text, reply);
        if (!value_fits(req, &v, key->text, reply))
            return CMD_FULL;
    }
    /* Pieces that are gone: evicted, or the value was replaced since; then the new one is there. */
    for (unsigned round = 0; round < VALUE_ROUNDS_MAX; round++) {
        if (store_get(t->store, key, is_gat(req) ? &touch : NULL, &v) != STORE_OK)
            return miss(t, req, key->text, reply);
        if (UNLIKELY(!value_fits(req, &v, key->text, reply)))
            return CMD_FULL;
        enum cmd_outcome outcome = put_value(t, req, key, &v, cursor, reply);
        if (LIKELY(outcome != CMD_BROKEN)) {
            count_hit(t, req, key->text);
            return outcome;
        }
    }
    return miss(t, req, key->text, reply);
}

enum cmd_outcome
resume_value(struct cmd_thread *t, const struct request *req, const struct store_key *key,
             struct cmd_cursor *cursor, struct reply *reply)
{
    if (cursor->value_at == cursor->value_bytes) {
        cursor->in_value = false;
        put_tail(req, reply);
        return CMD_DONE;
    }
    if (!reply->windows) {
        reply->wanted = CMD_WINDOW_BYTES;
        return CMD_FULL;
    }
    return put_window(t, req, key, NULL, cursor, reply);
}

void
cmd_unsent(struct cmd_cursor *cursor, size_t bytes)
{
    CHECK(cursor->in_value && bytes <= cursor->value_at);
    cursor->value_at -= bytes;
}

void
cmd_keep_get(const struct request *req, const char *line, struct cmd_cursor *cursor,
             struct proto_get_rest *out)
{
    struct slice keys = {req->keys.at + cursor->key_at, req->keys.len - cursor->key_at};
    proto_keep_get(req, line, keys, req->key_count - (uint32_t)cursor->key_number, out);
    cursor->key_at = cursor->key_number = 0;
}

bool
cmd_copy_rest(struct cmd_thread *t, struct cmd_cursor *cursor, char *to)
{
    struct iovec spans[REPLY_SPANS_MAX];
    uint64_t at = cursor->value_at;
    while (at < cursor->value_bytes) {
        uint64_t bytes;
        unsigned n = value_spans(t, cursor, at, cursor->value_bytes - at, spans, REPLY_SPANS_MAX,
                                 &bytes);
        if (n == 0)
            return false;
        for (unsigned i = 0; i < n; i++) {
            memcpy(to, spans[i].iov_base, spans[i].iov_len);
            to += spans[i].iov_len;
        }
        at += bytes;
    }
    cursor->value_at = at;
    return true;
}

enum cmd_outcome
run_get(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
        struct reply *reply)
{
    struct slice text;
    size_t stop = cursor->key_number + KEYS_PER_CALL;
    for (size_t next = cursor->key_at; proto_next_key(req, &next, &text);
         cursor->key_at = next, cursor->key_number++) {
        size_t room = proto_value_header_max(text.len) + COPY_BYTES_MAX + 2;
        if (UNLIKELY(!reply_has_room(reply, room, 2) || cursor->key_number == stop))
            return CMD_FULL;
        struct store_key key = key_of(t, req, text, cursor->key_number);
        enum cmd_outcome outcome = UNLIKELY(cursor->in_value)
                                       ? resume_value(t, req, &key, cursor, reply)
                                       : get_key(t, req, &key, cursor, reply);
        if (UNLIKELY(outcome != CMD_DONE))
            return outcome;
    }
    if (!reply_has_room(reply, LINE_BYTES, 0))
        return CMD_FULL;
    *cursor = (struct cmd_cursor){0};
    if (LIKELY(req->dialect != DIALECT_BINARY))
        reply_text(reply, PROTO_END);
    return CMD_DONE;
}

bool
touch_entry(struct cmd_thread *t, const struct request *req, struct store_view *out_view)
{
    struct store_get_options options = {.has_expiry = true,
                                        .expiry = expiry_of(t, proto_exptime(req))};
    count(t, CMD_cmd_touch);
    struct store_key key = key_of(t, req, req->key, 0);
    if (store_get(t->store, &key, &options, out_view) == STORE_OK) {
        count(t, CMD_touch_hits);
        return true;
    }
    count(t, CMD_touch_misses);
    return false;
}

enum cmd_outcome
run_touch(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
          struct reply *reply)
{
    (void)cursor;
    struct store_view v;
    return answer(req, reply, touch_entry(t, req, &v) ? PROTO_TOUCHED : PROTO_NOT_FOUND);
}
