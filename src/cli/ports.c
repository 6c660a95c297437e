/* cli/ports.c - listeners, and the file that tells their numbers. See cli/parts.h. */
#include <errno.h>

#include "base/log.h"
#include "cli/parts.h"

static tern_code write_port_file(const tn_parts *p, tern_status *st)
{
    char part[4096];
    if (p->o.port_file[0] == '\0')
        return TERN_OK;
    /* Whole or not at all: a reader never sees half of it. */
    int n = snprintf(part, sizeof part, "%s.part", p->o.port_file);
    FILE *f = n > 0 && (size_t)n < sizeof part ? fopen(part, "w") : NULL;
    bool good = f != NULL && fprintf(f, "{\"grpc\": %d, \"rest\": %d}\n", p->grpc_port, p->rest_port) > 0;
    if (f != NULL && fclose(f) != 0)
        good = false;
    if (!good || rename(part, p->o.port_file) != 0)
        return tern_fail(st, TERN_UNAVAILABLE, "--port_file=%s: %s", p->o.port_file, strerror(errno));
    return TERN_OK;
}

tern_code tn_parts_listen(tn_parts *p, tern_status *st)
{
    const tn_options *o = &p->o;
    const char *address = tn_text_or_null(o->address);
    bool strict = p->server.strict;
    bool grpc = strict ? o->port > 0 : o->port >= 0;
    bool rest = strict ? o->rest_api_port > 0 : o->rest_api_port >= 0;
    tern_code code = tn_parts_monitoring(p, st);
    if (code != TERN_OK)
        return code;
    rest = rest && !p->no_rest;
    if (rest && grpc && o->port == o->rest_api_port && o->port != 0) {
        rest = false; /* one port speaks all */
        p->rest_port = (int)o->port;
    }
    if (grpc)
        code = tn_net_listen(p->server.net, address, (int)o->port, TN_LISTENER_GRPC, &p->grpc_port, st);
    if (code == TERN_OK && rest)
        code =
            tn_net_listen(p->server.net, address, (int)o->rest_api_port, TN_LISTENER_REST, &p->rest_port, st);
    if (code == TERN_OK && o->grpc_socket_path[0] != '\0')
        code = tn_net_listen_unix(p->server.net, o->grpc_socket_path, TN_LISTENER_GRPC, st);
    if (code == TERN_OK)
        code = write_port_file(p, st);
    if (code != TERN_OK)
        return code;
    if (p->grpc_port > 0)
        tn_info("serve", "gRPC and HTTP on port %d", p->grpc_port);
    if (p->rest_port > 0)
        tn_info("serve", "REST on port %d: try http://localhost:%d/v1/models/%.*s", p->rest_port,
                p->rest_port, TN_FMT(p->server.default_model));
    return TERN_OK;
}
