/*
 * listen.c -- opening, binding and accepting.
 *
 * TCP_NODELAY and SO_KEEPALIVE are set on the listening socket: Linux hands them down to accepted
 * sockets, which saves two calls for each connection.  So is TCP_NOTSENT_LOWAT: without it a client
 * that never reads makes the kernel keep megabytes for it, and a thousand of them bring its TCP to the
 * point where it drops what others send.  IPv6 sockets are V6ONLY, so that one
 * address means one socket whatever the machine's default is.
 */
#define _GNU_SOURCE    /* accept4 */
#include "listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "obs/log.h"

static int
set_option(int fd, int level, int name)
{
    int on = 1;
    return setsockopt(fd, level, name, &on, sizeof on);
}

static bool
is_any(const struct addr *addr)
{
    static const uint8_t none[16];
    return memcmp(addr->ip, none, sizeof none) == 0;
}

static void
set_port(struct addrinfo *at, uint16_t port)
{
    struct sockaddr *to = at->ai_addr;
    if (at->ai_family == AF_INET)
        ((struct sockaddr_in *)(void *)to)->sin_port = htons(port);
    else if (at->ai_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)to)->sin6_port = htons(port);
}

/* 0 or -errno. */
/* As much as goes out at once of a long value; what is on its way does not count. */
#define UNSENT_BYTES_MAX (512 << 10)

static int
bound_unsent(int fd)
{
    int bytes = UNSENT_BYTES_MAX;
    return setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

static int
listen_at(const struct addrinfo *at, int backlog, struct listener *out)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (set_option(fd, SOL_SOCKET, SO_REUSEADDR) != 0 ||
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE) != 0 ||
        set_option(fd, IPPROTO_TCP, TCP_NODELAY) != 0 || bound_unsent(fd) != 0)
        goto fail;
    if (at->ai_family == AF_INET6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) != 0)
        goto fail;
    if (bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, backlog) != 0)
        goto fail;
    *out = (struct listener){.fd = fd, .addr = addr_of_socket(fd)};
    out->any = is_any(&out->addr);
    return 0;
fail:;
    int error = errno;
    close(fd);
    return -error;
}

/* The machine lacks this family, or has it without any address. */
static bool
is_lack_of_family(int error)
{
    return error == -EAFNOSUPPORT || error == -EPROTONOSUPPORT || error == -EADDRNOTAVAIL;
}

static void
explain(char *why, const char *host, uint16_t port, const char *reason)
{
    char at_port[20] = "";
    if (port != 0)
        snprintf(at_port, sizeof at_port, " (port %u)", port);
    if (host)
        snprintf(why, LISTEN_WHY_MAX, "failed to listen on one of interface(s) %.200s: %s%s", host,
                 reason, at_port);
    else
        snprintf(why, LISTEN_WHY_MAX, "failed to listen on TCP port %u: %s", port, reason);
}

#define TOO_MANY "there can be 64 listeners at most"
_Static_assert(LISTENERS_MAX == 64, "TOO_MANY says so");

static void
warn_skipped(const struct addrinfo *at, int error)
{
    log_line(LOG_NOTICE, "%s is not available here and is skipped: %s",
             at->ai_family == AF_INET6 ? "IPv6" : "IPv4", strerror(-error));
}

unsigned
listen_tcp(const char *host, uint16_t port, int backlog, struct listener *out, unsigned max,
           char *why)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host, "0", &hints, &found);
    if (error != 0) {
        explain(why, host, port, error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
        return 0;
    }

    unsigned count = 0;
    int lacking = 0;
    const struct addrinfo *lacking_at = NULL;
    for (struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        if (count == max) {
            explain(why, host, port, TOO_MANY);
            goto fail;
        }
        uint16_t real_port = port == 0 && count > 0 ? out[0].addr.port : port;
        set_port(at, real_port);
        error = listen_at(at, backlog, &out[count]);
        if (error == 0) {
            count++;
        } else if (is_lack_of_family(error)) {
            lacking = error;
            lacking_at = at;
        } else {
            explain(why, host, port, strerror(-error));
            goto fail;
        }
    }
    if (count == 0) {
        explain(why, host, port, lacking ? strerror(-lacking) : "no address");
        goto fail;
    }
    if (lacking_at)
        warn_skipped(lacking_at, lacking);
    freeaddrinfo(found);
    return count;
fail:
    while (count > 0)
        listen_close(&out[--count]);
    freeaddrinfo(found);
    return 0;
}

static bool
fail_unix(char *why, const char *path, const char *reason)
{
    snprintf(why, LISTEN_WHY_MAX, "failed to listen on UNIX socket %.200s: %s", path, reason);
    return false;
}

/* ECONNREFUSED: nobody listens.  0, or EAGAIN where the backlog is full: somebody does. */
static int
try_connect(const struct sockaddr_un *to)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int e = connect(fd, (const struct sockaddr *)to, sizeof *to) == 0 ? 0 : errno;
    close(fd);
    return e;
}

/* 0 or -errno. */
static int
unlink_old_socket(const struct sockaddr_un *to)
{
    struct stat old;
    if (lstat(to->sun_path, &old) != 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(old.st_mode))
        return -EEXIST;
    int e = try_connect(to);
    if (e != ECONNREFUSED)
        return e == 0 || e == EAGAIN ? -EADDRINUSE : -e;
    return unlink(to->sun_path) == 0 ? 0 : -errno;
}

bool
listen_unix(const char *path, mode_t mode, int backlog, struct listener *out, char *why)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof to.sun_path)
        return fail_unix(why, path, strerror(ENAMETOOLONG));
    memcpy(to.sun_path, path, len);

    int error = unlink_old_socket(&to);
    if (error != 0)
        return fail_unix(why, path, strerror(-error));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_unix(why, path, strerror(errno));
    /* The mode must be right from the first moment; a chmod() afterwards would leave a gap. */
    mode_t old_mask = umask(0777 & ~mode);
    int bound = bind(fd, (struct sockaddr *)&to, sizeof to);
    error = errno;
    umask(old_mask);
    if (bound != 0 || listen(fd, backlog) != 0) {
        error = bound != 0 ? error : errno;
        close(fd);
        return fail_unix(why, path, strerror(error));
    }
    *out = (struct listener){.fd = fd, .addr = {.family = AF_UNIX}};
    return true;
}

void
listen_close(struct listener *listener)
{
    if (listener->fd >= 0)
        close(listener->fd);
    listener->fd = -1;
}

int
listen_accept(const struct listener *listener, struct accepted *out)
{
    struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof from;
    int fd = accept4(listener->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    out->fd = fd;
    out->kind = listener->kind;
    if (listener->addr.family == AF_UNIX)
        from.ss_family = AF_UNIX;
    out->peer = addr_from_sockaddr(&from);
    out->local = listener->any ? addr_of_socket(fd) : listener->addr;
    return 0;
}
