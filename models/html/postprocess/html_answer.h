/*
 * html_answer.h - the network's outputs for one page, as the answer's JSON.
 *
 *   {"page_type": {"label": "article", "probability": 0.9312, "probabilities": {"article": 0.9312, ...}},
 *    "language": {same form}, "title": "..." | null, "author": "..." | null, "date": "2025-07-20" | null,
 *    "confidence": {"main_content": 0.9513, "title": 0.9871, "author": 0.9034, "date": 0.9620},
 *    "evidence": {"title": [{"source": "block", "block": 12, "offset": 4711, "path": "#story > h1"},
 *                           {"source": "meta", "name": "og:title"}, {"source": "title"}, {"source":
 *                           "json-ld", "name": "NewsArticle.headline", "offset": 812}], "author": [...],
 *                           ...},
 *    "main_content": "...", "truncated": false,
 *    "blocks": [{"text": "...", "tag": "p", "offset": 1234, "role": "other", "role_probability": 0.91,
 *    "main": 0.9870, "path": "..."}]}
 *
 * "date" is a day in ISO 8601. A confidence is the probability that the answer is right by the measures of
 * the model card: of title, author and date by the ranking of candidates (html_candidates.h), of a field that
 * is null the probability that the page states none; of main_content the word F1 to expect. "evidence" says
 * where each answer stands, the first source first; offsets are bytes of the page in its UTF-8 form, "path"
 * is a CSS selector of the block's element. Paths of all blocks are there when `evidence` is asked for: they
 * double the answer.
 *
 * Always valid UTF-8 and valid JSON, the same bytes for the same inputs on the same machine (logarithms are
 * libm's); probabilities have four decimals. Bounded: see TN_HTML_ANSWER_*. Pure but for memory; any thread,
 * one extractor each.
 */
#ifndef TERN_HTML_ANSWER_H
#define TERN_HTML_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#include "features/html_features.h"
#include "postprocess/html_settings.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TN_HTML_ANSWER_BLOCK_TEXT 240u               /* bytes of a block's text in "blocks" */
#define TN_HTML_ANSWER_MAIN       (4u << 20)         /* bytes of main_content */
#define TN_HTML_ANSWER_FIELD      1024u              /* bytes of title and author */
#define TN_HTML_ANSWER_MEMORY     ((size_t)64 << 20) /* of an answer, and of what is needed to make it */

/*
 * The answer, owned by the caller (tern_html_answer_free), NUL-terminated behind its length. evidence: paths
 * of all blocks. NULL without memory, or when outputs->n is not the extractor's number of blocks.
 */
TERN_HTML_API char *tern_html_answer(const tern_html *x, const tern_html_outputs *outputs,
                                     const tern_html_settings *settings, int evidence, size_t *length);
/*
 * The candidates of title, author and date with the numbers that rank them, as JSON: what train/rank.py
 * learns from. {"title": {"none": p, "candidates": [{"text": "...", "probability": p, "features": [...]}]},
 * ...}. Owned and NULL as above.
 */
TERN_HTML_API char *tern_html_candidates_json(const tern_html *x, const tern_html_outputs *outputs,
                                              size_t *length);
TERN_HTML_API void tern_html_answer_free(char *json);

#ifdef __cplusplus
}
#endif
#endif
