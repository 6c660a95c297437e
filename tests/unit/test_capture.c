/* tests/unit/test_capture.c - lines of captured data, and files below a folder. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/beneath.h"
#include "codec/capture_line.h"

static void a_line(void **state)
{
    const tn_capture_line line = {
        .input = {TN_STR("text/csv"), TN_STR("1,\"a\"\n"), TN_CAPTURE_CSV},
        .output = {TN_STR("application/x-npy"), {"\x93\0", 2}, TN_CAPTURE_BASE64},
        .event_id = TN_STR("6f4f5b0c"),
        .inference_id = TN_STR("id \"1\""),
        .custom_attributes = TN_STR("a=b"),
        .wall_ns = INT64_C(1644859789999999999),
    };
    tn_buf out;
    tn_buf_init(&out, 4096);
    tn_capture_line_write(&line, &out);
    tn_buf_char(&out, '\0');
    assert_string_equal(
        out.ptr,
        "{\"captureData\":{\"endpointInput\":{\"observedContentType\":\"text/csv\",\"mode\":\"INPUT\","
        "\"data\":\"1,\\\"a\\\"\\n\",\"encoding\":\"CSV\"},\"endpointOutput\":{\"observedContentType\":"
        "\"application/x-npy\",\"mode\":\"OUTPUT\",\"data\":\"kwA=\",\"encoding\":\"BASE64\"}},"
        "\"eventMetadata\":{\"eventId\":\"6f4f5b0c\",\"customAttributes\":[\"a=b\"],\"inferenceId\":"
        "\"id \\\"1\\\"\",\"inferenceTime\":\"2022-02-14T17:29:49Z\"},\"eventVersion\":\"0\"}\n");
    tn_buf_free(&out);
}

static void encodings(void **state)
{
    const tn_str csv = TN_STR("text/csv, text/x-csv"), json = TN_STR("application/json");
    const struct {
        tn_str type, data;
        tn_capture_encoding want;
    } cases[] = {
        {TN_STR("text/csv"), TN_STR("1,2"), TN_CAPTURE_CSV},
        {TN_STR("Text/X-CSV; header=absent"), TN_STR("1,2"), TN_CAPTURE_CSV},
        {TN_STR("application/json"), TN_STR("{}"), TN_CAPTURE_JSON},
        {TN_STR("application/json"), TN_STR("\xff"), TN_CAPTURE_BASE64},
        {TN_STR("application/jsonlines"), TN_STR("{}"), TN_CAPTURE_BASE64},
        {TN_STR(""), TN_STR("{}"), TN_CAPTURE_BASE64},
        {TN_STR_NONE, TN_STR_NONE, TN_CAPTURE_BASE64},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(tn_capture_encoding_of(cases[i].type, csv, json, cases[i].data), cases[i].want);
    assert_int_equal(tn_capture_encoding_of(TN_STR("text/csv"), TN_STR(""), TN_STR(""), TN_STR("1")),
                     TN_CAPTURE_BASE64);
}

static void good_paths(void **state)
{
    static const char *const good[] = {"a", "a/b", "bucket/some key/x.json", "..a/b..", "a/.b"};
    static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(tn_beneath_is_good(tn_str_from(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(tn_beneath_is_good(tn_str_from(bad[i])));
    assert_false(tn_beneath_is_good((tn_str){"a\0b", 3}));
    char name[TN_BENEATH_NAME];
    assert_int_equal(tn_beneath_name(TN_STR("../a b"), name), 6);
    assert_memory_equal(name, "_._a_b", 6);
    assert_int_equal(tn_beneath_name(TN_STR(""), name), 1);
}

static void whole_files(void **state)
{
    char folder[] = "/tmp/tern-test-XXXXXX", link[64], back[8];
    int64_t length = 0;
    tn_whole_file f;
    assert_non_null(mkdtemp(folder));
    int root = open(folder, O_RDONLY | O_DIRECTORY);
    assert_true(root >= 0);
    assert_int_equal(tn_beneath_open(root, TN_STR("a/b/c"), &length), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(tn_whole_file_begin(root, TN_STR("a/b/c"), &f), 0);
    assert_int_equal(tn_whole_file_write(&f, "hello", 5), 0);
    assert_int_equal(tn_beneath_open(root, TN_STR("a/b/c"), &length), -1);
    assert_int_equal(tn_whole_file_end(&f, true), 0);
    int fd = tn_beneath_open(root, TN_STR("a/b/c"), &length);
    assert_true(fd >= 0 && length == 5);
    assert_int_equal(read(fd, back, sizeof back), 5);
    close(fd);
    /* What is dropped leaves what was there. */
    assert_int_equal(tn_whole_file_begin(root, TN_STR("a/b/c"), &f), 0);
    assert_int_equal(tn_whole_file_end(&f, false), 0);
    close(tn_beneath_open(root, TN_STR("a/b/c"), &length));
    assert_int_equal(length, 5);
    /* No link is followed, neither at the end nor on the way; a folder is no file. */
    snprintf(link, sizeof link, "%s/l", folder);
    assert_int_equal(symlink("a", link), 0);
    assert_int_equal(tn_beneath_open(root, TN_STR("l/b/c"), &length), -1);
    assert_int_equal(tn_whole_file_begin(root, TN_STR("l/x"), &f), -1);
    snprintf(link, sizeof link, "%s/a/b/m", folder);
    assert_int_equal(symlink("c", link), 0);
    assert_int_equal(tn_beneath_open(root, TN_STR("a/b/m"), &length), -1);
    assert_int_equal(errno, ELOOP);
    assert_int_equal(tn_beneath_open(root, TN_STR("a/b"), &length), -1);
    assert_int_equal(tn_beneath_open(root, TN_STR("a/../a/b/c"), &length), -1);
    assert_int_equal(errno, EINVAL);
    unlinkat(root, "a/b/m", 0);
    unlinkat(root, "a/b/c", 0);
    unlinkat(root, "a/b", AT_REMOVEDIR);
    unlinkat(root, "a", AT_REMOVEDIR);
    unlinkat(root, "l", 0);
    close(root);
    assert_int_equal(rmdir(folder), 0); /* nothing else is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_line), cmocka_unit_test(encodings),
                                       cmocka_unit_test(good_paths), cmocka_unit_test(whole_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
