/*
 * model/config.h - tensorflow.serving.ModelServerConfig in text form to tn_model_config.
 */
#ifndef TN_MODEL_CONFIG_H
#define TN_MODEL_CONFIG_H

#include "model/model.h"

/*
 * text: the file's content. *configs live in the arena. Errors in TensorFlow Serving's words where it has
 * them (model_config_list is checked as model_servers/server_core.cc does: names, base paths, platforms).
 * Errors of the text itself are INVALID_ARGUMENT and begin with "line L, column C". A text that names no list
 * gives no models.
 */
TERN_MUST_USE tern_code tn_model_config_parse(tn_str text, tn_arena *arena, const tn_model_config **configs,
                                              uint32_t *n, tern_status *st);

#endif
