/*
 * output.c -- sending a reply, and keeping what the socket does not take.
 *
 * Spans of a reply may lie in the store and are valid in this wake-up only, so the rest is copied
 * at once; but the rest of a long value may stay where it is, the cursor leads to it again.  A
 * partial send is not tried again in the same turn: the socket is full.
 */
#include "worker.h"

#include <stdlib.h>

/* Copies bytes at .. end of the reply. */
static void
copy_part(const struct reply *r, size_t at, size_t end, char *to)
{
    size_t start = 0;
    for (unsigned i = 0; i < r->span_count && start < end; i++) {
        const struct iovec *span = &r->spans[i];
        size_t stop = start + span->iov_len < end ? start + span->iov_len : end;
        if (stop > at) {
            size_t from = start > at ? start : at;
            memcpy(to, (const char *)span->iov_base + (from - start), stop - from);
            to += stop - from;
        }
        start += span->iov_len;
    }
}

static void
own_output(struct conn_worker *w, struct conn *c, char *out, size_t len)
{
    c->out = out;
    c->out_at = 0;
    c->out_len = len;
    conn_count(w, CONN_conn_memory_bytes, len);
}

/* Bytes at .. end of the reply.  False: out of memory. */
static bool
keep_part(struct conn_worker *w, struct conn *c, size_t at, size_t end)
{
    if (!purse_force(w, c, purse_held(c) + end - at))
        return false;
    char *out = malloc(end - at);
    if (out == NULL) {
        conn_count(w, CONN_malloc_fails, 1);
        return false;
    }
    copy_part(&w->reply, at, end, out);
    own_output(w, c, out, end - at);
    return true;
}

/*
 * Bytes at .. end of the reply and all that is left of the value behind them.  False: not now; then
 * the value is gone on with where it lies, if it is still there.
 */
static bool
keep_value(struct conn_worker *w, struct conn *c, size_t at, size_t end)
{
    size_t left = c->cursor.value_bytes - c->cursor.value_at, text = end - at;
    if (left > COPY_OUT_MAX || !purse_cover_spare(w, c, purse_held(c) + text + left))
        return false;
    char *out = malloc(text + left);
    if (out == NULL || !cmd_copy_rest(w->config.cmd, &c->cursor, out + text)) {
        free(out);
        purse_settle(w, c);
        return false;
    }
    copy_part(&w->reply, at, end, out);
    own_output(w, c, out, text + left);
    conn_count_bulk(w, left);
    return true;
}

void
output_forget(struct conn_worker *w)
{
    struct reply *r = &w->reply;
    if (UNLIKELY(r->block != NULL)) {
        reply_clear(r);
        return;
    }
    r->len = 0;
    r->bytes = 0;
    r->span_count = 0;
}

/* What the socket has taken of the reply. */
static size_t
send_reply(struct conn_worker *w, struct conn *c, size_t *sent)
{
    struct reply *r = &w->reply;
    DCHECK(c->out == NULL);
    ssize_t n = wire_sendv(&c->wire, r->spans, r->span_count);
    if (UNLIKELY(n < 0)) {
        c->broken = c->hung_up || !wire_is_later(n);
        n = 0;
    }
    *sent += (size_t)n;
    conn_count(w, CONN_bytes_written, (size_t)n);
    if (UNLIKELY(r->bytes >= BULK_REPLY_MIN))
        conn_count_bulk(w, r->bytes);
    return (size_t)n;
}

bool
output_send(struct conn_worker *w, struct conn *c, size_t *sent)
{
    struct reply *r = &w->reply;
    if (r->bytes == 0) {
        r->span_count = 0;    /* a silenced reply may have left an empty one */
        return true;
    }
    size_t n = send_reply(w, c, sent), end = r->bytes;
    if (UNLIKELY(n < end) && !c->broken) {
        c->broken = !keep_part(w, c, n, end);
        conn_progress(w, c);
    }
    output_forget(w);
    return n == end;
}

/*
 * What of the window is not taken, or all that is left of the value after it: between two turns it
 * can be replaced or evicted, and then the client would have to be cut off.
 */
bool
output_send_window(struct conn_worker *w, struct conn *c, size_t *sent)
{
    struct reply *r = &w->reply;
    size_t n = send_reply(w, c, sent), end = r->bytes, text = end - c->cursor.window;
    size_t from = n > text ? n : text;
    bool all = n == end;
    if (!c->broken && (!all || c->cursor.value_at < c->cursor.value_bytes)) {
        cmd_unsent(&c->cursor, end - from);
        if (keep_value(w, c, n, from))
            all = false;
        else if (n < from)
            c->broken = !keep_part(w, c, n, from);
        conn_moved(w, c, n);
    }
    c->cursor.window = 0;
    output_forget(w);
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
    conn_count_bulk(w, (size_t)n);
    c->out_at += (size_t)n;
    if (n > 0)
        conn_moved(w, c, (size_t)n);
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
    purse_freed(w, c->out_len);
    c->out = NULL;
    c->out_at = c->out_len = 0;
}
