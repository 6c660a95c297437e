/*
 * html_text.c - see html_text.h.
 *
 * What separates two blocks depends on both: items of one list follow each other on lines, lines of
 * preformatted text stay in one fence, cells of one row stand on one line, everything else is a paragraph of
 * its own. Links are found by their place in the page's bytes and by their text in the block's.
 */
#include "postprocess/html_text.h"

#include <stdlib.h>
#include <string.h>

#include "postprocess/html_source.h"
#include "postprocess/html_table.h"
#include "postprocess/html_write.h"

#define TEXT_LIMIT ((size_t)4 * TN_HTML_ANSWER_MAIN) /* with what is escaped, and addresses */

typedef enum form { NOTHING, PARAGRAPH, HEADING, ITEM, QUOTE, CODE, TABLE } form;

typedef struct writer {
    const tern_html *x;
    tn_buf b;
    form last;
    tn_html_cell cell; /* the last one written, while in a table */
    int column, row;   /* of it */
    uint32_t link;     /* the first that may stand in the next block */
} writer;

static void put(writer *w, const char *s, size_t n)
{
    tn_buf_append(&w->b, s, n);
}

static void put_z(writer *w, const char *s)
{
    tn_buf_z(&w->b, s);
}

/*
 * Bytes of text that begin a line of another form: "# ", "- ", "12. ", "> ", "---"... 0: none. At the mark to
 * escape.
 */
static size_t mark_at_begin(const char *s, size_t n)
{
    size_t i = 0;
    if (n == 0)
        return 0;
    if (strchr("#>+-=|", s[0]) != NULL)
        return 1;
    while (i < n && i < 9 && s[i] >= '0' && s[i] <= '9')
        i++;
    return i > 0 && i < n && (s[i] == '.' || s[i] == ')') ? i + 1 : 0;
}

/*
 * CommonMark 0.31, 2.4: backslash escapes. A newline inside a block would end its form: it becomes a blank.
 */
static void put_escaped(writer *w, const char *s, size_t n, bool begins)
{
    const size_t mark = begins ? mark_at_begin(s, n) : 0;
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        const bool escape = strchr(w->last == TABLE ? "\\`*_[]<>|" : "\\`*_[]<>", s[i]) != NULL ||
                            (mark > 0 && i == mark - 1);
        if (s[i] != '\n' && (!escape || s[i] == '\0'))
            continue;
        put(w, s + from, i - from);
        from = s[i] == '\n' ? i + 1 : i;
        put_z(w, s[i] == '\n' ? " " : "\\");
    }
    put(w, s + from, n - from);
}

static form form_of(const tern_html_block *b)
{
    if (b->context & TERN_HTML_IN_PRE)
        return CODE;
    if (b->heading > 0)
        return HEADING;
    if (b->context & TERN_HTML_IN_LIST)
        return ITEM;
    return b->context & TERN_HTML_IN_QUOTE ? QUOTE : PARAGRAPH;
}

/* ---- links ---- */

static bool runs_something(tn_str address)
{
    static const char *const schemes[] = {"javascript:", "data:", "vbscript:", "blob:", "about:"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (tn_str_istarts(address, tn_str_from(schemes[i])))
            return true;
    return false;
}

/*
 * CommonMark 6.6: a destination without blanks and parentheses needs no brackets. Bytes below "!" may hide a
 * scheme.
 */
static void put_address(writer *w, tn_str address)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < address.len; i++) {
        const unsigned char c = (unsigned char)address.ptr[i];
        if (c > ' ' && c != 0x7F && strchr("()<>\\`|", (char)c) == NULL) {
            put(w, address.ptr + i, 1);
        } else if (c >= ' ') {
            const char e[3] = {'%', hex[c >> 4], hex[c & 15]};
            put(w, e, 3);
        }
    }
}

static bool usable(const tn_html_link *l, tn_str address)
{
    for (size_t i = 0; i < address.len; i++)
        if ((unsigned char)address.ptr[i] < ' ')
            return false;
    return l->text_length > 0 && address.len > 0 && address.ptr[0] != '#' && !runs_something(address);
}

/* The link's text within s from `from` on; all of s where the link holds more than this block. */
static bool find_text(tn_str s, size_t from, tn_str shown, size_t *at, size_t *length)
{
    const ptrdiff_t found = tn_str_find(tn_str_sub(s, from, s.len), shown);
    *at = from + (size_t)(found < 0 ? 0 : found);
    *length = found < 0 ? s.len : shown.len;
    return found >= 0 || (from == 0 && tn_str_find(shown, s) >= 0);
}

/* The text of a block that ends before byte `end` of the page, with its links. */
static void put_linked(writer *w, const tern_html_block *b, uint32_t end)
{
    const tn_html_source *source = w->x->source;
    const tn_str text = {b->text, b->length};
    size_t from = 0;
    while (w->link < source->n_links && source->links[w->link].end <= b->offset)
        w->link++;
    for (uint32_t i = w->link; i < source->n_links && source->links[i].start < end && from < text.len; i++) {
        const tn_html_link *l = &source->links[i];
        const tn_str address = {source->text.data + l->at, l->length};
        size_t at, n;
        if (!usable(l, address) ||
            !find_text(text, from, (tn_str){source->text.data + l->text_at, l->text_length}, &at, &n))
            continue;
        put_escaped(w, text.ptr + from, at - from, from == 0);
        put_z(w, "[");
        put_escaped(w, text.ptr + at, n, false);
        put_z(w, "](");
        put_address(w, address);
        put_z(w, ")");
        from = at + n;
    }
    put_escaped(w, text.ptr + from, text.len - from, from == 0);
}

/* ---- tables ---- */

static void end_row(writer *w)
{
    for (; w->column <= w->cell.columns; w->column++)
        put_z(w, " |");
    if (w->row++ > 0)
        return;
    put_z(w, "\n|");
    for (int i = 0; i < w->cell.columns; i++)
        put_z(w, " --- |");
}

/* Moves to the cell: the text of it is next. */
static void go_to_cell(writer *w, const tn_html_cell *c)
{
    if (w->last != TABLE || c->table != w->cell.table) {
        if (w->last == TABLE)
            end_row(w);
        if (w->last != NOTHING)
            put_z(w, "\n\n");
        put_z(w, "| ");
        w->row = 0;
        w->column = 1;
    } else if (c->row != w->cell.row) {
        end_row(w);
        put_z(w, "\n| ");
        w->column = 1;
    } else if (c->cell != w->cell.cell) {
        put_z(w, " | ");
        w->column++;
    } else
        put_z(w, " ");
    w->cell = *c;
    w->last = TABLE;
}

/* ---- blocks ---- */

/* Ends what cannot end by itself. */
static void end_form(writer *w)
{
    if (w->last == CODE)
        put_z(w, "\n```");
    if (w->last == TABLE)
        end_row(w);
}

/* A fence that the text itself holds would end it. */
static bool holds_fence(const tern_html_block *b)
{
    for (uint32_t i = 0; i + 2 < b->length; i++)
        if (memcmp(b->text + i, "```", 3) == 0)
            return true;
    return false;
}

static void put_markdown(writer *w, const tern_html_block *b, const tn_html_cell *cell, uint32_t end)
{
    form f = form_of(b);
    if (cell->table != 0) {
        if (w->last == CODE) {
            end_form(w);
            w->last = PARAGRAPH;
        }
        go_to_cell(w, cell);
        put_linked(w, b, end);
        return;
    }
    if (f == CODE && holds_fence(b))
        f = PARAGRAPH;
    if (f != CODE || w->last != CODE) {
        end_form(w);
        if (w->last != NOTHING)
            put_z(w, f == ITEM && w->last == ITEM ? "\n" : "\n\n");
        if (f == CODE)
            put_z(w, "```");
    }
    w->last = f;
    if (f == CODE) {
        put_z(w, "\n");
        put(w, b->text, b->length);
        return;
    }
    if (f == HEADING) {
        put(w, "######", b->heading <= 6 ? b->heading : 6);
        put_z(w, " ");
    } else if (f == ITEM || f == QUOTE)
        put_z(w, f == ITEM ? "- " : "> ");
    put_linked(w, b, end);
}

/* Where the next block begins in the page; a block that stands elsewhere in the bytes ends nothing. */
static uint32_t end_of(const tern_html *x, uint32_t i)
{
    const uint32_t mine = (uint32_t)x->records[i].counts[TN_HTML_N_OFFSET];
    for (uint32_t k = i + 1; k < x->n_records && k < i + 8; k++) {
        const uint32_t next = (uint32_t)x->records[k].counts[TN_HTML_N_OFFSET];
        if (next > mine && x->records[k].length > 0 && !(x->records[k].context & TERN_HTML_IS_CONTROL))
            return next;
    }
    return UINT32_MAX - mine < 65536 ? UINT32_MAX : mine + 65536;
}

static void put_blocks(writer *w, const bool *wanted, const tn_html_cell *cells, bool markdown)
{
    size_t total = 0;
    for (uint32_t i = 0; i < w->x->n_records; i++) {
        tern_html_block b;
        if (!wanted[i] || tern_html_block_at(w->x, i, &b) != 0 || total + b.length > TN_HTML_ANSWER_MAIN)
            continue;
        total += b.length;
        if (markdown) {
            put_markdown(w, &b, &cells[i], end_of(w->x, i));
        } else {
            put(w, b.text, b.length);
            put_z(w, "\n");
        }
    }
    if (markdown) {
        end_form(w);
        if (w->last != NOTHING)
            put_z(w, "\n");
    }
}

char *tern_html_text(const tern_html *x, const tern_html_outputs *y, const tern_html_settings *settings,
                     bool markdown, size_t *length)
{
    writer w = {.x = x};
    tn_arena arena;
    char *text = NULL;
    *length = 0;
    if (y->n != tern_html_block_count(x))
        return NULL;
    const float threshold = tn_html_main_threshold(settings, y);
    tn_arena_init(&arena, TN_HTML_ANSWER_MEMORY);
    bool *wanted = tn_arena_alloc(&arena, y->n);
    for (uint32_t i = 0; wanted != NULL && i < y->n; i++)
        wanted[i] = tn_html_is_main(x, y, threshold, i);
    tn_html_cell *cells = wanted != NULL ? tn_html_cells(x, wanted, &arena) : NULL;
    if (cells != NULL) {
        tn_buf_init(&w.b, TEXT_LIMIT);
        put_blocks(&w, wanted, cells, markdown);
        text = tn_html_finish(&w.b, length);
    }
    tn_arena_free(&arena);
    return text;
}
