/*
 * schedule/batch_rows.c - see batch_rows.h.
 *
 * Without padding a part is one copy of consecutive bytes. With it, the copy goes run by run along the last
 * dimension; strings go element by element, in one pass for their lengths and one for their bytes.
 */
#include "schedule/batch_rows.h"

/* Elements in one row. */
static int64_t row_count(const tern_tensor *t)
{
    int64_t n = 1;
    for (int32_t i = 1; i < t->rank; i++)
        n *= t->dims[i];
    return n;
}

static bool can_pad(const tern_tensor *t)
{
    return t->rank <= TN_BATCH_PAD_RANK && tn_tensor_count(t) > 0;
}

static bool same_rows(const tern_tensor *a, const tern_tensor *b)
{
    return a->rank == b->rank &&
           (a->rank < 2 || memcmp(a->dims + 1, b->dims + 1, (size_t)(a->rank - 1) * sizeof *a->dims) == 0);
}

bool tn_rows_fit(const tern_tensor *a, const tern_tensor *b, bool pad)
{
    if (a->dtype != b->dtype || a->rank != b->rank)
        return false;
    return same_rows(a, b) || (pad && can_pad(a) && can_pad(b));
}

/*
 * Where element i of a part of that many rows, filled up to dims, comes from: an element of the part, counted
 * from its first one, or -1 for what is filled up. rank: how many dimensions count.
 */
static int64_t source_of(const int64_t *dims, const int64_t *own, int32_t rank, int64_t i)
{
    int64_t at = 0;
    int64_t stride = 1;
    for (int32_t d = rank - 1; d > 0; d--) {
        int64_t index = i % dims[d];
        i /= dims[d];
        if (index >= own[d])
            return -1;
        at += index * stride;
        stride *= own[d];
    }
    return at + i * stride;
}

/* Elements of a part that is filled up to dims. */
static int64_t part_count(const tn_rows *part, const int64_t *dims, int32_t rank)
{
    int64_t n = part->rows;
    for (int32_t d = 1; d < rank; d++)
        n *= dims[d];
    return n;
}

static void fill(char *to, const char *element, size_t each, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        memcpy(to + (size_t)i * each, element, each);
}

/* dims: of the joined tensor. Returns the end of what was written. */
static char *put_fixed(char *to, const tn_rows *part, const int64_t *dims, size_t each)
{
    const tern_tensor *t = part->tensor;
    const int32_t last = t->rank - 1;
    if (part_count(part, dims, t->rank) == 0)
        return to;
    const char *from = (const char *)t->data + (size_t)(part->from * row_count(t)) * each;
    bool whole = t->rank < 2 || memcmp(dims + 1, t->dims + 1, (size_t)last * sizeof *dims) == 0;
    if (whole) {
        size_t bytes = (size_t)(part->rows * row_count(t)) * each;
        memcpy(to, from, bytes);
        return to + bytes;
    }
    int64_t runs = part->rows;
    for (int32_t d = 1; d < last; d++)
        runs *= dims[d];
    for (int64_t i = 0; i < runs; i++) {
        int64_t source = source_of(dims, t->dims, last, i);
        int64_t own = source >= 0 ? t->dims[last] : 0;
        if (own > 0)
            memcpy(to, from + (size_t)(source * own) * each, (size_t)own * each);
        fill(to + (size_t)own * each, from, each, dims[last] - own);
        to += (size_t)dims[last] * each;
    }
    return to;
}

/* Element i of a part that is filled up to dims. */
static tn_str string_of(const tn_rows *part, const int64_t *dims, int64_t i)
{
    const tern_tensor *t = part->tensor;
    int64_t source = source_of(dims, t->dims, t->rank, i);
    return tn_string_at(t, tn_tensor_count(t), part->from * row_count(t) + (source >= 0 ? source : 0));
}

static bool string_bytes(const tn_rows *parts, uint32_t n, const int64_t *dims, int32_t rank, size_t *bytes)
{
    for (uint32_t p = 0; p < n; p++)
        for (int64_t i = 0, count = part_count(&parts[p], dims, rank); i < count; i++)
            if (__builtin_add_overflow(*bytes, string_of(&parts[p], dims, i).len, bytes))
                return false;
    return true;
}

static void put_strings(tern_tensor *out, const tn_rows *parts, uint32_t n)
{
    uint64_t *offsets = tn_string_offsets(out);
    char *bytes = tn_string_bytes(out, tn_tensor_count(out));
    int64_t e = 0;
    offsets[0] = 0;
    for (uint32_t p = 0; p < n; p++)
        for (int64_t i = 0, count = part_count(&parts[p], out->dims, out->rank); i < count; i++, e++) {
            tn_str s = string_of(&parts[p], out->dims, i);
            if (s.len > 0)
                memcpy(bytes + offsets[e], s.ptr, s.len);
            offsets[e + 1] = offsets[e] + s.len;
        }
}

static tern_code too_large(const int64_t *dims, size_t max_bytes, tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                     "A batch of %lld rows is larger than %zu bytes (--max_batch_bytes)", (long long)dims[0],
                     max_bytes);
}

static tern_code join_strings(const tn_rows *parts, uint32_t n, const int64_t *dims, int64_t count,
                              size_t max_bytes, tn_arena *arena, tern_tensor *out, tern_status *st)
{
    const int32_t rank = parts[0].tensor->rank;
    size_t bytes = 0;
    if ((size_t)count > max_bytes / sizeof(uint64_t) || !string_bytes(parts, n, dims, rank, &bytes) ||
        bytes > max_bytes - (size_t)count * sizeof(uint64_t))
        return too_large(dims, max_bytes, st);
    tern_code code = tn_tensor_new_string(out, rank, dims, bytes, arena, st);
    if (code == TERN_OK)
        put_strings(out, parts, n);
    return code;
}

static tern_code join_fixed(const tn_rows *parts, uint32_t n, const int64_t *dims, int64_t count,
                            size_t max_bytes, tn_arena *arena, tern_tensor *out, tern_status *st)
{
    const tern_tensor *first = parts[0].tensor;
    const size_t each = tn_dtype_size(first->dtype);
    if (each > 0 && (size_t)count > max_bytes / each)
        return too_large(dims, max_bytes, st);
    tern_code code = tn_tensor_new(out, first->dtype, first->rank, dims, arena, st);
    char *to = code == TERN_OK ? out->data : NULL;
    for (uint32_t p = 0; code == TERN_OK && p < n; p++)
        to = put_fixed(to, &parts[p], out->dims, each);
    return code;
}

tern_code tn_rows_join(const tn_rows *parts, uint32_t n, int64_t extra, bool pad, size_t max_bytes,
                       tn_arena *arena, tern_tensor *out, tern_status *st)
{
    const tern_tensor *first = parts[0].tensor;
    int64_t dims[TERN_MAX_RANK];
    int64_t count;
    memcpy(dims, first->dims, (size_t)first->rank * sizeof *dims);
    dims[0] = extra;
    for (uint32_t p = 0; p < n; p++) {
        dims[0] += parts[p].rows;
        for (int32_t d = 1; pad && d < first->rank; d++)
            if (parts[p].tensor->dims[d] > dims[d])
                dims[d] = parts[p].tensor->dims[d];
    }
    if (!tn_shape_count(first->rank, dims, &count) || extra > UINT32_MAX - n || (size_t)count > max_bytes)
        return too_large(dims, max_bytes, st);
    const uint32_t all = n + (uint32_t)extra;
    const tn_rows *list = parts;
    if (extra > 0) {
        tn_rows *longer = tn_arena_array(arena, all, sizeof *longer);
        if (longer == NULL)
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a batch of %u parts", all);
        memcpy(longer, parts, n * sizeof *parts);
        uint32_t last = n - 1;
        while (last > 0 && parts[last].rows == 0)
            last--;
        for (uint32_t p = n; p < all; p++)
            longer[p] = (tn_rows){parts[last].tensor, parts[last].from, 1};
        list = longer;
    }
    return first->dtype == TERN_STRING ? join_strings(list, all, dims, count, max_bytes, arena, out, st)
                                       : join_fixed(list, all, dims, count, max_bytes, arena, out, st);
}

/* Strings do not lie in a row: their offsets begin anew. */
static tern_code slice_strings(const tern_tensor *whole, int64_t first, int64_t count, const int64_t *dims,
                               tn_arena *arena, tern_tensor *out, tern_status *st)
{
    const uint64_t *offsets = tn_string_offsets(whole) + first;
    const uint64_t base = offsets[0];
    const size_t bytes = (size_t)(offsets[count] - base);
    const char *from = tn_string_bytes(whole, tn_tensor_count(whole)) + base;
    tern_code code = tn_tensor_new_string(out, whole->rank, dims, bytes, arena, st);
    if (code != TERN_OK)
        return code;
    uint64_t *own = tn_string_offsets(out);
    for (int64_t i = 0; i <= count; i++)
        own[i] = offsets[i] - base;
    if (bytes > 0)
        memcpy(tn_string_bytes(out, count), from, bytes);
    return TERN_OK;
}

tern_code tn_rows_slice(const tern_tensor *whole, int64_t from, int64_t rows, tn_arena *arena,
                        tern_tensor *out, tern_status *st)
{
    int64_t *dims = tn_arena_array(arena, (size_t)whole->rank, sizeof *dims);
    if (dims == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the shape of an output");
    memcpy(dims, whole->dims, (size_t)whole->rank * sizeof *dims);
    dims[0] = rows;
    const int64_t first = from * row_count(whole);
    const int64_t count = rows * row_count(whole);
    if (whole->dtype == TERN_STRING && whole->buffer != NULL)
        return slice_strings(whole, first, count, dims, arena, out, st);
    const size_t each = tn_dtype_size(whole->dtype);
    *out = *whole;
    out->dims = dims;
    if (whole->buffer != NULL)
        (void)tern_buffer_retain(whole->buffer);
    if (whole->data != NULL)
        out->data = (char *)whole->data + (size_t)first * each;
    out->size = (size_t)count * each;
    return TERN_OK;
}
