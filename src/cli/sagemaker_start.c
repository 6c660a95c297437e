/* cli/sagemaker_start.c - how `serve` opens its ports and waits for its models. See cli/sagemaker.h. */
#include "api/sagemaker_models.h"
#include "base/log.h"
#include "cli/sagemaker.h"

#include "api/script.h"

#define LOOPBACK   "127.0.0.1"
#define LOOK_NS    (10 * TN_NS_PER_MS)
#define STATUS_MAX (16u << 20)

static tern_code listen_one(tn_parts *p, int port, int tag, int *bound, tern_status *st)
{
    char why[512];
    const tn_sagemaker *sm = &p->sagemaker;
    if (tn_net_listen(p->server.net, LOOPBACK, port, tag, bound, st) == TERN_OK)
        return TERN_OK;
    snprintf(why, sizeof why, "%s", st->message);
    if (sm->has_port_range)
        return tern_fail(st, st->code, "SAGEMAKER_SAFE_PORT_RANGE=%d-%d: %s; give another range",
                         sm->port_low, sm->port_high, why);
    return tern_fail(st, st->code,
                     "SAGEMAKER_SAFE_PORT_RANGE is not set: %s; set it to free ports such as 9100-9199", why);
}

/* "9001,9003" */
static const char *join(tn_arena *arena, const int *ports, int32_t n)
{
    tn_str text = TN_STR("");
    for (int32_t i = 0; i < n && text.ptr != NULL; i++)
        text = tn_arena_printf(arena, "%.*s%s%d", TN_FMT(text), i > 0 ? "," : "", ports[i]);
    return text.ptr;
}

tern_code tn_parts_sagemaker_inner_ports(tn_parts *p, tern_status *st)
{
    tn_sagemaker *sm = &p->sagemaker;
    int *grpc = tn_arena_array(&p->arena, (size_t)sm->instances, sizeof *grpc);
    int *rest = tn_arena_array(&p->arena, (size_t)sm->instances, sizeof *rest);
    tern_code code = grpc != NULL && rest != NULL
                         ? tn_parts_monitoring(p, st)
                         : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
    for (int32_t i = 0; code == TERN_OK && i < sm->instances; i++) {
        code = listen_one(p, sm->grpc_ports[i], TN_LISTENER_GRPC, &grpc[i], st);
        if (code == TERN_OK)
            code = listen_one(p, sm->rest_ports[i], TN_LISTENER_REST, &rest[i], st);
    }
    if (code != TERN_OK)
        return code;
    sm->grpc_ports = grpc;
    sm->rest_ports = rest;
    sm->grpc_ports_text = join(&p->arena, grpc, sm->instances);
    sm->rest_ports_text = join(&p->arena, rest, sm->instances);
    if (sm->grpc_ports_text == NULL || sm->rest_ports_text == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
    p->grpc_port = grpc[0];
    p->rest_port = rest[0];
    tn_info("sagemaker", "for scripts, on " LOOPBACK ": gRPC port %s, REST port %s", sm->grpc_ports_text,
            sm->rest_ports_text);
    return sm->several ? tn_sagemaker_models_new(&p->server, &sm->loaded, st) : TERN_OK;
}

/*
 * Whether all versions of a model are AVAILABLE. An error when one failed. *missing: the first that is not.
 */
static tern_code look_at(tn_parts *p, const tn_model_config *c, tn_arena *arena, int64_t *missing,
                         bool *ready, tern_status *st)
{
    const tn_version_status *all = NULL;
    uint32_t n = 0;
    tern_status none;
    if (tn_models_status(p->server.models, c->name, false, 0, arena, &all, &n, &none) != TERN_OK)
        n = 0;
    *ready = true;
    for (uint32_t i = 0; i < c->n_specific && *ready; i++) {
        const tn_version_status *v = NULL;
        for (uint32_t k = 0; k < n && v == NULL; k++)
            v = all[k].version == c->specific[i] ? &all[k] : NULL;
        if (v != NULL && v->state == TN_STATE_END && v->error_code != TERN_OK)
            return tern_fail(st, v->error_code, "Version %lld of model %.*s cannot be loaded: %.*s",
                             (long long)v->version, TN_FMT(c->name),
                             TN_FMT(tn_str_sub(v->error_message, 0, 512)));
        *ready = v != NULL && v->state == TN_STATE_AVAILABLE;
        *missing = c->specific[i];
    }
    return TERN_OK;
}

tern_code tn_parts_sagemaker_wait(tn_parts *p, tern_status *st)
{
    const tn_sagemaker *sm = &p->sagemaker;
    const struct timespec pause = {.tv_nsec = LOOK_NS};
    const int64_t until_ns = tn_now_ns() + sm->wait_s * TN_NS_PER_S;
    tern_code code = TERN_OK;
    tn_arena arena;
    tn_arena_init(&arena, STATUS_MAX);
    for (uint32_t i = 0; code == TERN_OK && i < p->n_configs && !tn_parts_stop_is_pending();) {
        bool ready = false;
        int64_t missing = 0;
        tn_arena_reset(&arena);
        code = look_at(p, &p->configs[i], &arena, &missing, &ready, st);
        if (ready)
            i++;
        else if (code == TERN_OK && tn_now_ns() >= until_ns)
            code = tern_fail(
                st, TERN_DEADLINE_EXCEEDED,
                "Version %lld of model %.*s was not ready within SAGEMAKER_TFS_WAIT_TIME_SECONDS=%d",
                (long long)missing, TN_FMT(p->configs[i].name), sm->wait_s);
        else if (code == TERN_OK)
            nanosleep(&pause, NULL);
    }
    tn_arena_free(&arena);
    return code;
}

/* ---- scripts ---- */

/* On the thread that looks after the workers: what they cannot do is told by the port. */
static void on_script_state(void *context, const tern_status *trouble)
{
    tn_sagemaker *sm = context;
    tn_sagemaker_trouble_set(sm, trouble != NULL ? (tn_str){trouble->message, trouble->length} : TN_STR(""));
}

tern_code tn_parts_sagemaker_scripts(tn_parts *p, tern_status *st)
{
    tn_sagemaker *sm = &p->sagemaker;
    if (!sm->several && sm->script == NULL)
        return TERN_OK;
    tern_code code = tn_script_host_new(&p->server, &p->server.scripts, st);
    if (code == TERN_OK && sm->script != NULL)
        code = tn_scripts_add(p->server.scripts, TN_STR(""), sm->code, sm->requirements != NULL,
                              sm->several ? NULL : on_script_state, sm, st);
    return code;
}

/*
 * A script that cannot be imported ends the start, as in the container. One whose requirements cannot be
 * installed
 * does not: the port says so, and it is tried again.
 */
tern_code tn_parts_sagemaker_scripts_wait(tn_parts *p, tern_status *st)
{
    const tn_sagemaker *sm = &p->sagemaker;
    const int64_t step_ns = TN_NS_PER_S / 5;
    tern_code code = TERN_DEADLINE_EXCEEDED;
    char why[TERN_STATUS_MESSAGE_MAX];
    if (sm->script == NULL)
        return TERN_OK;
    while (code == TERN_DEADLINE_EXCEEDED && !tn_parts_stop_is_pending())
        code = tn_scripts_wait(p->server.scripts, TN_STR(""), tn_now_ns() + step_ns, st);
    if (code == TERN_OK || code == TERN_UNAVAILABLE || code == TERN_DEADLINE_EXCEEDED)
        return TERN_OK;
    snprintf(why, sizeof why, "%s", st->message);
    return tern_fail(st, code, "%s cannot be used: %s", sm->script, why);
}

tern_code tn_parts_sagemaker_port(tn_parts *p, tern_status *st)
{
    char why[512];
    int bound;
    if (tn_parts_stop_is_pending())
        return TERN_OK;
    tn_net_any_method(p->server.net, TN_LISTENER_SAGEMAKER);
    if (tn_net_listen(p->server.net, tn_text_or_null(p->o.address), p->sagemaker_port, TN_LISTENER_SAGEMAKER,
                      &bound, st) != TERN_OK) {
        snprintf(why, sizeof why, "%s", st->message);
        return tern_fail(st, st->code, "SAGEMAKER_BIND_TO_PORT=%d: %s", p->sagemaker_port, why);
    }
    p->sagemaker_port = bound;
    tn_info("sagemaker", "ready on port %d: try curl http://localhost:%d/ping", bound, bound);
    return tn_parts_write_ports(p, st);
}
