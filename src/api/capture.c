/* api/capture.c - see api/capture.h. */
#include "api/capture.h"

#include <stdlib.h>

#include "api/relay.h"
#include "base/beneath.h"
#include "base/clock.h"
#include "codec/capture_line.h"
#include "observe/trace.h"

#define TEXTS_MAX (16u << 10)

struct tn_tap {
    tn_capture_record record;
    tn_server *server;
    const tn_capture_settings *settings;
    tn_arena texts;
    tn_buf input, output;
    tn_str input_type, output_type, inference_id, custom_attributes;
    size_t charged;
    bool good; /* the answer's status */
    bool lost; /* too long, or no memory */
    char event_id[TN_UUID];
};

static void free_tap(tn_capture_record *record)
{
    tn_tap *tap = TN_CONTAINER(record, tn_tap, record);
    tn_budget_give(&tap->server->budget, tap->charged);
    tn_buf_free(&tap->input);
    tn_buf_free(&tap->output);
    tn_arena_free(&tap->texts);
    free(tap);
}

static tn_capture_data data_of(const tn_tap *tap, tn_str type, const tn_buf *data)
{
    tn_str bytes = tn_buf_view(data);
    return (tn_capture_data){
        .content_type = type,
        .data = bytes,
        .encoding = tn_capture_encoding_of(type, tap->settings->csv_types, tap->settings->json_types, bytes)};
}

static void write_line(tn_capture_record *record, tn_buf *out)
{
    const tn_tap *tap = TN_CONTAINER(record, tn_tap, record);
    const tn_capture_line line = {.input = data_of(tap, tap->input_type, &tap->input),
                                  .output = data_of(tap, tap->output_type, &tap->output),
                                  .event_id = {tap->event_id, sizeof tap->event_id},
                                  .inference_id = tap->inference_id,
                                  .custom_attributes = tap->custom_attributes,
                                  .wall_ns = record->wall_ns};
    tn_capture_line_write(&line, out);
}

static bool is_drawn(const tn_capture_settings *settings)
{
    return (double)(tn_random() >> 11) * 0x1p-53 < settings->share;
}

tn_tap *tn_tap_open(tn_server *server, const tn_exchange *ex, tn_str endpoint, tn_str variant)
{
    const tn_capture_settings *settings = server->capture;
    if (settings == NULL || !is_drawn(settings))
        return NULL;
    tn_tap *tap = calloc(1, sizeof *tap);
    if (tap == NULL)
        return NULL;
    tap->server = server;
    tap->settings = settings;
    tn_arena *texts = &tap->texts;
    tn_arena_init(texts, TEXTS_MAX);
    tn_buf_init(&tap->input, (size_t)server->limits.max_capture_bytes);
    tn_buf_init(&tap->output, (size_t)server->limits.max_capture_bytes);
    tap->input_type = tn_arena_dup(texts, tn_str_sub(tn_exchange_header(ex, "content-type"), 0, 1024));
    tap->inference_id =
        tn_arena_dup(texts, tn_str_sub(tn_exchange_header(ex, "x-amzn-sagemaker-inference-id"), 0, 1024));
    tap->custom_attributes = tn_arena_dup(
        texts, tn_str_sub(tn_exchange_header(ex, "x-amzn-sagemaker-custom-attributes"), 0, 1024));
    char *folder = tn_arena_alloc(texts, 2 * TN_BENEATH_NAME + 1);
    if (folder != NULL) {
        size_t n = tn_beneath_name(endpoint, folder);
        folder[n++] = '/';
        n += tn_beneath_name(variant, folder + n);
        tap->record.folder = (tn_str){folder, n};
    }
    tap->record.wall_ns = tn_wall_ns();
    tap->record.write = write_line;
    tap->record.free = free_tap;
    tap->lost = folder == NULL;
    tn_uuid(tap->event_id);
    return tap;
}

static void keep(tn_tap *tap, tn_buf *into, const void *bytes, size_t n)
{
    if (tap == NULL || tap->lost || n == 0)
        return;
    if (n > into->max - into->len || !tn_budget_take(&tap->server->budget, n)) {
        tap->lost = true;
        return;
    }
    tap->charged += n;
    tn_buf_append(into, bytes, n);
    tap->lost = into->failed;
}

void tn_tap_input(tn_tap *tap, const void *bytes, size_t n)
{
    if (tap != NULL)
        keep(tap, &tap->input, bytes, n);
}

void tn_tap_head(tn_tap *tap, const tn_response *response)
{
    if (tap == NULL)
        return;
    tap->good = response->status >= 200 && response->status < 300;
    for (size_t i = 0; i < response->n_headers; i++)
        if (tn_str_eq(response->headers[i].name, TN_STR("content-type")))
            tap->output_type = tn_arena_dup(&tap->texts, tn_str_sub(response->headers[i].value, 0, 1024));
}

void tn_tap_output(tn_tap *tap, const void *bytes, size_t n)
{
    if (tap != NULL && tap->good)
        keep(tap, &tap->output, bytes, n);
}

void tn_tap_close(tn_tap *tap, bool complete)
{
    if (tap == NULL)
        return;
    tn_capture *writer = tap->settings->writer;
    if (complete && tap->good && !tap->lost) {
        tap->record.bytes = sizeof *tap + tap->input.len + tap->output.len;
        tn_capture_put(writer, &tap->record);
        return;
    }
    if (tap->lost)
        tn_capture_dropped(writer);
    free_tap(&tap->record);
}

void tn_tap_answer(tn_tap *tap, const tn_response *response)
{
    tn_tap_head(tap, response);
    for (size_t i = 0; tap != NULL && i < response->n_body; i++)
        tn_tap_output(tap, response->body[i].ptr, response->body[i].len);
    tn_tap_close(tap, true);
}

/* ---- The container's own paths ---- */

typedef struct tapped {
    tn_relay relay;
    tn_tap *tap;
} tapped;

static tapped *tapped_of(const tn_relay *relay)
{
    return (tapped *)((uintptr_t)relay - offsetof(tapped, relay));
}

static bool tapped_send(tn_relay *relay, const tn_response *response)
{
    tapped *t = tapped_of(relay);
    tn_tap_answer(t->tap, response);
    t->tap = NULL;
    return tn_relay_pass_send(relay, response);
}

static void tapped_stream(tn_relay *relay, const tn_response *head)
{
    tn_tap_head(tapped_of(relay)->tap, head);
    tn_relay_pass_stream(relay, head);
}

static bool tapped_write(tn_relay *relay, const void *bytes, size_t n)
{
    bool taken = tn_relay_pass_write(relay, bytes, n);
    if (taken)
        tn_tap_output(tapped_of(relay)->tap, bytes, n);
    return taken;
}

static void tapped_finish(tn_relay *relay, bool broken)
{
    tapped *t = tapped_of(relay);
    tn_tap_close(t->tap, !broken);
    t->tap = NULL;
    tn_relay_pass_finish(relay, broken);
}

static void tapped_body(tn_relay *relay, const char *bytes, size_t n)
{
    tn_tap_input(tapped_of(relay)->tap, bytes, n);
}

static void tapped_free(tn_relay *relay)
{
    tapped *t = tapped_of(relay);
    tn_tap_close(t->tap, false);
    free(t);
}

static const tn_relay_kind tapped_kind = {.send = tapped_send,
                                          .stream = tapped_stream,
                                          .write = tapped_write,
                                          .room = tn_relay_pass_room,
                                          .finish = tapped_finish,
                                          .free = tapped_free,
                                          .body = tapped_body};

/* Whose data it is: the model in the path, or the default one. */
static bool invoked(const tn_server *server, tn_str path, tn_str *name)
{
    static const tn_str prefix = TN_STR_INIT("/models/"), suffix = TN_STR_INIT("/invoke");
    *name = server->default_model;
    if (tn_str_eq(path, TN_STR("/invocations")))
        return true;
    if (path.len <= prefix.len + suffix.len || !tn_str_starts(path, prefix) || !tn_str_ends(path, suffix))
        return false;
    *name = tn_str_sub(path, prefix.len, path.len - suffix.len);
    return true;
}

bool tn_capture_route(tn_server *server, tn_exchange *ex, const tn_target_parts *parts,
                      void (*route)(tn_server *server, tn_exchange *ex))
{
    tn_str name;
    if (server->capture == NULL || tn_exchange_is_inner(ex) ||
        !tn_str_eq(tn_exchange_method(ex), TN_STR("POST")) || !invoked(server, parts->path, &name))
        return false;
    tn_tap *tap = tn_tap_open(server, ex, name.len > 0 ? name : TN_STR("endpoint"), TN_STR("AllTraffic"));
    tapped *t = tap != NULL ? calloc(1, sizeof *t) : NULL;
    tn_inner inner = {.method = tn_exchange_method(ex), .target = tn_exchange_target(ex)};
    inner.headers = tn_exchange_headers(ex, &inner.n_headers);
    if (t == NULL || !tn_relay_begin(&t->relay, server, &tapped_kind, ex, &inner)) {
        tn_tap_close(tap, false);
        free(t);
        return false;
    }
    t->tap = tap;
    tn_relay_enter(&t->relay);
    tn_exchange_inner_begin(t->relay.inner);
    route(server, t->relay.inner);
    tn_relay_leave(&t->relay);
    return true;
}
