/*
 * test_service_text.c - what the container's Python service writes and reads: codec/python_text.h,
 * codec/falcon_error.h, codec/service_request.h. The expected texts are those of CPython 3.11, falcon 3.1.0
 * and requests 2.34.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "codec/falcon_error.h"
#include "codec/python_text.h"
#include "codec/service_request.h"

static tn_buf out;

static void begin(void)
{
    tn_buf_free(&out);
    tn_buf_init(&out, 1u << 20);
}

static void expect(const char *text)
{
    const tn_str want = tn_str_from(text);
    if (!tn_str_eq(tn_buf_view(&out), want))
        fail_msg("expected %s\n got %.*s", text, TN_FMT(tn_buf_view(&out)));
}

static int teardown(void **state)
{
    (void)state;
    tn_buf_free(&out);
    return 0;
}

/* ---- Python's texts ---- */

static void strings_are_dumped_as_json_does(void **state)
{
    static const struct {
        tn_str in;
        const char *ascii, *utf8;
    } cases[] = {
        {TN_STR_INIT(""), "\"\"", "\"\""},
        {TN_STR_INIT("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"", "\"a\\\"b\\\\c/d\""},
        {TN_STR_INIT("\b\f\n\r\t\v\0\x1f"), "\"\\b\\f\\n\\r\\t\\u000b\\u0000\\u001f\"",
         "\"\\b\\f\\n\\r\\t\\u000b\\u0000\\u001f\""},
        {TN_STR_INIT("\x7f"), "\"\\u007f\"", "\"\x7f\""},
        {TN_STR_INIT("h\xC3\xA9"), "\"h\\u00e9\"", "\"h\xC3\xA9\""},
        {TN_STR_INIT("\xF0\x9F\x98\x80"), "\"\\ud83d\\ude00\"", "\"\xF0\x9F\x98\x80\""},
        {TN_STR_INIT("\xED\xA0\x80"), "\"\\ud800\"", "\"\\ud800\""},
        {TN_STR_INIT("\xFF!"), "\"\\ufffd!\"", "\"\xEF\xBF\xBD!\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin();
        tn_python_json(&out, cases[i].in);
        expect(cases[i].ascii);
        begin();
        tn_python_json_utf8(&out, cases[i].in);
        expect(cases[i].utf8);
    }
}

static void strings_are_shown_as_repr_does(void **state)
{
    static const struct {
        tn_str in;
        const char *want;
    } cases[] = {
        {TN_STR_INIT("x y"), "'x y'"},
        {TN_STR_INIT(""), "''"},
        {TN_STR_INIT("it's"), "\"it's\""},
        {TN_STR_INIT("\"it's\""), "'\"it\\'s\"'"},
        {TN_STR_INIT("a\\b\n\t\r\0\x7f"), "'a\\\\b\\n\\t\\r\\x00\\x7f'"},
        {TN_STR_INIT("h\xC3\xA9"), "'h\xC3\xA9'"},
        {TN_STR_INIT("\xC2\xA0\xE2\x80\x8B"), "'\\xa0\\u200b'"},
        {TN_STR_INIT("\xF3\xA0\x80\x81"), "'\\U000e0001'"},
        {TN_STR_INIT("\xED\xB2\x80"), "'\\udc80'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin();
        tn_python_repr(&out, cases[i].in);
        expect(cases[i].want);
    }
}

static void values_are_written_as_str_does(void **state)
{
    static const struct {
        const char *json, *want;
        bool truth;
    } cases[] = {
        {"\"a'b\"", "a'b", true},
        {"null", "None", false},
        {"true", "True", true},
        {"false", "False", false},
        {"5", "5", true},
        {"-0", "0", false},
        {"-0.0", "-0.0", false},
        {"123456789012345678901234567890", "123456789012345678901234567890", true},
        {"0.1", "0.1", true},
        {"1e16", "1e+16", true},
        {"123456789012345.6", "123456789012345.6", true},
        {"1e-5", "1e-05", true},
        {"0.0001", "0.0001", true},
        {"1E300", "1e+300", true},
        {"NaN", "nan", true},
        {"-Infinity", "-inf", true},
        {"[]", "[]", false},
        {"{}", "{}", false},
        {"[1, \"a\", null]", "[1, 'a', None]", true},
        {"{\"a\": [0.5], \"b\": {}}", "{'a': [0.5], 'b': {}}", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_arena arena;
        const tn_json *value;
        tern_status st;
        tn_arena_init(&arena, 1u << 20);
        assert_int_equal(tn_json_parse(tn_str_from(cases[i].json), 100, &arena, &value, &st), TERN_OK);
        begin();
        tn_python_str(&out, value);
        expect(cases[i].want);
        assert_int_equal(tn_python_truth(value), cases[i].truth);
        tn_arena_free(&arena);
    }
}

static void bytes_that_are_no_utf8_are_named(void **state)
{
    static const struct {
        tn_str in;
        const char *want; /* "": it is UTF-8 */
    } cases[] = {
        {TN_STR_INIT(""), ""},
        {TN_STR_INIT("plain text, longer than eight"), ""},
        {TN_STR_INIT("h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"), ""},
        {TN_STR_INIT("\xFF"), "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"},
        {TN_STR_INIT("12345678\x80"),
         "'utf-8' codec can't decode byte 0x80 in position 8: invalid start byte"},
        {TN_STR_INIT("a\xC3"), "'utf-8' codec can't decode byte 0xc3 in position 1: unexpected end of data"},
        {TN_STR_INIT("\xC3("),
         "'utf-8' codec can't decode byte 0xc3 in position 0: invalid continuation byte"},
        {TN_STR_INIT("\xE2\x82"), "'utf-8' codec can't decode bytes in position 0-1: unexpected end of data"},
        {TN_STR_INIT("\xE2\x82("),
         "'utf-8' codec can't decode bytes in position 0-1: invalid continuation byte"},
        {TN_STR_INIT("\xED\xA0\x80"),
         "'utf-8' codec can't decode byte 0xed in position 0: invalid continuation byte"},
        {TN_STR_INIT("\xF0\x9F\x98"),
         "'utf-8' codec can't decode bytes in position 0-2: unexpected end of data"},
        {TN_STR_INIT("\xF4\x90\x80\x80"),
         "'utf-8' codec can't decode byte 0xf4 in position 0: invalid continuation byte"},
        {TN_STR_INIT("\x1f\x8b\x08"),
         "'utf-8' codec can't decode byte 0x8b in position 1: invalid start byte"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin();
        assert_int_equal(tn_python_decodes(cases[i].in, &out), cases[i].want[0] == '\0');
        expect(cases[i].want);
    }
}

/* ---- falcon ---- */

static void errors_take_the_form_that_is_accepted(void **state)
{
    static const struct {
        const char *accept;
        tn_falcon_form want;
    } cases[] = {
        {"", TN_FALCON_JSON},
        {"*/*", TN_FALCON_JSON},
        {"*", TN_FALCON_JSON},
        {"application/json", TN_FALCON_JSON},
        {"Application/JSON", TN_FALCON_NONE},
        {"text/csv", TN_FALCON_NONE},
        {"text/html, */*;q=0.1", TN_FALCON_JSON},
        {"text/*", TN_FALCON_TEXT_XML},
        {"application/*", TN_FALCON_JSON},
        {"application/xml", TN_FALCON_XML},
        {"text/xml", TN_FALCON_TEXT_XML},
        {"application/json;q=0.1, text/xml", TN_FALCON_TEXT_XML},
        {"application/json;q=0", TN_FALCON_NONE},
        {"application/json; Q=\"0\"", TN_FALCON_NONE},
        {"application/json;q=2", TN_FALCON_JSON},
        {"application/json;q=bad, application/xml;q=0.9", TN_FALCON_JSON},
        {"application/xml;q=.5, application/json;q=0.50", TN_FALCON_JSON},
        {"application/xml;q=0.6, */*;q=0.5", TN_FALCON_XML},
        {"application/json;charset=utf-8", TN_FALCON_JSON},
        {"application/hal+json", TN_FALCON_JSON},
        {"image/svg+XML", TN_FALCON_XML},
        {"json", TN_FALCON_NONE},
        {"application/json, nonsense", TN_FALCON_NONE},
        {"a/b/c+json", TN_FALCON_JSON},
        {",,", TN_FALCON_NONE},
        {"text/csv;a=\";\";q=1, application/json;x=\";\";q=0.3", TN_FALCON_JSON},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (tn_falcon_form_of(tn_str_from(cases[i].accept)) != cases[i].want)
            fail_msg("%s: %d", cases[i].accept, tn_falcon_form_of(tn_str_from(cases[i].accept)));
}

static void errors_are_written_in_each_form(void **state)
{
    char text[32];
    (void)state;
    begin();
    tn_falcon_body(&out, TN_FALCON_JSON, TN_STR("404 Not Found"), TN_STR_NONE);
    expect("{\"title\": \"404 Not Found\"}");
    begin();
    tn_falcon_body(&out, TN_FALCON_JSON, TN_STR("h\xC3\xA9"), TN_STR("a \"b\"\n"));
    expect("{\"title\": \"h\xC3\xA9\", \"description\": \"a \\\"b\\\"\\n\"}");
    begin();
    tn_falcon_body(&out, TN_FALCON_XML, TN_STR("a<b>&\"c"), TN_STR(""));
    expect("<?xml version=\"1.0\" encoding=\"UTF-8\"?><error><title>a&lt;b&gt;&amp;\"c</title>"
           "<description /></error>");
    begin();
    tn_falcon_body(&out, TN_FALCON_NONE, TN_STR("x"), TN_STR("y"));
    expect("");
    assert_true(tn_str_eq(tn_falcon_type(TN_FALCON_NONE), TN_STR("application/json")));
    assert_true(tn_str_eq(tn_falcon_type(TN_FALCON_TEXT_XML), TN_STR("text/xml")));
    assert_true(tn_str_eq(tn_falcon_status(507, text), TN_STR("507 Insufficient Storage")));
    assert_true(tn_str_eq(tn_falcon_status(499, text), TN_STR("499 Unknown")));
}

/* ---- attributes and targets ---- */

static void attributes_are_what_the_pattern_finds(void **state)
{
    static const struct {
        const char *field, *name, *version, *method;
        bool strict;
    } cases[] = {
        {"", NULL, NULL, NULL, true},
        {"free", NULL, NULL, NULL, true},
        {"tfs-model-name=m,tfs-model-version=5,tfs-method=classify", "m", "5", "classify", true},
        {"tfs-model-name=m , x=1", "m ", NULL, NULL, true},
        {"xtfs-model-version=3", NULL, "3", NULL, true},
        {"trace=tfs-method=regress", NULL, NULL, "regress", true},
        {"tfs-model-name=a=b", "a=b", NULL, NULL, false},
        {"tfs-model-name=a,tfs-model-name=b", "b", NULL, NULL, true},
        {"tfs-other=a=b", NULL, NULL, NULL, false},
        {"tfs-model-name=,tfs-method=x", NULL, NULL, "x", true},
        {"tfs-=x", NULL, NULL, NULL, true},
        {"tfs-tfs-method=x", NULL, NULL, NULL, true},
        {"tfs-a tfs-method=x", NULL, NULL, "x", true},
        {"tfs-Model-Name=m", NULL, NULL, NULL, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_service_attributes a;
        assert_true(tn_service_attributes_read(tn_str_from(cases[i].field), false, &a));
        assert_true(tn_str_eq(a.model_name, tn_str_from(cases[i].name)));
        assert_true(tn_str_eq(a.model_version, tn_str_from(cases[i].version)));
        assert_true(tn_str_eq(a.method, tn_str_from(cases[i].method)));
        assert_int_equal(tn_service_attributes_read(tn_str_from(cases[i].field), true, &a), cases[i].strict);
    }
}

static void bad_attributes_are_named(void **state)
{
    static const struct {
        const char *field, *want;
    } cases[] = {
        {"tfs-model-name=a.b_c-9,tfs-model-version=0123,tfs-method=regress", NULL},
        {"tfs-model-name=a/b", "invalid tfs-model-name"},
        {"tfs-model-name=.a,tfs-method=x", "invalid tfs-model-name"},
        {"tfs-model-version=-1", "invalid tfs-model-version: must be a positive integer"},
        {"tfs-model-version=1 ", "invalid tfs-model-version: must be a positive integer"},
        {"tfs-method=Predict", "invalid tfs-method: must be one of predict|classify|regress"},
    };
    char longest[257];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_service_attributes a;
        assert_true(tn_service_attributes_read(tn_str_from(cases[i].field), false, &a));
        assert_true(tn_str_eq(tn_service_attributes_fault(&a, TN_STR("m")), tn_str_from(cases[i].want)));
    }
    memset(longest, 'a', sizeof longest);
    assert_true(tn_service_is_model_name((tn_str){longest, 255}));
    assert_false(tn_service_is_model_name((tn_str){longest, 256}));
    assert_false(tn_service_is_model_name(TN_STR("")));
    assert_false(tn_service_is_model_name(TN_STR("a\n")));
}

static void targets_are_what_requests_sends(void **state)
{
    static const struct {
        const char *name, *version, *want;
        bool latin1;
    } cases[] = {
        {"m", NULL, "/v1/models/m:predict", false},
        {"m", "3", "/v1/models/m/versions/3:predict", false},
        {"a/b", NULL, "/v1/models/a/b:predict", false},
        {"x/versions/123", NULL, "/v1/models/x/versions/123:predict", false},
        {"a b", NULL, "/v1/models/a%20b:predict", false},
        {"../up", NULL, "/v1/up:predict", false},
        {"%68alf", NULL, "/v1/models/half:predict", false},
        {"%2f%zz", NULL, "/v1/models/%252F%25zz:predict", false},
        {"%2f", NULL, "/v1/models/%2F:predict", false},
        {"a?b", NULL, "/v1/models/a?b:predict", false},
        {"a#b", NULL, "/v1/models/a", false},
        {"h\xC3\xA9", NULL, "/v1/models/h%C3%A9:predict", false},
        {"h\xE9", NULL, "/v1/models/h%C3%A9:predict", true},
        {"[\"<\\]", NULL, "/v1/models/%5B%22%3C%5C%5D:predict", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const tn_service_attributes a = {.model_version = tn_str_from(cases[i].version)};
        tn_buf path;
        tn_buf_init(&path, 4096);
        tn_service_rest_path(&path, tn_str_from(cases[i].name), &a);
        begin();
        tn_service_target(&out, tn_buf_view(&path), cases[i].latin1);
        expect(cases[i].want);
        tn_buf_free(&path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_dumped_as_json_does),
        cmocka_unit_test(strings_are_shown_as_repr_does),
        cmocka_unit_test(values_are_written_as_str_does),
        cmocka_unit_test(bytes_that_are_no_utf8_are_named),
        cmocka_unit_test(errors_take_the_form_that_is_accepted),
        cmocka_unit_test(errors_are_written_in_each_form),
        cmocka_unit_test(attributes_are_what_the_pattern_finds),
        cmocka_unit_test(bad_attributes_are_named),
        cmocka_unit_test(targets_are_what_requests_sends),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
