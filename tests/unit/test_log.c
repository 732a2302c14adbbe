/*
 * test_log.c -- log lines: levels, cutting, and that nothing from a client gets through raw.
 *
 * Method: stderr is a pipe while a line is written.  One that is full must not make anybody wait:
 * a child that does is killed by its alarm.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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

#define WRITERS 4
#define LINES_EACH 3000

static void *
write_lines(void *arg)
{
    (void)arg;
    for (int i = 0; i < LINES_EACH; i++)
        log_line(LOG_NOTICE, "line %0100d", i);
    return NULL;
}

/* How many lines there are to read. */
static unsigned
count_lines(int fd)
{
    char bytes[4096];
    unsigned lines = 0;
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            lines += bytes[i] == '\n';
    return lines;
}

/* Nobody reads while lines are written; afterwards the number of those that were lost is told. */
static int
log_to_a_full_pipe(void)
{
    int fds[2];
    pthread_t writers[WRITERS];
    char said[4096], wanted[128];
    if (pipe(fds) != 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0)
        return 2;
    dup2(fds[1], STDERR_FILENO);
    for (int i = 0; i < WRITERS; i++)
        if (pthread_create(&writers[i], NULL, write_lines, NULL) != 0)
            return 3;
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    unsigned written = count_lines(fds[0]);
    log_line(LOG_NOTICE, "after");
    ssize_t n = read(fds[0], said, sizeof said - 1);
    said[n > 0 ? n : 0] = '\0';
    snprintf(wanted, sizeof wanted, "larderd: %u lines of the log were lost\nafter\n",
             WRITERS * LINES_EACH - written);
    if (written == 0 || strcmp(said, wanted) != 0)
        return 4;
    log_line(LOG_NOTICE, "again");
    n = read(fds[0], said, sizeof said - 1);
    return n == 6 ? 0 : 5;
}

static void
test_full_pipe(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(60);
        _exit(log_to_a_full_pipe());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_escape),
        cmocka_unit_test(test_full_pipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
