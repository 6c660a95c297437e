/*
 * api/relay.c - see api/relay.h.
 *
 * Either exchange may end inside a call to the other: an error is answered while the body is handed on, a
 * client vanishes while room is told. So a relay is freed only when none of its functions is on the stack.
 */
#include "api/relay.h"

void tn_relay_enter(tn_relay *relay)
{
    relay->busy++;
}

void tn_relay_leave(tn_relay *relay)
{
    if (--relay->busy == 0 && relay->ended)
        relay->kind->free(relay);
}

void tn_relay_end(tn_relay *relay)
{
    relay->outer = NULL;
    relay->ended = true;
    if (relay->busy == 0)
        relay->kind->free(relay);
}

/* The body: the outer exchange's sink. */

static tern_code on_reserve(tn_sink *sink, size_t want, char **room, size_t *space)
{
    tn_relay *relay = TN_CONTAINER(sink, tn_relay, sink);
    *room = NULL;
    *space = 0;
    tn_relay_enter(relay);
    if (relay->inner != NULL)
        tn_exchange_inner_reserve(relay->inner, want, room, space);
    tn_relay_leave(relay);
    return TERN_OK;
}

static tern_code on_commit(tn_sink *sink, const char *ptr, size_t n)
{
    tn_relay *relay = TN_CONTAINER(sink, tn_relay, sink);
    tn_relay_enter(relay);
    if (relay->kind->body != NULL)
        relay->kind->body(relay, ptr, n);
    if (relay->inner != NULL)
        tn_exchange_inner_body(relay->inner, ptr, n);
    tn_relay_leave(relay);
    return TERN_OK;
}

static void on_end(tn_sink *sink)
{
    tn_relay *relay = TN_CONTAINER(sink, tn_relay, sink);
    tn_relay_enter(relay);
    if (relay->inner != NULL)
        tn_exchange_inner_end(relay->inner);
    tn_relay_leave(relay);
}

static void on_abort(tn_sink *sink)
{
    (void)sink; /* on_gone follows */
}

static void on_gone(void *user, tn_exchange *ex)
{
    tn_relay *relay = user;
    tn_exchange *inner = relay->inner;
    (void)ex;
    tn_relay_enter(relay);
    relay->inner = NULL;
    if (inner != NULL)
        tn_exchange_abandon(inner);
    tn_relay_end(relay);
    tn_relay_leave(relay);
}

/* The answer: the inner exchange's taker. */

static tn_relay *relay_of(const tn_taker *taker)
{
    return (tn_relay *)((uintptr_t)taker - offsetof(tn_relay, taker));
}

static bool on_send(tn_taker *taker, const tn_response *response)
{
    tn_relay *relay = relay_of(taker);
    tn_relay_enter(relay);
    relay->inner = NULL;
    bool took = relay->kind->send(relay, response);
    tn_relay_leave(relay);
    return took;
}

static void on_stream(tn_taker *taker, const tn_response *head)
{
    tn_relay *relay = relay_of(taker);
    relay->kind->stream(relay, head);
}

static bool on_write(tn_taker *taker, const void *bytes, size_t n)
{
    tn_relay *relay = relay_of(taker);
    return relay->kind->write(relay, bytes, n);
}

static size_t on_room(const tn_taker *taker)
{
    const tn_relay *relay = relay_of(taker);
    return relay->kind->room(relay);
}

static void room_again(void *user, tn_exchange *ex)
{
    tn_relay *relay = user;
    (void)ex;
    tn_relay_enter(relay);
    if (relay->inner != NULL)
        tn_exchange_inner_room(relay->inner);
    tn_relay_leave(relay);
}

static void on_want_room(tn_taker *taker)
{
    tn_relay *relay = relay_of(taker);
    tn_exchange_want_room(relay->outer, room_again, relay);
}

static void on_finish(tn_taker *taker, bool broken)
{
    tn_relay *relay = relay_of(taker);
    tn_relay_enter(relay);
    relay->inner = NULL;
    relay->kind->finish(relay, broken);
    tn_relay_leave(relay);
}

bool tn_relay_begin(tn_relay *relay, tn_server *server, const tn_relay_kind *kind, tn_exchange *outer,
                    tn_inner *inner)
{
    *relay = (tn_relay){.server = server, .kind = kind, .outer = outer};
    relay->sink = (tn_sink){.reserve = on_reserve, .commit = on_commit, .end = on_end, .abort = on_abort};
    relay->taker = (tn_taker){.send = on_send,
                              .stream = on_stream,
                              .write = on_write,
                              .room = on_room,
                              .want_room = on_want_room,
                              .finish = on_finish};
    inner->content_length = tn_exchange_content_length(outer);
    inner->started_ns = tn_exchange_started_ns(outer);
    inner->tag = tn_exchange_listener(outer);
    relay->inner = tn_exchange_make(tn_exchange_loop(outer), inner, &relay->taker);
    if (relay->inner == NULL)
        return false;
    /* What is noted of the request is noted of the client's: its log line, its trace. */
    *tn_exchange_user(relay->inner) = *tn_exchange_user(outer);
    tn_exchange_on_gone(outer, on_gone, relay);
    tn_exchange_set_sink(outer, &relay->sink);
    return true;
}

bool tn_relay_pass_send(tn_relay *relay, const tn_response *response)
{
    tn_exchange_send(relay->outer, response);
    tn_relay_end(relay);
    return true;
}

void tn_relay_pass_stream(tn_relay *relay, const tn_response *head)
{
    tn_exchange_stream(relay->outer, head);
}

bool tn_relay_pass_write(tn_relay *relay, const void *bytes, size_t n)
{
    return tn_exchange_write(relay->outer, bytes, n);
}

size_t tn_relay_pass_room(const tn_relay *relay)
{
    return tn_exchange_room(relay->outer);
}

void tn_relay_pass_finish(tn_relay *relay, bool broken)
{
    if (broken)
        tn_exchange_break(relay->outer);
    else
        tn_exchange_finish(relay->outer, NULL, 0);
    tn_relay_end(relay);
}
