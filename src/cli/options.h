/*
 * cli/options.h - the flags of `tern serve` and of tensorflow_model_server: one table makes the struct, the
 * defaults, the parser and the help.
 *
 * The first 48 are TensorFlow Serving's, with its names and defaults (model_servers/main.cc); those whose
 * function makes no sense here, or is not in this version, are accepted and named in the log once when they
 * are given. Then come Tern's own, and one for each limit of base/limits.h.
 */
#ifndef TN_CLI_OPTIONS_H
#define TN_CLI_OPTIONS_H

#include "base/arena.h"
#include "base/limits.h"
#include "base/str.h"

/*
 * X(type, name, default, effect, group, help). type: BOOL, INT (of 32 bits), INT64, FLOAT (double), TEXT
 * (const char *); both sorts of whole numbers are kept as int64_t.
 * effect: 1 when this version acts on it.
 */
#define TN_FLAGS(X)                                                                                          \
    X(INT, port, 8500, 1, "Listening",                                                                       \
      "gRPC port; every port also speaks HTTP/1.1 and HTTP/2; -1: none, 0: any free one")                    \
    X(TEXT, grpc_socket_path, "", 1, "Listening", "also listen on this unix socket")                         \
    X(INT, rest_api_port, 0, 1, "Listening", "HTTP/REST port; the same numbers")                             \
    X(INT, rest_api_num_threads, 0, 0, "Listening", "threads of the original's REST pool")                   \
    X(INT, rest_api_timeout_in_ms, 30000, 1, "Listening", "time for one REST call, 0: no limit")             \
    X(BOOL, rest_api_enable_cors_support, false, 1, "Listening", "send Access-Control-Allow-* headers")      \
    X(TEXT, ssl_config_file, "", 1, "Listening", "keys for TLS: SSLConfig, text; gRPC port and socket")      \
    X(BOOL, use_alts_credentials, false, 1, "Listening", "Google ALTS: said in the log, no effect")          \
    X(TEXT, grpc_channel_arguments, "", 1, "Listening", "KEY=VALUE,...: options of grpc++, as far as known") \
    X(INT, grpc_max_threads, 0, 0, "Listening", "threads of the original's gRPC server")                     \
    X(BOOL, enable_grpc_healthcheck_service, false, 1, "Listening", "serve grpc.health.v1.Health")           \
    X(BOOL, enable_profiler, true, 1, "Listening", "answer calls of TensorFlow's profiler with a sentence")  \
    X(TEXT, model_name, "default", 1, "Models", "name of the one model of --model_base_path")                \
    X(TEXT, model_base_path, "", 1, "Models", "folder whose numbered folders are the model's versions")      \
    X(TEXT, model_config_file, "", 1, "Models",                                                              \
      "several models: ModelServerConfig, text; instead of the two above")                                   \
    X(INT, model_config_file_poll_wait_seconds, 0, 1, "Models",                                              \
      "read the config file again this often; 0: never")                                                     \
    X(INT, file_system_poll_wait_seconds, 1, 1, "Models", "look for new versions this often; 0: once")       \
    X(INT, num_load_threads, 0, 1, "Models", "threads that load versions")                                   \
    X(INT, num_unload_threads, 0, 1, "Models", "threads that unload versions")                               \
    X(INT, max_num_load_retries, 5, 1, "Models", "tries after a failed load")                                \
    X(INT64, load_retry_interval_micros, 60000000, 1, "Models", "time between these tries")                  \
    X(BOOL, allow_version_labels_for_unavailable_models, false, 1, "Models",                                 \
      "labels may name versions not loaded yet")                                                             \
    X(BOOL, flush_filesystem_caches, true, 0, "Models", "drop file caches after loading")                    \
    X(TEXT, saved_model_tags, "serve", 1, "Models", "tags of the MetaGraph, separated by commas")            \
    X(BOOL, enable_model_warmup, true, 1, "Models", "run the warm-up records of a model")                    \
    X(INT, num_request_iterations_for_warmup, 0, 1, "Models", "times each record is run")                    \
    X(BOOL, enable_signature_method_name_check, false, 1, "Models", "refuse signatures of another method")   \
    X(BOOL, remove_unused_fields_from_bundle_metagraph, true, 0, "Models", "keep only signatures in memory") \
    X(BOOL, prefer_tflite_model, false, 0, "Models", "use model.tflite if present")                          \
    X(INT, num_tflite_pools, 0, 0, "Models", "TFLite interpreter pools")                                     \
    X(INT, num_tflite_interpreters_per_pool, 1, 0, "Models", "TFLite interpreters in a pool")                \
    X(INT64, tensorflow_session_parallelism, 0, 1, "Engine",                                                 \
      "threads inside and between operations; 0: TensorFlow decides")                                        \
    X(INT64, tensorflow_intra_op_parallelism, 0, 1, "Engine", "threads inside one operation")                \
    X(INT64, tensorflow_inter_op_parallelism, 0, 1, "Engine", "threads between operations")                  \
    X(TEXT, tensorflow_session_config_file, "", 1, "Engine",                                                 \
      "options of TensorFlow: ConfigProto, text; other flags win")                                           \
    X(TEXT, platform_config_file, "", 1, "Engine",                                                           \
      "PlatformConfigMap, text; instead of flags of engine and batching")                                    \
    X(FLOAT, per_process_gpu_memory_fraction, 0, 1, "Engine",                                                \
      "GPU memory to take, 0 to 1; 0: TensorFlow decides")                                                   \
    X(BOOL, xla_cpu_compilation_enabled, false, 0, "Engine",                                                 \
      "XLA is always there for models that ask for it")                                                      \
    X(BOOL, xla_gpu_compilation_enabled, false, 0, "Engine", "the same")                                     \
    X(TEXT, thread_pool_factory_config_file, "", 1, "Engine", "refused: there is no such factory")           \
    X(TEXT, mixed_precision, "", 1, "Engine", "bfloat16: TensorFlow computes in it where it can")            \
    X(BOOL, skip_initialize_tpu, false, 0, "Engine", "TPUs")                                                 \
    X(BOOL, enable_batching, false, 1, "Batching", "run calls together, as TensorFlow Serving does")         \
    X(TEXT, batching_parameters_file, "", 1, "Batching", "for it: BatchingParameters, text")                 \
    X(BOOL, enable_per_model_batching_parameters, false, 1, "Batching",                                      \
      "for it: batching_params.pbtxt in a version's folder; a version without is not batched")               \
    X(BOOL, enable_serialization_as_tensor_content, false, 1, "Answers", "gRPC answers as tensor_content")   \
    X(TEXT, monitoring_config_file, "", 1, "Answers",                                                        \
      "MonitoringConfig, text: path of TensorFlow Serving's own metrics")                                    \
    X(BOOL, version, false, 1, "Answers", "print the version and end")                                       \
    X(BOOL, rest_extensions, false, 1, "Tern",                                                               \
      "REST beyond the original: binary bodies, compression, float16, query strings; on in tern serve")      \
    X(BOOL, rest_compact, false, 1, "Tern", "JSON answers of predict without blanks and new lines")          \
    X(TEXT, address, "", 1, "Tern", "address to listen on; default: all")                                    \
    X(TEXT, port_file, "", 1, "Tern", "write the ports as JSON to this file once they are open")             \
    X(BOOL, rest_api_tls, false, 1, "Tern", "with --ssl_config_file the REST port speaks TLS, too")          \
    X(BOOL, sagemaker, false, 1, "Tern",                                                                     \
      "stand in for the SageMaker container, as when called serve: docs/sagemaker.md")                       \
    X(BOOL, sagemaker_extras, false, 1, "Tern",                                                              \
      "on SageMaker's port also /metrics, /execution-parameters, /endpoints, npy; off when called serve")    \
    X(TEXT, python, "", 1, "Tern",                                                                           \
      "interpreter of Python handlers; default: TERN_PYTHON of the environment, else python3")               \
    X(TEXT, default_model, "", 1, "Tern", "model of /invocations and /ping; default: the first")             \
    X(TEXT, batching, "", 1, "Tern",                                                                         \
      "off; auto: a free executor runs together what waits for it; serving: --enable_batching")              \
    X(TEXT, engine, "tensorflow", 1, "Tern",                                                                 \
      "engine of models that name none; auto: the fastest that answers right")                               \
    X(TEXT, engine_path, "", 1, "Tern",                                                                      \
      "folders of engine plugins, separated by ':'; default: beside the program")                            \
    X(TEXT, handler_path, "", 1, "Tern",                                                                     \
      "folders of handler plugins, separated by ':'; default: beside the program")                           \
    X(TEXT, handler_isolation, "none", 1, "Tern",                                                            \
      "none: handlers run inside the server; process: in processes of their own")                            \
    X(INT, handler_workers, 0, 1, "Tern",                                                                    \
      "such processes for each version of a model; 0: one a core, at least 2")                               \
    X(BOOL, allow_model_code, false, 1, "Tern", "run handler code that lies inside model folders")           \
    X(INT, num_loops, 0, 1, "Tern", "event loops; 0: one a core")                                            \
    X(INT, num_executors, 0, 1, "Tern", "threads that run models; 0: one a core, at least 2")                \
    X(TEXT, log_level, "info", 1, "Tern", "debug, info, warning or error")                                   \
    X(TEXT, data_capture_dir, "", 1, "Tern",                                                                 \
      "folder of captured data, in the form of SageMaker's Model Monitor; default: nothing is captured")     \
    X(FLOAT, data_capture_percent, 100, 1, "Tern", "share of the requests whose data are captured")          \
    X(TEXT, data_capture_csv_types, "text/csv", 1, "Tern", "content types that are captured as CSV")         \
    X(TEXT, data_capture_json_types, "application/json", 1, "Tern",                                          \
      "the same as JSON; others are captured in base64")                                                     \
    X(TEXT, async_dir, "", 1, "Tern",                                                                        \
      "folder of asynchronous invocations: s3://BUCKET/KEY is FOLDER/BUCKET/KEY; default: there are none")   \
    X(TEXT, async_output, "", 1, "Tern",                                                                     \
      "s3://BUCKET/PREFIX of their outputs; default: async-endpoint-outputs/ENDPOINT beside the input")      \
    X(TEXT, async_failure, "", 1, "Tern", "the same of their failures; default: async-endpoint-failures/")   \
    X(INT, async_concurrency, 4, 1, "Tern", "asynchronous invocations under way at a time")                  \
    X(TEXT, access_log, "off", 1, "Tern", "a line for each request: off, text or json")                      \
    X(TEXT, access_log_file, "", 1, "Tern",                                                                  \
      "file of the access log, opened anew on SIGHUP; default: standard error")                              \
    X(INT, slow_ms, 0, 1, "Tern", "only requests that take so long get a line in the access log")

#define TN_FLAG_TYPE_BOOL  bool
#define TN_FLAG_TYPE_INT   int64_t
#define TN_FLAG_TYPE_INT64 int64_t
#define TN_FLAG_TYPE_FLOAT double
#define TN_FLAG_TYPE_TEXT  const char *

typedef struct tn_options {
#define X(type, name, value, effect, group, help) TN_FLAG_TYPE_##type name;
    TN_FLAGS(X)
#undef X
    tn_limits limits;
} tn_options;

typedef enum tn_manner {
    TN_MANNER_TERN, /* tern serve: also `--flag value`, unknown flags are refused with the nearest name */
    TN_MANNER_SERVING /* tensorflow_model_server: only `--flag=value`, unknown ones are printed and passed over */
} tn_manner;

tn_options tn_options_default(tn_manner manner);

typedef enum tn_parse_result {
    TN_PARSE_OK,
    TN_PARSE_HELP, /* --help; print tn_options_help() */
    TN_PARSE_BAD   /* a message was printed */
} tn_parse_result;

/*
 * Reads argv[1..argc). Values are slices of argv: borrowed for good. Prints messages as the manner wants
 * them.
 * Tern: `--flag value` and `--flag=value`; ends at the first fault.
 * Serving: core/util/command_line_flags.cc. All arguments are read; numbers as scanf reads them, so that one
 * beyond its type wraps or ends at the type's limit; the first unknown argument is named with the usage text,
 * and the start goes on. A fault of a value, or --help as the first unknown argument, prints the usage text.
 */
tn_parse_result tn_options_parse(tn_options *o, tn_manner manner, int argc, char **argv);
/* True when the flag stood on the command line. */
bool tn_options_given(const char *name);
/* Logs every flag that was given and has no effect in this version. */
void tn_options_log_unused(void);
/* The help, grouped by purpose, at most 100 columns; on standard output. */
void tn_options_help(void);
/* The original's usage text, whose form programs may read; on standard output. */
void tn_options_usage(const char *program);

#endif
