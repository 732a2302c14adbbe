/*
 * history_value.c -- values that say whose they are, and their hash.
 *
 * The hash is a polynomial modulo the prime 2^61 - 1 (Karp and Rabin 1987) over the bytes: the
 * hash of two values one behind the other follows from theirs, so that the checkers can append
 * without having the bytes.
 */
#include "history.h"

#include <string.h>

#include "base/bytes.h"
#include "base/num.h"

#define PRIME ((1ull << 61) - 1)
#define BASE 0x12d3b5c9e4f70a6dull     /* below PRIME */
#define BLOCK 8u

struct record_head {
    char mark;                         /* no digit, no blank */
    uint8_t key, thread, zero;
    uint32_t number, len, check;
};
_Static_assert(sizeof(struct record_head) == HISTORY_RECORD_BYTES_MIN, "no holes");

/* ---- hash ------------------------------------------------------------------------------------ */

static uint64_t
reduce(unsigned __int128 x)
{
    uint64_t r = (uint64_t)(x & PRIME) + (uint64_t)(x >> 61);
    r = (r & PRIME) + (r >> 61);
    return r >= PRIME ? r - PRIME : r;
}

static uint64_t
power(uint64_t n)
{
    uint64_t result = 1;
    for (uint64_t square = BASE; n; n >>= 1) {
        if (n & 1)
            result = reduce((unsigned __int128)result * square);
        square = reduce((unsigned __int128)square * square);
    }
    return result;
}

static uint64_t
hash_more(uint64_t hash, const char *at, size_t len)
{
    uint64_t powers[BLOCK + 1] = {1};
    for (unsigned i = 1; i <= BLOCK; i++)
        powers[i] = reduce((unsigned __int128)powers[i - 1] * BASE);
    for (; len >= BLOCK; at += BLOCK, len -= BLOCK) {
        unsigned __int128 sum = (unsigned __int128)hash * powers[BLOCK];
        for (unsigned i = 0; i < BLOCK; i++)
            sum += (unsigned __int128)powers[BLOCK - 1 - i] * ((unsigned char)at[i] + 1u);
        hash = reduce(sum);
    }
    for (; len; at++, len--)
        hash = reduce((unsigned __int128)hash * BASE + (unsigned char)*at + 1u);
    return hash;
}

struct history_content
history_content_of(const char *at, size_t len)
{
    struct history_content c = {.hash = hash_more(0, at, len), .len = len};
    c.is_number = num_scan_u64((struct slice){at, len}, &c.number);
    return c;
}

struct history_content
history_content_number(uint64_t number, uint64_t len)
{
    char text[NUM_U64_CHARS_MAX];
    size_t n = num_put_u64(text, number);
    struct history_content c = {.len = len > n ? len : n, .number = number, .is_number = true};
    c.hash = hash_more(0, text, n);
    char blanks[64];
    memset(blanks, ' ', sizeof blanks);
    for (size_t more; n < c.len; n += more) {
        more = c.len - n < sizeof blanks ? c.len - n : sizeof blanks;
        c.hash = hash_more(c.hash, blanks, more);
    }
    return c;
}

struct history_content
history_content_join(const struct history_content *a, const struct history_content *b)
{
    if (b->len == 0)
        return *a;
    if (a->len == 0)
        return *b;
    struct history_content c = {.len = a->len + b->len};
    c.hash = reduce((unsigned __int128)a->hash * power(b->len) + b->hash);
    char text[NUM_U64_CHARS_MAX];
    /* A number ends at a blank, whatever follows; only records are ever joined to it. */
    if (a->is_number && num_put_u64(text, a->number) < a->len) {
        c.is_number = true;
        c.number = a->number;
    }
    return c;
}

/* ---- records --------------------------------------------------------------------------------- */

static uint64_t
mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t
stamp_of(const struct record_head *head)
{
    uint64_t who = (uint64_t)head->key << 8 | head->thread;
    return mix((uint64_t)head->number << 32 | head->len) ^ mix(who + 1);
}

static void
pattern_word(uint64_t stamp, size_t i, char word[8])
{
    uint64_t x = mix(stamp + i);
    memcpy(word, &x, 8);
}

void
history_record_write(char *at, unsigned key, unsigned thread, uint32_t number, size_t len)
{
    struct record_head head = {.mark = '#', .key = (uint8_t)key, .thread = (uint8_t)thread,
                               .number = number, .len = (uint32_t)len};
    uint64_t stamp = stamp_of(&head);
    head.check = (uint32_t)stamp;
    CHECK(len >= sizeof head);
    memcpy(at, &head, sizeof head);
    for (size_t i = sizeof head; i < len; i += 8) {
        char word[8];
        pattern_word(stamp, i, word);
        memcpy(at + i, word, len - i < 8 ? len - i : 8);
    }
}

static const char *
record_wrong(const char *at, size_t left, unsigned key, size_t *out_len)
{
    struct record_head head;
    if (left < sizeof head)
        return "a value was cut";
    memcpy(&head, at, sizeof head);
    uint64_t stamp = stamp_of(&head);
    if (head.check != (uint32_t)stamp || head.len < sizeof head)
        return "a value was mixed from two, or never written: no record where one should be";
    if (head.key != key)
        return "a value of another key";
    if (head.len > left)
        return "a value was cut";
    for (size_t i = sizeof head; i < head.len; i += 8) {
        char word[8];
        pattern_word(stamp, i, word);
        if (memcmp(at + i, word, head.len - i < 8 ? head.len - i : 8) != 0)
            return "a value was mixed from two: a byte of the pattern is wrong";
    }
    *out_len = head.len;
    return NULL;
}

const char *
history_value_wrong(const char *at, size_t len, unsigned key)
{
    for (size_t i = 0, n; i < len; i += n) {
        n = 1;
        if (at[i] == ' ' || (at[i] >= '0' && at[i] <= '9'))
            continue;
        const char *wrong = record_wrong(at + i, len - i, key, &n);
        if (wrong)
            return wrong;
    }
    return NULL;
}
