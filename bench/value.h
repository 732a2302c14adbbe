/*
 * value.h -- the text of a key, and of every value that is stored under it.
 *
 * A key is its id in base 62, as wide as the largest id of the trace needs,
 * padded from the left to the length in the trace by letters that the id
 * determines.  So two ids never share a key.
 *
 * A value is the first `length` bytes of an image that the key, the length
 * and the version of the value determine:
 *
 *     | version, 7 digits | key, 6 digits | length, 4 digits | pattern ...
 *
 * Digits are base 62, the lowest first, so that a short value carries what
 * fits: one byte still tells the version modulo 62.  The digits of the
 * version are turned by an amount that depends on the key, so that a short
 * value tells other keys' values apart as well.  The pattern begins at a
 * place that key and version choose: half a value of one version and half of
 * another is seen.  All bytes are printable.
 *
 * In a numeric trace a value is a decimal number without leading zeros, which
 * incr can count up.
 *
 * Threads: after value_pattern_create everything here is read only.
 *
 * Include it after common.h and trace.h.
 */
#ifndef BENCH_VALUE_H
#define BENCH_VALUE_H

#define VALUE_BYTES_MAX      (1u << 20)
#define VALUE_VERSION_DIGITS 7
#define VALUE_KEY_DIGITS     6
#define VALUE_LENGTH_DIGITS  4
#define VALUE_KEY_AT         VALUE_VERSION_DIGITS
#define VALUE_LENGTH_AT      (VALUE_KEY_AT + VALUE_KEY_DIGITS)
#define VALUE_HEAD_BYTES     (VALUE_LENGTH_AT + VALUE_LENGTH_DIGITS)
#define VALUE_PATTERN_BYTES  65536u
#define VALUE_DIGITS_BASE    62

_Static_assert(62ull * 62 * 62 * 62 > VALUE_BYTES_MAX, "four digits hold every length");

static const char value_digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* One period of the pattern, and a longest value behind it: it can be read from any place. */
static char *value_pattern;

static inline void
value_pattern_create(void)
{
    value_pattern = checked(malloc(VALUE_PATTERN_BYTES + VALUE_BYTES_MAX));
    for (uint32_t i = 0; i < VALUE_PATTERN_BYTES; i++)
        value_pattern[i] = value_digits[mix64(i) % VALUE_DIGITS_BASE];
    for (uint32_t i = VALUE_PATTERN_BYTES; i < VALUE_PATTERN_BYTES + VALUE_BYTES_MAX; i++)
        value_pattern[i] = value_pattern[i - VALUE_PATTERN_BYTES];
}

static inline int
value_digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'Z')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 36;
    return -1;
}

/* Writes the key of id to out_key (at least 260 bytes, no terminator) and returns its length. */
static inline size_t
value_key(char *out_key, uint64_t id, unsigned key_bytes, uint64_t key_count)
{
    unsigned width = 0, length, pad;
    uint64_t hash = mix64(id ^ 0xabcdefull);

    for (uint64_t rest = key_count ? key_count - 1 : 0; width == 0 || rest; rest /= 62)
        width++;
    length = key_bytes > width ? key_bytes : width;
    pad = length - width;
    for (unsigned i = 0; i < pad; i++, hash /= 52) {
        if (i % 10 == 0)
            hash = mix64(hash + i);
        out_key[i] = i ? value_digits[10 + hash % 52] : 'k';
    }
    for (unsigned i = length; i-- > pad; id /= VALUE_DIGITS_BASE)
        out_key[i] = value_digits[id % VALUE_DIGITS_BASE];
    return length;
}

static inline void
value_put_digits(char *to, uint64_t number, unsigned digit_count)
{
    for (unsigned i = 0; i < digit_count; i++, number /= VALUE_DIGITS_BASE)
        to[i] = value_digits[number % VALUE_DIGITS_BASE];
}

/* The first bytes of the image: all that is not pattern. */
static inline void
value_head(char out_head[VALUE_HEAD_BYTES], uint64_t key, uint32_t length, uint64_t version)
{
    uint64_t turn = mix64(key);

    for (unsigned i = 0; i < VALUE_VERSION_DIGITS; i++) {
        out_head[i] = value_digits[(version + turn) % VALUE_DIGITS_BASE];
        version /= VALUE_DIGITS_BASE;
        turn /= VALUE_DIGITS_BASE;
    }
    value_put_digits(out_head + VALUE_KEY_AT, key, VALUE_KEY_DIGITS);
    value_put_digits(out_head + VALUE_LENGTH_AT, length, VALUE_LENGTH_DIGITS);
}

/* The rest of the image; valid as long as the longest value. */
static inline const char *
value_body(uint64_t key, uint64_t version)
{
    return value_pattern + (mix64(mix64(key * 3 + 1) + version) & (VALUE_PATTERN_BYTES - 1));
}

/* Whether bytes are the first `got` of the value of (key, length, version). */
static inline bool
value_begins(const char *bytes, size_t got, uint64_t key, uint32_t length, uint64_t version)
{
    char head[VALUE_HEAD_BYTES];
    size_t in_head = got < sizeof head ? got : sizeof head;

    if (got > VALUE_BYTES_MAX)
        return false;
    value_head(head, key, length, version);
    return !memcmp(bytes, head, in_head) &&
           !memcmp(bytes + in_head, value_body(key, version), got - in_head);
}

static inline bool
value_read_digits(const char *from, unsigned digit_count, uint64_t *out_number)
{
    uint64_t number = 0;

    for (unsigned i = digit_count; i-- > 0;) {
        int digit = value_digit_of(from[i]);

        if (digit < 0)
            return false;
        number = number * VALUE_DIGITS_BASE + (unsigned)digit;
    }
    *out_number = number;
    return true;
}

/* The version that bytes tell: modulo 62^digit_count when fewer than all digits are there. */
static inline bool
value_read_version(const char *bytes, unsigned digit_count, uint64_t key, uint64_t *out_version)
{
    char plain[VALUE_VERSION_DIGITS];
    uint64_t turn = mix64(key);

    for (unsigned i = 0; i < digit_count; i++, turn /= VALUE_DIGITS_BASE) {
        int digit = value_digit_of(bytes[i]);

        if (digit < 0)
            return false;
        plain[i] = value_digits[((unsigned)digit + VALUE_DIGITS_BASE - turn % VALUE_DIGITS_BASE) %
                                VALUE_DIGITS_BASE];
    }
    return value_read_digits(plain, digit_count, out_version);
}

/* Says in words what bytes, received under key, seem to be. */
static inline void
value_describe(char *out_text, size_t capacity, const char *bytes, size_t got, uint64_t key)
{
    uint64_t version = 0, owner = key, length = got;
    unsigned digits = got < VALUE_VERSION_DIGITS ? (unsigned)got : VALUE_VERSION_DIGITS;
    bool known = value_read_version(bytes, digits, key, &version);

    if (got >= VALUE_LENGTH_AT)
        known = known && value_read_digits(bytes + VALUE_KEY_AT, VALUE_KEY_DIGITS, &owner);
    if (got >= VALUE_HEAD_BYTES)
        known = known && value_read_digits(bytes + VALUE_LENGTH_AT, VALUE_LENGTH_DIGITS, &length);
    if (!known)
        snprintf(out_text, capacity, "%zu bytes that were never stored", got);
    else if (owner != key)
        snprintf(out_text, capacity, "%zu bytes that say they belong to key number %" PRIu64, got,
                 owner);
    else if (got < VALUE_VERSION_DIGITS)
        snprintf(out_text, capacity, "version %" PRIu64 " modulo 62^%u, %zu bytes", version, digits,
                 got);
    else if (!value_begins(bytes, got, key, (uint32_t)length, version))
        snprintf(out_text, capacity, "a damaged version %" PRIu64 ", %zu bytes", version, got);
    else if (length != got)
        snprintf(out_text, capacity, "version %" PRIu64 ", %zu of its %" PRIu64 " bytes", version,
                 got, length);
    else
        snprintf(out_text, capacity, "version %" PRIu64 ", %zu bytes", version, got);
}

/* The number that follows `last` among the numbers of exactly `digits` digits. */
static inline uint64_t
value_number_after(uint64_t last, unsigned digits)
{
    uint64_t low = 1, span;

    for (unsigned i = 1; i < digits; i++)
        low *= 10;
    span = low * 9;
    return low + (last + 1 + span - low) % span;
}

#endif
