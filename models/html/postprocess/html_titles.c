/*
 * html_titles.c - candidates for the page's title: headings, blocks that the network names, og:title and
 * <title> whole and without the site's name, JSON-LD's headline.
 */
#include <string.h>

#include "postprocess/html_candidates.h"

enum {
    F_BIAS,
    F_OG,
    F_TITLE,
    F_HEADLINE,
    F_NAME,
    F_LAST_CUT,
    F_FIRST_CUT,
    F_SUFFIX,
    F_NO_SITE,
    F_TOP,
    F_NEXT,
    F_LOGIT,
    F_BLOCK,
    F_H1,
    F_ONLY_H1,
    F_FIRST_H1,
    F_H2,
    F_WORDS,
    F_LONG,
    F_ONE_WORD,
    F_IN_TITLE,
    F_OF_TITLE,
    F_IN_OG,
    F_OF_OG,
    F_IS_SITE,
    F_LANDMARK,
    F_INDEX,
    F_MAIN,
    F_TWITTER,
    F_SEPARATED,
    F_SOURCES,
    F_REPEATED,
    F_OG_SAME_CUT,
    F_HIDDEN,
    F_IN_HEADLINE,
    F_ARTICLE,
    F_H1_ARTICLE,
    F_NO_STATED,
    F_LINK,
    F_SHOP_BLOCK,
    F_SHOP_OF_TITLE,
    F_SHOP_CUT,
    F_PROSE_TOP,
    F_PROSE_H1,
    F_BLOCK_OG,
    F_H1_CUT
};

static tn_html_candidate *add(tn_html_candidates *l, tn_str text)
{
    int words;
    text = tn_str_trim(text);
    if (text.len == 0 || text.len > 600)
        return NULL;
    const uint64_t key = tn_html_words_key(text, &words);
    return tn_html_candidate_of(l, key, text);
}

/*
 * Length of the separator that begins at s[i] between a title and a site's name (" | ", " - ", ": "), or 0.
 */
static size_t separator_at(tn_str s, size_t i)
{
    static const char *const signs[] = {" | ",
                                        " - ",
                                        " \xE2\x80\x93 ",
                                        " \xE2\x80\x94 ",
                                        " :: ",
                                        " \xC2\xB7 ",
                                        " \xC2\xBB ",
                                        " \xE2\x80\xA2 ",
                                        " : ",
                                        " / ",
                                        " > ",
                                        " ~ ",
                                        " \xC2\xAB ",
                                        " || ",
                                        "| ",
                                        ": ",
                                        " \xE2\x80\xBA "};
    for (size_t k = 0; k < sizeof signs / sizeof *signs; k++) {
        if (s.ptr[i] != signs[k][0])
            continue;
        const size_t n = strlen(signs[k]);
        if (s.len - i >= n && memcmp(s.ptr + i, signs[k], n) == 0)
            return n;
    }
    return 0;
}

static void add_cut(tn_html_candidates *l, const tn_html_page *p, tn_str text, tn_str rest,
                    const char *source, tn_str name, int feature)
{
    tn_html_candidate *c = add(l, text);
    if (c == NULL)
        return;
    tn_html_raise(c, feature, 1);
    if ((p->site.len > 0 && tn_html_words_in(rest, p->site) >= 0.6f) ||
        (p->site_ld.len > 0 && tn_html_words_in(rest, p->site_ld) >= 0.6f))
        tn_html_raise(c, F_NO_SITE, 1);
    if (p->og_title.len > 0 && source[0] == 't' && tn_str_eq(tn_str_trim(text), p->og_title))
        tn_html_raise(c, F_OG_SAME_CUT, 1);
    tn_html_refer(c, source, name, UINT32_MAX, UINT32_MAX);
}

/* A stated title, and what is left of it without its first or last parts. */
static void add_stated(tn_html_candidates *l, const tn_html_page *p, tn_str s, const char *source,
                       tn_str name, int feature)
{
    size_t first = 0, first_end = 0, last = 0, last_end = 0;
    tn_html_candidate *c = add(l, s);
    if (c != NULL) {
        tn_html_raise(c, feature, 1);
        tn_html_refer(c, source, name, UINT32_MAX, UINT32_MAX);
    }
    for (size_t i = 1; i + 2 < s.len; i++) {
        const size_t n = separator_at(s, i);
        if (n == 0)
            continue;
        if (first == 0) {
            first = i;
            first_end = i + n;
        }
        last = i;
        last_end = i + n;
        i += n - 1;
    }
    if (first == 0)
        return;
    add_cut(l, p, tn_str_sub(s, 0, last), tn_str_sub(s, last_end, s.len), source, name, F_LAST_CUT);
    if (first != last)
        add_cut(l, p, tn_str_sub(s, 0, first), tn_str_sub(s, first_end, s.len), source, name, F_FIRST_CUT);
    add_cut(l, p, tn_str_sub(s, first_end, s.len), tn_str_sub(s, 0, first), source, name, F_SUFFIX);
}

static void add_metas(tn_html_candidates *l, const tn_html_page *p)
{
    static const struct {
        const char *name;
        int feature;
    } known[] = {{"og:title", F_OG},       {"twitter:title", F_TWITTER},   {"parsely-title", F_HEADLINE},
                 {"dc.title", F_HEADLINE}, {"sailthru.title", F_HEADLINE}, {"headline", F_HEADLINE}};
    for (int i = 0; i < p->places.n_metas; i++) {
        const tn_html_meta_value *m = &p->places.metas[i];
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (tn_str_ieq(m->name, tn_str_from(known[k].name)))
                add_stated(l, p, m->value, "meta", m->name, known[k].feature);
    }
    add_stated(l, p, p->title, "title", TN_STR_NONE, F_TITLE);
}

static void add_ld(tn_html_candidates *l, const tn_html_page *p)
{
    for (int i = 0; i < p->ld.n; i++) {
        const tn_html_ld_fact *f = &p->ld.facts[i];
        if (f->field != TN_HTML_LD_HEADLINE && f->field != TN_HTML_LD_NAME)
            continue;
        tn_html_candidate *c = add(l, f->value);
        if (c == NULL)
            continue;
        tn_html_raise(c, f->field == TN_HTML_LD_HEADLINE ? F_HEADLINE : F_NAME, 1);
        tn_html_refer(c, "json-ld", tn_arena_printf(p->arena, "%.*s.%.*s", TN_FMT(f->type), TN_FMT(f->key)),
                      UINT32_MAX, f->offset);
    }
}

static bool begins_with_word(tn_str s)
{
    const unsigned char c = s.len > 0 ? (unsigned char)s.ptr[0] : 0;
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c >= 0xC3;
}

static tn_html_candidate *add_block(tn_html_candidates *l, const tn_html_page *p, uint32_t i)
{
    const tn_html_record *r = &p->x->records[i];
    tn_html_candidate *c = add(l, tn_html_block_text(p->x, i));
    if (c == NULL)
        return NULL;
    if (c->f[F_BLOCK] == 0 || !begins_with_word(c->text)) /* as the reader sees it, not as "> it" in a path */
        c->text = tn_html_block_text(p->x, i);
    if (c->f[F_BLOCK] == 0) {
        c->f[F_LOGIT] = -1;
        c->f[F_INDEX] = tn_html_log((float)i);
    }
    tn_html_raise(c, F_BLOCK, 1);
    tn_html_raise(c, F_LOGIT, tn_html_logit(tn_html_role(p, i, TERN_HTML_ROLE_TITLE)));
    tn_html_raise(c, F_MAIN, p->y->main[i]);
    tn_html_raise(c, F_H1, r->counts[TN_HTML_N_HEADING] == 1);
    tn_html_raise(c, F_H2, r->counts[TN_HTML_N_HEADING] == 2);
    tn_html_raise(c, F_ARTICLE, (r->context & (TERN_HTML_IN_ARTICLE | TERN_HTML_IN_MAIN)) != 0);
    tn_html_raise(c, F_H1_ARTICLE,
                  r->counts[TN_HTML_N_HEADING] == 1 &&
                      (r->context & (TERN_HTML_IN_ARTICLE | TERN_HTML_IN_MAIN)) != 0);
    tn_html_raise(c, F_LANDMARK,
                  (r->context & (TERN_HTML_IN_NAV | TERN_HTML_IN_FOOTER | TERN_HTML_IN_ASIDE)) != 0);
    tn_html_raise(c, F_HIDDEN, (r->context & TERN_HTML_IN_HIDDEN) != 0);
    tn_html_raise(c, F_REPEATED, r->counts[TN_HTML_N_DUPLICATES] > 0);
    tn_html_raise(c, F_LINK, r->counts[TN_HTML_N_LINK_BYTES] * 2 > r->counts[TN_HTML_N_BYTES]);
    for (int k = 0; k < c->n_refs; k++)
        if (c->refs[k].block == i)
            return c;
    tn_html_refer(c, "block", TN_STR_NONE, i, (uint32_t)r->counts[TN_HTML_N_OFFSET]);
    return c;
}

static void add_headings(tn_html_candidates *l, const tn_html_page *p)
{
    int h1 = 0, h2 = 0;
    tn_html_candidate *first = NULL;
    for (uint32_t i = 0; i < p->y->n; i++) {
        const tn_html_record *r = &p->x->records[i];
        const int level = r->counts[TN_HTML_N_HEADING];
        if (r->length == 0 || (level != 1 && level != 2) || (level == 1 ? h1++ >= 6 : h2++ >= 2))
            continue;
        tn_html_candidate *c = add_block(l, p, i);
        if (level == 1 && first == NULL && c != NULL) {
            first = c;
            tn_html_raise(c, F_FIRST_H1, 1);
        }
    }
    if (h1 == 1 && first != NULL)
        tn_html_raise(first, F_ONLY_H1, 1);
}

static void describe(const tn_html_page *p, tn_html_candidate *c)
{
    int words;
    (void)tn_html_words_key(c->text, &words);
    c->f[F_WORDS] = tn_html_log((float)words);
    c->f[F_LONG] = words > 25;
    c->f[F_ONE_WORD] = words == 1;
    c->f[F_IN_TITLE] = tn_html_words_in(c->text, p->title);
    c->f[F_OF_TITLE] = tn_html_words_in(p->title, c->text);
    c->f[F_IN_OG] = tn_html_words_in(c->text, p->og_title);
    c->f[F_OF_OG] = tn_html_words_in(p->og_title, c->text);
    c->f[F_NO_STATED] = p->og_title.len == 0;
    c->f[F_IS_SITE] = (p->site.len > 0 && tn_html_words_in(c->text, p->site) == 1) ||
                      (p->site_ld.len > 0 && tn_html_words_in(c->text, p->site_ld) == 1);
    /* article, service, forum, product, listing, collection, documentation */
    const float *type = p->y->page_type;
    const float shop = type[1] + type[3] + type[4] + type[5], prose = type[0] + type[2] + type[6];
    c->f[F_SHOP_BLOCK] = shop * c->f[F_BLOCK];
    c->f[F_SHOP_OF_TITLE] = shop * c->f[F_OF_TITLE];
    c->f[F_SHOP_CUT] = shop * (c->f[F_LAST_CUT] > c->f[F_FIRST_CUT] ? c->f[F_LAST_CUT] : c->f[F_FIRST_CUT]);
    c->f[F_PROSE_TOP] = prose * c->f[F_TOP];
    c->f[F_PROSE_H1] = prose * c->f[F_H1];
    c->f[F_BLOCK_OG] = c->f[F_BLOCK] * c->f[F_OG];
    c->f[F_H1_CUT] =
        c->f[F_H1] * (c->f[F_LAST_CUT] > c->f[F_FIRST_CUT] ? c->f[F_LAST_CUT] : c->f[F_FIRST_CUT]);
    c->f[F_SOURCES] = tn_html_log((float)c->n_refs);
    for (int i = 0; i < p->ld.n; i++)
        if (p->ld.facts[i].field == TN_HTML_LD_HEADLINE)
            tn_html_raise(c, F_IN_HEADLINE, tn_html_words_in(p->ld.facts[i].value, c->text));
    for (size_t i = 1; i + 2 < c->text.len; i++)
        if (c->text.ptr[i] == '|')
            c->f[F_SEPARATED] = 1;
}

void tn_html_find_titles(const tn_html_page *p, tn_html_candidates *l)
{
    uint32_t found[5];
    const int n = tn_html_best_blocks(p, TERN_HTML_ROLE_TITLE, found, 5);
    for (int i = 0; i < n; i++) {
        tn_html_candidate *c = add_block(l, p, found[i]);
        if (c != NULL)
            tn_html_raise(c, i == 0 ? F_TOP : F_NEXT, 1);
    }
    add_headings(l, p);
    add_metas(l, p);
    add_ld(l, p);
    for (int i = 0; i < l->n; i++)
        describe(p, &l->c[i]);
}
