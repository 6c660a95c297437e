/*
 * html_answer.h - the network's outputs for one page, as the answer's JSON.
 *
 *   {"page_type": {"label": "article", "probability": 0.9312, "probabilities": {"article": 0.9312, ...}},
 *    "language": {same form}, "title": "..." | null, "author": "..." | null, "date": "2025-07-20" | null,
 *    "main_content": "...", "truncated": false,
 *    "blocks": [{"text": "...", "tag": "p", "offset": 1234, "role": "other", "role_probability": 0.91,
 *    "main": 0.9870}]}
 *
 * Always valid UTF-8 and valid JSON, the same bytes for the same inputs: probabilities are printed by own
 * code with four
 * decimals. Bounded: see TN_HTML_ANSWER_*. Pure but for memory; any thread, one extractor each.
 */
#ifndef TERN_HTML_ANSWER_H
#define TERN_HTML_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#include "features/html_features.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TN_HTML_ANSWER_BLOCK_TEXT 240u       /* bytes of a block's text in "blocks" */
#define TN_HTML_ANSWER_MAIN       (4u << 20) /* bytes of main_content */
#define TN_HTML_ANSWER_FIELD      1024u      /* bytes of title and author */

/* Order of the network's classes; train/data.py has the same. */
enum { TERN_HTML_PAGE_TYPES = 7, TERN_HTML_LANGUAGES = 5, TERN_HTML_ROLES = 10 };
enum {
    TERN_HTML_ROLE_OTHER = 0,
    TERN_HTML_ROLE_TITLE = 1,
    TERN_HTML_ROLE_AUTHOR = 2,
    TERN_HTML_ROLE_DATE = 3
};

/* float32 outputs of a batch of one; borrowed. n is the number of blocks they were computed for. */
typedef struct tern_html_outputs {
    const float *main;      /* [n] */
    const float *role;      /* [n, 10] */
    const float *page_type; /* [7] */
    const float *language;  /* [5] */
    uint32_t n;
} tern_html_outputs;

/* Chosen by validation; a block is taken at or above. */
typedef struct tern_html_thresholds {
    float main, title, author, date;
} tern_html_thresholds;

/*
 * The answer, owned by the caller (tern_html_answer_free), NUL-terminated behind its length. NULL without
 * memory, or when outputs->n is not the extractor's number of blocks.
 */
TERN_HTML_API char *tern_html_answer(const tern_html *x, const tern_html_outputs *outputs,
                                     const tern_html_thresholds *thresholds, size_t *length);
TERN_HTML_API void tern_html_answer_free(char *json);

#ifdef __cplusplus
}
#endif
#endif
