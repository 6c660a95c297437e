/*
 * model/config.c - ModelServerConfig to tn_model_config. See config.h.
 *
 * Checks come in TensorFlow Serving's order (model_servers/server_core.cc): names, base paths, then
 * platforms, so that a file with several faults gives the same sentence.
 */
#include "model/config.h"

#include "base/log.h"
#include "codec/pb_text.h"
#include "server_config.pb-c.h"

typedef Tensorflow__Serving__ModelConfig pb_model;
typedef Tensorflow__Serving__FileSystemStoragePathSourceConfig__ServableVersionPolicy pb_policy;

static tern_code check_list(pb_model **list, size_t n, tern_status *st)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(list[i]->name, list[j]->name) == 0)
                return tern_fail(st, TERN_INVALID_ARGUMENT,
                                 "Illegal to list model %s multiple times in config list", list[i]->name);
    for (size_t i = 0; i < n; i++)
        if (list[i]->base_path[0] != '/')
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Expected model %s to have an absolute path or URI; got base_path()=%s",
                             list[i]->name, list[i]->base_path);
    return TERN_OK;
}

static tern_code platform_of(const pb_model *model, tn_str *platform, tern_status *st)
{
    bool typed = model->model_type != TENSORFLOW__SERVING__MODEL_TYPE__MODEL_TYPE_UNSPECIFIED;
    *platform = tn_str_from(model->model_platform);
    if (typed && platform->len > 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                         "ModelServerConfig::model_platform, model name is %s",
                         model->name);
    if (!typed && platform->len == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                         "ModelServerConfig::model_platform, model name is %s",
                         model->name);
    if (typed) {
        tn_warn("model", "%s: model_type is deprecated, use model_platform", model->name);
        if (model->model_type != TENSORFLOW__SERVING__MODEL_TYPE__TENSORFLOW)
            return tern_fail(st, TERN_UNIMPLEMENTED,
                             "ModelServerConfig::model_type choice 'OTHER' not supported.");
        *platform = TN_STR("tensorflow");
    }
    if (!tn_str_eq(*platform, TN_STR("tensorflow")))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Model %s requests unsupported platform %.*s",
                         model->name, TN_FMT(*platform));
    return TERN_OK;
}

static bool read_policy(const pb_policy *policy, tn_arena *arena, tn_model_config *out)
{
    out->policy = TN_POLICY_LATEST;
    out->latest = 1;
    if (policy == NULL)
        return true;
    switch (policy->policy_choice_case) {
    case TENSORFLOW__SERVING__FILE_SYSTEM_STORAGE_PATH_SOURCE_CONFIG__SERVABLE_VERSION_POLICY__POLICY_CHOICE_LATEST:
        out->latest = policy->latest->num_versions > 0 ? policy->latest->num_versions : 1;
        break;
    case TENSORFLOW__SERVING__FILE_SYSTEM_STORAGE_PATH_SOURCE_CONFIG__SERVABLE_VERSION_POLICY__POLICY_CHOICE_ALL:
        out->policy = TN_POLICY_ALL;
        break;
    case TENSORFLOW__SERVING__FILE_SYSTEM_STORAGE_PATH_SOURCE_CONFIG__SERVABLE_VERSION_POLICY__POLICY_CHOICE_SPECIFIC: {
        out->policy = TN_POLICY_SPECIFIC;
        size_t n = policy->specific->n_versions;
        int64_t *numbers = tn_arena_array(arena, n, sizeof *numbers);
        if (numbers == NULL)
            return false;
        if (n > 0)
            memcpy(numbers, policy->specific->versions, n * sizeof *numbers);
        out->specific = numbers;
        out->n_specific = (uint32_t)n;
        break;
    }
    default:
        break;
    }
    return true;
}

/* A map: of equal keys the last counts. */
static bool read_labels(const pb_model *model, tn_arena *arena, tn_model_config *out)
{
    tn_str *names = tn_arena_array(arena, model->n_version_labels, sizeof *names);
    int64_t *versions = tn_arena_array(arena, model->n_version_labels, sizeof *versions);
    if (names == NULL || versions == NULL)
        return false;
    uint32_t n = 0;
    for (size_t i = 0; i < model->n_version_labels; i++) {
        tn_str key = tn_str_from(model->version_labels[i]->key);
        uint32_t at = 0;
        while (at < n && !tn_str_eq(names[at], key))
            at++;
        if (at == n) {
            names[n] = tn_arena_dup(arena, key);
            if (names[n++].ptr == NULL)
                return false;
        }
        versions[at] = model->version_labels[i]->value;
    }
    out->label_names = names;
    out->label_versions = versions;
    out->n_labels = n;
    return true;
}

static tern_code read_model(const pb_model *model, tn_arena *arena, tn_model_config *out, tern_status *st)
{
    *out = (tn_model_config){0};
    tn_str platform;
    tern_code code = platform_of(model, &platform, st);
    if (code != TERN_OK)
        return code;
    if (model->logging_config != NULL)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "No request-logger-creator provided.");
    out->name = tn_arena_dup(arena, tn_str_from(model->name));
    out->base_path = tn_arena_dup(arena, tn_str_from(model->base_path));
    out->platform = tn_arena_dup(arena, platform);
    if (out->name.ptr == NULL || out->base_path.ptr == NULL || out->platform.ptr == NULL ||
        !read_policy(model->model_version_policy, arena, out) || !read_labels(model, arena, out))
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the models' configuration");
    return TERN_OK;
}

tern_code tn_model_config_parse(tn_str text, tn_arena *arena, const tn_model_config **configs, uint32_t *n,
                                tern_status *st)
{
    *configs = NULL;
    *n = 0;
    ProtobufCMessage *message = NULL;
    tern_code code =
        tn_pb_text_parse(text, &tensorflow__serving__model_server_config__descriptor, &message, st);
    if (code != TERN_OK)
        return code;
    const Tensorflow__Serving__ModelServerConfig *config = (const void *)message;
    switch (config->config_case) {
    case TENSORFLOW__SERVING__MODEL_SERVER_CONFIG__CONFIG_MODEL_CONFIG_LIST:
        break;
    case TENSORFLOW__SERVING__MODEL_SERVER_CONFIG__CONFIG_CUSTOM_MODEL_CONFIG:
        code = tern_fail(st, TERN_UNIMPLEMENTED,
                         "custom_model_config is not supported; give a model_config_list");
        goto out;
    default:
        goto out; /* names no list: there is nothing to serve */
    }
    pb_model **list = config->model_config_list->config;
    size_t count = config->model_config_list->n_config;
    code = check_list(list, count, st);
    if (code != TERN_OK)
        goto out;
    tn_model_config *made = tn_arena_array(arena, count, sizeof *made);
    if (made == NULL) {
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %zu models", count);
        goto out;
    }
    for (size_t i = 0; i < count && code == TERN_OK; i++)
        code = read_model(list[i], arena, &made[i], st);
    if (code != TERN_OK)
        goto out;
    *configs = made;
    *n = (uint32_t)count;
out:
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}
