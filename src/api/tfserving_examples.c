/*
 * api/tfserving_examples.c - calls on tf.Examples: Classify and Regress over REST and gRPC, MultiInference.
 *
 * A body is collected whole, since it is copied only once anyway, into the tensor; on the loop it is looked
 * at no further than to find its model. Reading it all, and whatever depends on its size, happens where the
 * scheduler runs the call. Errors come in the original's order: a broken body, the model, the signatures, the
 * input.
 */
#include "api/grpc.h"
#include "api/tfserving_rest.h"
#include "codec/json_examples.h"

/* Whether the answer could be written; what there is of it goes, if not. */
static tern_code whole(tn_request *r, tern_status *st)
{
    if (!r->out.failed)
        return TERN_OK;
    tn_buf_clear(&r->out);
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                     "The answer is larger than --max_response_bytes; send fewer examples");
}

/* Plans the tasks and feeds the tensor, which it takes. */
static tern_code feed(tn_request *r, tn_infer_what what, const tn_pb_task *task, tern_tensor *examples,
                      tern_status *st)
{
    tern_code code = tn_infer_tasks(&r->call, what, task, 1, r->server->method_name_check, r->infer, st);
    if (code == TERN_OK)
        return tn_infer_feed(&r->call, r->infer, examples, st);
    tn_tensor_release(examples);
    return code;
}

static tern_code make_infer(tn_request *r, tern_status *st)
{
    r->infer = tn_arena_zalloc(&r->call.arena, sizeof *r->infer);
    return r->infer != NULL
               ? TERN_OK
               : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this call; try again later");
}

/* ---- REST ---- */

static tern_code rest_read(tn_request *r, tn_infer_what what, tern_status *st)
{
    const tn_json_limits json = tn_rest_json_limits(r->server);
    tn_json_examples e = {0};
    tn_str body;
    tern_code code = tn_rest_body(r, r->server->limits.max_body_bytes, &body, st);
    if (code == TERN_OK)
        code = tn_json_decode_examples(body, &json, &r->server->budget, &r->call.arena, &e, st);
    r->error_text = e.error;
    if (code != TERN_OK)
        return code;
    tn_region_free(&r->body);
    r->charged += e.examples.size;
    code = make_infer(r, st);
    if (code == TERN_OK) {
        const tn_pb_task task = {.spec.signature_name = e.signature_name};
        return feed(r, what, &task, &e.examples, st);
    }
    tn_tensor_release(&e.examples);
    return code;
}

static tern_code rest_decode(tn_call *call, tn_infer_what what, tern_status *st)
{
    tern_code code = rest_read(TN_CONTAINER(call, tn_request, call), what, st);
    call->stage_ns[TN_STAGE_DECODE] = tn_call_lap(call);
    return code;
}

static tern_code rest_decode_classify(tn_call *call, tern_status *st)
{
    return rest_decode(call, TN_WHAT_CLASSIFY, st);
}

static tern_code rest_decode_regress(tn_call *call, tern_status *st)
{
    return rest_decode(call, TN_WHAT_REGRESS, st);
}

static tern_code rest_encode(tn_call *call, tern_status *st)
{
    tn_request *r = TN_CONTAINER(call, tn_request, call);
    tn_rest_state *state = r->surface_state;
    tern_code code = tn_infer_outputs(call, r->infer, st);
    if (code == TERN_OK) {
        tn_infer_put_json(call, r->infer, state->wants.compact, &r->out);
        code = whole(r, st);
    }
    if (code == TERN_OK)
        tn_rest_write_text(r, &state->wants, &state->answer);
    if (code == TERN_OK && state->finish != NULL)
        code = state->finish(r, st);
    call->stage_ns[TN_STAGE_ENCODE] = tn_call_lap(call);
    return code;
}

tern_code tn_rest_examples_error(tn_request *r, tn_str body, tern_status *st)
{
    const tn_json_limits json = tn_rest_json_limits(r->server);
    tn_json_examples e;
    tern_code code = tn_json_check_examples(body, &json, &r->call.arena, &e, st);
    r->error_text = e.error;
    return code;
}

#define REST_STEPS(title, cost, METHOD)                                                                      \
    {                                                                                                        \
        .name = #title, .kind = (cost), .method = TN_METHOD_REST_##METHOD, .decode = rest_decode_##title,    \
        .encode = rest_encode, .done = tn_request_done                                                       \
    }

const tn_call_steps *tn_rest_examples_steps(bool regress, bool coded)
{
    /* What is compressed costs more: measured apart, as predict's. */
    static const tn_call_steps steps[2][2] = {
        {REST_STEPS(classify, TN_COST_REST, CLASSIFY), REST_STEPS(classify, TN_COST_REST_CODED, CLASSIFY)},
        {REST_STEPS(regress, TN_COST_REST, REGRESS), REST_STEPS(regress, TN_COST_REST_CODED, REGRESS)},
    };
    return &steps[regress][coded];
}

/* ---- gRPC ---- */

static tern_code grpc_read(tn_request *r, tn_infer_what what, tern_status *st)
{
    tn_arena *arena = &r->call.arena;
    tn_pb_examples e;
    tern_tensor examples;
    int64_t n;
    size_t bytes;
    tern_code code = tn_pb_examples_read(tn_region_view(&r->body), what == TN_WHAT_MULTI, arena, &e, st);
    if (code == TERN_OK)
        code = make_infer(r, st);
    if (code == TERN_OK)
        code = tn_infer_tasks(&r->call, what, e.tasks, e.n_tasks, r->server->method_name_check, r->infer, st);
    if (code == TERN_OK && tn_pb_examples_size(&e, &n, &bytes) &&
        bytes <= (size_t)r->server->limits.max_body_bytes)
        code = tn_request_charge(r, bytes, st);
    if (code == TERN_OK)
        code = tn_pb_examples_tensor(&e, (size_t)r->server->limits.max_body_bytes, arena, &examples, st);
    /* Nothing points into the message any more: signatures are the model's. */
    tn_region_free(&r->body);
    return code == TERN_OK ? tn_infer_feed(&r->call, r->infer, &examples, st) : code;
}

static tern_code grpc_decode(tn_call *call, tn_infer_what what, tern_status *st)
{
    tern_code code = grpc_read(TN_CONTAINER(call, tn_request, call), what, st);
    call->stage_ns[TN_STAGE_DECODE] = tn_call_lap(call);
    return code;
}

static tern_code grpc_decode_classify(tn_call *call, tern_status *st)
{
    return grpc_decode(call, TN_WHAT_CLASSIFY, st);
}

static tern_code grpc_decode_regress(tn_call *call, tern_status *st)
{
    return grpc_decode(call, TN_WHAT_REGRESS, st);
}

static tern_code grpc_decode_multi(tn_call *call, tern_status *st)
{
    return grpc_decode(call, TN_WHAT_MULTI, st);
}

static tern_code grpc_encode(tn_call *call, tern_status *st)
{
    tn_request *r = TN_CONTAINER(call, tn_request, call);
    /* As the original: only MultiInference counts its examples. */
    if (r->infer->what == TN_WHAT_MULTI && r->stats != NULL)
        tn_stats_examples(r->stats, (uint64_t)r->infer->n_examples);
    tern_code code = tn_infer_outputs(call, r->infer, st);
    if (code == TERN_OK) {
        tn_infer_put(call, r->infer, &r->out);
        code = whole(r, st);
    }
    if (code == TERN_OK)
        tn_grpc_pack_answer(r);
    call->stage_ns[TN_STAGE_ENCODE] = tn_call_lap(call);
    return code;
}

const tn_call_steps tn_grpc_classify_steps = {.name = "classify",
                                              .kind = TN_COST_GRPC,
                                              .method = TN_METHOD_GRPC_CLASSIFY,
                                              .decode = grpc_decode_classify,
                                              .encode = grpc_encode,
                                              .done = tn_request_done};
const tn_call_steps tn_grpc_regress_steps = {.name = "regress",
                                             .kind = TN_COST_GRPC,
                                             .method = TN_METHOD_GRPC_REGRESS,
                                             .decode = grpc_decode_regress,
                                             .encode = grpc_encode,
                                             .done = tn_request_done};
const tn_call_steps tn_grpc_multi_steps = {.name = "multi_inference",
                                           .kind = TN_COST_GRPC,
                                           .method = TN_METHOD_GRPC_MULTI_INFERENCE,
                                           .decode = grpc_decode_multi,
                                           .encode = grpc_encode,
                                           .done = tn_request_done};

/* MultiInference takes its first task's word for the model, and a missing one for an empty one. */
static tern_code find_model(tn_request *r, tn_str message, bool multi, tern_status *st)
{
    tn_model_spec spec;
    tn_target target;
    tern_code code = tn_pb_examples_spec(message, multi, &spec, st);
    if (code != TERN_OK)
        return code;
    spec.present |= multi;
    code = tn_grpc_target(&spec, &target, st);
    return code == TERN_OK ? tn_request_acquire(r, &target, st) : code;
}

static void start(tn_request *r, tn_str message, bool multi)
{
    tern_status st, worse;
    tn_pb_examples e;
    if (find_model(r, message, multi, &st) == TERN_OK) {
        tn_request_submit(r);
        return;
    }
    /* A broken message is broken before it asks for a model. */
    if ((int64_t)message.len <= r->server->limits.inline_body_bytes &&
        tn_pb_examples_read(message, multi, &r->call.arena, &e, &worse) == TERN_INTERNAL)
        tn_request_fail(r, &worse);
    else
        tn_request_fail(r, &st);
}

void tn_grpc_classify(tn_request *r, tn_str message)
{
    start(r, message, false);
}

void tn_grpc_regress(tn_request *r, tn_str message)
{
    start(r, message, false);
}

void tn_grpc_multi(tn_request *r, tn_str message)
{
    start(r, message, true);
}
