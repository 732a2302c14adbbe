/*
 * segment.h -- the segments: where they are, what state each is in, who may move it on.
 *
 * All segments lie in one reserved mapping; number n begins at byte n * seg_bytes (number 0 is
 * never used, so that no item has location 0).  What is known about a segment stands in a table
 * beside the mapping, one cache line each.
 *
 *              take                seal                  pick
 *     FREE ----------> ACTIVE ------------> SEALED -------------> VICTIM
 *      ^  \                                  ^                      | all items unlinked
 *      |   \ lend               adopt        |--- emptied -.        v
 *      |    `-----> LENT --------------------'             `---> LIMBO
 *      |             |  `--- unlinked, aborted ------------------> |
 *      `-----------------------------------------------------------' grace period over
 *     FREE <-> NONE: memory given back to the system / touched ahead; NONE -> ACTIVE, LENT: fresh
 *
 * The table of steps in segment.c is the law: segment_move() checks every one.
 *
 * Sealed segments stand in two orders at once: by age, a list for each of the two queues of the
 * eviction policy (evict.c), and by how much of them is dead, a list for each twentieth.
 *
 * Threads: pool->lock guards lists, states and counts.  An ACTIVE segment is written by its owner
 * alone; live is changed by whoever links or unlinks an item of it (atomic add).  Its queue is set
 * by its owner, and by whoever has picked it; others read it as a hint.
 *
 * When entries expire, a summary of each segment tells about: bytes by power of two of the seconds
 * from its opening on.  It is a hint for whoever looks for segments worth sweeping, so it is changed
 * by plain loads and stores, and of two at once one may be lost.
 */
#ifndef STORE_SEGMENT_H
#define STORE_SEGMENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/region.h"
#include "budget.h"
#include "epoch.h"

enum segment_state {
    SEGMENT_NONE, SEGMENT_FREE, SEGMENT_ACTIVE, SEGMENT_SEALED, SEGMENT_VICTIM, SEGMENT_LIMBO,
    SEGMENT_LENT, SEGMENT_STATES
};

enum segment_queue { QUEUE_SMALL, QUEUE_MAIN, SEGMENT_QUEUES };
enum segment_order { ORDER_AGE, ORDER_DEAD, SEGMENT_ORDERS };

struct segment_link {
    uint32_t next, prev;               /* numbers of segments; 0: none */
};

struct segment {
    CACHE_ALIGNED struct segment_link link[SEGMENT_ORDERS];
    uint32_t state;                    /* enum segment_state */
    _Atomic uint32_t filled;           /* bytes; written by its owner, read by the sweep as well */
    _Atomic uint64_t live;             /* linked: entries << 32 | bytes (pieces: bytes only) */
    uint64_t retired;                  /* LIMBO: free when this epoch has passed */
    _Atomic uint32_t queue;            /* enum segment_queue */
    uint32_t dead_class;               /* SEALED: the list by dead bytes that it is in */
    uint32_t sequence;                 /* other each time that it is taken */
    _Atomic uint32_t opened;           /* second that the summary of expiry counts from */
    atomic_bool aged;                  /* sealed before it was full, because it was old */
};
_Static_assert(sizeof(struct segment) == CACHE_LINE, "one line, so that segments share none");

struct segment_list {
    uint32_t first, last, count;
};

#define SEGMENT_DEAD_CLASSES 20u       /* of 5 % each */
#define SEGMENT_EXPIRY_CLASSES 32u

/* Bytes of items that expire 2^i to 2^(i+1) - 1 seconds after `opened`. */
struct segment_expiry {
    CACHE_ALIGNED _Atomic uint32_t bytes[SEGMENT_EXPIRY_CLASSES];
};

struct segment_pool {
    size_t seg_bytes;                  /* power of two */
    unsigned seg_shift;
    struct region memory, table;       /* segments; struct segment of each */
    struct segment *segs;
    struct region epoch_table, expiry_table;
    struct segment_expiry *expiries;   /* beside the table, too */
    _Atomic uint32_t *flush_epochs;    /* of each segment, beside the table: readers look at these
                                          only, and nobody writes them but on opening */
    struct budget *budget;
    struct epoch *epoch;

    CACHE_ALIGNED pthread_mutex_t lock;
    struct segment_list free, limbo, none;    /* none: given back, may be taken again */
    struct segment_list sealed[SEGMENT_QUEUES], dead[SEGMENT_DEAD_CLASSES];
    uint64_t dead_classes;             /* sum of those of all that are sealed */
    uint32_t fresh;                    /* numbers from here on were never used */
    uint32_t count_max;
    uint32_t keep;                     /* for the copier alone, which workers may not take ... */
    _Atomic uint32_t lacking;          /* ... and one more, until it has its spare one again */
    uint32_t counts[SEGMENT_STATES];
    _Atomic uint32_t ready;            /* free + limbo, for a look without the lock */
    _Atomic uint32_t sealed_count;
    _Atomic uint32_t reserve;          /* how many of these to hold ahead; grows with demand */
    _Atomic uint32_t queued[SEGMENT_QUEUES];    /* lengths of `sealed`, for a look as well */
    _Atomic uint64_t taken;            /* segments taken since the start; written under the lock */
    atomic_bool crowded;               /* so much of all is alive that little can be moved about */
    _Atomic uint32_t trim;             /* NONE, but charged: being given back, 0: none is */
    size_t trimmed;                    /* bytes of it that have been; by segment_trim alone */
};

/* How many touched segments to hold ahead, as a thread that touches them has measured. */
struct segment_demand {
    uint64_t measured_at_ns, taken;    /* when and where the last measurement began */
    uint32_t ahead;
};

int segment_pool_init(struct segment_pool *p, size_t seg_bytes, size_t reserve_bytes, bool huge,
                      uint32_t keep, struct budget *budget, struct epoch *epoch);
void segment_pool_fini(struct segment_pool *p);

/*
 * A segment to be filled (ACTIVE or LENT), its number; 0: none has passed its grace period.
 * `keep`: leave that many for the copier: segment_kept(), or 0 where it is the copier that asks.
 */
uint32_t segment_take(struct segment_pool *p, enum segment_state as, uint32_t flush_epoch,
                      uint32_t keep);
/* Its owner says what it is for, before anybody can find an item in it. */
void segment_open(struct segment_pool *p, uint32_t seg, enum segment_queue queue, uint32_t now);
/* ACTIVE or LENT -> SEALED, at the young end of its queue; `filled` bytes of it are items. */
void segment_seal(struct segment_pool *p, uint32_t seg, uint32_t filled);
/* LENT -> SEALED at the old end of its queue: it is the next to go. */
void segment_discard(struct segment_pool *p, uint32_t seg, uint32_t filled);
/* LENT -> ACTIVE: its borrower goes on filling it as an ordinary segment. */
void segment_activate(struct segment_pool *p, uint32_t seg);
/*
 * So much of it has died that segment_class() is another, or its last item was unlinked: then it
 * goes to LIMBO without waiting for its turn.  Nothing is done where it is not SEALED.
 */
void segment_thinned(struct segment_pool *p, uint32_t seg);
/* The oldest SEALED one of a queue -> VICTIM; 0: there is none. */
uint32_t segment_pick_oldest(struct segment_pool *p, enum segment_queue queue);
/* The oldest of either queue, if it is of another flush epoch; else 0. */
uint32_t segment_pick_flushed(struct segment_pool *p, uint32_t flush_epoch);
/* That with the most dead bytes, if they are of this class at least; else 0. */
uint32_t segment_pick_deadest(struct segment_pool *p, unsigned class_min);
/* VICTIM -> SEALED again, as the youngest of its queue. */
void segment_unpick(struct segment_pool *p, uint32_t seg);
/* VICTIM, LENT -> LIMBO: nothing in it can be found any more. */
void segment_retire(struct segment_pool *p, uint32_t seg);
/*
 * Gives a part of a free segment back to the system if the budget asks for it, for about as long as
 * SEGMENT_TRIM_NS.  One thread at a time.  True: more to do.
 */
#define SEGMENT_TRIM_NS 40000u
bool segment_trim(struct segment_pool *p);

static inline uint32_t
segment_kept(const struct segment_pool *p)
{
    return p->keep + atomic_load_explicit(&p->lacking, memory_order_relaxed);
}

/* Bytes that must be given up, and will not be by trimming what is free or soon will be. */
static inline size_t
segment_excess(const struct segment_pool *p)
{
    size_t excess = budget_excess(p->budget);
    size_t ready = atomic_load_explicit(&p->ready, memory_order_relaxed);
    size_t kept = segment_kept(p);     /* those are not given back for a wish */
    ready = ready > kept ? ready - kept : 0;
    ready += atomic_load_explicit(&p->trim, memory_order_relaxed) != 0;
    return excess > ready << p->seg_shift ? excess - (ready << p->seg_shift) : 0;
}

/*
 * Touches the memory of one segment that is not in use yet, so that whoever fills it meets no page
 * faults, and makes it free; as many are held ahead as were taken in the last 10 ms, two at least.
 * False: nothing was to be done.  Threads: each that calls has a demand of its own.
 */
bool segment_populate(struct segment_pool *p, struct segment_demand *d, uint64_t now_ns);

static inline char *
segment_at(const struct segment_pool *p, uint32_t seg)
{
    return p->memory.base + ((size_t)seg << p->seg_shift);
}

static inline enum segment_queue
segment_queue(const struct segment_pool *p, uint32_t seg)
{
    return (enum segment_queue)atomic_load_explicit(&p->segs[seg].queue, memory_order_relaxed);
}

/* The longest entry: a sixteenth, less the header of a piece, and the key. */
static inline size_t
segment_entry_max(const struct segment_pool *p)
{
    return p->seg_bytes / 16 + 256;
}

/*
 * How much of a segment is dead, in twentieths, if so much of it is alive.  Where nothing is evicted
 * it must be what cleaning can win: not an end in which the next entry found no room, or the same
 * entries would be copied for ever.  Where there is eviction a segment that was sealed because it
 * was old is not cleaned for what it never held: its entries would go on to the next such segment,
 * and never be old enough to be evicted.
 */
static inline unsigned
segment_class(const struct segment_pool *p, uint32_t seg, uint64_t live_bytes)
{
    size_t usable = p->seg_bytes;
    size_t filled = atomic_load_explicit(&p->segs[seg].filled, memory_order_relaxed);
    if (p->keep ? usable - filled < segment_entry_max(p)
                : atomic_load_explicit(&p->segs[seg].aged, memory_order_relaxed))
        usable = filled > live_bytes ? filled : live_bytes;
    unsigned class = (unsigned)(((usable - live_bytes) * SEGMENT_DEAD_CLASSES) >> p->seg_shift);
    return class < SEGMENT_DEAD_CLASSES ? class : SEGMENT_DEAD_CLASSES - 1;
}

/* An item of it expires then (bytes > 0), or does not any more (< 0); 0: never. */
void segment_expires(struct segment_pool *p, uint32_t seg, uint32_t expiry, int32_t bytes);
/* About how many bytes of it have expired, alive or not. */
uint32_t segment_expired_about(const struct segment_pool *p, uint32_t seg, uint32_t now);
/* The summary anew, of nothing, from `now` on; bytes by class that somebody has counted since. */
void segment_expiry_begin(struct segment_pool *p, uint32_t seg, uint32_t now);
void segment_expiry_add(struct segment_pool *p, uint32_t seg,
                        const uint32_t bytes[SEGMENT_EXPIRY_CLASSES]);
static inline unsigned
segment_expiry_class(uint32_t seconds)
{
    return seconds ? 31u - (unsigned)__builtin_clz(seconds) : 0;
}

/* Numbers from here on have never been used. */
uint32_t segment_end(struct segment_pool *p);
/* Can it be swept, and is it filled as it was when it had this sequence number? */
bool segment_is_still(struct segment_pool *p, uint32_t seg, uint32_t sequence);
/* For that, its sequence number; 0: no items are in it. */
uint32_t segment_sweepable(struct segment_pool *p, uint32_t seg);

static inline uint32_t
segment_filled(const struct segment_pool *p, uint32_t seg)
{
    return atomic_load_explicit(&p->segs[seg].filled, memory_order_acquire);
}

/* By its owner: the items up to here are whole. */
static inline void
segment_fill(struct segment_pool *p, uint32_t seg, uint32_t filled)
{
    atomic_store_explicit(&p->segs[seg].filled, filled, memory_order_release);
}

/* Looks again whether it is crowded, after the limit was changed. */
void segment_recount(struct segment_pool *p);

/* Are `n` segments free, or taken fresh without passing the limit?  A hint: others take too. */
static inline bool
segment_available(const struct segment_pool *p, uint32_t n)
{
    size_t used = atomic_load_explicit(&p->budget->used, memory_order_relaxed);
    size_t limit = atomic_load_explicit(&p->budget->limit, memory_order_relaxed);
    uint32_t ready = atomic_load_explicit(&p->ready, memory_order_relaxed);
    return ready + (limit > used ? (limit - used) >> p->seg_shift : 0) >= n;
}

/* Could a take succeed only after an eviction?  By the same sum that segment_take() makes. */
static inline bool
segment_short(const struct segment_pool *p)
{
    uint32_t want = atomic_load_explicit(&p->reserve, memory_order_relaxed);
    want += segment_kept(p);
    uint32_t ready = atomic_load_explicit(&p->ready, memory_order_relaxed);
    if (ready >= want)
        return false;
    size_t used = atomic_load_explicit(&p->budget->used, memory_order_relaxed) +
                  atomic_load_explicit(&p->budget->owed, memory_order_relaxed);
    size_t limit = atomic_load_explicit(&p->budget->limit, memory_order_relaxed);
    return used + (size_t)(want - ready) * p->seg_bytes > limit;
}

#endif
