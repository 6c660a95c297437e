/*
 * schedule/batch_stats.h - what batching counts: TensorFlow Serving's five distributions, and Tern's own by
 * signature.
 *
 * Recording is relaxed atomics, any thread; readers do not stop the writers.
 */
#ifndef TN_SCHEDULE_BATCH_STATS_H
#define TN_SCHEDULE_BATCH_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/str.h"

#define TN_BATCH_SIZE_BUCKETS    15 /* 1, 2, 4 ... 8192, and infinity */
#define TN_BATCH_LATENCY_BUCKETS 53 /* 100 us * 1.2^k, 52 of them, and infinity */
#define TN_BATCH_PADDING_SIZES   64 /* sizes of execution that are told apart */

/* Buckets are not cumulative; a value equal to a bound counts below it. */
typedef struct tn_batch_sizes {
    atomic_uint_fast64_t bucket[TN_BATCH_SIZE_BUCKETS];
    atomic_uint_fast64_t sum;
} tn_batch_sizes;

typedef struct tn_batch_latency {
    atomic_uint_fast64_t bucket[TN_BATCH_LATENCY_BUCKETS];
    atomic_uint_fast64_t sum_us;
} tn_batch_latency;

/* padding_size{execution_batch_size="..."} */
typedef struct tn_batch_padding {
    atomic_int_fast64_t execution_batch_size; /* 0: this row is not in use; -1: all further sizes together */
    tn_batch_sizes rows;
} tn_batch_padding;

/* :tensorflow:serving:batching_session:* and the whole server's own. */
typedef struct tn_batch_stats {
    tn_str thread_pool_name; /* label of queuing_latency; empty with AUTO */
    tn_batch_latency queuing_latency;
    atomic_uint_fast64_t wrapped_run_count;
    tn_batch_sizes input_batch_size;     /* once for each input of each call, as the original counts */
    tn_batch_sizes processed_batch_size; /* with padding */
    tn_batch_padding padding[TN_BATCH_PADDING_SIZES];
    atomic_size_t waiting; /* calls in batching queues now (SERVING) */
    atomic_size_t running; /* batches under way now (SERVING) */
} tn_batch_stats;

/* One signature of one version. Batch fill is rows / batches, calls / batches. */
typedef struct tn_batch_signature_stats {
    atomic_uint_fast64_t batches;   /* runs */
    atomic_uint_fast64_t calls;     /* in them; a call that was cut counts for each part */
    atomic_uint_fast64_t rows;      /* without padding */
    atomic_uint_fast64_t padding;   /* rows added */
    atomic_uint_fast64_t retries;   /* runs of halves after a batch failed */
    atomic_uint_fast64_t wait_ns;   /* from queue to run, all calls together */
    atomic_uint_fast64_t waiting;   /* calls in its queues now (SERVING) */
    atomic_bool alone;              /* proved to be unfit for batches: runs call by call */
    tn_batch_sizes calls_per_batch; /* distribution */
} tn_batch_signature_stats;

void tn_batch_sizes_record(tn_batch_sizes *h, int64_t value);
void tn_batch_latency_record(tn_batch_latency *h, int64_t us);
void tn_batch_padding_record(tn_batch_stats *stats, int64_t execution_batch_size, int64_t padding);
/* Upper bounds of bucket i; infinity for the last. */
double tn_batch_sizes_bound(unsigned i);
double tn_batch_latency_bound_us(unsigned i);

#endif
