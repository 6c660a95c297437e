/*
 * api/script_frames.c - frames of script calls: what a script is told, and what it answered. See
 * api/script_inside.h.
 */
#include "api/sagemaker_service.h"
#include "api/script_inside.h"

#include <stdlib.h>

/* What a field takes beside its bytes, at most. */
#define FIELD_EXTRA 16
#define FIELDS_MAX  32

/* ---- the request ---- */

static tn_str header(tn_script_request *s, const tn_exchange *ex, const char *name)
{
    tn_buf room;
    tn_buf_init(&room, (size_t)s->r->server->limits.max_header_bytes);
    tn_str value = tn_service_header(ex, name, &room);
    if (value.ptr != NULL)
        value = tn_arena_dup(&s->r->call.arena, value);
    tn_buf_free(&room);
    return value;
}

/* "application/json" for a field that is absent or empty. */
static tn_str or_json(tn_str value)
{
    return value.len > 0 ? value : TN_STR("application/json");
}

static bool copy(tn_script_request *s, tn_str value, tn_str *out)
{
    *out = value.ptr != NULL ? tn_arena_dup(&s->r->call.arena, value) : TN_STR_NONE;
    return value.ptr == NULL || out->ptr != NULL;
}

static bool make_address(tn_script_request *s, const tn_script_target *target)
{
    tn_arena *arena = &s->r->call.arena;
    tn_buf path, sent;
    const size_t most = (size_t)s->r->server->limits.max_header_bytes * 4 + 4096;
    tn_buf_init(&path, most);
    tn_buf_init(&sent, most);
    tn_service_rest_path(&path, target->model, &target->attributes);
    tn_service_target(&sent, tn_buf_view(&path), true);
    s->rest_uri =
        tn_arena_printf(arena, "http://localhost:%d%.*s", target->rest_port, TN_FMT(tn_buf_view(&path)));
    s->target = tn_arena_dup(arena, tn_buf_view(&sent));
    s->grpc_port = tn_arena_printf(arena, "%d", target->grpc_port);
    bool good = !path.failed && !sent.failed && s->rest_uri.ptr != NULL && s->target.ptr != NULL &&
                s->grpc_port.ptr != NULL;
    tn_buf_free(&path);
    tn_buf_free(&sent);
    return good;
}

bool tn_script_read_head(tn_script_request *s, const tn_exchange *ex, const tn_script_target *target)
{
    s->content_type = or_json(header(s, ex, "content-type"));
    s->accept = or_json(header(s, ex, "accept"));
    s->attributes = header(s, ex, "x-amzn-sagemaker-custom-attributes");
    return copy(s, target->model, &s->model) && copy(s, target->context_model, &s->context_model) &&
           copy(s, target->attributes.model_version, &s->version) &&
           copy(s, target->attributes.method, &s->method) && make_address(s, target);
}

/* ---- CALL ---- */

static size_t context_bytes(const tn_script_request *s)
{
    return 2 * TN_FRAME_HEAD + FIELDS_MAX * FIELD_EXTRA + s->context_model.len + s->version.len +
           s->method.len + s->rest_uri.len + s->grpc_port.len + s->attributes.len + s->content_type.len +
           s->accept.len + sizeof(tn_frame_ref) + 3 * sizeof(uint64_t);
}

tern_code tn_script_frame_room(tn_script_request *s, size_t more, tern_status *st)
{
    const size_t want = context_bytes(s) + more;
    if (want > TN_FRAME_MAX)
        return tern_fail(
            st, TERN_INVALID_ARGUMENT,
            "The header fields of the request are too long for a handler script: %zu bytes, which "
            "must be at most %zu",
            want, TN_FRAME_MAX);
    if (s->frame_cap >= want)
        return TERN_OK;
    char *grown = realloc(s->frame, want);
    if (grown == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a request; try again later");
    s->frame = grown;
    s->frame_cap = want;
    return TERN_OK;
}

static void put_text(tn_frame_writer *w, uint16_t tag, tn_str text)
{
    if (text.ptr != NULL)
        tn_frame_put(w, tag, text);
}

static tn_str make_context(tn_script_request *s)
{
    tn_frame_writer w;
    const size_t most = context_bytes(s);
    char *text = tn_arena_alloc(&s->r->call.arena, most);
    if (text == NULL)
        return TN_STR_NONE;
    tn_frame_begin(&w, text, most, TN_FRAME_CALL, 0);
    put_text(&w, TN_SCRIPT_MODEL, s->context_model);
    put_text(&w, TN_SCRIPT_VERSION, s->version);
    put_text(&w, TN_SCRIPT_METHOD, s->method);
    put_text(&w, TN_SCRIPT_REST_URI, s->rest_uri);
    put_text(&w, TN_SCRIPT_GRPC_PORT, s->grpc_port);
    put_text(&w, TN_SCRIPT_ATTRIBUTES, s->attributes);
    put_text(&w, TN_SCRIPT_CONTENT_TYPE, s->content_type);
    put_text(&w, TN_SCRIPT_ACCEPT, s->accept);
    return (tn_str){text, tn_frame_end(&w)};
}

static tern_code put_context(tn_script_request *s, tn_frame_writer *w, tern_status *st)
{
    if (s->context.ptr == NULL)
        s->context = make_context(s);
    if (s->context.ptr == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a request; try again later");
    tn_frame_put(w, TN_SCRIPT_CONTEXT, s->context);
    tn_frame_put_u64(w, TN_SCRIPT_LENGTH, s->body_len);
    return TERN_OK;
}

static tern_code end_frame(tn_script_request *s, tn_frame_writer *w, tern_status *st)
{
    s->job.frame = s->frame;
    s->job.frame_len = tn_frame_end(w);
    return s->job.frame_len > 0 ? TERN_OK
                                : tern_fail(st, TERN_INTERNAL, "A frame for a handler script did not fit");
}

tern_code tn_script_write_start(tn_script_request *s, tern_status *st)
{
    tn_frame_writer w;
    const tn_str body = s->body == NULL ? tn_region_view(&s->r->body) : TN_STR_NONE;
    tern_code code = tn_script_frame_room(s, body.len, st);
    if (code != TERN_OK)
        return code;
    tn_frame_begin(&w, s->frame, s->frame_cap, TN_FRAME_CALL, 0);
    tn_frame_put_u64(&w, TN_SCRIPT_STAGE, TN_SCRIPT_STAGE_START);
    if ((code = put_context(s, &w, st)) != TERN_OK)
        return code;
    if (s->body != NULL)
        tn_frame_put_ref(&w, TN_SCRIPT_BODY_REF, &(tn_frame_ref){s->body->id, 0, s->body_len});
    else
        tn_frame_put(&w, TN_SCRIPT_BODY, body);
    return end_frame(s, &w, st);
}

void tn_script_put_outputs(const tn_script_request *s, tn_frame_writer *w)
{
    const tn_script_run *run = &s->run;
    for (uint32_t i = 0; i < run->call.n_outputs; i++)
        tn_frame_put_tensor(w, &run->outputs[i]);
    tn_frame_put(w, TN_TAG_INLINE, (tn_str){run->packed != NULL ? run->packed : "", run->packed_len});
}

static size_t outputs_bytes(const tn_script_request *s)
{
    size_t n = s->run.packed_len;
    for (uint32_t i = 0; i < s->run.call.n_outputs; i++)
        n += tn_frame_tensor_bytes(&s->run.outputs[i]);
    return n;
}

tern_code tn_script_write_output(tn_script_request *s, int status, tern_status *st)
{
    tn_frame_writer w;
    const bool arrays = s->run.used;
    tern_code code = tn_script_frame_room(s, arrays ? outputs_bytes(s) : s->text_inline.len, st);
    if (code != TERN_OK)
        return code;
    tn_frame_begin(&w, s->frame, s->frame_cap, TN_FRAME_CALL, 0);
    tn_frame_put_u64(&w, TN_SCRIPT_STAGE, TN_SCRIPT_STAGE_OUTPUT);
    tn_frame_put_u64(&w, TN_SCRIPT_STATUS, (uint64_t)status);
    if ((code = put_context(s, &w, st)) != TERN_OK)
        return code;
    if (arrays)
        tn_script_put_outputs(s, &w);
    else if (s->text.segment != 0)
        tn_frame_put_ref(&w, TN_SCRIPT_BODY_REF, &s->text);
    else
        tn_frame_put(&w, TN_SCRIPT_BODY, s->text_inline);
    return end_frame(s, &w, st);
}

/* ---- ANSWER ---- */

tern_code tn_script_reply_body(const tn_script_request *s, tn_str *body, tern_status *st)
{
    tn_frame_ref ref;
    const tn_str where = tn_frame_get(&s->job.reply, TN_SCRIPT_BODY_REF);
    *body = tn_frame_get(&s->job.reply, TN_SCRIPT_BODY);
    if (where.ptr == NULL)
        return TERN_OK;
    if (tn_frame_as_ref(where, &ref) && ref.segment != 0)
        *body = tn_script_job_bytes(&s->job, &ref);
    return body->ptr != NULL
               ? TERN_OK
               : tern_fail(st, TERN_INTERNAL, "A worker answered with a body that is not there");
}

/* RFC 9110, 5.6.2: token. Into lower case. */
static bool name_to_lower(char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char c = name[i];
        if (c >= 'A' && c <= 'Z')
            name[i] = (char)(c + ('a' - 'A'));
        else if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                   (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL)))
            return false;
    }
    return n > 0;
}

/* RFC 9110, 5.5: no control characters but tab. */
static bool is_value(tn_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        const unsigned char c = (unsigned char)value.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* Fields that say how the answer is sent are the server's own. */
static bool is_of_the_server(tn_str name)
{
    static const tn_str names[] = {TN_STR_INIT("content-length"),
                                   TN_STR_INIT("transfer-encoding"),
                                   TN_STR_INIT("connection"),
                                   TN_STR_INIT("keep-alive"),
                                   TN_STR_INIT("upgrade"),
                                   TN_STR_INIT("trailer"),
                                   TN_STR_INIT("te"),
                                   TN_STR_INIT("date"),
                                   TN_STR_INIT("proxy-connection")};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (tn_str_eq(name, names[i]))
            return true;
    return false;
}

static tern_code bad_header(tern_status *st, tn_str what)
{
    return tern_fail(st, TERN_INVALID_ARGUMENT, "Invalid HTTP header of the handler's answer: %.*s",
                     TN_FMT(tn_str_sub(what, 0, 256)));
}

static tern_code add_header(tn_str field, tn_header *headers, size_t *n, bool *has_type, tern_status *st)
{
    const ptrdiff_t nul = tn_str_chr(field, '\0');
    if (nul < 0 || *n == TN_SCRIPT_HEADERS_MAX)
        return bad_header(st, nul < 0 ? field : TN_STR("there are too many"));
    const tn_str name = tn_str_sub(field, 0, (size_t)nul);
    const tn_str value = tn_str_trim(tn_str_sub(field, (size_t)nul + 1, field.len));
    /* The frame's bytes are the job's own copy. */
    if (!name_to_lower((char *)(uintptr_t)name.ptr, name.len) || !is_value(value))
        return bad_header(st, name);
    if (is_of_the_server(name))
        return TERN_OK;
    if (tn_str_eq(name, TN_STR("content-type"))) {
        if (*has_type)
            return TERN_OK;
        *has_type = true;
    }
    headers[(*n)++] = (tn_header){name, value};
    return TERN_OK;
}

tern_code tn_script_reply_headers(const tn_script_request *s, tn_header *headers, size_t *n, tern_status *st)
{
    size_t at = 0;
    tn_frame_field field;
    tern_code code = TERN_OK;
    const tn_str type = tn_frame_get(&s->job.reply, TN_SCRIPT_CONTENT_TYPE);
    bool has_type = type.len > 0;
    *n = 0;
    if (!is_value(type))
        return bad_header(st, type);
    if (has_type)
        headers[(*n)++] = (tn_header){TN_STR("content-type"), type};
    while (code == TERN_OK && tn_frame_next(&s->job.reply, &at, &field))
        if (field.tag == TN_SCRIPT_HEADER)
            code = add_header(field.bytes, headers, n, &has_type, st);
    return code;
}
