/*
 * ghost.c -- see ghost.h.
 */
#include "ghost.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define LIMIT_SHARE 128u               /* of the limit that it is */
#define PAGE_BYTES 4096u
#define STEP_BYTES ((size_t)64 << 10)  /* given back in one step */
#define TOUCH_BYTES ((size_t)16 << 10) /* in one step: a page may cost a virtual machine 30 us */

/* Whole pages of them. */
static uint32_t
lines_for(size_t limit)
{
    return (uint32_t)(limit / LIMIT_SHARE / PAGE_BYTES * (PAGE_BYTES / CACHE_LINE));
}

static uint32_t
lines_held(const struct ghost *g)
{
    return atomic_load_explicit(&g->held, memory_order_relaxed);
}

int
ghost_init(struct ghost *g, size_t reserve_bytes, bool huge_pages, struct budget *budget)
{
    *g = (struct ghost){.budget = budget};
    int e = region_reserve(&g->region, (size_t)lines_for(reserve_bytes) * CACHE_LINE, huge_pages);
    g->lines = (struct ghost_line *)(void *)g->region.base;
    g->most = (uint32_t)(g->region.reserved / CACHE_LINE);
    while (e == 0 && ghost_fit(g))
        ;
    return e;
}

void
ghost_fini(struct ghost *g)
{
    region_release(&g->region);
}

/*
 * Memory that is about to be marked all over is touched ahead, lest the walk of a slice meet a page
 * fault with each entry: as soon as half of the limit is in use.
 */
static bool
touch_due(const struct ghost *g)
{
    return (size_t)lines_held(g) * CACHE_LINE >
               atomic_load_explicit(&g->touched, memory_order_relaxed) &&
           atomic_load_explicit(&g->budget->used, memory_order_relaxed) >
               atomic_load_explicit(&g->budget->limit, memory_order_relaxed) / 2;
}

static void
touch(struct ghost *g)
{
    size_t from = atomic_load_explicit(&g->touched, memory_order_relaxed);
    size_t end = (size_t)lines_held(g) * CACHE_LINE;
    size_t to = end - from > TOUCH_BYTES ? from + TOUCH_BYTES : end;
    region_touch(&g->region, from, to - from);
    atomic_store_explicit(&g->touched, to, memory_order_relaxed);
}

static uint32_t
lines_wanted(const struct ghost *g)
{
    uint32_t most = atomic_load_explicit(&g->most, memory_order_relaxed);
    uint32_t lines = lines_for(atomic_load_explicit(&g->budget->limit, memory_order_relaxed));
    return lines < most ? lines : most;
}

/* To grow it needs room that nobody else has taken: after the limit was raised there is some. */
bool
ghost_due(const struct ghost *g)
{
    uint32_t held = lines_held(g), wanted = lines_wanted(g);
    if (held >= wanted)
        return held != wanted || touch_due(g) ||
               atomic_load_explicit(&g->count, memory_order_relaxed) != wanted;
    size_t used = atomic_load_explicit(&g->budget->used, memory_order_relaxed);
    return used + (size_t)(wanted - held) * CACHE_LINE <=
           atomic_load_explicit(&g->budget->limit, memory_order_relaxed);
}

/*
 * What is not looked at any more is given back from its end.  (Whoever still looks at it has loaded
 * `count` before: it finds empty marks, or adds one that is found when it grows again.)
 */
static void
shrink(struct ghost *g, uint32_t wanted)
{
    size_t end = (size_t)lines_held(g) * CACHE_LINE, least = (size_t)wanted * CACHE_LINE;
    size_t from = end - least > STEP_BYTES ? end - STEP_BYTES : least;
    atomic_store_explicit(&g->count, wanted, memory_order_relaxed);
    region_drop(&g->region, from, end - from);
    atomic_store_explicit(&g->held, (uint32_t)(from / CACHE_LINE), memory_order_relaxed);
    if (atomic_load_explicit(&g->touched, memory_order_relaxed) > from)
        atomic_store_explicit(&g->touched, from, memory_order_relaxed);
    budget_give(g->budget, end - from);
}

bool
ghost_fit(struct ghost *g)
{
    uint32_t wanted = lines_wanted(g);
    if (lines_held(g) > wanted) {
        shrink(g, wanted);
        return lines_held(g) > wanted;
    }
    if (lines_held(g) == wanted) {     /* it was to shrink, perhaps, and is not any more */
        atomic_store_explicit(&g->count, wanted, memory_order_release);
        if (touch_due(g))
            touch(g);
        return touch_due(g);
    }
    size_t more = (size_t)(wanted - lines_held(g)) * CACHE_LINE;
    if (!budget_take_keeping(g->budget, more, 0))
        return false;
    if (region_use(&g->region, (size_t)wanted * CACHE_LINE) != 0) {
        budget_give(g->budget, more);
        atomic_store_explicit(&g->most, lines_held(g), memory_order_relaxed);
        return false;
    }
    atomic_store_explicit(&g->held, wanted, memory_order_relaxed);
    atomic_store_explicit(&g->count, wanted, memory_order_release);
    return false;
}

/* ---- marks ------------------------------------------------------------------------------------ */

static uint16_t
mark_of(uint64_t hash)
{
    uint16_t mark = (uint16_t)hash;
    return mark ? mark : 1;
}

/*
 * Where it is; GHOST_MARKS: nowhere.  Eight marks at a time where the processor can: plain loads, of
 * words that may change meanwhile, which is all the same here.
 */
#if defined __SSE2__ && !UNDER_TSAN
static unsigned
find(const struct ghost_line *line, uint16_t mark)
{
    const __m128i *at = (const __m128i *)(const void *)line;
    const __m128i wanted = _mm_set1_epi16((short)mark);
    uint64_t found = 0;
    for (unsigned i = 0; i < CACHE_LINE / sizeof *at; i++) {
        __m128i same = _mm_cmpeq_epi16(_mm_load_si128(&at[i]), wanted);
        found |= (uint64_t)(unsigned)_mm_movemask_epi8(same) << (i * sizeof *at);
    }
    found &= (1ull << (2 * GHOST_MARKS)) - 1;    /* not `next` */
    return found ? (unsigned)__builtin_ctzll(found) / 2 : GHOST_MARKS;
}
#else
static unsigned
find(const struct ghost_line *line, uint16_t mark)
{
    for (unsigned i = 0; i < GHOST_MARKS; i++)
        if (atomic_load_explicit(&line->marks[i], memory_order_relaxed) == mark)
            return i;
    return GHOST_MARKS;
}
#endif

void
ghost_add(struct ghost *g, uint64_t hash)
{
    struct ghost_line *line = ghost_line_of(g, hash);
    if (!line)
        return;
    unsigned at = atomic_load_explicit(&line->next, memory_order_relaxed) % GHOST_MARKS;
    atomic_store_explicit(&line->marks[at], mark_of(hash), memory_order_relaxed);
    atomic_store_explicit(&line->next, (uint16_t)(at + 1), memory_order_relaxed);
}

bool
ghost_has(const struct ghost *g, uint64_t hash)
{
    const struct ghost_line *line = ghost_line_of(g, hash);
    return line && find(line, mark_of(hash)) < GHOST_MARKS;
}

void
ghost_drop(struct ghost *g, uint64_t hash)
{
    struct ghost_line *line = ghost_line_of(g, hash);
    unsigned at = line ? find(line, mark_of(hash)) : GHOST_MARKS;
    if (at < GHOST_MARKS)
        atomic_store_explicit(&line->marks[at], 0, memory_order_relaxed);
}
