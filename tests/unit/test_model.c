/*
 * test_model.c - models on disk: policies, swaps, versions that vanish, break, come half-copied; labels; the
 * words of errors.
 */
#include "model_help.h"

#include <stdatomic.h>

#include "model/source.h"

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

static tn_model_config config_of(const char *name, const char *base)
{
    return (tn_model_config){
        .name = tn_str_from(name), .base_path = tn_str_from(base), .policy = TN_POLICY_LATEST};
}

static tn_version *take(tn_models *m, const tn_target *target)
{
    tn_version *v;
    tern_status st;
    if (tn_models_acquire(m, target, &v, &st) != TERN_OK)
        fail_msg("%s", st.message);
    return v;
}

static int64_t latest(tn_models *m, const char *name)
{
    tn_version *v = take(m, &(tn_target){.name = tn_str_from(name)});
    int64_t number = v->number;
    assert_int_equal(v->signatures->n_signatures, 1);
    tn_version_release(v);
    return number;
}

static void refused(tn_models *m, const tn_target *target, tern_code code, const char *words)
{
    tn_version *v;
    tern_status st;
    assert_int_equal(tn_models_acquire(m, target, &v, &st), code);
    assert_null(v);
    assert_string_equal(st.message, words);
    assert_int_equal(st.length, strlen(words));
}

/* ---- source.c ---- */

static void test_scan_names(void **state)
{
    char *base = help_path("%s/m", folder);
    help_mkdir(base);
    const char *names[] = {"0000007", "12", "v3", "5.5", "-4", "99999999999999999999", "7", "+1", "1 ", "00"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        help_mkdir(help_path("%s/%s", base, names[i]));
    help_write(help_path("%s/5", base), "a file is no version");
    assert_int_equal(symlink("12", help_path("%s/13", base)), 0);
    assert_int_equal(symlink("nowhere", help_path("%s/14", base)), 0);
    tern_status st;
    tn_source_list list;
    assert_int_equal(tn_source_scan(help_path("%s///", base), &list, &st), TERN_OK);
    const int64_t numbers[] = {13, 12, 7, 0, -4};
    assert_int_equal(list.n, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(list.folders[i].number, numbers[i]);
    assert_string_equal(list.folders[2].path, help_path("%s/7", base));
    assert_string_equal(list.folders[3].path, help_path("%s/00", base));
    tn_source_list_free(&list);
    assert_int_equal(tn_source_scan(help_path("%s/none", folder), &list, &st), TERN_NOT_FOUND);
    assert_int_equal(list.n, 0);
    assert_int_equal(tn_source_scan(help_path("%s/5", base), &list, &st), TERN_NOT_FOUND);
}

static uint64_t mark(const char *path)
{
    tn_source_mark m;
    tern_status st;
    assert_int_equal(tn_source_look(path, &m, &st), TERN_OK);
    int64_t age = tn_wall_ns() - m.newest_ns;
    assert_in_range(age, 0, 60 * TN_NS_PER_S);
    return m.hash;
}

static void test_look_sees_changes(void **state)
{
    char *base = help_path("%s/1", folder);
    help_version(folder, "1", "a");
    help_mkdir(help_path("%s/variables", base));
    help_write(help_path("%s/variables/data", base), "12345");
    uint64_t before = mark(base);
    assert_true(mark(base) == before);
    help_write(help_path("%s/variables/data", base), "123456");
    uint64_t longer = mark(base);
    assert_true(longer != before);
    int fd = open(help_path("%s/variables/data", base), O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    close(fd);
    assert_true(mark(base) != longer);
    uint64_t with_link = mark(base);
    assert_int_equal(symlink("..", help_path("%s/variables/up", base)), 0);
    assert_true(mark(base) != with_link); /* and ends, though the link makes a circle */
    tn_source_mark m;
    tern_status st;
    assert_int_equal(tn_source_look(help_path("%s/2", folder), &m, &st), TERN_NOT_FOUND);
}

/* ---- Policies ---- */

static void test_policies(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "1", HALF_PLUS_TWO);
    help_version(base, "002", HALF_PLUS_TWO);
    help_version(base, "3", HALF_PLUS_TWO);
    const int64_t specific[] = {1, 3, 9};
    tn_model_config configs[] = {config_of("latest", base), config_of("two", base), config_of("all", base),
                                 config_of("specific", base), config_of("none", base)};
    configs[1].latest = 2;
    configs[2].policy = TN_POLICY_ALL;
    configs[3].policy = TN_POLICY_SPECIFIC;
    configs[3].specific = specific;
    configs[3].n_specific = 3;
    configs[4].policy = TN_POLICY_SPECIFIC;
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, configs, 5);
    assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 4);
    help_until(m, "two", 2, TN_STATE_AVAILABLE);
    help_until(m, "all", 1, TN_STATE_AVAILABLE);
    help_until(m, "all", 2, TN_STATE_AVAILABLE);
    help_until(m, "specific", 1, TN_STATE_AVAILABLE);
    const struct {
        const char *name;
        tn_state states[3];
    } expected[] = {
        {"latest", {TN_STATE_UNKNOWN, TN_STATE_UNKNOWN, TN_STATE_AVAILABLE}},
        {"two", {TN_STATE_UNKNOWN, TN_STATE_AVAILABLE, TN_STATE_AVAILABLE}},
        {"all", {TN_STATE_AVAILABLE, TN_STATE_AVAILABLE, TN_STATE_AVAILABLE}},
        {"specific", {TN_STATE_AVAILABLE, TN_STATE_UNKNOWN, TN_STATE_AVAILABLE}},
        {"none", {TN_STATE_UNKNOWN, TN_STATE_UNKNOWN, TN_STATE_UNKNOWN}},
    };
    for (int i = 0; i < 5; i++)
        for (int v = 0; v < 3; v++)
            assert_int_equal(help_state(m, expected[i].name, v + 1, NULL), expected[i].states[v]);
    for (int i = 0; i < 4; i++)
        assert_int_equal(latest(m, expected[i].name), 3);
    tn_models_counts c = tn_models_count(m);
    assert_int_equal(c.models, 5);
    assert_int_equal(c.ready, 4);
    assert_int_equal(c.loading, 0);
    assert_int_equal(c.failed, 0);
    assert_int_equal(c.absent, 1);
    /* Highest first. */
    tn_arena arena = {0};
    tn_arena_init(&arena, 1 << 20);
    const tn_version_status *list;
    uint32_t n;
    tern_status st;
    assert_int_equal(tn_models_status(m, TN_STR("all"), false, 0, &arena, &list, &n, &st), TERN_OK);
    assert_int_equal(n, 3);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(list[i].version, 3 - i);
    const tn_str *names = tn_models_names(m, &arena, &n);
    assert_int_equal(n, 5);
    assert_true(tn_str_eq(names[4], TN_STR("none")));
    tn_arena_free(&arena);
    tn_models_free(m);
}

static void test_words(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "3", HALF_PLUS_TWO);
    const tn_str labels[] = {TN_STR_INIT("stable"), TN_STR_INIT("gone")};
    const int64_t versions[] = {3, 2};
    tn_model_config config = config_of("m", base);
    config.label_names = labels;
    config.label_versions = versions;
    config.n_labels = 2;
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, &config, 1);
    assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 1);
    refused(m, &(tn_target){.name = TN_STR("x")}, TERN_NOT_FOUND,
            "Servable not found for request: Latest(x)");
    refused(m, &(tn_target){.name = TN_STR("")}, TERN_NOT_FOUND, "Servable not found for request: Latest()");
    refused(m, &(tn_target){.name = TN_STR("m"), .has_version = true, .version = -5}, TERN_NOT_FOUND,
            "Servable not found for request: Specific(m, -5)");
    refused(m, &(tn_target){.name = TN_STR("m"), .has_label = true, .label = TN_STR("nope")},
            TERN_INVALID_ARGUMENT, "Unrecognized servable version label: nope");
    refused(m, &(tn_target){.name = TN_STR("x"), .has_label = true, .label = TN_STR("stable")},
            TERN_INVALID_ARGUMENT, "Unrecognized servable version label: stable");
    refused(m, &(tn_target){.name = TN_STR("m"), .has_label = true, .label = TN_STR("gone")}, TERN_NOT_FOUND,
            "Servable not found for request: Specific(m, 2)");
    tn_version *v = take(m, &(tn_target){.name = TN_STR("m"), .has_label = true, .label = TN_STR("stable")});
    assert_int_equal(v->number, 3);
    tn_version_release(v);
    tern_status st;
    tn_version *none;
    assert_int_equal(tn_models_acquire(m, &(tn_target){.name = TN_STR("a\0b")}, &none, &st), TERN_NOT_FOUND);
    assert_memory_equal(st.message, "Servable not found for request: Latest(a\0b)", 43);
    assert_int_equal(st.length, 43);

    tn_arena arena = {0};
    tn_arena_init(&arena, 1 << 20);
    const tn_version_status *list;
    uint32_t n;
    assert_int_equal(tn_models_status(m, TN_STR("x"), false, 0, &arena, &list, &n, &st), TERN_NOT_FOUND);
    assert_string_equal(st.message, "Could not find any versions of model x");
    assert_int_equal(tn_models_status(m, TN_STR("m"), true, 9, &arena, &list, &n, &st), TERN_NOT_FOUND);
    assert_string_equal(st.message, "Could not find version 9 of model m");
    tn_arena_free(&arena);
    tn_models_free(m);
}

static void test_bad_configs(void **state)
{
    tn_models_options options = help_options(engines);
    tn_models *m;
    tern_status st;
    tn_model_config twice[] = {config_of("a", "/x"), config_of("a", "/y")};
    assert_int_equal(tn_models_new(&options, twice, 2, &m, &st), TERN_INVALID_ARGUMENT);
    assert_string_equal(st.message, "Illegal to list model a multiple times in config list");
    tn_model_config relative = config_of("default", "relative/path");
    assert_int_equal(tn_models_new(&options, &relative, 1, &m, &st), TERN_INVALID_ARGUMENT);
    assert_string_equal(
        st.message, "Expected model default to have an absolute path or URI; got base_path()=relative/path");
    tn_model_config labelled = config_of("types", "/x");
    const tn_str label = TN_STR_INIT("stable");
    const int64_t version = 1;
    labelled.label_names = &label;
    labelled.label_versions = &version;
    labelled.n_labels = 1;
    options.labels_for_unavailable = false;
    assert_int_equal(tn_models_new(&options, &labelled, 1, &m, &st), TERN_FAILED_PRECONDITION);
    assert_string_equal(st.message,
                        "Request to assign label to version 1 of model types, which is not currently "
                        "available for inference");
    /* Never started; and none at all. */
    options.labels_for_unavailable = true;
    assert_int_equal(tn_models_new(&options, &labelled, 1, &m, &st), TERN_OK);
    assert_int_equal(tn_models_wait(m, 0), 0);
    tn_models_free(m);
    m = help_start(&options, NULL, 0);
    assert_int_equal(tn_models_wait(m, TN_NS_PER_S), 0);
    refused(m, &(tn_target){.name = TN_STR("m")}, TERN_NOT_FOUND,
            "Servable not found for request: Latest(m)");
    tn_models_free(m);
}

/* ---- Versions that come and go ---- */

static void test_swap_waits_for_its_own_calls_only(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "123", HALF_PLUS_TWO);
    tn_model_config config = config_of("m", base);
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, &config, 1);
    assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 1);
    tn_version *slow = take(m, &(tn_target){.name = TN_STR("m")});
    assert_int_equal(slow->number, 123);
    help_version(base, "124", HALF_PLUS_TWO);
    help_until(m, "m", 124, TN_STATE_AVAILABLE);
    help_until(m, "m", 123, TN_STATE_UNLOADING);
    assert_int_equal(latest(m, "m"), 124);
    refused(m, &(tn_target){.name = TN_STR("m"), .has_version = true, .version = 123}, TERN_NOT_FOUND,
            "Servable not found for request: Specific(m, 123)");
    help_sleep_ms(100);
    assert_int_equal(help_state(m, "m", 123, NULL), TN_STATE_UNLOADING);
    assert_string_equal(slow->directory, help_path("%s/123", base));
    tn_version_retain(slow);
    tn_version_release(slow);
    assert_int_equal(help_state(m, "m", 123, NULL), TN_STATE_UNLOADING);
    tn_version_release(slow);
    help_until(m, "m", 123, TN_STATE_END);

    /* Back again: 124 goes, 123 is loaded first. A lower one changes nothing. */
    help_version(base, "7", HALF_PLUS_TWO);
    help_remove(help_path("%s/124", base));
    help_until(m, "m", 124, TN_STATE_END);
    assert_int_equal(help_state(m, "m", 123, NULL), TN_STATE_AVAILABLE);
    assert_int_equal(help_state(m, "m", 7, NULL), TN_STATE_UNKNOWN);
    assert_int_equal(latest(m, "m"), 123);
    tn_models_free(m);
}

static void test_vanished(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "1", HALF_PLUS_TWO);
    tn_model_config config = config_of("m", base);
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, &config, 1);
    assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 1);
    /* The whole base path is away: what runs stays. */
    char *away = help_path("%s/away", folder);
    assert_int_equal(rename(base, away), 0);
    help_sleep_ms(400);
    assert_int_equal(latest(m, "m"), 1);
    assert_int_equal(rename(away, base), 0);
    /* It is there and empty: nothing is served, and the version stays in the history. */
    help_remove(help_path("%s/1", base));
    help_until(m, "m", 1, TN_STATE_END);
    char message[4096];
    assert_int_equal(help_state(m, "m", 1, message), TN_STATE_END);
    assert_string_equal(message, "");
    refused(m, &(tn_target){.name = TN_STR("m")}, TERN_NOT_FOUND,
            "Servable not found for request: Latest(m)");
    assert_int_equal(tn_models_count(m).absent, 1);
    help_version(base, "1", HALF_PLUS_TWO);
    help_until(m, "m", 1, TN_STATE_AVAILABLE);
    assert_int_equal(latest(m, "m"), 1);
    tn_models_free(m);
}

static void test_gone_for_a_moment(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "1", "sleep 1500\n" HALF_PLUS_TWO);
    help_version(base, "2", HALF_PLUS_TWO);
    tn_model_config config = config_of("m", base);
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, &config, 1);
    help_until(m, "m", 2, TN_STATE_AVAILABLE);
    tn_version *v = take(m, &(tn_target){.name = TN_STR("m")});
    assert_int_equal(rename(help_path("%s/2", base), help_path("%s/away", base)), 0);
    help_until(m, "m", 1, TN_STATE_LOADING);
    assert_int_equal(rename(help_path("%s/away", base), help_path("%s/2", base)), 0);
    help_until(m, "m", 1, TN_STATE_END);
    /* The same version all along. */
    tn_version *w = take(m, &(tn_target){.name = TN_STR("m")});
    assert_ptr_equal(v, w);
    tn_version_release(v);
    tn_version_release(w);
    tn_models_free(m);
}

static void test_missing_models_stop_nobody(void **state)
{
    char *good = help_path("%s/good", folder);
    char *empty = help_path("%s/empty", folder);
    char *missing = help_path("%s/missing", folder);
    help_version(good, "1", HALF_PLUS_TWO);
    help_mkdir(empty);
    tn_model_config configs[] = {config_of("missing", missing), config_of("empty", empty),
                                 config_of("good", good)};
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, configs, 3);
    int64_t start = tn_now_ns();
    assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 1);
    assert_true(tn_now_ns() - start < 10 * TN_NS_PER_S);
    assert_int_equal(latest(m, "good"), 1);
    /* Still watched. */
    help_version(missing, "4", HALF_PLUS_TWO);
    help_version(good, "2", HALF_PLUS_TWO);
    help_until(m, "missing", 4, TN_STATE_AVAILABLE);
    help_until(m, "good", 2, TN_STATE_AVAILABLE);
    tn_models_free(m);
}

static bool waits_for_its_files(tn_models *m, int64_t number)
{
    bool waits = false;
    pthread_mutex_lock(&m->lock);
    for (const tn_entry *e = m->models[0]->entries; e != NULL; e = e->next)
        waits |= e->number == number && e->state == TN_STATE_UNKNOWN && !e->busy;
    tn_models_unlock(m);
    return waits;
}

static void test_half_copied(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "1", HALF_PLUS_TWO);
    help_mkdir(help_path("%s/2", base));
    help_mkdir(help_path("%s/2/variables", base));
    tn_model_config config = config_of("m", base);
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, &config, 1);
    /* The copying below may be held up on a busy machine. */
    pthread_mutex_lock(&m->lock);
    m->pace.looks_ns = 2 * TN_NS_PER_S;
    tn_models_unlock(m);
    /* The engine does not know the folder yet: the lower version serves. */
    help_until(m, "m", 1, TN_STATE_AVAILABLE);
    help_until(m, "m", 2, TN_STATE_LOADING);
    /* Known now, but written on: not touched as long as it changes. */
    help_version(base, "2", HALF_PLUS_TWO);
    for (int i = 0; i < 25; i++) {
        help_write(help_path("%s/2/variables/part%d", base, i), "weights");
        help_sleep_ms(20);
        assert_int_equal(help_state(m, "m", 2, NULL), TN_STATE_LOADING);
        assert_int_equal(tn_models_count(m).ready, 1);
        assert_true(waits_for_its_files(m, 2));
    }
    help_until(m, "m", 2, TN_STATE_AVAILABLE);
    help_until(m, "m", 1, TN_STATE_END);
    tn_models_free(m);
}

static void test_poll_once(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "1", HALF_PLUS_TWO);
    tn_model_config config = config_of("m", base);
    tn_models_options options = help_options(engines);
    options.poll_seconds = 0;
    tn_models *m = help_start(&options, &config, 1);
    /* Fresh files are looked at twice even so. */
    assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 1);
    help_version(base, "2", HALF_PLUS_TWO);
    help_sleep_ms(400);
    assert_int_equal(help_state(m, "m", 2, NULL), TN_STATE_UNKNOWN);
    assert_int_equal(latest(m, "m"), 1);
    tn_models_free(m);
    options.poll_seconds = -1;
    m = help_start(&options, &config, 1);
    help_sleep_ms(200);
    assert_int_equal(tn_models_count(m).ready, 0);
    tn_models_free(m);
}

/* ---- Broken versions ---- */

static void test_broken_and_mended(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "1", HALF_PLUS_TWO);
    help_version(base, "2", "fail 15 Can't parse it\n" HALF_PLUS_TWO);
    tn_model_config config = config_of("m", base);
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, &config, 1);
    help_until(m, "m", 2, TN_STATE_END);
    char message[4096];
    (void)help_state(m, "m", 2, message);
    assert_string_equal(message, "error: Can't parse it");
    /* A restart beside a broken newest version serves the one before it. */
    help_until(m, "m", 1, TN_STATE_AVAILABLE);
    assert_int_equal(latest(m, "m"), 1);
    help_sleep_ms(400);
    assert_int_equal(help_state(m, "m", 2, NULL), TN_STATE_END);
    help_version(base, "2", HALF_PLUS_TWO);
    help_until(m, "m", 2, TN_STATE_AVAILABLE);
    (void)help_state(m, "m", 2, message);
    assert_string_equal(message, "");
    help_until(m, "m", 1, TN_STATE_END);
    /* And one that breaks later replaces nothing. */
    help_version(base, "3", "fail 3 no\n" HALF_PLUS_TWO);
    help_until(m, "m", 3, TN_STATE_END);
    help_sleep_ms(300);
    assert_int_equal(latest(m, "m"), 2);
    tn_models_free(m);
}

static void test_alone_and_broken(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "1", "fail 15 broken\n" HALF_PLUS_TWO);
    tn_model_config config = config_of("m", base);
    tn_models_options options = help_options(engines);
    options.max_load_retries = 2;
    options.load_retry_interval_us = 300000;
    int64_t start = tn_now_ns();
    tn_models *m = help_start(&options, &config, 1);
    help_until(m, "m", 1, TN_STATE_LOADING);
    assert_int_equal(tn_models_count(m).loading, 1);
    assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 0);
    /* Three tries, two pauses between them. */
    assert_true(tn_now_ns() - start >= 600 * TN_NS_PER_MS);
    assert_int_equal(help_state(m, "m", 1, NULL), TN_STATE_END);
    assert_int_equal(tn_models_count(m).failed, 1);
    tn_arena arena = {0};
    tn_arena_init(&arena, 1 << 20);
    uint32_t n;
    tn_str words = tn_models_failures(m, &arena, &n);
    assert_int_equal(n, 1);
    assert_string_equal(words.ptr, "{{{name: m version: 1} due to error: DATA_LOSS: broken}, }");
    tn_arena_free(&arena);
    tn_models_free(m);
}

static void test_retry_at_once_when_files_change(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "1", "fail 15 broken\n" HALF_PLUS_TWO);
    tn_model_config config = config_of("m", base);
    tn_models_options options = help_options(engines);
    options.max_load_retries = 5;
    options.load_retry_interval_us = 60000000;
    tn_models *m = help_start(&options, &config, 1);
    assert_int_equal(tn_models_count(m).untried, 1);
    while (tn_models_count(m).untried > 0)
        help_sleep_ms(5);
    assert_int_equal(tn_models_count(m).under_way, 1); /* the next try is a minute away */
    assert_int_equal(help_state(m, "m", 1, NULL), TN_STATE_LOADING);
    help_version(base, "1", HALF_PLUS_TWO);
    help_until(m, "m", 1, TN_STATE_AVAILABLE);
    tn_models_free(m);
}

static void test_unknown_engine(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "1", HALF_PLUS_TWO);
    tn_model_config config = config_of("m", base);
    config.engine = TN_STR("nonesuch");
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, &config, 1);
    assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 0);
    char message[4096];
    assert_int_equal(help_state(m, "m", 1, message), TN_STATE_END);
    assert_non_null(strstr(message, "nonesuch"));
    tn_models_free(m);
}

/* ---- Hooks and the end ---- */

typedef struct hook_counts {
    atomic_int attached;
    atomic_int detached;
    bool refuse;
} hook_counts;

static tern_code on_attach(void *context, tn_version *v, tern_status *st)
{
    hook_counts *counts = context;
    if (counts->refuse)
        return tern_fail(st, TERN_PERMISSION_DENIED, "not this one");
    atomic_fetch_add(&counts->attached, 1);
    v->attached = counts;
    return TERN_OK;
}

static void on_detach(void *context, tn_version *v)
{
    hook_counts *counts = context;
    if (v->attached == counts)
        atomic_fetch_add(&counts->detached, 1);
}

static void count_each(void *context, tn_version *v)
{
    int *n = context;
    *n += (int)v->number;
}

static void test_hooks(void **state)
{
    char *base = help_path("%s/m", folder);
    help_version(base, "1", HALF_PLUS_TWO);
    help_version(base, "20", HALF_PLUS_TWO);
    tn_model_config config = config_of("m", base);
    config.policy = TN_POLICY_ALL;
    hook_counts counts = {0};
    tn_models_options options = help_options(engines);
    options.hooks = (tn_model_hooks){&counts, on_attach, on_detach};
    tn_models *m = help_start(&options, &config, 1);
    help_until(m, "m", 1, TN_STATE_AVAILABLE);
    help_until(m, "m", 20, TN_STATE_AVAILABLE);
    int sum = 0;
    tn_models_each(m, count_each, &sum);
    assert_int_equal(sum, 21);
    tn_models_free(m);
    assert_int_equal(atomic_load(&counts.attached), 2);
    assert_int_equal(atomic_load(&counts.detached), 2);
    counts.refuse = true;
    m = help_start(&options, &config, 1);
    assert_int_equal(tn_models_wait(m, 20 * TN_NS_PER_S), 0);
    char message[4096];
    assert_int_equal(help_state(m, "m", 20, message), TN_STATE_END);
    assert_string_equal(message, "error: not this one");
    tn_models_free(m);
    assert_int_equal(atomic_load(&counts.detached), 2);
}

static void test_free_while_loading(void **state)
{
    char *base = help_path("%s/m", folder);
    for (int i = 1; i <= 4; i++)
        help_version(base, help_path("%d", i), "sleep 400\n" HALF_PLUS_TWO);
    tn_model_config config = config_of("m", base);
    config.policy = TN_POLICY_ALL;
    tn_models_options options = help_options(engines);
    tn_models *m = help_start(&options, &config, 1);
    help_until(m, "m", 1, TN_STATE_START);
    help_until(m, "m", 4, TN_STATE_LOADING);
    tn_models_free(m); /* loads under way end, those in the queue are dropped */
}

static void test_state_names(void **state)
{
    assert_string_equal(tn_state_name(TN_STATE_START), "START");
    assert_string_equal(tn_state_name(TN_STATE_LOADING), "LOADING");
    assert_string_equal(tn_state_name(TN_STATE_AVAILABLE), "AVAILABLE");
    assert_string_equal(tn_state_name(TN_STATE_UNLOADING), "UNLOADING");
    assert_string_equal(tn_state_name(TN_STATE_END), "END");
    assert_string_equal(tn_state_name((tn_state)7), "UNKNOWN");
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_scan_names),
        WITH_FOLDER(test_look_sees_changes),
        WITH_FOLDER(test_policies),
        WITH_FOLDER(test_words),
        WITH_FOLDER(test_bad_configs),
        WITH_FOLDER(test_swap_waits_for_its_own_calls_only),
        WITH_FOLDER(test_vanished),
        WITH_FOLDER(test_gone_for_a_moment),
        WITH_FOLDER(test_missing_models_stop_nobody),
        WITH_FOLDER(test_half_copied),
        WITH_FOLDER(test_poll_once),
        WITH_FOLDER(test_broken_and_mended),
        WITH_FOLDER(test_alone_and_broken),
        WITH_FOLDER(test_retry_at_once_when_files_change),
        WITH_FOLDER(test_unknown_engine),
        WITH_FOLDER(test_hooks),
        WITH_FOLDER(test_free_while_loading),
        cmocka_unit_test(test_state_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
