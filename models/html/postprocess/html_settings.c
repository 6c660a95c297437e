/*
 * html_settings.c - see html_settings.h. The file is the model's own and small; it is read once for each
 * version loaded.
 */
#include "postprocess/html_settings.h"

#include <string.h>

#include "codec/json.h"

#define ARENA_MAX ((size_t)4 << 20)

const char *const tern_html_page_types[TERN_HTML_PAGE_TYPES] = {
    "article", "service", "forum", "product", "listing", "collection", "documentation"};
const char *const tern_html_languages[TERN_HTML_LANGUAGES] = {"en", "de", "fr", "es", "other"};
const char *const tern_html_roles[TERN_HTML_ROLES] = {"other",  "title",  "author", "date", "navigation",
                                                      "header", "footer", "aside",  "form", "comment"};

int tn_html_largest(const float *p, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (p[i] > p[best])
            best = i;
    return best;
}

float tn_html_main_threshold(const tern_html_settings *s, const tern_html_outputs *y)
{
    return s->main[tn_html_largest(y->page_type, TERN_HTML_PAGE_TYPES)];
}

static float number(const tn_json *object, const char *key, float least, float most, float otherwise)
{
    const tn_json *v = tn_json_get(object, key);
    return v != NULL && v->type == TN_JSON_NUMBER && v->number >= (double)least && v->number <= (double)most
               ? (float)v->number
               : otherwise;
}

bool tern_html_settings_read(tern_html_settings *s, const char *json, size_t length)
{
    const tn_json *root = NULL;
    tn_arena arena;
    tern_status none;
    tn_arena_init(&arena, ARENA_MAX);
    const bool ok = tn_json_parse((tn_str){json, length}, 16, &arena, &root, &none) == TERN_OK;
    const tn_json *thresholds = ok ? tn_json_get(root, "thresholds") : NULL;
    const tn_json *by_type = ok ? tn_json_get(root, "main_by_type") : NULL;
    const tn_json *temperature = ok ? tn_json_get(root, "temperature") : NULL;
    const float main = number(thresholds, "main", 0, 1, 0.5f);
    for (int i = 0; i < TERN_HTML_PAGE_TYPES; i++)
        s->main[i] = number(by_type, tern_html_page_types[i], 0, 1, main);
    s->page_type_temperature = number(temperature, "page_type", 0.05f, 20, 1);
    s->language_temperature = number(temperature, "language", 0.05f, 20, 1);
    tn_arena_free(&arena);
    return ok;
}
