/*
 * settings.c -- from argv to struct settings: defaults, options, checks, notices.
 *
 * Defaults are no second list: the table holds each as one would type it, and it is taken through
 * the same function as an argument of the user.  So what --help prints in brackets is what happens.
 *
 * getopt_long() does the reading, because memcached's habits are its habits: bundled letters,
 * abbreviated names, arguments that are no options anywhere in between.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "options.h"

/* getopt_long() returns the letter of short options, and this plus the row for names. */
#define LONG_BASE 256

/* A piece of memory that lives as long as the settings. */
struct settings_text {
    struct settings_text *next;
    max_align_t room[];
};

void *
options_keep_room(struct settings *s, size_t bytes)
{
    struct settings_text *text = calloc(1, sizeof(*text) + bytes);

    if (!text)
        return NULL;
    text->next = s->texts;
    s->texts = text;
    return text->room;
}

char *
options_keep(struct settings *s, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = options_keep_room(s, bytes);

    if (copy)
        memcpy(copy, text, bytes);
    return copy;
}

enum settings_verdict
options_refuse(struct options_parse *p, int exit_code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(p->err, format, args);
    va_end(args);
    fputc('\n', p->err);
    p->exit_code = exit_code;
    return SETTINGS_EXIT;
}

enum settings_verdict
options_take(struct options_parse *p, unsigned row, const char *arg)
{
    p->given[row] = p->negated ? OPTION_NEGATED : OPTION_PLAIN;
    return options_rows[row].take(p, &options_rows[row], arg);
}

/* A switch that is not on by default is initialised by its own negation. */
static void
take_default(struct options_parse *p, const struct option_row *row)
{
    bool is_switch = row->take == opt_take_on || row->take == opt_take_off;

    if (!row->take || (!row->initial && !is_switch))
        return;
    p->negated = !row->initial;
    CHECK(row->take(p, row, row->initial) == SETTINGS_RUN);
}

void
settings_init(struct settings *s)
{
    struct options_parse p = {.settings = s, .out = stdout, .err = stderr};

    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < options_count; i++)
        take_default(&p, &options_rows[i]);
    s->threads = settings_cpus();
}

void
settings_fini(struct settings *s)
{
    while (s->texts) {
        struct settings_text *next = s->texts->next;
        free(s->texts);
        s->texts = next;
    }
}

/* "+" or "p:" for each letter, and a struct option for each name; the hidden one on request. */
struct getopt_tables {
    char letters[2 * OPTIONS_MAX + 1];
    struct option names[OPTIONS_MAX + 1];
};

static void
build_tables(struct getopt_tables *tables, bool with_hidden)
{
    char *letter = tables->letters;
    struct option *name = tables->names;

    memset(tables, 0, sizeof(*tables));
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        if (row->letter) {
            *letter++ = row->letter;
            if (row->arg && !row->arg_optional)
                *letter++ = ':';
        }
        if (row->name && (row->group != OPTION_HIDDEN || with_hidden)) {
            int has_arg = !row->arg           ? no_argument
                          : row->arg_optional ? optional_argument
                                              : required_argument;
            *name++ = (struct option){row->name, has_arg, NULL, LONG_BASE + (int)i};
        }
    }
}

/* Hidden options must be written out: they must not make an abbreviation ambiguous. */
static bool
asks_for_hidden(int argc, char **argv)
{
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        if (!row->name || row->group != OPTION_HIDDEN)
            continue;
        for (int a = 1; a < argc; a++) {
            if (strncmp(argv[a], "--", 2) == 0 && strcmp(argv[a] + 2, row->name) == 0)
                return true;
        }
    }
    return false;
}

static enum settings_verdict
take_all(struct options_parse *p, int argc, char **argv)
{
    struct getopt_tables tables;
    int c;

    build_tables(&tables, asks_for_hidden(argc, argv));
    optind = 0;     /* begin anew, also when this is called again */
    while ((c = getopt_long(argc, argv, tables.letters, tables.names, NULL)) != -1) {
        int row = c >= LONG_BASE ? c - LONG_BASE : options_find_letter((char)c);
        if (row < 0)
            return options_refuse(p, SETTINGS_BAD_OPTION, "Illegal argument \"%c\"", c);
        const char *arg = optarg;
        while (arg && isspace((unsigned char)*arg))
            arg++;
        if (options_take(p, (unsigned)row, arg) == SETTINGS_EXIT)
            return SETTINGS_EXIT;
    }
    return SETTINGS_RUN;
}

/* What was asked for has been printed: it must have arrived. */
static int
finish_output(FILE *out, FILE *err)
{
    if (fflush(out) == 0 && !ferror(out))
        return 0;
    fprintf(err, OPTIONS_PROGRAM ": cannot write: %s\n", strerror(errno));
    return SETTINGS_BAD_OPTION;
}

enum settings_verdict
settings_parse(struct settings *s, int argc, char **argv, FILE *out, FILE *err, int *out_exit_code)
{
    struct options_parse p = {.settings = s, .out = out, .err = err};

    settings_init(s);
    if (take_all(&p, argc, argv) == SETTINGS_EXIT || opt_check(&p) == SETTINGS_EXIT) {
        *out_exit_code = p.exit_code ? p.exit_code : finish_output(out, err);
        return SETTINGS_EXIT;
    }
    s->memory_given = opt_given(&p, 'm');
    opt_notice(&p);
    return SETTINGS_RUN;
}
