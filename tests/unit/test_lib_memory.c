/*
 * test_lib_memory.c -- liblarder where memory matters: long values, full caches, limits, threads.
 */
#include "lib_fixture.h"

#define THREADS 2u

/* ---- long values ----------------------------------------------------------------------------- */

static const size_t lengths[] = {511, 512, 513, 4000, 60000, 65536, 70001, MIB - 1, MIB, MIB + 1,
                                 3 * MIB + 12345, 4 * MIB};
#define LENGTHS (sizeof lengths / sizeof lengths[0])

static void
assert_value(struct larder_thread *t, struct larder_bytes key, uint64_t stamp, size_t n)
{
    struct larder_view view;
    char *buffer = malloc(n + 1);
    assert_int_equal(larder_get_alloc(t, key, &view), LARDER_OK);
    assert_int_equal(view.value_bytes, n);
    assert_true(value_is(view.value, n, stamp));
    assert_int_equal(((const char *)view.value)[n], '\0');
    larder_free(view.value);
    buffer[n] = '.';
    assert_int_equal(larder_get(t, key, buffer, n, &view), LARDER_OK);
    assert_true(value_is(buffer, n, stamp));
    assert_int_equal(buffer[n], '.');
    if (n > 0)
        assert_int_equal(larder_get(t, key, buffer, n - 1, &view), LARDER_SHORT);
    assert_int_equal(view.value_bytes, n);
    free(buffer);
}

static bool
is_there(struct larder_thread *t, struct larder_bytes key)
{
    struct larder_view view;
    enum larder_error error = larder_get_alloc(t, key, &view);
    if (error != LARDER_OK)
        return false;
    larder_free(view.value);
    return true;
}

/* By spans of every kind, and from the middle. */
static void
assert_view(struct larder_thread *t, struct larder_bytes key, uint64_t stamp, size_t n)
{
    struct larder_view view;
    struct larder_bytes spans[3];
    char *whole = malloc(n), part[100];
    size_t at = 0, from = n / 3;
    larder_enter(t);
    assert_int_equal(larder_get_view(t, key, &view), LARDER_OK);
    assert_int_equal(view.value_bytes, n);
    for (unsigned count; (count = larder_view_spans(t, &view, at, spans, 3)) != 0;)
        for (unsigned i = 0; i < count; i++) {
            assert_true(spans[i].len <= n - at);
            memcpy(whole + at, spans[i].at, spans[i].len);
            at += spans[i].len;
        }
    assert_int_equal(at, n);
    assert_true(value_is(whole, n, stamp));
    assert_int_equal(larder_view_copy(t, &view, from, part, sizeof part), LARDER_OK);
    assert_memory_equal(part, whole + from, sizeof part);
    assert_int_equal(larder_view_copy(t, &view, n - 99, part, sizeof part), LARDER_INVALID);
    larder_leave(t);
    free(whole);
}

static void
values_of_all_lengths_come_back(void **state)
{
    (void)state;
    struct larder *l = made(config_of(64 * MIB));
    struct larder_thread *t = joined(l);
    char text[24];
    for (unsigned i = 0; i < LENGTHS; i++)
        assert_int_equal(set_stamped(t, numbered(text, i), i, lengths[i]), LARDER_OK);
    for (unsigned i = 0; i < LENGTHS; i++) {
        assert_value(t, numbered(text, i), i, lengths[i]);
        assert_view(t, numbered(text, i), i, lengths[i]);
    }
    ended(l, t);
}

/* The same within a section of the caller's. */
static void
long_values_in_a_section(void **state)
{
    (void)state;
    struct larder *l = made(config_of(64 * MIB));
    struct larder_thread *t = joined(l);
    struct larder_view view;
    char text[24];
    larder_enter(t);
    for (unsigned i = 0; i < LENGTHS; i++)
        assert_int_equal(set_stamped(t, numbered(text, i), i, lengths[i]), LARDER_OK);
    for (unsigned i = 0; i < LENGTHS; i++) {
        assert_value(t, numbered(text, i), i, lengths[i]);
        assert_int_equal(larder_get_view(t, numbered(text, i), &view), LARDER_OK);
        assert_int_equal(view.value == NULL, view.pieces != 0);
    }
    larder_leave(t);
    ended(l, t);
}

static void
values_grow_by_append_up_to_the_longest(void **state)
{
    (void)state;
    struct larder *l = made(config_of(64 * MIB));
    struct larder_thread *t = joined(l);
    char *value = value_made(9, 4 * MIB);
    struct larder_bytes key = larder_text("k");
    struct larder_entry entry = {.size = sizeof entry, .key = key, .value = {value, 1000}};
    size_t n = 1000, step = 700000;
    assert_int_equal(larder_put(t, LARDER_SET, &entry, NULL), LARDER_OK);
    for (; n + step <= 4 * MIB; n += step) {
        entry.value = larder_span(value + n, step);
        assert_int_equal(larder_put(t, LARDER_APPEND, &entry, NULL), LARDER_OK);
        assert_value(t, key, 9, n + step);
    }
    assert_int_equal(larder_put(t, LARDER_APPEND, &entry, NULL), LARDER_TOO_LARGE);
    assert_int_equal(larder_put(t, LARDER_PREPEND, &entry, NULL), LARDER_TOO_LARGE);
    assert_value(t, key, 9, n);
    entry.key = larder_text("other");
    assert_int_equal(larder_put(t, LARDER_APPEND, &entry, NULL), LARDER_NOT_STORED);
    entry.key = key;
    assert_int_equal(larder_put(t, LARDER_ADD, &entry, NULL), LARDER_NOT_STORED);
    entry.value = larder_span(value, 4 * MIB + 1);
    assert_int_equal(larder_put(t, LARDER_SET, &entry, NULL), LARDER_TOO_LARGE);
    assert_value(t, key, 9, n);
    free(value);
    ended(l, t);
}

/* Its parts are taken from under a view: that is told, and a get finds what is there now. */
static void
value_lost_while_it_is_read_is_a_miss(void **state)
{
    (void)state;
    struct larder *l = made(config_of(64 * MIB));
    struct larder_thread *t = joined(l), *other = joined(l);
    struct larder_bytes key = larder_text("k"), span;
    struct larder_view view;
    char buffer[8];
    assert_int_equal(set_stamped(t, key, 1, 3 * MIB), LARDER_OK);
    larder_enter(t);
    assert_int_equal(larder_get_view(t, key, &view), LARDER_OK);
    assert_int_equal(set_stamped(other, key, 2, 2 * MIB), LARDER_OK);
    while (larder_maintain(other))
        ;
    assert_int_equal(larder_view_spans(t, &view, 2 * MIB, &span, 1), 0);
    assert_int_equal(larder_view_copy(t, &view, MIB, buffer, sizeof buffer), LARDER_MISS);
    larder_leave(t);
    assert_value(t, key, 2, 2 * MIB);
    larder_part(other);
    ended(l, t);
}

/* ---- full caches ----------------------------------------------------------------------------- */

/*
 * Ten times what fits, of many lengths: all are stored, the limit holds, what is there is right.
 * Hardly any is gone at once.
 */
static void
stores_wait_for_room(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    char text[24];
    size_t sum = 0;
    unsigned i = 0, gone = 0;
    for (; sum < 80 * MIB; i++) {
        size_t n = i % 97 == 0 ? 900000 : i % 11 == 0 ? 30000 : 100 + i % 1000;
        struct larder_stats s;
        assert_int_equal(set_stamped(t, numbered(text, i), i, n), LARDER_OK);
        if (is_there(t, numbered(text, i)))
            assert_value(t, numbered(text, i), i, n);
        else
            gone++;
        sum += n;
        s = stats_of(l);
        assert_true(s.memory_used_bytes <= s.memory_limit_bytes);
    }
    assert_true(gone * 100 < i);
    assert_true(stats_of(l).items_evicted > 100);
    assert_true(stats_of(l).bytes_present > 4 * MIB);
    ended(l, t);
}

static void
section_answers_again_and_goes_on_outside(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    char text[24];
    unsigned agains = 0;
    for (unsigned i = 0; i < 3000; i++) {
        size_t n = i % 100 == 0 ? 500000 : 20000;
        enum larder_error error;
        if (i % 1000 == 0)
            larder_enter(t);
        error = set_stamped(t, numbered(text, i), i, n);
        if (error == LARDER_AGAIN) {
            agains++;
            larder_leave(t);
            error = set_stamped(t, numbered(text, i), i, n);
            larder_enter(t);
        }
        assert_int_equal(error, LARDER_OK);
        if (i % 1000 == 999)
            larder_leave(t);
    }
    assert_true(agains > 10);
    assert_true(stats_of(l).again >= agains);
    ended(l, t);
}

/* Another thread's section is open, so no memory comes back: there is an end to waiting. */
static void
waiting_has_an_end(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        struct larder *l = made(config_of(8 * MIB));
        struct larder_thread *t = joined(l), *other = joined(l);
        char text[24];
        size_t n = round ? 700000 : 10000;
        enum larder_error error = LARDER_OK;
        unsigned i = 0;
        assert_int_equal(set_stamped(t, larder_text("old"), 3, 100), LARDER_OK);
        larder_enter(other);
        for (; error == LARDER_OK; i++)
            error = set_stamped(t, numbered(text, i), i, n);
        assert_int_equal(error, LARDER_BUSY);
        assert_true(i > 5);
        assert_int_equal(larder_get(t, numbered(text, i - 1), NULL, 0, NULL), LARDER_MISS);
        larder_leave(other);
        assert_int_equal(set_stamped(t, numbered(text, i - 1), i, n), LARDER_OK);
        assert_value(t, numbered(text, i - 1), i, n);
        larder_part(other);
        ended(l, t);
    }
}

static void
nothing_is_evicted_where_it_must_not(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        struct larder_config config = config_of(8 * MIB);
        config.flags = LARDER_NO_EVICTION;
        struct larder *l = made(config);
        struct larder_thread *t = joined(l);
        char text[24];
        size_t n = round ? 300000 : 1000;
        unsigned stored = 0;
        enum larder_error error;
        while ((error = set_stamped(t, numbered(text, stored), stored, n)) == LARDER_OK)
            stored++;
        assert_int_equal(error, LARDER_NO_MEMORY);
        assert_true(stored * n > 4 * MIB);
        for (unsigned i = 0; i < stored; i++)
            assert_value(t, numbered(text, i), i, n);
        for (unsigned i = 0; i < stored; i += 2)
            assert_int_equal(larder_delete(t, numbered(text, i)), LARDER_OK);
        script_now += 60;              /* it is not asked all the time whether there is room */
        for (unsigned i = 0; i < stored / 4; i++)
            assert_int_equal(set_stamped(t, numbered(text, 100000 + i), i, n), LARDER_OK);
        assert_int_equal(stats_of(l).items_evicted, 0);
        ended(l, t);
    }
}

static void
limit_can_be_changed(void **state)
{
    (void)state;
    struct larder_config config = config_of(16 * MIB);
    config.memory_bytes_most = 32 * MIB;
    struct larder *l = made(config);
    struct larder_thread *t = joined(l);
    char text[24];
    assert_int_equal(larder_limit_set(l, 48 * MIB), LARDER_INVALID);
    assert_int_equal(larder_limit_set(l, MIB), LARDER_INVALID);
    assert_int_equal(stats_of(l).memory_limit_bytes, 16 * MIB);
    assert_int_equal(larder_limit_set(l, 32 * MIB), LARDER_OK);
    for (unsigned i = 0; i < 26000; i++)
        assert_int_equal(set_stamped(t, numbered(text, i), i, 1000), LARDER_OK);
    assert_int_equal(stats_of(l).items_evicted, 0);
    assert_true(stats_of(l).memory_used_bytes > 26 * MIB);
    assert_int_equal(larder_limit_set(l, 12 * MIB), LARDER_OK);
    while (larder_maintain(t))
        ;
    assert_true(stats_of(l).memory_used_bytes <= 12 * MIB);
    assert_true(stats_of(l).items_present > 6000);
    while (larder_populate(t))
        ;
    assert_true(stats_of(l).memory_used_bytes <= 12 * MIB);
    ended(l, t);
}

/* ---- threads --------------------------------------------------------------------------------- */

struct worker {
    struct larder *larder;
    pthread_t thread;
    unsigned number, hits, wrong, failed;
};

#define STEPS 20000u
#define SHARED_KEYS 300u

/* A value that says of itself which key and which length it has. */
static size_t
length_of(unsigned key)
{
    if (key % 50 == 0)
        return key % 150 == 0 ? 2 * MIB + 777 : 200000 + key;
    return key % 7 == 0 ? 5000 + key : 40 + key % 400;
}

static void
check(struct worker *w, struct larder_thread *t, struct larder_bytes name, unsigned key)
{
    struct larder_view view;
    enum larder_error error = larder_get_alloc(t, name, &view);
    w->failed += error != LARDER_OK && error != LARDER_MISS;
    if (error != LARDER_OK)
        return;
    w->hits++;
    w->wrong += view.value_bytes != length_of(key) ||
                !value_is(view.value, view.value_bytes, key) || view.flags != key;
    larder_free(view.value);
}

static void *
work(void *argument)
{
    struct worker *w = argument;
    struct larder_thread *t;
    uint64_t random = w->number + 1;
    w->failed += larder_join(w->larder, &t) != LARDER_OK;
    for (unsigned i = 0; i < STEPS; i++) {
        char text[24];
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned key = (unsigned)(random >> 33) % SHARED_KEYS, what = (random >> 20) % 10;
        struct larder_bytes name = numbered(text, key);
        if (what < 3) {
            char *value = value_made(key, length_of(key));
            struct larder_entry entry = {.size = sizeof entry, .key = name,
                                         .value = {value, length_of(key)}, .flags = key};
            w->failed += larder_put(t, LARDER_SET, &entry, NULL) != LARDER_OK;
            free(value);
        } else if (what == 3) {
            larder_delete(t, name);
        } else {
            check(w, t, name, key);
        }
        w->failed += larder_incr(t, larder_text("count"), 1, NULL) != LARDER_OK;
    }
    larder_part(t);
    return NULL;
}

static void
threads_do_not_mix_values_up(void **state)
{
    (void)state;
    struct larder_config config = config_of(16 * MIB);
    config.clock = NULL;
    config.wait_ms_max = 20000;        /* the machine may be busy */
    struct larder *l = made(config);
    struct larder_thread *t = joined(l);
    struct worker workers[THREADS];
    char sum[24];
    assert_int_equal(larder_set(t, larder_text("count"), larder_text("0"), 0), LARDER_OK);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.larder = l, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].wrong, 0);
        assert_int_equal(workers[i].failed, 0);
        assert_true(workers[i].hits > STEPS / 10);
    }
    snprintf(sum, sizeof sum, "%u", THREADS * STEPS);
    assert_text(t, "count", sum);
    ended(l, t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_all_lengths_come_back),
        cmocka_unit_test(long_values_in_a_section),
        cmocka_unit_test(values_grow_by_append_up_to_the_longest),
        cmocka_unit_test(value_lost_while_it_is_read_is_a_miss),
        cmocka_unit_test(stores_wait_for_room),
        cmocka_unit_test(section_answers_again_and_goes_on_outside),
        cmocka_unit_test(waiting_has_an_end),
        cmocka_unit_test(nothing_is_evicted_where_it_must_not),
        cmocka_unit_test(limit_can_be_changed),
        cmocka_unit_test(threads_do_not_mix_values_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
