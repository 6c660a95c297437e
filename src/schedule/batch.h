/*
 * schedule/batch.h - batching: calls of one sort are run together, as rows of one run.
 *
 * Two manners, chosen for the whole process (--batching, --enable_batching):
 *
 *  SERVING, as TensorFlow Serving batches (batching/batching_session.cc, core/kernels/batching_util/
 *  shared_batch_scheduler.h). Every call goes through the queue of its (version, signature, outputs). A batch
 *  runs when it is full or its oldest call waited batch_timeout_micros, on one of num_batch_threads threads,
 *  which all models share and which take the queues in turn. Its words for what cannot be are kept: no
 *  inputs, scalars, unequal dimension 0, too many rows, a full queue, an output without the batch's dimension
 *  0. Rows are added up to the next allowed size (copies of the last call's first row), inputs of different
 *  length are filled up with their first element, calls larger than an execution are cut. Parameters: the
 *  flag's file, or batching_params.pbtxt in the version's folder.
 *
 *  AUTO, Tern's own. Nothing waits for a batch: a call runs at once when an executor (or, being small, its
 *  event loop) is free, and then what has queued up meanwhile goes with it: same version, signature, outputs,
 *  dtypes and row shapes, up to limits.max_batch_rows. Only signatures whose inputs and outputs all have an
 *  unknown first dimension take part. Right for models whose rows do not depend on one another, as in the
 *  original; whether they do cannot be seen from outside, so the operator turns it on.
 *
 * What holds in both:
 *  - A call gets the answer that it would get alone. One with another row shape goes into another batch; a
 *    batch whose run fails is run again in halves until what failed stands alone; a signature whose outputs
 *    turn out not to be by row, or whose batches fail where single calls do not, is run call by call from
 *    then on (remembered with the version).
 *  - A call that waits costs no thread. One that is cancelled or late leaves before the run; none is held for
 *    more than half of the time that it has left.
 *  - Copies: each input once, into the batch (a batch of one call: none); outputs are views of the batch's,
 *    strings are copied. So a client that reads slowly keeps the outputs of its whole batch.
 *  - Memory: one merged input is at most limits.max_batch_bytes.
 * Threads: as each function says. What hangs on a version lives from attach to detach.
 */
#ifndef TN_SCHEDULE_BATCH_H
#define TN_SCHEDULE_BATCH_H

#include "model/model.h"
#include "schedule/batch_params.h"
#include "schedule/batch_stats.h"

typedef struct tn_schedule tn_schedule;

typedef enum tn_batching { TN_BATCHING_OFF, TN_BATCHING_SERVING, TN_BATCHING_AUTO } tn_batching;

typedef struct tn_batch_options {
    tn_batching manner;
    tn_batch_params params; /* SERVING; slices are copied */
    bool per_model;         /* SERVING: batching_params.pbtxt of each version; none there: not batched */
} tn_batch_options;

/*
 * For tn_model_hooks, with context = the schedule: gives a version its queues. Errors fail the load, in
 * TensorFlow Serving's words: INVALID_ARGUMENT for parameters that cannot be. Detach works when the schedule
 * is gone already.
 */
tern_code tn_schedule_attach(void *schedule, tn_version *v, tern_status *st);
void tn_schedule_detach(void *schedule, tn_version *v);

/* Counters over all versions, for as long as the schedule lives. Never NULL. Any thread. */
const tn_batch_stats *tn_schedule_batch_stats(const tn_schedule *s);
/* Calls fn for each signature of the version that is batched; v is referenced or being attached. */
void tn_batch_each(const tn_version *v,
                   void (*fn)(void *context, const tern_signature *signature,
                              const tn_batch_signature_stats *stats),
                   void *context);

#endif
