/*
 * reply.c -- what replies are made of: a buffer that is started and cleared, the lines that several
 * commands share, and the header of a value.
 *
 * The header is written once per hit, so it is put together by hand: sprintf alone would cost twice
 * as much as everything else a small get does.
 */
#include "reply.h"

#include <stdlib.h>

#include "base/num.h"
#include "proto.h"

#define LINE(text) {text "\r\n", sizeof(text "\r\n") - 1}

const struct slice PROTO_ERROR = LINE("ERROR");
const struct slice PROTO_BAD_FORMAT = LINE("CLIENT_ERROR bad command line format");
const struct slice PROTO_BAD_CHUNK = LINE("CLIENT_ERROR bad data chunk");
const struct slice PROTO_BAD_EXPTIME = LINE("CLIENT_ERROR invalid exptime argument");
const struct slice PROTO_BAD_DELTA = LINE("CLIENT_ERROR invalid numeric delta argument");
const struct slice PROTO_NON_NUMERIC =
    LINE("CLIENT_ERROR cannot increment or decrement non-numeric value");
const struct slice PROTO_TOO_LARGE = LINE("SERVER_ERROR object too large for cache");
const struct slice PROTO_NO_MEMORY_STORING = LINE("SERVER_ERROR out of memory storing object");
const struct slice PROTO_NO_MEMORY = LINE("SERVER_ERROR out of memory");
const struct slice PROTO_LINE_TOO_LONG = LINE("SERVER_ERROR out of memory reading request");
const struct slice PROTO_STORED = LINE("STORED");
const struct slice PROTO_NOT_STORED = LINE("NOT_STORED");
const struct slice PROTO_EXISTS = LINE("EXISTS");
const struct slice PROTO_NOT_FOUND = LINE("NOT_FOUND");
const struct slice PROTO_DELETED = LINE("DELETED");
const struct slice PROTO_TOUCHED = LINE("TOUCHED");
const struct slice PROTO_OK = LINE("OK");
const struct slice PROTO_END = LINE("END");
const struct slice PROTO_MN = LINE("MN");
const struct slice PROTO_RESET = LINE("RESET");

/* The spans are written before they are read: nothing but the counts needs a value. */
void
reply_init(struct reply *r, char *buf, size_t cap)
{
    r->buf = buf;
    r->cap = cap;
    r->len = 0;
    r->bytes = 0;
    r->span_count = 0;
    r->block = NULL;
    r->bytes_max = SIZE_MAX;
    r->windows = true;
    r->wanted = 0;
}

void
reply_clear(struct reply *r)
{
    free(r->block);
    r->block = NULL;
    r->len = 0;
    r->bytes = 0;
    r->span_count = 0;
}

size_t
proto_put_value_header(char *at, struct slice key, uint32_t client_flags, uint32_t value_bytes,
                       bool with_cas, uint64_t cas)
{
    char *p = at;
    memcpy(p, "VALUE ", 6);
    p += 6;
    memcpy(p, key.at, key.len);
    p += key.len;
    *p++ = ' ';
    p += num_put_u32(p, client_flags);
    *p++ = ' ';
    p += num_put_u32(p, value_bytes);
    if (with_cas) {
        *p++ = ' ';
        p += num_put_u64(p, cas);
    }
    memcpy(p, "\r\n", 2);
    return (size_t)(p + 2 - at);
}
