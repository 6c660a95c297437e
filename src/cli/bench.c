/*
 * cli/bench.c - `tern bench`: flags, the steps of a sweep, progress, exit status. See cli/bench.h.
 */
#include "cli/bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/table.h"

#define ARENA_MAX   ((size_t)1 << 30)
#define REPORT_MAX  ((size_t)64 << 20)
#define BAR         30
#define CONNECTIONS 65535

#define AT(field)   offsetof(tn_bench_options, field)
static const tn_table_flag flags[] = {
    {"url", TN_TABLE_TEXT, AT(url), "URL",
     "server; default http://localhost:8501, for gRPC http://localhost:8500"},
    {"api", TN_TABLE_TEXT, AT(api), "rest", "rest, grpc, or raw: --data is posted to /models/MODEL/invoke"},
    {"signature", TN_TABLE_TEXT, AT(signature), "serving_default", "of generated requests"},
    {"batch", TN_TABLE_WHOLE, AT(batch), "1", "rows of generated requests: the first unknown dimension"},
    {"length", TN_TABLE_WHOLE, AT(length), "1", "their other unknown dimensions"},
    {"data", TN_TABLE_TEXT, AT(data), "FILE",
     "the request itself: JSON, a serialized PredictRequest, or a document; -: stdin"},
    {"content_type", TN_TABLE_TEXT, AT(content_type), "TYPE",
     "of --data; default application/json, for raw text/html"},
    {"path", TN_TABLE_TEXT, AT(path), "PATH", "ask this path instead, such as /invocations"},
    {"connections", TN_TABLE_TEXT, AT(connections), "1", "open at a time; a list is a sweep: 1,8,64"},
    {"rate", TN_TABLE_TEXT, AT(rate), "0",
     "requests a second, whether answers come or not; a list is a sweep; 0: each\n"
     "                            connection asks again once it is answered"},
    {"poisson", TN_TABLE_BOOL, AT(poisson), NULL, "with --rate: at random distances, as of many users"},
    {"seconds", TN_TABLE_REAL, AT(seconds), "10", "of each step, without the warm-up"},
    {"warmup", TN_TABLE_REAL, AT(warmup), "1", "seconds before it that do not count"},
    {"threads", TN_TABLE_WHOLE, AT(threads), "1", "of this program"},
    {"timeout_ms", TN_TABLE_WHOLE, AT(timeout_ms), "60000", "for one request"},
    {"fail-if", TN_TABLE_TEXTS_, AT(fail_if), "WHAT",
     "exit status 1 if so, in any step: 'p99>20ms', 'errors>0', 'per_second<500'"},
    {"output", TN_TABLE_TEXT, AT(output), "FILE", "write the result as JSON (-o FILE)"},
    {"compare", TN_TABLE_TEXT, AT(compare), "FILE", "show ratios to an earlier --output"},
    {"json", TN_TABLE_BOOL, AT(json), NULL, "print JSON instead of tables"},
    {"help", TN_TABLE_BOOL, AT(help), NULL, "this text"},
};
static const tn_table table = {"tern bench", flags, sizeof flags / sizeof flags[0]};

static void help(FILE *out)
{
    fputs("usage: tern bench MODEL [flags]\n\n"
          "Asks a running server the same question again and again, and says how long the answers take.\n"
          "Without --data the request is generated from the model's signature.\n\n",
          out);
    tn_table_help(&table, out);
    fputs("\nLatency with --rate counts from when a request was due, so a stall of the server shows.\n"
          "Try: tern bench half_plus_two --connections=1,8,64 --seconds=3\n",
          out);
}

/* ---- Flags ---- */

static bool read_arguments(tn_bench_options *o, int argc, char **argv)
{
    if (!tn_table_read(&table, o, &o->model, argc, argv))
        return false;
    if (o->model == NULL && !o->help) {
        fputs("tern bench: which model? tern bench MODEL; see tern bench --help\n", stderr);
        return false;
    }
    return true;
}

/* A list of numbers, separated by commas. */
static tern_code read_list(const char *name, const char *text, double least, double most, double *list,
                           unsigned *n, tern_status *st)
{
    *n = 0;
    for (const char *at = text;; at++) {
        char *end;
        double value = strtod(at, &end);
        if (end == at || (*end != ',' && *end != '\0') || !(value >= least && value <= most) ||
            *n == TN_BENCH_STEPS)
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "--%s=%.100s: numbers from %g to %g, separated by commas", name, text, least,
                             most);
        list[(*n)++] = value;
        at = end;
        if (*end == '\0')
            return TERN_OK;
    }
}

static tern_code read_steps(const tn_bench_options *o, tn_bench_step *steps, unsigned *n, tern_status *st)
{
    double connections[TN_BENCH_STEPS], rates[TN_BENCH_STEPS];
    unsigned n_connections, n_rates;
    tern_code code =
        read_list("connections", o->connections, 1, CONNECTIONS, connections, &n_connections, st);
    if (code == TERN_OK)
        code = read_list("rate", o->rate, 0, 1e7, rates, &n_rates, st);
    if (code == TERN_OK && n_connections * n_rates > TN_BENCH_STEPS)
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "%u steps: at most %d", n_connections * n_rates,
                         TN_BENCH_STEPS);
    *n = 0;
    for (unsigned i = 0; code == TERN_OK && i < n_connections; i++)
        for (unsigned k = 0; k < n_rates; k++)
            steps[(*n)++] = (tn_bench_step){.connections = (unsigned)connections[i], .rate = rates[k]};
    return code;
}

/* ---- Progress, on a terminal ---- */

typedef struct show {
    bool on;
    unsigned step, steps;
    tn_bench_step now;
} show;

static void show_progress(void *context, double share)
{
    const show *s = context;
    if (!s->on)
        return;
    const int full = (int)(share * BAR);
    fprintf(stderr, "\r%u/%u  %u connections, %s  [%.*s%*s] %3.0f %%", s->step + 1, s->steps,
            s->now.connections, s->now.rate > 0 ? "open loop" : "closed loop", full,
            "##############################", BAR - full, "", 100 * share);
    fflush(stderr);
}

static void clear_progress(const show *s)
{
    if (s->on)
        fputs("\r\033[K", stderr);
}

/* ---- The end ---- */

static tern_code write_output(const char *path, tn_str text, tern_status *st)
{
    FILE *file = fopen(path, "wb");
    bool good = file != NULL && fwrite(text.ptr, 1, text.len, file) == text.len;
    if (file != NULL && fclose(file) != 0)
        good = false;
    return good ? TERN_OK : tern_fail(st, TERN_UNKNOWN, "--output=%.200s: %s", path, strerror(errno));
}

static tern_code compare(const tn_bench_options *o, tn_bench_result *const *results, unsigned n,
                         tern_status *st)
{
    tn_buf text;
    tern_status why;
    tn_buf_init(&text, REPORT_MAX);
    tern_code code = tn_cli_read_file(o->compare, &text, &why);
    if (code == TERN_OK)
        code = tn_bench_compare(o->json ? stderr : stdout, tn_buf_view(&text), results, n, &why);
    if (code != TERN_OK)
        code = tern_fail(st, code, "--compare=%.200s: %s", o->compare, why.message);
    tn_buf_free(&text);
    return code;
}

static tern_code tell(const tn_bench_options *o, const tn_bench_target *target,
                      tn_bench_result *const *results, unsigned n, tern_status *st)
{
    tn_buf json;
    tern_code code = TERN_OK;
    tn_buf_init(&json, REPORT_MAX);
    tn_bench_json(&json, target, results, n);
    if (o->json)
        fwrite(json.ptr, 1, json.len, stdout);
    else
        tn_bench_print(stdout, target, results, n);
    if (o->output[0] != '\0')
        code = write_output(o->output, tn_buf_view(&json), st);
    if (code == TERN_OK && o->output[0] != '\0' && !o->json)
        printf("\nWritten: %s. Compare a later run: tern bench %s --compare=%s\n", o->output, o->model,
               o->output);
    if (code == TERN_OK && o->compare[0] != '\0')
        code = compare(o, results, n, st);
    tn_buf_free(&json);
    return code;
}

/* Exit status by --fail-if. */
static int judge(const tn_bench_options *o, tn_bench_result *const *results, unsigned n)
{
    int status = 0;
    for (unsigned i = 0; i < o->fail_if.n; i++) {
        bool holds;
        const tn_bench_result *which;
        tern_status st;
        if (tn_bench_condition(o->fail_if.text[i], results, n, &holds, &which, &st) != TERN_OK || !holds)
            continue;
        fprintf(stderr, "tern bench: %s holds at %u connections, rate %g\n", o->fail_if.text[i],
                which->step.connections, which->step.rate);
        status = 1;
    }
    return status;
}

static tern_code check(const tn_bench_options *o, tern_status *st)
{
    bool holds;
    const tn_bench_result *which;
    tern_code code = TERN_OK;
    for (unsigned i = 0; i < o->fail_if.n && code == TERN_OK; i++)
        code = tn_bench_condition(o->fail_if.text[i], NULL, 0, &holds, &which, st);
    if (code == TERN_OK && o->seconds <= 0)
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "--seconds=0: there is nothing to measure");
    return code;
}

int tn_cli_bench(int argc, char **argv)
{
    tn_bench_options o = {.url = "",
                          .api = "rest",
                          .signature = "serving_default",
                          .data = "",
                          .content_type = "",
                          .path = "",
                          .output = "",
                          .compare = "",
                          .connections = "1",
                          .rate = "0",
                          .batch = 1,
                          .length = 1,
                          .threads = 1,
                          .timeout_ms = 60000,
                          .seconds = 10,
                          .warmup = 1};
    tn_bench_step steps[TN_BENCH_STEPS];
    tn_bench_result *results[TN_BENCH_STEPS];
    tn_bench_target target;
    tn_arena arena;
    tern_status st;
    unsigned n_steps = 0, n = 0;
    int status = 2;
    if (!read_arguments(&o, argc, argv))
        return 2;
    if (o.help) {
        help(stdout);
        return 0;
    }
    tn_arena_init(&arena, ARENA_MAX);
    tern_code code = check(&o, &st);
    if (code == TERN_OK)
        code = read_steps(&o, steps, &n_steps, &st);
    if (code == TERN_OK)
        code = tn_bench_target_make(&o, &arena, &target, &st);
    show s = {.on = isatty(STDERR_FILENO) == 1, .steps = n_steps};
    for (; n < n_steps && code == TERN_OK; n++) {
        s.step = n;
        s.now = steps[n];
        code = tn_bench_run(&o, &target, steps[n], show_progress, &s, &results[n], &st);
        clear_progress(&s);
        if (code != TERN_OK)
            break;
    }
    if (code == TERN_OK)
        code = tell(&o, &target, results, n, &st);
    if (code != TERN_OK)
        fprintf(stderr, "tern bench: %s\n", st.message);
    else
        status = judge(&o, results, n);
    for (unsigned i = 0; i < n; i++)
        free(results[i]);
    tn_arena_free(&arena);
    return status;
}
