/*
 * api/grpc.c - see api/grpc.h.
 *
 * The sink takes the length-prefixed message apart as it arrives (codec/grpc_message.h): Predict's bytes go
 * straight to the incremental reader, and from there into tensors, inflated on the way when they are
 * compressed; what is small is collected. Errors are trailers-only answers.
 */
#include "api/grpc.h"

#include "api/access.h"
#include "api/http.h"
#include "api/surfaces.h"
#include "codec/grpc_message.h"
#include "codec/pb_wire.h"

#define PREFIX_BYTES 5
#define MAX_UNARY                                                                                            \
    (1u << 20) /* messages that are unpacked whole, on the loop: names of models and of fields */
/* Inflated on the loop before other connections get their turn. */
#define INFLATE_TURN  (1u << 20)
#define INFLATE_PIECE (32u << 10)
/* Answers of up to this size that nobody compressed before are compressed on the loop. */
#define PACK_ON_LOOP (256u << 10)

typedef struct grpc_state {
    const tn_grpc_method *method;
    tn_grpc_reader *messages;
    tn_pb_predict_reader *reader;
    uint32_t n_messages;
    uint64_t arrived;  /* of the message, inflated */
    uint64_t inflated; /* since others had their turn */
    tn_coding answer_coding;
    bool packed; /* r->out is the compressed answer */
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
    size_t keep = message.len > TN_GRPC_MESSAGE_TEXT ? TN_GRPC_MESSAGE_TEXT : message.len;
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

size_t tn_grpc_make_trailers(tn_grpc_trailers *t, const tern_status *st)
{
    int n = snprintf(t->code, sizeof t->code, "%d", st != NULL ? (int)st->code & 31 : 0);
    t->headers[0] = (tn_header){TN_STR("grpc-status"), {t->code, (size_t)n}};
    if (st == NULL)
        return 1;
    tn_str message = {st->message, st->length};
    t->headers[1] =
        (tn_header){TN_STR("grpc-message"), encode_message(message, t->message, sizeof t->message)};
    return 2;
}

/* The headers of a trailers-only answer. */
typedef struct grpc_error {
    tn_grpc_trailers trailers;
    tn_header headers[4];
    tn_response response;
} grpc_error;

static void make_error(grpc_error *e, const tern_status *st)
{
    tn_grpc_make_trailers(&e->trailers, st);
    e->headers[0] = (tn_header){TN_STR("content-type"), TN_STR("application/grpc")};
    e->headers[1] = e->trailers.headers[0];
    e->headers[2] = e->trailers.headers[1];
    e->headers[3] = (tn_header){TN_STR("grpc-accept-encoding"), TN_STR(TN_CODINGS)};
    e->response = (tn_response){.status = 200, .headers = e->headers, .n_headers = 4, .trailers_only = true};
}

static void grpc_request_error(tn_request *r, const tern_status *st)
{
    grpc_error e;
    make_error(&e, st);
    tn_request_send(r, &e.response, st->code);
}

void tn_grpc_refuse(tn_server *server, tn_exchange *ex, tern_code code, const char *message)
{
    grpc_error e;
    tern_status st;
    tern_fail(&st, code, "%s", message);
    make_error(&e, &st);
    tn_access_answered(server, ex, code);
    tn_access_send(server, ex, &e.response);
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

void tn_grpc_pack_answer(tn_request *r)
{
    grpc_state *s = r->surface_state;
    const tn_piece whole = {r->out.ptr, r->out.len};
    tn_buf packed;
    if (s->packed || s->answer_coding == TN_CODING_IDENTITY)
        return;
    tn_buf_init(&packed, r->out.max);
    s->packed = r->n_pieces > 0 ? tn_grpc_compress(s->answer_coding, r->pieces, r->n_pieces, &packed)
                                : tn_grpc_compress(s->answer_coding, &whole, 1, &packed);
    if (!s->packed) {
        tn_buf_free(&packed);
        return;
    }
    tn_buf_free(&r->out);
    r->out = packed;
    r->n_pieces = 0;
}

/* Prefix and pieces, then grpc-status 0 as trailer. */
static void grpc_answer(tn_request *r)
{
    grpc_state *s = r->surface_state;
    static const tn_header trailers[] = {{TN_STR_INIT("grpc-status"), TN_STR_INIT("0")}};
    char timing[512];
    tn_header headers[4] = {{TN_STR("content-type"), TN_STR("application/grpc")},
                            {TN_STR("grpc-accept-encoding"), TN_STR(TN_CODINGS)}};
    tn_response response = {
        .status = 200, .headers = headers, .n_headers = 2, .trailers = trailers, .n_trailers = 1};
    size_t plain = r->pieces_bytes > 0 ? r->pieces_bytes : r->out.len;
    if (plain <= PACK_ON_LOOP)
        tn_grpc_pack_answer(r);
    size_t length = r->n_pieces > 0 ? r->pieces_bytes : r->out.len;
    tn_chunk *chunks = tn_arena_array(&r->call.arena, (size_t)r->n_pieces + 2, sizeof *chunks);
    if (chunks == NULL || length > UINT32_MAX || plain > (uint64_t)r->server->grpc_max_send) {
        tern_status st;
        tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "Sent message larger than max (%zu vs. %lld)", plain,
                  (long long)r->server->grpc_max_send);
        grpc_request_error(r, &st);
        return;
    }
    s->answer_prefix[0] = s->packed;
    if (s->packed)
        headers[response.n_headers++] =
            (tn_header){TN_STR("grpc-encoding"), tn_coding_name(s->answer_coding)};
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

/* Where a compressed message is inflated to: into the tensor that it belongs to, if there is one now. */
static char *inflate_room(const grpc_state *s, size_t *space)
{
    static _Thread_local char room[INFLATE_PIECE];
    char *direct = NULL;
    *space = 0;
    if (s->reader != NULL && tn_grpc_is_compressed(s->messages))
        tn_pb_predict_room(s->reader, &direct, space);
    if (*space >= INFLATE_PIECE)
        return direct;
    *space = sizeof room;
    return room;
}

static tern_code take_piece(tn_request *r, tn_str piece, tern_status *st)
{
    grpc_state *s = r->surface_state;
    s->arrived += piece.len;
    if (tn_grpc_is_compressed(s->messages)) {
        s->inflated += piece.len;
        if (s->inflated >= INFLATE_TURN) {
            s->inflated = 0;
            tn_exchange_yield(r->ex);
        }
    }
    if (s->reader == NULL)
        return tn_region_append(&r->body, piece.ptr, piece.len, st);
    tern_code code = tn_request_charge(r, piece.len, st);
    return code == TERN_OK ? tn_pb_predict_feed(s->reader, piece.ptr, piece.len, st) : code;
}

static tern_code take(tn_request *r, const char *p, size_t n, tern_status *st)
{
    grpc_state *s = r->surface_state;
    for (;;) {
        tn_grpc_event event;
        tn_str piece;
        size_t space;
        char *room = inflate_room(s, &space);
        tern_code code = tn_grpc_read(s->messages, &p, &n, room, space, &event, &piece, st);
        if (code == TERN_OK && event == TN_GRPC_BEGIN && s->n_messages++ > 0)
            code = tern_fail(st, TERN_INTERNAL, "A unary call has one message; a second one began");
        if (code == TERN_OK && event == TN_GRPC_PIECE)
            code = take_piece(r, piece, st);
        if (code != TERN_OK || event == TN_GRPC_NEED)
            return code;
    }
}

/* A tensor's own memory, while its bytes come. */
static tern_code grpc_reserve(tn_sink *sink, size_t want, char **room, size_t *space)
{
    const grpc_state *s = TN_CONTAINER(sink, tn_request, sink)->surface_state;
    const uint64_t left = tn_grpc_plain_left(s->messages);
    (void)want;
    *room = NULL;
    *space = 0;
    if (s->reader != NULL && left > 0)
        tn_pb_predict_room(s->reader, room, space);
    if (*space > left)
        *space = (size_t)left;
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
    if (s->n_messages == 0 || !tn_grpc_at_end(s->messages))
        code = tern_fail(&st, TERN_INTERNAL,
                         "The stream ended before the gRPC message did: %llu of %llu bytes arrived",
                         (unsigned long long)s->arrived, (unsigned long long)tn_grpc_announced(s->messages));
    else if (s->reader != NULL)
        code = tn_pb_predict_finish(s->reader, &st);
    if (code != TERN_OK)
        tn_request_fail(r, &st);
    else if (s->reader != NULL)
        tn_grpc_predict(r, s->reader);
    else if (s->method->start != NULL)
        s->method->start(r, tn_region_view(&r->body));
    else
        answer_unary(r, s);
}

static void grpc_abort(tn_sink *sink)
{
    (void)sink; /* on_gone follows, and frees */
}

/* ---- entry ---- */

/* grpc-encoding and grpc-accept-encoding: how the request comes, and how the answer goes. */
static tern_code agree_codings(tn_request *r, grpc_state *s, tn_coding *coding, tern_status *st)
{
    tn_str name = tn_exchange_header(r->ex, "grpc-encoding");
    tn_coding wish = r->server->grpc_coding;
    *coding = tn_coding_of(name);
    if (*coding == TN_CODING_UNKNOWN)
        return tern_fail(st, TERN_UNIMPLEMENTED,
                         "grpc-encoding %.*s is not supported; use one of " TN_CODINGS,
                         TN_FMT(tn_str_sub(name, 0, 64)));
    if (*coding != TN_CODING_IDENTITY)
        wish = *coding; /* who compresses likes it compressed */
    if (wish != TN_CODING_IDENTITY &&
        tn_coding_accepted(tn_exchange_header(r->ex, "grpc-accept-encoding"), wish))
        s->answer_coding = wish;
    return TERN_OK;
}

static tern_code begin(tn_request *r, const tn_grpc_method *method, tern_status *st)
{
    const tn_pb_predict_limits limits = {.max_tensor_bytes = r->server->limits.max_body_bytes,
                                         .max_inputs = r->server->limits.max_inputs,
                                         .budget = &r->server->budget};
    grpc_state *s = tn_arena_zalloc(&r->call.arena, sizeof *s);
    tn_coding coding;
    if (s == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this call; try again later");
    s->method = method;
    r->method = method->method;
    r->surface_state = s;
    tern_code code = agree_codings(r, s, &coding, st);
    if (code != TERN_OK)
        return code;
    if (coding != TN_CODING_IDENTITY)
        tn_exchange_in_small_pieces(r->ex);
    int64_t max = r->server->limits.max_body_bytes;
    if (max > r->server->grpc_max_receive)
        max = r->server->grpc_max_receive;
    if (!method->predict && method->steps == NULL && max > MAX_UNARY)
        max = MAX_UNARY;
    s->messages = tn_grpc_reader_new(coding, (uint64_t)max, &r->call.arena);
    if (s->messages == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this call; try again later");
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
        tn_http_text(
            server, ex, 415, TN_STR("text/plain"),
            TN_STR("gRPC needs HTTP/2; use a gRPC client, or POST JSON to /v1/models/NAME:predict\n"),
            TERN_INVALID_ARGUMENT);
        return;
    }
    if (method == NULL) {
        tn_grpc_refuse(server, ex, TERN_UNIMPLEMENTED, "");
        return;
    }
    if (method->stream != NULL) {
        tn_grpc_stream_begin(server, ex, method->stream);
        return;
    }
    tn_request *r = tn_request_new(server, ex, &grpc_surface,
                                   method->steps != NULL ? method->steps : &tn_grpc_predict_steps);
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
