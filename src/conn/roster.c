/*
 * roster.c -- the list of all connections of a worker, and walks along it by other threads.
 *
 * A walk is a link of its own among the connections.  It stands behind the last connection it has
 * reported, so that nothing needs to be searched when it is continued, and connections may be
 * closed on both sides of it.  The lock is held to open or close a connection and to copy
 * CONN_WALK_MAX entries, never across a system call.
 */
#include "worker.h"

static const char *const state_names[CONN_STATE_COUNT] = {
    [CONN_STATE_READ] = "conn_read",
    [CONN_STATE_NREAD] = "conn_nread",
    [CONN_STATE_SWALLOW] = "conn_swallow",
    [CONN_STATE_PARSE_CMD] = "conn_parse_cmd",
    [CONN_STATE_NEW_CMD] = "conn_new_cmd",
    [CONN_STATE_WAITING] = "conn_waiting",
    [CONN_STATE_MWRITE] = "conn_mwrite",
    [CONN_STATE_CLOSING] = "conn_closing",
};

void
roster_init(struct conn_worker *w)
{
    CHECK(pthread_mutex_init(&w->all_lock, NULL) == 0);
    list_init(&w->all);
}

void
roster_fini(struct conn_worker *w)
{
    CHECK(list_empty(&w->all));
    pthread_mutex_destroy(&w->all_lock);
}

static void
append(struct conn_worker *w, struct conn_link *link)
{
    pthread_mutex_lock(&w->all_lock);
    list_append(&w->all, &link->node);
    pthread_mutex_unlock(&w->all_lock);
}

static void
take(struct conn_worker *w, struct conn_link *link)
{
    pthread_mutex_lock(&w->all_lock);
    list_take(&link->node);
    pthread_mutex_unlock(&w->all_lock);
}

void
roster_add(struct conn_worker *w, struct conn *c)
{
    c->link.is_walk = false;
    append(w, &c->link);
}

void
roster_drop(struct conn_worker *w, struct conn *c)
{
    take(w, &c->link);
}

void
conn_walk_start(struct conn_walk *walk, struct conn_worker *w)
{
    walk->worker = w;
    walk->link.is_walk = true;
    pthread_mutex_lock(&w->all_lock);
    list_append(w->all.next, &walk->link.node);    /* before the first, after the head */
    pthread_mutex_unlock(&w->all_lock);
}

static void
describe(struct conn *c, struct conn_info *out)
{
    uint8_t state = atomic_load_explicit(&c->state, memory_order_relaxed);
    out->fd = c->wire.fd;
    out->state = state_names[state];
    out->last_command_s = atomic_load_explicit(&c->last_command_s, memory_order_relaxed);
    out->peer = c->peer;
    out->local = c->local;
}

unsigned
conn_walk_next(struct conn_walk *walk, struct conn_info *out)
{
    struct conn_worker *w = walk->worker;
    unsigned count = 0;
    pthread_mutex_lock(&w->all_lock);
    struct list *at = walk->link.node.next;
    list_take(&walk->link.node);
    for (; at != &w->all && count < CONN_WALK_MAX; at = at->next) {
        struct conn_link *link = LIST_ENTRY(at, struct conn_link, node);
        if (!link->is_walk)
            describe(LIST_ENTRY(link, struct conn, link), &out[count++]);
    }
    list_append(at, &walk->link.node);    /* before `at` */
    pthread_mutex_unlock(&w->all_lock);
    return count;
}

void
conn_walk_end(struct conn_walk *walk)
{
    take(walk->worker, &walk->link);
}
