/*
 * api/early.c - see api/early.h.
 */
#include "api/early.h"

/* So much of a body is waited for before it is looked at: who sends that has begun in earnest. */
#define BEGIN_BYTES ((size_t)128 << 10)
/* Read at once: what has arrived is decoded while the next piece is read. */
#define PIECE_BYTES ((size_t)256 << 10)

static void close_arrival(tn_early *e)
{
    if (e->begun)
        tn_arrival_close(&e->arrival);
}

/* Gives the call away, where an executor waits for one. */
static void try_early(tn_request *r)
{
    tn_early *e = r->early;
    const tn_limits *limits = &r->server->limits;
    const size_t whole = (size_t)tn_exchange_content_length(r->ex);
    e->tried = true;
    if (r->body.len == whole || !tn_schedule_is_idle(r->server->schedule) || !e->begin(r))
        return;
    r->call.body_bytes = whole;
    tn_arrival_begin(&e->arrival, (tn_str){r->body.ptr, whole}, r->body.len,
                     limits->early_wait_ms * TN_NS_PER_MS);
    e->begun = r->submitted = true;
    tn_schedule_queue(r->server->schedule, &r->call);
}

static tern_code early_reserve(tn_sink *sink, size_t want, char **room, size_t *space)
{
    tn_request *r = TN_CONTAINER(sink, tn_request, sink);
    tern_code code = tn_request_body_room(r, want, room, space);
    if (code != TERN_OK)
        close_arrival(r->early);
    if (*space > PIECE_BYTES)
        *space = PIECE_BYTES;
    return code;
}

static tern_code early_commit(tn_sink *sink, const char *ptr, size_t n)
{
    tn_request *r = TN_CONTAINER(sink, tn_request, sink);
    tn_early *e = r->early;
    tern_status st;
    tern_code code = tn_request_take_body(r, ptr, n, &st);
    if (code != TERN_OK) {
        close_arrival(e);
        tn_request_fail(r, &st);
        return code;
    }
    /* With the last bytes the body is the executor's. */
    if (e->begun)
        tn_arrival_have(&e->arrival, r->body.len);
    else if (!e->tried && r->body.len >= BEGIN_BYTES)
        try_early(r);
    return TERN_OK;
}

static void early_end(tn_sink *sink)
{
    tn_request *r = TN_CONTAINER(sink, tn_request, sink);
    tn_early *e = r->early;
    e->ended = true;
    if (!e->begun)
        tn_request_body_complete(r);
    else if (r->server->rest_timeout_ms > 0)
        tn_request_start_deadline(r, tn_now_ns() + r->server->rest_timeout_ms * TN_NS_PER_MS);
}

/* on_gone follows. */
static void early_abort(tn_sink *sink)
{
    tn_request *r = TN_CONTAINER(sink, tn_request, sink);
    close_arrival(r->early);
}

void tn_early_read_body(tn_request *r, void (*on_body)(tn_request *r), bool (*begin)(tn_request *r))
{
    const int64_t least = r->server->limits.early_body_bytes, whole = tn_exchange_content_length(r->ex);
    tn_request_read_body(r, on_body);
    if (least <= 0 || whole < least)
        return;
    r->early = tn_arena_zalloc(&r->call.arena, sizeof *r->early);
    if (r->early == NULL)
        return;
    r->early->begin = begin;
    r->sink.reserve = early_reserve;
    r->sink.commit = early_commit;
    r->sink.end = early_end;
    r->sink.abort = early_abort;
}

bool tn_early_complete(tn_request *r)
{
    tn_early *e = r->early;
    if (tn_arrival_wait(&e->arrival, e->arrival.bytes.len) < e->arrival.bytes.len)
        return false;
    const int64_t done = tn_arrival_done_ns(&e->arrival);
    tn_call *call = &r->call;
    e->complete = true;
    /* What was done until then cost nobody time: the call begins here. */
    call->stage_ns[TN_STAGE_READ] = done - r->started_ns;
    call->stage_ns[TN_STAGE_QUEUE] = 1;
    call->queued_ns = call->at_ns = done;
    if (r->server->rest_timeout_ms > 0)
        call->deadline_ns = done + r->server->rest_timeout_ms * TN_NS_PER_MS;
    return true;
}

tern_code tn_early_failed(tern_status *st)
{
    return tern_fail(st, TERN_ABORTED, "The body was not read while it arrived");
}

bool tn_early_again(tn_request *r)
{
    tn_early *e = r->early;
    if (!e->begun)
        return false;
    tn_arrival_end(&e->arrival);
    e->begun = false;
    if (e->complete)
        return false;
    /* No call yet: it is not counted. */
    r->call.queued_ns = 0;
    memset(r->call.stage_ns, 0, sizeof r->call.stage_ns);
    if (r->ex == NULL)
        return false;
    r->submitted = false;
    tern_status_init(&r->call.status);
    if (e->ended)
        tn_request_body_complete(r);
    return true;
}
