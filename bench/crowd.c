/*
 * crowd.c -- many clients at once that do not behave, or that store large values.
 *
 *   -r N   ask for ten values of 1 MB each and never read
 *   -h N   stop in the middle of an upload of 1 MB
 *   -i N   idle
 *   -s N   store values of -v bytes one after the other, all at once
 *   -S N   the same with -V bytes
 *
 * Clients that the server closes come back a tenth of a second later and do
 * the same again.  Prints "ready" when every client has had its say once (the
 * storing ones do not count), and goes on until its input ends; then prints one line:
 *
 *     stored=N refused=N resets=N closed=N slowest_ms=N
 *
 * stored and refused are answers to sets, slowest_ms the longest time that one took; resets are
 * connections of storing clients that the server has closed, closed those of all others.
 * Exit status: 0, or 2 on failure.
 *
 * One thread, non-blocking sockets, one epoll.
 */
#define _GNU_SOURCE
#include <sys/epoll.h>

#include "common.h"

#define VALUE_BYTES   1000000
#define VALUES_ASKED  10
#define EVENTS        256
#define COMEBACK_NS   (NSEC_PER_SEC / 10)
#define LINE_BYTES    128
#define SLICE_BYTES   (256 << 10) /* sent by one client before the next has its turn */
#define OPEN_PER_STEP 64
#define USAGE                                                                                 \
    "usage: crowd PORT [-r readers] [-h half_uploads] [-i idle]\n"                            \
    "             [-s storing] [-v value_bytes] [-S storing] [-V value_bytes]\n"

enum kind { READER, HALF, IDLE, STORING, STORING_LARGE, KINDS };

struct client {
    enum kind kind;
    int fd;                /* -1: closed */
    bool connected, counted;
    uint64_t back_at, started;
    size_t line_length, length, sent, answer_length;
    char line[LINE_BYTES], answer[LINE_BYTES];
    struct client *next; /* of those that are to come back, oldest first */
};

static struct {
    const char *port;
    uint64_t clients[KINDS], small_bytes, large_bytes;
} opt = {.small_bytes = VALUE_BYTES, .large_bytes = 8 * VALUE_BYTES};

static struct {
    uint64_t stored, refused, resets, closed, slowest_ns, in_place;
} count;

static struct client *list, *back_first, *back_last;
static uint64_t total;
static char *value, get_line[LINE_BYTES];
static struct sockaddr_in address;
static int epoll;

static uint64_t
value_bytes(const struct client *c)
{
    return c->kind == STORING         ? opt.small_bytes
           : c->kind == STORING_LARGE ? opt.large_bytes
                                      : VALUE_BYTES;
}

static bool
stores(const struct client *c)
{
    return c->kind == STORING || c->kind == STORING_LARGE;
}

static void
watch(struct client *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};

    if (epoll_ctl(epoll, operation, c->fd, &event))
        die("epoll_ctl: %s", strerror(errno));
}

/* What the client has to say next; a storing one says it again and again. */
static void
prepare(struct client *c)
{
    c->sent = c->line_length = c->length = c->answer_length = 0;
    c->started = clock_ns();
    if (c->kind == READER) {
        c->line_length = c->length = strlen(get_line);
        memcpy(c->line, get_line, c->length);
    } else if (c->kind != IDLE) {
        c->line_length =
            (size_t)snprintf(c->line, sizeof c->line, "set crowd-%d-%td 0 0 %" PRIu64 "\r\n",
                             (int)c->kind, c - list, value_bytes(c));
        c->length = c->line_length + value_bytes(c) + 2;
        if (c->kind == HALF)
            c->length = c->line_length + value_bytes(c) / 2;
    }
}

static void
leave(struct client *c)
{
    close(c->fd);
    c->fd = -1;
    *(stores(c) ? &count.resets : &count.closed) += 1;
    c->back_at = clock_ns() + COMEBACK_NS;
    c->next = NULL;
    *(back_last ? &back_last->next : &back_first) = c;
    back_last = c;
}

static void
come(struct client *c)
{
    int one = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    c->connected = false;
    prepare(c);
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void
in_place(struct client *c)
{
    if (c->counted || stores(c))
        return;
    c->counted = true;
    if (++count.in_place == total - opt.clients[STORING] - opt.clients[STORING_LARGE]) {
        puts("ready");
        fflush(stdout);
    }
}

/* Where the byte `at` of what is being said lies, and how many follow it there. */
static const char *
words(const struct client *c, size_t at, size_t *out_length)
{
    size_t value_end = c->line_length + value_bytes(c);

    if (at < c->line_length) {
        *out_length = c->line_length - at;
        return c->line + at;
    }
    *out_length = (value_end < c->length ? value_end : c->length) - at;
    if (at < value_end)
        return value + (at - c->line_length);
    *out_length = c->length - at;
    return &"\r\n"[at - value_end];
}

static void
say(struct client *c)
{
    size_t slice = SLICE_BYTES;

    if (!c->connected) {
        c->connected = true;
        if (c->kind == IDLE)
            watch(c, EPOLL_CTL_MOD, EPOLLRDHUP);
    }
    while (c->sent < c->length && slice) {
        size_t length;
        const char *at = words(c, c->sent, &length);
        ssize_t n = send(c->fd, at, length < slice ? length : slice, MSG_NOSIGNAL);

        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR)
                leave(c);
            else
                in_place(c);
            return;
        }
        c->sent += (size_t)n;
        slice -= (size_t)n;
    }
    if (c->sent < c->length)
        return;
    in_place(c);
    if (c->kind != IDLE)
        watch(c, EPOLL_CTL_MOD, stores(c) ? EPOLLIN : EPOLLRDHUP);
}

static void
listen_to(struct client *c)
{
    ssize_t n = recv(c->fd, c->answer + c->answer_length, LINE_BYTES - 1 - c->answer_length, 0);
    uint64_t took;

    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            leave(c);
        return;
    }
    c->answer_length += (size_t)n;
    c->answer[c->answer_length] = '\0';
    if (!memchr(c->answer, '\n', c->answer_length))
        return;
    if (!strcmp(c->answer, "STORED\r\n"))
        count.stored++;
    else if (count.refused++ < 3)
        fprintf(stderr, "crowd: a set was answered %s", c->answer);
    took = clock_ns() - c->started;
    if (took > count.slowest_ns)
        count.slowest_ns = took;
    prepare(c);
    watch(c, EPOLL_CTL_MOD, EPOLLOUT);
}

static void
handle(struct client *c, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))
        leave(c);
    else if (events & EPOLLIN)
        listen_to(c);
    else if (events & EPOLLOUT)
        say(c);
}

static void
bring_back(void)
{
    uint64_t now = clock_ns();

    while (back_first && back_first->back_at <= now) {
        struct client *c = back_first;

        back_first = c->next;
        if (!back_first)
            back_last = NULL;
        come(c);
    }
}

/* Until standard input ends. */
static void
run(void)
{
    struct epoll_event events[EVENTS], input = {.events = EPOLLIN, .data.ptr = NULL};
    uint64_t opened = 0;

    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input))
        die("epoll: %s", strerror(errno));
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, opened < total ? 0 : 50);

        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr)
                return;
            handle(events[i].data.ptr, events[i].events);
        }
        for (int i = 0; i < OPEN_PER_STEP && opened < total; i++)
            come(&list[opened++]);
        bring_back();
    }
}

static void
recruit(void)
{
    uint64_t n = 0;

    for (int kind = 0; kind < KINDS; kind++)
        total += opt.clients[kind];
    list = checked(calloc(total + 1, sizeof *list));
    for (int kind = 0; kind < KINDS; kind++)
        for (uint64_t i = 0; i < opt.clients[kind]; i++)
            list[n++] = (struct client){.kind = (enum kind)kind, .fd = -1};
}

/* The values that the readers ask for, and the bytes that are stored. */
static void
lay_in(void)
{
    uint64_t most = opt.small_bytes > opt.large_bytes ? opt.small_bytes : opt.large_bytes;
    size_t at = 3;
    int fd = opt.clients[READER] ? connect_tcp("127.0.0.1", opt.port) : -1;

    most = most > VALUE_BYTES ? most : VALUE_BYTES;
    value = checked(malloc(most));
    memset(value, 'x', most);
    memcpy(get_line, "get", at);
    for (int i = 0; i < VALUES_ASKED; i++) {
        char line[LINE_BYTES];
        int length = snprintf(line, sizeof line, "set large-%d 0 0 %d\r\n", i, VALUE_BYTES);

        at += (size_t)snprintf(get_line + at, LINE_BYTES - at, " large-%d", i);
        if (fd < 0)
            continue;
        if (send(fd, line, (size_t)length, MSG_NOSIGNAL) != length ||
            send(fd, value, VALUE_BYTES, MSG_NOSIGNAL) != VALUE_BYTES ||
            send(fd, "\r\n", 2, MSG_NOSIGNAL) != 2 ||
            recv(fd, line, 8, MSG_WAITALL) != 8 || memcmp(line, "STORED\r\n", 8))
            die("the values to ask for could not be stored");
    }
    memcpy(get_line + at, "\r\n", 3);
    if (fd >= 0)
        close(fd);
}

static const struct {
    char letter;
    uint64_t *number, max;
} number_options[] = {
    {'r', &opt.clients[READER], 60000},  {'h', &opt.clients[HALF], 60000},
    {'i', &opt.clients[IDLE], 60000},    {'s', &opt.clients[STORING], 60000},
    {'S', &opt.clients[STORING_LARGE], 60000},
    {'v', &opt.small_bytes, 1 << 30},    {'V', &opt.large_bytes, 1 << 30},
};

static void
parse_command_line(int argc, char **argv)
{
    uint64_t port = 0;
    int letter;

    while ((letter = getopt(argc, argv, "r:h:i:s:S:v:V:")) != -1) {
        char name[] = {'-', (char)letter, '\0'};
        size_t i = 0, most = sizeof number_options / sizeof number_options[0];

        while (i < most && number_options[i].letter != letter)
            i++;
        if (i == most) {
            fputs(USAGE, stderr);
            exit(2);
        }
        *number_options[i].number = option_number(name, optarg, 0, number_options[i].max);
    }
    if (optind + 1 != argc) {
        fputs(USAGE, stderr);
        exit(2);
    }
    opt.port = argv[optind];
    port = option_number("PORT", opt.port, 1, 65535);
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int
main(int argc, char **argv)
{
    parse_command_line(argc, argv);
    recruit();
    lay_in();
    run();
    printf("stored=%" PRIu64 " refused=%" PRIu64 " resets=%" PRIu64 " closed=%" PRIu64
           " slowest_ms=%" PRIu64 "\n",
           count.stored, count.refused, count.resets, count.closed, count.slowest_ns / 1000000);
    return 0;
}
