/*
 * model/config.c - ModelServerConfig to tn_model_config. See config.h.
 *
 * What it says is checked where it takes effect (tn_models_change()): some checks need what is there already.
 */
#include "model/config.h"

#include "base/log.h"
#include "codec/pb_text.h"
#include "server_config.pb-c.h"

/* Of one model. They are looked through one by one, also on an event loop. */
#define LABELS_MAX 1024

typedef Tensorflow__Serving__ModelConfig pb_model;
typedef Tensorflow__Serving__FileSystemStoragePathSourceConfig__ServableVersionPolicy pb_policy;

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

static bool read_model(const pb_model *model, tn_arena *arena, tn_model_config *out)
{
    if (model->model_type != TENSORFLOW__SERVING__MODEL_TYPE__MODEL_TYPE_UNSPECIFIED)
        tn_warn("model", "%s: model_type is deprecated, use model_platform", model->name);
    *out = (tn_model_config){.name = tn_arena_dup(arena, tn_str_from(model->name)),
                             .base_path = tn_arena_dup(arena, tn_str_from(model->base_path)),
                             .platform = tn_arena_dup(arena, tn_str_from(model->model_platform)),
                             .type = (tn_model_type)model->model_type,
                             .logging = model->logging_config != NULL};
    return out->name.ptr != NULL && out->base_path.ptr != NULL && out->platform.ptr != NULL &&
           read_policy(model->model_version_policy, arena, out) && read_labels(model, arena, out);
}

tern_code tn_model_config_read(const Tensorflow__Serving__ModelConfigList *list, tn_arena *arena,
                               const tn_model_config **configs, uint32_t *n, tern_status *st)
{
    *configs = NULL;
    *n = 0;
    tn_model_config *made = tn_arena_array(arena, list->n_config, sizeof *made);
    bool ok = made != NULL;
    for (size_t i = 0; i < list->n_config; i++)
        if (list->config[i]->n_version_labels > LABELS_MAX)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Model %s has %zu version_labels; %d are the most",
                             list->config[i]->name, list->config[i]->n_version_labels, LABELS_MAX);
    for (size_t i = 0; i < list->n_config && ok; i++)
        ok = read_model(list->config[i], arena, &made[i]);
    if (!ok)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the configuration of %zu models",
                         list->n_config);
    *configs = made;
    *n = (uint32_t)list->n_config;
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
    if (config->config_case == TENSORFLOW__SERVING__MODEL_SERVER_CONFIG__CONFIG_MODEL_CONFIG_LIST)
        code = tn_model_config_read(config->model_config_list, arena, configs, n, st);
    else if (config->config_case == TENSORFLOW__SERVING__MODEL_SERVER_CONFIG__CONFIG_CUSTOM_MODEL_CONFIG)
        code = tern_fail(st, TERN_UNIMPLEMENTED,
                         "custom_model_config is not supported; give a model_config_list");
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}
