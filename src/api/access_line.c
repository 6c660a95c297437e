/*
 * api/access_line.c - one line of the access log, as text or as JSON. See api/access.h.
 *
 * What a client sent is quoted as JSON in both forms, so no request can end a line or make up a field.
 */
#include <time.h>

#include "api/access.h"
#include "base/status.h"
#include "codec/json.h"

/* Longer targets are cut. */
#define TARGET_MAX 2048

static void put_time(tn_buf *out, int64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / TN_NS_PER_S);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    tn_buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                  tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(wall_ns % TN_NS_PER_S / TN_NS_PER_US));
}

/* Milliseconds with three digits behind the point. */
static void put_ms(tn_buf *out, int64_t ns)
{
    uint64_t us = ns > 0 ? (uint64_t)(ns / TN_NS_PER_US) : 0;
    const char part[] = {(char)('0' + us % 1000 / 100), (char)('0' + us % 100 / 10), (char)('0' + us % 10)};
    tn_buf_u64(out, us / 1000);
    tn_buf_char(out, '.');
    tn_buf_append(out, part, sizeof part);
}

static void put_hex(tn_buf *out, const unsigned char *bytes, size_t n)
{
    char text[32];
    tn_hex(bytes, n, text);
    tn_buf_append(out, text, 2 * n);
}

/* Before a field's value. */
static void put_key(tn_buf *out, bool json, const char *name)
{
    if (json) {
        tn_buf_z(out, ",\"");
        tn_buf_z(out, name);
        tn_buf_z(out, "\":");
    } else {
        tn_buf_char(out, ' ');
        tn_buf_z(out, name);
        tn_buf_char(out, '=');
    }
}

static void put_text(tn_buf *out, bool json, const char *name, tn_str value)
{
    put_key(out, json, name);
    tn_json_quote(out, value);
}

static void put_number(tn_buf *out, bool json, const char *name, uint64_t value)
{
    put_key(out, json, name);
    tn_buf_u64(out, value);
}

/* Ours: needs no quoting in text. */
static void put_word(tn_buf *out, bool json, const char *name, const char *value)
{
    put_key(out, json, name);
    tn_buf_z(out, json ? "\"" : "");
    tn_buf_z(out, value);
    tn_buf_z(out, json ? "\"" : "");
}

static void put_id(tn_buf *out, bool json, const char *name, const unsigned char *bytes, size_t n)
{
    put_key(out, json, name);
    tn_buf_z(out, json ? "\"" : "");
    put_hex(out, bytes, n);
    tn_buf_z(out, json ? "\"" : "");
}

static void put_stages(tn_buf *out, bool json, const int64_t *stage_ns)
{
    const char *before = "";
    put_key(out, json, "stages_ms");
    tn_buf_z(out, json ? "{" : "");
    for (int stage = 0; stage < TN_STAGES; stage++) {
        if (stage_ns[stage] <= 0)
            continue;
        tn_buf_printf(out, json ? "%s\"%s\":" : "%s%s:", before, tn_stage_name((tn_stage)stage));
        put_ms(out, stage_ns[stage]);
        before = ",";
    }
    tn_buf_z(out, json ? "}" : *before == '\0' ? "-" : "");
}

static void put_entry(tn_buf *out, bool json, const tn_access *a)
{
    if (a->has_method) {
        put_word(out, json, "api", tn_method_name(a->method)->api);
        put_word(out, json, "call", tn_method_name(a->method)->method);
    }
    if (a->model_len > 0)
        put_text(out, json, "model", (tn_str){a->model, a->model_len});
    if (a->has_version) {
        put_key(out, json, "version");
        tn_buf_i64(out, a->version);
    }
    if (a->signature_len > 0)
        put_text(out, json, "signature", (tn_str){a->signature, a->signature_len});
    put_stages(out, json, a->stage_ns);
    if (a->request_id_len > 0)
        put_text(out, json, "request_id", (tn_str){a->request_id, a->request_id_len});
    else
        put_id(out, json, "request_id", a->trace.span_id, sizeof a->trace.span_id);
    put_id(out, json, "trace_id", a->trace.trace_id, sizeof a->trace.trace_id);
    put_id(out, json, "span_id", a->trace.span_id, sizeof a->trace.span_id);
    if (a->has_parent)
        put_id(out, json, "parent_id", a->trace.parent_id, sizeof a->trace.parent_id);
    put_word(out, json, "sampled", a->trace.sampled ? "1" : "0");
}

static tn_str short_target(const tn_access_line *line)
{
    return tn_str_sub(line->target, 0, TARGET_MAX);
}

void tn_access_write(const tn_access_line *line, bool json, tn_buf *out)
{
    const tn_access *a = line->entry;
    tn_str peer = a != NULL ? (tn_str){a->peer, a->peer_len} : TN_STR("-");
    if (json) {
        tn_buf_z(out, "{\"time\":\"");
        put_time(out, line->wall_ns);
        tn_buf_z(out, "\"");
        put_text(out, json, "peer", peer);
        put_text(out, json, "method", tn_str_sub(line->method, 0, 32));
        put_text(out, json, "path", short_target(line));
    } else {
        put_time(out, line->wall_ns);
        tn_buf_char(out, ' ');
        tn_buf_str(out, peer);
        tn_buf_char(out, ' ');
        tn_json_quote(out, tn_str_sub(line->method, 0, 32));
        tn_buf_char(out, ' ');
        tn_json_quote(out, short_target(line));
    }
    put_word(out, json, "protocol", line->http2 ? "HTTP/2" : "HTTP/1.1");
    put_number(out, json, "status", (uint64_t)line->status);
    if (a != NULL && a->has_code)
        put_word(out, json, "code", tn_code_name(a->code));
    put_word(out, json, "end", line->sent ? "sent" : "gone");
    put_number(out, json, "bytes_in", line->bytes_in);
    put_number(out, json, "bytes_out", line->bytes_out);
    put_key(out, json, "total_ms");
    put_ms(out, line->total_ns);
    if (a != NULL)
        put_entry(out, json, a);
    tn_buf_z(out, json ? "}\n" : "\n");
}
