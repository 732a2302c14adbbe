/*
 * stats.h -- what `stats` answers: the values of all modules under memcached's names, in
 * memcached's order, and larder's own behind them.
 *
 * Threads: stats_answer() may be called by any thread between create and destroy.
 */
#ifndef SERVER_STATS_H
#define SERVER_STATS_H

#include "cmd/cmd.h"
#include "settings.h"
#include "store/store.h"
#include "workers.h"

struct stats;

struct stats_config {
    const struct settings *settings;
    struct store *store;
    unsigned reserved_fds;             /* descriptors that are not connections */
    uint32_t (*now)(void);             /* seconds on the store's clock */
};

/* NULL: out of memory. */
struct stats *stats_create(const struct stats_config *config);
void stats_destroy(struct stats *st);

/* Once they exist; before the first connection. */
void stats_attach(struct stats *st, struct cmd *cmd, struct workers *workers);

/* See struct cmd_hooks. */
bool stats_answer(struct stats *st, struct slice name, struct stats_sink *sink);
size_t stats_bytes(const struct stats *st, struct slice name);

#endif
