/*
 * reference.h -- what a read of memory costs here, now: a walk over a random cycle of cache lines.
 *
 * Each line holds the address of the next, so that no read can begin before the last has ended.
 * The mapping is as large as what is compared with it, and of the same page size: then caches
 * and address translation have the same work.  Every figure is given in such reads, because
 * nanoseconds of different machines, and of different minutes, cannot be compared.
 *
 * Include it after common.h.
 */
#ifndef BENCH_REFERENCE_H
#define BENCH_REFERENCE_H

#include <sys/mman.h>

#define REFERENCE_LINE       64u
#define REFERENCE_HUGE_BYTES ((size_t)2 << 20)

struct reference {
    char *base;
    size_t bytes;
    void *at; /* the line where the next walk begins */
};

/* Bytes of this process that lie in huge pages. */
static inline size_t
reference_huge_bytes(void)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");

    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "AnonHugePages: %zu kB", &kib) == 1)
            break;
    fclose(f);
    return kib << 10;
}

/* One cycle through all lines, each as likely as any other: Sattolo's shuffle (1986). */
static inline void
reference_shuffle(struct reference *r, uint64_t seed)
{
    size_t lines = r->bytes / REFERENCE_LINE;

    for (size_t i = 0; i < lines; i++)
        *(void **)(void *)(r->base + i * REFERENCE_LINE) = r->base + i * REFERENCE_LINE;
    for (size_t i = lines - 1; i > 0; i--) {
        void **a = (void **)(void *)(r->base + i * REFERENCE_LINE);
        void **b = (void **)(void *)(r->base + mix64(seed + i) % i * REFERENCE_LINE);
        void *swapped = *a;

        *a = *b;
        *b = swapped;
    }
}

static inline void
reference_create(struct reference *r, size_t bytes, bool huge_pages, uint64_t seed)
{
    size_t huge = REFERENCE_HUGE_BYTES, whole = (bytes + huge - 1) / huge * huge;
    char *at = mmap(NULL, whole + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        die("no memory for the reference: %zu bytes", whole);
    r->base = at + (huge - (uintptr_t)at % huge) % huge;
    r->bytes = whole;
    if (madvise(r->base, whole, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
        die("madvise: %s", strerror(errno));
    reference_shuffle(r, seed);
    r->at = r->base;
}

/* Reads that many lines one after the other; returns the line reached. */
static inline void *
reference_walk(void *at, uint64_t reads)
{
    while (reads--)
        at = *(void *volatile *)at;
    return at;
}

#endif
