/*
 * conn_rig.c -- setting up a worker, running it to rest, taking it down.
 */
#include "conn_rig.h"

#include <string.h>

#include "base/check.h"

#define TURNS_MAX 2000000u        /* a run that takes longer does not come to rest */
#define PATIENCE 64u              /* turns without events while something is parked */

static uint32_t
rig_clock(void *ctx)
{
    return ((struct rig *)ctx)->now_s;
}

static bool
rig_stats(void *ctx, struct slice name, struct stats_sink *sink)
{
    bool is_long = slice_equal(name, SLICE("long"));
    ((struct rig *)ctx)->lists++;
    for (unsigned i = 0; i < (is_long ? RIG_LONG_LIST : name.len == 0); i++)
        sink->emit(sink->ctx, "threads", "1");
    return name.len == 0 || is_long || slice_equal(name, SLICE("reset"));
}

static size_t
rig_stats_bytes(void *ctx, struct slice name)
{
    (void)ctx;
    return slice_equal(name, SLICE("long")) ? RIG_LONG_LIST * sizeof "STAT threads 1\r" : 0;
}

static void
rig_shutdown(void *ctx, bool graceful)
{
    (void)ctx;
    (void)graceful;
}

static void
rig_verbosity(void *ctx, unsigned level)
{
    (void)ctx;
    (void)level;
}

static void
rig_closed(void *ctx)
{
    ((struct rig *)ctx)->closed++;
}

static void
create_store(struct rig *rig, const struct rig_options *options)
{
    struct store_config store = {
        .memory_bytes = options->memory_bytes ? options->memory_bytes : (size_t)8 << 20,
        .value_bytes_max = RIG_ITEM_BYTES_MAX,
        .threads_max = 2,
        .cas_enabled = true,
        .evict = !options->keeps_all,
        .lends = true,
        .hash_seed = 1,
        .clock = rig_clock,
        .clock_ctx = rig,
    };
    CHECK(store_create(&store, &rig->store) == 0);
    struct cmd_config cmd = {
        .store = rig->store,
        .item_bytes_max = RIG_ITEM_BYTES_MAX,
        .cas_enabled = true,
        .flush_enabled = true,
        .dump_enabled = true,
        .prefix_delimiter = ':',
        .tuning = {.slab_reassign = true, .crawler = true, .maintainer = true},
        .hooks = {.ctx = rig,
                  .stats = rig_stats,
                  .stats_bytes = rig_stats_bytes,
                  .shutdown = rig_shutdown,
                  .verbosity = rig_verbosity},
    };
    rig->cmd = cmd_create(&cmd);
    rig->thread = cmd_thread_create(rig->cmd);
    CHECK(rig->cmd && rig->thread);
}

void
rig_start(struct rig *rig, const struct rig_options *options)
{
    static const struct rig_options defaults;
    if (options == NULL)
        options = &defaults;
    script_reset();
    memset(rig, 0, sizeof *rig);
    rig->now_s = 1000;
    create_store(rig, options);
    CHECK(loop_create(&rig->loop) == 0);
    struct conn_config config = {
        .loop = rig->loop,
        .cmd = rig->thread,
        .shared = &rig->shared,
        .idle_timeout_s = options->idle_timeout_s,
        .requests_per_turn = options->requests_per_turn ? options->requests_per_turn : 512,
        .bytes_per_turn = options->bytes_per_turn ? options->bytes_per_turn : (size_t)1 << 20,
        .closed = rig_closed,
        .ctx = rig,
    };
    CHECK(conn_worker_create(&config, &rig->worker) == 0);
    rig->timeout_ms = -1;
}

void
rig_stop(struct rig *rig)
{
    conn_worker_destroy(rig->worker);
    CHECK(rig->opened == rig->closed);
    CHECK(rig->shared.memory_waiters == 0);
    CHECK(store_verify(rig->store) == NULL);
    cmd_thread_destroy(rig->thread);
    cmd_destroy(rig->cmd);
    struct store_stats stats;
    store_stats_read(rig->store, &stats);
    CHECK(stats.borrowed_bytes == 0);
    CHECK(stats.lent_bytes == 0);
    store_destroy(rig->store);
    loop_destroy(rig->loop);
    script_reset();
}

static int
open_client(struct rig *rig, struct accepted client)
{
    rig->opened++;
    conn_open(rig->worker, &client);
    return client.fd;
}

int
rig_connect(struct rig *rig)
{
    return open_client(rig, script_connect());
}

int
rig_connect_unix(struct rig *rig)
{
    return open_client(rig, script_connect_unix());
}

void
rig_turn(struct rig *rig)
{
    struct loop_event events[LOOP_EVENTS_MAX];
    unsigned count = loop_wait(rig->loop, events, rig->timeout_ms);
    rig->timeout_ms = conn_turn(rig->worker, events, count);
}

void
rig_run(struct rig *rig)
{
    struct loop_event events[LOOP_EVENTS_MAX];
    unsigned idle = 0;
    for (unsigned turns = 0; idle < PATIENCE; turns++) {
        CHECK(turns < TURNS_MAX);
        unsigned count = loop_wait(rig->loop, events, rig->timeout_ms);
        bool parked = rig->timeout_ms == 1;
        if (count == 0 && rig->timeout_ms != 0 && !parked)
            return;
        idle = count == 0 && parked ? idle + 1 : 0;
        rig->timeout_ms = conn_turn(rig->worker, events, count);
    }
}

uint64_t
rig_counter(const struct rig *rig, enum conn_counter which)
{
    return conn_worker_counter(rig->worker, which);
}
