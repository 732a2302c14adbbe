/*
 * log.c -- formatting and writing of log lines.
 *
 * stdio's stderr is not used: a full line may take several writes.  A line for which there is no
 * room (a pipe or a socket that nobody reads), or that cannot be written, is lost, and the next one
 * that can be written is preceded by how many were.
 *
 * A pipe that poll(2) finds writable takes PIPE_BUF bytes without blocking, but only once: so one
 * thread at a time asks and writes.  O_NONBLOCK would do as well, but it would hold for everybody
 * who shares the pipe, the shell for one.  Of those, one that fills the last page between the two
 * calls can still make this one wait.
 */
#include "log.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

_Static_assert(LOG_LINE_BYTES_MAX <= PIPE_BUF, "a line is written whole or not at all");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t lost;                 /* lines since the last one written; guarded by lock */

_Atomic unsigned log_level_now = LOG_NOTICE;

void
log_set_level(unsigned level)
{
    atomic_store_explicit(&log_level_now, level < LOG_STATE ? level : LOG_STATE,
                          memory_order_relaxed);
}

unsigned
log_level(void)
{
    return atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

static bool
write_now(const char *line, size_t len)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0 &&
           write(STDERR_FILENO, line, len) > 0;
}

static bool
tell_lost(void)
{
    char line[64];
    int len = snprintf(line, sizeof line, "larderd: %llu lines of the log were lost\n",
                       (unsigned long long)lost);
    return write_now(line, (size_t)len);
}

static void
write_or_lose(const char *line, size_t len)
{
    pthread_mutex_lock(&lock);
    if (lost > 0 && tell_lost())
        lost = 0;
    if (lost > 0 || !write_now(line, len))
        lost++;
    pthread_mutex_unlock(&lock);
}

void
log_line(enum log_level level, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    char line[LOG_LINE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (wanted < 0)
        return;
    size_t len = (size_t)wanted < sizeof line - 1 ? (size_t)wanted : sizeof line - 2;
    line[len++] = '\n';
    write_or_lose(line, len);
}

const char *
log_escape(char *out, size_t cap, struct slice text)
{
    static const char digits[16] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.at[i];
        bool plain = byte >= 0x20 && byte < 0x7f && byte != '\\';
        if (at + (plain ? 1 : 4) >= cap)
            break;
        if (plain) {
            out[at++] = (char)byte;
        } else {
            out[at++] = '\\';
            out[at++] = 'x';
            out[at++] = digits[byte >> 4];
            out[at++] = digits[byte & 15];
        }
    }
    if (cap > 0)
        out[at] = '\0';
    return out;
}
