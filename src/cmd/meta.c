/*
 * meta.c -- mg md ma me, and what is particular to ms: replies with flags in the order in which
 * they were asked for.
 *
 *     VA 5 s5 t-1 Oab kfoo W\r\n       status, length, flags, what the server adds
 *
 * Flags act in their order as well: a `t` in front of a `T` shows the time that was left before.
 * Nothing is written or counted before the store has answered something else than AGAIN.
 */
#include "inner.h"

#include "base/num.h"

#define HEAD_MAX (sizeof "VA 4294967295" - 1)
#define KEY_MAX (sizeof " k b" - 1 + PROTO_META_KEY_CHARS_MAX)
#define FLAGS_MAX                                                                                 \
    (KEY_MAX + 1 + PROTO_OPAQUE_BYTES_MAX +                                                       \
     sizeof " s4294967295 t4294967295 c18446744073709551615 f4294967295 l4294967295 h1" - 1)
_Static_assert(HEAD_MAX + FLAGS_MAX + sizeof " Z X W\r\n" <= LINE_BYTES, "room for any reply");
_Static_assert(sizeof "ME  exp=4294967295 la=4294967295 cas=18446744073709551615 fetch=yes cls=2 "
                      "size=18446744073709551615\r\n" + PROTO_META_KEY_CHARS_MAX <= LINE_BYTES,
               "room for any reply");

static bool
has_flag(const struct request *req, char letter)
{
    return req->more.letters & META_FLAG(letter);
}

/*
 * Last access is known modulo 2^24 seconds.  It may lie in the future: other threads may have read
 * the clock after this one.
 */
#define AHEAD_MAX 3600u

static uint32_t
seconds_since(const struct cmd_thread *t, uint32_t last_access)
{
    uint32_t seconds = (store_now(t->store) - last_access) & STORE_ACCESS_MASK;
    return seconds > STORE_ACCESS_MASK - AHEAD_MAX ? 0 : seconds;
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* A line being written into the reply. */
struct line {
    struct reply *reply;
    char *start, *at;
};

static struct line
line_begin(struct reply *reply, const char *status)
{
    struct line l = {.reply = reply, .start = reply_at(reply), .at = reply_at(reply)};
    memcpy(l.at, status, 2);
    l.at += 2;
    return l;
}

static void
line_end(struct line *l)
{
    memcpy(l->at, "\r\n", 2);
    l->at += 2;
    CHECK((size_t)(l->at - l->start) <= LINE_BYTES);
    reply_wrote(l->reply, (size_t)(l->at - l->start));
}

static void
line_text(struct line *l, struct slice text)
{
    memcpy(l->at, text.at, text.len);
    l->at += text.len;
}

static void
line_letter(struct line *l, char letter)
{
    *l->at++ = ' ';
    *l->at++ = letter;
}

static void
line_number(struct line *l, char letter, uint64_t number)
{
    line_letter(l, letter);
    l->at += num_put_u64(l->at, number);
}

static void
line_key(struct line *l, struct slice key, bool encoded)
{
    line_letter(l, 'k');
    l->at += proto_put_meta_key(l->at, key, encoded, &encoded);
    if (encoded)
        line_letter(l, 'b');
}

/* O and k, which all replies repeat.  False: it is another flag. */
static bool
line_echo(struct line *l, struct slice flag, struct slice key, bool encoded)
{
    if (flag.at[0] == 'O') {
        *l->at++ = ' ';
        line_text(l, flag);
        return true;
    }
    if (flag.at[0] == 'k') {
        line_key(l, key, encoded);
        return true;
    }
    return false;
}

/* Seconds that are left, or -1. */
static void
line_ttl(struct line *l, const struct cmd_thread *t, uint32_t expiry)
{
    uint32_t now = store_now(t->store);
    if (expiry == STORE_EXPIRY_NEVER)
        line_text(l, SLICE("-1"));
    else
        l->at += num_put_u32(l->at, expiry > now ? expiry - now : 0);
}

/* A line that says no more than O and k. */
static enum cmd_outcome
answer_plain(const struct request *req, struct reply *reply, const char *status)
{
    struct line l = line_begin(reply, status);
    struct slice flag;
    for (size_t at = 0; proto_next_flag(req, &at, &flag);)
        line_echo(&l, flag, req->key, req->more.key_encoded);
    line_end(&l);
    return CMD_DONE;
}

/* The one outcome that q keeps quiet. */
static enum cmd_outcome
answer_nominal(const struct request *req, struct reply *reply, const char *status)
{
    return has_flag(req, 'q') ? CMD_DONE : answer_plain(req, reply, status);
}

/* ---- mg -------------------------------------------------------------------------------------- */

static bool
wants_value(const struct request *req, const struct store_view *v)
{
    return has_flag(req, 'v') && !(req->more.has_cas && req->more.cas == v->cas);
}

/* What a flag of mg shows of the entry as it was; *expiry as the flags in front have left it. */
static void
put_shown(struct line *l, const struct cmd_thread *t, const struct request *req, char letter,
          const struct store_view *v, uint32_t *expiry)
{
    switch (letter) {
    case 'T':
        *expiry = expiry_of(t, req->exptime);
        return;
    case 'N':
        if (v->vivified)
            *expiry = expiry_of(t, req->more.vivify_exptime);
        return;
    case 's':
        line_number(l, 's', v->value_bytes);
        return;
    case 't':
        line_letter(l, 't');
        line_ttl(l, t, *expiry);
        return;
    case 'c':
        line_number(l, 'c', v->cas);
        return;
    case 'f':
        line_number(l, 'f', v->client_flags);
        return;
    case 'l':
        line_number(l, 'l', seconds_since(t, v->last_access));
        return;
    case 'h':
        line_number(l, 'h', v->marks & STORE_MARK_FETCHED ? 1 : 0);
        return;
    default:
        return;
    }
}

void
meta_put_head(const struct cmd_thread *t, const struct request *req, struct reply *reply,
              struct slice key, const struct store_view *v)
{
    bool value = wants_value(req, v);
    struct line l = line_begin(reply, value ? "VA" : "HD");
    uint32_t expiry = v->expiry;
    struct slice flag;
    if (value) {
        *l.at++ = ' ';
        l.at += num_put_u64(l.at, v->value_bytes);
    }
    for (size_t at = 0; proto_next_flag(req, &at, &flag);)
        if (!line_echo(&l, flag, key, v->marks & STORE_MARK_KEY_BINARY))
            put_shown(&l, t, req, flag.at[0], v, &expiry);
    if (v->marks & STORE_MARK_TOKEN && !v->won)
        line_letter(&l, 'Z');
    if (v->marks & STORE_MARK_STALE)
        line_letter(&l, 'X');
    if (v->won)
        line_letter(&l, 'W');
    line_end(&l);
}

/* Does flag a come before flag b?  Both are there. */
static bool
is_before(const struct request *req, char a, char b)
{
    struct slice flag;
    for (size_t at = 0; proto_next_flag(req, &at, &flag);)
        if (flag.at[0] == a || flag.at[0] == b)
            return flag.at[0] == a;
    return false;
}

static struct store_get_options
options_of(const struct cmd_thread *t, const struct request *req)
{
    struct store_get_options o = {.lease = true, .no_bump = has_flag(req, 'u')};
    if (LIKELY(!(req->more.letters & (META_FLAG('T') | META_FLAG('N') | META_FLAG('R')))))
        return o;
    o.has_expiry = has_flag(req, 'T');
    o.recache = has_flag(req, 'R');
    o.vivify = has_flag(req, 'N');
    o.has_cas_new = has_flag(req, 'E');
    o.cas_new = req->more.cas_new;
    o.expiry = expiry_of(t, req->exptime);
    o.recache_below = expiry_of(t, req->more.recache_exptime);
    o.vivify_expiry = expiry_of(t, req->more.vivify_exptime);
    o.expiry_first = o.has_expiry && o.recache && is_before(req, 'T', 'R');
    if (o.vivify && o.has_expiry && is_before(req, 'N', 'T'))
        o.vivify_expiry = o.expiry;
    return o;
}

static void
count_hit(struct cmd_thread *t, const struct request *req)
{
    bool touch = has_flag(req, 'T');
    count(t, touch ? CMD_cmd_touch : CMD_cmd_get);
    count(t, touch ? CMD_touch_hits : CMD_get_hits);
}

static enum cmd_outcome
miss(struct cmd_thread *t, const struct request *req, struct reply *reply)
{
    count(t, CMD_cmd_get);
    count(t, CMD_get_misses);
    return answer_nominal(req, reply, "EN");
}

/*
 * A value that finds no room is asked for a second time, and must not meet the traces of the first:
 * T may have let the entry expire, N has made one, h and l would show this very get.  So it must be
 * sure before that the value can be given.  (A token that was won for one that cannot is remembered
 * in the cursor, with the number of its entry: another entry's token is somebody else's.  Where -C
 * leaves no numbers, that cannot be told apart.)
 */
static bool
must_fit_first(const struct request *req)
{
    const uint64_t traces = META_FLAG('T') | META_FLAG('N') | META_FLAG('h') | META_FLAG('l');
    return has_flag(req, 'v') && req->more.letters & traces;
}

static bool
would_fit(struct cmd_thread *t, const struct request *req, const struct store_key *key,
          struct reply *reply)
{
    struct store_get_options peek = {.no_bump = true};
    struct store_view v, made_by_vivify = {.value = ""};
    if (store_get(t->store, key, &peek, &v) == STORE_OK)
        return !wants_value(req, &v) || value_fits(req, &v, key->text, reply);
    return value_fits(req, &made_by_vivify, key->text, reply);
}

static enum cmd_outcome
get_entry(struct cmd_thread *t, const struct request *req, const struct store_key *key,
          struct cmd_cursor *cursor, struct reply *reply)
{
    struct store_get_options options = options_of(t, req);
    struct store_view v;
    if (UNLIKELY(must_fit_first(req)) && !would_fit(t, req, key, reply))
        return CMD_FULL;
    for (unsigned round = 0; round < VALUE_ROUNDS_MAX; round++) {
        enum store_outcome found = store_get(t->store, key, &options, &v);
        if (UNLIKELY(found == STORE_AGAIN)) {
            t->stores += STORES_AT_AGAIN;
            return CMD_AGAIN;
        }
        if (found != STORE_OK)
            return miss(t, req, reply);
        t->stores += v.vivified;
        v.won |= cursor->won && v.cas == cursor->won_cas && v.marks & STORE_MARK_TOKEN;
        if (!wants_value(req, &v)) {
            count_hit(t, req);
            meta_put_head(t, req, reply, key->text, &v);
            return CMD_DONE;
        }
        if (UNLIKELY(!value_fits(req, &v, key->text, reply))) {
            cursor->won = v.won;
            cursor->won_cas = v.cas;
            return CMD_FULL;
        }
        enum cmd_outcome outcome = put_value(t, req, key, &v, cursor, reply);
        if (LIKELY(outcome != CMD_BROKEN)) {
            count_hit(t, req);
            return outcome;
        }
    }
    return miss(t, req, reply);
}

enum cmd_outcome
run_mg(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
       struct reply *reply)
{
    if (UNLIKELY(!reply_has_room(reply, LINE_BYTES + COPY_BYTES_MAX + 2, 2)))
        return CMD_FULL;
    struct store_key key = key_of(t, req, req->key, 0);
    enum cmd_outcome outcome = UNLIKELY(cursor->in_value)
                                   ? resume_value(t, req, &key, cursor, reply)
                                   : get_entry(t, req, &key, cursor, reply);
    if (outcome == CMD_DONE)
        *cursor = (struct cmd_cursor){0};
    return outcome;
}

/* ---- ms -------------------------------------------------------------------------------------- */

/* E0 asks for a number of the server's choice here, and here alone. */
void
meta_put_ask(const struct request *req, struct store_put *put)
{
    bool join = req->verb == VERB_APPEND || req->verb == VERB_PREPEND;
    put->has_cas_new = has_flag(req, 'E') && req->more.cas_new != 0;
    put->cas_new = req->more.cas_new;
    put->key_binary = req->more.key_encoded;
    put->invalidate = has_flag(req, 'I');
    put->vivify = join && has_flag(req, 'N');
    if (join && req->more.has_cas) {
        put->compare = true;
        put->cas_expected = req->more.cas;
    }
}

static const char *
stored_status(enum store_outcome outcome)
{
    switch (outcome) {
    case STORE_OK:
        return "HD";
    case STORE_EXISTS:
        return "EX";
    case STORE_MISS:
        return "NF";
    case STORE_NOT_STORED:
        return "NS";
    case STORE_TOO_LARGE:
    case STORE_NO_MEMORY:
    case STORE_NON_NUMERIC:
    case STORE_AGAIN:
    case STORE_UNFINISHED:
        break;
    }
    CHECK(!"these are answered elsewhere");
    return "NS";
}

enum cmd_outcome
meta_stored(const struct request *req, struct reply *reply, enum store_outcome outcome,
            const struct store_result *result)
{
    bool stored = outcome == STORE_OK;
    if (stored && has_flag(req, 'q'))
        return CMD_DONE;
    struct line l = line_begin(reply, stored_status(outcome));
    struct slice flag;
    for (size_t at = 0; proto_next_flag(req, &at, &flag);) {
        if (line_echo(&l, flag, req->key, req->more.key_encoded))
            continue;
        if (flag.at[0] == 'c')
            line_number(&l, 'c', stored ? result->cas : 0);
        else if (flag.at[0] == 's')
            line_number(&l, 's', stored ? result->value_bytes : req->value_bytes);
    }
    line_end(&l);
    return CMD_DONE;
}

/* ---- md -------------------------------------------------------------------------------------- */

static enum store_outcome
invalidate(struct cmd_thread *t, const struct request *req, struct store_key key)
{
    struct store_invalidate how = {
        .key = key, .stale = has_flag(req, 'I'), .empty = has_flag(req, 'x'),
        .compare = req->more.has_cas, .cas_expected = req->more.cas,
        .has_expiry = has_flag(req, 'T'), .expiry = expiry_of(t, req->exptime),
        .has_cas_new = has_flag(req, 'E'), .cas_new = req->more.cas_new,
        .client_flags = req->client_flags,
    };
    return store_invalidate(t->store, &how);
}

enum cmd_outcome
run_md(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
       struct reply *reply)
{
    (void)cursor;
    struct store_key key = key_of(t, req, req->key, 0);
    bool stays = has_flag(req, 'I') || has_flag(req, 'x');
    enum store_outcome outcome;
    if (stays)
        outcome = invalidate(t, req, key);
    else if (req->more.has_cas)
        outcome = store_delete_cas(t->store, key, req->more.cas);
    else
        outcome = store_delete(t->store, key);
    switch (outcome) {
    case STORE_OK:
        if (stays)
            t->stores++;
        else
            count(t, CMD_delete_hits);
        return answer_nominal(req, reply, "HD");
    case STORE_MISS:
        count(t, CMD_delete_misses);
        return answer_plain(req, reply, "NF");
    case STORE_EXISTS:
        count(t, CMD_delete_misses);
        return answer_plain(req, reply, "EX");
    case STORE_AGAIN:
        t->stores += STORES_AT_AGAIN;
        return CMD_AGAIN;
    case STORE_NO_MEMORY:
    case STORE_TOO_LARGE:
        return answer(req, reply, PROTO_NO_MEMORY);
    case STORE_NOT_STORED:
    case STORE_NON_NUMERIC:
    case STORE_UNFINISHED:
        break;
    }
    CHECK(!"md has no such outcome");
    return CMD_DONE;
}

/* ---- ma -------------------------------------------------------------------------------------- */

static void
put_number(const struct cmd_thread *t, const struct request *req, struct reply *reply,
           const struct store_number *n)
{
    bool value = has_flag(req, 'v');
    char text[NUM_U64_CHARS_MAX];
    struct slice number = {text, num_put_u64(text, n->number)};
    struct line l = line_begin(reply, value ? "VA" : "HD");
    uint32_t expiry = n->expiry;
    struct slice flag;
    if (value) {
        *l.at++ = ' ';
        l.at += num_put_u64(l.at, number.len);
    }
    for (size_t at = 0; proto_next_flag(req, &at, &flag);) {
        if (line_echo(&l, flag, req->key, req->more.key_encoded))
            continue;
        if (flag.at[0] == 'T')
            expiry = expiry_of(t, req->exptime);
        else if (flag.at[0] == 'N' && n->vivified)
            expiry = expiry_of(t, req->more.vivify_exptime);
        else if (flag.at[0] == 't') {
            line_letter(&l, 't');
            line_ttl(&l, t, expiry);
        }
        else if (flag.at[0] == 'c')
            line_number(&l, 'c', n->cas);
    }
    if (value) {
        line_text(&l, SLICE("\r\n"));
        line_text(&l, number);
    }
    line_end(&l);
}

/* C0 asks for no comparison, here and here alone. */
static struct store_arith
arith_of(struct cmd_thread *t, const struct request *req)
{
    struct store_arith how = {
        .key = key_of(t, req, req->key, 0), .decrement = req->more.decrement,
        .delta = req->number, .initial = req->more.initial,
        .compare = req->more.has_cas && req->more.cas != 0, .cas_expected = req->more.cas,
        .has_cas_new = has_flag(req, 'E'), .cas_new = req->more.cas_new,
        .has_expiry = has_flag(req, 'T'), .expiry = expiry_of(t, req->exptime),
        .vivify = has_flag(req, 'N'), .vivify_expiry = expiry_of(t, req->more.vivify_exptime),
    };
    if (how.vivify && how.has_expiry && is_before(req, 'N', 'T'))
        how.vivify_expiry = how.expiry;
    return how;
}

enum cmd_outcome
run_ma(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
       struct reply *reply)
{
    (void)cursor;
    struct store_arith how = arith_of(t, req);
    struct store_number number;
    switch (store_arith(t->store, &how, &number)) {
    case STORE_OK:
        t->stores++;
        if (!number.vivified)
            count(t, how.decrement ? CMD_decr_hits : CMD_incr_hits);
        if (!has_flag(req, 'q'))
            put_number(t, req, reply, &number);
        return CMD_DONE;
    case STORE_MISS:
        count(t, how.decrement ? CMD_decr_misses : CMD_incr_misses);
        return answer_plain(req, reply, "NF");
    case STORE_EXISTS:
        return answer_plain(req, reply, "EX");
    case STORE_NON_NUMERIC:
        return answer(req, reply, PROTO_NON_NUMERIC);
    case STORE_AGAIN:
        t->stores += STORES_AT_AGAIN;
        return CMD_AGAIN;
    case STORE_NO_MEMORY:
    case STORE_TOO_LARGE:
        return answer(req, reply, PROTO_NO_MEMORY);
    case STORE_NOT_STORED:
    case STORE_UNFINISHED:
        break;
    }
    CHECK(!"ma has no such outcome");
    return CMD_DONE;
}

/* ---- me -------------------------------------------------------------------------------------- */

/* cls: 1 for an entry in one run of memory, 2 for a value in pieces. */
static void
put_debug(struct cmd_thread *t, const struct request *req, struct reply *reply,
          const struct store_view *v)
{
    struct line l = line_begin(reply, "ME");
    bool encoded = v->marks & STORE_MARK_KEY_BINARY;
    *l.at++ = ' ';
    l.at += proto_put_meta_key(l.at, req->key, encoded, &encoded);
    line_text(&l, SLICE(" exp="));
    line_ttl(&l, t, v->expiry);
    line_text(&l, SLICE(" la="));
    l.at += num_put_u32(l.at, seconds_since(t, v->last_access));
    line_text(&l, SLICE(" cas="));
    l.at += num_put_u64(l.at, v->cas);
    line_text(&l, v->marks & STORE_MARK_FETCHED ? SLICE(" fetch=yes") : SLICE(" fetch=no"));
    line_text(&l, v->value ? SLICE(" cls=1 size=") : SLICE(" cls=2 size="));
    l.at += num_put_u64(l.at, store_entry_bytes(t->cmd->config.store, req->key.len,
                                                v->value_bytes, v->client_flags));
    line_end(&l);
}

enum cmd_outcome
run_me(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
       struct reply *reply)
{
    (void)cursor;
    struct store_get_options peek = {.no_bump = true};
    struct store_view v;
    count(t, CMD_cmd_meta);
    struct store_key key = key_of(t, req, req->key, 0);
    if (store_get(t->store, &key, &peek, &v) == STORE_OK)
        put_debug(t, req, reply, &v);
    else
        reply_text(reply, SLICE("EN\r\n"));
    return CMD_DONE;
}
