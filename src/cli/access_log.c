/* cli/access_log.c - the access log out of its flags. See cli/parts.h. */
#include "cli/parts.h"

#define MAX_SLOW_MS (INT64_C(1) << 32)

tern_code tn_parts_access_log(tn_parts *p, tern_status *st)
{
    const tn_options *o = &p->o;
    tn_server *s = &p->server;
    bool json = strcmp(o->access_log, "json") == 0;
    if (!json && strcmp(o->access_log, "text") != 0 && strcmp(o->access_log, "off") != 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--access_log=%s: use off, text or json", o->access_log);
    if (o->slow_ms < 0 || o->slow_ms > MAX_SLOW_MS)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--slow_ms=%lld: use 0 to %lld", (long long)o->slow_ms,
                         (long long)MAX_SLOW_MS);
    if (strcmp(o->access_log, "off") == 0)
        return TERN_OK;
    s->access_json = json;
    s->slow_ns = o->slow_ms * TN_NS_PER_MS;
    tern_status why;
    tern_code code = tn_log_writer_new(tn_text_or_null(o->access_log_file),
                                       (size_t)s->limits.max_access_log_bytes, &s->access_log, &why);
    return code == TERN_OK ? code : tern_fail(st, code, "--access_log_file: %s", why.message);
}
