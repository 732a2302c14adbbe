/*
 * acceptor.c -- accepting, and pausing when there is nothing to accept with.
 *
 * Whether another client may be accepted is asked before accept(), never after: what the limit
 * does not admit stays in the kernel's queue and is served when there is room.
 */
#include "acceptor.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "loop.h"
#include "obs/log.h"

#define ACCEPTS_PER_EVENT 64      /* then the other listeners and acceptor_stop() have a turn */

struct acceptor {
    struct acceptor_config config;
    struct loop *loop;
    struct acceptor_counters counters;
    uint64_t paused_ns;           /* when the listeners were switched off */
    _Atomic bool paused;          /* written by the running thread; partner: acceptor_resume() */
    _Atomic bool resume;          /* set by acceptor_resume(), taken by the running thread */
    _Atomic bool stop;
};

int
acceptor_create(const struct acceptor_config *config, struct acceptor **out_acceptor)
{
    struct acceptor *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    a->config = *config;
    int error = loop_create(&a->loop);
    for (unsigned i = 0; i < config->listener_count && error == 0; i++) {
        const struct listener *listener = &config->listeners[i];
        error = loop_add(a->loop, listener->fd, LOOP_READ, (void *)(uintptr_t)listener);
    }
    if (error != 0) {
        acceptor_destroy(a);
        return error;
    }
    counter_add(&a->counters.accepting_conns, 1);
    *out_acceptor = a;
    return 0;
}

void
acceptor_destroy(struct acceptor *a)
{
    if (a == NULL)
        return;
    loop_destroy(a->loop);
    free(a);
}

static void
want_all(struct acceptor *a, unsigned want)
{
    for (unsigned i = 0; i < a->config.listener_count; i++) {
        const struct listener *listener = &a->config.listeners[i];
        loop_modify(a->loop, listener->fd, want, (void *)(uintptr_t)listener);
    }
}

static void
switch_off(struct acceptor *a)
{
    want_all(a, 0);
    a->paused_ns = clock_ns();
    counter_add(&a->counters.listen_disabled_num, 1);
    counter_add(&a->counters.accepting_conns, (uint64_t)-1);
    atomic_store(&a->paused, true);
}

/* Back to work if the owner has room again; the clock of the pause goes on otherwise. */
static void
try_switch_on(struct acceptor *a)
{
    if (!a->config.may_accept(a->config.ctx))
        return;
    atomic_store(&a->paused, false);
    uint64_t ns = clock_ns() - a->paused_ns;
    counter_add(&a->counters.time_in_listen_disabled_us, ns / 1000);
    counter_add(&a->counters.accepting_conns, 1);
    want_all(a, LOOP_READ);
}

static bool
is_exhaustion(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

static void
accept_from(struct acceptor *a, const struct listener *listener)
{
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        if (!a->config.may_accept(a->config.ctx)) {
            switch_off(a);
            return;
        }
        struct accepted client;
        int error = listen_accept(listener, &client);
        if (error == 0) {
            a->config.take(a->config.ctx, &client);
        } else if (error == -EAGAIN) {
            return;
        } else if (is_exhaustion(error)) {
            log_line(LOG_WARNING, "accept: %s", strerror(-error));
            switch_off(a);
            return;
        }
        /* Else this one client is gone (ECONNABORTED and its kin, see accept(2)): the next. */
    }
}

void
acceptor_run(struct acceptor *a)
{
    struct loop_event events[LOOP_EVENTS_MAX];
    while (!atomic_load(&a->stop)) {
        bool paused = atomic_load(&a->paused);
        unsigned count = loop_wait(a->loop, events, paused ? ACCEPTOR_PAUSE_MS : -1);
        if (paused) {
            atomic_store(&a->resume, false);
            try_switch_on(a);
            continue;
        }
        for (unsigned i = 0; i < count && !atomic_load(&a->paused); i++)
            accept_from(a, events[i].tag);
    }
}

void
acceptor_stop(struct acceptor *a)
{
    atomic_store(&a->stop, true);
    loop_wake(a->loop);
}

void
acceptor_resume(struct acceptor *a)
{
    if (atomic_load(&a->paused) && !atomic_exchange(&a->resume, true))
        loop_wake(a->loop);
}

const struct acceptor_counters *
acceptor_read(const struct acceptor *a)
{
    return &a->counters;
}
