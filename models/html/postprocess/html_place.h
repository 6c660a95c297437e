/*
 * html_place.h - where in the page an answer stands: the elements of blocks as CSS paths, and the page's
 * <meta> by name.
 *
 * Walks the tree that the last extraction left in the extractor, so it must be used before the next one. A
 * path is a selector that finds the element in the tree as HTML makes it ("body > main > h1.title", or
 * "#story > p:nth-child(3)"): it begins at the nearest element above with an id that is a plain name, or at
 * html. Bounded: TN_HTML_PLACE_*. Any thread, one
 * extractor each. Source: Selectors Level 4, 6 and 13; CSSOM 2.1 for what may stand in an identifier without
 * escapes.
 */
#ifndef TERN_HTML_PLACE_H
#define TERN_HTML_PLACE_H

#include "base/arena.h"
#include "base/buf.h"
#include "features/html_internal.h"

#define TN_HTML_PLACE_METAS 96
#define TN_HTML_PLACE_PATH  2048u /* bytes of a path */
#define TN_HTML_PLACE_STEPS                                                                                  \
    (4u << 20) /* siblings looked at for all paths of a page; then there are no more */

typedef struct tn_html_meta_value {
    tn_str name;  /* as the page writes it */
    tn_str value; /* trimmed, not empty */
} tn_html_meta_value;

typedef struct tn_html_places {
    tn_html_meta_value metas[TN_HTML_PLACE_METAS];
    int n_metas;
    uint32_t steps;
    void **elements; /* [blocks] the element of each block, or NULL */
} tn_html_places;

/* One walk; elements live in the arena. false without memory. */
bool tn_html_places_find(const tern_html *x, tn_arena *arena, tn_html_places *p);
/* Appends the CSS path of block i's element; nothing where it is unknown. */
void tn_html_places_path(tn_html_places *p, uint32_t i, tn_buf *out);

#endif
