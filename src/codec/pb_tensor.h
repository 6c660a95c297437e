/*
 * codec/pb_tensor.h - one tensorflow.TensorProto being put together from its fields, in any order and in
 * pieces.
 *
 * Semantics of Tensor::FromProto (tensorflow/core/framework/tensor.cc): tensor_content, when it is not empty,
 * must have exactly the bytes of the shape; else the typed field of the dtype counts, whose values repeat the
 * last one when there are too few, are cut when there are too many, and are zeros when there are none. Other
 * typed fields are ignored. Pure but for tensor memory. One thread at a time.
 */
#ifndef TN_CODEC_PB_TENSOR_H
#define TN_CODEC_PB_TENSOR_H

#include "base/budget.h"
#include "base/buf.h"
#include "tensor/tensor.h"

/* Field numbers of TensorProto (tensorflow/core/framework/tensor.proto). */
enum {
    TN_TENSOR_DTYPE = 1,
    TN_TENSOR_SHAPE = 2,
    TN_TENSOR_CONTENT = 4,
    TN_TENSOR_FLOAT_VAL = 5,
    TN_TENSOR_DOUBLE_VAL = 6,
    TN_TENSOR_INT_VAL = 7,
    TN_TENSOR_STRING_VAL = 8,
    TN_TENSOR_SCOMPLEX_VAL = 9,
    TN_TENSOR_INT64_VAL = 10,
    TN_TENSOR_BOOL_VAL = 11,
    TN_TENSOR_DCOMPLEX_VAL = 12,
    TN_TENSOR_HALF_VAL = 13,
    TN_TENSOR_UINT32_VAL = 16,
    TN_TENSOR_UINT64_VAL = 17
};

/* Memory for tensors of one message, counted over all of them. */
typedef struct tn_tensor_room {
    size_t used;
    size_t max;
    tn_budget *budget; /* borrowed; NULL: none */
    size_t taken;      /* from the budget: the room's owner gives it back */
    size_t left;       /* of it, not used yet */
} tn_tensor_room;

/*
 * Takes from the budget what is about to be touched beyond the bytes that arrived, which are paid for by
 * whoever received them: values that are wider in memory than on the wire, or that are repeated.
 */
TERN_MUST_USE bool tn_room_take(tn_tensor_room *room, size_t bytes);

typedef struct tn_tensor_build {
    tn_tensor_room *room;
    tern_dtype dtype;
    bool shape_bad;
    bool ambiguous; /* the dtype changed after there were values */
    int32_t rank;
    int32_t cap_dims; /* of dims, when they are the build's own */
    const int64_t *dims;
    int64_t count;        /* elements of the shape */
    tern_buffer *content; /* tensor_content as it lands */
    size_t content_len;
    tern_buffer *values; /* typed values as they land, `unit` bytes each */
    size_t n_values;
    size_t cap_values;
    tn_buf string_bytes; /* string_val */
    tn_buf string_ends;  /* uint64_t each */
} tn_tensor_build;

/* A typed field and how its values lie on the wire and in memory. */
typedef struct tn_typed {
    uint32_t field;
    uint32_t wire;  /* TN_PB_VARINT, TN_PB_FIXED32, TN_PB_FIXED64, TN_PB_BYTES */
    uint32_t unit;  /* bytes in memory of one value: for complex numbers of one part */
    uint32_t parts; /* values of one element: 2 for complex numbers */
} tn_typed;

/* NULL: dtypes that do not come in a TensorProto here (resources, variants, unknown). Static. */
const tn_typed *tn_typed_of(tern_dtype dtype);

/*
 * The name of a dtype that TensorFlow takes from a TensorProto but that is left out here, since no input that
 * is served has it: resources, variants, and those newer than tern_dtype. NULL: others. Static.
 */
const char *tn_left_out_name(tern_dtype dtype);

void tn_build_init(tn_tensor_build *b, tn_tensor_room *room);
/* Releases what was not handed out. */
void tn_build_free(tn_tensor_build *b);
/*
 * A whole TensorShapeProto message. False: malformed. A shape that cannot be only makes the tensor invalid.
 */
TERN_MUST_USE bool tn_build_shape(tn_tensor_build *b, tn_str message, tn_arena *arena);
/*
 * Where the next n bytes of tensor_content go; content_len grows by what the caller adds. NULL over the limit
 * or without memory.
 */
TERN_MUST_USE tern_code tn_build_content(tn_tensor_build *b, size_t more, char **at, tern_status *st);
/* Room for n more typed values of the dtype's unit: address of the next one. */
TERN_MUST_USE tern_code tn_build_values(tn_tensor_build *b, const tn_typed *t, size_t more, char **at,
                                        tern_status *st);
/*
 * The dtype changed after there were values: gives them back, and makes the tensor invalid unless it has
 * tensor_content.
 */
void tn_build_disown_values(tn_tensor_build *b);
/* Stores one varint as a value of this dtype at `at`. */
void tn_build_put(tern_dtype dtype, char *at, uint64_t value);
/* ends the string being collected */
TERN_MUST_USE tern_code tn_build_string(tn_tensor_build *b, tern_status *st);
/*
 * Makes the tensor. *valid false (and TERN_OK): what came is no tensor, or, with a dtype in *out that has a
 * tn_left_out_name(), one that cannot be carried. Else *out owns its buffer.
 * RESOURCE_EXHAUSTED: limits.
 */
TERN_MUST_USE tern_code tn_build_finish(tn_tensor_build *b, tn_arena *arena, tern_tensor *out, bool *valid,
                                        tern_status *st);

#endif
