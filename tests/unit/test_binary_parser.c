/*
 * test_binary_parser.c -- the binary protocol: packets, and where one ends.
 *
 * Goal: each packet is understood as memcached 1.6.45 understands it, however its bytes arrive, and
 * no length that a header claims is believed before it has been judged.
 * Method: a table of packets and what they mean, each parsed at every cut in a block of exactly that
 * size; all opcodes with all kinds of lengths against the rules written down a second time.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../lib/packet.h"
#include "proto/proto.h"

#define K50 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define K250 K50 K50 K50 K50 K50
#define RUBBISH 0x5a

static const char *const verb_names[VERB_COUNT] = {
    [VERB_GET] = "get", [VERB_GETS] = "gets", [VERB_GAT] = "gat", [VERB_GATS] = "gats",
    [VERB_SET] = "set", [VERB_ADD] = "add", [VERB_REPLACE] = "replace",
    [VERB_APPEND] = "append", [VERB_PREPEND] = "prepend", [VERB_CAS] = "cas",
    [VERB_DELETE] = "delete", [VERB_INCR] = "incr", [VERB_DECR] = "decr",
    [VERB_TOUCH] = "touch", [VERB_FLUSH_ALL] = "flush_all", [VERB_VERSION] = "version",
    [VERB_QUIT] = "quit", [VERB_MN] = "noop", [VERB_STATS] = "stats", [VERB_BAD] = "bad",
};

/* ---- the table ------------------------------------------------------------------------------- */

static const struct {
    struct packet packet;
    const char *words;
} rows[] = {
    {{0x00, NULL, "foo", NULL, 0, 0}, "get [foo]"},
    {{0x09, NULL, "foo", NULL, 0, 0}, "get [foo] quiet"},
    {{0x0c, NULL, "foo", NULL, 0, 0}, "get [foo] key"},
    {{0x0d, NULL, "foo", NULL, 0, 0}, "get [foo] quiet key"},
    {{0x00, NULL, "a b\r\nc", NULL, 0, 0}, "get [a b\r\nc]"},
    {{0x00, NULL, K250, NULL, 0, 0}, "get [" K250 "]"},
    {{0x00, NULL, K250 "k", NULL, 0, 0}, "bad 4 hang-up"},
    {{0x00, NULL, NULL, NULL, 0, 0}, "bad 4 hang-up"},
    {{0x00, "00000001", "foo", NULL, 0, 0}, "bad 4 hang-up"},
    {{0x00, NULL, "foo", "v", 0, 0}, "bad 4 hang-up"},
    {{0x01, "00000005ffffffff", "foo", "bar", 0, 7},
     "set [foo] flags=5 exptime=4294967295 value=3"},
    {{0x01, "ffffffff00000000", "foo", NULL, 0, 0}, "set [foo] flags=4294967295 value=0"},
    {{0x11, "0000000000000001", "foo", "bar", 0, 0}, "set [foo] quiet exptime=1 value=3"},
    {{0x02, "0000000000000000", "k", "v", 0, 0}, "add [k] value=1"},
    {{0x12, "0000000000000000", "k", "v", 0, 0}, "add [k] quiet value=1"},
    {{0x03, "0000000000000000", "k", "v", 0, 0}, "replace [k] value=1"},
    {{0x13, "0000000000000000", "k", "v", 0, 0}, "replace [k] quiet value=1"},
    {{0x01, "0000000000000000", "k", "v", 9, 0}, "cas set [k] cas=9 value=1"},
    {{0x02, "0000000000000000", "k", "v", UINT64_MAX, 0},
     "cas add [k] cas=18446744073709551615 value=1"},
    {{0x13, "0000000000000000", "k", "v", 1, 0}, "cas replace [k] cas=1 quiet value=1"},
    {{0x01, NULL, "foo", "bar", 0, 0}, "bad 4 hang-up"},
    {{0x01, "0000000000000000", NULL, "bar", 0, 0}, "bad 4 hang-up"},
    {{0x01, "000000000000000000", "k", "bar", 0, 0}, "bad 4 hang-up"},
    {{0x0e, NULL, "k", "v", 0, 0}, "append [k] value=1"},
    {{0x0f, NULL, "k", NULL, 7, 0}, "prepend [k] cas=7 value=0"},
    {{0x19, NULL, "k", "v", 0, 0}, "append [k] quiet value=1"},
    {{0x1a, NULL, "k", "v", 0, 0}, "prepend [k] quiet value=1"},
    {{0x0e, "00000000", "k", "v", 0, 0}, "bad 4 hang-up"},
    {{0x04, NULL, "k", NULL, 3, 0}, "delete [k] cas=3"},
    {{0x14, NULL, "k", NULL, 0, 0}, "delete [k] quiet"},
    {{0x04, "00000000", "k", NULL, 0, 0}, "bad 4 hang-up"},
    {{0x05, "0000000000000001ffffffffffffffff00000e10", "n", NULL, 0, 0},
     "incr [n] exptime=3600 number=1 initial=18446744073709551615"},
    {{0x16, "00000000000000020000000000000003ffffffff", "n", NULL, 4, 0},
     "decr [n] cas=4 quiet exptime=4294967295 number=2 initial=3"},
    {{0x05, NULL, "n", NULL, 0, 0}, "bad 4 hang-up"},
    {{0x06, "0000000000000001ffffffffffffffff00000e10", "n", "v", 0, 0}, "bad 4 hang-up"},
    {{0x1c, "0000000a", "k", NULL, 0, 0}, "touch [k] exptime=10"},
    {{0x1d, "80000000", "k", NULL, 0, 0}, "gat [k] exptime=2147483648"},
    {{0x1e, "00000000", "k", NULL, 0, 0}, "gat [k] quiet"},
    {{0x23, "00000001", "k", NULL, 0, 0}, "gat [k] key exptime=1"},
    {{0x24, "00000001", "k", NULL, 0, 0}, "gat [k] quiet key exptime=1"},
    {{0x1c, NULL, "k", NULL, 0, 0}, "bad 4 hang-up"},
    {{0x1d, "00000000", NULL, NULL, 0, 0}, "bad 4 hang-up"},
    {{0x1d, "00000000", "k", "v", 0, 0}, "bad 4 hang-up"},
    {{0x07, NULL, NULL, NULL, 0, 0}, "quit"},
    {{0x17, NULL, NULL, NULL, 0, 0}, "quit quiet"},
    {{0x07, NULL, "k", NULL, 0, 0}, "bad 4 hang-up"},
    {{0x08, NULL, NULL, NULL, 0, 0}, "flush_all"},
    {{0x18, "0000000a", NULL, NULL, 0, 0}, "flush_all quiet exptime=10"},
    {{0x08, "6162", NULL, NULL, 0, 0}, "bad 4 hang-up"},
    {{0x08, NULL, "k", NULL, 0, 0}, "bad 4 hang-up"},
    {{0x0a, NULL, NULL, NULL, 5, 0xdeadbeef}, "noop cas=5"},
    {{0x0a, NULL, NULL, "v", 0, 0}, "bad 4 hang-up"},
    {{0x0b, NULL, NULL, NULL, 0, 0}, "version"},
    {{0x10, NULL, NULL, NULL, 0, 0}, "stats"},
    {{0x10, NULL, "detail on", NULL, 0, 0}, "stats (detail on)"},
    {{0x10, "00000000", NULL, NULL, 0, 0}, "bad 4 hang-up"},
    {{0x10, NULL, "reset", "v", 0, 0}, "bad 4 hang-up"},
    {{0x1b, "00000000", NULL, NULL, 0, 0}, "bad 129 swallow=4"},
    {{0x1f, NULL, NULL, NULL, 0, 0}, "bad 129 swallow=0"},
    {{0x20, NULL, NULL, NULL, 0, 0}, "bad 129 swallow=0"},
    {{0x20, NULL, "k", NULL, 0, 0}, "bad 4 hang-up"},
    {{0x21, NULL, "PLAIN", "\1u\1p", 0, 0}, "bad 129 swallow=9"},
    {{0x22, NULL, NULL, "x", 0, 0}, "bad 4 hang-up"},
    {{0x25, "65787421", "key", "value", 0, 1}, "bad 129 swallow=12"},
    {{0xff, NULL, NULL, NULL, 0, 0}, "bad 129 swallow=0"},
    {{0xff, NULL, K250 "k", NULL, 0, 0}, "bad 4 hang-up"},
};

#define ROWS (sizeof rows / sizeof rows[0])

static void
say(char *words, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
say(char *words, const char *format, ...)
{
    va_list args;
    size_t n = strlen(words);
    va_start(args, format);
    assert_true(vsnprintf(words + n, 600 - n, format, args) < (int)(600 - n));
    va_end(args);
}

static void
say_bad(char *words, const struct request *req)
{
    say(words, " %u", req->more.status);
    if (req->more.hang_up)
        say(words, " hang-up");
    else
        say(words, " swallow=%zu", req->swallow_bytes);
}

static void
put_into_words(char *words, const struct request *req)
{
    words[0] = '\0';
    say(words, "%s", verb_names[req->verb]);
    if (req->verb == VERB_BAD)
        say_bad(words, req);
    if (req->verb == VERB_CAS)
        say(words, " %s", verb_names[req->more.verb_plain]);
    if (req->args.len > 0)
        say(words, " (%.*s)", (int)req->args.len, req->args.at);
    if (req->key.len > 0)
        say(words, " [%.*s]", (int)req->key.len, req->key.at);
    if (req->more.has_cas)
        say(words, " cas=%" PRIu64, req->more.cas);
    if (req->noreply)
        say(words, " quiet");
    if (req->more.with_key)
        say(words, " key");
    if (req->client_flags)
        say(words, " flags=%u", req->client_flags);
    if (req->exptime)
        say(words, " exptime=%" PRId64, proto_exptime(req));
    if (req->number && req->verb != VERB_CAS)
        say(words, " number=%" PRIu64, req->number);
    if (req->more.initial)
        say(words, " initial=%" PRIu64, req->more.initial);
    if (verb_is_store(req->verb))
        say(words, " value=%zu", req->value_bytes);
}

/* The first `cut` bytes, in a block of exactly that size. */
static enum parse
parse_cut(const unsigned char *in, size_t cut, struct request *req, size_t *used, char **out_copy)
{
    char *copy = malloc(cut ? cut : 1);
    assert_non_null(copy);
    memcpy(copy, in, cut);
    memset(req, RUBBISH, sizeof *req);
    *used = 99999;
    *out_copy = copy;
    return proto_parse_binary(copy, cut, req, used);
}

static bool
is_untouched(const struct request *req)
{
    struct request rubbish;
    memset(&rubbish, RUBBISH, sizeof rubbish);
    return memcmp(req, &rubbish, sizeof rubbish) == 0;
}

static void
check_whole(const struct request *req, size_t used, const struct packet *p, size_t len,
            const char *copy, const char *words)
{
    char said[600];
    put_into_words(said, req);
    assert_string_equal(said, words);
    assert_int_equal(req->dialect, DIALECT_BINARY);
    assert_int_equal(req->more.opcode, p->opcode);
    assert_int_equal(packet_get(&req->more.opaque, 4), p->opaque);
    assert_int_equal(proto_tail_bytes(req), 0);
    assert_int_equal(req->keys.len, 0);
    assert_int_equal(req->batch, 0);
    assert_false(req->bad_chunk);
    if (req->verb == VERB_BAD) {
        assert_int_equal(used, 24);
        return;
    }
    assert_int_equal(used, len);
    assert_int_equal(req->key_count, req->key.len > 0);
    assert_int_equal(used - req->line_bytes, p->value ? strlen(p->value) : 0);
    if (verb_is_store(req->verb))
        assert_ptr_equal(req->value, copy + req->line_bytes);
}

static void
check_at_cut(const unsigned char *in, size_t len, size_t cut, const struct packet *p,
             const char *words)
{
    struct request req;
    size_t used;
    char *copy;
    enum parse outcome = parse_cut(in, cut, &req, &used, &copy);
    bool refused = strncmp(words, "bad", 3) == 0;
    size_t line = len - (p->value ? strlen(p->value) : 0);
    if (cut < 24 || (!refused && cut < line)) {
        assert_int_equal(outcome, PARSE_MORE);
        assert_int_equal(used, 0);
        assert_true(is_untouched(&req));
    } else if (refused || cut >= len) {
        assert_int_equal(outcome, PARSE_DONE);
        check_whole(&req, used, p, len, copy, words);
    } else {
        assert_int_equal(outcome, PARSE_BODY);
        assert_int_equal(used, line);
        assert_int_equal(req.line_bytes, line);
        assert_int_equal(req.value_bytes, len - line);
        assert_null(req.value);
    }
    free(copy);
}

static void
test_rows_at_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        unsigned char in[2 * PACKET_BYTES_MAX];
        size_t len = packet_make(in, &rows[i].packet);
        /* What follows a packet is another one's. */
        memcpy(in + len, in, len);
        for (size_t cut = 0; cut <= len + len / 2; cut++)
            check_at_cut(in, len, cut, &rows[i].packet, rows[i].words);
    }
}

static void
test_wrong_magic(void **state)
{
    (void)state;
    for (unsigned magic = 0; magic < 256; magic++) {
        unsigned char in[24];
        packet_head(in, 0x0a, 0, 0, 0);
        in[0] = (unsigned char)magic;
        for (size_t cut = 1; cut <= sizeof in; cut++) {
            struct request req;
            size_t used;
            char *copy;
            enum parse outcome = parse_cut(in, cut, &req, &used, &copy);
            if (magic == 0x80) {
                assert_int_equal(outcome, cut < 24 ? PARSE_MORE : PARSE_DONE);
            } else {
                assert_int_equal(outcome, PARSE_BAD);
                assert_int_equal(req.error.len, 0);
                assert_int_equal(used, 0);
            }
            free(copy);
        }
    }
}

/* ---- lengths --------------------------------------------------------------------------------- */

/* What each opcode is made of, once more: extras, key (n none, k must, m may), value (v may). */
static const char *
recipe(unsigned opcode)
{
    switch (opcode) {
    case 0x00: case 0x09: case 0x0c: case 0x0d: case 0x04: case 0x14:
        return "0k";
    case 0x01: case 0x02: case 0x03: case 0x11: case 0x12: case 0x13:
        return "8kv";
    case 0x05: case 0x06: case 0x15: case 0x16:
        return "Ak";
    case 0x0e: case 0x0f: case 0x19: case 0x1a:
        return "0kv";
    case 0x1c: case 0x1d: case 0x1e: case 0x23: case 0x24:
        return "4k";
    case 0x07: case 0x17: case 0x0a: case 0x0b: case 0x20:
        return "0n";
    case 0x08: case 0x18:
        return "*n";
    case 0x10:
        return "0m";
    case 0x21: case 0x22:
        return "0kv";
    default:
        return NULL;
    }
}

static bool
extras_fit(char recipe_extras, uint32_t extras)
{
    switch (recipe_extras) {
    case '0': return extras == 0;
    case '4': return extras == 4;
    case '8': return extras == 8;
    case 'A': return extras == 20;
    default: return extras == 0 || extras == 4;
    }
}

/* The status of a refusal, 0 where the packet is all right. */
static unsigned
expected(unsigned opcode, uint64_t key, uint32_t extras, uint64_t body, bool *out_hang_up)
{
    const char *r = recipe(opcode);
    *out_hang_up = true;
    if (key + extras > body)
        return 0x81;
    if (key > 250 || body > 1u << 30)
        return 4;
    bool fits = !r || (extras_fit(r[0], extras) && (r[1] == 'n' ? key == 0 : r[1] == 'm' || key > 0)
                       && (r[2] == 'v' || body == key + extras));
    if (!fits)
        return 4;
    *out_hang_up = false;
    return !r || (opcode >= 0x20 && opcode <= 0x22) ? 0x81 : 0;
}

static void
check_lengths(unsigned opcode, uint32_t key, uint32_t extras, uint32_t body)
{
    struct request req;
    unsigned char in[24];
    size_t used;
    char *copy;
    bool hang_up;
    packet_head(in, (uint8_t)opcode, key, extras, body);
    enum parse outcome = parse_cut(in, sizeof in, &req, &used, &copy);
    unsigned status = expected(opcode, key, extras, body, &hang_up);
    if (status != 0) {
        assert_int_equal(outcome, PARSE_DONE);
        assert_int_equal(req.verb, VERB_BAD);
        assert_int_equal(req.more.status, status);
        assert_int_equal(req.more.hang_up, hang_up);
        assert_int_equal(used, 24);
        assert_int_equal(req.swallow_bytes, hang_up ? 0 : body);
    } else if (key + extras > 0) {
        assert_int_equal(outcome, PARSE_MORE);
        assert_int_equal(used, 0);
    } else {
        assert_int_equal(outcome, PARSE_DONE);
        assert_int_not_equal(req.verb, VERB_BAD);
    }
    free(copy);
}

static void
test_lengths(void **state)
{
    static const uint32_t keys[] = {0, 1, 249, 250, 251, 255, 256, 32767, 32768, 65535};
    static const uint32_t extras[] = {0, 1, 3, 4, 5, 7, 8, 9, 19, 20, 21, 127, 128, 255};
    static const uint32_t bodies[] = {(1u << 30) - 1, 1u << 30, (1u << 30) + 1, 0x7fffffff,
                                      0x80000000, 0xffffffe8, 0xffffffff};
    (void)state;
    for (unsigned opcode = 0; opcode < 256; opcode++)
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
            for (size_t e = 0; e < sizeof extras / sizeof extras[0]; e++) {
                uint32_t sum = keys[k] + extras[e];
                check_lengths(opcode, keys[k], extras[e], 0);
                check_lengths(opcode, keys[k], extras[e], keys[k]);
                check_lengths(opcode, keys[k], extras[e], extras[e]);
                check_lengths(opcode, keys[k], extras[e], sum);
                check_lengths(opcode, keys[k], extras[e], sum + 1);
                if (sum > 0)
                    check_lengths(opcode, keys[k], extras[e], sum - 1);
                for (size_t b = 0; b < sizeof bodies / sizeof bodies[0]; b++)
                    check_lengths(opcode, keys[k], extras[e], bodies[b]);
            }
}

/* ---- responses ------------------------------------------------------------------------------- */

static void
test_response_header(void **state)
{
    (void)state;
    unsigned char in[24];
    char out[24];
    struct request req;
    size_t used;
    packet_head(in, 0x0a, 0, 0, 0);
    packet_put(in + 12, 0x01020304, 4);
    assert_int_equal(proto_parse_binary((char *)in, sizeof in, &req, &used), PARSE_DONE);
    memset(out, RUBBISH, sizeof out);
    struct binary_response head = {.status = BINARY_NO_MEMORY, .extras_bytes = 4,
                                   .key_bytes = 0x102, .value_bytes = 0x01000000,
                                   .cas = 0x1122334455667788};
    assert_int_equal(proto_put_response(out, &req, &head), sizeof out);
    assert_memory_equal(out, "\x81\x0a\x01\x02\x04\0\0\x82\x01\0\x01\x06\x01\x02\x03\x04"
                             "\x11\x22\x33\x44\x55\x66\x77\x88", sizeof out);
}

static void
test_error_texts(void **state)
{
    static const struct {
        enum binary_status status;
        const char *text;
    } texts[] = {
        {BINARY_NOT_FOUND, "Not found"},
        {BINARY_EXISTS, "Data exists for key."},
        {BINARY_TOO_LARGE, "Too large."},
        {BINARY_INVALID, "Invalid arguments"},
        {BINARY_NOT_STORED, "Not stored."},
        {BINARY_NON_NUMERIC, "Non-numeric server-side value for incr or decr"},
        {BINARY_AUTH_FAILURE, "Auth failure."},
        {BINARY_UNKNOWN_COMMAND, "Unknown command"},
        {BINARY_NO_MEMORY, "Out of memory"},
    };
    (void)state;
    struct request req;
    memset(&req, 0, sizeof req);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char out[PROTO_BINARY_ERROR_MAX];
        size_t n = proto_put_error(out, &req, texts[i].status, (struct slice){0});
        assert_int_equal(n, 24 + strlen(texts[i].text));
        assert_memory_equal(out + 24, texts[i].text, n - 24);
        assert_int_equal(packet_get(out + 6, 2), texts[i].status);
        assert_int_equal(packet_get(out + 8, 4), n - 24);
        assert_int_equal(packet_get(out + 16, 8), 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_at_every_cut),
        cmocka_unit_test(test_wrong_magic),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_response_header),
        cmocka_unit_test(test_error_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
