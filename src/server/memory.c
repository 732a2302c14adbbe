/*
 * memory.c -- reads /proc and the control groups' file systems.
 *
 * A line of /proc/self/cgroup says where the process is: "0::/path" for version 2, and
 * "N:memory:/path" for version 1.  The limits of all groups on the way up hold as well.  In a
 * container the path may be that of the host, which cannot be seen from inside: then the topmost
 * group that can be seen is the container's own.
 */
#include "memory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NO_LIMIT_FROM ((uint64_t)1 << 60)      /* version 1 says "none" by a number like this */
#define LINE_BYTES 4096
#define MIB ((size_t)1 << 20)

size_t
memory_resident_bytes(void)
{
    unsigned long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lu %lu", &all, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* "max" and whatever else is no number: UINT64_MAX. */
static uint64_t
read_limit(const char *path)
{
    uint64_t limit;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return UINT64_MAX;
    if (fscanf(file, "%" SCNu64, &limit) != 1 || limit >= NO_LIMIT_FROM)
        limit = UINT64_MAX;
    fclose(file);
    return limit;
}

/* The least limit of the group `path` below `mount`, and of those above it. */
static uint64_t
least_limit(const char *mount, const char *path, const char *name)
{
    char group[LINE_BYTES], file[PATH_MAX + LINE_BYTES];
    uint64_t least = UINT64_MAX;
    snprintf(group, sizeof group, "%s", path);
    for (;;) {
        snprintf(file, sizeof file, "%s%s/%s", mount, group, name);
        uint64_t limit = read_limit(file);
        least = limit < least ? limit : least;
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

/* Is `word` among the names in `list`, which are separated by commas? */
static bool
names(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return true;
    }
    return false;
}

/* One line of /proc/self/cgroup. */
static uint64_t
limit_of(const char *root, char *line)
{
    char mount[PATH_MAX];
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL)
        return UINT64_MAX;
    *path++ = '\0';
    controllers++;
    if (*controllers == '\0') {
        snprintf(mount, sizeof mount, "%s/sys/fs/cgroup", root);
        return least_limit(mount, path, "memory.max");
    }
    if (!names(controllers, "memory"))
        return UINT64_MAX;
    snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/memory", root);
    return least_limit(mount, path, "memory.limit_in_bytes");
}

uint64_t
memory_cgroup_limit(const char *root)
{
    char path[PATH_MAX], line[LINE_BYTES];
    uint64_t least = UINT64_MAX;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return UINT64_MAX;
    while (fgets(line, sizeof line, file) != NULL) {
        uint64_t limit = limit_of(root, line);
        least = limit < least ? limit : least;
    }
    fclose(file);
    return least;
}

size_t
memory_that_fits(size_t wanted, uint64_t limit, size_t base, size_t least)
{
    if (limit >= (uint64_t)wanted + base)
        return wanted;
    size_t room = limit > base ? (size_t)limit - base : 0;
    room -= room % MIB;
    return room > least ? room : least;
}
