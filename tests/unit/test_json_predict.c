/*
 * Predict bodies to tensors by the vectors of tests/vectors/json_predict.txt, by both readers; answers in the
 * recorded layouts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/status.h"
#include "codec/json_explain.h"
#include "codec/json_predict.h"

#define IO(alias, type)                                                                                      \
    {                                                                                                        \
        .name = TN_STR_INIT(alias), .dtype = (type), .rank = -1                                              \
    }

#define COUNT(a) (uint32_t)(sizeof(a) / sizeof((a)[0]))

static const tern_io x_float[] = {IO("x", TERN_FLOAT)};
static const tern_io x_int[] = {IO("x", TERN_INT32)};
static const tern_io x_text[] = {IO("x", TERN_STRING)};
static const tern_io two[] = {IO("a", TERN_FLOAT), IO("b", TERN_INT32)};
static const tern_io b64_alias[] = {IO("b64", TERN_STRING)};
static const tern_io half_x[] = {IO("x", TERN_HALF)};
static const tern_io brain_x[] = {IO("x", TERN_BFLOAT16)};
static const tern_io short_x[] = {IO("x", TERN_UINT16)};
static const tern_io two_texts[] = {IO("s", TERN_STRING), IO("t", TERN_STRING)};
static const tern_signature signatures[] = {
    {.name = TN_STR_INIT("alias"), .inputs = b64_alias, .n_inputs = 1},
    {.name = TN_STR_INIT("brain"), .inputs = brain_x, .n_inputs = 1},
    {.name = TN_STR_INIT("half"), .inputs = half_x, .n_inputs = 1},
    {.name = TN_STR_INIT("ints"), .inputs = x_int, .n_inputs = 1},
    {.name = TN_STR_INIT("none")},
    {.name = TN_STR_INIT("serving_default"), .inputs = x_float, .n_inputs = 1},
    {.name = TN_STR_INIT("short"), .inputs = short_x, .n_inputs = 1},
    {.name = TN_STR_INIT("text"), .inputs = x_text, .n_inputs = 1},
    {.name = TN_STR_INIT("texts"), .inputs = two_texts, .n_inputs = 2},
    {.name = TN_STR_INIT("two"), .inputs = two, .n_inputs = 2},
};
static const tern_signature_set set = {.signatures = signatures, .n_signatures = COUNT(signatures)};
static const tn_json_limits limits = {
    .max_depth = 1000, .max_tensor_bytes = 1 << 20, .max_tape_bytes = 64 << 20};

static void print_element(tn_buf *out, const tern_tensor *t, int64_t i)
{
    if (t->dtype == TERN_FLOAT) {
        tn_buf_printf(out, "%.9g", (double)((const float *)t->data)[i]);
    } else if (t->dtype == TERN_INT32) {
        tn_buf_i64(out, ((const int32_t *)t->data)[i]);
    } else {
        tn_str s = tn_string_at(t, tn_tensor_count(t), i);
        tn_buf_char(out, '<');
        for (size_t k = 0; k < s.len; k++)
            tn_buf_printf(out, "%02x", (unsigned char)s.ptr[k]);
        tn_buf_char(out, '>');
    }
}

/* The form that the vectors have. */
static void print_result(tn_buf *out, tern_code code, const tn_predict *p, const tern_status *st)
{
    if (code != TERN_OK) {
        tn_buf_printf(out, "%s %s", tn_code_name(code), st->message);
        return;
    }
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        const tern_tensor *t = &p->inputs[i];
        tn_buf_printf(out, "%s%.*s:%s[", i > 0 ? " " : "", TN_FMT(p->signature->inputs[i].name),
                      tn_dtype_name(t->dtype));
        for (int32_t d = 0; d < t->rank; d++)
            tn_buf_printf(out, "%s%lld", d > 0 ? "," : "", (long long)t->dims[d]);
        tn_buf_z(out, "]=");
        for (int64_t k = 0; k < tn_tensor_count(t); k++) {
            if (k > 0)
                tn_buf_char(out, ' ');
            print_element(out, t, k);
        }
    }
}

typedef tern_code (*reader)(tn_str, const tern_signature_set *, const tn_json_limits *, tn_arena *,
                            tn_predict *, tern_status *);

static void check_vector(tn_str body, tn_str want, reader read)
{
    tn_arena arena;
    tn_predict p;
    tern_status st;
    tn_buf got;
    tn_arena_init(&arena, 1u << 20);
    tn_buf_init(&got, 1u << 20);
    tern_code code = read(body, &set, &limits, &arena, &p, &st);
    print_result(&got, code, &p, &st);
    if (!tn_str_eq(tn_buf_view(&got), want))
        fail_msg("%.*s\n  want %.*s\n  got  %.*s", TN_FMT(body), TN_FMT(want), TN_FMT(tn_buf_view(&got)));
    tn_predict_release(&p);
    tn_buf_free(&got);
    tn_arena_free(&arena);
}

static void vectors_hold_for_both_readers(void **state)
{
    static char text[1 << 16];
    FILE *f = fopen("tests/vectors/json_predict.txt", "r");
    assert_non_null(f);
    size_t length = fread(text, 1, sizeof text, f);
    fclose(f);
    assert_true(length < sizeof text);
    int checked = 0;
    for (tn_str rest = {text, length}; rest.len > 0;) {
        ptrdiff_t end = tn_str_chr(rest, '\n');
        tn_str line = tn_str_sub(rest, 0, end >= 0 ? (size_t)end : rest.len);
        rest = tn_str_sub(rest, line.len + 1, rest.len);
        ptrdiff_t tab = tn_str_chr(line, '\t');
        if (tn_str_starts(line, TN_STR("#")) || tab < 0)
            continue;
        tn_str body = tn_str_sub(line, 0, (size_t)tab), want = tn_str_sub(line, (size_t)tab + 1, line.len);
        check_vector(body, want, tn_json_decode_predict);
        check_vector(body, want, tn_json_explain);
        checked++;
    }
    assert_true(checked > 40);
}

/*
 * A body that arrives `step` bytes at a time (0: as asked for), up to `stop`; digits lie where nothing is
 * yet.
 */
typedef struct sender {
    tn_str whole;
    char *there;
    size_t have, step, stop;
} sender;

static size_t arrived(void *context, size_t n)
{
    sender *s = context;
    size_t to = s->step == 0 ? n : s->have + s->step;
    assert_true(n <= s->whole.len && n > s->have);
    to = to < s->stop ? to : s->stop;
    memcpy(s->there + s->have, s->whole.ptr + s->have, to - s->have);
    return s->have = to;
}

/* Reads it so; what was accepted is what the whole body gives. */
static bool check_arriving(tn_str body, size_t step, size_t stop)
{
    static const tn_json_limits room = {
        .max_depth = 1000, .max_tensor_bytes = 64 << 20, .max_tape_bytes = 64 << 20};
    tn_arena arena;
    tn_predict p, q;
    tern_status st;
    sender s = {.whole = body, .there = malloc(body.len + 1), .step = step, .stop = stop};
    assert_non_null(s.there);
    memset(s.there, '7', body.len);
    tn_arena_init(&arena, 1u << 20);
    const bool read =
        tn_json_decode_arriving((tn_str){s.there, body.len}, arrived, &s, &set, &room, &arena, &p);
    if (read) {
        assert_int_equal(tn_json_decode_predict(body, &set, &room, &arena, &q, &st), TERN_OK);
        assert_ptr_equal(p.signature, q.signature);
        assert_int_equal(p.row, q.row);
        assert_int_equal(p.n_inputs, q.n_inputs);
        for (uint32_t i = 0; i < p.n_inputs; i++) {
            assert_int_equal(p.inputs[i].rank, q.inputs[i].rank);
            assert_memory_equal(p.inputs[i].dims, q.inputs[i].dims,
                                (size_t)p.inputs[i].rank * sizeof(int64_t));
            assert_int_equal(p.inputs[i].size, q.inputs[i].size);
            assert_memory_equal(p.inputs[i].data, q.inputs[i].data, p.inputs[i].size);
        }
        tn_predict_release(&q);
    }
    tn_predict_release(&p);
    tn_arena_free(&arena);
    free(s.there);
    return read;
}

/* However a body comes; and a part of it is never taken for the whole. */
static void arriving_bodies_are_read_as_whole_ones(void **state)
{
    static const char *const bodies[] = {
        "{\"instances\": [1.5, 2, 3e2, -0.25]}",
        " { \"signature_name\" : \"ints\" , \"inputs\" : [ [ 1 , 22 ] , [ 333 , -4444 ] ] } ",
        "{\"signature_name\": \"two\", \"instances\": [{\"a\": 1, \"b\": [12]}, {\"a\": 2.5, \"b\": [34]}]}",
        "{\"signature_name\": \"two\", \"inputs\": {\"b\": 7, \"a\": [0.125]}}",
        "{\"signature_name\": \"texts\", \"inputs\": {\"s\": [\"ab\", \"\"], \"t\": \"cde\"}}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const tn_str body = tn_str_from(bodies[i]);
        const size_t end = (size_t)(strrchr(bodies[i], '}') - bodies[i]) + 1;
        for (size_t step = 0; step < 20; step++)
            assert_true(check_arriving(body, step, body.len));
        for (size_t stop = 0; stop < end; stop++)
            assert_false(check_arriving(body, stop % 5, stop));
    }
}

static void long_bodies_arrive_in_pieces(void **state)
{
    static const char *const forms[] = {"{\"signature_name\": \"ints\", \"instances\": ", "{\"inputs\": "};
    tn_buf body;
    tn_buf_init(&body, 16u << 20);
    for (size_t form = 0; form < 4; form++) {
        tn_buf_clear(&body);
        tn_buf_z(&body, forms[form / 2]);
        for (int row = 0; row < 1000; row++) {
            tn_buf_z(&body, row == 0 ? "[[" : "],\n [");
            for (int i = 0; i < 50; i++)
                tn_buf_printf(&body, form < 2 ? "%s%d" : "%s%d.5e-2", i > 0 ? form % 2 != 0 ? ", " : "," : "",
                              (row * 7919 + i * 104729) % 2000003 - 1000);
        }
        tn_buf_z(&body, "]]}");
        const tn_str whole = tn_buf_view(&body);
        assert_true(check_arriving(whole, 0, whole.len));
        for (size_t step = 1; step < 100000; step = step * 3 + 1)
            assert_true(check_arriving(whole, step, whole.len));
        for (size_t stop = 0; stop < whole.len; stop += whole.len / 50)
            assert_false(check_arriving(whole, 0, stop));
    }
    tn_buf_free(&body);
}

/* A list long enough that room is taken several times. */
static void long_lists_arrive_whole(void **state)
{
    enum { N = 100000 };
    tn_buf body;
    tn_arena arena;
    tn_predict p;
    tern_status st;
    tn_buf_init(&body, 4u << 20);
    tn_buf_z(&body, "{\"signature_name\": \"ints\", \"inputs\": [");
    for (int i = 0; i < N; i++)
        tn_buf_printf(&body, "%s%d", i > 0 ? "," : "", i % 7 == 0 ? -i : i);
    tn_buf_z(&body, "]}");
    tn_arena_init(&arena, 1u << 20);
    const tn_json_limits room = {.max_depth = 10, .max_tensor_bytes = 64 << 20, .max_tape_bytes = 64 << 20};
    assert_int_equal(tn_json_decode_predict(tn_buf_view(&body), &set, &room, &arena, &p, &st), TERN_OK);
    assert_int_equal(tn_tensor_count(&p.inputs[0]), N);
    for (int i = 0; i < N; i++)
        assert_int_equal(((const int32_t *)p.inputs[0].data)[i], i % 7 == 0 ? -i : i);
    assert_int_equal((uintptr_t)p.inputs[0].data % TERN_ALIGNMENT, 0);
    tn_predict_release(&p);
    assert_int_equal(tn_json_decode_predict(tn_buf_view(&body), &set, &limits, &arena, &p, &st), TERN_OK);
    tn_predict_release(&p);
    const tn_json_limits small = {.max_depth = 10, .max_tensor_bytes = 1000};
    assert_int_equal(tn_json_decode_predict(tn_buf_view(&body), &set, &small, &arena, &p, &st),
                     TERN_RESOURCE_EXHAUSTED);
    tn_arena_free(&arena);
    tn_buf_free(&body);
}

/* Both readers give these 16-bit values, or fail with this text. */
static void check_shorts(const char *body, const char *error, uint32_t n, const uint16_t *want)
{
    static const reader readers[] = {tn_json_decode_predict, tn_json_explain};
    tn_json_limits more = limits;
    more.extended = true;
    for (size_t i = 0; i < COUNT(readers); i++) {
        tn_arena arena;
        tn_predict p;
        tern_status st;
        tn_arena_init(&arena, 1u << 20);
        tern_code code = readers[i](tn_str_from(body), &set, &more, &arena, &p, &st);
        assert_int_equal(code, error != NULL ? TERN_INVALID_ARGUMENT : TERN_OK);
        if (error != NULL)
            assert_non_null(strstr(st.message, error));
        else
            assert_memory_equal(p.inputs[0].data, want, n * sizeof *want);
        tn_predict_release(&p);
        assert_int_equal(readers[i](tn_str_from(body), &set, &limits, &arena, &p, &st),
                         TERN_INVALID_ARGUMENT);
        tn_arena_free(&arena);
    }
}

static void short_dtypes_are_numbers_where_that_is_wanted(void **state)
{
    check_shorts(
        "{\"signature_name\": \"half\", \"instances\": [0, -0.0, -0, 1, 0.1, 65519, 1e9, NaN, -Inf]}", NULL,
        9, (uint16_t[]){0, 0x8000, 0, 0x3C00, 0x2E66, 0x7BFF, 0x7C00, 0x7E00, 0xFC00});
    check_shorts(
        "{\"signature_name\": \"half\", \"instances\": [1.00048828125, 1.000488281250000000000000000001]}",
        NULL, 2, (uint16_t[]){0x3C00, 0x3C01});
    check_shorts("{\"signature_name\": \"brain\", \"instances\": [1, 3.14159, 1e39, Infinity, NaN, 1e-50]}",
                 NULL, 6, (uint16_t[]){0x3F80, 0x4049, 0x7F80, 0x7F80, 0x7FC0, 0});
    check_shorts("{\"signature_name\": \"short\", \"instances\": [0, 65535, -0]}", NULL, 3,
                 (uint16_t[]){0, 65535, 0});
    check_shorts("{\"signature_name\": \"short\", \"instances\": [65536]}", "is not of expected type: uint16",
                 0, NULL);
    check_shorts("{\"signature_name\": \"short\", \"instances\": [-1]}", "is not of expected type: uint16", 0,
                 NULL);
    check_shorts("{\"signature_name\": \"short\", \"instances\": [1.0]}", "is not of expected type: uint16",
                 0, NULL);
    check_shorts("{\"signature_name\": \"half\", \"instances\": [0e309]}", "too big", 0, NULL);
}

/* The words behind what is repeated stay, whatever its length; all of it is there when that is allowed. */
static void long_errors_are_cut_in_the_middle(void **state)
{
    static const char tail[] = " Type: String is not of expected type: float";
    tn_buf body;
    tn_arena arena;
    tn_predict p;
    tern_status st;
    tn_buf_init(&body, 1u << 20);
    tn_buf_z(&body, "{\"instances\": [\"");
    tn_buf_fill(&body, 'x', 200000);
    tn_buf_z(&body, "\"]}");
    tn_arena_init(&arena, 4u << 20);
    assert_int_equal(tn_json_decode_predict(tn_buf_view(&body), &set, &limits, &arena, &p, &st),
                     TERN_INVALID_ARGUMENT);
    assert_true(p.error.len == 0 && st.length < TERN_STATUS_MESSAGE_MAX - 1);
    assert_true(tn_str_ends((tn_str){st.message, st.length}, tn_str_from(tail)));
    tn_json_limits more = limits;
    more.max_error_bytes = 1 << 20;
    assert_int_equal(tn_json_decode_predict(tn_buf_view(&body), &set, &more, &arena, &p, &st),
                     TERN_INVALID_ARGUMENT);
    assert_int_equal(st.length, TERN_STATUS_MESSAGE_MAX - 1);
    assert_int_equal(p.error.len, strlen("Failed to process element: 0 of 'instances' list. Error: "
                                         "INVALID_ARGUMENT: JSON Value: \"\"") +
                                      200000 + strlen(tail));
    assert_true(tn_str_starts(p.error, (tn_str){st.message, st.length}) &&
                tn_str_ends(p.error, tn_str_from(tail)));
    more.max_error_bytes = 20000;
    assert_int_equal(tn_json_decode_predict(tn_buf_view(&body), &set, &more, &arena, &p, &st),
                     TERN_INVALID_ARGUMENT);
    assert_true(p.error.len < 20000 && tn_str_ends(p.error, tn_str_from(tail)));
    tn_arena_free(&arena);
    tn_buf_free(&body);
}

static void assert_answer(bool row, const tn_str *names, const tern_tensor *tensors, uint32_t n,
                          const char *want)
{
    tn_buf out;
    tern_status st;
    tn_buf_init(&out, 1u << 20);
    assert_int_equal(tn_json_encode_predict(&(const tn_json_style){.row = row}, names, tensors, n, &out, &st),
                     TERN_OK);
    tn_buf_char(&out, '\0');
    assert_string_equal(out.ptr, want);
    tn_buf_free(&out);
}

static void answers_have_the_recorded_layout(void **state)
{
    float values[] = {3.5f, 4, 0.2f, 1e6f};
    int64_t two_by_two[] = {2, 2}, four[] = {4}, none[] = {0};
    const tn_str names[] = {TN_STR("a"), TN_STR("b")};
    const tern_tensor matrix = {
        .dtype = TERN_FLOAT, .rank = 2, .dims = two_by_two, .data = values, .size = 16};
    const tern_tensor list = {.dtype = TERN_FLOAT, .rank = 1, .dims = four, .data = values, .size = 16};
    const tern_tensor empty = {.dtype = TERN_FLOAT, .rank = 1, .dims = none};
    const tern_tensor scalar = {.dtype = TERN_FLOAT, .data = values, .size = 4};
    const tern_tensor both[] = {matrix, matrix};
    assert_answer(true, names, &list, 1, "{\n    \"predictions\": [3.5, 4.0, 0.2, 1e+06\n    ]\n}");
    assert_answer(true, names, &matrix, 1, "{\n    \"predictions\": [[3.5, 4.0], [0.2, 1e+06]\n    ]\n}");
    assert_answer(true, names, &empty, 1, "{\n    \"predictions\": []\n}");
    assert_answer(false, names, &scalar, 1, "{\n    \"outputs\": 3.5\n}");
    assert_answer(false, names, &empty, 1, "{\n    \"outputs\": []\n}");
    assert_answer(false, names, &matrix, 1,
                  "{\n    \"outputs\": [\n        [\n            3.5,\n            4.0\n        ],\n        "
                  "[\n            0.2,\n"
                  "            1e+06\n        ]\n    ]\n}");
    assert_answer(
        true, names, both, 2,
        "{\n    \"predictions\": [\n        {\n            \"a\": [3.5, 4.0],\n            \"b\": [3.5, "
        "4.0]\n        },\n"
        "        {\n            \"a\": [0.2, 1e+06],\n            \"b\": [0.2, 1e+06]\n        }\n    ]\n}");
}

static void compact_answers_have_no_blanks(void **state)
{
    float values[] = {3.5f, 4, 0.2f, 1e6f};
    uint16_t halves[] = {0x2E66, 0x7E00};
    struct {
        uint64_t offsets[3];
        char bytes[8];
    } text = {{0, 2, 3}, "hi\"  "};
    int64_t two_by_two[] = {2, 2}, two_items[] = {2}, none[] = {0, 3};
    const tn_str names[] = {TN_STR("a"), TN_STR("b_bytes"), TN_STR("c")};
    const tern_tensor matrix = {
        .dtype = TERN_FLOAT, .rank = 2, .dims = two_by_two, .data = values, .size = 16};
    const tern_tensor texts = {.dtype = TERN_STRING, .rank = 1, .dims = two_items, .data = &text, .size = 27};
    const tern_tensor half = {.dtype = TERN_HALF, .rank = 1, .dims = two_items, .data = halves, .size = 4};
    const tern_tensor empty = {.dtype = TERN_FLOAT, .rank = 2, .dims = none};
    const tern_tensor all[] = {matrix, texts, half};
    const struct {
        bool row;
        uint32_t n;
        const tern_tensor *tensors;
        const char *want;
    } cases[] = {
        {true, 1, all, "{\"predictions\":[[3.5,4.0],[0.2,1e+06]]}"},
        {false, 1, all, "{\"outputs\":[[3.5,4.0],[0.2,1e+06]]}"},
        {true, 1, &empty, "{\"predictions\":[]}"},
        {false, 3, all,
         "{\"outputs\":{\"a\":[[3.5,4.0],[0.2,1e+06]],\"b_bytes\":[{\"b64\":\"aGk=\"},{\"b64\":\"Ig==\"}],"
         "\"c\":["
         "0.0999756,NaN]}}"},
        {true, 3, all,
         "{\"predictions\":[{\"a\":[3.5,4.0],\"b_bytes\":{\"b64\":\"aGk=\"},\"c\":0.0999756},{\"a\":[0.2,1e+"
         "06],\"b_"
         "bytes\":{\"b64\":\"Ig==\"},\"c\":NaN}]}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const tn_json_style style = {.row = cases[i].row, .compact = true, .extended = true};
        tn_buf out;
        tern_status st;
        tn_buf_init(&out, 1u << 20);
        assert_int_equal(tn_json_encode_predict(&style, names, cases[i].tensors, cases[i].n, &out, &st),
                         TERN_OK);
        tn_buf_char(&out, '\0');
        assert_string_equal(out.ptr, cases[i].want);
        tn_buf_free(&out);
    }
}

static void answers_that_cannot_be_printed_say_why(void **state)
{
    int64_t two_items[] = {2}, three[] = {3};
    uint16_t halves[] = {0, 1, 2};
    const tn_str names[] = {TN_STR("a"), TN_STR("b")};
    const tern_tensor half = {.dtype = TERN_HALF, .rank = 1, .dims = three, .data = halves, .size = 6};
    float values[3] = {0};
    const tern_tensor uneven[] = {
        {.dtype = TERN_FLOAT, .rank = 1, .dims = two_items, .data = values, .size = 8},
        {.dtype = TERN_FLOAT, .rank = 1, .dims = three, .data = values, .size = 12}};
    const tern_tensor scalar = {.dtype = TERN_FLOAT, .data = values, .size = 4};
    tn_buf out;
    tern_status st;
    tn_buf_init(&out, 1000);
    assert_int_equal(tn_json_encode_predict(&(const tn_json_style){.row = false}, names, &half, 1, &out, &st),
                     TERN_INVALID_ARGUMENT);
    assert_string_equal(st.message, "Failed to write JSON value for tensor type: half");
    assert_int_equal(tn_json_encode_predict(&(const tn_json_style){.row = true}, names, uneven, 2, &out, &st),
                     TERN_INVALID_ARGUMENT);
    assert_string_equal(st.message, "Tensor name: b has inconsistent batch size: 3 expecting: 2");
    assert_int_equal(
        tn_json_encode_predict(&(const tn_json_style){.row = true}, names, &scalar, 1, &out, &st),
        TERN_INVALID_ARGUMENT);
    assert_string_equal(st.message, "Tensor name: a has no shape information ");
    assert_int_equal(out.len, 0);
    tn_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_hold_for_both_readers),
        cmocka_unit_test(arriving_bodies_are_read_as_whole_ones),
        cmocka_unit_test(long_bodies_arrive_in_pieces),
        cmocka_unit_test(long_lists_arrive_whole),
        cmocka_unit_test(short_dtypes_are_numbers_where_that_is_wanted),
        cmocka_unit_test(long_errors_are_cut_in_the_middle),
        cmocka_unit_test(answers_have_the_recorded_layout),
        cmocka_unit_test(compact_answers_have_no_blanks),
        cmocka_unit_test(answers_that_cannot_be_printed_say_why),
    };
    return cmocka_run_group_tests_name("json_predict", tests, NULL, NULL);
}
