/*
 * latency.c -- a reader at a fixed rate, and the latency of its requests.
 *
 * The reader asks `rate` times a second, come what may: request number i is
 * due at start + i / rate, and its latency is counted from there, not from
 * the moment it was sent.  A server that stalls for a millisecond thus delays
 * the ten requests that were due meanwhile, and all ten are counted; a closed
 * loop would count one ("coordinated omission", Tene 2013).
 *
 * With --fill a writer stores new keys meanwhile over a connection of its own,
 * in batches of bounded depth, as fast as the server takes them or at a fixed
 * rate; the reader stops when the writer is through, but not before --seconds.
 * Where both share a CPU the writer yields to the reader (SCHED_IDLE): what is
 * measured is the server.
 *
 * The keys that are read are stored first.  A miss is counted, not an error.
 * --set-percent makes some of the requests sets of other keys, which must all
 * be answered STORED.  With --set-max they are sets of the keys that are read,
 * each time of another length.
 * Exit status: 0 done, 1 an error reply, 2 failure.
 *
 * Threads: the reader is the main thread and owns everything but `writer`,
 * which belongs to the writer until `done` is set (release; read with acquire).
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

#include "common.h"
#include "replies.h"
#include "wire.h"

#define VALUE_BYTES     100
#define KEY_FORMAT      "%s-%015" PRIu64 /* 20 bytes */
#define REQUEST_BYTES   192 /* without the value */
#define VALUE_BYTES_TOP (OUTPUT_BYTES / 4)
#define SET_SHARE       100 /* requests, of which set_percent are sets */
#define INPUT_BYTES     (256 << 10)
#define OUTPUT_BYTES    (64 << 10)
#define OPEN_MAX_POW2   16384 /* requests of one connection that may wait for answers */
#define CONNECTIONS_MAX 64
#define SILENCE_S       30
#define SECONDS_DEFAULT 10

struct options {
    const char *host, *port, *socket_path;
    uint64_t rate, connections, seconds, keys, depth, set_percent, set_min, set_max;
    uint64_t fill, fill_first, fill_rate, fill_bytes, refusals;
};

static struct options opt = {.host = "127.0.0.1",
                             .port = "11211",
                             .rate = 10000,
                             .connections = 1,
                             .keys = 10000,
                             .fill_bytes = VALUE_BYTES,
                             .set_min = 1,
                             .depth = 32};

/* ---- histogram ---- */

/*
 * Microseconds in log-linear buckets: exact below 64, then 32 buckets for each
 * power of two, so that a bucket is at most 3.2 % wide.
 */
#define LINEAR         64
#define PER_POWER      32
#define POWERS         34
#define BUCKETS        (LINEAR + POWERS * PER_POWER)
#define MICROSECOND_NS 1000

static struct {
    uint64_t buckets[BUCKETS];
    uint64_t count, max_us;
} histogram;

static unsigned
bucket_of(uint64_t us)
{
    unsigned shift, bucket;

    if (us < LINEAR)
        return (unsigned)us;
    shift = 63 - (unsigned)__builtin_clzll(us) - 5;
    bucket = shift * PER_POWER + (unsigned)(us >> shift);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The largest number of microseconds that falls into the bucket. */
static uint64_t
bucket_top(unsigned bucket)
{
    unsigned shift;

    if (bucket < LINEAR)
        return bucket;
    shift = bucket / PER_POWER - 1;
    return ((uint64_t)(bucket - shift * PER_POWER + 1) << shift) - 1;
}

static void
histogram_add(uint64_t ns)
{
    uint64_t us = ns / MICROSECOND_NS;

    histogram.buckets[bucket_of(us)]++;
    histogram.count++;
    if (us > histogram.max_us)
        histogram.max_us = us;
}

static uint64_t
histogram_percentile(double percent)
{
    double wanted = percent / 100 * (double)histogram.count;
    uint64_t sum = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        sum += histogram.buckets[i];
        if (sum && (double)sum >= wanted)
            return bucket_top(i) < histogram.max_us ? bucket_top(i) : histogram.max_us;
    }
    return histogram.max_us;
}

/* ---- the writer ---- */

static struct {
    pthread_t thread;
    struct wire wire;
    uint64_t ns, refused;
    atomic_bool done;
} writer;

static int
connect_server(void)
{
    return opt.socket_path ? connect_unix(opt.socket_path) : connect_tcp(opt.host, opt.port);
}

static void
sleep_until(uint64_t ns)
{
    struct timespec at = {.tv_sec = (time_t)(ns / NSEC_PER_SEC),
                          .tv_nsec = (long)(ns % NSEC_PER_SEC)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        continue;
}

/*
 * What is stored: `count` keys from number `first` on, at most `rate` a second (0 = no limit).
 * value_bytes is 0 for lengths as the sets have them.
 */
struct keys {
    const char *prefix;
    uint64_t first, count, rate, value_bytes;
};

/* The length of the set number n, from --set-min to --set-max. */
static uint64_t
set_bytes(uint64_t n)
{
    return opt.set_max ? opt.set_min + mix64(n ^ 0x5e75) % (opt.set_max - opt.set_min + 1)
                       : VALUE_BYTES;
}

static void
take_stored(struct wire *w)
{
    struct span answer = wire_line(w);

    if (span_is(answer, "STORED"))
        return;
    if (opt.refusals && span_is(answer, "SERVER_ERROR out of memory storing object")) {
        writer.refused++;
        return;
    }
    atomic_store(&die_status, 1);
    die("set was answered \"%.*s\"", (int)answer.length, answer.text);
}

/* `depth` at a time. */
static void
store_keys(struct wire *w, const struct keys *k)
{
    uint64_t start = clock_ns();
    uint64_t longest = k->value_bytes ? k->value_bytes : VALUE_BYTES_TOP;
    char line[REQUEST_BYTES], *value = checked(malloc(longest));

    memset(value, 'v', longest);
    for (uint64_t at = 0; at < k->count; at += opt.depth) {
        uint64_t past = at + opt.depth < k->count ? at + opt.depth : k->count;

        if (k->rate)
            sleep_until(start + (uint64_t)((double)at / (double)k->rate * (double)NSEC_PER_SEC));
        for (uint64_t i = at; i < past; i++) {
            uint64_t bytes = k->value_bytes ? k->value_bytes : set_bytes(i);
            int length = snprintf(line, sizeof line, "set " KEY_FORMAT " 0 0 %" PRIu64 "\r\n",
                                  k->prefix, k->first + i, bytes);

            wire_put(w, line, (size_t)length);
            wire_put(w, value, bytes);
            wire_put(w, "\r\n", 2);
        }
        wire_flush(w);
        for (uint64_t i = at; i < past; i++)
            take_stored(w);
    }
    free(value);
}

static void *
writer_run(void *unused)
{
    struct sched_param none = {0};
    uint64_t start = clock_ns();

    (void)unused;
    sched_setscheduler(0, SCHED_IDLE, &none); /* of this thread only; worth a try */
    store_keys(&writer.wire, &(struct keys){"fill", opt.fill_first, opt.fill, opt.fill_rate,
                                            opt.fill_bytes});
    writer.ns = clock_ns() - start;
    atomic_store_explicit(&writer.done, true, memory_order_release);
    return NULL;
}

static void
store_read_keys(void)
{
    struct wire wire;

    wire_init(&wire, connect_server(), SILENCE_S);
    store_keys(&wire, &(struct keys){"read", 0, opt.keys, 0, opt.set_max ? 0 : VALUE_BYTES});
    wire_fini(&wire);
}

/* ---- the reader ---- */

/* One connection; due[] holds the due times of the requests that wait, oldest at `answered`. */
struct reader {
    int fd;
    struct replies replies;
    uint64_t asked, answered; /* counts; their difference is at most OPEN_MAX_POW2 */
    uint64_t due[OPEN_MAX_POW2];
    size_t out_used;
    char out[OUTPUT_BYTES];
};

_Static_assert((OPEN_MAX_POW2 & (OPEN_MAX_POW2 - 1)) == 0, "a place in the ring is a mask away");

static struct {
    struct reader *list;
    struct pollfd polls[CONNECTIONS_MAX];
    uint64_t start, asked, answered, sets, hits, errors;
    char in[INPUT_BYTES];
} readers;

static uint64_t
due_ns(uint64_t request)
{
    return readers.start + (uint64_t)((double)request * (double)NSEC_PER_SEC / (double)opt.rate);
}

static bool
has_room(const struct reader *r)
{
    size_t request_bytes = REQUEST_BYTES + (opt.set_max ? opt.set_max : VALUE_BYTES);

    return r->asked - r->answered < OPEN_MAX_POW2 && r->out_used + request_bytes <= OUTPUT_BYTES;
}

static size_t
put_request(char *at)
{
    uint64_t key = mix64(readers.asked) % opt.keys, bytes;
    size_t length;

    if (readers.asked * opt.set_percent % SET_SHARE >= opt.set_percent)
        return (size_t)snprintf(at, REQUEST_BYTES, "get " KEY_FORMAT "\r\n", "read", key);
    bytes = set_bytes(opt.keys + readers.sets++);
    length = (size_t)snprintf(at, REQUEST_BYTES, "set " KEY_FORMAT " 0 0 %" PRIu64 "\r\n",
                              opt.set_max ? "read" : "sets", key, bytes);
    memset(at + length, '0', bytes);
    memcpy(at + length + bytes, "\r\n", 2);
    return length + bytes + 2;
}

/* Puts all requests that are due on their connections, in turn. */
static void
ask_what_is_due(uint64_t now)
{
    for (;;) {
        struct reader *r = &readers.list[readers.asked % opt.connections];
        uint64_t due = due_ns(readers.asked);

        if (due > now || !has_room(r))
            return;
        r->due[r->asked++ & (OPEN_MAX_POW2 - 1)] = due;
        r->out_used += put_request(r->out + r->out_used);
        readers.asked++;
    }
}

static void
send_asked(struct reader *r, struct pollfd *poll_of)
{
    ssize_t sent;

    poll_of->events = POLLIN;
    if (!r->out_used)
        return;
    sent = send(r->fd, r->out, r->out_used, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        die("send: %s", strerror(errno));
    if (sent > 0) {
        r->out_used -= (size_t)sent;
        memmove(r->out, r->out + sent, r->out_used);
    }
    if (r->out_used)
        poll_of->events |= POLLOUT;
}

static void
take_answers(struct reader *r)
{
    ssize_t got = recv(r->fd, readers.in, sizeof readers.in, MSG_DONTWAIT);
    const char *at = readers.in, *end = readers.in + (got > 0 ? got : 0);
    uint64_t now = clock_ns();
    enum reply reply;

    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        die("the server closed a connection");
    while ((reply = replies_next(&r->replies, &at, end)) != REPLY_NONE) {
        if (reply == REPLY_VALUE) {
            readers.hits++;
            continue;
        }
        if (reply == REPLY_BAD && readers.errors++ == 0)
            fprintf(stderr, "latency: a request was answered \"%s\"\n", r->replies.line);
        if (r->answered == r->asked)
            die("an answer to no request");
        histogram_add(now - r->due[r->answered++ & (OPEN_MAX_POW2 - 1)]);
        readers.answered++;
    }
}

/* Sleeps until an answer comes, or until the next request is due (asking) or for long (not). */
static void
wait_and_take(bool asking)
{
    bool room = has_room(&readers.list[readers.asked % opt.connections]);
    uint64_t wait = SILENCE_S * NSEC_PER_SEC, due = due_ns(readers.asked), now = clock_ns();
    struct timespec timeout;
    int n;

    if (asking && room)
        wait = due > now ? due - now : 0;
    timeout = (struct timespec){.tv_sec = (time_t)(wait / NSEC_PER_SEC),
                                .tv_nsec = (long)(wait % NSEC_PER_SEC)};
    n = ppoll(readers.polls, opt.connections, &timeout, NULL);
    if (n == 0 && !(asking && room))
        die("the server has been silent for %d s with requests unanswered", SILENCE_S);
    for (uint64_t i = 0; n > 0 && i < opt.connections; i++)
        if (readers.polls[i].revents & (POLLIN | POLLHUP | POLLERR))
            take_answers(&readers.list[i]);
}

static bool
is_over(uint64_t now)
{
    if (opt.fill && !atomic_load_explicit(&writer.done, memory_order_acquire))
        return false;
    return now - readers.start >= opt.seconds * NSEC_PER_SEC;
}

static void
read_at_rate(void)
{
    bool asking = true;

    while (asking || readers.answered < readers.asked) {
        uint64_t now = clock_ns();

        asking = asking && !is_over(now);
        if (asking)
            ask_what_is_due(now);
        for (uint64_t i = 0; i < opt.connections; i++)
            send_asked(&readers.list[i], &readers.polls[i]);
        if (asking || readers.answered < readers.asked)
            wait_and_take(asking);
    }
}

static void
readers_open(void)
{
    readers.list = checked(calloc(opt.connections, sizeof *readers.list));
    for (uint64_t i = 0; i < opt.connections; i++) {
        readers.list[i].fd = connect_server();
        readers.polls[i] = (struct pollfd){.fd = readers.list[i].fd, .events = POLLIN};
    }
    prctl(PR_SET_TIMERSLACK, 1ul); /* wake up when asked to, not 50 us later */
}

static void
readers_close(void)
{
    for (uint64_t i = 0; i < opt.connections; i++)
        close(readers.list[i].fd);
    free(readers.list);
}

/* ---- command line and result ---- */

static const struct {
    const char *name;
    const char **text;
    uint64_t *number; /* one of the two is set */
    uint64_t min, max;
    const char *help;
} options[] = {
    {"--host", &opt.host, NULL, 0, 0, "server (default 127.0.0.1)"},
    {"--port", &opt.port, NULL, 0, 0, "its port (default 11211)"},
    {"--socket", &opt.socket_path, NULL, 0, 0, "unix socket instead"},
    {"--rate", NULL, &opt.rate, 1, 1000000, "requests a second (default 10000)"},
    {"--connections", NULL, &opt.connections, 1, CONNECTIONS_MAX, "of the reader (default 1)"},
    {"--keys", NULL, &opt.keys, 1, 1ull << 32, "keys that are read, stored first (default 10000)"},
    {"--seconds", NULL, &opt.seconds, 1, 86400, "how long at least (default 10, 0 with --fill)"},
    {"--fill", NULL, &opt.fill, 1, 1ull << 40, "new keys that a writer stores meanwhile"},
    {"--fill-first", NULL, &opt.fill_first, 0, 1ull << 40, "number of the first of them"},
    {"--fill-bytes", NULL, &opt.fill_bytes, 1, 1 << 20, "length of their values (default 100)"},
    {"--fill-rate", NULL, &opt.fill_rate, 0, 1ull << 40, "of them a second at most (0: no limit)"},
    {"--refusals", NULL, &opt.refusals, 0, 1, "1: \"out of memory\" is counted, no error"},
    {"--set-percent", NULL, &opt.set_percent, 0, 100, "of the requests (default 0)"},
    {"--set-min", NULL, &opt.set_min, 1, VALUE_BYTES_TOP, "shortest value of a set (default 1)"},
    {"--set-max", NULL, &opt.set_max, 1, VALUE_BYTES_TOP,
     "longest; sets go to the keys that are read, and every length is equally likely"},
    {"--depth", NULL, &opt.depth, 1, 1000, "sets in one batch of the writer (default 32)"},
};

#define OPTION_COUNT (sizeof options / sizeof options[0])

static void
print_help(void)
{
    puts("usage: latency [options]\n\n"
         "Asks a server of the text protocol at a fixed rate and prints the latency in\n"
         "microseconds, counted from the moment each request was due.\n");
    for (size_t i = 0; i < OPTION_COUNT; i++)
        printf("  %-15s %s  %s\n", options[i].name, options[i].number ? "N" : "X",
               options[i].help);
    puts("\nExit status: 0 done, 1 an error reply, 2 failure.");
}

static void
parse_command_line(int argc, char **argv)
{
    for (int at = 1; at < argc; at += 2) {
        size_t i = 0;

        if (!strcmp(argv[at], "--help") || !strcmp(argv[at], "-h")) {
            print_help();
            exit(0);
        }
        while (i < OPTION_COUNT && strcmp(argv[at], options[i].name))
            i++;
        if (i == OPTION_COUNT || at + 1 == argc)
            die("%s: unknown option, or its value is missing (--help lists them)", argv[at]);
        if (options[i].number)
            *options[i].number =
                option_number(argv[at], argv[at + 1], options[i].min, options[i].max);
        else
            *options[i].text = argv[at + 1];
    }
}

static void
print_result(double seconds)
{
    static const struct {
        const char *name;
        double percent;
    } percentiles[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}};

    printf("requests=%" PRIu64 " hits=%" PRIu64 " errors=%" PRIu64 " seconds=%.3f rate=%.0f",
           readers.answered, readers.hits, readers.errors, seconds,
           (double)readers.answered / seconds);
    for (size_t i = 0; i < sizeof percentiles / sizeof percentiles[0]; i++)
        printf(" %s=%" PRIu64, percentiles[i].name, histogram_percentile(percentiles[i].percent));
    printf(" max=%" PRIu64 " unit=us", histogram.max_us);
    if (opt.set_percent)
        printf(" sets=%" PRIu64, readers.sets);
    if (opt.fill)
        printf(" fill=%" PRIu64 " fill_seconds=%.3f refused=%" PRIu64, opt.fill,
               (double)writer.ns / (double)NSEC_PER_SEC, writer.refused);
    putchar('\n');
}

int
main(int argc, char **argv)
{
    double seconds;

    parse_command_line(argc, argv);
    if (opt.set_max && opt.set_min > opt.set_max)
        die("--set-min is above --set-max");
    if (!opt.seconds && !opt.fill)
        opt.seconds = SECONDS_DEFAULT;
    store_read_keys();
    readers_open();
    if (opt.fill)
        wire_init(&writer.wire, connect_server(), SILENCE_S);
    readers.start = clock_ns();
    if (opt.fill && pthread_create(&writer.thread, NULL, writer_run, NULL))
        die("no thread for the writer");
    read_at_rate();
    seconds = (double)(clock_ns() - readers.start) / (double)NSEC_PER_SEC;
    if (opt.fill) {
        pthread_join(writer.thread, NULL);
        wire_fini(&writer.wire);
    }
    print_result(seconds);
    readers_close();
    return readers.errors ? 1 : 0;
}
