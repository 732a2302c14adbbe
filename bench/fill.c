/*
 * fill.c -- stores numbered keys of 20 bytes, as fast as the server takes them.
 *
 *     fill --port P --first A --count N --value-bytes V --ttl S
 *
 * Sets go out in batches.  One that is refused for want of memory is counted,
 * every other must be answered STORED.  (memcached refuses some when it is
 * filled faster than its threads make room.)  Prints the refusals and seconds.
 * Exit status: 0 done, 2 an error reply or a failure.  One thread.
 */
#define _GNU_SOURCE
#include "common.h"
#include "wire.h"

#define KEY_FORMAT      "fill-%015" PRIu64 /* 20 bytes */
#define LINE_BYTES      96
#define BATCH_BYTES     (256u << 10)
#define BATCH_COUNT_MAX 1024
#define SILENCE_S       60
#define REFUSED         "SERVER_ERROR out of memory storing object"
#define VALUE_BYTES_MAX (1u << 20)

static struct {
    const char *port;
    uint64_t first, count, value_bytes, ttl_s;
} opt = {.port = "11211", .count = 1000000, .value_bytes = 100};

static const struct {
    const char *name;
    uint64_t *number;
    uint64_t max;
    const char *help;
} options[] = {
    {"--first", &opt.first, 1ull << 40, "number of the first key (default 0)"},
    {"--count", &opt.count, 1ull << 40, "keys (default 1000000)"},
    {"--value-bytes", &opt.value_bytes, VALUE_BYTES_MAX, "length of the values (default 100)"},
    {"--ttl", &opt.ttl_s, UINT32_MAX, "seconds to live (default 0: for ever)"},
};

#define OPTION_COUNT (sizeof options / sizeof options[0])

static void
parse_command_line(int argc, char **argv)
{
    for (int at = 1; at < argc; at += 2) {
        size_t i = 0;

        if (!strcmp(argv[at], "--help") || !strcmp(argv[at], "-h")) {
            puts("usage: fill [options]\n\nStores keys of 20 bytes on 127.0.0.1.\n\n"
                 "  --port P         of the server (default 11211)");
            for (i = 0; i < OPTION_COUNT; i++)
                printf("  %-13s N  %s\n", options[i].name, options[i].help);
            exit(0);
        }
        if (at + 1 == argc)
            die("%s: its value is missing", argv[at]);
        if (!strcmp(argv[at], "--port")) {
            opt.port = argv[at + 1];
            continue;
        }
        while (i < OPTION_COUNT && strcmp(argv[at], options[i].name))
            i++;
        if (i == OPTION_COUNT)
            die("%s: unknown option (--help lists them)", argv[at]);
        *options[i].number = option_number(argv[at], argv[at + 1], 0, options[i].max);
    }
}

static void
put_set(struct wire *w, uint64_t number, const char *value)
{
    char line[LINE_BYTES];
    int length = snprintf(line, sizeof line, "set " KEY_FORMAT " 0 %" PRIu64 " %" PRIu64 "\r\n",
                          number, opt.ttl_s, opt.value_bytes);

    wire_put(w, line, (size_t)length);
    wire_put(w, value, opt.value_bytes + 2);
}

/* Returns how many were refused. */
static uint64_t
fill(struct wire *w, const char *value)
{
    uint64_t depth = BATCH_BYTES / (opt.value_bytes + LINE_BYTES) + 1, past = opt.first + opt.count;
    uint64_t refused = 0;

    if (depth > BATCH_COUNT_MAX)
        depth = BATCH_COUNT_MAX;
    for (uint64_t at = opt.first; at < past; at += depth) {
        uint64_t end = at + depth < past ? at + depth : past;

        for (uint64_t i = at; i < end; i++)
            put_set(w, i, value);
        wire_flush(w);
        for (uint64_t i = at; i < end; i++) {
            struct span answer = wire_line(w);

            if (span_is(answer, REFUSED))
                refused++;
            else if (!span_is(answer, "STORED"))
                die("set was answered \"%.*s\"", (int)answer.length, answer.text);
        }
    }
    return refused;
}

int
main(int argc, char **argv)
{
    char *value;
    struct wire wire;
    uint64_t start, refused;

    parse_command_line(argc, argv);
    value = checked(malloc(opt.value_bytes + 2));
    memset(value, 'v', opt.value_bytes);
    memcpy(value + opt.value_bytes, "\r\n", 2);
    wire_init(&wire, connect_tcp("127.0.0.1", opt.port), SILENCE_S);
    start = clock_ns();
    refused = fill(&wire, value);
    printf("count=%" PRIu64 " refused=%" PRIu64 " seconds=%.3f\n", opt.count, refused,
           (double)(clock_ns() - start) / (double)NSEC_PER_SEC);
    wire_fini(&wire);
    free(value);
    return 0;
}
