/*
 * explore.h -- many schedules of one scenario: all that have few preemptions, then random ones.
 *
 * Most faults of concurrent code show with two preemptions, wherever they have to be (Musuvathi and
 * Qadeer, "Iterative context bounding", PLDI 2007).  A preemption takes the processor from a thread
 * that could have gone on; switches from one that waits or has ended are tried in every way and
 * cost nothing.
 *
 * Environment: LARDER_TEST_LONG=1      one preemption more, and more random schedules
 *              LARDER_SEED=n           of the random ones; printed
 *              LARDER_SCENARIO=name    no other one
 *              LARDER_SCHEDULE=s>t,... this one only: at step s thread t goes on; failures print it
 */
#ifndef INTERLEAVE_EXPLORE_H
#define INTERLEAVE_EXPLORE_H

#include "schedule.h"

/* False: one went wrong; what, and how to repeat it, has been printed. */
bool explore(const struct scenario *sc);

#endif
