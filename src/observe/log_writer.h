/*
 * observe/log_writer.h - lines of a log on their way to a file, without waiting for it.
 *
 * Two buffers: threads append to one under a lock that is held for a copy's time, a thread of the writer's
 * own swaps it with the other and writes that one. When a buffer is full, because the file is slow or
 * blocked, lines are dropped and counted.
 */
#ifndef TN_OBSERVE_LOG_WRITER_H
#define TN_OBSERVE_LOG_WRITER_H

#include "base/str.h"

typedef struct tn_log_writer tn_log_writer;

typedef struct tn_log_counts {
    uint64_t written; /* lines */
    uint64_t dropped; /* for want of room, or since they could not be written */
} tn_log_counts;

/*
 * path: appended to, made when it is not there; NULL: standard error. max_bytes: of lines that wait.
 * UNAVAILABLE names the path and the cause.
 */
TERN_MUST_USE tern_code tn_log_writer_new(const char *path, size_t max_bytes, tn_log_writer **out,
                                          tern_status *st);
/* Any thread; never waits for the file. line ends in its newline. */
void tn_log_writer_line(tn_log_writer *w, tn_str line);
/* Opens the path anew before the next write: the old file was renamed. Any thread. */
void tn_log_writer_reopen(tn_log_writer *w);
tn_log_counts tn_log_writer_counts(tn_log_writer *w);
/* Waits until all lines are written, for two seconds at most. Accepts NULL. */
void tn_log_writer_flush(tn_log_writer *w);
/*
 * Writes what waits, and ends. When the file takes nothing for two seconds the thread and its memory are left
 * to the process' end. Nobody may append any more. Accepts NULL.
 */
void tn_log_writer_free(tn_log_writer *w);

#endif
