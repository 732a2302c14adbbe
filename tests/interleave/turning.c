/*
 * turning.c -- loops that wait, found by their repetitions.
 */
#include "turning.h"

#include "watch.h"

#define ROUNDS 2u                      /* repetitions after the first time */

bool
turning_look(struct turning *t, struct turning_look now)
{
    for (unsigned p = 1; p <= TURNING_PERIOD_MAX; p++) {
        const struct turning_look *then = &t->looks[(t->count - p) % TURNING_PERIOD_MAX];
        bool same = t->count >= p && then->at == now.at && then->site == now.site &&
                    then->value == now.value;
        t->same[p] = same ? t->same[p] + 1 : 0;
    }
    t->looks[t->count++ % TURNING_PERIOD_MAX] = now;
    for (unsigned p = 1; p <= TURNING_PERIOD_MAX; p++)
        if (t->same[p] >= ROUNDS * p) {
            t->period = p;
            return true;
        }
    return false;
}

void
turning_stop(struct turning *t)
{
    t->count = 0;
    t->period = 0;
    for (unsigned p = 0; p <= TURNING_PERIOD_MAX; p++)
        t->same[p] = 0;
}

bool
turning_sees_news(const struct turning *t)
{
    for (unsigned p = 1; p <= t->period; p++) {
        const struct turning_look *l = &t->looks[(t->count - p) % TURNING_PERIOD_MAX];
        uint64_t value = 0;
        watch_real_copy(&value, l->at, l->bytes);
        if (value != l->value)
            return true;
    }
    return false;
}
