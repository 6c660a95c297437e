/*
 * html_source.h - what the page's bytes say that its blocks do not: JSON-LD, and where links lead.
 *
 * The tree that the features are made of has no scripts and no addresses of links: they would cost memory for
 * each page of a training. One linear scan over the page's bytes, once for each extraction, copies both; they
 * live until the next one. Not a parser of HTML: it knows comments, scripts, styles and the attributes of a
 * tag, which is enough for these two, and what it gets wrong on a broken page costs a link or a fact, never a
 * block. Bounded by TN_HTML_SOURCE_*; one thread, that of the extractor. Source: WHATWG HTML 13.2.5 (states
 * of the tokenizer), schema.org for JSON-LD's use in pages.
 */
#ifndef TERN_HTML_SOURCE_H
#define TERN_HTML_SOURCE_H

#include "features/html_internal.h"

#define TN_HTML_SOURCE_SCRIPTS 32u          /* JSON-LD scripts of a page */
#define TN_HTML_SOURCE_SCRIPT  (256u << 10) /* bytes of one; a longer one is left out */
#define TN_HTML_SOURCE_LINKS   16384u       /* links with an address */
#define TN_HTML_SOURCE_HREF    2048u        /* bytes of an address; a longer one is left out */
#define TN_HTML_SOURCE_SHOWN   512u         /* bytes of a link's text */
#define TN_HTML_SOURCE_TEXT    (2u << 20)   /* bytes of all of them together */
#define TN_HTML_SOURCE_TAG     65536u       /* bytes looked at of one tag */

/* A slice of tn_html_source.text. */
typedef struct tn_html_script {
    uint32_t at, length;
    uint32_t offset; /* of its first byte in the page's UTF-8 form */
} tn_html_script;

/* <a href>: its content is [start, end) of the page's UTF-8 form. */
typedef struct tn_html_link {
    uint32_t start, end;
    uint32_t at, length; /* the address, character references resolved */
    /* what it shows: no tags, white space collapsed, the first TN_HTML_SOURCE_SHOWN bytes */
    uint32_t text_at, text_length;
} tn_html_link;

typedef struct tn_html_source {
    tn_html_bytes text;
    tn_html_link *links; /* by start */
    uint32_t n_links, cap_links, n_scripts;
    tn_html_script scripts[TN_HTML_SOURCE_SCRIPTS];
} tn_html_source;

/* Scans a page; forgets the one before. Where memory is short, what was found until then stays. */
void tn_html_source_scan(tn_html_source *s, const char *utf8, size_t length);
void tn_html_source_clear(tn_html_source *s);

/*
 * Writes s with the common character references (&amp; &quot; &#8217; ...) resolved to out, which has room
 * for n bytes, and returns the length. References that it does not know stay as they are.
 */
size_t tn_html_unescape(const char *s, size_t n, char *out);

#endif
