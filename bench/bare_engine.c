/*
 * bench/bare_engine.c - the limit: a model run through its engine with nothing around it.
 *
 *   bare_engine ENGINE MODEL_DIR REQUEST...
 *
 * Each REQUEST is a file with a serialized tensorflow.serving.PredictRequest, decoded once into tensors. Then
 * for every line "N" on standard input the N-th request (from 0) is run once, with the signature's all
 * outputs, and the microseconds it took are printed on a line; "N S" runs it S times and prints their mean.
 * So a benchmark can interleave it with servers.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "codec/pb_predict.h"
#include "engine/engine.h"

#define MAX_REQUESTS 64
#define MAX_FILE     (INT64_C(1) << 30)

typedef struct prepared {
    const tern_signature *signature;
    tn_predict inputs;
    uint32_t *outputs;
    uint32_t n_outputs;
} prepared;

static void fail(const char *what, const tern_status *st)
{
    fprintf(stderr, "bare_engine: %s%s%s\n", what, st != NULL ? ": " : "", st != NULL ? st->message : "");
    exit(1);
}

static tn_str read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    tn_buf b;
    tn_buf_init(&b, (size_t)MAX_FILE);
    if (f == NULL)
        fail(path, NULL);
    for (;;) {
        char *room = tn_buf_reserve(&b, 1 << 20);
        size_t n = room != NULL ? fread(room, 1, 1 << 20, f) : 0;
        if (n == 0)
            break;
        tn_buf_commit(&b, n);
    }
    fclose(f);
    return tn_buf_view(&b);
}

static void prepare(prepared *p, const char *path, const tern_signature_set *set, tn_arena *arena)
{
    const tn_pb_predict_limits limits = {.max_tensor_bytes = MAX_FILE, .max_inputs = 1024};
    tern_status st;
    tn_str bytes = read_file(path);
    tn_pb_predict_reader *r = tn_pb_predict_new(&limits, arena);
    if (r == NULL || tn_pb_predict_feed(r, bytes.ptr, bytes.len, &st) != TERN_OK ||
        tn_pb_predict_finish(r, &st) != TERN_OK)
        fail(path, r != NULL ? &st : NULL);
    tn_str name = tn_pb_predict_spec(r)->signature_name;
    p->signature = tn_signatures_find(set, name.len > 0 ? name : TN_STR("serving_default"));
    if (p->signature == NULL)
        fail("the model has no such signature", NULL);
    if (tn_pb_predict_bind(r, p->signature, arena, &p->inputs, &p->outputs, &p->n_outputs, &st) != TERN_OK)
        fail(path, &st);
    free((void *)(uintptr_t)bytes.ptr);
}

static int64_t run_once(const tn_engine *e, tern_engine_model *model, const prepared *p)
{
    tern_tensor outputs[64] = {0};
    tern_status st;
    tn_arena arena;
    tn_arena_init(&arena, 1u << 20);
    const tern_run run = {.struct_size = sizeof run,
                          .signature = p->signature,
                          .inputs = p->inputs.inputs,
                          .input_ids = p->inputs.input_ids,
                          .n_inputs = p->inputs.n_inputs,
                          .n_outputs = p->n_outputs,
                          .output_ids = p->outputs,
                          .outputs = outputs,
                          .alloc = tn_arena_alloc_fn,
                          .alloc_context = &arena};
    int64_t start = tn_now_ns();
    if (e->api->run(model, &run, &st) != TERN_OK)
        fail("run", &st);
    int64_t took = tn_now_ns() - start;
    for (uint32_t i = 0; i < p->n_outputs; i++)
        tn_tensor_release(&outputs[i]);
    tn_arena_free(&arena);
    return took;
}

static void serve(const tn_engine *e, tern_engine_model *model, const prepared *requests, int n)
{
    char line[64];
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *end;
        long which = strtol(line, &end, 10), times = strtol(end, NULL, 10);
        int64_t total = 0;
        if (which < 0 || which >= n)
            fail("no such request", NULL);
        times = times > 0 ? times : 1;
        for (long i = 0; i < times; i++)
            total += run_once(e, model, &requests[which]);
        printf("%.3f\n", (double)total / (double)times / 1e3);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    static prepared requests[MAX_REQUESTS];
    const tn_str serve_tag = TN_STR("serve");
    const bool one = getenv("BARE_ENGINE_ONE_THREAD") != NULL; /* inside an operation */
    const tn_engines_config config = {
        .path = getenv("TERN_ENGINE_PATH"),
        .options = {.struct_size = sizeof(tern_engine_options), .intra_op_threads = one ? 1 : 0}};
    const tn_engine *e = NULL;
    tern_engine_model *model;
    tern_status st;
    tn_arena arena;
    int n = argc - 3;
    if (n < 1 || n > MAX_REQUESTS)
        fail("usage: bare_engine ENGINE MODEL_DIR REQUEST...", NULL);
    tn_engines *engines = tn_engines_new(&config);
    if (engines == NULL || tn_engines_get(engines, tn_str_from(argv[1]), &e, &st) != TERN_OK)
        fail(argv[1], engines != NULL ? &st : NULL);
    const tern_load_options load = {
        .struct_size = sizeof load, .directory = argv[2], .tags = &serve_tag, .n_tags = 1};
    if (e->api->load(e->self, &load, &model, &st) != TERN_OK)
        fail(argv[2], &st);
    tn_arena_init(&arena, 64u << 20);
    for (int i = 0; i < n; i++)
        prepare(&requests[i], argv[3 + i], e->api->signatures(model), &arena);
    serve(e, model, requests, n);
    for (int i = 0; i < n; i++)
        tn_predict_release(&requests[i].inputs);
    tn_arena_free(&arena);
    e->api->unload(model);
    tn_engines_free(engines);
    return 0;
}
