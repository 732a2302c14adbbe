/*
 * memory.h -- what the system says about memory: how much this process has, how much it may have.
 *
 * Threads: any.
 */
#ifndef SERVER_MEMORY_H
#define SERVER_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of this process that are in RAM (VmRSS); 0 if the system does not say. */
size_t memory_resident_bytes(void);

/*
 * The least limit of the control groups that this process is in, bytes; UINT64_MAX: there is none,
 * or it cannot be found out.  root: "", or a directory with proc/self/cgroup and sys/fs/cgroup.
 */
uint64_t memory_cgroup_limit(const char *root);

/*
 * `wanted` bytes for the cache where `limit` holds for the whole process, which takes `base` bytes
 * beside: as much of it as fits, in whole MiB, but at least `least`.
 */
size_t memory_that_fits(size_t wanted, uint64_t limit, size_t base, size_t least);

#endif
