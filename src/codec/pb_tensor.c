/*
 * codec/pb_tensor.c - see codec/pb_tensor.h.
 */
#include "codec/pb_tensor.h"

#include "codec/pb_wire.h"

/* The budget is shared by all threads: it is asked for so much at least. */
#define TAKE_STEP 4096

static const tn_typed typed[] = {
    [TERN_FLOAT] = {TN_TENSOR_FLOAT_VAL, TN_PB_FIXED32, 4, 1},
    [TERN_DOUBLE] = {TN_TENSOR_DOUBLE_VAL, TN_PB_FIXED64, 8, 1},
    [TERN_INT32] = {TN_TENSOR_INT_VAL, TN_PB_VARINT, 4, 1},
    [TERN_UINT8] = {TN_TENSOR_INT_VAL, TN_PB_VARINT, 1, 1},
    [TERN_INT16] = {TN_TENSOR_INT_VAL, TN_PB_VARINT, 2, 1},
    [TERN_INT8] = {TN_TENSOR_INT_VAL, TN_PB_VARINT, 1, 1},
    [TERN_STRING] = {TN_TENSOR_STRING_VAL, TN_PB_BYTES, 0, 1},
    [TERN_COMPLEX64] = {TN_TENSOR_SCOMPLEX_VAL, TN_PB_FIXED32, 4, 2},
    [TERN_INT64] = {TN_TENSOR_INT64_VAL, TN_PB_VARINT, 8, 1},
    [TERN_BOOL] = {TN_TENSOR_BOOL_VAL, TN_PB_VARINT, 1, 1},
    [TERN_QINT8] = {TN_TENSOR_INT_VAL, TN_PB_VARINT, 1, 1},
    [TERN_QUINT8] = {TN_TENSOR_INT_VAL, TN_PB_VARINT, 1, 1},
    [TERN_QINT32] = {TN_TENSOR_INT_VAL, TN_PB_VARINT, 4, 1},
    [TERN_BFLOAT16] = {TN_TENSOR_HALF_VAL, TN_PB_VARINT, 2, 1},
    [TERN_QINT16] = {TN_TENSOR_INT_VAL, TN_PB_VARINT, 2, 1},
    [TERN_QUINT16] = {TN_TENSOR_INT_VAL, TN_PB_VARINT, 2, 1},
    [TERN_UINT16] = {TN_TENSOR_INT_VAL, TN_PB_VARINT, 2, 1},
    [TERN_COMPLEX128] = {TN_TENSOR_DCOMPLEX_VAL, TN_PB_FIXED64, 8, 2},
    [TERN_HALF] = {TN_TENSOR_HALF_VAL, TN_PB_VARINT, 2, 1},
    [TERN_UINT32] = {TN_TENSOR_UINT32_VAL, TN_PB_VARINT, 4, 1},
    [TERN_UINT64] = {TN_TENSOR_UINT64_VAL, TN_PB_VARINT, 8, 1},
};

const tn_typed *tn_typed_of(tern_dtype dtype)
{
    if ((size_t)dtype >= sizeof typed / sizeof typed[0] || typed[dtype].field == 0)
        return NULL;
    return &typed[dtype];
}

/*
 * Elements that no machine has memory for: where the original fails to allocate, and says that it is no
 * tensor.
 */
#define BEYOND_MEMORY (1LL << 40)

/* By number: newer than the contract, and no model's signature of it is served. */
static const char *const left_out[] = {[TERN_RESOURCE] = "resource",
                                       [TERN_VARIANT] = "variant",
                                       [24] = "float8_e5m2",
                                       [25] = "float8_e4m3fn",
                                       [26] = "float8_e4m3fnuz",
                                       [27] = "float8_e4m3b11fnuz",
                                       [28] = "float8_e5m2fnuz",
                                       [29] = "int4",
                                       [30] = "uint4",
                                       [31] = "int2",
                                       [32] = "uint2",
                                       [33] = "float4_e2m1fn"};

const char *tn_left_out_name(tern_dtype dtype)
{
    return (size_t)dtype < sizeof left_out / sizeof left_out[0] ? left_out[dtype] : NULL;
}

bool tn_room_take(tn_tensor_room *room, size_t bytes)
{
    if (bytes > room->left) {
        size_t more = bytes - room->left < TAKE_STEP ? TAKE_STEP : bytes - room->left;
        if (!tn_budget_take(room->budget, more))
            return false;
        room->taken += more;
        room->left += more;
    }
    room->left -= bytes;
    return true;
}

void tn_build_init(tn_tensor_build *b, tn_tensor_room *room)
{
    *b = (tn_tensor_build){.room = room, .count = 1};
    tn_buf_init(&b->string_bytes, room->max);
    tn_buf_init(&b->string_ends, room->max);
}

void tn_build_free(tn_tensor_build *b)
{
    tern_buffer_release(b->content);
    tern_buffer_release(b->values);
    tn_buf_free(&b->string_bytes);
    tn_buf_free(&b->string_ends);
    b->content = b->values = NULL;
}

static bool read_dim(tn_str message, int64_t *size)
{
    tn_pb r = tn_pb_from(message);
    tn_pb_field f = {0};
    *size = 0;
    while (tn_pb_more(&r)) {
        if (!tn_pb_next(&r, &f))
            return false;
        if (f.number == 1 && f.type == TN_PB_VARINT)
            *size = (int64_t)f.value;
        if (f.number == 2 && f.type == TN_PB_BYTES && !tn_str_is_utf8(f.bytes))
            return false; /* the dimension's name */
    }
    return true;
}

/*
 * TensorShapeProto{dim = 2, unknown_rank = 3}; a second message of it adds its dims, as protobuf merges. A
 * tensor's shape is its dims, whatever unknown_rank says: TensorFlow reads it so.
 */
bool tn_build_shape(tn_tensor_build *b, tn_str message, tn_arena *arena)
{
    int64_t dims[TERN_MAX_RANK];
    const size_t before = (size_t)b->rank;
    size_t rank = before;
    tn_pb r = tn_pb_from(message);
    tn_pb_field f = {0};
    if (rank > 0)
        memcpy(dims, b->dims, rank * sizeof dims[0]);
    while (tn_pb_more(&r)) {
        int64_t size = 0;
        if (!tn_pb_next(&r, &f))
            return false;
        if (f.number != 2 || f.type != TN_PB_BYTES)
            continue;
        if (!read_dim(f.bytes, &size))
            return false;
        if (rank < TERN_MAX_RANK)
            dims[rank++] = size;
        else
            b->shape_bad = true;
    }
    if (b->dims == NULL || rank > (size_t)b->cap_dims) {
        /* What comes in many small messages gets the most there can be, once. */
        b->cap_dims = before > 0 ? TERN_MAX_RANK : (int32_t)rank;
        b->dims = tn_arena_array(arena, (size_t)b->cap_dims, sizeof *b->dims);
    }
    if (b->dims == NULL || !tn_shape_count((int32_t)rank, dims, &b->count)) {
        b->shape_bad = true;
        return true;
    }
    if (rank > 0)
        memcpy((int64_t *)(uintptr_t)b->dims, dims, rank * sizeof dims[0]);
    b->rank = (int32_t)rank;
    return true;
}

/*
 * A buffer of `size` bytes that starts with the first `keep` of `old`; releases old. NULL over the limit or
 * without memory.
 */
static tern_buffer *grow(tn_tensor_room *room, tern_buffer *old, size_t keep, size_t size)
{
    size_t before = old != NULL ? old->size : 0;
    tern_buffer *b = NULL;
    if (size <= room->max && room->used - before <= room->max - size)
        b = tn_buffer_new(size);
    if (b == NULL)
        return NULL;
    if (keep > 0)
        memcpy(b->data, old->data, keep);
    tern_buffer_release(old);
    room->used = room->used - before + b->size;
    return b;
}

static tern_code too_much(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                     "The tensors of this request need more memory than it may take (--max_body_bytes, "
                     "--max_bytes_in_flight)");
}

tern_code tn_build_content(tn_tensor_build *b, size_t more, char **at, tern_status *st)
{
    size_t need = b->content_len + more;
    if (b->content == NULL || b->content->size < need) {
        tern_buffer *bigger = grow(b->room, b->content, b->content_len, need);
        if (bigger == NULL)
            return too_much(st);
        b->content = bigger;
    }
    *at = (char *)b->content->data + b->content_len;
    return TERN_OK;
}

tern_code tn_build_values(tn_tensor_build *b, const tn_typed *t, size_t more, char **at, tern_status *st)
{
    size_t need = b->n_values + more;
    if (b->cap_values < need) {
        /* The shape mostly says how many there will be. */
        size_t whole = (size_t)b->count * t->parts;
        size_t cap = need < whole && whole <= b->room->max / t->unit ? whole
                     : b->values == NULL                             ? need
                                                                     : need + need / 2;
        size_t bytes;
        if (__builtin_mul_overflow(cap, (size_t)t->unit, &bytes))
            return too_much(st);
        tern_buffer *bigger = grow(b->room, b->values, b->n_values * t->unit, bytes);
        if (bigger == NULL)
            return too_much(st);
        b->values = bigger;
        b->cap_values = cap;
    }
    *at = (char *)b->values->data + b->n_values * t->unit;
    return TERN_OK;
}

void tn_build_disown_values(tn_tensor_build *b)
{
    b->room->used -= b->values != NULL ? b->values->size : 0;
    tern_buffer_release(b->values);
    b->values = NULL;
    b->n_values = b->cap_values = 0; /* the capacity counts units of the old dtype */
    b->ambiguous = true;
}

void tn_build_put(tern_dtype dtype, char *at, uint64_t value)
{
    if (dtype == TERN_BOOL) {
        *at = value != 0;
        return;
    }
    memcpy(at, &value, tn_typed_of(dtype)->unit); /* little-endian: the low bytes, so narrow ints wrap */
}

tern_code tn_build_string(tn_tensor_build *b, tern_status *st)
{
    uint64_t end = b->string_bytes.len;
    tn_buf_append(&b->string_ends, &end, sizeof end);
    return b->string_bytes.failed || b->string_ends.failed || !tn_room_take(b->room, sizeof end)
               ? too_much(st)
               : TERN_OK;
}

/* The tensor of b's shape for so many bytes of strings. */
static tern_code new_strings(tn_tensor_build *b, uint64_t bytes, tn_arena *arena, tern_tensor *out,
                             tern_status *st)
{
    tn_tensor_room *room = b->room;
    size_t size;
    if (__builtin_mul_overflow((size_t)b->count, sizeof(uint64_t), &size) ||
        __builtin_add_overflow(size, bytes, &size) || size > room->max || room->used > room->max - size ||
        !tn_room_take(room, size))
        return too_much(st);
    room->used += size;
    return tn_tensor_new_string(out, b->rank, b->dims, bytes, arena, st);
}

/* ---- the tensor ---- */

/* The place after the lengths that tensor_content of strings begins with; NULL: they do not add up. */
static const uint8_t *after_lengths(const tn_tensor_build *b, uint64_t *total)
{
    const uint8_t *at = b->content->data, *end = at + b->content_len;
    uint64_t length = 0;
    *total = 0;
    for (int64_t i = 0; i < b->count; i++) {
        size_t n = tn_pb_varint(at, end, &length);
        if (n == 0 || length > b->content_len || (*total += length) > b->content_len)
            return NULL;
        at += n;
    }
    return *total == (uint64_t)(end - at) ? at : NULL;
}

/* tensor_content of a string tensor: the lengths as varints, then the bytes (port::DecodeStringList). */
static tern_code strings_of_content(tn_tensor_build *b, tn_arena *arena, tern_tensor *out, bool *valid,
                                    tern_status *st)
{
    const uint8_t *p = b->content->data, *end = p + b->content_len;
    uint64_t total, length = 0;
    const uint8_t *at = after_lengths(b, &total);
    if (at == NULL)
        return TERN_OK;
    tern_code code = new_strings(b, total, arena, out, st);
    if (code != TERN_OK)
        return code;
    uint64_t *offsets = tn_string_offsets(out);
    offsets[0] = 0;
    for (int64_t i = 0; i < b->count; i++) {
        p += tn_pb_varint(p, end, &length);
        offsets[i + 1] = offsets[i] + length;
    }
    if (total > 0)
        memcpy(tn_string_bytes(out, b->count), at, total);
    *valid = true;
    return TERN_OK;
}

static tern_code strings_of_values(tn_tensor_build *b, tn_arena *arena, tern_tensor *out, bool *valid,
                                   tern_status *st)
{
    const uint64_t *ends = (const uint64_t *)(const void *)b->string_ends.ptr;
    int64_t have = (int64_t)(b->string_ends.len / sizeof *ends);
    if (have > b->count)
        have = b->count;
    uint64_t bytes = have > 0 ? ends[have - 1] : 0;
    uint64_t last_from = have > 1 ? ends[have - 2] : 0;
    uint64_t last = bytes - last_from, repeated;
    if (__builtin_mul_overflow(last, (uint64_t)(b->count - have), &repeated) || repeated > b->room->max)
        return too_much(st);
    tern_code code = new_strings(b, bytes + repeated, arena, out, st);
    if (code != TERN_OK)
        return code;
    uint64_t *offsets = tn_string_offsets(out);
    char *to = tn_string_bytes(out, b->count);
    offsets[0] = 0;
    if (bytes > 0)
        memcpy(to, b->string_bytes.ptr, bytes);
    for (int64_t i = 0; i < b->count; i++) {
        offsets[i + 1] = i < have ? ends[i] : offsets[i] + last;
        if (i >= have && last > 0)
            memcpy(to + offsets[i], b->string_bytes.ptr + last_from, last);
    }
    *valid = true;
    return TERN_OK;
}

static bool bools_are_sound(const tern_buffer *content, size_t n)
{
    const uint8_t *p = content->data;
    uint8_t all = 0;
    for (size_t i = 0; i < n; i++)
        all |= p[i];
    return all <= 1;
}

/* Repeats the last element until the shape is full; zeros when there is none. */
static void fill_up(char *data, size_t have, size_t count, size_t size)
{
    if (have == 0) {
        memset(data, 0, count * size);
        return;
    }
    const char *last = data + (have - 1) * size;
    for (size_t i = have; i < count; i++)
        memcpy(data + i * size, last, size);
}

static tern_code values_to_tensor(tn_tensor_build *b, const tn_typed *t, tern_tensor *out, bool *valid,
                                  tern_status *st)
{
    size_t size = (size_t)t->unit * t->parts;
    size_t have = b->n_values / t->parts, count = (size_t)b->count, bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return too_much(st);
    if (have > count)
        have = count;
    if (!tn_room_take(b->room, bytes - have * size))
        return too_much(st);
    if (b->values == NULL || b->values->size < bytes) {
        tern_buffer *whole = grow(b->room, b->values, have * size, bytes);
        if (whole == NULL)
            return too_much(st);
        b->values = whole;
    }
    fill_up(b->values->data, have, count, size);
    out->buffer = b->values;
    out->data = b->values->data;
    out->size = bytes;
    b->values = NULL;
    *valid = true;
    return TERN_OK;
}

static void content_to_tensor(tn_tensor_build *b, size_t size, tern_tensor *out, bool *valid)
{
    size_t bytes;
    if (__builtin_mul_overflow((size_t)b->count, size, &bytes) || bytes != b->content_len)
        return;
    if (b->dtype == TERN_BOOL && !bools_are_sound(b->content, bytes))
        return;
    out->buffer = b->content;
    out->data = b->content->data;
    out->size = bytes;
    b->content = NULL;
    *valid = true;
}

/* Whether Tensor::FromProto takes this one, whose dtype is left out. */
static bool left_out_is_sound(const tn_tensor_build *b)
{
    uint64_t total;
    if (b->content_len == 0 || b->count == 0)
        return true;
    if (b->dtype == TERN_RESOURCE || b->dtype == TERN_VARIANT)
        return after_lengths(b, &total) != NULL;
    return b->content_len == (uint64_t)b->count;
}

tern_code tn_build_finish(tn_tensor_build *b, tn_arena *arena, tern_tensor *out, bool *valid, tern_status *st)
{
    const tn_typed *t = tn_typed_of(b->dtype);
    *valid = false;
    *out = (tern_tensor){0};
    if (b->shape_bad || (t == NULL && (tn_left_out_name(b->dtype) == NULL || !left_out_is_sound(b))))
        return TERN_OK;
    *out = (tern_tensor){.dtype = b->dtype, .rank = b->rank, .dims = b->dims};
    if (t == NULL || (b->count >= BEYOND_MEMORY && b->content_len == 0))
        return TERN_OK;
    if (b->count == 0) {
        /* No element, but an operation over a dimension of 0 may make so many of it. */
        const size_t each = b->dtype == TERN_STRING ? sizeof(uint64_t) : (size_t)t->unit * t->parts;
        *valid = (uint64_t)tn_shape_span(b->rank, b->dims) <= b->room->max / each;
        if (!*valid)
            return TERN_OK;
        return b->dtype == TERN_STRING ? tn_tensor_new_string(out, b->rank, b->dims, 0, arena, st)
                                       : tn_tensor_new(out, b->dtype, b->rank, b->dims, arena, st);
    }
    if (b->dtype == TERN_STRING)
        return b->content_len > 0 ? strings_of_content(b, arena, out, valid, st)
                                  : strings_of_values(b, arena, out, valid, st);
    if (b->content_len > 0) {
        content_to_tensor(b, (size_t)t->unit * t->parts, out, valid);
        return TERN_OK;
    }
    return b->ambiguous ? TERN_OK : values_to_tensor(b, t, out, valid, st);
}
