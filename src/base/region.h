/*
 * region.h -- a stretch of address space that is reserved whole and used from its start.
 *
 * Reserving costs nothing (MAP_NORESERVE); region_use() makes a longer prefix usable, zero-filled,
 * where not all of it is from the start.  Addresses never move.  Not locked: one thread at a time
 * calls region_use.
 */
#ifndef BASE_REGION_H
#define BASE_REGION_H

#include <stdbool.h>
#include <stddef.h>

struct region {
    char *base;
    size_t reserved;      /* bytes, a multiple of the page size */
    size_t usable;        /* bytes from the start that may be touched */
    bool huge;
};

/* 0 or -errno. */
int region_reserve(struct region *r, size_t bytes, bool huge_pages);
void region_release(struct region *r);

/* Makes at least the first `bytes` usable, in steps that grow with the region. 0 or -errno. */
int region_use(struct region *r, size_t bytes);

/* Gives the pages of a part of the usable prefix back to the system; it reads as zero again. */
void region_drop(struct region *r, size_t at, size_t bytes);

/* Maps the pages of a part of the usable prefix, as if they were written to, and leaves what is in
 * them.  False: the system cannot do that, and each will cost a page fault when it is used. */
bool region_touch(struct region *r, size_t at, size_t bytes);

#endif
