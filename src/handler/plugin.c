/*
 * handler/plugin.c - finds handlers, opens them, attaches them to versions. See handler.h.
 *
 * What a plugin says about itself is checked before any of its functions but the entry is called. A name is
 * letters, digits, '-' and '_', so that no model folder can point at a file elsewhere. What was opened stays
 * mapped until the process ends: a plugin may leave threads or thread-local destructors behind that dlclose()
 * would pull away.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "codec/json.h"
#include "engine/engine.h"
#include "handler/attached.h"

#define NAME_MAX_BYTES   64
#define CONFIG_MAX_BYTES (1 << 20)
#define CONFIG_FILE      "assets.extra/tern.json"
#define MODEL_CODE       "code/handler.so"
/* The table of ABI 1 ends with release(). */
#define TABLE_SIZE_ABI_1 (offsetof(tern_handler_api, release) + sizeof(((tern_handler_api *)NULL)->release))

typedef struct plugin plugin;
struct plugin {
    plugin *next;
    char *path;
    const tern_handler_api *api;
};

struct tn_handlers {
    pthread_mutex_t lock; /* opening */
    plugin *plugins;
    char *path;      /* folders, separated by ':' */
    char *code_root; /* or NULL */
    bool allow_model_code;
    tn_limits limits;
};

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
    h->path = config->path != NULL ? strdup(config->path) : default_path();
    h->code_root = config->code_root != NULL ? strdup(config->code_root) : NULL;
    h->allow_model_code = config->allow_model_code;
    h->limits = config->limits;
    pthread_mutex_init(&h->lock, NULL);
    if (h->path == NULL || (config->code_root != NULL && h->code_root == NULL)) {
        tn_handlers_free(h);
        return NULL;
    }
    return h;
}

void tn_handlers_free(tn_handlers *h)
{
    if (h == NULL)
        return;
    while (h->plugins != NULL) {
        plugin *p = h->plugins;
        h->plugins = p->next;
        free(p->path);
        free(p);
    }
    pthread_mutex_destroy(&h->lock);
    free(h->path);
    free(h->code_root);
    free(h);
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

static tern_code open_plugin(tn_handlers *h, const char *path, const tern_handler_api **api, tern_status *st)
{
    tern_code code = TERN_OK;
    pthread_mutex_lock(&h->lock);
    plugin *p = h->plugins;
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
    p->next = h->plugins;
    h->plugins = p;
    const char *version = TERN_HAS(found, version) ? found->version : NULL;
    tn_info("handler", "opened %s%s%s", path, version != NULL ? ", version " : "",
            version != NULL ? version : "");
out:
    pthread_mutex_unlock(&h->lock);
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
    for (const char *at = h->path; *at != '\0';) {
        size_t length = strcspn(at, ":");
        if (length > 0) {
            int n = snprintf(path, size, "%.*s/%.*s.so", (int)length, at, TN_FMT(name));
            if (n > 0 && (size_t)n < size && access(path, F_OK) == 0)
                return TERN_OK;
        }
        at += length + (at[length] == ':');
    }
    return tern_fail(st, TERN_NOT_FOUND, "No handler %.*s.so in %s (--handler_path)", TN_FMT(name), h->path);
}

/* ---- assets.extra/tern.json ---- */

/* Whole file into the arena. *text is absent when there is none. */
static tern_code read_config(const char *directory, tn_arena *arena, tn_str *text, tern_status *st)
{
    *text = TN_STR_NONE;
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/" CONFIG_FILE, directory);
    int fd = n > 0 && (size_t)n < sizeof path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0)
        return n > 0 && (size_t)n < sizeof path && errno != ENOENT && errno != ENOTDIR
                   ? tern_fail(st, TERN_UNAVAILABLE, "%s: %s", path, strerror(errno))
                   : TERN_OK;
    tern_code code = TERN_OK;
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > CONFIG_MAX_BYTES) {
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "%s: no file, or larger than %d bytes", path,
                         CONFIG_MAX_BYTES);
        goto out;
    }
    char *bytes = tn_arena_alloc(arena, (size_t)info.st_size + 1);
    if (bytes == NULL) {
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %s", path);
        goto out;
    }
    size_t length = 0;
    ssize_t got = 1;
    while (length < (size_t)info.st_size &&
           (got = read(fd, bytes + length, (size_t)info.st_size - length)) > 0)
        length += (size_t)got;
    if (got < 0)
        code = tern_fail(st, TERN_UNAVAILABLE, "%s: %s", path, strerror(errno));
    *text = (tn_str){bytes, length};
out:
    close(fd);
    return code;
}

/* The handler that the text asks for; absent when it asks for none. */
static tern_code wanted_handler(tn_str text, const char *directory, tn_arena *arena, tn_str *name,
                                tern_status *st)
{
    *name = TN_STR_NONE;
    tern_status parse;
    const tn_json *root;
    if (tn_json_parse(text, 64, arena, &root, &parse) != TERN_OK)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s/" CONFIG_FILE ": %s", directory, parse.message);
    if (root->type != TN_JSON_OBJECT)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s/" CONFIG_FILE ": not an object", directory);
    const tn_json *handler = tn_json_get(root, "handler");
    if (handler == NULL || handler->type == TN_JSON_NULL)
        return TERN_OK;
    if (handler->type != TN_JSON_STRING ||
        (!is_name(handler->string) && !tn_str_eq(handler->string, TN_STR(MODEL_CODE))))
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "%s/" CONFIG_FILE
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
    if (!h->allow_model_code)
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
    if (h->code_root == NULL)
        return false;
    const tn_str whole = tn_str_from(directory), root = tn_str_from(h->code_root);
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

/* Path of the version's handler; empty when it has none. text: its tern.json, in the arena. */
static tern_code choose(tn_handlers *h, const tn_version *v, tn_arena *arena, tn_str *text, char *path,
                        size_t size, tern_status *st)
{
    tn_str name = TN_STR_NONE;
    path[0] = '\0';
    tern_code code = read_config(v->directory, arena, text, st);
    if (code == TERN_OK && text->ptr != NULL)
        code = wanted_handler(*text, v->directory, arena, &name, st);
    if (code != TERN_OK)
        return code;
    if (name.ptr != NULL)
        return locate(h, name, v->directory, path, size, st);
    if (!find_code(h, v->directory, path, size))
        path[0] = '\0';
    return TERN_OK;
}

static tern_code attach(tn_handlers *h, tn_version *v, tn_arena *arena, tern_status *st)
{
    tn_str text;
    char path[PATH_MAX];
    const tern_handler_api *api;
    tern_code code = choose(h, v, arena, &text, path, sizeof path, st);
    if (code != TERN_OK || path[0] == '\0')
        return code;
    code = open_plugin(h, path, &api, st);
    if (code != TERN_OK)
        return code;
    tn_handler_attached *attached = calloc(1, sizeof *attached);
    if (attached == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a handler");
    attached->api = api;
    const tern_handler_options options = {
        .struct_size = sizeof options,
        .directory = v->directory,
        .config = text,
        .signatures = v->signatures,
        .max_body_bytes = h->limits.max_body_bytes,
        .max_answer_bytes = h->limits.max_response_bytes,
        .max_tensor_bytes = h->limits.max_bytes_in_flight,
        .model = v->model,
        .version = v->number,
    };
    code = tn_handler_attach(attached, &options, st);
    if (code != TERN_OK) {
        free(attached);
        return code;
    }
    v->attached = attached;
    tn_info("handler", "%.*s version %lld: handler %s for %s", TN_FMT(v->model), (long long)v->number,
            api->name, api->content_types);
    return TERN_OK;
}

tern_code tn_handlers_attach(void *handlers, tn_version *v, tern_status *st)
{
    v->attached = NULL;
    tn_arena arena = {0};
    tn_arena_init(&arena, 16 * CONFIG_MAX_BYTES);
    tern_code code = attach(handlers, v, &arena, st);
    tn_arena_free(&arena);
    return code;
}

void tn_handlers_detach(void *handlers, tn_version *v)
{
    tn_handler_attached *attached = v->attached;
    if (attached == NULL)
        return;
    attached->api->detach(attached->handler);
    free(attached);
    v->attached = NULL;
}
