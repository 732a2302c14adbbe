/*
 * wire_socket.c -- the wire as a plain non-blocking socket.
 *
 * A reply of one span goes out by send(): sendmsg() costs the kernel a copy of the header and of
 * the vector, which shows at one request at a time.
 */
#include <linux/sockios.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

#define DISCARD_ROUNDS 8          /* a gentle close reads at most 8 x 16 KiB of what it ignores */

ssize_t
wire_recv(struct wire *wire, void *at, size_t n)
{
    ssize_t got = recv(wire->fd, at, n, 0);
    return got >= 0 ? got : -errno;
}

ssize_t
wire_sendv(struct wire *wire, const struct iovec *spans, unsigned count)
{
    ssize_t sent;
    if (count == 1) {
        sent = send(wire->fd, spans[0].iov_base, spans[0].iov_len, MSG_NOSIGNAL);
    } else {
        struct msghdr message = {.msg_iov = (struct iovec *)(void *)(size_t)spans,
                                 .msg_iovlen = count};
        sent = sendmsg(wire->fd, &message, MSG_NOSIGNAL);
    }
    return sent >= 0 ? sent : -errno;
}

/* Half of the buffer is what the kernel's own bookkeeping may take. */
size_t
wire_room(const struct wire *wire)
{
    int size, queued;
    socklen_t len = sizeof size;
    if (getsockopt(wire->fd, SOL_SOCKET, SO_SNDBUF, &size, &len) != 0 ||
        ioctl(wire->fd, SIOCOUTQ, &queued) != 0)
        return 0;
    return size / 2 > queued ? (size_t)(size / 2 - queued) : 0;
}

size_t
wire_unread(const struct wire *wire)
{
    int unread;
    return ioctl(wire->fd, FIONREAD, &unread) == 0 ? (size_t)unread : SIZE_MAX;
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
    if (gently) {
        char ignored[16 << 10];
        shutdown(wire->fd, SHUT_WR);
        for (int i = 0; i < DISCARD_ROUNDS; i++) {
            if (recv(wire->fd, ignored, sizeof ignored, MSG_DONTWAIT) <= 0)
                break;
        }
    }
    close(wire->fd);
    wire->fd = -1;
}
