/*
 * read.c -- what is found in the cache: views, and values copied out.
 *
 * A value in pieces is copied a portion at a time, each in a section of its own unless the caller
 * has one open: a section that copies a gigabyte would keep memory from all other threads.  The
 * serial of the value says whether what is left of it is still the same.  Where it is not, the
 * lookup is made again: there may be a new value by now.
 */
#include "inner.h"

#include <stdlib.h>

#define SPANS 64u
#define PORTION_BYTES ((size_t)1 << 20)    /* copied in one section */
#define LOOKS_MAX 8u                       /* at a key whose value is lost while it is copied */

/* ---- looking --------------------------------------------------------------------------------- */

struct look {
    struct larder_bytes key;
    const struct store_get_options *options;    /* NULL: a plain get */
    bool touch;
    uint32_t ttl_s;
    struct larder_view *view;
};

static void
fill_view(const struct larder_thread *t, const struct look *look, const struct store_view *v)
{
    uint32_t now = store_now(t->store);
    *look->view = (struct larder_view){
        .value = v->value,
        .value_bytes = (size_t)v->value_bytes,
        .cas = v->cas,
        .flags = v->client_flags,
        .ttl_s = v->expiry > now ? v->expiry - now : 0,
        .idle_s = (now - v->last_access) & STORE_ACCESS_MASK,
        .fetched = v->marks & STORE_MARK_FETCHED,
        .key = look->key,
        .pieces = v->serial,
    };
}

static enum store_outcome
look_step(struct larder_thread *t, void *ctx)
{
    const struct look *look = ctx;
    struct store_key key = lib_key(t, look->key);
    struct store_get_options touch = {.has_expiry = true};
    const struct store_get_options *options = look->options;
    struct store_view v;
    if (look->touch) {
        touch.expiry = lib_expiry(t, look->ttl_s);
        options = &touch;
    }
    enum store_outcome outcome = store_get(t->store, &key, options, &v);
    if (outcome == STORE_OK)
        fill_view(t, look, &v);
    return outcome;
}

static enum larder_error
look_in_section(struct larder_thread *t, struct look look)
{
    if (!t->inside)
        return LARDER_INVALID;
    if (!lib_key_valid(look.key))
        return LARDER_BAD_KEY;
    return lib_error_of(look_step(t, &look));
}

enum larder_error
larder_get_view(struct larder_thread *t, struct larder_bytes key, struct larder_view *out_view)
{
    return look_in_section(t, (struct look){.key = key, .view = out_view});
}

enum larder_error
larder_get_view_and_touch(struct larder_thread *t, struct larder_bytes key, uint32_t ttl_s,
                          struct larder_view *out_view)
{
    return look_in_section(
        t, (struct look){.key = key, .touch = true, .ttl_s = ttl_s, .view = out_view});
}

enum larder_error
larder_peek_view(struct larder_thread *t, struct larder_bytes key, struct larder_view *out_view)
{
    static const struct store_get_options without_trace = {.no_bump = true};
    return look_in_section(
        t, (struct look){.key = key, .options = &without_trace, .view = out_view});
}

enum larder_error
larder_touch(struct larder_thread *t, struct larder_bytes key, uint32_t ttl_s)
{
    struct larder_view view;
    struct look look = {.key = key, .touch = true, .ttl_s = ttl_s, .view = &view};
    return lib_key_valid(key) ? lib_run_once(t, look_step, &look) : LARDER_BAD_KEY;
}

/* ---- the parts of a value -------------------------------------------------------------------- */

/* In a section.  0: some is gone, and the entry is taken out. */
static unsigned
spans_of(struct larder_thread *t, const struct larder_view *v, size_t at, size_t bytes_max,
         struct larder_bytes *spans, unsigned span_max)
{
    struct iovec found[SPANS];
    uint64_t bytes;
    if (v->value) {
        spans[0] = larder_span((const char *)v->value + at, v->value_bytes - at);
        return 1;
    }
    unsigned n = store_spans(t->store, v->pieces, v->value_bytes, at, bytes_max, found,
                             span_max < SPANS ? span_max : SPANS, &bytes);
    for (unsigned i = 0; i < n; i++)
        spans[i] = larder_span(found[i].iov_base, found[i].iov_len);
    if (n == 0)
        store_drop_broken(t->store, lib_key(t, v->key), v->pieces);
    return n;
}

unsigned
larder_view_spans(struct larder_thread *t, const struct larder_view *v, size_t at,
                  struct larder_bytes *out_spans, unsigned span_max)
{
    if (!t->inside || at >= v->value_bytes || span_max == 0)
        return 0;
    return spans_of(t, v, at, SIZE_MAX, out_spans, span_max);
}

/* In a section. */
static enum store_outcome
copy_bytes(struct larder_thread *t, const struct larder_view *v, size_t at, char *to, size_t n)
{
    while (n) {
        struct larder_bytes spans[SPANS];
        unsigned count = spans_of(t, v, at, n, spans, SPANS);
        if (count == 0)
            return STORE_MISS;
        for (unsigned i = 0; i < count && n; i++) {
            size_t some = spans[i].len < n ? spans[i].len : n;
            memcpy(to, spans[i].at, some);
            to += some;
            at += some;
            n -= some;
        }
    }
    return STORE_OK;
}

enum larder_error
larder_view_copy(struct larder_thread *t, const struct larder_view *v, size_t at, void *buffer,
                 size_t n)
{
    if (!t->inside || at > v->value_bytes || n > v->value_bytes - at)
        return LARDER_INVALID;
    return lib_error_of(copy_bytes(t, v, at, buffer, n));
}

/* ---- copied out ------------------------------------------------------------------------------ */

struct copy {
    struct look look;
    struct larder_view view;
    char *to;                          /* NULL: to be allocated */
    size_t room, at;                   /* bytes there are, and that have been copied */
    bool allocate, found;
    enum larder_error failed;          /* what the store does not know of */
};

/* Finds the entry; a value in one run is valid until the section ends, so it is copied at once. */
static enum store_outcome
begin_copy(struct larder_thread *t, struct copy *c)
{
    enum store_outcome outcome = look_step(t, &c->look);
    if (outcome != STORE_OK)
        return outcome;
    if (c->allocate) {
        free(c->to);
        c->to = malloc(c->view.value_bytes + 1);
        c->failed = c->to ? LARDER_OK : LARDER_NO_MEMORY;
    } else if (c->view.value_bytes > c->room) {
        c->failed = LARDER_SHORT;
    }
    c->at = 0;
    c->found = c->failed == LARDER_OK;
    return STORE_OK;
}

/* Up to the end, or a portion of it. */
static enum store_outcome
copy_step(struct larder_thread *t, void *ctx)
{
    struct copy *c = ctx;
    if (!c->found) {
        enum store_outcome outcome = begin_copy(t, c);
        if (outcome != STORE_OK || !c->found)
            return outcome;
    }
    size_t n = c->view.value_bytes - c->at;
    if (c->view.value == NULL && !t->inside && n > PORTION_BYTES)
        n = PORTION_BYTES;
    enum store_outcome outcome = copy_bytes(t, &c->view, c->at, c->to + c->at, n);
    c->found = outcome == STORE_OK;
    c->at += n;
    return STORE_OK;
}

/* A get that does not fit must not touch: it looks first. */
static enum larder_error
check_room(struct larder_thread *t, const struct look *asked, size_t room)
{
    static const struct store_get_options without_trace = {.no_bump = true};
    struct look look = {.key = asked->key, .options = &without_trace, .view = asked->view};
    enum larder_error error = lib_run_once(t, look_step, &look);
    return error == LARDER_OK && asked->view->value_bytes > room ? LARDER_SHORT : error;
}

static enum larder_error
copy_out(struct larder_thread *t, struct copy *c)
{
    if (!lib_key_valid(c->look.key))
        return LARDER_BAD_KEY;
    c->look.view = &c->view;
    for (unsigned looks = 0; looks < LOOKS_MAX; looks++) {
        enum larder_error error =
            c->look.touch ? check_room(t, &c->look, c->room) : LARDER_OK;
        if (error != LARDER_OK)
            return error;
        do {
            error = lib_run_once(t, copy_step, c);
            if (error == LARDER_OK)
                error = c->failed;
            if (error != LARDER_OK)
                return error;
        } while (c->found && c->at < c->view.value_bytes);
        if (c->found)
            return LARDER_OK;          /* else it was lost on the way */
    }
    return LARDER_MISS;
}

static enum larder_error
copy_to_buffer(struct larder_thread *t, struct look look, void *buffer, size_t room,
               struct larder_view *out_view)
{
    struct copy c = {.look = look, .to = buffer, .room = room};
    enum larder_error error = copy_out(t, &c);
    if (out_view && (error == LARDER_OK || error == LARDER_SHORT)) {
        *out_view = c.view;
        out_view->value = error == LARDER_OK ? buffer : NULL;
        out_view->pieces = 0;
    }
    return error;
}

enum larder_error
larder_get(struct larder_thread *t, struct larder_bytes key, void *buffer, size_t buffer_bytes,
           struct larder_view *out_view)
{
    return copy_to_buffer(t, (struct look){.key = key}, buffer, buffer_bytes, out_view);
}

enum larder_error
larder_get_and_touch(struct larder_thread *t, struct larder_bytes key, uint32_t ttl_s,
                     void *buffer, size_t buffer_bytes, struct larder_view *out_view)
{
    return copy_to_buffer(t, (struct look){.key = key, .touch = true, .ttl_s = ttl_s}, buffer,
                          buffer_bytes, out_view);
}

enum larder_error
larder_get_alloc(struct larder_thread *t, struct larder_bytes key, struct larder_view *out_view)
{
    struct copy c = {.look = {.key = key}, .allocate = true};
    enum larder_error error = copy_out(t, &c);
    if (error != LARDER_OK) {
        free(c.to);
        return error;
    }
    c.to[c.view.value_bytes] = '\0';
    *out_view = c.view;
    out_view->value = c.to;
    out_view->pieces = 0;
    return LARDER_OK;
}

void
larder_free(const void *value)
{
    free((void *)(uintptr_t)value);
}
