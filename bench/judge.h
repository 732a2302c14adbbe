/*
 * judge.h -- what the server may answer, and what is said when it answers otherwise.
 *
 * Without --verify only error replies count.  With it every answer is held
 * against the ledger, and the ledger follows what the server acknowledged:
 *
 *     hit               exactly the last version stored, whole, under its key, flags 0
 *     hit, DELETED      wrong if the key was deleted and not stored since, or never stored
 *     number from incr  the last number and one
 *     miss, NOT_FOUND   always right: this is a cache
 *
 * The first findings are told in a sentence each, all are counted.  The first
 * one also decides the exit status (die_status): a wrong answer outweighs
 * whatever fails after it.
 *
 * Threads: any; counters and output are under the lock, the ledger has one
 * user per key.
 *
 * Include it after wire.h and ledger.h.
 */
#ifndef BENCH_JUDGE_H
#define BENCH_JUDGE_H

#include <pthread.h>

#define JUDGE_SHOWN          5
#define JUDGE_ANSWER_SHOWN   120
#define JUDGE_NUMBER_SHOWN   40
#define JUDGE_KEY_TEXT_BYTES 260

enum judge_kind { JUDGE_ERROR, JUDGE_WRONG, JUDGE_KIND_COUNT };

struct judge {
    bool verify;
    bool numeric;
    uint64_t key_count;
    uint64_t errors_max;
    struct ledger ledger; /* created when verify is set */
    pthread_mutex_t lock;
    uint64_t counts[JUDGE_KIND_COUNT]; /* under lock */
};

/* Counts one finding, and tells it if it is among the first. */
__attribute__((format(printf, 4, 5))) static inline void
judge_find(struct judge *j, enum judge_kind kind, const struct trace_record *record,
           const char *format, ...)
{
    char key[JUDGE_KEY_TEXT_BYTES];
    size_t key_length = value_key(key, record->key, record->key_bytes, j->key_count);
    va_list args;

    pthread_mutex_lock(&j->lock);
    atomic_store(&die_status, 1);
    j->counts[kind]++;
    if (j->counts[JUDGE_ERROR] + j->counts[JUDGE_WRONG] <= JUDGE_SHOWN) {
        fprintf(stderr, "%s: %s: key %.*s: ", program_invocation_short_name,
                kind == JUDGE_ERROR ? "error reply" : "wrong value", (int)key_length, key);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
    }
    if (j->counts[JUDGE_ERROR] > j->errors_max)
        die("more than %" PRIu64 " error replies, giving up", j->errors_max);
    pthread_mutex_unlock(&j->lock);
}

/* An answer that is none of those the command has. */
static inline void
judge_error(struct judge *j, const struct trace_record *record, const char *command,
            struct span answer)
{
    size_t shown = answer.length < JUDGE_ANSWER_SHOWN ? answer.length : JUDGE_ANSWER_SHOWN;

    if (j->verify)
        ledger_set_state(&j->ledger, record->key, LEDGER_UNKNOWN);
    judge_find(j, JUDGE_ERROR, record, "%s was answered \"%.*s\"", command, (int)shown,
               answer.text);
}

/* Whether the key may be there at all; tells it if not. */
static inline bool
judge_presence(struct judge *j, const struct trace_record *record, enum ledger_state state,
               const char *got)
{
    switch (state) {
    case LEDGER_NEVER:
        judge_find(j, JUDGE_WRONG, record,
                   "was never stored in this run, yet got %s (was the server empty?)", got);
        return false;
    case LEDGER_DELETED:
        judge_find(j, JUDGE_WRONG, record, "was deleted and not stored since, yet got %s", got);
        return false;
    case LEDGER_STORED:
    case LEDGER_UNKNOWN:
        break;
    }
    return true;
}

static inline void
judge_text(struct judge *j, const struct trace_record *record, const char *data, size_t bytes)
{
    struct ledger_entry entry = ledger_look(&j->ledger, record->key);
    char got[128];

    if (entry.state == LEDGER_UNKNOWN)
        return;
    if (entry.state == LEDGER_STORED && bytes == entry.length &&
        value_begins(data, bytes, record->key, entry.length, entry.version))
        return;
    value_describe(got, sizeof got, data, bytes, record->key);
    if (judge_presence(j, record, entry.state, got))
        judge_find(j, JUDGE_WRONG, record,
                   "expected version %" PRIu64 ", %" PRIu32 " bytes, got %s", entry.version,
                   entry.length, got);
}

static inline void
judge_number(struct judge *j, const struct trace_record *record, const char *data, size_t bytes)
{
    struct ledger_entry entry = ledger_look(&j->ledger, record->key);
    size_t shown = bytes < JUDGE_NUMBER_SHOWN ? bytes : JUDGE_NUMBER_SHOWN;
    char expected[24], got[128];
    size_t length = (size_t)snprintf(expected, sizeof expected, "%" PRIu64, entry.version);

    if (entry.state == LEDGER_UNKNOWN)
        return;
    if (entry.state == LEDGER_STORED && bytes == length && !memcmp(data, expected, length))
        return;
    snprintf(got, sizeof got, "\"%.*s\", %zu bytes", (int)shown, data, bytes);
    if (judge_presence(j, record, entry.state, got))
        judge_find(j, JUDGE_WRONG, record, "expected the number %s, %zu bytes, got %s", expected,
                   length, got);
}

/* The line before a value: `again` when the same get has had one already. */
static inline void
judge_value_line(struct judge *j, const struct trace_record *record, struct span got_key,
                 uint64_t flags, bool again)
{
    char key[JUDGE_KEY_TEXT_BYTES];
    size_t length = value_key(key, record->key, record->key_bytes, j->key_count);

    if (!j->verify)
        return;
    if (got_key.length != length || memcmp(got_key.text, key, length))
        judge_find(j, JUDGE_WRONG, record, "was answered with the key \"%.*s\"",
                   (int)got_key.length, got_key.text);
    if (flags)
        judge_find(j, JUDGE_WRONG, record, "expected flags 0, got %" PRIu64, flags);
    if (again)
        judge_find(j, JUDGE_WRONG, record, "one get was answered with two values");
}

static inline void
judge_value(struct judge *j, const struct trace_record *record, const char *data, size_t bytes)
{
    if (j->verify && j->numeric)
        judge_number(j, record, data, bytes);
    else if (j->verify)
        judge_text(j, record, data, bytes);
}

static inline void
judge_stored(struct judge *j, const struct trace_record *record, uint64_t version, uint32_t length)
{
    if (j->verify)
        ledger_stored(&j->ledger, record->key, version, length);
}

/* A delete was acknowledged; `found` when the server says that the key was there. */
static inline void
judge_deleted(struct judge *j, const struct trace_record *record, bool found)
{
    if (!j->verify)
        return;
    if (found)
        judge_presence(j, record, ledger_look(&j->ledger, record->key).state, "DELETED");
    ledger_set_state(&j->ledger, record->key, LEDGER_DELETED);
}

/* An incr by one was answered with a number. */
static inline void
judge_incr(struct judge *j, const struct trace_record *record, uint64_t got)
{
    struct ledger_entry entry;
    char text[64];

    if (!j->verify)
        return;
    entry = ledger_look(&j->ledger, record->key);
    snprintf(text, sizeof text, "%" PRIu64 " from incr", got);
    if (entry.state == LEDGER_UNKNOWN || !judge_presence(j, record, entry.state, text))
        return;
    if (got != entry.version + 1)
        judge_find(j, JUDGE_WRONG, record,
                   "incr of %" PRIu64 " must answer %" PRIu64 ", got %" PRIu64, entry.version,
                   entry.version + 1, got);
    ledger_stored(&j->ledger, record->key, entry.version + 1, 0);
}

#endif
