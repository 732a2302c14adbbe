/*
 * log.h -- one line to stderr.
 *
 * A line is formatted into a buffer of fixed size and written by one write(2), so lines of several
 * threads never mix; what is longer than LOG_LINE_BYTES_MAX is cut.  Bytes from a client reach a
 * line through log_escape() only: a terminal or a log collector never sees them raw.  Logging does
 * not wait for whoever reads stderr: lines for which there is no room are lost, and counted.
 *
 * Threads: any.  The level is one relaxed atomic: a change is seen soon, not at once.
 */
#ifndef OBS_LOG_H
#define OBS_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

#define LOG_LINE_BYTES_MAX 1024

/* A line is written when its level is at most the current one; the number is that of -v. */
enum log_level {
    LOG_NOTICE,      /* always: start, stop, what an operator must know */
    LOG_WARNING,     /* -v: something failed and was survived; clients that were refused */
    LOG_COMMAND,     /* -vv: each command */
    LOG_STATE        /* -vvv: connections that open, and that close and why */
};

/* Levels above the last one mean the last one. */
void log_set_level(unsigned level);
unsigned log_level(void);

extern _Atomic unsigned log_level_now;    /* changed by log_set_level() only */

static inline bool
log_enabled(enum log_level level)
{
    return (unsigned)level <= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

/* The line end is added. */
__attribute__((format(printf, 2, 3)))
void log_line(enum log_level level, const char *format, ...);

/*
 * `text` as printable ASCII: other bytes and the backslash as \xNN.  Writes at most cap bytes, NUL
 * included, never half an escape; what does not fit is left out.  Returns `out`.
 */
const char *log_escape(char *out, size_t cap, struct slice text);

#endif
