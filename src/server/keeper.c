/*
 * keeper.c -- a thread that looks whether the store wants something done, and sleeps.
 *
 * It works in bursts, so that on a machine without an idle CPU a worker is not kept off its own
 * for long, and sleeps by the clock alone: to be woken would cost the workers a system call.  Each
 * time that it finds nothing to do it sleeps twice as long as before.
 *
 * Why it is not the only one that keeps house: an entry is evicted at a fraction of the price while
 * its index lines are in the caches of the CPU that stores, and a worker that had to wait for
 * another thread to be scheduled would make its clients wait.
 */
#define _GNU_SOURCE    /* pthread_setname_np */
#include "keeper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "obs/log.h"

#define STACK_BYTES ((size_t)256 << 10)
#define BURST_NS 500000u
#define PAUSE_NS 500000u               /* between bursts, while there is more to do */
#define SLEEP_NS_MIN 5000000u          /* half of what is touched ahead lasts that long */
#define SLEEP_NS_MAX 1000000000u

struct keeper {
    struct store_thread *store;
    const struct store *watched;       /* the same store */
    size_t refused;                    /* the last limit that was told of */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop;                         /* guarded by lock */
};

enum found { FOUND_NOTHING, FOUND_SOME, FOUND_MORE };

/* Housekeeping first: it may give memory back that would have to be touched. */
static enum found
work(struct keeper *k)
{
    uint64_t end_ns = clock_ns() + BURST_NS;
    enum found found = FOUND_NOTHING;
    while (store_maintain(k->store, STORE_MAINTAIN_BUDGET)) {
        found = FOUND_SOME;
        if (clock_ns() >= end_ns)
            return FOUND_MORE;
    }
    while (store_populate(k->store)) {
        found = FOUND_SOME;
        if (clock_ns() >= end_ns)
            return FOUND_MORE;
    }
    return found;
}

/* Once for each limit that the system sets. */
static void
tell_of_refusal(struct keeper *k)
{
    size_t refused = store_limit_forced(k->watched);
    if (refused != 0 && refused != k->refused)
        log_line(LOG_NOTICE,
                 "the system gives no more than %zu MiB of memory: that is the limit now",
                 refused >> 20);
    k->refused = refused;
}

static uint64_t
sleep_after(enum found found, uint64_t slept_ns)
{
    switch (found) {
    case FOUND_MORE:
        return PAUSE_NS;
    case FOUND_SOME:
        return SLEEP_NS_MIN;
    case FOUND_NOTHING:
        break;
    }
    if (slept_ns < SLEEP_NS_MIN)
        return SLEEP_NS_MIN;
    return slept_ns * 2 < SLEEP_NS_MAX ? slept_ns * 2 : SLEEP_NS_MAX;
}

/* False: it is time to go. */
static bool
sleep_for(struct keeper *k, uint64_t ns)
{
    uint64_t end_ns = clock_ns() + ns;
    struct timespec until = {.tv_sec = (time_t)(end_ns / 1000000000u),
                             .tv_nsec = (long)(end_ns % 1000000000u)};
    pthread_mutex_lock(&k->lock);
    int e = 0;
    while (!k->stop && e == 0)
        e = pthread_cond_timedwait(&k->changed, &k->lock, &until);
    bool stop = k->stop;
    pthread_mutex_unlock(&k->lock);
    return !stop;
}

static void *
run(void *arg)
{
    struct keeper *k = arg;
    uint64_t sleep_ns = SLEEP_NS_MIN;
    do {
        sleep_ns = sleep_after(work(k), sleep_ns);
        tell_of_refusal(k);
    } while (sleep_for(k, sleep_ns));
    return NULL;
}

/* ---- started and stopped --------------------------------------------------------------------- */

static void
init_lock(struct keeper *k)
{
    pthread_condattr_t attributes;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&k->changed, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    CHECK(pthread_mutex_init(&k->lock, NULL) == 0);
}

static void
discard(struct keeper *k)
{
    if (k->store)
        store_part(k->store);
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

/* Signals belong to the thread that accepts. */
static int
start_thread(struct keeper *k)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int e = pthread_create(&k->thread, &attributes, run, k);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (e == 0)
        pthread_setname_np(k->thread, "keeper");
    return -e;
}

int
keeper_start(struct store *store, struct keeper **out_keeper)
{
    struct keeper *k = calloc(1, sizeof *k);
    if (!k)
        return -ENOMEM;
    init_lock(k);
    k->watched = store;
    k->store = store_join(store);
    int e = k->store ? start_thread(k) : -ENOMEM;
    if (e != 0) {
        discard(k);
        return e;
    }
    *out_keeper = k;
    return 0;
}

void
keeper_stop(struct keeper *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->lock);
    k->stop = true;
    pthread_cond_signal(&k->changed);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    discard(k);
}
