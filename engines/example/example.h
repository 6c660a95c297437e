/*
 * engines/example/example.h - what a folder of the example engine says: the model in memory, and the reader
 * of example.txt.
 */
#ifndef TERN_ENGINES_EXAMPLE_H
#define TERN_ENGINES_EXAMPLE_H

#include <stdbool.h>

#include "tern/engine.h"

enum { EXAMPLE_SIGNATURES_MAX = 32, EXAMPLE_IOS_MAX = 16, EXAMPLE_RANK_MAX = 8, EXAMPLE_TEXT_MAX = 65536 };

/* One input or output; the public tern_io points into it. */
typedef struct tn_example_io {
    tern_io io;
    int64_t dims[EXAMPLE_RANK_MAX];
    /* Outputs only: */
    bool affine;     /* else identity */
    bool length;     /* of strings; a column, too */
    bool column;     /* a last dimension of 1 is added */
    float a, b;      /* a * x + b */
    tern_str source; /* alias of the input it is computed from */
} tn_example_io;

/* What a signature does besides its outputs, in this order. */
typedef struct tn_example_steps {
    int64_t sleep_ms; /* can be cancelled and timed out */
    int64_t busy_ms;  /* cannot be stopped */
    tern_code fail;   /* TERN_OK: does not */
    tern_str fail_text;
    int64_t hold_ms; /* inputs are kept for so long after the run, and released by another thread */
} tn_example_steps;

typedef struct tn_example_signature {
    tn_example_io inputs[EXAMPLE_IOS_MAX];
    tn_example_io outputs[EXAMPLE_IOS_MAX];
    tern_io public_inputs[EXAMPLE_IOS_MAX];
    tern_io public_outputs[EXAMPLE_IOS_MAX];
    tern_str name, method_name;
    uint32_t n_inputs, n_outputs;
    tn_example_steps steps;
} tn_example_signature;

typedef struct tn_example_description {
    char text[EXAMPLE_TEXT_MAX + 1]; /* all slices point into it */
    tn_example_signature signatures[EXAMPLE_SIGNATURES_MAX];
    tern_signature public_signatures[EXAMPLE_SIGNATURES_MAX];
    uint32_t n_signatures;
    tn_example_steps load; /* sleep, busy and fail of the load itself */
    uint64_t memory;       /* what memory_use() answers */
} tn_example_description;

/*
 * Reads d->text (filled by the caller, NUL-terminated) into the rest of *d, which must be zero.
 * INVALID_ARGUMENT names the line. The signatures and their inputs and outputs come out sorted by name, as
 * tern/tensor.h wants them. Pure.
 */
TERN_MUST_USE tern_code tn_example_read(tn_example_description *d, tern_status *st);

#endif
