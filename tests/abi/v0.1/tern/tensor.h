/*
 * tern/tensor.h - tensors and signatures as they cross the borders of engines and handlers.
 *
 * A tensor is a view: dtype, shape and a pointer into a reference-counted buffer. Elements lie in C order
 * (row major), little-endian, without gaps. Buffers are 64-byte aligned so that TensorFlow takes them without
 * a copy. Shapes (`dims`) are borrowed: they live as long as the call that the tensor belongs to.
 *
 * Strings (TERN_STRING) are offsets + bytes in one buffer: for n elements, data is
 *     uint64_t offsets[n + 1];  then the bytes
 * element i is bytes[offsets[i] .. offsets[i + 1]), where bytes = (const char *)data + 8 * (n + 1);
 * offsets[0] == 0.
 *
 * dtype numbers are tensorflow.DataType's (tensorflow/core/framework/types.proto).
 */
#ifndef TERN_TENSOR_H
#define TERN_TENSOR_H

#include "tern/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tern_dtype {
    TERN_INVALID = 0,
    TERN_FLOAT = 1,
    TERN_DOUBLE = 2,
    TERN_INT32 = 3,
    TERN_UINT8 = 4,
    TERN_INT16 = 5,
    TERN_INT8 = 6,
    TERN_STRING = 7,
    TERN_COMPLEX64 = 8,
    TERN_INT64 = 9,
    TERN_BOOL = 10,
    TERN_QINT8 = 11,
    TERN_QUINT8 = 12,
    TERN_QINT32 = 13,
    TERN_BFLOAT16 = 14,
    TERN_QINT16 = 15,
    TERN_QUINT16 = 16,
    TERN_UINT16 = 17,
    TERN_COMPLEX128 = 18,
    TERN_HALF = 19,
    TERN_RESOURCE = 20,
    TERN_VARIANT = 21,
    TERN_UINT32 = 22,
    TERN_UINT64 = 23
} tern_dtype;

/* Highest rank of a tensor, as in TensorFlow (TensorShape::MaxDimensions). */
#define TERN_MAX_RANK  254

#define TERN_ALIGNMENT 64

/*
 * A block of memory shared by counting references. The last tern_buffer_release() calls destroy(), from
 * whatever thread that happens on (an engine's own thread included).
 */
typedef struct tern_buffer tern_buffer;
struct tern_buffer {
    void *data;                     /* TERN_ALIGNMENT-aligned when made by the host */
    size_t size;                    /* bytes at data */
    uint32_t refs;                  /* atomic; use the functions below */
    uint32_t reserved;              /* zero */
    void (*destroy)(tern_buffer *); /* frees data and the struct itself */
    void *owner;                    /* for destroy() */
};

static inline tern_buffer *tern_buffer_retain(tern_buffer *b)
{
    __atomic_fetch_add(&b->refs, 1, __ATOMIC_RELAXED);
    return b;
}

/* Accepts NULL. */
static inline void tern_buffer_release(tern_buffer *b)
{
    if (b != NULL && __atomic_fetch_sub(&b->refs, 1, __ATOMIC_ACQ_REL) == 1)
        b->destroy(b);
}

typedef struct tern_tensor {
    tern_dtype dtype;
    int32_t rank;        /* 0 for a scalar */
    const int64_t *dims; /* rank entries, each >= 0; borrowed from the call */
    tern_buffer *buffer; /* one reference owned by this tensor; NULL only for size 0 */
    void *data;          /* first element, inside buffer; 64-byte aligned for inputs */
    size_t size;         /* bytes at data; for strings offsets and bytes together */
} tern_tensor;

/* One input or output of a signature (tensorflow.TensorInfo). */
typedef struct tern_io {
    tern_str name;        /* alias: the key in SignatureDef.inputs/outputs */
    tern_str tensor_name; /* "serving_default_x:0"; empty where an engine has none */
    tern_dtype dtype;
    int32_t rank;            /* -1: unknown rank */
    const int64_t *dims;     /* rank entries; -1: unknown */
    tern_str default_tensor; /* SignatureDef.defaults[name]: serialized TensorProto, or absent */
} tern_io;

/* tensorflow.SignatureDef. Inputs and outputs are sorted by name (bytes), so that index lookups are stable.
 */
typedef struct tern_signature {
    tern_str name;        /* "serving_default" */
    tern_str method_name; /* "tensorflow/serving/predict" */
    const tern_io *inputs;
    uint32_t n_inputs;
    const tern_io *outputs;
    uint32_t n_outputs;
} tern_signature;

typedef struct tern_signature_set {
    const tern_signature *signatures; /* sorted by name */
    uint32_t n_signatures;
    tern_str signature_def_map; /* serialized tensorflow.serving.SignatureDefMap as the model states it, or
                                   absent */
} tern_signature_set;

#ifdef __cplusplus
}
#endif
#endif
