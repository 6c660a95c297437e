/*
 * api/warmup.c - see api/warmup.h.
 *
 * The file is read record by record, so that only one is in memory. A record is decoded and run as a request
 * that came in would be (replay.h).
 */
#include "api/warmup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/replay.h"
#include "base/log.h"
#include "codec/tfrecord.h"
#include "model.pb-c.h"

/* What the steps share. */
typedef struct warmup {
    const tn_warmup_options *options;
    tn_version *version;
    tn_warmup_use *use; /* of predict requests; NULL: they and the others are run */
    void *context;
    tn_arena arena;
    char path[PATH_MAX];
    int fd;
    int read_error;
    int records;
} warmup;

/* ---- one record ---- */

static tern_code unparsable(const warmup *w, tn_str record, tern_status *st)
{
    tn_buf text;
    tn_buf_init(&text, TERN_STATUS_MESSAGE_MAX + PATH_MAX);
    tn_buf_z(&text, "Failed to parse warmup record: ");
    tn_buf_str(&text, tn_str_sub(record, 0, TERN_STATUS_MESSAGE_MAX / 2));
    tn_buf_printf(&text, " from %s", w->path);
    tern_code code = tern_fail_bytes(st, TERN_INVALID_ARGUMENT, text.ptr, text.len);
    tn_buf_free(&text);
    return code;
}

/* A log's request, empty when the log has none. */
static tn_str request_of(ProtobufCBinaryData bytes)
{
    return (tn_str){bytes.data != NULL ? (const char *)bytes.data : "", bytes.len};
}

static tern_code replay(warmup *w, const Tensorflow__Serving__PredictionLog *log, tern_status *st)
{
    tn_server *server = w->options->server;
    if (w->use != NULL)
        return log->log_type_case == TENSORFLOW__SERVING__PREDICTION_LOG__LOG_TYPE_PREDICT_LOG
                   ? tn_api_use_predict(server, w->version, request_of(log->predict_log->request), w->use,
                                        w->context, &w->arena, st)
                   : TERN_OK;
    switch (log->log_type_case) {
    case TENSORFLOW__SERVING__PREDICTION_LOG__LOG_TYPE_PREDICT_LOG:
        return tn_api_run_predict(server, w->version, request_of(log->predict_log->request), &w->arena, st);
    case TENSORFLOW__SERVING__PREDICTION_LOG__LOG_TYPE_CLASSIFY_LOG:
        return tn_api_run_classify(server, w->version, request_of(log->classify_log->request), &w->arena, st);
    case TENSORFLOW__SERVING__PREDICTION_LOG__LOG_TYPE_REGRESS_LOG:
        return tn_api_run_regress(server, w->version, request_of(log->regress_log->request), &w->arena, st);
    case TENSORFLOW__SERVING__PREDICTION_LOG__LOG_TYPE_MULTI_INFERENCE_LOG:
        return tn_api_run_multi(server, w->version, request_of(log->multi_inference_log->request), &w->arena,
                                st);
    case TENSORFLOW__SERVING__PREDICTION_LOG__LOG_TYPE__NOT_SET:
        return TERN_OK;
    default:
        return tern_fail(st, TERN_UNIMPLEMENTED, "Unsupported log_type for warmup: %d",
                         (int)log->log_type_case);
    }
}

/* The readers' answers to bytes that are no such request (codec/pb_predict_read.c, codec/pb_examples.c). */
static bool is_no_message(tern_code code, const tern_status *st)
{
    return code == TERN_INTERNAL && (st->length == 0 || tn_str_starts((tn_str){st->message, st->length},
                                                                      TN_STR("The message is no ")));
}

static tern_code run_record(warmup *w, tn_str record, tern_status *st)
{
    tern_code code = TERN_OK;
    Tensorflow__Serving__PredictionLog *log =
        tensorflow__serving__prediction_log__unpack(NULL, record.len, (const uint8_t *)record.ptr);
    if (log == NULL)
        return unparsable(w, record, st);
    int64_t times = w->options->iterations > 0 && w->use == NULL ? w->options->iterations : 1;
    for (int64_t i = 0; i < times && code == TERN_OK; i++)
        code = atomic_load_explicit(&w->options->server->draining, memory_order_relaxed)
                   ? tern_fail(st, TERN_UNAVAILABLE, "The server is shutting down")
                   : replay(w, log, st);
    tensorflow__serving__prediction_log__free_unpacked(log, NULL);
    return is_no_message(code, st) ? unparsable(w, record, st) : code;
}

/* ---- the file ---- */

static size_t read_file(void *context, void *to, size_t n)
{
    warmup *w = context;
    size_t got = 0;
    while (got < n) {
        ssize_t r = read(w->fd, (char *)to + got, n - got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            w->read_error = errno;
        if (r <= 0)
            break;
        got += (size_t)r;
    }
    return got;
}

/* As TensorFlow says it of a file: "PATH; Permission denied". */
static tern_code file_error(const warmup *w, int error, tern_status *st)
{
    tern_code code = error == EACCES || error == EPERM ? TERN_PERMISSION_DENIED
                     : error == EISDIR                 ? TERN_FAILED_PRECONDITION
                                                       : TERN_UNKNOWN;
    return tern_fail(st, code, "%s; %s", w->path, strerror(error));
}

static tern_code next_record(warmup *w, tn_tfrecord *file, tn_str *record, tern_status *st)
{
    tern_code code = tn_tfrecord_next(file, record, st);
    if (w->read_error != 0)
        return file_error(w, w->read_error, st);
    if (code != TERN_DATA_LOSS)
        return code;
    char text[TERN_STATUS_MESSAGE_MAX];
    memcpy(text, st->message, st->length + 1);
    return tern_fail(st, TERN_DATA_LOSS, "%s. Please verify your warmup data is in TFRecord format.", text);
}

static tern_code run_records(warmup *w, tern_status *st)
{
    tn_tfrecord file;
    tn_str record;
    tn_tfrecord_init(&file, read_file, w, (size_t)w->options->server->limits.max_body_bytes);
    tern_code code = next_record(w, &file, &record, st);
    while (code == TERN_OK && record.ptr != NULL) {
        code = run_record(w, record, st);
        if (code == TERN_OK && ++w->records > TN_WARMUP_RECORDS)
            code = tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Number of warmup records exceeds the maximum (%d) at %s", TN_WARMUP_RECORDS,
                             w->path);
        if (code == TERN_OK)
            code = next_record(w, &file, &record, st);
    }
    tn_tfrecord_free(&file);
    return code;
}

/* *none: there is no file. Else it is open, and the arena made, when this succeeds. */
static tern_code open_file(warmup *w, bool *none, tern_status *st)
{
    struct stat info;
    int n = snprintf(w->path, sizeof w->path, "%s/" TN_WARMUP_FILE, w->version->directory);
    *none = true;
    if (n < 0 || (size_t)n >= sizeof w->path)
        return TERN_OK;
    /* Without waiting for a pipe's other end. */
    w->fd = open(w->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (w->fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? TERN_OK : file_error(w, errno, st);
    if (fstat(w->fd, &info) != 0 || !(S_ISREG(info.st_mode) || S_ISDIR(info.st_mode))) {
        close(w->fd);
        return tern_fail(st, TERN_FAILED_PRECONDITION, "%s; Not a regular file", w->path);
    }
    *none = false;
    tn_arena_init(&w->arena, (size_t)w->options->server->limits.max_call_arena_bytes);
    return TERN_OK;
}

tern_code tn_warmup(const tn_warmup_options *options, tn_version *v, tern_status *st)
{
    warmup w = {.options = options, .version = v};
    bool none;
    tern_code code = open_file(&w, &none, st);
    if (code != TERN_OK || none)
        return code;
    int64_t start = tn_now_ns();
    code = run_records(&w, st);
    tn_arena_free(&w.arena);
    close(w.fd);
    if (v->stats.model != NULL)
        tn_stats_warmup(options->server->stats, v->stats.model, v->directory, code, tn_now_ns() - start);
    if (code == TERN_OK)
        tn_info("model", "%.*s version %lld: warmed up with %d records in %.2f s", TN_FMT(v->model),
                (long long)v->number, w.records, (double)(tn_now_ns() - start) / 1e9);
    return code;
}

tern_code tn_warmup_each(const tn_warmup_options *options, tn_version *v, tn_warmup_use *use, void *context,
                         tern_status *st)
{
    warmup w = {.options = options, .version = v, .use = use, .context = context};
    bool none;
    tern_code code = open_file(&w, &none, st);
    if (code != TERN_OK || none)
        return code;
    code = run_records(&w, st);
    tn_arena_free(&w.arena);
    close(w.fd);
    return code;
}
