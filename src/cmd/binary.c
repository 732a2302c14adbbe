/*
 * binary.c -- the answers of the binary protocol, and the commands that it has in a way of its own.
 *
 * Storing and getting are the same as for text (change.c, fetch.c) and come here for their answers.
 * A quiet opcode is silent where all went well, a quiet get where it missed; errors are always
 * sent.
 */
#include "inner.h"

#include <stdlib.h>

#include "base/version.h"

_Static_assert(PROTO_BINARY_ERROR_MAX <= LINE_BYTES, "there is room for every short answer");

#define NO_CREATION UINT32_MAX         /* the expiry of an incr that is not to make its entry */

/* ---- answers --------------------------------------------------------------------------------- */

static void
put_head(const struct request *req, struct reply *reply, struct binary_response head)
{
    reply_wrote(reply, proto_put_response(reply_at(reply), req, &head));
}

static enum cmd_outcome
answer_ok(const struct request *req, struct reply *reply, uint64_t cas)
{
    if (!req->noreply)
        put_head(req, reply, (struct binary_response){.cas = cas});
    return CMD_DONE;
}

static enum cmd_outcome
answer_error(const struct request *req, struct reply *reply, enum binary_status status,
             struct slice text)
{
    reply_wrote(reply, proto_put_error(reply_at(reply), req, status, text));
    return CMD_DONE;
}

static enum cmd_outcome
answer_status(const struct request *req, struct reply *reply, enum binary_status status)
{
    return answer_error(req, reply, status, (struct slice){0});
}

/* With client flags, and the key where it was asked for; value_bytes follow. */
static void
put_found(const struct request *req, struct reply *reply, struct slice key,
          const struct store_view *v, size_t value_bytes)
{
    put_head(req, reply, (struct binary_response){
        .extras_bytes = PROTO_BINARY_HIT_EXTRAS, .key_bytes = (uint16_t)key.len,
        .value_bytes = (uint32_t)value_bytes, .cas = v->cas});
    reply_wrote(reply, proto_put_u32(reply_at(reply), v->client_flags));
    if (key.len > 0)
        reply_text(reply, key);
}

void
binary_put_hit(const struct request *req, struct reply *reply, struct slice key,
               const struct store_view *v)
{
    struct slice none = {0};
    put_found(req, reply, req->more.with_key ? key : none, v, v->value_bytes);
}

void
binary_put_miss(const struct request *req, struct reply *reply, struct slice key)
{
    if (req->noreply)
        return;
    if (!req->more.with_key) {
        answer_status(req, reply, BINARY_NOT_FOUND);
        return;
    }
    put_head(req, reply, (struct binary_response){
        .status = BINARY_NOT_FOUND, .key_bytes = (uint16_t)key.len});
    reply_text(reply, key);
}

/* What has not been stored says so in the words of its opcode: a cas that fails is never here. */
static enum binary_status
status_not_stored(const struct request *req)
{
    switch (req->more.verb_plain) {
    case VERB_ADD:
        return BINARY_EXISTS;
    case VERB_REPLACE:
        return BINARY_NOT_FOUND;
    default:
        return BINARY_NOT_STORED;
    }
}

enum cmd_outcome
binary_stored(const struct request *req, struct reply *reply, enum store_outcome outcome,
              uint64_t cas)
{
    switch (outcome) {
    case STORE_OK:
        return answer_ok(req, reply, cas);
    case STORE_EXISTS:
        return answer_status(req, reply, BINARY_EXISTS);
    case STORE_MISS:
        return answer_status(req, reply, BINARY_NOT_FOUND);
    case STORE_NOT_STORED:
        return answer_status(req, reply, status_not_stored(req));
    case STORE_TOO_LARGE:
        return answer_status(req, reply, BINARY_TOO_LARGE);
    case STORE_NO_MEMORY:
        return answer_error(req, reply, BINARY_NO_MEMORY, SLICE("Out of memory allocating item"));
    case STORE_NON_NUMERIC:
        return answer_status(req, reply, BINARY_NON_NUMERIC);
    case STORE_AGAIN:
    case STORE_UNFINISHED:
        break;
    }
    CHECK(!"AGAIN is no answer");
    return CMD_DONE;
}

/* ---- storing --------------------------------------------------------------------------------- */

/*
 * Where there are no CAS numbers (-C) those that come with a value are not looked at; delete, incr
 * and decr find that theirs is not the entry's.  It is so in memcached.
 */
enum verb
binary_store_verb(const struct cmd_thread *t, const struct request *req)
{
    return t->cmd->config.cas_enabled ? req->verb : req->more.verb_plain;
}

void
binary_put_compare(const struct cmd_thread *t, const struct request *req, struct store_put *put)
{
    put->compare = req->more.has_cas && t->cmd->config.cas_enabled;
    put->cas_expected = req->more.cas;
}

/* ---- delete, incr, decr, touch --------------------------------------------------------------- */

enum cmd_outcome
binary_delete(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
              struct reply *reply)
{
    (void)cursor;
    struct store_key key = key_of(t, req, req->key, 0);
    enum store_outcome outcome = req->more.has_cas
                                     ? store_delete_cas(t->store, key, req->more.cas)
                                     : store_delete(t->store, key);
    if (outcome != STORE_EXISTS)
        count(t, outcome == STORE_OK ? CMD_delete_hits : CMD_delete_misses);
    count_prefix(t, req->key, DETAIL_DELETE);
    return binary_stored(req, reply, outcome, 0);
}

static enum cmd_outcome
answer_number(const struct request *req, struct reply *reply, const struct store_number *result)
{
    if (req->noreply)
        return CMD_DONE;
    put_head(req, reply, (struct binary_response){
        .value_bytes = PROTO_BINARY_NUMBER_BYTES, .cas = result->cas});
    reply_wrote(reply, proto_put_u64(reply_at(reply), result->number));
    return CMD_DONE;
}

/* An entry that had to be made is neither a hit nor a miss. */
enum cmd_outcome
binary_arith(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
             struct reply *reply)
{
    (void)cursor;
    bool decr = req->verb == VERB_DECR, creates = (uint32_t)req->exptime != NO_CREATION;
    struct store_arith how = {
        .key = key_of(t, req, req->key, 0),
        .decrement = decr,
        .delta = req->number,
        .compare = req->more.has_cas,
        .cas_expected = req->more.cas,
        .vivify = creates,
        .vivify_expiry = creates ? expiry_of(t, proto_exptime(req)) : 0,
        .initial = req->more.initial,
    };
    struct store_number result;
    enum store_outcome outcome = store_arith(t->store, &how, &result);
    switch (outcome) {
    case STORE_OK:
        t->stores++;
        if (!result.vivified)
            count(t, decr ? CMD_decr_hits : CMD_incr_hits);
        return answer_number(req, reply, &result);
    case STORE_MISS:
        count(t, decr ? CMD_decr_misses : CMD_incr_misses);
        break;
    case STORE_AGAIN:
        t->stores += STORES_AT_AGAIN;
        return CMD_AGAIN;
    case STORE_NO_MEMORY:
    case STORE_TOO_LARGE:
        return answer_error(req, reply, BINARY_NO_MEMORY,
                            SLICE("Out of memory incrementing value"));
    case STORE_EXISTS:
    case STORE_NOT_STORED:
    case STORE_NON_NUMERIC:
    case STORE_UNFINISHED:
        break;
    }
    return binary_stored(req, reply, outcome, 0);
}

/* Unlike that of text it counts as a get of its prefix. */
enum cmd_outcome
binary_touch(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
             struct reply *reply)
{
    (void)cursor;
    struct store_view v;
    struct slice none = {0};
    bool hit = touch_entry(t, req, &v);
    count_prefix(t, req->key, hit ? DETAIL_HIT : DETAIL_MISS);
    if (hit)
        put_found(req, reply, none, &v, 0);
    else
        answer_status(req, reply, BINARY_NOT_FOUND);
    return CMD_DONE;
}

/* ---- administration -------------------------------------------------------------------------- */

/* Unlike text, what -F forbids is not counted. */
static enum cmd_outcome
flush(struct cmd_thread *t, const struct request *req, struct reply *reply)
{
    if (!t->cmd->config.flush_enabled)
        return answer_status(req, reply, BINARY_AUTH_FAILURE);
    count(t, CMD_cmd_flush);
    flush_at(t, proto_exptime(req));
    return answer_ok(req, reply, 0);
}

enum cmd_outcome
binary_admin(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
             struct reply *reply)
{
    static const struct slice version = {LARDER_PROTOCOL_VERSION,
                                         sizeof LARDER_PROTOCOL_VERSION - 1};
    (void)cursor;
    switch (req->verb) {
    case VERB_FLUSH_ALL:
        return flush(t, req, reply);
    case VERB_VERSION:
        put_head(req, reply, (struct binary_response){.value_bytes = (uint32_t)version.len});
        reply_text(reply, version);
        return CMD_DONE;
    case VERB_MN:
        return answer_ok(req, reply, 0);
    case VERB_QUIT:
        answer_ok(req, reply, 0);
        return CMD_CLOSE;
    case VERB_BAD:
        answer_status(req, reply, (enum binary_status)req->more.status);
        return req->more.hang_up ? CMD_CLOSE : CMD_DONE;
    default:
        break;
    }
    CHECK(!"the table leads nothing else here");
    return CMD_DONE;
}

/* ---- stats ----------------------------------------------------------------------------------- */

struct packets {
    struct gather gather;
    const struct request *req;
};

static void
gather_value(struct packets *p, struct slice name, struct slice value)
{
    char head[PROTO_BINARY_HEADER_BYTES];
    proto_put_response(head, p->req, &(struct binary_response){
        .key_bytes = (uint16_t)name.len, .value_bytes = (uint32_t)value.len});
    gather_text(&p->gather, head, sizeof head);
    gather_text(&p->gather, name.at, name.len);
    gather_text(&p->gather, value.at, value.len);
}

static void
gather_packet(void *ctx, const char *name, const char *value)
{
    gather_value(ctx, (struct slice){name, strlen(name)}, (struct slice){value, strlen(value)});
}

/* The whole dump is one value. */
static bool
gather_detail(struct cmd_thread *t, struct packets *p)
{
    struct gather text = {0};
    if (detail_gather(t, &text))
        gather_value(p, SLICE("detailed"), (struct slice){text.at, text.len});
    else
        p->gather.failed = true;
    free(text.at);
    return true;
}

/* With -X there is no such group. */
static bool
detail_answer(struct cmd_thread *t, struct slice word, struct packets *p)
{
    if (!t->cmd->config.dump_enabled)
        return false;
    if (slice_equal(word, SLICE("dump")))
        return gather_detail(t, p);
    return detail_switch(&t->cmd->detail, word);
}

/* What connections do is told to text alone.  False: no such group. */
static bool
stats_answer(struct cmd_thread *t, const struct request *req, struct packets *p)
{
    const struct cmd_hooks *hooks = &t->cmd->config.hooks;
    struct stats_sink sink = {gather_packet, p};
    struct slice rest = req->args, group = proto_next_word(&rest);
    if (slice_equal(group, SLICE("detail")))
        return detail_answer(t, proto_next_word(&rest), p);
    if (slice_equal(group, SLICE("reset")))
        detail_clear(t);
    return !slice_equal(group, SLICE("conns")) && hooks->stats(hooks->ctx, group, &sink);
}

/* One packet for each, and an empty one at the end. */
enum cmd_outcome
binary_stats(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
             struct reply *reply)
{
    (void)cursor;
    if (reply->block)                  /* one block at a time */
        return CMD_FULL;
    struct packets p = {.req = req};
    if (!stats_answer(t, req, &p)) {
        free(p.gather.at);
        return answer_status(req, reply, BINARY_NOT_FOUND);
    }
    if (p.gather.failed) {
        free(p.gather.at);
        return answer_error(req, reply, BINARY_NO_MEMORY, SLICE("Out of memory generating stats"));
    }
    if (p.gather.len > 0) {
        reply_span(reply, p.gather.at, p.gather.len);
        reply->block = p.gather.at;
    }
    return answer_ok(req, reply, 0);
}
