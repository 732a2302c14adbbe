/*
 * load.c -- closed-loop load on a server of the text protocol on 127.0.0.1: one thread, little CPU.
 *
 * Every connection sends a batch of `depth` requests, waits for all answers
 * and sends the next one.  With -f 1 every key is stored once first.  Prints
 * requests, keys, hits, seconds, requests per second and errors in one line;
 * exit status 1 if any answer was an error, 2 on failure, 64 on wrong usage.
 */
#define _GNU_SOURCE
#include <sys/epoll.h>

#include "common.h"
#include "replies.h"

#define INPUT_BYTES      (1 << 20)
#define EVENTS           256
#define FILL_CONNECTIONS 4
#define FILL_DEPTH       64
#define KEY_LINE_BYTES   24 /* "key-", 14 digits or more, a blank */
#define SET_LINE_BYTES   64
#define ERRORS_SHOWN     3
#define DRAIN_NS         (5 * NSEC_PER_SEC)
#define USAGE                                                                                 \
    "usage: load PORT [-c conns] [-d depth] [-k keys] [-v value_bytes] [-s set_percent]\n"     \
    "                 [-m keys_per_get] [-t seconds] [-f 1: store every key first]\n"

struct options {
    const char *port;
    uint64_t connections, depth, keys, value_bytes, set_percent, keys_per_get, seconds, fill;
};

struct connection {
    int fd;
    uint64_t waiting; /* requests not answered yet */
    struct replies replies;
};

static struct options opt = {.connections = 50,
                             .depth = 1,
                             .keys = 200000,
                             .value_bytes = 100,
                             .set_percent = 10,
                             .keys_per_get = 1,
                             .seconds = 4};
static char *out, *value;
static char in[INPUT_BYTES];
static struct {
    uint64_t requests, hits, errors, keys;
} count;
static bool filling;
static uint64_t fill_next;

static uint64_t
random_next(void)
{
    static uint64_t x = 88172645463325252ull; /* xorshift64 (Marsaglia 2003) */

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

static void
send_all(const struct connection *c, size_t length)
{
    for (size_t sent = 0; sent < length;) {
        ssize_t n = send(c->fd, out + sent, length - sent, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            die("send: %s", strerror(errno));
        sent += n > 0 ? (size_t)n : 0;
    }
}

static size_t
put_set(size_t at, uint64_t key)
{
    at += (size_t)snprintf(out + at, SET_LINE_BYTES, "set key-%014" PRIu64 " 0 0 %" PRIu64 "\r\n",
                           key, opt.value_bytes);
    memcpy(out + at, value, opt.value_bytes + 2);
    return at + opt.value_bytes + 2;
}

static size_t
put_get(size_t at)
{
    memcpy(out + at, "get", 3);
    at += 3;
    for (uint64_t i = 0; i < opt.keys_per_get; i++)
        at += (size_t)snprintf(out + at, KEY_LINE_BYTES, " key-%014" PRIu64,
                               random_next() % opt.keys);
    memcpy(out + at, "\r\n", 2);
    count.keys += opt.keys_per_get;
    return at + 2;
}

static void
send_batch(struct connection *c)
{
    uint64_t depth = filling ? FILL_DEPTH : opt.depth;
    size_t length = 0;

    for (uint64_t i = 0; i < depth; i++) {
        if (filling && fill_next == opt.keys)
            break;
        if (filling)
            length = put_set(length, fill_next++);
        else if (random_next() % 100 < opt.set_percent)
            length = put_set(length, random_next() % opt.keys);
        else
            length = put_get(length);
        c->waiting++;
    }
    send_all(c, length);
}

static void
take_answers(struct connection *c, const char *at, const char *end)
{
    enum reply reply;

    while ((reply = replies_next(&c->replies, &at, end)) != REPLY_NONE) {
        if (reply == REPLY_VALUE) {
            count.hits++;
            continue;
        }
        if (reply == REPLY_BAD && count.errors++ < ERRORS_SHOWN)
            fprintf(stderr, "load: %s\n", c->replies.line);
        if (!c->waiting)
            die("an answer to no request");
        c->waiting--;
        count.requests++;
    }
}

static struct connection *
connect_all(uint64_t connections, int epoll)
{
    struct connection *list = checked(calloc(connections, sizeof *list));

    for (uint64_t i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &list[i]};

        list[i].fd = connect_tcp("127.0.0.1", opt.port);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, list[i].fd, &event))
            die("epoll_ctl: %s", strerror(errno));
    }
    return list;
}

static bool
all_answered(const struct connection *list, uint64_t connections)
{
    for (uint64_t i = 0; i < connections; i++)
        if (list[i].waiting)
            return false;
    return true;
}

/* One wake-up: takes what has come, sends the next batches unless the time is up. */
static void
step(int epoll, bool more)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, 1000);

    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        ssize_t got = recv(c->fd, in, sizeof in, 0);

        if (got <= 0)
            die("the server closed a connection");
        take_answers(c, in, in + got);
        if (!c->waiting && more)
            send_batch(c);
    }
}

/* Runs for opt.seconds, or until every key is stored; returns the seconds it took. */
static double
run(uint64_t connections)
{
    int epoll = epoll_create1(0);
    struct connection *list = connect_all(connections, epoll);
    uint64_t start = clock_ns(), now = start, length = opt.seconds * NSEC_PER_SEC;

    for (uint64_t i = 0; i < connections; i++)
        send_batch(&list[i]);
    while (!all_answered(list, connections)) {
        step(epoll, filling || now - start < length);
        now = clock_ns();
        if (!filling && now - start > length + DRAIN_NS)
            die("the server leaves requests unanswered");
    }
    for (uint64_t i = 0; i < connections; i++)
        close(list[i].fd);
    close(epoll);
    free(list);
    return (double)(now - start) / NSEC_PER_SEC;
}

static const struct {
    char letter;
    uint64_t *number, min, max;
} number_options[] = {
    {'c', &opt.connections, 1, 60000}, {'d', &opt.depth, 1, 10000},
    {'k', &opt.keys, 1, 1ull << 40},   {'v', &opt.value_bytes, 0, 1 << 30},
    {'s', &opt.set_percent, 0, 100},   {'m', &opt.keys_per_get, 1, 10000},
    {'t', &opt.seconds, 0, 1000000},   {'f', &opt.fill, 0, 1},
};

static void
parse_command_line(int argc, char **argv)
{
    int letter;

    while ((letter = getopt(argc, argv, "c:d:k:v:s:m:t:f:")) != -1) {
        char name[] = {'-', (char)letter, '\0'};
        size_t i = 0;

        while (i < sizeof number_options / sizeof number_options[0] &&
               number_options[i].letter != letter)
            i++;
        if (i == sizeof number_options / sizeof number_options[0]) {
            fputs(USAGE, stderr);
            exit(64);
        }
        *number_options[i].number =
            option_number(name, optarg, number_options[i].min, number_options[i].max);
    }
    if (optind + 1 != argc) {
        fputs(USAGE, stderr);
        exit(64);
    }
    opt.port = argv[optind];
}

int
main(int argc, char **argv)
{
    uint64_t deepest;
    double seconds;

    parse_command_line(argc, argv);
    deepest = opt.depth > FILL_DEPTH ? opt.depth : FILL_DEPTH;
    out = checked(
        malloc(deepest * (opt.value_bytes + SET_LINE_BYTES + opt.keys_per_get * KEY_LINE_BYTES)));
    value = checked(malloc(opt.value_bytes + 2));
    memset(value, 'x', opt.value_bytes);
    memcpy(value + opt.value_bytes, "\r\n", 2);
    if (opt.fill) {
        filling = true;
        run(FILL_CONNECTIONS);
        filling = false;
        if (count.errors)
            return 1;
        count.requests = count.hits = count.keys = 0;
    }
    if (!opt.seconds)
        return 0;
    seconds = run(opt.connections);
    printf("requests=%" PRIu64 " keys=%" PRIu64 " hits=%" PRIu64 " seconds=%.3f rps=%.0f errors=%"
           PRIu64 "\n",
           count.requests, count.keys, count.hits, seconds, (double)count.requests / seconds,
           count.errors);
    return count.errors != 0;
}
