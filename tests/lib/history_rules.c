/*
 * history_rules.c -- what must hold of pairs of operations on a key, whatever the order was.
 *
 * What is known at a tick: every change that has ended by then, and every version that was seen by
 * an operation that has ended.  A version is stale when its writing had ended before something that
 * is known began.  Nobody who begins later may see it.  One sweep over the ticks does it.
 *
 * A version is told by its CAS number, or by its bytes where CAS is off.  Versions made by incr are
 * told by nothing and are left to the linear checker.
 */
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* Something that had happened when `ended` came, and not before `began`. */
struct known {
    uint64_t began, ended;
    uint64_t cas;                      /* the greatest one known by it, 0: none */
    const struct history_event *event;
};

struct rules {
    const struct history *h;
    unsigned key;
    const struct history_event **versions;   /* who wrote them, by identity */
    size_t version_count;
    const struct history_event **seen;       /* who looked, by beginning */
    size_t seen_count;
    struct known *known;                     /* by end */
    size_t known_count;
    bool counted;                            /* there is an incr */
    struct history_verdict *out;
};

static bool
wrong(struct rules *r, const char *what, const struct history_event *a,
      const struct history_event *b)
{
    int n = snprintf(r->out->text, sizeof r->out->text,
                     "key %u: %s: the operation that began at %llu, and the one at %llu\n", r->key,
                     what, (unsigned long long)a->began, (unsigned long long)b->began);
    uint64_t from = a->began < b->began ? a->began : b->began;
    uint64_t to = a->ended > b->ended ? a->ended : b->ended;
    history_print(r->h, r->key, from, to, r->out->text + n, sizeof r->out->text - (size_t)n);
    return false;
}

/* ---- what an operation is -------------------------------------------------------------------- */

static bool
writes_version(const struct history_event *e)
{
    switch ((enum history_verb)e->verb) {
    case HISTORY_SET:
    case HISTORY_ADD:
    case HISTORY_REPLACE:
    case HISTORY_APPEND:
    case HISTORY_PREPEND:
    case HISTORY_CAS: return e->outcome == STORE_OK;
    case HISTORY_GET:
    case HISTORY_GAT:
    case HISTORY_DELETE:
    case HISTORY_INCR:
    case HISTORY_DECR:
    case HISTORY_FLUSH:
    case HISTORY_VERBS: break;
    }
    return false;
}

static bool
joins(const struct history_event *e)
{
    return e->verb == HISTORY_APPEND || e->verb == HISTORY_PREPEND;
}

static bool
looks(const struct history_event *e)
{
    return (e->verb == HISTORY_GET || e->verb == HISTORY_GAT) && e->outcome == STORE_OK &&
           !e->broken;
}

/* From some moment of it on, nothing stored before it is there: it changed, or found nothing.
 * Nothing joined to a value makes a new version that looks the same without its CAS number. */
static bool
ends_what_was(const struct history *h, const struct history_event *e)
{
    if (joins(e) && e->content.len == 0 && !h->cas)
        return e->outcome == STORE_NOT_STORED;
    if (writes_version(e) || e->verb == HISTORY_FLUSH)
        return true;
    if (e->outcome == STORE_MISS)
        return !e->expired;
    if (e->outcome == STORE_NOT_STORED)
        return e->verb != HISTORY_ADD;
    return e->outcome == STORE_OK && e->verb != HISTORY_GET && e->verb != HISTORY_GAT;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static uint64_t
identity(const struct history *h, const struct history_event *e)
{
    return h->cas ? e->cas : e->content.hash;
}

static int
by_cas(const void *a, const void *b)
{
    const struct history_event *x = *(const struct history_event *const *)a;
    const struct history_event *y = *(const struct history_event *const *)b;
    return (x->cas > y->cas) - (x->cas < y->cas);
}

static int
by_hash(const void *a, const void *b)
{
    const struct history_event *x = *(const struct history_event *const *)a;
    const struct history_event *y = *(const struct history_event *const *)b;
    return (x->content.hash > y->content.hash) - (x->content.hash < y->content.hash);
}

static int
by_began(const void *a, const void *b)
{
    const struct history_event *x = *(const struct history_event *const *)a;
    const struct history_event *y = *(const struct history_event *const *)b;
    return (x->began > y->began) - (x->began < y->began);
}

static int
by_ended(const void *a, const void *b)
{
    const struct known *x = a, *y = b;
    return (x->ended > y->ended) - (x->ended < y->ended);
}

static const struct history_event *
find_version(const struct rules *r, uint64_t id)
{
    size_t low = 0, high = r->version_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        uint64_t at = identity(r->h, r->versions[mid]);
        if (at == id)
            return r->versions[mid];
        if (at < id)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* Without CAS short values are alike, and what append makes is not known by its bytes. */
static bool
told_apart(const struct history *h, const struct history_event *e)
{
    return h->cas || (!joins(e) && !e->content.is_number &&
                      e->content.len >= HISTORY_RECORD_BYTES_MIN);
}

static void
rules_init(struct rules *r, const struct history *h, unsigned key, struct history_verdict *out)
{
    size_t room = h->count + 1;
    *r = (struct rules){.h = h, .key = key, .out = out};
    r->versions = malloc(room * sizeof *r->versions);
    r->seen = malloc(room * sizeof *r->seen);
    r->known = malloc(room * 2 * sizeof *r->known);
    CHECK(r->versions && r->seen && r->known);
    for (size_t i = 0; i < h->count; i++) {
        const struct history_event *e = &h->events[i];
        if (e->verb != HISTORY_FLUSH && e->key != key)
            continue;
        if (writes_version(e) && told_apart(h, e))
            r->versions[r->version_count++] = e;
        if (looks(e) || (e->verb == HISTORY_CAS && e->outcome == STORE_OK))
            r->seen[r->seen_count++] = e;
        r->counted |= e->verb == HISTORY_INCR || e->verb == HISTORY_DECR;
    }
    qsort(r->versions, r->version_count, sizeof *r->versions, h->cas ? by_cas : by_hash);
    qsort(r->seen, r->seen_count, sizeof *r->seen, by_began);
}

static void
rules_fini(struct rules *r)
{
    free(r->versions);
    free(r->seen);
    free(r->known);
}

/* Who wrote what this one saw; a cas that succeeded has seen the version it expected. */
static const struct history_event *
seen_version(const struct rules *r, const struct history_event *e)
{
    if (e->verb == HISTORY_CAS)
        return find_version(r, e->cas_expected);
    return find_version(r, identity(r->h, e));
}

static void
gather_known(struct rules *r)
{
    for (size_t i = 0; i < r->h->count; i++) {
        const struct history_event *e = &r->h->events[i];
        if ((e->verb == HISTORY_FLUSH || e->key == r->key) && ends_what_was(r->h, e))
            r->known[r->known_count++] = (struct known){e->began, e->ended, 0, e};
    }
    for (size_t i = 0; i < r->seen_count; i++) {
        const struct history_event *e = r->seen[i], *w = seen_version(r, e);
        if (w)
            r->known[r->known_count++] = (struct known){w->began, e->ended, 0, e};
    }
    qsort(r->known, r->known_count, sizeof *r->known, by_ended);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static bool
versions_are_unique(struct rules *r)
{
    for (size_t i = 1; i < r->version_count && r->h->cas; i++)
        if (r->versions[i]->cas == r->versions[i - 1]->cas)
            return wrong(r, "a CAS number was given twice", r->versions[i - 1], r->versions[i]);
    return true;
}

static int
by_expected(const void *a, const void *b)
{
    const struct history_event *x = *(const struct history_event *const *)a;
    const struct history_event *y = *(const struct history_event *const *)b;
    return (x->cas_expected > y->cas_expected) - (x->cas_expected < y->cas_expected);
}

static bool
one_cas_wins(struct rules *r)
{
    const struct history_event **won = malloc((r->seen_count + 1) * sizeof *won);
    size_t n = 0;
    bool fine = true;
    CHECK(won);
    for (size_t i = 0; i < r->seen_count; i++)
        if (r->seen[i]->verb == HISTORY_CAS)
            won[n++] = r->seen[i];
    qsort(won, n, sizeof *won, by_expected);
    for (size_t i = 1; i < n && fine; i++)
        if (won[i]->cas_expected == won[i - 1]->cas_expected)
            fine = wrong(r, "two cas with one expected number won", won[i - 1], won[i]);
    free(won);
    return fine;
}

static bool
seen_is_written(struct rules *r, const struct history_event *e, const struct history_event *w)
{
    if (!w)
        return !r->h->cas || r->counted || wrong(r, "a version that nobody wrote", e, e);
    if (w->began > e->ended)
        return wrong(r, "seen before it was written", e, w);
    if (e->verb == HISTORY_CAS || joins(w))
        return true;
    if (w->content.len != e->content.len || w->content.hash != e->content.hash ||
        w->flags != e->flags)
        return wrong(r, "not the value that was stored under this number", e, w);
    return true;
}

static bool
nothing_stale_is_seen(struct rules *r)
{
    const struct known *newest = NULL;
    size_t k = 0;
    for (size_t i = 0; i < r->seen_count; i++) {
        const struct history_event *e = r->seen[i], *w = seen_version(r, e);
        for (; k < r->known_count && r->known[k].ended < e->began; k++)
            if (!newest || r->known[k].began > newest->began)
                newest = &r->known[k];
        if (!seen_is_written(r, e, w))
            return false;
        if (w && newest && w->ended < newest->began)
            return wrong(r, "a stale version was seen", e, newest->event);
    }
    return true;
}

bool
history_rules(const struct history *h, unsigned key, struct history_verdict *out)
{
    struct rules r;
    rules_init(&r, h, key, out);
    gather_known(&r);
    bool fine = versions_are_unique(&r) && one_cas_wins(&r) && nothing_stale_is_seen(&r);
    rules_fini(&r);
    return fine;
}

/* ---- CAS numbers over several lives ---------------------------------------------------------- */

bool
history_cas_grows(const struct history *h, unsigned key, struct history_verdict *out)
{
    struct rules r;
    rules_init(&r, h, key, out);
    size_t n = 0, k = 0;
    const struct history_event **all = malloc((r.version_count + r.seen_count + 1) * sizeof *all);
    CHECK(all);
    for (size_t i = 0; i < r.version_count; i++)
        all[n++] = r.versions[i];
    for (size_t i = 0; i < r.seen_count; i++)
        if (r.seen[i]->verb != HISTORY_CAS)
            all[n++] = r.seen[i];
    for (size_t i = 0; i < n; i++)
        r.known[i] = (struct known){0, all[i]->ended, all[i]->cas, all[i]};
    qsort(r.known, n, sizeof *r.known, by_ended);
    qsort(all, n, sizeof *all, by_began);
    const struct known *greatest = NULL;
    bool fine = true;
    for (size_t i = 0; i < n && fine && h->cas; i++) {
        for (; k < n && r.known[k].ended < all[i]->began; k++)
            if (!greatest || r.known[k].cas > greatest->cas)
                greatest = &r.known[k];
        if (greatest && all[i]->cas < greatest->cas)
            fine = wrong(&r, "a CAS number went back", greatest->event, all[i]);
    }
    free(all);
    rules_fini(&r);
    return fine;
}
