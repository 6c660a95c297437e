/*
 * rewrite.h - a graph said in other words, which OpenVINO runs faster: the same values for every input and
 * shape.
 *
 * OpenVINO's TensorFlow front end puts transpositions around each convolution and lets them sink into what
 * follows; it does not know Keras' idioms for others. What is said anew, of float32:
 *
 * - Conv1D with padding "same", dilated or not: windows beside each other and one product of matrices, for
 *   which there is
 *   nothing to transpose. Dilation is TensorFlow's SpaceToBatchND and BatchToSpaceND.
 * - Dense on inputs of three and more dimensions (tf.tensordot): one product of matrices with batch
 *   dimensions.
 * - gelu: 1 + erf(x) in place of erfc(-x), which OpenVINO knows and puts into the product before it.
 * - take_along_axis of rows (indices [batch, n, 1] into [batch, length, channels]): one Gather of rows.
 *
 * A pattern whose every part is not as expected stays as it is; so does one whose shapes the model does not
 * tell. Old nodes stay, and OpenVINO drops what nothing needs. Pure.
 */
#ifndef TN_OPENVINO_REWRITE_H
#define TN_OPENVINO_REWRITE_H

#include "base/arena.h"
#include "base/buf.h"

/*
 * graph: a serialized GraphDef. Appends it, rewritten, to out. false, and out is as it was: nothing to
 * rewrite, or it cannot be read. When memory is short out->failed. Memory is the arena's.
 */
bool tn_ov_rewrite(tn_str graph, tn_arena *arena, tn_buf *out);

#endif
