/*
 * replay_main.c -- runs a fuzz target over files: the corpus, or one input that failed.
 *
 * Stands in for libFuzzer's main, so that every build, gcc's too, replays what fuzzing has found.
 * Arguments are files and directories; a directory is read one level deep.  An input is handed
 * over in a block of exactly its size: a read beyond it is a report of the address sanitizer.
 * The name is printed first, so that the last line before a crash says which input it was.
 * Nothing to replay is an error: a corpus that has got lost must not look like a success.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

static void
fail(const char *what, const char *path)
{
    fprintf(stderr, "replay: %s %s: %s\n", what, path, strerror(errno));
    exit(2);
}

static void
replay_file(const char *path, size_t size)
{
    fprintf(stderr, "replay: %s\n", path);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail("open", path);
    uint8_t *data = malloc(size);
    if (size && !data)
        fail("memory for", path);
    if (fread(data, 1, size, file) != size)
        fail("read", path);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

/* Returns the number of inputs below path. */
static unsigned
replay_path(const char *path, int depth)
{
    struct stat st;
    if (stat(path, &st) < 0)
        fail("stat", path);
    if (S_ISREG(st.st_mode)) {
        replay_file(path, (size_t)st.st_size);
        return 1;
    }
    unsigned count = 0;
    DIR *dir = depth == 0 && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char inner[4096];
        int len = snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && len > 0 && (size_t)len < sizeof(inner))
            count += replay_path(inner, depth + 1);
    }
    if (dir)
        closedir(dir);
    return count;
}

int
main(int argc, char **argv)
{
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    unsigned count = 0;
    for (int i = 1; i < argc; i++)
        count += replay_path(argv[i], 0);
    printf("replay: %u inputs\n", count);
    return count == 0;
}
