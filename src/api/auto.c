/*
 * api/auto.c - see api/auto.h.
 *
 * A request is decoded once, for the reference; the other engines get the same tensors. Signatures are the
 * same by index, since every engine sorts them; where one tells others it is not tried.
 */
#include "api/auto.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "codec/close.h"

enum {
    MAX_ENGINES = 4,
    MAX_TRIALS = 16,    /* requests that are tried */
    MAX_SIGNATURES = 8, /* of those for which inputs are made */
    MAX_TENSORS = 256,  /* inputs or outputs of a signature that is tried */
    MIN_ROUNDS = 5,
    LEAST_ROUNDS = 3, /* where a run takes long */
    MAX_ROUNDS = 40,
    ROWS = 16,           /* of the second request that is made, where only their number is unknown */
    MADE_MAX = 16 << 20, /* bytes of an input that is made */
    ARENA_MAX = 256 << 20
};

/* Parts of --auto_try_ms: for the rounds of one request; a run that takes more is a long one. */
#define TRIAL_PART 25
#define LONG_PART  40
/* What takes more is never run in the caller's thread, so that way is not tried. */
#define BOTH_WAYS_NS (2 * TN_NS_PER_MS)
/* Far more than idle threads of a runtime spin before they sleep. */
#define SPIN_NS (20 * TN_NS_PER_MS)
/* An engine is clearly faster, or slower, when each round's ratio to the reference is below, or above. */
#define CLEARLY_FASTER 0.8
#define CLEARLY_SLOWER 1.1

static const char *const names[] = TN_ENGINES_TRIED;

typedef struct candidate {
    const tn_engine *engine;
    tern_engine_model *loaded;
    const tern_signature_set *signatures;
    int64_t took_ns[MAX_ROUNDS]; /* of the request that is tried, by round */
    double total_us;             /* of all: medians */
    double least, most;          /* of the requests' ratios to the reference */
    double worst;                /* largest difference from the reference, as a part of the largest element */
    bool out;                    /* not loaded, or does not answer as the reference does */
    char why[512];
} candidate;

typedef struct trials {
    const tn_auto_options *options;
    tn_version *version;
    candidate c[MAX_ENGINES]; /* [0]: the reference */
    uint32_t n;
    uint32_t done;      /* requests that were tried */
    bool made;          /* the requests are */
    int64_t longest_ns; /* run of the last one */
    int64_t start_ns, all_ns;
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

/* One run in one way; the shorter of it and *best_ns (0: none yet) stays there. */
static void take_turn(trials *t, candidate *c, const request *q, uint32_t flags, int64_t *best_ns)
{
    tern_tensor outputs[MAX_TENSORS] = {0};
    tern_status st;
    int64_t took;
    if (c->out)
        return;
    if (run(t, c, q, flags, outputs, &took, &st) != TERN_OK) {
        if (c != &t->c[0])
            rule_out(c, st.message);
        return;
    }
    release(outputs, q->n_outputs);
    if (*best_ns == 0 || took < *best_ns)
        *best_ns = took;
}

/*
 * One turn of each engine, in an order that changes; small ones in both ways, of which the faster counts. The
 * first run of a turn does not count, but for long ones: threads of the engine before still spin beside it.
 */
static void turn(trials *t, const request *q, unsigned round)
{
    for (uint32_t i = 0; i < t->n; i++) {
        candidate *c = &t->c[round % 2 == 0 ? i : t->n - 1 - i];
        int64_t *took_ns = &c->took_ns[round];
        int64_t first_ns = 0;
        *took_ns = 0;
        take_turn(t, c, q, 0, &first_ns);
        if (first_ns > SPIN_NS)
            *took_ns = first_ns;
        else
            take_turn(t, c, q, 0, took_ns);
        if (*took_ns < BOTH_WAYS_NS)
            take_turn(t, c, q, TERN_RUN_CALLER_THREAD, took_ns);
    }
    tn_arena_reset(&t->outputs);
}

static bool is_over(const trials *t)
{
    return t->done >= MAX_TRIALS || tn_now_ns() - t->start_ns > t->all_ns ||
           atomic_load_explicit(&t->options->warmup.server->draining, memory_order_relaxed);
}

/* Whether all rounds say the same of each engine. */
static bool is_clear(const trials *t, unsigned rounds)
{
    for (uint32_t i = 1; i < t->n; i++) {
        const candidate *c = &t->c[i];
        bool faster = true, slower = true;
        for (unsigned r = 0; r < rounds && !c->out; r++) {
            double ratio = (double)c->took_ns[r] / (double)t->c[0].took_ns[r];
            faster &= ratio < CLEARLY_FASTER;
            slower &= ratio > CLEARLY_SLOWER;
        }
        if (!faster && !slower)
            return false;
    }
    return true;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double median_us(candidate *c, unsigned rounds)
{
    qsort(c->took_ns, rounds, sizeof c->took_ns[0], by_time);
    return (double)c->took_ns[rounds / 2] / 1e3;
}

static void measure(trials *t, const request *q)
{
    int64_t start = tn_now_ns(), longest = 0;
    unsigned rounds = 0;
    while (rounds < MAX_ROUNDS) {
        int64_t passed = tn_now_ns() - start;
        unsigned least = longest > t->all_ns / LONG_PART ? LEAST_ROUNDS : MIN_ROUNDS;
        if (rounds >= least && (passed > t->all_ns / TRIAL_PART || is_clear(t, rounds)))
            break;
        if (rounds > 0 && is_over(t))
            break;
        turn(t, q, rounds);
        for (uint32_t i = 0; i < t->n; i++)
            if (!t->c[i].out && t->c[i].took_ns[rounds] > longest)
                longest = t->c[i].took_ns[rounds];
        rounds++;
    }
    t->longest_ns = longest;
    const double reference_us = median_us(&t->c[0], rounds);
    for (uint32_t i = 0; i < t->n; i++) {
        candidate *c = &t->c[i];
        if (c->out || reference_us <= 0)
            continue;
        /* Sorted by median_us(): [0] is the best, which other work on the machine disturbs least. */
        const double median = i == 0 ? 1 : median_us(c, rounds) / reference_us;
        const double best = (double)c->took_ns[0] / (double)t->c[0].took_ns[0];
        const double ratio = best > median ? best : median, us = ratio * reference_us;
        c->total_us += us;
        tn_debug("engine", "request %u: %s: %.1f us, %u rounds", t->done + 1, names[i], us, rounds);
        c->least = t->done == 0 || ratio < c->least ? ratio : c->least;
        c->most = ratio > c->most ? ratio : c->most;
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

/* An input with its unknown dimensions `rows` (the first) and `size`; false where none can be made. */
static bool make_input(const tern_io *io, int64_t rows, int64_t size, tn_arena *arena, tern_tensor *out)
{
    int64_t dims[TERN_MAX_RANK] = {rows};
    int32_t rank = io->rank < 0 ? 1 : io->rank;
    int64_t bytes = 16;
    tern_status st;
    for (int32_t d = 0; d < rank; d++) {
        dims[d] = io->rank >= 0 && io->dims[d] >= 0 ? io->dims[d] : d == 0 ? rows : size;
        if (dims[d] > 0 && bytes > MADE_MAX / dims[d])
            return false;
        bytes *= dims[d] > 0 ? dims[d] : 1;
    }
    if (io->dtype == TERN_STRING || tn_tensor_new(out, io->dtype, rank, dims, arena, &st) != TERN_OK)
        return false;
    fill(out);
    return true;
}

/* Whether it was tried. */
static bool try_made(trials *t, uint32_t index, int64_t rows, int64_t size, tn_arena *arena)
{
    const tern_signature *s = &t->version->signatures->signatures[index];
    tern_tensor inputs[MAX_TENSORS] = {0};
    uint32_t ids[MAX_TENSORS];
    uint32_t made = 0, before = t->done;
    bool whole = s->n_inputs <= MAX_TENSORS && s->n_outputs <= MAX_TENSORS;
    for (uint32_t i = 0; whole && i < s->n_outputs; i++)
        whole = s->outputs[i].dtype != TERN_INVALID;
    for (uint32_t i = 0; whole && i < s->n_inputs; i++, made += whole)
        whole = make_input(&s->inputs[i], rows, size, arena, &inputs[i]);
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
    return t->done > before;
}

/* Unknown dimensions of its inputs beyond the first: 0, 1 for each of one input, ... */
static unsigned lengths_of(const tern_signature *s)
{
    unsigned most = 0;
    for (uint32_t i = 0; i < s->n_inputs; i++) {
        unsigned n = 0;
        for (int32_t d = 1; d < s->inputs[i].rank; d++)
            n += s->inputs[i].dims[d] < 0;
        most = n > most ? n : most;
    }
    return most;
}

static int64_t peak_bytes(void)
{
    struct rusage used;
    return getrusage(RUSAGE_SELF, &used) == 0 ? used.ru_maxrss * INT64_C(1024) : 0;
}

/*
 * Small, then larger, as long as time and memory last: what the last step added to the process's peak may
 * grow with the square of the length, and what is left must hold four times that.
 */
static void try_sizes(trials *t, uint32_t index, tn_arena *arena)
{
    static const int64_t sizes[] = {8, 128, 1024};
    const unsigned lengths = lengths_of(&t->version->signatures->signatures[index]);
    int64_t last_ns = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const int64_t before = peak_bytes();
        const bool tried = lengths == 0 ? i < 2 && try_made(t, index, i == 0 ? 1 : ROWS, 1, arena)
                                        : try_made(t, index, 1, sizes[i], arena);
        if (!tried || t->longest_ns > t->all_ns / LONG_PART)
            return;
        int64_t growth = 8;
        for (unsigned k = 1; k < lengths; k++)
            growth *= 8;
        if (last_ns > 0 && t->longest_ns / last_ns > growth)
            growth = t->longest_ns / last_ns;
        last_ns = t->longest_ns;
        if ((peak_bytes() - before) > tn_memory_left() / 4 / growth)
            return;
    }
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
    t->made = true;
    tn_arena_init(&arena, ARENA_MAX);
    for (uint32_t i = 0; i < set->n_signatures && i < MAX_SIGNATURES; i++)
        try_sizes(t, i, &arena);
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
        if (!t->c[i].out && t->c[i].total_us < limit && !(t->made && t->c[i].most > TN_AUTO_LOSS)) {
            best = i;
            limit = t->c[i].total_us;
        }
    return best;
}

static void log_table(const trials *t, uint32_t chosen)
{
    const tn_version *v = t->version;
    tn_info("engine", "%.*s version %lld: %s of %u engines, after %u %srequests on each", TN_FMT(v->model),
            (long long)v->number, names[chosen], t->n, t->done, t->made ? "made " : "");
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
            tn_info("engine", "    %s: %.1f us, %.2f (%.2f to %.2f) of %s's, differs by %.1e%s", names[i],
                    c->total_us, c->total_us / t->c[0].total_us, c->least, c->most, TN_ENGINE_REFERENCE,
                    c->worst, kept);
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
    t->all_ns = options->warmup.server->limits.auto_try_ms * TN_NS_PER_MS;
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
