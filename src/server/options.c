/*
 * options.c -- the one table of options.
 *
 * Every option of memcached 1.6.45, whatever it means here, and every line of `stats settings`, in
 * the order of `stats settings`.  What an option does not say here nobody knows: the parser, the
 * help, the man page and the statistics have no lists of their own.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "options.h"

#define AT OPTION_FIELD
#define UNTUNED(sub_name, stat_name) .sub = sub_name, .stat = stat_name, .class = OPTION_NO_EFFECT
#define LATER(what) .class = OPTION_LATER, .feature = what
#define TLS LATER("TLS")
#define FLASH LATER("flash storage")

const struct option_row options_rows[] = {
    {.letter = 'm', .name = "memory-limit", .stat = "maxbytes", .group = OPTION_MEMORY,
     .arg = "NUM", .unit = "MB", .initial = "64",
     .help = "memory to use, everything included",
     .more = "Items, the index and the buffers of connections stay within it.  At least twice -I.",
     .take = opt_take_memory, .show = opt_show_bytes, .field = AT(size_t, memory_bytes)},

    {.letter = 'c', .name = "conn-limit", .stat = "maxconns", .group = OPTION_CLIENTS,
     .arg = "NUM", .initial = "1024",
     .help = "connections admitted at a time",
     .more = "The limit of open files is raised as far as that takes.",
     .take = opt_take_count, .show = opt_show_count, .field = AT(unsigned, conns_max),
     .least = 1, .complaint = "Maximum connections must be greater than 0"},

    {.letter = 'p', .name = "port", .stat = "tcpport", .group = OPTION_NETWORK,
     .arg = "NUM", .initial = "11211",
     .help = "TCP port; 0: no TCP, -1: any free one",
     .take = opt_take_int, .show = opt_show_int, .field = AT(int, tcp_port)},

    {.letter = 'U', .name = "udp-port", .stat = "udpport", .group = OPTION_NETWORK,
     .arg = "NUM", .initial = "0", LATER("UDP"),
     .help = "UDP port; 0: no UDP, -1: any free one",
     .more = "Without -p the TCP port is the same.  0 is accepted.",
     .take = opt_take_int, .show = opt_show_int, .field = AT(int, udp_port)},

    {.letter = 'l', .name = "listen", .stat = "inter", .group = OPTION_NETWORK,
     .arg = "LIST", .otherwise = "all",
     .help = "addresses, host[:port] or [ipv6][:port]",
     .more = "A list with commas or semicolons; may be given again, and what is named twice is "
             "used once.  * stands for all interfaces.  An entry may begin with notls: and with "
             "proto[ascii]:, proto[binary]: or proto[negotiating]: for what is spoken there; a "
             "tag[name]: is accepted.",
     .take = opt_take_listen, .show = opt_show_text, .field = AT(const char *, listen_text)},

    {.letter = 'v', .name = "verbose", .stat = "verbosity", .group = OPTION_PROCESS,
     .arg = "", .arg_optional = true,
     .help = "say more on stderr; up to -vvv",
     .more = "Once: errors, and connections that are refused.  Twice: also each command.  Three "
             "times: also connections that open, and that close and why.  Replies are not logged.",
     .take = opt_take_verbose, .show = opt_show_count, .field = AT(unsigned, verbosity)},

    {.stat = "oldest", .initial = "0", .show = opt_show_constant},

    {.letter = 'M', .name = "disable-evictions", .stat = "evictions", .group = OPTION_MEMORY,
     .help = "when full, answer with an error instead",
     .take = opt_take_off, .show = opt_show_on, .field = AT(bool, evict)},

    {.letter = 's', .name = "unix-socket", .stat = "domain_socket", .group = OPTION_NETWORK,
     .arg = "FILE",
     .help = "a unix socket instead of TCP",
     .more = "A socket left behind in that place is replaced, one that is served is not; the "
             "socket stays at the end.",
     .take = opt_take_text, .show = opt_show_text, .field = AT(const char *, unix_path)},

    {.letter = 'a', .name = "unix-mask", .stat = "umask", .group = OPTION_NETWORK,
     .arg = "MODE", .unit = "octal", .initial = "700",
     .help = "access mode of the unix socket",
     .take = opt_take_unix_mode, .show = opt_show_octal, .field = AT(unsigned, unix_mode)},

    {.letter = 'A', .name = "enable-shutdown", .stat = "shutdown_command",
     .group = OPTION_CLIENTS,
     .help = "allow the command shutdown",
     .take = opt_take_on, .show = opt_show_yes, .field = AT(bool, shutdown_enabled)},

    {.letter = 'f', .name = "slab-growth-factor", .stat = "growth_factor",
     .group = OPTION_MEMORY, .arg = "NUM", .initial = "1.25", .class = OPTION_NO_EFFECT,
     .help = "growth factor of slab classes",
     .take = opt_take_real, .show = opt_show_real2, .field = AT(double, untuned.growth_factor),
     .least = 1, .complaint = "Factor must be greater than 1"},

    {.letter = 'n', .name = "slab-min-size", .stat = "chunk_size", .group = OPTION_MEMORY,
     .arg = "NUM", .unit = "bytes", .initial = "48", .class = OPTION_NO_EFFECT,
     .help = "least room of an item in a slab",
     .take = opt_take_int, .show = opt_show_int, .field = AT(int, untuned.chunk_bytes_min),
     .least = 1, .complaint = "Chunk size must be greater than 0"},

    {.letter = 't', .name = "threads", .stat = "num_threads", .group = OPTION_PROCESS,
     .arg = "NUM", .otherwise = "CPUs",
     .help = "worker threads",
     .more = "The default is the number of CPUs this process may use: its affinity mask and the "
             "CPU quota of its control group, rounded up.",
     .take = opt_take_threads, .show = opt_show_count, .field = AT(unsigned, threads),
     .least = 1, .complaint = "Number of threads must be greater than 0"},

    {.stat = "num_threads_per_udp", .show = opt_show_count, .field = AT(unsigned, threads)},

    {.letter = 'D', .stat = "stat_key_prefix", .group = OPTION_CLIENTS,
     .arg = "CHAR", .initial = ":",
     .help = "ends the prefix of a key in stats detail",
     .more = "Given, prefixes are counted from the start.",
     .take = opt_take_delimiter, .show = opt_show_char, .field = AT(char, prefix_delimiter)},

    {.stat = "detail_enabled", .show = opt_show_yes, .field = AT(bool, detail_enabled)},

    {.letter = 'R', .name = "max-reqs-per-event", .stat = "reqs_per_event",
     .group = OPTION_CLIENTS, .arg = "NUM", .initial = "512",
     .help = "requests of one client before others' turn",
     .more = "A turn is limited in bytes as well.",
     .take = opt_take_requests, .show = opt_show_count, .field = AT(unsigned, requests_per_turn),
     .complaint = "Number of requests per event must be greater than 0"},

    {.letter = 'C', .name = "disable-cas", .stat = "cas_enabled", .group = OPTION_CLIENTS,
     .help = "no CAS numbers; saves 8 bytes an item",
     .take = opt_take_off, .show = opt_show_yes, .field = AT(bool, cas_enabled)},

    {.letter = 'b', .name = "listen-backlog", .stat = "tcp_backlog", .group = OPTION_NETWORK,
     .arg = "NUM", .initial = "1024",
     .help = "connections that may wait to be accepted",
     .take = opt_take_int, .show = opt_show_int, .field = AT(int, listen_backlog)},

    {.letter = 'B', .name = "protocol", .stat = "binding_protocol", .group = OPTION_CLIENTS,
     .arg = "NAME", .initial = "auto",
     .help = "auto (by the first byte), ascii or binary",
     .take = opt_take_protocol, .show = opt_show_protocol,
     .field = AT(enum settings_protocol, protocol)},

    {.letter = 'S', .name = "enable-sasl", .stat = "auth_enabled_sasl", .group = OPTION_CLIENTS,
     LATER("SASL"),
     .help = "SASL authentication",
     .take = opt_take_on, .show = opt_show_yes, .field = AT(bool, later.sasl)},

    {.letter = 'Y', .name = "auth-file", .stat = "auth_enabled_ascii", .group = OPTION_CLIENTS,
     .arg = "FILE", LATER("authentication by file"),
     .help = "file of user:password lines",
     .take = opt_take_text, .show = opt_show_auth_file, .field = AT(const char *, later.auth_path)},

    {.letter = 'I', .name = "max-item-size", .stat = "item_size_max", .group = OPTION_MEMORY,
     .arg = "NUM", .unit = "bytes, or with k or m", .initial = "1m",
     .help = "longest value; 1k to 1024m",
     .more = "At most half of -m, and a multiple of -o slab_chunk_max if that is given.",
     .take = opt_take_item_size, .show = opt_show_bytes, .field = AT(size_t, item_bytes_max)},

    {.sub = "maxconns_fast", .stat = "maxconns_fast", .negatable = true, .initial = "on",
     .help = "at -c refuse with a line, else let wait",
     .take = opt_take_on, .show = opt_show_yes, .field = AT(bool, conns_refuse)},

    {UNTUNED("hashpower", "hashpower_init"), .arg = "NUM", .otherwise = "by itself",
     .help = "first size of the hash table, 12 to 32",
     .missing = "Missing numeric argument for hashpower",
     .take = opt_take_hash_power, .show = opt_show_int, .field = AT(int, untuned.hash_power)},

    {.sub = "no_hashexpand", .class = OPTION_NO_EFFECT,
     .help = "the hash table keeps its size",
     .take = opt_take_nothing},

    {UNTUNED("slab_reassign", "slab_reassign"), .negatable = true, .initial = "on",
     .help = "pages move between slab classes",
     .more = "There are none; with no_ the command slabs reassign says so in other words.",
     .take = opt_take_on, .show = opt_show_yes, .field = AT(bool, untuned.slab_reassign)},

    {UNTUNED("slab_automove", "slab_automove"), .arg = "NUM", .arg_optional = true,
     .negatable = true, .initial = "1",
     .help = "pages move by themselves, 0 to 2",
     .take = opt_take_automove, .show = opt_show_int, .field = AT(int, untuned.automove),
     .least = 0, .most = 2, .complaint = "slab_automove must be between 0 and 2"},

    {UNTUNED("slab_automove_ratio", "slab_automove_ratio"), .arg = "NUM", .initial = "0.8",
     .help = "how uneven ages must be for a move",
     .take = opt_take_real, .show = opt_show_real2, .field = AT(double, untuned.automove_ratio),
     .least = 0, .most = 1, .complaint = "slab_automove_ratio must be > 0 and < 1"},

    {UNTUNED("slab_automove_window", "slab_automove_window"), .arg = "NUM", .initial = "10",
     .help = "samples that a move is decided by",
     .take = opt_take_int, .show = opt_show_int, .field = AT(int, untuned.automove_window),
     .least = 3, .complaint = "slab_automove_window must be > 2"},

    {UNTUNED("slab_chunk_max", "slab_chunk_max"), .arg = "NUM", .unit = "KB", .initial = "512",
     .help = "longest piece of an item in a slab",
     .more = "Must divide 1 MB and -I.",
     .take = opt_take_slab_chunk, .show = opt_show_bytes, .scale = 1024,
     .field = AT(size_t, untuned.slab_chunk_bytes_max)},

    {.sub = "no_chunked_items", .class = OPTION_NO_EFFECT,
     .help = "no items in pieces",
     .take = opt_take_no_chunked},

    {.sub = "slab_sizes", .class = OPTION_NO_EFFECT, .arg = "A-B-...", .unit = "bytes",
     .help = "the slab classes, one by one",
     .take = opt_take_text, .field = AT(const char *, untuned.slab_sizes)},

    {UNTUNED("lru_crawler", "lru_crawler"), .negatable = true, .initial = "on",
     .help = "a thread collects expired items",
     .more = "They are collected all the same; with no_ the command lru_crawler refuses to.",
     .take = opt_take_on, .show = opt_show_yes, .field = AT(bool, untuned.crawler)},

    {UNTUNED("lru_crawler_sleep", "lru_crawler_sleep"), .arg = "NUM", .unit = "microseconds",
     .initial = "100",
     .help = "its pause between items",
     .missing = "Missing lru_crawler_sleep value",
     .take = opt_take_int, .show = opt_show_int, .field = AT(int, untuned.crawler_sleep_us),
     .least = 0, .most = 1000000,
     .complaint = "LRU crawler sleep must be between 0 and 1 second"},

    {UNTUNED("lru_crawler_tocrawl", "lru_crawler_tocrawl"), .arg = "NUM", .initial = "0",
     .help = "items it looks at in a run; 0: all",
     .missing = "Missing lru_crawler_tocrawl value",
     .take = opt_take_u32, .show = opt_show_u32, .field = AT(uint32_t, untuned.crawler_tocrawl),
     .complaint = "lru_crawler_tocrawl takes a numeric 32bit value"},

    {UNTUNED("tail_repair_time", "tail_repair_time"), .arg = "NUM", .unit = "seconds",
     .otherwise = "off",
     .help = "when a stuck item is freed by force",
     .missing = "Missing numeric argument for tail_repair_time",
     .take = opt_take_int, .show = opt_show_int, .field = AT(int, untuned.tail_repair_s),
     .least = 10, .complaint = "Cannot set tail_repair_time to less than 10 seconds"},

    {.letter = 'F', .name = "disable-flush-all", .stat = "flush_enabled",
     .group = OPTION_CLIENTS,
     .help = "refuse the command flush_all",
     .take = opt_take_off, .show = opt_show_yes, .field = AT(bool, flush_enabled)},

    {.letter = 'X', .name = "disable-dumping", .stat = "dump_enabled", .group = OPTION_CLIENTS,
     .help = "refuse stats detail and the listing of keys",
     .take = opt_take_off, .show = opt_show_yes, .field = AT(bool, dump_enabled)},

    {UNTUNED("hash_algorithm", "hash_algorithm"), .arg = "NAME", .initial = "murmur3",
     .help = "jenkins, murmur3 or xxh3",
     .complaint = "Unknown hash_algorithm option (jenkins, murmur3, xxh3)",
     .take = opt_take_hash_algorithm, .show = opt_show_text,
     .field = AT(const char *, untuned.hash_algorithm)},

    {UNTUNED("lru_maintainer", "lru_maintainer_thread"), .negatable = true, .initial = "on",
     .help = "a thread keeps the LRU in segments",
     .take = opt_take_maintainer, .show = opt_show_yes, .field = AT(bool, untuned.maintainer)},

    {.stat = "lru_segmented", .show = opt_show_yes, .field = AT(bool, untuned.segmented)},

    {UNTUNED("hot_lru_pct", "hot_lru_pct"), .arg = "NUM", .unit = "percent", .initial = "20",
     .help = "share of the hot LRU, 1 to 79",
     .more = "Together with warm_lru_pct at most 80.",
     .take = opt_take_int, .show = opt_show_int, .field = AT(int, untuned.hot_pct),
     .least = 1, .most = 79, .complaint = "hot_lru_pct must be > 1 and < 80"},

    {UNTUNED("warm_lru_pct", "warm_lru_pct"), .arg = "NUM", .unit = "percent", .initial = "40",
     .help = "share of the warm LRU, 1 to 79",
     .take = opt_take_int, .show = opt_show_int, .field = AT(int, untuned.warm_pct),
     .least = 1, .most = 79, .complaint = "warm_lru_pct must be > 1 and < 80"},

    {UNTUNED("hot_max_factor", "hot_max_factor"), .arg = "NUM", .initial = "0.2",
     .help = "age at which items leave the hot LRU",
     .take = opt_take_real, .show = opt_show_real2, .field = AT(double, untuned.hot_max_factor),
     .least = 0, .complaint = "hot_max_factor must be > 0"},

    {UNTUNED("warm_max_factor", "warm_max_factor"), .arg = "NUM", .initial = "2.0",
     .help = "age at which items leave the warm LRU",
     .take = opt_take_real, .show = opt_show_real2, .field = AT(double, untuned.warm_max_factor),
     .least = 0, .complaint = "warm_max_factor must be > 0"},

    {.stat = "temp_lru", .show = opt_show_yes, .field = AT(bool, untuned.temporary)},

    {UNTUNED("temporary_ttl", "temporary_ttl"), .arg = "NUM", .unit = "seconds",
     .initial = "61",
     .help = "shorter lived items have an LRU of their own",
     .more = "Inactive until given; needs lru_maintainer.",
     .take = opt_take_int, .show = opt_show_int, .field = AT(int, untuned.temporary_ttl_s)},

    {.sub = "idle_timeout", .stat = "idle_timeout", .arg = "NUM", .unit = "seconds",
     .initial = "0",
     .help = "ends a silent connection; 0: never",
     .missing = "Missing numeric argument for idle_timeout",
     .take = opt_take_count, .show = opt_show_count, .field = AT(unsigned, idle_timeout_s)},

    {UNTUNED("watcher_logbuf_size", "watcher_logbuf_size"), .arg = "NUM", .unit = "KB",
     .initial = "256",
     .help = "log buffer of each watcher",
     .take = opt_take_bytes, .show = opt_show_bytes, .scale = 1024,
     .field = AT(size_t, untuned.watcher_log_bytes)},

    {UNTUNED("worker_logbuf_size", "worker_logbuf_size"), .arg = "NUM", .unit = "KB",
     .initial = "64",
     .help = "log buffer of each worker",
     .take = opt_take_bytes, .show = opt_show_bytes, .scale = 1024,
     .field = AT(size_t, untuned.worker_log_bytes)},

    {UNTUNED("read_buf_mem_limit", "read_buf_mem_limit"), .arg = "NUM", .unit = "MB",
     .initial = "0",
     .help = "memory of connections; 0: no limit",
     .more = "Here the memory of connections is part of -m, at most a quarter of it.",
     .take = opt_take_bytes, .show = opt_show_bytes, .scale = 1024 * 1024,
     .field = AT(size_t, untuned.read_buf_bytes_max)},

    {UNTUNED("track_sizes", "track_sizes"),
     .help = "collect item sizes for stats sizes",
     .take = opt_take_on, .show = opt_show_yes, .field = AT(bool, untuned.track_sizes)},

    {UNTUNED("inline_ascii_resp", "inline_ascii_response"), .negatable = true,
     .initial = "no",
     .help = "has had no meaning for years",
     .take = opt_take_nothing, .show = opt_show_constant},

    {.sub = "resp_obj_mem_limit", .class = OPTION_NO_EFFECT, .arg = "NUM",
     .arg_optional = true, .unit = "MB",
     .help = "deprecated",
     .take = opt_take_deprecated},

    {.sub = "modern", .class = OPTION_NO_EFFECT, .negatable = true,
     .help = "defaults of the future; no_: of the past",
     .take = opt_take_modern},

    {.sub = "drop_privileges", .class = OPTION_NO_EFFECT, .negatable = true,
     .help = "a filter of system calls",
     .take = opt_take_nothing},

    {.sub = "sock_cookie_id", .arg = "NUM", .initial = "0",
     .help = "SO_MARK of listening sockets, for filters",
     .take = opt_take_u32, .field = AT(uint32_t, socket_mark)},

    {.sub = "ext_path", FLASH, .arg = "FILE:SIZE[:BUCKET]",
     .help = "file for external storage; may be repeated",
     .missing = "missing argument to ext_path, ie: ext_path=/d/file:5G",
     .take = opt_take_ext_path, .field = AT(bool, later.ext_path)},

    {.sub = "ext_page_size", FLASH, .arg = "NUM", .unit = "MB", .initial = "64",
     .help = "size of its pages",
     .take = opt_take_ext_page, .scale = 1024 * 1024,
     .field = AT(size_t, later.ext_page_bytes)},

    {.sub = "ext_threads", FLASH, .arg = "NUM", .initial = "1",
     .help = "threads that read and write it",
     .take = opt_take_u32, .field = AT(uint32_t, later.ext_threads)},

    {.sub = "ext_io_depth", FLASH, .arg = "NUM", .initial = "1",
     .help = "has no meaning",
     .take = opt_take_u32, .field = AT(uint32_t, later.ext_io_depth)},

    {.sub = "ext_item_size", .stat = "ext_item_size", FLASH, .arg = "NUM", .unit = "bytes",
     .initial = "512",
     .help = "shortest value to store there",
     .take = opt_take_u32, .show = opt_show_u32, .field = AT(uint32_t, later.ext_item_bytes)},

    {.sub = "ext_item_age", .stat = "ext_item_age", FLASH, .arg = "NUM", .unit = "seconds",
     .initial = "4294967295",
     .help = "idle time before an item goes there",
     .take = opt_take_u32, .show = opt_show_u32, .field = AT(uint32_t, later.ext_item_age_s)},

    {.sub = "ext_low_ttl", .stat = "ext_low_ttl", FLASH, .arg = "NUM", .unit = "seconds",
     .initial = "0",
     .help = "shorter lived items are kept apart",
     .take = opt_take_u32, .show = opt_show_u32, .field = AT(uint32_t, later.ext_low_ttl_s)},

    {.sub = "ext_recache_rate", .stat = "ext_recache_rate", FLASH, .arg = "NUM",
     .initial = "2000",
     .help = "one in so many hits comes back to memory",
     .take = opt_take_u32, .show = opt_show_u32, .field = AT(uint32_t, later.ext_recache_rate)},

    {.sub = "ext_wbuf_size", .stat = "ext_wbuf_size", FLASH, .arg = "NUM", .unit = "MB",
     .initial = "4",
     .help = "write buffer; not below -I",
     .take = opt_take_bytes, .show = opt_show_bytes, .scale = 1024 * 1024,
     .field = AT(size_t, later.ext_wbuf_bytes)},

    {.sub = "ext_compact_under", .stat = "ext_compact_under", FLASH, .arg = "NUM",
     .unit = "pages", .initial = "0",
     .help = "free pages below which it is compacted",
     .take = opt_take_u32, .show = opt_show_u32, .field = AT(uint32_t, later.ext_compact_under)},

    {.sub = "ext_drop_under", .stat = "ext_drop_under", FLASH, .arg = "NUM", .unit = "pages",
     .initial = "0",
     .help = "free pages below which cold items go",
     .take = opt_take_u32, .show = opt_show_u32, .field = AT(uint32_t, later.ext_drop_under)},

    {.sub = "ext_max_sleep", .stat = "ext_max_sleep", FLASH, .arg = "NUM",
     .unit = "microseconds", .initial = "1000000",
     .help = "longest pause of its threads",
     .take = opt_take_u32, .show = opt_show_u32, .field = AT(uint32_t, later.ext_max_sleep_us)},

    {.sub = "ext_max_frag", .stat = "ext_max_frag", FLASH, .arg = "NUM", .initial = "0.8",
     .help = "fragmentation of a page that is borne",
     .take = opt_take_real_strict, .show = opt_show_real2,
     .field = AT(double, later.ext_max_frag)},

    {UNTUNED("slab_automove_freeratio", "slab_automove_freeratio"), .arg = "NUM",
     .initial = "0.01",
     .help = "share of the memory to keep free",
     .take = opt_take_real_strict, .show = opt_show_real3,
     .field = AT(double, untuned.automove_free_ratio)},

    {.sub = "ext_drop_unread", .stat = "ext_drop_unread", FLASH,
     .help = "compaction drops what nobody has read",
     .take = opt_take_on, .show = opt_show_yes, .field = AT(bool, later.ext_drop_unread)},

    {.letter = 'Z', .name = "enable-ssl", .stat = "ssl_enabled", .group = OPTION_NETWORK, TLS,
     .help = "TLS on TCP listeners",
     .take = opt_take_on, .show = opt_show_yes, .field = AT(bool, later.tls)},

    {.sub = "ssl_chain_cert", .stat = "ssl_chain_cert", TLS, .arg = "FILE",
     .help = "certificate chain, PEM",
     .take = opt_take_text, .show = opt_show_text_null,
     .field = AT(const char *, later.ssl_chain_cert)},

    {.sub = "ssl_key", .stat = "ssl_key", TLS, .arg = "FILE",
     .help = "private key",
     .take = opt_take_text, .show = opt_show_text_null, .field = AT(const char *, later.ssl_key)},

    {.sub = "ssl_verify_mode", .stat = "ssl_verify_mode", TLS, .arg = "NUM", .initial = "0",
     .help = "clients' certificates: 0 no, 1 ask, 2 demand, 3 once",
     .complaint = "Invalid ssl_verify_mode. Use help to see valid options.",
     .take = opt_take_ssl_level, .show = opt_show_int, .field = AT(int, later.ssl_verify_mode),
     .least = 0, .most = 3},

    {.sub = "ssl_keyformat", .stat = "ssl_keyformat", TLS, .arg = "NUM", .initial = "1",
     .help = "of the private key: 1 PEM, 2 DER",
     .take = opt_take_ssl_level, .show = opt_show_int, .field = AT(int, later.ssl_key_format),
     .least = -2147483648.0, .most = 2147483647.0},

    {.sub = "ssl_ciphers", .stat = "ssl_ciphers", TLS, .arg = "LIST",
     .help = "ciphers up to TLS 1.2",
     .take = opt_take_text, .show = opt_show_text, .field = AT(const char *, later.ssl_ciphers)},

    {.sub = "ssl_ca_cert", .stat = "ssl_ca_cert", TLS, .arg = "FILE",
     .help = "authorities for clients' certificates",
     .take = opt_take_text, .show = opt_show_text, .field = AT(const char *, later.ssl_ca_cert)},

    {.sub = "ssl_wbuf_size", .stat = "ssl_wbuf_size", TLS, .arg = "NUM", .unit = "KB",
     .initial = "16",
     .help = "write buffer of a connection",
     .take = opt_take_bytes, .show = opt_show_bytes, .scale = 1024,
     .field = AT(size_t, later.ssl_wbuf_bytes)},

    {.sub = "ssl_session_cache", .stat = "ssl_session_cache", TLS,
     .help = "sessions can be resumed",
     .take = opt_take_on, .show = opt_show_yes, .field = AT(bool, later.ssl_session_cache)},

    {.sub = "ssl_kernel_tls", .stat = "ssl_kernel_tls", TLS,
     .help = "the kernel encrypts",
     .take = opt_take_on, .show = opt_show_yes, .field = AT(bool, later.ssl_kernel_tls)},

    {.sub = "ssl_min_version", .stat = "ssl_min_version", TLS, .arg = "NUM", .initial = "2",
     .help = "0 to 3: TLS 1.0 to 1.3",
     .complaint = "Invalid ssl_min_version. Use help to see valid options.",
     .take = opt_take_ssl_level, .show = opt_show_ssl_version,
     .field = AT(int, later.ssl_min_version), .least = 0, .most = 3},

    {.letter = 'N', .name = "napi-ids", .stat = "num_napi_ids", .group = OPTION_NETWORK,
     .arg = "NUM", .class = OPTION_NO_EFFECT, .otherwise = "0",
     .help = "queues of the network card; at most -t",
     .take = opt_take_int, .show = opt_show_int, .field = AT(int, untuned.napi_ids),
     .least = 1, .complaint = "Maximum number of NAPI IDs must be greater than 0"},

    {.letter = 'e', .name = "memory-file", .stat = "memory_file", .group = OPTION_MEMORY,
     .arg = "FILE", LATER("a cache that survives a restart"),
     .help = "keep items in a file for the next start",
     .take = opt_take_text, .show = opt_show_text_null,
     .field = AT(const char *, later.memory_path)},

    {.stat = "client_flags_size", .initial = "4", .show = opt_show_constant},

    /* What `stats settings` does not show. */

    {.letter = 'k', .name = "lock-memory", .group = OPTION_MEMORY,
     .help = "lock memory in use; a warning if it fails",
     .take = opt_take_on, .field = AT(bool, lock_memory)},

    {.letter = 'L', .name = "enable-largepages", .group = OPTION_MEMORY,
     .help = "ask for large pages",
     .more = "The start fails where the kernel has no transparent huge pages.",
     .take = opt_take_huge_pages, .field = AT(bool, huge_pages)},

    {.letter = 'W', .name = "disable-watch", .group = OPTION_CLIENTS,
     .class = OPTION_NO_EFFECT,
     .help = "refuse the command watch (there is none)",
     .take = opt_take_off, .field = AT(bool, watch_enabled)},

    {.letter = 'u', .name = "user", .group = OPTION_PROCESS, .arg = "USER",
     .help = "run as this user; needed when root starts it",
     .take = opt_take_text, .field = AT(const char *, user)},

    {.letter = 'd', .name = "daemon", .group = OPTION_PROCESS,
     .help = "run in the background, once ready",
     .more = "In a new session, in the directory / (not with -r), with nothing on the standard "
             "streams (not with -v).  The command returns when clients are served, or with the "
             "exit status of a start that failed.",
     .take = opt_take_on, .field = AT(bool, daemon)},

    {.letter = 'P', .name = "pidfile", .group = OPTION_PROCESS, .arg = "FILE",
     .help = "write the process id; removed at the end of -d",
     .more = "Written after root has become the user of -u: the directory must be that user's.",
     .take = opt_take_text, .field = AT(const char *, pid_path)},

    {.letter = 'r', .name = "enable-coredumps", .group = OPTION_PROCESS,
     .help = "core files as large as the system allows",
     .take = opt_take_on, .field = AT(bool, core_dumps)},

    {.letter = 'o', .name = "extended", .group = OPTION_PROCESS, .arg = "LIST",
     .help = "more options, separated by commas",
     .more = "May be given again.  Those that can be turned off have a form that begins with no_.",
     .take = opt_take_extended},

    {.letter = 'h', .name = "help", .group = OPTION_INFO,
     .help = "print the list of options",
     .take = opt_take_help},

    {.letter = 'i', .name = "license", .group = OPTION_INFO,
     .help = "print the licence",
     .take = opt_take_license},

    {.letter = 'V', .name = "version", .group = OPTION_INFO,
     .help = "print the version",
     .take = opt_take_version},

    {.name = "print-man", .group = OPTION_HIDDEN,
     .help = "print the man page, for man(1)",
     .take = opt_take_man},
};

#define ROWS (sizeof(options_rows) / sizeof(options_rows[0]))
_Static_assert(ROWS <= OPTIONS_MAX, "struct options_parse remembers every row");
const unsigned options_count = ROWS;

int
options_find_letter(char letter)
{
    for (unsigned i = 0; letter && i < ROWS; i++) {
        if (options_rows[i].letter == letter)
            return (int)i;
    }
    return -1;
}

int
options_find_sub(const char *name, size_t len)
{
    for (unsigned i = 0; i < ROWS; i++) {
        const char *sub = options_rows[i].sub;
        if (sub && strlen(sub) == len && memcmp(sub, name, len) == 0)
            return (int)i;
    }
    return -1;
}

unsigned
options_row_of_letter(char letter)
{
    int row = options_find_letter(letter);

    CHECK(row >= 0);
    return (unsigned)row;
}

unsigned
options_row_of_sub(const char *name)
{
    int row = options_find_sub(name, strlen(name));

    CHECK(row >= 0);
    return (unsigned)row;
}
