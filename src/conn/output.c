/*
 * output.c -- sending a reply, and keeping what the socket does not take.
 *
 * Spans of a reply may lie in the store and are valid in this wake-up only, so the rest is copied
 * at once.  A partial send is not tried again in the same turn: the socket is full.
 */
#include "worker.h"

#include <stdlib.h>

static void
copy_rest(const struct reply *r, size_t sent, char *to)
{
    for (unsigned i = 0; i < r->span_count; i++) {
        const struct iovec *span = &r->spans[i];
        if (sent >= span->iov_len) {
            sent -= span->iov_len;
            continue;
        }
        size_t n = span->iov_len - sent;
        memcpy(to, (const char *)span->iov_base + sent, n);
        to += n;
        sent = 0;
    }
}

/* False: out of memory. */
static bool
keep_rest(struct conn_worker *w, struct conn *c, size_t sent)
{
    size_t rest = w->reply.bytes - sent;
    /* Refused: kept all the same.  worker.h says why that is bounded. */
    purse_cover(w, c, purse_held(c) + rest);
    c->out = malloc(rest);
    if (c->out == NULL) {
        conn_count(w, CONN_malloc_fails, 1);
        return false;
    }
    c->out_at = 0;
    c->out_len = rest;
    c->progress_s = w->now_s;
    conn_count(w, CONN_conn_memory_bytes, rest);
    copy_rest(&w->reply, sent, c->out);
    return true;
}

static void
forget_reply(struct reply *r)
{
    if (UNLIKELY(r->block != NULL)) {
        reply_clear(r);
        return;
    }
    r->len = 0;
    r->bytes = 0;
    r->span_count = 0;
}

bool
output_send(struct conn_worker *w, struct conn *c, size_t *sent)
{
    struct reply *r = &w->reply;
    if (r->bytes == 0) {
        r->span_count = 0;    /* a silenced reply may have left an empty one */
        return true;
    }
    DCHECK(c->out == NULL);
    ssize_t n = wire_sendv(&c->wire, r->spans, r->span_count);
    if (UNLIKELY(n < 0)) {
        c->broken = !wire_is_later(n);
        n = 0;
    }
    *sent += (size_t)n;
    conn_count(w, CONN_bytes_written, (size_t)n);
    bool all = (size_t)n == r->bytes;
    if (UNLIKELY(!all) && !c->broken)
        c->broken = !keep_rest(w, c, (size_t)n);
    forget_reply(r);
    return all;
}

bool
output_flush(struct conn_worker *w, struct conn *c)
{
    struct iovec rest = {c->out + c->out_at, c->out_len - c->out_at};
    ssize_t n = wire_sendv(&c->wire, &rest, 1);
    if (n < 0) {
        c->broken = c->hung_up || !wire_is_later(n);
        return false;
    }
    conn_count(w, CONN_bytes_written, (size_t)n);
    c->out_at += (size_t)n;
    if (n > 0)
        c->progress_s = w->now_s;
    if (c->out_at < c->out_len)
        return false;
    output_drop(w, c);
    purse_settle(w, c);
    return true;
}

void
output_drop(struct conn_worker *w, struct conn *c)
{
    conn_count(w, CONN_conn_memory_bytes, -(uint64_t)c->out_len);
    free(c->out);
    c->out = NULL;
    c->out_at = c->out_len = 0;
}
