/*
 * api/script.c - a request's way through a handler script: see api/script.h and api/script_inside.h.
 *
 * The request is detached while a worker has it, and submitted while the model runs, so that a client that
 * vanishes and a deadline that passes are dealt with as for every other request (api/request.h). Its state is
 * freed with the call's arena, which is when no worker has its memory any more.
 */
#include "api/script.h"

#include <stdlib.h>

#include "api/access.h"
#include "api/sagemaker_service.h"
#include "api/script_inside.h"
#include "api/script_ports.h"

static const tn_surface script_surface;

static tn_script_request *state_of(const tn_request *r)
{
    return r->surface_state;
}

static bool from_2_20(const tn_script_request *s)
{
    return s->r->server->sagemaker->generation >= TN_SAGEMAKER_2_20;
}

/* ---- jobs ---- */

static void on_task(tn_task *task);

/* On any thread. */
static void on_event(tn_script_job *job)
{
    tn_script_request *s = TN_CONTAINER(job, tn_script_request, job);
    tn_loop_post(s->r->loop, &s->task);
}

/* tn_request.cancel: the client is gone, or was answered 504. */
static void cancel(tn_request *r)
{
    tn_script_request *s = state_of(r);
    if (s->stage == TN_SCRIPT_FEEDS || (s->stage == TN_SCRIPT_STARTS && s->run.used)) {
        tn_call_cancel(&s->run.call); /* its end finds nobody */
        return;
    }
    if (s->waits_for_room) { /* a worker waits to hear that there is room: it hears that nobody reads */
        s->waits_for_room = false;
        tn_loop_post(r->loop, &s->task);
        return;
    }
    /* ex is still there when it was the deadline: then the worker is at fault. */
    s->never_began = tn_script_cancel(&s->job, r->ex != NULL);
    if (s->never_began)
        tn_loop_post(r->loop, &s->task);
}

/* The frame is ready: to a worker. */
static void submit(tn_script_request *s, tn_script_stage stage)
{
    tern_status st;
    tn_request *r = s->r;
    s->stage = stage;
    s->job.deadline_ns = s->deadline_ns;
    s->task.run = on_task;
    r->call.deadline_ns = s->deadline_ns;
    tn_request_detach(r, cancel, s);
    if (tn_script_submit(s->pool, &s->job, &st) != TERN_OK) {
        r->call.status = st;
        tn_request_finish(r);
    }
}

/* ---- answers ---- */

static void fail(tn_script_request *s, const tern_status *st)
{
    const int status = st->code == TERN_FAILED_PRECONDITION ? 503 : tn_code_http(st->code);
    tn_service_request_own_error(s->r, status, (tn_str){st->message, st->length});
}

/* Code under which an answer with this status is counted. */
static tern_code code_of(int status)
{
    return status < 400    ? TERN_OK
           : status == 404 ? TERN_NOT_FOUND
           : status == 429 ? TERN_RESOURCE_EXHAUSTED
           : status < 500  ? TERN_INVALID_ARGUMENT
           : status == 503 ? TERN_UNAVAILABLE
           : status == 504 ? TERN_DEADLINE_EXCEEDED
                           : TERN_UNKNOWN;
}

static int status_of(const tn_script_request *s)
{
    uint64_t status = 200;
    if (tn_frame_get_u64(&s->job.reply, TN_SCRIPT_STATUS, &status) && (status < 200 || status > 599))
        status = 500;
    return (int)status;
}

/* The script's answer, out of shared memory. */
static void answer(tn_script_request *s)
{
    tn_request *r = s->r;
    tn_header headers[TN_SCRIPT_HEADERS_MAX + 1];
    tern_status st;
    tn_str body;
    size_t n = 0;
    const int status = status_of(s);
    const tn_str title = tn_frame_get(&s->job.reply, TN_SCRIPT_TITLE);
    if (title.ptr != NULL) {
        tn_service_request_error(r, status, title, tn_frame_get(&s->job.reply, TN_SCRIPT_DESCRIPTION));
        return;
    }
    if (tn_script_reply_headers(s, headers, &n, &st) != TERN_OK ||
        tn_script_reply_body(s, &body, &st) != TERN_OK) {
        fail(s, &st);
        return;
    }
    s->chunk = (tn_chunk){body.ptr, body.len};
    tn_response response = {
        .status = status, .headers = headers, .n_headers = n, .body = &s->chunk, .n_body = body.len > 0};
    tn_request_send(r, &response, code_of(status));
}

/* ---- answers that come in parts ---- */

static void reply_more(tn_script_request *s, bool gone)
{
    char buf[64];
    tn_frame_writer w;
    if (!gone && s->time_ns > 0)
        s->job.deadline_ns = tn_now_ns() + s->time_ns;
    tn_frame_begin(&w, buf, sizeof buf, TN_FRAME_MORE, 0);
    if (gone)
        tn_frame_put(&w, TN_TAG_ERROR, TN_STR("gone"));
    if (!tn_script_reply(&s->job, buf, tn_frame_end(&w)))
        on_task(&s->task); /* the worker is gone, too */
}

static void on_room(void *user, tn_exchange *ex)
{
    tn_script_request *s = user;
    (void)ex;
    s->waits_for_room = false;
    reply_more(s, false);
}

static bool begin_stream(tn_script_request *s)
{
    tn_request *r = s->r;
    tn_header headers[TN_SCRIPT_HEADERS_MAX + 1];
    tern_status st;
    size_t n = 0;
    if (tn_script_reply_headers(s, headers, &n, &st) != TERN_OK) {
        fail(s, &st);
        return false;
    }
    const tn_response head = {.status = status_of(s), .headers = headers, .n_headers = n};
    tn_timer_stop(r->loop, &r->deadline); /* from now on each part has its time */
    tn_exchange_stream(r->ex, &head);
    s->streaming = true;
    return true;
}

static void on_part(tn_script_request *s)
{
    tn_request *r = s->r;
    const tn_str body = tn_frame_get(&s->job.reply, TN_SCRIPT_BODY);
    if (r->ex == NULL || (!s->streaming && !begin_stream(s))) {
        reply_more(s, true);
        return;
    }
    if (!tn_exchange_write(r->ex, body.ptr, body.len)) {
        tn_exchange_break(r->ex);
        r->ex = NULL;
        reply_more(s, true);
    } else if (tn_exchange_room(r->ex) >= TN_FRAME_MAX) {
        reply_more(s, false);
    } else {
        s->waits_for_room = true;
        tn_exchange_want_room(r->ex, on_room, s);
    }
}

/* The last part was there, or it broke off. */
static void end_stream(tn_script_request *s)
{
    tn_request *r = s->r;
    uint64_t whole = 0;
    const bool good = r->call.status.code == TERN_OK &&
                      tn_frame_get_u64(&s->job.reply, TN_SCRIPT_STREAM, &whole) && whole == 1;
    const tern_code code = good ? TERN_OK : TERN_UNKNOWN;
    tn_access_note(r, code);
    tn_server_count(r->server, r->stats, r->method, code, tn_now_ns() - r->started_ns, 0);
    if (good)
        tn_exchange_finish(r->ex, NULL, 0);
    else
        tn_exchange_break(r->ex);
    r->ex = NULL;
    tn_request_drop(r);
}

/* ---- the model ---- */

/* Output of the model, or its error, to output_handler. */
static void to_output_handler(tn_script_request *s, int status)
{
    tern_status st;
    if (tn_script_write_output(s, status, &st) != TERN_OK) {
        fail(s, &st);
        return;
    }
    tn_script_job_keep(&s->job, s->run.used && s->run.call.n_outputs > 0 ? s->run.outputs[0].at.segment
                                                                         : s->text.segment);
    tn_script_run_finish(&s->run);
    submit(s, TN_SCRIPT_ENDS);
}

/* The model's port would have answered so. From 2.20 on such an answer never gets to output_handler. */
static void model_failed(tn_script_request *s, int status, tn_str body)
{
    tern_status st;
    if (from_2_20(s)) {
        tn_service_request_error(s->r, status, TN_STR_NONE, body);
        return;
    }
    const tn_chunk chunk = {body.ptr, body.len};
    if (tn_script_pack(s, &chunk, 1, &st) != TERN_OK)
        fail(s, &st);
    else
        to_output_handler(s, status);
}

static void on_run_end(tn_task *task)
{
    tn_script_request *s = TN_CONTAINER(task, tn_script_request, run.task);
    tn_request *r = s->r;
    tern_status st = s->run.call.status;
    r->submitted = false;
    tn_timer_stop(r->loop, &r->deadline);
    for (int i = 0; i < TN_STAGES; i++)
        r->call.stage_ns[i] += s->run.call.stage_ns[i];
    if (r->ex == NULL) {
        tn_request_drop(r);
    } else if (st.code == TERN_OK) {
        to_output_handler(s, 200);
    } else {
        tn_buf body;
        tn_buf_init(&body, sizeof st.message * 6 + 256);
        tn_http_error_body(r->server, &body, (tn_str){st.message, st.length});
        tn_script_run_finish(&s->run);
        model_failed(s, tn_code_http(st.code), tn_buf_view(&body));
        tn_buf_free(&body);
    }
}

/* tn_rest_state.prepare: the text is copied before it is read, for its worker could still change it. */
static tern_code take_text(tn_request *r, tern_status *st)
{
    tn_script_request *s = state_of(r);
    tn_str text;
    tern_code code = tn_script_reply_body(s, &text, st);
    tn_region_free(&r->body);
    tn_region_init(&r->body, &r->server->budget, text.len, (size_t)r->server->limits.max_body_bytes);
    if (code == TERN_OK && text.len > 0)
        code = tn_region_append(&r->body, text.ptr, text.len, st);
    return code;
}

/* encode of the REST calls, and what they made into the worker's memory. */
static tern_code encode_and_pack(tn_call *call, tern_status *st)
{
    tn_script_request *s = state_of(TN_CONTAINER(call, tn_request, call));
    tern_code code = s->inner->encode(call, st);
    if (code == TERN_OK)
        code = tn_script_pack(s, s->rest.answer.chunks, s->rest.answer.n_chunks, st);
    (void)tn_call_lap(call); /* what it costs is all of it, though the stage is the inner one's */
    return code;
}

#define VERBS 3
static tn_call_steps packing[VERBS];
static const tn_call_steps *inner[VERBS];
static pthread_once_t packing_made = PTHREAD_ONCE_INIT;

static void make_packing(void)
{
    inner[0] = tn_rest_predict_steps();
    inner[1] = tn_rest_examples_steps(false, false);
    inner[2] = tn_rest_examples_steps(true, false);
    for (int i = 0; i < VERBS; i++) {
        packing[i] = *inner[i];
        packing[i].encode = encode_and_pack;
    }
}

/* The model gets the text of input_handler, as a POST to context.rest_uri would bring it. */
static void run_text(tn_script_request *s)
{
    tn_request *r = s->r;
    tern_status st;
    tn_str text;
    s->stage = TN_SCRIPT_RUNS;
    r->cancel = NULL;
    r->call.deadline_ns = 0;
    if (tn_script_reply_body(s, &text, &st) != TERN_OK || tn_rest_aim(r, s->target, &st) != TERN_OK) {
        tn_request_fail(r, &st);
        return;
    }
    pthread_once(&packing_made, make_packing);
    for (int i = 0; i < VERBS; i++)
        if (r->call.steps == inner[i]) {
            s->inner = inner[i];
            r->call.steps = &packing[i];
        }
    s->rest.prepare = take_text;
    r->call.body_bytes = text.len;
    tn_rest_go(r);
}

/* input_handler is done. */
static void on_input(tn_script_request *s)
{
    tn_request *r = s->r;
    if (tn_frame_get(&s->job.reply, TN_TAG_TENSOR).ptr == NULL) {
        run_text(s);
        return;
    }
    s->stage = TN_SCRIPT_FEEDS;
    r->call.deadline_ns = s->deadline_ns;
    tn_request_detach(r, cancel, s);
    tn_script_run_start(s, on_run_end);
}

/* ---- context.predict() ---- */

static void reply_result(tn_script_request *s, const tern_status *st)
{
    tn_frame_writer w;
    tern_status no;
    size_t len = 0;
    size_t more = 64 + sizeof st->message;
    for (uint32_t i = 0; st->code == TERN_OK && i < s->run.call.n_outputs; i++)
        more += tn_frame_tensor_bytes(&s->run.outputs[i]);
    /* The frame is not the job's any more: it was sent. */
    if (tn_script_frame_room(s, more + s->run.packed_len, &no) == TERN_OK) {
        tn_frame_begin(&w, s->frame, s->frame_cap, TN_FRAME_RESULT, 0);
        if (st->code == TERN_OK) {
            tn_script_put_outputs(s, &w);
        } else {
            tn_frame_put(&w, TN_TAG_ERROR, (tn_str){st->message, st->length});
            tn_frame_put_u64(&w, TN_SCRIPT_STATUS, (uint64_t)tn_code_http(st->code));
        }
        len = tn_frame_end(&w);
    }
    if (len == 0) {
        tn_frame_begin(&w, s->frame, s->frame_cap, TN_FRAME_RESULT, 0);
        tn_frame_put(&w, TN_TAG_ERROR, TN_STR("The outputs have too many dimensions for a frame"));
        len = tn_frame_end(&w);
    }
    tn_script_run_finish(&s->run);
    s->job.frame = s->frame; /* it may have moved */
    if (!tn_script_reply(&s->job, s->frame, len))
        on_task(&s->task);
}

static void on_asked_run_end(tn_task *task)
{
    tn_script_request *s = TN_CONTAINER(task, tn_script_request, run.task);
    const tern_status st = s->run.call.status;
    for (int i = 0; i < TN_STAGES; i++)
        s->r->call.stage_ns[i] += s->run.call.stage_ns[i];
    reply_result(s, &st);
}

static void on_ask(tn_script_request *s)
{
    tern_status gone;
    if (s->r->ex == NULL) { /* not worth a run */
        tern_fail(&gone, TERN_CANCELLED, "Nobody waits for this request any more");
        s->run.call.n_outputs = 0;
        reply_result(s, &gone);
        return;
    }
    tn_script_run_start(s, on_asked_run_end);
}

/* ---- events ---- */

/* What a worker said, or how the job ended. On the loop. */
static void on_task(tn_task *task)
{
    tn_script_request *s = TN_CONTAINER(task, tn_script_request, task);
    tn_request *r = s->r;
    if (!s->job.over) {
        if (s->job.reply.type == TN_FRAME_PART)
            on_part(s);
        else
            on_ask(s);
        return;
    }
    r->call.status = s->job.status;
    if (s->streaming && r->ex != NULL) {
        r->submitted = false;
        tn_timer_stop(r->loop, &r->deadline);
        end_stream(s);
        return;
    }
    tn_request_finish(r);
}

/* tn_surface.answer: a worker has answered, or the model has, on text. */
static void script_answer(tn_request *r)
{
    tn_script_request *s = state_of(r);
    uint64_t stage;
    if (s->stage == TN_SCRIPT_RUNS)
        to_output_handler(s, 200);
    else if (s->stage == TN_SCRIPT_STARTS && tn_frame_get_u64(&s->job.reply, TN_SCRIPT_STAGE, &stage))
        on_input(s);
    else
        answer(s);
}

static void script_error(tn_request *r, const tern_status *st)
{
    tn_script_request *s = state_of(r);
    if (s == NULL) {
        tn_service_request_own_error(r, tn_code_http(st->code), (tn_str){st->message, st->length});
    } else if (s->streaming) { /* the deadline of a stream is its parts' */
        tn_exchange_break(r->ex);
        r->ex = NULL;
    } else if (s->stage == TN_SCRIPT_RUNS && !r->submitted) {
        tn_buf body;
        tn_buf_init(&body, (size_t)r->server->limits.max_error_bytes * 6 + 65536);
        tn_http_request_error_body(r, st, &body);
        model_failed(s, tn_code_http(st->code), tn_buf_view(&body));
        tn_buf_free(&body);
    } else if (r->submitted) {
        tern_status late;
        tern_fail(&late, st->code, "%s within %lld s (SAGEMAKER_GUNICORN_TIMEOUT_SECONDS)",
                  s->never_began ? "No worker of the script had room" : "The handler did not answer",
                  (long long)(s->time_ns / TN_NS_PER_S));
        fail(s, st->code == TERN_DEADLINE_EXCEEDED ? &late : st);
    } else {
        fail(s, st);
    }
}

static const tn_surface script_surface = {.answer = script_answer, .error = script_error};

/* ---- the body ---- */

static void on_body(tn_request *r)
{
    tn_script_request *s = state_of(r);
    tern_status st;
    tern_code code = TERN_OK;
    if (s->body == NULL) {
        s->body_len = r->body.len;
        if (r->body.len > TN_FRAME_INLINE_MAX) { /* its length was not told before */
            code = tn_segment_take(tn_script_pool_segments(s->pool), r->body.len, &s->body, &st);
            if (code == TERN_OK) {
                memcpy(s->body->ptr, r->body.ptr, r->body.len);
                s->body->used = r->body.len; /* what r->body has paid for stays until the end */
                (void)tn_script_job_add(&s->job, s->body);
            }
        }
    }
    if (code == TERN_OK)
        code = tn_script_write_start(s, &st);
    if (code != TERN_OK) {
        tn_request_fail(r, &st);
        return;
    }
    s->deadline_ns = s->time_ns > 0 ? tn_now_ns() + s->time_ns : 0;
    submit(s, TN_SCRIPT_STARTS);
}

static tern_code sink_reserve(tn_sink *sink, size_t want, char **room, size_t *space)
{
    tn_script_request *s = TN_CONTAINER(sink, tn_script_request, sink);
    (void)want;
    *room = s->body->ptr + s->body_len;
    *space = s->body->size - s->body_len;
    return TERN_OK;
}

static tern_code sink_commit(tn_sink *sink, const char *ptr, size_t n)
{
    tn_script_request *s = TN_CONTAINER(sink, tn_script_request, sink);
    tern_status st;
    tern_code code = TERN_OK;
    if (n > s->body->size - s->body_len)
        code = tern_fail(&st, TERN_INVALID_ARGUMENT, "The request body is longer than its Content-Length");
    if (code == TERN_OK && ptr != s->body->ptr + s->body_len)
        memcpy(s->body->ptr + s->body_len, ptr, n);
    if (code == TERN_OK)
        code = tn_segment_use(s->body, s->body_len + n, &st);
    s->body_len += code == TERN_OK ? n : 0;
    if (code != TERN_OK)
        tn_request_fail(s->r, &st);
    return code;
}

static void sink_end(tn_sink *sink)
{
    tn_script_request *s = TN_CONTAINER(sink, tn_script_request, sink);
    s->r->call.stage_ns[TN_STAGE_READ] = tn_now_ns() - s->r->started_ns;
    on_body(s->r);
}

/* on_gone follows, and frees. */
static void sink_abort(tn_sink *sink)
{
    (void)sink;
}

/* ---- entry ---- */

/* With the arena of the request's call: no worker and no engine has its memory any more. */
static void free_state(void *arg)
{
    tn_script_request *s = arg;
    tn_script_run_finish(&s->run);
    tn_script_job_finish(&s->job);
    tn_script_pool_release(s->pool);
    free(s->frame);
}

static tern_code begin(tn_request *r, tn_exchange *ex, const tn_script_target *target, tern_status *st)
{
    tn_script_request *s = tn_arena_zalloc(&r->call.arena, sizeof *s);
    const int64_t length = tn_exchange_content_length(ex);
    if (s == NULL || !tn_arena_defer(&r->call.arena, free_state, s))
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a request; try again later");
    r->surface_state = s;
    s->r = r;
    s->stage = TN_SCRIPT_READS;
    s->pool = tn_script_pool_retain(target->pool);
    s->time_ns = (int64_t)r->server->sagemaker->script_timeout_s * TN_NS_PER_S;
    tn_script_job_init(&s->job, on_event);
    s->job.port = tn_script_port_of(r->loop, s->pool);
    if (!tn_script_read_head(s, ex, target))
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a request; try again later");
    tn_request_for(r, s->model);
    if (length <= (int64_t)TN_FRAME_INLINE_MAX)
        return TERN_OK;
    tern_code code = tn_segment_take(tn_script_pool_segments(s->pool), (size_t)length, &s->body, st);
    if (code == TERN_OK)
        (void)tn_script_job_add(&s->job, s->body);
    return code;
}

void tn_script_call(tn_server *server, tn_exchange *ex, const tn_script_target *target)
{
    tern_status st;
    tn_request *r = tn_request_new(server, ex, &script_surface, tn_rest_predict_steps());
    if (r == NULL)
        return;
    r->method = TN_METHOD_DOCUMENT;
    if (begin(r, ex, target, &st) != TERN_OK) {
        tn_request_fail(r, &st);
        return;
    }
    tn_script_request *s = state_of(r);
    if (s->body == NULL) {
        tn_request_read_body(r, on_body);
        return;
    }
    s->sink = (tn_sink){.reserve = sink_reserve, .commit = sink_commit, .end = sink_end, .abort = sink_abort};
    tn_exchange_set_sink(ex, &s->sink);
}
