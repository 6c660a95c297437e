/*
 * test_handler_abi.c - where every field of the plugins' contract lies (x86-64 and AArch64: LP64, little
 * endian). A line here that has to be changed means that handlers which are built already break: append
 * instead, and add lines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "handler/attached.h"

#define AT(type, field, offset)                                                                              \
    _Static_assert(offsetof(type, field) == (offset), #type "." #field " has moved")
#define SIZE(type, size)      _Static_assert(sizeof(type) == (size), #type " has another size")
#define ALIGNMENT(type, size) _Static_assert(_Alignof(type) == (size), #type " has another alignment")

/* Fixed for good: they stand in arrays, or by value in others. */
SIZE(tern_str, 16);
AT(tern_str, ptr, 0);
AT(tern_str, len, 8);
SIZE(tern_code, 4);
SIZE(tern_dtype, 4);
SIZE(tern_log_level, 4);
SIZE(tern_status, 4104);
AT(tern_status, code, 0);
AT(tern_status, length, 4);
AT(tern_status, message, 8);
SIZE(tern_buffer, 40);
AT(tern_buffer, data, 0);
AT(tern_buffer, size, 8);
AT(tern_buffer, refs, 16);
AT(tern_buffer, reserved, 20);
AT(tern_buffer, destroy, 24);
AT(tern_buffer, owner, 32);
SIZE(tern_tensor, 40);
AT(tern_tensor, dtype, 0);
AT(tern_tensor, rank, 4);
AT(tern_tensor, dims, 8);
AT(tern_tensor, buffer, 16);
AT(tern_tensor, data, 24);
AT(tern_tensor, size, 32);
SIZE(tern_io, 64);
AT(tern_io, name, 0);
AT(tern_io, tensor_name, 16);
AT(tern_io, dtype, 32);
AT(tern_io, rank, 36);
AT(tern_io, dims, 40);
AT(tern_io, default_tensor, 48);
SIZE(tern_signature, 64);
AT(tern_signature, name, 0);
AT(tern_signature, method_name, 16);
AT(tern_signature, inputs, 32);
AT(tern_signature, n_inputs, 40);
AT(tern_signature, outputs, 48);
AT(tern_signature, n_outputs, 56);
SIZE(tern_signature_set, 32);
AT(tern_signature_set, signatures, 0);
AT(tern_signature_set, n_signatures, 8);
AT(tern_signature_set, signature_def_map, 16);
SIZE(tern_handler_header, 32);
AT(tern_handler_header, name, 0);
AT(tern_handler_header, value, 16);

/* Append-only: the size may grow, with AT lines. */
AT(tern_host, struct_size, 0);
AT(tern_host, abi_version, 4);
AT(tern_host, log, 8);
AT(tern_host, buffer_new, 16);
SIZE(tern_host, 24);

AT(tern_handler_options, struct_size, 0);
AT(tern_handler_options, directory, 8);
AT(tern_handler_options, config, 16);
AT(tern_handler_options, signatures, 32);
/* 0.2 */
AT(tern_handler_options, max_body_bytes, 40);
AT(tern_handler_options, max_answer_bytes, 48);
AT(tern_handler_options, max_tensor_bytes, 56);
AT(tern_handler_options, model, 64);
AT(tern_handler_options, version, 80);
SIZE(tern_handler_options, 88);

AT(tern_handler_request, struct_size, 0);
AT(tern_handler_request, body, 8);
AT(tern_handler_request, content_type, 24);
AT(tern_handler_request, accept, 40);
AT(tern_handler_request, custom_attributes, 56);
AT(tern_handler_request, url, 72);
AT(tern_handler_request, deadline_ns, 88);
AT(tern_handler_request, traceparent, 96);
AT(tern_handler_request, tracestate, 112);
/* 0.2 */
AT(tern_handler_request, headers, 128);
AT(tern_handler_request, n_headers, 136);
AT(tern_handler_request, target, 144);
SIZE(tern_handler_request, 160);

AT(tern_handler_host, struct_size, 0);
AT(tern_handler_host, abi_version, 4);
AT(tern_handler_host, host, 8);
AT(tern_handler_host, set_signature, 16);
AT(tern_handler_host, new_input, 24);
AT(tern_handler_host, output, 32);
AT(tern_handler_host, write, 40);
AT(tern_handler_host, set_content_type, 48);
AT(tern_handler_host, reserve, 56);
AT(tern_handler_host, commit, 64);
/* 0.2 */
AT(tern_handler_host, new_string_input, 72);
AT(tern_handler_host, add_signature, 80);
AT(tern_handler_host, want_output, 88);
AT(tern_handler_host, output_of, 96);
AT(tern_handler_host, answer_now, 104);
AT(tern_handler_host, set_status, 112);
AT(tern_handler_host, add_header, 120);
AT(tern_handler_host, cancelled, 128);
AT(tern_handler_host, arrived, 136);
SIZE(tern_handler_host, 144);

AT(tern_handler_api, struct_size, 0);
AT(tern_handler_api, abi_version, 4);
AT(tern_handler_api, name, 8);
AT(tern_handler_api, content_types, 16);
AT(tern_handler_api, attach, 24);
AT(tern_handler_api, detach, 32);
AT(tern_handler_api, pre, 40);
AT(tern_handler_api, post, 48);
AT(tern_handler_api, release, 56);
/* 0.2 */
AT(tern_handler_api, version, 64);
AT(tern_handler_api, flags, 72);
SIZE(tern_handler_api, 80);

ALIGNMENT(tern_tensor, 8);
ALIGNMENT(tern_handler_request, 8);
_Static_assert(TERN_HANDLER_ABI == 1, "ABI 1 is append-only");
_Static_assert(TERN_UNAUTHENTICATED == 16, "codes are gRPC's");
_Static_assert(TERN_UINT64 == 23, "dtypes are TensorFlow's");

/* TERN_HAS() says what a struct of a given size has: the whole field, not its beginning. */
static void test_has(void **state)
{
    tern_handler_api api = {.struct_size = 64};
    assert_true(TERN_HAS(&api, release));
    assert_false(TERN_HAS(&api, version));
    api.struct_size = 71;
    assert_false(TERN_HAS(&api, version));
    api.struct_size = 72;
    assert_true(TERN_HAS(&api, version));
    tern_handler_request r = {.struct_size = 140};
    assert_true(TERN_HAS(&r, n_headers));
    assert_false(TERN_HAS(&r, target));
}

/* The table that handlers get is whole, and says so. */
static void test_host_is_whole(void **state)
{
    const tern_handler_host *host = tn_handler_host();
    assert_int_equal(host->struct_size, sizeof *host);
    assert_int_equal(host->abi_version, TERN_HANDLER_ABI);
    assert_non_null(host->host);
    void *const *functions = (void *const *)(const void *)&host->set_signature;
    for (size_t i = 0; i < (sizeof *host - offsetof(tern_handler_host, set_signature)) / sizeof(void *); i++)
        assert_non_null(functions[i]);
}

/* A request of an older host has no headers. */
static void test_request_header(void **state)
{
    const tern_handler_header headers[] = {{TN_STR("accept"), TN_STR("a")}, {TN_STR("x-id"), TN_STR("7")}};
    tern_handler_request r = {.struct_size = sizeof r, .headers = headers, .n_headers = 2};
    assert_true(tn_str_eq(tern_handler_request_header(&r, "x-id"), TN_STR("7")));
    assert_null(tern_handler_request_header(&r, "x-i").ptr);
    r.struct_size = offsetof(tern_handler_request, headers);
    assert_null(tern_handler_request_header(&r, "x-id").ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_has),
        cmocka_unit_test(test_host_is_whole),
        cmocka_unit_test(test_request_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
