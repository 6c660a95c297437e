/*
 * cli/tune_request.c - what `tern tune` asks: --data, else the first warm-up records of the version, else
 * requests generated from the signature, short and longer ones.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/input.h"
#include "cli/tune.h"
#include "codec/json.h"
#include "codec/pb_wire.h"
#include "codec/tfrecord.h"
#include "model.pb-c.h"

#define RECORDS     "assets.extra/tf_serving_warmup_requests"
#define RECORD_MAX  ((size_t)1 << 30)
#define ANSWER_MAX  ((size_t)1 << 30)
#define TIMEOUT_MS  300000
#define GRPC_PREFIX 5

static const int64_t lengths[] = {8, 128};

/* ---- Requests ---- */

/* A request out of a file, or generated where there is none. */
static tern_code add(tn_tune *t, const tn_tune_try *y, const char *api, const char *file, int64_t length,
                     tern_status *st)
{
    const tn_bench_options o = {.model = TN_TUNE_NAME,
                                .url = tn_arena_printf(&t->arena, "http://127.0.0.1:%s", y->port).ptr,
                                .api = api,
                                .signature = t->o.signature,
                                .data = file,
                                .content_type = "",
                                .path = "",
                                .batch = t->o.batch,
                                .length = length};
    if (o.url == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory");
    tern_code code = tn_bench_target_make(&o, &t->arena, &t->requests[t->n_requests], st);
    if (code == TERN_OK)
        t->n_requests++;
    return code;
}

/*
 * A serialized PredictRequest for the servers that are tried: a ModelSpec behind it counts instead of its own
 * (protobuf merges), with their name and the version's number.
 */
static tern_code add_message(tn_tune *t, const tn_tune_try *y, tn_str message, tern_status *st)
{
    tn_buf number, spec, end;
    const char *path = tn_arena_printf(&t->arena, "%s/request-%u", t->work, t->n_requests).ptr;
    tn_buf_init(&number, 64);
    tn_buf_init(&spec, 256);
    tn_buf_init(&end, 512);
    tn_pb_add_number(&number, 1, (uint64_t)t->number);
    tn_pb_add_bytes(&spec, 1, TN_STR(TN_TUNE_NAME));
    tn_pb_add_bytes(&spec, 2, tn_buf_view(&number));
    tn_pb_add_bytes(&end, 1, tn_buf_view(&spec));
    FILE *file = path != NULL && !end.failed ? fopen(path, "wb") : NULL;
    bool good = file != NULL && fwrite(message.ptr, 1, message.len, file) == message.len &&
                fwrite(end.ptr, 1, end.len, file) == end.len;
    if (file != NULL && fclose(file) != 0)
        good = false;
    tern_code code = good ? add(t, y, "grpc", path, 1, st)
                          : tern_fail(st, TERN_UNAVAILABLE, "%s: %s", t->work, strerror(errno));
    tn_buf_free(&number);
    tn_buf_free(&spec);
    tn_buf_free(&end);
    return code;
}

static tern_code from_data(tn_tune *t, const tn_tune_try *y, tern_status *st)
{
    tn_buf text;
    tn_arena arena;
    tern_status why;
    const tn_json *root;
    tn_buf_init(&text, RECORD_MAX);
    tn_arena_init(&arena, 4 * RECORD_MAX);
    tern_code code = tn_cli_read_file(t->o.data, &text, &why);
    if (code != TERN_OK)
        code = tern_fail(st, code, "--data=%.200s: %s", t->o.data, why.message);
    else if (tn_json_parse(tn_buf_view(&text), 64, &arena, &root, &why) == TERN_OK)
        code = add(t, y, "rest", t->o.data, 1, st);
    else
        code = add_message(t, y, tn_buf_view(&text), st);
    tn_arena_free(&arena);
    tn_buf_free(&text);
    t->source = "--data";
    return code;
}

static size_t read_record(void *context, void *to, size_t n)
{
    return fread(to, 1, n, context);
}

static tern_code add_record(tn_tune *t, const tn_tune_try *y, tn_str record, tern_status *st)
{
    tern_code code = TERN_OK;
    Tensorflow__Serving__PredictionLog *log =
        tensorflow__serving__prediction_log__unpack(NULL, record.len, (const uint8_t *)record.ptr);
    if (log != NULL && log->log_type_case == TENSORFLOW__SERVING__PREDICTION_LOG__LOG_TYPE_PREDICT_LOG &&
        log->predict_log->request.len > 0)
        code = add_message(
            t, y, (tn_str){(const char *)log->predict_log->request.data, log->predict_log->request.len}, st);
    if (log != NULL)
        tensorflow__serving__prediction_log__free_unpacked(log, NULL);
    return code;
}

static tern_code from_records(tn_tune *t, const tn_tune_try *y, tern_status *st)
{
    char path[PATH_MAX];
    tn_tfrecord reader;
    tn_str record = TN_STR("");
    tern_code code = TERN_OK;
    snprintf(path, sizeof path, "%s/" RECORDS, t->version);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return TERN_OK;
    tn_tfrecord_init(&reader, read_record, file, RECORD_MAX);
    while (code == TERN_OK && record.ptr != NULL && t->n_requests < TN_TUNE_REQUESTS) {
        code = tn_tfrecord_next(&reader, &record, st);
        if (code == TERN_OK && record.ptr != NULL)
            code = add_record(t, y, record, st);
    }
    tn_tfrecord_free(&reader);
    fclose(file);
    t->source = "the version's warm-up records";
    return code;
}

static tern_code generated(tn_tune *t, const tn_tune_try *y, tern_status *st)
{
    tern_code code = TERN_OK;
    t->source = "generated from the signature; recorded ones are better (--data)";
    if (t->o.length > 0)
        return add(t, y, "grpc", "", t->o.length, st);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0] && code == TERN_OK; i++)
        code = add(t, y, "grpc", "", lengths[i], st);
    /* Where no length is unknown they are the same. */
    if (code == TERN_OK && t->n_requests == 2 &&
        t->requests[0].request.body.len == t->requests[1].request.body.len)
        t->n_requests = 1;
    return code;
}

tern_code tn_tune_requests(tn_tune *t, const tn_tune_try *y, tern_status *st)
{
    if (t->o.data[0] != '\0')
        return from_data(t, y, st);
    tern_code code = from_records(t, y, st);
    return code == TERN_OK && t->n_requests == 0 ? generated(t, y, st) : code;
}

/* ---- Answers ---- */

tern_code tn_tune_ask(const tn_tune *t, tn_tune_try *y, tern_status *st)
{
    tern_code code = TERN_OK;
    for (unsigned i = 0; i < t->n_requests && code == TERN_OK; i++) {
        tn_bench_target target = t->requests[i];
        const bool grpc = target.api == TN_BENCH_GRPC;
        tn_buf body;
        target.port = y->port;
        tn_buf_init(&body, ANSWER_MAX);
        tn_buf_free(&y->answers[i]);
        tn_buf_init(&y->answers[i], ANSWER_MAX);
        code = tn_bench_ask(&target, &target.request, grpc, &body, st);
        const size_t skip = grpc && body.len >= GRPC_PREFIX ? GRPC_PREFIX : 0;
        if (code == TERN_OK)
            tn_buf_append(&y->answers[i], body.ptr + skip, body.len - skip);
        tn_buf_free(&body);
    }
    return code;
}
