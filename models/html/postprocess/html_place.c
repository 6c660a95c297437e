/*
 * html_place.c - see html_place.h. A block begins in one text node, whose offset the guard has written to it;
 * controls have no text, and are met in the order of their blocks.
 */
#include "postprocess/html_place.h"

#include <lexbor/html/html.h>
#include <stdlib.h>
#include <string.h>

#include "features/html_dom.h"

typedef struct text_node {
    uint32_t offset;
    lxb_dom_node_t *node;
} text_node;

typedef struct finder {
    const tern_html *x;
    tn_html_places *p;
    text_node *texts;
    uint32_t n_texts, cap_texts;
    bool sorted;
    uint32_t control; /* block from which the next control is looked for */
} finder;

enum { MAX_TEXTS = 400000 };

static bool keep_text(finder *f, lxb_dom_node_t *node)
{
    const uint32_t offset = (uint32_t)((uintptr_t)node->user - 1);
    if (f->n_texts == f->cap_texts) {
        const uint32_t cap = f->cap_texts == 0 ? 1024 : f->cap_texts * 2;
        text_node *t = f->n_texts < MAX_TEXTS ? realloc(f->texts, sizeof *t * cap) : NULL;
        if (t == NULL)
            return false;
        f->texts = t;
        f->cap_texts = cap;
    }
    if (f->n_texts > 0 && f->texts[f->n_texts - 1].offset > offset)
        f->sorted = false;
    f->texts[f->n_texts++] = (text_node){offset, node};
    return true;
}

static void keep_meta(finder *f, lxb_dom_node_t *node)
{
    tn_html_meta_value m = {TN_STR_NONE, TN_STR_NONE};
    for (const lxb_dom_attr_t *a = lxb_dom_interface_element(node)->first_attr; a != NULL; a = a->next) {
        size_t n, k;
        const char *v = tn_html_value(a, &n);
        if (a->node.local_name == LXB_DOM_ATTR_CONTENT)
            m.value = tn_str_trim((tn_str){v, n});
        else if (a->node.local_name >= LXB_DOM_ATTR__LAST_ENTRY && m.name.len == 0) {
            const char *name = tn_html_attribute(node, a, &k);
            if (IS(name, k, "name") || IS(name, k, "property") || IS(name, k, "itemprop"))
                m.name = tn_str_trim((tn_str){v, n});
        }
    }
    if (m.name.len > 0 && m.name.len <= 64 && m.value.len > 0 && f->p->n_metas < TN_HTML_PLACE_METAS)
        f->p->metas[f->p->n_metas++] = m;
}

static void place_control(finder *f, lxb_dom_node_t *node)
{
    for (const lxb_dom_attr_t *a = lxb_dom_interface_element(node)->first_attr; a != NULL; a = a->next) {
        size_t n;
        const char *v = tn_html_value(a, &n);
        if (a->node.local_name == LXB_DOM_ATTR_TYPE && n == 6 && tn_html_holds(v, n, "hidden"))
            return;
    }
    for (uint32_t i = f->control; i < f->x->n_records; i++) {
        const tn_html_record *r = &f->x->records[i];
        if (r->context & TERN_HTML_IS_CONTROL) {
            if (r->tags[0] == tn_html_tag_of[node->local_name])
                f->p->elements[i] = node;
            f->control = i + 1;
            return;
        }
    }
    f->control = f->x->n_records;
}

/* One node in the tree's order; false to leave out what is below it. */
static bool meet(finder *f, lxb_dom_node_t *node)
{
    if (node->type == LXB_DOM_NODE_TYPE_TEXT)
        return node->user == NULL || keep_text(f, node);
    if (node->type != LXB_DOM_NODE_TYPE_ELEMENT)
        return true;
    if (node->local_name == LXB_TAG_META)
        keep_meta(f, node);
    const int kind = tn_html_kind(node->local_name);
    if (kind == TN_HTML_KIND_C)
        place_control(f, node);
    return kind != TN_HTML_KIND_S && kind != TN_HTML_KIND_C && kind != TN_HTML_KIND_M;
}

static int by_offset(const void *a, const void *b)
{
    const uint32_t x = ((const text_node *)a)->offset, y = ((const text_node *)b)->offset;
    return x < y ? -1 : x > y;
}

/* The text node that a block begins in: the last one at or before its offset. */
static lxb_dom_node_t *text_at(const finder *f, uint32_t offset)
{
    uint32_t low = 0, high = f->n_texts;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (f->texts[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? f->texts[low - 1].node : NULL;
}

static void place_blocks(finder *f)
{
    for (uint32_t i = 0; i < f->x->n_records; i++) {
        const tn_html_record *r = &f->x->records[i];
        if (r->length == 0 || (r->context & TERN_HTML_IS_CONTROL))
            continue;
        lxb_dom_node_t *n = text_at(f, (uint32_t)r->counts[TN_HTML_N_OFFSET]);
        for (n = n != NULL ? n->parent : NULL; n != NULL && n->type == LXB_DOM_NODE_TYPE_ELEMENT &&
                                               tn_html_kind(n->local_name) == TN_HTML_KIND_I;)
            n = n->parent;
        f->p->elements[i] = n != NULL && n->type == LXB_DOM_NODE_TYPE_ELEMENT ? n : NULL;
    }
}

bool tn_html_places_find(const tern_html *x, tn_arena *arena, tn_html_places *p)
{
    finder f = {.x = x, .p = p, .sorted = true};
    lxb_dom_node_t *root = x->root, *node = root;
    p->n_metas = 0;
    p->steps = 0;
    p->elements = tn_arena_zalloc(arena, sizeof *p->elements * (x->n_records + 1));
    if (p->elements == NULL)
        return false;
    while (node != NULL) {
        if (meet(&f, node) && node->first_child != NULL) {
            node = node->first_child;
            continue;
        }
        while (node != root && node->next == NULL)
            node = node->parent;
        node = node == root ? NULL : node->next;
    }
    if (!f.sorted)
        qsort(f.texts, f.n_texts, sizeof *f.texts, by_offset);
    place_blocks(&f);
    free(f.texts);
    return true;
}

/* ---- paths ---- */

/* A name that a selector may hold as it stands. */
static bool plain_name(const char *s, size_t n)
{
    if (n == 0 || n > 64 || !((s[0] >= 'a' && s[0] <= 'z') || (s[0] >= 'A' && s[0] <= 'Z') || s[0] == '_'))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') ||
              s[i] == '-' || s[i] == '_'))
            return false;
    return true;
}

static tn_str id_of(lxb_dom_node_t *node)
{
    for (const lxb_dom_attr_t *a = lxb_dom_interface_element(node)->first_attr; a != NULL; a = a->next) {
        size_t n;
        const char *v = tn_html_value(a, &n);
        if (a->node.local_name == LXB_DOM_ATTR_ID)
            return plain_name(v, n) ? (tn_str){v, n} : TN_STR_NONE;
    }
    return TN_STR_NONE;
}

/*
 * Which child of its parent it is, from 1; 0 when it is the only one of its name. UINT32_MAX: looked too
 * long.
 */
static uint32_t position(tn_html_places *p, const lxb_dom_node_t *node)
{
    uint32_t at = 1;
    bool twins = false;
    if (node->parent == NULL)
        return 0;
    for (const lxb_dom_node_t *s = node->prev; s != NULL; s = s->prev) {
        if (p->steps++ > TN_HTML_PLACE_STEPS)
            return UINT32_MAX;
        at += s->type == LXB_DOM_NODE_TYPE_ELEMENT && s->local_name == node->local_name;
    }
    for (const lxb_dom_node_t *s = node->next; at == 1 && s != NULL && !twins; s = s->next) {
        if (p->steps++ > TN_HTML_PLACE_STEPS)
            return UINT32_MAX;
        twins = s->type == LXB_DOM_NODE_TYPE_ELEMENT && s->local_name == node->local_name;
    }
    return at > 1 || twins ? at : 0;
}

static bool step(tn_html_places *p, lxb_dom_node_t *node, tn_buf *out)
{
    size_t n = 0;
    const lxb_char_t *name = lxb_dom_element_local_name(lxb_dom_interface_element(node), &n);
    const uint32_t at = position(p, node);
    if (at == UINT32_MAX)
        return false;
    if (!plain_name((const char *)name, n))
        tn_buf_char(out, '*');
    else
        tn_buf_append(out, name, n);
    if (at > 0)
        tn_buf_printf(out, ":nth-of-type(%u)", at);
    return true;
}

void tn_html_places_path(tn_html_places *p, uint32_t i, tn_buf *out)
{
    enum { DEEPEST = 48 };
    lxb_dom_node_t *chain[DEEPEST];
    int n = 0;
    const size_t start = out->len;
    for (lxb_dom_node_t *e = p->elements[i]; e != NULL && e->type == LXB_DOM_NODE_TYPE_ELEMENT && n < DEEPEST;
         e = e->parent) {
        chain[n++] = e;
        if (id_of(e).len > 0)
            break;
    }
    for (int k = n - 1; k >= 0 && out->len - start < TN_HTML_PLACE_PATH; k--) {
        const tn_str id = k == n - 1 ? id_of(chain[k]) : TN_STR_NONE;
        if (id.len > 0) {
            tn_buf_char(out, '#');
            tn_buf_str(out, id);
        } else if (!step(p, chain[k], out)) {
            out->len = start;
            return;
        }
        if (k > 0)
            tn_buf_z(out, " > ");
    }
}
