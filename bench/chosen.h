/*
 * chosen.h -- how long a single operation takes when somebody has chosen the keys.
 *
 * A store holds ordinary keys; then keys of one family are set and got, each operation timed, by
 * the clock on the wall or the thread's CPU time, whichever is less: what it was preempted for is
 * not the store's.  Interrupts and the hypervisor still add to some.  So there are two results over
 * the rounds: the shortest time of each operation (only the worker touches that store, and each
 * round repeats the same steps), which the limit is for, and the longest operation of the calmest
 * round, which also shows what comes every time but not in the same place, as the clearing of a huge
 * page does.
 *
 * Include it after requests.h, pair.h and collide.h.
 */
#ifndef BENCH_CHOSEN_H
#define BENCH_CHOSEN_H

#define CHOSEN_GROUP_BITS 24           /* equal low bits: one group, as far as the index can grow */

/* Scattered: as chosen by nobody, to compare with. */
enum chosen_family { CHOSEN_SCATTERED, CHOSEN_GROUP, CHOSEN_HASH, CHOSEN_FAMILIES };

static const char *const chosen_names[CHOSEN_FAMILIES] = {"scattered", "group", "hash"};

/* Of one kind of operation on one family, over all rounds. */
struct chosen_times {
    uint32_t *shortest_ns;             /* of each operation */
    uint32_t longest_ns;               /* of this round */
    uint32_t calmest_ns;               /* the least of these, 0: there was none yet */
};

struct chosen_clock {
    uint64_t wall, cpu;
};

struct chosen_result {
    struct chosen_times set, get;
};

static inline uint64_t
chosen_hash(enum chosen_family family, uint32_t number)
{
    uint64_t scattered = mix64(number), low = (1ull << CHOSEN_GROUP_BITS) - 1;

    switch (family) {
    case CHOSEN_SCATTERED:
        return scattered;
    case CHOSEN_GROUP:
        return (scattered & ~low) | (mix64(7) & low);
    case CHOSEN_HASH:
    case CHOSEN_FAMILIES:
        break;
    }
    return mix64(7);
}

/* The wall's clock is read within: it costs no system call. */
static inline struct chosen_clock
chosen_start(void)
{
    uint64_t cpu = time_ns(CLOCK_THREAD_CPUTIME_ID);

    return (struct chosen_clock){.cpu = cpu, .wall = clock_ns()};
}

static inline uint64_t
chosen_stop(struct chosen_clock start)
{
    uint64_t wall = clock_ns() - start.wall;
    uint64_t cpu = time_ns(CLOCK_THREAD_CPUTIME_ID) - start.cpu;

    return wall < cpu ? wall : cpu;
}

static inline void
chosen_note(struct chosen_times *times, uint32_t number, uint32_t count, uint64_t ns)
{
    uint32_t short_ns = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;

    if (!times->shortest_ns) {
        times->shortest_ns = checked(malloc(count * sizeof *times->shortest_ns));
        memset(times->shortest_ns, 0xff, count * sizeof *times->shortest_ns);
    }
    if (short_ns < times->shortest_ns[number])
        times->shortest_ns[number] = short_ns;
    if (short_ns > times->longest_ns)
        times->longest_ns = short_ns;
}

static inline void
chosen_end_round(struct chosen_times *times)
{
    if (!times->calmest_ns || times->longest_ns < times->calmest_ns)
        times->calmest_ns = times->longest_ns;
    times->longest_ns = 0;
}

static inline struct store_key
chosen_key_of(const struct worker *w, struct collide_key *key, enum chosen_family family,
              uint32_t number, uint64_t seed)
{
    struct slice text = {(const char *)key->word, COLLIDE_KEY_BYTES};
    uint64_t hash = chosen_hash(family, number);

    *key = collide_key_make(hash, number, seed);
    if (store_hash(w->store, text) != hash)
        die("the hash is not the one that collide.h knows: no keys can be chosen");
    return (struct store_key){.text = text, .hash = hash};
}

static inline void
chosen_sets(struct worker *w, enum chosen_family family, uint32_t count, uint64_t seed,
            struct chosen_times *times)
{
    struct collide_key text;

    turn_begin(w);
    for (uint32_t number = 0; number < count; number++) {
        struct item_value value = item_value_make(number, 0);
        struct store_key key = chosen_key_of(w, &text, family, number, seed);
        struct chosen_clock start;

        turn_request(w);
        start = chosen_start();
        worker_set(w, key, (struct slice){(const char *)value.word, sizeof value});
        chosen_note(times, number, count, chosen_stop(start));
    }
    turn_end(w);
    chosen_end_round(times);
}

/* Returns the hits. */
static inline uint32_t
chosen_gets(struct worker *w, enum chosen_family family, uint32_t count, uint64_t seed,
            struct chosen_times *times)
{
    struct collide_key text;
    struct store_view view;
    uint32_t hits = 0;

    turn_begin(w);
    for (uint32_t number = 0; number < count; number++) {
        struct store_key key = chosen_key_of(w, &text, family, number, seed);
        enum store_outcome outcome;
        struct chosen_clock start;

        turn_request(w);
        start = chosen_start();
        outcome = store_get(w->thread, &key, NULL, &view);
        chosen_note(times, number, count, chosen_stop(start));
        if (outcome != STORE_OK)
            continue;
        hits++;
        check_view(&view, number);
    }
    turn_end(w);
    chosen_end_round(times);
    return hits;
}

static inline int
chosen_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Frees the times: to be called once, at the end. */
static inline void
chosen_print(const char *pages, enum chosen_family family, const char *operation,
             struct chosen_times *times, uint32_t count)
{
    qsort(times->shortest_ns, count, sizeof *times->shortest_ns, chosen_compare);
    printf("chosen pages=%s family=%s operation=%s calmest_us=%.2f longest_us=%.2f p9999_us=%.2f "
           "median_us=%.2f\n",
           pages, chosen_names[family], operation, times->calmest_ns / 1e3,
           times->shortest_ns[count - 1] / 1e3,
           times->shortest_ns[(uint64_t)count * 9999 / 10000] / 1e3,
           times->shortest_ns[count / 2] / 1e3);
    free(times->shortest_ns);
}

#endif
