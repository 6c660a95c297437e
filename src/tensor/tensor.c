/*
 * tensor/tensor.c - dtypes, shapes, tensors and the lookup of signatures.
 *
 * Everything here is small and pure; memory comes from tensor/buffer.c. The table of dtypes is the only list
 * of them in the server: names are tensorflow::DataTypeString's and the enum's
 * (tensorflow/core/framework/types.{cc,proto}). Threads: any; a tensor belongs to one thread at a time, its
 * buffer to all.
 */
#include "tensor/tensor.h"

typedef struct dtype_row {
    const char *name;
    const char *enum_name;
    uint8_t size;
} dtype_row;

static const dtype_row dtypes[] = {
    [TERN_FLOAT] = {"float", "DT_FLOAT", 4},       [TERN_DOUBLE] = {"double", "DT_DOUBLE", 8},
    [TERN_INT32] = {"int32", "DT_INT32", 4},       [TERN_UINT8] = {"uint8", "DT_UINT8", 1},
    [TERN_INT16] = {"int16", "DT_INT16", 2},       [TERN_INT8] = {"int8", "DT_INT8", 1},
    [TERN_STRING] = {"string", "DT_STRING", 0},    [TERN_COMPLEX64] = {"complex64", "DT_COMPLEX64", 8},
    [TERN_INT64] = {"int64", "DT_INT64", 8},       [TERN_BOOL] = {"bool", "DT_BOOL", 1},
    [TERN_QINT8] = {"qint8", "DT_QINT8", 1},       [TERN_QUINT8] = {"quint8", "DT_QUINT8", 1},
    [TERN_QINT32] = {"qint32", "DT_QINT32", 4},    [TERN_BFLOAT16] = {"bfloat16", "DT_BFLOAT16", 2},
    [TERN_QINT16] = {"qint16", "DT_QINT16", 2},    [TERN_QUINT16] = {"quint16", "DT_QUINT16", 2},
    [TERN_UINT16] = {"uint16", "DT_UINT16", 2},    [TERN_COMPLEX128] = {"complex128", "DT_COMPLEX128", 16},
    [TERN_HALF] = {"half", "DT_HALF", 2},          [TERN_RESOURCE] = {"resource", "DT_RESOURCE", 0},
    [TERN_VARIANT] = {"variant", "DT_VARIANT", 0}, [TERN_UINT32] = {"uint32", "DT_UINT32", 4},
    [TERN_UINT64] = {"uint64", "DT_UINT64", 8},
};

/* NULL for what is no dtype; a dtype may come from the wire, so any value is allowed. */
static const dtype_row *dtype_find(tern_dtype dtype)
{
    size_t i = (size_t)dtype;
    if (i >= sizeof dtypes / sizeof dtypes[0] || dtypes[i].name == NULL)
        return NULL;
    return &dtypes[i];
}

size_t tn_dtype_size(tern_dtype dtype)
{
    const dtype_row *row = dtype_find(dtype);
    return row != NULL ? row->size : 0;
}

const char *tn_dtype_name(tern_dtype dtype)
{
    const dtype_row *row = dtype_find(dtype);
    return row != NULL ? row->name : NULL;
}

const char *tn_dtype_enum_name(tern_dtype dtype)
{
    const dtype_row *row = dtype_find(dtype);
    return row != NULL ? row->enum_name : NULL;
}

bool tn_shape_count(int32_t rank, const int64_t *dims, int64_t *count)
{
    int64_t span = 1;
    bool empty = false;
    for (int32_t i = 0; i < rank; i++) {
        if (dims[i] < 0 || (dims[i] > 0 && __builtin_mul_overflow(span, dims[i], &span)))
            return false;
        empty |= dims[i] == 0;
    }
    *count = empty ? 0 : span;
    return true;
}

int64_t tn_shape_span(int32_t rank, const int64_t *dims)
{
    int64_t span = 1;
    for (int32_t i = 0; i < rank; i++)
        span *= dims[i] > 0 ? dims[i] : 1;
    return span;
}

/* The part that both constructors share: checks the shape, copies dims, gets `fixed + count * each` bytes. */
static tern_code tensor_make(tern_tensor *t, tern_dtype dtype, int32_t rank, const int64_t *dims, size_t each,
                             size_t fixed, tn_arena *arena, tern_status *st)
{
    int64_t count = 0;
    size_t size = 0;
    memset(t, 0, sizeof *t);
    if (rank < 0 || rank > TERN_MAX_RANK)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "a tensor of rank %d is not possible (0 to %d)",
                         (int)rank, TERN_MAX_RANK);
    if (!tn_shape_count(rank, dims, &count))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "a shape with a negative or too large dimension");
    if (__builtin_mul_overflow((size_t)count, each, &size) || __builtin_add_overflow(size, fixed, &size) ||
        size > PTRDIFF_MAX)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "a tensor of %lld elements is too large",
                         (long long)count);

    int64_t *own = tn_arena_array(arena, rank > 0 ? (size_t)rank : 1, sizeof *own);
    tern_buffer *buffer = own != NULL ? tn_buffer_new(size) : NULL;
    if (buffer == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory for a tensor of %zu bytes", size);
    if (rank > 0)
        memcpy(own, dims, (size_t)rank * sizeof *own);
    *t = (tern_tensor){
        .dtype = dtype, .rank = rank, .dims = own, .buffer = buffer, .data = buffer->data, .size = size};
    return TERN_OK;
}

tern_code tn_tensor_new(tern_tensor *t, tern_dtype dtype, int32_t rank, const int64_t *dims, tn_arena *arena,
                        tern_status *st)
{
    size_t each = tn_dtype_size(dtype);
    if (each == 0) {
        const char *name = tn_dtype_name(dtype);
        memset(t, 0, sizeof *t);
        return tern_fail(st, TERN_INVALID_ARGUMENT, "a tensor of dtype %s (%d) has no elements of fixed size",
                         name != NULL ? name : "unknown", (int)dtype);
    }
    return tensor_make(t, dtype, rank, dims, each, 0, arena, st);
}

tern_code tn_tensor_new_string(tern_tensor *t, int32_t rank, const int64_t *dims, size_t bytes,
                               tn_arena *arena, tern_status *st)
{
    size_t fixed = 0;
    if (__builtin_add_overflow(bytes, sizeof(uint64_t), &fixed)) {
        memset(t, 0, sizeof *t);
        return tern_fail(st, TERN_INVALID_ARGUMENT, "a string tensor of %zu bytes is too large", bytes);
    }
    return tensor_make(t, TERN_STRING, rank, dims, sizeof(uint64_t), fixed, arena, st);
}

void tn_tensor_release(tern_tensor *t)
{
    tern_buffer_release(t->buffer);
    memset(t, 0, sizeof *t);
}

int64_t tn_tensor_count(const tern_tensor *t)
{
    int64_t count = 0;
    (void)tn_shape_count(t->rank, t->dims, &count);
    return count;
}

static int io_find(const tern_io *ios, uint32_t n, tn_str alias)
{
    uint32_t low = 0;
    uint32_t high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = tn_str_cmp(ios[middle].name, alias);
        if (order == 0)
            return (int)middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

int tn_signature_input(const tern_signature *s, tn_str alias)
{
    return io_find(s->inputs, s->n_inputs, alias);
}

int tn_signature_output(const tern_signature *s, tn_str alias)
{
    return io_find(s->outputs, s->n_outputs, alias);
}

const tern_signature *tn_signatures_find(const tern_signature_set *set, tn_str name)
{
    uint32_t low = 0;
    uint32_t high = set->n_signatures;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = tn_str_cmp(set->signatures[middle].name, name);
        if (order == 0)
            return &set->signatures[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
