/*
 * api/replay.c - see api/replay.h. A tn_call that is made, run and finished on the spot: it borrows the
 * caller's arena and version.
 */
#include "api/replay.h"

#include "api/inference.h"

static void begin(tn_call *call, tn_version *v, const tn_arena *arena)
{
    static const tn_call_steps none = {.name = "replay"};
    call->arena = *arena;
    tn_call_init(call, &none, arena->max);
    call->version = v;
}

static void end(tn_call *call, tn_arena *arena)
{
    call->version = NULL; /* the caller's */
    tn_call_finish(call);
    *arena = call->arena;
}

tern_code tn_api_use_predict(tn_server *server, tn_version *v, tn_str message,
                             tern_code (*use)(void *context, tn_call *call, tern_status *st), void *context,
                             tn_arena *arena, tern_status *st)
{
    const tn_pb_predict_limits limits = {.max_tensor_bytes = server->limits.max_body_bytes,
                                         .max_inputs = server->limits.max_inputs,
                                         .budget = &server->budget};
    tn_call call;
    begin(&call, v, arena);
    tn_pb_predict_reader *reader = tn_pb_predict_new(&limits, &call.arena);
    tern_code code =
        reader == NULL ? tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this request; try again later")
                       : tn_pb_predict_feed(reader, message.ptr, message.len, st);
    if (code == TERN_OK)
        code = tn_pb_predict_finish(reader, st);
    if (code == TERN_OK)
        code = tn_predict_bind(server, &call, reader, st);
    if (code == TERN_OK)
        code = use(context, &call, st);
    end(&call, arena);
    return code;
}

static tern_code run_here(void *context, tn_call *call, tern_status *st)
{
    (void)context;
    return tn_call_run_now(call, TERN_RUN_CALLER_THREAD, 0, st);
}

tern_code tn_api_run_predict(tn_server *server, tn_version *v, tn_str message, tn_arena *arena,
                             tern_status *st)
{
    return tn_api_use_predict(server, v, message, run_here, NULL, arena, st);
}

static tern_code decode(const tn_server *server, tn_call *call, tn_infer_what what, tn_str message,
                        tn_infer *infer, tern_status *st)
{
    tn_pb_examples e;
    tern_tensor examples;
    tern_code code = tn_pb_examples_read(message, what == TN_WHAT_MULTI, &call->arena, &e, st);
    if (code == TERN_OK && e.n_tasks == 0)
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "ModelSpec has no name specified.");
    if (code == TERN_OK)
        code = tn_infer_tasks(call, what, e.tasks, e.n_tasks, server->method_name_check, infer, st);
    if (code == TERN_OK)
        code = tn_pb_examples_tensor(&e, (size_t)server->limits.max_body_bytes, &call->arena, &examples, st);
    return code == TERN_OK ? tn_infer_feed(call, infer, &examples, st) : code;
}

static tern_code run_examples(tn_server *server, tn_version *v, tn_infer_what what, tn_str message,
                              tn_arena *arena, tern_status *st)
{
    tn_call call;
    tn_infer infer;
    begin(&call, v, arena);
    tern_code code = decode(server, &call, what, message, &infer, st);
    if (code == TERN_OK)
        code = tn_call_run_now(&call, TERN_RUN_CALLER_THREAD, 0, st);
    if (code == TERN_OK)
        code = tn_infer_outputs(&call, &infer, st);
    end(&call, arena);
    return code;
}

tern_code tn_api_run_classify(tn_server *server, tn_version *v, tn_str message, tn_arena *arena,
                              tern_status *st)
{
    return run_examples(server, v, TN_WHAT_CLASSIFY, message, arena, st);
}

tern_code tn_api_run_regress(tn_server *server, tn_version *v, tn_str message, tn_arena *arena,
                             tern_status *st)
{
    return run_examples(server, v, TN_WHAT_REGRESS, message, arena, st);
}

tern_code tn_api_run_multi(tn_server *server, tn_version *v, tn_str message, tn_arena *arena, tern_status *st)
{
    return run_examples(server, v, TN_WHAT_MULTI, message, arena, st);
}
