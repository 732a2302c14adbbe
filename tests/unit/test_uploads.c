/*
 * test_uploads.c -- many uploads at once, in every state they can be in, against a model.
 *
 * Goal: whatever an upload goes through before it is stored (its segments settled, set aside and
 * gone on with, evicted or flushed in part), what is found is the last value, whole; nothing waits
 * for ever; when all are stored or dropped nothing is lent or borrowed any more.
 *
 * Method: single steps that once went wrong, then seeded random ones by a few participants in turn.
 * A miss is always allowed: pieces may be evicted.
 */
#include "store/inner.h"
#include "store_fixture.h"

#define TRIES_MAX 20000u

static void
parted(struct store *s, struct store_thread *t)
{
    struct store_stats n;
    store_leave(t);
    store_stats_read(s, &n);
    assert_int_equal(n.borrowed_bytes, 0);
    assert_int_equal(n.segments_lent, 0);
    assert_whole(s);
    store_part(t);
    store_destroy(s);
}

/* Of the value of this stamp, from byte `at` on: as much as there is room for, `most` at most. */
static size_t
feed(struct store_thread *t, struct store_upload *u, uint64_t stamp, size_t at, size_t most)
{
    size_t room;
    char *to;
    enum store_outcome outcome;
    for (unsigned tries = 0; (outcome = store_upload_room(t, u, &to, &room)) == STORE_AGAIN;) {
        assert_true(++tries < TRIES_MAX);
        kit_give_time(t);
    }
    assert_int_equal(outcome, STORE_OK);
    size_t n = room < most ? room : most;
    for (size_t i = 0; i < n; i++)
        to[i] = kit_byte(stamp, at + i);
    if (n)
        store_upload_filled(t, u, n);
    return n;
}

static void
feed_all(struct store_thread *t, struct store_upload *u, uint64_t stamp, size_t from, size_t to)
{
    while (from < to)
        from += feed(t, u, stamp, from, to - from);
}

static void
assert_value(struct store *s, struct store_thread *t, unsigned number, uint64_t stamp, size_t len)
{
    char text[KIT_KEY_CHARS];
    struct store_view v;
    assert_int_equal(kit_get(t, kit_key(s, text, number), NULL, &v), STORE_OK);
    assert_int_equal(v.value_bytes, len);
    char *at = malloc(len);
    assert_non_null(at);
    assert_true(kit_read(t, &v, at));
    for (size_t i = 0; i < len; i++)
        assert_int_equal(at[i], kit_byte(stamp, i));
    free(at);
}

#define FILLING 1000000u               /* number of the first of these keys */

/* Small values, `most` at most; returns how many were stored. */
static unsigned
fill(struct store *s, struct store_thread *t, unsigned most)
{
    char text[KIT_KEY_CHARS], value[1000] = "";
    unsigned n = 0;
    enum store_outcome outcome = STORE_OK;
    for (; n < most && outcome == STORE_OK; n += outcome == STORE_OK) {
        struct store_put put = {.mode = STORE_SET, .key = kit_key(s, text, FILLING + n),
                                .value = {value, sizeof value}};
        outcome = kit_put(s, t, &put, NULL, NULL);
    }
    return n;
}

/*
 * Set aside in the middle of a piece, admitted again, and set aside once more before a segment
 * could be had: what had been received is there still.
 */
static void
set_aside_twice(void **state)
{
    (void)state;
    const size_t len = 300000, there = 100001;
    struct store *s = make_store(8 * MIB, false, true);
    struct store_thread *t = joined(s);
    struct store_upload *u;
    assert_int_equal(store_upload_open(t, len, &u), STORE_OK);
    feed_all(t, u, 7, 0, there);
    assert_true(store_upload_set_aside(t, u));

    unsigned full = fill(s, t, 20000);
    assert_true(full < 20000);
    char text[KIT_KEY_CHARS], *at;
    for (unsigned i = 0; i < full; i += 2)
        assert_int_equal(store_delete(t, kit_key(s, text, FILLING + i)), STORE_OK);
    size_t room, limit = atomic_load(&s->budget.limit);
    atomic_store(&s->budget.limit, atomic_load(&s->budget.used));
    assert_int_equal(store_upload_room(t, u, &at, &room), STORE_AGAIN);
    assert_false(store_upload_is_aside(u));
    atomic_store(&s->budget.limit, limit);

    assert_true(store_upload_set_aside(t, u));
    feed_all(t, u, 7, there, len);
    struct store_put put = {.mode = STORE_SET, .key = kit_key(s, text, 1), .upload = u};
    enum store_outcome outcome;
    while ((outcome = store_put(t, &put, NULL)) == STORE_AGAIN)
        kit_give_time(t);
    assert_int_equal(outcome, STORE_OK);
    assert_value(s, t, 1, 7, len);
    parted(s, t);
}

/* Parts of what is to be appended are gone for good: that is an answer, not a reason to wait. */
static void
append_of_what_was_flushed(void **state)
{
    (void)state;
    const size_t len = 300000;
    struct store *s = make_store(16 * MIB, true, true);
    struct store_thread *t = joined(s);
    struct store_upload *u;
    assert_int_equal(store_upload_open(t, len, &u), STORE_OK);
    feed_all(t, u, 7, 0, len / 2);
    assert_true(store_upload_set_aside(t, u));
    store_flush(t, store_now(t));
    assert_int_equal(fill(s, t, 1), 1);
    feed_all(t, u, 7, len / 2, len);
    char text[KIT_KEY_CHARS];
    struct store_put put = {.mode = STORE_APPEND, .key = kit_key(s, text, FILLING), .upload = u};
    assert_int_equal(kit_put(s, t, &put, NULL, NULL), STORE_NO_MEMORY);
    struct store_view v;
    assert_int_equal(kit_get(t, kit_key(s, text, FILLING), NULL, &v), STORE_OK);
    assert_int_equal(v.value_bytes, 1000);
    parted(s, t);
}

/* ---- a long result, step by step ---- */

static struct store_upload *
upload_of(struct store_thread *t, uint64_t stamp, size_t len)
{
    struct store_upload *u;
    assert_int_equal(store_upload_open(t, len, &u), STORE_OK);
    feed_all(t, u, stamp, 0, len);
    return u;
}

static void
set_long(struct store *s, struct store_thread *t, unsigned number, uint64_t stamp, size_t len)
{
    char text[KIT_KEY_CHARS];
    struct store_put put = {.mode = STORE_SET, .key = kit_key(s, text, number),
                            .upload = upload_of(t, stamp, len)};
    assert_int_equal(kit_put(s, t, &put, NULL, NULL), STORE_OK);
}

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define OLD_BYTES 700001u
#define ADDED_BYTES 300002u

static void
put_any(struct store *s, struct store_thread *t, unsigned number, uint64_t stamp, size_t len)
{
    char text[KIT_KEY_CHARS], value[10];
    if (len > sizeof value) {
        set_long(s, t, number, stamp, len);
        return;
    }
    kit_fill(value, stamp, len);
    struct store_put put = {.mode = STORE_SET, .key = kit_key(s, text, number),
                            .value = {value, len}};
    assert_int_equal(kit_put(s, t, &put, NULL, NULL), STORE_OK);
}

static enum store_outcome
go_on(struct store_thread *t, const struct store_put *put)
{
    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        enum store_outcome outcome = store_put(t, put, NULL);
        if (outcome != STORE_AGAIN && outcome != STORE_UNFINISHED)
            return outcome;
        kit_give_time(t);
    }
    return STORE_AGAIN;
}

/* The value of stamp 9 and that of stamp 8, in the order that the mode says. */
static void
assert_joined(struct store *s, struct store_thread *t, unsigned number, enum store_mode mode,
              size_t old)
{
    char text[KIT_KEY_CHARS];
    struct store_view v;
    assert_int_equal(kit_get(t, kit_key(s, text, number), NULL, &v), STORE_OK);
    assert_int_equal(v.value_bytes, old + ADDED_BYTES);
    char *at = malloc(old + ADDED_BYTES), *wanted = malloc(old + ADDED_BYTES);
    assert_non_null(at);
    assert_non_null(wanted);
    assert_true(kit_read(t, &v, at));
    kit_fill(mode == STORE_APPEND ? wanted : wanted + ADDED_BYTES, 9, old);
    kit_fill(mode == STORE_APPEND ? wanted + old : wanted, 8, ADDED_BYTES);
    assert_memory_equal(at, wanted, old + ADDED_BYTES);
    free(at);
    free(wanted);
}

/* Each call copies a step, and readers find the old value until all is copied. */
static void
long_append_takes_many_steps(void **state)
{
    (void)state;
    struct store *s = make_store(32 * MIB, true, true);
    struct store_thread *t = joined(s);
    set_long(s, t, 1, 7, OLD_BYTES);
    char text[KIT_KEY_CHARS];
    struct store_append *append = NULL;
    struct store_put put = {.mode = STORE_APPEND, .key = kit_key(s, text, 1), .append = &append,
                            .upload = upload_of(t, 8, ADDED_BYTES)};
    struct store_result result;
    const unsigned steps = (OLD_BYTES + ADDED_BYTES) / STORE_APPEND_STEP_BYTES;
    for (unsigned i = 0; i < steps; i++) {
        assert_int_equal(store_put(t, &put, &result), STORE_UNFINISHED);
        assert_non_null(append);
        assert_value(s, t, 1, 7, OLD_BYTES);
        kit_give_time(t);
    }
    assert_int_equal(store_put(t, &put, &result), STORE_OK);
    assert_null(append);
    assert_int_equal(result.value_bytes, OLD_BYTES + ADDED_BYTES);
    parted(s, t);
}

/* The old value is another one when half of it has been copied. */
static void
append_to_what_changes(void **state)
{
    (void)state;
    static const struct { size_t before, after; } cases[] = {
        {OLD_BYTES, OLD_BYTES},        /* long */
        {OLD_BYTES, 5},
        {OLD_BYTES, 0},                /* deleted */
        {5, 5},                        /* short, and as short: only its bytes tell */
        {5, 4},
        {5, OLD_BYTES},
    };
    struct store *s = make_store(32 * MIB, true, true);
    struct store_thread *t = joined(s);
    for (unsigned i = 0; i < 2 * LENGTH(cases); i++) {
        enum store_mode mode = i % 2 ? STORE_PREPEND : STORE_APPEND;
        size_t before = cases[i / 2].before, after = cases[i / 2].after;
        put_any(s, t, i, 7, before);
        char text[KIT_KEY_CHARS];
        struct store_append *append = NULL;
        struct store_put put = {.mode = mode, .key = kit_key(s, text, i), .append = &append,
                                .upload = upload_of(t, 8, ADDED_BYTES)};
        for (unsigned step = 0; step < 2; step++)
            assert_int_equal(store_put(t, &put, NULL), STORE_UNFINISHED);
        if (after)
            put_any(s, t, i, 9, after);
        else
            assert_int_equal(store_delete(t, put.key), STORE_OK);
        enum store_outcome outcome = go_on(t, &put);
        assert_null(append);
        assert_int_equal(outcome, after ? STORE_OK : STORE_NOT_STORED);
        if (after)
            assert_joined(s, t, i, mode, after);
    }
    parted(s, t);
}

/* What was copied before a flush goes with it; the entry that is there now was stored after it. */
static void
append_over_a_flush(void **state)
{
    (void)state;
    struct store *s = make_store(32 * MIB, true, true);
    struct store_thread *t = joined(s);
    put_any(s, t, 1, 9, 5);
    char text[KIT_KEY_CHARS];
    struct store_append *append = NULL;
    struct store_put put = {.mode = STORE_PREPEND, .key = kit_key(s, text, 1), .append = &append,
                            .upload = upload_of(t, 8, ADDED_BYTES)};
    for (unsigned step = 0; step < 2; step++)
        assert_int_equal(store_put(t, &put, NULL), STORE_UNFINISHED);
    store_flush(t, store_now(t));
    put_any(s, t, 1, 9, 5);
    assert_int_equal(go_on(t, &put), STORE_OK);
    assert_joined(s, t, 1, STORE_PREPEND, 5);
    parted(s, t);
}

/* A thread makes one long result at a time; one that is dropped makes way. */
static void
long_appends_take_turns(void **state)
{
    (void)state;
    struct store *s = make_store(32 * MIB, true, true);
    struct store_thread *t = joined(s);
    struct store_append *append[2] = {NULL, NULL};
    struct store_put put[2];
    char text[2][KIT_KEY_CHARS];
    for (unsigned i = 0; i < 2; i++) {
        set_long(s, t, i, 7, OLD_BYTES);
        put[i] = (struct store_put){.mode = STORE_APPEND, .key = kit_key(s, text[i], i),
                                    .value = {"x", 1}, .append = &append[i]};
    }
    assert_int_equal(store_put(t, &put[0], NULL), STORE_UNFINISHED);
    assert_int_equal(store_put(t, &put[1], NULL), STORE_AGAIN);
    assert_int_equal(go_on(t, &put[0]), STORE_OK);
    assert_int_equal(store_put(t, &put[1], NULL), STORE_UNFINISHED);
    store_append_drop(t, append[1]);
    assert_int_equal(store_put(t, &put[0], NULL), STORE_UNFINISHED);
    assert_int_equal(go_on(t, &put[0]), STORE_OK);
    assert_value(s, t, 1, 7, OLD_BYTES);
    parted(s, t);
}

static uint64_t
bytes_stored(struct store *s)
{
    struct store_stats n;
    store_stats_read(s, &n);
    return n.bytes_stored;
}

/* AGAIN says that there is no room; where a part could be copied first, that is said. */
static void
append_without_room_has_copied_nothing(void **state)
{
    (void)state;
    struct store *s = make_store(8 * MIB, true, true);
    struct store_thread *t = joined(s);
    fill(s, t, 20000);
    set_long(s, t, 1, 7, OLD_BYTES);
    char text[KIT_KEY_CHARS];
    struct store_append *append = NULL;
    struct store_put put = {.mode = STORE_APPEND, .key = kit_key(s, text, 1), .append = &append,
                            .value = {"x", 1}};
    enum store_outcome outcome;
    unsigned waits = 0, tries = 0;
    do {
        uint64_t before = bytes_stored(s);
        outcome = store_put(t, &put, NULL);
        if (outcome == STORE_AGAIN) {
            waits++;
            assert_int_equal(bytes_stored(s), before);
            kit_give_time(t);
        }
    } while ((outcome == STORE_AGAIN || outcome == STORE_UNFINISHED) && tries++ < TRIES_MAX);
    assert_int_equal(outcome, STORE_OK);
    assert_true(waits > 0);
    parted(s, t);
}

/* ---- any order ------------------------------------------------------------------------------- */

#define KEYS 24u
#define UPLOADS 12u
#define PARTICIPANTS 3u

struct known {
    bool present;
    char *value;
    size_t len;
};

struct arriving {
    struct store_upload *u;
    struct store_append *append;       /* it is being made part of a long value: by this put */
    struct store_put put;
    unsigned number;
    unsigned owner;                    /* participant */
    uint64_t stamp;
    size_t len, at;
};

struct model {
    struct store *s;
    struct store_thread *threads[PARTICIPANTS];
    bool inside[PARTICIPANTS];
    size_t memory_bytes;
    uint64_t random, stamp;
    struct known known[KEYS];
    struct arriving arriving[UPLOADS];
    unsigned stored, joined, aside, interrupted;
};

static void
all_leave(struct model *m)
{
    for (unsigned i = 0; i < PARTICIPANTS; i++) {
        if (m->inside[i])
            store_leave(m->threads[i]);
        m->inside[i] = false;
    }
}

static struct store_thread *
enter(struct model *m, unsigned i)
{
    if (!m->inside[i])
        store_enter(m->threads[i]);
    m->inside[i] = true;
    return m->threads[i];
}

static void
give_time(struct model *m, unsigned i)
{
    all_leave(m);
    store_maintain(m->threads[i], STORE_MAINTAIN_BUDGET);
    enter(m, i);
}

static void
forget(struct known *k)
{
    free(k->value);
    *k = (struct known){0};
}

static void
remember(struct known *k, const struct arriving *a, enum store_mode mode)
{
    bool join = k->present && (mode == STORE_APPEND || mode == STORE_PREPEND);
    size_t old = join ? k->len : 0;
    char *value = malloc(old + a->len);
    assert_non_null(value);
    char *fresh = mode == STORE_APPEND ? value + old : value;
    if (old)
        memcpy(mode == STORE_APPEND ? value : value + a->len, k->value, old);
    kit_fill(fresh, a->stamp, a->len);
    forget(k);
    *k = (struct known){true, value, old + a->len};
}

static void
step_open(struct model *m, struct arriving *a, unsigned owner)
{
    uint64_t r = kit_random(&m->random);
    struct store_thread *t = enter(m, owner);
    size_t least = store_inline_bytes_max(m->s) + 1;
    size_t len = least + (r >> 8) % (r & 3 ? 200000 : 2500000);
    struct store_upload *u;
    enum store_outcome outcome = store_upload_open(t, len, &u);
    assert_true(outcome == STORE_OK || outcome == STORE_AGAIN || outcome == STORE_NO_MEMORY);
    if (outcome == STORE_OK)
        *a = (struct arriving){.u = u, .owner = owner, .stamp = ++m->stamp, .len = len};
}

/* A few bits of it.  No room: another time. */
static void
step_feed(struct model *m, struct arriving *a)
{
    struct store_thread *t = enter(m, a->owner);
    for (unsigned bits = (unsigned)kit_random(&m->random) % 40; bits && a->at < a->len; bits--) {
        char *to;
        size_t room;
        enum store_outcome outcome = store_upload_room(t, a->u, &to, &room);
        if (outcome == STORE_AGAIN)
            return;
        if (outcome != STORE_OK) {
            assert_int_equal(outcome, STORE_NO_MEMORY);
            store_upload_abort(t, a->u);
            a->u = NULL;
            return;
        }
        size_t n = kit_random(&m->random) % room + 1;
        for (size_t i = 0; i < n; i++)
            to[i] = kit_byte(a->stamp, a->at + i);
        store_upload_filled(t, a->u, n);
        a->at += n;
    }
}

static void
give_up(struct model *m, struct arriving *a)
{
    struct store_thread *t = enter(m, a->owner);
    if (a->append)
        store_append_drop(t, a->append);
    store_upload_abort(t, a->u);
    a->append = NULL;
    a->u = NULL;
}

static void
step_store(struct model *m, struct arriving *a)
{
    static const enum store_mode modes[] = {STORE_SET, STORE_SET, STORE_ADD, STORE_REPLACE,
                                            STORE_APPEND, STORE_PREPEND};
    char text[KIT_KEY_CHARS];
    uint64_t r = kit_random(&m->random);
    if (!a->append) {
        a->number = (unsigned)(r >> 8) % KEYS;
        a->put = (struct store_put){.mode = modes[(r >> 32) % 6], .upload = a->u,
                                    .append = &a->append, .joined_bytes_max = 3 * MIB,
                                    .vivify = r >> 5 & 1};
    }
    struct known *k = &m->known[a->number];
    struct store_put put = a->put;
    put.key = kit_key(m->s, text, a->number);
    struct store_thread *t = enter(m, a->owner);
    enum store_outcome outcome;
    for (unsigned tries = 0;; tries++) {
        outcome = store_put(t, &put, NULL);
        unsigned chance = (unsigned)(kit_random(&m->random) >> 16) & 255;
        if (outcome != STORE_AGAIN && outcome != STORE_UNFINISHED)
            break;
        if (a->append && chance < 64) {
            m->interrupted++;          /* it goes on another time, or never */
            if (chance == 0)
                give_up(m, a);
            return;
        }
        if (outcome == STORE_UNFINISHED)
            continue;
        if (!a->append && t->append)
            return;                    /* it waits for another one's result */
        if (tries == TRIES_MAX)
            fail_msg("a store waits for ever (LARDER_SEED=%llu)", (unsigned long long)seed);
        give_time(m, a->owner);
    }
    assert_null(a->append);
    bool join = put.mode == STORE_APPEND || put.mode == STORE_PREPEND;
    a->u = NULL;
    if (outcome == STORE_OK) {
        if (join && k->present) {      /* unless that had been evicted, and it was vivified */
            struct store_view v;
            struct store_get_options look = {.no_bump = true};
            if (put.vivify && kit_get(t, put.key, &look, &v) == STORE_OK &&
                v.value_bytes == a->len)
                forget(k);
        }
        remember(k, a, put.mode);
        m->joined += join;
        m->stored++;
        return;
    }
    if (outcome == STORE_NOT_STORED && put.mode != STORE_ADD) {
        forget(k);                     /* it has been evicted */
        return;
    }
    if (outcome == STORE_NOT_STORED)
        assert_true(k->present);
    else
        assert_true(outcome == STORE_NO_MEMORY || (join && outcome == STORE_TOO_LARGE));
}

static void
step_get(struct model *m, unsigned who)
{
    char text[KIT_KEY_CHARS];
    unsigned number = (unsigned)(kit_random(&m->random) >> 8) % KEYS;
    struct known *k = &m->known[number];
    struct store_key key = kit_key(m->s, text, number);
    struct store_thread *t = enter(m, who);
    struct store_view v;
    if (kit_get(t, key, NULL, &v) != STORE_OK) {
        forget(k);
        return;
    }
    if (!k->present || v.value_bytes != k->len)
        fail_msg("what is found was never stored (LARDER_SEED=%llu)", (unsigned long long)seed);
    char *whole = malloc(k->len);
    assert_non_null(whole);
    if (kit_read(t, &v, whole)) {
        if (memcmp(whole, k->value, k->len) != 0)
            fail_msg("a value is not whole (LARDER_SEED=%llu)", (unsigned long long)seed);
    } else {
        store_drop_broken(t, key, v.serial);
        forget(k);
    }
    free(whole);
}

static void
step_small(struct model *m, unsigned who)
{
    char text[KIT_KEY_CHARS], value[1000] = "";
    unsigned most = (unsigned)kit_random(&m->random) % 200;
    for (unsigned i = 0; i < most; i++) {
        struct store_put put = {
            .mode = STORE_SET, .key = kit_key(m->s, text, 1000 + kit_random(&m->random) % 9000),
            .value = {value, kit_random(&m->random) % sizeof value}};
        if (store_put(enter(m, who), &put, NULL) == STORE_AGAIN)
            give_time(m, who);
    }
}

static void
step_rare(struct model *m, unsigned who)
{
    char text[KIT_KEY_CHARS];
    uint64_t r = kit_random(&m->random);
    switch (r >> 8 & 7) {
    case 0:
        store_flush(enter(m, who), store_now(m->threads[who]));
        for (unsigned i = 0; i < KEYS; i++)
            forget(&m->known[i]);
        break;
    case 1:
        all_leave(m);
        store_limit_set(m->s, m->memory_bytes / 2 + (r >> 16) % m->memory_bytes);
        break;
    case 2: case 3:
        store_delete(enter(m, who), kit_key(m->s, text, (unsigned)(r >> 16) % KEYS));
        forget(&m->known[(unsigned)(r >> 16) % KEYS]);
        break;
    case 4:
        script_now++;
        break;
    default:
        all_leave(m);
        for (unsigned i = 0; i < 20; i++)
            store_maintain(m->threads[who], STORE_MAINTAIN_BUDGET);
    }
}

static void
step(struct model *m)
{
    uint64_t r = kit_random(&m->random);
    unsigned who = (unsigned)(r >> 8) % PARTICIPANTS;
    struct arriving *a = &m->arriving[(r >> 16) % UPLOADS];
    if (r % 256 < 2) {                 /* else there would be hardly anything to be appended to */
        step_rare(m, who);
    } else if (r % 16 < 4) {
        step_small(m, who);
    } else if (r % 16 < 6) {
        step_get(m, who);
    } else if (!a->u) {
        step_open(m, a, who);
    } else if (a->at == a->len) {
        step_store(m, a);
    } else if (r % 16 == 6) {
        m->aside += store_upload_set_aside(enter(m, a->owner), a->u);
    } else if (r % 128 == 7) {
        give_up(m, a);
    } else {
        step_feed(m, a);
    }
    if ((r >> 24 & 7) == 0)
        give_time(m, who);
}

static void
run_model(size_t memory_bytes, bool evict, unsigned steps)
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->random = seed;
    m->memory_bytes = memory_bytes;
    m->s = make_store_for(PARTICIPANTS, memory_bytes, evict, true);
    for (unsigned i = 0; i < PARTICIPANTS; i++)
        m->threads[i] = store_join(m->s);
    for (unsigned i = 0; i < steps; i++) {
        step(m);
        if (i % 256 == 0)
            assert_whole(m->s);
    }
    for (unsigned i = 0; i < UPLOADS; i++)
        if (m->arriving[i].u)
            give_up(m, &m->arriving[i]);
    give_time(m, 0);
    all_leave(m);
    struct store_stats n;
    store_stats_read(m->s, &n);
    assert_int_equal(n.borrowed_bytes, 0);
    assert_int_equal(n.segments_lent, 0);
    assert_whole(m->s);
    assert_true(m->stored > 0 && m->joined > 0 && m->aside > 0 && m->interrupted > 0);
    for (unsigned i = 0; i < PARTICIPANTS; i++)
        store_part(m->threads[i]);
    store_destroy(m->s);
    for (unsigned i = 0; i < KEYS; i++)
        forget(&m->known[i]);
    free(m);
}

static void
uploads_in_any_order(void **state)
{
    (void)state;
    run_model(16 * MIB, true, 20000);
}

static void
uploads_in_little_memory(void **state)
{
    (void)state;
    run_model(8 * MIB, true, 10000);
}

static void
uploads_without_eviction(void **state)
{
    (void)state;
    run_model(16 * MIB, false, 10000);
}

/* Else a part that is cut, moved or of another value would not show. */
static void
neighbours_in_a_value_differ(void **state)
{
    (void)state;
    for (uint64_t stamp = 0; stamp < 100; stamp++)
        for (size_t i = 0; i < 1000; i++) {
            assert_int_not_equal(kit_byte(stamp, i), kit_byte(stamp, i + 1));
            assert_int_not_equal(kit_byte(stamp, i), kit_byte(stamp + 1, i));
        }
}

int
main(void)
{
    seed = kit_seed("test_uploads");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_in_a_value_differ),
        cmocka_unit_test(set_aside_twice),
        cmocka_unit_test(append_of_what_was_flushed),
        cmocka_unit_test(long_append_takes_many_steps),
        cmocka_unit_test(append_to_what_changes),
        cmocka_unit_test(append_over_a_flush),
        cmocka_unit_test(long_appends_take_turns),
        cmocka_unit_test(append_without_room_has_copied_nothing),
        cmocka_unit_test(uploads_in_any_order),
        cmocka_unit_test(uploads_in_little_memory),
        cmocka_unit_test(uploads_without_eviction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
