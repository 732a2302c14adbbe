/*
 * purse.c -- what a connection borrows from the store's memory and gives back.
 *
 * An undisturbed connection never comes here: borrowing is an operation on a shared counter.  What
 * is lent may for a while be more than what is held: that is a reservation, taken before a large
 * reply is sent because nobody knows how much of it the socket will take.
 */
#include "worker.h"

#define PROBE_BYTES OUTPUT_UNCOVERED_MAX

size_t
purse_held(const struct conn *c)
{
    return sizeof *c + c->in_cap + c->out_len;
}

bool
purse_cover(struct conn_worker *w, struct conn *c, size_t total)
{
    if (c->lent >= total)
        return true;
    size_t more = total - c->lent;
    if (!cmd_memory_borrow(w->config.cmd, more)) {
        w->starved = true;
        return false;
    }
    c->lent += more;
    return true;
}

void
purse_settle(struct conn_worker *w, struct conn *c)
{
    size_t held = purse_held(c);
    if (c->lent > held) {
        cmd_memory_repay(w->config.cmd, c->lent - held);
        c->lent = held;
    }
}

void
purse_probe(struct conn_worker *w)
{
    if (!list_empty(&w->queues[CONN_WAIT_MEMORY]))
        return;
    if (cmd_memory_borrow(w->config.cmd, PROBE_BYTES)) {
        cmd_memory_repay(w->config.cmd, PROBE_BYTES);
        w->starved = false;
    }
}
