/*
 * ledger.h -- what replay knows of every key: the last store the server acknowledged.
 *
 * One word of 8 bytes per key of the trace, in one array of which only the
 * touched pages cost memory:
 *
 *     text trace     [ version 40 | length 22 | state 2 ]
 *     numeric trace  [ number 62              | state 2 ]
 *
 * A version is given out when a store is sent (ledger_issue) and only grows,
 * over deletes too; state and length change when the server has answered.
 * Between the two the word may show a version that is not acknowledged: replay
 * never has a get of the same key on its way then.
 *
 * Threads: a key belongs to one connection, so each word has one user.
 *
 * Include it after value.h.
 */
#ifndef BENCH_LEDGER_H
#define BENCH_LEDGER_H

#include <sys/mman.h>

enum ledger_state {
    LEDGER_NEVER,   /* not stored in this run */
    LEDGER_STORED,  /* a hit must return the version and length that stand here */
    LEDGER_DELETED, /* a hit is wrong until the next store */
    LEDGER_UNKNOWN  /* the server answered with an error: anything may be there */
};

#define LEDGER_STATE_BITS   2
#define LEDGER_LENGTH_BITS  22
#define LEDGER_STATE_MASK   ((1ull << LEDGER_STATE_BITS) - 1)
#define LEDGER_LENGTH_MASK  ((1ull << LEDGER_LENGTH_BITS) - 1)
#define LEDGER_VERSION_FROM (LEDGER_STATE_BITS + LEDGER_LENGTH_BITS)

_Static_assert(LEDGER_LENGTH_MASK >= VALUE_BYTES_MAX, "every length fits its field");

struct ledger {
    uint64_t *words; /* NULL without --verify */
    uint64_t key_count;
    bool numeric;
};

struct ledger_entry {
    enum ledger_state state;
    uint64_t version; /* in a numeric trace: the number itself */
    uint32_t length;  /* 0 in a numeric trace: the number tells it */
};

static inline void
ledger_create(struct ledger *ledger, uint64_t key_count, bool numeric)
{
    size_t bytes = (size_t)(key_count ? key_count : 1) * sizeof *ledger->words;

    ledger->key_count = key_count;
    ledger->numeric = numeric;
    ledger->words = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ledger->words == MAP_FAILED)
        die("out of memory for %" PRIu64 " keys", key_count);
}

static inline struct ledger_entry
ledger_look(const struct ledger *ledger, uint64_t key)
{
    uint64_t word = ledger->words[key];
    struct ledger_entry entry = {.state = (enum ledger_state)(word & LEDGER_STATE_MASK)};

    if (ledger->numeric) {
        entry.version = word >> LEDGER_STATE_BITS;
    } else {
        entry.version = word >> LEDGER_VERSION_FROM;
        entry.length = (uint32_t)(word >> LEDGER_STATE_BITS & LEDGER_LENGTH_MASK);
    }
    return entry;
}

static inline void
ledger_write(struct ledger *ledger, uint64_t key, struct ledger_entry entry)
{
    uint64_t word = (uint64_t)entry.state;

    if (ledger->numeric)
        word |= entry.version << LEDGER_STATE_BITS;
    else
        word |= entry.version << LEDGER_VERSION_FROM | (uint64_t)entry.length << LEDGER_STATE_BITS;
    ledger->words[key] = word;
}

/* The version (the number) that the next store of key carries: never the one before it. */
static inline uint64_t
ledger_issue(struct ledger *ledger, uint64_t key, uint32_t length)
{
    struct ledger_entry entry = ledger_look(ledger, key);

    if (!ledger->numeric)
        entry.version++;
    else if (entry.version)
        entry.version = value_number_after(entry.version, length);
    else
        entry.version = value_number_after(mix64(key) >> 4, length);
    ledger_write(ledger, key, entry);
    return entry.version;
}

/* The server has acknowledged the store of this version. */
static inline void
ledger_stored(struct ledger *ledger, uint64_t key, uint64_t version, uint32_t length)
{
    struct ledger_entry entry = {.state = LEDGER_STORED, .version = version, .length = length};

    ledger_write(ledger, key, entry);
}

/* A delete was acknowledged, or a request failed; the version stays, to go on from. */
static inline void
ledger_set_state(struct ledger *ledger, uint64_t key, enum ledger_state state)
{
    struct ledger_entry entry = ledger_look(ledger, key);

    entry.state = state;
    ledger_write(ledger, key, entry);
}

#endif
