/*
 * lines.c -- overflow lines in chunks, lowest first.
 */
#include "lines.h"

#include <sched.h>
#include <string.h>

#define SPINS 100u
#define CHUNK_BYTES (LINE_CHUNK * sizeof(struct index_line))

int
lines_init(struct line_pool *p, uint64_t lines_max, bool huge_pages, struct budget *budget)
{
    memset(p, 0, sizeof *p);
    p->budget = budget;
    p->chunk_max = (uint32_t)(lines_max / LINE_CHUNK) + 1;
    atomic_flag_clear(&p->lock);
    int e = region_reserve(&p->region, p->chunk_max * CHUNK_BYTES, huge_pages);
    if (e == 0)
        e = region_reserve(&p->chunk_region, p->chunk_max * sizeof(struct line_chunk), false);
    if (e != 0) {
        lines_fini(p);
        return e;
    }
    p->at = (struct index_line *)(void *)p->region.base;
    p->chunks = (struct line_chunk *)(void *)p->chunk_region.base;
    return 0;
}

void
lines_fini(struct line_pool *p)
{
    region_release(&p->region);
    region_release(&p->chunk_region);
}

static void
lock(struct line_pool *p)
{
    for (unsigned spins = 0; atomic_flag_test_and_set_explicit(&p->lock, memory_order_acquire);)
        if (++spins % SPINS == 0)
            sched_yield();
}

static void
unlock(struct line_pool *p)
{
    atomic_flag_clear_explicit(&p->lock, memory_order_release);
}

void
line_clear(struct index_line *line, uint64_t next)
{
    for (unsigned i = 0; i < INDEX_LINE_SLOTS; i++)
        atomic_store_explicit(&line->slots[i], 0, memory_order_release);
    atomic_store_explicit(&line->next, next, memory_order_release);
}

/* One more chunk, as far as the budget goes. */
static bool
charge_chunk(struct line_pool *p)
{
    uint32_t n = p->chunk_count;       /* changes under `busy` only */
    if (n == p->chunk_max)
        return false;
    if (p->dropping) {                 /* it was on its way out and is charged still */
        p->dropping = 0;
    } else if (!budget_take(p->budget, CHUNK_BYTES)) {
        budget_wish(p->budget, CHUNK_BYTES);
        return false;
    } else if (region_use(&p->region, (n + 1) * CHUNK_BYTES) != 0 ||
               region_use(&p->chunk_region, (n + 1) * sizeof(struct line_chunk)) != 0) {
        budget_give(p->budget, CHUNK_BYTES);
        return false;
    } else {
        atomic_fetch_add_explicit(&p->charged, LINE_CHUNK, memory_order_relaxed);
    }
    lock(p);
    p->chunks[n] = (struct line_chunk){.fresh = n == 0 ? 1 : 0};
    p->chunk_count = n + 1;
    if (p->lowest > n)
        p->lowest = n;
    unlock(p);
    return true;
}

static unsigned
take_locked(struct line_pool *p, uint64_t *out_lines, unsigned most)
{
    unsigned n = 0;
    while (n < most && p->lowest < p->chunk_count) {
        struct line_chunk *c = &p->chunks[p->lowest];
        if (c->free) {
            out_lines[n++] = c->free;
            c->free = (uint32_t)atomic_load_explicit(&p->at[c->free].next, memory_order_relaxed);
            c->free_count--;
        } else if (c->fresh < LINE_CHUNK) {
            out_lines[n++] = (uint64_t)p->lowest * LINE_CHUNK + c->fresh++;
        } else {
            p->lowest++;
        }
    }
    return n;
}

unsigned
lines_take(struct line_pool *p, uint64_t *out_lines, unsigned most, bool *out_busy)
{
    *out_busy = false;
    lock(p);
    unsigned n = take_locked(p, out_lines, most);
    unlock(p);
    if (LIKELY(n == most))
        return n;
    *out_busy = atomic_exchange_explicit(&p->busy, true, memory_order_acquire);
    if (*out_busy)
        return n;
    if (charge_chunk(p)) {
        lock(p);
        n += take_locked(p, out_lines + n, most - n);
        unlock(p);
    }
    atomic_store_explicit(&p->busy, false, memory_order_release);
    return n;
}

void
lines_give(struct line_pool *p, uint64_t line)
{
    uint32_t n = (uint32_t)(line / LINE_CHUNK);
    lock(p);
    struct line_chunk *c = &p->chunks[n];
    /* a look may still come this way, and find slots whose segments are in use again */
    line_clear(&p->at[line], c->free);
    c->free = (uint32_t)line;
    c->free_count++;
    if (n < p->lowest)
        p->lowest = n;
    bool near_end = n + 2 >= p->chunk_count && n > 0;
    unlock(p);
    if (UNLIKELY(near_end) && !lines_trim_due(p))
        atomic_store_explicit(&p->trim_due, true, memory_order_relaxed);
}

/* Under `busy`.  The chunk is taken out of use first, its memory goes when nobody looks at it. */
static void
trim(struct line_pool *p, struct epoch *epoch)
{
    uint32_t last = p->chunk_count;
    if (p->dropping) {
        if (!epoch_passed(epoch, p->dropping))
            return;
        p->dropping = 0;
        region_drop(&p->region, last * CHUNK_BYTES, CHUNK_BYTES);
        budget_give(p->budget, CHUNK_BYTES);
        atomic_fetch_sub_explicit(&p->charged, LINE_CHUNK, memory_order_relaxed);
        return;
    }
    /* before it looks: what comes back from now on asks for another look */
    atomic_store_explicit(&p->trim_due, false, memory_order_relaxed);
    if (last <= 1)
        return;
    lock(p);
    const struct line_chunk *c = &p->chunks[--last], *before = c - 1;
    /* the one before keeps room, lest chunks come and go */
    bool unused = c->free_count == c->fresh &&
                  before->free_count + LINE_CHUNK - before->fresh >= LINE_CHUNK / 2;
    if (unused)
        p->chunk_count = last;
    unlock(p);
    if (unused) {
        p->dropping = epoch_retire(epoch);
        atomic_store_explicit(&p->trim_due, true, memory_order_relaxed);
    } else if (p->charged > 2 * p->used + 4 * LINE_CHUNK) {
        /* most are free, and some thread may keep just the last ones as spares */
        atomic_fetch_add_explicit(&p->recalls, 1, memory_order_relaxed);
    }
}

void
lines_trim(struct line_pool *p, struct epoch *epoch)
{
    if (!lines_trim_due(p) || atomic_exchange_explicit(&p->busy, true, memory_order_acquire))
        return;
    trim(p, epoch);
    atomic_store_explicit(&p->busy, false, memory_order_release);
}
