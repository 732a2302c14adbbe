/*
 * test_lib.c -- liblarder's calls, one by one: what they answer, what they leave alone, time.
 *
 * Long values, pressure and several threads are asked for by test_lib_memory.c.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib_fixture.h"

static enum larder_error
put(struct larder_thread *t, enum larder_mode mode, const char *key, const char *value,
    uint64_t *out_cas)
{
    struct larder_entry entry = {.size = sizeof entry, .key = larder_text(key),
                                 .value = larder_text(value)};
    return larder_put(t, mode, &entry, out_cas);
}

/* ---- reading and storing --------------------------------------------------------------------- */

static void
value_comes_back_with_all_that_belongs_to_it(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    struct larder_view view;
    char buffer[16];
    uint64_t cas = 0;
    struct larder_entry entry = {.size = sizeof entry, .key = larder_span("k\0e", 3),
                                 .value = larder_span("a\0b", 3), .flags = 77, .ttl_s = 60};
    assert_int_equal(larder_put(t, LARDER_SET, &entry, &cas), LARDER_OK);
    assert_true(cas > 0);
    script_now += 10;
    assert_int_equal(larder_get(t, entry.key, buffer, sizeof buffer, &view), LARDER_OK);
    assert_ptr_equal(view.value, buffer);
    assert_int_equal(view.value_bytes, 3);
    assert_memory_equal(buffer, "a\0b", 3);
    assert_int_equal(view.flags, 77);
    assert_int_equal(view.ttl_s, 50);
    assert_int_equal(view.idle_s, 10);
    assert_int_equal(view.cas, cas);
    assert_false(view.fetched);
    assert_int_equal(larder_get(t, entry.key, buffer, sizeof buffer, &view), LARDER_OK);
    assert_true(view.fetched);
    assert_int_equal(view.idle_s, 0);
    assert_missing(t, "k");
    ended(l, t);
}

static void
empty_value_is_a_value(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    struct larder_view view;
    assert_int_equal(larder_set(t, larder_text("e"), larder_span(NULL, 0), 0), LARDER_OK);
    assert_int_equal(larder_get(t, larder_text("e"), NULL, 0, &view), LARDER_OK);
    assert_int_equal(view.value_bytes, 0);
    assert_int_equal(view.ttl_s, 0);
    assert_text(t, "e", "");
    larder_enter(t);
    assert_int_equal(larder_get_view(t, larder_text("e"), &view), LARDER_OK);
    assert_non_null(view.value);
    larder_leave(t);
    ended(l, t);
}

static void
short_buffer_is_left_alone(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    struct larder_bytes key = larder_text("k");
    struct larder_view view;
    char buffer[8] = "........";
    assert_int_equal(larder_set(t, key, larder_text("123456789"), 100), LARDER_OK);
    assert_int_equal(larder_get(t, key, buffer, 8, &view), LARDER_SHORT);
    assert_int_equal(view.value_bytes, 9);
    assert_null(view.value);
    assert_memory_equal(buffer, "........", 8);
    assert_int_equal(larder_get(t, key, buffer, 8, NULL), LARDER_SHORT);
    assert_int_equal(larder_get_and_touch(t, key, 500, buffer, 8, &view), LARDER_SHORT);
    larder_enter(t);
    assert_int_equal(larder_peek_view(t, key, &view), LARDER_OK);
    assert_int_equal(view.ttl_s, 100);
    larder_leave(t);
    ended(l, t);
}

static void
modes_have_their_conditions(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    uint64_t cas = 7;
    assert_int_equal(put(t, LARDER_REPLACE, "k", "x", &cas), LARDER_NOT_STORED);
    assert_int_equal(put(t, LARDER_APPEND, "k", "x", &cas), LARDER_NOT_STORED);
    assert_int_equal(put(t, LARDER_PREPEND, "k", "x", &cas), LARDER_NOT_STORED);
    assert_int_equal(cas, 7);
    assert_missing(t, "k");
    assert_int_equal(put(t, LARDER_ADD, "k", "b", NULL), LARDER_OK);
    assert_int_equal(put(t, LARDER_ADD, "k", "x", NULL), LARDER_NOT_STORED);
    assert_int_equal(put(t, LARDER_APPEND, "k", "c", NULL), LARDER_OK);
    assert_int_equal(put(t, LARDER_PREPEND, "k", "a", NULL), LARDER_OK);
    assert_text(t, "k", "abc");
    assert_int_equal(put(t, LARDER_REPLACE, "k", "new", NULL), LARDER_OK);
    assert_text(t, "k", "new");
    ended(l, t);
}

static void
cas_takes_the_number_that_is_there(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    uint64_t first, second = 0;
    struct larder_entry entry = {.size = sizeof entry, .key = larder_text("k"),
                                 .value = larder_text("2"), .cas_expected = 1};
    assert_int_equal(larder_put(t, LARDER_CAS, &entry, NULL), LARDER_MISS);
    assert_int_equal(put(t, LARDER_SET, "k", "1", &first), LARDER_OK);
    entry.cas_expected = first + 1;
    assert_int_equal(larder_put(t, LARDER_CAS, &entry, &second), LARDER_EXISTS);
    assert_int_equal(second, 0);
    entry.cas_expected = first;
    assert_int_equal(larder_put(t, LARDER_CAS, &entry, &second), LARDER_OK);
    assert_true(second > first);
    assert_int_equal(larder_put(t, LARDER_CAS, &entry, NULL), LARDER_EXISTS);
    assert_text(t, "k", "2");
    assert_int_equal(larder_delete_cas(t, entry.key, first), LARDER_EXISTS);
    assert_int_equal(larder_delete_cas(t, entry.key, second), LARDER_OK);
    assert_int_equal(larder_delete_cas(t, entry.key, second), LARDER_MISS);
    ended(l, t);
}

static void
without_cas_entries_are_smaller_and_have_no_number(void **state)
{
    (void)state;
    struct larder_config config = config_of(8 * MIB);
    struct larder *with = made(config);
    config.flags = LARDER_NO_CAS;
    struct larder *l = made(config);
    struct larder_thread *t = joined(l);
    uint64_t cas = 7;
    assert_int_equal(put(t, LARDER_SET, "k", "v", &cas), LARDER_OK);
    assert_int_equal(cas, 0);
    assert_int_equal(larder_entry_bytes(with, 10, 100, 0), larder_entry_bytes(l, 10, 100, 0) + 8);
    assert_int_equal(stats_of(l).bytes_present, larder_entry_bytes(l, 1, 1, 0));
    larder_destroy(with);
    ended(l, t);
}

static void
numbers_are_counted(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    struct larder_bytes key = larder_text("n");
    uint64_t number = 7;
    assert_int_equal(larder_incr(t, key, 1, &number), LARDER_MISS);
    assert_int_equal(number, 7);
    assert_int_equal(put(t, LARDER_SET, "n", "99", NULL), LARDER_OK);
    assert_int_equal(larder_incr(t, key, 1, &number), LARDER_OK);
    assert_int_equal(number, 100);
    assert_text(t, "n", "100");
    assert_int_equal(larder_decr(t, key, 10, &number), LARDER_OK);
    assert_int_equal(number, 90);
    assert_text(t, "n", "90 ");
    assert_int_equal(larder_decr(t, key, 1000, NULL), LARDER_OK);
    assert_int_equal(larder_incr(t, key, UINT64_MAX, &number), LARDER_OK);
    assert_true(number == UINT64_MAX);
    assert_int_equal(larder_incr(t, key, 1, &number), LARDER_OK);
    assert_int_equal(number, 0);
    assert_int_equal(put(t, LARDER_SET, "n", "9x", NULL), LARDER_OK);
    assert_int_equal(larder_incr(t, key, 1, &number), LARDER_NOT_A_NUMBER);
    assert_int_equal(larder_decr(t, key, 1, &number), LARDER_NOT_A_NUMBER);
    ended(l, t);
}

static void
deleted_is_gone(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    assert_int_equal(larder_delete(t, larder_text("k")), LARDER_MISS);
    assert_int_equal(put(t, LARDER_SET, "k", "v", NULL), LARDER_OK);
    assert_int_equal(larder_delete(t, larder_text("k")), LARDER_OK);
    assert_missing(t, "k");
    assert_int_equal(stats_of(l).items_deleted, 1);
    ended(l, t);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void
entries_live_as_long_as_told(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    struct larder_bytes key = larder_text("k");
    struct larder_view view;
    char buffer[8];
    assert_int_equal(larder_set(t, key, larder_text("v"), 10), LARDER_OK);
    assert_int_equal(larder_set(t, larder_text("ever"), larder_text("v"), 0), LARDER_OK);
    assert_int_equal(larder_set(t, larder_text("long"), larder_text("v"), UINT32_MAX), LARDER_OK);
    script_now += 9;
    assert_text(t, "k", "v");
    assert_int_equal(larder_touch(t, key, 10), LARDER_OK);
    script_now += 9;
    assert_int_equal(larder_get_and_touch(t, key, 20, buffer, sizeof buffer, &view), LARDER_OK);
    assert_int_equal(view.ttl_s, 1);
    script_now += 19;
    larder_enter(t);
    assert_int_equal(larder_get_view_and_touch(t, key, 5, &view), LARDER_OK);
    assert_int_equal(view.ttl_s, 1);
    assert_true(larder_now(t) == script_now);
    larder_leave(t);
    script_now += 5;
    assert_missing(t, "k");
    assert_int_equal(larder_touch(t, key, 10), LARDER_MISS);
    assert_int_equal(stats_of(l).items_expired, 1);
    script_now += 86400 * 365;
    assert_text(t, "ever", "v");
    assert_text(t, "long", "v");
    ended(l, t);
}

static void
clock_that_goes_back_stands_still(void **state)
{
    (void)state;
    uint64_t before = script_now;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    script_now += 100;
    assert_int_equal(larder_set(t, larder_text("k"), larder_text("v"), 10), LARDER_OK);
    script_now = 5;
    assert_text(t, "k", "v");
    larder_enter(t);
    assert_true(larder_now(t) == before + 100);
    larder_leave(t);
    script_now = before + 110;
    assert_missing(t, "k");
    ended(l, t);
}

static void
system_clock_is_the_default(void **state)
{
    (void)state;
    struct larder *l;
    struct larder_thread *t;
    assert_int_equal(larder_create(NULL, &l), LARDER_OK);
    t = joined(l);
    larder_enter(t);
    assert_true(larder_now(t) <= 1);
    larder_leave(t);
    assert_int_equal(stats_of(l).memory_limit_bytes, 64 * MIB);
    ended(l, t);
}

static void
flush_ends_what_was_stored_before(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    assert_int_equal(put(t, LARDER_SET, "a", "1", NULL), LARDER_OK);
    larder_flush(t, 0);
    assert_missing(t, "a");
    assert_int_equal(put(t, LARDER_SET, "a", "2", NULL), LARDER_OK);
    assert_text(t, "a", "2");
    larder_flush(t, 10);
    script_now += 9;
    assert_text(t, "a", "2");
    script_now += 1;
    assert_missing(t, "a");
    assert_int_equal(put(t, LARDER_SET, "a", "3", NULL), LARDER_OK);
    larder_flush(t, 10);
    larder_flush_forget(t);
    script_now += 20;
    assert_text(t, "a", "3");
    assert_int_equal(stats_of(l).items_flushed, 2);
    ended(l, t);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void
keys_have_1_to_250_bytes(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    char text[251], buffer[8];
    struct larder_view view;
    memset(text, 'k', sizeof text);
    struct larder_bytes longest = larder_span(text, 250);
    assert_int_equal(larder_set(t, longest, larder_text("v"), 0), LARDER_OK);
    assert_int_equal(larder_get(t, longest, buffer, sizeof buffer, NULL), LARDER_OK);
    for (unsigned i = 0; i < 2; i++) {
        struct larder_bytes key = larder_span(text, i ? 251 : 0);
        assert_int_equal(larder_set(t, key, larder_text("v"), 0), LARDER_BAD_KEY);
        assert_int_equal(larder_get(t, key, buffer, sizeof buffer, NULL), LARDER_BAD_KEY);
        assert_int_equal(larder_get_and_touch(t, key, 1, buffer, 8, NULL), LARDER_BAD_KEY);
        assert_int_equal(larder_get_alloc(t, key, &view), LARDER_BAD_KEY);
        assert_int_equal(larder_touch(t, key, 1), LARDER_BAD_KEY);
        assert_int_equal(larder_delete(t, key), LARDER_BAD_KEY);
        assert_int_equal(larder_delete_cas(t, key, 1), LARDER_BAD_KEY);
        assert_int_equal(larder_incr(t, key, 1, NULL), LARDER_BAD_KEY);
        assert_int_equal(larder_decr(t, key, 1, NULL), LARDER_BAD_KEY);
        larder_enter(t);
        larder_prefetch(t, &key, 1);
        assert_int_equal(larder_get_view(t, key, &view), LARDER_BAD_KEY);
        assert_int_equal(larder_get_view_and_touch(t, key, 1, &view), LARDER_BAD_KEY);
        assert_int_equal(larder_peek_view(t, key, &view), LARDER_BAD_KEY);
        larder_leave(t);
    }
    ended(l, t);
}

static void
calls_out_of_place_are_refused(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    struct larder_bytes key = larder_text("k"), span;
    struct larder_entry entry = {.size = sizeof entry, .key = key, .value = larder_text("v")};
    struct larder_view view = {0};
    char buffer[8];
    assert_int_equal(larder_put(t, LARDER_SET, &entry, NULL), LARDER_OK);
    assert_int_equal(larder_put(t, (enum larder_mode)6, &entry, NULL), LARDER_INVALID);
    entry.size = 8;
    assert_int_equal(larder_put(t, LARDER_SET, &entry, NULL), LARDER_INVALID);
    struct {
        struct larder_entry known;
        uint64_t later;
    } longer = {.known = entry, .later = 1};
    longer.known.size = sizeof longer;
    assert_int_equal(larder_put(t, LARDER_SET, &longer.known, NULL), LARDER_INVALID);
    longer.later = 0;
    assert_int_equal(larder_put(t, LARDER_SET, &longer.known, NULL), LARDER_OK);
    assert_int_equal(larder_get_view(t, key, &view), LARDER_INVALID);
    assert_int_equal(larder_get_view_and_touch(t, key, 1, &view), LARDER_INVALID);
    assert_int_equal(larder_peek_view(t, key, &view), LARDER_INVALID);
    assert_int_equal(larder_view_copy(t, &view, 0, buffer, 0), LARDER_INVALID);
    assert_int_equal(larder_view_spans(t, &view, 0, &span, 1), 0);
    larder_prefetch(t, &key, 1);
    larder_enter(t);
    assert_false(larder_maintain(t));
    assert_false(larder_populate(t));
    assert_int_equal(larder_get_view(t, key, &view), LARDER_OK);
    assert_int_equal(larder_view_copy(t, &view, 1, buffer, 1), LARDER_INVALID);
    assert_int_equal(larder_view_copy(t, &view, 2, buffer, 0), LARDER_INVALID);
    assert_int_equal(larder_view_copy(t, &view, 1, buffer, 0), LARDER_OK);
    assert_int_equal(larder_view_spans(t, &view, 1, &span, 1), 0);
    assert_int_equal(larder_view_spans(t, &view, 0, &span, 0), 0);
    assert_int_equal(larder_view_spans(t, &view, 0, &span, 1), 1);
    assert_int_equal(span.len, 1);
    larder_leave(t);
    ended(l, t);
}

static void
configs_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct {
        struct larder_config known;
        size_t later;
    } longer = {.known = config_of(8 * MIB)};
    struct larder_config tries[10], *at = tries;
    struct larder *l = NULL;
    for (unsigned i = 0; i < 10; i++)
        tries[i] = config_of(8 * MIB);
    at++->size = 0;
    at++->size = sizeof(size_t);
    at++->memory_bytes = 8 * MIB - 1;
    at++->memory_bytes = SIZE_MAX;
    at++->memory_bytes_most = 7 * MIB;
    at++->value_bytes_max = LARDER_VALUE_BYTES_MAX + 1;
    at++->threads_max = LARDER_THREADS_MAX + 1;
    at++->flags = 8;
    while (at-- != tries)
        assert_int_equal(larder_create(at, &l), LARDER_INVALID);
    assert_null(l);
    longer.known.size = sizeof longer;
    longer.later = 1;
    assert_int_equal(larder_create(&longer.known, &l), LARDER_INVALID);
    longer.later = 0;                  /* a later program that does not use what is new */
    assert_int_equal(larder_create(&longer.known, &l), LARDER_OK);
    larder_destroy(l);
    /* one that knows less */
    struct larder_config shorter = {.size = offsetof(struct larder_config, memory_bytes_most),
                                    .memory_bytes = 16 * MIB, .flags = 0xffff};
    assert_int_equal(larder_create(&shorter, &l), LARDER_OK);
    assert_int_equal(stats_of(l).memory_limit_bytes, 16 * MIB);
    larder_destroy(l);
    larder_destroy(NULL);
    larder_part(NULL);
}

/* Each in a process of its own, as it ends that. */
static void
mistakes_that_destroy_end_the_process(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    for (unsigned mistake = 0; mistake < 4; mistake++) {
        int status;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            setrlimit(RLIMIT_CORE, &(struct rlimit){0});
            close(STDERR_FILENO);      /* what it says is not for this report */
            if (mistake == 0)
                larder_leave(t);
            else if (mistake == 1)
                larder_destroy(l);
            else
                larder_enter(t);
            if (mistake == 2)
                larder_enter(t);
            else if (mistake == 3)
                larder_part(t);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
    ended(l, t);
}

static void
no_more_threads_join_than_announced(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t[4], *more = NULL;
    for (unsigned i = 0; i < 4; i++)
        t[i] = joined(l);
    assert_int_equal(larder_join(l, &more), LARDER_THREADS);
    assert_null(more);
    larder_part(t[2]);
    t[2] = joined(l);
    for (unsigned i = 0; i < 4; i++)
        larder_part(t[i]);
    larder_destroy(l);
}

static void
every_error_has_a_sentence(void **state)
{
    (void)state;
    for (int a = LARDER_OK; a <= LARDER_THREADS; a++) {
        const char *said = larder_strerror((enum larder_error)a);
        assert_true(strlen(said) > 8);
        assert_string_not_equal(said, larder_strerror((enum larder_error)99));
        for (int b = LARDER_OK; b < a; b++)
            assert_string_not_equal(said, larder_strerror((enum larder_error)b));
    }
    assert_string_equal(larder_version(), LARDER_VERSION);
}

/* ---- numbers about it ------------------------------------------------------------------------ */

static void
programs_of_other_versions_read_numbers(void **state)
{
    (void)state;
    struct larder *l = made(config_of(8 * MIB));
    struct larder_thread *t = joined(l);
    struct {
        struct larder_stats known;
        uint64_t later;
    } longer = {.known = {.size = sizeof longer}, .later = 5};
    struct larder_stats shorter = {.size = offsetof(struct larder_stats, evicted_unfetched),
                                   .evicted_unfetched = 5};
    assert_int_equal(put(t, LARDER_SET, "k", "v", NULL), LARDER_OK);
    assert_int_equal(larder_stats_read(l, &longer.known), LARDER_OK);
    assert_int_equal(longer.known.items_stored, 1);
    assert_int_equal(longer.known.size, sizeof longer);
    assert_int_equal(longer.later, 0);
    assert_int_equal(larder_stats_read(l, &shorter), LARDER_OK);
    assert_int_equal(shorter.items_present, 1);
    assert_int_equal(shorter.evicted_unfetched, 5);
    shorter.size = 0;
    assert_int_equal(larder_stats_read(l, &shorter), LARDER_INVALID);
    larder_stats_reset(l);
    assert_int_equal(stats_of(l).maintain_longest_ns, 0);
    ended(l, t);
}

/* Announced or not, in the order announced or not: every key leads to its own value. */
static void
announced_keys_are_answered_as_others(void **state)
{
    (void)state;
    struct larder *l = made(config_of(16 * MIB));
    struct larder_thread *t = joined(l);
    char texts[100][24];
    struct larder_bytes keys[100];
    for (unsigned i = 0; i < 100; i++) {
        keys[i] = numbered(texts[i], i);
        if (i % 3)
            assert_int_equal(larder_set(t, keys[i], keys[i], 0), LARDER_OK);
    }
    for (unsigned step = 1; step < 8; step++) {
        larder_enter(t);
        larder_prefetch(t, keys, 100);
        for (unsigned n = 0, i = 0; n < 100; n++, i = (i + step) % 100) {
            struct larder_view view;
            char text[24];
            bool there = i % 3 || step > 3;
            struct larder_bytes key = n % 5 != 4 ? keys[i] : numbered(text, i);
            assert_int_equal(larder_get_view(t, key, &view), there ? LARDER_OK : LARDER_MISS);
            if (!there && step == 3)
                assert_int_equal(larder_set(t, key, keys[i], 0), LARDER_OK);
            if (there) {
                assert_int_equal(view.value_bytes, keys[i].len);
                assert_memory_equal(view.value, keys[i].at, keys[i].len);
            }
        }
        larder_leave(t);
    }
    ended(l, t);
}

/* Else a part that is cut, moved or of another value would not show. */
static void
neighbours_in_a_value_differ(void **state)
{
    (void)state;
    for (uint64_t stamp = 0; stamp < 100; stamp++)
        for (size_t i = 0; i < 1000; i++) {
            assert_int_not_equal(byte_of(stamp, i), byte_of(stamp, i + 1));
            assert_int_not_equal(byte_of(stamp, i), byte_of(stamp + 1, i));
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(value_comes_back_with_all_that_belongs_to_it),
        cmocka_unit_test(empty_value_is_a_value),
        cmocka_unit_test(short_buffer_is_left_alone),
        cmocka_unit_test(modes_have_their_conditions),
        cmocka_unit_test(cas_takes_the_number_that_is_there),
        cmocka_unit_test(without_cas_entries_are_smaller_and_have_no_number),
        cmocka_unit_test(numbers_are_counted),
        cmocka_unit_test(deleted_is_gone),
        cmocka_unit_test(entries_live_as_long_as_told),
        cmocka_unit_test(clock_that_goes_back_stands_still),
        cmocka_unit_test(system_clock_is_the_default),
        cmocka_unit_test(flush_ends_what_was_stored_before),
        cmocka_unit_test(keys_have_1_to_250_bytes),
        cmocka_unit_test(calls_out_of_place_are_refused),
        cmocka_unit_test(configs_that_make_no_sense_are_refused),
        cmocka_unit_test(mistakes_that_destroy_end_the_process),
        cmocka_unit_test(no_more_threads_join_than_announced),
        cmocka_unit_test(every_error_has_a_sentence),
        cmocka_unit_test(programs_of_other_versions_read_numbers),
        cmocka_unit_test(neighbours_in_a_value_differ),
        cmocka_unit_test(announced_keys_are_answered_as_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
