/*
 * PredictRequest in, PredictResponse out: values in every form, what FromProto does with odd counts, matching
 * with a signature.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codec/pb_predict.h"
#include "codec/pb_text.h"
#include "codec/saved_model.h"
#include "server_config.pb-c.h"

static const tern_io x_io[] = {
    {.name = TN_STR_INIT("x"), .tensor_name = TN_STR_INIT("x:0"), .dtype = TERN_FLOAT, .rank = -1}};
static const tern_io y_io[] = {{.name = TN_STR_INIT("y"), .dtype = TERN_FLOAT, .rank = -1}};
static const tern_signature signature = {
    .name = TN_STR_INIT("serving_default"), .inputs = x_io, .n_inputs = 1, .outputs = y_io, .n_outputs = 1};

/* A TensorProto by itself. */
static tern_code read_tensor(const char *bytes, size_t n, tn_arena *arena, tern_tensor *t)
{
    tern_status st;
    return tn_pb_read_tensor((tn_str){bytes, n}, arena, t, &st);
}
#define READ(bytes, arena, t) read_tensor(bytes, sizeof(bytes) - 1, arena, t)

static void typed_values_repeat_and_are_cut(void **state)
{
    tn_arena a;
    tern_tensor t;
    tn_arena_init(&a, 1u << 20);
    /* dtype float, shape [3], one value 2.0: repeated */
    assert_int_equal(READ("\x08\x01\x12\x04\x12\x02\x08\x03\x2A\x04\x00\x00\x00\x40", &a, &t), TERN_OK);
    assert_int_equal(tn_tensor_count(&t), 3);
    for (int i = 0; i < 3; i++)
        assert_true(((float *)t.data)[i] == 2.0f);
    assert_int_equal((uintptr_t)t.data % TERN_ALIGNMENT, 0);
    tn_tensor_release(&t);
    /* shape [2], int_val 1 2 3: cut; -1 as ten bytes */
    assert_int_equal(
        READ("\x08\x03\x12\x04\x12\x02\x08\x02\x3A\x0C\x07\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x05", &a,
             &t),
        TERN_OK);
    assert_int_equal(((int32_t *)t.data)[0], 7);
    assert_int_equal(((int32_t *)t.data)[1], -1);
    assert_int_equal(t.size, 8);
    tn_tensor_release(&t);
    /* shape [2], no values: zeros */
    assert_int_equal(READ("\x08\x09\x12\x04\x12\x02\x08\x02", &a, &t), TERN_OK);
    assert_true(((int64_t *)t.data)[0] == 0 && ((int64_t *)t.data)[1] == 0);
    tn_tensor_release(&t);
    /* int8: 128 wraps */
    assert_int_equal(READ("\x08\x06\x3A\x02\x80\x01", &a, &t), TERN_OK);
    assert_int_equal(((int8_t *)t.data)[0], -128);
    tn_tensor_release(&t);
    tn_arena_free(&a);
}

static void values_before_their_dtype_are_kept(void **state)
{
    tn_arena a;
    tern_tensor t;
    tn_arena_init(&a, 1u << 20);
    assert_int_equal(READ("\x3A\x02\x01\x02\x12\x04\x12\x02\x08\x02\x08\x03", &a, &t), TERN_OK);
    assert_int_equal(t.dtype, TERN_INT32);
    assert_int_equal(((int32_t *)t.data)[0], 1);
    assert_int_equal(((int32_t *)t.data)[1], 2);
    tn_tensor_release(&t);
    /* before and behind the dtype: the order of the message */
    assert_int_equal(READ("\x12\x04\x12\x02\x08\x03\x38\x01\x08\x03\x38\x02\x3A\x01\x05", &a, &t), TERN_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(((int32_t *)t.data)[i], i < 2 ? i + 1 : 5);
    tn_tensor_release(&t);
    tn_arena_free(&a);
}

static void a_dtype_that_changes_its_mind_makes_no_tensor(void **state)
{
    tn_arena a;
    tern_tensor t;
    tn_arena_init(&a, 1u << 20);
    /* int8 300, then int32: the value was cut already */
    assert_int_equal(READ("\x08\x06\x38\xAC\x02\x08\x03", &a, &t), TERN_INVALID_ARGUMENT);
    /* int32 with a float_val that was passed over, then float */
    assert_int_equal(READ("\x08\x03\x2D\x00\x00\x80\x3F\x08\x01", &a, &t), TERN_INVALID_ARGUMENT);
    /* tensor_content is not of any dtype until the end */
    assert_int_equal(READ("\x08\x06\x38\x07\x22\x04\x01\x00\x00\x00\x08\x03", &a, &t), TERN_OK);
    assert_int_equal(*(int32_t *)t.data, 1);
    tn_tensor_release(&t);
    /* the same one again */
    assert_int_equal(READ("\x08\x06\x38\x07\x08\x06", &a, &t), TERN_OK);
    assert_int_equal(*(int8_t *)t.data, 7);
    tn_tensor_release(&t);
    tn_arena_free(&a);
}

static void a_broken_shape_breaks_the_message(void **state)
{
    tn_arena a;
    tern_tensor t;
    tn_arena_init(&a, 1u << 20);
    assert_int_equal(READ("\x08\x01\x12\x02\x12\x05", &a, &t),
                     TERN_INTERNAL); /* a dim longer than its shape */
    assert_int_equal(READ("\x08\x01\x12\x05\x12\x03\x12\x01\xFF", &a, &t),
                     TERN_INTERNAL); /* a name that is not UTF-8 */
    tn_arena_free(&a);
}

static void content_must_fit_the_shape(void **state)
{
    tn_arena a;
    tern_tensor t;
    tn_arena_init(&a, 1u << 20);
    assert_int_equal(READ("\x08\x01\x12\x04\x12\x02\x08\x02\x22\x08\x00\x00\x80\x3F\x00\x00\x00\x40", &a, &t),
                     TERN_OK);
    assert_true(((float *)t.data)[1] == 2.0f);
    tn_tensor_release(&t);
    assert_int_equal(READ("\x08\x01\x12\x04\x12\x02\x08\x02\x22\x07\x00\x00\x80\x3F\x00\x00\x00", &a, &t),
                     TERN_INVALID_ARGUMENT);
    assert_int_equal(READ("\x08\x0A\x22\x01\x02", &a, &t), TERN_INVALID_ARGUMENT); /* bool 2 */
    assert_int_equal(READ("\x08\x14", &a, &t), TERN_INVALID_ARGUMENT);             /* resource */
    assert_int_equal(READ("\x08\x01\x12\x0D\x12\x0B\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", &a, &t),
                     TERN_INVALID_ARGUMENT);
    tn_arena_free(&a);
}

static void a_huge_claim_takes_no_memory(void **state)
{
    const tn_pb_predict_limits limits = {.max_tensor_bytes = 1000, .max_inputs = 4};
    tern_status st;
    tn_arena a;
    tn_arena_init(&a, 1u << 20);
    tn_pb_predict_reader *r = tn_pb_predict_new(&limits, &a);
    /* inputs entry of 2 GB, in it a tensor with as much content: nothing is taken until a byte of it comes */
    static const char head[] =
        "\x12\xFF\xFF\xFF\xFF\x07\x12\xF0\xFF\xFF\xFF\x07\x08\x01\x22\xE0\xFF\xFF\xFF\x07";
    assert_int_equal(tn_pb_predict_feed(r, head, sizeof head - 1, &st), TERN_OK);
    assert_int_equal(tn_pb_predict_feed(r, "x", 1, &st), TERN_RESOURCE_EXHAUSTED);
    tn_arena_free(&a);
}

/*
 * A message of a few bytes may ask for much memory: a shape without its values. It is taken from the budget
 * first.
 */
static void what_is_repeated_is_paid_for(void **state)
{
    /* x: float [2^20] of one value; "a": string [2^16] of one string of eight bytes */
    static const char floats[] =
        "\x12\x15\x0A\x01x\x12\x10\x08\x01\x12\x06\x12\x04\x08\x80\x80\x40\x2A\x04\x00\x00\x00\x40";
    static const char strings[] = "\x12\x19\x0A\x01s\x12\x14\x08\x07\x12\x06\x12\x04\x08\x80\x80\x04\x42\x08"
                                  "12345678";
    static const struct {
        const char *bytes;
        size_t n;
        size_t memory;
    } cases[] = {{floats, sizeof floats - 1, 4u << 20}, {strings, sizeof strings - 1, 16u << 16}};
    for (int i = 0; i < 4; i++) {
        const size_t n = cases[i / 2].n, memory = cases[i / 2].memory;
        tn_budget budget;
        tern_status st;
        tn_arena a;
        tn_budget_init(&budget, i % 2 == 0 ? memory + 16384 : memory - 1);
        const tn_pb_predict_limits limits = {
            .max_tensor_bytes = 64 << 20, .max_inputs = 4, .budget = &budget};
        tn_arena_init(&a, 1u << 20);
        tn_pb_predict_reader *r = tn_pb_predict_new(&limits, &a);
        assert_int_equal(tn_pb_predict_feed(r, cases[i / 2].bytes, n, &st),
                         i % 2 == 0 ? TERN_OK : TERN_RESOURCE_EXHAUSTED);
        if (i % 2 == 0)
            assert_true(atomic_load(&budget.used) + 64 >= memory);
        tn_arena_free(&a);
        assert_int_equal(atomic_load(&budget.used), 0);
    }
}

/* Strings of all inputs together are held to the limit of the tensors. */
static void many_strings_share_the_room(void **state)
{
    static const char one[] = "\x12\x19\x0A\x01"
                              "a\x12\x14\x08\x07\x12\x06\x12\x04\x08\x80\x80\x04\x42\x08"
                              "12345678";
    const tn_pb_predict_limits limits = {.max_tensor_bytes = 5 << 19, .max_inputs = 100};
    char message[sizeof one];
    tern_code code = TERN_OK;
    tern_status st;
    tn_arena a;
    int n = 0;
    tn_arena_init(&a, 1u << 20);
    tn_pb_predict_reader *r = tn_pb_predict_new(&limits, &a);
    memcpy(message, one, sizeof one);
    for (; code == TERN_OK && n < 10; n++) {
        message[4] = (char)('a' + n);
        code = tn_pb_predict_feed(r, message, sizeof one - 1, &st);
    }
    assert_int_equal(code, TERN_RESOURCE_EXHAUSTED);
    assert_int_equal(n, 3);
    tn_arena_free(&a);
}

static void repeated_keys_count(void **state)
{
    static const char entry[] = "\x12\x03\x0A\x01x";
    const tn_pb_predict_limits limits = {.max_tensor_bytes = 1000, .max_inputs = 4};
    tern_status st;
    tn_arena a;
    tn_arena_init(&a, 1u << 20);
    tn_pb_predict_reader *r = tn_pb_predict_new(&limits, &a);
    for (int i = 0; i < 4; i++)
        assert_int_equal(tn_pb_predict_feed(r, entry, sizeof entry - 1, &st), TERN_OK);
    assert_int_equal(tn_pb_predict_feed(r, entry, sizeof entry - 1, &st), TERN_RESOURCE_EXHAUSTED);
    tn_arena_free(&a);
}

static tn_pb_predict_reader *request(const char *bytes, size_t n, size_t step, tn_arena *a)
{
    const tn_pb_predict_limits limits = {.max_tensor_bytes = 1 << 20, .max_inputs = 4};
    tern_status st;
    tn_pb_predict_reader *r = tn_pb_predict_new(&limits, a);
    for (size_t i = 0; i < n; i += step)
        assert_int_equal(tn_pb_predict_feed(r, bytes + i, n - i < step ? n - i : step, &st), TERN_OK);
    assert_int_equal(tn_pb_predict_finish(r, &st), TERN_OK);
    return r;
}

/* Varints of all lengths in pieces of all sizes, through every dtype's width. */
static void packed_varints_in_pieces_are_the_same(void **state)
{
    enum { N = 1000, HEAD = 64 };
    static const struct {
        int dtype, field, unit;
    } kinds[] = {
        {TERN_INT64, 10, 8}, {TERN_INT32, 7, 4}, {TERN_INT16, 7, 2}, {TERN_INT8, 7, 1}, {TERN_BOOL, 11, 1}};
    static uint8_t values[N * 10], message[N * 10 + HEAD];
    uint64_t want[N];
    size_t n = 0;
    for (int i = 0; i < N; i++) {
        want[i] = UINT64_C(0x9E3779B97F4A7C15) * (uint64_t)(i + 1) >> (i * 7 % 64);
        for (uint64_t v = want[i]; n += 1, v >= 0x80 || (values[n - 1] = (uint8_t)v, false); v >>= 7)
            values[n - 1] = (uint8_t)(v | 0x80);
    }
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        tn_buf m;
        tn_buf_init(&m, sizeof message);
        const size_t tensor = 2 + 7 + 1 + 3 + n, entry = 3 + 1 + 3 + tensor;
        const uint8_t head[] = {0x12,
                                (uint8_t)(entry | 0x80),
                                (uint8_t)(entry >> 7 | 0x80),
                                (uint8_t)(entry >> 14),
                                0x0A,
                                1,
                                'x',
                                0x12,
                                (uint8_t)(tensor | 0x80),
                                (uint8_t)(tensor >> 7 | 0x80),
                                (uint8_t)(tensor >> 14),
                                0x08,
                                (uint8_t)kinds[k].dtype,
                                0x12,
                                5,
                                0x12,
                                3,
                                0x08,
                                (uint8_t)(N & 0x7F) | 0x80,
                                N >> 7,
                                (uint8_t)(kinds[k].field << 3 | 2),
                                (uint8_t)(n | 0x80),
                                (uint8_t)(n >> 7 | 0x80),
                                (uint8_t)(n >> 14)};
        tn_buf_append(&m, head, sizeof head);
        tn_buf_append(&m, values, n);
        for (size_t step = 1; step < 9000; step = step * 3 / 2 + 1) {
            tn_arena a;
            uint32_t inputs;
            tn_arena_init(&a, 1u << 20);
            tn_pb_predict_reader *r = request(m.ptr, m.len, step, &a);
            const tn_named_tensor *t = tn_pb_predict_inputs(r, &inputs);
            assert_int_equal(inputs, 1);
            assert_true(t->valid && tn_tensor_count(&t->tensor) == N);
            for (int i = 0; i < N; i++) {
                uint64_t low = kinds[k].dtype == TERN_BOOL ? want[i] != 0 : want[i], got = 0;
                memcpy(&got, (const char *)t->tensor.data + i * kinds[k].unit, (size_t)kinds[k].unit);
                assert_true(memcmp(&got, &low, (size_t)kinds[k].unit) == 0);
            }
            tn_arena_free(&a);
        }
        tn_buf_free(&m);
    }
}

/* model_spec {name "m" version 5}, inputs {"x": float [2] 1 2}, output_filter "y" */
static const char whole[] =
    "\x0A\x07\x0A\x01m\x12\x02\x08\x05\x12\x17\x0A\x01x\x12\x12\x08\x01\x12\x04\x12\x02\x08\x02\x2A\x08"
    "\x00\x00\x80\x3F\x00\x00\x00\x40\x1A\x01y";

static void a_request_in_pieces_is_the_same(void **state)
{
    for (size_t step = 1; step < sizeof whole; step++) {
        tn_arena a;
        uint32_t n;
        tn_arena_init(&a, 1u << 20);
        tn_pb_predict_reader *r = request(whole, sizeof whole - 1, step, &a);
        const tn_model_spec *spec = tn_pb_predict_spec(r);
        assert_true(spec->present && tn_str_eq(spec->name, TN_STR("m")) && spec->has_version &&
                    spec->version == 5);
        const tn_named_tensor *in = tn_pb_predict_inputs(r, &n);
        assert_int_equal(n, 1);
        assert_true(in[0].valid && ((float *)in[0].tensor.data)[1] == 2.0f);
        assert_true(tn_str_eq(tn_pb_predict_output_filter(r, &n)[0], TN_STR("y")));
        tn_arena_free(&a);
    }
}

static void matching_says_what_is_missing(void **state)
{
    tn_arena a;
    tn_predict p;
    uint32_t *ids, n;
    tern_status st;
    tn_arena_init(&a, 1u << 20);
    tn_pb_predict_reader *r = request(whole, sizeof whole - 1, 1000, &a);
    assert_int_equal(tn_pb_predict_bind(r, &signature, &a, &p, &ids, &n, &st), TERN_OK);
    assert_int_equal(n, 1);
    tn_predict_release(&p);
    r = request("", 0, 1, &a);
    assert_int_equal(tn_pb_predict_bind(r, &signature, &a, &p, &ids, &n, &st), TERN_INVALID_ARGUMENT);
    assert_string_equal(
        st.message,
        "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but "
        "required: {x}.");
    tn_arena_free(&a);
}

/* Texts of TensorFlow 2.21's session; which TensorProtos are taken: its ParseTensor. */
static void dtypes_that_are_left_out_are_not_the_inputs_type(void **state)
{
#define OF_TYPE(type) "\x12\x09\x0A\x01x\x12\x04\x08" type "\x12\x00"
    static const struct {
        const char *message;
        const char *want; /* its start */
    } cases[] = {{OF_TYPE("\x15"), "Expects arg[0] to be float but variant is provided"},
                 {OF_TYPE("\x18"), "Expects arg[0] to be float but float8_e5m2 is provided"},
                 {OF_TYPE("\x1E"), "Expects arg[0] to be float but uint4 is provided"},
                 {OF_TYPE("\x14"), "Invalid resource type hash code: 0(name:  type: ). Perhaps a resource "},
                 {OF_TYPE("\x22"), "tensor parsing error: x"},
                 {OF_TYPE("\x65"), "tensor parsing error: x"},
                 /* int4 with two bytes for one element; a variant with a length that does not add up */
                 {"\x12\x0B\x0A\x01x\x12\x06\x08\x1D\x22\x02\x01\x02", "tensor parsing error: x"},
                 {"\x12\x0A\x0A\x01x\x12\x05\x08\x15\x22\x01\x05", "tensor parsing error: x"}};
    tn_arena a;
    tn_predict p;
    uint32_t *ids, n;
    tern_status st;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_arena_init(&a, 1u << 20);
        /* the shape is empty, so no byte of these is 0 but the last */
        size_t size = strlen(cases[i].message);
        tn_pb_predict_reader *r = request(cases[i].message, size + (cases[i].message[1] == 9), 1000, &a);
        assert_int_equal(tn_pb_predict_bind(r, &signature, &a, &p, &ids, &n, &st), TERN_INVALID_ARGUMENT);
        assert_true(
            tn_str_starts((tn_str){st.message, st.length}, (tn_str){cases[i].want, strlen(cases[i].want)}));
        tn_arena_free(&a);
    }
#undef OF_TYPE
}

/* The original cannot allocate them, and says the same as for what is no tensor. */
static void shapes_that_no_memory_holds_make_no_tensor(void **state)
{
    tn_arena a;
    tern_tensor t;
    tn_arena_init(&a, 1u << 20);
    assert_int_equal(READ("\x08\x01\x12\x0C\x12\x0A\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", &a, &t),
                     TERN_INVALID_ARGUMENT);
    assert_int_equal(READ("\x08\x07\x12\x09\x12\x07\x08\x80\x80\x80\x80\x80\x20", &a, &t),
                     TERN_INVALID_ARGUMENT);
    tn_arena_free(&a);
}

static void answers_are_serialized_as_protobuf_does(void **state)
{
    static const char want[] =
        "\x0A\x17\x0A\x01y\x12\x12\x08\x01\x12\x04\x12\x02\x08\x02\x2A\x08\x00\x00\x60\x40\x00\x00\x80\x40"
        "\x12\x0A\x0A\x01m\x12\x02\x08\x05\x1A\x01s";
    float values[] = {3.5f, 4.0f};
    int64_t dims[] = {2};
    const tn_str name = TN_STR("y");
    const tern_tensor t = {.dtype = TERN_FLOAT, .rank = 1, .dims = dims, .data = values, .size = 8};
    char got[256];
    size_t total, at = 0;
    tn_piece *pieces;
    uint32_t n;
    tern_status st;
    tn_arena a;
    tn_arena_init(&a, 1u << 20);
    assert_int_equal(
        tn_pb_encode_predict(TN_STR("m"), 5, TN_STR("s"), &name, &t, 1, false, &a, &pieces, &n, &total, &st),
        TERN_OK);
    assert_int_equal(total, sizeof want - 1);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(got + at, pieces[i].ptr, pieces[i].len);
        at += pieces[i].len;
    }
    assert_memory_equal(got, want, total);
    assert_ptr_equal(pieces[1].ptr, values); /* sent from where it lies */
    tn_arena_free(&a);
}

static void signatures_come_out_of_a_meta_graph(void **state)
{
    /*
     * signature_def {"s": inputs {"x": name "x:0" dtype 1 shape [-1]} method_name "p"}, and a graph_def that
     * is passed over
     */
    static const char bytes[] =
        "\x12\x03\x0A\x01g\x2A\x2B\x0A\x01s\x12\x26\x0A\x21\x0A\x01x\x12\x1C\x0A\x03x:"
        "0\x10\x01\x1A\x13\x12\x0B"
        "\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x12\x00\x12\x02\x08\x03\x1A\x01p";
    tern_signature_set set;
    tern_status st;
    tn_arena a;
    /*
     * "s" with method "p", then "b", then "s" again with method "q": of a key that comes twice the last one
     * counts
     */
    static const char twice[] = "\x2A\x08\x0A\x01s\x12\x03\x1A\x01p\x2A\x03\x0A\x01"
                                "b\x2A\x08\x0A\x01s\x12\x03\x1A\x01q";
    tn_arena_init(&a, 1u << 20);
    assert_int_equal(tn_read_meta_graph((tn_str){twice, sizeof twice - 1}, &a, &set, &st), TERN_OK);
    assert_int_equal(set.n_signatures, 2);
    assert_true(tn_str_eq(set.signatures[0].name, TN_STR("b")));
    assert_true(tn_str_eq(set.signatures[1].method_name, TN_STR("q")));
    assert_int_equal(tn_read_meta_graph((tn_str){bytes, sizeof bytes - 1}, &a, &set, &st), TERN_OK);
    assert_int_equal(set.n_signatures, 1);
    const tern_signature *s = tn_signatures_find(&set, TN_STR("s"));
    assert_non_null(s);
    assert_true(tn_str_eq(s->method_name, TN_STR("p")));
    assert_int_equal(s->inputs[0].rank, 3);
    assert_true(s->inputs[0].dims[0] == -1 && s->inputs[0].dims[1] == 0 && s->inputs[0].dims[2] == 3);
    assert_true(tn_str_starts(set.signature_def_map, TN_STR("\x0A")));
    assert_int_equal(tn_read_meta_graph((tn_str){bytes, sizeof bytes - 3}, &a, &set, &st), TERN_DATA_LOSS);
    tn_arena_free(&a);
}

static void text_files_are_read_and_faults_are_placed(void **state)
{
    static const char good[] =
        "model_config_list: { # comment\n config < name: 'a' \"b\" base_path: \"/m\\x41\"; "
        "version_labels { key: \"k\", value: 7 } > }";
    ProtobufCMessage *m;
    tern_status st;
    assert_int_equal(
        tn_pb_text_parse(tn_str_from(good), &tensorflow__serving__model_server_config__descriptor, &m, &st),
        TERN_OK);
    const Tensorflow__Serving__ModelServerConfig *c = (const void *)m;
    assert_string_equal(c->model_config_list->config[0]->name, "ab");
    assert_string_equal(c->model_config_list->config[0]->base_path, "/mA");
    assert_int_equal(c->model_config_list->config[0]->version_labels[0]->value, 7);
    protobuf_c_message_free_unpacked(m, NULL);
    assert_int_equal(tn_pb_text_parse(TN_STR("model_config_list {\n  config { nme: \"a\" }\n}"),
                                      &tensorflow__serving__model_server_config__descriptor, &m, &st),
                     TERN_INVALID_ARGUMENT);
    assert_string_equal(
        st.message, "line 2, column 12: message tensorflow.serving.ModelConfig has no field named \"nme\"");
    assert_int_equal(
        tn_pb_text_parse(
            TN_STR("model_config_list {\n config { model_version_policy { all {} latest {} } }\n}"),
            &tensorflow__serving__model_server_config__descriptor, &m, &st),
        TERN_INVALID_ARGUMENT);
    assert_true(tn_str_starts((tn_str){st.message, st.length}, TN_STR("line 2, column 41: only one field")));
    /* what protobuf-c would cut, and what only C calls a number */
    assert_int_equal(tn_pb_text_parse(TN_STR("model_config_list { config { name: 'a\\0b' } }"),
                                      &tensorflow__serving__model_server_config__descriptor, &m, &st),
                     TERN_INVALID_ARGUMENT);
    assert_int_equal(tn_pb_text_parse(TN_STR("sampling_rate: 0x.1"),
                                      &tensorflow__serving__sampling_config__descriptor, &m, &st),
                     TERN_INVALID_ARGUMENT);
    assert_int_equal(tn_pb_text_parse(TN_STR("sampling_rate: -1.5f"),
                                      &tensorflow__serving__sampling_config__descriptor, &m, &st),
                     TERN_OK);
    assert_true(((const Tensorflow__Serving__SamplingConfig *)(const void *)m)->sampling_rate == -1.5);
    protobuf_c_message_free_unpacked(m, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(typed_values_repeat_and_are_cut),
        cmocka_unit_test(values_before_their_dtype_are_kept),
        cmocka_unit_test(a_dtype_that_changes_its_mind_makes_no_tensor),
        cmocka_unit_test(a_broken_shape_breaks_the_message),
        cmocka_unit_test(content_must_fit_the_shape),
        cmocka_unit_test(a_huge_claim_takes_no_memory),
        cmocka_unit_test(what_is_repeated_is_paid_for),
        cmocka_unit_test(many_strings_share_the_room),
        cmocka_unit_test(repeated_keys_count),
        cmocka_unit_test(packed_varints_in_pieces_are_the_same),
        cmocka_unit_test(a_request_in_pieces_is_the_same),
        cmocka_unit_test(matching_says_what_is_missing),
        cmocka_unit_test(dtypes_that_are_left_out_are_not_the_inputs_type),
        cmocka_unit_test(shapes_that_no_memory_holds_make_no_tensor),
        cmocka_unit_test(answers_are_serialized_as_protobuf_does),
        cmocka_unit_test(signatures_come_out_of_a_meta_graph),
        cmocka_unit_test(text_files_are_read_and_faults_are_placed),
    };
    return cmocka_run_group_tests_name("pb_predict", tests, NULL, NULL);
}
