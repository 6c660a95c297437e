/*
 * codec/json_encode.c - predict answers from tensor memory, in TensorFlow Serving's layout; see
 * codec/json_predict.h.
 *
 * Row: elements in one line each when there is one output, else a pretty object each. Columnar: rapidjson's
 * pretty form, one value a line. Numbers go straight into the answer's buffer, a row's room being taken at
 * once.
 */
#include <stdlib.h>

#include "codec/base64.h"
#include "codec/json.h"
#include "codec/json_predict.h"
#include "codec/number.h"

/* One tensor on its way out: the next element to write. */
typedef struct cursor {
    const tern_tensor *t;
    int64_t count; /* elements of the tensor */
    int64_t at;
    bool bytes; /* a string tensor whose alias ends in _bytes: {"b64": "..."} */
    bool compact;
} cursor;

/* How the elements of a list are set apart. */
typedef enum layout { LAYOUT_LINE, LAYOUT_PRETTY, LAYOUT_COMPACT } layout;

#define EMPTY_LISTS_MAX (1 << 20)

static bool writable(tern_dtype dtype, bool extended)
{
    switch (dtype) {
    case TERN_HALF:
    case TERN_BFLOAT16:
    case TERN_UINT16:
        return extended;
    case TERN_FLOAT:
    case TERN_DOUBLE:
    case TERN_INT32:
    case TERN_UINT8:
    case TERN_INT16:
    case TERN_INT8:
    case TERN_STRING:
    case TERN_INT64:
    case TERN_BOOL:
    case TERN_UINT32:
    case TERN_UINT64:
        return true;
    default:
        return false;
    }
}

/* A number, at most TN_NUMBER_MAX bytes; returns behind it. */
static char *put_number(const cursor *c, int64_t i, char *to)
{
    const void *data = c->t->data;
    switch (c->t->dtype) {
    case TERN_FLOAT:
        return to + tn_number_write_float(to, ((const float *)data)[i]);
    case TERN_DOUBLE:
        return to + tn_number_write_double(to, ((const double *)data)[i]);
    case TERN_INT32:
        return to + tn_number_write_i64(to, ((const int32_t *)data)[i]);
    case TERN_INT16:
        return to + tn_number_write_i64(to, ((const int16_t *)data)[i]);
    case TERN_INT8:
        return to + tn_number_write_i64(to, ((const int8_t *)data)[i]);
    case TERN_UINT8:
        return to + tn_number_write_u64(to, ((const uint8_t *)data)[i]);
    case TERN_UINT16:
        return to + tn_number_write_u64(to, ((const uint16_t *)data)[i]);
    case TERN_HALF:
        return to + tn_number_write_six(to, tn_number_of_half(((const uint16_t *)data)[i]));
    case TERN_BFLOAT16:
        return to + tn_number_write_six(to, tn_number_of_bfloat16(((const uint16_t *)data)[i]));
    case TERN_UINT32:
        return to + tn_number_write_u64(to, ((const uint32_t *)data)[i]);
    case TERN_INT64:
        return to + tn_number_write_i64(to, ((const int64_t *)data)[i]);
    case TERN_UINT64:
        return to + tn_number_write_u64(to, ((const uint64_t *)data)[i]);
    default:
        break;
    }
    bool yes = ((const uint8_t *)data)[i] != 0;
    memcpy(to, yes ? "true" : "false", yes ? 4 : 5);
    return to + (yes ? 4 : 5);
}

static void new_line(tn_buf *out, int depth)
{
    char *to = tn_buf_reserve(out, 1 + (size_t)depth * 4);
    if (to != NULL) {
        *to = '\n';
        memset(to + 1, ' ', (size_t)depth * 4);
        tn_buf_commit(out, 1 + (size_t)depth * 4);
    }
}

/* Before the first element of a list or an object, and behind its last one. */
static void put_edge(layout l, int depth, tn_buf *out)
{
    if (l == LAYOUT_PRETTY)
        new_line(out, depth);
}

/* Between two elements. */
static void put_between(layout l, int depth, tn_buf *out)
{
    tn_buf_char(out, ',');
    if (l == LAYOUT_LINE)
        tn_buf_char(out, ' ');
    put_edge(l, depth, out);
}

static void put_key(tn_str name, bool compact, tn_buf *out)
{
    tn_json_quote_raw(out, name);
    tn_buf_z(out, compact ? ":" : ": ");
}

static void put_string(const cursor *c, int64_t i, int depth, tn_buf *out)
{
    tn_str s = tn_string_at(c->t, c->count, i);
    /* The object is pretty even inside of a single-line array. */
    const layout l = c->compact ? LAYOUT_COMPACT : LAYOUT_PRETTY;
    if (!c->bytes) {
        tn_json_quote_raw(out, s);
        return;
    }
    tn_buf_char(out, '{');
    put_edge(l, depth + 1, out);
    put_key(TN_STR("b64"), c->compact, out);
    tn_buf_char(out, '"');
    tn_base64_encode(s, out);
    tn_buf_char(out, '"');
    put_edge(l, depth, out);
    tn_buf_char(out, '}');
}

static void put_one(cursor *c, int depth, tn_buf *out)
{
    if (c->t->dtype == TERN_STRING) {
        put_string(c, c->at++, depth, out);
        return;
    }
    char *to = tn_buf_reserve(out, TN_NUMBER_MAX);
    if (to != NULL)
        tn_buf_commit(out, (size_t)(put_number(c, c->at, to) - to));
    c->at++;
}

/* n numbers, each with what stands between it and the one before. */
static void put_numbers(cursor *c, int64_t n, layout l, int depth, tn_buf *out)
{
    const size_t indent = l == LAYOUT_PRETTY ? (size_t)depth * 4 : 0, each = TN_NUMBER_MAX + 2 + indent;
    while (n > 0 && !out->failed) {
        int64_t part = n < 1024 ? n : 1024;
        char *start = tn_buf_reserve(out, (size_t)part * each);
        char *to = start;
        if (to == NULL)
            return;
        for (int64_t i = 0; i < part; i++) {
            *to++ = ',';
            if (l == LAYOUT_PRETTY) {
                *to++ = '\n';
                memset(to, ' ', indent);
                to += indent;
            } else if (l == LAYOUT_LINE) {
                *to++ = ' ';
            }
            to = put_number(c, c->at++, to);
        }
        tn_buf_commit(out, (size_t)(to - start));
        n -= part;
    }
}

/* The innermost lists, most of all answers. The first value has no comma before it. */
static void put_flat_list(cursor *c, int64_t n, layout l, int depth, tn_buf *out)
{
    tn_buf_char(out, '[');
    if (n > 0) {
        put_edge(l, depth + 1, out);
        put_one(c, depth + 1, out);
        if (c->t->dtype != TERN_STRING) {
            put_numbers(c, n - 1, l, depth + 1, out);
        } else {
            for (int64_t i = 1; i < n && !out->failed; i++) {
                put_between(l, depth + 1, out);
                put_one(c, depth + 1, out);
            }
        }
        put_edge(l, depth, out);
    }
    tn_buf_char(out, ']');
}

/* Dimension `dim` and below; recursion is as deep as the rank (TERN_MAX_RANK). */
static void put_values(cursor *c, int32_t dim, layout l, int depth, tn_buf *out)
{
    if (dim >= c->t->rank) {
        put_one(c, depth, out);
        return;
    }
    if (dim == c->t->rank - 1) {
        put_flat_list(c, c->t->dims[dim], l, depth, out);
        return;
    }
    tn_buf_char(out, '[');
    for (int64_t i = 0; i < c->t->dims[dim] && !out->failed; i++) {
        if (i > 0)
            put_between(l, depth + 1, out);
        else
            put_edge(l, depth + 1, out);
        put_values(c, dim + 1, l, depth + 1, out);
    }
    if (c->t->dims[dim] > 0)
        put_edge(l, depth, out);
    tn_buf_char(out, ']');
}

static tern_code check_types(const tern_tensor *tensors, uint32_t n, bool extended, tern_status *st)
{
    for (uint32_t i = 0; i < n; i++)
        if (!writable(tensors[i].dtype, extended) && tn_tensor_count(&tensors[i]) > 0)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Failed to write JSON value for tensor type: %s",
                             tn_dtype_name(tensors[i].dtype) != NULL ? tn_dtype_name(tensors[i].dtype)
                                                                     : "unknown");
    return TERN_OK;
}

/* A tensor without elements may have any number of lists, of which each is text: [[], [], ...]. */
static tern_code check_empty(const tn_str *names, const tern_tensor *tensors, uint32_t n, tern_status *st)
{
    for (uint32_t i = 0; i < n; i++) {
        int64_t lists = 1;
        bool many = false;
        for (int32_t d = 0; d < tensors[i].rank && tensors[i].dims[d] > 0; d++)
            many |= __builtin_mul_overflow(lists, tensors[i].dims[d], &lists);
        if (tn_tensor_count(&tensors[i]) == 0 && (many || lists > EMPTY_LISTS_MAX))
            return tern_fail(
                st, TERN_RESOURCE_EXHAUSTED,
                "Output %.*s has no elements, and more than %d lists of them; ask for fewer rows",
                TN_FMT(names[i]), EMPTY_LISTS_MAX);
    }
    return TERN_OK;
}

static tern_code batch_size(const tn_str *names, const tern_tensor *tensors, uint32_t n, int64_t *batch,
                            tern_status *st)
{
    *batch = -1;
    for (uint32_t i = 0; i < n; i++) {
        if (tensors[i].rank == 0)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Tensor name: %.*s has no shape information ",
                             TN_FMT(names[i]));
        if (*batch >= 0 && tensors[i].dims[0] != *batch)
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "Tensor name: %.*s has inconsistent batch size: %lld expecting: %lld",
                             TN_FMT(names[i]), (long long)tensors[i].dims[0], (long long)*batch);
        *batch = tensors[i].dims[0];
    }
    return TERN_OK;
}

/* {"a": ..., "b": ...}: dimension `dim` of each. */
static void put_object(const tn_str *names, cursor *cursors, uint32_t n, int32_t dim, layout inner, int depth,
                       tn_buf *out)
{
    const bool compact = cursors[0].compact;
    const layout l = compact ? LAYOUT_COMPACT : LAYOUT_PRETTY;
    tn_buf_char(out, '{');
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            put_between(l, depth + 1, out);
        else
            put_edge(l, depth + 1, out);
        put_key(names[i], compact, out);
        put_values(&cursors[i], dim, inner, depth + 1, out);
    }
    put_edge(l, depth, out);
    tn_buf_char(out, '}');
}

/*
 * One output, many numbers in flat rows: the shape of most large answers. As put_rows(), without the call for
 * each number.
 */
static bool put_plain_column(cursor *c, uint32_t n, int64_t batch, layout l, tn_buf *out)
{
    if (n > 1 || c->t->rank != 1 || c->t->dtype == TERN_STRING || batch == 0)
        return false;
    put_one(c, 2, out);
    put_numbers(c, batch - 1, l, 2, out);
    return true;
}

/*
 * With one output its elements are in one line, behind the bracket; else each is an object of its own lines.
 */
static void put_rows(const tn_str *names, cursor *cursors, uint32_t n, int64_t batch, tn_buf *out)
{
    const bool compact = cursors[0].compact;
    const layout inner = compact ? LAYOUT_COMPACT : LAYOUT_LINE;
    const layout outer = compact ? LAYOUT_COMPACT : n > 1 ? LAYOUT_PRETTY : LAYOUT_LINE;
    tn_buf_char(out, '[');
    if (!put_plain_column(&cursors[0], n, batch, inner, out)) {
        for (int64_t item = 0; item < batch && !out->failed; item++) {
            if (item > 0)
                put_between(outer, 2, out);
            else
                put_edge(outer, 2, out);
            if (n == 1)
                put_values(&cursors[0], 1, inner, 2, out);
            else
                put_object(names, cursors, n, 1, inner, 2, out);
        }
    }
    if (batch > 0)
        put_edge(compact ? LAYOUT_COMPACT : LAYOUT_PRETTY, 1, out);
    tn_buf_char(out, ']');
}

static void put_columns(const tn_str *names, cursor *cursors, uint32_t n, tn_buf *out)
{
    const layout l = cursors[0].compact ? LAYOUT_COMPACT : LAYOUT_PRETTY;
    if (n == 1)
        put_values(&cursors[0], 0, l, 1, out);
    else
        put_object(names, cursors, n, 0, l, 1, out);
}

tern_code tn_json_encode_predict(const tn_json_style *style, const tn_str *names, const tern_tensor *tensors,
                                 uint32_t n, tn_buf *out, tern_status *st)
{
    cursor few[16];
    const layout l = style->compact ? LAYOUT_COMPACT : LAYOUT_PRETTY;
    int64_t batch = 0;
    if (n == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Cannot convert empty tensor map to JSON");
    tern_code code = style->row ? batch_size(names, tensors, n, &batch, st) : TERN_OK;
    if (code == TERN_OK)
        code = check_types(tensors, n, style->extended, st);
    if (code == TERN_OK)
        code = check_empty(names, tensors, n, st);
    if (code != TERN_OK)
        return code;
    cursor *cursors = n <= 16 ? few : calloc(n, sizeof *cursors);
    if (cursors == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to write the answer; try again later");
    for (uint32_t i = 0; i < n; i++)
        cursors[i] =
            (cursor){.t = &tensors[i],
                     .count = tn_tensor_count(&tensors[i]),
                     .bytes = tensors[i].dtype == TERN_STRING && tn_str_ends(names[i], TN_STR("_bytes")),
                     .compact = style->compact};
    tn_buf_char(out, '{');
    put_edge(l, 1, out);
    put_key(style->row ? TN_STR("predictions") : TN_STR("outputs"), style->compact, out);
    if (style->row)
        put_rows(names, cursors, n, batch, out);
    else
        put_columns(names, cursors, n, out);
    put_edge(l, 0, out);
    tn_buf_char(out, '}');
    if (cursors != few)
        free(cursors);
    if (out->failed)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "The answer is larger than --max_response_bytes; ask for fewer rows");
    return TERN_OK;
}
