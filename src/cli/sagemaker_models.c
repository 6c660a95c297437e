/* cli/sagemaker_models.c - finds models in the container's folder layouts. See cli/sagemaker.h. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cli/sagemaker.h"

enum { MAX_DEPTH = 32, MAX_MODELS = 4096, MAX_VERSIONS = 4096 };

/* A model's folder while the tree is walked. */
typedef struct found {
    const char *path;
    struct found *next;
} found;

typedef struct finder {
    tn_arena *arena;
    found *models;
    uint32_t n;
} finder;

static bool all_digits(const char *name)
{
    const char *c = name;
    while (*c >= '0' && *c <= '9')
        c++;
    return c != name && *c == '\0';
}

static tern_code unreadable(const char *path, tern_status *st)
{
    return tern_fail(st, TERN_UNAVAILABLE, "%s cannot be read: %s", path, strerror(errno));
}

static tern_code no_memory(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to look for models");
}

static tern_code note_model(finder *f, const char *path, tern_status *st)
{
    for (found *m = f->models; m != NULL; m = m->next)
        if (strcmp(m->path, path) == 0)
            return TERN_OK;
    if (f->n == MAX_MODELS)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "There are more than %d models", MAX_MODELS);
    found *m = tn_arena_zalloc(f->arena, sizeof *m);
    if (m == NULL)
        return no_memory(st);
    m->path = path;
    m->next = f->models;
    f->models = m;
    f->n++;
    return TERN_OK;
}

/* parent: the folder that this one is in, NULL for the root; numbered: this one's name is all digits. */
static tern_code walk(finder *f, const char *path, const char *parent, bool numbered, int depth,
                      tern_status *st)
{
    struct stat info;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return unreadable(path, st);
    tern_code code = depth < MAX_DEPTH
                         ? TERN_OK
                         : tern_fail(st, TERN_FAILED_PRECONDITION, "%s: folders are nested more than %d deep",
                                     path, MAX_DEPTH);
    for (struct dirent *e; code == TERN_OK && (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        tn_str inner = tn_arena_printf(f->arena, "%s/%s", path, e->d_name);
        if (inner.ptr == NULL)
            code = no_memory(st);
        else if (stat(inner.ptr, &info) == 0 && S_ISDIR(info.st_mode))
            code = walk(f, inner.ptr, path, all_digits(e->d_name), depth + 1, st);
        else if (numbered && strcmp(e->d_name, "saved_model.pb") == 0)
            code = note_model(f, parent, st);
    }
    closedir(dir);
    return code;
}

static int compare_numbers(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* All entries whose names are digits: "00000123" is version 123. */
static tern_code versions_of(const char *path, tn_arena *arena, tn_model_config *config, tern_status *st)
{
    int64_t numbers[MAX_VERSIONS];
    uint32_t n = 0, kept = 0;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return unreadable(path, st);
    tern_code code = TERN_OK;
    for (struct dirent *e; code == TERN_OK && (e = readdir(dir)) != NULL;) {
        if (!all_digits(e->d_name))
            continue;
        if (n == MAX_VERSIONS)
            code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "%s has more than %d versions", path, MAX_VERSIONS);
        else if (!tn_str_i64(tn_str_from(e->d_name), &numbers[n++]))
            code = tern_fail(st, TERN_INVALID_ARGUMENT, "%s/%s: this version is beyond 64 bits", path,
                             e->d_name);
    }
    closedir(dir);
    if (code != TERN_OK)
        return code;
    qsort(numbers, n, sizeof numbers[0], compare_numbers);
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || numbers[i] != numbers[kept - 1])
            numbers[kept++] = numbers[i];
    int64_t *specific = tn_arena_array(arena, kept, sizeof *specific);
    if (specific == NULL)
        return no_memory(st);
    memcpy(specific, numbers, kept * sizeof *specific);
    config->policy = TN_POLICY_SPECIFIC;
    config->specific = specific;
    config->n_specific = kept;
    return TERN_OK;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

tern_code tn_sagemaker_find(const char *folder, tn_arena *arena, const tn_model_config **configs, uint32_t *n,
                            tern_status *st)
{
    finder f = {.arena = arena};
    tern_code code = walk(&f, folder, NULL, false, 0, st);
    if (code == TERN_OK && f.n == 0)
        code =
            tern_fail(st, TERN_FAILED_PRECONDITION,
                      "There is no SavedModel below %s: put one at %s/NAME/1/saved_model.pb", folder, folder);
    if (code != TERN_OK)
        return code;
    const char **paths = tn_arena_array(arena, f.n, sizeof *paths);
    tn_model_config *all = tn_arena_zalloc(arena, f.n * sizeof *all);
    if (paths == NULL || all == NULL)
        return no_memory(st);
    uint32_t at = 0;
    for (found *m = f.models; m != NULL; m = m->next)
        paths[at++] = m->path;
    qsort(paths, f.n, sizeof *paths, compare_paths); /* so that the first one is always the same */
    for (uint32_t i = 0; code == TERN_OK && i < f.n; i++) {
        all[i].name = tn_str_from(strrchr(paths[i], '/') + 1);
        all[i].base_path = tn_str_from(paths[i]);
        code = versions_of(paths[i], arena, &all[i], st);
    }
    *configs = all;
    *n = f.n;
    return code;
}
