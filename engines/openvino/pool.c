/*
 * pool.c - see pool.h.
 *
 * A slot is taken and filled by one atomic exchange. A thread begins to look where it last gave back, so that
 * threads seldom meet, and a request's memory stays near one processor.
 */
#include "pool.h"

#include <stdlib.h>

static _Thread_local unsigned my_slot;

void tn_ov_pool_init(tn_ov_pool *p, ov_compiled_model_t *compiled)
{
    p->compiled = compiled;
    pthread_mutex_init(&p->lock, NULL);
}

static void link_in(tn_ov_pool *p, tn_ov_request *r)
{
    pthread_mutex_lock(&p->lock);
    r->next = p->all;
    if (p->all != NULL)
        p->all->before = r;
    p->all = r;
    pthread_mutex_unlock(&p->lock);
}

static void free_request(tn_ov_request *r)
{
    tn_ov_pool *p = r->pool;
    pthread_mutex_lock(&p->lock);
    if (r->next != NULL)
        r->next->before = r->before;
    if (r->before != NULL)
        r->before->next = r->next;
    else
        p->all = r->next;
    pthread_mutex_unlock(&p->lock);
    ov_infer_request_free(r->request);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void tn_ov_pool_free(tn_ov_pool *p)
{
    if (p->compiled == NULL)
        return;
    for (unsigned i = 0; i < TN_OV_POOL; i++) {
        tn_ov_request *r = atomic_exchange(&p->idle[i], NULL);
        if (r != NULL)
            free_request(r);
    }
    pthread_mutex_destroy(&p->lock);
}

tn_ov_request *tn_ov_pool_take(tn_ov_pool *p)
{
    for (unsigned k = 0; k < TN_OV_POOL; k++) {
        unsigned i = (my_slot + k) % TN_OV_POOL;
        tn_ov_request *r = atomic_load_explicit(&p->idle[i], memory_order_relaxed) != NULL
                               ? atomic_exchange(&p->idle[i], NULL)
                               : NULL;
        if (r == NULL)
            continue;
        my_slot = i;
        atomic_store(&r->users, 1);
        return r;
    }
    tn_ov_request *r = calloc(1, sizeof *r);
    if (r == NULL || ov_compiled_model_create_infer_request(p->compiled, &r->request) != OK) {
        free(r);
        return NULL;
    }
    r->pool = p;
    pthread_mutex_init(&r->lock, NULL);
    atomic_init(&r->users, 1);
    link_in(p, r);
    return r;
}

void tn_ov_request_release(tn_ov_request *r)
{
    if (atomic_fetch_sub(&r->users, 1) != 1)
        return;
    for (unsigned k = 0; k < TN_OV_POOL && r->output_bytes <= TN_OV_KEPT_BYTES; k++) {
        unsigned i = (my_slot + k) % TN_OV_POOL;
        tn_ov_request *none = NULL;
        if (atomic_compare_exchange_strong(&r->pool->idle[i], &none, r)) {
            my_slot = i;
            return;
        }
    }
    free_request(r);
}

void tn_ov_pool_cancel(tn_ov_pool *p, const tern_run *run)
{
    pthread_mutex_lock(&p->lock);
    for (tn_ov_request *r = p->all; r != NULL; r = r->next) {
        pthread_mutex_lock(&r->lock);
        if (r->run == run)
            (void)ov_infer_request_cancel(r->request);
        pthread_mutex_unlock(&r->lock);
    }
    pthread_mutex_unlock(&p->lock);
}
