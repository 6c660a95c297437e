/*
 * TensorProtos to tensors by the vectors of tests/vectors/pb_tensor.txt, read at once and in pieces; what is
 * a tensor is written as an answer in both forms and read again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codec/pb_predict.h"
#include "codec/pb_wire.h"

#define LINE_MAX_BYTES 65536

static int hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

static void unhex(tn_str hex, tn_buf *out)
{
    tn_buf_clear(out);
    assert_int_equal(hex.len % 2, 0);
    for (size_t i = 0; i < hex.len; i += 2)
        tn_buf_char(out, (char)(hex_digit(hex.ptr[i]) << 4 | hex_digit(hex.ptr[i + 1])));
}

static void put_hex(tn_buf *out, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        tn_buf_printf(out, "%02x", ((const uint8_t *)bytes)[i]);
}

/* The form that the vectors have. */
static void describe(const tn_named_tensor *named, tn_buf *out)
{
    const tern_tensor *t = &named->tensor;
    tn_buf_clear(out);
    if (!named->valid) {
        tn_buf_z(out, "invalid");
        return;
    }
    tn_buf_printf(out, "%s[", tn_dtype_name(t->dtype));
    for (int32_t i = 0; i < t->rank; i++)
        tn_buf_printf(out, i > 0 ? ",%lld" : "%lld", (long long)t->dims[i]);
    tn_buf_z(out, "]\t");
    int64_t count = tn_tensor_count(t);
    if (t->dtype != TERN_STRING)
        put_hex(out, t->data, t->size);
    for (int64_t i = 0; t->dtype == TERN_STRING && i < count; i++) {
        tn_str s = tn_string_at(t, count, i);
        tn_buf_z(out, i > 0 ? " <" : "<");
        put_hex(out, s.ptr, s.len);
        tn_buf_char(out, '>');
    }
}

/* PredictRequest{inputs: {"x": tensor}} */
static void wrap(tn_str tensor, tn_buf *out)
{
    uint8_t value[20], entry[20];
    size_t n = tn_pb_put_head(value, 2, tensor.len);
    size_t m = tn_pb_put_head(entry, 2, 3 + n + tensor.len);
    tn_buf_clear(out);
    tn_buf_append(out, entry, m);
    tn_buf_z(out, "\x0A\x01x");
    tn_buf_append(out, value, n);
    tn_buf_str(out, tensor);
}

/* Reads the one input of a request that comes in pieces of `step` bytes, each in memory of its own size. */
static const tn_named_tensor *read_in_pieces(tn_str request, size_t step, tn_arena *arena)
{
    const tn_pb_predict_limits limits = {.max_tensor_bytes = 1 << 20, .max_inputs = 1};
    tn_pb_predict_reader *r = tn_pb_predict_new(&limits, arena);
    tern_status st = {0};
    uint32_t n = 0;
    assert_non_null(r);
    for (size_t at = 0; at < request.len; at += step) {
        size_t part = request.len - at < step ? request.len - at : step;
        char *piece = malloc(part);
        assert_non_null(piece);
        memcpy(piece, request.ptr + at, part);
        tern_code code = tn_pb_predict_feed(r, piece, part, &st);
        free(piece);
        assert_int_equal(code, TERN_OK);
    }
    assert_int_equal(tn_pb_predict_finish(r, &st), TERN_OK);
    const tn_named_tensor *input = tn_pb_predict_inputs(r, &n);
    assert_int_equal(n, 1);
    return input;
}

/*
 * The answer's outputs map has the wire form of a request's inputs map but for its field number: 1 becomes 2,
 * and the model_spec behind it is left out.
 */
static void answer_as_request(const tn_named_tensor *t, bool as_content, tn_arena *arena, tn_buf *out)
{
    const tn_str alias = TN_STR("x"), model = TN_STR("m");
    tn_piece *pieces;
    uint32_t n;
    size_t total;
    tern_status st;
    tn_buf_clear(out);
    assert_int_equal(tn_pb_encode_predict(model, 7, TN_STR("s"), &alias, &t->tensor, 1, as_content, arena,
                                          &pieces, &n, &total, &st),
                     TERN_OK);
    for (uint32_t i = 0; i + 1 < n; i++) /* the last piece is the model_spec */
        tn_buf_append(out, pieces[i].ptr, pieces[i].len);
    assert_int_equal(out->len + pieces[n - 1].len, total);
    assert_int_equal(out->ptr[0], 1 << 3 | TN_PB_BYTES);
    out->ptr[0] = 2 << 3 | TN_PB_BYTES;
}

static void hold(tn_str tensor, tn_str want)
{
    tn_buf request, got;
    tn_arena a;
    tn_buf_init(&request, 1 << 20);
    tn_buf_init(&got, 1 << 20);
    wrap(tensor, &request);
    for (size_t step = 1; step < request.len + 4; step += step < 9 ? 1 : 1 + request.len / 3) {
        tn_arena_init(&a, 4 << 20);
        describe(read_in_pieces(tn_buf_view(&request), step, &a), &got);
        if (!tn_str_eq(tn_buf_view(&got), want))
            fail_msg("step %zu: %.*s but %.*s is wanted", step, TN_FMT(tn_buf_view(&got)), TN_FMT(want));
        tn_arena_free(&a);
    }
    for (int as_content = 0; as_content < 2; as_content++) {
        tn_arena_init(&a, 4 << 20);
        const tn_named_tensor *t = read_in_pieces(tn_buf_view(&request), request.len, &a);
        if (t->valid) {
            tn_buf again;
            tn_buf_init(&again, 1 << 20);
            answer_as_request(t, as_content, &a, &again);
            describe(read_in_pieces(tn_buf_view(&again), 5, &a), &got);
            tn_buf_free(&again);
            assert_true(tn_str_eq(tn_buf_view(&got), want));
        }
        tn_arena_free(&a);
    }
    tn_buf_free(&request);
    tn_buf_free(&got);
}

static void vectors_hold_in_pieces_and_back(void **state)
{
    static char line[LINE_MAX_BYTES];
    FILE *f = fopen("tests/vectors/pb_tensor.txt", "r");
    int n = 0;
    tn_buf tensor;
    assert_non_null(f);
    tn_buf_init(&tensor, 1 << 20);
    while (fgets(line, sizeof line, f) != NULL) {
        tn_str text = tn_str_from(line);
        assert_true(tn_str_ends(text, TN_STR("\n")));
        text.len--;
        ptrdiff_t tab = tn_str_chr(text, '\t');
        if (text.len == 0 || text.ptr[0] == '#')
            continue;
        assert_true(tab >= 0);
        unhex(tn_str_sub(text, 0, (size_t)tab), &tensor);
        hold(tn_buf_view(&tensor), tn_str_sub(text, (size_t)tab + 1, text.len));
        n++;
    }
    fclose(f);
    tn_buf_free(&tensor);
    assert_true(n > 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors_hold_in_pieces_and_back)};
    return cmocka_run_group_tests_name("pb_tensor", tests, NULL, NULL);
}
