/*
 * html_write.h - what the writers of JSON, Markdown and the view of a page share.
 */
#ifndef TERN_HTML_WRITE_H
#define TERN_HTML_WRITE_H

#include "base/buf.h"
#include "postprocess/html_candidates.h"

/* A page with all that was found out about it. */
typedef struct tn_html_found {
    const tern_html *x;
    const tern_html_outputs *y;
    float threshold; /* of main content */
    tn_html_facts *facts;
} tn_html_found;

/* 0.0000 to 1.0000; what is not a number is 0. */
void tn_html_put_probability(tn_buf *o, float p);
/* s cut to at most max bytes, not within a character. */
tn_str tn_html_cut(tn_str s, size_t max);
/* The buffer's memory, which the caller owns, with a NUL behind *length bytes; or NULL when it failed. */
char *tn_html_finish(tn_buf *o, size_t *length);
/* Whether a block belongs to the main content. */
bool tn_html_is_main(const tern_html *x, const tern_html_outputs *y, float threshold, uint32_t i);
/* The word F1 to expect of the main content. */
float tn_html_main_confidence(const tern_html *x, const tern_html_outputs *y, float threshold);

#endif
