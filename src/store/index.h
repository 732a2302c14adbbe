/*
 * index.h -- key -> location: linear hashing over groups of four buckets.
 *
 *   group g    [ bucket 0: 8 slots ][ bucket 1 ][ bucket 2 ][ bucket 3 ]       256 bytes
 *   control g  [ lock 1 | version 25 | depth 6 | first overflow line 32 ]      8 bytes, a side array
 *   line       [ 7 slots ][ next line ]                                        64 bytes, by need
 *   slot       [ location 38, in units of 4 bytes | tag 20 | frequency 2 | kind 4 ]     0 = empty
 *
 * Which bits of the hash are what: the low ones choose the group, 14 to 33 are the tag, the two
 * highest choose the bucket.  A group of depth d holds the hashes that end in the d low bits of its
 * number.  Splitting needs bit d: from 14 on it is in the tag and no key has to be read.
 * (Litwin, "Linear Hashing", VLDB 1980.)
 *
 * Invariants
 *   I1  a slot's group, bucket and tag are those of its item's hash
 *   I2  group g has depth L+1 if g < n - 2^L or g >= 2^L, else L, where n groups exist, 2^L <= n < 2^(L+1)
 *   I3  at most INDEX_LINES_MAX overflow lines hang on a group
 *   I4  no two slots hold the same location; no two hold the same key
 *
 * Threads: everything of a group is read and changed under its lock; a split holds two groups, the lower
 * number first.  The number of groups is published (release) after the new group is whole;
 * whoever computed a group from an older number sees by the depth that the hash is not of this
 * group and looks again.
 */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/region.h"
#include "budget.h"

#define INDEX_BUCKETS 4u
#define INDEX_SLOTS 8u
#define INDEX_LINE_SLOTS 7u
#define INDEX_LINES_MAX 12u            /* at the end of a round of splits a group holds 60 on average */
#define INDEX_GROUP_LOAD 30u           /* slots per group at which the index grows, of 32 */
#define INDEX_SPARE_LINES 8u

#define SLOT_LOCATION_BITS 38
#define SLOT_TAG_SHIFT 38
#define SLOT_TAG_MASK (0xfffffull << SLOT_TAG_SHIFT)
#define SLOT_KIND_SHIFT 60
#define HASH_TAG_SHIFT 14
#define HASH_TAG_BITS 20

typedef _Atomic uint64_t slot_word;

struct index_group {
    CACHE_ALIGNED slot_word slots[INDEX_BUCKETS][INDEX_SLOTS];
};
_Static_assert(sizeof(struct index_group) == 256, "four cache lines");

struct index_line {
    CACHE_ALIGNED slot_word slots[INDEX_LINE_SLOTS];
    uint64_t next;                     /* number of the next line, 0: none */
};
_Static_assert(sizeof(struct index_line) == 64, "one cache line");

struct index {
    struct index_group *groups;
    _Atomic uint64_t *controls;
    struct index_line *lines;          /* number 0 is never used */
    CACHE_ALIGNED _Atomic uint64_t group_count;
    CACHE_ALIGNED _Atomic int64_t slot_count;    /* about: threads hand theirs in by 32 */
    CACHE_ALIGNED atomic_bool growing;           /* held by the one thread that splits */
    uint64_t group_max;
    _Atomic uint64_t charged_groups;             /* written under growing */
    struct region group_region, control_region, line_region;
    struct budget *budget;

    CACHE_ALIGNED atomic_flag line_lock;         /* guards the rest */
    uint64_t line_free, line_fresh, line_max;
    _Atomic uint64_t charged_lines, lines_used;
};

/* What a thread keeps for the index: lines taken ahead, so that nothing is allocated under a lock. */
struct index_local {
    uint64_t spare[INDEX_SPARE_LINES];
    unsigned spare_count;
    int slots_delta;                   /* not handed in to slot_count yet */
};

/* A group that this thread holds the lock of. */
struct index_hold {
    uint64_t number;
    uint64_t control;                  /* as it was, unlocked */
};

int index_init(struct index *ix, uint64_t items_max, struct budget *budget);
void index_fini(struct index *ix);
size_t index_memory_bytes(const struct index *ix);

/* Locks the group of this hash. */
struct index_hold index_lock(struct index *ix, uint64_t hash);
/* changed: the version moves on. */
void index_unlock(struct index *ix, struct index_hold *h, bool changed);

/* A walk over the slots of a held group that may hold one hash; zero at first. */
struct index_cursor {
    unsigned at;                       /* slots passed of the bucket, then of the line */
    uint64_t line;                     /* 0: still in the bucket */
};

/* The next such slot, NULL: none is left.  The caller compares keys. */
slot_word *index_next(struct index *ix, const struct index_hold *h, uint64_t hash,
                      struct index_cursor *c);

/* The slot that holds this location, or NULL. */
slot_word *index_find(struct index *ix, const struct index_hold *h, uint64_t hash,
                      uint64_t location);

/*
 * An empty slot for this hash; with lines from `local` where the bucket is full.  NULL: the group is
 * full to its limit, one of *out_crowd's slots must go first.
 */
slot_word *index_place(struct index *ix, struct index_hold *h, uint64_t hash,
                       struct index_local *local, slot_word **out_crowd);

/* Takes spare lines; to be called outside locks, before an insertion. */
void index_local_fill(struct index *ix, struct index_local *local);
void index_local_drain(struct index *ix, struct index_local *local);

/* A slot was filled (+1) or emptied (-1).  Outside locks.  Grows the index by a few groups if due. */
void index_counted(struct index *ix, struct index_local *local, int delta,
                   uint64_t (*hash_of)(void *ctx, uint64_t location), void *ctx);

/* Fetches the bucket and the control word. */
void index_prefetch(struct index *ix, uint64_t hash);
/* I1, I2, I3 for one group; calls `seen` for each slot.  No other thread is inside.  NULL or a sentence. */
const char *index_verify_group(struct index *ix, uint64_t group,
                               const char *(*seen)(void *ctx, uint64_t slot, uint64_t *out_hash),
                               void *ctx);
/* Location of an item that probably has this hash, without any lock, 0: none.  A hint. */
uint64_t index_guess(struct index *ix, uint64_t hash);

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
hash_bucket(uint64_t hash)
{
    return (unsigned)(hash >> 62);
}

static inline unsigned
control_depth(uint64_t control)
{
    return control >> 26 & 63;
}

static inline uint64_t
control_line(uint64_t control)
{
    return control >> 32;
}

#endif
