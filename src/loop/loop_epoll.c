/*
 * loop_epoll.c -- the event loop over epoll, woken through an eventfd.
 *
 * Level-triggered on purpose.  Edge-triggered epoll would save nothing here -- a connection is
 * registered once and its interest changes only when it is blocked -- and would oblige every
 * reader to drain its socket, against the quantum of a turn.
 *
 * A wake-up is one write to the eventfd for any number of callers: `woken` is set by the first
 * and taken back by the waiting thread after it has emptied the eventfd, before it returns.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "loop.h"

struct loop {
    int epoll_fd;
    int wake_fd;
    _Atomic bool woken;           /* true: the eventfd has been written to and not yet read */
    struct epoll_event events[LOOP_EVENTS_MAX];
};

static int
control(struct loop *loop, int operation, int fd, unsigned want, void *tag)
{
    struct epoll_event event = {.data.ptr = tag};
    if (want & LOOP_READ)
        event.events |= EPOLLIN;
    if (want & LOOP_WRITE)
        event.events |= EPOLLOUT;
    if (want & LOOP_END)
        event.events |= EPOLLRDHUP;
    return epoll_ctl(loop->epoll_fd, operation, fd, &event) == 0 ? 0 : -errno;
}

int
loop_create(struct loop **out_loop)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL)
        return -ENOMEM;
    loop->wake_fd = -1;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        goto fail;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0)
        goto fail;
    if (control(loop, EPOLL_CTL_ADD, loop->wake_fd, LOOP_READ, loop) != 0)
        goto fail;
    *out_loop = loop;
    return 0;
fail:;
    int error = errno;
    loop_destroy(loop);
    return -error;
}

void
loop_destroy(struct loop *loop)
{
    if (loop == NULL)
        return;
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    free(loop);
}

int
loop_add(struct loop *loop, int fd, unsigned want, void *tag)
{
    return control(loop, EPOLL_CTL_ADD, fd, want, tag);
}

int
loop_modify(struct loop *loop, int fd, unsigned want, void *tag)
{
    return control(loop, EPOLL_CTL_MOD, fd, want, tag);
}

int
loop_remove(struct loop *loop, int fd)
{
    return control(loop, EPOLL_CTL_DEL, fd, 0, NULL);
}

static unsigned
events_from_epoll(uint32_t events)
{
    return (events & EPOLLIN ? LOOP_READ : 0u) | (events & EPOLLOUT ? LOOP_WRITE : 0u) |
           (events & (EPOLLERR | EPOLLHUP) ? LOOP_HANGUP : 0u) |
           (events & EPOLLRDHUP ? LOOP_END : 0u);
}

static void
take_wakeup(struct loop *loop)
{
    uint64_t count;
    ssize_t got = read(loop->wake_fd, &count, sizeof count);
    (void)got;
    /* Partner: the exchange in loop_wake().  Whoever calls it from here on writes again. */
    atomic_exchange_explicit(&loop->woken, false, memory_order_acq_rel);
}

unsigned
loop_wait(struct loop *loop, struct loop_event *out, int timeout_ms)
{
    int ready = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENTS_MAX, timeout_ms);
    if (ready < 0) {
        CHECK(errno == EINTR);
        return 0;
    }
    unsigned count = 0;
    for (int i = 0; i < ready; i++) {
        if (UNLIKELY(loop->events[i].data.ptr == loop)) {
            take_wakeup(loop);
            continue;
        }
        out[count].tag = loop->events[i].data.ptr;
        out[count].what = events_from_epoll(loop->events[i].events);
        count++;
    }
    return count;
}

void
loop_wake(struct loop *loop)
{
    if (atomic_exchange_explicit(&loop->woken, true, memory_order_acq_rel))
        return;
    int saved = errno;
    uint64_t one = 1;
    ssize_t put = write(loop->wake_fd, &one, sizeof one);
    (void)put;
    errno = saved;
}
