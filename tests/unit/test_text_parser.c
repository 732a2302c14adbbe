/*
 * test_text_parser.c -- the text protocol: lines, blocks, and where one request ends.
 *
 * Goal: each request is understood as memcached 1.6.45 understands it, however its bytes arrive.
 * Method: a table of lines and what they mean, put into words (text_words.h), each parsed at every
 * cut; long lines around their limits; the parts of replies.
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

#include "proto/proto.h"
#include "text_words.h"

#define BAD_FORMAT "bad (CLIENT_ERROR bad command line format)"

/* ---- the table ------------------------------------------------------------------------------- */

#define K50 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define K250 K50 K50 K50 K50 K50
#define TWENTY " a a a a a a a a a a a a a a a a a a a a"

static const struct {
    const char *in;
    const char *words;
} rows[] = {
    /* ends of lines, lengths of lines */
    {"\r\n", BAD_FORMAT},
    {"\n", BAD_FORMAT},
    {" \r\n", BAD_FORMAT},
    {"a\r\n", BAD_FORMAT},
    {"mn\n", BAD_FORMAT},
    {"ab\n", BAD_FORMAT},
    {"ab\r\n", "bad (ERROR)"},
    {"abc\n", "bad (ERROR)"},
    {"   \n", "bad (ERROR)"},
    {"mn\r\n", "mn"},
    {"mn \n", "mn"},
    {"mn foo bar noreply\r\n", "mn"},
    {"get foo\n", "get [foo]"},
    {"get foo\r\r\n", "get [foo\\x0d]"},
    {"get f\ro\r\n", "get [f\\x0do]"},
    {"version\r\r\n", "bad (ERROR)"},

    /* commands: case, blanks, what comes after */
    {"GET foo\r\n", "bad (ERROR)"},
    {"MN foo\r\n", "bad (ERROR)"},
    {" get foo\r\n", "bad (ERROR)"},
    {" mn\r\n", "bad (ERROR)"},
    {" stats\r\n", "bad (ERROR)"},
    {"get\tfoo\r\n", "bad (ERROR)"},
    {"gett foo\r\n", "bad (ERROR)"},
    {"ge foo\r\n", "bad (ERROR)"},
    {"version\r\n", "version"},
    {"version noreply\r\n", "version"},
    {"quit\r\n", "quit"},
    {"quit noreply\r\n", "quit"},
    {"mz foo v\r\n", "bad (ERROR)"},
    {" mg foo v\r\n", "bad (ERROR)"},
    {"slabsx reassign 1 2 noreply\r\n", "bad noreply"},

    /* unknown commands */
    {"foobar noreply\r\n", "bad noreply"},
    {"noreply\r\n", "bad noreply"},
    {"foobar noreply \r\n", "bad noreply"},
    {"foobar noreply x\r\n", "bad (ERROR)"},
    {"foobar NOREPLY\r\n", "bad (ERROR)"},
    {"foobar noreplyy\r\n", "bad (ERROR)"},
    {"GET / HTTP/1.0\r\n", "hang-up"},
    {"DELETE HTTP/1.1\r\n", "hang-up"},
    {"  GET HTTP/\r\n", "hang-up"},
    {"HTTP/1.1\r\n", "bad (ERROR)"},
    {"FOO HTTP/1.1 bar\r\n", "bad (ERROR)"},
    {"FOO http/1.1\r\n", "bad (ERROR)"},
    {"get HTTP/1.1\r\n", "get [HTTP/1.1]"},
    {"FOO HTTP/1.1 noreply\r\n", "bad noreply"},
    /* only 23 tokens are looked at */
    {"FOO" TWENTY " a noreply\r\n", "bad noreply"},
    {"FOO" TWENTY " a a noreply\r\n", "bad (ERROR)"},
    {"FOO" TWENTY " a noreply a\r\n", "bad noreply"},
    {"FOO" TWENTY " a a HTTP/1.1\r\n", "bad (ERROR)"},
    {"delete k" TWENTY " noreply\r\n", "delete [k] noreply"},
    {"delete k" TWENTY " a noreply\r\n", "delete [k]"},
    {"get" TWENTY " b c d\r\n", "get [a] [a] [a] [a] [a] [a] [a] [a] [a] [a] [a] [a] [a] [a] [a]"
                                " [a] [a] [a] [a] [a] [b] [c] [d]"},

    /* get gets gat gats */
    {"get foo\r\n", "get [foo]"},
    {"gets foo\r\n", "gets [foo]"},
    {"get   a  b   a  \r\n", "get [a] [b] [a]"},
    {"get\r\n", BAD_FORMAT},
    {"get\n", BAD_FORMAT},
    {"get \r\n", BAD_FORMAT},
    {"gets\r\n", BAD_FORMAT},
    {"get foo noreply\r\n", "get [foo] [noreply]"},
    {"get " K250 "\r\n", "get [" K250 "]"},
    {"get " K250 "k\r\n", BAD_FORMAT},
    {"get a " K250 "k b\r\n", BAD_FORMAT},
    {"gets a b " K250 "k\r\n", BAD_FORMAT},
    {"gat 10 foo\r\n", "gat [foo] exptime=10"},
    {"gats -1 a b\r\n", "gats [a] [b] exptime=-1"},
    {"gat 0 foo noreply\r\n", "gat [foo] [noreply]"},
    {"gat\r\n", BAD_FORMAT},
    {"gat 10\r\n", BAD_FORMAT},
    {"gat abc \r\n", BAD_FORMAT},
    {"gats 0\r\n", BAD_FORMAT},
    {"gat abc foo\r\n", "bad (CLIENT_ERROR invalid exptime argument)"},
    {"gat abc " K250 "k\r\n", "bad (CLIENT_ERROR invalid exptime argument)"},
    {"gat 2147483648 foo\r\n", "bad (CLIENT_ERROR invalid exptime argument)"},
    {"gat +1 foo\r\n", "bad (CLIENT_ERROR invalid exptime argument)"},
    {"gat 0 " K250 "k\r\n", BAD_FORMAT},

    /* storage: the line */
    {"set foo 0 0 3\r\nbar\r\n", "set [foo] bytes=3 value=bar"},
    {"set foo 5 60 3\nabc\r\n", "set [foo] flags=5 exptime=60 bytes=3 value=abc"},
    {"set   foo   5   0   3   \r\nabc\r\n", "set [foo] flags=5 bytes=3 value=abc"},
    {"add foo 0 0 0\r\n\r\n", "add [foo] bytes=0 value="},
    {"replace foo 0 0 1 noreply\r\nx\r\n", "replace [foo] noreply bytes=1 value=x"},
    {"append foo 0 0 1 what ever\r\nx\r\n", "append [foo] bytes=1 value=x"},
    {"prepend foo 0 0 1 what noreply\r\nx\r\n", "prepend [foo] noreply bytes=1 value=x"},
    {"set foo 0 0 1 noreply x\r\nx\r\n", "set [foo] bytes=1 value=x"},
    {"cas foo 0 0 1 7\r\nx\r\n", "cas [foo] number=7 bytes=1 value=x"},
    {"cas foo 0 0 1 7 noreply\r\nx\r\n", "cas [foo] number=7 noreply bytes=1 value=x"},
    {"set " K250 " 0 0 1\r\nx\r\n", "set [" K250 "] bytes=1 value=x"},
    {"set foo 4294967295 0 1\r\nx\r\n", "set [foo] flags=4294967295 bytes=1 value=x"},
    {"set foo 4294967303 0 1\r\nx\r\n", "set [foo] flags=7 bytes=1 value=x"},
    {"set foo +5 +6 1\r\nx\r\n", "set [foo] flags=5 exptime=6 bytes=1 value=x"},
    {"set foo -0 -0 1\r\nx\r\n", "set [foo] bytes=1 value=x"},
    {"set foo 5\tx \t6 1\r\nx\r\n", "set [foo] flags=5 exptime=6 bytes=1 value=x"},
    {"set foo 0 2147483648 1\r\nx\r\n", "set [foo] exptime=-2147483648 bytes=1 value=x"},
    {"set foo 0 4294967296 1\r\nx\r\n", "set [foo] bytes=1 value=x"},
    {"set foo 0 0 00000000003\r\nabc\r\n", "set [foo] bytes=3 value=abc"},
    {"set foo 0 0 2147483645\r\nabc\r\n", "set [foo] bytes=2147483645 waits"},
    /* storage: errors before the length is known swallow nothing, and are said aloud */
    {"set\r\n", BAD_FORMAT},
    {"set foo 0 0\r\n", BAD_FORMAT},
    {"set foo 0 0 \r\n", BAD_FORMAT},
    {"set foo 0 0 -1\r\n", BAD_FORMAT},
    {"set foo 0 0 +3\r\n", BAD_FORMAT},
    {"set foo 0 0 abc\r\n", BAD_FORMAT},
    {"set foo 0 0 2147483646\r\n", BAD_FORMAT},
    {"set foo 0 0 4294967295\r\n", BAD_FORMAT},
    {"set foo 0 0 000000000003\r\n", BAD_FORMAT},
    {"set foo 0 0 x noreply\r\n", BAD_FORMAT},
    {"set foo 0 0 noreply\r\n", BAD_FORMAT},
    {"set " K250 "k 0 0 x\r\n", BAD_FORMAT},
    /* afterwards they swallow the block, and may be silenced */
    {"set " K250 "k 0 0 1\r\nx\r\n", BAD_FORMAT " swallow=3"},
    {"set " K250 "k 0 0 1 noreply\r\nx\r\n", "bad noreply swallow=3"},
    {"set foo abc 0 1\r\nx\r\n", BAD_FORMAT " swallow=3"},
    {"set foo 0x10 0 1\r\nx\r\n", BAD_FORMAT " swallow=3"},
    {"set foo -1 0 1\r\nx\r\n", BAD_FORMAT " swallow=3"},
    {"set foo 18446744073709551616 0 1\r\nx\r\n", BAD_FORMAT " swallow=3"},
    {"set foo 0 abc 1\r\nx\r\n", BAD_FORMAT " swallow=3"},
    {"set foo 0 99999999999999999999 1\r\n", BAD_FORMAT " swallow=3"},
    {"set foo 0 abc 1 noreply\r\nx\r\n", "bad noreply swallow=3"},
    {"cas foo 0 0 3\r\nabc\r\n", BAD_FORMAT " swallow=5"},
    {"cas foo 0 0 3 \r\nabc\r\n", BAD_FORMAT " swallow=5"},
    {"cas foo 0 0 3 abc\r\nabc\r\n", BAD_FORMAT " swallow=5"},
    {"cas foo 0 0 3 noreply\r\nabc\r\n", "bad noreply swallow=5"},
    {"cas foo 0 0 3 18446744073709551616\r\n", BAD_FORMAT " swallow=5"},
    /* storage: the block */
    {"set foo 0 0 3\r\nabcdef\r\n", "set [foo] bytes=3 value=abc bad-chunk"},
    {"set foo 0 0 3\r\nabc\r\r\n", "set [foo] bytes=3 value=abc bad-chunk"},
    {"set foo 0 0 3\r\nabc\n\n", "set [foo] bytes=3 value=abc bad-chunk"},
    {"set foo 0 0 4\r\na\r\nb\r\n", "set [foo] bytes=4 value=a\\x0d\\x0ab"},
    {"set foo 0 0 3 noreply\r\nabcdef\r\n", "set [foo] noreply bytes=3 value=abc bad-chunk"},

    /* delete incr decr touch */
    {"delete foo\r\n", "delete [foo]"},
    {"delete foo 0\r\n", "delete [foo]"},
    {"delete foo 10 noreply\r\n", "delete [foo] noreply"},
    {"delete noreply\r\n", "delete [noreply] noreply"},
    {"delete\r\n", BAD_FORMAT},
    {"delete " K250 "k\r\n", BAD_FORMAT},
    {"delete " K250 "k noreply\r\n", "bad noreply"},
    {"incr n 5\r\n", "incr [n] number=5"},
    {"decr n 18446744073709551615 noreply\r\n", "decr [n] number=18446744073709551615 noreply"},
    {"incr n 0000000000000000000005\r\n", "incr [n] number=5"},
    {"incr n 00000000000000000000005\r\n", "bad (CLIENT_ERROR invalid numeric delta argument)"},
    {"incr n 18446744073709551616\r\n", "bad (CLIENT_ERROR invalid numeric delta argument)"},
    {"incr n -1\r\n", "bad (CLIENT_ERROR invalid numeric delta argument)"},
    {"incr n noreply\r\n", "bad noreply"},
    {"incr n 1 ignored\r\n", "incr [n] number=1"},
    {"incr n\r\n", BAD_FORMAT},
    {"decr noreply\r\n", BAD_FORMAT},
    {"incr " K250 "k abc\r\n", BAD_FORMAT},
    {"touch foo 10\r\n", "touch [foo] exptime=10"},
    {"touch foo -1 noreply\r\n", "touch [foo] exptime=-1 noreply"},
    {"touch foo 1.5\r\n", "bad (CLIENT_ERROR invalid exptime argument)"},
    {"touch foo 2147483648\r\n", "bad (CLIENT_ERROR invalid exptime argument)"},
    {"touch foo noreply\r\n", "bad noreply"},
    {"touch foo\r\n", BAD_FORMAT},
    {"touch " K250 "k 0\r\n", BAD_FORMAT},

    /* administration */
    {"flush_all\r\n", "flush_all"},
    {"  flush_all 0\r\n", "flush_all exptime=0"},
    {"flush_all -2\r\n", "flush_all exptime=-2"},
    {"flush_all 5 foo\r\n", "flush_all exptime=5"},
    {"flush_all noreply\r\n", "flush_all noreply"},
    {"flush_all 5 noreply\r\n", "flush_all exptime=5 noreply"},
    {"flush_all invalid\r\n", "flush_all exptime=0 bad-number"},
    {"flush_all invalid noreply\r\n", "flush_all exptime=0 bad-number noreply"},
    {"flush_all 2147483648\r\n", "flush_all exptime=0 bad-number"},
    {"verbosity 1\r\n", "verbosity number=1"},
    {"  verbosity 4294967295 noreply\r\n", "verbosity number=4294967295 noreply"},
    {"verbosity 1 2\r\n", "verbosity number=1"},
    {"verbosity\r\n", BAD_FORMAT},
    {"verbosity foo\r\n", BAD_FORMAT},
    {"verbosity 4294967296\r\n", BAD_FORMAT},
    {"verbosity noreply\r\n", "bad noreply"},
    {"cache_memlimit 64\r\n", "cache_memlimit number=64"},
    {" cache_memlimit 1000000001 noreply\r\n", "cache_memlimit number=1000000001 noreply"},
    {"cache_memlimit -1\r\n", "bad (ERROR)"},
    {"cache_memlimit\r\n", "bad (ERROR)"},
    {"shutdown\r\n", "shutdown"},
    {"  shutdown  graceful  \r\n", "shutdown args='graceful'"},
    {"shutdown graceful now\r\n", "shutdown args='graceful now'"},
    {"shutdown noreply\r\n", "shutdown args='noreply' noreply"},
    {"stats\r\n", "stats"},
    {"stats   settings \r\n", "stats args='settings'"},
    {"stats settings detail\r\n", "stats args='settings detail'"},
    {"stats detail dump noreply\r\n", "stats-detail args='dump noreply'"},
    {"stats  detail \r\n", "stats-detail"},
    {"stats detail\r\n", "stats-detail"},
    {"stats details\r\n", "stats args='details'"},
    {"stats detai\r\n", "stats args='detai'"},
    {" stats detail on\r\n", "bad (ERROR)"},
    {"statss\r\n", "bad (ERROR)"},
    {"slabs\r\n", "slabs"},
    {"  slabs  reassign  1 2 \r\n", "slabs args='reassign  1 2'"},
    {"slabs reassign 1 2 noreply\r\n", "slabs args='reassign 1 2 noreply' noreply"},
    {"slab reassign 1 2\r\n", "bad (ERROR)"},
    {"lru\r\n", "lru"},
    {" lru mode flat noreply\r\n", "lru args='mode flat noreply' noreply"},
    {"lru_crawler\r\n", "lru_crawler"},
    {"lru_crawler crawl 1,2\n", "lru_crawler args='crawl 1,2'"},
    {" lru_crawler noreply\r\n", "lru_crawler args='noreply' noreply"},
    {"lru_crawlers\r\n", "bad (ERROR)"},
    {"refresh_certs\r\n", "refresh_certs"},
    {" refresh_certs noreply\r\n", "refresh_certs args='noreply' noreply"},
    {"refresh_certs HTTP/1.1\r\n", "refresh_certs args='HTTP/1.1'"},
};

#define ROW_COUNT (sizeof rows / sizeof rows[0])

/* Goal: what each line means.  Method: the table, every row at every cut. */
static void
test_rows(void **state)
{
    (void)state;
    static struct words got;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        size_t searched = 0, used, len = strlen(rows[i].in);
        parse_copy(rows[i].in, len, &searched, &got, &used);
        if (strcmp(got.at, rows[i].words) != 0) {
            print_message("row %zu: %s\n", i, rows[i].in);
        }
        assert_string_equal(got.at, rows[i].words);
        parse_at_every_cut(rows[i].in, len, &got);
    }
}

/* Goal: bytes behind a request change nothing.  Method: each row, followed by each other one. */
static void
test_rows_in_company(void **state)
{
    (void)state;
    static struct words got;
    static char in[INPUT_BYTES_MAX];
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strstr(rows[i].words, " waits")) {
            continue;
        }
        for (size_t j = 0; j < ROW_COUNT; j++) {
            size_t searched = 0, used;
            int len = snprintf(in, sizeof in, "%s%s", rows[i].in, rows[j].in);
            parse_copy(in, (size_t)len, &searched, &got, &used);
            assert_string_equal(got.at, rows[i].words);
        }
    }
}

/* Goal: NUL is a byte like any other, in commands, keys and values. */
static void
test_nul(void **state)
{
    (void)state;
    static const char in[] = "set a\0b 0 0 3\r\n\0\n\0\r\n" "ge\0t foo\r\n" "get a\0b \0\r\n";
    static const char *const expected[] = {
        "set [a\\x00b] bytes=3 value=\\x00\\x0a\\x00", "bad (ERROR)", "get [a\\x00b] [\\x00]",
    };
    static struct words got;
    size_t at = 0;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        size_t searched = 0, used;
        parse_copy(in + at, sizeof in - 1 - at, &searched, &got, &used);
        assert_string_equal(got.at, expected[i]);
        parse_at_every_cut(in + at, sizeof in - 1 - at, &got);
        at += used;
    }
    assert_int_equal(at, sizeof in - 1);
}

/* ---- long lines ------------------------------------------------------------------------------ */

/* `blanks` blanks, `start`, as many 'k ' as make `len` bytes; then, with_end, CR LF. */
static enum parse
parse_long(size_t blanks, const char *start, size_t len, bool with_end, char *error, size_t cap)
{
    size_t start_len = strlen(start), total = len + (with_end ? 2 : 0);
    char *in = malloc(total);
    for (size_t i = 0; i < len; i++) {
        in[i] = i < blanks ? ' ' : i - blanks < start_len ? start[i - blanks] : i % 2 ? 'k' : ' ';
    }
    if (with_end) {
        memcpy(in + len, "\r\n", 2);
    }
    struct request req;
    size_t searched = 0, used, half = total / 2;
    enum parse outcome = proto_parse(in, total, &searched, &req, &used);
    int n = outcome == PARSE_MORE ? 0 : snprintf(error, cap, "%.*s", (int)req.error.len,
                                                 req.error.at);
    assert_in_range(n, 0, cap - 1);
    /* The same when the first half has been searched already. */
    size_t used_again;
    searched = half;
    assert_int_equal(proto_parse(in, total, &searched, &req, &used_again), outcome);
    assert_int_equal(used, used_again);
    free(in);
    return outcome;
}

/* Goal: how long a line may grow, with and without its end. */
static void
test_long_lines(void **state)
{
    (void)state;
    const size_t mib = PROTO_GET_LINE_BYTES_MAX;
    static const char too_long[] = "SERVER_ERROR out of memory reading request\r\n";
    static const char error[] = "ERROR\r\n";
    const struct {
        size_t blanks;
        const char *start;
        size_t len;
        bool with_end;
        enum parse outcome;
        const char *error;
    } lines[] = {
        {0, "xxx", 2048, false, PARSE_MORE, ""},
        {0, "xxx", 2049, false, PARSE_BAD, ""},
        {2048, "", 2048, false, PARSE_MORE, ""},
        {2049, "", 2049, false, PARSE_BAD, ""},
        {0, "incr ", 2048, false, PARSE_MORE, ""},
        {0, "incr ", 2049, false, PARSE_BAD, ""},
        {0, "gat 0 ", 2049, false, PARSE_BAD, ""},
        {0, "get\t", 2049, false, PARSE_BAD, ""},
        {0, "GET ", 2049, false, PARSE_BAD, ""},
        {0, "get ", 2049, false, PARSE_MORE, ""},
        {0, "gets ", 2049, false, PARSE_MORE, ""},
        {100, "get ", 2300, false, PARSE_MORE, ""},
        {101, "get ", 2300, false, PARSE_BAD, ""},
        {0, "get ", mib, false, PARSE_MORE, ""},
        {0, "gets ", mib + 1, false, PARSE_BAD, too_long},
        {0, "delete x ", 3000, true, PARSE_DONE, ""},
        {0, "delete x ", 16384 - 2, true, PARSE_DONE, ""},
        {0, "delete x ", 16384 - 1, true, PARSE_BAD, ""},
        {0, "get ", 16384, true, PARSE_DONE, ""},
        {100, "get ", 20000, true, PARSE_DONE, error},
        {101, "get ", 20000, true, PARSE_BAD, ""},
        {0, "gets ", mib - 1, true, PARSE_DONE, ""},     /* the CR is a byte before the end */
        {0, "gets ", mib, true, PARSE_BAD, too_long},
        {0, "xxx ", 2 * mib, true, PARSE_BAD, ""},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char got[100] = "";
        enum parse outcome = parse_long(lines[i].blanks, lines[i].start, lines[i].len,
                                        lines[i].with_end, got, sizeof got);
        if (outcome != lines[i].outcome || strcmp(got, lines[i].error) != 0) {
            print_message("line %zu: %zu bytes of '%s'\n", i, lines[i].len, lines[i].start);
        }
        assert_int_equal(outcome, lines[i].outcome);
        assert_string_equal(got, lines[i].error);
    }
}

/* Goal: a get of very many keys: all are counted, and all are found again. */
static void
test_many_keys(void **state)
{
    (void)state;
    const size_t key_count = 500000, len = 4 + 2 * key_count + 1;
    char *in = malloc(len);
    memcpy(in, "get ", 4);
    for (size_t i = 0; i < key_count; i++) {
        in[4 + 2 * i] = (char)('a' + i % 26);
        in[5 + 2 * i] = ' ';
    }
    in[len - 1] = '\n';
    struct request req;
    struct slice key;
    size_t searched = 0, used, cursor = 0, found = 0;
    assert_int_equal(proto_parse(in, len, &searched, &req, &used), PARSE_DONE);
    assert_int_equal(used, len);
    assert_int_equal(req.key_count, key_count);
    for (; proto_next_key(&req, &cursor, &key); found++) {
        assert_int_equal(key.len, 1);
        assert_int_equal(key.at[0], (char)('a' + found % 26));
    }
    assert_int_equal(found, key_count);
    free(in);
}

/* ---- replies --------------------------------------------------------------------------------- */

/* Goal: the header of a value is what snprintf makes of it, within the room that was promised. */
static void
test_value_header(void **state)
{
    (void)state;
    static const uint32_t flags[] = {0, 1, 9, 10, 4294967295u};
    static const uint32_t sizes[] = {0, 9, 10, 99, 100, 999, 1000, 12345, 1048514, 4294967295u};
    static const uint64_t uniques[] = {0, 7, 4294967296u, UINT64_MAX};
    static const size_t key_lens[] = {1, 15, 16, 17, 250};
    char expected[400];
    for (size_t i = 0; i < 5 * 10 * 4 * 5 * 2; i++) {
        struct slice key = {K250, key_lens[i % 5]};
        uint32_t f = flags[i / 5 % 5], n = sizes[i / 25 % 10];
        uint64_t cas = uniques[i / 250 % 4];
        bool with_cas = i / 1000;
        char cas_text[32] = "";
        if (with_cas) {
            snprintf(cas_text, sizeof cas_text, " %" PRIu64, cas);
        }
        int len = snprintf(expected, sizeof expected, "VALUE %.*s %" PRIu32 " %" PRIu32 "%s\r\n",
                           (int)key.len, key.at, f, n, cas_text);
        char *room = malloc(proto_value_header_max(key.len));
        assert_int_equal(proto_put_value_header(room, key, f, n, with_cas, cas), len);
        assert_memory_equal(room, expected, (size_t)len);
        free(room);
    }
}

/* Goal: text that follows text is one span; a value between them makes three; clear forgets all. */
static void
test_reply(void **state)
{
    (void)state;
    char buf[32];
    struct reply r;
    memset(&r, RUBBISH, sizeof r);
    reply_init(&r, buf, sizeof buf);
    assert_true(reply_has_room(&r, sizeof buf, 1));
    assert_false(reply_has_room(&r, sizeof buf + 1, 0));
    reply_text(&r, PROTO_STORED);
    reply_text(&r, PROTO_OK);
    assert_int_equal(r.span_count, 1);
    reply_span(&r, K50, 50);
    reply_text(&r, PROTO_END);
    assert_int_equal(r.span_count, 3);
    assert_int_equal(r.bytes, 8 + 4 + 50 + 5);
    assert_memory_equal(r.spans[0].iov_base, "STORED\r\nOK\r\n", r.spans[0].iov_len);
    assert_int_equal(r.spans[1].iov_len, 50);
    assert_memory_equal(r.spans[2].iov_base, "END\r\n", 5);
    r.block = malloc(10);
    reply_clear(&r);
    assert_null(r.block);
    assert_int_equal(r.len, 0);
    assert_int_equal(r.bytes, 0);
    assert_int_equal(r.span_count, 0);
    assert_true(reply_has_room(&r, sizeof buf, 1));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_rows_in_company),
        cmocka_unit_test(test_nul),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_value_header),
        cmocka_unit_test(test_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
