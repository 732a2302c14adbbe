/*
 * contended.c -- a hash table of 8-byte words, open addressing; it never shrinks within a scenario.
 */
#include "contended.h"

#include "base/check.h"
#include "watch.h"

#define WORDS_MAX (1u << 18)
#define LONG_BYTES 512u

struct word {
    uintptr_t number;                  /* address / 8; 0: free */
    uint8_t users, writers;            /* a bit for each thread */
    bool contended;
};

static struct word words[WORDS_MAX];
static unsigned word_count;
static uint64_t contended;

void
contended_forget(void)
{
    watch_real_fill(words, 0, sizeof words);
    word_count = 0;
    contended = 0;
}

uint64_t
contended_count(void)
{
    return contended;
}

static struct word *
find(uintptr_t number)
{
    unsigned i = (unsigned)((uint64_t)number * 0x9e3779b97f4a7c15u >> 46) & (WORDS_MAX - 1);
    while (words[i].number != number) {
        if (words[i].number == 0) {
            CHECK(++word_count < WORDS_MAX / 2);
            words[i].number = number;
            break;
        }
        i = (i + 1) & (WORDS_MAX - 1);
    }
    return &words[i];
}

/* Of a long copy one word in eight stands for the others, the first of each cache line. */
bool
contended_use(const void *at, size_t bytes, unsigned thread, bool write)
{
    bool any = false;
    unsigned stride = bytes <= LONG_BYTES ? 1 : 8;
    uintptr_t last = ((uintptr_t)at + bytes - 1) / 8;
    for (uintptr_t number = (uintptr_t)at / 8; number <= last; number += stride) {
        struct word *w = find(number / stride * stride);
        w->users |= (uint8_t)(1u << thread);
        if (write)
            w->writers |= (uint8_t)(1u << thread);
        if (!w->contended && w->writers && (w->users & (w->users - 1))) {
            w->contended = true;
            contended++;
        }
        any |= w->contended;
    }
    return any;
}
