/* observe/metrics.c - see observe/metrics.h. */
#include "observe/metrics.h"

/* Upper bounds in nanoseconds: 10 us * 1.8^k, rounded; the last bucket has none. */
static const int64_t bounds_ns[TN_HISTOGRAM_BUCKETS - 1] = {
    10000,        18000,        32400,        58320,        104976,        188957,      340122,
    612220,       1101996,      1983593,      3570467,      6426841,       11568314,    20822965,
    37481337,     67466406,     121439531,    218591156,    393464081,     708235345,   1274823622,
    2294682519,   4130428534,   7434771361,   13382588451,  24088659211,   43359586580, 78047255843,
    140485060518, 252873108933, 455171596079, 819308872942, 1474755971296,
};

const char *tn_stage_name(tn_stage stage)
{
    static const char *const names[TN_STAGES] = {"read", "decode",      "preprocess", "queue",
                                                 "run",  "postprocess", "encode",     "write"};
    return (unsigned)stage < TN_STAGES ? names[stage] : "unknown";
}

/* The first bucket whose bound is not below ns. */
static size_t bucket_of(int64_t ns)
{
    if (ns <= bounds_ns[0])
        return 0;
    /* 75/64 is a little less than 1 / log2(1.8): at or up to two below the right one. */
    const unsigned log2 = 63 - (unsigned)__builtin_clzll((unsigned long long)ns);
    size_t i = ((log2 - 13) * 75) / 64;
    if (i > TN_HISTOGRAM_BUCKETS - 1)
        i = TN_HISTOGRAM_BUCKETS - 1;
    while (i < TN_HISTOGRAM_BUCKETS - 1 && ns > bounds_ns[i])
        i++;
    return i;
}

void tn_histogram_record(tn_histogram *h, int64_t ns)
{
    if (ns < 0)
        ns = 0;
    atomic_fetch_add_explicit(&h->bucket[bucket_of(ns)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_ns, (uint64_t)ns, memory_order_relaxed);
}

uint64_t tn_histogram_count(const tn_histogram *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i < TN_HISTOGRAM_BUCKETS; i++)
        n += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
    return n;
}

void tn_histogram_add(tn_histogram_sum *to, const tn_histogram *h)
{
    for (size_t i = 0; i < TN_HISTOGRAM_BUCKETS; i++)
        to->bucket[i] += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
    to->sum_ns += atomic_load_explicit(&h->sum_ns, memory_order_relaxed);
}

void tn_expo_head(tn_buf *out, const char *name, const char *type, const char *help)
{
    tn_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void series(tn_buf *out, const char *name, const char *suffix, tn_str labels, const char *bound)
{
    tn_buf_z(out, name);
    tn_buf_z(out, suffix);
    if (labels.len > 0 || bound != NULL) {
        tn_buf_char(out, '{');
        tn_buf_str(out, labels);
        if (bound != NULL)
            tn_buf_printf(out, "%sle=\"%s\"", labels.len > 0 ? "," : "", bound);
        tn_buf_char(out, '}');
    }
    tn_buf_char(out, ' ');
}

void tn_expo_value(tn_buf *out, const char *name, tn_str labels, uint64_t value)
{
    series(out, name, "", labels, NULL);
    tn_buf_u64(out, value);
    tn_buf_char(out, '\n');
}

void tn_expo_real(tn_buf *out, const char *name, tn_str labels, double value)
{
    series(out, name, "", labels, NULL);
    tn_buf_printf(out, "%.15g\n", value);
}

void tn_expo_histogram(tn_buf *out, const char *name, tn_str labels, const tn_histogram *h)
{
    uint64_t count = 0;
    for (size_t i = 0; i < TN_HISTOGRAM_BUCKETS; i++) {
        char bound[32] = "+Inf";
        if (i < TN_HISTOGRAM_BUCKETS - 1)
            snprintf(bound, sizeof bound, "%.9g", (double)bounds_ns[i] / 1e9);
        count += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
        series(out, name, "_bucket", labels, bound);
        tn_buf_u64(out, count);
        tn_buf_char(out, '\n');
    }
    series(out, name, "_sum", labels, NULL);
    tn_buf_printf(out, "%.15g\n", (double)atomic_load_explicit(&h->sum_ns, memory_order_relaxed) / 1e9);
    series(out, name, "_count", labels, NULL);
    tn_buf_u64(out, count);
    tn_buf_char(out, '\n');
}

void tn_expo_escape(tn_buf *out, tn_str s)
{
    bool utf8 = tn_str_is_utf8(s);
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '\\' || c == '"')
            tn_buf_char(out, '\\');
        if (c == '\n')
            tn_buf_z(out, "\\n");
        else
            tn_buf_char(out, !utf8 && (unsigned char)c >= 0x80 ? '?' : c);
    }
}

/* ---- TensorFlow Serving's form ---- */

void tn_serving_head(tn_buf *out, const char *name, const char *type)
{
    tn_buf_printf(out, "# TYPE %s %s\n", name, type);
}

static void serving_series(tn_buf *out, const char *name, const char *suffix, tn_str labels)
{
    tn_buf_z(out, name);
    tn_buf_z(out, suffix);
    tn_buf_char(out, '{');
    tn_buf_str(out, labels);
}

void tn_serving_value(tn_buf *out, const char *name, tn_str labels, uint64_t value)
{
    serving_series(out, name, "", labels);
    tn_buf_z(out, "} ");
    tn_buf_u64(out, value);
    tn_buf_char(out, '\n');
}

void tn_serving_histogram(tn_buf *out, const char *name, tn_str labels, double first, double factor,
                          const uint64_t *bucket, size_t n, double sum)
{
    uint64_t count = 0;
    double bound = first;
    for (size_t i = 0; i < n; i++) {
        char text[32] = "+Inf";
        if (i < n - 1)
            snprintf(text, sizeof text, "%g", bound);
        bound *= factor;
        count += bucket[i];
        serving_series(out, name, "_bucket", labels);
        tn_buf_printf(out, "%sle=\"%s\"} ", labels.len > 0 ? "," : "", text);
        tn_buf_u64(out, count);
        tn_buf_char(out, '\n');
    }
    serving_series(out, name, "_sum", labels);
    /* More digits than the original's six: a sum that stands still would look like no traffic. */
    tn_buf_printf(out, "} %.15g\n", sum);
    serving_series(out, name, "_count", labels);
    tn_buf_z(out, "} ");
    tn_buf_u64(out, count);
    tn_buf_char(out, '\n');
}
