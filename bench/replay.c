/*
 * replay.c -- cache-aside replay of a trace against a server that speaks the text protocol.
 *
 *     get     "get"; on a miss, "set" with the record's size and TTL
 *     set     "set"
 *     delete  "delete"
 *     incr    "incr 1"; on NOT_FOUND counts a miss and sets a number
 *
 * The trace format is in trace.h, the text of keys and values in value.h.
 *
 * Requests are pipelined in batches.  A batch ends early when a key comes up
 * that it already holds, and the sets that follow misses go out before the
 * next batch: the outcome is the same as without pipelining.  Misses of get
 * and incr are counted.
 *
 * With several connections, the keys are split among them by hash: all
 * requests of a key, also its stores, go through one connection in the order
 * of the trace.  That is what lets --verify say exactly what a hit must
 * return: the last version that the server acknowledged, in its full length
 * (judge.h, ledger.h), or nothing if the key was deleted since.  A miss is
 * always right: this is a cache.
 *
 * A miss is unavoidable when the key was never stored, or was deleted since:
 * a cache without limits would miss as well.  (What expired is not told apart.)
 *
 * Threads: one per connection.  Each reads the trace itself and passes over
 * the records of others; nothing is shared but the ledger and `holds` (each key
 * has one user), the counts of findings and the progress line (each under its
 * lock), and with --lag how far each has come (atomic): without it a busy machine
 * lets some connections run ahead, and what is replayed is another trace.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "common.h"
#include "trace.h"
#include "value.h"
#include "ledger.h"
#include "wire.h"
#include "judge.h"

#define BATCH_BYTES      262144
#define DEPTH_MAX        4096
#define CONNECTIONS_MAX  1024
#define ANSWER_BYTES_MAX (64u << 20)
#define LAG_PAUSE_NS     20000
#define TTL_RELATIVE_MAX 2592000.0 /* past 30 days the protocol means a date */

struct options {
    const char *host, *port, *socket_path, *trace_path, *label;
    uint64_t limit, skip, warm, interval, silence_s;
    uint64_t rate; /* requests per real second at most; 0 = no limit */
    uint64_t lag;  /* records between the first and the last connection; 0 = no limit */
    double warm_percent;
    double speed; /* virtual seconds per real second; 0 = as fast as possible, no TTLs */
    unsigned depth, connections;
    bool pace;
};

/* Filled by main, then read only. */
static struct options opt = {.host = "127.0.0.1",
                             .port = "11211",
                             .label = "-",
                             .silence_s = 60,
                             .depth = 64,
                             .connections = 1,
                             .pace = true};
static struct judge judge = {.errors_max = 1000000, .lock = PTHREAD_MUTEX_INITIALIZER};
static uint64_t total, start_ns;
static uint32_t start_virtual_s;
static bool *holds; /* of each key: a cache without limits would have it now */

/* One request of a batch; the place in the trace tells whether it is counted. */
struct request {
    struct trace_record record;
    uint64_t place;
    uint64_t version; /* of the value that a set carries */
};

struct tally {
    uint64_t requests, counted, gets, misses, sets, fills, deletes, incrs, get_bytes, miss_bytes;
    uint64_t unavoidable, stored_bytes;
};

/* The keys of the batch that is being gathered; a new epoch empties it. */
struct seen {
    uint64_t *keys;
    uint32_t *epochs;
    uint32_t mask, epoch;
};

struct link {
    unsigned index;
    pthread_t thread;
    struct trace_reader trace;
    uint64_t place; /* of the next record, counted from the first that is replayed */
    struct request next;
    bool has_next;

    struct request *batch, *fills;
    unsigned batch_count, fill_count;
    struct seen seen;

    struct wire wire;
    struct tally tally;
    atomic_uint_fast64_t reached; /* place, as the other connections may know it */
};

static struct link *links;

/* ---- requests out ---- */

static unsigned long
ttl_on_the_wire(uint32_t ttl_s)
{
    double scaled;

    if (!ttl_s || opt.speed <= 0)
        return 0;
    scaled = (double)ttl_s / opt.speed;
    if (scaled < 1)
        scaled = 1;
    if (scaled > TTL_RELATIVE_MAX)
        scaled = TTL_RELATIVE_MAX;
    return (unsigned long)(scaled + .5);
}

static uint32_t
stored_length(const struct trace_record *record)
{
    uint32_t length = record->value_bytes;

    if (!judge.numeric)
        return length < VALUE_BYTES_MAX ? length : VALUE_BYTES_MAX;
    if (length < 1)
        return 1;
    return length < TRACE_NUMBER_DIGITS ? length : TRACE_NUMBER_DIGITS;
}

static void
put_value(struct link *l, uint64_t key, uint32_t length, uint64_t version)
{
    if (judge.numeric) {
        char text[24];

        wire_put(&l->wire, text, (size_t)snprintf(text, sizeof text, "%" PRIu64, version));
    } else {
        char head[VALUE_HEAD_BYTES];
        uint32_t in_head = length < sizeof head ? length : (uint32_t)sizeof head;

        value_head(head, key, length, version);
        wire_put(&l->wire, head, in_head);
        wire_put(&l->wire, value_body(key, version), length - in_head);
    }
}

static void
put_set(struct link *l, struct request *q)
{
    char line[JUDGE_KEY_TEXT_BYTES + 64], key[JUDGE_KEY_TEXT_BYTES];
    size_t key_length = value_key(key, q->record.key, q->record.key_bytes, judge.key_count);
    uint32_t length = stored_length(&q->record);
    int line_length = snprintf(line, sizeof line, "set %.*s 0 %lu %" PRIu32 "\r\n",
                               (int)key_length, key, ttl_on_the_wire(q->record.ttl_s), length);

    if (judge.verify)
        q->version = ledger_issue(&judge.ledger, q->record.key, length);
    else
        q->version = judge.numeric ? value_number_after(0, length) : 0;
    wire_put(&l->wire, line, (size_t)line_length);
    put_value(l, q->record.key, length, q->version);
    wire_put(&l->wire, "\r\n", 2);
}

static void
put_request(struct link *l, struct request *q)
{
    static const struct {
        const char *before, *after;
    } forms[TRACE_OP_COUNT] = {
        [TRACE_GET] = {"get ", "\r\n"},
        [TRACE_DELETE] = {"delete ", "\r\n"},
        [TRACE_INCR] = {"incr ", " 1\r\n"},
    };
    char key[JUDGE_KEY_TEXT_BYTES];
    size_t key_length;

    if (q->record.op == TRACE_SET) {
        put_set(l, q);
        return;
    }
    key_length = value_key(key, q->record.key, q->record.key_bytes, judge.key_count);
    wire_put(&l->wire, forms[q->record.op].before, strlen(forms[q->record.op].before));
    wire_put(&l->wire, key, key_length);
    wire_put(&l->wire, forms[q->record.op].after, strlen(forms[q->record.op].after));
}

/* ---- answers in ---- */

/* Splits "VALUE key flags bytes"; false when the line is anything else. */
static bool
parse_value_line(struct span line, struct span *out_key, uint64_t *out_flags, uint64_t *out_bytes)
{
    char *at = line.text + 6, *end = line.text + line.length, *second, *third;

    if (line.length < 6 || memcmp(line.text, "VALUE ", 6))
        return false;
    second = memchr(at, ' ', (size_t)(end - at));
    third = second ? memchr(second + 1, ' ', (size_t)(end - second - 1)) : NULL;
    if (!third)
        return false;
    *out_key = (struct span){at, (size_t)(second - at)};
    return parse_number(second + 1, (size_t)(third - second - 1), out_flags) &&
           parse_number(third + 1, (size_t)(end - third - 1), out_bytes) &&
           *out_bytes <= ANSWER_BYTES_MAX;
}

/* Takes the answer to one get; true for a hit. */
static bool
answer_get(struct link *l, const struct request *q)
{
    bool hit = false;

    for (;;) {
        struct span line = wire_line(&l->wire), key;
        uint64_t flags = 0, bytes = 0;
        const char *data;

        if (span_is(line, "END"))
            return hit;
        if (!parse_value_line(line, &key, &flags, &bytes)) {
            judge_error(&judge, &q->record, "get", line);
            return hit;
        }
        judge_value_line(&judge, &q->record, key, flags, hit);
        data = wire_data(&l->wire, bytes);
        if (!data) {
            judge_find(&judge, JUDGE_WRONG, &q->record,
                       "no CR LF where the %" PRIu64 " bytes announced end", bytes);
            die("the answers can no longer be told apart, giving up");
        }
        judge_value(&judge, &q->record, data, bytes);
        hit = true;
    }
}

static void
answer_set(struct link *l, const struct request *q)
{
    struct span line = wire_line(&l->wire);

    if (span_is(line, "STORED"))
        judge_stored(&judge, &q->record, q->version, stored_length(&q->record));
    else
        judge_error(&judge, &q->record, "set", line);
}

static void
answer_delete(struct link *l, const struct request *q)
{
    struct span line = wire_line(&l->wire);
    bool found = span_is(line, "DELETED");

    if (found || span_is(line, "NOT_FOUND"))
        judge_deleted(&judge, &q->record, found);
    else
        judge_error(&judge, &q->record, "delete", line);
}

/* Takes the answer to one incr; true for a hit. */
static bool
answer_incr(struct link *l, const struct request *q)
{
    struct span line = wire_line(&l->wire);
    uint64_t number;

    if (span_is(line, "NOT_FOUND"))
        return false;
    if (parse_number(line.text, line.length, &number))
        judge_incr(&judge, &q->record, number);
    else
        judge_error(&judge, &q->record, "incr", line);
    return true;
}

/* ---- counting ---- */

static struct {
    pthread_mutex_t lock;
    uint64_t requests, gets, misses, stored_bytes, shown_at; /* under lock */
} progress = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void
progress_step(bool is_get, bool hit, uint64_t stored_bytes)
{
    pthread_mutex_lock(&progress.lock);
    progress.requests++;
    progress.gets += is_get;
    progress.misses += !hit;
    progress.stored_bytes += stored_bytes;
    if (progress.requests - progress.shown_at >= opt.interval) {
        fprintf(stderr,
                "interval %s requests=%" PRIu64 " gets=%" PRIu64 " misses=%" PRIu64
                " miss_ratio=%.5f stored_bytes=%" PRIu64 " seconds=%.2f\n",
                opt.label, progress.requests, progress.gets, progress.misses,
                progress.gets ? (double)progress.misses / (double)progress.gets : 0.0,
                progress.stored_bytes,
                (double)(clock_ns() - start_ns) / NSEC_PER_SEC);
        progress.gets = progress.misses = progress.stored_bytes = 0;
        progress.shown_at = progress.requests;
    }
    pthread_mutex_unlock(&progress.lock);
}

/* Follows what the key would hold in a cache without limits; whether it held something before. */
static bool
hold(const struct request *q)
{
    bool held = holds[q->record.key];

    holds[q->record.key] = q->record.op != TRACE_DELETE;
    return held;
}

static void
tally_add(struct tally *t, const struct request *q, bool hit)
{
    bool is_get = q->record.op == TRACE_GET || q->record.op == TRACE_INCR, held = hold(q);
    uint64_t stored = q->record.op == TRACE_SET || !hit ? stored_length(&q->record) : 0;

    t->requests++;
    if (opt.interval)
        progress_step(is_get, hit, stored);
    if (q->place < opt.warm)
        return;
    t->counted++;
    t->stored_bytes += stored;
    t->sets += q->record.op == TRACE_SET;
    t->deletes += q->record.op == TRACE_DELETE;
    t->incrs += q->record.op == TRACE_INCR;
    if (!is_get)
        return;
    t->gets++;
    t->get_bytes += q->record.value_bytes;
    t->misses += !hit;
    t->unavoidable += !hit && !held;
    t->miss_bytes += hit ? 0 : q->record.value_bytes;
}

/* ---- one connection ---- */

static void
seen_create(struct seen *seen)
{
    uint32_t size = 1;

    while (size < opt.depth * 4)
        size *= 2;
    seen->mask = size - 1;
    seen->keys = checked(calloc(size, sizeof *seen->keys));
    seen->epochs = checked(calloc(size, sizeof *seen->epochs));
    seen->epoch = 0;
}

/* False when the key is there already. */
static bool
seen_add(struct seen *seen, uint64_t key)
{
    uint32_t at = (uint32_t)mix64(key) & seen->mask;

    while (seen->epochs[at] == seen->epoch) {
        if (seen->keys[at] == key)
            return false;
        at = (at + 1) & seen->mask;
    }
    seen->epochs[at] = seen->epoch;
    seen->keys[at] = key;
    return true;
}

static bool
is_mine(const struct link *l, uint64_t key)
{
    return opt.connections == 1 || mix64(key ^ 0x5eed) % opt.connections == l->index;
}

/* Loads the next record of this connection; false when the replay is at its end. */
static bool
load_next(struct link *l)
{
    while (!l->has_next && l->place < total) {
        if (!trace_next(&l->trace, &l->next.record))
            die("%s ends after %" PRIu64 " of the %" PRIu64 " records it announces",
                opt.trace_path, opt.skip + l->place, l->trace.header.record_count);
        l->next.place = l->place++;
        l->has_next = is_mine(l, l->next.record.key);
    }
    return l->has_next;
}

/* Nanoseconds until the next record is due. */
static uint64_t
early_ns(const struct link *l)
{
    uint64_t now = clock_ns(), due;

    if (opt.rate)
        due = start_ns + (uint64_t)((double)l->next.place / (double)opt.rate *
                                    (double)NSEC_PER_SEC);
    else if (opt.speed > 0 && opt.pace)
        due = start_ns + (uint64_t)(((double)l->next.record.time_s - start_virtual_s) / opt.speed *
                                    (double)NSEC_PER_SEC);
    else
        return 0;
    return due > now ? due - now : 0;
}

/* Fills the batch with requests of distinct keys that are due. */
static void
gather(struct link *l)
{
    size_t bytes = 0;

    l->batch_count = 0;
    l->seen.epoch++;
    while (l->batch_count < opt.depth && bytes < BATCH_BYTES && load_next(l)) {
        uint64_t early = early_ns(l);

        if (early && (l->batch_count || l->fill_count))
            break;
        if (early) {
            struct timespec pause = {.tv_sec = (time_t)(early / NSEC_PER_SEC),
                                     .tv_nsec = (long)(early % NSEC_PER_SEC)};

            nanosleep(&pause, NULL);
        }
        if (!seen_add(&l->seen, l->next.record.key))
            break;
        l->batch[l->batch_count++] = l->next;
        l->has_next = false;
        bytes += l->next.record.value_bytes;
    }
}

static void
send_batch(struct link *l)
{
    for (unsigned i = 0; i < l->fill_count; i++)
        put_set(l, &l->fills[i]);
    for (unsigned i = 0; i < l->batch_count; i++)
        put_request(l, &l->batch[i]);
    wire_flush(&l->wire);
}

static bool
answer_request(struct link *l, const struct request *q)
{
    switch ((enum trace_op)q->record.op) {
    case TRACE_GET:
        return answer_get(l, q);
    case TRACE_SET:
        answer_set(l, q);
        return true;
    case TRACE_DELETE:
        answer_delete(l, q);
        return true;
    case TRACE_INCR:
        return answer_incr(l, q);
    case TRACE_OP_COUNT:
        break;
    }
    die("op %u is none", q->record.op);
}

/* Takes the answers in the order of send_batch; the misses are the next fills. */
static void
take_answers(struct link *l)
{
    for (unsigned i = 0; i < l->fill_count; i++) {
        answer_set(l, &l->fills[i]);
        l->tally.fills += l->fills[i].place >= opt.warm;
    }
    l->fill_count = 0;
    for (unsigned i = 0; i < l->batch_count; i++) {
        bool hit = answer_request(l, &l->batch[i]);

        if (!hit)
            l->fills[l->fill_count++] = l->batch[i];
        tally_add(&l->tally, &l->batch[i], hit);
    }
    if (wire_rest(&l->wire).length) {
        const struct request *last = l->batch_count ? &l->batch[l->batch_count - 1] : &l->next;

        judge_error(&judge, &last->record, "this last request of a batch, then also",
                    wire_rest(&l->wire));
        die("the server sends answers nobody asked for, giving up");
    }
}

static void
link_open(struct link *l, unsigned index)
{
    struct trace_record skipped;

    l->index = index;
    trace_open(&l->trace, opt.trace_path);
    for (uint64_t i = 0; i < opt.skip; i++)
        if (!trace_next(&l->trace, &skipped))
            die("%s: --skip is past the end", opt.trace_path);
    l->batch = checked(calloc(opt.depth, sizeof *l->batch));
    l->fills = checked(calloc(opt.depth, sizeof *l->fills));
    seen_create(&l->seen);
    wire_init(&l->wire,
              opt.socket_path ? connect_unix(opt.socket_path) : connect_tcp(opt.host, opt.port),
              (int)opt.silence_s);
}

static void
link_close(struct link *l)
{
    wire_fini(&l->wire);
    trace_close(&l->trace);
    free(l->batch);
    free(l->fills);
    free(l->seen.keys);
    free(l->seen.epochs);
}

static uint64_t
slowest_place(void)
{
    uint64_t place = UINT64_MAX;

    for (unsigned i = 0; i < opt.connections; i++) {
        uint64_t reached = atomic_load_explicit(&links[i].reached, memory_order_relaxed);

        if (reached < place)
            place = reached;
    }
    return place;
}

/* Waits for connections that are too far behind; the last one never waits. */
static void
keep_together(struct link *l)
{
    const struct timespec pause = {.tv_nsec = LAG_PAUSE_NS};

    if (!opt.lag)
        return;
    atomic_store_explicit(&l->reached, l->place, memory_order_relaxed);
    while (l->place > opt.lag && l->place - opt.lag > slowest_place())
        nanosleep(&pause, NULL);
}

static void *
link_run(void *argument)
{
    struct link *l = argument;

    for (;;) {
        keep_together(l);
        gather(l);
        if (!l->batch_count && !l->fill_count) {
            atomic_store_explicit(&l->reached, UINT64_MAX, memory_order_relaxed);
            return NULL;
        }
        send_batch(l);
        take_answers(l);
    }
}

/* ---- command line and result ---- */

static void
print_help(void)
{
    puts("usage: replay --trace FILE [options]\n\n"
         "Replays a trace (format: trace.h) against a memcached text-protocol server,\n"
         "cache-aside, and prints one line of key=value results.\n\n"
         "  --host H --port P   server (default 127.0.0.1 11211)   --socket PATH  unix socket\n"
         "  --connections N     connections (default 1); keys are split by hash, so that\n"
         "                      every key has one writer\n"
         "  --lag N             no connection gets further than N records ahead of another\n"
         "  --pipeline N        requests in a batch of one connection (default 64)\n"
         "  --limit N           stop after N requests      --skip N   leave out the first N\n"
         "  --warm N            do not count the first N requests replayed (cache warm-up)\n"
         "  --warm-pct P        same, in percent of the requests (default 0)\n"
         "  --speed X           X virtual seconds of the trace pass in one real second: paces\n"
         "                      the replay and divides the TTLs by X (at least 1 s).\n"
         "                      Default 0: as fast as possible, TTLs not sent\n"
         "  --no-pace           with --speed: scale the TTLs, do not pace\n"
         "  --rate N            at most N requests a second, whatever the times in the trace\n"
         "  --interval N        also print a line for each N requests, to stderr: misses, and\n"
         "                      bytes of values stored\n"
         "  --verify            a hit must return the last version stored, whole; a hit after\n"
         "                      a delete and a wrong sum of incr are errors.  The server must\n"
         "                      be empty at the start and have no other writer\n"
         "  --label TEXT        goes in the result line\n"
         "  --max-errors N      give up after N error replies (default 1000000)\n"
         "  --silence S         give up when the server is silent for S seconds (default 60)\n\n"
         "Exit status: 0 done, 1 wrong value or error reply, 2 failure.");
}

/* Options that take a number, with the range each allows. */
static const struct {
    const char *name;
    uint64_t *wide;   /* one of the two is set */
    unsigned *narrow;
    uint64_t min, max;
} number_options[] = {
    {"--limit", &opt.limit, NULL, 0, UINT64_MAX},
    {"--skip", &opt.skip, NULL, 0, UINT64_MAX},
    {"--warm", &opt.warm, NULL, 0, UINT64_MAX},
    {"--interval", &opt.interval, NULL, 0, UINT64_MAX},
    {"--lag", &opt.lag, NULL, 0, UINT64_MAX},
    {"--rate", &opt.rate, NULL, 0, 100000000},
    {"--max-errors", &judge.errors_max, NULL, 0, UINT64_MAX},
    {"--silence", &opt.silence_s, NULL, 1, 86400},
    {"--pipeline", NULL, &opt.depth, 1, DEPTH_MAX},
    {"--connections", NULL, &opt.connections, 1, CONNECTIONS_MAX},
};

static const struct {
    const char *name;
    const char **text;
} text_options[] = {
    {"--host", &opt.host},        {"--port", &opt.port},   {"--socket", &opt.socket_path},
    {"--trace", &opt.trace_path}, {"--label", &opt.label},
};

static const struct {
    const char *name;
    double *real;
} real_options[] = {
    {"--warm-pct", &opt.warm_percent},
    {"--speed", &opt.speed},
};

#define COUNT_OF(table) (sizeof(table) / sizeof((table)[0]))

static bool
take_option(const char *name, const char *text)
{
    for (size_t i = 0; i < COUNT_OF(text_options); i++) {
        if (!strcmp(name, text_options[i].name)) {
            *text_options[i].text = text;
            return true;
        }
    }
    for (size_t i = 0; i < COUNT_OF(real_options); i++) {
        if (!strcmp(name, real_options[i].name)) {
            *real_options[i].real = option_real(name, text);
            return true;
        }
    }
    for (size_t i = 0; i < COUNT_OF(number_options); i++) {
        if (!strcmp(name, number_options[i].name)) {
            uint64_t number =
                option_number(name, text, number_options[i].min, number_options[i].max);

            if (number_options[i].wide)
                *number_options[i].wide = number;
            else
                *number_options[i].narrow = (unsigned)number;
            return true;
        }
    }
    return false;
}

static void
parse_command_line(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];

        if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
            print_help();
            exit(0);
        } else if (!strcmp(name, "--verify")) {
            judge.verify = true;
        } else if (!strcmp(name, "--no-pace")) {
            opt.pace = false;
        } else if (i + 1 >= argc || !take_option(name, argv[i + 1])) {
            die("%s: unknown option, or its value is missing (--help lists them)", name);
        } else {
            i++;
        }
    }
    if (!opt.trace_path)
        die("--trace is missing (--help lists the options)");
}

/* Reads from the header and the first record what all connections need to know. */
static void
prepare(struct trace_reader *first)
{
    struct trace_record record = {0};

    trace_open(first, opt.trace_path);
    judge.key_count = first->header.key_count;
    judge.numeric = first->header.flags & TRACE_FLAG_NUMERIC;
    if (opt.skip > first->header.record_count)
        die("%s: --skip is past the end", opt.trace_path);
    total = first->header.record_count - opt.skip;
    if (opt.limit && opt.limit < total)
        total = opt.limit;
    if (opt.warm_percent > 0)
        opt.warm = (uint64_t)((double)total * opt.warm_percent / 100);
    for (uint64_t i = 0; total && i <= opt.skip; i++)
        if (!trace_next(first, &record))
            die("%s ends before its first record", opt.trace_path);
    start_virtual_s = record.time_s;
    trace_close(first);
    value_pattern_create();
    holds = checked(calloc(judge.key_count, sizeof *holds));
    if (judge.verify)
        ledger_create(&judge.ledger, judge.key_count, judge.numeric);
}

static struct tally
tally_sum(void)
{
    struct tally sum = {0};

    for (unsigned i = 0; i < opt.connections; i++) {
        const struct tally *t = &links[i].tally;

        sum.requests += t->requests;
        sum.counted += t->counted;
        sum.gets += t->gets;
        sum.misses += t->misses;
        sum.sets += t->sets;
        sum.fills += t->fills;
        sum.deletes += t->deletes;
        sum.incrs += t->incrs;
        sum.get_bytes += t->get_bytes;
        sum.miss_bytes += t->miss_bytes;
        sum.unavoidable += t->unavoidable;
        sum.stored_bytes += t->stored_bytes;
    }
    return sum;
}

static void
print_result(const struct tally *t, double seconds)
{
    printf("label=%s requests=%" PRIu64 " counted=%" PRIu64 " gets=%" PRIu64 " hits=%" PRIu64
           " misses=%" PRIu64 " miss_ratio=%.5f byte_miss_ratio=%.5f sets=%" PRIu64
           " fills=%" PRIu64 " deletes=%" PRIu64 " incrs=%" PRIu64,
           opt.label, t->requests, t->counted, t->gets, t->gets - t->misses, t->misses,
           t->gets ? (double)t->misses / (double)t->gets : 0.0,
           t->get_bytes ? (double)t->miss_bytes / (double)t->get_bytes : 0.0, t->sets, t->fills,
           t->deletes, t->incrs);
    printf(" errors=%" PRIu64 " bad_values=%" PRIu64 " seconds=%.2f req_per_s=%.0f",
           judge.counts[JUDGE_ERROR], judge.counts[JUDGE_WRONG], seconds,
           (double)t->requests / seconds);
    printf(" connections=%u unavoidable=%" PRIu64 " stored_bytes=%" PRIu64 "\n", opt.connections,
           t->unavoidable, t->stored_bytes);
}

int
main(int argc, char **argv)
{
    struct trace_reader *first = checked(malloc(sizeof *first));
    struct tally sum;

    parse_command_line(argc, argv);
    prepare(first);
    free(first);
    links = checked(calloc(opt.connections, sizeof *links));
    for (unsigned i = 0; i < opt.connections; i++)
        link_open(&links[i], i);
    start_ns = clock_ns();
    for (unsigned i = 0; i < opt.connections; i++)
        if (pthread_create(&links[i].thread, NULL, link_run, &links[i]))
            die("no thread for connection %u", i);
    for (unsigned i = 0; i < opt.connections; i++)
        pthread_join(links[i].thread, NULL);
    sum = tally_sum();
    print_result(&sum, (double)(clock_ns() - start_ns) / NSEC_PER_SEC);
    for (unsigned i = 0; i < opt.connections; i++)
        link_close(&links[i]);
    free(links);
    free(value_pattern);
    free(holds);
    return judge.counts[JUDGE_ERROR] || judge.counts[JUDGE_WRONG] ? 1 : 0;
}
