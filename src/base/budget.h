/*
 * base/budget.h - bytes in flight, counted over all threads.
 */
#ifndef TN_BASE_BUDGET_H
#define TN_BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct tn_budget {
    atomic_size_t used;
    size_t limit;
} tn_budget;

void tn_budget_init(tn_budget *b, size_t limit);
/* false when n more bytes would pass the limit; nothing is taken then. b may be NULL (always true). Any
 * thread. */
bool tn_budget_take(tn_budget *b, size_t n);
void tn_budget_give(tn_budget *b, size_t n);

#endif
