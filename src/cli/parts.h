/*
 * cli/parts.h - inside of `tern serve`: what a server is made of, and the steps that make it.
 *
 *   checks.c           flags that cannot be, or not together
 *   config_files.c     the files that flags name: read and parsed
 *   session_config.c   what the engine is given: ConfigProto
 *   platform_config.c  PlatformConfigMap, which stands for many flags
 *   config_poll.c      the models' file, read again while serving
 *   make.c             engines, models, the server
 *   access_log.c       the access log
 *   ports.c            listeners, the port file
 *   ssl_config.c       keys for TLS
 *   sagemaker*.c       the SageMaker container's environment, models, ports (cli/sagemaker.h)
 *   channel_arguments.c options that the original hands to its gRPC library
 *   serve.c            order of the start, signals, drain, end
 *
 * One struct, made in the order of its fields and freed in the other. All functions: the main thread.
 */
#ifndef TN_CLI_PARTS_H
#define TN_CLI_PARTS_H

#include <protobuf-c/protobuf-c.h>
#include <signal.h>

#include "api/async.h"
#include "api/capture.h"
#include "api/sagemaker.h"
#include "api/server.h"
#include "api/warmup.h"
#include "cli/options.h"

/* Of a file that is looked at again and again. */
typedef struct tn_file_state {
    uint64_t inode;
    int64_t size, mtime_ns;
} tn_file_state;

typedef struct tn_config_poll tn_config_poll;

typedef struct tn_parts {
    tn_options o;
    tn_manner manner;
    tn_arena arena;
    const tn_model_config *configs;
    uint32_t n_configs;
    tn_str session_config;                      /* ConfigProto, serialized */
    int32_t intra_op_threads, inter_op_threads; /* the same as in session_config */
    ProtobufCMessage *platform;                 /* SessionBundleConfig of --platform_config_file, or NULL */
    tn_engines *engines;
    tn_handlers *handlers;
    int64_t grpc_max_receive, grpc_max_send; /* --grpc_channel_arguments, as grpc_coding */
    tn_coding grpc_coding;
    tn_tls *tls; /* NULL: no --ssl_config_file */
    tn_file_state tls_seen;
    tn_batch_options batching;
    tn_server server;
    tn_config_poll *config_poll; /* or NULL */
    tn_capture_settings capture; /* --data_capture_dir */
    tn_warmup_options warmup;
    int rest_port, grpc_port;
    tn_sagemaker sagemaker; /* --sagemaker */
    int32_t sagemaker_port; /* SAGEMAKER_BIND_TO_PORT; once open, the real one */
} tn_parts;

/* As tern serve a line of the log; as tensorflow_model_server the start fails, as the original's does. */
#define TN_NO_ALTS                                                                                           \
    "ALTS works only inside Google's own network and is not supported; use --ssl_config_file for TLS"

/* NULL for an empty flag. */
static inline const char *tn_text_or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

/*
 * The whole file, in the arena. TensorFlow's codes and words, "PATH; No such file or directory"; an empty
 * file cannot be read there and is INVALID_ARGUMENT "PATH; Invalid argument".
 */
TERN_MUST_USE tern_code tn_config_read(const char *path, tn_arena *arena, tn_str *text, tern_status *st);
/*
 * The file of that flag. Returns owned in *out (protobuf_c_message_free_unpacked). Serving manner: a broken
 * text is "Invalid protobuf file: 'PATH'", and where it is broken goes to the log; else one sentence with
 * both.
 */
TERN_MUST_USE tern_code tn_config_message(tn_parts *p, const char *flag, const char *path,
                                          const ProtobufCMessageDescriptor *type, ProtobufCMessage **out,
                                          tern_status *st);
/*
 * Models of --model_config_file, or the one of --model_base_path, or the one that MODEL_NAME and
 * MODEL_BASE_PATH of the environment name: p->configs.
 */
TERN_MUST_USE tern_code tn_parts_configs(tn_parts *p, tern_status *st);
/* --monitoring_config_file: server.metrics_path. */
TERN_MUST_USE tern_code tn_parts_monitoring(tn_parts *p, tern_status *st);
/* --thread_pool_factory_config_file: the original has no factory that it could name, so this always fails. */
TERN_MUST_USE tern_code tn_parts_thread_pools(tn_parts *p, tern_status *st);
/*
 * --platform_config_file, which counts instead of the flags that it stands for: puts its values into p->o and
 * keeps p->platform, freed by tn_parts_platform_free().
 */
TERN_MUST_USE tern_code tn_parts_platform(tn_parts *p, tern_status *st);
void tn_parts_platform_free(tn_parts *p);
/* p->session_config out of --tensorflow_session_config_file or p->platform, and flags. */
TERN_MUST_USE tern_code tn_parts_session(tn_parts *p, tern_status *st);
/* Starts to watch --model_config_file when it is to be; and ends that. */
TERN_MUST_USE tern_code tn_parts_poll_config(tn_parts *p, tern_status *st);
void tn_parts_end_poll(tn_parts *p);
/* INVALID_ARGUMENT that names the flag. Sets the log level. */
TERN_MUST_USE tern_code tn_parts_check(tn_parts *p, tern_status *st);
/* --grpc_channel_arguments into p->o.limits and p->grpc_*; INVALID_ARGUMENT names the part. */
TERN_MUST_USE tern_code tn_parts_channel_arguments(tn_parts *p, tern_status *st);
/* --ssl_config_file to p->tls; INVALID_ARGUMENT names the field. */
TERN_MUST_USE tern_code tn_parts_tls(tn_parts *p, tern_status *st);
/* Gives p->tls to the listeners that are to have it. Before tn_parts_listen(). */
void tn_parts_secure(tn_parts *p);
/*
 * Waits for one of the signals, which are blocked, and returns it. At SIGHUP (blocked, too, where
 * tn_parts_hears_hangup()) it reads the keys again and opens the access log's file anew; the keys also when
 * their file has changed.
 */
int tn_parts_wait(tn_parts *p, const sigset_t *stop);
/* p->batching; errors in TensorFlow Serving's words. */
TERN_MUST_USE tern_code tn_parts_batching(tn_parts *p, tern_status *st);
/* tn_model_hooks with the parts as context: queues of calls, handlers. */
tern_code tn_parts_load(void *parts, tn_version *v, const tern_load_options *load, tern_status *st);
tern_code tn_parts_attach(void *parts, tn_version *v, tern_status *st);
void tn_parts_detach(void *parts, tn_version *v);
static inline bool tn_parts_hears_hangup(const tn_options *o)
{
    return o->ssl_config_file[0] != '\0' || o->access_log_file[0] != '\0';
}
/* p->engines and p->handlers. */
TERN_MUST_USE tern_code tn_parts_engines(tn_parts *p, tern_status *st);
/* p->server.models; nothing is started. */
TERN_MUST_USE tern_code tn_parts_models(tn_parts *p, tern_status *st);
/* The rest of p->server: settings, scheduler, net; no port is open yet. */
TERN_MUST_USE tern_code tn_parts_server(tn_parts *p, tern_status *st);
/* server.access_log and what belongs to it. */
TERN_MUST_USE tern_code tn_parts_access_log(tn_parts *p, tern_status *st);
/* server.async and server.capture: what SageMaker's runtime API needs (cli/runtime.c). */
TERN_MUST_USE tern_code tn_parts_runtime(tn_parts *p, tern_status *st);
/*
 * Opens the ports and writes --port_file. Serving manner: a REST port that cannot be opened, or a broken
 * --monitoring_config_file, is logged, and gRPC is served without REST.
 */
TERN_MUST_USE tern_code tn_parts_listen(tn_parts *p, tern_status *st);
/* --port_file: {"grpc": N, "rest": N}, with --sagemaker also "sagemaker". */
TERN_MUST_USE tern_code tn_parts_write_ports(tn_parts *p, tern_status *st);
/* A signal to stop has come while the start goes on. */
bool tn_parts_stop_is_pending(void);

/*
 * --sagemaker: environment and models to p->sagemaker, p->configs and p->o (cli/sagemaker.c), then its
 * batching; the ports for scripts; all versions of all models AVAILABLE, or an error when that cannot be or
 * takes too long; SageMaker's own port (cli/sagemaker_start.c).
 */
TERN_MUST_USE tern_code tn_parts_sagemaker(tn_parts *p, tern_status *st);
TERN_MUST_USE tern_code tn_parts_sagemaker_batching(tn_parts *p, tern_status *st);
TERN_MUST_USE tern_code tn_parts_sagemaker_inner_ports(tn_parts *p, tern_status *st);
TERN_MUST_USE tern_code tn_parts_sagemaker_wait(tn_parts *p, tern_status *st);
TERN_MUST_USE tern_code tn_parts_sagemaker_port(tn_parts *p, tern_status *st);
/* Starts the Python workers of the script; waits until one of them is ready. */
TERN_MUST_USE tern_code tn_parts_sagemaker_scripts(tn_parts *p, tern_status *st);
TERN_MUST_USE tern_code tn_parts_sagemaker_scripts_wait(tn_parts *p, tern_status *st);

#endif
