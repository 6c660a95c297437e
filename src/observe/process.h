/*
 * observe/process.h - what the kernel knows of this process, for the process_* series of Prometheus' clients.
 */
#ifndef TN_OBSERVE_PROCESS_H
#define TN_OBSERVE_PROCESS_H

#include <stdint.h>

typedef struct tn_process {
    double cpu_seconds;   /* user and system */
    double start_seconds; /* Unix time */
    uint64_t virtual_bytes;
    uint64_t resident_bytes;
    uint64_t threads;
    uint64_t open_fds;
    uint64_t max_fds;
} tn_process;

/* Reads /proc/self; what cannot be read stays 0. Any thread; not for an event loop: it lists descriptors. */
tn_process tn_process_read(void);

#endif
