/*
 * floor.c -- the least a server can do: receive, find line ends, send a fixed reply.
 *
 * One thread, epoll, 127.0.0.1 only.  Lines that begin with 'g' are answered
 * with VALUEs and END, lines that begin with 's' with STORED, other lines
 * (data) with nothing.  How many VALUEs, and of how many bytes, is told on the
 * command line: the same bytes must cross the kernel as with a real server.
 *
 * Its CPU time per request is the part of a cache server's cost that belongs
 * to the kernel: compare every server with it in the same run.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <sys/epoll.h>

#include "common.h"

#define EVENTS       256
#define INPUT_BYTES  (64 << 10)
#define OUTPUT_BYTES (4 << 20)
#define FDS_MAX      65536

static char in[INPUT_BYTES];
static char out[OUTPUT_BYTES];
static size_t out_used;
static char *answer; /* to a get */
static size_t answer_bytes;
static char line_begun[FDS_MAX]; /* by fd: the first byte of a line whose end is not there yet */

static void
build_answer(uint64_t value_bytes, uint64_t values)
{
    static const char end[] = "END\r\n";
    char head[64];
    size_t head_bytes = (size_t)snprintf(head, sizeof head,
                                         "VALUE memtier-100000 0 %" PRIu64 "\r\n", value_bytes);
    char *at;

    answer_bytes = values * (head_bytes + value_bytes + 2) + sizeof end - 1;
    if (answer_bytes > sizeof out)
        die("an answer of %zu bytes is too long", answer_bytes);
    at = answer = checked(malloc(answer_bytes));
    for (uint64_t i = 0; i < values; i++) {
        memcpy(at, head, head_bytes);
        memset(at + head_bytes, '0', value_bytes);
        memcpy(at + head_bytes + value_bytes, "\r\n", 2);
        at += head_bytes + value_bytes + 2;
    }
    memcpy(at, end, sizeof end - 1);
}

static bool
flush_out(int fd)
{
    for (size_t sent = 0; sent < out_used;) {
        ssize_t n = send(fd, out + sent, out_used - sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            struct pollfd at = {.fd = fd, .events = POLLOUT};

            poll(&at, 1, -1);
        } else if (n < 0) {
            return false;
        } else {
            sent += (size_t)n;
        }
    }
    out_used = 0;
    return true;
}

static bool
put(int fd, const char *bytes, size_t count)
{
    if (out_used + count > sizeof out && !flush_out(fd))
        return false;
    memcpy(out + out_used, bytes, count);
    out_used += count;
    return true;
}

/* Answers every line that ends in at..end; false when the connection is gone. */
static bool
answer_lines(int fd, const char *at, const char *end)
{
    const char *newline;

    for (; at < end; at = newline + 1) {
        char first = line_begun[fd] ? line_begun[fd] : *at;

        newline = memchr(at, '\n', (size_t)(end - at));
        line_begun[fd] = newline ? '\0' : first;
        if (!newline)
            break;
        if (first == 'g' && !put(fd, answer, answer_bytes))
            return false;
        if (first == 's' && !put(fd, "STORED\r\n", 8))
            return false;
    }
    return flush_out(fd);
}

static void
serve(int fd)
{
    ssize_t got = recv(fd, in, sizeof in, 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 || !answer_lines(fd, in, in + got)) {
        out_used = 0;
        close(fd);
    }
}

static void
accept_one(int listener, int epoll)
{
    struct epoll_event event = {.events = EPOLLIN};
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

    if (fd < 0)
        return;
    if (fd >= FDS_MAX) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    line_begun[fd] = '\0';
    event.data.fd = fd;
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static int
listen_on(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 1024))
        die("port %u: %s", port, strerror(errno));
    return fd;
}

int
main(int argc, char **argv)
{
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN};
    int epoll, listener;

    if (argc < 2 || argc > 4) {
        fputs("usage: floor PORT [value_bytes [values_per_get]]\n", stderr);
        return 64;
    }
    build_answer(argc > 2 ? option_number("value_bytes", argv[2], 0, 1 << 20) : 100,
                 argc > 3 ? option_number("values_per_get", argv[3], 1, 10000) : 1);
    listener = listen_on((uint16_t)option_number("PORT", argv[1], 1, 65535));
    epoll = epoll_create1(0);
    event.data.fd = listener;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_one(listener, epoll);
            else
                serve(events[i].data.fd);
        }
    }
}
