/*
 * html_settings.h - what training chose for a model, out of its assets.extra/tern.json:
 *
 *   {"thresholds": {"main": 0.3}, "main_by_type": {"article": 0.3, "forum": 0.25}, "temperature":
 *   {"page_type": 1.3}}
 *
 * "thresholds": a block whose probability is at or above "main" is main content; "main_by_type" replaces it
 * for pages that the network calls that type. "temperature" (page_type, language; 1 where absent) softens the
 * probabilities that are shown: p ^ (1 / t), made to sum to 1 again. All of it is optional. Also the
 * network's outputs, which go with them.
 */
#ifndef TERN_HTML_SETTINGS_H
#define TERN_HTML_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "features/html_features.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Order of the network's classes; train/data.py has the same. */
enum { TERN_HTML_PAGE_TYPES = 7, TERN_HTML_LANGUAGES = 5, TERN_HTML_ROLES = 10 };
enum {
    TERN_HTML_ROLE_OTHER = 0,
    TERN_HTML_ROLE_TITLE = 1,
    TERN_HTML_ROLE_AUTHOR = 2,
    TERN_HTML_ROLE_DATE = 3,
    TERN_HTML_ROLE_COMMENT = 9
};
extern const char *const tern_html_page_types[TERN_HTML_PAGE_TYPES];
extern const char *const tern_html_languages[TERN_HTML_LANGUAGES];
extern const char *const tern_html_roles[TERN_HTML_ROLES];

/* float32 outputs of a batch of one; borrowed. n is the number of blocks they were computed for. */
typedef struct tern_html_outputs {
    const float *main;      /* [n] */
    const float *role;      /* [n, 10] */
    const float *page_type; /* [7] */
    const float *language;  /* [5] */
    uint32_t n;
} tern_html_outputs;

typedef struct tern_html_settings {
    float main[TERN_HTML_PAGE_TYPES]; /* thresholds by page type */
    float page_type_temperature, language_temperature;
} tern_html_settings;

/*
 * Reads the JSON text; defaults (0.5; 1) for what it does not say, and for all where it is no JSON (then
 * false).
 */
TERN_HTML_API bool tern_html_settings_read(tern_html_settings *s, const char *json, size_t length);

/* The index of the largest of n. */
int tn_html_largest(const float *p, int n);
/* Which blocks are main content: the threshold for this page. */
float tn_html_main_threshold(const tern_html_settings *s, const tern_html_outputs *y);

#ifdef __cplusplus
}
#endif
#endif
