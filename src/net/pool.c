/*
 * net/pool.c - size classes of powers of two, a list of free pieces for each.
 *
 * Each piece has a header of 16 bytes before it that names its class, so that it finds its way back without
 * being told its size. 16 bytes also keep malloc's alignment.
 */
#include "net/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST 32
#define NO_CLASS UINT32_MAX
/* At most this many bytes are kept for each class. */
#define KEPT_BYTES (1u << 20)

#if defined(__SANITIZE_ADDRESS__)
#define KEEP 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEP 0
#endif
#endif
#ifndef KEEP
#define KEEP 1
#endif

struct tn_pool_item {
    union {
        tn_pool_item *next; /* while kept */
        size_t size;        /* while taken: usable bytes */
    };
    uint32_t class;
};

static_assert(sizeof(tn_pool_item) == 16, "a piece must stay aligned as malloc aligned it");

static uint32_t class_of(size_t size)
{
    if (size <= SMALLEST)
        return 0;
    uint32_t class = (uint32_t)(64 - __builtin_clzll((unsigned long long)(size - 1))) - 5;
    return class < TN_POOL_CLASSES ? class : NO_CLASS;
}

void tn_pool_init(tn_pool *pool)
{
    memset(pool, 0, sizeof *pool);
}

void tn_pool_clear(tn_pool *pool)
{
    for (size_t i = 0; i < TN_POOL_CLASSES; i++) {
        while (pool->kept[i] != NULL) {
            tn_pool_item *item = pool->kept[i];
            pool->kept[i] = item->next;
            free(item);
        }
        pool->n_kept[i] = 0;
    }
}

void *tn_pool_take(tn_pool *pool, size_t size)
{
    uint32_t class = class_of(size);
    tn_pool_item *item = class != NO_CLASS ? pool->kept[class] : NULL;
    if (pool->fail_in != 0 && --pool->fail_in == 0)
        return NULL;
    if (item != NULL) {
        pool->kept[class] = item->next;
        pool->n_kept[class]--;
        item->size = (size_t)SMALLEST << class;
        return item + 1;
    }
    if (class != NO_CLASS)
        size = (size_t)SMALLEST << class;
    if (size > PTRDIFF_MAX - sizeof *item)
        return NULL;
    item = malloc(sizeof *item + size);
    if (item == NULL)
        return NULL;
    item->size = size;
    item->class = class;
    return item + 1;
}

size_t tn_pool_size(const void *ptr)
{
    return ((const tn_pool_item *)ptr - 1)->size;
}

void tn_pool_give(tn_pool *pool, void *ptr)
{
    if (ptr == NULL)
        return;
    tn_pool_item *item = (tn_pool_item *)ptr - 1;
    uint32_t class = item->class;
    if (!KEEP || class == NO_CLASS || pool->n_kept[class] >= (KEPT_BYTES / SMALLEST) >> class) {
        free(item);
        return;
    }
    item->next = pool->kept[class];
    pool->kept[class] = item;
    pool->n_kept[class]++;
}

void *tn_pool_resize(tn_pool *pool, void *ptr, size_t size)
{
    if (ptr == NULL)
        return tn_pool_take(pool, size);
    size_t old = tn_pool_size(ptr);
    if (size <= old)
        return ptr;
    void *bigger = tn_pool_take(pool, size);
    if (bigger == NULL)
        return NULL;
    memcpy(bigger, ptr, old);
    tn_pool_give(pool, ptr);
    return bigger;
}
