/*
 * poison.h -- tells AddressSanitizer which parts of our own memory are in use; without it, nothing.
 *
 * Inside one mapping the sanitizer sees nothing by itself.
 */
#ifndef BASE_POISON_H
#define BASE_POISON_H

#include <stddef.h>

#if defined __has_feature
#if __has_feature(address_sanitizer)
#define POISON_ADDRESSES 1
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined POISON_ADDRESSES
#include <sanitizer/asan_interface.h>

static inline void
poison(const void *at, size_t bytes)
{
    ASAN_POISON_MEMORY_REGION(at, bytes);
}

static inline void
unpoison(const void *at, size_t bytes)
{
    ASAN_UNPOISON_MEMORY_REGION(at, bytes);
}
#else
static inline void
poison(const void *at, size_t bytes)
{
    (void)at, (void)bytes;
}

static inline void
unpoison(const void *at, size_t bytes)
{
    (void)at, (void)bytes;
}
#endif

#endif
