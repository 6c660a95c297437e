/*
 * codec/pb_spec.h - tensorflow.serving.ModelSpec, which stands in every request and answer
 * (tensorflow_serving/apis/model.proto): read, and written. Pure, any thread.
 */
#ifndef TN_CODEC_PB_SPEC_H
#define TN_CODEC_PB_SPEC_H

#include "base/str.h"

/* ModelSpec{name = 1, version = 2 (Int64Value), signature_name = 3, version_label = 4}. */
typedef struct tn_model_spec {
    bool present;
    tn_str name;
    bool has_version;
    int64_t version;
    bool has_label; /* oneof version_choice: the last of the two on the wire wins */
    tn_str label;
    tn_str signature_name;
} tn_model_spec;

/*
 * Merges a message into *spec, as repeated fields of a message do. The texts are slices of it. false: broken,
 * or a text that is not UTF-8.
 */
TERN_MUST_USE bool tn_pb_read_spec(tn_str message, tn_model_spec *spec);

/* Bytes that tn_pb_put_spec() writes. */
size_t tn_pb_spec_size(uint32_t field, tn_str model, int64_t version, tn_str signature);
/* Writes the field with its head; returns behind it. */
uint8_t *tn_pb_put_spec(uint8_t *out, uint32_t field, tn_str model, int64_t version, tn_str signature);

#endif
