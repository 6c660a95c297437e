/*
 * cli/memory.h - how much memory this process may use.
 */
#ifndef TN_CLI_MEMORY_H
#define TN_CLI_MEMORY_H

#include <stdint.h>

/*
 * Bytes: the smaller of the machine's memory and the cgroup's limit (v2 memory.max, v1
 * memory.limit_in_bytes).
 */
int64_t tn_memory_limit(void);

#endif
