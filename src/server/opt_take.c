/*
 * opt_take.c -- arguments of main options into fields.
 *
 * memcached reads numbers with atoi() and atof(): "abc" is 0, "5x" is 5.  The same texts are
 * accepted here, but what is too large for the type becomes the largest value instead of
 * undefined behaviour, and a notice names text that was left over.  Suboptions of -o are stricter
 * where memcached's are.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "options.h"

int
opt_number(const char *text)
{
    long n = strtol(text, NULL, 10);

    return n > INT_MAX ? INT_MAX : n < INT_MIN ? INT_MIN : (int)n;
}

/* `end` is where reading stopped, `read_as` what was read. */
static void
note_rest(struct options_parse *p, const struct option_row *row, const char *arg, const char *end,
          const char *read_as)
{
    struct option_rest *rest = &p->rest[row - options_rows];
    bool all = end > arg;

    while (isspace((unsigned char)*end))
        end++;
    rest->arg = all && !*end ? NULL : arg;
    snprintf(rest->read_as, sizeof(rest->read_as), "%s", read_as);
}

int
opt_read_number(struct options_parse *p, const struct option_row *row, const char *arg)
{
    int n = opt_number(arg);
    char *end, read_as[16];

    strtol(arg, &end, 10);
    snprintf(read_as, sizeof(read_as), "%d", n);
    note_rest(p, row, arg, end, read_as);
    return n;
}

bool
opt_number_strict(const char *text, uint32_t *out_number)
{
    char *end;

    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || end == text || (*end && !isspace((unsigned char)*end)))
        return false;
    if (n < 0 || n > (long)UINT32_MAX)
        return false;
    *out_number = (uint32_t)n;
    return true;
}

/* What a row says of a number that is out of range or none. */
static enum settings_verdict
complain(struct options_parse *p, const struct option_row *row)
{
    if (row->complaint)
        return options_refuse(p, SETTINGS_BAD_OPTION, "%s", row->complaint);
    return options_refuse(p, SETTINGS_BAD_OPTION, "could not parse argument to %s", row->sub);
}

/* Rows that leave most at 0 have no upper limit, those that leave both have no limit at all. */
static bool
in_range(const struct option_row *row, double n)
{
    if (row->least == 0 && row->most == 0 && !row->complaint)
        return true;
    return n >= row->least && (row->most == 0 || n <= row->most);
}

enum settings_verdict
opt_take_on(struct options_parse *p, const struct option_row *row, const char *arg)
{
    (void)arg;
    *(bool *)option_field(p->settings, row) = !p->negated;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_off(struct options_parse *p, const struct option_row *row, const char *arg)
{
    (void)arg;
    *(bool *)option_field(p->settings, row) = p->negated;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_nothing(struct options_parse *p, const struct option_row *row, const char *arg)
{
    (void)p;
    (void)row;
    (void)arg;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_int(struct options_parse *p, const struct option_row *row, const char *arg)
{
    int n = opt_read_number(p, row, arg);

    if (!in_range(row, n))
        return complain(p, row);
    *(int *)option_field(p->settings, row) = n;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_count(struct options_parse *p, const struct option_row *row, const char *arg)
{
    int n = opt_read_number(p, row, arg);

    if (!in_range(row, n))
        return complain(p, row);
    *(unsigned *)option_field(p->settings, row) = n > 0 ? (unsigned)n : 0;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_u32(struct options_parse *p, const struct option_row *row, const char *arg)
{
    if (!opt_number_strict(arg, option_field(p->settings, row)))
        return complain(p, row);
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_bytes(struct options_parse *p, const struct option_row *row, const char *arg)
{
    uint32_t n;

    if (!opt_number_strict(arg, &n))
        return complain(p, row);
    *(size_t *)option_field(p->settings, row) = (size_t)n * row->scale;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_real(struct options_parse *p, const struct option_row *row, const char *arg)
{
    char *end, read_as[16];
    double x = strtod(arg, &end);

    if (!(x > row->least) || (row->most != 0 && x > row->most))
        return complain(p, row);
    snprintf(read_as, sizeof(read_as), "%g", x);
    note_rest(p, row, arg, end, read_as);
    *(double *)option_field(p->settings, row) = x;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_real_strict(struct options_parse *p, const struct option_row *row, const char *arg)
{
    char *end;

    errno = 0;
    double x = strtod(arg, &end);
    if (errno || end == arg || (*end && !isspace((unsigned char)*end)))
        return complain(p, row);
    *(double *)option_field(p->settings, row) = x;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_text(struct options_parse *p, const struct option_row *row, const char *arg)
{
    *(const char **)option_field(p->settings, row) = arg;
    return SETTINGS_RUN;
}

/* A negative number of megabytes is none: then no item fits, which is said later. */
enum settings_verdict
opt_take_memory(struct options_parse *p, const struct option_row *row, const char *arg)
{
    int megabytes = opt_read_number(p, row, arg);

    *(size_t *)option_field(p->settings, row) = megabytes > 0 ? (size_t)megabytes << 20 : 0;
    return SETTINGS_RUN;
}

/* memcached's item size is an int; so is the largest one here, which is above every limit. */
enum settings_verdict
opt_take_item_size(struct options_parse *p, const struct option_row *row, const char *arg)
{
    size_t len = strlen(arg);
    int unit = len ? tolower((unsigned char)arg[len - 1]) : 0;
    int64_t bytes = opt_number(arg);

    char *end, read_as[32];

    bytes *= unit == 'k' ? 1 << 10 : unit == 'm' ? 1 << 20 : 1;
    bytes = bytes < 0 ? 0 : bytes > INT_MAX ? INT_MAX : bytes;
    *(size_t *)option_field(p->settings, row) = (size_t)bytes;
    strtol(arg, &end, 10);
    if (end > arg && end + 1 == arg + len && (unit == 'k' || unit == 'm'))
        end++;
    snprintf(read_as, sizeof(read_as), "%lld bytes", (long long)bytes);
    note_rest(p, row, arg, end, read_as);
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_unix_mode(struct options_parse *p, const struct option_row *row, const char *arg)
{
    char *end, read_as[16];
    long mode = strtol(arg, &end, 8);

    mode = mode < 0 || mode > INT_MAX ? 0 : mode;
    *(unsigned *)option_field(p->settings, row) = (unsigned)mode;
    snprintf(read_as, sizeof(read_as), "%03o", (unsigned)mode);
    note_rest(p, row, arg, end, read_as);
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_verbose(struct options_parse *p, const struct option_row *row, const char *arg)
{
    (void)arg;
    ++*(unsigned *)option_field(p->settings, row);
    return SETTINGS_RUN;
}

/* memcached refuses 0 only; a negative number lets everybody have one request at a time. */
enum settings_verdict
opt_take_requests(struct options_parse *p, const struct option_row *row, const char *arg)
{
    int n = opt_read_number(p, row, arg);

    if (n == 0)
        return complain(p, row);
    *(unsigned *)option_field(p->settings, row) = n > 0 ? (unsigned)n : 1;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_threads(struct options_parse *p, const struct option_row *row, const char *arg)
{
    enum settings_verdict verdict = opt_take_count(p, row, arg);

    if (verdict == SETTINGS_RUN && p->settings->threads > 64)
        fprintf(p->err, "WARNING: Setting a high number of worker threads is not recommended.\n"
                        " Set this value to the number of cores in your machine or less.\n");
    return verdict;
}

enum settings_verdict
opt_take_delimiter(struct options_parse *p, const struct option_row *row, const char *arg)
{
    if (!arg[0])
        return options_refuse(p, SETTINGS_BAD_OPTION, "No delimiter specified");
    *(char *)option_field(p->settings, row) = arg[0];
    return SETTINGS_RUN;
}

enum settings_verdict
opt_take_protocol(struct options_parse *p, const struct option_row *row, const char *arg)
{
    static const char *const names[] = {"auto", "ascii", "binary"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(arg, names[i]) == 0) {
            *(enum settings_protocol *)option_field(p->settings, row) = (enum settings_protocol)i;
            return SETTINGS_RUN;
        }
    }
    return options_refuse(p, SETTINGS_BAD_USAGE,
                          "Invalid value for binding protocol: %s\n"
                          " -- should be one of auto, binary, or ascii",
                          arg);
}

const char *
opt_huge_pages_problem(const char *path)
{
    char text[128];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return "Transparent huge pages support not detected.";
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return "Transparent huge pages could not read configuration.";
    text[n] = '\0';
    return strstr(text, "[never]") ? "Transparent huge pages support disabled." : NULL;
}

enum settings_verdict
opt_take_huge_pages(struct options_parse *p, const struct option_row *row, const char *arg)
{
    const char *problem = opt_huge_pages_problem("/sys/kernel/mm/transparent_hugepage/enabled");

    if (problem)
        return options_refuse(p, SETTINGS_BAD_OPTION,
                              "%s\nCannot enable large pages on this system", problem);
    return opt_take_on(p, row, arg);
}
