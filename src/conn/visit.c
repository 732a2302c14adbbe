/*
 * visit.c -- one connection's part in a turn: parse, execute, send, and what then.
 *
 * Requests are parsed ahead into the batch, so that the keys of several connections are fetched
 * together; they are executed strictly in order.  Where execution stops -- the socket is full, the
 * store needs a moment, the quantum is used up -- what was parsed ahead is forgotten and the bytes
 * from the stopped request on are kept: parsing them again gives the same requests.  Of a get of
 * many keys, stopped between two of them, it is kept what it asks for still.
 *
 * The worker's reply belongs to one visit at a time: it is empty when the first request of a visit
 * is executed, and visit_finish() leaves it empty.
 */
#include "worker.h"

#include "obs/log.h"

#define FULL_ROUNDS_MAX 8         /* calls for one get of many keys; then others have their turn */
#define LIST_GROWTH_BYTES 512     /* of statistics, while they wait: their numbers get longer */
#define LOGGED_LINE_MAX 512       /* -vv: longer command lines are cut */

/* Not text alone: `in` is not empty, and its first byte may be the connection's first. */
static enum parse
parse_any(struct conn *c, const char *in, size_t len, size_t *searched, struct request *req,
          size_t *used)
{
    if (c->protocol == CONN_PROTOCOL_AUTO)
        c->protocol = (uint8_t)in[0] == PROTO_BINARY_MAGIC ? CONN_PROTOCOL_BINARY
                                                           : CONN_PROTOCOL_TEXT;
    return c->protocol == CONN_PROTOCOL_BINARY ? proto_parse_binary(in, len, req, used)
                                               : proto_parse(in, len, searched, req, used);
}

/* The next request of a visit. */
static enum parse
parse_next(struct conn *c, const char *in, size_t len, struct request *req, size_t *used)
{
    if (UNLIKELY(c->get_left)) {
        c->get_left = false;
        *used = c->rest.line_bytes;
        proto_rest_of_get(&c->rest, in, req);
        return PARSE_DONE;
    }
    size_t searched = c->searched;
    enum parse parse = LIKELY(c->protocol == CONN_PROTOCOL_TEXT)
                           ? proto_parse(in, len, &searched, req, used)
                           : parse_any(c, in, len, &searched, req, used);
    c->searched = parse == PARSE_MORE ? (uint32_t)searched : 0;
    return parse;
}

/* As long as a list of statistics is made, others could do hundreds of gets. */
static bool
ends_turn(const struct request *req)
{
    return req->verb == VERB_STATS || req->verb == VERB_DETAIL;
}

bool
visit_parse(struct conn_worker *w, struct visit *v, uint8_t number)
{
    if (v->parsed == v->len || v->requests == w->config.requests_per_turn) {
        v->parse_over = true;
        return false;
    }
    struct conn *c = v->conn;
    struct request *req = &w->requests[w->batch_count];
    size_t used = 0, swallow = 0;
    enum parse parse = parse_next(c, v->in + v->parsed, v->len - v->parsed, req, &used);
    switch (parse) {
    case PARSE_DONE: {
        size_t behind = v->len - v->parsed - used;
        size_t here = req->swallow_bytes < behind ? req->swallow_bytes : behind;
        swallow = req->swallow_bytes - here;
        used += here;
        break;
    }
    case PARSE_BAD:
    case PARSE_BODY:
        v->parse_over = true;
        break;
    case PARSE_MORE:
        v->parse_over = true;
        return false;
    }
    v->parsed += used;
    v->requests = UNLIKELY(ends_turn(req)) ? w->config.requests_per_turn : v->requests + 1;
    w->batch_keys += req->key_count;
    w->items[w->batch_count++] = (struct batch_item){
        .visit = number, .parse = (uint8_t)parse, .end = v->parsed, .swallow = swallow};
    return !v->parse_over;
}

bool
visit_send(struct conn_worker *w, struct visit *v)
{
    return output_send(w, v->conn, &v->sent);
}

/* Covered, or there is room for it in the socket; else REPLY is where to wait. */
static bool
list_may_go(struct conn_worker *w, struct conn *c, size_t bytes)
{
    size_t uncovered = w->starved ? CONN_FREE_BYTES : OUTPUT_UNCOVERED_MAX;
    if (bytes <= uncovered || purse_cover(w, c, purse_held(c) + bytes) ||
        wire_room(&c->wire) >= bytes)
        return true;
    c->lent_wanted = purse_held(c) + bytes + LIST_GROWTH_BYTES;
    return false;
}

/*
 * A long list of statistics must be covered before it is made, as far as can be said, and before it
 * is sent, because what the socket leaves has to be kept whatever the allowance says.  Making it
 * once more changes nothing, but that it may be a little longer then.
 */
static enum visit_stop
execute_stats(struct conn_worker *w, struct visit *v, const struct request *req)
{
    struct conn *c = v->conn;
    struct reply *r = &w->reply;
    if (!visit_send(w, v))
        return VISIT_BLOCKED;
    if (!list_may_go(w, c, cmd_stats_bytes(w->config.cmd, req)))
        return VISIT_WAITS;
    enum cmd_outcome outcome = cmd_execute(w->config.cmd, req, &c->cursor, r);
    CHECK(outcome == CMD_DONE);
    if (list_may_go(w, c, r->bytes))
        return VISIT_RUNS;
    reply_clear(r);
    return VISIT_WAITS;
}

/*
 * A value that must go out whole is longer than what may be sent without cover.  RUNS: *out_bytes
 * may be sent.  While the allowance is used up, those go on whose socket will take all of it.
 */
static enum visit_stop
cover_value(struct conn_worker *w, struct conn *c, size_t *out_bytes)
{
    size_t wanted = w->reply.wanted, total = purse_held(c) + wanted;
    if (!purse_cover(w, c, total) && wire_room(&c->wire) < wanted) {
        c->lent_wanted = total;
        return VISIT_WAITS;
    }
    *out_bytes = wanted;
    return VISIT_RUNS;
}

/* After CMD_FULL: RUNS when the request can go on, *out_bytes as above. */
static enum visit_stop
make_room(struct conn_worker *w, struct visit *v, size_t *out_bytes)
{
    struct conn *c = v->conn;
    if (c->cursor.window > 0) {
        if (!output_send_window(w, c, &v->sent))
            return VISIT_BLOCKED;
        return w->bulk_left == 0 ? VISIT_QUEUES : VISIT_RUNS;
    }
    if (w->reply.bytes > 0) {
        if (!visit_send(w, v))
            return VISIT_BLOCKED;
        if (v->sent >= w->config.bytes_per_turn)
            return VISIT_YIELDS;
        return w->bulk_left == 0 ? VISIT_QUEUES : VISIT_RUNS;
    }
    if (w->reply.wanted == 0)
        return VISIT_YIELDS;
    if (w->reply.wanted >= CMD_WINDOW_BYTES)
        return VISIT_QUEUES;
    return cover_value(w, c, out_bytes);
}

static enum visit_stop
execute_request(struct conn_worker *w, struct visit *v, const struct request *req)
{
    struct conn *c = v->conn;
    struct reply *r = &w->reply;
    size_t covered = 0;
    if (UNLIKELY(req->verb == VERB_STATS))
        return execute_stats(w, v, req);
    for (unsigned rounds = 0;; rounds++) {
        if (UNLIKELY(w->starved) && !visit_send(w, v))
            return VISIT_BLOCKED;
        size_t uncovered = UNLIKELY(w->starved) ? CONN_FREE_BYTES : OUTPUT_UNCOVERED_MAX;
        r->bytes_max = covered > uncovered ? covered : uncovered;
        r->windows = w->bulk_left > 0;
        r->wanted = 0;
        switch (cmd_execute(w->config.cmd, req, &c->cursor, r)) {
        case CMD_DONE:
            return VISIT_RUNS;
        case CMD_FULL: {
            enum visit_stop stop = make_room(w, v, &covered);
            if (stop != VISIT_RUNS)
                return stop;
            if (rounds == FULL_ROUNDS_MAX)
                return VISIT_YIELDS;
            break;
        }
        case CMD_QUEUE:
            if (r->appends)
                conn_count_bulk(w, CMD_APPEND_BYTES);
            return VISIT_APPENDS;
        case CMD_AGAIN:
            return c->cursor.append ? VISIT_APPENDS : VISIT_PARKS;
        case CMD_CLOSE:
            c->closing = true;
            c->why = req->verb == VERB_BAD ? "its request was refused" : "as it asked";
            return VISIT_CLOSES;
        case CMD_BROKEN:
            conn_count(w, CONN_conn_closed_value_gone, 1);
            c->broken = true;
            c->why = "the value it was being sent has been evicted";
            return VISIT_CLOSES;
        }
    }
}

static void
log_command(const struct visit *v, const struct request *req)
{
    char text[LOGGED_LINE_MAX];
    if (req->dialect == DIALECT_BINARY) {
        log_line(LOG_COMMAND, "<%d binary %02x %s", v->conn->wire.fd, req->more.opcode,
                 log_escape(text, sizeof text, req->args.len > 0 ? req->args : req->key));
        return;
    }
    struct slice line = {v->in + v->done, req->line_bytes};
    while (line.len > 0 && (line.at[line.len - 1] == '\n' || line.at[line.len - 1] == '\r'))
        line.len--;
    log_line(LOG_COMMAND, "<%d %s", v->conn->wire.fd, log_escape(text, sizeof text, line));
}

/* PARSE_DONE: the request, then what must follow from it before the next one. */
static enum visit_stop
run_request(struct conn_worker *w, struct visit *v, const struct request *req,
            const struct batch_item *item)
{
    struct conn *c = v->conn;
    if (UNLIKELY(log_enabled(LOG_COMMAND)) && !c->cursor.append)
        log_command(v, req);
    enum visit_stop stop = execute_request(w, v, req);
    if (stop != VISIT_RUNS) {
        c->get_left = verb_is_get(req->verb) && req->dialect == DIALECT_TEXT;
        if (c->get_left)
            cmd_keep_get(req, v->in + v->done, &c->cursor, &c->rest);
        return stop;
    }
    v->done = item->end;
    c->swallow = item->swallow;
    if (UNLIKELY(w->reply.bytes >= OUTPUT_BYTES)) {
        if (!visit_send(w, v))
            return VISIT_BLOCKED;
        if (v->sent >= w->config.bytes_per_turn)
            return VISIT_YIELDS;
        if (w->bulk_left == 0)
            return VISIT_QUEUES;
    }
    return VISIT_RUNS;
}

static enum visit_stop
hang_up(struct conn_worker *w, struct visit *v, const struct request *req)
{
    struct conn *c = v->conn;
    c->closing = true;
    c->why = "its request was refused";
    if (req->error.len > 0) {
        if (!reply_has_room(&w->reply, req->error.len, 0) && !visit_send(w, v))
            return VISIT_CLOSES;
        reply_text(&w->reply, req->error);
    }
    return VISIT_CLOSES;
}

static void
note_command_time(struct conn_worker *w, struct conn *c)
{
    if (LIKELY(atomic_load_explicit(&c->last_command_s, memory_order_relaxed) == w->now_s))
        return;
    atomic_store_explicit(&c->last_command_s, w->now_s, memory_order_relaxed);
    if (!list_empty(&c->idle)) {
        list_take(&c->idle);
        list_append(&w->idle, &c->idle);
    }
}

void
visit_execute(struct conn_worker *w, struct visit *v, unsigned number)
{
    const struct batch_item *item = &w->items[number];
    const struct request *req = &w->requests[number];
    note_command_time(w, v->conn);
    switch ((enum parse)item->parse) {
    case PARSE_DONE:
        v->stop = run_request(w, v, req, item);
        break;
    case PARSE_BODY:
        v->stop = body_begin(w, v, req);
        break;
    case PARSE_BAD:
        v->stop = hang_up(w, v, req);
        break;
    case PARSE_MORE:
        CHECK(!"in a batch");
    }
}

/* What the connection waits for, now that its reply is out of the worker's hands. */
static void
settle_down(struct conn_worker *w, struct visit *v)
{
    struct conn *c = v->conn;
    if (UNLIKELY(c->out != NULL)) {
        DCHECK(c->upload == NULL);     /* nobody could set it aside here */
        conn_wait_for(w, c, CONN_WAIT_OUTPUT);
        return;
    }
    switch (v->stop) {
    case VISIT_PARKS:
        conn_count(w, CONN_conn_parked, 1);
        conn_wait_for(w, c, CONN_WAIT_STORE);
        break;
    case VISIT_WAITS:
        conn_wait_for(w, c, c->lent_wanted ? CONN_WAIT_REPLY : CONN_WAIT_UPLOAD);
        break;
    case VISIT_YIELDS:
        conn_count(w, CONN_conn_yields, 1);
        if (c->in_ready)
            conn_wait_for(w, c, CONN_WAIT_READY);
        else
            conn_rest(w, c);
        break;
    case VISIT_QUEUES:
        if (c->in_ready || c->upload)
            conn_wait_for(w, c, CONN_WAIT_BULK);
        else
            conn_rest(w, c);
        break;
    case VISIT_APPENDS:
        conn_wait_for(w, c, CONN_WAIT_APPEND);
        break;
    case VISIT_BLOCKED:               /* by a value that stays where it is */
        conn_wait_for(w, c, CONN_WAIT_OUTPUT);
        break;
    case VISIT_RUNS:
    case VISIT_CLOSES:
        conn_rest(w, c);
        break;
    }
}

void
visit_finish(struct conn_worker *w, struct visit *v)
{
    struct conn *c = v->conn;
    if (LIKELY(!c->broken))
        visit_send(w, v);
    else
        output_forget(w);
    CHECK(w->reply.bytes == 0);    /* the next visit's client would get it */
    if (UNLIKELY(c->broken || (c->closing && c->out == NULL))) {
        conn_close(w, c, c->why);
        return;
    }
    if (UNLIKELY(c->closing)) {
        input_drop(w, c);
        c->in_ready = false;
        conn_wait_for(w, c, CONN_WAIT_OUTPUT);
        return;
    }
    if (!input_keep(w, v)) {
        conn_close(w, c, "out of memory");
        return;
    }
    bool cut_short = v->stop == VISIT_RUNS && v->requests == w->config.requests_per_turn;
    if (UNLIKELY(cut_short && c->need == 0 && c->in_len > 0))
        v->stop = VISIT_YIELDS;
    c->in_ready = v->stop != VISIT_RUNS && c->in_len > 0;
    if (UNLIKELY(c->in_ready))
        c->searched = 0;
    if (UNLIKELY(c->lent > purse_held(c)))
        purse_settle(w, c);
    settle_down(w, v);
}
