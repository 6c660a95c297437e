/*
 * test_handler_host.c - what the host gives a handler, and says to one that errs. Each case is a pre() and a
 * post() of this file, run on a call without a model.
 */
#include "model_help.h"

#include "handler/attached.h"

static const tern_handler_host *host;

typedef tern_code (*pre_fn)(tern_handler_call *call, tern_status *st);

struct tern_handler {
    pre_fn pre, post;
    int released;
    tern_handler_call *kept;
};

static const int64_t any_dim = -1;
static const int64_t three = 3;
static const int64_t pair[] = {2};

static tern_code input(tern_handler_call *call, const char *alias, tern_dtype dtype, int32_t rank,
                       int64_t dim, tern_status *st)
{
    int64_t dims[2] = {dim, 1};
    void *data = NULL;
    tern_code code = host->new_input(call, tn_str_from(alias), dtype, rank, dims, &data, st);
    if (code == TERN_OK)
        memset(data, 1, (size_t)(dim > 0 ? dim : 0) * 4);
    return code;
}

/* All inputs of serving_default. */
static tern_code good_pre(tern_handler_call *call, tern_status *st)
{
    tern_code code = input(call, "x", TERN_FLOAT, 1, 2, st);
    return code == TERN_OK ? input(call, "fixed", TERN_FLOAT, 1, 3, st) : code;
}

static tern_code good_post(tern_handler_call *call, tern_status *st)
{
    void *room;
    host->set_content_type(call, TN_STR("text/x-test"));
    tern_code code = host->reserve(call, 100, &room, st);
    if (code != TERN_OK)
        return code;
    memcpy(room, "ab", 2);
    host->commit(call, 2);
    code = host->write(call, "cd", 2, st);
    return code == TERN_OK ? host->write(call, NULL, 0, st) : code;
}

static tern_code pre(tern_handler *h, const tern_handler_request *asked, tern_handler_call *call,
                     void **state, tern_status *st)
{
    assert_int_equal(asked->struct_size, sizeof *asked);
    assert_null(*state);
    *state = h;
    h->kept = call;
    return h->pre(call, st);
}

static tern_code post(tern_handler *h, const tern_handler_request *asked, tern_handler_call *call,
                      void *state, tern_status *st)
{
    assert_ptr_equal(state, h);
    return h->post(call, st);
}

static void release(tern_handler *h, void *state)
{
    assert_ptr_equal(state, h);
    h->released++;
}

static const tern_handler_api api = {.struct_size = sizeof api,
                                     .abi_version = TERN_HANDLER_ABI,
                                     .name = "test",
                                     .content_types = "text/html,application/xhtml+xml,image/*",
                                     .pre = pre,
                                     .post = post,
                                     .release = release};

static const tern_io inputs[] = {
    {.name = TN_STR_INIT("fixed"), .dtype = TERN_FLOAT, .rank = 1, .dims = &three},
    {.name = TN_STR_INIT("x"), .dtype = TERN_FLOAT, .rank = 1, .dims = &any_dim},
};
static const tern_io text_inputs[] = {
    {.name = TN_STR_INIT("free"), .dtype = TERN_FLOAT, .rank = -1},
    {.name = TN_STR_INIT("words"), .dtype = TERN_STRING, .rank = 1, .dims = &any_dim},
};
static const tern_io outputs[] = {{.name = TN_STR_INIT("y"), .dtype = TERN_FLOAT, .rank = -1},
                                  {.name = TN_STR_INIT("z"), .dtype = TERN_FLOAT, .rank = -1}};
#define SIGNATURE(text, in, n_in)                                                                            \
    {                                                                                                        \
        .name = TN_STR_INIT(text), .inputs = in, .n_inputs = n_in, .outputs = outputs, .n_outputs = 2        \
    }
static const tern_signature signatures[] = {
    SIGNATURE("a", NULL, 0),           SIGNATURE("b", NULL, 0), SIGNATURE("c", NULL, 0),
    SIGNATURE("d", NULL, 0),           SIGNATURE("e", NULL, 0), SIGNATURE("f", NULL, 0),
    SIGNATURE("g", NULL, 0),           SIGNATURE("h", NULL, 0), SIGNATURE("serving_default", inputs, 2),
    SIGNATURE("text", text_inputs, 2),
};
static const tern_signature_set signature_set = {.signatures = signatures, .n_signatures = 10};

/* ---- One call ---- */

typedef struct bench {
    tn_box *box;
    tn_handler_attached attached;
    tern_handler handler;
    tn_call call;
    tn_handler_job job;
    tn_budget budget;
    tern_status st;
} bench;

static const tn_call_steps steps = {.name = "handler"};

static bench *open_bench(pre_fn before, pre_fn after)
{
    host = tn_handler_host();
    bench *b = calloc(1, sizeof *b);
    b->box = aligned_alloc(64, sizeof *b->box);
    memset(b->box, 0, sizeof *b->box);
    atomic_init(&b->box->refs, 1);
    b->handler.pre = before;
    b->handler.post = after;
    b->attached = (tn_handler_attached){&api, &b->handler};
    b->box->version.attached = &b->attached;
    b->box->version.signatures = &signature_set;
    tn_budget_init(&b->budget, 4096);
    tn_call_init(&b->call, &steps, 1 << 20);
    tn_version_retain(&b->box->version);
    b->call.version = &b->box->version;
    b->job = (tn_handler_job){.call = &b->call, .max_response = 200, .budget = &b->budget};
    memset(&b->st, 'x', sizeof b->st); /* what a handler leaves alone is not taken for its words */
    return b;
}

static void close_bench(bench *b)
{
    tn_handler_job_finish(&b->job);
    tn_handler_job_finish(&b->job);
    assert_int_equal(atomic_load(&b->budget.used), 0);
    tn_call_finish(&b->call);
    assert_int_equal(b->handler.released, 1);
    tn_arena_free(&b->call.arena);
    free(b->box);
    free(b);
}

/* What the engine would have left. */
static void pretend_to_run(bench *b)
{
    assert_false(b->call.skip_run);
    b->call.outputs = tn_arena_zalloc(&b->call.arena, b->call.n_outputs * sizeof(tern_tensor));
    assert_non_null(b->call.outputs);
    for (uint32_t k = 0; k < b->call.n_more; k++)
        b->call.more[k].outputs =
            tn_arena_zalloc(&b->call.arena, b->call.more[k].n_outputs * sizeof(tern_tensor));
}

static bench *good_bench(pre_fn before, pre_fn after)
{
    bench *b = open_bench(before, after);
    if (tn_handler_pre(&b->job, &b->st) != TERN_OK)
        fail_msg("%s", b->st.message);
    return b;
}

static void expect_pre(pre_fn before, tern_code code, const char *words)
{
    bench *b = open_bench(before, good_post);
    assert_int_equal(tn_handler_pre(&b->job, &b->st), code);
    assert_string_equal(b->st.message, words);
    assert_int_equal(b->st.code, code);
    close_bench(b);
}

static void expect_post(pre_fn after, tern_code code, const char *words)
{
    bench *b = good_bench(good_pre, after);
    pretend_to_run(b);
    assert_int_equal(tn_handler_post(&b->job, &b->st), code);
    assert_string_equal(b->st.message, words);
    close_bench(b);
}

/* ---- Inputs and signatures ---- */

static tern_code bad_signature(tern_handler_call *call, tern_status *st)
{
    return host->set_signature(call, TN_STR("other"), st);
}

static tern_code unknown_input(tern_handler_call *call, tern_status *st)
{
    return input(call, "z", TERN_FLOAT, 1, 2, st);
}

static tern_code wrong_dtype(tern_handler_call *call, tern_status *st)
{
    return input(call, "x", TERN_INT32, 1, 2, st);
}

static tern_code no_dtype(tern_handler_call *call, tern_status *st)
{
    return input(call, "x", (tern_dtype)1234, 1, 2, st);
}

static tern_code wrong_rank(tern_handler_call *call, tern_status *st)
{
    return input(call, "x", TERN_FLOAT, 2, 2, st);
}

static tern_code wrong_dim(tern_handler_call *call, tern_status *st)
{
    return input(call, "fixed", TERN_FLOAT, 1, 2, st);
}

static tern_code twice(tern_handler_call *call, tern_status *st)
{
    tern_code code = input(call, "x", TERN_FLOAT, 1, 2, st);
    return code == TERN_OK ? input(call, "x", TERN_FLOAT, 1, 2, st) : code;
}

static tern_code late(tern_handler_call *call, tern_status *st)
{
    tern_code code = good_pre(call, st);
    return code == TERN_OK ? host->set_signature(call, TN_STR("serving_default"), st) : code;
}

static tern_code left_out(tern_handler_call *call, tern_status *st)
{
    return input(call, "x", TERN_FLOAT, 1, 2, st);
}

static tern_code no_dims(tern_handler_call *call, tern_status *st)
{
    void *data;
    return host->new_input(call, TN_STR("x"), TERN_FLOAT, 1, NULL, &data, st);
}

static tern_code odd_rank(tern_handler_call *call, tern_status *st)
{
    void *data;
    tern_code code = host->set_signature(call, TN_STR("text"), st);
    return code == TERN_OK ? host->new_input(call, TN_STR("free"), TERN_FLOAT, -7, pair, &data, st) : code;
}

static tern_code rank_beyond(tern_handler_call *call, tern_status *st)
{
    static const int64_t dims[300];
    void *data;
    tern_code code = host->set_signature(call, TN_STR("text"), st);
    return code == TERN_OK ? host->new_input(call, TN_STR("free"), TERN_FLOAT, 300, dims, &data, st) : code;
}

static tern_code over_budget(tern_handler_call *call, tern_status *st)
{
    void *data;
    const int64_t dims[1] = {2000};
    return host->new_input(call, TN_STR("x"), TERN_FLOAT, 1, dims, &data, st);
}

static tern_code strings_by_new_input(tern_handler_call *call, tern_status *st)
{
    void *data;
    tern_code code = host->set_signature(call, TN_STR("text"), st);
    return code == TERN_OK ? host->new_input(call, TN_STR("words"), TERN_STRING, 1, pair, &data, st) : code;
}

static tern_code strings_for_floats(tern_handler_call *call, tern_status *st)
{
    uint64_t *ends;
    char *text;
    return host->new_string_input(call, TN_STR("x"), 1, pair, 10, &ends, &text, st);
}

static tern_code no_output(tern_handler_call *call, tern_status *st)
{
    return host->want_output(call, TN_STR("x"), st);
}

static tern_code same_signature(tern_handler_call *call, tern_status *st)
{
    return host->add_signature(call, TN_STR("serving_default"), st);
}

static tern_code many_signatures(tern_handler_call *call, tern_status *st)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    tern_code code = TERN_OK;
    for (int i = 0; code == TERN_OK && i < 8; i++)
        code = host->add_signature(call, tn_str_from(names[i]), st);
    return code;
}

static void test_faults_of_inputs(void **state)
{
    expect_pre(bad_signature, TERN_NOT_FOUND, "Serving signature key \"other\" not found.");
    expect_pre(unknown_input, TERN_INVALID_ARGUMENT,
               "Handler made input z, which signature serving_default does not have");
    expect_pre(wrong_dtype, TERN_INVALID_ARGUMENT, "Handler made input x as int32, the signature has float");
    expect_pre(no_dtype, TERN_INVALID_ARGUMENT, "Handler made input x as no dtype, the signature has float");
    expect_pre(wrong_rank, TERN_INVALID_ARGUMENT, "Handler made input x of rank 2, the signature has rank 1");
    expect_pre(wrong_dim, TERN_INVALID_ARGUMENT,
               "Handler made input fixed with 2 in dimension 0, the signature has 3");
    expect_pre(twice, TERN_INVALID_ARGUMENT, "Handler made input x twice");
    expect_pre(late, TERN_FAILED_PRECONDITION,
               "Handler chose a signature after it made inputs; add_signature() begins another one");
    expect_pre(left_out, TERN_INTERNAL, "Handler test made no input fixed");
    expect_pre(no_dims, TERN_INVALID_ARGUMENT, "Handler made input x of rank 1 without dimensions");
    expect_pre(odd_rank, TERN_INVALID_ARGUMENT, "Handler made input free of rank -7");
    expect_pre(rank_beyond, TERN_INVALID_ARGUMENT, "Handler made input free of rank 300");
    expect_pre(over_budget, TERN_RESOURCE_EXHAUSTED,
               "Too many bytes of requests are in flight (--max_bytes_in_flight); try again later");
    expect_pre(strings_by_new_input, TERN_INVALID_ARGUMENT,
               "Handler made input words by new_input(); strings are made by new_string_input()");
    expect_pre(strings_for_floats, TERN_INVALID_ARGUMENT,
               "Handler made input x as string, the signature has float");
    expect_pre(no_output, TERN_INVALID_ARGUMENT,
               "Handler wants output x, which signature serving_default does not have");
    expect_pre(same_signature, TERN_INVALID_ARGUMENT, "Handler chose signature serving_default twice");
    expect_pre(many_signatures, TERN_INVALID_ARGUMENT, "Handler chose more than 8 signatures");
}

static tern_code negative_dim(tern_handler_call *call, tern_status *st)
{
    return input(call, "x", TERN_FLOAT, 1, -1, st);
}

static tern_code overflowing_dims(tern_handler_call *call, tern_status *st)
{
    const int64_t dims[2] = {INT64_MAX, INT64_MAX};
    void *data;
    tern_code code = host->set_signature(call, TN_STR("text"), st);
    return code == TERN_OK ? host->new_input(call, TN_STR("free"), TERN_FLOAT, 2, dims, &data, st) : code;
}

static tern_code huge_strings(tern_handler_call *call, tern_status *st)
{
    uint64_t *ends;
    char *text;
    tern_code code = host->set_signature(call, TN_STR("text"), st);
    return code == TERN_OK
               ? host->new_string_input(call, TN_STR("words"), 1, pair, SIZE_MAX - 4, &ends, &text, st)
               : code;
}

/* Shapes that cannot be: the words are the tensors' own. */
static void test_impossible_shapes(void **state)
{
    const pre_fn cases[] = {negative_dim, overflowing_dims, huge_strings};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bench *b = open_bench(cases[i], good_post);
        assert_int_equal(tn_handler_pre(&b->job, &b->st), TERN_INVALID_ARGUMENT);
        assert_true(b->st.length > 0);
        close_bench(b);
    }
}

/* ---- Strings ---- */

static tern_code text_pre(tern_handler_call *call, tern_status *st)
{
    const tern_str words[2] = {TN_STR("sea"), TN_STR("")};
    tern_code code = host->set_signature(call, TN_STR("text"), st);
    if (code == TERN_OK)
        code = tern_handler_add_strings(host, call, TN_STR("words"), 1, pair, words, 2, st);
    return code == TERN_OK ? input(call, "free", TERN_FLOAT, 0, 1, st) : code;
}

static void fill(uint64_t *ends, uint64_t a, uint64_t b)
{
    ends[0] = a;
    ends[1] = b;
}

static tern_code words(tern_handler_call *call, uint64_t a, uint64_t b, tern_status *st)
{
    uint64_t *ends;
    char *text;
    tern_code code = host->set_signature(call, TN_STR("text"), st);
    if (code == TERN_OK)
        code = input(call, "free", TERN_FLOAT, 0, 1, st);
    if (code == TERN_OK)
        code = host->new_string_input(call, TN_STR("words"), 1, pair, 10, &ends, &text, st);
    if (code != TERN_OK)
        return code;
    memset(text, 'w', 10);
    assert_int_equal(ends[0] + ends[1], 0); /* what is not written is empty */
    fill(ends, a, b);
    return TERN_OK;
}

static tern_code short_words(tern_handler_call *call, tern_status *st)
{
    return words(call, 1, 4, st);
}

static tern_code falling_ends(tern_handler_call *call, tern_status *st)
{
    return words(call, 7, 3, st);
}

static tern_code ends_beyond(tern_handler_call *call, tern_status *st)
{
    return words(call, 1, 11, st);
}

static tern_code ends_wrapping(tern_handler_call *call, tern_status *st)
{
    return words(call, UINT64_MAX - 1, UINT64_MAX, st);
}

static void test_strings(void **state)
{
    bench *b = good_bench(text_pre, good_post);
    const tern_tensor *t = &b->call.inputs[0];
    assert_int_equal(t->dtype, TERN_STRING);
    assert_int_equal(t->size, 3 * 8 + 3);
    assert_true(tn_str_eq(tn_string_at(t, 2, 0), TN_STR("sea")));
    assert_int_equal(tn_string_at(t, 2, 1).len, 0);
    close_bench(b);
    b = good_bench(short_words, good_post);
    assert_int_equal(b->call.inputs[1].size, 3 * 8 + 4);
    assert_true(tn_str_eq(tn_string_at(&b->call.inputs[1], 2, 1), TN_STR("www")));
    close_bench(b);
    static const char beyond[] =
        "Handler test: the ends of the strings of input words do not ascend to at most 10";
    expect_pre(falling_ends, TERN_INTERNAL, beyond);
    expect_pre(ends_beyond, TERN_INTERNAL, beyond);
    expect_pre(ends_wrapping, TERN_INTERNAL, beyond);
}

/* ---- Several signatures, chosen outputs ---- */

static tern_code two_signatures(tern_handler_call *call, tern_status *st)
{
    tern_code code = good_pre(call, st);
    if (code == TERN_OK)
        code = host->want_output(call, TN_STR("z"), st);
    if (code == TERN_OK)
        code = host->want_output(call, TN_STR("z"), st);
    if (code == TERN_OK)
        code = host->add_signature(call, TN_STR("text"), st);
    if (code == TERN_OK)
        code = input(call, "free", TERN_FLOAT, 0, 1, st);
    if (code == TERN_OK)
        code = tern_handler_add_strings(host, call, TN_STR("words"), 1, (int64_t[]){0}, NULL, 0, st);
    return code;
}

static tern_code outputs_of_both(tern_handler_call *call, tern_status *st)
{
    assert_null(host->output(call, TN_STR("y")));
    assert_non_null(host->output(call, TN_STR("z")));
    assert_null(host->output(call, TN_STR("no")));
    assert_ptr_equal(host->output_of(call, TN_STR("serving_default"), TN_STR("z")),
                     host->output(call, TN_STR("z")));
    assert_null(host->output_of(call, TN_STR("serving_default"), TN_STR("y")));
    const tern_tensor *y = host->output_of(call, TN_STR("text"), TN_STR("y"));
    assert_non_null(y);
    assert_ptr_equal(host->output_of(call, TN_STR("text"), TN_STR("z")), y + 1);
    assert_null(host->output_of(call, TN_STR("a"), TN_STR("y")));
    assert_null(host->output_of(call, TN_STR_NONE, TN_STR_NONE));
    return good_post(call, st);
}

static void test_several_signatures(void **state)
{
    bench *b = good_bench(two_signatures, outputs_of_both);
    assert_int_equal(b->call.n_inputs, 2);
    assert_int_equal(b->call.n_outputs, 1);
    assert_int_equal(b->call.output_ids[0], 1);
    assert_int_equal(b->call.n_more, 1);
    assert_int_equal(b->call.more[0].n_inputs, 2);
    assert_int_equal(b->call.more[0].n_outputs, 2);
    pretend_to_run(b);
    assert_int_equal(tn_handler_post(&b->job, &b->st), TERN_OK);
    close_bench(b);
}

static tern_code second_left_out(tern_handler_call *call, tern_status *st)
{
    tern_code code = good_pre(call, st);
    if (code == TERN_OK)
        code = host->add_signature(call, TN_STR("text"), st);
    return code == TERN_OK ? input(call, "free", TERN_FLOAT, 0, 1, st) : code;
}

static void test_faults_of_a_second_signature(void **state)
{
    expect_pre(second_left_out, TERN_INTERNAL, "Handler test made no input words");
}

/* ---- The answer ---- */

static tern_code write_in_pre(tern_handler_call *call, tern_status *st)
{
    return host->write(call, "x", 1, st);
}

static tern_code silent_output_in_pre(tern_handler_call *call, tern_status *st)
{
    assert_null(host->output(call, TN_STR("y")));
    assert_null(host->output_of(call, TN_STR("text"), TN_STR("y")));
    return good_pre(call, st);
}

static tern_code type_in_pre(tern_handler_call *call, tern_status *st)
{
    host->set_content_type(call, TN_STR("text/plain"));
    return good_pre(call, st);
}

static tern_code commit_in_pre(tern_handler_call *call, tern_status *st)
{
    host->commit(call, 0);
    return good_pre(call, st);
}

static tern_code header_in_pre(tern_handler_call *call, tern_status *st)
{
    return host->add_header(call, TN_STR("x-a"), TN_STR("b"), st);
}

static tern_code says_nothing(tern_handler_call *call, tern_status *st)
{
    return TERN_DATA_LOSS;
}

static tern_code no_code(tern_handler_call *call, tern_status *st)
{
    return (tern_code)-5;
}

static tern_code own_words(tern_handler_call *call, tern_status *st)
{
    return tern_fail(st, TERN_DATA_LOSS, "no use");
}

static tern_code long_words(tern_handler_call *call, tern_status *st)
{
    st->length = 1u << 30;
    return TERN_INTERNAL;
}

static void test_faults_before_the_run(void **state)
{
    expect_pre(write_in_pre, TERN_FAILED_PRECONDITION, "Handler called write() in pre() before answer_now()");
    expect_pre(header_in_pre, TERN_FAILED_PRECONDITION,
               "Handler called add_header() in pre() before answer_now()");
    expect_pre(silent_output_in_pre, TERN_INTERNAL, "Handler test called output() outside of post()");
    expect_pre(type_in_pre, TERN_INTERNAL,
               "Handler test called set_content_type() where there is no answer to make");
    expect_pre(commit_in_pre, TERN_INTERNAL, "Handler test called commit() where there is no answer to make");
    expect_pre(own_words, TERN_DATA_LOSS, "no use");
    expect_pre(says_nothing, TERN_DATA_LOSS, "Handler test: pre() failed and did not say why");
    expect_pre(long_words, TERN_INTERNAL, "Handler test: pre() failed and did not say why");
    expect_pre(no_code, TERN_UNKNOWN, "Handler test: pre() returned -5, which is no code");
}

static tern_code input_in_post(tern_handler_call *call, tern_status *st)
{
    return input(call, "x", TERN_FLOAT, 1, 2, st);
}

static tern_code output_wanted_in_post(tern_handler_call *call, tern_status *st)
{
    return host->want_output(call, TN_STR("y"), st);
}

static tern_code answer_in_post(tern_handler_call *call, tern_status *st)
{
    return host->answer_now(call, st);
}

static tern_code commit_too_much(tern_handler_call *call, tern_status *st)
{
    void *room;
    if (host->reserve(call, 10, &room, st) != TERN_OK)
        return st->code;
    host->commit(call, SIZE_MAX / 2);
    return TERN_OK;
}

static tern_code commit_twice(tern_handler_call *call, tern_status *st)
{
    void *room;
    if (host->reserve(call, 10, &room, st) != TERN_OK)
        return st->code;
    memset(room, 'a', 10);
    host->commit(call, 8);
    host->commit(call, 3);
    return TERN_OK;
}

static tern_code write_null(tern_handler_call *call, tern_status *st)
{
    return host->write(call, NULL, 5, st);
}

static tern_code ignores_full(tern_handler_call *call, tern_status *st)
{
    for (int i = 0; i < 100; i++)
        if (host->write(call, "0123456789", 10, st) != TERN_OK)
            return TERN_OK;
    return TERN_OK;
}

static tern_code type_with_newline(tern_handler_call *call, tern_status *st)
{
    host->set_content_type(call, TN_STR("text/plain\r\nx-evil: 1"));
    return TERN_OK;
}

static tern_code status_of_no_body(tern_handler_call *call, tern_status *st)
{
    return host->set_status(call, 204, st);
}

static tern_code status_beyond(tern_handler_call *call, tern_status *st)
{
    return host->set_status(call, 1000, st);
}

static tern_code header_with_newline(tern_handler_call *call, tern_status *st)
{
    return host->add_header(call, TN_STR("x-a"), TN_STR("b\nc"), st);
}

static tern_code header_no_token(tern_handler_call *call, tern_status *st)
{
    return host->add_header(call, TN_STR("x a"), TN_STR("b"), st);
}

static tern_code header_of_the_server(tern_handler_call *call, tern_status *st)
{
    return host->add_header(call, TN_STR("Content-Length"), TN_STR("5"), st);
}

static tern_code header_too_long(tern_handler_call *call, tern_status *st)
{
    static char value[TN_HANDLER_HEADER_BYTES];
    memset(value, 'v', sizeof value);
    return host->add_header(call, TN_STR("x-a"), (tn_str){value, sizeof value}, st);
}

static tern_code headers_too_many(tern_handler_call *call, tern_status *st)
{
    tern_code code = TERN_OK;
    for (int i = 0; code == TERN_OK && i <= TN_HANDLER_HEADERS; i++)
        code = host->add_header(call, TN_STR("x-a"), TN_STR(""), st);
    return code;
}

static void test_faults_after_the_run(void **state)
{
    expect_post(input_in_post, TERN_FAILED_PRECONDITION, "Handler called new_input() outside of pre()");
    expect_post(output_wanted_in_post, TERN_FAILED_PRECONDITION,
                "Handler called want_output() outside of pre()");
    expect_post(answer_in_post, TERN_FAILED_PRECONDITION, "Handler called answer_now() outside of pre()");
    expect_post(commit_too_much, TERN_INTERNAL, "Handler test committed more bytes than it had reserved");
    expect_post(commit_twice, TERN_INTERNAL, "Handler test committed more bytes than it had reserved");
    expect_post(write_null, TERN_INVALID_ARGUMENT, "Handler called write() with 5 bytes at NULL");
    expect_post(ignores_full, TERN_RESOURCE_EXHAUSTED, "The answer is larger than 200 bytes");
    expect_post(type_with_newline, TERN_INTERNAL,
                "Handler test set a Content-Type that no header field can hold");
    expect_post(status_of_no_body, TERN_INVALID_ARGUMENT,
                "Handler set status 204; it can be 200 to 599, but not 204, 205 and 304");
    expect_post(status_beyond, TERN_INVALID_ARGUMENT,
                "Handler set status 1000; it can be 200 to 599, but not 204, 205 and 304");
    expect_post(header_with_newline, TERN_INVALID_ARGUMENT,
                "Handler set header x-a: name or value cannot stand in a header field of 8192 bytes");
    expect_post(header_no_token, TERN_INVALID_ARGUMENT,
                "Handler set header : name or value cannot stand in a header field of 8192 bytes");
    expect_post(header_of_the_server, TERN_INVALID_ARGUMENT,
                "Handler set header Content-Length, which the server sets itself");
    expect_post(header_too_long, TERN_INVALID_ARGUMENT,
                "Handler set header x-a: name or value cannot stand in a header field of 8192 bytes");
    expect_post(headers_too_many, TERN_INVALID_ARGUMENT, "Handler set more than 16 headers");
    expect_post(says_nothing, TERN_DATA_LOSS, "Handler test: post() failed and did not say why");
}

static tern_code whole_head(tern_handler_call *call, tern_status *st)
{
    tern_code code = host->set_status(call, 422, st);
    if (code == TERN_OK)
        code = host->add_header(call, TN_STR("X-Amzn-Custom"), TN_STR(" a=b, c\t"), st);
    if (code == TERN_OK)
        code = host->add_header(call, TN_STR("x-b"), TN_STR("\xc3\xb6"), st);
    return code == TERN_OK ? good_post(call, st) : code;
}

static void expect_head(const bench *b)
{
    assert_int_equal(b->job.status, 422);
    assert_int_equal(b->job.n_headers, 2);
    assert_true(tn_str_eq(b->job.headers[0].name, TN_STR("x-amzn-custom")));
    assert_true(tn_str_eq(b->job.headers[0].value, TN_STR("a=b, c")));
    assert_true(tn_str_eq(b->job.content_type, TN_STR("text/x-test")));
    assert_int_equal(b->job.body.len, 4);
    assert_memory_equal(b->job.body.ptr, "abcd", 4);
}

static void test_answer(void **state)
{
    bench *b = good_bench(good_pre, whole_head);
    assert_int_equal(b->call.n_outputs, 2);
    pretend_to_run(b);
    assert_int_equal(tn_handler_post(&b->job, &b->st), TERN_OK);
    expect_head(b);
    close_bench(b);
}

static tern_code answers_at_once(tern_handler_call *call, tern_status *st)
{
    tern_code code = input(call, "x", TERN_FLOAT, 1, 2, st); /* forgotten */
    if (code == TERN_OK)
        code = host->answer_now(call, st);
    return code == TERN_OK ? whole_head(call, st) : code;
}

static tern_code never(tern_handler_call *call, tern_status *st)
{
    fail_msg("post() after an answer of pre()");
    return TERN_OK;
}

static tern_code answers_twice(tern_handler_call *call, tern_status *st)
{
    tern_code code = host->answer_now(call, st);
    return code == TERN_OK ? host->answer_now(call, st) : code;
}

static tern_code input_after_answer(tern_handler_call *call, tern_status *st)
{
    tern_code code = host->answer_now(call, st);
    return code == TERN_OK ? input(call, "x", TERN_FLOAT, 1, 2, st) : code;
}

static void test_answer_of_pre(void **state)
{
    bench *b = good_bench(answers_at_once, never);
    assert_true(b->call.skip_run);
    assert_null(b->call.signature);
    assert_int_equal(tn_handler_post(&b->job, &b->st), TERN_OK);
    expect_head(b);
    close_bench(b);
    expect_pre(answers_twice, TERN_FAILED_PRECONDITION, "Handler called answer_now() after answer_now()");
    expect_pre(input_after_answer, TERN_FAILED_PRECONDITION, "Handler called new_input() after answer_now()");
}

static tern_code fails_with_status(tern_handler_call *call, tern_status *st)
{
    tern_code code = host->set_status(call, 418, st);
    return code == TERN_OK ? tern_fail(st, TERN_INVALID_ARGUMENT, "a teapot") : code;
}

static void test_status_of_an_error(void **state)
{
    bench *b = open_bench(fails_with_status, never);
    assert_int_equal(tn_handler_pre(&b->job, &b->st), TERN_INVALID_ARGUMENT);
    assert_int_equal(b->job.status, 418);
    assert_false(b->call.skip_run);
    close_bench(b);
}

/* The call's pointer outlives pre() and post() in a handler that kept it; nothing comes of that. */
static void test_outside(void **state)
{
    bench *b = good_bench(good_pre, good_post);
    void *room;
    tern_status st;
    tern_handler_call *kept = b->handler.kept;
    assert_int_equal(input(kept, "x", TERN_FLOAT, 1, 2, &st), TERN_FAILED_PRECONDITION);
    assert_string_equal(st.message, "Handler called new_input() outside of pre()");
    assert_int_equal(host->write(kept, "a", 1, &st), TERN_FAILED_PRECONDITION);
    assert_string_equal(st.message, "Handler called write() outside of pre() and post()");
    assert_int_equal(host->reserve(kept, 1, &room, &st), TERN_FAILED_PRECONDITION);
    assert_int_equal(host->set_status(kept, 200, &st), TERN_FAILED_PRECONDITION);
    assert_string_equal(st.message, "Handler called set_status() outside of pre() and post()");
    assert_int_equal(host->add_signature(kept, TN_STR("a"), &st), TERN_FAILED_PRECONDITION);
    assert_int_equal(host->set_signature(kept, TN_STR("a"), &st), TERN_FAILED_PRECONDITION);
    close_bench(b);
}

static int was_cancelled;

static tern_code looks(tern_handler_call *call, tern_status *st)
{
    was_cancelled = host->cancelled(call);
    return good_pre(call, st);
}

static void test_cancelled(void **state)
{
    for (int i = 0; i < 4; i++) {
        bench *b = open_bench(looks, good_post);
        atomic_store(&b->call.cancelled, i == 1);
        b->call.deadline_ns = i == 2 ? 1 : i == 3 ? INT64_MAX : 0;
        assert_int_equal(tn_handler_pre(&b->job, &b->st), TERN_OK);
        assert_int_equal(was_cancelled, i == 1 || i == 2);
        close_bench(b);
    }
}

static void test_content_types(void **state)
{
    bench *b = good_bench(good_pre, good_post);
    const tn_version *v = &b->box->version;
    assert_true(tn_handler_takes(v, TN_STR("text/html")));
    assert_true(tn_handler_takes(v, TN_STR("Text/HTML; charset=utf-8")));
    assert_true(tn_handler_takes(v, TN_STR(" application/xhtml+xml ;q=1")));
    assert_true(tn_handler_takes(v, TN_STR("image/png")));
    assert_false(tn_handler_takes(v, TN_STR("text/htm")));
    assert_false(tn_handler_takes(v, TN_STR("text/html2")));
    assert_false(tn_handler_takes(v, TN_STR("text/html,application/xhtml+xml")));
    assert_false(tn_handler_takes(v, TN_STR("")));
    assert_false(tn_handler_takes(v, TN_STR_NONE));
    tern_handler_api all = api;
    all.content_types = "*";
    b->attached.api = &all;
    assert_true(tn_handler_takes(v, TN_STR("x/y")));
    assert_false(tn_handler_takes(v, TN_STR("Application/JSON; charset=utf-8")));
    all.content_types = "application/json,*";
    assert_true(tn_handler_takes(v, TN_STR("application/json")));
    b->attached.api = &api;
    close_bench(b);
    tn_handler_job none = {0};
    tn_handler_job_finish(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults_of_inputs),
        cmocka_unit_test(test_impossible_shapes),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_several_signatures),
        cmocka_unit_test(test_faults_of_a_second_signature),
        cmocka_unit_test(test_faults_before_the_run),
        cmocka_unit_test(test_faults_after_the_run),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_answer_of_pre),
        cmocka_unit_test(test_status_of_an_error),
        cmocka_unit_test(test_outside),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_content_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
