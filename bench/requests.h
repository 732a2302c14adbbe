/*
 * requests.h -- gets and sets of the keys of items.h, as a worker makes them.
 *
 * The loops take `check` as a constant: the same code runs timed and, in another pass, with every
 * value compared.  Unchecked it still counts hits.
 *
 * Include it after items.h and household.h.
 */
#ifndef BENCH_REQUESTS_H
#define BENCH_REQUESTS_H

#define ALWAYS_INLINE inline __attribute__((always_inline))

static ALWAYS_INLINE struct store_key
key_of(const struct worker *w, struct item_key *key, uint32_t number)
{
    struct slice text = {key->text, ITEM_KEY_BYTES};

    item_key_make(key, number);
    return (struct store_key){.text = text, .hash = store_hash(w->store, text)};
}

static inline uint32_t
random_below(struct worker *w, uint32_t limit)
{
    return (uint32_t)((mix64(w->random++) >> 32) * limit >> 32);
}

static inline void
set_number(struct worker *w, uint32_t number, uint64_t version)
{
    struct item_key key;
    struct item_value value = item_value_make(number, version);

    worker_set(w, key_of(w, &key, number),
               (struct slice){(const char *)value.word, sizeof value});
}

/* Sets the keys first .. last - 1. */
static inline void
set_numbers(struct worker *w, uint32_t first, uint32_t last)
{
    turn_begin(w);
    for (uint32_t number = first; number < last; number++) {
        turn_request(w);
        set_number(w, number, 0);
    }
    turn_end(w);
}

/* Returns the version. */
static inline uint64_t
check_view(const struct store_view *view, uint32_t number)
{
    uint64_t version = 0;

    if (!view->value || !item_value_right(view->value, view->value_bytes, number, &version))
        die("key %" PRIu32 ": a wrong value", number);
    return version;
}

enum get_kind { GET_PRESENT, GET_ABSENT };

/* One get; true: a hit. */
static ALWAYS_INLINE bool
get_text(struct worker *w, const struct item_key *key, uint32_t number, bool check,
         struct store_view *view)
{
    struct slice text = {key->text, ITEM_KEY_BYTES};
    struct store_key k = {.text = text, .hash = store_hash(w->store, text)};

    if (store_get(w->thread, &k, NULL, view) != STORE_OK)
        return false;
    if (check)
        check_view(view, number);
    return true;
}

/*
 * Gets of random keys out of the first `items`, a turn at a time; returns the hits.
 *
 * The keys of a turn are made before its first get, as those of requests lie in a buffer before
 * they are parsed.  (Hashing reads 16 bytes that were written in two stores.  A processor cannot forward
 * that, and waits until they are in its cache: where the key is made just before, that is after all
 * that came before it, so that no get could overlap the one before.)
 */
static ALWAYS_INLINE uint64_t
gets(struct worker *w, uint32_t items, uint64_t n, enum get_kind kind, bool check)
{
    uint64_t hits = 0;
    uint32_t numbers[TURN_REQUESTS];
    struct item_key keys[TURN_REQUESTS];
    struct store_view view;

    while (n) {
        unsigned turn = n < TURN_REQUESTS ? (unsigned)n : TURN_REQUESTS;

        for (unsigned i = 0; i < turn; i++) {
            numbers[i] = random_below(w, items) | (kind == GET_ABSENT ? ITEM_ABSENT : 0);
            item_key_make(&keys[i], numbers[i]);
        }
        turn_begin(w);
        for (unsigned i = 0; i < turn; i++)
            hits += get_text(w, &keys[i], numbers[i], check, &view);
        turn_end(w);
        n -= turn;
    }
    return hits;
}

/* The same of present keys, but the next depends on the value before: two gets cannot overlap. */
static ALWAYS_INLINE uint64_t
gets_chained(struct worker *w, uint32_t items, uint64_t n)
{
    uint64_t hits = 0;
    struct store_view view;
    struct item_key key;

    turn_begin(w);
    while (n--) {
        uint32_t number = random_below(w, items);

        turn_request(w);
        item_key_make(&key, number);
        if (!get_text(w, &key, number, false, &view))
            continue;
        hits++;
        w->random += (unsigned char)view.value[0];
    }
    turn_end(w);
    return hits;
}

#define BATCH 16u

/* The same of present keys, n batches of them: each is fetched together and is one section. */
static ALWAYS_INLINE uint64_t
get_batches(struct worker *w, uint32_t items, uint64_t n, bool check)
{
    uint64_t hits = 0, hashes[BATCH];
    uint32_t numbers[BATCH];
    struct item_key text[BATCH];
    struct store_key keys[BATCH];
    struct store_view view;

    while (n--) {
        turn_begin(w);
        for (unsigned i = 0; i < BATCH; i++) {
            numbers[i] = random_below(w, items);
            keys[i] = key_of(w, &text[i], numbers[i]);
            keys[i].ahead = i + 1;
            hashes[i] = keys[i].hash;
        }
        store_prefetch(w->thread, hashes, BATCH);
        for (unsigned i = 0; i < BATCH; i++) {
            if (store_get(w->thread, &keys[i], NULL, &view) != STORE_OK)
                continue;
            hits++;
            if (check)
                check_view(&view, numbers[i]);
        }
        turn_end(w);
    }
    return hits;
}

#endif
