/*
 * replies.h -- counts the answers of the text protocol in a stream that may be cut anywhere.
 *
 * For programs that load a server and must themselves cost little: a value is
 * passed over without being looked at, a line is copied only when its end has
 * not arrived yet.
 *
 * Include it after common.h.
 */
#ifndef BENCH_REPLIES_H
#define BENCH_REPLIES_H

#define REPLIES_LINE_BYTES 512

enum reply {
    REPLY_NONE,  /* the bytes are used up */
    REPLY_VALUE, /* a hit; the end of the answer is still to come */
    REPLY_DONE,  /* END or STORED: one request is answered */
    REPLY_BAD    /* anything else: one request is answered, by an error */
};

/* What is left over between two pieces of one stream; all zero at the start. */
struct replies {
    uint64_t skip; /* bytes of a value still to pass over */
    size_t line_length;
    char line[REPLIES_LINE_BYTES]; /* the begin of a line; after REPLY_BAD, the line */
};

static inline bool
replies_has_prefix(const char *line, size_t length, const char *prefix, size_t prefix_length)
{
    return length >= prefix_length && !memcmp(line, prefix, prefix_length);
}

static inline enum reply
replies_judge(struct replies *r, const char *line, size_t length)
{
    uint64_t bytes;
    const char *number;

    if (length && line[length - 1] == '\r')
        length--;
    if (replies_has_prefix(line, length, "END", 3) ||
        replies_has_prefix(line, length, "STORED", 6))
        return REPLY_DONE;
    number = memrchr(line, ' ', length);
    if (replies_has_prefix(line, length, "VALUE ", 6) &&
        parse_number(number + 1, (size_t)(line + length - number - 1), &bytes)) {
        r->skip = bytes + 2;
        return REPLY_VALUE;
    }
    length = length < REPLIES_LINE_BYTES - 1 ? length : REPLIES_LINE_BYTES - 1;
    memmove(r->line, line, length);
    r->line[length] = '\0';
    return REPLY_BAD;
}

/* The next answer in *at..end; moves *at behind it. */
static inline enum reply
replies_next(struct replies *r, const char **at, const char *end)
{
    const char *line = *at, *line_end;
    size_t have = (size_t)(end - *at), room;

    if (r->skip) {
        uint64_t passed = r->skip < have ? r->skip : have;

        r->skip -= passed;
        *at = line = *at + passed;
        have -= (size_t)passed;
    }
    if (!have)
        return REPLY_NONE;
    line_end = memchr(line, '\n', have);
    if (line_end && !r->line_length) {
        *at = line_end + 1;
        return replies_judge(r, line, (size_t)(line_end - line));
    }
    room = sizeof r->line - r->line_length;
    have = line_end ? (size_t)(line_end - line) : have;
    *at = line_end ? line_end + 1 : end;
    memcpy(r->line + r->line_length, line, have < room ? have : room);
    r->line_length += have < room ? have : room;
    if (!line_end)
        return REPLY_NONE;
    have = r->line_length;
    r->line_length = 0;
    return replies_judge(r, r->line, have);
}

#endif
