/*
 * tests/unit/test_net_inner.c - exchanges of the application's own: bodies, answers whole and in pieces,
 * ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "net_memory.h"

typedef struct own {
    tn_taker taker;
    tn_exchange *ex;
    bool takes_release;
    int sent, status, streamed, finished, gone, released, ended, aborted, rooms;
    size_t bytes, room, body;
    tn_sink sink;
} own;

static own *own_of(const tn_taker *taker)
{
    return (own *)((uintptr_t)taker - offsetof(own, taker));
}

static bool own_send(tn_taker *taker, const tn_response *response)
{
    own *o = own_of(taker);
    o->sent++;
    o->status = response->status;
    return o->takes_release;
}

static void own_stream(tn_taker *taker, const tn_response *head)
{
    own_of(taker)->streamed++;
    own_of(taker)->status = head->status;
}

static bool own_write(tn_taker *taker, const void *bytes, size_t n)
{
    own_of(taker)->bytes += n;
    own_of(taker)->room -= n;
    return true;
}

static size_t own_room(const tn_taker *taker)
{
    return own_of(taker)->room;
}

static void own_want_room(tn_taker *taker)
{
    own_of(taker)->rooms++;
}

static void own_finish(tn_taker *taker, bool broken)
{
    own_of(taker)->finished += broken ? 100 : 1;
}

static tern_code own_commit(tn_sink *sink, const char *ptr, size_t n)
{
    TN_CONTAINER(sink, own, sink)->body += n;
    return TERN_OK;
}

static void own_end(tn_sink *sink)
{
    TN_CONTAINER(sink, own, sink)->ended++;
}

static void own_abort(tn_sink *sink)
{
    TN_CONTAINER(sink, own, sink)->aborted++;
}

static void own_gone(void *user, tn_exchange *ex)
{
    ((own *)user)->gone++;
}

static void own_released(void *arg, bool sent)
{
    ((own *)arg)->released++;
}

static void own_has_room(void *user, tn_exchange *ex)
{
    own *o = user;
    assert_true(tn_exchange_write(ex, "12345", 5));
    assert_false(tn_exchange_write(ex, "1234567", o->room + 1));
    tn_exchange_finish(ex, NULL, 0);
}

static void own_make(own *o, net_memory *m)
{
    static const tn_header headers[] = {{TN_STR_INIT("x-a"), TN_STR_INIT("1")},
                                        {TN_STR_INIT("x-b"), TN_STR_INIT("")}};
    const tn_inner inner = {.method = TN_STR("POST"),
                            .target = TN_STR("/own?x"),
                            .headers = headers,
                            .n_headers = 2,
                            .content_length = 7,
                            .tag = 3};
    *o = (own){.taker = {own_send, own_stream, own_write, own_room, own_want_room, own_finish}};
    o->sink = (tn_sink){.commit = own_commit, .end = own_end, .abort = own_abort};
    o->ex = tn_exchange_make(m->loop, &inner, &o->taker);
    assert_non_null(o->ex);
}

static void exchanges_of_our_own(void **state)
{
    const tn_response response = {.status = 201, .release = own_released};
    net_memory m;
    own o;
    net_memory_open(&m, NULL);
    for (int takes = 0; takes < 2; takes++) {
        own_make(&o, &m);
        assert_true(tn_exchange_is_inner(o.ex) && !tn_exchange_is_http2(o.ex));
        assert_true(tn_str_eq(tn_exchange_target(o.ex), TN_STR("/own?x")));
        assert_true(tn_str_eq(tn_exchange_header(o.ex, "x-a"), TN_STR("1")));
        assert_non_null(tn_exchange_header(o.ex, "x-b").ptr);
        assert_int_equal(tn_exchange_content_length(o.ex), 7);
        assert_int_equal(tn_exchange_listener(o.ex), 3);
        o.takes_release = takes == 1;
        tn_exchange_inner_begin(o.ex);
        tn_exchange_set_sink(o.ex, &o.sink);
        tn_exchange_inner_body(o.ex, "1234567", 7);
        tn_exchange_inner_end(o.ex);
        tn_response with = response;
        with.release_arg = &o;
        tn_exchange_send(o.ex, &with);
        assert_true(o.body == 7 && o.ended == 1 && o.sent == 1 && o.status == 201 && o.released == 0);
        tn_loop_settle(m.loop);
        assert_int_equal(o.released, 1 - takes);
        assert_int_equal(tn_net_count(m.net).exchanges_open, 0);
    }
    net_memory_close(&m);
}

static void streams_of_our_own(void **state)
{
    const tn_response head = {.status = 200};
    net_memory m;
    own o;
    net_memory_open(&m, NULL);
    own_make(&o, &m);
    tn_exchange_inner_begin(o.ex);
    tn_exchange_on_gone(o.ex, own_gone, &o);
    tn_exchange_stream(o.ex, &head);
    assert_false(tn_exchange_write(o.ex, "1", 1));
    tn_exchange_want_room(o.ex, own_has_room, &o);
    assert_int_equal(o.rooms, 1);
    o.room = 6;
    tn_exchange_inner_room(o.ex);
    assert_true(o.streamed == 1 && o.bytes == 5 && o.finished == 1 && o.gone == 0);
    tn_loop_settle(m.loop);
    own_make(&o, &m);
    tn_exchange_inner_begin(o.ex);
    tn_exchange_on_gone(o.ex, own_gone, &o);
    tn_exchange_stream(o.ex, &head);
    tn_exchange_break(o.ex);
    assert_int_equal(o.finished, 100);
    tn_loop_settle(m.loop);
    assert_int_equal(tn_net_count(m.net).exchanges_open, 0);
    net_memory_close(&m);
}

/* Nobody waits for the answer: before it was begun, while it is made, and where nobody wants to be told. */
static void own_ones_that_are_abandoned(void **state)
{
    const tn_response response = {.status = 200};
    net_memory m;
    own o;
    net_memory_open(&m, NULL);
    own_make(&o, &m);
    tn_exchange_abandon(o.ex);
    assert_int_equal(tn_net_count(m.net).exchanges_open, 0);
    own_make(&o, &m);
    tn_exchange_inner_begin(o.ex);
    tn_exchange_set_sink(o.ex, &o.sink);
    tn_exchange_on_gone(o.ex, own_gone, &o);
    tn_exchange_abandon(o.ex);
    assert_true(o.aborted == 1 && o.gone == 1 && o.sent == 0);
    assert_int_equal(tn_net_count(m.net).exchanges_open, 0);
    own_make(&o, &m);
    tn_exchange_inner_begin(o.ex);
    tn_exchange *careless = o.ex;
    tn_exchange_abandon(o.ex);
    assert_int_equal(tn_net_count(m.net).exchanges_open, 1);
    tn_exchange_send(careless, &response);
    assert_int_equal(o.sent, 0);
    tn_loop_settle(m.loop);
    assert_int_equal(tn_net_count(m.net).exchanges_open, 0);
    net_memory_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchanges_of_our_own),
        cmocka_unit_test(streams_of_our_own),
        cmocka_unit_test(own_ones_that_are_abandoned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
