/*
 * api/sagemaker_proxy.c - the proxy form: what nginx's JavaScript answers where there is no code
 * (api/sagemaker.h).
 *
 * A body becomes the text of a REST request (codec/sagemaker_json.h, sagemaker_csv.h), whose target the
 * attributes name, and goes the way of TensorFlow Serving's REST API inside this process; what that says
 * comes back through proxy_surface. Conversions and changes of answers run where the call is decoded and
 * encoded, so that large ones never hold up a loop. Beyond the container: an npy array in, and for that an
 * npy array out.
 */
#include "api/accept.h"
#include "api/sagemaker.h"
#include "api/surfaces.h"
#include "api/tfserving_rest.h"
#include "codec/js_text.h"
#include "codec/json.h"
#include "codec/proxy_uri.h"
#include "codec/sagemaker_attributes.h"
#include "codec/sagemaker_csv.h"
#include "codec/sagemaker_json.h"

#define NPY_MAGIC   "\x93NUMPY"
#define GROWTH      6 /* a converted body is at most so many times as long */
#define STATUS_MAX  (16u << 20)
#define MODELS_PATH "/tfs/v1/models/"

typedef enum body_form { FORM_JSON, FORM_CSV, FORM_NPY } body_form;

/* tn_request.surface_state */
typedef struct proxy_state {
    tn_rest_state rest;
    tn_str target;                /* of the REST request; absent: nginx would refuse it */
    tn_str type;                  /* of a JSON answer */
    tn_str unsupported, own_type; /* body and type of a 415, should an npy be none */
    bool one_line;                /* the answer's line ends are taken out */
    bool by_field;                /* CSV: from 2.20 on */
    bool no_body;                 /* not even an empty one */
    body_form form;
} proxy_state;

/* ---- which model ---- */

/* /\/models\/[^,]+\/invoke/ */
static bool names_model(tn_str path)
{
    static const tn_str before = TN_STR_INIT("/models/"), after = TN_STR_INIT("/invoke");
    for (ptrdiff_t at; (at = tn_str_find(path, before)) >= 0;) {
        path = tn_str_sub(path, (size_t)at + before.len, path.len);
        const ptrdiff_t comma = tn_str_chr(path, ',');
        const tn_str tail = comma >= 0 ? tn_str_sub(path, 0, (size_t)comma) : path;
        if (tail.len > 1 && tn_str_find(tn_str_sub(tail, 1, tail.len), after) >= 0)
            return true;
        path.ptr--; /* its slash may begin the next one */
        path.len++;
    }
    return false;
}

/* The text without the first of these words. */
static tn_str without(tn_str text, tn_str word, tn_arena *arena)
{
    const ptrdiff_t at = tn_str_find(text, word);
    if (at < 0)
        return text;
    const tn_str tail = tn_str_sub(text, (size_t)at + word.len, text.len);
    return tn_arena_printf(arena, "%.*s%.*s", (int)at, text.ptr, TN_FMT(tail));
}

/*
 * Where "/models/X/invoke" is in the path, what is left of it without these two words is the name; else
 * absent.
 */
static tn_str name_in_path(tn_str path, tn_arena *arena)
{
    if (!names_model(path))
        return TN_STR_NONE;
    return without(without(path, TN_STR("/models/"), arena), TN_STR("/invoke"), arena);
}

/* What is wrong with the attributes, from 2.20 on; NULL: nothing. */
static const char *fault_of(const tn_sagemaker_attributes *a, bool with_method)
{
    if (a->model_name.ptr != NULL && !tn_sagemaker_is_name(a->model_name))
        return "invalid tfs-model-name";
    if (a->model_version.ptr != NULL && !tn_sagemaker_is_version(a->model_version))
        return "invalid tfs-model-version";
    if (with_method && a->method.ptr != NULL && !tn_sagemaker_is_method(a->method))
        return "invalid tfs-method";
    return NULL;
}

/* The header as JavaScript's text. */
static tn_str attributes_text(const tn_exchange *ex, tn_arena *arena)
{
    tn_str header = tn_sagemaker_header(ex, "x-amzn-sagemaker-custom-attributes", arena);
    if (tn_js_valid(header) == header.len)
        return header;
    char *good = tn_arena_alloc(arena, 3 * header.len);
    size_t n = 0;
    while (good != NULL && header.len > 0) {
        const tn_str part = tn_js_part(&header);
        memcpy(good + n, part.ptr, part.len);
        n += part.len;
    }
    return (tn_str){good, n};
}

/* "/v1/models/NAME..." as nginx passes on what the code asks for; absent where it refuses that. */
static tn_str passed_on(tn_str uri, tn_arena *arena)
{
    static const tn_str prefix = TN_STR_INIT("/tfs");
    const ptrdiff_t mark = tn_str_chr(uri, '?');
    const tn_str query = mark >= 0 ? tn_str_sub(uri, (size_t)mark + 1, uri.len) : TN_STR_NONE;
    const tn_str path = mark >= 0 ? tn_str_sub(uri, 0, (size_t)mark) : uri;
    char *inner = tn_arena_alloc(arena, path.len + 1);
    size_t n;
    if (path.ptr == NULL || inner == NULL || !tn_proxy_uri_inner(path, inner, &n))
        return TN_STR_NONE;
    return tn_sagemaker_inner_target(arena, tn_str_sub((tn_str){inner, n}, prefix.len, n), query);
}

/*
 * The target for TensorFlow Serving, in the arena: absent where nginx refuses it. *fault: see fault_of().
 */
static tn_str target_of(tn_server *server, tn_exchange *ex, tn_str path, bool with_method, tn_arena *arena,
                        const char **fault)
{
    const tn_sagemaker *sm = server->sagemaker;
    const tn_sagemaker_attributes a = tn_sagemaker_attributes_read(attributes_text(ex, arena));
    *fault = sm->generation >= TN_SAGEMAKER_2_20 ? fault_of(&a, with_method) : NULL;
    tn_str name = a.model_name.ptr != NULL ? a.model_name : name_in_path(path, arena);
    if (name.ptr == NULL)
        name = sm->default_model;
    const tn_str method = !with_method ? TN_STR("") : a.method.ptr != NULL ? a.method : TN_STR("predict");
    return passed_on(tn_arena_printf(arena, MODELS_PATH "%.*s%s%.*s%s%.*s", TN_FMT(name),
                                     a.model_version.ptr != NULL ? "/versions/" : "", TN_FMT(a.model_version),
                                     with_method ? ":" : "", TN_FMT(method)),
                     arena);
}

/* ---- /ping ---- */

/* Up to 2.19 nothing is escaped. */
static void put_error(tn_buf *body, bool old, tn_str why)
{
    tn_buf_init(body, why.len * 6 + 64);
    tn_buf_z(body, old ? "{\"error\": \"" : "{\"error\":");
    if (old)
        tn_buf_str(body, why);
    else
        tn_json_quote(body, why);
    tn_buf_z(body, old ? "\"}" : "}");
}

/* An error of the code's own; up to 2.19 its Content-Type is nginx's. */
static void answer_error(tn_server *server, tn_exchange *ex, tn_str path, int status, tn_str why)
{
    const bool old = server->sagemaker->generation < TN_SAGEMAKER_2_20;
    tn_buf body;
    put_error(&body, old, why);
    tn_http_text(server, ex, status, old ? tn_sagemaker_type(path) : TN_STR("application/json"),
                 tn_buf_view(&body), TERN_INVALID_ARGUMENT);
    tn_buf_free(&body);
}

/* 200 while some version of the model is AVAILABLE, which "AVAILABLE" in its status tells. */
static void answer_ping(tn_server *server, tn_exchange *ex, tn_str path)
{
    tn_arena arena;
    tn_buf status;
    tern_status st;
    const char *fault;
    tn_arena_init(&arena, STATUS_MAX);
    tn_buf_init(&status, STATUS_MAX);
    const tn_str target = target_of(server, ex, path, false, &arena, &fault);
    if (fault != NULL)
        answer_error(server, ex, path, 400, tn_str_from(fault));
    else if (target.ptr == NULL)
        tn_sagemaker_refuse(server, ex, 500,
                            "Internal Server Error: the model's name leads out of its folder");
    else if (tn_rest_get(server, target, &arena, &status, &st) == TERN_OK &&
             tn_str_find(tn_buf_view(&status), TN_STR("\"AVAILABLE\"")) >= 0)
        tn_http_text(server, ex, 200, tn_sagemaker_type(path), TN_STR(""), TERN_OK);
    else
        tn_sagemaker_refuse(server, ex, 502, "Bad Gateway: the model cannot answer");
    tn_buf_free(&status);
    tn_arena_free(&arena);
}

/* ---- /invocations: bodies ---- */

static tern_code convert(tn_request *r, tern_status *st)
{
    const proxy_state *state = r->surface_state;
    tn_str text = state->no_body ? TN_STR("undefined") : tn_region_view(&r->body);
    const size_t most = text.len * GROWTH + 64;
    tn_region repaired, made;
    tn_region_init(&repaired, &r->server->budget, text.len, 3 * text.len + 1);
    tn_region_init(&made, &r->server->budget, text.len + 64, 3 * most);
    tern_code code = TERN_OK;
    if (tn_js_valid(text) < text.len) {
        code = tn_js_repair(text, &repaired, st);
        text = tn_region_view(&repaired);
        tn_region_free(&r->body);
    }
    tn_sagemaker_json form = TN_SAGEMAKER_JSON_ONE;
    if (code == TERN_OK && state->form == FORM_CSV)
        code = tn_sagemaker_csv_convert(text, state->by_field, &made, st);
    else if (code == TERN_OK && (form = tn_sagemaker_json_look(text)) != TN_SAGEMAKER_JSON_AS_IS)
        code = tn_sagemaker_json_convert(text, form, &made, st);
    if (code == TERN_OK && made.ptr != NULL) {
        tn_region_free(&r->body);
        r->body = made;
        tn_region_init(&made, NULL, 0, 0);
    } else if (code == TERN_OK && repaired.ptr != NULL) {
        r->body = repaired;
        tn_region_init(&repaired, NULL, 0, 0);
    }
    tn_region_free(&repaired);
    tn_region_free(&made);
    return code;
}

static void on_body(tn_request *r)
{
    proxy_state *state = r->surface_state;
    const bool npy = state->form == FORM_NPY;
    if (npy && !tn_str_starts(tn_region_view(&r->body), TN_STR(NPY_MAGIC))) {
        const tn_header type = {TN_STR("content-type"), state->own_type};
        tn_response response = {.status = 415, .headers = &type, .n_headers = 1};
        tn_request_send_text(r, &response, state->unsupported, TERN_INVALID_ARGUMENT);
        return;
    }
    if (!npy)
        state->rest.prepare = convert;
    tn_rest_run(r, state->target);
}

/* ---- /invocations: answers ---- */

/* Takes line ends out, in place; returns what is left. */
static size_t without_lines(char *text, size_t n)
{
    char *to = text, *from = text, *end = text + n;
    while (from < end) {
        char *line_end = memchr(from, '\n', (size_t)(end - from));
        const size_t part = (size_t)((line_end != NULL ? line_end : end) - from);
        memmove(to, from, part);
        to += part;
        from += part + 1;
    }
    return (size_t)(to - text);
}

/* The code has answers as JavaScript's text, and sends that. */
static tern_code finish(tn_request *r, tern_status *st)
{
    const proxy_state *state = r->surface_state;
    tn_str text = tn_buf_view(&r->out);
    if (tn_js_valid(text) < text.len) {
        tn_buf good;
        tn_buf_init(&good, r->out.max);
        while (text.len > 0)
            tn_buf_str(&good, tn_js_part(&text));
        tn_buf_free(&r->out);
        r->out = good;
        if (good.failed)
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "The answer is larger than --max_response_bytes");
    }
    if (state->one_line)
        r->out.len = without_lines(r->out.ptr, r->out.len);
    r->chunk = (tn_chunk){r->out.ptr, r->out.len};
    return TERN_OK;
}

static void proxy_answer(tn_request *r)
{
    proxy_state *state = r->surface_state;
    if (state->rest.answer.chunks == &r->chunk)
        state->rest.answer.content_type = state->type;
    tn_http_request_send(r, &state->rest.answer);
}

/* The code turns the first \'instances\' of a 400 into 'instances'. */
static void mend_instances(tn_buf *body)
{
    static const tn_str broken = TN_STR_INIT("\\'instances\\'"), good = TN_STR_INIT("'instances'");
    const ptrdiff_t at = tn_str_find(tn_buf_view(body), broken);
    if (at < 0)
        return;
    char *from = body->ptr + at;
    memmove(from + good.len, from + broken.len, body->len - (size_t)at - broken.len);
    memcpy(from, good.ptr, good.len);
    body->len -= broken.len - good.len;
}

static void proxy_error(tn_request *r, const tern_status *st)
{
    const proxy_state *state = r->surface_state;
    const int status = tn_code_http(st->code);
    const tn_header headers[] = {{TN_STR("content-type"), state->type}, {TN_STR("retry-after"), TN_STR("1")}};
    tn_response response = {
        .status = status, .headers = headers, .n_headers = status == 429 || status == 503 ? 2 : 1};
    tn_buf raw, body;
    tn_buf_init(&raw, tn_http_request_error_bound(r, st));
    tn_buf_init(&body, 3 * raw.max);
    if (st->length > 0)
        tn_http_request_error_body(r, st, &raw);
    for (tn_str rest = tn_buf_view(&raw); rest.len > 0;)
        tn_buf_str(&body, tn_js_part(&rest));
    if (status == 400)
        mend_instances(&body);
    if (state->one_line)
        body.len = without_lines(body.ptr, body.len);
    tn_request_send_text(r, &response, tn_buf_view(&body), st->code);
    tn_buf_free(&raw);
    tn_buf_free(&body);
}

static const tn_surface proxy_surface = {.answer = proxy_answer, .error = proxy_error};

/* ---- /invocations: heads ---- */

/*
 * What the answer looks like: one line and another type, where Accept names application/json or /jsonlines.
 */
static void read_accept(const tn_sagemaker *sm, tn_str accept, proxy_state *state, tn_arena *arena)
{
    const bool old = sm->generation < TN_SAGEMAKER_2_20;
    if (accept.ptr == NULL)
        return;
    if (old) { /* the first blank goes, and no other */
        accept = tn_js_trim(accept);
        const ptrdiff_t blank = tn_str_chr(accept, ' ');
        if (blank >= 0)
            accept = tn_arena_printf(arena, "%.*s%.*s", (int)blank, accept.ptr,
                                     TN_FMT(tn_str_sub(accept, (size_t)blank + 1, accept.len)));
    }
    tn_str first = TN_STR_NONE;
    for (tn_str rest = accept; rest.ptr != NULL;) {
        const ptrdiff_t comma = tn_str_chr(rest, ',');
        tn_str one = comma >= 0 ? tn_str_sub(rest, 0, (size_t)comma) : rest;
        rest = comma >= 0 ? tn_str_sub(rest, (size_t)comma + 1, rest.len) : TN_STR_NONE;
        one = old ? one : tn_js_trim(one);
        if (first.ptr == NULL)
            first = one;
        if (tn_str_eq(one, TN_STR("application/json")) || tn_str_eq(one, TN_STR("application/jsonlines")))
            state->one_line = true;
    }
    /* An empty type is none: nginx's own stays. */
    if (state->one_line && (!old || first.len > 0))
        state->type = old ? tn_arena_dup(arena, first) : TN_STR("application/json");
}

/* The header's words as they count: from 2.20 on without parameters, and capitals are small letters. */
static tn_str content_type(bool old, tn_str header)
{
    const ptrdiff_t end = tn_str_chr(header, ';');
    return old ? header : tn_js_trim(end >= 0 ? tn_str_sub(header, 0, (size_t)end) : header);
}

static bool form_of(tn_str type, bool old, body_form *form)
{
    static const struct {
        tn_str type;
        body_form form;
    } known[] = {{TN_STR_INIT("application/json"), FORM_JSON},
                 {TN_STR_INIT("application/jsonlines"), FORM_JSON},
                 {TN_STR_INIT("application/jsons"), FORM_JSON},
                 {TN_STR_INIT("text/csv"), FORM_CSV}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (old ? tn_str_eq(type, known[i].type) : tn_str_ieq(type, known[i].type)) {
            *form = known[i].form;
            return true;
        }
    *form = FORM_NPY;
    return tn_media_of(type) == TN_MEDIA_NPY;
}

/* Whether the client wants an npy, where it may have one. */
static bool wants_npy(const tn_sagemaker *sm, tn_str accept, body_form form)
{
    tn_accept media;
    if (form != FORM_NPY && !sm->extras)
        return false;
    tn_accept_init(&media);
    if (accept.ptr != NULL)
        tn_accept_add(&media, accept);
    return tn_accept_choose(&media, TN_MEDIA_JSON) == TN_MEDIA_NPY;
}

/* What the head says. NULL: no memory. *fault: see fault_of(). */
static proxy_state *read_head(tn_server *server, tn_exchange *ex, tn_str path, body_form form,
                              tn_arena *arena, const char **fault)
{
    const tn_sagemaker *sm = server->sagemaker;
    proxy_state *state = tn_arena_zalloc(arena, sizeof *state);
    if (state == NULL)
        return NULL;
    state->form = form;
    state->type = state->own_type = tn_sagemaker_type(path);
    state->by_field = sm->generation >= TN_SAGEMAKER_2_20;
    state->no_body = !tn_exchange_is_http2(ex) && !tn_exchange_is_inner(ex) &&
                     tn_exchange_header(ex, "content-length").ptr == NULL &&
                     tn_exchange_header(ex, "transfer-encoding").ptr == NULL;
    state->target = target_of(server, ex, path, true, arena, fault);
    const tn_str accept = tn_sagemaker_header(ex, "accept", arena);
    read_accept(sm, accept, state, arena);
    state->rest.wants = (tn_rest_wants){.body = form == FORM_NPY ? TN_MEDIA_NPY : TN_MEDIA_JSON,
                                        .answer = wants_npy(sm, accept, form) ? TN_MEDIA_NPY : TN_MEDIA_JSON};
    state->rest.finish = finish;
    return state;
}

/* unsupported: the 415 that an npy gets which is none. */
static void start(tn_server *server, tn_exchange *ex, tn_str path, body_form form, tn_str unsupported)
{
    tn_request *r = tn_request_new(server, ex, &proxy_surface, tn_rest_predict_steps());
    const char *fault = NULL;
    if (r == NULL)
        return;
    proxy_state *state = read_head(server, ex, path, form, &r->call.arena, &fault);
    const bool nothing = state != NULL && state->no_body && form == FORM_CSV;
    if (state != NULL && !nothing && fault == NULL && state->target.ptr != NULL) {
        state->unsupported = tn_arena_dup(&r->call.arena, unsupported);
        if (server->sagemaker->generation >= TN_SAGEMAKER_2_20)
            state->own_type = TN_STR("application/json");
        r->surface_state = state;
        tn_request_read_body(r, on_body);
        return;
    }
    r->ex = NULL;
    if (state == NULL)
        tn_sagemaker_refuse(server, ex, 503, "No memory for this request; try again later");
    else if (nothing)
        tn_sagemaker_refuse(server, ex, 500, "Internal Server Error: text/csv without a body");
    else if (fault != NULL)
        answer_error(server, ex, path, 400, tn_str_from(fault));
    else
        tn_sagemaker_refuse(server, ex, 500,
                            "Internal Server Error: the model's name leads out of its folder");
    tn_request_drop(r);
}

/* A type that the model's C handler takes goes there; in the container there is no such thing. */
static bool call_handler(tn_server *server, tn_exchange *ex, tn_str path, tn_arena *arena)
{
    const tn_sagemaker_attributes a =
        tn_sagemaker_attributes_read(tn_exchange_header(ex, "x-amzn-sagemaker-custom-attributes"));
    tn_str name = a.model_name.ptr != NULL ? a.model_name : name_in_path(path, arena);
    if (name.ptr == NULL)
        name = server->sagemaker->default_model;
    return tn_document_take(server, ex, name, a.model_version);
}

/* "Unsupported Media Type: X". The buffer is the caller's to free. */
static void put_unsupported(tn_buf *why, bool old, tn_str type)
{
    tn_buf_init(why, type.len + 64);
    tn_buf_z(why, "Unsupported Media Type: ");
    tn_buf_str(why, type.len > 0 ? type : TN_STR("Unknown"));
    for (size_t i = why->len - type.len; !old && type.len > 0 && i < why->len; i++)
        if (why->ptr[i] >= 'A' && why->ptr[i] <= 'Z')
            why->ptr[i] = (char)(why->ptr[i] | 0x20);
}

static void invoke(tn_server *server, tn_exchange *ex, tn_str path)
{
    const bool old = server->sagemaker->generation < TN_SAGEMAKER_2_20;
    const tn_str type = content_type(old, tn_exchange_header(ex, "content-type"));
    body_form form;
    const bool known = form_of(type, old, &form);
    tn_arena arena; /* holds nothing, but for paths that name a model */
    tn_arena_init(&arena, (size_t)server->limits.max_request_line_bytes * 4 + 4096);
    const bool taken = call_handler(server, ex, path, &arena);
    tn_arena_free(&arena);
    if (taken)
        return;
    if (known && form != FORM_NPY) {
        start(server, ex, path, form, TN_STR(""));
        return;
    }
    tn_buf why, body;
    put_unsupported(&why, old, type);
    if (known) {
        put_error(&body, old, tn_buf_view(&why));
        start(server, ex, path, form, tn_buf_view(&body));
        tn_buf_free(&body);
    } else {
        answer_error(server, ex, path, 415, tn_buf_view(&why));
    }
    tn_buf_free(&why);
}

bool tn_sagemaker_proxy(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    if (tn_str_starts(parts->path, TN_STR("/ping")))
        answer_ping(server, ex, parts->path);
    else if (tn_str_starts(parts->path, TN_STR("/invocations")))
        invoke(server, ex, parts->path);
    else /* /models, which the service would answer */
        tn_sagemaker_refuse(server, ex, 502, "Bad Gateway: several models need SAGEMAKER_MULTI_MODEL=true");
    return true;
}
