/*
 * cli/config_poll.c - --model_config_file_poll_wait_seconds: the file is read again, and what it says takes
 * effect. See cli/parts.h.
 *
 * Each poll applies the file, also when it has not changed: so labels come to pass once their version is
 * there, and what a client changed by HandleReloadConfigRequest gives way to the file, as in TensorFlow
 * Serving. A file that cannot be read or is wrong changes nothing; why is logged, once for each reason.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "cli/parts.h"
#include "model/config.h"

#define FILE_ARENA_MAX (256u << 20)

struct tn_config_poll {
    const char *path;
    int64_t every_ns;
    tn_models *models;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;
    tern_status last; /* the poller only: what was logged */
};

static tern_code apply(tn_config_poll *p, tern_status *st)
{
    tn_arena arena = {0};
    tn_str text;
    const tn_model_config *configs;
    uint32_t n;
    tn_arena_init(&arena, FILE_ARENA_MAX);
    tern_code code = tn_config_read(p->path, &arena, &text, st);
    if (code == TERN_OK)
        code = tn_model_config_parse(text, &arena, &configs, &n, st);
    if (code == TERN_OK && configs == NULL)
        code = tern_fail(st, TERN_FAILED_PRECONDITION,
                         "Cannot transition to requested config. It is only legal to transition from one "
                         "ModelConfigList to another.");
    if (code == TERN_OK)
        code = tn_models_change(p->models, configs, n, NULL, st);
    tn_arena_free(&arena);
    return code;
}

static void poll_once(tn_config_poll *p)
{
    tern_status st;
    tern_status_init(&st);
    tern_code code = apply(p, &st);
    bool news = code != p->last.code || strcmp(st.message, p->last.message) != 0;
    if (code != TERN_OK && news)
        tn_error("serve", "--model_config_file=%s: %s; the models stay as they are", p->path, st.message);
    else if (news)
        tn_info("serve", "--model_config_file=%s: good again", p->path);
    p->last = st;
}

static void *poll_main(void *arg)
{
    tn_config_poll *p = arg;
    pthread_mutex_lock(&p->lock);
    int64_t next = tn_now_ns() + p->every_ns;
    while (!p->stopping) {
        if (tn_cond_until(&p->wake, &p->lock, next) != ETIMEDOUT)
            continue;
        pthread_mutex_unlock(&p->lock);
        poll_once(p);
        pthread_mutex_lock(&p->lock);
        next = tn_now_ns() + p->every_ns;
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

tern_code tn_parts_poll_config(tn_parts *parts, tern_status *st)
{
    int64_t seconds = parts->o.model_config_file_poll_wait_seconds;
    if (parts->o.model_config_file[0] == '\0' || seconds <= 0)
        return TERN_OK;
    tn_config_poll *p = calloc(1, sizeof *p);
    if (p == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to watch the configuration file");
    p->path = parts->o.model_config_file;
    p->every_ns = (seconds < INT32_MAX ? seconds : INT32_MAX) * TN_NS_PER_S;
    p->models = parts->server.models;
    tn_cond_init(&p->wake);
    pthread_mutex_init(&p->lock, NULL);
    int error = tn_thread_start(&p->thread, "tern-config", poll_main, p);
    if (error != 0) {
        pthread_cond_destroy(&p->wake);
        pthread_mutex_destroy(&p->lock);
        free(p);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "The thread for --model_config_file cannot be started: %s", strerror(error));
    }
    parts->config_poll = p;
    return TERN_OK;
}

void tn_parts_end_poll(tn_parts *parts)
{
    tn_config_poll *p = parts->config_poll;
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
    parts->config_poll = NULL;
}
