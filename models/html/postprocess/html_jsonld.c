/*
 * html_jsonld.c - see html_jsonld.h. Objects are collected first, because "@id" may point forward.
 */
#include "postprocess/html_jsonld.h"

#include <string.h>

#include "codec/json.h"

typedef struct reader {
    tn_arena *arena;
    tn_html_ld *ld;
    const tn_json **objects;
    uint32_t *offsets;
    int n;
    int lookups; /* by "@id": each looks at all objects */
} reader;

enum { LOOKUPS = 64 };

/* Pages hold line breaks inside strings, which JSON does not know. */
static tn_str cleaned(const tn_html_source *s, const tn_html_script *script, tn_arena *arena)
{
    char *text = tn_arena_alloc(arena, script->length);
    if (text == NULL)
        return TN_STR_NONE;
    for (uint32_t i = 0; i < script->length; i++) {
        const unsigned char c = (unsigned char)s->text.data[script->at + i];
        text[i] = c < 0x20 ? ' ' : (char)c;
    }
    tn_str out = tn_str_trim((tn_str){text, script->length});
    while (out.len > 0 && out.ptr[out.len - 1] == ';')
        out = tn_str_trim((tn_str){out.ptr, out.len - 1});
    return out;
}

/* All objects below a value, outer ones first. Depth is that of the parser. */
static void collect(reader *r, const tn_json *v, uint32_t offset)
{
    if (v->type == TN_JSON_OBJECT && r->n < TN_HTML_LD_OBJECTS) {
        r->offsets[r->n] = offset;
        r->objects[r->n++] = v;
    }
    if (v->type != TN_JSON_OBJECT && v->type != TN_JSON_ARRAY)
        return;
    for (const tn_json *c = v->first; c != NULL; c = c->next)
        collect(r, c, offset);
}

static tn_str text_of(const tn_json *v)
{
    return v != NULL && v->type == TN_JSON_STRING ? tn_str_trim(v->string) : TN_STR_NONE;
}

static const tn_json *first_of(const tn_json *v)
{
    return v != NULL && v->type == TN_JSON_ARRAY ? v->first : v;
}

/* The object with that "@id" that says more than its id. */
static const tn_json *resolve(reader *r, const tn_json *v)
{
    if (v == NULL || v->type != TN_JSON_OBJECT || tn_json_get(v, "name") != NULL || r->lookups++ >= LOOKUPS)
        return v;
    const tn_str id = text_of(tn_json_get(v, "@id"));
    for (int i = 0; id.len > 0 && i < r->n; i++)
        if (tn_str_eq(text_of(tn_json_get(r->objects[i], "@id")), id) &&
            tn_json_get(r->objects[i], "name") != NULL)
            return r->objects[i];
    return v;
}

static tn_str type_of(const tn_json *o)
{
    return text_of(first_of(tn_json_get(o, "@type")));
}

static bool any_of(tn_str type, const char *const *words)
{
    for (; *words != NULL; words++)
        if (tn_str_find(type, tn_str_from(*words)) >= 0)
            return true;
    return false;
}

/* "Article", "NewsArticle", "BlogPosting"...: types that name a single work. */
static bool is_article(const tn_json *o)
{
    static const char *const words[] = {"Article", "Posting", "Report", "Recipe",       "Review", "Question",
                                        "Course",  "Book",    "HowTo",  "CreativeWork", NULL};
    for (const tn_json *t = first_of(tn_json_get(o, "@type")); t != NULL; t = t->next)
        if (any_of(text_of(t), words))
            return true;
    return false;
}

static void add(reader *r, tn_html_ld_field field, const tn_json *o, const char *key, tn_str value,
                uint32_t offset)
{
    char *text;
    if (value.len == 0 || value.len > 1024 || r->ld->n == TN_HTML_LD_FACTS ||
        (text = tn_arena_alloc(r->arena, value.len)) == NULL)
        return;
    const size_t n = tn_html_unescape(value.ptr, value.len, text);
    const tn_str trimmed = tn_str_trim((tn_str){text, n});
    if (trimmed.len > 0 && tn_str_is_utf8(trimmed))
        r->ld->facts[r->ld->n++] =
            (tn_html_ld_fact){field, is_article(o), trimmed, type_of(o), tn_str_from(key), offset};
}

/* Several authors are one answer, too: "Jane Doe, John Roe". */
static void add_joined(reader *r, const tn_json *o, const char *key, int from, uint32_t offset)
{
    tn_str all = r->ld->facts[from].value;
    for (int i = from + 1; i < r->ld->n && all.ptr != NULL; i++)
        all = tn_arena_printf(r->arena, "%.*s, %.*s", TN_FMT(all), TN_FMT(r->ld->facts[i].value));
    add(r, TN_HTML_LD_AUTHORS, o, key, all, offset);
}

static void add_authors(reader *r, const tn_json *o, uint32_t offset)
{
    static const char *const keys[] = {"author", "creator"};
    for (int k = 0; k < 2; k++) {
        const tn_json *v = tn_json_get(o, keys[k]);
        const bool many = v != NULL && v->type == TN_JSON_ARRAY;
        int count = 0;
        const int before = r->ld->n;
        for (v = first_of(v); v != NULL && count < 4; v = many ? v->next : NULL, count++) {
            if (v->type == TN_JSON_STRING)
                add(r, TN_HTML_LD_AUTHOR, o, keys[k], text_of(v), offset);
            else
                add(r, TN_HTML_LD_AUTHOR, o, k == 0 ? "author.name" : "creator.name",
                    text_of(first_of(tn_json_get(resolve(r, v), "name"))), offset);
        }
        if (r->ld->n - before > 1)
            add_joined(r, o, k == 0 ? "author.name" : "creator.name", before, offset);
        if (count > 0)
            return;
    }
}

static void add_facts(reader *r, const tn_json *o, uint32_t offset)
{
    static const struct {
        const char *key;
        tn_html_ld_field field;
    } plain[] = {{"headline", TN_HTML_LD_HEADLINE},
                 {"datePublished", TN_HTML_LD_PUBLISHED},
                 {"dateCreated", TN_HTML_LD_CREATED},
                 {"uploadDate", TN_HTML_LD_CREATED},
                 {"dateModified", TN_HTML_LD_MODIFIED}};
    static const char *const things[] = {
        "Product", "WebPage", "Recipe", "Course",   "Book",       "SoftwareApplication", "Event", "Service",
        "Page",    "Movie",   "HowTo",  "Question", "JobPosting", "VideoObject",         NULL};
    static const char *const sites[] = {"WebSite", "Organization", "Corporation", NULL};
    const tn_str type = type_of(o);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        add(r, plain[i].field, o, plain[i].key, text_of(first_of(tn_json_get(o, plain[i].key))), offset);
    if (any_of(type, things))
        add(r, TN_HTML_LD_NAME, o, "name", text_of(tn_json_get(o, "name")), offset);
    if (any_of(type, sites))
        add(r, TN_HTML_LD_SITE, o, "name", text_of(tn_json_get(o, "name")), offset);
    add(r, TN_HTML_LD_SITE, o, "publisher.name",
        text_of(tn_json_get(resolve(r, first_of(tn_json_get(o, "publisher"))), "name")), offset);
    add_authors(r, o, offset);
}

void tn_html_ld_read(const tn_html_source *s, tn_arena *arena, tn_html_ld *ld)
{
    reader r = {.arena = arena, .ld = ld};
    ld->n = 0;
    if (s->n_scripts == 0)
        return;
    r.objects = tn_arena_array(arena, TN_HTML_LD_OBJECTS, sizeof *r.objects);
    r.offsets = tn_arena_array(arena, TN_HTML_LD_OBJECTS, sizeof *r.offsets);
    if (r.objects == NULL || r.offsets == NULL)
        return;
    for (uint32_t i = 0; i < s->n_scripts; i++) {
        const tn_json *root;
        tern_status none;
        const tn_str text = cleaned(s, &s->scripts[i], arena);
        if (text.len > 0 && tn_json_parse(text, TN_HTML_LD_DEPTH, arena, &root, &none) == TERN_OK)
            collect(&r, root, s->scripts[i].offset);
    }
    for (int i = 0; i < r.n; i++)
        add_facts(&r, r.objects[i], r.offsets[i]);
}
