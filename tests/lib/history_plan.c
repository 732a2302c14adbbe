/*
 * history_plan.c -- plans for histories, made by chance, and the runs that follow them.
 */
#define _GNU_SOURCE                    /* CPU sets */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "history_run.h"

#if defined __SANITIZE_THREAD__
#define MAY_DISTURB false
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define MAY_DISTURB false
#endif
#endif
#ifndef MAY_DISTURB
#define MAY_DISTURB true               /* ThreadSanitizer holds signals back */
#endif

#define CLOCK_START 1000u

/* ---- plans ----------------------------------------------------------------------------------- */

struct history_plan
history_plan_random(uint64_t seed)
{
    static const unsigned key_counts[] = {1, 1, 2, 3, 4, 8, 16};
    static const unsigned sizes[][HISTORY_SIZES] = {
        {1, 4, 8, 4, 1}, {1, 10, 1, 0, 0}, {0, 0, 1, 0, 0}, {0, 1, 1, 8, 0}, {1, 1, 1, 1, 2},
        {0, 2, 6, 0, 0},
    };
    uint64_t r = seed * 0x9e3779b97f4a7c15u | 1;
    for (unsigned i = 0; i < 8; i++)
        kit_random(&r);
    struct history_plan p = {.seed = seed, .memory_bytes = 8 * MIB};
    p.threads = 2 + (unsigned)(kit_random(&r) % (HISTORY_THREADS_MAX - 1));
    p.keys = key_counts[kit_random(&r) % 7];
    p.steps = KIT_SANITIZED ? 1000 : 3000;
    p.cas = kit_random(&r) % 8 != 0;
    p.lossy = kit_random(&r) % 4 != 0;
    p.one_cpu = kit_random(&r) % 3 == 0;
    p.disturb = MAY_DISTURB && kit_random(&r) % 2;
    p.delete_percent = kit_random(&r) % 3 ? 6 : 1;
    p.focus = (unsigned)(kit_random(&r) % HISTORY_FOCUSES);
    p.yield_percent = kit_random(&r) % 2 ? 0 : 30;
    p.ahead_percent = (unsigned)(kit_random(&r) % 3) * 25;
    memcpy(p.sizes, sizes[p.focus == HISTORY_COUNTING ? 1 : kit_random(&r) % 6], sizeof p.sizes);
    if (!p.lossy) {                    /* more than is ever written: not even garbage is evicted */
        p.memory_bytes = 512 * MIB;
        p.steps /= 2;
        return p;
    }
    p.time = kit_random(&r) % 3 == 0;
    p.filler_percent = kit_random(&r) % 2 ? 40 : 5;
    p.flush_per_1000 = kit_random(&r) % 2 ? 0 : p.time ? 30 : 4;
    return p;
}

void
history_plan_print(const struct history_plan *p, char *text, size_t size)
{
    snprintf(text, size,
             "LARDER_SEED=%llu: %u threads on %s, %u keys, %u steps, cas %s, %s%s%s, focus %u, "
             "sizes %u:%u:%u:%u:%u, filler %u%%, delete %u%%, flush %u/1000, yield %u%%, "
             "ahead %u%%",
             (unsigned long long)p->seed, p->threads, p->one_cpu ? "one CPU" : "all CPUs", p->keys,
             p->steps, p->cas ? "on" : "off", p->lossy ? "losses" : "no losses",
             p->disturb ? ", disturbed" : "", p->time ? ", time passes" : "", p->focus,
             p->sizes[0], p->sizes[1], p->sizes[2], p->sizes[3], p->sizes[4], p->filler_percent,
             p->delete_percent, p->flush_per_1000, p->yield_percent, p->ahead_percent);
}

/* ---- surroundings ---------------------------------------------------------------------------- */

static uint32_t
run_clock(void *ctx)
{
    struct run *run = ctx;
    return atomic_load(&run->clock);
}

/* One of the CPUs this process may use, for it and for the threads it starts. */
static void
pin(const struct history_plan *p, cpu_set_t *out_before)
{
    CHECK(sched_getaffinity(0, sizeof *out_before, out_before) == 0);
    if (!p->one_cpu)
        return;
    unsigned nth = (unsigned)(p->seed % (unsigned)CPU_COUNT(out_before));
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, out_before) || nth-- > 0)
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
        return;
    }
}

/* Wherever the thread is, others go on. */
static void
interrupted(int signal)
{
    (void)signal;
    int saved = errno;
    static _Atomic unsigned turn;
    if (atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed) & 1)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    errno = saved;
}

static void *
disturb(void *arg)
{
    struct run *run = arg;
    uint64_t random = run->plan->seed * 3 + 1;
    while (atomic_load(&run->finished) < run->plan->threads) {
        uint64_t r = kit_random(&random);
        pthread_kill(run->workers[r % run->plan->threads].thread, SIGUSR1);
        usleep((unsigned)(r >> 32) % 200);
    }
    return NULL;
}

static void
let_loose(struct run *run)
{
    const struct history_plan *p = run->plan;
    pthread_t disturber;
    cpu_set_t before;
    pin(p, &before);
    signal(SIGUSR1, interrupted);
    CHECK(pthread_barrier_init(&run->start, NULL, p->threads + 1) == 0);
    for (unsigned i = 0; i < p->threads; i++)
        CHECK(pthread_create(&run->workers[i].thread, NULL, history_worker, &run->workers[i]) == 0);
    pthread_barrier_wait(&run->start);
    if (p->disturb) {
        CHECK(pthread_create(&disturber, NULL, disturb, run) == 0);
        pthread_join(disturber, NULL);
    }
    for (unsigned i = 0; i < p->threads; i++)
        pthread_join(run->workers[i].thread, NULL);
    pthread_barrier_destroy(&run->start);
    CHECK(sched_setaffinity(0, sizeof before, &before) == 0);
}

/* ---- a run ----------------------------------------------------------------------------------- */

static const char *
whole(struct run *run)
{
    const char *wrong = atomic_load(&run->wrong);
    if (!wrong)
        wrong = store_verify(run->store);
    struct store_stats n;
    store_stats_read(run->store, &n);
    if (!wrong && n.memory_used_bytes > n.memory_limit_bytes)
        wrong = "more memory is in use than the limit allows";
    if (!wrong && n.segments_lent)
        wrong = "segments are lent, but nobody uploads";
    if (!wrong && !run->plan->lossy && n.items_evicted)
        wrong = "an entry was evicted where there is room for all";
    return wrong;
}

/* By when a delayed flush must have come: before the first operation that knew the time began. */
static void
end_due_flushes(struct history *h)
{
    for (size_t i = 0; i < h->count; i++) {
        struct history_event *due = &h->events[i];
        if (due->thread != HISTORY_DUE)
            continue;
        for (size_t k = 0; k < h->count; k++) {
            const struct history_event *e = &h->events[k];
            if (e->thread != HISTORY_DUE && e->now_began >= due->expiry &&
                e->began < due->ended)
                due->ended = e->began - 1;
        }
    }
}

static void
worker_init(struct run *run, unsigned i)
{
    struct worker *w = &run->workers[i];
    *w = (struct worker){.run = run, .number = i,
                         .random = (run->plan->seed + i) * 0x9e3779b97f4a7c15u | 1};
    w->event_room = (size_t)run->plan->steps * 2 + 2;
    w->events = malloc(w->event_room * sizeof *w->events);
    w->value = malloc(HISTORY_LONGEST);
    w->seen = malloc(HISTORY_LONGEST * 2);
    CHECK(w->events && w->value && w->seen);
}

static void
gather(struct run *run, struct history *out)
{
    size_t n = 0;
    for (unsigned i = 0; i < run->plan->threads; i++)
        n += run->workers[i].event_count;
    *out = (struct history){.events = malloc((n + 1) * sizeof *out->events),
                            .keys = run->plan->keys, .cas = run->plan->cas,
                            .lossy = run->plan->lossy,
                            .inline_bytes_max = run->inline_bytes_max};
    CHECK(out->events);
    for (unsigned i = 0; i < run->plan->threads; i++) {
        struct worker *w = &run->workers[i];
        memcpy(out->events + out->count, w->events, w->event_count * sizeof *w->events);
        out->count += w->event_count;
        free(w->events);
        free(w->value);
        free(w->seen);
    }
    end_due_flushes(out);
}

const char *
history_run(const struct history_plan *p, struct history *out)
{
    static char filler[HISTORY_LONGEST];
    struct run *run = aligned_alloc(64, (sizeof *run + 63) & ~(size_t)63);
    CHECK(run);
    memset(run, 0, sizeof *run);
    run->plan = p;
    run->filler = filler;
    atomic_store(&run->clock, CLOCK_START);
    atomic_store(&run->tick, 2);
    struct store_config c = {
        .memory_bytes = p->memory_bytes, .value_bytes_max = 2 * HISTORY_LONGEST,
        .threads_max = HISTORY_THREADS_MAX, .cas_enabled = p->cas, .evict = true,
        .hash_seed = p->seed | 1, .clock = run_clock, .clock_ctx = run,
    };
    CHECK(store_create(&c, &run->store) == 0);
    run->inline_bytes_max = store_inline_bytes_max(run->store);
    for (unsigned i = 0; i < p->threads; i++)
        worker_init(run, i);
    let_loose(run);
    const char *wrong = whole(run);
    gather(run, out);
    store_destroy(run->store);
    free(run);
    return wrong;
}
