/*
 * api/request.c - see api/request.h.
 */
#include "api/request.h"

#include <stdlib.h>

#include "api/access.h"
#include "api/early.h"
#include "api/script_ports.h"
#include "base/log.h"

#define POOLED_REQUESTS 256
#define KEPT_OUT_BYTES  (256u << 10)

/* Free requests of one loop. */
typedef struct request_pool {
    tn_request *free;
    size_t n;
    tn_turn *turn; /* NULL: calls do not wait for the turn's end */
    void *access;  /* access.c's */
    void *ports;   /* script_ports.c's */
} request_pool;

/*
 * The request that this thread is giving to the scheduler right now, and whether it came back meanwhile
 * (inline run).
 */
static _Thread_local tn_request *submitting;
static _Thread_local bool came_back;
/* The turn of this thread's loop ends: calls that come back are its own, and nobody's code is in the way. */
static _Thread_local bool ending_turn;

static request_pool *pool_of(tn_loop *loop)
{
    void **slot = tn_loop_user(loop);
    if (*slot == NULL)
        *slot = calloc(1, sizeof(request_pool));
    return *slot;
}

static tn_request *take(request_pool *pool)
{
    tn_request *r = pool != NULL ? pool->free : NULL;
    if (r != NULL) {
        pool->free = r->next_free;
        pool->n--;
        return r;
    }
    r = calloc(1, sizeof *r);
    if (r != NULL)
        tn_buf_init(&r->out, 0);
    return r;
}

static void give(tn_request *r)
{
    request_pool *pool = pool_of(r->loop);
    if (pool == NULL || pool->n >= POOLED_REQUESTS) {
        tn_buf_free(&r->out);
        tn_arena_free(&r->call.arena);
        free(r);
        return;
    }
    if (r->out.cap > KEPT_OUT_BYTES)
        tn_buf_free(&r->out);
    r->next_free = pool->free;
    pool->free = r;
    pool->n++;
}

void **tn_request_access_slot(tn_loop *loop)
{
    request_pool *pool = pool_of(loop);
    return pool != NULL ? &pool->access : NULL;
}

void **tn_request_ports_slot(tn_loop *loop)
{
    request_pool *pool = pool_of(loop);
    return pool != NULL ? &pool->ports : NULL;
}

void tn_request_pool_free(tn_loop *loop)
{
    void **slot = tn_loop_user(loop);
    tn_access_pool_free(loop);
    tn_script_ports_free(loop);
    request_pool *pool = *slot;
    for (tn_request *r = pool != NULL ? pool->free : NULL, *next; r != NULL; r = next) {
        next = r->next_free;
        tn_buf_free(&r->out);
        tn_arena_free(&r->call.arena);
        free(r);
    }
    if (pool != NULL)
        tn_turn_free(pool->turn);
    free(pool);
    *slot = NULL;
}

/* now_ns: the clock where it was just read, or 0. */
static void drop(tn_request *r, int64_t now_ns)
{
    tn_timer_stop(r->loop, &r->deadline);
    tn_handler_job_finish(&r->job);
    if (now_ns != 0)
        tn_call_finish_at(&r->call, now_ns);
    else
        tn_call_finish(&r->call);
    tn_region_free(&r->body);
    tn_budget_give(&r->server->budget, r->charged);
    give(r);
}

void tn_request_drop(tn_request *r)
{
    drop(r, 0);
}

static void cancel(tn_request *r)
{
    if (r->cancel == NULL)
        tn_call_cancel(&r->call);
    else
        r->cancel(r);
}

/* The client is gone before it was answered. */
static void on_gone(void *user, tn_exchange *ex)
{
    tn_request *r = user;
    (void)ex;
    tn_access_about_request(r);
    r->ex = NULL;
    if (r->submitted)
        cancel(r);
    else
        tn_request_drop(r);
}

tn_request *tn_request_new(tn_server *server, tn_exchange *ex, const tn_surface *surface,
                           const tn_call_steps *steps)
{
    tn_loop *loop = tn_exchange_loop(ex);
    tn_request *r = take(pool_of(loop));
    if (r == NULL) {
        const tn_response busy = {.status = 503};
        tn_access_answered(server, ex, TERN_UNAVAILABLE);
        tn_access_send(server, ex, &busy);
        return NULL;
    }
    tn_call_init(&r->call, steps, (size_t)server->limits.max_call_arena_bytes);
    r->surface = surface;
    r->server = server;
    r->loop = loop;
    r->ex = ex;
    r->sink = (tn_sink){0};
    r->deadline = (tn_timer){0};
    r->stats = NULL;
    r->method = steps->method;
    r->started_ns = tn_exchange_started_ns(ex);
    r->charged = 0;
    r->sent_ns = 0;
    r->submitted = r->row = false;
    r->coding = TN_CONTENT_IDENTITY;
    r->error_text = TN_STR_NONE;
    r->cancel = NULL;
    tn_buf_clear(&r->out);
    r->out.max = (size_t)server->limits.max_response_bytes;
    r->pieces = NULL;
    r->n_pieces = 0;
    r->pieces_bytes = 0;
    r->job = (tn_handler_job){0};
    r->infer = NULL;
    r->surface_state = NULL;
    r->early = NULL;
    int64_t announced = tn_exchange_content_length(ex);
    tn_region_init(&r->body, &server->budget, announced > 0 ? (size_t)announced : 0,
                   (size_t)server->limits.max_body_bytes);
    tn_exchange_on_gone(ex, on_gone, r);
    return r;
}

tern_code tn_request_body_room(tn_request *r, size_t want, char **room, size_t *space)
{
    tern_status st;
    *room = NULL;
    *space = 0;
    if (r->body.len >= r->body.max) /* full: whether more comes is for net to see, which answers 413 */
        return TERN_OK;
    tern_code code = tn_region_room(&r->body, want, room, space, &st);
    if (code != TERN_OK)
        tn_request_fail(r, &st);
    return code;
}

static tern_code sink_reserve(tn_sink *sink, size_t want, char **room, size_t *space)
{
    return tn_request_body_room(TN_CONTAINER(sink, tn_request, sink), want, room, space);
}

tern_code tn_request_take_body(tn_request *r, const char *ptr, size_t n, tern_status *st)
{
    if (r->body.ptr != NULL && ptr == r->body.ptr + r->body.len)
        return tn_region_commit(&r->body, n, st);
    return tn_region_append(&r->body, ptr, n, st);
}

static tern_code sink_commit(tn_sink *sink, const char *ptr, size_t n)
{
    tn_request *r = TN_CONTAINER(sink, tn_request, sink);
    tern_status st;
    tern_code code = tn_request_take_body(r, ptr, n, &st);
    if (code != TERN_OK)
        tn_request_fail(r, &st);
    return code;
}

void tn_request_body_complete(tn_request *r)
{
    r->call.stage_ns[TN_STAGE_READ] = tn_now_ns() - r->started_ns;
    r->call.body_bytes = r->body.len;
    r->on_body(r);
}

static void sink_end(tn_sink *sink)
{
    tn_request_body_complete(TN_CONTAINER(sink, tn_request, sink));
}

/* on_gone follows, and frees. */
static void sink_abort(tn_sink *sink)
{
    (void)sink;
}

void tn_request_read_body(tn_request *r, void (*on_body)(tn_request *r))
{
    r->on_body = on_body;
    r->sink = (tn_sink){.reserve = sink_reserve, .commit = sink_commit, .end = sink_end, .abort = sink_abort};
    tn_exchange_set_sink(r->ex, &r->sink);
}

tern_code tn_request_charge(tn_request *r, size_t bytes, tern_status *st)
{
    if (!tn_budget_take(&r->server->budget, bytes))
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "Too many bytes of requests are in flight (--max_bytes_in_flight); try again later");
    r->charged += bytes;
    return TERN_OK;
}

void tn_request_for(tn_request *r, tn_str model)
{
    if (r->server->stats != NULL)
        r->stats = tn_stats_find(r->server->stats, model);
}

tern_code tn_request_acquire(tn_request *r, const tn_target *target, tern_status *st)
{
    tern_code code = tn_models_acquire(r->server->models, target, &r->call.version, st);
    if (code == TERN_OK && r->call.version->stats.model != NULL)
        r->stats = r->call.version->stats.model;
    else
        tn_request_for(r, target->name);
    return code;
}

void tn_request_finish(tn_request *r)
{
    r->submitted = false;
    tn_timer_stop(r->loop, &r->deadline);
    if (r->early != NULL && tn_early_again(r))
        return;
    if (r->ex == NULL)
        tn_request_drop(r);
    else if (r->call.status.code == TERN_OK)
        r->surface->answer(r);
    else
        r->surface->error(r, &r->call.status);
}

static void finished_task(tn_task *task)
{
    tn_request_finish(TN_CONTAINER(task, tn_request, finished));
}

void tn_request_done(tn_call *call)
{
    tn_request *r = TN_CONTAINER(call, tn_request, call);
    if (submitting == r) {
        came_back = true;
        return;
    }
    if (ending_turn) {
        tn_request_finish(r);
        return;
    }
    r->finished.run = finished_task;
    tn_loop_post(r->loop, &r->finished);
}

/* The client is answered now; the call goes on until the engine lets it go, and then finds nobody. */
static void deadline_passed(tn_timer *timer)
{
    tn_request *r = TN_CONTAINER(timer, tn_request, deadline);
    tern_status st;
    if (r->ex == NULL)
        return;
    cancel(r);
    tern_fail(&st, TERN_DEADLINE_EXCEEDED, "Timed out waiting for notification");
    r->surface->error(r, &st);
}

static tn_turn *turn_of(const tn_request *r)
{
    request_pool *pool = r->server->by_turns ? pool_of(r->loop) : NULL;
    if (pool != NULL && pool->turn == NULL)
        pool->turn = tn_turn_new(r->server->schedule);
    return pool != NULL ? pool->turn : NULL;
}

bool tn_request_turn(tn_loop *loop)
{
    request_pool *pool = *tn_loop_user(loop);
    if (pool == NULL || pool->turn == NULL)
        return false;
    ending_turn = true;
    bool some = tn_turn_end(pool->turn);
    ending_turn = false;
    return some;
}

void tn_request_start_deadline(tn_request *r, int64_t at_ns)
{
    tn_timer_start(r->loop, &r->deadline, at_ns, deadline_passed);
}

void tn_request_detach(tn_request *r, void (*cancel_fn)(tn_request *r), void *detached)
{
    r->submitted = true;
    r->cancel = cancel_fn;
    r->detached = detached;
    if (r->call.deadline_ns != 0)
        tn_timer_start(r->loop, &r->deadline, r->call.deadline_ns, deadline_passed);
}

void tn_request_submit(tn_request *r)
{
    r->submitted = true;
    submitting = r;
    came_back = false;
    tn_turn *turn = turn_of(r);
    if (turn != NULL)
        tn_turn_submit(turn, &r->call);
    else
        tn_schedule_submit(r->server->schedule, &r->call);
    submitting = NULL;
    if (came_back)
        tn_request_finish(r);
    else if (r->call.deadline_ns != 0)
        tn_timer_start(r->loop, &r->deadline, r->call.deadline_ns, deadline_passed);
}

void tn_request_fail(tn_request *r, const tern_status *st)
{
    r->surface->error(r, st);
}

/* Counts an answer, and starts the clock of its writing. */
static void answered(tn_request *r, tern_code code)
{
    r->sent_ns = tn_now_ns();
    /* While the call is away its stamps are not ours. */
    int64_t run_ns = r->submitted ? 0 : r->call.stage_ns[TN_STAGE_RUN];
    tn_access_note(r, code);
    tn_server_count(r->server, r->stats, r->method, code, r->sent_ns - r->started_ns, run_ns);
}

static void send_now(tn_request *r, const tn_response *response)
{
    tn_exchange *ex = r->ex;
    r->ex = NULL;
    tn_access_send(r->server, ex, response);
}

/* The bytes of the answer have gone, or never will. */
static void released(void *arg, bool sent)
{
    tn_request *r = arg;
    const int64_t now = tn_now_ns();
    if (sent)
        r->call.stage_ns[TN_STAGE_WRITE] = now - r->sent_ns;
    drop(r, now);
}

static void not_owned(void *arg, bool sent)
{
    (void)arg;
    (void)sent;
}

/* An answer with memory of its own, for requests whose call is still away. */
typedef struct detached {
    tn_request *request; /* to drop with it, or NULL */
    tn_chunk chunk;
    char text[];
} detached;

static void detached_released(void *arg, bool sent)
{
    detached *d = arg;
    if (d->request != NULL)
        released(d->request, sent);
    free(d);
}

void tn_request_send_text(tn_request *r, tn_response *response, tn_str text, tern_code code)
{
    detached *d = malloc(sizeof *d + text.len);
    bool away = r->submitted;
    if (d != NULL) {
        if (text.len > 0)
            memcpy(d->text, text.ptr, text.len);
        d->chunk = (tn_chunk){d->text, text.len};
        d->request = away ? NULL : r;
        response->body = &d->chunk;
        response->n_body = text.len > 0;
    }
    answered(r, code);
    response->release = d != NULL ? detached_released : away ? not_owned : released;
    response->release_arg = d != NULL ? (void *)d : (void *)r;
    send_now(r, response);
}

void tn_request_send(tn_request *r, tn_response *response, tern_code code)
{
    answered(r, code);
    /*
     * Before the call is back (a deadline) only an answer without a body may go this way: the request lives
     * on.
     */
    response->release = r->submitted ? not_owned : released;
    response->release_arg = r;
    send_now(r, response);
}

/* Milliseconds with three decimals, as "%.3f" writes them, which is many times as dear. */
static size_t put_ms(char *to, int64_t ns)
{
    const uint64_t us = ((uint64_t)ns + 500) / 1000;
    const unsigned part = (unsigned)(us % 1000);
    size_t n = tn_put_u64(to, us / 1000);
    to[n++] = '.';
    to[n++] = (char)('0' + part / 100);
    to[n++] = (char)('0' + part / 10 % 10);
    to[n++] = (char)('0' + part % 10);
    return n;
}

size_t tn_request_timing(const tn_request *r, char *text, size_t size)
{
    size_t n = 0;
    for (int stage = 0; stage < TN_STAGE_WRITE; stage++) {
        int64_t ns = r->call.stage_ns[stage];
        if (ns <= 0)
            continue;
        tn_str name = tn_str_from(tn_stage_name((tn_stage)stage));
        if (size - n < name.len + 40)
            break;
        if (n > 0) {
            memcpy(text + n, ", ", 2);
            n += 2;
        }
        memcpy(text + n, name.ptr, name.len);
        n += name.len;
        memcpy(text + n, ";dur=", 5);
        n += 5;
        n += put_ms(text + n, ns);
    }
    return n;
}
