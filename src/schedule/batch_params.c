/* schedule/batch_params.c - see batch_params.h. */
#include "schedule/batch_params.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "codec/pb_text.h"
#include "server_config.pb-c.h"

#define FILE_MAX    (1u << 20)
#define MAX_THREADS 4096

typedef Tensorflow__Serving__BatchingParameters pb_params;

tn_batch_params tn_batch_params_default(void)
{
    return (tn_batch_params){.max_batch_size = 1000,
                             .max_enqueued_batches = 10,
                             .max_execution_batch_size = 1000,
                             .thread_pool_name = TN_STR_INIT("model_server_batch_threads")};
}

tern_code tn_batch_params_take(const ProtobufCMessage *message, tn_arena *arena, tn_batch_params *out,
                               tern_status *st)
{
    const pb_params *m = (const pb_params *)message;
    *out = tn_batch_params_default();
    out->thread_pool_name = TN_STR("batch_threads");
    if (m->max_batch_size != NULL)
        out->max_batch_size = m->max_batch_size->value;
    if (m->batch_timeout_micros != NULL)
        out->batch_timeout_us = m->batch_timeout_micros->value;
    if (m->max_enqueued_batches != NULL)
        out->max_enqueued_batches = m->max_enqueued_batches->value;
    out->has_threads = m->num_batch_threads != NULL;
    if (out->has_threads)
        out->num_batch_threads = m->num_batch_threads->value;
    if (m->thread_pool_name != NULL)
        out->thread_pool_name = tn_arena_dup(arena, tn_str_from(m->thread_pool_name->value));
    out->pad_variable_length_inputs = m->pad_variable_length_inputs;
    out->split = m->enable_large_batch_splitting != NULL && m->enable_large_batch_splitting->value;
    out->max_execution_batch_size =
        m->max_execution_batch_size != NULL ? m->max_execution_batch_size->value : out->max_batch_size;
    out->n_allowed = (uint32_t)m->n_allowed_batch_sizes;
    int64_t *allowed = tn_arena_array(arena, out->n_allowed, sizeof *allowed);
    if (allowed == NULL || out->thread_pool_name.ptr == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for batching parameters");
    for (uint32_t i = 0; i < out->n_allowed; i++)
        allowed[i] = m->allowed_batch_sizes[i];
    out->allowed = allowed;
    return TERN_OK;
}

tern_code tn_batch_params_parse(tn_str text, tn_arena *arena, tn_batch_params *out, tern_status *st)
{
    ProtobufCMessage *message = NULL;
    tern_code code =
        tn_pb_text_parse(text, &tensorflow__serving__batching_parameters__descriptor, &message, st);
    if (code != TERN_OK)
        return code;
    code = tn_batch_params_take(message, arena, out, st);
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}

tern_code tn_batch_params_read(const char *path, tn_arena *arena, tn_batch_params *out, tern_status *st)
{
    struct stat info;
    tern_status why;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return tern_fail(st, errno == EACCES ? TERN_PERMISSION_DENIED : TERN_NOT_FOUND, "%s; %s", path,
                         strerror(errno));
    tern_code code = TERN_OK;
    char *bytes = NULL;
    ssize_t n = 0;
    /* An empty file is none that can be mapped, and so no valid argument there. */
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0)
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "%s; Invalid argument", path);
    else if (info.st_size > FILE_MAX)
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "%s; File too large", path);
    else if ((bytes = tn_arena_alloc(arena, (size_t)info.st_size)) == NULL ||
             (n = read(fd, bytes, (size_t)info.st_size)) < 0)
        code = tern_fail(st, TERN_INTERNAL, "%s; cannot be read", path);
    close(fd);
    if (code != TERN_OK)
        return code;
    if (tn_batch_params_parse((tn_str){bytes, (size_t)n}, arena, out, &why) != TERN_OK) {
        tn_error("batch", "%s: %s", path, why.message);
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Invalid protobuf file: '%s'", path);
    }
    return TERN_OK;
}

tern_code tn_batch_params_check_threads(const tn_batch_params *p, tern_status *st)
{
    if (!p->has_threads)
        return TERN_OK;
    if (p->num_batch_threads < 1)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "num_batch_threads must be positive; was %lld",
                         (long long)p->num_batch_threads);
    if (p->num_batch_threads > MAX_THREADS)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "num_batch_threads must be %d at most; was %lld",
                         MAX_THREADS, (long long)p->num_batch_threads);
    return TERN_OK;
}

tern_code tn_batch_params_check(const tn_batch_params *p, tern_status *st)
{
    if (p->n_allowed > 0 && p->allowed[p->n_allowed - 1] != p->max_batch_size)
        return tern_fail(
            st, TERN_INVALID_ARGUMENT,
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was %lld; expected %lld",
            (long long)p->allowed[p->n_allowed - 1], (long long)p->max_batch_size);
    if (p->max_batch_size == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "input_batch_size_limit must be positive; was 0 (max_batch_size)");
    if (p->batch_timeout_us < 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "batch_timeout_micros must be non-negative; was %lld",
                         (long long)p->batch_timeout_us);
    if (!p->split)
        return TERN_OK;
    if (p->max_enqueued_batches == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "max_enqueued_batches must be positive; was 0");
    if (p->max_execution_batch_size == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "max_execution_batch_size must be positive; was 0");
    /* As sizes without a sign: -1 is the largest. */
    if ((uint64_t)p->max_batch_size < (uint64_t)p->max_execution_batch_size)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "When enable_large_batch_splitting is true, input_batch_size_limit must be greater "
                         "than or equal to max_execution_batch_size.");
    return TERN_OK;
}

int64_t tn_batch_params_rows(const tn_batch_params *p)
{
    int64_t rows = p->split ? p->max_execution_batch_size : p->max_batch_size;
    return rows < 0 ? INT64_MAX : rows;
}

int64_t tn_batch_params_round(const tn_batch_params *p, int64_t rows)
{
    for (uint32_t i = 0; i < p->n_allowed; i++)
        if (p->allowed[i] >= rows)
            return p->allowed[i];
    return rows;
}
