/*
 * graph.h - what a signature computes, read from a MetaGraphDef without a runtime: whether OpenVINO computes
 * it as TensorFlow does, and the SavedModel cut to it.
 *
 * OpenVINO's TensorFlow front end reads the signature "serving_default" only. It leaves out what has no
 * effect on an output of its own (control inputs, and with them checks), does not keep what a run writes into
 * variables, and its CPU plugin computes most integers as int32 and double as float. So what a signature
 * reaches, functions included, is looked through for such operations.
 *
 * Wire contract: tensorflow/core/framework/{graph,node_def,function,attr_value}.proto,
 * tensorflow/core/protobuf/{saved_model,meta_graph}.proto. Pure.
 */
#ifndef TN_OPENVINO_GRAPH_H
#define TN_OPENVINO_GRAPH_H

#include "base/arena.h"
#include "base/buf.h"
#include "tensor/tensor.h"

typedef struct tn_ov_graph tn_ov_graph;

/*
 * meta_graph: one serialized MetaGraphDef, borrowed as long as the graph is used. Memory is the arena's.
 * DATA_LOSS when it is broken.
 */
TERN_MUST_USE tern_code tn_ov_graph_read(tn_str meta_graph, tn_arena *arena, const tn_ov_graph **out,
                                         tern_status *st);
/*
 * OK: nothing that the signature reaches is known to differ. Else UNIMPLEMENTED, with a sentence that names
 * the operation, its kind and what about it. *sums: as long as int64 that is fed is small (tn_ov_is_sum() in
 * refused.h). Memory for the walk is the arena's.
 */
TERN_MUST_USE tern_code tn_ov_graph_check(const tn_ov_graph *g, const tern_signature *s, tn_arena *arena,
                                          bool *sums, tern_status *st);
/*
 * Whether there is anything to run: every output names a tensor with a dtype. The signature of an
 * initialization (`__saved_model_init_op`) has none.
 */
bool tn_ov_has_tensors(const tern_signature *s);
/*
 * Appends to out a serialized SavedModel of this one MetaGraph, whose only signature is "serving_default",
 * with each tensor of s once, named "i" or "o" and the id of its first alias; its graph rewritten (rewrite.h).
 * When memory is short out->failed.
 */
void tn_ov_graph_cut(tn_str meta_graph, const tern_signature *s, tn_buf *out);
/* The id of the first input (output) of s with the same tensor as ios[id]. */
uint32_t tn_ov_first_of(const tern_io *ios, uint32_t id);

#endif
