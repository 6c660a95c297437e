/*
 * schedule/cost.h - what calls of one version cost, by kind and size of their body.
 *
 * The figure is a maximum that decays: a dearer call raises it at once, cheaper ones lower it by a sixteenth
 * of the distance each. So a class counts as small only after a row of small calls, and a slow one sends the
 * next couple of dozen to the executors. A single slow call among 16 others is forgiven where its
 * thread was interrupted: then it is rather the system that took the processor away. Measured is what an
 * event loop would stand still: the time of whole calls on their thread (decode, run, encode), and for each
 * signature the time to run and encode, since one signature of a version may be a thousand times dearer than
 * another.
 * Any thread: relaxed atomics; an update lost in a race costs nothing but a sample.
 */
#ifndef TN_SCHEDULE_COST_H
#define TN_SCHEDULE_COST_H

#include "model/model.h"

/* 0 for an empty body, else 1 + floor(log2(bytes)), at most TN_COST_CLASSES - 1. */
unsigned tn_cost_class(size_t bytes);
/*
 * One call took ns. limit_us: where small ends; what is far above is clipped to 4 * limit_us, so that one
 * outlier is forgotten after about 25 calls. interrupted: as tn_cost_interrupted() said of it.
 */
void tn_cost_record(tn_cost *cost, unsigned kind, unsigned class, int64_t ns, int64_t limit_us,
                    bool interrupted);
/*
 * Whether a call of ns, just ended on this thread, may have been so slow because the system gave the
 * processor to others: it did so since this was last asked on this thread, and for no longer than it does.
 * To be asked only of slow ones, since it asks the system.
 */
bool tn_cost_interrupted(int64_t ns);
/* Whether calls of this class were measured, and stayed below limit_us. */
bool tn_cost_is_small(const tn_cost *cost, unsigned kind, unsigned class, int64_t limit_us);

#endif
