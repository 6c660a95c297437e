/*
 * codec/close.h - whether two tensors are the same answer, when two runtimes computed it. Pure.
 */
#ifndef TN_CODEC_CLOSE_H
#define TN_CODEC_CLOSE_H

#include "tensor/tensor.h"

/* Of float and double; of half and bfloat16: 2^-9 and 2^-6 for both. */
#define TN_CLOSE_RELATIVE 1e-4 /* of the element */
#define TN_CLOSE_LARGEST  1e-5 /* of the largest finite element of the tensor, besides */

/*
 * Same dtype and shape, and each element of `got` as in `want`: integers, booleans, strings and complex
 * numbers exactly; floats no further apart than the sum of both tolerances, with NaN and infinities in the
 * same places. *worst, when not NULL, is raised to the largest difference, as a part of the largest element.
 */
bool tn_close(const tern_tensor *got, const tern_tensor *want, double *worst);

#endif
