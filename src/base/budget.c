/* base/budget.c - see base/budget.h. */
#include "base/budget.h"

void tn_budget_init(tn_budget *b, size_t limit)
{
    atomic_init(&b->used, 0);
    b->limit = limit;
}

bool tn_budget_take(tn_budget *b, size_t n)
{
    if (b == NULL || n == 0)
        return true;
    size_t before = atomic_fetch_add_explicit(&b->used, n, memory_order_relaxed);
    if (before <= b->limit && n <= b->limit - before)
        return true;
    atomic_fetch_sub_explicit(&b->used, n, memory_order_relaxed);
    return false;
}

void tn_budget_give(tn_budget *b, size_t n)
{
    if (b != NULL && n > 0)
        atomic_fetch_sub_explicit(&b->used, n, memory_order_relaxed);
}
