/*
 * test_engine_tensorflow.c - the contract of tern/engine.h on the TensorFlow engine, with a model that is
 * written here as text: which outputs come, in what order, however often they are asked for; and nothing when
 * one of them cannot be handed out.
 */
#include "model_help.h"

#include "tensor/tensor.h"

#define OUTPUTS 70 /* more than the bits of a word */
#define ASKED   80

static char *folder;
static tn_engines *engines;
static const tn_engine *engine;
static tern_engine_model *model;

/* ---- the model: y_i = x + i; d = a - b; f = x and v, a variant ---- */

static void node(FILE *f, const char *name, const char *op, const char *rest)
{
    fprintf(f, "node { name: \"%s\" op: \"%s\" %s }\n", name, op, rest);
}

static void io(FILE *f, const char *field, const char *alias, const char *name, const char *dtype)
{
    fprintf(f, "%s { key: \"%s\" value { name: \"%s:0\" dtype: %s tensor_shape { unknown_rank: true } } }\n",
            field, alias, name, dtype);
}

static void scalar(FILE *f, const char *name, const char *dtype, const char *value)
{
    fprintf(
        f,
        "node { name: \"%s\" op: \"Const\" attr { key: \"dtype\" value { type: %s } } attr { key: \"value\" "
        "value { tensor { dtype: %s tensor_shape { } %s } } } }\n",
        name, dtype, dtype, value);
}

#define FLOAT_T "attr { key: \"T\" value { type: DT_FLOAT } }"

static void write_graph(FILE *f)
{
    char name[16], rest[200];
    for (const char *const *p = (const char *const[]){"x", "a", "b", NULL}; *p != NULL; p++)
        node(f, *p, "Placeholder", "attr { key: \"dtype\" value { type: DT_FLOAT } }");
    for (int i = 0; i < OUTPUTS; i++) {
        snprintf(name, sizeof name, "c%02d", i);
        snprintf(rest, sizeof rest, "float_val: %d", i);
        scalar(f, name, "DT_FLOAT", rest);
        snprintf(rest, sizeof rest, "input: \"x\" input: \"%s\" " FLOAT_T, name);
        snprintf(name, sizeof name, "y%02d", i);
        node(f, name, "AddV2", rest);
    }
    node(f, "d", "Sub", "input: \"a\" input: \"b\" " FLOAT_T);
    scalar(f, "shape", "DT_INT32", "int_val: -1");
    scalar(f, "size", "DT_INT32", "int_val: 4");
    node(f, "v", "EmptyTensorList",
         "input: \"shape\" input: \"size\" attr { key: \"element_dtype\" value { type: DT_FLOAT } } "
         "attr { key: \"shape_type\" value { type: DT_INT32 } }");
    node(f, "f", "Identity", "input: \"x\" " FLOAT_T);
}

static void write_signatures(FILE *f)
{
    static const char method[] = "method_name: \"tensorflow/serving/predict\" } }\n";
    fprintf(f, "signature_def { key: \"many\" value {\n");
    io(f, "inputs", "x", "x", "DT_FLOAT");
    for (int i = 0; i < OUTPUTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "y%02d", i);
        io(f, "outputs", name, name, "DT_FLOAT");
    }
    fprintf(f, "%ssignature_def { key: \"minus\" value {\n", method);
    io(f, "inputs", "a", "a", "DT_FLOAT");
    io(f, "inputs", "b", "b", "DT_FLOAT");
    io(f, "outputs", "d", "d", "DT_FLOAT");
    fprintf(f, "%ssignature_def { key: \"mixed\" value {\n", method);
    io(f, "inputs", "x", "x", "DT_FLOAT");
    io(f, "outputs", "f", "f", "DT_FLOAT");
    io(f, "outputs", "lost", "nowhere", "DT_FLOAT");
    io(f, "outputs", "v", "v", "DT_VARIANT");
    fprintf(f, "%s", method);
}

static int setup(void **state)
{
    static const tn_str tags[] = {TN_STR_INIT("serve")};
    tern_status st;
    folder = help_folder();
    FILE *f = fopen(help_path("%s/saved_model.pbtxt", folder), "w");
    assert_non_null(f);
    fprintf(f,
            "saved_model_schema_version: 1\nmeta_graphs {\nmeta_info_def { tags: \"serve\" }\ngraph_def {\n");
    write_graph(f);
    fprintf(f, "versions { producer: 1882 }\n}\n");
    write_signatures(f);
    fprintf(f, "}\n");
    fclose(f);
    engines = help_engines();
    if (tn_engines_get(engines, TN_STR("tensorflow"), &engine, &st) != TERN_OK)
        fail_msg("%s", st.message);
    tern_load_options options = {
        .struct_size = sizeof options, .directory = folder, .tags = tags, .n_tags = 1};
    if (engine->api->load(engine->self, &options, &model, &st) != TERN_OK)
        fail_msg("%s", st.message);
    return 0;
}

static int teardown(void **state)
{
    engine->api->unload(model);
    tn_engines_free(engines);
    help_remove(folder);
    free(folder);
    return 0;
}

/* ---- one run ---- */

typedef struct trial {
    tern_run run;
    tn_arena arena;
    tern_tensor inputs[2];
    uint32_t input_ids[2], output_ids[ASKED];
    tern_tensor outputs[ASKED];
    tern_status st;
} trial;

static void begin(trial *t, const char *signature)
{
    memset(t, 0, sizeof *t);
    tn_arena_init(&t->arena, 1 << 20);
    const tern_signature *s = tn_signatures_find(engine->api->signatures(model), tn_str_from(signature));
    assert_non_null(s);
    t->run = (tern_run){
        .struct_size = sizeof t->run,
        .signature = s,
        .inputs = t->inputs,
        .input_ids = t->input_ids,
        .output_ids = t->output_ids,
        .outputs = t->outputs,
        .alloc = tn_arena_alloc_fn,
        .alloc_context = &t->arena,
    };
}

static void give(trial *t, const char *alias, float value)
{
    uint32_t i = t->run.n_inputs++;
    t->input_ids[i] = (uint32_t)tn_signature_input(t->run.signature, tn_str_from(alias));
    if (tn_tensor_new(&t->inputs[i], TERN_FLOAT, 0, NULL, &t->arena, &t->st) != TERN_OK)
        fail_msg("%s", t->st.message);
    *(float *)t->inputs[i].data = value;
}

static void ask(trial *t, int id)
{
    assert_in_range(id, 0, (int)t->run.signature->n_outputs - 1);
    t->output_ids[t->run.n_outputs++] = (uint32_t)id;
}

static tern_code run(trial *t)
{
    return engine->api->run(model, &t->run, &t->st);
}

static void end(trial *t)
{
    for (uint32_t i = 0; i < 2; i++)
        tn_tensor_release(&t->inputs[i]);
    for (uint32_t i = 0; i < t->run.n_outputs; i++)
        tn_tensor_release(&t->outputs[i]);
    tn_arena_free(&t->arena);
}

/* Runs `many` with what was asked for; each output is x plus its id. */
static void run_many(trial *t, float x)
{
    give(t, "x", x);
    if (run(t) != TERN_OK)
        fail_msg("%s", t->st.message);
    for (uint32_t i = 0; i < t->run.n_outputs; i++) {
        assert_int_equal(t->outputs[i].dtype, TERN_FLOAT);
        assert_int_equal(t->outputs[i].size, sizeof(float));
        assert_true(*(float *)t->outputs[i].data == x + (float)t->output_ids[i]);
    }
    end(t);
}

/* ---- tests ---- */

/* Two thousand sets of outputs, each of another size and order: the first ones and all after them. */
static void test_any_set_any_order(void **state)
{
    uint32_t seed = 7;
    for (int round = 0; round < 2000; round++) {
        trial t;
        bool asked[OUTPUTS] = {false};
        begin(&t, "many");
        for (int n = 1 + round % 5; n > 0; n--) {
            seed = seed * 1664525 + 1013904223;
            int id = (int)((seed >> 8) % OUTPUTS);
            if (!asked[id])
                ask(&t, id);
            asked[id] = true;
        }
        run_many(&t, (float)round);
    }
}

static void test_all_backwards(void **state)
{
    trial t;
    begin(&t, "many");
    for (int id = OUTPUTS - 1; id >= 0; id--)
        ask(&t, id);
    run_many(&t, 0.5F);
}

/* Each owns a reference of its own to what is one buffer. */
static void test_same_output_twice(void **state)
{
    trial t;
    begin(&t, "many");
    for (int i = 0; i < 3; i++)
        ask(&t, 65);
    ask(&t, 1);
    ask(&t, 65);
    run_many(&t, 4);
}

static void test_inputs_in_any_order(void **state)
{
    for (int turn = 0; turn < 2; turn++) {
        trial t;
        begin(&t, "minus");
        give(&t, turn ? "b" : "a", turn ? 2 : 5);
        give(&t, turn ? "a" : "b", turn ? 5 : 2);
        ask(&t, 0);
        assert_int_equal(run(&t), TERN_OK);
        assert_true(*(float *)t.outputs[0].data == 3);
        end(&t);
    }
}

/* The outputs before the one that fails are not handed out either. */
static void test_failure_leaves_outputs_untouched(void **state)
{
    trial t;
    tern_tensor before[2];
    begin(&t, "mixed");
    give(&t, "x", 1);
    ask(&t, tn_signature_output(t.run.signature, TN_STR("f")));
    ask(&t, tn_signature_output(t.run.signature, TN_STR("v")));
    memset(before, 0x5a, sizeof before);
    memcpy(t.outputs, before, sizeof before);
    assert_int_equal(run(&t), TERN_UNIMPLEMENTED);
    assert_string_equal(t.st.message, "Output v is a variant, which cannot leave the process");
    assert_memory_equal(t.outputs, before, sizeof before);
    memset(t.outputs, 0, sizeof t.outputs);
    end(&t);
}

/* What is wrong with other outputs is no matter of this call. */
static void test_output_without_a_tensor(void **state)
{
    trial t;
    begin(&t, "mixed");
    give(&t, "x", 3);
    ask(&t, tn_signature_output(t.run.signature, TN_STR("f")));
    assert_int_equal(run(&t), TERN_OK);
    assert_true(*(float *)t.outputs[0].data == 3);
    end(&t);
    begin(&t, "mixed");
    give(&t, "x", 3);
    ask(&t, tn_signature_output(t.run.signature, TN_STR("lost")));
    assert_int_equal(run(&t), TERN_INVALID_ARGUMENT);
    assert_non_null(strstr(t.st.message, "Tensor nowhere:0"));
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_set_any_order),
        cmocka_unit_test(test_all_backwards),
        cmocka_unit_test(test_same_output_twice),
        cmocka_unit_test(test_inputs_in_any_order),
        cmocka_unit_test(test_failure_leaves_outputs_untouched),
        cmocka_unit_test(test_output_without_a_tensor),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
