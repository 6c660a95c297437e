/* Counting: histograms, the registry of models, both text forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <pthread.h>

#include <cmocka.h>

#include "base/clock.h"
#include "observe/process.h"
#include "observe/stats.h"

static void test_histogram_bounds(void **state)
{
    static tn_histogram h;
    tn_histogram_record(&h, -5);
    tn_histogram_record(&h, 10000); /* a bound belongs to its bucket */
    tn_histogram_record(&h, 10001);
    tn_histogram_record(&h, INT64_MAX);
    assert_int_equal(atomic_load(&h.bucket[0]), 2);
    assert_int_equal(atomic_load(&h.bucket[1]), 1);
    assert_int_equal(atomic_load(&h.bucket[TN_HISTOGRAM_BUCKETS - 1]), 1);
    assert_int_equal(tn_histogram_count(&h), 4);
    tn_histogram_sum sum = {0};
    tn_histogram_add(&sum, &h);
    tn_histogram_add(&sum, &h);
    assert_int_equal(sum.bucket[0], 4);
}

/* 10 us * 1.8^k, as TensorFlow Serving has it: each bound is the last of its bucket. */
static void test_histogram_bucket_of_every_bound(void **state)
{
    double bound = 10000;
    for (size_t i = 0; i < TN_HISTOGRAM_BUCKETS - 1; i++, bound *= 1.8) {
        tn_histogram h = {0};
        tn_histogram_record(&h, (int64_t)(bound * (1 - 1e-7)));
        tn_histogram_record(&h, (int64_t)(bound * (1 + 1e-7)) + 2);
        tn_histogram_record(&h, (int64_t)(bound * 1.79));
        assert_int_equal(atomic_load(&h.bucket[i]), 1);
        assert_int_equal(atomic_load(&h.bucket[i + 1]), 2);
    }
}

static void test_registry_takes_configured_names_only(void **state)
{
    tn_stats *s = tn_stats_new();
    tn_model_stats *unknown = tn_stats_find(s, TN_STR("nobody"));
    assert_int_equal(unknown->name.len, 0);
    assert_ptr_equal(tn_stats_find(s, TN_STR("")), unknown);
    assert_ptr_equal(tn_stats_model(s, TN_STR("")), unknown);
    tn_model_stats *m = tn_stats_model(s, TN_STR("m"));
    assert_ptr_not_equal(m, unknown);
    assert_ptr_equal(tn_stats_model(s, TN_STR("m")), m);
    assert_ptr_equal(tn_stats_find(s, TN_STR("m")), m);
    assert_ptr_equal(tn_stats_find(s, TN_STR("n")), unknown);
    tn_stats_free(s);
}

static void test_registry_is_bounded(void **state)
{
    tn_stats *s = tn_stats_new();
    char name[32];
    for (int i = 0; i < TN_STATS_MODELS + 10; i++) {
        int n = snprintf(name, sizeof name, "model%d", i);
        tn_model_stats *m = tn_stats_model(s, (tn_str){name, (size_t)n});
        assert_int_equal(m->name.len > 0, i < TN_STATS_MODELS);
    }
    tn_stats_free(s);
}

static void test_answers(void **state)
{
    tn_stats *s = tn_stats_new();
    tn_model_stats *m = tn_stats_model(s, TN_STR("m"));
    assert_null(tn_stats_method(m, TN_METHOD_REST_PREDICT));
    tn_stats_answer(m, TN_METHOD_REST_PREDICT, TERN_OK, 20000, 15000);
    tn_stats_answer(m, TN_METHOD_REST_PREDICT, TERN_NOT_FOUND, 20000, 0);
    tn_stats_answer(m, TN_METHOD_REST_PREDICT, (tern_code)99, 20000, 0);
    const tn_method_stats *stats = tn_stats_method(m, TN_METHOD_REST_PREDICT);
    assert_int_equal(tn_histogram_count(&stats->ok), 1);
    assert_int_equal(tn_histogram_count(&stats->failed), 2);
    assert_int_equal(tn_histogram_count(&stats->run), 1);
    assert_int_equal(atomic_load(&stats->codes[TERN_UNKNOWN]), 1);
    assert_null(tn_stats_method(m, TN_METHOD_GRPC_PREDICT));
    tn_stats_examples(m, 1);
    tn_stats_examples(m, 3);
    tn_stats_examples(m, 100000);
    assert_int_equal(atomic_load(&m->examples), 100004);
    assert_int_equal(atomic_load(&m->example_bucket[0]), 1);
    assert_int_equal(atomic_load(&m->example_bucket[2]), 1);
    assert_int_equal(atomic_load(&m->example_bucket[TN_EXAMPLE_BUCKETS - 1]), 1);
    tn_stats_free(s);
}

typedef struct seen {
    size_t n;
    uint64_t good, bad;
    const char *first;
} seen;

static void see(void *context, const tn_model_stats *m, const tn_load_stats *load)
{
    seen *to = context;
    if (to->n++ == 0)
        to->first = load->path;
    to->good += load->good;
    to->bad += load->bad;
}

static void test_loads_are_remembered_for_the_latest_folders(void **state)
{
    tn_stats *s = tn_stats_new();
    tn_model_stats *m = tn_stats_model(s, TN_STR("m"));
    char path[32];
    for (int i = 1; i <= 100; i++) {
        snprintf(path, sizeof path, "/m/%d", i);
        tn_stats_engine_load(s, m, path, false, TN_NS_PER_MS);
        tn_stats_load(m, false, TN_NS_PER_MS);
        tn_stats_engine_load(s, m, path, true, TN_NS_PER_MS);
        tn_stats_warmup(s, m, path, TERN_DATA_LOSS, TN_NS_PER_MS);
        tn_stats_load(m, true, TN_NS_PER_MS);
    }
    tn_stats_engine_load(s, m, "/m/90", true, TN_NS_PER_MS);
    seen all = {0};
    tn_stats_each_load(s, m, see, &all);
    assert_int_equal(all.n, TN_LOADS_KEPT);
    assert_string_equal(all.first, "/m/90");
    assert_int_equal(all.good, TN_LOADS_KEPT + 1);
    assert_int_equal(all.bad, TN_LOADS_KEPT);
    assert_int_equal(m->loads->warm_bad.bucket[9] + m->loads->warm_bad.bucket[8], 1);
    assert_int_equal(m->loads->warm_error, TERN_DATA_LOSS);
    assert_int_equal(atomic_load(&m->loads_good), 100);
    assert_int_equal(atomic_load(&m->loads_bad), 100);
    tn_stats_free(s);
}

static void test_cells_of_a_version(void **state)
{
    static tn_version_stats v;
    const int64_t stages[TN_STAGES] = {[TN_STAGE_RUN] = 5000};
    assert_int_equal(tn_stats_cell(-1), TN_STATS_SIGNATURES + 1);
    assert_int_equal(tn_stats_cell(0), 0);
    assert_int_equal(tn_stats_cell(TN_STATS_SIGNATURES), TN_STATS_SIGNATURES);
    assert_int_equal(tn_stats_cell(1000), TN_STATS_SIGNATURES);
    tn_stats_call(&v, 3, TN_METHOD_DOCUMENT, TERN_OK, stages, 7000);
    tn_stats_call(&v, 3, TN_METHOD_GRPC_PREDICT, TERN_OK, stages, 7000);
    tn_stats_call(&v, TN_STATS_SIGNATURES + 1, TN_METHOD_GRPC_PREDICT, TERN_CANCELLED, stages, 7000);
    assert_int_equal(tn_stats_count(&v, TERN_OK), 2);
    assert_int_equal(tn_stats_stage_count(&v, TN_STAGE_RUN), 3);
    assert_int_equal(tn_stats_stage_count(&v, TN_STAGE_READ), 0);
    assert_int_equal(tn_stats_stage_count(&v, TN_STAGES), 3);
    assert_non_null(tn_stats_call_of(&v, 3, TN_METHOD_DOCUMENT));
    assert_null(tn_stats_call_of(&v, 3, TN_METHOD_REST_PREDICT));
    tn_version_stats_free(&v);
    assert_int_equal(tn_stats_count(&v, TERN_OK), 0);
}

static void *count_much(void *arg)
{
    const int64_t stages[TN_STAGES] = {[TN_STAGE_RUN] = 5000};
    tn_version_stats *v = arg;
    for (int i = 0; i < 10000; i++) {
        tn_stats_answer(v->model, TN_METHOD_REST_PREDICT, TERN_OK, 20000, 5000);
        tn_stats_call(v, 0, TN_METHOD_REST_PREDICT, TERN_OK, stages, 7000);
        tn_stats_run(v, 5000);
    }
    return NULL;
}

static void test_no_count_is_lost_between_threads(void **state)
{
    enum { THREADS = 12 };
    tn_stats *s = tn_stats_new();
    static tn_version_stats v;
    pthread_t threads[THREADS];
    v.model = tn_stats_model(s, TN_STR("m"));
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, &v), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(tn_stats_count(&v, TERN_OK), THREADS * 10000);
    assert_int_equal(tn_stats_stage_count(&v, TN_STAGE_RUN), THREADS * 10000);
    const tn_method_stats *all = tn_stats_method(v.model, TN_METHOD_REST_PREDICT);
    assert_non_null(all);
    assert_int_equal(atomic_load(&all->codes[TERN_OK]), THREADS * 10000);
    assert_int_equal(tn_histogram_count(&all->run), THREADS * 10000);
    assert_int_equal(v.model->runs, THREADS * 10000);
    assert_int_equal(v.model->run_ns, UINT64_C(5000) * THREADS * 10000);
    tn_version_stats_free(&v);
    tn_stats_free(s);
}

static void test_text_forms(void **state)
{
    tn_buf out;
    tn_buf_init(&out, 1 << 16);
    tn_serving_head(&out, ":a:b", "counter");
    tn_serving_value(&out, ":a:b", TN_STR_NONE, 7);
    const uint64_t bucket[] = {1, 0, 2};
    tn_serving_histogram(&out, ":h", TN_STR("x=\"y\""), 10, 1.8, bucket, 3, 12345678.5);
    tn_buf_char(&out, '\0');
    assert_string_equal(out.ptr, "# TYPE :a:b counter\n:a:b{} 7\n"
                                 ":h_bucket{x=\"y\",le=\"10\"} 1\n:h_bucket{x=\"y\",le=\"18\"} 1\n"
                                 ":h_bucket{x=\"y\",le=\"+Inf\"} 3\n:h_sum{x=\"y\"} 12345678.5\n"
                                 ":h_count{x=\"y\"} 3\n");
    tn_buf_clear(&out);
    tn_expo_escape(&out, TN_STR("a\"\\\nb\xC3\xA4"));
    tn_expo_escape(&out, TN_STR("\xFF\xC3"));
    tn_expo_real(&out, "r", TN_STR_NONE, 0.25);
    tn_buf_char(&out, '\0');
    assert_string_equal(out.ptr, "a\\\"\\\\\\nb\xC3\xA4??r 0.25\n");
    tn_buf_free(&out);
}

static void test_process(void **state)
{
    tn_process p = tn_process_read();
    double now = (double)tn_wall_ns() / 1e9;
    assert_true(p.start_seconds > now - 86400 && p.start_seconds < now + 2);
    assert_in_range(p.resident_bytes, 1 << 16, UINT64_C(1) << 40);
    assert_true(p.virtual_bytes >= p.resident_bytes / 2);
    assert_in_range(p.threads, 1, 16); /* a sanitizer may have its own */
    assert_in_range(p.open_fds, 1, 10000);
    assert_true(p.cpu_seconds >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram_bounds),
        cmocka_unit_test(test_histogram_bucket_of_every_bound),
        cmocka_unit_test(test_registry_takes_configured_names_only),
        cmocka_unit_test(test_registry_is_bounded),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_loads_are_remembered_for_the_latest_folders),
        cmocka_unit_test(test_cells_of_a_version),
        cmocka_unit_test(test_no_count_is_lost_between_threads),
        cmocka_unit_test(test_text_forms),
        cmocka_unit_test(test_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
