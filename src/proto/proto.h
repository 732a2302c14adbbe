/*
 * proto.h -- the door of the protocols: bytes from a client -> struct request, and the text of
 * replies.  No I/O, no threads, no memory of its own.
 *
 * proto_parse() looks at one request at the start of the input.  It never reads past the length it
 * is given, never allocates, never blocks, and copies nothing but a key that comes in base64: every
 * other slice of the request points into the input.  Parsing the same bytes twice gives the same request, so a request that must
 * wait is simply parsed again.
 *
 * What memcached answers with an error line is a request too (VERB_BAD): the error is part of the
 * ordered stream of replies.  PARSE_BAD is left for what memcached answers by hanging up.
 */
#ifndef PROTO_PROTO_H
#define PROTO_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "binary.h"
#include "reply.h"

#define PROTO_KEY_BYTES_MAX 250u
#define PROTO_VALUE_BYTES_MAX (INT32_MAX - 2)      /* longest length accepted on a command line */
#define PROTO_LINE_BYTES_MAX 2048u                 /* without its LF, unless it is a get */
#define PROTO_GET_LINE_BYTES_MAX (1u << 20)

/* How a request was put, and so how it is answered. */
enum dialect { DIALECT_TEXT, DIALECT_META, DIALECT_BINARY };

/* What is to be done.  The storage verbs serve all dialects: `ms k 2 MA` is VERB_ADD. */
enum verb {
    VERB_GET, VERB_GETS, VERB_GAT, VERB_GATS,
    VERB_SET, VERB_ADD, VERB_REPLACE, VERB_APPEND, VERB_PREPEND, VERB_CAS,
    VERB_DELETE, VERB_INCR, VERB_DECR, VERB_TOUCH,
    VERB_MG, VERB_MD, VERB_MA, VERB_ME,            /* meta only */
    VERB_FLUSH_ALL, VERB_VERSION, VERB_VERBOSITY, VERB_QUIT, VERB_MN,
    VERB_STATS, VERB_DETAIL,                       /* text: `stats detail` has one of its own */
    VERB_CACHE_MEMLIMIT, VERB_SHUTDOWN,
    VERB_SLABS, VERB_LRU, VERB_LRU_CRAWLER, VERB_REFRESH_CERTS,
    VERB_BAD,                                      /* answered by `error` alone */
    VERB_COUNT
};

static inline bool
verb_is_get(enum verb v)
{
    return v <= VERB_GATS;
}

static inline bool
verb_is_store(enum verb v)
{
    return v >= VERB_SET && v <= VERB_CAS;
}

/* A flag of a meta command as a bit: letters only. */
#define META_FLAG(c) (1ull << ((c) >= 'a' ? (c) - 'a' + 26 : (c) - 'A'))

/*
 * What only meta and binary requests can say.  Their parsers set all of it; for a text request it
 * holds nothing, and is not even cleared.
 */
struct request_more {
    struct slice flags;           /* meta: the rest of the line; replies repeat flags in its order */
    uint64_t letters;             /* meta: META_FLAG() of each flag in it */
    uint64_t cas;                 /* compare with this number, where has_cas */
    uint64_t cas_new;             /* meta E: the number to store, where META_FLAG('E') */
    uint64_t initial;             /* meta J, binary incr and decr */
    int32_t vivify_exptime;       /* meta N */
    int32_t recache_exptime;      /* meta R */
    uint32_t opaque;              /* binary, in the order of its bytes */
    enum verb verb_plain;         /* binary: of the opcode alone, where a cas has made it VERB_CAS */
    uint8_t opcode;               /* binary */
    uint8_t status;               /* binary, VERB_BAD: the enum binary_status of the answer */
    bool hang_up;                 /* binary, VERB_BAD: close after it */
    bool with_key;                /* binary: the answer repeats the key */
    bool has_cas;
    bool decrement;               /* meta ma */
    bool key_encoded;             /* meta b: the key came in base64 and is decoded in key_room */
    char key_room[PROTO_KEY_BYTES_MAX];
};

struct request {
    enum verb verb;
    enum dialect dialect;
    bool noreply;                 /* binary: a quiet opcode; errors are sent all the same */
    bool bad_chunk;               /* storage: the data block does not end in CR LF */
    bool has_number;              /* flush_all: a delay was given, in exptime */
    bool bad_number;              /* flush_all: what was given is no delay */
    struct slice key;             /* the key, or the first of a get */
    struct slice keys;            /* get family: from the first key to the end of the line */
    uint32_t key_count;           /* get family: keys in `keys`; others 0 or 1 */
    uint32_t client_flags;
    int32_t exptime;              /* as sent: 0, negative, relative or absolute seconds */
    uint64_t number;              /* cas unique, delta, megabytes, verbosity */
    size_t value_bytes;           /* storage: length of the data block without its tail */
    const char *value;            /* storage: the block, or NULL while it is not all in the input */
    struct slice args;            /* administration: the rest of the line, trimmed of blanks */
    struct slice error;           /* VERB_BAD: the reply line with CR LF; empty when silenced */
    size_t line_bytes;            /* length of the command line with its terminator */
    size_t swallow_bytes;         /* VERB_BAD: what follows the line and is thrown away unread */
    uint32_t batch, batch_at;     /* for cmd/: where its hashes are; 0 from the parser */
    struct request_more more;
};

/* What follows the value_bytes of a data block and belongs to it: CR LF, but in packets. */
static inline size_t
proto_tail_bytes(const struct request *req)
{
    return req->dialect == DIALECT_BINARY ? 0 : 2;
}

/* The time of expiry that the client sent.  In packets it has no sign: -1 is a year far off. */
static inline int64_t
proto_exptime(const struct request *req)
{
    return req->dialect == DIALECT_BINARY ? (int64_t)(uint32_t)req->exptime : req->exptime;
}

enum parse {
    PARSE_DONE,    /* one request, `used` bytes: line and data block; swallow_bytes not included */
    PARSE_BODY,    /* a storage request whose data block is not all there; used = line_bytes */
    PARSE_MORE,    /* no whole line yet; used = 0, the request is untouched */
    PARSE_BAD      /* hang up; error (if not empty) is sent first; used = 0 */
};

/*
 * searched: in and out, how many bytes from the start of the input are known to hold no LF; 0 for
 * a new request.  It keeps a line that comes in small pieces from being searched again and again,
 * and is 0 again as soon as the line has been found.
 */
enum parse proto_parse(const char *in, size_t len, size_t *searched, struct request *req,
                       size_t *used);

/*
 * The same for a connection that speaks binary, which is one whose first byte was
 * PROTO_BINARY_MAGIC.  The "line" of a packet is its header, extras and key, the data block its
 * value.  A key may have any bytes in it, blanks too: it is req->key, `keys` is empty.
 */
enum parse proto_parse_binary(const char *in, size_t len, struct request *req, size_t *used);

/*
 * The keys of a get, one at a time; of a packet its only one.  cursor: offset into req->keys, 0 at the start, moved past the
 * key returned.  False when there are no more.  Keys have been checked by proto_parse.
 */
bool proto_next_key(const struct request *req, size_t *cursor, struct slice *out_key);

/* What a text get that was left between two keys asks for still; `keys_at` of its line. */
struct proto_get_rest {
    uint32_t line_bytes;
    uint32_t keys_at, keys_bytes;
    uint32_t key_count : 24, verb : 8;
    int32_t exptime;
};

/*
 * It is kept, and becomes a request again when the get is gone on with: a line of 1 MiB would else
 * be parsed each time.  `keys` are those of req that are left.
 */
void proto_keep_get(const struct request *req, const char *line, struct slice keys,
                    uint32_t key_count, struct proto_get_rest *out);
void proto_rest_of_get(const struct proto_get_rest *rest, const char *line, struct request *req);

/* Takes the first word off *rest, what is left of req->args.  Empty: there are no more. */
struct slice proto_next_word(struct slice *rest);

/* ---- meta ------------------------------------------------------------------------------------ */

/* The flags of a request, one at a time, as proto_next_key(). */
bool proto_next_flag(const struct request *req, size_t *cursor, struct slice *out_flag);

/*
 * Keeps those that the reply to an ms repeats, for when the line is gone: req->more.flags lies in
 * `room` afterwards.
 */
#define PROTO_OPAQUE_BYTES_MAX 32u                 /* the O included */
#define PROTO_KEPT_FLAGS_BYTES (PROTO_OPAQUE_BYTES_MAX + sizeof "" + sizeof "k s c ")
void proto_keep_flags(struct request *req, char *room);

/*
 * Writes a key, in base64 where `encoded` or where it could not stand in a line: *out_encoded
 * tells.  At most PROTO_META_KEY_CHARS_MAX bytes; returns their number.
 */
#define PROTO_META_KEY_CHARS_MAX ((PROTO_KEY_BYTES_MAX + 2) / 3 * 4)
size_t proto_put_meta_key(char *at, struct slice key, bool encoded, bool *out_encoded);

/* ---- replies --------------------------------------------------------------------------------- */

/* Longest "VALUE <key> <flags> <bytes> <cas>\r\n" for a key of this length. */
static inline size_t
proto_value_header_max(size_t key_len)
{
    return key_len + sizeof "VALUE  4294967295 4294967295 18446744073709551615\r\n";
}

/* Writes that line at `at`, returns its length.  cas is written where with_cas. */
size_t proto_put_value_header(char *at, struct slice key, uint32_t client_flags,
                              uint32_t value_bytes, bool with_cas, uint64_t cas);

/* Error lines and replies that several commands share, each with CR LF. */
extern const struct slice PROTO_ERROR, PROTO_BAD_FORMAT, PROTO_BAD_CHUNK, PROTO_BAD_EXPTIME,
    PROTO_BAD_DELTA, PROTO_NON_NUMERIC, PROTO_TOO_LARGE, PROTO_NO_MEMORY_STORING,
    PROTO_NO_MEMORY, PROTO_LINE_TOO_LONG, PROTO_STORED, PROTO_NOT_STORED, PROTO_EXISTS,
    PROTO_NOT_FOUND, PROTO_DELETED, PROTO_TOUCHED, PROTO_OK, PROTO_END, PROTO_MN, PROTO_RESET;

#endif
