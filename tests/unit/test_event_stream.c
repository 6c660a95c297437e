/* tests/unit/test_event_stream.c - event stream messages, byte for byte as botocore reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "codec/event_stream.h"

static void same_as_file(const tn_buf *out, const char *path)
{
    char want[1024];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(want, 1, sizeof want, f);
    fclose(f);
    assert_false(out->failed);
    assert_int_equal(out->len, n);
    assert_memory_equal(out->ptr, want, n);
}

static void vectors(void **state)
{
    tn_buf out;
    tn_buf_init(&out, 1000);
    tn_event_part(&out, (tn_str){"abc\0\xff", 5});
    same_as_file(&out, "tests/vectors/event_stream/part");
    tn_buf_clear(&out);
    tn_event_exception(&out, TN_STR("ModelStreamError"), TN_STR("{\"Message\":\"no\"}"));
    same_as_file(&out, "tests/vectors/event_stream/exception");
    tn_buf_free(&out);
}

static void sizes(void **state)
{
    static const size_t lengths[] = {0, 1, 1000, TN_EVENT_PART_MAX};
    static char bytes[TN_EVENT_PART_MAX];
    tn_buf out;
    tn_buf_init(&out, 2 * TN_EVENT_PART_MAX);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        tn_buf_clear(&out);
        tn_event_part(&out, (tn_str){bytes, lengths[i]});
        assert_int_equal(out.len, lengths[i] + TN_EVENT_PART_EXTRA);
    }
    /* Over the limit nothing is written. */
    tn_buf_free(&out);
    tn_buf_init(&out, 100);
    tn_event_part(&out, TN_STR("abc"));
    assert_true(out.failed);
    assert_int_equal(out.len, 0);
    tn_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors), cmocka_unit_test(sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
