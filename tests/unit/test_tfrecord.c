/*
 * TFRecord files by the vectors of tests/vectors/tfrecord.txt: the records and the end that TensorFlow's own
 * reader found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/status.h"
#include "codec/tfrecord.h"

typedef struct file {
    tn_str bytes;
    size_t at;
} file;

static size_t read_file(void *context, void *to, size_t n)
{
    file *f = context;
    size_t left = f->bytes.len - f->at;
    n = n < left ? n : left;
    if (n > 0)
        memcpy(to, f->bytes.ptr + f->at, n);
    f->at += n;
    return n;
}

static int hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* "<hex> <hex> end" or "<hex> DATA_LOSS: text" */
static void describe(tn_str bytes, size_t max, tn_buf *out)
{
    file f = {.bytes = bytes};
    tn_tfrecord r;
    tn_str record;
    tern_status st;
    tern_code code;
    tn_buf_clear(out);
    tn_tfrecord_init(&r, read_file, &f, max);
    while ((code = tn_tfrecord_next(&r, &record, &st)) == TERN_OK && record.ptr != NULL) {
        tn_buf_char(out, '<');
        for (size_t i = 0; i < record.len; i++)
            tn_buf_printf(out, "%02x", (uint8_t)record.ptr[i]);
        tn_buf_z(out, "> ");
    }
    if (code == TERN_OK)
        tn_buf_z(out, "end");
    else
        tn_buf_printf(out, "%s: %s", tn_code_name(code), st.message);
    tn_tfrecord_free(&r);
}

static void test_vectors(void **state)
{
    FILE *f = fopen("tests/vectors/tfrecord.txt", "r");
    char *line = NULL;
    size_t room = 0;
    int lines = 0;
    tn_buf bytes, got;
    assert_non_null(f);
    tn_buf_init(&bytes, 1 << 20);
    tn_buf_init(&got, 1 << 20);
    for (ssize_t n; (n = getline(&line, &room, f)) > 0;) {
        tn_str text = {line, (size_t)n - 1};
        if (text.len == 0 || text.ptr[0] == '#')
            continue;
        ptrdiff_t tab = tn_str_chr(text, '\t');
        assert_true(tab >= 0);
        tn_buf_clear(&bytes);
        for (ptrdiff_t i = 0; i + 1 < tab; i += 2)
            tn_buf_char(&bytes, (char)(hex_digit(line[i]) << 4 | hex_digit(line[i + 1])));
        describe(tn_buf_view(&bytes), 1 << 20, &got);
        tn_str want = tn_str_sub(text, (size_t)tab + 1, text.len);
        if (!tn_str_eq(tn_buf_view(&got), want))
            fail_msg("%.*s: %.*s", TN_FMT(text), TN_FMT(tn_buf_view(&got)));
        lines++;
    }
    assert_true(lines > 20);
    tn_buf_free(&bytes);
    tn_buf_free(&got);
    free(line);
    fclose(f);
}

/* RFC 3720, B.4: 32 bytes of zeros. */
static void test_crc(void **state)
{
    static const uint8_t zeros[32];
    const uint32_t crc = 0x8a9136aa;
    assert_int_equal(tn_crc32c_masked(zeros, sizeof zeros), (uint32_t)((crc >> 15 | crc << 17) + 0xa282ead8));
}

/* Over the maximum, and lengths that no file has: neither read nor allocated. */
static void test_too_large(void **state)
{
    tn_buf bytes, got;
    tn_buf_init(&bytes, 1 << 20);
    tn_buf_init(&got, 1 << 20);
    for (uint64_t length = 101; length < UINT64_C(1) << 62; length *= 977) {
        uint32_t crc = tn_crc32c_masked(&length, 8);
        tn_buf_clear(&bytes);
        tn_buf_append(&bytes, &length, 8);
        tn_buf_append(&bytes, &crc, 4);
        tn_buf_z(&bytes, "short");
        describe(tn_buf_view(&bytes), 100, &got);
        tn_buf_char(&got, '\0');
        assert_non_null(strstr(got.ptr, "RESOURCE_EXHAUSTED: record at 0 is too large: "));
        describe(tn_buf_view(&bytes), SIZE_MAX / 2, &got);
        tn_buf_char(&got, '\0');
        assert_non_null(strstr(got.ptr, "DATA_LOSS: truncated record at 0'"));
    }
    tn_buf_free(&bytes);
    tn_buf_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
