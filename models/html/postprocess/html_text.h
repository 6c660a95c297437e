/*
 * html_text.h - the main content of a page as plain text or as Markdown, from the network's outputs.
 *
 * The blocks that count as main content, in the page's order. Text: a line each. Markdown (CommonMark, and
 * the tables of GitHub Flavored Markdown): headings, lists, quotes, preformatted text, links and tables of
 * data keep their form; characters that would mean something else are escaped. Addresses of links stay as the
 * page writes them, relative ones too; those that run something ("javascript:", "data:") are left out. A
 * table counts as one of data when it has two rows and columns and short cells. UTF-8. Bounded by
 * TN_HTML_ANSWER_MAIN. Pure but for memory; any thread, one extractor each.
 */
#ifndef TERN_HTML_TEXT_H
#define TERN_HTML_TEXT_H

#include <stdbool.h>

#include "postprocess/html_answer.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Owned by the caller (tern_html_answer_free), NUL-terminated behind its length; ends with a newline unless
 * it is empty.
 * NULL without memory, or when outputs->n is not the
 * extractor's number of blocks.
 */
TERN_HTML_API char *tern_html_text(const tern_html *x, const tern_html_outputs *outputs,
                                   const tern_html_settings *settings, bool markdown, size_t *length);

/*
 * tern_html_text() or tern_html_view() by number, for callers of other languages: form 0 text, 1 Markdown, 2 the view.
 */
TERN_HTML_API char *tern_html_write(const tern_html *x, const tern_html_outputs *outputs,
                                    const tern_html_settings *settings, int form, size_t *length);

#ifdef __cplusplus
}
#endif
#endif
