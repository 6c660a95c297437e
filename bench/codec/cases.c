/*
 * bench/codec/cases.c - see cases.h: texts as clients write them, and the ways over them.
 *
 * Ours are the functions that the server calls, whole: a body to tensors that own their memory, tensors to an
 * answer. The peer of reading is simdjson (peer.cpp) into memory that is there already; of writing, printf
 * into memory that is there already; of tensor_content, memcpy into memory of its own.
 */
#include "cases.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/json_predict.h"
#include "codec/pb_predict.h"
#include "codec/pb_tensor.h"
#include "codec/pb_wire.h"
#ifdef TN_BENCH_SIMDJSON
#include "peer.h"
#endif

#define PIECE   (64u << 10) /* a read of the server */
#define PADDING 256

static void fail(const bench_case *c, const char *what)
{
    fprintf(stderr, "codec: %s: %s\n", c->name, what);
    exit(1);
}

static void *memory(size_t n)
{
    void *p = calloc(1, n);
    if (p == NULL) {
        fprintf(stderr, "codec: no memory for %zu bytes\n", n);
        exit(1);
    }
    return p;
}

/* ---- values ---- */

/* splitmix64 */
static uint64_t dice(void)
{
    static uint64_t state = 7;
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* [0, 1) */
static double even(void)
{
    return (double)(dice() >> 11) * 0x1p-53;
}

static double normal(void)
{
    return sqrt(-2 * log(1 - even())) * cos(2 * 3.14159265358979323846 * even());
}

/*
 * As the HTML model's: of every 20 some small counts or hashes of up to 16 bits, the rest is padding, which
 * is 0.
 */
static double token(void)
{
    static int at, used;
    if (at == 0)
        used = (int)(dice() % 17);
    const int i = at++;
    at %= 20;
    return i >= used ? 0 : (double)(dice() % 3 == 0 ? dice() % 100 : dice() % 65536);
}

static double whole32(void)
{
    return (double)(int32_t)dice();
}

static double pixel(void)
{
    return (double)(dice() % 256);
}

static double six(void)
{
    return round(even() * 1e6) / 1e6;
}

static double one(void)
{
    return 1;
}

/* ---- texts ---- */

/* The shortest that reads back as the same double, as Python's repr. */
static int python_text(char *to, size_t size, double v)
{
    for (int digits = 15;; digits++) {
        int n = snprintf(to, size, "%.*g", digits, v);
        if (digits == 17 || strtod(to, NULL) == v)
            return n + (strpbrk(to, ".e") == NULL ? snprintf(to + n, size - (size_t)n, ".0") : 0);
    }
}

static int number_text(const bench_case *c, int64_t i, bool nine, char *to, size_t size)
{
    switch (c->dtype) {
    case TERN_FLOAT:
        if (nine)
            return snprintf(to, size, "%.9g", (double)((const float *)c->values)[i]);
        return python_text(to, size, (double)((const float *)c->values)[i]);
    case TERN_DOUBLE:
        return python_text(to, size, ((const double *)c->values)[i]);
    case TERN_INT64:
        return snprintf(to, size, "%lld", (long long)((const int64_t *)c->values)[i]);
    default:
        return snprintf(to, size, "%d", ((const int32_t *)c->values)[i]);
    }
}

static void put_value(bench_case *c, int64_t i, double v)
{
    switch (c->dtype) {
    case TERN_FLOAT:
        ((float *)c->values)[i] = (float)v;
        break;
    case TERN_DOUBLE:
        ((double *)c->values)[i] = v;
        break;
    case TERN_INT64:
        ((int64_t *)c->values)[i] = (int64_t)dice() >> (dice() % 63);
        break;
    default:
        ((int32_t *)c->values)[i] = (int32_t)v;
    }
}

/* {"instances":[[v,v],[v,v]]}: rows of the last dimension, in lists of the one before. */
static void write_json(bench_case *c, bool nine, bool spaced)
{
    const char *between = spaced ? ", " : ",";
    int64_t last = c->dims[c->rank - 1], inner = c->rank > 2 ? last * c->dims[1] : last;
    tn_buf b;
    tn_buf_init(&b, SIZE_MAX / 2);
    tn_buf_z(&b, "{\"instances\":[");
    for (int64_t i = 0; i < c->count; i++) {
        char text[64];
        if (i > 0)
            tn_buf_z(&b, i % inner == 0 && c->rank > 2 ? "]]" : i % last == 0 ? "]" : "");
        if (i > 0)
            tn_buf_z(&b, between);
        if (i % last == 0)
            tn_buf_z(&b, i % inner == 0 && c->rank > 2 ? "[[" : "[");
        tn_buf_append(&b, text, (size_t)number_text(c, i, nine, text, sizeof text));
    }
    tn_buf_z(&b, c->rank > 2 ? "]]]}" : "]]}");
    c->text_len = b.len;
    tn_buf_fill(&b, '\0', PADDING);
    c->text = b.ptr;
}

/* ---- reading ---- */

static tern_signature_set signature_of(const bench_case *c, tern_signature *s, tern_io *io)
{
    *io = (tern_io){.name = TN_STR_INIT("x"), .dtype = c->dtype, .rank = -1};
    *s = (tern_signature){.name = TN_STR_INIT("serving_default"), .inputs = io, .n_inputs = 1};
    return (tern_signature_set){.signatures = s, .n_signatures = 1};
}

static void read_json(bench_case *c, tn_arena *arena, tn_predict *p)
{
    const tn_json_limits limits = {.max_depth = 100, .max_tensor_bytes = 1 << 30, .max_tape_bytes = 1 << 20};
    tern_signature s;
    tern_io io;
    tern_status st;
    const tern_signature_set set = signature_of(c, &s, &io);
    tn_arena_init(arena, 1u << 20);
    if (tn_json_decode_predict((tn_str){c->text, c->text_len}, &set, &limits, arena, p, &st) != TERN_OK)
        fail(c, st.message);
}

static void decode_ours(bench_case *c)
{
    tn_arena arena;
    tn_predict p;
    read_json(c, &arena, &p);
    tn_predict_release(&p);
    tn_arena_free(&arena);
}

#ifdef TN_BENCH_SIMDJSON
static void decode_peer(bench_case *c)
{
    const size_t room = (size_t)c->count;
    int64_t n = c->dtype == TERN_FLOAT    ? tn_peer_floats(c->text, c->text_len, c->rank, c->copy, room)
                : c->dtype == TERN_DOUBLE ? tn_peer_doubles(c->text, c->text_len, c->rank, c->copy, room)
                : c->dtype == TERN_INT32  ? tn_peer_int32s(c->text, c->text_len, c->rank, c->copy, room)
                                          : tn_peer_int64s(c->text, c->text_len, c->rank, c->copy, room);
    if (n != c->count)
        fail(c, "simdjson reads something else");
}
#endif

static void decode_check(bench_case *c)
{
    tn_arena arena;
    tn_predict p;
    const size_t bytes = (size_t)c->count * tn_dtype_size(c->dtype);
    read_json(c, &arena, &p);
    if (p.n_inputs != 1 || p.inputs[0].size != bytes || memcmp(p.inputs[0].data, c->values, bytes) != 0)
        fail(c, "is not read as it was written");
    tn_predict_release(&p);
    tn_arena_free(&arena);
    if (c->peers == NULL)
        return;
    c->peers(c);
    for (int64_t i = 0; i < c->count; i++) {
        /* By way of a double, a float may come out as its neighbour. */
        const bool same = c->dtype == TERN_FLOAT
                              ? fabsf(((float *)c->copy)[i] - ((float *)c->values)[i]) <=
                                    fabsf(((float *)c->values)[i]) * 0x1p-22f
                              : memcmp((char *)c->copy + (size_t)i * (bytes / (size_t)c->count),
                                       (char *)c->values + (size_t)i * (bytes / (size_t)c->count),
                                       bytes / (size_t)c->count) == 0;
        if (!same)
            fail(c, "simdjson reads other values");
    }
}

/* ---- writing ---- */

static void encode(bench_case *c, tn_buf *out)
{
    const tern_tensor t = {.dtype = c->dtype,
                           .rank = c->rank,
                           .dims = c->dims,
                           .data = c->values,
                           .size = (size_t)c->count * tn_dtype_size(c->dtype)};
    const tn_json_style style = {.row = true};
    const tn_str name = TN_STR("y");
    tern_status st;
    tn_buf_init(out, SIZE_MAX / 2);
    if (tn_json_encode_predict(&style, &name, &t, 1, out, &st) != TERN_OK)
        fail(c, st.message);
}

static void encode_ours(bench_case *c)
{
    tn_buf out;
    encode(c, &out);
    tn_buf_free(&out);
}

/* One call a number, and no attempt at six digits. */
static void encode_call(bench_case *c)
{
    char *to = c->copy;
    for (int64_t i = 0; i < c->count; i++) {
        int n = c->dtype == TERN_FLOAT    ? snprintf(to, 32, "%.9g", (double)((float *)c->values)[i])
                : c->dtype == TERN_DOUBLE ? snprintf(to, 32, "%.17g", ((double *)c->values)[i])
                                          : snprintf(to, 32, "%d", ((int32_t *)c->values)[i]);
        to += n;
        *to++ = ',';
    }
}

/* The form of the answers, as the original makes it: six digits, read back, else all. */
static void encode_form(bench_case *c)
{
    char *to = c->copy;
    for (int64_t i = 0; i < c->count; i++) {
        const bool narrow = c->dtype == TERN_FLOAT;
        const double v = narrow ? (double)((float *)c->values)[i] : ((double *)c->values)[i];
        int n = snprintf(to, 32, "%.6g", v);
        if (narrow ? strtof(to, NULL) != (float)v : strtod(to, NULL) != v)
            n = snprintf(to, 32, "%.*g", narrow ? 9 : 17, v);
        if (strpbrk(to, ".e") == NULL)
            n += snprintf(to + n, 3, ".0");
        to += n;
        *to++ = ',';
    }
}

/* What is written is what was recorded of the original, and reads back. */
static void encode_check(bench_case *c)
{
    tn_buf out;
    encode(c, &out);
    tn_buf_char(&out, '\0');
    const char *at = out.ptr != NULL ? strpbrk(out.ptr, "0123456789-") : NULL;
    for (int64_t i = 0; i < c->count; i++) {
        char *end = NULL;
        if (at == NULL)
            fail(c, "is not written whole");
        const bool same = c->dtype == TERN_FLOAT    ? strtof(at, &end) == ((float *)c->values)[i]
                          : c->dtype == TERN_DOUBLE ? strtod(at, &end) == ((double *)c->values)[i]
                                                    : strtol(at, &end, 10) == ((int32_t *)c->values)[i];
        if (!same)
            fail(c, "does not read back");
        at = strpbrk(end, "0123456789-");
    }
    c->text_len = out.len - 1;
    tn_buf_free(&out);
}

/* ---- protobuf ---- */

/* PredictRequest{inputs: {"x": TensorProto{dtype, shape, values}}} */
static void write_message(bench_case *c, bool as_content)
{
    const tn_typed *t = tn_typed_of(c->dtype);
    tn_buf dims, tensor, entry, b;
    uint8_t bytes[10];
    tn_buf_init(&dims, 1024);
    tn_buf_init(&tensor, SIZE_MAX / 2);
    tn_buf_init(&entry, SIZE_MAX / 2);
    tn_buf_init(&b, SIZE_MAX / 2);
    for (int64_t i = 0; !as_content && i < c->count; i++) {
        uint64_t v = c->dtype == TERN_INT64 ? (uint64_t)((int64_t *)c->values)[i]
                                            : (uint64_t)(int64_t)((int32_t *)c->values)[i];
        tn_buf_append(&entry, bytes, tn_pb_put_varint(bytes, v));
    }
    if (as_content)
        tn_buf_append(&entry, c->values, (size_t)c->count * tn_dtype_size(c->dtype));
    tn_buf_append(&dims, "\x08", 1);
    tn_buf_append(&dims, bytes, tn_pb_put_varint(bytes, (uint64_t)c->count));
    tn_pb_add_number(&tensor, TN_TENSOR_DTYPE, (uint64_t)c->dtype);
    tn_pb_add_head(&tensor, TN_TENSOR_SHAPE, dims.len + tn_pb_head_size(2, dims.len));
    tn_pb_add_bytes(&tensor, 2, tn_buf_view(&dims));
    tn_pb_add_bytes(&tensor, as_content ? TN_TENSOR_CONTENT : t->field, tn_buf_view(&entry));
    tn_buf_clear(&entry);
    tn_pb_add_bytes(&entry, 1, TN_STR("x"));
    tn_pb_add_bytes(&entry, 2, tn_buf_view(&tensor));
    tn_pb_add_bytes(&b, 2, tn_buf_view(&entry));
    c->text = b.ptr;
    c->text_len = b.len;
    tn_buf_free(&dims);
    tn_buf_free(&tensor);
    tn_buf_free(&entry);
}

static void read_message(bench_case *c, tn_arena *arena, tn_predict *p)
{
    const tn_pb_predict_limits limits = {.max_tensor_bytes = 1 << 30, .max_inputs = 4};
    tern_signature s;
    tern_io io;
    tern_status st;
    uint32_t *outputs, n_outputs;
    const tern_signature_set set = signature_of(c, &s, &io);
    tn_arena_init(arena, 1u << 20);
    tn_pb_predict_reader *r = tn_pb_predict_new(&limits, arena);
    if (r == NULL)
        fail(c, "no memory");
    for (size_t at = 0; at < c->text_len; at += PIECE) {
        size_t n = c->text_len - at < PIECE ? c->text_len - at : PIECE;
        if (tn_pb_predict_feed(r, c->text + at, n, &st) != TERN_OK)
            fail(c, st.message);
    }
    if (tn_pb_predict_finish(r, &st) != TERN_OK ||
        tn_pb_predict_bind(r, set.signatures, arena, p, &outputs, &n_outputs, &st) != TERN_OK)
        fail(c, st.message);
}

static void wire_ours(bench_case *c)
{
    tn_arena arena;
    tn_predict p;
    read_message(c, &arena, &p);
    tn_predict_release(&p);
    tn_arena_free(&arena);
}

static void wire_check(bench_case *c)
{
    tn_arena arena;
    tn_predict p;
    const size_t bytes = (size_t)c->count * tn_dtype_size(c->dtype);
    read_message(c, &arena, &p);
    if (p.n_inputs != 1 || p.inputs[0].size != bytes || memcmp(p.inputs[0].data, c->values, bytes) != 0)
        fail(c, "is not read as it was written");
    tn_predict_release(&p);
    tn_arena_free(&arena);
}

/* A byte at a time, as the format is told. */
static void varint_peer(bench_case *c)
{
    tn_pb r = tn_pb_from((tn_str){c->text, c->text_len});
    tn_pb_field f = {0};
    /* request, entry, tensor: what is last in each */
    for (int level = 0; level < 3; level++) {
        while (tn_pb_more(&r))
            if (!tn_pb_next(&r, &f))
                fail(c, "message");
        r = tn_pb_from(f.bytes);
    }
    for (int64_t i = 0; i < c->count; i++) {
        uint64_t v = 0;
        for (unsigned shift = 0; shift < 70; shift += 7) {
            const uint8_t byte = *r.at++;
            v |= (uint64_t)(byte & 0x7F) << shift;
            if (byte < 0x80)
                break;
        }
        if (c->dtype == TERN_INT64)
            ((int64_t *)c->copy)[i] = (int64_t)v;
        else
            ((int32_t *)c->copy)[i] = (int32_t)v;
    }
}

static void content_peer(bench_case *c)
{
    tern_buffer *b = tn_buffer_new(c->text_len);
    if (b == NULL)
        fail(c, "no memory");
    memcpy(b->data, c->text, c->text_len);
    tern_buffer_release(b);
}

/* ---- the table ---- */

typedef struct recipe {
    const char *name;
    const char *group;
    const char *about;
    tern_dtype dtype;
    int32_t rank;
    int64_t dims[3];
    double (*value)(void);
    bool spaced, nine; /* JSON */
} recipe;

static const recipe recipes[] = {
    {"tokens",
     "decode",
     "small integers and padding, as the HTML model's",
     TERN_INT32,
     3,
     {1, 8192, 60},
     token,
     false,
     false},
    {"tokens_spaced",
     "decode",
     "the same with a blank behind each comma",
     TERN_INT32,
     3,
     {1, 8192, 60},
     token,
     true,
     false},
    {"int32", "decode", "whole numbers of 32 bits", TERN_INT32, 2, {10000, 60}, whole32, false, false},
    {"pixels", "decode", "lists of three, 0 to 255", TERN_INT32, 3, {256, 256, 3}, pixel, false, false},
    {"pairs", "decode", "lists of two like 0.123456", TERN_FLOAT, 2, {200000, 2}, six, false, true},
    {"int64", "decode", "whole numbers of any length", TERN_INT64, 2, {10000, 60}, whole32, false, false},
    {"float_six", "decode", "rows of numbers like 0.123456", TERN_FLOAT, 2, {10000, 80}, six, false, true},
    {"float_nine", "decode", "floats with nine digits", TERN_FLOAT, 2, {10000, 60}, normal, false, true},
    {"float_python",
     "decode",
     "floats as Python writes them: as doubles",
     TERN_FLOAT,
     2,
     {10000, 40},
     normal,
     true,
     false},
    {"double_python",
     "decode",
     "doubles as Python writes them",
     TERN_DOUBLE,
     2,
     {10000, 40},
     normal,
     true,
     false},
    {"float_one", "decode", "a mask: 1.0", TERN_FLOAT, 2, {10000, 100}, one, false, false},
    {"float", "encode", "floats of nine digits", TERN_FLOAT, 2, {10000, 100}, normal, false, false},
    {"float_short", "encode", "floats of six digits", TERN_FLOAT, 2, {10000, 100}, six, false, false},
    {"double", "encode", "doubles", TERN_DOUBLE, 2, {10000, 50}, normal, false, false},
    {"float_call",
     "encode",
     "the same floats; one call of printf each",
     TERN_FLOAT,
     2,
     {10000, 100},
     normal,
     false,
     false},
    {"double_call",
     "encode",
     "the same doubles; one call of printf each",
     TERN_DOUBLE,
     2,
     {10000, 50},
     normal,
     false,
     false},
    {"int32_out", "encode", "small integers", TERN_INT32, 2, {10000, 100}, token, false, false},
    {"varint32",
     "wire",
     "packed int_val, as the HTML model's",
     TERN_INT32,
     1,
     {1000000},
     token,
     false,
     false},
    {"varint64", "wire", "packed int64_val of any length", TERN_INT64, 1, {500000}, whole32, false, false},
    {"content", "wire", "tensor_content", TERN_FLOAT, 1, {2000000}, normal, false, false},
};

static void set_ways(bench_case *c)
{
    const bool wire = strcmp(c->group, "wire") == 0;
    if (strcmp(c->group, "decode") == 0) {
        c->ours = decode_ours;
        c->check = decode_check;
#ifdef TN_BENCH_SIMDJSON
        c->peer = "simdjson";
        c->peers = decode_peer;
#endif
    } else if (!wire) {
        c->ours = encode_ours;
        c->check = encode_check;
        const bool form = c->dtype != TERN_INT32 && strstr(c->name, "_call") == NULL;
        c->peer = form                      ? "printf, same form"
                  : c->dtype == TERN_FLOAT  ? "printf %.9g"
                  : c->dtype == TERN_DOUBLE ? "printf %.17g"
                                            : "printf %d";
        c->peers = form ? encode_form : encode_call;
    } else {
        const bool content = strcmp(c->name, "content") == 0;
        c->ours = wire_ours;
        c->check = wire_check;
        c->peer = content ? "memcpy" : "byte by byte";
        c->peers = content ? content_peer : varint_peer;
    }
}

static void make(bench_case *c, const recipe *r, double scale)
{
    const int longest = r->rank > 2 ? 1 : 0; /* dimension */
    *c = (bench_case){.name = r->name,
                      .group = r->group,
                      .about = r->about,
                      .dtype = r->dtype,
                      .rank = r->rank,
                      .count = 1};
    for (int32_t d = 0; d < r->rank; d++) {
        int64_t size = d == longest ? (int64_t)((double)r->dims[d] * scale) : r->dims[d];
        c->dims[d] = size > 0 ? size : 1;
        c->count *= c->dims[d];
    }
    c->values = memory((size_t)c->count * tn_dtype_size(c->dtype));
    c->copy = memory((size_t)c->count * 32 + PADDING);
    for (int64_t i = 0; i < c->count; i++)
        put_value(c, i, r->value());
    set_ways(c);
    if (strcmp(c->group, "decode") == 0)
        write_json(c, r->nine, r->spaced);
    else if (strcmp(c->group, "wire") == 0)
        write_message(c, strcmp(c->name, "content") == 0);
    c->check(c);
}

bench_case *bench_cases(size_t *n, double scale)
{
    *n = sizeof recipes / sizeof recipes[0];
    bench_case *cases = memory(*n * sizeof *cases);
    for (size_t i = 0; i < *n; i++)
        make(&cases[i], &recipes[i], scale);
    return cases;
}

void bench_cases_free(bench_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(cases[i].values);
        free(cases[i].copy);
        free(cases[i].text);
    }
    free(cases);
}
