/*
 * engines/tensorflow/fetches.c - see fetches.h.
 *
 * A list that only grows: readers look through what was published, writers add under a lock. At most 32
 * short sets, so that looking through them costs less than a hash.
 */
#include "fetches.h"

#include <pthread.h>
#include <string.h>

static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;

bool tn_tf_fetches_init(tn_tf_fetches *f, uint32_t n_outputs, tn_arena *arena)
{
    f->words = TN_TF_SET_WORDS(n_outputs);
    f->sets = tn_arena_array(arena, (size_t)TN_TF_SETS * f->words, sizeof *f->sets);
    atomic_init(&f->n, 0);
    return f->sets != NULL;
}

static bool among(const tn_tf_fetches *f, unsigned from, unsigned to, const uint64_t *set)
{
    for (unsigned i = from; i < to; i++)
        if (memcmp(&f->sets[(size_t)i * f->words], set, f->words * sizeof *set) == 0)
            return true;
    return false;
}

bool tn_tf_fetches_admit(tn_tf_fetches *f, const uint64_t *set)
{
    unsigned seen = atomic_load_explicit(&f->n, memory_order_acquire);
    if (among(f, 0, seen, set))
        return true;
    if (seen == TN_TF_SETS)
        return false;
    pthread_mutex_lock(&adding);
    unsigned n = atomic_load_explicit(&f->n, memory_order_relaxed);
    bool admitted = among(f, seen, n, set);
    if (!admitted && n < TN_TF_SETS) {
        memcpy(&f->sets[(size_t)n * f->words], set, f->words * sizeof *set);
        atomic_store_explicit(&f->n, n + 1, memory_order_release);
        admitted = true;
    }
    pthread_mutex_unlock(&adding);
    return admitted;
}
