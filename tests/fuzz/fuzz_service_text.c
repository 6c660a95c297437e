/*
 * fuzz_service_text.c - what the container's Python service reads from header fields and bodies, and writes
 * of them. The first byte chooses; the rest is the text.
 */
#include <stdint.h>
#include <stdlib.h>

#include "codec/falcon_error.h"
#include "codec/python_text.h"
#include "codec/service_request.h"

static void check(bool good)
{
    if (!good)
        abort();
}

static void texts(tn_str s, tn_buf *out)
{
    tn_python_json(out, s);
    check(out->failed || tn_str_is_utf8(tn_buf_view(out)));
    tn_buf_clear(out);
    tn_python_json_utf8(out, s);
    check(out->failed || tn_str_is_utf8(tn_buf_view(out)));
    tn_buf_clear(out);
    tn_python_repr(out, s);
    check(out->failed || tn_str_is_utf8(tn_buf_view(out)));
    tn_buf_clear(out);
    check(tn_python_decodes(s, out) == tn_str_is_utf8(s));
    check((out->len == 0) == tn_str_is_utf8(s));
}

static void values(tn_str s, tn_buf *out)
{
    tn_arena arena;
    const tn_json *value;
    tern_status st;
    tn_arena_init(&arena, 1u << 24);
    if (tn_json_parse(s, 200, &arena, &value, &st) == TERN_OK) {
        (void)tn_python_truth(value);
        tn_python_str(out, value);
    }
    tn_arena_free(&arena);
}

static void requests(tn_str s, tn_buf *out)
{
    tn_service_attributes a;
    tn_buf path;
    const bool strict = tn_service_attributes_read(s, true, &a);
    check(tn_service_attributes_read(s, false, &a) || !strict);
    (void)tn_service_attributes_fault(&a, a.model_name);
    tn_buf_init(&path, 1u << 20);
    tn_service_rest_path(&path, a.model_name.ptr != NULL ? a.model_name : s, &a);
    tn_service_target(out, tn_buf_view(&path), s.len % 2 == 0);
    check(out->failed || path.failed ||
          !tn_service_is_plain(a.model_name.ptr != NULL ? a.model_name : s, &a) ||
          tn_str_eq(tn_buf_view(out), tn_buf_view(&path)));
    for (size_t i = 0; i < out->len; i++) /* nothing that ends or splits a request line */
        check(out->ptr[i] > ' ' && out->ptr[i] < 0x7F);
    tn_buf_free(&path);
}

static void errors(tn_str s, tn_buf *out)
{
    const tn_falcon_form form = tn_falcon_form_of(s);
    tn_falcon_body(out, form, s, s);
    check(form != TN_FALCON_NONE || out->len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const kinds[])(tn_str, tn_buf *) = {texts, values, requests, errors};
    tn_buf out;
    if (size == 0)
        return 0;
    tn_buf_init(&out, 1u << 22);
    kinds[data[0] % 4]((tn_str){(const char *)data + 1, size - 1}, &out);
    tn_buf_free(&out);
    return 0;
}
