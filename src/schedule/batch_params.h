/*
 * schedule/batch_params.h - tensorflow.serving.BatchingParameters (session_bundle_config.proto): read,
 * checked.
 *
 * Defaults and meaning as in SharedBatchScheduler: sizes are size_t there, so that -1 means "no limit".
 * Errors are in TensorFlow Serving's words. Any thread.
 */
#ifndef TN_SCHEDULE_BATCH_PARAMS_H
#define TN_SCHEDULE_BATCH_PARAMS_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"

typedef struct tn_batch_params {
    /* most rows of one call; of a batch too, without splitting. < 0: no limit */
    int64_t max_batch_size;
    int64_t batch_timeout_us;     /* longest wait for more calls */
    int64_t max_enqueued_batches; /* of one queue. < 0: no limit */
    bool has_threads;
    int64_t num_batch_threads; /* has_threads; else one a core */
    tn_str thread_pool_name;   /* label of the metrics, name of the threads */
    const int64_t *allowed;    /* sizes that a batch is filled up to; none: as it comes */
    uint32_t n_allowed;
    bool pad_variable_length_inputs;
    bool split;                       /* enable_large_batch_splitting */
    int64_t max_execution_batch_size; /* most rows of a batch, when split */
} tn_batch_params;

/* What --enable_batching means without a file. */
tn_batch_params tn_batch_params_default(void);
/* From a message of that type. Slices live in the arena. */
TERN_MUST_USE tern_code tn_batch_params_take(const ProtobufCMessage *message, tn_arena *arena,
                                             tn_batch_params *out, tern_status *st);
/*
 * Text format; what is not said has its default. Slices live in the arena. INVALID_ARGUMENT when it is no
 * such message.
 */
TERN_MUST_USE tern_code tn_batch_params_parse(tn_str text, tn_arena *arena, tn_batch_params *out,
                                              tern_status *st);
/* The same from a file: NOT_FOUND, INVALID_ARGUMENT "Invalid protobuf file: 'PATH'". Blocks. */
TERN_MUST_USE tern_code tn_batch_params_read(const char *path, tn_arena *arena, tn_batch_params *out,
                                             tern_status *st);
/* What fails the start: the number of threads. */
TERN_MUST_USE tern_code tn_batch_params_check_threads(const tn_batch_params *p, tern_status *st);
/* What fails the load of a version: everything else. */
TERN_MUST_USE tern_code tn_batch_params_check(const tn_batch_params *p, tern_status *st);

/* Most rows of one batch: INT64_MAX when there is no limit. */
int64_t tn_batch_params_rows(const tn_batch_params *p);
/* The first allowed size that holds rows; rows itself when there is none. */
int64_t tn_batch_params_round(const tn_batch_params *p, int64_t rows);

#endif
