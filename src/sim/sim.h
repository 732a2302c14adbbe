/*
 * sim.h -- the trace simulator: caches of several sizes, one trace, no network and no waiting.
 *
 * It is a program on top of liblarder and knows it by larder.h alone; traces are read by bench/'s
 * trace.h.  What is asked of a cache is what bench/replay asks of a server, so that the two can be
 * compared: see run.c.
 *
 *     options.c   the command line
 *     run.c       a trace against caches
 *     report.c    what came out, for people and for programs
 *     main.c      one after the other
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "larder.h"

#define SIM_SIZES_MAX 64
#define SIM_SIZE_TEXT_BYTES 24

struct sim_size {
    char text[SIM_SIZE_TEXT_BYTES];    /* as it was given */
    size_t bytes;
};

struct sim_options {
    const char *trace_path;            /* "-": standard input */
    struct sim_size sizes[SIM_SIZES_MAX];
    unsigned size_count;
    double speed;                      /* seconds of the trace in one of the cache */
    bool ttl;                          /* entries expire */
    bool cas;
    uint64_t limit;                    /* requests; 0: all */
    uint64_t warm;                     /* requests that are not counted ... */
    double warm_percent;               /* ... or a share of all, where not negative */
    uint64_t seed;
    bool json, evict_report;
};

/* Of the requests that are counted, but for all_requests. */
struct sim_tally {
    uint64_t all_requests, requests, gets, misses, get_bytes, miss_bytes;
    uint64_t sets, fills, deletes, incrs;
    uint64_t refused;                  /* stores that failed */
    uint64_t not_numbers;              /* incr of a value that is none: a hit */
};

struct sim_result {
    const struct sim_size *size;
    struct sim_tally tally;
    struct larder_stats warm, end;     /* when counting began, and in the end */
    double seconds;                    /* of the wall clock, without reading the trace */
};

/* Ends the process where the command line makes no sense, or asks for help. */
void sim_options_take(struct sim_options *options, int argc, char **argv);

/* One result for each size, in their order.  What goes wrong ends the process. */
void sim_run(const struct sim_options *options, struct sim_result *out_results);

void sim_report(const struct sim_options *options, const struct sim_result *results);

#endif
