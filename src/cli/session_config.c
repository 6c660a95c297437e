/*
 * cli/session_config.c - what the engine is given: ConfigProto. See cli/parts.h.
 *
 * The file's message and one with the flags' values are serialized one after the other: a reader of protobuf
 * merges them, and what stands later counts. Flags that were left out change nothing of the file.
 */
#include "base/log.h"
#include "cli/parts.h"
#include "server_config.pb-c.h"

typedef Tensorflow__ConfigProto pb_config;

static int32_t threads(int64_t n)
{
    return n < INT32_MIN ? INT32_MIN : n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

/* Threads of flags, as model_servers/server.cc puts them together. 0: left out. */
static tern_code threads_of_flags(const tn_options *o, int32_t *intra, int32_t *inter, tern_status *st)
{
    bool apart = o->tensorflow_intra_op_parallelism > 0 || o->tensorflow_inter_op_parallelism > 0;
    if (o->tensorflow_intra_op_parallelism > 0 && o->tensorflow_inter_op_parallelism > 0 &&
        o->tensorflow_session_parallelism > 0)
        return tern_fail(
            st, TERN_INVALID_ARGUMENT,
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. You cannot configure all.");
    *intra = threads(apart ? o->tensorflow_intra_op_parallelism : o->tensorflow_session_parallelism);
    *inter = threads(apart ? o->tensorflow_inter_op_parallelism : o->tensorflow_session_parallelism);
    return TERN_OK;
}

static tern_code serialize(tn_parts *p, const pb_config *file, const pb_config *flags, tern_status *st)
{
    size_t n = file != NULL ? tensorflow__config_proto__get_packed_size(file) : 0;
    uint8_t *bytes = tn_arena_alloc(&p->arena, n + tensorflow__config_proto__get_packed_size(flags));
    if (bytes == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the session's configuration");
    if (file != NULL)
        n = tensorflow__config_proto__pack(file, bytes);
    n += tensorflow__config_proto__pack(flags, bytes + n);
    p->session_config = (tn_str){(const char *)bytes, n};
    return TERN_OK;
}

/* What TensorFlow ends the process for. */
static tern_code check_threads(const tn_parts *p, const pb_config *file, tern_status *st)
{
    if (p->intra_op_threads < 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "%d threads inside an operation (tensorflow_intra_op_parallelism, "
                         "tensorflow_session_parallelism or intra_op_parallelism_threads): use 0 or more",
                         p->intra_op_threads);
    for (size_t i = 0; file != NULL && i < file->n_session_inter_op_thread_pool; i++)
        if (file->session_inter_op_thread_pool[i]->num_threads < 0)
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "session_inter_op_thread_pool: num_threads is %d; use 0 or more",
                             file->session_inter_op_thread_pool[i]->num_threads);
    return TERN_OK;
}

/* file: may be NULL. */
static tern_code put_together(tn_parts *p, const pb_config *file, int32_t intra, int32_t inter,
                              tern_status *st)
{
    pb_config flags = TENSORFLOW__CONFIG_PROTO__INIT;
    Tensorflow__GPUOptions gpu = TENSORFLOW__GPUOPTIONS__INIT;
    Tensorflow__GraphOptions graph = TENSORFLOW__GRAPH_OPTIONS__INIT;
    Tensorflow__RewriterConfig rewriter = TENSORFLOW__REWRITER_CONFIG__INIT;
    if (p->o.per_process_gpu_memory_fraction > 0) {
        gpu.per_process_gpu_memory_fraction = p->o.per_process_gpu_memory_fraction;
        flags.gpu_options = &gpu;
    }
    if (strcmp(p->o.mixed_precision, "bfloat16") == 0) {
        rewriter.auto_mixed_precision_onednn_bfloat16 = TENSORFLOW__REWRITER_CONFIG__TOGGLE__ON;
        graph.rewrite_options = &rewriter;
        flags.graph_options = &graph;
    } else if (p->o.mixed_precision[0] != '\0') {
        tn_warn("config", "--mixed_precision=%s has no effect: only bfloat16 is known", p->o.mixed_precision);
    }
    flags.intra_op_parallelism_threads = intra;
    flags.inter_op_parallelism_threads = inter;
    p->intra_op_threads = intra != 0 || file == NULL ? intra : file->intra_op_parallelism_threads;
    p->inter_op_threads = inter != 0 || file == NULL ? inter : file->inter_op_parallelism_threads;
    tern_code code = check_threads(p, file, st);
    return code == TERN_OK ? serialize(p, file, &flags, st) : code;
}

tern_code tn_parts_session(tn_parts *p, tern_status *st)
{
    int32_t intra = 0, inter = 0;
    ProtobufCMessage *message = NULL;
    tern_code code = TERN_OK;
    if (p->platform != NULL) {
        const Tensorflow__Serving__SessionBundleConfig *platform = (const void *)p->platform;
        return put_together(p, platform->session_config, 0, 0, st);
    }
    if (p->o.tensorflow_session_config_file[0] != '\0')
        code = tn_config_message(p, "tensorflow_session_config_file", p->o.tensorflow_session_config_file,
                                 &tensorflow__config_proto__descriptor, &message, st);
    if (code == TERN_OK)
        code = threads_of_flags(&p->o, &intra, &inter, st);
    if (code == TERN_OK)
        code = put_together(p, (const pb_config *)message, intra, inter, st);
    if (message != NULL)
        protobuf_c_message_free_unpacked(message, NULL);
    return code;
}
