/*
 * input.c -- receiving, and keeping what is not a whole request yet.
 *
 * Connections of one turn receive one after the other into the worker's arena.  Kept bytes are
 * copied in front of what arrives, so that a request cut by the network is parsed in one piece and
 * what follows it comes by the same call; that is cheaper than a second recv up to several KiB.
 * A long data block whose length is known, or a very long line, is received straight into the
 * connection's own buffer instead.
 *
 * One recv per turn: where it is filled, the loop reports the connection again.
 */
#include "worker.h"

#include <stdlib.h>

/* False: out of memory, nothing has changed. */
static bool
resize(struct conn_worker *w, struct conn *c, size_t cap)
{
    CHECK(cap <= UINT32_MAX && cap >= c->in_len);
    char *in = realloc(c->in, cap);
    if (in == NULL) {
        conn_count(w, CONN_malloc_fails, 1);
        return false;
    }
    conn_count(w, CONN_conn_memory_bytes, (uint64_t)cap - c->in_cap);
    if (cap < c->in_cap)
        purse_freed(w, c->in_cap - cap);
    c->in = in;
    c->in_cap = (uint32_t)cap;
    return true;
}

static void
move_to_front(struct conn *c)
{
    if (c->in_at > 0) {
        memmove(c->in, c->in + c->in_at, c->in_len);
        c->in_at = 0;
    }
}

void
input_drop(struct conn_worker *w, struct conn *c)
{
    if (c->in == NULL)
        return;
    conn_count(w, CONN_conn_memory_bytes, -(uint64_t)c->in_cap);
    free(c->in);
    purse_freed(w, c->in_cap);
    c->in = NULL;
    c->in_at = c->in_len = c->in_cap = 0;
}

/* The buffer a visit has used may be far too large for what is left of its input. */
static void
keep_in_place(struct conn_worker *w, struct visit *v)
{
    struct conn *c = v->conn;
    c->in_at += (uint32_t)v->done;
    c->in_len = (uint32_t)(v->len - v->done);
    if (c->need == 0 && c->in_cap > CONN_FREE_BYTES && c->in_len <= c->in_cap / 4) {
        move_to_front(c);
        resize(w, c, c->in_len);    /* fails: the buffer stays large */
    }
}

bool
input_keep(struct conn_worker *w, struct visit *v)
{
    struct conn *c = v->conn;
    size_t rest = v->len - v->done;
    if (rest == 0) {
        if (UNLIKELY(c->in != NULL))
            input_drop(w, c);
        return true;
    }
    if (c->in != NULL && v->in == c->in + c->in_at) {
        keep_in_place(w, v);
        return true;
    }
    c->in_at = c->in_len = 0;
    if (c->in_cap < rest) {
        size_t cap = c->need > rest ? c->need : rest;
        size_t beside = purse_held(c) - c->in_cap;
        if (!purse_cover(w, c, beside + cap)) {
            cap = rest;    /* received bytes are kept in any case */
            if (!purse_force(w, c, beside + cap))
                return false;
        }
        if (!resize(w, c, cap))
            return false;
    }
    memcpy(c->in, v->in + v->done, rest);
    c->in_len = (uint32_t)rest;
    return true;
}

/* Room in the connection's own buffer.  False: it waits for memory, or is closed. */
static bool
room_in_own(struct conn_worker *w, struct conn *c, size_t *out_room)
{
    move_to_front(c);
    size_t cap = c->need;
    if (cap == 0 && c->in_cap - c->in_len < CONN_FREE_BYTES)
        cap = c->in_len + (c->in_len > CONN_FREE_BYTES ? c->in_len : CONN_FREE_BYTES);
    if (cap > c->in_cap) {
        size_t total = purse_held(c) - c->in_cap + cap;
        if (!purse_cover(w, c, total)) {
            c->lent_wanted = total;
            conn_wait_for(w, c, CONN_WAIT_MEMORY);
            return false;
        }
        if (!resize(w, c, cap)) {
            conn_close(w, c, "out of memory");
            return false;
        }
    }
    *out_room = c->in_cap - c->in_len;
    return true;
}

/* Where the next bytes go: false as above, or when the arena is full. */
static bool
find_room(struct conn_worker *w, struct visit *v, size_t *out_room)
{
    struct conn *c = v->conn;
    size_t kept = c->in_len;
    bool own = w->starved ? kept >= CONN_FREE_BYTES || c->need > CONN_FREE_BYTES
                          : kept > INPUT_CARRY_MAX || c->need > kept + INPUT_RECV_MAX;
    if (UNLIKELY(own)) {
        if (!room_in_own(w, c, out_room))
            return false;
        v->in = c->in;
        return true;
    }
    size_t left = INPUT_ARENA_BYTES - w->arena_used;
    if (left < kept + INPUT_RECV_MIN)
        return false;
    v->in = w->arena + w->arena_used;
    if (kept > 0)
        memcpy(v->in, c->in + c->in_at, kept);
    size_t most = UNLIKELY(w->starved) ? CONN_FREE_BYTES - kept : INPUT_RECV_MAX;
    *out_room = left - kept < most ? left - kept : most;
    return true;
}

/* What is to be thrown away is thrown away; is there something to parse? */
static bool
accept_input(struct visit *v)
{
    struct conn *c = v->conn;
    if (UNLIKELY(c->swallow > 0)) {
        size_t n = c->swallow < v->len ? (size_t)c->swallow : v->len;
        c->swallow -= n;
        v->done = v->parsed = n;
    }
    return v->done < v->len && v->len >= c->need;
}

static bool
receive(struct conn_worker *w, struct visit *v)
{
    struct conn *c = v->conn;
    size_t room;
    if (!find_room(w, v, &room))
        return false;
    ssize_t n = wire_recv(&c->wire, v->in + c->in_len, room);
    if (UNLIKELY(n <= 0)) {
        if (n < 0 && wire_is_later(n) && !c->hung_up)
            conn_rest(w, c);
        else
            conn_close(w, c, n == 0 ? "by its client" : "its client has gone");
        return false;
    }
    v->len = c->in_len + (size_t)n;
    if (v->in != c->in)
        w->arena_used += v->len;
    conn_moved(w, c, (size_t)n);
    conn_count(w, CONN_bytes_read, (size_t)n);
    if (accept_input(v))
        return true;
    visit_finish(w, v);
    return false;
}

bool
input_receive(struct conn_worker *w, struct visit *v)
{
    struct conn *c = v->conn;
    if (UNLIKELY(c->out != NULL)) {
        if (!output_flush(w, c)) {
            if (c->broken)
                conn_close(w, c, c->why);
            else
                conn_wait_for(w, c, CONN_WAIT_OUTPUT);
            return false;
        }
        if (c->closing) {
            conn_close(w, c, c->why);
            return false;
        }
        if (!c->in_ready) {
            conn_rest(w, c);
            return false;
        }
    }
    if (UNLIKELY(c->upload != NULL)) {
        body_receive(w, v);
        return false;
    }
    if (UNLIKELY(c->in_ready)) {
        v->in = c->in + c->in_at;
        v->len = c->in_len;
    } else if (!receive(w, v)) {
        return false;
    }
    c->need = 0;
    conn_show(c, CONN_STATE_PARSE_CMD);
    return true;
}
