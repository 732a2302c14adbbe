/*
 * privileges.c -- limits and identity.
 *
 * memcached sets the limit of open files to -c exactly and compares descriptor numbers with it, so
 * it admits fewer than -c connections.  Here -c counts connections and the limit has room for the
 * rest as well; where a system forbids that but memcached would have started, larderd starts too,
 * with as many connections as fit.
 *
 * Locking asks for MCL_ONFAULT: the store reserves far more address space than it uses, and locking
 * a reservation would be refused, or fill the machine.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "privileges.h"
#include "settings.h"

static int
set_files(rlim_t soft, rlim_t hard)
{
    struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};

    return setrlimit(RLIMIT_NOFILE, &limit);
}

int
privileges_allow_files(unsigned *conns, unsigned other)
{
    struct rlimit limit;
    rlim_t needed = (rlim_t)*conns + other;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        fprintf(stderr, "failed to getrlimit number of files\n");
        return SETTINGS_OS_ERROR;
    }
    if (limit.rlim_cur >= needed)
        return 0;
    if (set_files(needed, limit.rlim_max > needed ? limit.rlim_max : needed) == 0)
        return 0;
    if (limit.rlim_max < *conns || limit.rlim_max <= other ||
        set_files(limit.rlim_max, limit.rlim_max) != 0) {
        fprintf(stderr, "failed to set rlimit for open files. Try starting as root or requesting "
                        "smaller maxconns value. (%llu are needed, %llu are allowed)\n",
                (unsigned long long)needed, (unsigned long long)limit.rlim_max);
        return SETTINGS_OS_ERROR;
    }
    unsigned left = (unsigned)(limit.rlim_max - other);
    fprintf(stderr, "larderd: notice: the limit of %llu open files leaves room for %u of the %u "
                    "connections of -c\n",
            (unsigned long long)limit.rlim_max, left, *conns);
    *conns = left;
    return 0;
}

int
privileges_allow_core(void)
{
    struct rlimit limit, unlimited = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

    if (setrlimit(RLIMIT_CORE, &unlimited) != 0 && getrlimit(RLIMIT_CORE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_CORE, &limit);
    }
    if (getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_cur == 0) {
        fprintf(stderr, "failed to ensure corefile creation\n");
        return SETTINGS_OS_ERROR;
    }
    return 0;
}

/* Supplementary groups go first: afterwards we may not.  EPERM: there is nothing left to drop. */
static int
become(const struct passwd *pw, const char *user)
{
    if (setgroups(0, NULL) != 0) {
        int error = errno;
        fprintf(stderr, "failed to drop supplementary groups: %s\n", strerror(error));
        if (error != EPERM)
            return SETTINGS_OS_ERROR;
    }
    if (setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0) {
        fprintf(stderr, "failed to assume identity of user %s\n", user);
        return SETTINGS_OS_ERROR;
    }
    return 0;
}

int
privileges_drop(const char *user, bool keep_core)
{
    if (getuid() != 0 && geteuid() != 0)
        return 0;
    if (!user || !*user) {
        fprintf(stderr, "must add '-u root' to start as root, or '-u nobody' to run as "
                        "somebody else\n");
        return SETTINGS_BAD_USAGE;
    }
    const struct passwd *pw = getpwnam(user);
    if (!pw) {
        fprintf(stderr, "can't find the user %s to switch to\n", user);
        return SETTINGS_NO_USER;
    }
    int exit_code = become(pw, user);
    /* A process that has changed its user writes no core files unless it says so. */
    if (exit_code == 0 && keep_core)
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    return exit_code;
}

void
privileges_lock_memory(void)
{
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        fprintf(stderr, "warning: -k invalid, mlockall() failed: %s (see ulimit -l, in a unit "
                        "LimitMEMLOCK)\n", strerror(errno));
}
