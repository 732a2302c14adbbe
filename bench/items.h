/*
 * items.h -- 20-byte keys and 32-byte values that a number determines, in a few nanoseconds.
 *
 * A key is "key:" and sixteen letters, four bits each: the number scrambled, the number itself.
 * A value is its version and three words that key and version determine, so that a value of
 * another key, of two versions mixed, or cut short is seen.
 *
 * Include it after common.h.
 */
#ifndef BENCH_ITEMS_H
#define BENCH_ITEMS_H

#define ITEM_KEY_BYTES   20u
#define ITEM_VALUE_BYTES 32u
#define ITEM_ABSENT      0x80000000u /* keys from here on are never stored */

struct item_key {
    char text[ITEM_KEY_BYTES];
};

struct item_value {
    uint64_t word[ITEM_VALUE_BYTES / 8];
};

_Static_assert(sizeof(struct item_value) == ITEM_VALUE_BYTES, "no padding");

static inline uint64_t
item_letters(uint32_t number)
{
    uint64_t x = number;

    x = (x | x << 16) & 0x0000ffff0000ffffull;
    x = (x | x << 8) & 0x00ff00ff00ff00ffull;
    x = (x | x << 4) & 0x0f0f0f0f0f0f0f0full;
    return x + 0x6161616161616161ull; /* 'a' to 'p' */
}

static inline void
item_key_make(struct item_key *key, uint32_t number)
{
    uint64_t scrambled = item_letters(number * 0x9e3779b1u), plain = item_letters(number);

    memcpy(key->text, "key:", 4);
    memcpy(key->text + 4, &scrambled, 8);
    memcpy(key->text + 12, &plain, 8);
}

static inline struct item_value
item_value_make(uint32_t number, uint64_t version)
{
    uint64_t x = (number + 1) * 0x9e3779b97f4a7c15ull + version * 0xd1342543de82ef95ull;

    return (struct item_value){{version, x, (x ^ x >> 29) * 0xbf58476d1ce4e5b9ull, ~x}};
}

/* False: these are not the bytes of a value of this key. */
static inline bool
item_value_right(const char *value, uint64_t bytes, uint32_t number, uint64_t *out_version)
{
    struct item_value right;

    if (bytes != ITEM_VALUE_BYTES)
        return false;
    memcpy(out_version, value, sizeof *out_version);
    right = item_value_make(number, *out_version);
    return memcmp(value, &right, sizeof right) == 0;
}

#endif
