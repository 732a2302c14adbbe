/*
 * body.c -- data blocks of storage requests that are not all in the input.
 *
 * cmd/ decides what becomes of one: short ones are collected (input.c gathers line and block),
 * long ones are received straight into the store's memory, refused ones are thrown away.  An
 * upload and the swallowing of a block own all input of their connection until they are complete.
 */
#include "worker.h"

#define ASIDE_COST_BYTES ((size_t)64 << 10)

static bool
is_still(const struct conn_worker *w, const struct conn *c)
{
    return w->turn - c->upload_turn >= STILL_TURNS;
}

/* Those that were looked at go to the end: a few bytes bring one there as well as many. */
bool
body_reclaim(struct conn_worker *w)
{
    struct list *head = &w->queues[CONN_WAIT_BLOCK], *last = head->prev, *at = NULL;
    for (; at != last && w->looks_left > 0 && !list_empty(head); w->looks_left--) {
        at = head->next;
        struct conn *c = LIST_ENTRY(at, struct conn, queue);
        if (is_still(w, c) && cmd_upload_set_aside(w->config.cmd, c->upload)) {
            conn_count(w, CONN_conn_uploads_set_aside, 1);
            conn_count_bulk(w, ASIDE_COST_BYTES);
            conn_wait_for(w, c, CONN_WAIT_ASIDE);
            w->looks_left--;
            return true;
        }
        list_take(at);
        list_append(head, at);
    }
    return false;
}

/* Not admitted, or no free segment.  RUNS: another try is worth it. */
static enum visit_stop
stopped(struct conn_worker *w, struct conn *c)
{
    if (!cmd_upload_is_aside(c->upload))
        return VISIT_PARKS;
    if (body_reclaim(w))
        return VISIT_RUNS;
    c->lent_wanted = 0;
    return VISIT_WAITS;
}

/* Input that came together with the line.  RUNS: all of it has been taken. */
static enum visit_stop
feed(struct conn_worker *w, struct visit *v)
{
    struct conn *c = v->conn;
    while (v->done < v->len) {
        char *at;
        size_t room;
        if (cmd_upload_room(w->config.cmd, c->upload, &at, &room) == CMD_AGAIN) {
            enum visit_stop stop = stopped(w, c);
            if (stop != VISIT_RUNS)
                return stop;
            continue;
        }
        if (room == 0)
            break;
        size_t n = v->len - v->done < room ? v->len - v->done : room;
        memcpy(at, v->in + v->done, n);
        cmd_upload_filled(w->config.cmd, c->upload, n);
        v->done += n;
    }
    return VISIT_RUNS;
}

static enum visit_stop
begin_upload(struct conn_worker *w, struct visit *v, struct cmd_upload *upload)
{
    struct conn *c = v->conn;
    c->upload = upload;
    if (!purse_force(w, c, purse_held(c))) {
        c->closing = c->broken = true;    /* gently: answers before it are on their way */
        c->why = "out of memory";
        return VISIT_CLOSES;
    }
    return feed(w, v);
}

/*
 * What stands before it is sent first: the upload of a client that does not read its answers would
 * keep its share where it cannot be set aside.
 */
enum visit_stop
body_begin(struct conn_worker *w, struct visit *v, const struct request *req)
{
    struct conn *c = v->conn;
    if (!visit_send(w, v))
        return VISIT_BLOCKED;
    size_t block = req->value_bytes + proto_tail_bytes(req);
    size_t there = v->len - v->done - req->line_bytes;
    struct cmd_upload *upload;
    enum cmd_body body;
    do {
        body = cmd_begin_body(w->config.cmd, req, &w->reply, &upload);
    } while (body == CMD_BODY_AGAIN && body_reclaim(w));
    switch (body) {
    case CMD_BODY_COLLECT:
        c->need = req->line_bytes + block;
        return VISIT_RUNS;
    case CMD_BODY_UPLOAD:
        v->done += req->line_bytes;
        return begin_upload(w, v, upload);
    case CMD_BODY_SWALLOW:
        c->swallow = block - there;
        v->done = v->len;
        return VISIT_RUNS;
    case CMD_BODY_AGAIN:
        break;
    }
    c->lent_wanted = 0;
    c->awaited = block - there;
    return VISIT_WAITS;
}

static enum visit_stop
complete(struct conn_worker *w, struct visit *v)
{
    struct conn *c = v->conn;
    for (;;) {
        switch (cmd_upload_finish(w->config.cmd, c->upload, &w->reply)) {
        case CMD_DONE:
            c->upload = NULL;
            purse_freed(w, CMD_UPLOAD_BYTES);
            return VISIT_RUNS;
        case CMD_FULL:
            if (!visit_send(w, v))
                return VISIT_BLOCKED;
            break;
        case CMD_QUEUE:
            if (w->reply.appends)
                conn_count_bulk(w, CMD_APPEND_BYTES);
            return VISIT_APPENDS;
        case CMD_AGAIN:
            return cmd_upload_is_appended(c->upload) ? VISIT_APPENDS : VISIT_PARKS;
        case CMD_CLOSE:
        case CMD_BROKEN:
            c->broken = true;
            c->why = "its upload cannot go on";
            return VISIT_CLOSES;
        }
    }
}

/*
 * Receives until the socket is drained, the block is complete or the quantum is used up.
 */
static enum visit_stop
receive_block(struct conn_worker *w, struct visit *v)
{
    struct conn *c = v->conn;
    size_t received = 0;
    while (received < w->config.bytes_per_turn) {
        char *at;
        size_t room;
        if (cmd_upload_room(w->config.cmd, c->upload, &at, &room) == CMD_AGAIN) {
            enum visit_stop stop = stopped(w, c);
            if (stop != VISIT_RUNS)
                return stop;
            continue;
        }
        if (room == 0)
            return complete(w, v);
        ssize_t n = wire_recv(&c->wire, at, room);
        if (n <= 0) {
            c->broken = n == 0 || !wire_is_later(n) || c->hung_up;
            c->why = n == 0 ? "by its client" : "its client has gone";
            return VISIT_RUNS;
        }
        cmd_upload_filled(w->config.cmd, c->upload, (size_t)n);
        conn_moved(w, c, (size_t)n);
        conn_count(w, CONN_bytes_read, (size_t)n);
        conn_count_bulk(w, (size_t)n);
        received += (size_t)n;
        if ((size_t)n < room)
            return VISIT_RUNS;
    }
    return VISIT_QUEUES;
}

void
body_receive(struct conn_worker *w, struct visit *v)
{
    struct conn *c = v->conn;
    if (c->in_len > 0) {
        v->in = c->in + c->in_at;
        v->len = c->in_len;
    }
    if (UNLIKELY(cmd_upload_is_aside(c->upload)))
        c->upload_turn = w->turn;
    v->stop = feed(w, v);
    if (v->stop == VISIT_RUNS)
        v->stop = receive_block(w, v);
    visit_finish(w, v);
}
