/*
 * model/source.c - version folders on disk. See source.h.
 *
 * The change time counts as well as the modification time: tools that copy trees set the latter to the
 * original's, but nobody can set the former.
 */
#include "model/source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH   16
#define MAX_ENTRIES 100000

static tern_code errno_fail(tern_status *st, const char *path)
{
    tern_code code = errno == ENOENT || errno == ENOTDIR ? TERN_NOT_FOUND
                     : errno == EACCES                   ? TERN_PERMISSION_DENIED
                                                         : TERN_UNAVAILABLE;
    return tern_fail(st, code, "%s: %s", path, strerror(errno));
}

static bool is_folder(int dir, const struct dirent *entry)
{
    if (entry->d_type == DT_DIR)
        return true;
    struct stat info;
    return (entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN) &&
           fstatat(dir, entry->d_name, &info, 0) == 0 && S_ISDIR(info.st_mode);
}

static bool add(tn_source_list *list, size_t *room, const char *base, const char *name, int64_t number)
{
    if (list->n == *room) {
        size_t more = *room == 0 ? 16 : *room * 2;
        tn_source_folder *grown = realloc(list->folders, more * sizeof *grown);
        if (grown == NULL)
            return false;
        list->folders = grown;
        *room = more;
    }
    size_t length = strlen(base);
    while (length > 1 && base[length - 1] == '/')
        length--;
    size_t size = length + strlen(name) + 2;
    char *path = malloc(size);
    if (path == NULL)
        return false;
    snprintf(path, size, "%.*s/%s", (int)length, base, name);
    list->folders[list->n++] = (tn_source_folder){number, path};
    return true;
}

/* Highest first; among names of one number the shortest first. */
static int order(const void *a, const void *b)
{
    const tn_source_folder *x = a;
    const tn_source_folder *y = b;
    if (x->number != y->number)
        return x->number > y->number ? -1 : 1;
    size_t lx = strlen(x->path);
    size_t ly = strlen(y->path);
    return lx != ly ? (lx < ly ? -1 : 1) : strcmp(x->path, y->path);
}

static void drop_doubles(tn_source_list *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (kept > 0 && list->folders[kept - 1].number == list->folders[i].number)
            free(list->folders[i].path);
        else
            list->folders[kept++] = list->folders[i];
    }
    list->n = kept;
}

/* file://HOST/PATH is /PATH; of other schemes TensorFlow says this, too. */
static tern_code path_of(const char **base_path, tern_status *st)
{
    const char *whole = *base_path;
    const char *scheme_end = strstr(whole, "://");
    if (whole[0] == '/' || scheme_end == NULL)
        return TERN_OK;
    if (strncmp(whole, "file://", 7) != 0)
        return tern_fail(st, TERN_UNIMPLEMENTED, "File system scheme '%.*s' not implemented (file: '%s')",
                         (int)(scheme_end - whole), whole, whole);
    *base_path = strchr(scheme_end + 3, '/');
    if (*base_path == NULL)
        *base_path = "/";
    return TERN_OK;
}

tern_code tn_source_scan(const char *base_path, tn_source_list *out, tern_status *st)
{
    *out = (tn_source_list){0};
    if (path_of(&base_path, st) != TERN_OK)
        return st->code;
    DIR *dir = opendir(base_path);
    if (dir == NULL)
        return errno_fail(st, base_path);
    tern_code code = TERN_OK;
    size_t room = 0;
    const struct dirent *entry;
    while (errno = 0, (entry = readdir(dir)) != NULL) {
        int64_t number;
        if (!tn_str_i64(tn_str_from(entry->d_name), &number) || !is_folder(dirfd(dir), entry))
            continue;
        if (!add(out, &room, base_path, entry->d_name, number)) {
            code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the versions under %s", base_path);
            goto out;
        }
    }
    if (errno != 0)
        code = errno_fail(st, base_path);
out:
    closedir(dir);
    if (code != TERN_OK) {
        tn_source_list_free(out);
        return code;
    }
    if (out->n > 0)
        qsort(out->folders, out->n, sizeof *out->folders, order);
    drop_doubles(out);
    return TERN_OK;
}

void tn_source_list_free(tn_source_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->folders[i].path);
    free(list->folders);
    *list = (tn_source_list){0};
}

/* ---- What a folder looks like ---- */

static uint64_t mix(uint64_t h, uint64_t value)
{
    h = (h ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ (h >> 32);
}

static int64_t ns_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Entries come in any order, so each is hashed for itself and the hashes are added. */
static void look_at(tn_source_mark *mark, uint64_t folder, const char *name, const struct stat *info)
{
    uint64_t h = mix(folder, tn_str_hash(tn_str_from(name)));
    h = mix(h, (uint64_t)info->st_ino);
    h = mix(h, (uint64_t)ns_of(info->st_mtim));
    if (!S_ISDIR(info->st_mode))
        h = mix(h, (uint64_t)info->st_size);
    mark->hash += h;
    int64_t newest =
        ns_of(info->st_mtim) > ns_of(info->st_ctim) ? ns_of(info->st_mtim) : ns_of(info->st_ctim);
    if (newest > mark->newest_ns)
        mark->newest_ns = newest;
}

/* Takes fd. */
static void walk(int fd, uint64_t folder, int depth, int *left, tn_source_mark *mark)
{
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return;
    }
    const struct dirent *entry;
    while (*left > 0 && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        --*left;
        struct stat info;
        if (fstatat(dirfd(dir), entry->d_name, &info, 0) != 0)
            continue; /* gone since, or a link to nothing: shows in the next look */
        look_at(mark, folder, entry->d_name, &info);
        if (S_ISDIR(info.st_mode) && depth < MAX_DEPTH) {
            int below = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (below >= 0)
                walk(below, mix(folder, tn_str_hash(tn_str_from(entry->d_name))), depth + 1, left, mark);
        }
    }
    closedir(dir);
}

tern_code tn_source_look(const char *folder, tn_source_mark *out, tern_status *st)
{
    *out = (tn_source_mark){0};
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat info;
    if (fd < 0)
        return errno_fail(st, folder);
    if (fstat(fd, &info) != 0) {
        close(fd);
        return errno_fail(st, folder);
    }
    look_at(out, 0, "", &info);
    int left = MAX_ENTRIES;
    walk(fd, 1, 1, &left, out);
    return TERN_OK;
}
