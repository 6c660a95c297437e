/*
 * schedule/cost.c - the decaying maximum behind inline runs. See cost.h.
 */
#include "schedule/cost.h"

#include <sys/resource.h>

#include "base/clock.h"

#define DECAY_SHIFT 4
#define CLIP        4
#define FORGIVEN    16
#define TURN_NS     (20 * TN_NS_PER_MS) /* what others get at a time, at most */

unsigned tn_cost_class(size_t bytes)
{
    if (bytes == 0)
        return 0;
    unsigned bits = 64u - (unsigned)__builtin_clzll((unsigned long long)bytes);
    return bits < TN_COST_CLASSES ? bits : TN_COST_CLASSES - 1;
}

/* A cell: the figure in 1/16 us below, above it how many calls until a dear one is forgiven again. */
#define FIGURE UINT32_MAX
#define CALLS  32

void tn_cost_record(tn_cost *cost, unsigned kind, unsigned class, int64_t ns, int64_t limit_us,
                    bool interrupted)
{
    const int64_t limit = limit_us * 16, most = limit * CLIP;
    int64_t seen = ns < limit_us * CLIP * TN_NS_PER_US ? ns * 16 / TN_NS_PER_US : most;
    if (seen < 1)
        seen = 1; /* 0 means not measured */
    atomic_uint_least64_t *cell = &cost->us_x16[kind][class];
    const uint64_t was = atomic_load_explicit(cell, memory_order_relaxed);
    const int64_t kept = (int64_t)(was & FIGURE);
    uint64_t calls = was >> CALLS;
    int64_t next = seen;
    if (seen >= limit && kept != 0 && calls == 0 && interrupted) {
        next = kept;
    } else if (kept > seen) {
        int64_t step = (kept - seen) >> DECAY_SHIFT;
        next = kept - (step > 0 ? step : 1);
    }
    calls = seen >= limit ? FORGIVEN : calls - (calls > 0);
    const uint64_t is = calls << CALLS | (uint64_t)next;
    if (is != was)
        atomic_store_explicit(cell, is, memory_order_relaxed);
}

bool tn_cost_is_small(const tn_cost *cost, unsigned kind, unsigned class, int64_t limit_us)
{
    int64_t kept = (int64_t)(atomic_load_explicit(&cost->us_x16[kind][class], memory_order_relaxed) & FIGURE);
    return kept != 0 && kept < limit_us * 16;
}

bool tn_cost_interrupted(int64_t ns)
{
    static _Thread_local long switches;
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) != 0)
        return false;
    const bool more = usage.ru_nivcsw != switches;
    switches = usage.ru_nivcsw;
    return more && ns <= TURN_NS;
}
