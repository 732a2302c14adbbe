/*
 * history.h -- what several threads did to a few keys of a store, and whether a cache may answer
 * so.
 *
 * history_run() lets threads loose on a store and records each operation with a tick before it and
 * one after it.  The checkers look at the record afterwards, one key at a time:
 *
 *   history_linear.c   is there an order of the operations, each at one moment between its ticks,
 *                      in which a single entry would have answered the same?  (linearizability)
 *   history_rules.c    nothing older than what is known to be stored is read, nothing goes
 *                      backwards, one cas wins: simple rules on pairs of operations, checked by
 *                      other code than the above
 *
 * A cache may lose an entry at any moment, but never return a stale or a mixed one.
 *
 * Ticks are even numbers from one counter; an operation that ended before another began has the
 * smaller one.  Threads: the recording is done by the threads of history_run, all else by one.
 */
#ifndef TESTS_HISTORY_H
#define TESTS_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

#define HISTORY_KEYS_MAX 16u
#define HISTORY_THREADS_MAX 8u
#define HISTORY_DUE HISTORY_THREADS_MAX    /* as a thread: the delayed flush that comes due */
#define HISTORY_NEVER UINT64_MAX       /* a tick: it has not ended */

/* ---- values --------------------------------------------------------------------------------- */

/* A value as the checkers know it.  Equal hash and length: every byte is equal. */
struct history_content {
    uint64_t hash;
    uint64_t len;
    uint64_t number;
    bool is_number;                    /* begins as decimal digits that incr takes */
};

/* A record is a value that says whose it is: key, thread, number, length, then a pattern. */
#define HISTORY_RECORD_BYTES_MIN 16u
void history_record_write(char *at, unsigned key, unsigned thread, uint32_t number, size_t len);
/* Records, and digits and blanks between them.  NULL, or what is wrong. */
const char *history_value_wrong(const char *at, size_t len, unsigned key);

struct history_content history_content_of(const char *at, size_t len);
/* As text, followed by blanks up to `len`. */
struct history_content history_content_number(uint64_t number, uint64_t len);
/* a followed by b. */
struct history_content history_content_join(const struct history_content *a,
                                            const struct history_content *b);

/* ---- the record ----------------------------------------------------------------------------- */

enum history_verb {
    HISTORY_GET, HISTORY_GAT, HISTORY_SET, HISTORY_ADD, HISTORY_REPLACE, HISTORY_APPEND,
    HISTORY_PREPEND, HISTORY_CAS, HISTORY_DELETE, HISTORY_INCR, HISTORY_DECR,
    HISTORY_FLUSH,                     /* of all keys */
    HISTORY_VERBS
};

struct history_event {
    uint64_t began, ended;             /* ticks */
    struct history_content content;    /* what was to be stored, or was seen */
    uint64_t cas;                      /* given to what was stored, or seen */
    uint64_t cas_expected;             /* cas; delete: 0: any */
    uint64_t operand;                  /* incr, decr: by how much; append: longest result */
    uint32_t now_began, now;           /* store_now() of its first and its last section */
    uint32_t flags;                    /* of what was to be stored, or seen */
    uint32_t expiry;                   /* to be stored from now on; gat: the new one */
    uint32_t expiry_seen;
    uint8_t verb, outcome;             /* enum history_verb, enum store_outcome */
    uint8_t key;
    uint8_t thread;                    /* one operation at a time; or HISTORY_DUE */
    bool broken;                       /* get: parts of the value were gone already */
    bool expired;                      /* get: missed for that; not so for an older section */
};

struct history {
    struct history_event *events;      /* malloced; of one thread behind that of another */
    size_t count;
    unsigned keys;
    bool cas;                          /* CAS numbers are on */
    bool lossy;                        /* entries may go by themselves */
    size_t inline_bytes_max;
};

void history_fini(struct history *h);

/* A sentence about what cannot be, with the operations around it; "" in what has been checked. */
struct history_verdict {
    char text[8192];
    size_t configs_most;               /* states that had to be told apart at one time */
    bool gave_up;                      /* too many of them: not wrong, but not checked to its end */
};

/* Each true: nothing wrong. */
bool history_linear(const struct history *h, unsigned key, struct history_verdict *out);
bool history_rules(const struct history *h, unsigned key, struct history_verdict *out);
/*
 * CAS numbers of a key only grow, also from one life of the entry to the next.  Stronger than what
 * the other two ask for: that they grow while an entry lives, and that none is given twice.
 */
bool history_cas_grows(const struct history *h, unsigned key, struct history_verdict *out);

/* The operations of a key between two ticks, one to a line. */
void history_print(const struct history *h, unsigned key, uint64_t from, uint64_t to, char *text,
                   size_t size);

/* ---- making one ----------------------------------------------------------------------------- */

enum history_size { HISTORY_EMPTY, HISTORY_NUMBER, HISTORY_SMALL, HISTORY_MEDIUM, HISTORY_PIECES,
                    HISTORY_SIZES };

enum history_focus { HISTORY_ANY, HISTORY_COUNTING, HISTORY_JOINING, HISTORY_COMPARING,
                     HISTORY_COMING_AND_GOING, HISTORY_OVERWRITING, HISTORY_FOCUSES };

struct history_plan {
    uint64_t seed;
    unsigned threads, keys, steps;     /* steps of each thread */
    size_t memory_bytes;
    bool cas;                          /* CAS numbers on */
    bool lossy;                        /* filler, flush, expiry; false: nothing may be lost */
    bool one_cpu;
    bool disturb;                      /* threads are interrupted wherever they are */
    bool time;                         /* expiry, delayed flush and a clock that jumps */
    unsigned filler_percent;           /* of the steps store something else, to evict */
    unsigned delete_percent;
    unsigned focus;                    /* which operations are most of the steps; 0: none */
    unsigned flush_per_1000;
    unsigned yield_percent;
    unsigned ahead_percent;            /* of the steps without announced keys announce some */
    unsigned sizes[HISTORY_SIZES];     /* weights */
};

/* Everything by chance. */
struct history_plan history_plan_random(uint64_t seed);
void history_plan_print(const struct history_plan *p, char *text, size_t size);
/* NULL, or what was wrong already while it ran.  *out is to be released in both cases. */
const char *history_run(const struct history_plan *p, struct history *out);

#endif
