/*
 * html_tags.c - lexbor's tag numbers to the features' own ids and kinds, as tables made from html_tags.h.
 *
 * Constant data; any thread.
 */
#include "html_internal.h"

#include <lexbor/tag/const.h>

_Static_assert(LXB_TAG__LAST_ENTRY < TN_HTML_LEXBOR_TAGS, "the table holds every tag that lexbor knows");

const uint8_t tn_html_tag_of[TN_HTML_LEXBOR_TAGS] = {
#define X(id, lexbor, name, kind) [LXB_TAG_##lexbor] = id,
    TN_HTML_TAG_TABLE(X)
#undef X
};

const uint8_t tn_html_kind_of[TN_HTML_TAG_COUNT] = {
#define X(id, lexbor, name, kind) [id] = TN_HTML_KIND_##kind,
    TN_HTML_TAG_TABLE(X)
#undef X
};
