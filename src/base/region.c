/*
 * region.c -- reserved address space.
 *
 * mprotect in growing steps rather than one writable mapping: under vm.overcommit_memory=2 a
 * writable reservation of all RAM would be refused.  Transparent huge pages are off unless asked
 * for: a host set to "always" would round every touched page up to 2 MiB and break the promise
 * that the memory limit makes.  Core dumps leave the cache's contents out (MADV_DONTDUMP).
 */
#include "region.h"

#include <errno.h>
#include <sys/mman.h>

#define STEP_MIN ((size_t)64 << 10)
#define STEP_MAX ((size_t)4 << 20)

int
region_reserve(struct region *r, size_t bytes, bool huge_pages)
{
    bytes = (bytes + STEP_MAX - 1) & ~(STEP_MAX - 1);
    void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return -errno;
    madvise(at, bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    madvise(at, bytes, MADV_DONTDUMP);
    *r = (struct region){.base = at, .reserved = bytes, .huge = huge_pages};
    return 0;
}

void
region_release(struct region *r)
{
    if (r->base)
        munmap(r->base, r->reserved);
    *r = (struct region){0};
}

int
region_use(struct region *r, size_t bytes)
{
    if (bytes <= r->usable)
        return 0;
    if (bytes > r->reserved)
        return -ENOMEM;
    size_t step = r->usable / 8;
    step = step < STEP_MIN ? STEP_MIN : step > STEP_MAX ? STEP_MAX : step;
    size_t want = (bytes + step - 1) / step * step;
    want = (want + STEP_MIN - 1) & ~(STEP_MIN - 1);
    if (want > r->reserved)
        want = r->reserved;
    if (mprotect(r->base + r->usable, want - r->usable, PROT_READ | PROT_WRITE) != 0)
        return -errno;
    r->usable = want;
    return 0;
}

void
region_drop(struct region *r, size_t at, size_t bytes)
{
    madvise(r->base + at, bytes, MADV_DONTNEED);
}
