/*
 * addr.c -- socket addresses, packed and printed.
 */
#include "addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

struct addr
addr_from_sockaddr(const struct sockaddr_storage *from)
{
    struct addr addr = {.family = (uint16_t)from->ss_family};
    if (from->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof in);
        addr.port = ntohs(in.sin_port);
        memcpy(addr.ip, &in.sin_addr, sizeof in.sin_addr);
    } else if (from->ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, from, sizeof in6);
        addr.port = ntohs(in6.sin6_port);
        addr.scope = in6.sin6_scope_id;
        memcpy(addr.ip, &in6.sin6_addr, sizeof in6.sin6_addr);
    }
    return addr;
}

struct addr
addr_of_socket(int fd)
{
    struct sockaddr_storage local = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof local;
    if (getsockname(fd, (struct sockaddr *)&local, &len) != 0)
        local.ss_family = AF_UNSPEC;
    return addr_from_sockaddr(&local);
}

const char *
addr_text(const struct addr *addr, char *out)
{
    char ip[INET6_ADDRSTRLEN] = "?";
    switch (addr->family) {
    case AF_INET:
        inet_ntop(AF_INET, addr->ip, ip, sizeof ip);
        snprintf(out, ADDR_TEXT_MAX, "tcp:%s:%u", ip, addr->port);
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, addr->ip, ip, sizeof ip);
        snprintf(out, ADDR_TEXT_MAX, "tcp6:[%s]:%u", ip, addr->port);
        break;
    case AF_UNIX:
        snprintf(out, ADDR_TEXT_MAX, "unix");
        break;
    default:
        snprintf(out, ADDR_TEXT_MAX, "?");
        break;
    }
    return out;
}
