/*
 * api/server.h - what all surfaces share: the server's parts and settings, and the first look at a request.
 *
 * Made by cli/serve.c before the loops start; read-only afterwards but for atomics. The parts are borrowed.
 */
#ifndef TN_API_SERVER_H
#define TN_API_SERVER_H

#include "base/budget.h"
#include "base/limits.h"
#include "codec/grpc_message.h"
#include "handler/handler.h"
#include "model/model.h"
#include "net/net.h"
#include "observe/log_writer.h"
#include "observe/worker.h"
#include "schedule/call.h"

/*
 * Tags of listeners (tn_net_listen). Every port speaks every protocol; the tag only says how it was
 * configured.
 */
enum { TN_LISTENER_GRPC = 1, TN_LISTENER_REST = 2, TN_LISTENER_SAGEMAKER = 3 };

typedef struct tn_server {
    tn_models *models;
    tn_schedule *schedule;
    tn_handlers *handlers;
    tn_net *net;
    tn_stats *stats;           /* NULL in tests: nothing is counted by model */
    tn_worker *worker;         /* writes the pages of metrics */
    tn_log_writer *access_log; /* NULL: off */
    bool access_json;          /* its lines are JSON */
    int64_t slow_ns;           /* only calls that took so long are logged */
    tn_limits limits;
    tn_budget budget;
    bool strict;            /* called as tensorflow_model_server: nothing that a client could tell apart */
    bool cors;              /* --rest_api_enable_cors_support */
    bool rest_extensions;   /* --rest_extensions: what TensorFlow Serving has not */
    bool rest_compact;      /* --rest_compact: JSON answers without blanks */
    bool as_tensor_content; /* --enable_serialization_as_tensor_content */
    bool health_service;    /* grpc.health.v1 */
    bool profiler;          /* --enable_profiler */
    tn_coding grpc_coding;  /* of answers, where clients accept it; else as the request was */
    int64_t grpc_max_receive, grpc_max_send; /* bytes of one message */
    bool method_name_check;                  /* --enable_signature_method_name_check */
    bool by_turns;                  /* --batching=auto: small calls run at the end of their loop's turn */
    int64_t rest_timeout_ms;        /* --rest_api_timeout_in_ms; 0: none */
    struct tn_script_host *scripts; /* Python workers (api/script.h), or NULL */
    tn_str default_model;           /* of /invocations and /ping */
    const struct tn_capture_settings *capture; /* --data_capture_dir: api/capture.h; else NULL */
    struct tn_async *async;                    /* --async_dir: api/async.h; else NULL */
    struct tn_sagemaker *sagemaker;            /* called serve, or --sagemaker: api/sagemaker.h; else NULL */
    /* TensorFlow Serving's own path when it is configured, or absent; /metrics is always there */
    tn_str metrics_path;
    int64_t started_ns; /* wall clock */
    atomic_bool draining;
    atomic_int_fast64_t health_seen;        /* grpc_services.c: when watchers were told what last, and what */
    atomic_uint_fast64_t answers[TN_CODES]; /* by canonical code, over all surfaces */
} tn_server;

/* tn_net_app.on_request with context = tn_server: finds the surface that answers. On the exchange's loop. */
void tn_server_on_request(void *server, tn_exchange *ex);

/*
 * Counts an answer: by code over all surfaces, and for its model (NULL: none that is configured). took_ns:
 * since the head's first byte; run_ns: inside the engine, 0: not. Any thread.
 */
void tn_server_count(tn_server *server, tn_model_stats *stats, tn_method method, tern_code code,
                     int64_t took_ns, int64_t run_ns);

/* One look at a target: path and query, apart. The query is without '?'; absent when there is none. */
typedef struct tn_target_parts {
    tn_str path;
    tn_str query;
    bool has_query;
} tn_target_parts;

/* What is said of the others. */
#define TN_NO_URI                                                                                            \
    "Bad Request: the target has a character that URIs do not have, or a % without two hexadecimal digits; " \
    "write such bytes as %XX"
/*
 * Whether each character may stand where it does in a path with query and fragment (RFC 3986, 3.3 to 3.5).
 * What may not is refused before anything else is looked at, as the original's HTTP library does.
 */
bool tn_target_is_uri(tn_str target);
/* An absolute-form target ("http://host/path", RFC 9112, 3.2.2) is cut to its path. */
tn_target_parts tn_target_split(tn_str target);
/* Percent-decodes into the arena ('+' stays). {NULL,0} when memory is short or the coding is broken. */
tn_str tn_percent_decode(tn_str s, tn_arena *arena);

#endif
