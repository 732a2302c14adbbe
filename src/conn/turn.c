/*
 * turn.c -- a worker's wake-up: receive from all, then batches of requests across connections.
 *
 * Visits are gathered first and served afterwards: an event names a connection by its address, and
 * none may be closed on account of another one before the last event has been looked at.
 *
 * No loop here is without bound: each connection is received from once, what it may have executed
 * or send in a turn is limited, and what is left stays reported by the loop or queued.  Long values
 * come last: they share what one turn may spend on them.
 */
#include "worker.h"

#define SWEEP_MS 1000
#define SWEEP_WAITED_MS 20        /* others wait for what is held here */
#define BULK_VISITS_MAX 64u
#define UPLOADS_LOOKED_AT 32u
#define STUCK_LOOKED_AT 4096      /* of each queue, in a sweep */
#define HOARDERS_LOOKED_AT 256
#define HOARDERS_PER_SWEEP 4

static void
add_visit(struct conn_worker *w, struct conn *c)
{
    struct visit *v = &w->visits[w->visit_count++];
    v->conn = c;
    v->len = v->done = v->parsed = 0;
    v->sent = 0;
    v->requests = 0;
    v->parse_over = false;
    v->stop = VISIT_RUNS;
}

/* The client sends no more.  May all have come of what the connection waits to receive? */
static bool
can_complete(const struct conn *c)
{
    uint64_t missing = 1;
    if (c->wait == CONN_WAIT_REPLY)
        return true;
    if (c->wait == CONN_WAIT_UPLOAD)
        missing = c->upload ? cmd_upload_missing(c->upload) - c->in_len : c->awaited;
    else if (c->need > c->in_len)
        missing = c->need - c->in_len;
    return wire_unread(&c->wire) >= missing;
}

/*
 * The loop reports a connection that waits for something else: it must not do so again, except to
 * say that the client is gone.  Then one that waits for memory gives up its place, if its request
 * can never be complete; what it has asked of the store, or has still to be parsed, is executed all
 * the same.
 */
static void
silence(struct conn_worker *w, struct conn *c, unsigned what)
{
    bool for_memory = conn_wants_memory(c);
    if (for_memory && (what & LOOP_HANGUP || (what & LOOP_END && !can_complete(c)))) {
        conn_close(w, c, "its client has gone");
        return;
    }
    if (what & LOOP_HANGUP) {
        loop_remove(w->config.loop, c->wire.fd);
        c->interest = 0;
        c->hung_up = true;
        return;
    }
    unsigned interest = for_memory && !(what & LOOP_END) ? LOOP_END : 0;
    if (c->wait != CONN_WAIT_READY && c->interest != interest &&
        loop_modify(w->config.loop, c->wire.fd, interest, c) == 0)
        c->interest = (uint8_t)interest;
}

static void
gather_events(struct conn_worker *w, const struct loop_event *events, unsigned count)
{
    CHECK(count <= LOOP_EVENTS_MAX);
    for (unsigned i = 0; i < count; i++)
        __builtin_prefetch(events[i].tag, 1);
    for (unsigned i = 0; i < count; i++) {
        struct conn *c = events[i].tag;
        if (UNLIKELY(c->wait > CONN_WAIT_OUTPUT))
            silence(w, c, events[i].what);
        else if (UNLIKELY(conn_is_bulk(c)))
            conn_wait_for(w, c, CONN_WAIT_BULK);
        else
            add_visit(w, c);
    }
}

static void
gather_queue(struct conn_worker *w, enum conn_wait which, unsigned most)
{
    struct list *head = &w->queues[which];
    for (struct list *at = head->next; at != head && most > 0; at = at->next, most--) {
        struct conn *c = LIST_ENTRY(at, struct conn, queue);
        if (which == CONN_WAIT_MEMORY && !purse_cover(w, c, c->lent_wanted))
            return;
        add_visit(w, c);
    }
}

/* Those for which there is neither memory nor room in the socket make way for the next. */
static void
gather_replies(struct conn_worker *w, unsigned most)
{
    struct list *head = &w->queues[CONN_WAIT_REPLY];
    struct list *last = head->prev;
    for (struct list *at = head->next, *next; at != head && most > 0; at = next, most--) {
        next = at == last ? head : at->next;
        struct conn *c = LIST_ENTRY(at, struct conn, queue);
        if (purse_cover(w, c, c->lent_wanted) ||
            wire_room(&c->wire) >= c->lent_wanted - purse_held(c))
            add_visit(w, c);
        else
            conn_wait_for(w, c, CONN_WAIT_REPLY);
    }
}

static void
receive_all(struct conn_worker *w)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < w->visit_count; i++) {
        struct visit *v = &w->visits[i];
        if (input_receive(w, v)) {
            if (kept != i)
                w->visits[kept] = *v;
            kept++;
        }
    }
    w->visit_count = kept;
}

/* Fills the batch from visit `next` on; returns the visit that is to be parsed next. */
static unsigned
fill_batch(struct conn_worker *w, unsigned next)
{
    w->batch_count = w->batch_keys = 0;
    while (next < w->visit_count && w->batch_count < CMD_BATCH_MAX &&
           w->batch_keys < CMD_BATCH_KEYS_MAX) {
        if (!visit_parse(w, &w->visits[next], (uint8_t)next))
            next++;
    }
    return next;
}

/* Executes the batch; visits from `first` on are open.  Returns the first that still is. */
static unsigned
execute_batch(struct conn_worker *w, unsigned first)
{
    unsigned item = 0;
    for (unsigned i = first; i < w->visit_count; i++) {
        struct visit *v = &w->visits[i];
        for (; item < w->batch_count && w->items[item].visit == i; item++) {
            if (v->stop == VISIT_RUNS)
                visit_execute(w, v, item);
        }
        if (v->stop == VISIT_RUNS && !v->parse_over)
            return i;
        visit_finish(w, v);
    }
    return w->visit_count;
}

static void
run_batches(struct conn_worker *w)
{
    unsigned first = 0, next = 0;
    while (first < w->visit_count) {
        next = fill_batch(w, next);
        if (w->batch_count > 0)
            cmd_prefetch(w->config.cmd, w->requests, w->batch_count);
        first = execute_batch(w, first);
        if (next < first)
            next = first;    /* it was stopped in the middle of its input */
    }
}

static void
run_first(struct conn_worker *w, enum conn_wait which)
{
    w->arena_used = 0;
    w->visit_count = 0;
    add_visit(w, LIST_ENTRY(w->queues[which].next, struct conn, queue));
    receive_all(w);
    run_batches(w);
}

/*
 * The first stays the first until it is done: one at a time.  Its replies so far are out, so its
 * client cannot hold it up; it may have to wait for memory.
 */
static void
run_append(struct conn_worker *w)
{
    const struct list *head = &w->queues[CONN_WAIT_APPEND], *first = head->next;
    size_t before = w->bulk_left;
    w->reply.appends = true;
    run_first(w, CONN_WAIT_APPEND);
    if (!w->reply.appends)             /* it was done, with less than a step */
        conn_count_bulk(w, CMD_APPEND_BYTES);
    w->reply.appends = false;
    w->append_stuck = head->next == first && w->bulk_left == before;
}

/* One by one, so that the share of a turn is exceeded by one visit at most. */
static void
run_bulk(struct conn_worker *w)
{
    const struct list *bulk = &w->queues[CONN_WAIT_BULK], *appends = &w->queues[CONN_WAIT_APPEND];
    w->append_stuck = false;
    for (unsigned most = BULK_VISITS_MAX; most > 0 && w->bulk_left > 0; most--) {
        bool append = !list_empty(appends) && !w->append_stuck;
        if (LIKELY(list_empty(bulk) && !append))
            return;
        if (!list_empty(bulk))
            run_first(w, CONN_WAIT_BULK);
        if (append && w->bulk_left > 0 && !list_empty(appends))
            run_append(w);
    }
}

/* Partner: conn_wait_for() of any worker.  Late by a turn is early enough. */
static bool
others_wait(const struct conn_worker *w)
{
    return atomic_load_explicit(&w->config.shared->memory_waiters, memory_order_relaxed) > 0;
}

/* In OUTPUT it may keep nothing from anybody. */
static bool
is_stuck(const struct conn_worker *w, const struct conn *c, uint32_t limit_s)
{
    return w->now_s - c->progress_s >= limit_s &&
           (c->wait != CONN_WAIT_OUTPUT || purse_held(c) > sizeof *c + CONN_FREE_BYTES);
}

/* They stand in no order; those that stay go to the end, so that all have their turn. */
static void
sweep_stuck(struct conn_worker *w, enum conn_wait which, uint32_t limit_s,
            enum conn_counter counted)
{
    if (!others_wait(w))
        return;
    struct list *head = &w->queues[which], *last = head->prev, *at = NULL;
    for (unsigned most = STUCK_LOOKED_AT; at != last && most > 0 && !list_empty(head); most--) {
        at = head->next;
        struct conn *c = LIST_ENTRY(at, struct conn, queue);
        if (is_stuck(w, c, limit_s)) {
            conn_count(w, counted, 1);
            c->closing = false;
            conn_close(w, c, "it stood still, and others wait for its memory");
        } else {
            list_take(at);
            list_append(head, at);
        }
    }
}

/*
 * Connections that wait for more memory and hold some already may wait for each other.  The oldest
 * are closed, a few each second, until the others can go on.
 */
static void
sweep_hoarders(struct conn_worker *w)
{
    struct list *head = &w->queues[CONN_WAIT_MEMORY];
    unsigned budget = HOARDERS_LOOKED_AT, victims = HOARDERS_PER_SWEEP;
    for (struct list *at = head->next, *next; at != head && budget > 0 && victims > 0; at = next) {
        next = at->next;
        budget--;
        struct conn *c = LIST_ENTRY(at, struct conn, queue);
        bool hoards = purse_held(c) > sizeof *c + CONN_FREE_BYTES;
        if (!hoards || w->now_s - c->progress_s < STUCK_UPLOAD_S)
            continue;
        conn_count(w, CONN_conn_closed_stuck_upload, 1);
        c->closing = false;
        conn_close(w, c, "it stood still, and others wait for its memory");
        victims--;
    }
}

static void
sweep_idle(struct conn_worker *w)
{
    for (unsigned budget = 1024; budget > 0 && !list_empty(&w->idle); budget--) {
        struct conn *c = LIST_ENTRY(w->idle.next, struct conn, idle);
        uint32_t last = atomic_load_explicit(&c->last_command_s, memory_order_relaxed);
        if (w->now_s - last <= w->config.idle_timeout_s)
            return;
        if (c->wait == CONN_WAIT_INPUT && c->need == 0 && c->swallow == 0) {
            conn_count(w, CONN_idle_kicks, 1);
            conn_close(w, c, "idle for too long");
        } else {
            list_take(&c->idle);    /* in the middle of a request: memcached lets it be */
            list_append(&w->idle, &c->idle);
        }
    }
}

static void
sweep(struct conn_worker *w)
{
    if (LIKELY(w->now_s == w->swept_s))
        return;
    w->swept_s = w->now_s;
    purse_return(w);
    sweep_stuck(w, CONN_WAIT_OUTPUT, STUCK_READER_S, CONN_conn_closed_stuck_reader);
    sweep_stuck(w, CONN_WAIT_HOLDING, STUCK_UPLOAD_S, CONN_conn_closed_stuck_upload);
    sweep_stuck(w, CONN_WAIT_BLOCK, STUCK_UPLOAD_S, CONN_conn_closed_stuck_upload);
    sweep_stuck(w, CONN_WAIT_ASIDE, STUCK_UPLOAD_S, CONN_conn_closed_stuck_upload);
    sweep_hoarders(w);
    sweep_idle(w);
}

/* store_busy: housekeeping has more to do, which is what parked connections wait for. */
static int
next_timeout_ms(const struct conn_worker *w, bool store_busy)
{
    const struct list *queues = w->queues;
    if (!list_empty(&queues[CONN_WAIT_READY]) || !list_empty(&queues[CONN_WAIT_BULK]))
        return 0;
    if (!list_empty(&queues[CONN_WAIT_APPEND]) && !w->append_stuck)
        return 0;
    if (!list_empty(&queues[CONN_WAIT_STORE]) || !list_empty(&queues[CONN_WAIT_MEMORY]) ||
        !list_empty(&queues[CONN_WAIT_REPLY]) || !list_empty(&queues[CONN_WAIT_UPLOAD]) ||
        !list_empty(&queues[CONN_WAIT_APPEND]))
        return store_busy ? 0 : PARKED_RETRY_MS;
    if (!list_empty(&queues[CONN_WAIT_OUTPUT]) || !list_empty(&queues[CONN_WAIT_HOLDING]) ||
        !list_empty(&queues[CONN_WAIT_BLOCK]) || !list_empty(&queues[CONN_WAIT_ASIDE]) ||
        !list_empty(&w->idle) || w->heap_kept > 0)
        return others_wait(w) ? SWEEP_WAITED_MS : SWEEP_MS;
    return -1;
}

int
conn_turn(struct conn_worker *w, const struct loop_event *events, unsigned count)
{
    struct cmd_thread *cmd = w->config.cmd;
    cmd_enter(cmd);
    w->now_s = cmd_now(cmd);
    w->arena_used = 0;
    w->visit_count = 0;
    w->turn++;
    w->bulk_left = BULK_BYTES_PER_TURN;
    w->waited = others_wait(w);
    w->looks_left = UPLOADS_LOOKED_AT;
    if (UNLIKELY(w->starved))
        purse_probe(w);
    gather_events(w, events, count);
    gather_queue(w, CONN_WAIT_MEMORY, QUEUED_PER_TURN / 4);
    gather_replies(w, QUEUED_PER_TURN / 4);
    gather_queue(w, CONN_WAIT_UPLOAD, QUEUED_PER_TURN / 4);
    gather_queue(w, CONN_WAIT_STORE, QUEUED_PER_TURN / 4);
    gather_queue(w, CONN_WAIT_READY, QUEUED_PER_TURN / 4);
    receive_all(w);
    run_batches(w);
    run_bulk(w);
    if (UNLIKELY(others_wait(w)))
        body_reclaim(w);    /* those that wait may be another worker's */
    sweep(w);
    cmd_leave(cmd);
    return next_timeout_ms(w, cmd_maintain(cmd));
}
