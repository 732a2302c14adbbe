/*
 * options.h -- the table of options and the functions its rows point to.
 *
 * For settings.c and the opt_*.c files (and the test that checks the table against itself);
 * everybody else wants settings.h.
 *
 * A row says everything about one option.  From it come the parser, the checks, --help, the man
 * page and `stats settings`.  Rows stand in the order of `stats settings`; help sorts by group.
 *
 *     letter or name: a main option (-m, --memory-limit)
 *     sub: a suboption of -o (slab_reassign)
 *     none of them: a line of `stats settings` that no option sets directly
 */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include <stdarg.h>
#include <stddef.h>

#include "settings.h"

/* The program's name in messages. */
#define OPTIONS_PROGRAM "larderd"

#define OPTIONS_MAX 128

/* What memcached measures slab_chunk_max by. */
#define OPTION_SLAB_PAGE_BYTES ((size_t)1 << 20)

enum option_class {
    OPTION_WORKS,
    OPTION_NO_EFFECT,       /* checked, accepted, named in one notice */
    OPTION_LATER            /* checked, then the start fails: `feature` does not exist yet */
};

enum option_group {
    OPTION_NETWORK,
    OPTION_MEMORY,
    OPTION_CLIENTS,
    OPTION_PROCESS,
    OPTION_INFO,
    OPTION_GROUPS,
    OPTION_HIDDEN = OPTION_GROUPS
};

enum option_given { OPTION_ABSENT, OPTION_PLAIN, OPTION_NEGATED };

/* A number that was followed by more text, or was none, and what was made of it. */
struct option_rest {
    const char *arg;                        /* NULL: nothing was left over */
    char read_as[32];
};

/* What is known while argv is read. */
struct options_parse {
    struct settings *settings;
    FILE *out;
    FILE *err;
    enum option_given given[OPTIONS_MAX];   /* by row */
    struct option_rest rest[OPTIONS_MAX];   /* by row; of the argument that counts */
    bool negated;                           /* the option at hand was written no_<sub> */
    int exit_code;
};

struct option_row;

/*
 * Reads arg (NULL where the option has none) into the settings.  SETTINGS_EXIT: p->exit_code is
 * set and the reason is said.
 */
typedef enum settings_verdict option_take(struct options_parse *p, const struct option_row *row,
                                          const char *arg);

/* The value for `stats settings`: some text, or scratch filled in. */
#define OPTION_SCRATCH 64
typedef const char *option_show(const struct settings *s, const struct option_row *row,
                                char scratch[OPTION_SCRATCH]);

struct option_row {
    const char *name;
    const char *sub;
    const char *stat;               /* name in `stats settings`; NULL: not shown there */
    char letter;                    /* 0: long form only */
    enum option_class class;
    enum option_group group;        /* main options */
    const char *arg;                /* what the argument is called; NULL: takes none */
    bool arg_optional;
    bool negatable;                 /* no_<sub> exists */
    const char *unit;               /* of the argument; NULL: none */
    const char *initial;            /* the default as one would type it; NULL: nothing is set */
    const char *otherwise;          /* the default in words, where initial cannot say it */
    const char *help;               /* one line */
    const char *more;               /* further sentences for the man page; NULL: none */
    const char *feature;            /* OPTION_LATER: what is missing */
    option_take *take;
    option_show *show;
    size_t field;                   /* OPTION_FIELD(): what take and show work on */
    double least, most;             /* range, where take has one */
    uint32_t scale;                 /* units to bytes; 0: as they are */
    const char *complaint;          /* out of range or unreadable; NULL: "could not parse ..." */
    const char *missing;            /* argument missing; NULL: "Missing <sub> argument" */
};

/* Offset of a field of struct settings; does not compile when the field is not of that type. */
#define OPTION_FIELD(type, member)                                                                \
    (offsetof(struct settings, member) +                                                          \
     0 * sizeof(_Generic(&((struct settings *)0)->member, type *: 0)))

extern const struct option_row options_rows[];
extern const unsigned options_count;

/* Row numbers, or -1. */
int options_find_letter(char letter);
int options_find_sub(const char *name, size_t len);
/* Number of the row of a letter or suboption that is known to exist. */
unsigned options_row_of_letter(char letter);
unsigned options_row_of_sub(const char *name);

static inline bool
options_is_main(const struct option_row *row)
{
    return row->letter || row->name;
}

/* As --help and the man page call a group below OPTION_GROUPS. */
const char *options_group_title(unsigned group);

/* Takes one option, main or suboption, with its argument. */
enum settings_verdict options_take(struct options_parse *p, unsigned row, const char *arg);

/* Says why, notes the exit code, returns SETTINGS_EXIT. */
__attribute__((format(printf, 3, 4))) enum settings_verdict
options_refuse(struct options_parse *p, int exit_code, const char *format, ...);

/* A copy that lives as long as the settings; NULL: out of memory. */
char *options_keep(struct settings *s, const char *text);
/* Room of that many bytes, zeroed, with the same life. */
void *options_keep_room(struct settings *s, size_t bytes);

/* opt_take.c: arguments into fields.  A field's type is in the name. */
option_take opt_take_on, opt_take_off;                  /* bool */
option_take opt_take_int;                               /* int, as atoi() reads, in range */
option_take opt_take_count;                             /* unsigned, as atoi(), in range */
option_take opt_take_u32;                               /* uint32_t, nothing but a number */
option_take opt_take_bytes;                             /* size_t, number x scale */
option_take opt_take_real;                              /* double, as atof(), least < x <= most */
option_take opt_take_real_strict;                       /* double, nothing but a number */
option_take opt_take_text;                              /* const char * */
option_take opt_take_nothing;
option_take opt_take_memory, opt_take_item_size, opt_take_unix_mode, opt_take_verbose;
option_take opt_take_requests, opt_take_threads, opt_take_delimiter, opt_take_protocol;
option_take opt_take_huge_pages;
/* opt_sub.c: -o, and those of its suboptions that are one of a kind. */
option_take opt_take_extended;
option_take opt_take_hash_power, opt_take_automove, opt_take_hash_algorithm;
option_take opt_take_maintainer, opt_take_modern, opt_take_no_chunked, opt_take_deprecated;
option_take opt_take_slab_chunk, opt_take_ssl_level, opt_take_ext_page, opt_take_ext_path;
/* opt_help.c, opt_listen.c */
option_take opt_take_help, opt_take_license, opt_take_version, opt_take_man, opt_take_listen;

/* As atoi(), but with limits where atoi() has undefined behaviour. */
int opt_number(const char *text);
/* The same for the argument of a row: opt_notice() tells if it was not all a number. */
int opt_read_number(struct options_parse *p, const struct option_row *row, const char *arg);
/* A whole number below 2^32 and nothing after it but, perhaps, a blank and anything. */
bool opt_number_strict(const char *text, uint32_t *out_number);
/* NULL, or why large pages cannot be had, by the contents of the kernel's file. */
const char *opt_huge_pages_problem(const char *path);

/* opt_show.c */
option_show opt_show_yes, opt_show_on, opt_show_int, opt_show_count, opt_show_u32;
option_show opt_show_bytes, opt_show_octal, opt_show_real2, opt_show_real3, opt_show_char;
option_show opt_show_text;                              /* NULL where there is none */
option_show opt_show_text_null;                         /* (null) */
option_show opt_show_constant;                          /* row->initial */
option_show opt_show_protocol, opt_show_auth_file, opt_show_ssl_version;

/* opt_listen.c: the collected -l into s->listens. */
enum settings_verdict opt_listen_parse(struct options_parse *p);

/* opt_check.c: what options must not contradict.  Then the features that do not exist yet. */
enum settings_verdict opt_check(struct options_parse *p);
/* The notices of a start that goes on. */
void opt_notice(struct options_parse *p);
bool opt_given(const struct options_parse *p, char letter);
bool opt_given_sub(const struct options_parse *p, const char *sub);

/* The field of a row. */
static inline void *
option_field(struct settings *s, const struct option_row *row)
{
    return (char *)s + row->field;
}

static inline const void *
option_field_of(const struct settings *s, const struct option_row *row)
{
    return (const char *)s + row->field;
}

#endif
