/*
 * handler/job.c - one request through a handler: pre() before the run, post() after it, and what the host
 * holds a handler to when it returns. What it may ask meanwhile is host.c.
 */
#include "base/clock.h"
#include "handler/attached.h"

static bool type_matches(tn_str entry, tn_str type)
{
    if (entry.len == 0 || entry.ptr[entry.len - 1] != '*')
        return tn_str_ieq(entry, type);
    return tn_str_istarts(type, tn_str_sub(entry, 0, entry.len - 1)) &&
           !tn_str_ieq(type, TN_STR("application/json"));
}

bool tn_handler_takes(const tn_version *v, tn_str content_type)
{
    const tn_handler_attached *attached = v->attached;
    if (attached == NULL)
        return false;
    ptrdiff_t semicolon = tn_str_chr(content_type, ';');
    tn_str type = tn_str_trim(semicolon < 0 ? content_type : tn_str_sub(content_type, 0, (size_t)semicolon));
    if (type.len == 0)
        return false;
    for (tn_str left = tn_str_from(tn_handler_types(attached)); left.len > 0;) {
        ptrdiff_t comma = tn_str_chr(left, ',');
        size_t end = comma < 0 ? left.len : (size_t)comma;
        if (type_matches(tn_str_sub(left, 0, end), type))
            return true;
        left = tn_str_sub(left, end + (comma >= 0), left.len);
    }
    return false;
}

/* ---- what came out of pre() ---- */

static tern_code all_inputs_given(const tn_call_part *part, const char *handler, tern_status *st)
{
    if (part->n_inputs == part->signature->n_inputs)
        return TERN_OK;
    for (uint32_t id = 0; id < part->signature->n_inputs; id++) {
        uint32_t i = 0;
        while (i < part->n_inputs && part->input_ids[i] != id)
            i++;
        if (i == part->n_inputs)
            return tern_fail(st, TERN_INTERNAL, "Handler %s made no input %.*s", handler,
                             TN_FMT(part->signature->inputs[id].name));
    }
    return TERN_OK;
}

/* The offsets were the handler's to write; the engine believes them. */
static tern_code check_strings(tern_tensor *t, tn_str alias, const char *handler, tern_status *st)
{
    const int64_t n = tn_tensor_count(t);
    const uint64_t *offsets = tn_string_offsets(t);
    const size_t head = ((size_t)n + 1) * sizeof *offsets;
    bool good = offsets[0] == 0;
    for (int64_t i = 0; good && i < n; i++)
        good = offsets[i] <= offsets[i + 1];
    if (!good || offsets[n] > t->size - head)
        return tern_fail(st, TERN_INTERNAL,
                         "Handler %s: the ends of the strings of input %.*s do not ascend to at most %zu",
                         handler, TN_FMT(alias), t->size - head);
    t->size = head + (size_t)offsets[n];
    return TERN_OK;
}

static tern_code check_part(tn_call_part *part, const char *handler, tern_status *st)
{
    tern_code code = all_inputs_given(part, handler, st);
    for (uint32_t i = 0; code == TERN_OK && i < part->n_inputs; i++)
        if (part->inputs[i].dtype == TERN_STRING)
            code = check_strings(&part->inputs[i], part->signature->inputs[part->input_ids[i]].name, handler,
                                 st);
    if (part->n_outputs == 0)
        while (part->n_outputs < part->signature->n_outputs) {
            part->output_ids[part->n_outputs] = part->n_outputs;
            part->n_outputs++;
        }
    return code;
}

void tn_handler_hand_over(tn_call *call, tn_call_part *parts, uint32_t n)
{
    call->signature = parts[0].signature;
    call->inputs = parts[0].inputs;
    call->input_ids = parts[0].input_ids;
    call->n_inputs = parts[0].n_inputs;
    call->output_ids = parts[0].output_ids;
    call->n_outputs = parts[0].n_outputs;
    call->more = parts + 1;
    call->n_more = n - 1;
}

/*
 * A handler's word, as far as it can be taken: its code is one of the codes, a failure has a sentence, and
 * what it did wrong where it could not be told so is one.
 */
static tern_code judge_code(const char *name, const char *function, tern_code code, tern_status *st)
{
    if ((unsigned)code > TERN_UNAUTHENTICATED)
        return tern_fail(st, TERN_UNKNOWN, "Handler %s: %s() returned %d, which is no code", name, function,
                         (int)code);
    if (code != TERN_OK && (st->length == 0 || st->length >= TERN_STATUS_MESSAGE_MAX))
        return tern_fail(st, code, "Handler %s: %s() failed and did not say why", name, function);
    st->code = code;
    return code;
}

static tern_code judge(tn_handler_job *job, const char *name, const char *function, tern_code code,
                       tern_status *st)
{
    code = judge_code(name, function, code, st);
    if (code == TERN_OK && job->host.misuse != NULL)
        return tern_fail(st, TERN_INTERNAL, "Handler %s %s", name, job->host.misuse);
    if (code == TERN_OK && job->body.failed)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "The answer is larger than %zu bytes", job->body.max);
    return code;
}

tern_code tn_handler_attach(tn_handler_attached *attached, const tern_handler_options *options,
                            tern_status *st)
{
    tern_status_init(st);
    attached->handler = NULL;
    tern_code code = attached->api->attach(tn_handler_host(), options, &attached->handler, st);
    return judge_code(attached->api->name, "attach", code, st);
}

static tern_code take_inputs(tn_handler_job *job, const char *name, tern_status *st)
{
    tern_handler_call *hc = &job->host;
    tern_code code = TERN_OK;
    if (hc->n_parts == 0)
        code = tn_handler_default_signature(hc, st);
    for (uint32_t k = 0; code == TERN_OK && k < hc->n_parts; k++)
        code = check_part(&hc->parts[k], name, st);
    return code;
}

tern_code tn_handler_pre(tn_handler_job *job, tern_status *st)
{
    tn_call *call = job->call;
    const tn_handler_attached *attached = call->version->attached;
    const char *name = attached->api->name;
    int64_t start = tn_now_ns();
    job->request.struct_size = sizeof job->request;
    job->content_type = TN_STR("application/json");
    tn_buf_init(&job->body, job->max_response);
    job->host = (tern_handler_call){.job = job, .phase = TN_HANDLER_PRE};
    tern_status_init(st);
    tern_code code = attached->api->pre(attached->handler, &job->request, &job->host, &job->state, st);
    job->host.phase = TN_HANDLER_NEITHER;
    code = judge(job, name, "pre", code, st);
    if (code == TERN_OK && !job->answered)
        code = take_inputs(job, name, st);
    /* Whatever pre() said: the tensors are the call's, which releases them. */
    if (job->host.n_parts > 0)
        tn_handler_hand_over(call, job->host.parts, job->host.n_parts);
    call->skip_run = code == TERN_OK && job->answered;
    call->stage_ns[TN_STAGE_PREPROCESS] = tn_now_ns() - start;
    return code;
}

tern_code tn_handler_post(tn_handler_job *job, tern_status *st)
{
    tn_call *call = job->call;
    const tn_handler_attached *attached = call->version->attached;
    if (job->answered)
        return TERN_OK;
    int64_t start = tn_now_ns();
    job->host.phase = TN_HANDLER_POST;
    tern_status_init(st);
    tern_code code = attached->api->post(attached->handler, &job->request, &job->host, job->state, st);
    job->host.phase = TN_HANDLER_NEITHER;
    code = judge(job, attached->api->name, "post", code, st);
    call->stage_ns[TN_STAGE_POSTPROCESS] = tn_now_ns() - start;
    return code;
}

bool tn_handler_reads_arriving(const tn_version *v)
{
    const tn_handler_attached *a = v->attached;
    return a != NULL && a->api != NULL && TERN_HAS(a->api, flags) &&
           (a->api->flags & TERN_HANDLER_ARRIVING) != 0;
}

void tn_handler_forget(tn_handler_job *job)
{
    tn_call *call = job->call;
    tn_handler_job_finish(job);
    tn_call_forget_tensors(call);
    call->skip_run = false;
    *job = (tn_handler_job){.call = call,
                            .request = job->request,
                            .max_response = job->max_response,
                            .budget = job->budget,
                            .gone = job->gone};
}

void tn_handler_job_finish(tn_handler_job *job)
{
    if (job->call != NULL && job->call->version != NULL && job->state != NULL) {
        const tn_handler_attached *attached = job->call->version->attached;
        attached->api->release(attached->handler, job->state);
    }
    job->state = NULL;
    tn_buf_free(&job->body);
    tn_budget_give(job->budget, job->charged);
    job->charged = 0;
}
