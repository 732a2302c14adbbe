/*
 * turning.h -- does a thread turn in a loop, waiting for others?
 *
 * It does if its last atomic operations were the same one to four three times over, made by the
 * same instructions, all of them saw what they had seen before, and it has written nothing since
 * the first.  It need not run before one of those words has changed.  (Without the instructions,
 * code that reads a word of an entry again and again on its way would be taken for a loop.)
 */
#ifndef INTERLEAVE_TURNING_H
#define INTERLEAVE_TURNING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TURNING_PERIOD_MAX 4u

struct turning_look {
    const void *at, *site;
    size_t bytes;
    uint64_t value;
};

struct turning {
    struct turning_look looks[TURNING_PERIOD_MAX];    /* the last ones, by number */
    unsigned count;
    unsigned same[TURNING_PERIOD_MAX + 1];    /* [p]: so many were like the one p before */
    unsigned period;                   /* while it turns; 0: it does not, or it has yielded */
};

/* An operation that changed nothing.  True: it turns. */
bool turning_look(struct turning *t, struct turning_look now);
/* It has done something. */
void turning_stop(struct turning *t);
/* One of the words is not what it was. */
bool turning_sees_news(const struct turning *t);

#endif
