/*
 * test_engine_openvino.c - the contract of tern/engine.h on the OpenVINO engine, with a model that is written
 * here on
 * the wire: y = x + 1, s = the sum of tanh of tanh ... of x. Inputs are left as they are; outputs outlive
 * their model; many threads at once; a run is cancelled, and only that one.
 */
#include "model_help.h"

#include <pthread.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "codec/pb_wire.h"
#include "tensor/tensor.h"

enum { THREADS = 6, TIMES = 40, LONG_STEPS = 400 };

static char *folder;
static tn_engines *engines;
static const tn_engine *engine;

/* ---- the model ---- */

static void put(tn_buf *b, uint32_t field, tn_str bytes)
{
    uint8_t head[20];
    tn_buf_append(b, head, tn_pb_put_head(head, field, bytes.len));
    tn_buf_str(b, bytes);
}

static void put_inner(tn_buf *b, uint32_t field, tn_buf *inner)
{
    put(b, field, tn_buf_view(inner));
    tn_buf_free(inner);
}

static tn_buf empty(void)
{
    tn_buf b;
    tn_buf_init(&b, 1u << 20);
    return b;
}

static void attr(tn_buf *node, const char *name, tn_str value)
{
    tn_buf entry = empty();
    put(&entry, 1, tn_str_from(name));
    put(&entry, 2, value);
    put_inner(node, 5, &entry);
}

static const char type_float[] = {6 << 3, TERN_FLOAT};

static tn_buf node_of(const char *name, const char *op, const char *a, const char *b)
{
    tn_buf n = empty();
    put(&n, 1, tn_str_from(name));
    put(&n, 2, tn_str_from(op));
    if (a != NULL)
        put(&n, 3, tn_str_from(a));
    if (b != NULL)
        put(&n, 3, tn_str_from(b));
    return n;
}

static void node(tn_buf *graph, const char *name, const char *op, const char *a, const char *b,
                 const char *type)
{
    tn_buf n = node_of(name, op, a, b);
    attr(&n, type, (tn_str){type_float, sizeof type_float});
    put_inner(graph, 1, &n);
}

/* TensorProto{float, scalar 1} as an attribute. */
static void one(tn_buf *graph)
{
    static const char proto[] = {0x08, 1, 0x12, 0, 0x2A, 4, 0, 0, (char)0x80, 0x3F};
    tn_buf n = node_of("one", "Const", NULL, NULL), value = empty();
    attr(&n, "dtype", (tn_str){type_float, sizeof type_float});
    put(&value, 8, (tn_str){proto, sizeof proto});
    attr(&n, "value", tn_buf_view(&value));
    tn_buf_free(&value);
    put_inner(graph, 1, &n);
}

static void io(tn_buf *signature, uint32_t field, const char *alias, const char *tensor)
{
    static const char dtype[] = {2 << 3, TERN_FLOAT};
    static const char shape[] = {0x12, 11, 0x08, -1, -1, -1, -1, -1, -1, -1, -1, -1, 1}; /* one dim: -1 */
    tn_buf entry = empty(), info = empty();
    put(&info, 1, tn_str_from(tensor));
    tn_buf_append(&info, dtype, sizeof dtype);
    put(&info, 3, (tn_str){shape, sizeof shape});
    put(&entry, 1, tn_str_from(alias));
    put_inner(&entry, 2, &info);
    put_inner(signature, field, &entry);
}

static void signature(tn_buf *meta, const char *name, const char *alias, const char *tensor)
{
    tn_buf s = empty(), entry = empty();
    io(&s, 1, "x", "x:0");
    io(&s, 2, alias, tensor);
    put(&entry, 1, tn_str_from(name));
    put_inner(&entry, 2, &s);
    put_inner(meta, 5, &entry);
}

static void write_model(void)
{
    tn_buf graph = empty(), meta = empty(), info = empty(), saved = empty(),
           x = node_of("x", "Placeholder", NULL, NULL);
    static const char shape[] = {0x3A, 13, 0x12, 11, 0x08, -1, -1, -1, -1, -1, -1, -1, -1, -1, 1};
    char name[2][16] = {"x", ""};
    attr(&x, "dtype", (tn_str){type_float, sizeof type_float});
    attr(&x, "shape", (tn_str){shape, sizeof shape});
    put_inner(&graph, 1, &x);
    one(&graph);
    node(&graph, "y", "AddV2", "x", "one", "T");
    for (int i = 0; i < LONG_STEPS; i++) {
        snprintf(name[(i + 1) % 2], sizeof name[0], "t%d", i);
        node(&graph, name[(i + 1) % 2], i % 2 == 0 ? "Tanh" : "Erf", name[i % 2], NULL, "T");
    }
    snprintf(name[0], sizeof name[0], "t%d:0", LONG_STEPS - 1);
    put(&info, 4, TN_STR("serve"));
    put_inner(&meta, 1, &info);
    put_inner(&meta, 2, &graph);
    signature(&meta, "long", "s", name[0]);
    signature(&meta, "serving_default", "y", "y:0");
    put_inner(&saved, 2, &meta);
    FILE *f = fopen(help_path("%s/saved_model.pb", folder), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(saved.ptr, 1, saved.len, f), saved.len);
    fclose(f);
    tn_buf_free(&saved);
}

static int setup(void **state)
{
    tern_status st;
    folder = help_folder();
    write_model();
    engines = help_engines();
    if (tn_engines_get(engines, TN_STR("openvino"), &engine, &st) != TERN_OK)
        fail_msg("%s", st.message);
    return 0;
}

static int teardown(void **state)
{
    tn_engines_free(engines);
    help_remove(folder);
    free(folder);
    return 0;
}

static tern_engine_model *load(void)
{
    static const tn_str tags[] = {TN_STR_INIT("serve")};
    const tern_load_options options = {
        .struct_size = sizeof options, .directory = folder, .tags = tags, .n_tags = 1};
    tern_engine_model *model = NULL;
    tern_status st;
    if (engine->api->load(engine->self, &options, &model, &st) != TERN_OK)
        fail_msg("%s", st.message);
    return model;
}

/* ---- one run ---- */

typedef struct trial {
    tern_run run;
    tn_arena arena;
    tern_tensor input;
    tern_tensor output;
    uint32_t id;
    tern_engine_model *model;
    tern_status st;
    tern_code code;
} trial;

static float value_at(int64_t i)
{
    return (float)(i % 1000) / 500.0f - 1.0f;
}

static void begin(trial *t, tern_engine_model *model, const char *name, int64_t n)
{
    *t = (trial){.model = model};
    tn_arena_init(&t->arena, 1 << 20);
    if (tn_tensor_new(&t->input, TERN_FLOAT, 1, &n, &t->arena, &t->st) != TERN_OK)
        abort();
    for (int64_t i = 0; i < n; i++)
        ((float *)t->input.data)[i] = value_at(i);
    t->run = (tern_run){.struct_size = sizeof t->run,
                        .signature = tn_signatures_find(engine->api->signatures(model), tn_str_from(name)),
                        .inputs = &t->input,
                        .input_ids = &t->id,
                        .n_inputs = 1,
                        .n_outputs = 1,
                        .output_ids = &t->id,
                        .outputs = &t->output,
                        .alloc = tn_arena_alloc_fn,
                        .alloc_context = &t->arena};
}

static void *run(void *arg)
{
    trial *t = arg;
    t->code = engine->api->run(t->model, &t->run, &t->st);
    return NULL;
}

static void end(trial *t)
{
    tn_tensor_release(&t->output);
    tn_tensor_release(&t->input);
    tn_arena_free(&t->arena);
}

/* y = x + 1, and x is what it was. */
static bool is_right(const trial *t, int64_t n)
{
    bool right = t->output.rank == 1 && t->output.dims[0] == n && t->output.dtype == TERN_FLOAT;
    for (int64_t i = 0; right && i < n; i++)
        right =
            ((float *)t->output.data)[i] == value_at(i) + 1.0f && ((float *)t->input.data)[i] == value_at(i);
    return right;
}

/* ---- tests ---- */

static void test_sizes(void **state)
{
    tern_engine_model *model = load();
    for (int64_t n = 0; n < 200000; n = n * 7 + 1) {
        trial t;
        begin(&t, model, "serving_default", n);
        run(&t);
        assert_int_equal(t.code, TERN_OK);
        assert_true(is_right(&t, n));
        end(&t);
    }
    engine->api->unload(model);
}

/* Small ones were copied, large ones lie in OpenVINO's memory. */
static void test_outputs_outlive_the_model(void **state)
{
    static trial t[4];
    static const int64_t sizes[] = {3, 100000, 100000, 3};
    tern_engine_model *model = load();
    for (size_t i = 0; i < 4; i++) {
        begin(&t[i], model, "serving_default", sizes[i]);
        run(&t[i]);
        assert_int_equal(t[i].code, TERN_OK);
    }
    engine->api->unload(model);
    for (size_t i = 0; i < 4; i++) {
        assert_true(is_right(&t[i], sizes[i]));
        end(&t[i]);
    }
}

static void *run_often(void *arg)
{
    trial *first = arg;
    for (int k = 0; k < TIMES; k++) {
        int64_t n = 1 + (k * 7919 + first->id * 104729) % 60000;
        trial t;
        begin(&t, first->model, k % 5 == 0 ? "long" : "serving_default", k % 5 == 0 ? n % 50 + 1 : n);
        run(&t);
        if (t.code != TERN_OK || (k % 5 != 0 && !is_right(&t, n)))
            first->code = TERN_INTERNAL;
        end(&t);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    pthread_t threads[THREADS];
    trial t[THREADS] = {0};
    tern_engine_model *model = load();
    for (uint32_t i = 0; i < THREADS; i++) {
        t[i] = (trial){.model = model, .id = i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_often, &t[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(t[i].code, TERN_OK);
    }
    engine->api->unload(model);
}

/* Asked again and again, since nobody can tell when the run began. */
static void test_cancel(void **state)
{
    tern_engine_model *model = load();
    trial t, other;
    pthread_t thread;
    begin(&t, model, "long", 1 << 20);
    begin(&other, model, "long", 10);
    assert_int_equal(pthread_create(&thread, NULL, run, &t), 0);
    while (pthread_tryjoin_np(thread, NULL) != 0)
        engine->api->cancel(model, &t.run);
    assert_int_equal(t.code, TERN_CANCELLED);
    assert_null(t.output.buffer);
    /* One that ended, and one that never began. */
    engine->api->cancel(model, &t.run);
    engine->api->cancel(model, &other.run);
    run(&other);
    assert_int_equal(other.code, TERN_OK);
    end(&t);
    end(&other);
    engine->api->unload(model);
}

static void test_wrong_inputs(void **state)
{
    tern_engine_model *model = load();
    trial t;
    begin(&t, model, "serving_default", 4);
    t.run.n_inputs = 0;
    run(&t);
    assert_int_equal(t.code, TERN_INVALID_ARGUMENT);
    t.run.n_inputs = 1;
    t.input.rank = 0;
    run(&t);
    assert_int_equal(t.code, TERN_INVALID_ARGUMENT);
    assert_string_equal(t.st.message, "input \"x\" has shape [], the model takes [-1]");
    t.input.rank = 1;
    run(&t);
    assert_int_equal(t.code, TERN_OK);
    end(&t);
    engine->api->unload(model);
}

/* Nothing is left in the place for folders of the moment, and a tag that is not there is told. */
static void test_folders(void **state)
{
    static const tn_str tags[] = {TN_STR_INIT("gpu")};
    const tern_load_options options = {
        .struct_size = sizeof options, .directory = folder, .tags = tags, .n_tags = 1};
    tern_engine_model *model = NULL;
    tern_status st;
    struct stat info;
    char *place = strdup(help_path("%s/tmp", folder));
    assert_int_equal(mkdir(place, 0777), 0);
    setenv("TMPDIR", place, 1);
    engine->api->unload(load());
    unsetenv("TMPDIR");
    assert_int_equal(stat(place, &info), 0);
    assert_int_equal(rmdir(place), 0);
    free(place);
    assert_int_equal(engine->api->load(engine->self, &options, &model, &st), TERN_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),        cmocka_unit_test(test_outputs_outlive_the_model),
        cmocka_unit_test(test_many_threads), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_wrong_inputs), cmocka_unit_test(test_folders),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
