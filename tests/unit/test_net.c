/*
 * tests/unit/test_net.c - src/net without sockets: pool, output queue, timers, posting, and HTTP/1.1 cut at
 * every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net_memory.h"

/* Pool. */

static void pool_reuses(void **state)
{
    tn_pool pool;
    tn_pool_init(&pool);
    for (size_t size = 0; size < 200000; size = size * 3 / 2 + 1) {
        char *piece = tn_pool_take(&pool, size);
        assert_non_null(piece);
        assert_true(tn_pool_size(piece) >= size);
        assert_int_equal((uintptr_t)piece % 16, 0);
        memset(piece, 1, tn_pool_size(piece));
        tn_pool_give(&pool, piece);
    }
    char *piece = tn_pool_take(&pool, 10);
    memcpy(piece, "123456789", 10);
    piece = tn_pool_resize(&pool, piece, 5000);
    assert_string_equal(piece, "123456789");
    assert_ptr_equal(tn_pool_resize(&pool, piece, 100), piece);
    tn_pool_give(&pool, piece);
    tn_pool_give(&pool, NULL);
    assert_null(tn_pool_take(&pool, SIZE_MAX - 8));
    tn_pool_clear(&pool);
}

/* Output queue. */

typedef struct seen {
    tn_out_mark mark;
    int ran;
    bool sent;
} seen;

static void mark_seen(tn_out_mark *mark)
{
    seen *s = TN_CONTAINER(mark, seen, mark);
    s->ran++;
    s->sent = mark->sent;
}

/* Takes n bytes off the queue as a socket would, appending them to text. */
static void drain_out(tn_out *out, size_t n, char *text, size_t *len)
{
    const struct iovec *iov;
    size_t count = tn_out_vector(out, &iov, 1000), left = n;
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        memcpy(text + *len, iov[i].iov_base, part);
        *len += part;
        left -= part;
    }
    assert_int_equal(left, 0);
    tn_out_advance(out, n);
    tn_out_run(out);
}

static void out_keeps_order(void **state)
{
    static char large[5000], want[2000000], got[2000000];
    size_t want_len = 0, got_len = 0;
    tn_pool pool;
    tn_out out;
    seen marks[300];
    memset(marks, 0, sizeof marks);
    memset(large, 'L', sizeof large);
    tn_pool_init(&pool);
    tn_out_init(&out, &pool);
    for (int i = 0; i < 300; i++) {
        char text[64];
        int n = snprintf(text, sizeof text, "<%d>", i);
        tn_out_copy(&out, text, (size_t)n);
        memcpy(want + want_len, text, (size_t)n);
        want_len += (size_t)n;
        size_t part = (size_t)(i * 37) % sizeof large;
        tn_out_borrow(&out, large, part);
        memcpy(want + want_len, large, part);
        want_len += part;
        marks[i].mark.run = mark_seen;
        tn_out_put_mark(&out, &marks[i].mark, i % 2 == 0);
        if (i % 3 == 0)
            drain_out(&out, (size_t)tn_out_pending(&out) / 2, got, &got_len);
    }
    for (size_t step = 1; tn_out_pending(&out) > 0; step = step * 2 + 1)
        drain_out(&out, step < tn_out_pending(&out) ? step : (size_t)tn_out_pending(&out), got, &got_len);
    assert_int_equal(got_len, want_len);
    assert_memory_equal(got, want, want_len);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(marks[i].ran, 1);
        assert_int_equal(marks[i].sent, i % 2 == 0);
    }
    assert_null(out.oldest);
    tn_out_drop(&out);
    tn_pool_clear(&pool);
}

static void out_joins_neighbours(void **state)
{
    tn_pool pool;
    tn_out out;
    const struct iovec *iov;
    tn_pool_init(&pool);
    tn_out_init(&out, &pool);
    for (int i = 0; i < 100; i++)
        tn_out_copy(&out, "0123456789", 10);
    assert_int_equal(tn_out_vector(&out, &iov, 1000), 1);
    assert_int_equal(iov[0].iov_len, 1000);
    tn_out_drop(&out);
    tn_pool_clear(&pool);
}

static void out_drop_runs_marks(void **state)
{
    tn_pool pool;
    tn_out out;
    seen first = {.mark.run = mark_seen}, second = {.mark.run = mark_seen};
    tn_pool_init(&pool);
    tn_out_init(&out, &pool);
    tn_out_put_mark(&out, &first.mark, true);
    tn_out_run(&out);
    assert_true(first.ran == 1 && first.sent);
    tn_out_copy(&out, "x", 1);
    tn_out_put_mark(&out, &second.mark, true);
    tn_out_run(&out);
    assert_int_equal(second.ran, 0);
    tn_out_drop(&out);
    assert_true(second.ran == 1 && !second.sent);
    assert_int_equal(tn_out_pending(&out), 0);
    tn_pool_clear(&pool);
}

/* Small things. */

static void numbers_and_fields(void **state)
{
    char text[32];
    const uint64_t values[] = {0, 9, 10, 4294967296, UINT64_MAX};
    const char *want[] = {"0", "9", "10", "4294967296", "18446744073709551615"};
    for (size_t i = 0; i < 5; i++) {
        text[tn_put_u64(text, values[i])] = '\0';
        assert_string_equal(text, want[i]);
    }
    const tn_header good = {TN_STR("x-a"), TN_STR("b\tc \xc3\xa4")}, empty = {TN_STR("x"), TN_STR("")};
    const tn_header bad[] = {{TN_STR("x"), TN_STR("a\nb")}, {TN_STR("x"), TN_STR("a\rb")},
                             {TN_STR("x"), {"\0", 1}},      {TN_STR("x y"), TN_STR("a")},
                             {TN_STR("x:"), TN_STR("a")},   {TN_STR(""), TN_STR("a")}};
    assert_true(tn_header_is_clean(&good) && tn_header_is_clean(&empty));
    for (size_t i = 0; i < 6; i++)
        assert_false(tn_header_is_clean(&bad[i]));
}

/* Every byte at every place of fields of all lengths about eight: as RFC 9110, 5.1 and 5.5 have it. */
static void test_header_is_clean_at_every_place(void **state)
{
    char text[20];
    for (size_t len = 1; len <= sizeof text; len++)
        for (size_t at = 0; at < len; at++)
            for (unsigned c = 0; c < 256; c++) {
                memset(text, 'a', len);
                text[at] = (char)c;
                const tn_header in_name = {{text, len}, TN_STR("v")}, in_value = {TN_STR("n"), {text, len}};
                assert_int_equal(tn_header_is_clean(&in_name), c > ' ' && c != ':' && c < 0x7f);
                assert_int_equal(tn_header_is_clean(&in_value), c == '\t' || (c >= ' ' && c != 0x7f));
            }
}

/* Timers and posting, on a running net. */

static int64_t fired[1000];
static int n_fired;
static atomic_int timers_done;

static void on_fire(tn_timer *timer)
{
    fired[n_fired++] = timer->at_ns;
    assert_true(tn_now_ns() >= timer->at_ns);
    if (n_fired == 500)
        atomic_store(&timers_done, 1);
}

static tn_timer timers[1000];

static void start_timers(tn_task *task)
{
    tn_loop *loop = *(tn_loop **)(task + 1);
    int64_t now = tn_now_ns();
    uint32_t seed = 7;
    for (int i = 0; i < 1000; i++) {
        seed = seed * 1664525 + 1013904223;
        tn_timer_start(loop, &timers[i], now + (seed >> 8) % (30 * TN_NS_PER_MS), on_fire);
    }
    for (int i = 0; i < 1000; i += 2)
        tn_timer_stop(loop, &timers[i]);
    tn_timer_stop(loop, &timers[0]);                                   /* one that is not started */
    tn_timer_start(loop, &timers[1], now + 5 * TN_NS_PER_MS, on_fire); /* once more */
}

static void ignore_request(void *context, tn_exchange *ex)
{
}

static atomic_int loops_ended;

static void loop_ends(void *context, tn_loop *loop)
{
    atomic_fetch_add(&loops_ended, 1);
}

typedef struct post {
    tn_task task;
    int thread, number;
} post;

static int last_of[4];
static atomic_int n_run, out_of_order;

static void run_post(tn_task *task)
{
    post *p = (post *)task;
    if (p->number != last_of[p->thread] + 1)
        atomic_fetch_add(&out_of_order, 1);
    last_of[p->thread] = p->number;
    atomic_fetch_add(&n_run, 1);
    free(p);
}

static tn_loop *target;

static void *post_many(void *arg)
{
    for (int i = 1; i <= 5000; i++) {
        post *p = malloc(sizeof *p);
        if (p == NULL)
            abort();
        *p = (post){.task.run = run_post, .thread = (int)(intptr_t)arg, .number = i};
        tn_loop_post(target, &p->task);
    }
    return NULL;
}

static void timers_and_posts(void **state)
{
    tern_status st;
    tn_net *net;
    int port = 0;
    tn_net_options options = {.loops = 2,
                              .limits = tn_limits_default(),
                              .app = {.on_request = ignore_request, .on_loop_end = loop_ends}};
    struct {
        tn_task task;
        tn_loop *loop;
    } start = {.task.run = start_timers};
    assert_int_equal(tn_net_new(&options, &net, &st), TERN_OK);
    assert_int_equal(tn_net_listen(net, "127.0.0.1", 0, 1, &port, &st), TERN_OK);
    assert_true(port > 0);
    assert_int_equal(tn_net_listen(net, "127.0.0.1", port, 1, NULL, &st), TERN_UNAVAILABLE);
    assert_non_null(strstr(st.message, "127.0.0.1"));
    assert_int_equal(tn_net_listen(net, "no such host.invalid", 0, 1, NULL, &st), TERN_UNAVAILABLE);
    assert_int_equal(tn_net_listen(net, NULL, 0, 1, &port, &st), TERN_OK);
    assert_int_equal(tn_net_start(net, &st), TERN_OK);
    start.loop = target = tn_net_loop(net, 1);
    *tn_loop_user(target) = &start;
    assert_ptr_equal(tn_loop_net(target), net);
    tn_loop_post(target, &start.task);
    pthread_t threads[4];
    for (intptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, (void *)i), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 2000 && (atomic_load(&n_run) < 20000 || !atomic_load(&timers_done)); i++)
        uv_sleep(5);
    assert_int_equal(atomic_load(&n_run), 20000);
    assert_int_equal(atomic_load(&out_of_order), 0);
    assert_true(atomic_load(&timers_done));
    assert_true(tn_net_drain(net));
    assert_int_equal(tn_net_listen(net, "127.0.0.1", 0, 1, NULL, &st), TERN_UNAVAILABLE);
    tn_net_free(net);
    assert_int_equal(atomic_load(&loops_ended), 2);
    assert_int_equal(n_fired, 500);
    for (int i = 1; i < n_fired; i++)
        assert_true(fired[i - 1] <= fired[i]);
}

/* Descriptors of others, and what a loop posts to itself. */

typedef struct watching {
    tn_task begin, again;
    tn_loop *loop;
    tn_watch *watch;
    int pipe[2];
    int bytes, rounds; /* the loop's */
    atomic_int over;
} watching;

static void again(tn_task *task)
{
    watching *w = TN_CONTAINER(task, watching, again);
    if (++w->rounds % 50 != 0) { /* more than it does before it looks at its sockets */
        tn_loop_post(w->loop, task);
        return;
    }
    if (w->bytes == 3) {
        tn_loop_unwatch(w->watch);
        atomic_store(&w->over, 1);
    } else {
        assert_int_equal(write(w->pipe[1], "x", 1), 1);
    }
}

static void readable(void *user)
{
    watching *w = user;
    char byte;
    assert_int_equal(read(w->pipe[0], &byte, 1), 1);
    w->bytes++;
    tn_loop_post(w->loop, &w->again);
}

static void begin_watch(tn_task *task)
{
    watching *w = TN_CONTAINER(task, watching, begin);
    assert_null(tn_loop_watch(w->loop, -1, readable, w));
    w->watch = tn_loop_watch(w->loop, w->pipe[0], readable, w);
    assert_non_null(w->watch);
    assert_int_equal(write(w->pipe[1], "x", 1), 1);
}

static void others_descriptors_are_watched(void **state)
{
    tern_status st;
    tn_net *net;
    (void)state;
    tn_net_options options = {.loops = 1, .limits = tn_limits_default(), .app.on_request = ignore_request};
    watching w = {.begin.run = begin_watch, .again.run = again};
    assert_int_equal(pipe(w.pipe), 0);
    assert_int_equal(tn_net_new(&options, &net, &st), TERN_OK);
    assert_int_equal(tn_net_start(net, &st), TERN_OK);
    w.loop = tn_net_loop(net, 0);
    tn_loop_post(w.loop, &w.begin);
    for (int i = 0; i < 4000 && !atomic_load(&w.over); i++)
        uv_sleep(5);
    assert_true(atomic_load(&w.over));
    tn_net_free(net);
    assert_int_equal(w.bytes, 3);
    assert_int_equal(w.rounds, 150);
    close(w.pipe[0]);
    close(w.pipe[1]);
}

static void not_started(void **state)
{
    tern_status st;
    tn_net *net;
    tn_net_options options = {.loops = 3, .limits = tn_limits_default(), .app.on_request = ignore_request};
    assert_int_equal(tn_net_new(&options, &net, &st), TERN_OK);
    assert_int_equal(tn_net_listen(net, "127.0.0.1", 0, 1, NULL, &st), TERN_OK);
    assert_true(tn_net_drain(net));
    tn_net_free(net);
    tn_net_free(NULL);
}

/* HTTP/1.1 cut anywhere. */

static const char requests[] =
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    "POST /e?x HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world"
    "POST /e HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n chunk\r\n0\r\nX-T: y\r\n\r\n"
    "HEAD /b HTTP/1.1\r\n\r\n"
    "POST /w HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    "GET /c HTTP/1.1\nX: bare line feeds\n\n";

/* The answers without their dates. */
static char *without_dates(const char *text, size_t n, size_t *len)
{
    char *plain = malloc(n + 1);
    assert_non_null(plain);
    *len = 0;
    for (size_t i = 0; i < n; i++) {
        if (n - i > 37 && memcmp(text + i, "date: ", 6) == 0)
            i += 36; /* with its line's end */
        else
            plain[(*len)++] = text[i];
    }
    plain[*len] = '\0';
    return plain;
}

static const char answers[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n"
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 11\r\n\r\nhello world"
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 11\r\n\r\nhello chunk"
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 70000\r\n\r\n"
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nabc"
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n"
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\nconnection: "
    "close\r\n\r\nok\n";

static void check_answers(net_memory *m)
{
    size_t len;
    char *plain = without_dates(m->out, m->out_len, &len);
    assert_string_equal(plain, answers);
    assert_true(m->shut);
    free(plain);
}

static void http1_cut_anywhere(void **state)
{
    net_memory m;
    net_memory_open(&m, NULL);
    m.keep_out = true;
    size_t n = sizeof requests - 1;
    for (size_t cut = 0; cut < n; cut++) {
        net_memory_connect(&m);
        net_memory_feed(&m, requests, cut);
        net_memory_feed(&m, requests + cut, n - cut);
        check_answers(&m);
        net_memory_disconnect(&m);
    }
    for (uint32_t seed = 1; seed < 200; seed++) {
        net_memory_connect(&m);
        m.seed = seed;
        net_memory_feed(&m, requests, n);
        check_answers(&m);
        net_memory_disconnect(&m);
    }
    m.seed = 0;
    net_memory_close(&m);
}

/*
 * Whatever the order of answering, the order of the answers is the requests'; and the limit of waiting ones
 * holds.
 */
static void http1_answers_in_order(void **state)
{
    static const char text[] =
        "GET /l HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nGET /n HTTP/1.1\r\n\r\nGET /l HTTP/1.1\r\n\r\n"
        "GET /l HTTP/1.1\r\n\r\n";
    tn_limits limits = tn_limits_default();
    limits.max_pipelined_requests = 4;
    net_memory m;
    net_memory_open(&m, &limits);
    m.keep_out = true;
    for (int newest_first = 0; newest_first < 2; newest_first++) {
        net_memory_connect(&m);
        net_memory_feed(&m, text, sizeof text - 1);
        assert_int_equal(m.out_len, 0);
        assert_int_equal(m.live, 3);
        net_memory_answer(&m, newest_first);
        net_memory_feed(&m, "", 0);
        assert_int_equal(m.live, 1);
        net_memory_answer(&m, newest_first);
        net_memory_feed(&m, "", 0);
        assert_int_equal(m.live, 0);
        size_t len, count = 0;
        char *plain = without_dates(m.out, m.out_len, &len);
        for (const char *at = plain; (at = strstr(at, "200 OK")) != NULL; at++)
            count++;
        assert_int_equal(count, 5);
        free(plain);
        net_memory_disconnect(&m);
    }
    net_memory_close(&m);
}

/* Streamed answers among others: chunks, none for HEAD, one that breaks off and ends the line. */
static void http1_streams_in_order(void **state)
{
    static const char text[] =
        "GET /l HTTP/1.1\r\n\r\nGET /p HTTP/1.1\r\n\r\nHEAD /p HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        "GET /x HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    char want[2000], bs[101];
    memset(bs, 'b', 100);
    bs[100] = '\0';
    snprintf(want, sizeof want,
             "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n"
             "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
             "64\r\n%s\r\n0\r\n\r\n"
             "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
             "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n"
             "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
             "64\r\n%s\r\n",
             bs, bs);
    net_memory m;
    net_memory_open(&m, NULL);
    m.keep_out = true;
    for (uint32_t seed = 0; seed < 40; seed++) {
        net_memory_connect(&m);
        m.seed = seed;
        net_memory_feed(&m, text, sizeof text - 1);
        assert_int_equal(m.out_len, 0);
        net_memory_answer(&m, false);
        net_memory_feed(&m, "", 0);
        size_t len;
        char *plain = without_dates(m.out, m.out_len, &len);
        assert_string_equal(plain, want);
        assert_true(m.shut);
        free(plain);
        net_memory_disconnect(&m);
    }
    m.seed = 0;
    net_memory_close(&m);
}

/*
 * What waits for the client has a bound, also while other answers come first, and goes on when there is room.
 */
static void streams_wait_for_room(void **state)
{
    static const char text[] = "GET /l HTTP/1.1\r\n\r\nGET /pour HTTP/1.1\r\n\r\n";
    net_memory m;
    net_memory_open(&m, NULL);
    m.keep_out = true;
    net_memory_connect(&m);
    net_memory_feed(&m, text, sizeof text - 1);
    assert_int_equal(m.live, 2);
    uint64_t stored = m.conn->stored;
    assert_true(stored > TN_STREAM_MAX / 2 && stored <= TN_STREAM_MAX);
    m.stuck = true;
    net_memory_answer(&m, true); /* also the stream, which has given all that it will */
    net_memory_feed(&m, "", 0);
    assert_int_equal(m.conn->stored, 0);
    m.stuck = false;
    net_memory_feed(&m, "", 0);
    assert_true(m.out_len > stored && m.out_len < stored + 1000);
    net_memory_feed(&m, text + 19, sizeof text - 20);
    assert_int_equal(m.live, 0);
    assert_true(m.out_len > stored + ((size_t)2 << 20));
    m.stuck = true;
    net_memory_feed(&m, text + 19, sizeof text - 20);
    assert_int_equal(m.live, 1);
    assert_true(tn_out_pending(&m.conn->out) > TN_STREAM_MAX / 2);
    assert_true(tn_out_pending(&m.conn->out) < TN_STREAM_MAX + 1000);
    long gone = m.gone;
    net_memory_later(&m, 130000);
    assert_null(m.conn);
    assert_int_equal(m.gone, gone + 1);
    m.stuck = false;
    net_memory_close(&m);
}

/* A request that breaks while its answer is streamed: no second head, and the connection ends. */
static void a_streamed_request_breaks(void **state)
{
    static const char head[] = "POST /s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nZ";
    net_memory m;
    net_memory_open(&m, NULL);
    m.keep_out = true;
    net_memory_connect(&m);
    net_memory_feed(&m, head, sizeof head - 1);
    size_t len;
    char *plain = without_dates(m.out, m.out_len, &len);
    assert_string_equal(plain, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n"
                               "\r\n3\r\nabc\r\n");
    assert_true(m.shut && m.gone == 1 && m.live == 0);
    free(plain);
    net_memory_disconnect(&m);
    /* Its turn has not come: it can still be refused. */
    char text[200];
    int n = snprintf(text, sizeof text, "GET /l HTTP/1.1\r\n\r\n%s", head);
    net_memory_connect(&m);
    net_memory_feed(&m, text, (size_t)n);
    net_memory_answer(&m, false);
    net_memory_feed(&m, "", 0);
    plain = without_dates(m.out, m.out_len, &len);
    assert_non_null(strstr(plain, "HTTP/1.1 413 "));
    assert_null(strstr(plain, "chunked"));
    assert_true(m.gone == 2);
    free(plain);
    net_memory_close(&m);
}

static void timeouts_of_a_head(void **state)
{
    net_memory m;
    net_memory_open(&m, NULL);
    m.keep_out = true;
    net_memory_connect(&m);
    net_memory_feed(&m, "GET / HTTP/1.1\r\nHo", 18);
    net_memory_later(&m, 29000);
    assert_int_equal(m.out_len, 0);
    net_memory_later(&m, 31000);
    assert_true(m.out_len > 12 && memcmp(m.out, "HTTP/1.1 408", 12) == 0);
    assert_true(m.shut && m.conn != NULL);
    net_memory_later(&m, 60000);
    assert_null(m.conn);
    /* Idle: the first request has 30 s, the next 300 s. */
    net_memory_connect(&m);
    net_memory_later(&m, 29000);
    assert_non_null(m.conn);
    net_memory_feed(&m, "GET / HTTP/1.1\r\n\r\n", 18);
    net_memory_later(&m, 290000);
    assert_non_null(m.conn);
    net_memory_later(&m, 310000);
    assert_null(m.conn);
    net_memory_close(&m);
}

static void timeouts_of_a_body(void **state)
{
    net_memory m;
    net_memory_open(&m, NULL);
    m.keep_out = true;
    net_memory_connect(&m);
    net_memory_feed(&m, "POST /e HTTP/1.1\r\nContent-Length: 99999\r\n\r\n", 43);
    static const char part[20480];
    net_memory_feed(&m, part, sizeof part);
    /* 10 s, and 20 s for 20 kB at 1 kB/s. */
    net_memory_later(&m, 29000);
    assert_int_equal(m.out_len, 0);
    net_memory_later(&m, 31000);
    assert_true(m.out_len > 12 && memcmp(m.out, "HTTP/1.1 408", 12) == 0);
    assert_true(m.gone == 1 && m.live == 0 && m.closed_sinks == 1);
    net_memory_close(&m);
}

/* Every allocation fails once: no promise is broken, and the next client is served. */
static void memory_runs_out(const char *input, size_t n, const char *sane)
{
    net_memory m;
    net_memory_open(&m, NULL);
    m.keep_out = true;
    uint32_t k = 1;
    for (bool failed = true; failed && k < 3000; k++) {
        m.loop->pool.fail_in = k;
        if (net_memory_connect(&m)) {
            net_memory_feed(&m, input, n);
            net_memory_answer(&m, false);
            net_memory_feed(&m, "", 0);
        }
        failed = m.loop->pool.fail_in == 0;
        m.loop->pool.fail_in = 0;
        net_memory_disconnect(&m);
        assert_true(net_memory_connect(&m));
        net_memory_feed(&m, input, n);
        net_memory_answer(&m, false);
        net_memory_feed(&m, "", 0);
        assert_non_null(memmem(m.out, m.out_len, sane, strlen(sane)));
        net_memory_disconnect(&m);
    }
    assert_true(k > 10 && k < 3000);
    net_memory_close(&m);
}

static void http1_memory_runs_out(void **state)
{
    static const char text[] =
        "GET /l HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /n HTTP/1.1\r\n\r\n"
        "POST /e HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET /v HTTP/1.1\r\n\r\n"
        "POST /f HTTP/1.1\r\nContent-Length: 20\r\n\r\n01234567890123456789FOO / HTTP/1.1\r\n\r\n";
    memory_runs_out(text, sizeof text - 1, "501 Not Implemented");
}

static void http2_memory_runs_out(void **state)
{
#define HEAD(id, path) "\0\0\11\1\5\0\0\0" id "\x83\x86\4\2" path "\1\1a"
    static const char text[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0" HEAD("\1", "/l")
        HEAD("\3", "/b") HEAD("\5", "/n") HEAD("\7", "/t") HEAD("\11", "/o")
            HEAD("\13", "/v") "\0\0\10\6\0\0\0\0\0pingpong";
    memory_runs_out(text, sizeof text - 1, "pingpong");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_reuses),
        cmocka_unit_test(out_keeps_order),
        cmocka_unit_test(out_joins_neighbours),
        cmocka_unit_test(out_drop_runs_marks),
        cmocka_unit_test(numbers_and_fields),
        cmocka_unit_test(test_header_is_clean_at_every_place),
        cmocka_unit_test(timers_and_posts),
        cmocka_unit_test(others_descriptors_are_watched),
        cmocka_unit_test(not_started),
        cmocka_unit_test(http1_cut_anywhere),
        cmocka_unit_test(http1_answers_in_order),
        cmocka_unit_test(http1_streams_in_order),
        cmocka_unit_test(streams_wait_for_room),
        cmocka_unit_test(a_streamed_request_breaks),
        cmocka_unit_test(timeouts_of_a_head),
        cmocka_unit_test(timeouts_of_a_body),
        cmocka_unit_test(http1_memory_runs_out),
        cmocka_unit_test(http2_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
