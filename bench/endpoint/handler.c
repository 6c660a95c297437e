/*
 * bench/endpoint/handler.c - what bench/endpoint/work.py does, in C: the C contestant of bench/sagemaker.py.
 *
 * For the model `text` the document as one string; for `rows` the ids of {"rows": N, "seed": S}. Which of the
 * two it stands before is told by the model's input. Answers are those of the scripts. Any number of threads.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "tern/handler.h"

enum { IDS = 160, VOCAB = 32768, ROWS_MAX = 1000000 };

struct tern_handler {
    const tern_handler_host *host;
    bool rows;
};

static tern_str str(const char *z)
{
    return (tern_str){z, strlen(z)};
}

static bool is(tern_str a, const char *z)
{
    return a.len == strlen(z) && memcmp(a.ptr, z, a.len) == 0;
}

static tern_code attach(const tern_handler_host *host, const tern_handler_options *options,
                        tern_handler **handler, tern_status *st)
{
    const tern_signature *signature = NULL;
    for (uint32_t i = 0; i < options->signatures->n_signatures; i++)
        if (is(options->signatures->signatures[i].name, "serving_default"))
            signature = &options->signatures->signatures[i];
    if (signature == NULL || signature->n_inputs != 1)
        return tern_fail(st, TERN_FAILED_PRECONDITION, "Handler endpoint: this is no model of the bench");
    tern_handler *h = malloc(sizeof *h);
    if (h == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Handler endpoint: no memory");
    h->host = host;
    h->rows = signature->inputs[0].dtype == TERN_INT32;
    *handler = h;
    return TERN_OK;
}

static void detach(tern_handler *h)
{
    free(h);
}

static tern_code pre_rows(tern_handler *h, tern_str body, tern_handler_call *call, tern_status *st)
{
    char text[64];
    long long n, seed;
    void *data;
    snprintf(text, sizeof text, "%.*s", (int)(body.len < sizeof text ? body.len : sizeof text - 1), body.ptr);
    if (sscanf(text, "{\"rows\": %lld, \"seed\": %lld}", &n, &seed) != 2 || n < 1 || n > ROWS_MAX)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Send {\"rows\": N, \"seed\": S}");
    int64_t dims[2] = {n, IDS};
    tern_code code = h->host->new_input(call, str("ids"), TERN_INT32, 2, dims, &data, st);
    int32_t *ids = data;
    for (int64_t i = 0; code == TERN_OK && i < n; i++)
        for (int64_t k = 0; k < IDS; k++) {
            uint64_t base = (uint64_t)(i * 7919 + k * 104729 + seed);
            *ids++ = (int32_t)((base * base + base) % VOCAB);
        }
    return code;
}

static tern_code pre(tern_handler *h, const tern_handler_request *request, tern_handler_call *call,
                     void **state, tern_status *st)
{
    (void)state;
    if (h->rows)
        return pre_rows(h, request->body, call, st);
    int64_t dims[1] = {1};
    return tern_handler_add_strings(h->host, call, str("document"), 1, dims, &request->body, 1, st);
}

static tern_code post(tern_handler *h, const tern_handler_request *request, tern_handler_call *call,
                      void *state, tern_status *st)
{
    (void)request;
    (void)state;
    char text[96];
    int n;
    const tern_tensor *y = h->host->output(call, str(h->rows ? "score" : "length"));
    if (y == NULL || y->size < 4)
        return tern_fail(st, TERN_INTERNAL, "The model gave nothing");
    if (h->rows) {
        const float *score = y->data;
        size_t rows = y->size / sizeof *score;
        double sum = 0;
        for (size_t i = 0; i < rows; i++)
            sum += score[i];
        n = snprintf(text, sizeof text, "{\"mean\": %.9g, \"rows\": %zu}", sum / (double)rows, rows);
    } else {
        n = snprintf(text, sizeof text, "{\"length\": %d}", *(const int32_t *)y->data);
    }
    return h->host->write(call, text, (size_t)n, st);
}

static void release(tern_handler *h, void *state)
{
    (void)h;
    (void)state;
}

static const tern_handler_api api = {
    .struct_size = sizeof(tern_handler_api),
    .abi_version = TERN_HANDLER_ABI,
    .name = "endpoint",
    .content_types = "text/plain,application/x-rows",
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
