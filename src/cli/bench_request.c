/*
 * cli/bench_request.c - what `tern bench` asks: bytes of a file, or inputs generated from the signature that
 * the server tells (GET /v1/models/NAME/metadata).
 *
 * Generated inputs: the first unknown dimension is --batch, others are --length, and a shape of unknown rank
 * is [--batch]; numbers are k / 16 for k = 0 to 15, again and again (whole numbers: k), strings are "tern".
 * So a run can be repeated exactly. REST gets them in columnar form, gRPC as tensor_content.
 */
#include <string.h>

#include "base/clock.h"
#include "cli/bench.h"
#include "cli/input.h"
#include "codec/json.h"
#include "codec/pb_wire.h"
#include "tensor/tensor.h"

#define BODY_MAX     ((size_t)2 << 30)
#define METADATA_MAX ((size_t)16 << 20)
#define WAIT_NS      (60 * TN_NS_PER_S)
#define DEPTH        64
#define ELEMENTS_MAX (INT64_C(1) << 28)

typedef struct input {
    tn_str alias;
    tern_dtype dtype;
    int32_t rank;
    int64_t dims[TERN_MAX_RANK];
    int64_t count;
} input;

/* ---- Where ---- */

/* "http://HOST[:PORT]" into host and port. */
static tern_code read_url(const char *url, tn_bench_target *t, tn_arena *arena, tern_status *st)
{
    static const tn_str scheme = TN_STR_INIT("http://");
    tn_str rest = tn_str_from(url);
    if (!tn_str_istarts(rest, scheme))
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "--url=%.200s: it begins with http:// (TLS is not supported here)", url);
    rest = tn_str_sub(rest, scheme.len, rest.len);
    ptrdiff_t slash = tn_str_chr(rest, '/');
    rest = slash < 0 ? rest : tn_str_sub(rest, 0, (size_t)slash);
    ptrdiff_t bracket = tn_str_chr(rest, ']'), colon = -1;
    for (size_t i = bracket < 0 ? 0 : (size_t)bracket; i < rest.len; i++)
        if (rest.ptr[i] == ':')
            colon = (ptrdiff_t)i;
    tn_str host = colon < 0 ? rest : tn_str_sub(rest, 0, (size_t)colon);
    if (bracket >= 0 && host.len > 2)
        host = tn_str_sub(host, 1, host.len - 1);
    t->host = tn_arena_dup(arena, host).ptr;
    t->port = colon < 0 ? "80" : tn_arena_dup(arena, tn_str_sub(rest, (size_t)colon + 1, rest.len)).ptr;
    if (t->host == NULL || t->port == NULL || host.len == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--url=%.200s: there is no host in it", url);
    return TERN_OK;
}

/* ---- One question to the server ---- */

typedef struct question {
    bool ended;
    int status, grpc_status;
    const char *error;
    tn_buf *body;
} question;

static void on_told(void *context, unsigned connection, const tn_client_answer *a)
{
    question *q = context;
    (void)connection;
    q->ended = true;
    q->status = a->status;
    q->grpc_status = a->grpc_status;
    q->error = a->error;
    tn_buf_append(q->body, a->body.ptr, a->body.len);
}

tern_code tn_bench_ask(const tn_bench_target *t, const tn_client_request *request, bool http2, tn_buf *body,
                       tern_status *st)
{
    question q = {.body = body};
    const tn_client_options options = {.host = t->host,
                                       .port = t->port,
                                       .http2 = http2,
                                       .connections = 1,
                                       .timeout_ms = 60000,
                                       .keep_body = body->max,
                                       .done = on_told,
                                       .context = &q};
    tn_client *client;
    tern_code code = tn_client_new(&options, &client, st);
    if (code != TERN_OK)
        return code;
    tn_client_start(client, 0, request);
    for (int64_t until_ns = tn_now_ns() + WAIT_NS; !q.ended && tn_now_ns() < until_ns;)
        tn_client_poll(client, until_ns);
    tn_client_free(client);
    if (!q.ended || q.error != NULL)
        return tern_fail(st, TERN_UNAVAILABLE, "http://%s:%s%.*s: %s", t->host, t->port,
                         TN_FMT(request->path), q.error != NULL ? q.error : "no answer");
    if (q.status != 200)
        return tern_fail(st, TERN_NOT_FOUND, "http://%s:%s%.*s: status %d: %.*s", t->host, t->port,
                         TN_FMT(request->path), q.status, (int)(body->len < 300 ? body->len : 300),
                         body->ptr);
    if (http2 && q.grpc_status > 0)
        return tern_fail(st, (tern_code)q.grpc_status, "http://%s:%s%.*s: gRPC status %d", t->host, t->port,
                         TN_FMT(request->path), q.grpc_status);
    return TERN_OK;
}

/* ---- The signature ---- */

static tern_dtype dtype_of(tn_str name)
{
    for (int d = 1; d <= TERN_UINT64; d++) {
        const char *known = tn_dtype_enum_name((tern_dtype)d);
        if (known != NULL && tn_str_eq(name, tn_str_from(known)))
            return (tern_dtype)d;
    }
    return TERN_INVALID;
}

static bool is_complex(tern_dtype dtype)
{
    return dtype == TERN_COMPLEX64 || dtype == TERN_COMPLEX128;
}

static tern_code read_input(const tn_json *member, const tn_bench_target *t, const tn_bench_options *o,
                            input *in, tern_status *st)
{
    const tn_json *dtype = tn_json_get(member, "dtype"), *shape = tn_json_get(member, "tensor_shape");
    const tn_json *dims = shape != NULL ? tn_json_get(shape, "dim") : NULL;
    bool batched = false;
    in->alias = member->key;
    in->dtype = dtype != NULL ? dtype_of(dtype->string) : TERN_INVALID;
    if ((in->dtype != TERN_STRING && tn_dtype_size(in->dtype) == 0) ||
        (t->api == TN_BENCH_REST && is_complex(in->dtype)))
        return tern_fail(st, TERN_UNIMPLEMENTED, "Input %.*s is %.*s: give the request by --data=FILE",
                         TN_FMT(in->alias), TN_FMT(dtype != NULL ? dtype->string : TN_STR("of no dtype")));
    const tn_json *unknown = shape != NULL ? tn_json_get(shape, "unknown_rank") : NULL;
    if (unknown != NULL && unknown->boolean)
        in->dims[in->rank++] = o->batch;
    for (const tn_json *d = dims != NULL ? dims->first : NULL; d != NULL && in->rank < TERN_MAX_RANK;
         d = d->next) {
        const tn_json *size = tn_json_get(d, "size");
        int64_t n = -1;
        if (size == NULL || !tn_str_i64(size->string, &n) || n < 0) {
            n = batched ? o->length : o->batch;
            batched = true;
        }
        in->dims[in->rank++] = n;
    }
    if (!tn_shape_count(in->rank, in->dims, &in->count) || in->count > ELEMENTS_MAX)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "Input %.*s is too large for a generated request: give one by --data=FILE",
                         TN_FMT(in->alias));
    return TERN_OK;
}

static const tn_json *find(const tn_json *json, const char *const *keys)
{
    for (; *keys != NULL && json != NULL; keys++)
        json = tn_json_get(json, *keys);
    return json;
}

static tern_code read_signature(const tn_bench_options *o, const tn_bench_target *t, tn_arena *arena,
                                input **inputs, size_t *n, tern_status *st)
{
    tn_buf answer;
    tn_buf_init(&answer, METADATA_MAX);
    const tn_json *root = NULL;
    const char *const path[] = {"metadata", "signature_def", "signature_def", o->signature, "inputs", NULL};
    const tn_client_request request = {.method = TN_STR("GET"),
                                       .path = tn_arena_printf(arena, "/v1/models/%s/metadata", o->model)};
    tern_code code = tn_bench_ask(t, &request, false, &answer, st);
    if (code == TERN_OK) {
        tn_str text = tn_arena_dup(arena, tn_buf_view(&answer));
        code = tn_json_parse(text, DEPTH, arena, &root, st);
    }
    const tn_json *members = code == TERN_OK ? find(root, path) : NULL;
    if (code == TERN_OK && members == NULL)
        code = tern_fail(st, TERN_NOT_FOUND, "Model %s has no signature %s: name one by --signature",
                         o->model, o->signature);
    *n = 0;
    for (const tn_json *m = members != NULL ? members->first : NULL; m != NULL; m = m->next)
        ++*n;
    *inputs = tn_arena_zalloc(arena, (*n > 0 ? *n : 1) * sizeof **inputs);
    if (code == TERN_OK && *inputs == NULL)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %zu inputs", *n);
    size_t i = 0;
    for (const tn_json *m = members != NULL ? members->first : NULL; m != NULL && code == TERN_OK;
         m = m->next)
        code = read_input(m, t, o, &(*inputs)[i++], st);
    tn_buf_free(&answer);
    return code;
}

/* ---- JSON ---- */

static bool is_real(tern_dtype dtype)
{
    return dtype == TERN_FLOAT || dtype == TERN_DOUBLE || dtype == TERN_HALF || dtype == TERN_BFLOAT16;
}

static void put_json_value(tn_buf *out, tern_dtype dtype, int64_t i)
{
    const int k = (int)(i % 16);
    if (dtype == TERN_STRING)
        tn_buf_z(out, "\"tern\"");
    else if (dtype == TERN_BOOL)
        tn_buf_z(out, k % 2 ? "true" : "false");
    else if (is_real(dtype))
        tn_buf_printf(out, "%g", k / 16.0);
    else
        tn_buf_i64(out, k);
}

static void put_json(tn_buf *out, const input *in, int32_t dim, int64_t *i)
{
    if (dim == in->rank) {
        put_json_value(out, in->dtype, (*i)++);
        return;
    }
    tn_buf_char(out, '[');
    for (int64_t k = 0; k < in->dims[dim]; k++) {
        if (k > 0)
            tn_buf_z(out, ", ");
        put_json(out, in, dim + 1, i);
    }
    tn_buf_char(out, ']');
}

static void put_rest(tn_buf *out, const tn_bench_options *o, const input *inputs, size_t n)
{
    tn_buf_z(out, "{\"signature_name\": ");
    tn_json_quote(out, tn_str_from(o->signature));
    tn_buf_z(out, ", \"inputs\": {");
    for (size_t i = 0; i < n; i++) {
        int64_t at = 0;
        if (i > 0)
            tn_buf_z(out, ", ");
        tn_json_quote(out, inputs[i].alias);
        tn_buf_z(out, ": ");
        put_json(out, &inputs[i], 0, &at);
    }
    tn_buf_z(out, "}}");
}

/* ---- PredictRequest (tensorflow_serving/apis/predict.proto), TensorProto ---- */

/* The k-th generated number in the dtype's own bytes, little-endian as this machine is. */
static void put_element(tn_buf *out, tern_dtype dtype, int64_t i)
{
    const int k = (int)(i % 16);
    const float f = (float)k / 16;
    const double d = f;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    /* k / 16 has at most 4 significant bits, so that shifting its bits is exact. */
    const uint16_t brain = (uint16_t)(bits >> 16),
                   half = k == 0 ? 0 : (uint16_t)(((bits >> 23) - 112) << 10 | (bits >> 13 & 0x3FF));
    const uint64_t whole = dtype == TERN_BOOL ? (uint64_t)(k % 2) : (uint64_t)k;
    const float complex64[2] = {f, 0};
    const double complex128[2] = {d, 0};
    switch (dtype) {
    case TERN_FLOAT:
        tn_buf_append(out, &f, sizeof f);
        break;
    case TERN_DOUBLE:
        tn_buf_append(out, &d, sizeof d);
        break;
    case TERN_HALF:
        tn_buf_append(out, &half, sizeof half);
        break;
    case TERN_BFLOAT16:
        tn_buf_append(out, &brain, sizeof brain);
        break;
    case TERN_COMPLEX64:
        tn_buf_append(out, complex64, sizeof complex64);
        break;
    case TERN_COMPLEX128:
        tn_buf_append(out, complex128, sizeof complex128);
        break;
    default:
        tn_buf_append(out, &whole, tn_dtype_size(dtype));
        break;
    }
}

static void put_tensor(tn_buf *out, const input *in, tn_buf *scratch)
{
    tn_buf_clear(scratch);
    for (int32_t d = 0; d < in->rank; d++) {
        uint8_t dim[12];
        dim[0] = 1 << 3 | TN_PB_VARINT;
        tn_pb_add_bytes(scratch, 2,
                        (tn_str){(const char *)dim, 1 + tn_pb_put_varint(dim + 1, (uint64_t)in->dims[d])});
    }
    tn_pb_add_number(out, 1, (uint64_t)in->dtype);
    tn_pb_add_bytes(out, 2, tn_buf_view(scratch));
    if (in->dtype == TERN_STRING) {
        for (int64_t i = 0; i < in->count; i++)
            tn_pb_add_bytes(out, 8, TN_STR("tern"));
        return;
    }
    tn_pb_add_head(out, 4, (size_t)in->count * tn_dtype_size(in->dtype));
    for (int64_t i = 0; i < in->count; i++)
        put_element(out, in->dtype, i);
}

static void put_grpc(tn_buf *out, const tn_bench_options *o, const input *inputs, size_t n)
{
    tn_buf tensor, entry, scratch;
    tn_buf_init(&tensor, BODY_MAX);
    tn_buf_init(&entry, BODY_MAX);
    tn_buf_init(&scratch, BODY_MAX);
    tn_pb_add_bytes(&entry, 1, tn_str_from(o->model));
    tn_pb_add_bytes(&entry, 3, tn_str_from(o->signature));
    tn_pb_add_bytes(out, 1, tn_buf_view(&entry));
    for (size_t i = 0; i < n; i++) {
        tn_buf_clear(&tensor);
        tn_buf_clear(&entry);
        put_tensor(&tensor, &inputs[i], &scratch);
        tn_pb_add_bytes(&entry, 1, inputs[i].alias);
        tn_pb_add_bytes(&entry, 2, tn_buf_view(&tensor));
        tn_pb_add_bytes(out, 2, tn_buf_view(&entry));
    }
    out->failed |= tensor.failed || entry.failed || scratch.failed;
    tn_buf_free(&tensor);
    tn_buf_free(&entry);
    tn_buf_free(&scratch);
}

/* ---- All of it ---- */

static tern_code make_body(const tn_bench_options *o, tn_bench_target *t, tn_arena *arena, tn_buf *body,
                           tern_status *st)
{
    input *inputs = NULL;
    size_t n = 0;
    tern_status why;
    if (o->data[0] != '\0' && tn_cli_read_file(o->data, body, &why) != TERN_OK)
        return tern_fail(st, why.code, "--data=%.200s: %s", o->data, why.message);
    if (o->data[0] != '\0')
        return TERN_OK;
    if (t->api == TN_BENCH_RAW)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--api=raw needs --data=FILE: the document to post");
    tern_code code = read_signature(o, t, arena, &inputs, &n, st);
    if (code == TERN_OK && t->api == TN_BENCH_GRPC)
        put_grpc(body, o, inputs, n);
    else if (code == TERN_OK)
        put_rest(body, o, inputs, n);
    return code;
}

static void free_body(void *arg)
{
    tn_buf_free(arg);
}

tern_code tn_bench_target_make(const tn_bench_options *o, tn_arena *arena, tn_bench_target *t,
                               tern_status *st)
{
    static const char *const names[] = {"rest", "grpc", "raw"};
    static const tn_str grpc_fields[] = {TN_STR_INIT("te"), TN_STR_INIT("trailers")};
    tn_client_request *r = &t->request;
    tn_buf *message = tn_arena_zalloc(arena, sizeof *message);
    tern_code code = TERN_OK;
    *t = (tn_bench_target){.api = TN_BENCH_RAW + 1};
    for (int i = 0; i < 3; i++)
        if (strcmp(o->api, names[i]) == 0)
            t->api = (tn_bench_api)i;
    if (t->api > TN_BENCH_RAW)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--api=%.50s: it is rest, grpc or raw", o->api);
    if (message == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory");
    tn_buf_init(message, BODY_MAX);
    if (!tn_arena_defer(arena, free_body, message))
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory");
    if (t->api == TN_BENCH_GRPC) /* place for the prefix of the message */
        tn_buf_fill(message, '\0', 5);
    code = read_url(o->url[0] != '\0'         ? o->url
                    : t->api == TN_BENCH_GRPC ? "http://localhost:8500"
                                              : "http://localhost:8501",
                    t, arena, st);
    if (code == TERN_OK)
        code = make_body(o, t, arena, message, st);
    if (code == TERN_OK && message->failed)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "The request is larger than 2 GB");
    if (code != TERN_OK)
        return code;
    r->method = TN_STR("POST");
    r->body = tn_buf_view(message);
    if (t->api == TN_BENCH_GRPC) {
        const uint32_t length = __builtin_bswap32((uint32_t)(message->len - 5));
        memcpy(message->ptr + 1, &length, sizeof length);
        r->path = TN_STR("/tensorflow.serving.PredictionService/Predict");
        r->content_type = TN_STR("application/grpc");
        r->fields = grpc_fields;
        r->n_fields = 2;
    } else {
        r->path = tn_arena_printf(
            arena, t->api == TN_BENCH_RAW ? "/models/%s/invoke" : "/v1/models/%s:predict", o->model);
        r->content_type = t->api == TN_BENCH_RAW ? TN_STR("text/html") : TN_STR("application/json");
    }
    if (o->path[0] != '\0')
        r->path = tn_str_from(o->path);
    if (o->content_type[0] != '\0')
        r->content_type = tn_str_from(o->content_type);
    t->about = tn_arena_printf(arena, "%s, %s, %zu bytes a request, http://%s:%s%.*s", o->model,
                               names[t->api], r->body.len, t->host, t->port, TN_FMT(r->path));
    return TERN_OK;
}
