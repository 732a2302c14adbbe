/*
 * test_store_threads.c -- threads that fill one store at once.
 *
 * Goal: each sees its own last values and whole ones of the others; what is in use stays within the
 * limit at every moment; what was stored stays where nothing may be evicted.
 */
#include "store_fixture.h"

#include <stdatomic.h>
#include <unistd.h>

/* ---- what they see of one another ------------------------------------------------------------ */

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
    uint64_t x = kit_random(&r->random);
    bool own = x & 1;
    unsigned key = own ? RACE_KEYS * (r->number + 1) + (unsigned)(x >> 8) % RACE_OWN
                       : (unsigned)(x >> 8) % 64;
    unsigned slot = (unsigned)(x >> 8) % RACE_OWN;
    char text[KIT_KEY_CHARS], value[3000];
    struct store_key k = kit_key(r->s, text, key);
    if (x >> 40 & 1) {
        uint64_t stamp = (uint64_t)r->number << 40 | (x >> 20 & 0xfffff) | 1;
        size_t len = 8 + (x >> 33) % (x & 2 ? 2900 : 100);
        kit_fill(value, stamp, len);
        memcpy(value, &stamp, 8);
        struct store_put put = {.mode = STORE_SET, .key = k, .value = {value, len}};
        if (kit_put(r->s, t, &put, NULL, NULL) == STORE_OK && own)
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
    if (kit_get(t, k, NULL, &v) != STORE_OK)
        return;
    uint64_t stamp;
    memcpy(&stamp, v.value, 8);
    if (own && stamp != last[slot])
        r->wrong = "a thread did not see what it stored last";
    for (size_t i = 8; i < v.value_bytes; i++)
        if (v.value[i] != kit_byte(stamp, i))
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
            kit_give_time(t);
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

/* ---- filling --------------------------------------------------------------------------------- */

struct filling {
    struct store *s;
    unsigned threads, keys;            /* of each thread its own */
    bool evict;
    atomic_uint finished, refused;
    _Atomic(const char *) wrong;
};

struct filler {
    struct filling *filling;
    unsigned number;
    pthread_t thread;
    uint64_t random;
    struct store_thread *t;
    uint32_t *lens;                    /* of each own key, what it holds; NOT_STORED: nothing */
};

#define NOT_STORED UINT32_MAX
#define FILL_LEN_MAX 40000u

static uint64_t
fill_stamp(const struct filler *f, unsigned key, size_t len)
{
    return ((uint64_t)f->number << 32 | key) * 1000003u + len;
}

static size_t
fill_len(struct filler *f)
{
    uint64_t r = kit_random(&f->random);
    return r % 100 == 0 ? (r >> 8) % FILL_LEN_MAX : (r >> 8) % (r & 128 ? 3000 : 200);
}

static void
fill_key(struct filler *f, unsigned key, char *buf)
{
    struct filling *fl = f->filling;
    char text[KIT_KEY_CHARS];
    size_t len = fill_len(f);
    kit_fill(buf, fill_stamp(f, key, len), len);
    struct store_put put = {.mode = STORE_SET, .value = {buf, len},
                            .key = kit_key(fl->s, text, f->number * fl->keys + key)};
    enum store_outcome outcome = kit_put(fl->s, f->t, &put, NULL, NULL);
    if (outcome == STORE_OK)
        f->lens[key] = (uint32_t)len;
    else if (outcome == STORE_NO_MEMORY && !fl->evict)
        atomic_fetch_add(&fl->refused, 1);
    else
        atomic_store(&fl->wrong, "a set was neither stored nor refused for want of memory");
}

static void
look_at_key(struct filler *f, unsigned key, char *buf, char *expected)
{
    struct filling *fl = f->filling;
    char text[KIT_KEY_CHARS];
    struct store_view v;
    enum store_outcome outcome =
        kit_get(f->t, kit_key(fl->s, text, f->number * fl->keys + key), NULL, &v);
    if (outcome == STORE_OK && v.value_bytes <= FILL_LEN_MAX && kit_read(f->t, &v, buf)) {
        kit_fill(expected, fill_stamp(f, key, v.value_bytes), v.value_bytes);
        if (v.value_bytes != f->lens[key] || memcmp(buf, expected, v.value_bytes) != 0)
            atomic_store(&fl->wrong, "a thread did not find what it stored last");
    } else if (!fl->evict && f->lens[key] != NOT_STORED) {
        atomic_store(&fl->wrong, "what was stored is gone, and nothing may be evicted");
    }
}

static void *
fill(void *arg)
{
    struct filler *f = arg;
    struct filling *fl = f->filling;
    char *buf = malloc(2 * FILL_LEN_MAX);
    f->lens = malloc(fl->keys * sizeof *f->lens);
    f->t = store_join(fl->s);
    CHECK(buf && f->lens && f->t);
    memset(f->lens, 0xff, fl->keys * sizeof *f->lens);
    store_enter(f->t);
    for (unsigned i = 0; i < fl->keys * 2 && !atomic_load(&fl->wrong); i++) {
        uint64_t r = kit_random(&f->random);
        if (i < fl->keys || r & 1)
            fill_key(f, i < fl->keys ? i : (unsigned)(r >> 8) % fl->keys, buf);
        else
            look_at_key(f, (unsigned)(r >> 8) % fl->keys, buf, buf + FILL_LEN_MAX);
        if (i % 16 == 0)
            kit_give_time(f->t);
    }
    for (unsigned i = 0; i < fl->keys; i++)
        look_at_key(f, i, buf, buf + FILL_LEN_MAX);
    store_leave(f->t);
    store_part(f->t);
    free(f->lens);
    free(buf);
    atomic_fetch_add(&fl->finished, 1);
    return NULL;
}

/* The limit is looked at while they fill, and where `lowest` is given it goes down and up. */
static void
watch(struct filling *fl, size_t lowest, size_t highest)
{
    uint64_t random = seed * 5 + 1;
    while (atomic_load(&fl->finished) < fl->threads) {
        struct store_stats n;
        store_stats_read(fl->s, &n);
        if (n.memory_used_bytes > highest)
            atomic_store(&fl->wrong, "more memory is in use than the limit ever was");
        if (lowest && !store_limit_set(fl->s, lowest + kit_random(&random) % (highest - lowest)))
            atomic_store(&fl->wrong, "a limit that can be kept was refused");
        usleep(lowest ? 20000 : 200);
    }
}

static void
settle_limit(struct store *s)
{
    struct store_thread *t = store_join(s);
    assert_non_null(t);
    for (unsigned i = 0; i < 1000000 && store_maintain_due(s); i++)
        store_maintain(t, STORE_MAINTAIN_BUDGET);
    store_part(t);
    assert_within_limit(s);
}

static void
fill_at_once(unsigned threads, size_t memory, bool evict, bool cas, bool limits)
{
    static struct filling fl;
    struct filler fillers[64];
    unsigned bytes_of_each = (unsigned)(memory / threads) * (KIT_SANITIZED ? 1 : 5);
    fl = (struct filling){.s = make_store_for(threads, memory, evict, cas), .threads = threads,
                          .keys = bytes_of_each / 1000 / 3, .evict = evict};
    for (unsigned i = 0; i < threads; i++) {
        fillers[i] = (struct filler){.filling = &fl, .number = i, .random = seed + i * 77 + 1};
        assert_int_equal(pthread_create(&fillers[i].thread, NULL, fill, &fillers[i]), 0);
    }
    watch(&fl, limits ? memory / 2 : 0, limits ? memory * 2 : memory);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(fillers[i].thread, NULL);
    if (atomic_load(&fl.wrong))
        fail_msg("%s (LARDER_SEED=%llu)", atomic_load(&fl.wrong), (unsigned long long)seed);
    settle_limit(fl.s);
    assert_whole(fl.s);
    struct store_stats n;
    store_stats_read(fl.s, &n);
    bool filled = (evict ? n.items_evicted : atomic_load(&fl.refused)) > 0;
    assert_true(filled || limits || KIT_SANITIZED);
    assert_true(evict || n.items_evicted == 0);
    store_destroy(fl.s);
}

static void
four_fill_8_mib(void **state)
{
    (void)state;
    fill_at_once(4, 8 * MIB, true, true, false);
    fill_at_once(4, 8 * MIB, true, false, false);
}

static void
four_fill_8_mib_without_eviction(void **state)
{
    (void)state;
    fill_at_once(4, 8 * MIB, false, true, false);
    fill_at_once(4, 8 * MIB, false, false, false);
}

static void
many_fill_64_mib(void **state)
{
    (void)state;
    fill_at_once(64, 64 * MIB, true, true, false);
}

static void
many_fill_64_mib_without_eviction(void **state)
{
    (void)state;
    fill_at_once(64, 64 * MIB, false, true, false);
}

static void
four_fill_under_a_changing_limit(void **state)
{
    (void)state;
    fill_at_once(4, 16 * MIB, true, true, true);
}

static void
many_fill_under_a_changing_limit(void **state)
{
    (void)state;
    fill_at_once(64, 64 * MIB, true, true, true);
}

int
main(void)
{
    seed = kit_seed("test_store_threads");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_see_whole_and_newest_values),
        cmocka_unit_test(four_fill_8_mib),
        cmocka_unit_test(four_fill_8_mib_without_eviction),
        cmocka_unit_test(many_fill_64_mib),
        cmocka_unit_test(many_fill_64_mib_without_eviction),
        cmocka_unit_test(four_fill_under_a_changing_limit),
        cmocka_unit_test(many_fill_under_a_changing_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
