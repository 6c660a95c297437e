/*
 * cli/input.h - files that commands are given: read whole. The main thread.
 */
#ifndef TN_CLI_INPUT_H
#define TN_CLI_INPUT_H

#include "base/buf.h"

/*
 * The whole file at path, or standard input for "-", behind what out holds. The system's words alone: the
 * caller says what it was for. RESOURCE_EXHAUSTED when it is larger than out may get.
 */
TERN_MUST_USE tern_code tn_cli_read_file(const char *path, tn_buf *out, tern_status *st);

#endif
