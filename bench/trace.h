/*
 * trace.h -- the format of a trace, read and written.
 *
 * All integers are little-endian, nothing is padded.
 *
 *     header, 32 bytes
 *        0  char[8]  magic "MCTRACE1"
 *        8  u64      number of records
 *       16  u64      number of distinct key ids; ids are dense, 0 .. keys-1
 *       24  u32      flags: bit 0 = all values are decimal numbers (the trace has incr)
 *       28  u32      reserved, 0
 *     then one record of 24 bytes per request
 *        0  u64      key id
 *        8  u32      virtual time, seconds since the start of the trace
 *       12  u32      value length, bytes (size of the object stored on a miss or set)
 *       16  u32      TTL, seconds; 0 = never expires
 *       20  u8       op: 0 get, 1 set, 2 delete, 3 incr
 *       21  u8       key length, bytes (1..250)
 *       22  u16      reserved, 0
 *
 * Meaning (cache-aside): a get that misses is followed by a set of that
 * record's size and TTL; set stores; delete deletes; incr is a
 * read-modify-write which on a miss stores a number.
 *
 * Include it after common.h.
 */
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#define TRACE_MAGIC         "MCTRACE1"
#define TRACE_HEADER_BYTES  32
#define TRACE_RECORD_BYTES  24
#define TRACE_BUFFER_BYTES  (TRACE_RECORD_BYTES * 4096)
#define TRACE_FLAG_NUMERIC  1u
#define TRACE_NUMBER_DIGITS 18 /* a number of 18 digits, and a few incr more, fits 62 bits */
#define TRACE_KEY_BYTES_MAX 250

enum trace_op { TRACE_GET, TRACE_SET, TRACE_DELETE, TRACE_INCR, TRACE_OP_COUNT };

struct trace_record {
    uint64_t key;
    uint32_t time_s;
    uint32_t value_bytes;
    uint32_t ttl_s;
    uint8_t op;
    uint8_t key_bytes;
};

struct trace_header {
    uint64_t record_count;
    uint64_t key_count;
    uint32_t flags;
};

/* A trace being read: the file and a window of it. */
struct trace_reader {
    FILE *file;
    const char *path;
    struct trace_header header;
    size_t used, filled;
    unsigned char window[TRACE_BUFFER_BYTES];
};

static inline void
trace_put(unsigned char *to, uint64_t number, unsigned byte_count)
{
    for (unsigned i = 0; i < byte_count; i++)
        to[i] = (unsigned char)(number >> 8 * i);
}

static inline uint64_t
trace_get(const unsigned char *from, unsigned byte_count)
{
    uint64_t number = 0;

    for (unsigned i = byte_count; i-- > 0;)
        number = number << 8 | from[i];
    return number;
}

static inline void
trace_header_encode(unsigned char to[TRACE_HEADER_BYTES], const struct trace_header *header)
{
    memcpy(to, TRACE_MAGIC, 8);
    trace_put(to + 8, header->record_count, 8);
    trace_put(to + 16, header->key_count, 8);
    trace_put(to + 24, header->flags, 4);
    trace_put(to + 28, 0, 4);
}

static inline void
trace_record_encode(unsigned char to[TRACE_RECORD_BYTES], const struct trace_record *record)
{
    trace_put(to, record->key, 8);
    trace_put(to + 8, record->time_s, 4);
    trace_put(to + 12, record->value_bytes, 4);
    trace_put(to + 16, record->ttl_s, 4);
    to[20] = record->op;
    to[21] = record->key_bytes;
    trace_put(to + 22, 0, 2);
}

/* Reads the header of a trace; ends the process when it is none.  path is for messages. */
static inline void
trace_begin(struct trace_reader *reader, FILE *file, const char *path)
{
    unsigned char head[TRACE_HEADER_BYTES];

    reader->path = path;
    reader->file = file;
    reader->used = reader->filled = 0;
    size_t got = fread(head, 1, sizeof head, reader->file);
    if (ferror(reader->file))
        die("%s: %s", path, strerror(errno));    /* a directory can be opened, but not read */
    if (got != sizeof head || memcmp(head, TRACE_MAGIC, 8))
        die("%s: not an " TRACE_MAGIC " trace", path);
    reader->header.record_count = trace_get(head + 8, 8);
    reader->header.key_count = trace_get(head + 16, 8);
    reader->header.flags = (uint32_t)trace_get(head + 24, 4);
}

/* Opens a trace and reads its header. */
static inline void
trace_open(struct trace_reader *reader, const char *path)
{
    FILE *file = fopen(path, "rb");

    if (!file)
        die("%s: %s", path, strerror(errno));
    trace_begin(reader, file, path);
}

/* The next record; false at the end of the file. */
static inline bool
trace_next(struct trace_reader *reader, struct trace_record *out_record)
{
    const unsigned char *at;

    if (reader->used == reader->filled) {
        size_t got = fread(reader->window, 1, sizeof reader->window, reader->file);

        reader->filled = got - got % TRACE_RECORD_BYTES;
        reader->used = 0;
        if (!reader->filled)
            return false;
    }
    at = reader->window + reader->used;
    reader->used += TRACE_RECORD_BYTES;
    *out_record = (struct trace_record){.key = trace_get(at, 8),
                                        .time_s = (uint32_t)trace_get(at + 8, 4),
                                        .value_bytes = (uint32_t)trace_get(at + 12, 4),
                                        .ttl_s = (uint32_t)trace_get(at + 16, 4),
                                        .op = at[20],
                                        .key_bytes = at[21]};
    if (out_record->key >= reader->header.key_count || out_record->op >= TRACE_OP_COUNT ||
        out_record->key_bytes < 1 || out_record->key_bytes > TRACE_KEY_BYTES_MAX)
        die("%s: a record makes no sense (key %" PRIu64 ", op %u, key length %u)", reader->path,
            out_record->key, out_record->op, out_record->key_bytes);
    return true;
}

static inline void
trace_close(struct trace_reader *reader)
{
    fclose(reader->file);
}

#endif
