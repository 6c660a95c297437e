/*
 * model/config.h - tensorflow.serving.ModelServerConfig, as text or as a message, to tn_model_config.
 */
#ifndef TN_MODEL_CONFIG_H
#define TN_MODEL_CONFIG_H

#include "model/model.h"
#include "server_config.pb-c.h"

/*
 * text: the file's content. *configs live in the arena. They are what the text says, unchecked: see
 * tn_models_new() and tn_models_change(). Errors of the text itself are INVALID_ARGUMENT and begin with
 * "line L, column C". A text that names no list gives no models: *n is 0 and *configs NULL.
 */
TERN_MUST_USE tern_code tn_model_config_parse(tn_str text, tn_arena *arena, const tn_model_config **configs,
                                              uint32_t *n, tern_status *st);
/* The same of a message: RESOURCE_EXHAUSTED is its only error. */
TERN_MUST_USE tern_code tn_model_config_read(const Tensorflow__Serving__ModelConfigList *list,
                                             tn_arena *arena, const tn_model_config **configs, uint32_t *n,
                                             tern_status *st);

#endif
