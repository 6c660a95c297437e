/*
 * api/async.c - InvokeEndpointAsync: what is accepted, where its files will be, and the answer. See
 * api/async.h. On the exchange's loop.
 */
#include "api/async.h"

#include <stdlib.h>

#include "api/access.h"
#include "api/async_job.h"
#include "base/beneath.h"
#include "base/clock.h"
#include "base/thread.h"
#include "codec/json.h"

#define ARENA_MAX        (1u << 20)
#define TEXT_MAX         4096
#define INFERENCE_ID_MAX 64
#define TTL_S            21600 /* defaults of the service */
#define TIMEOUT_S        900
#define OUTPUT_PREFIX    "async-endpoint-outputs/" /* the SDK's */
#define FAILURE_PREFIX   "async-endpoint-failures/"
#define BUCKET           "local" /* of outputs, where the body was inline */

static tn_str s3 = TN_STR_INIT("s3://");

static void free_unqueued(tn_async_job *job)
{
    tn_exchange *inner = job->inner;
    job->inner = NULL;
    if (inner != NULL)
        tn_exchange_abandon(inner);
    tn_tap_close(job->tap, false);
    tn_async_job_free(job);
}

static void refuse(tn_async_job *job, tn_fault fault, const char *why)
{
    tn_exchange *ex = job->outer;
    job->outer = NULL;
    tn_envelope_fault(tn_async_server(job->async), ex, &job->envelope, fault, TN_STR_NONE, tn_str_from(why));
    free_unqueued(job);
}

/* ---- What the request says ---- */

/* A whole number of a field, within its bounds; `standard` where there is none. false: `why` says so. */
static bool number(const tn_exchange *ex, const char *field, const char *member, int64_t min, int64_t max,
                   int64_t standard, int64_t *value, char *why)
{
    tn_str text = tn_exchange_header(ex, field);
    *value = standard;
    if (text.ptr == NULL || (tn_str_i64(text, value) && *value >= min && *value <= max))
        return true;
    snprintf(why, TEXT_MAX, "Value '%.*s' at '%s' must be a number from %lld to %lld",
             TN_FMT(tn_str_sub(text, 0, 100)), member, (long long)min, (long long)max);
    return false;
}

/* "s3://bucket/key" -> "bucket/key", which is a path below the folder. */
static bool location(tn_str uri, tn_str *path)
{
    if (!tn_str_starts(uri, s3))
        return false;
    *path = tn_str_sub(uri, s3.len, uri.len);
    return tn_beneath_is_good(*path) && tn_str_chr(*path, '/') > 0;
}

static bool read_input(tn_async_job *job, const tn_exchange *ex, char *why)
{
    tn_str uri = tn_exchange_header(ex, "x-amzn-sagemaker-inputlocation"), path;
    if ((uri.len > 0) == (job->body.len > 0)) {
        snprintf(why, TEXT_MAX, "Provide exactly one of Body and InputLocation");
        return false;
    }
    if (job->body.len > TN_ASYNC_BODY || job->body.failed) {
        snprintf(why, TEXT_MAX, "Body has more than %d bytes; put it into a file and give its InputLocation",
                 TN_ASYNC_BODY);
        return false;
    }
    if (uri.len == 0)
        return true;
    if (!location(uri, &path)) {
        snprintf(
            why, TEXT_MAX,
            "InputLocation %.*s is not s3://BUCKET/KEY with names between its '/' that are neither empty "
            "nor . nor ..",
            TN_FMT(tn_str_sub(uri, 0, 512)));
        return false;
    }
    job->input = tn_arena_dup(&job->arena, path);
    return true;
}

/* The text as a file's name. */
static tn_str as_name(tn_arena *arena, tn_str text)
{
    char name[TN_BENEATH_NAME];
    return tn_arena_dup(arena, (tn_str){name, tn_beneath_name(text, name)});
}

static bool read_id(tn_async_job *job, const tn_exchange *ex, char *why)
{
    tn_str id = tn_exchange_header(ex, "x-amzn-sagemaker-inference-id");
    char text[TN_UUID];
    if (id.ptr != NULL && (id.len == 0 || id.len > INFERENCE_ID_MAX)) {
        snprintf(why, TEXT_MAX, "InferenceId must have 1 to %d characters", INFERENCE_ID_MAX);
        return false;
    }
    if (id.ptr == NULL) {
        tn_uuid(text);
        id = (tn_str){text, sizeof text};
    }
    job->id = tn_arena_dup(&job->arena, id);
    return job->id.ptr != NULL;
}

/* Where a file goes: a setting's place, or the SDK's prefix in the input's bucket. */
static tn_str place(tn_async_job *job, tn_str setting, const char *prefix, tn_str extension, tn_str name)
{
    tn_str base = setting, bucket = TN_STR(BUCKET);
    if (job->input.len > 0)
        bucket = tn_str_sub(job->input, 0, (size_t)tn_str_chr(job->input, '/'));
    if (setting.len == 0)
        base = tn_arena_printf(&job->arena, "%.*s/%s%.*s", TN_FMT(bucket), prefix,
                               TN_FMT(as_name(&job->arena, job->envelope.endpoint)));
    return extension.len > 0
               ? tn_arena_printf(&job->arena, "%.*s/%.*s/%.*s", TN_FMT(base), TN_FMT(extension), TN_FMT(name))
               : tn_arena_printf(&job->arena, "%.*s/%.*s", TN_FMT(base), TN_FMT(name));
}

static bool read_places(tn_async_job *job, const tn_exchange *ex, char *why)
{
    const tn_async_options *o = tn_async_options_of(job->async);
    tn_str extension = tn_exchange_header(ex, "x-amzn-sagemaker-s3outputpathextension");
    tn_str file = tn_exchange_header(ex, "x-amzn-sagemaker-filename");
    tn_str name = as_name(&job->arena, job->id);
    if (extension.len > 0 && extension.ptr[extension.len - 1] == '/')
        extension.len--;
    if ((extension.len > 0 && !tn_beneath_is_good(extension)) ||
        (file.len > 0 && (!tn_beneath_is_good(file) || tn_str_chr(file, '/') >= 0))) {
        snprintf(why, TEXT_MAX, "S3OutputPathExtension and Filename must be names without . and ..");
        return false;
    }
    tn_str output = file.len > 0 ? file : tn_arena_printf(&job->arena, "%.*s.out", TN_FMT(name));
    tn_str failure = tn_arena_printf(&job->arena, "%.*s-error.out", TN_FMT(name));
    job->output = place(job, o->output, OUTPUT_PREFIX, extension, output);
    job->failure = place(job, o->failure, FAILURE_PREFIX, TN_STR_NONE, failure);
    if (tn_beneath_is_good(job->output) && tn_beneath_is_good(job->failure))
        return true;
    snprintf(why, TEXT_MAX, "The output's place has a name that is too long");
    return false;
}

static bool read_request(tn_async_job *job, const tn_exchange *ex, char *why)
{
    return read_input(job, ex, why) && read_id(job, ex, why) && read_places(job, ex, why) &&
           number(ex, "x-amzn-sagemaker-requestttlseconds", "requestTTLSeconds", 60, TTL_S, TTL_S,
                  &job->ttl_s, why) &&
           number(ex, "x-amzn-sagemaker-invocationtimeoutseconds", "invocationTimeoutSeconds", 1, 3600,
                  TIMEOUT_S, &job->timeout_s, why);
}

/* ---- Acceptance ---- */

static void free_text(void *arg, bool sent)
{
    (void)sent;
    free(arg);
}

/* The job is the queue's by now: all that is said is in `ex` and the texts. */
static void accept(tn_server *server, tn_exchange *ex, tn_str request_id, tn_str id, tn_str output,
                   tn_str failure)
{
    struct {
        tn_chunk chunk;
        char text[8 * INFERENCE_ID_MAX];
    } *body = malloc(sizeof *body);
    tn_buf out;
    tn_buf_init(&out, sizeof body->text);
    tn_buf_z(&out, "{\"InferenceId\":");
    tn_json_quote(&out, id);
    tn_buf_char(&out, '}');
    const tn_header headers[] = {{TN_STR("content-type"), TN_STR("application/json")},
                                 {TN_STR("x-amzn-requestid"), request_id},
                                 {TN_STR("x-amzn-sagemaker-outputlocation"), output},
                                 {TN_STR("x-amzn-sagemaker-failurelocation"), failure}};
    tn_response response = {.status = 202, .headers = headers, .n_headers = 4};
    if (body != NULL && out.len > 0 && !out.failed) {
        memcpy(body->text, out.ptr, out.len);
        body->chunk = (tn_chunk){body->text, out.len};
        response.body = &body->chunk;
        response.n_body = 1;
    }
    response.release = free_text;
    response.release_arg = body;
    tn_buf_free(&out);
    tn_access_answered(server, ex, TERN_OK);
    tn_access_send(server, ex, &response);
}

/* The body is there: the job is made complete, queued, and the client told. */
static void submit(tn_async_job *job)
{
    char why[TEXT_MAX] = "No memory for this request; try again";
    tn_exchange *ex = job->outer;
    tn_server *server = tn_async_server(job->async);
    if (!read_request(job, ex, why)) {
        refuse(job, TN_FAULT_VALIDATION, why);
        return;
    }
    tn_str output = tn_arena_printf(&job->arena, "s3://%.*s", TN_FMT(job->output));
    tn_str failure = tn_arena_printf(&job->arena, "s3://%.*s", TN_FMT(job->failure));
    const tn_inner inner = {.method = TN_STR("POST"),
                            .target = job->target,
                            .headers = job->fields,
                            .n_headers = job->n_fields,
                            .content_length = job->input.len > 0 ? -1 : (int64_t)job->body.len,
                            .started_ns = tn_now_ns(),
                            .tag = tn_exchange_listener(ex)};
    if (output.ptr != NULL && failure.ptr != NULL && tn_budget_take(&server->budget, job->body.len)) {
        job->charged = job->body.len;
        job->inner = tn_exchange_make(job->loop, &inner, &job->taker);
    }
    if (job->inner == NULL) {
        refuse(job, TN_FAULT_UNAVAILABLE, "No memory for this request; try again");
        return;
    }
    job->tap = tn_tap_open(server, job->inner, job->envelope.endpoint, job->envelope.variant);
    job->expires_ns = tn_now_ns() + job->ttl_s * TN_NS_PER_S;
    job->outer = NULL;
    /* What the answer says, before a thread has the job and may end it. */
    tn_arena texts;
    tn_arena_init(&texts, ARENA_MAX);
    tn_str id = tn_arena_dup(&texts, job->id), request_id = tn_arena_dup(&texts, job->envelope.request_id);
    output = tn_arena_dup(&texts, output);
    failure = tn_arena_dup(&texts, failure);
    if (tn_async_push(job->async, job)) {
        accept(server, ex, request_id, id, output, failure);
    } else {
        job->outer = ex;
        refuse(job, TN_FAULT_UNAVAILABLE,
               "Too many asynchronous requests wait already (--max_async_queue); try again later");
    }
    tn_arena_free(&texts);
}

static tern_code on_commit(tn_sink *sink, const char *ptr, size_t n)
{
    tn_buf_append(&TN_CONTAINER(sink, tn_async_job, sink)->body, ptr, n);
    return TERN_OK; /* what is too long is dropped, and told at the end */
}

static void on_end(tn_sink *sink)
{
    submit(TN_CONTAINER(sink, tn_async_job, sink));
}

static void on_abort(tn_sink *sink)
{
    (void)sink; /* on_gone follows */
}

static void on_gone(void *user, tn_exchange *ex)
{
    tn_async_job *job = user;
    (void)ex;
    job->outer = NULL;
    free_unqueued(job);
}

/* Copies what is the exchange's. false: memory is short. */
static bool copy_texts(tn_async_job *job, const tn_envelope *e, tn_str target, const tn_header *fields,
                       size_t n)
{
    tn_arena *arena = &job->arena;
    tn_header *kept = tn_arena_array(arena, n + 1, sizeof *kept);
    job->envelope = (tn_envelope){.endpoint = tn_arena_dup(arena, e->endpoint),
                                  .variant = tn_arena_dup(arena, e->variant),
                                  .region = tn_arena_dup(arena, e->region),
                                  .request_id = tn_arena_dup(arena, e->request_id)};
    job->target = tn_arena_dup(arena, target);
    for (size_t i = 0; kept != NULL && i < n; i++) {
        kept[i] = (tn_header){tn_arena_dup(arena, fields[i].name), tn_arena_dup(arena, fields[i].value)};
        if (kept[i].name.ptr == NULL || kept[i].value.ptr == NULL)
            return false;
    }
    job->fields = kept;
    job->n_fields = n;
    return kept != NULL && job->target.ptr != NULL && job->envelope.request_id.ptr != NULL;
}

void tn_async_call(tn_server *server, tn_exchange *ex, const tn_envelope *envelope, tn_str target,
                   const tn_header *fields, size_t n_fields)
{
    char why[TEXT_MAX];
    if (server->async == NULL) {
        snprintf(why, sizeof why,
                 "Endpoint %.*s is not an asynchronous endpoint: start the server with --async_dir=FOLDER, "
                 "and s3://BUCKET/KEY is FOLDER/BUCKET/KEY",
                 TN_FMT(envelope->endpoint));
        tn_envelope_fault(server, ex, envelope, TN_FAULT_VALIDATION, TN_STR_NONE, tn_str_from(why));
        return;
    }
    tn_async_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        tn_envelope_fault(server, ex, envelope, TN_FAULT_UNAVAILABLE, TN_STR_NONE,
                          TN_STR("No memory for this request; try again"));
        return;
    }
    job->async = server->async;
    job->loop = tn_exchange_loop(ex);
    job->outer = ex;
    job->taker = tn_async_taker();
    tn_arena_init(&job->arena, ARENA_MAX);
    tn_buf_init(&job->body, TN_ASYNC_BODY + 1);
    tn_buf_init(&job->waiting, TN_STREAM_MAX);
    pthread_mutex_init(&job->lock, NULL);
    tn_cond_init(&job->changed);
    if (!copy_texts(job, envelope, target, fields, n_fields)) {
        job->envelope = *envelope;
        refuse(job, TN_FAULT_UNAVAILABLE, "No memory for this request; try again");
        return;
    }
    job->sink = (tn_sink){.commit = on_commit, .end = on_end, .abort = on_abort};
    tn_exchange_on_gone(ex, on_gone, job);
    tn_exchange_set_sink(ex, &job->sink);
}
