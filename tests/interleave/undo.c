/*
 * undo.c -- a log in one growing piece of memory: the bytes, then where they belong.
 */
#include "undo.h"

#include "base/check.h"
#include "base/hash.h"
#include "watch.h"

struct note {
    void *at;
    size_t bytes, padded;
};

static char *notes;
static size_t used, room;

static void
grow(size_t bytes)
{
    size_t more = room * 2 + bytes + 65536;
    char *wider = watch_real_allocate(more);
    CHECK(wider);
    watch_real_copy(wider, notes, used);
    watch_real_release(notes);
    notes = wider;
    room = more;
}

void
undo_note(void *at, size_t bytes)
{
    struct note n = {at, bytes, (bytes + 7) & ~(size_t)7};
    if (used + n.padded + sizeof n > room)
        grow(n.padded + sizeof n);
    watch_real_copy(notes + used, at, bytes);
    used += n.padded;
    watch_real_copy(notes + used, &n, sizeof n);
    used += sizeof n;
}

void
undo_all(void)
{
    while (used) {
        struct note n;
        used -= sizeof n;
        watch_real_copy(&n, notes + used, sizeof n);
        used -= n.padded;
        watch_real_copy(n.at, notes + used, n.bytes);
    }
}

/* A sum: the order of writes, which differs between schedules, does not count. */
uint64_t
undo_fingerprint(void)
{
    uint64_t sum = 0;
    for (size_t end = used; end;) {
        struct note n;
        watch_real_copy(&n, notes + end - sizeof n, sizeof n);
        sum += hash_bytes(n.at, n.bytes, (uint64_t)(uintptr_t)n.at + n.bytes);
        end -= sizeof n + n.padded;
    }
    return sum;
}
