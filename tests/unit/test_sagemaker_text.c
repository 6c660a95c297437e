/*
 * test_sagemaker_text.c - what the SageMaker container's proxy makes of bodies, header fields and paths:
 * codec/js_text.h, sagemaker_json.h, sagemaker_csv.h, sagemaker_attributes.h, proxy_uri.h. The vectors were
 * written by the container's own JavaScript.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/js_text.h"
#include "codec/proxy_uri.h"
#include "codec/sagemaker_attributes.h"
#include "codec/sagemaker_csv.h"
#include "codec/sagemaker_json.h"

#define VECTORS "tests/vectors/sagemaker_text.txt"

/* ---- bodies ---- */

/* A valid text of the bytes, converted as the server does it. csv: 0 no, 219, 220. Returns owned in *out. */
static tern_code convert(tn_str body, int csv, tn_region *out, tern_status *st)
{
    tn_region repaired;
    tn_region_init(&repaired, NULL, 0, 3 * body.len + 1);
    tn_region_init(out, NULL, 0, out->max > 0 ? out->max : 1u << 24);
    if (tn_js_valid(body) < body.len) {
        assert_int_equal(tn_js_repair(body, &repaired, st), TERN_OK);
        body = tn_region_view(&repaired);
        assert_true(tn_str_is_utf8(body));
    }
    tern_code code = csv != 0 ? tn_sagemaker_csv_convert(body, csv == 220, out, st)
                              : tn_sagemaker_json_convert(body, tn_sagemaker_json_look(body), out, st);
    tn_region_free(&repaired);
    return code;
}

static size_t unescape(char *text)
{
    char *to = text;
    for (char *from = text; *from != '\0'; from++) {
        char c = *from;
        if (c == '\\') {
            c = *++from;
            if (c == 'x') {
                char digits[3] = {from[1], from[2], '\0'};
                c = (char)strtoul(digits, NULL, 16);
                from += 2;
            } else {
                c = c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
            }
        }
        *to++ = c;
    }
    return (size_t)(to - text);
}

static void expect_conversion(int line, tn_str body, int csv, char *want)
{
    tn_region out = {0};
    tern_status st;
    const tn_str wanted = {want, unescape(want)};
    assert_int_equal(convert(body, csv, &out, &st), TERN_OK);
    if (!tn_str_eq(tn_region_view(&out), wanted))
        fail_msg(VECTORS ":%d (%d): expected %.*s\n got %.*s", line, csv, TN_FMT(wanted),
                 TN_FMT(tn_region_view(&out)));
    tn_region_free(&out);
}

static void bodies_become_the_requests_of_the_original(void **state)
{
    char line[1024];
    int number = 0, n_json = 0, n_csv = 0;
    FILE *f = fopen(VECTORS, "r");
    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        number++;
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' || line[0] == '\0')
            continue;
        char *rest = line, *kind = strsep(&rest, "\t"), *in = strsep(&rest, "\t"),
             *first = strsep(&rest, "\t");
        assert_non_null(first);
        const tn_str body = {in, unescape(in)};
        if (strcmp(kind, "json") == 0) {
            expect_conversion(number, body, 0, first);
            n_json++;
        } else {
            assert_non_null(rest);
            expect_conversion(number, body, 219, first);
            expect_conversion(number, body, 220, rest);
            n_csv++;
        }
    }
    fclose(f);
    assert_true(n_json > 60 && n_csv > 80);
}

static void forms_of_json_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(tn_sagemaker_json_look(TN_STR("{\"inputs\": 1}")), TN_SAGEMAKER_JSON_AS_IS);
    assert_int_equal(tn_sagemaker_json_look(TN_STR("[1]\n[2]")), TN_SAGEMAKER_JSON_LINES);
    assert_int_equal(tn_sagemaker_json_look(TN_STR("[[1]]")), TN_SAGEMAKER_JSON_LIST);
    assert_int_equal(tn_sagemaker_json_look(TN_STR("[1]")), TN_SAGEMAKER_JSON_ONE);
    assert_int_equal(tn_sagemaker_json_look(TN_STR("")), TN_SAGEMAKER_JSON_ONE);
}

static void a_text_that_is_left_alone_is_copied_whole(void **state)
{
    static const tn_str text = TN_STR_INIT("{\"instances\": [1]}");
    tn_region out;
    tern_status st;
    (void)state;
    tn_region_init(&out, NULL, 0, 100);
    assert_int_equal(tn_sagemaker_json_convert(text, TN_SAGEMAKER_JSON_AS_IS, &out, &st), TERN_OK);
    assert_true(tn_str_eq(tn_region_view(&out), text));
    tn_region_free(&out);
}

/* Longer than what is gathered before it is written. */
static void long_bodies_are_whole(void **state)
{
    const size_t n = 20000;
    char *body = malloc(2 * n);
    tern_status st;
    tn_region out = {0};
    (void)state;
    for (size_t i = 0; i < n; i++)
        memcpy(body + 2 * i, i + 1 < n ? "a," : "a\n", 2);
    assert_int_equal(convert((tn_str){body, 2 * n}, 220, &out, &st), TERN_OK);
    assert_int_equal(out.len, strlen("{\"instances\":[[]]}") + 4 * n - 1);
    assert_memory_equal(out.ptr + out.len - 10, "\"a\",\"a\"]]}", 10);
    tn_region_free(&out);
    memset(body, 'x', 2 * n);
    out = (tn_region){0};
    assert_int_equal(convert((tn_str){body, 2 * n}, 0, &out, &st), TERN_OK);
    assert_int_equal(out.len, strlen("{\"instances\":[]}") + 2 * n);
    tn_region_free(&out);
    free(body);
}

static void limits_and_budgets_are_errors(void **state)
{
    char body[10000];
    tn_budget budget;
    tern_status st;
    tn_region out;
    (void)state;
    memset(body, ',', sizeof body);
    tn_region_init(&out, NULL, 0, 20000);
    assert_int_equal(tn_sagemaker_csv_convert((tn_str){body, sizeof body}, true, &out, &st),
                     TERN_INVALID_ARGUMENT);
    tn_region_free(&out);
    tn_budget_init(&budget, 1);
    tn_region_init(&out, &budget, 0, 1u << 20);
    assert_int_equal(tn_sagemaker_csv_convert((tn_str){body, sizeof body}, true, &out, &st),
                     TERN_RESOURCE_EXHAUSTED);
    tn_region_free(&out);
    assert_int_equal(budget.used, 0);
}

/* ---- JavaScript's text ---- */

static void trim_takes_the_blanks_of_ecmascript(void **state)
{
    static const struct {
        tn_str in, want;
    } cases[] = {
        {TN_STR_INIT(" \t\n\v\f\r a \r\n"), TN_STR_INIT("a")},
        {TN_STR_INIT("\xC2\xA0\xE1\x9A\x80\xE2\x80\x80\xE2\x80\x8A"
                     "a b\xE2\x80\xA8\xE2\x80\xA9\xE2\x80\xAF\xE2\x81\x9F\xE3\x80\x80\xEF\xBB\xBF"),
         TN_STR_INIT("a b")},
        {TN_STR_INIT("\xE2\x80\x8B"
                     "a\xE1\xA0\x8E"),
         TN_STR_INIT("\xE2\x80\x8B"
                     "a\xE1\xA0\x8E")}, /* U+200B and U+180E are none */
        {TN_STR_INIT("\xC2\x85"), TN_STR_INIT("\xC2\x85")},
        {TN_STR_INIT(" \xC2\xA0 "), TN_STR_INIT("")},
        {TN_STR_INIT(""), TN_STR_INIT("")},
        {TN_STR_INIT("\xF0\x9F\x98\x80 "), TN_STR_INIT("\xF0\x9F\x98\x80")},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_true(tn_str_eq(tn_js_trim(cases[i].in), cases[i].want));
}

static void lines_end_with_or_without_cr(void **state)
{
    tn_str rest = TN_STR("a\r\nb\n\nc\rd\r\n"), line;
    static const char *const want[] = {"a", "b", "", "c\rd", ""};
    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_true(tn_js_line(&rest, &line));
        assert_true(tn_str_eq(line, tn_str_from(want[i])));
    }
    assert_false(tn_js_line(&rest, &line));
}

static void validity_is_found_at_every_place(void **state)
{
    char text[200];
    (void)state;
    memset(text, 'a', sizeof text);
    assert_int_equal(tn_js_valid((tn_str){text, sizeof text}), sizeof text);
    for (size_t at = 0; at < sizeof text; at++) {
        text[at] = '\x80';
        assert_int_equal(tn_js_valid((tn_str){text, sizeof text}), at);
        text[at] = 'a';
    }
    memcpy(text + 30, "\xE2\x82\xAC", 3); /* across a group of 32 */
    assert_int_equal(tn_js_valid((tn_str){text, sizeof text}), sizeof text);
    assert_int_equal(tn_js_valid((tn_str){text, 32}), 30);
}

/* ---- attributes ---- */

static void expect_attributes(const char *header, const char *name, const char *version, const char *method)
{
    const tn_sagemaker_attributes a = tn_sagemaker_attributes_read(tn_str_from(header));
    const tn_str got[] = {a.model_name, a.model_version, a.method};
    const char *const want[] = {name, version, method};
    for (int i = 0; i < 3; i++)
        if ((want[i] == NULL) != (got[i].ptr == NULL) || !tn_str_eq(got[i], tn_str_from(want[i])))
            fail_msg("%s: field %d is %.*s", header, i, TN_FMT(got[i]));
}

static void attributes_are_found_wherever_they_stand(void **state)
{
    (void)state;
    expect_attributes("tfs-model-name=a,tfs-model-version=1,tfs-method=classify", "a", "1", "classify");
    expect_attributes("tfs-method=regress, tfs-model-name=a b , x=1", "a b ", NULL, "regress");
    expect_attributes("xtfs-model-version=7", NULL, "7", NULL);
    expect_attributes("trace=tfs-model-version=7", NULL, "7", NULL);
    expect_attributes("tfs-model-name=a,tfs-model-name=b", "b", NULL, NULL);
    expect_attributes("tfs-model-name=a,,tfs-method=x,", "a", NULL, "x");
}

static void what_is_no_attribute_is_passed_over(void **state)
{
    (void)state;
    expect_attributes("", NULL, NULL, NULL);
    expect_attributes("tfs-model-name", NULL, NULL, NULL);
    expect_attributes("tfs-model-name=", NULL, NULL, NULL);
    expect_attributes("tfs-model-name=,tfs-method=x", NULL, NULL, "x");
    expect_attributes("tfs-model-name = a", NULL, NULL, NULL);
    expect_attributes("tfs-model-name=a=b", NULL, NULL, NULL);
    expect_attributes("tfs-model-name==a", NULL, NULL, NULL);
    expect_attributes("tfs-=a,tfs-Model-name=a,tfs-unknown=a,TFS-METHOD=a", NULL, NULL, NULL);
    expect_attributes("tfs-tfs-method=x", NULL, NULL, NULL); /* its name is tfs-tfs-method */
    expect_attributes("tfs-model-name=tfs-method=x", NULL, NULL, NULL);
}

static void names_versions_and_methods_have_to_look_like_one(void **state)
{
    char name[256];
    (void)state;
    memset(name, 'a', sizeof name);
    assert_true(tn_sagemaker_is_name((tn_str){name, 255}));
    assert_false(tn_sagemaker_is_name((tn_str){name, 256}));
    assert_true(tn_sagemaker_is_name(TN_STR("0a.B_-")));
    assert_false(tn_sagemaker_is_name(TN_STR(".a")));
    assert_false(tn_sagemaker_is_name(TN_STR("a b")));
    assert_false(tn_sagemaker_is_name(TN_STR("a\xC3\xA9")));
    assert_false(tn_sagemaker_is_name(TN_STR("")));
    assert_true(tn_sagemaker_is_version(TN_STR("00123")));
    assert_false(tn_sagemaker_is_version(TN_STR("-1")));
    assert_false(tn_sagemaker_is_version(TN_STR("")));
    assert_true(tn_sagemaker_is_method(TN_STR("regress")));
    assert_false(tn_sagemaker_is_method(TN_STR("Predict")));
}

/* ---- paths ---- */

static void expect_normal(const char *path, const char *want)
{
    char out[256];
    size_t n;
    const bool good = tn_proxy_uri_normal(tn_str_from(path), out, &n);
    if (good != (want != NULL) || (good && !tn_str_eq((tn_str){out, n}, tn_str_from(want))))
        fail_msg("%s: %s %.*s", path, good ? "good" : "refused", good ? (int)n : 0, out);
}

static void paths_are_seen_as_nginx_sees_them(void **state)
{
    (void)state;
    expect_normal("/ping", "/ping");
    expect_normal("//ping", "/ping");
    expect_normal("/./ping", "/ping");
    expect_normal("/x/../ping", "/ping");
    expect_normal("/a/b/../../ping/", "/ping/");
    expect_normal("/%70ing", "/ping");
    expect_normal("/x/%2e%2E/ping", "/ping");
    expect_normal("/%2Fping", "/ping");
    expect_normal("/a/.", "/a/");
    expect_normal("/a/..", "/");
    expect_normal("/a/...", "/a/...");
    expect_normal("/.a/..b", "/.a/..b");
    expect_normal("/a..", "/a..");
    expect_normal("/a%3Fb%23c%25d", "/a?b#c%d");
    expect_normal("/a#b/../..", "/a");
    expect_normal("/a%0Ab%20c", "/a\nb c");
    expect_normal("/..", NULL);
    expect_normal("/a/../..", NULL);
    expect_normal("/%2e%2e/x", NULL);
    expect_normal("/%", NULL);
    expect_normal("/%4", NULL);
    expect_normal("/%zz", NULL);
    expect_normal("/%00", NULL);
    expect_normal("/a\x7F", NULL);
}

static void expect_inner(const char *path, const char *want)
{
    char out[256], escaped[768];
    size_t n;
    const bool good = tn_proxy_uri_inner(tn_str_from(path), out, &n);
    if (good != (want != NULL))
        fail_msg("%s: %s", path, good ? "good" : "refused");
    if (good &&
        !tn_str_eq((tn_str){escaped, tn_proxy_uri_escape((tn_str){out, n}, escaped)}, tn_str_from(want)))
        fail_msg("%s: %.*s", path, (int)n, out);
}

static void paths_of_the_proxy_are_passed_on_as_nginx_does(void **state)
{
    (void)state;
    expect_inner("/v1/models/a:predict", "/v1/models/a:predict");
    expect_inner("/%68a/b//c/./d", "/ha/b//c/./d");
    expect_inner("/a b#c\"<>\\^`{|}~", "/a%20b%23c%22%3C%3E%5C%5E%60%7B%7C%7D~");
    expect_inner("/\xC3\xA9\x7F", "/%C3%A9%7F");
    expect_inner("/a%25b%3f", "/a%25b%3F");
    expect_inner("/%zz%1zy%", "/zzy"); /* what is broken is dropped */
    expect_inner("/%4", "/");
    expect_inner("/..a/a../...", "/..a/a../...");
    expect_inner("/../a", NULL);
    expect_inner("/a/..", NULL);
    expect_inner("../a", NULL);
    expect_inner("/%2e%2e/a", NULL);
    expect_inner("/a%00", NULL);
    expect_inner("", NULL);
}

static void types_follow_extensions(void **state)
{
    static const char *const cases[][2] = {
        {"/a.html", "text/html"},
        {"/a/b.HTM", "text/html"},
        {"/favicon.ico", "image/x-icon"},
        {"/x.tar.gz", NULL},
        {"/a.js", "application/javascript"},
        {"/a.json", "application/json"},
        {"/a.pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
        {"/.html", NULL},
        {"/a/.html", NULL},
        {"/a.", NULL},
        {"/a.html/b", NULL},
        {"/html", NULL},
        {"/", NULL},
        {"/a.html htm", NULL},
        {"/a.averyveryverylongextension", NULL},
        {"", NULL},
        {"/a.mid", "audio/midi"},
        {"/a.7z", "application/x-7z-compressed"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const tn_str got = tn_proxy_uri_type(tn_str_from(cases[i][0]));
        if (!tn_str_eq(got, tn_str_from(cases[i][1])))
            fail_msg("%s: %.*s", cases[i][0], TN_FMT(got));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_become_the_requests_of_the_original),
        cmocka_unit_test(forms_of_json_are_told_apart),
        cmocka_unit_test(a_text_that_is_left_alone_is_copied_whole),
        cmocka_unit_test(long_bodies_are_whole),
        cmocka_unit_test(limits_and_budgets_are_errors),
        cmocka_unit_test(trim_takes_the_blanks_of_ecmascript),
        cmocka_unit_test(lines_end_with_or_without_cr),
        cmocka_unit_test(validity_is_found_at_every_place),
        cmocka_unit_test(attributes_are_found_wherever_they_stand),
        cmocka_unit_test(what_is_no_attribute_is_passed_over),
        cmocka_unit_test(names_versions_and_methods_have_to_look_like_one),
        cmocka_unit_test(paths_are_seen_as_nginx_sees_them),
        cmocka_unit_test(paths_of_the_proxy_are_passed_on_as_nginx_does),
        cmocka_unit_test(types_follow_extensions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
