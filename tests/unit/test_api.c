/*
 * Unit tests of the pure parts of api/ and observe/: targets, percent-coding, gRPC timeouts, gzip bodies,
 * histograms.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zlib.h>

#include "api/coding.h"
#include "api/grpc.h"
#include "api/server.h"
#include "base/clock.h"

static void assert_str(tn_str got, const char *want)
{
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.ptr, want, got.len);
}

static void targets_are_split(void **state)
{
    tn_target_parts p = tn_target_split(TN_STR("/v1/models/m?x=1"));
    assert_str(p.path, "/v1/models/m");
    assert_str(p.query, "x=1");
    assert_true(p.has_query);
    p = tn_target_split(TN_STR("http://other.example:99/ping"));
    assert_str(p.path, "/ping");
    assert_false(p.has_query);
    p = tn_target_split(TN_STR("http://other.example"));
    assert_str(p.path, "/");
    p = tn_target_split(TN_STR("*"));
    assert_str(p.path, "*");
    p = tn_target_split(TN_STR(""));
    assert_int_equal(p.path.len, 0);
}

/* TensorFlow Serving parses the whole target as a URI first, and answers 400 to what is none. */
static void targets_with_characters_of_no_uri_are_known(void **state)
{
    static const char *const good[] = {"/",
                                       "/v1/models/a~b!$&'()*+,;=:@",
                                       "/x?y?z",
                                       "/x#y?z",
                                       "/x?y#z",
                                       "/%41",
                                       "*",
                                       "http://other.example:99/v1",
                                       "http://[::1]:99/v1"};
    static const char *const bad[] = {"/a\"b", "/a<b", "/a>b",   "/a\\b",  "/a^b",      "/a`b",   "/a{b",
                                      "/a|b",  "/a}b", "/a[b",   "/a]b",   "/\xC3\xA9", "/a\x7f", "/%",
                                      "/%4",   "/%4g", "/x?%zz", "/x#y#z", "/x#%"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(tn_target_is_uri((tn_str){good[i], strlen(good[i])}));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(tn_target_is_uri((tn_str){bad[i], strlen(bad[i])}));
    assert_false(tn_target_is_uri((tn_str){"/a\0b", 4}));
    for (unsigned c = 1; c < 256; c++) {
        const char text[] = {'/', (char)c, 'a'};
        const bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z', digit = c >= '0' && c <= '9';
        assert_int_equal(tn_target_is_uri((tn_str){text, sizeof text}),
                         c < 128 && (letter || digit || strchr("-._~!$&'()*+,;=:@/?#", (int)c) != NULL));
    }
}

static void percent_coding_is_checked(void **state)
{
    tn_arena a;
    tn_arena_init(&a, 10000);
    assert_str(tn_percent_decode(TN_STR("half%5Fplus%5ftwo+1"), &a), "half_plus_two+1");
    assert_int_equal(tn_percent_decode(TN_STR("a%00b"), &a).len, 3);
    assert_null(tn_percent_decode(TN_STR("%"), &a).ptr);
    assert_null(tn_percent_decode(TN_STR("a%4"), &a).ptr);
    assert_null(tn_percent_decode(TN_STR("%zz"), &a).ptr);
    assert_str(tn_percent_decode(TN_STR("%41"), &a), "A");
    tn_arena_free(&a);
}

/* PROTOCOL-HTTP2.md: at most 8 digits and a unit. */
static void grpc_timeouts_are_read(void **state)
{
    assert_true(tn_grpc_timeout(TN_STR("100m")) == 100 * TN_NS_PER_MS);
    assert_true(tn_grpc_timeout(TN_STR("2S")) == 2 * TN_NS_PER_S);
    assert_true(tn_grpc_timeout(TN_STR("99999999H")) == INT64_MAX / 4);
    assert_true(tn_grpc_timeout(TN_STR("0n")) == 1);
    assert_true(tn_grpc_timeout(TN_STR("")) == 0);
    assert_true(tn_grpc_timeout(TN_STR("5")) == 0);
    assert_true(tn_grpc_timeout(TN_STR("5x")) == 0);
    assert_true(tn_grpc_timeout(TN_STR("-5m")) == 0);
    assert_true(tn_grpc_timeout(TN_STR("123456789m")) == 0);
}

static size_t deflate_into(unsigned char *out, size_t size, const void *bytes, size_t n)
{
    z_stream z = {
        .next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)size};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t length = size - z.avail_out;
    deflateEnd(&z);
    return length;
}

static void gzip_bodies_are_bounded_as_they_inflate(void **state)
{
    enum { N = 4000000 };
    static unsigned char packed[100000];
    char *zeros = calloc(1, N);
    tn_budget budget;
    tn_region plain;
    tern_status st;
    tn_budget_init(&budget, 8000000);
    size_t n = deflate_into(packed, sizeof packed, zeros, N);
    tn_str body = {(char *)packed, n};
    assert_int_equal(tn_inflate(TN_CONTENT_GZIP, body, &budget, N, &plain, &st), TERN_OK);
    assert_int_equal(plain.len, N);
    tn_region_free(&plain);
    assert_int_equal(tn_inflate(TN_CONTENT_GZIP, body, &budget, N - 1, &plain, &st), TERN_INVALID_ARGUMENT);
    budget.limit = 1000000;
    assert_int_equal(tn_inflate(TN_CONTENT_GZIP, body, &budget, N, &plain, &st), TERN_RESOURCE_EXHAUSTED);
    assert_int_equal(budget.used, 0);
    free(zeros);
}

static void what_is_no_gzip_is_empty(void **state)
{
    static unsigned char packed[1000];
    tn_region plain;
    tern_status st;
    size_t n = deflate_into(packed, sizeof packed, "{}", 2);
    assert_int_equal(tn_inflate(TN_CONTENT_GZIP, (tn_str){(char *)packed, n - 1}, NULL, 100, &plain, &st),
                     TERN_OK);
    assert_int_equal(plain.len, 0);
    packed[n] = 'x'; /* bytes after the member */
    assert_int_equal(tn_inflate(TN_CONTENT_GZIP, (tn_str){(char *)packed, n + 1}, NULL, 100, &plain, &st),
                     TERN_OK);
    assert_int_equal(plain.len, 0);
    assert_int_equal(tn_inflate(TN_CONTENT_GZIP, TN_STR("{\"instances\": []}"), NULL, 100, &plain, &st),
                     TERN_OK);
    assert_int_equal(plain.len, 0);
    assert_int_equal(tn_inflate(TN_CONTENT_GZIP, TN_STR(""), NULL, 100, &plain, &st), TERN_OK);
    assert_int_equal(plain.len, 0);
}

static void histograms_count_and_print(void **state)
{
    static tn_histogram h;
    tn_buf out;
    tn_buf_init(&out, 100000);
    tn_histogram_record(&h, -5);
    tn_histogram_record(&h, 10000);
    tn_histogram_record(&h, 10001);
    tn_histogram_record(&h, INT64_MAX / 2);
    assert_int_equal(tn_histogram_count(&h), 4);
    tn_expo_histogram(&out, "x", TN_STR("a=\"b\""), &h);
    tn_str text = tn_buf_view(&out);
    assert_true(tn_str_find(text, TN_STR("x_bucket{a=\"b\",le=\"1e-05\"} 2\n")) >= 0);
    assert_true(tn_str_find(text, TN_STR("x_bucket{a=\"b\",le=\"1.8e-05\"} 3\n")) >= 0);
    assert_true(tn_str_find(text, TN_STR("x_bucket{a=\"b\",le=\"+Inf\"} 4\n")) >= 0);
    assert_true(tn_str_find(text, TN_STR("x_count{a=\"b\"} 4\n")) >= 0);
    tn_buf_clear(&out);
    tn_expo_escape(&out, TN_STR("a\"b\\c\nd"));
    assert_str(tn_buf_view(&out), "a\\\"b\\\\c\\nd");
    tn_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_are_split),
        cmocka_unit_test(targets_with_characters_of_no_uri_are_known),
        cmocka_unit_test(percent_coding_is_checked),
        cmocka_unit_test(grpc_timeouts_are_read),
        cmocka_unit_test(gzip_bodies_are_bounded_as_they_inflate),
        cmocka_unit_test(what_is_no_gzip_is_empty),
        cmocka_unit_test(histograms_count_and_print),
    };
    return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
