/*
 * api/script.h - a request's way through a handler script (inference.py) in a worker process.
 *
 * The body is read from the socket straight into shared memory. A script with `handler` is one call of a
 * worker. One with input_handler and output_handler is two, and between them the model runs here: the worker
 * is free meanwhile. Neither the loop nor an executor waits for Python.
 */
#ifndef TN_API_SCRIPT_H
#define TN_API_SCRIPT_H

#include "api/sagemaker.h"
#include "codec/service_request.h"
#include "handler/script_pool.h"

/* Whose script is asked for what. Slices may belong to the exchange; all is copied. */
typedef struct tn_script_target {
    tn_script_pool *pool; /* borrowed */
    /* that context.rest_uri names: the default one, or as the client wants */
    tn_str model;
    tn_str context_model;             /* context.model_name; absent: None */
    tn_service_attributes attributes; /* version and method of context; absent: None */
    int rest_port, grpc_port;         /* of context */
} tn_script_target;

/*
 * A request for a script: takes the exchange, on its loop. Errors of the script come back in the container's
 * form, those of workers (dead, late, none to be had) as {"error": "..."} with 500, 504, 503 or 429.
 */
void tn_script_call(tn_server *server, tn_exchange *ex, const tn_script_target *target);

/* ---- the workers of a server (script_host.c) ---- */

typedef struct tn_script_host tn_script_host;

/* Starts the thread that looks after workers. server: borrowed, with its settings and limits. */
TERN_MUST_USE tern_code tn_script_host_new(tn_server *server, tn_script_host **out, tern_status *st);
/* When no request comes any more, while the loops run: ends all workers and reaps them. Accepts NULL. */
void tn_script_host_end(tn_script_host *h);
/* When the loops have ended. Accepts NULL. */
void tn_script_host_free(tn_script_host *h);
/* The same right before the process ends. Accepts NULL. */
void tn_script_host_leave(tn_script_host *h);

/*
 * on_state: a first worker is ready, or the workers are well again (NULL), or cannot start (why). On the
 * pools' thread; see tn_script_pool_options.on_trouble.
 */
typedef void (*tn_script_on_state)(void *context, const tern_status *trouble);

/*
 * Starts workers for the script in folder code (code/inference.py, with code/lib on its path where that is
 * there, and code/requirements.txt installed with `requirements`) under a name; what had that name before
 * goes. Does not wait. name "" is the universal script. ALREADY_EXISTS is never returned.
 */
TERN_MUST_USE tern_code tn_scripts_add(tn_script_host *h, tn_str name, const char *code, bool requirements,
                                       tn_script_on_state on_state, void *context, tern_status *st);
/* Its calls under way end; then its workers do. Unknown names are passed over. */
void tn_scripts_remove(tn_script_host *h, tn_str name);
/* A reference to the pool of that name, or NULL. Any thread. */
tn_script_pool *tn_scripts_find(tn_script_host *h, tn_str name);
/* All of them, with a lock that no function of these may be called with. Any thread. */
void tn_scripts_each(tn_script_host *h, void (*each)(void *context, tn_str name, tn_script_pool *pool),
                     void *context);
/* Waits for the workers of that name: tn_script_pool_wait(). */
TERN_MUST_USE tern_code tn_scripts_wait(tn_script_host *h, tn_str name, int64_t at_ns, tern_status *st);

#endif
