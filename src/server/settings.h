/*
 * settings.h -- what this process was asked to do: the command line, checked, as plain data.
 *
 * settings_parse() reads argv by the one table of options.c, checks it as memcached 1.6.45 checks
 * it (same messages, same exit codes), and leaves a struct settings that server/ hands down in
 * pieces: the store, the commands and the connections get values, never this struct.
 *
 * Ownership: texts point into argv or into copies that settings_fini() frees; argv must outlive
 * the struct.  Threads: filled before any thread exists, read-only afterwards.
 */
#ifndef SERVER_SETTINGS_H
#define SERVER_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum settings_protocol { SETTINGS_AUTO, SETTINGS_ASCII, SETTINGS_BINARY };

/* One entry of -l. */
struct listen_spec {
    const char *host;                   /* name or number, no brackets; NULL: all interfaces */
    int port;                           /* -1: any free one */
    bool has_port;                      /* false: port is tcp_port */
    enum settings_protocol protocol;    /* proto[...], else that of -B */
};

/*
 * Options that have nothing to tune here.  They are checked, shown by `stats settings`, and looked
 * at by nobody else.
 */
struct settings_untuned {
    double growth_factor, automove_ratio, automove_free_ratio, hot_max_factor, warm_max_factor;
    int chunk_bytes_min, napi_ids, hash_power, automove, automove_window, tail_repair_s;
    int crawler_sleep_us, hot_pct, warm_pct, temporary_ttl_s;
    uint32_t crawler_tocrawl;
    size_t slab_chunk_bytes_max, watcher_log_bytes, worker_log_bytes, read_buf_bytes_max;
    const char *hash_algorithm, *slab_sizes;
    bool slab_reassign, crawler, maintainer, segmented, temporary, track_sizes;
};

/* Options whose feature does not exist yet.  Checked; giving one ends the start. */
struct settings_later {
    bool sasl, tls;
    const char *auth_path, *memory_path;
    const char *ssl_chain_cert, *ssl_key, *ssl_ciphers, *ssl_ca_cert;
    int ssl_verify_mode, ssl_key_format, ssl_min_version;
    size_t ssl_wbuf_bytes;
    bool ssl_session_cache, ssl_kernel_tls;
    size_t ext_page_bytes, ext_wbuf_bytes;
    uint32_t ext_threads, ext_io_depth, ext_item_bytes, ext_item_age_s, ext_low_ttl_s;
    uint32_t ext_recache_rate, ext_compact_under, ext_drop_under, ext_max_sleep_us;
    double ext_max_frag;
    bool ext_drop_unread;
    bool ext_path;                      /* at least one was given */
};

struct settings_text;

struct settings {
    /* Where clients come in. */
    int tcp_port;                       /* 0: no TCP; -1: any free one */
    int udp_port;                       /* always 0 so far */
    const char *unix_path;              /* NULL: none; given: this instead of TCP */
    unsigned unix_mode;                 /* permission bits of that socket */
    const struct listen_spec *listens;  /* none: all interfaces */
    unsigned listen_count;
    const char *listen_text;            /* as given, joined by commas; NULL: not given */
    int listen_backlog;
    uint32_t socket_mark;               /* SO_MARK of listening sockets; 0: none */

    /* What clients may do. */
    unsigned conns_max;
    bool conns_refuse;                  /* at the limit: refuse with a line, else stop accepting */
    unsigned idle_timeout_s;            /* 0: none */
    unsigned requests_per_turn;         /* of one connection, before others have theirs; > 0 */
    enum settings_protocol protocol;
    bool cas_enabled;
    bool flush_enabled;
    bool dump_enabled;
    bool watch_enabled;
    bool shutdown_enabled;
    char prefix_delimiter;              /* of `stats detail` */
    bool detail_enabled;

    /* Memory. */
    size_t memory_bytes;
    bool memory_given;                  /* by -m, not by default */
    size_t item_bytes_max;              /* 1 KiB to 1 GiB, at most half of memory_bytes */
    bool evict;                         /* false: an error instead */
    bool huge_pages;
    bool lock_memory;

    /* The process. */
    unsigned threads;                   /* workers; > 0 */
    unsigned verbosity;                 /* 0 to 3, more means 3 */
    bool daemon;
    bool core_dumps;
    const char *user;                   /* NULL: not given */
    const char *pid_path;               /* NULL: none */

    struct settings_untuned untuned;
    struct settings_later later;
    struct settings_text *texts;        /* copies owned by this struct */
};

enum settings_verdict { SETTINGS_RUN, SETTINGS_EXIT };

/* sysexits(3), as memcached uses them. */
#define SETTINGS_BAD_OPTION 1
#define SETTINGS_BAD_USAGE 64
#define SETTINGS_NO_USER 67
#define SETTINGS_OS_ERROR 71

/* The defaults.  threads is the number of CPUs this process may use. */
void settings_init(struct settings *s);
void settings_fini(struct settings *s);

/*
 * Defaults, then argv, then the checks between options, then the notices.  Messages and notices go
 * to err, what -h, -i, -V and --print-man ask for to out.  SETTINGS_EXIT: stop with
 * *out_exit_code, everything has been said.  Call settings_fini() in either case.
 * Reorders argv as getopt_long() does.
 */
enum settings_verdict settings_parse(struct settings *s, int argc, char **argv, FILE *out,
                                     FILE *err, int *out_exit_code);

/*
 * `stats settings`: memcached's names in memcached's order.  `oldest` is the age of the oldest
 * item and no setting: it is emitted as 0.
 */
void settings_each(const struct settings *s,
                   void (*emit)(void *ctx, const char *name, const char *value), void *ctx);

/* True: some TCP address that will be listened on belongs to no single interface. */
bool settings_listen_everywhere(const struct settings *s);

/* What larderd(1) and --help say, from the table. */
void settings_print_help(FILE *out);
void settings_print_man(FILE *out);
void settings_print_license(FILE *out);

/* CPUs in this process's affinity mask, but no more than its cgroup's quota, rounded up. */
unsigned settings_cpus(void);

/*
 * The quota alone, in whole CPUs; 0: none.  cgroup_root is where the controllers are mounted
 * (/sys/fs/cgroup), membership names the file that says which group we are in (/proc/self/cgroup).
 */
unsigned settings_cpus_quota(const char *cgroup_root, const char *membership);

#endif
