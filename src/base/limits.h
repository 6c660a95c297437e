/*
 * base/limits.h - every limit of the server in one table: field, default, flag, what it bounds.
 *
 * The table makes the struct, the defaults, the flags of `tern serve` (cli/) and their help. A limit of 0
 * means "none" only where its text says so. Times are milliseconds, sizes bytes.
 */
#ifndef TN_BASE_LIMITS_H
#define TN_BASE_LIMITS_H

#include <stdint.h>

/* X(field, default, help); the flag is --field */
#define TN_LIMITS(X)                                                                                         \
    X(max_connections, 16384, "open client connections; more are closed at once")                            \
    X(max_request_line_bytes, 16384, "longest request target (path)")                                        \
    X(max_header_bytes, 65536, "all header fields of one request together")                                  \
    X(max_headers, 128, "header fields of one request")                                                      \
    X(max_body_bytes, INT64_C(2147483647), "largest request body or gRPC message")                           \
    X(max_response_bytes, INT64_C(4294967296), "largest answer")                                             \
    X(max_bytes_in_flight, 0,                                                                                \
      "bodies and tensors of all requests together; 0: half of the memory (or cgroup limit)")                \
    X(max_body_idle_bytes, INT64_C(67108864), "memory of large bodies that is kept for later ones")          \
    X(early_body_bytes, 1048576, "bodies of this size and more are decoded while they arrive; 0: never")     \
    X(early_wait_ms, 20, "time that this may wait for bytes, in all, before it is given up")                 \
    X(max_pipelined_requests, 64, "requests of one HTTP/1.1 connection that wait for their turn")            \
    X(max_streams, 1024, "streams of one HTTP/2 connection at a time")                                       \
    X(max_write_backlog_bytes, INT64_C(67108864),                                                            \
      "answers queued on one connection before reading from it pauses")                                      \
    X(max_access_log_bytes, 1048576, "lines of the access log that wait for its file; more are dropped")     \
    X(max_queue, 4096, "calls that wait for an executor; more are refused with 429 / RESOURCE_EXHAUSTED")    \
    X(max_script_queue, 1024, "calls that wait for a worker of a handler script; more are refused with 429") \
    X(max_script_concurrency, 128, "calls that one worker of a handler script has at a time with gevent")    \
    X(max_script_memory, 0, "memory of one worker, above which it is replaced; 0: no limit")                 \
    X(max_script_calls, 0, "calls after which a worker is replaced; 0: never")                               \
    X(max_script_idle_bytes, INT64_C(268435456),                                                             \
      "shared memory of a script's workers that is kept for later calls")                                    \
    X(script_start_ms, 300000, "time for a worker of a handler script to get ready")                         \
    X(max_async_queue, 1000, "asynchronous invocations that wait; more are refused with 503")                \
    X(max_capture_bytes, 6291456, "input or output of a request whose data are captured; else it is not")    \
    X(max_capture_queue_bytes, INT64_C(67108864), "captured data that wait for their file; more is dropped") \
    X(max_capture_file_bytes, INT64_C(67108864), "size at which a file of captured data is ended")           \
    X(max_batch_rows, 64, "rows of one batch with --batching=auto")                                          \
    X(max_batch_bytes, INT64_C(268435456),                                                                   \
      "one input of a batch, put together; a call that is larger runs alone")                                \
    X(max_handler_memory_bytes, INT64_C(2147483648),                                                         \
      "memory of one process of an isolated handler, which is replaced then; 0: no limit")                   \
    X(max_handler_idle_bytes, INT64_C(268435456),                                                            \
      "memory shared with an isolated handler that is kept for later calls")                                 \
    X(max_json_depth, 100000, "nesting of JSON that is read")                                                \
    X(max_error_bytes, 1048576, "longest text of a REST error, which may repeat a part of the request")      \
    X(compress_min_bytes, 1024,                                                                              \
      "answers smaller than this are not compressed, unless plain bytes are refused")                        \
    X(max_inputs, 1024, "tensors in one request")                                                            \
    X(max_call_arena_bytes, INT64_C(268435456), "working memory of one call, tensors not counted")           \
    X(header_timeout_ms, 30000, "time for a request's head to arrive")                                       \
    X(idle_timeout_ms, 300000, "time a connection may stay open without a request")                          \
    X(keepalive_ms, 7200000, "silence of an HTTP/2 client after which it is pinged; 0: never")               \
    X(keepalive_timeout_ms, 20000, "time for such a ping to be answered")                                    \
    X(max_connection_age_ms, 0, "age at which an HTTP/2 connection is asked to end; 0: none")                \
    X(max_connection_age_grace_ms, 0, "time after which it is then closed; 0: when its calls have ended")    \
    X(min_body_rate, 1024, "bytes a second that a body must arrive with, after 10 s; 0: no limit")           \
    X(write_timeout_ms, 120000, "time without progress after which a client that does not read is closed")   \
    X(half_close_ms, 2000, "time a request goes on after its HTTP/1.1 client closed its own side")           \
    X(linger_ms, 5000, "time to read on after a closing answer, so that the client gets to see it")          \
    X(max_drop_bytes, INT64_C(16777216), "rest of a body that is read and dropped after an early answer")    \
    X(reload_timeout_ms, 600000, "time that HandleReloadConfigRequest waits for new models")                 \
    X(reload_absent_ms, 30000, "the same when no version of them is to be found")                            \
    X(max_models_bytes, 0,                                                                                   \
      "files of all models that were loaded by POST /models (SageMaker); 0: what memory has room for")       \
    X(auto_try_ms, 10000, "time for engines to be tried on a version, with the engine auto")                 \
    X(drain_timeout_ms, 30000, "time for calls under way to end after SIGTERM")                              \
    X(inline_run_us, 200, "calls measured to take less are run on the event loop; 0: never")                 \
    X(inline_body_bytes, 65536, "larger bodies are never decoded on an event loop")

typedef struct tn_limits {
#define X(field, value, help) int64_t field;
    TN_LIMITS(X)
#undef X
} tn_limits;

/* All defaults. */
static inline tn_limits tn_limits_default(void)
{
    tn_limits limits = {
#define X(field, value, help) .field = (value),
        TN_LIMITS(X)
#undef X
    };
    return limits;
}

#endif
