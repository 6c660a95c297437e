/*
 * html_facts.c - what a page's head says about it: title, og:*, author, date, canonical address, language,
 * generator.
 *
 * They are read wherever they stand, because broken pages put <meta> into the body. The first of each kind
 * counts; values are cut at TN_HTML_MAX_META_TEXT bytes and kept in the extractor. One thread at a time.
 */
#include "html_dom.h"

#include <lexbor/dom/interfaces/text.h>
#include <lexbor/html/html.h>

static void set_meta(tern_html *x, int which, const char *s, size_t n)
{
    while (n > 0 && (unsigned char)*s <= ' ') {
        s++;
        n--;
    }
    while (n > 0 && (unsigned char)s[n - 1] <= ' ')
        n--;
    if (x->meta[which].set || n == 0)
        return;
    if (n > TN_HTML_MAX_META_TEXT) {
        n = TN_HTML_MAX_META_TEXT;
        while (n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80)
            n--;
    }
    uint32_t at = (uint32_t)x->meta_text.length;
    if (!tn_html_append(&x->meta_text, s, n, TN_HTML_MAX_TEXT))
        return;
    x->meta[which] = (tn_html_slice){at, (uint32_t)n, true};
}

static int meta_of_name(const char *s, size_t n)
{
    static const struct {
        const char *name;
        int which;
    } names[] = {
        {"og:title", TERN_HTML_META_OG_TITLE},
        {"og:type", TERN_HTML_META_OG_TYPE},
        {"og:url", TERN_HTML_META_URL},
        {"og:locale", TERN_HTML_META_LANG},
        {"og:site_name", TERN_HTML_META_SITE_NAME},
        {"generator", TERN_HTML_META_GENERATOR},
        {"author", TERN_HTML_META_AUTHOR},
        {"dc.creator", TERN_HTML_META_AUTHOR},
        {"parsely-author", TERN_HTML_META_AUTHOR},
        {"article:author", TERN_HTML_META_AUTHOR},
        {"sailthru.author", TERN_HTML_META_AUTHOR},
        {"article:published_time", TERN_HTML_META_DATE},
        {"datepublished", TERN_HTML_META_DATE},
        {"parsely-pub-date", TERN_HTML_META_DATE},
        {"dc.date", TERN_HTML_META_DATE},
        {"dc.date.issued", TERN_HTML_META_DATE},
        {"date", TERN_HTML_META_DATE},
        {"pubdate", TERN_HTML_META_DATE},
        {"sailthru.date", TERN_HTML_META_DATE},
        {"publication_date", TERN_HTML_META_DATE},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == n && tn_html_holds(s, n, names[i].name))
            return names[i].which;
    return -1;
}

static void read_meta(tern_html *x, lxb_dom_node_t *node)
{
    int which = -1;
    const char *content = NULL;
    size_t length = 0;
    for (const lxb_dom_attr_t *a = lxb_dom_interface_element(node)->first_attr; a != NULL; a = a->next) {
        size_t n, k;
        const char *v = tn_html_value(a, &n);
        if (a->node.local_name == LXB_DOM_ATTR_CONTENT) {
            content = v;
            length = n;
            continue;
        }
        if (a->node.local_name < LXB_DOM_ATTR__LAST_ENTRY || which >= 0)
            continue;
        const char *name = tn_html_attribute(node, a, &k);
        if (IS(name, k, "name") || IS(name, k, "property") || IS(name, k, "itemprop"))
            which = meta_of_name(v, n);
    }
    /* article:author is often the address of a profile. */
    if (which >= 0 && content != NULL &&
        !(which == TERN_HTML_META_AUTHOR &&
          (tn_html_holds(content, length, "http:") || tn_html_holds(content, length, "https:"))))
        set_meta(x, which, content, length);
}

void tn_html_fact(tern_html *x, lxb_dom_node_t *node, uint32_t tag)
{
    if (tag == 122) {
        read_meta(x, node);
    } else if (tag == 121) {
        const lxb_dom_node_t *t = node->first_child;
        if (t != NULL && t->type == LXB_DOM_NODE_TYPE_TEXT)
            set_meta(x, TERN_HTML_META_TITLE, (const char *)((const lxb_dom_text_t *)t)->char_data.data.data,
                     ((const lxb_dom_text_t *)t)->char_data.data.length);
    } else if (tag == 123) {
        const char *href = NULL;
        size_t length = 0;
        bool canonical = false;
        for (const lxb_dom_attr_t *a = lxb_dom_interface_element(node)->first_attr; a != NULL; a = a->next) {
            size_t n;
            const char *v = tn_html_value(a, &n);
            if (a->node.local_name == LXB_DOM_ATTR_REL)
                canonical = n == 9 && tn_html_holds(v, n, "canonical");
            else if (a->node.local_name == LXB_DOM_ATTR_HREF) {
                href = v;
                length = n;
            }
        }
        if (canonical && href != NULL)
            set_meta(x, TERN_HTML_META_URL, href, length);
    }
}

void tn_html_root_fact(tern_html *x, lxb_dom_node_t *node, uint32_t tag)
{
    for (const lxb_dom_attr_t *a = lxb_dom_interface_element(node)->first_attr; a != NULL; a = a->next) {
        size_t n;
        const char *v = tn_html_value(a, &n);
        if (tag == 1 && a->node.local_name == LXB_DOM_ATTR_LANG)
            set_meta(x, TERN_HTML_META_LANG, v, n);
        if (tag == 3 && a->node.local_name == LXB_DOM_ATTR_CLASS)
            set_meta(x, TERN_HTML_META_BODY_CLASS, v, n);
    }
}
