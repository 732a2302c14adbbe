/*
 * wire.h -- one connection to a server of the text protocol: requests out, answers in.
 *
 * Requests are collected and sent in one go; while they are sent, answers are
 * taken in, so that neither side can block the other however long a batch is.
 * Answers are read line by line and data block by data block.
 *
 * A pointer into the input is valid until the next call for the same wire.
 * A wire belongs to one thread.  Failures end the process (common.h), and so
 * does a server that is silent for too long while answers are due.
 *
 * Include it after common.h.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <poll.h>

#define WIRE_INPUT_FREE_BYTES 65536
#define WIRE_BUFFER_BYTES     (1u << 18)

struct wire {
    int fd;
    int silence_s; /* how long the server may be silent */
    char *out, *in;
    size_t out_used, out_size, in_from, in_to, in_size;
};

struct span {
    char *text;
    size_t length;
};

/* Takes over a connected socket. */
static inline void
wire_init(struct wire *w, int fd, int silence_s)
{
    *w = (struct wire){.fd = fd, .silence_s = silence_s};
}

static inline void
wire_fini(struct wire *w)
{
    close(w->fd);
    free(w->out);
    free(w->in);
}

static inline void
wire_grow(char **buffer, size_t *size, size_t wanted)
{
    while (*size < wanted)
        *size = *size ? *size * 2 : WIRE_BUFFER_BYTES;
    *buffer = checked(realloc(*buffer, *size));
}

/* Adds to the requests that the next flush sends. */
static inline void
wire_put(struct wire *w, const void *bytes, size_t count)
{
    if (w->out_used + count > w->out_size)
        wire_grow(&w->out, &w->out_size, w->out_used + count);
    memcpy(w->out + w->out_used, bytes, count);
    w->out_used += count;
}

static inline void
wire_wait(const struct wire *w, short events)
{
    struct pollfd at = {.fd = w->fd, .events = events};
    int n = poll(&at, 1, w->silence_s * 1000);

    if (n < 0 && errno != EINTR)
        die("poll: %s", strerror(errno));
    if (n == 0)
        die("the server has been silent for %d s with requests unanswered", w->silence_s);
}

/* Takes in what has arrived; false when that is nothing yet. */
static inline bool
wire_receive(struct wire *w)
{
    ssize_t got;

    if (w->in_from == w->in_to)
        w->in_from = w->in_to = 0;
    if (w->in_size - w->in_to < WIRE_INPUT_FREE_BYTES && w->in_from) {
        memmove(w->in, w->in + w->in_from, w->in_to - w->in_from);
        w->in_to -= w->in_from;
        w->in_from = 0;
    }
    if (w->in_size - w->in_to < WIRE_INPUT_FREE_BYTES)
        wire_grow(&w->in, &w->in_size, w->in_to + WIRE_INPUT_FREE_BYTES);
    got = recv(w->fd, w->in + w->in_to, w->in_size - w->in_to, MSG_DONTWAIT);
    if (got > 0) {
        w->in_to += (size_t)got;
        return true;
    }
    if (got == 0)
        die("the server closed the connection");
    if (errno != EAGAIN && errno != EINTR)
        die("recv: %s", strerror(errno));
    return false;
}

static inline void
wire_more(struct wire *w)
{
    while (!wire_receive(w))
        wire_wait(w, POLLIN);
}

/* Sends all that was put. */
static inline void
wire_flush(struct wire *w)
{
    size_t sent = 0;

    while (sent < w->out_used) {
        ssize_t n = send(w->fd, w->out + sent, w->out_used - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0) {
            sent += (size_t)n;
        } else if (errno == EAGAIN) {
            if (!wire_receive(w))
                wire_wait(w, POLLIN | POLLOUT);
        } else if (errno != EINTR) {
            die("send: %s", strerror(errno));
        }
    }
    w->out_used = 0;
}

/* The next line without its end, terminated by NUL. */
static inline struct span
wire_line(struct wire *w)
{
    size_t from = 0;

    for (;;) {
        char *at = w->in + w->in_from;
        size_t have = w->in_to - w->in_from;
        char *end = have > from ? memchr(at + from, '\n', have - from) : NULL;

        if (end) {
            struct span line = {at, (size_t)(end - at)};

            w->in_from += line.length + 1;
            if (line.length && at[line.length - 1] == '\r')
                line.length--;
            at[line.length] = '\0';
            return line;
        }
        from = have;
        wire_more(w);
    }
}

/* A data block of so many bytes; NULL when CR LF does not follow it. */
static inline const char *
wire_data(struct wire *w, size_t bytes)
{
    const char *data;

    while (w->in_to - w->in_from < bytes + 2)
        wire_more(w);
    data = w->in + w->in_from;
    w->in_from += bytes + 2;
    return memcmp(data + bytes, "\r\n", 2) ? NULL : data;
}

/* What has arrived and was not read. */
static inline struct span
wire_rest(const struct wire *w)
{
    return (struct span){w->in + w->in_from, w->in_to - w->in_from};
}

static inline bool
span_is(struct span span, const char *text)
{
    return span.length == strlen(text) && !memcmp(span.text, text, span.length);
}

#endif
