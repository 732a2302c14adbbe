/*
 * test_meta_parser.c -- the lines of meta commands, keys in base64, flags that replies repeat.
 *
 * Goal: each line is understood as memcached 1.6.45 understands it, however its bytes arrive; of
 * several mistakes the right one is told, and a data block is swallowed where it must be.
 * Method: a table of lines and what they mean, put into words (text_words.h), each parsed at every
 * cut; base64 against a decoder written for shortness.
 */
#include "text_words.h"

#include "proto/base64.h"

#define BAD_FORMAT "bad (CLIENT_ERROR bad command line format)"
#define BAD_TOKEN "bad (CLIENT_ERROR bad token in command line format)"
#define INVALID "bad (CLIENT_ERROR invalid flag)"
#define DUPLICATE "bad (CLIENT_ERROR duplicate flag)"
#define TOO_MANY "bad (CLIENT_ERROR options flags are too long)"
#define NO_KEY "bad (CLIENT_ERROR error decoding key)"
#define LONG_OPAQUE "bad (CLIENT_ERROR opaque token too long)"
#define BAD_MA "bad (CLIENT_ERROR invalid or duplicate flag)"
#define MS_MODE "bad (CLIENT_ERROR invalid mode for ms M token)"
#define MA_MODE "bad (CLIENT_ERROR invalid mode for ma M token)"

#define K50 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define K250 K50 K50 K50 K50 K50
#define O31 "ooooooooooooooooooooooooooooooo"
#define NINE " v k s t c f h l q"

static const struct {
    const char *in;
    const char *words;
} rows[] = {
    /* which commands there are */
    {"mg foo\r\n", "mg [foo] ''"},
    {"mg foo v\n", "mg [foo] 'v'"},
    {"md foo\r\n", "md [foo] ''"},
    {"ma foo\r\n", "ma [foo] number=1 ''"},
    {"me foo\r\n", "me [foo] ''"},
    {"ms foo 2\r\nab\r\n", "set [foo] '' bytes=2 value=ab"},
    {"mg\r\n", BAD_FORMAT},
    {"mg \r\n", BAD_FORMAT},
    {"ms\r\n", BAD_FORMAT},
    {"ma\r\n", BAD_FORMAT},
    {"me\r\n", BAD_FORMAT},
    {"mgfoo v\r\n", "bad (ERROR)"},
    {"mgx foo\r\n", "bad (ERROR)"},
    {"mG foo\r\n", "bad (ERROR)"},
    {"MG foo\r\n", "bad (ERROR)"},
    {"m foo\r\n", "bad (ERROR)"},
    {" mg foo\r\n", "bad (ERROR)"},
    {"mg\tfoo v\r\n", "bad (ERROR)"},

    /* keys, blanks */
    {"mg   foo   v   k  \r\n", "mg [foo] 'v   k'"},
    {"mg f\ro\r v\r\n", "mg [f\\x0do\\x0d] 'v'"},
    {"mg " K250 " v\r\n", "mg [" K250 "] 'v'"},
    {"mg " K250 "k v\r\n", BAD_FORMAT},
    {"md " K250 "k\r\n", BAD_FORMAT},
    {"me " K250 "k\r\n", BAD_FORMAT},
    {"ma " K250 "k\r\n", BAD_MA},
    {"ms " K250 "k 3\r\nabc\r\n", BAD_FORMAT " swallow=5"},

    /* flags */
    {"mg foo noreply\r\n", INVALID},
    {"mg foo S100\r\n", INVALID},
    {"mg foo 5\r\n", INVALID},
    {"mg foo [\r\n", INVALID},
    {"mg foo !\r\n", BAD_FORMAT},
    {"mg foo @\r\n", BAD_FORMAT},
    {"mg foo {\r\n", BAD_FORMAT},
    {"mg foo \xff\r\n", BAD_FORMAT},
    {"mg foo v y !\r\n", BAD_FORMAT},
    {"ma foo !\r\n", BAD_FORMAT},
    {"me foo !\r\n", BAD_FORMAT},
    {"me foo v @\r\n", BAD_FORMAT},
    {"mg foo v v\r\n", DUPLICATE},
    {"mg foo P P\r\n", DUPLICATE},
    {"mg foo Oa Ob\r\n", DUPLICATE},
    {"mg foo T y\r\n", INVALID},
    {"mg foo y T\r\n", INVALID},
    {"mg foo v v T\r\n", DUPLICATE},
    {"mg foo T D\r\n", "bad (CLIENT_ERROR invalid numeric delta value)"},
    {"mg foo D J\r\n", "bad (CLIENT_ERROR invalid numeric initial value)"},
    {"mg foo J F\r\n", BAD_FORMAT},
    {"mg foo" NINE " b u x I Oa Pb Lc D1 J1\r\n", NO_KEY},
    {"mg Zm9v" NINE " b u x I Oa Pb Lc D1 J1\r\n",
     "mg [foo] 'v k s t c f h l q b u x I Oa Pb Lc D1 J1' encoded initial=1"},
    {"mg foo" NINE " b u x I Oa Pb Lc D1 J1 F1\r\n", TOO_MANY},
    {"mg foo" NINE NINE NINE NINE "\r\n", TOO_MANY},
    {"ma foo" NINE NINE NINE "\r\n", BAD_MA},
    {"ms foo 1" NINE NINE "\r\nx\r\n", TOO_MANY " swallow=3"},

    /* numbers */
    {"mg foo T30\r\n", "mg [foo] exptime=30 'T30'"},
    {"mg foo T-1 N0 R-5\r\n", "mg [foo] exptime=-1 'T-1 N0 R-5' recache=-5"},
    {"mg foo T2147483647\r\n", "mg [foo] exptime=2147483647 'T2147483647'"},
    {"mg foo T2147483648\r\n", BAD_TOKEN},
    {"mg foo T00000000001\r\n", "mg [foo] exptime=1 'T00000000001'"},
    {"mg foo T000000000001\r\n", BAD_TOKEN},
    {"mg foo T\r\n", BAD_TOKEN},
    {"mg foo T+5\r\n", BAD_TOKEN},
    {"mg foo N\r\n", BAD_TOKEN},
    {"mg foo N1x\r\n", BAD_TOKEN},
    {"mg foo R1.5\r\n", BAD_TOKEN},
    {"mg foo N7 E9 C8\r\n", "mg [foo] 'N7 E9 C8' cas=8 cas-new=9 vivify=7"},
    {"mg foo C0\r\n", "mg [foo] 'C0' cas=0"},
    {"mg foo C\r\n", BAD_TOKEN},
    {"mg foo C-1\r\n", BAD_TOKEN},
    {"mg foo C18446744073709551615\r\n",
     "mg [foo] 'C18446744073709551615' cas=18446744073709551615"},
    {"mg foo E18446744073709551616\r\n", BAD_TOKEN},
    {"mg foo F4294967295\r\n", "mg [foo] flags=4294967295 'F4294967295'"},
    {"mg foo F4294967296\r\n", BAD_FORMAT},
    {"mg foo F\r\n", BAD_FORMAT},

    /* base64 */
    {"mg Zm9v b k\r\n", "mg [foo] 'b k' encoded"},
    {"mg Zm9v k bxyz\r\n", "mg [foo] 'k bxyz' encoded"},
    {"mg Z-m!9v b\r\n", "mg [foo] 'b' encoded"},
    {"mg AAo= b\r\n", "mg [\\x00\\x0a] 'b' encoded"},
    {"mg foo b\r\n", NO_KEY},
    {"mg Z=== b\r\n", NO_KEY},
    {"mg ???? b\r\n", NO_KEY},
    {"mg foo b T\r\n", BAD_TOKEN},
    {"mg foo T b\r\n", NO_KEY},
    {"ma foo b\r\n", BAD_MA},
    {"me Zm9v b\r\n", "me [foo] '' encoded"},
    {"me Zm9v b v\r\n", "me [foo] '' encoded"},
    {"me Zm9v v b\r\n", "me [Zm9v] ''"},
    {"me foo b\r\n", BAD_FORMAT},

    /* opaque */
    {"mg foo O" O31 "\r\n", "mg [foo] 'O" O31 "'"},
    {"mg foo O" O31 "o\r\n", LONG_OPAQUE},
    {"mg foo O\r\n", "mg [foo] 'O'"},
    {"mg foo O" O31 "o T\r\n", BAD_TOKEN},
    {"md foo O" O31 "o\r\n", LONG_OPAQUE},
    {"ma foo O" O31 "o\r\n", LONG_OPAQUE},
    {"ms foo 1 O" O31 "o\r\nx\r\n", LONG_OPAQUE " swallow=3"},

    /* ms */
    {"ms foo 3 F5 T60 E7\r\nabc\r\n",
     "set [foo] flags=5 exptime=60 'F5 T60 E7' cas-new=7 bytes=3 value=abc"},
    {"ms foo 3 q\r\nabcde", "set [foo] 'q' bytes=3 value=abc bad-chunk"},
    {"ms foo\r\n", BAD_FORMAT},
    {"ms foo S3\r\n", BAD_FORMAT},
    {"ms foo -1\r\n", BAD_FORMAT},
    {"ms foo 2147483646\r\n", BAD_FORMAT},
    {"ms foo 3 !\r\nabc\r\n", BAD_FORMAT},
    {"ms foo 3 y\r\nabc\r\n", INVALID " swallow=5"},
    {"ms foo 3 q q\r\nabc\r\n", DUPLICATE " swallow=5"},
    {"ms foo 3 b\r\nabc\r\n", NO_KEY " swallow=5"},
    {"ms foo 1 ME\r\nx\r\n", "add [foo] 'ME' bytes=1 value=x"},
    {"ms foo 1 MEx C5\r\nx\r\n", "add [foo] 'MEx C5' cas=5 bytes=1 value=x"},
    {"ms foo 1 MR\r\nx\r\n", "replace [foo] 'MR' bytes=1 value=x"},
    {"ms foo 1 MR C5\r\nx\r\n", "cas [foo] number=5 'MR C5' cas=5 bytes=1 value=x"},
    {"ms foo 1 C0\r\nx\r\n", "cas [foo] 'C0' cas=0 bytes=1 value=x"},
    {"ms foo 1 MS D7 J3\r\nx\r\n", "set [foo] 'MS D7 J3' initial=3 bytes=1 value=x"},
    {"ms foo 1 MA T9 C5\r\nx\r\n", "append [foo] 'MA T9 C5' cas=5 bytes=1 value=x"},
    {"ms foo 1 MP T9 N8\r\nx\r\n",
     "prepend [foo] exptime=8 'MP T9 N8' vivify=8 bytes=1 value=x"},
    {"ms foo 1 M\r\nx\r\n", MS_MODE " swallow=3"},
    {"ms foo 1 Ms\r\nx\r\n", MS_MODE " swallow=3"},
    {"ms foo 1 M c\r\nx\r\n", MS_MODE " swallow=3"},
    {"ms foo 1 MZ T\r\nx\r\n", BAD_TOKEN " swallow=3"},
    {"ms foo 0\r\n\r\n", "set [foo] '' bytes=0 value="},

    /* ma */
    {"ma foo D5 J9 N3\r\n", "ma [foo] number=5 'D5 J9 N3' initial=9 vivify=3"},
    {"ma foo D0\r\n", "ma [foo] 'D0'"},
    {"ma foo MI\r\n", "ma [foo] number=1 'MI'"},
    {"ma foo M+x\r\n", "ma [foo] number=1 'M+x'"},
    {"ma foo MD\r\n", "ma [foo] number=1 'MD' decrement"},
    {"ma foo M- D2\r\n", "ma [foo] number=2 'M- D2' decrement"},
    {"ma foo Md\r\n", MA_MODE},
    {"ma foo M\r\n", MA_MODE},
    {"ma foo D\r\n", BAD_MA},
    {"ma foo D-1\r\n", BAD_MA},
    {"ma foo T MZ\r\n", BAD_MA},
    {"ma foo v v\r\n", BAD_MA},
};

#define ROWS (sizeof rows / sizeof rows[0])

static void
test_rows(void **state)
{
    (void)state;
    static struct words whole;
    for (unsigned i = 0; i < ROWS; i++) {
        size_t searched = 0, used, len = strlen(rows[i].in);
        parse_copy(rows[i].in, len, &searched, &whole, &used);
        assert_string_equal(whole.at, rows[i].words);
        parse_at_every_cut(rows[i].in, len, &whole);
    }
}

/* Goal: lines as long as a line may be, made to cost most; every byte as a flag. */
static void
test_hostile_lines(void **state)
{
    (void)state;
    static struct words words;
    static const char *const fillers[] = {"v ", "O", "b", "!", "T1 ", " ", "C", "MM "};
    static const char *const starts[] = {"mg k ", "ms k 1 ", "md k ", "ma k ", "me k ", "mg "};
    char line[PROTO_LINE_BYTES_MAX + 2];
    size_t searched = 0, used;
    for (unsigned s = 0; s < sizeof starts / sizeof starts[0]; s++) {
        for (unsigned f = 0; f < sizeof fillers / sizeof fillers[0]; f++) {
            size_t at = strlen(starts[s]), step = strlen(fillers[f]);
            memcpy(line, starts[s], at);
            for (; at < PROTO_LINE_BYTES_MAX; at++)
                line[at] = fillers[f][at % step];
            memcpy(line + at, "\r\n", 2);
            parse_copy(line, sizeof line, &searched, &words, &used);
            assert_true(used >= sizeof line || strstr(words.at, "waits"));
        }
    }
    for (unsigned c = 0; c < 256; c++) {
        size_t n = (size_t)snprintf(line, sizeof line, "mg foo ");
        line[n++] = (char)c;
        memcpy(line + n, "1\r\n", 3);
        parse_copy(line, n + 3, &searched, &words, &used);
        bool token = (c >= 'A' && c <= 'z') || (c >= '0' && c <= '9') || c == ' ';
        bool known = c && strchr("bNTRlOPLkstcfvhuqxFCEMJDI", (int)c);
        if (c == '\n')
            assert_int_equal(used, n);
        else if (!token)
            assert_string_equal(words.at, BAD_FORMAT);
        else if (!known)
            assert_string_equal(words.at, INVALID);
        else
            assert_true(strncmp(words.at, "mg [foo]", 8) == 0 || c == 'b');
    }
}

/* ---- base64 ---------------------------------------------------------------------------------- */

/* Bit by bit. */
static size_t
model_decode(unsigned char *to, const char *text, size_t len)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char clean[1024];
    size_t n = 0, bits = 0, end, fill = 0;
    for (size_t i = 0; i < len; i++)
        if (text[i] && (strchr(alphabet, text[i]) || text[i] == '='))
            clean[n++] = text[i];
    if (n == 0 || n % 4)
        return 0;
    for (end = 0; end < n && fill == 0; end += 4)
        for (size_t i = end; i < end + 4; i++)
            fill += clean[i] == '=';
    memset(to, 0, len);
    for (size_t i = 0; i < end; i++)
        for (unsigned b = 0; b < 6; b++, bits++)
            if (clean[i] != '=' && (strchr(alphabet, clean[i]) - alphabet) >> (5 - b) & 1)
                to[bits / 8] |= (unsigned char)(128 >> bits % 8);
    return fill > 2 ? 0 : bits / 8 - fill;
}

static void
test_base64(void **state)
{
    (void)state;
    static const char odd[] = "AZaz09+/==-_? \n\tB";
    uint64_t dice = 1;
    for (unsigned round = 0; round < 200000; round++) {
        char text[250], decoded[250], again[BASE64_CHARS(250)];
        unsigned char model[1024];
        dice = dice * 6364136223846793005u + 1442695040888963407u;
        size_t len = (dice >> 33) % (round % 10 ? 14 : sizeof text + 1);
        uint64_t d = dice;
        for (size_t i = 0; i < len; i++) {
            d = d * 6364136223846793005u + 1442695040888963407u;
            text[i] = odd[(d >> 40) % (round & 1 ? sizeof odd : 9)];
        }
        size_t n = base64_decode(decoded, (struct slice){text, len});
        assert_int_equal(n, model_decode(model, text, len));
        assert_memory_equal(decoded, model, n);
        size_t chars = base64_encode(again, (struct slice){decoded, n});
        assert_int_equal(chars, BASE64_CHARS(n));
        assert_int_equal(base64_decode(text, (struct slice){again, chars}), n);
        assert_memory_equal(text, model, n);
    }
}

/* ---- replies --------------------------------------------------------------------------------- */

/* Goal: what an ms repeats survives its line, however long the line was, and nothing else does. */
static void
test_kept_flags(void **state)
{
    (void)state;
    static const struct {
        const char *line, *kept;
    } cases[] = {
        {"ms foo 1\r\n", ""},
        {"ms Zm9v 1 s c T9 k q b F1 I\r\n", "s c k "},
        {"ms foo 1 c" K250 " O" O31 " k" K250 " s" K250 "\r\n", "c O" O31 " k s "},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct request req;
        size_t searched = 0, used;
        char *room = malloc(PROTO_KEPT_FLAGS_BYTES);
        assert_non_null(room);
        proto_parse(cases[i].line, strlen(cases[i].line), &searched, &req, &used);
        assert_int_equal(req.verb, VERB_SET);
        proto_keep_flags(&req, room);
        assert_int_equal(req.more.flags.len, strlen(cases[i].kept));
        assert_memory_equal(req.more.flags.at, cases[i].kept, req.more.flags.len);
        free(room);
    }
}

static void
test_keys_in_replies(void **state)
{
    (void)state;
    char room[PROTO_META_KEY_CHARS_MAX];
    bool encoded;
    assert_int_equal(proto_put_meta_key(room, SLICE("foo"), false, &encoded), 3);
    assert_true(!encoded && memcmp(room, "foo", 3) == 0);
    assert_int_equal(proto_put_meta_key(room, SLICE("foo"), true, &encoded), 4);
    assert_true(encoded && memcmp(room, "Zm9v", 4) == 0);
    assert_int_equal(proto_put_meta_key(room, SLICE("a b"), false, &encoded), 4);
    assert_true(encoded && memcmp(room, "YSBi", 4) == 0);
    assert_int_equal(proto_put_meta_key(room, SLICE("a\n"), false, &encoded), 4);
    assert_true(encoded && memcmp(room, "YQo=", 4) == 0);
    assert_int_equal(proto_put_meta_key(room, SLICE(K250), true, &encoded), sizeof room);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_hostile_lines),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_kept_flags),
        cmocka_unit_test(test_keys_in_replies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
