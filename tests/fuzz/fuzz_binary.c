/*
 * fuzz_binary.c -- any bytes as a stream of binary packets.
 *
 * Each packet of the stream is parsed, checked, and stepped over as a connection would: its bytes,
 * then what it swallows.  What must hold of every one:
 *
 *   - nothing outside the input is read (it lies in a block of exactly its size) or pointed to;
 *   - the outcome says how many bytes were used, and these bytes alone mean the same;
 *   - shorter inputs are never complete, and leave the request as it was;
 *   - the parts add up to what the header says, and are those that the verb may have.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/packet.h"
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
check_refused(const struct request *req, const char *in)
{
    uint32_t body = (uint32_t)packet_get(in + 8, 4);
    CHECK(req->line_bytes == 24 && req->key.len == 0 && req->key_count == 0);
    CHECK(req->more.status == BINARY_UNKNOWN_COMMAND || req->more.status == BINARY_INVALID);
    CHECK(req->more.hang_up || req->more.status == BINARY_UNKNOWN_COMMAND);
    CHECK(req->swallow_bytes == (req->more.hang_up ? 0 : body));
    CHECK(req->swallow_bytes <= PROTO_BINARY_BODY_BYTES_MAX);
}

static void
check_accepted(enum parse outcome, const struct request *req, const char *in, size_t len)
{
    uint32_t body = (uint32_t)packet_get(in + 8, 4);
    CHECK(req->swallow_bytes == 0 && !req->more.hang_up);
    CHECK(req->line_bytes + req->value_bytes == 24ull + body);
    CHECK(req->key.len + req->args.len == packet_get(in + 2, 2));
    CHECK(req->key_count == (req->key.len > 0));
    CHECK((req->more.cas == packet_get(in + 16, 8)) && req->more.has_cas == (req->more.cas != 0));
    CHECK(req->verb != VERB_CAS || (req->more.has_cas && req->number == req->more.cas));
    if (!verb_is_store(req->verb)) {
        CHECK(outcome == PARSE_DONE && !req->value && req->value_bytes == 0);
        return;
    }
    CHECK(req->key.len > 0);
    CHECK((outcome == PARSE_BODY) == (len - req->line_bytes < req->value_bytes));
    CHECK((outcome == PARSE_DONE) == (req->value == in + req->line_bytes));
}

static void
check_request(enum parse outcome, const struct request *req, const char *in, size_t len)
{
    CHECK(req->verb < VERB_COUNT && req->dialect == DIALECT_BINARY);
    CHECK(req->more.opcode == (uint8_t)in[1] && memcmp(&req->more.opaque, in + 12, 4) == 0);
    check_inside(req->key, in, req->line_bytes);
    check_inside(req->args, in, req->line_bytes);
    CHECK(req->key.len <= PROTO_KEY_BYTES_MAX && req->args.len <= PROTO_KEY_BYTES_MAX);
    CHECK(req->keys.len == 0 && req->error.len == 0 && !req->bad_chunk);
    if (req->verb == VERB_BAD)
        check_refused(req, in);
    else
        check_accepted(outcome, req, in, len);
}

/* The first `cut` bytes alone: an earlier view of the same connection. */
static void
check_cut(const char *in, size_t cut, const struct request *whole, size_t whole_used)
{
    char *copy = malloc(cut ? cut : 1);
    memcpy(copy, in, cut);
    struct request req = {.verb = VERB_COUNT};
    size_t used;
    enum parse outcome = proto_parse_binary(copy, cut, &req, &used);
    if (cut >= whole_used)
        CHECK(outcome == PARSE_DONE && used == whole_used);
    else if (cut >= whole->line_bytes)
        CHECK(outcome == PARSE_BODY && used == whole->line_bytes && !req.value);
    else
        CHECK(outcome == PARSE_MORE && used == 0 && req.verb == VERB_COUNT);
    if (outcome != PARSE_MORE) {
        CHECK(req.verb == whole->verb && req.noreply == whole->noreply);
        CHECK(req.exptime == whole->exptime && req.client_flags == whole->client_flags);
        CHECK(req.number == whole->number && req.value_bytes == whole->value_bytes);
        CHECK(req.more.initial == whole->more.initial && req.more.status == whole->more.status);
        CHECK(slice_equal(req.key, whole->key) && slice_equal(req.args, whole->args));
    }
    free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *in = (const char *)data;
    for (size_t left = size; left > 0;) {
        struct request req;
        size_t used = 1;
        enum parse outcome = proto_parse_binary(in, left, &req, &used);
        if (outcome == PARSE_MORE || outcome == PARSE_BAD) {
            CHECK(used == 0);
            CHECK((outcome == PARSE_BAD) == ((uint8_t)in[0] != PROTO_BINARY_MAGIC));
            break;
        }
        CHECK(used >= req.line_bytes && used <= left);
        check_request(outcome, &req, in, left);
        if (outcome == PARSE_BODY || req.more.hang_up)
            break;
        check_cut(in, 0, &req, used);
        check_cut(in, 23, &req, used);
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
