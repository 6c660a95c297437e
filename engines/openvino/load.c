/*
 * load.c - a SavedModel, signature by signature, into compiled graphs.
 *
 * OpenVINO reads folders, and of a SavedModel the signature "serving_default" only. So each signature gets a
 * folder for the moment, with the SavedModel cut to it (graph.h) and a link to the variables. What OpenVINO
 * read stays mapped from the model's own files until it is compiled.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "codec/saved_model.h"
#include "folder.h"
#include "graph.h"
#include "openvino_engine.h"

#define ARENA_MAX  (256u << 20)
#define FILE_MAX   (INT64_C(1) << 31) /* protobuf's */
#define GRAPH_NAME "saved_model.pb"
/* Of a folder for the moment, and how long it is left alone though nobody seems to use it. */
#define FOLDER_NAME  "tern-openvino-"
#define LEFT_SECONDS 60

/* ---- files ---- */

/* Returns owned bytes in *text, or NULL; on failure as well. */
static tern_code read_file(const char *path, tn_str *text, tern_status *st)
{
    struct stat info;
    size_t length = 0;
    char *bytes = NULL;
    tern_code code = TERN_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0) {
        code = tern_fail(st, TERN_UNAVAILABLE, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (info.st_size > FILE_MAX || (bytes = malloc((size_t)info.st_size + 1)) == NULL) {
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "%s: no memory for %lld bytes", path,
                         (long long)info.st_size);
        goto out;
    }
    ssize_t n = 1;
    while (length < (size_t)info.st_size && n > 0) {
        n = read(fd, bytes + length, (size_t)info.st_size - length);
        length += n > 0 ? (size_t)n : 0;
    }
    if (n < 0)
        code = tern_fail(st, TERN_UNAVAILABLE, "%s: %s", path, strerror(errno));
out:
    if (fd >= 0)
        close(fd);
    *text = (tn_str){bytes, length};
    return code;
}

static bool write_file(const char *path, tn_str bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        bytes = tn_str_sub(bytes, (size_t)n, bytes.len);
    }
    return close(fd) == 0 && bytes.len == 0;
}

/* Where folders for the moment are made: the first that takes one. */
static const char *place(size_t i)
{
    static const char *const places[] = {"/tmp", "/dev/shm", "/var/tmp"};
    const char *tmp = getenv("TMPDIR");
    if (i == 0)
        return tmp != NULL && tmp[0] == '/' ? tmp : "/tmp";
    return i <= sizeof places / sizeof places[0] ? places[i - 1] : NULL;
}

/* NULL where none can be made. Returns owned. *lock: held as long as it is open; tells that it is in use. */
static char *make_folder(int *lock)
{
    for (size_t i = 0; place(i) != NULL; i++) {
        char *folder = NULL;
        if (asprintf(&folder, "%s/" FOLDER_NAME "XXXXXX", place(i)) < 0)
            return NULL;
        if (mkdtemp(folder) != NULL) {
            *lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (*lock >= 0)
                (void)flock(*lock, LOCK_EX);
            return folder;
        }
        free(folder);
    }
    return NULL;
}

static void empty_and_remove(const char *folder)
{
    char path[PATH_MAX];
    const char *const names[] = {GRAPH_NAME, "variables"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

/* One that is there for a while and locked by nobody was left by a process that was killed. */
static void remove_if_left(const char *folder)
{
    struct stat info;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &info) == 0 && info.st_uid == geteuid() && time(NULL) - info.st_mtime > LEFT_SECONDS &&
        flock(fd, LOCK_EX | LOCK_NB) == 0)
        empty_and_remove(folder);
    close(fd);
}

void tn_ov_remove_left(void)
{
    char path[PATH_MAX];
    for (size_t i = 0; place(i) != NULL; i++) {
        DIR *all = opendir(place(i));
        for (const struct dirent *e = all != NULL ? readdir(all) : NULL; e != NULL; e = readdir(all)) {
            if (strncmp(e->d_name, FOLDER_NAME, strlen(FOLDER_NAME)) != 0)
                continue;
            int n = snprintf(path, sizeof path, "%s/%s", place(i), e->d_name);
            if (n > 0 && (size_t)n < sizeof path)
                remove_if_left(path);
        }
        if (all != NULL)
            closedir(all);
    }
}

/* With what OpenVINO reads of a SavedModel. */
static bool fill_folder(const char *folder, const char *directory, tn_str graph)
{
    char path[PATH_MAX], variables[PATH_MAX], real[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/" GRAPH_NAME, folder);
    int m = snprintf(variables, sizeof variables, "%s/variables", directory);
    if (n < 0 || (size_t)n >= sizeof path || m < 0 || (size_t)m >= sizeof variables ||
        !write_file(path, graph))
        return false;
    snprintf(path, sizeof path, "%s/variables", folder);
    return realpath(variables, real) == NULL || symlink(real, path) == 0;
}

/* ---- one signature ---- */

static tern_code refuse(const tn_ov_signature *s, const char *what, const tern_io *io, tern_status *st)
{
    return tern_fail(
        st, TERN_UNIMPLEMENTED,
        "OpenVINO does not serve this model: in signature \"%.*s\" it %s \"%.*s\" (\"%.*s\"); use "
        "the engine tensorflow",
        TN_FMT(s->what->name), what, TN_FMT(io->name), TN_FMT(io->tensor_name));
}

/* The name that the cut gave a tensor. */
static const char *name_of(const tern_io *ios, uint32_t id, bool output, char name[16])
{
    snprintf(name, 16, "%c%u", output ? 'o' : 'i', tn_ov_first_of(ios, id));
    return name;
}

/* What was read has every output, and the dtypes that TensorFlow gives them. An input may be left out. */
static tern_code check_ports(const tn_ov_signature *s, bool outputs, tern_status *st)
{
    const tern_io *ios = outputs ? s->what->outputs : s->what->inputs;
    uint32_t n = outputs ? s->what->n_outputs : s->what->n_inputs;
    tern_code code = TERN_OK;
    for (uint32_t i = 0; code == TERN_OK && i < n; i++) {
        char name[16];
        ov_output_const_port_t *port = NULL;
        ov_element_type_e type = DYNAMIC;
        name_of(ios, i, outputs, name);
        ov_status_e found = outputs ? ov_model_const_output_by_name(s->read, name, &port)
                                    : ov_model_const_input_by_name(s->read, name, &port);
        if (found == OK && (ov_port_get_element_type(port, &type) != OK || type != tn_ov_type(ios[i].dtype)))
            code = refuse(s, "gives another dtype to", &ios[i], st);
        else if (found != OK && outputs)
            code = refuse(s, "loses the output", &ios[i], st);
        if (found == OK)
            ov_output_const_port_free(port);
    }
    return code;
}

tern_code tn_ov_read(const tern_engine *e, tn_str saved_model, const char *directory, ov_model_t **out,
                     tern_status *st)
{
    tern_code code = TERN_OK;
    int lock = -1;
    char *folder = make_folder(&lock);
    if (folder == NULL || !fill_folder(folder, directory, saved_model))
        code =
            tern_fail(st, TERN_UNAVAILABLE,
                      "OpenVINO reads models from folders only, and none can be written in TMPDIR, /tmp or "
                      "/dev/shm: %s",
                      strerror(errno));
    else if (ov_core_read_model(e->core, folder, NULL, out) != OK)
        code = tn_ov_fail(TERN_UNIMPLEMENTED, "OpenVINO does not serve this model", st);
    if (folder != NULL)
        empty_and_remove(folder);
    if (lock >= 0)
        close(lock);
    free(folder);
    return code;
}

static tern_code read_signature(tn_ov_signature *s, const char *directory, tn_str meta_graph, tern_status *st)
{
    tn_buf cut;
    tn_buf_init(&cut, (size_t)FILE_MAX);
    tn_ov_graph_cut(meta_graph, s->what, &cut);
    tern_code code = cut.failed ? tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to load the model")
                                : tn_ov_read(s->model->engine, tn_buf_view(&cut), directory, &s->read, st);
    tn_buf_free(&cut);
    if (code == TERN_OK)
        code = check_ports(s, false, st);
    return code == TERN_OK ? check_ports(s, true, st) : code;
}

/* Finds the ports of the compiled graph by the names that the cut gave them. */
static tern_code find_ports(tn_ov_signature *s, bool outputs, tern_status *st)
{
    const tern_io *ios = outputs ? s->what->outputs : s->what->inputs;
    uint32_t n = outputs ? s->what->n_outputs : s->what->n_inputs;
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        tn_ov_port *p = outputs ? &s->outputs[i] : &s->inputs[i];
        name_of(ios, i, outputs, name);
        ov_status_e found = outputs ? ov_compiled_model_output_by_name(s->compiled, name, &p->port)
                                    : ov_compiled_model_input_by_name(s->compiled, name, &p->port);
        if (found != OK)
            p->port = NULL;
        if (found != OK && outputs)
            return refuse(s, "loses the output", &ios[i], st);
        if (found == OK && ov_port_get_partial_shape(p->port, &p->shape) != OK)
            return tn_ov_fail(TERN_INTERNAL, "OpenVINO tells no shape", st);
    }
    return TERN_OK;
}

tern_code tn_ov_compile_graph(const tern_engine *e, const ov_model_t *graph, const char *threads,
                              ov_compiled_model_t **out, tern_status *st)
{
    /*
     * Float is computed as float, whatever the processor has for bfloat16. One stream: a run uses all
     * threads.
     */
    const ov_property_t properties[] = {
        {ov_property_key_hint_inference_precision, "f32"},
        {ov_property_key_num_streams, "1"},
        {ov_property_key_inference_num_threads, threads},
        {ov_property_key_hint_enable_cpu_pinning, "NO"},
    };
    if (ov_core_compile_model_props(e->core, graph, "CPU", sizeof properties / sizeof properties[0],
                                    properties, out) != OK)
        return tn_ov_fail(TERN_UNIMPLEMENTED, "OpenVINO does not serve this model", st);
    return TERN_OK;
}

static tern_code compile(tn_ov_signature *s, tern_status *st)
{
    tern_code code = tn_ov_compile_graph(s->model->engine, s->read, s->model->threads, &s->compiled, st);
    if (code == TERN_OK)
        code = find_ports(s, false, st);
    if (code == TERN_OK)
        code = find_ports(s, true, st);
    if (code != TERN_OK)
        return code;
    ov_model_free(s->read);
    s->read = NULL;
    tn_ov_pool_init(&s->pool, s->compiled);
    atomic_store(&s->ready, true);
    return TERN_OK;
}

tern_code tn_ov_compile(tn_ov_signature *s, tern_status *st)
{
    tern_code code = TERN_OK;
    pthread_mutex_lock(&s->lock);
    if (!atomic_load(&s->ready))
        code = compile(s, st);
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* ---- the model ---- */

static void free_ports(tn_ov_port *ports, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (ports[i].port == NULL)
            continue;
        ov_partial_shape_free(&ports[i].shape);
        ov_output_const_port_free(ports[i].port);
    }
}

void tn_ov_unload(tern_engine_model *m)
{
    if (m == NULL || atomic_fetch_sub(&m->users, 1) != 1)
        return;
    for (uint32_t i = 0; m->each != NULL && i < m->signatures.n_signatures; i++) {
        tn_ov_signature *s = &m->each[i];
        tn_ov_pool_free(&s->pool);
        free_ports(s->inputs, s->inputs != NULL ? s->what->n_inputs : 0);
        free_ports(s->outputs, s->outputs != NULL ? s->what->n_outputs : 0);
        if (s->read != NULL)
            ov_model_free(s->read);
        if (s->compiled != NULL)
            ov_compiled_model_free(s->compiled);
        if (s->model != NULL)
            pthread_mutex_destroy(&s->lock);
    }
    tn_arena_free(&m->arena);
    free(m);
    malloc_trim(0); /* a model is many small pieces: without it the memory stays with the allocator */
}

/* The signature that is ready when the model is: what clients get that name none. */
static uint32_t first_wanted(const tern_signature_set *set)
{
    for (uint32_t i = 0; i < set->n_signatures; i++)
        if (tn_str_eq(set->signatures[i].name, TN_STR("serving_default")))
            return i;
    return 0;
}

static tern_code prepare(tern_engine_model *m, uint32_t i, const tn_ov_graph *graph, const char *directory,
                         tn_str meta_graph, tern_status *st)
{
    tn_ov_signature *s = &m->each[i];
    s->what = &m->signatures.signatures[i];
    s->inputs = tn_arena_zalloc(&m->arena, s->what->n_inputs * sizeof *s->inputs);
    s->outputs = tn_arena_zalloc(&m->arena, s->what->n_outputs * sizeof *s->outputs);
    if (s->inputs == NULL || s->outputs == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the model's signatures");
    pthread_mutex_init(&s->lock, NULL);
    s->model = m;
    s->runnable = tn_ov_has_tensors(s->what);
    if (!s->runnable)
        return TERN_OK;
    tern_code code = tn_ov_graph_check(graph, s->what, &m->arena, &s->sums, st);
    return code == TERN_OK ? read_signature(s, directory, meta_graph, st) : code;
}

static tern_code load(tern_engine_model *m, const tern_load_options *o, tn_str file, tern_status *st)
{
    tn_str meta_graph;
    const tn_ov_graph *graph;
    tern_code code = tn_find_meta_graph(file, o->tags, o->n_tags, &meta_graph, st);
    if (code == TERN_OK)
        code = tn_read_meta_graph(meta_graph, &m->arena, &m->signatures, st);
    if (code == TERN_OK)
        code = tn_ov_graph_read(meta_graph, &m->arena, &graph, st);
    if (code != TERN_OK)
        return code;
    m->each = tn_arena_zalloc(&m->arena, m->signatures.n_signatures * sizeof *m->each);
    if (m->each == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the model's signatures");
    for (uint32_t i = 0; code == TERN_OK && i < m->signatures.n_signatures; i++)
        code = prepare(m, i, graph, o->directory, meta_graph, st);
    if (code == TERN_OK && m->signatures.n_signatures > 0 && m->each[first_wanted(&m->signatures)].runnable)
        code = tn_ov_compile(&m->each[first_wanted(&m->signatures)], st);
    return code;
}

tern_code tn_ov_load(tern_engine *e, const tern_load_options *o, tern_engine_model **model, tern_status *st)
{
    char path[PATH_MAX];
    tn_str file = TN_STR_NONE;
    tern_code code = tn_folder_check(o->directory, st);
    if (code != TERN_OK)
        return code;
    int n = snprintf(path, sizeof path, "%s/" GRAPH_NAME, o->directory);
    if (n < 0 || (size_t)n >= sizeof path || access(path, F_OK) != 0)
        return tern_fail(
            st, TERN_UNIMPLEMENTED,
            "OpenVINO does not serve this model: it is a text, saved_model.pbtxt; use the engine "
            "tensorflow");
    tern_engine_model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to load the model");
    m->engine = e;
    atomic_init(&m->users, 1);
    tn_arena_init(&m->arena, ARENA_MAX);
    memcpy(m->threads, e->threads, sizeof m->threads);
    if (o->struct_size >= sizeof *o && o->threads > 0)
        snprintf(m->threads, sizeof m->threads, "%d", o->threads);
    code = read_file(path, &file, st);
    if (code == TERN_OK)
        code = load(m, o, file, st);
    free((void *)(uintptr_t)file.ptr);
    if (code != TERN_OK) {
        tn_ov_unload(m);
        return code;
    }
    m->bytes = tn_folder_size(o->directory);
    *model = m;
    return TERN_OK;
}
