/*
 * test_batch_rows.c - the pure parts of batching: parameters, and tensors as rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "schedule/batch_params.h"
#include "schedule/batch_rows.h"
#include "schedule/batch_stats.h"

static tn_arena arena;

static int setup(void **state)
{
    tn_arena_init(&arena, 16u << 20);
    return 0;
}

static int teardown(void **state)
{
    tn_arena_free(&arena);
    return 0;
}

/* ---- Parameters ---- */

static tn_batch_params parse(const char *text)
{
    tn_batch_params p;
    tern_status st;
    if (tn_batch_params_parse(tn_str_from(text), &arena, &p, &st) != TERN_OK)
        fail_msg("%s", st.message);
    return p;
}

static void test_params_default(void **state)
{
    tn_batch_params p = tn_batch_params_default();
    assert_int_equal(p.max_batch_size, 1000);
    assert_int_equal(p.batch_timeout_us, 0);
    assert_int_equal(p.max_enqueued_batches, 10);
    assert_false(p.has_threads);
    assert_true(tn_str_eq(p.thread_pool_name, TN_STR("model_server_batch_threads")));
    p = parse("");
    assert_true(tn_str_eq(p.thread_pool_name, TN_STR("batch_threads")));
    assert_int_equal(p.max_batch_size, 1000);
    assert_int_equal(tn_batch_params_rows(&p), 1000);
}

static void test_params_all(void **state)
{
    tn_batch_params p = parse(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 70 } max_enqueued_batches { value: 3 }\n"
        "num_batch_threads { value: 2 } thread_pool_name { value: \"pool\" } allowed_batch_sizes: [2, 4, 8]\n"
        "pad_variable_length_inputs: true enable_large_batch_splitting { value: true }\n"
        "max_execution_batch_size { value: 4 }");
    tern_status st;
    assert_int_equal(p.max_batch_size, 8);
    assert_int_equal(p.batch_timeout_us, 70);
    assert_int_equal(p.max_enqueued_batches, 3);
    assert_true(p.has_threads);
    assert_int_equal(p.num_batch_threads, 2);
    assert_true(tn_str_eq(p.thread_pool_name, TN_STR("pool")));
    assert_true(p.pad_variable_length_inputs && p.split);
    assert_int_equal(tn_batch_params_rows(&p), 4);
    assert_int_equal(tn_batch_params_round(&p, 1), 2);
    assert_int_equal(tn_batch_params_round(&p, 4), 4);
    assert_int_equal(tn_batch_params_round(&p, 5), 8);
    assert_int_equal(tn_batch_params_round(&p, 9), 9);
    assert_int_equal(tn_batch_params_check(&p, &st), TERN_OK);
    assert_int_equal(tn_batch_params_check_threads(&p, &st), TERN_OK);
}

static void refused(const char *text, const char *words)
{
    tn_batch_params p = parse(text);
    tern_status st = {.message = ""};
    if (tn_batch_params_check_threads(&p, &st) == TERN_OK)
        assert_int_equal(tn_batch_params_check(&p, &st), TERN_INVALID_ARGUMENT);
    if (strstr(st.message, words) == NULL)
        fail_msg("%s: %s", text, st.message);
}

static void test_params_refused(void **state)
{
    refused("max_batch_size { value: 4 } allowed_batch_sizes: 2",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 2; expected 4");
    refused("allowed_batch_sizes: 2", "last entry was 2; expected 1000");
    refused("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0");
    refused("num_batch_threads { value: -7 }", "num_batch_threads must be positive; was -7");
    refused("num_batch_threads { value: 1000000 }", "num_batch_threads must be 4096 at most");
    refused("max_batch_size { value: 0 }", "max_batch_size");
    refused("max_batch_size { }", "max_batch_size");
    refused("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1");
    refused("enable_large_batch_splitting { value: true } max_enqueued_batches { value: 0 }",
            "max_enqueued_batches must be positive; was 0");
    refused("enable_large_batch_splitting { value: true } max_execution_batch_size { value: 2000 }",
            "greater than or equal to max_execution_batch_size");
    refused("enable_large_batch_splitting { value: true } max_execution_batch_size { value: 0 }",
            "max_execution_batch_size must be positive; was 0");
    tn_batch_params p = parse("max_batch_size { value: -1 } max_enqueued_batches { value: -1 }");
    tern_status st;
    assert_int_equal(tn_batch_params_check(&p, &st), TERN_OK);
    assert_true(tn_batch_params_rows(&p) == INT64_MAX);
}

static void test_params_files(void **state)
{
    char path[] = "/tmp/tern-batch-XXXXXX";
    tn_batch_params p;
    tern_status st;
    int fd = mkstemp(path);
    char words[128];
    assert_true(fd >= 0);
    assert_int_equal(tn_batch_params_read(path, &arena, &p, &st), TERN_INVALID_ARGUMENT);
    snprintf(words, sizeof words, "%s; Invalid argument", path);
    assert_string_equal(st.message, words);
    assert_int_equal(write(fd, "nope: 1\n", 8), 8);
    assert_int_equal(tn_batch_params_read(path, &arena, &p, &st), TERN_INVALID_ARGUMENT);
    snprintf(words, sizeof words, "Invalid protobuf file: '%s'", path);
    assert_string_equal(st.message, words);
    close(fd);
    unlink(path);
    assert_int_equal(tn_batch_params_read(path, &arena, &p, &st), TERN_NOT_FOUND);
    snprintf(words, sizeof words, "%s; No such file or directory", path);
    assert_string_equal(st.message, words);
}

/* ---- Rows ---- */

/* A float tensor of that shape with first, first + 1, ... in it. */
static tern_tensor floats(int32_t rank, const int64_t *dims, float first)
{
    tern_tensor t;
    tern_status st;
    assert_int_equal(tn_tensor_new(&t, TERN_FLOAT, rank, dims, &arena, &st), TERN_OK);
    for (int64_t i = 0; i < tn_tensor_count(&t); i++)
        ((float *)t.data)[i] = first + (float)i;
    return t;
}

static tern_tensor strings(int32_t rank, const int64_t *dims, const char *const *texts)
{
    tern_tensor t;
    tern_status st;
    size_t bytes = 0;
    int64_t count = 1;
    assert_true(tn_shape_count(rank, dims, &count));
    for (int64_t i = 0; i < count; i++)
        bytes += strlen(texts[i]);
    assert_int_equal(tn_tensor_new_string(&t, rank, dims, bytes, &arena, &st), TERN_OK);
    uint64_t *offsets = tn_string_offsets(&t);
    offsets[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t n = strlen(texts[i]);
        memcpy(tn_string_bytes(&t, count) + offsets[i], texts[i], n);
        offsets[i + 1] = offsets[i] + n;
    }
    return t;
}

static void expect_floats(const tern_tensor *t, int32_t rank, const int64_t *dims, const float *values)
{
    assert_int_equal(t->rank, rank);
    assert_memory_equal(t->dims, dims, (size_t)rank * sizeof *dims);
    assert_int_equal(t->size, (size_t)tn_tensor_count(t) * sizeof(float));
    for (int64_t i = 0; i < tn_tensor_count(t); i++)
        if (((const float *)t->data)[i] != values[i])
            fail_msg("element %lld is %g, not %g", (long long)i, ((const float *)t->data)[i], values[i]);
}

static void expect_strings(const tern_tensor *t, const char *const *texts)
{
    int64_t count = tn_tensor_count(t);
    for (int64_t i = 0; i < count; i++)
        if (!tn_str_eq(tn_string_at(t, count, i), tn_str_from(texts[i])))
            fail_msg("element %lld is %.*s, not %s", (long long)i, TN_FMT(tn_string_at(t, count, i)),
                     texts[i]);
}

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})
#define NO_LIMIT  ((size_t)1 << 30)

static void test_fit(void **state)
{
    tern_tensor a = floats(2, DIMS(1, 3), 0);
    tern_tensor b = floats(2, DIMS(4, 3), 0);
    tern_tensor c = floats(2, DIMS(1, 2), 0);
    tern_tensor d = floats(1, DIMS(3), 0);
    tern_tensor e = floats(2, DIMS(2, 0), 0);
    tern_tensor f = floats(1, DIMS(5), 0);
    tern_tensor seven = floats(7, DIMS(1, 1, 1, 1, 1, 1, 2), 0);
    tern_tensor other = floats(7, DIMS(1, 1, 1, 1, 1, 1, 1), 0);
    assert_true(tn_rows_fit(&a, &b, false));
    assert_false(tn_rows_fit(&a, &c, false));
    assert_true(tn_rows_fit(&a, &c, true));
    assert_false(tn_rows_fit(&a, &d, true));
    assert_true(tn_rows_fit(&d, &f, false));
    assert_false(tn_rows_fit(&a, &e, true)); /* nothing to fill it up with */
    assert_true(tn_rows_fit(&seven, &seven, true));
    assert_false(tn_rows_fit(&seven, &other, true));
    other.dtype = TERN_INT32;
    other.dims = seven.dims;
    assert_false(tn_rows_fit(&seven, &other, false));
    tern_tensor *all[] = {&a, &b, &c, &d, &e, &f, &seven, &other};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tn_tensor_release(all[i]);
}

static void test_join_and_slice(void **state)
{
    tern_tensor a = floats(2, DIMS(2, 2), 1);
    tern_tensor b = floats(2, DIMS(3, 2), 10);
    tern_tensor all, part;
    tern_status st;
    const tn_rows rows[] = {{&a, 0, 2}, {&b, 1, 2}};
    assert_int_equal(tn_rows_join(rows, 2, 0, false, NO_LIMIT, &arena, &all, &st), TERN_OK);
    expect_floats(&all, 2, DIMS(4, 2), (const float[]){1, 2, 3, 4, 12, 13, 14, 15});
    assert_int_equal((uintptr_t)all.data % TERN_ALIGNMENT, 0);
    assert_int_equal(tn_rows_slice(&all, 1, 2, &arena, &part, &st), TERN_OK);
    expect_floats(&part, 2, DIMS(2, 2), (const float[]){3, 4, 12, 13});
    assert_ptr_equal(part.buffer, all.buffer); /* a view */
    tn_tensor_release(&all);
    expect_floats(&part, 2, DIMS(2, 2), (const float[]){3, 4, 12, 13});
    tn_tensor_release(&part);
    /* With rows added: the first row of the last part, or of the last that has one. */
    assert_int_equal(tn_rows_join(rows, 2, 3, false, NO_LIMIT, &arena, &all, &st), TERN_OK);
    expect_floats(&all, 2, DIMS(7, 2), (const float[]){1, 2, 3, 4, 12, 13, 14, 15, 12, 13, 12, 13, 12, 13});
    tn_tensor_release(&all);
    const tn_rows empty[] = {{&a, 1, 1}, {&b, 0, 0}};
    assert_int_equal(tn_rows_join(empty, 2, 1, false, NO_LIMIT, &arena, &all, &st), TERN_OK);
    expect_floats(&all, 2, DIMS(2, 2), (const float[]){3, 4, 3, 4});
    tn_tensor_release(&all);
    tn_tensor_release(&a);
    tn_tensor_release(&b);
}

static void test_join_strings(void **state)
{
    tern_tensor a = strings(2, DIMS(1, 2), (const char *const[]){"one", ""});
    tern_tensor b = strings(2, DIMS(2, 2), (const char *const[]){"two", "three", "", "four"});
    tern_tensor all, part;
    tern_status st;
    const tn_rows rows[] = {{&a, 0, 1}, {&b, 0, 2}};
    assert_int_equal(tn_rows_join(rows, 2, 1, false, NO_LIMIT, &arena, &all, &st), TERN_OK);
    assert_int_equal(all.dims[0], 4);
    expect_strings(&all, (const char *const[]){"one", "", "two", "three", "", "four", "two", "three"});
    assert_int_equal(tn_rows_slice(&all, 2, 2, &arena, &part, &st), TERN_OK);
    expect_strings(&part, (const char *const[]){"", "four", "two", "three"});
    assert_int_equal(tn_string_offsets(&part)[0], 0);
    tn_tensor_release(&all);
    tn_tensor_release(&part);
    tn_tensor_release(&a);
    tn_tensor_release(&b);
}

static void test_pad(void **state)
{
    tern_tensor a = floats(3, DIMS(1, 1, 3), 1);  /* 1 2 3 */
    tern_tensor b = floats(3, DIMS(2, 2, 1), 10); /* 10 11; 12 13 */
    tern_tensor all;
    tern_status st;
    const tn_rows rows[] = {{&a, 0, 1}, {&b, 0, 2}};
    assert_int_equal(tn_rows_join(rows, 2, 1, true, NO_LIMIT, &arena, &all, &st), TERN_OK);
    expect_floats(&all, 3, DIMS(4, 2, 3), (const float[]){1,  2,  3,  1,  1,  1,  10, 10, 10, 11, 10, 10,
                                                          12, 10, 10, 13, 10, 10, 10, 10, 10, 11, 10, 10});
    tn_tensor_release(&all);
    tn_tensor_release(&a);
    tn_tensor_release(&b);
    a = strings(2, DIMS(1, 3), (const char *const[]){"a", "b", "c"});
    b = strings(2, DIMS(2, 1), (const char *const[]){"long", "x"});
    const tn_rows texts[] = {{&a, 0, 1}, {&b, 0, 2}};
    assert_int_equal(tn_rows_join(texts, 2, 0, true, NO_LIMIT, &arena, &all, &st), TERN_OK);
    expect_strings(&all, (const char *const[]){"a", "b", "c", "long", "long", "long", "x", "long", "long"});
    tn_tensor_release(&all);
    tn_tensor_release(&a);
    tn_tensor_release(&b);
}

static void test_join_is_bounded(void **state)
{
    tern_tensor a = floats(2, DIMS(1, 100), 0);
    tern_tensor wide = floats(2, DIMS(1, 1000), 0);
    tern_tensor text = strings(1, DIMS(1), (const char *const[]){"0123456789"});
    tern_tensor all;
    tern_status st;
    const tn_rows one = {&a, 0, 1};
    const tn_rows two[] = {{&a, 0, 1}, {&wide, 0, 1}};
    const tn_rows word = {&text, 0, 1};
    assert_int_equal(tn_rows_join(&one, 1, 10, false, 4000, &arena, &all, &st), TERN_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(st.message, "--max_batch_bytes"));
    assert_int_equal(tn_rows_join(&one, 1, INT64_MAX / 4, false, NO_LIMIT, &arena, &all, &st),
                     TERN_RESOURCE_EXHAUSTED);
    assert_int_equal(tn_rows_join(two, 2, 0, true, 7999, &arena, &all, &st), TERN_RESOURCE_EXHAUSTED);
    assert_int_equal(tn_rows_join(&word, 1, 99, false, 1700, &arena, &all, &st), TERN_RESOURCE_EXHAUSTED);
    assert_int_equal(tn_rows_join(&word, 1, 99, false, 1800, &arena, &all, &st), TERN_OK);
    assert_int_equal(tn_tensor_count(&all), 100);
    tn_tensor_release(&all);
    tn_tensor_release(&a);
    tn_tensor_release(&wide);
    tn_tensor_release(&text);
}

/* ---- Counters ---- */

static void test_stats(void **state)
{
    tn_batch_stats *s = calloc(1, sizeof *s);
    for (int64_t size = 1; size <= 100; size++)
        tn_batch_padding_record(s, size, size - 1);
    assert_int_equal(s->padding[0].execution_batch_size, 1);
    assert_int_equal(s->padding[TN_BATCH_PADDING_SIZES - 1].execution_batch_size, -1);
    uint64_t others = 0;
    for (int i = 0; i < TN_BATCH_SIZE_BUCKETS; i++)
        others += s->padding[TN_BATCH_PADDING_SIZES - 1].rows.bucket[i];
    assert_int_equal(others, 100 - (TN_BATCH_PADDING_SIZES - 1));
    tn_batch_sizes_record(&s->input_batch_size, 2);
    tn_batch_sizes_record(&s->input_batch_size, 3);
    tn_batch_sizes_record(&s->input_batch_size, 1000000);
    assert_int_equal(s->input_batch_size.bucket[1], 1);
    assert_int_equal(s->input_batch_size.bucket[2], 1);
    assert_int_equal(s->input_batch_size.bucket[TN_BATCH_SIZE_BUCKETS - 1], 1);
    assert_int_equal(s->input_batch_size.sum, 1000005);
    assert_true(tn_batch_sizes_bound(13) == 8192);
    tn_batch_latency_record(&s->queuing_latency, 120);
    tn_batch_latency_record(&s->queuing_latency, 121);
    assert_int_equal(s->queuing_latency.bucket[1], 1);
    assert_int_equal(s->queuing_latency.bucket[2], 1);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_params_default),
        cmocka_unit_test(test_params_all),
        cmocka_unit_test(test_params_refused),
        cmocka_unit_test(test_params_files),
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_join_and_slice),
        cmocka_unit_test(test_join_strings),
        cmocka_unit_test(test_pad),
        cmocka_unit_test(test_join_is_bounded),
        cmocka_unit_test(test_stats),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
