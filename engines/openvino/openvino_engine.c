/*
 * engines/openvino/openvino_engine.c - the second engine: OpenVINO's CPU plugin by its official C API.
 *
 * Loads a SavedModel as it is, without conversion, when OpenVINO computes it as TensorFlow does (graph.h says
 * what it refuses; the rest OpenVINO says itself), and computes float as float. load.c loads, run.c runs. The
 * libraries come out of OpenVINO's wheel (deps/lock.txt).
 */
#include "openvino_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cores.h"
#include "complete.h"

/* ---- words ---- */

/* What a line says, without where in OpenVINO's source it was written and where to read more. */
static tn_str words_of(tn_str line)
{
    static const char *const noise[] = {"Check '", "While validating node", "FrontEnd API failed with ",
                                        "To facilitate "};
    ptrdiff_t place = tn_str_find(line, TN_STR("Exception from "));
    line = tn_str_trim(tn_str_sub(line, 0, place >= 0 ? (size_t)place : line.len));
    for (size_t i = 0; i < sizeof noise / sizeof noise[0]; i++)
        if (tn_str_starts(line, tn_str_from(noise[i])))
            return TN_STR("");
    return line;
}

tern_code tn_ov_fail(tern_code code, const char *what, tern_status *st)
{
    const char *words = ov_get_last_err_msg(); /* a copy, or NULL */
    tn_buf text;
    tn_buf_init(&text, TERN_STATUS_MESSAGE_MAX);
    tn_buf_z(&text, what);
    for (tn_str rest = tn_str_from(words != NULL ? words : ""); rest.len > 0;) {
        ptrdiff_t end = tn_str_chr(rest, '\n');
        tn_str line = words_of(tn_str_sub(rest, 0, end >= 0 ? (size_t)end : rest.len));
        rest = tn_str_sub(rest, end >= 0 ? (size_t)end + 1 : rest.len, rest.len);
        if (line.len == 0)
            continue;
        tn_buf_z(&text, text.len == strlen(what) ? ": " : " ");
        tn_buf_str(&text, line);
    }
    code = tern_fail_bytes(st, code, text.ptr != NULL ? text.ptr : what, text.ptr != NULL ? text.len : 0);
    tn_buf_free(&text);
    ov_free(words);
    return code;
}

ov_element_type_e tn_ov_type(tern_dtype dtype)
{
    switch (dtype) {
    case TERN_FLOAT:
        return F32;
    case TERN_HALF:
        return F16;
    case TERN_BFLOAT16:
        return BF16;
    case TERN_INT32:
        return I32;
    case TERN_INT64:
        return I64;
    case TERN_INT16:
        return I16;
    case TERN_INT8:
        return I8;
    case TERN_UINT8:
        return U8;
    case TERN_BOOL:
        return BOOLEAN;
    default:
        return DYNAMIC;
    }
}

/* ---- the table ---- */

/* "2026.4.1" of "2026.4.1-22982-...". */
static const char *runtime_version(void)
{
    static char text[64] = "";
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    ov_version_t version = {0};
    pthread_mutex_lock(&lock);
    if (text[0] == '\0' && ov_get_openvino_version(&version) == OK) {
        snprintf(text, sizeof text, "%.*s", (int)strcspn(version.buildNumber, "-"), version.buildNumber);
        ov_version_free(&version);
    }
    pthread_mutex_unlock(&lock);
    return text;
}

static tern_code open_engine(const tern_host *host, const tern_engine_options *options, tern_engine **engine,
                             tern_status *st)
{
    tern_engine *e = calloc(1, sizeof *e);
    if (e == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to open OpenVINO");
    e->host = host;
    if (ov_core_create(&e->core) != OK) {
        free(e);
        return tn_ov_fail(TERN_FAILED_PRECONDITION, "OpenVINO cannot be opened", st);
    }
    unsigned threads = options->intra_op_threads > 0 ? (unsigned)options->intra_op_threads : tn_cores();
    snprintf(e->threads, sizeof e->threads, "%u", threads);
    tn_ov_remove_left();
    tn_ov_make_threads(e);
    *engine = e;
    return TERN_OK;
}

static void close_engine(tern_engine *e)
{
    if (e == NULL)
        return;
    ov_core_free(e->core);
    free(e);
}

static int probe(tern_engine *e, const char *directory)
{
    (void)e;
    return tn_saved_model_complete(directory);
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
    .name = "openvino",
    .runtime_version = runtime_version,
    .open = open_engine,
    .close = close_engine,
    .probe = probe,
    .load = tn_ov_load,
    .signatures = signatures,
    .run = tn_ov_run,
    .unload = tn_ov_unload,
    .memory_use = memory_use,
    .cancel = tn_ov_cancel,
};

TERN_EXPORT const tern_engine_api *tern_engine_entry(uint32_t host_abi_version);

TERN_EXPORT const tern_engine_api *tern_engine_entry(uint32_t host_abi_version)
{
    return host_abi_version >= TERN_ENGINE_ABI ? &api : NULL;
}
