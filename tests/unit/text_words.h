/*
 * text_words.h -- what the text parser says of some bytes, in words.
 *
 *     "set [foo] flags=5 exptime=60 noreply bytes=3 value=abc"
 *
 * Tests compare such sentences.  The input is parsed at the end of a block of exactly its size, so
 * that a sanitizer sees a byte read too far, and into a request full of rubbish, so that a field
 * that is not set shows.
 */
#ifndef TESTS_TEXT_WORDS_H
#define TESTS_TEXT_WORDS_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "proto/proto.h"

#define RUBBISH 0xa5
#define INPUT_BYTES_MAX 16384

struct words {
    size_t len;
    char at[8 * INPUT_BYTES_MAX];
};

__attribute__((format(printf, 2, 3))) static inline void
say(struct words *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(w->at + w->len, sizeof w->at - w->len, format, args);
    va_end(args);
    CHECK(n >= 0 && (size_t)n < sizeof w->at - w->len);
    w->len += (size_t)n;
}

static inline void
say_bytes(struct words *w, const char *before, struct slice text, const char *after)
{
    say(w, "%s", before);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        say(w, c < ' ' || c > '~' ? "\\x%02x" : "%c", c);
    }
    say(w, "%s", after);
}

/* What both the parser's result and the model's are reduced to. */
struct told {
    const char *verb;
    struct slice keys[INPUT_BYTES_MAX / 2];
    size_t key_count;
    uint32_t client_flags;
    int32_t exptime;
    uint64_t number;
    bool has_number, bad_number, noreply, is_store;
    size_t value_bytes;
    const char *value;       /* NULL: not all there */
    bool bad_chunk;
    struct slice args;
    struct slice error;      /* without CR LF; at == NULL: no error */
    size_t swallow_bytes;
    const struct request_more *more;   /* of a meta request; or NULL */
};

static inline void
say_more(struct words *w, const struct request_more *more)
{
    say_bytes(w, " '", more->flags, "'");
    if (more->key_encoded) {
        say(w, " encoded");
    }
    if (more->has_cas) {
        say(w, " cas=%" PRIu64, more->cas);
    }
    if (more->cas_new) {
        say(w, " cas-new=%" PRIu64, more->cas_new);
    }
    if (more->initial) {
        say(w, " initial=%" PRIu64, more->initial);
    }
    if (more->vivify_exptime) {
        say(w, " vivify=%" PRId32, more->vivify_exptime);
    }
    if (more->recache_exptime) {
        say(w, " recache=%" PRId32, more->recache_exptime);
    }
    if (more->decrement) {
        say(w, " decrement");
    }
}

static inline void
say_told(struct words *w, const struct told *t)
{
    w->len = 0;
    say(w, "%s", t->verb);
    for (size_t i = 0; i < t->key_count; i++) {
        say_bytes(w, " [", t->keys[i], "]");
    }
    if (t->error.at) {
        say_bytes(w, " (", t->error, ")");
    }
    if (t->client_flags) {
        say(w, " flags=%" PRIu32, t->client_flags);
    }
    if (t->exptime || t->has_number) {
        say(w, " exptime=%" PRId32, t->exptime);
    }
    if (t->number) {
        say(w, " number=%" PRIu64, t->number);
    }
    if (t->args.len) {
        say_bytes(w, " args='", t->args, "'");
    }
    say(w, "%s%s", t->bad_number ? " bad-number" : "", t->noreply ? " noreply" : "");
    if (t->more) {
        say_more(w, t->more);
    }
    if (t->swallow_bytes) {
        say(w, " swallow=%zu", t->swallow_bytes);
    }
    if (t->is_store && !t->value) {
        say(w, " bytes=%zu waits", t->value_bytes);
    } else if (t->is_store) {
        say(w, " bytes=%zu", t->value_bytes);
        say_bytes(w, " value=", (struct slice){t->value, t->value_bytes}, "");
        say(w, "%s", t->bad_chunk ? " bad-chunk" : "");
    }
}

static const char *const verb_names[VERB_COUNT] = {
    [VERB_GET] = "get", [VERB_GETS] = "gets", [VERB_GAT] = "gat", [VERB_GATS] = "gats",
    [VERB_SET] = "set", [VERB_ADD] = "add", [VERB_REPLACE] = "replace", [VERB_APPEND] = "append",
    [VERB_PREPEND] = "prepend", [VERB_CAS] = "cas", [VERB_DELETE] = "delete",
    [VERB_INCR] = "incr", [VERB_DECR] = "decr", [VERB_TOUCH] = "touch",
    [VERB_MG] = "mg", [VERB_MD] = "md", [VERB_MA] = "ma", [VERB_ME] = "me",
    [VERB_FLUSH_ALL] = "flush_all", [VERB_VERSION] = "version", [VERB_VERBOSITY] = "verbosity",
    [VERB_QUIT] = "quit", [VERB_MN] = "mn", [VERB_STATS] = "stats",
    [VERB_DETAIL] = "stats-detail", [VERB_CACHE_MEMLIMIT] = "cache_memlimit",
    [VERB_SHUTDOWN] = "shutdown", [VERB_SLABS] = "slabs", [VERB_LRU] = "lru",
    [VERB_LRU_CRAWLER] = "lru_crawler", [VERB_REFRESH_CERTS] = "refresh_certs",
    [VERB_BAD] = "bad",
};

static inline void
tell_keys(const struct request *req, struct told *t)
{
    struct slice key;
    size_t cursor = 0;
    while (proto_next_key(req, &cursor, &key)) {
        t->keys[t->key_count++] = key;
    }
    assert_false(proto_next_key(req, &cursor, &key));
    assert_int_equal(t->key_count, req->key_count);
    assert_true(slice_equal(t->keys[0], req->key));
}

static inline void
tell_request(enum parse outcome, const struct request *req, struct told *t)
{
    t->verb = outcome == PARSE_BAD ? "hang-up" : verb_names[req->verb];
    t->key_count = 0;
    if (verb_is_get(req->verb)) {
        tell_keys(req, t);
    } else if (req->verb != VERB_BAD && req->key_count) {
        t->keys[t->key_count++] = req->key;
    }
    if (!req->key_count) {
        assert_int_equal(req->key.len, 0);
        assert_int_equal(req->keys.len, 0);
    }
    assert_int_equal(req->batch, 0);
    assert_int_equal(req->batch_at, 0);
    bool good = req->verb != VERB_BAD;
    t->client_flags = good ? req->client_flags : 0;
    t->exptime = good ? req->exptime : 0;
    t->number = good ? req->number : 0;
    t->has_number = req->has_number;
    t->bad_number = req->bad_number;
    t->noreply = req->noreply;
    t->is_store = verb_is_store(req->verb);
    t->value_bytes = req->value_bytes;
    t->value = req->value;
    t->bad_chunk = req->bad_chunk;
    t->args = req->args;
    t->swallow_bytes = req->swallow_bytes;
    t->more = good && req->dialect == DIALECT_META ? &req->more : NULL;
    t->error = (struct slice){NULL, 0};
    if (req->error.len) {
        assert_false(good);
        assert_true(req->error.len > 2);
        assert_memory_equal(req->error.at + req->error.len - 2, "\r\n", 2);
        t->error = (struct slice){req->error.at, req->error.len - 2};
    }
}

/* ---- parsing --------------------------------------------------------------------------------- */

/* Parses a copy that ends where its block ends; says the result in words. */
static inline enum parse
parse_copy(const char *in, size_t len, size_t *searched, struct words *w, size_t *used)
{
    static struct told told;
    char *block = malloc(len ? len : 1);
    char *copy = len ? block : block + 1;
    memcpy(copy, in, len);
    struct request req;
    memset(&req, RUBBISH, sizeof req);
    *used = SIZE_MAX;
    enum parse outcome = proto_parse(copy, len, searched, &req, used);
    if (outcome == PARSE_MORE) {
        w->len = 0;
        say(w, "more");
        assert_int_equal(*used, 0);
        assert_int_equal(*searched, len);
        for (size_t i = 0; i < sizeof req; i++) {
            assert_int_equal(((unsigned char *)&req)[i], RUBBISH);
        }
    } else {
        tell_request(outcome, &req, &told);
        say_told(w, &told);
    }
    if (outcome == PARSE_DONE || outcome == PARSE_BODY) {
        size_t block_bytes = outcome == PARSE_DONE && told.is_store ? told.value_bytes + 2 : 0;
        assert_int_equal(*used, req.line_bytes + block_bytes);
        assert_in_range(*used, 1, len);
        assert_int_equal(*searched, 0);
    } else {
        assert_int_equal(*used, 0);
    }
    free(block);
    return outcome;
}

/* The outcome of a storage request whose block is not all there, from that of the whole. */
static inline void
say_waiting(struct words *w)
{
    char *value = strstr(w->at, " value=");
    assert_non_null(value);
    w->len = (size_t)(value - w->at);
    say(w, " waits");
}

/*
 * One request (and perhaps more bytes behind it) arrives byte by byte: no end is seen too early,
 * none too late, and it makes no difference whether what was searched is remembered.
 */
static inline void
parse_at_every_cut(const char *in, size_t len, const struct words *whole)
{
    static struct words expected, remembering, forgetful;
    size_t remembered = 0, used, used_again;
    const char *lf = memchr(in, '\n', len);
    size_t line_bytes = lf ? (size_t)(lf - in) + 1 : SIZE_MAX;
    expected = *whole;
    bool has_block = strstr(whole->at, " value=") != NULL;
    size_t block_end = 0;
    if (has_block) {
        say_waiting(&expected);
        block_end = line_bytes + strtoul(strstr(whole->at, " bytes=") + 7, NULL, 10) + 2;
    }
    for (size_t cut = 0; cut <= len; cut++) {
        size_t forgotten = 0;
        enum parse outcome = parse_copy(in, cut, &remembered, &remembering, &used);
        assert_int_equal(outcome, parse_copy(in, cut, &forgotten, &forgetful, &used_again));
        assert_string_equal(remembering.at, forgetful.at);
        assert_int_equal(used, used_again);
        if (cut < line_bytes) {
            assert_int_equal(outcome, PARSE_MORE);
        } else if (has_block && cut < block_end) {
            assert_int_equal(outcome, PARSE_BODY);
            assert_string_equal(remembering.at, expected.at);
        } else {
            assert_string_equal(remembering.at, whole->at);
        }
    }
}

#endif
