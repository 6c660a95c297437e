/*
 * folder.c - see folder.h.
 */
#include "folder.h"

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Adds the size of a file below the folder; false when it is not there, or its path too long. */
static bool file_exists(const char *directory, const char *name, uint64_t *size)
{
    char path[4096];
    struct stat info;
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (n < 0 || (size_t)n >= sizeof path || stat(path, &info) != 0)
        return false;
    *size += (uint64_t)info.st_size;
    return true;
}

tern_code tn_folder_check(const char *directory, tern_status *st)
{
    uint64_t size = 0;
    if (file_exists(directory, "saved_model.pb", &size) || file_exists(directory, "saved_model.pbtxt", &size))
        return TERN_OK;
    return tern_fail(st, TERN_NOT_FOUND,
                     "Specified file path does not appear to contain a SavedModel bundle (should have a file "
                     "called `saved_model.pb`)\nSpecified file path: %s",
                     directory);
}

uint64_t tn_folder_size(const char *directory)
{
    static const char prefix[] = "variables.data-";
    char folder[4096], name[NAME_MAX + sizeof "variables/"];
    uint64_t size = 0;
    if (!file_exists(directory, "saved_model.pb", &size))
        file_exists(directory, "saved_model.pbtxt", &size);
    int n = snprintf(folder, sizeof folder, "%s/variables", directory);
    DIR *shards = n > 0 && (size_t)n < sizeof folder ? opendir(folder) : NULL;
    for (struct dirent *e; shards != NULL && (e = readdir(shards)) != NULL;)
        if (strncmp(e->d_name, prefix, sizeof prefix - 1) == 0) {
            snprintf(name, sizeof name, "variables/%s", e->d_name);
            file_exists(directory, name, &size);
        }
    if (shards != NULL)
        closedir(shards);
    return size;
}
