/* Unit tests of the pure parts behind REST's other forms: Accept fields, content codings, npy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zlib.h>
#include <zstd.h>

#include "api/coding.h"
#include "codec/npy.h"

/* ---- Accept ---- */

static void accept_fields_choose_the_form(void **state)
{
    static const struct {
        const char *field;
        tn_media usual, want;
    } cases[] = {
        {"", TN_MEDIA_JSON, TN_MEDIA_JSON},
        {"*/*", TN_MEDIA_PROTOBUF, TN_MEDIA_PROTOBUF},
        {"application/*", TN_MEDIA_PROTOBUF, TN_MEDIA_PROTOBUF},
        {"text/html, image/png;q=0.5", TN_MEDIA_JSON, TN_MEDIA_JSON},
        {"application/json", TN_MEDIA_PROTOBUF, TN_MEDIA_JSON},
        {"application/json;format=compact", TN_MEDIA_JSON, TN_MEDIA_COMPACT},
        {"Application/JSON ; Format=\"compact\" ; q=0.9 , */*;q=0.1", TN_MEDIA_JSON, TN_MEDIA_COMPACT},
        {"application/json;format=pretty, application/json;format=compact;q=0.5", TN_MEDIA_JSON,
         TN_MEDIA_JSON},
        {"application/x-npy", TN_MEDIA_JSON, TN_MEDIA_NPY},
        {"application/x-npy, */*", TN_MEDIA_JSON, TN_MEDIA_NPY},
        {"application/x-npy;q=0.5, */*", TN_MEDIA_JSON, TN_MEDIA_JSON},
        {"application/x-npy;q=0, */*;q=0", TN_MEDIA_JSON, TN_MEDIA_JSON},
        {"application/json, application/x-npy", TN_MEDIA_JSON, TN_MEDIA_JSON},
        {"application/x-npy, application/json", TN_MEDIA_JSON, TN_MEDIA_NPY},
        {"application/json;q=0.2, application/x-protobuf;q=0.3", TN_MEDIA_JSON, TN_MEDIA_PROTOBUF},
        {"application/json;q=0.301,application/protobuf;q=0.3", TN_MEDIA_NPY, TN_MEDIA_JSON},
        {"application/json;q=2, application/x-npy;q=0.001", TN_MEDIA_JSON, TN_MEDIA_NPY},
        {"application/json;q=0.1234, application/x-npy;q=.9,application/x-protobuf;q=0.001", TN_MEDIA_JSON,
         TN_MEDIA_PROTOBUF},
        {"text/x;a=\"application/x-npy, \\\" application/x-npy\"", TN_MEDIA_JSON, TN_MEDIA_JSON},
        {",,;;=\",", TN_MEDIA_JSON, TN_MEDIA_JSON},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_accept a;
        tn_accept_init(&a);
        tn_accept_add(&a, tn_str_from(cases[i].field));
        if (tn_accept_choose(&a, cases[i].usual) != cases[i].want)
            fail_msg("%s: %d for %d", cases[i].field, tn_accept_choose(&a, cases[i].usual), cases[i].want);
    }
    tn_accept two;
    tn_accept_init(&two);
    tn_accept_add(&two, TN_STR("text/html"));
    tn_accept_add(&two, TN_STR("application/x-npy"));
    assert_int_equal(tn_accept_choose(&two, TN_MEDIA_JSON), TN_MEDIA_NPY);
    assert_int_equal(tn_media_of(TN_STR("application/X-NPY; charset=x")), TN_MEDIA_NPY);
    assert_int_equal(tn_media_of(TN_STR("application/vnd.google.protobuf")), TN_MEDIA_PROTOBUF);
    assert_int_equal(tn_media_of(TN_STR("text/plain")), TN_MEDIA_JSON);
}

static void accept_encodings_choose_the_coding(void **state)
{
    static const struct {
        const char *field;
        tn_content_coding want;
        bool must;
    } cases[] = {
        {"", TN_CONTENT_IDENTITY, false},
        {"gzip", TN_CONTENT_GZIP, false},
        {"x-gzip", TN_CONTENT_GZIP, false},
        {"gzip, deflate, br, zstd", TN_CONTENT_ZSTD, false},
        {"gzip;q=1.0, zstd;q=0.9", TN_CONTENT_GZIP, false},
        {"GZIP;q=0.5", TN_CONTENT_GZIP, false},
        {"gzip;q=0", TN_CONTENT_IDENTITY, false},
        {"deflate, br", TN_CONTENT_IDENTITY, false},
        {"*", TN_CONTENT_ZSTD, false},
        {"*;q=0.1, zstd;q=0", TN_CONTENT_GZIP, false},
        {"identity, gzip;q=0.5", TN_CONTENT_IDENTITY, false},
        {"identity;q=0.5, gzip;q=0.5", TN_CONTENT_GZIP, false},
        {"gzip, identity;q=0", TN_CONTENT_GZIP, true},
        {"gzip;q=0.1, *;q=0", TN_CONTENT_GZIP, true},
        {"identity;q=0, *;q=0", TN_CONTENT_IDENTITY, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_accept_coding a;
        bool must;
        tn_accept_coding_init(&a);
        tn_accept_coding_add(&a, tn_str_from(cases[i].field));
        if (tn_accept_coding_choose(&a, &must) != cases[i].want || must != cases[i].must)
            fail_msg("%s: %d, must %d", cases[i].field, tn_accept_coding_choose(&a, &must), must);
    }
    assert_int_equal(tn_content_coding_of(TN_STR("")), TN_CONTENT_IDENTITY);
    assert_int_equal(tn_content_coding_of(TN_STR("identity")), TN_CONTENT_IDENTITY);
    assert_int_equal(tn_content_coding_of(TN_STR("GZip ")), TN_CONTENT_GZIP);
    assert_int_equal(tn_content_coding_of(TN_STR("identity, zstd,")), TN_CONTENT_ZSTD);
    assert_int_equal(tn_content_coding_of(TN_STR("gzip, gzip")), TN_CONTENT_UNKNOWN);
    assert_int_equal(tn_content_coding_of(TN_STR("br")), TN_CONTENT_UNKNOWN);
}

/* ---- codings ---- */

static void what_is_compressed_inflates_again(void **state)
{
    static char text[300000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)("0123456789, []"[(i * 7 + i / 13) % 14]);
    const tn_chunk chunks[] = {{text, 1000}, {text + 1000, 0}, {text + 1000, sizeof text - 1000}};
    for (int coding = TN_CONTENT_GZIP; coding < TN_CONTENT_CODINGS; coding++) {
        tn_buf packed;
        tn_region plain;
        tern_status st;
        if (coding == TN_CONTENT_DEFLATE)
            continue; /* never sent */
        tn_buf_init(&packed, 1u << 20);
        assert_true(tn_compress((tn_content_coding)coding, chunks, 3, &packed));
        assert_true(packed.len < sizeof text / 3);
        assert_int_equal(
            tn_inflate((tn_content_coding)coding, tn_buf_view(&packed), NULL, sizeof text + 100, &plain, &st),
            TERN_OK);
        assert_int_equal(plain.len, sizeof text);
        assert_memory_equal(plain.ptr, text, sizeof text);
        tn_region_free(&plain);
        /* Cut off, or with bytes behind it: no whole stream. */
        assert_int_equal(tn_inflate((tn_content_coding)coding,
                                    tn_str_sub(tn_buf_view(&packed), 0, packed.len - 1), NULL,
                                    sizeof text + 100, &plain, &st),
                         TERN_OK);
        assert_null(plain.ptr);
        tn_buf_char(&packed, 'x');
        assert_int_equal(
            tn_inflate((tn_content_coding)coding, tn_buf_view(&packed), NULL, sizeof text + 100, &plain, &st),
            TERN_OK);
        assert_null(plain.ptr);
        tn_buf_free(&packed);
        tn_buf_init(&packed, 10000); /* too small */
        assert_false(tn_compress((tn_content_coding)coding, chunks, 3, &packed));
        tn_buf_free(&packed);
    }
}

static void deflate_comes_with_and_without_a_head(void **state)
{
    for (int window = -15; window <= 15; window += 30) {
        unsigned char packed[200];
        tn_region plain;
        tern_status st;
        z_stream z = {.next_in = (Bytef *)(uintptr_t) "hello hello hello", .avail_in = 17};
        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
        z.next_out = packed;
        z.avail_out = sizeof packed;
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        tn_str body = {(char *)packed, sizeof packed - z.avail_out};
        deflateEnd(&z);
        assert_int_equal(tn_inflate(TN_CONTENT_DEFLATE, body, NULL, 100, &plain, &st), TERN_OK);
        assert_int_equal(plain.len, 17);
        assert_memory_equal(plain.ptr, "hello hello hello", 17);
        tn_region_free(&plain);
    }
}

/* A little that would inflate to much is stopped at the limit, and nothing of the budget is kept. */
static void bombs_are_bounded_as_they_inflate(void **state)
{
    enum { N = 64 << 20 };
    char *zeros = calloc(1, N);
    const tn_chunk chunk = {zeros, N};
    for (int i = 0; i < 2; i++) {
        const tn_content_coding coding = i == 0 ? TN_CONTENT_GZIP : TN_CONTENT_ZSTD;
        tn_buf packed;
        tn_budget budget;
        tn_region plain;
        tern_status st;
        tn_buf_init(&packed, 4u << 20);
        assert_true(tn_compress(coding, &chunk, 1, &packed));
        tn_budget_init(&budget, 8 << 20);
        assert_int_equal(tn_inflate(coding, tn_buf_view(&packed), &budget, 1 << 20, &plain, &st),
                         TERN_INVALID_ARGUMENT);
        assert_int_equal(budget.used, 0);
        assert_int_equal(tn_inflate(coding, tn_buf_view(&packed), &budget, N, &plain, &st),
                         TERN_RESOURCE_EXHAUSTED);
        assert_int_equal(budget.used, 0);
        tn_buf_free(&packed);
    }
    free(zeros);
}

/* A frame that wants a window of 128 MB is refused before there is one. */
static void zstd_windows_have_a_limit(void **state)
{
    static char text[1000];
    char packed[2000];
    tn_region plain;
    tern_status st;
    ZSTD_CCtx *z = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, 27);
    ZSTD_inBuffer in = {text, sizeof text, 0};
    ZSTD_outBuffer out = {packed, sizeof packed, 0};
    assert_int_equal(ZSTD_compressStream2(z, &out, &in, ZSTD_e_flush) > 0, 0);
    assert_int_equal(ZSTD_compressStream2(z, &out, &in, ZSTD_e_end), 0);
    ZSTD_freeCCtx(z);
    assert_int_equal(tn_inflate(TN_CONTENT_ZSTD, (tn_str){packed, out.pos}, NULL, 1 << 20, &plain, &st),
                     TERN_OK);
    assert_null(plain.ptr);
}

/* ---- npy ---- */

/* version 1.0 with this dictionary and so many zero bytes behind it */
static tn_str npy(char *to, const char *head, size_t zeros)
{
    size_t n = strlen(head);
    memcpy(to, "\x93NUMPY\1\0", 8);
    to[8] = (char)n;
    to[9] = (char)(n >> 8);
    memcpy(to + 10, head, n);
    memset(to + 10 + n, 0, zeros);
    return (tn_str){to, 10 + n + zeros};
}

static void npy_headers_are_read(void **state)
{
    static const struct {
        const char *head;
        size_t zeros;
        tern_dtype dtype;
        int32_t rank;
        int64_t count;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }          \n", 24, TERN_FLOAT, 2, 6},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n", 8, TERN_DOUBLE, 0, 1},
        {"{'descr': '|b1', 'fortran_order': False, 'shape': (5,), }\n", 5, TERN_BOOL, 1, 5},
        {"{'descr':'|u1','fortran_order':False,'shape':(0,7)}", 0, TERN_UINT8, 2, 0},
        {"{\"shape\": (3L,), \"fortran_order\": True, \"descr\": \"<i8\"}", 24, TERN_INT64, 1, 3},
        {"{'descr': '>i1', 'fortran_order': False, 'shape': (1,), }", 1, TERN_INT8, 1, 1},
        {"{'descr': '<V2', 'fortran_order': False, 'shape': (2,), }", 4, TERN_BFLOAT16, 1, 2},
        {"{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }", 4, TERN_HALF, 1, 2},
        {"{'descr': '<c16', 'fortran_order': False, 'shape': (1,), }", 16, TERN_COMPLEX128, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[400];
        tn_npy out;
        tern_status st;
        tn_str body = npy(text, cases[i].head, cases[i].zeros);
        if (tn_npy_read(body, &out, &st) != TERN_OK)
            fail_msg("%s: %s", cases[i].head, st.message);
        assert_int_equal(out.dtype, cases[i].dtype);
        assert_int_equal(out.rank, cases[i].rank);
        assert_int_equal(out.count, cases[i].count);
        assert_int_equal(out.data.len, cases[i].zeros);
    }
}

static void npy_faults_are_named(void **state)
{
    static const struct {
        const char *head;
        size_t zeros;
        const char *words;
    } cases[] = {
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", 4, "big-endian"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }", 4, "numpy.ascontiguousarray"},
        {"{'descr': '<U5', 'fortran_order': False, 'shape': (1,), }", 20, "strings and objects"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8, "strings and objects"},
        {"{'descr': '|S3', 'fortran_order': False, 'shape': (1,), }", 3, "strings and objects"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4, "structures"},
        {"{'descr': '<m8[ns]', 'fortran_order': False, 'shape': (1,), }", 8, "dtype \"<m8[ns]\""},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4,
         "want 8 bytes of elements, and 4 came"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 5,
         "want 4 bytes of elements, and 5 came"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4, "whole numbers"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 4,
         "too many elements"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 1), }", 4,
         "too many elements"},
        {"{'descr': '<f4', 'shape': (1,), }", 4, "dictionary"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", 4, "dictionary"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", 4, "dictionary"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 1}", 4, "dictionary"},
        {"{'other': 1}", 4, "dictionary"},
        {"", 4, "dictionary"},
    };
    char text[400];
    tn_npy out;
    tern_status st;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_str body = npy(text, cases[i].head, cases[i].zeros);
        assert_int_equal(tn_npy_read(body, &out, &st), TERN_INVALID_ARGUMENT);
        if (strstr(st.message, cases[i].words) == NULL)
            fail_msg("%s: %s", cases[i].head, st.message);
    }
    tn_str body = npy(text, cases[0].head, 4);
    text[6] = 4;
    assert_int_equal(tn_npy_read(body, &out, &st), TERN_INVALID_ARGUMENT);
    text[6] = 1;
    text[9] = 90;
    assert_int_equal(tn_npy_read(body, &out, &st), TERN_INVALID_ARGUMENT);
    assert_int_equal(tn_npy_read(TN_STR("\x93NUMPY"), &out, &st), TERN_INVALID_ARGUMENT);
    assert_int_equal(tn_npy_read(TN_STR("{\"instances\": [1]}"), &out, &st), TERN_INVALID_ARGUMENT);
    assert_int_equal(tn_npy_read(TN_STR(""), &out, &st), TERN_INVALID_ARGUMENT);
}

/* What is written is what numpy writes, and reads back. */
static void npy_heads_are_numpys(void **state)
{
    int64_t dims[TERN_MAX_RANK] = {2, 3};
    float values[6] = {0};
    tern_tensor t = {.dtype = TERN_FLOAT, .rank = 2, .dims = dims, .data = values, .size = sizeof values};
    tn_buf out;
    tn_npy back;
    tern_status st;
    tn_buf_init(&out, 1u << 20);
    assert_true(tn_npy_write_head(&t, &out));
    static const char want[] =
        "\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    assert_int_equal(out.len, 128);
    assert_memory_equal(out.ptr, want, sizeof want - 1);
    assert_int_equal(out.ptr[127], '\n');
    tn_buf_append(&out, values, sizeof values);
    assert_int_equal(tn_npy_read(tn_buf_view(&out), &back, &st), TERN_OK);
    assert_int_equal(back.rank, 2);
    tn_buf_clear(&out);
    for (int32_t i = 0; i < TERN_MAX_RANK; i++)
        dims[i] = 0;
    t = (tern_tensor){.dtype = TERN_BOOL, .rank = TERN_MAX_RANK, .dims = dims};
    assert_true(tn_npy_write_head(&t, &out));
    assert_int_equal(tn_npy_read(tn_buf_view(&out), &back, &st), TERN_OK);
    assert_int_equal(back.rank, TERN_MAX_RANK);
    t.dtype = TERN_STRING;
    assert_false(tn_npy_write_head(&t, &out));
    tn_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_fields_choose_the_form),
        cmocka_unit_test(accept_encodings_choose_the_coding),
        cmocka_unit_test(what_is_compressed_inflates_again),
        cmocka_unit_test(deflate_comes_with_and_without_a_head),
        cmocka_unit_test(bombs_are_bounded_as_they_inflate),
        cmocka_unit_test(zstd_windows_have_a_limit),
        cmocka_unit_test(npy_headers_are_read),
        cmocka_unit_test(npy_faults_are_named),
        cmocka_unit_test(npy_heads_are_numpys),
    };
    return cmocka_run_group_tests_name("rest", tests, NULL, NULL);
}
