/*
 * daemon.h -- going into the background, and the files that tell others where we are.
 *
 *     daemon_fill_streams() before anything is opened
 *     daemon_start()        -d; before there are threads
 *     (sockets, threads)
 *     daemon_write_pid()    -P
 *     daemon_ready()        -d; clients are served from here on
 *     (serving)
 *     daemon_remove_pid()   -P and -d
 *
 * The port file is for those who asked for any free port: MEMCACHED_PORT_FILENAME names it.
 */
#ifndef SERVER_DAEMON_H
#define SERVER_DAEMON_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

/* The child's end of the wait; zero where there is no daemon: then daemon_ready() does nothing. */
struct daemon_wait {
    bool waiting;
    int fd;
};

/*
 * Standard streams that were closed by who started us become /dev/null: what is opened next would
 * take their place, and be written to or replaced as a stream.  0 or -errno.
 */
int daemon_fill_streams(void);

/*
 * Returns in the child only: 0, or -errno when there is none.  The parent waits for daemon_ready()
 * and exits with 0, or with the child's exit code when that ends before.
 */
int daemon_start(struct daemon_wait *wait, bool keep_directory);

/* Lets the parent go.  Standard streams go to /dev/null unless they are kept.  0 or -errno. */
int daemon_ready(struct daemon_wait *wait, bool keep_streams);

/*
 * Writes our process id, complete under its name or not at all.  Warns when the file names another
 * process that lives; failures are said on stderr and do no harm.
 */
void daemon_write_pid(const char *path);
/* Not a file that names another process: a daemon that was started meanwhile. */
void daemon_remove_pid(const char *path);

/* Lines of listening ports.  Inactive where the environment names no file. */
struct port_file {
    FILE *file;
    char unfinished[PATH_MAX];
    const char *path;
};

void port_file_open(struct port_file *p);
/* network: "TCP" or "UDP"; ipv6: the family. */
void port_file_add(struct port_file *p, const char *network, bool ipv6, int port);
/* The file appears. */
void port_file_close(struct port_file *p);

#endif
