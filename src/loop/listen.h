/*
 * listen.h -- sockets that wait for clients.
 *
 * Errors of this module end up before an operator at the start, so they are returned as the
 * sentence to print (`why`), not as numbers.
 */
#ifndef LOOP_LISTEN_H
#define LOOP_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "addr.h"

#define LISTEN_WHY_MAX 320

struct listener {
    int fd;
    bool any;                     /* bound to all interfaces: a client's local address differs */
    uint8_t kind;                 /* 0, or what the owner wrote: handed on with every client */
    struct addr addr;             /* the real port, also where 0 was asked for */
};

#define LISTENERS_MAX 64u         /* of a server */

/*
 * Opens one socket for each address that `host` has (NULL: all interfaces of IPv4 and IPv6, each
 * its own socket).  port 0: any free one, the same for all where that is possible.  A family that
 * this machine lacks is skipped with a warning in the log as long as another address can be bound.
 * Returns the number of listeners written to `out`; 0: none, all undone, `why` (LISTEN_WHY_MAX)
 * says `failed to listen on ...`.
 */
unsigned listen_tcp(const char *host, uint16_t port, int backlog, struct listener *out,
                    unsigned max, char *why);

/*
 * Listens on a unix socket at `path` with these permissions.  A socket left there by an earlier
 * server is unlinked first; one that is still served, and anything that is not a socket, is left
 * alone and is an error.  Changes the umask for a moment: call before threads are started.
 */
bool listen_unix(const char *path, mode_t mode, int backlog, struct listener *out, char *why);

void listen_close(struct listener *listener);

struct accepted {
    int fd;                       /* non-blocking, close-on-exec, TCP_NODELAY */
    uint8_t kind;                 /* of the listener */
    struct addr peer;
    struct addr local;
};

/*
 * The next waiting client.  0, or -EAGAIN when there is none, or another -errno: a client that was
 * gone before it was accepted (go on), or no descriptors or memory (pause).
 */
int listen_accept(const struct listener *listener, struct accepted *out);

#endif
