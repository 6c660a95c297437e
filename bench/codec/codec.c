/*
 * bench/codec/codec.c - how fast numbers are read and written: against simdjson, against printf, on one core.
 *
 *   codec [--json] [--rounds N] [--scale X] [NAME...]
 *
 * Each round gives every way of every case a turn of about 10 ms of this thread's CPU time, ours and the
 * peer's one after the other; a ratio is taken within a round, and the median over the rounds is told, with
 * its quartiles. Ratio: the peer's time / ours, so 2 is twice as fast.
 *
 * --json prints one object, whose fields stay: {"peer": "simdjson 3.0.1, icelake" or null, "rounds": N,
 * "cases": [{"name", "group" ("decode", "encode", "wire"), "about", "dtype", "values" (count), "bytes" (of
 * the JSON or the message), "ns" (CPU time a value, median), "mb_per_second" (10^6 bytes), "peer" (what it is
 * compared with, or null), and, when there is one, "peer_ns", "peer_mb_per_second", "ratio", "ratio_low",
 * "ratio_high" (quartiles)}]}. NAME: only these cases.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "cases.h"
#include "codec/json.h"
#ifdef TN_BENCH_SIMDJSON
#include "peer.h"
#endif

#define TURN_NS    (10 * TN_NS_PER_MS)
#define MAX_ROUNDS 1001

typedef struct times {
    int64_t repeats;       /* of a turn */
    double ns[MAX_ROUNDS]; /* of one pass */
} times;

typedef struct result {
    times ours, peers;
    double ratio[MAX_ROUNDS];
} result;

typedef struct options {
    bool json;
    int rounds;
    double scale;
    char **names;
    int n_names;
} options;

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * TN_NS_PER_S + t.tv_nsec;
}

static double turn(bench_case *c, void (*way)(bench_case *), int64_t repeats)
{
    const int64_t start = cpu_ns();
    for (int64_t i = 0; i < repeats; i++)
        way(c);
    return (double)(cpu_ns() - start) / (double)repeats;
}

static int64_t repeats_of(bench_case *c, void (*way)(bench_case *))
{
    double once = turn(c, way, 2);
    return once < (double)TURN_NS ? 1 + (int64_t)((double)TURN_NS / once) : 1;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value below which `part` of them lie; sorts them. */
static double quantile(double *values, int n, double part)
{
    qsort(values, (size_t)n, sizeof *values, by_size);
    return values[(int)((double)(n - 1) * part + 0.5)];
}

static bool is_wanted(const options *o, const bench_case *c)
{
    for (int i = 0; i < o->n_names; i++)
        if (strcmp(o->names[i], c->name) == 0 || strcmp(o->names[i], c->group) == 0)
            return true;
    return o->n_names == 0;
}

static void measure(const options *o, bench_case *cases, result *results, size_t n)
{
    for (int round = -1; round < o->rounds; round++) {
        for (size_t i = 0; i < n; i++) {
            bench_case *c = &cases[i];
            result *r = &results[i];
            if (!is_wanted(o, c))
                continue;
            if (round < 0) {
                r->ours.repeats = repeats_of(c, c->ours);
                r->peers.repeats = c->peers != NULL ? repeats_of(c, c->peers) : 0;
                continue;
            }
            r->ours.ns[round] = turn(c, c->ours, r->ours.repeats);
            if (c->peers != NULL) {
                r->peers.ns[round] = turn(c, c->peers, r->peers.repeats);
                r->ratio[round] = r->peers.ns[round] / r->ours.ns[round];
            }
        }
    }
}

/* One case as a line of text, or as a member of the JSON's list. */
static void print_case(const options *o, const bench_case *c, result *r, bool first)
{
    const double ours = quantile(r->ours.ns, o->rounds, 0.5), count = (double)c->count;
    const double peers = c->peers != NULL ? quantile(r->peers.ns, o->rounds, 0.5) : 0;
    const double low = c->peers != NULL ? quantile(r->ratio, o->rounds, 0.25) : 0;
    const double mid = r->ratio[(o->rounds - 1) / 2], high = quantile(r->ratio, o->rounds, 0.75);
    const double bytes = (double)c->text_len;
    if (!o->json) {
        printf("%-7s %-14s %8.2f %8.0f  ", c->group, c->name, ours / count, bytes / ours * 1e3);
        if (c->peers != NULL)
            printf("%8.2f %8.0f %7.2f  %5.2f-%-5.2f  %-17s", peers / count, bytes / peers * 1e3, mid, low,
                   high, c->peer);
        else
            printf("%59s", "");
        printf("  %s\n", c->about);
        return;
    }
    printf(
        "%s\n  {\"name\": \"%s\", \"group\": \"%s\", \"about\": \"%s\", \"dtype\": \"%s\", \"values\": %lld, "
        "\"bytes\": %zu, \"ns\": %.4f, \"mb_per_second\": %.1f, \"peer\": ",
        first ? "" : ",", c->name, c->group, c->about, tn_dtype_name(c->dtype), (long long)c->count,
        c->text_len, ours / count, bytes / ours * 1e3);
    if (c->peers != NULL)
        printf(
            "\"%s\", \"peer_ns\": %.4f, \"peer_mb_per_second\": %.1f, \"ratio\": %.3f, \"ratio_low\": %.3f, "
            "\"ratio_high\": %.3f}",
            c->peer, peers / count, bytes / peers * 1e3, mid, low, high);
    else
        printf("null}");
}

static void print_all(const options *o, const bench_case *cases, result *results, size_t n)
{
    const char *peer = NULL;
    bool first = true;
#ifdef TN_BENCH_SIMDJSON
    peer = tn_peer_name();
#endif
    if (o->json)
        printf("{\"peer\": %s%s%s, \"rounds\": %d, \"cases\": [", peer != NULL ? "\"" : "",
               peer != NULL ? peer : "null", peer != NULL ? "\"" : "", o->rounds);
    else
        printf("CPU time of one thread, medians of %d rounds; %s\n\n%-7s %-14s %8s %8s  %8s %8s %7s  %-11s  "
               "%s\n",
               o->rounds, peer != NULL ? peer : "built without simdjson (meson configure -Dbench=true)", "",
               "", "ns/value", "MB/s", "ns/value", "MB/s", "ratio", "quartiles", "against");
    for (size_t i = 0; i < n; i++) {
        if (!is_wanted(o, &cases[i]))
            continue;
        print_case(o, &cases[i], &results[i], first);
        first = false;
    }
    if (o->json)
        printf("\n]}\n");
}

static bool read_options(int argc, char **argv, options *o)
{
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--json") == 0)
            o->json = true;
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            o->rounds = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--scale") == 0 && i + 1 < argc)
            o->scale = strtod(argv[++i], NULL);
        else
            return false;
    }
    o->names = argv + i;
    o->n_names = argc - i;
    return o->rounds > 0 && o->rounds <= MAX_ROUNDS && o->scale > 0 && o->scale <= 100;
}

int main(int argc, char **argv)
{
    options o = {.rounds = 15, .scale = 1};
    size_t n;
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr, "usage: codec [--json] [--rounds N] [--scale X] [NAME...]\n");
        return 2;
    }
    bench_case *cases = bench_cases(&n, o.scale);
    result *results = calloc(n, sizeof *results);
    if (results == NULL)
        return 1;
    measure(&o, cases, results, n);
    print_all(&o, cases, results, n);
    free(results);
    bench_cases_free(cases, n);
    return 0;
}
