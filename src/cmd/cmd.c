/*
 * cmd.c -- one table leads from the dialect and the verb of a request to what executes it; threads,
 * time, batches.
 */
#include "inner.h"

#include <stdlib.h>

#define EXPTIME_RELATIVE_MAX (60 * 60 * 24 * 30)
#define MAINTAIN_SLICES_MAX 32u

/* ---- the table of commands ------------------------------------------------------------------- */

typedef enum cmd_outcome run_fn(struct cmd_thread *t, const struct request *req,
                                struct cmd_cursor *cursor, struct reply *reply);

static run_fn *const table[][VERB_COUNT] = {
    [DIALECT_TEXT] = {
        [VERB_GET] = run_get,         [VERB_GETS] = run_get,
        [VERB_GAT] = run_get,         [VERB_GATS] = run_get,
        [VERB_SET] = run_store,       [VERB_ADD] = run_store,
        [VERB_REPLACE] = run_store,   [VERB_APPEND] = run_store,
        [VERB_PREPEND] = run_store,   [VERB_CAS] = run_store,
        [VERB_DELETE] = run_delete,   [VERB_INCR] = run_arith,
        [VERB_DECR] = run_arith,      [VERB_TOUCH] = run_touch,
        [VERB_FLUSH_ALL] = run_admin, [VERB_VERSION] = run_admin,
        [VERB_VERBOSITY] = run_admin, [VERB_QUIT] = run_admin,
        [VERB_MN] = run_admin,        [VERB_STATS] = run_stats,
        [VERB_DETAIL] = run_detail,   [VERB_CACHE_MEMLIMIT] = run_admin,
        [VERB_SHUTDOWN] = run_admin,  [VERB_REFRESH_CERTS] = run_admin,
        [VERB_SLABS] = run_tune,      [VERB_LRU] = run_tune,
        [VERB_LRU_CRAWLER] = run_tune,
        [VERB_BAD] = run_admin,
    },
    [DIALECT_META] = {
        [VERB_MG] = run_mg,           [VERB_MD] = run_md,
        [VERB_MA] = run_ma,           [VERB_ME] = run_me,
        [VERB_SET] = run_store,       [VERB_ADD] = run_store,
        [VERB_REPLACE] = run_store,   [VERB_APPEND] = run_store,
        [VERB_PREPEND] = run_store,   [VERB_CAS] = run_store,
        [VERB_BAD] = run_admin,
    },
    [DIALECT_BINARY] = {
        [VERB_GET] = run_get,            [VERB_GAT] = run_get,
        [VERB_SET] = run_store,          [VERB_ADD] = run_store,
        [VERB_REPLACE] = run_store,      [VERB_APPEND] = run_store,
        [VERB_PREPEND] = run_store,      [VERB_CAS] = run_store,
        [VERB_DELETE] = binary_delete,   [VERB_INCR] = binary_arith,
        [VERB_DECR] = binary_arith,      [VERB_TOUCH] = binary_touch,
        [VERB_FLUSH_ALL] = binary_admin, [VERB_VERSION] = binary_admin,
        [VERB_MN] = binary_admin,        [VERB_QUIT] = binary_admin,
        [VERB_STATS] = binary_stats,     [VERB_BAD] = binary_admin,
    },
};

enum cmd_outcome
cmd_execute(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
            struct reply *reply)
{
    if (UNLIKELY(!reply_has_room(reply, LINE_BYTES, 1)))
        return CMD_FULL;
    return table[req->dialect][req->verb](t, req, cursor, reply);
}

/* ---- made and unmade ------------------------------------------------------------------------- */

struct cmd *
cmd_create(const struct cmd_config *config)
{
    struct cmd *cmd = calloc(1, sizeof *cmd);
    if (!cmd)
        return NULL;
    cmd->config = *config;
    cmd->tuning = config->tuning;
    if (pthread_mutex_init(&cmd->lock, NULL) != 0) {
        free(cmd);
        return NULL;
    }
    if (!detail_init(&cmd->detail, config->prefix_delimiter, config->detail_enabled)) {
        pthread_mutex_destroy(&cmd->lock);
        free(cmd);
        return NULL;
    }
    return cmd;
}

void
cmd_destroy(struct cmd *cmd)
{
    CHECK(!cmd->threads);
    detail_fini(&cmd->detail);
    pthread_mutex_destroy(&cmd->lock);
    free(cmd);
}

struct cmd_thread *
cmd_thread_create(struct cmd *cmd)
{
    struct cmd_thread *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->cmd = cmd;
    t->store = store_join(cmd->config.store);
    if (!t->store) {
        free(t);
        return NULL;
    }
    pthread_mutex_lock(&cmd->lock);
    t->next = cmd->threads;
    cmd->threads = t;
    pthread_mutex_unlock(&cmd->lock);
    return t;
}

void
cmd_thread_destroy(struct cmd_thread *t)
{
    struct cmd *cmd = t->cmd;
    pthread_mutex_lock(&cmd->lock);
    struct cmd_thread **at = &cmd->threads;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    for (unsigned i = 0; i < CMD_COUNTER_COUNT; i++)
        cmd->parted[i] += counter_read(&t->counters[i]);
    bool last = cmd->threads == NULL;
    pthread_mutex_unlock(&cmd->lock);
    if (last)
        detail_clear(t);               /* nobody else can give its memory back */
    store_part(t->store);
    free(t);
}

void
cmd_counters_each(struct cmd *cmd, void (*emit)(void *ctx, const char *name, uint64_t value),
                  void *ctx)
{
#define CMD_COUNTER_NAME(name) #name,
    static const char *const names[] = {CMD_COUNTERS(CMD_COUNTER_NAME)};
#undef CMD_COUNTER_NAME
    uint64_t sums[CMD_COUNTER_COUNT];
    pthread_mutex_lock(&cmd->lock);
    memcpy(sums, cmd->parted, sizeof sums);
    for (const struct cmd_thread *t = cmd->threads; t; t = t->next)
        for (unsigned i = 0; i < CMD_COUNTER_COUNT; i++)
            sums[i] += counter_read(&t->counters[i]);
    pthread_mutex_unlock(&cmd->lock);
    for (unsigned i = 0; i < CMD_COUNTER_COUNT; i++)
        emit(ctx, names[i], sums[i]);
}

/* ---- a wake-up ------------------------------------------------------------------------------- */

void
cmd_enter(struct cmd_thread *t)
{
    store_enter(t->store);
}

void
cmd_leave(struct cmd_thread *t)
{
    t->parts.count = 0;
    store_leave(t->store);
}

/*
 * As many slices as entries were stored since the last time, so that housekeeping keeps pace with
 * the load whoever pays for it; at most MAINTAIN_SLICES_MAX of them.
 */
bool
cmd_maintain(struct cmd_thread *t)
{
    unsigned slices = 1 + t->stores * 2 / STORE_MAINTAIN_BUDGET;
    t->stores = 0;
    if (slices > MAINTAIN_SLICES_MAX)
        slices = MAINTAIN_SLICES_MAX;
    bool due = true;
    while (slices-- && due)
        due = store_maintain(t->store, STORE_MAINTAIN_BUDGET);
    return due;
}

static unsigned
hash_keys(struct cmd_thread *t, struct request *req, unsigned n)
{
    const struct store *s = t->cmd->config.store;
    if (!verb_is_get(req->verb)) {
        t->hashes[n] = store_hash(s, req->key);
        return n + 1;
    }
    struct slice key;
    for (size_t at = 0; n < CMD_BATCH_KEYS_MAX && proto_next_key(req, &at, &key);)
        t->hashes[n++] = store_hash(s, key);
    return n;
}

void
cmd_prefetch(struct cmd_thread *t, struct request *reqs, unsigned n)
{
    if (++t->batch == 0)
        t->batch = 1;
    unsigned keys = 0;
    for (unsigned i = 0; i < n && keys < CMD_BATCH_KEYS_MAX; i++) {
        if (reqs[i].key.len == 0 || reqs[i].verb == VERB_BAD)
            continue;
        reqs[i].batch = t->batch;
        reqs[i].batch_at = keys;
        keys = hash_keys(t, &reqs[i], keys);
    }
    store_prefetch(t->store, t->hashes, keys > 1 ? keys : 0);    /* 0: forgets those of before */
}

uint32_t
cmd_now(const struct cmd_thread *t)
{
    return store_now(t->store);
}

bool
cmd_memory_borrow(struct cmd_thread *t, size_t bytes)
{
    return store_borrow(t->store, bytes);
}

bool
cmd_memory_borrow_spare(struct cmd_thread *t, size_t bytes)
{
    return store_borrow_spare(t->store, bytes);
}

bool
cmd_memory_borrow_forced(struct cmd_thread *t, size_t bytes)
{
    return store_borrow_forced(t->store, bytes);
}

void
cmd_memory_repay(struct cmd_thread *t, size_t bytes)
{
    store_repay(t->store, bytes);
}

/* ---- time ------------------------------------------------------------------------------------ */

uint32_t
expiry_of(const struct cmd_thread *t, int64_t exptime)
{
    if (exptime == 0)
        return STORE_EXPIRY_NEVER;
    if (exptime < 0)
        return EXPIRY_PASSED;
    if (exptime <= EXPTIME_RELATIVE_MAX)
        return store_now(t->store) + (uint32_t)exptime;
    int64_t at = exptime - t->cmd->config.hooks.epoch_offset_s;
    return at <= (int64_t)EXPIRY_PASSED ? EXPIRY_PASSED : (uint32_t)at;
}
