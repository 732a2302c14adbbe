/*
 * admin.c -- version verbosity quit mn flush_all cache_memlimit shutdown refresh_certs, error
 * lines, stats.
 */
#include "inner.h"

#include <stdlib.h>

#include "base/version.h"

#define VERBOSITY_MAX 2
#define MEMLIMIT_MB_MIN 8
#define MEMLIMIT_MB_MAX 1000000000

void
flush_at(struct cmd_thread *t, int64_t exptime)
{
    uint32_t at = exptime > 0 ? expiry_of(t, exptime) : store_now(t->store);
    if (at == EXPIRY_PASSED)
        store_flush_forget(t->store);  /* nothing was stored before that time */
    else
        store_flush(t->store, at);
}

static enum cmd_outcome
flush_all(struct cmd_thread *t, const struct request *req, struct reply *reply)
{
    count(t, CMD_cmd_flush);
    if (!t->cmd->config.flush_enabled)
        return answer(req, reply, SLICE("CLIENT_ERROR flush_all not allowed\r\n"));
    if (req->bad_number)
        return answer(req, reply, PROTO_BAD_EXPTIME);
    flush_at(t, req->has_number ? proto_exptime(req) : 0);
    return answer(req, reply, PROTO_OK);
}

static enum cmd_outcome
cache_memlimit(struct cmd_thread *t, const struct request *req, struct reply *reply)
{
    if (req->number < MEMLIMIT_MB_MIN)
        return answer(req, reply,
                      SLICE("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"));
    if (req->number > MEMLIMIT_MB_MAX)
        return answer(req, reply,
                      SLICE("MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"));
    if (!store_limit_set(t->cmd->config.store, (size_t)req->number << 20))
        return answer(req, reply,
                      SLICE("MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n"));
    return answer(req, reply, PROTO_OK);
}

static enum cmd_outcome
shut_down(struct cmd_thread *t, const struct request *req, struct reply *reply)
{
    const struct cmd_hooks *hooks = &t->cmd->config.hooks;
    if (!t->cmd->config.shutdown_enabled)
        return answer(req, reply, SLICE("SERVER_ERROR: shutdown not enabled\r\n"));
    bool graceful = slice_equal(req->args, SLICE("graceful"));
    if (!graceful && req->args.len)
        return answer(req, reply, SLICE("CLIENT_ERROR invalid shutdown mode\r\n"));
    hooks->shutdown(hooks->ctx, graceful);
    return CMD_CLOSE;
}

enum cmd_outcome
run_admin(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
          struct reply *reply)
{
    const struct cmd_hooks *hooks = &t->cmd->config.hooks;
    (void)cursor;
    switch (req->verb) {
    case VERB_VERSION:
        reply_text(reply, SLICE("VERSION " LARDER_PROTOCOL_VERSION "\r\n"));
        return CMD_DONE;
    case VERB_VERBOSITY:
        hooks->verbosity(hooks->ctx,
                         req->number > VERBOSITY_MAX ? VERBOSITY_MAX : (unsigned)req->number);
        return answer(req, reply, PROTO_OK);
    case VERB_QUIT:
        return CMD_CLOSE;
    case VERB_MN:
        reply_text(reply, PROTO_MN);
        return CMD_DONE;
    case VERB_FLUSH_ALL:
        return flush_all(t, req, reply);
    case VERB_CACHE_MEMLIMIT:
        return cache_memlimit(t, req, reply);
    case VERB_SHUTDOWN:
        return shut_down(t, req, reply);
    case VERB_REFRESH_CERTS:
        return answer(req, reply, SLICE("Error TLS not enabled\r\n"));
    case VERB_BAD:
        reply_text(reply, req->error);
        return CMD_DONE;
    default:
        break;
    }
    CHECK(!"the table leads nothing else here");
    return CMD_DONE;
}

/* ---- stats ----------------------------------------------------------------------------------- */

void
gather_text(struct gather *g, const char *text, size_t n)
{
    if (g->len + n > g->cap && !g->failed) {
        size_t cap = (g->cap + n) * 2;
        char *more = realloc(g->at, cap);
        g->failed = !more;
        if (more) {
            g->at = more;
            g->cap = cap;
        }
    }
    if (g->failed)
        return;
    memcpy(g->at + g->len, text, n);
    g->len += n;
}

static void
gather_stat(void *ctx, const char *name, const char *value)
{
    struct gather *g = ctx;
    gather_text(g, "STAT ", 5);
    gather_text(g, name, strlen(name));
    gather_text(g, " ", 1);
    gather_text(g, value, strlen(value));
    gather_text(g, "\r\n", 2);
}

size_t
cmd_stats_bytes(struct cmd_thread *t, const struct request *req)
{
    const struct cmd_hooks *hooks = &t->cmd->config.hooks;
    struct slice rest = req->args, group = proto_next_word(&rest);
    if (req->dialect == DIALECT_BINARY)
        return slice_equal(group, SLICE("detail")) &&
                       slice_equal(proto_next_word(&rest), SLICE("dump"))
                   ? detail_gathered_bytes(&t->cmd->detail)
                   : 0;
    return hooks->stats_bytes ? hooks->stats_bytes(hooks->ctx, group) : 0;
}

enum cmd_outcome
run_stats(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
          struct reply *reply)
{
    const struct cmd_hooks *hooks = &t->cmd->config.hooks;
    struct slice rest = req->args, group = proto_next_word(&rest);
    (void)cursor;
    if (reply->block)                  /* one block at a time */
        return CMD_FULL;
    size_t about = cmd_stats_bytes(t, req);
    struct gather g = {.at = about > 0 ? malloc(about) : NULL};
    g.cap = g.at ? about : 0;          /* no more than has been covered, if it was said well */
    struct stats_sink sink = {gather_stat, &g};
    if (!hooks->stats(hooks->ctx, group, &sink)) {
        free(g.at);
        return answer(req, reply, PROTO_ERROR);
    }
    if (g.failed) {
        free(g.at);
        reply_text(reply, SLICE("SERVER_ERROR out of memory writing stats\r\n"));
        return CMD_DONE;
    }
    if (slice_equal(group, SLICE("reset"))) {
        free(g.at);
        detail_clear(t);
        reply_text(reply, PROTO_RESET);
        return CMD_DONE;
    }
    if (g.len) {
        reply_span(reply, g.at, g.len);
        reply->block = g.at;
    }
    reply_text(reply, PROTO_END);
    return CMD_DONE;
}
