/*
 * store.c -- what the store itself costs, in reads of memory: no protocol, no sockets.
 *
 * It is linked with src/store/ and stands on store.h alone.  A first round, not timed, fills a
 * store and checks every value that it gives back; then each round makes a new store of 4 KiB pages
 * and one of huge pages and takes every figure on both, between two walks over the reference
 * (reference.h).  The figures of each round are printed as key=value lines; bench/store makes the
 * table and judges.
 *
 * Threads: a worker on the first CPU; a keeper on the second, as in the server, and there also the
 * second worker of the mix.  CPU time is measured, of the process for sets (housekeeping counts)
 * and of the thread for gets; the mix is measured by the clock on the wall.
 */
#define _GNU_SOURCE
#include <getopt.h>

#include "common.h"
#include "items.h"
#include "reference.h"
#include "household.h"
#include "pair.h"
#include "requests.h"
#include "collide.h"
#include "chosen.h"

#define ITEM_BYTES_GENEROUS 96u            /* of memory for an item and its share of the index */
#define MEMORY_BYTES_MORE   ((size_t)16 << 20)
#define THREADS_MAX         4u
#define REFERENCE_READS     500000u
#define GETS_MAX            2000000u
#define SETS_PERCENT        10u
#define FULL_CHUNK          20000u
#define KINDS_OF_PAGES      2u

struct pages {
    const char *name;
    bool huge;
    struct reference reference;
    struct chosen_result chosen[CHOSEN_FAMILIES];
};

struct bench {
    uint32_t items, gets;
    uint32_t ordinary, chosen;             /* keys where some are chosen */
    unsigned rounds, round;
    int cpu[2];
    uint64_t seed, began;
    struct pages pages[KINDS_OF_PAGES];
    struct pages *now;
    struct household house;
    uint32_t stored;                       /* keys 0 .. stored - 1 have been set */
    uint32_t *versions;                    /* checking: what each key was set to, 0: not known */
};

/* ---- what is measured ---------------------------------------------------------------------- */

static void
expect_hits(uint64_t hits, uint64_t expected)
{
    if (hits != expected)
        die("%" PRIu64 " hits, not %" PRIu64, hits, expected);
}

/* What there is to a loop beside the store: the reader may take it off the figures. */
static void
run_keys(struct bench *b, uint64_t n)
{
    struct item_key key;

    while (n--) {
        item_key_make(&key, random_below(&b->house.worker, b->items));
        __asm__ volatile("" ::"r"(&key) : "memory");
    }
}

static void
run_present(struct bench *b, uint64_t n)
{
    expect_hits(gets(&b->house.worker, b->items, n, GET_PRESENT, false), n);
}

static void
run_absent(struct bench *b, uint64_t n)
{
    expect_hits(gets(&b->house.worker, b->items, n, GET_ABSENT, false), 0);
}

static void
run_chained(struct bench *b, uint64_t n)
{
    expect_hits(gets_chained(&b->house.worker, b->items, n), n);
}

/* n is a multiple of BATCH. */
static void
run_batches(struct bench *b, uint64_t n)
{
    expect_hits(get_batches(&b->house.worker, b->items, n / BATCH, false), n);
}

/* Sets keys that are new. */
static void
run_sets(struct bench *b, uint64_t n)
{
    set_numbers(&b->house.worker, b->stored, b->stored + (uint32_t)n);
    b->stored += (uint32_t)n;
}

/* ---- measuring ----------------------------------------------------------------------------- */

static double
walk_ns(struct bench *b)
{
    struct reference *r = &b->now->reference;
    uint64_t start = time_ns(CLOCK_THREAD_CPUTIME_ID);

    r->at = reference_walk(r->at, REFERENCE_READS);
    return (double)(time_ns(CLOCK_THREAD_CPUTIME_ID) - start) / REFERENCE_READS;
}

static void
print_figure(struct bench *b, const char *what, double ns, double reference_ns)
{
    printf("figure pages=%s round=%u what=%s ns=%.2f reference=%.2f\n", b->now->name, b->round,
           what, ns, reference_ns);
}

static void
measure(struct bench *b, const char *what, clockid_t clock, void (*run)(struct bench *, uint64_t),
        uint64_t n, uint64_t n_before)
{
    double before = walk_ns(b), ns;
    uint64_t start;

    run(b, n_before);
    start = time_ns(clock);
    run(b, n);
    ns = (double)(time_ns(clock) - start) / (double)n;
    print_figure(b, what, ns, (before + walk_ns(b)) / 2);
}

static inline bool
has(struct worker *w, uint32_t number, struct store_view *out_view)
{
    struct item_key text;
    struct store_key key = key_of(w, &text, number);

    return store_get(w->thread, &key, NULL, out_view) == STORE_OK;
}

/* ---- the mix of one or two threads --------------------------------------------------------- */

static void
check_version(const struct bench *b, uint32_t number, uint64_t version, bool own)
{
    if (own && b->versions && version != b->versions[number])
        die("key %" PRIu32 ": version %" PRIu64 ", not %" PRIu32, number, version,
            b->versions[number]);
}

/* Gets with some sets.  Checking, a thread sets keys of its own only and knows what they hold. */
static ALWAYS_INLINE void
mix(struct bench *b, struct worker *w, uint64_t n, unsigned thread, bool check)
{
    struct store_view view;

    turn_begin(w);
    for (uint64_t i = 1; i <= n; i++) {
        uint32_t number = random_below(w, b->items);
        bool set = mix64(w->random) % 100 < SETS_PERCENT;

        turn_request(w);
        if (check && set)
            number = (number & ~1u) | thread;
        if (set) {
            set_number(w, number, i);
            if (check)
                b->versions[number] = (uint32_t)i;
            continue;
        }
        if (!has(w, number, &view))
            die("key %" PRIu32 " is lost", number);
        if (check)
            check_version(b, number, check_view(&view, number), (number & 1) == thread);
    }
    turn_end(w);
}

static void
run_mix(struct pair_thread *t)
{
    struct bench *b = t->ctx;
    struct worker w;

    worker_join(&w, b->house.store, b->round * 2 + t->number);
    pair_begin(t);
    if (b->versions)
        mix(b, &w, b->gets, t->number, true);
    else
        mix(b, &w, b->gets, t->number, false);
    pair_end(t);
    store_part(w.thread);
}

/* What two CPUs can do at best: each reads what the other has not just read. */
static void
run_walk(struct pair_thread *t)
{
    struct reference *r = &((struct bench *)t->ctx)->now->reference;

    pair_begin(t);
    reference_walk(r->base + t->number * (r->bytes / 2), REFERENCE_READS * 2);
    pair_end(t);
}

static void
measure_pair(struct bench *b, const char *what, void (*run)(struct pair_thread *), uint64_t n)
{
    double waited[2];
    double one = pair_undisturbed(1, b->cpu, run, b, &waited[0]);
    double two = pair_undisturbed(2, b->cpu, run, b, &waited[1]);

    printf("pair pages=%s round=%u what=%s one_ns=%.2f two_ns=%.2f times=%.3f waited=%.3f\n",
           b->now->name, b->round, what, one / (double)n, two / (double)n, 2 * one / two,
           waited[0] > waited[1] ? waited[0] : waited[1]);
}

/* ---- a store's life ------------------------------------------------------------------------ */

static void
say(const struct bench *b, const char *what)
{
    fprintf(stderr, "%7.1f s  round %u/%u  %-4s pages  %s\n",
            (double)(clock_ns() - b->began) / 1e9, b->round, b->rounds, b->now->name,
            what);
}

static void
create(struct bench *b, uint32_t items, int keeper_cpu)
{
    struct store_config config = {
        .memory_bytes = (size_t)items * ITEM_BYTES_GENEROUS + MEMORY_BYTES_MORE,
        .value_bytes_max = 1 << 20,
        .threads_max = THREADS_MAX,
        .cas_enabled = true,
        .evict = true,
        .huge_pages = b->now->huge,
        .hash_seed = b->seed,
    };

    household_create(&b->house, &config, keeper_cpu);
    b->stored = 0;
}

static struct store_stats
stats(struct bench *b)
{
    struct store_stats st;

    store_stats_read(b->house.store, &st);
    return st;
}

/* Sets new keys until old ones have had to go for a while. */
static void
make_full(struct bench *b)
{
    while (stats(b).items_evicted < b->items / 50) {
        if (b->stored > 4 * (uint64_t)b->items)
            die("%" PRIu32 " items stored and nothing is evicted", b->stored);
        run_sets(b, FULL_CHUNK);
    }
}

/* Each of the keys first .. last - 1 that is there has its value; returns how many are. */
static uint32_t
check_all(struct bench *b, uint32_t first, uint32_t last)
{
    struct worker *w = &b->house.worker;
    struct store_view view;
    uint32_t present = 0;

    turn_begin(w);
    for (uint32_t number = first; number < last; number++) {
        turn_request(w);
        if (!has(w, number, &view))
            continue;
        present++;
        check_version(b, number, check_view(&view, number), number < b->items);
    }
    turn_end(w);
    return present;
}

static void
check_present(struct bench *b, uint32_t first, uint32_t last)
{
    uint32_t present = check_all(b, first, last);

    if (present != last - first)
        die("%" PRIu32 " of the keys %" PRIu32 " to %" PRIu32 " are there", present, first, last);
}

/* So many of those stored last must be there, though nobody has asked for them: half of what the
 * small queue holds. */
static uint32_t
newest(const struct bench *b)
{
    return b->items / 20;
}

/* The round that is not timed: every kind of request, every value looked at. */
static void
check_round(struct bench *b)
{
    size_t huge = reference_huge_bytes();
    struct store_stats st;
    size_t used;
    double waited;

    say(b, "checking every value");
    b->versions = checked(calloc(b->items, sizeof *b->versions));
    create(b, b->items, b->cpu[1]);
    run_sets(b, b->items);
    check_present(b, 0, b->items);
    expect_hits(gets(&b->house.worker, b->items, b->gets, GET_PRESENT, true), b->gets);
    expect_hits(gets(&b->house.worker, b->items, b->gets, GET_ABSENT, true), 0);
    expect_hits(get_batches(&b->house.worker, b->items, b->gets / BATCH, true), b->gets);
    st = stats(b);
    used = st.memory_used_bytes;
    printf("memory pages=%s used=%zu index=%" PRIu64 " huge=%zu\n", b->now->name,
           used, st.index_bytes, reference_huge_bytes() - huge);
    pair_once(2, b->cpu, run_mix, b, &waited);
    check_present(b, 0, b->items);
    make_full(b);
    run_sets(b, b->items / 4);
    check_all(b, 0, b->stored);
    check_present(b, b->stored - newest(b), b->stored);
    st = stats(b);
    if (st.items_stored != st.items_present + st.items_replaced + st.items_evicted)
        die("items that nobody knows of: %" PRIu64 " stored", st.items_stored);
    household_destroy(&b->house);
    free(b->versions);
    b->versions = NULL;
    say(b, "making the reference");
    huge = reference_huge_bytes();
    reference_create(&b->now->reference, used, b->now->huge, b->seed);
    printf("reference pages=%s bytes=%zu huge=%zu\n", b->now->name, b->now->reference.bytes,
           reference_huge_bytes() - huge);
}

static void
timed_round(struct bench *b)
{
    clockid_t thread = CLOCK_THREAD_CPUTIME_ID, process = CLOCK_PROCESS_CPUTIME_ID;
    uint64_t some = b->gets / 16;

    say(b, "fill, gets, mix, sets with eviction");
    create(b, b->items, b->cpu[1]);
    measure(b, "fill", process, run_sets, b->items - 1000, 1000);
    measure(b, "keys", thread, run_keys, b->gets, some);
    measure(b, "present", thread, run_present, b->gets, some);
    measure(b, "chained", thread, run_chained, b->gets, some);
    measure(b, "absent", thread, run_absent, b->gets, some);
    measure(b, "batch", thread, run_batches, b->gets, some);
    measure_pair(b, "mix", run_mix, b->gets);
    measure_pair(b, "walk", run_walk, REFERENCE_READS * 2);
    expect_hits(gets(&b->house.worker, b->items, some, GET_PRESENT, true), some);
    make_full(b);
    measure(b, "turn", process, run_sets, b->gets / 4, some);
    run_sets(b, b->items);             /* now those are in the main queue, or gone */
    measure(b, "evict", process, run_sets, b->gets, some);
    check_present(b, b->stored - newest(b), b->stored);
    household_destroy(&b->house);
}

/* Ordinary keys may lose their place to chosen ones; how many do is told. */
static void
chosen_round(struct bench *b, enum chosen_family family)
{
    struct chosen_result *result = &b->now->chosen[family];
    uint64_t start, before, after, n = b->ordinary;
    struct worker *w = &b->house.worker;
    uint32_t kept;

    create(b, b->ordinary + b->chosen, -1);
    run_sets(b, b->ordinary);
    expect_hits(gets(w, b->ordinary, n, GET_PRESENT, true), n);
    start = time_ns(CLOCK_THREAD_CPUTIME_ID);
    expect_hits(gets(w, b->ordinary, n, GET_PRESENT, false), n);
    before = time_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    chosen_sets(w, family, b->chosen, b->seed, &result->set);
    kept = chosen_gets(w, family, b->chosen, b->seed, &result->get);
    gets(w, b->ordinary, n, GET_PRESENT, true);
    start = time_ns(CLOCK_THREAD_CPUTIME_ID);
    gets(w, b->ordinary, n, GET_PRESENT, false);
    after = time_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    printf("ordinary pages=%s round=%u family=%s before=%.2f after=%.2f lost=%" PRIu32
           " kept=%" PRIu32 "\n",
           b->now->name, b->round, chosen_names[family], (double)before / (double)n,
           (double)after / (double)n, b->ordinary - check_all(b, 0, b->ordinary), kept);
    household_destroy(&b->house);
}

/* ---- the command line ---------------------------------------------------------------------- */

static void
usage(void)
{
    fprintf(stderr,
            "usage: store [--items N] [--rounds N] [--cpus A,B] [--seed N]\n"
            "             [--chosen N] [--ordinary N]\n"
            "Prints the figures of every round; bench/store makes a table of them.\n");
    exit(2);
}

static void
default_cpus(int cpu[2])
{
    cpu_set_t set;
    int found = 0;

    if (sched_getaffinity(0, sizeof set, &set))
        die("sched_getaffinity: %s", strerror(errno));
    for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
        if (CPU_ISSET(i, &set))
            cpu[found++] = i;
    if (found < 2)
        die("two CPUs are needed, there is one");
}

static uint32_t
option_u32(const char *name, uint32_t min)
{
    return (uint32_t)option_number(name, optarg, min, 1000000000);
}

static void
parse(struct bench *b, int argc, char **argv)
{
    static const struct option words[] = {
        {"items", required_argument, NULL, 'i'},  {"rounds", required_argument, NULL, 'r'},
        {"cpus", required_argument, NULL, 'c'},   {"seed", required_argument, NULL, 's'},
        {"chosen", required_argument, NULL, 'k'}, {"ordinary", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };

    default_cpus(b->cpu);
    for (int c; (c = getopt_long(argc, argv, "", words, NULL)) != -1;) {
        if (c == 'i')
            b->items = option_u32("--items", 100000);
        else if (c == 'r')
            b->rounds = option_u32("--rounds", 1);
        else if (c == 's')
            b->seed = option_u32("--seed", 1);
        else if (c == 'k')
            b->chosen = option_u32("--chosen", 1);
        else if (c == 'o')
            b->ordinary = option_u32("--ordinary", 1);
        else if (c != 'c' || sscanf(optarg, "%d,%d", &b->cpu[0], &b->cpu[1]) != 2)
            usage();
    }
    if (optind != argc)
        usage();
    b->gets = (b->items / 2 < GETS_MAX ? b->items / 2 : GETS_MAX) / (16 * BATCH) * (16 * BATCH);
}

/* Kinds of pages take turns. */
static void
run_round(struct bench *b)
{
    for (unsigned p = 0; p < KINDS_OF_PAGES; p++) {
        b->now = &b->pages[p];
        if (b->round == 0) {
            check_round(b);
            continue;
        }
        timed_round(b);
        say(b, "chosen keys");
        for (unsigned family = 0; family < CHOSEN_FAMILIES; family++)
            chosen_round(b, (enum chosen_family)family);
    }
}

static void
print_chosen(struct bench *b)
{
    for (unsigned p = 0; p < KINDS_OF_PAGES; p++)
        for (unsigned family = 0; family < CHOSEN_FAMILIES; family++) {
            struct chosen_result *result = &b->pages[p].chosen[family];

            chosen_print(b->pages[p].name, family, "set", &result->set, b->chosen);
            chosen_print(b->pages[p].name, family, "get", &result->get, b->chosen);
        }
}

int
main(int argc, char **argv)
{
    struct bench b = {
        .items = 10000000, .rounds = 5, .seed = 1, .ordinary = 1000000, .chosen = 200000,
        .began = clock_ns(),
        .pages = {{.name = "4k", .huge = false}, {.name = "huge", .huge = true}},
    };

    parse(&b, argc, argv);
    pin(b.cpu[0]);
    setlinebuf(stdout);
    printf("run items=%" PRIu32 " gets=%" PRIu32 " rounds=%u cpus=%d,%d ordinary=%" PRIu32
           " chosen=%" PRIu32 "\n",
           b.items, b.gets, b.rounds, b.cpu[0], b.cpu[1], b.ordinary, b.chosen);
    for (b.round = 0; b.round <= b.rounds; b.round++)
        run_round(&b);
    print_chosen(&b);
    return 0;
}
