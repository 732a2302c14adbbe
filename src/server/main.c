/*
 * main.c -- larderd: the parts are made, wired together, run, and taken apart again.
 *
 * This is the only place that knows all of them.  The order is memcached's: privileges are dropped
 * before anything is opened, the daemon forks before there are threads, clients are let in when
 * all is ready.
 *
 * SIGINT and SIGTERM end the process, as does SIGUSR1, which says so; SIGHUP and SIGPIPE are
 * ignored.  All take the same way out: the threads are joined, so that a leak or a lock that is
 * still held would show.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "conn/conn.h"
#include "daemon.h"
#include "keeper.h"
#include "memory.h"
#include "obs/log.h"
#include "privileges.h"
#include "settings.h"
#include "stats.h"
#include "workers.h"

#define BYTES_PER_TURN ((size_t)256 << 10)
#define FDS_PER_WORKER 4u
#define FDS_BASE 32u
#define MEMORY_BYTES_MIN ((size_t)8 << 20)
#define MEMORY_BYTES_PER_THREAD ((size_t)512 << 10)
#define THREADS_MAX 1000u
#define BASE_BYTES ((size_t)4 << 20)   /* beside -m: code, libraries, and for each worker ... */
#define BASE_BYTES_PER_THREAD ((size_t)256 << 10)      /* ... its buffers and its stack */
#define OTHER_THREADS 2u               /* of the store: the keeper, and one to spare */
#define CLOCK_START_S 2u               /* a second that has passed exists from the start */

struct server {
    struct settings settings;
    struct listener listeners[LISTENERS_MAX];
    unsigned listener_count;
    struct store *store;
    struct stats *stats;
    struct cmd *cmd;
    struct workers *workers;
    struct keeper *keeper;
    struct daemon_wait wait;
};

static struct server server;

/* ---- time ------------------------------------------------------------------------------------ */

static uint64_t clock_start_ns;

static uint32_t
seconds(void)
{
    return (uint32_t)((clock_ns() - clock_start_ns) / 1000000000u) + CLOCK_START_S;
}

static uint32_t
store_clock(void *ctx)
{
    (void)ctx;
    return seconds();
}

/* ---- stopping -------------------------------------------------------------------------------- */

static volatile sig_atomic_t stopping;
static struct workers *_Atomic running;

static void
stop(int signal_number)
{
    struct workers *workers = running;
    stopping = signal_number;
    if (workers)
        workers_stop(workers);
}

static void
handle_signals(void)
{
    struct sigaction action = {.sa_handler = stop};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGPIPE, &action, NULL);
}

/* ---- what the commands ask for --------------------------------------------------------------- */

static bool
hook_stats(void *ctx, struct slice name, struct stats_sink *sink)
{
    struct server *s = ctx;
    return stats_answer(s->stats, name, sink);
}

static size_t
hook_stats_bytes(void *ctx, struct slice name)
{
    const struct server *s = ctx;
    return stats_bytes(s->stats, name);
}

static void
hook_shutdown(void *ctx, bool graceful)
{
    (void)ctx;
    kill(getpid(), graceful ? SIGUSR1 : SIGINT);    /* raise() would hit a worker that blocks it */
}

static void
hook_verbosity(void *ctx, unsigned level)
{
    (void)ctx;
    log_set_level(level);
}

/* ---- listening ------------------------------------------------------------------------------- */

static int
refuse(const char *why)
{
    fprintf(stderr, "%s\n", why);
    return SETTINGS_OS_ERROR;
}

/* -o sock_cookie_id: what comes in here carries a mark that packet filters know. */
static void
mark_socket(const struct listener *listener, uint32_t mark)
{
    if (mark && setsockopt(listener->fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0)
        log_line(LOG_NOTICE, "larderd: cannot mark sockets with %u: %s", mark, strerror(errno));
}

/* What the clients of a listener speak: see struct accepted. */
static uint8_t
kind_of(enum settings_protocol protocol)
{
    switch (protocol) {
    case SETTINGS_AUTO:
        break;
    case SETTINGS_ASCII:
        return CONN_PROTOCOL_TEXT;
    case SETTINGS_BINARY:
        return CONN_PROTOCOL_BINARY;
    }
    return CONN_PROTOCOL_AUTO;
}

static int
listen_on(struct server *s, const char *host, int port, enum settings_protocol protocol,
          struct port_file *file)
{
    char why[LISTEN_WHY_MAX];
    struct listener *at = s->listeners + s->listener_count;
    unsigned n = listen_tcp(host, port < 0 ? 0 : (uint16_t)port, s->settings.listen_backlog, at,
                            LISTENERS_MAX - s->listener_count, why);
    if (n == 0)
        return refuse(why);
    for (unsigned i = 0; i < n; i++) {
        at[i].kind = kind_of(protocol);
        mark_socket(&at[i], s->settings.socket_mark);
        port_file_add(file, "TCP", at[i].addr.family == AF_INET6, at[i].addr.port);
    }
    s->listener_count += n;
    return 0;
}

static int
listen_tcp_all(struct server *s)
{
    const struct settings *set = &s->settings;
    struct port_file file;
    port_file_open(&file);
    int code = 0;
    if (set->listen_count == 0)
        code = listen_on(s, NULL, set->tcp_port, set->protocol, &file);
    for (unsigned i = 0; i < set->listen_count && code == 0; i++) {
        const struct listen_spec *spec = &set->listens[i];
        if (spec->port != 0)
            code = listen_on(s, spec->host, spec->port, spec->protocol, &file);
    }
    port_file_close(&file);
    return code;
}

static int
open_listeners(struct server *s)
{
    const struct settings *set = &s->settings;
    char why[LISTEN_WHY_MAX];
    if (set->unix_path) {
        if (!listen_unix(set->unix_path, set->unix_mode, set->listen_backlog, s->listeners, why))
            return refuse(why);
        s->listeners[0].kind = kind_of(set->protocol);
        s->listener_count = 1;
        return 0;
    }
    if (set->tcp_port != 0 || set->listen_count)
        return listen_tcp_all(s);
    return 0;
}

/* ---- making the parts ------------------------------------------------------------------------ */

static int
out_of_memory(const char *what, int error)
{
    fprintf(stderr, "larderd: cannot start: %s: %s\n", what, strerror(error));
    return SETTINGS_OS_ERROR;
}

static size_t
base_bytes(const struct settings *set)
{
    return BASE_BYTES + set->threads * BASE_BYTES_PER_THREAD;
}

/* Who has not said -m means the default, or less where the process may not have so much. */
static void
lower_memory(struct settings *set)
{
    uint64_t limit = set->memory_given ? UINT64_MAX : memory_cgroup_limit("");
    size_t least = 2 * set->item_bytes_max;
    if (least < MEMORY_BYTES_MIN)
        least = MEMORY_BYTES_MIN;
    size_t fits = memory_that_fits(set->memory_bytes, limit, base_bytes(set), least);
    if (fits >= set->memory_bytes)
        return;
    fprintf(stderr, "larderd: notice: this process may have %zu MB: using %zu MB for -m\n",
            (size_t)(limit >> 20), fits >> 20);
    set->memory_bytes = fits;
}

/* An -m that is given stays: the operator may count on swap, or on never filling it. */
static void
warn_of_memory(const struct settings *set)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t machine = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : SIZE_MAX;
    if (set->memory_bytes > machine)
        fprintf(stderr, "larderd: notice: -m %zu is more than the %zu MB of this machine\n",
                set->memory_bytes >> 20, machine >> 20);
}

/* As for cache_memlimit, 8 MB are the least; a command line that worked with memcached still does. */
static void
raise_memory(struct settings *set)
{
    if (set->memory_bytes >= MEMORY_BYTES_MIN)
        return;
    fprintf(stderr, "larderd: notice: -m %zu is less than the smallest cache: using %zu MB\n",
            set->memory_bytes >> 20, MEMORY_BYTES_MIN >> 20);
    set->memory_bytes = MEMORY_BYTES_MIN;
}

/* Each worker fills two pieces of memory of its own; all these together must stay a small share. */
static void
limit_threads(struct settings *set)
{
    unsigned most = (unsigned)(set->memory_bytes / MEMORY_BYTES_PER_THREAD) - OTHER_THREADS;
    if (most > THREADS_MAX)
        most = THREADS_MAX;
    if (set->threads <= most)
        return;
    fprintf(stderr, "larderd: notice: -t %u is more than %zu MB can keep busy: using %u\n",
            set->threads, set->memory_bytes >> 20, most);
    set->threads = most;
}

static int
no_store(const struct settings *set, int error)
{
    size_t most = store_memory_bytes_max();
    if (set->memory_bytes > most)
        fprintf(stderr, "larderd: cannot start: memory for items: -m %zu is more than %zu MB, the "
                "largest cache\n", set->memory_bytes >> 20, most >> 20);
    else
        fprintf(stderr, "larderd: cannot start: memory for items: %s: more than %zu MB of address "
                "space are needed (see ulimit -v)\n", strerror(error), set->memory_bytes >> 20);
    return SETTINGS_OS_ERROR;
}

static int
make_store(struct server *s)
{
    const struct settings *set = &s->settings;
    struct store_config config = {
        .memory_bytes = set->memory_bytes,
        .value_bytes_max = set->item_bytes_max,
        .threads_max = set->threads + OTHER_THREADS,
        .cas_enabled = set->cas_enabled,
        .evict = set->evict,
        .lends = true,
        .huge_pages = set->huge_pages,
        .clock = store_clock,
    };
    clock_start_ns = clock_ns();
    int e = store_create(&config, &s->store);
    return e == 0 ? 0 : no_store(set, -e);
}

/* What commands may change although it has no effect; stats.c has the way back. */
static struct cmd_tuning
tuning_of(const struct settings_untuned *u)
{
    return (struct cmd_tuning){
        .slab_reassign = u->slab_reassign,
        .automove = u->automove,
        .automove_window = u->automove_window,
        .automove_ratio = u->automove_ratio,
        .automove_free_ratio = u->automove_free_ratio,
        .crawler = u->crawler,
        .crawler_sleep_us = u->crawler_sleep_us,
        .crawler_tocrawl = u->crawler_tocrawl,
        .maintainer = u->maintainer,
        .segmented = u->segmented,
        .hot_pct = u->hot_pct,
        .warm_pct = u->warm_pct,
        .hot_max_factor = u->hot_max_factor,
        .warm_max_factor = u->warm_max_factor,
        .temporary = u->temporary,
        .temporary_ttl_s = u->temporary_ttl_s,
    };
}

static int
make_commands(struct server *s)
{
    const struct settings *set = &s->settings;
    struct stats_config stats_config = {
        .settings = set, .store = s->store,
        .reserved_fds = FDS_BASE + set->threads * FDS_PER_WORKER, .now = seconds,
    };
    struct cmd_config cmd_config = {
        .store = s->store,
        .item_bytes_max = set->item_bytes_max,
        .cas_enabled = set->cas_enabled,
        .flush_enabled = set->flush_enabled,
        .shutdown_enabled = set->shutdown_enabled,
        .dump_enabled = set->dump_enabled,
        .detail_enabled = set->detail_enabled,
        .prefix_delimiter = set->prefix_delimiter,
        .tuning = tuning_of(&set->untuned),
        .hooks = {.ctx = s, .stats = hook_stats, .stats_bytes = hook_stats_bytes,
                  .shutdown = hook_shutdown, .verbosity = hook_verbosity,
                  .epoch_offset_s = (int64_t)time(NULL) - (int64_t)seconds()},
    };
    s->stats = stats_create(&stats_config);
    s->cmd = cmd_create(&cmd_config);
    return s->stats && s->cmd ? 0 : out_of_memory("memory for commands", ENOMEM);
}

static int
make_workers(struct server *s)
{
    const struct settings *set = &s->settings;
    struct workers_config config = {
        .cmd = s->cmd,
        .listeners = s->listeners,
        .listener_count = s->listener_count,
        .unix_path = set->unix_path,
        .threads = set->threads,
        .conns_max = set->conns_max,
        .conns_refuse = set->conns_refuse,
        .idle_timeout_s = set->idle_timeout_s,
        .requests_per_turn = set->requests_per_turn,
        .bytes_per_turn = BYTES_PER_TURN,
    };
    int e = workers_create(&config, &s->workers);
    if (e != 0)
        return out_of_memory("worker threads", -e);
    stats_attach(s->stats, s->cmd, s->workers);
    return 0;
}

static int
make_keeper(struct server *s)
{
    int e = keeper_start(s->store, &s->keeper);
    return e == 0 ? 0 : out_of_memory("housekeeping thread", -e);
}

/* ---- the first and the last word ------------------------------------------------------------- */

#define WHERE_BYTES 256u
#define MORE_BYTES sizeof(",  and 64 more")

/* As many as fit, and how many more there are. */
static void
name_listeners(const struct server *s, char where[WHERE_BYTES])
{
    const char *path = s->settings.unix_path;
    char one[ADDR_TEXT_MAX];
    size_t len = 0;
    where[0] = '\0';
    for (unsigned i = 0; i < s->listener_count; i++) {
        const char *text = path ? path : addr_text(&s->listeners[i].addr, one);
        if (len + strlen(text) + MORE_BYTES > WHERE_BYTES) {
            snprintf(where + len, WHERE_BYTES - len, " and %u more", s->listener_count - i);
            return;
        }
        len += (size_t)snprintf(where + len, WHERE_BYTES - len, "%s%s", i ? ", " : "", text);
    }
}

static void
say_hello(const struct server *s)
{
    const struct settings *set = &s->settings;
    char where[WHERE_BYTES];
    name_listeners(s, where);
    log_line(LOG_NOTICE, "larderd %s serves %s with %zu MiB and %u thread%s", LARDER_VERSION,
             s->listener_count ? where : "nobody (no TCP port, no socket)",
             set->memory_bytes >> 20, set->threads, set->threads == 1 ? "" : "s");
}

static void
serve(struct server *s)
{
    const struct settings *set = &s->settings;
    if (set->lock_memory)
        privileges_lock_memory();
    if (set->pid_path)
        daemon_write_pid(set->pid_path);
    if (!set->daemon || set->verbosity || s->listener_count == 0)
        say_hello(s);
    daemon_ready(&s->wait, set->verbosity > 0);
    running = s->workers;
    if (!stopping)
        workers_run(s->workers);
    running = NULL;
    if (stopping == SIGUSR1)
        fprintf(stderr, "Gracefully stopping\n");
    else if (set->verbosity)
        fprintf(stderr, "Signal handled: %s.\nExiting normally\n", strsignal(stopping));
    if (set->pid_path && set->daemon)
        daemon_remove_pid(set->pid_path);
}

static void
take_apart(struct server *s)
{
    if (s->workers)
        workers_destroy(s->workers);
    keeper_stop(s->keeper);
    for (unsigned i = 0; i < s->listener_count; i++)
        listen_close(&s->listeners[i]);
    if (s->cmd)
        cmd_destroy(s->cmd);
    if (s->stats)
        stats_destroy(s->stats);
    if (s->store)
        store_destroy(s->store);
    settings_fini(&s->settings);
}

static int
go_into_background(struct server *s)
{
    int e = daemon_start(&s->wait, s->settings.core_dumps);
    if (e == 0)
        return 0;
    fprintf(stderr, "larderd: cannot go into the background: %s\n", strerror(-e));
    return SETTINGS_OS_ERROR;
}

static int
start(struct server *s)
{
    struct settings *set = &s->settings;
    int code = 0;
    raise_memory(set);
    lower_memory(set);
    warn_of_memory(set);
    limit_threads(set);
    if (set->core_dumps)
        code = privileges_allow_core();
    if (code == 0)
        code = privileges_allow_files(&set->conns_max, FDS_BASE + set->threads * FDS_PER_WORKER);
    if (code == 0)
        code = privileges_drop(set->user, set->core_dumps);
    if (code == 0 && set->daemon)
        code = go_into_background(s);
    if (code == 0)
        code = make_store(s);
    if (code == 0)
        code = make_commands(s);
    if (code == 0)
        code = open_listeners(s);
    if (code == 0)
        code = make_workers(s);
    return code ? code : make_keeper(s);
}

/*
 * Buffers of connections come from the heap: it must not keep what they give back, outside of -m.
 *
 * Trimmed once while there is one thread: a sanitizer takes mallopt() to itself, but not this, and of
 * two workers that were the first to call it both would begin the C library's heap.
 */
static void
bound_heap(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, HEAP_BYTES_MAX);
    mallopt(M_TRIM_THRESHOLD, HEAP_BYTES_MAX);
    malloc_trim(0);
}

int
main(int argc, char **argv)
{
    struct server *s = &server;
    int code;
    bound_heap();
    if (daemon_fill_streams() != 0)
        return SETTINGS_OS_ERROR;
    if (settings_parse(&s->settings, argc, argv, stdout, stderr, &code) == SETTINGS_EXIT) {
        settings_fini(&s->settings);
        return code;
    }
    log_set_level(s->settings.verbosity);
    handle_signals();
    code = start(s);
    if (code == 0)
        serve(s);
    take_apart(s);
    return code;
}
