/*
 * text_token.h -- the tokens of a command line, one after the other.
 *
 * The blank alone separates; TAB, CR and NUL are bytes like any other.  A line is given without
 * its terminator.  Only TEXT_TOKENS_MAX tokens of a line exist, the command included: what follows
 * is not looked at, not even for "noreply".  (The keys of a get are not counted in this way.)
 */
#ifndef PROTO_TEXT_TOKEN_H
#define PROTO_TEXT_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/bytes.h"

#define TEXT_TOKENS_MAX 23u

struct tokens {
    const char *at;       /* where to go on: right after the last token, or the start of the line */
    const char *end;      /* of the line */
    const char *last;     /* the token returned last is [last, at) */
    unsigned count;       /* tokens returned */
};

static inline const char *
token_skip_blanks(const char *at, const char *end)
{
    while (at < end && *at == ' ') {
        at++;
    }
    return at;
}

/* A call of memchr pays for a key, not for the few digits at the end of a line. */
static inline const char *
token_end(const char *at, const char *end)
{
    if (end - at >= 16) {
        const char *blank = memchr(at, ' ', (size_t)(end - at));
        return blank ? blank : end;
    }
    while (at < end && *at != ' ') {
        at++;
    }
    return at;
}

/* False at the end of the line or of the budget; *out_token is untouched then. */
static inline bool
tokens_next(struct tokens *t, struct slice *out_token)
{
    const char *at = token_skip_blanks(t->at, t->end);
    if (at == t->end || t->count == TEXT_TOKENS_MAX) {
        return false;
    }
    t->last = at;
    t->at = token_end(at, t->end);
    t->count++;
    *out_token = (struct slice){at, (size_t)(t->at - at)};
    return true;
}

/* All that is left of the line, without blanks around it. */
static inline struct slice
tokens_rest(const struct tokens *t)
{
    const char *at = token_skip_blanks(t->at, t->end), *end = t->end;
    while (end > at && end[-1] == ' ') {
        end--;
    }
    return (struct slice){at, (size_t)(end - at)};
}

/* Goes on to the last token of the line: is it the word that asks for silence? */
static inline bool
tokens_end_in_noreply(struct tokens *t)
{
    struct slice token;
    while (tokens_next(t, &token)) {
    }
    return slice_equal((struct slice){t->last, (size_t)(t->at - t->last)}, SLICE("noreply"));
}

#endif
