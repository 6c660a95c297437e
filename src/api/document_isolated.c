/*
 * api/document_isolated.c - a document for a handler that has processes of its own (handler/isolated.h).
 *
 * Nothing waits for the process: the request is detached, the process' word is read by the loop or the pools'
 * thread, which gives the call to the scheduler for the run and the answer to the loop. A body whose length
 * is known is read from the socket straight into the memory that the process sees; one of unknown length is
 * copied there, on an executor where it is large.
 *
 *   loop: body -> [executor: copy] -> process: pre() -> executor: run -> process: post() -> loop: answer
 *
 * The call has one owner at any time, as always; until the process has its frame that is the loop or the
 * executor, then whoever reads. What the loop may do meanwhile is tn_isolated_cancel().
 */
#include "api/document.h"
#include "api/http.h"
#include "api/script_ports.h"
#include "handler/isolated.h"

typedef struct isolated {
    tn_isolated c;
    tn_request *r;
    int64_t begun_ns; /* the body was there */
    int64_t at_ns;    /* when the process was last given the word */
    bool failed;      /* call.status says why, and that stays so */
    bool in_shared;   /* the body is read into shared memory */
} isolated;

static isolated *of(tn_request *r)
{
    return r->surface_state;
}

/* ---- the way back ---- */

static void finished(tn_task *task)
{
    tn_request_finish(TN_CONTAINER(task, tn_request, finished));
}

static void post_to_loop(tn_request *r)
{
    r->finished.run = finished;
    tn_loop_post(r->loop, &r->finished);
}

/* The process is done with it. On the thread that reads. */
static void over(isolated *s)
{
    tn_request *r = s->r;
    tn_call *call = &r->call;
    tern_status st;
    call->stage_ns[TN_STAGE_POSTPROCESS] += tn_now_ns() - s->at_ns;
    tern_status_init(&st);
    if (!s->failed && tn_isolated_take_answer(&s->c, call, &r->job, &st) != TERN_OK)
        call->status = st;
    /* From the moment it is posted, the request is the loop's; the count is not. */
    tn_handlers *handlers = r->server->handlers;
    tn_isolated_settle(&s->c);
    post_to_loop(r);
    tn_handlers_over(handlers);
}

static void on_event(tn_script_job *job)
{
    isolated *s = TN_CONTAINER(TN_CONTAINER(job, tn_isolated, job), isolated, c);
    tn_request *r = s->r;
    if (job->over) {
        over(s);
        return;
    }
    int64_t now = tn_now_ns();
    r->call.stage_ns[TN_STAGE_PREPROCESS] = now - s->at_ns;
    s->at_ns = now;
    tn_schedule_submit(r->server->schedule, &r->call);
}

/* ---- the run ---- */

static tern_code run_decode(tn_call *call, tern_status *st)
{
    isolated *s = of(TN_CONTAINER(call, tn_request, call));
    call->queued_ns = s->begun_ns; /* the call's time counts from there */
    return tn_isolated_take_inputs(&s->c, call, st);
}

/* The outputs go to the process in ran(). */
static tern_code run_encode(tn_call *call, tern_status *st)
{
    isolated *s = of(TN_CONTAINER(call, tn_request, call));
    return tn_isolated_make_result(&s->c, call, st);
}

static void ran(tn_call *call)
{
    isolated *s = of(TN_CONTAINER(call, tn_request, call));
    s->failed = call->status.code != TERN_OK;
    if (s->failed)
        tn_isolated_make_failure(&s->c, &call->status);
    s->at_ns = tn_now_ns();
    if (!tn_isolated_reply(&s->c)) /* else the next event may have come already */
        over(s);
}

static const tn_call_steps run_steps = {.name = "document",
                                        .kind = TN_COST_DOCUMENT,
                                        .method = TN_METHOD_DOCUMENT,
                                        .one_thread = true,
                                        .decode = run_decode,
                                        .encode = run_encode,
                                        .done = ran};

/* ---- the way there ---- */

static void send_to_process(isolated *s)
{
    tn_request *r = s->r;
    tn_call *call = &r->call;
    s->at_ns = tn_now_ns();
    call->steps = &run_steps;
    if (tn_isolated_send(&s->c, call->body_bytes, call->deadline_ns, &call->status) != TERN_OK)
        post_to_loop(r);
}

static tern_code copy_body(tn_call *call, tern_status *st)
{
    tn_request *r = TN_CONTAINER(call, tn_request, call);
    isolated *s = of(r);
    char *to;
    call->skip_run = true;
    tern_code code = tn_isolated_begin(&s->c, call->version, &r->job.request, r->body.len, &to, st);
    if (code == TERN_OK && r->body.len > 0)
        memcpy(to, r->body.ptr, r->body.len);
    tn_region_free(&r->body);
    return code;
}

/* An executor, or the loop, has copied. */
static void copied(tn_call *call)
{
    tn_request *r = TN_CONTAINER(call, tn_request, call);
    call->skip_run = false;
    if (call->status.code == TERN_OK)
        send_to_process(of(r));
    else
        post_to_loop(r);
}

static const tn_call_steps copy_steps = {.name = "document",
                                         .kind = TN_COST_DOCUMENT,
                                         .method = TN_METHOD_DOCUMENT,
                                         .decode = copy_body,
                                         .done = copied};

/* Nobody waits any more. On the loop. */
static void on_cancel(tn_request *r)
{
    isolated *s = of(r);
    tn_call_cancel(&r->call);
    if (tn_isolated_cancel(&s->c)) {
        tn_handlers_over(r->server->handlers);
        post_to_loop(r);
    }
}

/* The body is in shared memory from now on, which is paid for as such. */
static void settle_body(tn_request *r)
{
    tn_budget_give(r->body.budget, r->body.charged);
    r->body = (tn_region){.max = r->body.max, .budget = r->body.budget};
}

static void on_body(tn_request *r)
{
    isolated *s = of(r);
    tn_call *call = &r->call;
    if (r->server->rest_timeout_ms > 0)
        call->deadline_ns = tn_now_ns() + r->server->rest_timeout_ms * TN_NS_PER_MS;
    s->begun_ns = call->queued_ns = tn_now_ns();
    tn_request_detach(r, on_cancel, s);
    if (s->in_shared) {
        settle_body(r);
        send_to_process(s);
    } else if ((int64_t)r->body.len <= r->server->limits.inline_body_bytes) {
        call->status.code = copy_body(call, &call->status);
        copied(call);
    } else {
        call->steps = &copy_steps;
        tn_schedule_submit(r->server->schedule, call);
    }
}

static void clean_up(void *arg)
{
    isolated *s = arg;
    if (s->in_shared && s->r->body.ptr != NULL)
        settle_body(s->r);
    tn_isolated_end(&s->c);
}

static void isolated_answer(tn_request *r)
{
    tn_document_answer(r, of(r)->c.answer);
}

static const tn_surface isolated_surface = {.answer = isolated_answer, .error = tn_http_request_error};

tern_code tn_document_isolated(tn_request *r, tn_exchange *ex, tern_status *st)
{
    const int64_t length = tn_exchange_content_length(ex);
    isolated *s = tn_arena_zalloc(&r->call.arena, sizeof *s);
    char *to;
    if (s == NULL || !tn_isolated_init(&s->c, on_event) || !tn_arena_defer(&r->call.arena, clean_up, s))
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later");
    s->r = r;
    s->c.job.port = tn_script_port_of(r->loop, tn_isolated_pool(r->call.version));
    r->surface = &isolated_surface;
    r->surface_state = s;
    if (length >= 0 && length <= r->server->limits.max_body_bytes) {
        tern_code code = tn_isolated_begin(&s->c, r->call.version, &r->job.request, (size_t)length, &to, st);
        if (code != TERN_OK)
            return code;
        s->in_shared = true;
        r->body = (tn_region){
            .ptr = to, .cap = (size_t)length, .max = (size_t)length, .budget = &r->server->budget};
    }
    tn_request_read_body(r, on_body);
    return TERN_OK;
}
