/*
 * opt_sub.c -- the list of -o, and those of its suboptions that are one of a kind.
 *
 * The list is split as getsubopt(3) splits it: at commas only, a value after the first '=', an
 * empty element is an unknown suboption, an empty rest is none.  getsubopt() itself is not used
 * because it needs a second list of names and cannot say where a name ends.
 */
#include <string.h>

#include "base/check.h"
#include "options.h"

/* Row of name, without or with no_ before it; p->negated says which. */
static int
find(struct options_parse *p, const char *name, size_t len)
{
    int row = options_find_sub(name, len);

    p->negated = false;
    if (row >= 0 || len < 3 || memcmp(name, "no_", 3) != 0)
        return row;
    row = options_find_sub(name + 3, len - 3);
    p->negated = true;
    return row >= 0 && options_rows[row].negatable ? row : -1;
}

static enum settings_verdict
take_element(struct options_parse *p, char *element)
{
    size_t len = strcspn(element, "=");
    const char *value = element[len] ? element + len + 1 : NULL;
    int at = find(p, element, len);

    if (at < 0)
        return options_refuse(p, SETTINGS_BAD_OPTION, "Illegal suboption \"%s\"", element);
    const struct option_row *row = &options_rows[at];
    if (row->arg && !row->arg_optional && !value) {
        if (row->missing)
            return options_refuse(p, SETTINGS_BAD_OPTION, "%s", row->missing);
        return options_refuse(p, SETTINGS_BAD_OPTION, "Missing %s argument", row->sub);
    }
    return options_take(p, (unsigned)at, value);
}

enum settings_verdict
opt_take_extended(struct options_parse *p, const struct option_row *row, const char *arg)
{
    char *at = options_keep(p->settings, arg);
    enum settings_verdict verdict = SETTINGS_RUN;

    (void)row;
    if (!at)
        return options_refuse(p, SETTINGS_BAD_OPTION, "Failed to allocate memory");
    while (*at && verdict == SETTINGS_RUN) {
        size_t len = strcspn(at, ",");
        char *next = at + len + (at[len] == ',');
        at[len] = '\0';
        verdict = take_element(p, at);
        at = next;
    }
    p->negated = false;
    return verdict;
}

enum settings_verdict
opt_take_hash_power(struct options_parse *p, const struct option_row *row, const char *arg)
{
    int power = opt_read_number(p, row, arg);

    if (power < 12)
        return options_refuse(p, SETTINGS_BAD_OPTION,
                              "Initial hashtable multiplier of %d is too low", power);
    if (power > 32)
        return options_refuse(p, SETTINGS_BAD_OPTION,
                              "Initial hashtable multiplier of %d is too high\n"
                              "Choose a value based on \"STAT hash_power_level\" from a running "
                              "instance",
                              power);
    *(int *)option_field(p->settings, row) = power;
    return SETTINGS_RUN;
}

/* no_slab_automove is 0, and slab_automove without a value is 1. */
enum settings_verdict
opt_take_automove(struct options_parse *p, const struct option_row *row, const char *arg)
{
    return opt_take_int(p, row, p->negated ? "0" : arg ? arg : "1");
}

enum settings_verdict
opt_take_hash_algorithm(struct options_parse *p, const struct option_row *row, const char *arg)
{
    static const char *const names[] = {"jenkins", "murmur3", "xxh3"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(arg, names[i]) == 0)
            return opt_take_text(p, row, names[i]);
    }
    return options_refuse(p, SETTINGS_BAD_OPTION, "%s", row->complaint);
}

enum settings_verdict
opt_take_maintainer(struct options_parse *p, const struct option_row *row, const char *arg)
{
    p->settings->untuned.segmented = !p->negated;
    return opt_take_on(p, row, arg);
}

/* modern changes nothing; no_modern brings back what was usual in 1.4. */
enum settings_verdict
opt_take_modern(struct options_parse *p, const struct option_row *row, const char *arg)
{
    struct settings *s = p->settings;

    (void)row;
    (void)arg;
    if (!p->negated)
        return SETTINGS_RUN;
    if (!opt_given_sub(p, "slab_chunk_max"))
        s->untuned.slab_chunk_bytes_max = OPTION_SLAB_PAGE_BYTES;
    s->untuned.slab_reassign = false;
    s->untuned.automove = 0;
    s->untuned.hash_algorithm = "jenkins";
    s->untuned.crawler = false;
    s->untuned.maintainer = false;
    s->untuned.segmented = false;
    s->conns_refuse = false;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_no_chunked(struct options_parse *p, const struct option_row *row, const char *arg)
{
    (void)row;
    (void)arg;
    p->settings->untuned.slab_chunk_bytes_max = OPTION_SLAB_PAGE_BYTES;
    return SETTINGS_RUN;
}

/* memcached divides by it before it has looked at it; 0 is refused here. */
enum settings_verdict
opt_take_slab_chunk(struct options_parse *p, const struct option_row *row, const char *arg)
{
    uint32_t n;

    if (!opt_number_strict(arg, &n) || n == 0)
        return options_refuse(p, SETTINGS_BAD_OPTION, "could not parse argument to %s", row->sub);
    return opt_take_bytes(p, row, arg);
}

enum settings_verdict
opt_take_deprecated(struct options_parse *p, const struct option_row *row, const char *arg)
{
    (void)arg;
    fprintf(p->err, "DEPRECATED: %s no longer used. See read_buf_mem_limit,\n", row->sub);
    return SETTINGS_RUN;
}

/* A number is read strictly, then looked up: two messages. */
enum settings_verdict
opt_take_ssl_level(struct options_parse *p, const struct option_row *row, const char *arg)
{
    const char *digits = arg[0] == '-' ? arg + 1 : arg;
    uint32_t magnitude;

    if (!opt_number_strict(digits, &magnitude))
        return options_refuse(p, SETTINGS_BAD_OPTION, "could not parse argument to %s", row->sub);
    int level = opt_number(arg);
    if (level < row->least || level > row->most)
        return options_refuse(p, SETTINGS_BAD_OPTION, "%s", row->complaint);
    *(int *)option_field(p->settings, row) = level;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_ext_page(struct options_parse *p, const struct option_row *row, const char *arg)
{
    if (p->settings->later.ext_path)
        return options_refuse(p, SETTINGS_BAD_OPTION,
                              "Must specify ext_page_size before any ext_path arguments");
    return opt_take_bytes(p, row, arg);
}

static bool
is_bucket(const char *name)
{
    static const char *const buckets[] = {"default", "compact",     "lowttl",
                                          "chunked", "coldcompact", "old"};

    for (unsigned i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++) {
        if (strcmp(name, buckets[i]) == 0)
            return true;
    }
    return false;
}

/* FILE:SIZE[:BUCKET] */
enum settings_verdict
opt_take_ext_path(struct options_parse *p, const struct option_row *row, const char *arg)
{
    const char *size = strchr(arg, ':');
    const char *bucket = size ? strchr(size + 1, ':') : NULL;

    if (!arg[0])
        return options_refuse(p, SETTINGS_BAD_OPTION, "failed to parse ext_path argument");
    if (!size || !size[1])
        return options_refuse(p, SETTINGS_BAD_OPTION,
                              "must supply size to ext_path, ie: ext_path=/f/e:64m (M|G|T|P "
                              "supported)\nfailed to parse ext_path argument");
    if (bucket && !is_bucket(bucket + 1))
        return options_refuse(p, SETTINGS_BAD_OPTION,
                              "Unknown extstore bucket: %s\nfailed to parse ext_path argument",
                              bucket + 1);
    *(bool *)option_field(p->settings, row) = true;
    return SETTINGS_RUN;
}
