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

struct known {
    bool present;
    char *value;
    size_t len;
    uint32_t flags, expiry;
    uint64_t cas;
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
};

struct model {
    const struct model_plan *plan;
    struct store *s;
    struct store_thread **threads;
    bool *inside;
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

/* Sections of others may stay open over many turns: memory is then not reused, nothing else. */
static void
next_turn(struct model *m)
{
    uint64_t r = kit_random(&m->random);
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

static void
step_put(struct model *m, unsigned number, enum store_mode mode)
{
    char text[KIT_KEY_CHARS];
    struct known *k = &m->known[number];
    bool cas_right = k->present && kit_random(&m->random) % 3 != 0;
    struct store_put put = {
        .mode = mode, .key = kit_key(m->s, text, number), .value = {m->buf, random_len(m)},
        .client_flags = kit_random(&m->random) % 3 ? 0 : (uint32_t)kit_random(&m->random),
        .expiry = random_expiry(m), .cas_expected = cas_right ? k->cas : k->cas + 1,
    };
    bool join = mode == STORE_APPEND || mode == STORE_PREPEND;
    if (join && k->present && k->len + put.value.len > m->plan->joined_max)
        return;
    kit_fill(m->buf, ++m->stamp, put.value.len);
    uint64_t cas = 0, old_cas = k->present ? k->cas : 0;
    enum store_outcome got = kit_put(m->s, m->t, &put, &cas, &m->wait);
    settle_time(m);
    if (refused(m, got))
        return;
    assert_true(outcome_fits(m, k, mode, cas_right, got));
    if (got != STORE_OK)
        return;
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
        k->expiry = put.expiry;
    }
    if (m->plan->cas)
        assert_true(cas > old_cas);
    k->cas = cas;
    settle_time(m);
}

static void
step_get(struct model *m, unsigned number, bool touch)
{
    char text[KIT_KEY_CHARS];
    struct known *k = &m->known[number];
    struct store_view v;
    uint32_t expiry = random_expiry(m);
    char *whole = m->buf;
    enum store_outcome got =
        store_get(m->t, kit_key(m->s, text, number), touch ? &expiry : NULL, &v);
    if (got == STORE_MISS || !(v.value_bytes <= 4 * MIB && kit_read(m->t, &v, whole))) {
        if (got == STORE_OK)           /* a piece was evicted */
            store_drop_broken(m->t, kit_key(m->s, text, number), v.serial);
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
    if (touch)
        k->expiry = expiry;
    settle_time(m);
}

static void
step_delete(struct model *m, unsigned number)
{
    char text[KIT_KEY_CHARS];
    struct known *k = &m->known[number];
    enum store_outcome got = store_delete(m->t, kit_key(m->s, text, number));
    if (got == STORE_OK)
        assert_true(k->present);
    else
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
    enum store_outcome got = kit_arith(m->t, kit_key(m->s, text, number), false, delta, &now,
                                       &m->wait);
    if (refused(m, got))
        return;
    if (got == STORE_MISS) {
        assert_false(m->plan->lossless && k->present);
        forget(k);
        return;
    }
    assert_true(k->present);
    assert_int_equal(got, numeric ? STORE_OK : STORE_NON_NUMERIC);
    if (got != STORE_OK)
        return;
    assert_true(now == was + delta);
    struct store_view v;
    if (store_get(m->t, kit_key(m->s, text, number), NULL, &v) != STORE_OK)
        fail_msg("gone right after incr");
    size_t len = (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)now);
    assert_int_equal(v.value_bytes, len > k->len ? len : k->len);
    assert_memory_equal(v.value, text, len);
    for (size_t i = len; i < v.value_bytes; i++)
        assert_int_equal(v.value[i], ' ');
    remember(k, v.value, v.value_bytes, "", 0);
    if (m->plan->cas)
        assert_true(v.cas > k->cas);
    k->cas = v.cas;
}

static void
step_number(struct model *m, unsigned number)
{
    char text[KIT_KEY_CHARS], digits[32];
    struct known *k = &m->known[number];
    int n = snprintf(digits, sizeof digits, "%llu",
                     (unsigned long long)(kit_random(&m->random) >> kit_random(&m->random) % 64));
    struct store_put put = {.mode = STORE_SET, .key = kit_key(m->s, text, number),
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
