/*
 * net/inner.c - exchanges of the application's own: see net.h.
 *
 * It has no connection. Its answer goes to the taker at once; its memory goes when the loop settles, for code
 * that is on the stack may still look at it.
 */
#include <assert.h>

#include "net/exchange.h"

static bool add(tn_exchange *ex, tn_str name, tn_str value)
{
    size_t at = ex->buf_len;
    return tn_exchange_append(ex, name.ptr, name.len) &&
           (value.len == 0 || tn_exchange_append(ex, value.ptr, value.len)) &&
           tn_exchange_add_header(ex, at, name.len, at + name.len, value.len);
}

/* The head's text first, then the fields: slices move along when it grows. */
static bool copy_head(tn_exchange *ex, const tn_inner *inner)
{
    if (!tn_exchange_append(ex, inner->method.ptr, inner->method.len) ||
        !tn_exchange_append(ex, inner->target.ptr, inner->target.len))
        return false;
    ex->method = (tn_str){ex->buf, inner->method.len};
    ex->target = (tn_str){ex->buf + inner->method.len, inner->target.len};
    for (size_t i = 0; i < inner->n_headers; i++)
        if (!add(ex, inner->headers[i].name, inner->headers[i].value))
            return false;
    return true;
}

tn_exchange *tn_exchange_make(tn_loop *loop, const tn_inner *inner, tn_taker *taker)
{
    tn_exchange *ex = tn_exchange_new_inner(loop, taker);
    if (ex == NULL)
        return NULL;
    if (!copy_head(ex, inner)) {
        tn_exchange_let_go(ex);
        return NULL;
    }
    ex->is_head = tn_str_eq(inner->method, TN_STR("HEAD"));
    ex->content_length = inner->content_length;
    ex->started_ns = inner->started_ns;
    ex->tag = inner->tag;
    return ex;
}

void tn_exchange_inner_begin(tn_exchange *ex)
{
    ex->taken = true;
}

bool tn_exchange_is_inner(const tn_exchange *ex)
{
    return ex->inner;
}

void tn_exchange_inner_reserve(tn_exchange *ex, size_t want, char **room, size_t *space)
{
    tn_sink *sink = ex->sink;
    *room = NULL;
    *space = 0;
    if (sink != NULL && sink->reserve != NULL && sink->reserve(sink, want, room, space) != TERN_OK) {
        ex->sink = NULL;
        *room = NULL;
        *space = 0;
    }
}

void tn_exchange_inner_body(tn_exchange *ex, const char *bytes, size_t n)
{
    tn_exchange_body(ex, bytes, n);
}

void tn_exchange_inner_end(tn_exchange *ex)
{
    tn_exchange_body_end(ex);
}

void tn_exchange_inner_room(tn_exchange *ex)
{
    void (*room)(void *, tn_exchange *) = ex->room;
    void *user = ex->room_user;
    ex->room = NULL;
    if (room != NULL)
        room(user, ex);
}

void tn_exchange_abandon(tn_exchange *ex)
{
    assert(ex->inner && !ex->answered);
    ex->user = NULL;
    if (tn_exchange_reclaim(ex)) {
        ex->taker = NULL;
        tn_exchange_let_go(ex);
    } else {
        ex->taker = NULL; /* whoever has it answers into the void */
    }
}

void tn_inner_send(tn_exchange *ex, const tn_response *response)
{
    tn_taker *taker = ex->taker;
    ex->taker = NULL;
    if (taker->send(taker, response))
        ex->release = NULL;
    tn_exchange_mark(ex, true);
}

void tn_inner_finish(tn_exchange *ex)
{
    tn_taker *taker = ex->taker;
    ex->taker = NULL;
    taker->finish(taker, ex->broken);
    tn_exchange_mark(ex, !ex->broken);
}
