/*
 * store.c -- the store as a whole: made and unmade, joined and parted, entered and left; its time,
 * its limit, its numbers.
 */
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rand.h"
#include "inner.h"

#define MEMORY_BYTES_MIN ((size_t)8 << 20)
#define SEGMENT_BYTES_MIN ((size_t)64 << 10)
#define SEGMENT_BYTES_MAX ((size_t)1 << 20)
#define MEMORY_BYTES_MAX (((size_t)4 << SLOT_LOCATION_BITS) - SEGMENT_BYTES_MAX)
#define SEGMENTS_ABOUT 512u
#define THREADS_MAX 1024u
#define SEGMENTS_LEAST 8u              /* beside those being filled, or nothing would turn over */
#define SEGMENTS_AT_ONCE 256u          /* that are read under the pool's lock */
#define COPIER_SEGMENTS 2u             /* kept back for cleaning where nothing is evicted */
#define CAS_START_BITS 48              /* some clients keep CAS numbers in a double */
#define SEEN_BYTES_START 128u          /* of an item, before one was seen */
#define CLOCK_START_S 2u               /* so that 1 is a time that has always passed */

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* ---- made and unmade ------------------------------------------------------------------------ */

/* Each thread fills a segment of each queue: all these together are at most a quarter of memory. */
static size_t
segment_bytes_for(size_t memory_bytes, unsigned threads)
{
    size_t bytes = SEGMENT_BYTES_MIN;
    while (bytes < SEGMENT_BYTES_MAX && bytes * 2 <= memory_bytes / SEGMENTS_ABOUT &&
           bytes * 2 * threads * SEGMENT_QUEUES <= memory_bytes / 4)
        bytes *= 2;
    return bytes;
}

/* Address space: four times the limit or all the machine has, so that the limit can be raised. */
static size_t
reserve_bytes_for(const struct store_config *c)
{
    if (c->reserve_bytes)
        return c->reserve_bytes < MEMORY_BYTES_MAX ? c->reserve_bytes : MEMORY_BYTES_MAX;
    size_t four = c->memory_bytes < MEMORY_BYTES_MAX / 4 ? c->memory_bytes * 4 : MEMORY_BYTES_MAX;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t ram = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : 0;
    ram = ram < MEMORY_BYTES_MAX ? ram : MEMORY_BYTES_MAX;
    return SANITIZED || four > ram ? four : ram;
}

static uint64_t
power_of_two_from(uint64_t n)
{
    uint64_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

static int
init_ghost(struct store *s, size_t reserve_bytes)
{
    int e = ghost_init(&s->ghost, reserve_bytes, s->config.huge_pages, &s->budget);
    if (e != 0)
        index_fini(&s->index);
    return e;
}

/* Segments and index in as much address space as can be had, the limit at least. */
static int
reserve_memory(struct store *s)
{
    const struct store_config *c = &s->config;
    size_t seg_bytes = segment_bytes_for(c->memory_bytes, c->threads_max);
    uint32_t item_bytes_min = item_bytes_for(c->cas_enabled ? ITEM_CAS : 0, 1, 0);
    size_t reserve = reserve_bytes_for(c);
    for (int e;; reserve = reserve / 2 > c->memory_bytes ? reserve / 2 : c->memory_bytes) {
        e = segment_pool_init(&s->pool, seg_bytes, reserve, c->huge_pages,
                              c->evict ? 0 : COPIER_SEGMENTS, &s->budget, &s->epoch);
        if (e == 0) {
            e = index_init(&s->index, reserve / item_bytes_min, c->huge_pages, &s->budget);
            if (e == 0)
                e = init_ghost(s, reserve);
            if (e == 0)
                return 0;
            segment_pool_fini(&s->pool);
        }
        if (reserve <= c->memory_bytes)
            return e;
    }
}

static void
set_sizes(struct store *s)
{
    uint32_t share = (uint32_t)(s->pool.seg_bytes / 16);
    s->piece_bytes = share - item_bytes_for(ITEM_PIECE, 0, PIECE_ID_BYTES);
    s->inline_bytes_max = s->piece_bytes;
    s->residues = power_of_two_from(s->config.threads_max);
    s->seed = s->config.hash_seed ? s->config.hash_seed : rand_seed();
    s->cas_floor = rand_seed() >> (64 - CAS_START_BITS);
    s->clock_start_ns = clock_ns();
    atomic_store(&s->flush_epoch, 1);
    atomic_store(&s->epoch.now, 1);
    atomic_store(&s->keep.swept_at, store_clock(s));
    s->keep.clean_credit = (int64_t)s->config.memory_bytes;
}

static bool
config_valid(const struct store_config *c)
{
    return c->memory_bytes >= MEMORY_BYTES_MIN && c->memory_bytes <= MEMORY_BYTES_MAX &&
           c->threads_max >= 1 &&
           c->threads_max <= THREADS_MAX && c->value_bytes_max <= (size_t)1 << 30;
}

static bool
has_reserve(const struct store *s)
{
    return s->config.lends && !s->config.evict;
}

size_t
store_memory_bytes_max(void)
{
    return MEMORY_BYTES_MAX;
}

int
store_create(const struct store_config *config, struct store **out_store)
{
    if (!config_valid(config))
        return -EINVAL;
    struct store *s = aligned_alloc(CACHE_LINE, sizeof *s);
    if (!s)
        return -ENOMEM;
    memset(s, 0, sizeof *s);
    s->config = *config;
    budget_set(&s->budget, config->memory_bytes, has_reserve(s));
    int e = -ENOMEM;
    size_t words = config->threads_max * sizeof(struct epoch_word);
    s->epoch.words = aligned_alloc(CACHE_LINE, words);
    s->epoch.word_count = config->threads_max;
    s->threads = calloc(config->threads_max, sizeof(struct store_thread *));
    if (!s->epoch.words || !s->threads)
        goto fail;
    memset(s->epoch.words, 0, words);
    e = reserve_memory(s);
    if (e != 0)
        goto fail;
    set_sizes(s);
    if (config->evict)
        evict_take_spare(s);
    pthread_mutex_init(&s->threads_lock, NULL);
    pthread_mutex_init(&s->keep.lock, NULL);
    *out_store = s;
    return 0;

fail:
    free(s->threads);
    free(s->epoch.words);
    free(s);
    return e;
}

void
store_destroy(struct store *s)
{
    for (unsigned i = 0; i < s->config.threads_max; i++)
        CHECK(!s->threads[i]);
    for (struct doomed *d = s->keep.doomed, *next; d; d = next) {
        next = d->next;
        free(d);
    }
    ghost_fini(&s->ghost);
    index_fini(&s->index);
    segment_pool_fini(&s->pool);
    pthread_mutex_destroy(&s->threads_lock);
    pthread_mutex_destroy(&s->keep.lock);
    free(s->threads);
    free(s->epoch.words);
    free(s);
}

/* ---- joined and parted ---------------------------------------------------------------------- */

struct store_thread *
store_join(struct store *s)
{
    struct store_thread *t = aligned_alloc(CACHE_LINE, sizeof *t);
    if (!t)
        return NULL;
    memset(t, 0, sizeof *t);
    pthread_mutex_lock(&s->threads_lock);
    unsigned n = 0;
    while (n < s->config.threads_max && s->threads[n])
        n++;
    if (n < s->config.threads_max) {
        s->threads[n] = t;
        atomic_fetch_add_explicit(&s->joined, 1, memory_order_relaxed);
        t->store = s;
        t->number = n;
        t->epoch_word = &s->epoch.words[n];
        t->cas_last = s->cas_floor;
        t->seen_bytes = 16 * SEEN_BYTES_START;
        t->serial_last = ++s->joins << 40;
    }
    pthread_mutex_unlock(&s->threads_lock);
    if (!t->store) {
        free(t);
        return NULL;
    }
    return t;
}

void
store_part(struct store_thread *t)
{
    struct store *s = t->store;
    CHECK(!t->inside);
    link_seal(t, QUEUE_SMALL);
    link_seal(t, QUEUE_MAIN);
    index_local_drain(&s->index, &t->local);
    pthread_mutex_lock(&s->threads_lock);
    for (unsigned i = 0; i < COUNT_STORE_COUNTERS; i++)
        s->parted[i] += counter_read(&t->counters[i]);
    if (t->cas_last > s->cas_floor)
        s->cas_floor = t->cas_last;
    s->threads[t->number] = NULL;
    atomic_fetch_sub_explicit(&s->joined, 1, memory_order_relaxed);
    pthread_mutex_unlock(&s->threads_lock);
    free(t);
}

/* ---- time ------------------------------------------------------------------------------------ */

uint32_t
store_clock(const struct store *s)
{
    if (s->config.clock)
        return s->config.clock(s->config.clock_ctx);
    return (uint32_t)((clock_ns() - s->clock_start_ns) / 1000000000u) + CLOCK_START_S;
}

static void
flush_if_due(struct store *s, uint32_t now)
{
    uint32_t at = atomic_load_explicit(&s->flush_at, memory_order_relaxed);
    if (UNLIKELY(at != 0 && at <= now) &&
        atomic_compare_exchange_strong(&s->flush_at, &at, 0)) {
        atomic_fetch_add(&s->flush_epoch, 1);
        link_flushed(s);
    }
}

void
store_enter(struct store_thread *t)
{
    DCHECK(!t->inside);
    t->inside = true;
    t->ahead.count = 0;
    epoch_enter(&t->store->epoch, t->epoch_word);
    t->now = store_clock(t->store);
    flush_if_due(t->store, t->now);
}

void
store_leave(struct store_thread *t)
{
    DCHECK(t->inside);
    t->inside = false;
    epoch_leave(t->epoch_word);
}

uint32_t
store_now(const struct store_thread *t)
{
    return t->now;
}

void
store_flush(struct store_thread *t, uint32_t at)
{
    struct store *s = t->store;
    atomic_store(&s->flush_at, at <= t->now ? 0 : at);
    if (at <= t->now) {
        atomic_fetch_add(&s->flush_epoch, 1);
        link_flushed(s);
    }
}

void
store_flush_forget(struct store_thread *t)
{
    atomic_store(&t->store->flush_at, 0);
}

/* ---- the limit and the numbers --------------------------------------------------------------- */

bool
store_limit_set(struct store *s, size_t memory_bytes)
{
    size_t threads = atomic_load_explicit(&s->joined, memory_order_relaxed);
    size_t least = index_least_bytes(&s->index) +
                   atomic_load_explicit(&s->budget.borrowed, memory_order_relaxed) +
                   ((threads * SEGMENT_QUEUES + SEGMENTS_LEAST) << s->pool.seg_shift);
    size_t reserve = has_reserve(s) ? memory_bytes / BUDGET_RESERVE_SHARE : 0;
    if (memory_bytes < MEMORY_BYTES_MIN || memory_bytes - reserve < least ||
        memory_bytes > s->pool.memory.reserved)
        return false;
    budget_set(&s->budget, memory_bytes, has_reserve(s));
    segment_recount(&s->pool);
    link_hope(s);
    return true;
}

size_t
store_limit_forced(const struct store *s)
{
    return atomic_load_explicit(&s->budget.refused, memory_order_relaxed);
}

bool
store_populate(struct store_thread *t)
{
    CHECK(!t->inside);
    return segment_populate(&t->store->pool, &t->demand, clock_ns());
}

static void
read_counters(struct store *s, uint64_t sums[COUNT_STORE_COUNTERS])
{
    pthread_mutex_lock(&s->threads_lock);
    memcpy(sums, s->parted, sizeof s->parted);
    for (unsigned n = 0; n < s->config.threads_max; n++)
        for (unsigned i = 0; s->threads[n] && i < COUNT_STORE_COUNTERS; i++)
            sums[i] += counter_read(&s->threads[n]->counters[i]);
    pthread_mutex_unlock(&s->threads_lock);
}

/*
 * Present entries are those of segments opened since the last flush; the others are flushed, even
 * if their memory has not come back yet.
 */
static void
add_segment(const struct segment_pool *p, uint32_t seg, uint32_t flush_epoch,
            struct store_stats *out)
{
    const struct segment *g = &p->segs[seg];
    uint64_t live = atomic_load_explicit(&g->live, memory_order_relaxed);
    bool current =
        atomic_load_explicit(&p->flush_epochs[seg], memory_order_relaxed) == flush_epoch;
    uint64_t bytes = current ? (uint32_t)live : 0;
    if (current)
        out->items_present += live >> 32;
    else
        out->items_flushed += live >> 32;
    out->bytes_present += bytes;
    if (g->state == SEGMENT_SEALED || g->state == SEGMENT_VICTIM)
        out->dead_bytes += p->seg_bytes - bytes;
}

/* In portions: who wants a segment must not wait until all of a large memory has been looked at. */
static void
read_segments(struct store *s, struct store_stats *out)
{
    struct segment_pool *p = &s->pool;
    uint32_t flush_epoch = atomic_load(&s->flush_epoch);
    pthread_mutex_lock(&p->lock);
    for (uint32_t seg = 1; seg < p->fresh; seg++) {
        add_segment(p, seg, flush_epoch, out);
        if (seg % SEGMENTS_AT_ONCE == 0) {
            pthread_mutex_unlock(&p->lock);
            pthread_mutex_lock(&p->lock);
        }
    }
    out->segment_bytes = p->seg_bytes;
    out->segments_free = p->counts[SEGMENT_FREE];
    out->segments_active = p->counts[SEGMENT_ACTIVE];
    out->segments_sealed = p->counts[SEGMENT_SEALED] + p->counts[SEGMENT_VICTIM];
    out->segments_limbo = p->counts[SEGMENT_LIMBO];
    out->segments_lent = p->counts[SEGMENT_LENT];
    pthread_mutex_unlock(&p->lock);
    out->free_bytes = out->segments_free * p->seg_bytes;
    out->limbo_bytes = out->segments_limbo * p->seg_bytes;
    out->lent_bytes = out->segments_lent * p->seg_bytes;
}

void
store_stats_reset(struct store *s)
{
    atomic_store_explicit(&s->keep.longest_ns, 0, memory_order_relaxed);
}

static void
read_policy(const struct keep *k, struct store_stats *out)
{
    out->promoted = atomic_load_explicit(&k->promoted, memory_order_relaxed);
    out->second_chances = atomic_load_explicit(&k->second_chances, memory_order_relaxed);
    out->bytes_copied_evicting = atomic_load_explicit(&k->bytes_evicting, memory_order_relaxed);
    out->bytes_copied_cleaning = atomic_load_explicit(&k->bytes_cleaning, memory_order_relaxed);
    out->expired_held_bytes = atomic_load_explicit(&k->expired_held, memory_order_relaxed);
    out->evicted_age_s = atomic_load_explicit(&k->age_fetched, memory_order_relaxed) >> 8;
    out->evicted_unfetched_age_s =
        atomic_load_explicit(&k->age_unfetched, memory_order_relaxed) >> 8;
}

void
store_stats_read(struct store *s, struct store_stats *out)
{
    uint64_t c[COUNT_STORE_COUNTERS];
    *out = (struct store_stats){0};
    flush_if_due(s, store_clock(s));
    read_segments(s, out);
    read_counters(s, c);
    out->items_stored = c[COUNT_STORED];
    out->items_replaced = c[COUNT_REPLACED];
    out->items_deleted = c[COUNT_DELETED];
    out->items_expired = c[COUNT_EXPIRED];
    out->items_evicted = c[COUNT_EVICTED];
    out->items_flushed += c[COUNT_FLUSHED];
    out->evicted_unfetched = c[COUNT_EVICTED_UNFETCHED];
    out->expired_unfetched = c[COUNT_EXPIRED_UNFETCHED];
    out->index_evicted = c[COUNT_INDEX_EVICTED];
    out->found_expired = c[COUNT_FOUND_EXPIRED];
    out->found_flushed = c[COUNT_FOUND_FLUSHED];
    out->parked = c[COUNT_AGAIN];
    out->bytes_stored = c[COUNT_BYTES_STORED];
    out->ghost_hits = c[COUNT_GHOST_HITS];
    out->ghost_bytes = ghost_bytes(&s->ghost);
    out->queue_small_bytes = (uint64_t)atomic_load(&s->pool.queued[QUEUE_SMALL])
                             << s->pool.seg_shift;
    out->queue_main_bytes = (uint64_t)atomic_load(&s->pool.queued[QUEUE_MAIN])
                            << s->pool.seg_shift;
    read_policy(&s->keep, out);
    out->memory_limit_bytes = budget_all(&s->budget);
    out->memory_used_bytes = atomic_load(&s->budget.used) + atomic_load(&s->budget.drawn);
    out->borrowed_bytes = atomic_load(&s->budget.borrowed);
    out->index_bytes = index_memory_bytes(&s->index);
    out->index_groups = atomic_load(&s->index.group_count);
    out->index_slots = out->index_groups * INDEX_BUCKETS * INDEX_SLOTS;
    int64_t slots = atomic_load(&s->index.slot_count);
    out->index_slots_used = slots > 0 ? (uint64_t)slots : 0;
    out->index_lines_used = atomic_load(&s->index.lines.used);
    out->maintain_slices = atomic_load_explicit(&s->keep.slices, memory_order_relaxed);
    out->maintain_longest_ns = atomic_load_explicit(&s->keep.longest_ns, memory_order_relaxed);
    out->maintain_long_slices = atomic_load_explicit(&s->keep.long_slices, memory_order_relaxed);
    out->maintain_ns = atomic_load_explicit(&s->keep.time_ns, memory_order_relaxed);
}
