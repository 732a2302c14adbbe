/*
 * run.c -- a trace against caches, as bench/replay does it against a server:
 *
 *     get     a get; on a miss, a set with the record's size and time to live
 *     set     a set
 *     delete  a delete
 *     incr    adds 1; where there is nothing it counts as a miss, and a number is set
 *
 * Values are as long as there: at most 1 MiB, in a trace of numbers 1 to 18 digits; keys at least
 * so long that all differ.  Misses of get and incr are counted, bytes as the trace says.  Times to
 * live are scaled and rounded as there, and no longer than 30 days: beyond that a server takes them
 * for a date.
 *
 * The trace is read once.  A block of records goes through all caches, one after the other; each
 * cache takes it in sections that end when the second does: a cache reads its clock when a section
 * begins.  So one thread does it all, nothing depends on how fast it runs, and a result can be had
 * again.
 */
#define _GNU_SOURCE
#include "common.h"
#include "trace.h"
#include "sim.h"

#define BLOCK_RECORDS 4096u
#define SECTION_REQUESTS 64u
#define VALUE_BYTES_MAX (1u << 20)
#define TTL_MAX_S 2592000.0
#define KEY_ROOM 256u                  /* a key, and the 8 bytes its number is written as */
#define PROGRESS_NS 300000000u

_Static_assert(SECTION_REQUESTS <= LARDER_PREFETCH_MAX, "a section's keys are announced together");

/* What all caches are asked. */
struct block {
    uint64_t place;                    /* of its first record in the trace */
    unsigned count;
    struct trace_record records[BLOCK_RECORDS];
    struct larder_bytes keys[BLOCK_RECORDS];
    char texts[BLOCK_RECORDS][KEY_ROOM];
};

struct cache {
    struct larder *larder;
    struct larder_thread *thread;
    uint64_t now_s;                    /* what its clock says */
    struct sim_result *result;
};

struct sim {
    const struct sim_options *options;
    struct trace_reader trace;
    uint64_t total, warm;              /* requests */
    uint32_t start_s;                  /* of the trace */
    bool numeric;
    struct cache *caches;
    struct block block;
    char *value;                       /* the longest one */
    uint64_t shown_ns;                 /* when progress was */
};

/* ---- what is stored -------------------------------------------------------------------------- */

/* The number of the key at its end, before it as many bytes as the length asks for. */
static struct larder_bytes
make_key(char text[KEY_ROOM], const struct trace_record *record, unsigned digits)
{
    unsigned length = record->key_bytes > digits ? record->key_bytes : digits;

    memset(text, 'k', length);
    trace_put((unsigned char *)text + length - digits, record->key, digits < 8 ? digits : 8);
    return larder_span(text, length);
}

/* Of a key's number, in base 62 as in bench/value.h: in base 256 it needs no more. */
static unsigned
key_digits(uint64_t key_count)
{
    unsigned digits = 0;

    for (uint64_t rest = key_count ? key_count - 1 : 0; digits == 0 || rest; rest /= 62)
        digits++;
    return digits;
}

static uint32_t
stored_length(const struct sim *s, uint32_t length)
{
    if (!s->numeric)
        return length < VALUE_BYTES_MAX ? length : VALUE_BYTES_MAX;
    if (length < 1)
        return 1;
    return length < TRACE_NUMBER_DIGITS ? length : TRACE_NUMBER_DIGITS;
}

static uint32_t
stored_ttl(const struct sim *s, uint32_t ttl_s)
{
    double scaled = (double)ttl_s / s->options->speed;

    if (!ttl_s || !s->options->ttl)
        return 0;
    if (scaled < 1)
        scaled = 1;
    if (scaled > TTL_MAX_S)
        scaled = TTL_MAX_S;
    return (uint32_t)(scaled + .5);
}

/* The digits that replay starts with: 1, or 91, 901, 9001 ... cannot grow longer for long. */
static const char *
value_of(const struct sim *s, uint32_t length)
{
    if (s->numeric) {
        memset(s->value, '0', length);
        s->value[0] = length > 1 ? '9' : '1';
        s->value[length - 1] = '1';
    }
    return s->value;
}

/* ---- one request ----------------------------------------------------------------------------- */

/* Within a section, which is left for the time that it takes to make room. */
static void
store(const struct sim *s, struct cache *c, const struct trace_record *record,
      struct larder_bytes key)
{
    uint32_t length = stored_length(s, record->value_bytes);
    struct larder_entry entry = {
        .size = sizeof entry,
        .key = key,
        .value = {value_of(s, length), length},
        .ttl_s = stored_ttl(s, record->ttl_s),
    };
    enum larder_error error = larder_put(c->thread, LARDER_SET, &entry, NULL);

    if (error == LARDER_AGAIN) {
        larder_leave(c->thread);
        error = larder_put(c->thread, LARDER_SET, &entry, NULL);
        larder_enter(c->thread);
    }
    if (error != LARDER_OK)
        c->result->tally.refused++;
}

/* All of the value must be there. */
static bool
get(struct cache *c, struct larder_bytes key)
{
    struct larder_view view;
    struct larder_bytes spans[64];

    if (larder_get_view(c->thread, key, &view) != LARDER_OK)
        return false;
    for (size_t at = 0; !view.value && at < view.value_bytes;) {
        unsigned count = larder_view_spans(c->thread, &view, at, spans, 64);

        if (!count)
            return false;
        for (unsigned i = 0; i < count; i++)
            at += spans[i].len;
    }
    return true;
}

static bool
incr(struct cache *c, struct larder_bytes key)
{
    enum larder_error error = larder_incr(c->thread, key, 1, NULL);

    if (error == LARDER_AGAIN) {
        larder_leave(c->thread);
        error = larder_incr(c->thread, key, 1, NULL);
        larder_enter(c->thread);
    }
    c->result->tally.not_numbers += error == LARDER_NOT_A_NUMBER;
    return error != LARDER_MISS;
}

/* True: a hit, or what cannot miss. */
static bool
ask(const struct sim *s, struct cache *c, const struct trace_record *record,
    struct larder_bytes key)
{
    switch ((enum trace_op)record->op) {
    case TRACE_GET:
        return get(c, key);
    case TRACE_SET:
        store(s, c, record, key);
        return true;
    case TRACE_DELETE:
        larder_delete(c->thread, key);
        return true;
    case TRACE_INCR:
        return incr(c, key);
    case TRACE_OP_COUNT:
        break;
    }
    die("op %u is none", record->op);
}

static void
count(struct sim_tally *t, const struct trace_record *record, bool hit)
{
    bool is_get = record->op == TRACE_GET || record->op == TRACE_INCR;

    t->requests++;
    t->sets += record->op == TRACE_SET;
    t->deletes += record->op == TRACE_DELETE;
    t->incrs += record->op == TRACE_INCR;
    t->fills += !hit;
    if (!is_get)
        return;
    t->gets++;
    t->get_bytes += record->value_bytes;
    t->misses += !hit;
    t->miss_bytes += hit ? 0 : record->value_bytes;
}

/* ---- a block of them ------------------------------------------------------------------------- */

/* The end of the section that begins at `first`: it is full, or what follows is of a later second,
 * or the first that counts. */
static unsigned
section_end(const struct sim *s, unsigned first)
{
    const struct block *b = &s->block;
    unsigned end = first + 1;

    while (end < b->count && end - first < SECTION_REQUESTS &&
           b->records[end].time_s == b->records[first].time_s && b->place + end != s->warm)
        end++;
    return end;
}

static void
run_section(const struct sim *s, struct cache *c, unsigned first, unsigned end)
{
    const struct block *b = &s->block;
    bool counts = b->place + first >= s->warm;
    uint32_t time_s = b->records[first].time_s;

    c->now_s = time_s < s->start_s ? 0 : (uint64_t)((time_s - s->start_s) / s->options->speed);
    if (b->place + first == s->warm)
        larder_stats_read(c->larder, &c->result->warm);
    larder_enter(c->thread);
    larder_prefetch(c->thread, &b->keys[first], end - first);
    for (unsigned i = first; i < end; i++) {
        bool hit = ask(s, c, &b->records[i], b->keys[i]);

        if (!hit)
            store(s, c, &b->records[i], b->keys[i]);
        if (counts)
            count(&c->result->tally, &b->records[i], hit);
    }
    larder_leave(c->thread);
}

static void
run_block(const struct sim *s, struct cache *c)
{
    uint64_t began = clock_ns();

    for (unsigned first = 0, end; first < s->block.count; first = end) {
        end = section_end(s, first);
        run_section(s, c, first, end);
    }
    c->result->tally.all_requests += s->block.count;
    c->result->seconds += (double)(clock_ns() - began) / NSEC_PER_SEC;
}

static void
read_block(struct sim *s)
{
    struct block *b = &s->block;
    unsigned digits = key_digits(s->trace.header.key_count);

    b->place += b->count;
    b->count = 0;
    while (b->count < BLOCK_RECORDS && b->place + b->count < s->total) {
        struct trace_record *record = &b->records[b->count];

        if (!trace_next(&s->trace, record))
            die("%s ends after %" PRIu64 " of the %" PRIu64 " records it announces",
                s->trace.path, b->place + b->count, s->trace.header.record_count);
        b->keys[b->count] = make_key(b->texts[b->count], record, digits);
        b->count++;
    }
    if (b->place == 0 && b->count)
        s->start_s = b->records[0].time_s;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static uint64_t
virtual_clock(void *ctx)
{
    return ((struct cache *)ctx)->now_s;
}

static void
cache_create(struct cache *c, const struct sim_options *o, const struct sim_size *size)
{
    struct larder_config config = {
        .size = sizeof config,
        .memory_bytes = size->bytes,
        .memory_bytes_most = size->bytes,
        .value_bytes_max = VALUE_BYTES_MAX,
        .threads_max = 1,
        .flags = o->cas ? 0 : LARDER_NO_CAS,
        .hash_seed = o->seed,
        .clock = virtual_clock,
        .clock_ctx = c,
    };
    enum larder_error error = larder_create(&config, &c->larder);

    if (error == LARDER_OK)
        error = larder_join(c->larder, &c->thread);
    if (error != LARDER_OK)
        die("a cache of %s: %s", size->text, larder_strerror(error));
    c->result->size = size;
    c->result->warm.size = c->result->end.size = sizeof c->result->end;
}

static void
cache_destroy(struct cache *c)
{
    larder_stats_read(c->larder, &c->result->end);
    larder_part(c->thread);
    larder_destroy(c->larder);
}

static void
open_trace(struct sim *s)
{
    const struct sim_options *o = s->options;

    if (strcmp(o->trace_path, "-"))
        trace_open(&s->trace, o->trace_path);
    else
        trace_begin(&s->trace, stdin, "standard input");
    s->numeric = s->trace.header.flags & TRACE_FLAG_NUMERIC;
    s->total = s->trace.header.record_count;
    if (o->limit && o->limit < s->total)
        s->total = o->limit;
    s->warm = o->warm_percent < 0 ? o->warm
                                  : (uint64_t)((double)s->total * o->warm_percent / 100);
    if (s->warm >= s->total)    /* no misses of no requests would look like a perfect cache */
        die("nothing is left to measure: %" PRIu64 " requests, and the warm-up takes %" PRIu64,
            s->total, s->warm);
}

static void
show_progress(struct sim *s, bool is_end)
{
    uint64_t now = clock_ns(), done = s->block.place + s->block.count;

    if (!isatty(STDERR_FILENO) || (!is_end && now - s->shown_ns < PROGRESS_NS))
        return;
    s->shown_ns = now;
    if (is_end)
        fputs("\r\033[K", stderr);
    else
        fprintf(stderr, "\r%3.0f %%  %.1f of %.1f million requests", 100.0 * (double)done /
                (double)s->total, (double)done / 1e6, (double)s->total / 1e6);
}

void
sim_run(const struct sim_options *options, struct sim_result *out_results)
{
    struct sim *s = checked(calloc(1, sizeof *s));

    s->options = options;
    open_trace(s);
    s->value = checked(malloc(VALUE_BYTES_MAX));
    memset(s->value, 'v', VALUE_BYTES_MAX);
    s->caches = checked(calloc(options->size_count, sizeof *s->caches));
    for (unsigned i = 0; i < options->size_count; i++) {
        s->caches[i].result = &out_results[i];
        cache_create(&s->caches[i], options, &options->sizes[i]);
    }
    s->shown_ns = clock_ns();
    for (read_block(s); s->block.count; read_block(s)) {
        for (unsigned i = 0; i < options->size_count; i++)
            run_block(s, &s->caches[i]);
        show_progress(s, false);
    }
    show_progress(s, true);
    for (unsigned i = 0; i < options->size_count; i++)
        cache_destroy(&s->caches[i]);
    trace_close(&s->trace);
    free(s->caches);
    free(s->value);
    free(s);
}
