/*
 * refused.c - see refused.h.
 */
#include "refused.h"

#include <stddef.h>

static const char state[] = "changes state, which OpenVINO does not keep from one run to the next";
static const char check[] = "checks values, which OpenVINO leaves out";
static const char table[] = "uses a table or a queue, which OpenVINO does not fill as TensorFlow does";
static const char divide[] = "divides integers by what clients send, and OpenVINO does not refuse a zero";
static const char narrow[] = "computes in an integer type that OpenVINO replaces by int32";
static const char inexact[] = "computes integers that OpenVINO rounds to float";
static const char unsafe[] =
    "takes indices that clients send, and OpenVINO does not look whether they are in range";

/* Whatever they work on. A '*' stands for whatever is there. */
static const struct {
    const char *op;
    const char *why;
} ops[] = {
    {"Assign*", state},
    {"ResourceApply*", state},
    {"ResourceSparseApply*", state},
    {"ResourceScatter*", state},
    {"ResourceStridedSliceAssign", state},
    {"ResourceCountUpTo", state},
    {"Apply*", state},
    {"SparseApply*", state},
    {"CountUpTo", state},
    {"DestroyTemporaryVariable", state},
    {"ScatterAdd", state},
    {"ScatterDiv", state},
    {"ScatterMax", state},
    {"ScatterMin", state},
    {"ScatterMul", state},
    {"ScatterSub", state},
    {"ScatterUpdate", state},
    {"ScatterNdAdd", state},
    {"ScatterNdMax", state},
    {"ScatterNdMin", state},
    {"ScatterNdSub", state},
    {"ScatterNdUpdate", state},
    {"Stateful*Rng", state},
    {"StatefulStandardNormal*", state},
    {"StatefulUniform*", state},
    {"RngSkip", state},
    {"RngReadAndSkip", state},
    {"Assert", check},
    {"CheckNumerics*", check},
    {"HashTable*", table},
    {"MutableHashTable*", table},
    {"MutableDenseHashTable*", table},
    {"LookupTable*", table},
    {"InitializeTable*", table},
    {"FIFOQueue*", table},
    {"Queue*", table},
    {"Iterator*", table},
};

/* Arithmetic: what moves values only (Gather, Reshape, Concat) is the same in any type wide enough. */
static const char *const arithmetic[] = {
    "Abs",
    "Add",
    "AddN",
    "AddV2",
    "AvgPool*",
    "BiasAdd",
    "Bincount",
    "Bitwise*",
    "Cumprod",
    "Cumsum",
    "Einsum",
    "Invert",
    "L2Loss",
    "LeftShift",
    "*MatMul*",
    "Mean",
    "Mul",
    "Neg",
    "Pow",
    "Prod",
    "Sign",
    "RightShift",
    "ScatterNd",
    "Square",
    "Sub",
    "*Segment*",
    "Sum",
    "*Bincount*",
    "TensorScatterAdd",
    "TensorScatterSub",
    "SquaredDifference",
};

/*
 * Of these, the ones that stay in int32 where their operands are far from its ends; Keras makes indices so.
 */
static const char *const sums[] = {
    "Abs", "Add", "AddV2", "Neg", "Sign", "Sub",
};

/* Of int32, computed as float: measured beyond 2^24 on each of them. */
static const char *const by_float[] = {
    "*MatMul*", "*Segment*", "ClipByValue", "Div", "Einsum",      "FloorDiv",
    "FloorMod", "Max",       "Mean",        "Min", "Mod",         "Pow",
    "Prod",     "RealDiv",   "Reverse*",    "Sum", "TruncateDiv", "TruncateMod",
};

static const char *const division[] = {
    "Div", "FloorDiv", "FloorMod", "Mod", "RealDiv", "TruncateDiv", "TruncateMod",
};

static const char *const shapes[] = {
    "OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike",
};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])
#define BIT(dtype)  (UINT64_C(1) << (dtype))

static const uint64_t small_integers = BIT(TERN_UINT8) | BIT(TERN_INT16) | BIT(TERN_INT8) | BIT(TERN_UINT16);
static const uint64_t large_integers = BIT(TERN_INT64) | BIT(TERN_UINT32) | BIT(TERN_UINT64);

/* "Name", "Name*", "*Name", "*Name*", "Na*me" */
static bool matches(tn_str op, const char *pattern)
{
    tn_str p = tn_str_from(pattern);
    ptrdiff_t star = tn_str_chr(p, '*');
    if (star < 0)
        return tn_str_eq(op, p);
    if (p.len > 2 && star == 0 && p.ptr[p.len - 1] == '*')
        return tn_str_find(op, tn_str_sub(p, 1, p.len - 1)) >= 0;
    return op.len + 1 >= p.len && tn_str_starts(op, tn_str_sub(p, 0, (size_t)star)) &&
           tn_str_ends(op, tn_str_sub(p, (size_t)star + 1, p.len));
}

static bool among(tn_str op, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (matches(op, list[i]))
            return true;
    return false;
}

const char *tn_ov_refused_io(tern_dtype dtype)
{
    switch (dtype) {
    case TERN_FLOAT:
    case TERN_HALF:
    case TERN_BFLOAT16:
    case TERN_INT32:
    case TERN_INT64:
    case TERN_INT16:
    case TERN_INT8:
    case TERN_UINT8:
    case TERN_BOOL:
        return NULL;
    case TERN_STRING:
        return "is of strings, which OpenVINO does not take";
    case TERN_DOUBLE:
        return "is of double, which OpenVINO computes as float";
    default:
        return "has a dtype that OpenVINO does not take";
    }
}

bool tn_ov_forgets_values(tn_str op)
{
    return among(op, shapes, COUNT(shapes));
}

/*
 * Gather answers 0 for an index out of range, but for short vectors of int32 (which its fast path takes for
 * shapes) it reads beyond them, as GatherNd and DynamicStitch do.
 */
static bool reads_anywhere(const tn_ov_node *n)
{
    if ((n->values & 2) != 0 && n->t == TERN_INT32)
        return matches(n->op, "Gather*") || matches(n->op, "ResourceGather*");
    if (matches(n->op, "*DynamicStitch"))
        return n->values != 0;
    return (n->values & 2) != 0 && matches(n->op, "*GatherNd");
}

bool tn_ov_is_sum(const tn_ov_node *n)
{
    return n->t == TERN_INT64 && n->values != 0 && among(n->op, sums, COUNT(sums));
}

static const char *refused_integers(const tn_ov_node *n)
{
    if (reads_anywhere(n))
        return unsafe;
    if ((BIT(n->t) & (small_integers | large_integers | BIT(TERN_INT32))) == 0 || n->values == 0)
        return NULL;
    if ((n->values & 2) != 0 && among(n->op, division, COUNT(division)))
        return divide;
    if (tn_ov_is_sum(n))
        return NULL;
    if (n->t != TERN_INT32 && among(n->op, arithmetic, COUNT(arithmetic)))
        return narrow;
    return n->integers && among(n->op, by_float, COUNT(by_float)) ? inexact : NULL;
}

const char *tn_ov_refused(const tn_ov_node *n)
{
    for (size_t i = 0; i < COUNT(ops); i++)
        if (matches(n->op, ops[i].op))
            return ops[i].why;
    if ((n->types & BIT(TERN_STRING)) != 0)
        return "works on strings, which OpenVINO does not take";
    if ((n->types & BIT(TERN_DOUBLE)) != 0)
        return "works on double, which OpenVINO computes as float";
    if ((n->types & (BIT(TERN_COMPLEX64) | BIT(TERN_COMPLEX128))) != 0)
        return "works on complex numbers, which OpenVINO does not take";
    return refused_integers(n);
}
