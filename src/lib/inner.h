/*
 * inner.h -- what the files of lib/ share: the two structs behind the public header, and how a call
 * opens a section of its own.
 *
 * A call is a *step* that is run in a section.  Where the caller has opened one, it is run there,
 * once.  Otherwise sections are opened for it until the store no longer says AGAIN; what the step
 * has achieved so far is in its context.
 */
#ifndef LIB_INNER_H
#define LIB_INNER_H

#include <stdatomic.h>

#include "larder.h"
#include "base/check.h"
#include "store/store.h"

#define CLOCK_START_S 2u               /* so that the store's clock is never 0, and 1 has passed */

struct larder {
    struct store *store;
    size_t inline_bytes_max, value_bytes_max;
    unsigned threads_max;
    uint64_t wait_ns_max;
    uint64_t (*clock)(void *ctx);      /* the caller's, or NULL */
    void *clock_ctx;
    uint64_t clock_start;              /* what it said first */
    _Atomic uint32_t clock_latest;     /* on the store's clock: any thread moves it on */
    atomic_uint joined;
};

/* Of one thread. */
struct larder_thread {
    struct larder *larder;
    struct store_thread *store;
    bool inside;                       /* a section of the caller's is open */
    bool progressed;                   /* said by a step: it has done some of its work */
    unsigned stores;                   /* since the last housekeeping */
    unsigned ahead_at, ahead_count;    /* the next announced key that is expected */
    struct larder_bytes ahead[LARDER_PREFETCH_MAX];
    uint64_t hashes[LARDER_PREFETCH_MAX];
};

/* In a section.  AGAIN: it did what it could. */
typedef enum store_outcome lib_step(struct larder_thread *t, void *ctx);

enum larder_error lib_run(struct larder_thread *t, lib_step *step, void *ctx);
/* The same for what never has to wait and stores nothing. */
enum larder_error lib_run_once(struct larder_thread *t, lib_step *step, void *ctx);

enum larder_error lib_error_of(enum store_outcome outcome);

static inline bool
lib_key_valid(struct larder_bytes key)
{
    return key.len >= 1 && key.len <= LARDER_KEY_BYTES_MAX;
}

/* A struct of the caller's is not shorter than `least`, and 0 where it goes on behind `known`. */
bool lib_size_valid(const void *at, size_t size, size_t least, size_t known);

/* A key as the store wants it; its hash is known where it was announced.  In a section. */
struct store_key lib_key(struct larder_thread *t, struct larder_bytes key);

/* On the store's clock.  In a section. */
uint32_t lib_expiry(const struct larder_thread *t, uint32_t ttl_s);

/* It has stored, so there is housekeeping to be done. */
static inline void
lib_has_stored(struct larder_thread *t)
{
    t->stores++;
}

#endif
