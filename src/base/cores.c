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

unsigned tn_cores_of_quota_v1(tn_str quota_us, tn_str period_us)
{
    uint64_t quota;
    uint64_t period;
    if (!tn_str_u64(line_of(quota_us), &quota) || !tn_str_u64(line_of(period_us), &period))
        return 0;
    return divide_up(quota, period);
}

static unsigned smaller(unsigned a, unsigned b)
{
    return b != 0 && b < a ? b : a;
}

#define ROOT "/sys/fs/cgroup"

/* One of the files of a group; "" when there is none. text has size bytes. */
static tn_str file_of(const char *controller, tn_str group, const char *name, char *text, size_t size)
{
    char path[4096];
    int n = snprintf(path, sizeof path, ROOT "%s%.*s/%s", controller, TN_FMT(group), name);
    return (tn_str){text, n > 0 && (size_t)n < sizeof path ? read_small(path, text, size) : 0};
}

static unsigned quota_v2(tn_str group)
{
    char text[128];
    return tn_cores_of_quota(file_of("", group, "cpu.max", text, sizeof text));
}

static unsigned quota_v1(tn_str group)
{
    char quota[64], period[64];
    return tn_cores_of_quota_v1(file_of("/cpu", group, "cpu.cfs_quota_us", quota, sizeof quota),
                                file_of("/cpu", group, "cpu.cfs_period_us", period, sizeof period));
}

/* The quota of every group from this process's own up to the root: each of them holds. */
static unsigned smallest(unsigned cores, tn_str group, unsigned (*quota)(tn_str group))
{
    for (;;) {
        while (group.len > 0 && group.ptr[group.len - 1] == '/')
            group.len--;
        cores = smaller(cores, quota(group));
        if (group.len == 0)
            return cores;
        while (group.len > 0 && group.ptr[group.len - 1] != '/')
            group.len--;
    }
}

tn_str tn_cores_group(tn_str cgroups, tn_str controller)
{
    while (cgroups.len > 0) {
        tn_str line = line_of(cgroups);
        cgroups = tn_str_sub(cgroups, line.len + 1, cgroups.len);
        ptrdiff_t first = tn_str_chr(line, ':');
        tn_str rest = first < 0 ? TN_STR_NONE : tn_str_sub(line, (size_t)first + 1, line.len);
        ptrdiff_t second = tn_str_chr(rest, ':');
        if (second < 0)
            continue;
        tn_str list = tn_str_sub(rest, 0, (size_t)second),
               path = tn_str_sub(rest, (size_t)second + 1, rest.len);
        for (;;) {
            ptrdiff_t comma = tn_str_chr(list, ',');
            if (tn_str_eq(comma < 0 ? list : tn_str_sub(list, 0, (size_t)comma), controller))
                return path;
            if (comma < 0)
                break;
            list = tn_str_sub(list, (size_t)comma + 1, list.len);
        }
    }
    return TN_STR_NONE;
}

unsigned tn_cores_of_set(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int n =
        sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

unsigned tn_cores(void)
{
    char text[4096];
    const tn_str groups = {text, read_small("/proc/self/cgroup", text, sizeof text)};
    const unsigned cores = smallest(tn_cores_of_set(), tn_cores_group(groups, TN_STR("")), quota_v2);
    return smallest(cores, tn_cores_group(groups, TN_STR("cpu")), quota_v1);
}
