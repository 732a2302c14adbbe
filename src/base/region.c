/*
 * region.c -- reserved address space.
 *
 * Writable from the start where that costs nothing.  Under vm.overcommit_memory=2 and under
 * RLIMIT_DATA all that is writable is accounted: there it is made so in growing steps.  A step is
 * an mprotect, which wants mmap_lock for itself: a thread that is preempted in a page fault makes
 * it last for milliseconds.
 * Transparent huge pages are off unless asked for: a host set to "always" would round every touched
 * page up to 2 MiB and break the promise that the memory limit makes.  Core dumps leave the cache's
 * contents out (MADV_DONTDUMP).
 */
#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define STEP_MIN ((size_t)64 << 10)
#define STEP_MAX ((size_t)4 << 20)
#ifndef MADV_POPULATE_WRITE            /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED           /* Linux 5.18 */
#define MADV_DONTNEED_LOCKED 24
#endif

/* Is what is writable accounted for, touched or not?  If the system does not tell, yes. */
static bool
is_accounted(void)
{
    struct rlimit data;
    if (getrlimit(RLIMIT_DATA, &data) != 0 || data.rlim_cur != RLIM_INFINITY)
        return true;
    char mode = '2';
    int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, &mode, 1) != 1)
            mode = '2';
        close(fd);
    }
    return mode == '2';
}

int
region_reserve(struct region *r, size_t bytes, bool huge_pages)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    bytes = (bytes + STEP_MAX - 1) & ~(STEP_MAX - 1);
    void *at = MAP_FAILED;
    if (!is_accounted())
        at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    bool writable = at != MAP_FAILED;
    if (!writable)
        at = mmap(NULL, bytes, PROT_NONE, flags, -1, 0);
    if (at == MAP_FAILED)
        return -errno;
    madvise(at, bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    madvise(at, bytes, MADV_DONTDUMP);
    *r = (struct region){.base = at, .reserved = bytes, .usable = writable ? bytes : 0,
                         .huge = huge_pages};
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
    if (madvise(r->base + at, bytes, MADV_DONTNEED) == 0 || errno != EINVAL)
        return;
    /* locked in memory */
    if (madvise(r->base + at, bytes, MADV_DONTNEED_LOCKED) == 0)
        return;
    munlock(r->base + at, bytes);
    madvise(r->base + at, bytes, MADV_DONTNEED);
}

bool
region_touch(struct region *r, size_t at, size_t bytes)
{
    return madvise(r->base + at, bytes, MADV_POPULATE_WRITE) == 0;
}
