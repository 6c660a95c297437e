/*
 * pool.h - the infer requests of one compiled graph. A request runs one call at a time, and the memory of its
 * outputs is its own: so it belongs to a call until the last output that lies in it is released.
 *
 * Taking and giving back takes no lock that calls share. Idle requests are kept up to TN_OV_POOL, those with
 * large outputs not at all.
 */
#ifndef TN_OPENVINO_POOL_H
#define TN_OPENVINO_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "openvino/c/openvino.h"
#include "tern/engine.h"

#define TN_OV_POOL 32
/* A request whose outputs took so much is not kept. */
#define TN_OV_KEPT_BYTES (4u << 20)

typedef struct tn_ov_pool tn_ov_pool;

typedef struct tn_ov_request {
    ov_infer_request_t *request;
    tn_ov_pool *pool;
    atomic_uint users;   /* the call, and each output that lies in it */
    size_t output_bytes; /* of the last run */
    pthread_mutex_t lock;
    const tern_run *run;                 /* under way; guarded by lock */
    struct tn_ov_request *next, *before; /* of all; guarded by the pool's lock */
} tn_ov_request;

struct tn_ov_pool {
    ov_compiled_model_t *compiled;
    _Atomic(tn_ov_request *) idle[TN_OV_POOL];
    pthread_mutex_t lock; /* of the list: a request is made, freed or looked for */
    tn_ov_request *all;
};

/* Borrows the compiled model. */
void tn_ov_pool_init(tn_ov_pool *p, ov_compiled_model_t *compiled);
/* No request may be in use. Accepts one that is zeroed. */
void tn_ov_pool_free(tn_ov_pool *p);
/* A request with one user; NULL: OpenVINO has none (ov_get_last_err_msg). Any thread. */
tn_ov_request *tn_ov_pool_take(tn_ov_pool *p);
/* One user less; the last one gives it back. Any thread. */
void tn_ov_request_release(tn_ov_request *r);
/* Cancels the request that this run is under way in, if there is one. Any thread. */
void tn_ov_pool_cancel(tn_ov_pool *p, const tern_run *run);

#endif
