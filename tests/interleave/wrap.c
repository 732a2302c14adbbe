/*
 * wrap.c -- functions of the C library as the instrumented code meets them (-Wl,--wrap).
 *
 * Copies and fills can be done in two halves, each an access of its own: whoever looks meanwhile
 * sees half of it, as on a machine with several processors.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "watch.h"

void *__real_memcpy(void *to, const void *from, size_t bytes);
void *__real_memmove(void *to, const void *from, size_t bytes);
void *__real_memset(void *at, int byte, size_t bytes);
int __real_memcmp(const void *a, const void *b, size_t bytes);
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void __real_free(void *at);
int __real_madvise(void *at, size_t bytes, int advice);
int __real_sched_yield(void);
int __real_pthread_mutex_lock(pthread_mutex_t *m);
int __real_pthread_mutex_unlock(pthread_mutex_t *m);

void *__wrap_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memset(void *at, int byte, size_t bytes);
int __wrap_memcmp(const void *a, const void *b, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void __wrap_free(void *at);
int __wrap_madvise(void *at, size_t bytes, int advice);
int __wrap_sched_yield(void);
int __wrap_clock_gettime(clockid_t which, struct timespec *out_time);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);

/* ---- memory ---------------------------------------------------------------------------------- */

static size_t
first_half(size_t bytes)
{
    return bytes <= 8 || !watch->halves ? bytes : bytes / 2;
}

static void
access_copy(char *to, const char *from, size_t bytes)
{
    if (bytes == 0)
        return;
    watch->plain((void *)(uintptr_t)from, bytes, false);
    watch->plain(to, bytes, true);
}

void *
__wrap_memcpy(void *to, const void *from, size_t bytes)
{
    if (!watch)
        return __real_memcpy(to, from, bytes);
    size_t half = first_half(bytes);
    access_copy(to, from, half);
    __real_memcpy(to, from, half);
    access_copy((char *)to + half, (const char *)from + half, bytes - half);
    __real_memcpy((char *)to + half, (const char *)from + half, bytes - half);
    return to;
}

void *
__wrap_memmove(void *to, const void *from, size_t bytes)
{
    if (watch)
        access_copy(to, from, bytes);
    return __real_memmove(to, from, bytes);
}

void *
__wrap_memset(void *at, int byte, size_t bytes)
{
    if (!watch || bytes == 0)
        return __real_memset(at, byte, bytes);
    size_t half = first_half(bytes);
    watch->plain(at, half, true);
    __real_memset(at, byte, half);
    if (half < bytes)
        watch->plain((char *)at + half, bytes - half, true);
    __real_memset((char *)at + half, byte, bytes - half);
    return at;
}

int
__wrap_memcmp(const void *a, const void *b, size_t bytes)
{
    if (watch && bytes) {
        watch->plain((void *)(uintptr_t)a, bytes, false);
        watch->plain((void *)(uintptr_t)b, bytes, false);
    }
    return __real_memcmp(a, b, bytes);
}

void *
__wrap_malloc(size_t bytes)
{
    return watch ? watch->allocate(bytes) : __real_malloc(bytes);
}

void *
__wrap_calloc(size_t count, size_t bytes)
{
    if (!watch)
        return __real_calloc(count, bytes);
    void *at = watch->allocate(count * bytes);
    return at ? __real_memset(at, 0, count * bytes) : NULL;
}

void
__wrap_free(void *at)
{
    if (watch && at)
        watch->release(at);
    else
        __real_free(at);
}

/* Memory given back reads as zero, for whoever still looks there. */
int
__wrap_madvise(void *at, size_t bytes, int advice)
{
    if (!watch || advice != MADV_DONTNEED)
        return __real_madvise(at, bytes, advice);
    __wrap_memset(at, 0, bytes);
    return 0;
}

/* ---- waiting --------------------------------------------------------------------------------- */

int
__wrap_sched_yield(void)
{
    if (!watch)
        return __real_sched_yield();
    watch->yield();
    return 0;
}

int
__wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
    if (!watch)
        return __real_pthread_mutex_lock(m);
    watch->mutex_lock(m);
    return 0;
}

int
__wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
    if (!watch)
        return __real_pthread_mutex_unlock(m);
    watch->mutex_unlock(m);
    return 0;
}

/* ---- time ------------------------------------------------------------------------------------ */

/* Stands still, watched or not: what the store measures would lead it another way each time. */
int
__wrap_clock_gettime(clockid_t which, struct timespec *out_time)
{
    (void)which;
    *out_time = (struct timespec){.tv_sec = 1000};
    return 0;
}

/* ---- for those who watch --------------------------------------------------------------------- */

void
watch_real_copy(void *to, const void *from, size_t bytes)
{
    __real_memcpy(to, from, bytes);
}

void
watch_real_fill(void *at, int byte, size_t bytes)
{
    __real_memset(at, byte, bytes);
}

void
watch_real_lock(pthread_mutex_t *m)
{
    __real_pthread_mutex_lock(m);
}

void
watch_real_unlock(pthread_mutex_t *m)
{
    __real_pthread_mutex_unlock(m);
}

void *
watch_real_allocate(size_t bytes)
{
    return __real_malloc(bytes);
}

void
watch_real_release(void *at)
{
    __real_free(at);
}
