/*
 * conn_rig.h -- one worker of conn/ over the real commands and a real store, with scripted clients,
 * a scripted loop and a clock that stands still unless it is moved.
 */
#ifndef TESTS_CONN_RIG_H
#define TESTS_CONN_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/cmd.h"
#include "conn/conn.h"
#include "store/store.h"
#include "wire_script.h"

#define RIG_LONG_LIST 300               /* lines of `stats long` */
#define RIG_ITEM_BYTES_MAX ((size_t)256 << 10)

struct rig_options {
    size_t memory_bytes;                /* 0: 8 MiB */
    uint32_t idle_timeout_s;
    unsigned requests_per_turn;         /* 0: 512 */
    size_t bytes_per_turn;              /* 0: 1 MiB */
    bool keeps_all;                     /* the store evicts nothing */
};

struct rig {
    uint32_t now_s;                     /* the store's clock */
    struct store *store;
    struct cmd *cmd;
    struct cmd_thread *thread;
    struct loop *loop;
    struct conn_shared shared;
    struct conn_worker *worker;
    unsigned opened, closed;
    unsigned lists;                     /* of statistics, made so far */
    int timeout_ms;                     /* as the last turn returned it */
};

/* Resets the script.  options may be NULL. */
void rig_start(struct rig *rig, const struct rig_options *options);

/*
 * Closes what is open and checks that nothing is left behind: no memory borrowed or lent, the store
 * in order, as many connections closed as opened.
 */
void rig_stop(struct rig *rig);

/* A new client; its descriptor. */
int rig_connect(struct rig *rig);
int rig_connect_unix(struct rig *rig);

/* One wake-up. */
void rig_turn(struct rig *rig);

/* Turns until nothing happens any more.  Connections that wait for the store may be left. */
void rig_run(struct rig *rig);

uint64_t rig_counter(const struct rig *rig, enum conn_counter which);

#endif
