/*
 * base64.h -- keys of meta commands in base64 (RFC 4648, alphabet with + and /), as memcached reads
 * and writes them.
 */
#ifndef PROTO_BASE64_H
#define PROTO_BASE64_H

#include <stddef.h>

#include "base/bytes.h"

/*
 * Bytes outside of the alphabet are skipped; what is left must be whole groups of four, the last
 * filled up with '='.  What follows a group with '=' is not looked at.  Writes at most
 * text.len / 4 * 3 bytes at `to`; returns their number, 0 where this is no base64 of anything.
 */
size_t base64_decode(char *to, struct slice text);

#define BASE64_CHARS(bytes) (((bytes) + 2) / 3 * 4)

/* Writes BASE64_CHARS(bytes.len) characters at `to`; returns their number. */
size_t base64_encode(char *to, struct slice bytes);

#endif
