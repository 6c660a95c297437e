/*
 * nodes.h - the nodes of one graph or function as they lie in a model: looked at by rewrite.c, which adds to
 * them. Nothing is taken away: readers of a node are given another one, and nothing needs the node any more.
 *
 * Wire contract: as graph.h. Pure; one scope belongs to one thread.
 */
#ifndef TN_OPENVINO_NODES_H
#define TN_OPENVINO_NODES_H

#include "base/arena.h"
#include "base/buf.h"
#include "tern/tensor.h"

#define TN_OV_INPUTS 4
#define TN_OV_RANK   6

typedef struct tn_ov_item {
    tn_str name;
    tn_str op;
    tn_str bytes;            /* NodeDef */
    tn_str in[TN_OV_INPUTS]; /* its first inputs, without control inputs */
    uint32_t n_in;           /* all of them */
    tn_str instead;          /* what readers of its first output are given; empty: that */
} tn_ov_item;

typedef struct tn_ov_scope {
    tn_ov_item *at; /* sorted by name */
    uint32_t n;
    bool function;  /* inputs are "node:output:0", not "node" */
    tn_buf added;   /* NodeDefs, each as a field of the scope */
    uint32_t field; /* the number of that field */
    uint32_t n_added;
    uint32_t n_changed; /* nodes with instead */
    tn_arena *arena;
} tn_ov_scope;

/* An attribute of a node that is added. */
typedef struct tn_ov_attr {
    const char *key;
    tern_dtype type; /* where it is a dtype; else 0 */
    int64_t number;
} tn_ov_attr;

/*
 * Reads fields `field` of the message, borrowed as long as the scope. false: broken, or no memory. Free it in
 * any case.
 */
bool tn_ov_scope_read(tn_ov_scope *s, tn_str message, uint32_t field, bool function, tn_arena *arena);
void tn_ov_scope_free(tn_ov_scope *s);
/* Appends the message with all nodes, those that were added and what else is in it. */
void tn_ov_scope_write(const tn_ov_scope *s, tn_str message, tn_buf *out);

/* ---- looking: NULL goes in for a node that is not there, and comes out ---- */

/* The node that input number i of n comes from, if it is such an operation (NULL: whatever it is). */
tn_ov_item *tn_ov_from(const tn_ov_scope *s, const tn_ov_item *n, uint32_t i, const char *op);
/* Number of integers of a Const of int32 or int64, up to max; -1: not one. */
int tn_ov_ints(const tn_ov_item *n, int64_t *values, int max);
/* Whether it is a Const of exactly these. */
bool tn_ov_are(const tn_ov_item *n, const int64_t *values, int count);
/* What its attribute says: the number, `absent` where there is none, -1 when it is no number. */
int64_t tn_ov_number(const tn_ov_item *n, const char *key, int64_t absent);
tern_dtype tn_ov_dtype(const tn_ov_item *n, const char *key);
/* A text; empty when there is none. */
tn_str tn_ov_text(const tn_ov_item *n, const char *key);
/* Numbers of a list, up to max; -1: none. */
int tn_ov_numbers(const tn_ov_item *n, const char *key, int64_t *values, int max);
/*
 * Rank of its first output as TensorFlow inferred it when the model was saved; -1: not told. -1 in dims:
 * unknown.
 */
int tn_ov_shape(const tn_ov_item *n, int64_t dims[TN_OV_RANK]);

/* ---- adding: all return the name for inputs, and `added.failed` when memory is short ---- */

/* output: what the operation's definition calls its first output. attrs end with one without key. */
tn_str tn_ov_add(tn_ov_scope *s, const char *op, const char *output, const tn_str *inputs, uint32_t n_inputs,
                 const tn_ov_attr *attrs);
/* int32 of that rank (0: one, without dimensions; 1; 2: rows of two). */
tn_str tn_ov_add_ints(tn_ov_scope *s, int rank, const int32_t *values, uint32_t n);
tn_str tn_ov_add_float(tn_ov_scope *s, float value);
/* Readers of the node are given that instead. */
void tn_ov_instead(tn_ov_scope *s, tn_ov_item *n, tn_str other);

#endif
