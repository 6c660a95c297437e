/*
 * html_guard.c - lexbor's HTML5 tree, bounded.
 *
 * A conforming parser can be driven into quadratic work by small inputs, partly by HTML's own rules. The
 * guard sits between lexbor's tokenizer and its tree builder (the token-done callback): it drops what would
 * be too deep or too many, and what the features never read - comments, the text of scripts and styles
 * (JSON-LD is looked through for types on its way),
 * attributes without meaning here - which also makes the tree cheaper than lexbor's own. Mutation events are
 * off: they clone <option> contents, and cost 54 s on 100,000 options. The page is fed in chunks; the
 * deadline and the memory of the tree are looked at between them. Each text node's `user` field is set to its
 * byte offset in the page, plus one.
 *
 * lexbor (Apache-2.0) is pinned; its headers are included here, by html_lexer.c and by those that walk its
 * tree.
 * One guard serves one thread at a time.
 */
#include "html_internal.h"
#include "html_lexer.h"

#include <lexbor/html/tree.h>
#include <stdlib.h>
#include <string.h>

struct tn_html_guard {
    tn_html_lexer lexer; /* finds itself here */
    lxb_html_document_t *document;
    lxb_html_parser_t *parser;
    lxb_html_tokenizer_token_f build; /* the tree builder's own callback */
    void *builder;
    tern_html *x; /* of the page that is read */
    const lxb_char_t *page, *end;
    uint32_t elements, options, roots;
    bool stopped; /* a limit was met: what follows is left out */
};

/*
 * Keeps the wanted attributes, at most max of them. The others' memory comes back with forget_attributes().
 */
static void cut_attributes(lxb_html_token_t *token, uint32_t max)
{
    uint32_t kept = 0;
    lxb_html_token_attr_t *last = NULL;
    for (lxb_html_token_attr_t *a = token->attr_first; a != NULL; a = a->next) {
        if (kept >= max || !tn_html_lexer_wants(a, token->tag_id))
            continue;
        a->prev = last;
        if (last == NULL)
            token->attr_first = a;
        else
            last->next = a;
        last = a;
        kept++;
    }
    if (last == NULL)
        token->attr_first = NULL;
    else
        last->next = NULL;
    token->attr_last = last;
}

/* All attributes of the tag that was just built or dropped: the tree has copied what it needs. */
static void forget_attributes(lxb_html_tokenizer_t *tkz, lxb_html_token_t *token)
{
    token->attr_first = token->attr_last = NULL;
    if (tkz->dobj_token_attr->allocated > 0)
        lexbor_dobject_clean(tkz->dobj_token_attr);
}

static bool is_formatting(lxb_tag_id_t tag)
{
    switch (tag) {
    case LXB_TAG_A:
    case LXB_TAG_B:
    case LXB_TAG_BIG:
    case LXB_TAG_CODE:
    case LXB_TAG_EM:
    case LXB_TAG_FONT:
    case LXB_TAG_I:
    case LXB_TAG_NOBR:
    case LXB_TAG_S:
    case LXB_TAG_SMALL:
    case LXB_TAG_STRIKE:
    case LXB_TAG_STRONG:
    case LXB_TAG_TT:
    case LXB_TAG_U:
        return true;
    default:
        return false;
    }
}

/* <link rel=canonical> is the only link that is read; its attributes are cut to the wanted ones by now. */
static bool is_canonical(const lxb_html_token_t *token)
{
    for (const lxb_html_token_attr_t *a = token->attr_first; a != NULL; a = a->next)
        if (a->name->attr_id == LXB_DOM_ATTR_REL && a->value != NULL && a->value_size == 9 &&
            tn_html_holds((const char *)a->value, a->value_size, "canonical"))
            return true;
    return false;
}

static bool is_shape(lxb_tag_id_t tag)
{
    return tag == LXB_TAG_PATH || tag >= LXB_TAG__LAST_ENTRY;
}

/* Drawings are skipped whole: their shapes need no nodes. */
static bool in_svg(const lxb_html_tree_t *tree)
{
    size_t n = tree->open_elements->length;
    return n > 0 && ((const lxb_dom_node_t *)tree->open_elements->list[n - 1])->ns == LXB_NS_SVG;
}

/*
 * True when a limit on the whole page is met. Looked at on each start tag, and between chunks: one tag may
 * have millions of attributes before it ends.
 */
static bool over_limits(const tn_html_guard *g)
{
    const lxb_dom_document_t *d = &g->document->dom_document;
    return g->parser->tkz->dobj_token_attr->allocated >= TN_HTML_MAX_TAG_ATTRIBUTES ||
           g->elements >= TN_HTML_MAX_ELEMENTS ||
           d->mraw->mem->chunk_length * d->mraw->mem->chunk_min_size >= TN_HTML_MAX_TREE_BYTES ||
           d->attrs->entries->allocated >= TN_HTML_MAX_NAMES ||
           d->tags->entries->allocated >= TN_HTML_MAX_NAMES;
}

/* A start tag: false to drop it. */
static bool admit(tn_html_guard *g, lxb_html_token_t *token)
{
    const lxb_html_tree_t *tree = g->parser->tree;
    if (over_limits(g)) {
        g->stopped = true;
        return false;
    }
    g->elements++;
    if (tree->open_elements->length >= TN_HTML_MAX_OPEN_ELEMENTS)
        return false;
    uint32_t max = TN_HTML_MAX_ATTRIBUTES;
    switch (token->tag_id) {
    case LXB_TAG_OPTION:
    case LXB_TAG_OPTGROUP:
        if (++g->options > TN_HTML_MAX_OPTIONS)
            return false;
        max = 0;
        break;
    case LXB_TAG_HTML:
    case LXB_TAG_BODY:
        if (++g->roots > TN_HTML_MAX_ROOT_TAGS)
            return false;
        break;
    case LXB_TAG_SELECTEDCONTENT:
        return false;
    case LXB_TAG_LINK:
        if (!g->lexer.filtered)
            cut_attributes(token, max);
        return token->attr_first != NULL && is_canonical(token);
    case LXB_TAG_SOURCE:
    case LXB_TAG_TRACK:
    case LXB_TAG_PARAM:
        return false;
    default:
        if (is_shape(token->tag_id) && in_svg(tree))
            return false;
        if (is_formatting(token->tag_id) && tree->active_formatting->length >= TN_HTML_MAX_FORMATTING)
            return false;
        break;
    }
    if (token->attr_first != NULL && (max == 0 || !g->lexer.filtered))
        cut_attributes(token, max);
    return true;
}

static bool is_blank(const lxb_char_t *s, const lxb_char_t *end)
{
    const uint64_t high = 0x8080808080808080u, over = 0x5F5F5F5F5F5F5F5Fu; /* 0x20 + 0x5F is below 0x80 */
    uint64_t w;
    for (; end - s >= 8; s += 8) {
        memcpy(&w, s, 8);
        if (((w + over) | w) & high)
            return false;
    }
    while (s < end && *s <= ' ')
        s++;
    return s == end;
}

/*
 * White space at the start of a block or behind one collapses to nothing: half of all text nodes need not be
 * made. What is skipped (scripts) does not count as standing between.
 */
static bool between_blocks(const lxb_dom_node_t *at)
{
    if (tn_html_kind(at->local_name) == TN_HTML_KIND_I)
        return false;
    const lxb_dom_node_t *last = at->last_child;
    for (int i = 0; i < 4 && last != NULL; i++, last = last->prev) {
        if (last->type != LXB_DOM_NODE_TYPE_ELEMENT)
            return false;
        int kind = tn_html_kind(last->local_name);
        if (kind == TN_HTML_KIND_B || kind == TN_HTML_KIND_C)
            return true;
        if (kind != TN_HTML_KIND_S && kind != TN_HTML_KIND_M)
            return false;
    }
    return last == NULL;
}

/* Of scripts, JSON-LD alone is read, and that only for the types that it names. */
static void on_script(tern_html *x, const lxb_dom_node_t *node, const lxb_html_token_t *token)
{
    const lxb_dom_attr_t *a = ((const lxb_dom_element_t *)node)->first_attr;
    while (a != NULL && a->node.local_name != LXB_DOM_ATTR_TYPE)
        a = a->next;
    if (a != NULL && token->text_end > token->text_start)
        tn_html_schema_script(x, (const char *)token->text_start,
                              (size_t)(token->text_end - token->text_start));
}

static lxb_html_token_t *on_text(tn_html_guard *g, lxb_html_tokenizer_t *tkz, lxb_html_token_t *token)
{
    lxb_dom_node_t *at = lxb_html_tree_current_node(g->parser->tree);
    if (at != NULL && at->local_name == LXB_TAG_SCRIPT)
        on_script(g->x, at, token);
    if (at != NULL && (at->local_name == LXB_TAG_SCRIPT || at->local_name == LXB_TAG_STYLE))
        return token;
    if (at != NULL && between_blocks(at) && is_blank(token->text_start, token->text_end))
        return token;
    const lxb_char_t *begin = token->begin;
    token = g->build(tkz, token, g->builder);
    if (token == NULL || begin < g->page || begin >= g->end)
        return token;
    at = lxb_html_tree_current_node(g->parser->tree);
    if (at != NULL && at->last_child != NULL && at->last_child->type == LXB_DOM_NODE_TYPE_TEXT &&
        at->last_child->user == NULL)
        at->last_child->user = (void *)(uintptr_t)(begin - g->page + 1);
    return token;
}

/* Hands a tag to the tree builder. Its attributes are copied by then; given back, they serve the next tag. */
static lxb_html_token_t *build_tag(tn_html_guard *g, lxb_html_tokenizer_t *tkz, lxb_html_token_t *token)
{
    token = g->build(tkz, token, g->builder);
    if (token != NULL) {
        forget_attributes(tkz, token);
        tn_html_lexer_take_over(&g->lexer, tkz);
    }
    return token;
}

static lxb_html_token_t *on_token(lxb_html_tokenizer_t *tkz, lxb_html_token_t *token, void *context)
{
    tn_html_guard *g = context;
    if (token->tag_id == LXB_TAG__END_OF_FILE)
        return g->build(tkz, token, g->builder);
    if (g->stopped)
        return token;
    switch (token->tag_id) {
    case LXB_TAG__EM_COMMENT:
    case LXB_TAG__PROCESSINGINSTRUCTION:
        return token;
    case LXB_TAG__TEXT:
        return on_text(g, tkz, token);
    default:
        break;
    }
    if (token->type & LXB_HTML_TOKEN_TYPE_CLOSE) {
        forget_attributes(tkz, token);
        if (is_shape(token->tag_id) && in_svg(g->parser->tree))
            return token;
    } else if (token->tag_id != LXB_TAG__EM_DOCTYPE && !admit(g, token)) {
        forget_attributes(tkz, token);
        return token;
    }
    return build_tag(g, tkz, token);
}

/* Nothing happens when an element is closed. */
static const lxb_html_document_open_elements_pop_f no_pop[LXB_TAG__LAST_ENTRY];

void tn_html_guard_free(tn_html_guard *g)
{
    if (g == NULL)
        return;
    if (g->document != NULL)
        lxb_html_document_destroy(g->document); /* owns the parser */
    free(g);
}

/*
 * lexbor keeps an arena's first chunk from page to page and frees the others: with a first chunk that holds
 * most pages, a warm extractor asks for no memory, and touches no fresh page.
 */
enum { TREE_CHUNK = 2 << 20, TEXT_CHUNK = 1 << 20 };

static bool first_chunk(lexbor_mraw_t **arena, size_t size)
{
    *arena = lexbor_mraw_destroy(*arena, true);
    *arena = lexbor_mraw_create();
    return *arena != NULL && lexbor_mraw_init(*arena, size) == LXB_STATUS_OK;
}

tn_html_guard *tn_html_guard_create(void)
{
    tn_html_guard *g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->document = lxb_html_document_create();
    if (g->document == NULL || !first_chunk(&g->document->dom_document.mraw, TREE_CHUNK) ||
        !first_chunk(&g->document->dom_document.text, TEXT_CHUNK))
        goto fail;
    /* An empty page makes the parser, whose callback is then taken over. */
    if (lxb_html_document_parse(g->document, (const lxb_char_t *)"", 0) != LXB_STATUS_OK)
        goto fail;
    lxb_dom_document_mutation_erase(&g->document->dom_document);
    g->document->open_pop = no_pop; /* lexbor 3.1's own erase leaves NULL here, and calls through it */
    g->parser = g->document->dom_document.parser;
    lxb_html_tokenizer_t *tkz = g->parser->tkz;
    g->build = tkz->callback_token_done;
    g->builder = tkz->callback_token_ctx;
    lxb_html_tokenizer_callback_token_done_set(tkz, on_token, g);
    /*
     * Parse errors are recorded by nobody: a page of errors would cost memory. lexbor takes NULL lists for
     * "off".
     */
    tkz->parse_errors = lexbor_array_obj_destroy(tkz->parse_errors, true);
    g->parser->tree->parse_errors = lexbor_array_obj_destroy(g->parser->tree->parse_errors, true);
    return g;
fail:
    tn_html_guard_free(g);
    return NULL;
}

void tn_html_guard_plain(tern_html *x)
{
    x->guard->lexer.off = true;
}

/* Scripts of megabytes are passed over as one piece when they arrive in many. */
static bool more_is_there(tn_html_lexer *l, const lxb_char_t *from)
{
    tn_html_guard *g = (tn_html_guard *)l;
    const size_t length = (size_t)(g->end - g->page), at = (size_t)(l->end - g->page);
    size_t step = (size_t)(l->end - from);
    if (step < TN_HTML_CHUNK_BYTES)
        step = TN_HTML_CHUNK_BYTES;
    const size_t upto = length - at < step ? length : at + step;
    if (upto == at || !tn_html_is_there(g->x, (const char *)g->page, length, upto))
        return false;
    l->end = g->page + upto;
    return true;
}

int tn_html_guard_parse(tern_html *x, const char *utf8, size_t length, void **root)
{
    tn_html_guard *g = x->guard;
    const lxb_dom_document_t *d = &g->document->dom_document;
    *root = NULL;
    g->x = x;
    x->n_schema = 0;
    g->page = (const lxb_char_t *)utf8;
    g->end = g->page + length;
    g->elements = g->options = g->roots = 0;
    g->stopped = false;
    if (lxb_html_document_parse_chunk_begin(g->document) != LXB_STATUS_OK)
        return TERN_HTML_MEMORY;
    tn_html_lexer_begin(&g->lexer, g->parser->tkz, g->end);
    g->lexer.more = x->arrived != NULL ? more_is_there : NULL;
    int rc = TERN_HTML_OK;
    for (size_t at = 0; at < length && !g->stopped;) {
        size_t n = TN_HTML_CHUNK_BYTES - at % TN_HTML_CHUNK_BYTES;
        n = length - at < n ? length - at : n;
        if (tn_html_late(x)) {
            rc = TERN_HTML_DEADLINE;
            break;
        }
        if (!tn_html_is_there(x, utf8, length, at + n)) {
            rc = TERN_HTML_ARRIVING;
            break;
        }
        if (x->arrived != NULL) /* it looks no further than what is there */
            g->lexer.end = g->page + at + n;
        if (lxb_html_document_parse_chunk(g->document, g->page + at, n) != LXB_STATUS_OK) {
            rc = TERN_HTML_MEMORY;
            break;
        }
        at += n;
        if (g->lexer.next > g->page + at)
            at = (size_t)(g->lexer.next - g->page);
        if (over_limits(g) ||
            d->text->mem->chunk_length * d->text->mem->chunk_min_size >= TN_HTML_MAX_TEXT_BYTES)
            g->stopped = true;
    }
    if (lxb_html_document_parse_chunk_end(g->document) != LXB_STATUS_OK && rc == TERN_HTML_OK)
        rc = TERN_HTML_MEMORY;
    g->document->ready_state = LXB_HTML_DOCUMENT_READY_STATE_COMPLETE; /* so that the next begin cleans it */
    if (g->stopped)
        x->truncated = true;
    *root = d->element;
    return rc;
}
