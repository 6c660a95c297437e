/*
 * api/script_host.c - the Python workers of a server: their command, their environment, one pool for each
 * script.
 *
 * A script finds the environment that the container gives its Python service: the server's own, PYTHONPATH
 * with the script's folder and its lib folder, TFS_* and the container's defaults of SAGEMAKER_* variables.
 * The runtime (python/tern/worker) lies beside the program and comes last on the path.
 */
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/script.h"
#include "base/log.h"

extern char **environ;

#define MAX_ENV     4096
#define ARENA_BYTES ((size_t)4 << 20)
#define INSTALL_NS  (1800 * TN_NS_PER_S) /* for requirements.txt, and what is imported after it */
#define NAME_IN_LOG 256

typedef struct site {
    struct site *next;
    tn_script_pool *pool;
    size_t len;
    char name[];
} site;

struct tn_script_host {
    tn_server *server;
    tn_scripts *scripts;
    pthread_mutex_t lock;
    site *sites;
    atomic_uint n_sites;    /* so that who has no script takes no lock */
    char package[PATH_MAX]; /* folder of the package tern, or "" */
};

/* ---- where the runtime lies ---- */

static bool holds_runtime(const char *folder)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/tern/worker/runtime.py", folder);
    return n > 0 && (size_t)n < sizeof path && access(path, R_OK) == 0;
}

/* Beside the program: of a build, and where `meson install` puts it. */
static void find_package(char *out, size_t size)
{
    static const char *const places[] = {"../python", "python", "../lib/tern/python"};
    char program[PATH_MAX], path[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(program, '/');
    out[0] = '\0';
    if (slash == NULL)
        return;
    *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int len = snprintf(path, sizeof path, "%s/%s", program, places[i]);
        if (len > 0 && (size_t)len < sizeof path && holds_runtime(path)) {
            if (realpath(path, program) == NULL || strlen(program) >= size)
                return;
            memcpy(out, program, strlen(program) + 1);
            return;
        }
    }
}

/* ---- the command ---- */

typedef struct list {
    const char **items;
    size_t n, cap;
    bool failed;
} list;

static void push(list *l, const char *text)
{
    if (l->n + 1 >= l->cap || text == NULL)
        l->failed = true;
    else
        l->items[l->n++] = text;
}

static bool has(const list *l, const char *name)
{
    const size_t n = strlen(name);
    for (size_t i = 0; i < l->n; i++)
        if (strncmp(l->items[i], name, n) == 0 && l->items[i][n] == '=')
            return true;
    return false;
}

static void set(list *l, tn_arena *arena, const char *name, const char *value)
{
    push(l, tn_arena_printf(arena, "%s=%s", name, value).ptr);
}

static void set_default(list *l, tn_arena *arena, const char *name, const char *value)
{
    if (!has(l, name))
        set(l, arena, name, value);
}

static void set_number(list *l, tn_arena *arena, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    set_default(l, arena, name, text);
}

/* What serve.py hands to its Python service. */
static void make_environment(const tn_script_host *h, const char *code, const char *lib, tn_arena *arena,
                             list *env)
{
    const tn_sagemaker *sm = h->server->sagemaker;
    static const char *const own[] = {"PYTHONPATH=", "TFS_GRPC_PORTS=", "TFS_REST_PORTS=",
                                      "TFS_DEFAULT_MODEL_NAME=", "SAGEMAKER_MULTI_MODEL="};
    for (char **at = environ; *at != NULL; at++) {
        bool mine = false;
        for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
            mine = mine || strncmp(*at, own[i], strlen(own[i])) == 0;
        if (!mine && env->n + 32 < env->cap)
            push(env, *at);
    }
    push(env, lib != NULL ? tn_arena_printf(arena, "PYTHONPATH=%s:%s", code, lib).ptr
                          : tn_arena_printf(arena, "PYTHONPATH=%s", code).ptr);
    if (!sm->several) {
        set(env, arena, "TFS_GRPC_PORTS", sm->grpc_ports_text);
        set(env, arena, "TFS_REST_PORTS", sm->rest_ports_text);
    }
    push(env, tn_arena_printf(arena, "TFS_DEFAULT_MODEL_NAME=%.*s", TN_FMT(sm->default_model)).ptr);
    set(env, arena, "SAGEMAKER_MULTI_MODEL", sm->several ? "True" : "False");
    set_default(env, arena, "SAGEMAKER_TFS_INTER_OP_PARALLELISM", "0");
    set_default(env, arena, "SAGEMAKER_TFS_INTRA_OP_PARALLELISM", "0");
    set_number(env, arena, "SAGEMAKER_TFS_WAIT_TIME_SECONDS", sm->wait_s);
    set_number(env, arena, "SAGEMAKER_TFS_INSTANCE_COUNT", sm->instances);
    set_number(env, arena, "SAGEMAKER_GUNICORN_WORKERS", sm->workers);
    set_default(env, arena, "OMP_NUM_THREADS", "1");
    set_default(env, arena, "PYTHONUNBUFFERED", "1");
}

/*
 * The runtime is imported from its own folder, which then moves behind the script's on the path: a script's
 * module is never hidden by ours.
 */
static const char boot[] = "import sys\n"
                           "p = sys.argv[1]\n"
                           "if p: sys.path.insert(0, p)\n"
                           "from tern.worker.runtime import main\n"
                           "if p: sys.path.remove(p); sys.path.append(p)\n"
                           "if '' in sys.path: sys.path.remove('')\n"
                           "sys.exit(main(sys.argv[2:]))\n";

static void push_number(list *argv, tn_arena *arena, const char *flag, int64_t value)
{
    push(argv, flag);
    push(argv, tn_arena_printf(arena, "%lld", (long long)value).ptr);
}

static void make_command(const tn_script_host *h, const char *code, bool requirements, tn_arena *arena,
                         list *argv)
{
    const tn_sagemaker *sm = h->server->sagemaker;
    push(argv, sm->python);
    push(argv, "-c");
    push(argv, boot);
    push(argv, h->package);
    push(argv, "--code");
    push(argv, code);
    push(argv, "--generation");
    push(argv, sm->generation == TN_SAGEMAKER_2_19 ? "2.19" : "2.20");
    push(argv, "--worker-class");
    push(argv, tn_arena_dup(arena, sm->worker_class).ptr);
    push_number(argv, arena, "--threads", sm->threads);
    push_number(argv, arena, "--calls", h->server->limits.max_script_concurrency);
    push_number(argv, arena, "--timeout", sm->wait_s);
    push_number(argv, arena, "--parent", getpid());
    if (sm->several)
        push(argv, "--several");
    if (requirements)
        push(argv, "--requirements");
}

/* ---- pools by name ---- */

static site *take_out(tn_script_host *h, tn_str name)
{
    for (site **at = &h->sites; *at != NULL; at = &(*at)->next) {
        site *s = *at;
        if (tn_str_eq((tn_str){s->name, s->len}, name)) {
            *at = s->next;
            atomic_fetch_sub(&h->n_sites, 1);
            return s;
        }
    }
    return NULL;
}

static void end_site(site *s)
{
    if (s == NULL)
        return;
    tn_script_pool_close(s->pool);
    tn_script_pool_release(s->pool);
    free(s);
}

static tern_code start_pool(tn_script_host *h, const char *code, bool requirements,
                            tn_script_on_state on_state, void *context, tn_arena *arena, tn_script_pool **out,
                            tern_status *st)
{
    const tn_limits *limits = &h->server->limits;
    list argv = {.items = tn_arena_array(arena, 64, sizeof(char *)), .cap = 64};
    list env = {.items = tn_arena_array(arena, MAX_ENV, sizeof(char *)), .cap = MAX_ENV};
    tn_str lib = tn_arena_printf(arena, "%s/lib", code);
    tn_str script = tn_arena_printf(arena, "%s/inference.py", code);
    if (argv.items == NULL || env.items == NULL || lib.ptr == NULL || script.ptr == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start workers");
    make_command(h, code, requirements, arena, &argv);
    make_environment(h, code, access(lib.ptr, F_OK) == 0 ? lib.ptr : NULL, arena, &env);
    if (argv.failed || env.failed)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "The environment is too large to start workers with");
    argv.items[argv.n] = env.items[env.n] = NULL;
    const int64_t biggest = limits->max_body_bytes > limits->max_response_bytes ? limits->max_body_bytes
                                                                                : limits->max_response_bytes;
    const tn_script_pool_options o = {
        .name = script,
        .command = {argv.items, env.items},
        .workers = h->server->sagemaker->workers,
        .max_queue = (size_t)limits->max_script_queue,
        .max_memory = (size_t)limits->max_script_memory,
        .max_calls = (uint64_t)limits->max_script_calls,
        .start_ns = requirements ? INSTALL_NS : limits->script_start_ms * TN_NS_PER_MS,
        .budget = &h->server->budget,
        .max_bytes = (size_t)biggest,
        .max_idle = (size_t)limits->max_script_idle_bytes,
        .on_trouble = on_state,
        .context = context,
    };
    return tn_script_pool_new(h->scripts, &o, out, st);
}

tern_code tn_scripts_add(tn_script_host *h, tn_str name, const char *code_folder, bool requirements,
                         tn_script_on_state on_state, void *context, tern_status *st)
{
    tn_arena arena;
    tn_script_pool *pool = NULL;
    site *s = malloc(sizeof *s + name.len + 1);
    tn_arena_init(&arena, ARENA_BYTES);
    tern_code code = s != NULL
                         ? start_pool(h, code_folder, requirements, on_state, context, &arena, &pool, st)
                         : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start workers");
    tn_arena_free(&arena);
    if (code != TERN_OK) {
        free(s);
        return code;
    }
    *s = (site){.pool = pool, .len = name.len};
    if (name.len > 0)
        memcpy(s->name, name.ptr, name.len);
    pthread_mutex_lock(&h->lock);
    site *old = take_out(h, name);
    s->next = h->sites;
    h->sites = s;
    atomic_fetch_add(&h->n_sites, 1);
    pthread_mutex_unlock(&h->lock);
    end_site(old);
    return TERN_OK;
}

void tn_scripts_remove(tn_script_host *h, tn_str name)
{
    pthread_mutex_lock(&h->lock);
    site *old = take_out(h, name);
    pthread_mutex_unlock(&h->lock);
    end_site(old);
}

tn_script_pool *tn_scripts_find(tn_script_host *h, tn_str name)
{
    tn_script_pool *pool = NULL;
    if (atomic_load(&h->n_sites) == 0)
        return NULL;
    pthread_mutex_lock(&h->lock);
    for (site *s = h->sites; s != NULL && pool == NULL; s = s->next)
        if (tn_str_eq((tn_str){s->name, s->len}, name))
            pool = tn_script_pool_retain(s->pool);
    pthread_mutex_unlock(&h->lock);
    return pool;
}

void tn_scripts_each(tn_script_host *h, void (*each)(void *context, tn_str name, tn_script_pool *pool),
                     void *context)
{
    pthread_mutex_lock(&h->lock);
    for (site *s = h->sites; s != NULL; s = s->next)
        each(context, (tn_str){s->name, s->len}, s->pool);
    pthread_mutex_unlock(&h->lock);
}

tern_code tn_scripts_wait(tn_script_host *h, tn_str name, int64_t at_ns, tern_status *st)
{
    tn_script_pool *pool = tn_scripts_find(h, name);
    if (pool == NULL)
        return tern_fail(st, TERN_NOT_FOUND, "There is no script for %.*s",
                         TN_FMT(tn_str_sub(name, 0, NAME_IN_LOG)));
    tern_code code = tn_script_pool_wait(pool, at_ns, st);
    tn_script_pool_release(pool);
    return code;
}

/* ---- all ---- */

tern_code tn_script_host_new(tn_server *server, tn_script_host **out, tern_status *st)
{
    *out = NULL;
    tn_script_host *h = calloc(1, sizeof *h);
    if (h == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
    h->server = server;
    find_package(h->package, sizeof h->package);
    if (h->package[0] == '\0')
        tn_warn("script",
                "the folder of the Python runtime is not beside the program; %s must have it installed",
                server->sagemaker->python);
    tern_code code = tn_scripts_new(&h->scripts, st);
    if (code != TERN_OK) {
        free(h);
        return code;
    }
    pthread_mutex_init(&h->lock, NULL);
    *out = h;
    return TERN_OK;
}

void tn_script_host_end(tn_script_host *h)
{
    if (h != NULL)
        tn_scripts_end(h->scripts);
}

void tn_script_host_free(tn_script_host *h)
{
    if (h == NULL)
        return;
    while (h->sites != NULL) {
        site *s = h->sites;
        h->sites = s->next;
        end_site(s);
    }
    tn_scripts_free(h->scripts);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

void tn_script_host_leave(tn_script_host *h)
{
    if (h != NULL)
        tn_scripts_leave(h->scripts);
}
