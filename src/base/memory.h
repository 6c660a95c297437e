/*
 * base/memory.h - how much memory this process may use, and how much there is left. Any thread.
 */
#ifndef TN_BASE_MEMORY_H
#define TN_BASE_MEMORY_H

#include <stdint.h>

/*
 * Bytes: the smaller of the machine's memory and the cgroup's limit (v2 memory.max, v1
 * memory.limit_in_bytes).
 */
int64_t tn_memory_limit(void);
/*
 * Bytes that may still be taken: the smaller of what the machine has without swapping (MemAvailable) and what
 * the cgroup's limit leaves; files in its cache that can go count as left.
 */
int64_t tn_memory_left(void);

#endif
