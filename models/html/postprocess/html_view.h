/*
 * html_view.h - a page that shows what the network made of a page: its blocks, coloured by role and
 * confidence.
 *
 * One self-contained HTML file: the answers with their confidence and evidence, a legend that hides what is
 * not wanted, and the document as its blocks, in order and form (headings, lists, tables, preformatted text),
 * main content in full strength and the rest pale; pointing at a block shows role, probabilities, place and
 * CSS path. Nothing of the page's own markup is in it, only its text, escaped: no script, no style, no
 * address of the page can act. A Content-Security-Policy forbids everything but the file's own style. UTF-8,
 * bounded by TN_HTML_ANSWER_MEMORY. Any thread, one extractor each.
 */
#ifndef TERN_HTML_VIEW_H
#define TERN_HTML_VIEW_H

#include "postprocess/html_answer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of the same value as the <meta> in the file; for an HTTP header. */
#define TN_HTML_VIEW_POLICY                                                                                  \
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; sandbox"

/*
 * Owned by the caller (tern_html_answer_free), NUL-terminated behind its length. NULL as tern_html_answer().
 */
TERN_HTML_API char *tern_html_view(const tern_html *x, const tern_html_outputs *outputs,
                                   const tern_html_settings *settings, size_t *length);

#ifdef __cplusplus
}
#endif
#endif
