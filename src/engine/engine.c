/*
 * engine/engine.c - finds, opens and checks engine plugins.
 *
 * A plugin is opened RTLD_LOCAL, so that the symbols of two runtimes never meet, and binds its own symbols at
 * once, so that what it lacks is an error here and not a crash in the first request. What a plugin says about
 * itself is checked before any of its functions but the entry is called. Once open() was called the object
 * stays mapped until the process ends, whatever came of it: runtimes leave threads and thread-local
 * destructors behind that dlclose() would pull away.
 *
 * Threads: tn_engines_get() from any; the lock is held while a plugin opens, which may take a second.
 */
#include "engine/engine.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "tensor/tensor.h"

/* The table of ABI 1 ends with cancel(); later fields may be missing in a plugin. */
#define TABLE_SIZE_ABI_1 (offsetof(tern_engine_api, cancel) + sizeof(((tern_engine_api *)NULL)->cancel))

/* Looked in when no path is given, relative to the folder of the program: as built, as installed. */
static const char *const default_folders[] = {"engines", "../lib/tern/engines"};

typedef struct engine_slot engine_slot;
struct engine_slot {
    tn_engine engine;
    engine_slot *next;
};

struct tn_engines {
    pthread_mutex_t lock;
    engine_slot *slots; /* guarded by lock; only ever grows, so that what get() gave out stays valid */
    char *path;         /* folders separated by ':' */
    char *config;
    tern_engine_options options;
};

const tern_host *tn_host(void)
{
    static const tern_host host = {
        .struct_size = sizeof(tern_host),
        .abi_version = TERN_ENGINE_ABI,
        .log = tn_log_plugin,
        .buffer_new = tn_buffer_new,
    };
    return &host;
}

/* Returns owned: "PROGRAM_FOLDER/engines:PROGRAM_FOLDER/../lib/tern/engines"; NULL when memory is short. */
static char *default_path(void)
{
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n < 0)
        n = 0;
    program[n] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL)
        *slash = '\0';

    char *path = NULL;
    const char *folder = program[0] != '\0' ? program : ".";
    if (asprintf(&path, "%s/%s:%s/%s", folder, default_folders[0], folder, default_folders[1]) < 0)
        return NULL;
    return path;
}

tn_engines *tn_engines_new(const tn_engines_config *config)
{
    tn_engines *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    pthread_mutex_init(&e->lock, NULL);
    tern_str text = config->options.config;
    e->path = config->path != NULL ? strdup(config->path) : default_path();
    e->config = malloc(text.len + 1);
    if (e->path == NULL || e->config == NULL) {
        tn_engines_free(e);
        return NULL;
    }
    if (text.len > 0)
        memcpy(e->config, text.ptr, text.len);
    e->options = config->options;
    e->options.struct_size = sizeof e->options;
    e->options.config = (tern_str){e->config, text.len};
    return e;
}

void tn_engines_free(tn_engines *e)
{
    if (e == NULL)
        return;
    while (e->slots != NULL) {
        engine_slot *slot = e->slots;
        e->slots = slot->next;
        slot->engine.api->close(slot->engine.self);
        free(slot);
    }
    pthread_mutex_destroy(&e->lock);
    free(e->config);
    free(e->path);
    free(e);
}

/* A name becomes a file name, so it must not lead out of the folder. */
static bool name_is_plain(tn_str name)
{
    if (name.len == 0 || name.len > 64)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                     c == '-';
        if (!plain)
            return false;
    }
    return true;
}

/* The first FOLDER/NAME.so that exists, in file[PATH_MAX]. */
static tern_code find_file(const tn_engines *e, tn_str name, char *file, tern_status *st)
{
    const char *folder = e->path;
    while (*folder != '\0') {
        size_t length = strcspn(folder, ":");
        int n = snprintf(file, PATH_MAX, "%.*s/%.*s.so", (int)length, folder, TN_FMT(name));
        if (length > 0 && n > 0 && n < PATH_MAX && access(file, F_OK) == 0)
            return TERN_OK;
        folder += length;
        folder += *folder == ':';
    }
    return tern_fail(st, TERN_NOT_FOUND, "there is no engine \"%.*s\": no file %.*s.so in %s", TN_FMT(name),
                     TN_FMT(name), e->path);
}

/* The first function of ABI 1 that the table lacks; NULL when it is whole. cancel may be missing. */
static const char *missing_function(const tern_engine_api *api)
{
    const struct {
        const char *name;
        bool there;
    } functions[] = {
        {"runtime_version", api->runtime_version != NULL},
        {"open", api->open != NULL},
        {"close", api->close != NULL},
        {"probe", api->probe != NULL},
        {"load", api->load != NULL},
        {"signatures", api->signatures != NULL},
        {"run", api->run != NULL},
        {"unload", api->unload != NULL},
        {"memory_use", api->memory_use != NULL},
    };
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (!functions[i].there)
            return functions[i].name;
    }
    return NULL;
}

static tern_code check_table(const tern_engine_api *api, tn_str name, const char *file, tern_status *st)
{
    if (api == NULL)
        return tern_fail(st, TERN_FAILED_PRECONDITION,
                         "%s does not serve engine ABI %d, which this program has", file, TERN_ENGINE_ABI);
    if (api->abi_version != TERN_ENGINE_ABI)
        return tern_fail(st, TERN_FAILED_PRECONDITION, "%s has engine ABI %u, this program has %d", file,
                         (unsigned)api->abi_version, TERN_ENGINE_ABI);
    if (api->struct_size < TABLE_SIZE_ABI_1)
        return tern_fail(st, TERN_FAILED_PRECONDITION,
                         "%s has a function table of %u bytes, engine ABI %d needs %zu", file,
                         (unsigned)api->struct_size, TERN_ENGINE_ABI, TABLE_SIZE_ABI_1);
    const char *missing = missing_function(api);
    if (missing != NULL)
        return tern_fail(st, TERN_FAILED_PRECONDITION, "%s has no function %s() in its table", file, missing);
    if (api->name == NULL || !tn_str_eq(tn_str_from(api->name), name))
        return tern_fail(st, TERN_FAILED_PRECONDITION, "%s calls itself \"%s\", not \"%.*s\"", file,
                         api->name != NULL ? api->name : "", TN_FMT(name));
    return TERN_OK;
}

/* Whether the object was linked with -z now: it binds its own symbols whatever dlopen() is told. */
static bool binds_now(void *object)
{
    struct link_map *map;
    bool now = false;
    if (dlinfo(object, RTLD_DI_LINKMAP, &map) != 0)
        return false;
    for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL && !now; d++)
        now = d->d_tag == DT_BIND_NOW || (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_BIND_NOW) != 0) ||
              (d->d_tag == DT_FLAGS_1 && (d->d_un.d_val & DF_1_NOW) != 0);
    return now;
}

/*
 * RTLD_NOW would bind all symbols of the runtime's libraries, too: of TensorFlow's 190,000, a third of the
 * time that they take to open, of which a server calls a few thousand.
 */
static void *open_object(const char *file)
{
    void *object = dlopen(file, RTLD_LOCAL | RTLD_LAZY);
    if (object == NULL || binds_now(object))
        return object;
    dlclose(object);
    return dlopen(file, RTLD_LOCAL | RTLD_NOW);
}

/* Opens and checks the object, calls open(). On success *slot is owned by the caller. */
static tern_code open_plugin(tn_engines *e, tn_str name, const char *file, engine_slot **out, tern_status *st)
{
    tern_code code;
    engine_slot *slot = NULL;
    void *object = open_object(file);
    if (object == NULL)
        return tern_fail(st, TERN_FAILED_PRECONDITION, "cannot open engine \"%.*s\": %s", TN_FMT(name),
                         dlerror());
    tern_engine_entry_fn entry = (tern_engine_entry_fn)dlsym(object, TERN_ENGINE_ENTRY);
    if (entry == NULL) {
        code = tern_fail(st, TERN_FAILED_PRECONDITION, "%s is no engine: it does not export %s", file,
                         TERN_ENGINE_ENTRY);
        goto close;
    }
    const tern_engine_api *api = entry(TERN_ENGINE_ABI);
    code = check_table(api, name, file, st);
    if (code != TERN_OK)
        goto close;
    slot = calloc(1, sizeof *slot);
    if (slot == NULL) {
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory for engine \"%.*s\"", TN_FMT(name));
        goto close;
    }
    code = api->open(tn_host(), &e->options, &slot->engine.self, st);
    if (code != TERN_OK)
        goto out;
    slot->engine.api = api;
    tn_info("engine", "opened %s %s (%s)", api->name, api->runtime_version(), file);
    *out = slot;
    return TERN_OK;

close:
    dlclose(object);
out:
    free(slot);
    return code;
}

tern_code tn_engines_get(tn_engines *e, tn_str name, const tn_engine **out, tern_status *st)
{
    tern_code code = TERN_OK;
    char file[PATH_MAX];
    engine_slot *slot;
    *out = NULL;
    if (!name_is_plain(name))
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "\"%.*s\" is no name of an engine: letters, digits, '_' and '-' are allowed",
                         TN_FMT(name));
    pthread_mutex_lock(&e->lock);
    for (slot = e->slots; slot != NULL; slot = slot->next) {
        if (tn_str_eq(tn_str_from(slot->engine.api->name), name))
            break;
    }
    if (slot == NULL) {
        code = find_file(e, name, file, st);
        if (code == TERN_OK)
            code = open_plugin(e, name, file, &slot, st);
        if (code == TERN_OK) {
            slot->next = e->slots;
            e->slots = slot;
        }
    }
    pthread_mutex_unlock(&e->lock);
    if (code == TERN_OK)
        *out = &slot->engine;
    return code;
}
