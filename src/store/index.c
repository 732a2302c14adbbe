/*
 * index.c -- groups: their locks, and what goes into their buckets and lines.
 *
 * Lines hang on groups, not on buckets: with 30 slots on 32 about one line per group is in use
 * (340,604 for 333,334 groups, at 10 million entries).
 * All lines of a group but the first are full, and a bucket that has a slot to spare has nothing in
 * a line: whoever removes a slot moves another one up.  Chains do not rot under churn, and a
 * look at an absent key seldom reads a second line.
 */
#include "index.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

#define SPINS 100

/* ---- setting up ------------------------------------------------------------------------- */

static int
reserve(struct index *ix, bool huge_pages)
{
    int e = region_reserve(&ix->group_region, ix->group_max * sizeof(struct index_group),
                           huge_pages);
    if (e == 0)
        e = region_reserve(&ix->control_region, ix->group_max * sizeof(uint64_t), false);
    uint64_t lines_max = (1ull << (64 - CONTROL_LINE_SHIFT)) - LINE_CHUNK; /* with a number */
    if (ix->group_max < lines_max)
        lines_max = ix->group_max;
    if (e == 0)
        e = lines_init(&ix->lines, lines_max, huge_pages, ix->budget);
    if (e == 0)
        e = region_use(&ix->group_region, INDEX_GROUPS_MIN * sizeof(struct index_group));
    if (e == 0)
        e = region_use(&ix->control_region, INDEX_GROUPS_MIN * sizeof(uint64_t));
    return e;
}

int
index_init(struct index *ix, uint64_t items_max, bool huge_pages, struct budget *budget)
{
    memset(ix, 0, sizeof *ix);
    ix->budget = budget;
    ix->group_max = items_max / INDEX_GROUP_LOAD + INDEX_GROUPS_MIN;
    ix->group_max = (ix->group_max + INDEX_GROUPS_MIN - 1) & ~(uint64_t)(INDEX_GROUPS_MIN - 1);
    int e = reserve(ix, huge_pages);
    atomic_store(&ix->charged_groups, INDEX_GROUPS_MIN);
    atomic_store(&ix->charged_controls, INDEX_GROUPS_MIN);
    atomic_store(&ix->merge_below, INT64_MAX);
    if (e == 0 && !budget_take(budget, index_memory_bytes(ix)))
        e = -ENOMEM;
    if (e != 0) {
        index_fini(ix);
        return e;
    }
    ix->groups = (struct index_group *)(void *)ix->group_region.base;
    ix->controls = (_Atomic uint64_t *)(void *)ix->control_region.base;
    uint64_t depth = (uint64_t)__builtin_ctz(INDEX_GROUPS_MIN) - CONTROL_DEPTH_BASE;
    for (uint64_t g = 0; g < INDEX_GROUPS_MIN; g++)
        atomic_init(&ix->controls[g], depth << CONTROL_DEPTH_SHIFT);
    atomic_store(&ix->group_count, INDEX_GROUPS_MIN);
    return 0;
}

void
index_fini(struct index *ix)
{
    region_release(&ix->group_region);
    region_release(&ix->control_region);
    lines_fini(&ix->lines);
}

size_t
index_memory_bytes(const struct index *ix)
{
    return ix->charged_groups * sizeof(struct index_group) +
           ix->charged_controls * sizeof(uint64_t) +
           ix->lines.charged * sizeof(struct index_line);
}

/* ---- locks ------------------------------------------------------------------------------ */

static bool
try_lock(struct index *ix, uint64_t group, uint64_t *out_control)
{
    uint64_t control = atomic_load_explicit(&ix->controls[group], memory_order_relaxed);
    *out_control = control;
    return !(control & CONTROL_LOCK) &&
           atomic_compare_exchange_weak_explicit(&ix->controls[group], out_control,
                                                 control | CONTROL_LOCK, memory_order_acquire,
                                                 memory_order_relaxed);
}

uint64_t
index_lock_group(struct index *ix, uint64_t group)
{
    uint64_t control;
    for (unsigned spins = 1; !try_lock(ix, group, &control); spins++)
        if (spins % SPINS == 0)        /* with few CPUs the holder may not be running */
            sched_yield();
    return control;
}

bool
index_lock_group_soon(struct index *ix, uint64_t group, uint64_t *out_control)
{
    for (unsigned spins = 0; spins < SPINS; spins++)
        if (try_lock(ix, group, out_control))
            return true;
    return false;
}

bool
index_lock_soon(struct index *ix, uint64_t hash, struct index_hold *h)
{
    for (unsigned spins = 0; spins < SPINS; spins++) {
        h->number = index_group_of(ix, hash);
        if (!try_lock(ix, h->number, &h->control))
            continue;
        if (LIKELY(index_owns(h, hash)))
            return true;
        index_unlock(ix, h, false);
    }
    return false;
}

struct index_hold
index_lock(struct index *ix, uint64_t hash)
{
    for (;;) {
        struct index_hold h = {.number = index_group_of(ix, hash)};
        index_prefetch(ix, h.number, hash);    /* no read passes a locked operation */
        h.control = index_lock_group(ix, h.number);
        if (LIKELY(index_owns(&h, hash)))
            return h;
        index_unlock(ix, &h, false);
    }
}

void
index_unlock(struct index *ix, struct index_hold *h, bool changed)
{
    uint64_t control = h->control;
    if (changed)
        control = (control & ~CONTROL_VERSION_MASK) |
                  ((control + CONTROL_VERSION) & CONTROL_VERSION_MASK);
    atomic_store_explicit(&ix->controls[h->number], control, memory_order_release);
}

slot_word *
index_find(const struct index *ix, const struct index_hold *h, uint64_t hash, uint64_t location)
{
    struct index_cursor c = index_walk(ix, h, hash);
    uint64_t slot;
    for (slot_word *s; (s = index_next(ix, &c, &slot)) != NULL;)
        if (slot_location(slot) == location)
            return s;
    return NULL;
}

/* ---- spare lines -------------------------------------------------------------------------- */

void
index_local_fill(struct index *ix, struct index_local *local)
{
    const unsigned half = INDEX_SPARE_LINES / 2;
    uint32_t recalls = atomic_load_explicit(&ix->lines.recalls, memory_order_relaxed);
    if (LIKELY(local->spare_count >= half / 2 && local->spare_count <= half + half / 2 &&
               recalls == local->recalls))
        return;
    unsigned most = recalls == local->recalls ? half : 0;
    local->recalls = recalls;
    while (local->spare_count > most)
        lines_give(&ix->lines, local->spare[--local->spare_count]);
    local->spare_count += lines_take(&ix->lines, local->spare + local->spare_count,
                                     half - local->spare_count, &local->lines_busy);
}

void
index_local_drain(struct index *ix, struct index_local *local)
{
    while (local->spare_count)
        lines_give(&ix->lines, local->spare[--local->spare_count]);
    atomic_fetch_add_explicit(&ix->slot_count, local->slots_delta, memory_order_relaxed);
    local->slots_delta = 0;
}

/* ---- placing ------------------------------------------------------------------------------ */

static uint64_t
load(const slot_word *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static void
store(slot_word *at, uint64_t slot)
{
    atomic_store_explicit(at, slot, memory_order_release);
}

static uint64_t
next_of(const struct index *ix, uint64_t line)
{
    return atomic_load_explicit(&ix->lines.at[line].next, memory_order_relaxed);
}

static unsigned
line_count(const struct index *ix, const struct index_hold *h)
{
    unsigned n = 0;
    for (uint64_t line = control_line(h->control); line; line = next_of(ix, line))
        n++;
    return n;
}

static void
set_line(struct index_hold *h, uint64_t line)
{
    h->control = (h->control & ~CONTROL_LINE_MASK) | line << CONTROL_LINE_SHIFT;
}

static void
set_spilled(struct index_hold *h, unsigned bucket)
{
    h->control |= 1ull << (CONTROL_SPILLED_SHIFT + bucket);
}

slot_word *
index_place(struct index *ix, struct index_hold *h, uint64_t hash, struct index_local *local)
{
    unsigned bucket = hash_bucket(hash);
    slot_word *slots = ix->groups[h->number].slots[bucket];
    for (unsigned i = 0; i < INDEX_SLOTS; i++)
        if (load(&slots[i]) == 0)
            return &slots[i];
    uint64_t first = control_line(h->control);
    for (unsigned i = 0; first && i < INDEX_LINE_SLOTS; i++)
        if (load(&ix->lines.at[first].slots[i]) == 0) {
            set_spilled(h, bucket);
            return &ix->lines.at[first].slots[i];
        }
    if (local->spare_count == 0 || line_count(ix, h) >= INDEX_LINES_MAX)
        return NULL;
    uint64_t line = local->spare[--local->spare_count];
    line_clear(&ix->lines.at[line], first);
    set_line(h, line);
    set_spilled(h, bucket);
    atomic_fetch_add_explicit(&ix->lines.used, 1, memory_order_relaxed);
    return &ix->lines.at[line].slots[0];
}

/* So few, because each is a read of memory under the lock. */
#define CROWD_LOOKS 8u

slot_word *
index_crowded(struct index *ix, struct index_hold *h, uint64_t hash, struct index_reader reader)
{
    slot_word *all[INDEX_SLOTS + INDEX_LINES_MAX * INDEX_LINE_SLOTS];
    unsigned n = 0, bucket = hash_bucket(hash);
    for (unsigned i = 0; i < INDEX_SLOTS; i++)
        all[n++] = &ix->groups[h->number].slots[bucket][i];
    for (uint64_t l = control_line(h->control); l; l = next_of(ix, l))
        for (unsigned i = 0; i < INDEX_LINE_SLOTS; i++)
            if (load(&ix->lines.at[l].slots[i]))
                all[n++] = &ix->lines.at[l].slots[i];
    /* among equals another one each time, lest the newest always push out the newest */
    unsigned start = (unsigned)((h->control & CONTROL_VERSION_MASK) >> 1) % n, best = start;
    unsigned lowest = UINT_MAX;
    for (unsigned i = 0; i < CROWD_LOOKS && lowest > 0; i++) {
        unsigned k = (start + i) % n;
        unsigned frequency = reader.frequency_of(reader.ctx, slot_location(load(all[k])));
        if (frequency < lowest) {
            lowest = frequency;
            best = k;
        }
    }
    if (best >= INDEX_SLOTS)
        set_spilled(h, bucket);
    return all[best];
}

/* ---- removing ----------------------------------------------------------------------------- */

/* The slots of a bucket that lie in lines: one of them (not `but`), and how many, or 2. */
static slot_word *
find_spilled(const struct index *ix, const struct index_hold *h, unsigned bucket,
             const slot_word *but, unsigned *out_count)
{
    slot_word *found = NULL;
    *out_count = 0;
    for (uint64_t l = control_line(h->control); l && *out_count < 2; l = next_of(ix, l))
        for (unsigned i = 0; i < INDEX_LINE_SLOTS && *out_count < 2; i++) {
            slot_word *s = &ix->lines.at[l].slots[i];
            uint64_t slot = load(s);
            if (slot && s != but && slot_bucket(slot) == bucket) {
                if (!found)
                    found = s;
                ++*out_count;
            }
        }
    return found;
}

/* A slot in a line is free: the last one of the first line moves there; an empty line comes off. */
static void
close_hole(struct index *ix, struct index_hold *h, slot_word *hole, struct index_local *local)
{
    uint64_t first = control_line(h->control);
    slot_word *slots = ix->lines.at[first].slots;
    unsigned last = INDEX_LINE_SLOTS - 1;
    while (last > 0 && load(&slots[last]) == 0)
        last--;
    store(hole, load(&slots[last]));
    store(&slots[last], 0);
    if (last > 0)
        return;
    set_line(h, next_of(ix, first));
    CHECK(local->spare_count < INDEX_SPARE_LINES);
    local->spare[local->spare_count++] = first;
    atomic_fetch_sub_explicit(&ix->lines.used, 1, memory_order_relaxed);
}

void
index_remove(struct index *ix, struct index_hold *h, slot_word *slot, struct index_local *local)
{
    unsigned bucket = slot_bucket(load(slot)), count;
    slot_word *home = ix->groups[h->number].slots[bucket];
    bool in_bucket = slot >= home && slot < home + INDEX_SLOTS;
    if (LIKELY(in_bucket && !control_spilled(h->control, bucket))) {
        store(slot, 0);
        return;
    }
    slot_word *hole = slot;
    slot_word *spilled = find_spilled(ix, h, bucket, slot, &count);
    if (in_bucket) {
        hole = spilled;
        store(slot, spilled ? load(spilled) : 0);
        count -= spilled != NULL;
    }
    if (count == 0)
        h->control &= ~(1ull << (CONTROL_SPILLED_SHIFT + bucket));
    if (hole)
        close_hole(ix, h, hole, local);
}

/* ---- for tests ---------------------------------------------------------------------------- */

static const char *
verify_slot(struct index *ix, uint64_t group, slot_word *w, unsigned bucket,
            const char *(*seen)(void *ctx, uint64_t slot, uint64_t *out_hash), void *ctx)
{
    uint64_t slot = atomic_load(w), hash;
    if (!slot)
        return NULL;
    const char *wrong = seen(ctx, slot, &hash);
    if (wrong)
        return wrong;
    if (index_group_of(ix, hash) != group)
        return "I1: a slot lies in a group that its hash does not choose";
    if (((slot ^ slot_make(0, hash, 0)) & SLOT_TAG_MASK) != 0)
        return "I1: a tag is not that of its item's hash";
    if (bucket < INDEX_BUCKETS && hash_bucket(hash) != bucket)
        return "I1: a slot lies in the wrong bucket";
    return NULL;
}

static const char *
verify_lines(struct index *ix, const struct index_hold *h)
{
    uint64_t first = control_line(h->control);
    if (line_count(ix, h) > INDEX_LINES_MAX)
        return "I3: too many overflow lines hang on a group";
    for (uint64_t l = first; l; l = next_of(ix, l)) {
        unsigned used = 0;
        for (unsigned i = 0; i < INDEX_LINE_SLOTS; i++) {
            uint64_t slot = load(&ix->lines.at[l].slots[i]);
            used += slot != 0;
            if (slot && !control_spilled(h->control, slot_bucket(slot)))
                return "I5: a slot lies in a line and its bucket does not say so";
        }
        if (used == 0 || (used < INDEX_LINE_SLOTS && l != first))
            return "I3: a line that is not the first has room";
    }
    return NULL;
}

const char *
index_verify_group(struct index *ix, uint64_t group,
                   const char *(*seen)(void *ctx, uint64_t slot, uint64_t *out_hash), void *ctx)
{
    uint64_t n = atomic_load(&ix->group_count);
    unsigned level = 63u - (unsigned)__builtin_clzll(n);
    struct index_hold h = {group, atomic_load(&ix->controls[group])};
    bool split = group >= 1ull << level || group < n - (1ull << level);
    if (h.control & CONTROL_LOCK)
        return "a group is still locked";
    if (control_depth(h.control) != level + split)
        return "I2: a group has the wrong depth";
    const char *wrong = verify_lines(ix, &h);
    for (unsigned b = 0; b < INDEX_BUCKETS && !wrong; b++)
        for (unsigned i = 0; i < INDEX_SLOTS && !wrong; i++)
            wrong = verify_slot(ix, group, &ix->groups[group].slots[b][i], b, seen, ctx);
    for (uint64_t l = control_line(h.control); l && !wrong; l = next_of(ix, l))
        for (unsigned i = 0; i < INDEX_LINE_SLOTS && !wrong; i++)
            wrong = verify_slot(ix, group, &ix->lines.at[l].slots[i], INDEX_BUCKETS, seen, ctx);
    return wrong;
}
