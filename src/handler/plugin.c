/*
 * handler/plugin.c - finds handlers, opens them, attaches them to versions. See handler.h.
 *
 * What a plugin says about itself is checked before any of its functions but the entry is called. A name is
 * letters, digits, '-' and '_', so that no model folder can point at a file elsewhere. What was opened stays
 * mapped until the process ends: a plugin may leave threads or thread-local destructors behind that dlclose()
 * would pull away.
 */
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "codec/json.h"
#include "engine/engine.h"
#include "handler/attached.h"
#include "model/extra.h"

#define NAME_MAX_BYTES 64
#define MODEL_CODE     "code/handler.so"
#define STOP_POLL_NS   2000000
/* The table of ABI 1 ends with release(). */
#define TABLE_SIZE_ABI_1 (offsetof(tern_handler_api, release) + sizeof(((tern_handler_api *)NULL)->release))

typedef struct plugin plugin;
struct plugin {
    plugin *next;
    char *path;
    const tern_handler_api *api;
};

struct tn_handlers {
    pthread_mutex_t lock;      /* scripts */
    tn_handlers_config config; /* its texts are copies */
    tn_scripts *scripts;       /* NULL: no handler was isolated yet */
    atomic_size_t calls;       /* in processes */
};

/* What was opened stays open, and is found again, until the process ends. */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static plugin *plugins;

/* ---- Opening ---- */

/*
 * Returns owned: handlers/ beside the program, and where `meson install` puts them; NULL when memory is
 * short.
 */
static char *default_path(void)
{
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL)
        *slash = '\0';
    tn_buf path;
    tn_buf_init(&path, 4 * PATH_MAX);
    tn_buf_printf(&path, "%s/handlers:%s/../lib/tern/handlers", program, program);
    char *copy = path.failed ? NULL : strndup(path.ptr, path.len);
    tn_buf_free(&path);
    return copy;
}

tn_handlers *tn_handlers_new(const tn_handlers_config *config)
{
    tn_handlers *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->config = *config;
    h->config.path = config->path != NULL ? strdup(config->path) : default_path();
    h->config.code_root = config->code_root != NULL ? strdup(config->code_root) : NULL;
    /* Also where the file was replaced or removed meanwhile, this is the running one. */
    h->config.program = strdup(config->program != NULL ? config->program : "/proc/self/exe");
    pthread_mutex_init(&h->lock, NULL);
    if (h->config.path == NULL || h->config.program == NULL ||
        (config->code_root != NULL && h->config.code_root == NULL)) {
        tn_handlers_free(h);
        return NULL;
    }
    return h;
}

bool tn_handlers_stop(tn_handlers *h, int64_t until_ns)
{
    const struct timespec pause = {.tv_nsec = STOP_POLL_NS};
    while (h != NULL && atomic_load(&h->calls) > 0) {
        if (tn_now_ns() >= until_ns)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

void tn_handlers_free(tn_handlers *h)
{
    if (h == NULL)
        return;
    tn_scripts_free(h->scripts);
    pthread_mutex_destroy(&h->lock);
    free((char *)h->config.path);
    free((char *)h->config.code_root);
    free((char *)h->config.program);
    free(h);
}

const tn_handlers_config *tn_handlers_settings(const tn_handlers *h)
{
    return &h->config;
}

void tn_handlers_begun(tn_handlers *h)
{
    atomic_fetch_add(&h->calls, 1);
}

void tn_handlers_over(tn_handlers *h)
{
    atomic_fetch_sub(&h->calls, 1);
}

tn_scripts *tn_handlers_scripts(tn_handlers *h, tern_status *st)
{
    pthread_mutex_lock(&h->lock);
    if (h->scripts == NULL && tn_scripts_new(&h->scripts, st) != TERN_OK)
        h->scripts = NULL;
    tn_scripts *scripts = h->scripts;
    pthread_mutex_unlock(&h->lock);
    return scripts;
}

static tern_code check_table(const char *path, const tern_handler_api *api, tern_status *st)
{
    if (api == NULL)
        return tern_fail(st, TERN_FAILED_PRECONDITION,
                         "Handler %s cannot serve handler ABI %d of this server", path, TERN_HANDLER_ABI);
    if (api->abi_version != TERN_HANDLER_ABI || api->struct_size < TABLE_SIZE_ABI_1)
        return tern_fail(st, TERN_FAILED_PRECONDITION,
                         "Handler %s has ABI %u with a table of %u bytes; this server has ABI %d with %zu",
                         path, api->abi_version, api->struct_size, TERN_HANDLER_ABI, TABLE_SIZE_ABI_1);
    if (api->name == NULL || api->content_types == NULL || api->attach == NULL || api->detach == NULL ||
        api->pre == NULL || api->post == NULL || api->release == NULL)
        return tern_fail(st, TERN_FAILED_PRECONDITION, "Handler %s has gaps in its table", path);
    return TERN_OK;
}

tern_code tn_handler_open(const char *path, const tern_handler_api **api, tern_status *st)
{
    tern_code code = TERN_OK;
    pthread_mutex_lock(&opening);
    plugin *p = plugins;
    while (p != NULL && strcmp(p->path, path) != 0)
        p = p->next;
    if (p != NULL)
        goto out;
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL) {
        code = tern_fail(st, TERN_FAILED_PRECONDITION, "Cannot open handler: %s", dlerror());
        goto out;
    }
    /* A function pointer out of a data pointer, as POSIX wants it. */
    tern_handler_entry_fn entry = NULL;
    *(void **)&entry = dlsym(object, TERN_HANDLER_ENTRY);
    if (entry == NULL)
        code = tern_fail(st, TERN_FAILED_PRECONDITION, "%s is no handler: it has no %s()", path,
                         TERN_HANDLER_ENTRY);
    const tern_handler_api *found = entry != NULL ? entry(TERN_HANDLER_ABI) : NULL;
    if (code == TERN_OK)
        code = check_table(path, found, st);
    if (code == TERN_OK && ((p = calloc(1, sizeof *p)) == NULL || (p->path = strdup(path)) == NULL)) {
        free(p);
        p = NULL;
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for handler %s", path);
    }
    if (code != TERN_OK) {
        dlclose(object);
        goto out;
    }
    p->api = found;
    p->next = plugins;
    plugins = p;
    const char *version = TERN_HAS(found, version) ? found->version : NULL;
    tn_info("handler", "opened %s%s%s", path, version != NULL ? ", version " : "",
            version != NULL ? version : "");
out:
    pthread_mutex_unlock(&opening);
    *api = p != NULL ? p->api : NULL;
    return code;
}

static bool is_name(tn_str s)
{
    if (s.len == 0 || s.len > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '-' && c != '_')
            return false;
    }
    return true;
}

/* NAME.so in the first folder that has it. */
static tern_code find_plugin(tn_handlers *h, tn_str name, char *path, size_t size, tern_status *st)
{
    for (const char *at = h->config.path; *at != '\0';) {
        size_t length = strcspn(at, ":");
        if (length > 0) {
            int n = snprintf(path, size, "%.*s/%.*s.so", (int)length, at, TN_FMT(name));
            if (n > 0 && (size_t)n < size && access(path, F_OK) == 0)
                return TERN_OK;
        }
        at += length + (at[length] == ':');
    }
    return tern_fail(st, TERN_NOT_FOUND, "No handler %.*s.so in %s (--handler_path)", TN_FMT(name),
                     h->config.path);
}

/* ---- assets.extra/tern.json ---- */

/* "handler_isolation": whether it is to have processes of its own. */
static tern_code wanted_isolation(const tn_json *root, const char *directory, bool *isolate, tern_status *st)
{
    const tn_json *word = tn_json_get(root, "handler_isolation");
    if (word == NULL || word->type == TN_JSON_NULL)
        return TERN_OK;
    *isolate = word->type == TN_JSON_STRING && tn_str_eq(word->string, TN_STR("process"));
    if (*isolate || (word->type == TN_JSON_STRING && tn_str_eq(word->string, TN_STR("none"))))
        return TERN_OK;
    return tern_fail(st, TERN_INVALID_ARGUMENT,
                     "%s/" TN_EXTRA_FILE ": \"handler_isolation\" must be \"process\" or \"none\"",
                     directory);
}

/* The handler that the text asks for; absent when it asks for none. */
static tern_code wanted_handler(tn_str text, const char *directory, tn_arena *arena, tn_str *name,
                                bool *isolate, tern_status *st)
{
    *name = TN_STR_NONE;
    tern_status parse;
    const tn_json *root;
    if (tn_json_parse(text, 64, arena, &root, &parse) != TERN_OK)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s/" TN_EXTRA_FILE ": %s", directory, parse.message);
    if (root->type != TN_JSON_OBJECT)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s/" TN_EXTRA_FILE ": not an object", directory);
    if (wanted_isolation(root, directory, isolate, st) != TERN_OK)
        return TERN_INVALID_ARGUMENT;
    const tn_json *handler = tn_json_get(root, "handler");
    if (handler == NULL || handler->type == TN_JSON_NULL)
        return TERN_OK;
    if (handler->type != TN_JSON_STRING ||
        (!is_name(handler->string) && !tn_str_eq(handler->string, TN_STR(MODEL_CODE))))
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "%s/" TN_EXTRA_FILE
                         ": \"handler\" must be a name of letters, digits, '-' and '_', or \"" MODEL_CODE
                         "\"",
                         directory);
    *name = handler->string;
    return TERN_OK;
}

/* ---- Attaching ---- */

static tern_code locate(tn_handlers *h, tn_str name, const char *directory, char *path, size_t size,
                        tern_status *st)
{
    if (is_name(name))
        return find_plugin(h, name, path, size, st);
    if (!h->config.allow_model_code && h->config.code_root == NULL)
        return tern_fail(st, TERN_PERMISSION_DENIED,
                         "The model asks for code of its own, %s/" MODEL_CODE
                         ", which this server opens only with --allow_model_code",
                         directory);
    int n = snprintf(path, size, "%s/" MODEL_CODE, directory);
    return n > 0 && (size_t)n < size ? TERN_OK
                                     : tern_fail(st, TERN_INVALID_ARGUMENT, "Path too long: %s", directory);
}

/*
 * The nearest code/handler.so for a version, where that needs no word of the model's: in its folder or one
 * above it that is still the root or inside of it. A version that lies elsewhere: in its folder or its
 * model's.
 */
static bool find_code(const tn_handlers *h, const char *directory, char *path, size_t size)
{
    if (h->config.code_root == NULL)
        return false;
    const tn_str whole = tn_str_from(directory), root = tn_str_from(h->config.code_root);
    const bool inside = tn_str_starts(whole, root) && whole.len > root.len && whole.ptr[root.len] == '/';
    size_t length = whole.len;
    for (int steps = 0; length > 0 && (inside ? length >= root.len : steps < 2); steps++) {
        int n = snprintf(path, size, "%.*s/" MODEL_CODE, (int)length, directory);
        if (n > 0 && (size_t)n < size && access(path, F_OK) == 0)
            return true;
        while (length > 0 && directory[length - 1] != '/')
            length--;
        while (length > 0 && directory[length - 1] == '/')
            length--;
    }
    return false;
}

/* What a version is to have. */
typedef struct choice {
    tn_str text; /* tern.json, in the arena; absent when there is none */
    bool isolate;
    char path[PATH_MAX]; /* empty: no handler */
} choice;

static tern_code choose(tn_handlers *h, const tn_version *v, tn_arena *arena, choice *c, tern_status *st)
{
    tn_str name = TN_STR_NONE;
    c->path[0] = '\0';
    c->isolate = h->config.isolate;
    tern_code code = tn_extra_read(v->directory, arena, &c->text, st);
    if (code == TERN_OK && c->text.ptr != NULL)
        code = wanted_handler(c->text, v->directory, arena, &name, &c->isolate, st);
    if (code != TERN_OK)
        return code;
    if (name.ptr != NULL)
        return locate(h, name, v->directory, c->path, sizeof c->path, st);
    if (!find_code(h, v->directory, c->path, sizeof c->path))
        c->path[0] = '\0';
    return TERN_OK;
}

static tern_code attach_as(tn_handlers *h, const choice *c, const tern_handler_options *options,
                           tn_handler_attached *a, tern_status *st)
{
    if (c->isolate)
        return tn_isolated_attach(h, c->path, options, a, st);
    tern_code code = tn_handler_open(c->path, &a->api, st);
    return code == TERN_OK ? tn_handler_attach(a, options, st) : code;
}

static tern_code attach(tn_handlers *h, tn_version *v, tn_arena *arena, tern_status *st)
{
    choice c;
    tern_code code = choose(h, v, arena, &c, st);
    if (code != TERN_OK || c.path[0] == '\0')
        return code;
    tn_handler_attached *a = calloc(1, sizeof *a);
    if (a == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a handler");
    const tern_handler_options options = {
        .struct_size = sizeof options,
        .directory = v->directory,
        .config = c.text,
        .signatures = v->signatures,
        .max_body_bytes = h->config.limits.max_body_bytes,
        .max_answer_bytes = h->config.limits.max_response_bytes,
        .max_tensor_bytes = h->config.limits.max_bytes_in_flight,
        .model = v->model,
        .version = v->number,
    };
    code = attach_as(h, &c, &options, a, st);
    if (code != TERN_OK) {
        free(a);
        return code;
    }
    v->attached = a;
    tn_info("handler", "%.*s version %lld: handler %s for %s%s", TN_FMT(v->model), (long long)v->number,
            c.isolate ? a->name : a->api->name, tn_handler_types(a),
            c.isolate ? ", in processes of its own" : "");
    return TERN_OK;
}

tern_code tn_handlers_attach(void *handlers, tn_version *v, tern_status *st)
{
    v->attached = NULL;
    tn_arena arena = {0};
    tn_arena_init(&arena, 16 * TN_EXTRA_MAX);
    tern_code code = attach(handlers, v, &arena, st);
    tn_arena_free(&arena);
    return code;
}

void tn_handlers_detach(void *handlers, tn_version *v)
{
    tn_handler_attached *attached = v->attached;
    if (attached == NULL)
        return;
    if (attached->pool != NULL)
        tn_isolated_detach(attached);
    else
        attached->api->detach(attached->handler);
    free(attached);
    v->attached = NULL;
}
