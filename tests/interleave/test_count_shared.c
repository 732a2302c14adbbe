/*
 * test_count_shared.c -- what each command costs all other threads: locked operations, and writes
 * to cache lines that others use.
 *
 * Method: the commands run on a warm store, each a thousand times, with every access watched.
 * Shared is what does not belong to the calling thread: not its struct store_thread, its epoch
 * word, its stack.  What it writes into an entry that nobody can find yet is counted apart.  A
 * locked operation is a read-modify-write, a sequentially consistent store or fence, a lock or an
 * unlock of a mutex.  Prints a table of it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/inner.h"
#include "watch.h"

#define OPERATIONS 1000u
#define KEYS 4000u                     /* present ones; as many again are absent */
#define FREQUENT_GETS 4u               /* from then on it cannot be seen more often */
#define LINES_MAX 4096u
#define BATCH 40u                      /* keys announced together */

/* ---- counting -------------------------------------------------------------------------------- */

enum what { LOCKED, SHARED_WRITES, SHARED_LINES, FRESH_WRITES, WHAT_COUNT };

static struct store *store;
static struct store_thread *self;
static char *stack, *stack_end;
static unsigned now[WHAT_COUNT];       /* of the running operation */
static uintptr_t lines[LINES_MAX];

static bool
within(const void *at, const void *from, size_t bytes)
{
    return (const char *)at >= (const char *)from && (const char *)at < (const char *)from + bytes;
}

static bool
is_own(const void *at)
{
    return within(at, self, sizeof *self) ||
           within(at, self->epoch_word, sizeof *self->epoch_word) ||
           within(at, stack, (size_t)(stack_end - stack));
}

/* Behind the last entry of the thread's segment. */
static bool
is_fresh(const void *at)
{
    return self->active[QUEUE_SMALL] &&
           within(at, segment_at(&store->pool, self->active[QUEUE_SMALL]) +
                          self->active_fill[QUEUE_SMALL],
                                  store->pool.seg_bytes - self->active_fill[QUEUE_SMALL]);
}

static void
count_line(uintptr_t line)
{
    for (unsigned i = 0; i < now[SHARED_LINES]; i++)
        if (lines[i] == line)
            return;
    CHECK(now[SHARED_LINES] < LINES_MAX);
    lines[now[SHARED_LINES]++] = line;
}

static void
count_write(const void *at, size_t bytes)
{
    if (is_own(at))
        return;
    if (is_fresh(at)) {
        now[FRESH_WRITES]++;
        return;
    }
    now[SHARED_WRITES]++;
    uintptr_t last = ((uintptr_t)at + bytes - 1) / CACHE_LINE;
    for (uintptr_t line = (uintptr_t)at / CACHE_LINE; line <= last; line++)
        count_line(line);
}

static void
see_plain(void *at, size_t bytes, bool write)
{
    if (write)
        count_write(at, bytes);
}

static void
see_atomic(void *at, size_t bytes, enum atomic_kind kind, int order)
{
    if (kind == ATOMIC_CHANGE || (kind != ATOMIC_LOAD && order == __ATOMIC_SEQ_CST))
        now[LOCKED]++;
    if (kind == ATOMIC_STORE || kind == ATOMIC_CHANGE)
        count_write(at, bytes);
}

static void
see_lock(pthread_mutex_t *m)
{
    now[LOCKED]++;
    count_write(m, sizeof *m);
    watch_real_lock(m);
}

static void
see_unlock(pthread_mutex_t *m)
{
    now[LOCKED]++;
    count_write(m, sizeof *m);
    watch_real_unlock(m);
}

static void
see_yield(void)
{
    CHECK(!"nobody to wait for");
}

static const struct watch counting = {
    .plain = see_plain, .atomic = see_atomic, .mutex_lock = see_lock, .mutex_unlock = see_unlock,
    .yield = see_yield, .allocate = watch_real_allocate, .release = watch_real_release,
};

/* ---- the store ------------------------------------------------------------------------------- */

static uint32_t clock_now = 100;
static struct store_key present[KEYS], absent[KEYS];

static uint32_t
read_scripted_clock(void *ctx)
{
    (void)ctx;
    return clock_now;
}

static struct store_key
make_key(const char *word, unsigned number)
{
    char *text = malloc(24);
    CHECK(text);
    struct slice slice = {text, (size_t)snprintf(text, 24, "%s-%u", word, number)};
    return (struct store_key){.text = slice, .hash = store_hash(store, slice)};
}

static void
put(enum store_mode mode, struct store_key key, const char *value, uint64_t cas)
{
    struct store_put p = {.mode = mode, .key = key, .value = {value, strlen(value)},
                          .cas_expected = cas};
    enum store_outcome outcome = store_put(self, &p, NULL);
    CHECK(outcome == (mode == STORE_ADD ? STORE_NOT_STORED : STORE_OK));
}

static void
get_often(struct store_key key)
{
    struct store_view v;
    for (unsigned i = 0; i < FREQUENT_GETS; i++)
        CHECK(store_get(self, &key, NULL, &v) == STORE_OK);
}

static void
get_hit(struct store_key key)
{
    struct store_view v;
    CHECK(store_get(self, &key, NULL, &v) == STORE_OK);
}

static int
make_store(void **state)
{
    struct store_config c = {
        .memory_bytes = (size_t)64 << 20, .value_bytes_max = 1 << 20, .threads_max = 4,
        .cas_enabled = true, .evict = true, .hash_seed = 12345, .clock = read_scripted_clock,
    };
    pthread_attr_t a;
    void *base;
    size_t bytes;
    (void)state;
    CHECK(pthread_getattr_np(pthread_self(), &a) == 0);
    pthread_attr_getstack(&a, &base, &bytes);
    pthread_attr_destroy(&a);
    stack = base;
    stack_end = stack + bytes;
    CHECK(store_create(&c, &store) == 0);
    self = store_join(store);
    for (unsigned i = 0; i < KEYS; i++) {
        present[i] = make_key("present", i);
        absent[i] = make_key("absent", i);
    }
    return 0;
}

static int
drop_store(void **state)
{
    (void)state;
    store_part(self);
    store_destroy(store);
    for (unsigned i = 0; i < KEYS; i++) {
        free((void *)(uintptr_t)present[i].text.at);
        free((void *)(uintptr_t)absent[i].text.at);
    }
    return 0;
}

/* ---- the commands ---------------------------------------------------------------------------- */

static uint64_t cas_seen;
static uint64_t hashes[BATCH];

/* A value seen often, last in this second. */
static void
warm(unsigned i)
{
    put(STORE_SET, present[i], "1000000000", 0);
    get_often(present[i]);
}

static void
warm_then_next_second(unsigned i)
{
    warm(i);
    store_leave(self);
    clock_now++;
    store_enter(self);
}

static void
warm_for_cas(unsigned i)
{
    struct store_view v;
    warm(i);
    CHECK(store_get(self, &present[i], NULL, &v) == STORE_OK);
    cas_seen = v.cas;
}

static void
announce(const struct store_key *keys)
{
    for (unsigned k = 0; k < BATCH; k++)
        hashes[k] = keys[k].hash;
}

static void
warm_batch(unsigned i)
{
    for (unsigned k = 0; k < BATCH; k++)
        warm(i + k);
    announce(present + i);
}

static void
remove_batch(unsigned i)
{
    for (unsigned k = 0; k < BATCH; k++)
        store_delete(self, absent[i + k]);
    announce(absent + i);
}

static void
set_batch_anew(unsigned i)
{
    for (unsigned k = 0; k < BATCH; k++) {
        store_delete(self, present[i + k]);
        put(STORE_SET, present[i + k], "1000000000", 0);
    }
    announce(present + i);
}

static void
set_anew(unsigned i)
{
    store_delete(self, present[i]);
    put(STORE_SET, present[i], "1000000000", 0);
}

static void
remove_absent(unsigned i)
{
    store_delete(self, absent[i]);
}

static void
leave_first(unsigned i)
{
    (void)i;
    store_leave(self);
}

/* What is due once a second has been done. */
static void
leave_settled(unsigned i)
{
    leave_first(i);
    while (store_maintain(self, STORE_MAINTAIN_BUDGET))
        ;
}

static void
run_get(unsigned i)
{
    get_hit(present[i]);
}

static void
run_get_miss(unsigned i)
{
    struct store_view v;
    CHECK(store_get(self, &absent[i], NULL, &v) == STORE_MISS);
}

static void
get_batch(const struct store_key *keys, enum store_outcome wanted)
{
    struct store_view v;
    store_prefetch(self, hashes, BATCH);
    for (unsigned k = 0; k < BATCH; k++) {
        struct store_key key = keys[k];
        key.ahead = k + 1;
        CHECK(store_get(self, &key, NULL, &v) == wanted);
    }
}

static void
run_batch(unsigned i)
{
    get_batch(present + i, STORE_OK);
}

static void
run_batch_miss(unsigned i)
{
    get_batch(absent + i, STORE_MISS);
}

static void
run_touch(unsigned i)
{
    struct store_view v;
    struct store_get_options touch = {.has_expiry = true, .expiry = 100000 + i};
    CHECK(store_get(self, &present[i], &touch, &v) == STORE_OK);
}

static void
run_set_new(unsigned i)
{
    put(STORE_SET, absent[i], "1000000000", 0);
}

static void
run_set_same(unsigned i)
{
    put(STORE_SET, present[i], "2000000000", 0);
}

static void
run_set_other(unsigned i)
{
    put(STORE_SET, present[i], "20000000000000000000", 0);
}

static void
run_add(unsigned i)
{
    put(STORE_ADD, present[i], "2000000000", 0);
}

static void
run_cas(unsigned i)
{
    put(STORE_CAS, present[i], "2000000000", cas_seen);
}

static void
run_append(unsigned i)
{
    put(STORE_APPEND, present[i], "2000000000", 0);
}

static void
run_delete(unsigned i)
{
    CHECK(store_delete(self, present[i]) == STORE_OK);
}

static void
run_incr(unsigned i)
{
    struct store_arith how = {.key = present[i], .delta = 7};
    struct store_number number;
    CHECK(store_arith(self, &how, &number) == STORE_OK);
}

static void
run_section(unsigned i)
{
    (void)i;
    store_enter(self);
    store_leave(self);
}

static void
run_borrow(unsigned i)
{
    (void)i;
    CHECK(store_borrow(self, 16384));
    store_repay(self, 16384);
}

static void
run_maintain(unsigned i)
{
    (void)i;
    CHECK(!store_maintain(self, STORE_MAINTAIN_BUDGET));
}

enum command {
    GET_WARM, GET_NEXT_SECOND, GET_FIRST, GET_MISS, BATCH_WARM, BATCH_FIRST, BATCH_MISS, TOUCH,
    SET_NEW, SET_SAME, SET_OTHER, ADD_FAIL, CAS, APPEND, DELETE, INCR, SECTION, BORROW, MAINTAIN,
    COMMANDS
};

static const struct {
    const char *name;
    void (*prepare)(unsigned i);       /* not counted; a section is open */
    void (*run)(unsigned i);
    bool outside;                      /* of a section */
} commands[COMMANDS] = {
    [GET_WARM] = {"get, seen often, last in this second", warm, run_get, false},
    [GET_NEXT_SECOND] = {"get, seen often, first in a second", warm_then_next_second, run_get,
                         false},
    [GET_FIRST] = {"get, never seen before", set_anew, run_get, false},
    [GET_MISS] = {"get, miss", remove_absent, run_get_miss, false},
    [BATCH_WARM] = {"40 announced gets, seen often", warm_batch, run_batch, false},
    [BATCH_FIRST] = {"40 announced gets, never seen before", set_batch_anew, run_batch, false},
    [BATCH_MISS] = {"40 announced gets, misses", remove_batch, run_batch_miss, false},
    [TOUCH] = {"touch, gat", warm, run_touch, false},
    [SET_NEW] = {"set, new", remove_absent, run_set_new, false},
    [SET_SAME] = {"set, same length", warm, run_set_same, false},
    [SET_OTHER] = {"set, other length", warm, run_set_other, false},
    [ADD_FAIL] = {"add, not stored", warm, run_add, false},
    [CAS] = {"cas, same length", warm_for_cas, run_cas, false},
    [APPEND] = {"append", warm, run_append, false},
    [DELETE] = {"delete", warm, run_delete, false},
    [INCR] = {"incr", warm, run_incr, false},
    [SECTION] = {"enter and leave a section", leave_first, run_section, true},
    [BORROW] = {"borrow and repay", warm, run_borrow, false},
    [MAINTAIN] = {"maintain, nothing due", leave_settled, run_maintain, true},
};

/* ---- the table ------------------------------------------------------------------------------- */

struct figure {
    unsigned median, max;
};

static struct figure figures[COMMANDS][WHAT_COUNT];

static int
compare(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

static void
measure(enum command c)
{
    static unsigned counted[WHAT_COUNT][OPERATIONS];
    for (unsigned i = 0; i < OPERATIONS; i++) {
        store_enter(self);
        commands[c].prepare(i);
        memset(now, 0, sizeof now);
        watch = &counting;
        commands[c].run(i);
        watch = NULL;
        for (unsigned w = 0; w < WHAT_COUNT; w++)
            counted[w][i] = now[w];
        if (!commands[c].outside)
            store_leave(self);
    }
    for (unsigned w = 0; w < WHAT_COUNT; w++) {
        qsort(counted[w], OPERATIONS, sizeof counted[w][0], compare);
        figures[c][w] = (struct figure){counted[w][OPERATIONS / 2], counted[w][OPERATIONS - 1]};
    }
}

static void
test_table(void **state)
{
    (void)state;
    store_enter(self);
    for (unsigned i = 0; i < KEYS; i++)
        warm(i);
    store_leave(self);
    printf("| median (most) of %u | locked operations | writes to shared lines | such lines "
           "| writes to the new entry |\n|---|---|---|---|---|\n", OPERATIONS);
    for (unsigned c = 0; c < COMMANDS; c++) {
        measure(c);
        printf("| %s |", commands[c].name);
        for (unsigned w = 0; w < WHAT_COUNT; w++)
            printf(" %u (%u) |", figures[c][w].median, figures[c][w].max);
        printf("\n");
    }
    assert_null(store_verify(store));
}

/* ---- what is promised ------------------------------------------------------------------------ */

static void
test_gets_touch_nothing_shared(void **state)
{
    static const enum command gets[] = {GET_WARM, GET_MISS, BATCH_WARM, BATCH_MISS};
    (void)state;
    for (unsigned i = 0; i < sizeof gets / sizeof gets[0]; i++) {
        assert_int_equal(figures[gets[i]][LOCKED].max, 0);
        assert_int_equal(figures[gets[i]][SHARED_WRITES].max, 0);
    }
}

static void
test_sections_write_no_shared_line(void **state)
{
    (void)state;
    assert_int_equal(figures[SECTION][LOCKED].max, 1);    /* on the thread's own word */
    assert_int_equal(figures[SECTION][SHARED_WRITES].max, 0);
}

static void
test_maintenance_that_is_not_due_is_free(void **state)
{
    (void)state;
    assert_int_equal(figures[MAINTAIN][LOCKED].max, 0);
    assert_int_equal(figures[MAINTAIN][SHARED_WRITES].median, 0);
}

/* Do we see anything at all?  These must be there. */
static void
test_what_must_be_counted_is(void **state)
{
    (void)state;
    assert_int_equal(figures[BORROW][LOCKED].median, 4);
    assert_in_range(figures[SET_NEW][FRESH_WRITES].median, 4, 100);
    assert_in_range(figures[SET_NEW][SHARED_WRITES].median, 2, 100);
    assert_int_equal(figures[GET_FIRST][LOCKED].median, 0);
    assert_int_equal(figures[GET_FIRST][SHARED_WRITES].median, 1);    /* last access, frequency */
    assert_int_equal(figures[BATCH_FIRST][LOCKED].max, 0);
    assert_int_equal(figures[BATCH_FIRST][SHARED_WRITES].median, BATCH);
    assert_in_range(figures[SET_SAME][SHARED_WRITES].median, 1, 100);
    assert_in_range(figures[SET_SAME][FRESH_WRITES].median, 4, 100);    /* before the lock */
    assert_in_range(figures[INCR][SHARED_WRITES].median, 1, 100);
    assert_int_equal(figures[INCR][FRESH_WRITES].median, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_gets_touch_nothing_shared),
        cmocka_unit_test(test_sections_write_no_shared_line),
        cmocka_unit_test(test_maintenance_that_is_not_due_is_free),
        cmocka_unit_test(test_what_must_be_counted_is),
    };
    return cmocka_run_group_tests(tests, make_store, drop_store);
}
