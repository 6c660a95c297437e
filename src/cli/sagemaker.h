/*
 * cli/sagemaker.h - inside of `serve`: the SageMaker container's environment to settings, models and ports.
 *
 *   sagemaker.c         variables
 *   sagemaker_models.c  model folders
 *   sagemaker_start.c   steps of the start
 *
 * All functions: the main thread. Errors are one sentence that begins with the variable's name.
 */
#ifndef TN_CLI_SAGEMAKER_H
#define TN_CLI_SAGEMAKER_H

#include "cli/parts.h"

/* Whole numbers as Python's int() reads them: blanks around, a sign, single '_' between digits. */
bool tn_sagemaker_int(const char *text, int64_t *value);

/*
 * Models below a folder as the container finds them: each folder that has a folder whose name is all digits
 * with a saved_model.pb inside is one, with all its entries of such names as versions; its name is its last
 * part. By path. All memory is the arena's. FAILED_PRECONDITION when there is none; UNAVAILABLE when a folder
 * cannot be read.
 */
TERN_MUST_USE tern_code tn_sagemaker_find(const char *folder, tn_arena *arena,
                                          const tn_model_config **configs, uint32_t *n, tern_status *st);

#endif
