/*
 * opt_man.c -- larderd(1), written from the table.
 *
 * The man macros of groff_man(7), the oldest subset of them.  Text is written through put(), which
 * protects what roff would interpret.
 */
#include <string.h>

#include "base/version.h"
#include "options.h"

struct entry {
    const char *name;
    const char *text;
};

static const struct entry exit_codes[] = {
    {"0", "A normal end: SIGINT, SIGTERM, SIGUSR1, the command shutdown, or -h, -i, -V."},
    {"1", "An unknown option, a number below the least of its option, as -t 0, or a feature that "
          "does not exist yet.  The output of -h, -i or -V could not be written."},
    {"64", "Options that contradict each other, or do not fit together, as -I and -m; other values "
           "that make no sense, as -p 70000 or -B foo; root without -u."},
    {"67", "The user of -u does not exist."},
    {"71", "An address makes no sense or cannot be listened on, or a limit cannot be raised."},
};

static const struct entry signals[] = {
    {"SIGINT, SIGTERM", "End at once."},
    {"SIGUSR1", "End gracefully: the threads finish what they are doing."},
    {"SIGPIPE, SIGHUP", "Ignored."},
};

static const struct entry environment[] = {
    {"MEMCACHED_PORT_FILENAME",
     "A file that receives one line for each TCP listener, TCP INET: port or TCP INET6: port.  It "
     "appears complete under its name; until then it has .lck appended."},
};

static const struct entry examples[] = {
    {"larderd -l 127.0.0.1 -m 1024", "One gigabyte for the programs of this machine."},
    {"larderd -d -u cache -P /run/larderd/pid -l 10.0.0.5,10.0.0.6:11311",
     "In the background, on two addresses; the user cache owns /run/larderd."},
    {"larderd -s /run/larderd/sock -a 0770", "On a unix socket for a group."},
};

static void
put(FILE *out, const char *text)
{
    for (const char *c = text; *c; c++) {
        if (*c == '-')
            fputs("\\-", out);
        else if (*c == '\\')
            fputs("\\e", out);
        else if ((*c == '.' || *c == '\'') && c == text)
            fprintf(out, "\\&%c", *c);
        else
            fputc(*c, out);
    }
}

static void
put_bold(FILE *out, const char *text)
{
    fputs("\\fB", out);
    put(out, text);
    fputs("\\fR", out);
}

static void
put_italic(FILE *out, const char *text)
{
    fputs("\\fI", out);
    put(out, text);
    fputs("\\fR", out);
}

/* -m NUM, --memory-limit=NUM */
static void
print_heading(FILE *out, const struct option_row *row)
{
    char letter[3] = {'-', row->letter, '\0'};
    bool argument = row->arg && row->arg[0];

    fputs(".TP\n", out);
    if (row->letter) {
        put_bold(out, letter);
        fputs(argument ? " " : "", out);
        put_italic(out, argument ? row->arg : "");
    }
    if (row->name || row->sub) {
        fputs(row->letter ? ", " : "", out);
        put_bold(out, row->name ? "--" : row->negatable ? "[no_]" : "");
        put_bold(out, row->name ? row->name : row->sub);
        if (argument) {
            fputs(row->arg_optional ? "[=" : "=", out);
            put_italic(out, row->arg);
            fputs(row->arg_optional ? "]" : "", out);
        }
    }
    fputc('\n', out);
}

static void
print_option(FILE *out, const struct option_row *row)
{
    print_heading(out, row);
    put(out, row->help);
    fputs(".\n", out);
    if (row->more) {
        put(out, row->more);
        fputc('\n', out);
    }
    if (row->unit) {
        fputs("Unit: ", out);
        put(out, row->unit);
        fputs(".\n", out);
    }
    if (row->initial || row->otherwise) {
        fputs("Default: ", out);
        put_bold(out, row->initial ? row->initial : row->otherwise);
        fputs(".\n", out);
    }
    if (row->stat) {
        fputs("Shown by \\fBstats settings\\fR as ", out);
        put_bold(out, row->stat);
        fputs(".\n", out);
    }
    if (row->feature) {
        fputs("Missing here: ", out);
        put(out, row->feature);
        fputs(".\n", out);
    }
}

static void
print_options(FILE *out, bool main_options, enum option_class class, unsigned group)
{
    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        bool is_main = options_is_main(row);
        if (row->class != class || (!is_main && !row->sub) || row->group == OPTION_HIDDEN)
            continue;
        if (is_main == main_options && (!is_main || group == OPTION_GROUPS || row->group == group))
            print_option(out, row);
    }
}

static void
print_entries(FILE *out, const char *title, const struct entry *entries, size_t count)
{
    fprintf(out, ".SH %s\n", title);
    for (size_t i = 0; i < count; i++) {
        fputs(".TP\n", out);
        put_bold(out, entries[i].name);
        fputc('\n', out);
        put(out, entries[i].text);
        fputc('\n', out);
    }
}

#define ENTRIES(out, title, entries)                                                              \
    print_entries(out, title, entries, sizeof(entries) / sizeof((entries)[0]))

static void
print_head(FILE *out)
{
    fprintf(out, ".TH LARDERD 1 \"\" \"larder %s\" \"User commands\"\n"
                 ".SH NAME\nlarderd \\- an in-memory cache that replaces memcached\n"
                 ".SH SYNOPSIS\n.B larderd\n[\\fIoption\\fR ...]\n"
                 ".SH DESCRIPTION\n"
                 "larderd keeps values under keys, in memory, for programs that speak the protocol "
                 "of memcached %s.\nIt takes the same options.  Those that have nothing to tune "
                 "here are checked, accepted and named in a notice.\n"
                 ".PP\nOptions may be bundled, long names abbreviated; arguments that are no "
                 "options are ignored.\nText after a number is ignored too, as by memcached, and a "
                 "notice says what was read.\nNotices and errors go to standard error.\n"
                 ".PP\nUnlike memcached, larderd runs one thread for each CPU unless told "
                 "otherwise, and \\fB\\-c\\fR \\fIN\\fR admits \\fIN\\fR connections.\n",
            LARDER_VERSION, LARDER_PROTOCOL_VERSION);
}

void
settings_print_man(FILE *out)
{
    print_head(out);
    fputs(".SH OPTIONS\n", out);
    for (unsigned group = 0; group < OPTION_GROUPS; group++) {
        fprintf(out, ".SS %s\n", options_group_title(group));
        print_options(out, true, OPTION_WORKS, group);
    }
    fputs(".SH EXTENDED OPTIONS\nTo be given in the list of \\fB\\-o\\fR.\n", out);
    print_options(out, false, OPTION_WORKS, OPTION_GROUPS);
    fputs(".SH OPTIONS WITHOUT EFFECT\n"
          "Accepted, and checked as memcached checks them.\n.SS Main options\n",
          out);
    print_options(out, true, OPTION_NO_EFFECT, OPTION_GROUPS);
    fputs(".SS In the list of \\-o\n", out);
    print_options(out, false, OPTION_NO_EFFECT, OPTION_GROUPS);
    fputs(".SH OPTIONS OF FEATURES THAT DO NOT EXIST YET\n"
          "The start fails when one of them is given.\n.SS Main options\n",
          out);
    print_options(out, true, OPTION_LATER, OPTION_GROUPS);
    fputs(".SS In the list of \\-o\n", out);
    print_options(out, false, OPTION_LATER, OPTION_GROUPS);
    ENTRIES(out, "SIGNALS", signals);
    ENTRIES(out, "EXIT STATUS", exit_codes);
    ENTRIES(out, "ENVIRONMENT", environment);
    ENTRIES(out, "EXAMPLES", examples);
    fputs(".SH SEE ALSO\n.BR memcached (1)\n.PP\nIn the source, docs/operating.md: sizing, what the "
          "figures of \\fBstats\\fR tell, what to alarm on.\n"
          ".SH COPYRIGHT\nlarder contributors, BSD 3\\-clause "
          "licence; \\fB\\-i\\fR prints it.\n",
          out);
}
