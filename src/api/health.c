/*
 * api/health.c - /healthz: the process lives. /readyz: it can serve; 503 while no model can, and while it
 * drains.
 */
#include "api/http.h"
#include "api/surfaces.h"

static void answer_ready(tn_server *server, tn_exchange *ex)
{
    char text[160];
    tn_models_counts n = tn_models_count(server->models);
    bool draining = atomic_load_explicit(&server->draining, memory_order_relaxed);
    bool ready = n.ready > 0 && !draining;
    int length = snprintf(text, sizeof text, "%s: %u of %u models can answer, %u loading, %u failed\n",
                          draining ? "draining"
                          : ready  ? "ready"
                                   : "not ready",
                          n.ready, n.models, n.loading, n.failed);
    tn_http_text(server, ex, ready ? 200 : 503, TN_STR("text/plain; charset=utf-8"),
                 (tn_str){text, (size_t)length}, ready ? TERN_OK : TERN_UNAVAILABLE);
}

bool tn_health_on_request(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    if (tn_str_eq(parts->path, TN_STR("/healthz"))) {
        tn_http_text(server, ex, 200, TN_STR("text/plain; charset=utf-8"), TN_STR("ok\n"), TERN_OK);
        return true;
    }
    if (tn_str_eq(parts->path, TN_STR("/readyz"))) {
        answer_ready(server, ex);
        return true;
    }
    return false;
}
