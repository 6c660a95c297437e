/*
 * test_html_hostile.c - pages that were made to cost: each must be done within a bound on its work.
 *
 * Without the guard (features/html_guard.c) several of these take seconds to minutes. Time is measured on
 * this thread's own CPU clock, and the bound is generous (sanitizers are slow); what it tells apart is linear
 * from quadratic.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "features/html_features.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 12
#else
#define SLOWER 1
#endif

/* head, then count times part (%u in it is the number), then tail. */
typedef struct hostile {
    const char *name, *head, *part, *tail;
    unsigned count;
} hostile;

static const hostile pages[] = {
    {"deep nesting", "", "<div>", "x", 200000},
    {"deep nesting, closed", "", "<div><p>", "", 100000},
    {"different attributes on one tag", "<p ", "a%u=1 ", ">x", 100000},
    {"the same attribute on one tag", "<p ", "a=1 ", ">x", 300000},
    {"attributes of repeated bodies", "", "<body a%u=1>", "x", 100000},
    {"different tag names", "", "<x%u>", "y", 200000},
    {"misnested formatting", "", "<b><p><i></b></i>", "x", 50000},
    {"formatting around blocks", "", "<b class=c%u><div>", "x", 50000},
    {"reconstructed formatting",
     "<font a=1><i class=a><i class=b><u class=c><u class=d><b class=e><b class=f>", "<p>x</p>", "", 200000},
    {"links that never close", "", "<a class=x%u><div>", "x", 50000},
    {"nobr", "", "<nobr>", "x", 200000},
    {"options", "<select>", "<option>x", "", 100000},
    {"options shown", "<select><button><selectedcontent></button>", "<option selected><b>x", "", 30000},
    {"selects", "", "<select>", "x", 200000},
    {"foster parenting", "<table>", "<b>x<tr>", "", 50000},
    {"tables in tables", "", "<table><tr><td>", "x", 50000},
    {"text in pieces", "<p>", "a</x>", "", 500000},
    {"comments in text", "<p>", "a<!--x-->", "", 300000},
    {"ampersands", "<p>", "&", "", 4000000},
    {"brackets", "<p>", "<", "", 3000000},
    {"carriage returns", "<p>", "a\r", "", 4000000},
    {"scripts in scripts", "", "<script>a<script></script>", "x", 100000},
    {"scripts that never end", "", "<script><!--<script>", "x", 100000},
    {"comments that never end", "", "<p><!-- -- >", "x", 100000},
    {"quotes that never end", "", "<p a=' b=\">", "x", 100000},
    {"templates", "", "<template>", "x", 100000},
    {"foreign elements", "", "<svg><foreignObject>", "x", 30000},
    {"frames", "", "<frameset>", "", 100000},
    {"headings", "", "<h1><h2>", "x", 100000},
    {"metas", "", "<meta name=author content=a>", "x", 100000},
    {"classes", "<p class='", "c%u ", "'>x", 500000},
    {"blocks", "", "<p>x", "", 500000},
};

static char *make(const hostile *h, size_t *length)
{
    size_t room = strlen(h->head) + strlen(h->tail) + (size_t)h->count * (strlen(h->part) + 8) + 1, n;
    char *s = malloc(room);
    assert_non_null(s);
    n = strlen(h->head);
    memcpy(s, h->head, n);
    const char *mark = strstr(h->part, "%u");
    for (unsigned i = 0; i < h->count; i++) {
        size_t before = mark == NULL ? strlen(h->part) : (size_t)(mark - h->part);
        memcpy(s + n, h->part, before);
        n += before;
        if (mark == NULL)
            continue;
        n += (size_t)snprintf(s + n, 12, "%u", i);
        memcpy(s + n, mark + 2, strlen(mark + 2));
        n += strlen(mark + 2);
    }
    memcpy(s + n, h->tail, strlen(h->tail));
    *length = n + strlen(h->tail);
    return s;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Checks what is given back as a caller would use it. */
static void use_results(tern_html *x)
{
    uint32_t n = tern_html_block_count(x);
    assert_in_range(n, 1, 4096);
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        tern_html_block b;
        assert_int_equal(tern_html_block_at(x, i, &b), 0);
        total += b.length;
    }
    assert_true(total <= 8u << 20);
    for (int t = 0; t < TERN_HTML_TENSORS; t++) {
        int64_t shape[2];
        int rank = tern_html_tensor_shape(x, t, shape);
        int32_t *data = malloc(sizeof *data * (size_t)(shape[0] * (rank == 2 ? shape[1] : 1)));
        assert_non_null(data);
        tern_html_tensor_fill(x, t, data);
        free(data);
    }
}

static void every_page_is_bounded(void **state)
{
    (void)state;
    tern_html *x = tern_html_create();
    assert_non_null(x);
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        size_t length;
        char *page = make(&pages[i], &length);
        double start = cpu_seconds();
        int rc = tern_html_extract(x, page, length, NULL, 0, NULL, 0, 0);
        double took = cpu_seconds() - start;
        if (rc != TERN_HTML_OK)
            fail_msg("%s: %s", pages[i].name, tern_html_message(x));
        if (took > 1.0 * SLOWER)
            fail_msg("%s: %zu bytes took %.2f s", pages[i].name, length, took);
        use_results(x);
        free(page);
    }
    tern_html_free(x);
}

static void raw_bytes_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *part;
        size_t length;
    } fills[] = {{"\0", 1},           {"a\0", 2},          {"\xFF", 1}, {"\xE2\x82", 2},
                 {"\xF0\x9F\x98", 3}, {"\xED\xA0\x80", 3}, {"a", 1}};
    tern_html *x = tern_html_create();
    assert_non_null(x);
    size_t room = 20u << 20;
    char *page = malloc(room);
    assert_non_null(page);
    for (size_t i = 0; i < sizeof fills / sizeof *fills; i++) {
        size_t n = 3;
        memcpy(page, "<p>", 3);
        for (; n + fills[i].length <= room; n += fills[i].length)
            memcpy(page + n, fills[i].part, fills[i].length);
        double start = cpu_seconds();
        assert_int_equal(tern_html_extract(x, page, n, NULL, 0, NULL, 0, 0), TERN_HTML_OK);
        assert_true(tern_html_truncated(x));
        assert_true(cpu_seconds() - start < 2.0 * SLOWER);
        use_results(x);
    }
    memset(page, 'a', room); /* no tag at all */
    assert_int_equal(tern_html_extract(x, page, room, NULL, 0, NULL, 0, 0), TERN_HTML_NOT_HTML);
    free(page);
    tern_html_clear(x);
    assert_int_equal(tern_html_block_count(x), 0);
    assert_int_equal(tern_html_extract(x, "<p>x", 4, NULL, 0, NULL, 0, 0), TERN_HTML_OK);
    tern_html_free(x);
}

/* A call gives up soon after its deadline, whatever the page. */
static void deadlines_end_the_work(void **state)
{
    (void)state;
    tern_html *x = tern_html_create();
    assert_non_null(x);
    size_t length;
    char *page = make(&(hostile){"", "<p>", "a</x>", "", 3000000}, &length);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    double start = cpu_seconds();
    assert_int_equal(tern_html_extract(x, page, length, NULL, 0, NULL, 0, now + 5000000), TERN_HTML_DEADLINE);
    assert_true(cpu_seconds() - start < 0.1 * SLOWER);
    assert_int_equal(tern_html_extract(x, page, length, NULL, 0, NULL, 0, 0), TERN_HTML_OK);
    free(page);
    tern_html_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_page_is_bounded),
        cmocka_unit_test(raw_bytes_are_bounded),
        cmocka_unit_test(deadlines_end_the_work),
    };
    return cmocka_run_group_tests_name("html_hostile", tests, NULL, NULL);
}
