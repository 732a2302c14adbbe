/*
 * test_workers.c -- threads, hand-over, limits and the end, with real sockets on 127.0.0.1.
 *
 * Goal: what the scripted tests of connections cannot show: clients that come and go on several
 * workers while others walk the list of connections (the thread sanitizer watches), the limit of
 * connections in both its forms, and an end that leaves nothing open.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "server/workers.h"
#include "store/store.h"

#define REFUSAL "ERROR Too many open connections\r\n"

struct server {
    struct store *store;
    struct cmd *cmd;
    struct listener listener;
    struct workers *workers;
    pthread_t thread;
};

static bool
server_stats(void *ctx, struct slice name, struct stats_sink *sink)
{
    struct server *server = ctx;
    if (!slice_equal(name, SLICE("conns")))
        return false;
    workers_each_conn(server->workers, 5, sink->emit, sink->ctx);
    return true;
}

static void
server_shutdown(void *ctx, bool graceful)
{
    (void)graceful;
    workers_stop(((struct server *)ctx)->workers);
}

static void
server_verbosity(void *ctx, unsigned level)
{
    (void)ctx;
    (void)level;
}

static void *
server_run(void *arg)
{
    workers_run(((struct server *)arg)->workers);
    return NULL;
}

static void
server_start(struct server *server, unsigned threads, unsigned conns_max, bool refuse)
{
    char why[LISTEN_WHY_MAX];
    assert_int_equal(listen_tcp("127.0.0.1", 0, 128, &server->listener, 1, why), 1);
    struct store_config store = {.memory_bytes = (size_t)8 << 20,
                                 .value_bytes_max = (size_t)1 << 20,
                                 .threads_max = threads + 1,
                                 .cas_enabled = true,
                                 .evict = true};
    assert_int_equal(store_create(&store, &server->store), 0);
    struct cmd_config cmd = {.store = server->store, .cas_enabled = true,
                             .item_bytes_max = (size_t)1 << 20,
                             .shutdown_enabled = true,
                             .hooks = {.ctx = server,
                                       .stats = server_stats,
                                       .shutdown = server_shutdown,
                                       .verbosity = server_verbosity}};
    server->cmd = cmd_create(&cmd);
    assert_non_null(server->cmd);
    struct workers_config config = {.cmd = server->cmd,
                                    .listeners = &server->listener,
                                    .listener_count = 1,
                                    .threads = threads,
                                    .conns_max = conns_max,
                                    .conns_refuse = refuse,
                                    .requests_per_turn = 512,
                                    .bytes_per_turn = (size_t)1 << 20};
    assert_int_equal(workers_create(&config, &server->workers), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
}

static void
server_stop(struct server *server)
{
    workers_stop(server->workers);
    pthread_join(server->thread, NULL);
    workers_destroy(server->workers);
    struct store_stats stats;
    store_stats_read(server->store, &stats);
    assert_int_equal(stats.borrowed_bytes, 0);
    assert_int_equal(stats.lent_bytes, 0);
    assert_null(store_verify(server->store));
    cmd_destroy(server->cmd);
    store_destroy(server->store);
    listen_close(&server->listener);
}

struct wanted {
    const char *name;
    uint64_t value;
};

static void
pick(void *ctx, const char *name, uint64_t value)
{
    struct wanted *wanted = ctx;
    if (strcmp(name, wanted->name) == 0)
        wanted->value = value;
}

static uint64_t
server_counter(struct server *server, const char *name)
{
    struct wanted wanted = {name, UINT64_MAX};
    workers_each_counter(server->workers, pick, &wanted);
    CHECK(wanted.value != UINT64_MAX);
    return wanted.value;
}

/* ---- clients --------------------------------------------------------------------------------- */

static int
client_connect(const struct server *server)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(server->listener.addr.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK(fd >= 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

static void
client_send(int fd, const char *text)
{
    size_t len = strlen(text);
    CHECK(send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len);
}

/* Reads until `end` has come, or the connection is closed; the buffer has 64 KiB. */
static const char *
client_read(int fd, const char *end, char *out)
{
    size_t len = 0, end_len = strlen(end);
    for (;;) {
        ssize_t n = recv(fd, out + len, 65535 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        if (end_len && len >= end_len && memcmp(out + len - end_len, end, end_len) == 0)
            break;
    }
    out[len] = '\0';
    return out;
}

static bool
client_has_input(int fd, int ms)
{
    struct timeval patience = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return select(fd + 1, &set, NULL, NULL, &patience) == 1;
}

/* ---- tests ----------------------------------------------------------------------------------- */

enum { CROWDS = 3, CROWD_CONNECTIONS = 40, CROWD_OPEN = 5 };

struct crowd {
    const struct server *server;
    int number;
    unsigned wrong;
};

/* Connections that come, work, look at all connections, and go. */
static void *
crowd_run(void *arg)
{
    struct crowd *crowd = arg;
    char *out = malloc(65536), request[200], wanted[200];
    CHECK(out != NULL);
    int fds[CROWD_OPEN] = {0};
    for (int i = 0; i < CROWD_CONNECTIONS; i++) {
        int *fd = &fds[i % CROWD_OPEN];
        if (*fd > 0)
            close(*fd);
        *fd = client_connect(crowd->server);
        snprintf(request, sizeof request, "set k%d 0 0 4\r\n%04d\r\nget k%d\r\n", crowd->number,
                 i, crowd->number);
        snprintf(wanted, sizeof wanted, "STORED\r\nVALUE k%d 0 4\r\n%04d\r\nEND\r\n",
                 crowd->number, i);
        client_send(*fd, request);
        crowd->wrong += strcmp(client_read(*fd, "END\r\n", out), wanted) != 0;
        client_send(*fd, "stats conns\r\n");
        crowd->wrong += strstr(client_read(*fd, "END\r\n", out), "conn_parse_cmd") == NULL;
    }
    for (int i = 0; i < CROWD_OPEN; i++)
        close(fds[i]);
    free(out);
    return NULL;
}

static void
wait_for_counter(struct server *server, const char *name, uint64_t wanted)
{
    for (int i = 0; i < 10000 && server_counter(server, name) != wanted; i++) {
        struct timespec ms = {.tv_nsec = 1000000};
        nanosleep(&ms, NULL);
    }
    assert_int_equal(server_counter(server, name), wanted);
}

static void
test_crowds(void **state)
{
    (void)state;
    struct server server;
    pthread_t threads[CROWDS];
    struct crowd crowds[CROWDS];
    server_start(&server, 3, 1000, true);
    for (int i = 0; i < CROWDS; i++) {
        crowds[i] = (struct crowd){.server = &server, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_run, &crowds[i]), 0);
    }
    for (int i = 0; i < CROWDS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(crowds[i].wrong, 0);
    }
    wait_for_counter(&server, "curr_connections", 0);
    assert_int_equal(server_counter(&server, "total_connections"), CROWDS * CROWD_CONNECTIONS);
    assert_int_equal(server_counter(&server, "rejected_connections"), 0);
    server_stop(&server);
}

static void
test_limit_refuses(void **state)
{
    (void)state;
    enum { MAX = 3 };
    struct server server;
    char out[65536];
    int fds[MAX];
    server_start(&server, 2, MAX, true);
    for (int i = 0; i < MAX; i++) {
        fds[i] = client_connect(&server);
        client_send(fds[i], "mn\r\n");
        assert_string_equal(client_read(fds[i], "MN\r\n", out), "MN\r\n");
    }
    int refused = client_connect(&server);
    assert_string_equal(client_read(refused, "", out), REFUSAL);
    close(refused);
    assert_int_equal(server_counter(&server, "rejected_connections"), 1);
    close(fds[0]);
    wait_for_counter(&server, "curr_connections", MAX - 1);
    fds[0] = client_connect(&server);
    client_send(fds[0], "mn\r\n");
    assert_string_equal(client_read(fds[0], "MN\r\n", out), "MN\r\n");
    for (int i = 0; i < MAX; i++)
        close(fds[i]);
    server_stop(&server);
}

static void
test_limit_waits(void **state)
{
    (void)state;
    struct server server;
    char out[65536];
    server_start(&server, 2, 2, false);
    int first = client_connect(&server), second = client_connect(&server);
    client_send(first, "mn\r\n");
    assert_string_equal(client_read(first, "MN\r\n", out), "MN\r\n");
    client_send(second, "mn\r\n");
    assert_string_equal(client_read(second, "MN\r\n", out), "MN\r\n");
    int third = client_connect(&server);
    client_send(third, "mn\r\n");
    wait_for_counter(&server, "accepting_conns", 0);
    assert_false(client_has_input(third, 150));
    close(first);
    assert_string_equal(client_read(third, "MN\r\n", out), "MN\r\n");
    assert_int_equal(server_counter(&server, "rejected_connections"), 0);
    close(second);
    close(third);
    server_stop(&server);
}

/* Idle connections, half a command, half an upload and a blocked reply, all at the end. */
static void
test_stop_in_the_middle(void **state)
{
    (void)state;
    struct server server;
    char out[65536], block[60000];
    int fds[4];
    server_start(&server, 2, 100, true);
    for (int i = 0; i < 4; i++) {
        fds[i] = client_connect(&server);
        client_send(fds[i], "mn\r\n");
        assert_string_equal(client_read(fds[i], "MN\r\n", out), "MN\r\n");
    }
    memset(block, 'x', sizeof block);
    block[sizeof block - 1] = '\0';
    client_send(fds[1], "get half");
    client_send(fds[2], "set upload 0 0 1000000\r\n");
    client_send(fds[2], block);
    client_send(fds[3], "set v 0 0 59999\r\n");
    client_send(fds[3], block);
    client_send(fds[3], "\r\n");
    for (int i = 0; i < 400; i++)
        client_send(fds[3], "get v v v v\r\n");
    assert_true(client_has_input(fds[3], 20000));
    client_send(fds[0], "shutdown\r\n");
    assert_string_equal(client_read(fds[0], "", out), "");
    server_stop(&server);
    assert_string_equal(client_read(fds[1], "", out), "");
    assert_string_equal(client_read(fds[2], "", out), "");
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crowds),
        cmocka_unit_test(test_limit_refuses),
        cmocka_unit_test(test_limit_waits),
        cmocka_unit_test(test_stop_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
