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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_content_of_any),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
