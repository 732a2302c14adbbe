/*
 * worker.h -- what the files of conn/ share: a connection, a worker, a visit.
 *
 * A connection is in exactly one place while no turn is running (enum conn_wait); all places but
 * the first are queues of the worker:
 *
 *     INPUT     idle, or a small part of a request is kept: the loop tells when there is more
 *     HOLDING   the same, but more than CONN_FREE_BYTES of input are held
 *     BLOCK     the same, for the rest of a data block that is uploaded
 *     ASIDE     the same, but the upload has given its memory back for others that wait
 *     OUTPUT    part of a reply is kept: the loop tells when the socket takes more
 *     STORE     the store needs a moment (CMD_AGAIN): tried again each turn
 *     MEMORY    its share of -m is used up: tried again each turn, the oldest first
 *     REPLY     the same, for a value that its socket might not take: tried in rotation, because
 *               room in the socket will do as well
 *     UPLOAD    the same, for an upload that has not been admitted: nobody waits behind these
 *     READY     has used its quantum: goes on in the next turn
 *     BULK      has a long value to receive or to send, and waits for its share of a turn
 *
 * Buffers.  `in` holds received bytes that have not been executed: in_at..in_at+in_len.  in_ready
 * says that whole requests may be among them, so nothing is received until they are done.  `out`
 * holds the rest of a reply; while it is there, nothing is executed and nothing received, and there
 * is no upload.  Of a value in pieces nothing needs to be kept: the cursor says what has been sent
 * of it.
 *
 * Bulk.  What concerns long values is done after everything else of a turn, for BULK_BYTES_PER_TURN
 * over all connections, the longest waiting first.
 *
 * Memory.  held = the connection and its buffers; lent = what cmd_memory_borrow() has granted.
 * Buffers are covered (lent >= held) before they grow, with three exceptions where the cover is
 * forced afterwards, above the allowance if need be: CONN_FREE_BYTES of input; bytes that had been
 * received when the allowance was found used up (from then on a worker receives CONN_FREE_BYTES at
 * a time); a reply of at most OUTPUT_UNCOVERED_MAX, or CONN_FREE_BYTES once the allowance is known
 * to be used up.  Where even that is refused the connection is closed.
 *
 * Progress.  A connection in HOLDING, BLOCK, ASIDE or OUTPUT keeps memory from others while it
 * makes none.  Any byte that is moved counts where nobody waits for memory; where somebody does, it
 * takes PROGRESS_BYTES, or a byte now and then would hold a large buffer for ever.  The clock
 * stands still where a connection waits for something that is not up to its client.
 *
 * What is freed is not given back to the store before the heap has given it back to the system:
 * else memory would be used twice.  Blocks of HEAP_BYTES_MAX and more are mappings of their own.
 */
#ifndef CONN_WORKER_H
#define CONN_WORKER_H

#include <pthread.h>

#include "base/check.h"
#include "base/list.h"
#include "conn.h"
#include "wire.h"

#define CONN_FREE_BYTES ((size_t)4 << 10)
#define INPUT_ARENA_BYTES ((size_t)128 << 10)
#define INPUT_RECV_MIN ((size_t)16 << 10)      /* less room in the arena: next turn */
#define INPUT_RECV_MAX ((size_t)32 << 10)      /* one recv: more would only be kept for later */
#define INPUT_CARRY_MAX ((size_t)16 << 10)     /* kept bytes that are copied before new ones */
#define OUTPUT_BYTES ((size_t)64 << 10)
#define OUTPUT_UNCOVERED_MAX OUTPUT_BYTES
#define QUEUED_PER_TURN 32
#define VISITS_MAX (LOOP_EVENTS_MAX + QUEUED_PER_TURN + QUEUED_PER_TURN / 4)    /* five queues */
#define STUCK_READER_S 30
#define STUCK_UPLOAD_S 10
#define PARKED_RETRY_MS 1
#define STILL_TURNS 64u           /* an upload without progress in these may be set aside */
#define PROGRESS_BYTES 4096u      /* fewer are none, while others wait */
#define HEAP_KEPT_MAX ((size_t)512 << 10)      /* freed: then the heap is made to return it */
#define BULK_BYTES_PER_TURN ((size_t)256 << 10)
#define BULK_REPLY_MIN ((size_t)16 << 10)      /* shorter ones are not counted as bulk */
#define COPY_OUT_MAX CMD_REST_BYTES_MAX        /* of a long value, where there is memory to spare */

enum conn_wait {
    CONN_WAIT_INPUT, CONN_WAIT_HOLDING, CONN_WAIT_BLOCK, CONN_WAIT_ASIDE, CONN_WAIT_OUTPUT,
    CONN_WAIT_STORE, CONN_WAIT_MEMORY, CONN_WAIT_REPLY, CONN_WAIT_UPLOAD, CONN_WAIT_READY,
    CONN_WAIT_APPEND, CONN_WAIT_BULK, CONN_WAIT_COUNT
};

/* What `stats conns` shows, under memcached's names. */
enum conn_state {
    CONN_STATE_READ, CONN_STATE_NREAD, CONN_STATE_SWALLOW, CONN_STATE_PARSE_CMD,
    CONN_STATE_NEW_CMD, CONN_STATE_WAITING, CONN_STATE_MWRITE, CONN_STATE_CLOSING,
    CONN_STATE_COUNT
};

struct conn {
    /* The first line: all that a turn of an undisturbed connection touches. */
    struct wire wire;
    uint8_t wait;                     /* enum conn_wait */
    uint8_t interest;                 /* LOOP_... as the loop knows it */
    _Atomic uint8_t state;            /* enum conn_state; read by walks */
    bool in_ready : 1;
    bool closing : 1;                 /* close when `out` is gone */
    bool broken : 1;                  /* the wire failed or was cut: close without sending */
    bool hung_up : 1;                 /* out of the loop, which has nothing more to tell */
    bool get_left : 1;                /* the request at in_at is `rest` */
    uint8_t protocol : 2;             /* enum conn_protocol */
    _Atomic uint32_t last_command_s;  /* read by walks */
    uint32_t in_at, in_len, in_cap;
    char *in;
    char *out;
    struct cmd_upload *upload;
    uint64_t swallow;                 /* bytes of input still to be thrown away */
    uint64_t awaited;                 /* UPLOAD, before it is one: bytes not received */

    struct cmd_cursor cursor;         /* of the request at in_at */
    struct proto_get_rest rest;       /* of a get that has been parsed, where get_left */
    uint32_t searched;                /* of the line at in_at, see proto_parse() */
    size_t need;                      /* length of the request at in_at; 0: not known */
    size_t out_at, out_len;
    size_t lent;
    size_t lent_wanted;               /* MEMORY, REPLY: go on when lent is this much; UPLOAD: 0 */
    uint32_t progress_s;              /* when it made progress last, less what it was excused */
    uint32_t excused_s;               /* since when it waits for what is not up to its client */
    uint32_t upload_turn;             /* in which its upload made progress, or was admitted again */
    uint32_t moved;                   /* bytes since the last progress */
    const char *why;                  /* closing, broken: as conn_close() takes it */
    struct list queue;                /* of c->wait, unless that is INPUT */
    struct list idle;                 /* worker->idle, oldest command first */
    struct conn_link link;            /* worker->all; guarded by worker->all_lock */
    struct addr peer, local;          /* never change */
};

_Static_assert(sizeof(struct conn) <= 328, "10,000 idle connections are to cost little");
_Static_assert(offsetof(struct conn, cursor) <= CACHE_LINE, "one line serves an undisturbed turn");

/* Why a visit has stopped executing; RUNS: it has not; QUEUES: it wants a share of bulk; APPENDS:
 * the same, and only one at a time. */
enum visit_stop {
    VISIT_RUNS, VISIT_BLOCKED, VISIT_YIELDS, VISIT_QUEUES, VISIT_APPENDS, VISIT_PARKS, VISIT_WAITS,
    VISIT_CLOSES
};

/* One connection's part in a turn.  in[done..parsed] is in the batch, in[parsed..len] is next. */
struct visit {
    struct conn *conn;
    char *in;                         /* in the arena or the connection's own */
    size_t len, done, parsed;
    size_t sent;                      /* bytes, for the quantum */
    unsigned requests;                /* parsed, for the quantum */
    bool parse_over;                  /* nothing more is to be parsed */
    enum visit_stop stop;
};

/* What stands beside a request in the batch. */
struct batch_item {
    uint8_t visit;
    uint8_t parse;                    /* enum parse */
    size_t end;                       /* in the visit's input, past everything of this request */
    size_t swallow;                   /* bytes to throw away that have not been received */
};

_Static_assert(VISITS_MAX <= UINT8_MAX, "batch_item.visit");

struct conn_worker {
    struct conn_config config;
    counter counters[CONN_COUNTER_COUNT];

    /* One turn. */
    uint32_t now_s;
    uint32_t swept_s;
    uint32_t turn;                    /* number of this one */
    bool starved;                     /* the allowance was found used up */
    bool waited;                      /* somebody waits for memory, here or on another worker */
    unsigned looks_left;              /* at uploads that might be set aside */
    size_t bulk_left;                 /* of BULK_BYTES_PER_TURN */
    bool append_stuck;                /* the first in APPEND did not get on */
    size_t heap_freed;                /* bytes, freed and still charged to a connection */
    size_t heap_kept;                 /* freed and charged to nobody: borrowed by the worker */
    char *arena;
    size_t arena_used;
    struct reply reply;
    unsigned visit_count;
    struct visit visits[VISITS_MAX];
    unsigned batch_count, batch_keys;
    struct batch_item items[CMD_BATCH_MAX];
    struct request requests[CMD_BATCH_MAX];

    struct list queues[CONN_WAIT_COUNT];    /* [CONN_WAIT_INPUT] is not used */
    struct list idle;

    pthread_mutex_t all_lock;
    struct list all;                  /* conn_links: all connections and the walks among them */
};

/* worker.c */

/* Moves the connection to another place and tells the loop what it waits for. */
void conn_wait_for(struct conn_worker *w, struct conn *c, enum conn_wait wait);

/* conn_wait_for() more input, or READY where the loop will not tell. */
void conn_rest(struct conn_worker *w, struct conn *c);
/* why: for the log; NULL: its reply could not be sent. */
void conn_close(struct conn_worker *w, struct conn *c, const char *why);

static inline void
conn_show(struct conn *c, enum conn_state state)
{
    atomic_store_explicit(&c->state, (uint8_t)state, memory_order_relaxed);
}

static inline void
conn_count(struct conn_worker *w, enum conn_counter which, uint64_t n)
{
    counter_add(&w->counters[which], n);
}

/* So much of the turn's share has been used. */
static inline void
conn_count_bulk(struct conn_worker *w, size_t bytes)
{
    w->bulk_left = w->bulk_left > bytes ? w->bulk_left - bytes : 0;
}

static inline void
conn_progress(struct conn_worker *w, struct conn *c)
{
    c->progress_s = c->excused_s = w->now_s;
    c->upload_turn = w->turn;
    c->moved = 0;
}

/* Received or sent. */
static inline void
conn_moved(struct conn_worker *w, struct conn *c, size_t bytes)
{
    c->moved += (uint32_t)bytes;
    if (LIKELY(!w->waited) || c->moved >= PROGRESS_BYTES)
        conn_progress(w, c);
}

/* What it will do when its socket is ready concerns a long value. */
static inline bool
conn_is_bulk(const struct conn *c)
{
    return c->upload != NULL || c->out_len - c->out_at > OUTPUT_BYTES ||
           (c->in_ready && c->cursor.in_value);
}

/* It waits for memory that others have. */
static inline bool
conn_wants_memory(const struct conn *c)
{
    return c->wait == CONN_WAIT_MEMORY || c->wait == CONN_WAIT_REPLY ||
           c->wait == CONN_WAIT_UPLOAD;
}

/* roster.c: worker->all. */
void roster_init(struct conn_worker *w);
void roster_fini(struct conn_worker *w);
void roster_add(struct conn_worker *w, struct conn *c);
void roster_drop(struct conn_worker *w, struct conn *c);

/* purse.c: memory borrowed from the store. */
size_t purse_held(const struct conn *c);

/* Borrows until lent is `total`.  False: refused, nothing has changed. */
bool purse_cover(struct conn_worker *w, struct conn *c, size_t total);

/* The same for what could be done without: half of the allowance remains for others. */
bool purse_cover_spare(struct conn_worker *w, struct conn *c, size_t total);

/* For memory that is needed at once.  False: connections have far too much, c must be closed. */
bool purse_force(struct conn_worker *w, struct conn *c, size_t total);

/* Gives back what is lent and not held. */
void purse_settle(struct conn_worker *w, struct conn *c);

/* So many bytes were freed: the heap has them until purse_return(). */
void purse_freed(struct conn_worker *w, size_t bytes);

/* c is about to be freed: gives back all that is lent to it. */
void purse_close(struct conn_worker *w, struct conn *c);

/* Makes the heap give back what it keeps, then gives that back to the store. */
void purse_return(struct conn_worker *w);

/* Once a turn while worker->starved: is there memory again? */
void purse_probe(struct conn_worker *w);

/* input.c: received bytes. */

/*
 * Finds input for a visit: bytes that were kept, or what one recv brings.  False: nothing to
 * parse; the connection may be closed or waiting for something by now.
 */
bool input_receive(struct conn_worker *w, struct visit *v);

/*
 * Makes in[done..len] of the visit the connection's own, in a buffer of c->need bytes where that is
 * known and can be had.  False: out of memory, bytes are lost, the connection must be closed.
 */
bool input_keep(struct conn_worker *w, struct visit *v);

/* Throws the kept input away. */
void input_drop(struct conn_worker *w, struct conn *c);

/* output.c */

/*
 * Sends the worker's reply and forgets it.  False: not all of it; the rest is kept, or the
 * connection is broken.  *sent grows by the bytes that went out.
 */
bool output_send(struct conn_worker *w, struct conn *c, size_t *sent);

/*
 * The same for a reply that ends with a window of the value in which c->cursor stands.  What of the
 * window is not taken goes back to the cursor; or all that is left of the value is kept, if there
 * is memory to spare.
 */
bool output_send_window(struct conn_worker *w, struct conn *c, size_t *sent);

/* The worker's reply is of no use to anybody: its connection is about to be closed. */
void output_forget(struct conn_worker *w);

/* Sends what was kept.  False: some is left, or the connection is broken. */
bool output_flush(struct conn_worker *w, struct conn *c);
void output_drop(struct conn_worker *w, struct conn *c);

/* body.c: data blocks that are not all in the input. */

/* The request at in[done] is PARSE_BODY. */
enum visit_stop body_begin(struct conn_worker *w, struct visit *v, const struct request *req);

/* An upload that is still gives its memory back.  False: none was found among the next ones. */
bool body_reclaim(struct conn_worker *w);

/* A whole visit of a connection with an upload, finish included. */
void body_receive(struct conn_worker *w, struct visit *v);

/* visit.c */

/* Adds at most one request to the batch.  False: there are no more for now. */
bool visit_parse(struct conn_worker *w, struct visit *v, uint8_t number);

/* Executes an item of the batch; sets v->stop where the rest must wait. */
void visit_execute(struct conn_worker *w, struct visit *v, unsigned item);

/* Sends the reply, keeps what is left of the input, and says what the connection waits for. */
void visit_finish(struct conn_worker *w, struct visit *v);

/* Sends the reply so far.  False: the visit must stop (VISIT_BLOCKED). */
bool visit_send(struct conn_worker *w, struct visit *v);

#endif
