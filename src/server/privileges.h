/*
 * privileges.h -- what the process takes from the system at the start, and what it gives up.
 *
 * Each function says on stderr what went wrong, in memcached's words, and returns the code to exit
 * with; 0: go on.  To be called by the main thread in this order, before there are others:
 *
 *     privileges_allow_core()     -r
 *     privileges_allow_files()    -c
 *     (files and ports that only root may open)
 *     privileges_drop()           -u
 *     (the store, the threads)
 *     privileges_lock_memory()    -k; after what reserves address space
 */
#ifndef SERVER_PRIVILEGES_H
#define SERVER_PRIVILEGES_H

#include <stdbool.h>

/*
 * Raises the limit of open files for *conns connections and `other` descriptors; never lowers it.
 * Where the limit suffices for the connections only, that is said and *conns is what is left.
 */
int privileges_allow_files(unsigned *conns, unsigned other);

/* Raises the limit of core files as far as possible; fails only when there would be none. */
int privileges_allow_core(void);

/*
 * Becomes that user (NULL: not given) where root has started us, which must have named one.
 * keep_core: core files shall still be written afterwards.  Does nothing for others than root.
 */
int privileges_drop(const char *user, bool keep_core);

/* Locks pages as they come into use.  A failure is a warning only. */
void privileges_lock_memory(void);

#endif
