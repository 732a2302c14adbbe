/*
 * settings_cpus.c -- how many CPUs this process may use.
 *
 * The affinity mask says on which CPUs threads may run, the quota of the control group how much CPU
 * time they may have together; more busy threads than either only wait for each other.  A quota
 * anywhere above our group binds as well, so every level up to the root is asked.  In a container
 * the path in /proc/self/cgroup is often the host's and does not exist below the mount: then the
 * walk up meets the root of the mount, which is the container's own group.
 *
 * Formats: cgroup-v2.rst (cpu.max: "max 100000" or "150000 100000") and sched-bwc.rst
 * (cpu.cfs_quota_us, -1 for none) in the kernel's documentation.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "settings.h"

static bool
read_line(const char *path, char *line, size_t size)
{
    FILE *f = fopen(path, "re");

    if (!f)
        return false;
    bool ok = fgets(line, (int)size, f) != NULL;
    fclose(f);
    return ok;
}

/* quota/period in whole CPUs, rounded up; 0: none. */
static unsigned
whole_cpus(long quota_us, long period_us)
{
    if (quota_us <= 0 || period_us <= 0)
        return 0;
    long cpus = quota_us / period_us + (quota_us % period_us != 0);
    return cpus > INT_MAX ? INT_MAX : (unsigned)cpus;
}

static unsigned
quota_v2(const char *group)
{
    char path[PATH_MAX], line[64];
    long quota_us, period_us;

    if (snprintf(path, sizeof(path), "%s/cpu.max", group) >= (int)sizeof(path))
        return 0;
    if (!read_line(path, line, sizeof(line)) || strncmp(line, "max", 3) == 0)
        return 0;
    if (sscanf(line, "%18ld %18ld", &quota_us, &period_us) != 2)
        return 0;
    return whole_cpus(quota_us, period_us);
}

static unsigned
quota_v1(const char *group)
{
    char path[PATH_MAX], quota[64], period[64];

    if (snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", group) >= (int)sizeof(path))
        return 0;
    if (!read_line(path, quota, sizeof(quota)))
        return 0;
    if (snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", group) >= (int)sizeof(path))
        return 0;
    if (!read_line(path, period, sizeof(period)))
        return 0;
    return whole_cpus(strtol(quota, NULL, 10), strtol(period, NULL, 10));
}

static unsigned
least(unsigned a, unsigned b)
{
    return a == 0 ? b : b == 0 || a < b ? a : b;
}

/* The smallest quota from mount/group up to mount itself. */
static unsigned
quota_upwards(const char *mount, const char *group, unsigned (*quota)(const char *group))
{
    char path[PATH_MAX];
    unsigned cpus = 0;

    if (snprintf(path, sizeof(path), "%s%s", mount, group) >= (int)sizeof(path))
        return 0;
    for (;;) {
        cpus = least(cpus, quota(path));
        if (strlen(path) <= strlen(mount))
            return cpus;
        *strrchr(path, '/') = '\0';
    }
}

/* "cpu" among "cpu,cpuacct" */
static bool
lists_cpu(const char *controllers)
{
    for (const char *at = controllers; *at; at += strcspn(at, ","), at += *at == ',') {
        if (strcspn(at, ",") == 3 && memcmp(at, "cpu", 3) == 0)
            return true;
    }
    return false;
}

/* line: "0::/a/b" (version 2) or "4:cpu,cpuacct:/a/b" (version 1) */
static unsigned
quota_of_line(const char *cgroup_root, char *line)
{
    char mount[PATH_MAX];
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;

    if (!group)
        return 0;
    *controllers++ = '\0';
    *group++ = '\0';
    group[strcspn(group, "\n")] = '\0';
    if (group[0] != '/')
        return 0;
    if (!*controllers)
        return quota_upwards(cgroup_root, strcmp(group, "/") == 0 ? "" : group, quota_v2);
    if (!lists_cpu(controllers) ||
        snprintf(mount, sizeof(mount), "%s/%s", cgroup_root, controllers) >= (int)sizeof(mount))
        return 0;
    return quota_upwards(mount, strcmp(group, "/") == 0 ? "" : group, quota_v1);
}

unsigned
settings_cpus_quota(const char *cgroup_root, const char *membership)
{
    char line[PATH_MAX];
    unsigned cpus = 0;
    FILE *f = fopen(membership, "re");

    if (!f)
        return 0;
    while (fgets(line, sizeof(line), f))
        cpus = least(cpus, quota_of_line(cgroup_root, line));
    fclose(f);
    return cpus;
}

/* The mask may be larger than cpu_set_t on large machines. */
static unsigned
affinity_count(void)
{
    for (int cpus_max = 1024; cpus_max <= 1 << 20; cpus_max *= 2) {
        size_t bytes = CPU_ALLOC_SIZE(cpus_max);
        cpu_set_t *mask = CPU_ALLOC(cpus_max);
        if (!mask)
            return 1;
        int count = sched_getaffinity(0, bytes, mask) == 0 ? CPU_COUNT_S(bytes, mask) : 0;
        CPU_FREE(mask);
        if (count > 0)
            return (unsigned)count;
    }
    return 1;
}

unsigned
settings_cpus(void)
{
    return least(settings_cpus_quota("/sys/fs/cgroup", "/proc/self/cgroup"), affinity_count());
}
