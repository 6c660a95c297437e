/*
 * html_candidates.h - what may be the page's title, author and date, and which of it is most likely.
 *
 * Candidates come from blocks that the network names, headings, bylines, <time>, <meta>, <title>, JSON-LD and
 * the address. Those that say the same (the same words, the same day) are one candidate with several sources:
 * agreement is the best evidence there is. Each has TN_HTML_FEATURES numbers that say where it was found and
 * what it looks like; a linear model for each field, fitted on the training pages (train/rank.py writes
 * html_rank.h), makes probabilities of them, together with that of "none of these", which are the confidences
 * of the answer.
 *
 * Everything lives in the arena; sources borrow from the extractor and die with its page. Any thread, one
 * extractor each.
 */
#ifndef TERN_HTML_CANDIDATES_H
#define TERN_HTML_CANDIDATES_H

#include "base/arena.h"
#include "postprocess/html_answer.h"
#include "postprocess/html_jsonld.h"
#include "postprocess/html_place.h"

enum { TN_HTML_FEATURES = 48, TN_HTML_CANDIDATES = 48, TN_HTML_REFS = 6 };

typedef enum tn_html_field { TN_HTML_TITLE, TN_HTML_AUTHOR, TN_HTML_DATE, TN_HTML_FIELDS } tn_html_field;

/* Where a candidate was found: in a block, or in a named source of the page. */
typedef struct tn_html_ref {
    tn_str source;   /* "block", "meta", "title", "json-ld", "time", "url" */
    tn_str name;     /* of the <meta>, or "NewsArticle.author.name"; absent for the others */
    uint32_t block;  /* UINT32_MAX: none */
    uint32_t offset; /* of the block, or of the script of the JSON-LD; UINT32_MAX: unknown */
} tn_html_ref;

typedef struct tn_html_candidate {
    tn_str text; /* the answer that it would be */
    uint64_t key;
    float f[TN_HTML_FEATURES];
    float probability;
    tn_html_ref refs[TN_HTML_REFS];
    int n_refs;
} tn_html_candidate;

typedef struct tn_html_candidates {
    tn_html_candidate c[TN_HTML_CANDIDATES];
    int n;
    int best;   /* index of the most likely, -1: there is none, or "none" is more likely */
    float none; /* probability of "none of these" */
} tn_html_candidates;

/* What the finders of the three fields share. */
typedef struct tn_html_page {
    const tern_html *x;
    const tern_html_outputs *y;
    tn_arena *arena;
    tn_html_ld ld;
    tn_html_places places;
    tn_str og_title, title, site, site_ld, url;
    uint32_t title_block; /* once the title is chosen; UINT32_MAX: none */
} tn_html_page;

typedef struct tn_html_facts {
    tn_html_page page;
    tn_html_candidates fields[TN_HTML_FIELDS];
} tn_html_facts;

/* All three fields, ranked. NULL without memory. */
tn_html_facts *tn_html_facts_find(const tern_html *x, const tern_html_outputs *y, tn_arena *arena);

/* ---- for the files that find candidates ---- */

/*
 * The candidate with that key, made where there is none yet; NULL when there are too many. f[0] is 1 (bias).
 */
tn_html_candidate *tn_html_candidate_of(tn_html_candidates *l, uint64_t key, tn_str text);
void tn_html_refer(tn_html_candidate *c, const char *source, tn_str name, uint32_t block, uint32_t offset);
/* f[i] = max(f[i], v) */
void tn_html_raise(tn_html_candidate *c, int i, float v);
/* FNV-1a over the lower-cased words of s; 0: it has none. *words: how many. */
uint64_t tn_html_words_key(tn_str s, int *words);
/* Share of the words of a that stand in b, 0 to 1. */
float tn_html_words_in(tn_str a, tn_str b);
/* Blocks by a role's probability, best first; returns how many, at most max (8). */
int tn_html_best_blocks(const tn_html_page *p, int role, uint32_t *found, int max);
static inline float tn_html_role(const tn_html_page *p, uint32_t block, int role)
{
    return p->y->role[(size_t)block * TERN_HTML_ROLES + (size_t)role];
}
/* log(p / (1 - p)), within -1..1. */
float tn_html_logit(float p);
/* log(1 + n) / 8 */
float tn_html_log(float n);
tn_str tn_html_block_text(const tern_html *x, uint32_t i);
/*
 * Is that name token among the block's own or its ancestors' (class, id; itemprop)? word: lower-case letters.
 */
bool tn_html_named(const tn_html_record *r, const char *word, uint32_t salt, bool own);

void tn_html_find_titles(const tn_html_page *p, tn_html_candidates *l);
void tn_html_find_authors(const tn_html_page *p, tn_html_candidates *l);
void tn_html_find_dates(const tn_html_page *p, tn_html_candidates *l);

#endif
