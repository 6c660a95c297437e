/*
 * test_handler.c - handlers: found, refused, attached by a model's tern.json; the example plugin end to end
 * through models, scheduler and the example engine; and what the host says to a handler that errs (a table of
 * functions in this file).
 */
#include "model_help.h"

#include <stdatomic.h>

#include "handler/attached.h"

static char *folder;
static char *plugins;
static tn_engines *engines;

static int setup(void **state)
{
    folder = help_folder();
    engines = help_engines();
    plugins = strdup(help_path("%s/nowhere:%s/handlers", folder, getenv("TERN_BUILD")));
    return 0;
}

static int teardown(void **state)
{
    tn_engines_free(engines);
    help_remove(folder);
    free(folder);
    free(plugins);
    return 0;
}

/* Version 1 of base, with a tern.json unless that is NULL. */
static void make_version(const char *base, const char *tern_json)
{
    help_version(base, "1", HALF_PLUS_TWO);
    if (tern_json == NULL)
        return;
    help_mkdir(help_path("%s/1/assets.extra", base));
    help_write(help_path("%s/1/assets.extra/tern.json", base), tern_json);
}

static tn_models *start_models(tn_handlers *h, const char *base)
{
    tn_models_options options = help_options(engines);
    options.hooks = (tn_model_hooks){h, tn_handlers_attach, tn_handlers_detach};
    tn_model_config config = {.name = TN_STR("m"), .base_path = tn_str_from(base)};
    return help_start(&options, &config, 1);
}

static tn_version *take(tn_models *m)
{
    tn_version *v;
    tern_status st;
    if (tn_models_acquire(m, &(tn_target){.name = TN_STR("m")}, &v, &st) != TERN_OK)
        fail_msg("%s", st.message);
    return v;
}

/* ---- tern.json ---- */

static void expect_failure(const char *tern_json, bool allow, const char *words)
{
    char *base = help_path("%s/m", folder);
    help_remove(base);
    make_version(base, tern_json);
    tn_handlers *h = tn_handlers_new(&(tn_handlers_config){.path = plugins, .allow_model_code = allow});
    tn_models *m = start_models(h, base);
    assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 0);
    char message[4096];
    assert_int_equal(help_state(m, "m", 1, message), TN_STATE_END);
    if (strstr(message, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", message, words);
    tn_models_free(m);
    tn_handlers_free(h);
}

static void test_refusals(void **state)
{
    expect_failure("{\"handler\": \"none\"}", false, "No handler none.so in ");
    expect_failure("{\"handler\": \"../example\"}", false, "must be a name");
    expect_failure("{\"handler\": \"\"}", false, "must be a name");
    expect_failure("{\"handler\": 3}", false, "must be a name");
    expect_failure("[1]", false, "not an object");
    expect_failure("{\"handler\": ", false, "tern.json: ");
    expect_failure("{\"handler\": \"code/handler.so\"}", false, "only with --allow_model_code");
    expect_failure("{\"handler\": \"code/handler.so\"}", true, "Cannot open handler: ");
}

static void test_not_a_handler(void **state)
{
    help_mkdir(help_path("%s/nowhere", folder));
    const char *engine = help_path("%s/engines/example.so", getenv("TERN_BUILD"));
    assert_int_equal(symlink(engine, help_path("%s/nowhere/odd.so", folder)), 0);
    expect_failure("{\"handler\": \"odd\"}", false, "is no handler: it has no tern_handler_entry()");
    help_write(help_path("%s/nowhere/text.so", folder), "this is text");
    expect_failure("{\"handler\": \"text\"}", false, "Cannot open handler: ");
}

static void test_models_without(void **state)
{
    const char *texts[] = {NULL, "{}", "{\"handler\": null, \"fingerprint\": \"x\"}"};
    for (int i = 0; i < 3; i++) {
        char *base = help_path("%s/m%d", folder, i);
        make_version(base, texts[i]);
        tn_handlers *h = tn_handlers_new(&(tn_handlers_config){.path = plugins});
        tn_models *m = start_models(h, base);
        assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 1);
        tn_version *v = take(m);
        assert_null(v->attached);
        assert_false(tn_handler_takes(v, TN_STR("text/plain")));
        tn_version_release(v);
        tn_models_free(m);
        tn_handlers_free(h);
    }
    tn_handlers *h = tn_handlers_new(&(tn_handlers_config){.path = NULL});
    assert_non_null(h);
    tn_handlers_free(h);
    tn_handlers_free(NULL);
}

/* ---- The example, end to end ---- */

typedef struct request {
    tn_call call;
    tn_handler_job job;
    atomic_bool done;
} request;

static tern_code decode(tn_call *call, tern_status *st)
{
    return tn_handler_pre(&TN_CONTAINER(call, request, call)->job, st);
}

static tern_code encode(tn_call *call, tern_status *st)
{
    return tn_handler_post(&TN_CONTAINER(call, request, call)->job, st);
}

static void done(tn_call *call)
{
    atomic_store(&TN_CONTAINER(call, request, call)->done, true);
}

static const tn_call_steps steps = {"handler", 2, decode, encode, done};

static void begin(request *r, tn_version *v, tn_str body, size_t max_response)
{
    tn_call_init(&r->call, &steps, 1 << 20);
    tn_version_retain(v);
    r->call.version = v;
    r->call.body_bytes = body.len;
    r->job = (tn_handler_job){.call = &r->call, .max_response = max_response};
    r->job.request.body = body;
    r->job.request.content_type = TN_STR("text/plain");
    atomic_store(&r->done, false);
}

static void ask(tn_schedule *s, request *r, tn_version *v, tn_str body, size_t max_response)
{
    begin(r, v, body, max_response);
    tn_schedule_submit(s, &r->call);
    while (!atomic_load(&r->done))
        help_sleep_ms(1);
}

static void finish(request *r)
{
    tn_handler_job_finish(&r->job);
    tn_handler_job_finish(&r->job);
    tn_call_finish(&r->call);
}

static void run_example(tn_handlers *h, const char *base)
{
    tn_models *m = start_models(h, base);
    assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 1);
    tn_version *v = take(m);
    tn_schedule *s;
    tern_status st;
    tn_schedule_options options = {.executors = 2, .limits = tn_limits_default()};
    assert_int_equal(tn_schedule_new(&options, &s, &st), TERN_OK);
    request *r = calloc(1, sizeof *r);
    for (int i = 0; i < 50; i++) {
        ask(s, r, v, TN_STR("one\nthree\n\nlast"), 4096);
        assert_int_equal(r->call.status.code, TERN_OK);
        assert_true(tn_str_eq(r->job.content_type, TN_STR("application/json")));
        static const char answer[] = "{\"lines\": [{\"bytes\": 3, \"y\": 3.5}, {\"bytes\": 5, \"y\": 4.5}, "
                                     "{\"bytes\": 0, \"y\": 2}, {\"bytes\": 4, \"y\": 4}]}\n";
        assert_int_equal(r->job.body.len, sizeof answer - 1);
        assert_memory_equal(r->job.body.ptr, answer, sizeof answer - 1);
        assert_true(r->call.stage_ns[TN_STAGE_PREPROCESS] > 0);
        assert_true(r->call.stage_ns[TN_STAGE_POSTPROCESS] > 0);
        assert_true((uintptr_t)r->call.inputs[0].data % TERN_ALIGNMENT == 0);
        finish(r);
    }
    ask(s, r, v, TN_STR(""), 4096);
    assert_int_equal(r->call.status.code, TERN_INVALID_ARGUMENT);
    assert_string_equal(r->call.status.message, "The document has 0 lines; 1 to 100000 are taken");
    finish(r);
    ask(s, r, v, TN_STR("one\nthree\n\nlast"), 60);
    assert_int_equal(r->call.status.code, TERN_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(r->call.status.message, "the limit is 60"));
    finish(r);
    assert_int_equal(tn_stats_stage_count(&v->stats, TN_STAGE_PREPROCESS), 52);
    tn_arena_free(&r->call.arena);
    free(r);
    tn_schedule_free(s);
    tn_version_release(v);
    tn_models_free(m);
}

static void test_example(void **state)
{
    char *base = help_path("%s/m", folder);
    make_version(base, "{\"handler\": \"example\"}");
    tn_handlers *h = tn_handlers_new(&(tn_handlers_config){.path = plugins});
    run_example(h, base);
    run_example(h, base); /* opened once, attached twice */
    tn_handlers_free(h);
}

static void test_code_in_the_model(void **state)
{
    char *base = help_path("%s/m", folder);
    make_version(base, "{\"handler\": \"code/handler.so\"}");
    help_mkdir(help_path("%s/1/code", base));
    assert_int_equal(symlink(help_path("%s/handlers/example.so", getenv("TERN_BUILD")),
                             help_path("%s/1/code/handler.so", base)),
                     0);
    tn_handlers *h = tn_handlers_new(&(tn_handlers_config){.path = plugins, .allow_model_code = true});
    run_example(h, base);
    tn_handlers_free(h);
}

/* ---- A handler that errs ---- */

typedef enum fault {
    NONE,
    BAD_SIGNATURE,
    UNKNOWN_INPUT,
    WRONG_DTYPE,
    WRONG_RANK,
    WRONG_DIM,
    NEGATIVE_DIM,
    TWICE,
    SIGNATURE_LATE,
    LEFT_OUT,
    WRITE_IN_PRE,
    INPUT_IN_POST,
    RESERVE_AND_COMMIT,
    COMMIT_TOO_MUCH,
    PRE_FAILS,
    IGNORES_FULL,
} fault;

struct tern_handler {
    fault fault;
    int released;
    tern_handler_call *kept;
};

static tern_code one_input(tern_handler_call *call, const char *alias, tern_dtype dtype, int32_t rank,
                           int64_t dim, tern_status *st)
{
    int64_t dims[2] = {dim, 1};
    void *data = NULL;
    tern_code code = tn_handler_host()->new_input(call, tn_str_from(alias), dtype, rank, dims, &data, st);
    if (code == TERN_OK)
        memset(data, 0, (size_t)dim * 4);
    return code;
}

static tern_code pre(tern_handler *h, const tern_handler_request *asked, tern_handler_call *call,
                     void **state, tern_status *st)
{
    const tern_handler_host *host = tn_handler_host();
    assert_int_equal(asked->struct_size, sizeof *asked);
    assert_null(*state);
    *state = h;
    h->kept = call;
    switch (h->fault) {
    case BAD_SIGNATURE:
        return host->set_signature(call, TN_STR("other"), st);
    case UNKNOWN_INPUT:
        return one_input(call, "z", TERN_FLOAT, 1, 2, st);
    case WRONG_DTYPE:
        return one_input(call, "x", TERN_INT32, 1, 2, st);
    case WRONG_RANK:
        return one_input(call, "x", TERN_FLOAT, 2, 2, st);
    case WRONG_DIM:
        return one_input(call, "fixed", TERN_FLOAT, 1, 2, st);
    case NEGATIVE_DIM:
        return one_input(call, "x", TERN_FLOAT, 1, -1, st);
    case LEFT_OUT:
        return one_input(call, "x", TERN_FLOAT, 1, 2, st);
    case WRITE_IN_PRE:
        assert_null(host->output(call, TN_STR("y")));
        return host->write(call, "x", 1, st);
    case PRE_FAILS:
        return tern_fail(st, TERN_DATA_LOSS, "no use");
    default:
        break;
    }
    tern_code code = host->set_signature(call, TN_STR("serving_default"), st);
    if (code == TERN_OK)
        code = one_input(call, "x", TERN_FLOAT, 1, 2, st);
    if (code == TERN_OK)
        code = one_input(call, h->fault == TWICE ? "x" : "fixed", TERN_FLOAT, 1, 3, st);
    if (code == TERN_OK && h->fault == SIGNATURE_LATE)
        code = host->set_signature(call, TN_STR("serving_default"), st);
    return code;
}

static tern_code post(tern_handler *h, const tern_handler_request *asked, tern_handler_call *call,
                      void *state, tern_status *st)
{
    const tern_handler_host *host = tn_handler_host();
    void *room;
    assert_ptr_equal(state, h);
    assert_null(host->output(call, TN_STR("no")));
    if (h->fault == INPUT_IN_POST)
        return one_input(call, "x", TERN_FLOAT, 1, 2, st);
    host->set_content_type(call, TN_STR("text/x-test"));
    if (h->fault == COMMIT_TOO_MUCH) {
        if (host->reserve(call, 10, &room, st) != TERN_OK)
            return st->code;
        host->commit(call, SIZE_MAX / 2);
        return TERN_OK;
    }
    if (h->fault == IGNORES_FULL) {
        (void)host->write(call, "0123456789", 10, st);
        for (int i = 0; i < 100; i++)
            if (host->write(call, "0123456789", 10, st) != TERN_OK)
                return TERN_OK;
        return TERN_OK;
    }
    tern_code code = host->reserve(call, 100, &room, st);
    if (code != TERN_OK)
        return code;
    memcpy(room, "ab", 2);
    host->commit(call, 2);
    code = host->write(call, "cd", 2, st);
    return code == TERN_OK ? host->write(call, NULL, 0, st) : code;
}

static void release(tern_handler *h, void *state)
{
    assert_ptr_equal(state, h);
    h->released++;
}

static const tern_handler_api api = {.struct_size = sizeof api,
                                     .abi_version = TERN_HANDLER_ABI,
                                     .name = "test",
                                     .content_types = "text/html,application/xhtml+xml",
                                     .pre = pre,
                                     .post = post,
                                     .release = release};

static const int64_t any_dim = -1;
static const int64_t three = 3;
static const tern_io inputs[] = {
    {.name = TN_STR_INIT("fixed"), .dtype = TERN_FLOAT, .rank = 1, .dims = &three},
    {.name = TN_STR_INIT("x"), .dtype = TERN_FLOAT, .rank = 1, .dims = &any_dim},
};
static const tern_io outputs[] = {{.name = TN_STR_INIT("y"), .dtype = TERN_FLOAT, .rank = -1}};
static const tern_signature signatures[] = {{.name = TN_STR_INIT("serving_default"),
                                             .inputs = inputs,
                                             .n_inputs = 2,
                                             .outputs = outputs,
                                             .n_outputs = 1}};
static const tern_signature_set signature_set = {.signatures = signatures, .n_signatures = 1};

typedef struct bench {
    tn_box *box;
    tn_handler_attached attached;
    tern_handler handler;
    request request;
    tern_status st;
} bench;

static bench *open_bench(fault f)
{
    bench *b = calloc(1, sizeof *b);
    b->box = aligned_alloc(64, sizeof *b->box);
    memset(b->box, 0, sizeof *b->box);
    atomic_init(&b->box->refs, 1);
    b->handler.fault = f;
    b->attached = (tn_handler_attached){&api, &b->handler};
    b->box->version.attached = &b->attached;
    b->box->version.signatures = &signature_set;
    begin(&b->request, &b->box->version, TN_STR("<p>"), 200);
    return b;
}

static void close_bench(bench *b)
{
    finish(&b->request);
    assert_int_equal(b->handler.released, 1);
    tn_arena_free(&b->request.call.arena);
    free(b->box);
    free(b);
}

static void expect_pre(fault f, tern_code code, const char *words)
{
    bench *b = open_bench(f);
    assert_int_equal(tn_handler_pre(&b->request.job, &b->st), code);
    assert_string_equal(b->st.message, words);
    close_bench(b);
}

static void test_faults_before_the_run(void **state)
{
    expect_pre(BAD_SIGNATURE, TERN_NOT_FOUND, "Serving signature key \"other\" not found.");
    expect_pre(UNKNOWN_INPUT, TERN_INVALID_ARGUMENT,
               "Handler made input z, which signature serving_default has not");
    expect_pre(WRONG_DTYPE, TERN_INVALID_ARGUMENT, "Handler made input x as int32, the signature has float");
    expect_pre(WRONG_RANK, TERN_INVALID_ARGUMENT, "Handler made input x of rank 2, the signature has rank 1");
    expect_pre(WRONG_DIM, TERN_INVALID_ARGUMENT,
               "Handler made input fixed with 2 in dimension 0, the signature has 3");
    expect_pre(TWICE, TERN_INVALID_ARGUMENT, "Handler made input x twice");
    expect_pre(SIGNATURE_LATE, TERN_FAILED_PRECONDITION, "Handler chose a signature after it made inputs");
    expect_pre(LEFT_OUT, TERN_INTERNAL, "Handler test made no input fixed");
    expect_pre(WRITE_IN_PRE, TERN_FAILED_PRECONDITION, "Handler called write() outside of post()");
    expect_pre(PRE_FAILS, TERN_DATA_LOSS, "no use");
    bench *b = open_bench(NEGATIVE_DIM);
    assert_int_equal(tn_handler_pre(&b->request.job, &b->st), TERN_INVALID_ARGUMENT);
    close_bench(b);
}

/* What the engine would have left. */
static void pretend_to_run(bench *b)
{
    assert_int_equal(b->request.call.n_outputs, 1);
    b->request.call.outputs = tn_arena_zalloc(&b->request.call.arena, sizeof(tern_tensor));
    assert_non_null(b->request.call.outputs);
}

static void test_faults_after_the_run(void **state)
{
    const struct {
        fault fault;
        tern_code code;
        size_t length;
    } cases[] = {{NONE, TERN_OK, 4},
                 {RESERVE_AND_COMMIT, TERN_OK, 4},
                 {COMMIT_TOO_MUCH, TERN_INTERNAL, 0},
                 {INPUT_IN_POST, TERN_FAILED_PRECONDITION, 0},
                 {IGNORES_FULL, TERN_RESOURCE_EXHAUSTED, 200}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bench *b = open_bench(cases[i].fault);
        tn_handler_job *job = &b->request.job;
        if (tn_handler_pre(job, &b->st) != TERN_OK)
            fail_msg("%s", b->st.message);
        pretend_to_run(b);
        assert_int_equal(tn_handler_post(job, &b->st), cases[i].code);
        assert_int_equal(job->body.len, cases[i].length);
        if (cases[i].code == TERN_OK) {
            assert_true(tn_str_eq(job->content_type, TN_STR("text/x-test")));
            assert_memory_equal(job->body.ptr, "abcd", 4);
        }
        close_bench(b);
    }
}

static void test_content_types(void **state)
{
    bench *b = open_bench(NONE);
    const tn_version *v = &b->box->version;
    assert_true(tn_handler_takes(v, TN_STR("text/html")));
    assert_true(tn_handler_takes(v, TN_STR("Text/HTML; charset=utf-8")));
    assert_true(tn_handler_takes(v, TN_STR(" application/xhtml+xml ;q=1")));
    assert_false(tn_handler_takes(v, TN_STR("text/htm")));
    assert_false(tn_handler_takes(v, TN_STR("text/html2")));
    assert_false(tn_handler_takes(v, TN_STR("text/html,application/xhtml+xml")));
    assert_false(tn_handler_takes(v, TN_STR("")));
    assert_false(tn_handler_takes(v, TN_STR_NONE));
    assert_int_equal(tn_handler_pre(&b->request.job, &b->st), TERN_OK);
    close_bench(b);
    tn_handler_job none = {0};
    tn_handler_job_finish(&none);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_refusals),
        WITH_FOLDER(test_not_a_handler),
        WITH_FOLDER(test_models_without),
        WITH_FOLDER(test_example),
        WITH_FOLDER(test_code_in_the_model),
        cmocka_unit_test(test_faults_before_the_run),
        cmocka_unit_test(test_faults_after_the_run),
        cmocka_unit_test(test_content_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
