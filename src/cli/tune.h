/*
 * cli/tune.h - inside of `tern tune`: which engine and settings serve a model best.
 *
 *   tune.c          flags, rounds, which setting is chosen
 *   tune_server.c   one setting: a server of its own, over a folder of links to the version
 *   tune_request.c  what is asked: recorded, given, or generated
 *   tune_answer.c   whether two answers are the same
 *   tune_report.c   table, JSON, the setting written beside the model
 *
 * Each setting is tried as it would be served: `tern serve` in a child process, with the flags and the
 * environment of the setting, and what would be written into tern.json. So what exists only once in
 * a process (oneDNN, XLA, TensorFlow's pools) is tried as well, and what was measured is what is had. All
 * functions: the main thread.
 */
#ifndef TN_CLI_TUNE_H
#define TN_CLI_TUNE_H

#include <stdio.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/buf.h"
#include "cli/bench.h"

#define TN_TUNE_NAME     "model" /* what the servers call it */
#define TN_TUNE_SETTINGS 16
#define TN_TUNE_REQUESTS 4
#define TN_TUNE_ROUNDS   25

typedef struct tn_tune_options {
    const char *model; /* folder of a version, or with versions */
    const char *engines, *data, *signature, *budget, *objective;
    int64_t batch, length, connections, rounds; /* length, connections: 0: see the help */
    double seconds;
    bool json, dry_run, help;
} tn_tune_options;

typedef struct tn_tune_setting {
    const char *name;   /* for the table */
    const char *engine; /* of tern.json */
    int threads;        /* the same; 0: none */
    bool together;      /* only where several connections ask at once */
    const char *flags[3];
    const char *environment; /* NAME=VALUE, or NULL */
} tn_tune_setting;

/* A setting that is tried. */
typedef struct tn_tune_try {
    tn_tune_setting setting;
    const char *folder; /* of links */
    const char *log;    /* file with what its server says */
    pid_t pid;          /* 0: none */
    char port[8];
    bool out; /* does not serve, or fails */
    char why[400];
    tn_buf answers[TN_TUNE_REQUESTS];
    bool compared, equal;
    double worst; /* difference from the first setting's answers, as a part of a tensor's largest element */
    double p50_ms[TN_TUNE_ROUNDS], per_second[TN_TUNE_ROUNDS];
    unsigned rounds;
    tn_bench_result all; /* of all rounds */
    int64_t memory;      /* bytes */
    bool in_budget, chosen;
} tn_tune_try;

typedef struct tn_tune {
    tn_tune_options o;
    tn_arena arena;
    const char *version; /* folder of the version, absolute */
    int64_t number;
    char *work; /* folder of all that is made */
    tn_bench_target requests[TN_TUNE_REQUESTS];
    unsigned n_requests;
    const char *source; /* of the requests, in words */
    tn_tune_try tries[TN_TUNE_SETTINGS];
    unsigned n_tries;
    unsigned connections;
    double longest_s; /* that all requests, one after the other, took a setting */
    bool throughput;  /* what it is chosen by; else latency */
} tn_tune;

/* ---- tune_server.c ---- */

/* t->version, t->number, t->work. */
TERN_MUST_USE tern_code tn_tune_find(tn_tune *t, tern_status *st);
/* Starts the setting's server and waits until it serves. An error is why it does not; it has ended then. */
TERN_MUST_USE tern_code tn_tune_start(tn_tune *t, tn_tune_try *y, tern_status *st);
/* Its memory in RAM, bytes; 0 when it is not known. */
int64_t tn_tune_memory(const tn_tune_try *y);
void tn_tune_stop(tn_tune_try *y);
/* Removes t->work. */
void tn_tune_clean(tn_tune *t);

/* ---- tune_request.c ---- */

/* t->requests, as the server of y takes them. */
TERN_MUST_USE tern_code tn_tune_requests(tn_tune *t, const tn_tune_try *y, tern_status *st);
/* Asks the server of y each request once: y->answers. */
TERN_MUST_USE tern_code tn_tune_ask(const tn_tune *t, tn_tune_try *y, tern_status *st);

/* ---- tune_answer.c ---- */

/*
 * Whether two answers of the same form (serialized PredictResponse, else JSON) say the same, as closely as
 * codec/close.h wants it. *worst is raised to the largest difference. An answer that is neither differs.
 * Pure.
 */
bool tn_tune_same(tn_str got, tn_str want, bool json, double *worst);

/* ---- tune_report.c ---- */

double tn_tune_median(const double *values, unsigned n);
void tn_tune_print(FILE *out, const tn_tune *t);
/* written: the file, or NULL. */
void tn_tune_json(FILE *out, const tn_tune *t, const char *written);
/*
 * tern.json as the setting wants it, with the version's other members or without: handlers have no part in
 * this. Appends to out.
 */
TERN_MUST_USE tern_code tn_tune_extra(const tn_tune *t, const tn_tune_setting *s, bool others, tn_buf *out,
                                      tern_status *st);
/* Writes it beside the model. *path: where, in the arena. */
TERN_MUST_USE tern_code tn_tune_write(tn_tune *t, const tn_tune_setting *s, const char **path,
                                      tern_status *st);

#endif
