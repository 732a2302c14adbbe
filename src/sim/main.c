/*
 * main.c -- larder-sim: the miss ratio of a trace at given sizes of memory.
 */
#define _GNU_SOURCE
#include "common.h"
#include "sim.h"

int
main(int argc, char **argv)
{
    struct sim_options options = {.trace_path = "-", .speed = 1, .ttl = true, .cas = true,
                                  .warm_percent = -1, .seed = 1};
    struct sim_result *results;

    sim_options_take(&options, argc, argv);
    results = checked(calloc(options.size_count, sizeof *results));
    sim_run(&options, results);
    sim_report(&options, results);
    free(results);
    if (fflush(stdout) || ferror(stdout))
        die("standard output: %s", strerror(errno));
    return 0;
}
