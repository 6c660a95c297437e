/* test_tune_answer.c - whether two answers are the same, as `tern tune` sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "cli/tune.h"
#include "codec/pb_wire.h"
#include "tern/tensor.h"

/* outputs[alias] = float[n] */
static void put_output(tn_buf *out, const char *alias, const float *values, size_t n)
{
    tn_buf dim, shape, tensor, entry;
    tn_buf_init(&dim, 64);
    tn_buf_init(&shape, 64);
    tn_buf_init(&tensor, 1024);
    tn_buf_init(&entry, 2048);
    tn_pb_add_number(&dim, 1, n);
    tn_pb_add_bytes(&shape, 2, tn_buf_view(&dim));
    tn_pb_add_number(&tensor, 1, TERN_FLOAT);
    tn_pb_add_bytes(&tensor, 2, tn_buf_view(&shape));
    tn_pb_add_bytes(&tensor, 4, (tn_str){(const char *)values, n * sizeof *values});
    tn_pb_add_bytes(&entry, 1, tn_str_from(alias));
    tn_pb_add_bytes(&entry, 2, tn_buf_view(&tensor));
    tn_pb_add_bytes(out, 1, tn_buf_view(&entry));
    tn_buf_free(&dim);
    tn_buf_free(&shape);
    tn_buf_free(&tensor);
    tn_buf_free(&entry);
}

static void test_messages(void **state)
{
    static const float one[] = {1, -2, 0.5f}, near[] = {1.00001f, -2, 0.5f}, far[] = {1.01f, -2, 0.5f};
    tn_buf a, b, c, d, swapped;
    double worst = 0;
    (void)state;
    tn_buf *const all[] = {&a, &b, &c, &d, &swapped};
    for (size_t i = 0; i < 5; i++)
        tn_buf_init(all[i], 8192);
    put_output(&a, "x", one, 3);
    put_output(&a, "y", far, 2);
    put_output(&b, "x", near, 3);
    put_output(&b, "y", far, 2);
    put_output(&c, "x", far, 3);
    put_output(&c, "y", far, 2);
    put_output(&d, "x", one, 3);
    put_output(&swapped, "y", far, 2);
    put_output(&swapped, "x", one, 3);
    assert_true(tn_tune_same(tn_buf_view(&a), tn_buf_view(&a), false, &worst));
    assert_true(worst == 0);
    assert_true(tn_tune_same(tn_buf_view(&swapped), tn_buf_view(&a), false, &worst));
    assert_true(tn_tune_same(tn_buf_view(&b), tn_buf_view(&a), false, &worst));
    assert_true(worst > 1e-6 && worst < 1e-5);
    assert_false(tn_tune_same(tn_buf_view(&c), tn_buf_view(&a), false, &worst));
    assert_true(worst > 4e-3 && worst < 6e-3);
    assert_false(tn_tune_same(tn_buf_view(&d), tn_buf_view(&a), false, &worst));
    assert_false(tn_tune_same(tn_buf_view(&a), tn_buf_view(&d), false, &worst));
    assert_false(tn_tune_same(tn_str_sub(tn_buf_view(&a), 0, a.len - 1), tn_buf_view(&a), false, &worst));
    assert_false(tn_tune_same(tn_buf_view(&a), TN_STR("\x0a\xff"), false, &worst));
    for (size_t i = 0; i < 5; i++)
        tn_buf_free(all[i]);
}

static void test_json(void **state)
{
    double worst = 0;
    const tn_str want = TN_STR("{\"outputs\": {\"a\": [[1, 100], [0.5, -3]], \"b\": [\"x\", true]}}");
    (void)state;
    assert_true(tn_tune_same(want, want, true, &worst));
    assert_true(worst == 0);
    assert_true(tn_tune_same(TN_STR("{\"outputs\":{\"a\":[[1.0005,100],[0.5,-3]],\"b\":[\"x\",true]}}"), want,
                             true, &worst));
    assert_true(worst > 4e-6 && worst < 6e-6);
    assert_false(tn_tune_same(TN_STR("{\"outputs\":{\"a\":[[1.01,100],[0.5,-3]],\"b\":[\"x\",true]}}"), want,
                              true, &worst));
    assert_false(
        tn_tune_same(TN_STR("{\"outputs\":{\"a\":[[1,100],[0.5]],\"b\":[\"x\",true]}}"), want, true, &worst));
    assert_false(tn_tune_same(TN_STR("{\"outputs\":{\"a\":[[1,100],[0.5,-3]],\"b\":[\"y\",true]}}"), want,
                              true, &worst));
    assert_false(tn_tune_same(TN_STR("{\"outputs\":{\"a\":[[1,100],[0.5,-3]],\"b\":[\"x\",false]}}"), want,
                              true, &worst));
    assert_false(tn_tune_same(TN_STR("{\"outputs\":{\"c\":[[1,100],[0.5,-3]],\"b\":[\"x\",true]}}"), want,
                              true, &worst));
    assert_false(tn_tune_same(TN_STR("no JSON"), want, true, &worst));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
