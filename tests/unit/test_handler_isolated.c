/*
 * test_handler_isolated.c - what goes between the server and a handler's process: what a process is told when
 * it starts, and what the server makes of frames that are wrong. Whole calls are
 * tests/server/test_handlers.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "handler/attached.h"
#include "handler/isolated.h"
#include "handler/setup.h"

static const int64_t any = -1, dims[] = {-1, 3};
static const tern_io inputs[] = {
    {.name = TN_STR_INIT("s"), .dtype = TERN_STRING, .rank = 1, .dims = &any},
    {.name = TN_STR_INIT("x"),
     .tensor_name = TN_STR_INIT("x:0"),
     .dtype = TERN_FLOAT,
     .rank = 2,
     .dims = dims},
};
static const tern_io outputs[] = {
    {.name = TN_STR_INIT("y"), .dtype = TERN_FLOAT, .rank = -1, .default_tensor = TN_STR_INIT("d")},
    {.name = TN_STR_INIT("z"), .dtype = TERN_FLOAT, .rank = 0}};
static const tern_signature signatures[] = {{.name = TN_STR_INIT("serving_default"),
                                             .method_name = TN_STR_INIT("predict"),
                                             .inputs = inputs,
                                             .n_inputs = 2,
                                             .outputs = outputs,
                                             .n_outputs = 2},
                                            {.name = TN_STR_INIT("two")}};
static const tern_signature_set set = {.signatures = signatures, .n_signatures = 2};

static void same(tn_str a, tn_str b)
{
    assert_int_equal(a.ptr == NULL, b.ptr == NULL);
    assert_true(tn_str_eq(a, b));
}

/* ---- what a process is told ---- */

static tern_handler_options some_options(tn_str config)
{
    return (tern_handler_options){.struct_size = sizeof(tern_handler_options),
                                  .directory = "/models/m/1",
                                  .config = config,
                                  .signatures = &set,
                                  .max_body_bytes = 1,
                                  .max_answer_bytes = INT64_MAX,
                                  .max_tensor_bytes = 3,
                                  .model = TN_STR("m"),
                                  .version = -7};
}

static void test_setup(void **state)
{
    const tern_handler_options said = some_options(TN_STR("{\"a\": 1}"));
    tern_handler_options got;
    tern_status st;
    tn_buf out;
    tn_arena arena = {0};
    tn_arena_init(&arena, 1 << 20);
    tn_buf_init(&out, 1 << 20);
    tn_setup_write(&said, &out);
    assert_int_equal(tn_setup_read(tn_buf_view(&out), &arena, &got, &st), TERN_OK);
    assert_string_equal(got.directory, said.directory);
    same(got.config, said.config);
    same(got.model, said.model);
    assert_true(got.version == -7 && got.max_body_bytes == 1 && got.max_answer_bytes == INT64_MAX &&
                got.max_tensor_bytes == 3);
    assert_int_equal(got.signatures->n_signatures, 2);
    same(got.signatures->signature_def_map, TN_STR_NONE);
    const tern_signature *s = &got.signatures->signatures[0];
    same(s->name, signatures[0].name);
    same(s->method_name, signatures[0].method_name);
    same(s->inputs[1].tensor_name, inputs[1].tensor_name);
    assert_int_equal(s->inputs[1].dims[1], 3);
    assert_int_equal(s->inputs[0].dtype, TERN_STRING);
    assert_int_equal(s->outputs[0].rank, -1);
    same(s->outputs[0].default_tensor, TN_STR("d"));
    same(s->outputs[1].default_tensor, TN_STR_NONE);
    assert_int_equal(got.signatures->signatures[1].n_inputs, 0);
    for (size_t cut = 0; cut < out.len; cut++)
        assert_int_equal(tn_setup_read((tn_str){out.ptr, cut}, &arena, &got, &st), TERN_INVALID_ARGUMENT);
    tn_buf_free(&out);
    tn_arena_free(&arena);
}

/* More than one variable takes, and what the process finds of it. */
static void test_environment(void **state)
{
    static char text[200000];
    memset(text, 'c', sizeof text);
    const tern_handler_options said = some_options((tn_str){text, sizeof text});
    const char *const before[] = {"A=1", "B=2", NULL};
    char *texts;
    tn_buf out;
    tn_arena arena = {0};
    tn_arena_init(&arena, 1 << 20);
    tn_buf_init(&out, 1 << 20);
    tn_setup_write(&said, &out);
    const char **list = tn_setup_environment(tn_buf_view(&out), before, &texts);
    assert_non_null(list);
    assert_ptr_equal(list[1], before[1]);
    size_t n = 2;
    for (; list[n] != NULL; n++) {
        assert_true(strlen(list[n]) < 128 * 1024);
        assert_int_equal(putenv((char *)list[n]), 0);
    }
    assert_int_equal(n, 5);
    tn_str got = tn_setup_from_environment(&arena);
    assert_true(tn_str_eq(got, tn_buf_view(&out)));
    assert_null(getenv("TERN_HANDLER_SETUP_0"));
    assert_null(tn_setup_from_environment(&arena).ptr);
    free(list);
    free(texts);
    tn_buf_free(&out);
    tn_arena_free(&arena);
}

static void test_head(void **state)
{
    const tern_handler_header headers[] = {{TN_STR("content-type"), TN_STR("a/b")},
                                           {TN_STR("x"), TN_STR("")}};
    const tern_handler_request said = {.content_type = headers[0].value,
                                       .url = TN_STR("http://x"),
                                       .headers = headers,
                                       .n_headers = 2,
                                       .target = TN_STR("/invocations?a")};
    tern_handler_request got;
    tern_status st;
    tn_buf out;
    tn_arena arena = {0};
    tn_arena_init(&arena, 1 << 20);
    tn_buf_init(&out, 1 << 20);
    tn_setup_write_head(&said, &out);
    assert_int_equal(out.len, tn_setup_head_size(&said));
    assert_int_equal(tn_setup_read_head(tn_buf_view(&out), &arena, &got, &st), TERN_OK);
    assert_int_equal(got.struct_size, sizeof got);
    same(got.content_type, said.content_type);
    same(got.accept, TN_STR_NONE);
    same(got.url, said.url);
    same(got.target, said.target);
    assert_int_equal(got.n_headers, 2);
    same(got.headers[1].value, TN_STR(""));
    for (size_t cut = 0; cut < out.len; cut++)
        assert_int_equal(tn_setup_read_head((tn_str){out.ptr, cut}, &arena, &got, &st),
                         TERN_INVALID_ARGUMENT);
    tn_buf_free(&out);
    tn_arena_free(&arena);
}

/* ---- frames of a process ---- */

typedef struct bench {
    tn_segments *segments;
    tn_segment *segment;
    tn_handler_attached attached;
    tn_version version;
    tn_call call;
    tn_isolated c;
    tn_handler_job job;
    tn_frame_writer w;
    tern_status st;
    char frame[TN_FRAME_MAX];
} bench;

static void on_event(tn_script_job *job)
{
}

static bench *open_bench(tn_frame_type type)
{
    static const tn_call_steps steps = {.name = "t"};
    bench *b = calloc(1, sizeof *b);
    b->segments = tn_segments_new(NULL, 1 << 20, 1 << 20);
    assert_int_equal(tn_segment_take(b->segments, 65536, &b->segment, &b->st), TERN_OK);
    b->attached.name = (char *)"h";
    b->version.signatures = &set;
    b->version.attached = &b->attached;
    tn_call_init(&b->call, &steps, 1 << 20);
    assert_true(tn_isolated_init(&b->c, on_event));
    b->c.version = &b->version;
    assert_true(tn_script_job_add(&b->c.job, b->segment));
    b->job.max_response = 1000;
    tn_frame_begin(&b->w, b->frame, sizeof b->frame, type, 1);
    return b;
}

static void close_bench(bench *b)
{
    tn_handler_job_finish(&b->job);
    tn_call_finish(&b->call);
    tn_arena_free(&b->call.arena);
    tn_isolated_end(&b->c);
    tn_segments_free(b->segments);
    free(b);
}

static void read_frame(bench *b)
{
    assert_int_equal(tn_frame_read((tn_str){b->frame, tn_frame_end(&b->w)}, &b->c.job.reply, &b->st),
                     TERN_OK);
}

static void expect_inputs(bench *b, const char *words)
{
    read_frame(b);
    const tern_code code = tn_isolated_take_inputs(&b->c, &b->call, &b->st);
    if (words == NULL && code != TERN_OK)
        fail_msg("%s", b->st.message);
    if (words != NULL) {
        assert_int_equal(code, TERN_INTERNAL);
        assert_string_equal(b->st.message, words);
    }
    close_bench(b);
}

static tn_frame_tensor floats(const bench *b)
{
    return (tn_frame_tensor){
        .name = TN_STR("x"), .dtype = TERN_FLOAT, .rank = 2, .dims = {1, 3}, .at = {b->segment->id, 64, 12}};
}

static tn_frame_tensor strings(const bench *b, uint64_t a, uint64_t z)
{
    const uint64_t offsets[] = {0, a, z};
    memcpy(b->segment->ptr + 1024, offsets, sizeof offsets);
    memcpy(b->segment->ptr + 1024 + sizeof offsets, "abcdef", 6);
    return (tn_frame_tensor){
        .name = TN_STR("s"), .dtype = TERN_STRING, .rank = 1, .dims = {2}, .at = {b->segment->id, 1024, 30}};
}

static bench *begun(void)
{
    bench *b = open_bench(TN_FRAME_ASK);
    tn_frame_put(&b->w, TN_ISOLATED_SIGNATURE, TN_STR("serving_default"));
    return b;
}

static void one_tensor(tn_frame_tensor t, bench *b, const char *words)
{
    tn_frame_put_tensor(&b->w, &t);
    expect_inputs(b, words);
}

static void test_inputs(void **state)
{
    bench *b = begun();
    tn_frame_tensor t = floats(b);
    tn_frame_put_tensor(&b->w, &t);
    t = strings(b, 2, 6);
    tn_frame_put_tensor(&b->w, &t);
    tn_frame_put(&b->w, TN_ISOLATED_WANTED, TN_STR("z"));
    read_frame(b);
    assert_int_equal(tn_isolated_take_inputs(&b->c, &b->call, &b->st), TERN_OK);
    assert_int_equal(b->call.n_inputs, 2);
    assert_ptr_equal(b->call.inputs[0].data, b->segment->ptr + 64);
    assert_true(tn_str_eq(tn_string_at(&b->call.inputs[1], 2, 1), TN_STR("cdef")));
    assert_int_equal(b->call.n_outputs, 1);
    assert_int_equal(b->call.output_ids[0], 1);
    close_bench(b);
}

#define SENT "The process of handler h sent "

static void test_wrong_inputs(void **state)
{
    bench *b = open_bench(TN_FRAME_ASK);
    expect_inputs(b, SENT "no signature");
    b = open_bench(TN_FRAME_ASK);
    tn_frame_put(&b->w, TN_ISOLATED_SIGNATURE, TN_STR("other"));
    expect_inputs(b, SENT "a signature that the model does not have, or too many");
    b = begun();
    tn_frame_put(&b->w, TN_ISOLATED_SIGNATURE, TN_STR("serving_default"));
    expect_inputs(b, SENT "a signature twice");
    b = open_bench(TN_FRAME_ASK);
    tn_frame_put(&b->w, TN_ISOLATED_WANTED, TN_STR("y"));
    expect_inputs(b, SENT "inputs before their signature");
    b = begun();
    tn_frame_put(&b->w, TN_ISOLATED_WANTED, TN_STR("x"));
    expect_inputs(b, SENT "the name of an output that the signature does not have, or twice");
    b = begun();
    one_tensor(floats(b), b, SENT "not all inputs of a signature");
    b = begun();
    tn_frame_tensor t = floats(b);
    tn_frame_put_tensor(&b->w, &t);
    one_tensor(t, b, SENT "an input twice");
    b = begun();
    t = floats(b);
    t.at.size = 16;
    one_tensor(t, b, SENT "an input that is no tensor");
    b = begun();
    t = floats(b);
    t.dtype = TERN_INT32;
    one_tensor(t, b, SENT "an input that the signature does not have");
    b = begun();
    t = floats(b);
    t.dims[0] = 3;
    t.dims[1] = 1;
    one_tensor(t, b, SENT "an input that the signature does not have");
    b = begun();
    t = floats(b);
    t.name = TN_STR("q");
    one_tensor(t, b, SENT "an input that the signature does not have");
    static const char nowhere[] = SENT "a tensor that lies in no memory of its call";
    b = begun();
    t = floats(b);
    t.at.segment++;
    one_tensor(t, b, nowhere);
    b = begun();
    t = floats(b);
    t.at.offset = b->segment->size - 8;
    one_tensor(t, b, nowhere);
    b = begun();
    t = floats(b);
    t.at.offset = UINT64_MAX - 63;
    one_tensor(t, b, nowhere);
    b = begun();
    t = floats(b);
    t.at.offset = 68;
    one_tensor(t, b, nowhere);
    static const char order[] = SENT "strings whose offsets do not ascend";
    b = begun();
    one_tensor(strings(b, 7, 6), b, order);
    b = begun();
    one_tensor(strings(b, 2, 5), b, order);
    b = begun();
    one_tensor(strings(b, UINT64_MAX, 6), b, order);
}

/* An engine may keep an input longer than its version has a handler. */
static void test_inputs_that_are_kept(void **state)
{
    tn_budget budget;
    tn_segment *kept, *idle;
    tern_status st;
    tn_budget_init(&budget, 1 << 20);
    tn_segments *s = tn_segments_new(&budget, 1 << 20, 1 << 20);
    assert_int_equal(tn_segment_take(s, 5000, &kept, &st), TERN_OK);
    assert_int_equal(tn_segment_take(s, 70000, &idle, &st), TERN_OK);
    assert_int_equal(tn_segment_use(kept, 5000, &st), TERN_OK);
    tern_buffer *b = tn_segment_buffer(kept, 64, 100);
    assert_non_null(b);
    tn_segment_release(kept);
    tn_segment_release(idle);
    tn_segments_free(s);
    memset(b->data, 1, b->size);
    assert_true(atomic_load(&budget.used) > 0);
    tern_buffer_release(b);
    assert_int_equal(atomic_load(&budget.used), 0);
}

static bench *answered(uint64_t code)
{
    bench *b = open_bench(TN_FRAME_ANSWER);
    tn_frame_put_u64(&b->w, TN_ISOLATED_CODE, code);
    return b;
}

static void put_body(bench *b, uint64_t offset, uint64_t size)
{
    tn_frame_put(&b->w, TN_ISOLATED_TYPE, TN_STR("a/b"));
    tn_frame_put_ref(&b->w, TN_ISOLATED_BODY, &(tn_frame_ref){b->segment->id, offset, size});
}

static void put_header(bench *b, uint32_t n, const char *text)
{
    char *to = tn_frame_room(&b->w, TN_ISOLATED_HEADER, sizeof n + strlen(text));
    memcpy(to, &n, sizeof n);
    memcpy(to + sizeof n, text, strlen(text));
}

static void expect_answer(bench *b, tern_code code, const char *words)
{
    read_frame(b);
    assert_int_equal(tn_isolated_take_answer(&b->c, &b->call, &b->job, &b->st), code);
    assert_string_equal(b->st.message, words);
    close_bench(b);
}

static void test_answers(void **state)
{
    bench *b = answered(TERN_OK);
    memcpy(b->segment->ptr + 8, "body", 4);
    put_body(b, 8, 4);
    put_header(b, 3, "X-Aone");
    tn_frame_put_u64(&b->w, TN_ISOLATED_STATUS, 201);
    read_frame(b);
    assert_int_equal(tn_isolated_take_answer(&b->c, &b->call, &b->job, &b->st), TERN_OK);
    assert_true(tn_str_eq(b->c.answer, TN_STR("body")));
    assert_int_equal(b->job.status, 201);
    assert_true(tn_str_eq(b->job.content_type, TN_STR("a/b")));
    assert_int_equal(b->job.n_headers, 1);
    assert_true(tn_str_eq(b->job.headers[0].name, TN_STR("x-a")));
    assert_true(tn_str_eq(b->job.headers[0].value, TN_STR("one")));
    close_bench(b);
    b = answered(TERN_DATA_LOSS);
    tn_frame_put(&b->w, TN_TAG_ERROR, TN_STR("no use"));
    expect_answer(b, TERN_DATA_LOSS, "no use");
}

static void test_wrong_answers(void **state)
{
    bench *b = open_bench(TN_FRAME_ANSWER);
    expect_answer(b, TERN_INTERNAL, SENT "an answer without a code");
    expect_answer(answered(TERN_OK), TERN_INTERNAL, SENT "an answer without a body");
    expect_answer(answered(TERN_INTERNAL), TERN_INTERNAL, SENT "an error that is none");
    b = answered(77);
    tn_frame_put(&b->w, TN_TAG_ERROR, TN_STR("x"));
    expect_answer(b, TERN_INTERNAL, SENT "an error that is none");
    b = answered(TERN_INTERNAL);
    tn_frame_put_u64(&b->w, TN_ISOLATED_STATUS, UINT64_MAX);
    expect_answer(b, TERN_INTERNAL, SENT "a status that cannot be");
    static const char nowhere[] =
        SENT "a body that lies in no memory of its call, or is larger than an answer may be";
    b = answered(TERN_OK);
    put_body(b, b->segment->size - 3, 4);
    expect_answer(b, TERN_INTERNAL, nowhere);
    b = answered(TERN_OK);
    put_body(b, 0, 1001);
    expect_answer(b, TERN_INTERNAL, nowhere);
    b = answered(TERN_OK);
    put_body(b, 0, 4);
    put_header(b, 9, "X-A");
    expect_answer(b, TERN_INTERNAL, SENT "a header field that is none");
    b = answered(TERN_OK);
    put_body(b, 0, 4);
    put_header(b, 3, "X-Aa\nb");
    expect_answer(b, TERN_INVALID_ARGUMENT,
                  "Handler set header X-A: name or value cannot stand in a header field of 8192 bytes");
    b = answered(TERN_OK);
    tn_frame_put_ref(&b->w, TN_ISOLATED_BODY, &(tn_frame_ref){0});
    tn_frame_put(&b->w, TN_ISOLATED_TYPE, TN_STR("a\r\nb"));
    expect_answer(b, TERN_INTERNAL, SENT "a Content-Type that is none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_setup),         cmocka_unit_test(test_environment),
        cmocka_unit_test(test_head),          cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_wrong_inputs),  cmocka_unit_test(test_answers),
        cmocka_unit_test(test_wrong_answers), cmocka_unit_test(test_inputs_that_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
