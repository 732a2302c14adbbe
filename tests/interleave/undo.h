/*
 * undo.h -- what memory held before it was written, so that a schedule can be taken back.
 *
 * Every write of the instrumented code is noted with what it overwrites; undo_all() puts it all
 * back, the last one first.  So each schedule starts from the very same bytes, at the cost of what
 * the one before it has written.
 */
#ifndef INTERLEAVE_UNDO_H
#define INTERLEAVE_UNDO_H

#include <stddef.h>
#include <stdint.h>

void undo_note(void *at, size_t bytes);
void undo_all(void);
/* Of all that was written, as it is now: if two are equal, so is what memory holds. */
uint64_t undo_fingerprint(void);

#endif
