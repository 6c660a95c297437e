/*
 * net/pool.h - memory of one event loop, kept for the next use instead of given back to malloc.
 *
 * Exchanges, header text, output blocks, connections and nghttp2's small objects come and go with every
 * request; all come from here, so that the warm path makes no malloc. Sizes are rounded up to powers of two;
 * larger ones than the greatest class go to malloc directly. What is kept is bounded for each class. One
 * thread: the loop's. Under AddressSanitizer nothing is kept, so that it sees every use after free.
 */
#ifndef TN_NET_POOL_H
#define TN_NET_POOL_H

#include <stddef.h>
#include <stdint.h>

#define TN_POOL_CLASSES 12 /* 32 bytes ... 64 kB */

typedef struct tn_pool_item tn_pool_item;

typedef struct tn_pool {
    tn_pool_item *kept[TN_POOL_CLASSES];
    uint32_t n_kept[TN_POOL_CLASSES];
    uint32_t fail_in; /* for tests: so many takes from now one fails; 0: none */
} tn_pool;

void tn_pool_init(tn_pool *pool);
/*
 * Gives what is kept back to malloc. What is still taken may be given back later only after another
 * tn_pool_init().
 */
void tn_pool_clear(tn_pool *pool);
/* At least size bytes, 16-byte aligned, not cleared. NULL when memory is short. */
void *tn_pool_take(tn_pool *pool, size_t size);
/* Usable bytes of a taken piece: at least what was asked for. */
size_t tn_pool_size(const void *ptr);
/* Takes ptr back; NULL is accepted. */
void tn_pool_give(tn_pool *pool, void *ptr);
/* Like realloc: returns NULL and leaves ptr alone when memory is short. */
void *tn_pool_resize(tn_pool *pool, void *ptr, size_t size);

#endif
