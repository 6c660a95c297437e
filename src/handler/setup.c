/* handler/setup.c - see handler/setup.h. */
#include "handler/setup.h"

#include <stdlib.h>

#include "codec/base64.h"

#define VARIABLE       "TERN_HANDLER_SETUP_"
#define VARIABLE_BYTES (96u << 10) /* MAX_ARG_STRLEN is 128 kB */
#define VARIABLES_MAX  64
#define ABSENT         UINT32_MAX
#define ITEMS_MAX      (1u << 20)

/* ---- writing ---- */

static void put_u32(tn_buf *out, uint32_t v)
{
    tn_buf_append(out, &v, sizeof v);
}

static void put_i64(tn_buf *out, int64_t v)
{
    tn_buf_append(out, &v, sizeof v);
}

static void put_text(tn_buf *out, tn_str s)
{
    put_u32(out, s.ptr != NULL ? (uint32_t)s.len : ABSENT);
    tn_buf_str(out, s);
}

static void put_ios(tn_buf *out, const tern_io *ios, uint32_t n)
{
    put_u32(out, n);
    for (uint32_t i = 0; i < n; i++) {
        put_text(out, ios[i].name);
        put_text(out, ios[i].tensor_name);
        put_text(out, ios[i].default_tensor);
        put_u32(out, ios[i].dtype);
        put_u32(out, (uint32_t)ios[i].rank);
        for (int32_t k = 0; k < ios[i].rank; k++)
            put_i64(out, ios[i].dims[k]);
    }
}

void tn_setup_write(const tern_handler_options *o, tn_buf *out)
{
    put_text(out, tn_str_from(o->directory));
    put_text(out, o->config);
    put_text(out, o->model);
    put_i64(out, o->version);
    put_i64(out, o->max_body_bytes);
    put_i64(out, o->max_answer_bytes);
    put_i64(out, o->max_tensor_bytes);
    put_text(out, o->signatures->signature_def_map);
    put_u32(out, o->signatures->n_signatures);
    for (uint32_t i = 0; i < o->signatures->n_signatures; i++) {
        const tern_signature *s = &o->signatures->signatures[i];
        put_text(out, s->name);
        put_text(out, s->method_name);
        put_ios(out, s->inputs, s->n_inputs);
        put_ios(out, s->outputs, s->n_outputs);
    }
}

void tn_setup_write_head(const tern_handler_request *r, tn_buf *out)
{
    put_text(out, r->content_type);
    put_text(out, r->accept);
    put_text(out, r->custom_attributes);
    put_text(out, r->url);
    put_text(out, r->traceparent);
    put_text(out, r->tracestate);
    put_text(out, r->target);
    put_u32(out, r->n_headers);
    for (uint32_t i = 0; i < r->n_headers; i++) {
        put_text(out, r->headers[i].name);
        put_text(out, r->headers[i].value);
    }
}

size_t tn_setup_head_size(const tern_handler_request *r)
{
    size_t n = 8 * sizeof(uint32_t) + r->content_type.len + r->accept.len + r->custom_attributes.len +
               r->url.len + r->traceparent.len + r->tracestate.len + r->target.len;
    for (uint32_t i = 0; i < r->n_headers; i++)
        n += 2 * sizeof(uint32_t) + r->headers[i].name.len + r->headers[i].value.len;
    return n;
}

/* ---- reading ---- */

typedef struct reader {
    tn_str left;
    tn_arena *arena;
    bool failed; /* too short, or no memory: all that follows is empty */
} reader;

static const char *take(reader *r, size_t n)
{
    if (r->failed || n > r->left.len) {
        r->failed = true;
        return NULL;
    }
    const char *at = r->left.ptr;
    r->left = tn_str_sub(r->left, n, r->left.len);
    return at;
}

static uint32_t get_u32(reader *r)
{
    uint32_t v = 0;
    const char *at = take(r, sizeof v);
    if (at != NULL)
        memcpy(&v, at, sizeof v);
    return v;
}

static int64_t get_i64(reader *r)
{
    int64_t v = 0;
    const char *at = take(r, sizeof v);
    if (at != NULL)
        memcpy(&v, at, sizeof v);
    return v;
}

static tn_str get_text(reader *r)
{
    uint32_t n = get_u32(r);
    if (r->failed || n == ABSENT)
        return TN_STR_NONE;
    const char *at = take(r, n);
    return at != NULL ? (tn_str){at, n} : TN_STR_NONE;
}

/* How many, of things that take at least 4 bytes each; and room for them. */
static void *get_list(reader *r, size_t each, uint32_t *n)
{
    *n = get_u32(r);
    void *list = NULL;
    if (*n <= ITEMS_MAX && *n <= r->left.len)
        list = tn_arena_zalloc(r->arena, *n * each);
    if (r->failed || list == NULL) {
        r->failed = true;
        *n = 0;
    }
    return list;
}

static const int64_t *get_dims(reader *r, int32_t rank)
{
    int64_t *dims = NULL;
    if (rank > TERN_MAX_RANK)
        r->failed = true;
    if (rank <= 0 || r->failed)
        return NULL;
    dims = tn_arena_array(r->arena, (size_t)rank, sizeof *dims);
    if (dims == NULL)
        r->failed = true;
    for (int32_t k = 0; k < rank && dims != NULL; k++)
        dims[k] = get_i64(r);
    return dims;
}

static const tern_io *get_ios(reader *r, uint32_t *n)
{
    tern_io *ios = get_list(r, sizeof *ios, n);
    for (uint32_t i = 0; i < *n && !r->failed; i++) {
        ios[i].name = get_text(r);
        ios[i].tensor_name = get_text(r);
        ios[i].default_tensor = get_text(r);
        ios[i].dtype = (tern_dtype)get_u32(r);
        ios[i].rank = (int32_t)get_u32(r);
        ios[i].dims = get_dims(r, ios[i].rank);
    }
    return ios;
}

static tern_code end_of(const reader *r, const char *what, tern_status *st)
{
    if (!r->failed && r->left.len == 0)
        return TERN_OK;
    return tern_fail(st, TERN_INVALID_ARGUMENT, "%s is not whole, or larger than memory", what);
}

tern_code tn_setup_read(tn_str bytes, tn_arena *arena, tern_handler_options *o, tern_status *st)
{
    reader r = {.left = bytes, .arena = arena};
    *o = (tern_handler_options){.struct_size = sizeof *o};
    o->directory = tn_arena_dup(arena, get_text(&r)).ptr; /* with a NUL */
    o->config = get_text(&r);
    o->model = get_text(&r);
    o->version = get_i64(&r);
    o->max_body_bytes = get_i64(&r);
    o->max_answer_bytes = get_i64(&r);
    o->max_tensor_bytes = get_i64(&r);
    tern_signature_set *set = tn_arena_zalloc(arena, sizeof *set);
    if (set == NULL || o->directory == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for a handler's options");
    set->signature_def_map = get_text(&r);
    tern_signature *list = get_list(&r, sizeof *list, &set->n_signatures);
    for (uint32_t i = 0; i < set->n_signatures && !r.failed; i++) {
        list[i].name = get_text(&r);
        list[i].method_name = get_text(&r);
        list[i].inputs = get_ios(&r, &list[i].n_inputs);
        list[i].outputs = get_ios(&r, &list[i].n_outputs);
    }
    set->signatures = list;
    o->signatures = set;
    return end_of(&r, "What a handler's process is told", st);
}

tern_code tn_setup_read_head(tn_str bytes, tn_arena *arena, tern_handler_request *q, tern_status *st)
{
    reader r = {.left = bytes, .arena = arena};
    *q = (tern_handler_request){.struct_size = sizeof *q};
    q->content_type = get_text(&r);
    q->accept = get_text(&r);
    q->custom_attributes = get_text(&r);
    q->url = get_text(&r);
    q->traceparent = get_text(&r);
    q->tracestate = get_text(&r);
    q->target = get_text(&r);
    tern_handler_header *headers = get_list(&r, sizeof *headers, &q->n_headers);
    for (uint32_t i = 0; i < q->n_headers && !r.failed; i++) {
        headers[i].name = get_text(&r);
        headers[i].value = get_text(&r);
    }
    q->headers = headers;
    return end_of(&r, "The head of a request", st);
}

/* ---- in the environment ---- */

const char **tn_setup_environment(tn_str bytes, const char *const *before, char **texts)
{
    size_t n = 0, k = 0;
    tn_buf coded, all;
    tn_buf_init(&coded, (size_t)VARIABLE_BYTES * VARIABLES_MAX);
    tn_base64_encode(bytes, &coded);
    const size_t parts = coded.len / VARIABLE_BYTES + 1;
    tn_buf_init(&all, coded.len + parts * 64);
    while (before[n] != NULL)
        n++;
    const char **list = coded.failed ? NULL : calloc(n + parts + 1, sizeof *list);
    /* One behind the other in one piece of memory, which must not move once they are pointed at. */
    if (list != NULL && tn_buf_reserve(&all, coded.len + parts * 64) == NULL) {
        free(list);
        list = NULL;
    }
    if (list != NULL) {
        memcpy(list, before, n * sizeof *list);
        for (size_t at = 0; at < coded.len; at += VARIABLE_BYTES) {
            list[n + k] = all.ptr + all.len;
            tn_buf_printf(&all, VARIABLE "%zu=", k++);
            tn_buf_str(&all, tn_str_sub(tn_buf_view(&coded), at, at + VARIABLE_BYTES));
            tn_buf_char(&all, '\0');
        }
    }
    tn_buf_free(&coded);
    if (list == NULL)
        tn_buf_free(&all);
    *texts = list != NULL ? all.ptr : NULL;
    return list;
}

tn_str tn_setup_from_environment(tn_arena *arena)
{
    tn_buf coded;
    tn_str out = TN_STR_NONE;
    char name[64];
    tn_buf_init(&coded, (size_t)VARIABLE_BYTES * VARIABLES_MAX);
    for (int k = 0; k < VARIABLES_MAX; k++) {
        snprintf(name, sizeof name, VARIABLE "%d", k);
        const char *value = getenv(name);
        if (value == NULL)
            break;
        tn_buf_z(&coded, value);
        unsetenv(name);
    }
    char *bytes = coded.len > 0 && !coded.failed ? tn_arena_alloc(arena, tn_base64_room(coded.len)) : NULL;
    size_t length;
    if (bytes != NULL && tn_base64_decode(tn_buf_view(&coded), bytes, &length))
        out = (tn_str){bytes, length};
    tn_buf_free(&coded);
    return out;
}
