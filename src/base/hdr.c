/* base/hdr.c - see base/hdr.h. */
#include "base/hdr.h"

#include <math.h>

#define PARTS_BITS 7

_Static_assert(1 << PARTS_BITS == TN_HDR_PARTS, "parts of a power of two");

/* Values below 128 have a bucket each; from there on bucket = power * 128 + the 7 bits below the highest. */
static unsigned bucket_of(int64_t ns)
{
    if (ns < TN_HDR_PARTS)
        return (unsigned)ns;
    const unsigned high = 63u - (unsigned)__builtin_clzll((unsigned long long)ns);
    const unsigned power = high - PARTS_BITS + 1;
    if (power >= TN_HDR_POWERS)
        return TN_HDR_BUCKETS - 1;
    return power * TN_HDR_PARTS + (unsigned)((uint64_t)ns >> (high - PARTS_BITS) & (TN_HDR_PARTS - 1));
}

/* The largest value of a bucket. */
static int64_t end_of(unsigned bucket)
{
    const unsigned power = bucket / TN_HDR_PARTS, part = bucket % TN_HDR_PARTS;
    if (power == 0)
        return part;
    return ((int64_t)(TN_HDR_PARTS + part + 1) << (power - 1)) - 1;
}

void tn_hdr_record(tn_hdr *h, int64_t ns)
{
    if (ns < 0)
        ns = 0;
    if (h->n == 0 || ns < h->min_ns)
        h->min_ns = ns;
    if (ns > h->max_ns)
        h->max_ns = ns;
    h->n++;
    h->sum_ns += (double)ns;
    h->bucket[bucket_of(ns)]++;
}

void tn_hdr_add(tn_hdr *h, const tn_hdr *other)
{
    if (other->n == 0)
        return;
    if (h->n == 0 || other->min_ns < h->min_ns)
        h->min_ns = other->min_ns;
    if (other->max_ns > h->max_ns)
        h->max_ns = other->max_ns;
    h->n += other->n;
    h->sum_ns += other->sum_ns;
    for (unsigned i = 0; i < TN_HDR_BUCKETS; i++)
        h->bucket[i] += other->bucket[i];
}

int64_t tn_hdr_percentile(const tn_hdr *h, double share)
{
    uint64_t wanted = (uint64_t)ceil(share * (double)h->n), seen = 0;
    if (h->n == 0)
        return 0;
    if (wanted < 1)
        wanted = 1;
    for (unsigned i = 0; i < TN_HDR_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen >= wanted)
            return end_of(i) < h->max_ns && i + 1 < TN_HDR_BUCKETS ? end_of(i) : h->max_ns;
    }
    return h->max_ns;
}

double tn_hdr_mean(const tn_hdr *h)
{
    return h->n > 0 ? h->sum_ns / (double)h->n : 0;
}

uint64_t tn_hdr_up_to(const tn_hdr *h, int64_t ns)
{
    uint64_t seen = 0;
    const unsigned last = bucket_of(ns < 0 ? 0 : ns);
    for (unsigned i = 0; i <= last; i++)
        seen += h->bucket[i];
    return seen;
}
