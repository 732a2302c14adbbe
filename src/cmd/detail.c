/*
 * detail.c -- `stats detail on|off|dump`, and what it counts.
 *
 * A table of chains, and records that are laid one behind the other into blocks:
 *
 *     buckets [ . ][ . ]---> foo ---> bar       a new prefix goes to the end of its chain
 *     block   [foo|get hit set del|bar|...    ]
 *
 * A record never moves and goes only with all others, so a place in the dump is a bucket and a
 * number in its chain, and holds while others count; after a reset it is past the end of its chain.
 * The hash is the store's, which has a seed: prefixes cannot be chosen to share a chain.
 *
 * The lock is held for one lookup, or for a few dozen records of a dump.  Memory is taken from the
 * system and given back outside of it, in blocks that are mappings of their own, so that what is
 * given back to the store has gone back to the system.
 */
#include "detail.h"

#include <stdlib.h>

#include "base/num.h"
#include "inner.h"

#define BUCKETS ((size_t)1 << 14)
/* Above malloc()'s threshold for mappings, and with its header whole pages. */
#define BLOCK_BYTES (((size_t)128 << 10) + 4096)
#define BLOCK_HEADER_BYTES 16u
#define ALIGN_BYTES sizeof(uint64_t)   /* of a record */
#define ROWS_MAX 32u                   /* copied under the lock at a time ... */
#define BUCKETS_AT_A_TIME 1024u        /* ... out of so many chains */
#define ROW_BYTES_MAX 512u             /* of text */
#define ROW_BYTES_ABOUT ((size_t)64)
/* Of a dump in one packet: with all prefixes it must fit into the allowance of the least -m. */
#define GATHERED_BYTES_MAX ((size_t)768 << 10)

struct detail_prefix {
    struct detail_prefix *next;        /* in its chain */
    uint64_t counts[DETAIL_EVENTS];
    uint32_t hash;
    uint8_t len;
    char text[];
};

struct detail_block {
    struct detail_block *next;
    size_t used;                       /* bytes of room */
    char room[];
};

#define ROOM_BYTES (BLOCK_BYTES - BLOCK_HEADER_BYTES - offsetof(struct detail_block, room))
#define PREFIX_BYTES_MAX (sizeof(struct detail_prefix) + PROTO_KEY_BYTES_MAX)
_Static_assert(BUCKETS * sizeof(struct detail_prefix *) <= ROOM_BYTES, "the table is a block too");
_Static_assert(_Alignof(struct detail_prefix) <= ALIGN_BYTES, "records lie side by side");
_Static_assert(PROTO_KEY_BYTES_MAX - 1 <= UINT8_MAX, "a prefix is shorter than its key");
_Static_assert(sizeof "PREFIX  get  hit  set  del \r\n" + PROTO_KEY_BYTES_MAX +
                       DETAIL_EVENTS * NUM_U64_CHARS_MAX <= ROW_BYTES_MAX, "room for any row");
_Static_assert(ROW_BYTES_MAX <= LINE_BYTES, "a reply that is empty takes a row");

/* ---- memory ---------------------------------------------------------------------------------- */

static void *
block_take(struct cmd_thread *t)
{
    if (!store_borrow_spare(t->store, BLOCK_BYTES))
        return NULL;
    void *block = calloc(1, BLOCK_BYTES - BLOCK_HEADER_BYTES);
    if (!block)
        store_repay(t->store, BLOCK_BYTES);
    return block;
}

static void
block_give(struct cmd_thread *t, void *block)
{
    free(block);
    store_repay(t->store, BLOCK_BYTES);
}

static bool
has_room_locked(const struct detail *d)
{
    return d->blocks && ROOM_BYTES - d->blocks->used >= PREFIX_BYTES_MAX;
}

/* False: another thread's block serves as well. */
static bool
block_use_locked(struct detail *d, void *fresh)
{
    if (!d->buckets) {
        d->buckets = fresh;
        return true;
    }
    if (has_room_locked(d))
        return false;
    struct detail_block *block = fresh;
    block->next = d->blocks;
    d->blocks = block;
    return true;
}

/* ---- counting -------------------------------------------------------------------------------- */

static bool
prefix_of(const struct detail *d, struct slice key, struct slice *out_prefix)
{
    for (size_t i = 0; i < key.len; i++) {
        char c = key.at[i];
        if (c == d->delimiter) {
            *out_prefix = (struct slice){key.at, i};
            return true;
        }
        if (c == '\0' || c == '\n' || c == ' ')
            return false;
    }
    return false;
}

/* Where the prefix is in its chain, or where it would be. */
static struct detail_prefix **
find_locked(struct detail *d, struct slice prefix, uint64_t hash)
{
    struct detail_prefix **at = &d->buckets[hash % BUCKETS];
    for (; *at; at = &(*at)->next) {
        if ((*at)->hash == (uint32_t)(hash >> 32) &&
            slice_equal((struct slice){(*at)->text, (*at)->len}, prefix))
            break;
    }
    return at;
}

static struct detail_prefix *
add_locked(struct detail *d, struct slice prefix, uint64_t hash)
{
    struct detail_block *block = d->blocks;
    struct detail_prefix *p = (void *)(block->room + block->used);
    size_t bytes = offsetof(struct detail_prefix, text) + prefix.len;
    block->used += (bytes + ALIGN_BYTES - 1) & ~(ALIGN_BYTES - 1);
    p->hash = (uint32_t)(hash >> 32);
    p->len = (uint8_t)prefix.len;
    memcpy(p->text, prefix.at, prefix.len);
    d->prefix_count++;
    return p;
}

/* True: it could not be counted for want of a block. */
static bool
count_locked(struct detail *d, struct slice prefix, uint64_t hash, enum detail_event event)
{
    if (!d->buckets)
        return true;
    struct detail_prefix **at = find_locked(d, prefix, hash);
    if (!*at) {
        if (d->prefix_count == DETAIL_PREFIXES_MAX)
            return false;
        if (!has_room_locked(d))
            return true;
        *at = add_locked(d, prefix, hash);
    }
    (*at)->counts[event]++;
    return false;
}

void
detail_count(struct cmd_thread *t, struct slice key, enum detail_event event)
{
    struct detail *d = &t->cmd->detail;
    struct slice prefix;
    if (!prefix_of(d, key, &prefix))
        return;
    uint64_t hash = store_hash(t->cmd->config.store, prefix);
    void *fresh = NULL;
    bool wanted;
    do {
        pthread_mutex_lock(&d->lock);
        bool used = fresh && block_use_locked(d, fresh);
        wanted = count_locked(d, prefix, hash, event);
        pthread_mutex_unlock(&d->lock);
        if (fresh && !used)
            block_give(t, fresh);
        fresh = wanted ? block_take(t) : NULL;
    } while (fresh);
}

void
detail_clear(struct cmd_thread *t)
{
    struct detail *d = &t->cmd->detail;
    pthread_mutex_lock(&d->lock);
    struct detail_prefix **buckets = d->buckets;
    struct detail_block *blocks = d->blocks;
    d->buckets = NULL;
    d->blocks = NULL;
    d->prefix_count = 0;
    pthread_mutex_unlock(&d->lock);
    if (buckets)
        block_give(t, buckets);
    for (struct detail_block *next; blocks; blocks = next) {
        next = blocks->next;
        block_give(t, blocks);
    }
}

/* ---- made, switched -------------------------------------------------------------------------- */

bool
detail_init(struct detail *d, char delimiter, bool on)
{
    d->delimiter = delimiter;
    atomic_init(&d->on, on);
    return pthread_mutex_init(&d->lock, NULL) == 0;
}

void
detail_fini(struct detail *d)
{
    CHECK(!d->buckets && !d->blocks);
    pthread_mutex_destroy(&d->lock);
}

bool
detail_switch(struct detail *d, struct slice word)
{
    bool on = slice_equal(word, SLICE("on"));
    if (!on && !slice_equal(word, SLICE("off")))
        return false;
    atomic_store_explicit(&d->on, on, memory_order_relaxed);
    return true;
}

bool
cmd_detail_enabled(const struct cmd *cmd)
{
    return detail_is_on(&cmd->detail);
}

/* ---- the dump -------------------------------------------------------------------------------- */

struct row {
    uint64_t counts[DETAIL_EVENTS];
    size_t len;
    char text[PROTO_KEY_BYTES_MAX];
};

/* The next record in the dump: the one with this number in the chain of this bucket. */
struct place {
    size_t bucket, number;
};

static struct detail_prefix *
at_place_locked(const struct detail *d, const struct place *at)
{
    struct detail_prefix *p = d->buckets[at->bucket];
    for (size_t n = at->number; p && n > 0; n--)
        p = p->next;
    return p;
}

/* Copies at most `most` rows and moves the place past them.  Few or none need not be the end. */
static unsigned
read_rows(struct detail *d, struct place *at, struct row *rows, unsigned most)
{
    unsigned count = 0;
    pthread_mutex_lock(&d->lock);
    if (!d->buckets)
        at->bucket = BUCKETS;
    const size_t stop = at->bucket + BUCKETS_AT_A_TIME;
    while (count < most && at->bucket < BUCKETS && at->bucket < stop) {
        struct detail_prefix *p = at_place_locked(d, at);
        for (; p && count < most; p = p->next, count++, at->number++) {
            memcpy(rows[count].counts, p->counts, sizeof p->counts);
            rows[count].len = p->len;
            memcpy(rows[count].text, p->text, p->len);
        }
        if (!p)
            *at = (struct place){at->bucket + 1, 0};
    }
    pthread_mutex_unlock(&d->lock);
    return count;
}

static char *
put_text(char *at, struct slice text)
{
    memcpy(at, text.at, text.len);
    return at + text.len;
}

/* At most ROW_BYTES_MAX bytes; returns their number. */
static size_t
put_row(char *start, const struct row *row)
{
    const uint64_t *counts = row->counts;
    char *at = put_text(start, SLICE("PREFIX "));
    at = put_text(at, (struct slice){row->text, row->len});
    at = put_text(at, SLICE(" get "));
    at += num_put_u64(at, counts[DETAIL_MISS] + counts[DETAIL_HIT]);
    at = put_text(at, SLICE(" hit "));
    at += num_put_u64(at, counts[DETAIL_HIT]);
    at = put_text(at, SLICE(" set "));
    at += num_put_u64(at, counts[DETAIL_SET]);
    at = put_text(at, SLICE(" del "));
    at += num_put_u64(at, counts[DETAIL_DELETE]);
    at = put_text(at, SLICE("\r\n"));
    return (size_t)(at - start);
}

bool
detail_gather(struct cmd_thread *t, struct gather *g)
{
    struct row rows[ROWS_MAX];
    struct place at = {0, 0};
    char text[ROW_BYTES_MAX];
    while (at.bucket < BUCKETS && !g->failed) {
        unsigned count = read_rows(&t->cmd->detail, &at, rows, ROWS_MAX);
        for (unsigned i = 0; i < count; i++)
            gather_text(g, text, put_row(text, &rows[i]));
        if (g->len > GATHERED_BYTES_MAX)
            return false;
    }
    gather_text(g, "END\r\n", 5);
    return !g->failed;
}

size_t
detail_gathered_bytes(struct detail *d)
{
    pthread_mutex_lock(&d->lock);
    size_t bytes = 2 * d->prefix_count * ROW_BYTES_ABOUT;
    pthread_mutex_unlock(&d->lock);
    return bytes < GATHERED_BYTES_MAX ? bytes : GATHERED_BYTES_MAX;    /* it could not be had */
}

/* How many rows the reply has room for. */
static unsigned
rows_that_fit(const struct reply *reply)
{
    if (!reply_has_room(reply, ROW_BYTES_MAX, 1) || reply->bytes >= reply->bytes_max)
        return 0;
    size_t room = reply->cap - reply->len, may = reply->bytes_max - reply->bytes;
    size_t rows = (room < may ? room : may) / ROW_BYTES_MAX;
    return rows < ROWS_MAX ? (unsigned)rows : ROWS_MAX;
}

/* As much as the reply takes; the cursor is the place. */
static enum cmd_outcome
dump(struct detail *d, struct cmd_cursor *cursor, struct reply *reply)
{
    struct row rows[ROWS_MAX];
    struct place at = {cursor->key_at, cursor->key_number};
    unsigned most = ROWS_MAX;
    while (at.bucket < BUCKETS && (most = rows_that_fit(reply)) > 0) {
        unsigned count = read_rows(d, &at, rows, most);
        for (unsigned i = 0; i < count; i++)
            reply_wrote(reply, put_row(reply_at(reply), &rows[i]));
    }
    *cursor = (struct cmd_cursor){.key_at = at.bucket, .key_number = at.number};
    if (most == 0 || !reply_has_room(reply, LINE_BYTES, 0))
        return CMD_FULL;
    *cursor = (struct cmd_cursor){0};
    reply_text(reply, PROTO_END);
    return CMD_DONE;
}

enum cmd_outcome
run_detail(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
           struct reply *reply)
{
    struct slice rest = req->args, word = proto_next_word(&rest);
    if (!t->cmd->config.dump_enabled)
        reply_text(reply, SLICE("CLIENT_ERROR stats detail not allowed\r\n"));
    else if (slice_equal(word, SLICE("dump")))
        return dump(&t->cmd->detail, cursor, reply);
    else if (detail_switch(&t->cmd->detail, word))
        reply_text(reply, PROTO_OK);
    else
        reply_text(reply, SLICE("CLIENT_ERROR usage: stats detail on|off|dump\r\n"));
    return CMD_DONE;
}
