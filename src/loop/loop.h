/*
 * loop.h -- the door of the event loop: which descriptors are ready, and a call from another
 * thread.  loop_epoll.c fulfils the contract; another backend would be another file.
 *
 * Readiness is level-triggered: what is ready and has not been dealt with is reported again by the
 * next loop_wait().  A descriptor that is closed leaves the loop by itself.
 *
 * Threads: a loop belongs to the thread that waits on it; only loop_wake() may be called by
 * others, and by signal handlers.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "acceptor.h"
#include "addr.h"
#include "listen.h"

#define LOOP_EVENTS_MAX 64        /* as many as one loop_wait() reports */

enum {
    LOOP_READ = 1,
    LOOP_WRITE = 2,
    LOOP_HANGUP = 4,              /* reported, never asked for: both directions are dead */
    LOOP_END = 8                  /* the peer will send no more: reported only where asked for */
};

struct loop_event {
    void *tag;                    /* as given to loop_add */
    unsigned what;                /* LOOP_... */
};

struct loop;

/* 0 or -errno. */
int loop_create(struct loop **out_loop);
void loop_destroy(struct loop *loop);

/* want: any of LOOP_READ, LOOP_WRITE, LOOP_END; hang-ups are reported in any case.  0 or -errno. */
int loop_add(struct loop *loop, int fd, unsigned want, void *tag);
int loop_modify(struct loop *loop, int fd, unsigned want, void *tag);
int loop_remove(struct loop *loop, int fd);

/*
 * Waits for events, a wake-up, a signal or the end of the timeout (-1: for ever), whichever is
 * first.  Returns the number of events written to `out`, which has room for LOOP_EVENTS_MAX; 0
 * when there are none.
 */
unsigned loop_wait(struct loop *loop, struct loop_event *out, int timeout_ms);

/*
 * Makes the current or the next loop_wait() return.  What the caller wrote before is visible to
 * the thread that waits when it returns.  Many calls may be answered by one return.
 */
void loop_wake(struct loop *loop);

#endif
