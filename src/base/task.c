/* base/task.c - see base/task.h. */
#include "base/task.h"

void tn_taskq_init(tn_taskq *q, size_t max)
{
    *q = (tn_taskq){.max = max};
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->ready, NULL);
}

void tn_taskq_destroy(tn_taskq *q)
{
    pthread_cond_destroy(&q->ready);
    pthread_mutex_destroy(&q->lock);
}

bool tn_taskq_push(tn_taskq *q, tn_task *t, bool *was_empty)
{
    bool taken = false;
    pthread_mutex_lock(&q->lock);
    if (was_empty != NULL)
        *was_empty = q->head == NULL;
    if (!q->closed && (q->max == 0 || q->length < q->max)) {
        t->next = NULL;
        if (q->head == NULL)
            q->head = t;
        else
            q->tail->next = t;
        q->tail = t;
        q->length++;
        taken = true;
        pthread_cond_signal(&q->ready);
    }
    pthread_mutex_unlock(&q->lock);
    return taken;
}

tn_task *tn_taskq_pop(tn_taskq *q)
{
    pthread_mutex_lock(&q->lock);
    while (q->head == NULL && !q->closed)
        pthread_cond_wait(&q->ready, &q->lock);
    tn_task *t = q->head;
    if (t != NULL) {
        q->head = t->next;
        q->length--;
    }
    pthread_mutex_unlock(&q->lock);
    return t;
}

tn_task *tn_taskq_take_all(tn_taskq *q)
{
    pthread_mutex_lock(&q->lock);
    tn_task *t = q->head;
    q->head = NULL;
    q->length = 0;
    pthread_mutex_unlock(&q->lock);
    return t;
}

tn_task *tn_taskq_take_if(tn_taskq *q, bool (*want)(tn_task *, void *arg), void *arg, size_t look)
{
    tn_task *taken = NULL;
    tn_task **end = &taken;
    tn_task *before = NULL;
    pthread_mutex_lock(&q->lock);
    for (tn_task *t = q->head, *next; t != NULL && look > 0; t = next, look--) {
        next = t->next;
        if (!want(t, arg)) {
            before = t;
            continue;
        }
        if (before != NULL)
            before->next = next;
        else
            q->head = next;
        if (q->tail == t)
            q->tail = before;
        q->length--;
        t->next = NULL;
        *end = t;
        end = &t->next;
    }
    pthread_mutex_unlock(&q->lock);
    return taken;
}

void tn_taskq_push_front(tn_taskq *q, tn_task *t)
{
    pthread_mutex_lock(&q->lock);
    t->next = q->head;
    if (q->head == NULL)
        q->tail = t;
    q->head = t;
    q->length++;
    pthread_cond_signal(&q->ready);
    pthread_mutex_unlock(&q->lock);
}

void tn_taskq_close(tn_taskq *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->ready);
    pthread_mutex_unlock(&q->lock);
}

size_t tn_taskq_length(tn_taskq *q)
{
    pthread_mutex_lock(&q->lock);
    size_t n = q->length;
    pthread_mutex_unlock(&q->lock);
    return n;
}
