/*
 * heap.c -- a stretch of memory for each thread, handed out from its start.
 */
#include "heap.h"

#include "base/check.h"
#include "schedule.h"
#include "watch.h"

#define HEAP_BYTES ((size_t)256 << 10)
#define HEADER_BYTES 16u
#define FRESH 0xa5
#define GONE 0xdd

static char heaps[SCHEDULE_THREADS_MAX + 1][HEAP_BYTES] __attribute__((aligned(64)));
static size_t used[SCHEDULE_THREADS_MAX + 1];

void *
heap_allocate(unsigned thread, size_t bytes)
{
    size_t padded = (bytes + HEADER_BYTES + 15) & ~(size_t)15;
    CHECK(used[thread] + padded <= HEAP_BYTES);
    char *at = heaps[thread] + used[thread];
    used[thread] += padded;
    watch_real_copy(at, &bytes, sizeof bytes);
    watch_real_fill(at + HEADER_BYTES, FRESH, bytes);
    return at + HEADER_BYTES;
}

void
heap_release(void *at)
{
    if ((char *)at < heaps[0] || (char *)at >= heaps[0] + sizeof heaps)
        return;
    size_t bytes;
    watch_real_copy(&bytes, (char *)at - HEADER_BYTES, sizeof bytes);
    watch_real_fill(at, GONE, bytes);
}

void
heap_forget(void)
{
    watch_real_fill(used, 0, sizeof used);
}
