/*
 * cli/bench_report.c - what `tern bench` found: a table and bars for people, JSON for machines, an earlier
 * run beside this one, conditions for scripts.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "codec/json.h"

#define NS_PER_MS 1e6
#define BAR       30
#define DEPTH     16

typedef struct measure {
    const char *name;
    double share; /* of a percentile */
} measure;

static const measure percentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};
#define N_PERCENTILES (sizeof percentiles / sizeof percentiles[0])

static double per_second(const tn_bench_result *r)
{
    return r->seconds > 0 ? (double)r->good / r->seconds : 0;
}

static double percentile_ms(const tn_bench_result *r, double share)
{
    return (double)tn_hdr_percentile(&r->latency, share) / NS_PER_MS;
}

/* Three figures, as far as they say something. */
static const char *ms(double value, char *text, size_t size)
{
    snprintf(text, size, value < 10 ? "%.3f" : value < 100 ? "%.2f" : "%.1f", value);
    return text;
}

/* ---- For people ---- */

static void print_bar(FILE *out, double share)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int n = (int)lround((share < 0 ? 0 : share > 1 ? 1 : share) * BAR * 8);
    for (int i = 0; i < n / 8; i++)
        fputs("█", out);
    fputs(eighths[n % 8], out);
}

/* Means of one step, each with its share of the whole. */
static void print_stages(FILE *out, const tn_bench_result *r)
{
    char text[32];
    const double mean = tn_hdr_mean(&r->latency) / NS_PER_MS;
    double server = 0;
    if (r->n_stages == 0 || r->good == 0 || mean <= 0)
        return;
    fprintf(out, "\nWhere the time goes, mean of %u connection%s%s:\n", r->step.connections,
            r->step.connections == 1 ? "" : "s", r->step.rate > 0 ? " at that rate" : "");
    for (unsigned i = 0; i <= r->n_stages; i++) {
        const bool rest = i == r->n_stages;
        const double value = rest ? mean - server : r->stages[i].sum_ms / (double)r->good;
        fprintf(out, "  %-22s %9s ms  %5.1f %%  ", rest ? "network, client, wait" : r->stages[i].name,
                ms(value, text, sizeof text), 100 * value / mean);
        print_bar(out, value / mean);
        fputc('\n', out);
        server += value;
    }
}

void tn_bench_print(FILE *out, const tn_bench_target *target, tn_bench_result *const *results, unsigned n)
{
    char text[32];
    const tn_bench_result *worst = NULL;
    fprintf(out, "%.*s\n\n", TN_FMT(target->about));
    fprintf(out, "%11s %9s %10s %9s %9s %9s %9s %9s %9s %8s\n", "connections", "rate", "per second", "p50 ms",
            "p90 ms", "p99 ms", "p99.9 ms", "max ms", "requests", "errors");
    for (unsigned i = 0; i < n; i++) {
        const tn_bench_result *r = results[i];
        char rate[24] = "closed";
        if (r->step.rate > 0)
            snprintf(rate, sizeof rate, "%g", r->step.rate);
        fprintf(out, "%11u %9s %10.1f", r->step.connections, rate, per_second(r));
        for (size_t p = 0; p < N_PERCENTILES; p++)
            fprintf(out, " %9s", ms(percentile_ms(r, percentiles[p].share), text, sizeof text));
        fprintf(out, " %9s %9llu %8llu\n", ms((double)r->latency.max_ns / NS_PER_MS, text, sizeof text),
                (unsigned long long)r->good, (unsigned long long)r->errors);
        if (r->errors > 0 && worst == NULL)
            worst = r;
    }
    for (unsigned i = 0; i < n; i++)
        if (results[i]->unanswered > 0)
            fprintf(out,
                    "%u connections, rate %g: %llu requests had no answer at the end; they count with the "
                    "time they waited.\n",
                    results[i]->step.connections, results[i]->step.rate,
                    (unsigned long long)results[i]->unanswered);
    if (worst != NULL)
        fprintf(out, "\nFirst error: %s\n", worst->error);
    print_stages(out, results[n - 1]);
}

/* ---- For machines ---- */

static void put_stages(tn_buf *out, const tn_bench_result *r)
{
    tn_buf_z(out, "\"stages_mean_ms\": {");
    for (unsigned i = 0; i < r->n_stages; i++) {
        if (i > 0)
            tn_buf_z(out, ", ");
        tn_json_quote(out, tn_str_from(r->stages[i].name));
        tn_buf_printf(out, ": %.6f", r->good > 0 ? r->stages[i].sum_ms / (double)r->good : 0);
    }
    tn_buf_z(out, "}");
}

static void put_step(tn_buf *out, const tn_bench_result *r)
{
    tn_buf_printf(
        out,
        "    {\"connections\": %u, \"rate\": %g, \"seconds\": %g, \"requests\": %llu, \"errors\": %llu, ",
        r->step.connections, r->step.rate, r->seconds, (unsigned long long)r->good,
        (unsigned long long)r->errors);
    tn_buf_printf(out,
                  "\"unanswered\": %llu, \"per_second\": %.3f, \"answer_bytes\": %llu,\n     \"mean_ms\": "
                  "%.6f, \"min_ms\": %.6f",
                  (unsigned long long)r->unanswered, per_second(r), (unsigned long long)r->bytes,
                  tn_hdr_mean(&r->latency) / NS_PER_MS, (double)r->latency.min_ns / NS_PER_MS);
    for (size_t p = 0; p < N_PERCENTILES; p++)
        tn_buf_printf(out, ", \"%s_ms\": %.6f", percentiles[p].name, percentile_ms(r, percentiles[p].share));
    tn_buf_printf(out, ", \"max_ms\": %.6f,\n     ", (double)r->latency.max_ns / NS_PER_MS);
    put_stages(out, r);
    tn_buf_z(out, ",\n     \"first_error\": ");
    tn_json_quote(out, tn_str_from(r->error));
    tn_buf_z(out, "}");
}

void tn_bench_json(tn_buf *out, const tn_bench_target *target, tn_bench_result *const *results, unsigned n)
{
    tn_buf_z(out, "{\"tern\": \"" TERN_VERSION "\", \"target\": ");
    tn_json_quote(out, target->about);
    tn_buf_z(out, ",\n  \"steps\": [\n");
    for (unsigned i = 0; i < n; i++) {
        put_step(out, results[i]);
        tn_buf_z(out, i + 1 < n ? ",\n" : "\n");
    }
    tn_buf_z(out, "  ]}\n");
}

/* ---- Beside an earlier run ---- */

static double number_of(const tn_json *object, const char *key)
{
    const tn_json *value = tn_json_get(object, key);
    return value != NULL && value->type == TN_JSON_NUMBER ? value->number : 0;
}

static void print_change(FILE *out, double now, double before)
{
    if (before > 0)
        fprintf(out, " %8.2f x", now / before);
    else
        fprintf(out, " %10s", "-");
}

tern_code tn_bench_compare(FILE *out, tn_str earlier, tn_bench_result *const *results, unsigned n,
                           tern_status *st)
{
    tn_arena arena;
    const tn_json *root = NULL, *steps;
    unsigned matched = 0;
    tn_arena_init(&arena, (size_t)64 << 20);
    tern_code code = tn_json_parse(earlier, DEPTH, &arena, &root, st);
    steps = code == TERN_OK ? tn_json_get(root, "steps") : NULL;
    if (code == TERN_OK && steps == NULL)
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "it has no \"steps\"");
    if (code == TERN_OK)
        fprintf(out, "\nThis run / the earlier one:\n%11s %9s %10s %10s %10s %10s\n", "connections", "rate",
                "per second", "p50", "p99", "mean");
    for (const tn_json *s = code == TERN_OK ? steps->first : NULL; s != NULL; s = s->next) {
        for (unsigned i = 0; i < n; i++) {
            const tn_bench_result *r = results[i];
            if (number_of(s, "connections") != r->step.connections || number_of(s, "rate") != r->step.rate)
                continue;
            matched++;
            fprintf(out, "%11u %9g", r->step.connections, r->step.rate);
            print_change(out, per_second(r), number_of(s, "per_second"));
            print_change(out, percentile_ms(r, 0.5), number_of(s, "p50_ms"));
            print_change(out, percentile_ms(r, 0.99), number_of(s, "p99_ms"));
            print_change(out, tn_hdr_mean(&r->latency) / NS_PER_MS, number_of(s, "mean_ms"));
            fputc('\n', out);
        }
    }
    if (code == TERN_OK && matched == 0)
        code = tern_fail(st, TERN_INVALID_ARGUMENT, "it has no step of the same connections and rate");
    tn_arena_free(&arena);
    return code;
}

/* ---- Conditions ---- */

/* The measure at the beginning of text; *rest is what follows. Durations in milliseconds. */
static bool measure_of(const char *text, const tn_bench_result *r, double *value, bool *is_time,
                       const char **rest)
{
    static const struct {
        const char *name;
        double share;
    } named[] = {{"p99.9", 0.999}, {"p99", 0.99}, {"p90", 0.9}, {"p50", 0.5}};
    *is_time = true;
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        size_t n = strlen(named[i].name);
        if (strncmp(text, named[i].name, n) == 0) {
            *value = percentile_ms(r, named[i].share);
            *rest = text + n;
            return true;
        }
    }
    if (strncmp(text, "mean", 4) == 0) {
        *value = tn_hdr_mean(&r->latency) / NS_PER_MS;
        *rest = text + 4;
    } else if (strncmp(text, "max", 3) == 0) {
        *value = (double)r->latency.max_ns / NS_PER_MS;
        *rest = text + 3;
    } else if (strncmp(text, "errors", 6) == 0) {
        *value = (double)r->errors;
        *is_time = false;
        *rest = text + 6;
    } else if (strncmp(text, "per_second", 10) == 0) {
        *value = per_second(r);
        *is_time = false;
        *rest = text + 10;
    } else {
        return false;
    }
    return true;
}

/* "20ms", "1.5s", "300us", or a bare number (of milliseconds). */
static bool limit_of(const char *text, bool is_time, double *value)
{
    char *unit;
    *value = strtod(text, &unit);
    if (unit == text || !isfinite(*value))
        return false;
    if (*unit == '\0')
        return true;
    if (!is_time)
        return false;
    if (strcmp(unit, "us") == 0)
        *value /= 1000;
    else if (strcmp(unit, "s") == 0)
        *value *= 1000;
    else
        return strcmp(unit, "ms") == 0;
    return true;
}

tern_code tn_bench_condition(const char *text, tn_bench_result *const *results, unsigned n, bool *holds,
                             const tn_bench_result **which, tern_status *st)
{
    static tn_bench_result none; /* to check the form when there is nothing yet */
    tn_bench_result *const only[1] = {&none};
    *holds = false;
    for (unsigned i = 0; i < (n > 0 ? n : 1); i++) {
        const tn_bench_result *r = (n > 0 ? results : only)[i];
        double value, limit;
        bool is_time;
        const char *rest;
        if (!measure_of(text, r, &value, &is_time, &rest) || (*rest != '>' && *rest != '<') ||
            !limit_of(rest + 1, is_time, &limit))
            return tern_fail(st, TERN_INVALID_ARGUMENT,
                             "--fail-if=%.100s: it is like p99>20ms, of p50, p90, p99, p99.9, mean, max, "
                             "errors or per_second",
                             text);
        if (!*holds && (*rest == '>' ? value > limit : value < limit)) {
            *holds = true;
            *which = r;
        }
    }
    return TERN_OK;
}
