/*
 * heap.h -- malloc() for threads under a schedule: addresses depend on nothing but the thread and
 * what it has asked for, and nothing is used twice within a schedule.
 */
#ifndef INTERLEAVE_HEAP_H
#define INTERLEAVE_HEAP_H

#include <stddef.h>

void *heap_allocate(unsigned thread, size_t bytes);
/* Its bytes are destroyed, so that who still uses it shows.  Memory of others is left alone: it is
 * from before the schedule, and will be there again after it. */
void heap_release(void *at);
/* All of it is free again. */
void heap_forget(void);

#endif
