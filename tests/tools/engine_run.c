/*
 * engine_run.c - tries an engine without a server: loads a version folder, tells its signatures and runs
 * them.
 *
 *   engine_run [--path=FOLDERS] [--runs=N] [--cycles=N] ENGINE VERSION_FOLDER [SIGNATURE]
 *
 * Inputs are zeros (strings: empty), unknown dimensions 1 and an unknown rank a vector of 1; an input that
 * asks for other values makes the run fail, and the engine's words are printed. "no copy" stands at an output
 * that lies in the memory of an input. --runs: microseconds a run (median of N) as it is, in the caller's
 * thread, and with a timeout. --cycles: loads, runs once and unloads N times; memory of the process (RSS)
 * after each. Exit 1 when anything failed. One thread.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "tensor/tensor.h"

enum { IOS_MAX = 64 };

typedef struct session {
    const tn_engine *engine;
    const char *directory;
    tn_str only; /* signature, or absent: all */
    tern_engine_model *model;
    const tern_signature_set *set;
} session;

typedef struct one_run {
    tn_arena arena;
    tern_run run;
    uint32_t ids[IOS_MAX];
    tern_tensor inputs[IOS_MAX];
    tern_tensor outputs[IOS_MAX];
} one_run;

static tern_code load(session *s, tern_status *st)
{
    const tern_str serve = TN_STR("serve");
    const tern_load_options options = {
        .struct_size = sizeof options, .directory = s->directory, .tags = &serve, .n_tags = 1};
    tern_code code = s->engine->api->load(s->engine->self, &options, &s->model, st);
    if (code == TERN_OK)
        s->set = s->engine->api->signatures(s->model);
    return code;
}

static bool wanted(const session *s, const tern_signature *signature)
{
    return s->only.ptr == NULL || tn_str_eq(s->only, signature->name);
}

static tern_code make_input(one_run *r, const tern_io *io, tern_tensor *t, tern_status *st)
{
    int64_t dims[TERN_MAX_RANK] = {1};
    int32_t rank = io->rank >= 0 ? io->rank : 1;
    for (int32_t i = 0; i < io->rank; i++)
        dims[i] = io->dims[i] >= 0 ? io->dims[i] : 1;
    tern_code code = io->dtype == TERN_STRING ? tn_tensor_new_string(t, rank, dims, 0, &r->arena, st)
                                              : tn_tensor_new(t, io->dtype, rank, dims, &r->arena, st);
    if (code == TERN_OK)
        memset(t->data, 0, t->size);
    return code;
}

static void give_back(tern_tensor *tensors, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        tn_tensor_release(&tensors[i]);
}

static void finish(one_run *r)
{
    give_back(r->inputs, r->run.n_inputs);
    give_back(r->outputs, r->run.n_outputs);
    tn_arena_free(&r->arena);
}

static tern_code prepare(one_run *r, const tern_signature *s, tern_status *st)
{
    memset(r, 0, sizeof *r);
    tn_arena_init(&r->arena, 64u << 20);
    if (s->n_inputs > IOS_MAX || s->n_outputs > IOS_MAX)
        return tern_fail(st, TERN_UNIMPLEMENTED, "more than %d inputs or outputs", IOS_MAX);
    for (uint32_t i = 0; i < IOS_MAX; i++)
        r->ids[i] = i;
    r->run = (tern_run){
        .struct_size = sizeof r->run,
        .signature = s,
        .inputs = r->inputs,
        .input_ids = r->ids,
        .n_inputs = s->n_inputs,
        .n_outputs = s->n_outputs,
        .output_ids = r->ids,
        .outputs = r->outputs,
        .alloc = tn_arena_alloc_fn,
        .alloc_context = &r->arena,
    };
    for (uint32_t i = 0; i < s->n_inputs; i++) {
        tern_code code = make_input(r, &s->inputs[i], &r->inputs[i], st);
        if (code != TERN_OK)
            return code;
    }
    return TERN_OK;
}

/* ---- telling ---- */

static void print_shape(int32_t rank, const int64_t *dims)
{
    if (rank < 0)
        printf(" ?");
    else
        printf(" [");
    for (int32_t i = 0; i < rank; i++)
        printf("%s%" PRId64, i > 0 ? "," : "", dims[i]);
    printf(rank < 0 ? "" : "]");
}

static void print_io(const char *what, const tern_io *io)
{
    const char *name = tn_dtype_name(io->dtype);
    printf("  %s %.*s: %s", what, TN_FMT(io->name), name != NULL ? name : "no dtype");
    print_shape(io->rank, io->dims);
    if (io->tensor_name.len > 0)
        printf("  %.*s", TN_FMT(io->tensor_name));
    putchar('\n');
}

static void print_output(const one_run *r, uint32_t i)
{
    const tern_tensor *t = &r->outputs[i];
    const char *name = tn_dtype_name(t->dtype);
    printf("  ran, %.*s: %s", TN_FMT(r->run.signature->outputs[i].name), name != NULL ? name : "no dtype");
    print_shape(t->rank, t->dims);
    printf(" %zu bytes", t->size);
    for (uint32_t k = 0; k < r->run.n_inputs; k++) {
        if (t->size > 0 && t->data == r->inputs[k].data)
            printf(", no copy of %.*s", TN_FMT(r->run.signature->inputs[k].name));
    }
    putchar('\n');
}

/* ---- measuring ---- */

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_times(session *s, one_run *r, int runs)
{
    static const struct {
        const char *name;
        uint32_t flags;
        int64_t timeout_us;
    } ways[] = {
        {"as it is", 0, 0},
        {"caller's thread", TERN_RUN_CALLER_THREAD, 0},
        {"timeout", 0, 60000000},
        {"caller's thread, timeout", TERN_RUN_CALLER_THREAD, 60000000},
    };
    enum { WAYS = sizeof ways / sizeof ways[0] };
    int64_t *took = calloc((size_t)runs * WAYS, sizeof *took);
    tern_status st;
    if (took == NULL)
        return;
    /* In turn, so that the machine's mood meets all alike. */
    for (int i = 0; i < runs * WAYS; i++) {
        r->run.flags = ways[i % WAYS].flags;
        r->run.timeout_us = ways[i % WAYS].timeout_us;
        int64_t start = tn_now_ns();
        if (s->engine->api->run(s->model, &r->run, &st) != TERN_OK)
            printf("  failed: %s\n", st.message);
        took[i % WAYS * runs + i / WAYS] = tn_now_ns() - start;
        give_back(r->outputs, r->run.n_outputs);
    }
    for (size_t k = 0; k < WAYS; k++) {
        int64_t *of = took + k * (size_t)runs;
        qsort(of, (size_t)runs, sizeof *of, by_size);
        printf("  %s: %.2f us (p10 %.2f, p90 %.2f)\n", ways[k].name, (double)of[runs / 2] / 1e3,
               (double)of[runs / 10] / 1e3, (double)of[runs * 9 / 10] / 1e3);
    }
    free(took);
}

static long resident_kb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    if (f != NULL)
        fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* ---- doing ---- */

/* An operation without a value, as SavedModels have one to initialize themselves. */
static bool has_no_value(const tern_signature *signature)
{
    for (uint32_t i = 0; i < signature->n_outputs; i++) {
        if (signature->outputs[i].dtype == TERN_INVALID)
            return true;
    }
    return false;
}

/* Runs the signature once, tells of it when `tell`, measures when runs > 0. */
static bool try_signature(session *s, const tern_signature *signature, bool tell, int runs)
{
    static one_run r;
    tern_status st;
    for (uint32_t i = 0; tell && i < signature->n_inputs; i++)
        print_io("input", &signature->inputs[i]);
    for (uint32_t i = 0; tell && i < signature->n_outputs; i++)
        print_io("output", &signature->outputs[i]);
    if (has_no_value(signature)) {
        if (tell)
            puts("  not run: an output has no dtype");
        return true;
    }
    tern_code code = prepare(&r, signature, &st);
    if (code == TERN_OK)
        code = s->engine->api->run(s->model, &r.run, &st);
    if (code != TERN_OK)
        printf("  failed with code %d: %.*s\n", (int)code, (int)st.length, st.message);
    for (uint32_t i = 0; tell && code == TERN_OK && i < signature->n_outputs; i++)
        print_output(&r, i);
    if (code == TERN_OK && runs > 0) {
        give_back(r.outputs, r.run.n_outputs);
        print_times(s, &r, runs);
    }
    finish(&r);
    return code == TERN_OK;
}

static bool try_model(session *s, bool tell, int runs)
{
    tern_status st;
    uint32_t tried = 0;
    bool good = true;
    int64_t start = tn_now_ns();
    if (load(s, &st) != TERN_OK) {
        printf("cannot load: %.*s\n", (int)st.length, st.message);
        return false;
    }
    if (tell)
        printf("loaded in %.1f ms, %" PRIu64 " bytes\n", (double)(tn_now_ns() - start) / 1e6,
               s->engine->api->memory_use(s->model));
    for (uint32_t i = 0; i < s->set->n_signatures; i++) {
        const tern_signature *signature = &s->set->signatures[i];
        if (!wanted(s, signature))
            continue;
        tried++;
        if (tell)
            printf("%.*s %.*s\n", TN_FMT(signature->name), TN_FMT(signature->method_name));
        good &= try_signature(s, signature, tell, runs);
    }
    s->engine->api->unload(s->model);
    if (tried == 0)
        printf("there is no such signature\n");
    return good && tried > 0;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: engine_run [--path=FOLDERS] [--runs=N] [--cycles=N] ENGINE VERSION_FOLDER [SIGNATURE]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"path", required_argument, NULL, 'p'},
                                            {"runs", required_argument, NULL, 'r'},
                                            {"cycles", required_argument, NULL, 'c'},
                                            {0}};
    tn_engines_config config = {.path = NULL};
    int64_t runs = 0, cycles = 0;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'p')
            config.path = optarg;
        else if ((o != 'r' && o != 'c') || !tn_str_i64(tn_str_from(optarg), o == 'r' ? &runs : &cycles) ||
                 runs < 0 || runs > 1000000)
            return usage();
    }
    if (argc - optind < 2 || argc - optind > 3)
        return usage();
    session s = {.directory = argv[optind + 1],
                 .only = tn_str_from(argc - optind == 3 ? argv[optind + 2] : NULL)};
    tn_engines *engines = tn_engines_new(&config);
    tern_status st;
    if (engines == NULL || tn_engines_get(engines, tn_str_from(argv[optind]), &s.engine, &st) != TERN_OK) {
        fprintf(stderr, "%s\n", engines != NULL ? st.message : "no memory");
        tn_engines_free(engines);
        return 1;
    }
    if (!s.engine->api->probe(s.engine->self, s.directory))
        printf("%s does not look like a model of this engine\n", s.directory);
    bool good = try_model(&s, true, (int)runs);
    for (int64_t i = 1; good && i <= cycles; i++) {
        good = try_model(&s, false, 0);
        printf("after %" PRId64 ": %ld kB\n", i, resident_kb());
    }
    tn_engines_free(engines);
    return good ? 0 : 1;
}
