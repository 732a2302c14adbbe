/*
 * keeper.h -- the thread that does the store's housekeeping while the workers have nothing to do,
 * and touches memory before they fill it.
 *
 * Workers do housekeeping themselves, as much as they store; nobody ever waits for the keeper.
 * What remains is its own: an idle server that owes memory after `cache_memlimit`, what a burst
 * has left behind, fresh memory.
 *
 * Threads: start and stop by the thread that wires the server together.
 */
#ifndef SERVER_KEEPER_H
#define SERVER_KEEPER_H

#include "store/store.h"

struct keeper;

/* It joins the store and leaves it again.  0 or -errno. */
int keeper_start(struct store *store, struct keeper **out_keeper);
/* Waits for the end of a burst, about a millisecond.  NULL is nobody. */
void keeper_stop(struct keeper *keeper);

#endif
