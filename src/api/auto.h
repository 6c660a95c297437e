/*
 * api/auto.h - the engine "auto": loads a version with several engines, tries each, keeps the fastest that
 * answers as TensorFlow does.
 *
 * Tried with the version's first warm-up records (Predict; api/warmup.h), or, where it has none, with inputs
 * made for each signature: unknown dimensions are 1 (the first of a tensor) and 8, and once more 1 and 128;
 * floats are in [-1, 1), integers and booleans 0 and 1 in turn. Signatures with inputs of strings, or whose
 * inputs TensorFlow refuses, are not tried. Each engine has its turns one after the other, in this thread;
 * an engine's time is its best of them, in the faster of its two ways (TERN_RUN_CALLER_THREAD or not).
 *
 * TensorFlow (TN_ENGINE_REFERENCE) is kept unless another engine answered every request that TensorFlow
 * answered, each output close to TensorFlow's (codec/close.h), in less than TN_AUTO_WORTH of its time. Where
 * nothing could be tried it is kept as well. What is not kept is unloaded. The table is logged.
 */
#ifndef TN_API_AUTO_H
#define TN_API_AUTO_H

#include "api/warmup.h"
#include "engine/engine.h"

/* An engine must be faster than TensorFlow by more than what measuring is unsure of. */
#define TN_AUTO_WORTH 0.95

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
