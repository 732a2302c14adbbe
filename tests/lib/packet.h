/*
 * packet.h -- packets of the binary protocol, made byte by byte, right and wrong ones.
 *
 * Written from the layout alone, without a line of src/proto/binary.c, so that the two judge each
 * other.
 */
#ifndef TESTS_PACKET_H
#define TESTS_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PACKET_BYTES_MAX 1024u

struct packet {
    uint8_t opcode;
    const char *extras;         /* hexadecimal digits; NULL: none */
    const char *key, *value;    /* NULL: none */
    uint64_t cas;
    uint32_t opaque;
};

static inline void
packet_put(unsigned char *at, uint64_t number, unsigned bytes)
{
    while (bytes > 0) {
        at[--bytes] = (unsigned char)number;
        number >>= 8;
    }
}

static inline uint64_t
packet_get(const void *from, unsigned bytes)
{
    const unsigned char *at = from;
    uint64_t number = 0;
    for (unsigned i = 0; i < bytes; i++)
        number = number << 8 | at[i];
    return number;
}

/* A header alone, whose lengths may be lies. */
static inline size_t
packet_head(unsigned char *at, uint8_t opcode, uint32_t key, uint32_t extras, uint32_t body)
{
    memset(at, 0, 24);
    at[0] = 0x80;
    at[1] = opcode;
    packet_put(at + 2, key, 2);
    at[4] = (unsigned char)extras;
    packet_put(at + 8, body, 4);
    return 24;
}

static inline unsigned
packet_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Returns its length, at most PACKET_BYTES_MAX. */
static inline size_t
packet_make(unsigned char *at, const struct packet *p)
{
    size_t extras = p->extras ? strlen(p->extras) / 2 : 0;
    size_t key = p->key ? strlen(p->key) : 0, value = p->value ? strlen(p->value) : 0;
    packet_head(at, p->opcode, (uint32_t)key, (uint32_t)extras, (uint32_t)(extras + key + value));
    packet_put(at + 12, p->opaque, 4);
    packet_put(at + 16, p->cas, 8);
    for (size_t i = 0; i < extras; i++)
        at[24 + i] = (unsigned char)(packet_digit(p->extras[2 * i]) << 4 |
                                     packet_digit(p->extras[2 * i + 1]));
    if (key > 0)
        memcpy(at + 24 + extras, p->key, key);
    if (value > 0)
        memcpy(at + 24 + extras + key, p->value, value);
    return 24 + extras + key + value;
}

#endif
