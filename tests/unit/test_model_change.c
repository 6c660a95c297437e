/*
 * test_model_change.c - models that change while they serve: added, removed, moved, other policies and
 * labels; who waits for that, and many threads at it.
 */
#include "model_help.h"

#include <stdatomic.h>

static char *folder;
static tn_engines *engines;

static int setup(void **state)
{
    folder = help_folder();
    engines = help_engines();
    return 0;
}

static int teardown(void **state)
{
    tn_engines_free(engines);
    help_remove(folder);
    free(folder);
    return 0;
}

static tn_model_config config_of(const char *name)
{
    return (tn_model_config){.name = tn_str_from(name),
                             .base_path = tn_str_from(help_path("%s/%s", folder, name))};
}

static void make_version(const char *model, const char *number, const char *text)
{
    help_version(help_path("%s/%s", folder, model), number, text);
}

/* ---- Waiting ---- */

typedef struct waiter {
    tn_change change;
    pthread_mutex_t lock;
    pthread_cond_t called;
    int calls;
} waiter;

static void on_done(tn_change *change)
{
    waiter *w = TN_CONTAINER(change, waiter, change);
    pthread_mutex_lock(&w->lock);
    w->calls++;
    pthread_cond_signal(&w->called);
    pthread_mutex_unlock(&w->lock);
}

static void waiter_init(waiter *w)
{
    *w = (waiter){
        .change.done = on_done, .lock = PTHREAD_MUTEX_INITIALIZER, .called = PTHREAD_COND_INITIALIZER};
}

static void expect(waiter *w, tern_code code, const char *words)
{
    pthread_mutex_lock(&w->lock);
    while (w->calls == 0)
        pthread_cond_wait(&w->called, &w->lock);
    pthread_mutex_unlock(&w->lock);
    assert_int_equal(w->calls, 1);
    assert_string_equal(w->change.status.message, words);
    assert_int_equal(w->change.status.code, code);
}

static void change(tn_models *m, const tn_model_config *configs, uint32_t n, waiter *w)
{
    tern_status st;
    if (w != NULL)
        waiter_init(w);
    if (tn_models_change(m, configs, n, w != NULL ? &w->change : NULL, &st) != TERN_OK)
        fail_msg("%s", st.message);
}

static void refused(tn_models *m, const tn_model_config *configs, uint32_t n, tern_code code,
                    const char *words)
{
    waiter w;
    tern_status st;
    waiter_init(&w);
    assert_int_equal(tn_models_change(m, configs, n, &w.change, &st), code);
    assert_string_equal(st.message, words);
    assert_int_equal(w.calls, 0);
}

static void asked(tn_models *m, const tn_target *target, int64_t number, const char *words)
{
    tn_version *v;
    tern_status st;
    tern_status_init(&st);
    tern_code code = tn_models_acquire(m, target, &v, &st);
    assert_string_equal(st.message, words);
    if (code == TERN_OK)
        assert_int_equal(v->number, number);
    tn_version_release(v);
}

#define LATEST(model)      (&(tn_target){.name = TN_STR(model)})
#define LABEL(model, text) (&(tn_target){.name = TN_STR(model), .has_label = true, .label = TN_STR(text)})

/* ---- Adding and removing ---- */

static void test_add_and_remove(void **state)
{
    make_version("a", "1", HALF_PLUS_TWO);
    make_version("b", "7", HALF_PLUS_TWO);
    tn_model_config configs[] = {config_of("a"), config_of("b")};
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, configs, 1);
    waiter w;
    help_until(m, "a", 1, TN_STATE_AVAILABLE);
    change(m, configs, 2, &w);
    expect(&w, TERN_OK, "");
    asked(m, LATEST("b"), 7, "");
    assert_int_equal(tn_models_count(m).models, 2);

    /* A call on the removed model ends on it; nobody else waits for it. */
    tn_version *slow;
    tern_status st;
    assert_int_equal(tn_models_acquire(m, LATEST("a"), &slow, &st), TERN_OK);
    change(m, configs + 1, 1, &w);
    expect(&w, TERN_OK, "");
    asked(m, LATEST("a"), 0, "Servable not found for request: Latest(a)");
    asked(m, LABEL("a", "l"), 0, "Unrecognized servable version label: l");
    assert_int_equal(help_state(m, "a", 1, NULL), TN_STATE_UNLOADING);
    make_version("b", "8", HALF_PLUS_TWO);
    help_until(m, "b", 8, TN_STATE_AVAILABLE);
    help_until(m, "b", 7, TN_STATE_END);
    assert_true(tn_str_eq(slow->model, TN_STR("a")));
    assert_int_equal(help_state(m, "a", 1, NULL), TN_STATE_UNLOADING);
    tn_version_release(slow);
    help_until(m, "a", 1, TN_STATE_END);
    assert_int_equal(tn_models_count(m).models, 1);
    assert_int_equal(tn_models_readiness(m, TN_STR("a"), NULL, NULL), TN_MODEL_UNKNOWN);

    /* Back: it is new, and waited for. Then all go. */
    change(m, configs, 2, &w);
    expect(&w, TERN_OK, "");
    assert_int_equal(help_state(m, "a", 1, NULL), TN_STATE_AVAILABLE);
    change(m, NULL, 0, &w);
    expect(&w, TERN_OK, "");
    help_until(m, "a", 1, TN_STATE_END);
    help_until(m, "b", 8, TN_STATE_END);
    tn_models_free(m);
}

/* One beside others, which stay as they are; with `every`, all versions that are named are waited for. */
static void test_add_and_remove_one(void **state)
{
    static const int64_t both[] = {1, 2};
    make_version("a", "1", HALF_PLUS_TWO);
    make_version("b", "1", HALF_PLUS_TWO);
    make_version("b", "2", "sleep 200\n" HALF_PLUS_TWO);
    tn_model_config configs[] = {config_of("a"), config_of("b")};
    configs[1].policy = TN_POLICY_SPECIFIC;
    configs[1].specific = both;
    configs[1].n_specific = 2;
    tn_models_options options = help_options(engines);
    options.load_threads = 2;
    tn_models *m = help_start(&options, NULL, 0);
    waiter w;
    tern_status st;
    waiter_init(&w);
    assert_int_equal(tn_models_add(m, configs, &w.change, &st), TERN_OK);
    expect(&w, TERN_OK, "");
    waiter_init(&w);
    w.change.every = true;
    assert_int_equal(tn_models_add(m, configs + 1, &w.change, &st), TERN_OK);
    expect(&w, TERN_OK, "");
    for (int64_t v = 1; v <= 2; v++)
        asked(m, &(tn_target){.name = TN_STR("b"), .has_version = true, .version = v}, v, "");
    assert_int_equal(tn_models_add(m, configs + 1, NULL, &st), TERN_ALREADY_EXISTS);
    assert_int_equal(tn_models_count(m).models, 2);

    assert_true(tn_models_remove(m, TN_STR("b")));
    assert_false(tn_models_remove(m, TN_STR("b")));
    asked(m, LATEST("b"), 0, "Servable not found for request: Latest(b)");
    asked(m, LATEST("a"), 1, "");
    help_until(m, "b", 2, TN_STATE_END);
    assert_false(tn_models_is_loading(m, TN_STR("b")));
    tern_fail(&st, TERN_UNAVAILABLE, "the end");
    tn_models_end_changes(m, &st);
    assert_int_equal(tn_models_add(m, configs + 1, NULL, &st), TERN_UNAVAILABLE);
    tn_models_free(m);
}

/* With `every` one version that fails is a failure, though others are available. */
static void test_every_version_counts(void **state)
{
    static const int64_t both[] = {1, 2};
    make_version("b", "1", HALF_PLUS_TWO);
    make_version("b", "2", "fail 15 broken on purpose\n");
    tn_model_config config = config_of("b");
    config.policy = TN_POLICY_SPECIFIC;
    config.specific = both;
    config.n_specific = 2;
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, NULL, 0);
    waiter w;
    tern_status st;
    waiter_init(&w);
    w.change.every = true;
    assert_int_equal(tn_models_add(m, &config, &w.change, &st), TERN_OK);
    expect(&w, TERN_UNKNOWN,
           "1 model(s) did not become available: {{{name: b version: 2} due to error: DATA_LOSS: broken on "
           "purpose}, }");
    tn_models_free(m);
}

/* The history of removed models is kept, but not for ever. */
static void test_many_removed(void **state)
{
    tn_models_options options = help_options(engines);
    options.poll_seconds = -1;
    tn_models *m = help_start(&options, NULL, 0);
    for (int i = 0; i < 1300; i++) {
        tn_model_config config = config_of(help_path("m%d", i));
        change(m, &config, 1, NULL);
    }
    pthread_mutex_lock(&m->lock);
    assert_int_equal(m->n_models, 1001);
    assert_non_null(tn_models_find(m, TN_STR("m298")) == NULL ? m : NULL);
    assert_non_null(tn_models_find(m, TN_STR("m299")));
    tn_models_unlock(m);
    tn_models_free(m);
}

/* Names are found among many, in whatever order they come and go. */
static void test_many_models(void **state)
{
    enum { N = 5000 };
    tn_models_options options = help_options(engines);
    options.poll_seconds = -1;
    tn_models *m = help_start(&options, NULL, 0);
    tn_model_config *configs = calloc(N, sizeof *configs);
    char(*names)[16] = calloc(N, sizeof *names);
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "m%d", i);
        configs[N - 1 - i] =
            (tn_model_config){.name = tn_str_from(names[i]), .base_path = TN_STR("/nowhere")};
    }
    change(m, configs, N, NULL);
    change(m, configs, N / 2, NULL);
    change(m, configs + 1, N / 2, NULL);
    for (int i = 0; i < N; i++) {
        bool there = i > 0 && i <= N / 2;
        assert_int_equal(tn_models_readiness(m, configs[i].name, NULL, NULL),
                         there ? TN_MODEL_LOADING : TN_MODEL_UNKNOWN);
    }
    assert_int_equal(tn_models_count(m).models, N / 2);
    tn_models_free(m);
    free(names);
    free(configs);
}

static void test_refused(void **state)
{
    make_version("a", "1", HALF_PLUS_TWO);
    tn_model_config configs[] = {config_of("a"), config_of("a")};
    tn_models_options options = help_options(engines);
    options.labels_for_unavailable = false;
    tn_models *m = help_start(&options, configs, 1);
    help_until(m, "a", 1, TN_STATE_AVAILABLE);
    refused(m, configs, 2, TERN_INVALID_ARGUMENT, "Illegal to list model a multiple times in config list");
    configs[1] = config_of("b");
    configs[1].base_path = TN_STR("b");
    refused(m, configs, 2, TERN_INVALID_ARGUMENT,
            "Expected model b to have an absolute path or URI; got base_path()=b");
    configs[1] = config_of("b");
    configs[1].platform = TN_STR("tflite");
    refused(m, configs, 2, TERN_INVALID_ARGUMENT, "Model b requests unsupported platform tflite");
    configs[0].platform = TN_STR("other");
    refused(m, configs, 2, TERN_INVALID_ARGUMENT,
            "Illegal to change a model's platform. For model a platform was tensorflow and new platform "
            "requested is other");
    configs[0].platform = TN_STR("");
    refused(m, configs, 1, TERN_INVALID_ARGUMENT,
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is a");
    /* Labels come before platforms that are not served. */
    configs[0].platform = TN_STR("tensorflow");
    const tn_str label = TN_STR_INIT("l");
    const int64_t two = 2;
    configs[0].label_names = &label;
    configs[0].label_versions = &two;
    configs[0].n_labels = 1;
    refused(
        m, configs, 2, TERN_FAILED_PRECONDITION,
        "Request to assign label to version 2 of model a, which is not currently available for inference");
    /* None of that changed anything. */
    asked(m, LATEST("a"), 1, "");
    assert_int_equal(tn_models_count(m).models, 1);
    assert_int_equal(tn_models_readiness(m, TN_STR("b"), NULL, NULL), TN_MODEL_UNKNOWN);
    configs[0].n_labels = 0;
    configs[0].logging = true;
    waiter w;
    change(m, configs, 1, &w);
    expect(&w, TERN_INVALID_ARGUMENT, "No request-logger-creator provided.");
    tn_models_free(m);
}

/* ---- What a model may change ---- */

static void test_policies_and_labels(void **state)
{
    make_version("m", "1", HALF_PLUS_TWO);
    make_version("m", "2", HALF_PLUS_TWO);
    make_version("m", "3", HALF_PLUS_TWO);
    tn_model_config config = config_of("m");
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, &config, 1);
    help_until(m, "m", 3, TN_STATE_AVAILABLE);
    waiter w;
    config.policy = TN_POLICY_ALL;
    change(m, &config, 1, &w);
    expect(&w, TERN_OK, ""); /* it is not new: nobody waits */
    help_until(m, "m", 1, TN_STATE_AVAILABLE);
    help_until(m, "m", 2, TN_STATE_AVAILABLE);
    const int64_t one = 1;
    config.policy = TN_POLICY_SPECIFIC;
    config.specific = &one;
    config.n_specific = 1;
    change(m, &config, 1, NULL);
    help_until(m, "m", 3, TN_STATE_END);
    help_until(m, "m", 2, TN_STATE_END);
    asked(m, LATEST("m"), 1, "");
    config.policy = TN_POLICY_LATEST;
    config.latest = 2;
    change(m, &config, 1, NULL);
    help_until(m, "m", 2, TN_STATE_AVAILABLE);
    help_until(m, "m", 3, TN_STATE_AVAILABLE);
    help_until(m, "m", 1, TN_STATE_END);

    /* A label may name what is not loaded yet, but not move there. */
    const tn_str labels[] = {TN_STR_INIT("stable"), TN_STR_INIT("next")};
    int64_t versions[] = {2, 4};
    config.label_names = labels;
    config.label_versions = versions;
    config.n_labels = 2;
    change(m, &config, 1, NULL);
    asked(m, LABEL("m", "stable"), 2, "");
    asked(m, LABEL("m", "next"), 0, "Servable not found for request: Specific(m, 4)");
    versions[0] = 9;
    refused(
        m, &config, 1, TERN_FAILED_PRECONDITION,
        "Request to assign label to version 9 of model m, which is not currently available for inference");
    asked(m, LABEL("m", "stable"), 2, "");
    versions[0] = 3;
    change(m, &config, 1, NULL);
    asked(m, LABEL("m", "stable"), 3, "");
    make_version("m", "4", HALF_PLUS_TWO);
    help_until(m, "m", 4, TN_STATE_AVAILABLE);
    asked(m, LABEL("m", "next"), 4, "");
    config.n_labels = 1;
    change(m, &config, 1, NULL);
    asked(m, LABEL("m", "next"), 0, "Unrecognized servable version label: next");
    tn_models_free(m);
}

static uint32_t signatures(tn_models *m, const char *name)
{
    tn_version *v;
    tern_status st;
    if (tn_models_acquire(m, &(tn_target){.name = tn_str_from(name)}, &v, &st) != TERN_OK)
        fail_msg("%s", st.message);
    uint32_t n = v->signatures->n_signatures;
    tn_version_release(v);
    return n;
}

#define SECOND "signature other\ninput x float [-1]\noutput y float [-1] affine 0.5 3 x\n"

static void test_base_path(void **state)
{
    make_version("old", "1", HALF_PLUS_TWO);
    make_version("new", "1", HALF_PLUS_TWO SECOND);
    make_version("newer", "2", HALF_PLUS_TWO);
    for (int replace = 0; replace < 2; replace++) {
        tn_model_config config = config_of("old");
        config.name = TN_STR("m");
        tn_models_options options = help_options(engines);
        options.replace_moved = replace == 1;
        tn_models *m = help_start(&options, &config, 1);
        help_until(m, "m", 1, TN_STATE_AVAILABLE);
        /* One that cannot be read: what serves stays. */
        tn_model_config other = config_of("missing");
        other.name = TN_STR("m");
        change(m, &other, 1, NULL);
        tn_models_wait(m, 20 * TN_NS_PER_S);
        asked(m, LATEST("m"), 1, "");
        /* The same number in another place. */
        other.base_path = tn_str_from(help_path("file://%s/new", folder));
        change(m, &other, 1, NULL);
        int64_t end = tn_now_ns() + 20 * TN_NS_PER_S;
        while (replace && signatures(m, "m") != 2 && tn_now_ns() < end)
            help_sleep_ms(5);
        tn_models_wait(m, 20 * TN_NS_PER_S);
        assert_int_equal(help_state(m, "m", 1, NULL), TN_STATE_AVAILABLE);
        assert_int_equal(signatures(m, "m"), replace ? 2 : 1);
        /* Another number: swapped, the old one goes when the new one is there. */
        other.base_path = tn_str_from(help_path("%s/newer", folder));
        change(m, &other, 1, NULL);
        help_until(m, "m", 2, TN_STATE_AVAILABLE);
        help_until(m, "m", 1, TN_STATE_END);
        tn_models_free(m);
    }
}

static tern_code note_load(void *context, tn_version *v, tern_status *st)
{
    char *order = context;
    order[strlen(order)] = v->model.ptr[0];
    return TERN_OK;
}

/* A pass of the watcher began in the middle of a list that had become longer, and so did the loads. */
static void test_loads_are_in_the_order_of_the_list(void **state)
{
    char order[8] = "";
    tn_model_config configs[] = {config_of("z"), config_of("y"), config_of("x")};
    for (int i = 0; i < 3; i++)
        make_version(configs[i].name.ptr, "1", HALF_PLUS_TWO);
    tn_models_options options = help_options(engines);
    options.load_threads = 1;
    options.hooks = (tn_model_hooks){.context = order, .attach = note_load};
    tn_models *m = help_start(&options, NULL, 0);
    waiter w;
    pthread_mutex_lock(&m->lock);
    m->look_next = 1;
    tn_models_unlock(m);
    change(m, configs, 3, &w);
    expect(&w, TERN_OK, "");
    tn_models_free(m);
    assert_string_equal(order, "zyx");
}

static bool is_busy(tn_models *m)
{
    bool busy = false;
    pthread_mutex_lock(&m->lock);
    for (const tn_entry *e = m->models[0]->entries; e != NULL; e = e->next)
        busy |= e->busy;
    tn_models_unlock(m);
    return busy;
}

/*
 * The state of a version that is live stays as it is while it is loaded anew from another place: the end of
 * that load must wake who waits for it all the same. (It hung here, until the time for the end was up.)
 */
static void test_end_while_a_live_version_is_loaded_anew(void **state)
{
    make_version("first", "1", HALF_PLUS_TWO);
    make_version("second", "1", "sleep 500\nfail 3 \"broken\"\n" HALF_PLUS_TWO);
    tn_model_config config = config_of("first");
    config.name = TN_STR("m");
    tn_models_options options = help_options(engines);
    options.replace_moved = true;
    tn_models *m = help_start(&options, &config, 1);
    help_until(m, "m", 1, TN_STATE_AVAILABLE);
    config.base_path = config_of("second").base_path;
    change(m, &config, 1, NULL);
    while (!is_busy(m))
        help_sleep_ms(1);
    assert_true(tn_models_free_until(m, tn_now_ns() + 3600 * TN_NS_PER_S));
}

/* A folder of another file system has no versions, and says so; others are served. */
static void test_other_scheme(void **state)
{
    make_version("a", "1", HALF_PLUS_TWO);
    tn_model_config configs[] = {config_of("a"), config_of("b")};
    configs[1].base_path = TN_STR("gs://bucket/b");
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, NULL, 0);
    waiter w;
    change(m, configs, 2, &w);
    help_until(m, "a", 1, TN_STATE_AVAILABLE);
    tn_models_wait(m, 20 * TN_NS_PER_S);
    tern_status st;
    assert_true(tn_models_overdue(m, &w.change, &st));
    assert_int_equal(st.code, TERN_DEADLINE_EXCEEDED);
    assert_string_equal(
        st.message, "1 model(s) did not become available in time, and are still tried: {{{name: b} base path "
                    "cannot be read: File system scheme 'gs' not implemented (file: 'gs://bucket/b')}, }");
    assert_true(tn_models_forget(m, &w.change));
    assert_false(tn_models_forget(m, &w.change));
    assert_int_equal(w.calls, 0);
    tn_models_free(m);
}

/* ---- What does not become available ---- */

static void test_failures_are_told(void **state)
{
    make_version("good", "1", HALF_PLUS_TWO);
    make_version("z", "1", "fail 15 no z\n" HALF_PLUS_TWO);
    make_version("y", "1", HALF_PLUS_TWO);
    make_version("y", "2", "fail 5 no y\n" HALF_PLUS_TWO);
    tn_model_config configs[] = {config_of("z"), config_of("good"), config_of("y")};
    tn_models_options options = help_options(engines);
    options.load_threads = 1;
    tn_models *m = help_start(&options, NULL, 0);
    waiter w;
    change(m, configs, 3, &w);
    expect(&w, TERN_UNKNOWN,
           "2 model(s) did not become available: {{{name: y version: 2} due to error: NOT_FOUND: no y}, "
           "{{name: z version: 1} due to error: DATA_LOSS: no z}, }");
    asked(m, LATEST("good"), 1, "");
    /* The wait is over, the model is served from its next lower version all the same. */
    help_until(m, "y", 1, TN_STATE_AVAILABLE);
    tn_models_free(m);
}

/* A wait for what never comes stops nobody: the next change counts. */
static void test_no_deadlock(void **state)
{
    make_version("good", "1", HALF_PLUS_TWO);
    make_version("slow", "1", "sleep 1500\n" HALF_PLUS_TWO);
    tn_model_config configs[] = {config_of("missing"), config_of("good"), config_of("slow")};
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, NULL, 0);
    waiter first;
    waiter second;
    waiter third;
    change(m, configs, 1, &first);
    change(m, configs, 2, &second);
    help_until(m, "good", 1, TN_STATE_AVAILABLE);
    tern_status st;
    tn_models_wait(m, 20 * TN_NS_PER_S);
    assert_true(tn_models_overdue(m, &first.change, &st));
    expect(&second, TERN_OK, "");
    change(m, configs + 1, 2, &third);
    assert_false(tn_models_overdue(m, &third.change, &st));
    assert_string_equal(
        st.message,
        "1 model(s) did not become available in time, and are still tried: {{{name: slow} is still "
        "being loaded}, }");
    expect(&first, TERN_UNKNOWN,
           "1 model(s) did not become available: {{{name: missing} was removed by a later configuration}, }");
    expect(&third, TERN_OK, "");
    /* The end of the server ends who waits. */
    change(m, configs, 3, &first);
    (void)tern_fail(&st, TERN_UNAVAILABLE, "The server is shutting down");
    tn_models_end_changes(m, &st);
    expect(&first, TERN_UNAVAILABLE, "The server is shutting down");
    refused(m, configs, 1, TERN_UNAVAILABLE, "The server is shutting down");
    tn_models_free(m);
}

/*
 * Removed, moved and brought back while its load is under way: what was begun for another place is not used.
 */
static void test_change_while_loading(void **state)
{
    make_version("slow", "1", "sleep 400\n" HALF_PLUS_TWO);
    make_version("other", "1", HALF_PLUS_TWO SECOND);
    tn_model_config configs[] = {config_of("slow"), config_of("other")};
    configs[1].name = configs[0].name;
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, configs, 1);
    help_until(m, "slow", 1, TN_STATE_LOADING);
    change(m, configs + 1, 1, NULL);
    help_until(m, "slow", 1, TN_STATE_AVAILABLE);
    assert_int_equal(signatures(m, "slow"), 2);
    change(m, NULL, 0, NULL);
    help_until(m, "slow", 1, TN_STATE_END);
    change(m, configs, 1, NULL);
    help_until(m, "slow", 1, TN_STATE_LOADING);
    change(m, NULL, 0, NULL);
    waiter w;
    change(m, configs, 1, &w);
    expect(&w, TERN_OK, "");
    assert_int_equal(signatures(m, "slow"), 1);
    tn_models_free(m);
}

/* ---- All at once ---- */

#define READERS 3
#define ROUNDS  120

typedef struct stress {
    tn_models *m;
    atomic_bool stop;
    atomic_int taken;
} stress;

static void *keep_asking(void *arg)
{
    stress *s = arg;
    static const tn_str names[] = {TN_STR_INIT("a"), TN_STR_INIT("b"), TN_STR_INIT("c")};
    tn_arena arena = {0};
    tn_arena_init(&arena, 1 << 20);
    for (int i = 0; !atomic_load(&s->stop); i++) {
        tn_version *v;
        tern_status st;
        tn_target target = {.name = names[i % 3], .has_label = i % 5 == 0, .label = TN_STR("l")};
        if (tn_models_acquire(s->m, &target, &v, &st) == TERN_OK) {
            if (!tn_str_eq(v->model, target.name) || v->signatures->n_signatures < 1)
                abort();
            atomic_fetch_add(&s->taken, 1);
            tn_version_release(v);
        }
        const tn_version_status *list;
        uint32_t n;
        if (tn_models_status(s->m, target.name, false, 0, &arena, &list, &n, &st) == TERN_OK && n == 0)
            abort();
        if (tn_models_count(s->m).models > 3)
            abort();
        tn_arena_reset(&arena);
    }
    tn_arena_free(&arena);
    return NULL;
}

static void *keep_changing(void *arg)
{
    stress *s = arg;
    static const tn_str label = TN_STR_INIT("l");
    static const int64_t one = 1;
    for (unsigned i = 0; i < ROUNDS; i++) {
        tn_model_config configs[] = {config_of("a"), config_of("b"), config_of("c")};
        for (int j = 0; j < 3; j++) {
            configs[j].policy = (i + (unsigned)j) % 3 == 0 ? TN_POLICY_ALL : TN_POLICY_LATEST;
            configs[j].label_names = &label;
            configs[j].label_versions = &one;
            configs[j].n_labels = i % 2;
        }
        if (i % 7 == 0)
            configs[0].base_path = configs[1].base_path;
        waiter w;
        change(s->m, configs + i % 3, 3 - i % 3, &w);
        if (i % 4 == 0 && tn_models_forget(s->m, &w.change))
            continue;
        pthread_mutex_lock(&w.lock);
        while (w.calls == 0)
            pthread_cond_wait(&w.called, &w.lock);
        pthread_mutex_unlock(&w.lock);
    }
    return NULL;
}

static void test_stress(void **state)
{
    make_version("a", "1", HALF_PLUS_TWO);
    make_version("a", "2", HALF_PLUS_TWO);
    make_version("b", "1", HALF_PLUS_TWO);
    make_version("b", "3", HALF_PLUS_TWO);
    make_version("c", "1", "fail 15 broken\n" HALF_PLUS_TWO);
    tn_models_options options = help_options(engines);
    options.unload_threads = 2;
    options.replace_moved = true;
    stress s = {.m = help_start(&options, NULL, 0)};
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, keep_asking, &s), 0);
    keep_changing(&s);
    atomic_store(&s.stop, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_true(atomic_load(&s.taken) > 0);
    tn_models_free(s.m);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_add_and_remove),
        WITH_FOLDER(test_add_and_remove_one),
        WITH_FOLDER(test_every_version_counts),
        WITH_FOLDER(test_many_removed),
        WITH_FOLDER(test_many_models),
        WITH_FOLDER(test_policies_and_labels),
        WITH_FOLDER(test_refused),
        WITH_FOLDER(test_policies_and_labels),
        WITH_FOLDER(test_loads_are_in_the_order_of_the_list),
        WITH_FOLDER(test_base_path),
        WITH_FOLDER(test_end_while_a_live_version_is_loaded_anew),
        WITH_FOLDER(test_other_scheme),
        WITH_FOLDER(test_failures_are_told),
        WITH_FOLDER(test_no_deadlock),
        WITH_FOLDER(test_change_while_loading),
        WITH_FOLDER(test_stress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
