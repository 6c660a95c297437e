/*
 * cli/commands.h - the commands of the program. Each gets its own arguments (argv[0] is its name) and returns
 * the exit status.
 */
#ifndef TN_CLI_COMMANDS_H
#define TN_CLI_COMMANDS_H

#include "cli/options.h"

/* Serves until SIGTERM or SIGINT. sagemaker: as with --sagemaker. */
int tn_cli_serve(tn_manner manner, bool sagemaker, int argc, char **argv);
/* Asks a running server again and again and says how long it takes. */
int tn_cli_bench(int argc, char **argv);
/* Tries engines and settings on a model, and writes the best beside it. */
int tn_cli_tune(int argc, char **argv);
/* The page model on HTML files, without a server. */
int tn_cli_read(int argc, char **argv);
/* Opens a handler plugin and says what it is; with a model, runs a document through both. */
int tn_cli_check_handler(int argc, char **argv);

#endif
