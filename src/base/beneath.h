/*
 * base/beneath.h - files below a folder, by paths that strangers give: nothing outside of the folder is ever
 * reached.
 *
 * A path is names joined by '/'. Empty names, "." and ".." are refused, and no symbolic link is followed, be
 * it the last name or one on the way. Any thread; the calls block.
 */
#ifndef TN_BASE_BENEATH_H
#define TN_BASE_BENEATH_H

#include "base/str.h"

/* Longest path, with its '/'. */
#define TN_BENEATH_MAX 2048

/* Most bytes of a name that is made of a stranger's text. */
#define TN_BENEATH_NAME 128
/*
 * Such a name: letters, digits, '-', '_' and '.' stay (a '.' not at the front), anything else becomes '_'.
 * Writes at most TN_BENEATH_NAME bytes and returns how many; at least one. Pure.
 */
size_t tn_beneath_name(tn_str text, char *to);
/* Whether a path has the form above; names no file system. Pure. */
bool tn_beneath_is_good(tn_str path);
/*
 * Opens the folder that the path's last name lies in; *name is that name, a slice of path. make: makes the
 * folders that are missing. Returns the descriptor, or -1 with errno.
 */
int tn_beneath_folder(int root, tn_str path, bool make, tn_str *name);
/* Opens a regular file to be read: the descriptor and its length, or -1 with errno (ELOOP: a link, EISDIR). */
int tn_beneath_open(int root, tn_str path, int64_t *length);

/* A file that appears whole or not at all. */
typedef struct tn_whole_file {
    int folder, fd;
    char name[256], part[256];
} tn_whole_file;

/* Begins the file, beside its place. 0, or -1 with errno. */
int tn_whole_file_begin(int root, tn_str path, tn_whole_file *f);
/* All bytes, or -1 with errno. */
int tn_whole_file_write(tn_whole_file *f, const void *bytes, size_t n);
/* Puts it in its place (replacing what is there), or drops it. 0, or -1 with errno: dropped. */
int tn_whole_file_end(tn_whole_file *f, bool keep);

#endif
