/*
 * workers.c -- starting, feeding and stopping the threads.
 *
 * Clients are handed over through a mailbox per worker, an array under a mutex that the worker
 * swaps for an empty one: connections are rare beside requests, and nothing cleverer would be
 * seen.  How many connections a worker has counts those still in its mailbox, so a burst of
 * clients is spread evenly before the first of them is served.
 *
 * All signals are blocked in the threads started here: they belong to the thread that accepts.
 *
 * A worker that was stopped keeps its structures until all threads are joined, because another
 * one may still be walking its connections for `stats conns`.
 */
#define _GNU_SOURCE    /* pthread_setname_np */
#include "workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "conn/conn.h"
#include "obs/counter.h"
#include "obs/log.h"

#define NSEC_PER_SEC 1000000000u
#define STACK_BYTES ((size_t)256 << 10)
#define CONN_LINES_BYTES ((size_t)160)    /* about what `stats conns` says of a connection */

struct mailbox {
    pthread_mutex_t lock;
    struct accepted *clients;
    unsigned count, cap;
    _Atomic bool waiting;         /* count > 0, readable without the lock */
};

struct worker {
    struct workers *all;
    pthread_t thread;
    bool started;
    struct loop *loop;
    struct cmd_thread *cmd;
    struct conn_worker *conns;
    struct mailbox mailbox;
    _Atomic unsigned conn_count;  /* those in the mailbox too; added to by the accepting thread */
} CACHE_ALIGNED;

struct workers {
    struct workers_config config;
    struct acceptor *acceptor;
    struct conn_shared shared;
    _Atomic bool stop;
    _Atomic unsigned curr_connections;
    counter total_connections;    /* written by the accepting thread */
    counter rejected_connections;
    uint64_t told_refused_ns;     /* when connections that were refused were logged last */
    uint64_t told_refused;        /* how many had been refused by then */
    unsigned next;                /* where the search for the least busy worker begins */
    struct worker *each;          /* config.threads of them */
};

/* ---- the mailbox ----------------------------------------------------------------------------- */

static void
mailbox_init(struct mailbox *m)
{
    CHECK(pthread_mutex_init(&m->lock, NULL) == 0);
}

/* Clients that nobody has fetched are sent away. */
static void
mailbox_fini(struct mailbox *m)
{
    for (unsigned i = 0; i < m->count; i++)
        close(m->clients[i].fd);
    free(m->clients);
    pthread_mutex_destroy(&m->lock);
}

/* False: out of memory. */
static bool
mailbox_put(struct mailbox *m, const struct accepted *client)
{
    bool put = true;
    pthread_mutex_lock(&m->lock);
    if (m->count == m->cap) {
        unsigned cap = m->cap ? m->cap * 2 : 16;
        struct accepted *clients = realloc(m->clients, cap * sizeof *clients);
        put = clients != NULL;
        if (put) {
            m->clients = clients;
            m->cap = cap;
        }
    }
    if (put) {
        m->clients[m->count++] = *client;
        atomic_store_explicit(&m->waiting, true, memory_order_release);
    }
    pthread_mutex_unlock(&m->lock);
    return put;
}

/* All clients of the mailbox; the caller frees the array. */
static struct accepted *
mailbox_empty(struct mailbox *m, unsigned *out_count)
{
    pthread_mutex_lock(&m->lock);
    struct accepted *clients = m->clients;
    *out_count = m->count;
    m->clients = NULL;
    m->count = m->cap = 0;
    atomic_store_explicit(&m->waiting, false, memory_order_relaxed);
    pthread_mutex_unlock(&m->lock);
    return clients;
}

/* ---- a worker -------------------------------------------------------------------------------- */

static void
open_new(struct worker *worker)
{
    unsigned count;
    struct accepted *clients = mailbox_empty(&worker->mailbox, &count);
    for (unsigned i = 0; i < count; i++) {
        int error = conn_open(worker->conns, &clients[i]);
        if (error != 0)
            log_line(LOG_WARNING, "a connection could not be opened: %s", strerror(-error));
    }
    free(clients);
}

static void *
work(void *arg)
{
    struct worker *worker = arg;
    struct loop_event events[LOOP_EVENTS_MAX];
    int timeout_ms = -1;
    while (!atomic_load_explicit(&worker->all->stop, memory_order_relaxed)) {
        unsigned count = loop_wait(worker->loop, events, timeout_ms);
        if (UNLIKELY(atomic_load_explicit(&worker->mailbox.waiting, memory_order_acquire)))
            open_new(worker);
        timeout_ms = conn_turn(worker->conns, events, count);
    }
    return NULL;
}

/* A connection of this worker was closed, by the worker. */
static void
on_closed(void *ctx)
{
    struct worker *worker = ctx;
    struct workers *workers = worker->all;
    atomic_fetch_sub_explicit(&worker->conn_count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&workers->curr_connections, 1, memory_order_relaxed);
    acceptor_resume(workers->acceptor);
}

/* ---- accepting ------------------------------------------------------------------------------- */

static bool
at_limit(const struct workers *workers)
{
    return atomic_load_explicit(&workers->curr_connections, memory_order_relaxed) >=
           workers->config.conns_max;
}

static bool
may_accept(void *ctx)
{
    const struct workers *workers = ctx;
    return workers->config.conns_refuse || !at_limit(workers);
}

/* The one with the fewest connections; among equals, each in turn. */
static struct worker *
least_busy(struct workers *workers)
{
    unsigned threads = workers->config.threads;
    struct worker *best = NULL;
    unsigned best_count = 0;
    for (unsigned i = 0; i < threads; i++) {
        struct worker *worker = &workers->each[(workers->next + i) % threads];
        unsigned count = atomic_load_explicit(&worker->conn_count, memory_order_relaxed);
        if (best == NULL || count < best_count) {
            best = worker;
            best_count = count;
        }
    }
    workers->next = (unsigned)(best - workers->each + 1) % threads;
    return best;
}

/* One line a second: whoever is refused may try again at once. */
static void
tell_refused(struct workers *workers)
{
    uint64_t now = clock_ns(), count = counter_read(&workers->rejected_connections);
    if (!log_enabled(LOG_WARNING) || now - workers->told_refused_ns < NSEC_PER_SEC)
        return;
    log_line(LOG_WARNING, "connections refused: %llu, %u are open",
             (unsigned long long)(count - workers->told_refused),
             atomic_load_explicit(&workers->curr_connections, memory_order_relaxed));
    workers->told_refused_ns = now;
    workers->told_refused = count;
}

static void
refuse(struct workers *workers, const struct accepted *client)
{
    counter_add(&workers->rejected_connections, 1);
    tell_refused(workers);
    conn_refuse(client, SLICE("ERROR Too many open connections\r\n"));
}

static void
take(void *ctx, const struct accepted *client)
{
    struct workers *workers = ctx;
    if (at_limit(workers)) {
        refuse(workers, client);
        return;
    }
    struct worker *worker = least_busy(workers);
    atomic_fetch_add_explicit(&worker->conn_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&workers->curr_connections, 1, memory_order_relaxed);
    if (!mailbox_put(&worker->mailbox, client)) {
        refuse(workers, client);
        on_closed(worker);
        return;
    }
    counter_add(&workers->total_connections, 1);
    loop_wake(worker->loop);
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* 0 or -errno. */
static int
prepare(struct worker *worker)
{
    struct workers *workers = worker->all;
    int error = loop_create(&worker->loop);
    if (error != 0)
        return error;
    worker->cmd = cmd_thread_create(workers->config.cmd);
    if (worker->cmd == NULL)
        return -ENOMEM;
    struct conn_config config = {
        .loop = worker->loop,
        .cmd = worker->cmd,
        .shared = &workers->shared,
        .idle_timeout_s = workers->config.idle_timeout_s,
        .requests_per_turn = workers->config.requests_per_turn,
        .bytes_per_turn = workers->config.bytes_per_turn,
        .closed = on_closed,
        .ctx = worker,
    };
    return conn_worker_create(&config, &worker->conns);
}

/* 0 or -errno. */
static int
start(pthread_t *thread, const pthread_attr_t *attributes, const char *name, void *(*run)(void *),
      void *arg)
{
    int error = pthread_create(thread, attributes, run, arg);
    if (error != 0)
        return -error;
    pthread_setname_np(*thread, name);
    return 0;
}

static int
start_all(struct workers *workers)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    for (unsigned i = 0; i < workers->config.threads && error == 0; i++) {
        struct worker *worker = &workers->each[i];
        char name[24];
        snprintf(name, sizeof name, "worker %u", i);
        error = start(&worker->thread, &attributes, name, work, worker);
        worker->started = error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

static int
create_acceptor(struct workers *workers)
{
    struct acceptor_config config = {
        .listeners = workers->config.listeners,
        .listener_count = workers->config.listener_count,
        .ctx = workers,
        .may_accept = may_accept,
        .take = take,
    };
    return acceptor_create(&config, &workers->acceptor);
}

int
workers_create(const struct workers_config *config, struct workers **out_workers)
{
    CHECK(config->threads > 0);
    struct workers *workers = calloc(1, sizeof *workers);
    if (workers == NULL)
        return -ENOMEM;
    workers->config = *config;
    int error = -ENOMEM;
    size_t bytes = config->threads * sizeof *workers->each;
    workers->each = aligned_alloc(CACHE_LINE, bytes);
    if (workers->each == NULL)
        goto fail;
    memset(workers->each, 0, bytes);
    for (unsigned i = 0; i < config->threads; i++) {
        workers->each[i].all = workers;
        mailbox_init(&workers->each[i].mailbox);
    }
    for (unsigned i = 0; i < config->threads; i++) {
        error = prepare(&workers->each[i]);
        if (error != 0)
            goto fail;
    }
    error = create_acceptor(workers);
    if (error != 0)
        goto fail;
    error = start_all(workers);
    if (error != 0)
        goto fail;
    *out_workers = workers;
    return 0;
fail:
    workers_destroy(workers);
    return error;
}

void
workers_run(struct workers *workers)
{
    acceptor_run(workers->acceptor);
}

void
workers_stop(struct workers *workers)
{
    acceptor_stop(workers->acceptor);
}

static void
discard(struct worker *worker)
{
    conn_worker_destroy(worker->conns);
    mailbox_fini(&worker->mailbox);
    if (worker->cmd)
        cmd_thread_destroy(worker->cmd);
    loop_destroy(worker->loop);
}

void
workers_destroy(struct workers *workers)
{
    if (workers == NULL)
        return;
    unsigned threads = workers->each ? workers->config.threads : 0;
    atomic_store(&workers->stop, true);
    for (unsigned i = 0; i < threads; i++) {
        if (workers->each[i].started)
            loop_wake(workers->each[i].loop);
    }
    for (unsigned i = 0; i < threads; i++) {
        if (workers->each[i].started)
            pthread_join(workers->each[i].thread, NULL);
    }
    for (unsigned i = 0; i < threads; i++)
        discard(&workers->each[i]);
    acceptor_destroy(workers->acceptor);
    free(workers->each);
    free(workers);
}

/* ---- for `stats` ----------------------------------------------------------------------------- */

void
workers_each_counter(struct workers *workers,
                     void (*emit)(void *ctx, const char *name, uint64_t value), void *ctx)
{
    const struct acceptor_counters *accepting = acceptor_read(workers->acceptor);
    emit(ctx, "curr_connections", atomic_load(&workers->curr_connections));
    emit(ctx, "total_connections", counter_read(&workers->total_connections));
    emit(ctx, "rejected_connections", counter_read(&workers->rejected_connections));
    emit(ctx, "accepting_conns", counter_read(&accepting->accepting_conns));
    emit(ctx, "listen_disabled_num", counter_read(&accepting->listen_disabled_num));
    emit(ctx, "time_in_listen_disabled_us",
         counter_read(&accepting->time_in_listen_disabled_us));
    for (int which = 0; which < CONN_COUNTER_COUNT; which++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < workers->config.threads; i++)
            sum += conn_worker_counter(workers->each[i].conns, (enum conn_counter)which);
        emit(ctx, CONN_COUNTER_NAMES[which], sum);
    }
}

/* Where the lines of one connection go. */
struct conn_lines {
    const struct workers *workers;
    void (*emit)(void *ctx, const char *name, const char *value);
    void *ctx;
    int fd;
};

static void
emit_text(const struct conn_lines *to, const char *what, const char *value)
{
    char name[40];
    snprintf(name, sizeof name, "%d:%s", to->fd, what);
    to->emit(to->ctx, name, value);
}

static void
emit_addr(const struct conn_lines *to, const char *what, const struct addr *addr)
{
    char text[ADDR_TEXT_MAX];
    char path[160];
    if (addr->family == AF_UNIX && to->workers->config.unix_path) {
        snprintf(path, sizeof path, "unix:%s", to->workers->config.unix_path);
        emit_text(to, what, path);
    } else {
        emit_text(to, what, addr_text(addr, text));
    }
}

static void
emit_seconds(const struct conn_lines *to, uint32_t seconds)
{
    char number[16];
    snprintf(number, sizeof number, "%u", seconds);
    emit_text(to, "secs_since_last_cmd", number);
}

static void
emit_conn(struct conn_lines *to, const struct conn_info *conn, uint32_t now_s)
{
    to->fd = conn->fd;
    emit_addr(to, "addr", &conn->peer);
    emit_addr(to, "listen_addr", &conn->local);
    emit_text(to, "state", conn->state);
    /* Another worker may have read a later second than the one that asks. */
    emit_seconds(to, now_s > conn->last_command_s ? now_s - conn->last_command_s : 0);
}

size_t
workers_conns_bytes(const struct workers *workers)
{
    unsigned count = atomic_load_explicit(&workers->curr_connections, memory_order_relaxed);
    return (count + workers->config.listener_count) * CONN_LINES_BYTES;
}

void
workers_each_conn(struct workers *workers, uint32_t now_s,
                  void (*emit)(void *ctx, const char *name, const char *value), void *ctx)
{
    struct conn_lines to = {.workers = workers, .emit = emit, .ctx = ctx};
    for (unsigned i = 0; i < workers->config.listener_count; i++) {
        to.fd = workers->config.listeners[i].fd;
        emit_addr(&to, "addr", &workers->config.listeners[i].addr);
        emit_text(&to, "state", "conn_listening");
        emit_seconds(&to, now_s);
    }
    struct conn_info infos[CONN_WALK_MAX];
    for (unsigned i = 0; i < workers->config.threads; i++) {
        struct conn_walk walk;
        conn_walk_start(&walk, workers->each[i].conns);
        for (unsigned n; (n = conn_walk_next(&walk, infos)) > 0;) {
            for (unsigned k = 0; k < n; k++)
                emit_conn(&to, &infos[k], now_s);
        }
        conn_walk_end(&walk);
    }
}
