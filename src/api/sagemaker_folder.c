/* api/sagemaker_folder.c - see api/sagemaker_folder.h. */
#include "api/sagemaker_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct walk {
    uint32_t left;       /* entries that may still be looked at */
    bool until_numbered; /* stop at the first folder with a number */
    bool numbered;
    int64_t bytes;
} walk;

static bool is_number(const char *name)
{
    const char *c = name;
    while (*c >= '0' && *c <= '9')
        c++;
    return c != name && *c == '\0';
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* NULL when it is none, or cannot be read. */
static DIR *open_folder(int at, const char *name, int flags)
{
    const int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK | flags);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL && fd >= 0)
        close(fd);
    return dir;
}

/* Closes dir. Links to folders count by their name, as in os.walk(), and are not gone into. */
static void look_below(DIR *dir, walk *w, int depth)
{
    const struct dirent *e;
    while (w->left > 0 && !(w->until_numbered && w->numbered) && (e = readdir(dir)) != NULL) {
        struct stat info;
        if (is_dots(e->d_name) || fstatat(dirfd(dir), e->d_name, &info, 0) != 0)
            continue;
        w->left--;
        if (!S_ISDIR(info.st_mode)) {
            w->bytes += S_ISREG(info.st_mode) ? info.st_size : 0;
            continue;
        }
        w->numbered |= is_number(e->d_name);
        DIR *below = depth > 1 ? open_folder(dirfd(dir), e->d_name, O_NOFOLLOW) : NULL;
        if (below != NULL)
            look_below(below, w, depth - 1);
    }
    closedir(dir);
}

/* The versions right below, and the size of each. */
static void read_versions(DIR *dir, tn_arena *arena, tn_folder *out)
{
    int64_t *versions = tn_arena_array(arena, TN_FOLDER_VERSIONS, sizeof *versions);
    walk w = {.left = TN_FOLDER_ENTRIES};
    const struct dirent *e;
    uint32_t looked = 0;
    while (versions != NULL && looked++ < TN_FOLDER_ENTRIES && (e = readdir(dir)) != NULL) {
        if (!is_number(e->d_name))
            continue;
        int64_t number;
        if (out->n == TN_FOLDER_VERSIONS || !tn_str_i64(tn_str_from(e->d_name), &number)) {
            out->strange = true;
            continue;
        }
        bool twice = false; /* 1 and 01 */
        for (uint32_t i = 0; i < out->n; i++)
            twice |= versions[i] == number;
        if (!twice)
            versions[out->n++] = number;
        DIR *below = open_folder(dirfd(dir), e->d_name, 0);
        if (below != NULL)
            look_below(below, &w, TN_FOLDER_DEPTH);
    }
    out->versions = versions;
    out->bytes = w.bytes;
}

void tn_folder_look(const char *path, tn_arena *arena, tn_folder *out)
{
    *out = (tn_folder){.valid = false};
    walk w = {.left = TN_FOLDER_ENTRIES, .until_numbered = true};
    DIR *dir = open_folder(AT_FDCWD, path, 0);
    if (dir == NULL)
        return;
    look_below(dir, &w, TN_FOLDER_DEPTH);
    out->valid = w.numbered;
    dir = out->valid ? open_folder(AT_FDCWD, path, 0) : NULL;
    if (dir == NULL)
        return;
    read_versions(dir, arena, out);
    closedir(dir);
}
