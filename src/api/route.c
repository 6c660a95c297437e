/*
 * api/route.c - the first look at a request: which surface answers. See api/server.h and api/surfaces.h.
 */
#include "api/access.h"
#include "api/capture.h"
#include "api/endpoints.h"
#include "api/http.h"
#include "api/sagemaker.h"
#include "api/surfaces.h"

void tn_server_count(tn_server *server, tn_model_stats *stats, tn_method method, tern_code code,
                     int64_t took_ns, int64_t run_ns)
{
    if ((unsigned)code < TN_CODES)
        atomic_fetch_add_explicit(&server->answers[code], 1, memory_order_relaxed);
    if (stats == NULL && server->stats != NULL)
        stats = tn_stats_find(server->stats, TN_STR(""));
    if (stats != NULL)
        tn_stats_answer(stats, method, code, took_ns, run_ns);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

tn_str tn_percent_decode(tn_str s, tn_arena *arena)
{
    char *out = tn_arena_alloc(arena, s.len + 1);
    size_t n = 0;
    if (out == NULL)
        return TN_STR_NONE;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '%') {
            int high = s.len - i > 2 ? hex_value(s.ptr[i + 1]) : -1;
            int low = s.len - i > 2 ? hex_value(s.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return TN_STR_NONE;
            c = (char)(high * 16 + low);
            i += 2;
        }
        out[n++] = c;
    }
    out[n] = '\0';
    return (tn_str){out, n};
}

/* RFC 3986, 3.3: the characters of a path; a query and a fragment have '?' besides. */
static bool path_char(char c)
{
    /* One bit for each of the lower 128: digits and letters, and -._~!$&'()*+,;=:@/ */
    static const uint64_t set[2] = {UINT64_C(0x2FFFFFD200000000), UINT64_C(0x47FFFFFE87FFFFFF)};
    const unsigned char u = (unsigned char)c;
    return u < 128 && (set[u / 64] >> (u % 64) & 1) != 0;
}

bool tn_target_is_uri(tn_str target)
{
    bool query = false, fragment = false;
    /* The host of an absolute form may be an address in brackets; it is not looked at here. */
    ptrdiff_t host = tn_str_istarts(target, TN_STR("http")) ? tn_str_find(target, TN_STR("://")) : -1;
    size_t i = host >= 0 ? (size_t)host + 3 : 0;
    while (host >= 0 && i < target.len && target.ptr[i] != '/')
        i++;
    for (; i < target.len; i++) {
        char c = target.ptr[i];
        if (path_char(c) || (c == '?' && (query || fragment)))
            continue;
        if (c == '%' && target.len - i > 2 && hex_value(target.ptr[i + 1]) >= 0 &&
            hex_value(target.ptr[i + 2]) >= 0)
            i += 2;
        else if (c == '?')
            query = true;
        else if (c == '#' && !fragment)
            fragment = true;
        else
            return false;
    }
    return true;
}

tn_target_parts tn_target_split(tn_str target)
{
    tn_target_parts parts = {.path = target};
    if (tn_str_istarts(target, TN_STR("http://")) || tn_str_istarts(target, TN_STR("https://"))) {
        tn_str rest = tn_str_sub(target, target.ptr[4] == ':' ? 7 : 8, target.len);
        ptrdiff_t slash = tn_str_chr(rest, '/');
        parts.path = slash >= 0 ? tn_str_sub(rest, (size_t)slash, rest.len) : TN_STR("/");
    }
    ptrdiff_t query = tn_str_chr(parts.path, '?');
    if (query >= 0) {
        parts.has_query = true;
        parts.query = tn_str_sub(parts.path, (size_t)query + 1, parts.path.len);
        parts.path = tn_str_sub(parts.path, 0, (size_t)query);
    }
    return parts;
}

static void not_found(tn_server *server, tn_exchange *ex)
{
    tern_status st;
    tern_fail(&st, TERN_NOT_FOUND,
              "Not Found: nothing is served at this path. Models are under /v1/models/NAME");
    tn_http_error(server, ex, &st);
}

static void no_uri(tn_server *server, tn_exchange *ex)
{
    tern_status st;
    tern_fail(&st, TERN_INVALID_ARGUMENT, "%s", TN_NO_URI);
    tn_http_error(server, ex, &st);
}

static void method_not_known(tn_server *server, tn_exchange *ex)
{
    tn_str method = tn_exchange_method(ex);
    tern_status st;
    tern_fail(&st, TERN_UNIMPLEMENTED, "Not Implemented: method %.*s", TN_FMT(tn_str_sub(method, 0, 32)));
    tn_http_error(server, ex, &st);
}

/*
 * Methods that TensorFlow Serving's HTTP library knows; others are 501 everywhere (golden corpus:
 * routes-080..084).
 */
static bool known_method(tn_str method)
{
    static const tn_str known[] = {TN_STR_INIT("GET"),  TN_STR_INIT("POST"),   TN_STR_INIT("HEAD"),
                                   TN_STR_INIT("PUT"),  TN_STR_INIT("DELETE"), TN_STR_INIT("OPTIONS"),
                                   TN_STR_INIT("PATCH")};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (tn_str_eq(method, known[i]))
            return true;
    return false;
}

/* A request whose data are captured comes here a second time. */
static void invocation(tn_server *server, tn_exchange *ex)
{
    tn_target_parts parts = tn_target_split(tn_exchange_target(ex));
    (void)tn_sagemaker_on_request(server, ex, &parts); /* its paths are all there */
}

void tn_server_on_request(void *context, tn_exchange *ex)
{
    tn_server *server = context;
    tn_access_begin(server, ex);
    if (tn_exchange_listener(ex) == TN_LISTENER_SAGEMAKER) {
        tn_sagemaker_route(server, ex);
        return;
    }
    if (tn_str_istarts(tn_exchange_header(ex, "content-type"), TN_STR("application/grpc"))) {
        tn_grpc_on_request(server, ex);
        return;
    }
    if (!known_method(tn_exchange_method(ex))) {
        method_not_known(server, ex);
        return;
    }
    const tn_str target = tn_exchange_target(ex);
    tn_target_parts parts = tn_target_split(target);
    /* Extensions read the query, and say themselves what is wrong there. */
    if (!tn_target_is_uri(server->rest_extensions ? parts.path : target)) {
        no_uri(server, ex);
        return;
    }
    if (tn_health_on_request(server, ex, &parts))
        return;
    if (tn_str_istarts(parts.path, TN_STR("/v1/"))) {
        tn_rest_on_request(server, ex);
        return;
    }
    if (server->rest_extensions && tn_endpoints_on_request(server, ex, &parts))
        return;
    if (tn_capture_route(server, ex, &parts, invocation))
        return;
    if (tn_metrics_on_request(server, ex, &parts) || tn_sagemaker_on_request(server, ex, &parts))
        return;
    not_found(server, ex);
}
