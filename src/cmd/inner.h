/*
 * inner.h -- what the files of the commands share.
 */
#ifndef CMD_INNER_H
#define CMD_INNER_H

#include <pthread.h>

#include "cmd.h"
#include "detail.h"
#include "obs/counter.h"
#include "store/store.h"

/* Counters of this module: memcached's names, in no particular order. */
#define CMD_COUNTERS(X)                                                                           \
    X(cmd_get) X(cmd_set) X(cmd_flush) X(cmd_touch) X(cmd_meta) X(get_hits) X(get_misses)         \
    X(delete_misses) X(delete_hits) X(incr_misses) X(incr_hits)     \
    X(decr_misses) X(decr_hits) X(cas_misses) X(cas_hits) X(cas_badval) X(touch_hits)             \
    X(touch_misses) X(store_too_large) X(store_no_memory)

#define CMD_COUNTER_ENUM(name) CMD_##name,
enum cmd_counter { CMD_COUNTERS(CMD_COUNTER_ENUM) CMD_COUNTER_COUNT };
#undef CMD_COUNTER_ENUM

struct cmd {
    struct cmd_config config;
    struct detail detail;
    pthread_mutex_t lock;              /* guards what follows */
    struct cmd_thread *threads;
    uint64_t parted[CMD_COUNTER_COUNT];
    struct cmd_tuning tuning;
};

#define SINK_BYTES ((size_t)16 << 10)

/* Pieces are at least 1/16 of 64 KiB less their headers. */
#define VALUE_SPANS_MAX ((CMD_WINDOW_BYTES + CMD_REST_BYTES_MAX) / 4000)

/*
 * Where all of a long value lies whose first window was made in this section: until that ends it is
 * there to be read, whatever others do to the value.
 */
struct value_parts {
    uint64_t serial;
    unsigned count;                    /* 0: of no value */
    struct iovec spans[VALUE_SPANS_MAX];
};

struct cmd_thread {
    struct cmd *cmd;
    struct store_thread *store;
    struct cmd_thread *next;
    unsigned stores;                   /* since the last housekeeping */
    uint32_t batch;                    /* number of the last cmd_prefetch */
    uint64_t hashes[CMD_BATCH_KEYS_MAX];
    counter counters[CMD_COUNTER_COUNT];
    struct value_parts parts;
    char sink[SINK_BYTES];             /* what uploads bring that were given up; nobody reads it */
};

static inline void
count(struct cmd_thread *t, enum cmd_counter c)
{
    counter_add(&t->counters[c], 1);
}

/* For `stats detail`.  Meta commands are not counted: their callers stay away. */
static inline void
count_prefix(struct cmd_thread *t, struct slice key, enum detail_event event)
{
    if (UNLIKELY(detail_is_on(&t->cmd->detail)))
        detail_count(t, key, event);
}

/* The n-th key of a request with its hash, from the last prefetch where it was part of that. */
static inline struct store_key
key_of(struct cmd_thread *t, const struct request *req, struct slice text, size_t n)
{
    struct store_key key = {.text = text};
    if (req->batch == t->batch && t->batch && req->batch_at + n < CMD_BATCH_KEYS_MAX &&
        n < (req->key_count ? req->key_count : 1)) {
        key.hash = t->hashes[req->batch_at + n];
        key.ahead = (unsigned)(req->batch_at + n + 1);
    } else {
        key.hash = store_hash(t->cmd->config.store, text);
    }
    return key;
}

/* Room for any one-line reply. */
#define LINE_BYTES CMD_LINE_BYTES

/* A longer value is not copied, but goes out from where it lies. */
#define COPY_BYTES_MAX 4096u

/* What a client means by an expiry time, on the store's clock. */
#define EXPIRY_PASSED 1u               /* a second that lies before the store's first */
uint32_t expiry_of(const struct cmd_thread *t, int64_t exptime);

/* flush_all with this time; 0 and less: now. */
void flush_at(struct cmd_thread *t, int64_t exptime);

/* Is this value, with memcached's overhead for an item, beyond -I? */
bool too_large(const struct cmd_thread *t, const struct request *req);

enum cmd_outcome run_get(struct cmd_thread *t, const struct request *req,
                         struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome run_store(struct cmd_thread *t, const struct request *req,
                           struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome run_delete(struct cmd_thread *t, const struct request *req,
                            struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome run_arith(struct cmd_thread *t, const struct request *req,
                           struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome run_touch(struct cmd_thread *t, const struct request *req,
                           struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome run_admin(struct cmd_thread *t, const struct request *req,
                           struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome run_stats(struct cmd_thread *t, const struct request *req,
                           struct cmd_cursor *cursor, struct reply *reply);

/* Meta commands, meta.c. */
enum cmd_outcome run_mg(struct cmd_thread *t, const struct request *req,
                        struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome run_md(struct cmd_thread *t, const struct request *req,
                        struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome run_ma(struct cmd_thread *t, const struct request *req,
                        struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome run_me(struct cmd_thread *t, const struct request *req,
                        struct cmd_cursor *cursor, struct reply *reply);
/* What ms asks for beside the mode; its reply; the line in front of a value. */
void meta_put_ask(const struct request *req, struct store_put *put);
enum cmd_outcome meta_stored(const struct request *req, struct reply *reply,
                             enum store_outcome outcome, const struct store_result *result);
void meta_put_head(const struct cmd_thread *t, const struct request *req, struct reply *reply,
                   struct slice key, const struct store_view *v);

/* May this value go into the reply now?  Where not, reply->wanted says what it needs. */
bool value_fits(const struct request *req, const struct store_view *v, struct slice key,
                struct reply *reply);
/* A value behind its header.  BROKEN: parts of it and the entry are gone; FULL: one window. */
enum cmd_outcome put_value(struct cmd_thread *t, const struct request *req,
                           const struct store_key *key, const struct store_view *v,
                           struct cmd_cursor *cursor, struct reply *reply);
/* The rest of a value whose first windows have gone out. */
enum cmd_outcome resume_value(struct cmd_thread *t, const struct request *req,
                              const struct store_key *key, struct cmd_cursor *cursor,
                              struct reply *reply);
#define VALUE_ROUNDS_MAX 4u            /* ... before a value that is broken each time is a miss */
/* What of it is in binary.c. */
enum cmd_outcome binary_delete(struct cmd_thread *t, const struct request *req,
                               struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome binary_arith(struct cmd_thread *t, const struct request *req,
                              struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome binary_touch(struct cmd_thread *t, const struct request *req,
                              struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome binary_admin(struct cmd_thread *t, const struct request *req,
                              struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome binary_stats(struct cmd_thread *t, const struct request *req,
                              struct cmd_cursor *cursor, struct reply *reply);

/* The answers of binary requests to what is done for all dialects. */
void binary_put_hit(const struct request *req, struct reply *reply, struct slice key,
                    const struct store_view *v);
void binary_put_miss(const struct request *req, struct reply *reply, struct slice key);
enum cmd_outcome binary_stored(const struct request *req, struct reply *reply,
                               enum store_outcome outcome, uint64_t cas);
enum verb binary_store_verb(const struct cmd_thread *t, const struct request *req);
void binary_put_compare(const struct cmd_thread *t, const struct request *req,
                        struct store_put *put);

enum cmd_outcome run_tune(struct cmd_thread *t, const struct request *req,
                          struct cmd_cursor *cursor, struct reply *reply);
enum cmd_outcome run_detail(struct cmd_thread *t, const struct request *req,
                            struct cmd_cursor *cursor, struct reply *reply);

/* Lines or packets of statistics, gathered in a block of their own: there may be thousands. */
struct gather {
    char *at;
    size_t len, cap;
    bool failed;
};

void gather_text(struct gather *g, const char *text, size_t n);

/* touch without its answer, counted.  False: not there. */
bool touch_entry(struct cmd_thread *t, const struct request *req, struct store_view *out_view);

/* Having run out of room calls for as much housekeeping as this many stores. */
#define STORES_AT_AGAIN 1024u

static inline enum cmd_outcome
answer(const struct request *req, struct reply *reply, struct slice text)
{
    if (!req->noreply)
        reply_text(reply, text);
    return CMD_DONE;
}

/* The reply to a storage command, its counters, and what becomes of the old value. */
enum cmd_outcome store_refused(struct cmd_thread *t, const struct request *req,
                               enum store_outcome why, struct reply *reply);
enum cmd_outcome store_done(struct cmd_thread *t, const struct request *req,
                            enum store_outcome outcome, const struct store_result *result,
                            struct reply *reply);
struct store_put put_of(struct cmd_thread *t, const struct request *req);

#endif
