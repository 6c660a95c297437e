/*
 * api/sagemaker.h - what the surfaces of SageMaker's port need to know, and how they are reached.
 *
 * `serve`, or `tern serve --sagemaker`, stands in for the SageMaker TensorFlow Serving container. There,
 * nginx listens on SageMaker's port and hands requests either to its own JavaScript ("proxy form") or, where
 * there is Python code or SAGEMAKER_MULTI_MODEL, to a Python service ("service form"). Two generations of
 * that software
 * answer differently: those up to 2.19, and 2.20.
 *
 *   cli/sagemaker.c           environment -> this struct, models, ports
 *   api/sagemaker.c           the router: what nginx does in both forms; without this mode, two light routes
 *   api/sagemaker_proxy.c     the proxy form
 *   api/sagemaker_service.c   the service form
 *
 * The settings are made before the port opens and never change; trouble has a lock of its own.
 */
#ifndef TN_API_SAGEMAKER_H
#define TN_API_SAGEMAKER_H

#include <pthread.h>

#include "api/server.h"

/* Later ones are larger, so that "from 2.20 on" is `>= TN_SAGEMAKER_2_20`. */
typedef enum tn_sagemaker_generation { TN_SAGEMAKER_2_19, TN_SAGEMAKER_2_20 } tn_sagemaker_generation;

#define TN_SAGEMAKER_TROUBLE_MAX 1024

typedef struct tn_sagemaker {
    /* For all surfaces. */
    tn_sagemaker_generation generation; /* SAGEMAKER_TFS_VERSION */
    bool several;                       /* SAGEMAKER_MULTI_MODEL */
    bool service;                       /* the service form: code, or several models */
    tn_str default_model;               /* "None", as in the original, with several models */
    /* SAGEMAKER_BASE_DIR: "/opt/ml". No '/' at the end, as all folders here */
    const char *base;
    const char *model;  /* BASE/model: where models are found at the start */
    const char *models; /* BASE/models: where the platform puts several models */
    /* SAGEMAKER_TFS_WAIT_TIME_SECONDS: for a load; 2.20: and for a script's calls */
    int32_t wait_s;
    /* of nginx: SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS, >= timeout_s */
    int32_t read_timeout_s;
    /*
     * The process's own REST and gRPC ports on loopback, one pair for each of SAGEMAKER_TFS_INSTANCE_COUNT.
     */
    int32_t instances;
    const int *rest_ports, *grpc_ports; /* [instances] */
    /* "9001,9003": TFS_REST_PORTS, TFS_GRPC_PORTS of a script */
    const char *rest_ports_text, *grpc_ports_text;
    bool has_port_range;         /* SAGEMAKER_SAFE_PORT_RANGE is set: */
    int32_t port_low, port_high; /* its numbers */
    /* For scripts. */
    const char *code;   /* BASE/model/code, with several models BASE/code */
    const char *script; /* code/inference.py where it is there, else NULL */
    const char *lib;    /* code/lib, likewise */
    const char *wheels; /* code/wheels, likewise */
    /* code/requirements.txt where it is to be installed: not beside a lib folder; else NULL */
    const char *requirements;
    const char *python; /* --python, TERN_PYTHON or "python3" */
    int32_t workers;    /* SAGEMAKER_GUNICORN_WORKERS, >= 1 */
    int32_t threads;    /* SAGEMAKER_GUNICORN_THREADS, >= 1 */
    /* SAGEMAKER_GUNICORN_WORKER_CLASS as given ("gevent"); whether there is such is not checked */
    tn_str worker_class;
    int32_t timeout_s; /* SAGEMAKER_GUNICORN_TIMEOUT_SECONDS; 0: none */
    /*
     * For one call of a script; 0: no limit. The larger of timeout_s and nginx's time, of those that are set;
     * when neither is, nginx's.
     */
    int32_t script_timeout_s;
    tn_str log_level; /* SAGEMAKER_GUNICORN_LOGLEVEL as given ("info") */
    /* For models that are loaded while serving. */
    bool batching;                      /* SAGEMAKER_TFS_ENABLE_BATCHING */
    struct tn_sagemaker_models *loaded; /* several: api/sagemaker_models.h */
    /* Beyond the container. */
    /* --sagemaker_extras: /metrics, /execution-parameters, /endpoints, npy answers to any request */
    bool extras;
    const char *execution_parameters; /* answer to GET /execution-parameters; NULL: there is none */
    /* Why the port is open although nothing can be answered: tn_sagemaker_trouble_set(). */
    pthread_mutex_t lock;
    atomic_bool troubled; /* looked at first: requests take no lock while all is well */
    char trouble[TN_SAGEMAKER_TROUBLE_MAX];
    size_t trouble_len;
} tn_sagemaker;

/*
 * Any thread. While a reason stands, SageMaker's port answers everything with 503 and that sentence, and
 * nothing else is asked; an empty one takes it away. Copies the text, cut to TN_SAGEMAKER_TROUBLE_MAX - 1
 * bytes.
 */
void tn_sagemaker_trouble_set(tn_sagemaker *sm, tn_str why);
/* Copies the reason; returns its length, 0: none. */
size_t tn_sagemaker_trouble_get(tn_sagemaker *sm, char *text, size_t size);

/*
 * A request on SageMaker's port (TN_LISTENER_SAGEMAKER). On the exchange's loop; takes the exchange.
 */
void tn_sagemaker_route(tn_server *server, tn_exchange *ex);

/*
 * The two forms. parts->path is what nginx makes of the path: percent-decoded, "//", "." and ".." resolved;
 * it begins with /ping, /invocations or /models (prefixes: /pingpong, too) and its memory ends when the
 * function returns. They take the exchange and return true, or leave it and return false: then the answer is
 * nginx's 404.
 */
bool tn_sagemaker_proxy(tn_server *server, tn_exchange *ex, const tn_target_parts *parts);
bool tn_sagemaker_service(tn_server *server, tn_exchange *ex, const tn_target_parts *parts);

/* Where nginx answers with a page of its own: the same status, and {"error": "WHY"}. Takes the exchange. */
void tn_sagemaker_refuse(tn_server *server, tn_exchange *ex, int status, const char *why);
/* Content-Type that nginx gives to an answer without one: by the path's extension, else application/json. */
tn_str tn_sagemaker_type(tn_str path);
/* "PATH?QUERY" as nginx passes it on, percent-encoded again. In the arena; absent when memory is short. */
tn_str tn_sagemaker_inner_target(tn_arena *arena, tn_str path, tn_str query);
/*
 * All fields of that name (lower case), joined by ", ", as nginx gives them to code; absent when there is
 * none.
 */
tn_str tn_sagemaker_header(const tn_exchange *ex, const char *name, tn_arena *arena);

#endif
