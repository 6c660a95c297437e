/*
 * html_published.c - candidates for the day of publication: blocks that the network calls a date or a byline,
 * <time>, <meta>, JSON-LD, the address; each as an ISO 8601 day.
 */
#include <string.h>

#include "postprocess/html_candidates.h"
#include "postprocess/html_dates.h"

enum {
    F_BIAS,
    F_META,
    F_META_OTHER,
    F_META_MODIFIED,
    F_LD,
    F_LD_OTHER,
    F_LD_MODIFIED,
    F_LD_CREATED,
    F_TOP,
    F_NEXT,
    F_LOGIT,
    F_BLOCK,
    F_TIME,
    F_NAMED,
    F_UPDATED,
    F_PUBLISHED,
    F_URL,
    F_BYLINE,
    F_NEAR,
    F_BEFORE,
    F_FIRST,
    F_COMMENT,
    F_LANDMARK,
    F_EARLIEST,
    F_LATEST,
    F_LONG,
    F_SOURCES,
    F_LIST,
    F_ALONE,
    F_BLOCKS,
    F_MAIN,
    F_FORUM,
    F_FORUM_FIRST,
    F_BEST_AND_META,
    F_STATED_ONLY,
    F_TOP_PUBLISHED,
    F_TOP_UPDATED,
    F_FIRST_NEAR,
    F_META_BLOCK,
    F_LD_BLOCK,
    F_META_LD,
    F_LD_ONLY,
    F_TOP_NEAR,
    F_TIME_NEAR,
    F_OLD
};

static tn_html_candidate *add(tn_html_candidates *l, const tn_html_page *p, const char date[11])
{
    int words;
    const uint64_t key = tn_html_words_key((tn_str){date, 10}, &words);
    tn_html_candidate *c = tn_html_candidate_of(l, key, (tn_str){date, 10});
    if (c != NULL && c->text.ptr == date)
        c->text = tn_arena_dup(p->arena, (tn_str){date, 10});
    return c != NULL && c->text.len == 10 ? c : NULL;
}

static void add_stated(tn_html_candidates *l, const tn_html_page *p, tn_str value, const char *source,
                       tn_str name, uint32_t offset, int feature)
{
    char date[11];
    const int english = p->y->language[0] >= 0.5f;
    if (!tern_html_find_date(value.ptr, value.len, english, date))
        return;
    tn_html_candidate *c = add(l, p, date);
    if (c == NULL)
        return;
    tn_html_raise(c, feature, 1);
    tn_html_refer(c, source, name, UINT32_MAX, offset);
}

static void add_metas(tn_html_candidates *l, const tn_html_page *p)
{
    static const struct {
        const char *name;
        int feature;
    } known[] = {{"article:published_time", F_META},
                 {"datepublished", F_META},
                 {"og:published_time", F_META},
                 {"og:article:published_time", F_META},
                 {"parsely-pub-date", F_META},
                 {"sailthru.date", F_META},
                 {"pubdate", F_META},
                 {"publication_date", F_META},
                 {"publish-date", F_META},
                 {"article.published", F_META},
                 {"published_time", F_META},
                 {"dc.date.issued", F_META},
                 {"dcterms.created", F_META},
                 {"dcterms.date", F_META_OTHER},
                 {"cxenseparse:recs:publishtime", F_META},
                 {"citation_publication_date", F_META},
                 {"dc.date", F_META_OTHER},
                 {"date", F_META_OTHER},
                 {"last-modified", F_META_MODIFIED},
                 {"datecreated", F_META_OTHER},
                 {"article:modified_time", F_META_MODIFIED},
                 {"og:updated_time", F_META_MODIFIED},
                 {"datemodified", F_META_MODIFIED},
                 {"article.updated", F_META_MODIFIED},
                 {"dcterms.modified", F_META_MODIFIED},
                 {"revised", F_META_MODIFIED},
                 {"dc.date.modified", F_META_MODIFIED}};
    for (int i = 0; i < p->places.n_metas; i++) {
        const tn_html_meta_value *m = &p->places.metas[i];
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (tn_str_ieq(m->name, tn_str_from(known[k].name)))
                add_stated(l, p, m->value, "meta", m->name, UINT32_MAX, known[k].feature);
    }
}

static void add_ld(tn_html_candidates *l, const tn_html_page *p)
{
    for (int i = 0; i < p->ld.n; i++) {
        const tn_html_ld_fact *f = &p->ld.facts[i];
        const int feature = f->field == TN_HTML_LD_PUBLISHED  ? (f->article ? F_LD : F_LD_OTHER)
                            : f->field == TN_HTML_LD_CREATED  ? F_LD_CREATED
                            : f->field == TN_HTML_LD_MODIFIED ? F_LD_MODIFIED
                                                              : 0;
        if (feature > 0)
            add_stated(l, p, f->value, "json-ld",
                       tn_arena_printf(p->arena, "%.*s.%.*s", TN_FMT(f->type), TN_FMT(f->key)), f->offset,
                       feature);
    }
}

static bool holds_any(tn_str text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (tn_html_holds(text.ptr, text.len, *words))
            return true;
    return false;
}

static void describe_block(const tn_html_page *p, tn_html_candidate *c, uint32_t i, bool time)
{
    static const char *const updated[] = {"updated",  "modified",          "aktualisiert",
                                          "edited",   "mis \xC3\xA0 jour", "actualiz",
                                          "reviewed", "revised",           NULL};
    static const char *const published[] = {"publi",
                                            "posted",
                                            "ver\xC3\xB6"
                                            "ffentlicht",
                                            "erstellt",
                                            "written",
                                            "created",
                                            NULL};
    const tn_html_record *r = &p->x->records[i];
    const tn_str text = tn_html_block_text(p->x, i);
    const bool is_updated = text.len < 300 && holds_any(text, updated),
               is_published = text.len < 300 && holds_any(text, published);
    if (c->f[F_BLOCK] == 0)
        c->f[F_LOGIT] = -1;
    tn_html_raise(c, F_BLOCK, 1);
    tn_html_raise(c, F_LOGIT, tn_html_logit(tn_html_role(p, i, TERN_HTML_ROLE_DATE)));
    tn_html_raise(c, F_BYLINE, tn_html_role(p, i, TERN_HTML_ROLE_AUTHOR));
    tn_html_raise(c, F_TIME, time);
    tn_html_raise(c, F_NAMED,
                  tn_html_named(r, "published", TN_HTML_SALT_ITEMPROP, true) ||
                      tn_html_named(r, "published", TN_HTML_SALT_CLASS, true) ||
                      tn_html_named(r, "date", TN_HTML_SALT_CLASS, true) ||
                      tn_html_named(r, "pubdate", TN_HTML_SALT_CLASS, true));
    tn_html_raise(c, F_UPDATED, is_updated && !is_published);
    tn_html_raise(c, F_PUBLISHED, is_published);
    tn_html_raise(c, F_COMMENT, (r->context & TERN_HTML_IN_COMMENT) != 0);
    tn_html_raise(c, F_LANDMARK,
                  (r->context & (TERN_HTML_IN_NAV | TERN_HTML_IN_FOOTER | TERN_HTML_IN_ASIDE)) != 0);
    tn_html_raise(c, F_LIST, (r->context & TERN_HTML_IN_LIST) != 0);
    tn_html_raise(c, F_LONG, r->counts[TN_HTML_N_WORDS] > 20);
    tn_html_raise(c, F_MAIN, p->y->main[i]);
    c->f[F_BLOCKS] += 0.1f;
    if (p->title_block != UINT32_MAX) {
        const float distance = (float)i - (float)p->title_block;
        tn_html_raise(c, F_NEAR, 1 - tn_html_log(distance < 0 ? -distance : distance));
        tn_html_raise(c, F_BEFORE, distance < 0);
    }
    tn_html_refer(c, time ? "time" : "block", TN_STR_NONE, i, (uint32_t)r->counts[TN_HTML_N_OFFSET]);
}

/* The day in block i: of its <time>, or in its text. */
static tn_html_candidate *add_block(tn_html_candidates *l, const tn_html_page *p, uint32_t i)
{
    const tn_html_record *r = &p->x->records[i];
    const tn_str text = tn_html_block_text(p->x, i);
    char date[11];
    bool time = r->datetime_length > 0 &&
                tern_html_find_date(p->x->meta_text.data + r->datetime, r->datetime_length, 0, date);
    /* What the reader sees goes before an attribute, which may be of another time zone. */
    char seen[11];
    if (tern_html_find_date(text.ptr, text.len, p->y->language[0] >= 0.5f, seen)) {
        time = time && memcmp(seen, date, sizeof seen) == 0;
        memcpy(date, seen, sizeof date);
    } else if (!time)
        return NULL;
    tn_html_candidate *c = add(l, p, date);
    for (int j = 0; c != NULL && j < c->n_refs; j++)
        if (c->refs[j].block == i)
            return c;
    if (c != NULL)
        describe_block(p, c, i, time);
    return c;
}

/* Blocks with a date that the network did not name, from the page's top. */
static void add_others(tn_html_candidates *l, const tn_html_page *p)
{
    int have = 0;
    for (uint32_t i = 0; i < p->y->n && have < 20; i++) {
        const tn_html_record *r = &p->x->records[i];
        if (r->length == 0 || r->counts[TN_HTML_N_WORDS] > 40 ||
            !(r->datetime_length > 0 || r->counts[TN_HTML_N_YEARS] > 0 || r->counts[TN_HTML_N_DIGITS] >= 6))
            continue;
        tn_html_candidate *c = add_block(l, p, i);
        if (c != NULL && have++ == 0)
            tn_html_raise(c, F_FIRST, 1);
    }
}

static void describe(const tn_html_page *p, tn_html_candidates *l)
{
    const tn_html_candidate *first = l->n > 0 ? &l->c[0] : NULL, *last = first;
    for (int i = 1; i < l->n; i++) {
        first = tn_str_cmp(l->c[i].text, first->text) < 0 ? &l->c[i] : first;
        last = tn_str_cmp(l->c[i].text, last->text) > 0 ? &l->c[i] : last;
    }
    for (int i = 0; i < l->n; i++) {
        tn_html_candidate *c = &l->c[i];
        const bool stated = c->f[F_META] + c->f[F_META_OTHER] + c->f[F_LD] + c->f[F_LD_OTHER] > 0;
        c->f[F_EARLIEST] = c == first && l->n > 1;
        c->f[F_LATEST] = c == last && l->n > 1;
        c->f[F_ALONE] = l->n == 1;
        c->f[F_SOURCES] = tn_html_log((float)c->n_refs);
        c->f[F_FORUM] = p->y->page_type[2];
        c->f[F_FORUM_FIRST] = p->y->page_type[2] * c->f[F_FIRST];
        c->f[F_BEST_AND_META] = c->f[F_TOP] > 0 && stated;
        c->f[F_META_BLOCK] = c->f[F_META] * c->f[F_BLOCK];
        c->f[F_LD_BLOCK] = c->f[F_LD] * c->f[F_BLOCK];
        c->f[F_META_LD] = c->f[F_META] * (c->f[F_LD] > c->f[F_LD_OTHER] ? c->f[F_LD] : c->f[F_LD_OTHER]);
        c->f[F_LD_ONLY] = c->f[F_LD] * (c->f[F_META] == 0);
        c->f[F_TOP_NEAR] = c->f[F_TOP] * c->f[F_NEAR];
        c->f[F_TIME_NEAR] = c->f[F_TIME] * c->f[F_NEAR];
        c->f[F_OLD] = tn_str_cmp(c->text, TN_STR("2000-01-01")) < 0;
        c->f[F_STATED_ONLY] = c->f[F_BLOCK] == 0;
        c->f[F_TOP_PUBLISHED] = c->f[F_TOP] * c->f[F_PUBLISHED];
        c->f[F_TOP_UPDATED] = c->f[F_TOP] * c->f[F_UPDATED];
        c->f[F_FIRST_NEAR] = c->f[F_FIRST] * c->f[F_NEAR];
    }
}

void tn_html_find_dates(const tn_html_page *p, tn_html_candidates *l)
{
    static const int roles[] = {TERN_HTML_ROLE_DATE, TERN_HTML_ROLE_AUTHOR};
    uint32_t found[5];
    for (int k = 0; k < 2; k++) {
        const int n = tn_html_best_blocks(p, roles[k], found, 5);
        for (int i = 0; i < n; i++) {
            tn_html_candidate *c = add_block(l, p, found[i]);
            if (c != NULL && k == 0)
                tn_html_raise(c, i == 0 ? F_TOP : F_NEXT, 1);
        }
    }
    add_metas(l, p);
    add_ld(l, p);
    add_others(l, p);
    if (p->url.len > 0)
        add_stated(l, p, p->url, "url", TN_STR_NONE, UINT32_MAX, F_URL);
    describe(p, l);
}
