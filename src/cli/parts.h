/*
 * cli/parts.h - inside of `tern serve`: what a server is made of, and the steps that make it.
 *
 *   config_files.c  the files that flags name: read and parsed
 *   checks.c        flags that cannot be, or not together
 *   make.c          engines, models, the server
 *   ports.c         listeners, the port file
 *   ssl_config.c    keys for TLS
 *   serve.c         order of the start, signals, drain, end
 *
 * One struct, made in the order of its fields and freed in the other. All functions: the main thread.
 */
#ifndef TN_CLI_PARTS_H
#define TN_CLI_PARTS_H

#include <signal.h>

#include "api/server.h"
#include "cli/options.h"

/* Of a file that is looked at again and again. */
typedef struct tn_file_state {
    uint64_t inode;
    int64_t size, mtime_ns;
} tn_file_state;

typedef struct tn_parts {
    tn_options o;
    tn_manner manner;
    tn_arena arena;
    const tn_model_config *configs;
    uint32_t n_configs;
    tn_engines *engines;
    tn_handlers *handlers;
    tn_tls *tls; /* NULL: no --ssl_config_file */
    tn_file_state tls_seen;
    tn_server server;
    int rest_port, grpc_port;
    bool no_rest; /* --monitoring_config_file is broken: the original goes on without */
} tn_parts;

/* NULL for an empty flag. */
static inline const char *tn_text_or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

/* The whole file, in the arena. NOT_FOUND when it cannot be opened. */
TERN_MUST_USE tern_code tn_config_read(const char *path, tn_arena *arena, tn_str *text, tern_status *st);
/* Models of --model_config_file, or the one of --model_base_path: p->configs. */
TERN_MUST_USE tern_code tn_parts_configs(tn_parts *p, tern_status *st);
/* INVALID_ARGUMENT that names the flag. Sets the log level. */
TERN_MUST_USE tern_code tn_parts_check(const tn_options *o, tern_status *st);
/* --ssl_config_file to p->tls; INVALID_ARGUMENT names the field. */
TERN_MUST_USE tern_code tn_parts_tls(tn_parts *p, tern_status *st);
/* Gives p->tls to the listeners that are to have it. Before tn_parts_listen(). */
void tn_parts_secure(tn_parts *p);
/*
 * Waits for one of the signals, which are blocked, and returns it; reads the keys again at SIGHUP (blocked,
 * too, where there are keys) and when their file has changed.
 */
int tn_parts_wait(tn_parts *p, const sigset_t *stop);
/* p->engines and p->handlers. */
TERN_MUST_USE tern_code tn_parts_engines(tn_parts *p, tern_status *st);
/* p->server.models; nothing is started. */
TERN_MUST_USE tern_code tn_parts_models(tn_parts *p, tern_status *st);
/* The rest of p->server: settings, scheduler, net; no port is open yet. */
TERN_MUST_USE tern_code tn_parts_server(tn_parts *p, tern_status *st);
/*
 * server.metrics_path, from --monitoring_config_file. A broken file is an error for tern; called
 * tensorflow_model_server it is logged, and costs the REST port.
 */
TERN_MUST_USE tern_code tn_parts_monitoring(tn_parts *p, tern_status *st);
/* Opens the ports and writes --port_file. */
TERN_MUST_USE tern_code tn_parts_listen(tn_parts *p, tern_status *st);

#endif
