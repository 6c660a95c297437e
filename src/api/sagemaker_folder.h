/*
 * api/sagemaker_folder.h - what is below a model's url: whether it is a model's folder at all, its versions,
 * its size.
 *
 * Follows python_service.py (validate_model_dir: some folder whose name is a number, at any depth) and
 * tfs_utils.py (find_model_versions: what has a number as its name right below). Reads folders: not on an
 * event loop. Symbolic links are not followed downwards, and a tree is looked at no further than
 * TN_FOLDER_ENTRIES.
 */
#ifndef TN_API_SAGEMAKER_FOLDER_H
#define TN_API_SAGEMAKER_FOLDER_H

#include "base/arena.h"

enum { TN_FOLDER_ENTRIES = 200000, TN_FOLDER_DEPTH = 64, TN_FOLDER_VERSIONS = 4096 };

typedef struct tn_folder {
    bool valid;              /* there is a folder with a number somewhere below */
    const int64_t *versions; /* in the arena */
    uint32_t n;
    bool strange;  /* a number among them that no version can have, or too many of them */
    int64_t bytes; /* of the files below those versions */
} tn_folder;

/* path: absolute, ending in NUL. Everything empty when it cannot be read, or memory is short. */
void tn_folder_look(const char *path, tn_arena *arena, tn_folder *out);

#endif
