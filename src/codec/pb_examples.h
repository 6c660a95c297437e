/*
 * codec/pb_examples.h - ClassificationRequest, RegressionRequest and MultiInferenceRequest: whom they ask,
 * and their examples as one string tensor.
 *
 * Wire contract: tensorflow_serving/apis/{input,classification,regression,inference}.proto,
 * tensorflow/core/example/{example,feature}.proto. Every Example is looked through, since a message with a
 * broken one is broken as a whole, and is then copied as it is: once, from the message into the tensor. With
 * a context, an element is the context's bytes and the example's behind them, which protobuf reads as both
 * merged (servables/tensorflow/util.cc: InputToSerializedExampleTensor). Pure but for tensor memory. Any
 * thread.
 */
#ifndef TN_CODEC_PB_EXAMPLES_H
#define TN_CODEC_PB_EXAMPLES_H

#include "codec/pb_spec.h"
#include "tensor/tensor.h"

/* tensorflow.serving.InferenceTask */
typedef struct tn_pb_task {
    tn_model_spec spec;
    tn_str method_name;
} tn_pb_task;

/* One ExampleList or ExampleListWithContext of the message. */
typedef struct tn_pb_list {
    tn_str bytes;
    int64_t n_examples;
    size_t example_bytes;
    size_t context_bytes;
} tn_pb_list;

/* A request in parts: all slices are of the message, arrays are in the arena. */
typedef struct tn_pb_examples {
    tn_pb_task *tasks; /* Classify and Regress: one, whose method_name is empty */
    uint32_t n_tasks, cap_tasks;
    uint32_t kind; /* of oneof Input.kind: 0 none, 1 example_list, 2 example_list_with_context */
    tn_pb_list *lists;
    uint32_t n_lists, cap_lists;
} tn_pb_examples;

/*
 * Only the first task's ModelSpec, by a look at the top level: what says which model is meant. INTERNAL
 * without
 * words: broken already. INVALID_ARGUMENT: there is more to look at than should be on an event loop. multi: a
 * MultiInferenceRequest.
 */
TERN_MUST_USE tern_code tn_pb_examples_spec(tn_str message, bool multi, tn_model_spec *spec, tern_status *st);
/*
 * The whole message. INTERNAL without words (as gRPC answers) when it is broken; RESOURCE_EXHAUSTED when the
 * arena is full.
 */
TERN_MUST_USE tern_code tn_pb_examples_read(tn_str message, bool multi, tn_arena *arena, tn_pb_examples *out,
                                            tern_status *st);
/*
 * How many examples, and the bytes of their tensor; false when that is over SIZE_MAX / 2. A small message can
 * ask for much, by a long context: look before tn_pb_examples_tensor().
 */
TERN_MUST_USE bool tn_pb_examples_size(const tn_pb_examples *e, int64_t *n, size_t *bytes);
/*
 * A string tensor of shape [n]; the caller owns it. INVALID_ARGUMENT "Input is empty."; RESOURCE_EXHAUSTED
 * when memory is short, or it is larger than max_bytes.
 */
TERN_MUST_USE tern_code tn_pb_examples_tensor(const tn_pb_examples *e, size_t max_bytes, tn_arena *arena,
                                              tern_tensor *out, tern_status *st);

#endif
