/*
 * acceptor.h -- the loop of the thread that accepts: clients come in, are handed on, and the
 * listeners are switched off for a while when nothing more can be accepted.
 *
 * Nothing can be accepted when the owner says so (its limit of connections is reached) or when the
 * system has no descriptors or memory.  Listeners that stay readable would then be reported
 * without end; so they are taken out of the loop, and tried again after ACCEPTOR_PAUSE_MS or when
 * acceptor_resume() tells that a connection was closed.
 *
 * Threads: acceptor_run() belongs to one thread; stop and resume may be called by any, stop by
 * signal handlers too; the counters may be read by any.
 */
#ifndef LOOP_ACCEPTOR_H
#define LOOP_ACCEPTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "listen.h"
#include "obs/counter.h"

#define ACCEPTOR_PAUSE_MS 50

struct acceptor;

struct acceptor_config {
    const struct listener *listeners;       /* outlive the acceptor; not closed by it */
    unsigned listener_count;
    void *ctx;
    bool (*may_accept)(void *ctx);          /* false: pause */
    void (*take)(void *ctx, const struct accepted *client);    /* the descriptor changes hands */
};

struct acceptor_counters {
    counter listen_disabled_num;
    counter time_in_listen_disabled_us;
    counter accepting_conns;                /* 1 or 0, as it is now */
};

/* 0 or -errno. */
int acceptor_create(const struct acceptor_config *config, struct acceptor **out_acceptor);
void acceptor_destroy(struct acceptor *acceptor);

/* Accepts until acceptor_stop(). */
void acceptor_run(struct acceptor *acceptor);
void acceptor_stop(struct acceptor *acceptor);

/* A connection was closed: if the listeners are off, now is the time to try again.  Cheap. */
void acceptor_resume(struct acceptor *acceptor);

const struct acceptor_counters *acceptor_read(const struct acceptor *acceptor);

#endif
