/*
 * cli/tune_report.c - what `tern tune` found, for people and for machines, and the setting beside the model.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/tune.h"
#include "codec/json.h"
#include "model/extra.h"

#define NS_PER_MS 1e6
#define MEGABYTE  1e6

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double tn_tune_median(const double *values, unsigned n)
{
    double sorted[TN_TUNE_ROUNDS];
    if (n == 0)
        return 0;
    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, by_value);
    return sorted[n / 2];
}

static double p99_ms(const tn_tune_try *y)
{
    return (double)tn_hdr_percentile(&y->all.latency, 0.99) / NS_PER_MS;
}

/* ---- For people ---- */

static void print_try(FILE *out, const tn_tune *t, const tn_tune_try *y)
{
    char equal[64] = "-";
    if (y->out) {
        fprintf(out, "%c %-30s %s\n", ' ', y->setting.name, y->why);
        return;
    }
    if (y == &t->tries[0])
        snprintf(equal, sizeof equal, "what is right");
    else if (y->compared)
        snprintf(equal, sizeof equal, "%s (%.1e)", y->equal ? "yes" : "no", y->worst);
    fprintf(out, "%c %-30s %9.3f %9.3f %11.1f %9.0f  %s%s\n", y->chosen ? '*' : ' ', y->setting.name,
            tn_tune_median(y->p50_ms, y->rounds), p99_ms(y), tn_tune_median(y->per_second, y->rounds),
            (double)y->memory / MEGABYTE, equal, y->in_budget ? "" : ", over the budget");
}

/* How to start a server with what exists once in a process. */
static void print_start(FILE *out, const tn_tune_setting *s)
{
    if (s->environment == NULL && s->flags[0] == NULL)
        return;
    fprintf(out, "These are of the whole process; start it with them:\n    ");
    if (s->environment != NULL) {
        const char *equal = strchr(s->environment, '=');
        fprintf(out, "%.*s='%s' ", (int)(equal - s->environment), s->environment, equal + 1);
    }
    fprintf(out, "tern serve");
    for (size_t i = 0; i < 3 && s->flags[i] != NULL; i++)
        fprintf(out, " %s", s->flags[i]);
    fputs(" ...\n", out);
}

void tn_tune_print(FILE *out, const tn_tune *t)
{
    const tn_tune_setting *chosen = NULL;
    fprintf(out, "%s\n%u request%s (%s), %u connection%s, %lld rounds of %g s\n\n", t->version, t->n_requests,
            t->n_requests == 1 ? "" : "s", t->source, t->connections, t->connections == 1 ? "" : "s",
            (long long)t->o.rounds, t->o.seconds);
    fprintf(out, "  %-30s %9s %9s %11s %9s  %s\n", "setting", "p50 ms", "p99 ms", "per second", "memory MB",
            "equal answers (difference)");
    for (unsigned i = 0; i < t->n_tries; i++) {
        print_try(out, t, &t->tries[i]);
        if (t->tries[i].chosen)
            chosen = &t->tries[i].setting;
    }
    if (chosen == NULL) {
        fputs("\nNone is chosen: none that answers as the first does is within the budget.\n", out);
        return;
    }
    fprintf(out, "\nChosen by %s%s%s: %s\n", t->throughput ? "throughput" : "latency",
            t->o.budget[0] != '\0' ? " within " : "", t->o.budget, chosen->name);
    print_start(out, chosen);
}

/* ---- For machines ---- */

static void put_text(tn_buf *b, const char *name, const char *value)
{
    tn_buf_printf(b, "\"%s\": ", name);
    if (value == NULL)
        tn_buf_z(b, "null");
    else
        tn_json_quote(b, tn_str_from(value));
}

static void put_try(tn_buf *b, const tn_tune_try *y)
{
    const tn_tune_setting *s = &y->setting;
    tn_buf_z(b, "    {");
    put_text(b, "name", s->name);
    tn_buf_z(b, ", ");
    put_text(b, "engine", s->engine);
    tn_buf_printf(b, ", \"threads\": %d, \"flags\": [", s->threads);
    for (size_t i = 0; i < 3 && s->flags[i] != NULL; i++) {
        tn_buf_z(b, i > 0 ? ", " : "");
        tn_json_quote(b, tn_str_from(s->flags[i]));
    }
    tn_buf_z(b, "], ");
    put_text(b, "environment", s->environment);
    tn_buf_z(b, ", ");
    put_text(b, "error", y->out ? y->why : NULL);
    if (!y->out)
        tn_buf_printf(b,
                      ", \"requests\": %llu, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"per_second\": %.2f, "
                      "\"memory_bytes\": %lld, \"equal\": %s, \"max_difference\": %.3e, \"in_budget\": %s",
                      (unsigned long long)y->all.good, tn_tune_median(y->p50_ms, y->rounds), p99_ms(y),
                      tn_tune_median(y->per_second, y->rounds), (long long)y->memory,
                      y->equal ? "true" : "false", y->worst, y->in_budget ? "true" : "false");
    tn_buf_printf(b, ", \"chosen\": %s}", y->chosen ? "true" : "false");
}

void tn_tune_json(FILE *out, const tn_tune *t, const char *written)
{
    tn_buf b;
    tn_buf_init(&b, (size_t)1 << 20);
    tn_buf_z(&b, "{\n  ");
    put_text(&b, "version", t->version);
    tn_buf_z(&b, ",\n  ");
    put_text(&b, "objective", t->throughput ? "throughput" : "latency");
    tn_buf_z(&b, ",\n  ");
    put_text(&b, "budget", t->o.budget[0] != '\0' ? t->o.budget : NULL);
    tn_buf_z(&b, ",\n  ");
    put_text(&b, "source", t->source);
    tn_buf_printf(&b, ",\n  \"requests\": %u,\n  \"connections\": %u,\n  ", t->n_requests, t->connections);
    put_text(&b, "written", written);
    tn_buf_z(&b, ",\n  \"settings\": [\n");
    for (unsigned i = 0; i < t->n_tries; i++) {
        put_try(&b, &t->tries[i]);
        tn_buf_z(&b, i + 1 < t->n_tries ? ",\n" : "\n");
    }
    tn_buf_z(&b, "  ]\n}\n");
    fwrite(b.ptr, 1, b.len, out);
    tn_buf_free(&b);
}

/* ---- Beside the model ---- */

tern_code tn_tune_extra(const tn_tune *t, const tn_tune_setting *s, bool others, tn_buf *out, tern_status *st)
{
    const tn_extra wanted = {.engine = tn_str_from(s->engine), .threads = s->threads};
    tn_arena arena;
    tn_str text = TN_STR_NONE;
    tn_arena_init(&arena, 16 * TN_EXTRA_MAX);
    tern_code code = others ? tn_extra_read(t->version, &arena, &text, st) : TERN_OK;
    if (code == TERN_OK)
        code = tn_extra_merge(text, &wanted, &arena, out, st);
    tn_arena_free(&arena);
    return code;
}

tern_code tn_tune_write(tn_tune *t, const tn_tune_setting *s, const char **path, tern_status *st)
{
    tn_buf text;
    const char *folder = tn_arena_printf(&t->arena, "%s/assets.extra", t->version).ptr;
    const char *to = tn_arena_printf(&t->arena, "%s/" TN_EXTRA_FILE, t->version).ptr;
    const char *part = tn_arena_printf(&t->arena, "%s/" TN_EXTRA_FILE ".part", t->version).ptr;
    if (folder == NULL || to == NULL || part == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory");
    tn_buf_init(&text, 2 * TN_EXTRA_MAX);
    tern_code code = tn_tune_extra(t, s, true, &text, st);
    if (code == TERN_OK) {
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            code = tern_fail(st, TERN_UNAVAILABLE, "%s: %s", folder, strerror(errno));
    }
    if (code == TERN_OK) {
        FILE *file = fopen(part, "wb");
        bool good = file != NULL && fwrite(text.ptr, 1, text.len, file) == text.len;
        if (file != NULL && fclose(file) != 0)
            good = false;
        if (!good || rename(part, to) != 0) {
            code = tern_fail(st, TERN_UNAVAILABLE, "%s: %s", to, strerror(errno));
            (void)unlink(part);
        }
    }
    tn_buf_free(&text);
    *path = to;
    return code;
}
