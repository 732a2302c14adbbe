/*
 * binary.h -- packets of the binary protocol: their numbers, and how responses are put together.
 *
 *      0  magic: 0x80 request, 0x81 response
 *      1  opcode                                  2  bytes of the key
 *      4  bytes of the extras   5  data type      6  request: not used; response: status
 *      8  bytes of the body: extras, key, value
 *     12  opaque: comes back as it was sent
 *     16  CAS number
 *     24  extras, key, value
 *
 * Numbers are big endian.  A response has the opcode of its request, quiet ones included.
 */
#ifndef PROTO_BINARY_H
#define PROTO_BINARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct request;

#define PROTO_BINARY_MAGIC 0x80u
#define PROTO_BINARY_HEADER_BYTES 24u
#define PROTO_BINARY_BODY_BYTES_MAX (1u << 30)

/* Extras of a hit: client flags.  The result of incr and decr: a value of 8 bytes. */
#define PROTO_BINARY_HIT_EXTRAS 4u
#define PROTO_BINARY_NUMBER_BYTES 8u

enum binary_status {
    BINARY_OK = 0x00,
    BINARY_NOT_FOUND = 0x01,
    BINARY_EXISTS = 0x02,
    BINARY_TOO_LARGE = 0x03,
    BINARY_INVALID = 0x04,
    BINARY_NOT_STORED = 0x05,
    BINARY_NON_NUMERIC = 0x06,
    BINARY_AUTH_FAILURE = 0x20,
    BINARY_UNKNOWN_COMMAND = 0x81,
    BINARY_NO_MEMORY = 0x82
};

struct binary_response {
    enum binary_status status;
    uint8_t extras_bytes;
    uint16_t key_bytes;
    uint32_t value_bytes;
    uint64_t cas;
};

/* The header of a response to this request: PROTO_BINARY_HEADER_BYTES, which is returned. */
size_t proto_put_response(char *at, const struct request *req, const struct binary_response *head);

/* Longest response that says what went wrong. */
#define PROTO_BINARY_ERROR_MAX (PROTO_BINARY_HEADER_BYTES + 64u)

/* A whole one: `text`, or where that is empty what memcached says with this status. */
size_t proto_put_error(char *at, const struct request *req, enum binary_status status,
                       struct slice text);

/* Numbers as packets have them; each returns the bytes written. */
size_t proto_put_u32(char *at, uint32_t number);
size_t proto_put_u64(char *at, uint64_t number);

#endif
