/*
 * history_linear.c -- is there an order of the operations in which one entry would have answered
 * so?
 *
 * Wing and Gong (1993) with the just-in-time order of Lowe ("Testing for linearizability", 2017):
 * the ticks are walked in order, with the set of all configurations that are possible so far.  A
 * configuration is the entry, and which of the operations under way have had their moment already.
 * An operation gets its moment only when it ends, or when another one needs it to have had it;
 * equal configurations are kept once.  So the length of a history costs nothing but time, and no
 * cut at quiet points is needed.
 *
 * The entry: absent, or a value with flags, expiry and CAS number.  Loss: before any moment a
 * present entry may become absent.  A CAS number that no operation was told (after incr) is known
 * to be above the last one, and is fixed by the first that sees it.
 */
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define SLOTS (HISTORY_THREADS_MAX + 1)
#define CONFIGS_MAX 60000u
#define CONFIG_KEY_BYTES offsetof(struct config, next)

/* Absent is all zero. */
struct entry {
    uint64_t hash, len, number;
    uint64_t cas;
    uint32_t flags, expiry;
    uint32_t present, is_number, cas_known, zero;
};

struct config {
    struct entry entry;
    uint32_t done;                     /* bit per slot */
    uint32_t next;                     /* of the same hash, number + 1 */
};
_Static_assert(sizeof(struct config) == 64, "no holes: all bytes but the last are compared");

struct config_set {
    struct config *all;
    uint32_t count, room;
    uint32_t *heads;                   /* number + 1 */
    uint32_t head_mask;
};

struct checker {
    const struct history *h;
    const struct history_event *pending[SLOTS];
    struct config_set now, work;
    bool gave_up;
};

/* ---- one moment ------------------------------------------------------------------------------ */

static struct history_content
content_in(const struct entry *e)
{
    return (struct history_content){.hash = e->hash, .len = e->len, .number = e->number,
                                    .is_number = e->is_number};
}

static void
set_content(struct entry *e, const struct history_content *c)
{
    e->hash = c->hash;
    e->len = c->len;
    e->is_number = c->is_number;
    e->number = c->is_number ? c->number : 0;
}

static bool
cas_next(const struct history *h, const struct history_event *op, const struct entry *old,
         struct entry *e)
{
    if (h->cas && old->present && op->cas <= old->cas)
        return false;
    e->cas = op->cas;
    e->cas_known = true;
    return true;
}

static bool
store_new(const struct history *h, const struct history_event *op, const struct entry *old,
          struct entry *e)
{
    *e = (struct entry){.present = true, .flags = op->flags, .expiry = op->expiry};
    set_content(e, &op->content);
    return cas_next(h, op, old, e);
}

static bool
expired(const struct history_event *op, const struct entry *e)
{
    return e->present && e->expiry && e->expiry <= op->now;
}

/* Looking at what has expired need not take it out: an older section may see it after that. */
static bool
see(const struct history *h, const struct history_event *op, struct entry *e)
{
    if (op->outcome == STORE_MISS)
        return !e->present || expired(op, e);
    if (!e->present || expired(op, e) || op->content.len != e->len || op->flags != e->flags ||
        op->expiry_seen != e->expiry || (!op->broken && op->content.hash != e->hash))
        return false;
    if (h->cas && (e->cas_known ? op->cas != e->cas : op->cas <= e->cas))
        return false;
    e->cas = op->cas;
    e->cas_known = true;
    if (op->verb == HISTORY_GAT)
        e->expiry = op->expiry;
    return true;
}

static bool
join(const struct history *h, const struct history_event *op, struct entry *e)
{
    if (op->outcome == STORE_NOT_STORED)
        return !e->present;
    uint64_t total = e->len + op->content.len;
    if (op->outcome == STORE_TOO_LARGE)
        return e->present && total > op->operand;
    if (!e->present || total > op->operand)
        return false;
    struct entry old = *e;
    struct history_content was = content_in(e);
    struct history_content both = op->verb == HISTORY_APPEND
                                      ? history_content_join(&was, &op->content)
                                      : history_content_join(&op->content, &was);
    set_content(e, &both);
    return cas_next(h, op, &old, e);
}

static bool
may_be_same(const struct history *h, const struct history_event *op, const struct entry *e)
{
    return h->cas && (e->cas_known ? op->cas_expected == e->cas : op->cas_expected > e->cas);
}

static bool
compare_and_set(const struct history *h, const struct history_event *op, struct entry *e)
{
    struct entry old = *e;
    if (op->outcome == STORE_MISS)
        return !e->present;
    bool same = may_be_same(h, op, e);
    if (op->outcome == STORE_EXISTS)
        return e->present && !(same && e->cas_known);
    return e->present && same && op->cas > op->cas_expected && store_new(h, op, &old, e);
}

static bool
delete(const struct history *h, const struct history_event *op, struct entry *e)
{
    if (op->outcome == STORE_MISS)
        return !e->present;
    bool compares = op->cas_expected != 0, same = may_be_same(h, op, e);
    if (op->outcome == STORE_EXISTS)
        return e->present && compares && !(same && e->cas_known);
    bool right = e->present && (!compares || same);
    *e = (struct entry){0};
    return right;
}

static bool
count_up_or_down(const struct history *h, const struct history_event *op, struct entry *e)
{
    if (op->outcome == STORE_MISS)
        return !e->present;
    bool numeric = e->is_number && e->len <= h->inline_bytes_max;
    if (op->outcome == STORE_NON_NUMERIC)
        return e->present && !numeric;
    if (!e->present || !numeric)
        return false;
    uint64_t result = op->verb == HISTORY_INCR ? e->number + op->operand
                      : op->operand > e->number ? 0 : e->number - op->operand;
    if (result != op->content.number)
        return false;
    struct history_content c = history_content_number(result, e->len);
    set_content(e, &c);
    e->cas_known = !h->cas;
    return true;
}

/* Can the operation answer so at this moment?  *e becomes what is there afterwards. */
static bool
moment(const struct history *h, const struct history_event *op, struct entry *e)
{
    bool only_looks = op->verb == HISTORY_GET || op->verb == HISTORY_GAT;
    if (!only_looks && expired(op, e))
        *e = (struct entry){0};
    struct entry old = *e;
    switch ((enum history_verb)op->verb) {
    case HISTORY_GET:
    case HISTORY_GAT: return see(h, op, e);
    case HISTORY_SET: return op->outcome == STORE_OK && store_new(h, op, &old, e);
    case HISTORY_ADD:
        return op->outcome == STORE_OK ? !old.present && store_new(h, op, &old, e) : old.present;
    case HISTORY_REPLACE:
        return op->outcome == STORE_OK ? old.present && store_new(h, op, &old, e) : !old.present;
    case HISTORY_APPEND:
    case HISTORY_PREPEND: return join(h, op, e);
    case HISTORY_CAS: return compare_and_set(h, op, e);
    case HISTORY_DELETE: return delete(h, op, e);
    case HISTORY_INCR:
    case HISTORY_DECR: return count_up_or_down(h, op, e);
    case HISTORY_FLUSH:
        *e = (struct entry){0};
        return true;
    case HISTORY_VERBS: break;
    }
    return false;
}

/* ---- sets of configurations ------------------------------------------------------------------ */

static uint32_t
config_hash(const struct config *c)
{
    const struct entry *e = &c->entry;
    uint64_t x = (e->hash ^ e->cas * 0x9e3779b97f4a7c15u ^ (uint64_t)e->expiry << 20 ^ e->len) +
                 ((uint64_t)c->done << 32 | e->flags);
    x = (x ^ x >> 31) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(x >> 32);
}

static void
set_clear(struct config_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        set->heads[config_hash(&set->all[i]) & set->head_mask] = 0;
    set->count = 0;
}

static void
set_init(struct config_set *set)
{
    *set = (struct config_set){.room = CONFIGS_MAX + 1, .head_mask = (1u << 16) - 1};
    set->all = malloc(set->room * sizeof *set->all);
    set->heads = calloc(set->head_mask + 1, sizeof *set->heads);
    CHECK(set->all && set->heads);
}

static void
set_fini(struct config_set *set)
{
    free(set->all);
    free(set->heads);
}

/* False: the set is full. */
static bool
set_add(struct config_set *set, const struct config *c)
{
    uint32_t *head = &set->heads[config_hash(c) & set->head_mask];
    for (uint32_t i = *head; i; i = set->all[i - 1].next)
        if (memcmp(&set->all[i - 1], c, CONFIG_KEY_BYTES) == 0)
            return true;
    if (set->count >= CONFIGS_MAX)
        return false;
    struct config *at = &set->all[set->count++];
    *at = *c;
    at->next = *head;
    *head = set->count;
    return true;
}

/* ---- the walk -------------------------------------------------------------------------------- */

/* The configurations after slot `s` has had its moment in this one. */
static void
let_slot(struct checker *k, const struct config *c, unsigned s, unsigned ended)
{
    for (unsigned lose = 0; lose <= (k->h->lossy && c->entry.present ? 1u : 0u); lose++) {
        struct config to = {.done = c->done | 1u << s};
        if (!lose)
            to.entry = c->entry;
        if (!moment(k->h, k->pending[s], &to.entry))
            continue;
        if (s == ended)
            to.done &= ~(1u << s);
        if (!set_add(s == ended ? &k->now : &k->work, &to))
            k->gave_up = true;
    }
}

/* An operation ends: only configurations in which it has had its moment go on. */
static bool
operation_ends(struct checker *k, unsigned ended)
{
    struct config_set old = k->now;
    k->now = k->work;
    k->work = old;                     /* grows while it is walked */
    set_clear(&k->now);
    for (uint32_t i = 0; i < k->work.count && !k->gave_up; i++) {
        struct config c = k->work.all[i];
        if (c.done >> ended & 1) {
            c.done &= ~(1u << ended);
            set_add(&k->now, &c);
            continue;
        }
        for (unsigned s = 0; s < SLOTS; s++)
            if (k->pending[s] && !(c.done >> s & 1))
                let_slot(k, &c, s, ended);
    }
    k->pending[ended] = NULL;
    return k->now.count > 0;
}

struct tick {
    uint64_t at;
    const struct history_event *event;
    bool end;
};

static int
tick_order(const void *a, const void *b)
{
    const struct tick *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

/* What says nothing about an entry: no room for what should have been stored. */
static bool
tells_nothing(const struct history_event *e)
{
    bool joins = e->verb == HISTORY_APPEND || e->verb == HISTORY_PREPEND;
    return e->outcome == STORE_NO_MEMORY || (e->outcome == STORE_TOO_LARGE && !joins);
}

static struct tick *
ticks_of(const struct history *h, unsigned key, size_t *out_count)
{
    struct tick *ticks = malloc((h->count * 2 + 1) * sizeof *ticks);
    size_t n = 0;
    CHECK(ticks);
    for (size_t i = 0; i < h->count; i++) {
        const struct history_event *e = &h->events[i];
        if ((e->verb != HISTORY_FLUSH && e->key != key) || tells_nothing(e))
            continue;
        ticks[n++] = (struct tick){e->began, e, false};
        if (e->ended != HISTORY_NEVER)
            ticks[n++] = (struct tick){e->ended, e, true};
    }
    qsort(ticks, n, sizeof *ticks, tick_order);
    *out_count = n;
    return ticks;
}

static void
explain(const struct history *h, unsigned key, const struct history_event *e,
        struct history_verdict *out)
{
    int n = snprintf(out->text, sizeof out->text,
                     "key %u: no order of the operations explains the one that began at %llu and "
                     "ended at %llu\n",
                     key, (unsigned long long)e->began, (unsigned long long)e->ended);
    uint64_t before = e->began < 400 ? 0 : e->began - 400;
    history_print(h, key, before, e->ended, out->text + n, sizeof out->text - (size_t)n);
}

bool
history_linear(const struct history *h, unsigned key, struct history_verdict *out)
{
    struct checker k = {.h = h};
    size_t n;
    struct tick *ticks = ticks_of(h, key, &n);
    set_init(&k.now);
    set_init(&k.work);
    set_add(&k.now, &(struct config){0});
    bool fine = true;
    for (size_t i = 0; i < n && fine && !k.gave_up; i++) {
        const struct history_event *e = ticks[i].event;
        if (!ticks[i].end) {
            CHECK(e->thread < SLOTS && !k.pending[e->thread]);
            k.pending[e->thread] = e;
            continue;
        }
        fine = operation_ends(&k, e->thread) || k.gave_up;
        if (!fine)
            explain(h, key, e, out);
        if (k.work.count > out->configs_most)
            out->configs_most = k.work.count;
    }
    out->gave_up |= k.gave_up;
    set_fini(&k.now);
    set_fini(&k.work);
    free(ticks);
    return fine;
}
