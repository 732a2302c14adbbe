/*
 * base64.c -- see base64.h.
 *
 * Speed does not matter: keys are short.
 */
#include "base64.h"

#include <stdbool.h>
#include <stdint.h>

static const char alphabet[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Six bits, or -1.  '=' counts as 0. */
static int
bits_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : c == '=' ? 0 : -1;
}

/* Are there whole groups, and at least one? */
static bool
is_whole(struct slice text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += bits_of(text.at[i]) >= 0;
    return n > 0 && n % 4 == 0;
}

size_t
base64_decode(char *to, struct slice text)
{
    uint32_t group = 0;
    unsigned in_group = 0, fill = 0;
    size_t written = 0;
    if (!is_whole(text))
        return 0;
    for (size_t i = 0; i < text.len; i++) {
        int bits = bits_of(text.at[i]);
        if (bits < 0)
            continue;
        fill += text.at[i] == '=';
        group = group << 6 | (uint32_t)bits;
        if (++in_group < 4)
            continue;
        if (fill > 2)
            return 0;
        for (unsigned k = 0; k < 3 - fill; k++)
            to[written++] = (char)(group >> (16 - 8 * k));
        if (fill > 0)
            return written;
        in_group = 0;
    }
    return written;
}

size_t
base64_encode(char *to, struct slice bytes)
{
    const unsigned char *from = (const unsigned char *)bytes.at;
    char *at = to;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t group = (uint32_t)from[i] << 16;
        group |= left > 1 ? (uint32_t)from[i + 1] << 8 : 0;
        group |= left > 2 ? from[i + 2] : 0;
        *at++ = alphabet[group >> 18];
        *at++ = alphabet[group >> 12 & 63];
        *at++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
        *at++ = left > 2 ? alphabet[group & 63] : '=';
    }
    return (size_t)(at - to);
}
