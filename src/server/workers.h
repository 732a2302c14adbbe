/*
 * workers.h -- the threads of the server: N workers that serve connections, one that keeps house
 * in the store, and the caller's own, which accepts.
 *
 *     workers_create()     starts all threads; nobody is accepted yet
 *     workers_run()        accepts on the calling thread until workers_stop()
 *     workers_stop()       any thread, signal handlers too
 *     workers_destroy()    closes all connections, joins all threads
 *
 * A client goes to the worker that has the fewest connections and stays there.
 *
 * Threads: what the functions of `stats` below read is atomic or locked; any thread may call them
 * between create and destroy.
 */
#ifndef SERVER_WORKERS_H
#define SERVER_WORKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/cmd.h"
#include "loop/loop.h"

struct workers;

struct workers_config {
    struct cmd *cmd;                        /* outlives the workers */
    const struct listener *listeners;       /* outlive the workers; closed by their owner */
    unsigned listener_count;
    const char *unix_path;                  /* of the unix listener, for `stats conns`; or NULL */
    unsigned threads;
    unsigned conns_max;
    bool conns_refuse;                      /* at the limit: with a line, else do not accept */
    unsigned idle_timeout_s;                /* 0: none */
    unsigned requests_per_turn;             /* see conn/conn.h */
    size_t bytes_per_turn;
};

/* 0 or -errno. */
int workers_create(const struct workers_config *config, struct workers **out_workers);
void workers_run(struct workers *workers);
void workers_stop(struct workers *workers);
void workers_destroy(struct workers *workers);

/* All counters of connections and of accepting, summed, under memcached's names. */
void workers_each_counter(struct workers *workers,
                          void (*emit)(void *ctx, const char *name, uint64_t value), void *ctx);

/*
 * The lines of `stats conns`: "27:addr" "tcp:127.0.0.1:4711".  now_s: cmd_now() of the thread that
 * asks.
 */
void workers_each_conn(struct workers *workers, uint32_t now_s,
                       void (*emit)(void *ctx, const char *name, const char *value), void *ctx);

/* About how many bytes of text they will be. */
size_t workers_conns_bytes(const struct workers *workers);

#endif
