/*
 * fuzz_meta.c -- any bytes as the rest of a meta command's line, and as a key in base64.
 *
 * fuzz_text.c has checked where requests end and what errors look like, whatever the command.  What
 * must hold here:
 *
 *   - a good request has a key of 1 to 250 bytes, in the line or decoded in its own room;
 *   - flags lie in the line; each is a letter that occurs once, and these are the letters told;
 *   - parsing the same bytes into a request full of other rubbish gives the same;
 *   - what an ms keeps of its flags fits its room, and is what a reply repeats;
 *   - a key in a reply fits its room, and is decoded to itself where it was encoded.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "proto/base64.h"
#include "proto/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINE_BYTES_MAX 4096u

static void
check_flags(const struct request *req, const char *in, size_t len)
{
    struct slice flag;
    uint64_t letters = 0;
    for (size_t at = 0; proto_next_flag(req, &at, &flag);) {
        CHECK(flag.at >= in && flag.at + flag.len <= in + len && flag.len > 0);
        CHECK(!memchr(flag.at, ' ', flag.len));
        CHECK(strchr("bNTRlOPLkstcfvhuqxFCEMJDI", flag.at[0]) && flag.at[0]);
        CHECK(!(letters & META_FLAG(flag.at[0])));
        CHECK(flag.at[0] != 'O' || flag.len <= PROTO_OPAQUE_BYTES_MAX);
        letters |= META_FLAG(flag.at[0]);
    }
    CHECK(req->verb == VERB_ME || letters == req->more.letters);
    CHECK(req->more.has_cas == !!(letters & META_FLAG('C')) || req->verb == VERB_ME);
}

static void
check_key(const struct request *req, const char *in, size_t len)
{
    const struct slice key = req->key;
    char *room = malloc(PROTO_META_KEY_CHARS_MAX), *back = malloc(PROTO_KEY_BYTES_MAX);
    bool encoded = req->more.key_encoded;
    CHECK(room && back && key.len > 0 && key.len <= PROTO_KEY_BYTES_MAX && req->key_count == 1);
    CHECK(encoded ? key.at == req->more.key_room : key.at > in && key.at + key.len < in + len);
    size_t n = proto_put_meta_key(room, key, encoded, &encoded);
    CHECK(encoded == req->more.key_encoded || memchr(key.at, ' ', key.len) == NULL);
    if (encoded)
        CHECK(base64_decode(back, (struct slice){room, n}) == key.len &&
              memcmp(back, key.at, key.len) == 0);
    else
        CHECK(n == key.len && memcmp(room, key.at, n) == 0);
    free(room);
    free(back);
}

/* The opaque and the order stay. */
static void
check_kept(const struct request *req)
{
    struct request kept = *req;
    struct slice flag, copy;
    size_t at = 0;
    char *room = malloc(PROTO_KEPT_FLAGS_BYTES);
    CHECK(room);
    proto_keep_flags(&kept, room);
    for (size_t from = 0; proto_next_flag(req, &from, &flag);) {
        if (!strchr("Oksc", flag.at[0]))
            continue;
        CHECK(proto_next_flag(&kept, &at, &copy) && copy.at[0] == flag.at[0]);
        CHECK(flag.at[0] != 'O' || slice_equal(flag, copy));
    }
    CHECK(!proto_next_flag(&kept, &at, &copy));
    free(room);
}

static void
check_same(const struct request *a, const struct request *b)
{
    CHECK(a->verb == b->verb && a->dialect == b->dialect && a->noreply == b->noreply
          && a->client_flags == b->client_flags && a->exptime == b->exptime
          && a->number == b->number && a->value_bytes == b->value_bytes
          && a->swallow_bytes == b->swallow_bytes && slice_equal(a->key, b->key)
          && slice_equal(a->error, b->error));
    CHECK(a->dialect != DIALECT_META || a->verb == VERB_BAD
          || (a->more.letters == b->more.letters && a->more.cas == b->more.cas
              && a->more.cas_new == b->more.cas_new && a->more.initial == b->more.initial
              && a->more.vivify_exptime == b->more.vivify_exptime
              && a->more.recache_exptime == b->more.recache_exptime
              && a->more.has_cas == b->more.has_cas && a->more.decrement == b->more.decrement
              && a->more.key_encoded == b->more.key_encoded
              && slice_equal(a->more.flags, b->more.flags)));
}

static void
check_line(const char *in, size_t len)
{
    struct request req, again;
    size_t searched = 0, used, used_again;
    memset(&req, 0xa5, sizeof req);
    memset(&again, 0x5a, sizeof again);
    enum parse outcome = proto_parse(in, len, &searched, &req, &used);
    searched = 0;
    CHECK(proto_parse(in, len, &searched, &again, &used_again) == outcome);
    if (outcome != PARSE_DONE && outcome != PARSE_BODY)
        return;
    CHECK(used == used_again);
    check_same(&req, &again);
    if (req.verb == VERB_BAD || req.dialect != DIALECT_META)
        return;
    CHECK(!req.noreply && verb_is_store(req.verb) == (in[1] == 's'));
    check_key(&req, in, req.line_bytes);
    check_flags(&req, in, req.line_bytes);
    check_kept(&req);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char commands[] = "gsdae";
    if (size == 0 || size > LINE_BYTES_MAX)
        return 0;
    size_t len = size - 1 + 5;         /* "mg " and CR LF */
    char *line = malloc(len);
    CHECK(line);
    memcpy(line, (char[3]){'m', commands[data[0] % 5], ' '}, 3);
    memcpy(line + 3, data + 1, size - 1);
    memcpy(line + len - 2, "\r\n", 2);
    check_line(line, len);
    free(line);
    return 0;
}
