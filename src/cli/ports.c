/* cli/ports.c - listeners, and the file that tells their numbers. See cli/parts.h. */
#include <errno.h>

#include "base/log.h"
#include "cli/parts.h"

tern_code tn_parts_write_ports(tn_parts *p, tern_status *st)
{
    char part[4096], more[40] = "";
    if (p->o.port_file[0] == '\0')
        return TERN_OK;
    /* Whole or not at all: a reader never sees half of it. */
    int n = snprintf(part, sizeof part, "%s.part", p->o.port_file);
    FILE *f = n > 0 && (size_t)n < sizeof part ? fopen(part, "w") : NULL;
    if (p->o.sagemaker)
        snprintf(more, sizeof more, ", \"sagemaker\": %d", p->sagemaker_port);
    bool good =
        f != NULL && fprintf(f, "{\"grpc\": %d, \"rest\": %d%s}\n", p->grpc_port, p->rest_port, more) > 0;
    if (f != NULL && fclose(f) != 0)
        good = false;
    if (!good || rename(part, p->o.port_file) != 0)
        return tern_fail(st, TERN_UNAVAILABLE, "--port_file=%s: %s", p->o.port_file, strerror(errno));
    return TERN_OK;
}

static tern_code listen_on(tn_parts *p, const char *flag, int64_t port, int tag, int *bound, tern_status *st)
{
    char why[512];
    if (port < 0 || port > UINT16_MAX)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "--%s=%lld: use a port of 1 to 65535", flag,
                         (long long)port);
    if (tn_net_listen(p->server.net, tn_text_or_null(p->o.address), (int)port, tag, bound, st) == TERN_OK)
        return TERN_OK;
    snprintf(why, sizeof why, "%s", st->message);
    return tern_fail(st, st->code, "--%s=%lld: %s; give another port", flag, (long long)port, why);
}

static tern_code listen_socket(tn_parts *p, tern_status *st)
{
    char why[512];
    const char *path = p->o.grpc_socket_path;
    if (path[0] == '\0' || tn_net_listen_unix(p->server.net, path, TN_LISTENER_GRPC, st) == TERN_OK)
        return TERN_OK;
    snprintf(why, sizeof why, "%s", st->message);
    return tern_fail(st, st->code, "--grpc_socket_path: %s", why);
}

/* One port speaks all. */
static bool one_port(tn_parts *p)
{
    if (p->o.port != p->o.rest_api_port || p->o.port <= 0)
        return false;
    p->rest_port = p->grpc_port;
    return true;
}

/* As model_servers/server.cc: without gRPC there is no start, without REST there is. */
static tern_code listen_serving(tn_parts *p, tern_status *st)
{
    const tn_options *o = &p->o;
    tern_code code = TERN_OK;
    if (o->use_alts_credentials) /* grpc++ has no such credentials outside Google's network, either */
        code = tern_fail(st, TERN_UNIMPLEMENTED, "--use_alts_credentials: " TN_NO_ALTS);
    if (code == TERN_OK && o->port != 0)
        code = listen_on(p, "port", o->port, TN_LISTENER_GRPC, &p->grpc_port, st);
    if (code == TERN_OK)
        code = listen_socket(p, st);
    if (code != TERN_OK) {
        tn_error("serve", "%s", st->message);
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Failed to BuildAndStart gRPC server");
    }
    if (o->rest_api_port == 0)
        return TERN_OK;
    code = tn_parts_monitoring(p, st);
    if (code == TERN_OK && !one_port(p))
        code = listen_on(p, "rest_api_port", o->rest_api_port, TN_LISTENER_REST, &p->rest_port, st);
    if (code != TERN_OK)
        tn_error("serve", "there is no REST port: %s", st->message);
    return TERN_OK;
}

static tern_code listen_tern(tn_parts *p, tern_status *st)
{
    const tn_options *o = &p->o;
    tern_code code = tn_parts_monitoring(p, st);
    if (code == TERN_OK && o->port >= 0)
        code = listen_on(p, "port", o->port, TN_LISTENER_GRPC, &p->grpc_port, st);
    if (code == TERN_OK && o->rest_api_port >= 0 && !one_port(p))
        code = listen_on(p, "rest_api_port", o->rest_api_port, TN_LISTENER_REST, &p->rest_port, st);
    return code == TERN_OK ? listen_socket(p, st) : code;
}

tern_code tn_parts_listen(tn_parts *p, tern_status *st)
{
    tern_code code = p->server.strict ? listen_serving(p, st) : listen_tern(p, st);
    if (code == TERN_OK)
        code = tn_parts_write_ports(p, st);
    if (code != TERN_OK)
        return code;
    if (p->grpc_port > 0)
        tn_info("serve", "gRPC and HTTP on port %d", p->grpc_port);
    if (p->rest_port > 0)
        tn_info("serve", "REST on port %d: try http://localhost:%d/v1/models/%.*s", p->rest_port,
                p->rest_port, TN_FMT(p->server.default_model));
    return TERN_OK;
}
