/*
 * opt_check.c -- what options must not contradict, and what is said about those that were given.
 *
 * The checks run in memcached's order, so that a command line with several mistakes is refused for
 * the same one.  Then come the features that do not exist yet: a command line that memcached would
 * refuse is refused as there, one that it would accept is never half obeyed.
 */
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "options.h"

#define ITEM_BYTES_LEAST ((size_t)1 << 10)
#define ITEM_BYTES_MOST ((size_t)1 << 30)
#define SLAB_ALIGN_BYTES 8
#define SLAB_CLASSES_MAX 63
#define PORT_MAX 65535

typedef enum settings_verdict check_step(struct options_parse *p);

bool
opt_given(const struct options_parse *p, char letter)
{
    return p->given[options_row_of_letter(letter)] != OPTION_ABSENT;
}

bool
opt_given_sub(const struct options_parse *p, const char *sub)
{
    return p->given[options_row_of_sub(sub)] != OPTION_ABSENT;
}

#define USAGE(p, ...) options_refuse(p, SETTINGS_BAD_USAGE, __VA_ARGS__)

static enum settings_verdict
check_napi_ids(struct options_parse *p)
{
    int ids = p->settings->untuned.napi_ids, threads = (int)p->settings->threads;

    if (ids > threads)
        return USAGE(p, "Number of napi_ids(%d) cannot be greater than number of threads(%d)",
                     ids, threads);
    return SETTINGS_RUN;
}

static enum settings_verdict
check_item_size(struct options_parse *p)
{
    const struct settings *s = p->settings;

    if (s->item_bytes_max < ITEM_BYTES_LEAST)
        return USAGE(p, "Item max size cannot be less than 1024 bytes."
                        " (-I is %zu bytes; its units are k and m)", s->item_bytes_max);
    if (s->item_bytes_max > s->memory_bytes / 2)
        return USAGE(p, "Cannot set item size limit higher than 1/2 of memory max."
                        " (-m is %zu MB, -I is %zu bytes)",
                     s->memory_bytes >> 20, s->item_bytes_max);
    if (s->item_bytes_max > ITEM_BYTES_MOST)
        return USAGE(p, "Cannot set item size limit higher than a gigabyte.");
    return SETTINGS_RUN;
}

/* It has no effect here, so nobody who has not asked for it need know it. */
static enum settings_verdict
check_slab_chunk(struct options_parse *p)
{
    struct settings *s = p->settings;
    size_t item = s->item_bytes_max;

    if (item > OPTION_SLAB_PAGE_BYTES && !opt_given_sub(p, "slab_chunk_max"))
        s->untuned.slab_chunk_bytes_max = OPTION_SLAB_PAGE_BYTES / 2;
    if (!opt_given_sub(p, "slab_chunk_max"))
        return SETTINGS_RUN;
    size_t chunk = s->untuned.slab_chunk_bytes_max;
    if (chunk > item)
        return USAGE(p, "slab_chunk_max (bytes: %zu) cannot be larger than -I (item_size_max %zu)",
                     chunk, item);
    if (item % chunk != 0)
        return USAGE(p, "-I (item_size_max: %zu) must be evenly divisible by slab_chunk_max "
                        "(bytes: %zu)", item, chunk);
    if (OPTION_SLAB_PAGE_BYTES % chunk != 0)
        return USAGE(p, "slab_chunk_max (bytes: %zu) must divide evenly into %zu (slab_page_size)",
                     chunk, OPTION_SLAB_PAGE_BYTES);
    return SETTINGS_RUN;
}

static enum settings_verdict
check_flash(struct options_parse *p)
{
    const struct settings *s = p->settings;

    if (!s->later.ext_path)
        return SETTINGS_RUN;
    if (s->item_bytes_max > s->later.ext_wbuf_bytes)
        return USAGE(p, "-I (item_size_max: %zu) cannot be larger than ext_wbuf_size: %zu",
                     s->item_bytes_max, s->later.ext_wbuf_bytes);
    if (s->udp_port)
        return USAGE(p, "Cannot use UDP with extstore enabled (-U 0 to disable)");
    return SETTINGS_RUN;
}

/* A-B-...: growing by more than the alignment, between -n and slab_chunk_max. */
static enum settings_verdict
check_slab_sizes(struct options_parse *p)
{
    const struct settings_untuned *u = &p->settings->untuned;
    const char *at = u->slab_sizes;
    uint32_t last = 0;
    unsigned count = 0;

    if (at && !*at)
        return USAGE(p, "Missing slab_sizes argument");
    for (; at && *at; at += strcspn(at, "-"), at += strspn(at, "-")) {
        char *end;
        long n = strtol(at, &end, 10);
        uint32_t size = end > at && (!*end || *end == '-') && n > 0 && n < UINT32_MAX ? (uint32_t)n
                                                                                     : 0;
        if ((int64_t)size < u->chunk_bytes_min || size > u->slab_chunk_bytes_max)
            return USAGE(p, "slab size %u is out of valid range", size);
        if (last >= size)
            return USAGE(p, "slab size %u cannot be lower than or equal to a previous class size",
                         size);
        if (size <= last + SLAB_ALIGN_BYTES)
            return USAGE(p, "slab size %u must be at least %d bytes larger than previous class",
                         size, SLAB_ALIGN_BYTES);
        last = size;
        if (++count >= SLAB_CLASSES_MAX)
            return USAGE(p, "too many slab classes specified");
    }
    return SETTINGS_RUN;
}

static enum settings_verdict
check_lru(struct options_parse *p)
{
    struct settings_untuned *u = &p->settings->untuned;

    if (u->hot_pct + u->warm_pct > 80)
        return USAGE(p, "hot_lru_pct + warm_lru_pct cannot be more than 80%% combined");
    u->temporary = opt_given_sub(p, "temporary_ttl");
    if (u->temporary && !u->maintainer)
        return USAGE(p, "temporary_ttl requires lru_maintainer to be enabled");
    return SETTINGS_RUN;
}

/* -S speaks binary only, -Y text only; neither goes with UDP. */
static enum settings_verdict
check_authentication(struct options_parse *p)
{
    struct settings *s = p->settings;

    if (s->later.sasl) {
        if (!opt_given(p, 'B'))
            s->protocol = SETTINGS_BINARY;
        if (s->protocol != SETTINGS_BINARY)
            return USAGE(p, "ERROR: You cannot allow the ASCII protocol while using SASL.");
        if (s->udp_port)
            return USAGE(p, "ERROR: Cannot enable UDP while using binary SASL authentication.");
    }
    if (s->later.auth_path) {
        if (!opt_given(p, 'B'))
            s->protocol = SETTINGS_ASCII;
        if (s->protocol != SETTINGS_ASCII)
            return USAGE(p, "ERROR: You cannot allow the BINARY protocol while using ascii "
                            "authentication tokens.");
        if (s->udp_port)
            return USAGE(p, "Cannot use UDP with ascii authentication enabled (-U 0 to disable)");
    }
    return SETTINGS_RUN;
}

static enum settings_verdict
check_ports(struct options_parse *p)
{
    struct settings *s = p->settings;

    if (opt_given(p, 'U') && s->udp_port != 0 && !opt_given(p, 'p'))
        s->tcp_port = s->udp_port;
    if (s->tcp_port > PORT_MAX || s->tcp_port < -1)
        return USAGE(p, "ERROR: Invalid port number %d.", s->tcp_port);
    if (s->later.tls && s->tcp_port == 0)
        return USAGE(p, "ERROR: You cannot enable SSL without a TCP port.");
    return SETTINGS_RUN;
}

/* The name as it was typed, without dashes where it is a suboption. */
static void
print_name(FILE *out, const struct option_row *row, enum option_given given)
{
    if (row->letter)
        fprintf(out, "-%c", row->letter);
    else
        fprintf(out, "%s%s", given == OPTION_NEGATED ? "no_" : "", row->sub);
}

static enum settings_verdict
refuse_later(struct options_parse *p, const char *prefix, const char *name, const char *feature)
{
    return options_refuse(p, SETTINGS_BAD_OPTION,
                          OPTIONS_PROGRAM ": %s%s: %s does not exist in " OPTIONS_PROGRAM
                                          " " LARDER_VERSION " yet; start without it",
                          prefix, name, feature);
}

static enum settings_verdict
check_later(struct options_parse *p)
{
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        if (row->class != OPTION_LATER || p->given[i] == OPTION_ABSENT)
            continue;
        if (row->letter == 'U' && p->settings->udp_port == 0)
            continue;
        char letter[3] = {'-', row->letter, '\0'};
        return row->letter ? refuse_later(p, "", letter, row->feature)
                           : refuse_later(p, "-o ", row->sub, row->feature);
    }
    return SETTINGS_RUN;
}

enum settings_verdict
opt_check(struct options_parse *p)
{
    static check_step *const steps[] = {
        check_napi_ids, check_item_size,      check_slab_chunk, check_flash, check_slab_sizes,
        check_lru,      check_authentication, check_ports,      check_later, opt_listen_parse,
    };

    p->settings->detail_enabled = opt_given(p, 'D');
    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (steps[i](p) == SETTINGS_EXIT)
            return SETTINGS_EXIT;
    }
    return SETTINGS_RUN;
}

/* Rows of the one kind that were given and do nothing: "-f, -n" or "-o slab_reassign,hashpower". */
static unsigned
print_untuned(struct options_parse *p, bool main_options, const char *before_first)
{
    unsigned count = 0;

    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        if (row->class != OPTION_NO_EFFECT || p->given[i] == OPTION_ABSENT ||
            options_is_main(row) != main_options)
            continue;
        fputs(count++ ? main_options ? ", " : "," : before_first, p->err);
        print_name(p->err, row, p->given[i]);
    }
    return count;
}

/* memcached's atoi() would have taken the same without a word. */
static void
print_rests(struct options_parse *p)
{
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        const struct option_rest *rest = &p->rest[i];
        bool unit = row->unit && strchr(row->unit, ' ') == NULL;
        if (!rest->arg)
            continue;
        fputs(OPTIONS_PROGRAM ": notice: ", p->err);
        fputs(row->letter ? "" : "-o ", p->err);
        print_name(p->err, row, p->given[i]);
        fprintf(p->err, "%c%s: read as %s%s%s%s\n", row->letter ? ' ' : '=', rest->arg,
                rest->read_as, unit ? " (" : "", unit ? row->unit : "", unit ? ")" : "");
    }
}

#define UNTUNED_NOTICE OPTIONS_PROGRAM ": notice: accepted, nothing to tune here: "

void
opt_notice(struct options_parse *p)
{
    unsigned count = print_untuned(p, true, UNTUNED_NOTICE);

    count += print_untuned(p, false, count ? ", -o " : UNTUNED_NOTICE "-o ");
    if (count)
        fputc('\n', p->err);
    print_rests(p);
    if (settings_listen_everywhere(p->settings))
        fprintf(p->err, OPTIONS_PROGRAM ": notice: listening on all interfaces without "
                                        "authentication; -l 127.0.0.1 keeps others out\n");
}
