/*
 * observe/capture.h - captured data on its way to files, without anybody waiting for them.
 *
 * Records wait in a queue that is bounded by bytes; a thread has each write its line and appends it to the
 * file of its folder: DIR/FOLDER/yyyy/mm/dd/hh/MM-SS-mmm-UUID.jsonl (UTC), a new one each hour and when it
 * has grown too large. A line is written by one call, and what cannot be written whole is taken back, so a
 * reader sees whole lines. Records that find no room are dropped and counted.
 */
#ifndef TN_OBSERVE_CAPTURE_H
#define TN_OBSERVE_CAPTURE_H

#include "base/buf.h"
#include "base/task.h"

typedef struct tn_capture tn_capture;

typedef struct tn_capture_record tn_capture_record;
struct tn_capture_record {
    tn_task task;
    size_t bytes;    /* that it holds */
    tn_str folder;   /* a path below DIR; lives as long as the record */
    int64_t wall_ns; /* when it came: its hour */
    /* Appends its line. On the capture's thread. */
    void (*write)(tn_capture_record *record, tn_buf *out);
    /* On any thread. */
    void (*free)(tn_capture_record *record);
};

typedef struct tn_capture_counts {
    uint64_t written, dropped; /* records */
} tn_capture_counts;

/* dir must be there. INVALID_ARGUMENT names it. */
TERN_MUST_USE tern_code tn_capture_new(const char *dir, size_t max_queue_bytes, size_t max_file_bytes,
                                       tn_capture **out, tern_status *st);
/* Any thread, never waits. Takes the record: queued, or freed and counted as dropped. */
void tn_capture_put(tn_capture *c, tn_capture_record *record);
/* One that was given up before it was a record. Any thread. */
void tn_capture_dropped(tn_capture *c);
tn_capture_counts tn_capture_count(tn_capture *c);
/* Waits until all that was put is written, for two seconds at most. Accepts NULL. */
void tn_capture_flush(tn_capture *c);
/* Writes what waits, and ends. Nobody may put any more. Accepts NULL. */
void tn_capture_free(tn_capture *c);

#endif
