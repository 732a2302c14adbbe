/*
 * store_kit.c -- see store_kit.h.
 */
#include "store_kit.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

#define TRIES_MAX 1000000u            /* of one operation: far beyond what any wait takes */
#define ARRIVAL_BYTES 5000u            /* an upload arrives in bits */

uint64_t
kit_seed(const char *program)
{
    const char *given = getenv("LARDER_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : clock_ns();
    seed = seed ? seed : 1;
    fprintf(stderr, "%s: LARDER_SEED=%llu\n", program, (unsigned long long)seed);
    return seed;
}

bool
kit_long(void)
{
    return getenv("LARDER_TEST_LONG") != NULL;
}

void
kit_fill(char *at, uint64_t stamp, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at[i] = kit_byte(stamp, i);
}

struct store_key
kit_key(const struct store *s, char *text, unsigned number)
{
    int n = snprintf(text, KIT_KEY_CHARS, "key-%u", number);
    struct slice slice = {text, (size_t)n};
    return (struct store_key){.text = slice, .hash = store_hash(s, slice)};
}

void
kit_give_time(struct store_thread *t)
{
    store_leave(t);
    store_maintain(t, STORE_MAINTAIN_BUDGET);
    store_enter(t);
}

static void
wait_once(struct store_thread *t, const struct kit_wait *wait)
{
    if (wait) {
        wait->wait(wait->ctx);
        return;
    }
    store_leave(t);
    store_maintain(t, STORE_MAINTAIN_BUDGET);
    sched_yield();                     /* with more threads than CPUs those inside must get on */
    store_enter(t);
}

/* Fills what is open; aborts it where there will be no room. */
static enum store_outcome
fill_upload(struct store_thread *t, struct store_upload *u, struct slice value,
            const struct kit_wait *wait)
{
    for (unsigned tries = 0; value.len;) {
        char *at;
        size_t room;
        enum store_outcome outcome = store_upload_room(t, u, &at, &room);
        if (outcome == STORE_AGAIN) {
            CHECK(++tries < TRIES_MAX);
            wait_once(t, wait);
            continue;
        }
        if (outcome != STORE_OK) {
            store_upload_abort(t, u);
            return outcome;
        }
        size_t n = room < value.len ? room : value.len;
        n = n < ARRIVAL_BYTES ? n : ARRIVAL_BYTES;
        memcpy(at, value.at, n);
        store_upload_filled(t, u, n);
        value.at += n;
        value.len -= n;
    }
    return STORE_OK;
}

static enum store_outcome
upload_value(struct store_thread *t, struct slice value, struct store_upload **out,
             const struct kit_wait *wait)
{
    enum store_outcome outcome;
    for (unsigned tries = 0; (outcome = store_upload_open(t, value.len, out)) == STORE_AGAIN;) {
        CHECK(++tries < TRIES_MAX);
        wait_once(t, wait);
    }
    return outcome == STORE_OK ? fill_upload(t, *out, value, wait) : outcome;
}

enum store_outcome
kit_put(const struct store *s, struct store_thread *t, struct store_put *put, uint64_t *out_cas,
        const struct kit_wait *wait)
{
    enum store_outcome outcome;
    if (put->value.len > store_inline_bytes_max(s)) {
        outcome = upload_value(t, put->value, &put->upload, wait);
        if (outcome != STORE_OK)
            return outcome;
    }
    struct store_result result = {0};
    struct store_append *append = NULL;
    put->append = &append;
    for (unsigned tries = 0;; tries++) {
        outcome = store_put(t, put, &result);
        if (outcome != STORE_AGAIN && outcome != STORE_UNFINISHED)
            break;
        CHECK(tries < TRIES_MAX);
        wait_once(t, wait);
    }
    if (outcome == STORE_OK && out_cas)
        *out_cas = result.cas;
    return outcome;
}

enum store_outcome
kit_arith(struct store_thread *t, struct store_key key, bool decrement, uint64_t delta,
          uint64_t *out_number, const struct kit_wait *wait)
{
    enum store_outcome outcome;
    struct store_arith how = {.key = key, .decrement = decrement, .delta = delta};
    struct store_number number;
    for (unsigned tries = 0; (outcome = store_arith(t, &how, &number)) == STORE_AGAIN;) {
        CHECK(++tries < TRIES_MAX);
        wait_once(t, wait);
    }
    if (outcome == STORE_OK)
        *out_number = number.number;
    return outcome;
}

bool
kit_read(struct store_thread *t, const struct store_view *v, char *to)
{
    if (v->value) {
        memcpy(to, v->value, v->value_bytes);
        return true;
    }
    for (uint64_t at = 0, n; at < v->value_bytes; at += n) {
        struct iovec spans[5];
        unsigned count = store_spans(t, v->serial, v->value_bytes, at, 100000, spans, 5, &n);
        if (!count)
            return false;
        for (unsigned i = 0; i < count; i++) {
            memcpy(to, spans[i].iov_base, spans[i].iov_len);
            to += spans[i].iov_len;
        }
    }
    return true;
}
