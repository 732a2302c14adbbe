/*
 * store.h -- the door of the store: a bounded amount of memory that maps keys to values.
 *
 * It is a cache: any entry may go at any time, but what is returned is always the last value
 * stored, whole.  All memory it holds (segments, index, what connections borrowed) stays within
 * the limit given.  Entries go by one of five causes, each counted once:
 *
 *     stored = present + replaced + deleted + expired + evicted + flushed
 *
 * Threads.  Each thread that looks into the store joins once and then works in *sections*:
 *
 *     store_enter(t)      reads the clock
 *       any number of calls below
 *     store_leave(t)      pointers that were handed out die here
 *
 * A section must not contain a blocking call.  Nobody ever holds an entry: memory that a section
 * may still be looking at is not reused before the section has ended.  A thread with an open
 * section delays reuse of memory, nothing else.
 *
 * STORE_AGAIN: there is room to be made, but it is not made yet.  Nothing was changed; leave the
 * section, call store_maintain(), and ask again.  It is never an error.
 *
 * Two stores in one process do not know of each other.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/bytes.h"

#define STORE_KEY_BYTES_MAX 250u
#define STORE_EXPIRY_NEVER 0u
#define STORE_EXPIRY_MAX 0x1fffffffu    /* 17 years after the start: later is taken as this */
#define STORE_ACCESS_MASK 0xffffffu    /* times of access are kept modulo 2^24 seconds */
#define STORE_SMALL_BYTES_MAX 512u     /* items up to here may change in place */

struct store;
struct store_thread;
struct store_upload;
struct store_append;

struct store_config {
    size_t memory_bytes;               /* the limit; at least 8 MiB */
    size_t reserve_bytes;              /* address space for raising it; 0: 4 x memory or all RAM */
    size_t value_bytes_max;            /* longest value accepted, up to 1 GiB */
    unsigned threads_max;              /* participants, at most 1024 */
    bool cas_enabled;
    bool evict;                        /* false: STORE_NO_MEMORY instead of evicting */
    bool lends;                        /* a part is kept for store_borrow_forced(), if not evict */
    bool huge_pages;
    uint64_t hash_seed;                /* 0: random */
    uint32_t (*clock)(void *ctx);      /* seconds, not 0, never going back; NULL: CLOCK_MONOTONIC */
    void *clock_ctx;
};

enum store_outcome {
    STORE_OK,
    STORE_MISS,           /* no such entry (get, delete, touch, incr, cas) */
    STORE_EXISTS,         /* the entry does not have the CAS number that was expected */
    STORE_NOT_STORED,     /* add, replace, append, prepend: the condition does not hold */
    STORE_TOO_LARGE,
    STORE_NO_MEMORY,      /* only where evict is off, or nothing can be evicted */
    STORE_NON_NUMERIC,
    STORE_AGAIN,
    STORE_UNFINISHED      /* append, prepend: a part of the work is done; see store_put.append */
};

/* Why there was a miss. */
enum store_gone { STORE_GONE_ABSENT, STORE_GONE_EXPIRED, STORE_GONE_FLUSHED };

/* The largest limit that there can be: its places still fit into the index. */
size_t store_memory_bytes_max(void);

/* *out_store untouched on failure; returns 0 or -errno. */
int store_create(const struct store_config *config, struct store **out_store);
/* All threads have left. */
void store_destroy(struct store *s);

/* NULL: more than threads_max, or out of memory. */
struct store_thread *store_join(struct store *s);
void store_part(struct store_thread *t);

void store_enter(struct store_thread *t);
void store_leave(struct store_thread *t);
uint32_t store_now(const struct store_thread *t);

/* Hash of a key (1 to 250 bytes), as all calls below want it. */
uint64_t store_hash(const struct store *s, struct slice key);

/*
 * Announces n keys that are about to be asked for, in about this order: key i says so by
 * store_key.ahead = i + 1, and what it leads to has been fetched when its turn comes.  The hashes
 * stay where they are until the next call or the end of the section.
 */
void store_prefetch(struct store_thread *t, const uint64_t *hashes, unsigned n);

struct store_key {
    struct slice text;
    uint64_t hash;
    unsigned ahead;                    /* 1 + its place in the last store_prefetch; 0: in none */
};

/* Beside the value of an entry.  They survive cleaning; one that is replaced begins without. */
enum {
    STORE_MARK_FETCHED = 1,            /* looked at since it was stored */
    STORE_MARK_STALE = 2,              /* declared out of date, see store_invalidate */
    STORE_MARK_TOKEN = 4,              /* somebody has been told to renew it */
    STORE_MARK_KEY_BINARY = 8          /* its key came in base64; kept by append and incr */
};

/*
 * What a lookup found.  value points to the whole value, or is NULL where it is kept in pieces:
 * then store_spans() gives its parts.  Valid until store_leave(), but for values of up to
 * STORE_SMALL_BYTES_MAX only until the next call on this thread.
 */
struct store_view {
    const char *value;
    uint64_t value_bytes;
    uint64_t cas;                      /* 0 where CAS is off */
    uint64_t serial;                   /* identifies a value in pieces; 0 for others */
    uint32_t client_flags;
    uint32_t expiry;                   /* on the store's clock; STORE_EXPIRY_NEVER */
    uint32_t last_access;              /* before this one; modulo 2^24 */
    uint8_t marks;                     /* before this one */
    enum store_gone gone;              /* MISS, or vivified: what was there before */
    bool won, vivified;                /* with options only */
};

/*
 * A get that may change what it finds.  Each is one change under the lock, or none at all: where
 * nothing is due it costs what a plain get does.
 *
 * Of those who find an entry stale, or due for renewal (recache), one wins: it is told so and the
 * entry bears the token from then on, until it is replaced or declared stale again.  Who vivifies
 * wins too.  The token goes with the entry: when that is evicted, the next miss may win again.
 */
struct store_get_options {
    bool lease;                        /* win the token of a stale entry, where it has none */
    bool no_bump;                      /* leave no trace: last access, fetched, frequency */
    bool has_expiry;                   /* the entry expires at `expiry` from now on */
    bool expiry_first;                 /* ... and recache goes by that, not by what was before */
    bool recache;                      /* win the token, where it expires before recache_below */
    bool vivify;                       /* a miss makes an empty entry that bears the token */
    bool has_cas_new;                  /* vivify: the number of that entry */
    uint32_t expiry, recache_below, vivify_expiry;
    uint64_t cas_new;
};

/*
 * OK or MISS; with vivify AGAIN too, and NO_MEMORY, which is a miss.  options: NULL for a plain
 * get.  The view shows the entry as it was before; an entry made by vivify as new, expiring never.
 *
 * The key is not passed by value: compilers copy such a struct 16 bytes at a time, right after its
 * fields were stored 8 at a time.  Processors do not forward that, and wait for all that came
 * before: no get could overlap the one before it.  (Measured: 2.6 reads of memory instead of 1.5.)
 */
enum store_outcome store_get(struct store_thread *t, const struct store_key *key,
                             const struct store_get_options *options,
                             struct store_view *out_view);

/*
 * The parts of a value in pieces, from byte `at` on: at most span_max of them and about
 * bytes_max bytes (whole parts; the first may begin in the middle).  Returns the number of spans
 * and the bytes in them; 0: the value is no longer whole.
 */
unsigned store_spans(struct store_thread *t, uint64_t serial, uint64_t value_bytes, uint64_t at,
                     uint64_t bytes_max, struct iovec *spans, unsigned span_max,
                     uint64_t *out_bytes);

/* Takes out the entry if it still is this value, of which store_spans found parts missing. */
void store_drop_broken(struct store_thread *t, struct store_key key, uint64_t serial);

enum store_mode {
    STORE_SET, STORE_ADD, STORE_REPLACE, STORE_APPEND, STORE_PREPEND, STORE_CAS
};

struct store_put {
    enum store_mode mode;
    struct store_key key;
    struct slice value;                /* ignored where upload is given */
    struct store_upload *upload;       /* complete; consumed when the outcome is final */
    struct store_append **append;      /* append, prepend: see below */
    uint32_t client_flags;
    uint32_t expiry;
    uint64_t cas_expected;             /* STORE_CAS, or where compare; 0 is no entry's number */
    uint64_t joined_bytes_max;         /* append, prepend: longest result; 0: value_bytes_max */
    uint32_t joined_flags_bytes;       /* by so much less where the entry has client flags */
    uint64_t cas_new;                  /* where has_cas_new: the number to store, whichever */
    bool has_cas_new;
    bool compare;                      /* append, prepend: EXISTS unless it has cas_expected */
    bool invalidate;                   /* STORE_CAS: an older number stores too, but as stale;
                                        * expiry and token stay those of the old entry */
    bool vivify;                       /* append, prepend: a miss stores, with expiry and flags;
                                        * still MISS where the value must come by upload */
    bool key_binary;                   /* STORE_MARK_KEY_BINARY */
};

struct store_result {
    uint64_t cas;                      /* the new number; 0 where CAS is off */
    uint64_t value_bytes;              /* of the whole new value */
};

/*
 * OK, NOT_STORED, EXISTS, MISS (cas, vivify), TOO_LARGE, NO_MEMORY, AGAIN, UNFINISHED; the last two
 * are not final.  out (may be NULL) is set where OK.  TOO_LARGE and NO_MEMORY leave an old entry
 * alone; see store_delete.
 *
 * An append (or prepend) with a long result copies STORE_APPEND_STEP_BYTES in a call, and answers
 * UNFINISHED until all is done; the caller asks for the same again, in this section or a later one,
 * and others see the old value until then.  It copies twice as much in a call each time that it is
 * begun anew because the old value has changed.  What there is of the result is kept in *append,
 * NULL at first, which store_put() sets to NULL with a final outcome; who does not go on calls
 * store_append_drop() before the thread parts.  append NULL: a long result is not begun, and
 * UNFINISHED the answer.  A thread makes one at a time, which takes one segment until it is stored:
 * AGAIN for others, so whoever has one goes on with it.
 */
#define STORE_APPEND_STEP_BYTES ((uint64_t)128 << 10)
enum store_outcome store_put(struct store_thread *t, const struct store_put *put,
                             struct store_result *out);
void store_append_drop(struct store_thread *t, struct store_append *a);

/* Memory that an entry takes, headers included, beside the index. */
uint64_t store_entry_bytes(const struct store *s, uint64_t key_bytes, uint64_t value_bytes,
                           uint32_t client_flags);

/* OK or MISS. */
enum store_outcome store_delete(struct store_thread *t, struct store_key key);
/* EXISTS: its number is another; 0 is a number like any other. */
enum store_outcome store_delete_cas(struct store_thread *t, struct store_key key,
                                    uint64_t cas_expected);

struct store_invalidate {
    struct store_key key;
    bool stale;                        /* mark it stale, without a token: the next reader wins */
    bool empty;                        /* take its value away; flags and expiry are set anew */
    bool compare;                      /* EXISTS unless it has cas_expected, 0 like any other */
    bool has_expiry;                   /* `expiry` instead of its own; empty: instead of never */
    bool has_cas_new;                  /* else: stale gives a new number, empty alone keeps it */
    uint32_t expiry, client_flags;
    uint64_t cas_expected, cas_new;
};

/* The entry stays, but is not what it was.  OK, MISS, EXISTS; with `empty` NO_MEMORY and AGAIN. */
enum store_outcome store_invalidate(struct store_thread *t, const struct store_invalidate *how);

/*
 * Adds to, or takes from, a value that is a decimal number: memcached's rules (wraps at 2^64,
 * stops at 0, keeps the length and pads with blanks where the text gets shorter).  Stale and token
 * stay where the number fits in place of the old one.
 */
struct store_arith {
    struct store_key key;
    bool decrement;
    bool compare;                      /* EXISTS unless it has cas_expected, 0 like any other */
    bool has_cas_new;
    bool has_expiry;                   /* it expires at `expiry` from now on */
    bool vivify;                       /* a miss stores `initial`, as it is */
    uint32_t expiry, vivify_expiry;
    uint64_t delta, initial, cas_expected, cas_new;
};

struct store_number {
    uint64_t number, cas;
    uint32_t expiry;                   /* before this; of a vivified one never */
    bool vivified;
};

/* OK, MISS, EXISTS, NON_NUMERIC, NO_MEMORY, AGAIN.  out_number (not NULL) is set where OK. */
enum store_outcome store_arith(struct store_thread *t, const struct store_arith *how,
                               struct store_number *out_number);

/*
 * Everything stored before `at` (on the store's clock) ceases to exist at that moment; at <= now:
 * everything stored so far, at once.  A later call replaces one that is still to come.
 */
void store_flush(struct store_thread *t, uint32_t at);

/* One that is still to come does not come. */
void store_flush_forget(struct store_thread *t);

/*
 * Values longer than this arrive by upload, straight into memory of the store: nothing can see
 * them before store_put() succeeds.  A dying client costs store_upload_abort().
 */
size_t store_inline_bytes_max(const struct store *s);

/* OK, TOO_LARGE, NO_MEMORY, AGAIN: uploads in progress use up their share (a quarter of the
 * limit, together with what connections borrow; one is always admitted). */
enum store_outcome store_upload_open(struct store_thread *t, uint64_t value_bytes,
                                     struct store_upload **out_upload);
/* OK with *out_len > 0 bytes of room at *out_at; OK with 0: complete; AGAIN; NO_MEMORY.  Room
 * stays valid across sections. */
enum store_outcome store_upload_room(struct store_thread *t, struct store_upload *u,
                                     char **out_at, size_t *out_len);
void store_upload_filled(struct store_thread *t, struct store_upload *u, size_t n);
/*
 * For an upload that does not go on while others wait: what has arrived becomes ordinary memory of
 * the cache, but for less than one piece, and its share of the allowance is free.  The next
 * store_upload_room() has it admitted again, or answers AGAIN and it is aside still.  Pieces may be
 * evicted meanwhile; then the value is a miss once it is stored, and an append of it answers
 * NO_MEMORY.  False: it could not be done.
 */
bool store_upload_set_aside(struct store_thread *t, struct store_upload *u);
bool store_upload_is_aside(const struct store_upload *u);
void store_upload_abort(struct store_thread *t, struct store_upload *u);

/* Memory of connections, charged to the limit: together with uploads at most a quarter of it. */
bool store_borrow(struct store_thread *t, size_t bytes);
/* The same, but half of the quarter must remain. */
bool store_borrow_spare(struct store_thread *t, size_t bytes);
/*
 * For memory that is in use already: it is charged even above the quarter, and items make way for
 * it, or a reserve is drawn on.  False: connections have half of the limit, or there is no room and
 * nothing may be evicted: it must be given back.
 */
bool store_borrow_forced(struct store_thread *t, size_t bytes);
void store_repay(struct store_thread *t, size_t bytes);

/*
 * A slice of housekeeping: eviction, what has expired swept out, memory given back, parts of deleted
 * values, in turn.  It costs about as much as to look at `budget` entries.  Outside a section.
 * True: more is due now.
 */
#define STORE_MAINTAIN_BUDGET 64u
bool store_maintain(struct store_thread *t, unsigned budget);
/* Cheap enough to ask after every wake-up: would store_maintain() find something to do? */
bool store_maintain_due(const struct store *s);

/*
 * Touches memory that is about to be filled, so that no store meets its page faults: about as much
 * as was stored in the last 10 ms, at most 2 % of the limit, never beyond it.  For a thread that
 * has nothing else to do.  Outside a section.  True: some was, and there may be more to do now.
 */
bool store_populate(struct store_thread *t);

/* New limit in bytes, reached in slices.  False: beyond the address space reserved, or less than
 * what the threads and the connections hold; the index shrinks with what it leads to. */
bool store_limit_set(struct store *s, size_t memory_bytes);

/* The limit in bytes that the system has set by refusing memory, since it was set last; 0: none. */
size_t store_limit_forced(const struct store *s);

#define STORE_SLICE_LONG_NS 200000u    /* more than housekeeping should ever hold up its caller */

struct store_stats {
    uint64_t items_stored, items_present, items_replaced, items_deleted, items_expired,
        items_evicted, items_flushed;
    uint64_t evicted_unfetched, expired_unfetched, index_evicted;
    uint64_t found_expired, found_flushed;        /* met by who looked for them, not to store */
    uint64_t bytes_present;                       /* of present items, headers included */
    uint64_t memory_limit_bytes, memory_used_bytes, borrowed_bytes;
    /*
     * The rest of the memory of segments: dead (gone, or never used, in full ones), and whole
     * segments that are free, in their grace period, lent.
     */
    uint64_t dead_bytes, free_bytes, limbo_bytes, lent_bytes;
    uint64_t index_bytes, index_groups, index_slots, index_slots_used, index_lines_used;
    uint64_t segment_bytes, segments_free, segments_active, segments_sealed, segments_limbo,
        segments_lent;
    uint64_t parked;                              /* times AGAIN was answered */
    /* The eviction policy: sealed segments of its queues; entries moved from the small to the main
     * one, copied within the main one, stored at once in it; bytes stored, and copied for them. */
    uint64_t queue_small_bytes, queue_main_bytes, ghost_bytes;
    uint64_t promoted, second_chances, ghost_hits;
    uint64_t bytes_stored, bytes_copied_evicting, bytes_copied_cleaning;
    uint64_t expired_held_bytes;                  /* about, when the last sweep ended */
    /* Mean seconds since what is evicted was last asked for, or was stored, if it never was. */
    uint64_t evicted_age_s, evicted_unfetched_age_s;
    /*
     * Slices of store_maintain that had something to do: their number, the CPU time of the longest,
     * how many took more than STORE_SLICE_LONG_NS, and the time of all (each of at most that).
     */
    uint64_t maintain_slices, maintain_longest_ns, maintain_long_slices, maintain_ns;
};
/* Sums of all threads; exact when no thread is inside a section. */
void store_stats_read(struct store *s, struct store_stats *out);
/* maintain_longest_ns starts again; sums cannot, and do not. */
void store_stats_reset(struct store *s);

/*
 * Walks everything and checks that it hangs together; for tests, while no other thread is inside.
 * NULL, or a sentence that says what is wrong.
 */
const char *store_verify(struct store *s);

#endif
