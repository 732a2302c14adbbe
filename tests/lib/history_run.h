/*
 * history_run.h -- what the threads of a history and those who let them loose share.
 */
#ifndef TESTS_HISTORY_RUN_H
#define TESTS_HISTORY_RUN_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "base/check.h"
#include "base/num.h"
#include "history.h"
#include "store_kit.h"

#define HISTORY_LONGEST ((size_t)100000)   /* bytes of a value, joined ones included */
#define HISTORY_HOLDS 16u
#define HISTORY_ANNOUNCED_MAX 40u

struct run;

struct worker {
    struct run *run;
    unsigned number;
    pthread_t thread;
    struct store_thread *t;
    bool inside;
    uint64_t random;
    uint32_t records;                      /* written so far */
    struct history_event *events;
    size_t event_count, event_room;
    char *value, *seen;                    /* what is written, what was read */
    struct iovec holds[HISTORY_HOLDS];     /* values used where they lie */
    uint64_t hold_hashes[HISTORY_HOLDS];
    unsigned hold_count;
    uint64_t hashes[HISTORY_ANNOUNCED_MAX];    /* announced */
    uint8_t announced[HISTORY_ANNOUNCED_MAX];  /* which keys these are */
    unsigned announced_count, announced_at;
};

struct run {
    const struct history_plan *plan;
    struct store *store;
    size_t inline_bytes_max;
    _Atomic uint64_t tick;                 /* even */
    _Atomic uint32_t clock;
    _Atomic(const char *) wrong;           /* the first thing found, or NULL */
    atomic_uint finished;                  /* threads */
    _Atomic uint64_t cas_hints[HISTORY_KEYS_MAX];  /* seen last: several expect the same */
    uint32_t flush_at;                     /* thread 0: delayed and not due; 0: none */
    pthread_barrier_t start;
    struct worker workers[HISTORY_THREADS_MAX];
    const char *filler;
};

/* The thread; arg is its struct worker. */
void *history_worker(void *arg);

#endif
