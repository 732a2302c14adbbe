/*
 * fuzz_text.c -- any bytes as a stream of text and meta requests.
 *
 * Each request of the stream is parsed, checked, and stepped over as a connection would: its bytes,
 * then what it swallows.  What must hold of every one:
 *
 *   - nothing outside the input is read (it lies in a block of exactly its size) or pointed to;
 *   - the outcome says how many bytes were used, and these bytes alone mean the same;
 *   - shorter inputs are never complete, and what they taught about `searched` may be kept;
 *   - keys are 1 to 250 bytes long, and as many as were counted.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "proto/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_inside(struct slice part, const char *in, size_t len)
{
    CHECK(part.len == 0 || (part.at >= in && part.len <= len
                            && (size_t)(part.at - in) <= len - part.len));
}

static void
check_keys(const struct request *req)
{
    struct slice key;
    size_t cursor = 0;
    uint32_t count = 0;
    while (proto_next_key(req, &cursor, &key)) {
        CHECK(key.len > 0 && key.len <= PROTO_KEY_BYTES_MAX);
        CHECK(!memchr(key.at, ' ', key.len) && !memchr(key.at, '\n', key.len));
        CHECK(count > 0 || (key.at == req->key.at && key.len == req->key.len));
        check_inside(key, req->keys.at, req->keys.len);
        count++;
    }
    CHECK(count == req->key_count);
}

static void
check_error(const struct request *req)
{
    const struct slice error = req->error;
    CHECK(req->verb == VERB_BAD || error.len == 0);
    CHECK(req->verb == VERB_BAD || req->swallow_bytes == 0);
    CHECK(error.len == 0 || memcmp(error.at + error.len - 2, "\r\n", 2) == 0);
    CHECK(error.len == 0 || !req->noreply);
}

/* A key that came in base64 lies in the request. */
static bool
is_decoded(const struct request *req)
{
    return req->dialect == DIALECT_META && req->verb != VERB_BAD && req->more.key_encoded;
}

static void
check_request(enum parse outcome, const struct request *req, const char *in, size_t len)
{
    CHECK(req->verb < VERB_COUNT);
    if (is_decoded(req)) {
        check_inside(req->key, req->more.key_room, sizeof req->more.key_room);
    } else {
        check_inside(req->key, in, req->line_bytes);
    }
    check_inside(req->keys, in, req->line_bytes);
    check_inside(req->args, in, req->line_bytes);
    CHECK(req->key.len <= PROTO_KEY_BYTES_MAX);
    CHECK(in[req->line_bytes - 1] == '\n');
    CHECK(!memchr(in, '\n', req->line_bytes - 1));
    check_error(req);
    if (verb_is_get(req->verb)) {
        CHECK(req->key_count > 0);
        check_keys(req);
    }
    if (!verb_is_store(req->verb)) {
        CHECK(outcome == PARSE_DONE && !req->value);
        return;
    }
    CHECK(req->key.len > 0 && req->value_bytes <= PROTO_VALUE_BYTES_MAX);
    CHECK((outcome == PARSE_BODY) == (len - req->line_bytes < req->value_bytes + 2));
    CHECK((outcome == PARSE_DONE) == (req->value == in + req->line_bytes));
    if (outcome == PARSE_DONE) {
        CHECK(req->bad_chunk == (memcmp(req->value + req->value_bytes, "\r\n", 2) != 0));
    }
}

/* Two requests parsed from copies of the same bytes. */
static void
check_equal(const struct request *a, const char *a_in, const struct request *b, const char *b_in)
{
    CHECK(a->verb == b->verb && a->noreply == b->noreply && a->has_number == b->has_number
          && a->bad_number == b->bad_number && a->client_flags == b->client_flags
          && a->exptime == b->exptime && a->number == b->number
          && a->key_count == b->key_count && a->value_bytes == b->value_bytes
          && a->line_bytes == b->line_bytes && a->swallow_bytes == b->swallow_bytes);
    CHECK(slice_equal(a->error, b->error));
    CHECK(slice_equal(a->key, b->key) && is_decoded(a) == is_decoded(b));
    CHECK(!a->key.len || is_decoded(a) || a->key.at - a_in == b->key.at - b_in);
    CHECK(a->keys.len == b->keys.len && (!a->keys.len || a->keys.at - a_in == b->keys.at - b_in));
    CHECK(a->args.len == b->args.len && (!a->args.len || a->args.at - a_in == b->args.at - b_in));
}

/* The first `cut` bytes alone: an earlier view of the same connection. */
static void
check_cut(const char *in, size_t cut, const struct request *whole, size_t whole_used)
{
    char *copy = malloc(cut ? cut : 1);
    memcpy(copy, in, cut);
    struct request req = {.verb = VERB_COUNT};
    size_t searched = 0, used = 0;
    enum parse outcome = proto_parse(copy, cut, &searched, &req, &used);
    if (cut >= whole_used) {
        CHECK(outcome == PARSE_DONE && used == whole_used);
        check_equal(&req, copy, whole, in);
    } else if (cut >= whole->line_bytes) {
        CHECK(outcome == PARSE_BODY && used == whole->line_bytes && !req.value);
        check_equal(&req, copy, whole, in);
    } else if (outcome == PARSE_MORE) {
        CHECK(used == 0 && searched == cut && req.verb == VERB_COUNT);
        /* What was learnt holds for the whole. */
        CHECK(proto_parse(in, whole_used, &searched, &req, &used) == PARSE_DONE);
        CHECK(used == whole_used);
        check_equal(&req, in, whole, in);
    } else {
        CHECK(outcome == PARSE_BAD && cut > PROTO_LINE_BYTES_MAX);
    }
    free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *in = (const char *)data;
    for (size_t left = size; left > 0;) {
        struct request req;
        size_t searched = 0, used = 0;
        enum parse outcome = proto_parse(in, left, &searched, &req, &used);
        if (outcome == PARSE_MORE || outcome == PARSE_BAD) {
            CHECK(used == 0);
            CHECK(outcome == PARSE_BAD || !memchr(in, '\n', left));
            break;
        }
        CHECK(used >= req.line_bytes && used <= left);
        check_request(outcome, &req, in, left);
        if (outcome == PARSE_BODY) {
            break;
        }
        check_cut(in, 0, &req, used);
        check_cut(in, req.line_bytes / 2, &req, used);
        check_cut(in, req.line_bytes - 1, &req, used);
        check_cut(in, req.line_bytes, &req, used);
        check_cut(in, used - 1, &req, used);
        check_cut(in, used, &req, used);
        size_t step = req.swallow_bytes < left - used ? used + req.swallow_bytes : left;
        in += step;
        left -= step;
    }
    return 0;
}
