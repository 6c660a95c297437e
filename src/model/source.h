/*
 * model/source.h - what lies under a base path: version folders, and whether one of them is still being
 * copied.
 *
 * Only reads the file system; knows nothing of models or engines. Blocks as long as the file system does: for
 * the watcher thread.
 */
#ifndef TN_MODEL_SOURCE_H
#define TN_MODEL_SOURCE_H

#include "base/str.h"

/* A folder whose name is a version number. */
typedef struct tn_source_folder {
    int64_t number;
    char *path; /* base path, '/', name as it is on disk ("0000007") */
} tn_source_folder;

typedef struct tn_source_list {
    tn_source_folder *folders; /* highest number first, each number once */
    size_t n;
} tn_source_list;

/*
 * Folders (links to folders too) of base_path whose whole name is a decimal int64; others are passed over. Of
 * several names with the same number the plain one ("7") counts, else the shortest. NOT_FOUND when there is
 * no base path, UNIMPLEMENTED when it names another file system (gs://), else what stops the reading. *out is
 * owned (tn_source_list_free), empty on error.
 */
TERN_MUST_USE tern_code tn_source_scan(const char *base_path, tn_source_list *out, tern_status *st);
void tn_source_list_free(tn_source_list *list);

/* What a folder looks like: equal marks, nothing was written in between. */
typedef struct tn_source_mark {
    uint64_t hash;     /* of names, sizes, inodes and modification times of all files */
    int64_t newest_ns; /* latest modification or status change of them, CLOCK_REALTIME */
} tn_source_mark;

/*
 * Looks at a folder with all that is in it (16 levels, 100,000 entries at most). NOT_FOUND when it is not
 * there.
 */
TERN_MUST_USE tern_code tn_source_look(const char *folder, tn_source_mark *out, tern_status *st);

#endif
