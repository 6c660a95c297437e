/*
 * cli/serve.c - `tern serve`: makes the parts, opens the ports, waits for a signal, drains, ends.
 *
 * Called tern, the ports open at once and /readyz tells when a model can answer. Called
 * tensorflow_model_server, they open when a model is ready, as clients of the original expect, and the start
 * fails only where no configured model loads.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/sagemaker_models.h"
#include "api/script.h"
#include "base/log.h"
#include "base/status.h"
#include "cli/commands.h"
#include "cli/parts.h"
#include "net/tls.h"

#define START_POLL_NS      (20 * TN_NS_PER_MS)
#define LAST_REFERENCES_NS (2 * TN_NS_PER_S)
#define STOP_POLL_NS       (2 * TN_NS_PER_MS)
#define OTHERS_NS          (5 * TN_NS_PER_S) /* for the first try of further models, once one is there */

bool tn_parts_stop_is_pending(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

/*
 * The original opens its ports when all its models are there. Here one is enough, once each was tried or had
 * its time; a stop signal ends the wait.
 */
static tern_code wait_for_a_model(tn_parts *p, tern_status *st)
{
    const struct timespec pause = {.tv_nsec = START_POLL_NS};
    for (int64_t until_ns = 0; !tn_parts_stop_is_pending(); nanosleep(&pause, NULL)) {
        tn_models_counts n = tn_models_count(p->server.models);
        if (n.models == 0 || (n.ready > 0 && n.untried == 0))
            return TERN_OK;
        if (n.failed == n.models) {
            uint32_t failures;
            tn_str words = tn_models_failures(p->server.models, &p->arena, &failures);
            return tern_fail(st, TERN_UNKNOWN, "%u servable(s) did not become available: %.*s", failures,
                             TN_FMT(words));
        }
        if (n.ready > 0 && until_ns == 0)
            until_ns = tn_now_ns() + OTHERS_NS;
        if (until_ns != 0 && tn_now_ns() >= until_ns)
            return TERN_OK;
    }
    return TERN_OK;
}

static tern_code start_models(tn_parts *p, tern_status *st)
{
    return tn_models_start(p->server.models, st);
}

static tern_code open_ports(tn_parts *p, tern_status *st)
{
    tn_parts_secure(p);
    return tn_parts_listen(p, st);
}

static tern_code start_net(tn_parts *p, tern_status *st)
{
    return tn_net_start(p->server.net, st);
}

typedef tern_code (*step)(tn_parts *p, tern_status *st);

/* What can be refused is refused before a model is loaded. */
static const step tern_steps[] = {
    tn_parts_check,   tn_parts_tls,          tn_parts_configs, tn_parts_platform,    tn_parts_batching,
    tn_parts_session, tn_parts_thread_pools, tn_parts_engines, tn_parts_models,      tn_parts_server,
    open_ports,       start_models,          start_net,        tn_parts_poll_config, NULL};

/* As the container: its port opens when everything behind it is ready. */
static const step sagemaker_steps[] = {tn_parts_check,
                                       tn_parts_sagemaker,
                                       tn_parts_tls,
                                       tn_parts_sagemaker_batching,
                                       tn_parts_session,
                                       tn_parts_thread_pools,
                                       tn_parts_engines,
                                       tn_parts_models,
                                       tn_parts_server,
                                       tn_parts_sagemaker_inner_ports,
                                       tn_parts_sagemaker_scripts,
                                       start_models,
                                       start_net,
                                       tn_parts_sagemaker_wait,
                                       tn_parts_sagemaker_scripts_wait,
                                       tn_parts_sagemaker_port,
                                       NULL};

/* The order of the original: of several faults the same one is named. */
static const step serving_steps[] = {
    tn_parts_check,    tn_parts_tls,     tn_parts_configs,     tn_parts_platform,
    tn_parts_batching, tn_parts_session, tn_parts_engines,     tn_parts_models,
    tn_parts_server,   start_models,     wait_for_a_model,     tn_parts_thread_pools,
    open_ports,        start_net,        tn_parts_poll_config, NULL};

static tern_code start(tn_parts *p, tern_status *st)
{
    tern_code code = TERN_OK;
    const step *next = p->manner == TN_MANNER_SERVING ? serving_steps
                       : p->o.sagemaker               ? sagemaker_steps
                                                      : tern_steps;
    while (*next != NULL && code == TERN_OK)
        code = (*next++)(p, st);
    return code;
}

/* Runs whose clients are gone or were answered 504 may go on. True when all have ended. */
static bool wait_for_runs(tn_schedule *schedule, int64_t until_ns)
{
    const struct timespec pause = {.tv_nsec = STOP_POLL_NS};
    tn_schedule_close(schedule);
    while (tn_schedule_queued(schedule) > 0 || tn_schedule_running(schedule) > 0) {
        if (tn_now_ns() >= until_ns)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* Stop accepting, finish what is under way, free. Or end the process with result when that takes too long. */
static void stop_serving(tn_parts *p, int result)
{
    tn_server *s = &p->server;
    bool drained = true;
    const int64_t until_ns = tn_now_ns() + s->limits.drain_timeout_ms * TN_NS_PER_MS;
    atomic_store(&s->draining, true);
    tn_parts_end_poll(p);
    if (s->models != NULL) {
        tern_status st;
        (void)tern_fail(&st, TERN_UNAVAILABLE, "The server is shutting down");
        tn_models_end_changes(s->models, &st);
    }
    if (s->net != NULL)
        tn_schedule_hurry(s->schedule);
    if (s->net != NULL)
        drained = tn_net_drain(s->net) && wait_for_runs(s->schedule, until_ns);
    tn_async_end(s->async);
    if (!drained) {
        /* A run that cannot be stopped holds its buffers: leave them to the system. */
        tn_warn("serve", "calls were still under way after --drain_timeout_ms=%lld; they were cut off",
                (long long)s->limits.drain_timeout_ms);
        tn_script_host_leave(s->scripts);
        tn_schedule_leave(s->schedule);
        tn_models_leave(s->models);
        tn_capture_flush(p->capture.writer);
        tn_log_writer_flush(s->access_log);
        fflush(NULL);
        _exit(result);
    }
    tn_script_host_end(s->scripts);
    tn_schedule_end(s->schedule);
    if (!tn_handlers_stop(p->handlers, until_ns)) {
        tn_warn("serve", "a handler's process was still at work; it is ended with the server");
        fflush(NULL);
        _exit(result);
    }
    tn_worker_free(s->worker);
    tn_async_free(s->async);
    tn_sagemaker_models_end(p->sagemaker.loaded);
    tn_net_free(s->net);
    tn_sagemaker_models_free(p->sagemaker.loaded);
    tn_script_host_free(s->scripts);
    tn_capture_free(p->capture.writer);
    tn_log_writer_free(s->access_log);
    tn_tls_free(p->tls);
    const int64_t last_ns = tn_now_ns() + LAST_REFERENCES_NS;
    if (!tn_models_free_until(s->models, until_ns > last_ns ? until_ns : last_ns)) {
        /* A load that cannot be stopped: it is left to the system, too. */
        fflush(NULL);
        _exit(result);
    }
    tn_schedule_free(s->schedule); /* pages of metrics and loads have asked it until now */
    tn_stats_free(s->stats);
    tn_handlers_free(p->handlers);
    tn_engines_free(p->engines);
    tn_parts_platform_free(p);
    tn_arena_free(&p->arena);
}

int tn_cli_serve(tn_manner manner, bool sagemaker, int argc, char **argv)
{
    tn_parts *p = calloc(1, sizeof *p);
    sigset_t stop;
    tern_status st;
    int signal_number = 0, result = 0;
    if (p == NULL)
        return 1;
    /* Blocked in all threads; this one waits for them. */
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    p->manner = manner;
    p->o = tn_options_default(manner);
    p->o.sagemaker = sagemaker;
    if (sagemaker) /* called as the container: nothing that a client could tell apart */
        p->o.sagemaker_extras = false;
    tn_arena_init(&p->arena, 256u << 20);
    tn_parse_result parsed = tn_options_parse(&p->o, manner, argc, argv);
    if (parsed == TN_PARSE_HELP)
        tn_options_help();
    if (parsed != TN_PARSE_OK) {
        result = manner == TN_MANNER_SERVING ? 255 : parsed == TN_PARSE_HELP ? 0 : 2;
        goto out;
    }
    if (p->o.version) {
        puts("TensorFlow ModelServer: " TERN_VERSION "-tern\nTensorFlow Library: 2.21.0");
        goto out;
    }
    if (tn_parts_hears_hangup(&p->o)) { /* see tn_parts_wait() */
        sigset_t more;
        sigemptyset(&more);
        sigaddset(&more, SIGHUP);
        pthread_sigmask(SIG_BLOCK, &more, NULL);
    }
    tn_options_log_unused();
    if (start(p, &st) != TERN_OK) {
        if (manner == TN_MANNER_SERVING) {
            printf("Failed to start server. Error: %s: %s\n", tn_code_name(st.code), st.message);
            fflush(stdout);
        }
        result = manner == TN_MANNER_SERVING ? 255 : 1;
        stop_serving(p, result);
        if (manner == TN_MANNER_TERN) /* the last line is the one that is read */
            fprintf(stderr, "tern serve: %s\n", st.message);
        goto out;
    }
    signal_number = tn_parts_wait(p, &stop);
    tn_info("serve", "%s: draining", signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
    stop_serving(p, 0);
    tn_info("serve", "ended");
out:
    free(p);
    return result;
}
