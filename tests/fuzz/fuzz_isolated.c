/*
 * fuzz_isolated.c - what a handler's process may send, against handler/isolated.c: inputs (ASK) and answers
 * (ANSWER); and the readers of handler/setup.h. The first byte chooses; a frame may point into one segment of
 * 64 kB, in which the rest of the input stands.
 */
#include <stdlib.h>

#include "handler/attached.h"
#include "handler/isolated.h"
#include "handler/setup.h"

static const int64_t any = -1, pair[] = {-1, 2};
static const tern_io inputs[] = {
    {.name = TN_STR_INIT("s"), .dtype = TERN_STRING, .rank = 1, .dims = &any},
    {.name = TN_STR_INIT("x"), .dtype = TERN_FLOAT, .rank = 2, .dims = pair},
};
static const tern_io outputs[] = {{.name = TN_STR_INIT("y"), .dtype = TERN_FLOAT, .rank = -1}};
static const tern_signature signatures[] = {
    {.name = TN_STR_INIT("a"), .inputs = inputs, .n_inputs = 2, .outputs = outputs, .n_outputs = 1},
    {.name = TN_STR_INIT("b"), .inputs = inputs, .n_inputs = 1, .outputs = outputs, .n_outputs = 1}};
static const tern_signature_set set = {.signatures = signatures, .n_signatures = 2};

static tn_segments *segments;
static tn_handler_attached attached = {.name = (char *)"fuzz"};
static tn_version version = {.signatures = &set, .attached = &attached};
static tn_call call;
static tn_isolated one;

static void on_event(tn_script_job *job)
{
    (void)job;
}

static void from_worker(tn_str frame, tn_str memory)
{
    static const tn_call_steps steps = {.name = "fuzz"};
    tn_handler_job job = {.max_response = 1 << 16};
    tern_status st;
    tn_segment *segment;
    memset(&one.job.status, 0, sizeof one.job.status.code);
    if (!tn_isolated_init(&one, on_event) || tn_segment_take(segments, 1 << 16, &segment, &st) != TERN_OK)
        abort();
    segment->id = 1;
    memset(segment->ptr, 0, 1 << 16);
    if (memory.len > 0)
        memcpy(segment->ptr, memory.ptr, memory.len < 1 << 16 ? memory.len : 1 << 16);
    (void)tn_script_job_add(&one.job, segment);
    tn_call_init(&call, &steps, 1 << 22);
    one.version = &version;
    if (tn_frame_read(frame, &one.job.reply, &st) == TERN_OK) {
        if (one.job.reply.type == TN_FRAME_ASK) {
            if (tn_isolated_take_inputs(&one, &call, &st) == TERN_OK)
                for (uint32_t i = 0; i < call.n_inputs; i++)
                    if (call.inputs[i].dtype == TERN_STRING) {
                        const int64_t n = tn_tensor_count(&call.inputs[i]);
                        for (int64_t k = 0; k < n; k++)
                            if (tn_string_at(&call.inputs[i], n, k).len > call.inputs[i].size)
                                abort();
                    }
        } else if (tn_isolated_take_answer(&one, &call, &job, &st) == TERN_OK) {
            for (uint32_t i = 0; i < job.n_headers; i++)
                if (memchr(job.headers[i].value.ptr, '\n', job.headers[i].value.len) != NULL)
                    abort();
            if (one.answer.len > 0 && (one.answer.ptr < segment->ptr ||
                                       one.answer.ptr + one.answer.len > segment->ptr + segment->size))
                abort();
        }
    }
    job.call = NULL;
    tn_handler_job_finish(&job);
    tn_call_finish(&call);
    tn_isolated_end(&one);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const tn_str bytes = {(const char *)data, size};
    tn_arena arena = {0};
    tern_status st;
    tern_handler_options options;
    tern_handler_request request;
    if (segments == NULL && (segments = tn_segments_new(NULL, 1 << 20, 1 << 20)) == NULL)
        abort();
    if (size < 8)
        return 0;
    tn_arena_init(&arena, 1 << 22);
    const tn_str rest = tn_str_sub(bytes, 1, size);
    switch (data[0] % 3) {
    case 0:
        (void)!tn_setup_read(rest, &arena, &options, &st);
        break;
    case 1:
        (void)!tn_setup_read_head(rest, &arena, &request, &st);
        break;
    default: {
        /* The frame says how long it is. */
        uint32_t length;
        memcpy(&length, rest.ptr + 4 < rest.ptr + rest.len - 3 ? rest.ptr + 4 : rest.ptr, sizeof length);
        const size_t n = length < rest.len ? length : rest.len;
        from_worker(tn_str_sub(rest, 0, n), tn_str_sub(rest, n, rest.len));
    }
    }
    tn_arena_free(&arena);
    return 0;
}
