/* base/log.c - see base/log.h. */
#include "base/log.h"

#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_MAX_BYTES 8192

static atomic_int lowest_level = TERN_LOG_INFO;

void tn_log_level(tern_log_level lowest)
{
    atomic_store(&lowest_level, (int)lowest);
}

static size_t line_head(char *line, size_t size, tern_log_level level, const char *component)
{
    int64_t wall = tn_wall_ns();
    time_t seconds = (time_t)(wall / TN_NS_PER_S);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    int n = snprintf(line, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %c %s: ", tm.tm_year + 1900,
                     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                     (int)(wall % TN_NS_PER_S / TN_NS_PER_MS), "DIWE"[level & 3], component);
    return n < 0 ? 0 : (size_t)n;
}

/* One write a line, so that lines of several threads do not mix. Control characters of foreign text become
 * blanks. */
static void line_write(char *line, size_t length)
{
    if (length > LINE_MAX_BYTES - 1)
        length = LINE_MAX_BYTES - 1;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
            line[i] = ' ';
    line[length++] = '\n';
    for (size_t done = 0; done < length;) {
        ssize_t n = write(STDERR_FILENO, line + done, length - done);
        if (n <= 0)
            return;
        done += (size_t)n;
    }
}

void tn_log(tern_log_level level, const char *component, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    if ((int)level < atomic_load_explicit(&lowest_level, memory_order_relaxed))
        return;
    size_t head = line_head(line, sizeof line / 2, level, component);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + head, sizeof line - head, format, args);
    va_end(args);
    line_write(line, head + (n > 0 ? (size_t)n : 0));
}

void tn_log_plugin(tern_log_level level, const char *component, const char *message)
{
    tn_log(level, component, "%s", message);
}
