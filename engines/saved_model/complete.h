/*
 * complete.h - whether a SavedModel on disk is whole, or still being copied.
 */
#ifndef TERN_ENGINES_SAVED_MODEL_COMPLETE_H
#define TERN_ENGINES_SAVED_MODEL_COMPLETE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * saved_model.pb ends where its own lengths say (tensorflow/core/protobuf/saved_model.proto), and where a
 * graph of it restores variables (SaverDef.restore_op_name), variables/variables.index is there with all
 * shards that the name of one announces. A text (saved_model.pbtxt) counts as whole. Reads some hundred
 * bytes, whatever the size. false as well when there is no SavedModel. Any thread.
 */
bool tn_saved_model_complete(const char *directory);
/* The first part of it: fd is a saved_model.pb of so many bytes. *variables: it restores some. */
bool tn_saved_model_whole(int fd, uint64_t size, bool *variables);

#endif
