/*
 * test_tensor.c - dtypes, shapes, tensors and their memory, also given back by other threads than made it;
 * lookups in signatures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "tensor/tensor.h"

static tn_arena arena;

static int setup(void **state)
{
    tn_arena_init(&arena, 1u << 20);
    return 0;
}

static int teardown(void **state)
{
    tn_arena_free(&arena);
    return 0;
}

static void assert_text(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, text);
}

/* ---- dtypes ---- */

/* Written down once more, from tensorflow/core/framework/types.proto and TensorFlow's own names and sizes. */
static const struct {
    int number;
    const char *enum_name, *name;
    size_t size;
} known[] = {
    {1, "DT_FLOAT", "float", 4},      {2, "DT_DOUBLE", "double", 8},
    {3, "DT_INT32", "int32", 4},      {4, "DT_UINT8", "uint8", 1},
    {5, "DT_INT16", "int16", 2},      {6, "DT_INT8", "int8", 1},
    {7, "DT_STRING", "string", 0},    {8, "DT_COMPLEX64", "complex64", 8},
    {9, "DT_INT64", "int64", 8},      {10, "DT_BOOL", "bool", 1},
    {11, "DT_QINT8", "qint8", 1},     {12, "DT_QUINT8", "quint8", 1},
    {13, "DT_QINT32", "qint32", 4},   {14, "DT_BFLOAT16", "bfloat16", 2},
    {15, "DT_QINT16", "qint16", 2},   {16, "DT_QUINT16", "quint16", 2},
    {17, "DT_UINT16", "uint16", 2},   {18, "DT_COMPLEX128", "complex128", 16},
    {19, "DT_HALF", "half", 2},       {20, "DT_RESOURCE", "resource", 0},
    {21, "DT_VARIANT", "variant", 0}, {22, "DT_UINT32", "uint32", 4},
    {23, "DT_UINT64", "uint64", 8},
};

static void test_dtypes(void **state)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        tern_dtype dtype = (tern_dtype)known[i].number;
        assert_string_equal(tn_dtype_name(dtype), known[i].name);
        assert_string_equal(tn_dtype_enum_name(dtype), known[i].enum_name);
        assert_int_equal(tn_dtype_size(dtype), known[i].size);
    }
}

/* A dtype may come from the wire. */
static void test_no_dtypes(void **state)
{
    static const int wrong[] = {0, 24, 25, 31, 101, 120, 123, 1000000, -1, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tern_dtype dtype;
        memcpy(&dtype, &wrong[i], sizeof dtype);
        assert_null(tn_dtype_name(dtype));
        assert_null(tn_dtype_enum_name(dtype));
        assert_int_equal(tn_dtype_size(dtype), 0);
    }
}

/* ---- shapes ---- */

static bool count_of(int32_t rank, const int64_t *dims, int64_t want)
{
    int64_t count = -7;
    return tn_shape_count(rank, dims, &count) && count == want;
}

static void test_shape_count(void **state)
{
    int64_t ones[TERN_MAX_RANK];
    for (size_t i = 0; i < TERN_MAX_RANK; i++)
        ones[i] = 1;
    assert_true(count_of(0, NULL, 1));
    assert_true(count_of(1, (int64_t[]){0}, 0));
    assert_true(count_of(3, (int64_t[]){2, 3, 4}, 24));
    assert_true(count_of(3, (int64_t[]){2, 0, 4}, 0));
    assert_int_equal(tn_shape_span(3, (int64_t[]){2, 0, 4}), 8);
    assert_int_equal(tn_shape_span(0, NULL), 1);
    assert_true(count_of(TERN_MAX_RANK, ones, 1));
    assert_true(count_of(1, (int64_t[]){INT64_MAX}, INT64_MAX));
    assert_true(count_of(2, (int64_t[]){INT64_C(1) << 31, INT64_C(1) << 31}, INT64_C(1) << 62));
}

static void test_shape_count_overflow(void **state)
{
    int64_t count = -7;
    assert_false(tn_shape_count(2, (int64_t[]){INT64_C(1) << 32, INT64_C(1) << 31}, &count));
    assert_false(tn_shape_count(2, (int64_t[]){INT64_MAX, 2}, &count));
    assert_false(tn_shape_count(3, (int64_t[]){INT64_MAX, INT64_MAX, INT64_MAX}, &count));
    /* Times zero makes no overflow good. */
    assert_false(tn_shape_count(3, (int64_t[]){INT64_MAX, 2, 0}, &count));
    assert_false(tn_shape_count(3, (int64_t[]){0, INT64_MAX, 2}, &count));
    assert_false(tn_shape_count(3, (int64_t[]){2, 0, INT64_MAX}, &count));
    assert_false(tn_shape_count(1, (int64_t[]){-1}, &count));
    assert_false(tn_shape_count(2, (int64_t[]){0, -1}, &count));
    assert_false(tn_shape_count(1, (int64_t[]){INT64_MIN}, &count));
    assert_int_equal(count, -7);
}

/* ---- tensors ---- */

static void test_new(void **state)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        int64_t dims[] = {3, 5};
        tern_tensor t;
        tern_status st;
        tern_code code = tn_tensor_new(&t, (tern_dtype)known[i].number, 2, dims, &arena, &st);
        if (known[i].size == 0) {
            assert_int_equal(code, TERN_INVALID_ARGUMENT);
            assert_text(st.message, known[i].name);
            assert_null(t.buffer);
            continue;
        }
        assert_int_equal(code, TERN_OK);
        assert_int_equal(t.dtype, known[i].number);
        assert_int_equal(t.size, 15 * known[i].size);
        assert_int_equal(tn_tensor_count(&t), 15);
        assert_ptr_equal(t.data, t.buffer->data);
        assert_true(t.buffer->size >= t.size);
        /* A copy: the caller's may go. */
        dims[0] = dims[1] = 0;
        assert_int_equal(t.dims[0], 3);
        assert_int_equal(t.dims[1], 5);
        memset(t.data, 0xA5, t.size);
        tn_tensor_release(&t);
        assert_null(t.buffer);
        assert_null(t.data);
        tn_tensor_release(&t); /* a cleared one is accepted */
    }
}

static void test_new_small(void **state)
{
    tern_tensor scalar, empty;
    tern_status st;
    assert_int_equal(tn_tensor_new(&scalar, TERN_INT64, 0, NULL, &arena, &st), TERN_OK);
    assert_int_equal(scalar.size, 8);
    assert_int_equal(tn_tensor_count(&scalar), 1);
    *(int64_t *)scalar.data = 1;
    tn_tensor_release(&scalar);
    assert_int_equal(tn_tensor_new(&empty, TERN_HALF, 3, (int64_t[]){4, 0, 2}, &arena, &st), TERN_OK);
    assert_int_equal(empty.size, 0);
    assert_int_equal(tn_tensor_count(&empty), 0);
    tn_tensor_release(&empty);
}

static void assert_refused(tern_code code, tern_code want, const tern_tensor *t, const tern_status *st)
{
    assert_int_equal(code, want);
    assert_int_equal(st->code, want);
    assert_true(st->length > 10);
    assert_null(t->buffer);
    assert_null(t->data);
}

static void test_new_impossible(void **state)
{
    int64_t ones[TERN_MAX_RANK + 1];
    const int64_t huge = INT64_C(1) << 61;
    tern_tensor t;
    tern_status st;
    for (size_t i = 0; i <= TERN_MAX_RANK; i++)
        ones[i] = 1;
    assert_int_equal(tn_tensor_new(&t, TERN_INT8, TERN_MAX_RANK, ones, &arena, &st), TERN_OK);
    tn_tensor_release(&t);
    assert_refused(tn_tensor_new(&t, TERN_INT8, TERN_MAX_RANK + 1, ones, &arena, &st), TERN_INVALID_ARGUMENT,
                   &t, &st);
    assert_refused(tn_tensor_new(&t, TERN_INT8, -1, ones, &arena, &st), TERN_INVALID_ARGUMENT, &t, &st);
    assert_refused(tn_tensor_new(&t, TERN_INT8, 1, (int64_t[]){-3}, &arena, &st), TERN_INVALID_ARGUMENT, &t,
                   &st);
    /* Elements fit an int64, their bytes do not. */
    assert_refused(tn_tensor_new(&t, TERN_COMPLEX128, 1, &huge, &arena, &st), TERN_INVALID_ARGUMENT, &t, &st);
    assert_refused(tn_tensor_new(&t, TERN_INT32, 1, &huge, &arena, &st), TERN_INVALID_ARGUMENT, &t, &st);
    assert_refused(tn_tensor_new_string(&t, 1, &huge, 0, &arena, &st), TERN_INVALID_ARGUMENT, &t, &st);
    assert_refused(tn_tensor_new_string(&t, 0, NULL, SIZE_MAX, &arena, &st), TERN_INVALID_ARGUMENT, &t, &st);
    assert_refused(tn_tensor_new_string(&t, 0, NULL, PTRDIFF_MAX, &arena, &st), TERN_INVALID_ARGUMENT, &t,
                   &st);
    /* The buffer's own head does not fit any more. */
    assert_null(tn_buffer_new(SIZE_MAX));
    assert_null(tn_buffer_new(PTRDIFF_MAX));
}

/* Memory is short: the arena gives no dims. */
static void test_new_no_memory(void **state)
{
    tn_arena tiny;
    tern_tensor t;
    tern_status st;
    tn_arena_init(&tiny, 0);
    assert_refused(tn_tensor_new(&t, TERN_INT8, 1, (int64_t[]){4}, &tiny, &st), TERN_RESOURCE_EXHAUSTED, &t,
                   &st);
    assert_refused(tn_tensor_new_string(&t, 1, (int64_t[]){4}, 9, &tiny, &st), TERN_RESOURCE_EXHAUSTED, &t,
                   &st);
    tn_arena_free(&tiny);
}

static void test_strings(void **state)
{
    static const tn_str texts[] = {TN_STR_INIT("one"), TN_STR_INIT(""), TN_STR_INIT("a\0b"),
                                   TN_STR_INIT("größe")};
    const int64_t n = sizeof texts / sizeof texts[0];
    size_t bytes = 0;
    tern_tensor t;
    tern_status st;
    for (int64_t i = 0; i < n; i++)
        bytes += texts[i].len;
    assert_int_equal(tn_tensor_new_string(&t, 2, (int64_t[]){2, 2}, bytes, &arena, &st), TERN_OK);
    assert_int_equal(t.dtype, TERN_STRING);
    assert_int_equal(t.size, 8 * (n + 1) + (int64_t)bytes);
    uint64_t *offsets = tn_string_offsets(&t);
    assert_ptr_equal(offsets, t.data);
    offsets[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        memcpy(tn_string_bytes(&t, n) + offsets[i], texts[i].ptr, texts[i].len);
        offsets[i + 1] = offsets[i] + texts[i].len;
    }
    for (int64_t i = 0; i < n; i++)
        assert_true(tn_str_eq(tn_string_at(&t, n, i), texts[i]));
    assert_ptr_equal(tn_string_bytes(&t, n) + offsets[n], (char *)t.data + t.size);
    tn_tensor_release(&t);

    assert_int_equal(tn_tensor_new_string(&t, 1, (int64_t[]){0}, 0, &arena, &st), TERN_OK);
    assert_int_equal(t.size, 8); /* one offset, no element */
    tn_tensor_release(&t);
}

/* ---- memory ---- */

static void test_alignment(void **state)
{
    static const size_t sizes[] = {0, 1, 7, 8, 15, 16, 17, 63, 64, 65, 100, 4095, 4096, 65536, 1000003};
    enum { N = sizeof sizes / sizeof sizes[0], ROUNDS = 40 };
    tern_buffer *all[N * ROUNDS];
    for (size_t i = 0; i < N * ROUNDS; i++) {
        size_t size = sizes[i % N];
        all[i] = tn_buffer_new(size);
        assert_non_null(all[i]);
        assert_int_equal((uintptr_t)all[i]->data % TERN_ALIGNMENT, 0);
        assert_int_equal(all[i]->size, size);
        assert_int_equal(all[i]->refs, 1);
        memset(all[i]->data, (int)i, size);
    }
    for (size_t i = 0; i < N * ROUNDS; i++) {
        const unsigned char *data = all[i]->data;
        for (size_t k = 0; k < all[i]->size; k++) {
            if (data[k] != (unsigned char)i)
                fail_msg("buffer %zu was written over at %zu", i, k);
        }
        tern_buffer_release(all[i]);
    }
    tern_buffer_release(NULL);
}

static int destroyed;

static void count_destroy(tern_buffer *b)
{
    destroyed++;
}

static void test_references(void **state)
{
    tern_buffer b = {.refs = 1, .destroy = count_destroy};
    destroyed = 0;
    assert_ptr_equal(tern_buffer_retain(&b), &b);
    tern_tensor t = {.dtype = TERN_INT8, .buffer = &b};
    tn_tensor_release(&t);
    assert_int_equal(destroyed, 0);
    tern_buffer_release(&b);
    assert_int_equal(destroyed, 1);
}

enum { THREADS = 4, ROUNDS = 5000 };

/* Each holds a reference of its own, and reads what the maker wrote. */
static void *retain_and_release(void *arg)
{
    tern_buffer *b = arg;
    size_t wrong = 0;
    for (int i = 0; i < ROUNDS; i++) {
        tern_buffer_retain(b);
        wrong += ((const unsigned char *)b->data)[i % 100] != 0x5A;
        tern_buffer_release(b);
    }
    tern_buffer_release(b);
    return (void *)wrong;
}

static void test_references_threads(void **state)
{
    pthread_t threads[THREADS];
    for (int round = 0; round < 10; round++) {
        tern_buffer *b = tn_buffer_new(100);
        assert_non_null(b);
        memset(b->data, 0x5A, 100);
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, retain_and_release, tern_buffer_retain(b)), 0);
        tern_buffer_release(b); /* who is last frees it */
        for (int i = 0; i < THREADS; i++) {
            void *wrong = b;
            pthread_join(threads[i], &wrong);
            assert_null(wrong);
        }
    }
}

/* ---- signatures ---- */

static void test_lookups(void **state)
{
    /* Sorted by bytes; a shorter name before those that begin with it. */
    static const tern_io ios[] = {
        {.name = TN_STR_INIT("")},   {.name = TN_STR_INIT("B")},   {.name = TN_STR_INIT("a")},
        {.name = TN_STR_INIT("ab")}, {.name = TN_STR_INIT("b\0")}, {.name = TN_STR_INIT("é")},
    };
    const int n = sizeof ios / sizeof ios[0];
    for (int take = 0; take <= n; take++) {
        tern_signature s = {
            .inputs = ios, .n_inputs = (uint32_t)take, .outputs = ios, .n_outputs = (uint32_t)take};
        for (int i = 0; i < n; i++) {
            assert_int_equal(tn_signature_input(&s, ios[i].name), i < take ? i : -1);
            assert_int_equal(tn_signature_output(&s, ios[i].name), i < take ? i : -1);
        }
        assert_int_equal(tn_signature_input(&s, TN_STR("A")), -1);
        assert_int_equal(tn_signature_input(&s, TN_STR("b")), -1);
        assert_int_equal(tn_signature_output(&s, TN_STR("zz")), -1);
    }
}

static void test_find_signature(void **state)
{
    static const tern_signature signatures[] = {
        {.name = TN_STR_INIT("a")},
        {.name = TN_STR_INIT("predict")},
        {.name = TN_STR_INIT("serving_default")},
    };
    for (uint32_t n = 0; n <= 3; n++) {
        tern_signature_set set = {.signatures = signatures, .n_signatures = n};
        for (uint32_t i = 0; i < 3; i++)
            assert_ptr_equal(tn_signatures_find(&set, signatures[i].name), i < n ? &signatures[i] : NULL);
        assert_null(tn_signatures_find(&set, TN_STR("")));
        assert_null(tn_signatures_find(&set, TN_STR("serving_default2")));
        assert_null(tn_signatures_find(&set, TN_STR("serving")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_no_dtypes),
        cmocka_unit_test(test_shape_count),
        cmocka_unit_test(test_shape_count_overflow),
        cmocka_unit_test(test_new),
        cmocka_unit_test(test_new_small),
        cmocka_unit_test(test_new_impossible),
        cmocka_unit_test(test_new_no_memory),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_references_threads),
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_find_signature),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
