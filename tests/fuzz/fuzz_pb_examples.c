/*
 * fuzz_pb_examples.c - ClassificationRequest, RegressionRequest, MultiInferenceRequest: the look at the first
 * ModelSpec agrees with the whole reading; the tensor has the size that was foretold; and its strings answer
 * as classes, whose message and JSON are written.
 *
 * The first byte chooses the kind of request.
 */
#include <stdlib.h>

#include "codec/inference.h"
#include "codec/pb_examples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static const tern_io inputs[] = {{.name = TN_STR_INIT("inputs"), .dtype = TERN_STRING, .rank = 1}};
static const tern_io outputs[] = {{.name = TN_STR_INIT("classes"), .dtype = TERN_STRING, .rank = 2}};
static const tern_signature signature = {
    .name = TN_STR_INIT("s"), .inputs = inputs, .n_inputs = 1, .outputs = outputs, .n_outputs = 1};

static void answer(const tern_tensor *t)
{
    const int64_t dims[] = {t->dims[0], 1};
    tern_tensor classes = *t;
    tn_infer_task task;
    tern_status st;
    tn_buf out;
    classes.rank = 2;
    classes.dims = dims;
    tn_buf_init(&out, 16u << 20);
    require(tn_infer_plan(TN_INFER_CLASSIFY, &signature, false, &task, &st) == TERN_OK);
    require(tn_infer_check(&task, &classes, dims[0], &st) == TERN_OK);
    tn_infer_response(&task, &classes, TN_STR("m"), 1, &out);
    tn_infer_result(&task, &classes, TN_STR("m"), 1, &out);
    tn_infer_json(&task, &classes, dims[0] & 1, &out);
    require(!out.failed && out.len > 0);
    tn_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const bool multi = data[0] & 1;
    const tn_str message = {(const char *)data + 1, size - 1};
    tn_arena arena;
    tn_pb_examples e;
    tn_model_spec spec;
    tern_tensor t;
    tern_status st;
    int64_t n = 0;
    size_t bytes = 0;
    tn_arena_init(&arena, 4u << 20);
    tern_code looked = tn_pb_examples_spec(message, multi, &spec, &st);
    tern_code code = tn_pb_examples_read(message, multi, &arena, &e, &st);
    require(looked != TERN_INTERNAL || code != TERN_OK);
    if (looked == TERN_OK && code == TERN_OK && e.n_tasks > 0) {
        require(spec.present == e.tasks[0].spec.present);
        require(tn_str_eq(spec.name, e.tasks[0].spec.name) && spec.version == e.tasks[0].spec.version);
    }
    if (code == TERN_OK) {
        bool fits = tn_pb_examples_size(&e, &n, &bytes);
        code = tn_pb_examples_tensor(&e, 4u << 20, &arena, &t, &st);
        require((code == TERN_OK) == (fits && n > 0 && bytes <= 4u << 20));
        if (code == TERN_OK) {
            require(t.dims[0] == n && t.size == bytes);
            require(tn_string_offsets(&t)[n] == bytes - sizeof(uint64_t) * ((size_t)n + 1));
            answer(&t);
            tn_tensor_release(&t);
        }
    }
    tn_arena_free(&arena);
    return 0;
}
