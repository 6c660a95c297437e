/*
 * model/extra.h - assets.extra/tern.json of a version: what its author, or `tern tune`, wants of the server.
 *
 * One JSON object. Members that are known: "engine" (here), "handler" and "handler_isolation"
 * (handler/handler.h); others are the handler's.
 */
#ifndef TN_MODEL_EXTRA_H
#define TN_MODEL_EXTRA_H

#include "base/arena.h"
#include "tern/status.h"

#define TN_EXTRA_FILE "assets.extra/tern.json"
#define TN_EXTRA_MAX  (1 << 20)

/*
 * *text: the file's bytes, in the arena; absent when there is none. UNAVAILABLE when it cannot be read,
 * INVALID_ARGUMENT for what is no file or larger than TN_EXTRA_MAX. Blocks; any thread.
 */
TERN_MUST_USE tern_code tn_extra_read(const char *directory, tn_arena *arena, tn_str *text, tern_status *st);
/*
 * *engine: the engine that the version asks for, in the arena; absent when it asks for none.
 * INVALID_ARGUMENT where the file is no JSON object, or "engine" no string.
 */
TERN_MUST_USE tern_code tn_extra_engine(const char *directory, tn_arena *arena, tn_str *engine,
                                        tern_status *st);

#endif
