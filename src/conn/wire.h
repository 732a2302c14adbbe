/*
 * wire.h -- the only calls that touch a client's socket.
 *
 * wire_socket.c is the plain socket.  TLS is to be a second file: what a connection needs beyond
 * its descriptor then goes into struct wire, and wire_pending() tells of bytes that were received
 * and decrypted but not yet asked for, which no event loop can see.  Tests replace the file by a
 * script.
 *
 * Nothing here blocks.  Errors are -errno; wire_is_later() tells those after which the call may
 * simply be made again when the loop says so.
 */
#ifndef CONN_WIRE_H
#define CONN_WIRE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct wire {
    int fd;
};

/* At most n bytes (n > 0) to `at`.  Fewer than n: there is no more for now.  0: the end. */
ssize_t wire_recv(struct wire *wire, void *at, size_t n);

/* Sends as much as is taken.  Fewer bytes than there are: the rest does not fit now. */
ssize_t wire_sendv(struct wire *wire, const struct iovec *spans, unsigned count);

/* How many bytes wire_sendv() will surely take now; 0 if that cannot be said. */
size_t wire_room(const struct wire *wire);

/* How many bytes have come in and not been received; SIZE_MAX if that cannot be said. */
size_t wire_unread(const struct wire *wire);

/* True: wire_recv() has something although the loop will not say so. */
bool wire_pending(const struct wire *wire);

/*
 * Closes.  gently: what was sent before shall arrive even if the client goes on sending; a plain
 * close with unread input would make the kernel throw unsent output away and reset the connection.
 */
void wire_close(struct wire *wire, bool gently);

static inline bool
wire_is_later(ssize_t error)
{
    return error == -EAGAIN || error == -EWOULDBLOCK || error == -EINTR;
}

#endif
