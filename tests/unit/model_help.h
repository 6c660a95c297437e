/*
 * model_help.h - for tests of models: a folder of the test's own, versions of the example engine in it, and
 * waiting. All functions fail the test when something does not work.
 */
#ifndef TN_TESTS_MODEL_HELP_H
#define TN_TESTS_MODEL_HELP_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "model/life.h"
#include "model/model.h"

#define HALF_PLUS_TWO "signature serving_default\ninput x float [-1]\noutput y float [-1] affine 0.5 2 x\n"

static inline char *help_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A path; the last 256 stay valid. One thread. */
static inline char *help_path(const char *format, ...)
{
    static char ring[256][1024];
    static unsigned next;
    char *path = ring[next++ % 256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(path, sizeof ring[0], format, args);
    va_end(args);
    assert_in_range(n, 1, (int)sizeof ring[0] - 1);
    return path;
}

static inline char *help_folder(void)
{
    const char *place = getenv("TMPDIR");
    char *folder = help_path("%s/tern-test-XXXXXX", place != NULL ? place : "/tmp");
    assert_non_null(mkdtemp(folder));
    return strdup(folder);
}

/* With all that is in it; nothing when it is not there. */
static inline void help_remove(const char *path)
{
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", "--", path, (char *)NULL);
        _exit(127);
    }
    int how = 1;
    errno = 0;
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        continue;
    assert_int_equal(how, 0);
}

static inline void help_mkdir(const char *path)
{
    assert_true(mkdir(path, 0777) == 0 || errno == EEXIST);
}

/* Through another name, so that nobody sees half a file. */
static inline void help_write(const char *path, const char *text)
{
    char *other = help_path("%s.new", path);
    int fd = open(other, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    assert_int_equal(rename(other, path), 0);
}

static inline void help_version(const char *base, const char *number, const char *text)
{
    help_mkdir(base);
    help_mkdir(help_path("%s/%s", base, number));
    help_write(help_path("%s/%s/example.txt", base, number), text);
}

static inline tn_engines *help_engines(void)
{
    const char *build = getenv("TERN_BUILD");
    assert_non_null(build);
    static char path[1024];
    snprintf(path, sizeof path, "%s/engines", build);
    tn_engines *engines = tn_engines_new(&(tn_engines_config){.path = path});
    assert_non_null(engines);
    return engines;
}

static inline tn_models_options help_options(tn_engines *engines)
{
    static const tn_str tags[] = {TN_STR_INIT("serve")};
    return (tn_models_options){
        .engines = engines,
        .default_engine = TN_STR("example"),
        .tags = tags,
        .n_tags = 1,
        .poll_seconds = 1,
        .load_threads = 2,
        .labels_for_unavailable = true,
    };
}

static inline tn_models *help_start(const tn_models_options *options, const tn_model_config *configs,
                                    uint32_t n)
{
    tn_models *m;
    tern_status st = {.code = TERN_OK};
    if (tn_models_new(options, configs, n, &m, &st) != TERN_OK)
        fail_msg("%s", st.message);
    /* Ten times as fast as in earnest. */
    if (options->poll_seconds > 0)
        m->pace.poll_ns /= 10;
    m->pace.eager_ns /= 10;
    m->pace.looks_ns /= 10;
    if (tn_models_start(m, &st) != TERN_OK)
        fail_msg("%s", st.message);
    return m;
}

/*
 * Copies out one version's state; TN_STATE_UNKNOWN when there is none. message may be NULL, else room for
 * 4096.
 */
static inline tn_state help_state(tn_models *m, const char *name, int64_t version, char *message)
{
    tn_arena arena = {0};
    tn_arena_init(&arena, 1 << 20);
    const tn_version_status *list;
    uint32_t n;
    tern_status st;
    tn_state state = TN_STATE_UNKNOWN;
    if (message != NULL)
        message[0] = '\0';
    if (tn_models_status(m, tn_str_from(name), true, version, &arena, &list, &n, &st) == TERN_OK) {
        assert_int_equal(n, 1);
        state = list[0].state;
        if (message != NULL)
            snprintf(message, 4096, "%s%.*s", list[0].error_code != TERN_OK ? "error: " : "",
                     TN_FMT(list[0].error_message));
    }
    tn_arena_free(&arena);
    return state;
}

/* Up to 20 s. */
static inline void help_until(tn_models *m, const char *name, int64_t version, tn_state state)
{
    int64_t end = tn_now_ns() + 20 * TN_NS_PER_S;
    while (help_state(m, name, version, NULL) != state) {
        if (tn_now_ns() > end)
            fail_msg("%s version %lld is %s, not %s", name, (long long)version,
                     tn_state_name(help_state(m, name, version, NULL)), tn_state_name(state));
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static inline void help_sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

#endif
