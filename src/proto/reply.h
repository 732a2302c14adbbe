/*
 * reply.h -- what is to be sent on one connection: text in the worker's buffer and spans of memory
 * that lies elsewhere (values in the store), in the order in which they go out.
 *
 *     buf   [STORED\r\nVALUE k 0 9000\r\n ........ \r\nEND\r\n ............. room ]
 *     spans [ buf 0..27 ][ store, 9000 bytes ][ buf 27..34 ]
 *
 * A reply is written by cmd/ and sent by conn/.  Nothing is appended without room: callers ask
 * reply_has_room() first and leave the request for later where there is none.
 *
 * Owner: one worker; buf belongs to the worker; spans of the store are valid until the end of the
 * wake-up.  block is heap memory owned by the reply (a long list of statistics).
 */
#ifndef PROTO_REPLY_H
#define PROTO_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "base/check.h"

#define REPLY_SPANS_MAX 128

struct reply {
    char *buf;
    size_t cap, len;                      /* of buf */
    size_t bytes;                         /* of all spans */
    unsigned span_count;
    struct iovec spans[REPLY_SPANS_MAX];
    char *block;                          /* malloc'ed, freed by reply_clear; NULL mostly */

    /* Set by conn/ before a request is executed, kept by gets and appends. */
    size_t bytes_max;                     /* a value that would take `bytes` above this stays out */
    bool windows;                         /* parts of longer values may go in */
    bool appends;                         /* a long value may be made: one, then false */
    size_t wanted;                        /* what the value that stayed out for that needs; or 0 */
};

/* buf must outlive the reply. */
void reply_init(struct reply *r, char *buf, size_t cap);

/* Forgets what was written, frees block. */
void reply_clear(struct reply *r);

/* Room for `text` more bytes of text and `spans` spans of memory elsewhere. */
static inline bool
reply_has_room(const struct reply *r, size_t text, unsigned spans)
{
    return r->cap - r->len >= text && r->span_count + 2 * spans + 1 <= REPLY_SPANS_MAX;
}

/* Where the next `reply_wrote` bytes of text go; at most cap - len of them. */
static inline char *
reply_at(struct reply *r)
{
    return r->buf + r->len;
}

/* `n` bytes were written at reply_at(). */
static inline void
reply_wrote(struct reply *r, size_t n)
{
    DCHECK(n <= r->cap - r->len);
    char *at = r->buf + r->len;
    struct iovec *last = r->span_count ? &r->spans[r->span_count - 1] : NULL;
    if (last && (char *)last->iov_base + last->iov_len == at) {
        last->iov_len += n;
    } else {
        CHECK(r->span_count < REPLY_SPANS_MAX);
        r->spans[r->span_count++] = (struct iovec){at, n};
    }
    r->len += n;
    r->bytes += n;
}

static inline void
reply_text(struct reply *r, struct slice text)
{
    CHECK(r->cap - r->len >= text.len);
    memcpy(reply_at(r), text.at, text.len);
    reply_wrote(r, text.len);
}

/* Memory that stays where it is until it is sent. */
static inline void
reply_span(struct reply *r, const char *at, size_t n)
{
    CHECK(r->span_count < REPLY_SPANS_MAX);
    r->spans[r->span_count++] = (struct iovec){(void *)(uintptr_t)at, n};
    r->bytes += n;
}

#endif
