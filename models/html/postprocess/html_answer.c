/*
 * html_answer.c - writes the answer: main text, title, author, date, how sure each is and where it was found,
 * and every block with its role.
 *
 * All output goes through one growing buffer; a failed allocation is remembered there and ends in NULL, so no
 * call in between is checked.
 */
#include "postprocess/html_answer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/json.h"
#include "features/html_internal.h"
#include "postprocess/html_candidates.h"
#include "postprocess/html_write.h"

static const char *const fields[TN_HTML_FIELDS] = {"title", "author", "date"};

/* ---- pieces ---- */

void tn_html_put_probability(tn_buf *o, float p)
{
    const uint32_t v = !(p > 0) ? 0 : p >= 1 ? 10000 : (uint32_t)(p * 10000.0f + 0.5f);
    const char d[6] = {(char)('0' + v / 10000),     '.',
                       (char)('0' + v / 1000 % 10), (char)('0' + v / 100 % 10),
                       (char)('0' + v / 10 % 10),   (char)('0' + v % 10)};
    tn_buf_append(o, d, sizeof d);
}

tn_str tn_html_cut(tn_str s, size_t max)
{
    if (s.len <= max)
        return s;
    while (max > 0 && ((unsigned char)s.ptr[max] & 0xC0) == 0x80)
        max--;
    return tn_str_sub(s, 0, max);
}

char *tn_html_finish(tn_buf *o, size_t *length)
{
    *length = o->len;
    tn_buf_char(o, '\0');
    if (!o->failed)
        return o->ptr;
    tn_buf_free(o);
    *length = 0;
    return NULL;
}

bool tn_html_is_main(const tern_html *x, const tern_html_outputs *y, float threshold, uint32_t i)
{
    const tn_html_record *r = &x->records[i];
    return y->main[i] >= threshold && r->length > 0 && !(r->context & TERN_HTML_IS_CONTROL);
}

/*
 * Expected word F1 of the text that is chosen, were the probabilities of blocks right: twice the words that
 * are expected to be right, over those taken and those expected in the page.
 */
float tn_html_main_confidence(const tern_html *x, const tern_html_outputs *y, float threshold)
{
    double right = 0, taken = 0, all = 0;
    for (uint32_t i = 0; i < y->n; i++) {
        const tn_html_record *r = &x->records[i];
        const double words = r->counts[TN_HTML_N_WORDS], p = (double)y->main[i];
        if (r->length == 0 || (r->context & TERN_HTML_IS_CONTROL) || !(p >= 0))
            continue;
        all += p * words;
        if (!tn_html_is_main(x, y, threshold, i))
            continue;
        taken += words;
        right += p * words;
    }
    return taken + all > 0 ? (float)(2 * right / (taken + all)) : 0;
}

static void put_classes(tn_buf *o, const char *name, const float *p, const char *const *labels, int n,
                        float temperature)
{
    float q[TERN_HTML_PAGE_TYPES];
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += q[i] = temperature != 1 && p[i] > 0 ? powf(p[i], 1 / temperature) : p[i];
    const int best = tn_html_largest(p, n);
    for (int i = 0; temperature != 1 && sum > 0 && i < n; i++)
        q[i] /= sum;
    tn_buf_printf(o, "\"%s\": {\"label\": \"%s\", \"probability\": ", name, labels[best]);
    tn_html_put_probability(o, q[best]);
    tn_buf_z(o, ", \"probabilities\": {");
    for (int i = 0; i < n; i++) {
        tn_buf_printf(o, i > 0 ? ", \"%s\": " : "\"%s\": ", labels[i]);
        tn_html_put_probability(o, q[i]);
    }
    tn_buf_z(o, "}}");
}

/* ---- title, author, date ---- */

static void put_fields(tn_buf *o, const tn_html_found *f)
{
    for (int i = 0; i < TN_HTML_FIELDS; i++) {
        const tn_html_candidates *l = &f->facts->fields[i];
        tn_buf_printf(o, ", \"%s\": ", fields[i]);
        if (l->best < 0)
            tn_buf_z(o, "null");
        else
            tn_json_quote(o, tn_html_cut(l->c[l->best].text, TN_HTML_ANSWER_FIELD));
    }
    tn_buf_z(o, ", \"confidence\": {\"main_content\": ");
    tn_html_put_probability(o, tn_html_main_confidence(f->x, f->y, f->threshold));
    for (int i = 0; i < TN_HTML_FIELDS; i++) {
        const tn_html_candidates *l = &f->facts->fields[i];
        tn_buf_printf(o, ", \"%s\": ", fields[i]);
        tn_html_put_probability(o, l->best < 0 ? l->none : l->c[l->best].probability);
    }
    tn_buf_char(o, '}');
}

static void put_ref(tn_buf *o, tn_html_found *f, const tn_html_ref *r)
{
    tn_buf_z(o, "{\"source\": ");
    tn_json_quote(o, r->source);
    if (r->name.len > 0) {
        tn_buf_z(o, ", \"name\": ");
        tn_json_quote(o, r->name);
    }
    if (r->block != UINT32_MAX)
        tn_buf_printf(o, ", \"block\": %u", r->block);
    if (r->offset != UINT32_MAX)
        tn_buf_printf(o, ", \"offset\": %u", r->offset);
    if (r->block != UINT32_MAX) {
        tn_buf_z(o, ", \"path\": \"");
        tn_html_places_path(&f->facts->page.places, r->block, o); /* letters, digits and "#:()>_-* " alone */
        tn_buf_char(o, '"');
    }
    tn_buf_char(o, '}');
}

static void put_evidence(tn_buf *o, tn_html_found *f)
{
    tn_buf_z(o, ", \"evidence\": {");
    for (int i = 0; i < TN_HTML_FIELDS; i++) {
        const tn_html_candidates *l = &f->facts->fields[i];
        tn_buf_printf(o, "%s\"%s\": [", i > 0 ? ", " : "", fields[i]);
        for (int k = 0; l->best >= 0 && k < l->c[l->best].n_refs; k++) {
            if (k > 0)
                tn_buf_z(o, ", ");
            put_ref(o, f, &l->c[l->best].refs[k]);
        }
        tn_buf_char(o, ']');
    }
    tn_buf_char(o, '}');
}

/* ---- text ---- */

/* As the inside of a JSON string, without the quotes that the writer puts. */
static void put_inside(tn_buf *o, tn_str s)
{
    const size_t start = o->len;
    tn_json_quote(o, s);
    if (o->failed || o->len < start + 2)
        return;
    memmove(o->ptr + start, o->ptr + start + 1, o->len - start - 2);
    o->len -= 2;
}

static void put_main(tn_buf *o, const tern_html *x, const tern_html_outputs *y, float threshold)
{
    size_t total = 0;
    tn_buf_z(o, ", \"main_content\": \"");
    for (uint32_t i = 0; i < y->n && total < TN_HTML_ANSWER_MAIN; i++) {
        if (!tn_html_is_main(x, y, threshold, i))
            continue;
        if (total > 0)
            tn_buf_z(o, "\\n");
        const tn_str text = tn_html_cut(tn_html_block_text(x, i), TN_HTML_ANSWER_MAIN - total);
        put_inside(o, text);
        total += text.len + 1;
    }
    tn_buf_char(o, '"');
}

static void put_blocks(tn_buf *o, tn_html_found *f, bool paths)
{
    const tern_html *x = f->x;
    tn_buf_z(o, ", \"blocks\": [");
    for (uint32_t i = 0; i < f->y->n; i++) {
        const tn_html_record *r = &x->records[i];
        const float *p = f->y->role + (size_t)i * TERN_HTML_ROLES;
        const int best = tn_html_largest(p, TERN_HTML_ROLES);
        tn_buf_z(o, i > 0 ? ",\n{\"text\": " : "\n{\"text\": ");
        tn_json_quote(o, tn_html_cut(tn_html_block_text(x, i), TN_HTML_ANSWER_BLOCK_TEXT));
        tn_buf_z(o, ", \"tag\": \"");
        tn_buf_z(o, r->tags[0] == TN_HTML_TAG_OTHER ? "other" : tern_html_tag_name(r->tags[0]));
        tn_buf_z(o, "\", \"offset\": ");
        tn_buf_u64(o, (uint32_t)r->counts[TN_HTML_N_OFFSET]);
        tn_buf_z(o, ", \"role\": \"");
        tn_buf_z(o, tern_html_roles[best]);
        tn_buf_z(o, "\", \"role_probability\": ");
        tn_html_put_probability(o, p[best]);
        tn_buf_z(o, ", \"main\": ");
        tn_html_put_probability(o, f->y->main[i]);
        if (paths) {
            tn_buf_z(o, ", \"path\": \"");
            tn_html_places_path(&f->facts->page.places, i, o);
            tn_buf_char(o, '"');
        }
        tn_buf_char(o, '}');
    }
    tn_buf_z(o, "\n]");
}

char *tern_html_answer(const tern_html *x, const tern_html_outputs *y, const tern_html_settings *s,
                       int evidence, size_t *length)
{
    tn_buf o;
    tn_arena arena;
    char *json = NULL;
    *length = 0;
    if (y->n != x->n_records)
        return NULL;
    tn_buf_init(&o, TN_HTML_ANSWER_MEMORY);
    tn_arena_init(&arena, TN_HTML_ANSWER_MEMORY);
    tn_html_found f = {x, y, tn_html_main_threshold(s, y), tn_html_facts_find(x, y, &arena)};
    if (f.facts == NULL)
        goto out;
    tn_buf_char(&o, '{');
    put_classes(&o, "page_type", y->page_type, tern_html_page_types, TERN_HTML_PAGE_TYPES,
                s->page_type_temperature);
    tn_buf_z(&o, ", ");
    put_classes(&o, "language", y->language, tern_html_languages, TERN_HTML_LANGUAGES,
                s->language_temperature);
    put_fields(&o, &f);
    put_evidence(&o, &f);
    put_main(&o, x, y, f.threshold);
    tn_buf_z(&o, x->truncated ? ", \"truncated\": true" : ", \"truncated\": false");
    put_blocks(&o, &f, evidence != 0);
    tn_buf_z(&o, "}\n");
    json = tn_html_finish(&o, length);
out:
    tn_arena_free(&arena);
    return json;
}

char *tern_html_candidates_json(const tern_html *x, const tern_html_outputs *y, size_t *length)
{
    tn_buf o;
    tn_arena arena;
    char *json = NULL;
    *length = 0;
    if (y->n != x->n_records)
        return NULL;
    tn_buf_init(&o, TN_HTML_ANSWER_MEMORY);
    tn_arena_init(&arena, TN_HTML_ANSWER_MEMORY);
    const tn_html_facts *facts = tn_html_facts_find(x, y, &arena);
    for (int i = 0; facts != NULL && i < TN_HTML_FIELDS; i++) {
        const tn_html_candidates *l = &facts->fields[i];
        tn_buf_printf(&o, "%s\"%s\": {\"none\": %.4f, \"candidates\": [", i > 0 ? ", " : "{", fields[i],
                      (double)l->none);
        for (int k = 0; k < l->n; k++) {
            tn_buf_z(&o, k > 0 ? ", {\"text\": " : "{\"text\": ");
            tn_json_quote(&o, l->c[k].text);
            tn_buf_printf(&o, ", \"probability\": %.4f, \"features\": [", (double)l->c[k].probability);
            for (int j = 0; j < TN_HTML_FEATURES; j++)
                tn_buf_printf(&o, j > 0 ? ", %.6g" : "%.6g", (double)l->c[k].f[j]);
            tn_buf_z(&o, "]}");
        }
        tn_buf_z(&o, "]}");
    }
    tn_buf_char(&o, '}');
    if (facts != NULL)
        json = tn_html_finish(&o, length);
    else
        tn_buf_free(&o);
    tn_arena_free(&arena);
    return json;
}

void tern_html_answer_free(char *json)
{
    free(json);
}
