/*
 * cli/bench.h - inside of `tern bench`: a load generator that a user gets with the server.
 *
 *   bench.c          flags, the steps of a sweep, progress, exit status
 *   bench_request.c  what is asked: from a file, or generated from the model's signature
 *   bench_run.c      one step: closed loop, or open loop at a rate
 *   bench_report.c   table, JSON, comparison, conditions
 *
 * Latency in an open loop is counted from the time at which a request was due, whether or not a connection
 * was free for it then, so a server that stalls cannot hide the requests that it kept from being sent
 * (coordinated omission). All functions: one thread, but for bench_run.c, which makes its own.
 */
#ifndef TN_CLI_BENCH_H
#define TN_CLI_BENCH_H

#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/hdr.h"
#include "cli/table.h"
#include "net/client.h"

#define TN_BENCH_STEPS  64
#define TN_BENCH_STAGES 12

typedef enum tn_bench_api { TN_BENCH_REST, TN_BENCH_GRPC, TN_BENCH_RAW } tn_bench_api;

typedef struct tn_bench_options {
    const char *model;
    const char *url, *api, *signature, *data, *content_type, *path, *output, *compare;
    const char *connections, *rate; /* lists */
    tn_table_texts fail_if;
    int64_t batch, length, threads, timeout_ms; /* length: of unknown dimensions but the first */
    double seconds, warmup;
    bool poisson, json, help;
} tn_bench_options;

typedef struct tn_bench_target {
    tn_bench_api api;
    const char *host, *port;
    tn_client_request request;
    tn_str about; /* one line: what is asked */
} tn_bench_target;

typedef struct tn_bench_step {
    unsigned connections;
    double rate; /* requests a second; 0: closed loop */
} tn_bench_step;

typedef struct tn_bench_result {
    tn_bench_step step;
    double seconds; /* measured, without the warm-up */
    uint64_t good, errors;
    uint64_t unanswered; /* open loop: due, but not answered at the end */
    uint64_t bytes;      /* of answers' bodies */
    /* Of good answers, from when they were due; and of those not answered, as long as they have waited. */
    tn_hdr latency;
    char error[256]; /* the first one, or "" */
    unsigned n_stages;
    struct {
        char name[24];
        double sum_ms;
    } stages[TN_BENCH_STAGES]; /* means are over all good answers */
} tn_bench_result;

/*
 * What is to be asked, out of the options; asks the server for the model's signature where nothing else says
 * it. Everything in the arena. Errors name the flag or the server.
 */
TERN_MUST_USE tern_code tn_bench_target_make(const tn_bench_options *o, tn_arena *arena,
                                             tn_bench_target *target, tern_status *st);
/*
 * Asks once. *body: what comes back, of gRPC with the 5 bytes before its message. Errors: no answer within a
 * minute; another HTTP status than 200, or another gRPC status than 0, with the answer's beginning.
 */
TERN_MUST_USE tern_code tn_bench_ask(const tn_bench_target *target, const tn_client_request *request,
                                     bool http2, tn_buf *body, tern_status *st);
/*
 * Runs one step and returns its result in *out (owned, free()). progress: called now and then with the share
 * that is done, from this thread.
 */
TERN_MUST_USE tern_code tn_bench_run(const tn_bench_options *o, const tn_bench_target *target,
                                     tn_bench_step step, void (*progress)(void *context, double share),
                                     void *context, tn_bench_result **out, tern_status *st);

/*
 * For people: a table, where the time goes, and a comparison when there is an earlier run (text of its JSON).
 */
void tn_bench_print(FILE *out, const tn_bench_target *target, tn_bench_result *const *results, unsigned n);
TERN_MUST_USE tern_code tn_bench_compare(FILE *out, tn_str earlier, tn_bench_result *const *results,
                                         unsigned n, tern_status *st);
/* For machines. */
void tn_bench_json(tn_buf *out, const tn_bench_target *target, tn_bench_result *const *results, unsigned n);
/*
 * A condition such as "p99>20ms", "errors>0", "rate<5000", "mean>1.5ms": checks its form; says whether it
 * holds for any of the results (then *which).
 */
TERN_MUST_USE tern_code tn_bench_condition(const char *text, tn_bench_result *const *results, unsigned n,
                                           bool *holds, const tn_bench_result **which, tern_status *st);

#endif
