/*
 * store_model.h -- the model of test_store_model.c and the single operations on it and on the
 * store.
 *
 * Each step_*() does one operation to both and compares.  Included by that file alone.
 */
#ifndef TESTS_UNIT_STORE_MODEL_H
#define TESTS_UNIT_STORE_MODEL_H

#include "store_fixture.h"

#include "base/num.h"

/* ---- the model ------------------------------------------------------------------------------- */

#define KEYS 600u
#define KEYS_OFTEN 40u                 /* most of the steps are about these */

struct known {
    bool present;
    char *value;
    size_t len;
    uint32_t flags, expiry;
    uint64_t cas;
    bool stale, token, binary;         /* marks */
};

/* What is tried, and on what store. */
struct model_plan {
    unsigned threads;                  /* participants, in turn */
    unsigned steps;
    size_t memory_bytes, len_max;
    size_t joined_max;                 /* by append and prepend */
    bool evict, cas;
    bool lossless;                     /* there is room for all */
    bool jumps;                        /* the clock leaps */
    bool limits;                       /* the limit goes down and up */
    bool announces;                    /* keys are announced, see step_number_of() */
};

/* What a participant has said that it will ask for. */
#define ANNOUNCED_MAX 600u
struct announced {
    uint64_t hashes[ANNOUNCED_MAX];
    unsigned numbers[ANNOUNCED_MAX];   /* of keys */
    unsigned count, at;
};

struct model {
    const struct model_plan *plan;
    struct store *s;
    struct store_thread **threads;
    bool *inside;
    struct announced *announced;       /* of each participant */
    unsigned place;                    /* store_key.ahead of the step's key */
    unsigned turn;
    struct store_thread *t;            /* whose turn it is */
    struct kit_wait wait;
    uint64_t random, stamp;
    unsigned refused;                  /* NO_MEMORY */
    struct known known[KEYS];
    char *buf;
    uint32_t flush_at;
};

/* ---- whose turn it is ------------------------------------------------------------------------ */

static void
all_leave(struct model *m)
{
    for (unsigned i = 0; i < m->plan->threads; i++) {
        if (m->inside[i])
            store_leave(m->threads[i]);
        m->inside[i] = false;
    }
}

static void
enter(struct model *m)
{
    if (!m->inside[m->turn])
        store_enter(m->t);
    m->inside[m->turn] = true;
}

/* Nobody waits for those who wait for room. */
static void
wait_for_room(void *ctx)
{
    struct model *m = ctx;
    all_leave(m);
    store_maintain(m->t, STORE_MAINTAIN_BUDGET);
    enter(m);
}

/* Sections of others may stay open over many turns: memory is then not reused, nothing else.  Where
 * keys are announced, most stay open until these have been asked for. */
static void
next_turn(struct model *m)
{
    uint64_t r = kit_random(&m->random);
    if (m->plan->announces && kit_random(&m->random) % 32)
        r |= 2;
    if (r % 4 == 0)
        all_leave(m);
    if (r % 4 == 1 && m->inside[m->turn]) {
        store_leave(m->t);
        m->inside[m->turn] = false;
        store_maintain(m->t, (unsigned)(r >> 24 & 127) + 1);
    }
    m->turn = (unsigned)(r >> 32) % m->plan->threads;
    m->t = m->threads[m->turn];
    enter(m);
}

/* ---- keys that are announced ----------------------------------------------------------------- */

static struct store_key
model_key(const struct model *m, char *text, unsigned number)
{
    struct store_key key = kit_key(m->s, text, number);
    key.ahead = m->place;
    return key;
}

static unsigned
random_number(struct model *m)
{
    uint64_t r = kit_random(&m->random);
    return (unsigned)(r >> 32) % ((r >> 24 & 3) ? KEYS_OFTEN : KEYS);
}

/* One to all; sometimes those of before are not over.  Few is what most batches are. */
static void
announce(struct model *m, struct announced *a)
{
    static const unsigned most[] = {2, 16, 40, 70, ANNOUNCED_MAX};
    uint64_t r = kit_random(&m->random);
    a->count = (unsigned)(r >> 32) % most[r % 5] + 1;
    a->at = 0;
    for (unsigned i = 0; i < a->count; i++) {
        char text[KIT_KEY_CHARS];
        a->numbers[i] = random_number(m);
        a->hashes[i] = kit_key(m->s, text, a->numbers[i]).hash;
    }
    store_prefetch(m->t, a->hashes, a->count);
}

/*
 * The key of the next step: in the order that was announced, but some are left out, some come twice
 * or too early, and some that were never announced say the place of another.
 */
static unsigned
step_number_of(struct model *m)
{
    uint64_t r = kit_random(&m->random);
    m->place = 0;
    if (!m->plan->announces)
        return random_number(m);
    struct announced *a = &m->announced[m->turn];
    if (a->at >= a->count || (r & 255) == 0)
        announce(m, a);
    unsigned at = a->at++;
    switch (r >> 8 & 31) {
    case 0: at = a->at = (unsigned)((at + (r >> 32) % 50) % a->count); break;
    case 1: at = a->at = at - (unsigned)((r >> 32) % (at + 1)); break;
    case 2: case 3: at = (unsigned)((r >> 32) % a->count); break;
    case 4: a->at--; break;
    case 5: m->place = (unsigned)(r >> 32) % (a->count + 2); return random_number(m);
    }
    m->place = at + 1;
    return a->numbers[at];
}

/* ---- what is known --------------------------------------------------------------------------- */

static void
forget(struct known *k)
{
    free(k->value);
    *k = (struct known){0};
}

static void
settle_time(struct model *m)
{
    if (m->flush_at && m->flush_at <= script_now) {
        for (unsigned i = 0; i < KEYS; i++)
            forget(&m->known[i]);
        m->flush_at = 0;
    }
    for (unsigned i = 0; i < KEYS; i++)
        if (m->known[i].present && m->known[i].expiry && m->known[i].expiry <= script_now)
            forget(&m->known[i]);
}

static size_t
random_len(struct model *m)
{
    uint64_t r = kit_random(&m->random);
    switch (r % 8) {
    case 0: return r >> 8 & 1 ? 0 : (r >> 16) % 8;
    case 1: return (r >> 16) % (m->plan->len_max + 1);
    case 2: return (r >> 16) % 5000;
    default: return (r >> 16) % 600;
    }
}

static uint32_t
random_expiry(struct model *m)
{
    uint64_t r = kit_random(&m->random);
    return r % 4 ? STORE_EXPIRY_NEVER : script_now + (uint32_t)(r >> 8) % 20;
}

static void
remember(struct known *k, const char *a, size_t a_len, const char *b, size_t b_len)
{
    char *joined = malloc(a_len + b_len + 1);
    assert_non_null(joined);
    memcpy(joined, a, a_len);
    memcpy(joined + a_len, b, b_len);
    free(k->value);
    k->value = joined;
    k->len = a_len + b_len;
    k->present = true;
}

/* Numbers beyond those that the store gives are not followed. */
#define CAS_FOLLOWED_END (1ull << 52)

/* One that a client might choose: near others, extreme, or 0. */
static uint64_t
random_cas(struct model *m, const struct known *k)
{
    uint64_t r = kit_random(&m->random);
    switch (r % 6) {
    case 0: return 0;
    case 1: return k->cas + 1;
    case 2: return UINT64_MAX - (r >> 8) % 3;
    case 3: return CAS_FOLLOWED_END - 2 + (r >> 8) % 4;
    default: return r >> 8;
    }
}

/* The number of a new value: what was chosen, or one that grows as long as the entry lives. */
static void
check_cas(const struct model *m, const struct known *k, const uint64_t *chosen, uint64_t cas)
{
    if (!m->plan->cas)
        assert_true(cas == 0);
    else if (chosen)
        assert_true(cas == *chosen);
    else if (k->present)
        assert_true(k->cas < CAS_FOLLOWED_END ? cas > k->cas : cas != k->cas);
}

static void
check_marks(const struct known *k, uint8_t marks)
{
    assert_true(k->stale == !!(marks & STORE_MARK_STALE));
    assert_true(k->token == !!(marks & STORE_MARK_TOKEN));
    assert_true(k->binary == !!(marks & STORE_MARK_KEY_BINARY));
}

static enum store_outcome
expected_put(const struct known *k, enum store_mode mode, bool cas_right)
{
    switch (mode) {
    case STORE_SET: return STORE_OK;
    case STORE_ADD: return k->present ? STORE_NOT_STORED : STORE_OK;
    case STORE_REPLACE:
    case STORE_APPEND:
    case STORE_PREPEND: return k->present ? STORE_OK : STORE_NOT_STORED;
    case STORE_CAS: return !k->present ? STORE_MISS : cas_right ? STORE_OK : STORE_EXISTS;
    }
    return STORE_OK;
}

/* The model's value may have been evicted: the outcome for an absent key is right too, then. */
static bool
outcome_fits(struct model *m, struct known *k, enum store_mode mode, bool cas_right,
             enum store_outcome got)
{
    if (got == expected_put(k, mode, cas_right))
        return true;
    if (m->plan->lossless || !k->present)
        return false;
    forget(k);
    return got == expected_put(k, mode, cas_right);
}

/* No room is an answer only where nothing may be evicted, or where the limit was lowered. */
static bool
refused(struct model *m, enum store_outcome got)
{
    if (got != STORE_NO_MEMORY)
        return false;
    assert_true(!m->plan->evict || m->plan->limits);
    m->refused++;
    return true;
}

/* Was it created by this append, because what was there had been evicted?  Its length tells. */
static bool
was_vivified(struct model *m, unsigned number, size_t len)
{
    char text[KIT_KEY_CHARS];
    const struct known *k = &m->known[number];
    struct store_view v;
    struct store_get_options look = {.no_bump = true};
    return k->len != 0 &&
           kit_get(m->t, model_key(m, text, number), &look, &v) == STORE_OK &&
           v.value_bytes == len;
}

static void
step_put(struct model *m, unsigned number, enum store_mode mode)
{
    char text[KIT_KEY_CHARS];
    struct known *k = &m->known[number];
    uint64_t r = kit_random(&m->random);
    bool cas_right = k->present && kit_random(&m->random) % 3 != 0;
    struct store_put put = {
        .mode = mode, .key = model_key(m, text, number), .value = {m->buf, random_len(m)},
        .client_flags = kit_random(&m->random) % 3 ? 0 : (uint32_t)kit_random(&m->random),
        .expiry = random_expiry(m), .cas_expected = cas_right ? k->cas : k->cas + 1,
        .has_cas_new = r % 8 == 0, .cas_new = random_cas(m, k), .key_binary = r >> 8 & 1,
        .invalidate = mode == STORE_CAS && r >> 9 & 1, .vivify = r >> 10 & 1,
    };
    if (put.invalidate && r >> 11 & 1)
        put.cas_expected = k->cas / 2;
    bool join = mode == STORE_APPEND || mode == STORE_PREPEND;
    put.compare = join && m->plan->cas && (r >> 12 & 3) == 0;
    if (join && k->present && k->len + put.value.len > m->plan->joined_max)
        return;
    if (k->present && k->len == 0 && !m->plan->lossless)
        put.vivify = false;            /* lest nobody can tell which of the two it was */
    kit_fill(m->buf, ++m->stamp, put.value.len);
    uint64_t cas = 0, old_cas = k->cas;
    bool overtaken = put.invalidate && put.cas_expected < old_cas;
    cas_right = put.cas_expected != 0 && (put.cas_expected == old_cas || overtaken);
    enum store_outcome got = kit_put(m->s, m->t, &put, &cas, &m->wait);
    settle_time(m);
    if (refused(m, got))
        return;
    if (join && k->present && put.compare && !cas_right) {
        if (got == STORE_EXISTS)
            return;
        assert_false(m->plan->lossless);    /* it was evicted: as for an absent one */
        forget(k);
    }
    if (join && put.vivify && got == STORE_OK && !k->present)
        mode = STORE_SET;              /* and from here on it is one */
    else if (join && put.vivify && got == STORE_OK && !m->plan->lossless &&
             was_vivified(m, number, put.value.len)) {
        forget(k);
        mode = STORE_SET;
    }
    join = mode == STORE_APPEND || mode == STORE_PREPEND;
    assert_true(outcome_fits(m, k, mode, cas_right, got));
    if (got != STORE_OK)
        return;
    check_cas(m, k, put.has_cas_new ? &put.cas_new : NULL, cas);
    k->stale = overtaken;
    k->token &= overtaken;
    k->binary = put.key_binary || (join && k->binary);
    if (join) {
        bool append = mode == STORE_APPEND;
        char *old = k->value;
        size_t old_len = k->len;
        k->value = NULL;
        remember(k, append ? old : m->buf, append ? old_len : put.value.len,
                 append ? m->buf : old, append ? put.value.len : old_len);
        free(old);
    } else {
        remember(k, m->buf, put.value.len, "", 0);
        k->flags = put.client_flags;
        k->expiry = overtaken ? k->expiry : put.expiry;
    }
    k->cas = cas;
    settle_time(m);
}

static enum store_outcome
get_until_room(struct model *m, unsigned number, const struct store_get_options *options,
               struct store_view *v)
{
    char text[KIT_KEY_CHARS];
    struct store_key key = model_key(m, text, number);
    enum store_outcome got;
    for (unsigned tries = 0; (got = kit_get(m->t, key, options, v)) == STORE_AGAIN; tries++) {
        assert_true(tries < 10000);
        wait_for_room(m);
    }
    return got;
}

/* Does whoever asks so for this entry win the token? */
static bool
expected_win(const struct known *k, const struct store_get_options *o)
{
    uint32_t expiry = o->has_expiry && o->expiry_first ? o->expiry : k->expiry;
    return !k->token && ((o->lease && k->stale) ||
                         (o->recache && expiry && expiry < o->recache_below));
}

static struct store_get_options
random_options(struct model *m, const struct known *k)
{
    uint64_t r = kit_random(&m->random);
    return (struct store_get_options){
        .lease = r & 1, .no_bump = r >> 1 & 1, .has_expiry = (r >> 2 & 3) == 0,
        .expiry_first = r >> 4 & 1, .recache = r >> 5 & 1, .vivify = r >> 6 & 1,
        .has_cas_new = r >> 7 & 1, .expiry = random_expiry(m), .vivify_expiry = random_expiry(m),
        .recache_below = script_now + (uint32_t)(r >> 8) % 20, .cas_new = random_cas(m, k),
    };
}

/* Vivified: it was absent, or has been evicted. */
static void
check_vivified(struct model *m, struct known *k, const struct store_get_options *o,
               const struct store_view *v)
{
    assert_true(o->vivify && v->won && !v->serial && v->value_bytes == 0 && v->client_flags == 0);
    assert_true(v->expiry == STORE_EXPIRY_NEVER && v->marks == 0);
    assert_false(m->plan->lossless && k->present);
    forget(k);
    check_cas(m, k, o->has_cas_new ? &o->cas_new : NULL, v->cas);
    remember(k, "", 0, "", 0);
    k->expiry = o->vivify_expiry;
    k->cas = v->cas;
    k->token = true;
}

static void
step_lease(struct model *m, unsigned number)
{
    struct known *k = &m->known[number];
    struct store_get_options o = random_options(m, k);
    struct store_view v;
    enum store_outcome got = get_until_room(m, number, &o, &v);
    settle_time(m);
    if (o.vivify && refused(m, got))
        got = STORE_MISS;
    if (got == STORE_MISS) {
        assert_false(m->plan->lossless && (k->present || (o.vivify && m->plan->evict)));
        forget(k);
    } else if (v.vivified) {
        check_vivified(m, k, &o, &v);
    } else {
        assert_true(k->present && v.value_bytes == k->len && v.expiry == k->expiry);
        check_marks(k, v.marks);
        assert_true(v.won == expected_win(k, &o));
        k->token |= v.won;
        if (o.has_expiry)
            k->expiry = o.expiry;
    }
    settle_time(m);
}

static void
step_invalidate(struct model *m, unsigned number)
{
    char text[KIT_KEY_CHARS];
    struct known *k = &m->known[number];
    uint64_t r = kit_random(&m->random);
    struct store_invalidate how = {
        .key = model_key(m, text, number), .stale = r % 3 != 0, .empty = r % 3 != 1,
        .compare = (r >> 8 & 3) == 0, .has_expiry = r >> 10 & 1, .has_cas_new = (r >> 11 & 3) == 0,
        .expiry = random_expiry(m), .client_flags = r >> 13 & 1 ? (uint32_t)(r >> 32) : 0,
        .cas_expected = r >> 14 & 1 ? k->cas : random_cas(m, k), .cas_new = random_cas(m, k),
    };
    enum store_outcome got;
    while ((got = store_invalidate(m->t, &how)) == STORE_AGAIN)
        wait_for_room(m);
    settle_time(m);
    if (how.empty && refused(m, got))
        return;
    if (got == STORE_MISS) {
        assert_false(m->plan->lossless && k->present);
        forget(k);
        return;
    }
    assert_true(k->present);
    assert_int_equal(got, how.compare && how.cas_expected != k->cas ? STORE_EXISTS : STORE_OK);
    if (got != STORE_OK)
        return;
    struct store_view v;
    struct store_get_options look = {.no_bump = true};
    uint32_t expiry = how.has_expiry ? how.expiry : how.empty ? STORE_EXPIRY_NEVER : k->expiry;
    if (expiry != STORE_EXPIRY_NEVER && expiry <= store_now(m->t)) {
        forget(k);
        return;
    }
    assert_int_equal(kit_get(m->t, how.key, &look, &v), STORE_OK);
    if (how.has_cas_new || how.stale)
        check_cas(m, k, how.has_cas_new ? &how.cas_new : NULL, v.cas);
    else
        assert_true(v.cas == k->cas);
    if (how.empty) {
        bool binary = k->binary;
        forget(k);
        remember(k, "", 0, "", 0);
        k->flags = how.client_flags;
        k->binary = binary;
    }
    k->cas = v.cas;
    k->expiry = expiry;
    k->stale = how.stale;
    k->token = false;
}

static void
step_get(struct model *m, unsigned number, bool touch)
{
    char text[KIT_KEY_CHARS];
    struct known *k = &m->known[number];
    struct store_view v;
    uint32_t expiry = random_expiry(m);
    struct store_get_options options = {.has_expiry = true, .expiry = expiry};
    char *whole = m->buf;
    enum store_outcome got =
        kit_get(m->t, model_key(m, text, number), touch ? &options : NULL, &v);
    if (got == STORE_MISS || !(v.value_bytes <= 4 * MIB && kit_read(m->t, &v, whole))) {
        if (got == STORE_OK)           /* a piece was evicted */
            store_drop_broken(m->t, model_key(m, text, number), v.serial);
        assert_false(m->plan->lossless && k->present);
        forget(k);
        return;
    }
    assert_true(k->present);
    assert_int_equal(v.value_bytes, k->len);
    assert_memory_equal(whole, k->value, k->len);
    assert_int_equal(v.client_flags, k->flags);
    assert_int_equal(v.expiry, k->expiry);
    if (m->plan->cas)
        assert_int_equal(v.cas, k->cas);
    check_marks(k, v.marks);
    if (touch)
        k->expiry = expiry;
    settle_time(m);
}

static void
step_delete(struct model *m, unsigned number)
{
    char text[KIT_KEY_CHARS];
    struct known *k = &m->known[number];
    struct store_key key = model_key(m, text, number);
    uint64_t r = kit_random(&m->random), cas = r & 1 ? k->cas : random_cas(m, k);
    bool compare = r >> 1 & 1;
    enum store_outcome got = compare ? store_delete_cas(m->t, key, cas) : store_delete(m->t, key);
    if (got != STORE_MISS)
        assert_true(k->present && (got == STORE_EXISTS) == (compare && cas != k->cas));
    if (got == STORE_EXISTS)
        return;
    if (got == STORE_MISS)
        assert_false(m->plan->lossless && k->present);
    forget(k);
}

static void
step_arith(struct model *m, unsigned number)
{
    char text[KIT_KEY_CHARS];
    struct known *k = &m->known[number];
    uint64_t was = 0, now = 0, delta = kit_random(&m->random) % 2 ? kit_random(&m->random) : 7;
    bool numeric = k->present && k->len <= store_inline_bytes_max(m->s) &&
                   num_scan_u64((struct slice){k->value, k->len}, &was);
    uint64_t r = kit_random(&m->random);
    struct store_arith how = {
        .key = model_key(m, text, number), .delta = delta, .compare = (r & 7) == 0,
        .has_cas_new = (r >> 3 & 7) == 0, .has_expiry = (r >> 6 & 3) == 0, .vivify = r >> 8 & 1,
        .expiry = STORE_EXPIRY_NEVER, .vivify_expiry = script_now + 5, .initial = r,
        .cas_expected = r >> 9 & 1 ? k->cas : random_cas(m, k), .cas_new = random_cas(m, k),
    };
    struct store_number n;
    enum store_outcome got;
    while ((got = store_arith(m->t, &how, &n)) == STORE_AGAIN)
        wait_for_room(m);
    if (refused(m, got))
        return;
    if (got == STORE_MISS) {
        assert_false(m->plan->lossless && k->present);
        forget(k);
        return;
    }
    if (got == STORE_OK && n.vivified) {
        assert_true(how.vivify && n.number == r && n.expiry == STORE_EXPIRY_NEVER);
        assert_false(m->plan->lossless && k->present);
        forget(k);
        check_cas(m, k, how.has_cas_new ? &how.cas_new : NULL, n.cas);
        size_t digits = (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)r);
        remember(k, text, digits, "", 0);
        k->cas = n.cas;
        k->expiry = how.vivify_expiry;
        return;
    }
    assert_true(k->present);
    assert_int_equal(got, how.compare && how.cas_expected != k->cas ? STORE_EXISTS
                          : numeric                                 ? STORE_OK
                                                                    : STORE_NON_NUMERIC);
    if (got != STORE_OK)
        return;
    now = n.number;
    assert_true(now == was + delta && n.expiry == k->expiry);
    if (how.has_expiry)
        k->expiry = how.expiry;
    struct store_view v;
    if (kit_get(m->t, model_key(m, text, number), NULL, &v) != STORE_OK)
        fail_msg("gone right after incr");
    size_t len = (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)now);
    assert_int_equal(v.value_bytes, len > k->len ? len : k->len);
    assert_memory_equal(v.value, text, len);
    for (size_t i = len; i < v.value_bytes; i++)
        assert_int_equal(v.value[i], ' ');
    assert_true(v.cas == n.cas && v.expiry == k->expiry);
    check_cas(m, k, how.has_cas_new ? &how.cas_new : NULL, v.cas);
    if (len > k->len)
        k->stale = k->token = false;   /* there is a new entry */
    check_marks(k, v.marks);
    remember(k, v.value, v.value_bytes, "", 0);
    k->cas = v.cas;
}

static void
step_number(struct model *m, unsigned number)
{
    char text[KIT_KEY_CHARS], digits[32];
    struct known *k = &m->known[number];
    int n = snprintf(digits, sizeof digits, "%llu",
                     (unsigned long long)(kit_random(&m->random) >> kit_random(&m->random) % 64));
    struct store_put put = {.mode = STORE_SET, .key = model_key(m, text, number),
                            .value = {digits, (size_t)n}};
    uint64_t cas = 0;
    enum store_outcome got = kit_put(m->s, m->t, &put, &cas, &m->wait);
    if (refused(m, got))
        return;
    assert_int_equal(got, STORE_OK);
    forget(k);
    remember(k, digits, (size_t)n, "", 0);
    k->cas = cas;
}

#endif
