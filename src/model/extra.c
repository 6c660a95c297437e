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

#define DEPTH 64

/* "engine" and "threads" of the object. what: of the file, for errors. */
static tern_code take(const tn_json *root, const char *what, tn_extra *extra, tern_status *st)
{
    const tn_json *engine = tn_json_get(root, "engine"), *threads = tn_json_get(root, "threads");
    int64_t n = 0;
    if (engine != NULL && engine->type != TN_JSON_NULL) {
        if (engine->type != TN_JSON_STRING)
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "%s/" TN_EXTRA_FILE ": \"engine\" must be the name of an engine, or \"auto\"",
                             what);
        extra->engine = engine->string;
    }
    if (threads != NULL && threads->type != TN_JSON_NULL) {
        if (threads->type != TN_JSON_NUMBER || !tn_str_i64(threads->string, &n) || n < 1 ||
            n > TN_EXTRA_THREADS)
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "%s/" TN_EXTRA_FILE ": \"threads\" must be a whole number from 1 to %d", what,
                             TN_EXTRA_THREADS);
        extra->threads = (int32_t)n;
    }
    return TERN_OK;
}

tern_code tn_extra_settings(const char *directory, tn_arena *arena, tn_extra *extra, tern_status *st)
{
    tn_str text;
    tern_status parse;
    const tn_json *root;
    *extra = (tn_extra){.engine = TN_STR_NONE};
    tern_code code = tn_extra_read(directory, arena, &text, st);
    if (code != TERN_OK || text.ptr == NULL)
        return code;
    if (tn_json_parse(text, DEPTH, arena, &root, &parse) != TERN_OK)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s/" TN_EXTRA_FILE ": %s", directory, parse.message);
    if (root->type != TN_JSON_OBJECT)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s/" TN_EXTRA_FILE ": not an object", directory);
    return take(root, directory, extra, st);
}

/* ---- Writing ---- */

static void put(tn_buf *out, const tn_json *value)
{
    const bool object = value->type == TN_JSON_OBJECT;
    switch (value->type) {
    case TN_JSON_NULL:
        tn_buf_z(out, "null");
        return;
    case TN_JSON_BOOL:
        tn_buf_z(out, value->boolean ? "true" : "false");
        return;
    case TN_JSON_NUMBER:
        tn_buf_str(out, value->string);
        return;
    case TN_JSON_STRING:
        tn_json_quote(out, value->string);
        return;
    case TN_JSON_ARRAY:
    case TN_JSON_OBJECT:
        break;
    }
    tn_buf_char(out, object ? '{' : '[');
    for (const tn_json *child = value->first; child != NULL; child = child->next) {
        if (child != value->first)
            tn_buf_z(out, ", ");
        if (object) {
            tn_json_quote(out, child->key);
            tn_buf_z(out, ": ");
        }
        put(out, child);
    }
    tn_buf_char(out, object ? '}' : ']');
}

tern_code tn_extra_merge(tn_str text, const tn_extra *extra, tn_arena *arena, tn_buf *out, tern_status *st)
{
    tern_status parse;
    const tn_json *root = NULL;
    const char *between = "";
    if (text.ptr != NULL && tn_json_parse(text, DEPTH, arena, &root, &parse) != TERN_OK)
        return tern_fail(st, TERN_INVALID_ARGUMENT, TN_EXTRA_FILE ": %s", parse.message);
    if (root != NULL && root->type != TN_JSON_OBJECT)
        return tern_fail(st, TERN_INVALID_ARGUMENT, TN_EXTRA_FILE ": not an object");
    tn_buf_z(out, "{");
    if (extra->engine.len > 0) {
        tn_buf_z(out, "\n  \"engine\": ");
        tn_json_quote(out, extra->engine);
        between = ",";
    }
    if (extra->threads > 0) {
        tn_buf_printf(out, "%s\n  \"threads\": %d", between, extra->threads);
        between = ",";
    }
    for (const tn_json *m = root != NULL ? root->first : NULL; m != NULL; m = m->next) {
        if (tn_str_eq(m->key, TN_STR("engine")) || tn_str_eq(m->key, TN_STR("threads")))
            continue;
        tn_buf_printf(out, "%s\n  ", between);
        tn_json_quote(out, m->key);
        tn_buf_z(out, ": ");
        put(out, m);
        between = ",";
    }
    tn_buf_z(out, "\n}\n");
    return out->failed ? tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory") : TERN_OK;
}
