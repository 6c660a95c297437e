/*
 * test_engine.c - how engines are found, checked and opened, with a plugin that is wrong on purpose
 * (bad_engine.c); and the contract of tern/engine.h on the example engine: load, signatures, run, cancel,
 * ownership of buffers, many threads, unload.
 */
#include "model_help.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tensor/tensor.h"

/* Longer than any test waits. */
#define STUCK "300000"

#define MODEL                                                                                                 \
    "memory 12345\n"                                                                                          \
    "signature serving_default\ninput x float [-1]\noutput y float [-1] affine 0.5 2 x\n"                     \
    "signature pair my/method # no comment\n"                                                                 \
    "input b string ?\ninput a int64 [2,-1]\noutput z string ? identity b\noutput a int64 [2,-1] identity "   \
    "a\n"                                                                                                     \
    "signature fails\ninput x float ?\noutput y float ? identity x\nfail 9 broken on \"purpose\": größer\n" \
    "signature sleeps\ninput x float ?\noutput y float ? identity x\nsleep 30\n"                              \
    "signature stuck\ninput x float ?\noutput y float ? identity x\nsleep " STUCK "\n"                        \
    "signature holds\ninput x float ?\noutput y float ? affine 1 1 x\nhold 40\n"                              \
    "signature keeps\ninput x float ?\noutput y float ? affine 1 1 x\nhold " STUCK "\n"

static char *folder;
static char *build;

static int setup(void **state)
{
    folder = help_folder();
    build = getenv("TERN_BUILD");
    assert_non_null(build);
    help_version(help_path("%s/model", folder), "1", MODEL);
    return 0;
}

static int teardown(void **state)
{
    help_remove(folder);
    free(folder);
    return 0;
}

static void assert_text(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, text);
}

/* ---- finding and checking ---- */

static tern_code get(const char *path, const char *name, tern_status *st)
{
    tn_engines *engines = tn_engines_new(&(tn_engines_config){.path = path});
    const tn_engine *e = (const tn_engine *)engines;
    assert_non_null(engines);
    tern_code code = tn_engines_get(engines, tn_str_from(name), &e, st);
    if (code != TERN_OK)
        assert_null(e);
    tn_engines_free(engines);
    return code;
}

static void test_missing_names_folders(void **state)
{
    tern_status st;
    assert_int_equal(get("/nowhere:/else/where", "none", &st), TERN_NOT_FOUND);
    assert_text(st.message, "\"none\"");
    assert_text(st.message, "none.so in /nowhere:/else/where");
    assert_int_equal(get("", "none", &st), TERN_NOT_FOUND);
    assert_int_equal(get("::", "none", &st), TERN_NOT_FOUND);
    /* Without a path: beside the program, as built and as installed. */
    assert_int_equal(get(NULL, "none", &st), TERN_NOT_FOUND);
    assert_text(st.message, help_path("%s/tests/unit/engines:", build));
    assert_text(st.message, "/../lib/tern/engines");
}

static void test_names(void **state)
{
    static const char *const wrong[] = {"", "../example", "a/b", "a.so", "a b", "größe", NULL};
    char longest[66];
    tern_status st;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(get(help_path("%s/engines", build), wrong[i], &st), TERN_INVALID_ARGUMENT);
    memset(longest, 'a', sizeof longest);
    longest[65] = '\0';
    assert_int_equal(get("/nowhere", longest, &st), TERN_INVALID_ARGUMENT);
    longest[64] = '\0';
    assert_int_equal(get("/nowhere", longest, &st), TERN_NOT_FOUND);
}

/* The first folder that has the file is taken, empty and absent ones are passed over. */
static void test_path(void **state)
{
    tern_status st;
    assert_int_equal(get(help_path(":/nowhere:%s/engines", build), "example", &st), TERN_OK);
    help_mkdir(help_path("%s/first", folder));
    help_write(help_path("%s/first/example.so", folder), "this is no shared object");
    assert_int_equal(get(help_path("%s/first:%s/engines", folder, build), "example", &st),
                     TERN_FAILED_PRECONDITION);
    assert_text(st.message, "cannot open engine \"example\"");
    assert_text(st.message, "/first/example.so");
}

static void test_no_entry(void **state)
{
    tern_status st;
    assert_int_equal(get(help_path("%s/handlers", build), "example", &st), TERN_FAILED_PRECONDITION);
    assert_text(st.message, "does not export tern_engine_entry");
}

static void test_bad_tables(void **state)
{
    static const struct {
        const char *mode;
        tern_code code;
        const char *text;
    } cases[] = {
        {"refuse", TERN_FAILED_PRECONDITION, "does not serve engine ABI 1"},
        {"abi", TERN_FAILED_PRECONDITION, "has engine ABI 2, this program has 1"},
        {"small", TERN_FAILED_PRECONDITION, "function table of"},
        {"name", TERN_FAILED_PRECONDITION, "calls itself \"good_engine\", not \"bad_engine\""},
        {"nameless", TERN_FAILED_PRECONDITION, "calls itself \"\""},
        {"missing", TERN_FAILED_PRECONDITION, "has no function signatures()"},
        {"larger", TERN_OK, ""},
        {"", TERN_OK, ""},
    };
    const char *path = help_path("%s/tests/unit", build);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tern_status st;
        tern_status_init(&st);
        assert_int_equal(setenv("BAD_ENGINE", cases[i].mode, 1), 0);
        assert_int_equal(get(path, "bad_engine", &st), cases[i].code);
        assert_text(st.message, cases[i].text);
        assert_text(st.message, cases[i].code != TERN_OK ? "bad_engine.so" : "");
    }
}

/* open()'s own words come back; it was given the options, of which the host keeps a copy. */
static void test_open_fails(void **state)
{
    char config[] = "some config";
    tern_status st;
    const tn_engine *e;
    assert_int_equal(setenv("BAD_ENGINE", "open", 1), 0);
    tn_engines *engines = tn_engines_new(&(tn_engines_config){
        .path = help_path("%s/tests/unit", build),
        .options = {.intra_op_threads = 3, .inter_op_threads = 2, .config = tn_str_from(config)},
    });
    memset(config, '?', sizeof config - 1);
    assert_int_equal(tn_engines_get(engines, TN_STR("bad_engine"), &e, &st), TERN_UNAVAILABLE);
    assert_string_equal(st.message,
                        help_path("options %zu of %zu, host %zu of %zu, threads 3 2, config some config",
                                  sizeof(tern_engine_options), sizeof(tern_engine_options), sizeof(tern_host),
                                  sizeof(tern_host)));
    /* It may work the next time, as when a device was busy. */
    assert_int_equal(setenv("BAD_ENGINE", "", 1), 0);
    assert_int_equal(tn_engines_get(engines, TN_STR("bad_engine"), &e, &st), TERN_OK);
    tn_engines_free(engines);
}

enum { THREADS = 8 };

typedef struct opener {
    tn_engines *engines;
    const tn_engine *engine;
} opener;

static void *open_example(void *arg)
{
    opener *o = arg;
    tern_status st;
    return tn_engines_get(o->engines, TN_STR("example"), &o->engine, &st) == TERN_OK ? o : NULL;
}

/* Loader threads that come at once get the same engine. */
static void test_opened_once(void **state)
{
    pthread_t threads[THREADS];
    opener openers[THREADS];
    tn_engines *engines = help_engines();
    for (int i = 0; i < THREADS; i++) {
        openers[i] = (opener){.engines = engines};
        assert_int_equal(pthread_create(&threads[i], NULL, open_example, &openers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        assert_non_null(result);
        assert_ptr_equal(openers[i].engine, openers[0].engine);
    }
    tn_engines_free(engines);
    tn_engines_free(NULL);
}

/* ---- the example engine ---- */

typedef struct bench {
    tn_engines *engines;
    const tn_engine *engine;
    const tern_engine_api *api;
    tern_engine_model *model;
    const tern_signature_set *set;
} bench;

static tern_code load_folder(const bench *b, const char *directory, tern_engine_model **model,
                             tern_status *st)
{
    const tern_str serve = TN_STR("serve");
    const tern_load_options options = {
        .struct_size = sizeof options, .directory = directory, .tags = &serve, .n_tags = 1};
    return b->api->load(b->engine->self, &options, model, st);
}

static bench bench_open(void)
{
    bench b = {.engines = help_engines()};
    tern_status st;
    if (tn_engines_get(b.engines, TN_STR("example"), &b.engine, &st) != TERN_OK)
        fail_msg("%s", st.message);
    b.api = b.engine->api;
    if (load_folder(&b, help_path("%s/model/1", folder), &b.model, &st) != TERN_OK)
        fail_msg("%s", st.message);
    b.set = b.api->signatures(b.model);
    return b;
}

static void bench_close(bench *b)
{
    b->api->unload(b->model);
    b->api->unload(NULL);
    tn_engines_free(b->engines);
}

/* One run of a signature's all inputs and outputs. */
typedef struct trial {
    tn_arena arena;
    tern_run run;
    uint32_t ids[4];
    tern_tensor inputs[4];
    tern_tensor outputs[4];
    tern_status st;
} trial;

static void trial_init(trial *t, const bench *b, const char *signature)
{
    memset(t, 0, sizeof *t);
    tn_arena_init(&t->arena, 1u << 20);
    const tern_signature *s = tn_signatures_find(b->set, tn_str_from(signature));
    assert_non_null(s);
    for (uint32_t i = 0; i < 4; i++)
        t->ids[i] = i;
    t->run = (tern_run){
        .struct_size = sizeof t->run,
        .signature = s,
        .inputs = t->inputs,
        .input_ids = t->ids,
        .n_inputs = s->n_inputs,
        .n_outputs = s->n_outputs,
        .output_ids = t->ids,
        .outputs = t->outputs,
        .alloc = tn_arena_alloc_fn,
        .alloc_context = &t->arena,
    };
}

/* inputs[i] becomes 0, 1, 2, ... of n floats. */
static void feed(trial *t, uint32_t i, int64_t n)
{
    if (tn_tensor_new(&t->inputs[i], TERN_FLOAT, 1, &n, &t->arena, &t->st) != TERN_OK)
        fail_msg("%s", t->st.message);
    for (int64_t k = 0; k < n; k++)
        ((float *)t->inputs[i].data)[k] = (float)k;
}

static tern_code trial_run(trial *t, const bench *b)
{
    return b->api->run(b->model, &t->run, &t->st);
}

static void trial_free(trial *t)
{
    for (int i = 0; i < 4; i++) {
        tn_tensor_release(&t->inputs[i]);
        tn_tensor_release(&t->outputs[i]);
    }
    tn_arena_free(&t->arena);
}

static void test_probe(void **state)
{
    bench b = bench_open();
    assert_int_equal(b.api->probe(b.engine->self, help_path("%s/model/1", folder)), 1);
    assert_int_equal(b.api->probe(b.engine->self, help_path("%s/model", folder)), 0);
    assert_int_equal(b.api->probe(b.engine->self, "/nowhere"), 0);
    assert_int_equal(b.api->memory_use(b.model), 12345);
    assert_string_equal(b.api->name, "example");
    assert_true(strlen(b.api->runtime_version()) > 0);
    bench_close(&b);
}

/* Sorted by name, as the contract wants, whatever the order in the file. */
static void test_signatures(void **state)
{
    bench b = bench_open();
    for (uint32_t i = 1; i < b.set->n_signatures; i++)
        assert_true(tn_str_cmp(b.set->signatures[i - 1].name, b.set->signatures[i].name) < 0);
    assert_int_equal(b.set->n_signatures, 7);
    const tern_signature *s = tn_signatures_find(b.set, TN_STR("pair"));
    assert_non_null(s);
    assert_true(tn_str_eq(s->method_name, TN_STR("my/method")));
    assert_int_equal(tn_signature_input(s, TN_STR("a")), 0);
    assert_int_equal(tn_signature_input(s, TN_STR("b")), 1);
    assert_int_equal(tn_signature_output(s, TN_STR("z")), 1);
    assert_int_equal(s->inputs[0].dtype, TERN_INT64);
    assert_int_equal(s->inputs[0].rank, 2);
    assert_int_equal(s->inputs[0].dims[0], 2);
    assert_int_equal(s->inputs[0].dims[1], -1);
    assert_int_equal(s->inputs[1].dtype, TERN_STRING);
    assert_int_equal(s->inputs[1].rank, -1);
    s = tn_signatures_find(b.set, TN_STR("serving_default"));
    assert_true(tn_str_eq(s->method_name, TN_STR("tensorflow/serving/predict")));
    bench_close(&b);
}

static void test_load_errors(void **state)
{
    static const struct {
        const char *text;
        tern_code code;
        const char *says;
    } cases[] = {
        {"input x float []\n", TERN_INVALID_ARGUMENT, "example.txt:1:"},
        {"signature\n", TERN_INVALID_ARGUMENT, "example.txt:1: a signature needs a name"},
        {"\n# more\nsignature s\ninput x floot []\n", TERN_INVALID_ARGUMENT, "example.txt:4:"},
        {"signature s\ninput x float [-1\n", TERN_INVALID_ARGUMENT, "example.txt:2: a shape"},
        {"signature s\ninput x float [1,2,3,4,5,6,7,8,9]\n", TERN_INVALID_ARGUMENT, "too many dimensions"},
        {"signature s\noutput y float [] square x\n", TERN_INVALID_ARGUMENT, "example.txt:2:"},
        {"signature s\noutput y float [] affine 1 one x\n", TERN_INVALID_ARGUMENT, "two numbers"},
        {"signature s\nsleep -1\n", TERN_INVALID_ARGUMENT, "example.txt:2:"},
        {"signature s\nfail 17 no code\n", TERN_INVALID_ARGUMENT, "example.txt:2:"},
        {"nonsense 3\n", TERN_INVALID_ARGUMENT, "example.txt:1: this is no statement"},
        {"fail 13 no such device\n", TERN_INTERNAL, "no such device"},
    };
    bench b = bench_open();
    tern_engine_model *model = NULL;
    tern_status st;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        help_version(help_path("%s/wrong", folder), "1", cases[i].text);
        assert_int_equal(load_folder(&b, help_path("%s/wrong/1", folder), &model, &st), cases[i].code);
        assert_int_equal(st.code, cases[i].code);
        assert_text(st.message, cases[i].says);
        assert_null(model);
    }
    assert_int_equal(load_folder(&b, "/nowhere", &model, &st), TERN_NOT_FOUND);
    assert_text(st.message, "/nowhere/example.txt");

    char *large = malloc(70000);
    memset(large, '#', 69999);
    large[69999] = '\0';
    help_version(help_path("%s/wrong", folder), "1", large);
    free(large);
    assert_int_equal(load_folder(&b, help_path("%s/wrong/1", folder), &model, &st), TERN_INVALID_ARGUMENT);
    assert_text(st.message, "longer than 65536 bytes");
    bench_close(&b);
}

static void test_affine(void **state)
{
    static const int64_t sizes[] = {0, 1, 3, 1000};
    bench b = bench_open();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        trial t;
        trial_init(&t, &b, "serving_default");
        feed(&t, 0, sizes[i]);
        assert_int_equal(trial_run(&t, &b), TERN_OK);
        const tern_tensor *y = &t.outputs[0];
        assert_int_equal(y->dtype, TERN_FLOAT);
        assert_int_equal(y->rank, 1);
        assert_int_equal(y->dims[0], sizes[i]);
        assert_int_equal(y->size, 4 * sizes[i]);
        assert_ptr_not_equal(y->buffer, t.inputs[0].buffer);
        for (int64_t k = 0; k < sizes[i]; k++)
            assert_true(((const float *)y->data)[k] == 0.5f * (float)k + 2.0f);
        assert_int_equal(t.inputs[0].buffer->refs, 1);
        trial_free(&t);
    }
    bench_close(&b);
}

/* Identity hands out the input's own memory; the output keeps it when the input is gone. Strings too. */
static void test_identity(void **state)
{
    bench b = bench_open();
    trial t;
    trial_init(&t, &b, "pair");
    assert_int_equal(tn_tensor_new(&t.inputs[0], TERN_INT64, 2, (int64_t[]){2, 3}, &t.arena, &t.st), TERN_OK);
    memset(t.inputs[0].data, 7, t.inputs[0].size);
    assert_int_equal(tn_tensor_new_string(&t.inputs[1], 1, (int64_t[]){2}, 5, &t.arena, &t.st), TERN_OK);
    memcpy(tn_string_offsets(&t.inputs[1]), (uint64_t[]){0, 2, 5}, 24);
    memcpy(tn_string_bytes(&t.inputs[1], 2), "ab\0cd", 5);
    tern_buffer *numbers = t.inputs[0].buffer;
    assert_int_equal(trial_run(&t, &b), TERN_OK);
    assert_ptr_equal(t.outputs[0].buffer, numbers);
    assert_int_equal(numbers->refs, 2);
    assert_int_equal(t.outputs[0].rank, 2);
    assert_int_equal(t.outputs[0].dims[1], 3);
    tn_tensor_release(&t.inputs[0]);
    tn_tensor_release(&t.inputs[1]);
    assert_int_equal(((const unsigned char *)t.outputs[0].data)[47], 7);
    assert_true(tn_str_eq(tn_string_at(&t.outputs[1], 2, 1), TN_STR("\0cd")));
    trial_free(&t);

    /* One of two outputs, with only the input that it needs. */
    trial_init(&t, &b, "pair");
    t.ids[0] = 1;
    t.run.n_inputs = t.run.n_outputs = 1;
    assert_int_equal(tn_tensor_new_string(&t.inputs[0], 0, NULL, 0, &t.arena, &t.st), TERN_OK);
    memset(t.inputs[0].data, 0, t.inputs[0].size);
    assert_int_equal(trial_run(&t, &b), TERN_OK);
    assert_int_equal(t.outputs[0].dtype, TERN_STRING);
    assert_int_equal(t.outputs[0].rank, 0);
    trial_free(&t);
    bench_close(&b);
}

static void *no_memory(void *context, size_t size)
{
    return NULL;
}

/* On failure: the engine's words, and outputs as they were. */
static void assert_fails(trial *t, const bench *b, tern_code code, const char *says)
{
    tern_tensor before[4];
    memset(t->outputs, 0x7E, sizeof t->outputs);
    memcpy(before, t->outputs, sizeof before);
    assert_int_equal(trial_run(t, b), code);
    assert_int_equal(t->st.code, code);
    assert_text(t->st.message, says);
    assert_memory_equal(before, t->outputs, sizeof before);
    memset(t->outputs, 0, sizeof t->outputs);
    for (uint32_t i = 0; i < t->run.n_inputs; i++)
        assert_int_equal(t->inputs[i].buffer->refs, 1);
}

static void test_run_errors(void **state)
{
    bench b = bench_open();
    trial t;
    trial_init(&t, &b, "fails");
    feed(&t, 0, 3);
    assert_fails(&t, &b, TERN_FAILED_PRECONDITION, "broken on \"purpose\": größer");
    trial_free(&t);

    trial_init(&t, &b, "serving_default");
    feed(&t, 0, 3);
    t.run.n_inputs = 0;
    assert_fails(&t, &b, TERN_INVALID_ARGUMENT, "output \"y\" needs input \"x\", which is not fed");
    t.run.n_inputs = 1;
    t.inputs[0].dtype = TERN_INT32;
    assert_fails(&t, &b, TERN_INVALID_ARGUMENT, "input \"x\" has the wrong dtype (3)");
    t.inputs[0].dtype = TERN_FLOAT;
    t.run.alloc = no_memory;
    assert_fails(&t, &b, TERN_RESOURCE_EXHAUSTED, "no memory");
    trial_free(&t);

    /* The first output was made when the second fails. */
    trial_init(&t, &b, "pair");
    t.run.n_inputs = 1;
    assert_int_equal(tn_tensor_new(&t.inputs[0], TERN_INT64, 0, NULL, &t.arena, &t.st), TERN_OK);
    assert_fails(&t, &b, TERN_INVALID_ARGUMENT, "output \"z\" needs input \"b\"");
    trial_free(&t);
    bench_close(&b);
}

static void test_sleep_and_timeout(void **state)
{
    bench b = bench_open();
    trial t;
    trial_init(&t, &b, "sleeps");
    feed(&t, 0, 1);
    int64_t start = tn_now_ns();
    assert_int_equal(trial_run(&t, &b), TERN_OK);
    assert_true(tn_now_ns() - start >= 30 * TN_NS_PER_MS);
    trial_free(&t);

    trial_init(&t, &b, "stuck");
    feed(&t, 0, 1);
    t.run.timeout_us = 20000;
    start = tn_now_ns();
    assert_fails(&t, &b, TERN_DEADLINE_EXCEEDED, "longer than its timeout");
    assert_true(tn_now_ns() - start >= 20 * TN_NS_PER_MS);
    trial_free(&t);
    bench_close(&b);
}

typedef struct runner {
    const bench *b;
    trial t;
    tern_code code;
    atomic_bool done;
} runner;

static void *run_in_thread(void *arg)
{
    runner *r = arg;
    r->code = trial_run(&r->t, r->b);
    atomic_store(&r->done, true);
    return NULL;
}

/* cancel() ends the run that it names and no other. */
static void test_cancel(void **state)
{
    static runner runners[3];
    pthread_t threads[3];
    bench b = bench_open();
    for (int i = 0; i < 3; i++) {
        runners[i].b = &b;
        atomic_store(&runners[i].done, false);
        trial_init(&runners[i].t, &b, "stuck");
        feed(&runners[i].t, 0, 10);
        assert_int_equal(pthread_create(&threads[i], NULL, run_in_thread, &runners[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        /* Again and again: what comes before the run began ends nothing. */
        while (!atomic_load(&runners[i].done)) {
            b.api->cancel(b.model, &runners[i].t.run);
            help_sleep_ms(1);
        }
        pthread_join(threads[i], NULL);
        assert_int_equal(runners[i].code, TERN_CANCELLED);
        assert_text(runners[i].t.st.message, "cancelled");
        for (int k = i + 1; k < 3; k++)
            assert_false(atomic_load(&runners[k].done));
        b.api->cancel(b.model, &runners[i].t.run); /* after its end: nothing */
        trial_free(&runners[i].t);
    }
    bench_close(&b);
}

/* ---- inputs that are kept ---- */

typedef struct counted {
    tern_buffer base;
    atomic_int destroyed;
    float data[16] __attribute__((aligned(TERN_ALIGNMENT)));
} counted;

static void count_destroy(tern_buffer *b)
{
    atomic_fetch_add(&((counted *)b->owner)->destroyed, 1);
}

static void run_counted(const bench *b, const char *signature, counted *c)
{
    trial t;
    c->base = (tern_buffer){
        .data = c->data, .size = sizeof c->data, .refs = 1, .destroy = count_destroy, .owner = c};
    atomic_init(&c->destroyed, 0);
    trial_init(&t, b, signature);
    t.inputs[0] = (tern_tensor){.dtype = TERN_FLOAT,
                                .rank = 1,
                                .dims = (const int64_t[]){16},
                                .buffer = &c->base,
                                .data = c->data,
                                .size = sizeof c->data};
    assert_int_equal(trial_run(&t, b), TERN_OK);
    trial_free(&t);
}

static void test_hold(void **state)
{
    static counted kept, held;
    bench b = bench_open();
    run_counted(&b, "keeps", &kept);
    assert_int_equal(atomic_load(&kept.destroyed), 0);
    run_counted(&b, "holds", &held);
    int64_t end = tn_now_ns() + 20 * TN_NS_PER_S;
    while (atomic_load(&held.destroyed) == 0 && tn_now_ns() < end)
        help_sleep_ms(1);
    assert_int_equal(atomic_load(&held.destroyed), 1);
    /* Also longer than the model; close() gives back all. */
    b.api->unload(b.model);
    b.model = NULL;
    help_sleep_ms(5);
    assert_int_equal(atomic_load(&kept.destroyed), 0);
    bench_close(&b);
    assert_int_equal(atomic_load(&kept.destroyed), 1);
    assert_int_equal(atomic_load(&held.destroyed), 1);
}

/* ---- many at once ---- */

enum { RUNS = 300 };

static void *run_many(void *arg)
{
    static const char *const names[] = {"serving_default", "holds", "fails", "serving_default"};
    const bench *b = arg;
    trial *t = malloc(sizeof *t);
    size_t wrong = 0;
    for (int i = 0; i < RUNS; i++) {
        int which = i % 4;
        int64_t n = 1 + i % 50;
        trial_init(t, b, names[which]);
        feed(t, 0, n);
        tern_code code = trial_run(t, b);
        wrong += code != (which == 2 ? TERN_FAILED_PRECONDITION : TERN_OK);
        float want = which == 1 ? (float)n : 0.5f * (float)(n - 1) + 2.0f;
        wrong += which != 2 && ((const float *)t->outputs[0].data)[n - 1] != want;
        trial_free(t);
    }
    free(t);
    return (void *)wrong;
}

/* Runs on one model while others are loaded and unloaded. */
static void test_many_threads(void **state)
{
    bench b = bench_open();
    pthread_t threads[THREADS];
    tern_status st;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, &b), 0);
    for (int i = 0; i < 50; i++) {
        tern_engine_model *other;
        assert_int_equal(load_folder(&b, help_path("%s/model/1", folder), &other, &st), TERN_OK);
        assert_ptr_not_equal(b.api->signatures(other), b.set);
        b.api->unload(other);
    }
    for (int i = 0; i < THREADS; i++) {
        void *wrong = &b;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_names_folders),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_no_entry),
        cmocka_unit_test(test_bad_tables),
        cmocka_unit_test(test_open_fails),
        cmocka_unit_test(test_opened_once),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_load_errors),
        cmocka_unit_test(test_affine),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_run_errors),
        cmocka_unit_test(test_sleep_and_timeout),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
