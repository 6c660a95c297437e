/*
 * html_candidates.c - what the three finders share, and the ranking. See html_candidates.h.
 */
#include "postprocess/html_candidates.h"

#include <math.h>
#include <string.h>

#include "postprocess/html_rank.h"

/* ---- words ---- */

/*
 * The next word at or behind *i: letters, digits and bytes from 0x80 on but for punctuation; false at the
 * end.
 */
static bool next_word(tn_str s, size_t *i, size_t *from)
{
    bool in = false;
    for (; *i < s.len; (*i)++) {
        const unsigned char c = (unsigned char)s.ptr[*i];
        const bool sign = (c == 0xE2 && *i + 1 < s.len && (unsigned char)s.ptr[*i + 1] <= 0x84) || c == 0xC2;
        const bool letter =
            (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= 0x80 && !sign);
        if (letter && !in) {
            *from = *i;
            in = true;
        } else if (!letter && in)
            return true;
        if (sign)
            *i += c == 0xC2 ? 1 : 2;
    }
    if (*i > s.len)
        *i = s.len;
    return in;
}

static uint64_t word_hash(tn_str s, size_t from, size_t to, uint64_t h)
{
    for (size_t i = from; i < to; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c |= 0x20;
        h = (h ^ c) * 0x100000001B3ull;
    }
    return (h ^ ' ') * 0x100000001B3ull;
}

uint64_t tn_html_words_key(tn_str s, int *words)
{
    uint64_t h = 0xCBF29CE484222325ull;
    size_t i = 0, from = 0;
    *words = 0;
    while (next_word(s, &i, &from)) {
        h = word_hash(s, from, i, h);
        (*words)++;
    }
    return *words > 0 ? h : 0;
}

enum { WORDS = 64 };

static int hashes(tn_str s, uint64_t out[WORDS])
{
    size_t i = 0, from = 0;
    int n = 0;
    while (n < WORDS && next_word(s, &i, &from))
        out[n++] = word_hash(s, from, i, 0xCBF29CE484222325ull);
    return n;
}

float tn_html_words_in(tn_str a, tn_str b)
{
    uint64_t x[WORDS], y[WORDS];
    const int n = hashes(a, x), m = hashes(b, y);
    int both = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < m; k++)
            if (x[i] == y[k]) {
                both++;
                y[k] = 0;
                break;
            }
    return n > 0 ? (float)both / (float)n : 0;
}

/* ---- candidates ---- */

tn_html_candidate *tn_html_candidate_of(tn_html_candidates *l, uint64_t key, tn_str text)
{
    for (int i = 0; i < l->n; i++)
        if (l->c[i].key == key)
            return &l->c[i];
    if (l->n == TN_HTML_CANDIDATES || key == 0)
        return NULL;
    tn_html_candidate *c = &l->c[l->n++];
    memset(c, 0, sizeof *c);
    c->key = key;
    c->text = text;
    c->f[0] = 1;
    return c;
}

void tn_html_refer(tn_html_candidate *c, const char *source, tn_str name, uint32_t block, uint32_t offset)
{
    for (int i = 0; i < c->n_refs && block == UINT32_MAX; i++)
        if (tn_str_eq(c->refs[i].source, tn_str_from(source)) && tn_str_eq(c->refs[i].name, name))
            return;
    if (c->n_refs < TN_HTML_REFS)
        c->refs[c->n_refs++] = (tn_html_ref){tn_str_from(source), name, block, offset};
}

void tn_html_raise(tn_html_candidate *c, int i, float v)
{
    if (v > c->f[i])
        c->f[i] = v;
}

float tn_html_logit(float p)
{
    p = p < 1e-4f ? 1e-4f : p > 1 - 1e-4f ? 1 - 1e-4f : p;
    return logf(p / (1 - p)) / 9.21f;
}

float tn_html_log(float n)
{
    return logf(1 + (n > 0 ? n : 0)) / 8;
}

tn_str tn_html_block_text(const tern_html *x, uint32_t i)
{
    return (tn_str){x->text.data + x->records[i].text, x->records[i].length};
}

bool tn_html_named(const tn_html_record *r, const char *word, uint32_t salt, bool own)
{
    const uint16_t t = tn_html_token(tn_html_hash(salt, word, strlen(word)), TN_HTML_ATTR_VOCAB);
    const int from = own ? 0 : TN_HTML_ATTR_OWN, to = own ? TN_HTML_ATTR_OWN : TN_HTML_ATTR_TOKENS;
    for (int i = from; i < to; i++)
        if (r->attrs[i] == t)
            return true;
    return false;
}

int tn_html_best_blocks(const tn_html_page *p, int role, uint32_t *found, int max)
{
    int have = 0;
    for (uint32_t i = 0; i < p->y->n; i++) {
        const float v = tn_html_role(p, i, role);
        if (!(v >= 0.02f) || p->x->records[i].length == 0)
            continue;
        int at = have;
        while (at > 0 && tn_html_role(p, found[at - 1], role) < v)
            at--;
        if (at == max)
            continue;
        if (have < max)
            have++;
        memmove(found + at + 1, found + at, sizeof *found * (size_t)(have - 1 - at));
        found[at] = i;
    }
    return have;
}

/* ---- ranking ---- */

#define LIMIT 1e6

static void rank(tn_html_candidates *l, tn_html_field field)
{
    double score[TN_HTML_CANDIDATES], top = 0, sum = 0; /* "none" has the score 0 */
    for (int i = 0; i < l->n; i++) {
        score[i] = 0;
        for (int k = 0; k < TN_HTML_FEATURES; k++)
            score[i] += (double)tn_html_rank_weights[field][k] * (double)l->c[i].f[k];
        if (!(score[i] > -LIMIT && score[i] < LIMIT)) /* outputs that are no numbers */
            score[i] = -LIMIT;
        top = score[i] > top ? score[i] : top;
    }
    for (int i = 0; i < l->n; i++)
        sum += exp(score[i] - top);
    sum += exp(-top);
    l->best = -1;
    l->none = (float)(exp(-top) / sum);
    for (int i = 0; i < l->n; i++) {
        l->c[i].probability = (float)(exp(score[i] - top) / sum);
        if (l->best < 0 || l->c[i].probability > l->c[l->best].probability)
            l->best = i;
    }
    if (l->best >= 0 && l->c[l->best].probability < tn_html_rank_least[field])
        l->best = -1;
}

static tn_str meta(const tern_html *x, int which)
{
    uint32_t n;
    const char *s = tern_html_meta(x, which, &n);
    return (tn_str){s, n};
}

tn_html_facts *tn_html_facts_find(const tern_html *x, const tern_html_outputs *y, tn_arena *arena)
{
    tn_html_facts *facts = tn_arena_zalloc(arena, sizeof *facts);
    if (facts == NULL)
        return NULL;
    tn_html_page *p = &facts->page;
    p->x = x;
    p->y = y;
    p->arena = arena;
    p->og_title = meta(x, TERN_HTML_META_OG_TITLE);
    p->title = meta(x, TERN_HTML_META_TITLE);
    p->site = meta(x, TERN_HTML_META_SITE_NAME);
    p->url = meta(x, TERN_HTML_META_URL);
    p->title_block = UINT32_MAX;
    if (!tn_html_places_find(x, arena, &p->places))
        return NULL;
    tn_html_ld_read(x->source, arena, &p->ld);
    for (int i = 0; i < p->ld.n && p->site_ld.len == 0; i++)
        if (p->ld.facts[i].field == TN_HTML_LD_SITE)
            p->site_ld = p->ld.facts[i].value;
    static void (*const find[])(const tn_html_page *, tn_html_candidates *) = {
        tn_html_find_titles, tn_html_find_authors, tn_html_find_dates};
    for (int f = 0; f < TN_HTML_FIELDS; f++) {
        find[f](p, &facts->fields[f]);
        rank(&facts->fields[f], (tn_html_field)f);
        const tn_html_candidates *l = &facts->fields[f];
        for (int i = 0; f == TN_HTML_TITLE && l->best >= 0 && i < l->c[l->best].n_refs; i++)
            if (l->c[l->best].refs[i].block < p->title_block)
                p->title_block = l->c[l->best].refs[i].block;
    }
    return facts;
}
