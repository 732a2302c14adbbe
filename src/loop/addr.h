/*
 * addr.h -- an address of a socket in 24 bytes (a sockaddr_storage takes 128): every connection
 * keeps two of them.
 */
#ifndef LOOP_ADDR_H
#define LOOP_ADDR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct addr {
    uint16_t family;              /* AF_INET, AF_INET6, AF_UNIX; 0: none */
    uint16_t port;                /* host order */
    uint32_t scope;               /* AF_INET6: sin6_scope_id */
    uint8_t ip[16];               /* network order; AF_INET uses the first 4 */
};

_Static_assert(sizeof(struct addr) == 24, "connections keep two of these");

#define ADDR_TEXT_MAX 80          /* "tcp6:[...%scope]:65535" and its NUL */

struct addr addr_from_sockaddr(const struct sockaddr_storage *from);

/* The local address of a socket. */
struct addr addr_of_socket(int fd);

/* "tcp:127.0.0.1:11211", "tcp6:[::1]:11211", "unix"; returns `out`, which has ADDR_TEXT_MAX. */
const char *addr_text(const struct addr *addr, char *out);

#endif
