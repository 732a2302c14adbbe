/*
 * test_num.c -- numbers out of text and into text.
 *
 * Goal: the parsers accept exactly their grammar and nothing overflows unseen.  Method: chosen
 * edges, then random strings over the bytes that matter, compared with models made from the C
 * library (strtoull, snprintf).  Each string lies at the end of a block of its own size, so that
 * a sanitizer sees any byte read beyond it.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/num.h"
#include "base/rand.h"

#define ROUNDS 300000
#define TEXT_CHARS_MAX 26

/* The results of all parsers for one text; .ok says which of them found a number. */
struct results {
    bool u32_ok, i32_ok, u64_ok, scan_u64_ok, scan_i64_ok;
    uint32_t u32;
    int32_t i32;
    uint64_t u64, scan_u64;
    int64_t scan_i64;
};

static struct results
parse_all(const char *text, size_t len)
{
    char *block = malloc(len ? len : 1);
    char *at = len ? block : block + 1;
    memcpy(at, text, len);
    struct slice slice = {at, len};
    struct results r = {0};
    r.u32_ok = num_parse_u32(slice, &r.u32);
    r.i32_ok = num_parse_i32(slice, &r.i32);
    r.u64_ok = num_parse_u64(slice, &r.u64);
    r.scan_u64_ok = num_scan_u64(slice, &r.scan_u64);
    r.scan_i64_ok = num_scan_i64(slice, &r.scan_i64);
    free(block);
    return r;
}

/* ---- models ---------------------------------------------------------------------------------- */

/* [-]digits, at most chars_max characters, between min and max: by way of __int128. */
static bool
model_strict(const char *text, size_t len, size_t chars_max, bool is_signed, __int128 min,
             __int128 max, __int128 *out)
{
    size_t i = 0;
    bool minus = false;
    if (is_signed && len > 0 && text[0] == '-') {
        minus = true;
        i = 1;
    }
    if (len > chars_max || i == len) {
        return false;
    }
    __int128 sum = 0;
    for (; i < len; i++) {
        if (!strchr("0123456789", text[i]) || text[i] == '\0') {
            return false;
        }
        sum = sum * 10 + (text[i] - '0');
    }
    sum = minus ? -sum : sum;
    if (sum < min || sum > max) {
        return false;
    }
    *out = sum;
    return true;
}

/* What strtoull and strtoll say of the text as a C string. */
static bool
model_scan(const char *text, size_t len, uint64_t *out_unsigned, bool *out_is_unsigned,
           int64_t *out_signed, bool *out_is_signed)
{
    char copy[TEXT_CHARS_MAX + 1] = {0};
    memcpy(copy, text, len);
    char *end;
    errno = 0;
    *out_unsigned = strtoull(copy, &end, 10);
    bool ends = end != copy && (*end == '\0' || strchr(" \t\n\v\f\r", *end));
    *out_is_unsigned = ends && errno == 0;
    char *minus = memchr(copy, '-', (size_t)(end - copy));
    if (minus && *out_unsigned != 0) {
        *out_is_unsigned = false;
    }
    errno = 0;
    *out_signed = strtoll(copy, &end, 10);
    *out_is_signed = ends && errno == 0;
    return ends;
}

static void
compare_with_models(const char *text, size_t len)
{
    struct results r = parse_all(text, len);
    __int128 model = 0;
    assert_int_equal(r.u32_ok, model_strict(text, len, 11, false, 0, UINT32_MAX, &model));
    assert_true(!r.u32_ok || r.u32 == model);
    assert_int_equal(r.i32_ok, model_strict(text, len, 11, true, INT32_MIN, INT32_MAX, &model));
    assert_true(!r.i32_ok || r.i32 == model);
    assert_int_equal(r.u64_ok, model_strict(text, len, 22, false, 0, UINT64_MAX, &model));
    assert_true(!r.u64_ok || r.u64 == model);

    uint64_t u;
    int64_t i;
    bool is_unsigned, is_signed;
    model_scan(text, len, &u, &is_unsigned, &i, &is_signed);
    assert_int_equal(r.scan_u64_ok, is_unsigned);
    assert_true(!is_unsigned || r.scan_u64 == u);
    assert_int_equal(r.scan_i64_ok, is_signed);
    assert_true(!is_signed || r.scan_i64 == i);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Goal: the limits of each type, one below, at and one above.  Method: a table. */
static void
test_limits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool u32, i32, u64, scan_u64, scan_i64;
    } rows[] = {
        /* text                       u32 i32 u64 scanu scani */
        {"",                          0,  0,  0,  0,    0},
        {"0",                         1,  1,  1,  1,    1},
        {"-",                         0,  0,  0,  0,    0},
        {"+",                         0,  0,  0,  0,    0},
        {"-0",                        0,  1,  0,  1,    1},
        {"-1",                        0,  1,  0,  0,    1},
        {"+5",                        0,  0,  0,  1,    1},
        {"+-5",                       0,  0,  0,  0,    0},
        {"--5",                       0,  0,  0,  0,    0},
        {"- 5",                       0,  0,  0,  0,    0},
        {" 5",                        0,  0,  0,  1,    1},
        {"5 ",                        0,  0,  0,  1,    1},
        {"5 x",                       0,  0,  0,  1,    1},
        {"5\tx",                      0,  0,  0,  1,    1},
        {"\v\f5\rx",                  0,  0,  0,  1,    1},
        {"5x",                        0,  0,  0,  0,    0},
        {"0x10",                      0,  0,  0,  0,    0},
        {"1.5",                       0,  0,  0,  0,    0},
        {"/",                         0,  0,  0,  0,    0},
        {":",                         0,  0,  0,  0,    0},
        {"2147483647",                1,  1,  1,  1,    1},
        {"2147483648",                1,  0,  1,  1,    1},
        {"-2147483648",               0,  1,  0,  0,    1},
        {"-2147483649",               0,  0,  0,  0,    1},
        {"4294967295",                1,  0,  1,  1,    1},
        {"4294967296",                0,  0,  1,  1,    1},
        {"00000000003",               1,  1,  1,  1,    1},
        {"000000000003",              0,  0,  1,  1,    1},
        {"-0000000003",               0,  1,  0,  0,    1},
        {"-00000000003",              0,  0,  0,  0,    1},
        {"9223372036854775807",       0,  0,  1,  1,    1},
        {"9223372036854775808",       0,  0,  1,  1,    0},
        {"-9223372036854775808",      0,  0,  0,  0,    1},
        {"-9223372036854775809",      0,  0,  0,  0,    0},
        {"18446744073709551615",      0,  0,  1,  1,    0},
        {"18446744073709551616",      0,  0,  0,  0,    0},
        {"99999999999999999999",      0,  0,  0,  0,    0},
        {"0000000000000000000005",    0,  0,  1,  1,    1},
        {"00000000000000000000005",   0,  0,  0,  1,    1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        print_message("\"%s\"\n", rows[i].text);
        struct results r = parse_all(rows[i].text, strlen(rows[i].text));
        assert_int_equal(r.u32_ok, rows[i].u32);
        assert_int_equal(r.i32_ok, rows[i].i32);
        assert_int_equal(r.u64_ok, rows[i].u64);
        assert_int_equal(r.scan_u64_ok, rows[i].scan_u64);
        assert_int_equal(r.scan_i64_ok, rows[i].scan_i64);
        compare_with_models(rows[i].text, strlen(rows[i].text));
    }
}

/* Goal: a C program may have stored its terminating NUL; what follows it is not looked at. */
static void
test_scan_ends_at_nul(void **state)
{
    (void)state;
    assert_true(parse_all("5", 2).scan_u64_ok);
    assert_true(parse_all("5\0x", 3).scan_u64_ok);
    assert_false(parse_all("\0" "5", 2).scan_u64_ok);
    assert_false(parse_all("5", 2).u64_ok);
}

/* Goal: a result is untouched when there is none. */
static void
test_failure_leaves_result(void **state)
{
    (void)state;
    uint32_t u32 = 77;
    int32_t i32 = 77;
    uint64_t u64 = 77;
    int64_t i64 = 77;
    assert_false(num_parse_u32(SLICE("4294967296"), &u32));
    assert_false(num_parse_i32(SLICE("2147483648"), &i32));
    assert_false(num_parse_u64(SLICE("18446744073709551616"), &u64));
    assert_false(num_scan_u64(SLICE("-3"), &u64));
    assert_false(num_scan_i64(SLICE("12a"), &i64));
    assert_int_equal(u32, 77);
    assert_int_equal(i32, 77);
    assert_int_equal(u64, 77);
    assert_int_equal(i64, 77);
}

/* Goal: as the models for anything.  Method: random texts, mostly of digits and signs. */
static void
test_random_texts(void **state)
{
    (void)state;
    static const char any[] = "00112345678999+-- \t\v\r\n.xae/:\xff";
    const uint64_t seed = rand_seed();
    print_message("seed %" PRIu64 "\n", seed);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t dice = hash_u64(seed + round);
        char text[TEXT_CHARS_MAX];
        size_t len = dice % (TEXT_CHARS_MAX + 1);
        bool only_digits = (dice >> 32) % 2 == 0;
        for (size_t i = 0; i < len; i++) {
            dice = hash_u64(dice);
            text[i] = only_digits ? (char)('0' + dice % 10) : any[dice % (sizeof any)];
        }
        if (only_digits && len > 0 && (dice >> 40) % 4 == 0) {
            text[0] = "-+ \t"[(dice >> 50) % 4];
        }
        compare_with_models(text, len);
    }
}

static void
put_and_compare(uint64_t v)
{
    char expected[32], room[NUM_U64_CHARS_MAX];
    size_t len = (size_t)snprintf(expected, sizeof expected, "%" PRIu64, v);
    assert_int_equal(num_put_u64(room, v), len);
    assert_memory_equal(room, expected, len);
    if (v <= UINT32_MAX) {
        char small_room[NUM_U32_CHARS_MAX];
        assert_int_equal(num_put_u32(small_room, (uint32_t)v), len);
        assert_memory_equal(small_room, expected, len);
    }
}

/* Goal: text as snprintf writes it.  Method: around every power of 10 and of 2, then random. */
static void
test_put(void **state)
{
    (void)state;
    for (uint64_t power = 1, i = 0; i < 20; i++, power *= 10) {
        for (int step = -2; step <= 2; step++) {
            put_and_compare(power + (uint64_t)(int64_t)step);
        }
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        put_and_compare((UINT64_C(1) << bit) - 1);
        put_and_compare(UINT64_C(1) << bit);
    }
    put_and_compare(UINT64_MAX);
    for (uint64_t v = 0; v < 20000; v++) {
        put_and_compare(v);
    }
    const uint64_t seed = rand_seed();
    print_message("seed %" PRIu64 "\n", seed);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t v = hash_u64(seed + round);
        put_and_compare(v >> (hash_u64(v) % 64));
    }
}

/* Goal: reading is the reverse of writing. */
static void
test_round_trip(void **state)
{
    (void)state;
    const uint64_t seed = rand_seed();
    print_message("seed %" PRIu64 "\n", seed);
    for (uint64_t round = 0; round < ROUNDS / 10; round++) {
        uint64_t v = hash_u64(seed + round), again;
        v >>= hash_u64(v) % 64;
        char room[NUM_U64_CHARS_MAX];
        struct slice text = {room, num_put_u64(room, v)};
        assert_true(num_parse_u64(text, &again));
        assert_true(v == again);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_scan_ends_at_nul),
        cmocka_unit_test(test_failure_leaves_result),
        cmocka_unit_test(test_random_texts),
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
