/*
 * schedule.h -- test threads of which exactly one runs at a time, and who runs next is decided.
 *
 * A decision can be taken before every atomic operation, lock and unlock on contended memory
 * (coarse), and before every other access to it as well (fine); a thread that waits for a lock, or
 * that turns in a loop without seeing anything new, cannot be chosen while another one can.
 *
 * Only sequentially consistent executions are seen: what an ordering weaker than that permits is
 * ThreadSanitizer's part, and that of the reasons given in the code.
 */
#ifndef INTERLEAVE_SCHEDULE_H
#define INTERLEAVE_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#define SCHEDULE_THREADS_MAX 3u

struct scenario {
    const char *name;
    void (*prepare)(void);             /* once, not watched: makes the store */
    void (*begin)(void);               /* before each schedule: the test's own variables */
    void (*threads[SCHEDULE_THREADS_MAX])(void);
    void (*check)(void);               /* after each schedule, all threads having ended */
    void (*finish)(void);              /* once */
};

struct decision {
    uint64_t step;                     /* of this schedule; where, for a repetition */
    unsigned threads[SCHEDULE_THREADS_MAX];    /* those that can go on; first the running one ... */
    unsigned count;
    bool forced;                       /* ... unless that cannot */
};

struct decider {
    bool fine;
    uint64_t wanted_step;              /* decide there in any case; 0: nowhere */
    unsigned (*decide)(const struct decision *d);    /* index into threads */
};

/* New threads for this scenario. */
void schedule_open(const struct scenario *sc);
/* One schedule from beginning to end, checked, and taken back.  NULL, or what was wrong. */
const char *schedule_run(const struct decider *by);

/* ---- for the threads ------------------------------------------------------------------------- */

/* A place where others may always come between. */
void schedule_pause(void);
/* Something is wrong; the first one counts.  The thread goes on. */
void schedule_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A CHECK in the store, or a signal, ends the program: what to say then. */
void schedule_at_crash(void (*say)(void));

#endif
