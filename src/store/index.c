/*
 * index.c -- linear hashing over groups.
 *
 * Why not one table that doubles: doubling stalls or needs two tables at once.  Here growing by
 * one group moves about fifteen slots, and whoever inserted thirty-two items pays for two such
 * steps, so that growth keeps up by itself and never shows.
 *
 * Lines hang on groups, not on buckets: with 30 slots on 32 about one line per group is in use.
 */
#include "index.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#define CONTROL_LOCK 1ull
#define CONTROL_VERSION 2ull
#define CONTROL_VERSION_MASK (((1ull << 26) - 1) & ~CONTROL_LOCK)
#define GROUP_CHUNK 256u               /* groups charged to the budget at once: 66 KiB */
#define LINE_CHUNK 256u                /* lines, 16 KiB */
#define GROWTH_BATCH 32                /* slots a thread counts before it hands them in */
#define GROWTH_STEPS 4
#define SPINS 100

static const size_t chunk_bytes = GROUP_CHUNK * (sizeof(struct index_group) + sizeof(uint64_t));

/* ---- setting up ------------------------------------------------------------------------- */

static int
use_groups(struct index *ix, uint64_t count)
{
    int e = region_use(&ix->group_region, count * sizeof(struct index_group));
    return e ? e : region_use(&ix->control_region, count * sizeof(uint64_t));
}

int
index_init(struct index *ix, uint64_t items_max, struct budget *budget)
{
    memset(ix, 0, sizeof *ix);
    ix->budget = budget;
    ix->group_max = items_max / INDEX_GROUP_LOAD + GROUP_CHUNK;
    ix->group_max = (ix->group_max + GROUP_CHUNK - 1) & ~(uint64_t)(GROUP_CHUNK - 1);
    ix->line_max = ix->group_max;
    ix->line_fresh = 1;
    atomic_flag_clear(&ix->line_lock);
    int e = region_reserve(&ix->group_region, ix->group_max * sizeof(struct index_group), false);
    if (e == 0)
        e = region_reserve(&ix->control_region, ix->group_max * sizeof(uint64_t), false);
    if (e == 0)
        e = region_reserve(&ix->line_region, ix->line_max * sizeof(struct index_line), false);
    if (e == 0)
        e = use_groups(ix, GROUP_CHUNK);
    if (e == 0 && !budget_take(budget, chunk_bytes))
        e = -ENOMEM;
    if (e != 0) {
        index_fini(ix);
        return e;
    }
    ix->groups = (struct index_group *)(void *)ix->group_region.base;
    ix->controls = (_Atomic uint64_t *)(void *)ix->control_region.base;
    ix->lines = (struct index_line *)(void *)ix->line_region.base;
    ix->charged_groups = GROUP_CHUNK;
    for (uint64_t g = 0; g < GROUP_CHUNK; g++)
        atomic_init(&ix->controls[g], (uint64_t)__builtin_ctz(GROUP_CHUNK) << 26);
    atomic_store(&ix->group_count, GROUP_CHUNK);
    return 0;
}

void
index_fini(struct index *ix)
{
    region_release(&ix->group_region);
    region_release(&ix->control_region);
    region_release(&ix->line_region);
}

size_t
index_memory_bytes(const struct index *ix)
{
    return ix->charged_groups / GROUP_CHUNK * chunk_bytes +
           ix->charged_lines * sizeof(struct index_line);
}

/* ---- groups and their locks ------------------------------------------------------------- */

static uint64_t
group_of(const struct index *ix, uint64_t hash)
{
    uint64_t n = atomic_load_explicit(&ix->group_count, memory_order_acquire);
    unsigned level = 63u - (unsigned)__builtin_clzll(n);
    uint64_t g = hash & ((2ull << level) - 1);
    return g < n ? g : g & ((1ull << level) - 1);
}

static bool
group_owns(uint64_t group, uint64_t control, uint64_t hash)
{
    return ((hash ^ group) & ((1ull << control_depth(control)) - 1)) == 0;
}

static uint64_t
lock_group(struct index *ix, uint64_t group)
{
    for (unsigned spins = 0;;) {
        uint64_t control = atomic_load_explicit(&ix->controls[group], memory_order_relaxed);
        if (!(control & CONTROL_LOCK) &&
            atomic_compare_exchange_weak_explicit(&ix->controls[group], &control,
                                                  control | CONTROL_LOCK, memory_order_acquire,
                                                  memory_order_relaxed))
            return control;
        if (++spins >= SPINS) {        /* with more threads than CPUs the holder may not be running */
            sched_yield();
            spins = 0;
        }
    }
}

struct index_hold
index_lock(struct index *ix, uint64_t hash)
{
    for (;;) {
        struct index_hold h = {.number = group_of(ix, hash)};
        h.control = lock_group(ix, h.number);
        if (LIKELY(group_owns(h.number, h.control, hash)))
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

/* ---- looking ---------------------------------------------------------------------------- */

static bool
slot_matches(uint64_t word, uint64_t tag)
{
    return ((word ^ tag) & SLOT_TAG_MASK) == 0 && word != 0;
}

slot_word *
index_next(struct index *ix, const struct index_hold *h, uint64_t hash, struct index_cursor *c)
{
    uint64_t tag = slot_make(0, hash, 0);
    if (!c->line) {
        slot_word *bucket = ix->groups[h->number].slots[hash_bucket(hash)];
        while (c->at < INDEX_SLOTS) {
            slot_word *s = &bucket[c->at++];
            if (slot_matches(atomic_load_explicit(s, memory_order_relaxed), tag))
                return s;
        }
        c->line = control_line(h->control);
        c->at = 0;
    }
    for (; c->line; c->line = ix->lines[c->line].next, c->at = 0) {
        while (c->at < INDEX_LINE_SLOTS) {
            slot_word *s = &ix->lines[c->line].slots[c->at++];
            if (slot_matches(atomic_load_explicit(s, memory_order_relaxed), tag))
                return s;
        }
    }
    return NULL;
}

slot_word *
index_find(struct index *ix, const struct index_hold *h, uint64_t hash, uint64_t location)
{
    struct index_cursor c = {0};
    for (slot_word *s; (s = index_next(ix, h, hash, &c)) != NULL;)
        if (slot_location(atomic_load_explicit(s, memory_order_relaxed)) == location)
            return s;
    return NULL;
}

void
index_prefetch(struct index *ix, uint64_t hash)
{
    uint64_t g = group_of(ix, hash);
    __builtin_prefetch(&ix->groups[g].slots[hash_bucket(hash)], 0, 3);
    __builtin_prefetch(&ix->controls[g], 1, 3);
}

uint64_t
index_guess(struct index *ix, uint64_t hash)
{
    uint64_t tag = slot_make(0, hash, 0);
    slot_word *slots = ix->groups[group_of(ix, hash)].slots[hash_bucket(hash)];
    for (unsigned i = 0; i < INDEX_SLOTS; i++) {
        uint64_t word = atomic_load_explicit(&slots[i], memory_order_relaxed);
        if (((word ^ tag) & SLOT_TAG_MASK) == 0)
            return slot_location(word);
    }
    return 0;
}

/* ---- overflow lines --------------------------------------------------------------------- */

static void
lock_lines(struct index *ix)
{
    for (unsigned spins = 0; atomic_flag_test_and_set_explicit(&ix->line_lock, memory_order_acquire);)
        if (++spins % SPINS == 0)
            sched_yield();
}

static void
unlock_lines(struct index *ix)
{
    atomic_flag_clear_explicit(&ix->line_lock, memory_order_release);
}

/* More lines to hand out, as far as the budget goes. */
static bool
charge_lines_locked(struct index *ix)
{
    if (ix->line_fresh < ix->charged_lines)
        return true;
    if (ix->charged_lines + LINE_CHUNK > ix->line_max ||
        !budget_take(ix->budget, LINE_CHUNK * sizeof(struct index_line))) {
        budget_wish(ix->budget, LINE_CHUNK * sizeof(struct index_line));
        return false;
    }
    if (region_use(&ix->line_region,
                   (ix->charged_lines + LINE_CHUNK) * sizeof(struct index_line)) != 0) {
        budget_give(ix->budget, LINE_CHUNK * sizeof(struct index_line));
        return false;
    }
    ix->charged_lines += LINE_CHUNK;
    return true;
}

void
index_local_fill(struct index *ix, struct index_local *local)
{
    if (LIKELY(local->spare_count >= INDEX_SPARE_LINES / 2))
        return;
    lock_lines(ix);
    while (local->spare_count < INDEX_SPARE_LINES) {
        uint64_t line = ix->line_free;
        if (line)
            ix->line_free = ix->lines[line].next;
        else if (charge_lines_locked(ix))
            line = ix->line_fresh++;
        else
            break;
        local->spare[local->spare_count++] = line;
    }
    unlock_lines(ix);
}

static void
give_line(struct index *ix, uint64_t line)
{
    lock_lines(ix);
    ix->lines[line].next = ix->line_free;
    ix->line_free = line;
    unlock_lines(ix);
}

void
index_local_drain(struct index *ix, struct index_local *local)
{
    while (local->spare_count)
        give_line(ix, local->spare[--local->spare_count]);
    atomic_fetch_add_explicit(&ix->slot_count, local->slots_delta, memory_order_relaxed);
    local->slots_delta = 0;
}

static unsigned
line_count(const struct index *ix, const struct index_hold *h)
{
    unsigned n = 0;
    for (uint64_t line = control_line(h->control); line; line = ix->lines[line].next)
        n++;
    return n;
}

slot_word *
index_place(struct index *ix, struct index_hold *h, uint64_t hash, struct index_local *local,
            slot_word **out_crowd)
{
    slot_word *bucket = ix->groups[h->number].slots[hash_bucket(hash)];
    for (unsigned i = 0; i < INDEX_SLOTS; i++)
        if (atomic_load_explicit(&bucket[i], memory_order_relaxed) == 0)
            return &bucket[i];
    for (uint64_t l = control_line(h->control); l; l = ix->lines[l].next)
        for (unsigned i = 0; i < INDEX_LINE_SLOTS; i++)
            if (atomic_load_explicit(&ix->lines[l].slots[i], memory_order_relaxed) == 0)
                return &ix->lines[l].slots[i];
    *out_crowd = bucket;
    if (local->spare_count == 0 || line_count(ix, h) >= INDEX_LINES_MAX)
        return NULL;
    uint64_t line = local->spare[--local->spare_count];
    memset(ix->lines[line].slots, 0, sizeof ix->lines[line].slots);
    ix->lines[line].next = control_line(h->control);
    h->control = (h->control & 0xffffffffu) | line << 32;
    atomic_fetch_add_explicit(&ix->lines_used, 1, memory_order_relaxed);
    return &ix->lines[line].slots[0];
}

/* ---- growing ---------------------------------------------------------------------------- */

/* All slots of a group, taken out; its lines go back.  At most 32 + 12 * 7. */
struct moved {
    uint64_t slot;
    unsigned bucket;
};
#define MOVED_MAX (INDEX_BUCKETS * INDEX_SLOTS + INDEX_LINES_MAX * INDEX_LINE_SLOTS)

struct splitter {
    struct index *ix;
    uint64_t (*hash_of)(void *ctx, uint64_t location);
    void *ctx;
    struct index_hold low, high;
    uint64_t freed[INDEX_LINES_MAX + 1];   /* lines of the old group, and one more */
    unsigned freed_count, freed_used;
};

/* Bit `bit` of the hash of a slot's item, from its tag where that has it. */
static bool
slot_hash_bit(const struct splitter *sp, uint64_t slot, unsigned bit)
{
    if (bit >= HASH_TAG_SHIFT && bit < HASH_TAG_SHIFT + HASH_TAG_BITS)
        return slot >> (SLOT_TAG_SHIFT + bit - HASH_TAG_SHIFT) & 1;
    return sp->hash_of(sp->ctx, slot_location(slot)) >> bit & 1;
}

/* Puts a slot that lay in an overflow line into its bucket, or a line of the half it belongs to. */
static void
place_moved(struct splitter *sp, struct index_hold *h, uint64_t slot, unsigned bucket)
{
    struct index *ix = sp->ix;
    slot_word *b = ix->groups[h->number].slots[bucket];
    for (unsigned i = 0; i < INDEX_SLOTS; i++)
        if (atomic_load_explicit(&b[i], memory_order_relaxed) == 0) {
            atomic_store_explicit(&b[i], slot, memory_order_relaxed);
            return;
        }
    uint64_t line = control_line(h->control);
    for (unsigned i = 0; line && i < INDEX_LINE_SLOTS; i++)
        if (atomic_load_explicit(&ix->lines[line].slots[i], memory_order_relaxed) == 0) {
            atomic_store_explicit(&ix->lines[line].slots[i], slot, memory_order_relaxed);
            return;
        }
    CHECK(sp->freed_used < sp->freed_count);
    uint64_t fresh = sp->freed[sp->freed_used++];
    memset(ix->lines[fresh].slots, 0, sizeof ix->lines[fresh].slots);
    ix->lines[fresh].next = line;
    h->control = (h->control & 0xffffffffu) | fresh << 32;
    atomic_store_explicit(&ix->lines[fresh].slots[0], slot, memory_order_relaxed);
}

/* Takes the lines off the group, their slots into `moved` with the bucket each belongs to. */
static unsigned
unhook_lines(struct splitter *sp, struct moved *moved)
{
    struct index *ix = sp->ix;
    unsigned n = 0;
    for (uint64_t l = control_line(sp->low.control); l; l = ix->lines[l].next) {
        CHECK(sp->freed_count < INDEX_LINES_MAX);
        sp->freed[sp->freed_count++] = l;
        for (unsigned i = 0; i < INDEX_LINE_SLOTS; i++) {
            uint64_t slot = atomic_load_explicit(&ix->lines[l].slots[i], memory_order_relaxed);
            if (slot)
                moved[n++] = (struct moved){
                    slot, hash_bucket(sp->hash_of(sp->ctx, slot_location(slot)))};
        }
    }
    sp->low.control &= 0xffffffffu;
    return n;
}

static void
split_buckets(struct splitter *sp, unsigned depth)
{
    struct index_group *low = &sp->ix->groups[sp->low.number];
    struct index_group *high = &sp->ix->groups[sp->high.number];
    for (unsigned b = 0; b < INDEX_BUCKETS; b++) {
        unsigned to = 0;
        for (unsigned i = 0; i < INDEX_SLOTS; i++) {
            uint64_t slot = atomic_load_explicit(&low->slots[b][i], memory_order_relaxed);
            if (slot && slot_hash_bit(sp, slot, depth)) {
                atomic_store_explicit(&high->slots[b][to++], slot, memory_order_relaxed);
                atomic_store_explicit(&low->slots[b][i], 0, memory_order_relaxed);
            }
        }
        for (; to < INDEX_SLOTS; to++)
            atomic_store_explicit(&high->slots[b][to], 0, memory_order_relaxed);
    }
}

static bool
split_group(struct index *ix, uint64_t n, struct index_local *local,
            uint64_t (*hash_of)(void *ctx, uint64_t location), void *ctx)
{
    unsigned level = 63u - (unsigned)__builtin_clzll(n);
    struct splitter sp = {.ix = ix, .hash_of = hash_of, .ctx = ctx};
    struct moved moved[MOVED_MAX];
    if (local->spare_count == 0)       /* two halves may need one line more than the whole did */
        return false;
    sp.low.number = n - (1ull << level);
    sp.low.control = lock_group(ix, sp.low.number);
    CHECK(control_depth(sp.low.control) == level);
    sp.high.number = n;
    sp.high.control = (uint64_t)(level + 1) << 26;
    atomic_store_explicit(&ix->controls[n], sp.high.control | CONTROL_LOCK, memory_order_relaxed);

    unsigned moved_count = unhook_lines(&sp, moved);
    unsigned old_lines = sp.freed_count;
    if (sp.freed_count)
        sp.freed[sp.freed_count++] = local->spare[--local->spare_count];
    split_buckets(&sp, level);
    sp.low.control = (sp.low.control & ~(63ull << 26)) | (uint64_t)(level + 1) << 26;
    for (unsigned i = 0; i < moved_count; i++)
        place_moved(&sp, slot_hash_bit(&sp, moved[i].slot, level) ? &sp.high : &sp.low,
                    moved[i].slot, moved[i].bucket);

    atomic_store_explicit(&ix->group_count, n + 1, memory_order_release);
    index_unlock(ix, &sp.high, true);
    index_unlock(ix, &sp.low, true);
    atomic_fetch_add_explicit(&ix->lines_used, (uint64_t)sp.freed_used - old_lines,
                              memory_order_relaxed);
    while (sp.freed_used < sp.freed_count)
        give_line(ix, sp.freed[sp.freed_used++]);
    return true;
}

/* Memory for one more group; false: at the limit, a segment is given up first. */
static bool
room_for_group(struct index *ix, uint64_t n)
{
    if (n < ix->charged_groups)
        return true;
    if (n + GROUP_CHUNK > ix->group_max)
        return false;
    if (!budget_take(ix->budget, chunk_bytes)) {
        budget_wish(ix->budget, chunk_bytes);
        return false;
    }
    if (use_groups(ix, n + GROUP_CHUNK) != 0) {
        budget_give(ix->budget, chunk_bytes);
        return false;
    }
    ix->charged_groups += GROUP_CHUNK;
    return true;
}

void
index_counted(struct index *ix, struct index_local *local, int delta,
              uint64_t (*hash_of)(void *ctx, uint64_t location), void *ctx)
{
    local->slots_delta += delta;
    if (LIKELY(local->slots_delta < GROWTH_BATCH && local->slots_delta > -GROWTH_BATCH))
        return;
    int64_t slots = atomic_fetch_add_explicit(&ix->slot_count, local->slots_delta,
                                              memory_order_relaxed) + local->slots_delta;
    local->slots_delta = 0;
    uint64_t n = atomic_load_explicit(&ix->group_count, memory_order_relaxed);
    if (slots < (int64_t)(n * INDEX_GROUP_LOAD) ||
        atomic_exchange_explicit(&ix->growing, true, memory_order_acquire))
        return;
    for (unsigned i = 0; i < GROWTH_STEPS; i++) {
        n = atomic_load_explicit(&ix->group_count, memory_order_relaxed);
        if (slots < (int64_t)(n * INDEX_GROUP_LOAD) || !room_for_group(ix, n))
            break;
        index_local_fill(ix, local);
        if (!split_group(ix, n, local, hash_of, ctx))
            break;
    }
    atomic_store_explicit(&ix->growing, false, memory_order_release);
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
    if (group_of(ix, hash) != group)
        return "I1: a slot lies in a group that its hash does not choose";
    if (((slot ^ slot_make(0, hash, 0)) & SLOT_TAG_MASK) != 0)
        return "I1: a tag is not that of its item's hash";
    if (bucket < INDEX_BUCKETS && hash_bucket(hash) != bucket)
        return "I1: a slot lies in the wrong bucket";
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
    if (line_count(ix, &h) > INDEX_LINES_MAX)
        return "I3: too many overflow lines hang on a group";
    const char *wrong = NULL;
    for (unsigned b = 0; b < INDEX_BUCKETS && !wrong; b++)
        for (unsigned i = 0; i < INDEX_SLOTS && !wrong; i++)
            wrong = verify_slot(ix, group, &ix->groups[group].slots[b][i], b, seen, ctx);
    for (uint64_t l = control_line(h.control); l && !wrong; l = ix->lines[l].next)
        for (unsigned i = 0; i < INDEX_LINE_SLOTS && !wrong; i++)
            wrong = verify_slot(ix, group, &ix->lines[l].slots[i], INDEX_BUCKETS, seen, ctx);
    return wrong;
}
