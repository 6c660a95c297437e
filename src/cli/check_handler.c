/*
 * cli/check_handler.c - `tern check-handler FILE.so`: what a handler plugin is, and with --model and
 * --document what it makes of one document. No server, no port, one thread: for a look, for a debugger, for a
 * build with a sanitizer.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/parts.h"
#include "handler/attached.h"
#include "model/extra.h"

#define ARENA_MAX ((size_t)1 << 30)

/* What stands on the command line. */
typedef struct wishes {
    const char *plugin, *model, *document, *content_type, *engine, *engine_path;
    int repeat;
} wishes;

/* What is open, in the order in which it was opened. */
typedef struct bench {
    tn_arena arena;
    tn_engines *engines;
    tn_version version;
    tn_handler_attached attached;
    tn_call call;
    tn_handler_job job;
} bench;

static int usage(FILE *out)
{
    fputs("usage: tern check-handler FILE.so [--model=DIR [--document=FILE [--content_type=TYPE]]]\n\n"
          "Opens a handler plugin as the server does and says what it is. --model: also attaches it to the\n"
          "version folder DIR (.../NAME/1). --document: also runs the file through pre(), the model and "
          "post(),\n"
          "and writes the answer to standard output.\n\n"
          "  --model=DIR          version folder of a model\n"
          "  --document=FILE      body of a request; - is standard input\n"
          "  --content_type=TYPE  of the document; default: the first that the handler takes\n"
          "  --repeat=N           so many times; the times of the last are told\n"
          "  --engine=NAME        default: tensorflow\n"
          "  --engine_path=DIRS   folders of engines; default: beside the program\n",
          out);
    return out == stderr ? 2 : 0;
}

static int read_wishes(int argc, char **argv, wishes *w)
{
    static const struct option options[] = {
        {"model", required_argument, NULL, 'm'},  {"document", required_argument, NULL, 'd'},
        {"engine", required_argument, NULL, 'e'}, {"content_type", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},         {"engine_path", required_argument, NULL, 'p'},
        {"repeat", required_argument, NULL, 'r'}, {0}};
    *w = (wishes){.engine = "tensorflow", .repeat = 1};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'h') {
            usage(stdout);
            return -1;
        }
        const char **text = c == 'm'   ? &w->model
                            : c == 'd' ? &w->document
                            : c == 'e' ? &w->engine
                            : c == 'c' ? &w->content_type
                            : c == 'p' ? &w->engine_path
                                       : NULL;
        if (text != NULL)
            *text = optarg;
        else if (c == 'r')
            w->repeat = (int)strtol(optarg, NULL, 10);
        else
            return usage(stderr);
    }
    w->plugin = optind < argc ? argv[optind] : NULL;
    return w->plugin == NULL || optind + 1 < argc || (w->document != NULL && w->model == NULL) ? usage(stderr)
                                                                                               : 0;
}

static void describe(const char *path, const tern_handler_api *api)
{
    const char *version = TERN_HAS(api, version) ? api->version : NULL;
    fprintf(stderr, "%s: handler %s%s%s, ABI %u, table of %u bytes (this server's: %zu)\ntakes %s\n", path,
            api->name, version != NULL ? " " : "", version != NULL ? version : "", api->abi_version,
            api->struct_size, sizeof *api, api->content_types);
}

/* ---- the model ---- */

static tern_code load(bench *b, const wishes *w, tern_status *st)
{
    static const tern_str serve = TN_STR_INIT("serve");
    const tn_engines_config config = {.path = w->engine_path,
                                      .options = {.struct_size = sizeof(tern_engine_options)}};
    const tern_load_options options = {
        .struct_size = sizeof options, .directory = w->model, .tags = &serve, .n_tags = 1};
    tn_version *v = &b->version;
    b->engines = tn_engines_new(&config);
    if (b->engines == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory");
    tern_code code = tn_engines_get(b->engines, tn_str_from(w->engine), &v->engine, st);
    if (code == TERN_OK)
        code = v->engine->api->load(v->engine->self, &options, &v->loaded, st);
    if (code != TERN_OK)
        return code;
    v->signatures = v->engine->api->signatures(v->loaded);
    v->directory = w->model;
    v->model = TN_STR("check");
    v->number = 1;
    v->attached = &b->attached;
    for (uint32_t i = 0; i < v->signatures->n_signatures; i++) {
        const tern_signature *s = &v->signatures->signatures[i];
        fprintf(stderr, "signature %.*s: %u inputs, %u outputs\n", TN_FMT(s->name), s->n_inputs,
                s->n_outputs);
    }
    return TERN_OK;
}

static tern_code attach(bench *b, tern_status *st)
{
    const tn_limits limits = tn_limits_default();
    tern_handler_options options = {.struct_size = sizeof options,
                                    .directory = b->version.directory,
                                    .signatures = b->version.signatures,
                                    .max_body_bytes = limits.max_body_bytes,
                                    .max_answer_bytes = limits.max_response_bytes,
                                    .max_tensor_bytes = INT64_MAX,
                                    .model = b->version.model,
                                    .version = b->version.number};
    tern_code code = tn_extra_read(options.directory, &b->arena, &options.config, st);
    if (code == TERN_OK)
        code = tn_handler_attach(&b->attached, &options, st);
    if (code == TERN_OK)
        fputs("attached\n", stderr);
    return code;
}

/* ---- the document ---- */

static tern_code read_all(const char *path, tn_buf *out, tern_status *st)
{
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? 1 : -1;
    while (n > 0) {
        char *room = tn_buf_reserve(out, 1 << 20);
        n = room != NULL ? read(fd, room, 1 << 20) : -1;
        if (n > 0)
            tn_buf_commit(out, (size_t)n);
    }
    if (fd > STDIN_FILENO)
        close(fd);
    return n == 0 ? TERN_OK : tern_fail(st, TERN_UNAVAILABLE, "%s cannot be read", path);
}

static tern_str first_type(const char *types)
{
    return (tern_str){types, strcspn(types, ",")};
}

static void begin(bench *b, const wishes *w, tn_str body)
{
    static const tn_call_steps steps = {.name = "document"};
    tn_call_init(&b->call, &steps, ARENA_MAX);
    b->call.version = &b->version;
    b->job =
        (tn_handler_job){.call = &b->call, .max_response = (size_t)tn_limits_default().max_response_bytes};
    b->job.request.body = body;
    b->job.request.target = TN_STR("/invocations");
    b->job.request.content_type =
        w->content_type != NULL ? tn_str_from(w->content_type) : first_type(b->attached.api->content_types);
}

static void end(bench *b)
{
    tn_handler_job_finish(&b->job);
    b->call.version = NULL;
    tn_call_finish(&b->call);
}

static void tell(const bench *b, int64_t run_ns)
{
    const tn_handler_job *job = &b->job;
    fprintf(stderr, "pre %.3f ms, run %.3f ms, post %.3f ms\n%d %.*s, %zu bytes\n",
            (double)b->call.stage_ns[TN_STAGE_PREPROCESS] / 1e6, (double)run_ns / 1e6,
            (double)b->call.stage_ns[TN_STAGE_POSTPROCESS] / 1e6, job->status != 0 ? job->status : 200,
            TN_FMT(job->content_type), job->body.len);
    for (uint32_t i = 0; i < job->n_headers; i++)
        fprintf(stderr, "%.*s: %.*s\n", TN_FMT(job->headers[i].name), TN_FMT(job->headers[i].value));
}

static tern_code try_once(bench *b, const wishes *w, tn_str body, bool last, tern_status *st)
{
    begin(b, w, body);
    tern_code code = tn_handler_pre(&b->job, st);
    const int64_t start_ns = tn_now_ns();
    if (code == TERN_OK && !b->job.answered)
        code = tn_call_run_now(&b->call, 0, 0, st);
    const int64_t run_ns = tn_now_ns() - start_ns;
    if (code == TERN_OK)
        code = tn_handler_post(&b->job, st);
    if (code == TERN_OK && last) {
        tell(b, run_ns);
        fwrite(b->job.body.ptr != NULL ? b->job.body.ptr : "", 1, b->job.body.len, stdout);
        fflush(stdout);
    }
    end(b);
    return code;
}

static tern_code try_document(bench *b, const wishes *w, tern_status *st)
{
    tn_buf body;
    tn_buf_init(&body, (size_t)tn_limits_default().max_body_bytes);
    tern_code code = read_all(w->document, &body, st);
    for (int i = 1; code == TERN_OK && i <= w->repeat; i++)
        code = try_once(b, w, tn_buf_view(&body), i == w->repeat, st);
    tn_buf_free(&body);
    return code;
}

int tn_cli_check_handler(int argc, char **argv)
{
    wishes w;
    tern_status st;
    const int read = read_wishes(argc, argv, &w);
    if (read != 0)
        return read < 0 ? 0 : read;
    bench *b = calloc(1, sizeof *b);
    if (b == NULL)
        return 1;
    tn_log_level(TERN_LOG_WARNING);
    tn_arena_init(&b->arena, ARENA_MAX);
    bool attached = false;
    /* Without a '/', dlopen() would look elsewhere. */
    tn_str path =
        strchr(w.plugin, '/') != NULL ? tn_str_from(w.plugin) : tn_arena_printf(&b->arena, "./%s", w.plugin);
    tern_code code = path.ptr != NULL ? tn_handler_open(path.ptr, &b->attached.api, &st)
                                      : tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "No memory");
    if (code == TERN_OK)
        describe(w.plugin, b->attached.api);
    if (code == TERN_OK && w.model != NULL)
        code = load(b, &w, &st);
    if (code == TERN_OK && w.model != NULL) {
        code = attach(b, &st);
        attached = code == TERN_OK;
    }
    if (code == TERN_OK && w.document != NULL)
        code = try_document(b, &w, &st);
    if (code != TERN_OK)
        fprintf(stderr, "tern check-handler: %s: %.*s\n", tn_code_name(code), (int)st.length, st.message);
    if (attached)
        b->attached.api->detach(b->attached.handler);
    if (b->version.loaded != NULL)
        b->version.engine->api->unload(b->version.loaded);
    tn_engines_free(b->engines);
    tn_arena_free(&b->call.arena);
    tn_arena_free(&b->arena);
    free(b);
    return code == TERN_OK ? 0 : 1;
}
