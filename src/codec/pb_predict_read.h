/*
 * codec/pb_predict_read.h - the reader's insides, shared by pb_predict_read.c and pb_predict_bind.c only.
 */
#ifndef TN_CODEC_PB_PREDICT_READ_H
#define TN_CODEC_PB_PREDICT_READ_H

#include "codec/pb_predict.h"
#include "codec/pb_tensor.h"
#include "codec/pb_wire.h"

enum { LEVEL_REQUEST, LEVEL_ENTRY, LEVEL_TENSOR, LEVELS };

typedef enum tn_pb_head { HEAD_TAG, HEAD_VALUE } tn_pb_head;

typedef enum tn_pb_payload {
    PAYLOAD_NONE,    /* between fields */
    PAYLOAD_SKIP,    /* unknown, or not of the tensor's dtype */
    PAYLOAD_COLLECT, /* small: into `collected` */
    PAYLOAD_DEFER,   /* typed values before the dtype: into `deferred` */
    PAYLOAD_STRING,  /* one string_val */
    PAYLOAD_CONTENT, /* tensor_content: in place */
    PAYLOAD_FIXED,   /* packed float or double: in place */
    PAYLOAD_VARINTS  /* packed varints: decoded in place */
} tn_pb_payload;

struct tn_pb_predict_reader {
    tn_arena *arena;
    tn_pb_predict_limits limits;
    tn_tensor_room room;
    bool failed;
    uint64_t position; /* bytes taken */
    int level;
    uint64_t end[LEVELS]; /* position where each message ends */
    tn_pb_head head;
    uint32_t field, wire;
    uint8_t scratch[16]; /* a varint or fixed value that is not whole yet */
    uint32_t n_scratch;  /* PAYLOAD_FIXED: bytes of the last value that have landed */
    tn_pb_payload payload;
    uint64_t payload_left;
    tn_buf collected, deferred;
    tn_model_spec spec;
    tn_str alias;
    tn_tensor_build build;
    bool passed_over; /* typed values that are not of the tensor's dtype */
    tn_named_tensor *inputs;
    uint32_t n_inputs, cap_inputs;
    int64_t n_entries; /* of the map, repeated keys counted */
    tn_str *filter;
    uint32_t n_filter, cap_filter;
};

/* One whole typed field: a value, or packed ones. */
TERN_MUST_USE tern_code tn_predict_take_whole(tn_pb_predict_reader *r, const tn_typed *t,
                                              const tn_pb_field *f, tern_status *st);

#endif
