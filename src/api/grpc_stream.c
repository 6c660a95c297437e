/*
 * api/grpc_stream.c - see api/grpc_stream.h.
 *
 * `ending` is set while the exchange is being ended from inside one of its own callbacks, and on_gone never
 * comes after that; so the stream is freed in one place. The arena holds the reader and zlib's state for as
 * long as the stream lives; messages are collected in one buffer that is used again.
 */
#include "api/grpc_stream.h"

#include <stdlib.h>

#include "api/access.h"
#include "api/grpc.h"
#include "base/clock.h"

#define TICK_NS      (250 * TN_NS_PER_MS)
#define PREFIX_BYTES 5
#define ROOM_BYTES   4096
/* Charged for a stream: its own memory, a message, what net keeps of it. */
#define STREAM_BYTES (128u << 10)

struct tn_grpc_stream {
    tn_server *server;
    tn_loop *loop;
    tn_exchange *ex;
    const tn_grpc_stream_kind *kind;
    tn_sink sink;
    tn_timer timer;
    int64_t deadline_ns; /* 0: none */
    tn_arena arena;
    tn_grpc_reader *messages;
    tn_buf message; /* that comes */
    tn_grpc_stream_notes notes;
};

tn_server *tn_grpc_stream_server(const tn_grpc_stream *s)
{
    return s->server;
}

tn_grpc_stream_notes *tn_grpc_stream_notes_of(tn_grpc_stream *s)
{
    return &s->notes;
}

static void free_stream(tn_grpc_stream *s)
{
    tn_timer_stop(s->loop, &s->timer);
    tn_buf_free(&s->message);
    tn_arena_free(&s->arena);
    tn_budget_give(&s->server->budget, STREAM_BYTES);
    free(s);
}

static void on_gone(void *user, tn_exchange *ex)
{
    (void)ex;
    free_stream(user);
}

/* Ends the stream with a status; frees it. */
static void end_stream(tn_grpc_stream *s, const tern_status *st)
{
    tn_grpc_trailers trailers;
    tern_code code = st != NULL ? st->code : TERN_OK;
    size_t n = tn_grpc_make_trailers(&trailers, st);
    tn_access_answered(s->server, s->ex, code);
    tn_exchange_finish(s->ex, trailers.headers, n);
    free_stream(s);
}

tern_code tn_grpc_stream_send(tn_grpc_stream *s, tn_str message, tern_status *st)
{
    unsigned char prefix[PREFIX_BYTES] = {0};
    for (int i = 0; i < 4; i++)
        prefix[1 + i] = (unsigned char)(message.len >> (24 - 8 * i));
    if (message.len < TN_STREAM_MAX && tn_exchange_write(s->ex, prefix, sizeof prefix) &&
        tn_exchange_write(s->ex, message.ptr, message.len))
        return TERN_OK;
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                     "Too many answers of this stream wait for the client to read them");
}

/* ---- the client's messages ---- */

static tern_code take_event(tn_grpc_stream *s, tn_grpc_event event, tn_str piece, tern_status *st)
{
    if (event == TN_GRPC_BEGIN)
        tn_buf_clear(&s->message);
    else if (event == TN_GRPC_PIECE)
        tn_buf_str(&s->message, piece);
    else if (event == TN_GRPC_END && !s->message.failed)
        return s->kind->message(s, tn_buf_view(&s->message), st);
    return s->message.failed
               ? tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this message; try again later")
               : TERN_OK;
}

static tern_code stream_commit(tn_sink *sink, const char *ptr, size_t n)
{
    tn_grpc_stream *s = TN_CONTAINER(sink, tn_grpc_stream, sink);
    char room[ROOM_BYTES];
    tern_status st;
    for (;;) {
        tn_grpc_event event;
        tn_str piece;
        tern_code code = tn_grpc_read(s->messages, &ptr, &n, room, sizeof room, &event, &piece, &st);
        if (code == TERN_OK)
            code = take_event(s, event, piece, &st);
        if (code != TERN_OK) {
            end_stream(s, &st);
            return code;
        }
        if (event == TN_GRPC_NEED)
            return TERN_OK;
    }
}

static void stream_end(tn_sink *sink)
{
    tn_grpc_stream *s = TN_CONTAINER(sink, tn_grpc_stream, sink);
    tern_status st;
    if (!tn_grpc_at_end(s->messages)) {
        tern_fail(&st, TERN_INTERNAL, "The stream ended before the gRPC message did");
        end_stream(s, &st);
    } else if (s->kind->half_closed == NULL) {
        end_stream(s, NULL);
    } else if (s->kind->half_closed(s, &st) != TERN_OK) {
        end_stream(s, &st);
    }
}

static void stream_abort(tn_sink *sink)
{
    (void)sink; /* on_gone follows, and frees */
}

/* ---- time ---- */

static void on_tick(tn_timer *timer)
{
    tn_grpc_stream *s = TN_CONTAINER(timer, tn_grpc_stream, timer);
    int64_t now = tn_now_ns(), next = now + TICK_NS;
    tern_status st;
    tern_code code = TERN_OK;
    if (s->deadline_ns != 0 && now >= s->deadline_ns)
        code = tern_fail(&st, TERN_DEADLINE_EXCEEDED, "The deadline of this stream has passed");
    if (code == TERN_OK && s->kind->tick != NULL)
        code = s->kind->tick(s, &st);
    if (code == TERN_OK && atomic_load_explicit(&s->server->draining, memory_order_relaxed))
        code = tern_fail(&st, TERN_UNAVAILABLE, "The server is going down");
    if (code != TERN_OK) {
        end_stream(s, &st);
        return;
    }
    if (s->deadline_ns != 0 && s->deadline_ns < next)
        next = s->deadline_ns;
    tn_timer_start(s->loop, &s->timer, next, on_tick);
}

/* ---- begin ---- */

static tn_grpc_stream *new_stream(tn_server *server, tn_exchange *ex, tn_coding coding)
{
    if (!tn_budget_take(&server->budget, STREAM_BYTES))
        return NULL;
    tn_grpc_stream *s = calloc(1, sizeof *s);
    if (s == NULL) {
        tn_budget_give(&server->budget, STREAM_BYTES);
        return NULL;
    }
    s->server = server;
    s->ex = ex;
    s->loop = tn_exchange_loop(ex);
    tn_arena_init(&s->arena, 1u << 20);
    tn_buf_init(&s->message, TN_GRPC_STREAM_MESSAGE);
    s->messages = tn_grpc_reader_new(coding, TN_GRPC_STREAM_MESSAGE, &s->arena);
    if (s->messages == NULL) {
        free_stream(s);
        return NULL;
    }
    return s;
}

void tn_grpc_stream_begin(tn_server *server, tn_exchange *ex, const tn_grpc_stream_kind *kind)
{
    static const tn_header headers[] = {
        {TN_STR_INIT("content-type"), TN_STR_INIT("application/grpc")},
        {TN_STR_INIT("grpc-accept-encoding"), TN_STR_INIT(TN_CODINGS)},
    };
    const tn_response head = {.status = 200, .headers = headers, .n_headers = 2};
    tn_coding coding = tn_coding_of(tn_exchange_header(ex, "grpc-encoding"));
    if (coding == TN_CODING_UNKNOWN) {
        tn_grpc_refuse(server, ex, TERN_UNIMPLEMENTED,
                       "This grpc-encoding is not supported; use one of " TN_CODINGS);
        return;
    }
    tn_grpc_stream *s = new_stream(server, ex, coding);
    if (s == NULL) {
        tn_grpc_refuse(server, ex, TERN_RESOURCE_EXHAUSTED,
                       "Too many bytes of requests are in flight (--max_bytes_in_flight); try again later");
        return;
    }
    s->kind = kind;
    int64_t timeout = tn_grpc_timeout(tn_exchange_header(ex, "grpc-timeout")), now = tn_now_ns();
    if (timeout > 0)
        s->deadline_ns = now + timeout;
    s->sink = (tn_sink){.commit = stream_commit, .end = stream_end, .abort = stream_abort};
    tn_access_about(ex, TN_METHOD_GRPC_OTHER, TN_STR_NONE);
    tn_exchange_on_gone(ex, on_gone, s);
    tn_exchange_set_sink(ex, &s->sink);
    tn_exchange_stream(ex, &head);
    tn_timer_start(s->loop, &s->timer, timeout > 0 && timeout < TICK_NS ? s->deadline_ns : now + TICK_NS,
                   on_tick);
}
