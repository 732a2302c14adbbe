/*
 * schedule.c -- threads as stacks of their own, switched by setjmp and longjmp.
 *
 * makecontext() only makes the first step onto a stack: swapcontext() would cost two system calls
 * at each switch.  A thread is kept between schedules and waits at the end of its loop.
 */
#define _GNU_SOURCE
#include "schedule.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/check.h"
#include "contended.h"
#include "heap.h"
#include "turning.h"
#include "undo.h"
#include "watch.h"

#define STACK_BYTES ((size_t)256 << 10)
#define STEPS_MAX 200000u              /* of one schedule: more is a loop that does not end */
#define MUTEXES_MAX 16u
#define WATCH_SECONDS 20u              /* no schedule ends in them: none ever will */
#define MAIN SCHEDULE_THREADS_MAX
#define NOBODY UINT32_MAX

enum thread_state { THREAD_READY, THREAD_WAITING, THREAD_TURNING, THREAD_ENDED };

struct thread {
    ucontext_t start;
    jmp_buf at;
    bool started;
    enum thread_state state;
    const pthread_mutex_t *waits_for;
    struct turning turning;
};

struct mutex {
    const pthread_mutex_t *which;
    uint32_t owner;
};

static char stacks[SCHEDULE_THREADS_MAX][STACK_BYTES] __attribute__((aligned(64)));
static char *main_stack, *main_stack_end;
static const struct scenario *scenario;
static struct thread threads[SCHEDULE_THREADS_MAX + 1];
static unsigned thread_count, running = MAIN;
static const struct decider *decider;
static struct mutex mutexes[MUTEXES_MAX];
static unsigned mutex_count;
static uint64_t step;
static volatile uint64_t schedules;    /* begun; read by a signal handler */
static char complaint[512];
static void (*say_at_crash)(void);

/* ---- switching ------------------------------------------------------------------------------- */

static void
resume(struct thread *to)
{
    if (to->started)
        _longjmp(to->at, 1);
    to->started = true;
    setcontext(&to->start);
    abort();
}

static void
switch_to(unsigned number)
{
    struct thread *self = &threads[running];
    running = number;
    if (_setjmp(self->at) == 0)
        resume(&threads[number]);
}

static uint32_t *
owner_of(const pthread_mutex_t *m)
{
    unsigned i = 0;
    while (i < mutex_count && mutexes[i].which != m)
        i++;
    if (i == mutex_count) {
        CHECK(mutex_count < MUTEXES_MAX);
        mutexes[mutex_count++] = (struct mutex){m, NOBODY};
    }
    return &mutexes[i].owner;
}

static bool
can_run(const struct thread *t)
{
    switch (t->state) {
    case THREAD_READY:
        return true;
    case THREAD_WAITING:
        return *owner_of(t->waits_for) == NOBODY;
    case THREAD_TURNING:
        return turning_sees_news(&t->turning);
    case THREAD_ENDED:
        return false;
    }
    return false;
}

static void
add_if(struct decision *d, unsigned number, bool can)
{
    if (can)
        d->threads[d->count++] = number;
}

/* Those in a loop may be mistaken for waiting: if nobody else can run they can, each in its turn.
 * That is not for decisions: choosing the wrong one would lead back here, without end. */
static struct decision
who_can(void)
{
    struct decision d = {.step = step, .forced = !can_run(&threads[running])};
    if (!d.forced)
        add_if(&d, running, true);
    for (unsigned n = 0; n < thread_count; n++)
        add_if(&d, n, n != running && can_run(&threads[n]));
    if (d.count)
        return d;
    for (unsigned i = 1; i <= thread_count && d.count == 0; i++) {    /* the running one last */
        unsigned n = (running + i) % thread_count;
        add_if(&d, n, threads[n].state == THREAD_TURNING);
    }
    return d;
}

static void
decide(void)
{
    struct decision d = who_can();
    if (d.count == 0) {
        bool ended = true;
        for (unsigned n = 0; n < thread_count; n++)
            ended &= threads[n].state == THREAD_ENDED;
        if (!ended)
            schedule_complain("every thread waits for another one");
        switch_to(MAIN);
        return;
    }
    unsigned next = d.threads[d.count == 1 ? 0 : decider->decide(&d)];
    if (threads[next].state == THREAD_TURNING)
        turning_stop(&threads[next].turning);
    threads[next].state = THREAD_READY;
    if (next != running)
        switch_to(next);
}

static void
count_step(void)
{
    if (++step > STEPS_MAX) {
        schedule_complain("a loop does not end");
        switch_to(MAIN);
    }
}

/* ---- what the instrumented code does --------------------------------------------------------- */

static bool
within(const void *at, const char *from, const char *to)
{
    return (const char *)at >= from && (const char *)at < to;
}

static bool
on_stack(const void *at)
{
    return within(at, stacks[0], stacks[0] + sizeof stacks) ||
           within(at, main_stack, main_stack_end);
}

static void
use(void *at, size_t bytes, bool write, bool plain)
{
    if (on_stack(at) || bytes == 0)
        return;
    if (running != MAIN) {
        count_step();
        if (write && plain)
            turning_stop(&threads[running].turning);
        bool shared = contended_use(at, bytes, running, write);
        if ((shared && (!plain || decider->fine)) || step == decider->wanted_step)
            decide();
    }
    if (write)
        undo_note(at, bytes);
}

static void
see_plain(void *at, size_t bytes, bool write)
{
    use(at, bytes, write, true);
}

static void
see_atomic(void *at, size_t bytes, enum atomic_kind kind, int order)
{
    (void)order;
    if (kind != ATOMIC_FENCE)
        use(at, bytes, kind != ATOMIC_LOAD, false);
}

static void
see_atomic_done(void *at, size_t bytes, uint64_t value, bool changed, const void *site)
{
    if (running == MAIN || on_stack(at))
        return;
    struct thread *t = &threads[running];
    if (changed) {
        turning_stop(&t->turning);
    } else if (turning_look(&t->turning, (struct turning_look){at, site, bytes, value})) {
        t->state = THREAD_TURNING;
        count_step();
        decide();
    }
}

static void
lock(pthread_mutex_t *m)
{
    if (running == MAIN) {
        watch_real_lock(m);
        return;
    }
    turning_stop(&threads[running].turning);
    contended_use(m, 1, running, true);
    count_step();
    decide();
    while (*owner_of(m) != NOBODY) {
        threads[running].state = THREAD_WAITING;
        threads[running].waits_for = m;
        count_step();
        decide();
    }
    *owner_of(m) = running;
}

static void
unlock(pthread_mutex_t *m)
{
    if (running == MAIN) {
        watch_real_unlock(m);
        return;
    }
    if (*owner_of(m) != running)
        schedule_complain("a mutex is unlocked by a thread that does not hold it");
    turning_stop(&threads[running].turning);
    count_step();
    decide();
    *owner_of(m) = NOBODY;
}

static void
yield(void)
{
    if (running == MAIN)
        return;
    turning_stop(&threads[running].turning);
    threads[running].state = THREAD_TURNING;
    count_step();
    decide();
}

static void *
allocate(size_t bytes)
{
    return heap_allocate(running, bytes);
}

static const struct watch watching = {
    .halves = true, .plain = see_plain, .atomic = see_atomic, .atomic_done = see_atomic_done,
    .mutex_lock = lock, .mutex_unlock = unlock, .yield = yield,
    .allocate = allocate, .release = heap_release,
};

/* ---- one schedule ---------------------------------------------------------------------------- */

static void
thread_main(void)
{
    for (;;) {
        scenario->threads[running]();
        threads[running].state = THREAD_ENDED;
        count_step();
        decide();
    }
}

static void
crashed(int number)
{
    signal(number, SIG_DFL);
    if (say_at_crash)
        say_at_crash();
    raise(number);
}

/* Steps are not counted in check(): a lock never given back, a list that has become a ring. */
static void
look_after(int number)
{
    static uint64_t seen;
    if (seen == schedules)
        crashed(number);
    seen = schedules;
    alarm(WATCH_SECONDS);
}

static void
find_main_stack(void)
{
    pthread_attr_t a;
    void *base;
    size_t bytes;
    CHECK(pthread_getattr_np(pthread_self(), &a) == 0);
    pthread_attr_getstack(&a, &base, &bytes);
    pthread_attr_destroy(&a);
    main_stack = base;
    main_stack_end = main_stack + bytes;
}

void
schedule_open(const struct scenario *sc)
{
    scenario = sc;
    find_main_stack();
    contended_forget();
    thread_count = 0;
    for (unsigned n = 0; n < SCHEDULE_THREADS_MAX && sc->threads[n]; n++) {
        struct thread *t = &threads[thread_count++];
        *t = (struct thread){0};
        CHECK(getcontext(&t->start) == 0);
        t->start.uc_stack.ss_sp = stacks[n];
        t->start.uc_stack.ss_size = STACK_BYTES;
        makecontext(&t->start, thread_main, 0);
    }
    threads[MAIN].started = true;
    threads[MAIN].state = THREAD_ENDED;
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS};
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], crashed);
    signal(SIGALRM, look_after);
    alarm(WATCH_SECONDS);
}

static void
check_mutexes(void)
{
    for (unsigned i = 0; i < mutex_count; i++)
        if (mutexes[i].owner != NOBODY)
            schedule_complain("a mutex is still locked at the end");
}

const char *
schedule_run(const struct decider *by)
{
    decider = by;
    schedules++;
    mutex_count = 0;
    step = 0;
    complaint[0] = 0;
    heap_forget();
    for (unsigned n = 0; n < thread_count; n++) {
        threads[n].state = THREAD_READY;
        turning_stop(&threads[n].turning);
    }
    scenario->begin();
    watch = &watching;
    decide();
    check_mutexes();
    if (!complaint[0])
        scenario->check();
    watch = NULL;
    undo_all();
    return complaint[0] ? complaint : NULL;
}

void
schedule_pause(void)
{
    count_step();
    decide();
}

void
schedule_complain(const char *format, ...)
{
    if (complaint[0])
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(complaint, sizeof complaint, format, arguments);
    va_end(arguments);
}

void
schedule_at_crash(void (*say)(void))
{
    say_at_crash = say;
}
