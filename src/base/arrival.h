/*
 * base/arrival.h - bytes that one thread receives and another one reads meanwhile.
 *
 * They lie where they will stay. The receiver says how many are there; the reader waits for those that it
 * wants, though not for long: over all its waits together it has a patience, after which it gives up, so that
 * a slow sender does not hold its thread.
 */
#ifndef TN_BASE_ARRIVAL_H
#define TN_BASE_ARRIVAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

typedef struct tn_arrival {
    pthread_mutex_t lock;
    pthread_cond_t more;
    /* Guarded by lock. */
    size_t have;
    size_t wanted;   /* by the reader, which waits; 0: it does not */
    bool closed;     /* no more will come */
    int64_t done_ns; /* when all had come, or 0 */
    /* The reader's. */
    int64_t patience_ns;
    /* Never changes. */
    tn_str bytes; /* all of them, once they are there */
} tn_arrival;

/* `have` bytes are there already. Ended by tn_arrival_end(), when neither thread uses it any more. */
void tn_arrival_begin(tn_arrival *a, tn_str bytes, size_t have, int64_t patience_ns);
void tn_arrival_end(tn_arrival *a);

/* The receiver: so many are there now; no more will come. */
void tn_arrival_have(tn_arrival *a, size_t have);
void tn_arrival_close(tn_arrival *a);

/*
 * The reader: waits until `want` bytes are there (at most: all). Returns how many are, which is less than
 * that when no more will come, or its patience is at its end.
 */
size_t tn_arrival_wait(tn_arrival *a, size_t want);
/* When all had come, if they have, else 0. Does not wait. */
int64_t tn_arrival_done_ns(tn_arrival *a);

#endif
