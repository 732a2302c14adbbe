/*
 * text.c -- the classic text protocol: bytes -> struct request.
 *
 *     set greeting 0 60 5 noreply\r\nhello\r\n
 *     ----------- line ------------  --block--
 *
 * The grammar is memcached 1.6.45's, order of checks included, because clients depend on more of it
 * than is written down: which errors `noreply` silences (those found after it was looked at), and
 * which errors swallow the data block (those found after its length was accepted).  Three rules
 * look odd and are kept:
 *
 *   - a line of fewer than 4 bytes, terminator included, is a format error whatever it says;
 *   - common commands start at column 0, administrative ones may have blanks in front;
 *   - while a line has no end it may grow to 2048 bytes, that of a get further.
 *
 * Speed: a get or a set is recognised by one comparison of four bytes, other commands by their
 * length and then their letters.  A line is walked twice, once by memchr for its end and once for
 * its tokens, and the second walk is where everything else happens.
 */
#include "proto.h"

#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "meta.h"
#include "text_token.h"

#define LINE_BYTES_MIN 4u             /* terminator included */
#define LINE_READ_BYTES_MAX 16384u    /* a complete line that is not a get, with its LF */
#define GET_BLANKS_MAX 100u           /* in front of a get that may be long */

_Static_assert(PROTO_LINE_BYTES_MAX < LINE_READ_BYTES_MAX, "an unfinished line is the shorter one");
_Static_assert(LINE_READ_BYTES_MAX < PROTO_GET_LINE_BYTES_MAX, "a get is the longest line");
_Static_assert(GET_BLANKS_MAX + sizeof "gets " < PROTO_LINE_BYTES_MAX,
               "a line that is too long is long enough to be recognised as a get");

static const struct slice silence = {"", 0};

/*
 * An empty request.  Field by field, because gcc makes `rep stos` of the assignment of a whole
 * struct of this size, and that alone takes as long as the rest of parsing a get.  (Not `a = b =
 * none` either: the value is read back from where it has just been written in smaller parts.)
 */
static inline void
request_start(struct request *req, enum verb verb, size_t line_bytes)
{
    const struct slice none = {0};
    req->verb = verb;
    req->dialect = DIALECT_TEXT;
    req->noreply = false;
    req->bad_chunk = false;
    req->has_number = false;
    req->bad_number = false;
    req->key = none;
    req->keys = none;
    req->key_count = 0;
    req->client_flags = 0;
    req->exptime = 0;
    req->number = 0;
    req->value_bytes = 0;
    req->value = NULL;
    req->args = none;
    req->error = none;
    req->line_bytes = line_bytes;
    req->swallow_bytes = 0;
    req->batch = 0;
    req->batch_at = 0;
}

/* A field that is added to the request must be set above. */
_Static_assert(sizeof(void *) != 8 || offsetof(struct request, more) == 144,
               "request_start sets all");

static void
bad(struct request *req, struct slice error)
{
    req->verb = VERB_BAD;
    req->error = req->noreply ? silence : error;
}

static enum parse
hang_up(struct request *req, struct slice last_words)
{
    request_start(req, VERB_BAD, 0);
    req->error = last_words;
    return PARSE_BAD;
}

/* ---- the line -------------------------------------------------------------------------------- */

/* Length of the line with its LF, 0 when there is none within what a line may have. */
static size_t
line_find(const char *in, size_t len, size_t *searched)
{
    const size_t window = len <= PROTO_GET_LINE_BYTES_MAX ? len : PROTO_GET_LINE_BYTES_MAX + 1;
    const char *lf = NULL;
    DCHECK(*searched <= len);
    if (*searched < window) {
        lf = memchr(in + *searched, '\n', window - *searched);
    }
    if (!lf) {
        *searched = window;
        return 0;
    }
    *searched = 0;
    return (size_t)(lf - in) + 1;
}

/* Does a line of more than PROTO_LINE_BYTES_MAX bytes begin like a get?  gat does not count. */
static bool
line_is_get(const char *in)
{
    size_t blanks = 0;
    while (in[blanks] == ' ') {
        if (++blanks > GET_BLANKS_MAX) {
            return false;
        }
    }
    in += blanks;
    return memcmp(in, "get ", 4) == 0 || memcmp(in, "gets ", 5) == 0;
}

/* No LF yet: may the line go on? */
static enum parse
line_unfinished(const char *in, size_t len, struct request *req)
{
    if (len <= PROTO_LINE_BYTES_MAX) {
        return PARSE_MORE;
    }
    if (!line_is_get(in)) {
        return hang_up(req, silence);
    }
    return len <= PROTO_GET_LINE_BYTES_MAX ? PARSE_MORE : hang_up(req, PROTO_LINE_TOO_LONG);
}

/* ---- get gets gat gats ----------------------------------------------------------------------- */

/* Inlined, so that a key stays in registers while it is only measured. */
static inline bool
next_key(const char **at, const char *end, struct slice *out_key)
{
    const char *start = token_skip_blanks(*at, end);
    if (start == end) {
        return false;
    }
    *at = token_end(start, end);
    *out_key = (struct slice){start, (size_t)(*at - start)};
    return true;
}

bool
proto_next_key(const struct request *req, size_t *cursor, struct slice *out_key)
{
    if (UNLIKELY(req->dialect == DIALECT_BINARY)) {
        bool first = *cursor == 0;
        *cursor = req->key.len;
        *out_key = req->key;
        return first;
    }
    const char *at = req->keys.at + *cursor;
    bool found = next_key(&at, req->keys.at + req->keys.len, out_key);
    *cursor = (size_t)(at - req->keys.at);
    return found;
}

struct slice
proto_next_word(struct slice *rest)
{
    const char *at = rest->at, *end = rest->at + rest->len;
    struct slice word = {end, 0};
    if (rest->len == 0 || !next_key(&at, end, &word))
        at = end;
    *rest = (struct slice){at, (size_t)(end - at)};
    return word;
}

/* All keys are looked at before the first is answered: one over-long key and there is no answer. */
static void
parse_keys(struct tokens *t, struct request *req)
{
    const struct slice keys = tokens_rest(t);
    const char *at = keys.at, *end = keys.at + keys.len;
    struct slice first, key;
    if (!next_key(&at, end, &first) || first.len > PROTO_KEY_BYTES_MAX) {
        bad(req, PROTO_BAD_FORMAT);
        return;
    }
    uint32_t count = 1;
    for (; next_key(&at, end, &key); count++) {
        if (key.len > PROTO_KEY_BYTES_MAX) {
            bad(req, PROTO_BAD_FORMAT);
            return;
        }
    }
    req->key = first;
    req->keys = keys;
    req->key_count = count;
}

static void
parse_gat(struct tokens *t, struct request *req)
{
    struct slice exptime;
    if (!tokens_next(t, &exptime)) {
        bad(req, PROTO_BAD_FORMAT);
        return;
    }
    if (tokens_rest(t).len == 0) {
        bad(req, PROTO_BAD_FORMAT);
    } else if (!num_parse_i32(exptime, &req->exptime)) {
        bad(req, PROTO_BAD_EXPTIME);
    } else {
        parse_keys(t, req);
    }
}

_Static_assert(PROTO_GET_LINE_BYTES_MAX < 1 << 23, "key_count");

void
proto_keep_get(const struct request *req, const char *line, struct slice keys, uint32_t key_count,
               struct proto_get_rest *out)
{
    *out = (struct proto_get_rest){
        .line_bytes = (uint32_t)req->line_bytes,
        .keys_at = (uint32_t)(keys.at - line),
        .keys_bytes = (uint32_t)keys.len,
        .key_count = key_count & 0xffffff,
        .verb = (uint8_t)req->verb,
        .exptime = req->exptime,
    };
}

void
proto_rest_of_get(const struct proto_get_rest *rest, const char *line, struct request *req)
{
    size_t at = 0;
    DCHECK(line[rest->line_bytes - 1] == '\n');
    request_start(req, (enum verb)rest->verb, rest->line_bytes);
    req->keys = (struct slice){line + rest->keys_at, rest->keys_bytes};
    req->key_count = rest->key_count;
    req->exptime = rest->exptime;
    (void)proto_next_key(req, &at, &req->key);    /* there may be none: the END is left */
}

/* ---- set add replace append prepend cas ------------------------------------------------------ */

/* <flags> and <exptime> are read as C's strtoul and strtol read them, and cut to 32 bits. */
static bool
parse_store_attributes(struct slice flags, struct slice exptime, struct request *req)
{
    uint64_t wide_flags;
    int64_t wide_exptime;
    if (!num_scan_u64(flags, &wide_flags) || !num_scan_i64(exptime, &wide_exptime)) {
        return false;
    }
    req->client_flags = (uint32_t)wide_flags;
    req->exptime = (int32_t)(uint32_t)wide_exptime;
    return true;
}

/*
 * <key> <flags> <exptime> <bytes> [<unique>] [noreply].  Until the length is known to be one, the
 * block cannot be told from commands, and errors leave it to be read as such.  Afterwards they
 * swallow it.
 */
static void
parse_store(struct tokens *t, struct request *req)
{
    struct slice key, flags, exptime, bytes, unique = {0};
    int32_t value_bytes;
    if (!tokens_next(t, &key) || !tokens_next(t, &flags) || !tokens_next(t, &exptime)
        || !tokens_next(t, &bytes) || !num_parse_i32(bytes, &value_bytes) || value_bytes < 0
        || value_bytes > PROTO_VALUE_BYTES_MAX) {
        bad(req, PROTO_BAD_FORMAT);
        return;
    }
    if (req->verb == VERB_CAS) {
        (void)tokens_next(t, &unique);    /* a missing one is empty, and no number */
    }
    req->noreply = tokens_end_in_noreply(t);
    req->value_bytes = (size_t)value_bytes;
    if (key.len > PROTO_KEY_BYTES_MAX || !parse_store_attributes(flags, exptime, req)
        || (req->verb == VERB_CAS && !num_parse_u64(unique, &req->number))) {
        req->swallow_bytes = req->value_bytes + 2;
        bad(req, PROTO_BAD_FORMAT);
        return;
    }
    req->key = key;
    req->key_count = 1;
}

/* The line is complete and good; is its data block? */
static enum parse
take_block(const char *in, size_t len, struct request *req, size_t *used)
{
    const size_t block_bytes = req->value_bytes + 2;
    if (len - req->line_bytes < block_bytes) {
        return PARSE_BODY;
    }
    req->value = in + req->line_bytes;
    req->bad_chunk = memcmp(req->value + req->value_bytes, "\r\n", 2) != 0;
    *used += block_bytes;
    return PARSE_DONE;
}

/* ---- delete incr decr touch ------------------------------------------------------------------ */

/* <key> [anything] [noreply]; incr, decr and touch have a number after the key. */
static void
parse_keyed(struct tokens *t, struct request *req)
{
    struct slice key, number = {0};
    if (!tokens_next(t, &key) || (req->verb != VERB_DELETE && !tokens_next(t, &number))) {
        bad(req, PROTO_BAD_FORMAT);
        return;
    }
    req->noreply = tokens_end_in_noreply(t);
    if (key.len > PROTO_KEY_BYTES_MAX) {
        bad(req, PROTO_BAD_FORMAT);
    } else if (req->verb == VERB_TOUCH && !num_parse_i32(number, &req->exptime)) {
        bad(req, PROTO_BAD_EXPTIME);
    } else if ((req->verb == VERB_INCR || req->verb == VERB_DECR)
               && !num_parse_u64(number, &req->number)) {
        bad(req, PROTO_BAD_DELTA);
    } else {
        req->key = key;
        req->key_count = 1;
    }
}

/* ---- administration -------------------------------------------------------------------------- */

/* A delay that is none is reported by cmd/, which may have to forbid the whole command first. */
static void
parse_flush_all(struct tokens *t, struct request *req)
{
    struct slice delay;
    bool more = tokens_next(t, &delay);
    req->noreply = tokens_end_in_noreply(t);
    if (more && !(req->noreply && t->count == 2)) {
        req->has_number = true;
        req->bad_number = !num_parse_i32(delay, &req->exptime);
    }
}

/* verbosity, cache_memlimit: one number of 32 bits, `error` where it is missing or none. */
static void
parse_number(struct tokens *t, struct request *req, struct slice error)
{
    struct slice number = {0};
    uint32_t value;
    (void)tokens_next(t, &number);
    req->noreply = tokens_end_in_noreply(t);
    if (!num_parse_u32(number, &value)) {
        bad(req, error);
        return;
    }
    req->number = value;
}

/* `stats detail` is a command of its own: its words follow. */
static void
parse_stats(struct tokens *t, struct request *req)
{
    struct tokens behind = *t;
    struct slice group;
    if (tokens_next(&behind, &group) && slice_equal(group, SLICE("detail"))) {
        req->verb = VERB_DETAIL;
        *t = behind;
    }
    req->args = tokens_rest(t);
}

/* Words for cmd/ to understand. */
static void
parse_words(struct tokens *t, struct request *req)
{
    req->args = tokens_rest(t);
    req->noreply = tokens_end_in_noreply(t);
}

/* False: a browser or a scanner that speaks HTTP, for whom there is nothing here. */
static bool
parse_unknown(struct tokens *t, struct request *req)
{
    req->noreply = tokens_end_in_noreply(t);
    struct slice last = {t->last, (size_t)(t->at - t->last)};
    if (t->count >= 2 && slice_starts(last, SLICE("HTTP/"))) {
        return false;
    }
    bad(req, PROTO_ERROR);
    return true;
}

/* ---- the command ----------------------------------------------------------------------------- */

/* word has the length of the literal. */
#define IS(literal) (memcmp(word.at, literal, sizeof(literal) - 1) == 0)

static enum verb
verb_of_word(struct slice word)
{
    switch (word.len) {
    case 2:
        return IS("mn") ? VERB_MN : VERB_BAD;
    case 3:
        return IS("get") ? VERB_GET
             : IS("set") ? VERB_SET
             : IS("add") ? VERB_ADD
             : IS("cas") ? VERB_CAS
             : IS("gat") ? VERB_GAT : VERB_BAD;
    case 4:
        return IS("gets") ? VERB_GETS
             : IS("incr") ? VERB_INCR
             : IS("decr") ? VERB_DECR
             : IS("gats") ? VERB_GATS
             : IS("quit") ? VERB_QUIT : VERB_BAD;
    case 5:
        return IS("touch") ? VERB_TOUCH : IS("stats") ? VERB_STATS : VERB_BAD;
    case 6:
        return IS("delete") ? VERB_DELETE : IS("append") ? VERB_APPEND : VERB_BAD;
    case 7:
        return IS("replace") ? VERB_REPLACE
             : IS("prepend") ? VERB_PREPEND
             : IS("version") ? VERB_VERSION : VERB_BAD;
    default:
        return VERB_BAD;
    }
}

/* These may have blanks in front. */
static enum verb
verb_of_admin_word(struct slice word)
{
    switch (word.len) {
    case 3:
        return IS("lru") ? VERB_LRU : VERB_BAD;
    case 5:
        return IS("slabs") ? VERB_SLABS : VERB_BAD;
    case 8:
        return IS("shutdown") ? VERB_SHUTDOWN : VERB_BAD;
    case 9:
        return IS("flush_all") ? VERB_FLUSH_ALL : IS("verbosity") ? VERB_VERBOSITY : VERB_BAD;
    case 11:
        return IS("lru_crawler") ? VERB_LRU_CRAWLER : VERB_BAD;
    case 13:
        return IS("refresh_certs") ? VERB_REFRESH_CERTS : VERB_BAD;
    case 14:
        return IS("cache_memlimit") ? VERB_CACHE_MEMLIMIT : VERB_BAD;
    default:
        return VERB_BAD;
    }
}

#undef IS

/* Moves past the command and says which it is. */
static enum verb
parse_verb(struct tokens *t)
{
    struct slice word = {t->at, (size_t)(token_end(t->at, t->end) - t->at)};
    enum verb verb = verb_of_word(word);
    if (verb == VERB_BAD && tokens_next(t, &word)) {
        return verb_of_admin_word(word);
    }
    if (verb != VERB_BAD) {
        t->last = word.at;
        t->at += word.len;
        t->count = 1;
    }
    return verb;
}

/* What follows a command.  False: hang up. */
static bool
parse_arguments(struct tokens *t, struct request *req)
{
    switch (req->verb) {
    case VERB_GET: case VERB_GETS:
        parse_keys(t, req);
        return true;
    case VERB_GAT: case VERB_GATS:
        parse_gat(t, req);
        return true;
    case VERB_SET: case VERB_ADD: case VERB_REPLACE: case VERB_APPEND: case VERB_PREPEND:
    case VERB_CAS:
        parse_store(t, req);
        return true;
    case VERB_DELETE: case VERB_INCR: case VERB_DECR: case VERB_TOUCH:
        parse_keyed(t, req);
        return true;
    case VERB_VERSION: case VERB_QUIT: case VERB_MN:
        return true;
    case VERB_STATS:
        parse_stats(t, req);
        return true;
    case VERB_SHUTDOWN: case VERB_SLABS: case VERB_LRU: case VERB_LRU_CRAWLER:
    case VERB_REFRESH_CERTS:
        parse_words(t, req);
        return true;
    case VERB_FLUSH_ALL:
        parse_flush_all(t, req);
        return true;
    case VERB_VERBOSITY:
        parse_number(t, req, PROTO_BAD_FORMAT);
        return true;
    case VERB_CACHE_MEMLIMIT:
        parse_number(t, req, PROTO_ERROR);
        return true;
    case VERB_MG: case VERB_MD: case VERB_MA: case VERB_ME:
    case VERB_DETAIL: case VERB_BAD: case VERB_COUNT:
        break;
    }
    return parse_unknown(t, req);
}

/* A whole line, in[0..line_bytes).  False: hang up. */
static bool
parse_line(const char *in, size_t line_bytes, struct request *req)
{
    request_start(req, VERB_BAD, line_bytes);
    if (UNLIKELY(line_bytes < LINE_BYTES_MIN)) {
        bad(req, PROTO_BAD_FORMAT);
        return true;
    }
    const char *end = in + line_bytes - 1;
    struct tokens t = {.at = in, .last = in, .end = end - (end[-1] == '\r')};
    /* Four bytes are there, and none of them is the terminator if the fourth is a blank. */
    if (LIKELY(memcmp(in, "get ", 4) == 0)) {
        t.at += 3;
        req->verb = VERB_GET;
        parse_keys(&t, req);
        return true;
    }
    if (memcmp(in, "set ", 4) == 0) {
        t.at += 3;
        t.count = 1;
        req->verb = VERB_SET;
        parse_store(&t, req);
        return true;
    }
    if (in[0] == 'm' && meta_parse(&t, req)) {
        return true;
    }
    req->verb = parse_verb(&t);
    return parse_arguments(&t, req);
}

enum parse
proto_parse(const char *in, size_t len, size_t *searched, struct request *req, size_t *used)
{
    *used = 0;
    const size_t line_bytes = line_find(in, len, searched);
    if (line_bytes == 0) {
        return line_unfinished(in, len, req);
    }
    if (UNLIKELY(line_bytes > LINE_READ_BYTES_MAX) && !line_is_get(in)) {
        return hang_up(req, silence);
    }
    if (!parse_line(in, line_bytes, req)) {
        return hang_up(req, silence);
    }
    *used = line_bytes;
    return verb_is_store(req->verb) ? take_block(in, len, req, used) : PARSE_DONE;
}
