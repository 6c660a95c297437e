/*
 * cli/tune.c - `tern tune`: flags, the settings, rounds, which one is chosen. See cli/tune.h.
 *
 * All servers stay up while they are tried and take turns, in an order that changes, so that what else the
 * machine does falls on all of them. The first setting is what a version is served with when nobody says
 * anything: it says what is right, and stays when no other is better by more than BETTER.
 */
#include "cli/tune.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "model/extra.h"

#define ARENA_MAX  ((size_t)4 << 30)
#define BAR        30
#define WARMUP     0.2 /* seconds of a turn that do not count, besides the run that the one before left */
#define TIMEOUT_MS 300000
#define LONGER     8 /* tries to have an answer in time, each 4 times as long as the one before */
#define TOGETHER   8 /* connections where throughput counts */
/* Another setting must be better by more than what measuring is unsure of. */
#define BETTER    0.95

#define AT(field) offsetof(tn_tune_options, field)
static const tn_table_flag flags[] = {
    {"engines", TN_TABLE_TEXT, AT(engines), "tensorflow,openvino",
     "tried; the answers of the first one are what is right"},
    {"data", TN_TABLE_TEXT, AT(data), "FILE",
     "the request: JSON, or a serialized PredictRequest; default: the\n"
     "                            version's warm-up records, else generated ones"},
    {"signature", TN_TABLE_TEXT, AT(signature), "serving_default", "of generated requests"},
    {"batch", TN_TABLE_WHOLE, AT(batch), "1", "rows of generated requests: the first unknown dimension"},
    {"length", TN_TABLE_WHOLE, AT(length), "8, then 128", "their other unknown dimensions"},
    {"objective", TN_TABLE_TEXT, AT(objective), "latency",
     "latency: the least p50; or throughput: the most requests a second"},
    {"budget", TN_TABLE_TEXT, AT(budget), "WHAT", "only settings for which this holds: 'p99<20ms'"},
    {"connections", TN_TABLE_WHOLE, AT(connections), "1",
     "that ask at the same time; default with --objective=throughput: 8"},
    {"rounds", TN_TABLE_WHOLE, AT(rounds), "3", "turns of each setting, at most 25; medians count"},
    {"seconds", TN_TABLE_REAL, AT(seconds), "1", "of each turn"},
    {"dry_run", TN_TABLE_BOOL, AT(dry_run), NULL, "write nothing beside the model"},
    {"json", TN_TABLE_BOOL, AT(json), NULL, "print JSON instead of a table"},
    {"help", TN_TABLE_BOOL, AT(help), NULL, "this text"},
};
static const tn_table table = {"tern tune", flags, sizeof flags / sizeof flags[0]};

#define ONE_THREAD "--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=1"
static const tn_tune_setting settings[] = {
    {.name = "tensorflow", .engine = "tensorflow"},
    {.name = "tensorflow, without oneDNN", .engine = "tensorflow", .environment = "TF_ENABLE_ONEDNN_OPTS=0"},
    {.name = "tensorflow, XLA",
     .engine = "tensorflow",
     .environment = "TF_XLA_FLAGS=--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"},
    {.name = "tensorflow, 1 thread", .engine = "tensorflow", .flags = {ONE_THREAD}},
    {.name = "tensorflow, caller's thread", .engine = "tensorflow", .flags = {"--inline_run_us=2000"}},
    {.name = "tensorflow, batching", .engine = "tensorflow", .together = true, .flags = {"--batching=auto"}},
    {.name = "openvino", .engine = "openvino"},
    {.name = "openvino, 1 thread", .engine = "openvino", .threads = 1},
    {.name = "openvino, batching", .engine = "openvino", .together = true, .flags = {"--batching=auto"}},
};

static volatile sig_atomic_t stopped;

static void on_stop(int number)
{
    stopped = number;
}

static void help(FILE *out)
{
    fputs("usage: tern tune MODEL_DIR [flags]\n\n"
          "Tries engines and settings on a version of a model (the latest, where there are several), and "
          "writes "
          "the\nbest one that answers right into its assets.extra/tern.json, where tern serve finds it.\n\n",
          out);
    tn_table_help(&table, out);
    fputs("\nEach setting is a server of its own while it is tried. See docs/tuning.md\n"
          "Try: tern tune models/half_plus_two --dry-run\n",
          out);
}

/* ---- What is tried ---- */

static bool is_listed(const char *engines, const char *name)
{
    tn_str rest = tn_str_from(engines);
    while (rest.len > 0) {
        ptrdiff_t comma = tn_str_chr(rest, ',');
        if (tn_str_eq(tn_str_sub(rest, 0, comma < 0 ? rest.len : (size_t)comma), tn_str_from(name)))
            return true;
        rest = comma < 0 ? TN_STR_NONE : tn_str_sub(rest, (size_t)comma + 1, rest.len);
    }
    return false;
}

static void add_setting(tn_tune *t, const tn_tune_setting *s)
{
    if (t->n_tries < TN_TUNE_SETTINGS && (!s->together || t->connections > 1))
        t->tries[t->n_tries++] = (tn_tune_try){.setting = *s};
}

/* Engine by engine, in the order of --engines. One that is not in the table is tried as it is. */
static tern_code add_settings(tn_tune *t, tern_status *st)
{
    tn_str rest = tn_str_from(t->o.engines);
    while (rest.len > 0) {
        ptrdiff_t comma = tn_str_chr(rest, ',');
        const char *name =
            tn_arena_printf(&t->arena, "%.*s", comma < 0 ? (int)rest.len : (int)comma, rest.ptr).ptr;
        const unsigned before = t->n_tries;
        rest = comma < 0 ? TN_STR_NONE : tn_str_sub(rest, (size_t)comma + 1, rest.len);
        for (size_t i = 0; name != NULL && i < sizeof settings / sizeof settings[0]; i++)
            if (is_listed(name, settings[i].engine))
                add_setting(t, &settings[i]);
        if (name != NULL && name[0] != '\0' && t->n_tries == before)
            add_setting(t, &(tn_tune_setting){.name = name, .engine = name});
    }
    return t->n_tries > 0
               ? TERN_OK
               : tern_fail(st, TERN_INVALID_ARGUMENT,
                           "--engines=%.100s: names of engines, separated by commas", t->o.engines);
}

static tern_code check(tn_tune *t, tern_status *st)
{
    static const tn_bench_result none;
    tn_bench_result *const results[1] = {(tn_bench_result *)(uintptr_t)&none};
    const tn_bench_result *which;
    bool holds;
    tn_tune_options *o = &t->o;
    t->throughput = strcmp(o->objective, "throughput") == 0;
    if (!t->throughput && strcmp(o->objective, "latency") != 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--objective=%.50s: it is latency or throughput",
                         o->objective);
    if (o->budget[0] != '\0' && tn_bench_condition(o->budget, results, 1, &holds, &which, st) != TERN_OK)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "--budget=%.100s: it is like p99<20ms, of p50, p90, p99, p99.9, mean, max or "
                         "per_second",
                         o->budget);
    if (o->rounds > TN_TUNE_ROUNDS || o->seconds <= 0 || o->connections > 65535)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Use at most %d --rounds, --seconds above 0, and at most 65535 --connections",
                         TN_TUNE_ROUNDS);
    t->connections = o->connections > 0 ? (unsigned)o->connections : t->throughput ? TOGETHER : 1;
    return add_settings(t, st);
}

/* What would fail at the end fails before the work. */
static tern_code check_extra(const tn_tune *t, tern_status *st)
{
    tn_buf text;
    tn_buf_init(&text, 2 * TN_EXTRA_MAX);
    tern_code code = tn_tune_extra(t, &t->tries[0].setting, true, &text, st);
    tn_buf_free(&text);
    return code;
}

/* ---- Progress, on a terminal ---- */

typedef struct show {
    bool on;
    unsigned step, steps;
    const char *what;
} show;

static void show_progress(void *context, double share)
{
    const show *s = context;
    if (!s->on)
        return;
    const double all = (s->step + share) / s->steps;
    const int full = (int)(all * BAR);
    fprintf(stderr, "\r[%.*s%*s] %3.0f %%  %-32s", full, "##############################", BAR - full, "",
            100 * all, s->what);
    fflush(stderr);
}

/* ---- Rounds ---- */

static void rule_out(tn_tune_try *y, const char *why)
{
    y->out = true;
    snprintf(y->why, sizeof y->why, "%s", why);
    tn_tune_stop(y);
}

/*
 * Starts it and compares its answers with the first one's. Asked twice: the first run of a setting may
 * compile.
 */
static void begin(tn_tune *t, tn_tune_try *y, tern_status *st)
{
    const tn_tune_try *first = &t->tries[0];
    const int64_t memory = y == first ? 0 : first->memory;
    tern_code code = TERN_OK;
    if (memory > 0 && tn_memory_left() < 2 * memory)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory left to try it");
    if (code == TERN_OK)
        code = tn_tune_start(t, y, st);
    if (code == TERN_OK && y == first)
        code = tn_tune_requests(t, y, st);
    if (code == TERN_OK)
        code = tn_tune_ask(t, y, st);
    const int64_t start_ns = tn_now_ns();
    if (code == TERN_OK)
        code = tn_tune_ask(t, y, st);
    t->longest_s = fmax(t->longest_s, (double)(tn_now_ns() - start_ns) / TN_NS_PER_S);
    y->memory = tn_tune_memory(y);
    if (code != TERN_OK) {
        rule_out(y, st->message);
        return;
    }
    y->compared = y->equal = true;
    for (unsigned i = 0; i < t->n_requests && y != first; i++)
        y->equal &= tn_tune_same(tn_buf_view(&y->answers[i]), tn_buf_view(&first->answers[i]),
                                 t->requests[i].api != TN_BENCH_GRPC, &y->worst);
}

static void add_result(tn_bench_result *to, const tn_bench_result *from)
{
    to->good += from->good;
    to->errors += from->errors;
    to->seconds += from->seconds;
    tn_hdr_add(&to->latency, &from->latency);
}

/* One request for its part of a turn; longer, where none ended in that time. */
static tern_code measure(const tn_tune *t, tn_tune_try *y, unsigned i, tn_bench_result *sum, show *s,
                         tern_status *st)
{
    tn_bench_options o = {.threads = 1,
                          .timeout_ms = TIMEOUT_MS,
                          .seconds = t->o.seconds / t->n_requests,
                          .warmup = WARMUP / t->n_requests + t->longest_s};
    const tn_bench_step step = {.connections = t->connections};
    tn_bench_target target = t->requests[i];
    tern_code code = TERN_OK;
    target.port = y->port;
    for (unsigned k = 0; k < LONGER && code == TERN_OK; k++, o.seconds *= 4, o.warmup = 0) {
        tn_bench_result *one = NULL;
        code = tn_bench_run(&o, &target, step, show_progress, s, &one, st);
        if (code == TERN_OK && one->errors > 0)
            code = tern_fail(st, TERN_UNKNOWN, "%s", one->error);
        const bool enough = code == TERN_OK && one->good > 0;
        if (enough)
            add_result(sum, one);
        free(one);
        if (enough || stopped)
            return code;
    }
    return code == TERN_OK ? tern_fail(st, TERN_DEADLINE_EXCEEDED, "no request ended in time") : code;
}

/* One turn: each request for its part of the time; each counts as much as another. */
static void take_turn(const tn_tune *t, tn_tune_try *y, show *s)
{
    tn_bench_result *one = calloc(1, sizeof *one);
    tern_status st;
    tern_code code = one != NULL ? TERN_OK : tern_fail(&st, TERN_RESOURCE_EXHAUSTED, "No memory");
    double p50_ms = 0, mean_ms = 0;
    for (unsigned i = 0; i < t->n_requests && code == TERN_OK; i++) {
        memset(one, 0, sizeof *one);
        code = measure(t, y, i, one, s, &st);
        p50_ms += (double)tn_hdr_percentile(&one->latency, 0.5) / 1e6 / t->n_requests;
        mean_ms += tn_hdr_mean(&one->latency) / 1e6 / t->n_requests;
        add_result(&y->all, one);
    }
    if (code != TERN_OK) {
        rule_out(y, st.message);
    } else if (mean_ms > 0) {
        /* In a closed loop the one follows from the other, even where few requests end in the time. */
        y->per_second[y->rounds] = 1000 * t->connections / mean_ms;
        y->p50_ms[y->rounds++] = p50_ms;
    }
    free(one);
}

static void take_turns(tn_tune *t, show *s)
{
    for (int64_t round = 0; round < t->o.rounds; round++) {
        for (unsigned i = 0; i < t->n_tries && !stopped; i++, s->step++) {
            tn_tune_try *y = &t->tries[round % 2 == 0 ? i : t->n_tries - 1 - i];
            s->what = y->setting.name;
            if (!y->out)
                take_turn(t, y, s);
        }
    }
    for (unsigned i = 0; i < t->n_tries; i++) {
        tn_tune_try *y = &t->tries[i];
        if (!y->out && y->rounds == 0)
            rule_out(y, "no request was answered");
        if (!y->out)
            y->memory = tn_tune_memory(y);
    }
}

/* ---- The choice ---- */

/* Smaller is better. */
static double cost(const tn_tune *t, const tn_tune_try *y)
{
    return t->throughput ? 1 / tn_tune_median(y->per_second, y->rounds)
                         : tn_tune_median(y->p50_ms, y->rounds);
}

static tn_tune_try *choose(tn_tune *t)
{
    tn_tune_try *best = NULL;
    tern_status st;
    for (unsigned i = 0; i < t->n_tries; i++) {
        tn_tune_try *y = &t->tries[i];
        tn_bench_result *const results[1] = {&y->all};
        const tn_bench_result *which;
        bool holds = true;
        if (y->out)
            continue;
        if (t->o.budget[0] != '\0' &&
            tn_bench_condition(t->o.budget, results, 1, &holds, &which, &st) != TERN_OK)
            holds = false;
        y->in_budget = holds;
        if (!holds || !y->equal)
            continue;
        const double worth = best == &t->tries[0] ? BETTER : 1;
        if (best == NULL || cost(t, y) < worth * cost(t, best))
            best = y;
    }
    if (best != NULL)
        best->chosen = true;
    return best;
}

/* Exit status. */
static int tell(tn_tune *t, const tn_tune_try *best)
{
    const char *path = NULL;
    tern_status st;
    int status = best != NULL ? 0 : 1;
    if (best != NULL && !t->o.dry_run && tn_tune_write(t, &best->setting, &path, &st) != TERN_OK) {
        fprintf(stderr, "tern tune: %s\n", st.message);
        path = NULL;
        status = 2;
    }
    if (t->o.json)
        tn_tune_json(stdout, t, path);
    else
        tn_tune_print(stdout, t);
    if (!t->o.json && path != NULL)
        printf("Written: %s. A running server takes it when it loads the version again.\n", path);
    else if (!t->o.json && best != NULL && t->o.dry_run)
        printf("Nothing was written (--dry-run).\n");
    return status;
}

static int tune(tn_tune *t)
{
    tern_status st;
    tern_code code = check(t, &st);
    if (code == TERN_OK)
        code = tn_tune_find(t, &st);
    if (code == TERN_OK)
        code = check_extra(t, &st);
    show s = {.on = isatty(STDERR_FILENO) == 1, .steps = t->n_tries * (unsigned)(t->o.rounds + 1)};
    for (unsigned i = 0; i < t->n_tries && code == TERN_OK && !stopped; i++, s.step++) {
        s.what = t->tries[i].setting.name;
        show_progress(&s, 0);
        begin(t, &t->tries[i], &st);
        if (i == 0 && t->tries[0].out)
            code = tern_fail(&st, TERN_FAILED_PRECONDITION, "%s: %s", s.what, t->tries[0].why);
    }
    if (code == TERN_OK)
        take_turns(t, &s);
    for (unsigned i = 0; i < t->n_tries; i++)
        tn_tune_stop(&t->tries[i]);
    if (s.on)
        fputs("\r\033[K", stderr);
    if (code == TERN_OK && stopped)
        return 128 + stopped;
    if (code == TERN_OK)
        return tell(t, choose(t));
    fprintf(stderr, "tern tune: %s\n", st.message);
    return 2;
}

int tn_cli_tune(int argc, char **argv)
{
    tn_tune *t = calloc(1, sizeof *t);
    int status = 2;
    if (t == NULL)
        return 2;
    t->o = (tn_tune_options){.engines = "tensorflow,openvino",
                             .data = "",
                             .signature = "serving_default",
                             .budget = "",
                             .objective = "latency",
                             .batch = 1,
                             .rounds = 3,
                             .seconds = 1};
    if (!tn_table_read(&table, &t->o, &t->o.model, argc, argv))
        goto out;
    if (t->o.help) {
        help(stdout);
        status = 0;
        goto out;
    }
    if (t->o.model == NULL) {
        fputs("tern tune: which model? tern tune MODEL_DIR; see tern tune --help\n", stderr);
        goto out;
    }
    const struct sigaction stop = {.sa_handler = on_stop};
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    tn_arena_init(&t->arena, ARENA_MAX);
    status = tune(t);
    for (unsigned i = 0; i < t->n_tries; i++)
        for (unsigned k = 0; k < TN_TUNE_REQUESTS; k++)
            tn_buf_free(&t->tries[i].answers[k]);
    tn_tune_clean(t);
    tn_arena_free(&t->arena);
out:
    free(t);
    return status;
}
