/*
 * html_authors.c - candidates for the author: names in blocks that the network or the page's own class names
 * call a byline, behind "by", in <meta>, in JSON-LD.
 */
#include <string.h>

#include "postprocess/html_candidates.h"
#include "postprocess/html_names.h"

enum {
    F_BIAS,
    F_META,
    F_META_OTHER,
    F_LD,
    F_LD_OTHER,
    F_TOP,
    F_NEXT,
    F_LOGIT,
    F_BLOCK,
    F_BY,
    F_NAMED,
    F_BYLINE,
    F_REL,
    F_ABOVE_NAMED,
    F_ONE,
    F_TWO,
    F_THREE,
    F_FIVE,
    F_CAPITALS,
    F_GROUP,
    F_SITE,
    F_ODD,
    F_DISTANCE,
    F_BEFORE,
    F_COMMENT,
    F_LANDMARK,
    F_AFTER_BY,
    F_FIRST,
    F_SOURCES,
    F_REPEATED,
    F_REST,
    F_FORUM,
    F_MAIN,
    F_LINK,
    F_LD_FIRST,
    F_TEXT_ONLY,
    F_FORUM_BLOCK,
    F_SEVERAL,
    F_META_BLOCK,
    F_LD_BLOCK,
    F_TOP_TWO,
    F_NEAR_TWO
};

static tn_html_candidate *add(tn_html_candidates *l, tn_str name)
{
    int words;
    const uint64_t key = tn_html_words_key(name, &words);
    return name.len > 0 ? tn_html_candidate_of(l, key, name) : NULL;
}

/* A stated name as it is: "Jane Doe", or "By Jane Doe, Staff"; addresses of profiles are none. */
static tn_str stated_name(tn_str value)
{
    bool by;
    if (tn_str_find(value, TN_STR("://")) >= 0 || value.len > 200)
        return TN_STR_NONE;
    return tn_html_name_in(value, &by);
}

static void add_metas(tn_html_candidates *l, const tn_html_page *p)
{
    static const struct {
        const char *name;
        int feature;
    } known[] = {{"author", F_META},
                 {"dc.creator", F_META_OTHER},
                 {"dcterms.creator", F_META_OTHER},
                 {"parsely-author", F_META_OTHER},
                 {"article:author", F_META_OTHER},
                 {"sailthru.author", F_META_OTHER},
                 {"cxenseparse:author", F_META_OTHER},
                 {"citation_author", F_META_OTHER},
                 {"twitter:data1", F_META_OTHER},
                 {"article:author_name", F_META_OTHER},
                 {"og:article:author", F_META_OTHER}};
    for (int i = 0; i < p->places.n_metas; i++) {
        const tn_html_meta_value *m = &p->places.metas[i];
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
            tn_html_candidate *c;
            if (!tn_str_ieq(m->name, tn_str_from(known[k].name)) ||
                (c = add(l, stated_name(m->value))) == NULL)
                continue;
            tn_html_raise(c, known[k].feature, 1);
            tn_html_refer(c, "meta", m->name, UINT32_MAX, UINT32_MAX);
        }
    }
}

static void add_ld(tn_html_candidates *l, const tn_html_page *p)
{
    bool first = true;
    for (int i = 0; i < p->ld.n; i++) {
        const tn_html_ld_fact *f = &p->ld.facts[i];
        tn_html_candidate *c;
        const bool several = f->field == TN_HTML_LD_AUTHORS;
        if ((f->field != TN_HTML_LD_AUTHOR && !several) ||
            (c = add(l, several ? f->value : stated_name(f->value))) == NULL)
            continue;
        tn_html_raise(c, F_SEVERAL, several);
        tn_html_raise(c, f->article ? F_LD : F_LD_OTHER, 1);
        tn_html_raise(c, F_LD_FIRST, first);
        first = false;
        tn_html_refer(c, "json-ld", tn_arena_printf(p->arena, "%.*s.%.*s", TN_FMT(f->type), TN_FMT(f->key)),
                      UINT32_MAX, f->offset);
    }
}

static void describe_block(const tn_html_page *p, tn_html_candidate *c, uint32_t i, tn_str name, bool by)
{
    const tn_html_record *r = &p->x->records[i];
    if (c->f[F_BLOCK] == 0)
        c->f[F_LOGIT] = -1;
    tn_html_raise(c, F_BLOCK, 1);
    tn_html_raise(c, F_LOGIT, tn_html_logit(tn_html_role(p, i, TERN_HTML_ROLE_AUTHOR)));
    tn_html_raise(c, F_BY, by);
    tn_html_raise(c, F_NAMED,
                  tn_html_named(r, "author", TN_HTML_SALT_CLASS, true) ||
                      tn_html_named(r, "author", TN_HTML_SALT_ITEMPROP, true));
    tn_html_raise(c, F_BYLINE,
                  tn_html_named(r, "byline", TN_HTML_SALT_CLASS, true) ||
                      tn_html_named(r, "byline", TN_HTML_SALT_CLASS, false));
    tn_html_raise(c, F_REL, tn_html_named(r, "author", TN_HTML_SALT_REL, true));
    tn_html_raise(c, F_ABOVE_NAMED,
                  tn_html_named(r, "author", TN_HTML_SALT_CLASS, false) ||
                      tn_html_named(r, "author", TN_HTML_SALT_ITEMPROP, false));
    tn_html_raise(c, F_COMMENT, (r->context & TERN_HTML_IN_COMMENT) != 0);
    tn_html_raise(c, F_LANDMARK,
                  (r->context & (TERN_HTML_IN_NAV | TERN_HTML_IN_FOOTER | TERN_HTML_IN_ASIDE)) != 0);
    tn_html_raise(c, F_REPEATED, r->counts[TN_HTML_N_DUPLICATES] > 0);
    tn_html_raise(c, F_REST, tn_html_log((float)(r->length - name.len)));
    tn_html_raise(c, F_MAIN, p->y->main[i]);
    tn_html_raise(c, F_LINK, r->counts[TN_HTML_N_LINKS] > 0);
    if (p->title_block != UINT32_MAX) {
        const float distance = (float)i - (float)p->title_block;
        const float near = 1 - tn_html_log(distance < 0 ? -distance : distance);
        tn_html_raise(c, F_DISTANCE, near);
        tn_html_raise(c, F_BEFORE, distance < 0);
    }
    tn_html_refer(c, "block", TN_STR_NONE, i, (uint32_t)r->counts[TN_HTML_N_OFFSET]);
}

/* The name in block i, or in the next one where i holds no more than "By". Returns its candidate or NULL. */
static tn_html_candidate *add_block(tn_html_candidates *l, const tn_html_page *p, uint32_t i)
{
    for (uint32_t k = i; k <= i + 1 && k < p->y->n; k++) {
        const tn_str text = tn_html_block_text(p->x, k);
        bool by;
        const tn_str name = tn_html_name_in(text, &by);
        if (name.len > 0) {
            tn_html_candidate *c = add(l, name);
            for (int j = 0; c != NULL && j < c->n_refs; j++)
                if (c->refs[j].block == k)
                    return c;
            if (c != NULL) {
                describe_block(p, c, k, name, by || k > i);
                tn_html_raise(c, F_LOGIT, tn_html_logit(tn_html_role(p, i, TERN_HTML_ROLE_AUTHOR)));
                tn_html_raise(c, F_AFTER_BY, k > i);
            }
            return c;
        }
        if (text.len > 16)
            break;
    }
    return NULL;
}

/* Short blocks that a class name or a word calls a byline, from the top of the page. */
static void add_bylines(tn_html_candidates *l, const tn_html_page *p)
{
    int have = 0;
    for (uint32_t i = 0; i < p->y->n && have < 12; i++) {
        const tn_html_record *r = &p->x->records[i];
        if (r->length == 0 || r->length > 160 || (r->context & TERN_HTML_IS_CONTROL))
            continue;
        const bool named = tn_html_named(r, "author", TN_HTML_SALT_CLASS, true) ||
                           tn_html_named(r, "author", TN_HTML_SALT_ITEMPROP, true) ||
                           tn_html_named(r, "author", TN_HTML_SALT_REL, true) ||
                           tn_html_named(r, "byline", TN_HTML_SALT_CLASS, true);
        const tn_str text = tn_html_block_text(p->x, i);
        if (!named && !tn_str_istarts(text, TN_STR("by ")) && !tn_str_istarts(text, TN_STR("von ")))
            continue;
        tn_html_candidate *c = add_block(l, p, i);
        if (c != NULL && have++ == 0)
            tn_html_raise(c, F_FIRST, 1);
    }
}

static void describe(const tn_html_page *p, tn_html_candidate *c)
{
    int capitals;
    const int words = tn_html_name_words(c->text, &capitals);
    c->f[F_ONE] = words == 1;
    c->f[F_TWO] = words == 2;
    c->f[F_THREE] = words == 3;
    c->f[F_FIVE] = words >= 5;
    c->f[F_CAPITALS] = capitals == words;
    c->f[F_GROUP] = tn_html_name_of_group(c->text);
    c->f[F_SITE] = (p->site.len > 0 && tn_html_words_in(c->text, p->site) == 1) ||
                   (p->site_ld.len > 0 && tn_html_words_in(c->text, p->site_ld) == 1);
    for (size_t i = 0; i < c->text.len; i++)
        if ((c->text.ptr[i] >= '0' && c->text.ptr[i] <= '9') || strchr("@|_#", c->text.ptr[i]) != NULL)
            c->f[F_ODD] = 1;
    c->f[F_SOURCES] = tn_html_log((float)c->n_refs);
    c->f[F_FORUM] = p->y->page_type[2];
    c->f[F_FORUM_BLOCK] = p->y->page_type[2] * c->f[F_BLOCK];
    c->f[F_TEXT_ONLY] = c->f[F_BLOCK] == 0;
    c->f[F_META_BLOCK] = c->f[F_BLOCK] * (c->f[F_META] + c->f[F_META_OTHER]);
    c->f[F_LD_BLOCK] = c->f[F_BLOCK] * c->f[F_LD];
    c->f[F_TOP_TWO] = c->f[F_TOP] * (c->f[F_TWO] + c->f[F_THREE]);
    c->f[F_NEAR_TWO] = c->f[F_DISTANCE] * (c->f[F_TWO] + c->f[F_THREE]);
}

void tn_html_find_authors(const tn_html_page *p, tn_html_candidates *l)
{
    uint32_t found[5];
    const int n = tn_html_best_blocks(p, TERN_HTML_ROLE_AUTHOR, found, 5);
    add_metas(l, p);
    add_ld(l, p);
    for (int i = 0; i < n; i++) {
        tn_html_candidate *c = add_block(l, p, found[i]);
        if (c != NULL)
            tn_html_raise(c, i == 0 ? F_TOP : F_NEXT, 1);
    }
    add_bylines(l, p);
    for (int i = 0; i < l->n; i++)
        describe(p, &l->c[i]);
}
