/* cli/memory.c - see cli/memory.h. */
#include "cli/memory.h"

#include <stdio.h>
#include <unistd.h>

#include "base/str.h"

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
