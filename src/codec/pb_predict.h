/*
 * codec/pb_predict.h - tensorflow.serving.PredictRequest as it arrives, and PredictResponse from tensor
 * memory.
 *
 * The reader is fed with the bytes of one message in pieces of any size and puts tensor bytes where they
 * stay: tensor_content and packed float/double fields are copied once, from the network buffer into the final
 * 64-byte aligned tensor; packed varints are decoded on the way. Field order and repetition are free, as
 * protobuf allows (last scalar wins, messages merge).
 * Wire contract: tensorflow/core/framework/tensor.proto, tensorflow_serving/apis/predict.proto, model.proto.
 * Semantics of Tensor::FromProto: too few typed values repeat the last one, none at all are zeros, too many
 * are cut. Pure but for tensor memory. One thread at a time.
 */
#ifndef TN_CODEC_PB_PREDICT_H
#define TN_CODEC_PB_PREDICT_H

#include "base/buf.h"
#include "codec/pb_spec.h"
#include "codec/predict.h"

typedef struct tn_pb_predict_limits {
    int64_t max_tensor_bytes; /* all inputs together */
    int64_t max_inputs;       /* entries of the map, the repeated ones too */
    /* what tensors take beyond the message's own bytes, until the arena is reset; NULL: none */
    tn_budget *budget;
} tn_pb_predict_limits;

/* One input as it was sent: alias -> tensor, before it is matched with a signature. */
typedef struct tn_named_tensor {
    tn_str alias;
    /* false: what arrived is no tensor (then "tensor parsing error: ALIAS"), or left out */
    bool valid;
    tern_tensor tensor; /* owns one reference */
} tn_named_tensor;

typedef struct tn_pb_predict_reader tn_pb_predict_reader;

/*
 * Made in the arena, which also owns its cleanup (buffers of unfinished tensors included). NULL when memory
 * is short.
 */
tn_pb_predict_reader *tn_pb_predict_new(const tn_pb_predict_limits *limits, tn_arena *arena);
/*
 * Feeds the next bytes. INVALID_ARGUMENT/INTERNAL: broken message (what grpc++ would say);
 * RESOURCE_EXHAUSTED: limits.
 */
TERN_MUST_USE tern_code tn_pb_predict_feed(tn_pb_predict_reader *r, const void *bytes, size_t n,
                                           tern_status *st);
/*
 * When the next bytes of the message belong into tensor memory: where, and how many. The caller may read into
 * it directly and then call tn_pb_predict_feed() with that same pointer: no copy is made. *space is 0 when
 * there is no such place now.
 */
void tn_pb_predict_room(tn_pb_predict_reader *r, char **room, size_t *space);
/* The message is complete. */
TERN_MUST_USE tern_code tn_pb_predict_finish(tn_pb_predict_reader *r, tern_status *st);

/* After finish; borrowed from the arena. A map key that came twice: the last one counts. */
const tn_model_spec *tn_pb_predict_spec(const tn_pb_predict_reader *r);
const tn_named_tensor *tn_pb_predict_inputs(const tn_pb_predict_reader *r, uint32_t *n);
const tn_str *tn_pb_predict_output_filter(const tn_pb_predict_reader *r, uint32_t *n);

/*
 * Matches what was sent with a signature as TensorFlow Serving does (servables/tensorflow/predict_util.cc):
 * counts, names, SignatureDef.defaults, output_filter; its error texts. On success *out holds the inputs
 * (moved from the reader, or made from defaults) and *output_ids the outputs in the order wanted.
 */
TERN_MUST_USE tern_code tn_pb_predict_bind(tn_pb_predict_reader *r, const tern_signature *signature,
                                           tn_arena *arena, tn_predict *out, uint32_t **output_ids,
                                           uint32_t *n_outputs, tern_status *st);

/* A piece of an answer: bytes that are either in the arena or in tensor memory (borrowed until sent). */
typedef struct tn_piece {
    const void *ptr;
    size_t len;
} tn_piece;

/*
 * Serializes PredictResponse{model_spec, outputs} as pieces for scatter-gather: heads and converted values in
 * the arena, large fixed-width values left in tensor memory. as_content: tensor_content instead of typed
 * fields; for strings that is their lengths as varints, then their bytes. *pieces is an array in the arena of
 * *n; *total the sum of lengths.
 */
TERN_MUST_USE tern_code tn_pb_encode_predict(tn_str model, int64_t version, tn_str signature,
                                             const tn_str *names, const tern_tensor *tensors,
                                             uint32_t n_tensors, bool as_content, tn_arena *arena,
                                             tn_piece **pieces, uint32_t *n, size_t *total, tern_status *st);

/*
 * A whole TensorProto in memory (defaults, warm-up records) to a tensor. INVALID_ARGUMENT when it is no valid
 * tensor.
 */
TERN_MUST_USE tern_code tn_pb_read_tensor(tn_str bytes, tn_arena *arena, tern_tensor *out, tern_status *st);

#endif
