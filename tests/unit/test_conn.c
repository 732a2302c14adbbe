/*
 * test_conn.c -- connections over a scripted wire, loop and clock; commands and store are real.
 *
 * Goal: whatever way the bytes of a client are cut, whatever the socket takes at a time and
 * whichever call fails, a client gets the replies of the undisturbed run or a closed connection,
 * its neighbours notice nothing, and nothing is left behind (rig_stop checks that after each
 * test).  Method: one transcript is played again and again under other rules.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "../lib/conn_rig.h"
#include "../lib/packet.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* ---- texts ----------------------------------------------------------------------------------- */

struct text {
    char *at;
    size_t len, cap;
};

static void
add(struct text *t, const void *bytes, size_t n)
{
    if (t->len + n > t->cap) {
        t->cap = (t->len + n) * 2;
        t->at = realloc(t->at, t->cap);
        assert_non_null(t->at);
    }
    memcpy(t->at + t->len, bytes, n);
    t->len += n;
}

static void
add_text(struct text *t, const char *text)
{
    add(t, text, strlen(text));
}

__attribute__((format(printf, 2, 3)))
static void
add_line(struct text *t, const char *format, ...)
{
    char line[600];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof line);
    add(t, line, (size_t)n);
}

/* n bytes that tell their place, so that lost or doubled ones show. */
static void
add_block(struct text *t, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char byte = (char)('a' + (i * 7 + i / 26) % 26);
        add(t, &byte, 1);
    }
}

static void
add_packet(struct text *t, const struct packet *packet)
{
    unsigned char bytes[PACKET_BYTES_MAX];
    add(t, bytes, packet_make(bytes, packet));
}

/* opcode: of one that stores. */
static void
add_store_packet(struct text *t, uint8_t opcode, const char *key, size_t value_bytes)
{
    size_t start = t->len, key_bytes = strlen(key);
    add_packet(t, &(struct packet){.opcode = opcode, .extras = "0000000700000000", .key = key});
    packet_put((unsigned char *)t->at + start + 8, 8 + key_bytes + value_bytes, 4);
    add_block(t, value_bytes);
}

static void
drop(struct text *t)
{
    free(t->at);
    *t = (struct text){0};
}

static void
assert_text(struct slice got, struct slice wanted)
{
    if (slice_equal(got, wanted))
        return;
    size_t at = 0;
    while (at < got.len && at < wanted.len && got.at[at] == wanted.at[at])
        at++;
    fail_msg("%zu bytes wanted, %zu received; they differ at %zu: got \"%.*s\"", wanted.len,
             got.len, at, (int)(got.len - at < 60 ? got.len - at : 60), got.at + at);
}

static struct slice
slice_of(const struct text *t)
{
    return (struct slice){t->at, t->len};
}

static void
assert_replies(int fd, const char *wanted)
{
    assert_text(script_taken(fd), (struct slice){wanted, strlen(wanted)});
}

static void
ask(struct rig *rig, int fd, const char *requests, const char *wanted)
{
    script_forget(fd);
    script_give_text(fd, requests);
    rig_run(rig);
    assert_replies(fd, wanted);
}

/* ---- the transcript -------------------------------------------------------------------------- */

#define K50 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define K250 K50 K50 K50 K50 K50

static const char small_requests[] =
    "flush_all\r\n"
    "set a 1 0 5\r\nhello\r\n"
    "get a\r\n"
    "get a missing a\r\n"
    "add a 0 0 1\r\nx\r\n"
    "append a 0 0 6\r\n world\r\n"
    "cas a 0 0 1 1\r\nx\r\n"
    "get a\n"
    "set n 0 0 2\r\n10\r\n"
    "incr n 5\r\ndecr n 100\r\nincr missing 1\r\nincr a 1\r\n"
    "set q 0 0 3 noreply\r\nabc\r\nget q\r\n"
    "set bad 0 0 3\r\nabcdef\r\n"
    "set empty 0 0 0\r\n\r\nget empty\r\n"
    "set " K250 "k 0 0 4\r\nmn\r\n\r\n"
    "get " K250 "\r\n"
    "nonsense\r\n\r\nget\r\n"
    "delete q\r\ndelete q\r\ntouch a 0\r\nverbosity 1\r\nmn\r\nversion\r\n"
    "set a 0 0 300000 noreply\r\n";    /* too large: 300,002 bytes follow in the long transcript */

static const char small_replies[] =
    "OK\r\n"
    "STORED\r\n"
    "VALUE a 1 5\r\nhello\r\nEND\r\n"
    "VALUE a 1 5\r\nhello\r\nVALUE a 1 5\r\nhello\r\nEND\r\n"
    "NOT_STORED\r\n"
    "STORED\r\n"
    "EXISTS\r\n"
    "VALUE a 1 11\r\nhello world\r\nEND\r\n"
    "STORED\r\n"
    "15\r\n0\r\nNOT_FOUND\r\n"
    "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
    "VALUE q 0 3\r\nabc\r\nEND\r\n"
    "CLIENT_ERROR bad data chunk\r\nCLIENT_ERROR bad command line format\r\n"
    "STORED\r\nVALUE empty 0 0\r\n\r\nEND\r\n"
    "CLIENT_ERROR bad command line format\r\n"
    "END\r\n"
    "ERROR\r\nCLIENT_ERROR bad command line format\r\nCLIENT_ERROR bad command line format\r\n"
    "DELETED\r\nNOT_FOUND\r\nTOUCHED\r\nOK\r\nMN\r\nVERSION 1.6.45\r\n";

/* The small one, then blocks of every kind: collected, uploaded, thrown away, in pieces. */
static struct text
long_requests(void)
{
    struct text t = {0};
    add(&t, small_requests, sizeof small_requests - 1);
    add_block(&t, 300002);
    static const size_t sizes[] = {1, 500, 3000, 4090, 4097, 9000, 40000, 70000, 200000};
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        add_line(&t, "set v%zu %zu 0 %zu\r\n", i, i, sizes[i]);
        add_block(&t, sizes[i]);
        add_text(&t, "\r\n");
    }
    add_text(&t, "get v0 v1 v2 v3 v4 v5 v6 v7 v8\r\n");
    add_text(&t, "set v8 0 0 250000\r\n");
    add_block(&t, 250001);
    add_text(&t, "xget v8\r\nmn\r\n");    /* the block does not end in CR LF */
    for (int i = 0; i < 300; i++)
        add_line(&t, "set p%d 0 0 3\r\n%03d\r\nget p%d p%d\r\n", i, i, i, i / 2);
    add_text(&t, "delete v0 noreply\r\nquit\r\nversion\r\n");
    return t;
}

static struct text
play(struct slice requests, const struct script_rules *rules)
{
    struct rig rig;
    rig_start(&rig, NULL);
    int fd = rig_connect(&rig);
    script_rule(rules);
    script_give(fd, requests.at, requests.len);
    rig_run(&rig);
    struct text replies = {0};
    add(&replies, script_taken(fd).at, script_taken(fd).len);
    rig_stop(&rig);
    return replies;
}

static const struct script_rules undisturbed;

static void
test_undisturbed(void **state)
{
    (void)state;
    struct slice requests = {small_requests, sizeof small_requests - 1};
    struct text replies = play(requests, &undisturbed);
    assert_text(slice_of(&replies), SLICE(small_replies));
    drop(&replies);
}

/* Input arrives in two parts, cut at every place. */
static void
test_every_cut(void **state)
{
    (void)state;
    struct rig rig;
    size_t len = sizeof small_requests - 1;
    for (size_t at = 0; at <= len; at++) {
        if (at % 256 == 0)
            rig_start(&rig, NULL);
        int fd = rig_connect(&rig);
        script_give(fd, small_requests, at);
        rig_run(&rig);
        script_give(fd, small_requests + at, len - at);
        rig_run(&rig);
        assert_text(script_taken(fd), SLICE(small_replies));
        script_end(fd);
        rig_run(&rig);
        assert_true(script_closed(fd));
        if (at % 256 == 255 || at == len)
            rig_stop(&rig);
    }
}

static void
test_one_byte_at_a_time(void **state)
{
    (void)state;
    struct text requests = long_requests();
    struct text wanted = play(slice_of(&requests), &undisturbed);
    assert_true(wanted.len > 400000);
    const struct script_rules rules[] = {
        {.recv_max = 1},
        {.send_max = 1},
        {.recv_max = 1, .send_max = 1},
        {.recv_max = 4096, .send_max = 1000},
    };
    for (size_t i = 0; i < LENGTH(rules); i++) {
        struct text got = play(slice_of(&requests), &rules[i]);
        assert_text(slice_of(&got), slice_of(&wanted));
        drop(&got);
    }
    drop(&wanted);
    drop(&requests);
}

static void
test_random_cuts(void **state)
{
    (void)state;
    struct text requests = long_requests();
    struct text wanted = play(slice_of(&requests), &undisturbed);
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct script_rules rules = {.cut_seed = seed, .recv_max = seed % 3 ? 0 : 100000};
        struct text got = play(slice_of(&requests), &rules);
        if (!slice_equal(slice_of(&got), slice_of(&wanted)))
            print_message("seed %lu\n", (unsigned long)seed);
        assert_text(slice_of(&got), slice_of(&wanted));
        drop(&got);
    }
    drop(&wanted);
    drop(&requests);
}

/* ---- calls that fail ------------------------------------------------------------------------- */

enum { CALLS_PER_RIG = 60 };      /* a new store for each call would take most of the time */

/* EAGAIN and EINTR, once, at every call: the replies do not change. */
static void
test_interrupted_calls(void **state)
{
    (void)state;
    static const int errors[] = {EAGAIN, EINTR};
    struct rig rig;
    for (unsigned call = 1; call <= 2 * CALLS_PER_RIG; call++) {
        if (call % CALLS_PER_RIG == 1)
            rig_start(&rig, NULL);
        for (size_t i = 0; i < LENGTH(errors); i++) {
            struct script_rules rules = {
                .recv_max = 20, .send_max = 30, .fail_call = call, .fail_error = errors[i]};
            int fd = rig_connect(&rig);
            script_rule(&rules);
            script_give(fd, small_requests, sizeof small_requests - 1);
            rig_run(&rig);
            assert_text(script_taken(fd), SLICE(small_replies));
            script_rule(&undisturbed);
            script_end(fd);
            rig_run(&rig);
            assert_true(script_closed(fd));
        }
        if (call % CALLS_PER_RIG == 0)
            rig_stop(&rig);
    }
}

/* The connection is reset at every call: what was sent is a beginning of the undisturbed reply. */
static void
test_resets(void **state)
{
    (void)state;
    struct text requests = long_requests();
    struct text wanted = play(slice_of(&requests), &undisturbed);
    static const int errors[] = {ECONNRESET, EPIPE, ETIMEDOUT};
    struct rig rig;
    for (unsigned call = 1; call <= 4 * CALLS_PER_RIG; call++) {
        struct script_rules rules = {.recv_max = 7000, .send_max = 5000, .fail_call = call,
                                     .fail_error = errors[call % LENGTH(errors)]};
        if (call % CALLS_PER_RIG == 1)
            rig_start(&rig, NULL);
        int fd = rig_connect(&rig), other = rig_connect(&rig);
        script_rule(&rules);
        script_give(fd, requests.at, requests.len);
        rig_run(&rig);
        assert_true(script_closed(fd));
        struct slice got = script_taken(fd);
        assert_true(got.len <= wanted.len);
        assert_text(got, (struct slice){wanted.at, got.len});
        assert_int_equal(rig_counter(&rig, CONN_conn_memory_bytes), 0);
        script_rule(&undisturbed);
        ask(&rig, other, "set x 0 0 1\r\n1\r\nget x\r\n",
            "STORED\r\nVALUE x 0 1\r\n1\r\nEND\r\n");
        if (call % CALLS_PER_RIG == 0)
            rig_stop(&rig);
    }
    drop(&wanted);
    drop(&requests);
}

/* The wire is asked no more often than it must be: this is what performance rests on. */
static void
test_steady_state_calls(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    int fd = rig_connect(&rig), second = rig_connect(&rig);
    ask(&rig, fd, "set a 0 0 1\r\n1\r\n", "STORED\r\n");
    script_rule(&undisturbed);
    for (int i = 0; i < 10; i++) {
        script_give_text(fd, "get a\r\nget a\r\nset a 0 0 1\r\n2\r\n");
        script_give_text(second, "mn\r\n");
        rig_turn(&rig);
    }
    struct script_counts counts = script_counts();
    assert_int_equal(counts.recvs, 20);
    assert_int_equal(counts.sends, 20);
    assert_int_equal(counts.waits, 10);
    assert_int_equal(counts.changes, 0);
    assert_int_equal(rig_counter(&rig, CONN_conn_memory_bytes), 0);
    rig_stop(&rig);
}

/* ---- the order of things --------------------------------------------------------------------- */

/*
 * Several clients pipeline through the same batches; each has keys of its own, so each must be
 * answered as if it were alone.
 */
static void
test_batches_keep_order(void **state)
{
    (void)state;
    enum { CLIENTS = 100, REQUESTS = 60 };
    struct rig rig;
    rig_start(&rig, NULL);
    int fds[CLIENTS];
    struct text wanted[CLIENTS] = {{0}};
    for (int c = 0; c < CLIENTS; c++) {
        fds[c] = rig_connect(&rig);
        struct text requests = {0};
        for (int i = 0; i < REQUESTS; i++) {
            add_line(&requests, "set k%d 0 0 4\r\n%04d\r\nget k%d none%d\r\nincr k%d 1\r\n", c, i,
                     c, c, c);
            add_line(&wanted[c], "STORED\r\nVALUE k%d 0 4\r\n%04d\r\nEND\r\n%d\r\n", c, i, i + 1);
        }
        script_give(fds[c], requests.at, requests.len);
        drop(&requests);
    }
    rig_run(&rig);
    for (int c = 0; c < CLIENTS; c++) {
        assert_text(script_taken(fds[c]), slice_of(&wanted[c]));
        drop(&wanted[c]);
    }
    rig_stop(&rig);
}

/* The last batch of a turn has one key only: nothing is known of it from the batch before. */
static void
test_one_key_after_others(void **state)
{
    (void)state;
    struct rig rig;
    struct text requests = {0}, wanted = {0};
    rig_start(&rig, NULL);
    int fd = rig_connect(&rig);
    ask(&rig, rig_connect(&rig), "set a 0 0 1\r\n1\r\n", "STORED\r\n");
    add_text(&requests, "get none\r\nget neither\r\n");
    add_text(&wanted, "END\r\nEND\r\n");
    for (unsigned i = 2; i < CMD_BATCH_MAX; i++) {
        add_text(&requests, "mn\r\n");
        add_text(&wanted, "MN\r\n");
    }
    add_text(&requests, "get a\r\n");
    add_text(&wanted, "VALUE a 0 1\r\n1\r\nEND\r\n");
    script_give(fd, requests.at, requests.len);
    rig_turn(&rig);
    assert_text(script_taken(fd), slice_of(&wanted));
    drop(&requests);
    drop(&wanted);
    rig_stop(&rig);
}

/* What was parsed ahead behind a quit is forgotten; the next client of the turn is not. */
static void
test_stopped_between_batches(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    int fds[3];
    for (int c = 0; c < 3; c++) {
        fds[c] = rig_connect(&rig);
        for (int i = 0; i < 150; i++)
            script_give_text(fds[c], c == 1 || i != 70 + c ? "mn\r\n" : "quit\r\n");
    }
    rig_turn(&rig);
    assert_int_equal(script_taken(fds[0]).len, 70 * 4);
    assert_int_equal(script_taken(fds[1]).len, 150 * 4);
    assert_int_equal(script_taken(fds[2]).len, 72 * 4);
    assert_true(script_closed(fds[0]));
    assert_true(script_closed(fds[2]));
    rig_stop(&rig);
}

/* A flood of requests does not keep a neighbour waiting for more than a quantum. */
static void
test_requests_quantum(void **state)
{
    (void)state;
    struct rig_options options = {.requests_per_turn = 10};
    struct rig rig;
    rig_start(&rig, &options);
    int flood = rig_connect(&rig), other = rig_connect(&rig);
    for (int i = 0; i < 1000; i++)
        script_give_text(flood, "mn\r\n");
    rig_turn(&rig);
    assert_int_equal(script_taken(flood).len, 10 * 4);
    assert_int_equal(rig.timeout_ms, 0);
    script_give_text(other, "version\r\n");
    rig_turn(&rig);
    assert_replies(other, "VERSION 1.6.45\r\n");
    assert_int_equal(script_taken(flood).len, 20 * 4);
    rig_run(&rig);
    assert_int_equal(script_taken(flood).len, 1000 * 4);
    assert_int_equal(rig_counter(&rig, CONN_conn_yields), 99);
    rig_stop(&rig);
}

/* A list of statistics takes as long as hundreds of gets: a turn of a connection has one. */
static void
test_statistics_end_a_turn(void **state)
{
    static const char *const kinds[] = {"stats\r\n", "stats detail dump\r\n"};
    (void)state;
    for (unsigned i = 0; i < LENGTH(kinds); i++) {
        struct rig rig;
        rig_start(&rig, NULL);
        int flood = rig_connect(&rig), other = rig_connect(&rig);
        for (unsigned n = 0; n < 10; n++)
            script_give_text(flood, "mn\r\n");
        for (unsigned n = 0; n < 100; n++)
            script_give_text(flood, kinds[i]);
        rig_turn(&rig);
        size_t first = script_taken(flood).len, each = first - 10 * 4;
        assert_true(each > 0);
        assert_int_equal(rig.timeout_ms, 0);
        script_give_text(other, "version\r\n");
        rig_turn(&rig);
        assert_replies(other, "VERSION 1.6.45\r\n");
        assert_int_equal(script_taken(flood).len, first + each);
        rig_run(&rig);
        assert_int_equal(script_taken(flood).len, first + 99 * each);
        assert_int_equal(rig_counter(&rig, CONN_conn_yields), 99);
        rig_stop(&rig);
    }
}

/* Statistics are for those who want to know why others wait. */
static void
test_statistics_while_starved(void **state)
{
    enum { BYTES = RIG_LONG_LIST * sizeof "STAT threads 1\r" + sizeof "END\r" };
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    size_t sum = 0;
    for (size_t step = (size_t)1 << 20; step > 0; step /= 2) {
        while (cmd_memory_borrow(rig.thread, step))
            sum += step;
    }
    int reads = rig_connect(&rig), pauses = rig_connect(&rig);
    script_give_text(reads, "stats long\r\n");
    script_window(reads, BYTES + 5000);
    script_give_text(pauses, "stats long\r\n");
    script_window(pauses, 1000);
    rig_run(&rig);
    assert_int_equal(script_taken(reads).len, BYTES);
    assert_int_equal(script_taken(pauses).len, 0);
    assert_int_equal(rig.lists, 1);            /* none is made before there is room for it */
    script_window(pauses, BYTES + 5000);
    rig_run(&rig);
    assert_int_equal(script_taken(pauses).len, BYTES);
    assert_int_equal(rig.lists, 2);
    cmd_memory_repay(rig.thread, sum);
    rig_stop(&rig);
}

/* One get of many large values is left between two of them. */
static void
test_bytes_quantum(void **state)
{
    (void)state;
    enum { TIMES = 200, BYTES = 20000 };
    struct rig_options options = {.bytes_per_turn = 100000};
    struct rig rig;
    rig_start(&rig, &options);
    int fd = rig_connect(&rig), other = rig_connect(&rig);
    struct text value = {0}, get = {0}, wanted = {0};
    add_block(&value, BYTES);
    add_line(&get, "set v 0 0 %d\r\n", BYTES);
    add(&get, value.at, value.len);
    add_text(&get, "\r\nget");
    add_text(&wanted, "STORED\r\n");
    for (int i = 0; i < TIMES; i++) {
        add_text(&get, " v");
        add_line(&wanted, "VALUE v 0 %d\r\n", BYTES);
        add(&wanted, value.at, value.len);
        add_text(&wanted, "\r\n");
    }
    add_text(&get, "\r\nmn\r\n");
    add_text(&wanted, "END\r\nMN\r\n");
    script_give(fd, get.at, get.len);
    unsigned turns = 0;
    do {
        size_t before = script_taken(fd).len;
        script_forget(other);
        script_give_text(other, "mn\r\n");
        rig_turn(&rig);
        assert_replies(other, "MN\r\n");
        /* The quantum, and what one call of the commands may add to it. */
        assert_true(script_taken(fd).len - before <= 100000 + CMD_WINDOW_BYTES + (128 << 10));
        turns++;
    } while (rig.timeout_ms == 0 || script_unread(fd) > 0);
    assert_true(turns >= 4);
    assert_text(script_taken(fd), slice_of(&wanted));
    drop(&value);
    drop(&get);
    drop(&wanted);
    rig_stop(&rig);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void
test_half_close(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    int fd = rig_connect(&rig), slow = rig_connect(&rig);
    script_give_text(fd, "set a 0 0 1\r\n1\r\nget a\r\nget a\r\nget");
    script_end(fd);
    script_window(slow, 3);
    script_give_text(slow, "version\r\nmn\r\n");
    script_end(slow);
    rig_run(&rig);
    assert_true(script_closed(fd));
    assert_replies(fd, "STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
    assert_false(script_closed(slow));
    assert_replies(slow, "VER");
    script_window(slow, 1000);
    rig_run(&rig);
    assert_true(script_closed(slow));
    assert_replies(slow, "VERSION 1.6.45\r\nMN\r\n");
    rig_stop(&rig);
}

/* Input of a client that is gone is executed all the same, also what had to wait. */
static void
test_hang_up_after_requests(void **state)
{
    (void)state;
    struct rig_options options = {.requests_per_turn = 1};
    struct rig rig;
    rig_start(&rig, &options);
    int fd = rig_connect_unix(&rig), other = rig_connect(&rig);
    script_give_text(fd, "set a 0 0 1 noreply\r\n1\r\nset a 0 0 1 noreply\r\n2\r\n"
                         "set a 0 0 1 noreply\r\n3\r\n");
    script_hang_up(fd);
    rig_run(&rig);
    assert_true(script_closed(fd));
    ask(&rig, other, "get a\r\n", "VALUE a 0 1\r\n3\r\nEND\r\n");
    rig_stop(&rig);
}

static void
test_server_hangs_up(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    int http = rig_connect(&rig), line = rig_connect(&rig), quit = rig_connect(&rig);
    script_give_text(http, "mn\r\nGET / HTTP/1.1\r\nmn\r\n");
    struct text long_line = {0};
    add_text(&long_line, "mn\r\ndelete ");
    add_block(&long_line, 3000);
    script_give(line, long_line.at, long_line.len);
    script_window(quit, 2);
    script_give_text(quit, "version\r\nquit\r\nmn\r\n");
    rig_run(&rig);
    assert_true(script_closed(http));
    assert_replies(http, "MN\r\n");
    assert_true(script_closed(line));
    assert_replies(line, "MN\r\n");
    assert_false(script_closed(quit));
    script_window(quit, 100);
    rig_run(&rig);
    assert_true(script_closed(quit));
    assert_replies(quit, "VERSION 1.6.45\r\n");
    drop(&long_line);
    rig_stop(&rig);
}

/* A get may have a line of any length up to 1 MiB, in any pieces. */
static void
test_long_get_line(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    int fd = rig_connect(&rig);
    ask(&rig, fd, "set a 0 0 1\r\n1\r\n", "STORED\r\n");
    struct text line = {0};
    add_text(&line, "get");
    for (int i = 0; i < 40000; i++)
        add_line(&line, " missing-%d", i);
    add_text(&line, " a\r\nget ");
    for (size_t at = 0; at < line.len; at += 1000) {
        size_t n = line.len - at < 1000 ? line.len - at : 1000;
        script_forget(fd);
        script_give(fd, line.at + at, n);
        rig_run(&rig);
    }
    assert_replies(fd, "VALUE a 0 1\r\n1\r\nEND\r\n");
    assert_int_equal(rig_counter(&rig, CONN_conn_memory_bytes), strlen("get "));
    ask(&rig, fd, "a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    assert_int_equal(rig_counter(&rig, CONN_conn_memory_bytes), 0);
    drop(&line);
    rig_stop(&rig);
}

enum parse __real_proto_parse(const char *in, size_t len, size_t *searched, struct request *req,
                              size_t *used);
enum parse __wrap_proto_parse(const char *in, size_t len, size_t *searched, struct request *req,
                              size_t *used);

static unsigned parses;

enum parse
__wrap_proto_parse(const char *in, size_t len, size_t *searched, struct request *req, size_t *used)
{
    parses++;
    return __real_proto_parse(in, len, searched, req, used);
}

/* A line is parsed once, into however many turns its keys are divided. */
static void
test_long_get_line_is_parsed_once(void **state)
{
    static const char *const verbs[] = {"get ", "gets  ", "gat 0 ", "gats 100 "};
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    for (unsigned i = 0; i < LENGTH(verbs); i++) {
        int fd = rig_connect(&rig), other = rig_connect(&rig);
        ask(&rig, other, "set a 3 0 1\r\n1\r\nset b 4 0 1\r\n2\r\n", "STORED\r\nSTORED\r\n");
        struct text line = {0};
        bool is_long = verbs[i][1] == 'e';    /* a gat may not be */
        add_text(&line, verbs[i]);
        add_text(&line, "a");
        for (unsigned n = 0; n < (is_long ? 100000 : 7000); n++)
            add_text(&line, " x");
        add_text(&line, "  b \r\nmn\r\n");
        parses = 0;
        script_give(fd, line.at, line.len);
        rig_run(&rig);
        struct slice got = script_taken(fd);
        if (strchr(verbs[i], 's') == NULL)
            assert_replies(fd, "VALUE a 3 1\r\n1\r\nVALUE b 4 1\r\n2\r\nEND\r\nMN\r\n");
        assert_true(got.len > 40);
        assert_memory_equal(got.at + got.len - 14, "\r\n2\r\nEND\r\nMN\r\n", 14);
        assert_in_range(parses, 1, is_long ? 20 : 3);
        drop(&line);
    }
    rig_stop(&rig);
}

/* ---- clients that do not read, do not send, do nothing --------------------------------------- */

static void
store_value(struct rig *rig, const char *key, size_t bytes)
{
    struct text set = {0};
    int fd = rig_connect(rig);
    add_line(&set, "set %s 0 0 %zu\r\n", key, bytes);
    add_block(&set, bytes);
    add_text(&set, "\r\nquit\r\n");
    script_give(fd, set.at, set.len);
    rig_run(rig);
    assert_replies(fd, "STORED\r\n");
    assert_true(script_closed(fd));
    drop(&set);
}

static uint64_t
borrowed(struct rig *rig)
{
    struct store_stats stats;
    store_stats_read(rig->store, &stats);
    return stats.borrowed_bytes;
}

/* A gat that must wait until what stands before it has been sent has not changed anything yet. */
static void
test_gat_behind_a_long_reply(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 60000);
    store_value(&rig, "w", 6000);
    int fd = rig_connect(&rig);
    script_give_text(fd, "get v\r\ngat -1 w\r\nget w\r\n");
    rig_run(&rig);
    assert_int_equal(script_taken(fd).len, strlen("VALUE v 0 60000\r\n") + 60002 +
                     strlen("END\r\nVALUE w 0 6000\r\n") + 6002 + strlen("END\r\nEND\r\n"));
    rig_stop(&rig);
}

/* What is reserved for a large reply is given back when the socket has taken it. */
static void
test_fast_reader(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 200000);
    int fd = rig_connect(&rig);
    rig.now_s++;
    rig_turn(&rig);
    uint64_t before = borrowed(&rig);
    script_give_text(fd, "get v v v\r\n");
    rig_run(&rig);
    assert_int_equal(script_taken(fd).len, 3 * (strlen("VALUE v 0 200000\r\n") + 200002) + 5);
    rig.now_s++;    /* what the heap keeps goes back once a second */
    rig_turn(&rig);
    assert_int_equal(borrowed(&rig), before);
    rig_stop(&rig);
}

/* A reader that stops holds one window; it gets everything when it goes on. */
static void
test_slow_reader(void **state)
{
    (void)state;
    struct rig_options options = {.memory_bytes = (size_t)64 << 20};
    struct rig rig;
    rig_start(&rig, &options);
    store_value(&rig, "v", 200000);
    int fd = rig_connect(&rig), other = rig_connect(&rig);
    struct text get = {0}, wanted = {0};
    add_text(&get, "get");
    for (int i = 0; i < 100; i++) {
        add_text(&get, " v");
        add_text(&wanted, "VALUE v 0 200000\r\n");
        add_block(&wanted, 200000);
        add_text(&wanted, "\r\n");
    }
    add_text(&get, "\r\n");
    add_text(&wanted, "END\r\n");
    script_window(fd, 70000);
    script_give(fd, get.at, get.len);
    while (script_taken(fd).len < wanted.len) {
        rig_run(&rig);
        size_t before = script_taken(fd).len;
        assert_true(rig_counter(&rig, CONN_conn_memory_bytes) <=
                    2 * CMD_WINDOW_BYTES + (128 << 10));
        ask(&rig, other, "mn\r\n", "MN\r\n");
        script_window(fd, 70000);
        rig_run(&rig);
        assert_true(script_taken(fd).len > before);
    }
    assert_text(script_taken(fd), slice_of(&wanted));
    drop(&get);
    drop(&wanted);
    rig_stop(&rig);
}

/* Packets of long values are cut into windows like text: each is whole, nothing is between them. */
static void
test_slow_reader_of_packets(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    int fd = rig_connect(&rig);
    struct text requests = {0}, value = {0};
    add_block(&value, 200000);
    add_store_packet(&requests, 0x11, "v", value.len);
    for (uint32_t i = 0; i < 20; i++)
        add_packet(&requests, &(struct packet){.opcode = 0x0c, .key = "v", .opaque = i});
    script_window(fd, 70000);
    script_give(fd, requests.at, requests.len);
    size_t whole = 24 + 4 + 1 + value.len, before = SIZE_MAX;
    for (rig_run(&rig); script_taken(fd).len != before; rig_run(&rig)) {
        before = script_taken(fd).len;
        script_window(fd, 70000);
    }
    struct slice taken = script_taken(fd);
    assert_int_equal(taken.len, 20 * whole);
    for (uint32_t i = 0; i < 20; i++) {
        const char *at = taken.at + i * whole;
        assert_memory_equal(at, "\x81\x0c\0\1\4\0\0", 8);
        assert_int_equal(packet_get(at + 8, 4), whole - 24);
        assert_int_equal(packet_get(at + 12, 4), i);
        assert_memory_equal(at + 24, "\0\0\0\7v", 5);
        assert_text((struct slice){at + 29, value.len}, slice_of(&value));
    }
    drop(&requests);
    drop(&value);
    rig_stop(&rig);
}

/*
 * Readers that never read use up what connections may borrow.  Who reads is served all the same, who
 * does not waits; after 30 s the first readers are closed.
 */
static void
test_stuck_readers(void **state)
{
    (void)state;
    enum { READERS = 60 };
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 60000);
    int fds[READERS], other = rig_connect(&rig);
    for (int i = 0; i < READERS; i++) {
        fds[i] = rig_connect(&rig);
        script_window(fds[i], 1000);
        script_give_text(fds[i], "get v v v v v v\r\n");
    }
    rig_run(&rig);
    size_t quarter = (size_t)2 << 20;
    assert_true(rig_counter(&rig, CONN_conn_memory_waits) > 0);
    assert_true(rig_counter(&rig, CONN_conn_memory_bytes) <= quarter + (128 << 10));
    assert_true(rig.shared.memory_waiters > 0);
    assert_int_equal(rig.timeout_ms, 1);
    ask(&rig, other, "mn\r\nset x 0 0 1\r\n1\r\nget x x x\r\n",
        "MN\r\nSTORED\r\nVALUE x 0 1\r\n1\r\nVALUE x 0 1\r\n1\r\nVALUE x 0 1\r\n1\r\nEND\r\n");

    size_t answer = 6 * (strlen("VALUE v 0 60000\r\n") + 60002) + strlen("END\r\nMN\r\n");
    int reads = rig_connect(&rig), pauses = rig_connect(&rig);
    script_give_text(reads, "get v v v v v v\r\nmn\r\n");
    script_window(pauses, 500);
    script_give_text(pauses, "get v v v v v v\r\nmn\r\n");
    rig_run(&rig);
    assert_int_equal(script_taken(reads).len, answer);
    assert_int_equal(script_taken(pauses).len, 0);
    script_window(pauses, 1000000);
    rig_run(&rig);
    assert_int_equal(script_taken(pauses).len, answer);

    for (int i = 0; i < READERS; i++)
        assert_false(script_closed(fds[i]));
    rig.now_s += 29;
    rig_run(&rig);
    assert_int_equal(rig_counter(&rig, CONN_conn_closed_stuck_reader), 0);
    rig.now_s += 1;
    rig_run(&rig);
    assert_true(rig_counter(&rig, CONN_conn_closed_stuck_reader) > 0);
    rig_stop(&rig);
}

/*
 * Of a value in pieces nothing needs to be kept: readers that never read hold next to nothing, and
 * make nobody wait.  Who goes on gets the rest; if the value has been replaced it is closed.
 */
static void
test_stuck_readers_of_long_values(void **state)
{
    (void)state;
    enum { READERS = 100 };
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 200000);
    int fds[READERS];
    for (int i = 0; i < READERS; i++) {
        fds[i] = rig_connect(&rig);
        script_window(fds[i], i < 2 ? 10 : 1000);    /* the first two: a part of the header */
        script_give_text(fds[i], "get v\r\n");
    }
    rig_run(&rig);
    size_t half_of_quarter = (size_t)1 << 20;
    assert_true(rig_counter(&rig, CONN_conn_memory_bytes) <= half_of_quarter);
    assert_int_equal(rig_counter(&rig, CONN_conn_memory_waits), 0);

    struct text wanted = {0};
    add_text(&wanted, "VALUE v 0 200000\r\n");
    add_block(&wanted, 200000);
    add_text(&wanted, "\r\nEND\r\n");
    for (int i = 0; i < READERS; i += 2) {
        while (script_taken(fds[i]).len < wanted.len) {
            script_window(fds[i], 33333);
            rig_run(&rig);
            assert_false(script_closed(fds[i]));
        }
        assert_text(script_taken(fds[i]), slice_of(&wanted));
    }
    store_value(&rig, "v", 100);
    unsigned served = 0, closed = 0;
    for (int i = 1; i < READERS; i += 2) {
        script_window(fds[i], 1000000);
        rig_run(&rig);
        closed += script_closed(fds[i]);
        served += script_taken(fds[i]).len == wanted.len;
    }
    assert_true(closed > 0 && served > 0 && closed + served == READERS / 2);
    assert_int_equal(rig_counter(&rig, CONN_conn_closed_value_gone), closed);
    drop(&wanted);
    rig_stop(&rig);
}

/* When others wait, those readers are closed who hold something. */
static void
test_stuck_readers_who_hold_nothing(void **state)
{
    (void)state;
    enum { READERS = 50 };
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 200000);
    for (int i = 0; i < READERS; i++) {
        int fd = rig_connect(&rig);
        script_window(fd, 1000);
        script_give_text(fd, "get v\r\n");
    }
    rig_run(&rig);
    uint64_t held = rig_counter(&rig, CONN_conn_memory_bytes);
    rig.shared.memory_waiters++;       /* on another worker */
    rig.now_s += 30;
    rig_turn(&rig);
    rig.shared.memory_waiters--;
    assert_true(rig_counter(&rig, CONN_conn_closed_stuck_reader) > 0);
    assert_true(rig_counter(&rig, CONN_conn_closed_stuck_reader) <= held / 190000);
    assert_true(rig_counter(&rig, CONN_conn_memory_bytes) < 50000);
    rig_stop(&rig);
}

/* Nobody waits for memory: a reader may take as long as it likes. */
static void
test_stuck_reader_alone(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 200000);
    int fd = rig_connect(&rig);
    script_window(fd, 1000);
    script_give_text(fd, "get v\r\n");
    rig_run(&rig);
    rig.now_s += 3600;
    rig_turn(&rig);
    rig_run(&rig);
    assert_false(script_closed(fd));
    script_window(fd, 1000000);
    rig_run(&rig);
    assert_int_equal(script_taken(fd).len, strlen("VALUE v 0 200000\r\n") + 200002 + 5);
    rig_stop(&rig);
}

/* The first `there` bytes of an upload of 200,000, from a client of its own. */
static int
begin_upload(struct rig *rig, int number, size_t there)
{
    struct text part = {0};
    int fd = rig_connect(rig);
    add_line(&part, "set u%d 0 0 200000\r\n", number);
    add_block(&part, there);
    script_give(fd, part.at, part.len);
    drop(&part);
    rig_run(rig);
    return fd;
}

/*
 * Uploads that stop in the middle give their memory back as soon as others want it, and can go on
 * all the same: what they have brought is in the cache, if it has not been evicted.
 */
static void
test_still_uploads(void **state)
{
    (void)state;
    enum { UPLOADS = 25 };
    struct rig rig;
    rig_start(&rig, NULL);
    int fds[UPLOADS];
    for (int i = 0; i < UPLOADS; i++)
        fds[i] = begin_upload(&rig, i, 130000 + (size_t)i * 777);
    struct store_stats stats;
    store_stats_read(rig.store, &stats);
    assert_true(stats.lent_bytes <= ((size_t)2 << 20) + ((size_t)256 << 10));
    assert_int_equal(rig.shared.memory_waiters, 0);
    assert_true(rig_counter(&rig, CONN_conn_uploads_set_aside) >= UPLOADS / 2);
    int other = rig_connect(&rig);
    ask(&rig, other, "set x 0 0 1\r\n1\r\nget x\r\n", "STORED\r\nVALUE x 0 1\r\n1\r\nEND\r\n");

    struct text block = {0}, wanted = {0};
    add_block(&block, 200000);
    add_text(&block, "\r\n");
    unsigned hits = 0;
    for (int i = 0; i < UPLOADS - 3; i++) {
        size_t there = 130000 + (size_t)i * 777;
        script_give(fds[i], block.at + there, 1000);
        rig_run(&rig);
        script_give(fds[i], block.at + there + 1000, block.len - there - 1000);
        rig_run(&rig);
        assert_replies(fds[i], "STORED\r\n");
    }
    script_hang_up(fds[UPLOADS - 1]);
    rig_run(&rig);
    for (int i = 0; i < UPLOADS - 3; i++) {
        char get[32];
        snprintf(get, sizeof get, "get u%d\r\n", i);
        script_forget(other);
        script_give_text(other, get);
        rig_run(&rig);
        if (script_taken(other).len == strlen("END\r\n"))
            continue;
        wanted.len = 0;
        add_line(&wanted, "VALUE u%d 0 200000\r\n", i);
        add(&wanted, block.at, block.len);
        add_text(&wanted, "END\r\n");
        assert_text(script_taken(other), slice_of(&wanted));
        hits++;
    }
    assert_true(hits > UPLOADS / 2);
    drop(&block);
    drop(&wanted);
    rig_stop(&rig);
}

/* An upload does not begin before the answers in front of it have been taken. */
static void
test_uploads_of_those_who_do_not_read(void **state)
{
    (void)state;
    enum { CLIENTS = 25 };
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "x", 5);
    struct text packet = {0}, rest = {0};
    add_text(&packet, "get x\r\nset u 0 0 200000\r\n");
    add_block(&packet, 3000);
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = rig_connect(&rig);
        script_window(fds[i], 3);
        script_give(fds[i], packet.at, packet.len);
        rig_run(&rig);
    }
    struct store_stats stats;
    store_stats_read(rig.store, &stats);
    assert_int_equal(stats.lent_bytes, 0);
    store_value(&rig, "v", 200000);
    script_window(fds[0], 1000);
    add_block(&rest, 197000);
    add_text(&rest, "\r\n");
    script_give(fds[0], rest.at, rest.len);
    rig_run(&rig);
    assert_replies(fds[0], "VALUE x 0 5\r\nahovc\r\nEND\r\nSTORED\r\n");
    drop(&packet);
    drop(&rest);
    rig_stop(&rig);
}

/* What those leave behind who never come back takes no room. */
static void
test_uploads_left_behind(void **state)
{
    (void)state;
    enum { UPLOADS = 25 };
    struct rig rig;
    rig_start(&rig, NULL);
    int fds[UPLOADS];
    for (int i = 0; i < UPLOADS; i++)
        fds[i] = begin_upload(&rig, i, 150000);
    assert_true(rig_counter(&rig, CONN_conn_uploads_set_aside) > 0);
    for (int i = 0; i < UPLOADS; i++)
        script_hang_up(fds[i]);
    struct store_stats stats;
    for (int i = 0; i < 5000; i++)
        rig_turn(&rig);
    store_stats_read(rig.store, &stats);
    assert_int_equal(stats.items_present, 0);
    assert_int_equal(stats.bytes_present, 0);
    rig_stop(&rig);
}

/* Borrows what connections may have at the very most, or leaves `left` of it; how much it was. */
static size_t
borrow_all_but(struct rig *rig, size_t left)
{
    size_t sum = 0;
    for (size_t step = (size_t)1 << 20; step > 0; step /= 2) {
        while (cmd_memory_borrow_forced(rig->thread, step))
            sum += step;
    }
    assert_true(sum >= left);
    cmd_memory_repay(rig->thread, left);
    return sum - left;
}

/* What was answered before an upload that cannot go on is its client's, and nobody else's. */
static void
test_answers_before_a_refused_upload(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "x", 5);
    int gone = rig_connect(&rig), fd = rig_connect(&rig), other = rig_connect(&rig);
    struct text packet = {0};
    add_text(&packet, "get x\r\nset u 0 0 100000\r\n");
    add_block(&packet, 3000);
    size_t sum = borrow_all_but(&rig, 0);
    script_give(fd, packet.at, packet.len);
    script_give(gone, packet.at, packet.len);
    script_window(gone, 0);
    script_give_text(other, "mn\r\n");
    rig_run(&rig);
    assert_replies(other, "MN\r\n");
    assert_replies(fd, "VALUE x 0 5\r\nahovc\r\nEND\r\n");
    assert_true(script_closed(fd));
    assert_true(script_closed(gone));
    cmd_memory_repay(rig.thread, sum);
    drop(&packet);
    rig_stop(&rig);
}

/*
 * Clients that wait for memory and send no more: one whose upload can never be complete is closed at
 * once, the other is served.
 */
static void
test_gone_while_waiting(void **state)
{
    (void)state;
    enum { HOLDERS = 10 };
    struct rig rig;
    rig_start(&rig, NULL);
    struct text part = {0}, whole = {0};
    add_line(&part, "set u 0 0 200000\r\n");
    add_block(&part, 199000);
    add_line(&whole, "set w 0 0 200000\r\n");
    add_block(&whole, 200000);
    add_text(&whole, "\r\nget w\r\n");
    for (int i = 0; i < HOLDERS; i++)
        script_give(rig_connect(&rig), part.at, part.len);
    int upload = rig_connect(&rig), stays = rig_connect(&rig);
    script_give(upload, part.at, part.len);
    script_give(stays, whole.at, whole.len);
    for (int i = 0; i < 5; i++)
        rig_turn(&rig);
    assert_true(rig.shared.memory_waiters > 2);
    script_end(upload);
    script_end(stays);
    for (int i = 0; i < 3; i++)
        rig_turn(&rig);
    assert_true(script_closed(upload));
    assert_false(script_closed(stays));
    rig_run(&rig);
    assert_true(script_closed(stays));
    assert_int_equal(script_taken(stays).len,
                     strlen("STORED\r\nVALUE w 0 200000\r\n") + 200002 + strlen("END\r\n"));
    drop(&whole);
    drop(&part);
    rig_stop(&rig);
}

/* Those that make no progress for 10 s while somebody waits are closed, all of them at once. */
static void
test_stuck_uploads(void **state)
{
    (void)state;
    enum { UPLOADS = 30 };
    struct rig rig;
    rig_start(&rig, NULL);
    int fds[UPLOADS];
    for (int i = 0; i < UPLOADS; i++)
        fds[i] = begin_upload(&rig, i, 150000);
    rig.now_s += 100;
    rig_run(&rig);
    assert_int_equal(rig_counter(&rig, CONN_conn_closed_stuck_upload), 0);
    script_give(fds[0], "slow", 4);    /* but moving */
    rig_run(&rig);
    rig.shared.memory_waiters++;       /* on another worker */
    rig.now_s++;
    rig_run(&rig);
    rig_turn(&rig);
    assert_int_equal(rig_counter(&rig, CONN_conn_closed_stuck_upload), UPLOADS - 1);
    assert_false(script_closed(fds[0]));
    for (int i = 1; i < UPLOADS; i++)
        assert_true(script_closed(fds[i]));
    rig.shared.memory_waiters--;
    rig_stop(&rig);
}

/* Half a line of a get, longer than what a connection may keep uncovered. */
static int
begin_line(struct rig *rig)
{
    int fd = rig_connect(rig);
    struct text half = {0};
    add_text(&half, "get");
    while (half.len < 20000)
        add_text(&half, " kkkkkkkkkkkkkkkkkkk");
    script_give(fd, half.at, half.len);
    rig_run(rig);
    drop(&half);
    return fd;
}

/* A byte now and then is no progress while somebody waits: lines, uploads, readers. */
static void
test_trickling(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 60000);
    int line = begin_line(&rig), upload = begin_upload(&rig, 1, 100000), reader = rig_connect(&rig),
        moving = begin_upload(&rig, 2, 50000);
    script_window(reader, 1000);
    script_give_text(reader, "get v\r\n");
    rig_run(&rig);
    struct text part = {0};
    add_block(&part, 3000);
    for (unsigned s = 0; s < 200; s++) {
        if (s == 100)
            rig.shared.memory_waiters++;       /* on another worker */
        rig.now_s++;
        if (!script_closed(line))
            script_give_text(line, "k");
        if (!script_closed(upload))
            script_give_text(upload, "u");
        if (s % 4 == 0 && s < 160)
            script_give(moving, part.at, part.len);
        script_window(reader, 1);
        rig_turn(&rig);
        rig_turn(&rig);
        assert_int_equal(script_closed(line), s >= 109);
        assert_int_equal(script_closed(upload), s >= 109);
        assert_int_equal(script_closed(reader), s >= 129);
        assert_false(script_closed(moving) && s < 160);
    }
    assert_true(script_closed(moving));
    rig.shared.memory_waiters--;
    drop(&part);
    rig_stop(&rig);
}

/* Uploads that get a byte in every turn are still, too, whoever else holds memory. */
static void
test_trickling_uploads_are_set_aside(void **state)
{
    enum { LINES = 40, UPLOADS = 5 };
    (void)state;
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.memory_bytes = (size_t)32 << 20});
    int fds[UPLOADS];
    for (int i = 0; i < LINES; i++)
        begin_line(&rig);
    for (int i = 0; i < UPLOADS; i++)
        fds[i] = begin_upload(&rig, i, 100000);
    rig.shared.memory_waiters++;               /* on another worker */
    for (unsigned turn = 0; turn < 100; turn++) {
        for (int i = 0; i < UPLOADS; i++)
            script_give_text(fds[i], "u");
        rig_turn(&rig);
        if (turn == 50)
            assert_int_equal(rig_counter(&rig, CONN_conn_uploads_set_aside), 0);
    }
    assert_in_range(rig_counter(&rig, CONN_conn_uploads_set_aside), UPLOADS, 2 * UPLOADS);
    rig.shared.memory_waiters--;
    rig_stop(&rig);
}

/* Who had to wait for its share for long is not taken for stuck when it gets it. */
static void
test_waiting_is_not_standing_still(void **state)
{
    enum { UPLOADS = 20 };
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    int fds[UPLOADS];
    struct text part = {0};
    add_line(&part, "set u 0 0 200000\r\n");
    add_block(&part, 20000);
    for (int i = 0; i < UPLOADS; i++) {
        fds[i] = rig_connect(&rig);
        script_give(fds[i], part.at, part.len);
    }
    rig.shared.memory_waiters++;               /* on another worker */
    for (unsigned s = 0; s < 20; s++) {
        rig.now_s++;
        rig_turn(&rig);
        for (int i = 0; i < UPLOADS; i++) {
            if (script_unread(fds[i]) == 0 && s < 12)
                script_give(fds[i], part.at + 100, 5000);
            else if (script_unread(fds[i]) == 0 && s == 12)
                script_hang_up(fds[i]);        /* the next ones are admitted */
        }
        assert_int_equal(rig_counter(&rig, CONN_conn_closed_stuck_upload), 0);
    }
    assert_in_range(rig.closed, 1, UPLOADS - 1);
    rig.shared.memory_waiters--;
    drop(&part);
    rig_stop(&rig);
}

/* What is received at the end of such a wait is progress of that moment. */
static void
test_waiting_for_a_buffer_is_not_standing_still(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    int line = begin_line(&rig);
    struct text more = {0};
    add_block(&more, 60000);
    size_t sum = 0;
    for (size_t step = (size_t)1 << 20; step > 0; step /= 2) {
        while (cmd_memory_borrow(rig.thread, step))
            sum += step;
    }
    rig.shared.memory_waiters++;               /* on another worker */
    script_give(line, more.at, more.len);
    for (unsigned s = 0; s < 9; s++) {
        rig_turn(&rig);
        rig.now_s++;
    }
    assert_true(rig.shared.memory_waiters > 1);
    assert_true(script_unread(line) > 0);
    cmd_memory_repay(rig.thread, sum);
    for (unsigned s = 0; s < 9; s++) {
        for (unsigned turns = 0; turns < 5; turns++)
            rig_turn(&rig);
        rig.now_s++;
    }
    assert_int_equal(script_unread(line), 0);
    assert_false(script_closed(line));
    rig.shared.memory_waiters--;
    drop(&more);
    rig_stop(&rig);
}

/* Half lines of a get hold memory too. */
static void
test_stuck_lines(void **state)
{
    (void)state;
    enum { CLIENTS = 8 };
    struct rig rig;
    rig_start(&rig, NULL);
    int fds[CLIENTS];
    struct text half = {0};
    add_text(&half, "get ");
    while (half.len < 700000)
        add_text(&half, "kkkkkkkkkkkkkkkkkkk ");
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = rig_connect(&rig);
        script_give(fds[i], half.at, half.len);
        rig_run(&rig);
    }
    assert_true(rig_counter(&rig, CONN_conn_memory_bytes) <= ((size_t)2 << 20) + (64 << 10));
    assert_true(rig.shared.memory_waiters > 0);
    uint32_t waiting = rig.shared.memory_waiters;
    for (int round = 0; round < 30; round++) {
        rig.now_s += 1;
        rig_run(&rig);
    }
    /* They wait for each other: some are closed until nobody waits any more. */
    assert_true(rig.shared.memory_waiters < waiting);
    assert_true(rig_counter(&rig, CONN_conn_closed_stuck_upload) > 0);
    rig_run(&rig);
    assert_int_equal(rig.shared.memory_waiters, 0);
    int other = rig_connect(&rig);
    script_give(other, half.at, half.len);
    script_give_text(other, "last\r\n");
    for (int round = 0; round < 100; round++)
        rig_run(&rig);
    assert_replies(other, "END\r\n");
    drop(&half);
    rig_stop(&rig);
}

/* As many incomplete requests as like: the small ones are always taken in, counted. */
static void
test_many_incomplete(void **state)
{
    (void)state;
    enum { CLIENTS = 500 };
    struct rig rig;
    rig_start(&rig, NULL);
    int fds[CLIENTS];
    struct text part = {0};
    add_text(&part, "set k 0 0 4000\r\n");
    add_block(&part, 3900);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = rig_connect(&rig);
        script_give(fds[i], part.at, part.len);
    }
    rig_run(&rig);
    size_t held = rig_counter(&rig, CONN_conn_memory_bytes);
    assert_true(held >= CLIENTS * (size_t)3900 && held <= CLIENTS * (size_t)4200 + (128 << 10));
    struct text rest = {0};
    add_block(&rest, 100);
    add_text(&rest, "\r\n");
    for (int i = 0; i < CLIENTS; i++) {
        script_give(fds[i], rest.at, rest.len);
        rig_run(&rig);
        assert_replies(fds[i], "STORED\r\n");
    }
    assert_int_equal(rig_counter(&rig, CONN_conn_memory_bytes), 0);
    drop(&part);
    drop(&rest);
    rig_stop(&rig);
}

static void
test_idle_timeout(void **state)
{
    (void)state;
    struct rig_options options = {.idle_timeout_s = 10};
    struct rig rig;
    rig_start(&rig, &options);
    int idle = rig_connect(&rig), busy = rig_connect(&rig), local = rig_connect_unix(&rig),
        storing = rig_connect(&rig);
    script_give_text(storing, "set a 0 0 10\r\n123");
    rig_run(&rig);
    assert_int_equal(rig.timeout_ms, 1000);
    for (int s = 0; s < 10; s++) {
        rig.now_s++;
        script_forget(busy);
        script_give_text(busy, "mn\r\n");
        rig_turn(&rig);
        assert_false(script_closed(idle));
    }
    rig.now_s++;
    rig_turn(&rig);
    assert_true(script_closed(idle));
    assert_false(script_closed(busy));
    assert_false(script_closed(local));
    assert_false(script_closed(storing));
    assert_int_equal(rig_counter(&rig, CONN_idle_kicks), 1);
    ask(&rig, storing, "4567890\r\n", "STORED\r\n");
    rig.now_s += 12;
    rig_turn(&rig);
    assert_true(script_closed(busy));
    assert_true(script_closed(storing));
    rig_stop(&rig);
}

/* ---- `stats detail` -------------------------------------------------------------------------- */

/* Sets under so many prefixes, no reply. */
static void
set_prefixes(struct rig *rig, int fd, unsigned count)
{
    struct text sets = {0};
    for (unsigned i = 0; i < count; i++)
        add_line(&sets, "set prefix%05u:k 0 0 1 noreply\r\nx\r\n", i);
    script_give(fd, sets.at, sets.len);
    rig_run(rig);
    drop(&sets);
}

/* How many lines of the dump are those of set_prefixes(); each prefix at most once. */
static unsigned
count_rows(struct slice dump)
{
    static bool seen[100000];
    static const char before[] = "PREFIX prefix", after[] = " get 0 hit 0 set 1 del 0\r\n";
    unsigned count = 0;
    memset(seen, 0, sizeof seen);
    for (const char *at = dump.at, *end = dump.at + dump.len; at < end; count++) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        if (memcmp(at, "END\r\n", 5) == 0) {
            assert_ptr_equal(lf + 1, end);
            return count;
        }
        assert_memory_equal(at, before, sizeof before - 1);
        unsigned number = (unsigned)strtoul(at + sizeof before - 1, NULL, 10);
        assert_memory_equal(at + sizeof before - 1 + 5, after, sizeof after - 1);
        assert_false(seen[number]);
        seen[number] = true;
        at = lf + 1;
    }
    fail_msg("no END");
    return 0;
}

/* A dump longer than any buffer is sent as it is read, however little is taken at a time. */
static void
test_long_dump(void **state)
{
    enum { PREFIXES = 10000 };
    static const char row[] = "PREFIX prefix00000 get 0 hit 0 set 1 del 0\r\n";
    const size_t wanted = PREFIXES * (sizeof row - 1) + sizeof "END\r\nMN\r\n" - 1;
    (void)state;
    for (unsigned small = 0; small < 2; small++) {
        struct rig rig;
        rig_start(&rig, &(struct rig_options){.memory_bytes = (size_t)32 << 20});
        int fd = rig_connect(&rig), other = rig_connect(&rig);
        ask(&rig, other, "stats detail on\r\n", "OK\r\n");
        set_prefixes(&rig, other, PREFIXES);
        if (small)
            script_window(fd, 5000);
        size_t before = borrowed(&rig);
        script_give_text(fd, "stats detail dump\r\nmn\r\n");
        rig_run(&rig);
        while (script_taken(fd).len < wanted) {
            assert_true(borrowed(&rig) <= before + ((size_t)128 << 10));
            script_window(fd, 5000);
            rig_run(&rig);
        }
        struct slice heard = script_taken(fd);
        assert_int_equal(heard.len, wanted);
        assert_memory_equal(heard.at + heard.len - 4, "MN\r\n", 4);
        assert_int_equal(count_rows((struct slice){heard.at, heard.len - 4}), PREFIXES);
        rig_stop(&rig);
    }
}

/* Forgotten in the middle of a dump: the rest is not there any more. */
static void
test_reset_during_a_dump(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.memory_bytes = (size_t)32 << 20});
    int fd = rig_connect(&rig), other = rig_connect(&rig);
    ask(&rig, other, "stats detail on\r\n", "OK\r\n");
    size_t before = borrowed(&rig);
    set_prefixes(&rig, other, 10000);
    script_window(fd, 5000);
    script_give_text(fd, "stats detail dump\r\n");
    rig_run(&rig);
    ask(&rig, other, "stats reset\r\n", "RESET\r\n");
    assert_true(borrowed(&rig) <= before + ((size_t)128 << 10));
    set_prefixes(&rig, other, 1);
    for (unsigned i = 0; i < 100; i++) {
        script_window(fd, 5000);
        rig_run(&rig);
    }
    assert_in_range(count_rows(script_taken(fd)), 100, 9999);
    rig_stop(&rig);
}

/* Without memory prefixes are not counted; those that are known go on. */
static void
test_prefixes_without_memory(void **state)
{
    enum { PREFIXES = 60000 };
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    int fd = rig_connect(&rig), other = rig_connect(&rig);
    ask(&rig, other, "stats detail on\r\n", "OK\r\n");
    set_prefixes(&rig, other, PREFIXES);
    assert_true(borrowed(&rig) <= ((size_t)8 << 20) / 8 + ((size_t)64 << 10));
    script_give_text(fd, "stats detail dump\r\n");
    rig_run(&rig);
    assert_in_range(count_rows(script_taken(fd)), 1000, PREFIXES - 1);
    ask(&rig, other, "get prefix00000:k nothing\r\n",
        "VALUE prefix00000:k 0 1\r\nx\r\nEND\r\n");
    rig_stop(&rig);
}

/* ---- `stats conns` --------------------------------------------------------------------------- */

static const char *
state_of(struct rig *rig, int fd)
{
    struct conn_info infos[CONN_WALK_MAX];
    struct conn_walk walk;
    const char *found = NULL;
    conn_walk_start(&walk, rig->worker);
    for (unsigned n; (n = conn_walk_next(&walk, infos)) > 0;) {
        for (unsigned i = 0; i < n; i++) {
            if (infos[i].fd == fd)
                found = infos[i].state;
        }
    }
    conn_walk_end(&walk);
    assert_non_null(found);
    return found;
}

static void
test_states(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 200000);
    int idle = rig_connect(&rig), collects = rig_connect(&rig), uploads = rig_connect(&rig),
        writes = rig_connect(&rig), swallows = rig_connect(&rig);
    script_give_text(collects, "set a 0 0 10\r\n123");
    script_give_text(uploads, "set a 0 0 100000\r\n123");
    script_window(writes, 100);
    script_give_text(writes, "get v\r\n");
    script_give_text(swallows, "set a 0 0 1000000 noreply\r\n123");
    script_give_text(idle, "mn\r\n");
    rig_run(&rig);
    assert_string_equal(state_of(&rig, idle), "conn_read");
    assert_string_equal(state_of(&rig, collects), "conn_nread");
    assert_string_equal(state_of(&rig, uploads), "conn_nread");
    assert_string_equal(state_of(&rig, writes), "conn_mwrite");
    assert_string_equal(state_of(&rig, swallows), "conn_swallow");
    rig_stop(&rig);
}

/* Connections that close while a walk stands among them. */
static void
test_walk_and_closes(void **state)
{
    (void)state;
    enum { CLIENTS = 200 };
    struct rig rig;
    rig_start(&rig, NULL);
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = rig_connect(&rig);
    struct conn_walk walk, second;
    struct conn_info infos[CONN_WALK_MAX];
    conn_walk_start(&walk, rig.worker);
    assert_int_equal(conn_walk_next(&walk, infos), CONN_WALK_MAX);
    assert_int_equal(infos[0].fd, fds[0]);
    conn_walk_start(&second, rig.worker);
    for (int i = 10; i < 100; i++)
        script_end(fds[i]);
    rig_run(&rig);
    assert_int_equal(conn_walk_next(&walk, infos), CONN_WALK_MAX);
    assert_int_equal(infos[0].fd, fds[100]);
    assert_int_equal(conn_walk_next(&walk, infos), CLIENTS - 100 - CONN_WALK_MAX);
    assert_int_equal(conn_walk_next(&walk, infos), 0);
    assert_int_equal(conn_walk_next(&second, infos), CONN_WALK_MAX);
    assert_int_equal(infos[10].fd, fds[100]);
    conn_walk_end(&second);
    conn_walk_end(&walk);
    rig_stop(&rig);
}

/* ---- allocations that fail ------------------------------------------------------------------- */

void *__real_malloc(size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

static unsigned allocation, failing_allocation;    /* counted from 1; 0: none fails */
static size_t longest_allocation;

void *
__wrap_malloc(size_t bytes)
{
    longest_allocation = bytes > longest_allocation ? bytes : longest_allocation;
    return ++allocation == failing_allocation ? NULL : __real_malloc(bytes);
}

void *
__wrap_realloc(void *old, size_t bytes)
{
    return ++allocation == failing_allocation ? NULL : __real_realloc(old, bytes);
}

/* Three clients whose requests and replies need memory; the n-th allocation from then on fails. */
static void
play_without_memory(struct rig *rig, const struct text *requests, unsigned n)
{
    int fds[3];
    size_t half = requests->len / 2;
    for (int i = 0; i < 3; i++) {
        fds[i] = rig_connect(rig);
        script_window(fds[i], 5000);
        script_give(fds[i], requests->at, half);
    }
    allocation = 0;
    failing_allocation = n;
    rig_connect(rig);
    for (int i = 0; i < 3; i++) {
        rig_turn(rig);
        rig_turn(rig);
        script_give(fds[i], requests->at + half, requests->len - half);
    }
    for (int turns = 0; turns < 60; turns++)
        rig_turn(rig);
    failing_allocation = 0;
}

/* Played once for every allocation: whichever fails, others are served afterwards. */
static void
check_without_memory(const struct text *requests)
{
    unsigned failures = 0;
    for (unsigned n = 1; n < 200; n++) {
        struct rig rig;
        rig_start(&rig, NULL);
        play_without_memory(&rig, requests, n);
        failures += rig_counter(&rig, CONN_malloc_fails) > 0;
        int after = rig_connect(&rig);
        ask(&rig, after, "set x 0 0 1\r\n1\r\n", "STORED\r\n");
        rig_stop(&rig);
    }
    assert_true(failures > 3);
}

/* -M: an upload for which there is no room is thrown away in memory that is there anyway. */
static void
test_given_up_uploads(void **state)
{
    enum { UPLOADS = 10 };
    (void)state;
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.keeps_all = true});
    struct text set = {0};
    int filler = rig_connect(&rig);
    for (int i = 0; i < 10000; i++) {
        set.len = 0;
        add_line(&set, "set f%d 0 0 1000 noreply\r\n", i);
        add_block(&set, 1000);
        add_text(&set, "\r\n");
        script_give(filler, set.at, set.len);
        rig_run(&rig);
    }
    int fds[UPLOADS];
    longest_allocation = 0;
    for (int i = 0; i < UPLOADS; i++) {
        char text[32];
        script_forget(filler);         /* something goes: there may be room */
        snprintf(text, sizeof text, "delete f%d\r\n", i);
        ask(&rig, filler, text, "DELETED\r\n");
        fds[i] = begin_upload(&rig, i, 150000);
    }
    assert_true(longest_allocation > 0);
    assert_true(longest_allocation <= CMD_UPLOAD_BYTES);
    set.len = 0;
    add_block(&set, 50000);
    add_text(&set, "\r\n");
    for (int i = 0; i < UPLOADS; i++) {
        script_give(fds[i], set.at, set.len);
        rig_run(&rig);
        assert_replies(fds[i], "SERVER_ERROR out of memory storing object\r\n");
    }
    drop(&set);
    rig_stop(&rig);
}

static void
assert_length(struct rig *rig, int fd, const char *key, size_t bytes)
{
    char head[64];
    script_forget(fd);
    snprintf(head, sizeof head, "get %s\r\n", key);
    script_give_text(fd, head);
    rig_run(rig);
    size_t n = (size_t)snprintf(head, sizeof head, "VALUE %s 0 %zu\r\n", key, bytes);
    struct slice got = script_taken(fd);
    assert_int_equal(got.len, n + bytes + strlen("\r\nEND\r\n"));
    assert_memory_equal(got.at, head, n);
}

/* What is appended to a long value has its share of a turn, as what is sent has. */
static void
test_long_append(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 200000);
    store_value(&rig, "w", 240000);
    int reader = rig_connect(&rig), joiner = rig_connect(&rig), other = rig_connect(&rig);
    script_give_text(reader, "get w\r\n");
    script_give_text(joiner, "append v 0 0 5\r\nhello\r\nprepend v 0 0 6\r\nworld,\r\n");
    script_give_text(other, "get none\r\n");
    rig_turn(&rig);
    assert_replies(other, "END\r\n");
    assert_replies(joiner, "");
    rig_run(&rig);
    assert_replies(joiner, "STORED\r\nSTORED\r\n");
    assert_length(&rig, other, "v", 200011);
    rig_stop(&rig);
}

/* Another one follows, whether the client goes away in the middle or does not read.  At the end of
 * the server one may be half done. */
static void
test_long_append_of_a_bad_client(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 200000);
    store_value(&rig, "w", 240000);
    int dies = rig_connect(&rig), deaf = rig_connect(&rig), good = rig_connect(&rig);
    script_give_text(good, "get w\r\n");
    script_give_text(dies, "append v 0 0 5\r\nhello\r\n");
    rig_turn(&rig);
    assert_replies(dies, "");
    script_hang_up(dies);
    rig_run(&rig);
    assert_true(script_closed(dies));

    script_window(deaf, 0);
    script_give_text(deaf, "get none\r\nappend v 0 0 5\r\nhello\r\n");
    rig_run(&rig);
    script_forget(good);
    ask(&rig, good, "append w 0 0 3\r\nabc\r\n", "STORED\r\n");
    assert_length(&rig, good, "w", 240003);
    script_window(deaf, 1000);
    rig_run(&rig);
    assert_replies(deaf, "END\r\nSTORED\r\n");

    script_give_text(good, "get w\r\n");
    script_forget(deaf);
    script_give_text(deaf, "append v 0 0 5\r\nhello\r\n");
    rig_turn(&rig);
    assert_replies(deaf, "");
    rig_stop(&rig);
}

/* One that has more to append waits behind the others. */
static void
test_long_appends_take_turns(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 200000);
    store_value(&rig, "w", 200000);
    int greedy = rig_connect(&rig), other = rig_connect(&rig);
    script_give_text(greedy, "append v 0 0 1 noreply\r\na\r\nappend v 0 0 1 noreply\r\nb\r\n"
                             "append v 0 0 1\r\nc\r\n");
    script_give_text(other, "append w 0 0 1\r\nc\r\n");
    for (int turns = 0; turns < 100 && script_taken(other).len == 0; turns++)
        rig_turn(&rig);
    assert_replies(other, "STORED\r\n");
    assert_replies(greedy, "");
    rig_run(&rig);
    assert_replies(greedy, "STORED\r\n");
    assert_length(&rig, greedy, "v", 200003);
    rig_stop(&rig);
}

/* An upload that is to be appended. */
static void
test_long_append_by_upload(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 100000);
    int fd = rig_connect(&rig), other = rig_connect(&rig);
    struct text append = {0};
    add_text(&append, "append v 0 0 150000\r\n");
    add_block(&append, 150000);
    add_text(&append, "\r\nget none\r\n");
    script_give(fd, append.at, append.len);
    rig_run(&rig);
    assert_replies(fd, "STORED\r\nEND\r\n");
    assert_length(&rig, other, "v", 250000);
    drop(&append);
    rig_stop(&rig);
}

/*
 * An append that may make the entry, of a value that came in one run but must be uploaded for that.
 * To append it nothing is uploaded: others may have all that there is for uploads.
 */
static void
test_long_append_that_vivifies(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 200000);
    store_value(&rig, "w", 240000);
    int reader = rig_connect(&rig), fd = rig_connect(&rig), other = rig_connect(&rig);
    struct text append = {0};
    begin_upload(&rig, 1, 200000);
    script_give_text(reader, "get w\r\n");
    assert_true(store_inline_bytes_max(rig.store) < 10000);
    add_text(&append, "ms v 10000 MA N0\r\n");
    add_block(&append, 10000);
    add_text(&append, "\r\nms new 10000 MA N0\r\n");
    add_block(&append, 10000);
    add_text(&append, "\r\n");
    script_give(fd, append.at, append.len);
    rig_turn(&rig);
    assert_replies(fd, "");
    size_t sum = 0;
    for (size_t step = (size_t)1 << 20; step > 0; step /= 2) {
        while (cmd_memory_borrow(rig.thread, step))
            sum += step;
    }
    rig_run(&rig);
    assert_replies(fd, "HD\r\n");
    cmd_memory_repay(rig.thread, sum);
    rig_run(&rig);
    assert_replies(fd, "HD\r\nHD\r\n");
    assert_length(&rig, other, "v", 210000);
    assert_length(&rig, other, "new", 10000);
    drop(&append);
    rig_stop(&rig);
}

/* The entry is another one after each step: the copy must come to an end all the same. */
static void
test_long_append_to_what_changes(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, NULL);
    store_value(&rig, "v", 200000);
    store_value(&rig, "w", 240000);
    int fd = rig_connect(&rig), other = rig_connect(&rig), reader = rig_connect(&rig);
    struct text append = {0};
    add_text(&append, "append v 0 0 225000\r\n");
    add_block(&append, 225000);
    add_text(&append, "\r\n");
    ask(&rig, other, "set v 0 0 5\r\n10000\r\n", "STORED\r\n");
    script_give(fd, append.at, append.len);
    for (int i = 0; i < 60; i++) {
        script_give_text(other, "incr v 1\r\n");
        script_give_text(reader, "get w\r\n");    /* so that a turn is good for one step */
        rig_turn(&rig);
    }
    assert_replies(fd, "STORED\r\n");
    drop(&append);
    rig_stop(&rig);
}

/* -M: whoever connects to a server that is full is heard. */
static void
test_connections_to_a_full_server(void **state)
{
    enum { CLIENTS = 50 };
    (void)state;
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.keeps_all = true});
    int filler = rig_connect(&rig);
    char last[32] = "";
    struct text set = {0};
    for (int i = 0; !slice_equal(script_taken(filler), PROTO_NO_MEMORY_STORING); i++) {
        set.len = 0;
        snprintf(last, sizeof last, "delete f%d\r\n", i - 1);
        add_line(&set, "set f%d 0 0 1000\r\n", i);
        add_block(&set, 1000);
        add_text(&set, "\r\n");
        script_forget(filler);
        script_give(filler, set.at, set.len);
        rig_run(&rig);
    }
    size_t sum = 0;
    for (size_t step = (size_t)1 << 20; step > 0; step /= 2) {
        while (cmd_memory_borrow(rig.thread, step))
            sum += step;
    }
    struct store_stats stats;
    store_stats_read(rig.store, &stats);
    assert_true(stats.memory_used_bytes < stats.memory_limit_bytes);
    for (int i = 0; i < CLIENTS; i++) {
        int fd = rig_connect(&rig);            /* half a line takes room */
        script_give(fd, set.at, 500);
        rig_run(&rig);
        assert_false(script_closed(fd));
    }
    ask(&rig, rig_connect(&rig), last, "DELETED\r\n");
    store_stats_read(rig.store, &stats);
    assert_true(stats.memory_used_bytes <= stats.memory_limit_bytes);
    cmd_memory_repay(rig.thread, sum);
    drop(&set);
    rig_stop(&rig);
}

static void
test_failing_allocations(void **state)
{
    (void)state;
    struct text requests = {0};
    add_text(&requests, "set a 0 0 3000\r\n");
    add_block(&requests, 3000);
    add_text(&requests, "\r\nset b 0 0 60000\r\n");
    add_block(&requests, 60000);
    add_text(&requests, "\r\nget a b a b\r\nstats\r\nget");
    for (int i = 0; i < 30000; i++)
        add_text(&requests, " a");
    check_without_memory(&requests);
    drop(&requests);
}

static void
test_failing_allocations_of_packets(void **state)
{
    static const uint8_t ends[] = {0x09, 0x0d, 0x24, 0x0c, 0x00};
    (void)state;
    struct text requests = {0};
    add_store_packet(&requests, 0x01, "a", 3000);
    add_store_packet(&requests, 0x11, "b", 60000);
    add_packet(&requests, &(struct packet){.opcode = 0x10});
    for (size_t i = 0; i < 10 * LENGTH(ends); i++) {
        uint8_t opcode = ends[i % LENGTH(ends)];
        add_packet(&requests, &(struct packet){.opcode = opcode, .key = i % 2 ? "a" : "b",
                                               .extras = opcode == 0x24 ? "00000000" : NULL});
    }
    add_store_packet(&requests, 0x12, "none", 40000);
    check_without_memory(&requests);
    drop(&requests);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_undisturbed),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_one_byte_at_a_time),
        cmocka_unit_test(test_random_cuts),
        cmocka_unit_test(test_interrupted_calls),
        cmocka_unit_test(test_resets),
        cmocka_unit_test(test_steady_state_calls),
        cmocka_unit_test(test_batches_keep_order),
        cmocka_unit_test(test_one_key_after_others),
        cmocka_unit_test(test_stopped_between_batches),
        cmocka_unit_test(test_requests_quantum),
        cmocka_unit_test(test_statistics_end_a_turn),
        cmocka_unit_test(test_statistics_while_starved),
        cmocka_unit_test(test_long_dump),
        cmocka_unit_test(test_reset_during_a_dump),
        cmocka_unit_test(test_prefixes_without_memory),
        cmocka_unit_test(test_bytes_quantum),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_hang_up_after_requests),
        cmocka_unit_test(test_server_hangs_up),
        cmocka_unit_test(test_long_get_line),
        cmocka_unit_test(test_long_get_line_is_parsed_once),
        cmocka_unit_test(test_gat_behind_a_long_reply),
        cmocka_unit_test(test_fast_reader),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_slow_reader_of_packets),
        cmocka_unit_test(test_stuck_readers),
        cmocka_unit_test(test_stuck_readers_of_long_values),
        cmocka_unit_test(test_stuck_readers_who_hold_nothing),
        cmocka_unit_test(test_stuck_reader_alone),
        cmocka_unit_test(test_still_uploads),
        cmocka_unit_test(test_uploads_of_those_who_do_not_read),
        cmocka_unit_test(test_uploads_left_behind),
        cmocka_unit_test(test_answers_before_a_refused_upload),
        cmocka_unit_test(test_gone_while_waiting),
        cmocka_unit_test(test_stuck_uploads),
        cmocka_unit_test(test_trickling),
        cmocka_unit_test(test_trickling_uploads_are_set_aside),
        cmocka_unit_test(test_waiting_is_not_standing_still),
        cmocka_unit_test(test_waiting_for_a_buffer_is_not_standing_still),
        cmocka_unit_test(test_stuck_lines),
        cmocka_unit_test(test_many_incomplete),
        cmocka_unit_test(test_idle_timeout),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_walk_and_closes),
        cmocka_unit_test(test_given_up_uploads),
        cmocka_unit_test(test_long_append),
        cmocka_unit_test(test_long_append_of_a_bad_client),
        cmocka_unit_test(test_long_appends_take_turns),
        cmocka_unit_test(test_long_append_by_upload),
        cmocka_unit_test(test_long_append_that_vivifies),
        cmocka_unit_test(test_long_append_to_what_changes),
        cmocka_unit_test(test_connections_to_a_full_server),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_failing_allocations_of_packets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
