/*
 * engines/tensorflow/fetches.h - which sets of outputs of a signature are fetched as they are asked for.
 *
 * TensorFlow compiles and keeps an executor for every distinct list of fed and fetched tensors, as long as
 * the session lives, and clients choose the list (PredictRequest.output_filter). So a run feeds and fetches
 * in the signature's order, and only the first sets that are asked for are fetched as such; what comes later
 * fetches every output of the signature and hands out those that were asked for.
 */
#ifndef TN_TENSORFLOW_FETCHES_H
#define TN_TENSORFLOW_FETCHES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

/* Sets that are not all outputs, for each signature. */
#define TN_TF_SETS 32

/* A set: a bit for each output, by its index in the signature. */
#define TN_TF_SET_WORDS(n_outputs) (((n_outputs) + 63u) / 64u)

typedef struct tn_tf_fetches {
    uint64_t *sets; /* TN_TF_SETS of `words` each; the first n are read-only */
    uint32_t words;
    atomic_uint n;
} tn_tf_fetches;

/* Memory is the arena's; false when there is none. */
bool tn_tf_fetches_init(tn_tf_fetches *f, uint32_t n_outputs, tn_arena *arena);
/*
 * Whether to fetch this set, which is not all outputs, as it is: it was before, or there is room for one
 * more. Any thread. Takes a lock of the process only where there is room and the set is new.
 */
bool tn_tf_fetches_admit(tn_tf_fetches *f, const uint64_t *set);

#endif
