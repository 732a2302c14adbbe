/*
 * fuzz_conn.c -- a whole connection: bytes in, bytes out, no socket; real commands, real store.
 *
 * The first two bytes of an input say how the wire behaves, the rest is what a client sends.  The
 * input is played undisturbed, then with receives and sends cut at random: the replies must be the
 * same, since cuts mean nothing in a stream.  With FAIL a call fails in a third run, which must end
 * with the connection closed and what was sent a beginning of the right replies.  After each run
 * the rig checks that nothing is left behind.  Input that begins with 0x80 is binary.
 *
 *     byte 0: bits FAIL, WINDOW, SMALL; byte 1: where to cut and which call fails
 */
#define _GNU_SOURCE    /* memmem */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/conn_rig.h"
#include "../lib/packet.h"
#include "base/check.h"
#include "proto/proto.h"

#define FAIL 1u       /* a third run, with a call that fails */
#define WINDOW 2u     /* the socket takes a few bytes at a time */
#define SMALL 4u      /* a quantum of one request */

struct replies {
    char *at;
    size_t len;
    bool closed;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Runs to rest, with a client that reads in small portions if that is asked for. */
static void
run(struct rig *rig, int fd, unsigned flags)
{
    rig_run(rig);
    while (flags & WINDOW) {
        size_t before = script_taken(fd).len;
        script_window(fd, 37);
        rig_run(rig);
        if (script_taken(fd).len == before)
            return;
    }
}

static struct replies
play(struct slice input, const struct script_rules *rules, unsigned flags)
{
    struct rig rig;
    struct rig_options options = {.requests_per_turn = flags & SMALL ? 1 : 0};
    rig_start(&rig, &options);
    int fd = rig_connect(&rig);
    script_rule(rules);
    if (flags & WINDOW)
        script_window(fd, 37);
    script_give(fd, input.at, input.len);
    run(&rig, fd, flags);
    struct replies replies = {.len = script_taken(fd).len, .closed = script_closed(fd)};
    replies.at = malloc(replies.len + 1);
    CHECK(replies.at != NULL);
    if (replies.len > 0)
        memcpy(replies.at, script_taken(fd).at, replies.len);
    script_end(fd);
    run(&rig, fd, flags);
    CHECK(script_closed(fd));
    rig_stop(&rig);
    return replies;
}

/*
 * A line of more than PROTO_LINE_BYTES_MAX bytes closes the connection only if that many have
 * arrived before its end: the one thing that depends on cuts, here as in memcached.
 */
static bool
may_depend_on_cuts(struct slice input)
{
    size_t run = 0;
    for (size_t i = 0; i < input.len; i++) {
        run = input.at[i] == '\n' ? 0 : run + 1;
        if (run > PROTO_LINE_BYTES_MAX)
            return true;
    }
    return false;
}

static bool
is_beginning(const struct replies *a, const struct replies *b)
{
    return a->len <= b->len && memcmp(a->at, b->at, a->len) == 0;
}

/* Those of packets are in a place where they can be wiped out; what is cut off counts as well. */
static void
wipe_cas(struct slice input, struct replies *replies)
{
    if (input.len == 0 || (uint8_t)input.at[0] != PROTO_BINARY_MAGIC)
        return;
    size_t at = 0;
    while (at + 16 < replies->len) {
        CHECK((uint8_t)replies->at[at] == 0x81);
        size_t bytes = 24 + (size_t)packet_get(replies->at + at + 8, 4);
        memset(replies->at + at + 16, 0, replies->len - at < 24 ? replies->len - at - 16 : 8);
        at += bytes;
    }
}

/*
 * Numbers for cas begin at random in each store: replies that show them, or depend on which is
 * larger, cannot be compared.
 */
static bool
shows_cas(struct slice input)
{
    static const char *const signs[] = {"gets", "gats", " c", " C", "me "};
    for (unsigned i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        if (memmem(input.at, input.len, signs[i], strlen(signs[i])))
            return true;
    }
    return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    unsigned flags = data[0];
    struct slice input = {(const char *)data + 2, size - 2};
    struct script_rules undisturbed = {0};
    struct script_rules cut = {.cut_seed = data[1] + 1u};
    struct script_rules failing = {.cut_seed = data[1] + 1u,
                                   .fail_call = data[1] % 64 + 1u,
                                   .fail_error = ECONNRESET};

    struct replies wanted = play(input, &undisturbed, 0);
    struct replies got = play(input, &cut, flags);
    wipe_cas(input, &wanted);
    wipe_cas(input, &got);
    bool comparable = !shows_cas(input) && !may_depend_on_cuts(input);
    if (comparable)
        CHECK(got.len == wanted.len && is_beginning(&got, &wanted) && got.closed == wanted.closed);
    free(got.at);
    if (flags & FAIL) {
        got = play(input, &failing, flags);
        wipe_cas(input, &got);
        if (comparable)
            CHECK(is_beginning(&got, &wanted));
        free(got.at);
    }
    free(wanted.at);
    return 0;
}
