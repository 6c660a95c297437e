/*
 * model/held.c - configurations: copies that are shared by counting references, and what is wrong with a list
 * of them.
 *
 * The checks say what TensorFlow Serving says (model_servers/server_core.cc); change.c calls them in its
 * order. They are pure and linear, so that a list of many thousand models may be checked on an event loop.
 */
#include <stdlib.h>

#include "base/log.h"
#include "model/life.h"

/* ---- Copies ---- */

/* What does not fit turns *ok false; checked once at the end. */
static tn_str copy(tn_arena *a, tn_str s, bool *ok)
{
    tn_str c = tn_arena_dup(a, s.ptr != NULL ? s : TN_STR(""));
    *ok = *ok && c.ptr != NULL;
    return c;
}

static const tn_str *copy_strings(tn_arena *a, const tn_str *from, uint32_t n, bool *ok)
{
    tn_str *to = tn_arena_array(a, n, sizeof *to);
    *ok = *ok && to != NULL;
    for (uint32_t i = 0; i < n && to != NULL; i++)
        to[i] = copy(a, from[i], ok);
    return to;
}

static const int64_t *copy_numbers(tn_arena *a, const int64_t *from, uint32_t n, bool *ok)
{
    int64_t *to = tn_arena_array(a, n, sizeof *to);
    *ok = *ok && to != NULL;
    if (to != NULL && n > 0)
        memcpy(to, from, n * sizeof *to);
    return to;
}

tn_held *tn_held_new(const tn_model_config *from)
{
    tn_held *held = calloc(1, sizeof *held);
    if (held == NULL)
        return NULL;
    bool ok = true;
    tn_arena *a = &held->arena;
    tn_model_config *to = &held->config;
    atomic_init(&held->refs, 1);
    tn_arena_init(a, SIZE_MAX);
    *to = *from;
    to->name = copy(a, from->name, &ok);
    held->hash = tn_str_hash(to->name);
    to->base_path = copy(a, from->base_path, &ok);
    to->platform = copy(a, TN_STR("tensorflow"), &ok);
    to->type = TN_MODEL_TYPE_NONE;
    to->engine = copy(a, from->engine, &ok);
    to->specific = copy_numbers(a, from->specific, from->n_specific, &ok);
    to->label_names = copy_strings(a, from->label_names, from->n_labels, &ok);
    to->label_versions = copy_numbers(a, from->label_versions, from->n_labels, &ok);
    if (ok)
        return held;
    tn_held_release(held);
    return NULL;
}

tn_held *tn_held_retain(tn_held *held)
{
    atomic_fetch_add_explicit(&held->refs, 1, memory_order_relaxed);
    return held;
}

void tn_held_release(tn_held *held)
{
    if (held == NULL || atomic_fetch_sub_explicit(&held->refs, 1, memory_order_acq_rel) != 1)
        return;
    tn_arena_free(&held->arena);
    free(held);
}

static bool equal_labels(const tn_model_config *a, const tn_model_config *b)
{
    if (a->n_labels != b->n_labels)
        return false;
    for (uint32_t i = 0; i < a->n_labels; i++)
        if (!tn_str_eq(a->label_names[i], b->label_names[i]) || a->label_versions[i] != b->label_versions[i])
            return false;
    return true;
}

bool tn_held_equal(const tn_model_config *a, const tn_model_config *b)
{
    if (!tn_str_eq(a->base_path, b->base_path) || !tn_str_eq(a->engine, b->engine) ||
        a->policy != b->policy || a->latest != b->latest || a->n_specific != b->n_specific)
        return false;
    for (uint32_t i = 0; i < a->n_specific; i++)
        if (a->specific[i] != b->specific[i])
            return false;
    return equal_labels(a, b);
}

/* ---- Checks ---- */

static tern_code check_names(const tn_model_config *configs, uint32_t n, tern_status *st)
{
    uint32_t size = 4;
    while (size < n * 2)
        size *= 2;
    uint32_t *seen = calloc(size, sizeof *seen); /* index + 1, by hash with linear probing */
    if (seen == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %u models", n);
    tern_code code = TERN_OK;
    for (uint32_t i = 0; i < n && code == TERN_OK; i++) {
        uint32_t at = (uint32_t)tn_str_hash(configs[i].name) & (size - 1);
        while (seen[at] != 0 && !tn_str_eq(configs[seen[at] - 1].name, configs[i].name))
            at = (at + 1) & (size - 1);
        if (seen[at] != 0)
            code = tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Illegal to list model %.*s multiple times in config list",
                             TN_FMT(configs[i].name));
        seen[at] = i + 1;
    }
    free(seen);
    return code;
}

/* A scheme as TensorFlow's io::ParseURI() takes it: a letter, letters, digits and dots, then "://". */
static bool has_scheme(tn_str path)
{
    size_t n = 0;
    while (n < path.len && ((path.ptr[n] | 0x20) >= 'a' && (path.ptr[n] | 0x20) <= 'z'))
        n++;
    if (n == 0)
        return false;
    while (n < path.len && (((path.ptr[n] | 0x20) >= 'a' && (path.ptr[n] | 0x20) <= 'z') ||
                            (path.ptr[n] >= '0' && path.ptr[n] <= '9') || path.ptr[n] == '.'))
        n++;
    return tn_str_starts(tn_str_sub(path, n, path.len), TN_STR("://"));
}

tern_code tn_held_check_list(const tn_model_config *configs, uint32_t n, tern_status *st)
{
    tern_code code = check_names(configs, n, st);
    for (uint32_t i = 0; i < n && code == TERN_OK; i++) {
        tn_str path = configs[i].base_path;
        bool absolute = path.len > 0 && (path.ptr[0] == '/' || has_scheme(path));
        if (!absolute || memchr(path.ptr, 0, path.len) != NULL)
            code = tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Expected model %.*s to have an absolute path or URI; got base_path()=%.*s",
                             TN_FMT(configs[i].name), TN_FMT(path));
    }
    return code;
}

tern_code tn_held_platform(const tn_model_config *c, tn_str *platform, tern_status *st)
{
    *platform = c->platform.ptr != NULL ? c->platform : TN_STR("tensorflow");
    if (c->type == TN_MODEL_TYPE_NONE)
        return platform->len > 0 ? TERN_OK
                                 : tern_fail(st, TERN_INVALID_ARGUMENT,
                                             "Illegal setting neither ModelServerConfig::model_type "
                                             "(deprecated) nor ModelServerConfig::model_platform, model name "
                                             "is %.*s",
                                             TN_FMT(c->name));
    if (c->platform.len > 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                         "ModelServerConfig::model_platform, model name is %.*s",
                         TN_FMT(c->name));
    if (c->type != TN_MODEL_TYPE_TENSORFLOW)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "ModelServerConfig::model_type choice %d not supported.",
                         (int)c->type);
    *platform = TN_STR("tensorflow");
    return TERN_OK;
}

tern_code tn_held_check_platform(const tn_model_config *config, tern_status *st)
{
    tn_str platform;
    tern_code code = tn_held_platform(config, &platform, st);
    if (code == TERN_OK && !tn_str_eq(platform, TN_STR("tensorflow")))
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "Model %.*s requests unsupported platform %.*s",
                         TN_FMT(config->name), TN_FMT(platform));
    return code;
}
