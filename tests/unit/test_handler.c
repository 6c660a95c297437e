/*
 * test_handler.c - handlers: found, refused, attached by a model's tern.json or its place; the example
 * plugin, and those of other ages, end to end through models, scheduler and the example engine. What the host
 * says to a handler is test_handler_host.c.
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
    plugins = strdup(
        help_path("%s/nowhere:%s/handlers:%s/tests/abi", folder, getenv("TERN_BUILD"), getenv("TERN_BUILD")));
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

/* Built with the header of Tern 0.1, and with a table that is larger than this one's. */
static void test_other_ages(void **state)
{
    static const char *const texts[] = {"{\"handler\": \"handler_v0_1\"}",
                                        "{\"handler\": \"handler_future\"}"};
    for (int i = 0; i < 2; i++) {
        char *base = help_path("%s/m", folder);
        help_remove(base);
        make_version(base, texts[i]);
        tn_handlers *h = tn_handlers_new(&(tn_handlers_config){.path = plugins});
        run_example(h, base);
        tn_handlers_free(h);
    }
}

static void put_code(const char *where)
{
    help_mkdir(help_path("%s/code", where));
    assert_int_equal(symlink(help_path("%s/handlers/example.so", getenv("TERN_BUILD")),
                             help_path("%s/code/handler.so", where)),
                     0);
}

/*
 * SageMaker's layout: in the version, beside the versions, at the root, outside of it; a tern.json goes
 * first.
 */
static void test_code_root(void **state)
{
    static const char *const places[] = {"ml/model/m/1", "ml/model/m", "ml/model", "ml"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        help_remove(help_path("%s/ml", folder));
        help_mkdir(help_path("%s/ml", folder));
        help_mkdir(help_path("%s/ml/model", folder));
        char *base = help_path("%s/ml/model/m", folder);
        make_version(base, i == 1 ? "{}" : NULL);
        put_code(help_path("%s/%s", folder, places[i]));
        tn_handlers *h =
            tn_handlers_new(&(tn_handlers_config){.path = plugins, .code_root = help_path("%s/ml", folder)});
        run_example(h, base);
        tn_handlers_free(h);
    }
    /* What lies above the root is nobody's, nor is a neighbour whose name begins alike. */
    char *base = help_path("%s/ml/model/m", folder);
    const char *roots[] = {help_path("%s/ml/model", folder), help_path("%s/m", folder), NULL};
    for (int i = 0; i < 3; i++) {
        tn_handlers *h = tn_handlers_new(&(tn_handlers_config){.path = plugins, .code_root = roots[i]});
        tn_models *m = start_models(h, base);
        assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 1);
        tn_version *v = take(m);
        assert_null(v->attached);
        tn_version_release(v);
        tn_models_free(m);
        tn_handlers_free(h);
    }
}

static void test_code_in_the_model(void **state)
{
    char *base = help_path("%s/m", folder);
    make_version(base, "{\"handler\": \"code/handler.so\"}");
    put_code(help_path("%s/1", base));
    tn_handlers *h = tn_handlers_new(&(tn_handlers_config){.path = plugins, .allow_model_code = true});
    run_example(h, base);
    tn_handlers_free(h);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_refusals),  WITH_FOLDER(test_not_a_handler), WITH_FOLDER(test_models_without),
        WITH_FOLDER(test_example),   WITH_FOLDER(test_other_ages),    WITH_FOLDER(test_code_in_the_model),
        WITH_FOLDER(test_code_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
