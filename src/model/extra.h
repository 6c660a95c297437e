/*
 * model/extra.h - assets.extra/tern.json of a version: what its author, or `tern tune`, wants of the server.
 *
 * One JSON object. Members that are known: "engine" and "threads" (here), "handler" and "handler_isolation"
 * (handler/handler.h); others are the handler's.
 */
#ifndef TN_MODEL_EXTRA_H
#define TN_MODEL_EXTRA_H

#include "base/arena.h"
#include "base/buf.h"
#include "tern/status.h"

#define TN_EXTRA_FILE    "assets.extra/tern.json"
#define TN_EXTRA_MAX     (1 << 20)
#define TN_EXTRA_THREADS 1024

/*
 * *text: the file's bytes, in the arena; absent when there is none. UNAVAILABLE when it cannot be read,
 * INVALID_ARGUMENT for what is no file or larger than TN_EXTRA_MAX. Blocks; any thread.
 */
TERN_MUST_USE tern_code tn_extra_read(const char *directory, tn_arena *arena, tn_str *text, tern_status *st);
typedef struct tn_extra {
    tn_str engine;   /* that the version asks for; absent: none */
    int32_t threads; /* of one run (tern_load_options); 0: the engine's default */
} tn_extra;

/*
 * What the version asks for, in the arena. INVALID_ARGUMENT where the file is no JSON object, "engine" no
 * string, or "threads" no whole number from 1 to TN_EXTRA_THREADS.
 */
TERN_MUST_USE tern_code tn_extra_settings(const char *directory, tn_arena *arena, tn_extra *extra,
                                          tern_status *st);
/*
 * Appends to out the object of text (absent: an empty one) with these settings in place of its own, and its
 * other members as they are. INVALID_ARGUMENT where text is no JSON object. Pure.
 */
TERN_MUST_USE tern_code tn_extra_merge(tn_str text, const tn_extra *extra, tn_arena *arena, tn_buf *out,
                                       tern_status *st);

#endif
