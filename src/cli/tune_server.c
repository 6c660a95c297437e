/*
 * cli/tune_server.c - a setting's server: `tern serve` of this same program over a folder of links to the
 * version, of which only tern.json is another. The server dies with this process.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/input.h"
#include "cli/tune.h"
#include "codec/json.h"

#define START_NS   (300 * TN_NS_PER_S)
#define STOP_NS    (20 * TN_NS_PER_S)
#define PAUSE_NS   (20 * TN_NS_PER_MS)
#define SMALL_FILE ((size_t)1 << 20)
#define EXTRA      "assets.extra"
#define OPEN_FILES 16

/* ---- The version ---- */

static bool is_number(const char *name, int64_t *number)
{
    return name[0] >= '0' && name[0] <= '9' && tn_str_i64(tn_str_from(name), number);
}

static bool is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* The largest number among its folders, or -1. */
static int64_t latest(const char *folder)
{
    int64_t best = -1, number;
    DIR *entries = opendir(folder);
    if (entries == NULL)
        return -1;
    for (struct dirent *e; (e = readdir(entries)) != NULL;) {
        char path[PATH_MAX];
        if (!is_number(e->d_name, &number) || number <= best ||
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path)
            continue;
        if (is_folder(path))
            best = number;
    }
    closedir(entries);
    return best;
}

tern_code tn_tune_find(tn_tune *t, tern_status *st)
{
    char real[PATH_MAX];
    const char *place = getenv("TMPDIR");
    if (realpath(t->o.model, real) == NULL || !is_folder(real))
        return tern_fail(st, TERN_NOT_FOUND, "%.500s: no such folder", t->o.model);
    t->number = latest(real);
    t->version = t->number >= 0 ? tn_arena_printf(&t->arena, "%s/%lld", real, (long long)t->number).ptr
                                : tn_arena_printf(&t->arena, "%s", real).ptr;
    const char *slash = strrchr(real, '/');
    if (t->number < 0 && !is_number(slash + 1, &t->number))
        t->number = 1;
    if (asprintf(&t->work, "%s/tern-tune-XXXXXX", place != NULL && place[0] == '/' ? place : "/tmp") < 0 ||
        t->version == NULL) {
        t->work = NULL;
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory");
    }
    if (mkdtemp(t->work) != NULL)
        return TERN_OK;
    tern_code code = tern_fail(st, TERN_UNAVAILABLE, "%s: %s", t->work, strerror(errno));
    free(t->work);
    t->work = NULL;
    return code;
}

/* ---- Its folder ---- */

/* Links in `to` to all that lies in `from`, but for one name or NULL. False: errno. */
static bool link_all(const char *from, const char *to, const char *but)
{
    DIR *entries = opendir(from);
    bool good = entries != NULL;
    for (struct dirent *e; good && (e = readdir(entries)) != NULL;) {
        char target[PATH_MAX], path[PATH_MAX];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            (but != NULL && strcmp(e->d_name, but) == 0))
            continue;
        good = snprintf(target, sizeof target, "%s/%s", from, e->d_name) < (int)sizeof target &&
               snprintf(path, sizeof path, "%s/%s", to, e->d_name) < (int)sizeof path &&
               symlink(target, path) == 0;
    }
    if (entries != NULL)
        closedir(entries);
    return good;
}

static bool write_file(const char *path, tn_str text)
{
    FILE *file = fopen(path, "wb");
    bool good = file != NULL && fwrite(text.ptr, 1, text.len, file) == text.len;
    return (file == NULL || fclose(file) == 0) && good;
}

static tern_code make_folder(tn_tune *t, tn_tune_try *y, tern_status *st)
{
    tn_buf text;
    const unsigned k = (unsigned)(y - t->tries);
    tn_buf_init(&text, SMALL_FILE * 2);
    y->folder = tn_arena_printf(&t->arena, "%s/%u", t->work, k).ptr;
    y->log = tn_arena_printf(&t->arena, "%s/%u.log", t->work, k).ptr;
    const char *to = tn_arena_printf(&t->arena, "%s/%lld", y->folder, (long long)t->number).ptr;
    const char *extra = tn_arena_printf(&t->arena, "%s/" EXTRA, to).ptr;
    const char *from = tn_arena_printf(&t->arena, "%s/" EXTRA, t->version).ptr;
    const char *json = tn_arena_printf(&t->arena, "%s/tern.json", extra).ptr;
    if (y->folder == NULL || y->log == NULL || to == NULL || extra == NULL || from == NULL || json == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory");
    tern_code code = tn_tune_extra(t, &y->setting, false, &text, st);
    if (code == TERN_OK &&
        (mkdir(y->folder, 0700) != 0 || mkdir(to, 0700) != 0 || mkdir(extra, 0700) != 0 ||
         !link_all(t->version, to, EXTRA) || (is_folder(from) && !link_all(from, extra, "tern.json")) ||
         !write_file(json, tn_buf_view(&text))))
        code = tern_fail(st, TERN_UNAVAILABLE, "%s: %s", y->folder, strerror(errno));
    tn_buf_free(&text);
    return code;
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *where)
{
    (void)about;
    (void)type;
    (void)where;
    return remove(path);
}

void tn_tune_clean(tn_tune *t)
{
    if (t->work != NULL)
        (void)nftw(t->work, remove_one, OPEN_FILES, FTW_DEPTH | FTW_PHYS);
    free(t->work);
    t->work = NULL;
}

/* ---- Its process ---- */

static void pause_a_bit(void)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    nanosleep(&pause, NULL);
}

static const char *ports_file(const tn_tune_try *y, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/ports", y->folder);
    return path;
}

/* In the child. */
static void serve(const tn_tune_try *y, pid_t parent)
{
    char base[PATH_MAX + 32], ports[PATH_MAX + 32], path[PATH_MAX], engine[128];
    const char *argv[16] = {"tern",
                            "serve",
                            "--model_name=" TN_TUNE_NAME,
                            base,
                            ports,
                            engine,
                            "--address=127.0.0.1",
                            "--port=0",
                            "--rest_api_port=-1",
                            "--file_system_poll_wait_seconds=0",
                            "--max_num_load_retries=0"};
    size_t n = 11;
    snprintf(base, sizeof base, "--model_base_path=%s", y->folder);
    snprintf(ports, sizeof ports, "--port_file=%s", ports_file(y, path));
    snprintf(engine, sizeof engine, "--engine=%s", y->setting.engine);
    for (size_t i = 0; i < 3 && y->setting.flags[i] != NULL; i++)
        argv[n++] = y->setting.flags[i];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int log = open(y->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (getppid() != parent || log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
        _exit(126);
    if (y->setting.environment != NULL)
        putenv((char *)(uintptr_t)y->setting.environment);
    execv("/proc/self/exe", (char **)(uintptr_t)argv);
    _exit(127);
}

/* The last line of its log; why it ended. */
static tern_code ended(tn_tune_try *y, tern_status *st)
{
    tn_buf text;
    tern_status unread;
    y->pid = 0;
    tn_buf_init(&text, SMALL_FILE);
    if (tn_cli_read_file(y->log, &text, &unread) != TERN_OK)
        tn_buf_clear(&text);
    tn_str rest = tn_str_trim(tn_buf_view(&text)), line = rest;
    for (size_t i = 0; i < rest.len; i++)
        if (rest.ptr[i] == '\n')
            line = tn_str_sub(rest, i + 1, rest.len);
    if (line.len > 300)
        line = tn_str_sub(line, 0, 300);
    tern_code code =
        tern_fail(st, TERN_UNAVAILABLE, "its server ended%s%.*s", line.len > 0 ? ": " : "", TN_FMT(line));
    tn_buf_free(&text);
    return code;
}

/* TERN_OK with *ready: it is AVAILABLE. An error: it never will be. */
static tern_code look(tn_tune *t, tn_tune_try *y, bool *ready, tern_status *st)
{
    char path[PATH_MAX];
    tn_buf text;
    const tn_json *root = NULL;
    tern_status not_yet;
    tern_code code = TERN_OK;
    *ready = false;
    tn_buf_init(&text, SMALL_FILE);
    if (y->port[0] == '\0') {
        if (tn_cli_read_file(ports_file(y, path), &text, &not_yet) != TERN_OK ||
            tn_json_parse(tn_buf_view(&text), 8, &t->arena, &root, &not_yet) != TERN_OK)
            goto out;
        const tn_json *port = tn_json_get(root, "grpc");
        if (port != NULL && port->string.len < sizeof y->port)
            snprintf(y->port, sizeof y->port, "%.*s", TN_FMT(port->string));
        tn_buf_clear(&text);
    }
    const tn_bench_target target = {.host = "127.0.0.1", .port = y->port};
    const tn_client_request request = {.method = TN_STR("GET"), .path = TN_STR("/v1/models/" TN_TUNE_NAME)};
    if (tn_bench_ask(&target, &request, false, &text, &not_yet) != TERN_OK ||
        tn_json_parse(tn_arena_dup(&t->arena, tn_buf_view(&text)), 16, &t->arena, &root, &not_yet) != TERN_OK)
        goto out;
    const tn_json *versions = tn_json_get(root, "model_version_status");
    const tn_json *first = versions != NULL ? versions->first : NULL;
    const tn_json *state = first != NULL ? tn_json_get(first, "state") : NULL;
    const tn_json *status = first != NULL ? tn_json_get(first, "status") : NULL;
    const tn_json *message = status != NULL ? tn_json_get(status, "error_message") : NULL;
    *ready = state != NULL && tn_str_eq(state->string, TN_STR("AVAILABLE"));
    if (state != NULL && tn_str_eq(state->string, TN_STR("END")))
        code = tern_fail(st, TERN_UNAVAILABLE, "%.*s", message != NULL ? (int)message->string.len : 0,
                         message != NULL ? message->string.ptr : "");
out:
    tn_buf_free(&text);
    return code;
}

tern_code tn_tune_start(tn_tune *t, tn_tune_try *y, tern_status *st)
{
    const pid_t parent = getpid();
    const int64_t until_ns = tn_now_ns() + START_NS;
    tern_code code = make_folder(t, y, st);
    if (code != TERN_OK)
        return code;
    y->pid = fork();
    if (y->pid == 0)
        serve(y, parent);
    if (y->pid < 0) {
        y->pid = 0;
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no process for its server: %s", strerror(errno));
    }
    for (bool ready = false; code == TERN_OK;) {
        int status;
        if (waitpid(y->pid, &status, WNOHANG) == y->pid)
            return ended(y, st);
        code = look(t, y, &ready, st);
        if (ready)
            return TERN_OK;
        if (code == TERN_OK && tn_now_ns() > until_ns)
            code = tern_fail(st, TERN_DEADLINE_EXCEEDED, "it did not load in %lld s",
                             (long long)(START_NS / TN_NS_PER_S));
        pause_a_bit();
    }
    tn_tune_stop(y);
    return code;
}

int64_t tn_tune_memory(const tn_tune_try *y)
{
    char path[64], line[256];
    long long kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)y->pid);
    FILE *file = y->pid > 0 ? fopen(path, "r") : NULL;
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0)
            kilobytes = strtoll(line + 6, NULL, 10);
    if (file != NULL)
        fclose(file);
    return kilobytes * 1024;
}

void tn_tune_stop(tn_tune_try *y)
{
    const int64_t until_ns = tn_now_ns() + STOP_NS;
    int status;
    if (y->pid <= 0)
        return;
    kill(y->pid, SIGTERM);
    while (waitpid(y->pid, &status, WNOHANG) == 0) {
        if (tn_now_ns() > until_ns) {
            kill(y->pid, SIGKILL);
            waitpid(y->pid, &status, 0);
            break;
        }
        pause_a_bit();
    }
    y->pid = 0;
}
