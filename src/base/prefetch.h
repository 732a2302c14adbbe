/*
 * prefetch.h -- asks for a cache line ahead of its use.
 *
 * A function that does nothing but __builtin_prefetch counts as one without effect: gcc 12 drops
 * the calls of it.  The empty asm is an effect.
 */
#ifndef BASE_PREFETCH_H
#define BASE_PREFETCH_H

static inline void
prefetch(const void *at)
{
    __builtin_prefetch(at, 0, 3);
    __asm__ volatile("" : : "r"(at));
}

#endif
