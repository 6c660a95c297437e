/*
 * api/grpc.c - see api/grpc.h.
 *
 * The sink takes the length-prefixed message apart as it arrives: Predict's bytes go straight to the
 * incremental reader, and from there into tensors; what is small is collected. Errors are trailers-only
 * answers.
 */
#include "api/grpc.h"

#include "api/surfaces.h"
#include "codec/pb_wire.h"

#define PREFIX_BYTES 5
#define MAX_UNARY                                                                                            \
    (1u << 20) /* messages that are unpacked whole, on the loop: names of models and of fields */
#define MAX_MESSAGE_TEXT 1024 /* TensorFlow Serving cuts error texts here (prediction_service_impl.cc) */

typedef struct grpc_state {
    const tn_grpc_method *method;
    tn_pb_predict_reader *reader;
    unsigned char prefix[PREFIX_BYTES];
    uint32_t prefix_len;
    uint64_t announced; /* message length from the prefix */
    uint64_t arrived;
    unsigned char answer_prefix[PREFIX_BYTES];
} grpc_state;

int64_t tn_grpc_timeout(tn_str value)
{
    uint64_t n;
    int64_t unit;
    if (value.len < 2 || value.len > 9 || !tn_str_u64(tn_str_sub(value, 0, value.len - 1), &n))
        return 0;
    switch (value.ptr[value.len - 1]) {
    case 'H':
        unit = 3600 * TN_NS_PER_S;
        break;
    case 'M':
        unit = 60 * TN_NS_PER_S;
        break;
    case 'S':
        unit = TN_NS_PER_S;
        break;
    case 'm':
        unit = TN_NS_PER_MS;
        break;
    case 'u':
        unit = TN_NS_PER_US;
        break;
    case 'n':
        unit = 1;
        break;
    default:
        return 0;
    }
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)n, unit, &ns))
        return INT64_MAX / 4;
    return ns > INT64_MAX / 4 ? INT64_MAX / 4 : ns > 0 ? ns : 1;
}

/*
 * grpc-message: UTF-8, percent-encoded outside of 0x20..0x7E (PROTOCOL-HTTP2.md, Percent-Byte-Encoded);
 * blanks at its ends too, as a field value must not have any there (RFC 9113, 8.2.1).
 */
static tn_str encode_message(tn_str message, char *text, size_t size)
{
    static const char hex[] = "0123456789ABCDEF";
    static const tn_str cut = TN_STR_INIT("...TRUNCATED");
    size_t n = 0;
    size_t keep = message.len > MAX_MESSAGE_TEXT ? MAX_MESSAGE_TEXT : message.len;
    for (size_t i = 0; i < keep && n + 3 + cut.len < size; i++) {
        unsigned char c = (unsigned char)message.ptr[i];
        bool end = i == 0 || i + 1 == message.len;
        if (c >= 0x20 && c <= 0x7E && c != '%' && !(c == ' ' && end)) {
            text[n++] = (char)c;
        } else {
            text[n++] = '%';
            text[n++] = hex[c >> 4];
            text[n++] = hex[c & 15];
        }
    }
    if (keep < message.len) {
        memcpy(text + n, cut.ptr, cut.len);
        n += cut.len;
    }
    return (tn_str){text, n};
}

/* The three headers of a trailers-only answer. */
typedef struct grpc_error {
    char message[MAX_MESSAGE_TEXT * 3 + 64];
    char code[4];
    tn_header headers[3];
    tn_response response;
} grpc_error;

static void make_error(grpc_error *e, const tern_status *st)
{
    int n = snprintf(e->code, sizeof e->code, "%d", (int)st->code & 31);
    e->headers[0] = (tn_header){TN_STR("content-type"), TN_STR("application/grpc")};
    e->headers[1] = (tn_header){TN_STR("grpc-status"), {e->code, (size_t)n}};
    e->headers[2] = (tn_header){TN_STR("grpc-message"), encode_message((tn_str){st->message, st->length},
                                                                       e->message, sizeof e->message)};
    e->response = (tn_response){.status = 200, .headers = e->headers, .n_headers = 3, .trailers_only = true};
}

static void grpc_request_error(tn_request *r, const tern_status *st)
{
    grpc_error e;
    make_error(&e, st);
    tn_request_send(r, &e.response, st->code);
}

static void refuse(tn_server *server, tn_exchange *ex, tern_code code, const char *message)
{
    grpc_error e;
    tern_status st;
    tern_fail(&st, code, "%s", message);
    make_error(&e, &st);
    atomic_fetch_add_explicit(&server->answers[code], 1, memory_order_relaxed);
    tn_exchange_send(ex, &e.response);
}

static size_t put_chunks(const tn_request *r, const unsigned char *prefix, tn_chunk *chunks)
{
    size_t n = 0;
    chunks[n++] = (tn_chunk){prefix, PREFIX_BYTES};
    for (uint32_t i = 0; i < r->n_pieces; i++)
        chunks[n++] = (tn_chunk){r->pieces[i].ptr, r->pieces[i].len};
    if (r->n_pieces == 0 && r->out.len > 0)
        chunks[n++] = (tn_chunk){r->out.ptr, r->out.len};
    return n;
}

/* Prefix and pieces, then grpc-status 0 as trailer. */
static void grpc_answer(tn_request *r)
{
    grpc_state *s = r->surface_state;
    static const tn_header trailers[] = {{TN_STR_INIT("grpc-status"), TN_STR_INIT("0")}};
    char timing[512];
    tn_header headers[3] = {{TN_STR("content-type"), TN_STR("application/grpc")},
                            {TN_STR("grpc-accept-encoding"), TN_STR("identity")}};
    tn_response response = {
        .status = 200, .headers = headers, .n_headers = 2, .trailers = trailers, .n_trailers = 1};
    size_t length = r->n_pieces > 0 ? r->pieces_bytes : r->out.len;
    tn_chunk *chunks = tn_arena_array(&r->call.arena, (size_t)r->n_pieces + 2, sizeof *chunks);
    if (chunks == NULL || length > UINT32_MAX) {
        tern_status st;
        tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "The answer of %zu bytes is too large for one gRPC message",
                  length);
        grpc_request_error(r, &st);
        return;
    }
    s->answer_prefix[0] = 0;
    for (int i = 0; i < 4; i++)
        s->answer_prefix[1 + i] = (unsigned char)(length >> (24 - 8 * i));
    response.body = chunks;
    response.n_body = put_chunks(r, s->answer_prefix, chunks);
    size_t n = r->server->strict ? 0 : tn_request_timing(r, timing, sizeof timing);
    if (n > 0)
        headers[response.n_headers++] = (tn_header){TN_STR("server-timing"), {timing, n}};
    tn_request_send(r, &response, TERN_OK);
}

static const tn_surface grpc_surface = {.answer = grpc_answer, .error = grpc_request_error};

/* ---- the message as it arrives ---- */

static tern_code take_prefix(tn_request *r, grpc_state *s, const char **p, size_t *n, tern_status *st)
{
    while (*n > 0 && s->prefix_len < PREFIX_BYTES) {
        s->prefix[s->prefix_len++] = (unsigned char)**p;
        ++*p;
        --*n;
    }
    if (s->prefix_len < PREFIX_BYTES)
        return TERN_OK;
    if (s->prefix[0] != 0)
        return tern_fail(st, TERN_UNIMPLEMENTED,
                         "Compressed messages are not in this version; send grpc-encoding: identity");
    s->announced = (uint64_t)s->prefix[1] << 24 | (uint64_t)s->prefix[2] << 16 | (uint64_t)s->prefix[3] << 8 |
                   s->prefix[4];
    if (s->announced > (uint64_t)r->server->limits.max_body_bytes)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "Received message larger than max (%llu vs. %lld); raise --max_body_bytes",
                         (unsigned long long)s->announced, (long long)r->server->limits.max_body_bytes);
    if (s->reader == NULL && s->announced > MAX_UNARY)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Received message larger than max (%llu vs. %u)",
                         (unsigned long long)s->announced, MAX_UNARY);
    return TERN_OK;
}

static tern_code take(tn_request *r, const char *p, size_t n, tern_status *st)
{
    grpc_state *s = r->surface_state;
    tern_code code = TERN_OK;
    if (s->prefix_len < PREFIX_BYTES)
        code = take_prefix(r, s, &p, &n, st);
    if (code != TERN_OK || n == 0)
        return code;
    if (n > s->announced - s->arrived)
        return tern_fail(st, TERN_INTERNAL,
                         "More bytes than the gRPC message prefix announced; a unary call has one message");
    s->arrived += n;
    if (s->reader == NULL)
        return tn_region_append(&r->body, p, n, st);
    code = tn_request_charge(r, n, st);
    return code == TERN_OK ? tn_pb_predict_feed(s->reader, p, n, st) : code;
}

/* nghttp2 hands out pieces of its own buffer, so there is nothing to reserve. */
static tern_code grpc_reserve(tn_sink *sink, size_t want, char **room, size_t *space)
{
    (void)sink;
    (void)want;
    *room = NULL;
    *space = 0;
    return TERN_OK;
}

static tern_code grpc_commit(tn_sink *sink, const char *ptr, size_t n)
{
    tn_request *r = TN_CONTAINER(sink, tn_request, sink);
    tern_status st;
    tern_code code = take(r, ptr, n, &st);
    if (code != TERN_OK)
        tn_request_fail(r, &st);
    return code;
}

/* The bytes of field 1, or absent. */
static tn_str first_field(tn_str message)
{
    tn_pb at = tn_pb_from(message);
    tn_pb_field f;
    while (tn_pb_more(&at) && tn_pb_next(&at, &f))
        if (f.number == 1 && f.type == TN_PB_BYTES)
            return f.bytes;
    return TN_STR_NONE;
}

static void answer_unary(tn_request *r, const grpc_state *s)
{
    tern_status st;
    if (s->method->names_model) /* message.model_spec.name */
        tn_request_for(r, first_field(first_field(tn_region_view(&r->body))));
    tern_code code = s->method->unary(r->server, tn_region_view(&r->body), &r->call.arena, &r->out, &st);
    if (code == TERN_OK && r->out.failed)
        code = tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "The answer is larger than --max_response_bytes");
    if (code == TERN_OK)
        grpc_answer(r);
    else
        grpc_request_error(r, &st);
}

static void grpc_end(tn_sink *sink)
{
    tn_request *r = TN_CONTAINER(sink, tn_request, sink);
    grpc_state *s = r->surface_state;
    tern_status st;
    tern_code code = TERN_OK;
    r->call.stage_ns[TN_STAGE_READ] = tn_now_ns() - r->started_ns;
    r->call.body_bytes = (size_t)s->arrived;
    if (s->prefix_len < PREFIX_BYTES || s->arrived < s->announced)
        code = tern_fail(&st, TERN_INTERNAL,
                         "The stream ended before the gRPC message did: %llu of %llu bytes arrived",
                         (unsigned long long)s->arrived, (unsigned long long)s->announced);
    else if (s->reader != NULL)
        code = tn_pb_predict_finish(s->reader, &st);
    if (code != TERN_OK)
        tn_request_fail(r, &st);
    else if (s->reader != NULL)
        tn_grpc_predict(r, s->reader);
    else
        answer_unary(r, s);
}

static void grpc_abort(tn_sink *sink)
{
    (void)sink; /* on_gone follows, and frees */
}

/* ---- entry ---- */

static tern_code begin(tn_request *r, const tn_grpc_method *method, tern_status *st)
{
    const tn_pb_predict_limits limits = {.max_tensor_bytes = r->server->limits.max_body_bytes,
                                         .max_inputs = r->server->limits.max_inputs,
                                         .budget = &r->server->budget};
    grpc_state *s = tn_arena_zalloc(&r->call.arena, sizeof *s);
    if (s == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this call; try again later");
    s->method = method;
    r->method = method->method;
    r->surface_state = s;
    if (method->predict) {
        s->reader = tn_pb_predict_new(&limits, &r->call.arena);
        if (s->reader == NULL)
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this call; try again later");
    }
    return TERN_OK;
}

void tn_grpc_on_request(tn_server *server, tn_exchange *ex)
{
    const tn_grpc_method *method = tn_grpc_find(server, tn_exchange_target(ex));
    tern_status st;
    if (!tn_exchange_is_http2(ex)) {
        static const tn_chunk text = {
            "gRPC needs HTTP/2; use a gRPC client, or POST JSON to /v1/models/NAME:predict\n", 79};
        static const tn_header type = {TN_STR_INIT("content-type"), TN_STR_INIT("text/plain")};
        const tn_response response = {
            .status = 415, .headers = &type, .n_headers = 1, .body = &text, .n_body = 1};
        tn_exchange_send(ex, &response);
        return;
    }
    if (method == NULL) {
        refuse(server, ex, TERN_UNIMPLEMENTED, "");
        return;
    }
    tn_request *r = tn_request_new(server, ex, &grpc_surface, &tn_grpc_predict_steps);
    if (r == NULL)
        return;
    if (begin(r, method, &st) != TERN_OK) {
        tn_request_fail(r, &st);
        return;
    }
    int64_t timeout = tn_grpc_timeout(tn_exchange_header(ex, "grpc-timeout"));
    if (timeout > 0)
        r->call.deadline_ns = r->started_ns + timeout;
    r->sink = (tn_sink){.reserve = grpc_reserve, .commit = grpc_commit, .end = grpc_end, .abort = grpc_abort};
    tn_exchange_set_sink(ex, &r->sink);
}
