/*
 * cli/table.h - flags of a command that are fields of a struct: one table makes the parser and the help.
 *
 * `--name=value`, `--name value`, `-name=value`; '-' and '_' are the same in names. Messages go to standard
 * error and begin with the command's name.
 */
#ifndef TN_CLI_TABLE_H
#define TN_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TN_TABLE_TEXTS 16 /* of a flag that may come several times */

typedef enum tn_table_kind {
    TN_TABLE_TEXT,  /* const char * */
    TN_TABLE_WHOLE, /* int64_t, above 0 */
    TN_TABLE_REAL,  /* double: seconds, 0 to 1e6 */
    TN_TABLE_BOOL,  /* bool */
    TN_TABLE_TEXTS_ /* tn_table_texts */
} tn_table_kind;

typedef struct tn_table_texts {
    const char *text[TN_TABLE_TEXTS];
    unsigned n;
} tn_table_texts;

typedef struct tn_table_flag {
    const char *name;
    tn_table_kind kind;
    size_t offset; /* of the field */
    const char *value, *help;
} tn_table_flag;

typedef struct tn_table {
    const char *command; /* "tern bench" */
    const tn_table_flag *flags;
    size_t n_flags;
} tn_table;

/* Lines of all flags. */
void tn_table_help(const tn_table *t, FILE *out);
/*
 * Reads argv[1..argc) into the fields of *options. The one argument that is no flag goes to *argument (NULL:
 * it did not come). False: a message was printed.
 */
bool tn_table_read(const tn_table *t, void *options, const char **argument, int argc, char **argv);

#endif
