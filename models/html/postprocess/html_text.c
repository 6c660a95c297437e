/*
 * html_text.c - see html_text.h.
 *
 * What separates two blocks depends on both: items of one list follow each other on lines, lines of
 * preformatted text stay in one fence, everything else is a paragraph of its own.
 */
#include "postprocess/html_text.h"

#include <stdlib.h>
#include <string.h>

#include "features/html_internal.h"

#define TEXT_LIMIT ((size_t)2 * TN_HTML_ANSWER_MAIN) /* with what is escaped */

typedef enum form { NOTHING, PARAGRAPH, HEADING, ITEM, QUOTE, CODE } form;

typedef struct writer {
    tn_html_bytes b;
    bool failed;
    form last;
} writer;

static void put(writer *w, const char *s, size_t n)
{
    if (!w->failed && !tn_html_append(&w->b, s, n, TEXT_LIMIT))
        w->failed = true;
}

static void put_z(writer *w, const char *s)
{
    put(w, s, strlen(s));
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
static void put_escaped(writer *w, const char *s, size_t n)
{
    const size_t mark = mark_at_begin(s, n);
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        const bool escape = strchr("\\`*_[]<>", s[i]) != NULL || (mark > 0 && i == mark - 1);
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

static void end_code(writer *w)
{
    if (w->last == CODE)
        put_z(w, "\n```");
}

/* A fence that the text itself holds would end it. */
static bool holds_fence(const tern_html_block *b)
{
    for (uint32_t i = 0; i + 2 < b->length; i++)
        if (memcmp(b->text + i, "```", 3) == 0)
            return true;
    return false;
}

static void put_markdown(writer *w, const tern_html_block *b)
{
    form f = form_of(b);
    if (f == CODE && holds_fence(b))
        f = PARAGRAPH;
    if (f != CODE || w->last != CODE) {
        end_code(w);
        if (w->last != NOTHING)
            put_z(w, f == ITEM && w->last == ITEM ? "\n" : "\n\n");
        if (f == CODE)
            put_z(w, "```");
    }
    switch (f) {
    case CODE:
        put_z(w, "\n");
        put(w, b->text, b->length);
        break;
    case HEADING:
        put(w, "######", b->heading <= 6 ? b->heading : 6);
        put_z(w, " ");
        put_escaped(w, b->text, b->length);
        break;
    case ITEM:
        put_z(w, "- ");
        put_escaped(w, b->text, b->length);
        break;
    case QUOTE:
        put_z(w, "> ");
        put_escaped(w, b->text, b->length);
        break;
    default:
        put_escaped(w, b->text, b->length);
        break;
    }
    w->last = f;
}

char *tern_html_text(const tern_html *x, const tern_html_outputs *y, float main_threshold, bool markdown,
                     size_t *length)
{
    writer w = {0};
    size_t total = 0;
    *length = 0;
    if (y->n != tern_html_block_count(x))
        return NULL;
    for (uint32_t i = 0; i < y->n; i++) {
        tern_html_block b;
        if (!(y->main[i] >= main_threshold) || tern_html_block_at(x, i, &b) != 0 || b.length == 0 ||
            (b.context & TERN_HTML_IS_CONTROL) || total + b.length > TN_HTML_ANSWER_MAIN)
            continue;
        total += b.length;
        if (markdown) {
            put_markdown(&w, &b);
        } else {
            put(&w, b.text, b.length);
            put_z(&w, "\n");
        }
    }
    if (markdown) {
        end_code(&w);
        if (w.last != NOTHING)
            put_z(&w, "\n");
    }
    put(&w, "", 1);
    if (w.failed) {
        free(w.b.data);
        return NULL;
    }
    *length = w.b.length - 1;
    return w.b.data;
}
