/*
 * test_log_writer.c - lines on their way to a file that is full, or to a pipe that does not want to wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "model_help.h"
#include "observe/log_writer.h"

static const char line[] = "0123456789012345678901234567890123456789012345678901234567890\n";
enum { LINE = sizeof line - 1, LINES = 4000 };

static void until(tn_log_writer *w, uint64_t written, uint64_t dropped)
{
    int64_t end = tn_now_ns() + 20 * TN_NS_PER_S;
    for (;;) {
        tn_log_counts n = tn_log_writer_counts(w);
        if (n.written == written && n.dropped == dropped)
            return;
        if (tn_now_ns() > end)
            fail_msg("%llu written, %llu dropped", (unsigned long long)n.written,
                     (unsigned long long)n.dropped);
        help_sleep_ms(1);
    }
}

/* The disk is full in the middle of a line: what comes later does not hang on to that half. */
static void test_half_a_line_stays_alone(void **state)
{
    char *folder = help_folder();
    char *path = help_path("%s/log", folder);
    tn_log_writer *w;
    tern_status st;
    char text[8 * LINE];
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(tn_log_writer_new(path, 4096, &w, &st), TERN_OK);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){LINE + LINE / 2, before.rlim_max});
    tn_log_writer_line(w, (tn_str){line, LINE});
    until(w, 1, 0);
    tn_log_writer_line(w, (tn_str){line, LINE});
    until(w, 1, 1);
    tn_log_writer_line(w, (tn_str){line, LINE});
    until(w, 1, 2);
    setrlimit(RLIMIT_FSIZE, &before);
    tn_log_writer_line(w, (tn_str){line, LINE});
    tn_log_writer_line(w, (tn_str){line, LINE});
    until(w, 3, 2);
    tn_log_writer_free(w);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof text), 3 * LINE + LINE / 2 + 1);
    close(fd);
    assert_memory_equal(text, line, LINE);
    assert_memory_equal(text + LINE, line, LINE / 2);
    assert_int_equal(text[LINE + LINE / 2], '\n');
    assert_memory_equal(text + LINE + LINE / 2 + 1, line, LINE);
    assert_memory_equal(text + 2 * LINE + LINE / 2 + 1, line, LINE);
    help_remove(folder);
    free(folder);
}

/* Standard error may be a pipe without waiting, made so by whoever shares it: full is not broken. */
static void test_full_pipe_is_waited_for(void **state)
{
    tn_log_writer *w;
    tern_status st;
    int ends[2];
    size_t got = 0;
    char piece[4096];
    int own = dup(STDERR_FILENO);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fcntl(ends[1], F_SETFL, O_WRONLY | O_NONBLOCK);
    dup2(ends[1], STDERR_FILENO);
    tern_code code = tn_log_writer_new(NULL, (size_t)LINE * LINES, &w, &st);
    for (int i = 0; i < LINES && code == TERN_OK; i++)
        tn_log_writer_line(w, (tn_str){line, LINE});
    while (code == TERN_OK && got < (size_t)LINE * LINES) {
        ssize_t n = read(ends[0], piece, sizeof piece);
        for (ssize_t i = 0; i < n; i++)
            if (piece[i] != line[(got + (size_t)i) % LINE])
                code = TERN_DATA_LOSS;
        got += n > 0 ? (size_t)n : 0;
    }
    dup2(own, STDERR_FILENO);
    close(own);
    assert_int_equal(code, TERN_OK);
    until(w, LINES, 0);
    tn_log_writer_free(w);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_a_line_stays_alone),
        cmocka_unit_test(test_full_pipe_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
