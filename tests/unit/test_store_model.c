/*
 * test_store_model.c -- the store against a model too simple to be wrong: an array of what was
 * stored last.
 *
 * Goal: a hit is always the last value, whole, with its flags, CAS and length; what was deleted,
 * expired or flushed is never seen again; every entry that goes is counted once; nothing outgrows
 * the limit.  A miss is always allowed where the model has a value: it is a cache; how many there
 * are is checked where nothing can have been evicted.
 *
 * Method: seeded random operations under a scripted clock, by one participant or by many in turn
 * whose sections overlap, with keys announced or not; store_verify() after every few.  The seed is
 * printed; LARDER_SEED repeats a run.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"
#include "store_model.h"

/* ---- steps ----------------------------------------------------------------------------------- */

static void
step_flush(struct model *m)
{
    uint64_t r = kit_random(&m->random);
    m->flush_at = script_now + (uint32_t)(r & 3);
    store_flush(m->t, m->flush_at);
    settle_time(m);
}

static void
step(struct model *m)
{
    uint64_t r = kit_random(&m->random);
    unsigned number = step_number_of(m);
    settle_time(m);
    switch (r % 20) {
    case 0: case 1: case 2: step_put(m, number, STORE_SET); break;
    case 3: step_put(m, number, STORE_ADD); break;
    case 4: step_put(m, number, STORE_REPLACE); break;
    case 5: step_put(m, number, STORE_APPEND); break;
    case 6: step_put(m, number, STORE_PREPEND); break;
    case 7: step_put(m, number, m->plan->cas ? STORE_CAS : STORE_SET); break;
    case 8: step_delete(m, number); break;
    case 9: step_arith(m, number); break;
    case 10: step_number(m, number); break;
    case 11: step_get(m, number, true); break;
    case 12:
        if ((r >> 8 & 31) == 0)
            step_flush(m);
        break;
    case 13: case 14: step_lease(m, number); break;
    case 15: step_invalidate(m, number); break;
    default: step_get(m, number, false);
    }
}

/* Time passes while nobody is inside: each section has one time. */
static void
pass_time(struct model *m)
{
    uint64_t r = kit_random(&m->random);
    if ((r & (m->plan->announces ? 255 : 31)) != 0)
        return;
    all_leave(m);
    script_now += 1;
    if (m->plan->jumps && (r >> 5 & 15) == 0)
        script_now += (uint32_t)(r >> 9) % 100000;
    store_maintain(m->t, (unsigned)(r >> 32 & 127) + 1);
    enter(m);
}

/* Memory follows a lower limit as soon as it is asked to. */
static void
change_limit(struct model *m)
{
    size_t least = m->plan->memory_bytes / 2 < 8 * MIB ? 8 * MIB : m->plan->memory_bytes / 2;
    size_t limit = least + kit_random(&m->random) % (m->plan->memory_bytes * 2 - least);
    all_leave(m);
    assert_true(store_limit_set(m->s, limit));
    struct store_stats n = {.memory_used_bytes = SIZE_MAX};
    for (unsigned i = 0; i < 1000000 && n.memory_used_bytes > limit; i++) {
        store_maintain(m->t, STORE_MAINTAIN_BUDGET);
        store_stats_read(m->s, &n);
    }
    assert_int_equal(n.memory_limit_bytes, limit);
    assert_within_limit(m->s);
    enter(m);
}

static void
model_init(struct model *m, const struct model_plan *p)
{
    *m = (struct model){.plan = p, .random = seed, .buf = malloc(4 * MIB),
                        .threads = calloc(p->threads, sizeof *m->threads),
                        .inside = calloc(p->threads, sizeof *m->inside),
                        .announced = calloc(p->threads, sizeof *m->announced),
                        .wait = {wait_for_room, m}};
    assert_true(m->buf && m->threads && m->inside && m->announced);
    m->s = make_store_for(p->threads, p->memory_bytes, p->evict, p->cas);
    for (unsigned i = 0; i < p->threads; i++) {
        m->threads[i] = store_join(m->s);
        assert_non_null(m->threads[i]);
    }
    m->t = m->threads[0];
    enter(m);
}

static void
model_fini(struct model *m)
{
    all_leave(m);
    for (unsigned i = 0; i < m->plan->threads; i++)
        store_part(m->threads[i]);
    assert_whole(m->s);
    store_destroy(m->s);
    for (unsigned i = 0; i < KEYS; i++)
        forget(&m->known[i]);
    free(m->threads);
    free(m->inside);
    free(m->announced);
    free(m->buf);
    free(m);
}

static void
run_model(const struct model_plan *p)
{
    struct model *m = malloc(sizeof *m);
    assert_non_null(m);
    model_init(m, p);
    for (unsigned i = 0; i < p->steps; i++) {
        step(m);
        next_turn(m);
        pass_time(m);
        if (p->limits && i % 400 == 399)
            change_limit(m);
        if (i % 16 == 0)
            assert_within_limit(m->s);
        if (i % 500 == 0)
            assert_whole(m->s);
    }
    struct store_stats n;
    store_stats_read(m->s, &n);
    assert_true(n.items_stored > 0 && n.items_replaced > 0 && n.items_deleted > 0);
    assert_true(!p->lossless || n.items_evicted == 0);
    assert_true(m->refused < p->steps / 2);
    model_fini(m);
}

/* ---- plans ----------------------------------------------------------------------------------- */

static void
small_values_nothing_lost(void **state)
{
    (void)state;
    run_model(&(struct model_plan){.threads = 1, .memory_bytes = 64 * MIB, .steps = 60000,
                                   .len_max = 2000, .joined_max = 2 * MIB, .evict = true,
                                   .cas = true, .lossless = true});
}

static void
without_cas(void **state)
{
    (void)state;
    run_model(&(struct model_plan){.threads = 1, .memory_bytes = 64 * MIB, .steps = 30000,
                                   .len_max = 2000, .joined_max = 2 * MIB, .evict = true,
                                   .lossless = true});
}

static void
large_values_evicting(void **state)
{
    (void)state;
    run_model(&(struct model_plan){.threads = 1, .memory_bytes = 8 * MIB, .steps = 8000,
                                   .len_max = 300000, .joined_max = 2 * MIB, .evict = true,
                                   .cas = true});
}

static void
values_of_megabytes(void **state)
{
    (void)state;
    run_model(&(struct model_plan){.threads = 1, .memory_bytes = 16 * MIB, .steps = 1500,
                                   .len_max = 3 * MIB / 2, .joined_max = 2 * MIB, .evict = true,
                                   .cas = true});
}

/* Little memory, several participants: their segments are a good part of it. */
static void
four_threads_in_8_mib(void **state)
{
    (void)state;
    struct model_plan p = {.threads = 4, .memory_bytes = 8 * MIB, .steps = 6000,
                           .len_max = 100000, .joined_max = 300000, .evict = true, .cas = true,
                           .jumps = true};
    run_model(&p);
    p.cas = false;
    run_model(&p);
}

static void
many_threads_in_64_mib(void **state)
{
    (void)state;
    run_model(&(struct model_plan){.threads = 64, .memory_bytes = 64 * MIB, .steps = 6000,
                                   .len_max = 1000000, .joined_max = 2 * MIB, .evict = true,
                                   .cas = true, .jumps = true});
}

/* Longest result of append that is kept as one item. */
#define JOINED_INLINE 3500u

static void
four_threads_in_8_mib_without_eviction(void **state)
{
    (void)state;
    struct model_plan p = {.threads = 4, .memory_bytes = 8 * MIB, .steps = 6000,
                           .len_max = 200000, .joined_max = JOINED_INLINE, .cas = true,
                           .lossless = true};
    run_model(&p);
    p.cas = false;
    p.jumps = true;
    run_model(&p);
}

static void
many_threads_in_64_mib_without_eviction(void **state)
{
    (void)state;
    run_model(&(struct model_plan){.threads = 64, .memory_bytes = 64 * MIB, .steps = 6000,
                                   .len_max = 1000000, .joined_max = JOINED_INLINE, .cas = true,
                                   .lossless = true, .jumps = true});
}

static void
limit_goes_down_and_up(void **state)
{
    (void)state;
    struct model_plan p = {.threads = 4, .memory_bytes = 16 * MIB, .steps = 8000,
                           .len_max = 100000, .joined_max = 300000, .evict = true, .cas = true,
                           .jumps = true, .limits = true};
    run_model(&p);
    p.evict = false;
    p.joined_max = JOINED_INLINE;
    run_model(&p);
}

/* Whoever asks has announced it, while others change it. */
static void
announced_keys_nothing_lost(void **state)
{
    (void)state;
    struct model_plan p = {.threads = 1, .memory_bytes = 64 * MIB, .steps = 30000,
                           .len_max = 2000, .joined_max = 2 * MIB, .evict = true, .cas = true,
                           .lossless = true, .announces = true};
    run_model(&p);
    p.threads = 3;
    run_model(&p);
}

static void
announced_keys_evicting(void **state)
{
    (void)state;
    struct model_plan p = {.threads = 4, .memory_bytes = 8 * MIB, .steps = 6000,
                           .len_max = 100000, .joined_max = 300000, .evict = true, .cas = true,
                           .jumps = true, .announces = true};
    run_model(&p);
    p.evict = p.cas = false;
    p.joined_max = JOINED_INLINE;
    run_model(&p);
}

/* ---- other seeds, for as long as there is time ------------------------------------------------- */

#define SECONDS_LONG 600u

static void
seeds_for_ten_minutes(void **state)
{
    static void (*const all[])(void **) = {
        small_values_nothing_lost, without_cas, large_values_evicting, values_of_megabytes,
        four_threads_in_8_mib, many_threads_in_64_mib, four_threads_in_8_mib_without_eviction,
        many_threads_in_64_mib_without_eviction, limit_goes_down_and_up,
        announced_keys_nothing_lost, announced_keys_evicting,
    };
    uint64_t until = clock_ns() + SECONDS_LONG * 1000000000ull;
    unsigned runs = 0;
    for (; clock_ns() < until; runs++) {
        seed = hash_u64(seed);
        script_now = 1000;             /* or the leaps of all these runs would pass 17 years */
        fprintf(stderr, "LARDER_SEED=%" PRIu64 "\n", seed);
        for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
            all[i](state);
    }
    print_message("    %u seeds\n", runs);
}

int
main(void)
{
    seed = kit_seed("test_store_model");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_values_nothing_lost),
        cmocka_unit_test(without_cas),
        cmocka_unit_test(large_values_evicting),
        cmocka_unit_test(values_of_megabytes),
        cmocka_unit_test(four_threads_in_8_mib),
        cmocka_unit_test(many_threads_in_64_mib),
        cmocka_unit_test(four_threads_in_8_mib_without_eviction),
        cmocka_unit_test(many_threads_in_64_mib_without_eviction),
        cmocka_unit_test(limit_goes_down_and_up),
        cmocka_unit_test(announced_keys_nothing_lost),
        cmocka_unit_test(announced_keys_evicting),
    };
    const struct CMUnitTest longer[] = {cmocka_unit_test(seeds_for_ten_minutes)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed || !kit_long() ? failed : cmocka_run_group_tests(longer, NULL, NULL);
}
