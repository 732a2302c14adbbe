/*
 * daemon.c -- -d, -P and MEMCACHED_PORT_FILENAME.
 *
 * memcached's parent leaves as soon as it has forked, so a start that fails in the background looks
 * like one that succeeded, and its messages go to /dev/null.  Here the parent stays until the child
 * says that it is ready, and the streams are given up only then.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"

int
daemon_fill_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)    /* the lowest is taken */
            return -errno;
    return 0;
}

/* One byte: ready.  None: the child has ended, and its exit code is ours. */
__attribute__((noreturn)) static void
wait_for_child(pid_t child, int fd)
{
    char byte;
    ssize_t n;
    int status = 0;

    do
        n = read(fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        _exit(EXIT_SUCCESS);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

int
daemon_start(struct daemon_wait *wait, bool keep_directory)
{
    int fds[2];

    fflush(NULL);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return -errno;
    pid_t child = fork();
    if (child < 0) {
        int error = errno;
        close(fds[0]);
        close(fds[1]);
        return -error;
    }
    if (child > 0) {
        close(fds[1]);
        wait_for_child(child, fds[0]);
    }
    close(fds[0]);
    *wait = (struct daemon_wait){.waiting = true, .fd = fds[1]};
    if (setsid() < 0 || (!keep_directory && chdir("/") != 0))
        return -errno;
    return 0;
}

static int
give_up_streams(void)
{
    int fd = open("/dev/null", O_RDWR);

    if (fd < 0)
        return -errno;
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++) {
        if (dup2(fd, stream) < 0)
            return -errno;
    }
    if (fd > STDERR_FILENO)
        close(fd);
    return 0;
}

int
daemon_ready(struct daemon_wait *wait, bool keep_streams)
{
    if (!wait->waiting)
        return 0;
    int error = keep_streams ? 0 : give_up_streams();
    /* A parent that has been killed meanwhile is no reason to stop. */
    if (error == 0)
        send(wait->fd, "", 1, MSG_NOSIGNAL);
    close(wait->fd);
    wait->waiting = false;
    return error;
}

/* 0: there is none, or it says something else. */
static pid_t
read_pid(const char *path)
{
    char line[64];
    uint32_t pid = 0;
    FILE *f = fopen(path, "re");

    if (!f)
        return 0;
    if (!fgets(line, sizeof(line), f) || !opt_number_strict(line, &pid) || pid > INT_MAX)
        pid = 0;
    fclose(f);
    return (pid_t)pid;
}

static void
warn_about_running(const char *path)
{
    pid_t pid = read_pid(path);

    if (pid > 0 && (kill(pid, 0) == 0 || errno == EPERM))
        fprintf(stderr, "WARNING: The pid file contained the following (running) pid: %ld\n",
                (long)pid);
}

void
daemon_write_pid(const char *path)
{
    char unfinished[PATH_MAX];

    if (snprintf(unfinished, sizeof(unfinished), "%s.tmp", path) >= (int)sizeof(unfinished)) {
        fprintf(stderr, "Could not open the pid file %s for writing: %s\n", path,
                strerror(ENAMETOOLONG));
        return;
    }
    warn_about_running(path);
    FILE *f = fopen(unfinished, "we");
    if (!f) {
        fprintf(stderr, "Could not open the pid file %s for writing: %s\n", unfinished,
                strerror(errno));
        return;
    }
    fprintf(f, "%ld\n", (long)getpid());
    if (fclose(f) != 0) {
        fprintf(stderr, "Could not close the pid file %s: %s\n", unfinished, strerror(errno));
        unlink(unfinished);
    } else if (rename(unfinished, path) != 0) {
        fprintf(stderr, "Could not rename the pid file from %s to %s: %s\n", unfinished, path,
                strerror(errno));
        unlink(unfinished);
    }
}

void
daemon_remove_pid(const char *path)
{
    pid_t pid = read_pid(path);

    if (pid != 0 && pid != getpid())
        return;
    if (unlink(path) != 0)
        fprintf(stderr, "Could not remove the pid file %s: %s\n", path, strerror(errno));
}

void
port_file_open(struct port_file *p)
{
    size_t size = sizeof(p->unfinished);

    p->file = NULL;
    p->path = getenv("MEMCACHED_PORT_FILENAME");
    if (!p->path)
        return;
    if (snprintf(p->unfinished, size, "%s.lck", p->path) >= (int)size)
        errno = ENAMETOOLONG;
    else
        p->file = fopen(p->unfinished, "we");
    if (!p->file)
        fprintf(stderr, "Failed to open \"%s\": %s\n", p->unfinished, strerror(errno));
}

void
port_file_add(struct port_file *p, const char *network, bool ipv6, int port)
{
    if (p->file)
        fprintf(p->file, "%s INET%s: %d\n", network, ipv6 ? "6" : "", port);
}

void
port_file_close(struct port_file *p)
{
    if (!p->file)
        return;
    bool written = fclose(p->file) == 0;
    p->file = NULL;
    if (!written || rename(p->unfinished, p->path) != 0)
        fprintf(stderr, "Failed to write \"%s\": %s\n", p->path, strerror(errno));
}
