/*
 * purse.c -- what a connection borrows from the store's memory and gives back.
 *
 * An undisturbed connection never comes here: borrowing is an operation on a shared counter.  What
 * is lent may for a while be more than what is held: that is a reservation, taken before a large
 * reply is sent because nobody knows how much of it the socket will take.
 */
#include "worker.h"

#include <malloc.h>

#define PROBE_BYTES OUTPUT_UNCOVERED_MAX

size_t
purse_held(const struct conn *c)
{
    return sizeof *c + c->in_cap + c->out_len + (c->upload ? CMD_UPLOAD_BYTES : 0);
}

/* What the heap keeps is lent again first. */
static size_t
take_kept(struct conn_worker *w, size_t bytes)
{
    size_t kept = w->heap_kept < bytes ? w->heap_kept : bytes;
    w->heap_kept -= kept;
    return kept;
}

bool
purse_cover(struct conn_worker *w, struct conn *c, size_t total)
{
    if (c->lent >= total)
        return true;
    size_t more = total - c->lent, kept = take_kept(w, more);
    if (more == kept || cmd_memory_borrow(w->config.cmd, more - kept)) {
        c->lent = total;
        return true;
    }
    w->heap_kept += kept;
    w->starved = true;
    return false;
}

bool
purse_cover_spare(struct conn_worker *w, struct conn *c, size_t total)
{
    if (c->lent >= total)
        return true;
    if (!cmd_memory_borrow_spare(w->config.cmd, total - c->lent))
        return false;
    c->lent = total;
    return true;
}

bool
purse_force(struct conn_worker *w, struct conn *c, size_t total)
{
    if (purse_cover(w, c, total))
        return true;
    if (!cmd_memory_borrow_forced(w->config.cmd, total - c->lent)) {
        conn_count(w, CONN_malloc_fails, 1);
        return false;
    }
    c->lent = total;
    return true;
}

void
purse_freed(struct conn_worker *w, size_t bytes)
{
    if (bytes < HEAP_BYTES_MAX)
        w->heap_freed += bytes;
}

static void
repay(struct conn_worker *w, size_t bytes)
{
    size_t kept = w->heap_freed < bytes ? w->heap_freed : bytes;
    w->heap_freed -= kept;
    w->heap_kept += kept;
    if (bytes > kept)
        cmd_memory_repay(w->config.cmd, bytes - kept);
    if (UNLIKELY(w->heap_kept >= HEAP_KEPT_MAX))
        purse_return(w);
}

void
purse_settle(struct conn_worker *w, struct conn *c)
{
    size_t held = purse_held(c);
    if (c->lent > held) {
        size_t more = c->lent - held;
        c->lent = held;
        repay(w, more);
    }
}

void
purse_close(struct conn_worker *w, struct conn *c)
{
    purse_freed(w, sizeof *c);
    repay(w, c->lent);
    c->lent = 0;
}

void
purse_return(struct conn_worker *w)
{
    w->heap_freed = 0;
    if (w->heap_kept == 0)
        return;
    malloc_trim(0);
    cmd_memory_repay(w->config.cmd, w->heap_kept);
    w->heap_kept = 0;
}

void
purse_probe(struct conn_worker *w)
{
    if (!list_empty(&w->queues[CONN_WAIT_MEMORY]) || !list_empty(&w->queues[CONN_WAIT_REPLY]))
        return;
    if (cmd_memory_borrow(w->config.cmd, PROBE_BYTES)) {
        cmd_memory_repay(w->config.cmd, PROBE_BYTES);
        w->starved = false;
    }
}
