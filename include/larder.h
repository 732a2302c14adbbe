/*
 * larder.h -- a cache in the memory of your program: keys to values in a bounded amount of memory.
 *
 *     struct larder_config config = {.size = sizeof config, .memory_bytes = (size_t)64 << 20};
 *     struct larder *cache;
 *     struct larder_thread *me;
 *     if (larder_create(&config, &cache) != LARDER_OK || larder_join(cache, &me) != LARDER_OK)
 *         ...
 *     larder_set(me, larder_text("greeting"), larder_text("hello"), 60);
 *     larder_get(me, larder_text("greeting"), buffer, sizeof buffer, &view);
 *
 * It is a cache: any entry may go at any time, but what is returned is always the last value that
 * was stored, whole.  All memory that entries and the index take stays within memory_bytes.
 *
 * Shapes.  A key is 1 to LARDER_KEY_BYTES_MAX bytes, a value 0 to value_bytes_max; both may hold
 * any bytes.  With a value go 32 bits of the caller's (`flags`, never looked at), a time to live,
 * and, unless LARDER_NO_CAS was given, a number that is another one after each change (`cas`).
 *
 * Units.  Sizes are bytes.  Times to live are seconds from now; 0 is for ever.  A time to live of n
 * ends between n - 1 and n seconds from now, as the clock has whole seconds only.
 *
 * Ownership.  Keys and values that are passed in are copied, and need to live during the call only.
 * What comes out is copied to memory of the caller, or is a *view* into the cache, see below.
 *
 * Threads.  Each thread that uses a cache joins it once and gets a struct larder_thread, which no
 * two threads may use at the same time.  Calls that take a struct larder instead may be made by any
 * thread at any time, but for larder_create(), larder_destroy() and larder_verify().  Nothing here
 * may be called by a signal handler, or in a child after fork() that does not call exec().
 * Two caches in one process do not know of each other.
 *
 * Sections.  Every call works in a section, in which nothing that the thread has seen goes away.
 * Who does nothing about it gets one for each call: the call opens it, waits where room must be
 * made first (never longer than wait_ms_max), and closes it.  A section may be opened by hand:
 *
 *     larder_enter(me)      the clock is read, views become possible
 *       any number of calls
 *     larder_leave(me)      views die here
 *
 * Within, no call waits: where room must be made first the answer is LARDER_AGAIN, and nothing was
 * changed.  Then leave the section, and make the same call outside, or enter and try again.
 * A section should be short, and nothing in it may block: as long as it is open, memory that others
 * have freed since is not used again.  Requests in batches of some dozens are what it is for.
 *
 * Errors.  Functions that can fail return an enum larder_error.  Where it is not LARDER_OK, nothing
 * was changed, and what `out_` parameters point to is left alone, unless said otherwise.  Mistakes
 * that would destroy memory (leaving a section that is not open, destroying a cache that a thread
 * has joined) end the process with a message.
 *
 * Compatibility.  Structs that may grow begin with their size, which the caller sets: a program
 * goes on working with a later library of the same soname, and with an earlier one as long as it
 * leaves 0 what that does not know.  All that is 0 has the default meaning.
 */
#ifndef LARDER_H
#define LARDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined __GNUC__
#define LARDER_API __attribute__((visibility("default")))
#else
#define LARDER_API
#endif

#define LARDER_VERSION "0.1.0"

#define LARDER_KEY_BYTES_MAX 250
#define LARDER_MEMORY_BYTES_MIN ((size_t)8 << 20)
#define LARDER_VALUE_BYTES_MAX ((size_t)1 << 30)
#define LARDER_THREADS_MAX 1024
#define LARDER_PREFETCH_MAX 64

/* The version of the library that runs; LARDER_VERSION is that of the header. */
LARDER_API const char *larder_version(void);

/* ---- errors ---------------------------------------------------------------------------------- */

enum larder_error {
    LARDER_OK = 0,
    LARDER_MISS = 1,          /* there is no such entry */
    LARDER_EXISTS = 2,        /* the entry has another cas number than the one expected */
    LARDER_NOT_STORED = 3,    /* add: it is there; replace, append, prepend: it is not */
    LARDER_TOO_LARGE = 4,     /* the value is, or would become, longer than value_bytes_max */
    LARDER_NO_MEMORY = 5,     /* the cache is full and may not evict, or the system has none */
    LARDER_NOT_A_NUMBER = 6,  /* incr, decr: the value is no decimal number below 2^64 */
    LARDER_AGAIN = 7,         /* in a section of the caller's: leave it and ask again */
    LARDER_BUSY = 8,          /* no room could be made within wait_ms_max */
    LARDER_SHORT = 9,         /* the buffer is shorter than the value */
    LARDER_BAD_KEY = 10,      /* the key is empty or too long */
    LARDER_INVALID = 11,      /* an argument is out of range, or the call is not possible there */
    LARDER_THREADS = 12       /* threads_max have joined already */
};

/* A sentence without a full stop, in English; for a number that is no error too.  Never NULL. */
LARDER_API const char *larder_strerror(enum larder_error error);

/* ---- a cache --------------------------------------------------------------------------------- */

struct larder;
struct larder_thread;

enum larder_flag {
    LARDER_NO_EVICTION = 1,   /* when full, stores fail with LARDER_NO_MEMORY */
    LARDER_NO_CAS = 2,        /* entries have no number: 8 bytes less for each */
    LARDER_HUGE_PAGES = 4     /* ask the system for pages of 2 MiB; memory use is rounded up */
};

struct larder_config {
    size_t size;              /* sizeof(struct larder_config) */
    size_t memory_bytes;      /* the limit, from LARDER_MEMORY_BYTES_MIN on; 0: 64 MiB */
    size_t memory_bytes_most; /* as far as larder_limit_set() may raise it; this much address space
                               * is reserved.  0: four times memory_bytes, or all the machine has */
    size_t value_bytes_max;   /* longest value, up to LARDER_VALUE_BYTES_MAX; 0: 1 MiB.  Half of
                               * memory_bytes is a sensible most */
    unsigned threads_max;     /* that have joined at one time, up to LARDER_THREADS_MAX; 0: 16.
                               * Each fills a piece of memory of its own, of 64 KiB to 1 MiB */
    unsigned flags;           /* of enum larder_flag */
    unsigned wait_ms_max;     /* a call waits no longer for room; 0: 1000 */
    uint64_t hash_seed;       /* 0: random, so that nobody can choose keys that collide */
    /*
     * The time in seconds, from any start, or NULL for the system's monotonic clock.  It is asked
     * at the beginning of each section, by any thread.  Where it goes back, it stands still for the
     * cache; times to live end at most 17 years after larder_create().
     */
    uint64_t (*clock)(void *clock_ctx);
    void *clock_ctx;
};

/*
 * config may be NULL: all defaults.  OK, INVALID, NO_MEMORY (errno says why).  Memory is reserved
 * here and used as entries arrive.
 */
LARDER_API enum larder_error larder_create(const struct larder_config *config,
                                           struct larder **out_larder);

/* All threads have parted.  NULL is fine. */
LARDER_API void larder_destroy(struct larder *larder);

/* OK, THREADS, NO_MEMORY. */
LARDER_API enum larder_error larder_join(struct larder *larder, struct larder_thread **out_thread);

/* By the thread itself, or by another when it no longer runs.  Outside a section.  NULL is fine. */
LARDER_API void larder_part(struct larder_thread *thread);

LARDER_API void larder_enter(struct larder_thread *thread);

/* Also does the housekeeping that the section has caused: some dozens of microseconds at most. */
LARDER_API void larder_leave(struct larder_thread *thread);

/*
 * The time that the open, or the last, section goes by: that of the caller's clock, or seconds
 * since larder_create().
 */
LARDER_API uint64_t larder_now(const struct larder_thread *thread);

/* ---- keys and values ------------------------------------------------------------------------- */

/* A run of bytes.  `at` may be anything where len is 0. */
struct larder_bytes {
    const void *at;
    size_t len;
};

static inline struct larder_bytes
larder_span(const void *at, size_t len)
{
    struct larder_bytes bytes;
    bytes.at = at;
    bytes.len = len;
    return bytes;
}

/* A string, without the NUL at its end. */
static inline struct larder_bytes
larder_text(const char *text)
{
    return larder_span(text, strlen(text));
}

/*
 * Of keys that are about to be asked for, in about this order: what they lead to is on its way when
 * their turn comes.  At most LARDER_PREFETCH_MAX; more are not looked at.  Within a section only.
 * Worth it from some dozens of thousands of entries on, where keys come several at a time.
 *
 * The calls that follow must be given the key at the same address; the bytes must stay unchanged
 * until the section ends, or until the next larder_prefetch().
 */
LARDER_API void larder_prefetch(struct larder_thread *thread, const struct larder_bytes *keys,
                                unsigned key_count);

/* ---- reading --------------------------------------------------------------------------------- */

/* What was found.  Where a call fails with another error than LARDER_SHORT it is undefined. */
struct larder_view {
    const void *value;        /* all value_bytes of it; larder_get_view(): NULL where it is kept in
                               * pieces, which larder_view_spans() and larder_view_copy() read */
    size_t value_bytes;
    uint64_t cas;             /* 0 with LARDER_NO_CAS */
    uint32_t flags;
    uint32_t ttl_s;           /* seconds left, before this call; 0: for ever */
    uint32_t idle_s;          /* seconds since it was last read or stored, modulo 2^24 */
    bool fetched;             /* it has been read before, since it was stored */
    struct larder_bytes key;  /* as it was given: it must live as long as the view */
    uint64_t pieces;          /* for the library's own use */
    uint64_t reserved[2];
};

/*
 * Copies the value to buffer.  OK; MISS, where the buffer may have been written to; BAD_KEY; SHORT
 * where it is longer than buffer_bytes: nothing is copied, but *out_view says how long it is.
 * out_view may be NULL.
 */
LARDER_API enum larder_error larder_get(struct larder_thread *thread, struct larder_bytes key,
                                        void *buffer, size_t buffer_bytes,
                                        struct larder_view *out_view);

/*
 * Copies the value to memory that larder_free() frees: out_view->value.  It has a NUL behind its
 * value_bytes bytes.  OK, MISS, BAD_KEY, NO_MEMORY.
 */
LARDER_API enum larder_error larder_get_alloc(struct larder_thread *thread,
                                              struct larder_bytes key,
                                              struct larder_view *out_view);
LARDER_API void larder_free(const void *value);

/* larder_get(), and from now on the entry lives for ttl_s; not so where LARDER_SHORT. */
LARDER_API enum larder_error larder_get_and_touch(struct larder_thread *thread,
                                                  struct larder_bytes key, uint32_t ttl_s,
                                                  void *buffer, size_t buffer_bytes,
                                                  struct larder_view *out_view);

/*
 * The value where it lies, without a copy.  Within a section only (else INVALID), valid until its
 * end, but values of up to LARDER_SMALL_BYTES only until the next call on this thread.
 * OK, MISS, BAD_KEY, INVALID.
 */
#define LARDER_SMALL_BYTES 512
LARDER_API enum larder_error larder_get_view(struct larder_thread *thread, struct larder_bytes key,
                                             struct larder_view *out_view);

/* The same, and from now on the entry lives for ttl_s. */
LARDER_API enum larder_error larder_get_view_and_touch(struct larder_thread *thread,
                                                       struct larder_bytes key, uint32_t ttl_s,
                                                       struct larder_view *out_view);

/* The same without a trace: for eviction, `idle_s` and `fetched` the entry was not read. */
LARDER_API enum larder_error larder_peek_view(struct larder_thread *thread,
                                              struct larder_bytes key,
                                              struct larder_view *out_view);

/*
 * The parts of a view's value from byte `at` on, at most span_max of them; a value in one run is
 * one part.  Returns how many.  0 before the end: some of the value has been evicted, which is a
 * miss, also for what was read of it already.
 */
LARDER_API unsigned larder_view_spans(struct larder_thread *thread, const struct larder_view *view,
                                      size_t at, struct larder_bytes *out_spans,
                                      unsigned span_max);

/*
 * Copies n bytes of a view's value, from byte `at` on.  OK; INVALID: it is not so long; MISS: some
 * of it has been evicted, and what is in the buffer is undefined.
 */
LARDER_API enum larder_error larder_view_copy(struct larder_thread *thread,
                                              const struct larder_view *view, size_t at,
                                              void *buffer, size_t n);

/* ---- storing --------------------------------------------------------------------------------- */

/* Stores, whether there was an entry or not; flags are 0.  As larder_put(). */
LARDER_API enum larder_error larder_set(struct larder_thread *thread, struct larder_bytes key,
                                        struct larder_bytes value, uint32_t ttl_s);

enum larder_mode {
    LARDER_SET = 0,
    LARDER_ADD = 1,           /* only where there is no entry */
    LARDER_REPLACE = 2,       /* only where there is one */
    LARDER_APPEND = 3,        /* behind the value there is; its flags and time to live remain */
    LARDER_PREPEND = 4,       /* before it */
    LARDER_CAS = 5            /* only where the entry has the number cas_expected */
};

struct larder_entry {
    size_t size;              /* sizeof(struct larder_entry) */
    struct larder_bytes key, value;
    uint32_t flags;
    uint32_t ttl_s;
    uint64_t cas_expected;    /* LARDER_CAS only */
};

/*
 * OK; NOT_STORED; MISS and EXISTS with LARDER_CAS; TOO_LARGE, NO_MEMORY, BUSY, AGAIN, BAD_KEY,
 * INVALID.  An old value stays where it fails: who would rather have none calls larder_delete().
 * out_cas may be NULL; it is set to the number of the new value, 0 with LARDER_NO_CAS.
 *
 * The value must not be in the cache itself, as a view shows it.  In a section of the caller's all
 * of a long value is copied in one go.
 */
LARDER_API enum larder_error larder_put(struct larder_thread *thread, enum larder_mode mode,
                                        const struct larder_entry *entry, uint64_t *out_cas);

/* From now on it lives for ttl_s.  OK, MISS, BAD_KEY. */
LARDER_API enum larder_error larder_touch(struct larder_thread *thread, struct larder_bytes key,
                                          uint32_t ttl_s);

/* OK, MISS, BAD_KEY. */
LARDER_API enum larder_error larder_delete(struct larder_thread *thread, struct larder_bytes key);
/* EXISTS where it has another number. */
LARDER_API enum larder_error larder_delete_cas(struct larder_thread *thread,
                                               struct larder_bytes key, uint64_t cas_expected);

/*
 * Adds to a value that is a decimal number in ASCII; it wraps at 2^64.  The length of the text
 * stays where the number got shorter: blanks follow it.  *out_number (may be NULL) is the new
 * number.  OK, MISS, NOT_A_NUMBER, NO_MEMORY, BUSY, AGAIN, BAD_KEY.
 */
LARDER_API enum larder_error larder_incr(struct larder_thread *thread, struct larder_bytes key,
                                         uint64_t delta, uint64_t *out_number);
/* Takes off; it stops at 0. */
LARDER_API enum larder_error larder_decr(struct larder_thread *thread, struct larder_bytes key,
                                         uint64_t delta, uint64_t *out_number);

/*
 * All that is stored before ends delay_s seconds from now; 0: now, at once.  A later call replaces
 * one whose time has not come yet.
 */
LARDER_API void larder_flush(struct larder_thread *thread, uint32_t delay_s);
/* The one whose time has not come yet does not come. */
LARDER_API void larder_flush_forget(struct larder_thread *thread);

/* ---- memory ---------------------------------------------------------------------------------- */

/*
 * Housekeeping (eviction, memory given back) is done by the threads that store, a little at a time.
 * A thread that has nothing else to do may do some more of it: one slice, about 50 microseconds.
 * True: more is due.  Outside a section; within one it does nothing.
 */
LARDER_API bool larder_maintain(struct larder_thread *thread);

/* Touches memory that will be filled next, so that stores meet fewer page faults; as above. */
LARDER_API bool larder_populate(struct larder_thread *thread);

/*
 * A new limit.  A lower one is reached in slices, by larder_maintain() and by the calls that store.
 * OK; INVALID: above memory_bytes_most, or below what index and threads need.
 */
LARDER_API enum larder_error larder_limit_set(struct larder *larder, size_t memory_bytes);

/* What an entry takes, beside about 10 bytes of its place in the index. */
LARDER_API uint64_t larder_entry_bytes(const struct larder *larder, size_t key_bytes,
                                       size_t value_bytes, uint32_t flags);

/* ---- being observed -------------------------------------------------------------------------- */

/*
 * Each entry that was ever stored is in one place:
 *     items_stored = items_present + items_replaced + items_deleted + items_expired
 *                  + items_evicted + items_flushed
 * `again` counts stores that had to wait, or were answered LARDER_AGAIN.
 */
struct larder_stats {
    size_t size;              /* sizeof(struct larder_stats), set before the call */
    uint64_t items_stored, items_present, items_replaced, items_deleted, items_expired,
        items_evicted, items_flushed;
    uint64_t evicted_unfetched, expired_unfetched;    /* never read: of those above */
    uint64_t index_evicted;                           /* for want of a place in the index */
    uint64_t bytes_present;                           /* of present items, headers included */
    uint64_t memory_limit_bytes, memory_used_bytes;
    uint64_t borrowed_bytes;                          /* for long values that are on their way */
    uint64_t dead_bytes, free_bytes, limbo_bytes, lent_bytes;    /* gone; free; free soon; on
                                                       * their way: together with bytes_present
                                                       * and index_bytes the memory in use */
    uint64_t index_bytes, index_slots, index_slots_used;
    uint64_t segment_bytes, segments_free, segments_active, segments_sealed, segments_limbo,
        segments_lent;
    uint64_t again;
    uint64_t queue_small_bytes, queue_main_bytes;     /* new entries; those that were asked for */
    uint64_t ghost_bytes;                             /* to know again what was evicted */
    uint64_t promoted;                                /* moved from the small to the main queue */
    uint64_t second_chances;                          /* kept in the main queue, to its other end */
    uint64_t ghost_hits;                              /* known again, stored in the main queue */
    uint64_t bytes_stored;                            /* headers included */
    uint64_t bytes_copied_evicting, bytes_copied_cleaning;    /* to keep entries, within the cache:
                                                       * their share of bytes_stored is the write
                                                       * amplification */
    uint64_t expired_held_bytes;                      /* about, when the last sweep ended */
    uint64_t evicted_age_s, evicted_unfetched_age_s;  /* mean seconds since what is evicted was last
                                                       * asked for; was stored, if never */
    uint64_t maintain_slices, maintain_longest_ns, maintain_long_slices, maintain_ns;
};

/* Exact when no other thread is in a call.  OK; INVALID: stats->size is less than 8 fields. */
LARDER_API enum larder_error larder_stats_read(struct larder *larder, struct larder_stats *stats);
/* maintain_longest_ns begins anew; sums do not. */
LARDER_API void larder_stats_reset(struct larder *larder);

/*
 * Looks at everything: NULL, or a sentence that says what is wrong.  For tests, as it takes long;
 * no thread is in a section or a call.
 */
LARDER_API const char *larder_verify(struct larder *larder);

#ifdef __cplusplus
}
#endif

#endif
