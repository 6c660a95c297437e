/*
 * api/auto.c - see api/auto.h.
 *
 * A request is decoded once, for the reference; the other engines get the same tensors. Signatures are the
 * same by index, since every engine sorts them; where one tells others it is not tried.
 */
#include "api/auto.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "codec/close.h"

enum {
    MAX_ENGINES = 4,
    MAX_TRIALS = 16,    /* requests that are tried */
    MAX_SIGNATURES = 8, /* of those for which inputs are made */
    MAX_TENSORS = 256,  /* inputs or outputs of a signature that is tried */
    MIN_ROUNDS = 4,     /* two in each way */
    MAX_ROUNDS = 40,
    MADE_MAX = 16 << 20, /* bytes of an input that is made */
    ARENA_MAX = 256 << 20
};

/* Of one request for all engines, after MIN_ROUNDS; and of all requests. */
#define TRIAL_NS (400 * TN_NS_PER_MS)
#define ALL_NS   (10000 * TN_NS_PER_MS)

static const char *const names[] = TN_ENGINES_TRIED;

typedef struct candidate {
    const tn_engine *engine;
    tern_engine_model *loaded;
    const tern_signature_set *signatures;
    int64_t best_ns[2]; /* of the request that is tried, by way */
    double total_us;    /* of all */
    double worst;       /* largest difference from the reference, as a part of the largest element */
    bool out;           /* not loaded, or does not answer as the reference does */
    char why[512];
} candidate;

typedef struct trials {
    const tn_auto_options *options;
    tn_version *version;
    candidate c[MAX_ENGINES]; /* [0]: the reference */
    uint32_t n;
    uint32_t done; /* requests that were tried */
    int64_t start_ns;
    tn_arena outputs; /* of one request */
} trials;

/* One request. Tensors are borrowed. */
typedef struct request {
    uint32_t signature; /* index */
    const tern_tensor *inputs;
    const uint32_t *input_ids;
    uint32_t n_inputs;
    const uint32_t *output_ids;
    uint32_t n_outputs;
} request;

static void rule_out(candidate *c, const char *why)
{
    c->out = true;
    snprintf(c->why, sizeof c->why, "%s", why);
}

/* ---- running ---- */

/* outputs: n_outputs of them, filled on success. *took_ns: of the run. */
static tern_code run(trials *t, const candidate *c, const request *q, uint32_t flags, tern_tensor *outputs,
                     int64_t *took_ns, tern_status *st)
{
    const tern_run run = {
        .struct_size = sizeof run,
        .flags = flags,
        .signature = &c->signatures->signatures[q->signature],
        .inputs = q->inputs,
        .input_ids = q->input_ids,
        .n_inputs = q->n_inputs,
        .n_outputs = q->n_outputs,
        .output_ids = q->output_ids,
        .outputs = outputs,
        .alloc = tn_arena_alloc_fn,
        .alloc_context = &t->outputs,
    };
    int64_t start = tn_now_ns();
    tern_code code = c->engine->api->run(c->loaded, &run, st);
    *took_ns = tn_now_ns() - start;
    return code;
}

static void release(tern_tensor *outputs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        tn_tensor_release(&outputs[i]);
}

/* Whether this engine answers the request as the reference did; else it is out. */
static void compare(trials *t, candidate *c, const request *q, const tern_tensor *want)
{
    tern_tensor got[MAX_TENSORS] = {0};
    tern_status st;
    int64_t took;
    if (run(t, c, q, 0, got, &took, &st) != TERN_OK) {
        rule_out(c, st.message);
        return;
    }
    for (uint32_t i = 0; i < q->n_outputs && !c->out; i++) {
        const tern_io *io = &c->signatures->signatures[q->signature].outputs[q->output_ids[i]];
        char why[256];
        if (tn_close(&got[i], &want[i], &c->worst))
            continue;
        snprintf(why, sizeof why, "output %.*s differs from %s's", TN_FMT(io->name), TN_ENGINE_REFERENCE);
        rule_out(c, why);
    }
    release(got, q->n_outputs);
}

/* One turn of each engine. */
static void turn(trials *t, const request *q, unsigned way)
{
    for (uint32_t i = 0; i < t->n; i++) {
        candidate *c = &t->c[i];
        tern_tensor outputs[MAX_TENSORS] = {0};
        tern_status st;
        int64_t took;
        if (c->out)
            continue;
        if (run(t, c, q, way == 0 ? 0 : TERN_RUN_CALLER_THREAD, outputs, &took, &st) != TERN_OK) {
            rule_out(c, st.message);
            continue;
        }
        release(outputs, q->n_outputs);
        if (c->best_ns[way] == 0 || took < c->best_ns[way])
            c->best_ns[way] = took;
    }
}

static bool is_over(const trials *t)
{
    return t->done >= MAX_TRIALS || tn_now_ns() - t->start_ns > ALL_NS ||
           atomic_load_explicit(&t->options->warmup.server->draining, memory_order_relaxed);
}

static void measure(trials *t, const request *q)
{
    int64_t start = tn_now_ns();
    for (uint32_t i = 0; i < t->n; i++)
        memset(t->c[i].best_ns, 0, sizeof t->c[i].best_ns);
    for (unsigned round = 0; round < MAX_ROUNDS; round++) {
        if (round >= MIN_ROUNDS && tn_now_ns() - start > TRIAL_NS)
            break;
        turn(t, q, round % 2);
        tn_arena_reset(&t->outputs);
    }
    for (uint32_t i = 0; i < t->n; i++) {
        const int64_t *best = t->c[i].best_ns;
        t->c[i].total_us += (double)(best[0] < best[1] ? best[0] : best[1]) / 1e3;
    }
}

/* What the reference refuses says nothing of the others. */
static void try(trials *t, const request *q)
{
    tern_tensor want[MAX_TENSORS] = {0};
    tern_status st;
    int64_t took;
    if (is_over(t) || q->n_outputs > MAX_TENSORS || q->n_outputs == 0)
        return;
    if (run(t, &t->c[0], q, 0, want, &took, &st) != TERN_OK) {
        tn_debug("engine", "%s refuses a request that was to be tried: %s", TN_ENGINE_REFERENCE, st.message);
        return;
    }
    for (uint32_t i = 1; i < t->n; i++)
        if (!t->c[i].out)
            compare(t, &t->c[i], q, want);
    release(want, q->n_outputs);
    measure(t, q);
    t->done++;
}

/* ---- requests ---- */

static tern_code try_record(void *context, tn_call *call, tern_status *st)
{
    trials *t = context;
    (void)st;
    const request q = {.signature = (uint32_t)(call->signature - t->version->signatures->signatures),
                       .inputs = call->inputs,
                       .input_ids = call->input_ids,
                       .n_inputs = call->n_inputs,
                       .output_ids = call->output_ids,
                       .n_outputs = call->n_outputs};
    try(t, &q);
    return TERN_OK;
}

/* Floats in [-1, 1), which repeat from start to start; integers and booleans 0 and 1. */
static void fill(tern_tensor *t)
{
    int64_t n = tn_tensor_count(t);
    size_t width = n > 0 ? t->size / (size_t)n : 0;
    uint32_t state = 2463534242u;
    memset(t->data, 0, t->size);
    for (int64_t i = 0; i < n; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        if (t->dtype == TERN_FLOAT)
            ((float *)t->data)[i] = (float)(int32_t)state * 0x1p-31f;
        else if (t->dtype == TERN_DOUBLE)
            ((double *)t->data)[i] = (double)(int32_t)state * 0x1p-31;
        else if (t->dtype == TERN_HALF || t->dtype == TERN_BFLOAT16)
            ((uint16_t *)t->data)[i] = t->dtype == TERN_HALF ? 0x3800 : 0x3F00; /* 0.5 */
        else if (t->dtype != TERN_COMPLEX64 && t->dtype != TERN_COMPLEX128)
            ((char *)t->data)[(size_t)i * width] = (char)(i & 1);
    }
}

/* An input with its unknown dimensions 1 (the first) and `size`; false where none can be made. */
static bool make_input(const tern_io *io, int64_t size, tn_arena *arena, tern_tensor *out)
{
    int64_t dims[TERN_MAX_RANK] = {1};
    int32_t rank = io->rank < 0 ? 1 : io->rank;
    int64_t bytes = 16;
    tern_status st;
    for (int32_t d = 0; d < rank; d++) {
        dims[d] = io->rank >= 0 && io->dims[d] >= 0 ? io->dims[d] : d == 0 ? 1 : size;
        if (dims[d] > 0 && bytes > MADE_MAX / dims[d])
            return false;
        bytes *= dims[d] > 0 ? dims[d] : 1;
    }
    if (io->dtype == TERN_STRING || tn_tensor_new(out, io->dtype, rank, dims, arena, &st) != TERN_OK)
        return false;
    fill(out);
    return true;
}

static void try_made(trials *t, uint32_t index, int64_t size, tn_arena *arena)
{
    const tern_signature *s = &t->version->signatures->signatures[index];
    tern_tensor inputs[MAX_TENSORS] = {0};
    uint32_t ids[MAX_TENSORS];
    uint32_t made = 0;
    bool whole = s->n_inputs <= MAX_TENSORS && s->n_outputs <= MAX_TENSORS;
    for (uint32_t i = 0; whole && i < s->n_outputs; i++)
        whole = s->outputs[i].dtype != TERN_INVALID;
    for (uint32_t i = 0; whole && i < s->n_inputs; i++, made += whole)
        whole = make_input(&s->inputs[i], size, arena, &inputs[i]);
    for (uint32_t i = 0; i < MAX_TENSORS; i++)
        ids[i] = i;
    const request q = {.signature = index,
                       .inputs = inputs,
                       .input_ids = ids,
                       .n_inputs = s->n_inputs,
                       .output_ids = ids,
                       .n_outputs = s->n_outputs};
    if (whole)
        try(t, &q);
    release(inputs, made);
    tn_arena_reset(arena);
}

static void try_all(trials *t)
{
    tern_status st;
    tn_arena arena;
    const tern_signature_set *set = t->version->signatures;
    if (t->options->records && tn_warmup_each(&t->options->warmup, t->version, try_record, t, &st) != TERN_OK)
        tn_warn("engine", "%.*s version %lld: its warm-up records cannot be tried: %s",
                TN_FMT(t->version->model), (long long)t->version->number, st.message);
    if (t->done > 0)
        return;
    tn_arena_init(&arena, ARENA_MAX);
    for (uint32_t i = 0; i < set->n_signatures && i < MAX_SIGNATURES; i++) {
        try_made(t, i, 8, &arena);
        try_made(t, i, 128, &arena);
    }
    tn_arena_free(&arena);
}

/* ---- choosing ---- */

static bool same_names(const tern_signature_set *a, const tern_signature_set *b)
{
    bool same = a->n_signatures == b->n_signatures;
    for (uint32_t i = 0; same && i < a->n_signatures; i++) {
        const tern_signature *x = &a->signatures[i], *y = &b->signatures[i];
        same = tn_str_eq(x->name, y->name) && x->n_inputs == y->n_inputs && x->n_outputs == y->n_outputs;
    }
    return same;
}

static void load_others(trials *t, const tern_load_options *load)
{
    tern_status st;
    for (uint32_t i = 1; i < t->n; i++) {
        candidate *c = &t->c[i];
        if (tn_engines_get(t->options->engines, tn_str_from(names[i]), &c->engine, &st) != TERN_OK ||
            c->engine->api->load(c->engine->self, load, &c->loaded, &st) != TERN_OK) {
            c->loaded = NULL;
            rule_out(c, st.message);
            continue;
        }
        c->signatures = c->engine->api->signatures(c->loaded);
        if (!same_names(c->signatures, t->c[0].signatures))
            rule_out(c, "its signatures are others");
    }
}

static uint32_t choose(const trials *t)
{
    uint32_t best = 0;
    double limit = t->c[0].total_us * TN_AUTO_WORTH;
    for (uint32_t i = 1; i < t->n && t->done > 0; i++)
        if (!t->c[i].out && t->c[i].total_us < limit) {
            best = i;
            limit = t->c[i].total_us;
        }
    return best;
}

static void log_table(const trials *t, uint32_t chosen)
{
    const tn_version *v = t->version;
    tn_info("engine", "%.*s version %lld: %s of %u engines, after %u requests on each", TN_FMT(v->model),
            (long long)v->number, names[chosen], t->n, t->done);
    for (uint32_t i = 0; i < t->n; i++) {
        const candidate *c = &t->c[i];
        const char *kept = chosen == i ? ", kept" : "";
        if (c->out)
            tn_info("engine", "    %s: not kept: %s", names[i], c->why);
        else if (t->done == 0)
            tn_info("engine", "    %s: no request to try%s", names[i], kept);
        else if (i == 0)
            tn_info("engine", "    %s: %.1f us%s", names[i], c->total_us, kept);
        else
            tn_info("engine", "    %s: %.1f us, %.2f of %s's, differs by %.1e%s", names[i], c->total_us,
                    c->total_us / t->c[0].total_us, TN_ENGINE_REFERENCE, c->worst, kept);
    }
}

tern_code tn_auto_load(const tn_auto_options *options, tn_version *v, const tern_load_options *load,
                       tern_status *st)
{
    trials *t = calloc(1, sizeof *t);
    if (t == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to try engines");
    t->options = options;
    t->version = v;
    t->n = sizeof names / sizeof names[0];
    t->c[0].engine = v->engine;
    t->start_ns = tn_now_ns();
    tern_code code = v->engine->api->load(v->engine->self, load, &t->c[0].loaded, st);
    if (code != TERN_OK) {
        free(t);
        return code;
    }
    v->loaded = t->c[0].loaded;
    v->signatures = t->c[0].signatures = v->engine->api->signatures(v->loaded);
    load_others(t, load);
    bool any = false;
    for (uint32_t i = 1; i < t->n; i++)
        any |= !t->c[i].out;
    tn_arena_init(&t->outputs, ARENA_MAX);
    t->start_ns = tn_now_ns();
    if (any)
        try_all(t);
    tn_arena_free(&t->outputs);
    uint32_t chosen = choose(t);
    log_table(t, chosen);
    for (uint32_t i = 0; i < t->n; i++)
        if (i != chosen && t->c[i].loaded != NULL)
            t->c[i].engine->api->unload(t->c[i].loaded);
    v->engine = t->c[chosen].engine;
    v->loaded = t->c[chosen].loaded;
    free(t);
    return TERN_OK;
}
