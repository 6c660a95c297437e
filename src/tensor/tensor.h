/*
 * tensor/tensor.h - dtypes, tensor memory, signatures: helpers over include/tern/tensor.h.
 */
#ifndef TN_TENSOR_TENSOR_H
#define TN_TENSOR_TENSOR_H

#include "base/arena.h"
#include "base/str.h"
#include "tern/tensor.h"

/* Bytes of one element; 0 for strings, resources, variants and what is no dtype. */
size_t tn_dtype_size(tern_dtype dtype);
/*
 * TensorFlow's short name: "float", "int32", "half", "complex64" (DataTypeString); NULL for what is no dtype.
 * Static.
 */
const char *tn_dtype_name(tern_dtype dtype);
/* "DT_FLOAT" (types.proto); NULL for what is no dtype. Static. */
const char *tn_dtype_enum_name(tern_dtype dtype);

/*
 * Returns owned: size bytes, TERN_ALIGNMENT-aligned, not cleared, one reference; NULL when memory is short.
 * Any thread.
 */
tern_buffer *tn_buffer_new(size_t size);

/*
 * Product of dims. A scalar has 1. False for a negative dim, and when those that are not 0 overflow int64:
 * what reduces a dimension of 0 makes a tensor of the others, and TensorFlow ends the process where that
 * overflows.
 */
bool tn_shape_count(int32_t rank, const int64_t *dims, int64_t *count);
/* Product of the dims that are not 0, of a shape that tn_shape_count() takes. */
int64_t tn_shape_span(int32_t rank, const int64_t *dims);

/*
 * Makes a tensor of fixed-size elements with a new buffer; dims are copied into the arena. Not cleared.
 * RESOURCE_EXHAUSTED when memory is short; INVALID_ARGUMENT for a shape or dtype that cannot be.
 */
TERN_MUST_USE tern_code tn_tensor_new(tern_tensor *t, tern_dtype dtype, int32_t rank, const int64_t *dims,
                                      tn_arena *arena, tern_status *st);
/*
 * A string tensor of count elements with room for `bytes` bytes of content; the caller fills
 * tn_string_offsets(t)[0..count] and tn_string_bytes(t).
 */
TERN_MUST_USE tern_code tn_tensor_new_string(tern_tensor *t, int32_t rank, const int64_t *dims, size_t bytes,
                                             tn_arena *arena, tern_status *st);
/* Releases the buffer and clears the tensor. Accepts a cleared one. */
void tn_tensor_release(tern_tensor *t);
/* Elements of a valid tensor. */
int64_t tn_tensor_count(const tern_tensor *t);

/* String tensors: see tern/tensor.h for the layout. */
static inline uint64_t *tn_string_offsets(const tern_tensor *t)
{
    return (uint64_t *)t->data;
}
static inline char *tn_string_bytes(const tern_tensor *t, int64_t count)
{
    return (char *)t->data + sizeof(uint64_t) * ((size_t)count + 1);
}
static inline tn_str tn_string_at(const tern_tensor *t, int64_t count, int64_t i)
{
    const uint64_t *offsets = tn_string_offsets(t);
    return (tn_str){tn_string_bytes(t, count) + offsets[i], (size_t)(offsets[i + 1] - offsets[i])};
}

/* Lookups by alias / signature name: binary search. -1 / NULL when absent. */
int tn_signature_input(const tern_signature *s, tn_str alias);
int tn_signature_output(const tern_signature *s, tn_str alias);
const tern_signature *tn_signatures_find(const tern_signature_set *set, tn_str name);

#endif
