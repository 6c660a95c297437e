/*
 * bench/codec/cases.h - what is measured: a text or tensor that is made once, and two ways over it.
 */
#ifndef TN_BENCH_CODEC_CASES_H
#define TN_BENCH_CODEC_CASES_H

#include "base/buf.h"
#include "tensor/tensor.h"

/* Fixed once made. */
typedef struct bench_case {
    const char *name;  /* stable: what scripts know it by */
    const char *group; /* "decode", "encode", "wire" */
    const char *about;
    const char *peer; /* what it is measured against; NULL: nothing, then there is no ratio */
    tern_dtype dtype;
    int32_t rank;
    int64_t dims[3];
    int64_t count;
    void *values;    /* count of dtype: what is read or written */
    char *text;      /* JSON, or a PredictRequest; readable beyond its end */
    size_t text_len; /* bytes that are read or written: MB a second are counted by it */
    void *copy;      /* where the peer puts values */
    void (*ours)(struct bench_case *c);
    void (*peers)(struct bench_case *c);
    void (*check)(struct bench_case *c); /* both ways give the same; ends the program otherwise */
} bench_case;

/* All of them, made; ends the program when that cannot be. scale: 1.0, or less for smaller texts. */
bench_case *bench_cases(size_t *n, double scale);
void bench_cases_free(bench_case *cases, size_t n);

#endif
