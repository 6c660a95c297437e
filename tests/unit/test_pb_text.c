/*
 * test_pb_text.c - what the text format takes and what not: the verdicts are those of protobuf's own C++
 * reader (google::protobuf::TextFormat), except for strings that are not UTF-8 or hold a NUL, which are
 * refused here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "codec/pb_text.h"
#include "server_config.pb-c.h"
#include "session_config.pb-c.h"
#include "tensor.pb-c.h"

typedef struct sample {
    const ProtobufCMessageDescriptor *type;
    const char *text;
} sample;

#define BATCHING &tensorflow__serving__batching_parameters__descriptor
#define SESSION  &tensorflow__config_proto__descriptor
#define SAMPLING &tensorflow__serving__sampling_config__descriptor
#define SSL      &tensorflow__serving__sslconfig__descriptor
#define PLATFORM &tensorflow__serving__platform_config_map__descriptor
#define THREADS  &tensorflow__serving__thread_pool_factory_config__descriptor
#define ADAPTER  "type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig"

static const sample good[] = {
    {BATCHING, "allowed_batch_sizes: - 1"},
    {BATCHING, "allowed_batch_sizes: -# blanks\n 0x10 allowed_batch_sizes: 017"},
    {BATCHING, "allowed_batch_sizes: [1, - 2 ,3];max_batch_size{value:4},"},
    {BATCHING, "pad_variable_length_inputs: 00"},
    {BATCHING, "pad_variable_length_inputs: 0x1"},
    {BATCHING,
     "pad_variable_length_inputs: false pad_variable_length_inputs: 0 pad_variable_length_inputs: t"},
    {SAMPLING, "sampling_rate: .5"},
    {SAMPLING, "sampling_rate: 1.F"},
    {SAMPLING, "sampling_rate: - inf"},
    {SAMPLING, "sampling_rate: -NaN"},
    {SAMPLING, "sampling_rate: 0 sampling_rate: 1"},
    {SSL, "server_key: '' server_key: \"\\u0041\\U0001f600\" '\\x41\\101\\?'"},
    {SESSION, "graph_options < optimizer_options: < opt_level: -1 global_jit_level: ON_1 > >"},
    {SESSION, "graph_options { optimizer_options { opt_level: 7 } }"},
    {SESSION, "device_count: [{ key: \"CPU\" value: 2 }, < >]"},
    {PLATFORM, "platform_configs { key: \"a\" value { source_adapter_config { [" ADAPTER "] { } } } }"},
    {PLATFORM,
     "platform_configs { value { source_adapter_config: { [ type . googleapis.com\n / "
     "tensorflow.serving.SavedModelBundleSourceAdapterConfig ] : < legacy_config { session_config { "
     "intra_op_parallelism_threads: 3 } } > } } }"},
    {THREADS, "thread_pool_factory_config { type_url: \"a/b\" value: \"\\001\\xff\" }"},
};

static const sample bad[] = {
    {BATCHING, "allowed_batch_sizes: 1a"},
    {BATCHING, "allowed_batch_sizes: 08"},
    {BATCHING, "allowed_batch_sizes: +1"},
    {BATCHING, "allowed_batch_sizes: --1"},
    {BATCHING, "allowed_batch_sizes: -"},
    {BATCHING, "allowed_batch_sizes: 1.0"},
    {BATCHING, "allowed_batch_sizes: 9223372036854775808"},
    {BATCHING, "max_batch_size: 4"},
    {BATCHING, "max_batch_size { value: 4 } max_batch_size { value: 4 }"},
    {BATCHING, "max_batch_size { value: 4 >"},
    {BATCHING, "pad_variable_length_inputs: TRUE"},
    {BATCHING, "pad_variable_length_inputs: 2"},
    {BATCHING, "pad_variable_length_inputs: true pad_variable_length_inputs: false"},
    {SAMPLING, "sampling_rate: 010"},
    {SAMPLING, "sampling_rate: 01.5"},
    {SAMPLING, "sampling_rate: +1"},
    {SAMPLING, "sampling_rate: 0x1p3"},
    {SSL, "server_key: \"\\q\""},
    {SSL, "server_key: \"\\u12\""},
    {SSL, "server_key: \"a\nb\""},
    {SSL, "server_key: \"\\xff\""},
    {SSL, "server_key: \"\\0\""},
    {SSL, "/* no comment */"},
    {PLATFORM, "platform_configs { value { source_adapter_config { [type.googleapis.com/a.B] { } } } }"},
    {PLATFORM, "platform_configs { value { source_adapter_config { [example.com/" ADAPTER "] { } } } }"},
    {PLATFORM, "platform_configs { value { source_adapter_config { [" ADAPTER " { } } } }"},
    {PLATFORM, "platform_configs { value { source_adapter_config { [" ADAPTER "] 1 } } }"},
    {PLATFORM,
     "platform_configs { value { source_adapter_config { [" ADAPTER "] { } [" ADAPTER "] { } } } }"},
    {PLATFORM, "platform_configs { value { source_adapter_config { [" ADAPTER "] { nope: 1 } } } }"},
    {PLATFORM, "platform_configs { value { [" ADAPTER "] { } } }"},
};

static tern_code parse(const sample *s, ProtobufCMessage **message)
{
    tern_status st;
    tern_code code = tn_pb_text_parse(tn_str_from(s->text), s->type, message, &st);
    if (code != TERN_OK)
        assert_true(tn_str_starts((tn_str){st.message, st.length}, TN_STR("line ")));
    return code;
}

static void test_taken(void **state)
{
    ProtobufCMessage *message;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (parse(&good[i], &message) != TERN_OK)
            fail_msg("not taken: %s", good[i].text);
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

static void test_refused(void **state)
{
    ProtobufCMessage *message;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parse(&bad[i], &message) == TERN_OK)
            fail_msg("taken: %s", bad[i].text);
        assert_null(message);
    }
}

static void test_values(void **state)
{
    ProtobufCMessage *message;
    assert_int_equal(parse(&good[1], &message), TERN_OK);
    const Tensorflow__Serving__BatchingParameters *batching = (const void *)message;
    assert_int_equal(batching->allowed_batch_sizes[0], -16);
    assert_int_equal(batching->allowed_batch_sizes[1], 15);
    protobuf_c_message_free_unpacked(message, NULL);
    assert_int_equal(parse(&good[11], &message), TERN_OK);
    assert_string_equal(((const Tensorflow__Serving__SSLConfig *)(const void *)message)->server_key,
                        "A\xF0\x9F\x98\x80"
                        "AA?");
    protobuf_c_message_free_unpacked(message, NULL);
    /* two halves of one code point */
    const sample halves = {SSL, "server_key: \"\\ud83d\\ude00\""};
    assert_int_equal(parse(&halves, &message), TERN_OK);
    assert_string_equal(((const Tensorflow__Serving__SSLConfig *)(const void *)message)->server_key,
                        "\xF0\x9F\x98\x80");
    protobuf_c_message_free_unpacked(message, NULL);
}

static void test_content_of_any(void **state)
{
    ProtobufCMessage *message;
    assert_int_equal(parse(&good[16], &message), TERN_OK);
    const Tensorflow__Serving__PlatformConfigMap *map = (const void *)message;
    const Google__Protobuf__Any *any = map->platform_configs[0]->value->source_adapter_config;
    assert_string_equal(any->type_url, ADAPTER);
    Tensorflow__Serving__SavedModelBundleSourceAdapterConfig *adapter =
        tensorflow__serving__saved_model_bundle_source_adapter_config__unpack(NULL, any->value.len,
                                                                              any->value.data);
    assert_non_null(adapter);
    assert_int_equal(adapter->legacy_config->session_config->intra_op_parallelism_threads, 3);
    protobuf_c_message_free_unpacked(&adapter->base, NULL);
    protobuf_c_message_free_unpacked(message, NULL);
}

static void check_json_text(tn_str text, const char *want)
{
    tn_buf out;
    tn_buf_init(&out, 10000);
    tn_pb_json_quote(text, &out);
    tn_buf_char(&out, '\0');
    assert_string_equal(out.ptr, want);
    tn_buf_free(&out);
}

/* As MessageToJsonString of protobuf writes them. */
static void test_json_strings(void **state)
{
    check_json_text(TN_STR("a \"b\" \\ / 'c'\b\f\n\r\t"), "\"a \\\"b\\\" \\\\ / 'c'\\b\\f\\n\\r\\t\"");
    check_json_text((tn_str){"\0\x1f\x7f", 3}, "\"\\u0000\\u001f\\u007f\"");
    check_json_text(TN_STR("<b>&"), "\"\\u003cb\\u003e&\"");
    check_json_text(TN_STR("gr\u00f6\u00dfer \u20ac \U0001F600"), "\"gr\u00f6\u00dfer \u20ac \U0001F600\"");
    check_json_text(TN_STR("\u00ad\u200b\u2028\ufeff\U0001D173\U000E0001"),
                    "\"\\u00ad\\u200b\\u2028\\ufeff\\ud834\\udd73\\udb40\\udc01\"");
    check_json_text(TN_STR("\xc2\x85"), "\"\\u0085\"");
    check_json_text(TN_STR("a\xff\xe2\x82"), "\"a\uFFFD\uFFFD\uFFFD\"");
}

/* Six digits or nine, fifteen or seventeen: none between. */
static void test_json_numbers(void **state)
{
    float floats[] = {1, 0.1f, 0.3f, 0.30000004f, 16777216, 1e-7f, 1e20f};
    double doubles[] = {0.1, 0.30000000000000004, 1e300, 123456789012345680.0};
    Tensorflow__TensorProto tensor = TENSORFLOW__TENSOR_PROTO__INIT;
    tn_buf out;
    tensor.n_float_val = sizeof floats / sizeof floats[0];
    tensor.float_val = floats;
    tensor.n_double_val = sizeof doubles / sizeof doubles[0];
    tensor.double_val = doubles;
    tn_buf_init(&out, 10000);
    tn_pb_json_write(&tensor.base, &out);
    for (size_t i = 0; i < out.len; i++)
        if (out.ptr[i] == '\n')
            out.ptr[i] = ' ';
    tn_str text = tn_buf_view(&out);
    assert_true(
        tn_str_find(text, TN_STR("  1,   0.1,   0.3,   0.300000042,   16777216,   1e-07,   1e+20 ")) >= 0);
    assert_true(
        tn_str_find(text, TN_STR("  0.1,   0.30000000000000004,   1e+300,   1.2345678901234568e+17 ")) >= 0);
    tn_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_values),       cmocka_unit_test(test_content_of_any),
        cmocka_unit_test(test_json_strings), cmocka_unit_test(test_json_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
