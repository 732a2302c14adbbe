/*
 * opt_listen.c -- the -l lists: which addresses to listen on.
 *
 *     entry = [notls: | btls: | mtls:] [proto[NAME]:] [tag[NAME]: | tag_X_:] host [:port]
 *     host  = name or number, [ipv6], or * for all interfaces
 *
 * The texts are joined by commas as they come, since that is what `stats settings` shows, and taken
 * apart after all options have been read: the port of an entry without one is that of -p, wherever
 * -p stands.  memcached drops a -l whose text occurs anywhere in an earlier one; here an address
 * that is named twice is used once, which is what that was meant to do; twice, with two protocols,
 * it is refused.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "options.h"

#define TAG_BYTES_MAX 8

enum settings_verdict
opt_take_listen(struct options_parse *p, const struct option_row *row, const char *arg)
{
    const char *before = p->settings->listen_text;
    size_t bytes = strlen(arg) + 1 + (before ? strlen(before) + 1 : 0);
    char *joined = options_keep_room(p->settings, bytes);

    (void)row;
    if (!joined)
        return options_refuse(p, SETTINGS_BAD_OPTION, "Failed to allocate memory");
    snprintf(joined, bytes, "%s%s%s", before ? before : "", before ? "," : "", arg);
    p->settings->listen_text = joined;
    return SETTINGS_RUN;
}

/* Exit code and both sentences of memcached in one line. */
#define BAD_ENTRY(p, format, ...)                                                                 \
    options_refuse(p, SETTINGS_OS_ERROR, "failed to listen on one of interface(s) %s: " format,   \
                   (p)->settings->listen_text, __VA_ARGS__)

/* Steps over text at the beginning of *at. */
static bool
skip(char **at, const char *text)
{
    size_t len = strlen(text);

    if (strncmp(*at, text, len) != 0)
        return false;
    *at += len;
    return true;
}

static enum settings_verdict
take_tls(struct options_parse *p, char **at)
{
    if (skip(at, "notls:"))
        return SETTINGS_RUN;
    if (strncmp(*at, "btls:", 5) == 0 || strncmp(*at, "mtls:", 5) == 0)
        return options_refuse(p, SETTINGS_BAD_OPTION,
                              OPTIONS_PROGRAM ": -l %s: TLS does not exist in " OPTIONS_PROGRAM
                                              " " LARDER_VERSION " yet",
                              *at);
    return SETTINGS_RUN;
}

/* proto[NAME]: */
static enum settings_verdict
take_protocol(struct options_parse *p, char **at, struct listen_spec *spec)
{
    char *name = *at;

    if (!skip(&name, "proto["))
        return SETTINGS_RUN;
    char *end = strchr(name, ']');
    if (!end)
        return BAD_ENTRY(p, "Invalid protocol spec: \"%s\"", name - 1);
    *end = '\0';
    *at = end + 1 + (end[1] == ':');
    if (strcmp(name, "proxy") == 0)
        return BAD_ENTRY(p, "proto[proxy]: %s is not a proxy", OPTIONS_PROGRAM);
    if (strcmp(name, "ascii") == 0)
        spec->protocol = SETTINGS_ASCII;
    else if (strcmp(name, "binary") == 0)
        spec->protocol = SETTINGS_BINARY;
    else if (strcmp(name, "negotiating") == 0)
        spec->protocol = SETTINGS_AUTO;
    else
        return BAD_ENTRY(p, "Invalid protocol name: \"%s\"", name);
    return SETTINGS_RUN;
}

/* tag[NAME]: or tag_X_: -- memcached's proxy tells listeners apart by them; nobody here does. */
static enum settings_verdict
take_tag(struct options_parse *p, char **at)
{
    char *name = *at;
    bool bracket = skip(&name, "tag[");

    if (!bracket && !skip(&name, "tag_"))
        return SETTINGS_RUN;
    char *end = strchr(name, bracket ? ']' : '_');
    if (!end)
        return BAD_ENTRY(p, "Invalid tag in socket config: \"%s\"", name - 1);
    if (end == name || end - name > TAG_BYTES_MAX)
        return BAD_ENTRY(p, "Listener tags must be between 1 and 8 characters: \"%.*s\"",
                         (int)(end - name), name);
    *at = end + 1 + (end[1] == ':');
    return SETTINGS_RUN;
}

/* Digits, or -1 or 0 for any free port. */
static enum settings_verdict
take_port(struct options_parse *p, const char *text, struct listen_spec *spec)
{
    char *end;
    long port = strtol(text, &end, 10);

    if (end == text || *end || port < -1 || port > 65535)
        return BAD_ENTRY(p, "Invalid port number: \"%s\"", text);
    spec->has_port = true;
    spec->port = port == 0 ? -1 : (int)port;
    return SETTINGS_RUN;
}

/* A colon begins the port unless there are several without brackets: then it is an IPv6 address. */
static enum settings_verdict
take_address(struct options_parse *p, char *at, struct listen_spec *spec)
{
    char *host = at, *colon;

    if (*at == '[') {
        char *end = strchr(at, ']');
        if (!end)
            return BAD_ENTRY(p, "Invalid IPV6 address: \"%s\"", at);
        *end = '\0';
        host = at + 1;
        colon = end[1] == ':' ? end + 1 : NULL;
        if (end[1] && !colon)
            return BAD_ENTRY(p, "Invalid port number: \"%s\"", end + 1);
    } else {
        colon = strchr(at, ':');
        if (colon && strchr(colon + 1, ':'))
            colon = NULL;
    }
    if (colon) {
        *colon = '\0';
        if (take_port(p, colon + 1, spec) == SETTINGS_EXIT)
            return SETTINGS_EXIT;
    }
    if (!*host)
        return BAD_ENTRY(p, "%s", "an entry names no address");
    spec->host = strcmp(host, "*") == 0 ? NULL : host;
    return SETTINGS_RUN;
}

static enum settings_verdict
take_entry(struct options_parse *p, char *at, struct listen_spec *spec)
{
    *spec = (struct listen_spec){.port = p->settings->tcp_port,
                                 .protocol = p->settings->protocol};
    if (take_tls(p, &at) == SETTINGS_EXIT || take_protocol(p, &at, spec) == SETTINGS_EXIT ||
        take_tag(p, &at) == SETTINGS_EXIT)
        return SETTINGS_EXIT;
    return take_address(p, at, spec);
}

static bool
is_same(const struct listen_spec *a, const struct listen_spec *b)
{
    if (!a->host != !b->host || a->port != b->port)
        return false;
    return !a->host || strcmp(a->host, b->host) == 0;
}

/* specs[*count] is the next, unless it is known.  Two protocols on any port are two ports. */
static enum settings_verdict
add_entry(struct options_parse *p, const struct listen_spec *specs, unsigned *count)
{
    const struct listen_spec *spec = &specs[*count];

    for (unsigned i = 0; i < *count; i++) {
        if (!is_same(&specs[i], spec))
            continue;
        if (specs[i].protocol == spec->protocol)
            return SETTINGS_RUN;
        if (spec->port != -1)
            return BAD_ENTRY(p, "two protocols for \"%s\"", spec->host ? spec->host : "*");
    }
    ++*count;
    return SETTINGS_RUN;
}

enum settings_verdict
opt_listen_parse(struct options_parse *p)
{
    struct settings *s = p->settings;
    unsigned count_max = 1;

    if (!s->listen_text || s->unix_path || s->tcp_port == 0)
        return SETTINGS_RUN;
    for (const char *c = s->listen_text; *c; c++)
        count_max += *c == ',' || *c == ';';
    struct listen_spec *specs = options_keep_room(s, count_max * sizeof(*specs));
    char *text = options_keep(s, s->listen_text), *rest = NULL;
    if (!specs || !text)
        return options_refuse(p, SETTINGS_BAD_OPTION, "Failed to allocate memory");
    unsigned count = 0;
    for (char *entry = strtok_r(text, ",;", &rest); entry; entry = strtok_r(NULL, ",;", &rest)) {
        if (take_entry(p, entry, &specs[count]) == SETTINGS_EXIT ||
            add_entry(p, specs, &count) == SETTINGS_EXIT)
            return SETTINGS_EXIT;
    }
    s->listens = specs;
    s->listen_count = count;
    return SETTINGS_RUN;
}

bool
settings_listen_everywhere(const struct settings *s)
{
    if (s->unix_path || s->tcp_port == 0)
        return false;
    for (unsigned i = 0; i < s->listen_count; i++) {
        const char *host = s->listens[i].host;
        if (!host || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
            return true;
    }
    return s->listen_count == 0;
}
