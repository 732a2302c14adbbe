/*
 * test_settings.c -- the command line: the table against itself, every check, every form.
 *
 * Method: command lines are written with '|' between arguments, parsed with messages going to
 * memory, and compared with what memcached 1.6.45 says and does.  Lists that must be complete are
 * walked from the table itself, so a row that is added is a row that is tested.  What changes the
 * process (limits, user, background) runs in a child.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/version.h"
#include "server/daemon.h"
#include "server/options.h"
#include "server/privileges.h"
#include "server/settings.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One parsed command line.  Everything it owns goes in done(). */
struct run {
    struct settings s;
    enum settings_verdict verdict;
    int code;
    char *line, *out, *err;
    char *argv[64];
};

static void
parse(struct run *r, const char *line)
{
    size_t out_size, err_size;
    int argc = 0;

    memset(r, 0, sizeof(*r));
    r->code = -1;
    r->line = strdup(line);
    r->argv[argc++] = (char[]){"larderd"};
    for (char *at = r->line; *line && at;) {
        r->argv[argc++] = strsep(&at, "|");
        assert_true(argc < (int)COUNT(r->argv));
    }
    FILE *out = open_memstream(&r->out, &out_size), *err = open_memstream(&r->err, &err_size);
    r->verdict = settings_parse(&r->s, argc, r->argv, out, err, &r->code);
    fclose(out);
    fclose(err);
}

static void
done(struct run *r)
{
    settings_fini(&r->s);
    free(r->line);
    free(r->out);
    free(r->err);
}

/* The line must be refused with exactly this on stderr. */
static void
assert_refused(const char *line, int code, const char *message)
{
    struct run r;

    parse(&r, line);
    if (r.verdict != SETTINGS_EXIT || r.code != code || strncmp(r.err, message, strlen(message)) ||
        strcmp(r.err + strlen(message), "\n") != 0)
        fail_msg("%s: verdict %d, code %d (not %d), said: %s", line, (int)r.verdict, r.code, code,
                 r.err);
    done(&r);
}

/* A line that goes on; the caller calls done(). */
static void
accept(struct run *r, const char *line)
{
    parse(r, line);
    if (r->verdict != SETTINGS_RUN)
        fail_msg("%s: refused with %d: %s", line, r->code, r->err);
}

struct lookup {
    const char *name;
    char value[256];
    unsigned count;
};

static void
look(void *ctx, const char *name, const char *value)
{
    struct lookup *l = ctx;

    if (strcmp(name, l->name) == 0) {
        snprintf(l->value, sizeof(l->value), "%s", value);
        l->count++;
    }
}

static void
assert_shown(const struct settings *s, const char *name, const char *value)
{
    struct lookup l = {.name = name};

    settings_each(s, look, &l);
    assert_int_equal(l.count, 1);
    assert_string_equal(l.value, value);
}

/* ---- the table --------------------------------------------------------------------------- */

static void
every_row_is_complete(void **state)
{
    (void)state;
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        bool option = options_is_main(row) || row->sub;
        if (!option && !row->stat)
            fail_msg("row %u is neither an option nor shown", i);
        if (option && (!row->help || !row->help[0] || !row->take))
            fail_msg("row %u: an option without help or function", i);
        if (row->stat && !row->show)
            fail_msg("%s is shown by nobody", row->stat);
        if (row->show && !row->stat)
            fail_msg("row %u: shown without a name", i);
        if ((row->class == OPTION_LATER) != (row->feature != NULL))
            fail_msg("row %u: later means a feature is missing", i);
        if (row->sub && options_is_main(row))
            fail_msg("row %u: either main or -o", i);
        if (row->negatable && !row->sub)
            fail_msg("row %u: only suboptions have a no_ form", i);
    }
}

static bool
same_text(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static void
no_row_is_there_twice(void **state)
{
    (void)state;
    for (unsigned i = 0; i < options_count; i++) {
        for (unsigned j = 0; j < i; j++) {
            const struct option_row *a = &options_rows[i], *b = &options_rows[j];
            if ((a->letter && a->letter == b->letter) || same_text(a->name, b->name) ||
                same_text(a->sub, b->sub) || same_text(a->stat, b->stat))
                fail_msg("rows %u and %u are the same", j, i);
        }
    }
}

/* memcached 1.6.45 knows these and no others. */
static void
every_option_of_memcached_is_there(void **state)
{
    static const char letters[] = "aAZpsUmMckhiVrvdl:uPfntDLRCbBISFXWYeoN";
    static const char *const names[] = {
        "unix-mask", "enable-shutdown", "enable-ssl", "port", "unix-socket", "udp-port",
        "memory-limit", "disable-evictions", "conn-limit", "lock-memory", "help", "license",
        "version", "enable-coredumps", "verbose", "daemon", "listen", "user", "pidfile",
        "slab-growth-factor", "slab-min-size", "threads", "enable-largepages",
        "max-reqs-per-event", "disable-cas", "listen-backlog", "protocol", "max-item-size",
        "enable-sasl", "disable-flush-all", "disable-dumping", "disable-watch", "auth-file",
        "memory-file", "extended", "napi-ids", "print-man",
    };
    unsigned main_count = 0, name_count = 0;

    (void)state;
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        bool known = false;
        main_count += row->letter != 0;
        name_count += row->name != NULL;
        for (unsigned n = 0; row->name && n < COUNT(names); n++)
            known |= strcmp(row->name, names[n]) == 0;
        assert_true(known || !row->name);
        assert_true(!row->letter || strchr(letters, row->letter));
    }
    assert_int_equal(main_count, strlen(letters) - 1);      /* the colon is no option */
    assert_int_equal(name_count, COUNT(names));
}

static const char *const stat_names[] = {
    "maxbytes", "maxconns", "tcpport", "udpport", "inter", "verbosity", "oldest", "evictions",
    "domain_socket", "umask", "shutdown_command", "growth_factor", "chunk_size", "num_threads",
    "num_threads_per_udp", "stat_key_prefix", "detail_enabled", "reqs_per_event", "cas_enabled",
    "tcp_backlog", "binding_protocol", "auth_enabled_sasl", "auth_enabled_ascii", "item_size_max",
    "maxconns_fast", "hashpower_init", "slab_reassign", "slab_automove", "slab_automove_ratio",
    "slab_automove_window", "slab_chunk_max", "lru_crawler", "lru_crawler_sleep",
    "lru_crawler_tocrawl", "tail_repair_time", "flush_enabled", "dump_enabled", "hash_algorithm",
    "lru_maintainer_thread", "lru_segmented", "hot_lru_pct", "warm_lru_pct", "hot_max_factor",
    "warm_max_factor", "temp_lru", "temporary_ttl", "idle_timeout", "watcher_logbuf_size",
    "worker_logbuf_size", "read_buf_mem_limit", "track_sizes", "inline_ascii_response",
    "ext_item_size", "ext_item_age", "ext_low_ttl", "ext_recache_rate", "ext_wbuf_size",
    "ext_compact_under", "ext_drop_under", "ext_max_sleep", "ext_max_frag",
    "slab_automove_freeratio", "ext_drop_unread", "ssl_enabled", "ssl_chain_cert", "ssl_key",
    "ssl_verify_mode", "ssl_keyformat", "ssl_ciphers", "ssl_ca_cert", "ssl_wbuf_size",
    "ssl_session_cache", "ssl_kernel_tls", "ssl_min_version", "num_napi_ids", "memory_file",
    "client_flags_size",
};

static void
check_order(void *ctx, const char *name, const char *value)
{
    unsigned *at = ctx;

    assert_true(*at < COUNT(stat_names));
    assert_string_equal(name, stat_names[*at]);
    assert_true(value && value[0]);
    ++*at;
}

static void
stats_come_in_memcached_order(void **state)
{
    struct settings s;
    unsigned at = 0;

    (void)state;
    settings_init(&s);
    settings_each(&s, check_order, &at);
    assert_int_equal(at, COUNT(stat_names));
    settings_fini(&s);
}

static void
defaults_are_memcacheds(void **state)
{
    /* As recorded from 1.6.45, but for the two that larder decides otherwise. */
    static const char *const shown[][2] = {
        {"maxbytes", "67108864"}, {"maxconns", "1024"}, {"tcpport", "11211"}, {"udpport", "0"},
        {"inter", "NULL"}, {"verbosity", "0"}, {"oldest", "0"}, {"evictions", "on"},
        {"domain_socket", "NULL"}, {"umask", "700"}, {"shutdown_command", "no"},
        {"growth_factor", "1.25"}, {"chunk_size", "48"}, {"stat_key_prefix", ":"},
        {"detail_enabled", "no"}, {"reqs_per_event", "512"}, {"cas_enabled", "yes"},
        {"tcp_backlog", "1024"}, {"binding_protocol", "auto-negotiate"},
        {"auth_enabled_sasl", "no"}, {"auth_enabled_ascii", "no"}, {"item_size_max", "1048576"},
        {"maxconns_fast", "yes"}, {"hashpower_init", "0"}, {"slab_reassign", "yes"},
        {"slab_automove", "1"}, {"slab_automove_ratio", "0.80"}, {"slab_automove_window", "10"},
        {"slab_chunk_max", "524288"}, {"lru_crawler", "yes"}, {"lru_crawler_sleep", "100"},
        {"lru_crawler_tocrawl", "0"}, {"tail_repair_time", "0"}, {"flush_enabled", "yes"},
        {"dump_enabled", "yes"}, {"hash_algorithm", "murmur3"}, {"lru_maintainer_thread", "yes"},
        {"lru_segmented", "yes"}, {"hot_lru_pct", "20"}, {"warm_lru_pct", "40"},
        {"hot_max_factor", "0.20"}, {"warm_max_factor", "2.00"}, {"temp_lru", "no"},
        {"temporary_ttl", "61"}, {"idle_timeout", "0"}, {"watcher_logbuf_size", "262144"},
        {"worker_logbuf_size", "65536"}, {"read_buf_mem_limit", "0"}, {"track_sizes", "no"},
        {"inline_ascii_response", "no"}, {"ext_item_size", "512"},
        {"ext_item_age", "4294967295"}, {"ext_low_ttl", "0"}, {"ext_recache_rate", "2000"},
        {"ext_wbuf_size", "4194304"}, {"ext_compact_under", "0"}, {"ext_drop_under", "0"},
        {"ext_max_sleep", "1000000"}, {"ext_max_frag", "0.80"},
        {"slab_automove_freeratio", "0.010"}, {"ext_drop_unread", "no"}, {"ssl_enabled", "no"},
        {"ssl_chain_cert", "(null)"}, {"ssl_key", "(null)"}, {"ssl_verify_mode", "0"},
        {"ssl_keyformat", "1"}, {"ssl_ciphers", "NULL"}, {"ssl_ca_cert", "NULL"},
        {"ssl_wbuf_size", "16384"}, {"ssl_session_cache", "no"}, {"ssl_kernel_tls", "no"},
        {"ssl_min_version", "tlsv1.2"}, {"num_napi_ids", "0"}, {"memory_file", "(null)"},
        {"client_flags_size", "4"},
    };
    struct run r;
    char threads[16];

    (void)state;
    accept(&r, "");
    for (unsigned i = 0; i < COUNT(shown); i++)
        assert_shown(&r.s, shown[i][0], shown[i][1]);
    snprintf(threads, sizeof(threads), "%u", settings_cpus());
    assert_shown(&r.s, "num_threads", threads);
    assert_shown(&r.s, "num_threads_per_udp", threads);
    assert_true(r.s.threads >= 1);
    assert_true(r.s.watch_enabled);
    assert_false(r.s.daemon || r.s.core_dumps || r.s.lock_memory || r.s.huge_pages);
    assert_null(r.s.user);
    assert_null(r.s.pid_path);
    assert_int_equal(r.s.socket_mark, 0);
    done(&r);
}

/* ---- what is refused --------------------------------------------------------------------- */

struct refusal {
    const char *line;
    int code;
    const char *message;
};

static const struct refusal refusals[] = {
    {"-c|0", 1, "Maximum connections must be greater than 0"},
    {"-c|-3", 1, "Maximum connections must be greater than 0"},
    {"-t|0", 1, "Number of threads must be greater than 0"},
    {"-t|x", 1, "Number of threads must be greater than 0"},
    {"-R|0", 1, "Number of requests per event must be greater than 0"},
    {"-f|1", 1, "Factor must be greater than 1"},
    {"-f|abc", 1, "Factor must be greater than 1"},
    {"-n|0", 1, "Chunk size must be greater than 0"},
    {"-N|0", 1, "Maximum number of NAPI IDs must be greater than 0"},
    {"-D|", 1, "No delimiter specified"},
    {"-D|  ", 1, "No delimiter specified"},
    {"-B|x", 64, "Invalid value for binding protocol: x\n"
                 " -- should be one of auto, binary, or ascii"},
    {"-t|2|-N|3", 64, "Number of napi_ids(3) cannot be greater than number of threads(2)"},
    {"-I|512", 64, "Item max size cannot be less than 1024 bytes."
     " (-I is 512 bytes; its units are k and m)"},
    {"-I|", 64, "Item max size cannot be less than 1024 bytes."
     " (-I is 0 bytes; its units are k and m)"},
    {"-I|-5m", 64, "Item max size cannot be less than 1024 bytes."
     " (-I is 0 bytes; its units are k and m)"},
    {"-I|64m", 64, "Cannot set item size limit higher than 1/2 of memory max."
     " (-m is 64 MB, -I is 67108864 bytes)"},
    {"-I|4096m", 64, "Cannot set item size limit higher than 1/2 of memory max."
     " (-m is 64 MB, -I is 2147483647 bytes)"},
    {"-I|99999999999999999999m", 64, "Cannot set item size limit higher than 1/2 of memory max."
     " (-m is 64 MB, -I is 2147483647 bytes)"},
    {"-m|0", 64, "Cannot set item size limit higher than 1/2 of memory max."
     " (-m is 0 MB, -I is 1048576 bytes)"},
    {"-m|-1", 64, "Cannot set item size limit higher than 1/2 of memory max."
     " (-m is 0 MB, -I is 1048576 bytes)"},
    {"-m|1", 64, "Cannot set item size limit higher than 1/2 of memory max."
     " (-m is 1 MB, -I is 1048576 bytes)"},
    {"-I|1025m|-m|8192", 64, "Cannot set item size limit higher than a gigabyte."},
    {"-I|1k|-o|slab_chunk_max=512", 64,
     "slab_chunk_max (bytes: 524288) cannot be larger than -I (item_size_max 1024)"},
    {"-I|1500k|-o|slab_chunk_max=512", 64,
     "-I (item_size_max: 1536000) must be evenly divisible by slab_chunk_max (bytes: 524288)"},
    {"-I|3m|-o|slab_chunk_max=3072", 64, "slab_chunk_max (bytes: 3145728) must divide evenly into "
                                         "1048576 (slab_page_size)"},
    {"-o|hot_lru_pct=41", 64, "hot_lru_pct + warm_lru_pct cannot be more than 80% combined"},
    {"-o|temporary_ttl=5,no_lru_maintainer", 64,
     "temporary_ttl requires lru_maintainer to be enabled"},
    {"-o|temporary_ttl=5,no_modern", 64, "temporary_ttl requires lru_maintainer to be enabled"},
    {"-S|-B|ascii", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."},
    {"-S|-B|auto", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."},
    {"-S|-U|5", 64, "ERROR: Cannot enable UDP while using binary SASL authentication."},
    {"-Y|f|-B|auto", 64,
     "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens."},
    {"-Y|f|-B|binary", 64,
     "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens."},
    {"-Y|f|-U|5", 64, "Cannot use UDP with ascii authentication enabled (-U 0 to disable)"},
    {"-Z|-p|0", 64, "ERROR: You cannot enable SSL without a TCP port."},
    {"-p|65536", 64, "ERROR: Invalid port number 65536."},
    {"-p|-2", 64, "ERROR: Invalid port number -2."},
    {"-p|70000|-s|x", 64, "ERROR: Invalid port number 70000."},
    {"-p|99999999999", 64, "ERROR: Invalid port number 2147483647."},
    {"-U|70000", 64, "ERROR: Invalid port number 70000."},
    /* with several mistakes, the one memcached finds first */
    {"-p|70000|-I|512", 64, "Item max size cannot be less than 1024 bytes."
     " (-I is 512 bytes; its units are k and m)"},
    {"-p|70000|-S|-B|ascii", 64,
     "ERROR: You cannot allow the ASCII protocol while using SASL."},
    {"-t|2|-N|3|-I|512", 64, "Number of napi_ids(3) cannot be greater than number of threads(2)"},
    {"-o|hot_lru_pct=60,slab_sizes=3", 64, "slab size 3 is out of valid range"},
    {"-Z|-S|-B|ascii", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."},
    /* -o */
    {"-o|nosuch", 1, "Illegal suboption \"nosuch\""},
    {"-o|nosuch=5", 1, "Illegal suboption \"nosuch=5\""},
    {"-o|,", 1, "Illegal suboption \"\""},
    {"-o|modern,,modern", 1, "Illegal suboption \"\""},
    {"-o|modern, modern", 1, "Illegal suboption \" modern\""},
    {"-o|no_hashpower", 1, "Illegal suboption \"no_hashpower\""},
    {"-o|hashexpand", 1, "Illegal suboption \"hashexpand\""},
    {"-o|no_no_modern", 1, "Illegal suboption \"no_no_modern\""},
    {"-o|relaxed_privileges", 1, "Illegal suboption \"relaxed_privileges\""},
    {"-o|proxy_config=x", 1, "Illegal suboption \"proxy_config=x\""},
    {"-o|hashpower", 1, "Missing numeric argument for hashpower"},
    {"-o|hashpower=11", 1, "Initial hashtable multiplier of 11 is too low"},
    {"-o|hashpower=33", 1, "Initial hashtable multiplier of 33 is too high\n"
     "Choose a value based on \"STAT hash_power_level\" from a running instance"},
    {"-o|slab_automove=3", 1, "slab_automove must be between 0 and 2"},
    {"-o|slab_automove=-1", 1, "slab_automove must be between 0 and 2"},
    {"-o|slab_automove_ratio", 1, "Missing slab_automove_ratio argument"},
    {"-o|slab_automove_ratio=0", 1, "slab_automove_ratio must be > 0 and < 1"},
    {"-o|slab_automove_ratio=1.1", 1, "slab_automove_ratio must be > 0 and < 1"},
    {"-o|slab_automove_ratio=nan", 1, "slab_automove_ratio must be > 0 and < 1"},
    {"-o|slab_automove_window", 1, "Missing slab_automove_window argument"},
    {"-o|slab_automove_window=2", 1, "slab_automove_window must be > 2"},
    {"-o|slab_automove_freeratio", 1, "Missing slab_automove_freeratio argument"},
    {"-o|slab_automove_freeratio=x", 1, "could not parse argument to slab_automove_freeratio"},
    {"-o|tail_repair_time", 1, "Missing numeric argument for tail_repair_time"},
    {"-o|tail_repair_time=9", 1, "Cannot set tail_repair_time to less than 10 seconds"},
    {"-o|hash_algorithm", 1, "Missing hash_algorithm argument"},
    {"-o|hash_algorithm=md5", 1, "Unknown hash_algorithm option (jenkins, murmur3, xxh3)"},
    {"-o|lru_crawler_sleep", 1, "Missing lru_crawler_sleep value"},
    {"-o|lru_crawler_sleep=-1", 1, "LRU crawler sleep must be between 0 and 1 second"},
    {"-o|lru_crawler_sleep=1000001", 1, "LRU crawler sleep must be between 0 and 1 second"},
    {"-o|lru_crawler_tocrawl", 1, "Missing lru_crawler_tocrawl value"},
    {"-o|lru_crawler_tocrawl=x", 1, "lru_crawler_tocrawl takes a numeric 32bit value"},
    {"-o|lru_crawler_tocrawl=4294967296", 1, "lru_crawler_tocrawl takes a numeric 32bit value"},
    {"-o|hot_lru_pct", 1, "Missing hot_lru_pct argument"},
    {"-o|hot_lru_pct=0", 1, "hot_lru_pct must be > 1 and < 80"},
    {"-o|hot_lru_pct=80", 1, "hot_lru_pct must be > 1 and < 80"},
    {"-o|warm_lru_pct", 1, "Missing warm_lru_pct argument"},
    {"-o|warm_lru_pct=80", 1, "warm_lru_pct must be > 1 and < 80"},
    {"-o|hot_max_factor", 1, "Missing hot_max_factor argument"},
    {"-o|hot_max_factor=0", 1, "hot_max_factor must be > 0"},
    {"-o|warm_max_factor", 1, "Missing warm_max_factor argument"},
    {"-o|warm_max_factor=-1", 1, "warm_max_factor must be > 0"},
    {"-o|temporary_ttl", 1, "Missing temporary_ttl argument"},
    {"-o|idle_timeout", 1, "Missing numeric argument for idle_timeout"},
    {"-o|watcher_logbuf_size", 1, "Missing watcher_logbuf_size argument"},
    {"-o|watcher_logbuf_size=x", 1, "could not parse argument to watcher_logbuf_size"},
    {"-o|worker_logbuf_size", 1, "Missing worker_logbuf_size argument"},
    {"-o|worker_logbuf_size=-1", 1, "could not parse argument to worker_logbuf_size"},
    {"-o|read_buf_mem_limit", 1, "Missing read_buf_mem_limit argument"},
    {"-o|read_buf_mem_limit=5x", 1, "could not parse argument to read_buf_mem_limit"},
    {"-o|slab_chunk_max", 1, "Missing slab_chunk_max argument"},
    {"-o|slab_chunk_max=x", 1, "could not parse argument to slab_chunk_max"},
    {"-o|slab_chunk_max=0", 1, "could not parse argument to slab_chunk_max"},
    {"-o|slab_sizes", 1, "Missing slab_sizes argument"},
    {"-o|slab_sizes=10-20", 64, "slab size 10 is out of valid range"},
    {"-o|slab_sizes=a", 64, "slab size 0 is out of valid range"},
    {"-o|slab_sizes=100-524289", 64, "slab size 524289 is out of valid range"},
    {"-o|slab_sizes=100-100", 64,
     "slab size 100 cannot be lower than or equal to a previous class size"},
    {"-o|slab_sizes=100-108", 64,
     "slab size 108 must be at least 8 bytes larger than previous class"},
    {"-o|sock_cookie_id", 1, "Missing sock_cookie_id argument"},
    {"-o|sock_cookie_id=x", 1, "could not parse argument to sock_cookie_id"},
    {"-o|ext_path", 1, "missing argument to ext_path, ie: ext_path=/d/file:5G"},
    {"-o|ext_path=", 1, "failed to parse ext_path argument"},
    {"-o|ext_path=/x", 1, "must supply size to ext_path, ie: ext_path=/f/e:64m (M|G|T|P supported)"
                          "\nfailed to parse ext_path argument"},
    {"-o|ext_path=/x:1g:foo", 1,
     "Unknown extstore bucket: foo\nfailed to parse ext_path argument"},
    {"-o|ext_path=/x:1g,ext_page_size=2", 1,
     "Must specify ext_page_size before any ext_path arguments"},
    {"-o|ext_path=/x:1g|-U|5", 64, "Cannot use UDP with extstore enabled (-U 0 to disable)"},
    {"-o|ext_wbuf_size=1,ext_path=/x:1g:old|-I|2m", 64,
     "-I (item_size_max: 2097152) cannot be larger than ext_wbuf_size: 1048576"},
    {"-o|ext_page_size", 1, "Missing ext_page_size argument"},
    {"-o|ext_max_frag=x", 1, "could not parse argument to ext_max_frag"},
    {"-o|ext_item_size=x", 1, "could not parse argument to ext_item_size"},
    {"-o|ssl_chain_cert", 1, "Missing ssl_chain_cert argument"},
    {"-o|ssl_verify_mode=x", 1, "could not parse argument to ssl_verify_mode"},
    {"-o|ssl_verify_mode=4", 1, "Invalid ssl_verify_mode. Use help to see valid options."},
    {"-o|ssl_verify_mode=-1", 1, "Invalid ssl_verify_mode. Use help to see valid options."},
    {"-o|ssl_min_version=9", 1, "Invalid ssl_min_version. Use help to see valid options."},
    /* -l: when all else is well */
    {"-l|127.0.0.1:y", 71,
     "failed to listen on one of interface(s) 127.0.0.1:y: Invalid port number: \"y\""},
    {"-l|127.0.0.1:70000", 71,
     "failed to listen on one of interface(s) 127.0.0.1:70000: Invalid port number: \"70000\""},
    {"-l|127.0.0.1:-2", 71,
     "failed to listen on one of interface(s) 127.0.0.1:-2: Invalid port number: \"-2\""},
    {"-l|[::1", 71, "failed to listen on one of interface(s) [::1: Invalid IPV6 address: \"[::1\""},
    {"-l|[::1]5", 71,
     "failed to listen on one of interface(s) [::1]5: Invalid port number: \"5\""},
    {"-l|:5", 71, "failed to listen on one of interface(s) :5: an entry names no address"},
    {"-l|proto[foo]:x", 71,
     "failed to listen on one of interface(s) proto[foo]:x: Invalid protocol name: \"foo\""},
    {"-l|proto[ascii", 71,
     "failed to listen on one of interface(s) proto[ascii: Invalid protocol spec: \"[ascii\""},
    {"-l|proto[proxy]:x", 71, "failed to listen on one of interface(s) proto[proxy]:x: "
                              "proto[proxy]: larderd is not a proxy"},
    {"-l|tag[123456789]:x", 71,
     "failed to listen on one of interface(s) tag[123456789]:x: Listener tags must be between 1 "
     "and 8 characters: \"123456789\""},
    {"-l|tag[a", 71,
     "failed to listen on one of interface(s) tag[a: Invalid tag in socket config: \"[a\""},
    {"-l|proto[ascii]:a:1,b,proto[binary]:a:1", 71,
     "failed to listen on one of interface(s) proto[ascii]:a:1,b,proto[binary]:a:1: "
     "two protocols for \"a\""},
    {"-l|*|-l|proto[ascii]:*:11211", 71,
     "failed to listen on one of interface(s) *,proto[ascii]:*:11211: two protocols for \"*\""},
    {"-l|[::1|-p|70000", 64, "ERROR: Invalid port number 70000."},
    /* features to come, beside their rows in the table */
    {"-l|mtls:x", 1, "larderd: -l mtls:x: TLS does not exist in larderd " LARDER_VERSION " yet"},
};

static void
every_check_says_what_memcached_says(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT(refusals); i++)
        assert_refused(refusals[i].line, refusals[i].code, refusals[i].message);
}

static void
every_complaint_of_the_table_is_tested(void **state)
{
    (void)state;
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        bool complaint = !row->complaint, missing = !row->missing;
        for (unsigned r = 0; r < COUNT(refusals); r++) {
            complaint = complaint || strcmp(refusals[r].message, row->complaint) == 0;
            missing = missing || strcmp(refusals[r].message, row->missing) == 0;
        }
        if (!complaint || !missing)
            fail_msg("no test provokes: %s", complaint ? row->missing : row->complaint);
    }
}

/* getopt_long() says the rest itself. */
static void
unknown_options_are_illegal(void **state)
{
    static const char *const lines[] = {"-z", "--nosuch", "--max", "--max|5", "-p", "--port",
                                        "-dz", "--daemon=5", "--print"};

    (void)state;
    for (unsigned i = 0; i < COUNT(lines); i++)
        assert_refused(lines[i], 1, "Illegal argument \"?\"");
}

/* An argument that a row accepts. */
static const char *
sample(const struct option_row *row)
{
    static const char *const samples[][2] = {
        {"hashpower", "20"}, {"tail_repair_time", "10"}, {"slab_sizes", "100-200"},
        {"ext_path", "/x:1g"},
    };

    for (unsigned i = 0; row->sub && i < COUNT(samples); i++) {
        if (strcmp(row->sub, samples[i][0]) == 0)
            return samples[i][1];
    }
    return row->initial ? row->initial : "1";
}

/* "-f|1.25" or "-o|hashpower=20", and the same as it stands in messages. */
static void
compose(const struct option_row *row, bool negated, char *line, char *name, size_t size)
{
    bool argument = row->arg && row->arg[0] && !negated;

    if (row->letter) {
        snprintf(name, size, "-%c", row->letter);
        snprintf(line, size, "%s%s%s", name, argument ? "|" : "", argument ? sample(row) : "");
        return;
    }
    snprintf(name, size, "-o %s%s", negated ? "no_" : "", row->sub);
    snprintf(line, size, "-o|%s%s%s", name + 3, argument ? "=" : "", argument ? sample(row) : "");
}

static void
every_feature_to_come_is_refused(void **state)
{
    char line[128], name[128], message[256];
    unsigned count = 0;

    (void)state;
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        if (row->class != OPTION_LATER)
            continue;
        compose(row, false, line, name, sizeof(line));
        if (row->letter == 'U')
            snprintf(line, sizeof(line), "-U|11211");
        snprintf(message, sizeof(message), "larderd: %s: %s does not exist in larderd %s yet; "
                                           "start without it", name, row->feature, LARDER_VERSION);
        assert_refused(line, 1, message);
        count++;
    }
    assert_int_equal(count, 29);
}

static void
udp_turned_off_is_no_feature_to_come(void **state)
{
    struct run r;

    (void)state;
    accept(&r, "-U|0|-l|::1");
    assert_string_equal(r.err, "");
    assert_int_equal(r.s.tcp_port, 11211);
    done(&r);
}

/* ---- what has no effect ------------------------------------------------------------------ */

static void
every_untuned_option_is_named(void **state)
{
    char line[128], name[128], all[160], notice[256];
    struct run r;

    (void)state;
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        for (int negated = 0; negated <= row->negatable; negated++) {
            if (row->class != OPTION_NO_EFFECT)
                continue;
            compose(row, negated, line, name, sizeof(line));
            snprintf(all, sizeof(all), "-l|127.0.0.1|%s", line);
            snprintf(notice, sizeof(notice),
                     "larderd: notice: accepted, nothing to tune here: %s\n", name);
            accept(&r, all);
            if (same_text(row->sub, "resp_obj_mem_limit"))
                assert_non_null(strstr(r.err, notice));
            else
                assert_string_equal(r.err, notice);
            done(&r);
        }
    }
}

static void
one_notice_names_them_all(void **state)
{
    struct run r;

    (void)state;
    accept(&r, "-l|::1|-o|no_lru_crawler,hashpower=20|-f|1.1|-o|slab_reassign|-n|100|-f|1.2");
    assert_string_equal(r.err, "larderd: notice: accepted, nothing to tune here: -f, -n, "
                               "-o hashpower,slab_reassign,no_lru_crawler\n");
    done(&r);
}

static void
a_server_open_to_all_says_so(void **state)
{
    static const struct {
        const char *line;
        bool everywhere;
    } cases[] = {
        {"", true}, {"-l|*", true}, {"-l|0.0.0.0", true}, {"-l|127.0.0.1,[::]:5", true},
        {"-l|127.0.0.1", false}, {"-s|x", false}, {"-p|0", false}, {"-l|::1", false},
    };
    struct run r;

    (void)state;
    for (unsigned i = 0; i < COUNT(cases); i++) {
        accept(&r, cases[i].line);
        assert_int_equal(settings_listen_everywhere(&r.s), cases[i].everywhere);
        assert_int_equal(strstr(r.err, "all interfaces without authentication") != NULL,
                         cases[i].everywhere);
        done(&r);
    }
}

/* ---- what is accepted -------------------------------------------------------------------- */

struct effect {
    const char *line;
    const char *stat;
    const char *value;
};

static const struct effect effects[] = {
    {"-m|100", "maxbytes", "104857600"},
    {"-m| 100x", "maxbytes", "104857600"},
    {"-m1024", "maxbytes", "1073741824"},
    {"--memory-limit=100", "maxbytes", "104857600"},
    {"--memory-l|100", "maxbytes", "104857600"},
    {"-c|5", "maxconns", "5"},
    {"-p|abc", "tcpport", "0"},
    {"-p|1|-p|2", "tcpport", "2"},
    {"-p|-1", "tcpport", "-1"},
    {"-p|65535", "tcpport", "65535"},
    {"-l|127.0.0.1", "inter", "127.0.0.1"},
    {"-l|127.0.0.1|-l| ::1,[::1]:5", "inter", "127.0.0.1,::1,[::1]:5"},
    {"-vvv", "verbosity", "3"},
    {"-v|--verbose|--verbose=7", "verbosity", "3"},
    {"-M", "evictions", "off"},
    {"-s|/tmp/x", "domain_socket", "/tmp/x"},
    {"-a|0770", "umask", "770"},
    {"-a|999", "umask", "0"},
    {"-A", "shutdown_command", "yes"},
    {"-f|1.5", "growth_factor", "1.50"},
    {"-n|96", "chunk_size", "96"},
    {"-t|7", "num_threads", "7"},
    {"-t|7", "num_threads_per_udp", "7"},
    {"-D|/x", "stat_key_prefix", "/"},
    {"-D|/x", "detail_enabled", "yes"},
    {"-R|5", "reqs_per_event", "5"},
    {"-R|-5", "reqs_per_event", "1"},
    {"-C", "cas_enabled", "no"},
    {"-b|x", "tcp_backlog", "0"},
    {"-b|99999999999", "tcp_backlog", "2147483647"},
    {"-B|ascii", "binding_protocol", "ascii"},
    {"-B|auto", "binding_protocol", "auto-negotiate"},
    {"-B|binary", "binding_protocol", "binary"},
    {"--protocol=binary", "binding_protocol", "binary"},
    {"-I|2m", "item_size_max", "2097152"},
    {"-I|2M", "item_size_max", "2097152"},
    {"-I|512K", "item_size_max", "524288"},
    {"-I|1024m|-m|2048", "item_size_max", "1073741824"},
    {"-I|1k|-o|slab_chunk_max=1", "item_size_max", "1024"},
    {"-I|1k", "item_size_max", "1024"},
    {"-I|1500k", "item_size_max", "1536000"},
    {"-I|512k|-o|no_chunked_items", "item_size_max", "524288"},
    {"-I|2m|-o|slab_chunk_max=1024", "slab_chunk_max", "1048576"},
    {"-I|2m|-o|no_chunked_items", "slab_chunk_max", "524288"},
    {"-F", "flush_enabled", "no"},
    {"-X", "dump_enabled", "no"},
    {"-N|1", "num_napi_ids", "1"},
    {"-o|no_maxconns_fast", "maxconns_fast", "no"},
    {"-o|no_maxconns_fast,maxconns_fast=9", "maxconns_fast", "yes"},
    {"-o|no_maxconns_fast|-o|maxconns_fast", "maxconns_fast", "yes"},
    {"-o|modern,", "maxconns_fast", "yes"},
    {"-o|", "maxconns_fast", "yes"},
    {"-o|no_modern", "maxconns_fast", "no"},
    {"-o|no_modern", "slab_chunk_max", "1048576"},
    {"-o|slab_chunk_max=256,no_modern", "slab_chunk_max", "262144"},
    {"-o|no_modern", "hash_algorithm", "jenkins"},
    {"-o|no_modern", "lru_segmented", "no"},
    {"-o|no_modern,lru_maintainer", "lru_segmented", "yes"},
    {"-o|no_modern", "slab_automove", "0"},
    {"-o|hashpower=32", "hashpower_init", "32"},
    {"-o|no_slab_reassign", "slab_reassign", "no"},
    {"-o|no_slab_automove", "slab_automove", "0"},
    {"-o|no_slab_automove,slab_automove", "slab_automove", "1"},
    {"-o|slab_automove=2", "slab_automove", "2"},
    {"-o|slab_automove_ratio=1", "slab_automove_ratio", "1.00"},
    {"-o|no_lru_maintainer", "lru_maintainer_thread", "no"},
    {"-o|no_lru_maintainer", "lru_segmented", "no"},
    {"-o|temporary_ttl=30", "temp_lru", "yes"},
    {"-o|temporary_ttl=30", "temporary_ttl", "30"},
    {"-o|idle_timeout=60", "idle_timeout", "60"},
    {"-o|idle_timeout=-60", "idle_timeout", "0"},
    {"-o|track_sizes", "track_sizes", "yes"},
    {"-o|inline_ascii_resp", "inline_ascii_response", "no"},
    {"-o|hash_algorithm=xxh3", "hash_algorithm", "xxh3"},
    {"-o|watcher_logbuf_size=4", "watcher_logbuf_size", "4096"},
    {"-o|read_buf_mem_limit=2", "read_buf_mem_limit", "2097152"},
    {"-o|slab_automove_freeratio=0.05", "slab_automove_freeratio", "0.050"},
    {"-AMFvt3", "num_threads", "3"},
    {"stray|-t|3|words", "num_threads", "3"},
    {"-t|3|--|-t|4", "num_threads", "3"},
};

static void
every_form_is_read(void **state)
{
    struct run r;

    (void)state;
    for (unsigned i = 0; i < COUNT(effects); i++) {
        accept(&r, effects[i].line);
        struct lookup l = {.name = effects[i].stat};
        settings_each(&r.s, look, &l);
        if (strcmp(l.value, effects[i].value) != 0)
            fail_msg("%s: %s is %s, not %s", effects[i].line, l.name, l.value, effects[i].value);
        done(&r);
    }
}

static void
what_is_left_of_a_number_is_said(void **state)
{
    static const struct {
        const char *line, *notice;
    } cases[] = {
        {"-m|100g", "-m 100g: read as 100 (MB)"},
        {"-c|10k", "-c 10k: read as 10"},
        {"-p|abc", "-p abc: read as 0"},
        {"-p|80x", "-p 80x: read as 80"},
        {"-p|", "-p : read as 0"},
        {"-b|99999999999x", "-b 99999999999x: read as 2147483647"},
        {"-R|5x", "-R 5x: read as 5"},
        {"-a|8", "-a 8: read as 000 (octal)"},
        {"-a|0708", "-a 0708: read as 070 (octal)"},
        {"-I|1.5m", "-I 1.5m: read as 1048576 bytes"},
        {"-I|1048576b", "-I 1048576b: read as 1048576 bytes"},
        {"-f|1.5x", "-f 1.5x: read as 1.5"},
        {"-o|idle_timeout=abc", "-o idle_timeout=abc: read as 0 (seconds)"},
        {"-o|hashpower=20x", "-o hashpower=20x: read as 20"},
    };
    char notice[128];
    struct run r;

    (void)state;
    for (unsigned i = 0; i < COUNT(cases); i++) {
        accept(&r, cases[i].line);
        snprintf(notice, sizeof(notice), "larderd: notice: %s\n", cases[i].notice);
        if (!strstr(r.err, notice))
            fail_msg("%s: no \"%s\", but: %s", cases[i].line, cases[i].notice, r.err);
        done(&r);
    }
    accept(&r, "-m|9x|-m| 100 |-I|1M|-c|10|-l|::1|-a|0770|-o|idle_timeout=5");
    assert_string_equal(r.err, "");
    done(&r);
}

static void
what_stats_do_not_show_is_read_too(void **state)
{
    struct run r;

    (void)state;
    accept(&r, "-dkrW|-u| nobody|-P|/x/pid|-o|sock_cookie_id=42|--user|daemon");
    assert_true(r.s.daemon && r.s.lock_memory && r.s.core_dumps && !r.s.watch_enabled);
    assert_string_equal(r.s.user, "daemon");
    assert_string_equal(r.s.pid_path, "/x/pid");
    assert_int_equal(r.s.socket_mark, 42);
    done(&r);
}

static void
many_threads_get_a_warning(void **state)
{
    struct run r;

    (void)state;
    accept(&r, "-t|64|-l|::1");
    assert_string_equal(r.err, "");
    done(&r);
    accept(&r, "-t|65|-l|::1");
    assert_non_null(strstr(r.err, "WARNING: Setting a high number of worker threads"));
    assert_int_equal(r.s.threads, 65);
    done(&r);
}

/* Numbers as atoi() takes them, without its undefined behaviour. */
static void
numbers_are_read_as_atoi_does(void **state)
{
    uint32_t n = 7;

    (void)state;
    assert_int_equal(opt_number("12"), 12);
    assert_int_equal(opt_number("  +12abc"), 12);
    assert_int_equal(opt_number("abc"), 0);
    assert_int_equal(opt_number(""), 0);
    assert_int_equal(opt_number("99999999999999999999"), INT_MAX);
    assert_int_equal(opt_number("-99999999999999999999"), INT_MIN);
    assert_false(opt_number_strict("", &n));
    assert_false(opt_number_strict("x", &n));
    assert_false(opt_number_strict("5x", &n));
    assert_false(opt_number_strict("-1", &n));
    assert_false(opt_number_strict("4294967296", &n));
    assert_false(opt_number_strict("99999999999999999999", &n));
    assert_int_equal(n, 7);
    assert_true(opt_number_strict("4294967295", &n));
    assert_true(n == UINT32_MAX);
    assert_true(opt_number_strict("5 x", &n));
    assert_int_equal(n, 5);
}

/* ---- -l ---------------------------------------------------------------------------------- */

/* The list as host:port,... with * and -1 for any; a trailing a or b for ascii or binary only. */
static void
print_listens(const struct settings *s, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < s->listen_count; i++) {
        const struct listen_spec *l = &s->listens[i];
        used += (size_t)snprintf(text + used, size - used, "%s%s %d%s%s", i ? ", " : "",
                                 l->host ? l->host : "*", l->port, l->has_port ? "!" : "",
                                 l->protocol == SETTINGS_ASCII ? "a"
                                 : l->protocol == SETTINGS_BINARY ? "b" : "");
        assert_true(used < size);
    }
}

static void
listen_lists_are_taken_apart(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"-l|127.0.0.1", "127.0.0.1 11211"},
        {"-l|127.0.0.1|-p|5", "127.0.0.1 5"},
        {"-l|127.0.0.1:6|-p|5", "127.0.0.1 6!"},
        {"-l|a,b;c:1", "a 11211, b 11211, c 1!"},
        {"-l|a|-l|b", "a 11211, b 11211"},
        {"-l|a,,a;a", "a 11211"},
        {"-l|a|-l|a:11211", "a 11211"},
        {"-l|a:1,a:2", "a 1!, a 2!"},
        {"-l|10.0.0.11|-l|10.0.0.1", "10.0.0.11 11211, 10.0.0.1 11211"},
        {"-l|a:0|-l|b:-1", "a -1!, b -1!"},
        {"-l|*", "* 11211"},
        {"-l|*:7", "* 7!"},
        {"-l|::1", "::1 11211"},
        {"-l|[::1]", "::1 11211"},
        {"-l|[::1]:9", "::1 9!"},
        {"-l|proto[ascii]:a:1|-l|proto[ascii]:a:1", "a 1!a"},
        {"-l|proto[ascii]:a:0,proto[binary]:a:0", "a -1!a, a -1!b"},
        {"-l|notls:a:1", "a 1!"},
        {"-l|proto[ascii]:a:1", "a 1!a"},
        {"-l|proto[binary]:a:1,b,proto[negotiating]:c|-B|ascii", "a 1!b, b 11211a, c 11211"},
        {"-l|proto[negotiating]:a:1|-B|ascii", "a 1!"},
        {"-l|a|-B|ascii", "a 11211a"},
        {"-l|tag[blue]:a:1", "a 1!"},
        {"-l|tag_x_:a:1", "a 1!"},
        {"-l|notls:proto[ascii]:tag[b]:[::1]:1", "::1 1!a"},
        {"-l|taghost,protohost", "taghost 11211, protohost 11211"},
        {"-l|a:b|-s|x", ""},        /* not looked at without TCP */
        {"-l|a:b|-p|0", ""},
        {"-l|a|-p|-1", "a -1"},
    };
    char text[256];
    struct run r;

    (void)state;
    for (unsigned i = 0; i < COUNT(cases); i++) {
        accept(&r, cases[i][0]);
        print_listens(&r.s, text, sizeof(text));
        assert_string_equal(text, cases[i][1]);
        done(&r);
    }
}

/* ---- what is printed --------------------------------------------------------------------- */

static void
help_fits_a_screen(void **state)
{
    unsigned lines = 0;
    char word[64];
    struct run r;

    (void)state;
    parse(&r, "-m|100|--help|-c|0");        /* at once; what follows is not looked at */
    assert_int_equal(r.verdict, SETTINGS_EXIT);
    assert_int_equal(r.code, 0);
    assert_string_equal(r.err, "");
    for (const char *at = r.out; *at; at += strcspn(at, "\n") + 1, lines++)
        assert_true(strcspn(at, "\n") <= 80);
    assert_in_range(lines, 30, 50);
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        if (row->group == OPTION_HIDDEN || (row->class == OPTION_LATER && row->sub))
            continue;
        if (row->letter)
            snprintf(word, sizeof(word), " -%c", row->letter);
        else
            snprintf(word, sizeof(word), "%s", row->sub ? row->sub : "");
        if (!strstr(r.out, word))
            fail_msg("--help does not name %s", word);
    }
    done(&r);
}

static void
man_page_has_every_option(void **state)
{
    struct run r;
    char word[128];

    (void)state;
    parse(&r, "--print-man");
    assert_int_equal(r.verdict, SETTINGS_EXIT);
    assert_int_equal(r.code, 0);
    assert_string_equal(r.err, "");
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        if (!row->sub && !options_is_main(row))
            continue;
        if (row->letter)
            snprintf(word, sizeof(word), "\n\\fB\\-%c\\fR", row->letter);
        else
            snprintf(word, sizeof(word), "\\fB%s\\fR", row->sub ? row->sub : "print");
        if (!strstr(r.out, word) != (row->group == OPTION_HIDDEN))
            fail_msg("man page: %s", word);
    }
    /* requests of the man macros only, and no dash that is a hyphen before an option */
    for (const char *at = r.out; *at; at += strcspn(at, "\n") + 1) {
        if (*at == '.')
            assert_true(strchr("TSBIP", at[1]) != NULL);
        assert_true(*at != '\'');
    }
    assert_null(strstr(r.out, "fB-"));
    done(&r);
}

static void
version_and_license_are_printed(void **state)
{
    struct run r;

    (void)state;
    parse(&r, "-V");
    assert_int_equal(r.code, 0);
    assert_string_equal(r.out, "larderd " LARDER_VERSION "\nspeaks memcached 1.6.45\n");
    done(&r);
    parse(&r, "-i");
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.out, "Copyright (c) larder contributors"));
    assert_non_null(strstr(r.out, "DAMAGE.\n"));
    done(&r);
    assert_refused("-c|0|-V", 1, "Maximum connections must be greater than 0");
    parse(&r, "-Z|-p|70000|-V");
    assert_int_equal(r.code, 0);
    done(&r);
}

/* ---- CPUs and large pages ---------------------------------------------------------------- */

static char folder[64];

static int
make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/test_settings.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int
remove_folder(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

/* Path in the folder; valid until four further calls. */
static const char *
in_folder(const char *name)
{
    static char paths[4][160];
    static unsigned at;
    char *path = paths[at++ % COUNT(paths)];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static void
write_file(const char *name, const char *text)
{
    const char *path = in_folder(name);

    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static unsigned
quota(const char *root, const char *membership)
{
    write_file("membership", membership);
    return settings_cpus_quota(in_folder(root), in_folder("membership"));
}

static void
quota_of_version_2_binds_at_every_level(void **state)
{
    (void)state;
    write_file("v2/cpu.max", "max 100000\n");
    write_file("v2/a/cpu.max", "250000 100000\n");
    write_file("v2/a/b/cpu.max", "max 100000\n");
    write_file("v2/a/c/cpu.max", "50000 100000\n");
    write_file("v2/bad/cpu.max", "nonsense\n");
    assert_int_equal(quota("v2", "0::/\n"), 0);
    assert_int_equal(quota("v2", "0::/a\n"), 3);
    assert_int_equal(quota("v2", "0::/a/b\n"), 3);
    assert_int_equal(quota("v2", "0::/a/c\n"), 1);
    assert_int_equal(quota("v2", "0::/bad\n"), 0);
    assert_int_equal(quota("v2", "0::/not/there\n"), 0);
    assert_int_equal(quota("v2", "nonsense\n"), 0);
    assert_int_equal(quota("v2", ""), 0);
    assert_int_equal(settings_cpus_quota(in_folder("v2"), in_folder("no such file")), 0);
}

static void
quota_of_version_1_binds_too(void **state)
{
    (void)state;
    write_file("v1/cpu,cpuacct/cpu.cfs_quota_us", "400000\n");
    write_file("v1/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    write_file("v1/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
    write_file("v1/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
    write_file("v1/cpu,cpuacct/y/cpu.cfs_quota_us", "100001\n");
    write_file("v1/cpu,cpuacct/y/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota("v1", "4:cpu,cpuacct:/x\n"), 4);
    assert_int_equal(quota("v1", "5:memory:/x\n4:cpu,cpuacct:/y\n0::/\n"), 2);
    assert_int_equal(quota("v1", "4:cpu,cpuacct:/host/path\n"), 4);
    assert_int_equal(quota("v1", "4:cpuacct:/y\n"), 0);
}

static void
at_least_one_cpu_may_be_used(void **state)
{
    (void)state;
    assert_in_range(settings_cpus(), 1, 1u << 20);
}

static void
large_pages_need_the_kernel(void **state)
{
    (void)state;
    write_file("thp", "always [madvise] never\n");
    assert_null(opt_huge_pages_problem(in_folder("thp")));
    write_file("thp", "always madvise [never]\n");
    assert_string_equal(opt_huge_pages_problem(in_folder("thp")),
                        "Transparent huge pages support disabled.");
    write_file("thp", "");
    assert_string_equal(opt_huge_pages_problem(in_folder("thp")),
                        "Transparent huge pages could not read configuration.");
    assert_string_equal(opt_huge_pages_problem(in_folder("no such file")),
                        "Transparent huge pages support not detected.");
}

/* ---- limits, user, background: in a child ------------------------------------------------ */

/* Runs body in a child whose stderr is captured; returns its exit code. */
static int
in_child(int (*body)(void), char *said, size_t size)
{
    int fds[2], status;
    size_t used = 0;
    ssize_t n;

    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        _exit(body());
    }
    close(fds[1]);
    while ((n = read(fds[0], said + used, size - 1 - used)) > 0)
        used += (size_t)n;
    said[used] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int
drop_to_nobody_knows_whom(void)
{
    return privileges_drop("no-such-user-here", false);
}

static int
drop_without_a_name(void)
{
    return privileges_drop(NULL, false);
}

static int
drop_with_an_empty_name(void)
{
    return privileges_drop("", false);
}

static int
drop_to_nobody(void)
{
    int code = privileges_drop("nobody", true);

    return code ? code : getuid() == 0 || geteuid() == 0 || getgid() == 0 || getgroups(0, NULL);
}

static void
root_must_say_who_to_become(void **state)
{
    char said[512];

    (void)state;
    if (geteuid() != 0) {
        assert_int_equal(in_child(drop_without_a_name, said, sizeof(said)), 0);
        assert_string_equal(said, "");
        return;
    }
    assert_int_equal(in_child(drop_without_a_name, said, sizeof(said)), 64);
    assert_string_equal(said, "must add '-u root' to start as root, or '-u nobody' to run as "
                              "somebody else\n");
    assert_int_equal(in_child(drop_with_an_empty_name, said, sizeof(said)), 64);
    assert_int_equal(in_child(drop_to_nobody_knows_whom, said, sizeof(said)), 67);
    assert_string_equal(said, "can't find the user no-such-user-here to switch to\n");
    assert_int_equal(in_child(drop_to_nobody, said, sizeof(said)), 0);
    assert_string_equal(said, "");
}

static void
limit_files(rlim_t soft, rlim_t hard)
{
    struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};

    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        _exit(99);
}

static int
files_within_the_hard_limit(void)
{
    struct rlimit limit;
    unsigned conns = 200;

    limit_files(20, 300);
    int code = privileges_allow_files(&conns, 40);
    getrlimit(RLIMIT_NOFILE, &limit);
    return code ? code : conns != 200 || limit.rlim_cur != 240 || limit.rlim_max != 300;
}

static int
files_that_suffice_stay(void)
{
    struct rlimit limit;
    unsigned conns = 200;

    limit_files(280, 300);
    int code = privileges_allow_files(&conns, 40);
    getrlimit(RLIMIT_NOFILE, &limit);
    return code ? code : conns != 200 || limit.rlim_cur != 280;
}

/* Root could raise the hard limit, so it must be somebody else. */
static int
become_somebody(void)
{
    return geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0);
}

static int
files_for_connections_only(void)
{
    unsigned conns = 290;

    limit_files(20, 300);
    if (become_somebody())
        return 98;
    int code = privileges_allow_files(&conns, 40);
    return code ? code : conns != 260;
}

static int
files_not_even_for_connections(void)
{
    unsigned conns = 301;

    limit_files(20, 300);
    return become_somebody() ? 98 : privileges_allow_files(&conns, 40);
}

static void
file_limit_is_raised_as_far_as_needed(void **state)
{
    char said[512];

    (void)state;
    assert_int_equal(in_child(files_within_the_hard_limit, said, sizeof(said)), 0);
    assert_string_equal(said, "");
    assert_int_equal(in_child(files_that_suffice_stay, said, sizeof(said)), 0);
    assert_int_equal(in_child(files_for_connections_only, said, sizeof(said)), 0);
    assert_string_equal(said, "larderd: notice: the limit of 300 open files leaves room for 260 of "
                              "the 290 connections of -c\n");
    assert_int_equal(in_child(files_not_even_for_connections, said, sizeof(said)), 71);
    assert_string_equal(said, "failed to set rlimit for open files. Try starting as root or "
                              "requesting smaller maxconns value. (341 are needed, 300 are "
                              "allowed)\n");
}

static int
core_files_forbidden(void)
{
    struct rlimit none = {0, 0};

    return setrlimit(RLIMIT_CORE, &none) || become_somebody() ? 98 : privileges_allow_core();
}

static int
core_files_up_to_the_hard_limit(void)
{
    struct rlimit limit = {0, 4096};

    if (setrlimit(RLIMIT_CORE, &limit) || become_somebody())
        return 98;
    int code = privileges_allow_core();
    getrlimit(RLIMIT_CORE, &limit);
    return code ? code : limit.rlim_cur != 4096;
}

static void
core_limit_is_raised(void **state)
{
    char said[512];

    (void)state;
    assert_int_equal(in_child(core_files_up_to_the_hard_limit, said, sizeof(said)), 0);
    assert_string_equal(said, "");
    assert_int_equal(in_child(core_files_forbidden, said, sizeof(said)), 71);
    assert_string_equal(said, "failed to ensure corefile creation\n");
}

/* The daemon writes what it sees into a file and then says that it is ready. */
static int
daemon_that_becomes_ready(void)
{
    struct daemon_wait wait = {0};
    char directory[PATH_MAX];

    if (daemon_start(&wait, false) != 0)
        return 97;
    FILE *f = fopen(in_folder("daemon"), "w");
    fprintf(f, "%s %d", getcwd(directory, sizeof(directory)), getsid(0) == getpid());
    fclose(f);
    if (daemon_ready(&wait, false) != 0)
        return 96;
    fprintf(stderr, "nobody hears this");
    return 0;
}

static int
daemon_that_fails(void)
{
    struct daemon_wait wait = {0};

    if (daemon_start(&wait, true) != 0)
        return 97;
    fprintf(stderr, "port taken\n");
    return 71;
}

static int
daemon_that_is_killed(void)
{
    struct daemon_wait wait = {0};

    if (daemon_start(&wait, true) != 0)
        return 97;
    signal(SIGABRT, SIG_DFL);
    raise(SIGKILL);
    return 0;
}

static void
read_file(const char *name, char *text, size_t size)
{
    FILE *f = fopen(in_folder(name), "r");

    assert_non_null(f);
    text[fread(text, 1, size - 1, f)] = '\0';
    fclose(f);
}

static void
parent_waits_for_the_daemon(void **state)
{
    char said[512], text[64];

    (void)state;
    assert_int_equal(in_child(daemon_that_becomes_ready, said, sizeof(said)), 0);
    assert_string_equal(said, "");
    read_file("daemon", text, sizeof(text));
    assert_string_equal(text, "/ 1");
    assert_int_equal(in_child(daemon_that_fails, said, sizeof(said)), 71);
    assert_string_equal(said, "port taken\n");
    assert_int_equal(in_child(daemon_that_is_killed, said, sizeof(said)), 1);
}

static int
write_pid(void)
{
    daemon_write_pid(in_folder("pid"));
    return 0;
}

static int
write_pid_nowhere(void)
{
    daemon_write_pid(in_folder("no/such/folder/pid"));
    return 0;
}

static int
remove_pid(void)
{
    daemon_remove_pid(in_folder("pid"));
    return 0;
}

static int
write_and_remove_pid(void)
{
    daemon_write_pid(in_folder("pid"));
    daemon_remove_pid(in_folder("pid"));
    return 0;
}

static void
pid_file_appears_complete(void **state)
{
    char said[512], text[64], expected[128];

    (void)state;
    assert_int_equal(in_child(write_pid, said, sizeof(said)), 0);
    assert_string_equal(said, "");
    read_file("pid", text, sizeof(text));
    assert_true(atol(text) > 1 && text[strlen(text) - 1] == '\n');
    assert_int_equal(access(in_folder("pid.tmp"), F_OK), -1);
    /* that child is gone: no warning */
    in_child(write_pid, said, sizeof(said));
    assert_string_equal(said, "");
    snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    write_file("pid", text);
    in_child(write_pid, said, sizeof(said));
    snprintf(expected, sizeof(expected),
             "WARNING: The pid file contained the following (running) pid: %ld\n", (long)getpid());
    assert_string_equal(said, expected);
    write_file("pid", "-1\n");
    in_child(write_pid, said, sizeof(said));
    assert_string_equal(said, "");
    in_child(remove_pid, said, sizeof(said));       /* it is another's */
    assert_string_equal(said, "");
    assert_int_equal(access(in_folder("pid"), F_OK), 0);
    in_child(write_and_remove_pid, said, sizeof(said));
    assert_string_equal(said, "");
    assert_int_equal(access(in_folder("pid"), F_OK), -1);
    in_child(remove_pid, said, sizeof(said));
    assert_non_null(strstr(said, "Could not remove the pid file"));
    in_child(write_pid_nowhere, said, sizeof(said));
    assert_non_null(strstr(said, "Could not open the pid file"));
    assert_non_null(strstr(said, "No such file or directory"));
}

static void
ports_are_written_for_those_who_ask(void **state)
{
    struct port_file p;
    char text[64];

    (void)state;
    unsetenv("MEMCACHED_PORT_FILENAME");
    port_file_open(&p);
    port_file_add(&p, "TCP", false, 1);
    port_file_close(&p);
    setenv("MEMCACHED_PORT_FILENAME", in_folder("ports"), 1);
    port_file_open(&p);
    port_file_add(&p, "TCP", false, 4711);
    port_file_add(&p, "TCP", true, 4712);
    assert_int_equal(access(in_folder("ports"), F_OK), -1);
    assert_int_equal(access(in_folder("ports.lck"), F_OK), 0);
    port_file_close(&p);
    unsetenv("MEMCACHED_PORT_FILENAME");
    read_file("ports", text, sizeof(text));
    assert_string_equal(text, "TCP INET: 4711\nTCP INET6: 4712\n");
    assert_int_equal(access(in_folder("ports.lck"), F_OK), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(no_row_is_there_twice),
        cmocka_unit_test(every_option_of_memcached_is_there),
        cmocka_unit_test(stats_come_in_memcached_order),
        cmocka_unit_test(defaults_are_memcacheds),
        cmocka_unit_test(every_check_says_what_memcached_says),
        cmocka_unit_test(every_complaint_of_the_table_is_tested),
        cmocka_unit_test(unknown_options_are_illegal),
        cmocka_unit_test(every_feature_to_come_is_refused),
        cmocka_unit_test(udp_turned_off_is_no_feature_to_come),
        cmocka_unit_test(every_untuned_option_is_named),
        cmocka_unit_test(one_notice_names_them_all),
        cmocka_unit_test(a_server_open_to_all_says_so),
        cmocka_unit_test(every_form_is_read),
        cmocka_unit_test(what_is_left_of_a_number_is_said),
        cmocka_unit_test(what_stats_do_not_show_is_read_too),
        cmocka_unit_test(many_threads_get_a_warning),
        cmocka_unit_test(numbers_are_read_as_atoi_does),
        cmocka_unit_test(listen_lists_are_taken_apart),
        cmocka_unit_test(help_fits_a_screen),
        cmocka_unit_test(man_page_has_every_option),
        cmocka_unit_test(version_and_license_are_printed),
        cmocka_unit_test(quota_of_version_2_binds_at_every_level),
        cmocka_unit_test(quota_of_version_1_binds_too),
        cmocka_unit_test(at_least_one_cpu_may_be_used),
        cmocka_unit_test(large_pages_need_the_kernel),
        cmocka_unit_test(root_must_say_who_to_become),
        cmocka_unit_test(file_limit_is_raised_as_far_as_needed),
        cmocka_unit_test(core_limit_is_raised),
        cmocka_unit_test(parent_waits_for_the_daemon),
        cmocka_unit_test(pid_file_appears_complete),
        cmocka_unit_test(ports_are_written_for_those_who_ask),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
