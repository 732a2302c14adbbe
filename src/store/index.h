/*
 * index.h -- key -> location: linear hashing over groups of four buckets.
 *
 *   group g    [ bucket 0: 8 slots ][ bucket 1 ][ bucket 2 ][ bucket 3 ]       256 bytes
 *   control g  [ lock 1 | version 24 | spilled 4 | depth 5 | first line 30 ]  8 bytes, a side array
 *   line       [ 7 slots ][ next line ]                                        64 bytes, by need
 *   slot       [ location 38, in units of 4 bytes | tag 20 | unused 2 | kind 4 ]        0 = empty
 *
 * Which bits of the hash are what: the low ones choose the group, 14 to 33 are the tag, whose two
 * highest choose the bucket.  A group of depth d holds the hashes that end in the d low bits of its
 * number.  Splitting needs bit d: from 14 on it is in the tag and no key has to be read.
 * (Litwin, "Linear Hashing", VLDB 1980.)
 *
 * Invariants
 *   I1  a slot's group, bucket and tag are those of its item's hash
 *   I2  group g has depth L+1 if g < n - 2^L or g >= 2^L, else L, where n groups exist,
 *       2^L <= n < 2^(L+1); a control word of depth field 0 is of no group
 *   I3  at most INDEX_LINES_MAX overflow lines hang on a group; all but the first are full
 *   I4  no two slots hold the same location; no two hold the same key
 *   I5  where a slot of bucket b lies in a line, bit b of `spilled` is set
 *
 * Threads.  Whoever changes a group holds its lock, and moves the version on.  Readers take no
 * lock:
 *
 *     index_look     control word (acquire)       pairs with index_unlock (release)
 *     index_next     slots, lines (acquire)       pairs with the stores of whoever holds the lock
 *     index_same     the control word again: what was seen in between belongs together
 *
 * A store to a slot releases the lock that was taken before it: a reader that has seen the slot
 * finds the control word locked or changed.  Two more things may happen to a reader: a group that
 * has been split or merged since its number was computed is known by its depth; a line that has
 * gone to another group in the meantime still holds slots, and the version tells.  The number of
 * groups is published (release) after the new group is whole, and before a merged one says that it
 * is gone.  A split or merge holds two groups, the lower number first.
 */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/check.h"
#include "base/prefetch.h"
#include "base/region.h"
#include "budget.h"
#include "epoch.h"
#include "lines.h"

#define INDEX_BUCKETS 4u
#define INDEX_SLOTS 8u
#define INDEX_LINES_MAX 12u            /* at the end of a round of splits a group holds about 60 */
#define INDEX_GROUP_LOAD 30u           /* slots per group at which the index grows, of 32 */
#define INDEX_GROUP_LOAD_MIN 20u       /* ... and below which it shrinks */
#define INDEX_GROUPS_MIN 256u
#define INDEX_SPARE_LINES 16u

#define SLOT_LOCATION_BITS 38
#define SLOT_TAG_SHIFT 38
#define SLOT_TAG_MASK (0xfffffull << SLOT_TAG_SHIFT)
#define SLOT_BUCKET_SHIFT 56
#define SLOT_KIND_SHIFT 60
#define HASH_TAG_SHIFT 14
#define HASH_TAG_BITS 20

#define CONTROL_LOCK 1ull
#define CONTROL_VERSION 2ull           /* a step; wraps after 2^24 changes of a group in one look */
#define CONTROL_VERSION_MASK (((1ull << 25) - 1) & ~CONTROL_LOCK)
#define CONTROL_SPILLED_SHIFT 25
#define CONTROL_SPILLED_MASK (15ull << CONTROL_SPILLED_SHIFT)
#define CONTROL_DEPTH_SHIFT 29
#define CONTROL_DEPTH_MASK (31ull << CONTROL_DEPTH_SHIFT)
#define CONTROL_DEPTH_BASE 7u          /* depths from 8 on; field 0: no such group */
#define CONTROL_LINE_SHIFT 34
#define CONTROL_LINE_MASK (~0ull << CONTROL_LINE_SHIFT)

struct index_group {
    CACHE_ALIGNED slot_word slots[INDEX_BUCKETS][INDEX_SLOTS];
};
_Static_assert(sizeof(struct index_group) == 256, "four cache lines");

struct index {
    struct index_group *groups;
    _Atomic uint64_t *controls;
    struct line_pool lines;
    struct region group_region, control_region;
    struct budget *budget;
    uint64_t group_max;
    CACHE_ALIGNED _Atomic uint64_t group_count;
    CACHE_ALIGNED _Atomic int64_t slot_count;    /* about: threads hand theirs in by 32 */
    CACHE_ALIGNED atomic_bool resizing;          /* held by the one thread that splits or merges */
    _Atomic int64_t merge_below;       /* slots; written under resizing */
    uint64_t dropping, drop_from;      /* under resizing: groups to give back, and when; 0: none */
    _Atomic uint64_t charged_groups, charged_controls;    /* written under resizing */
};

/* What a thread keeps for the index: lines, so that nothing is allocated under a lock. */
struct index_local {
    uint64_t spare[INDEX_SPARE_LINES];
    unsigned spare_count;
    uint32_t recalls;                  /* of the pool of lines, when they were taken */
    bool lines_busy;                   /* another thread was at it when spares were looked for */
    int slots_delta;                   /* not handed in to slot_count yet */
};

/* A group that this thread holds the lock of, or only looks at. */
struct index_hold {
    uint64_t number;
    uint64_t control;                  /* as it was, unlocked */
};

/* Reads items: their keys, where the tag lacks the bit that is needed, and their frequency. */
struct index_reader {
    uint64_t (*hash_of)(void *ctx, uint64_t location);
    unsigned (*frequency_of)(void *ctx, uint64_t location);
    void *ctx;
};

int index_init(struct index *ix, uint64_t items_max, bool huge_pages, struct budget *budget);
void index_fini(struct index *ix);
size_t index_memory_bytes(const struct index *ix);

/* ---- words ------------------------------------------------------------------------------- */

static inline uint64_t
slot_make(uint64_t location, uint64_t hash, uint32_t kind)
{
    return location | (hash >> HASH_TAG_SHIFT & ((1u << HASH_TAG_BITS) - 1)) << SLOT_TAG_SHIFT |
           (uint64_t)kind << SLOT_KIND_SHIFT;
}

static inline uint64_t
slot_location(uint64_t slot)
{
    return slot & ((1ull << SLOT_LOCATION_BITS) - 1);
}

static inline unsigned
slot_bucket(uint64_t slot)
{
    return slot >> SLOT_BUCKET_SHIFT & (INDEX_BUCKETS - 1);
}

static inline unsigned
hash_bucket(uint64_t hash)
{
    return hash >> (HASH_TAG_SHIFT + HASH_TAG_BITS - 2) & (INDEX_BUCKETS - 1);
}

/* 0: there is no such group. */
static inline unsigned
control_depth(uint64_t control)
{
    unsigned field = control >> CONTROL_DEPTH_SHIFT & 31;
    return field ? field + CONTROL_DEPTH_BASE : 0;
}

static inline uint64_t
control_line(uint64_t control)
{
    return control >> CONTROL_LINE_SHIFT;
}

static inline bool
control_spilled(uint64_t control, unsigned bucket)
{
    return control >> (CONTROL_SPILLED_SHIFT + bucket) & 1;
}

/* Of n groups. */
static inline uint64_t
index_group_among(uint64_t n, uint64_t hash)
{
    unsigned level = 63u - (unsigned)__builtin_clzll(n);
    uint64_t g = hash & ((2ull << level) - 1);
    return g < n ? g : g & ((1ull << level) - 1);
}

static inline uint64_t
index_group_of(const struct index *ix, uint64_t hash)
{
    return index_group_among(atomic_load_explicit(&ix->group_count, memory_order_acquire), hash);
}

static inline bool
index_owns(const struct index_hold *h, uint64_t hash)
{
    unsigned depth = control_depth(h->control);
    return depth && ((hash ^ h->number) & ((1ull << depth) - 1)) == 0;
}

/* ---- looking ----------------------------------------------------------------------------- */

/* The group of this hash, without its lock; false: it is locked, or on the move. */
static inline bool
index_look(const struct index *ix, uint64_t hash, struct index_hold *h)
{
    h->number = index_group_of(ix, hash);
    h->control = atomic_load_explicit(&ix->controls[h->number], memory_order_acquire);
    return LIKELY(!(h->control & CONTROL_LOCK) && index_owns(h, hash));
}

/* Nothing has changed since: all loads in between have acquired, so this one comes after them. */
static inline bool
index_same(const struct index *ix, const struct index_hold *h)
{
    return atomic_load_explicit(&ix->controls[h->number], memory_order_relaxed) == h->control;
}

/*
 * Which of these eight words have the tag in its place?  Without branches: which slot it is cannot
 * be guessed, and a processor that guesses wrong runs after somebody else's item.  The words may
 * change meanwhile: whoever uses one loads it again, and a "none" is worth what index_same() says.
 */
#if defined __SSE2__ && !UNDER_TSAN
static inline unsigned
index_matches(const slot_word *words, uint64_t tag)
{
    const __m128 *w = (const __m128 *)(uintptr_t)words;
    const __m128i mask = _mm_set1_epi32((int)(SLOT_TAG_MASK >> 32));
    const __m128i wanted = _mm_set1_epi32((int)(tag >> 32));
    unsigned matches = 0;
    for (unsigned i = 0; i < 2; i++) {
        /* the upper halves of four words */
        __m128i upper = _mm_castps_si128(_mm_shuffle_ps(w[2 * i], w[2 * i + 1], 0xdd));
        __m128i same = _mm_cmpeq_epi32(_mm_and_si128(upper, mask), wanted);
        matches |= (unsigned)_mm_movemask_ps(_mm_castsi128_ps(same)) << (4 * i);
    }
    __asm__ volatile("" ::: "memory"); /* these loads come before later ones, as x86 keeps them */
    return matches;
}
#else
static inline unsigned
index_matches(const slot_word *words, uint64_t tag)
{
    unsigned matches = 0;
    for (unsigned i = 0; i < INDEX_SLOTS; i++) {
        uint64_t word = atomic_load_explicit(&words[i], memory_order_acquire);
        matches |= (unsigned)(((word ^ tag) & SLOT_TAG_MASK) == 0) << i;
    }
    return matches;
}
#endif

/* A walk over the slots of a group that may hold one hash. */
struct index_cursor {
    slot_word *slots;                  /* of the bucket, then of a line */
    uint64_t tag;
    unsigned matches;                  /* of them, still to be looked at */
    unsigned lines;                    /* entered so far: unlocked, a chain may lead anywhere */
    uint64_t line;                     /* the next; 0: none */
};

static inline struct index_cursor
index_walk(const struct index *ix, const struct index_hold *h, uint64_t hash)
{
    unsigned bucket = hash_bucket(hash);
    slot_word *slots = ix->groups[h->number].slots[bucket];
    uint64_t tag = slot_make(0, hash, 0);
    return (struct index_cursor){
        .slots = slots, .tag = tag, .matches = index_matches(slots, tag),
        .line = control_spilled(h->control, bucket) ? control_line(h->control) : 0};
}

/* The next slot with the tag, and its word; NULL: none is left.  The caller compares keys. */
static inline slot_word *
index_next(const struct index *ix, struct index_cursor *c, uint64_t *out_slot)
{
    for (;;) {
        for (; c->matches; c->matches &= c->matches - 1) {
            slot_word *s = &c->slots[__builtin_ctz(c->matches)];
            uint64_t slot = atomic_load_explicit(s, memory_order_acquire);
            if (LIKELY(((slot ^ c->tag) & SLOT_TAG_MASK) == 0 && slot != 0)) {
                c->matches &= c->matches - 1;
                *out_slot = slot;
                return s;
            }
        }
        if (LIKELY(!c->line) || c->lines++ == INDEX_LINES_MAX)
            return NULL;
        struct index_line *line = &ix->lines.at[c->line];
        c->slots = line->slots;
        c->matches = index_matches(line->slots, c->tag) & ((1u << INDEX_LINE_SLOTS) - 1);
        c->line = atomic_load_explicit(&line->next, memory_order_acquire);
    }
}

/* Fetches the bucket and the control word. */
static inline void
index_prefetch(const struct index *ix, uint64_t g, uint64_t hash)
{
    prefetch(&ix->groups[g].slots[hash_bucket(hash)]);
    prefetch(&ix->controls[g]);
}

/* Fetches the first line, where the bucket of this hash has spilled into lines. */
static inline void
index_prefetch_line(const struct index *ix, const struct index_hold *h, uint64_t hash)
{
    if (control_spilled(h->control, hash_bucket(hash)))
        prefetch(&ix->lines.at[control_line(h->control)]);
}

/* Fetches the first line that this hash may lie in, and returns it; 0: none, or locked. */
static inline uint64_t
index_first_line(const struct index *ix, uint64_t hash)
{
    struct index_hold h;
    if (!index_look(ix, hash, &h) || !control_spilled(h.control, hash_bucket(hash)))
        return 0;
    prefetch(&ix->lines.at[control_line(h.control)]);
    return control_line(h.control);
}

/* ---- changing ---------------------------------------------------------------------------- */

/* Locks the group of this hash. */
struct index_hold index_lock(struct index *ix, uint64_t hash);
/* The same, if that is soon: false where the holder seems not to be running. */
bool index_lock_soon(struct index *ix, uint64_t hash, struct index_hold *h);
/* changed: the version moves on. */
void index_unlock(struct index *ix, struct index_hold *h, bool changed);
/* Locks a group by its number, whoever it belongs to; returns its control word. */
uint64_t index_lock_group(struct index *ix, uint64_t group);
bool index_lock_group_soon(struct index *ix, uint64_t group, uint64_t *out_control);

/* The slot that holds this location, or NULL. */
slot_word *index_find(const struct index *ix, const struct index_hold *h, uint64_t hash,
                      uint64_t location);

/* An empty slot for this hash; with a line from `local` where the bucket is full.  NULL: the group
 * is full to its limit, see index_crowded(). */
slot_word *index_place(struct index *ix, struct index_hold *h, uint64_t hash,
                       struct index_local *local);
/*
 * Of the slots that this hash could use, one to be overwritten: out of a few, other ones each time,
 * that with the lowest frequency.
 */
slot_word *index_crowded(struct index *ix, struct index_hold *h, uint64_t hash,
                         struct index_reader reader);
/* Empties a slot.  Others may move to keep lines few and full. */
void index_remove(struct index *ix, struct index_hold *h, slot_word *slot,
                  struct index_local *local);

/* Takes spare lines, or gives some back; to be called outside locks, before an insertion. */
void index_local_fill(struct index *ix, struct index_local *local);
/* It found none, because another thread was at the pool: there may be some in a moment. */
static inline bool
index_awaits_lines(const struct index_local *local)
{
    return local->spare_count == 0 && local->lines_busy;
}

void index_local_drain(struct index *ix, struct index_local *local);

/* ---- growing and shrinking, resize.c ------------------------------------------------------ */

/* Slots were filled (+) or emptied (-).  Outside locks.  Grows the index by a few groups if due. */
void index_counted(struct index *ix, struct index_local *local, int delta,
                   struct index_reader reader);

enum index_relief { INDEX_GREW, INDEX_FITS, INDEX_BUSY, INDEX_NO_ROOM };
/* A group was full.  FITS: the index is as large as it should be, the keys are to blame; BUSY:
 * another thread is at it, or at the lines; NO_ROOM: at the limit, a segment has been asked for.
 * Outside locks. */
enum index_relief index_relieve(struct index *ix, struct index_local *local,
                                struct index_reader reader);

/* Is the index larger than what it holds needs? */
bool index_shrink_due(const struct index *ix);
/* Bytes that shrinking will give back, as far as that goes on. */
size_t index_surplus_bytes(const struct index *ix);
/* What it holds at the least, however few entries there are. */
size_t index_least_bytes(const struct index *ix);
/* A slice of shrinking: a few groups merged, memory given back.  Outside locks. */
void index_shrink(struct index *ix, struct index_local *local, struct epoch *epoch);

/* I1, I2, I3, I5 for one group; calls `seen` for each slot.  No other thread is inside.  NULL or a
 * sentence. */
const char *index_verify_group(struct index *ix, uint64_t group,
                               const char *(*seen)(void *ctx, uint64_t slot, uint64_t *out_hash),
                               void *ctx);

#endif
