/*
 * base/hdr.h - a histogram of durations with percentiles that are right to 1 part in 128, whatever their
 * size.
 *
 * Log-linear buckets, as HdrHistogram has them (hdrhistogram.org): each power of two is cut into 128 equal
 * parts. One nanosecond to about 73 minutes; what is longer counts as that. One thread at a time; histograms
 * of several threads are added up at the end.
 */
#ifndef TN_BASE_HDR_H
#define TN_BASE_HDR_H

#include <stdint.h>

#define TN_HDR_PARTS   128 /* of each power of two */
#define TN_HDR_POWERS  36
#define TN_HDR_BUCKETS (TN_HDR_PARTS * TN_HDR_POWERS)

/* Zero it before use. */
typedef struct tn_hdr {
    uint64_t n;
    double sum_ns;
    int64_t min_ns, max_ns; /* exact; 0 while n == 0 */
    uint64_t bucket[TN_HDR_BUCKETS];
} tn_hdr;

/* A negative duration counts as 0. */
void tn_hdr_record(tn_hdr *h, int64_t ns);
void tn_hdr_add(tn_hdr *h, const tn_hdr *other);
/*
 * The least duration that at least `share` (0 to 1) of the recorded ones do not exceed: the upper end of its
 * bucket, but never beyond the largest. 0 while nothing is recorded.
 */
int64_t tn_hdr_percentile(const tn_hdr *h, double share);
double tn_hdr_mean(const tn_hdr *h);
/* How many are at most ns, to the precision of a bucket. */
uint64_t tn_hdr_up_to(const tn_hdr *h, int64_t ns);

#endif
