/*
 * threads.c - the threads of OpenVINO's pool, made while the engine is opened.
 *
 * OpenVINO makes them when a graph first has work for them, and they inherit the priority of the thread that
 * has it. Loads have a lower one (base/low.h), in which every later run would wait for its threads. So a
 * graph of one tanh runs once, on enough numbers for all of them.
 */
#include "base/str.h"
#include "openvino_engine.h"

/* Far more than what one thread takes alone. */
#define NUMBERS (1 << 20)

/* SavedModel{"serve": x = Placeholder(float, [-1]); y = Tanh(x); serving_default: x to y} */
static const char saved_model[] =
    "\010\001\022\252\001\012\007\042\005serve\022P\0127\012\001x\022\013Placeholder*\013\012"
    "\005dtype\022\0020\001*\030\012\005shape\022\017:\015\022\013\010\377\377\377\377\377\377"
    "\377\377\377\001\012\025\012\001y\022\004Tanh\032\001x*\007\012\001T\022\0020\001*M\012"
    "\017serving_default\022:\012\033\012\001x\022\026\012\003x:0\020\001\032\015\022\013\010"
    "\377\377\377\377\377\377\377\377\377\001\022\033\012\001y\022\026\012\003y:0\020\001\032"
    "\015\022\013\010\377\377\377\377\377\377\377\377\377\001";

static bool run(ov_compiled_model_t *compiled)
{
    int64_t dims[] = {NUMBERS};
    const ov_shape_t shape = {.rank = 1, .dims = dims};
    ov_infer_request_t *request = NULL;
    ov_tensor_t *tensor = NULL;
    bool ran = ov_tensor_create(F32, shape, &tensor) == OK &&
               ov_compiled_model_create_infer_request(compiled, &request) == OK &&
               ov_infer_request_set_input_tensor(request, tensor) == OK &&
               ov_infer_request_infer(request) == OK;
    if (tensor != NULL)
        ov_tensor_free(tensor);
    if (request != NULL)
        ov_infer_request_free(request);
    return ran;
}

void tn_ov_make_threads(const tern_engine *e)
{
    ov_model_t *model = NULL;
    ov_compiled_model_t *compiled = NULL;
    tern_status st;
    tern_code code =
        tn_ov_read(e, (tn_str){saved_model, sizeof saved_model - 1}, "/nonexistent", &model, &st);
    if (code == TERN_OK)
        code = tn_ov_compile_graph(e, model, e->threads, &compiled, &st);
    if (code == TERN_OK && !run(compiled))
        code = tn_ov_fail(TERN_INTERNAL, "a run failed", &st);
    if (code != TERN_OK)
        e->host->log(TERN_LOG_WARNING, "engine", st.message);
    if (compiled != NULL)
        ov_compiled_model_free(compiled);
    if (model != NULL)
        ov_model_free(model);
}
