/* base/memory.c - see base/memory.h. */
#include "base/memory.h"

#include <stdio.h>
#include <unistd.h>

#include "base/str.h"

#define FILE_MAX 16384

/* The number in a file, or 0 ("max", no file). */
static int64_t number_in(const char *path)
{
    char text[64];
    int64_t value = 0;
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    return tn_str_i64((tn_str){text, n}, &value) ? value : 0;
}

int64_t tn_memory_limit(void)
{
    static const char *const files[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    int64_t limit = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    for (int i = 0; i < 2; i++) {
        int64_t n = number_in(files[i]);
        if (n > 0 && n < limit)
            limit = n;
    }
    return limit;
}

/* The number behind `key` at the beginning of a line, or -1. */
static int64_t value_in(const char *path, const char *key)
{
    char text[FILE_MAX];
    const tn_str name = tn_str_from(key);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return -1;
    tn_str rest = {text, fread(text, 1, sizeof text, f)};
    fclose(f);
    while (rest.len > 0) {
        ptrdiff_t end = tn_str_chr(rest, '\n');
        const tn_str line = end >= 0 ? tn_str_sub(rest, 0, (size_t)end) : rest;
        rest = tn_str_sub(rest, line.len + 1, rest.len);
        if (!tn_str_starts(line, name))
            continue;
        tn_str number = tn_str_trim(tn_str_sub(line, name.len, line.len));
        const ptrdiff_t unit = tn_str_chr(number, ' ');
        int64_t value;
        if (tn_str_i64(unit >= 0 ? tn_str_sub(number, 0, (size_t)unit) : number, &value))
            return value;
    }
    return -1;
}

int64_t tn_memory_left(void)
{
    static const char *const groups[][4] = {{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current",
                                             "/sys/fs/cgroup/memory.stat", "inactive_file "},
                                            {"/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                             "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                                             "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file "}};
    const int64_t machine = value_in("/proc/meminfo", "MemAvailable:");
    int64_t left = machine >= 0 ? machine * 1024 : tn_memory_limit();
    for (int i = 0; i < 2; i++) {
        const int64_t limit = number_in(groups[i][0]), used = number_in(groups[i][1]);
        const int64_t cached = value_in(groups[i][2], groups[i][3]);
        const int64_t here = limit - used + (cached > 0 ? cached : 0);
        if (limit > 0 && used > 0 && here < left)
            left = here > 0 ? here : 0;
    }
    return left;
}
