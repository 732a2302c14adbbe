/*
 * test_loop.c -- the event loop, listening and accepting, over real descriptors of this process.
 *
 * Goal: the contracts of loop/, among them what operators meet at the start (a port in use, a file
 * where the socket should be) and what must not happen under load (spinning without descriptors).
 * Sockets are bound to 127.0.0.1, port 0, or to a path in a directory of the test's own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "loop/loop.h"

#define MS 1000000u

static void
sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* ---- the loop -------------------------------------------------------------------------------- */

struct pair {
    struct loop *loop;
    int here, there;
};

static struct pair
open_pair(void)
{
    struct pair p;
    int fds[2];
    assert_int_equal(loop_create(&p.loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    p.here = fds[0];
    p.there = fds[1];
    return p;
}

static void
close_pair(struct pair *p)
{
    if (p->here >= 0)
        close(p->here);
    if (p->there >= 0)
        close(p->there);
    loop_destroy(p->loop);
}

static void
test_readiness(void **state)
{
    (void)state;
    struct pair p = open_pair();
    struct loop_event events[LOOP_EVENTS_MAX];
    int tag;
    assert_int_equal(loop_add(p.loop, p.here, LOOP_READ, &tag), 0);
    assert_int_equal(loop_wait(p.loop, events, 0), 0);
    assert_int_equal(write(p.there, "x", 1), 1);
    for (int i = 0; i < 3; i++) {    /* reported until it is dealt with */
        assert_int_equal(loop_wait(p.loop, events, -1), 1);
        assert_ptr_equal(events[0].tag, &tag);
        assert_int_equal(events[0].what, LOOP_READ);
    }
    assert_int_equal(loop_modify(p.loop, p.here, 0, &tag), 0);
    assert_int_equal(loop_wait(p.loop, events, 0), 0);
    assert_int_equal(loop_modify(p.loop, p.here, LOOP_READ | LOOP_WRITE, &tag), 0);
    assert_int_equal(loop_wait(p.loop, events, -1), 1);
    assert_int_equal(events[0].what, LOOP_READ | LOOP_WRITE);
    assert_int_equal(loop_remove(p.loop, p.here), 0);
    assert_int_equal(loop_wait(p.loop, events, 0), 0);
    assert_int_equal(loop_remove(p.loop, p.here), -ENOENT);
    close_pair(&p);
}

static void
test_hangup(void **state)
{
    (void)state;
    struct pair p = open_pair();
    struct loop_event events[LOOP_EVENTS_MAX];
    assert_int_equal(loop_add(p.loop, p.here, 0, &p), 0);
    close(p.there);
    p.there = -1;
    assert_int_equal(loop_wait(p.loop, events, -1), 1);
    assert_int_equal(events[0].what, LOOP_HANGUP);
    close(p.here);
    p.here = -1;
    assert_int_equal(loop_wait(p.loop, events, 0), 0);
    close_pair(&p);
}

struct waker {
    struct loop *loop;
    _Atomic unsigned told;
};

#define WAKES 20000u

static void *
wake_many(void *arg)
{
    struct waker *w = arg;
    for (unsigned i = 1; i <= WAKES; i++) {
        atomic_store_explicit(&w->told, i, memory_order_relaxed);
        loop_wake(w->loop);
    }
    return NULL;
}

/* After the last wake-up what was told before it has been seen; no wake-up is lost. */
static void
test_wake(void **state)
{
    (void)state;
    struct waker w = {0};
    struct loop_event events[LOOP_EVENTS_MAX];
    assert_int_equal(loop_create(&w.loop), 0);
    loop_wake(w.loop);
    loop_wake(w.loop);
    uint64_t start = clock_ns();
    assert_int_equal(loop_wait(w.loop, events, 10000), 0);
    assert_true(clock_ns() - start < 5000 * (uint64_t)MS);
    assert_int_equal(loop_wait(w.loop, events, 0), 0);

    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wake_many, &w), 0);
    for (unsigned seen = 0; seen < WAKES;) {
        assert_int_equal(loop_wait(w.loop, events, -1), 0);
        seen = atomic_load_explicit(&w.told, memory_order_relaxed);
    }
    pthread_join(thread, NULL);
    loop_destroy(w.loop);
}

/* ---- listening ------------------------------------------------------------------------------- */

static int
client_of(const struct listener *listener)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(listener->addr.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* The client is there when connect() returns, but the listener may hear of it a moment later. */
static void
accept_next(const struct listener *listener, struct accepted *out_client)
{
    struct pollfd waiting = {.fd = listener->fd, .events = POLLIN};
    assert_int_equal(poll(&waiting, 1, 20000), 1);
    assert_int_equal(listen_accept(listener, out_client), 0);
}

static struct listener
local_listener(void)
{
    char why[LISTEN_WHY_MAX] = "";
    struct listener listener;
    memset(&listener, 0xff, sizeof listener); /* every field is set, whatever was there */
    assert_int_equal(listen_tcp("127.0.0.1", 0, 16, &listener, 1, why), 1);
    return listener;
}

static void
test_listen_tcp(void **state)
{
    (void)state;
    char text[ADDR_TEXT_MAX], wanted[ADDR_TEXT_MAX];
    struct listener listener = local_listener();
    assert_true(listener.addr.port > 0);
    assert_false(listener.any);

    struct accepted accepted;
    assert_int_equal(listen_accept(&listener, &accepted), -EAGAIN);
    int client = client_of(&listener);
    accept_next(&listener, &accepted);
    assert_int_equal(accepted.kind, 0);
    struct sockaddr_in own;
    socklen_t len = sizeof own;
    assert_int_equal(getsockname(client, (struct sockaddr *)&own, &len), 0);
    snprintf(wanted, sizeof wanted, "tcp:127.0.0.1:%u", ntohs(own.sin_port));
    assert_string_equal(addr_text(&accepted.peer, text), wanted);
    snprintf(wanted, sizeof wanted, "tcp:127.0.0.1:%u", listener.addr.port);
    assert_string_equal(addr_text(&accepted.local, text), wanted);
    assert_true(fcntl(accepted.fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(accepted.fd, F_GETFD) & FD_CLOEXEC);
    int no_delay = 0;
    len = sizeof no_delay;
    assert_int_equal(getsockopt(accepted.fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &len), 0);
    assert_true(no_delay);
    close(accepted.fd);
    close(client);
    listen_close(&listener);
}

/* All interfaces: every family that there is, on one port; a client's local address is its own. */
static void
test_listen_any(void **state)
{
    (void)state;
    char why[LISTEN_WHY_MAX] = "", text[ADDR_TEXT_MAX], wanted[ADDR_TEXT_MAX];
    struct listener listeners[4];
    unsigned count = listen_tcp(NULL, 0, 16, listeners, 4, why);
    assert_true(count >= 1);
    for (unsigned i = 0; i < count; i++) {
        assert_true(listeners[i].any);
        assert_int_equal(listeners[i].addr.port, listeners[0].addr.port);
        if (listeners[i].addr.family != AF_INET)
            continue;
        int client = client_of(&listeners[i]);
        struct accepted accepted;
        accept_next(&listeners[i], &accepted);
        snprintf(wanted, sizeof wanted, "tcp:127.0.0.1:%u", listeners[i].addr.port);
        assert_string_equal(addr_text(&accepted.local, text), wanted);
        close(accepted.fd);
        close(client);
    }
    for (unsigned i = 0; i < count; i++)
        listen_close(&listeners[i]);
}

static void
test_listen_errors(void **state)
{
    (void)state;
    char why[LISTEN_WHY_MAX] = "", wanted[LISTEN_WHY_MAX];
    struct listener listener = local_listener(), other;
    uint16_t port = listener.addr.port;
    assert_int_equal(listen_tcp("127.0.0.1", port, 16, &other, 1, why), 0);
    snprintf(wanted, sizeof wanted, "failed to listen on one of interface(s) 127.0.0.1: "
             "Address already in use (port %u)", port);
    assert_string_equal(why, wanted);
    assert_int_equal(listen_tcp(NULL, port, 16, &other, 1, why), 0);
    snprintf(wanted, sizeof wanted, "failed to listen on TCP port %u: Address already in use",
             port);
    assert_string_equal(why, wanted);
    /* No name server is asked for a name with a part of more than 63 characters. */
    char name[71];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(listen_tcp(name, 0, 16, &other, 1, why), 0);
    assert_non_null(strstr(why, "failed to listen on one of interface(s) xxx"));
    assert_int_equal(listen_tcp("192.0.2.1", 0, 16, &other, 1, why), 0);
    assert_string_equal(why, "failed to listen on one of interface(s) 192.0.2.1: "
                             "Cannot assign requested address");
    listen_close(&listener);
}

static void
test_listen_unix(void **state)
{
    (void)state;
    char directory[] = "/tmp/larder-test-loop-XXXXXX";
    char path[80], long_path[200], why[LISTEN_WHY_MAX] = "";
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/s", directory);
    struct listener first, second;
    struct stat st;
    mode_t mask = umask(022);
    assert_true(listen_unix(path, 0640, 16, &first, why));
    assert_int_equal(umask(mask), 022);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0640);

    assert_false(listen_unix(path, 0700, 16, &second, why));
    assert_non_null(strstr(why, "Address already in use"));
    assert_int_equal(stat(path, &st), 0);

    listen_close(&first);    /* the file stays, as after a crash */
    assert_true(listen_unix(path, 0700, 16, &second, why));
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, path, strlen(path) + 1);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&to, sizeof to), 0);
    struct accepted accepted;
    accept_next(&second, &accepted);
    assert_int_equal(accepted.peer.family, AF_UNIX);
    assert_int_equal(accepted.local.family, AF_UNIX);
    close(accepted.fd);
    close(client);
    listen_close(&second);
    assert_int_equal(unlink(path), 0);

    int file = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(file, "keep me", 7), 7);
    close(file);
    assert_false(listen_unix(path, 0700, 16, &first, why));
    assert_non_null(strstr(why, "File exists"));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 7);
    unlink(path);

    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    assert_false(listen_unix(long_path, 0700, 16, &first, why));
    assert_non_null(strstr(why, "File name too long"));
    rmdir(directory);
}

/* ---- accepting ------------------------------------------------------------------------------- */

struct gate {
    struct acceptor *acceptor;
    _Atomic bool admits;
    _Atomic unsigned taken;
    _Atomic unsigned asked;
};

static bool
gate_may_accept(void *ctx)
{
    struct gate *gate = ctx;
    atomic_fetch_add(&gate->asked, 1);
    return atomic_load(&gate->admits);
}

static void
gate_take(void *ctx, const struct accepted *client)
{
    struct gate *gate = ctx;
    close(client->fd);
    atomic_fetch_add(&gate->taken, 1);
}

static void *
gate_run(void *arg)
{
    struct gate *gate = arg;
    acceptor_run(gate->acceptor);
    return NULL;
}

static void
gate_open(struct gate *gate, const struct listener *listener, pthread_t *thread)
{
    struct acceptor_config config = {.listeners = listener,
                                     .listener_count = 1,
                                     .ctx = gate,
                                     .may_accept = gate_may_accept,
                                     .take = gate_take};
    atomic_store(&gate->admits, true);
    assert_int_equal(acceptor_create(&config, &gate->acceptor), 0);
    assert_int_equal(pthread_create(thread, NULL, gate_run, gate), 0);
}

static void
gate_close(struct gate *gate, pthread_t thread)
{
    acceptor_stop(gate->acceptor);
    pthread_join(thread, NULL);
    acceptor_destroy(gate->acceptor);
}

static void
wait_for(_Atomic unsigned *what, unsigned wanted)
{
    for (int i = 0; i < 20000 && atomic_load(what) < wanted; i++)
        sleep_ms(1);
    assert_int_equal(atomic_load(what), wanted);
}

static void
wait_for_counter(const counter *what, uint64_t wanted)
{
    for (int i = 0; i < 20000 && counter_read(what) != wanted; i++)
        sleep_ms(1);
    assert_int_equal(counter_read(what), wanted);
}

/* More often nobody may try in the time since `start_ns`. */
static uint64_t
pauses_since(uint64_t start_ns)
{
    return (clock_ns() - start_ns) / (ACCEPTOR_PAUSE_MS * (uint64_t)MS) + 1;
}

/* At its limit the owner is asked now and then, not all the time; a resume is answered at once. */
static void
test_acceptor_limit(void **state)
{
    (void)state;
    struct gate gate = {0};
    pthread_t thread;
    struct listener listener = local_listener();
    gate_open(&gate, &listener, &thread);
    const struct acceptor_counters *counters = acceptor_read(gate.acceptor);

    int client = client_of(&listener);
    wait_for(&gate.taken, 1);
    close(client);
    assert_int_equal(counter_read(&counters->accepting_conns), 1);

    atomic_store(&gate.admits, false);
    client = client_of(&listener);
    wait_for_counter(&counters->accepting_conns, 0);
    uint64_t start_ns = clock_ns();
    unsigned asked = atomic_load(&gate.asked);
    sleep_ms(200);
    assert_int_equal(atomic_load(&gate.taken), 1);
    assert_int_equal(counter_read(&counters->accepting_conns), 0);
    assert_int_equal(counter_read(&counters->listen_disabled_num), 1);
    asked = atomic_load(&gate.asked) - asked;
    assert_true(asked <= pauses_since(start_ns));

    atomic_store(&gate.admits, true);
    acceptor_resume(gate.acceptor);
    wait_for(&gate.taken, 2);
    assert_int_equal(counter_read(&counters->accepting_conns), 1);
    assert_true(counter_read(&counters->time_in_listen_disabled_us) >= 100000);
    close(client);
    gate_close(&gate, thread);
    listen_close(&listener);
}

/* No descriptor is left: the loop sleeps, and goes on when there is one again. */
static void
test_acceptor_without_descriptors(void **state)
{
    (void)state;
    struct gate gate = {0};
    pthread_t thread;
    struct listener listener = local_listener();
    gate_open(&gate, &listener, &thread);
    const struct acceptor_counters *counters = acceptor_read(gate.acceptor);

    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int client = client_of(&listener);
    wait_for(&gate.taken, 1);
    close(client);

    int spare = socket(AF_INET, SOCK_STREAM, 0);
    uint64_t start_ns = clock_ns();
    none = before;
    none.rlim_cur = 3;                /* below every descriptor in use */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(listener.addr.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(spare, (struct sockaddr *)&to, sizeof to), 0);
    wait_for_counter(&counters->accepting_conns, 0);
    sleep_ms(300);
    assert_int_equal(atomic_load(&gate.taken), 1);
    uint64_t times = counter_read(&counters->listen_disabled_num);
    assert_true(times >= 1 && times <= pauses_since(start_ns));

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    wait_for(&gate.taken, 2);
    close(spare);
    gate_close(&gate, thread);
    listen_close(&listener);
}

/* ---- addresses ------------------------------------------------------------------------------- */

static void
test_addr_text(void **state)
{
    (void)state;
    char text[ADDR_TEXT_MAX];
    struct sockaddr_storage from = {0};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(65535)};
    assert_int_equal(inet_pton(AF_INET6, "2001:db8:1111:2222:3333:4444:5555:6666",
                               &in6.sin6_addr), 1);
    memcpy(&from, &in6, sizeof in6);
    struct addr addr = addr_from_sockaddr(&from);
    assert_string_equal(addr_text(&addr, text),
                        "tcp6:[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
    addr = (struct addr){.family = AF_INET, .port = 1, .ip = {10, 0, 0, 255}};
    assert_string_equal(addr_text(&addr, text), "tcp:10.0.0.255:1");
    addr.family = AF_UNIX;
    assert_string_equal(addr_text(&addr, text), "unix");
    addr.family = AF_UNSPEC;
    assert_string_equal(addr_text(&addr, text), "?");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readiness),
        cmocka_unit_test(test_hangup),
        cmocka_unit_test(test_wake),
        cmocka_unit_test(test_listen_tcp),
        cmocka_unit_test(test_listen_any),
        cmocka_unit_test(test_listen_errors),
        cmocka_unit_test(test_listen_unix),
        cmocka_unit_test(test_acceptor_limit),
        cmocka_unit_test(test_acceptor_without_descriptors),
        cmocka_unit_test(test_addr_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
