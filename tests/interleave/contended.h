/*
 * contended.h -- which words of memory are used by two threads, at least one of them writing.
 *
 * Only there does it matter who comes first: switching threads before or after any other access
 * gives the same result.  What is learned in one schedule of a scenario holds for all of it.
 */
#ifndef INTERLEAVE_CONTENDED_H
#define INTERLEAVE_CONTENDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void contended_forget(void);
/* Thread number `thread` (below 8) uses these bytes.  Is any word of them contended? */
bool contended_use(const void *at, size_t bytes, unsigned thread, bool write);
/* Words known to be contended. */
uint64_t contended_count(void);

#endif
