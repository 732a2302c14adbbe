/*
 * conn.h -- the door of the connections: one conn_worker per thread carries the connections that
 * were handed to it through their lives.
 *
 *     for (;;) {
 *         unsigned n = loop_wait(loop, events, timeout_ms);
 *         conn_open(worker, ...) for each client handed over
 *         timeout_ms = conn_turn(worker, events, n);
 *     }
 *
 * A turn receives once from every ready connection, parses all complete requests, prefetches
 * their keys, executes connection by connection in order and sends once for each.  Input and
 * output buffers belong to the worker; a connection owns bytes only while a request is incomplete
 * or a reply did not fit its socket.  An idle connection is one struct of about 300 bytes.
 *
 * Threads: everything here belongs to the worker's thread, except what says otherwise.
 */
#ifndef CONN_CONN_H
#define CONN_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "cmd/cmd.h"
#include "loop/loop.h"
#include "obs/counter.h"

struct conn_worker;

/* From here on malloc() must take mappings of their own, which free() gives back. */
#define HEAP_BYTES_MAX ((size_t)128 << 10)

/* Shared by all workers of a server, zero at the start. */
struct conn_shared {
    _Atomic uint32_t memory_waiters;    /* connections that wait for memory, on any worker */
};

/*
 * What a connection speaks: struct accepted.kind.  AUTO: its first byte decides, for good.  Text
 * and meta commands mix.
 */
enum conn_protocol { CONN_PROTOCOL_AUTO, CONN_PROTOCOL_TEXT, CONN_PROTOCOL_BINARY };

struct conn_config {
    struct loop *loop;
    struct cmd_thread *cmd;             /* of the worker's thread */
    struct conn_shared *shared;
    uint32_t idle_timeout_s;            /* 0: none; TCP only */
    unsigned requests_per_turn;         /* of one connection; then its neighbours have their turn */
    size_t bytes_per_turn;              /* received by an upload or sent, likewise */
    /* Called after a connection was closed, whoever closed it.  May be NULL. */
    void (*closed)(void *ctx);
    void *ctx;
};

/* 0 or -errno. */
int conn_worker_create(const struct conn_config *config, struct conn_worker **out_worker);

/* Closes all connections; uploads in progress are dropped. */
void conn_worker_destroy(struct conn_worker *w);

/*
 * Takes over client->fd.  0 or -errno; on error the descriptor has been closed, and config.closed
 * has been called.
 */
int conn_open(struct conn_worker *w, const struct accepted *client);

/* Sends a client away with `line`, as far as its socket takes it, and closes. */
void conn_refuse(const struct accepted *client, struct slice line);

/*
 * One wake-up: serves the connections that are ready and those that were left waiting for
 * something else than their socket, and does what is due once a second.  Returns how long the
 * loop may wait, in milliseconds, -1 for ever.
 */
int conn_turn(struct conn_worker *w, const struct loop_event *events, unsigned count);

/*
 * Counters, one table: X(name).  memcached's names where the meaning is equal.
 *
 *     conn_parked              times a connection waited for the store (no free segment)
 *     conn_memory_waits        times one waited because connections use their share of -m
 *     conn_memory_bytes        private buffers, now (a gauge)
 *     conn_uploads_set_aside   times an upload gave its memory back because others waited
 *     conn_closed_value_gone   a value was evicted while it was being sent in windows
 *     conn_closed_stuck_reader, conn_closed_stuck_upload
 *                              no progress while others waited for memory
 *     malloc_fails             also closes the connection that could not go on
 */
#define CONN_COUNTERS(X)                                                                          \
    X(bytes_read) X(bytes_written) X(conn_yields) X(idle_kicks) X(malloc_fails)                   \
    X(conn_parked) X(conn_memory_waits) X(conn_memory_bytes) X(conn_uploads_set_aside)            \
    X(conn_closed_value_gone) X(conn_closed_stuck_reader) X(conn_closed_stuck_upload)

#define CONN_COUNTER_ENUM(name) CONN_##name,
enum conn_counter { CONN_COUNTERS(CONN_COUNTER_ENUM) CONN_COUNTER_COUNT };
#undef CONN_COUNTER_ENUM

extern const char *const CONN_COUNTER_NAMES[CONN_COUNTER_COUNT];

/* Any thread. */
uint64_t conn_worker_counter(const struct conn_worker *w, enum conn_counter which);

/*
 * The connections of a worker, for `stats conns`: any thread.  A walk stands between two
 * connections while it is not being continued, so it may take its time; connections opened or
 * closed meanwhile may or may not be met.
 */
struct conn_link {
    struct list node;
    bool is_walk;
};

struct conn_walk {
    struct conn_link link;
    struct conn_worker *worker;
};

struct conn_info {
    int fd;
    const char *state;                  /* memcached's name: conn_read, conn_nread, ... */
    uint32_t last_command_s;            /* on the store's clock */
    struct addr peer, local;
};

#define CONN_WALK_MAX 64

void conn_walk_start(struct conn_walk *walk, struct conn_worker *w);

/* The next connections, at most CONN_WALK_MAX; 0: that was all. */
unsigned conn_walk_next(struct conn_walk *walk, struct conn_info *out);
void conn_walk_end(struct conn_walk *walk);

#endif
