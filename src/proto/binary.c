/*
 * binary.c -- the binary protocol: packets -> struct request, and the headers of responses.
 *
 * What a packet must look like stands in one table.  All lengths are in its header and are judged
 * before anything behind it is looked at: a packet that breaks the rules is answered as soon as its
 * header is there, and one whose lengths contradict each other is never waited for.
 *
 * Three kinds of refusal, as in memcached 1.6.45: an unknown opcode is answered and its body thrown
 * away; a known one with the wrong parts is answered, and then the connection is closed, because
 * what follows cannot be trusted to be a packet; a wrong magic closes it without an answer.
 */
#include "proto.h"

#include <string.h>

#include "base/check.h"

#define MAGIC_RESPONSE 0x81u

/* Places of a header. */
enum { AT_OPCODE = 1, AT_KEY_BYTES = 2, AT_EXTRAS_BYTES = 4, AT_STATUS = 6, AT_BODY_BYTES = 8,
       AT_OPAQUE = 12, AT_CAS = 16 };

_Static_assert(AT_CAS + 8 == PROTO_BINARY_HEADER_BYTES, "the CAS number is its last part");

/* ---- numbers --------------------------------------------------------------------------------- */

static uint16_t
get_u16(const char *at)
{
    uint16_t number;
    memcpy(&number, at, sizeof number);
    return __builtin_bswap16(number);
}

static uint32_t
get_u32(const char *at)
{
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return __builtin_bswap32(number);
}

static uint64_t
get_u64(const char *at)
{
    uint64_t number;
    memcpy(&number, at, sizeof number);
    return __builtin_bswap64(number);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "else nothing is to be swapped");

static void
put_u16(char *at, uint16_t number)
{
    number = __builtin_bswap16(number);
    memcpy(at, &number, sizeof number);
}

size_t
proto_put_u32(char *at, uint32_t number)
{
    number = __builtin_bswap32(number);
    memcpy(at, &number, sizeof number);
    return sizeof number;
}

size_t
proto_put_u64(char *at, uint64_t number)
{
    number = __builtin_bswap64(number);
    memcpy(at, &number, sizeof number);
    return sizeof number;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* What an opcode must, may and must not have.  EXTRAS: of exactly that many bytes. */
#define KNOWN 1u
#define KEY 2u                /* must have a key; without KEY and KEY_MAY it must have none */
#define KEY_MAY 4u
#define VALUE 8u              /* may have a value */
#define EXTRAS_MAY 16u        /* may leave its extras out */
#define QUIET 32u             /* is not answered where all is well; a get: where it missed */
#define WITH_KEY 64u          /* the answer repeats the key */
#define OFF 128u              /* known, and refused like an unknown one */

struct opcode {
    uint8_t verb;
    uint8_t flags;
    uint8_t extras_bytes;
};

static const struct opcode opcodes[] = {
    [0x00] = {VERB_GET, KNOWN | KEY, 0},
    [0x01] = {VERB_SET, KNOWN | KEY | VALUE, 8},
    [0x02] = {VERB_ADD, KNOWN | KEY | VALUE, 8},
    [0x03] = {VERB_REPLACE, KNOWN | KEY | VALUE, 8},
    [0x04] = {VERB_DELETE, KNOWN | KEY, 0},
    [0x05] = {VERB_INCR, KNOWN | KEY, 20},
    [0x06] = {VERB_DECR, KNOWN | KEY, 20},
    [0x07] = {VERB_QUIT, KNOWN, 0},
    [0x08] = {VERB_FLUSH_ALL, KNOWN | EXTRAS_MAY, 4},
    [0x09] = {VERB_GET, KNOWN | KEY | QUIET, 0},
    [0x0a] = {VERB_MN, KNOWN, 0},
    [0x0b] = {VERB_VERSION, KNOWN, 0},
    [0x0c] = {VERB_GET, KNOWN | KEY | WITH_KEY, 0},
    [0x0d] = {VERB_GET, KNOWN | KEY | WITH_KEY | QUIET, 0},
    [0x0e] = {VERB_APPEND, KNOWN | KEY | VALUE, 0},
    [0x0f] = {VERB_PREPEND, KNOWN | KEY | VALUE, 0},
    [0x10] = {VERB_STATS, KNOWN | KEY_MAY, 0},
    [0x11] = {VERB_SET, KNOWN | KEY | VALUE | QUIET, 8},
    [0x12] = {VERB_ADD, KNOWN | KEY | VALUE | QUIET, 8},
    [0x13] = {VERB_REPLACE, KNOWN | KEY | VALUE | QUIET, 8},
    [0x14] = {VERB_DELETE, KNOWN | KEY | QUIET, 0},
    [0x15] = {VERB_INCR, KNOWN | KEY | QUIET, 20},
    [0x16] = {VERB_DECR, KNOWN | KEY | QUIET, 20},
    [0x17] = {VERB_QUIT, KNOWN | QUIET, 0},
    [0x18] = {VERB_FLUSH_ALL, KNOWN | EXTRAS_MAY | QUIET, 4},
    [0x19] = {VERB_APPEND, KNOWN | KEY | VALUE | QUIET, 0},
    [0x1a] = {VERB_PREPEND, KNOWN | KEY | VALUE | QUIET, 0},
    [0x1c] = {VERB_TOUCH, KNOWN | KEY, 4},
    [0x1d] = {VERB_GAT, KNOWN | KEY, 4},
    [0x1e] = {VERB_GAT, KNOWN | KEY | QUIET, 4},
    [0x20] = {VERB_BAD, KNOWN | OFF, 0},                      /* SASL: list, start, go on */
    [0x21] = {VERB_BAD, KNOWN | OFF | KEY | VALUE, 0},
    [0x22] = {VERB_BAD, KNOWN | OFF | KEY | VALUE, 0},
    [0x23] = {VERB_GAT, KNOWN | KEY | WITH_KEY, 4},
    [0x24] = {VERB_GAT, KNOWN | KEY | WITH_KEY | QUIET, 4},
};

struct header {
    struct opcode rule;
    uint32_t extras_bytes, key_bytes, body_bytes;
};

static struct header
header_read(const char *in)
{
    const uint8_t opcode = (uint8_t)in[AT_OPCODE];
    struct header h = {
        .extras_bytes = (uint8_t)in[AT_EXTRAS_BYTES],
        .key_bytes = get_u16(in + AT_KEY_BYTES),
        .body_bytes = get_u32(in + AT_BODY_BYTES),
    };
    if (opcode < sizeof opcodes / sizeof opcodes[0])
        h.rule = opcodes[opcode];
    return h;
}

/* Has a packet of a known opcode the parts that belong to it? */
static bool
parts_are_right(const struct header *h)
{
    unsigned flags = h->rule.flags;
    if (h->extras_bytes != h->rule.extras_bytes && !(flags & EXTRAS_MAY && h->extras_bytes == 0))
        return false;
    if (h->key_bytes == 0 ? flags & KEY : !(flags & (KEY | KEY_MAY)))
        return false;
    return flags & VALUE || h->body_bytes == h->extras_bytes + h->key_bytes;
}

/* BINARY_OK, or why it is refused; *out_hang_up: and what follows is not looked at. */
static enum binary_status
header_judge(const struct header *h, bool *out_hang_up)
{
    *out_hang_up = true;
    if (h->extras_bytes + h->key_bytes > h->body_bytes)
        return BINARY_UNKNOWN_COMMAND;
    if (h->key_bytes > PROTO_KEY_BYTES_MAX || h->body_bytes > PROTO_BINARY_BODY_BYTES_MAX)
        return BINARY_INVALID;
    if (h->rule.flags & KNOWN && !parts_are_right(h))
        return BINARY_INVALID;
    *out_hang_up = false;
    return h->rule.flags & KNOWN && !(h->rule.flags & OFF) ? BINARY_OK : BINARY_UNKNOWN_COMMAND;
}

/* All but the room for a key, which is written by nobody here. */
static void
request_start(struct request *req, enum verb verb)
{
    memset(req, 0, offsetof(struct request, more.key_room));
    req->verb = verb;
    req->dialect = DIALECT_BINARY;
    req->line_bytes = PROTO_BINARY_HEADER_BYTES;
}

_Static_assert(offsetof(struct request, more.key_room) + PROTO_KEY_BYTES_MAX + 8 >
                   sizeof(struct request),
               "request_start sets all: key_room is the last field");

/* What comes back in the answer. */
static void
read_identity(struct request *req, const char *in)
{
    req->more.opcode = (uint8_t)in[AT_OPCODE];
    memcpy(&req->more.opaque, in + AT_OPAQUE, sizeof req->more.opaque);
}

static void
refuse(struct request *req, const char *in, const struct header *h, enum binary_status status,
       bool hang_up)
{
    request_start(req, VERB_BAD);
    read_identity(req, in);
    req->more.status = (uint8_t)status;
    req->more.hang_up = hang_up;
    req->swallow_bytes = hang_up ? 0 : h->body_bytes;
}

/* A time is sent as 32 bits without a sign: see proto_exptime(). */
static void
read_extras(struct request *req, const char *extras, uint32_t extras_bytes)
{
    switch (extras_bytes) {
    case 4:
        req->exptime = (int32_t)get_u32(extras);
        req->has_number = true;
        break;
    case 8:
        req->client_flags = get_u32(extras);
        req->exptime = (int32_t)get_u32(extras + 4);
        break;
    case 20:
        req->number = get_u64(extras);
        req->more.initial = get_u64(extras + 8);
        req->exptime = (int32_t)get_u32(extras + 16);
        break;
    default:
        break;
    }
}

static void
read_cas(struct request *req, const char *in)
{
    req->more.cas = get_u64(in + AT_CAS);
    req->more.has_cas = req->more.cas != 0;
    bool stores = req->verb == VERB_SET || req->verb == VERB_ADD || req->verb == VERB_REPLACE;
    if (req->more.has_cas && stores) {
        req->verb = VERB_CAS;
        req->number = req->more.cas;
    }
}

enum parse
proto_parse_binary(const char *in, size_t len, struct request *req, size_t *used)
{
    *used = 0;
    if (len > 0 && (uint8_t)in[0] != PROTO_BINARY_MAGIC) {
        request_start(req, VERB_BAD);
        return PARSE_BAD;
    }
    if (len < PROTO_BINARY_HEADER_BYTES)
        return PARSE_MORE;
    const struct header h = header_read(in);
    bool hang_up;
    enum binary_status status = header_judge(&h, &hang_up);
    if (status != BINARY_OK) {
        refuse(req, in, &h, status, hang_up);
        *used = PROTO_BINARY_HEADER_BYTES;
        return PARSE_DONE;
    }
    const size_t line_bytes = PROTO_BINARY_HEADER_BYTES + h.extras_bytes + h.key_bytes;
    if (len < line_bytes)
        return PARSE_MORE;
    const char *extras = in + PROTO_BINARY_HEADER_BYTES;
    const struct slice key = {extras + h.extras_bytes, h.key_bytes};
    request_start(req, h.rule.verb);
    req->more.verb_plain = req->verb;
    read_identity(req, in);
    req->line_bytes = line_bytes;
    if (req->verb == VERB_STATS) {
        req->args = key;
    } else if (key.len > 0) {
        req->key = key;
        req->key_count = 1;
    }
    req->noreply = h.rule.flags & QUIET;
    req->more.with_key = h.rule.flags & WITH_KEY;
    read_extras(req, extras, h.extras_bytes);
    read_cas(req, in);
    *used = line_bytes;
    if (!verb_is_store(req->verb))
        return PARSE_DONE;
    req->value_bytes = h.body_bytes - h.extras_bytes - h.key_bytes;
    if (len - line_bytes < req->value_bytes)
        return PARSE_BODY;
    req->value = in + line_bytes;
    *used += req->value_bytes;
    return PARSE_DONE;
}

/* ---- responses ------------------------------------------------------------------------------- */

size_t
proto_put_response(char *at, const struct request *req, const struct binary_response *head)
{
    memset(at, 0, PROTO_BINARY_HEADER_BYTES);
    at[0] = (char)MAGIC_RESPONSE;
    at[AT_OPCODE] = (char)req->more.opcode;
    put_u16(at + AT_KEY_BYTES, head->key_bytes);
    at[AT_EXTRAS_BYTES] = (char)head->extras_bytes;
    put_u16(at + AT_STATUS, (uint16_t)head->status);
    proto_put_u32(at + AT_BODY_BYTES, head->extras_bytes + head->key_bytes + head->value_bytes);
    memcpy(at + AT_OPAQUE, &req->more.opaque, sizeof req->more.opaque);
    proto_put_u64(at + AT_CAS, head->cas);
    return PROTO_BINARY_HEADER_BYTES;
}

static struct slice
status_text(enum binary_status status)
{
    switch (status) {
    case BINARY_OK:
        break;
    case BINARY_NOT_FOUND:
        return SLICE("Not found");
    case BINARY_EXISTS:
        return SLICE("Data exists for key.");
    case BINARY_TOO_LARGE:
        return SLICE("Too large.");
    case BINARY_INVALID:
        return SLICE("Invalid arguments");
    case BINARY_NOT_STORED:
        return SLICE("Not stored.");
    case BINARY_NON_NUMERIC:
        return SLICE("Non-numeric server-side value for incr or decr");
    case BINARY_AUTH_FAILURE:
        return SLICE("Auth failure.");
    case BINARY_UNKNOWN_COMMAND:
        return SLICE("Unknown command");
    case BINARY_NO_MEMORY:
        return SLICE("Out of memory");
    }
    return (struct slice){0};
}

size_t
proto_put_error(char *at, const struct request *req, enum binary_status status, struct slice text)
{
    if (text.len == 0)
        text = status_text(status);
    CHECK(PROTO_BINARY_HEADER_BYTES + text.len <= PROTO_BINARY_ERROR_MAX);
    struct binary_response head = {.status = status, .value_bytes = (uint32_t)text.len};
    size_t n = proto_put_response(at, req, &head);
    if (text.len > 0)
        memcpy(at + n, text.at, text.len);
    return n + text.len;
}
