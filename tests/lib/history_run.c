/*
 * history_run.c -- threads that do everything a store can do to a few keys, and write it down.
 *
 * Values that are used where they lie are looked at twice: when they are found, and once more when
 * the section ends, after others had time to overwrite, evict and reuse whatever they can.
 *
 * Where time is part of the plan, thread 0 alone moves the clock and asks for flushes, so that it
 * is known which delayed one comes due with which step of the clock.
 */
#include "history_run.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_START 1000u
#define FAR 1000000u                   /* seconds: an expiry that is never reached */

/* ---- sections -------------------------------------------------------------------------------- */

static void
say_wrong(struct worker *w, const char *what)
{
    const char *none = NULL;
    atomic_compare_exchange_strong(&w->run->wrong, &none, what);
}

static uint64_t
tick(struct worker *w)
{
    return atomic_fetch_add(&w->run->tick, 2);
}

static void
enter(struct worker *w)
{
    store_enter(w->t);
    w->inside = true;
}

static void
leave(struct worker *w)
{
    for (unsigned i = 0; i < w->hold_count; i++)
        if (history_content_of(w->holds[i].iov_base, w->holds[i].iov_len).hash !=
            w->hold_hashes[i])
            say_wrong(w, "a value changed while a section that had found it was open");
    w->hold_count = 0;
    w->announced_count = 0;
    store_leave(w->t);
    w->inside = false;
}

static void
hold(struct worker *w, const char *at, size_t len)
{
    if (w->hold_count == HISTORY_HOLDS)
        return;
    w->holds[w->hold_count] = (struct iovec){(void *)(uintptr_t)at, len};
    w->hold_hashes[w->hold_count++] = history_content_of(at, len).hash;
}

static void
wait_for_room(void *ctx)
{
    struct worker *w = ctx;
    leave(w);
    store_maintain(w->t, STORE_MAINTAIN_BUDGET);
    sched_yield();
    enter(w);
}

/* ---- values ---------------------------------------------------------------------------------- */

static size_t
random_len(struct worker *w, enum history_size size)
{
    uint64_t r = kit_random(&w->random);
    size_t most = w->run->inline_bytes_max;
    switch (size) {
    case HISTORY_EMPTY: return 0;
    case HISTORY_NUMBER: break;
    case HISTORY_SMALL: return r & 1 ? 40 : HISTORY_RECORD_BYTES_MIN + (r >> 8) % 400;
    case HISTORY_MEDIUM: return r & 1 ? 700 : 520 + (r >> 8) % (most - 520);
    case HISTORY_PIECES: return most + 1 + (r >> 8) % (HISTORY_LONGEST - most - 1);
    case HISTORY_SIZES: break;
    }
    return 0;
}

static enum history_size
random_size(struct worker *w)
{
    unsigned sum = 0, at = 0;
    for (unsigned i = 0; i < HISTORY_SIZES; i++)
        sum += w->run->plan->sizes[i];
    unsigned r = (unsigned)(kit_random(&w->random) % sum);
    while (r >= w->run->plan->sizes[at])
        r -= w->run->plan->sizes[at++];
    return (enum history_size)at;
}

/* A number, sometimes with blanks behind it: short, medium, as long as what has grown there. */
static size_t
write_number(struct worker *w)
{
    static const size_t padded[] = {0, 0, 0, 8, 20, 600};
    uint64_t r = kit_random(&w->random);
    uint64_t number = r >> (r & 63);
    size_t len = num_put_u64(w->value, number), want = padded[(r >> 6) % 6];
    for (; len < want; len++)
        w->value[len] = ' ';
    return len;
}

static struct slice
random_value(struct worker *w, unsigned key, bool record)
{
    enum history_size size = random_size(w);
    if (size == HISTORY_NUMBER && !record)
        return (struct slice){w->value, write_number(w)};
    size_t len = random_len(w, size == HISTORY_NUMBER ? HISTORY_SMALL : size);
    if (len)
        history_record_write(w->value, key, w->number, ++w->records, len);
    return (struct slice){w->value, len};
}

static uint32_t
random_expiry(struct worker *w)
{
    uint64_t r = kit_random(&w->random);
    if (r % 4)
        return STORE_EXPIRY_NEVER;
    if (!w->run->plan->time)
        return CLOCK_START + FAR + (r >> 8 & 1);
    return store_now(w->t) + (uint32_t)(r >> 8) % 4;
}

/* ---- operations ------------------------------------------------------------------------------ */

static struct history_event *
begin(struct worker *w, enum history_verb verb, unsigned key)
{
    CHECK(w->event_count < w->event_room);
    struct history_event *e = &w->events[w->event_count++];
    *e = (struct history_event){.verb = (uint8_t)verb, .key = (uint8_t)key,
                                .thread = (uint8_t)w->number};
    e->now_began = w->inside ? store_now(w->t) : 0;
    return e;
}

/* What lies where it is found is held for a second look; false: parts are gone. */
static bool
take_view(struct worker *w, const struct store_view *v, bool small)
{
    if (v->value) {
        memcpy(w->seen, v->value, v->value_bytes);
        if (!small)
            hold(w, v->value, v->value_bytes);
        return true;
    }
    struct iovec spans[2];
    uint64_t n;
    if (!kit_read(w->t, v, w->seen))
        return false;
    unsigned count = store_spans(w->t, v->serial, v->value_bytes, 0, UINT64_MAX, spans, 2, &n);
    for (unsigned i = 0; i < count; i++)
        hold(w, spans[i].iov_base, spans[i].iov_len);
    return true;
}

/* A miss makes an entry: then it was an add of an empty value, which can be nobody else's. */
static void
get_or_vivify(struct worker *w, struct store_key k, struct history_event *e, struct store_view *v)
{
    struct store_get_options options = {.lease = true, .vivify = true,
                                        .vivify_expiry = random_expiry(w)};
    enum store_outcome outcome;
    while ((outcome = kit_get(w->t, k, &options, v)) == STORE_AGAIN)
        wait_for_room(w);
    e->outcome = outcome == STORE_NO_MEMORY ? STORE_MISS : (uint8_t)outcome;
    if (outcome != STORE_OK || !v->vivified)
        return;
    e->verb = HISTORY_ADD;
    e->content = history_content_of("", 0);
    e->expiry = options.vivify_expiry;
    e->cas = v->cas;
}

static void
do_get(struct worker *w, struct store_key k, unsigned key, bool touch)
{
    struct history_event *e = begin(w, touch ? HISTORY_GAT : HISTORY_GET, key);
    struct store_view v;
    e->expiry = touch ? random_expiry(w) : 0;
    e->began = tick(w);
    struct store_get_options options = {.has_expiry = true, .expiry = e->expiry};
    if (!touch && w->run->plan->cas && kit_random(&w->random) % 4 == 0)
        get_or_vivify(w, k, e, &v);
    else
        e->outcome = (uint8_t)kit_get(w->t, k, touch ? &options : NULL, &v);
    e->ended = tick(w);
    e->now = store_now(w->t);
    if (e->verb == HISTORY_ADD)
        return;
    if (e->outcome != STORE_OK) {
        e->expired = v.gone == STORE_GONE_EXPIRED;
        return;
    }
    e->cas = v.cas;
    e->flags = v.client_flags;
    e->expiry_seen = v.expiry;
    atomic_store_explicit(&w->run->cas_hints[key], v.cas, memory_order_relaxed);
    if (v.value_bytes > HISTORY_LONGEST * 2) {
        say_wrong(w, "a value longer than any that was stored");
        return;
    }
    e->content.len = v.value_bytes;
    e->broken = !take_view(w, &v, v.value_bytes < STORE_SMALL_BYTES_MAX);
    if (e->broken) {
        store_drop_broken(w->t, k, v.serial);
        return;
    }
    const char *wrong = history_value_wrong(w->seen, v.value_bytes, key);
    if (wrong)
        say_wrong(w, wrong);
    e->content = history_content_of(w->seen, v.value_bytes);
}

static void
do_put(struct worker *w, struct store_key k, unsigned key, enum history_verb verb)
{
    static const enum store_mode mode_of[HISTORY_VERBS] = {
        [HISTORY_SET] = STORE_SET,         [HISTORY_ADD] = STORE_ADD,
        [HISTORY_REPLACE] = STORE_REPLACE, [HISTORY_APPEND] = STORE_APPEND,
        [HISTORY_PREPEND] = STORE_PREPEND, [HISTORY_CAS] = STORE_CAS,
    };
    static const size_t joined_most[] = {300, 3000, 20000, HISTORY_LONGEST};
    bool joins = verb == HISTORY_APPEND || verb == HISTORY_PREPEND;
    uint64_t r = kit_random(&w->random);
    struct history_event *e = begin(w, verb, key);
    struct store_put put = {.mode = mode_of[verb], .key = k,
                            .value = random_value(w, key, joins)};
    e->content = history_content_of(put.value.at, put.value.len);
    if (joins)
        e->operand = put.joined_bytes_max = joined_most[r % 4];
    else
        e->expiry = put.expiry = random_expiry(w);
    if (!joins && (r >> 2) % 4 == 0)
        e->flags = put.client_flags = (uint32_t)(r >> 32) | 1;
    if (verb == HISTORY_CAS)
        e->cas_expected = put.cas_expected =
            atomic_load_explicit(&w->run->cas_hints[key], memory_order_relaxed);
    struct kit_wait wait = {wait_for_room, w};
    e->began = tick(w);
    e->outcome = (uint8_t)kit_put(w->run->store, w->t, &put, &e->cas, &wait);
    e->ended = tick(w);
    e->now = store_now(w->t);
    if (e->outcome == STORE_OK && e->cas)
        atomic_store_explicit(&w->run->cas_hints[key], e->cas, memory_order_relaxed);
}

static void
do_arith(struct worker *w, struct store_key k, unsigned key, bool decrement)
{
    struct history_event *e = begin(w, decrement ? HISTORY_DECR : HISTORY_INCR, key);
    struct kit_wait wait = {wait_for_room, w};
    uint64_t r = kit_random(&w->random);
    e->operand = r & 1 ? 1 : r >> (r >> 1 & 63);
    e->began = tick(w);
    e->outcome = (uint8_t)kit_arith(w->t, k, decrement, e->operand, &e->content.number, &wait);
    e->ended = tick(w);
    e->now = store_now(w->t);
}

static void
do_delete(struct worker *w, struct store_key k, unsigned key)
{
    struct history_event *e = begin(w, HISTORY_DELETE, key);
    if (w->run->plan->cas && kit_random(&w->random) % 2)
        e->cas_expected = atomic_load_explicit(&w->run->cas_hints[key], memory_order_relaxed);
    e->began = tick(w);
    e->outcome = (uint8_t)(e->cas_expected ? store_delete_cas(w->t, k, e->cas_expected)
                                           : store_delete(w->t, k));
    e->ended = tick(w);
    e->now = store_now(w->t);
}

static void
do_flush(struct worker *w)
{
    struct run *run = w->run;
    uint64_t delay = run->plan->time ? kit_random(&w->random) % 4 : 0;
    if (run->plan->time)               /* by thread 0 alone */
        run->flush_at = delay ? store_now(w->t) + (uint32_t)delay : 0;
    if (delay) {
        store_flush(w->t, run->flush_at);
        return;
    }
    struct history_event *e = begin(w, HISTORY_FLUSH, 0);
    e->began = tick(w);
    store_flush(w->t, kit_random(&w->random) & 1 ? 0 : store_now(w->t));
    e->ended = tick(w);
    e->now = store_now(w->t);
}

/* Outside a section.  A delayed flush begins to be due with this; when it must have been is found
 * later: when the first operation began whose section had read the new time. */
static void
move_clock(struct worker *w)
{
    struct run *run = w->run;
    uint32_t to = atomic_load(&run->clock) + 1 + (uint32_t)kit_random(&w->random) % 3;
    if (run->flush_at && run->flush_at <= to) {
        struct history_event *e = begin(w, HISTORY_FLUSH, 0);
        e->thread = HISTORY_DUE;
        e->expiry = run->flush_at;
        e->began = tick(w);
        e->ended = HISTORY_NEVER;
        run->flush_at = 0;
    }
    atomic_store(&run->clock, to);
    char text[KIT_KEY_CHARS];
    enter(w);
    do_get(w, kit_key(run->store, text, 0), 0, false);
    leave(w);
}

/* What else lives in the store, and pushes out what is looked at. */
static void
do_filler(struct worker *w)
{
    char text[KIT_KEY_CHARS];
    uint64_t r = kit_random(&w->random);
    size_t len = r % 64 ? 100 + (r >> 8) % 3900 : 50000;
    struct store_put put = {.mode = STORE_SET, .value = {w->run->filler, len}};
    put.key = kit_key(w->run->store, text, 1000 + (unsigned)(r >> 32) % 20000);
    struct kit_wait wait = {wait_for_room, w};
    kit_put(w->run->store, w->t, &put, NULL, &wait);
}

/* ---- a thread -------------------------------------------------------------------------------- */

static enum history_verb
random_verb(struct worker *w)
{
    static const enum history_verb verbs[] = {
        HISTORY_GET, HISTORY_GET, HISTORY_GET, HISTORY_GET, HISTORY_GET, HISTORY_GET,
        HISTORY_GAT, HISTORY_SET, HISTORY_SET, HISTORY_SET, HISTORY_ADD, HISTORY_ADD,
        HISTORY_REPLACE, HISTORY_APPEND, HISTORY_PREPEND, HISTORY_CAS, HISTORY_CAS, HISTORY_INCR,
        HISTORY_INCR, HISTORY_DECR,
    };
    static const enum history_verb focused[HISTORY_FOCUSES][4] = {
        [HISTORY_COUNTING] = {HISTORY_INCR, HISTORY_INCR, HISTORY_DECR, HISTORY_GET},
        [HISTORY_JOINING] = {HISTORY_APPEND, HISTORY_PREPEND, HISTORY_GET, HISTORY_SET},
        [HISTORY_COMPARING] = {HISTORY_CAS, HISTORY_CAS, HISTORY_GET, HISTORY_INCR},
        [HISTORY_COMING_AND_GOING] = {HISTORY_ADD, HISTORY_DELETE, HISTORY_GET, HISTORY_REPLACE},
        [HISTORY_OVERWRITING] = {HISTORY_SET, HISTORY_GET, HISTORY_GET, HISTORY_GAT},
    };
    uint64_t r = kit_random(&w->random);
    if (w->run->plan->focus && r % 8)
        return focused[w->run->plan->focus][r >> 8 & 3];
    if (kit_random(&w->random) % 100 < w->run->plan->delete_percent)
        return HISTORY_DELETE;
    return verbs[kit_random(&w->random) % (sizeof verbs / sizeof verbs[0])];
}

static void
announce(struct worker *w)
{
    static const unsigned most[] = {3, 16, HISTORY_ANNOUNCED_MAX};
    uint64_t r = kit_random(&w->random);
    w->announced_count = (unsigned)((r >> 8) % most[r % 3]) + 1;
    w->announced_at = 0;
    for (unsigned i = 0; i < w->announced_count; i++) {
        char text[KIT_KEY_CHARS];
        unsigned key = (unsigned)(kit_random(&w->random) % w->run->plan->keys);
        w->announced[i] = (uint8_t)key;
        w->hashes[i] = kit_key(w->run->store, text, key).hash;
    }
    store_prefetch(w->t, w->hashes, w->announced_count);
}

static bool
has_announced(const struct worker *w)
{
    return w->announced_at < w->announced_count;
}

/* The next key that was announced; otherwise any, and now and then some are announced first. */
static unsigned
next_key(struct worker *w, unsigned *out_ahead)
{
    uint64_t r = kit_random(&w->random);
    *out_ahead = 0;
    if (!has_announced(w) && (r >> 32) % 100 < w->run->plan->ahead_percent)
        announce(w);
    if (!has_announced(w))
        return (unsigned)(r % w->run->plan->keys);
    if ((r >> 40) % 16 == 0)           /* out of order */
        w->announced_at = (unsigned)(r >> 44) % w->announced_count;
    *out_ahead = w->announced_at + 1;
    return w->announced[w->announced_at++];
}

static void
do_verb(struct worker *w)
{
    char text[KIT_KEY_CHARS];
    unsigned ahead, key = next_key(w, &ahead);
    struct store_key k = kit_key(w->run->store, text, key);
    k.ahead = ahead;
    enum history_verb verb = random_verb(w);
    switch (verb) {
    case HISTORY_GET:
    case HISTORY_GAT: do_get(w, k, key, verb == HISTORY_GAT); break;
    case HISTORY_SET:
    case HISTORY_ADD:
    case HISTORY_REPLACE:
    case HISTORY_APPEND:
    case HISTORY_PREPEND:
    case HISTORY_CAS: do_put(w, k, key, verb); break;
    case HISTORY_DELETE: do_delete(w, k, key); break;
    case HISTORY_INCR:
    case HISTORY_DECR: do_arith(w, k, key, verb == HISTORY_DECR); break;
    case HISTORY_FLUSH:
    case HISTORY_VERBS: break;
    }
}

static void
between_sections(struct worker *w)
{
    const struct history_plan *p = w->run->plan;
    uint64_t r = kit_random(&w->random);
    store_maintain(w->t, (unsigned)(r & 127) + 1);
    if ((r >> 8) % 100 < p->yield_percent)
        sched_yield();
    if (p->time && w->number == 0 && (r >> 16) % 16 == 0)
        move_clock(w);
}

static void
step(struct worker *w)
{
    const struct history_plan *p = w->run->plan;
    uint64_t r = kit_random(&w->random);
    if (r % 100 < p->filler_percent)
        do_filler(w);
    else if ((r >> 8) % 1000 < p->flush_per_1000 && (!p->time || w->number == 0))
        do_flush(w);
    else
        do_verb(w);
    if ((r >> 20) % (has_announced(w) ? 32 : 4))
        return;
    leave(w);
    between_sections(w);
    enter(w);
}

void *
history_worker(void *arg)
{
    struct worker *w = arg;
    struct run *run = w->run;
    w->t = store_join(run->store);
    CHECK(w->t);
    pthread_barrier_wait(&run->start);
    enter(w);
    for (unsigned i = 0; i < run->plan->steps && !atomic_load(&run->wrong); i++)
        step(w);
    leave(w);
    store_part(w->t);
    atomic_fetch_add(&run->finished, 1);
    return NULL;
}
