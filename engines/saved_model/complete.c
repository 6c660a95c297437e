/*
 * complete.c - see complete.h.
 *
 * Copying tools write large files from the front and in any order, so a folder may look like a model long
 * before it is one. What a SavedModel says of itself tells: the lengths of its messages, and whether it has
 * variables. The file is read with pread() in small pieces and not mapped: one that is cut short meanwhile
 * must not be a fault.
 */
#include "complete.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/pb_wire.h"

enum { META_GRAPHS = 2, SAVER_DEF = 3, RESTORE_OP_NAME = 3, LARGEST_NUMBER = 536870911 };

/* A message in the file. */
typedef struct part {
    int fd;
    uint64_t at;
    uint64_t end;
} part;

typedef struct head {
    uint32_t number;
    uint32_t type;
    uint64_t length; /* of TN_PB_BYTES; which begin at part.at */
} head;

/* The next field's head; part.at moves behind it, and behind a value without a length. */
static bool next_field(part *p, head *h)
{
    uint8_t bytes[20];
    uint64_t key = 0;
    uint64_t value = 0;
    ssize_t n = pread(p->fd, bytes, sizeof bytes, (off_t)p->at);
    if (n <= 0)
        return false;
    const uint8_t *end = bytes + ((uint64_t)n < p->end - p->at ? (uint64_t)n : p->end - p->at);
    size_t used = tn_pb_varint(bytes, end, &key);
    if (used == 0 || key >> 3 == 0 || key >> 3 > LARGEST_NUMBER)
        return false;
    *h = (head){.number = (uint32_t)(key >> 3), .type = (uint32_t)(key & 7)};
    size_t more = 0;
    if (h->type == TN_PB_VARINT || h->type == TN_PB_BYTES)
        more = tn_pb_varint(bytes + used, end, &value);
    else if (h->type == TN_PB_FIXED64 || h->type == TN_PB_FIXED32)
        more = h->type == TN_PB_FIXED64 ? 8 : 4;
    if (more == 0 || used + more > p->end - p->at)
        return false;
    p->at += used + more;
    h->length = h->type == TN_PB_BYTES ? value : 0;
    return h->length <= p->end - p->at;
}

/*
 * false: cut short, or no such message. *found: the field `path[0]` / `path[1]` / ... is there and not empty.
 */
static bool look_for(part p, const uint32_t *path, size_t depth, bool *found)
{
    head h;
    while (p.at < p.end) {
        if (!next_field(&p, &h))
            return false;
        if (h.type == TN_PB_BYTES && h.number == path[0]) {
            part inner = {p.fd, p.at, p.at + h.length};
            if (depth == 1)
                *found |= h.length > 0;
            else if (!look_for(inner, path + 1, depth - 1, found))
                return false;
        }
        p.at += h.length;
    }
    return true;
}

/* variables.data-00000-of-00003: all three. */
static bool shards_complete(int folder)
{
    unsigned announced = 0;
    unsigned seen = 0;
    bool index = false;
    int copy = dup(folder);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    if (dir == NULL) {
        if (copy >= 0)
            close(copy);
        return false;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        unsigned shard;
        unsigned of;
        int end = 0;
        struct stat info;
        if (strcmp(entry->d_name, "variables.index") == 0)
            index = fstatat(folder, entry->d_name, &info, 0) == 0 && info.st_size > 0;
        else if (sscanf(entry->d_name, "variables.data-%5u-of-%5u%n", &shard, &of, &end) == 2 &&
                 entry->d_name[end] == '\0' && shard < of) {
            announced = of > announced ? of : announced;
            seen++;
        }
    }
    closedir(dir);
    return index && announced > 0 && seen >= announced;
}

static int open_below(const char *directory, const char *name, int flags)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    return n > 0 && (size_t)n < sizeof path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags) : -1;
}

bool tn_saved_model_whole(int fd, uint64_t size, bool *variables)
{
    static const uint32_t restore[] = {META_GRAPHS, SAVER_DEF, RESTORE_OP_NAME};
    bool graphs = false;
    *variables = false;
    return look_for((part){fd, 0, size}, restore, 1, &graphs) && graphs &&
           look_for((part){fd, 0, size}, restore, 3, variables);
}

bool tn_saved_model_complete(const char *directory)
{
    bool variables = false;
    bool whole = false;
    struct stat info;
    int fd = open_below(directory, "saved_model.pb", 0);
    if (fd < 0) {
        fd = open_below(directory, "saved_model.pbtxt", 0);
        if (fd >= 0)
            close(fd);
        return fd >= 0;
    }
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0)
        whole = tn_saved_model_whole(fd, (uint64_t)info.st_size, &variables);
    close(fd);
    if (!whole || !variables)
        return whole;
    int folder = open_below(directory, "variables", O_DIRECTORY);
    if (folder < 0)
        return false;
    whole = shards_complete(folder);
    close(folder);
    return whole;
}
