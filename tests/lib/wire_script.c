/*
 * wire_script.c -- conn/wire.h and loop/loop.h, fulfilled by a table of scripted peers.
 */
#include "wire_script.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/hash.h"
#include "conn/wire.h"

#define FIRST_FD 1000             /* no real descriptor: using one as such fails */
#define NO_LIMIT SIZE_MAX

struct bytes {
    char *at;
    size_t len, cap;
};

struct peer {
    bool open, ended, hung_up, registered;
    int broken;                   /* errno of all further calls, or 0 */
    unsigned want;
    void *tag;
    struct bytes in, out;
    size_t received;              /* of in */
    size_t window;
};

struct loop {
    unsigned next;                /* peers are reported in turn */
};

static struct {
    struct peer peers[SCRIPT_PEERS_MAX];
    unsigned count;
    struct script_rules rules;
    unsigned calls;
    uint64_t random;
    struct script_counts counts;
} script;

static struct peer *
peer_of(int fd)
{
    CHECK(fd >= FIRST_FD && (unsigned)(fd - FIRST_FD) < script.count);
    return &script.peers[fd - FIRST_FD];
}

/* calloc(), because tests let malloc() and realloc() fail under the server's hands. */
static void
append(struct bytes *to, const void *bytes, size_t n)
{
    if (to->len + n > to->cap) {
        char *larger = calloc(2, to->len + n);
        CHECK(larger != NULL);
        if (to->len > 0)
            memcpy(larger, to->at, to->len);
        free(to->at);
        to->at = larger;
        to->cap = (to->len + n) * 2;
    }
    if (n > 0)
        memcpy(to->at + to->len, bytes, n);
    to->len += n;
}

void
script_reset(void)
{
    for (unsigned i = 0; i < script.count; i++) {
        free(script.peers[i].in.at);
        free(script.peers[i].out.at);
    }
    memset(&script, 0, sizeof script);
}

static struct accepted
connect_peer(sa_family_t family)
{
    CHECK(script.count < SCRIPT_PEERS_MAX);
    struct peer *peer = &script.peers[script.count];
    *peer = (struct peer){.open = true, .window = NO_LIMIT};
    struct accepted client = {.fd = FIRST_FD + (int)script.count};
    client.peer.family = client.local.family = family;
    script.count++;
    return client;
}

struct accepted
script_connect(void)
{
    return connect_peer(AF_INET);
}

struct accepted
script_connect_unix(void)
{
    return connect_peer(AF_UNIX);
}

void
script_give(int fd, const void *bytes, size_t n)
{
    append(&peer_of(fd)->in, bytes, n);
}

void
script_give_text(int fd, const char *text)
{
    script_give(fd, text, strlen(text));
}

void
script_end(int fd)
{
    peer_of(fd)->ended = true;
}

void
script_hang_up(int fd)
{
    peer_of(fd)->ended = peer_of(fd)->hung_up = true;
}

struct slice
script_taken(int fd)
{
    struct peer *peer = peer_of(fd);
    return (struct slice){peer->out.at, peer->out.len};
}

void
script_forget(int fd)
{
    peer_of(fd)->out.len = 0;
}

bool
script_closed(int fd)
{
    return !peer_of(fd)->open;
}

size_t
script_unread(int fd)
{
    return peer_of(fd)->in.len - peer_of(fd)->received;
}

void
script_rule(const struct script_rules *rules)
{
    script.rules = *rules;
    script.calls = 0;
    script.random = rules->cut_seed;
    script.counts = (struct script_counts){0};
}

void
script_window(int fd, size_t n)
{
    peer_of(fd)->window = n;
}

struct script_counts
script_counts(void)
{
    return script.counts;
}

/* ---- conn/wire.h ----------------------------------------------------------------------------- */

/* 0, or the -errno that this call is to return. */
static int
failure(struct peer *peer)
{
    if (peer->broken)
        return -peer->broken;
    if (++script.calls != script.rules.fail_call)
        return 0;
    int error = script.rules.fail_error;
    if (error != EAGAIN && error != EINTR)
        peer->broken = error;
    return -error;
}

/* How many of n bytes go through in one call. */
static size_t
cut(size_t n, size_t most)
{
    if (most > 0 && n > most)
        n = most;
    if (script.rules.cut_seed == 0 || n < 2)
        return n;
    script.random = hash_u64(script.random + 1);
    size_t bound = script.random % 4 == 0 ? n : n < 64 ? n : 64;
    return 1 + (script.random >> 8) % bound;
}

ssize_t
wire_recv(struct wire *wire, void *at, size_t n)
{
    struct peer *peer = peer_of(wire->fd);
    CHECK(peer->open && n > 0);
    script.counts.recvs++;
    int error = failure(peer);
    if (error)
        return error;
    size_t left = peer->in.len - peer->received;
    if (left == 0)
        return peer->ended ? 0 : -EAGAIN;
    size_t got = cut(left < n ? left : n, script.rules.recv_max);
    memcpy(at, peer->in.at + peer->received, got);
    peer->received += got;
    return (ssize_t)got;
}

ssize_t
wire_sendv(struct wire *wire, const struct iovec *spans, unsigned count)
{
    struct peer *peer = peer_of(wire->fd);
    CHECK(peer->open);
    script.counts.sends++;
    int error = peer->hung_up ? -EPIPE : failure(peer);
    if (error)
        return error;
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++)
        bytes += spans[i].iov_len;
    CHECK(bytes > 0);
    if (peer->window == 0)
        return -EAGAIN;
    size_t taken = cut(bytes < peer->window ? bytes : peer->window, script.rules.send_max);
    if (peer->window != NO_LIMIT)
        peer->window -= taken;
    size_t left = taken;
    for (unsigned i = 0; i < count && left > 0; i++) {
        size_t n = spans[i].iov_len < left ? spans[i].iov_len : left;
        append(&peer->out, spans[i].iov_base, n);
        left -= n;
    }
    return (ssize_t)taken;
}

size_t
wire_room(const struct wire *wire)
{
    return peer_of(wire->fd)->window;
}

size_t
wire_unread(const struct wire *wire)
{
    return script_unread(wire->fd);
}

bool
wire_pending(const struct wire *wire)
{
    (void)wire;
    return false;
}

void
wire_close(struct wire *wire, bool gently)
{
    (void)gently;
    struct peer *peer = peer_of(wire->fd);
    CHECK(peer->open);
    peer->open = peer->registered = false;
}

/* ---- loop/loop.h ----------------------------------------------------------------------------- */

int
loop_create(struct loop **out_loop)
{
    *out_loop = calloc(1, sizeof **out_loop);
    return *out_loop ? 0 : -ENOMEM;
}

void
loop_destroy(struct loop *loop)
{
    free(loop);
}

int
loop_add(struct loop *loop, int fd, unsigned want, void *tag)
{
    (void)loop;
    struct peer *peer = peer_of(fd);
    CHECK(peer->open && !peer->registered);
    peer->registered = true;
    peer->want = want;
    peer->tag = tag;
    return 0;
}

int
loop_modify(struct loop *loop, int fd, unsigned want, void *tag)
{
    (void)loop;
    struct peer *peer = peer_of(fd);
    CHECK(peer->registered && peer->tag == tag);
    script.counts.changes++;
    peer->want = want;
    return 0;
}

int
loop_remove(struct loop *loop, int fd)
{
    (void)loop;
    struct peer *peer = peer_of(fd);
    CHECK(peer->registered);
    peer->registered = false;
    return 0;
}

static unsigned
readiness(const struct peer *peer)
{
    bool dead = peer->broken || peer->hung_up;
    bool readable = dead || peer->ended || peer->received < peer->in.len;
    bool writable = dead || peer->window > 0;
    return (readable ? peer->want & LOOP_READ : 0u) | (writable ? peer->want & LOOP_WRITE : 0u) |
           (dead ? LOOP_HANGUP : 0u) | (dead || peer->ended ? peer->want & LOOP_END : 0u);
}

unsigned
loop_wait(struct loop *loop, struct loop_event *out, int timeout_ms)
{
    (void)timeout_ms;
    unsigned count = 0;
    script.counts.waits++;
    unsigned first = loop->next;
    for (unsigned i = 0; i < script.count && count < LOOP_EVENTS_MAX; i++) {
        unsigned at = (first + i) % script.count;
        struct peer *peer = &script.peers[at];
        unsigned what = peer->registered ? readiness(peer) : 0;
        if (what) {
            out[count].tag = peer->tag;
            out[count++].what = what;
            loop->next = at + 1;
        }
    }
    return count;
}

void
loop_wake(struct loop *loop)
{
    (void)loop;
}
