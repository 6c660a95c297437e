/*
 * cli/flags.h - the table of cli/options.h as data, for the parser and the help.
 */
#ifndef TN_CLI_FLAGS_H
#define TN_CLI_FLAGS_H

#include "cli/options.h"

typedef enum tn_flag_type {
    TN_FLAG_BOOL,
    TN_FLAG_INT,
    TN_FLAG_INT64,
    TN_FLAG_FLOAT,
    TN_FLAG_TEXT
} tn_flag_type;

typedef struct tn_flag {
    const char *name;
    tn_flag_type type;
    size_t offset; /* in tn_options */
    bool effect;
    const char *group;
    const char *help;
} tn_flag;

/* In the table's order; ends with a name of NULL. */
extern const tn_flag tn_flags[];

/* "--name=default", cut to size. */
void tn_flag_text(const tn_flag *f, const tn_options *defaults, char *text, size_t size);

#endif
