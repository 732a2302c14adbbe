/*
 * inner.h -- what the files of the store share: the store itself, its threads, the words they use.
 *
 * Life of an entry:
 *
 *   put.c    filled in the thread's ACTIVE segment -> slot stored under the group's lock: it exists
 *   get.c    found through the slot without a lock, copied or pointed at; lease.c: the same, or
 *            under the lock where something is due: expiry, a token, an entry to be made
 *   put.c    replaced, deleted; get.c: found expired or flushed -> unlink(), counted by cause
 *   evict.c  its segment's turn comes: copied on, or unlinked (evicted, expired, flushed); the
 *            segment waits for the grace period and is free
 *   sweep.c  unlinked because it has expired
 *
 * Lock order: a group's lock (of two, the lower number first), then nothing.  pool.lock, keep.lock
 * and the lock of the lines are taken alone.
 */
#ifndef STORE_INNER_H
#define STORE_INNER_H

#include <pthread.h>

#include "base/list.h"
#include "base/poison.h"
#include "obs/counter.h"

#include "ahead.h"
#include "budget.h"
#include "epoch.h"
#include "ghost.h"
#include "index.h"
#include "item.h"
#include "segment.h"
#include "store.h"

enum store_counter {
    COUNT_STORED, COUNT_REPLACED, COUNT_DELETED, COUNT_EXPIRED, COUNT_EVICTED, COUNT_FLUSHED,
    COUNT_EVICTED_UNFETCHED, COUNT_EXPIRED_UNFETCHED, COUNT_INDEX_EVICTED, COUNT_AGAIN,
    COUNT_BYTES_STORED, COUNT_GHOST_HITS, COUNT_FOUND_EXPIRED, COUNT_FOUND_FLUSHED,
    COUNT_STORE_COUNTERS
};

/* Pieces of a value whose head is gone, to be unlinked in slices. */
struct doomed {
    struct doomed *next;
    uint64_t serial;
    uint32_t piece, piece_count;
};
#define DOOMS_MAX 2u                   /* under one lock: what is replaced, what is crowded out */

struct store_thread {
    CACHE_ALIGNED struct store *store;
    struct epoch_word *epoch_word;
    unsigned number;                   /* 0 .. threads_max - 1 */
    bool inside;
    uint32_t now;
    uint32_t active[SEGMENT_QUEUES];   /* segments that it fills, 0: none ... */
    uint32_t active_fill[SEGMENT_QUEUES];    /* ... and how far, in bytes */
    uint64_t new_items, new_bytes;     /* stored since it last sealed a segment */
    uint32_t thinned;                  /* segment for segment_thinned() after this call; 0: none */
    uint64_t cas_last, serial_last;
    struct store_append *append;       /* a long result that it is making; or NULL */
    struct index_local local;
    struct segment_demand demand;      /* for store_populate */
    uint32_t seen_bytes;               /* running mean of the small items it looked at, times 16 */
    struct ahead ahead;
    struct doomed dooms[DOOMS_MAX];    /* values in pieces unlinked in this call */
    unsigned doom_count;
    counter counters[COUNT_STORE_COUNTERS];
    _Alignas(8) char scratch[STORE_SMALL_BYTES_MAX];    /* the small item that was looked at last */
};

/* What becomes of a victim's live entries. */
enum keep_mode {
    KEEP_EVICT,      /* all go */
    KEEP_CLEAN,      /* all are copied on, within their queue */
    KEEP_SMALL,      /* those looked at often enough move to the main queue, the rest goes */
    KEEP_MAIN        /* those looked at often enough get a second chance, the rest goes */
};

/* A segment that the copier fills; seg 0: none. */
struct copy_to {
    uint32_t seg, fill;
};

/* Housekeeping: one thread at a time, whoever calls store_maintain first. */
struct keep {
    CACHE_ALIGNED atomic_bool busy;    /* guards all but the atomic ones that follow */
    atomic_bool hopeless;              /* not evicting: no segment was worth cleaning ... */
    _Atomic uint32_t hopeless_until;   /* ... until this second: expiry may have changed it then */
    atomic_bool flushed;               /* not evicting: sealed segments may be of before a flush */
    _Atomic uint32_t doomed_count;
    _Atomic uint32_t victim;           /* segment being walked, 0: none; read by anybody */
    uint32_t victim_at, victim_copied; /* bytes of it that are done, and that live on */
    unsigned turn;                     /* part of housekeeping that begins the next slice */
    enum keep_mode mode;
    struct copy_to copies[SEGMENT_QUEUES];
    uint32_t spare;                    /* evicting: a segment kept back for copies; or 0 */
    uint64_t taken_by_copier;          /* segments, since the start */

    uint64_t taken_seen;               /* segments others had taken when clean_credit was made up */
    int64_t clean_credit;              /* bytes that cleaning may copy */
    uint64_t in_vain;                  /* bytes spared, not cleaning, since a segment was won */
    uint64_t won;                      /* bytes freed meanwhile */

    atomic_bool sweeping;              /* a round of the sweep is on its way */
    _Atomic uint32_t swept_at;         /* second in which the last one began */
    atomic_bool forced;                /* one that sweeps all is asked for, not evicting ... */
    _Atomic uint32_t forced_rest;      /* ... which may not be before this second */
    unsigned sweep_asked;              /* times that it was its turn while room was made */
    bool sweep_all;                    /* whatever has expired, not only what is worth it */
    uint32_t sweep_hand;               /* segment that was looked at last */
    uint32_t sweep_seg, sweep_at;      /* being swept, 0: none; bytes that are done */
    uint32_t sweep_sequence, sweep_began, sweep_all_began;
    uint32_t sweep_expired;            /* bytes that it was said to have */
    uint64_t sweep_sum;                /* bytes expired in what was not worth it */
    uint32_t sweep_bytes[SEGMENT_EXPIRY_CLASSES];

    /* Written by whoever is busy, read by anybody: */
    _Atomic uint64_t promoted, second_chances;    /* entries */
    _Atomic uint64_t bytes_evicting, bytes_cleaning;    /* copied */
    _Atomic uint64_t expired_held;     /* bytes, when the last round of the sweep ended */
    _Atomic uint64_t age_fetched, age_unfetched;    /* running means, seconds << 8 */
    /* Slices, written by whoever is busy: number, the longest, how many took longer than
     * STORE_SLICE_LONG_NS, and the wall time of all, where each counts with at most that. */
    _Atomic uint64_t slices, longest_ns, long_slices, time_ns;
    CACHE_ALIGNED pthread_mutex_t lock;
    struct doomed *doomed;             /* under lock */
};

struct store {
    struct store_config config;
    uint64_t seed;
    uint64_t residues;                 /* power of two >= threads_max */
    size_t inline_bytes_max;           /* values up to here are one item */
    uint32_t piece_bytes;              /* of value in a whole piece */
    uint64_t clock_start_ns;
    struct budget budget;
    struct epoch epoch;
    struct segment_pool pool;
    struct index index;
    struct ghost ghost;
    _Atomic uint64_t mean_bytes;       /* of stored entries, running, << 8 */
    atomic_bool expiring;              /* an entry that expires was stored */
    CACHE_ALIGNED _Atomic uint32_t flush_epoch;
    _Atomic uint32_t flush_at;         /* 0: none is to come */
    _Atomic uint32_t uploads_open;
    _Atomic uint32_t wish_seen_at;     /* second in which wish_seen was budget.owed */
    atomic_size_t wish_seen;
    struct keep keep;
    pthread_mutex_t threads_lock;
    struct store_thread **threads;     /* threads_max of them, NULL where nobody joined */
    uint64_t parted[COUNT_STORE_COUNTERS];   /* counters of threads that have parted */
    uint64_t joins, cas_floor;         /* numbers given by parted threads are not given again */
    _Atomic uint32_t joined;           /* threads that are */
};

enum item_state { ITEM_LIVE, ITEM_EXPIRED, ITEM_FLUSHED };

enum cause { CAUSE_REPLACED, CAUSE_DELETED, CAUSE_EXPIRED, CAUSE_EVICTED, CAUSE_FLUSHED };

/* ---- locations --------------------------------------------------------------------------- */

static inline struct item *
item_at(const struct store *s, uint64_t location)
{
    return (struct item *)(void *)(s->pool.memory.base + location * 4);
}

static inline uint64_t
location_of(const struct store *s, const struct item *it)
{
    return (uint64_t)((const char *)it - s->pool.memory.base) / 4;
}

static inline uint32_t
segment_of(const struct store *s, uint64_t location)
{
    return (uint32_t)(location >> (s->pool.seg_shift - 2));
}

static inline enum item_state
item_state(const struct store_thread *t, const struct item *it, uint64_t location)
{
    const struct store *s = t->store;
    uint32_t seg = segment_of(s, location);
    if (atomic_load_explicit(&s->pool.flush_epochs[seg], memory_order_relaxed) !=
        atomic_load_explicit(&s->flush_epoch, memory_order_relaxed))
        return ITEM_FLUSHED;
    return item_expired(it, t->now) ? ITEM_EXPIRED : ITEM_LIVE;
}

/* ---- keys that were announced, ahead.c --------------------------------------------------- */

/* Goes on to the next chunk of keys. */
void ahead_move(struct store_thread *t);

/* It is the turn of this key; every operation says so.  True: ahead_known() tells of it. */
static inline bool
ahead_go(struct store_thread *t, const struct store_key *key)
{
    struct ahead *a = &t->ahead;
    unsigned i = key->ahead - 1;
    if (i >= a->count || a->hashes[i] != key->hash)
        return false;
    while (i >= a->walked)
        ahead_move(t);
    return a->walked - i <= AHEAD_CHUNK;
}

static inline const struct ahead_look *
ahead_known(const struct store_thread *t, const struct store_key *key)
{
    return &t->ahead.looks[(key->ahead - 1) % AHEAD_RING];
}

/* ---- shared steps, link.c ---------------------------------------------------------------- */

static inline bool
link_has_key(const struct item *it, struct slice key)
{
    return item_key_bytes(it) == key.len && !(item_kind(it) & ITEM_PIECE) &&
           memcmp(item_key(it), key.at, key.len) == 0;
}

/* The slot and item of a key in the held group; NULL: none.  Expired and flushed ones too. */
slot_word *link_find(struct store_thread *t, const struct index_hold *h, struct store_key key,
                     struct item **out_item);

/* Room for `bytes` in a segment that the thread fills; NULL: *out_why is AGAIN or NO_MEMORY. */
char *link_room(struct store_thread *t, enum segment_queue queue, uint32_t bytes,
                enum store_outcome *out_why);
/* There was no segment: AGAIN, and more are held ahead from now on; or NO_MEMORY. */
enum store_outcome link_no_segment(struct store_thread *t);
/* Not evicting, and nearly all is alive: AGAIN while what was flushed is given back and, once a
 * second, what has expired is swept out; or NO_MEMORY. */
enum store_outcome link_crowded(struct store_thread *t);
/* Takes spare lines for an insertion.  False: there are none, and nothing may be evicted for it. */
bool link_ready(struct store_thread *t);
/* The room is now an item. */
void link_room_used(struct store_thread *t, enum segment_queue queue, uint32_t bytes);
/* ACTIVE -> SEALED. */
void link_seal_segment(struct store *s, uint32_t seg, uint32_t filled);
/* What it fills becomes evictable: at the end, or where it takes so long that all else is younger. */
void link_seal(struct store_thread *t, enum segment_queue queue);
void link_seal_old(struct store_thread *t);
/* True: as much as half of the limit has been stored since it was opened; it is to be sealed. */
bool link_age(struct store *s, uint32_t seg);

/*
 * Group held: an empty slot for this hash (+1 to *slots_delta), or with `crowd` that of another
 * entry of the full group, which is evicted.  NULL: full, see link_relieve().
 */
slot_word *link_place(struct store_thread *t, struct index_hold *h, uint64_t hash, bool crowd,
                      int *slots_delta);
/*
 * Not held: the group was full.  OK: try again, with *crowd as it now is; AGAIN: the index is about
 * to grow; NO_MEMORY.
 */
enum store_outcome link_relieve(struct store_thread *t, bool *crowd);

/* Group held: makes `it`, complete in an active, lent or copier's segment, findable in this slot.
 * An old entry there must have been counted as gone. */
void link_item(struct store_thread *t, uint64_t hash, struct item *it, slot_word *slot);

/* What is held in vain when it has expired: a value in pieces is found by its head. */
uint32_t link_expiring_bytes(const struct store *s, struct item *it);
/* Group held: it will expire at another time than before. */
void link_expires(struct store_thread *t, struct item *it, uint32_t before);

/* Group held: the item is counted as gone; its slot is about to be overwritten. */
void link_gone(struct store_thread *t, struct item *it, enum cause cause);
/* The same, and the slot is emptied; other slots of the group may move. */
void link_remove(struct store_thread *t, struct index_hold *h, slot_word *slot, struct item *it,
                 enum cause cause);

/* After unlocking: what link_gone has left to do, values in pieces and emptied segments. */
void link_settle(struct store_thread *t, int slots_delta);
/* Nothing leads to the first pieces of this value any more: they are unlinked in slices. */
void link_doom(struct store_thread *t, uint64_t serial, uint32_t piece_count);

/* The number of a new value of a key whose last one was `old`. */
uint64_t link_cas_next(struct store_thread *t, uint64_t old);

/* Expired or flushed entries are taken out where they are met: NULL then, else the slot. */
slot_word *link_find_live(struct store_thread *t, struct index_hold *h, struct store_key key,
                          struct item **out_item, enum store_gone *out_gone, int *slots_delta);

struct index_reader link_reader(struct store *s);

/* Not evicting, and nothing to clean was found a moment ago. */
static inline bool
link_hopeless(const struct store *s, uint32_t now)
{
    return !s->config.evict && atomic_load_explicit(&s->keep.hopeless, memory_order_relaxed) &&
           now < atomic_load_explicit(&s->keep.hopeless_until, memory_order_relaxed);
}

/* Something has died: there may be room again. */
static inline void
link_hope(struct store *s)
{
    if (atomic_load_explicit(&s->keep.hopeless, memory_order_relaxed))
        atomic_store_explicit(&s->keep.hopeless, false, memory_order_relaxed);
}

/* Segments of before a flush were sealed, or those sealed have just become so.  Where nothing is
 * evicted they are given back at once: what is in them would count as alive. */
static inline void
link_flushed(struct store *s)
{
    if (!s->config.evict)
        atomic_store_explicit(&s->keep.flushed, true, memory_order_release);
    link_hope(s);
}

/* What an item adds to its segment's `live`. */
static inline uint64_t
live_share(const struct item *it)
{
    uint64_t entries = item_kind(it) & ITEM_PIECE ? 0 : 1;
    return entries << 32 | item_bytes(it);
}

static inline void
count(struct store_thread *t, enum store_counter c)
{
    counter_add(&t->counters[c], 1);
}

/* Who looked for an entry, not to store another, has found that it is out of date. */
static inline void
count_found(struct store_thread *t, enum store_gone gone)
{
    if (gone == STORE_GONE_EXPIRED)
        count(t, COUNT_FOUND_EXPIRED);
    else if (gone == STORE_GONE_FLUSHED)
        count(t, COUNT_FOUND_FLUSHED);
}

static inline enum cause
cause_of(enum item_state state)
{
    return state == ITEM_EXPIRED ? CAUSE_EXPIRED : CAUSE_FLUSHED;
}

#define LOOK_ROUNDS 4u                 /* unlocked; writers without pause must not starve it */

/* ---- large.c, upload.c -------------------------------------------------------------------- */

uint32_t large_piece_count(const struct store *s, uint64_t value_bytes);
/* Unlinks piece `number`, if it is there; false: whoever holds its group seems not to run. */
bool large_unlink_piece(struct store_thread *t, uint64_t serial, uint32_t number);
/* Its pieces belong to the time after the last flush_all: an upload is as old as its last step. */
void large_stamp(struct store *s, struct store_upload *u);
/* Nothing was flushed since: pieces that are missing now stay away. */
bool large_is_stamped(const struct store *s, const struct store_upload *u);
/*
 * An upload that waits for no client, outside the allowance: it has one segment at a time, which
 * becomes an ordinary one when it is full, in this queue unless the value is very long.
 */
enum store_outcome large_open_own(struct store_thread *t, uint64_t value_bytes,
                                  enum segment_queue queue, struct store_upload **out_upload);
/* The value is stored: its segments become ordinary ones, in the queue of its head. */
void large_adopt(struct store_thread *t, struct store_upload *u, enum segment_queue queue);
struct item_pieces large_pieces(const struct store_upload *u);
uint64_t large_received(const struct store_upload *u);    /* bytes */
bool large_complete(const struct store_upload *u);
bool large_broken(const struct store_upload *u);

/* ---- evict.c, sweep.c --------------------------------------------------------------------- */

/* Makes room, if any has to be made and can be; returns what is left of the budget. */
unsigned evict_some(struct store_thread *t, unsigned budget);
/* For copies, where there is eviction: when the store is made, and when it has been used. */
void evict_take_spare(struct store *s);
/* The entry has expired, if it still is what the index leads to; false: its group is busy. */
bool evict_expired(struct store_thread *t, struct item *it);
/* Key and hash do not change, but words that hold a part of the key are written with the value. */
uint64_t evict_hash(const struct store *s, struct item *it);
/* Goes on with a round of the sweep; returns what is left of the budget. */
unsigned sweep_some(struct store_thread *t, unsigned budget);
/* Begins a round: each second, if there is anything that expires. */
void sweep_if_due(struct store *s, uint32_t now);
/* Begins one that takes out all that has expired, or there is one; false: there has just been one,
 * and there is nothing to be hoped for. */
bool sweep_force(struct store *s, uint32_t now);

uint32_t store_clock(const struct store *s);

static inline void
add_to(_Atomic uint64_t *sum, uint64_t n)    /* by one thread at a time */
{
    atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* ---- lease.c ------------------------------------------------------------------------------ */

enum store_outcome lease_get(struct store_thread *t, struct store_key key,
                             const struct store_get_options *options, struct store_view *v);
/* Where looking without the lock has come to no end; no option: what a plain get does. */
enum store_outcome lease_get_locked(struct store_thread *t, struct store_key key,
                                    const struct store_get_options *how, struct store_view *v);

/* ---- append.c ----------------------------------------------------------------------------- */

enum store_outcome append_put(struct store_thread *t, const struct store_put *put,
                              struct store_result *out);

/* ---- put.c -------------------------------------------------------------------------------- */

/* What must still hold of the old entry when the new one is linked. */
struct put_same {
    uint64_t location;                 /* 0: no condition */
    uint64_t control;                  /* the group's control word when it was read */
};

struct put_job {
    const struct store_put *put;
    struct slice parts[2];             /* the value */
    uint32_t blanks;                   /* behind it, part of it */
    uint32_t value_bytes, client_flags, kind, bytes;
    uint8_t marks, marks_kept;         /* of the new entry; and those, where the old one has them */
    bool absent;                       /* only where there is no entry, else EXISTS; no mode */
    bool keep_expiry, keep_cas;        /* the old entry's */
    const uint64_t *cas_is;            /* the old entry's, else EXISTS; NULL: any */
    struct put_same same;              /* else EXISTS; no mode */
    enum segment_queue queue;          /* where it is written; put_run() chooses */
    uint32_t old_expiry;               /* out: of the entry that was replaced */
};

void put_job_init(struct put_job *job, const struct store_thread *t, const struct store_put *put,
                  uint32_t client_flags);
/* OK, AGAIN, ... as store_put; EXISTS: what the job asks of the old entry does not hold. */
enum store_outcome put_run(struct store_thread *t, struct put_job *job, struct store_result *out);

#endif
