/*
 * Bytes that one thread receives and another reads meanwhile: base/arrival.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arrival.h"
#include "base/clock.h"

enum { TOTAL = 1 << 20, LONG = 60 };

typedef struct sending {
    tn_arrival arrival;
    char *bytes;
    size_t stop;
} sending;

/* Pieces of all sizes; then the end of it, where that is not all. */
static void *send_pieces(void *arg)
{
    sending *s = arg;
    size_t have = 0;
    for (size_t i = 0; have < s->stop; i++) {
        const size_t n = i * 7919 % 5000 + 1, to = have + n < s->stop ? have + n : s->stop;
        for (; have < to; have++)
            s->bytes[have] = (char)(have % 251);
        tn_arrival_have(&s->arrival, have);
    }
    if (s->stop < TOTAL)
        tn_arrival_close(&s->arrival);
    return NULL;
}

static void read_while_they_come(size_t stop)
{
    sending s = {.bytes = calloc(1, TOTAL), .stop = stop};
    pthread_t thread;
    size_t known = 0;
    assert_non_null(s.bytes);
    tn_arrival_begin(&s.arrival, (tn_str){s.bytes, TOTAL}, 0, LONG * TN_NS_PER_S);
    assert_int_equal(pthread_create(&thread, NULL, send_pieces, &s), 0);
    for (size_t want = 1; known < TOTAL; want = known + 1 + known % 100000) {
        const size_t have = tn_arrival_wait(&s.arrival, want);
        for (; known < have; known++)
            assert_int_equal((unsigned char)s.bytes[known], known % 251);
        if (have < want && have < TOTAL)
            break;
    }
    pthread_join(thread, NULL);
    assert_int_equal(known, stop);
    assert_int_equal(tn_arrival_done_ns(&s.arrival) != 0, stop == TOTAL);
    tn_arrival_end(&s.arrival);
    free(s.bytes);
}

static void all_bytes_are_seen(void **state)
{
    read_while_they_come(TOTAL);
}

static void the_end_of_a_part_is_seen(void **state)
{
    read_while_they_come(TOTAL / 3);
    read_while_they_come(0);
}

/* Nobody sends: the reader's patience ends, once for all its waits. */
static void patience_ends(void **state)
{
    tn_arrival a;
    tn_arrival_begin(&a, TN_STR("abcdef"), 2, 5 * TN_NS_PER_MS);
    assert_int_equal(tn_arrival_wait(&a, 2), 2);
    const int64_t start = tn_now_ns();
    for (int i = 0; i < 1000; i++)
        assert_int_equal(tn_arrival_wait(&a, 100), 2);
    assert_true(tn_now_ns() - start >= 5 * TN_NS_PER_MS);
    assert_int_equal(a.patience_ns, 0);
    tn_arrival_have(&a, 6);
    assert_int_equal(tn_arrival_wait(&a, 100), 6);
    tn_arrival_end(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_bytes_are_seen),
        cmocka_unit_test(the_end_of_a_part_is_seen),
        cmocka_unit_test(patience_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
