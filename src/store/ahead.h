/*
 * ahead.h -- keys that are about to be asked for: looked up many at once, before their turn.
 *
 * One lookup alone waits for memory three times: bucket, item, the rest of the item.  Those of a
 * chunk of keys wait together, and while a chunk is executed the buckets of the next are on
 * their way:
 *
 *     hashes   | chunk: buckets looked through, items on their way | next: buckets on theirs | ...
 *
 * What was found in a bucket is kept: if the group's control word is still the same when the key's
 * turn comes, it is as good as if it had been found then.
 *
 * Owner: one thread, for one section.
 */
#ifndef STORE_AHEAD_H
#define STORE_AHEAD_H

#include "index.h"

#define AHEAD_CHUNK 16u
#define AHEAD_RING (2 * AHEAD_CHUNK)

/* What is known of one hash. */
struct ahead_look {
    struct index_hold hold;            /* control CONTROL_LOCK: nothing */
    uint64_t slot;                     /* the first with its tag; 0: there is none */
};

struct ahead {
    const uint64_t *hashes;
    unsigned count, walked;            /* hashes; so many of their buckets were looked through */
    struct ahead_look looks[AHEAD_RING];
};

#endif
