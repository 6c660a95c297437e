/*
 * test_engine_fetches.c - engines/tensorflow/fetches.h: sets that are new have room 32 times, whoever asks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "fetches.h"

#define THREADS 4
#define SETS    200

static void test_room_for_32(void **state)
{
    tn_arena arena = {0};
    tn_tf_fetches f;
    tn_arena_init(&arena, 1 << 20);
    assert_true(tn_tf_fetches_init(&f, 130, &arena));
    assert_int_equal(f.words, 3);
    for (uint64_t round = 0; round < 2; round++)
        for (uint64_t i = 0; i < SETS; i++) {
            const uint64_t set[3] = {i / 2, 0, i % 2};
            assert_int_equal(tn_tf_fetches_admit(&f, set), i < TN_TF_SETS);
        }
    tn_arena_free(&arena);
}

typedef struct many {
    tn_tf_fetches f;
    bool admitted[THREADS][SETS];
    atomic_uint next;
} many;

static void *ask_all(void *arg)
{
    many *m = arg;
    unsigned who = atomic_fetch_add(&m->next, 1);
    for (unsigned k = 0; k < 50 * SETS; k++) {
        const uint64_t set = (k * 7 + who * 31) % SETS;
        m->admitted[who][set] |= tn_tf_fetches_admit(&m->f, &set);
    }
    return NULL;
}

/* Sets that one thread got in are in for all. */
static void test_many_threads(void **state)
{
    static many m;
    pthread_t threads[THREADS];
    tn_arena arena = {0};
    tn_arena_init(&arena, 1 << 20);
    assert_true(tn_tf_fetches_init(&m.f, 64, &arena));
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_all, &m), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    unsigned in = 0;
    for (uint64_t set = 0; set < SETS; set++) {
        bool known = tn_tf_fetches_admit(&m.f, &set);
        in += known;
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(m.admitted[i][set], known);
    }
    assert_int_equal(in, TN_TF_SETS);
    tn_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room_for_32),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
