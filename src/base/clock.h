/*
 * base/clock.h - time. Any thread.
 */
#ifndef TN_BASE_CLOCK_H
#define TN_BASE_CLOCK_H

#include <stdint.h>

#define TN_NS_PER_US INT64_C(1000)
#define TN_NS_PER_MS INT64_C(1000000)
#define TN_NS_PER_S  INT64_C(1000000000)

/* CLOCK_MONOTONIC, nanoseconds. */
int64_t tn_now_ns(void);
/* CLOCK_REALTIME, nanoseconds since 1970. */
int64_t tn_wall_ns(void);

#endif
