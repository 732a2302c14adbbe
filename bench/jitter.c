/*
 * jitter.c -- what a loop that does nothing sees of its machine: gaps in its own CPU time.
 *
 * Each turn of the loop is a few microseconds of work.  One that took more CPU time than --gap-us
 * was held up by something that the kernel counts as the thread's: an interrupt, or a hypervisor
 * that took the CPU away without saying so.  A measurement of short pieces of work on the same
 * machine sees as many of these for each second that it measures.
 *
 *   jitter [--seconds N] [--gap-us N]
 */
#define _GNU_SOURCE
#include <getopt.h>

#include "common.h"

#define TURN_STEPS 3000u

static uint64_t
turn_ns(void)
{
    uint64_t wall = clock_ns(), cpu = time_ns(CLOCK_THREAD_CPUTIME_ID);

    for (volatile unsigned i = 0; i < TURN_STEPS; i++)
        ;
    cpu = time_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    wall = clock_ns() - wall;
    return cpu < wall ? cpu : wall;
}

int
main(int argc, char **argv)
{
    static const struct option words[] = {{"seconds", required_argument, NULL, 's'},
                                          {"gap-us", required_argument, NULL, 'g'},
                                          {NULL, 0, NULL, 0}};
    uint64_t seconds = 10, gap_us = 200, gaps = 0, longest = 0, end, start;

    for (int c; (c = getopt_long(argc, argv, "", words, NULL)) != -1;) {
        if (c == 's')
            seconds = option_number("--seconds", optarg, 1, 3600);
        else if (c == 'g')
            gap_us = option_number("--gap-us", optarg, 1, 1000000);
        else
            die("usage: jitter [--seconds N] [--gap-us N]");
    }
    start = time_ns(CLOCK_THREAD_CPUTIME_ID);
    end = clock_ns() + seconds * 1000000000u;
    while (clock_ns() < end) {
        uint64_t ns = turn_ns();

        gaps += ns > gap_us * 1000;
        longest = ns > longest ? ns : longest;
    }
    printf("gaps=%" PRIu64 " longest_us=%" PRIu64 " cpu_seconds=%.3f\n", gaps, longest / 1000,
           (double)(time_ns(CLOCK_THREAD_CPUTIME_ID) - start) / 1e9);
    return 0;
}
