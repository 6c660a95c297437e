/*
 * html_table.c - see html_table.h. A container is made for each block-level element, so a block's k-th
 * block-level ancestor is k steps up.
 */
#include "postprocess/html_table.h"

#include <string.h>

enum { TAG_TABLE = 27, TAG_TR = 32, TAG_TD = 33, TAG_TH = 34 };

typedef struct count {
    uint32_t row, cell, cell_bytes; /* the last ones met */
    int rows, cells, in_row, columns;
    bool layout;
} count;

/*
 * The block's own cell: td or th, in tr, below a table; all zero where it has none within the path that is
 * kept.
 */
static tn_html_cell place(const tern_html *x, const tn_html_record *r)
{
    tn_html_cell c = {0, 0, 0, 0};
    uint32_t box = r->container;
    for (int k = 0; k < TN_HTML_TAG_PATH && r->tags[k] != 0; k++) {
        const uint8_t tag = r->tags[k];
        if (tag >= TN_HTML_TAG_COUNT || tn_html_kind_of[tag] == TN_HTML_KIND_I)
            continue;
        if (c.cell == 0 && (tag == TAG_TD || tag == TAG_TH))
            c.cell = box;
        else if (c.cell != 0 && c.row == 0)
            c.row = tag == TAG_TR ? box : UINT32_MAX;
        else if (c.row != 0 && tag == TAG_TABLE) {
            c.table = box;
            break;
        }
        box = x->containers[box].parent;
    }
    if (c.table == 0 || c.row == UINT32_MAX)
        c = (tn_html_cell){0, 0, 0, 0};
    return c;
}

static void add(count *t, const tn_html_cell *c, const tn_html_record *r)
{
    if (c->row != t->row) {
        t->row = c->row;
        t->rows++;
        t->in_row = 0;
    }
    if (c->cell != t->cell) {
        t->cell = c->cell;
        t->cell_bytes = 0;
        t->cells++;
        t->in_row++;
    }
    t->cell_bytes += r->length;
    t->columns = t->in_row > t->columns ? t->in_row : t->columns;
    t->layout |= t->cell_bytes > TN_HTML_TABLE_CELL || t->in_row > TN_HTML_TABLE_COLUMNS ||
                 (r->context & TERN_HTML_IN_PRE) != 0;
}

tn_html_cell *tn_html_cells(const tern_html *x, const bool *wanted, tn_arena *arena)
{
    tn_html_cell *cells = tn_arena_zalloc(arena, sizeof *cells * (x->n_records + 1));
    count *tables = tn_arena_zalloc(arena, sizeof *tables * (x->n_containers + 1));
    if (cells == NULL || tables == NULL)
        return NULL;
    for (uint32_t i = 0; i < x->n_records; i++) {
        if (!wanted[i] || !(x->records[i].context & TERN_HTML_IN_TABLE))
            continue;
        cells[i] = place(x, &x->records[i]);
        if (cells[i].table != 0)
            add(&tables[cells[i].table], &cells[i], &x->records[i]);
    }
    for (uint32_t i = 0; i < x->n_records; i++) {
        const count *t = &tables[cells[i].table];
        if (cells[i].table == 0)
            continue;
        cells[i].columns = t->columns;
        if (t->layout || t->rows < 2 || t->columns < 2 || t->cells * 2 < t->rows * 3)
            cells[i].table = 0;
    }
    return cells;
}
