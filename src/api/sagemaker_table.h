/*
 * api/sagemaker_table.h - inside of api/sagemaker_models.h: which models are loaded or being loaded, and
 * their ports.
 *
 * Any thread; the lock is held for bookkeeping only. A name has one entry: from the begin of its load until
 * the load has failed or the model is unloaded. Who else wants the name meanwhile waits in the entry, and
 * starts again when it is ready or gone.
 */
#ifndef TN_API_SAGEMAKER_TABLE_H
#define TN_API_SAGEMAKER_TABLE_H

#include <stdatomic.h>

#include "api/sagemaker_models.h"
#include "observe/worker.h"

/* Somebody who waits: task.run() is called on the loop. */
typedef struct tn_waiter {
    tn_task task;
    tn_loop *loop;
} tn_waiter;

typedef struct tn_port {
    int32_t number; /* in the range */
    int bound;      /* where this process listens for it, 0: not yet */
    bool taken;
    bool unusable; /* somebody else has it */
} tn_port;

typedef struct tn_ports {
    tn_port *all; /* ascending */
    uint32_t n;
} tn_ports;

typedef struct tn_loaded tn_loaded;
struct tn_loaded {
    tn_loaded *next; /* in the order of loads */
    tn_str name;     /* in the entry's own memory */
    bool ready;      /* else it is being loaded or unloaded */
    int64_t bytes;   /* of its files */
    uint32_t n;      /* pairs of ports: fewer than the instances when there are no more */
    tn_port **rest, **grpc;
    tn_task *waiting, **waiting_end;
};

struct tn_sagemaker_models {
    tn_server *server;
    tn_worker *worker;     /* looks at folders and opens ports */
    atomic_uint under_way; /* entries that are not ready */
    pthread_mutex_t lock;  /* guards what follows, and all of an entry but its name */
    tn_loaded *first, **end;
    tn_ports rest, grpc;
};

TERN_MUST_USE tern_code tn_table_init(tn_sagemaker_models *s, tern_status *st);
void tn_table_free(tn_sagemaker_models *s);

typedef enum tn_claim {
    TN_CLAIM_MADE,     /* *entry is new, the caller's to load */
    TN_CLAIM_LOADED,   /* there is such a model */
    TN_CLAIM_WAIT,     /* it is being loaded or unloaded: the waiter will be called */
    TN_CLAIM_NO_PORTS, /* as many models as fit */
    TN_CLAIM_NO_MEMORY
} tn_claim;
/* Begins a load. */
tn_claim tn_table_claim(tn_sagemaker_models *s, tn_str name, tn_waiter *waiter, tn_loaded **entry);
/*
 * Opens the entry's ports; those that cannot be had are replaced. false: there are not enough. Not on a loop.
 */
bool tn_table_open_ports(tn_sagemaker_models *s, tn_loaded *entry);
/*
 * Whether the files fit beside all others, loaded or not; then they count. left: memory that can be had, -1:
 * any.
 */
bool tn_table_reserve(tn_sagemaker_models *s, tn_loaded *entry, int64_t bytes, int64_t left);
/* The load is over: the model can be asked, or the entry goes. Calls who waits. */
void tn_table_loaded(tn_sagemaker_models *s, tn_loaded *entry);
void tn_table_gone(tn_sagemaker_models *s, tn_loaded *entry);
/*
 * Begins to unload: the entry is the caller's until tn_table_gone(). NULL: there is none, or it is being
 * loaded or unloaded, then *waits is set and the waiter will be called.
 */
tn_loaded *tn_table_leave(tn_sagemaker_models *s, tn_str name, tn_waiter *waiter, bool *waits);
/* Whether it is loaded; if so *rest and *grpc (may be NULL) are ports where this process listens for it. */
bool tn_table_find(tn_sagemaker_models *s, tn_str name, int *rest, int *grpc);
/* Names of those that are loaded, in order, in the arena. NULL when memory is short. */
const tn_str *tn_table_names(tn_sagemaker_models *s, tn_arena *arena, uint32_t *n);

#endif
