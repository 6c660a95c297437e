/*
 * refused.h - operations that OpenVINO takes but does not compute as TensorFlow does. What it does not know
 * at all it says itself.
 */
#ifndef TN_OPENVINO_REFUSED_H
#define TN_OPENVINO_REFUSED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "tern/tensor.h"

/* A node, as far as it counts here. */
typedef struct tn_ov_node {
    tn_str op;       /* its kind: "AddV2" */
    tern_dtype t;    /* of what it computes: attribute T, Tparams or dtype; or 0 */
    uint64_t types;  /* a bit for each dtype among its attributes */
    uint64_t values; /* a bit for each of its first 64 inputs that depends on values that a client sends */
    bool integers;   /* the signature has outputs of integers */
} tn_ov_node;

/* Sums of 64 such int64 stay in int32. */
#define TN_OV_SMALL (INT64_C(1) << 25)

/* NULL: may be served; else what about it, the rest of a sentence. Static. Pure. */
const char *tn_ov_refused(const tn_ov_node *node);
/* Whether it adds int64 that clients send: may be served where they are small (TN_OV_SMALL). */
bool tn_ov_is_sum(const tn_ov_node *node);
/* As tn_ov_refused(), for a tensor of a signature. */
const char *tn_ov_refused_io(tern_dtype dtype);
/* Whether what comes out of such a node depends on no values, only on shapes. */
bool tn_ov_forgets_values(tn_str op);

#endif
