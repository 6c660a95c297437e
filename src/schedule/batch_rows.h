/*
 * schedule/batch_rows.h - tensors as rows: put together, filled up, taken apart.
 *
 * A row is what lies under one index of dimension 0. Pure; any thread; tensors of rank 1 and more.
 */
#ifndef TN_SCHEDULE_BATCH_ROWS_H
#define TN_SCHEDULE_BATCH_ROWS_H

#include "tensor/tensor.h"

/* Highest rank that is filled up (TensorFlow's PadOp, batching/batching_util.cc). */
#define TN_BATCH_PAD_RANK 6

/* Some rows of a tensor; borrowed. */
typedef struct tn_rows {
    const tern_tensor *tensor;
    int64_t from;
    int64_t rows;
} tn_rows;

/*
 * Whether the rows of a and b may lie in one tensor: same dtype and rank, and the same dimensions behind the
 * first; or with pad any, as long as neither is empty or of a rank that cannot be filled up.
 */
bool tn_rows_fit(const tern_tensor *a, const tern_tensor *b, bool pad);

/*
 * One tensor out of n >= 1 parts that fit, then the first row of the last part
 * that has one `extra` times. With pad, each
 * part is filled up to the largest dimensions with its own first element. RESOURCE_EXHAUSTED over max_bytes,
 * before any memory is taken. *out owns its buffer, its dims live in the arena.
 */
TERN_MUST_USE tern_code tn_rows_join(const tn_rows *parts, uint32_t n, int64_t extra, bool pad,
                                     size_t max_bytes, tn_arena *arena, tern_tensor *out, tern_status *st);

/*
 * Rows [from, from + rows) as a tensor of its own: a view that holds a reference to the buffer, for strings a
 * copy. dims live in the arena.
 */
TERN_MUST_USE tern_code tn_rows_slice(const tern_tensor *whole, int64_t from, int64_t rows, tn_arena *arena,
                                      tern_tensor *out, tern_status *st);

#endif
