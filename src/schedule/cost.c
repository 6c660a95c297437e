/*
 * schedule/cost.c - the decaying maximum behind inline runs. See cost.h.
 */
#include "schedule/cost.h"

#include "base/clock.h"

#define DECAY_SHIFT 4
#define CLIP        4

unsigned tn_cost_class(size_t bytes)
{
    if (bytes == 0)
        return 0;
    unsigned bits = 64u - (unsigned)__builtin_clzll((unsigned long long)bytes);
    return bits < TN_COST_CLASSES ? bits : TN_COST_CLASSES - 1;
}

void tn_cost_record(tn_cost *cost, unsigned kind, unsigned class, int64_t ns, int64_t limit_us)
{
    int64_t most = limit_us * CLIP * 16;
    int64_t seen = ns < most * TN_NS_PER_US ? ns * 16 / TN_NS_PER_US : most;
    if (seen > most)
        seen = most;
    if (seen < 1)
        seen = 1; /* 0 means not measured */
    atomic_uint_fast32_t *cell = &cost->us_x16[kind][class];
    int64_t kept = (int64_t)atomic_load_explicit(cell, memory_order_relaxed);
    int64_t next = seen;
    if (kept > seen) {
        int64_t step = (kept - seen) >> DECAY_SHIFT;
        next = kept - (step > 0 ? step : 1);
    }
    if (next != kept)
        atomic_store_explicit(cell, (uint_fast32_t)next, memory_order_relaxed);
}

bool tn_cost_is_small(const tn_cost *cost, unsigned kind, unsigned class, int64_t limit_us)
{
    int64_t kept = (int64_t)atomic_load_explicit(&cost->us_x16[kind][class], memory_order_relaxed);
    return kept != 0 && kept < limit_us * 16;
}
