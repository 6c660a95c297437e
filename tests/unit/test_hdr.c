/* base/hdr.c against sorted values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hdr.h"

#define N 20000

static uint64_t state = 88172645463325252u;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Of all sizes, from one nanosecond to an hour. */
static void fill(int64_t *values, tn_hdr *h)
{
    for (int i = 0; i < N; i++) {
        values[i] = (int64_t)(next() >> (22 + next() % 42));
        tn_hdr_record(h, values[i]);
    }
    qsort(values, N, sizeof *values, compare);
}

static void test_percentiles(void **unused)
{
    static const double shares[] = {0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    (void)unused;
    int64_t *values = malloc(N * sizeof *values);
    tn_hdr *h = calloc(1, sizeof *h);
    fill(values, h);
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        int64_t at = (int64_t)(shares[i] * N + 0.999999);
        int64_t right = values[at < 1 ? 0 : at - 1], found = tn_hdr_percentile(h, shares[i]);
        assert_true(found >= right);
        assert_true(found - right <= right / 128 + 1);
    }
    assert_int_equal(tn_hdr_percentile(h, 1), values[N - 1]);
    assert_int_equal(h->min_ns, values[0]);
    assert_int_equal(h->max_ns, values[N - 1]);
    assert_true(tn_hdr_up_to(h, values[N / 2]) >= N / 2);
    assert_int_equal(tn_hdr_up_to(h, values[N - 1]), N);
    free(values);
    free(h);
}

static void test_sum_of_two(void **unused)
{
    (void)unused;
    tn_hdr *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b), *both = calloc(1, sizeof *both);
    for (int i = 1; i <= 1000; i++) {
        tn_hdr_record(i % 2 ? a : b, i * 1000);
        tn_hdr_record(both, i * 1000);
    }
    tn_hdr_add(a, b);
    assert_memory_equal(a, both, sizeof *a);
    assert_true(tn_hdr_mean(a) == 500500);
    free(a);
    free(b);
    free(both);
}

static void test_ends(void **unused)
{
    (void)unused;
    tn_hdr *h = calloc(1, sizeof *h);
    assert_int_equal(tn_hdr_percentile(h, 0.5), 0);
    tn_hdr_record(h, -5);
    tn_hdr_record(h, INT64_MAX);
    assert_int_equal(tn_hdr_percentile(h, 0.5), 0);
    assert_int_equal(tn_hdr_percentile(h, 1), INT64_MAX);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_percentiles), cmocka_unit_test(test_sum_of_two),
                                       cmocka_unit_test(test_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
