/*
 * handlers/example/example.c - the smallest handler: text in, the lengths of its lines to the model, JSON
 * out.
 *
 * For a model whose serving_default takes "x" (float, one dimension) and gives "y" of the same length.
 * docs/handlers.md walks through it; the unit tests run it. It uses nothing but include/tern and libc, and
 * any number of threads may call it at once, since nothing changes after attach().
 */
#include <stdlib.h>

#include "tern/handler.h"

enum { LINES_MAX = 100000 };

struct tern_handler {
    const tern_handler_host *host;
};

/* What pre() leaves to post(). */
typedef struct line_list {
    size_t n;
    uint32_t bytes[]; /* length of each line */
} line_list;

static tern_str str(const char *z)
{
    return (tern_str){z, strlen(z)};
}

static tern_code attach(const tern_handler_host *host, const tern_handler_options *options,
                        tern_handler **handler, tern_status *st)
{
    if (options->signatures->n_signatures == 0)
        return tern_fail(st, TERN_FAILED_PRECONDITION, "Handler example: the model has no signature");
    tern_handler *h = malloc(sizeof *h);
    if (h == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Handler example: no memory");
    h->host = host;
    *handler = h;
    return TERN_OK;
}

static void detach(tern_handler *h)
{
    free(h);
}

/* Lines end in \n; the last one may go without. */
static size_t count_lines(tern_str text)
{
    size_t n = text.len > 0 && text.ptr[text.len - 1] != '\n';
    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] == '\n';
    return n;
}

static tern_code pre(tern_handler *h, const tern_handler_request *request, tern_handler_call *call,
                     void **state, tern_status *st)
{
    tern_str text = request->body;
    size_t n = count_lines(text);
    if (n == 0 || n > LINES_MAX)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "The document has %zu lines; 1 to %d are taken", n,
                         LINES_MAX);

    /* What post() needs: the host calls release() with it in the end, whatever happens until then. */
    line_list *lines = malloc(sizeof *lines + n * sizeof lines->bytes[0]);
    if (lines == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for %zu lines", n);
    *state = lines;

    /* The tensor's memory: aligned, counted, and given to the engine as it is. */
    int64_t dims[1] = {(int64_t)n};
    void *data;
    tern_code code = h->host->new_input(call, str("x"), TERN_FLOAT, 1, dims, &data, st);
    if (code != TERN_OK)
        return code;
    float *x = data;
    lines->n = 0;
    size_t start = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.ptr[i] != '\n')
            continue;
        if (lines->n < n) {
            lines->bytes[lines->n] = (uint32_t)(i - start);
            x[lines->n++] = (float)(i - start);
        }
        start = i + 1;
    }
    return TERN_OK;
}

static tern_code post(tern_handler *h, const tern_handler_request *request, tern_handler_call *call,
                      void *state, tern_status *st)
{
    (void)request;
    const line_list *lines = state;
    const tern_tensor *y = h->host->output(call, str("y"));
    if (y == NULL || y->dtype != TERN_FLOAT || y->size != lines->n * sizeof(float))
        return tern_fail(st, TERN_INTERNAL, "The model gave no y with one value for each line");
    const float *values = y->data;
    tern_code code = h->host->write(call, "{\"lines\": [", 11, st);
    for (size_t i = 0; i < lines->n && code == TERN_OK; i++) {
        char item[96];
        int n = snprintf(item, sizeof item, "%s{\"bytes\": %u, \"y\": %.9g}", i > 0 ? ", " : "",
                         lines->bytes[i], (double)values[i]);
        code = h->host->write(call, item, (size_t)n, st);
    }
    if (code == TERN_OK)
        code = h->host->write(call, "]}\n", 3, st);
    return code;
}

static void release(tern_handler *h, void *state)
{
    (void)h;
    free(state);
}

static const tern_handler_api api = {
    .struct_size = sizeof(tern_handler_api),
    .abi_version = TERN_HANDLER_ABI,
    .name = "example",
    .content_types = "text/plain,text/x-lines",
    .attach = attach,
    .detach = detach,
    .pre = pre,
    .post = post,
    .release = release,
};

TERN_EXPORT const tern_handler_api *tern_handler_entry(uint32_t host_abi_version);

const tern_handler_api *tern_handler_entry(uint32_t host_abi_version)
{
    return host_abi_version == TERN_HANDLER_ABI ? &api : NULL;
}
