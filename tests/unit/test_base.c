/* Unit tests of base/: slices, arena, buffer, region, budget, task queue, codes. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/region.h"
#include "base/status.h"
#include "base/task.h"
#include "base/thread.h"

static void numbers_are_whole_and_in_range(void **state)
{
    uint64_t u = 7;
    int64_t i = 7;
    assert_true(tn_str_u64(TN_STR("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
    assert_false(tn_str_u64(TN_STR("18446744073709551616"), &u));
    assert_false(tn_str_u64(TN_STR(""), &u));
    assert_false(tn_str_u64(TN_STR("1 "), &u));
    assert_false(tn_str_u64(TN_STR("-1"), &u));
    assert_true(tn_str_i64(TN_STR("-9223372036854775808"), &i));
    assert_true(i == INT64_MIN);
    assert_false(tn_str_i64(TN_STR("9223372036854775808"), &i));
    assert_false(tn_str_i64(TN_STR("-"), &i));
    char text[24];
    assert_true(tn_str_eq((tn_str){text, tn_put_i64(text, INT64_MIN)}, TN_STR("-9223372036854775808")));
    assert_true(tn_str_eq((tn_str){text, tn_put_i64(text, 0)}, TN_STR("0")));
    assert_true(tn_str_eq((tn_str){text, tn_put_u64(text, UINT64_MAX)}, TN_STR("18446744073709551615")));
}

static void slices_compare_find_and_cut(void **state)
{
    assert_true(tn_str_ieq(TN_STR("Content-Type"), TN_STR("content-tYPE")));
    assert_false(tn_str_ieq(TN_STR("a"), TN_STR("ab")));
    assert_int_equal(tn_str_find(TN_STR("x-gzip"), TN_STR("gzip")), 2);
    assert_int_equal(tn_str_find(TN_STR("zip"), TN_STR("gzip")), -1);
    assert_true(tn_str_cmp(TN_STR("a"), TN_STR("ab")) < 0);
    assert_true(tn_str_cmp(TN_STR("b"), TN_STR("ab")) > 0);
    assert_true(tn_str_eq(tn_str_sub(TN_STR("abc"), 1, 9), TN_STR("bc")));
    assert_true(tn_str_eq(tn_str_sub(TN_STR("abc"), 3, 2), TN_STR("")));
    assert_true(tn_str_eq(tn_str_trim(TN_STR(" \ta b\t ")), TN_STR("a b")));
    assert_true(tn_str_ends(TN_STR("/models/m/invoke"), TN_STR("/invoke")));
}

static void utf8_is_strict(void **state)
{
    assert_true(tn_str_is_utf8(TN_STR("h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\xA6")));
    assert_false(tn_str_is_utf8(TN_STR("\xC0\x80")));         /* overlong */
    assert_false(tn_str_is_utf8(TN_STR("\xED\xA0\x80")));     /* surrogate */
    assert_false(tn_str_is_utf8(TN_STR("\xF4\x90\x80\x80"))); /* beyond U+10FFFF */
    assert_false(tn_str_is_utf8(TN_STR("\xE2\x82")));         /* cut off */
    assert_false(tn_str_is_utf8(TN_STR("\x80")));
}

static void code_points_are_written(void **state)
{
    static const struct {
        uint32_t c;
        const char *utf8;
    } vectors[] = {{'A', "A"},
                   {0x7F, "\x7F"},
                   {0x80, "\xC2\x80"},
                   {0x7FF, "\xDF\xBF"},
                   {0x800, "\xE0\xA0\x80"},
                   {0xFFFD, "\xEF\xBF\xBD"},
                   {0x10000, "\xF0\x90\x80\x80"},
                   {0x10FFFF, "\xF4\x8F\xBF\xBF"}};
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        char utf8[4];
        const size_t n = tn_put_utf8(utf8, vectors[i].c);
        assert_int_equal(n, strlen(vectors[i].utf8));
        assert_memory_equal(utf8, vectors[i].utf8, n);
    }
}

static void count_up(void *arg)
{
    ++*(int *)arg;
}

static void arena_is_bounded_and_cleans_up(void **state)
{
    tn_arena a;
    int cleaned = 0;
    tn_arena_init(&a, 100000);
    for (int i = 0; i < 100; i++) {
        char *p = tn_arena_alloc(&a, 100);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, i, 100);
    }
    assert_non_null(tn_arena_alloc(&a, 0));
    assert_null(tn_arena_alloc(&a, 100001));
    assert_null(tn_arena_alloc(&a, SIZE_MAX));
    assert_null(tn_arena_array(&a, SIZE_MAX / 2, 4));
    assert_true(tn_arena_defer(&a, count_up, &cleaned));
    assert_true(tn_str_eq(tn_arena_printf(&a, "%s-%d", "x", 5), TN_STR("x-5")));
    assert_true(tn_str_eq(tn_arena_dup(&a, TN_STR("abc")), TN_STR("abc")));
    tn_arena_reset(&a);
    assert_int_equal(cleaned, 1);
    assert_true(a.total <= 65536);
    assert_non_null(tn_arena_alloc(&a, 40000));
    tn_arena_free(&a);
    assert_int_equal(cleaned, 1);
}

static void buffer_fails_once_over_its_maximum(void **state)
{
    tn_buf b;
    tn_buf_init(&b, 10);
    tn_buf_z(&b, "12345");
    tn_buf_i64(&b, -678);
    assert_false(b.failed);
    assert_true(tn_str_eq(tn_buf_view(&b), TN_STR("12345-678")));
    tn_buf_z(&b, "ab");
    assert_true(b.failed);
    tn_buf_char(&b, 'c');
    assert_true(tn_str_eq(tn_buf_view(&b), TN_STR("12345-678")));
    tn_buf_clear(&b);
    tn_buf_u64(&b, UINT64_C(1234567890));
    assert_false(b.failed);
    assert_int_equal(b.len, 10);
    tn_buf_free(&b);
}

static void region_grows_from_heap_to_mapping(void **state)
{
    tn_budget budget;
    tn_region r;
    tern_status st;
    char piece[1000];
    tn_budget_init(&budget, 1u << 20);
    tn_region_init(&r, &budget, 0, 300000);
    for (int i = 0; i < 300; i++) {
        memset(piece, 'a' + i % 26, sizeof piece);
        assert_int_equal(tn_region_append(&r, piece, sizeof piece, &st), TERN_OK);
    }
    assert_int_equal(r.len, 300000);
    for (int i = 0; i < 300; i++)
        assert_int_equal(r.ptr[i * 1000 + 999], 'a' + i % 26);
    assert_int_equal(tn_region_append(&r, piece, 1, &st), TERN_INVALID_ARGUMENT);
    assert_true(budget.used >= 300000);
    tn_region_free(&r);
    assert_int_equal(budget.used, 0);
}

static const char *place_of_region(size_t expected)
{
    tn_region r;
    char *room;
    size_t space;
    tern_status st = {0};
    tn_region_init(&r, NULL, expected, 1u << 30);
    assert_int_equal(tn_region_room(&r, 1, &room, &space, &st), TERN_OK);
    assert_true(space >= expected);
    room[expected - 1] = 1;
    tn_region_free(&r);
    return room;
}

static void region_keeps_mappings_for_later_ones(void **state)
{
    (void)state;
    tn_region_keep(1u << 20);
    const char *first = place_of_region(800000);
    assert_ptr_equal(place_of_region(500000), first);     /* fits, and at most half of it is too much */
    assert_ptr_not_equal(place_of_region(900000), first); /* is too small; and over the limit beside it */
    assert_ptr_equal(place_of_region(800000), first);
    const char *small = place_of_region(100000); /* is kept beside it */
    assert_ptr_not_equal(small, first);
    assert_ptr_equal(place_of_region(100000), small);
    assert_ptr_equal(place_of_region(800000), first);
    tn_region_keep(0);
    tn_region a, b;
    char *room_a, *room_b;
    size_t space;
    tern_status st = {0};
    tn_region_keep(1u << 20); /* none is left from before, and two at a time are never the same */
    (void)place_of_region(800000);
    tn_region_init(&a, NULL, 800000, 1u << 30);
    tn_region_init(&b, NULL, 800000, 1u << 30);
    assert_int_equal(tn_region_room(&a, 1, &room_a, &space, &st), TERN_OK);
    assert_int_equal(tn_region_room(&b, 1, &room_b, &space, &st), TERN_OK);
    assert_ptr_not_equal(room_a, room_b);
    tn_region_free(&a);
    tn_region_free(&b);
    tn_region_keep(0);
}

static void region_takes_the_budget_as_bytes_arrive(void **state)
{
    tn_budget budget;
    tn_region r;
    tern_status st;
    char *room;
    size_t space;
    tn_budget_init(&budget, 200000);
    tn_region_init(&r, &budget, 1u << 30, 1u << 30);
    assert_int_equal(tn_region_room(&r, 10, &room, &space, &st), TERN_OK);
    assert_int_equal(space, 1u << 30);
    assert_int_equal(budget.used, 0); /* announced is not arrived */
    memset(room, 'x', 150000);
    assert_int_equal(tn_region_commit(&r, 150000, &st), TERN_OK);
    assert_int_equal(tn_region_commit(&r, 150000, &st), TERN_RESOURCE_EXHAUSTED);
    tn_region_free(&r);
    assert_int_equal(budget.used, 0);
}

typedef struct item {
    tn_task task;
    int number;
} item;

static void *consume(void *arg)
{
    tn_taskq *q = arg;
    intptr_t sum = 0;
    for (tn_task *t; (t = tn_taskq_pop(q)) != NULL;)
        sum += TN_CONTAINER(t, item, task)->number;
    return (void *)sum;
}

static void task_queue_hands_over_everything(void **state)
{
    enum { N = 2000 };
    static item items[N];
    tn_taskq q;
    pthread_t threads[3];
    intptr_t sum = 0;
    tn_taskq_init(&q, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, consume, &q), 0);
    for (int i = 0; i < N; i++) {
        items[i].number = i;
        assert_true(tn_taskq_push(&q, &items[i].task, NULL));
    }
    tn_taskq_close(&q);
    for (int i = 0; i < 3; i++) {
        void *part;
        pthread_join(threads[i], &part);
        sum += (intptr_t)part;
    }
    assert_int_equal(sum, N * (N - 1) / 2);
    assert_false(tn_taskq_push(&q, &items[0].task, NULL));
    tn_taskq_destroy(&q);
}

static void task_queue_is_bounded(void **state)
{
    item a = {.number = 1}, b = {.number = 2};
    bool was_empty;
    tn_taskq q;
    tn_taskq_init(&q, 1);
    assert_true(tn_taskq_push(&q, &a.task, &was_empty));
    assert_true(was_empty);
    assert_false(tn_taskq_push(&q, &b.task, &was_empty));
    assert_false(was_empty);
    assert_ptr_equal(tn_taskq_take_all(&q), &a.task);
    assert_null(tn_taskq_take_all(&q));
    tn_taskq_destroy(&q);
}

static void *look_at_signals(void *arg)
{
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    *(int *)arg = sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGHUP);
    return NULL;
}

static void signals_belong_to_the_main_thread(void **state)
{
    int there = 0;
    int here = 1;
    pthread_t thread;
    assert_int_equal(tn_thread_start(&thread, "a name that is too long", look_at_signals, &there), 0);
    pthread_join(thread, NULL);
    look_at_signals(&here);
    assert_int_equal(there, 1);
    assert_int_equal(here, 0);
}

static void waits_end_in_time(void **state)
{
    pthread_cond_t cond;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    tn_cond_init(&cond);
    pthread_mutex_lock(&lock);
    int error = 0;
    int64_t until = tn_now_ns() + 5 * TN_NS_PER_MS;
    while (error == 0)
        error = tn_cond_until(&cond, &lock, until);
    assert_int_equal(error, ETIMEDOUT);
    assert_true(tn_now_ns() >= until);
    pthread_mutex_unlock(&lock);
    pthread_cond_destroy(&cond);
}

static void codes_map_to_http_as_in_the_original(void **state)
{
    assert_int_equal(tn_code_http(TERN_OK), 200);
    assert_int_equal(tn_code_http(TERN_CANCELLED), 499);
    assert_int_equal(tn_code_http(TERN_RESOURCE_EXHAUSTED), 429);
    assert_int_equal(tn_code_http((tern_code)99), 500);
    assert_string_equal(tn_code_name(TERN_FAILED_PRECONDITION), "FAILED_PRECONDITION");
}

static void status_messages_are_cut(void **state)
{
    tern_status st;
    static char longest[TERN_STATUS_MESSAGE_MAX * 2];
    memset(longest, 'm', sizeof longest - 1);
    assert_int_equal(tern_fail(&st, TERN_INTERNAL, "%s", longest), TERN_INTERNAL);
    assert_int_equal(st.length, TERN_STATUS_MESSAGE_MAX - 1);
    assert_int_equal(st.message[st.length], 0);
    assert_int_equal(tern_fail_bytes(&st, TERN_UNKNOWN, "a\0b", 3), TERN_UNKNOWN);
    assert_int_equal(st.length, 3);
}

/* Keys that end in the same 12 bits under plain FNV-1a, as a client would make them to slow a table down. */
static void keys_made_to_collide_do_not(void **state)
{
    enum { KEYS = 64, BITS = 4095 };
    bool used[BITS + 1] = {false};
    size_t found = 0, places = 0;
    for (uint32_t i = 0; found < KEYS; i++) {
        char key[16];
        int n = snprintf(key, sizeof key, "%x", i);
        uint64_t plain = UINT64_C(14695981039346656037);
        for (int k = 0; k < n; k++)
            plain = (plain ^ (unsigned char)key[k]) * UINT64_C(1099511628211);
        if ((plain & BITS) != 0)
            continue;
        found++;
        uint64_t place = tn_str_hash((tn_str){key, (size_t)n}) & BITS;
        places += !used[place];
        used[place] = true;
        assert_true(tn_str_hash((tn_str){key, (size_t)n}) == tn_str_hash(tn_str_from(key)));
    }
    assert_true(places > KEYS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_whole_and_in_range),
        cmocka_unit_test(slices_compare_find_and_cut),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(code_points_are_written),
        cmocka_unit_test(keys_made_to_collide_do_not),
        cmocka_unit_test(arena_is_bounded_and_cleans_up),
        cmocka_unit_test(buffer_fails_once_over_its_maximum),
        cmocka_unit_test(region_grows_from_heap_to_mapping),
        cmocka_unit_test(region_keeps_mappings_for_later_ones),
        cmocka_unit_test(region_takes_the_budget_as_bytes_arrive),
        cmocka_unit_test(task_queue_hands_over_everything),
        cmocka_unit_test(task_queue_is_bounded),
        cmocka_unit_test(signals_belong_to_the_main_thread),
        cmocka_unit_test(waits_end_in_time),
        cmocka_unit_test(codes_map_to_http_as_in_the_original),
        cmocka_unit_test(status_messages_are_cut),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
