/*
 * Traces and the access log: W3C Trace Context's rules, lines that nobody can break, the writer behind them.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/access.h"
#include "codec/json.h"

#define ID     "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"
#define GOOD   "00-" ID "-" PARENT "-01"

static bool parses(const char *text)
{
    tn_trace trace;
    return tn_trace_parse(tn_str_from(text), &trace);
}

static void test_traceparent(void **state)
{
    tn_trace trace;
    assert_true(tn_trace_parse(TN_STR(GOOD), &trace));
    assert_int_equal(trace.trace_id[0], 0x0a);
    assert_int_equal(trace.trace_id[15], 0x9c);
    assert_int_equal(trace.parent_id[7], 0x31);
    assert_true(trace.sampled);
    assert_true(tn_trace_parse(TN_STR("00-" ID "-" PARENT "-00"), &trace));
    assert_false(trace.sampled);
    /* Flags that are not known are not looked at. */
    assert_true(tn_trace_parse(TN_STR("00-" ID "-" PARENT "-fe"), &trace));
    assert_false(trace.sampled);
    assert_true(tn_trace_parse(TN_STR("00-" ID "-" PARENT "-ff"), &trace));
    assert_true(trace.sampled);
}

static void test_traceparent_versions(void **state)
{
    assert_true(parses("cc-" ID "-" PARENT "-01"));
    assert_true(parses("cc-" ID "-" PARENT "-01-what-the-future-brings"));
    assert_true(parses("cc-" ID "-" PARENT "-01-"));
    assert_false(parses("cc-" ID "-" PARENT "-01.what"));
    assert_false(parses("ff-" ID "-" PARENT "-01"));
    assert_false(parses(GOOD "-"));
    assert_false(parses(GOOD "-more"));
}

static void test_traceparent_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-" ID "-" PARENT "-0",
        "00-" ID "-" PARENT "-0x",
        "00-" ID "-" PARENT "-0A",
        "0-" ID "-" PARENT "-010",
        "zz-" ID "-" PARENT "-01",
        "00_" ID "-" PARENT "-01",
        "00-" ID "_" PARENT "-01",
        "00-" ID "-" PARENT "_01",
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-" ID "-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01",
        "00-" ID "-B7AD6B7169203331-01",
        "00-.af7651916cd43dd8448eb211c80319c-" PARENT "-01",
        "00-" ID "-.7ad6b7169203331-01",
        " " GOOD,
        GOOD " ",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(parses(bad[i]));
    /* Nothing is set by what is refused. */
    tn_trace trace = {.sampled = true};
    assert_false(tn_trace_parse(TN_STR("00-" ID "-" PARENT "-0x"), &trace));
    assert_true(trace.sampled && trace.trace_id[0] == 0);
}

static void test_own_span(void **state)
{
    tn_trace a, b;
    char text[TN_TRACEPARENT];
    assert_true(tn_trace_parse(TN_STR(GOOD), &a));
    b = a;
    tn_trace_begin(&a, false);
    tn_trace_begin(&b, false);
    assert_memory_equal(a.trace_id, b.trace_id, 16);
    assert_memory_not_equal(a.span_id, b.span_id, 8);
    tn_trace_write(&a, text);
    assert_memory_equal(text, "00-" ID "-", 36);
    assert_memory_equal(text + 52, "-01", 3);
    assert_true(tn_trace_parse((tn_str){text, sizeof text}, &b));
    assert_memory_equal(b.parent_id, a.span_id, 8);
    tn_trace_begin(&a, true);
    tn_trace_begin(&b, true);
    assert_memory_not_equal(a.trace_id, b.trace_id, 16);
    assert_false(a.sampled);
    tn_trace_write(&a, text);
    assert_true(tn_trace_parse((tn_str){text, sizeof text}, &b));
}

static bool state_good(const char *text)
{
    return tn_tracestate_good(tn_str_from(text));
}

static void test_tracestate(void **state)
{
    char text[600];
    assert_true(state_good("a=1"));
    assert_true(state_good("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"));
    assert_true(state_good("a=1 , b=2\t,,c_-*/9=x y"));
    assert_true(state_good("0tenant@sys=v"));
    assert_true(state_good("a= leading"));
    static const char *const bad[] = {
        "",     ",",      "a",       "a=",       "=1",          "A=1",
        "0a=1", "a b=1",  "a=b=c",   "a=\x7f",   "a=\xc3\xa4",  "a@=1",
        "@a=1", "a@0b=1", "a@b@c=1", "a@b=\x01", "a=1;b=2,C=3", "t@abcdefghijklmno=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(state_good(bad[i]));
    size_t n = 0;
    for (int i = 0; i < 32; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%sk%d=v", i > 0 ? "," : "", i);
    assert_true(state_good(text));
    snprintf(text + n, sizeof text - n, ",more=1");
    assert_false(state_good(text));
    memset(text, 'v', sizeof text);
    memcpy(text, "a=", 2);
    assert_true(tn_tracestate_good((tn_str){text, 258}));
    assert_false(tn_tracestate_good((tn_str){text, 259}));
}

/* ---- lines ---- */

static tn_access_line example(tn_access *a)
{
    assert_true(tn_trace_parse(TN_STR(GOOD), &a->trace));
    a->has_parent = a->has_code = a->has_version = a->has_method = true;
    a->code = TERN_NOT_FOUND;
    a->method = TN_METHOD_REST_PREDICT;
    a->version = 7;
    a->stage_ns[TN_STAGE_READ] = 1500;
    a->stage_ns[TN_STAGE_RUN] = 12345678;
    a->peer_len = 11;
    memcpy(a->peer, "127.0.0.1:9", 11);
    return (tn_access_line){.entry = a,
                            .wall_ns = INT64_C(1790000000123456789),
                            .total_ns = 20000000,
                            .method = TN_STR("POST"),
                            .target = TN_STR("/v1/models/m:predict"),
                            .sent = true,
                            .status = 404,
                            .bytes_in = 10,
                            .bytes_out = 20};
}

static void test_text_line(void **state)
{
    tn_access a = {0};
    tn_access_line line = example(&a);
    tn_buf out;
    tn_buf_init(&out, 1 << 16);
    tn_access_write(&line, false, &out);
    tn_buf_char(&out, '\0');
    assert_string_equal(out.ptr,
                        "2026-09-21T14:13:20.123456Z 127.0.0.1:9 \"POST\" \"/v1/models/m:predict\" "
                        "protocol=HTTP/1.1 status=404 code=NOT_FOUND end=sent bytes_in=10 bytes_out=20 "
                        "total_ms=20.000 api=rest call=predict version=7 "
                        "stages_ms=read:0.001,run:12.345 request_id=0000000000000000 trace_id=" ID
                        " span_id=0000000000000000 parent_id=" PARENT " sampled=1\n");
    tn_buf_free(&out);
}

/* Whatever a client sends, a line is one line, and JSON is the same text again. */
static void test_hostile_lines(void **state)
{
    static const tn_str targets[] = {TN_STR_INIT("/\n{\"status\":200}\r\n"),
                                     TN_STR_INIT("/\"quoted\"\\"),
                                     TN_STR_INIT("/\0nul"),
                                     TN_STR_INIT("/\xFF\xC0\x80\xED\xA0\x80"),
                                     TN_STR_INIT("/gr\xC3\xB6\xC3\x9F"
                                                 "er\x1b[31m\x7f"),
                                     TN_STR_INIT("")};
    for (size_t i = 0; i < 2 * sizeof targets / sizeof targets[0]; i++) {
        tn_access a = {0};
        tn_access_line line = example(&a);
        tn_buf out;
        tn_arena arena;
        const tn_json *read;
        tern_status st;
        line.target = targets[i / 2];
        a.request_id_len = (uint32_t)line.target.len;
        memcpy(a.request_id, line.target.ptr, line.target.len);
        a.signature_len = a.request_id_len;
        memcpy(a.signature, line.target.ptr, line.target.len);
        tn_buf_init(&out, 1 << 16);
        tn_arena_init(&arena, 1 << 20);
        tn_access_write(&line, i % 2 == 0, &out);
        assert_int_equal(tn_str_chr(tn_buf_view(&out), '\n'), (ptrdiff_t)out.len - 1);
        assert_null(memchr(out.ptr, '\0', out.len));
        assert_null(memchr(out.ptr, 0x1b, out.len));
        assert_true(tn_str_is_utf8(tn_buf_view(&out)));
        if (i % 2 == 0) {
            assert_int_equal(tn_json_parse(tn_buf_view(&out), 10, &arena, &read, &st), TERN_OK);
            assert_non_null(tn_json_get(read, "path"));
            assert_non_null(tn_json_get(read, "stages_ms"));
        }
        tn_arena_free(&arena);
        tn_buf_free(&out);
    }
}

static void test_line_without_entry(void **state)
{
    tn_buf out;
    tn_buf_init(&out, 1 << 16);
    static char path[5000];
    memset(path, 'p', sizeof path);
    const tn_access_line line = {.target = {path, sizeof path}, .http2 = true, .status = 400};
    tn_access_write(&line, true, &out);
    assert_true(out.len < 2500);
    assert_true(tn_str_find(tn_buf_view(&out),
                            TN_STR("\"protocol\":\"HTTP/2\",\"status\":400,\"end\":\"gone\"")) > 0);
    tn_buf_free(&out);
}

/* ---- the writer ---- */

static size_t lines_of(const char *path)
{
    char text[4096];
    size_t lines = 0;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    for (ssize_t n; (n = read(fd, text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            lines += text[i] == '\n';
    close(fd);
    return lines;
}

static void *append_many(void *arg)
{
    for (int i = 0; i < 1000; i++)
        tn_log_writer_line(arg, TN_STR("one line of the log\n"));
    return NULL;
}

static void test_writer_keeps_lines_whole(void **state)
{
    char path[] = "/tmp/tern-log-XXXXXX";
    close(mkstemp(path));
    tn_log_writer *w;
    tern_status st;
    pthread_t threads[4];
    assert_int_equal(tn_log_writer_new(path, 1 << 20, &w, &st), TERN_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, append_many, w), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    tn_log_writer_flush(w);
    tn_log_counts counts = tn_log_writer_counts(w);
    assert_int_equal(counts.written, 4000);
    assert_int_equal(counts.dropped, 0);
    tn_log_writer_free(w);
    assert_int_equal(lines_of(path), 4000);
    unlink(path);
}

static void test_writer_opens_anew(void **state)
{
    char path[] = "/tmp/tern-log-XXXXXX";
    char old[64];
    close(mkstemp(path));
    snprintf(old, sizeof old, "%s.1", path);
    tn_log_writer *w;
    tern_status st;
    assert_int_equal(tn_log_writer_new(path, 1 << 20, &w, &st), TERN_OK);
    tn_log_writer_line(w, TN_STR("a\n"));
    tn_log_writer_flush(w);
    assert_int_equal(rename(path, old), 0);
    tn_log_writer_reopen(w);
    tn_log_writer_line(w, TN_STR("b\n"));
    tn_log_writer_line(w, TN_STR("c\n"));
    tn_log_writer_free(w);
    assert_int_equal(lines_of(old), 1);
    assert_int_equal(lines_of(path), 2);
    unlink(path);
    unlink(old);
}

/* A pipe that nobody reads: callers go on, lines are dropped and counted. */
static void test_writer_does_not_wait(void **state)
{
    char folder[] = "/tmp/tern-log-XXXXXX";
    char path[64];
    static char line[4096];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\n';
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    tn_log_writer *w;
    tern_status st;
    assert_int_equal(tn_log_writer_new(path, 16384, &w, &st), TERN_OK);
    for (int i = 0; i < 1000; i++)
        tn_log_writer_line(w, (tn_str){line, sizeof line});
    assert_true(tn_log_writer_counts(w).dropped > 900);
    /* It is read after all: what was taken arrives. */
    size_t got = 0;
    for (ssize_t n; tn_log_writer_counts(w).written + tn_log_writer_counts(w).dropped < 1000 || got == 0;)
        if ((n = read(reader, line, sizeof line)) > 0)
            got += (size_t)n;
    tn_log_writer_free(w);
    close(reader);
    unlink(path);
    rmdir(folder);
}

static void test_writer_needs_a_file(void **state)
{
    tn_log_writer *w;
    tern_status st;
    assert_int_equal(tn_log_writer_new("/nowhere/at/all", 100, &w, &st), TERN_UNAVAILABLE);
    assert_null(w);
    assert_non_null(strstr(st.message, "/nowhere/at/all"));
}

static void test_writer_with_a_full_disk(void **state)
{
    tn_log_writer *w;
    tern_status st;
    assert_int_equal(tn_log_writer_new("/dev/full", 100, &w, &st), TERN_OK);
    tn_log_writer_line(w, TN_STR("lost\n"));
    tn_log_writer_flush(w);
    tn_log_counts counts = tn_log_writer_counts(w);
    assert_int_equal(counts.written, 0);
    assert_int_equal(counts.dropped, 1);
    tn_log_writer_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traceparent),
        cmocka_unit_test(test_traceparent_versions),
        cmocka_unit_test(test_traceparent_refused),
        cmocka_unit_test(test_own_span),
        cmocka_unit_test(test_tracestate),
        cmocka_unit_test(test_text_line),
        cmocka_unit_test(test_hostile_lines),
        cmocka_unit_test(test_line_without_entry),
        cmocka_unit_test(test_writer_keeps_lines_whole),
        cmocka_unit_test(test_writer_opens_anew),
        cmocka_unit_test(test_writer_does_not_wait),
        cmocka_unit_test(test_writer_needs_a_file),
        cmocka_unit_test(test_writer_with_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
