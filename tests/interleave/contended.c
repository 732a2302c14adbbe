/*
 * contended.c -- a hash table of cache lines, open addressing; it never shrinks within a scenario.
 */
#include "contended.h"

#include "base/check.h"
#include "watch.h"

#define LINES_MAX (1u << 14)
#define LINE_WORDS 8u
#define LONG_BYTES 512u

struct line {
    uintptr_t number;                  /* address / 64; 0: free */
    uint8_t users[LINE_WORDS], writers[LINE_WORDS];    /* a bit for each thread */
    uint8_t contended;                 /* a bit for each word */
};

static struct line lines[LINES_MAX];
static unsigned line_count;
static uint64_t contended;

void
contended_forget(void)
{
    watch_real_fill(lines, 0, sizeof lines);
    line_count = 0;
    contended = 0;
}

uint64_t
contended_count(void)
{
    return contended;
}

static struct line *
find(uintptr_t number)
{
    unsigned i = (unsigned)((uint64_t)number * 0x9e3779b97f4a7c15u >> 50) & (LINES_MAX - 1);
    while (lines[i].number != number) {
        if (lines[i].number == 0) {
            CHECK(++line_count < LINES_MAX / 2);
            lines[i].number = number;
            break;
        }
        i = (i + 1) & (LINES_MAX - 1);
    }
    return &lines[i];
}

static bool
use_word(struct line *l, unsigned word, unsigned thread, bool write)
{
    uint8_t bit = (uint8_t)(1u << word);
    l->users[word] |= (uint8_t)(1u << thread);
    if (write)
        l->writers[word] |= (uint8_t)(1u << thread);
    if (!(l->contended & bit) && l->writers[word] && (l->users[word] & (l->users[word] - 1))) {
        l->contended |= bit;
        contended++;
    }
    return l->contended & bit;
}

/* Of a long copy the first word of each cache line stands for the others. */
bool
contended_use(const void *at, size_t bytes, unsigned thread, bool write)
{
    bool any = false;
    uintptr_t from = (uintptr_t)at / 8, last = ((uintptr_t)at + bytes - 1) / 8;
    for (uintptr_t number = from / LINE_WORDS; number <= last / LINE_WORDS; number++) {
        struct line *l = find(number);
        uintptr_t first = number * LINE_WORDS;
        if (bytes > LONG_BYTES) {
            any |= use_word(l, 0, thread, write);
            continue;
        }
        for (unsigned w = 0; w < LINE_WORDS; w++)
            if (first + w >= from && first + w <= last)
                any |= use_word(l, w, thread, write);
    }
    return any;
}
