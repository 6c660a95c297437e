/*
 * codec/predict.h - what a Predict request says, whatever wire form it came in: the result of the decoders.
 */
#ifndef TN_CODEC_PREDICT_H
#define TN_CODEC_PREDICT_H

#include "base/budget.h"
#include "tensor/tensor.h"

typedef struct tn_predict {
    const tern_signature *signature; /* resolved */
    bool row;                        /* JSON: 'instances' (true) or 'inputs' */
    tern_tensor *inputs;             /* in the arena; each owns one reference to its buffer */
    uint32_t *input_ids;             /* indices into signature->inputs */
    uint32_t n_inputs;
    tn_str error; /* of a decoder that failed: its text, where a status is too short for it; in the arena */
} tn_predict;

/* Releases the inputs' buffers. Accepts a zeroed one. */
void tn_predict_release(tn_predict *p);

#endif
