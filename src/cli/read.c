/*
 * cli/read.c - `tern read`: what web pages are about, without a server: the page model on files.
 *
 * The same plugin, engine and model as a server's: a call is made, run and finished on the spot, in this
 * thread. One page goes to standard output; several too, each told by its name, or into files of their own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "codec/json.h"
#include "engine/engine.h"
#include "handler/handler.h"

#define LOAD_NS      (120 * TN_NS_PER_S)
#define PAGE_MAX     ((size_t)1 << 30)
#define ARENA_MAX    ((size_t)1 << 30)
#define BAR          30
#define BAR_AFTER_NS (2 * TN_NS_PER_S)
#define PATH_ROOM    4096

typedef struct form {
    const char *name, *accept, *ending;
} form;

static const form forms[] = {{"text", "text/plain", ".txt"},
                             {"markdown", "text/markdown", ".md"},
                             {"json", "application/json", ".json"},
                             {"view", "text/html", ".view.html"}};

typedef struct reader {
    const form *form;
    bool evidence;
    const char *model, *output, *content_type;
    const char **files;
    int n_files;
    tn_engines *engines;
    tn_handlers *handlers;
    tn_models *models;
    tn_version *version;
    tn_call call; /* its memory is kept from page to page */
    tn_limits limits;
} reader;

static void help(FILE *out)
{
    fputs("usage: tern read [FILE...] [flags]\n\n"
          "Reads web pages (HTML files; - or nothing: standard input) and prints what they say.\n\n"
          "  --format=text          the main content; or markdown; or json: page type, language, title, "
          "author, "
          "date,\n"
          "                         each with its confidence and evidence, main content, and every block "
          "with its "
          "role;\n"
          "                         or view: an HTML page that shows the blocks coloured by role and "
          "confidence\n"
          "  --view, --json, ...    short for --format=view and so on\n"
          "  --evidence             json: with the CSS path of every block\n"
          "  --output=DIR           a file for each page instead (-o DIR)\n"
          "  --content_type=TYPE    of all files; default text/html: the page says its charset\n"
          "  --model=DIR            folder with versions of the page model; default: the one beside the "
          "program\n"
          "  --help                 this text\n\n"
          "Try: curl -s https://example.com | tern read --format=markdown\n",
          out);
}

/* ---- Flags ---- */

/* The value of --name=value or --name value at argv[*i], which moves on; NULL: another flag. */
static const char *value_of(const char *name, int argc, char **argv, int *i)
{
    const char *text = argv[*i] + 2;
    const size_t n = strlen(name);
    if (strncmp(text, name, n) != 0)
        return NULL;
    if (text[n] == '=')
        return text + n + 1;
    return text[n] == '\0' && *i + 1 < argc ? argv[++*i] : NULL;
}

static bool set_form(reader *r, const char *name)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (strcmp(forms[i].name, name) == 0) {
            r->form = &forms[i];
            return true;
        }
    }
    fprintf(stderr, "tern read: --format=%.50s: it is text, markdown, json or view\n", name);
    return false;
}

/* --json and the like, --evidence: flags without a value. */
static bool read_switch(reader *r, const char *flag)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (flag[1] == '-' && strcmp(flag + 2, forms[i].name) == 0) {
            r->form = &forms[i];
            return true;
        }
    r->evidence |= strcmp(flag, "--evidence") == 0;
    return strcmp(flag, "--evidence") == 0;
}

static bool read_flag(reader *r, int argc, char **argv, int *i)
{
    static char output[] = "--output";
    const char *value;
    if (read_switch(r, argv[*i]))
        return true;
    if (strcmp(argv[*i], "-o") == 0)
        argv[*i] = output;
    const char *flag = argv[*i];
    if (flag[1] == '-' && (value = value_of("format", argc, argv, i)) != NULL)
        return set_form(r, value);
    if (flag[1] == '-' && (value = value_of("output", argc, argv, i)) != NULL)
        r->output = value;
    else if (flag[1] == '-' && (value = value_of("content_type", argc, argv, i)) != NULL)
        r->content_type = value;
    else if (flag[1] == '-' && (value = value_of("model", argc, argv, i)) != NULL)
        r->model = value;
    else {
        fprintf(stderr, "tern read: there is no flag %.100s, or it has no value. See tern read --help\n",
                flag);
        return false;
    }
    return true;
}

/* ---- The model ---- */

static bool is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* The page model of the source tree that the program was built in, or of its installation. */
static bool find_model(char *path)
{
    static const char *const places[] = {"../models/html/saved_model", "../share/tern/models/html"};
    char program[PATH_ROOM];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0)
        return false;
    program[n] = '\0';
    *strrchr(program, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char joined[PATH_ROOM];
        if (snprintf(joined, sizeof joined, "%s/%s", program, places[i]) < (int)sizeof joined &&
            realpath(joined, path) != NULL && is_folder(path))
            return true;
    }
    return false;
}

static tern_code load(reader *r, tern_status *st)
{
    static char folder[PATH_ROOM];
    static const tn_str tag = TN_STR_INIT("serve");
    if (r->model != NULL ? realpath(r->model, folder) == NULL : !find_model(folder))
        return tern_fail(st, TERN_NOT_FOUND,
                         "There is no model at %.300s: name the page model's folder by --model=DIR",
                         r->model != NULL ? r->model : "the usual places beside the program");
    r->limits = tn_limits_default();
    const tn_engines_config engines = {.options = {.struct_size = sizeof(tern_engine_options)}};
    const tn_handlers_config handlers = {.limits = r->limits};
    const tn_model_config config = {.name = TN_STR("page"), .base_path = tn_str_from(folder)};
    r->engines = tn_engines_new(&engines);
    r->handlers = tn_handlers_new(&handlers);
    if (r->engines == NULL || r->handlers == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory");
    const tn_models_options options = {
        .engines = r->engines,
        .default_engine = TN_STR("tensorflow"),
        .tags = &tag,
        .n_tags = 1,
        .hooks = {.context = r->handlers, .attach = tn_handlers_attach, .detach = tn_handlers_detach}};
    tern_code code = tn_models_new(&options, &config, 1, &r->models, st);
    if (code == TERN_OK)
        code = tn_models_start(r->models, st);
    if (code != TERN_OK)
        return code;
    (void)tn_models_wait(r->models, LOAD_NS);
    const tn_target target = {.name = config.name};
    tern_status none;
    if (tn_models_acquire(r->models, &target, &r->version, &none) == TERN_OK)
        return TERN_OK;
    uint32_t n = 0;
    tn_str failures = tn_models_failures(r->models, &r->call.arena, &n);
    return tern_fail(st, TERN_UNKNOWN, "%s cannot be loaded: %.*s", folder,
                     TN_FMT(n > 0 ? failures : TN_STR("there is no numbered version in it")));
}

/* ---- Pages ---- */

/* A JSON answer holds newlines between its values alone. */
static void put_on_one_line(FILE *out, tn_str json)
{
    for (size_t i = 0; i < json.len; i++)
        if (json.ptr[i] != '\n')
            fputc(json.ptr[i], out);
}

static void put_name_as_json(FILE *out, const char *name)
{
    tn_buf text;
    tn_buf_init(&text, (size_t)8 * PATH_ROOM);
    tn_json_quote(&text, tn_str_from(name));
    fwrite(text.ptr, 1, text.len, out);
    tn_buf_free(&text);
}

/* "DIR/page.md" for "some/page.html". */
static FILE *open_output(const reader *r, const char *file, tern_status *st)
{
    char path[PATH_ROOM];
    const char *slash = strrchr(file, '/'), *name = slash != NULL ? slash + 1 : file;
    const char *dot = strrchr(name, '.');
    const int n = dot != NULL && dot > name ? (int)(dot - name) : (int)strlen(name);
    if (strcmp(file, "-") == 0)
        name = "page";
    if (snprintf(path, sizeof path, "%s/%.*s%s", r->output, strcmp(file, "-") == 0 ? 4 : n, name,
                 r->form->ending) >= (int)sizeof path)
        return NULL;
    FILE *out = fopen(path, "wb");
    if (out == NULL)
        (void)tern_fail(st, TERN_UNKNOWN, "%s: %s", path, strerror(errno));
    return out;
}

static tern_code print(const reader *r, const char *file, tn_str answer, tern_status *st)
{
    if (r->output != NULL) {
        FILE *out = open_output(r, file, st);
        if (out == NULL)
            return TERN_UNKNOWN;
        const bool whole = fwrite(answer.ptr, 1, answer.len, out) == answer.len;
        return fclose(out) == 0 && whole
                   ? TERN_OK
                   : tern_fail(st, TERN_UNKNOWN, "cannot be written: %s", strerror(errno));
    }
    if (r->n_files > 1 && r->form == &forms[2]) {
        fputs("{\"file\": ", stdout);
        put_name_as_json(stdout, file);
        fputs(", \"answer\": ", stdout);
        put_on_one_line(stdout, answer);
        fputs("}\n", stdout);
    } else {
        if (r->n_files > 1)
            printf("==> %s <==\n", file);
        fwrite(answer.ptr, 1, answer.len, stdout);
        if (r->n_files > 1)
            putchar('\n');
    }
    fflush(stdout);
    return ferror(stdout) ? tern_fail(st, TERN_UNKNOWN, "standard output: %s", strerror(errno)) : TERN_OK;
}

static tern_code read_one(reader *r, const char *file, tn_buf *page, tern_status *st)
{
    static const tn_call_steps steps = {.name = "read"};
    tn_call *call = &r->call;
    tn_buf_clear(page);
    tern_code code = tn_cli_read_file(file, page, st);
    if (code != TERN_OK)
        return code;
    tn_call_init(call, &steps, ARENA_MAX);
    call->version = r->version;
    tn_handler_job job = {.call = call, .max_response = (size_t)r->limits.max_response_bytes};
    job.request.body = tn_buf_view(page);
    job.request.content_type = tn_str_from(r->content_type);
    job.request.accept = tn_str_from(r->form->accept);
    if (r->evidence)
        job.request.target = TN_STR("?evidence=1");
    code = tn_handler_pre(&job, st);
    if (code == TERN_OK && !call->skip_run)
        code = tn_call_run_now(call, 0, 0, st);
    if (code == TERN_OK && !call->skip_run)
        code = tn_handler_post(&job, st);
    if (code == TERN_OK)
        code = print(r, file, tn_buf_view(&job.body), st);
    tn_handler_job_finish(&job);
    call->version = NULL; /* the reader's */
    tn_call_finish(call);
    return code;
}

static int read_all(reader *r)
{
    const bool terminal =
        r->n_files > 1 && isatty(STDERR_FILENO) == 1 && (r->output != NULL || isatty(STDOUT_FILENO) == 0);
    const int64_t start_ns = tn_now_ns();
    bool bar = false; /* it is shown */
    tern_status st;
    tn_buf page;
    int failed = 0;
    tn_buf_init(&page, PAGE_MAX);
    for (int i = 0; i < r->n_files; i++) {
        bar = terminal && tn_now_ns() - start_ns > BAR_AFTER_NS;
        if (bar)
            fprintf(stderr, "\r%d/%d  [%.*s%*s]", i, r->n_files, i * BAR / r->n_files,
                    "##############################", BAR - i * BAR / r->n_files, "");
        if (read_one(r, r->files[i], &page, &st) != TERN_OK) {
            fprintf(stderr, "%stern read: %s: %s\n", bar ? "\r\033[K" : "", r->files[i], st.message);
            failed++;
        }
    }
    tn_buf_free(&page);
    if (bar)
        fputs("\r\033[K", stderr);
    const double seconds = (double)(tn_now_ns() - start_ns) / TN_NS_PER_S;
    if (r->output != NULL)
        fprintf(stderr, "%d of %d pages written to %s in %.2f s (%.0f pages/s)\n", r->n_files - failed,
                r->n_files, r->output, seconds, r->n_files / (seconds > 0 ? seconds : 1));
    return failed > 0;
}

int tn_cli_read(int argc, char **argv)
{
    static const char *const standard_input[] = {"-"};
    reader *r = calloc(1, sizeof *r);
    const char **files = calloc((size_t)argc, sizeof *files);
    tern_status st;
    int status = 2;
    if (r == NULL || files == NULL)
        goto out;
    r->form = &forms[0];
    r->content_type = "text/html";
    r->files = files;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            help(stdout);
            status = 0;
            goto out;
        }
        if (argv[i][0] != '-' || argv[i][1] == '\0')
            files[r->n_files++] = argv[i];
        else if (!read_flag(r, argc, argv, &i))
            goto out;
    }
    if (r->n_files == 0) {
        r->files = (const char **)(uintptr_t)standard_input;
        r->n_files = 1;
    }
    if (r->output != NULL && mkdir(r->output, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "tern read: --output=%s: %s\n", r->output, strerror(errno));
        goto out;
    }
    tn_log_level(TERN_LOG_ERROR);
    tn_arena_init(&r->call.arena, ARENA_MAX);
    if (load(r, &st) == TERN_OK)
        status = read_all(r);
    else
        fprintf(stderr, "tern read: %s\n", st.message);
    tn_version_release(r->version);
    tn_models_free(r->models);
    tn_handlers_free(r->handlers);
    tn_engines_free(r->engines);
    tn_arena_free(&r->call.arena);
out:
    free(files);
    free(r);
    return status;
}
