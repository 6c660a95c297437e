/*
 * html_dom.h - reading lexbor's attributes, for the two files that walk its tree.
 *
 * Values are borrowed from the tree and live until the next parse.
 */
#ifndef TERN_HTML_DOM_H
#define TERN_HTML_DOM_H

#include "html_internal.h"

#include <lexbor/dom/interfaces/attr.h>
#include <lexbor/dom/interfaces/document.h>
#include <lexbor/dom/interfaces/element.h>
#include <string.h>

/* Value of an attribute; "" where it has none. */
static inline const char *tn_html_value(const lxb_dom_attr_t *a, size_t *n)
{
    if (a->value == NULL || a->value->data == NULL) {
        *n = 0;
        return "";
    }
    *n = a->value->length;
    return (const char *)a->value->data;
}

/* Name of an attribute that lexbor has no number for. */
static inline const char *tn_html_attribute(const lxb_dom_node_t *node, const lxb_dom_attr_t *a, size_t *n)
{
    const lxb_dom_attr_data_t *d = lxb_dom_attr_data_by_id(node->owner_document->attrs, a->node.local_name);
    if (d == NULL) {
        *n = 0;
        return "";
    }
    *n = d->entry.length;
    return (const char *)lexbor_hash_entry_str(&d->entry);
}

#define IS(s, n, literal) ((n) == sizeof(literal) - 1 && memcmp((s), literal, sizeof(literal) - 1) == 0)

/* ---- html_facts.c ---- */
/* A <title>, <meta> or <link>: keeps what it says about the page, the first of each kind. */
void tn_html_fact(tern_html *x, lxb_dom_node_t *node, uint32_t tag);
/* lang of <html>, classes of <body>. */
void tn_html_root_fact(tern_html *x, lxb_dom_node_t *node, uint32_t tag);

#endif
