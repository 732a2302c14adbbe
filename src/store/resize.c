/*
 * resize.c -- the index grows and shrinks by one group at a time.
 *
 * Why not one table that doubles: doubling stalls or needs two tables at once.  Here a step moves
 * a few dozen slots.  Whoever inserted thirty-two items pays for up to four splits, so that growth
 * keeps up by itself; merges are housekeeping's.
 *
 * Both directions are one step: the slots of one or two groups are gathered, dealt out anew, and
 * the lines that are not needed any more given back.
 */
#include "index.h"

#include <string.h>

#define GROWTH_BATCH 32                /* slots a thread counts before it hands them in */
#define GROWTH_STEPS 4
#define RELIEF_STEPS 16
#define MERGE_STEPS 4
#define CHUNK_BYTES (INDEX_GROUPS_MIN * sizeof(struct index_group))
#define SLOTS_MAX (INDEX_BUCKETS * INDEX_SLOTS + INDEX_LINES_MAX * INDEX_LINE_SLOTS)

/* One step: what was gathered, and the lines it may use, lowest first. */
struct deal {
    struct index *ix;
    uint64_t slots[2 * SLOTS_MAX];
    unsigned slot_count;
    uint64_t lines[2 * INDEX_LINES_MAX + INDEX_SPARE_LINES];
    unsigned line_count, lines_used, lines_before;
};

/* ---- gathering and dealing ------------------------------------------------------------------ */

static void
add_line(struct deal *d, uint64_t line)
{
    unsigned at = d->line_count++;
    for (; at > 0 && d->lines[at - 1] > line; at--)
        d->lines[at] = d->lines[at - 1];
    d->lines[at] = line;
}

static void
gather(struct deal *d, const struct index_hold *h)
{
    const struct index *ix = d->ix;
    const struct index_group *g = &ix->groups[h->number];
    for (unsigned i = 0; i < INDEX_BUCKETS * INDEX_SLOTS; i++) {
        uint64_t slot = atomic_load_explicit(&g->slots[i / INDEX_SLOTS][i % INDEX_SLOTS],
                                             memory_order_relaxed);
        if (slot)
            d->slots[d->slot_count++] = slot;
    }
    for (uint64_t l = control_line(h->control); l;
         l = atomic_load_explicit(&ix->lines.at[l].next, memory_order_relaxed)) {
        CHECK(d->slot_count + INDEX_LINE_SLOTS <= 2 * SLOTS_MAX);
        for (unsigned i = 0; i < INDEX_LINE_SLOTS; i++) {
            uint64_t slot = atomic_load_explicit(&ix->lines.at[l].slots[i], memory_order_relaxed);
            if (slot)
                d->slots[d->slot_count++] = slot;
        }
        add_line(d, l);
        d->lines_before++;
    }
}

/* Lines that these slots need beside their buckets. */
static unsigned
lines_needed(const uint64_t *slots, unsigned count)
{
    unsigned in[INDEX_BUCKETS] = {0}, over = 0;
    for (unsigned i = 0; i < count; i++)
        over += ++in[slot_bucket(slots[i])] > INDEX_SLOTS;
    return (over + INDEX_LINE_SLOTS - 1) / INDEX_LINE_SLOTS;
}

/* Into buckets, then lines.  Whatever the group held before is gone. */
static void
deal_out(struct deal *d, struct index_hold *h, const uint64_t *slots, unsigned count)
{
    struct index_group *g = &d->ix->groups[h->number];
    unsigned in[INDEX_BUCKETS] = {0}, in_line = INDEX_LINE_SLOTS;
    uint64_t line = 0;
    h->control &= ~(CONTROL_SPILLED_MASK | CONTROL_LINE_MASK);
    for (unsigned i = 0; i < count; i++) {
        unsigned b = slot_bucket(slots[i]);
        if (in[b] < INDEX_SLOTS) {
            atomic_store_explicit(&g->slots[b][in[b]++], slots[i], memory_order_release);
            continue;
        }
        if (in_line == INDEX_LINE_SLOTS) {
            CHECK(d->lines_used < d->line_count);
            uint64_t fresh = d->lines[d->lines_used++];
            line_clear(&d->ix->lines.at[fresh], line);
            line = fresh;
            in_line = 0;
        }
        atomic_store_explicit(&d->ix->lines.at[line].slots[in_line++], slots[i],
                              memory_order_release);
        h->control |= 1ull << (CONTROL_SPILLED_SHIFT + b);
    }
    h->control |= line << CONTROL_LINE_SHIFT;
    for (unsigned b = 0; b < INDEX_BUCKETS; b++)
        for (; in[b] < INDEX_SLOTS; in[b]++)
            atomic_store_explicit(&g->slots[b][in[b]], 0, memory_order_release);
}

static void
set_depth(struct index_hold *h, unsigned depth)
{
    h->control = (h->control & ~CONTROL_DEPTH_MASK) |
                 (uint64_t)(depth ? depth - CONTROL_DEPTH_BASE : 0) << CONTROL_DEPTH_SHIFT;
}

static void
take_spares(struct deal *d, struct index_local *local)
{
    while (local->spare_count)
        add_line(d, local->spare[--local->spare_count]);
}

/* Outside locks: lines that are left are spares again, or go back. */
static void
return_lines(struct deal *d, struct index_local *local)
{
    atomic_fetch_add_explicit(&d->ix->lines.used, (uint64_t)d->lines_used - d->lines_before,
                              memory_order_relaxed);
    while (d->lines_used < d->line_count) {
        uint64_t line = d->lines[d->lines_used++];
        if (local->spare_count < INDEX_SPARE_LINES / 2)
            local->spare[local->spare_count++] = line;
        else
            lines_give(&d->ix->lines, line);
    }
}

/* ---- splitting ------------------------------------------------------------------------------ */

/* Bit `bit` of the hash of each slot's item: from the tag where that has it, else (below 16,384
 * groups) from the keys. */
static void
hash_bits(const struct deal *d, unsigned bit, bool *out_bits, struct index_reader reader)
{
    if (bit >= HASH_TAG_SHIFT && bit < HASH_TAG_SHIFT + HASH_TAG_BITS) {
        for (unsigned i = 0; i < d->slot_count; i++)
            out_bits[i] = d->slots[i] >> (SLOT_TAG_SHIFT + bit - HASH_TAG_SHIFT) & 1;
        return;
    }
    for (unsigned i = 0; i < d->slot_count; i++)
        out_bits[i] = reader.hash_of(reader.ctx, slot_location(d->slots[i])) >> bit & 1;
}

static bool
split_last(struct index *ix, uint64_t n, struct index_local *local, struct index_reader reader)
{
    unsigned level = 63u - (unsigned)__builtin_clzll(n);
    struct deal d = {.ix = ix};
    bool upper[2 * SLOTS_MAX];
    if (local->spare_count == 0)       /* two halves may need one line more than the whole did */
        return false;
    struct index_hold low = {.number = n - (1ull << level)}, high = {.number = n};
    low.control = index_lock_group(ix, low.number);
    high.control = index_lock_group(ix, high.number);
    CHECK(control_depth(low.control) == level && control_depth(high.control) == 0);

    gather(&d, &low);
    take_spares(&d, local);
    hash_bits(&d, level, upper, reader);
    uint64_t *ups = d.slots + SLOTS_MAX;
    unsigned lows = 0, up_count = 0;
    for (unsigned i = 0; i < d.slot_count; i++) {
        uint64_t slot = d.slots[i];
        if (upper[i])
            ups[up_count++] = slot;
        else
            d.slots[lows++] = slot;
    }
    set_depth(&low, level + 1);
    set_depth(&high, level + 1);
    deal_out(&d, &high, ups, up_count);
    deal_out(&d, &low, d.slots, lows);

    atomic_store_explicit(&ix->group_count, n + 1, memory_order_release);
    index_unlock(ix, &high, true);
    index_unlock(ix, &low, true);
    return_lines(&d, local);
    return true;
}

/* Memory for one more group; false: at the limit, a segment is given up first. */
static bool
room_for_group(struct index *ix, uint64_t n)
{
    if (n < ix->charged_groups)
        return true;
    if (n + INDEX_GROUPS_MIN > ix->group_max)
        return false;
    uint64_t controls = ix->charged_controls > n ? 0 : INDEX_GROUPS_MIN;
    size_t bytes = CHUNK_BYTES + controls * sizeof(uint64_t);
    if (!budget_take(ix->budget, bytes)) {
        budget_wish(ix->budget, bytes);
        return false;
    }
    if (region_use(&ix->group_region, (n + INDEX_GROUPS_MIN) * sizeof(struct index_group)) != 0 ||
        region_use(&ix->control_region, (n + INDEX_GROUPS_MIN) * sizeof(uint64_t)) != 0) {
        budget_give(ix->budget, bytes);
        return false;
    }
    atomic_fetch_add_explicit(&ix->charged_groups, INDEX_GROUPS_MIN, memory_order_relaxed);
    atomic_fetch_add_explicit(&ix->charged_controls, controls, memory_order_relaxed);
    return true;
}

static bool
too_full(const struct index *ix)
{
    uint64_t n = atomic_load_explicit(&ix->group_count, memory_order_relaxed);
    return atomic_load_explicit(&ix->slot_count, memory_order_relaxed) >=
           (int64_t)(n * INDEX_GROUP_LOAD);
}

static enum index_relief
grow(struct index *ix, struct index_local *local, unsigned steps, struct index_reader reader)
{
    if (!too_full(ix))
        return INDEX_FITS;
    if (atomic_exchange_explicit(&ix->resizing, true, memory_order_acquire))
        return INDEX_BUSY;
    enum index_relief relief = INDEX_FITS;
    for (; steps && too_full(ix); steps--) {
        uint64_t n = atomic_load_explicit(&ix->group_count, memory_order_relaxed);
        index_local_fill(ix, local);
        bool grown = room_for_group(ix, n) && split_last(ix, n, local, reader);
        relief = grown ? INDEX_GREW : relief == INDEX_GREW ? INDEX_GREW : INDEX_NO_ROOM;
        if (!grown)
            break;
    }
    atomic_store_explicit(&ix->resizing, false, memory_order_release);
    return relief;
}

static void
hand_in(struct index *ix, struct index_local *local)
{
    atomic_fetch_add_explicit(&ix->slot_count, local->slots_delta, memory_order_relaxed);
    local->slots_delta = 0;
}

void
index_counted(struct index *ix, struct index_local *local, int delta, struct index_reader reader)
{
    local->slots_delta += delta;
    if (LIKELY(local->slots_delta < GROWTH_BATCH && local->slots_delta > -GROWTH_BATCH))
        return;
    hand_in(ix, local);
    grow(ix, local, GROWTH_STEPS, reader);
}

enum index_relief
index_relieve(struct index *ix, struct index_local *local, struct index_reader reader)
{
    hand_in(ix, local);
    enum index_relief relief = grow(ix, local, RELIEF_STEPS, reader);
    return relief != INDEX_GREW && index_awaits_lines(local) ? INDEX_BUSY : relief;
}

/* ---- merging -------------------------------------------------------------------------------- */

/* Both locked; false: neither, for whoever holds one of them seems not to run. */
static bool
lock_pair_soon(struct index *ix, struct index_hold *low, struct index_hold *high)
{
    if (!index_lock_group_soon(ix, low->number, &low->control))
        return false;
    if (index_lock_group_soon(ix, high->number, &high->control))
        return true;
    index_unlock(ix, low, false);
    return false;
}

enum merge { MERGED, MERGE_MISFIT, MERGE_BUSY };

/* The last group goes into the one it was split from.  MISFIT: they do not fit one group. */
static enum merge
merge_last(struct index *ix, uint64_t n, struct index_local *local)
{
    unsigned level = 63u - (unsigned)__builtin_clzll(n - 1);
    struct deal d = {.ix = ix};
    struct index_hold low = {.number = n - 1 - (1ull << level)}, high = {.number = n - 1};
    if (!lock_pair_soon(ix, &low, &high))
        return MERGE_BUSY;
    CHECK(control_depth(low.control) == level + 1 && control_depth(high.control) == level + 1);

    gather(&d, &low);
    gather(&d, &high);
    unsigned needed = lines_needed(d.slots, d.slot_count);
    bool fits = needed <= INDEX_LINES_MAX && needed <= d.line_count + local->spare_count;
    if (fits) {
        take_spares(&d, local);
        set_depth(&low, level);
        deal_out(&d, &low, d.slots, d.slot_count);
        set_depth(&high, 0);
        high.control &= ~(CONTROL_SPILLED_MASK | CONTROL_LINE_MASK);
        atomic_store_explicit(&ix->group_count, n - 1, memory_order_release);
    }
    index_unlock(ix, &high, fits);
    index_unlock(ix, &low, fits);
    if (!fits)
        return MERGE_MISFIT;
    return_lines(&d, local);
    return MERGED;
}

static bool
too_empty(const struct index *ix)
{
    uint64_t n = atomic_load_explicit(&ix->group_count, memory_order_relaxed);
    int64_t slots = atomic_load_explicit(&ix->slot_count, memory_order_relaxed);
    return n > INDEX_GROUPS_MIN && slots < (int64_t)(n * INDEX_GROUP_LOAD_MIN) &&
           slots < atomic_load_explicit(&ix->merge_below, memory_order_relaxed);
}

/* Two groups did not fit one (keys made to collide): tried again when a sixteenth has gone. */
static void
merge_failed(struct index *ix)
{
    int64_t slots = atomic_load_explicit(&ix->slot_count, memory_order_relaxed);
    atomic_store_explicit(&ix->merge_below, slots - slots / 16, memory_order_relaxed);
}

/* Chunks behind the last group, less one that is kept lest it come and go. */
static bool
chunks_to_give(const struct index *ix)
{
    uint64_t n = atomic_load_explicit(&ix->group_count, memory_order_relaxed);
    return atomic_load_explicit(&ix->charged_groups, memory_order_relaxed) >=
           n + 2 * INDEX_GROUPS_MIN;
}

/* The pages of the last chunk go when nobody can be looking at them any more.  Control words stay:
 * they say that there is no such group, and carry its version on. */
static void
give_back(struct index *ix, struct epoch *epoch)
{
    uint64_t n = atomic_load_explicit(&ix->group_count, memory_order_relaxed);
    uint64_t last = ix->charged_groups - INDEX_GROUPS_MIN;
    if (ix->dropping && n > ix->drop_from)
        ix->dropping = 0;              /* it has grown back meanwhile */
    if (!chunks_to_give(ix))
        return;
    if (!ix->dropping || last < ix->drop_from) {
        ix->drop_from = n;
        ix->dropping = epoch_retire(epoch);
    }
    if (!epoch_passed(epoch, ix->dropping))
        return;
    region_drop(&ix->group_region, last * sizeof(struct index_group), CHUNK_BYTES);
    atomic_fetch_sub_explicit(&ix->charged_groups, INDEX_GROUPS_MIN, memory_order_relaxed);
    budget_give(ix->budget, CHUNK_BYTES);
}

bool
index_shrink_due(const struct index *ix)
{
    return too_empty(ix) || chunks_to_give(ix) || lines_trim_due(&ix->lines);
}

size_t
index_surplus_bytes(const struct index *ix)
{
    if (!too_empty(ix) && !chunks_to_give(ix))
        return 0;
    int64_t slots = atomic_load_explicit(&ix->slot_count, memory_order_relaxed);
    uint64_t groups =
        (slots > 0 ? (uint64_t)slots : 0) / INDEX_GROUP_LOAD_MIN + 2 * INDEX_GROUPS_MIN;
    uint64_t charged = atomic_load_explicit(&ix->charged_groups, memory_order_relaxed);
    return charged > groups ? (charged - groups) * sizeof(struct index_group) : 0;
}

size_t
index_least_bytes(const struct index *ix)
{
    return 2 * CHUNK_BYTES + 2 * LINE_CHUNK * sizeof(struct index_line) +
           atomic_load_explicit(&ix->charged_controls, memory_order_relaxed) * sizeof(uint64_t);
}

void
index_shrink(struct index *ix, struct index_local *local, struct epoch *epoch)
{
    if (atomic_exchange_explicit(&ix->resizing, true, memory_order_acquire))
        return;
    for (unsigned i = 0; i < MERGE_STEPS && too_empty(ix); i++) {
        index_local_fill(ix, local);
        uint64_t n = atomic_load_explicit(&ix->group_count, memory_order_relaxed);
        enum merge merge = merge_last(ix, n, local);
        if (merge == MERGE_BUSY)
            break;
        if (merge == MERGED)
            atomic_store_explicit(&ix->merge_below, INT64_MAX, memory_order_relaxed);
        else
            merge_failed(ix);
    }
    give_back(ix, epoch);
    atomic_store_explicit(&ix->resizing, false, memory_order_release);
    lines_trim(&ix->lines, epoch);
}
