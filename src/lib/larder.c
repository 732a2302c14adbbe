/*
 * larder.c -- the library as a whole: caches made and unmade, threads, sections, waiting, numbers.
 *
 * The store answers AGAIN where a server would park a connection.  A program that calls a function
 * wants an answer, so the call itself does the housekeeping that makes room, between short sections:
 * memory comes back only when a section that may have seen it has ended.  Where another thread's
 * section holds it up there is nothing to be done but sleep; that is bounded by time.
 *
 * The clock of the store counts from 2 and knows 29 bits of seconds.  The caller's may be anything,
 * seconds since 1970 included, so what it says is counted from what it said first.
 */
#include "inner.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/version.h"              /* LARDER_VERSION too: the compiler tells if they differ */

#define DEFAULT_MEMORY_BYTES ((size_t)64 << 20)
#define DEFAULT_VALUE_BYTES ((size_t)1 << 20)
#define DEFAULT_THREADS 16u
#define DEFAULT_WAIT_MS 1000u
#define FLAGS_KNOWN (LARDER_NO_EVICTION | LARDER_NO_CAS | LARDER_HUGE_PAGES)
#define HOUSEKEEPING_STORES 32u        /* so many calls that store share one look */
#define SLICES_MAX 32u
#define SLICES_AT_AGAIN 32u
#define ROUNDS_SPINNING 64u            /* before waiting means sleeping */
#define SLEEP_NS 200000u

_Static_assert(LARDER_KEY_BYTES_MAX == STORE_KEY_BYTES_MAX, "the header says what the store takes");
_Static_assert(LARDER_SMALL_BYTES == STORE_SMALL_BYTES_MAX, "the header says what may change");

/* ---- errors ---------------------------------------------------------------------------------- */

const char *
larder_version(void)
{
    return LARDER_VERSION;
}

const char *
larder_strerror(enum larder_error error)
{
    switch (error) {
    case LARDER_OK:
        return "it is done";
    case LARDER_MISS:
        return "there is no such entry";
    case LARDER_EXISTS:
        return "the entry was changed meanwhile: its number is another one";
    case LARDER_NOT_STORED:
        return "not stored: there is an entry already, or none to work on";
    case LARDER_TOO_LARGE:
        return "the value is longer than the cache accepts";
    case LARDER_NO_MEMORY:
        return "there is no memory: the cache is full, or the system has no more";
    case LARDER_NOT_A_NUMBER:
        return "the value is no decimal number below 2^64";
    case LARDER_AGAIN:
        return "room is being made: leave the section and ask again";
    case LARDER_BUSY:
        return "no room could be made in time: another thread may be in a section for too long";
    case LARDER_SHORT:
        return "the buffer is shorter than the value";
    case LARDER_BAD_KEY:
        return "a key must have 1 to 250 bytes";
    case LARDER_INVALID:
        return "an argument is out of range, or the call is not possible there";
    case LARDER_THREADS:
        return "as many threads as were announced have joined already";
    }
    return "no error has this number";
}

enum larder_error
lib_error_of(enum store_outcome outcome)
{
    switch (outcome) {
    case STORE_OK:
        return LARDER_OK;
    case STORE_MISS:
        return LARDER_MISS;
    case STORE_EXISTS:
        return LARDER_EXISTS;
    case STORE_NOT_STORED:
        return LARDER_NOT_STORED;
    case STORE_TOO_LARGE:
        return LARDER_TOO_LARGE;
    case STORE_NO_MEMORY:
        return LARDER_NO_MEMORY;
    case STORE_NON_NUMERIC:
        return LARDER_NOT_A_NUMBER;
    case STORE_AGAIN:
        return LARDER_AGAIN;
    case STORE_UNFINISHED:             /* gone on with in write.c */
        break;
    }
    CHECK(!"the store has no such outcome");
    return LARDER_INVALID;
}

/* ---- time ------------------------------------------------------------------------------------ */

static uint32_t
read_clock(void *ctx)
{
    struct larder *l = ctx;
    uint64_t said = l->clock(l->clock_ctx);
    uint64_t passed = said > l->clock_start ? said - l->clock_start : 0;
    uint32_t now = passed < UINT32_MAX - CLOCK_START_S ? (uint32_t)passed + CLOCK_START_S
                                                       : UINT32_MAX;
    uint32_t latest = atomic_load_explicit(&l->clock_latest, memory_order_relaxed);
    while (now > latest &&
           !atomic_compare_exchange_weak_explicit(&l->clock_latest, &latest, now,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
    return now > latest ? now : latest;
}

uint64_t
larder_now(const struct larder_thread *t)
{
    uint32_t now = store_now(t->store);
    return t->larder->clock_start + (now > CLOCK_START_S ? now - CLOCK_START_S : 0);
}

uint32_t
lib_expiry(const struct larder_thread *t, uint32_t ttl_s)
{
    uint64_t at = (uint64_t)store_now(t->store) + ttl_s;
    if (ttl_s == 0)
        return STORE_EXPIRY_NEVER;
    return at < STORE_EXPIRY_MAX ? (uint32_t)at : STORE_EXPIRY_MAX;
}

/* ---- made and unmade ------------------------------------------------------------------------- */

bool
lib_size_valid(const void *at, size_t size, size_t least, size_t known)
{
    for (size_t i = known; i < size; i++)
        if (((const char *)at)[i] != 0)
            return false;              /* of a later header: it wants what is not known here */
    return size >= least;
}

/* The caller's config in the shape of this library, with defaults; false: it makes no sense. */
static bool
take_config(const struct larder_config *given, struct larder_config *out)
{
    *out = (struct larder_config){0};
    if (given) {
        if (!lib_size_valid(given, given->size, offsetof(struct larder_config, memory_bytes_most),
                            sizeof *out))
            return false;
        memcpy(out, given, given->size < sizeof *out ? given->size : sizeof *out);
    }
    if (out->memory_bytes == 0)
        out->memory_bytes = DEFAULT_MEMORY_BYTES;
    if (out->value_bytes_max == 0)
        out->value_bytes_max = DEFAULT_VALUE_BYTES;
    if (out->threads_max == 0)
        out->threads_max = DEFAULT_THREADS;
    if (out->wait_ms_max == 0)
        out->wait_ms_max = DEFAULT_WAIT_MS;
    return (out->flags & ~(unsigned)FLAGS_KNOWN) == 0 &&
           (out->memory_bytes_most == 0 || out->memory_bytes_most >= out->memory_bytes);
}

static int
create_store(struct larder *l, const struct larder_config *c)
{
    struct store_config config = {
        .memory_bytes = c->memory_bytes,
        .reserve_bytes = c->memory_bytes_most,
        .value_bytes_max = c->value_bytes_max,
        .threads_max = c->threads_max,
        .cas_enabled = !(c->flags & LARDER_NO_CAS),
        .evict = !(c->flags & LARDER_NO_EVICTION),
        .huge_pages = c->flags & LARDER_HUGE_PAGES,
        .hash_seed = c->hash_seed,
    };
    if (l->clock) {
        config.clock = read_clock;
        config.clock_ctx = l;
    }
    return store_create(&config, &l->store);
}

enum larder_error
larder_create(const struct larder_config *config, struct larder **out_larder)
{
    struct larder_config c;
    if (!take_config(config, &c))
        return LARDER_INVALID;
    struct larder *l = calloc(1, sizeof *l);
    if (!l)
        return LARDER_NO_MEMORY;
    l->value_bytes_max = c.value_bytes_max;
    l->threads_max = c.threads_max;
    l->wait_ns_max = (uint64_t)c.wait_ms_max * 1000000u;
    l->clock = c.clock;
    l->clock_ctx = c.clock_ctx;
    l->clock_start = l->clock ? l->clock(l->clock_ctx) : 0;
    atomic_init(&l->clock_latest, CLOCK_START_S);
    int e = create_store(l, &c);
    if (e != 0) {
        free(l);
        errno = -e;
        return e == -EINVAL ? LARDER_INVALID : LARDER_NO_MEMORY;
    }
    l->inline_bytes_max = store_inline_bytes_max(l->store);
    *out_larder = l;
    return LARDER_OK;
}

void
larder_destroy(struct larder *l)
{
    if (!l)
        return;
    store_destroy(l->store);
    free(l);
}

/* ---- joined and parted ----------------------------------------------------------------------- */

enum larder_error
larder_join(struct larder *l, struct larder_thread **out_thread)
{
    struct larder_thread *t = calloc(1, sizeof *t);
    if (!t)
        return LARDER_NO_MEMORY;
    unsigned before = atomic_fetch_add(&l->joined, 1);
    t->larder = l;
    t->store = before < l->threads_max ? store_join(l->store) : NULL;
    if (!t->store) {
        atomic_fetch_sub(&l->joined, 1);
        free(t);
        return before < l->threads_max ? LARDER_NO_MEMORY : LARDER_THREADS;
    }
    *out_thread = t;
    return LARDER_OK;
}

void
larder_part(struct larder_thread *t)
{
    if (!t)
        return;
    CHECK(!t->inside);
    store_part(t->store);
    atomic_fetch_sub(&t->larder->joined, 1);
    free(t);
}

/* ---- sections -------------------------------------------------------------------------------- */

/* About as many entries are looked at as were stored since. */
static void
keep_house(struct larder_thread *t)
{
    unsigned slices = 1 + t->stores * 2 / STORE_MAINTAIN_BUDGET;
    t->stores = 0;
    if (slices > SLICES_MAX)
        slices = SLICES_MAX;
    while (slices-- && store_maintain(t->store, STORE_MAINTAIN_BUDGET))
        ;
}

void
larder_enter(struct larder_thread *t)
{
    CHECK(!t->inside);
    t->inside = true;
    store_enter(t->store);
}

void
larder_leave(struct larder_thread *t)
{
    CHECK(t->inside);
    t->inside = false;
    t->ahead_at = t->ahead_count = 0;
    store_leave(t->store);
    keep_house(t);
}

/* How long a call has been waiting for room. */
struct patience {
    uint64_t began_ns;
    unsigned rounds;
};

/* Between two sections.  False: it has taken too long. */
static bool
wait_for_room(struct larder_thread *t, struct patience *p)
{
    unsigned slices = SLICES_AT_AGAIN;
    uint64_t now_ns = clock_ns();
    if (p->rounds == 0)
        p->began_ns = now_ns;
    else if (now_ns - p->began_ns > t->larder->wait_ns_max)
        return false;
    while (slices-- && store_maintain(t->store, STORE_MAINTAIN_BUDGET))
        ;
    if (++p->rounds < ROUNDS_SPINNING) {
        sched_yield();                 /* with more threads than CPUs those inside must get on */
    } else {
        struct timespec pause = {.tv_nsec = SLEEP_NS};
        nanosleep(&pause, NULL);
    }
    return true;
}

enum larder_error
lib_run(struct larder_thread *t, lib_step *step, void *ctx)
{
    struct patience patience = {0};
    enum store_outcome outcome;
    if (t->inside)
        return lib_error_of(step(t, ctx));
    for (;;) {
        store_enter(t->store);
        outcome = step(t, ctx);
        store_leave(t->store);
        if (outcome != STORE_AGAIN)
            break;
        if (t->progressed)
            patience = (struct patience){0};
        t->progressed = false;
        if (!wait_for_room(t, &patience))
            return LARDER_BUSY;
    }
    if (t->stores >= HOUSEKEEPING_STORES)
        keep_house(t);
    return lib_error_of(outcome);
}

enum larder_error
lib_run_once(struct larder_thread *t, lib_step *step, void *ctx)
{
    if (t->inside)
        return lib_error_of(step(t, ctx));
    store_enter(t->store);
    enum store_outcome outcome = step(t, ctx);
    store_leave(t->store);
    return lib_error_of(outcome);
}

/* ---- keys ------------------------------------------------------------------------------------ */

void
larder_prefetch(struct larder_thread *t, const struct larder_bytes *keys, unsigned key_count)
{
    if (!t->inside)
        return;
    t->ahead_at = t->ahead_count = 0;
    for (unsigned i = 0; i < key_count && i < LARDER_PREFETCH_MAX && lib_key_valid(keys[i]); i++) {
        struct slice text = {keys[i].at, keys[i].len};
        t->ahead[i] = keys[i];
        t->hashes[i] = store_hash(t->larder->store, text);
        t->ahead_count++;
    }
    store_prefetch(t->store, t->hashes, t->ahead_count);
}

static bool
is_announced(const struct larder_thread *t, unsigned i, struct larder_bytes key)
{
    return t->ahead[i].at == key.at && t->ahead[i].len == key.len;
}

/*
 * The last one again (a set after a miss), or one that is still to come: some may be left out.  The
 * store wants to be told only of the latter.
 */
struct store_key
lib_key(struct larder_thread *t, struct larder_bytes key)
{
    struct store_key k = {.text = {key.at, key.len}};
    unsigned i = t->ahead_at;
    if (i > 0 && is_announced(t, i - 1, key)) {
        k.hash = t->hashes[i - 1];
        return k;
    }
    while (i < t->ahead_count && !is_announced(t, i, key))
        i++;
    if (i < t->ahead_count) {
        k.hash = t->hashes[i];
        k.ahead = t->ahead_at = i + 1;
    } else {
        k.hash = store_hash(t->larder->store, k.text);
    }
    DCHECK(k.hash == store_hash(t->larder->store, k.text));
    return k;
}

/* ---- memory ---------------------------------------------------------------------------------- */

bool
larder_maintain(struct larder_thread *t)
{
    return !t->inside && store_maintain(t->store, STORE_MAINTAIN_BUDGET);
}

bool
larder_populate(struct larder_thread *t)
{
    return !t->inside && store_populate(t->store);
}

enum larder_error
larder_limit_set(struct larder *l, size_t memory_bytes)
{
    return store_limit_set(l->store, memory_bytes) ? LARDER_OK : LARDER_INVALID;
}

uint64_t
larder_entry_bytes(const struct larder *l, size_t key_bytes, size_t value_bytes, uint32_t flags)
{
    return store_entry_bytes(l->store, key_bytes, value_bytes, flags);
}

/* ---- numbers --------------------------------------------------------------------------------- */

#define SAME(field) {offsetof(struct larder_stats, field), offsetof(struct store_stats, field)}

/* Where each number of the header is found in the store's: a new one is a row here and a field
 * there, at the end. */
static const struct {
    size_t to, from;
} numbers[] = {
    SAME(items_stored),
    SAME(items_present),
    SAME(items_replaced),
    SAME(items_deleted),
    SAME(items_expired),
    SAME(items_evicted),
    SAME(items_flushed),
    SAME(evicted_unfetched),
    SAME(expired_unfetched),
    SAME(index_evicted),
    SAME(bytes_present),
    SAME(memory_limit_bytes),
    SAME(memory_used_bytes),
    SAME(borrowed_bytes),
    SAME(dead_bytes),
    SAME(free_bytes),
    SAME(limbo_bytes),
    SAME(lent_bytes),
    SAME(index_bytes),
    SAME(index_slots),
    SAME(index_slots_used),
    SAME(segment_bytes),
    SAME(segments_free),
    SAME(segments_active),
    SAME(segments_sealed),
    SAME(segments_limbo),
    SAME(segments_lent),
    {offsetof(struct larder_stats, again), offsetof(struct store_stats, parked)},
    SAME(queue_small_bytes),
    SAME(queue_main_bytes),
    SAME(ghost_bytes),
    SAME(promoted),
    SAME(second_chances),
    SAME(ghost_hits),
    SAME(bytes_stored),
    SAME(bytes_copied_evicting),
    SAME(bytes_copied_cleaning),
    SAME(expired_held_bytes),
    SAME(evicted_age_s),
    SAME(evicted_unfetched_age_s),
    SAME(maintain_slices),
    SAME(maintain_longest_ns),
    SAME(maintain_long_slices),
    SAME(maintain_ns),
};

#define NUMBER_COUNT (sizeof numbers / sizeof numbers[0])
_Static_assert(sizeof(struct larder_stats) == offsetof(struct larder_stats, items_stored) +
                                                  NUMBER_COUNT * sizeof(uint64_t),
               "every number has a row");

enum larder_error
larder_stats_read(struct larder *l, struct larder_stats *stats)
{
    size_t size = stats->size;
    struct store_stats found;
    if (size < offsetof(struct larder_stats, evicted_unfetched))
        return LARDER_INVALID;
    store_stats_read(l->store, &found);
    memset((char *)stats + sizeof size, 0, size - sizeof size);
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        if (numbers[i].to + sizeof(uint64_t) <= size)
            memcpy((char *)stats + numbers[i].to, (const char *)&found + numbers[i].from,
                   sizeof(uint64_t));
    return LARDER_OK;
}

void
larder_stats_reset(struct larder *l)
{
    store_stats_reset(l->store);
}

const char *
larder_verify(struct larder *l)
{
    return store_verify(l->store);
}
