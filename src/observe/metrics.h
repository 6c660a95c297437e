/*
 * observe/metrics.h - counters, histograms, and Prometheus' text form of them.
 *
 * Recording is a few relaxed atomic adds: any thread, no lock. Writing reads without stopping the writers, so
 * the parts of one histogram may be a few events apart.
 */
#ifndef TN_OBSERVE_METRICS_H
#define TN_OBSERVE_METRICS_H

#include <stdatomic.h>

#include "base/buf.h"

/* The stages of a request, in order (DESIGN: the life of a request). */
typedef enum tn_stage {
    TN_STAGE_READ,        /* headers to last byte of the body */
    TN_STAGE_DECODE,      /* bytes to tensors */
    TN_STAGE_PREPROCESS,  /* handler: document to tensors */
    TN_STAGE_QUEUE,       /* waiting for an executor */
    TN_STAGE_RUN,         /* the engine */
    TN_STAGE_POSTPROCESS, /* handler: outputs to answer */
    TN_STAGE_ENCODE,      /* tensors to bytes */
    TN_STAGE_WRITE,       /* answer handed to the kernel */
    TN_STAGES
} tn_stage;

/* "read", "decode", ... Static. */
const char *tn_stage_name(tn_stage stage);

/* TensorFlow Serving's latency buckets: 10 us * 1.8^k, 33 of them, and infinity. */
#define TN_HISTOGRAM_BUCKETS 34

typedef struct tn_histogram {
    atomic_uint_fast64_t bucket[TN_HISTOGRAM_BUCKETS]; /* not cumulative */
    atomic_uint_fast64_t sum_ns;
} tn_histogram;

void tn_histogram_record(tn_histogram *h, int64_t ns);
uint64_t tn_histogram_count(const tn_histogram *h);

/* Number of canonical codes, for counters by code. */
#define TN_CODES 17

/* Adds what h holds to the plain counts of to (buckets not cumulative). */
typedef struct tn_histogram_sum {
    uint64_t bucket[TN_HISTOGRAM_BUCKETS];
    uint64_t sum_ns;
} tn_histogram_sum;
void tn_histogram_add(tn_histogram_sum *to, const tn_histogram *h);

/* Text exposition, version 0.0.4. Labels are written as given: `labels` is `name="value",...`, already
 * escaped. */
void tn_expo_head(tn_buf *out, const char *name, const char *type, const char *help);
void tn_expo_value(tn_buf *out, const char *name, tn_str labels, uint64_t value);
/* Buckets in seconds. */
void tn_expo_histogram(tn_buf *out, const char *name, tn_str labels, const tn_histogram *h);
/* Value with its fraction. */
void tn_expo_real(tn_buf *out, const char *name, tn_str labels, double value);
/*
 * TensorFlow Serving's own form (util/prometheus_exporter.cc): no HELP, braces without labels too, bounds and
 * sums in microseconds.
 */
void tn_serving_head(tn_buf *out, const char *name, const char *type);
void tn_serving_value(tn_buf *out, const char *name, tn_str labels, uint64_t value);
/* n buckets, not cumulative, of first * factor^k, the last without bound. */
void tn_serving_histogram(tn_buf *out, const char *name, tn_str labels, double first, double factor,
                          const uint64_t *bucket, size_t n, double sum);
/* Appends s with \, " and newline escaped; what is not ASCII as '?' when s is not UTF-8. */
void tn_expo_escape(tn_buf *out, tn_str s);

#endif
