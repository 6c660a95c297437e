/*
 * tests/fuzz/replay.c - runs a fuzz target over files, for builds without libFuzzer.
 *
 * Each argument is a file or a folder (read one level deep, in name order). Every input lies in memory of its
 * own size, so that AddressSanitizer sees a read past its end. A run that read no input fails: an empty
 * corpus tests nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    uint8_t *data = NULL;
    int rc = -1;

    if (file == NULL || fstat(fileno(file), &info) != 0)
        goto out;
    size_t size = (size_t)info.st_size;
    data = malloc(size > 0 ? size : 1);
    if (data == NULL || fread(data, 1, size, file) != size)
        goto out;
    uint8_t *input = size > 0 ? data : NULL;
    LLVMFuzzerTestOneInput(input, size);
    rc = 0;
out:
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    free(data);
    if (file != NULL)
        fclose(file);
    return rc;
}

/* Returns how many inputs were run, or -1. */
static int run_folder(const char *path)
{
    struct dirent **names = NULL;
    int n = scandir(path, &names, NULL, alphasort);
    int count = 0;

    if (n < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    for (int i = 0; i < n; i++) {
        char file[4096];
        struct stat info;
        int length = snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (count >= 0 && names[i]->d_name[0] != '.' && length < (int)sizeof file && stat(file, &info) == 0 &&
            S_ISREG(info.st_mode))
            count = run_file(file) == 0 ? count + 1 : -1;
        free(names[i]);
    }
    free(names);
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;

    if (LLVMFuzzerInitialize != NULL)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        struct stat info;
        int is_folder = stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode);
        int count = is_folder ? run_folder(argv[i]) : run_file(argv[i]) == 0 ? 1 : -1;
        if (count < 0)
            return 1;
        total += count;
    }
    printf("%d inputs\n", total);
    return total > 0 ? 0 : 1;
}
