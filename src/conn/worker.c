/*
 * worker.c -- the lives of workers and connections, and the places where connections wait.
 *
 * The loop is told as little as possible: an undisturbed connection is registered once.  One that
 * waits for the store, for memory or for its next quantum keeps its registration and is taken out
 * only if the loop really reports it meanwhile (turn.c); it waits for microseconds mostly.
 */
#include "worker.h"

#include <stdlib.h>
#include <string.h>

#include "obs/log.h"

#define COUNTER_NAME(name) [CONN_##name] = #name,
const char *const CONN_COUNTER_NAMES[CONN_COUNTER_COUNT] = {CONN_COUNTERS(COUNTER_NAME)};
#undef COUNTER_NAME

int
conn_worker_create(const struct conn_config *config, struct conn_worker **out_worker)
{
    CHECK(config->requests_per_turn > 0 && config->bytes_per_turn > 0);
    struct conn_worker *w = calloc(1, sizeof *w);
    char *buffers = malloc(INPUT_ARENA_BYTES + OUTPUT_BYTES);
    if (w == NULL || buffers == NULL) {
        free(w);
        free(buffers);
        return -ENOMEM;
    }
    w->config = *config;
    w->arena = buffers;
    reply_init(&w->reply, buffers + INPUT_ARENA_BYTES, OUTPUT_BYTES);
    for (int i = 0; i < CONN_WAIT_COUNT; i++)
        list_init(&w->queues[i]);
    list_init(&w->idle);
    roster_init(w);
    *out_worker = w;
    return 0;
}

void
conn_worker_destroy(struct conn_worker *w)
{
    if (w == NULL)
        return;
    cmd_enter(w->config.cmd);
    while (!list_empty(&w->all)) {
        struct conn_link *link = LIST_ENTRY(w->all.next, struct conn_link, node);
        CHECK(!link->is_walk);
        conn_close(w, LIST_ENTRY(link, struct conn, link), "the server ends");
    }
    purse_return(w);
    cmd_leave(w->config.cmd);
    roster_fini(w);
    reply_clear(&w->reply);
    free(w->arena);
    free(w);
}

uint64_t
conn_worker_counter(const struct conn_worker *w, enum conn_counter which)
{
    return counter_read(&w->counters[which]);
}

static void
tell_closed(struct conn_worker *w)
{
    if (w->config.closed)
        w->config.closed(w->config.ctx);
}

static void
init(struct conn *c, const struct accepted *client, uint32_t now_s)
{
    memset(c, 0, sizeof *c);
    c->wire.fd = client->fd;
    c->wait = CONN_WAIT_INPUT;
    c->interest = LOOP_READ;
    c->protocol = client->kind & 3u;
    c->peer = client->peer;
    c->local = client->local;
    atomic_init(&c->state, CONN_STATE_NEW_CMD);
    atomic_init(&c->last_command_s, now_s);
    list_init(&c->queue);
    list_init(&c->idle);
    list_init(&c->link.node);
}

static void
log_opened(const struct accepted *client)
{
    char peer[ADDR_TEXT_MAX];
    log_line(LOG_STATE, "<%d connection opened: %s", client->fd, addr_text(&client->peer, peer));
}

int
conn_open(struct conn_worker *w, const struct accepted *client)
{
    cmd_enter(w->config.cmd);    /* for the time: the worker may have slept for long */
    uint32_t now_s = cmd_now(w->config.cmd);
    cmd_leave(w->config.cmd);
    struct conn *c = malloc(sizeof *c);
    int error = -ENOMEM;
    if (c != NULL) {
        init(c, client, now_s);
        error = loop_add(w->config.loop, client->fd, LOOP_READ, c);
        if (error == 0 && !purse_force(w, c, sizeof *c))
            error = -ENOMEM;
    }
    if (error != 0) {
        conn_count(w, CONN_malloc_fails, c == NULL);
        struct wire wire = {.fd = client->fd};
        wire_close(&wire, false);
        free(c);
        tell_closed(w);
        return error;
    }
    if (w->config.idle_timeout_s > 0 && client->peer.family != AF_UNIX)
        list_append(&w->idle, &c->idle);
    roster_add(w, c);
    if (UNLIKELY(log_enabled(LOG_STATE)))
        log_opened(client);
    return 0;
}

void
conn_refuse(const struct accepted *client, struct slice line)
{
    struct wire wire = {.fd = client->fd};
    struct iovec span = {(void *)(uintptr_t)line.at, line.len};
    wire_sendv(&wire, &span, 1);
    wire_close(&wire, true);
}

static void
count_waiter(struct conn_worker *w, const struct conn *c, uint32_t by)
{
    if (conn_wants_memory(c))
        atomic_fetch_add_explicit(&w->config.shared->memory_waiters, by, memory_order_relaxed);
}

void
conn_close(struct conn_worker *w, struct conn *c, const char *why)
{
    conn_show(c, CONN_STATE_CLOSING);
    log_line(LOG_STATE, "<%d connection closed: %s", c->wire.fd,
             why != NULL ? why : "its reply could not be sent");
    count_waiter(w, c, (uint32_t)-1);
    list_take(&c->queue);
    list_take(&c->idle);
    roster_drop(w, c);
    if (c->upload) {
        cmd_upload_abort(w->config.cmd, c->upload);
        purse_freed(w, CMD_UPLOAD_BYTES);
    }
    cmd_cursor_drop(w->config.cmd, &c->cursor);
    input_drop(w, c);
    output_drop(w, c);
    purse_close(w, c);
    wire_close(&c->wire, c->closing);
    free(c);
    tell_closed(w);
}

static void
set_interest(struct conn_worker *w, struct conn *c, unsigned interest)
{
    if (c->interest == interest)
        return;
    /* The kernel has all it needs to change what is registered: it cannot fail for memory. */
    CHECK(loop_modify(w->config.loop, c->wire.fd, interest, c) == 0);
    c->interest = (uint8_t)interest;
}

static enum conn_state
state_of(const struct conn *c)
{
    switch ((enum conn_wait)c->wait) {
    case CONN_WAIT_INPUT:
    case CONN_WAIT_HOLDING:
    case CONN_WAIT_BLOCK:
    case CONN_WAIT_ASIDE:
        if (c->swallow > 0)
            return CONN_STATE_SWALLOW;
        return c->need > 0 || c->upload ? CONN_STATE_NREAD : CONN_STATE_READ;
    case CONN_WAIT_OUTPUT:
        return CONN_STATE_MWRITE;
    case CONN_WAIT_STORE:
    case CONN_WAIT_MEMORY:
    case CONN_WAIT_REPLY:
    case CONN_WAIT_UPLOAD:
    case CONN_WAIT_APPEND:
        return CONN_STATE_WAITING;
    case CONN_WAIT_BULK:
        return c->upload ? CONN_STATE_NREAD : CONN_STATE_MWRITE;
    case CONN_WAIT_READY:
    case CONN_WAIT_COUNT:
        break;
    }
    return CONN_STATE_NEW_CMD;
}

/* It waits for the same once more: behind the others, unless it is in the middle of an append. */
static bool
goes_to_tail(const struct conn *c, enum conn_wait wait)
{
    return wait == CONN_WAIT_STORE || wait == CONN_WAIT_REPLY || wait == CONN_WAIT_READY ||
           wait == CONN_WAIT_BULK ||
           (wait == CONN_WAIT_APPEND && !c->cursor.append && !c->upload);
}

/* What a connection waits for here is not up to its client. */
static bool
excuses(enum conn_wait wait)
{
    return wait > CONN_WAIT_OUTPUT && wait != CONN_WAIT_BULK;
}

/* For the time of progress it does not count how long it was excused; in INPUT it kept nothing. */
static void
leave_place(struct conn_worker *w, struct conn *c)
{
    if (c->wait == CONN_WAIT_INPUT) {
        conn_progress(w, c);
    } else if (excuses((enum conn_wait)c->wait)) {
        c->progress_s += w->now_s - c->excused_s;
        c->upload_turn = w->turn;
    }
}

static void
change_place(struct conn_worker *w, struct conn *c, enum conn_wait wait)
{
    bool same = c->wait == wait;
    if (!same) {
        leave_place(w, c);
        c->excused_s = w->now_s;
        count_waiter(w, c, (uint32_t)-1);
        c->wait = (uint8_t)wait;
        count_waiter(w, c, 1);
        if (conn_wants_memory(c))
            conn_count(w, CONN_conn_memory_waits, 1);
    }
    if (!same || goes_to_tail(c, wait)) {
        list_take(&c->queue);
        if (wait != CONN_WAIT_INPUT)
            list_append(&w->queues[wait], &c->queue);
    }
}

void
conn_wait_for(struct conn_worker *w, struct conn *c, enum conn_wait wait)
{
    if (UNLIKELY(c->hung_up) && wait <= CONN_WAIT_OUTPUT)
        wait = CONN_WAIT_READY;
    if (UNLIKELY(c->wait != wait || wait != CONN_WAIT_INPUT))
        change_place(w, c, wait);
    conn_show(c, state_of(c));
    if (wait == CONN_WAIT_OUTPUT)
        set_interest(w, c, LOOP_WRITE);
    else if (wait <= CONN_WAIT_ASIDE)
        set_interest(w, c, LOOP_READ);
}

void
conn_rest(struct conn_worker *w, struct conn *c)
{
    if (UNLIKELY(wire_pending(&c->wire)))
        conn_wait_for(w, c, CONN_WAIT_READY);
    else if (UNLIKELY(c->upload != NULL && cmd_upload_is_aside(c->upload)))
        conn_wait_for(w, c, CONN_WAIT_ASIDE);
    else if (UNLIKELY(c->upload != NULL))
        conn_wait_for(w, c, CONN_WAIT_BLOCK);
    else if (UNLIKELY(c->in_cap > CONN_FREE_BYTES))
        conn_wait_for(w, c, CONN_WAIT_HOLDING);
    else
        conn_wait_for(w, c, CONN_WAIT_INPUT);
}
