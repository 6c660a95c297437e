/*
 * base/cores.h - how many processors this process may use: the smaller of its CPU set (sched_setaffinity,
 * cpuset cgroup) and its cgroup's CPU quota (v2 cpu.max on the way up to the root, v1 cpu.cfs_quota_us),
 * rounded up.
 */
#ifndef TN_BASE_CORES_H
#define TN_BASE_CORES_H

#include "base/str.h"

/* At least 1. Reads /proc and /sys: for start-up. Any thread. */
unsigned tn_cores(void);

/*
 * Processors that the text of cgroup v2's cpu.max ("max 100000", "150000 100000") allows, rounded up; 0: no
 * limit, or no such text. Pure.
 */
unsigned tn_cores_of_quota(tn_str cpu_max);

#endif
