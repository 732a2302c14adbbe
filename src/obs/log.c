/*
 * log.c -- formatting and writing of log lines.
 *
 * stdio's stderr is not used: it locks, and a full line may take several writes.  A line that
 * cannot be written (a full pipe, a closed descriptor) is lost: logging never blocks the cache
 * for longer than one write(2), and there is nobody to report the failure to.
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

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
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written;
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
