/*
 * tsan_abi.c -- the functions that gcc and clang call from code compiled with -fsanitize=thread.
 *
 * The names are the compilers' (compiler-rt: tsan_interface.h, tsan_interface_atomic.h).  One that
 * is missing here does not link.  Orders are passed on, but every operation is carried out
 * sequentially consistent: there is one thread of the system.
 */
#include "watch.h"

const struct watch *watch;

void __tsan_init(void);
void __tsan_func_entry(void *caller);
void __tsan_func_exit(void);

void
__tsan_init(void)
{
}

void
__tsan_func_entry(void *caller)
{
    (void)caller;
}

void
__tsan_func_exit(void)
{
}

/* ---- plain accesses -------------------------------------------------------------------------- */

#define PLAIN(name, bytes, write)                                                                 \
    void __tsan_##name(void *at);                                                                 \
    void __tsan_##name(void *at)                                                                  \
    {                                                                                             \
        if (watch)                                                                                \
            watch->plain(at, bytes, write);                                                       \
    }

PLAIN(read1, 1, false)
PLAIN(read2, 2, false)
PLAIN(read4, 4, false)
PLAIN(read8, 8, false)
PLAIN(read16, 16, false)
PLAIN(write1, 1, true)
PLAIN(write2, 2, true)
PLAIN(write4, 4, true)
PLAIN(write8, 8, true)
PLAIN(write16, 16, true)
PLAIN(unaligned_read2, 2, false)
PLAIN(unaligned_read4, 4, false)
PLAIN(unaligned_read8, 8, false)
PLAIN(unaligned_read16, 16, false)
PLAIN(unaligned_write2, 2, true)
PLAIN(unaligned_write4, 4, true)
PLAIN(unaligned_write8, 8, true)
PLAIN(unaligned_write16, 16, true)

#define PLAIN_RANGE(name, write)                                                                  \
    void __tsan_##name(void *at, size_t bytes);                                                   \
    void __tsan_##name(void *at, size_t bytes)                                                    \
    {                                                                                             \
        if (watch)                                                                                \
            watch->plain(at, bytes, write);                                                       \
    }

PLAIN_RANGE(read_range, false)
PLAIN_RANGE(write_range, true)

/* ---- atomic operations ----------------------------------------------------------------------- */

static void
before(volatile void *at, size_t bytes, enum atomic_kind kind, int order)
{
    if (watch)
        watch->atomic((void *)(uintptr_t)at, bytes, kind, order);
}

static void
after(volatile void *at, size_t bytes, uint64_t value, bool changed, const void *site)
{
    if (watch && watch->atomic_done)
        watch->atomic_done((void *)(uintptr_t)at, bytes, value, changed, site);
}

/* Where the instrumented code goes on. */
#define SITE __builtin_return_address(0)

#define FETCH(bits, type, name)                                                                   \
    type __tsan_atomic##bits##_fetch_##name(volatile type *at, type operand, int order);          \
    type __tsan_atomic##bits##_fetch_##name(volatile type *at, type operand, int order)           \
    {                                                                                             \
        before(at, sizeof(type), ATOMIC_CHANGE, order);                                           \
        type old = __atomic_fetch_##name(at, operand, __ATOMIC_SEQ_CST);                          \
        after(at, sizeof(type), old, *at != old, SITE);                                           \
        return old;                                                                               \
    }

#define COMPARE_EXCHANGE(bits, type, name)                                                        \
    int __tsan_atomic##bits##_##name(volatile type *at, type *expected, type desired, int order,  \
                                     int order_failed);                                           \
    int __tsan_atomic##bits##_##name(volatile type *at, type *expected, type desired, int order,  \
                                     int order_failed)                                            \
    {                                                                                             \
        (void)order_failed;                                                                       \
        before(at, sizeof(type), ATOMIC_CHANGE, order);                                           \
        type old = *at;                                                                           \
        bool equal = old == *expected;                                                            \
        if (equal)                                                                                \
            *at = desired;                                                                        \
        else                                                                                      \
            *expected = old;                                                                      \
        after(at, sizeof(type), old, equal && old != desired, SITE);                              \
        return equal;                                                                             \
    }

#define ATOMICS(bits, type)                                                                       \
    type __tsan_atomic##bits##_load(const volatile type *at, int order);                          \
    type __tsan_atomic##bits##_load(const volatile type *at, int order)                           \
    {                                                                                             \
        volatile type *word = (volatile type *)(uintptr_t)at;                                     \
        before(word, sizeof(type), ATOMIC_LOAD, order);                                           \
        type value = *word;                                                                       \
        after(word, sizeof(type), value, false, SITE);                                            \
        return value;                                                                             \
    }                                                                                             \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order);                   \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order)                    \
    {                                                                                             \
        before(at, sizeof(type), ATOMIC_STORE, order);                                            \
        *at = value;                                                                              \
        after(at, sizeof(type), value, true, SITE);                                               \
    }                                                                                             \
    type __tsan_atomic##bits##_exchange(volatile type *at, type value, int order);                \
    type __tsan_atomic##bits##_exchange(volatile type *at, type value, int order)                 \
    {                                                                                             \
        before(at, sizeof(type), ATOMIC_CHANGE, order);                                           \
        type old = *at;                                                                           \
        *at = value;                                                                              \
        after(at, sizeof(type), old, old != value, SITE);                                         \
        return old;                                                                               \
    }                                                                                             \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type expected,             \
                                                    type desired, int order, int order_failed);   \
    COMPARE_EXCHANGE(bits, type, compare_exchange_strong)                                         \
    COMPARE_EXCHANGE(bits, type, compare_exchange_weak)                                           \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type expected,             \
                                                    type desired, int order, int order_failed)    \
    {                                                                                             \
        __tsan_atomic##bits##_compare_exchange_strong(at, &expected, desired, order,              \
                                                      order_failed);                              \
        return expected;                                                                          \
    }                                                                                             \
    FETCH(bits, type, add)                                                                        \
    FETCH(bits, type, sub)                                                                        \
    FETCH(bits, type, and)                                                                        \
    FETCH(bits, type, or)                                                                         \
    FETCH(bits, type, xor)                                                                        \
    FETCH(bits, type, nand)

ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_signal_fence(int order);

void
__tsan_atomic_thread_fence(int order)
{
    if (watch)
        watch->atomic(NULL, 0, ATOMIC_FENCE, order);
}

void
__tsan_atomic_signal_fence(int order)
{
    (void)order;
}

/* clang calls these where it would have copied by itself; wrap.c has them under the usual names. */
void *__tsan_memcpy(void *to, const void *from, size_t bytes);
void *__tsan_memmove(void *to, const void *from, size_t bytes);
void *__tsan_memset(void *at, int byte, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memset(void *at, int byte, size_t bytes);

void *
__tsan_memcpy(void *to, const void *from, size_t bytes)
{
    return __wrap_memcpy(to, from, bytes);
}

void *
__tsan_memmove(void *to, const void *from, size_t bytes)
{
    return __wrap_memmove(to, from, bytes);
}

void *
__tsan_memset(void *at, int byte, size_t bytes)
{
    return __wrap_memset(at, byte, bytes);
}
