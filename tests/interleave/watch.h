/*
 * watch.h -- every access to memory that the instrumented code makes, as it happens.
 *
 * src/store and src/base are compiled with -fsanitize=thread, but linked with tsan_abi.c in place
 * of ThreadSanitizer's library: the compiler puts a call before every load, store and atomic
 * operation, and the call ends here.  Functions of the C library that touch memory or that make a
 * thread wait are wrapped by the linker (wrap.c).  So nothing can be forgotten, and the code that
 * is tested contains nothing for it.
 *
 * One thread of the system only: who watches decides what "thread" means.
 */
#ifndef INTERLEAVE_WATCH_H
#define INTERLEAVE_WATCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum atomic_kind {
    ATOMIC_LOAD,
    ATOMIC_STORE,
    ATOMIC_CHANGE,                     /* read-modify-write, even if nothing is changed by it */
    ATOMIC_FENCE                       /* no address */
};

struct watch {
    bool halves;                       /* copies and fills are done in two accesses */
    /* Before the access. */
    void (*plain)(void *at, size_t bytes, bool write);
    void (*atomic)(void *at, size_t bytes, enum atomic_kind kind, int order);
    /* After it: what was read (stored), and is anything else there now?  site: the instruction it
     * belongs to.  May be NULL. */
    void (*atomic_done)(void *at, size_t bytes, uint64_t value, bool changed, const void *site);
    /* In place of the C library's. */
    void (*mutex_lock)(pthread_mutex_t *m);
    void (*mutex_unlock)(pthread_mutex_t *m);
    void (*yield)(void);
    void *(*allocate)(size_t bytes);
    void (*release)(void *at);
};

/* NULL: nobody watches, everything goes its ordinary way. */
extern const struct watch *watch;

/* Not watched: for those who watch. */
void watch_real_copy(void *to, const void *from, size_t bytes);
void watch_real_fill(void *at, int byte, size_t bytes);
void watch_real_lock(pthread_mutex_t *m);
void watch_real_unlock(pthread_mutex_t *m);
void *watch_real_allocate(size_t bytes);
void watch_real_release(void *at);

#endif
