/* api/inference.c - see api/inference.h. */
#include "api/inference.h"

static tern_code no_memory(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this call; try again later");
}

static tn_str signature_name(const tn_model_spec *spec)
{
    return spec->signature_name.len > 0 ? spec->signature_name : TN_STR("serving_default");
}

/* ---- signatures ---- */

static tern_code kind_of_task(const tn_pb_task *task, tn_infer_kind *kind, tern_status *st)
{
    *kind = TN_INFER_CLASSIFY;
    if (tn_str_eq(task->method_name, TN_STR("tensorflow/serving/classify")))
        return TERN_OK;
    *kind = TN_INFER_REGRESS;
    if (tn_str_eq(task->method_name, TN_STR("tensorflow/serving/regress")))
        return TERN_OK;
    return tern_fail(st, TERN_UNIMPLEMENTED, "Unsupported signature method_name: %.*s",
                     TN_FMT(task->method_name));
}

/*
 * What MultiInference asks of a task before its method: the same model as the others, a signature of its own.
 */
static tern_code check_task(const tn_pb_task *tasks, uint32_t i, const tn_infer *done, tern_status *st)
{
    tn_str name = signature_name(&tasks[i].spec);
    if (tasks[i].spec.name.len == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Found ModelSpec with an empty model name.");
    if (!tn_str_eq(tasks[i].spec.name, tasks[0].spec.name))
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "All ModelSpecs in a MultiInferenceRequest must access the same model name.");
    /* Those before are signatures of the model, each once: a bounded number. */
    for (uint32_t k = 0; k < i; k++)
        if (tn_str_eq(done->tasks[k].signature->name, name))
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Duplicate evaluation of signature: %.*s",
                             TN_FMT(name));
    return TERN_OK;
}

static tern_code plan_task(tn_call *call, tn_infer *infer, const tn_pb_task *tasks, uint32_t i,
                           bool check_method, tern_status *st)
{
    const bool multi = infer->what == TN_WHAT_MULTI;
    tn_infer_kind kind = infer->what == TN_WHAT_REGRESS ? TN_INFER_REGRESS : TN_INFER_CLASSIFY;
    tern_code code = multi ? check_task(tasks, i, infer, st) : TERN_OK;
    if (code != TERN_OK)
        return code;
    tn_str name = signature_name(&tasks[i].spec);
    const tern_signature *signature = tn_signatures_find(call->version->signatures, name);
    if (signature == NULL)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         multi ? "Requested signature not found in model graph: %.*s"
                               : "No signature was found with the name: %.*s",
                         TN_FMT(name));
    if (multi)
        code = kind_of_task(&tasks[i], &kind, st);
    return code == TERN_OK ? tn_infer_plan(kind, signature, check_method, &infer->tasks[i], st) : code;
}

tern_code tn_infer_tasks(tn_call *call, tn_infer_what what, const tn_pb_task *tasks, uint32_t n_tasks,
                         bool check_method, tn_infer *out, tern_status *st)
{
    tern_code code = TERN_OK;
    *out = (tn_infer){.what = what, .n_tasks = n_tasks};
    out->tasks = tn_arena_array(&call->arena, n_tasks, sizeof *out->tasks);
    if (out->tasks == NULL)
        return no_memory(st);
    for (uint32_t i = 0; code == TERN_OK && i < n_tasks; i++)
        code = plan_task(call, out, tasks, i, check_method, st);
    return code;
}

/* ---- inputs ---- */

/* Each signature has a reference of its own to the one tensor. */
static tern_code make_part(tn_call *call, tn_infer_task *task, const tern_tensor *examples,
                           tn_call_part *part, tern_status *st)
{
    tern_tensor *input = tn_arena_alloc(&call->arena, sizeof *input);
    if (input == NULL)
        return no_memory(st);
    *input = *examples;
    tern_buffer_retain(input->buffer);
    *part = (tn_call_part){.signature = task->signature,
                           .inputs = input,
                           .input_ids = &task->input_id,
                           .n_inputs = 1,
                           .output_ids = task->output_ids,
                           .n_outputs = task->n_outputs};
    return TERN_OK;
}

tern_code tn_infer_feed(tn_call *call, tn_infer *infer, tern_tensor *examples, tern_status *st)
{
    tn_call_part first;
    tern_code code = make_part(call, &infer->tasks[0], examples, &first, st);
    infer->n_examples = examples->dims[0];
    if (code != TERN_OK)
        goto out;
    call->signature = first.signature;
    call->inputs = first.inputs;
    call->input_ids = first.input_ids;
    call->n_inputs = first.n_inputs;
    call->output_ids = first.output_ids;
    call->n_outputs = first.n_outputs;
    if (infer->n_tasks > 1) {
        call->more = tn_arena_array(&call->arena, infer->n_tasks - 1, sizeof *call->more);
        if (call->more == NULL)
            code = no_memory(st);
    }
    for (uint32_t i = 1; code == TERN_OK && i < infer->n_tasks; i++) {
        code = make_part(call, &infer->tasks[i], examples, &call->more[i - 1], st);
        call->n_more += code == TERN_OK;
    }
out:
    tn_tensor_release(examples);
    return code;
}

/* ---- answers ---- */

static const tern_tensor *outputs_of(const tn_call *call, uint32_t task)
{
    return task == 0 ? call->outputs : call->more[task - 1].outputs;
}

tern_code tn_infer_outputs(const tn_call *call, const tn_infer *infer, tern_status *st)
{
    tern_code code = TERN_OK;
    for (uint32_t i = 0; code == TERN_OK && i < infer->n_tasks; i++)
        code = tn_infer_check(&infer->tasks[i], outputs_of(call, i), infer->n_examples, st);
    return code;
}

void tn_infer_put(const tn_call *call, const tn_infer *infer, tn_buf *out)
{
    const tn_version *v = call->version;
    if (infer->what != TN_WHAT_MULTI) {
        tn_infer_response(&infer->tasks[0], call->outputs, v->model, v->number, out);
        return;
    }
    for (uint32_t i = 0; i < infer->n_tasks; i++)
        tn_infer_result(&infer->tasks[i], outputs_of(call, i), v->model, v->number, out);
}

void tn_infer_put_json(const tn_call *call, const tn_infer *infer, bool compact, tn_buf *out)
{
    tn_infer_json(&infer->tasks[0], call->outputs, compact, out);
}

/* ---- predict ---- */

tern_code tn_predict_check_method(const tn_server *server, const tern_signature *s, tern_status *st)
{
    if (!server->method_name_check || tn_str_eq(s->method_name, TN_STR("tensorflow/serving/predict")) ||
        tn_str_eq(s->method_name, TN_STR("tensorflow/serving/classify")) ||
        tn_str_eq(s->method_name, TN_STR("tensorflow/serving/regress")))
        return TERN_OK;
    return tern_fail(st, TERN_INTERNAL,
                     "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
                     "tensorflow/serving/classify, tensorflow/serving/regress}. Was: %.*s",
                     TN_FMT(s->method_name));
}

tern_code tn_predict_bind(const tn_server *server, tn_call *call, tn_pb_predict_reader *reader,
                          tern_status *st)
{
    tn_str name = signature_name(tn_pb_predict_spec(reader));
    tn_predict p = {0};
    const tern_signature *signature = tn_signatures_find(call->version->signatures, name);
    if (signature == NULL)
        return tern_fail(st, TERN_FAILED_PRECONDITION, "Serving signature key \"%.*s\" not found.",
                         TN_FMT(name));
    tern_code code = tn_predict_check_method(server, signature, st);
    if (code != TERN_OK)
        return code;
    code = tn_pb_predict_bind(reader, signature, &call->arena, &p, &call->output_ids, &call->n_outputs, st);
    call->signature = signature;
    call->inputs = p.inputs;
    call->input_ids = p.input_ids;
    call->n_inputs = p.n_inputs;
    return code;
}
