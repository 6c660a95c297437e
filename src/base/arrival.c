/*
 * base/arrival.c - see base/arrival.h. A lock for each piece that arrives, some hundred of a body of
 * megabytes; the reader is woken only for as many bytes as it wants.
 */
#include "base/arrival.h"

#include "base/clock.h"
#include "base/thread.h"

void tn_arrival_begin(tn_arrival *a, tn_str bytes, size_t have, int64_t patience_ns)
{
    *a = (tn_arrival){.have = have, .patience_ns = patience_ns, .bytes = bytes};
    pthread_mutex_init(&a->lock, NULL);
    tn_cond_init(&a->more);
}

void tn_arrival_end(tn_arrival *a)
{
    pthread_cond_destroy(&a->more);
    pthread_mutex_destroy(&a->lock);
}

void tn_arrival_have(tn_arrival *a, size_t have)
{
    pthread_mutex_lock(&a->lock);
    a->have = have;
    if (have == a->bytes.len)
        a->done_ns = tn_now_ns();
    if (a->wanted != 0 && have >= a->wanted)
        pthread_cond_signal(&a->more);
    pthread_mutex_unlock(&a->lock);
}

void tn_arrival_close(tn_arrival *a)
{
    pthread_mutex_lock(&a->lock);
    a->closed = true;
    pthread_cond_signal(&a->more);
    pthread_mutex_unlock(&a->lock);
}

size_t tn_arrival_wait(tn_arrival *a, size_t want)
{
    if (want > a->bytes.len)
        want = a->bytes.len;
    pthread_mutex_lock(&a->lock);
    if (a->have < want && !a->closed) {
        const int64_t start = tn_now_ns();
        int late = 0;
        a->wanted = want;
        while (a->have < want && !a->closed && late == 0)
            late = tn_cond_until(&a->more, &a->lock, start + a->patience_ns);
        a->wanted = 0;
        a->patience_ns -= tn_now_ns() - start;
        if (a->patience_ns < 0)
            a->patience_ns = 0;
    }
    const size_t have = a->have;
    pthread_mutex_unlock(&a->lock);
    return have;
}

int64_t tn_arrival_done_ns(tn_arrival *a)
{
    pthread_mutex_lock(&a->lock);
    const int64_t done = a->done_ns;
    pthread_mutex_unlock(&a->lock);
    return done;
}
