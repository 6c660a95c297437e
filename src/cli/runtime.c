/* cli/runtime.c - what SageMaker's runtime API needs, out of its flags. See cli/parts.h. */
#include "base/beneath.h"
#include "cli/parts.h"

#define MAX_CONCURRENCY 1000

/* "s3://bucket/prefix" -> "bucket/prefix". */
static tern_code place(const char *flag, const char *value, tn_str *path, tern_status *st)
{
    tn_str text = tn_str_from(value);
    *path = TN_STR_NONE;
    if (text.len == 0)
        return TERN_OK;
    *path = tn_str_sub(text, 5, text.len);
    if (path->len > 0 && path->ptr[path->len - 1] == '/')
        path->len--;
    if (!tn_str_starts(text, TN_STR("s3://")) || !tn_beneath_is_good(*path))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--%s=%s: use s3://BUCKET/PREFIX", flag, value);
    return TERN_OK;
}

static tern_code make_async(tn_parts *p, tern_status *st)
{
    const tn_options *o = &p->o;
    tn_server *s = &p->server;
    tn_async_options options = {.folder = o->async_dir,
                                .workers = (int32_t)o->async_concurrency,
                                .max_queue = s->limits.max_async_queue};
    tern_code code = place("async_output", o->async_output, &options.output, st);
    if (code == TERN_OK)
        code = place("async_failure", o->async_failure, &options.failure, st);
    if (code == TERN_OK && (o->async_concurrency < 1 || o->async_concurrency > MAX_CONCURRENCY))
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "--async_concurrency=%lld: use 1 to %d",
                         (long long)o->async_concurrency, MAX_CONCURRENCY);
    if (code == TERN_OK && o->async_dir[0] != '\0')
        code = tn_async_new(s, &options, &s->async, st);
    return code;
}

static tern_code make_capture(tn_parts *p, tern_status *st)
{
    const tn_options *o = &p->o;
    const tn_limits *limits = &p->server.limits;
    tn_capture_settings *settings = &p->capture;
    if (!(o->data_capture_percent >= 0 && o->data_capture_percent <= 100))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--data_capture_percent=%g: use 0 to 100",
                         o->data_capture_percent);
    if (o->data_capture_dir[0] == '\0')
        return TERN_OK;
    settings->share = o->data_capture_percent / 100;
    settings->csv_types = tn_str_from(o->data_capture_csv_types);
    settings->json_types = tn_str_from(o->data_capture_json_types);
    tern_code code = tn_capture_new(o->data_capture_dir, (size_t)limits->max_capture_queue_bytes,
                                    (size_t)limits->max_capture_file_bytes, &settings->writer, st);
    if (code == TERN_OK)
        p->server.capture = settings;
    return code;
}

tern_code tn_parts_runtime(tn_parts *p, tern_status *st)
{
    tern_code code = make_capture(p, st);
    return code == TERN_OK ? make_async(p, st) : code;
}
