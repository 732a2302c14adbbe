/*
 * household.h -- a store with the threads that a server would give it.
 *
 * A worker looks at the store in turns, as in a wake-up: one section of up to TURN_REQUESTS
 * requests, then as many slices of housekeeping as entries were stored (cmd_maintain() in src/cmd).
 * A keeper on the other CPU does the same a few slices at a time, with pauses, as that of
 * src/server/workers.c does.
 *
 * Include it after common.h.
 */
#ifndef BENCH_HOUSEHOLD_H
#define BENCH_HOUSEHOLD_H

#include <pthread.h>
#include <sched.h>

#include "store/store.h"

#define TURN_REQUESTS   32u
#define SLICES_MAX      32u
#define STORES_AT_AGAIN 1024u
#define AGAIN_MAX       10000000u /* in a row, before we say that the store stands still */
#define KEEPER_SLICES   8
#define KEEPER_PAUSE_MS 1
#define KEEPER_IDLE_MS  10

struct worker {
    struct store *store;
    struct store_thread *thread;
    uint64_t random;
    unsigned requests; /* in this turn */
    unsigned stores;   /* since the last housekeeping */
};

struct household {
    struct store *store;
    struct worker worker; /* of the thread that made it */
    struct worker keeper;
    pthread_t keeper_thread;
    int keeper_cpu; /* -1: there is no keeper */
    atomic_bool stop;
};

static inline void
pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        die("CPU %d: %s", cpu, strerror(errno));
}

static inline bool
housekeeping(struct worker *w)
{
    unsigned slices = 1 + w->stores * 2 / STORE_MAINTAIN_BUDGET;
    bool due = true;

    w->stores = 0;
    if (slices > SLICES_MAX)
        slices = SLICES_MAX;
    while (slices-- && due)
        due = store_maintain(w->thread, STORE_MAINTAIN_BUDGET);
    return due;
}

static inline void
worker_join(struct worker *w, struct store *s, uint64_t seed)
{
    *w = (struct worker){.store = s, .thread = store_join(s), .random = mix64(seed)};
    if (!w->thread)
        die("store_join: no thread");
}

static inline void
turn_begin(struct worker *w)
{
    store_enter(w->thread);
    w->requests = 0;
}

static inline void
turn_end(struct worker *w)
{
    store_leave(w->thread);
    housekeeping(w);
}

/* Before a request: a new turn, where the last has had its share. */
static inline void
turn_request(struct worker *w)
{
    if (w->requests++ < TURN_REQUESTS)
        return;
    turn_end(w);
    turn_begin(w);
    w->requests = 1;
}

/* A set, as often as the store says AGAIN; a server parks the connection meanwhile. */
static inline void
worker_set(struct worker *w, struct store_key key, struct slice value)
{
    struct store_put put = {.mode = STORE_SET, .key = key, .value = value};
    enum store_outcome outcome;
    struct store_result stored;

    for (unsigned i = 0; (outcome = store_put(w->thread, &put, &stored)) == STORE_AGAIN; i++) {
        if (i == AGAIN_MAX)
            die("the store makes no room: AGAIN %u times in a row", i);
        w->stores += STORES_AT_AGAIN;
        turn_end(w);
        turn_begin(w);
    }
    if (outcome != STORE_OK)
        die("a set failed: outcome %d", (int)outcome);
    w->stores++;
}

static inline void *
keeper_run(void *arg)
{
    struct household *h = arg;

    pin(h->keeper_cpu);
    while (!atomic_load(&h->stop)) {
        bool due = true;

        for (int i = 0; i < KEEPER_SLICES && due; i++)
            due = housekeeping(&h->keeper);
        usleep((due ? KEEPER_PAUSE_MS : KEEPER_IDLE_MS) * 1000);
    }
    return NULL;
}

static inline void
household_create(struct household *h, const struct store_config *config, int keeper_cpu)
{
    int error = store_create(config, &h->store);

    if (error)
        die("store_create of %zu bytes: %s", config->memory_bytes, strerror(-error));
    worker_join(&h->worker, h->store, config->hash_seed);
    h->keeper_cpu = keeper_cpu;
    atomic_store(&h->stop, false);
    if (keeper_cpu < 0)
        return;
    worker_join(&h->keeper, h->store, 0);
    if (pthread_create(&h->keeper_thread, NULL, keeper_run, h))
        die("pthread_create failed");
}

static inline void
household_destroy(struct household *h)
{
    if (h->keeper_cpu >= 0) {
        atomic_store(&h->stop, true);
        pthread_join(h->keeper_thread, NULL);
        store_part(h->keeper.thread);
    }
    store_part(h->worker.thread);
    store_destroy(h->store);
}

#endif
