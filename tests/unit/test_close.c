/*
 * test_close.c - when two tensors count as the same answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "codec/close.h"

static const int64_t three[] = {3};

static tern_tensor tensor(tern_dtype dtype, void *data, size_t size)
{
    return (tern_tensor){.dtype = dtype, .rank = 1, .dims = three, .data = data, .size = size};
}

static bool floats(float a0, float a1, float a2, float b0, float b1, float b2)
{
    float a[] = {a0, a1, a2}, b[] = {b0, b1, b2};
    tern_tensor x = tensor(TERN_FLOAT, a, sizeof a), y = tensor(TERN_FLOAT, b, sizeof b);
    return tn_close(&x, &y, NULL);
}

static void test_floats(void **state)
{
    assert_true(floats(1, 2, 3, 1, 2, 3));
    assert_true(floats(1.0001f, 2, 3, 1, 2, 3));
    assert_false(floats(1.0002f, 2, 3, 1, 2, 3));
    /* Next to a large element the small ones are noise. */
    assert_true(floats(1e-3f, 2, 1000, 2e-3f, 2, 1000));
    assert_false(floats(1e-3f, 2, 3, 2e-3f, 2, 3));
    assert_true(floats(0, 0, 0, 0, 0, 0));
    assert_false(floats(1e-9f, 0, 0, 0, 0, 0));
}

static void test_what_is_no_number(void **state)
{
    assert_true(floats(NAN, INFINITY, 1, NAN, INFINITY, 1));
    assert_false(floats(NAN, 0, 1, 0, 0, 1));
    assert_false(floats(0, 0, 1, 0, NAN, 1));
    assert_false(floats(INFINITY, 0, 1, -INFINITY, 0, 1));
    assert_false(floats(3e38f, 0, 1, INFINITY, 0, 1));
}

static void test_integers(void **state)
{
    int32_t a[] = {1, 2, 100000000}, b[] = {1, 2, 100000001};
    tern_tensor x = tensor(TERN_INT32, a, sizeof a), y = tensor(TERN_INT32, b, sizeof b);
    assert_true(tn_close(&x, &x, NULL));
    assert_false(tn_close(&x, &y, NULL));
}

static void test_form(void **state)
{
    float a[] = {1, 2, 3};
    const int64_t row[] = {1, 3};
    tern_tensor x = tensor(TERN_FLOAT, a, sizeof a), y = x;
    y.dtype = TERN_INT32;
    assert_false(tn_close(&x, &y, NULL));
    y = x;
    y.rank = 2;
    y.dims = row;
    assert_false(tn_close(&x, &y, NULL));
}

static void test_worst(void **state)
{
    float a[] = {1, 2, 4.0002f}, b[] = {1, 2, 4};
    double worst = 1e-9;
    tern_tensor x = tensor(TERN_FLOAT, a, sizeof a), y = tensor(TERN_FLOAT, b, sizeof b);
    assert_true(tn_close(&x, &y, &worst));
    assert_true(worst > 4e-5 && worst < 6e-5);
    tn_close(&y, &y, &worst);
    assert_true(worst > 4e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floats),   cmocka_unit_test(test_what_is_no_number),
        cmocka_unit_test(test_integers), cmocka_unit_test(test_form),
        cmocka_unit_test(test_worst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
