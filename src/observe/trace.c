/* observe/trace.c - see observe/trace.h. */
#include "observe/trace.h"

#include <sys/random.h>

#include "base/clock.h"

/* ---- traceparent ---- */

/* HEXDIGLC: lower case alone. */
static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(const char *text, unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (unsigned char)(high * 16 + low);
    }
    return true;
}

static bool is_zero(const unsigned char *bytes, size_t n)
{
    unsigned char all = 0;
    for (size_t i = 0; i < n; i++)
        all |= bytes[i];
    return all == 0;
}

bool tn_trace_parse(tn_str value, tn_trace *trace)
{
    unsigned char version, flags;
    tn_trace read = {0};
    const char *p = value.ptr;
    if (value.len < TN_TRACEPARENT || p[2] != '-' || p[35] != '-' || p[52] != '-')
        return false;
    if (!read_hex(p, &version, 1) || version == 0xFF)
        return false;
    if (value.len > TN_TRACEPARENT && (version == 0 || p[TN_TRACEPARENT] != '-'))
        return false;
    if (!read_hex(p + 3, read.trace_id, sizeof read.trace_id) ||
        !read_hex(p + 36, read.parent_id, sizeof read.parent_id) || !read_hex(p + 53, &flags, 1))
        return false;
    if (is_zero(read.trace_id, sizeof read.trace_id) || is_zero(read.parent_id, sizeof read.parent_id))
        return false;
    read.sampled = (flags & 1) != 0;
    *trace = read;
    return true;
}

void tn_hex(const unsigned char *bytes, size_t n, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
}

void tn_trace_write(const tn_trace *trace, char text[TN_TRACEPARENT])
{
    memcpy(text, "00-", 3);
    tn_hex(trace->trace_id, sizeof trace->trace_id, text + 3);
    text[35] = '-';
    tn_hex(trace->span_id, sizeof trace->span_id, text + 36);
    memcpy(text + 52, trace->sampled ? "-01" : "-00", 3);
}

/* ---- tracestate ---- */

static bool key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '*' || c == '/';
}

/* simple-key or tenant@system (3.3.1.3.1). */
static bool good_key(tn_str key)
{
    ptrdiff_t at = tn_str_chr(key, '@');
    tn_str tenant = at < 0 ? key : tn_str_sub(key, 0, (size_t)at);
    tn_str system = at < 0 ? TN_STR_NONE : tn_str_sub(key, (size_t)at + 1, key.len);
    if (tenant.len == 0 || tenant.len > (at < 0 ? 256 : 241))
        return false;
    bool digit_first = tenant.ptr[0] >= '0' && tenant.ptr[0] <= '9';
    bool letter_first = tenant.ptr[0] >= 'a' && tenant.ptr[0] <= 'z';
    if (!letter_first && (at < 0 || !digit_first))
        return false;
    for (size_t i = 0; i < tenant.len; i++)
        if (!key_char(tenant.ptr[i]))
            return false;
    if (at < 0)
        return true;
    if (system.len == 0 || system.len > 14 || system.ptr[0] < 'a' || system.ptr[0] > 'z')
        return false;
    for (size_t i = 0; i < system.len; i++)
        if (!key_char(system.ptr[i]))
            return false;
    return true;
}

/* Printable ASCII without ',' and '=', not ending in a blank (3.3.1.3.2). */
static bool good_value(tn_str value)
{
    if (value.len == 0 || value.len > 256 || value.ptr[value.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] < 0x20 || value.ptr[i] > 0x7E || value.ptr[i] == ',' || value.ptr[i] == '=')
            return false;
    return true;
}

bool tn_tracestate_good(tn_str value)
{
    size_t members = 0;
    if (value.len == 0 || value.len > TN_TRACESTATE_MAX)
        return false;
    for (tn_str rest = value; rest.ptr != NULL;) {
        ptrdiff_t comma = tn_str_chr(rest, ',');
        tn_str member = tn_str_trim(comma < 0 ? rest : tn_str_sub(rest, 0, (size_t)comma));
        rest = comma < 0 ? TN_STR_NONE : tn_str_sub(rest, (size_t)comma + 1, rest.len);
        if (member.len == 0) /* allowed, and counts for nothing */
            continue;
        ptrdiff_t equals = tn_str_chr(member, '=');
        if (equals < 0 || ++members > TN_TRACESTATE_MEMBERS ||
            !good_key(tn_str_sub(member, 0, (size_t)equals)) ||
            !good_value(tn_str_sub(member, (size_t)equals + 1, member.len)))
            return false;
    }
    return members > 0;
}

/* ---- new ids ---- */

/* One generator a thread, of Blackman and Vigna (xoshiro256++): ids must differ, not be secret. */
uint64_t tn_random(void)
{
    static _Thread_local uint64_t s[4];
    if ((s[0] | s[1] | s[2] | s[3]) == 0 && getrandom(s, sizeof s, GRND_NONBLOCK) != (ssize_t)sizeof s) {
        s[0] = (uint64_t)tn_wall_ns();
        s[1] = (uint64_t)tn_now_ns();
        s[2] = (uint64_t)(uintptr_t)&s;
        s[3] = 1;
    }
    uint64_t sum = s[0] + s[3];
    uint64_t result = (sum << 23 | sum >> 41) + s[0];
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return result;
}

static void fill_random(unsigned char *bytes, size_t n)
{
    do
        for (size_t i = 0; i < n; i += 8) {
            uint64_t r = tn_random();
            memcpy(bytes + i, &r, 8);
        }
    while (is_zero(bytes, n));
}

void tn_trace_begin(tn_trace *trace, bool fresh)
{
    if (fresh) {
        *trace = (tn_trace){0};
        fill_random(trace->trace_id, sizeof trace->trace_id);
    }
    fill_random(trace->span_id, sizeof trace->span_id);
}

void tn_uuid(char text[TN_UUID])
{
    unsigned char bytes[16];
    fill_random(bytes, sizeof bytes);
    bytes[6] = (unsigned char)((bytes[6] & 0x0f) | 0x40);
    bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80);
    static const size_t parts[] = {4, 2, 2, 2, 6};
    for (size_t i = 0, at = 0, from = 0; i < sizeof parts / sizeof *parts; i++) {
        if (i > 0)
            text[at++] = '-';
        tn_hex(bytes + from, parts[i], text + at);
        from += parts[i];
        at += parts[i] * 2;
    }
}
