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
} cursor;

static bool writable(tern_dtype dtype)
{
    switch (dtype) {
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

static void put_string(const cursor *c, int64_t i, int depth, tn_buf *out)
{
    tn_str s = tn_string_at(c->t, c->count, i);
    if (!c->bytes) {
        tn_json_quote_raw(out, s);
        return;
    }
    /* The object is pretty even inside of a single-line array. */
    tn_buf_char(out, '{');
    new_line(out, depth + 1);
    tn_buf_z(out, "\"b64\": \"");
    tn_base64_encode(s, out);
    tn_buf_char(out, '"');
    new_line(out, depth);
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

/* n numbers with ", " or a new line before each but the first (and, when pretty, before the first too). */
static void put_numbers(cursor *c, int64_t n, bool pretty, int depth, tn_buf *out)
{
    const size_t indent = pretty ? (size_t)depth * 4 : 0, each = TN_NUMBER_MAX + 2 + indent;
    while (n > 0 && !out->failed) {
        int64_t part = n < 1024 ? n : 1024;
        char *start = tn_buf_reserve(out, (size_t)part * each);
        char *to = start;
        if (to == NULL)
            return;
        for (int64_t i = 0; i < part; i++) {
            *to++ = ',';
            if (pretty) {
                *to++ = '\n';
                memset(to, ' ', indent);
                to += indent;
            } else {
                *to++ = ' ';
            }
            to = put_number(c, c->at++, to);
        }
        tn_buf_commit(out, (size_t)(to - start));
        n -= part;
    }
}

/* The innermost lists, most of all answers. The first value has no comma before it. */
static void put_flat_list(cursor *c, int64_t n, bool pretty, int depth, tn_buf *out)
{
    tn_buf_char(out, '[');
    if (n > 0) {
        if (pretty)
            new_line(out, depth + 1);
        put_one(c, depth + 1, out);
        if (c->t->dtype != TERN_STRING) {
            put_numbers(c, n - 1, pretty, depth + 1, out);
        } else {
            for (int64_t i = 1; i < n; i++) {
                tn_buf_z(out, pretty ? "," : ", ");
                if (pretty)
                    new_line(out, depth + 1);
                put_one(c, depth + 1, out);
            }
        }
        if (pretty)
            new_line(out, depth);
    }
    tn_buf_char(out, ']');
}

/* Dimension `dim` and below; recursion is as deep as the rank (TERN_MAX_RANK). */
static void put_values(cursor *c, int32_t dim, bool pretty, int depth, tn_buf *out)
{
    if (dim >= c->t->rank) {
        put_one(c, depth, out);
        return;
    }
    if (dim == c->t->rank - 1) {
        put_flat_list(c, c->t->dims[dim], pretty, depth, out);
        return;
    }
    tn_buf_char(out, '[');
    for (int64_t i = 0; i < c->t->dims[dim] && !out->failed; i++) {
        if (i > 0)
            tn_buf_z(out, pretty ? "," : ", ");
        if (pretty)
            new_line(out, depth + 1);
        put_values(c, dim + 1, pretty, depth + 1, out);
    }
    if (pretty && c->t->dims[dim] > 0)
        new_line(out, depth);
    tn_buf_char(out, ']');
}

static void put_key(tn_str name, tn_buf *out)
{
    tn_json_quote_raw(out, name);
    tn_buf_z(out, ": ");
}

static tern_code check_types(const tern_tensor *tensors, uint32_t n, tern_status *st)
{
    for (uint32_t i = 0; i < n; i++)
        if (!writable(tensors[i].dtype) && tn_tensor_count(&tensors[i]) > 0)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Failed to write JSON value for tensor type: %s",
                             tn_dtype_name(tensors[i].dtype) != NULL ? tn_dtype_name(tensors[i].dtype)
                                                                     : "unknown");
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

static void put_rows(const tn_str *names, cursor *cursors, uint32_t n, int64_t batch, tn_buf *out)
{
    tn_buf_z(out, "{\n    \"predictions\": [");
    for (int64_t item = 0; item < batch && !out->failed; item++) {
        if (n == 1) {
            if (item > 0)
                tn_buf_z(out, ", ");
            put_values(&cursors[0], 1, false, 2, out);
            continue;
        }
        if (item > 0)
            tn_buf_char(out, ',');
        new_line(out, 2);
        tn_buf_char(out, '{');
        for (uint32_t i = 0; i < n; i++) {
            if (i > 0)
                tn_buf_char(out, ',');
            new_line(out, 3);
            put_key(names[i], out);
            put_values(&cursors[i], 1, false, 3, out);
        }
        new_line(out, 2);
        tn_buf_char(out, '}');
    }
    if (batch > 0)
        new_line(out, 1);
    tn_buf_z(out, "]\n}");
}

/*
 * One output, many numbers in flat rows: the shape of most large answers. As put_rows(), without the call for
 * each number.
 */
static bool put_plain_column(cursor *c, int64_t batch, tn_buf *out)
{
    if (c->t->rank != 1 || c->t->dtype == TERN_STRING || batch == 0)
        return false;
    tn_buf_z(out, "{\n    \"predictions\": [");
    put_one(c, 2, out);
    put_numbers(c, batch - 1, false, 2, out);
    new_line(out, 1);
    tn_buf_z(out, "]\n}");
    return true;
}

static void put_columns(const tn_str *names, cursor *cursors, uint32_t n, tn_buf *out)
{
    tn_buf_z(out, "{\n    \"outputs\": ");
    if (n == 1) {
        put_values(&cursors[0], 0, true, 1, out);
    } else {
        tn_buf_char(out, '{');
        for (uint32_t i = 0; i < n; i++) {
            if (i > 0)
                tn_buf_char(out, ',');
            new_line(out, 2);
            put_key(names[i], out);
            put_values(&cursors[i], 0, true, 2, out);
        }
        new_line(out, 1);
        tn_buf_char(out, '}');
    }
    tn_buf_z(out, "\n}");
}

tern_code tn_json_encode_predict(bool row, const tn_str *names, const tern_tensor *tensors, uint32_t n,
                                 tn_buf *out, tern_status *st)
{
    cursor few[16];
    int64_t batch = 0;
    if (n == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Cannot convert empty tensor map to JSON");
    tern_code code = row ? batch_size(names, tensors, n, &batch, st) : TERN_OK;
    if (code == TERN_OK)
        code = check_types(tensors, n, st);
    if (code != TERN_OK)
        return code;
    cursor *cursors = n <= 16 ? few : calloc(n, sizeof *cursors);
    if (cursors == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to write the answer; try again later");
    for (uint32_t i = 0; i < n; i++)
        cursors[i] =
            (cursor){.t = &tensors[i],
                     .count = tn_tensor_count(&tensors[i]),
                     .bytes = tensors[i].dtype == TERN_STRING && tn_str_ends(names[i], TN_STR("_bytes"))};
    if (!row)
        put_columns(names, cursors, n, out);
    else if (n > 1 || !put_plain_column(&cursors[0], batch, out))
        put_rows(names, cursors, n, batch, out);
    if (cursors != few)
        free(cursors);
    if (out->failed)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "The answer is larger than --max_response_bytes; ask for fewer rows");
    return TERN_OK;
}
