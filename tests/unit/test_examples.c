/*
 * test_examples.c - tf.Examples in JSON (by the vectors of tests/vectors/json_examples.txt, made with
 * protobuf's own writer) and in requests; which signatures answer Classify and Regress; their answers;
 * recorded requests on the example engine.
 */
#include "model_help.h"

#include "api/replay.h"
#include "base/status.h"
#include "codec/inference.h"
#include "codec/json_examples.h"
#include "codec/pb_examples.h"
#include "codec/pb_wire.h"

static const tn_json_limits limits = {
    .max_depth = 1000, .max_tensor_bytes = 1 << 20, .max_tape_bytes = 64 << 20};

static void put_hex(tn_buf *out, tn_str s)
{
    for (size_t k = 0; k < s.len; k++)
        tn_buf_printf(out, "%02x", (unsigned char)s.ptr[k]);
}

static void put_strings(tn_buf *out, const tern_tensor *t)
{
    assert_int_equal(t->dtype, TERN_STRING);
    assert_int_equal(t->rank, 1);
    for (int64_t i = 0; i < t->dims[0]; i++) {
        tn_str s = tn_string_at(t, t->dims[0], i);
        tn_buf_z(out, s.len > 0 ? " " : " -");
        put_hex(out, s);
    }
}

/* ---- JSON ---- */

static void check_vector(tn_str body, tn_str want)
{
    tn_arena arena;
    tn_json_examples e;
    tern_status st;
    tn_buf got;
    tn_arena_init(&arena, 1u << 20);
    tn_buf_init(&got, 1u << 20);
    tern_code code = tn_json_decode_examples(body, &limits, NULL, &arena, &e, &st);
    if (code == TERN_OK) {
        tn_buf_printf(&got, "[%.*s]", TN_FMT(e.signature_name));
        put_strings(&got, &e.examples);
    } else {
        tn_buf_printf(&got, "%s ", tn_code_name(code));
        for (uint32_t i = 0; i < st.length; i++)
            if (st.message[i] == '\n')
                tn_buf_z(&got, "\\n");
            else
                tn_buf_char(&got, st.message[i]);
    }
    if (!tn_str_eq(tn_buf_view(&got), want))
        fail_msg("%.*s\n  want %.*s\n  got  %.*s", TN_FMT(body), TN_FMT(want), TN_FMT(tn_buf_view(&got)));
    tn_tensor_release(&e.examples);
    tn_buf_free(&got);
    tn_arena_free(&arena);
}

static void json_vectors_hold(void **state)
{
    static char text[1 << 16];
    FILE *f = fopen("tests/vectors/json_examples.txt", "r");
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
        check_vector(tn_str_sub(line, 0, (size_t)tab), tn_str_sub(line, (size_t)tab + 1, line.len));
        checked++;
    }
    assert_true(checked > 45);
}

/* Every key twice, so that only the second half counts; many keys share a place of the table. */
static void many_features_arrive_once(void **state)
{
    enum { N = 20000 };
    tn_buf body;
    tn_arena arena;
    tn_json_examples e;
    tern_status st;
    tn_buf_init(&body, 4u << 20);
    tn_buf_z(&body, "{\"examples\": [{");
    for (int i = 0; i < 2 * N; i++)
        tn_buf_printf(&body, "%s\"key%d\": %d", i > 0 ? ", " : "", i % N, i);
    tn_buf_z(&body, "}]}");
    tn_arena_init(&arena, 1u << 20);
    const tn_json_limits room = {.max_depth = 10, .max_tensor_bytes = 64 << 20, .max_tape_bytes = 64 << 20};
    assert_int_equal(tn_json_decode_examples(tn_buf_view(&body), &room, NULL, &arena, &e, &st), TERN_OK);
    tn_pb features = tn_pb_from(tn_string_at(&e.examples, 1, 0));
    tn_pb_field f = {0};
    assert_true(tn_pb_next(&features, &f) && f.number == 1);
    tn_pb entries = tn_pb_from(f.bytes);
    for (int i = N; i < 2 * N; i++) {
        char want[64];
        int n = snprintf(want, sizeof want, "key%d", i - N);
        tn_pb_field key = {0}, value = {0};
        assert_true(tn_pb_next(&entries, &f));
        tn_pb entry = tn_pb_from(f.bytes);
        assert_true(tn_pb_next(&entry, &key) && tn_pb_next(&entry, &value));
        assert_true(tn_str_eq(key.bytes, (tn_str){want, (size_t)n}));
        /* Feature.int64_list.value, packed */
        uint64_t number;
        assert_true(tn_pb_varint((const uint8_t *)value.bytes.ptr + 4,
                                 (const uint8_t *)value.bytes.ptr + value.bytes.len, &number) > 0);
        assert_true(number == (uint64_t)i);
    }
    assert_false(tn_pb_more(&entries));
    tn_tensor_release(&e.examples);
    /* Less memory than the Examples take. */
    const tn_json_limits small = {.max_depth = 10, .max_tensor_bytes = 1000, .max_tape_bytes = 64 << 20};
    assert_int_equal(tn_json_decode_examples(tn_buf_view(&body), &small, NULL, &arena, &e, &st),
                     TERN_RESOURCE_EXHAUSTED);
    assert_null(e.examples.buffer);
    tn_buf_free(&body);
    tn_arena_free(&arena);
}

/* What a long context makes of many examples is paid for before it is made. */
static void contexts_are_paid_for(void **state)
{
    tn_buf body;
    tn_arena arena;
    tn_json_examples e;
    tern_status st;
    tn_budget budget = {.limit = 500000};
    const tn_json_limits room = {.max_depth = 10, .max_tensor_bytes = 1 << 30, .max_tape_bytes = 64 << 20};
    tn_buf_init(&body, 1u << 20);
    tn_buf_printf(&body, "{\"context\": {\"s\": \"%0*d\"}, \"examples\": [{}", 40000, 0);
    for (int i = 1; i < 10; i++)
        tn_buf_z(&body, ", {}");
    tn_buf_z(&body, "]}");
    tn_arena_init(&arena, 1u << 20);
    assert_int_equal(tn_json_decode_examples(tn_buf_view(&body), &room, &budget, &arena, &e, &st), TERN_OK);
    assert_int_equal(e.examples.dims[0], 10);
    assert_true(e.examples.size > 400000);
    assert_int_equal(atomic_load(&budget.used), e.examples.size);
    tn_str first = tn_string_at(&e.examples, 10, 0), last = tn_string_at(&e.examples, 10, 9);
    assert_true(first.len > 40000 && tn_str_eq(first, last));
    tern_tensor kept = e.examples;
    assert_int_equal(tn_json_decode_examples(tn_buf_view(&body), &room, &budget, &arena, &e, &st),
                     TERN_RESOURCE_EXHAUSTED);
    assert_int_equal(atomic_load(&budget.used), kept.size);
    assert_int_equal(tn_json_check_examples(tn_buf_view(&body), &room, &arena, &e, &st), TERN_OK);
    assert_null(e.examples.buffer);
    tn_tensor_release(&kept);
    tn_buf_free(&body);
    tn_arena_free(&arena);
}

/* ---- requests ---- */

/* A message being written: PUT wraps what another one holds into a field. */
static void put(tn_buf *out, uint32_t field, tn_str bytes)
{
    uint8_t head[20];
    tn_buf_append(out, head, tn_pb_put_head(head, field, bytes.len));
    tn_buf_str(out, bytes);
}

/* An Example with one feature of that name: a float_list of one value. */
#define EXAMPLE(name) "\x0a\x0f\x0a\x0d\x0a\x01" name "\x12\x08\x12\x06\x0a\x04\x00\x00\x80\x3f"
#define SPEC          "\x0a\x01m\x1a\x01s"

static tn_str list_of(tn_buf *out, const tn_str *examples, size_t n, tn_str context)
{
    tn_buf_init(out, 1u << 20);
    for (size_t i = 0; i < n; i++)
        put(out, 1, examples[i]);
    if (context.ptr != NULL)
        put(out, 2, context);
    return tn_buf_view(out);
}

static void check_request(tn_str message, tern_code want, const char *tensor)
{
    tn_arena arena;
    tn_pb_examples e;
    tern_tensor t = {0};
    tern_status st;
    tn_buf got;
    tn_arena_init(&arena, 1u << 20);
    tn_buf_init(&got, 1u << 20);
    tern_code code = tn_pb_examples_read(message, false, &arena, &e, &st);
    if (code == TERN_OK)
        code = tn_pb_examples_tensor(&e, 1u << 20, &arena, &t, &st);
    assert_int_equal(code, want);
    if (code == TERN_OK) {
        int64_t n;
        size_t bytes;
        put_strings(&got, &t);
        tn_buf_char(&got, '\0');
        assert_string_equal(got.ptr, tensor);
        assert_true(tn_pb_examples_size(&e, &n, &bytes));
        assert_int_equal(n, t.dims[0]);
        assert_int_equal(bytes, t.size);
    } else {
        st.message[st.length] = '\0';
        assert_string_equal(st.message, tensor);
    }
    tn_tensor_release(&t);
    tn_buf_free(&got);
    tn_arena_free(&arena);
}

#define X_HEX "0a0f0a0d0a0178120812060a040000803f"
#define Y_HEX "0a0f0a0d0a0179120812060a040000803f"

static void requests_give_their_examples(void **state)
{
    const tn_str both[] = {TN_STR(EXAMPLE("x")), TN_STR("")};
    tn_buf list, context, input, message;
    list_of(&list, both, 2, TN_STR_NONE);
    list_of(&context, both, 2, TN_STR(EXAMPLE("y")));
    tn_buf_init(&input, 1u << 20);
    tn_buf_init(&message, 1u << 20);
    /* none */
    check_request(TN_STR(""), TERN_INVALID_ARGUMENT, "Input is empty.");
    put(&message, 1, TN_STR(SPEC));
    put(&message, 2, TN_STR(""));
    check_request(tn_buf_view(&message), TERN_INVALID_ARGUMENT, "Input is empty.");
    /* example_list, and once more: joined */
    put(&input, 1, tn_buf_view(&list));
    put(&message, 2, tn_buf_view(&input));
    check_request(tn_buf_view(&message), TERN_OK, " " X_HEX " -");
    put(&message, 2, tn_buf_view(&input));
    check_request(tn_buf_view(&message), TERN_OK, " " X_HEX " - " X_HEX " -");
    /* the other kind: what was before is forgotten */
    tn_buf_clear(&input);
    put(&input, 2, tn_buf_view(&context));
    put(&message, 2, tn_buf_view(&input));
    check_request(tn_buf_view(&message), TERN_OK, " " Y_HEX X_HEX " " Y_HEX);
    /* a context that comes in two parts stands whole before all of them */
    put(&message, 2, tn_buf_view(&input));
    check_request(tn_buf_view(&message), TERN_OK,
                  " " Y_HEX Y_HEX X_HEX " " Y_HEX Y_HEX " " Y_HEX Y_HEX X_HEX " " Y_HEX Y_HEX);
    /* fields that nobody knows, also of the wrong wire type */
    put(&message, 9, TN_STR("\xff\xff"));
    tn_buf_append(&message, "\x08\x05\x10\x05", 4);
    check_request(tn_buf_view(&message), TERN_OK,
                  " " Y_HEX Y_HEX X_HEX " " Y_HEX Y_HEX " " Y_HEX Y_HEX X_HEX " " Y_HEX Y_HEX);
    tn_buf_free(&list);
    tn_buf_free(&context);
    tn_buf_free(&input);
    tn_buf_free(&message);
}

/* A message with a broken part is broken as a whole. */
static void broken_examples_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        tern_code code;
    } examples[] = {
#define CASE(text, code) {text, sizeof(text) - 1, code}
        CASE("\x0a", TERN_INTERNAL),                         /* cut off */
        CASE("\x0a\x05\x0a", TERN_INTERNAL),                 /* longer than there is */
        CASE("\x0a\x02\x0a\x05", TERN_INTERNAL),             /* likewise inside */
        CASE("\x0a\x05\x0a\x03\x0a\x01\xff", TERN_INTERNAL), /* a key that is not UTF-8 */
        /* three bytes of floats */
        CASE("\x0a\x0b\x0a\x09\x12\x07\x12\x05\x0a\x03\x01\x02\x03", TERN_INTERNAL),
        CASE("\x0a\x09\x0a\x07\x12\x05\x1a\x03\x0a\x01\x80", TERN_INTERNAL), /* a varint without end */
        CASE("\x0a\x09\x0a\x07\x12\x05\x1a\x03\x0a\x01\x7f", TERN_OK),
        CASE("\x0a\x09\x0a\x07\x12\x05\x0a\x03\x0a\x01\xff", TERN_OK), /* bytes may be anything */
        CASE("\x0a\x08\x0a\x06\x12\x04\x1a\x02\x08\x7f", TERN_OK),     /* one that is not packed */
        CASE("\x12\x02\xff\xff", TERN_OK),                             /* a field that nobody knows */
#undef CASE
    };
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        const tn_str one = {examples[i].bytes, examples[i].n};
        tn_buf list, input, message, want;
        list_of(&list, &one, 1, TN_STR_NONE);
        tn_buf_init(&input, 1u << 20);
        tn_buf_init(&message, 1u << 20);
        tn_buf_init(&want, 1u << 20);
        put(&input, 1, tn_buf_view(&list));
        put(&message, 2, tn_buf_view(&input));
        tn_buf_char(&want, ' ');
        put_hex(&want, one);
        tn_buf_char(&want, '\0');
        check_request(tn_buf_view(&message), examples[i].code, examples[i].code == TERN_OK ? want.ptr : "");
        tn_buf_free(&list);
        tn_buf_free(&input);
        tn_buf_free(&message);
        tn_buf_free(&want);
    }
}

/* A long context and many examples are more than the message was. */
static void contexts_do_not_multiply_without_end(void **state)
{
    static const char zeros[99996];
    tn_arena arena;
    tn_buf list, context, input, message;
    tn_pb_examples e;
    tern_tensor t;
    tern_status st;
    int64_t n;
    size_t bytes;
    tn_buf_init(&context, 1u << 20);
    put(&context, 31, (tn_str){zeros, sizeof zeros}); /* a field that nobody knows */
    tn_buf_init(&list, 1u << 20);
    for (int i = 0; i < 1000; i++)
        put(&list, 1, TN_STR(""));
    put(&list, 2, tn_buf_view(&context));
    tn_buf_init(&input, 1u << 20);
    tn_buf_init(&message, 1u << 20);
    put(&input, 2, tn_buf_view(&list));
    put(&message, 2, tn_buf_view(&input));
    tn_arena_init(&arena, 1u << 20);
    assert_int_equal(tn_pb_examples_read(tn_buf_view(&message), false, &arena, &e, &st), TERN_OK);
    assert_true(tn_pb_examples_size(&e, &n, &bytes));
    assert_int_equal(n, 1000);
    assert_int_equal(bytes, 8 + 1000 * (8 + 5 + 99996));
    assert_int_equal(tn_pb_examples_tensor(&e, 1u << 20, &arena, &t, &st), TERN_RESOURCE_EXHAUSTED);
    tn_arena_free(&arena);
    tn_buf_free(&context);
    tn_buf_free(&list);
    tn_buf_free(&input);
    tn_buf_free(&message);
}

static void tasks_are_read(void **state)
{
    tn_arena arena;
    tn_buf task, message;
    tn_pb_examples e;
    tn_model_spec spec;
    tern_status st;
    tn_buf_init(&task, 1000);
    tn_buf_init(&message, 1000);
    put(&task, 1, TN_STR(SPEC));
    put(&task, 2, TN_STR("method"));
    put(&message, 1, tn_buf_view(&task));
    put(&message, 1, TN_STR(""));
    tn_arena_init(&arena, 1u << 20);
    assert_int_equal(tn_pb_examples_spec(tn_buf_view(&message), true, &spec, &st), TERN_OK);
    assert_true(spec.present && tn_str_eq(spec.name, TN_STR("m")));
    assert_int_equal(tn_pb_examples_read(tn_buf_view(&message), true, &arena, &e, &st), TERN_OK);
    assert_int_equal(e.n_tasks, 2);
    assert_true(tn_str_eq(e.tasks[0].method_name, TN_STR("method")));
    assert_true(tn_str_eq(e.tasks[0].spec.signature_name, TN_STR("s")));
    assert_false(e.tasks[1].spec.present);
    tn_buf_clear(&task);
    put(&task, 2, TN_STR("\xff"));
    put(&message, 1, tn_buf_view(&task));
    assert_int_equal(tn_pb_examples_read(tn_buf_view(&message), true, &arena, &e, &st), TERN_INTERNAL);
    tn_arena_free(&arena);
    tn_buf_free(&task);
    tn_buf_free(&message);
}

/* ---- signatures ---- */

static const int64_t any_rows[] = {-1, 2};
#define IO(alias, tensor, type, r)                                                                           \
    {                                                                                                        \
        .name = TN_STR_INIT(alias), .tensor_name = TN_STR_INIT(tensor), .dtype = (type), .rank = (r),        \
        .dims = any_rows                                                                                     \
    }
static const tern_io in_one[] = {IO("inputs", "in:0", TERN_STRING, 1)};
static const tern_io in_other[] = {IO("x", "in:0", TERN_STRING, 0)};
static const tern_io in_two[] = {IO("a", "a:0", TERN_STRING, 1), IO("inputs", "in:0", TERN_STRING, 1)};
static const tern_io out_both[] = {IO("classes", "c:0", TERN_STRING, 2), IO("scores", "s:0", TERN_FLOAT, 2)};
static const tern_io out_same[] = {IO("classes", "c:0", TERN_STRING, 2), IO("scores", "c:0", TERN_STRING, 2)};
static const tern_io out_none[] = {IO("other", "o:0", TERN_FLOAT, -1)};
static const tern_io out_regress[] = {IO("outputs", "r:0", TERN_FLOAT, 1)};
static const tern_io out_three[] = {IO("classes", "c:0", TERN_STRING, 2), IO("more", "m:0", TERN_FLOAT, 1),
                                    IO("scores", "s:0", TERN_FLOAT, 2)};
#define COUNT(a) (uint32_t)(sizeof(a) / sizeof((a)[0]))
#define SIGNATURE(method, in, out)                                                                           \
    &(const tern_signature)                                                                                  \
    {                                                                                                        \
        .name = TN_STR_INIT("s"), .method_name = TN_STR_INIT(method), .inputs = (in), .n_inputs = COUNT(in), \
        .outputs = (out), .n_outputs = COUNT(out)                                                            \
    }

static void signatures_are_checked(void **state)
{
    const struct {
        tn_infer_kind kind;
        bool check_method;
        const tern_signature *signature;
        const char *error; /* NULL: none */
    } cases[] = {
        {TN_INFER_CLASSIFY, false, SIGNATURE("", in_one, out_both), NULL},
        {TN_INFER_CLASSIFY, true, SIGNATURE("tensorflow/serving/classify", in_one, out_both), NULL},
        {TN_INFER_CLASSIFY, true, SIGNATURE("odd", in_one, out_both),
         "Expected classification signature method_name to be tensorflow/serving/classify. Was: odd"},
        {TN_INFER_REGRESS, true, SIGNATURE("", in_one, out_regress),
         "Expected regression signature method_name to be tensorflow/serving/regress. Was: "},
        {TN_INFER_CLASSIFY, false, SIGNATURE("", in_two, out_both), "Expected one input Tensor."},
        {TN_INFER_CLASSIFY, false, SIGNATURE("", in_one, out_three),
         "Expected one or two output Tensors, found 3"},
        {TN_INFER_CLASSIFY, false, SIGNATURE("m", in_other, out_both),
         "No classification inputs found in SignatureDef: inputs {\n  key: \"x\"\n  value {\n    name: "
         "\"in:0\"\n    dtype: DT_STRING\n    tensor_shape {\n    }\n  }\n}\noutputs {\n  key: \"classes\"\n "
         " "
         "value {\n    name: \"c:0\"\n    dtype: DT_STRING\n    tensor_shape {\n      dim {\n        size: "
         "-1\n      }\n      dim {\n        size: 2\n      }\n    }\n  }\n}\noutputs {\n  key: \"scores\"\n  "
         "value {\n    name: \"s:0\"\n    dtype: DT_FLOAT\n    tensor_shape {\n      dim {\n        size: "
         "-1\n      }\n      dim {\n        size: 2\n      }\n    }\n  }\n}\nmethod_name: \"m\"\n"},
        {TN_INFER_CLASSIFY, false, SIGNATURE("", in_one, out_none),
         "Expected classification signature outputs to contain at least one of \"classes\" or \"scores\". "
         "Signature was: inputs {\n  key: \"inputs\"\n  value {\n    name: \"in:0\"\n    dtype: DT_STRING\n  "
         "  tensor_shape {\n      dim {\n        size: -1\n      }\n    }\n  }\n}\noutputs {\n  key: "
         "\"other\"\n  value {\n    name: \"o:0\"\n    dtype: DT_FLOAT\n    tensor_shape {\n      "
         "unknown_rank: true\n    }\n  }\n}\n"},
        {TN_INFER_REGRESS, false, SIGNATURE("", in_one, out_regress), NULL},
        {TN_INFER_REGRESS, false, SIGNATURE("", in_one, out_both), "Expected one output Tensor."},
        {TN_INFER_REGRESS, false, SIGNATURE("", in_one, out_none), "No regression outputs found in"},
        {TN_INFER_REGRESS, false, SIGNATURE("", in_other, out_regress), "No regression inputs found in"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tn_infer_task task;
        tern_status st;
        tern_status_init(&st);
        tern_code code = tn_infer_plan(cases[i].kind, cases[i].signature, cases[i].check_method, &task, &st);
        assert_int_equal(code, cases[i].error == NULL ? TERN_OK : TERN_INVALID_ARGUMENT);
        if (cases[i].error != NULL && strncmp(st.message, cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("case %zu: %s", i, st.message);
    }
    /* The original looks outputs up by the tensor's name: one under both names is the classes. */
    tn_infer_task task;
    tern_status st;
    assert_int_equal(tn_infer_plan(TN_INFER_CLASSIFY, SIGNATURE("", in_one, out_same), false, &task, &st),
                     TERN_OK);
    assert_true(task.has_classes && !task.has_scores && task.n_outputs == 1);
}

/* ---- answers ---- */

static tern_tensor tensor(tern_dtype dtype, int32_t rank, const int64_t *dims, const void *data)
{
    return (tern_tensor){.dtype = dtype, .rank = rank, .dims = dims, .data = (void *)(uintptr_t)data};
}

static void outputs_are_checked(void **state)
{
    static const float numbers[8];
    static const int64_t none[] = {0}, two[] = {2}, two_one[] = {2, 1}, two_two[] = {2, 2},
                         three_two[] = {3, 2};
    static const int64_t two_three[] = {2, 3};
    tn_infer_task both, regress;
    tern_status st;
    assert_int_equal(tn_infer_plan(TN_INFER_CLASSIFY, SIGNATURE("", in_one, out_both), false, &both, &st),
                     TERN_OK);
    assert_int_equal(
        tn_infer_plan(TN_INFER_REGRESS, SIGNATURE("", in_one, out_regress), false, &regress, &st), TERN_OK);
    const struct {
        const tn_infer_task *task;
        tern_tensor outputs[2];
        const char *error;
    } cases[] = {
        {&both, {tensor(TERN_STRING, 2, two_two, NULL), tensor(TERN_FLOAT, 2, two_two, numbers)}, NULL},
        {&both,
         {tensor(TERN_STRING, 1, two, NULL), tensor(TERN_FLOAT, 2, two_two, numbers)},
         "Expected Tensor shape: [batch_size num_classes] but got [2]"},
        {&both,
         {tensor(TERN_FLOAT, 2, two_two, numbers), tensor(TERN_FLOAT, 2, two_two, numbers)},
         "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"},
        {&both,
         {tensor(TERN_STRING, 2, three_two, NULL), tensor(TERN_FLOAT, 2, two_two, numbers)},
         "Expected classes output batch size of 2. Got: 3"},
        {&both,
         {tensor(TERN_STRING, 2, two_two, NULL), tensor(TERN_FLOAT, 0, none, numbers)},
         "Expected Tensor shape: [batch_size num_classes] but got []"},
        {&both,
         {tensor(TERN_STRING, 2, two_two, NULL), tensor(TERN_DOUBLE, 2, two_two, numbers)},
         "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"},
        {&both,
         {tensor(TERN_STRING, 2, two_two, NULL), tensor(TERN_FLOAT, 2, three_two, numbers)},
         "Expected scores output batch size of 2. Got: 3"},
        {&both,
         {tensor(TERN_STRING, 2, two_two, NULL), tensor(TERN_FLOAT, 2, two_three, numbers)},
         "Tensors class and score should match in dim_size(1). Got 2 vs. 3"},
        {&regress, {tensor(TERN_FLOAT, 1, two, numbers)}, NULL},
        {&regress, {tensor(TERN_FLOAT, 2, two_one, numbers)}, NULL},
        {&regress,
         {tensor(TERN_FLOAT, 2, two_two, numbers)},
         "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"},
        {&regress,
         {tensor(TERN_FLOAT, 1, none, numbers)},
         "Input batch size did not match output batch size: 2 vs. 0"},
        {&regress,
         {tensor(TERN_INT64, 1, two, numbers)},
         "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tern_status_init(&st);
        tern_code code = tn_infer_check(cases[i].task, cases[i].outputs, 2, &st);
        assert_int_equal(code, cases[i].error == NULL ? TERN_OK : TERN_INVALID_ARGUMENT);
        if (cases[i].error != NULL)
            assert_string_equal(st.message, cases[i].error);
    }
}

static void assert_text(const tn_buf *got, const char *want, size_t n)
{
    assert_false(got->failed);
    assert_int_equal(got->len, n);
    assert_memory_equal(got->ptr, want, n);
}
#define ASSERT_TEXT(got, want) assert_text(got, want, sizeof(want) - 1)

static void answers_are_written(void **state)
{
    static const int64_t two_two[] = {2, 2}, two_none[] = {2, 0}, two[] = {2};
    static const float numbers[] = {0.5f, 0.0f, -0.0f, 1e30f};
    /* "a", "", "q\"", "\xff" */
    static const struct {
        uint64_t offsets[5];
        char bytes[8];
    } labels = {{0, 1, 1, 3, 4}, "aq\"\xff"};
    const tern_tensor outputs[] = {tensor(TERN_STRING, 2, two_two, &labels),
                                   tensor(TERN_FLOAT, 2, two_two, numbers)};
    const tern_tensor empty[] = {tensor(TERN_STRING, 2, two_none, &labels),
                                 tensor(TERN_FLOAT, 2, two_none, NULL)};
    const tern_tensor values = tensor(TERN_FLOAT, 1, two, numbers);
    tn_infer_task both, regress;
    tern_status st;
    tn_buf out;
    tn_buf_init(&out, 4096);
    assert_int_equal(tn_infer_plan(TN_INFER_CLASSIFY, SIGNATURE("", in_one, out_both), false, &both, &st),
                     TERN_OK);
    assert_int_equal(
        tn_infer_plan(TN_INFER_REGRESS, SIGNATURE("", in_one, out_regress), false, &regress, &st), TERN_OK);
    tn_infer_json(&both, outputs, false, &out);
    ASSERT_TEXT(&out, "{\n    \"results\": [[[\"a\", 0.5], [\"\", 0.0]], [[\"q\\\"\", -0.0], [\"\xff\", "
                      "1e+30]]\n    ]\n}");
    tn_buf_clear(&out);
    tn_infer_json(&both, empty, false, &out);
    ASSERT_TEXT(&out, "{\n    \"results\": [[], []\n    ]\n}");
    tn_buf_clear(&out);
    tn_infer_json(&regress, &values, false, &out);
    ASSERT_TEXT(&out, "{\n    \"results\": [0.5, 0.0]\n}");
    tn_buf_clear(&out);
    /*
     * result{classifications{classes{label score}...}...} model_spec{name version signature_name}; defaults
     * out
     */
    tn_infer_response(&both, outputs, TN_STR("m"), 7, &out);
    ASSERT_TEXT(&out,
                "\x0a\x25"
                "\x0a\x0c\x0a\x08\x0a\x01"
                "a\x15\x00\x00\x00\x3f\x0a\x00"
                "\x0a\x15\x0a\x09\x0a\x02q\"\x15\x00\x00\x00\x80\x0a\x08\x0a\x01\xff\x15\xca\xf2\x49\x71"
                "\x12\x0a\x0a\x01m\x12\x02\x08\x07\x1a\x01s");
    tn_buf_clear(&out);
    tn_infer_response(&regress, &values, TN_STR("m"), 7, &out);
    ASSERT_TEXT(&out,
                "\x0a\x09\x0a\x05\x0d\x00\x00\x00\x3f\x0a\x00\x12\x0a\x0a\x01m\x12\x02\x08\x07\x1a\x01s");
    tn_buf_clear(&out);
    tn_infer_result(&regress, &values, TN_STR("m"), 7, &out);
    ASSERT_TEXT(
        &out,
        "\x0a\x17\x0a\x0a\x0a\x01m\x12\x02\x08\x07\x1a\x01s\x1a\x09\x0a\x05\x0d\x00\x00\x00\x3f\x0a\x00");
    /* Over the maximum: failed, and nothing half written. */
    tn_buf_free(&out);
    tn_buf_init(&out, 8);
    tn_infer_response(&both, outputs, TN_STR("m"), 7, &out);
    assert_true(out.failed);
    tn_buf_free(&out);
}

/* ---- recorded requests ---- */

#define MODEL                                                                                                \
    "signature both tensorflow/serving/classify\ninput inputs string [-1]\n"                                 \
    "output classes string [-1,1] column inputs\noutput scores float [-1,1] length inputs\n"                 \
    "signature fails\ninput inputs string [-1]\noutput outputs float [-1,1] length inputs\nfail 9 on "       \
    "purpose\n"                                                                                              \
    "signature regress tensorflow/serving/regress\ninput inputs string [-1]\n"                               \
    "output outputs float [-1,1] length inputs\n"                                                            \
    "signature serving_default\ninput x float [-1]\noutput y float [-1] affine 0.5 2 x\n"

typedef struct loaded {
    char *folder;
    tn_engines *engines;
    tn_version v;
    tn_server server;
} loaded;

static void load(loaded *l)
{
    tern_status st;
    memset(l, 0, sizeof *l);
    l->folder = help_folder();
    help_version(help_path("%s/m", l->folder), "1", MODEL);
    l->engines = tn_engines_new(&(tn_engines_config){.path = help_path("%s/engines", getenv("TERN_BUILD"))});
    assert_int_equal(tn_engines_get(l->engines, TN_STR("example"), &l->v.engine, &st), TERN_OK);
    const tern_load_options options = {.struct_size = sizeof options,
                                       .directory = help_path("%s/m/1", l->folder)};
    assert_int_equal(l->v.engine->api->load(l->v.engine->self, &options, &l->v.loaded, &st), TERN_OK);
    l->v.model = TN_STR("m");
    l->v.number = 1;
    l->v.signatures = l->v.engine->api->signatures(l->v.loaded);
    l->server.limits.max_body_bytes = 1 << 20;
    l->server.limits.max_inputs = 16;
    l->server.budget.limit = 1 << 20;
}

static void unload(loaded *l)
{
    l->v.engine->api->unload(l->v.loaded);
    tn_engines_free(l->engines);
    help_remove(l->folder);
    free(l->folder);
}

/* A request on one signature: spec, and two examples. */
static void request(tn_buf *out, const char *signature)
{
    const tn_str both[] = {TN_STR(EXAMPLE("x")), TN_STR("")};
    tn_buf list, input, spec;
    tn_buf_init(out, 1u << 20);
    tn_buf_init(&input, 1u << 20);
    tn_buf_init(&spec, 1u << 20);
    put(&spec, 3, tn_str_from(signature));
    put(out, 1, tn_buf_view(&spec));
    list_of(&list, both, 2, TN_STR_NONE);
    put(&input, 1, tn_buf_view(&list));
    put(out, 2, tn_buf_view(&input));
    tn_buf_free(&list);
    tn_buf_free(&input);
    tn_buf_free(&spec);
}

typedef tern_code (*replay)(tn_server *, tn_version *, tn_str, tn_arena *, tern_status *);

static void check_replay(loaded *l, replay run, tn_str message, tern_code want, const char *text)
{
    tn_arena arena;
    tern_status st;
    tn_arena_init(&arena, 1u << 20);
    tern_status_init(&st);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(run(&l->server, &l->v, message, &arena, &st), want);
        if (want != TERN_OK)
            assert_string_equal(st.message, text);
        assert_null(arena.cleanups);
    }
    tn_arena_free(&arena);
}

static void recorded_requests_run(void **state)
{
    loaded l;
    tn_buf message, task, tasks;
    load(&l);
    request(&message, "both");
    check_replay(&l, tn_api_run_classify, tn_buf_view(&message), TERN_OK, NULL);
    check_replay(&l, tn_api_run_regress, tn_buf_view(&message), TERN_INVALID_ARGUMENT,
                 "Expected one output Tensor.");
    check_replay(&l, tn_api_run_predict, TN_STR("\x0a"), TERN_INTERNAL,
                 "The message is no PredictRequest: it breaks off or is malformed at byte 1");
    check_replay(&l, tn_api_run_classify, TN_STR("\x0a"), TERN_INTERNAL, "");
    tn_buf_free(&message);
    request(&message, "regress");
    check_replay(&l, tn_api_run_regress, tn_buf_view(&message), TERN_OK, NULL);
    tn_buf_free(&message);
    request(&message, "fails");
    check_replay(&l, tn_api_run_regress, tn_buf_view(&message), TERN_FAILED_PRECONDITION, "on purpose");
    tn_buf_free(&message);
    request(&message, "nobody");
    check_replay(&l, tn_api_run_classify, tn_buf_view(&message), TERN_INVALID_ARGUMENT,
                 "No signature was found with the name: nobody");
    /* PredictRequest{inputs{key: "x" value{dtype: DT_FLOAT}}} */
    check_replay(&l, tn_api_run_predict, TN_STR("\x12\x07\x0a\x01x\x12\x02\x08\x01"), TERN_OK, NULL);
    check_replay(&l, tn_api_run_predict, TN_STR("\x0a\x04\x1a\x02no"), TERN_FAILED_PRECONDITION,
                 "Serving signature key \"no\" not found.");
    /* Two tasks on the same examples. */
    tn_buf_free(&message);
    request(&message, "both");
    tn_pb m = tn_pb_from(tn_buf_view(&message));
    tn_pb_field f = {0};
    tn_buf_init(&tasks, 1u << 20);
    tn_buf_init(&task, 1000);
    put(&task, 1,
        TN_STR("\x0a\x01m\x1a\x04"
               "both"));
    put(&task, 2, TN_STR("tensorflow/serving/classify"));
    put(&tasks, 1, tn_buf_view(&task));
    tn_buf_clear(&task);
    put(&task, 1, TN_STR("\x0a\x01m\x1a\x07regress"));
    put(&task, 2, TN_STR("tensorflow/serving/regress"));
    put(&tasks, 1, tn_buf_view(&task));
    assert_true(tn_pb_next(&m, &f) && tn_pb_next(&m, &f) && f.number == 2);
    put(&tasks, 2, f.bytes);
    check_replay(&l, tn_api_run_multi, tn_buf_view(&tasks), TERN_OK, NULL);
    put(&tasks, 1, tn_buf_view(&task));
    check_replay(&l, tn_api_run_multi, tn_buf_view(&tasks), TERN_INVALID_ARGUMENT,
                 "Duplicate evaluation of signature: regress");
    tn_buf_free(&task);
    tn_buf_free(&tasks);
    tn_buf_free(&message);
    unload(&l);
}

/* To find the model takes a look at the top level, on the event loop: at so much of it and no more. */
static void much_beside_the_input_is_refused(void **state)
{
    const struct {
        const char *bytes;
        size_t n, times;
    } parts[] = {
        {"\x18\x01", 2, 1u << 20}, {"\x0a\x00", 2, 1u << 20}, {"\x0a\x84\x80\x40\x4a\x80\x80\x40", 8, 1}};
    tn_model_spec spec;
    tern_status st;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        tn_buf message;
        tn_buf_init(&message, 4u << 20);
        put(&message, 1, TN_STR(SPEC));
        for (size_t k = 0; k < parts[i].times; k++)
            tn_buf_append(&message, parts[i].bytes, parts[i].n);
        if (parts[i].times == 1)
            tn_buf_fill(&message, ' ', 1u << 20);
        assert_int_equal(tn_pb_examples_spec(tn_buf_view(&message), false, &spec, &st),
                         TERN_INVALID_ARGUMENT);
        tn_buf_free(&message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_vectors_hold),
        cmocka_unit_test(many_features_arrive_once),
        cmocka_unit_test(contexts_are_paid_for),
        cmocka_unit_test(requests_give_their_examples),
        cmocka_unit_test(broken_examples_are_refused),
        cmocka_unit_test(contexts_do_not_multiply_without_end),
        cmocka_unit_test(tasks_are_read),
        cmocka_unit_test(much_beside_the_input_is_refused),
        cmocka_unit_test(signatures_are_checked),
        cmocka_unit_test(outputs_are_checked),
        cmocka_unit_test(answers_are_written),
        cmocka_unit_test(recorded_requests_run),
    };
    return cmocka_run_group_tests_name("examples", tests, NULL, NULL);
}
