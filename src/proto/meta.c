/*
 * meta.c -- the meta commands: bytes -> struct request.
 *
 *     mg greeting v t Oab           get
 *     ms greeting 5 T60 I           set, add, replace, append, prepend, cas; the data block follows
 *     md greeting q I               delete, invalidate
 *     ma counter N0 J13 v           increment, decrement
 *     me greeting                   what the server knows of it
 *
 * A flag is one letter and what follows it up to the next blank.  All commands share one set of
 * letters: those that say nothing to a command are checked like all others, and ignored.
 *
 * Order of checks, as memcached has it: there is a key (and a length, for ms); each flag begins
 * with a letter or a digit; the key is not too long; there are not too many flags.  Then the flags
 * one by one: a letter that is unknown or comes twice ends that, other errors do not, and of several
 * the last is told.  From the length on, errors of ms swallow the data block.
 */
#include "meta.h"

#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "base64.h"

#define META_TOKENS_MAX 20u          /* of a line, the command included */

#define ERROR_LINE(text) SLICE("CLIENT_ERROR " text "\r\n")
#define BAD_TOKEN ERROR_LINE("bad token in command line format")

static void
fail(struct request *req, struct slice error)
{
    req->verb = VERB_BAD;
    req->error = error;
    req->key = (struct slice){0};
    req->key_count = 0;
}

/* Field by field: the room for a key need not be cleared. */
static void
more_start(struct request_more *more)
{
    more->flags = (struct slice){"", 0};
    more->letters = 0;
    more->cas = 0;
    more->cas_new = 0;
    more->initial = 0;
    more->vivify_exptime = 0;
    more->recache_exptime = 0;
    more->opaque = 0;
    more->opcode = 0;
    more->has_cas = false;
    more->decrement = false;
    more->key_encoded = false;
}

/* ---- flags ----------------------------------------------------------------------------------- */

/* What the flags of a line have told so far. */
struct flags {
    struct slice error;              /* the last one; empty: none */
    uint64_t delta;
    struct slice opaque, mode;
};

static bool
is_known(char letter)
{
    return letter != 0 && strchr("bNTRlOPLkstcfvhuqxFCEMJDI", letter) != NULL;
}

static void
decode_key(struct request *req, struct flags *f)
{
    char *room = req->more.key_room;
    size_t len = base64_decode(room, req->key);
    if (len == 0) {
        f->error = ERROR_LINE("error decoding key");
        return;
    }
    req->key = (struct slice){room, len};
    req->more.key_encoded = true;
}

/* The argument of one flag.  False: it is not what the letter wants. */
static bool
take_argument(char letter, struct slice arg, struct request *req, struct flags *f)
{
    struct request_more *more = &req->more;
    switch (letter) {
    case 'T':
        return num_parse_i32(arg, &req->exptime);
    case 'N':
        return num_parse_i32(arg, &more->vivify_exptime);
    case 'R':
        return num_parse_i32(arg, &more->recache_exptime);
    case 'C':
        return more->has_cas = num_parse_u64(arg, &more->cas);
    case 'E':
        return num_parse_u64(arg, &more->cas_new);
    case 'F':
        return num_parse_u32(arg, &req->client_flags);
    case 'J':
        return num_parse_u64(arg, &more->initial);
    case 'D':
        return num_parse_u64(arg, &f->delta);
    case 'b':
        decode_key(req, f);
        return true;
    case 'M':
        f->mode = arg;
        return true;
    case 'O':
        f->opaque = arg;
        return true;
    default:
        return true;
    }
}

static struct slice
argument_error(char letter)
{
    switch (letter) {
    case 'F':
        return PROTO_BAD_FORMAT;
    case 'J':
        return ERROR_LINE("invalid numeric initial value");
    case 'D':
        return ERROR_LINE("invalid numeric delta value");
    default:
        return BAD_TOKEN;
    }
}

/* False: no flag behind this one is looked at. */
static bool
take_flag(struct slice token, struct request *req, struct flags *f)
{
    char letter = token.at[0];
    if (!is_known(letter)) {
        f->error = ERROR_LINE("invalid flag");
        return false;
    }
    if (req->more.letters & META_FLAG(letter)) {
        f->error = ERROR_LINE("duplicate flag");
        return false;
    }
    req->more.letters |= META_FLAG(letter);
    if (!take_argument(letter, (struct slice){token.at + 1, token.len - 1}, req, f))
        f->error = argument_error(letter);
    return true;
}

static bool
begins_a_flag(char c)
{
    return (c >= 'A' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Could all that is left of the line be flags?  *out_count: its tokens, those in front included. */
static bool
rest_is_flags(const struct tokens *t, unsigned *out_count)
{
    struct tokens ahead = *t;
    struct slice token;
    while (tokens_next(&ahead, &token)) {
        if (!begins_a_flag(token.at[0]))
            return false;
    }
    *out_count = ahead.count;
    return true;
}

/*
 * All that follows the key, or the length.  Empty: all is well.  *out_is_line: no meta command
 * would have such a line, it says nothing of its data block.
 */
static struct slice
take_flags(struct tokens *t, struct request *req, struct flags *f, bool *out_is_line)
{
    struct slice token;
    unsigned count;
    *out_is_line = !rest_is_flags(t, &count);
    if (*out_is_line || req->key.len > PROTO_KEY_BYTES_MAX)
        return PROTO_BAD_FORMAT;
    if (count > META_TOKENS_MAX)
        return ERROR_LINE("options flags are too long");
    req->more.flags = tokens_rest(t);
    while (tokens_next(t, &token) && take_flag(token, req, f))
        ;
    return f->error;
}

static bool
opaque_fits(const struct flags *f)
{
    return f->opaque.len < PROTO_OPAQUE_BYTES_MAX;
}

#define OPAQUE_TOO_LONG ERROR_LINE("opaque token too long")

static bool
has_flag(const struct request *req, char letter)
{
    return req->more.letters & META_FLAG(letter);
}

/* ---- mg md me -------------------------------------------------------------------------------- */

static void
parse_plain(struct tokens *t, struct request *req)
{
    struct flags f = {.delta = 1};
    bool is_line;
    struct slice error = take_flags(t, req, &f, &is_line);
    if (error.len == 0 && !opaque_fits(&f))
        error = OPAQUE_TOO_LONG;
    if (error.len > 0)
        fail(req, error);
}

/* Flags say nothing, but for b as the first: memcached takes it only if something follows. */
static void
parse_debug(struct tokens *t, struct request *req)
{
    struct flags f = {.delta = 1};
    struct slice token;
    unsigned count;
    if (!rest_is_flags(t, &count) || req->key.len > PROTO_KEY_BYTES_MAX) {
        fail(req, PROTO_BAD_FORMAT);
        return;
    }
    if (tokens_next(t, &token) && token.at[0] == 'b')
        decode_key(req, &f);
    if (f.error.len > 0)
        fail(req, PROTO_BAD_FORMAT);
}

/* ---- ms -------------------------------------------------------------------------------------- */

/* VERB_BAD: there is no such mode. */
static enum verb
verb_of_mode(const struct request *req, const struct flags *f)
{
    if (!has_flag(req, 'M'))
        return VERB_SET;
    switch (f->mode.len > 0 ? f->mode.at[0] : 0) {
    case 'S':
        return VERB_SET;
    case 'E':
        return VERB_ADD;
    case 'R':
        return VERB_REPLACE;
    case 'A':
        return VERB_APPEND;
    case 'P':
        return VERB_PREPEND;
    default:
        return VERB_BAD;
    }
}

/* C makes a cas of a set and of a replace.  What append creates expires when N says. */
static void
settle_mode(struct request *req, const struct flags *f)
{
    req->verb = verb_of_mode(req, f);
    if (req->more.has_cas && (req->verb == VERB_SET || req->verb == VERB_REPLACE)) {
        req->verb = VERB_CAS;
        req->number = req->more.cas;
    }
    if (req->verb == VERB_APPEND || req->verb == VERB_PREPEND)
        req->exptime = req->more.vivify_exptime;
}

static void
parse_set(struct tokens *t, struct request *req)
{
    struct flags f = {.delta = 1};
    struct slice bytes;
    int32_t value_bytes;
    bool is_line;
    if (!tokens_next(t, &bytes) || !num_parse_i32(bytes, &value_bytes) || value_bytes < 0
        || value_bytes > PROTO_VALUE_BYTES_MAX) {
        fail(req, PROTO_BAD_FORMAT);
        return;
    }
    struct slice error = take_flags(t, req, &f, &is_line);
    if (is_line) {
        fail(req, error);
        return;
    }
    req->value_bytes = (size_t)value_bytes;
    settle_mode(req, &f);
    if (error.len == 0 && req->verb == VERB_BAD)
        error = ERROR_LINE("invalid mode for ms M token");
    if (error.len == 0 && !opaque_fits(&f))
        error = OPAQUE_TOO_LONG;
    if (error.len > 0) {
        req->swallow_bytes = req->value_bytes + 2;
        fail(req, error);
    }
}

/* ---- ma -------------------------------------------------------------------------------------- */

static bool
take_direction(struct request *req, const struct flags *f)
{
    char mode = !has_flag(req, 'M') ? 'I' : f->mode.len > 0 ? f->mode.at[0] : 0;
    req->more.decrement = mode == 'D' || mode == '-';
    return req->more.decrement || mode == 'I' || mode == '+';
}

static void
parse_arith(struct tokens *t, struct request *req)
{
    struct flags f = {.delta = 1};
    bool is_line;
    struct slice error = take_flags(t, req, &f, &is_line);
    req->number = f.delta;
    if (is_line)
        fail(req, error);
    else if (error.len > 0)
        fail(req, ERROR_LINE("invalid or duplicate flag"));
    else if (!take_direction(req, &f))
        fail(req, ERROR_LINE("invalid mode for ma M token"));
    else if (!opaque_fits(&f))
        fail(req, OPAQUE_TOO_LONG);
}

/* ---- the command ----------------------------------------------------------------------------- */

/* VERB_BAD: it is none of them. */
static enum verb
verb_of_letter(char c)
{
    switch (c) {
    case 'g':
        return VERB_MG;
    case 's':
        return VERB_SET;
    case 'd':
        return VERB_MD;
    case 'a':
        return VERB_MA;
    case 'e':
        return VERB_ME;
    default:
        return VERB_BAD;
    }
}

bool
meta_parse(struct tokens *t, struct request *req)
{
    struct slice word = {t->at, (size_t)(token_end(t->at, t->end) - t->at)};
    if (word.len != 2 || word.at[0] != 'm' || verb_of_letter(word.at[1]) == VERB_BAD)
        return false;
    (void)tokens_next(t, &word);
    req->verb = verb_of_letter(word.at[1]);
    req->dialect = DIALECT_META;
    more_start(&req->more);
    if (!tokens_next(t, &req->key)) {
        fail(req, PROTO_BAD_FORMAT);
        return true;
    }
    req->key_count = 1;
    if (req->verb == VERB_SET)
        parse_set(t, req);
    else if (req->verb == VERB_MA)
        parse_arith(t, req);
    else if (req->verb == VERB_ME)
        parse_debug(t, req);
    else
        parse_plain(t, req);
    return true;
}

/* ---- replies --------------------------------------------------------------------------------- */

bool
proto_next_flag(const struct request *req, size_t *cursor, struct slice *out_flag)
{
    const struct slice flags = req->more.flags;
    const char *end = flags.at + flags.len;
    const char *at = token_skip_blanks(flags.at + *cursor, end);
    if (at == end)
        return false;
    *out_flag = (struct slice){at, (size_t)(token_end(at, end) - at)};
    *cursor = (size_t)(at - flags.at) + out_flag->len;
    return true;
}

/* Could it have come as it is, as one token of a line? */
static bool
is_token(struct slice key)
{
    return memchr(key.at, ' ', key.len) == NULL && memchr(key.at, '\n', key.len) == NULL;
}

size_t
proto_put_meta_key(char *at, struct slice key, bool encoded, bool *out_encoded)
{
    *out_encoded = encoded || !is_token(key);
    if (*out_encoded)
        return base64_encode(at, key);
    memcpy(at, key.at, key.len);
    return key.len;
}

void
proto_keep_flags(struct request *req, char *room)
{
    struct slice flag;
    size_t len = 0;
    for (size_t at = 0; proto_next_flag(req, &at, &flag);) {
        char letter = flag.at[0];
        size_t n = letter == 'O' ? flag.len : letter == 'k' || letter == 's' || letter == 'c';
        if (n == 0)
            continue;
        CHECK(len + n + 1 <= PROTO_KEPT_FLAGS_BYTES);
        memcpy(room + len, flag.at, n);
        len += n;
        room[len++] = ' ';
    }
    req->more.flags = (struct slice){room, len};
}
