/*
 * codec/saved_model.h - signatures out of a MetaGraphDef or a saved_model.pb, without a runtime.
 *
 * Reads the wire form in place and skips the graph, so it takes milliseconds on any model.
 * Wire contract: tensorflow/core/protobuf/{saved_model,meta_graph}.proto. Pure.
 */
#ifndef TN_CODEC_SAVED_MODEL_H
#define TN_CODEC_SAVED_MODEL_H

#include "base/arena.h"
#include "tensor/tensor.h"

/*
 * bytes: one serialized MetaGraphDef, borrowed; the set is copied into the arena. DATA_LOSS when it is
 * broken.
 */
TERN_MUST_USE tern_code tn_read_meta_graph(tn_str bytes, tn_arena *arena, tern_signature_set *out,
                                           tern_status *st);
/*
 * bytes: one serialized SavedModel. *out: its MetaGraphDef with exactly these tags, a slice of bytes.
 * NOT_FOUND names the tags that are there.
 */
TERN_MUST_USE tern_code tn_find_meta_graph(tn_str bytes, const tn_str *tags, uint32_t n_tags, tn_str *out,
                                           tern_status *st);
/*
 * bytes: one serialized SavedModel; picks the MetaGraph whose tags are exactly `tags`. NOT_FOUND names the
 * tags that are there.
 */
TERN_MUST_USE tern_code tn_read_saved_model(tn_str bytes, const tn_str *tags, uint32_t n_tags,
                                            tn_arena *arena, tern_signature_set *out, tern_status *st);

#endif
