/*
 * check.h -- say what must be true.
 *
 * CHECK stays in release builds: it guards what would corrupt memory or a reply if it were false.
 * DCHECK is for hot paths and exists in debug and sanitizer builds only.  Neither is for input,
 * sockets or memory pressure: those are outcomes, not mistakes of ours.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(what)                                                                               \
    ((what) ? (void)0 : check_failed(#what, __FILE__, __LINE__, __func__))

#ifdef LARDER_DEBUG
#define DCHECK(what) CHECK(what)
#else
#define DCHECK(what) ((void)0)
#endif

/* gcc says so by a macro, clang by a feature. */
#if defined __SANITIZE_THREAD__
#define UNDER_TSAN 1
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* A struct padded to whole cache lines so that two threads never share one. */
#define CACHE_LINE 64
#define CACHE_ALIGNED __attribute__((aligned(CACHE_LINE)))

__attribute__((cold, noreturn)) static inline void
check_failed(const char *what, const char *file, int line, const char *function)
{
    fprintf(stderr, "larder: %s:%d: %s: must be true: %s\n", file, line, function, what);
    abort();
}

#endif
