/*
 * folder.h - a SavedModel's folder on disk, for the engines that load one.
 */
#ifndef TERN_ENGINES_SAVED_MODEL_FOLDER_H
#define TERN_ENGINES_SAVED_MODEL_FOLDER_H

#include "tern/engine.h"

/* OK when there is a saved_model.pb or .pbtxt; else NOT_FOUND in TensorFlow Serving's words. Any thread. */
TERN_MUST_USE tern_code tn_folder_check(const char *directory, tern_status *st);
/* Bytes of the graph and of its variables, in however many shards. Any thread. */
uint64_t tn_folder_size(const char *directory);

#endif
