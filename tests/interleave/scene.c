/*
 * scene.c -- see scene.h.
 */
#include "scene.h"

#include <stdio.h>
#include <string.h>

#include "undo.h"
#include "watch.h"

#define MEMORY_BYTES ((size_t)8 << 20)
#define VALUE_BYTES_MAX ((size_t)64 << 10)
#define SMALL_BYTES 13u                /* to 16 */
#define LONG_BYTES 601u                /* to 604 */
#define PIECES_BYTES 5001u             /* to 5004 */
#define KEY_BYTES 8u
#define KEYS_MAX 64u
#define VERIFIED_MAX 4096u

struct scene scene;

static char key_texts[KEYS_MAX][KEY_BYTES + 1];
static unsigned key_count;
static uint64_t verified[VERIFIED_MAX];    /* fingerprints */

/* ---- values ---------------------------------------------------------------------------------- */

static uint64_t
bytes_of(char letter, enum scene_size size)
{
    static const uint64_t least[] = {SMALL_BYTES, LONG_BYTES, PIECES_BYTES};
    return least[size] + (unsigned char)letter % 4;
}

static enum scene_size
size_of(uint64_t bytes)
{
    return bytes < LONG_BYTES ? SCENE_SMALL : bytes < PIECES_BYTES ? SCENE_LONG : SCENE_PIECES;
}

static bool
is_all(const char *at, size_t bytes, char letter)
{
    uint64_t letters = (unsigned char)letter * 0x0101010101010101u, word;
    size_t i = 0;
    for (; i + sizeof word <= bytes; i += sizeof word) {
        __builtin_memcpy(&word, at + i, sizeof word);
        if (word != letters)
            return false;
    }
    for (; i < bytes; i++)
        if (at[i] != letter)
            return false;
    return true;
}

static char
wrong_value(const char *why)
{
    schedule_complain("a value is %s", why);
    return SCENE_LETTER_WRONG;
}

/* In pieces: MISS where some are gone. */
static char
letter_of_pieces(unsigned thread, struct store_key key, const struct store_view *v)
{
    struct iovec spans[4];
    uint64_t sum = 0;
    char letter = (char)v->client_flags;
    unsigned n = store_spans(scene.t[thread], v->serial, v->value_bytes, 0, UINT64_MAX, spans, 4,
                             &sum);
    if (n == 0) {
        store_drop_broken(scene.t[thread], key, v->serial);
        return SCENE_LETTER_MISS;
    }
    for (unsigned pause = 0; pause < 2; pause++) {
        for (unsigned i = 0; i < n; i++)
            if (!is_all(spans[i].iov_base, spans[i].iov_len, letter))
                return wrong_value("made of pieces of others");
        schedule_pause();
    }
    return sum == v->value_bytes ? letter : wrong_value("shorter than it says");
}

static char
letter_of(unsigned thread, struct store_key key, const struct store_view *v)
{
    char letter = (char)v->client_flags;
    if (v->value_bytes != bytes_of(letter, size_of(v->value_bytes)))
        return wrong_value("not of the length that its flags say");
    if (!v->value)
        return letter_of_pieces(thread, key, v);
    if (!is_all(v->value, v->value_bytes, letter))
        return wrong_value("not whole");
    schedule_pause();
    if (!is_all(v->value, v->value_bytes, letter))
        return wrong_value("overwritten under a reader");
    return letter;
}

/* ---- the store ------------------------------------------------------------------------------- */

static uint32_t
scene_clock(void *ctx)
{
    (void)ctx;
    return scene.now;
}

void
scene_open(bool evict)
{
    struct store_config c = {
        .memory_bytes = MEMORY_BYTES, .reserve_bytes = MEMORY_BYTES,
        .value_bytes_max = VALUE_BYTES_MAX, .threads_max = SCHEDULE_THREADS_MAX + 1,
        .cas_enabled = true, .evict = evict, .hash_seed = 12345, .clock = scene_clock,
    };
    scene = (struct scene){.now = 100};
    key_count = 0;
    watch_real_fill(verified, 0, sizeof verified);
    CHECK(store_create(&c, &scene.s) == 0);
    for (unsigned n = 0; n <= SCHEDULE_THREADS_MAX; n++) {
        scene.t[n] = store_join(scene.s);
        CHECK(scene.t[n]);
        index_local_fill(&scene.s->index, &scene.t[n]->local);
    }
}

void
scene_close(void)
{
    for (unsigned n = 0; n <= SCHEDULE_THREADS_MAX; n++)
        store_part(scene.t[n]);
    store_destroy(scene.s);
}

/* Not watched, for it leaves everything as it was; and not twice for the same memory: different
 * schedules mostly end in the same few states. */
void
scene_verify(void)
{
    const struct watch *watcher = watch;
    uint64_t state = undo_fingerprint();
    uint64_t *known = &verified[state % VERIFIED_MAX];
    if (*known == state)
        return;
    watch = NULL;
    const char *wrong = store_verify(scene.s);
    watch = watcher;
    if (wrong)
        schedule_complain("store_verify: %s", wrong);
    else
        *known = state;
}

struct store_key
scene_key_of(uint64_t low, unsigned bits, unsigned bucket, unsigned number)
{
    CHECK(key_count < KEYS_MAX);
    struct slice text = {key_texts[key_count++], KEY_BYTES};
    for (unsigned i = 0;; i++) {
        snprintf(key_texts[key_count - 1], KEY_BYTES + 1, "k%07u", i);
        struct store_key key = {.text = text, .hash = store_hash(scene.s, text)};
        if ((key.hash & ((1ull << bits) - 1)) == low && hash_bucket(key.hash) == bucket &&
            number-- == 0)
            return key;
    }
}

struct store_key
scene_key(unsigned number)
{
    return scene_key_of(0, 0, 0, number);
}

void
scene_seal(unsigned thread)
{
    store_part(scene.t[thread]);
    scene.t[thread] = store_join(scene.s);
    CHECK(scene.t[thread] && scene.t[thread]->number == thread);
    index_local_fill(&scene.s->index, &scene.t[thread]->local);
}

void
scene_leave_segments(unsigned count)
{
    struct budget *b = &scene.s->budget;
    atomic_store(&b->limit, atomic_load(&b->used) + count * scene.s->pool.seg_bytes);
    atomic_store(&scene.s->pool.reserve, count + 2);
    scene.s->keep.spare = 0;           /* the copier has what is left, too, and no more */
}

void
scene_split_next(unsigned thread)
{
    struct index *ix = &scene.s->index;
    uint64_t groups = atomic_load(&ix->group_count);
    if (watch) {
        undo_note(&scene.t[thread]->local.slots_delta, sizeof(int));
        undo_note(&ix->slot_count, sizeof ix->slot_count);
    }
    scene.t[thread]->local.slots_delta = 31;
    atomic_store(&ix->slot_count, (int64_t)(groups * INDEX_GROUP_LOAD) - 32);
}

/* ---- commands -------------------------------------------------------------------------------- */

/* AGAIN ends it: threads of scenarios do not wait. */
static enum store_outcome
upload(unsigned thread, const char *value, uint64_t bytes, struct store_upload **out_upload)
{
    struct store_thread *t = scene.t[thread];
    enum store_outcome outcome = store_upload_open(t, bytes, out_upload);
    if (outcome != STORE_OK)
        return outcome;
    for (;;) {
        char *at;
        size_t room;
        outcome = store_upload_room(t, *out_upload, &at, &room);
        if (outcome == STORE_OK && room == 0)
            return STORE_OK;
        if (outcome != STORE_OK) {
            store_upload_abort(t, *out_upload);
            return outcome;
        }
        memcpy(at, value, room);
        store_upload_filled(t, *out_upload, room);
    }
}

enum store_outcome
scene_put(unsigned thread, enum store_mode mode, struct store_key key, char letter, uint64_t cas)
{
    char value[PIECES_BYTES + 4];
    uint64_t bytes = bytes_of(letter, scene.size);
    struct store_put put = {.mode = mode, .key = key, .value = {value, bytes},
                            .client_flags = (unsigned char)letter, .expiry = scene.expiry,
                            .cas_expected = cas};
    enum store_outcome outcome = STORE_OK;
    watch_real_fill(value, letter, bytes);
    store_enter(scene.t[thread]);
    if (scene.size == SCENE_PIECES)
        outcome = upload(thread, value, bytes, &put.upload);
    if (outcome == STORE_OK) {
        outcome = store_put(scene.t[thread], &put, NULL);
        if (put.upload && outcome == STORE_AGAIN)
            store_upload_abort(scene.t[thread], put.upload);
    }
    store_leave(scene.t[thread]);
    return outcome;
}

enum store_outcome
scene_delete(unsigned thread, struct store_key key)
{
    store_enter(scene.t[thread]);
    enum store_outcome outcome = store_delete(scene.t[thread], key);
    store_leave(scene.t[thread]);
    return outcome;
}

char
scene_get(unsigned thread, struct store_key key, const uint32_t *new_expiry,
          struct store_view *out_view)
{
    struct store_view view = {0};
    char letter = SCENE_LETTER_MISS;
    struct store_get_options touch = {.has_expiry = true, .expiry = new_expiry ? *new_expiry : 0};
    store_enter(scene.t[thread]);
    if (store_get(scene.t[thread], &key, new_expiry ? &touch : NULL, &view) == STORE_OK)
        letter = letter_of(thread, key, &view);
    store_leave(scene.t[thread]);
    if (out_view)
        *out_view = view;
    return letter;
}

char
scene_get_inside(unsigned thread, struct store_key key)
{
    struct store_view view = {0};
    if (store_get(scene.t[thread], &key, NULL, &view) != STORE_OK)
        return SCENE_LETTER_MISS;
    return letter_of(thread, key, &view);
}

void
scene_maintain(unsigned thread, unsigned most)
{
    while (most-- && store_maintain(scene.t[thread], STORE_MAINTAIN_BUDGET))
        ;
}

void
scene_flush(unsigned thread)
{
    store_enter(scene.t[thread]);
    store_flush(scene.t[thread], store_now(scene.t[thread]));
    store_leave(scene.t[thread]);
}
