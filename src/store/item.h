/*
 * item.h -- how an entry lies in a segment.
 *
 *   byte  0  value length 20 | key length 8 | kind 4        key length 0: a piece of a large value
 *         4  expiry, seconds on the store's clock, 29, 0 = never | stale, token, key binary
 *         8  last access, seconds, 24 | frequency 2 | fetched 1
 *        12  [CAS, 8]            where ITEM_CAS
 *            [client flags, 4]   where ITEM_FLAGS
 *            key, value          no terminators
 *            padding to a multiple of 4
 *
 * The value of an entry in pieces (ITEM_PIECES) is a struct item_pieces; a piece's value begins
 * with a struct item_piece_id in place of a key.
 *
 * Key, kind, client flags and length in words never change while an item lies in a segment.  The
 * expiry, the marks beside it and the CAS change under the group's lock.  The word of the last
 * access is stored by anybody who finds the item, plainly: of two at once one is lost, and a value
 * that takes this one's place in that moment may be taken for one that was looked at.  Where the
 * whole item is at most STORE_SMALL_BYTES_MAX long, the value changes under the lock too, and its
 * length within the same number of words; longer values never change and are read where they lie.
 *
 * So what may change is read by word_read() and words_read(), here and everywhere.
 */
#ifndef STORE_ITEM_H
#define STORE_ITEM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "store.h"
#include "words.h"

enum {
    ITEM_FLAGS = 1,
    ITEM_CAS = 2,
    ITEM_PIECES = 4,
    ITEM_PIECE = 8
};

#define ITEM_HEADER_BYTES 12u
#define ITEM_VALUE_BYTES_MAX ((1u << 20) - 1)
#define ITEM_EXPIRY_BITS 29
#define ITEM_MARKS_HELD (STORE_MARK_STALE | STORE_MARK_TOKEN | STORE_MARK_KEY_BINARY)
#define ITEM_ACCESS_BITS 24
#define ITEM_FREQUENCY_MAX 3u
#define ITEM_FETCHED_SHIFT 26

struct item {
    uint32_t lengths;
    uint32_t expiry;                   /* and the marks that change under the lock */
    uint32_t access;                   /* and what finding it adds */
    char rest[];
};
_Static_assert(sizeof(struct item) == ITEM_HEADER_BYTES, "the header has three words");

struct item_pieces {
    uint64_t serial;
    uint64_t value_bytes;
};

struct item_piece_id {
    uint64_t serial;
    uint32_t number;
};
#define PIECE_ID_BYTES 12u

static inline uint32_t
lengths_kind(uint32_t lengths)
{
    return lengths & 15;
}

static inline uint32_t
lengths_key_bytes(uint32_t lengths)
{
    return lengths >> 4 & 255;
}

static inline uint32_t
lengths_value_bytes(uint32_t lengths)
{
    return lengths >> 12;
}

static inline uint32_t
item_kind(const struct item *it)
{
    return lengths_kind(word_read(&it->lengths));
}

static inline uint32_t
item_key_bytes(const struct item *it)
{
    return lengths_key_bytes(word_read(&it->lengths));
}

static inline uint32_t
item_value_bytes(const struct item *it)
{
    return lengths_value_bytes(word_read(&it->lengths));
}

_Static_assert(STORE_EXPIRY_MAX == (1u << ITEM_EXPIRY_BITS) - 1 &&
                   ITEM_MARKS_HELD == 7u << 1 && STORE_MARK_FETCHED == 1,
               "marks and expiry share a word");
_Static_assert(STORE_ACCESS_MASK == (1u << ITEM_ACCESS_BITS) - 1, "the access shares one too");

static inline uint32_t
expiry_make(uint32_t expiry, uint32_t marks)
{
    return (expiry < STORE_EXPIRY_MAX ? expiry : STORE_EXPIRY_MAX) |
           (marks & ITEM_MARKS_HELD) >> 1 << ITEM_EXPIRY_BITS;
}

static inline uint32_t
access_make(uint32_t now, unsigned frequency, bool fetched)
{
    return (now & STORE_ACCESS_MASK) | frequency << ITEM_ACCESS_BITS |
           (uint32_t)fetched << ITEM_FETCHED_SHIFT;
}

static inline unsigned
access_frequency(uint32_t access)
{
    return access >> ITEM_ACCESS_BITS & ITEM_FREQUENCY_MAX;
}

/* After one more hit. */
static inline unsigned
frequency_next(unsigned frequency)
{
    return frequency < ITEM_FREQUENCY_MAX ? frequency + 1 : frequency;
}

static inline uint32_t
item_expiry(const struct item *it)
{
    return word_read(&it->expiry) & STORE_EXPIRY_MAX;
}

static inline uint32_t
item_access(const struct item *it)
{
    return word_read(&it->access);
}

static inline unsigned
item_frequency(const struct item *it)
{
    return access_frequency(item_access(it));
}

/* All STORE_MARK_... of it. */
static inline uint32_t
item_marks(const struct item *it)
{
    return word_read(&it->expiry) >> ITEM_EXPIRY_BITS << 1 |
           (item_access(it) >> ITEM_FETCHED_SHIFT & STORE_MARK_FETCHED);
}

/* Group held. */
static inline void
item_set_expiry(struct item *it, uint32_t expiry)
{
    word_write(&it->expiry, expiry_make(expiry, item_marks(it)));
}

static inline void
item_change_marks(struct item *it, uint32_t clear, uint32_t set)
{
    word_write(&it->expiry, expiry_make(item_expiry(it), (item_marks(it) & ~clear) | set));
}

static inline uint32_t
item_key_offset(uint32_t kind)
{
    return (kind & ITEM_CAS ? 8u : 0u) + (kind & ITEM_FLAGS ? 4u : 0u);
}

static inline const char *
item_key(const struct item *it)
{
    return it->rest + item_key_offset(item_kind(it));
}

static inline char *
item_value(struct item *it)
{
    uint32_t lengths = word_read(&it->lengths);
    return it->rest + item_key_offset(lengths_kind(lengths)) + lengths_key_bytes(lengths);
}

static inline uint32_t
item_bytes_for(uint32_t kind, uint32_t key_bytes, uint32_t value_bytes)
{
    return (ITEM_HEADER_BYTES + item_key_offset(kind) + key_bytes + value_bytes + 3) & ~3u;
}

static inline uint32_t
lengths_bytes(uint32_t lengths)
{
    return item_bytes_for(lengths_kind(lengths), lengths_key_bytes(lengths),
                          lengths_value_bytes(lengths));
}

static inline uint32_t
item_bytes(const struct item *it)
{
    return lengths_bytes(word_read(&it->lengths));
}

/* Header, CAS and flags: what may change in place in an item of any length. */
static inline uint32_t
item_changing_bytes(const struct item *it)
{
    return ITEM_HEADER_BYTES + item_key_offset(item_kind(it));
}

static inline uint64_t
item_cas(const struct item *it)
{
    uint64_t cas = 0;
    if (item_kind(it) & ITEM_CAS)
        words_read(&cas, it->rest, sizeof cas);
    return cas;
}

static inline void
item_set_cas(struct item *it, uint64_t cas)
{
    if (item_kind(it) & ITEM_CAS)
        words_write(it->rest, &cas, sizeof cas);
}

static inline uint32_t
item_client_flags(const struct item *it)
{
    uint32_t flags = 0;
    if (item_kind(it) & ITEM_FLAGS)
        memcpy(&flags, it->rest + (item_kind(it) & ITEM_CAS ? 8 : 0), sizeof flags);
    return flags;
}

static inline bool
item_is_small(const struct item *it)
{
    return item_bytes(it) <= STORE_SMALL_BYTES_MAX;
}

static inline bool
item_expired(const struct item *it, uint32_t now)
{
    uint32_t expiry = item_expiry(it);
    return expiry != STORE_EXPIRY_NEVER && expiry <= now;
}

static inline struct item_pieces
item_pieces(struct item *it)
{
    struct item_pieces p;
    memcpy(&p, item_value(it), sizeof p);
    return p;
}

static inline struct item_piece_id
item_piece_id(struct item *it)
{
    struct item_piece_id id = {0};
    memcpy(&id, item_value(it), PIECE_ID_BYTES);
    return id;
}

static inline uint64_t
item_piece_hash(struct item_piece_id id, uint64_t seed)
{
    return hash_u64(hash_u64(id.serial ^ seed) + id.number);
}

static inline uint64_t
item_hash(struct item *it, uint64_t seed)
{
    if (item_kind(it) & ITEM_PIECE)
        return item_piece_hash(item_piece_id(it), seed);
    return hash_bytes(item_key(it), item_key_bytes(it), seed);
}

#endif
