/*
 * test_text_model.c -- the text parser against a model that is too simple to be wrong.
 *
 * Goal: any line, however odd, means to the parser what it means to the model, and streams of
 * requests are taken apart at the same places.  Method: lines put together at random from commands,
 * numbers and words that matter.  The model copies the tokens of a line into an array, looks at
 * them in the order the protocol prescribes, and asks the C library about numbers.
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

#include "base/check.h"
#include "base/hash.h"
#include "base/rand.h"
#include "proto/proto.h"
#include "text_words.h"

#define ROUNDS 40000
#define MODEL_TOKENS_MAX 23
#define K50 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define K250 K50 K50 K50 K50 K50

/* ---- the model ------------------------------------------------------------------------------- */

struct model {
    const char *in;
    size_t len;
    struct slice tokens[MODEL_TOKENS_MAX];
    size_t token_count;
    struct told told;
};

static bool
token_is(const struct model *m, size_t i, const char *word)
{
    return i < m->token_count && m->tokens[i].len == strlen(word)
        && memcmp(m->tokens[i].at, word, m->tokens[i].len) == 0;
}

/* All digits, with a '-' where allowed; and then what strtoll or strtoull say. */
static bool
model_number(const struct model *m, size_t i, size_t chars_max, bool is_signed, int64_t min,
             uint64_t max, uint64_t *out)
{
    char copy[32] = "";
    if (i >= m->token_count || m->tokens[i].len > chars_max) {
        return false;
    }
    memcpy(copy, m->tokens[i].at, m->tokens[i].len);
    size_t digits_at = is_signed && copy[0] == '-';
    if (m->tokens[i].len == digits_at
        || strspn(copy + digits_at, "0123456789") + digits_at != m->tokens[i].len) {
        return false;
    }
    errno = 0;
    *out = digits_at ? (uint64_t)strtoll(copy, NULL, 10) : strtoull(copy, NULL, 10);
    return errno == 0 && (digits_at ? (int64_t)*out >= min : *out <= max);
}

/* strtoull or strtoll as they are, except that no negative number but -0 is unsigned. */
static bool
model_lax_number(const struct model *m, size_t i, bool is_signed, uint64_t *out)
{
    char copy[1024] = "", *end;
    CHECK(m->tokens[i].len < sizeof copy);
    memcpy(copy, m->tokens[i].at, m->tokens[i].len);
    errno = 0;
    *out = is_signed ? (uint64_t)strtoll(copy, &end, 10) : strtoull(copy, &end, 10);
    bool negative = memchr(copy, '-', (size_t)(end - copy)) != NULL && *out != 0;
    return end != copy && errno == 0 && (*end == '\0' || strchr("\t\n\v\f\r", *end))
        && (is_signed || !negative);
}

static void
model_error(struct model *m, const char *text)
{
    m->told.verb = "bad";
    m->told.is_store = false;
    m->told.key_count = 0;
    m->told.client_flags = 0;
    m->told.exptime = 0;
    m->told.number = 0;
    m->told.error = (struct slice){m->told.noreply ? NULL : text, strlen(text)};
}

static const char format_text[] = "CLIENT_ERROR bad command line format";
static const char exptime_text[] = "CLIENT_ERROR invalid exptime argument";
static const char delta_text[] = "CLIENT_ERROR invalid numeric delta argument";

/* Fills keys from the bytes after the tokens that are not keys. */
static void
model_get(struct model *m, const char *at, const char *end, bool with_exptime)
{
    uint64_t n = 0;
    if (m->token_count < (with_exptime ? 3u : 2u)) {
        model_error(m, format_text);
        return;
    }
    if (with_exptime && !model_number(m, 1, 11, true, INT32_MIN, INT32_MAX, &n)) {
        model_error(m, exptime_text);
        return;
    }
    m->told.exptime = (int32_t)n;
    at = m->tokens[with_exptime ? 1 : 0].at + m->tokens[with_exptime ? 1 : 0].len;
    while (at < end) {
        const char *start = at;
        while (at < end && *at != ' ') {
            at++;
        }
        if (at - start > 250) {
            model_error(m, format_text);
            return;
        }
        if (at > start) {
            m->told.keys[m->told.key_count++] = (struct slice){start, (size_t)(at - start)};
        }
        at++;
    }
}

static void
model_store(struct model *m, const char *block, size_t block_bytes)
{
    uint64_t n, flags = 0, exptime = 0;
    bool is_cas = token_is(m, 0, "cas");
    m->told.noreply = false;
    if (m->token_count < 5 || !model_number(m, 4, 11, true, 0, INT32_MAX - 2, &n)) {
        model_error(m, format_text);
        return;
    }
    m->told.noreply = token_is(m, m->token_count - 1, "noreply");
    if (m->tokens[1].len > 250 || !model_lax_number(m, 2, false, &flags)
        || !model_lax_number(m, 3, true, &exptime)
        || (is_cas && !model_number(m, 5, 22, false, 0, UINT64_MAX, &m->told.number))) {
        model_error(m, format_text);
        m->told.swallow_bytes = n + 2;
        return;
    }
    m->told.is_store = true;
    m->told.keys[m->told.key_count++] = m->tokens[1];
    m->told.client_flags = (uint32_t)flags;
    m->told.exptime = (int32_t)(exptime & 0xffffffff);
    m->told.value_bytes = n;
    if (block_bytes >= n + 2) {
        m->told.value = block;
        m->told.bad_chunk = block[n] != '\r' || block[n + 1] != '\n';
    }
}

static void
model_keyed(struct model *m)
{
    bool is_delete = token_is(m, 0, "delete"), is_touch = token_is(m, 0, "touch");
    uint64_t n = 0;
    if (m->token_count < (is_delete ? 2u : 3u)) {
        m->told.noreply = false;
        model_error(m, format_text);
    } else if (m->tokens[1].len > 250) {
        model_error(m, format_text);
    } else if (is_touch && !model_number(m, 2, 11, true, INT32_MIN, INT32_MAX, &n)) {
        model_error(m, exptime_text);
    } else if (!is_touch && !is_delete && !model_number(m, 2, 22, false, 0, UINT64_MAX, &n)) {
        model_error(m, delta_text);
    } else {
        m->told.keys[m->told.key_count++] = m->tokens[1];
        m->told.exptime = is_touch ? (int32_t)n : 0;
        m->told.number = is_touch ? 0 : n;
    }
}

static void
model_rest(struct model *m, size_t behind, const char *end)
{
    const char *at = m->tokens[behind].at + m->tokens[behind].len;
    while (at < end && *at == ' ') {
        at++;
    }
    while (end > at && end[-1] == ' ') {
        end--;
    }
    m->told.args = (struct slice){at, (size_t)(end - at)};
}

static bool
first_is_one_of(const struct model *m, const char *const *words)
{
    for (; *words; words++) {
        if (token_is(m, 0, *words)) {
            return true;
        }
    }
    return false;
}

static void
model_admin(struct model *m, const char *end)
{
    static const char *const wordy[] = {"shutdown", "slabs", "lru", "lru_crawler",
                                        "refresh_certs", NULL};
    uint64_t n = 0;
    if (first_is_one_of(m, wordy)) {
        model_rest(m, 0, end);
    } else if (token_is(m, 0, "flush_all")) {
        if (m->token_count > 2 || (m->token_count == 2 && !m->told.noreply)) {
            m->told.has_number = true;
            m->told.bad_number = !model_number(m, 1, 11, true, INT32_MIN, INT32_MAX, &n);
            m->told.exptime = m->told.bad_number ? 0 : (int32_t)n;
        }
    } else if (!model_number(m, 1, 11, false, 0, UINT32_MAX, &m->told.number)) {
        model_error(m, token_is(m, 0, "verbosity") ? format_text : "ERROR");
    }
}

static void
model_line(struct model *m, const char *end, const char *block, size_t block_bytes)
{
    static const char *const gets[] = {"get", "gets", "gat", "gats", NULL};
    static const char *const stores[] = {"set", "add", "replace", "append", "prepend", "cas", NULL};
    static const char *const keyed[] = {"delete", "incr", "decr", "touch", NULL};
    static const char *const bare[] = {"version", "quit", "mn", NULL};
    static const char *const admin[] = {"flush_all", "verbosity", "cache_memlimit", "shutdown",
                                        "slabs", "lru", "lru_crawler", "refresh_certs", NULL};
    static char verb[32];
    bool column_0 = m->in[0] != ' ';
    struct slice last = m->token_count ? m->tokens[m->token_count - 1] : (struct slice){"", 0};
    m->told.noreply = m->token_count > 0 && token_is(m, m->token_count - 1, "noreply");
    snprintf(verb, sizeof verb, "%.*s", m->token_count ? (int)m->tokens[0].len : 0,
             m->tokens[0].at);
    m->told.verb = verb;
    if (column_0 && first_is_one_of(m, gets)) {
        m->told.noreply = false;
        model_get(m, m->in, end, token_is(m, 0, "gat") || token_is(m, 0, "gats"));
    } else if (column_0 && first_is_one_of(m, stores)) {
        model_store(m, block, block_bytes);
    } else if (column_0 && first_is_one_of(m, keyed)) {
        model_keyed(m);
    } else if (column_0 && first_is_one_of(m, bare)) {
        m->told.noreply = false;
    } else if (column_0 && token_is(m, 0, "stats")) {
        bool is_detail = m->token_count > 1 && token_is(m, 1, "detail");
        m->told.noreply = false;
        m->told.verb = is_detail ? "stats-detail" : "stats";
        model_rest(m, is_detail ? 1 : 0, end);
    } else if (first_is_one_of(m, admin)) {
        model_admin(m, end);
    } else if (m->token_count >= 2 && last.len >= 5 && memcmp(last.at, "HTTP/", 5) == 0) {
        m->told.verb = "hang-up";
    } else {
        model_error(m, "ERROR");
    }
}

/* The input's first request, a line of at most 2048 bytes. */
static void
model_parse(const char *in, size_t len, struct words *w)
{
    static struct model m;
    memset(&m, 0, sizeof m);
    m.in = in;
    size_t n = 0;
    while (n < len && in[n] != '\n') {
        n++;
    }
    if (n == len) {
        w->len = 0;
        say(w, "more");
        return;
    }
    if (n + 1 < 4) {
        model_error(&m, format_text);
        say_told(w, &m.told);
        return;
    }
    const char *end = in + n - (in[n - 1] == '\r');
    for (const char *at = in; at < end && m.token_count < MODEL_TOKENS_MAX; at++) {
        if (*at != ' ') {
            const char *start = at;
            while (at < end && *at != ' ') {
                at++;
            }
            m.tokens[m.token_count++] = (struct slice){start, (size_t)(at - start)};
        }
    }
    model_line(&m, end, in + n + 1, len - n - 1);
    say_told(w, &m.told);
}

/* ---- random lines ---------------------------------------------------------------------------- */

struct maker {
    uint64_t dice;
    size_t len;
    char in[INPUT_BYTES_MAX];
};

static size_t
roll(struct maker *m, size_t sides)
{
    m->dice = hash_u64(m->dice);
    return m->dice % sides;
}

static void
put(struct maker *m, const char *at, size_t len)
{
    CHECK(len <= sizeof m->in - m->len);
    memcpy(m->in + m->len, at, len);
    m->len += len;
}

static const char *const commands[] = {
    "get", "gets", "gat", "gats", "set", "add", "replace", "append", "prepend", "cas", "delete",
    "incr", "decr", "touch", "flush_all", "version", "verbosity", "quit", "mn", "stats",
    "cache_memlimit", "shutdown", "set", "cas", "get", "mz", "slabs", "GET", "setx", "se", "a",
    "noreply", "HTTP/1.1", "stats", "lru", "lru_crawler", "refresh_certs",
};

static const char *const numbers[] = {
    "0", "0", "1", "3", "7", "10", "-1", "-0", "+5", "00000000003", "000000000003", "2147483645",
    "2147483646", "2147483647", "2147483648", "-2147483648", "-2147483649", "4294967295",
    "4294967296", "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "18446744073709551615", "18446744073709551616", "-18446744073709551615",
    "0000000000000000000005", "00000000000000000000005", "1.5", "0x10", "5\t", "\t5", "5a", "-",
    "+", "--1", "\v7\rx",
};

static const char *const others[] = {
    "foo", "b", "noreply", "noreply", "NOREPLY", "noreply1", K250, K250 "k", "k\tey", "k\rey",
    "\xc3\xb6", "HTTP/1.1", "http/1.1", "graceful", "settings", "detail", "crawl", "-1", "0",
};

#define PICK(m, list) (list)[roll(m, sizeof(list) / sizeof(list)[0])]

static void
put_token(struct maker *m, const char *text)
{
    static const char blanks[] = "        ";
    put(m, blanks, roll(m, 5) ? 1 : 1 + roll(m, 4));
    put(m, text, strlen(text));
}

/* A line that looks like its command, with one thing or another out of order. */
static void
put_line(struct maker *m)
{
    size_t shape = roll(m, 10);
    if (roll(m, 12) == 0) {
        put(m, "   ", 1 + roll(m, 3));
    }
    const char *command = shape == 9 ? PICK(m, others) : PICK(m, commands);
    put(m, command, strlen(command));
    if (shape < 6) {
        put_token(m, PICK(m, others));
        size_t number_count = roll(m, 5);
        for (size_t i = 0; i < number_count; i++) {
            put_token(m, roll(m, 3) ? "1" : PICK(m, numbers));
        }
    } else {
        size_t token_count = roll(m, roll(m, 8) ? 7 : 30);
        for (size_t i = 0; i < token_count; i++) {
            put_token(m, roll(m, 2) ? "2" : roll(m, 3) ? PICK(m, numbers) : "x");
        }
    }
    if (roll(m, 3) == 0) {
        put_token(m, PICK(m, others));
    }
    if (roll(m, 40) == 0) {
        put(m, "\0 \0", 3);
    }
    put(m, "     ", roll(m, 10) ? 0 : 1 + roll(m, 4));
    static const char *const ends[] = {"\r\n", "\r\n", "\r\n", "\n", "\r\r\n"};
    const char *end = PICK(m, ends);
    put(m, end, strlen(end));
}

/* Blocks for whoever wants one; to others they are further lines. */
static void
put_block(struct maker *m)
{
    static const char *const blocks[] = {"x\r\n", "xy\r\n", "xyz\r\n", "\r\n", "x\n", "xyzabcd\r\n",
                                         "a\r\nb\r\nccc\r\n", "12345678\r\n"};
    if (roll(m, 2)) {
        const char *block = PICK(m, blocks);
        put(m, block, strlen(block));
    }
}

/* Goal: streams of any lines mean what the model says.  Method: request after request. */
static void
test_random_lines(void **state)
{
    (void)state;
    static struct maker m;
    static struct words got, expected;
    const uint64_t seed = rand_seed();
    print_message("seed %" PRIu64 "\n", seed);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        m.dice = seed + round;
        m.len = 0;
        for (size_t lines = 1 + roll(&m, 3); lines > 0; lines--) {
            put_line(&m);
            put_block(&m);
        }
        size_t at = 0, used = 1;
        while (used > 0) {
            size_t searched = 0;
            model_parse(m.in + at, m.len - at, &expected);
            enum parse outcome = parse_copy(m.in + at, m.len - at, &searched, &got, &used);
            if (strcmp(got.at, expected.at) != 0) {
                print_message("round %" PRIu64 ": %.*s\n", round, (int)(m.len - at), m.in + at);
            }
            assert_string_equal(got.at, expected.at);
            if (round % 64 == 0 && outcome == PARSE_DONE) {
                parse_at_every_cut(m.in + at, m.len - at, &got);
            }
            at += used;
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
