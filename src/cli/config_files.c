/* cli/config_files.c - the files that flags name. See cli/parts.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/parts.h"
#include "codec/pb_text.h"
#include "model/config.h"
#include "server_config.pb-c.h"

#define CONFIG_FILE_MAX (16u << 20)
#define METRICS_PATH    "/monitoring/prometheus/metrics"

/* TensorFlow's code for what the system says about a file (tsl/platform/errors.cc). */
static tern_code code_of(int error)
{
    switch (error) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return TERN_NOT_FOUND;
    case EACCES:
    case EPERM:
        return TERN_PERMISSION_DENIED;
    case EINVAL:
    case ENAMETOOLONG:
        return TERN_INVALID_ARGUMENT;
    case ENOTDIR:
    case EISDIR:
        return TERN_FAILED_PRECONDITION;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return TERN_RESOURCE_EXHAUSTED;
    default:
        return TERN_UNKNOWN;
    }
}

static tern_code file_error(const char *path, int error, tern_status *st)
{
    return tern_fail(st, code_of(error), "%s; %s", path, strerror(error));
}

/* The original maps files into memory: what cannot be mapped cannot be read. */
static int unreadable(const struct stat *info)
{
    return info->st_size == 0 ? EINVAL : !S_ISREG(info->st_mode) ? ENODEV : 0;
}

tern_code tn_config_read(const char *path, tn_arena *arena, tn_str *text, tern_status *st)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return file_error(path, errno, st);
    int error = fstat(fd, &info) != 0 ? errno : unreadable(&info);
    if (error != 0 || info.st_size > CONFIG_FILE_MAX) {
        close(fd);
        return error != 0 ? file_error(path, error, st)
                          : tern_fail(st, TERN_OUT_OF_RANGE,
                                      "%s; more than %u bytes are too many for a "
                                      "configuration file",
                                      path, CONFIG_FILE_MAX);
    }
    char *bytes = tn_arena_alloc(arena, (size_t)info.st_size + 1);
    ssize_t n = bytes != NULL ? read(fd, bytes, (size_t)info.st_size) : -1;
    error = bytes == NULL ? ENOMEM : errno;
    close(fd);
    if (n < 0)
        return file_error(path, error, st);
    *text = (tn_str){bytes, (size_t)n};
    return TERN_OK;
}

/* What was said of a file, in the form that the manner wants: of its text, or that it cannot be read. */
static tern_code of_file(const tn_parts *p, const char *flag, const char *path, bool of_text, tern_status *st)
{
    char said[512];
    snprintf(said, sizeof said, "%s", st->message);
    if (p->manner == TN_MANNER_SERVING && !of_text)
        return st->code;
    if (p->manner == TN_MANNER_SERVING) {
        tn_error("config", "--%s=%s: %s", flag, path, said);
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Invalid protobuf file: '%s'", path);
    }
    const char *words = of_text ? NULL : strstr(said, "; ");
    words = words == NULL ? said : words + 2;
    if (!of_text && strcmp(words, strerror(ENODEV)) == 0)
        words = "is a folder or a device; give a file";
    else if (!of_text && strcmp(words, strerror(EINVAL)) == 0)
        words = "is empty";
    return tern_fail(st, st->code, "--%s=%s: %s", flag, path, words);
}

tern_code tn_config_message(tn_parts *p, const char *flag, const char *path,
                            const ProtobufCMessageDescriptor *type, ProtobufCMessage **out, tern_status *st)
{
    tn_str text;
    *out = NULL;
    if (tn_config_read(path, &p->arena, &text, st) != TERN_OK)
        return of_file(p, flag, path, false, st);
    if (tn_pb_text_parse(text, type, out, st) != TERN_OK)
        return of_file(p, flag, path, true, st);
    return TERN_OK;
}

/* ---- models ---- */

static tern_code configs_of_file(tn_parts *p, tern_status *st)
{
    const char *path = p->o.model_config_file;
    tn_str text;
    if (tn_config_read(path, &p->arena, &text, st) != TERN_OK)
        return of_file(p, "model_config_file", path, false, st);
    if (tn_model_config_parse(text, &p->arena, &p->configs, &p->n_configs, st) == TERN_OK)
        return TERN_OK;
    bool of_text = strncmp(st->message, "line ", 5) == 0;
    return of_text || p->manner != TN_MANNER_SERVING ? of_file(p, "model_config_file", path, true, st)
                                                     : st->code;
}

/* What the original's container starts it with: ${MODEL_BASE_PATH}/${MODEL_NAME}. */
static bool model_of_environment(tn_parts *p)
{
    const char *name = getenv("MODEL_NAME"), *base = getenv("MODEL_BASE_PATH");
    bool has_name = name != NULL && name[0] != '\0', has_base = base != NULL && base[0] != '\0';
    if (!has_name && !has_base)
        return false;
    name = has_name ? name : "model";
    tn_str path = tn_arena_printf(&p->arena, "%s/%s", has_base ? base : "/models", name);
    if (path.ptr == NULL)
        return false;
    p->o.model_base_path = path.ptr;
    if (!tn_options_given("model_name"))
        p->o.model_name = name;
    tn_info("config", "MODEL_NAME and MODEL_BASE_PATH of the environment: model %s in %s", p->o.model_name,
            path.ptr);
    return true;
}

tern_code tn_parts_configs(tn_parts *p, tern_status *st)
{
    if (p->o.model_config_file[0] != '\0')
        return configs_of_file(p, st);
    if (p->o.model_base_path[0] == '\0' && !model_of_environment(p))
        return p->manner == TN_MANNER_SERVING
                   ? tern_fail(st, TERN_INVALID_ARGUMENT,
                               "Both server_options.model_base_path and server_options.model_config_file "
                               "are empty!")
                   : tern_fail(st, TERN_INVALID_ARGUMENT,
                               "There is no model to serve: give --model_base_path=DIR, the folder of its "
                               "numbered versions, or --model_config_file=FILE");
    tn_model_config *one = tn_arena_zalloc(&p->arena, sizeof *one);
    if (one == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the configuration");
    one->name = tn_str_from(p->o.model_name);
    one->base_path = tn_str_from(p->o.model_base_path);
    p->configs = one;
    p->n_configs = 1;
    return TERN_OK;
}

/* ---- the rest ---- */

tern_code tn_parts_monitoring(tn_parts *p, tern_status *st)
{
    ProtobufCMessage *message;
    if (p->o.monitoring_config_file[0] == '\0')
        return TERN_OK;
    tern_code code = tn_config_message(p, "monitoring_config_file", p->o.monitoring_config_file,
                                       &tensorflow__serving__monitoring_config__descriptor, &message, st);
    if (code != TERN_OK)
        return code;
    const Tensorflow__Serving__PrometheusConfig *prometheus =
        ((const Tensorflow__Serving__MonitoringConfig *)message)->prometheus_config;
    if (prometheus != NULL && prometheus->enable) {
        tn_str path = tn_str_from(prometheus->path[0] != '\0' ? prometheus->path : METRICS_PATH);
        p->server.metrics_path = tn_arena_dup(&p->arena, path);
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return TERN_OK;
}

tern_code tn_parts_thread_pools(tn_parts *p, tern_status *st)
{
    ProtobufCMessage *message;
    if (p->o.thread_pool_factory_config_file[0] == '\0')
        return TERN_OK;
    tern_code code =
        tn_config_message(p, "thread_pool_factory_config_file", p->o.thread_pool_factory_config_file,
                          &tensorflow__serving__thread_pool_factory_config__descriptor, &message, st);
    if (code != TERN_OK)
        return code;
    const Google__Protobuf__Any *any =
        ((const Tensorflow__Serving__ThreadPoolFactoryConfig *)message)->thread_pool_factory_config;
    const char *url = any != NULL ? any->type_url : "", *slash = strrchr(url, '/');
    if (p->manner != TN_MANNER_SERVING)
        code = tern_fail(st, TERN_UNIMPLEMENTED,
                         "--thread_pool_factory_config_file: there is no factory of thread pools, here or in "
                         "TensorFlow Serving itself; use --tensorflow_session_config_file");
    else if (slash == NULL || slash[1] == '\0')
        code =
            tern_fail(st, TERN_INVALID_ARGUMENT, "Supplied config's type_url could not be parsed: %s", url);
    else
        code =
            tern_fail(st, TERN_INTERNAL, "Unable to find compiled-in proto descriptor of type %s", slash + 1);
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}
