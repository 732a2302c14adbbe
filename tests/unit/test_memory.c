/*
 * test_memory.c -- limits of control groups, read from made-up file systems.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/memory.h"

#define MIB ((size_t)1 << 20)

static char root[64];

static int
make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test_memory.XXXXXX");
    return mkdtemp(root) == NULL;
}

static int
drop_root(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

/* With the directories that lead to it. */
static void
put(const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void
test_no_groups(void **state)
{
    (void)state;
    assert_true(memory_cgroup_limit(root) == UINT64_MAX);
    put("proc/self/cgroup", "0::/\n");
    assert_true(memory_cgroup_limit(root) == UINT64_MAX);
    put("proc/self/cgroup", "nonsense\n1:memory\n");
    assert_true(memory_cgroup_limit(root) == UINT64_MAX);
}

static void
test_version_2(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/system.slice/larderd.service\n");
    put("sys/fs/cgroup/system.slice/larderd.service/memory.max", "max\n");
    assert_true(memory_cgroup_limit(root) == UINT64_MAX);
    put("sys/fs/cgroup/system.slice/memory.max", "104857600\n");
    assert_int_equal(memory_cgroup_limit(root), 100 * MIB);
    put("sys/fs/cgroup/system.slice/larderd.service/memory.max", "52428800\n");
    assert_int_equal(memory_cgroup_limit(root), 50 * MIB);
}

/* In a container that has a view of its own, the group is the root of what is mounted. */
static void
test_container(void **state)
{
    (void)state;
    put("proc/self/cgroup", "0::/\n");
    put("sys/fs/cgroup/memory.max", "33554432\n");
    assert_int_equal(memory_cgroup_limit(root), 32 * MIB);
    put("proc/self/cgroup", "0::/docker/not-seen-from-here\n");
    assert_int_equal(memory_cgroup_limit(root), 32 * MIB);
}

static void
test_version_1(void **state)
{
    (void)state;
    put("proc/self/cgroup", "3:cpu,cpuacct:/a\n2:hugememory:/x\n4:freezer,memory:/a/b\n0::/a\n");
    put("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1048576\n");
    put("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(memory_cgroup_limit(root) == UINT64_MAX);
    put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "67108864\n");
    assert_int_equal(memory_cgroup_limit(root), 64 * MIB);
}

static void
test_that_fits(void **state)
{
    (void)state;
    assert_int_equal(memory_that_fits(64 * MIB, UINT64_MAX, 8 * MIB, 8 * MIB), 64 * MIB);
    assert_int_equal(memory_that_fits(64 * MIB, 72 * MIB, 8 * MIB, 8 * MIB), 64 * MIB);
    assert_int_equal(memory_that_fits(64 * MIB, 72 * MIB - 1, 8 * MIB, 8 * MIB), 63 * MIB);
    assert_int_equal(memory_that_fits(64 * MIB, 40 * MIB, 8 * MIB, 8 * MIB), 32 * MIB);
    assert_int_equal(memory_that_fits(64 * MIB, 40 * MIB, 8 * MIB, 36 * MIB), 36 * MIB);
    assert_int_equal(memory_that_fits(64 * MIB, 1 * MIB, 8 * MIB, 8 * MIB), 8 * MIB);
}

static void
test_resident(void **state)
{
    (void)state;
    size_t before = memory_resident_bytes();
    assert_true(before > 0);
    char *block = malloc(32 * MIB);
    assert_non_null(block);
    memset(block, 1, 32 * MIB);
    size_t after = memory_resident_bytes();
    assert_true(after >= before + 30 * MIB);
    assert_int_equal(block[after % (32 * MIB)], 1);
    free(block);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_groups, make_root, drop_root),
        cmocka_unit_test_setup_teardown(test_version_2, make_root, drop_root),
        cmocka_unit_test_setup_teardown(test_container, make_root, drop_root),
        cmocka_unit_test_setup_teardown(test_version_1, make_root, drop_root),
        cmocka_unit_test(test_that_fits),
        cmocka_unit_test(test_resident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
