/*
 * options.c -- the command line of larder-sim.
 */
#define _GNU_SOURCE
#include <getopt.h>

#include "common.h"
#include "sim.h"

static const char help[] =
    "usage: larder-sim [options] [TRACE]\n"
    "\n"
    "Runs a trace (format: see larder-sim(1); - or nothing: standard input)\n"
    "against caches in this process, by the trace's own time, and prints a table.\n"
    "A get that misses is followed by a set, as by a program before a database.\n"
    "\n"
    "  -m, --memory SIZES  with k, m or g: 16m,64m,256m (default 64m; each from 8m)\n"
    "  -w, --warmup N      do not count the first N requests, or the first N%\n"
    "  -n, --limit N       only the first N requests of the trace\n"
    "  -s, --speed X       X seconds of the trace are one second of the cache; times\n"
    "                      to live are divided by X too, and at least 1 (default 1)\n"
    "      --no-ttl        entries do not expire          --ttl  they do (default)\n"
    "      --no-cas        entries without a CAS number   --cas  with one (default)\n"
    "      --seed N        of the cache's hash (default 1): same seed, same result\n"
    "      --evict-report  also what was evicted, and what memory was used for\n"
    "  -j, --json          one JSON object instead of the table\n"
    "  -h, --help          this\n"
    "  -V, --version       its version\n"
    "\n"
    "All sizes are run at the same time: their sum has to fit into memory.\n"
    "The manual, larder-sim(1), explains the columns.\n";

enum word { WORD_TTL = 256, WORD_NO_TTL, WORD_CAS, WORD_NO_CAS, WORD_SEED, WORD_EVICT_REPORT };

static const struct option words[] = {
    {"memory", required_argument, NULL, 'm'},
    {"warmup", required_argument, NULL, 'w'},
    {"limit", required_argument, NULL, 'n'},
    {"speed", required_argument, NULL, 's'},
    {"ttl", no_argument, NULL, WORD_TTL},
    {"no-ttl", no_argument, NULL, WORD_NO_TTL},
    {"cas", no_argument, NULL, WORD_CAS},
    {"no-cas", no_argument, NULL, WORD_NO_CAS},
    {"seed", required_argument, NULL, WORD_SEED},
    {"evict-report", no_argument, NULL, WORD_EVICT_REPORT},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

/* Digits, and k, m, g or nothing behind them. */
static size_t
take_size(const char *text, size_t length)
{
    static const char units[] = "kmg";
    const char *unit = length ? memchr(units, text[length - 1] | 0x20, sizeof units - 1) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    uint64_t number;

    if (!parse_number(text, length - (unit != NULL), &number) || number > SIZE_MAX >> shift)
        die("--memory takes sizes like 64m or 2g, with commas between them, not \"%.*s\"",
            (int)length, text);
    if (number << shift < LARDER_MEMORY_BYTES_MIN)
        die("--memory %.*s: a cache needs at least 8m", (int)length, text);
    return (size_t)number << shift;
}

static void
take_sizes(struct sim_options *o, const char *text)
{
    o->size_count = 0;
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        struct sim_size *size = &o->sizes[o->size_count];

        if (o->size_count++ == SIM_SIZES_MAX)
            die("--memory: more than %d sizes", SIM_SIZES_MAX);
        size->bytes = take_size(at, length);
        if (length >= sizeof size->text)
            die("--memory %.*s: that is too long for a size", (int)length, at);
        memcpy(size->text, at, length);
        size->text[length] = '\0';
        at += length;
        if (!*at)
            return;
    }
}

static void
take_warmup(struct sim_options *o, const char *text)
{
    size_t length = strlen(text);
    char *end;

    o->warm = 0;
    o->warm_percent = -1;
    if (length && text[length - 1] == '%') {
        o->warm_percent = strtod(text, &end);
        if (end != text + length - 1 || !(o->warm_percent >= 0 && o->warm_percent <= 100))
            die("--warmup takes a share from 0%% to 100%%, not \"%s\"", text);
    } else if (!parse_number(text, length, &o->warm)) {
        die("--warmup takes a number of requests, or a share like 20%%, not \"%s\"", text);
    }
}

static void
take_word(struct sim_options *o, int word)
{
    switch (word) {
    case 'm':
        take_sizes(o, optarg);
        return;
    case 'w':
        take_warmup(o, optarg);
        return;
    case 'n':
        o->limit = option_number("--limit", optarg, 1, UINT64_MAX);
        return;
    case 's':
        o->speed = option_real("--speed", optarg);
        if (!(o->speed > 0 && o->speed <= 1e9))
            die("--speed takes a number above 0, not \"%s\"", optarg);
        return;
    case WORD_TTL:
    case WORD_NO_TTL:
        o->ttl = word == WORD_TTL;
        return;
    case WORD_CAS:
    case WORD_NO_CAS:
        o->cas = word == WORD_CAS;
        return;
    case WORD_SEED:
        o->seed = option_number("--seed", optarg, 1, UINT64_MAX);
        return;
    case WORD_EVICT_REPORT:
        o->evict_report = true;
        return;
    case 'j':
        o->json = true;
        return;
    case 'h':
        fputs(help, stdout);
        exit(0);
    case 'V':
        printf("larder-sim %s\n", larder_version());
        exit(0);
    }
    exit(2);                           /* getopt has said why */
}

void
sim_options_take(struct sim_options *o, int argc, char **argv)
{
    take_sizes(o, "64m");
    for (int word; (word = getopt_long(argc, argv, "m:w:n:s:jhV", words, NULL)) != -1;)
        take_word(o, word);
    if (optind < argc)
        o->trace_path = argv[optind++];
    if (optind < argc)
        die("%s: one trace at a time (--help lists the options)", argv[optind]);
    if (!strcmp(o->trace_path, "-") && isatty(STDIN_FILENO))
        die("no trace is named, and standard input is a terminal (--help lists the options)");
}
