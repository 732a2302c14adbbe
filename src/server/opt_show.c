/*
 * opt_show.c -- the settings as `stats settings` shows them.
 *
 * Formats are memcached's, down to which missing text is NULL and which is (null).
 */
#include <stdio.h>

#include "options.h"

#define SHOW(format, value)                                                                       \
    (snprintf(scratch, OPTION_SCRATCH, format, value), (const char *)scratch)

const char *
opt_show_yes(const struct settings *s, const struct option_row *row, char *scratch)
{
    (void)scratch;
    return *(const bool *)option_field_of(s, row) ? "yes" : "no";
}

const char *
opt_show_on(const struct settings *s, const struct option_row *row, char *scratch)
{
    (void)scratch;
    return *(const bool *)option_field_of(s, row) ? "on" : "off";
}

const char *
opt_show_int(const struct settings *s, const struct option_row *row, char *scratch)
{
    return SHOW("%d", *(const int *)option_field_of(s, row));
}

const char *
opt_show_count(const struct settings *s, const struct option_row *row, char *scratch)
{
    return SHOW("%u", *(const unsigned *)option_field_of(s, row));
}

const char *
opt_show_u32(const struct settings *s, const struct option_row *row, char *scratch)
{
    return SHOW("%u", (unsigned)*(const uint32_t *)option_field_of(s, row));
}

const char *
opt_show_bytes(const struct settings *s, const struct option_row *row, char *scratch)
{
    return SHOW("%zu", *(const size_t *)option_field_of(s, row));
}

const char *
opt_show_octal(const struct settings *s, const struct option_row *row, char *scratch)
{
    return SHOW("%o", *(const unsigned *)option_field_of(s, row));
}

const char *
opt_show_real2(const struct settings *s, const struct option_row *row, char *scratch)
{
    return SHOW("%.2f", *(const double *)option_field_of(s, row));
}

const char *
opt_show_real3(const struct settings *s, const struct option_row *row, char *scratch)
{
    return SHOW("%.3f", *(const double *)option_field_of(s, row));
}

const char *
opt_show_char(const struct settings *s, const struct option_row *row, char *scratch)
{
    return SHOW("%c", *(const char *)option_field_of(s, row));
}

const char *
opt_show_text(const struct settings *s, const struct option_row *row, char *scratch)
{
    const char *text = *(const char *const *)option_field_of(s, row);

    (void)scratch;
    return text ? text : "NULL";
}

const char *
opt_show_text_null(const struct settings *s, const struct option_row *row, char *scratch)
{
    const char *text = *(const char *const *)option_field_of(s, row);

    (void)scratch;
    return text ? text : "(null)";
}

const char *
opt_show_constant(const struct settings *s, const struct option_row *row, char *scratch)
{
    (void)s;
    (void)scratch;
    return row->initial;
}

const char *
opt_show_protocol(const struct settings *s, const struct option_row *row, char *scratch)
{
    static const char *const names[] = {"auto-negotiate", "ascii", "binary"};

    (void)scratch;
    return names[*(const enum settings_protocol *)option_field_of(s, row)];
}

const char *
opt_show_auth_file(const struct settings *s, const struct option_row *row, char *scratch)
{
    const char *path = *(const char *const *)option_field_of(s, row);

    (void)scratch;
    return path ? path : "no";
}

const char *
opt_show_ssl_version(const struct settings *s, const struct option_row *row, char *scratch)
{
    return SHOW("tlsv1.%d", *(const int *)option_field_of(s, row));
}

void
settings_each(const struct settings *s,
              void (*emit)(void *ctx, const char *name, const char *value), void *ctx)
{
    char scratch[OPTION_SCRATCH];

    for (unsigned i = 0; i < options_count; i++) {
        const struct option_row *row = &options_rows[i];
        if (row->stat)
            emit(ctx, row->stat, row->show(s, row, scratch));
    }
}
