/*
 * test_log.c -- log lines: levels, cutting, and that nothing from a client gets through raw.
 *
 * Method: stderr is a pipe while a line is written.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "obs/log.h"

/* What log_line() wrote; the caller's buffer has 4096 bytes. */
static const char *
line_of(enum log_level level, const char *text, char *out)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    int before = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    log_line(level, "%s!", text);
    dup2(before, STDERR_FILENO);
    close(before);
    close(fds[1]);
    ssize_t n = read(fds[0], out, 4095);
    close(fds[0]);
    out[n > 0 ? n : 0] = '\0';
    return out;
}

static void
test_levels(void **state)
{
    (void)state;
    char out[4096];
    for (unsigned level = 0; level <= 5; level++) {
        log_set_level(level);
        assert_string_equal(line_of(LOG_NOTICE, "a", out), "a!\n");
        assert_string_equal(line_of(LOG_WARNING, "a", out), level >= 1 ? "a!\n" : "");
        assert_string_equal(line_of(LOG_COMMAND, "a", out), level >= 2 ? "a!\n" : "");
        assert_string_equal(line_of(LOG_STATE, "a", out), level >= 3 ? "a!\n" : "");
    }
    log_set_level(0);
}

/* Around the limit: whole lines, never a second one, always an end. */
static void
test_long_lines(void **state)
{
    (void)state;
    char text[2000], out[4096];
    for (size_t len = LOG_LINE_BYTES_MAX - 6; len < LOG_LINE_BYTES_MAX + 6; len++) {
        memset(text, 'x', len);
        text[len] = '\0';
        line_of(LOG_NOTICE, text, out);
        size_t got = strlen(out);
        size_t whole = len + 2;
        assert_true(got <= LOG_LINE_BYTES_MAX);
        assert_true(got == whole || got >= LOG_LINE_BYTES_MAX - 2);
        assert_int_equal(strchr(out, '\n') - out, (ptrdiff_t)got - 1);
    }
}

static void
test_escape(void **state)
{
    (void)state;
    char out[64];
    struct slice text = {"get \x1b[31m\\\r\n\0\x7f\xffz", 15};
    assert_string_equal(log_escape(out, sizeof out, text),
                        "get \\x1b[31m\\x5c\\x0d\\x0a\\x00\\x7f\\xff");
    for (size_t cap = 1; cap < 20; cap++) {
        memset(out, '#', sizeof out);
        log_escape(out, cap, SLICE("a\n\nb"));
        assert_true(strlen(out) < cap);
        assert_int_equal(out[cap], '#');
        /* No half escape: 1, 5, 9 or 10 characters. */
        size_t len = strlen(out);
        assert_true(len == 0 || len == 1 || len == 5 || len == 9 || len == 10);
    }
    assert_string_equal(log_escape(out, sizeof out, (struct slice){NULL, 0}), "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_escape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
