/*
 * cli/platform_config.c - tensorflow.serving.PlatformConfigMap, text. See cli/parts.h.
 *
 * It holds, for the platform "tensorflow", a SessionBundleConfig: what batching, session, tags and warm-up
 * flags say otherwise. Those flags do not count beside it, nor do their defaults: a field that is left out is
 * off.
 */
#include "base/log.h"
#include "cli/parts.h"
#include "codec/pb_text.h"
#include "server_config.pb-c.h"

typedef Tensorflow__Serving__SessionBundleConfig pb_bundle;

#define ADAPTER "tensorflow.serving.SavedModelBundleSourceAdapterConfig"

/* Returns owned in *out. What an Any of that type holds. */
static tern_code unpack_adapter(const Google__Protobuf__Any *any, pb_bundle **out, tern_status *st)
{
    const char *url = any != NULL ? any->type_url : "", *slash = strrchr(url, '/');
    if (slash == NULL || slash[1] == '\0')
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Supplied config's type_url could not be parsed: %s",
                         url);
    if (strcmp(slash + 1, ADAPTER) != 0)
        return tern_fail(st, TERN_INTERNAL, "Unable to find compiled-in proto descriptor of type %s",
                         slash + 1);
    Tensorflow__Serving__SavedModelBundleSourceAdapterConfig *adapter =
        tensorflow__serving__saved_model_bundle_source_adapter_config__unpack(NULL, any->value.len,
                                                                              any->value.data);
    if (adapter == NULL)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Malformed content of Any.value");
    *out = adapter->legacy_config; /* moved out */
    adapter->legacy_config = NULL;
    protobuf_c_message_free_unpacked(&adapter->base, NULL);
    if (*out == NULL)
        *out = (pb_bundle *)protobuf_c_message_unpack(&tensorflow__serving__session_bundle_config__descriptor,
                                                      NULL, 0, NULL);
    return *out != NULL ? TERN_OK : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the configuration");
}

static tern_code find_tensorflow(tn_parts *p, const Tensorflow__Serving__PlatformConfigMap *map,
                                 pb_bundle **out, tern_status *st)
{
    const Tensorflow__Serving__PlatformConfig *found = NULL;
    bool listed = false;
    for (size_t i = 0; i < map->n_platform_configs; i++) {
        if (strcmp(map->platform_configs[i]->key, "tensorflow") == 0) {
            found = map->platform_configs[i]->value; /* a map: of equal keys the last counts */
            listed = true;
        } else {
            tn_warn("config",
                    "platform %s of --platform_config_file is not used: models are of platform "
                    "tensorflow",
                    map->platform_configs[i]->key);
        }
    }
    if (!listed && p->n_configs > 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Model %.*s requests unsupported platform tensorflow",
                         TN_FMT(p->configs[0].name));
    return listed ? unpack_adapter(found != NULL ? found->source_adapter_config : NULL, out, st) : TERN_OK;
}

/* Tags with commas between them, as the flag has them. NULL when memory is short. */
static const char *join_tags(tn_parts *p, const pb_bundle *bundle)
{
    tn_str all = TN_STR("");
    for (size_t i = 0; i < bundle->n_saved_model_tags && all.ptr != NULL; i++)
        all = tn_arena_printf(&p->arena, "%.*s%s%s", TN_FMT(all), i > 0 ? "," : "",
                              bundle->saved_model_tags[i]);
    return all.ptr;
}

static tern_code take_over(tn_parts *p, const pb_bundle *bundle, tern_status *st)
{
    tn_options *o = &p->o;
    const Tensorflow__Serving__ModelWarmupOptions *warmup = bundle->model_warmup_options;
    o->saved_model_tags = join_tags(p, bundle);
    o->mixed_precision = tn_arena_dup(&p->arena, tn_str_from(bundle->mixed_precision)).ptr;
    if (o->saved_model_tags == NULL || o->mixed_precision == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the configuration");
    o->enable_model_warmup = bundle->enable_model_warmup;
    o->num_request_iterations_for_warmup =
        warmup != NULL && warmup->num_request_iterations != NULL ? warmup->num_request_iterations->value : 0;
    o->enable_batching = bundle->batching_parameters != NULL;
    o->batching_parameters_file = "";
    o->enable_per_model_batching_parameters = bundle->enable_per_model_batching_params;
    o->per_process_gpu_memory_fraction = 0;
    o->tensorflow_session_config_file = "";
    return TERN_OK;
}

tern_code tn_parts_platform(tn_parts *p, tern_status *st)
{
    ProtobufCMessage *message;
    pb_bundle *bundle = NULL;
    if (p->o.platform_config_file[0] == '\0')
        return TERN_OK;
    tern_code code = tn_config_message(p, "platform_config_file", p->o.platform_config_file,
                                       &tensorflow__serving__platform_config_map__descriptor, &message, st);
    if (code != TERN_OK)
        return code;
    code = find_tensorflow(p, (const void *)message, &bundle, st);
    protobuf_c_message_free_unpacked(message, NULL);
    p->platform = (ProtobufCMessage *)bundle;
    return code == TERN_OK && bundle != NULL ? take_over(p, bundle, st) : code;
}

void tn_parts_platform_free(tn_parts *p)
{
    if (p->platform != NULL)
        protobuf_c_message_free_unpacked(p->platform, NULL);
    p->platform = NULL;
}
