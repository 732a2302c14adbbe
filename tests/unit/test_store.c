/*
 * test_store.c -- the store against a model too simple to be wrong: an array of what was stored last.
 *
 * Goal: a hit is always the last value, whole, with its flags, CAS and length; what was deleted,
 * expired or flushed is never seen again; every entry that goes is counted once; nothing outgrows
 * the limit.  A miss is always allowed where the model has a value: it is a cache; how many there
 * are is checked where nothing can have been evicted.
 *
 * Method: seeded random operations under a scripted clock; store_verify() after every few.  The seed is
 * printed; LARDER_SEED repeats a run.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "store/store.h"

#define MIB ((size_t)1 << 20)

/* ---- randomness, clock, values ---------------------------------------------------------------- */

static uint64_t seed;
static uint32_t script_now = 100;

static uint64_t
rnd(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint32_t
script_clock(void *ctx)
{
    (void)ctx;
    return script_now;
}

/* Byte i of a value made from a stamp: any cut, swap or stale part shows. */
static char
value_byte(uint64_t stamp, size_t i)
{
    uint64_t x = stamp * 0x9e3779b97f4a7c15u + i / 7;
    return (char)('!' + (x >> 23) % 90);
}

static void
value_fill(char *at, uint64_t stamp, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at[i] = value_byte(stamp, i);
}

static struct store *
make_store(size_t memory, bool evict, bool cas)
{
    struct store_config c = {
        .memory_bytes = memory, .value_bytes_max = 4 * MIB, .threads_max = 8,
        .cas_enabled = cas, .evict = evict, .hash_seed = 12345, .clock = script_clock,
    };
    struct store *s = NULL;
    assert_int_equal(store_create(&c, &s), 0);
    return s;
}

static void
assert_whole(struct store *s)
{
    const char *wrong = store_verify(s);
    if (wrong)
        fail_msg("%s (LARDER_SEED=%llu)", wrong, (unsigned long long)seed);
}

/* ---- operations that wait where a worker would park ------------------------------------------- */

static struct store_key
key_for(struct store *s, char *text, unsigned number)
{
    int n = snprintf(text, 32, "key-%u", number);
    struct slice slice = {text, (size_t)n};
    return (struct store_key){slice, store_hash(s, slice)};
}

static void
give_time(struct store_thread *t)
{
    store_leave(t);
    store_maintain(t, STORE_MAINTAIN_BUDGET);
    store_enter(t);
}

static enum store_outcome
upload_value(struct store_thread *t, struct slice value, struct store_upload **out)
{
    enum store_outcome outcome;
    struct store_upload *u;
    while ((outcome = store_upload_open(t, value.len, &u)) == STORE_AGAIN)
        give_time(t);
    while (outcome == STORE_OK && value.len) {
        char *at;
        size_t room;
        outcome = store_upload_room(t, u, &at, &room);
        if (outcome == STORE_AGAIN) {
            give_time(t);
            outcome = STORE_OK;
            continue;
        }
        if (outcome != STORE_OK) {
            store_upload_abort(t, u);
            break;
        }
        size_t n = room < value.len ? room : value.len;
        if (n > 5000)                  /* arrives in bits */
            n = 5000;
        memcpy(at, value.at, n);
        store_upload_filled(t, u, n);
        value.at += n;
        value.len -= n;
    }
    *out = u;
    return outcome;
}

static enum store_outcome
put_value(struct store *s, struct store_thread *t, struct store_put *put, uint64_t *cas)
{
    if (put->value.len > store_inline_bytes_max(s)) {
        enum store_outcome outcome = upload_value(t, put->value, &put->upload);
        if (outcome != STORE_OK)
            return outcome;
    }
    enum store_outcome outcome;
    for (unsigned tries = 0; (outcome = store_put(t, put, cas)) == STORE_AGAIN; tries++) {
        assert_true(tries < 100000);
        give_time(t);
    }
    return outcome;
}

/* The bytes of a view, copied out; false: a part is gone. */
static bool
read_view(struct store_thread *t, const struct store_view *v, char *to)
{
    if (v->value) {
        memcpy(to, v->value, v->value_bytes);
        return true;
    }
    for (uint64_t at = 0, n; at < v->value_bytes; at += n) {
        struct iovec spans[5];
        unsigned count = store_spans(t, v->serial, v->value_bytes, at, 100000, spans, 5, &n);
        if (!count)
            return false;
        for (unsigned i = 0; i < count; i++) {
            memcpy(to, spans[i].iov_base, spans[i].iov_len);
            to += spans[i].iov_len;
        }
    }
    return true;
}

/* ---- the model ---------------------------------------------------------------------------------- */

#define KEYS 600u

struct known {
    bool present;
    char *value;
    size_t len;
    uint32_t flags, expiry;
    uint64_t cas;
};

struct model {
    struct store *s;
    struct store_thread *t;
    uint64_t random, stamp;
    size_t len_max;
    bool cas, lossless;
    struct known known[KEYS];
    char *buf;
    uint32_t flush_at;
};

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
    uint64_t r = rnd(&m->random);
    switch (r % 8) {
    case 0: return r >> 8 & 1 ? 0 : (r >> 16) % 8;
    case 1: return (r >> 16) % (m->len_max + 1);
    case 2: return (r >> 16) % 5000;
    default: return (r >> 16) % 600;
    }
}

static uint32_t
random_expiry(struct model *m)
{
    uint64_t r = rnd(&m->random);
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
    if (m->lossless || !k->present)
        return false;
    forget(k);
    return got == expected_put(k, mode, cas_right);
}

static void
step_put(struct model *m, unsigned number, enum store_mode mode)
{
    char text[32];
    struct known *k = &m->known[number];
    bool cas_right = k->present && rnd(&m->random) % 3 != 0;
    struct store_put put = {
        .mode = mode, .key = key_for(m->s, text, number), .value = {m->buf, random_len(m)},
        .client_flags = rnd(&m->random) % 3 ? 0 : (uint32_t)rnd(&m->random),
        .expiry = random_expiry(m), .cas_expected = cas_right ? k->cas : k->cas + 1,
    };
    bool join = mode == STORE_APPEND || mode == STORE_PREPEND;
    if (join && k->present && k->len + put.value.len > 2 * MIB)
        return;
    value_fill(m->buf, ++m->stamp, put.value.len);
    uint64_t cas = 0, old_cas = k->present ? k->cas : 0;
    enum store_outcome got = put_value(m->s, m->t, &put, &cas);
    settle_time(m);
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
    if (m->cas)
        assert_true(cas > old_cas);
    k->cas = cas;
    settle_time(m);
}

static void
step_get(struct model *m, unsigned number, bool touch)
{
    char text[32];
    struct known *k = &m->known[number];
    struct store_view v;
    uint32_t expiry = random_expiry(m);
    char *whole = m->buf;
    enum store_outcome got =
        store_get(m->t, key_for(m->s, text, number), touch ? &expiry : NULL, &v);
    if (got == STORE_MISS || !(v.value_bytes <= 4 * MIB && read_view(m->t, &v, whole))) {
        if (got == STORE_OK)           /* a piece was evicted */
            store_drop_broken(m->t, key_for(m->s, text, number), v.serial);
        assert_false(m->lossless && k->present);
        forget(k);
        return;
    }
    assert_true(k->present);
    assert_int_equal(v.value_bytes, k->len);
    assert_memory_equal(whole, k->value, k->len);
    assert_int_equal(v.client_flags, k->flags);
    assert_int_equal(v.expiry, k->expiry);
    if (m->cas)
        assert_int_equal(v.cas, k->cas);
    if (touch)
        k->expiry = expiry;
    settle_time(m);
}

static void
step_delete(struct model *m, unsigned number)
{
    char text[32];
    struct known *k = &m->known[number];
    enum store_outcome got = store_delete(m->t, key_for(m->s, text, number));
    if (got == STORE_OK)
        assert_true(k->present);
    else
        assert_false(m->lossless && k->present);
    forget(k);
}

static void
step_arith(struct model *m, unsigned number)
{
    char text[32];
    struct known *k = &m->known[number];
    uint64_t was = 0, now = 0, delta = rnd(&m->random) % 2 ? rnd(&m->random) : 7;
    bool numeric = k->present && k->len <= store_inline_bytes_max(m->s) &&
                   num_scan_u64((struct slice){k->value, k->len}, &was);
    enum store_outcome got;
    while ((got = store_arith(m->t, key_for(m->s, text, number), false, delta, &now)) ==
           STORE_AGAIN)
        give_time(m->t);
    if (got == STORE_MISS) {
        assert_false(m->lossless && k->present);
        forget(k);
        return;
    }
    assert_true(k->present);
    assert_int_equal(got, numeric ? STORE_OK : STORE_NON_NUMERIC);
    if (got != STORE_OK)
        return;
    assert_true(now == was + delta);
    struct store_view v;
    if (store_get(m->t, key_for(m->s, text, number), NULL, &v) != STORE_OK)
        fail_msg("gone right after incr");
    size_t len = (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)now);
    assert_int_equal(v.value_bytes, len > k->len ? len : k->len);
    assert_memory_equal(v.value, text, len);
    for (size_t i = len; i < v.value_bytes; i++)
        assert_int_equal(v.value[i], ' ');
    remember(k, v.value, v.value_bytes, "", 0);
    if (m->cas)
        assert_true(v.cas > k->cas);
    k->cas = v.cas;
}

static void
step_number(struct model *m, unsigned number)
{
    char text[32], digits[32];
    struct known *k = &m->known[number];
    int n = snprintf(digits, sizeof digits, "%llu",
                     (unsigned long long)(rnd(&m->random) >> rnd(&m->random) % 64));
    struct store_put put = {.mode = STORE_SET, .key = key_for(m->s, text, number),
                            .value = {digits, (size_t)n}};
    assert_int_equal(put_value(m->s, m->t, &put, &k->cas), STORE_OK);
    uint64_t cas = k->cas;
    forget(k);
    remember(k, digits, (size_t)n, "", 0);
    k->cas = cas;
}

static void
step(struct model *m)
{
    uint64_t r = rnd(&m->random);
    unsigned number = (unsigned)(r >> 32) % KEYS;
    settle_time(m);
    switch (r % 16) {
    case 0: case 1: case 2: step_put(m, number, STORE_SET); break;
    case 3: step_put(m, number, STORE_ADD); break;
    case 4: step_put(m, number, STORE_REPLACE); break;
    case 5: step_put(m, number, STORE_APPEND); break;
    case 6: step_put(m, number, STORE_PREPEND); break;
    case 7: step_put(m, number, m->cas ? STORE_CAS : STORE_SET); break;
    case 8: step_delete(m, number); break;
    case 9: step_arith(m, number); break;
    case 10: step_number(m, number); break;
    case 11: step_get(m, number, true); break;
    case 12:
        if (r >> 8 & 15)
            break;
        m->flush_at = script_now + (uint32_t)(r >> 16 & 3);
        store_flush(m->t, m->flush_at);
        break;
    default: step_get(m, number, false);
    }
    if (r >> 20 & 1)
        return;
    store_leave(m->t);
    script_now += (r >> 21 & 31) == 0;
    store_maintain(m->t, (unsigned)(r >> 24 & 127) + 1);
    store_enter(m->t);
}

static void
run_model(struct store *s, unsigned steps, size_t len_max, bool cas, bool lossless)
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    *m = (struct model){.s = s, .t = store_join(s), .random = seed, .len_max = len_max,
                        .cas = cas, .lossless = lossless, .buf = malloc(4 * MIB)};
    assert_non_null(m->t);
    assert_non_null(m->buf);
    store_enter(m->t);
    for (unsigned i = 0; i < steps; i++) {
        step(m);
        if (i % 500 == 0)
            assert_whole(s);
    }
    store_leave(m->t);
    assert_whole(s);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_true(n.memory_used_bytes <= n.memory_limit_bytes);
    assert_true(n.items_stored > 0 && n.items_replaced > 0 && n.items_deleted > 0);
    store_part(m->t);
    for (unsigned i = 0; i < KEYS; i++)
        forget(&m->known[i]);
    free(m->buf);
    free(m);
    store_destroy(s);
}

static void
model_small_values_nothing_lost(void **state)
{
    (void)state;
    run_model(make_store(64 * MIB, true, true), 60000, 2000, true, true);
}

static void
model_without_cas(void **state)
{
    (void)state;
    run_model(make_store(64 * MIB, true, false), 30000, 2000, false, true);
}

static void
model_large_values_evicting(void **state)
{
    (void)state;
    run_model(make_store(8 * MIB, true, true), 8000, 300000, true, false);
}

static void
model_values_of_megabytes(void **state)
{
    (void)state;
    run_model(make_store(16 * MIB, true, true), 1500, 3 * MIB / 2, true, false);
}

/* ---- single properties ------------------------------------------------------------------------ */

static struct store_thread *
joined(struct store *s)
{
    struct store_thread *t = store_join(s);
    assert_non_null(t);
    store_enter(t);
    return t;
}

static void
parted(struct store *s, struct store_thread *t)
{
    store_leave(t);
    assert_whole(s);
    store_part(t);
    store_destroy(s);
}

static enum store_outcome
put_sized(struct store *s, struct store_thread *t, unsigned number, size_t len)
{
    static char buf[64 << 10];
    char text[32];
    struct store_put put = {.mode = STORE_SET, .key = key_for(s, text, number),
                            .value = {buf, len}};
    return put_value(s, t, &put, NULL);
}

/* A million entries: the index grows from 256 groups, nothing is lost on the way, the limit holds. */
static void
index_grows_and_loses_nothing(void **state)
{
    (void)state;
    struct store *s = make_store(256 * MIB, true, true);
    struct store_thread *t = joined(s);
    unsigned count = 1000000;
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(put_sized(s, t, i, 16), STORE_OK);
    struct store_view v;
    char text[32];
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(store_get(t, key_for(s, text, i), NULL, &v), STORE_OK);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_int_equal(n.items_present, count);
    assert_int_equal(n.items_evicted, 0);
    assert_true(n.index_groups * 32 < (uint64_t)count * 2);
    assert_true(n.index_bytes < (uint64_t)count * 13);
    parted(s, t);
}

/* Twenty times what fits: every set is stored, the limit holds at every moment. */
static void
eviction_keeps_the_limit(void **state)
{
    (void)state;
    struct store *s = make_store(8 * MIB, true, true);
    struct store_thread *t = joined(s);
    for (unsigned i = 0; i < 400000; i++) {
        assert_int_equal(put_sized(s, t, i, 400), STORE_OK);
        if (i % 64)
            continue;
        give_time(t);
        struct store_stats n;
        store_stats_read(s, &n);
        assert_true(n.memory_used_bytes <= n.memory_limit_bytes);
    }
    struct store_stats n;
    store_stats_read(s, &n);
    assert_true(n.items_evicted > 0);
    assert_true(n.bytes_present > 5 * MIB);
    parted(s, t);
}

/* Overwriting a few keys for long does not push out the others. */
static void
overwrites_leave_the_others_alone(void **state)
{
    (void)state;
    struct store *s = make_store(8 * MIB, true, true);
    struct store_thread *t = joined(s);
    unsigned kept = 1500;
    for (unsigned i = 0; i < kept * 100; i++) {
        size_t len = i % 100 == 0 ? 1000 : 900 + i % 7 * 8;
        assert_int_equal(put_sized(s, t, i % 100 == 0 ? i : 1 + i % 50, len), STORE_OK);
        if (i % 32 == 0)
            give_time(t);
    }
    char text[32];
    struct store_view v;
    for (unsigned i = 0; i < kept; i++)
        assert_int_equal(store_get(t, key_for(s, text, i * 100), NULL, &v), STORE_OK);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_int_equal(n.items_evicted, 0);
    parted(s, t);
}

/* -M: sets fail when full, and succeed again after deletes, however scattered. */
static void
without_eviction_deletes_make_room(void **state)
{
    (void)state;
    struct store *s = make_store(8 * MIB, false, true);
    struct store_thread *t = joined(s);
    unsigned full = 0;
    while (put_sized(s, t, full, 1000) == STORE_OK)
        full++;
    assert_true(full > 5000);
    char text[32];
    struct store_view v;
    for (unsigned i = 0; i < full; i++)
        assert_int_equal(store_get(t, key_for(s, text, i), NULL, &v), STORE_OK);
    for (unsigned i = 0; i < full; i += 2)
        assert_int_equal(store_delete(t, key_for(s, text, i)), STORE_OK);
    unsigned more = 0;
    while (more < full && put_sized(s, t, 1000000 + more, 1000) == STORE_OK)
        more++;
    assert_true(more > full / 4);
    for (unsigned i = 1; i < full; i += 2)
        assert_int_equal(store_get(t, key_for(s, text, i), NULL, &v), STORE_OK);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_int_equal(n.items_evicted, 0);
    parted(s, t);
}

/* -M: expired entries make room too, though nobody asks for them. */
static void
without_eviction_expiry_makes_room(void **state)
{
    (void)state;
    struct store *s = make_store(8 * MIB, false, true);
    struct store_thread *t = joined(s);
    char text[32], value[1000] = "";
    unsigned full = 0;
    enum store_outcome outcome;
    do {
        struct store_put put = {.mode = STORE_SET, .key = key_for(s, text, full),
                                .value = {value, sizeof value}, .expiry = script_now + 10};
        outcome = put_value(s, t, &put, NULL);
        full++;
    } while (outcome == STORE_OK);
    script_now += 11;
    give_time(t);
    store_delete(t, key_for(s, text, 0));
    unsigned more = 0;
    while (more < full / 2 && put_sized(s, t, 1000000 + more, 1000) == STORE_OK)
        more++;
    assert_int_equal(more, full / 2);
    parted(s, t);
}

/* The limit goes down and up at run time; memory follows, what is left is right. */
static void
limit_is_lowered_and_raised(void **state)
{
    (void)state;
    struct store *s = make_store(64 * MIB, true, true);
    struct store_thread *t = joined(s);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(put_sized(s, t, i, 400), STORE_OK);
    assert_true(store_limit_set(s, 16 * MIB));
    for (unsigned i = 0; i < 100000 && store_maintain_due(s); i++)
        give_time(t);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_true(n.memory_used_bytes <= 16 * MIB);
    assert_true(n.items_present > 10000);
    assert_true(store_limit_set(s, 64 * MIB));
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(put_sized(s, t, i, 400), STORE_OK);
    store_stats_read(s, &n);
    assert_true(n.bytes_present > 40 * MIB);
    assert_false(store_limit_set(s, (size_t)1 << 50));
    assert_false(store_limit_set(s, MIB));
    parted(s, t);
}

/* What an overwritten large value leaves empty is used again before fresh memory is touched. */
static void
emptied_segments_are_reused_first(void **state)
{
    (void)state;
    struct store *s = make_store(64 * MIB, true, true);
    struct store_thread *t = joined(s);
    char *value = calloc(1, MIB), text[32];
    assert_non_null(value);
    for (unsigned i = 0; i < 400; i++) {
        struct store_put put = {.mode = STORE_SET, .key = key_for(s, text, i % 3),
                                .value = {value, MIB}};
        assert_int_equal(put_value(s, t, &put, NULL), STORE_OK);
        give_time(t);
    }
    free(value);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_int_equal(n.items_evicted, 0);
    assert_true(n.memory_used_bytes < 12 * MIB);
    parted(s, t);
}

/* An upload that is dropped leaves nothing behind, and its memory comes back. */
static void
dropped_uploads_leave_nothing(void **state)
{
    (void)state;
    struct store *s = make_store(16 * MIB, true, true);
    struct store_thread *t = joined(s);
    for (unsigned i = 0; i < 200; i++) {
        struct store_upload *u;
        assert_int_equal(store_upload_open(t, 2 * MIB, &u), STORE_OK);
        char *at;
        size_t room;
        for (unsigned k = 0; k < i; k++) {
            while (store_upload_room(t, u, &at, &room) == STORE_AGAIN)
                give_time(t);
            if (room > 1)
                store_upload_filled(t, u, room / 2 + 1);
        }
        store_upload_abort(t, u);
        give_time(t);
    }
    struct store_stats n;
    store_stats_read(s, &n);
    assert_int_equal(n.items_stored, 0);
    assert_int_equal(n.borrowed_bytes, 0);
    assert_int_equal(n.segments_lent, 0);
    parted(s, t);
}

/* ---- many threads ----------------------------------------------------------------------------- */

struct racer {
    struct store *s;
    unsigned number;
    uint64_t random;
    pthread_t thread;
    const char *wrong;
};

#define RACE_KEYS 10000u
#define RACE_OWN 5000u
#define RACE_STEPS 60000u

/* Own keys are written by one thread only: it must always see its last version.  Shared ones are
 * written by all: whatever is seen must be one whole value. */
static void
race_step(struct racer *r, struct store_thread *t, uint64_t *last)
{
    uint64_t x = rnd(&r->random);
    bool own = x & 1;
    unsigned key = own ? RACE_KEYS * (r->number + 1) + (unsigned)(x >> 8) % RACE_OWN
                       : (unsigned)(x >> 8) % 64;
    unsigned slot = (unsigned)(x >> 8) % RACE_OWN;
    char text[32], value[3000];
    struct store_key k = key_for(r->s, text, key);
    if (x >> 40 & 1) {
        uint64_t stamp = (uint64_t)r->number << 40 | (x >> 20 & 0xfffff) | 1;
        size_t len = 8 + (x >> 33) % (x & 2 ? 2900 : 100);
        value_fill(value, stamp, len);
        memcpy(value, &stamp, 8);
        struct store_put put = {.mode = STORE_SET, .key = k, .value = {value, len}};
        if (store_put(t, &put, NULL) == STORE_OK && own)
            last[slot] = stamp;
        return;
    }
    if ((x >> 41 & 15) == 0) {
        store_delete(t, k);
        if (own)
            last[slot] = 0;
        return;
    }
    struct store_view v;
    if (store_get(t, k, NULL, &v) != STORE_OK)
        return;
    uint64_t stamp;
    memcpy(&stamp, v.value, 8);
    if (own && stamp != last[slot])
        r->wrong = "a thread did not see what it stored last";
    for (size_t i = 8; i < v.value_bytes; i++)
        if (v.value[i] != value_byte(stamp, i))
            r->wrong = "a value was mixed from two";
}

static void *
race(void *arg)
{
    struct racer *r = arg;
    static __thread uint64_t last[RACE_OWN];
    struct store_thread *t = store_join(r->s);
    store_enter(t);
    for (unsigned i = 0; i < RACE_STEPS && !r->wrong; i++) {
        race_step(r, t, last);
        if (i % 32 == 0)
            give_time(t);
    }
    store_leave(t);
    store_part(t);
    return NULL;
}

static void
threads_see_whole_and_newest_values(void **state)
{
    (void)state;
    struct store *s = make_store(8 * MIB, true, true);
    struct racer racers[4];
    for (unsigned i = 0; i < 4; i++) {
        racers[i] = (struct racer){.s = s, .number = i, .random = seed + i * 77 + 1};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(racers[i].thread, NULL);
        if (racers[i].wrong)
            fail_msg("%s (LARDER_SEED=%llu)", racers[i].wrong, (unsigned long long)seed);
    }
    assert_whole(s);
    struct store_stats n;
    store_stats_read(s, &n);
    assert_true(n.items_evicted > 0 && n.items_replaced > 0);
    store_destroy(s);
}

int
main(void)
{
    const char *given = getenv("LARDER_SEED");
    seed = given ? strtoull(given, NULL, 10) : clock_ns() | 1;
    fprintf(stderr, "test_store: LARDER_SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_small_values_nothing_lost),
        cmocka_unit_test(model_without_cas),
        cmocka_unit_test(model_large_values_evicting),
        cmocka_unit_test(model_values_of_megabytes),
        cmocka_unit_test(index_grows_and_loses_nothing),
        cmocka_unit_test(eviction_keeps_the_limit),
        cmocka_unit_test(overwrites_leave_the_others_alone),
        cmocka_unit_test(without_eviction_deletes_make_room),
        cmocka_unit_test(without_eviction_expiry_makes_room),
        cmocka_unit_test(limit_is_lowered_and_raised),
        cmocka_unit_test(emptied_segments_are_reused_first),
        cmocka_unit_test(dropped_uploads_leave_nothing),
        cmocka_unit_test(threads_see_whole_and_newest_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
