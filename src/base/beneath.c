/* base/beneath.c - see base/beneath.h. */
#include "base/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_BYTES 255
#define WRITE_AT_ONCE  ((size_t)1 << 24)

/* Cuts the first name off; false when it is none. */
static bool cut_name(tn_str *path, tn_str *name)
{
    ptrdiff_t slash = tn_str_chr(*path, '/');
    *name = slash < 0 ? *path : tn_str_sub(*path, 0, (size_t)slash);
    *path = slash < 0 ? TN_STR_NONE : tn_str_sub(*path, (size_t)slash + 1, path->len);
    return name->len > 0 && name->len <= NAME_MAX_BYTES && memchr(name->ptr, '\0', name->len) == NULL &&
           !tn_str_eq(*name, TN_STR(".")) && !tn_str_eq(*name, TN_STR(".."));
}

bool tn_beneath_is_good(tn_str path)
{
    tn_str rest = path, name;
    if (path.len == 0 || path.len > TN_BENEATH_MAX || path.ptr[path.len - 1] == '/')
        return false;
    while (rest.len > 0)
        if (!cut_name(&rest, &name))
            return false;
    return true;
}

size_t tn_beneath_name(tn_str text, char *to)
{
    size_t n = 0;
    for (; n < text.len && n < TN_BENEATH_NAME; n++) {
        char c = text.ptr[n];
        bool stays = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '_' || (c == '.' && n > 0);
        to[n] = c;
        if (!stays)
            to[n] = '_';
    }
    if (n == 0)
        to[n++] = '_';
    return n;
}

static int open_below(int folder, tn_str name, int flags)
{
    char text[NAME_MAX_BYTES + 1];
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return openat(folder, text, flags | O_NOFOLLOW | O_CLOEXEC, 0644);
}

static int enter(int folder, tn_str name, bool make)
{
    char text[NAME_MAX_BYTES + 1];
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    if (make && mkdirat(folder, text, 0755) != 0 && errno != EEXIST)
        return -1;
    return open_below(folder, name, O_RDONLY | O_DIRECTORY);
}

int tn_beneath_folder(int root, tn_str path, bool make, tn_str *name)
{
    tn_str rest = path, step;
    if (!tn_beneath_is_good(path)) {
        errno = EINVAL;
        return -1;
    }
    int folder = fcntl(root, F_DUPFD_CLOEXEC, 0);
    for (bool good = cut_name(&rest, &step); folder >= 0 && good && rest.len > 0;
         good = cut_name(&rest, &step)) {
        int next = enter(folder, step, make);
        int why = errno;
        close(folder);
        folder = next;
        errno = why;
    }
    *name = step;
    return folder;
}

int tn_beneath_open(int root, tn_str path, int64_t *length)
{
    tn_str name;
    struct stat about;
    int folder = tn_beneath_folder(root, path, false, &name);
    if (folder < 0)
        return -1;
    /* Without waiting for somebody to write into a pipe. */
    int fd = open_below(folder, name, O_RDONLY | O_NONBLOCK);
    int why = errno;
    close(folder);
    if (fd >= 0 && (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))) {
        why = EISDIR;
        close(fd);
        fd = -1;
    }
    if (fd >= 0)
        *length = about.st_size;
    errno = why;
    return fd;
}

int tn_whole_file_begin(int root, tn_str path, tn_whole_file *f)
{
    tn_str name;
    uint64_t number = 0;
    f->fd = -1;
    f->folder = tn_beneath_folder(root, path, true, &name);
    if (f->folder < 0)
        return -1;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != (ssize_t)sizeof number)
        number = (uint64_t)(uintptr_t)f;
    snprintf(f->name, sizeof f->name, "%.*s", TN_FMT(name));
    snprintf(f->part, sizeof f->part, ".%016llx.part", (unsigned long long)number);
    f->fd = openat(f->folder, f->part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (f->fd < 0) {
        int why = errno;
        close(f->folder);
        errno = why;
        return -1;
    }
    return 0;
}

int tn_whole_file_write(tn_whole_file *f, const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n > 0) {
        ssize_t done = write(f->fd, at, n < WRITE_AT_ONCE ? n : WRITE_AT_ONCE);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

int tn_whole_file_end(tn_whole_file *f, bool keep)
{
    int why = 0;
    if (close(f->fd) != 0 && keep) /* some file systems tell only now that they are full */
        why = errno;
    if (why == 0 && keep && renameat(f->folder, f->part, f->folder, f->name) != 0)
        why = errno;
    if (why != 0 || !keep)
        unlinkat(f->folder, f->part, 0);
    close(f->folder);
    f->fd = f->folder = -1;
    errno = why;
    return why == 0 ? 0 : -1;
}
