/*
 * test_model_config.c - ModelServerConfig files: what they say, and the sentences about what is wrong with
 * them, which are TensorFlow Serving's own (recorded from it).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/config.h"

static tn_arena arena;
static tern_status st;
static const tn_model_config *configs;
static uint32_t n;

static int setup(void **state)
{
    tn_arena_init(&arena, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    tn_arena_free(&arena);
    return 0;
}

static void reads(const char *text)
{
    if (tn_model_config_parse(tn_str_from(text), &arena, &configs, &n, &st) != TERN_OK)
        fail_msg("%s", st.message);
}

static void fails(const char *text, tern_code code, const char *words)
{
    assert_int_equal(tn_model_config_parse(tn_str_from(text), &arena, &configs, &n, &st), code);
    assert_int_equal(st.code, code);
    assert_int_equal(n, 0);
    assert_string_equal(st.message, words);
}

/* Good text, but no set of models can be made of it. */
static void refused(const char *text, tern_code code, const char *words)
{
    tn_models *m;
    reads(text);
    assert_int_equal(tn_models_new(&(tn_models_options){0}, configs, n, &m, &st), code);
    assert_null(m);
    assert_string_equal(st.message, words);
}

static void test_reads(void **state)
{
    reads("model_config_list {\n"
          "  config { name: \"types\" base_path: \"/models/types\" model_platform: \"tensorflow\" }\n"
          "  config: <\n"
          "    name: 'half' base_path: \"/models/\" 'half' model_platform: \"tensorflow\" # comment\n"
          "    model_version_policy { all {} }\n"
          "    version_labels { key: \"stable\" value: 123 }\n"
          "    version_labels { key: \"canary\" value: 124 }\n"
          "    version_labels { key: \"with space\" value: 124 }\n"
          "    version_labels { key: \"stable\" value: 122 }\n"
          "  >\n"
          "  config { name: \"s\" base_path: \"/s\" model_platform: \"tensorflow\"\n"
          "    model_version_policy { specific { versions: 123 versions: [7, -1] } } }\n"
          "  config { name: \"l\" base_path: \"/l\" model_type: TENSORFLOW\n"
          "    model_version_policy: { latest { num_versions: 2 } } }\n"
          "  config { base_path: \"/z\" model_platform: \"tensorflow\"\n"
          "    model_version_policy { latest { num_versions: 0 } } }\n"
          "}\n");
    assert_int_equal(n, 5);
    assert_true(tn_str_eq(configs[0].name, TN_STR("types")));
    assert_true(tn_str_eq(configs[0].base_path, TN_STR("/models/types")));
    assert_true(tn_str_eq(configs[0].platform, TN_STR("tensorflow")));
    assert_int_equal(configs[0].policy, TN_POLICY_LATEST);
    assert_int_equal(configs[0].latest, 1);
    assert_int_equal(configs[0].n_labels, 0);
    assert_true(tn_str_eq(configs[1].base_path, TN_STR("/models/half")));
    assert_int_equal(configs[1].policy, TN_POLICY_ALL);
    assert_int_equal(configs[1].n_labels, 3);
    assert_true(tn_str_eq(configs[1].label_names[0], TN_STR("stable")));
    assert_int_equal(configs[1].label_versions[0], 122);
    assert_true(tn_str_eq(configs[1].label_names[2], TN_STR("with space")));
    assert_int_equal(configs[2].policy, TN_POLICY_SPECIFIC);
    assert_int_equal(configs[2].n_specific, 3);
    assert_int_equal(configs[2].specific[0], 123);
    assert_int_equal(configs[2].specific[2], -1);
    assert_int_equal(configs[3].type, TN_MODEL_TYPE_TENSORFLOW);
    assert_int_equal(configs[3].latest, 2);
    assert_int_equal(configs[4].name.len, 0);
    assert_int_equal(configs[4].latest, 1);
    reads("model_config_list {}");
    assert_int_equal(n, 0);
    reads("# nothing");
    assert_int_equal(n, 0);
    reads("model_config_list { config { name: \"a\" base_path: \"/a\" model_platform: \"tensorflow\" "
          "model_version_policy { specific { } } } }");
    assert_int_equal(configs[0].policy, TN_POLICY_SPECIFIC);
    assert_int_equal(configs[0].n_specific, 0);
}

static void test_recorded_errors(void **state)
{
    refused("model_config_list { config { } }", TERN_INVALID_ARGUMENT,
            "Expected model  to have an absolute path or URI; got base_path()=");
    refused(
        "model_config_list { config { name: \"a\" base_path: \"relative\" model_platform: \"tensorflow\" } }",
        TERN_INVALID_ARGUMENT, "Expected model a to have an absolute path or URI; got base_path()=relative");
    refused("model_config_list { config { name: \"a\" base_path: \"/types\" } }", TERN_INVALID_ARGUMENT,
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, "
            "model name is a");
    refused("model_config_list { config { name: \"a\" base_path: \"/types\" model_platform: \"nope\" } }",
            TERN_INVALID_ARGUMENT, "Model a requests unsupported platform nope");
    refused("model_config_list { config { name: \"types\" base_path: \"/types\" model_type: TENSORFLOW "
            "model_platform: \"tensorflow\" } }",
            TERN_INVALID_ARGUMENT,
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform, model "
            "name is types");
    refused("model_config_list { config { name: \"m\" base_path: \"/a\" model_platform: \"tensorflow\" } "
            "config { name: \"m\" base_path: \"b\" } }",
            TERN_INVALID_ARGUMENT, "Illegal to list model m multiple times in config list");
    refused("model_config_list { config { name: \"m\" base_path: \"/a\" model_platform: \"tensorflow\" "
            "logging_config { } } }",
            TERN_INVALID_ARGUMENT, "No request-logger-creator provided.");
    refused("model_config_list { config { name: \"m\" base_path: \"/a\" model_type: OTHER } }",
            TERN_INVALID_ARGUMENT, "ModelServerConfig::model_type choice 2 not supported.");
    /* Names and paths of all, then labels, then platforms. */
    refused("model_config_list { config { name: \"a\" base_path: \"/a\" } config { name: \"b\" base_path: "
            "\"b\" model_platform: \"x\" } }",
            TERN_INVALID_ARGUMENT, "Expected model b to have an absolute path or URI; got base_path()=b");
    refused("model_config_list { config { name: \"a\" base_path: \"/a\" } config { name: \"b\" base_path: "
            "\"/b\" model_platform: \"tensorflow\" version_labels { key: \"l\" value: 7 } } }",
            TERN_FAILED_PRECONDITION,
            "Request to assign label to version 7 of model b, which is not currently available for "
            "inference");
    fails("custom_model_config { type_url: \"x\" }", TERN_UNIMPLEMENTED,
          "custom_model_config is not supported; give a model_config_list");
}

/* What TensorFlow takes for a URI is accepted; the rest is a relative path. */
static void test_base_paths(void **state)
{
    static const struct {
        const char *path;
        bool good;
    } paths[] = {{"/", true},         {"//x", true},   {"file:///m", true}, {"gs://bucket/m", true},
                 {"s3.x2://b", true}, {"x:/y", false}, {"://x", false},     {"3s://x", false},
                 {"", false},         {"a/b", false},  {" /a", false},      {"file:/m", false}};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        tn_models *m;
        tn_model_config config = {.name = TN_STR("m"), .base_path = tn_str_from(paths[i].path)};
        tern_code code = tn_models_new(&(tn_models_options){0}, &config, 1, &m, &st);
        assert_int_equal(code, paths[i].good ? TERN_OK : TERN_INVALID_ARGUMENT);
        tn_models_free(m);
    }
}

static void test_no_text_format(void **state)
{
    const char *texts[] = {
        "model_config_list { config {", "this is no config", "model_config_list { config { x: 1 } }",
        "model_config_list { config { model_version_policy { latest { num_versions: -1 } } } }"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(tn_model_config_parse(tn_str_from(texts[i]), &arena, &configs, &n, &st),
                         TERN_INVALID_ARGUMENT);
        assert_memory_equal(st.message, "line 1, column ", 15);
    }
    tn_arena small;
    tn_arena_init(&small, 16);
    assert_int_equal(
        tn_model_config_parse(TN_STR("model_config_list { config { name: \"m\" base_path: \"/a\" "
                                     "model_platform: \"tensorflow\" } }"),
                              &small, &configs, &n, &st),
        TERN_RESOURCE_EXHAUSTED);
    tn_arena_free(&small);
}

/* Labels are looked through one by one, on an event loop when a client sends them. */
static void test_too_many_labels(void **state)
{
    tn_buf text;
    tn_buf_init(&text, 1u << 20);
    tn_buf_z(&text,
             "model_config_list { config { name: \"m\" base_path: \"/a\" model_platform: \"tensorflow\"");
    for (int i = 0; i < 1025; i++)
        tn_buf_printf(&text, " version_labels { key: \"l%d\" value: 1 }", i);
    tn_buf_z(&text, " } }");
    assert_int_equal(tn_model_config_parse(tn_buf_view(&text), &arena, &configs, &n, &st),
                     TERN_INVALID_ARGUMENT);
    assert_string_equal(st.message, "Model m has 1025 version_labels; 1024 are the most");
    tn_buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recorded_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_base_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_text_format, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_labels, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
