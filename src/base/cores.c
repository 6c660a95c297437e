/*
 * base/cores.c - processors of this process. See cores.h.
 */
#include "base/cores.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

static size_t read_small(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, buffer, size);
    close(fd);
    return n > 0 ? (size_t)n : 0;
}

static unsigned divide_up(uint64_t quota, uint64_t period)
{
    if (quota == 0 || period == 0)
        return 0;
    uint64_t cores = quota / period + (quota % period != 0);
    return cores < 4096 ? (unsigned)cores : 4096;
}

static tn_str line_of(tn_str text)
{
    ptrdiff_t end = tn_str_chr(text, '\n');
    return end < 0 ? text : tn_str_sub(text, 0, (size_t)end);
}

unsigned tn_cores_of_quota(tn_str cpu_max)
{
    tn_str line = line_of(cpu_max);
    ptrdiff_t blank = tn_str_chr(line, ' ');
    uint64_t quota;
    uint64_t period;
    if (blank < 0 || !tn_str_u64(tn_str_sub(line, 0, (size_t)blank), &quota) ||
        !tn_str_u64(tn_str_trim(tn_str_sub(line, (size_t)blank + 1, line.len)), &period))
        return 0;
    return divide_up(quota, period);
}

static unsigned smaller(unsigned a, unsigned b)
{
    return b != 0 && b < a ? b : a;
}

/* The quota of every group from this process's own up to the root: each of them holds. */
static unsigned quota_v2(unsigned cores)
{
    char groups[4096];
    tn_str text = {groups, read_small("/proc/self/cgroup", groups, sizeof groups)};
    ptrdiff_t at = tn_str_find(text, TN_STR("0::/"));
    if (at < 0)
        return cores;
    tn_str group = line_of(tn_str_sub(text, (size_t)at + 3, text.len));
    for (;;) {
        char path[4096];
        char quota[128];
        int n = snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/cpu.max", TN_FMT(group));
        if (n > 0 && (size_t)n < sizeof path)
            cores = smaller(cores, tn_cores_of_quota((tn_str){quota, read_small(path, quota, sizeof quota)}));
        if (group.len == 0)
            return cores;
        while (group.len > 0 && group.ptr[group.len - 1] != '/')
            group.len--;
        if (group.len > 0)
            group.len--;
    }
}

static unsigned quota_v1(unsigned cores)
{
    char quota[64];
    char period[64];
    size_t nq = read_small("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof quota);
    size_t np = read_small("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period);
    uint64_t q;
    uint64_t p;
    if (!tn_str_u64(line_of((tn_str){quota, nq}), &q) || !tn_str_u64(line_of((tn_str){period, np}), &p))
        return cores;
    return smaller(cores, divide_up(q, p));
}

unsigned tn_cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int n =
        sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    unsigned cores = n > 0 ? (unsigned)n : 1;
    return quota_v1(quota_v2(cores));
}
