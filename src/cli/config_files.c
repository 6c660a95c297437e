/* cli/config_files.c - the files that flags name. See cli/parts.h. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/parts.h"
#include "codec/pb_text.h"
#include "model/config.h"
#include "server_config.pb-c.h"

#define CONFIG_FILE_MAX (16u << 20)

tern_code tn_config_read(const char *path, tn_arena *arena, tn_str *text, tern_status *st)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0 || info.st_size > CONFIG_FILE_MAX) {
        tern_code code = tern_fail(st, TERN_NOT_FOUND, "%s: %s", path,
                                   fd < 0 ? strerror(errno) : "too large for a config file");
        if (fd >= 0)
            close(fd);
        return code;
    }
    char *bytes = tn_arena_alloc(arena, (size_t)info.st_size + 1);
    ssize_t n = bytes != NULL ? read(fd, bytes, (size_t)info.st_size) : -1;
    close(fd);
    if (n < 0)
        return tern_fail(st, TERN_INTERNAL, "%s: cannot be read", path);
    *text = (tn_str){bytes, (size_t)n};
    return TERN_OK;
}

tern_code tn_parts_configs(tn_parts *p, tern_status *st)
{
    if (p->o.model_config_file[0] != '\0') {
        tn_str text;
        tern_code code = tn_config_read(p->o.model_config_file, &p->arena, &text, st);
        return code == TERN_OK ? tn_model_config_parse(text, &p->arena, &p->configs, &p->n_configs, st)
                               : code;
    }
    if (p->o.model_base_path[0] == '\0')
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Both server_options.model_base_path and server_options.model_config_file "
                         "are empty! Give --model_base_path=DIR or --model_config_file=FILE");
    tn_model_config *one = tn_arena_zalloc(&p->arena, sizeof *one);
    if (one == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the configuration");
    one->name = tn_str_from(p->o.model_name);
    one->base_path = tn_str_from(p->o.model_base_path);
    p->configs = one;
    p->n_configs = 1;
    return TERN_OK;
}

tern_code tn_parts_monitoring(tn_parts *p, tern_status *st)
{
    typedef Tensorflow__Serving__MonitoringConfig config;
    const char *path = p->o.monitoring_config_file;
    ProtobufCMessage *message = NULL;
    tn_str text;
    if (path[0] == '\0')
        return TERN_OK;
    tern_code code = tn_config_read(path, &p->arena, &text, st);
    if (code == TERN_OK)
        code = tn_pb_text_parse(text, &tensorflow__serving__monitoring_config__descriptor, &message, st);
    if (code != TERN_OK) {
        if (!p->server.strict)
            return code;
        /* That is all that happens there (golden corpus: cli_config-027). */
        tn_error("serve", "--monitoring_config_file=%s: %s; there is no REST port", path, st->message);
        p->no_rest = true;
        return TERN_OK;
    }
    const Tensorflow__Serving__PrometheusConfig *prometheus = ((config *)message)->prometheus_config;
    if (prometheus != NULL && prometheus->enable)
        p->server.metrics_path = prometheus->path[0] != '\0'
                                     ? tn_arena_dup(&p->arena, tn_str_from(prometheus->path))
                                     : TN_STR("/monitoring/prometheus/metrics");
    protobuf_c_message_free_unpacked(message, NULL);
    return TERN_OK;
}
