/*
 * detail.h -- `stats detail`: gets, hits, sets and deletes by the prefix of the key.
 *
 * The prefix of a key is what comes before the first delimiter; keys without one are not counted,
 * nor are those whose prefix could not stand in a line of the dump (NUL, LF, blank).  There are at
 * most DETAIL_PREFIXES_MAX, in memory that is borrowed from the store: a prefix for which there is
 * none is not counted.
 *
 * Threads: any.  Off costs one look at a flag that hardly ever changes; on, one lock for all.
 */
#ifndef CMD_DETAIL_H
#define CMD_DETAIL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define DETAIL_PREFIXES_MAX 65536u

struct cmd_thread;
struct gather;
struct detail_prefix;
struct detail_block;

/* A miss and a hit are both gets. */
enum detail_event { DETAIL_MISS, DETAIL_HIT, DETAIL_SET, DETAIL_DELETE, DETAIL_EVENTS };

struct detail {
    _Atomic bool on;                   /* orders nothing: requests under way may miss a switch */
    char delimiter;
    pthread_mutex_t lock;              /* guards what follows */
    unsigned prefix_count;
    struct detail_prefix **buckets;    /* NULL: nothing has been counted */
    struct detail_block *blocks;       /* the one that is being filled first */
};

/* False: out of memory. */
bool detail_init(struct detail *d, char delimiter, bool on);
/* After detail_clear(). */
void detail_fini(struct detail *d);

static inline bool
detail_is_on(const struct detail *d)
{
    return atomic_load_explicit(&d->on, memory_order_relaxed);
}

/* word: "on" or "off"; what was counted stays.  False: it is neither. */
bool detail_switch(struct detail *d, struct slice word);

void detail_count(struct cmd_thread *t, struct slice key, enum detail_event event);

/* Forgets all prefixes and gives their memory back. */
void detail_clear(struct cmd_thread *t);

/* Appends the dump with its END.  False: it is too long, or out of memory. */
bool detail_gather(struct cmd_thread *t, struct gather *g);
/* About how much memory that and a copy of it take. */
size_t detail_gathered_bytes(struct detail *d);

#endif
