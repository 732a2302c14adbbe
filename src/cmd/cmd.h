/*
 * cmd.h -- the door of the commands: a request against the store -> a reply.
 *
 * conn/ owns sockets and buffers and knows nothing of the store; cmd/ knows nothing of sockets.
 * A worker's wake-up, as conn/ drives it:
 *
 *     cmd_enter(t)                        the clock is read, views into the store become possible
 *       proto_parse() ...                 every complete request of every ready connection
 *       cmd_prefetch(t, requests, n)      all their keys are hashed, their lines fetched
 *       cmd_execute(t, request, ...)      in order, into the worker's reply; conn sends it
 *     cmd_leave(t)                        views die: what was not sent has been copied by now
 *     cmd_maintain(t)                     a slice of the store's housekeeping, when it is due
 *     epoll_wait                          never between enter and leave
 *
 * Threads: a struct cmd_thread belongs to one thread.  struct cmd is shared.
 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/proto.h"

struct store;
struct cmd;
struct cmd_thread;
struct cmd_upload;

/* One line of a `stats` answer: emit("curr_items", "17"). */
struct stats_sink {
    void (*emit)(void *ctx, const char *name, const char *value);
    void *ctx;
};

/* What the commands ask of the server around them.  All hooks may be called by any worker. */
struct cmd_hooks {
    void *ctx;
    /* name: "" general, "settings", "conns", "sizes", "reset" (no lines follow).  False: none. */
    bool (*stats)(void *ctx, struct slice name, struct stats_sink *sink);
    /* About how many bytes of text that will be; 0: not many.  NULL: never many. */
    size_t (*stats_bytes)(void *ctx, struct slice name);
    void (*shutdown)(void *ctx, bool graceful);
    void (*verbosity)(void *ctx, unsigned level);
    /* Seconds since 1970 at second 0 of the store's clock. */
    int64_t epoch_offset_s;
};

/*
 * What the commands slabs, lru and lru_crawler change and `stats settings` shows.  There is nothing
 * to tune here: nobody else looks at it.
 */
struct cmd_tuning {
    bool slab_reassign, crawler, maintainer, segmented, temporary;
    int automove, automove_window, crawler_sleep_us, hot_pct, warm_pct, temporary_ttl_s;
    uint32_t crawler_tocrawl;
    double automove_ratio, automove_free_ratio, hot_max_factor, warm_max_factor;
};

struct cmd_config {
    struct store *store;               /* outlives struct cmd */
    size_t item_bytes_max;             /* -I */
    bool cas_enabled;                  /* not -C */
    bool flush_enabled;                /* not -F */
    bool shutdown_enabled;             /* -A */
    bool dump_enabled;                 /* not -X */
    bool detail_enabled;               /* `stats detail` counts from the start: -D */
    char prefix_delimiter;             /* ... what comes before this in a key */
    struct cmd_tuning tuning;          /* as it is at the start */
    struct cmd_hooks hooks;
};

/* NULL when out of memory. */
struct cmd *cmd_create(const struct cmd_config *config);
void cmd_destroy(struct cmd *cmd);

/* One for each thread that executes requests, before it starts.  NULL: out of memory or threads. */
struct cmd_thread *cmd_thread_create(struct cmd *cmd);
void cmd_thread_destroy(struct cmd_thread *t);

void cmd_enter(struct cmd_thread *t);
void cmd_leave(struct cmd_thread *t);

/*
 * Housekeeping: at most a few dozen microseconds.  Call outside enter/leave, once per wake-up, and
 * again while connections are parked.  True: more is due now (do not sleep long).
 */
bool cmd_maintain(struct cmd_thread *t);

/*
 * Hashes the keys of n requests (at most CMD_BATCH_MAX) and fetches their cache lines.  The hashes
 * are remembered with the requests and used if these are executed before the next call.
 */
#define CMD_BATCH_MAX 64
#define CMD_BATCH_KEYS_MAX 512
void cmd_prefetch(struct cmd_thread *t, struct request *reqs, unsigned n);

enum cmd_outcome {
    CMD_DONE,      /* executed; the reply (if any) is written; cursor is back to zero */
    CMD_FULL,      /* send the reply (if any), then call again with the same cursor */
    CMD_QUEUE,     /* an append with a long result: call again with reply->appends set, and go on
                    * until it is done before another one of this thread has its turn */
    CMD_AGAIN,     /* the store needs time: send what is there, park the connection, call again */
    CMD_CLOSE,     /* executed; close after the reply is sent (quit, shutdown) */
    CMD_BROKEN     /* a promised value is gone in mid-sending: close now, the rest cannot be sent */
};

/*
 * Where a request stands that could not be finished in one call.  Zero for a new request; kept by
 * the connection, opaque to it, meaningful for the same request bytes only.
 */
struct cmd_cursor {
    size_t key_at;          /* get: offset of the current key in req->keys */
    size_t key_number;      /* get: how many keys came before it */
    uint64_t value_at;      /* get: bytes of the current value that have been handed out */
    uint64_t value_bytes;   /* get: of how many */
    uint64_t value_serial;  /* get: which value they belong to */
    size_t window;          /* get: the reply ends with so many bytes of it */
    struct store_append *append;    /* append: what there is of a long result, to be dropped */
    bool in_value;
    bool won;               /* mg: the token, which could not be told yet ... */
    uint64_t won_cas;       /* ... of the entry with this number */
};

/*
 * Executes one request whose data block (if it has one) is in the input.  Appends to the reply;
 * small values are copied into its buffer, larger ones become spans that are valid until
 * cmd_leave().
 *
 * A value is left out, and CMD_FULL the answer, where it would pass reply->bytes_max; nothing has
 * been counted for it then, and reply->wanted is what it needs if it is the first.  Of a value
 * above CMD_WHOLE_BYTES_MAX that is kept in pieces, one window at a time is appended: CMD_FULL, and
 * cursor->window is its length.  It is at the end of the reply; what of it is not sent is given
 * back to the cursor by cmd_unsent(), so nobody needs to keep it.
 */
#define CMD_WHOLE_BYTES_MAX (64u << 10)
#define CMD_WINDOW_BYTES (1u << 20)
#define CMD_REST_BYTES_MAX ((size_t)8 << 20)   /* behind the first window: what may be copied */
/* A step of an append: each call with reply->appends copies so much, more where it was in vain. */
#define CMD_APPEND_BYTES (128u << 10)
enum cmd_outcome cmd_execute(struct cmd_thread *t, const struct request *req,
                             struct cmd_cursor *cursor, struct reply *reply);
void cmd_unsent(struct cmd_cursor *cursor, size_t bytes);
/* The request will not be gone on with. */
void cmd_cursor_drop(struct cmd_thread *t, struct cmd_cursor *cursor);

/* A text get was left (FULL): what remains of it is kept, and the cursor stands in that. */
void cmd_keep_get(const struct request *req, const char *line, struct cmd_cursor *cursor,
                  struct proto_get_rest *out);

/*
 * Copies what is left of the value in which the cursor stands (value_bytes - value_at bytes), and
 * moves the cursor to its end.  False: parts of it are gone, nothing has changed.  Up to
 * CMD_REST_BYTES_MAX nothing goes in the section in which the first window was made.
 */
bool cmd_copy_rest(struct cmd_thread *t, struct cmd_cursor *cursor, char *to);

/* About how long the answer to a VERB_STATS will be, for it is on the heap; 0: not long. */
size_t cmd_stats_bytes(struct cmd_thread *t, const struct request *req);

/*
 * Room for any one-line answer: that of a meta command may repeat key and opaque, and more.  With
 * less room in the reply no body begins.
 */
#define CMD_LINE_BYTES 512u

/* What to do with a storage request whose data block has not (all) arrived: PARSE_BODY. */
enum cmd_body {
    CMD_BODY_COLLECT,   /* gather line and block in a buffer of your own, then parse again */
    CMD_BODY_UPLOAD,    /* *out_upload takes the block as it comes; the line is done with */
    CMD_BODY_SWALLOW,   /* refused, the reply is written: throw value_bytes + 2 away */
    CMD_BODY_AGAIN      /* no memory for uploads, or no room in the reply: send, ask again later */
};
enum cmd_body cmd_begin_body(struct cmd_thread *t, const struct request *req, struct reply *reply,
                             struct cmd_upload **out_upload);

/*
 * Where the next bytes of the block (its CR LF included) belong.  CMD_DONE: *out_at has room for
 * *out_len > 0 bytes, or *out_len is 0 and the block is complete.  CMD_AGAIN: no room just now,
 * stop reading this connection and ask again.  The room stays valid (an upload's memory is its
 * own) until cmd_upload_filled().
 */
enum cmd_outcome cmd_upload_room(struct cmd_thread *t, struct cmd_upload *u, char **out_at,
                                 size_t *out_len);
void cmd_upload_filled(struct cmd_thread *t, struct cmd_upload *u, size_t n);

/*
 * Where others wait to be admitted, an upload that does not go on is set aside: it gives its memory
 * back, but for less than a piece, and is admitted again by cmd_upload_room(), which may answer
 * AGAIN and leave it aside.  False: it is, or cannot be.
 */
bool cmd_upload_set_aside(struct cmd_thread *t, struct cmd_upload *u);
bool cmd_upload_is_aside(const struct cmd_upload *u);
/* Bytes of the block that have not been received. */
uint64_t cmd_upload_missing(const struct cmd_upload *u);
/* What an upload itself takes, beside the memory of the store. */
#define CMD_UPLOAD_BYTES 1024u

/* Executes the request with the complete block.  CMD_DONE frees u; AGAIN, FULL, QUEUE: again. */
enum cmd_outcome cmd_upload_finish(struct cmd_thread *t, struct cmd_upload *u,
                                   struct reply *reply);
/* A long result is being made of it: it goes on when QUEUE was the answer, or AGAIN. */
bool cmd_upload_is_appended(const struct cmd_upload *u);
void cmd_upload_abort(struct cmd_thread *t, struct cmd_upload *u);

/*
 * Memory for the private buffers of connections is part of -m: at most a quarter of it.  False:
 * the allowance is used up; the connection must wait (or be closed), not allocate.
 */
bool cmd_memory_borrow(struct cmd_thread *t, size_t bytes);
/* The same for what could be done without: half of the allowance remains for others. */
bool cmd_memory_borrow_spare(struct cmd_thread *t, size_t bytes);
/* For what is in use already.  False: connections have half of -m, it must be freed again. */
bool cmd_memory_borrow_forced(struct cmd_thread *t, size_t bytes);
void cmd_memory_repay(struct cmd_thread *t, size_t bytes);

/* Seconds on the store's clock, as read by cmd_enter(). */
uint32_t cmd_now(const struct cmd_thread *t);

/* The counters of this module, summed over threads: memcached's names.  For `stats`. */
void cmd_counters_each(struct cmd *cmd, void (*emit)(void *ctx, const char *name, uint64_t value),
                       void *ctx);

/* For `stats settings`: what commands have changed.  Any thread. */
struct cmd_tuning cmd_tuning_now(struct cmd *cmd);
bool cmd_detail_enabled(const struct cmd *cmd);

#endif
