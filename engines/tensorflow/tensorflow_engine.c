/*
 * engines/tensorflow/tensorflow_engine.c - the engine that defines what is right: TensorFlow by its official
 * C API.
 *
 * Loads a SavedModel with its tags, reads the signatures from the MetaGraphDef that TensorFlow returns, and
 * resolves their graph ends once. The libraries come out of TensorFlow's wheel (deps/lock.txt). A run: run.c.
 */
#include "tensorflow_engine.h"

#include <malloc.h>
#include <stdlib.h>

#include "base/cores.h"
#include "codec/saved_model.h"
#include "complete.h"
#include "folder.h"

#define ARENA_MAX (256u << 20)
/* Signatures that are compiled when a model is loaded, and most inputs or outputs of one. */
#define COMPILE_SIGNATURES 16
#define COMPILE_TENSORS    64

/* RunOptions{inter_op_thread_pool = -1}: what loads do stays in their thread, with its priority. */
static const TF_Buffer in_this_thread = {.data = "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                                         .length = 11};

tern_code tn_tf_fail(const TF_Status *from, tern_status *st)
{
    const char *message = TF_Message(from);
    return tern_fail_bytes(st, (tern_code)TF_GetCode(from), message, strlen(message));
}

/*
 * absl::log_internal::RawSetMinLogLevel(absl::LogSeverityAtLeast) in TensorFlow 2.21: stores a number. Weak:
 * in another version it may be missing, and only noise comes back.
 */
__attribute__((weak)) void tn_absl_set_min_log_level(int severity) __asm__(
    "_ZN4absl12lts_2025081412log_internal17RawSetMinLogLevelENS0_18LogSeverityAtLeastE");

/*
 * Errors only, unless the user says else. TensorFlow reads the variable while its libraries are initialized,
 * before this object's turn as they are its dependencies, so the object is linked with -z initfirst. One line
 * of theirs (port.cc, about oneDNN) is written before the variable is read: for it the level is set as well.
 */
__attribute__((constructor)) static void keep_tensorflow_quiet(void)
{
    setenv("TF_CPP_MIN_LOG_LEVEL", "2", 0);
    const char *level = getenv("TF_CPP_MIN_LOG_LEVEL");
    if (level != NULL && level[0] >= '1' && level[0] <= '3' && tn_absl_set_min_log_level != NULL)
        tn_absl_set_min_log_level(level[0] - '0');
}

static const char *runtime_version(void)
{
    return TF_Version();
}

static size_t put_field(uint8_t *bytes, unsigned field, int32_t value)
{
    size_t n = 0;
    if (value <= 0)
        return 0;
    bytes[n++] = (uint8_t)(field << 3);
    for (uint32_t v = (uint32_t)value;; v >>= 7) {
        bytes[n++] = (uint8_t)(v >= 0x80 ? v | 0x80 : v);
        if (v < 0x80)
            return n;
    }
}

/*
 * Left to itself TensorFlow has a thread for every processor of the set, in each of its pools, and does not
 * look at a cgroup's quota. With many threads a quota is used up at once, and then all of them stand still.
 */
static int32_t threads(int32_t asked, const char *variable, unsigned least)
{
    const unsigned cores = tn_cores();
    if (asked != 0 || getenv(variable) != NULL || cores >= tn_cores_of_set())
        return asked;
    return (int32_t)(cores > least ? cores : least);
}

/*
 * ConfigProto{intra_op_parallelism_threads = 2, inter_op_parallelism_threads = 5}, then what the operator
 * gave: merged over.
 */
static tern_code set_config(tern_engine *e, const tern_engine_options *o, tern_status *st)
{
    size_t n = 0;
    uint8_t *bytes = malloc(16 + o->config.len);
    TF_Status *status = TF_NewStatus();
    if (bytes == NULL) {
        TF_DeleteStatus(status);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to open TensorFlow");
    }
    n += put_field(bytes + n, 2, threads(o->intra_op_threads, "TF_NUM_INTRAOP_THREADS", 1));
    n += put_field(bytes + n, 5, threads(o->inter_op_threads, "TF_NUM_INTEROP_THREADS", 2));
    if (o->config.len > 0)
        memcpy(bytes + n, o->config.ptr, o->config.len);
    n += o->config.len;
    TF_SetConfig(e->options, bytes, n, status);
    tern_code code = TF_GetCode(status) == TF_OK ? TERN_OK : tn_tf_fail(status, st);
    TF_DeleteStatus(status);
    free(bytes);
    return code;
}

/*
 * Makes TensorFlow's devices and its pools of threads, by a session of nothing: in this thread, since they
 * inherit its priority, and loads have a lower one.
 */
static tern_code make_pools(tern_engine *e, tern_status *st)
{
    TF_Status *status = TF_NewStatus();
    TF_Graph *graph = TF_NewGraph();
    TF_Session *session = TF_NewSession(graph, e->options, status);
    tern_code code = TF_GetCode(status) == TF_OK ? TERN_OK : tn_tf_fail(status, st);
    if (session != NULL) {
        TF_CloseSession(session, status);
        TF_DeleteSession(session, status);
    }
    TF_DeleteGraph(graph);
    TF_DeleteStatus(status);
    return code;
}

static tern_code open_engine(const tern_host *host, const tern_engine_options *options, tern_engine **engine,
                             tern_status *st)
{
    tern_engine *e = calloc(1, sizeof *e);
    if (e == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to open TensorFlow");
    e->host = host;
    e->options = TF_NewSessionOptions();
    tern_code code = set_config(e, options, st);
    if (code == TERN_OK)
        code = make_pools(e, st);
    if (code != TERN_OK) {
        TF_DeleteSessionOptions(e->options);
        free(e);
        return code;
    }
    *engine = e;
    return TERN_OK;
}

static void close_engine(tern_engine *e)
{
    if (e == NULL)
        return;
    TF_DeleteSessionOptions(e->options);
    free(e);
}

static int probe(tern_engine *e, const char *directory)
{
    (void)e;
    return tn_saved_model_complete(directory);
}

/* ---- load ---- */

/* "name:index" to a graph end; ":0" may be left out. */
static TF_Output end_of(TF_Graph *graph, tern_str tensor_name)
{
    char name[1024];
    TF_Output end = {0};
    size_t n = tensor_name.len;
    while (n > 0 && tensor_name.ptr[n - 1] >= '0' && tensor_name.ptr[n - 1] <= '9')
        n--;
    if (n > 0 && tensor_name.ptr[n - 1] == ':') {
        for (size_t i = n; i < tensor_name.len && end.index < 100000; i++)
            end.index = end.index * 10 + (tensor_name.ptr[i] - '0');
        n--;
    } else {
        n = tensor_name.len;
    }
    if (n >= sizeof name)
        return end;
    memcpy(name, tensor_name.ptr, n);
    name[n] = '\0';
    end.oper = TF_GraphOperationByName(graph, name);
    if (end.oper != NULL && end.index >= TF_OperationNumOutputs(end.oper))
        end.oper = NULL;
    return end;
}

static TF_Output *ends_of(tern_engine_model *m, const tern_io *ios, uint32_t n)
{
    TF_Output *ends = tn_arena_array(&m->arena, n, sizeof *ends);
    for (uint32_t i = 0; ends != NULL && i < n; i++)
        ends[i] = end_of(m->graph, ios[i].tensor_name);
    return ends;
}

static tern_code resolve(tern_engine_model *m, tern_status *st)
{
    m->ends = tn_arena_array(&m->arena, m->signatures.n_signatures, sizeof *m->ends);
    uint32_t outputs = 0;
    for (uint32_t i = 0; m->ends != NULL && i < m->signatures.n_signatures; i++) {
        const tern_signature *s = &m->signatures.signatures[i];
        m->ends[i].inputs = ends_of(m, s->inputs, s->n_inputs);
        m->ends[i].outputs = ends_of(m, s->outputs, s->n_outputs);
        bool room = tn_tf_fetches_init(&m->ends[i].fetches, s->n_outputs, &m->arena);
        if (m->ends[i].inputs == NULL || m->ends[i].outputs == NULL || !room)
            m->ends = NULL;
        else
            m->ends[i].first_output = outputs;
        outputs += s->n_outputs;
    }
    if (m->ends != NULL && !tn_tf_fetches_init(&m->many, outputs, &m->arena))
        m->ends = NULL;
    return m->ends != NULL ? TERN_OK
                           : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the model's signatures");
}

static void unload(tern_engine_model *m)
{
    if (m == NULL)
        return;
    TF_Status *status = TF_NewStatus();
    if (m->session != NULL) {
        TF_CloseSession(m->session, status);
        TF_DeleteSession(m->session, status);
    }
    TF_DeleteStatus(status);
    TF_DeleteGraph(m->graph);
    tn_arena_free(&m->arena);
    free(m);
    malloc_trim(0); /* a model is many small pieces: without it the memory stays with the allocator */
}

/* NUL-terminated copies of the tags in the arena. */
static const char **tag_names(tern_engine_model *m, const tern_load_options *o)
{
    const char **tags = tn_arena_array(&m->arena, o->n_tags, sizeof *tags);
    for (uint32_t i = 0; tags != NULL && i < o->n_tags; i++) {
        tags[i] = tn_arena_dup(&m->arena, o->tags[i]).ptr;
        if (tags[i] == NULL)
            return NULL;
    }
    return tags;
}

static tern_code load_session(tern_engine_model *m, const tern_load_options *o, tern_status *st)
{
    const char **tags = tag_names(m, o);
    TF_Buffer *meta_graph = TF_NewBuffer();
    TF_Status *status = TF_NewStatus();
    tern_code code;
    if (tags == NULL) {
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to load the model");
        goto out;
    }
    m->session = TF_LoadSessionFromSavedModel(m->engine->options, &in_this_thread, o->directory, tags,
                                              (int)o->n_tags, m->graph, meta_graph, status);
    code = TF_GetCode(status) == TF_OK ? TERN_OK : tn_tf_fail(status, st);
    if (code == TERN_OK)
        code =
            tn_read_meta_graph((tn_str){meta_graph->data, meta_graph->length}, &m->arena, &m->signatures, st);
    if (code == TERN_OK)
        code = resolve(m, st);
out:
    TF_DeleteStatus(status);
    TF_DeleteBuffer(meta_graph);
    return code;
}

/*
 * Lets TensorFlow compile what the signature needs, all outputs, without running any of it: executors are
 * made before the inputs are looked at, and inputs of the wrong dtype end the run there. So the first request
 * finds what every later one does; it may be seconds for a large graph.
 */
static void compile(tern_engine_model *m, const tern_signature *s, const tn_tf_ends *ends)
{
    TF_Tensor *in[COMPILE_TENSORS] = {NULL}, *out[COMPILE_TENSORS] = {NULL};
    bool whole = s->n_inputs > 0 && s->n_inputs <= COMPILE_TENSORS && s->n_outputs <= COMPILE_TENSORS;
    for (uint32_t i = 0; whole && i < s->n_outputs; i++)
        whole = ends->outputs[i].oper != NULL;
    for (uint32_t i = 0; whole && i < s->n_inputs; i++) {
        if (ends->inputs[i].oper == NULL)
            break;
        TF_DataType other = TF_OperationOutputType(ends->inputs[i]) == TF_BOOL ? TF_FLOAT : TF_BOOL;
        in[i] = TF_AllocateTensor(other, NULL, 0, other == TF_BOOL ? sizeof(bool) : sizeof(float));
    }
    for (uint32_t i = 0; whole && i < s->n_inputs; i++)
        whole = in[i] != NULL;
    TF_Status *status = TF_NewStatus();
    if (whole)
        TF_SessionRun(m->session, &in_this_thread, ends->inputs, in, (int)s->n_inputs, ends->outputs, out,
                      (int)s->n_outputs, NULL, 0, NULL, status);
    TF_DeleteStatus(status);
    for (uint32_t i = 0; i < COMPILE_TENSORS; i++) {
        if (in[i] != NULL)
            TF_DeleteTensor(in[i]);
        if (out[i] != NULL)
            TF_DeleteTensor(out[i]);
    }
}

static tern_code load(tern_engine *e, const tern_load_options *options, tern_engine_model **model,
                      tern_status *st)
{
    /* TensorFlow Serving's words, which looks before TensorFlow does. */
    tern_code code = tn_folder_check(options->directory, st);
    if (code != TERN_OK)
        return code;
    tern_engine_model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to load the model");
    m->engine = e;
    m->graph = TF_NewGraph();
    tn_arena_init(&m->arena, ARENA_MAX);
    code = load_session(m, options, st);
    if (code != TERN_OK) {
        unload(m);
        return code;
    }
    for (uint32_t i = 0; i < m->signatures.n_signatures && i < COMPILE_SIGNATURES; i++)
        compile(m, &m->signatures.signatures[i], &m->ends[i]);
    m->bytes = tn_folder_size(options->directory);
    *model = m;
    return TERN_OK;
}

static const tern_signature_set *signatures(tern_engine_model *m)
{
    return &m->signatures;
}

static uint64_t memory_use(tern_engine_model *m)
{
    return m->bytes;
}

static const tern_engine_api api = {
    .struct_size = sizeof api,
    .abi_version = TERN_ENGINE_ABI,
    .name = "tensorflow",
    .runtime_version = runtime_version,
    .open = open_engine,
    .close = close_engine,
    .probe = probe,
    .load = load,
    .signatures = signatures,
    .run = tn_tf_run,
    .unload = unload,
    .memory_use = memory_use,
    .run_many = tn_tf_run_many,
};

TERN_EXPORT const tern_engine_api *tern_engine_entry(uint32_t host_abi_version);

TERN_EXPORT const tern_engine_api *tern_engine_entry(uint32_t host_abi_version)
{
    return host_abi_version >= TERN_ENGINE_ABI ? &api : NULL;
}
