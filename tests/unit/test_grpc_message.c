/* Unit tests of codec/grpc_message: codings by name, messages however they are cut, errors, compression. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codec/grpc_message.h"

#define MAX 1000

/* "hello hello hello hello" */
static const unsigned char gzipped[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03,
                                        0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x57, 0xc8, 0x40, 0x27, 0x01,
                                        0xe3, 0x51, 0x3d, 0x8d, 0x17, 0x00, 0x00, 0x00};
static const char plain[] = "hello hello hello hello";

typedef struct outcome {
    tern_code code;
    char text[4096];
    size_t len;
    int begun, ended;
    bool at_end;
    tern_status st;
} outcome;

static void feed(outcome *o, tn_coding coding, const void *bytes, size_t n, size_t step, size_t room_size)
{
    char room[256];
    tn_arena arena;
    memset(o, 0, sizeof *o);
    tn_arena_init(&arena, 1u << 20);
    tn_grpc_reader *r = tn_grpc_reader_new(coding, MAX, &arena);
    for (size_t at = 0; at < n && o->code == TERN_OK; at += step) {
        const char *p = (const char *)bytes + at;
        size_t left = n - at < step ? n - at : step;
        tn_grpc_event event = TN_GRPC_BEGIN;
        while (event != TN_GRPC_NEED && o->code == TERN_OK) {
            tn_str piece;
            o->code = tn_grpc_read(r, &p, &left, room, room_size, &event, &piece, &o->st);
            memcpy(o->text + o->len, piece.ptr != NULL ? piece.ptr : "", piece.len);
            o->len += piece.len;
            o->begun += o->code == TERN_OK && event == TN_GRPC_BEGIN;
            o->ended += o->code == TERN_OK && event == TN_GRPC_END;
        }
    }
    o->at_end = tn_grpc_at_end(r);
    tn_arena_free(&arena);
}

/* One message behind its prefix; returns the length of all. */
static size_t framed(unsigned char *out, int flag, const void *bytes, size_t n)
{
    out[0] = (unsigned char)flag;
    for (int i = 0; i < 4; i++)
        out[1 + i] = (unsigned char)(n >> (24 - 8 * i));
    memcpy(out + 5, bytes, n);
    return n + 5;
}

static void codings_have_names(void **state)
{
    assert_int_equal(tn_coding_of(TN_STR_NONE), TN_CODING_IDENTITY);
    assert_int_equal(tn_coding_of(TN_STR("gzip")), TN_CODING_GZIP);
    assert_int_equal(tn_coding_of(TN_STR("deflate")), TN_CODING_DEFLATE);
    assert_int_equal(tn_coding_of(TN_STR("snappy")), TN_CODING_UNKNOWN);
    assert_int_equal(tn_coding_of(TN_STR("")), TN_CODING_UNKNOWN);
    assert_true(tn_coding_accepted(TN_STR("identity, deflate,gzip"), TN_CODING_GZIP));
    assert_true(tn_coding_accepted(TN_STR(" gzip "), TN_CODING_GZIP));
    assert_false(tn_coding_accepted(TN_STR("identity,gzipped"), TN_CODING_GZIP));
    assert_false(tn_coding_accepted(TN_STR(""), TN_CODING_GZIP));
    assert_false(tn_coding_accepted(TN_STR_NONE, TN_CODING_GZIP));
}

static void messages_come_out_however_they_are_cut(void **state)
{
    unsigned char bytes[200];
    size_t n = framed(bytes, 1, gzipped, sizeof gzipped);
    n += framed(bytes + n, 0, "plain", 5);
    n += framed(bytes + n, 0, "", 0);
    n += framed(bytes + n, 1, gzipped, sizeof gzipped);
    for (size_t step = 1; step <= n; step++)
        for (size_t room = 1; room < 40; room += 6) {
            outcome o;
            feed(&o, TN_CODING_GZIP, bytes, n, step, room);
            assert_int_equal(o.code, TERN_OK);
            assert_int_equal(o.begun, 4);
            assert_int_equal(o.ended, 4);
            assert_true(o.at_end);
            assert_int_equal(o.len, 2 * strlen(plain) + 5);
            assert_memory_equal(o.text,
                                "hello hello hello hello"
                                "plain"
                                "hello hello hello hello",
                                o.len);
        }
}

static void a_cut_message_is_no_end(void **state)
{
    unsigned char bytes[100];
    size_t n = framed(bytes, 1, gzipped, sizeof gzipped);
    for (size_t i = 1; i < n; i++) {
        outcome o;
        feed(&o, TN_CODING_GZIP, bytes, i, i, 100);
        assert_int_equal(o.code, TERN_OK);
        assert_int_equal(o.ended, 0);
        assert_false(o.at_end);
    }
}

static void check_error(tn_coding coding, int flag, const void *bytes, size_t n, tern_code code,
                        const char *words)
{
    unsigned char message[3000];
    outcome o;
    size_t whole = framed(message, flag, bytes, n);
    for (size_t step = 1; step <= whole; step += step < 40 ? 3 : 500) {
        feed(&o, coding, message, whole, step, 100);
        assert_int_equal(o.code, code);
        assert_non_null(strstr(o.st.message, words));
    }
}

static void errors_say_what_is_wrong(void **state)
{
    unsigned char more[sizeof gzipped + 1] = {0};
    memcpy(more, gzipped, sizeof gzipped);
    check_error(TN_CODING_GZIP, 2, "abc", 3, TERN_INTERNAL, "Bad GRPC frame type 0x02");
    check_error(TN_CODING_IDENTITY, 1, "abc", 3, TERN_INTERNAL, "no grpc-encoding");
    check_error(TN_CODING_GZIP, 1, "abc", 3, TERN_INTERNAL, "algorithm gzip");
    check_error(TN_CODING_DEFLATE, 1, gzipped, sizeof gzipped, TERN_INTERNAL, "algorithm deflate");
    check_error(TN_CODING_GZIP, 1, gzipped, sizeof gzipped - 1, TERN_INTERNAL, "ends too early");
    check_error(TN_CODING_GZIP, 1, "", 0, TERN_INTERNAL, "ends too early");
    check_error(TN_CODING_GZIP, 1, more, sizeof more, TERN_INTERNAL, "bytes follow");
    char large[MAX + 1] = {0};
    check_error(TN_CODING_IDENTITY, 0, large, sizeof large, TERN_RESOURCE_EXHAUSTED,
                "larger than max (1001 vs. 1000)");
}

static void bombs_end_at_the_limit(void **state)
{
    char zeros[100000] = {0};
    const tn_piece whole = {zeros, sizeof zeros};
    tn_buf out;
    tn_buf_init(&out, 1u << 20);
    assert_true(tn_grpc_compress(TN_CODING_DEFLATE, &whole, 1, &out));
    assert_true(out.len < MAX);
    check_error(TN_CODING_DEFLATE, 1, out.ptr, out.len, TERN_RESOURCE_EXHAUSTED, "larger than max");
    tn_buf_free(&out);
}

static void answers_are_compressed_where_it_pays(void **state)
{
    char text[900];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "tern "[i % 5];
    const tn_piece pieces[] = {{text, 1}, {text + 1, 0}, {text + 1, 500}, {text + 501, 399}};
    const tn_coding both[] = {TN_CODING_GZIP, TN_CODING_DEFLATE};
    for (int i = 0; i < 2; i++) {
        unsigned char message[1000];
        outcome o;
        tn_buf out;
        tn_buf_init(&out, 1u << 20);
        assert_true(tn_grpc_compress(both[i], pieces, 4, &out));
        size_t n = framed(message, 1, out.ptr, out.len);
        feed(&o, both[i], message, n, 10, 100);
        assert_int_equal(o.code, TERN_OK);
        assert_int_equal(o.len, sizeof text);
        assert_memory_equal(o.text, text, sizeof text);
        tn_buf_free(&out);
    }
    tn_buf out;
    const tn_piece small = {"abc", 3};
    tn_buf_init(&out, 1u << 20);
    tn_buf_z(&out, "before");
    assert_false(tn_grpc_compress(TN_CODING_GZIP, &small, 1, &out));
    assert_false(tn_grpc_compress(TN_CODING_IDENTITY, pieces, 4, &out));
    assert_false(tn_grpc_compress(TN_CODING_GZIP, &small, 0, &out));
    assert_int_equal(out.len, 6);
    tn_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codings_have_names),      cmocka_unit_test(messages_come_out_however_they_are_cut),
        cmocka_unit_test(a_cut_message_is_no_end), cmocka_unit_test(errors_say_what_is_wrong),
        cmocka_unit_test(bombs_end_at_the_limit),  cmocka_unit_test(answers_are_compressed_where_it_pays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
