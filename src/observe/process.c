/* observe/process.c - see observe/process.h. Fields as in proc(5). */
#include "observe/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/str.h"

/* Reads a small file as text; its length, 0 when it is not there. */
static size_t read_file(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    size_t n = fread(text, 1, size - 1, f);
    fclose(f);
    text[n] = '\0';
    return n;
}

/* Unix time of the machine's start. */
static double boot_seconds(void)
{
    char text[16384];
    uint64_t value;
    tn_str all = {text, read_file("/proc/stat", text, sizeof text)};
    ptrdiff_t at = tn_str_find(all, TN_STR("\nbtime "));
    if (at < 0)
        return 0;
    tn_str rest = tn_str_sub(all, (size_t)at + 7, all.len);
    ptrdiff_t end = tn_str_chr(rest, '\n');
    return end > 0 && tn_str_u64(tn_str_sub(rest, 0, (size_t)end), &value) ? (double)value : 0;
}

static uint64_t count_fds(void)
{
    uint64_t n = 0;
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL)
        return 0;
    while (readdir(folder) != NULL)
        n++;
    closedir(folder);
    return n > 3 ? n - 3 : 0; /* ".", "..", and the folder's own */
}

/* Field i (from 1) of /proc/self/stat, whose second one ends in the last ')'. */
static uint64_t stat_field(tn_str after_name, unsigned i)
{
    uint64_t value = 0;
    tn_str rest = after_name;
    for (unsigned at = 3;; at++) {
        ptrdiff_t end = tn_str_chr(rest, ' ');
        tn_str field = tn_str_sub(rest, 0, end >= 0 ? (size_t)end : rest.len);
        if (at == i)
            return tn_str_u64(field, &value) ? value : 0;
        if (end < 0)
            return 0;
        rest = tn_str_sub(rest, (size_t)end + 1, rest.len);
    }
}

tn_process tn_process_read(void)
{
    tn_process p = {0};
    char text[2048];
    struct rlimit files;
    size_t n = read_file("/proc/self/stat", text, sizeof text);
    char *name_end = n > 0 ? strrchr(text, ')') : NULL;
    double ticks = (double)sysconf(_SC_CLK_TCK);
    if (name_end != NULL && name_end + 2 <= text + n && ticks > 0) {
        tn_str fields = tn_str_from(name_end + 2);
        p.cpu_seconds = (double)(stat_field(fields, 14) + stat_field(fields, 15)) / ticks;
        p.threads = stat_field(fields, 20);
        p.start_seconds = boot_seconds() + (double)stat_field(fields, 22) / ticks;
        p.virtual_bytes = stat_field(fields, 23);
        p.resident_bytes = stat_field(fields, 24) * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    p.open_fds = count_fds();
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
        p.max_fds = files.rlim_cur;
    return p;
}
