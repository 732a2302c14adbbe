/*
 * segment.c -- the pool of segments.
 *
 * A mutex guards it: it is taken once for each 64 KiB to 1 MiB stored, never with another lock
 * held; memory is touched and given back outside.  (Where a region cannot be writable from the
 * start, an mprotect for each few megabytes used for the first time is made under it.)
 * The free list is a stack: memory that was in use a moment ago is in the caches and mapped.
 */
#include "segment.h"

#include <string.h>

#include "base/clock.h"
#include "base/poison.h"

#define RESERVE_START 3u               /* one for the copier */
#define CROWDED_PERCENT 93u
#define DEMAND_NS 10000000u
#define COLLECT_MAX 16u                /* at once, of what may be thousands */
#define AHEAD_LEAST 2u
#define AHEAD_SHARE 50u                /* of the limit, at most */
#define PART_BYTES ((size_t)64 << 10)     /* of a segment, for one system call */
#define PAGE_BYTES_MIN ((size_t)4 << 10)

static const bool may_move[SEGMENT_STATES][SEGMENT_STATES] = {
    [SEGMENT_NONE] = {[SEGMENT_ACTIVE] = true, [SEGMENT_LENT] = true, [SEGMENT_FREE] = true},
    [SEGMENT_FREE] = {[SEGMENT_ACTIVE] = true, [SEGMENT_LENT] = true, [SEGMENT_NONE] = true},
    [SEGMENT_ACTIVE] = {[SEGMENT_SEALED] = true},
    [SEGMENT_LENT] = {[SEGMENT_SEALED] = true, [SEGMENT_ACTIVE] = true, [SEGMENT_LIMBO] = true},
    [SEGMENT_SEALED] = {[SEGMENT_VICTIM] = true, [SEGMENT_LIMBO] = true},
    [SEGMENT_VICTIM] = {[SEGMENT_SEALED] = true, [SEGMENT_LIMBO] = true},
    [SEGMENT_LIMBO] = {[SEGMENT_FREE] = true},
};

static void
segment_move(struct segment_pool *p, uint32_t seg, enum segment_state to)
{
    struct segment *s = &p->segs[seg];
    CHECK(may_move[s->state][to]);
    p->counts[s->state]--;
    p->counts[to]++;
    s->state = to;
}

/* ---- lists ---------------------------------------------------------------------------------- */

static struct segment_link *
link_of(struct segment_pool *p, enum segment_order order, uint32_t seg)
{
    return &p->segs[seg].link[order];
}

static void
append_in(struct segment_pool *p, enum segment_order order, struct segment_list *list, uint32_t seg)
{
    *link_of(p, order, seg) = (struct segment_link){0, list->last};
    if (list->last)
        link_of(p, order, list->last)->next = seg;
    else
        list->first = seg;
    list->last = seg;
    list->count++;
}

static void
push(struct segment_pool *p, struct segment_list *list, uint32_t seg)
{
    *link_of(p, ORDER_AGE, seg) = (struct segment_link){list->first, 0};
    if (list->first)
        link_of(p, ORDER_AGE, list->first)->prev = seg;
    else
        list->last = seg;
    list->first = seg;
    list->count++;
}

static void
take_out(struct segment_pool *p, enum segment_order order, struct segment_list *list, uint32_t seg)
{
    const struct segment_link *at = link_of(p, order, seg);
    if (at->prev)
        link_of(p, order, at->prev)->next = at->next;
    else
        list->first = at->next;
    if (at->next)
        link_of(p, order, at->next)->prev = at->prev;
    else
        list->last = at->prev;
    list->count--;
}

static uint32_t
pop(struct segment_pool *p, struct segment_list *list)
{
    uint32_t seg = list->first;
    if (seg)
        take_out(p, ORDER_AGE, list, seg);
    return seg;
}

/* ---- what is sealed -------------------------------------------------------------------------- */

static uint32_t
live_bytes(const struct segment_pool *p, uint32_t seg)
{
    return (uint32_t)atomic_load_explicit(&p->segs[seg].live, memory_order_relaxed);
}

/*
 * What is alive, by the twentieth, against all segments that the limit has room for.  Of what is
 * filled right now all counts as alive.
 */
static void
count_sealed(struct segment_pool *p)
{
    uint64_t sealed = p->sealed[QUEUE_SMALL].count + p->sealed[QUEUE_MAIN].count;
    for (unsigned q = 0; q < SEGMENT_QUEUES; q++)
        atomic_store_explicit(&p->queued[q], p->sealed[q].count, memory_order_relaxed);
    atomic_store_explicit(&p->sealed_count, (uint32_t)sealed, memory_order_relaxed);
    if (p->keep == 0)
        return;                        /* only where nothing is evicted does it matter */
    size_t in_use = (size_t)(p->fresh - 1 - p->counts[SEGMENT_NONE]) * p->seg_bytes;
    size_t used = atomic_load_explicit(&p->budget->used, memory_order_relaxed);
    size_t limit = atomic_load_explicit(&p->budget->limit, memory_order_relaxed);
    size_t beside = used > in_use ? used - in_use : 0;
    uint64_t all = limit > beside ? (limit - beside) >> p->seg_shift : 0;
    uint64_t twentieths = (sealed + p->counts[SEGMENT_ACTIVE] + p->counts[SEGMENT_LENT]) *
                              SEGMENT_DEAD_CLASSES - p->dead_classes;
    atomic_store_explicit(&p->crowded,
                          twentieths * 100 > all * SEGMENT_DEAD_CLASSES * CROWDED_PERCENT,
                          memory_order_relaxed);
}

static void
file_by_dead(struct segment_pool *p, uint32_t seg)
{
    unsigned class = segment_class(p, seg, live_bytes(p, seg));
    p->segs[seg].dead_class = class;
    p->dead_classes += class;
    append_in(p, ORDER_DEAD, &p->dead[class], seg);
}

static void
unfile_by_dead(struct segment_pool *p, uint32_t seg)
{
    unsigned class = p->segs[seg].dead_class;
    p->dead_classes -= class;
    take_out(p, ORDER_DEAD, &p->dead[class], seg);
}

static bool
is_flushed_before(const struct segment_pool *p, uint32_t seg, uint32_t other)
{
    uint32_t epoch = atomic_load_explicit(&p->flush_epochs[seg], memory_order_relaxed);
    return (int32_t)(epoch - atomic_load_explicit(&p->flush_epochs[other],
                                                  memory_order_relaxed)) < 0;
}

/* Segments of before a flush stay in front of those of after it, however late they are sealed, so
 * that segment_pick_flushed() finds them. */
static void
enqueue(struct segment_pool *p, uint32_t seg, bool oldest)
{
    struct segment_list *queue = &p->sealed[segment_queue(p, seg)];
    if (oldest || (queue->last && is_flushed_before(p, seg, queue->last)))
        push(p, queue, seg);
    else
        append_in(p, ORDER_AGE, queue, seg);
    file_by_dead(p, seg);
    count_sealed(p);
}

static void
dequeue(struct segment_pool *p, uint32_t seg)
{
    take_out(p, ORDER_AGE, &p->sealed[segment_queue(p, seg)], seg);
    unfile_by_dead(p, seg);
    count_sealed(p);
}

/* ---- made and unmade ------------------------------------------------------------------------- */

static void
release_regions(struct segment_pool *p)
{
    if (p->memory.base)
        unpoison(p->memory.base, p->memory.usable);
    region_release(&p->memory);
    region_release(&p->table);
    region_release(&p->epoch_table);
    region_release(&p->expiry_table);
}

int
segment_pool_init(struct segment_pool *p, size_t seg_bytes, size_t reserve_bytes, bool huge,
                  uint32_t keep, struct budget *budget, struct epoch *epoch)
{
    memset(p, 0, sizeof *p);
    p->seg_bytes = seg_bytes;
    p->seg_shift = (unsigned)__builtin_ctzll(seg_bytes);
    p->keep = keep;
    p->budget = budget;
    p->epoch = epoch;
    p->fresh = 1;
    p->count_max = (uint32_t)(reserve_bytes / seg_bytes) + 1;
    atomic_store(&p->reserve, RESERVE_START);
    int e = region_reserve(&p->memory, (size_t)p->count_max * seg_bytes, huge);
    if (e == 0)
        e = region_reserve(&p->table, p->count_max * sizeof(struct segment), false);
    if (e == 0)
        e = region_reserve(&p->epoch_table, p->count_max * sizeof(uint32_t), false);
    if (e == 0)
        e = region_reserve(&p->expiry_table, p->count_max * sizeof(struct segment_expiry), false);
    if (e == 0)
        e = -pthread_mutex_init(&p->lock, NULL);
    if (e != 0) {
        release_regions(p);
        return e;
    }
    p->segs = (struct segment *)(void *)p->table.base;
    p->flush_epochs = (_Atomic uint32_t *)(void *)p->epoch_table.base;
    p->expiries = (struct segment_expiry *)(void *)p->expiry_table.base;
    return 0;
}

void
segment_pool_fini(struct segment_pool *p)
{
    pthread_mutex_destroy(&p->lock);
    release_regions(p);
}

/* Limbo -> free for some at its head whose grace period is over.  In order of retirement, so the
 * first that has not passed ends it. */
static void
collect_limbo_locked(struct segment_pool *p)
{
    for (unsigned n = 0; n < COLLECT_MAX && p->limbo.first &&
                         epoch_passed(p->epoch, p->segs[p->limbo.first].retired); n++) {
        uint32_t seg = pop(p, &p->limbo);
        segment_move(p, seg, SEGMENT_FREE);
        poison(segment_at(p, seg), p->seg_bytes);
        push(p, &p->free, seg);
    }
}

/* Memory that is not in use yet: a number given back earlier, or one never used. */
static uint32_t
take_fresh_locked(struct segment_pool *p, uint32_t keep)
{
    size_t kept = atomic_load_explicit(&p->budget->owed, memory_order_relaxed) +
                  (size_t)keep * p->seg_bytes;
    if (!p->none.first && p->fresh >= p->count_max)
        return 0;
    if (!budget_take_keeping(p->budget, p->seg_bytes, kept))
        return 0;
    uint32_t seg = pop(p, &p->none);
    if (seg)
        return seg;
    seg = p->fresh;
    if (region_use(&p->table, (seg + 1) * sizeof(struct segment)) != 0 ||
        region_use(&p->epoch_table, (seg + 1) * sizeof(uint32_t)) != 0 ||
        region_use(&p->expiry_table, (seg + 1) * sizeof(struct segment_expiry)) != 0 ||
        region_use(&p->memory, (size_t)(seg + 1) * p->seg_bytes) != 0) {
        budget_give(p->budget, p->seg_bytes);
        budget_refused(p->budget);
        return 0;
    }
    p->fresh++;
    p->counts[SEGMENT_NONE]++;
    return seg;
}

uint32_t
segment_take(struct segment_pool *p, enum segment_state as, uint32_t flush_epoch, uint32_t keep)
{
    uint32_t seg = 0;
    pthread_mutex_lock(&p->lock);
    if (p->free.count <= keep)
        collect_limbo_locked(p);
    if (p->free.count > keep) {
        seg = pop(p, &p->free);
        atomic_fetch_sub_explicit(&p->ready, 1, memory_order_relaxed);
    } else {
        seg = take_fresh_locked(p, keep - p->free.count);
    }
    if (seg) {
        uint64_t taken = atomic_load_explicit(&p->taken, memory_order_relaxed) + 1;
        atomic_store_explicit(&p->taken, taken, memory_order_relaxed);
        p->segs[seg].sequence = (uint32_t)taken | 1u << 31;    /* never 0 */
        segment_move(p, seg, as);
        segment_fill(p, seg, 0);
        atomic_store_explicit(&p->segs[seg].aged, false, memory_order_relaxed);
        CHECK(atomic_load_explicit(&p->segs[seg].live, memory_order_relaxed) == 0);
        atomic_store_explicit(&p->flush_epochs[seg], flush_epoch, memory_order_relaxed);
        if (as == SEGMENT_LENT)
            unpoison(segment_at(p, seg), p->seg_bytes);
        else
            poison(segment_at(p, seg), p->seg_bytes);    /* but for the items that will be there */
    }
    pthread_mutex_unlock(&p->lock);
    return seg;
}

/* Every item of a sealed segment has been linked; one that has none left is empty for good. */
static bool
is_empty(struct segment_pool *p, uint32_t seg)
{
    return atomic_load_explicit(&p->segs[seg].live, memory_order_acquire) == 0;
}

static void
retire_locked(struct segment_pool *p, uint32_t seg)
{
    segment_move(p, seg, SEGMENT_LIMBO);
    p->segs[seg].retired = epoch_retire(p->epoch);
    append_in(p, ORDER_AGE, &p->limbo, seg);
    atomic_fetch_add_explicit(&p->ready, 1, memory_order_relaxed);
}

void
segment_open(struct segment_pool *p, uint32_t seg, enum segment_queue queue, uint32_t now)
{
    atomic_store_explicit(&p->segs[seg].queue, queue, memory_order_relaxed);
    segment_expiry_begin(p, seg, now);
}

void
segment_seal(struct segment_pool *p, uint32_t seg, uint32_t filled)
{
    pthread_mutex_lock(&p->lock);
    segment_move(p, seg, SEGMENT_SEALED);
    segment_fill(p, seg, filled);
    if (is_empty(p, seg))
        retire_locked(p, seg);
    else
        enqueue(p, seg, false);
    pthread_mutex_unlock(&p->lock);
}

void
segment_thinned(struct segment_pool *p, uint32_t seg)
{
    pthread_mutex_lock(&p->lock);
    if (p->segs[seg].state == SEGMENT_SEALED) {
        if (is_empty(p, seg)) {
            dequeue(p, seg);
            retire_locked(p, seg);
        } else {
            unfile_by_dead(p, seg);
            file_by_dead(p, seg);
            count_sealed(p);
        }
    }
    pthread_mutex_unlock(&p->lock);
}

void
segment_discard(struct segment_pool *p, uint32_t seg, uint32_t filled)
{
    pthread_mutex_lock(&p->lock);
    segment_move(p, seg, SEGMENT_SEALED);
    segment_fill(p, seg, filled);
    enqueue(p, seg, true);
    pthread_mutex_unlock(&p->lock);
}

void
segment_activate(struct segment_pool *p, uint32_t seg)
{
    pthread_mutex_lock(&p->lock);
    segment_move(p, seg, SEGMENT_ACTIVE);
    pthread_mutex_unlock(&p->lock);
}

static uint32_t
pick_locked(struct segment_pool *p, uint32_t seg)
{
    if (seg) {
        dequeue(p, seg);
        segment_move(p, seg, SEGMENT_VICTIM);
    }
    return seg;
}

uint32_t
segment_pick_oldest(struct segment_pool *p, enum segment_queue queue)
{
    pthread_mutex_lock(&p->lock);
    uint32_t seg = pick_locked(p, p->sealed[queue].first);
    pthread_mutex_unlock(&p->lock);
    return seg;
}

/* A flush makes everything dead at once, and what is sealed before it is older than the rest. */
uint32_t
segment_pick_flushed(struct segment_pool *p, uint32_t flush_epoch)
{
    uint32_t found = 0;
    pthread_mutex_lock(&p->lock);
    for (unsigned q = 0; q < SEGMENT_QUEUES && !found; q++) {
        uint32_t seg = p->sealed[q].first;
        if (seg && atomic_load_explicit(&p->flush_epochs[seg], memory_order_relaxed) != flush_epoch)
            found = pick_locked(p, seg);
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

uint32_t
segment_pick_deadest(struct segment_pool *p, unsigned class_min)
{
    uint32_t seg = 0;
    pthread_mutex_lock(&p->lock);
    for (unsigned class = SEGMENT_DEAD_CLASSES; class-- > class_min && !seg;)
        seg = pick_locked(p, p->dead[class].first);
    pthread_mutex_unlock(&p->lock);
    return seg;
}

void
segment_unpick(struct segment_pool *p, uint32_t seg)
{
    pthread_mutex_lock(&p->lock);
    segment_move(p, seg, SEGMENT_SEALED);
    enqueue(p, seg, false);
    pthread_mutex_unlock(&p->lock);
}

uint32_t
segment_end(struct segment_pool *p)
{
    pthread_mutex_lock(&p->lock);
    uint32_t end = p->fresh;
    pthread_mutex_unlock(&p->lock);
    return end;
}

static bool
is_sweepable(const struct segment_pool *p, uint32_t seg)
{
    return p->segs[seg].state == SEGMENT_SEALED || p->segs[seg].state == SEGMENT_ACTIVE;
}

bool
segment_is_still(struct segment_pool *p, uint32_t seg, uint32_t sequence)
{
    pthread_mutex_lock(&p->lock);
    bool same = is_sweepable(p, seg) && p->segs[seg].sequence == sequence;
    pthread_mutex_unlock(&p->lock);
    return same;
}

uint32_t
segment_sweepable(struct segment_pool *p, uint32_t seg)
{
    pthread_mutex_lock(&p->lock);
    uint32_t sequence = seg < p->fresh && is_sweepable(p, seg) ? p->segs[seg].sequence : 0;
    pthread_mutex_unlock(&p->lock);
    return sequence;
}

void
segment_recount(struct segment_pool *p)
{
    pthread_mutex_lock(&p->lock);
    count_sealed(p);
    pthread_mutex_unlock(&p->lock);
}

void
segment_retire(struct segment_pool *p, uint32_t seg)
{
    pthread_mutex_lock(&p->lock);
    CHECK(is_empty(p, seg));
    retire_locked(p, seg);
    collect_limbo_locked(p);
    pthread_mutex_unlock(&p->lock);
}

/* A free one that must be given back; 0: none.  It stays charged until all of it is. */
static uint32_t
begin_trim(struct segment_pool *p)
{
    uint32_t seg = 0;
    pthread_mutex_lock(&p->lock);
    if (budget_excess(p->budget) > 0) {
        collect_limbo_locked(p);
        if (p->free.count > segment_kept(p) || budget_over(p->budget))
            seg = pop(p, &p->free);
    }
    if (seg) {
        segment_move(p, seg, SEGMENT_NONE);
        atomic_fetch_sub_explicit(&p->ready, 1, memory_order_relaxed);
        atomic_store_explicit(&p->trim, seg, memory_order_relaxed);
        p->trimmed = 0;
    }
    pthread_mutex_unlock(&p->lock);
    return seg;
}

/* To free the pages of 1 MiB may take the kernel half a millisecond: it is done in parts. */
bool
segment_trim(struct segment_pool *p)
{
    uint32_t seg = atomic_load_explicit(&p->trim, memory_order_relaxed);
    if (!seg && !(seg = begin_trim(p)))
        return false;
    uint64_t end_ns = clock_ns() + SEGMENT_TRIM_NS;
    do {
        region_drop(&p->memory, ((size_t)seg << p->seg_shift) + p->trimmed, PART_BYTES);
        p->trimmed += PART_BYTES;
    } while (p->trimmed < p->seg_bytes && clock_ns() < end_ns);
    if (p->trimmed < p->seg_bytes)
        return true;

    pthread_mutex_lock(&p->lock);
    push(p, &p->none, seg);
    atomic_store_explicit(&p->trim, 0, memory_order_relaxed);
    budget_give(p->budget, p->seg_bytes);
    pthread_mutex_unlock(&p->lock);
    return budget_excess(p->budget) > 0;
}

/* ---- touched ahead -------------------------------------------------------------------------- */

static void
measure_demand(struct segment_pool *p, struct segment_demand *d, uint64_t now_ns)
{
    uint64_t passed = now_ns - d->measured_at_ns;
    if (passed < DEMAND_NS)
        return;
    uint32_t most = (uint32_t)(atomic_load_explicit(&p->budget->limit, memory_order_relaxed) /
                               AHEAD_SHARE >> p->seg_shift);
    uint64_t taken = atomic_load_explicit(&p->taken, memory_order_relaxed);
    uint64_t ahead = ((taken - d->taken) * DEMAND_NS + passed - 1) / passed;
    ahead = ahead < AHEAD_LEAST ? AHEAD_LEAST : ahead;
    *d = (struct segment_demand){now_ns, taken, (uint32_t)(ahead < most ? ahead : most)};
}

/* In small parts: the kernel keeps mmap_lock for the length of each call. */
static void
touch(struct segment_pool *p, uint32_t seg)
{
    char *at = segment_at(p, seg);
    unpoison(at, p->seg_bytes);
    for (size_t done = 0; done < p->seg_bytes; done += PART_BYTES) {
        if (region_touch(&p->memory, ((size_t)seg << p->seg_shift) + done, PART_BYTES))
            continue;
        for (size_t page = 0; page < PART_BYTES; page += PAGE_BYTES_MIN)
            *(volatile char *)(at + done + page) = 0;
    }
}

/*
 * What is touched ahead is charged like any other free segment, and given back first where memory
 * is owed; as much as may be held ahead stays untouched at the end of the limit, so that nobody has
 * to ask for it.
 */
bool
segment_populate(struct segment_pool *p, struct segment_demand *d, uint64_t now_ns)
{
    uint32_t seg = 0;
    measure_demand(p, d, now_ns);
    pthread_mutex_lock(&p->lock);
    uint32_t held = p->free.count + p->limbo.count;
    if (held < d->ahead + segment_kept(p))
        seg = take_fresh_locked(p, segment_kept(p) + d->ahead);
    if (seg)
        segment_move(p, seg, SEGMENT_FREE);
    pthread_mutex_unlock(&p->lock);
    if (!seg)
        return false;

    touch(p, seg);

    pthread_mutex_lock(&p->lock);
    push(p, &p->free, seg);
    atomic_fetch_add_explicit(&p->ready, 1, memory_order_relaxed);
    pthread_mutex_unlock(&p->lock);
    return true;
}

/* ---- when items expire ---------------------------------------------------------------------- */

void
segment_expires(struct segment_pool *p, uint32_t seg, uint32_t expiry, int32_t bytes)
{
    if (LIKELY(expiry == 0))
        return;
    uint32_t opened = atomic_load_explicit(&p->segs[seg].opened, memory_order_relaxed);
    unsigned class = segment_expiry_class(expiry > opened ? expiry - opened : 0);
    _Atomic uint32_t *sum = &p->expiries[seg].bytes[class];
    uint32_t had = atomic_load_explicit(sum, memory_order_relaxed);
    if (bytes < 0 && had < (uint32_t)-bytes)
        bytes = -(int32_t)had;         /* it was counted when another second was the first */
    else if (bytes > 0 && had > UINT32_MAX - (uint32_t)bytes)
        bytes = 0;                     /* heads of long values; more than a segment is enough */
    atomic_store_explicit(sum, had + (uint32_t)bytes, memory_order_relaxed);
}

/* Of the class whose time is now, as many as if they were spread evenly over it. */
uint32_t
segment_expired_about(const struct segment_pool *p, uint32_t seg, uint32_t now)
{
    uint32_t opened = atomic_load_explicit(&p->segs[seg].opened, memory_order_relaxed);
    uint32_t age = now > opened ? now - opened : 0;
    unsigned last = segment_expiry_class(age);
    uint64_t sum = 0;
    for (unsigned i = 0; i <= last; i++) {
        uint64_t bytes = atomic_load_explicit(&p->expiries[seg].bytes[i], memory_order_relaxed);
        sum += i < last ? bytes : bytes * (age + 1 - (1u << i)) >> i;
    }
    return sum < p->seg_bytes ? (uint32_t)sum : (uint32_t)p->seg_bytes;
}

void
segment_expiry_begin(struct segment_pool *p, uint32_t seg, uint32_t now)
{
    atomic_store_explicit(&p->segs[seg].opened, now, memory_order_relaxed);
    for (unsigned i = 0; i < SEGMENT_EXPIRY_CLASSES; i++)
        atomic_store_explicit(&p->expiries[seg].bytes[i], 0, memory_order_relaxed);
}

static void
add_up_to_max(_Atomic uint32_t *sum, uint32_t bytes)
{
    uint32_t had = atomic_load_explicit(sum, memory_order_relaxed);
    atomic_store_explicit(sum, had < UINT32_MAX - bytes ? had + bytes : UINT32_MAX,
                          memory_order_relaxed);
}

void
segment_expiry_add(struct segment_pool *p, uint32_t seg,
                   const uint32_t bytes[SEGMENT_EXPIRY_CLASSES])
{
    for (unsigned i = 0; i < SEGMENT_EXPIRY_CLASSES; i++)
        if (bytes[i])
            add_up_to_max(&p->expiries[seg].bytes[i], bytes[i]);
}
