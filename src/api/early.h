/*
 * api/early.h - large bodies that are decoded while they arrive: one attempt, on an executor that has nothing
 * else to do.
 *
 * The attempt reads what is there and waits for the rest, for a short time in all (limits.early_wait_ms).
 * When it read the whole body without a fault, the call goes on from there: most of its decoding is done by
 * the time the body is complete. Whatever else it met (a slow client, one that is gone, an error in the body,
 * a form that only a thorough reader knows) makes it forget what it has done, and the request takes the way
 * of all others when its body is complete. So there is one place that knows errors, and a body that is read
 * early is read by the same code as any other.
 *
 * Threads: functions on the loop, but for those that say otherwise.
 */
#ifndef TN_API_EARLY_H
#define TN_API_EARLY_H

#include "api/request.h"
#include "base/arrival.h"

struct tn_early {
    tn_arrival arrival;
    bool (*begin)(tn_request *r);
    bool tried;    /* once for each body */
    bool begun;    /* the scheduler has the call */
    bool ended;    /* the body is complete */
    bool complete; /* the attempt succeeded. The executor's, until the call is back */
};

/*
 * As tn_request_read_body(). A body of limits.early_body_bytes and more is tried early when begin() says so,
 * which makes the call ready for its decode step, but for the body. on_body is called, as ever, where there
 * was no attempt or it failed.
 */
void tn_early_read_body(tn_request *r, void (*on_body)(tn_request *r), bool (*begin)(tn_request *r));

/* The body's arrival, where the call that is being decoded is an attempt; else NULL. For decode steps. */
static inline tn_arrival *tn_early_of(tn_request *r)
{
    return r->early != NULL && r->early->begun ? &r->early->arrival : NULL;
}

/*
 * For decode steps, after a successful attempt: waits for what follows what was read. true: the body is
 * complete, and the call goes on; its times and its deadline are set.
 */
bool tn_early_complete(tn_request *r);
/* For decode steps: what an attempt that failed returns. Nothing of it may be left in the call. */
TERN_MUST_USE tern_code tn_early_failed(tern_status *st);

/*
 * For tn_request_finish(): the call came back. true: it was an attempt that failed, and the request is taken
 * care of.
 */
bool tn_early_again(tn_request *r);

#endif
