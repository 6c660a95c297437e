/*
 * codec/pb_predict_write.c - PredictResponse as pieces; see codec/pb_predict.h.
 *
 * Fields in the order of protobuf's C++ serialization, so that the bytes are the original's but for the order
 * of the outputs map. Float, double and complex values lie packed on the wire as they lie in memory: they
 * stay there. Varints are written to the arena.
 */
#include "codec/pb_predict.h"
#include "codec/pb_tensor.h"
#include "codec/pb_wire.h"

/* PredictResponse{outputs = 1, model_spec = 2}; ModelSpec{name = 1, version = 2, signature_name = 3}. */
enum { RESPONSE_OUTPUTS = 1, RESPONSE_MODEL_SPEC = 2 };

#define HEAD_MAX 20

/* What follows a tensor's dtype and shape: at most one field, or the strings. */
typedef struct payload {
    const void *ptr;
    size_t len;
    uint32_t field; /* 0: none */
    bool raw;       /* ptr is whole fields already (string_val) */
} payload;

/* The integer at index i, as protobuf widens it: sign-extended to 64 bits. */
static uint64_t widened(const tern_tensor *t, size_t i)
{
    switch (t->dtype) {
    case TERN_INT32:
    case TERN_QINT32:
        return (uint64_t)(int64_t)((const int32_t *)t->data)[i];
    case TERN_INT16:
    case TERN_QINT16:
        return (uint64_t)(int64_t)((const int16_t *)t->data)[i];
    case TERN_INT8:
    case TERN_QINT8:
        return (uint64_t)(int64_t)((const int8_t *)t->data)[i];
    case TERN_UINT8:
    case TERN_QUINT8:
    case TERN_BOOL:
        return ((const uint8_t *)t->data)[i];
    case TERN_UINT32:
        return ((const uint32_t *)t->data)[i];
    case TERN_INT64:
    case TERN_UINT64:
        return ((const uint64_t *)t->data)[i];
    default:
        return ((const uint16_t *)t->data)[i]; /* uint16, quint16, half, bfloat16 */
    }
}

static bool encode_varints(const tern_tensor *t, size_t count, tn_arena *arena, payload *p)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += tn_pb_varint_size(widened(t, i));
    uint8_t *out = tn_arena_alloc(arena, bytes);
    if (out == NULL)
        return false;
    p->ptr = out;
    p->len = bytes;
    for (size_t i = 0; i < count; i++)
        out += tn_pb_put_varint(out, widened(t, i));
    return true;
}

/*
 * string_val fields, one for each element; or, as content, all lengths and then all bytes
 * (port::EncodeStringList).
 */
static bool encode_strings(const tern_tensor *t, size_t count, bool as_content, tn_arena *arena, payload *p)
{
    const uint64_t *offsets = tn_string_offsets(t);
    size_t bytes = (size_t)offsets[count];
    for (size_t i = 0; i < count; i++) {
        uint64_t n = offsets[i + 1] - offsets[i];
        bytes += as_content ? tn_pb_varint_size(n) : tn_pb_head_size(TN_TENSOR_STRING_VAL, n);
    }
    uint8_t *out = tn_arena_alloc(arena, bytes);
    if (out == NULL)
        return false;
    *p = (payload){.ptr = out,
                   .len = bytes,
                   .field = as_content ? TN_TENSOR_CONTENT : TN_TENSOR_STRING_VAL,
                   .raw = !as_content};
    for (size_t i = 0; i < count; i++) {
        tn_str s = tn_string_at(t, (int64_t)count, (int64_t)i);
        out += as_content ? tn_pb_put_varint(out, s.len) : tn_pb_put_head(out, TN_TENSOR_STRING_VAL, s.len);
        if (!as_content && s.len > 0) {
            memcpy(out, s.ptr, s.len);
            out += s.len;
        }
    }
    if (as_content && offsets[count] > 0)
        memcpy(out, tn_string_bytes(t, (int64_t)count), (size_t)offsets[count]);
    return true;
}

static bool make_payload(const tern_tensor *t, bool as_content, tn_arena *arena, payload *p)
{
    const tn_typed *typed = tn_typed_of(t->dtype);
    size_t count = (size_t)tn_tensor_count(t);
    *p = (payload){0};
    if (count == 0 || typed == NULL)
        return true;
    if (t->dtype == TERN_STRING)
        return encode_strings(t, count, as_content, arena, p);
    p->field = as_content ? TN_TENSOR_CONTENT : typed->field;
    if (!as_content && typed->wire == TN_PB_VARINT)
        return encode_varints(t, count, arena, p);
    p->ptr = t->data;
    p->len = count * typed->unit * typed->parts;
    return true;
}

static size_t dim_size(int64_t n)
{
    return n != 0 ? 1 + tn_pb_varint_size((uint64_t)n) : 0;
}

static size_t shape_size(const tern_tensor *t)
{
    size_t n = 0;
    for (int32_t i = 0; i < t->rank; i++)
        n += 2 + dim_size(t->dims[i]);
    return n;
}

static uint8_t *put_shape(uint8_t *out, const tern_tensor *t)
{
    out += tn_pb_put_head(out, TN_TENSOR_SHAPE, shape_size(t));
    for (int32_t i = 0; i < t->rank; i++) {
        out += tn_pb_put_head(out, 2, dim_size(t->dims[i]));
        if (t->dims[i] != 0) {
            *out++ = 1 << 3;
            out += tn_pb_put_varint(out, (uint64_t)t->dims[i]);
        }
    }
    return out;
}

/* One entry of the outputs map: its head in the arena, then the payload. */
static bool put_output(tn_str name, const tern_tensor *t, bool as_content, tn_arena *arena, tn_piece *head,
                       tn_piece *body)
{
    payload p;
    if (!make_payload(t, as_content, arena, &p))
        return false;
    size_t dtype_size = 1 + tn_pb_varint_size((uint64_t)t->dtype);
    size_t shape = shape_size(t);
    size_t field_head = p.field != 0 && !p.raw ? tn_pb_head_size(p.field, p.len) : 0;
    size_t tensor = dtype_size + tn_pb_head_size(TN_TENSOR_SHAPE, shape) + shape + field_head + p.len;
    size_t entry = tn_pb_head_size(1, name.len) + name.len + tn_pb_head_size(2, tensor) + tensor;
    uint8_t *start = tn_arena_alloc(arena, HEAD_MAX * 4 + name.len + dtype_size + shape + field_head);
    if (start == NULL)
        return false;
    uint8_t *out = start + tn_pb_put_head(start, RESPONSE_OUTPUTS, entry);
    out += tn_pb_put_head(out, 1, name.len);
    if (name.len > 0)
        memcpy(out, name.ptr, name.len);
    out += name.len;
    out += tn_pb_put_head(out, 2, tensor);
    *out++ = TN_TENSOR_DTYPE << 3;
    out += tn_pb_put_varint(out, (uint64_t)t->dtype);
    out = put_shape(out, t);
    if (field_head > 0)
        out += tn_pb_put_head(out, p.field, p.len);
    *head = (tn_piece){start, (size_t)(out - start)};
    *body = (tn_piece){p.ptr, p.len};
    return true;
}

static bool put_model_spec(tn_str model, int64_t version, tn_str signature, tn_arena *arena, tn_piece *piece)
{
    size_t size = tn_pb_spec_size(RESPONSE_MODEL_SPEC, model, version, signature);
    uint8_t *start = tn_arena_alloc(arena, size);
    if (start == NULL)
        return false;
    tn_pb_put_spec(start, RESPONSE_MODEL_SPEC, model, version, signature);
    *piece = (tn_piece){start, size};
    return true;
}

tern_code tn_pb_encode_predict(tn_str model, int64_t version, tn_str signature, const tn_str *names,
                               const tern_tensor *tensors, uint32_t n_tensors, bool as_content,
                               tn_arena *arena, tn_piece **pieces, uint32_t *n, size_t *total,
                               tern_status *st)
{
    tn_piece *list = tn_arena_array(arena, (size_t)n_tensors * 2 + 1, sizeof *list);
    uint32_t used = 0;
    bool good = list != NULL;
    for (uint32_t i = 0; good && i < n_tensors; i++) {
        good = put_output(names[i], &tensors[i], as_content, arena, &list[used], &list[used + 1]);
        used += good && list[used + 1].len > 0 ? 2 : 1;
    }
    good = good && put_model_spec(model, version, signature, arena, &list[used]);
    if (!good)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "No memory to write the answer (--max_call_arena_bytes); ask for fewer outputs with "
                         "output_filter");
    *pieces = list;
    *n = used + 1;
    *total = 0;
    for (uint32_t i = 0; i < *n; i++)
        *total += list[i].len;
    return TERN_OK;
}
