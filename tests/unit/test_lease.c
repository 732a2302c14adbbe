/*
 * test_lease.c -- leases between threads that really run: of n who ask at once, one wins; numbers
 * that clients choose; what a look that leaves no trace leaves.
 *
 * What any sequence of operations must answer is asked by test_store_model.c.
 */
#include "store_fixture.h"

#include <stdatomic.h>

#define THREADS 4u
#define ROUNDS 3000u

enum contest { CONTEST_VIVIFY, CONTEST_STALE, CONTEST_DUE, CONTEST_DELETE_CAS, CONTESTS };

struct arena {
    struct store *s;
    pthread_barrier_t barrier;
    atomic_uint won[ROUNDS];
    atomic_uint wrong;
};

struct contestant {
    struct arena *arena;
    unsigned number;
    pthread_t thread;
};

/* What the round is about: done by one, before the others start. */
static void
set_up(struct arena *a, struct store_thread *t, struct store_key key, enum contest contest)
{
    struct store_put put = {.mode = STORE_SET, .key = key, .value = {"value", 5},
                            .has_cas_new = true, .cas_new = 77,
                            .expiry = contest == CONTEST_DUE ? script_now + 5 : 0};
    struct store_invalidate stale = {.key = key, .stale = true};
    store_delete(t, key);
    if (contest != CONTEST_VIVIFY)
        kit_put(a->s, t, &put, NULL, NULL);
    if (contest == CONTEST_STALE)
        store_invalidate(t, &stale);
}

static bool
compete(struct arena *a, struct store_thread *t, struct store_key key, enum contest contest)
{
    struct store_get_options how = {.lease = true, .vivify = true, .recache = true,
                                    .recache_below = script_now + 10};
    struct store_view v;
    if (contest == CONTEST_DELETE_CAS)
        return store_delete_cas(t, key, 77) == STORE_OK;
    while (kit_get(t, key, &how, &v) == STORE_AGAIN)
        kit_give_time(t);
    bool right = v.value_bytes == (contest == CONTEST_VIVIFY ? 0 : 5) &&
                 v.vivified == (v.won && contest == CONTEST_VIVIFY);
    if (!right || v.won == !!(v.marks & STORE_MARK_TOKEN))
        atomic_fetch_add(&a->wrong, 1);
    return v.won;
}

static void *
contestant_run(void *arg)
{
    struct contestant *c = arg;
    struct arena *a = c->arena;
    struct store_thread *t = store_join(a->s);
    char text[KIT_KEY_CHARS];
    CHECK(t);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct store_key key = kit_key(a->s, text, round % 50);
        enum contest contest = round % CONTESTS;
        if (c->number == 0) {
            store_enter(t);
            set_up(a, t, key, contest);
            store_leave(t);
        }
        pthread_barrier_wait(&a->barrier);
        store_enter(t);
        if (compete(a, t, key, contest))
            atomic_fetch_add(&a->won[round], 1);
        store_leave(t);
        pthread_barrier_wait(&a->barrier);
    }
    store_part(t);
    return NULL;
}

static void
of_several_one_wins(void **state)
{
    (void)state;
    static struct arena a;
    struct contestant c[THREADS];
    a = (struct arena){.s = make_store(64 * MIB, true, true)};
    assert_int_equal(pthread_barrier_init(&a.barrier, NULL, THREADS), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        c[i] = (struct contestant){.arena = &a, .number = i};
        assert_int_equal(pthread_create(&c[i].thread, NULL, contestant_run, &c[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(c[i].thread, NULL);
    for (unsigned i = 0; i < ROUNDS; i++)
        if (a.won[i] != 1)
            fail_msg("round %u: %u have won", i, a.won[i]);
    assert_int_equal(a.wrong, 0);
    assert_whole(a.s);
    pthread_barrier_destroy(&a.barrier);
    store_destroy(a.s);
}

/* ---- one thread ----------------------------------------------------------------------------- */

struct alone {
    struct store *s;
    struct store_thread *t;
    struct store_key key;
    char text[KIT_KEY_CHARS];
};

static void
begin(struct alone *a)
{
    a->s = make_store(8 * MIB, true, true);
    a->t = store_join(a->s);
    assert_non_null(a->t);
    store_enter(a->t);
    a->key = kit_key(a->s, a->text, 1);
}

static void
end(struct alone *a)
{
    store_leave(a->t);
    store_part(a->t);
    assert_whole(a->s);
    store_destroy(a->s);
}

static uint64_t
set(struct alone *a, const uint64_t *chosen)
{
    struct store_put put = {.mode = STORE_SET, .key = a->key, .value = {"value", 5},
                            .has_cas_new = chosen != NULL, .cas_new = chosen ? *chosen : 0};
    uint64_t cas = 0;
    assert_int_equal(kit_put(a->s, a->t, &put, &cas, NULL), STORE_OK);
    return cas;
}

static void
a_look_without_bump_leaves_no_trace(void **state)
{
    (void)state;
    struct alone a;
    struct store_get_options quiet = {.no_bump = true, .lease = true}, late = quiet;
    struct store_view v;
    begin(&a);
    set(&a, NULL);
    uint32_t stored_at = script_now;
    store_leave(a.t);
    script_now += 10;
    store_enter(a.t);
    late.has_expiry = true;            /* under the lock */
    late.expiry = script_now + 1000;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(kit_get(a.t, a.key, i & 1 ? &late : &quiet, &v), STORE_OK);
        assert_true(v.marks == 0 && v.last_access == stored_at);
    }
    assert_int_equal(kit_get(a.t, a.key, NULL, &v), STORE_OK);
    assert_true(v.marks == 0 && v.last_access == stored_at && v.expiry == late.expiry);
    assert_int_equal(kit_get(a.t, a.key, &quiet, &v), STORE_OK);
    assert_true(v.marks == STORE_MARK_FETCHED && v.last_access == script_now);
    end(&a);
}

/* Who adds or counts has not seen the value, but has used the entry. */
static void
adding_and_counting_are_uses(void **state)
{
    (void)state;
    struct alone a;
    struct store_get_options quiet = {.no_bump = true};
    struct store_view v;
    uint64_t number;
    for (unsigned adds = 0; adds < 2; adds++) {
        begin(&a);
        struct store_put put = {.mode = STORE_SET, .key = a.key, .value = {"17", 2}};
        assert_int_equal(kit_put(a.s, a.t, &put, NULL, NULL), STORE_OK);
        store_leave(a.t);
        script_now += 10;
        store_enter(a.t);
        put.mode = STORE_ADD;
        if (adds)
            assert_int_equal(kit_put(a.s, a.t, &put, NULL, NULL), STORE_NOT_STORED);
        else
            assert_int_equal(kit_arith(a.t, a.key, false, 1, &number, NULL), STORE_OK);
        assert_int_equal(kit_get(a.t, a.key, &quiet, &v), STORE_OK);
        assert_true(v.marks == 0 && v.last_access == script_now);
        end(&a);
    }
}

/* However large a number a client chooses, those that follow differ, and stay in their range. */
static void
chosen_numbers_do_not_push_others(void **state)
{
    (void)state;
    static const uint64_t extremes[] = {UINT64_MAX, UINT64_MAX - 1, 1ull << 63, 1ull << 52, 0};
    struct alone a;
    begin(&a);
    uint64_t last = set(&a, NULL);
    for (unsigned i = 0; i < sizeof extremes / sizeof extremes[0]; i++) {
        assert_true(set(&a, &extremes[i]) == extremes[i]);
        uint64_t cas = set(&a, NULL);
        assert_true(cas > last && cas < 1ull << 49 && cas != extremes[i]);
        last = cas;
    }
    uint64_t ahead = last + 1000000;
    set(&a, &ahead);
    assert_true(set(&a, NULL) > ahead);
    end(&a);
}

/* The token goes with the entry: what cleaning moves keeps it, what is evicted loses it. */
static void
cleaning_keeps_marks(void **state)
{
    (void)state;
    struct alone a;
    char text[KIT_KEY_CHARS], filler[4000] = "";
    struct store_invalidate stale = {.stale = true};
    struct store_get_options lease = {.lease = true}, peek = {.no_bump = true};
    struct store_view v;
    begin(&a);
    set(&a, NULL);
    stale.key = a.key;
    assert_int_equal(store_invalidate(a.t, &stale), STORE_OK);
    assert_int_equal(kit_get(a.t, a.key, &lease, &v), STORE_OK);
    assert_true(v.won && v.marks == STORE_MARK_STALE);
    for (unsigned i = 0; i < 20000; i++) {
        struct store_put put = {.mode = STORE_SET, .key = kit_key(a.s, text, 2 + i % 500),
                                .value = {filler, 3000 + i % 1000}};
        assert_int_equal(kit_put(a.s, a.t, &put, NULL, NULL), STORE_OK);
        if (i % 16 == 0)
            kit_give_time(a.t);
    }
    assert_int_equal(kit_get(a.t, a.key, &peek, &v), STORE_OK);
    assert_true(v.marks == (STORE_MARK_STALE | STORE_MARK_TOKEN | STORE_MARK_FETCHED));
    end(&a);
}

int
main(void)
{
    seed = kit_seed("test_lease");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_several_one_wins),
        cmocka_unit_test(a_look_without_bump_leaves_no_trace),
        cmocka_unit_test(adding_and_counting_are_uses),
        cmocka_unit_test(chosen_numbers_do_not_push_others),
        cmocka_unit_test(cleaning_keeps_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
