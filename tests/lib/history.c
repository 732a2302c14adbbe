/*
 * history.c -- a record printed and released.
 */
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const verb_names[HISTORY_VERBS] = {
    [HISTORY_GET] = "get",         [HISTORY_GAT] = "gat",       [HISTORY_SET] = "set",
    [HISTORY_ADD] = "add",         [HISTORY_REPLACE] = "replace", [HISTORY_APPEND] = "append",
    [HISTORY_PREPEND] = "prepend", [HISTORY_CAS] = "cas",       [HISTORY_DELETE] = "delete",
    [HISTORY_INCR] = "incr",       [HISTORY_DECR] = "decr",     [HISTORY_FLUSH] = "flush",
};

static const char *const outcome_names[] = {
    [STORE_OK] = "OK",
    [STORE_MISS] = "MISS",
    [STORE_EXISTS] = "EXISTS",
    [STORE_NOT_STORED] = "NOT_STORED",
    [STORE_TOO_LARGE] = "TOO_LARGE",
    [STORE_NO_MEMORY] = "NO_MEMORY",
    [STORE_NON_NUMERIC] = "NON_NUMERIC",
    [STORE_AGAIN] = "AGAIN",
};

void
history_fini(struct history *h)
{
    free(h->events);
    h->events = NULL;
    h->count = 0;
}

static int
print_event(const struct history_event *e, char *text, size_t size)
{
    return snprintf(text, size,
                    "  %8llu..%-8lld t%-2u %-7s %-11s cas %llu expected %llu value %llx/%llu "
                    "number %llu operand %llu flags %u expiry %u seen %u now %u%s\n",
                    (unsigned long long)e->began, (long long)e->ended, e->thread,
                    verb_names[e->verb], outcome_names[e->outcome], (unsigned long long)e->cas,
                    (unsigned long long)e->cas_expected,
                    (unsigned long long)(e->content.hash & 0xffffff),
                    (unsigned long long)e->content.len, (unsigned long long)e->content.number,
                    (unsigned long long)e->operand, e->flags, e->expiry, e->expiry_seen, e->now,
                    e->broken ? " broken" : "");
}

static int
by_began(const void *a, const void *b)
{
    const struct history_event *x = *(const struct history_event *const *)a;
    const struct history_event *y = *(const struct history_event *const *)b;
    return (x->began > y->began) - (x->began < y->began);
}

/* The last ones, where there is no room for all. */
void
history_print(const struct history *h, unsigned key, uint64_t from, uint64_t to, char *text,
              size_t size)
{
    const struct history_event **found = malloc((h->count + 1) * sizeof *found);
    size_t n = 0;
    *text = '\0';
    if (!found)
        return;
    for (size_t i = 0; i < h->count; i++) {
        const struct history_event *e = &h->events[i];
        if ((e->key == key || e->verb == HISTORY_FLUSH) && e->ended >= from && e->began <= to)
            found[n++] = e;
    }
    qsort(found, n, sizeof *found, by_began);
    char line[512];
    size_t used = 0, first = n;
    while (first > 0 && used < size) {
        int bytes = print_event(found[first - 1], line, sizeof line);
        used += (size_t)bytes;
        first -= used < size;
    }
    for (size_t at = 0; first < n && at < size; first++)
        at += (size_t)print_event(found[first], text + at, size - at);
    free(found);
}
