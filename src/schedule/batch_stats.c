/* schedule/batch_stats.c - see batch_stats.h. */
#include "schedule/batch_stats.h"

#include <math.h>

#define LATENCY_FIRST_US 100.0
#define LATENCY_GROWTH   1.2

double tn_batch_sizes_bound(unsigned i)
{
    return i < TN_BATCH_SIZE_BUCKETS - 1 ? (double)(1u << i) : INFINITY;
}

double tn_batch_latency_bound_us(unsigned i)
{
    if (i >= TN_BATCH_LATENCY_BUCKETS - 1)
        return INFINITY;
    double bound = LATENCY_FIRST_US;
    while (i-- > 0)
        bound *= LATENCY_GROWTH;
    return bound;
}

void tn_batch_sizes_record(tn_batch_sizes *h, int64_t value)
{
    unsigned i = 0;
    while (i < TN_BATCH_SIZE_BUCKETS - 1 && value > INT64_C(1) << i)
        i++;
    atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, value > 0 ? (uint64_t)value : 0, memory_order_relaxed);
}

void tn_batch_latency_record(tn_batch_latency *h, int64_t us)
{
    double bound = LATENCY_FIRST_US;
    unsigned i = 0;
    while (i < TN_BATCH_LATENCY_BUCKETS - 1 && (double)us > bound) {
        bound *= LATENCY_GROWTH;
        i++;
    }
    atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, us > 0 ? (uint64_t)us : 0, memory_order_relaxed);
}

void tn_batch_padding_record(tn_batch_stats *stats, int64_t execution_batch_size, int64_t padding)
{
    for (unsigned i = 0; i < TN_BATCH_PADDING_SIZES; i++) {
        tn_batch_padding *row = &stats->padding[i];
        const int64_t own = i < TN_BATCH_PADDING_SIZES - 1 ? execution_batch_size : -1;
        int_fast64_t size = atomic_load_explicit(&row->execution_batch_size, memory_order_relaxed);
        if (size == 0 && atomic_compare_exchange_strong_explicit(&row->execution_batch_size, &size, own,
                                                                 memory_order_relaxed, memory_order_relaxed))
            size = own;
        if (size == own) {
            tn_batch_sizes_record(&row->rows, padding);
            return;
        }
    }
}
