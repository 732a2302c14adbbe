/*
 * stats.c -- one table says what `stats` shows, in which order, and where each value comes from.
 *
 * Every module emits its counters by name; they are gathered in a small list, and the table picks
 * from it.  `stats reset` writes nothing into the counters of other threads: it remembers the sums
 * of that moment, and what is shown is the difference.
 *
 * A name that memcached has and that means nothing here is shown as 0: docs/protocol.md lists them.
 */
#include "stats.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/version.h"
#include "memory.h"
#include "obs/log.h"

#define VALUES_MAX 192u
#define TEXT_BYTES 64u

struct value {
    const char *name;
    uint64_t value;
};

struct values {
    struct value at[VALUES_MAX];
    unsigned count;
};

struct stats {
    struct stats_config config;
    struct cmd *cmd;
    struct workers *workers;
    size_t base_bytes;                 /* in RAM beside the store's, when nothing was in it */
    pthread_mutex_t lock;              /* guards base */
    struct values base;                /* sums at the last reset */
};

/* ---- gathering ------------------------------------------------------------------------------- */

static void
add(void *ctx, const char *name, uint64_t value)
{
    struct values *v = ctx;
    CHECK(v->count < VALUES_MAX);
    v->at[v->count++] = (struct value){name, value};
}

static uint64_t
find(const struct values *v, const char *name)
{
    for (unsigned i = 0; i < v->count; i++)
        if (strcmp(v->at[i].name, name) == 0)
            return v->at[i].value;
    return 0;
}

static unsigned
log2_of(uint64_t n)
{
    return n ? 63u - (unsigned)__builtin_clzll(n) : 0;
}

/* The store's numbers under the names that the table uses. */
static void
add_store(struct values *v, const struct store_stats *s)
{
    add(v, "total_items", s->items_stored);
    add(v, "curr_items", s->items_present);
    add(v, "bytes", s->bytes_present);
    add(v, "evictions", s->items_evicted);
    add(v, "reclaimed", s->items_expired);
    add(v, "get_expired", s->found_expired);
    add(v, "get_flushed", s->found_flushed);
    add(v, "evicted_unfetched", s->evicted_unfetched);
    add(v, "expired_unfetched", s->expired_unfetched);
    add(v, "limit_maxbytes", s->memory_limit_bytes);
    add(v, "hash_bytes", s->index_bytes);
    add(v, "hash_power_level", log2_of(s->index_groups * 4));
    add(v, "items_stored", s->items_stored);
    add(v, "items_replaced", s->items_replaced);
    add(v, "items_deleted", s->items_deleted);
    add(v, "items_expired", s->items_expired);
    add(v, "items_evicted", s->items_evicted);
    add(v, "items_flushed", s->items_flushed);
    add(v, "index_evicted", s->index_evicted);
    add(v, "memory_used_bytes", s->memory_used_bytes);
    add(v, "memory_borrowed_bytes", s->borrowed_bytes);
    add(v, "memory_live_bytes", s->bytes_present);
    add(v, "memory_dead_bytes", s->dead_bytes);
    add(v, "memory_free_bytes", s->free_bytes);
    add(v, "memory_limbo_bytes", s->limbo_bytes);
    add(v, "memory_lent_bytes", s->lent_bytes);
    add(v, "index_bytes", s->index_bytes);
    add(v, "index_groups", s->index_groups);
    add(v, "index_slots", s->index_slots);
    add(v, "index_slots_used", s->index_slots_used);
    add(v, "index_lines", s->index_lines_used);
    add(v, "segment_bytes", s->segment_bytes);
    add(v, "segments_free", s->segments_free);
    add(v, "segments_active", s->segments_active);
    add(v, "segments_sealed", s->segments_sealed);
    add(v, "segments_limbo", s->segments_limbo);
    add(v, "segments_lent", s->segments_lent);
    add(v, "store_parked", s->parked);
    add(v, "queue_small_bytes", s->queue_small_bytes);
    add(v, "queue_main_bytes", s->queue_main_bytes);
    add(v, "promotions", s->promoted);
    add(v, "second_chances", s->second_chances);
    add(v, "ghost_hits", s->ghost_hits);
    add(v, "ghost_bytes", s->ghost_bytes);
    add(v, "stored_bytes", s->bytes_stored);
    add(v, "copied_bytes_evicting", s->bytes_copied_evicting);
    add(v, "copied_bytes_cleaning", s->bytes_copied_cleaning);
    add(v, "expired_bytes_held", s->expired_held_bytes);
    add(v, "evicted_age", s->evicted_age_s);
    add(v, "evicted_unfetched_age", s->evicted_unfetched_age_s);
    add(v, "maintain_slices", s->maintain_slices);
    add(v, "maintain_longest_us", (s->maintain_longest_ns + 999) / 1000);
    add(v, "maintain_long_slices", s->maintain_long_slices);
    add(v, "maintain_us", s->maintain_ns / 1000);
}

/*
 * What is in RAM beside what -m is charged for.  Memory that is charged but has not been touched yet
 * would make it too small: it is at least what it was at the start.
 */
static size_t
base_now(const struct stats *st, const struct store_stats *s)
{
    size_t resident = memory_resident_bytes(), used = s->memory_used_bytes;
    size_t beside = resident > used ? resident - used : 0;
    return beside > st->base_bytes ? beside : st->base_bytes;
}

static void
gather(struct stats *st, struct values *v)
{
    struct store_stats s;
    v->count = 0;
    store_stats_read(st->config.store, &s);
    add_store(v, &s);
    add(v, "memory_base_bytes", base_now(st, &s));
    cmd_counters_each(st->cmd, add, v);
    workers_each_counter(st->workers, add, v);
    add(v, "max_connections", st->config.settings->conns_max);
    add(v, "connection_structures", find(v, "curr_connections"));
    add(v, "reserved_fds", st->config.reserved_fds);
    add(v, "threads", st->config.settings->threads);
    add(v, "pid", (uint64_t)getpid());
    add(v, "uptime", st->config.now());
    add(v, "time", (uint64_t)time(NULL));
    add(v, "pointer_size", 8 * sizeof(void *));
}

/* ---- the table ------------------------------------------------------------------------------- */

enum kind {
    GAUGE,          /* as it is */
    COUNTER,        /* since the last reset */
    NOTHING,        /* a name without a meaning here: 0 */
    VERSION, LARDER, RUSAGE_USER, RUSAGE_SYSTEM,
    IF_REFUSING,    /* COUNTER, shown with maxconns_fast only */
    IF_IDLE         /* COUNTER, shown with idle_timeout only */
};

static const struct {
    const char *name;
    enum kind kind;
} general[] = {
    {"pid", GAUGE},
    {"uptime", GAUGE},
    {"time", GAUGE},
    {"version", VERSION},
    {"libevent", NOTHING},
    {"pointer_size", GAUGE},
    {"rusage_user", RUSAGE_USER},
    {"rusage_system", RUSAGE_SYSTEM},
    {"max_connections", GAUGE},
    {"curr_connections", GAUGE},
    {"total_connections", COUNTER},
    {"rejected_connections", IF_REFUSING},
    {"connection_structures", GAUGE},
    {"response_obj_oom", NOTHING},
    {"response_obj_count", NOTHING},
    {"response_obj_bytes", NOTHING},
    {"read_buf_count", NOTHING},
    {"read_buf_bytes", NOTHING},
    {"read_buf_bytes_free", NOTHING},
    {"read_buf_oom", NOTHING},
    {"reserved_fds", GAUGE},
    {"cmd_get", COUNTER},
    {"cmd_set", COUNTER},
    {"cmd_flush", COUNTER},
    {"cmd_touch", COUNTER},
    {"cmd_meta", COUNTER},
    {"get_hits", COUNTER},
    {"get_misses", COUNTER},
    {"get_expired", COUNTER},
    {"get_flushed", COUNTER},
    {"delete_misses", COUNTER},
    {"delete_hits", COUNTER},
    {"incr_misses", COUNTER},
    {"incr_hits", COUNTER},
    {"decr_misses", COUNTER},
    {"decr_hits", COUNTER},
    {"cas_misses", COUNTER},
    {"cas_hits", COUNTER},
    {"cas_badval", COUNTER},
    {"touch_hits", COUNTER},
    {"touch_misses", COUNTER},
    {"store_too_large", COUNTER},
    {"store_no_memory", COUNTER},
    {"auth_cmds", NOTHING},
    {"auth_errors", NOTHING},
    {"idle_kicks", IF_IDLE},
    {"bytes_read", COUNTER},
    {"bytes_written", COUNTER},
    {"limit_maxbytes", GAUGE},
    {"accepting_conns", GAUGE},
    {"listen_disabled_num", COUNTER},
    {"time_in_listen_disabled_us", COUNTER},
    {"threads", GAUGE},
    {"conn_yields", COUNTER},
    {"hash_power_level", GAUGE},
    {"hash_bytes", GAUGE},
    {"hash_is_expanding", NOTHING},
    {"slab_reassign_rescues", NOTHING},
    {"slab_reassign_chunk_rescues", NOTHING},
    {"slab_reassign_inline_reclaim", NOTHING},
    {"slab_reassign_busy_items", NOTHING},
    {"slab_reassign_busy_deletes", NOTHING},
    {"slab_reassign_busy_nomem", NOTHING},
    {"slab_reassign_last_busy_status", NOTHING},
    {"slab_reassign_running", NOTHING},
    {"slabs_moved", NOTHING},
    {"lru_crawler_running", NOTHING},
    {"lru_crawler_starts", NOTHING},
    {"lru_maintainer_juggles", NOTHING},
    {"malloc_fails", COUNTER},
    {"log_worker_dropped", NOTHING},
    {"log_worker_written", NOTHING},
    {"log_watcher_skipped", NOTHING},
    {"log_watcher_sent", NOTHING},
    {"log_watchers", NOTHING},
    {"unexpected_napi_ids", NOTHING},
    {"round_robin_fallback", NOTHING},
    {"bytes", GAUGE},
    {"curr_items", GAUGE},
    {"total_items", COUNTER},
    {"slab_global_page_pool", NOTHING},
    {"expired_unfetched", COUNTER},
    {"evicted_unfetched", COUNTER},
    {"evicted_active", NOTHING},
    {"evictions", COUNTER},
    {"reclaimed", COUNTER},
    {"crawler_reclaimed", NOTHING},
    {"crawler_items_checked", NOTHING},
    {"lrutail_reflocked", NOTHING},
    {"moves_to_cold", NOTHING},
    {"moves_to_warm", NOTHING},
    {"moves_within_lru", NOTHING},
    {"direct_reclaims", NOTHING},
    {"lru_bumps_dropped", NOTHING},
    /* larder's own.  items_* are never reset: stored is the sum of the others and curr_items. */
    {"larder_version", LARDER},
    {"items_stored", GAUGE},
    {"items_replaced", GAUGE},
    {"items_deleted", GAUGE},
    {"items_expired", GAUGE},
    {"items_evicted", GAUGE},
    {"items_flushed", GAUGE},
    {"index_evicted", GAUGE},
    {"memory_used_bytes", GAUGE},
    {"memory_borrowed_bytes", GAUGE},
    {"memory_live_bytes", GAUGE},
    {"memory_dead_bytes", GAUGE},
    {"memory_free_bytes", GAUGE},
    {"memory_limbo_bytes", GAUGE},
    {"memory_lent_bytes", GAUGE},
    {"memory_base_bytes", GAUGE},
    {"index_bytes", GAUGE},
    {"index_groups", GAUGE},
    {"index_slots", GAUGE},
    {"index_slots_used", GAUGE},
    {"index_lines", GAUGE},
    {"segment_bytes", GAUGE},
    {"segments_free", GAUGE},
    {"segments_active", GAUGE},
    {"segments_sealed", GAUGE},
    {"segments_limbo", GAUGE},
    {"segments_lent", GAUGE},
    {"store_parked", COUNTER},
    {"queue_small_bytes", GAUGE},
    {"queue_main_bytes", GAUGE},
    {"promotions", COUNTER},
    {"second_chances", COUNTER},
    {"ghost_hits", COUNTER},
    {"ghost_bytes", GAUGE},
    {"stored_bytes", COUNTER},
    {"copied_bytes_evicting", COUNTER},
    {"copied_bytes_cleaning", COUNTER},
    {"expired_bytes_held", GAUGE},
    {"evicted_age", GAUGE},
    {"evicted_unfetched_age", GAUGE},
    {"maintain_slices", COUNTER},
    {"maintain_longest_us", GAUGE},    /* since the last reset: the store starts again */
    {"maintain_long_slices", COUNTER},
    {"maintain_us", COUNTER},
    {"conn_parked", COUNTER},
    {"conn_memory_waits", COUNTER},
    {"conn_memory_bytes", GAUGE},
    {"conn_uploads_set_aside", COUNTER},
    {"conn_closed_value_gone", COUNTER},
    {"conn_closed_stuck_reader", COUNTER},
    {"conn_closed_stuck_upload", COUNTER},
};

/* ---- answering ------------------------------------------------------------------------------- */

static void
put_time(char *text, const struct timeval *t)
{
    snprintf(text, TEXT_BYTES, "%ld.%06ld", (long)t->tv_sec, (long)t->tv_usec);
}

static void
answer_general(struct stats *st, struct stats_sink *sink)
{
    const struct settings *settings = st->config.settings;
    struct values now;
    struct rusage usage;
    pthread_mutex_lock(&st->lock);
    struct values base = st->base;     /* first: a reset meanwhile remembers sums above `now` */
    pthread_mutex_unlock(&st->lock);
    gather(st, &now);
    getrusage(RUSAGE_SELF, &usage);
    for (unsigned i = 0; i < sizeof general / sizeof *general; i++) {
        const char *name = general[i].name;
        char text[TEXT_BYTES];
        uint64_t value = find(&now, name);
        switch (general[i].kind) {
        case IF_REFUSING:
        case IF_IDLE:
            if (general[i].kind == IF_IDLE ? !settings->idle_timeout_s : !settings->conns_refuse)
                continue;
            value -= find(&base, name);
            break;
        case COUNTER:
            value -= find(&base, name);
            break;
        case GAUGE:
            break;
        case NOTHING:
            value = 0;
            break;
        case VERSION:
            sink->emit(sink->ctx, name, LARDER_PROTOCOL_VERSION);
            continue;
        case LARDER:
            sink->emit(sink->ctx, name, LARDER_VERSION);
            continue;
        case RUSAGE_USER:
        case RUSAGE_SYSTEM:
            put_time(text, general[i].kind == RUSAGE_USER ? &usage.ru_utime : &usage.ru_stime);
            sink->emit(sink->ctx, name, text);
            continue;
        }
        snprintf(text, sizeof text, "%" PRIu64, value);
        sink->emit(sink->ctx, name, text);
    }
}

static void
retune(struct settings_untuned *u, struct cmd_tuning now)
{
    u->automove = now.automove;
    u->automove_window = now.automove_window;
    u->automove_ratio = now.automove_ratio;
    u->automove_free_ratio = now.automove_free_ratio;
    u->crawler = now.crawler;
    u->crawler_sleep_us = now.crawler_sleep_us;
    u->crawler_tocrawl = now.crawler_tocrawl;
    u->segmented = now.segmented;
    u->hot_pct = now.hot_pct;
    u->warm_pct = now.warm_pct;
    u->hot_max_factor = now.hot_max_factor;
    u->warm_max_factor = now.warm_max_factor;
    u->temporary = now.temporary;
    u->temporary_ttl_s = now.temporary_ttl_s;
}

/* As they are now: some can be changed by commands. */
static void
answer_settings(struct stats *st, struct stats_sink *sink)
{
    struct settings now = *st->config.settings;
    struct store_stats s;
    store_stats_read(st->config.store, &s);
    now.memory_bytes = s.memory_limit_bytes;
    now.verbosity = log_level();
    now.detail_enabled = cmd_detail_enabled(st->cmd);
    retune(&now.untuned, cmd_tuning_now(st->cmd));
    settings_each(&now, sink->emit, sink->ctx);
}

/* What memcached says before it has a slab: programs that watch it wait for the list's end. */
static void
answer_slabs(struct stats_sink *sink)
{
    sink->emit(sink->ctx, "active_slabs", "0");
    sink->emit(sink->ctx, "total_malloced", "0");
}

static void
reset(struct stats *st)
{
    struct values now;
    gather(st, &now);
    store_stats_reset(st->config.store);
    pthread_mutex_lock(&st->lock);
    st->base = now;
    pthread_mutex_unlock(&st->lock);
}

bool
stats_answer(struct stats *st, struct slice name, struct stats_sink *sink)
{
    if (name.len == 0)
        answer_general(st, sink);
    else if (slice_equal(name, SLICE("settings")))
        answer_settings(st, sink);
    else if (slice_equal(name, SLICE("items")) || slice_equal(name, SLICE("extstore")))
        return true;                   /* lists by slab class and by page: there are none */
    else if (slice_equal(name, SLICE("slabs")))
        answer_slabs(sink);
    else if (slice_equal(name, SLICE("sizes")))
        sink->emit(sink->ctx, "sizes_status", "disabled");
    else if (slice_equal(name, SLICE("conns")))
        workers_each_conn(st->workers, st->config.now(), sink->emit, sink->ctx);
    else if (slice_equal(name, SLICE("reset")))
        reset(st);
    else
        return false;
    return true;
}

size_t
stats_bytes(const struct stats *st, struct slice name)
{
    return slice_equal(name, SLICE("conns")) ? workers_conns_bytes(st->workers) : 0;
}

struct stats *
stats_create(const struct stats_config *config)
{
    struct stats *st = calloc(1, sizeof *st);
    if (!st)
        return NULL;
    st->config = *config;
    if (pthread_mutex_init(&st->lock, NULL) != 0) {
        free(st);
        return NULL;
    }
    return st;
}

void
stats_attach(struct stats *st, struct cmd *cmd, struct workers *workers)
{
    st->cmd = cmd;
    st->workers = workers;
    struct store_stats s;
    store_stats_read(st->config.store, &s);
    size_t resident = memory_resident_bytes(), index = (size_t)s.index_bytes;
    st->base_bytes = resident > index ? resident - index : 0;    /* nothing else is touched yet */
}

void
stats_destroy(struct stats *st)
{
    pthread_mutex_destroy(&st->lock);
    free(st);
}
