/*
 * pair.h -- the same work on one CPU, and on two at once.
 *
 * Time is that of the clock on the wall, from the first start to the last end.  A run in which a
 * thread did not have its CPU all the time is repeated: then somebody else had it.
 *
 * Include it after household.h.
 */
#ifndef BENCH_PAIR_H
#define BENCH_PAIR_H

#define PAIR_TRIES      3
#define PAIR_WAITED_MAX 0.02 /* of a thread's time */

struct pair_thread {
    void *ctx;
    void (*run)(struct pair_thread *t); /* calls pair_begin() and pair_end() around its work */
    unsigned number;                    /* 0 or 1 */
    int cpu;
    pthread_t thread;
    pthread_barrier_t *start;
    uint64_t began, ended, cpu_ns;
};

static inline void
pair_begin(struct pair_thread *t)
{
    pthread_barrier_wait(t->start);
    t->cpu_ns = time_ns(CLOCK_THREAD_CPUTIME_ID);
    t->began = clock_ns();
}

static inline void
pair_end(struct pair_thread *t)
{
    t->ended = clock_ns();
    t->cpu_ns = time_ns(CLOCK_THREAD_CPUTIME_ID) - t->cpu_ns;
}

static inline void *
pair_thread_main(void *arg)
{
    struct pair_thread *t = arg;

    pin(t->cpu);
    t->run(t);
    return NULL;
}

/* Nanoseconds; and the share of its time that a thread did not run. */
static inline double
pair_once(unsigned threads, const int *cpus, void (*run)(struct pair_thread *), void *ctx,
          double *out_waited)
{
    struct pair_thread t[2];
    pthread_barrier_t start;
    uint64_t began = UINT64_MAX, ended = 0;

    pthread_barrier_init(&start, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        t[i] = (struct pair_thread){
            .ctx = ctx, .run = run, .number = i, .cpu = cpus[i], .start = &start};
        if (pthread_create(&t[i].thread, NULL, pair_thread_main, &t[i]))
            die("pthread_create failed");
    }
    *out_waited = 0;
    for (unsigned i = 0; i < threads; i++) {
        double waited;

        pthread_join(t[i].thread, NULL);
        began = t[i].began < began ? t[i].began : began;
        ended = t[i].ended > ended ? t[i].ended : ended;
        waited = 1 - (double)t[i].cpu_ns / (double)(t[i].ended - t[i].began);
        *out_waited = waited > *out_waited ? waited : *out_waited;
    }
    pthread_barrier_destroy(&start);
    return (double)(ended - began);
}

/* The run in which threads waited least. */
static inline double
pair_undisturbed(unsigned threads, const int *cpus, void (*run)(struct pair_thread *), void *ctx,
                 double *out_waited)
{
    double best = 0;

    *out_waited = 2;
    for (int i = 0; i < PAIR_TRIES && *out_waited > PAIR_WAITED_MAX; i++) {
        double waited, ns = pair_once(threads, cpus, run, ctx, &waited);

        if (waited < *out_waited) {
            *out_waited = waited;
            best = ns;
        }
    }
    return best;
}

#endif
