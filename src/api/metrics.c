/*
 * api/metrics.c - the surface of metrics: /metrics, and TensorFlow Serving's page at the path of
 * --monitoring_config_file.
 *
 * A page is written on the server's worker thread, for it may be long, and comes back to its loop. The loop
 * alone touches the exchange; a client that vanishes meanwhile leaves the page to be freed when it comes
 * back.
 */
#include "api/metrics.h"

#include <stdlib.h>

#include "api/access.h"
#include "api/http.h"
#include "api/surfaces.h"

#define PAGE_MAX (256u << 20)

typedef struct metrics_page {
    tn_task task; /* on its way to the worker, then back */
    tn_server *server;
    tn_loop *loop;
    tn_exchange *ex; /* NULL: the client is gone. Only on the loop */
    void (*write)(tn_server *server, tn_buf *out);
    tn_str content_type;
    tn_buf text;
    tn_chunk chunk;
} metrics_page;

static void on_gone(void *user, tn_exchange *ex)
{
    (void)ex;
    ((metrics_page *)user)->ex = NULL;
}

static void free_page(void *arg, bool sent)
{
    metrics_page *p = arg;
    (void)sent;
    tn_buf_free(&p->text);
    free(p);
}

/* On the loop: the page is written. */
static void answer(metrics_page *p)
{
    if (p->ex == NULL) {
        free_page(p, false);
        return;
    }
    if (p->text.failed) {
        tn_http_text(p->server, p->ex, 500, TN_STR("text/plain"),
                     TN_STR("There is no memory for all the metrics\n"), TERN_INTERNAL);
        free_page(p, false);
        return;
    }
    const tn_header type = {TN_STR("content-type"), p->content_type};
    p->chunk = (tn_chunk){p->text.ptr, p->text.len};
    const tn_response response = {.status = 200,
                                  .headers = &type,
                                  .n_headers = 1,
                                  .body = &p->chunk,
                                  .n_body = 1,
                                  .release = free_page,
                                  .release_arg = p};
    tn_access_answered(p->server, p->ex, TERN_OK);
    tn_access_send(p->server, p->ex, &response);
}

static void answer_task(tn_task *task)
{
    answer(TN_CONTAINER(task, metrics_page, task));
}

/* On the worker. */
static void write_task(tn_task *task)
{
    metrics_page *p = TN_CONTAINER(task, metrics_page, task);
    p->write(p->server, &p->text);
    p->task.run = answer_task;
    tn_loop_post(p->loop, &p->task);
}

static void begin(tn_server *server, tn_exchange *ex, void (*write)(tn_server *, tn_buf *), tn_str type)
{
    metrics_page *p = calloc(1, sizeof *p);
    if (p != NULL) {
        p->server = server;
        p->loop = tn_exchange_loop(ex);
        p->ex = ex;
        p->write = write;
        p->content_type = type;
        p->task.run = write_task;
        tn_buf_init(&p->text, PAGE_MAX);
    }
    if (p == NULL || !tn_worker_do(server->worker, &p->task)) {
        free(p);
        tn_http_text(server, ex, 503, TN_STR("text/plain"),
                     TN_STR("Too many ask for metrics; try again later\n"), TERN_UNAVAILABLE);
        return;
    }
    tn_exchange_on_gone(ex, on_gone, p);
}

/* TensorFlow Serving's library finds the page by the decoded path, the page itself wants the whole target. */
static bool serving_page(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    if (server->metrics_path.len == 0 || (server->strict && tn_exchange_listener(ex) != TN_LISTENER_REST))
        return false;
    tn_arena arena;
    tn_arena_init(&arena, (size_t)server->limits.max_request_line_bytes * 2 + 4096);
    bool found = tn_str_eq(parts->path, server->metrics_path) ||
                 (tn_str_chr(parts->path, '%') >= 0 &&
                  tn_str_eq(tn_percent_decode(parts->path, &arena), server->metrics_path));
    tn_arena_free(&arena);
    if (!found)
        return false;
    tn_str full = parts->path;
    if (parts->has_query)
        full.len += 1 + parts->query.len;
    if (!server->strict || tn_str_eq(full, server->metrics_path)) {
        begin(server, ex, tn_metrics_serving, TN_STR("text/plain"));
        return true;
    }
    tn_buf text;
    tn_buf_init(&text, 64u << 10);
    tn_buf_printf(&text, "Unexpected path: %.*s. Should be %.*s", TN_FMT(full), TN_FMT(server->metrics_path));
    tn_http_text(server, ex, 400, TN_STR("text/plain"), tn_buf_view(&text), TERN_INVALID_ARGUMENT);
    tn_buf_free(&text);
    return true;
}

bool tn_metrics_on_request(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    if (serving_page(server, ex, parts))
        return true;
    if (!tn_str_eq(parts->path, TN_STR("/metrics")))
        return false;
    begin(server, ex, tn_metrics_tern, TN_STR("text/plain; version=0.0.4; charset=utf-8"));
    return true;
}
