/*
 * html_jsonld.h - what a page's JSON-LD says about its title, author and date.
 *
 * Reads the scripts that html_source.h kept with the codec's JSON parser, follows "@id" references within
 * them, and lists what may be an answer, in the order found. Bounded: 256 kB a script, depth 32,
 * TN_HTML_LD_OBJECTS objects, TN_HTML_LD_FACTS facts. A script that is no JSON is left out. Source: JSON-LD
 * 1.1 (of which this reads the compact form that pages use), schema.org. Pure but for the arena; any thread.
 */
#ifndef TERN_HTML_JSONLD_H
#define TERN_HTML_JSONLD_H

#include "base/arena.h"
#include "postprocess/html_source.h"

#define TN_HTML_LD_OBJECTS 4096
#define TN_HTML_LD_FACTS   48
#define TN_HTML_LD_DEPTH   32

typedef enum tn_html_ld_field {
    TN_HTML_LD_HEADLINE, /* "headline" of anything */
    TN_HTML_LD_NAME,     /* "name" of a thing that a page is about: Product, WebPage, Recipe... */
    TN_HTML_LD_AUTHOR,
    TN_HTML_LD_AUTHORS, /* all names of one list, with commas */
    TN_HTML_LD_PUBLISHED,
    TN_HTML_LD_CREATED, /* dateCreated, uploadDate */
    TN_HTML_LD_MODIFIED,
    TN_HTML_LD_SITE /* name of publisher, WebSite or Organization */
} tn_html_ld_field;

typedef struct tn_html_ld_fact {
    tn_html_ld_field field;
    bool article;    /* of an article, posting, recipe, review...; not of a page or site */
    tn_str value;    /* trimmed, character references resolved, not empty */
    tn_str type;     /* "NewsArticle" */
    tn_str key;      /* "author.name" */
    uint32_t offset; /* of the script in the page's UTF-8 form */
} tn_html_ld_fact;

typedef struct tn_html_ld {
    tn_html_ld_fact facts[TN_HTML_LD_FACTS];
    int n;
} tn_html_ld;

/* Values live in the arena. Where it is full the list ends. */
void tn_html_ld_read(const tn_html_source *source, tn_arena *arena, tn_html_ld *ld);

#endif
