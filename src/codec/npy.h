/*
 * codec/npy.h - one array in numpy's file format, versions 1.0 to 3.0 (numpy.lib.format): a magic string, a
 * Python dictionary with dtype, order and shape, then the elements.
 *
 * Read are little-endian arrays in C order of every dtype that a tensor has but strings; bfloat16, which
 * numpy has not, is two bytes without a meaning ("<V2", as ml_dtypes writes it). Pure, any thread.
 */
#ifndef TN_CODEC_NPY_H
#define TN_CODEC_NPY_H

#include "base/buf.h"
#include "tensor/tensor.h"

typedef struct tn_npy {
    tern_dtype dtype; /* BFLOAT16 for two bytes without a meaning */
    int32_t rank;
    int64_t dims[TERN_MAX_RANK];
    int64_t count;
    tn_str data; /* the elements, in the text: count * size bytes, all that is behind the header */
} tn_npy;

/*
 * INVALID_ARGUMENT with a sentence that names the fault and the way out of it: no npy, cut off, too long,
 * Fortran order, big-endian, strings and objects, too many dimensions.
 */
TERN_MUST_USE tern_code tn_npy_read(tn_str text, tn_npy *out, tern_status *st);
/*
 * Appends the header (version 1.0, or 2.0 for a long one) of an array of this tensor. False: dtype has no npy
 * form.
 */
TERN_MUST_USE bool tn_npy_write_head(const tern_tensor *t, tn_buf *out);
/* What numpy calls the dtype: "float32", "bool"; for sentences. Static; NULL when numpy has no such. */
const char *tn_npy_dtype_name(tern_dtype dtype);

#endif
