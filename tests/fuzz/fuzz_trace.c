/*
 * fuzz_trace.c - any bytes as a traceparent, a tracestate, and the target of an access log's line.
 *
 * What is a traceparent is written as one that reads the same; a line of the log is one line of UTF-8, and in
 * its JSON form JSON.
 */
#include <stdint.h>
#include <stdlib.h>

#include "api/access.h"
#include "codec/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_trace(tn_str text)
{
    tn_trace trace, again;
    char written[TN_TRACEPARENT];
    if (!tn_trace_parse(text, &trace))
        return;
    require(text.len >= TN_TRACEPARENT && (text.len == TN_TRACEPARENT || !tn_str_starts(text, TN_STR("00"))));
    memcpy(trace.span_id, trace.parent_id, sizeof trace.span_id);
    tn_trace_write(&trace, written);
    require(memcmp(written + 2, text.ptr + 2, 51) == 0);
    require(tn_trace_parse((tn_str){written, sizeof written}, &again));
    require(again.sampled == trace.sampled && memcmp(again.trace_id, trace.trace_id, 16) == 0);
}

static void check_state(tn_str text)
{
    if (!tn_tracestate_good(text))
        return;
    require(text.len <= TN_TRACESTATE_MAX && tn_str_chr(text, '=') > 0);
    for (size_t i = 0; i < text.len; i++)
        require(text.ptr[i] == '\t' || (text.ptr[i] >= 0x20 && text.ptr[i] <= 0x7E));
}

static void check_line(tn_str text, bool json)
{
    const tn_access_line line = {.target = text, .method = text};
    tn_buf out;
    tn_arena arena;
    const tn_json *read;
    tern_status st;
    tn_buf_init(&out, 1 << 20);
    tn_arena_init(&arena, 1 << 24);
    tn_access_write(&line, json, &out);
    require(!out.failed && tn_str_chr(tn_buf_view(&out), '\n') == (ptrdiff_t)out.len - 1);
    require(tn_str_is_utf8(tn_buf_view(&out)));
    if (json)
        require(tn_json_parse(tn_buf_view(&out), 4, &arena, &read, &st) == TERN_OK);
    tn_arena_free(&arena);
    tn_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_str text = {(const char *)data, size};
    check_trace(text);
    check_state(text);
    check_line(text, true);
    check_line(text, false);
    return 0;
}
