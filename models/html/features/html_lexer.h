/*
 * html_lexer.h - the common forms of HTML's tokens, read faster than by lexbor's tokenizer.
 *
 * A page is nearly all text without character references, tags with plain names and attributes, comments, and
 * scripts to be skipped. These are recognised in one look each and handed to the same callback as lexbor's
 * own tokens; everything else - and what of these has something odd in it - is left to lexbor, from the
 * token's first byte on. The tree is the same either way, which the fuzz target holds. Unwanted attributes
 * are not even copied.
 *
 * Threads: a lexer belongs to its guard. Source: WHATWG HTML 13.2.5 (states of the tokenizer), whose
 * functions and conditions lexbor 3 gives by tkz->state.
 */
#ifndef TERN_HTML_LEXER_H
#define TERN_HTML_LEXER_H

#include <lexbor/html/html.h>
#include <stdbool.h>

/* Attributes that the features read: an index into tn_html_lexer.names. */
#define TN_HTML_NAME_TABLE(X)                                                                                \
    X(CLASS, "class")                                                                                        \
    X(ID, "id")                                                                                              \
    X(REL, "rel")                                                                                            \
    X(STYLE, "style")                                                                                        \
    X(LANG, "lang")                                                                                          \
    X(CONTENT, "content")                                                                                    \
    X(HTTP_EQUIV, "http-equiv")                                                                              \
    X(HREF, "href")                                                                                          \
    X(TYPE, "type")                                                                                          \
    X(PLACEHOLDER, "placeholder")                                                                            \
    X(ROLE, "role")                                                                                          \
    X(NAME, "name")                                                                                          \
    X(VALUE, "value")                                                                                        \
    X(HIDDEN, "hidden")                                                                                      \
    X(ITEMPROP, "itemprop")                                                                                  \
    X(ITEMTYPE, "itemtype")                                                                                  \
    X(PROPERTY, "property")                                                                                  \
    X(DATETIME, "datetime")                                                                                  \
    X(ENCODING, "encoding")                                                                                  \
    X(ARIA_LABEL, "aria-label")                                                                              \
    X(ARIA_HIDDEN, "aria-hidden")

enum {
#define X(id, name) TN_HTML_NAME_##id,
    TN_HTML_NAME_TABLE(X)
#undef X
        TN_HTML_NAMES
};

/* The first member of what lexbor's token callback has as its context. */
typedef struct tn_html_lexer tn_html_lexer;
struct tn_html_lexer {
    const lxb_char_t *end;                           /* of the page, or of what is there of it */
    const lxb_char_t *next;                          /* where to go on: may lie behind the chunk's end */
    const lxb_dom_attr_data_t *names[TN_HTML_NAMES]; /* in this page's tree; NULL: not met yet */
    bool filtered;                                   /* the tag being handed on has wanted attributes only */
    bool off;                                        /* lexbor does it all: the yardstick of the tests */
    /*
     * Of a page that is arriving, else NULL: waits until there is twice as much as lies between `from` and
     * `end`, and moves `end`. False: there is no more, or not in time.
     */
    bool (*more)(tn_html_lexer *l, const lxb_char_t *from);
};

/* Before the first chunk of a page that ends at `end`. */
void tn_html_lexer_begin(tn_html_lexer *l, lxb_html_tokenizer_t *tkz, const lxb_char_t *end);
/* After each tag: takes over where lexbor would go on in a state that the lexer knows. */
void tn_html_lexer_take_over(const tn_html_lexer *l, lxb_html_tokenizer_t *tkz);
/* Whether the features read that attribute of that tag. */
bool tn_html_lexer_wants(const lxb_html_token_attr_t *a, lxb_tag_id_t tag);

#endif
