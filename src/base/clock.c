/* base/clock.c - see base/clock.h. */
#include "base/clock.h"

#include <time.h>

static int64_t now(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * TN_NS_PER_S + t.tv_nsec;
}

int64_t tn_now_ns(void)
{
    return now(CLOCK_MONOTONIC);
}

int64_t tn_wall_ns(void)
{
    return now(CLOCK_REALTIME);
}
