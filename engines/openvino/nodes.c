/*
 * nodes.c - see nodes.h.
 *
 * Attributes are looked for in a node's bytes when they are asked for: few nodes are asked.
 */
#include "nodes.h"

#include <stdlib.h>

#include "codec/pb_wire.h"
#include "fields.h"

enum {
    ATTR_TEXT = 2,
    ATTR_NUMBER = 3,
    ATTR_TENSOR = 8,
    LIST_NUMBERS = 3,
    LIST_SHAPES = 7,
    SHAPE_DIM = 2,
    SHAPE_UNKNOWN_RANK = 3,
    DIM_SIZE = 1,
    TENSOR_DTYPE = 1,
    TENSOR_SHAPE = 2,
    TENSOR_CONTENT = 4,
    TENSOR_INTS = 7,
    TENSOR_INT64S = 10
};

/* ---- the scope ---- */

static int by_name(const void *a, const void *b)
{
    return tn_str_cmp(((const tn_ov_item *)a)->name, ((const tn_ov_item *)b)->name);
}

static tn_ov_item *find(const tn_ov_scope *s, tn_str input)
{
    ptrdiff_t colon = tn_str_chr(input, ':');
    const tn_ov_item key = {.name = colon >= 0 ? tn_str_sub(input, 0, (size_t)colon) : input};
    return s->n > 0 ? bsearch(&key, s->at, s->n, sizeof key, by_name) : NULL;
}

static bool is_control(tn_str input)
{
    return input.len > 0 && input.ptr[0] == '^';
}

static bool read_node(tn_str bytes, tn_ov_item *out)
{
    tn_pb_field f = {0};
    *out = (tn_ov_item){.name = TN_STR(""), .op = TN_STR(""), .bytes = bytes};
    for (tn_pb r = tn_pb_from(bytes); tn_pb_more(&r);) {
        if (!tn_pb_next(&r, &f))
            return false;
        if (f.type != TN_PB_BYTES)
            continue;
        if (f.number == NODE_NAME) {
            out->name = f.bytes;
        } else if (f.number == NODE_OP) {
            out->op = f.bytes;
        } else if (f.number == NODE_INPUT && !is_control(f.bytes)) {
            if (out->n_in < TN_OV_INPUTS)
                out->in[out->n_in] = f.bytes;
            out->n_in++;
        }
    }
    return true;
}

bool tn_ov_scope_read(tn_ov_scope *s, tn_str message, uint32_t field, bool function, tn_arena *arena)
{
    tn_pb_field f = {0};
    size_t count = 0;
    *s = (tn_ov_scope){.function = function, .field = field, .arena = arena};
    tn_buf_init(&s->added, message.len + (1u << 20));
    for (tn_pb r = tn_pb_from(message); tn_pb_more(&r);) {
        if (!tn_pb_next(&r, &f))
            return false;
        count += f.number == field && f.type == TN_PB_BYTES;
    }
    s->at = tn_arena_array(arena, count + 1, sizeof *s->at);
    if (s->at == NULL)
        return false;
    for (tn_pb r = tn_pb_from(message); tn_pb_more(&r) && tn_pb_next(&r, &f);)
        if (f.number == field && f.type == TN_PB_BYTES && !read_node(f.bytes, &s->at[s->n++]))
            return false;
    qsort(s->at, s->n, sizeof *s->at, by_name);
    return true;
}

void tn_ov_scope_free(tn_ov_scope *s)
{
    tn_buf_free(&s->added);
}

/* Whether this is output 0, the only one of what is replaced. */
static bool is_first(tn_str input)
{
    ptrdiff_t colon = tn_str_chr(input, ':');
    return colon < 0 || tn_str_ends(input, TN_STR(":0"));
}

static void write_node(const tn_ov_scope *s, tn_str bytes, tn_buf *out)
{
    tn_pb_field f = {0};
    tn_buf node;
    tn_buf_init(&node, bytes.len + (1u << 20));
    for (tn_pb r = tn_pb_from(bytes); tn_pb_more(&r);) {
        const char *from = (const char *)r.at;
        if (!tn_pb_next(&r, &f))
            break;
        const tn_ov_item *it = NULL;
        if (f.number == NODE_INPUT && f.type == TN_PB_BYTES && !is_control(f.bytes) && is_first(f.bytes))
            it = find(s, f.bytes);
        if (it != NULL && it->instead.len > 0)
            tn_pb_add_bytes(&node, NODE_INPUT, it->instead);
        else
            tn_buf_append(&node, from, (size_t)((const char *)r.at - from));
    }
    tn_pb_add_bytes(out, s->field, tn_buf_view(&node));
    out->failed |= node.failed;
    tn_buf_free(&node);
}

void tn_ov_scope_write(const tn_ov_scope *s, tn_str message, tn_buf *out)
{
    const tn_str parts[] = {message, tn_buf_view(&s->added)};
    tn_pb_field f = {0};
    for (size_t i = 0; i < 2; i++) {
        for (tn_pb r = tn_pb_from(parts[i]); tn_pb_more(&r);) {
            const char *from = (const char *)r.at;
            if (!tn_pb_next(&r, &f))
                break;
            if (f.number == s->field && f.type == TN_PB_BYTES)
                write_node(s, f.bytes, out);
            else
                tn_buf_append(out, from, (size_t)((const char *)r.at - from));
        }
    }
    out->failed |= s->added.failed;
}

/* ---- looking ---- */

tn_ov_item *tn_ov_from(const tn_ov_scope *s, const tn_ov_item *n, uint32_t i, const char *op)
{
    if (n == NULL || i >= n->n_in || i >= TN_OV_INPUTS || !is_first(n->in[i]))
        return NULL;
    tn_ov_item *from = find(s, n->in[i]);
    return from != NULL && (op == NULL || tn_str_eq(from->op, tn_str_from(op))) ? from : NULL;
}

/* The last field of that number and type. */
static bool field_of(tn_str message, uint32_t number, uint32_t type, tn_pb_field *out)
{
    bool found = false;
    tn_pb_field f = {0};
    for (tn_pb r = tn_pb_from(message); tn_pb_more(&r) && tn_pb_next(&r, &f);) {
        if (f.number != number || f.type != type)
            continue;
        *out = f;
        found = true;
    }
    return found;
}

/* Its AttrValue. */
static bool attr_of(const tn_ov_item *n, const char *key, tn_str *value)
{
    tn_pb_field f = {0}, k, v;
    if (n == NULL)
        return false;
    for (tn_pb r = tn_pb_from(n->bytes); tn_pb_more(&r) && tn_pb_next(&r, &f);) {
        if (f.number != NODE_ATTR || f.type != TN_PB_BYTES)
            continue;
        if (!field_of(f.bytes, ENTRY_KEY, TN_PB_BYTES, &k) || !tn_str_eq(k.bytes, tn_str_from(key)))
            continue;
        *value = field_of(f.bytes, ENTRY_VALUE, TN_PB_BYTES, &v) ? v.bytes : TN_STR("");
        return true;
    }
    return false;
}

/* Numbers of a repeated field, packed or not. -1: more than max, or broken. */
static int numbers_of(tn_str message, uint32_t number, int64_t *values, int max)
{
    int n = 0;
    tn_pb_field f = {0};
    for (tn_pb r = tn_pb_from(message); tn_pb_more(&r) && tn_pb_next(&r, &f);) {
        uint64_t v = f.value;
        if (f.number != number || (f.type != TN_PB_VARINT && f.type != TN_PB_BYTES))
            continue;
        tn_pb p = tn_pb_from(f.type == TN_PB_BYTES ? f.bytes : TN_STR(""));
        do {
            size_t width = f.type == TN_PB_BYTES ? tn_pb_varint(p.at, p.end, &v) : 0;
            if (n >= max || (f.type == TN_PB_BYTES && width == 0))
                return -1;
            p.at += width;
            values[n++] = (int64_t)v;
        } while (tn_pb_more(&p));
    }
    return n;
}

/* Rank; -1: unknown, or more than TN_OV_RANK. */
static int shape_of(tn_str shape, int64_t dims[TN_OV_RANK])
{
    int rank = 0;
    tn_pb_field f = {0}, size;
    for (tn_pb r = tn_pb_from(shape); tn_pb_more(&r);) {
        if (!tn_pb_next(&r, &f) || (f.number == SHAPE_UNKNOWN_RANK && f.value != 0) || rank == TN_OV_RANK)
            return -1;
        if (f.number == SHAPE_DIM && f.type == TN_PB_BYTES)
            dims[rank++] = field_of(f.bytes, DIM_SIZE, TN_PB_VARINT, &size) ? (int64_t)size.value : 0;
    }
    return rank;
}

int tn_ov_shape(const tn_ov_item *n, int64_t dims[TN_OV_RANK])
{
    tn_str value;
    tn_pb_field list, f = {0};
    if (!attr_of(n, "_output_shapes", &value) || !field_of(value, ATTR_LIST, TN_PB_BYTES, &list))
        return -1;
    for (tn_pb r = tn_pb_from(list.bytes); tn_pb_more(&r) && tn_pb_next(&r, &f);)
        if (f.number == LIST_SHAPES && f.type == TN_PB_BYTES)
            return shape_of(f.bytes, dims);
    return -1;
}

/* tensor_content */
static int ints_in(tn_str content, size_t width, int64_t *values, int max)
{
    size_t n = content.len / width;
    if (content.len % width != 0 || n > (size_t)max)
        return -1;
    for (size_t i = 0; i < n; i++) {
        int32_t narrow;
        memcpy(width == 4 ? (void *)&narrow : (void *)&values[i], content.ptr + i * width, width);
        if (width == 4)
            values[i] = narrow;
    }
    return (int)n;
}

int tn_ov_ints(const tn_ov_item *n, int64_t *values, int max)
{
    tn_str value;
    int64_t dims[TN_OV_RANK];
    tn_pb_field tensor, f;
    if (n == NULL || !tn_str_eq(n->op, TN_STR("Const")) || !attr_of(n, "value", &value) ||
        !field_of(value, ATTR_TENSOR, TN_PB_BYTES, &tensor) ||
        !field_of(tensor.bytes, TENSOR_DTYPE, TN_PB_VARINT, &f) ||
        (f.value != TERN_INT32 && f.value != TERN_INT64))
        return -1;
    bool wide = f.value == TERN_INT64;
    int rank = field_of(tensor.bytes, TENSOR_SHAPE, TN_PB_BYTES, &f) ? shape_of(f.bytes, dims) : 0;
    int64_t count = rank < 0 ? max + 1 : 1;
    for (int d = 0; d < rank && count <= max; d++)
        count = dims[d] < 0 || dims[d] > max ? max + 1 : count * dims[d];
    if (count > max)
        return -1;
    int given = field_of(tensor.bytes, TENSOR_CONTENT, TN_PB_BYTES, &f)
                    ? ints_in(f.bytes, wide ? 8 : 4, values, max)
                    : numbers_of(tensor.bytes, wide ? TENSOR_INT64S : TENSOR_INTS, values, max);
    if (given < 0 || given > count)
        return -1;
    for (int i = given; i < count; i++) /* the last one stands for all that follow */
        values[i] = given > 0 ? values[given - 1] : 0;
    return (int)count;
}

bool tn_ov_are(const tn_ov_item *n, const int64_t *values, int count)
{
    int64_t got[8];
    return tn_ov_ints(n, got, 8) == count && memcmp(got, values, (size_t)count * sizeof *got) == 0;
}

int64_t tn_ov_number(const tn_ov_item *n, const char *key, int64_t absent)
{
    tn_str value;
    tn_pb_field f;
    if (!attr_of(n, key, &value))
        return absent;
    return field_of(value, ATTR_NUMBER, TN_PB_VARINT, &f) ? (int64_t)f.value : -1;
}

tern_dtype tn_ov_dtype(const tn_ov_item *n, const char *key)
{
    tn_str value;
    tn_pb_field f;
    bool found = attr_of(n, key, &value) && field_of(value, ATTR_TYPE, TN_PB_VARINT, &f) && f.value < 64;
    return found ? (tern_dtype)f.value : TERN_INVALID;
}

tn_str tn_ov_text(const tn_ov_item *n, const char *key)
{
    tn_str value;
    tn_pb_field f;
    return attr_of(n, key, &value) && field_of(value, ATTR_TEXT, TN_PB_BYTES, &f) ? f.bytes : TN_STR("");
}

int tn_ov_numbers(const tn_ov_item *n, const char *key, int64_t *values, int max)
{
    tn_str value;
    tn_pb_field list;
    if (!attr_of(n, key, &value) || !field_of(value, ATTR_LIST, TN_PB_BYTES, &list))
        return -1;
    return numbers_of(list.bytes, LIST_NUMBERS, values, max);
}

/* ---- adding ---- */

static void put_attr(tn_buf *node, const char *key, tn_buf *value)
{
    tn_buf entry;
    tn_buf_init(&entry, 1u << 16);
    tn_pb_add_bytes(&entry, ENTRY_KEY, tn_str_from(key));
    tn_pb_add_bytes(&entry, ENTRY_VALUE, tn_buf_view(value));
    tn_pb_add_bytes(node, NODE_ATTR, tn_buf_view(&entry));
    node->failed |= value->failed | entry.failed;
    tn_buf_free(&entry);
    tn_buf_free(value);
}

/* A name that nothing else has. */
static tn_str new_name(tn_ov_scope *s)
{
    tn_str name;
    do
        name = tn_arena_printf(s->arena, "tern/%u", s->n_added++);
    while (name.ptr != NULL && find(s, name) != NULL);
    return name;
}

/* Takes the attributes, which are NODE_ATTR fields already. */
static tn_str put_node(tn_ov_scope *s, const char *op, const char *output, const tn_str *inputs,
                       uint32_t n_inputs, tn_buf *attrs)
{
    tn_buf node;
    tn_str name = new_name(s);
    tn_buf_init(&node, attrs->len + (1u << 16));
    tn_pb_add_bytes(&node, NODE_NAME, name);
    tn_pb_add_bytes(&node, NODE_OP, tn_str_from(op));
    for (uint32_t i = 0; i < n_inputs; i++)
        tn_pb_add_bytes(&node, NODE_INPUT, inputs[i]);
    tn_buf_str(&node, tn_buf_view(attrs));
    tn_pb_add_bytes(&s->added, s->field, tn_buf_view(&node));
    s->added.failed |= name.ptr == NULL || node.failed || attrs->failed;
    tn_buf_free(&node);
    tn_buf_free(attrs);
    return s->function ? tn_arena_printf(s->arena, "%.*s:%s:0", TN_FMT(name), output) : name;
}

static void put_type(tn_buf *attrs, const char *key, tern_dtype type)
{
    tn_buf value;
    tn_buf_init(&value, 64);
    tn_pb_add_number(&value, ATTR_TYPE, type);
    put_attr(attrs, key, &value);
}

tn_str tn_ov_add(tn_ov_scope *s, const char *op, const char *output, const tn_str *inputs, uint32_t n_inputs,
                 const tn_ov_attr *attrs)
{
    tn_buf all, value;
    tn_buf_init(&all, 1u << 16);
    for (; attrs->key != NULL; attrs++) {
        if (attrs->type != TERN_INVALID) {
            put_type(&all, attrs->key, attrs->type);
            continue;
        }
        tn_buf_init(&value, 64);
        tn_pb_add_number(&value, ATTR_NUMBER, (uint64_t)attrs->number);
        put_attr(&all, attrs->key, &value);
    }
    return put_node(s, op, output, inputs, n_inputs, &all);
}

static tn_str add_const(tn_ov_scope *s, tern_dtype dtype, int rank, const uint64_t dims[2], tn_str content)
{
    tn_buf all, value, tensor, shape;
    tn_buf_init(&all, 1u << 16);
    tn_buf_init(&value, 1u << 12);
    tn_buf_init(&tensor, 1u << 12);
    tn_buf_init(&shape, 64);
    for (int d = 0; d < rank; d++) {
        uint8_t dim[12] = {DIM_SIZE << 3};
        size_t n = tn_pb_put_varint(dim + 1, dims[d]);
        tn_pb_add_bytes(&shape, SHAPE_DIM, (tn_str){(const char *)dim, n + 1});
    }
    tn_pb_add_number(&tensor, TENSOR_DTYPE, dtype);
    tn_pb_add_bytes(&tensor, TENSOR_SHAPE, tn_buf_view(&shape));
    tn_pb_add_bytes(&tensor, TENSOR_CONTENT, content);
    tn_pb_add_bytes(&value, ATTR_TENSOR, tn_buf_view(&tensor));
    s->added.failed |= tensor.failed | shape.failed;
    tn_buf_free(&tensor);
    tn_buf_free(&shape);
    put_attr(&all, "value", &value);
    put_type(&all, "dtype", dtype);
    return put_node(s, "Const", "output", NULL, 0, &all);
}

tn_str tn_ov_add_ints(tn_ov_scope *s, int rank, const int32_t *values, uint32_t n)
{
    const uint64_t dims[2] = {rank == 2 ? n / 2 : n, 2};
    return add_const(s, TERN_INT32, rank, dims, (tn_str){(const char *)values, n * sizeof *values});
}

tn_str tn_ov_add_float(tn_ov_scope *s, float value)
{
    const uint64_t none[2] = {0};
    return add_const(s, TERN_FLOAT, 0, none, (tn_str){(const char *)&value, sizeof value});
}

void tn_ov_instead(tn_ov_scope *s, tn_ov_item *n, tn_str other)
{
    n->instead = other;
    s->n_changed++;
}
