/*
 * common.h -- the few words that all measuring programs share.
 *
 * Every program in this folder is one .c file that is compiled alone, without
 * a line of the server: what measures must not depend on what is measured.
 * (store.c alone calls the store itself, through its header.)
 * What two programs need therefore stands in a header as static inline
 * functions.
 *
 * Errors: a program that measures has nothing to rescue.  Whatever goes wrong
 * is said in one sentence on stderr and ends the process (die).
 *
 * Include it after defining _GNU_SOURCE.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_SEC 1000000000ull

/* What die() leaves as exit status.  replay lowers it to 1 once it has seen a wrong answer. */
static atomic_int die_status = 2;

/* Any thread may die while others run: _exit, so that nothing is torn down under their feet. */
__attribute__((format(printf, 1, 2))) _Noreturn static inline void
die(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    _exit(atomic_load(&die_status));
}

static inline void *
checked(void *memory)
{
    if (!memory)
        die("out of memory");
    return memory;
}

static inline uint64_t
mix64(uint64_t x)
{
    /* splitmix64 (Steele, Lea, Flood 2014) */
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static inline uint64_t
time_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static inline uint64_t
clock_ns(void)
{
    return time_ns(CLOCK_MONOTONIC);
}

/* Plain digits only, the whole of text; false leaves *out_number alone. */
static inline bool
parse_number(const char *text, size_t length, uint64_t *out_number)
{
    uint64_t number = 0;

    if (!length)
        return false;
    for (size_t i = 0; i < length; i++) {
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';

        if (digit > 9 || number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *out_number = number;
    return true;
}

/* The value of a command-line option; ends the process when it is no number in min..max. */
static inline uint64_t
option_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    uint64_t number;

    if (!parse_number(text, strlen(text), &number) || number < min || number > max)
        die("%s takes a number from %" PRIu64 " to %" PRIu64 ", not \"%s\"", option, min, max,
            text);
    return number;
}

static inline double
option_real(const char *option, const char *text)
{
    char *end;
    double number = strtod(text, &end);

    if (end == text || *end)
        die("%s takes a number, not \"%s\"", option, text);
    return number;
}

/* A connected blocking socket without Nagle's delay. */
static inline int
connect_tcp(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int fd = -1, one = 1, error = getaddrinfo(host, port, &hints, &list);

    if (error)
        die("%s port %s: %s", host, port, gai_strerror(error));
    for (struct addrinfo *at = list; at && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, at->ai_socktype, at->ai_protocol);
        if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen)) {
            int saved = errno;

            close(fd);
            errno = saved;
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0)
        die("connect %s port %s: %s", host, port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static inline int
connect_unix(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    int fd;

    if (length >= sizeof at.sun_path)
        die("%s: the path is too long for a unix socket", path);
    memcpy(at.sun_path, path, length + 1);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at))
        die("connect %s: %s", path, strerror(errno));
    return fd;
}

#endif
