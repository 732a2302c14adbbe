/*
 * wire_script.h -- clients, sockets and an event loop that exist in memory only.
 *
 * wire_script.c stands in for conn/wire_socket.c and loop/loop_epoll.c: what conn/ receives, how
 * little of a reply is taken, and which call fails is written down by the test.  Nothing depends on
 * time or on the kernel: a test that fails fails again.
 *
 * One thread.  Peers are known by the descriptor number that script_connect() returns.
 */
#ifndef TESTS_WIRE_SCRIPT_H
#define TESTS_WIRE_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "loop/loop.h"

#define SCRIPT_PEERS_MAX 512

/* Forgets all peers and counts; every rule is back to "no limit, no failure". */
void script_reset(void);

/* A client that has connected: what is to be handed to conn_open(). */
struct accepted script_connect(void);
struct accepted script_connect_unix(void);

/* ---- what a client does ---------------------------------------------------------------------- */

void script_give(int fd, const void *bytes, size_t n);
void script_give_text(int fd, const char *text);
void script_end(int fd);                    /* no more input will come */
void script_hang_up(int fd);                /* gone: input so far can be received, sends fail */

/* What the server has sent so far, and forgetting it. */
struct slice script_taken(int fd);
void script_forget(int fd);

/* The server has closed. */
bool script_closed(int fd);

/* Bytes given and not yet received by the server. */
size_t script_unread(int fd);

/* ---- how the wire behaves -------------------------------------------------------------------- */

struct script_rules {
    size_t recv_max;            /* bytes per receive; 0: no limit */
    size_t send_max;            /* bytes per send; 0: no limit */
    uint64_t cut_seed;          /* not 0: receives and sends are cut at random */
    unsigned fail_call;         /* the n-th call of the wire fails, counted from 1; 0: none */
    int fail_error;             /* with this errno; EAGAIN and EINTR once, others for ever */
};

/* For all peers; starts to count calls. */
void script_rule(const struct script_rules *rules);

/* This peer's socket takes n more bytes, and then none until this is called again. */
void script_window(int fd, size_t n);

/* ---- what has been asked of the wire and the loop -------------------------------------------- */

struct script_counts {
    unsigned recvs, sends, waits;
    unsigned changes;           /* of the loop's interest, after the first */
};

struct script_counts script_counts(void);

#endif
