/*
 * base/cores.h - how many processors this process may use: the smaller of its CPU set (sched_setaffinity,
 * cpuset cgroup) and its cgroup's CPU quota (v2 cpu.max, v1 cpu.cfs_quota_us, of every group up to the root),
 * rounded up.
 */
#ifndef TN_BASE_CORES_H
#define TN_BASE_CORES_H

#include "base/str.h"

/* At least 1. Reads /proc and /sys: for start-up. Any thread. */
unsigned tn_cores(void);
/*
 * Processors of its CPU set alone. Where tn_cores() is less, a quota is what limits, which libraries that
 * count processors themselves do not see.
 */
unsigned tn_cores_of_set(void);

/*
 * Processors that the text of cgroup v2's cpu.max ("max 100000", "150000 100000") allows, rounded up; 0: no
 * limit, or no such text. Pure.
 */
unsigned tn_cores_of_quota(tn_str cpu_max);
/*
 * The same of cgroup v1's two files, cpu.cfs_quota_us ("-1": no limit) and cpu.cfs_period_us. Pure.
 */
unsigned tn_cores_of_quota_v1(tn_str quota_us, tn_str period_us);
/*
 * Path of the group in the text of /proc/self/cgroup ("4:cpu,cpuacct:/a/b", "0::/a") that has the controller;
 * "" is v2's. Absent when there is none. Pure.
 */
tn_str tn_cores_group(tn_str cgroups, tn_str controller);

#endif
