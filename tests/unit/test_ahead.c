/*
 * test_ahead.c -- keys that are announced, and then not asked for as was announced.
 *
 * Goal: a get of an announced key answers as one that was not announced, whatever has been kept
 * about the key, about others, or in a section before.  One thread; what others may do meanwhile is
 * tests/interleave/test_interleave_ahead.c, and random sequences are test_store_model.c.
 */
#include "store/index.h"    /* before a `seed` of ours */

#include "store_fixture.h"

#include <limits.h>

#define MOST 600u
#define KEYS_MOST (4 * MOST)

static struct store *store;
static struct store_thread *self;
static char texts[KEYS_MOST][KIT_KEY_CHARS];
static struct store_key keys[KEYS_MOST];
static uint64_t hashes[MOST];

/* ---- what is done ---------------------------------------------------------------------------- */

static int
set_up(void **state)
{
    (void)state;
    store = make_store(64 * MIB, true, true);
    self = store_join(store);
    for (unsigned i = 0; i < KEYS_MOST; i++)
        keys[i] = kit_key(store, texts[i], i);
    store_enter(self);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    store_leave(self);
    store_part(self);
    assert_whole(store);
    store_destroy(store);
    return 0;
}

/* The value of a key is its text, and what is beyond that tells versions apart. */
static void
set(struct store_key key, const char *more)
{
    char value[100];
    int n = snprintf(value, sizeof value, "%.*s%s", (int)key.text.len, key.text.at, more);
    struct store_put put = {.mode = STORE_SET, .key = key, .value = {value, (size_t)n}};
    assert_int_equal(kit_put(store, self, &put, NULL, NULL), STORE_OK);
}

static struct store_key
at_place(struct store_key key, unsigned place)
{
    key.ahead = place + 1;
    return key;
}

static void
announce(const struct store_key *from, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        hashes[i] = from[i].hash;
    store_prefetch(self, hashes, n);
}

static void
assert_has(struct store_key key, const char *more)
{
    char wanted[100];
    struct store_view v;
    int n = snprintf(wanted, sizeof wanted, "%.*s%s", (int)key.text.len, key.text.at, more);
    assert_int_equal(kit_get(self, key, NULL, &v), STORE_OK);
    assert_int_equal(v.value_bytes, n);
    assert_memory_equal(v.value, wanted, v.value_bytes);
}

static void
assert_misses(struct store_key key)
{
    struct store_view v;
    assert_int_equal(kit_get(self, key, NULL, &v), STORE_MISS);
}

static bool
is_set(unsigned number)
{
    return number % 3 != 0;
}

static void
set_two_thirds(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (is_set(i))
            set(keys[i], "");
}

static void
assert_right(unsigned number, unsigned place)
{
    if (is_set(number))
        assert_has(at_place(keys[number], place), "");
    else
        assert_misses(at_place(keys[number], place));
}

/* ---- places ---------------------------------------------------------------------------------- */

static void
every_count_in_order(void **state)
{
    (void)state;
    set_two_thirds(KEYS_MOST);
    for (unsigned n = 0; n <= MOST; n++) {
        announce(keys + n, n);
        for (unsigned i = 0; i < n; i++)
            assert_right(n + i, i);
    }
}

/* What was kept of a key is overwritten by that of another, 32 places on. */
static void
every_order(void **state)
{
    (void)state;
    uint64_t random = seed;
    set_two_thirds(MOST);
    for (unsigned from = 0; from < 120; from++)
        for (unsigned to = 0; to < 120; to++) {
            announce(keys, 120);
            assert_right(from, from);
            assert_right(to, to);
            assert_right(from, from);
        }
    for (unsigned i = 0; i < 50000; i++) {
        unsigned place = (unsigned)(kit_random(&random) % MOST);
        if (i % 100 == 0)
            announce(keys, MOST);
        assert_right(place, place);
    }
}

/* A key that says the place of another, or none. */
static void
other_places(void **state)
{
    (void)state;
    set_two_thirds(MOST);
    for (unsigned n = 1; n < 70; n++) {
        announce(keys, n);
        for (unsigned i = 0; i < n + 40; i++) {
            assert_right((i + 1) % MOST, i);
            assert_right((i * 7 + 2) % MOST, i);
        }
        assert_right(1, UINT_MAX - 1);
        assert_right(3, UINT_MAX);     /* none */
    }
}

/* ---- announced again, or not any more -------------------------------------------------------- */

static void
the_last_announcement_counts(void **state)
{
    (void)state;
    set_two_thirds(MOST);
    for (unsigned n = 0; n < 40; n++) {
        announce(keys, n);
        if (n)
            assert_right(n / 2, n / 2);
        announce(keys + 1, 40 - n);
        for (unsigned i = 0; i < 40; i++)
            assert_right(i + 1, i);
    }
}

/* The array of hashes belongs to the caller again when nothing is announced. */
static void
nothing_is_announced(void **state)
{
    (void)state;
    set_two_thirds(2);
    announce(keys, 2);
    store_prefetch(self, hashes, 0);
    hashes[0] = keys[1].hash;
    assert_right(1, 0);
}

/* ... and when the section has ended. */
static void
a_section_ends_it(void **state)
{
    (void)state;
    set_two_thirds(60);
    for (unsigned n = 1; n < 20; n++) {
        announce(keys, n);
        kit_give_time(self);
        for (unsigned i = 0; i < n; i++)
            hashes[i] = keys[i + 1].hash;
        for (unsigned i = 0; i < n; i++)
            assert_right(i + 1, i);
    }
}

/* ---- changes in between ---------------------------------------------------------------------- */

static void
changed_in_between(void **state)
{
    (void)state;
    struct store_get_options touch = {.has_expiry = true};
    struct store_view v;
    for (unsigned round = 0; round < 200; round++) {
        struct store_key k = keys[round], other = keys[MOST + round];
        if (round % 2)
            set(k, "1");
        announce(&k, 1);
        k = at_place(k, 0);
        set(k, "2");
        assert_has(k, "2");
        set(k, "longer");
        assert_has(k, "longer");
        set(other, "");
        assert_has(k, "longer");
        assert_int_equal(store_delete(self, k), STORE_OK);
        assert_misses(k);
        set(k, "3");
        assert_has(k, "3");
        touch.expiry = script_now;
        assert_int_equal(kit_get(self, k, &touch, &v), STORE_OK);
        assert_misses(k);
        set(k, "4");
        store_flush(self, store_now(self));
        assert_misses(k);
    }
}

/* The index grows by a group at a time while keys are announced. */
static void
split_in_between(void **state)
{
    (void)state;
    unsigned next = 0;
    struct store_stats before, after;
    store_stats_read(store, &before);
    set_two_thirds(MOST);
    for (unsigned round = 0; round < 60; round++) {
        announce(keys, MOST);
        for (unsigned i = 0; i < MOST; i++) {
            char text[KIT_KEY_CHARS];
            if (i % 2)
                set(kit_key(store, text, KEYS_MOST + next++), "");
            assert_right(i, i);
        }
    }
    store_stats_read(store, &after);
    assert_true(after.index_groups > before.index_groups + 16);
}

/* ---- one bucket ------------------------------------------------------------------------------ */

#define CROWD 70u

static char crowd_texts[CROWD][KIT_KEY_CHARS];
static unsigned crowd_number;

/* The next key whose hash has these bits. */
static struct store_key
key_like(char *text, uint64_t bits, uint64_t mask)
{
    for (;;) {
        struct store_key key = kit_key(store, text, crowd_number++);
        if (((key.hash ^ bits) & mask) == 0)
            return key;
    }
}

/* Most lie in lines, and move up when others go. */
static void
in_lines(void **state)
{
    (void)state;
    const uint64_t mask = 255 | 3ull << (HASH_TAG_SHIFT + HASH_TAG_BITS - 2);
    struct store_key crowd[CROWD];
    bool there[CROWD] = {false};
    uint64_t random = seed;
    for (unsigned i = 0; i < CROWD; i++)
        crowd[i] = key_like(crowd_texts[i], 77, mask);
    for (unsigned round = 0; round < 2000; round++) {
        announce(crowd, CROWD);
        for (unsigned i = 0; i < CROWD; i++) {
            unsigned k = (unsigned)(kit_random(&random) % CROWD);
            if (kit_random(&random) % 16 == 0) {
                if (there[k])
                    assert_int_equal(store_delete(self, at_place(crowd[k], k)), STORE_OK);
                else
                    set(at_place(crowd[k], k), "");
                there[k] = !there[k];
            }
            if (there[i])
                assert_has(at_place(crowd[i], i), "");
            else
                assert_misses(at_place(crowd[i], i));
        }
    }
}

/* An empty slot has the tag 0, and so have some keys. */
static void
tag_of_an_empty_slot(void **state)
{
    (void)state;
    const uint64_t tag = ((1ull << HASH_TAG_BITS) - 1) << HASH_TAG_SHIFT;
    const uint64_t place = 255 | 3ull << (HASH_TAG_SHIFT + HASH_TAG_BITS - 2);
    struct store_key with = key_like(crowd_texts[0], 0, tag);
    struct store_key before = key_like(crowd_texts[1], with.hash, place);
    announce(&with, 1);
    assert_misses(at_place(with, 0));
    set(before, "");
    set(with, "");
    announce(&with, 1);
    assert_has(at_place(with, 0), "");
    assert_int_equal(store_delete(self, before), STORE_OK);
    announce(&with, 1);
    assert_has(at_place(with, 0), "");
    assert_int_equal(store_delete(self, with), STORE_OK);
    announce(&with, 1);
    assert_misses(at_place(with, 0));
}

/* ---- two keys with one tag in one group ------------------------------------------------------ */

#define CANDIDATES 100000u
#define ALIKE_MASK (255 | ((1ull << HASH_TAG_BITS) - 1) << HASH_TAG_SHIFT)

struct candidate {
    uint64_t bits;
    unsigned number;
};

static int
compare(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return (x->bits > y->bits) - (x->bits < y->bits);
}

/* Numbers of two keys whose hashes agree in 28 bits. */
static void
find_alike(unsigned *out)
{
    struct candidate *all = malloc(CANDIDATES * sizeof *all);
    char text[KIT_KEY_CHARS];
    assert_non_null(all);
    for (unsigned i = 0; i < CANDIDATES; i++)
        all[i] = (struct candidate){kit_key(store, text, i).hash & ALIKE_MASK, i};
    qsort(all, CANDIDATES, sizeof *all, compare);
    unsigned i = 1;
    while (i < CANDIDATES && all[i].bits != all[i - 1].bits)
        i++;
    assert_true(i < CANDIDATES);
    out[0] = all[i - 1].number;
    out[1] = all[i].number;
    free(all);
}

/* The first slot with the tag is another key's. */
static void
keys_alike(void **state)
{
    (void)state;
    unsigned numbers[2];
    find_alike(numbers);
    struct store_key alike[2] = {kit_key(store, crowd_texts[0], numbers[0]),
                                 kit_key(store, crowd_texts[1], numbers[1])};
    for (unsigned i = 0; i < 32; i++) {
        struct store_key k = alike[i & 1];
        announce(alike, 2);
        if (i >> 1 & 1)
            set(k, "");
        else
            store_delete(self, k);
        for (unsigned again = 0; again < 2; again++) {
            struct store_view v;
            for (unsigned n = 0; n < 2; n++)
                if (kit_get(self, alike[n], NULL, &v) == STORE_OK)
                    assert_has(at_place(alike[n], n), "");
                else
                    assert_misses(at_place(alike[n], n));
            announce(alike, 2);
        }
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    seed = kit_seed("test_ahead");
    const struct CMUnitTest tests[] = {
        CASE(every_count_in_order), CASE(every_order), CASE(other_places),
        CASE(the_last_announcement_counts), CASE(nothing_is_announced), CASE(a_section_ends_it),
        CASE(changed_in_between), CASE(split_in_between), CASE(in_lines),
        CASE(tag_of_an_empty_slot), CASE(keys_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
