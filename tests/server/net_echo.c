/*
 * tests/server/net_echo.c - a small application over net/net.h, for the black-box tests and for measuring.
 *
 *     net_echo [--loops N] [--port N] [--unix PATH] [--LIMIT VALUE ...]     LIMIT: a field of base/limits.h
 *
 * Prints "port N" when it listens on 127.0.0.1. SIGTERM drains; the last line is then "drained yes|no" and a
 * count of everything that the contract promises to happen exactly once. The path chooses what a request
 * does, see `routes`.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/region.h"
#include "net/net.h"

static const tn_header plain[] = {{TN_STR_INIT("content-type"), TN_STR_INIT("text/plain")}};
static const tn_chunk ok_body = {"ok\n", 3};
static tn_budget budget;
static char *pattern; /* 1 MB of a repeating text, for large answers */
#define PATTERN ((size_t)1 << 20)

static atomic_long n_on_request, n_gone, n_end, n_abort, n_sink_error, n_released, n_unsent, n_live;

/* One request that needs memory. */
typedef struct request {
    tn_sink sink;
    tn_exchange *ex; /* NULL: gone */
    tn_loop *loop;
    tn_timer timer;
    tn_task task;
    tn_region body;
    tn_buf text;
    tn_chunk *chunks;
    size_t n_chunks;
    char *room; /* last reserved */
    uint64_t bytes, direct, hash;
    uint64_t fail_at;
    bool held;    /* a thread has it */
    bool replied; /* waits for release() */
    bool use_reserve, count_only, late;
} request;

static void free_request(request *r)
{
    tn_timer_stop(r->loop, &r->timer);
    tn_region_free(&r->body);
    tn_buf_free(&r->text);
    free(r->chunks);
    free(r);
    atomic_fetch_sub(&n_live, 1);
}

static void on_gone(void *user, tn_exchange *ex)
{
    request *r = user;
    atomic_fetch_add(&n_gone, 1);
    r->ex = NULL;
    if (!r->held)
        free_request(r);
}

static request *new_request(tn_exchange *ex)
{
    request *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    atomic_fetch_add(&n_live, 1);
    r->ex = ex;
    r->loop = tn_exchange_loop(ex);
    tn_buf_init(&r->text, (size_t)1 << 30);
    tn_region_init(&r->body, &budget, 0, (size_t)1 << 31);
    tn_exchange_on_gone(ex, on_gone, r);
    return r;
}

static void released(void *arg, bool sent)
{
    request *r = arg;
    atomic_fetch_add(sent ? &n_released : &n_unsent, 1);
    free_request(r);
}

static void reply(request *r, int status, const tn_chunk *chunks, size_t n)
{
    tn_exchange *ex = r->ex;
    tn_response response = {.status = status,
                            .headers = plain,
                            .n_headers = 1,
                            .body = chunks,
                            .n_body = n,
                            .release = released,
                            .release_arg = r};
    r->ex = NULL;
    r->replied = true;
    tn_exchange_send(ex, &response);
}

static void reply_text(request *r, int status)
{
    r->chunks = malloc(sizeof *r->chunks);
    if (r->chunks == NULL)
        abort();
    r->chunks[0] = (tn_chunk){r->text.ptr, r->text.len};
    reply(r, status, r->chunks, 1);
}

static void small_reply(tn_exchange *ex, int status, bool close)
{
    tn_response response = {
        .status = status, .headers = plain, .n_headers = 1, .body = &ok_body, .n_body = 1, .close = close};
    tn_exchange_send(ex, &response);
}

/* A number of the query: /path?n=123 */
static uint64_t number(tn_exchange *ex, uint64_t otherwise)
{
    tn_str target = tn_exchange_target(ex);
    ptrdiff_t at = tn_str_chr(target, '=');
    uint64_t value;
    if (at < 0 || !tn_str_u64(tn_str_sub(target, (size_t)at + 1, target.len), &value))
        return otherwise;
    return value;
}

/* Sinks. */

static tern_code sink_reserve(tn_sink *sink, size_t want, char **room, size_t *space)
{
    request *r = TN_CONTAINER(sink, request, sink);
    tern_status st;
    *space = 0;
    if (!r->use_reserve)
        return TERN_OK;
    tern_code code = tn_region_room(&r->body, want, room, space, &st);
    r->room = *room;
    return code;
}

static tern_code sink_commit(tn_sink *sink, const char *ptr, size_t n)
{
    request *r = TN_CONTAINER(sink, request, sink);
    tern_status st;
    r->bytes += n;
    if (r->fail_at > 0 && r->bytes > r->fail_at) {
        atomic_fetch_add(&n_sink_error, 1);
        tn_buf_z(&r->text, "too much for me\n");
        if (!r->late)
            reply_text(r, 429);
        return TERN_RESOURCE_EXHAUSTED;
    }
    if (ptr == r->room && ptr != NULL) {
        r->direct += n;
        r->room = NULL;
    }
    if (r->count_only) {
        for (size_t i = 0; i < n; i++)
            r->hash = (r->hash ^ (unsigned char)ptr[i]) * UINT64_C(0x100000001b3);
        return TERN_OK;
    }
    if (r->body.ptr != NULL && ptr == r->body.ptr + r->body.len)
        return tn_region_commit(&r->body, n, &st);
    return tn_region_append(&r->body, ptr, n, &st);
}

static void sink_end(tn_sink *sink)
{
    request *r = TN_CONTAINER(sink, request, sink);
    atomic_fetch_add(&n_end, 1);
    if (r->late)
        return;
    if (r->count_only) {
        tn_buf_printf(&r->text,
                      "{\"bytes\": %" PRIu64 ", \"direct\": %" PRIu64 ", \"fnv\": \"%016" PRIx64 "\"}\n",
                      r->bytes, r->direct, r->hash);
    } else {
        r->chunks = malloc(sizeof *r->chunks);
        if (r->chunks == NULL)
            abort();
        r->chunks[0] = (tn_chunk){r->body.ptr, r->body.len};
        reply(r, 200, r->chunks, r->body.len > 0);
        return;
    }
    reply_text(r, 200);
}

static void sink_abort(tn_sink *sink)
{
    atomic_fetch_add(&n_abort, 1);
}

static request *with_sink(tn_exchange *ex)
{
    request *r = new_request(ex);
    r->sink = (tn_sink){sink_reserve, sink_commit, sink_end, sink_abort};
    r->hash = UINT64_C(0xcbf29ce484222325);
    r->use_reserve = true;
    return r;
}

/* Routes. */

static void do_ok(tn_exchange *ex)
{
    small_reply(ex, 200, false);
}

static void do_close(tn_exchange *ex)
{
    small_reply(ex, 200, true);
}

static void do_status(tn_exchange *ex)
{
    small_reply(ex, (int)number(ex, 200), false);
}

static void do_echo(tn_exchange *ex)
{
    tn_exchange_set_sink(ex, &with_sink(ex)->sink);
}

static void do_count(tn_exchange *ex)
{
    request *r = with_sink(ex);
    r->count_only = true;
    if (number(ex, 1) != 1)
        r->use_reserve = false;
    tn_exchange_set_sink(ex, &r->sink);
}

static void do_limit(tn_exchange *ex)
{
    request *r = with_sink(ex);
    r->fail_at = number(ex, 1000);
    tn_exchange_set_sink(ex, &r->sink);
}

static void answer_late(tn_timer *timer)
{
    request *r = TN_CONTAINER(timer, request, timer);
    if (r->text.len == 0)
        tn_buf_z(&r->text, "late\n");
    reply_text(r, 200);
}

static void do_slow(tn_exchange *ex)
{
    request *r = new_request(ex);
    tn_timer_start(r->loop, &r->timer, tn_now_ns() + (int64_t)number(ex, 100) * TN_NS_PER_MS, answer_late);
}

/* The sink fails at 1000 bytes, and the answer comes later. */
static void do_limit_late(tn_exchange *ex)
{
    request *r = with_sink(ex);
    r->fail_at = 1000;
    r->late = true;
    tn_exchange_set_sink(ex, &r->sink);
    tn_timer_start(r->loop, &r->timer, tn_now_ns() + (int64_t)number(ex, 100) * TN_NS_PER_MS, answer_late);
}

static void back_on_loop(tn_task *task)
{
    request *r = TN_CONTAINER(task, request, task);
    r->held = false;
    if (r->ex == NULL) {
        free_request(r);
        return;
    }
    tn_buf_z(&r->text, "from a thread\n");
    reply_text(r, 200);
}

static tn_taskq threads;

static void in_thread(tn_task *task)
{
    request *r = TN_CONTAINER(task, request, task);
    task->run = back_on_loop;
    tn_loop_post(r->loop, task);
}

static void *thread_main(void *arg)
{
    tn_task *task;
    while ((task = tn_taskq_pop(&threads)) != NULL)
        task->run(task);
    return NULL;
}

static void do_thread(tn_exchange *ex)
{
    request *r = new_request(ex);
    r->held = true;
    r->task.run = in_thread;
    if (!tn_taskq_push(&threads, &r->task, NULL)) {
        r->held = false;
        tn_buf_z(&r->text, "no\n");
        reply_text(r, 503);
    }
}

static void do_large(tn_exchange *ex)
{
    request *r = new_request(ex);
    uint64_t n = number(ex, 10000000);
    r->n_chunks = (size_t)(n / PATTERN) + 1;
    r->chunks = calloc(r->n_chunks, sizeof *r->chunks);
    if (r->chunks == NULL)
        abort();
    for (size_t i = 0; i < r->n_chunks; i++)
        r->chunks[i] = (tn_chunk){pattern, i + 1 < r->n_chunks ? PATTERN : (size_t)(n % PATTERN)};
    reply(r, 200, r->chunks, r->n_chunks);
}

static void do_headers(tn_exchange *ex)
{
    request *r = new_request(ex);
    size_t n;
    const tn_header *headers = tn_exchange_headers(ex, &n);
    tn_str method = tn_exchange_method(ex), target = tn_exchange_target(ex);
    tn_buf_printf(&r->text, "%.*s %.*s %s %lld\n", TN_FMT(method), TN_FMT(target),
                  tn_exchange_is_http2(ex) ? "h2" : "h1", (long long)tn_exchange_content_length(ex));
    for (size_t i = 0; i < n; i++)
        tn_buf_printf(&r->text, "%.*s=%.*s\n", TN_FMT(headers[i].name), TN_FMT(headers[i].value));
    reply_text(r, 200);
}

/* Answers with a request's own field, and with fields that net must leave out. */
static void do_fields(tn_exchange *ex)
{
    const tn_header headers[] = {
        {TN_STR("x-back"), tn_exchange_header(ex, "x-there")},
        {TN_STR("x-evil"), TN_STR("a\r\nx-injected: 1")},
        {TN_STR("content-length"), TN_STR("999")},
        {TN_STR("connection"), TN_STR("keep-alive")},
        {TN_STR("x-last"), TN_STR("yes")},
    };
    tn_response response = {.status = 200, .headers = headers, .n_headers = 5, .body = &ok_body, .n_body = 1};
    tn_exchange_send(ex, &response);
}

static void do_trailers(tn_exchange *ex)
{
    static const tn_header trailers[] = {{TN_STR_INIT("grpc-status"), TN_STR_INIT("0")},
                                         {TN_STR_INIT("grpc-message"), TN_STR_INIT("")}};
    tn_response response = {.status = 200,
                            .headers = plain,
                            .n_headers = 1,
                            .body = &ok_body,
                            .n_body = number(ex, 1),
                            .trailers = trailers,
                            .n_trailers = 2};
    tn_exchange_send(ex, &response);
}

static void do_trailers_only(tn_exchange *ex)
{
    static const tn_header headers[] = {{TN_STR_INIT("content-type"), TN_STR_INIT("application/grpc")},
                                        {TN_STR_INIT("grpc-status"), TN_STR_INIT("12")}};
    tn_response response = {.status = 200, .headers = headers, .n_headers = 2, .trailers_only = true};
    tn_exchange_send(ex, &response);
}

static void do_never(tn_exchange *ex)
{
    new_request(ex);
}

/* An application that wants not to be told, and answers when the client may be long gone. */
typedef struct careless {
    tn_exchange *ex;
    tn_timer timer;
} careless;

static void careless_release(void *arg, bool sent)
{
    atomic_fetch_add(sent ? &n_released : &n_unsent, 1);
    atomic_fetch_sub(&n_live, 1);
    free(arg);
}

static void answer_careless(tn_timer *timer)
{
    careless *c = TN_CONTAINER(timer, careless, timer);
    tn_response response = {
        .status = 200, .body = &ok_body, .n_body = 1, .release = careless_release, .release_arg = c};
    tn_exchange_send(c->ex, &response);
}

static void do_careless(tn_exchange *ex)
{
    careless *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    atomic_fetch_add(&n_live, 1);
    c->ex = ex;
    tn_timer_start(tn_exchange_loop(ex), &c->timer, tn_now_ns() + (int64_t)number(ex, 100) * TN_NS_PER_MS,
                   answer_careless);
}

/* Streams. */

static const tn_response stream_head = {.status = 200, .headers = plain, .n_headers = 1};

static void end_stream(request *r, bool broken)
{
    tn_exchange *ex = r->ex;
    r->ex = NULL;
    if (broken)
        tn_exchange_break(ex);
    else
        tn_exchange_finish(ex, NULL, 0);
    free_request(r);
}

/* The body back, while it comes. */
static tern_code back_commit(tn_sink *sink, const char *ptr, size_t n)
{
    request *r = TN_CONTAINER(sink, request, sink);
    if (tn_exchange_write(r->ex, ptr, n))
        return TERN_OK;
    atomic_fetch_add(&n_sink_error, 1);
    end_stream(r, true);
    return TERN_RESOURCE_EXHAUSTED;
}

static void back_end(tn_sink *sink)
{
    atomic_fetch_add(&n_end, 1);
    end_stream(TN_CONTAINER(sink, request, sink), false);
}

static void do_back(tn_exchange *ex)
{
    request *r = new_request(ex);
    r->sink = (tn_sink){.commit = back_commit, .end = back_end, .abort = sink_abort};
    tn_exchange_set_sink(ex, &r->sink);
    tn_exchange_stream(ex, &stream_head);
}

/* As many bytes as asked for, as fast as they are read. */
static void pour(void *user, tn_exchange *ex)
{
    request *r = user;
    while (r->bytes > 0) {
        size_t at = (size_t)(r->fail_at - r->bytes) % PATTERN, n = tn_exchange_room(ex);
        n = n < r->bytes ? n : (size_t)r->bytes;
        n = n < PATTERN - at ? n : PATTERN - at;
        if (n == 0 || !tn_exchange_write(ex, pattern + at, n)) {
            tn_exchange_want_room(ex, pour, r);
            return;
        }
        r->bytes -= n;
    }
    end_stream(r, false);
}

static void do_pour(tn_exchange *ex)
{
    request *r = new_request(ex);
    r->bytes = r->fail_at = number(ex, 1000000);
    tn_exchange_stream(ex, &stream_head);
    pour(r, ex);
}

/* "tick\n" every 20 ms; then the end, or where the path says so, none. */
static void drip(tn_timer *timer)
{
    request *r = TN_CONTAINER(timer, request, timer);
    if (r->bytes == 0) {
        end_stream(r, r->late);
        return;
    }
    r->bytes--;
    tn_exchange_write(r->ex, "tick\n", 5);
    tn_timer_start(r->loop, &r->timer, tn_now_ns() + 20 * TN_NS_PER_MS, drip);
}

static void do_drip(tn_exchange *ex)
{
    request *r = new_request(ex);
    r->bytes = number(ex, 3);
    tn_exchange_stream(ex, &stream_head);
    drip(&r->timer);
}

static void do_break(tn_exchange *ex)
{
    request *r = new_request(ex);
    r->bytes = number(ex, 3);
    r->late = true;
    tn_exchange_stream(ex, &stream_head);
    drip(&r->timer);
}

static int print_counts(char *text, size_t size, tn_net_counts c)
{
    return snprintf(
        text, size,
        "{\"connections_total\": %" PRIu64 ", \"connections_open\": %" PRIu64 ", \"exchanges_open\": %" PRIu64
        ", \"requests_total\": %" PRIu64 ", \"bytes_read\": %" PRIu64 ", \"bytes_written\": %" PRIu64
        ", \"protocol_errors\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"on_request\": %ld, \"gone\": %ld"
        ", \"end\": %ld, \"abort\": %ld, \"sink_error\": %ld, \"released\": %ld, \"unsent\": %ld"
        ", \"live\": %ld, \"budget\": %zu}\n",
        c.connections_total, c.connections_open, c.exchanges_open, c.requests_total, c.bytes_read,
        c.bytes_written, c.protocol_errors, c.refused_connections, atomic_load(&n_on_request),
        atomic_load(&n_gone), atomic_load(&n_end), atomic_load(&n_abort), atomic_load(&n_sink_error),
        atomic_load(&n_released), atomic_load(&n_unsent), atomic_load(&n_live), atomic_load(&budget.used));
}

static void do_stats(tn_exchange *ex)
{
    request *r = new_request(ex);
    char text[1024];
    int n = print_counts(text, sizeof text, tn_net_count(tn_loop_net(r->loop)));
    tn_buf_append(&r->text, text, (size_t)n);
    reply_text(r, 200);
}

static const struct {
    tn_str path;
    void (*run)(tn_exchange *ex);
} routes[] = {
    {TN_STR_INIT("/"), do_ok},                         /* 200 ok */
    {TN_STR_INIT("/echo"), do_echo},                   /* the body back */
    {TN_STR_INIT("/count"), do_count},                 /* ?reserve=0: no room of its own */
    {TN_STR_INIT("/limit"), do_limit},                 /* ?at=N: refuses a body longer than N at once */
    {TN_STR_INIT("/limit-late"), do_limit_late},       /* ?ms=N: refuses at 1000 bytes, answers after N ms */
    {TN_STR_INIT("/slow"), do_slow},                   /* ?ms=N */
    {TN_STR_INIT("/thread"), do_thread},               /* answered by way of another thread */
    {TN_STR_INIT("/large"), do_large},                 /* ?n=N bytes */
    {TN_STR_INIT("/headers"), do_headers},             /* what was understood */
    {TN_STR_INIT("/fields"), do_fields},               /* fields of an answer */
    {TN_STR_INIT("/trailers"), do_trailers},           /* ?n=0: without body */
    {TN_STR_INIT("/trailers-only"), do_trailers_only}, /* gRPC's */
    {TN_STR_INIT("/never"), do_never},                 /* waits for the client to go */
    {TN_STR_INIT("/careless"), do_careless},           /* ?ms=N, without on_gone */
    {TN_STR_INIT("/back"), do_back},                   /* streamed: the body, while it comes */
    {TN_STR_INIT("/pour"), do_pour},                   /* streamed: ?n=N bytes */
    {TN_STR_INIT("/drip"), do_drip},                   /* streamed: ?n=N lines, one each 20 ms */
    {TN_STR_INIT("/break"), do_break},                 /* the same, broken off */
    {TN_STR_INIT("/close"), do_close},
    {TN_STR_INIT("/status"), do_status}, /* ?n=204 */
    {TN_STR_INIT("/stats"), do_stats},
};

static void on_request(void *context, tn_exchange *ex)
{
    tn_str target = tn_exchange_target(ex);
    ptrdiff_t query = tn_str_chr(target, '?');
    tn_str path = query < 0 ? target : tn_str_sub(target, 0, (size_t)query);
    atomic_fetch_add_explicit(&n_on_request, 1, memory_order_relaxed);
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (tn_str_eq(path, routes[i].path)) {
            routes[i].run(ex);
            return;
        }
    }
    small_reply(ex, 404, false);
}

static bool set_limit(tn_limits *limits, const char *name, const char *value)
{
    int64_t number_value;
    if (!tn_str_i64(tn_str_from(value), &number_value))
        return false;
#define X(field, standard, help)                                                                             \
    if (strcmp(name, #field) == 0) {                                                                         \
        limits->field = number_value;                                                                        \
        return true;                                                                                         \
    }
    TN_LIMITS(X)
#undef X
    return false;
}

static int usage(void)
{
    fputs("usage: net_echo [--loops N] [--port N] [--unix PATH] [--LIMIT VALUE ...]\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    tern_status st;
    tn_net *net = NULL;
    tn_net_options options = {.loops = 1, .limits = tn_limits_default(), .app.on_request = on_request};
    uint64_t port = 0;
    const char *path = NULL;
    int bound = 0, caught;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (name[0] != '-' || name[1] != '-' || i + 1 == argc)
            return usage();
        const char *value = argv[++i];
        uint64_t n;
        bool is_number = tn_str_u64(tn_str_from(value), &n);
        if (strcmp(name, "--loops") == 0 && is_number)
            options.loops = (int32_t)n;
        else if (strcmp(name, "--port") == 0 && is_number)
            port = n;
        else if (strcmp(name, "--unix") == 0)
            path = value;
        else if (!set_limit(&options.limits, name + 2, value))
            return usage();
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    tn_budget_init(&budget, (size_t)4 << 30);
    pattern = malloc(PATTERN);
    if (pattern == NULL)
        abort();
    for (size_t i = 0; i < PATTERN; i++)
        pattern[i] = (char)('a' + i % 26);
    tn_taskq_init(&threads, 0);
    pthread_t thread;
    if (pthread_create(&thread, NULL, thread_main, NULL) != 0 || tn_net_new(&options, &net, &st) != TERN_OK ||
        tn_net_listen(net, "127.0.0.1", (int)port, 7, &bound, &st) != TERN_OK ||
        (path != NULL && tn_net_listen_unix(net, path, 8, &st) != TERN_OK) ||
        tn_net_start(net, &st) != TERN_OK) {
        fprintf(stderr, "net_echo: %s\n", st.message);
        return 1;
    }
    printf("port %d\n", bound);
    fflush(stdout);
    sigwait(&set, &caught);
    bool drained = tn_net_drain(net);
    tn_taskq_close(&threads);
    pthread_join(thread, NULL);
    tn_net_counts counts = tn_net_count(net);
    tn_net_free(net);
    char text[1024];
    print_counts(text, sizeof text, counts);
    printf("drained %s %s", drained ? "yes" : "no", text);
    tn_taskq_destroy(&threads);
    free(pattern);
    return 0;
}
