/*
 * rewrite.c - see rewrite.h.
 *
 * Each pattern is looked at from its last node. Before a node is replaced, the comment says why the values
 * are the same.
 */
#include "rewrite.h"

#include "codec/pb_wire.h"
#include "fields.h"
#include "nodes.h"

/* Wider windows, and those of few channels, are better off as convolutions. */
enum { MAX_TAPS = 5, MIN_CHANNELS = 16 };

#define TYPE(key, dtype)                                                                                     \
    {                                                                                                        \
        (key), (dtype), 0                                                                                    \
    }
#define NUMBER(key, number)                                                                                  \
    {                                                                                                        \
        (key), TERN_INVALID, (number)                                                                        \
    }
#define END                                                                                                  \
    {                                                                                                        \
        NULL, TERN_INVALID, 0                                                                                \
    }

static bool is_float(const tn_ov_item *n)
{
    return tn_ov_dtype(n, "T") == TERN_FLOAT;
}

static bool same_input(const tn_ov_item *a, uint32_t i, const tn_ov_item *b, uint32_t k)
{
    return i < a->n_in && k < b->n_in && tn_str_eq(a->in[i], b->in[k]);
}

/* Whether it is the shape of what `of` reads. */
static bool is_shape_of(const tn_ov_item *shape, const tn_ov_item *of)
{
    return shape != NULL && of != NULL && same_input(shape, 0, of, 0);
}

/* A dtype that TensorFlow leaves out where it is int32. */
static bool is_int32(const tn_ov_item *n, const char *key)
{
    tern_dtype t = tn_ov_dtype(n, key);
    return t == TERN_INT32 || t == TERN_INVALID;
}

/* n: up to MAX_TAPS. */
static tn_str concat(tn_ov_scope *s, const tn_str *parts, uint32_t n, int32_t axis, tern_dtype dtype)
{
    tn_str inputs[MAX_TAPS + 1];
    const tn_ov_attr attrs[] = {NUMBER("N", n), TYPE("T", dtype), TYPE("Tidx", TERN_INT32), END};
    memcpy(inputs, parts, n * sizeof *parts);
    inputs[n] = tn_ov_add_ints(s, 0, &axis, 1);
    return tn_ov_add(s, "ConcatV2", "output", inputs, n + 1, attrs);
}

static tn_str matmul(tn_ov_scope *s, tn_str a, tn_str b)
{
    const tn_ov_attr attrs[] = {TYPE("T", TERN_FLOAT), END};
    return tn_ov_add(s, "BatchMatMulV2", "output", (tn_str[]){a, b}, 2, attrs);
}

/* ---- gelu ---- */

/* erfc(-b c) = 1 - erf(-b c) = 1 + erf(b c) */
static void rewrite_erfc(tn_ov_scope *s, tn_ov_item *n)
{
    const tn_ov_attr attrs[] = {TYPE("T", TERN_FLOAT), END};
    const tn_ov_item *mul = tn_ov_from(s, n, 0, "Mul");
    const tn_ov_item *left = tn_ov_from(s, mul, 0, "Neg"), *right = tn_ov_from(s, mul, 1, "Neg");
    const tn_ov_item *neg = left != NULL ? left : right;
    if (!is_float(n) || neg == NULL || neg->n_in != 1)
        return;
    const tn_str factors[] = {neg->in[0], mul->in[left != NULL ? 1 : 0]};
    tn_str product = tn_ov_add(s, "Mul", "z", factors, 2, attrs);
    tn_str erf = tn_ov_add(s, "Erf", "y", &product, 1, attrs);
    tn_str one = tn_ov_add_float(s, 1);
    tn_ov_instead(s, n, tn_ov_add(s, "AddV2", "z", (tn_str[]){one, erf}, 2, attrs));
}

/* ---- tf.tensordot ---- */

/* 0, 1, ... n - 1 */
static bool is_counting(const tn_ov_item *n, int count)
{
    static const int64_t counting[TN_OV_RANK] = {0, 1, 2, 3, 4, 5};
    return count > 0 && count <= TN_OV_RANK && tn_ov_are(n, counting, count);
}

/*
 * y = Reshape(MatMul(Reshape(Transpose(x, unchanged)), w [K,M]), dims of x but for the last one, and M),
 * where x ends in K. A product of matrices takes rows of K, so its rows are those of x in their order,
 * whatever the first Reshape was told.
 */
static void rewrite_tensordot(tn_ov_scope *s, tn_ov_item *n)
{
    int64_t w[TN_OV_RANK], x[TN_OV_RANK];
    const tn_ov_item *product = tn_ov_from(s, n, 0, "MatMul");
    const tn_ov_item *rows = tn_ov_from(s, product, 0, "Reshape");
    const tn_ov_item *turned = tn_ov_from(s, rows, 0, "Transpose");
    const tn_ov_item *order = tn_ov_from(s, turned, 1, "ConcatV2");
    const tn_ov_item *dims = tn_ov_from(s, n, 1, "ConcatV2");
    const tn_ov_item *free_dims = tn_ov_from(s, dims, 0, "GatherV2");
    if (order == NULL || free_dims == NULL || order->n_in != 3 || dims->n_in != 3 || !is_float(product) ||
        tn_ov_number(product, "transpose_a", 0) != 0 || tn_ov_number(product, "transpose_b", 0) != 0)
        return;
    const int rank = tn_ov_shape(tn_ov_from(s, turned, 0, NULL), x);
    if (rank < 2 || tn_ov_shape(tn_ov_from(s, product, 1, NULL), w) != 2 || w[0] <= 0 || x[rank - 1] != w[0])
        return;
    const int64_t last = rank - 1, zero = 0;
    if (is_counting(tn_ov_from(s, order, 0, "Const"), rank - 1) &&
        tn_ov_are(tn_ov_from(s, order, 1, "Const"), &last, 1) &&
        is_counting(tn_ov_from(s, free_dims, 1, "Const"), rank - 1) &&
        tn_ov_are(tn_ov_from(s, free_dims, 2, "Const"), &zero, 1) &&
        tn_ov_number(free_dims, "batch_dims", 0) == 0 &&
        is_shape_of(tn_ov_from(s, free_dims, 0, "Shape"), turned) &&
        tn_ov_are(tn_ov_from(s, dims, 1, "Const"), &w[1], 1) &&
        tn_ov_are(tn_ov_from(s, dims, 2, "Const"), &zero, 1))
        tn_ov_instead(s, n, matmul(s, turned->in[0], product->in[1]));
}

/* ---- Conv1D ---- */

typedef struct conv1d {
    tn_str x; /* [batch, length, channels] */
    tn_str w; /* [taps, channels, units] */
    int64_t taps;
    int64_t units;
    int64_t rate;
    int64_t before; /* what padding puts before x, if it is constant: else `pads` */
    tn_str pads;    /* [1,2]: before and behind */
} conv1d;

static bool is_all(const int64_t *values, int n, int64_t what)
{
    for (int i = 0; i < n; i++)
        if (values[i] != what)
            return false;
    return true;
}

/* ExpandDims of that input in a dimension before [length, channels] (of w: before all). */
static const tn_ov_item *expanded(const tn_ov_scope *s, const tn_ov_item *conv, uint32_t i, int64_t axis)
{
    const tn_ov_item *e = tn_ov_from(s, conv, i, "ExpandDims");
    const int64_t from_end = axis == 1 ? -3 : -4;
    const tn_ov_item *at = tn_ov_from(s, e, 1, "Const");
    return tn_ov_are(at, &axis, 1) || tn_ov_are(at, &from_end, 1) ? e : NULL;
}

/* Squeeze(Conv2D(ExpandDims(x), ExpandDims(w))), with steps of 1 and no dilation of its own. */
static const tn_ov_item *read_conv1d(const tn_ov_scope *s, const tn_ov_item *squeeze, conv1d *c)
{
    int64_t list[4], w[TN_OV_RANK], x[TN_OV_RANK];
    const tn_ov_item *conv = tn_ov_from(s, squeeze, 0, "Conv2D");
    const tn_ov_item *ex = expanded(s, conv, 0, 1), *ew = expanded(s, conv, 1, 0);
    if (ex == NULL || ew == NULL || !is_float(conv))
        return NULL;
    const tn_str format = tn_ov_text(conv, "data_format");
    const int dilations = tn_ov_numbers(conv, "dilations", list, 4);
    if ((format.len > 0 && !tn_str_eq(format, TN_STR("NHWC"))) ||
        (dilations >= 0 && !is_all(list, dilations, 1)))
        return NULL;
    if (tn_ov_numbers(conv, "strides", list, 4) != 4 || !is_all(list, 4, 1))
        return NULL;
    if (tn_ov_numbers(squeeze, "squeeze_dims", list, 4) != 1 || (list[0] != 1 && list[0] != -3))
        return NULL;
    if (tn_ov_shape(tn_ov_from(s, ew, 0, NULL), w) != 3 || tn_ov_shape(tn_ov_from(s, ex, 0, NULL), x) != 3)
        return NULL;
    if (w[0] < 1 || w[0] > MAX_TAPS || w[1] < MIN_CHANNELS || w[1] != x[2] || w[2] < 1 || w[2] > INT32_MAX)
        return NULL;
    *c = (conv1d){.x = ex->in[0], .w = ew->in[0], .taps = w[0], .units = w[2], .rate = 1};
    return conv;
}

static tn_str pad(tn_ov_scope *s, const conv1d *c)
{
    const tn_ov_attr attrs[] = {TYPE("T", TERN_FLOAT), TYPE("Tpaddings", TERN_INT32), END};
    const int32_t none[2] = {0};
    const int64_t all = c->rate * (c->taps - 1);
    const int32_t fixed[6] = {0, 0, (int32_t)c->before, (int32_t)(all - c->before)};
    tn_str pads = c->pads;
    if (pads.len == 0) {
        pads = tn_ov_add_ints(s, 2, fixed, 6);
    } else {
        tn_str nothing = tn_ov_add_ints(s, 2, none, 2);
        pads = concat(s, (tn_str[]){nothing, pads, nothing}, 3, 0, TERN_INT32);
    }
    return tn_ov_add(s, "Pad", "output", (tn_str[]){c->x, pads}, 2, attrs);
}

/* padded[:, from:length - behind] */
static tn_str tap(tn_ov_scope *s, tn_str padded, int64_t from, int64_t behind)
{
    const int32_t begin[3] = {0, (int32_t)from}, end[3] = {0, (int32_t)-behind}, step[3] = {1, 1, 1};
    const tn_ov_attr attrs[] = {TYPE("T", TERN_FLOAT), TYPE("Index", TERN_INT32), NUMBER("begin_mask", 5),
                                NUMBER("end_mask", behind > 0 ? 5 : 7), END};
    tn_str b = tn_ov_add_ints(s, 1, begin, 3), e = tn_ov_add_ints(s, 1, end, 3);
    tn_str by = tn_ov_add_ints(s, 1, step, 3);
    return tn_ov_add(s, "StridedSlice", "output", (tn_str[]){padded, b, e, by}, 4, attrs);
}

/*
 * Element t of the answer is the sum over j of padded[t + j * rate] w[j]: the j-th windows beside each other,
 * times the w[j] below each other. A window where the padding begins is x itself.
 */
static tn_str windows(tn_ov_scope *s, const conv1d *c)
{
    const tn_ov_attr attrs[] = {TYPE("T", TERN_FLOAT), TYPE("Tshape", TERN_INT32), END};
    const int32_t shape[2] = {-1, (int32_t)c->units};
    const int64_t all = c->rate * (c->taps - 1);
    tn_str taps[MAX_TAPS];
    tn_str padded = c->taps > 1 || c->pads.len > 0 ? pad(s, c) : c->x;
    for (int64_t j = 0; j < c->taps; j++)
        taps[j] = c->pads.len == 0 && j * c->rate == c->before
                      ? c->x
                      : tap(s, padded, j * c->rate, all - j * c->rate);
    tn_str one = c->taps > 1 ? concat(s, taps, (uint32_t)c->taps, 2, TERN_FLOAT) : taps[0];
    tn_str flat = tn_ov_add_ints(s, 1, shape, 2);
    return matmul(s, one, tn_ov_add(s, "Reshape", "output", (tn_str[]){c->w, flat}, 2, attrs));
}

static void rewrite_conv1d(tn_ov_scope *s, tn_ov_item *squeeze)
{
    conv1d c;
    const tn_ov_item *conv = read_conv1d(s, squeeze, &c);
    if (conv == NULL || !tn_str_eq(tn_ov_text(conv, "padding"), TN_STR("SAME")))
        return;
    c.before = (c.taps - 1) / 2;
    tn_ov_instead(s, squeeze, windows(s, &c));
}

/*
 * BatchToSpaceND(Conv1D "valid"(SpaceToBatchND(x, [rate], pads)), [rate], crops): the elements of padded x that
 * are `rate` apart meet in one row of the batch. So it is the dilated convolution of padded x, less what is
 * cropped; and cropping the answer of a convolution is cropping what it reads: to pad less. (OpenVINO crops
 * where that is less than nothing, which tf.nn.convolution never makes.)
 */
static void rewrite_dilated(tn_ov_scope *s, tn_ov_item *n)
{
    conv1d c;
    int64_t rate, back;
    const tn_ov_attr attrs[] = {TYPE("T", TERN_INT32), END};
    const tn_ov_item *conv = read_conv1d(s, tn_ov_from(s, n, 0, "Squeeze"), &c);
    const tn_ov_item *spread =
        conv != NULL ? tn_ov_from(s, tn_ov_from(s, conv, 0, "ExpandDims"), 0, "SpaceToBatchND") : NULL;
    if (spread == NULL || spread->n_in != 3 || n->n_in != 3 ||
        !tn_str_eq(tn_ov_text(conv, "padding"), TN_STR("VALID")) ||
        tn_ov_ints(tn_ov_from(s, spread, 1, "Const"), &rate, 1) != 1 ||
        tn_ov_ints(tn_ov_from(s, n, 1, "Const"), &back, 1) != 1 || rate != back || rate < 1 || rate > 1 << 16)
        return;
    if (!is_int32(spread, "Tpaddings") || !is_int32(n, "Tcrops"))
        return;
    c.x = spread->in[0];
    c.rate = rate;
    c.pads = tn_ov_add(s, "Sub", "z", (tn_str[]){spread->in[2], n->in[2]}, 2, attrs);
    tn_ov_instead(s, n, windows(s, &c));
}

/* ---- take_along_axis ---- */

static const int64_t swapped[3] = {0, 2, 1};

/* [-1, last dimension of what is reshaped] */
static bool keeps_last(const tn_ov_scope *s, const tn_ov_item *reshape)
{
    const int64_t rest = -1;
    const tn_ov_item *shape = tn_ov_from(s, reshape, 1, "Pack");
    const tn_ov_item *last = tn_ov_from(s, shape, 1, "StridedSlice");
    return last != NULL && shape->n_in == 2 && tn_ov_are(tn_ov_from(s, shape, 0, "Const"), &rest, 1) &&
           tn_ov_are(tn_ov_from(s, last, 1, "Const"), &rest, 1) &&
           tn_ov_number(last, "shrink_axis_mask", 0) == 1 && tn_ov_number(last, "begin_mask", 0) == 0 &&
           is_shape_of(tn_ov_from(s, last, 0, "Shape"), reshape);
}

/* What Transpose(., [0, 2, 1]) it is a reshape of. */
static const tn_ov_item *flat_swapped(const tn_ov_scope *s, const tn_ov_item *gather, uint32_t i)
{
    const tn_ov_item *reshape = tn_ov_from(s, gather, i, "Reshape");
    const tn_ov_item *swap = tn_ov_from(s, reshape, 0, "Transpose");
    return keeps_last(s, reshape) && tn_ov_are(tn_ov_from(s, swap, 1, "Const"), swapped, 3) ? swap : NULL;
}

static bool is_scalar(const tn_ov_scope *s, const tn_ov_item *n, uint32_t i)
{
    int64_t dims[TN_OV_RANK];
    return tn_ov_shape(tn_ov_from(s, n, i, NULL), dims) == 0;
}

/* BroadcastTo(., [batch, anything, channels]) of both, with the same batch and channels. */
static bool alike(const tn_ov_scope *s, const tn_ov_item *rows, const tn_ov_item *index)
{
    int64_t a, b;
    const tn_ov_item *x = tn_ov_from(s, rows, 1, "Pack"), *y = tn_ov_from(s, index, 1, "Pack");
    return x != NULL && y != NULL && x->n_in == 3 && y->n_in == 3 && same_input(x, 0, y, 0) &&
           tn_ov_ints(tn_ov_from(s, x, 2, "Const"), &a, 1) == 1 &&
           tn_ov_ints(tn_ov_from(s, y, 2, "Const"), &b, 1) == 1 && a == b &&
           tn_ov_dtype(y, "T") == TERN_INT32 && tn_ov_number(y, "axis", 0) == 0;
}

/*
 * The index with its last dimension left at 1: an index is the same for all channels, and so is what a number
 * makes of it. -> [batch, n]
 */
static tn_str index_of_rows(tn_ov_scope *s, const tn_ov_item *select, const tn_ov_item *less,
                            const tn_ov_item *sum, const tn_ov_item *index)
{
    const tern_dtype t = tn_ov_dtype(select, "T");
    const int32_t one = 1;
    const tn_ov_attr pack_attrs[] = {NUMBER("N", 3), TYPE("T", TERN_INT32), NUMBER("axis", 0), END};
    const tn_ov_attr to_attrs[] = {TYPE("T", t), TYPE("Tidx", TERN_INT32), END};
    const tn_ov_attr attrs[] = {TYPE("T", t), END};
    const tn_ov_attr reshape_attrs[] = {TYPE("T", t), TYPE("Tshape", TERN_INT32), END};
    const tn_ov_item *shape = tn_ov_from(s, index, 1, "Pack");
    tn_str last = tn_ov_add_ints(s, 0, &one, 1);
    tn_str to = tn_ov_add(s, "Pack", "output", (tn_str[]){shape->in[0], shape->in[1], last}, 3, pack_attrs);
    tn_str base = tn_ov_add(s, "BroadcastTo", "output", (tn_str[]){index->in[0], to}, 2, to_attrs);
    tn_str below = tn_ov_add(s, "Less", "z", (tn_str[]){base, less->in[1]}, 2, attrs);
    tn_str added = tn_ov_add(s, "AddV2", "z", (tn_str[]){base, sum->in[1]}, 2, attrs);
    tn_str chosen = tn_ov_add(s, "SelectV2", "output", (tn_str[]){below, added, base}, 3, attrs);
    const tn_ov_attr flat_attrs[] = {NUMBER("N", 2), TYPE("T", TERN_INT32), NUMBER("axis", 0), END};
    tn_str flat = tn_ov_add(s, "Pack", "output", shape->in, 2, flat_attrs);
    return tn_ov_add(s, "Reshape", "output", (tn_str[]){chosen, flat}, 2, reshape_attrs);
}

/*
 * y[b, n, c] = rows[b, index[b, n, c], c] by Gather in rows [batch * channels, length], where index is
 * BroadcastTo(., [batch, n, channels]) of one with a last dimension of 1, less than nothing counted from the
 * end: the index-th row of rows[b].
 */
static void rewrite_take(tn_ov_scope *s, tn_ov_item *n)
{
    int64_t dims[TN_OV_RANK], axis = 1;
    const int32_t at = 1;
    const tn_ov_item *back = tn_ov_from(s, n, 0, "Reshape"), *gather = tn_ov_from(s, back, 0, "GatherV2");
    if (gather == NULL || tn_ov_number(gather, "batch_dims", 0) != 1 ||
        !tn_ov_are(tn_ov_from(s, n, 1, "Const"), swapped, 3) ||
        !tn_ov_are(tn_ov_from(s, gather, 2, "Const"), &axis, 1))
        return;
    const tn_ov_item *rows = flat_swapped(s, gather, 0), *indices = flat_swapped(s, gather, 1);
    const tn_ov_item *shape = tn_ov_from(s, back, 1, "Shape");
    if (rows == NULL || indices == NULL || shape == NULL || tn_ov_from(s, shape, 0, NULL) != indices)
        return;
    const tn_ov_item *select = tn_ov_from(s, indices, 0, "SelectV2");
    const tn_ov_item *less = tn_ov_from(s, select, 0, "Less"), *sum = tn_ov_from(s, select, 1, "AddV2");
    const tn_ov_item *index = tn_ov_from(s, select, 2, "BroadcastTo");
    if (less == NULL || sum == NULL || index == NULL || !same_input(less, 0, select, 2) ||
        !same_input(sum, 0, select, 2) || !is_scalar(s, less, 1) || !is_scalar(s, sum, 1))
        return;
    if (!alike(s, tn_ov_from(s, rows, 0, "BroadcastTo"), index) ||
        tn_ov_shape(tn_ov_from(s, index, 0, NULL), dims) != 3 || dims[2] != 1 ||
        tn_ov_dtype(gather, "Tparams") != TERN_FLOAT)
        return;
    const tn_ov_attr attrs[] = {TYPE("Tparams", TERN_FLOAT), TYPE("Tindices", tn_ov_dtype(select, "T")),
                                TYPE("Taxis", TERN_INT32), NUMBER("batch_dims", 1), END};
    const tn_str inputs[] = {rows->in[0], index_of_rows(s, select, less, sum, index),
                             tn_ov_add_ints(s, 0, &at, 1)};
    tn_ov_instead(s, n, tn_ov_add(s, "GatherV2", "output", inputs, 3, attrs));
}

/* ---- all of a graph ---- */

static const struct {
    const char *op; /* of the last node */
    void (*rewrite)(tn_ov_scope *s, tn_ov_item *n);
} patterns[] = {
    {"Erfc", rewrite_erfc},      {"Reshape", rewrite_tensordot},
    {"Squeeze", rewrite_conv1d}, {"BatchToSpaceND", rewrite_dilated},
    {"Transpose", rewrite_take},
};

/* A graph or a function. false: it stays as it is. */
static bool rewrite_scope(tn_str message, uint32_t field, bool function, tn_arena *arena, tn_buf *out)
{
    tn_ov_scope s;
    bool read = tn_ov_scope_read(&s, message, field, function, arena);
    for (uint32_t i = 0; read && i < s.n; i++)
        for (size_t k = 0; k < sizeof patterns / sizeof patterns[0]; k++)
            if (tn_str_eq(s.at[i].op, tn_str_from(patterns[k].op)))
                patterns[k].rewrite(&s, &s.at[i]);
    const bool changed = read && s.n_changed > 0;
    if (changed)
        tn_ov_scope_write(&s, message, out);
    tn_ov_scope_free(&s);
    return changed;
}

/* The library with each function rewritten; false: none was. */
static bool rewrite_library(tn_str library, tn_arena *arena, tn_buf *out)
{
    bool changed = false;
    tn_pb_field f = {0};
    for (tn_pb r = tn_pb_from(library); tn_pb_more(&r);) {
        const char *from = (const char *)r.at;
        if (!tn_pb_next(&r, &f))
            return false;
        tn_buf function;
        tn_buf_init(&function, f.bytes.len + (64u << 20));
        if (f.number == LIBRARY_FUNCTION && f.type == TN_PB_BYTES &&
            rewrite_scope(f.bytes, FUNCTION_NODE, true, arena, &function)) {
            tn_pb_add_bytes(out, LIBRARY_FUNCTION, tn_buf_view(&function));
            changed = true;
        } else {
            tn_buf_append(out, from, (size_t)((const char *)r.at - from));
        }
        out->failed |= function.failed;
        tn_buf_free(&function);
    }
    return changed;
}

bool tn_ov_rewrite(tn_str graph, tn_arena *arena, tn_buf *out)
{
    tn_buf library, own;
    tn_pb_field f = {0};
    bool changed = false;
    const size_t before = out->len;
    tn_buf_init(&own, graph.len + (64u << 20));
    if (rewrite_scope(graph, GRAPH_NODE, false, arena, &own)) {
        changed = true;
        graph = tn_buf_view(&own);
    }
    for (tn_pb r = tn_pb_from(graph); tn_pb_more(&r);) {
        const char *from = (const char *)r.at;
        if (!tn_pb_next(&r, &f)) {
            changed = false;
            break;
        }
        tn_buf_init(&library, f.bytes.len + (64u << 20));
        if (f.number == GRAPH_LIBRARY && f.type == TN_PB_BYTES && rewrite_library(f.bytes, arena, &library)) {
            tn_pb_add_bytes(out, GRAPH_LIBRARY, tn_buf_view(&library));
            changed = true;
        } else {
            tn_buf_append(out, from, (size_t)((const char *)r.at - from));
        }
        out->failed |= library.failed;
        tn_buf_free(&library);
    }
    out->failed |= own.failed;
    tn_buf_free(&own);
    if (!changed)
        out->len = before;
    return changed;
}
