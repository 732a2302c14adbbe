/*
 * opt_help.c -- --help, --version and --license.
 *
 * The help fits a tall window of 80 columns: a line for each option that does something, by group,
 * then names only of those that are accepted for memcached's sake and of those that are still
 * missing.  Everything else about them stands in the man page.
 */
#include <string.h>

#include "base/version.h"
#include "options.h"

#define HELP_COLUMN 31
#define HELP_WIDTH 80

static const char *const group_titles[OPTION_GROUPS] = {
    [OPTION_NETWORK] = "Network",
    [OPTION_MEMORY] = "Memory",
    [OPTION_CLIENTS] = "Clients",
    [OPTION_PROCESS] = "Process",
    [OPTION_INFO] = "Information",
};

const char *
options_group_title(unsigned group)
{
    return group_titles[group];
}

/* "[64 MB]", "[on]" or nothing */
static void
print_default(FILE *out, const struct option_row *row)
{
    const char *text = row->initial ? row->initial : row->otherwise;
    bool unit = row->unit && row->initial && strchr(row->unit, ' ') == NULL;

    if (text)
        fprintf(out, " [%s%s%s]", text, unit ? " " : "", unit ? row->unit : "");
}

static void
print_row(FILE *out, const struct option_row *row)
{
    bool argument = row->arg && row->arg[0];
    int used;

    if (row->sub)
        used = fprintf(out, "  %s%s%s%s", row->negatable ? "[no_]" : "", row->sub,
                       argument ? "=" : "", argument ? row->arg : "");
    else if (!row->name)
        used = fprintf(out, "  -%c%s%s", row->letter, argument ? " " : "",
                       argument ? row->arg : "");
    else
        used = fprintf(out, "  -%c, --%s%s%s", row->letter, row->name, argument ? "=" : "",
                       argument ? row->arg : "");
    fprintf(out, "%*s%s", used < HELP_COLUMN ? HELP_COLUMN - used : 1, "", row->help);
    print_default(out, row);
    fputc('\n', out);
}

/* A list of words, folded at the width of the screen. */
struct folder {
    FILE *out;
    int column;
};

static void
print_word(struct folder *f, const char *before, const char *word, int len)
{
    int more = 1 + (int)strlen(before) + len;

    if (f->column + more > HELP_WIDTH) {
        fputs("\n ", f->out);
        f->column = 1;
    }
    fprintf(f->out, " %s%.*s", before, len, word);
    f->column += more;
}

/* Length of "ext_" in ext_path: features to come have whole families of suboptions. */
static int
family(const struct option_row *row)
{
    const char *underscore = row->class == OPTION_LATER && row->sub ? strchr(row->sub, '_') : NULL;

    return underscore ? (int)(underscore - row->sub) + 1 : 0;
}

static void
print_names(FILE *out, const char *title, enum option_class class)
{
    struct folder f = {.out = out, .column = 1};
    const char *last = "";

    fprintf(out, "%s\n ", title);
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        char letter[3] = {'-', row->letter, '\0'};
        if (row->class == class && row->letter)
            print_word(&f, "", letter, 2);
    }
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        int len = family(row);
        if (row->class != class || !row->sub)
            continue;
        if (!len)
            print_word(&f, row->negatable ? "[no_]" : "", row->sub, (int)strlen(row->sub));
        else if (strncmp(last, row->sub, (size_t)len) != 0)
            print_word(&f, "", row->sub, len);
        last = row->sub;
    }
    fputc('\n', out);
}

void
settings_print_help(FILE *out)
{
    fprintf(out, "larderd %s, an in-memory cache that speaks memcached %s\n"
                 "usage: larderd [option ...]\n",
            LARDER_VERSION, LARDER_PROTOCOL_VERSION);
    for (unsigned group = 0; group < OPTION_GROUPS; group++) {
        fprintf(out, "%s\n", group_titles[group]);
        for (unsigned i = 0; i < options_count; i++) {
            const struct option_row *row = &options_rows[i];
            if (options_is_main(row) && row->group == group && row->class == OPTION_WORKS)
                print_row(out, row);
        }
    }
    fputs("In the list of -o\n", out);
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        if (row->sub && row->class == OPTION_WORKS)
            print_row(out, row);
    }
    print_names(out, "Accepted, nothing to tune here (words: in the list of -o)", OPTION_NO_EFFECT);
    print_names(out, "Not in this version (ext_ and ssl_: what begins so, in the list of -o)",
                OPTION_LATER);
}

enum settings_verdict
opt_take_help(struct options_parse *p, const struct option_row *row, const char *arg)
{
    (void)row;
    (void)arg;
    settings_print_help(p->out);
    return SETTINGS_EXIT;
}

enum settings_verdict
opt_take_man(struct options_parse *p, const struct option_row *row, const char *arg)
{
    (void)row;
    (void)arg;
    settings_print_man(p->out);
    return SETTINGS_EXIT;
}

enum settings_verdict
opt_take_version(struct options_parse *p, const struct option_row *row, const char *arg)
{
    (void)row;
    (void)arg;
    fprintf(p->out, "larderd %s\nspeaks memcached %s\n", LARDER_VERSION, LARDER_PROTOCOL_VERSION);
    return SETTINGS_EXIT;
}

enum settings_verdict
opt_take_license(struct options_parse *p, const struct option_row *row, const char *arg)
{
    (void)row;
    (void)arg;
    settings_print_license(p->out);
    return SETTINGS_EXIT;
}
