/*
 * engine/engine.h - finds, opens and checks engine plugins.
 *
 * An engine is opened when the first model needs it and stays until the process ends. Loader threads may call
 * tn_engines_get() at once: a lock guards opening only.
 */
#ifndef TN_ENGINE_ENGINE_H
#define TN_ENGINE_ENGINE_H

#include "base/str.h"
#include "tern/engine.h"

typedef struct tn_engines tn_engines;

/* An opened engine: table and state. Borrowed; lives as long as the tn_engines. */
typedef struct tn_engine {
    const tern_engine_api *api;
    tern_engine *self;
} tn_engine;

typedef struct tn_engines_config {
    const char *path; /* folders of plugins NAME.so, separated by ':'; NULL: engines/ beside the program */
    tern_engine_options options;
} tn_engines_config;

/* Returns owned; NULL when memory is short. Opens nothing. */
tn_engines *tn_engines_new(const tn_engines_config *config);
/* Closes engines. Every model must be unloaded. Accepts NULL. */
void tn_engines_free(tn_engines *e);
/*
 * The engine of that name, opened if need be. NOT_FOUND names the folders looked in; FAILED_PRECONDITION an
 * ABI mismatch.
 */
TERN_MUST_USE tern_code tn_engines_get(tn_engines *e, tn_str name, const tn_engine **out, tern_status *st);

/* The table given to plugins. Static. */
const tern_host *tn_host(void);

#endif
