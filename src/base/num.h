/*
 * num.h -- decimal numbers in slices of text: read them checked, write them fast.
 *
 * Two grammars, and no third anywhere:
 *
 *     num_parse_*   what a protocol calls a number: digits, a '-' in front where the type is
 *                   signed, nothing else.  Tokens of 32-bit numbers have at most 11 characters,
 *                   those of 64-bit numbers at most 22, leading zeros included.
 *     num_scan_*    what C's strtol family calls a number: white space in front, one sign, digits,
 *                   and an end at white space, at NUL or at the end of the slice.  It is how
 *                   memcached reads <flags> and <exptime> of the classic storage commands and the
 *                   stored value of an incr.
 *
 * Overflow is an error in both.  strtol itself is no help: it needs a NUL, knows locales, and takes
 * "-1" for a large unsigned number.  Results are untouched when false is returned.
 */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bytes.h"
#include "check.h"

#define NUM_32_TOKEN_CHARS_MAX 11u
#define NUM_64_TOKEN_CHARS_MAX 22u
#define NUM_U32_CHARS_MAX 10u     /* the longest text num_put_u32 writes */
#define NUM_U64_CHARS_MAX 20u

/* ---- reading --------------------------------------------------------------------------------- */

/* At least one digit and nothing but digits.  Every number from outside comes through here. */
static inline bool
num_parse_digits(const char *at, size_t len, uint64_t *out)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)(unsigned char)at[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(sum, 10u, &sum)
            || __builtin_add_overflow(sum, digit, &sum)) {
            return false;
        }
    }
    if (len == 0) {
        return false;
    }
    *out = sum;
    return true;
}

static inline bool
num_parse_u64(struct slice text, uint64_t *out)
{
    return text.len <= NUM_64_TOKEN_CHARS_MAX && num_parse_digits(text.at, text.len, out);
}

static inline bool
num_parse_u32(struct slice text, uint32_t *out)
{
    uint64_t sum;
    if (text.len > NUM_32_TOKEN_CHARS_MAX || !num_parse_digits(text.at, text.len, &sum)
        || sum > UINT32_MAX) {
        return false;
    }
    *out = (uint32_t)sum;
    return true;
}

static inline bool
num_parse_i32(struct slice text, int32_t *out)
{
    bool minus = text.len > 0 && text.at[0] == '-';
    uint64_t sum;
    if (text.len > NUM_32_TOKEN_CHARS_MAX
        || !num_parse_digits(text.at + minus, text.len - minus, &sum)
        || sum > (uint64_t)INT32_MAX + minus) {
        return false;
    }
    *out = (int32_t)(minus ? -(int64_t)sum : (int64_t)sum);
    return true;
}

/* C's isspace() in the "C" locale. */
static inline bool
num_is_white(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* num_scan() for what is not digits alone. */
__attribute__((cold)) static inline bool
num_scan_slow(struct slice text, uint64_t *out_sum, bool *out_minus)
{
    const char *at = text.at, *end = text.at + text.len;
    while (at < end && num_is_white(*at)) {
        at++;
    }
    bool minus = at < end && *at == '-';
    if (minus || (at < end && *at == '+')) {
        at++;
    }
    const char *stop = at;
    while (stop < end && !num_is_white(*stop) && *stop != '\0') {
        stop++;
    }
    if (!num_parse_digits(at, (size_t)(stop - at), out_sum)) {
        return false;
    }
    *out_minus = minus;
    return true;
}

/* Magnitude and sign of the number at the start of text, as strtol would find them. */
static inline bool
num_scan(struct slice text, uint64_t *out_sum, bool *out_minus)
{
    if (LIKELY(num_parse_digits(text.at, text.len, out_sum))) {
        *out_minus = false;
        return true;
    }
    return num_scan_slow(text, out_sum, out_minus);
}

/* "-0" is 0; other negative numbers are not unsigned. */
static inline bool
num_scan_u64(struct slice text, uint64_t *out)
{
    uint64_t sum;
    bool minus;
    if (!num_scan(text, &sum, &minus) || (minus && sum > 0)) {
        return false;
    }
    *out = sum;
    return true;
}

static inline bool
num_scan_i64(struct slice text, int64_t *out)
{
    uint64_t sum;
    bool minus;
    if (!num_scan(text, &sum, &minus) || sum > (uint64_t)INT64_MAX + minus) {
        return false;
    }
    /* Negated as unsigned: -INT64_MIN has no signed form. */
    *out = (int64_t)(minus ? 0 - sum : sum);
    return true;
}

/* ---- writing --------------------------------------------------------------------------------- */

/*
 * Two digits at a time from a table: half the divisions (A. Alexandrescu, "Three Optimization Tips
 * for C++", 2012).
 */
static inline void
num_put_pair(char *at, unsigned below_100)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    memcpy(at, pairs + (size_t)2 * below_100, 2);
}

static inline unsigned
num_u32_chars(uint32_t v)
{
    if (v < 10000) {
        return v < 100 ? 1 + (v >= 10) : 3 + (v >= 1000);
    }
    if (v < 100000000) {
        return v < 1000000 ? 5 + (v >= 100000) : 7 + (v >= 10000000);
    }
    return 9 + (v >= 1000000000);
}

/* Writes v without NUL, returns its length: at most NUM_U32_CHARS_MAX. */
static inline size_t
num_put_u32(char *at, uint32_t v)
{
    unsigned n = num_u32_chars(v);
    char *end = at + n;
    while (v >= 100) {
        end -= 2;
        num_put_pair(end, v % 100);
        v /= 100;
    }
    if (v >= 10) {
        num_put_pair(at, v);
    } else {
        at[0] = (char)('0' + v);
    }
    return n;
}

/* The same for 64 bits: eight digits at a time, until the rest fits in 32. */
static inline size_t
num_put_u64(char *at, uint64_t v)
{
    const uint32_t eight_digits = 100000000;
    if (v <= UINT32_MAX) {
        return num_put_u32(at, (uint32_t)v);
    }
    size_t n = num_put_u64(at, v / eight_digits);
    uint32_t low = (uint32_t)(v % eight_digits);
    for (unsigned pair = 4; pair-- > 0; low /= 100) {
        num_put_pair(at + n + (size_t)2 * pair, low % 100);
    }
    return n + 8;
}

#endif
