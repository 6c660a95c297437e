/*
 * api/auto.h - the engine "auto": loads a version with several engines, tries each, keeps the fastest that
 * answers as TensorFlow does.
 *
 * Tried with the version's first warm-up records (Predict; api/warmup.h), or, where it has none, with inputs
 * made for each signature: unknown dimensions are 1 (the first of a tensor) and 8, then 128 and 1024 as long
 * as time and memory last; where only the first is unknown, 1 and 16. Floats are in [-1, 1), integers and
 * booleans 0 and 1 in turn. Signatures with inputs of strings, or whose inputs TensorFlow refuses, are not
 * tried. The engines take turns in this thread, in rounds, until all rounds of a request say the same or its
 * part of --auto_try_ms is over. The first run of a turn does not count, but for long ones. An engine's time
 * for a request is TensorFlow's median times the ratio of their medians, or of their bests where that is less
 * in its favour; small runs in the faster of two ways (TERN_RUN_CALLER_THREAD or not).
 *
 * TensorFlow (TN_ENGINE_REFERENCE) is kept unless another engine answered every request that TensorFlow
 * answered, each output close to TensorFlow's (codec/close.h), in less than TN_AUTO_WORTH of its time for all
 * of them. Made inputs have the shapes of nobody, so for them no single one may take more than TN_AUTO_LOSS
 * of TensorFlow's time. Where nothing could be tried it is kept as well. What is not kept is unloaded. The
 * table is logged.
 */
#ifndef TN_API_AUTO_H
#define TN_API_AUTO_H

#include "api/warmup.h"
#include "engine/engine.h"

/* An engine must be faster than TensorFlow by more than what measuring is unsure of. */
#define TN_AUTO_WORTH 0.95
#define TN_AUTO_LOSS  1.05

typedef struct tn_auto_options {
    tn_engines *engines;      /* borrowed */
    tn_warmup_options warmup; /* server: for its limits; whether it is drained */
    bool records;             /* look for warm-up records */
} tn_auto_options;

/*
 * tn_model_hooks.load, context = tn_auto_options. v->engine is the reference's. On success v->engine is the
 * engine chosen and v->loaded its model; an error is the reference's. Blocks for seconds; on a loader thread.
 */
TERN_MUST_USE tern_code tn_auto_load(const tn_auto_options *options, tn_version *v,
                                     const tern_load_options *load, tern_status *st);

#endif
