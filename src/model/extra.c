/*
 * model/extra.c - see model/extra.h.
 */
#include "model/extra.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/json.h"

tern_code tn_extra_read(const char *directory, tn_arena *arena, tn_str *text, tern_status *st)
{
    *text = TN_STR_NONE;
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/" TN_EXTRA_FILE, directory);
    int fd = n > 0 && (size_t)n < sizeof path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0)
        return n > 0 && (size_t)n < sizeof path && errno != ENOENT && errno != ENOTDIR
                   ? tern_fail(st, TERN_UNAVAILABLE, "%s: %s", path, strerror(errno))
                   : TERN_OK;
    tern_code code = TERN_OK;
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > TN_EXTRA_MAX) {
        code =
            tern_fail(st, TERN_INVALID_ARGUMENT, "%s: no file, or larger than %d bytes", path, TN_EXTRA_MAX);
        goto out;
    }
    char *bytes = tn_arena_alloc(arena, (size_t)info.st_size + 1);
    if (bytes == NULL) {
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %s", path);
        goto out;
    }
    size_t length = 0;
    ssize_t got = 1;
    while (length < (size_t)info.st_size &&
           (got = read(fd, bytes + length, (size_t)info.st_size - length)) > 0)
        length += (size_t)got;
    if (got < 0)
        code = tern_fail(st, TERN_UNAVAILABLE, "%s: %s", path, strerror(errno));
    *text = (tn_str){bytes, length};
out:
    close(fd);
    return code;
}

tern_code tn_extra_engine(const char *directory, tn_arena *arena, tn_str *engine, tern_status *st)
{
    tn_str text;
    tern_status parse;
    const tn_json *root;
    *engine = TN_STR_NONE;
    tern_code code = tn_extra_read(directory, arena, &text, st);
    if (code != TERN_OK || text.ptr == NULL)
        return code;
    if (tn_json_parse(text, 64, arena, &root, &parse) != TERN_OK)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s/" TN_EXTRA_FILE ": %s", directory, parse.message);
    if (root->type != TN_JSON_OBJECT)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s/" TN_EXTRA_FILE ": not an object", directory);
    const tn_json *value = tn_json_get(root, "engine");
    if (value == NULL || value->type == TN_JSON_NULL)
        return TERN_OK;
    if (value->type != TN_JSON_STRING)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "%s/" TN_EXTRA_FILE ": \"engine\" must be the name of an engine, or \"auto\"",
                         directory);
    *engine = value->string;
    return TERN_OK;
}
