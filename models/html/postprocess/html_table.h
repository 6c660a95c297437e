/*
 * html_table.h - which blocks are cells of a table of data: its rows and columns.
 *
 * From the paths and containers of the features' blocks; no tree. A table of data has at least two rows, two
 * cells in most rows, and short cells: the others (tables for layout) are not tables here. One walk; any
 * thread.
 */
#ifndef TERN_HTML_TABLE_H
#define TERN_HTML_TABLE_H

#include "base/arena.h"
#include "features/html_internal.h"

#define TN_HTML_TABLE_CELL    400 /* bytes of a cell; a longer one makes it layout */
#define TN_HTML_TABLE_COLUMNS 64

/* Containers of a block's cell, row and table; table 0: the block stands in no table of data. */
typedef struct tn_html_cell {
    uint32_t cell, row, table;
    int columns; /* of the table */
} tn_html_cell;

/* [blocks], in the arena; wanted[i]: whether block i counts. NULL without memory. */
tn_html_cell *tn_html_cells(const tern_html *x, const bool *wanted, tn_arena *arena);

#endif
