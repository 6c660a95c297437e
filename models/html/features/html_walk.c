/*
 * html_walk.c - from the tree to block records, in one iterative walk.
 *
 * The walk keeps a frame for each open element: its context bits, name tokens and those of its ancestors, so
 * that a block costs a copy instead of a climb. Text goes into one growing array with white space collapsed;
 * a block ends where a block-level element begins or ends, at two <br>, and around form controls. Skipped:
 * script, style, template, svg and the like (html_tags.h); <noscript> is kept (forums put whole threads
 * there) and marked.
 *
 * After the walk, page-wide columns are filled: what the ancestors hold, words shared with <title> and the
 * author, repeated
 * texts. No recursion: depth is bounded by the stack of TN_HTML_MAX_DEPTH frames. One thread at a time.
 */
#include "html_dom.h"
#include "html_internal.h"

#include <lexbor/dom/interfaces/text.h>
#include <lexbor/html/html.h>
#include <stdlib.h>
#include <string.h>

typedef struct frame {
    lxb_dom_node_t *node;
    const uint16_t *ancestors; /* name tokens above this element; points into a frame below */
    uint16_t own[TN_HTML_ATTR_OWN];
    uint16_t below[TN_HTML_ATTR_ANCESTOR]; /* what children see as ancestors, where this element has names */
    uint8_t n_own, n_ancestors, n_below;
    uint8_t tag, kind, heading;
    bool link;
    uint32_t context;
    uint32_t container;
    uint32_t children; /* elements met so far */
    uint32_t sibling;
} frame;

typedef struct walk {
    tern_html *x;
    frame *frames;
    uint32_t depth;       /* open frames */
    uint32_t block_frame; /* index of the innermost block-level frame */
    /* the block under construction */
    size_t start; /* in x->text */
    bool open, space, full;
    int brs; /* line breaks since the last text */
    uint32_t context;
    uint32_t offset;
    uint32_t datetime, datetime_length;
    uint16_t names[TN_HTML_ATTR_OWN];
    int n_names;
    int32_t link_bytes, links, images, inlines, breaks;
    uint32_t nodes;
} walk;

void *tn_html_walk_frames(void)
{
    return malloc(sizeof(frame) * TN_HTML_MAX_DEPTH);
}

/* ---- attributes ---- */


/* Landmark roles of ARIA count like HTML's elements. */
static uint32_t context_of_role(const char *s, size_t n)
{
    if (IS(s, n, "navigation") || IS(s, n, "menu") || IS(s, n, "menubar"))
        return TERN_HTML_IN_NAV;
    if (IS(s, n, "banner"))
        return TERN_HTML_IN_HEADER;
    if (IS(s, n, "contentinfo"))
        return TERN_HTML_IN_FOOTER;
    if (IS(s, n, "complementary"))
        return TERN_HTML_IN_ASIDE;
    if (IS(s, n, "main"))
        return TERN_HTML_IN_MAIN;
    if (IS(s, n, "article"))
        return TERN_HTML_IN_ARTICLE;
    if (IS(s, n, "form") || IS(s, n, "search"))
        return TERN_HTML_IN_FORM;
    if (IS(s, n, "dialog") || IS(s, n, "alertdialog"))
        return TERN_HTML_IN_DIALOG;
    if (IS(s, n, "button"))
        return TERN_HTML_IN_BUTTON;
    return 0;
}

static void add_names(frame *f, const char *v, size_t n, uint32_t salt, bool *comment)
{
    f->n_own =
        (uint8_t)tn_html_names(v, n, salt, TN_HTML_ATTR_VOCAB, f->own, f->n_own, TN_HTML_ATTR_OWN, comment);
}

static void other_attribute(tern_html *x, frame *f, const lxb_dom_attr_t *a, const char *v, size_t n)
{
    size_t k;
    const char *name = tn_html_attribute(f->node, a, &k);
    if (IS(name, k, "role")) {
        f->context |= context_of_role(v, n);
        add_names(f, v, n, TN_HTML_SALT_ROLE, NULL);
    } else if (IS(name, k, "itemprop"))
        add_names(f, v, n, TN_HTML_SALT_ITEMPROP, NULL);
    else if (IS(name, k, "itemtype"))
        tn_html_schema_type(x, v, n);
    else if (IS(name, k, "hidden") || (IS(name, k, "aria-hidden") && IS(v, n, "true")))
        f->context |= TERN_HTML_IN_HIDDEN;
}

/* Reads the element's attributes into the frame: name tokens and context. */
static void read_attributes(tern_html *x, frame *f)
{
    const lxb_dom_attr_t *a = lxb_dom_interface_element(f->node)->first_attr;
    bool comment = false;
    for (; a != NULL; a = a->next) {
        size_t n;
        const char *v = tn_html_value(a, &n);
        switch (a->node.local_name) {
        case LXB_DOM_ATTR_CLASS:
        case LXB_DOM_ATTR_ID:
            add_names(f, v, n, TN_HTML_SALT_CLASS, &comment);
            break;
        case LXB_DOM_ATTR_REL:
            add_names(f, v, n, TN_HTML_SALT_REL, NULL);
            break;
        case LXB_DOM_ATTR_STYLE:
            if (tn_html_holds(v, n, "display:none") || tn_html_holds(v, n, "display: none"))
                f->context |= TERN_HTML_IN_HIDDEN;
            break;
        default:
            if (a->node.local_name >= LXB_DOM_ATTR__LAST_ENTRY)
                other_attribute(x, f, a, v, n);
            break;
        }
    }
    if (comment && f->tag != 1 && f->tag != 3) /* WordPress says comments-open on each body */
        f->context |= TERN_HTML_IN_COMMENT;
}

static const uint32_t context_of[TN_HTML_TAG_COUNT] = {
    [5] = TERN_HTML_IN_P,        [6] = TERN_HTML_IN_SECTION, [7] = TERN_HTML_IN_ARTICLE,
    [8] = TERN_HTML_IN_MAIN,     [9] = TERN_HTML_IN_NAV,     [10] = TERN_HTML_IN_ASIDE,
    [11] = TERN_HTML_IN_HEADER,  [12] = TERN_HTML_IN_FOOTER, [23] = TERN_HTML_IN_LIST,
    [24] = TERN_HTML_IN_DL,      [27] = TERN_HTML_IN_TABLE,  [35] = TERN_HTML_IN_FORM,
    [38] = TERN_HTML_IN_FIGURE,  [40] = TERN_HTML_IN_QUOTE,  [41] = TERN_HTML_IN_PRE,
    [42] = TERN_HTML_IN_DETAILS, [44] = TERN_HTML_IN_DIALOG, [49] = TERN_HTML_IN_NOSCRIPT,
    [51] = TERN_HTML_IN_BUTTON,  [52] = TERN_HTML_IN_BUTTON, [60] = TERN_HTML_HAS_STRONG,
    [61] = TERN_HTML_HAS_STRONG, [81] = TERN_HTML_HAS_TIME,
};

/* Headers and footers of an article or of the main part are not the page's. */
static uint32_t context_of_tag(uint32_t tag, uint32_t around)
{
    uint32_t bits = tag < TN_HTML_TAG_COUNT ? context_of[tag] : 0;
    if ((tag == 11 || tag == 12) && around & (TERN_HTML_IN_MAIN | TERN_HTML_IN_ARTICLE))
        return 0;
    return bits;
}

/* ---- blocks ---- */

static void reset_block(walk *w)
{
    w->open = false;
    w->space = false;
    w->brs = 0;
    w->context = 0;
    w->datetime_length = 0;
    w->n_names = 0;
    w->link_bytes = w->links = w->inlines = w->breaks = 0;
    w->start = w->x->text.length;
}

static tn_html_record *new_record(tern_html *x)
{
    if (x->n_records == x->cap_records) {
        uint32_t cap = x->cap_records == 0 ? 256 : x->cap_records * 2;
        tn_html_record *r = realloc(x->records, sizeof *r * cap);
        if (r == NULL)
            return NULL;
        x->records = r;
        x->cap_records = cap;
    }
    return &x->records[x->n_records++];
}

static int32_t clamp(size_t n)
{
    return n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

/* The path and names of the block's element (frame e). */
static void fill_place(walk *w, tn_html_record *r, uint32_t e)
{
    frame *f = &w->frames[e];
    int k = 0;
    for (uint32_t i = e + 1; i-- > 0 && k < TN_HTML_TAG_PATH;)
        if (w->frames[i].tag != 1 && w->frames[i].tag != 3)
            r->tags[k++] = w->frames[i].tag;
    while (k < TN_HTML_TAG_PATH)
        r->tags[k++] = 0;
    int n = f->n_own > 4 && w->n_names > 0 ? 4 : f->n_own;
    memset(r->attrs, 0, sizeof r->attrs);
    memcpy(r->attrs, f->own, sizeof(uint16_t) * (size_t)n);
    for (int i = 0; i < w->n_names && n < TN_HTML_ATTR_OWN; i++) {
        int j = 0;
        while (j < n && r->attrs[j] != w->names[i])
            j++;
        if (j == n)
            r->attrs[n++] = w->names[i];
    }
    memcpy(r->attrs + TN_HTML_ATTR_OWN, f->ancestors, sizeof(uint16_t) * f->n_ancestors);
}

static void commit(walk *w, uint32_t kind_bits)
{
    tern_html *x = w->x;
    size_t n = x->text.length - w->start;
    const char *s = x->text.data + w->start;
    uint32_t e = w->block_frame;
    frame *f = &w->frames[e];
    if (x->n_records >= TN_HTML_MAX_BLOCKS) {
        w->full = true;
        x->truncated = true;
        return;
    }
    tn_html_record *r = new_record(x);
    if (r == NULL) {
        w->full = true;
        return;
    }
    tn_html_census c;
    tn_html_count(s, n, &c);
    int years = 0, months = 0;
    memset(r->words, 0, sizeof r->words);
    tn_html_words(x, s, n, TN_HTML_SALT_TEXT, TN_HTML_TEXT_VOCAB, r->words, TN_HTML_TEXT_TOKENS, &years,
                  &months);
    fill_place(w, r, e);
    r->text = (uint32_t)w->start;
    r->length = (uint32_t)n;
    r->context = f->context | w->context | kind_bits;
    r->container = f->container;
    r->datetime = w->datetime;
    r->datetime_length = w->datetime_length;
    int32_t *v = r->counts;
    memset(v, 0, sizeof r->counts);
    v[TN_HTML_N_BYTES] = clamp(n);
    v[TN_HTML_N_WORDS] = c.words;
    v[TN_HTML_N_LINK_BYTES] = w->link_bytes;
    v[TN_HTML_N_LINKS] = w->links;
    v[TN_HTML_N_UPPER] = c.upper;
    v[TN_HTML_N_DIGITS] = c.digits;
    v[TN_HTML_N_PUNCTUATION] = c.punctuation;
    v[TN_HTML_N_COMMAS] = c.commas;
    v[TN_HTML_N_SYMBOLS] = c.symbols;
    v[TN_HTML_N_NON_ASCII] = c.non_ascii;
    v[TN_HTML_N_SENTENCES] = c.sentences;
    v[TN_HTML_N_DEPTH] = (int32_t)w->depth;
    v[TN_HTML_N_SIBLING] = (int32_t)f->sibling;
    v[TN_HTML_N_INDEX] = (int32_t)(x->n_records - 1);
    v[TN_HTML_N_OFFSET] = (int32_t)w->offset;
    v[TN_HTML_N_HEADING] = f->heading;
    v[TN_HTML_N_IMAGES] = w->images;
    v[TN_HTML_N_INLINES] = w->inlines;
    v[TN_HTML_N_BREAKS] = w->breaks;
    v[TN_HTML_N_YEARS] = years;
    v[TN_HTML_N_MONTHS] = months;
    v[TN_HTML_N_PRICES] = tn_html_prices(s, n);
    w->images = 0;
    tn_html_container *box = &x->containers[f->container];
    box->bytes += clamp(n);
    box->link_bytes += w->link_bytes;
    box->blocks++;
    if (r->context & TERN_HTML_IN_P)
        box->p_bytes += clamp(n);
}

static void end_block(walk *w)
{
    if (w->open)
        commit(w, 0);
    reset_block(w);
}

/*
 * Bytes that add_text() copies without a look: all but white space, and the leads of U+00A0, U+200B and
 * U+FEFF.
 */
static const uint8_t plain[256] = {
    [0x21 ... 0xC1] = 1, [0xC3 ... 0xE1] = 1, [0xE3 ... 0xEE] = 1, [0xF0 ... 0xFF] = 1};

/* Length of the white space (U+00A0 included) at s[i], 0 for none. */
static size_t space_at(const char *s, size_t n, size_t i)
{
    unsigned char c = (unsigned char)s[i];
    if (c <= ' ')
        return 1;
    return c == 0xC2 && i + 1 < n && (unsigned char)s[i + 1] == 0xA0 ? 2 : 0;
}

/* U+200B and U+FEFF, which show nothing. */
static bool zero_width(const char *s, size_t n, size_t i)
{
    return i + 2 < n && (memcmp(s + i, "\xE2\x80\x8B", 3) == 0 || memcmp(s + i, "\xEF\xBB\xBF", 3) == 0);
}

/* What of a run of n bytes fits below TN_HTML_MAX_TEXT; the last text is cut, not within a character. */
static size_t room_for(walk *w, const char *s, size_t n)
{
    size_t used = w->x->text.length;
    if (used + n + 2 <= TN_HTML_MAX_TEXT)
        return n;
    w->full = true;
    w->x->truncated = true;
    n = TN_HTML_MAX_TEXT - used < 2 ? 0 : TN_HTML_MAX_TEXT - used - 2;
    while (n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80)
        n--;
    return n;
}

/*
 * Copies plain bytes from s[*i] on and returns the end of the copy. ASCII goes 8 bytes a step, of which those
 * behind the run are written over later: the copy has room for as many as the text has.
 */
static inline char *copy_plain(char *o, const char *s, size_t n, size_t *i)
{
    const uint64_t high = 0x8080808080808080u, over = 0x5F5F5F5F5F5F5F5Fu; /* 0x20 + 0x5F is below 0x80 */
    size_t at = *i;
    while (n - at >= 8) {
        uint64_t w;
        memcpy(&w, s + at, 8);
        memcpy(o, &w, 8);
        const uint64_t stop = (~((w & ~high) + over) | w) & high; /* blanks, controls, bytes from 0x80 on */
        const size_t k = stop == 0 ? 8 : (size_t)__builtin_ctzll(stop) / 8;
        o += k;
        at += k;
        if (k < 8)
            break;
    }
    while (at < n && plain[(unsigned char)s[at]])
        *o++ = s[at++];
    *i = at;
    return o;
}

/* One run of text: collapses white space and drops what shows nothing. */
static void add_text(walk *w, const char *s, size_t n, const lxb_dom_node_t *node)
{
    tern_html *x = w->x;
    n = room_for(w, s, n);
    if (!tn_html_reserve(&x->text, n + 2)) {
        w->full = true;
        return;
    }
    char *o = x->text.data + x->text.length, *from = o;
    size_t i = 0;
    while (i < n) {
        size_t blank = space_at(s, n, i);
        if (blank > 0) {
            w->space = true;
            i += blank;
            continue;
        }
        if (!plain[(unsigned char)s[i]] && zero_width(s, n, i)) {
            i += 3;
            continue;
        }
        if (!w->open) {
            w->open = true;
            w->offset = node->user == NULL ? w->offset : (uint32_t)((uintptr_t)node->user - 1 + i);
        } else if (w->space)
            *o++ = ' ';
        w->space = false;
        *o++ = s[i++];
        o = copy_plain(o, s, n, &i);
    }
    if (o > from) {
        w->brs = 0;
        w->context |= w->frames[w->depth - 1].context & ~w->frames[w->block_frame].context;
    }
    if (w->frames[w->depth - 1].link)
        w->link_bytes += clamp((size_t)(o - from));
    x->text.length += (size_t)(o - from);
}

/* A form control is a block by itself: its text is what the user sees in it. */
static void control(walk *w, lxb_dom_node_t *node, frame *f)
{
    const char *text = "";
    size_t length = 0;
    for (const lxb_dom_attr_t *a = lxb_dom_interface_element(node)->first_attr; a != NULL; a = a->next) {
        size_t n, k;
        const char *v = tn_html_value(a, &n);
        if (a->node.local_name == LXB_DOM_ATTR_TYPE) {
            if (n == 6 && tn_html_holds(v, n, "hidden"))
                return;
        } else if (a->node.local_name == LXB_DOM_ATTR_PLACEHOLDER) {
            text = v;
            length = n;
        } else if (a->node.local_name >= LXB_DOM_ATTR__LAST_ENTRY && length == 0) {
            const char *name = tn_html_attribute(node, a, &k);
            if (IS(name, k, "value") || IS(name, k, "aria-label")) {
                text = v;
                length = n;
            }
        }
    }
    end_block(w);
    uint32_t outer = w->block_frame;
    w->block_frame = w->depth - 1; /* f stands on the stack's top */
    add_text(w, text, length < 1024 ? length : 1024, f->node);
    while (w->x->text.length > w->start &&
           !tn_html_is_utf8(w->x->text.data + w->start, w->x->text.length - w->start))
        w->x->text.length--; /* cut within a character */
    commit(w, TERN_HTML_IS_CONTROL);
    reset_block(w);
    w->block_frame = outer;
}

/* ---- frames ---- */

static uint32_t new_container(tern_html *x, uint32_t parent, uint32_t look)
{
    if (x->n_containers == x->cap_containers) {
        uint32_t cap = x->cap_containers == 0 ? 1024 : x->cap_containers * 2;
        tn_html_container *c = realloc(x->containers, sizeof *c * cap);
        if (c == NULL)
            return parent;
        x->containers = c;
        x->cap_containers = cap;
    }
    x->containers[x->n_containers] = (tn_html_container){.parent = parent, .look = look};
    return x->n_containers++;
}

/* What the children of f see above them: its own first names, then its ancestors'. */
static void pass_down(const frame *up, frame *f)
{
    if (up == NULL) {
        f->ancestors = f->below;
        f->n_ancestors = 0;
        return;
    }
    if (up->n_own == 0) {
        f->ancestors = up->ancestors;
        f->n_ancestors = up->n_ancestors;
        return;
    }
    f->ancestors = up->below;
    f->n_ancestors = up->n_below;
}

static void make_below(frame *f)
{
    if (f->n_own == 0)
        return;
    int own = f->n_own < TN_HTML_ATTR_PER_ANCESTOR ? f->n_own : TN_HTML_ATTR_PER_ANCESTOR, n = own;
    memcpy(f->below, f->own, sizeof(uint16_t) * (size_t)own);
    for (int i = 0; i < f->n_ancestors && n < TN_HTML_ATTR_ANCESTOR; i++) { /* these are all different */
        int j = 0;
        while (j < own && f->below[j] != f->ancestors[i])
            j++;
        if (j == own)
            f->below[n++] = f->ancestors[i];
    }
    f->n_below = (uint8_t)n;
}

/* What siblings of one template have in common: the tag and the first names. */
static uint32_t look_of(const frame *f)
{
    uint32_t look = f->tag;
    for (int i = 0; i < f->n_own && i < 2; i++)
        look = look * TN_HTML_FNV_PRIME + f->own[i] + 1u;
    return look;
}

/* Opens an element's frame. The caller has made sure of the depth. */
static frame *push(walk *w, lxb_dom_node_t *node, uint32_t tag, uint32_t kind)
{
    frame *up = w->depth > 0 ? &w->frames[w->depth - 1] : NULL;
    frame *f = &w->frames[w->depth];
    f->node = node;
    f->tag = (uint8_t)tag;
    f->kind = (uint8_t)kind;
    f->n_own = f->n_below = 0;
    f->children = 0;
    f->sibling = up != NULL ? up->children++ : 0;
    f->context = up != NULL ? up->context : 0;
    f->heading = tag >= 13 && tag <= 18 ? (uint8_t)(tag - 12) : up != NULL ? up->heading : 0;
    f->link = tag == 58 || (up != NULL && up->link);
    f->context |= context_of_tag(tag, f->context);
    pass_down(up, f);
    if (lxb_dom_interface_element(node)->first_attr != NULL)
        read_attributes(w->x, f);
    if (tag == 1 || tag == 3) /* their classes are facts of the page (page_meta), not of each block */
        f->n_own = 0;
    make_below(f);
    f->container = up != NULL ? up->container : 0;
    if (kind != TN_HTML_KIND_I)
        f->container = new_container(w->x, f->container, look_of(f));
    w->depth++;
    return f;
}

static void enter_inline(walk *w, frame *f)
{
    w->inlines++;
    if (f->tag == 58)
        w->links++;
    else if (f->tag == 94)
        w->images++;
    for (int i = 0; i < f->n_own && w->n_names < TN_HTML_ATTR_OWN; i++)
        w->names[w->n_names++] = f->own[i];
    if (f->tag != 81)
        return;
    for (const lxb_dom_attr_t *a = lxb_dom_interface_element(f->node)->first_attr; a != NULL; a = a->next) {
        size_t n, k;
        const char *v = tn_html_value(a, &n);
        if (a->node.local_name < LXB_DOM_ATTR__LAST_ENTRY || n == 0 || n > 64)
            continue;
        const char *name = tn_html_attribute(f->node, a, &k);
        if (!IS(name, k, "datetime") || w->datetime_length > 0)
            continue;
        w->datetime = (uint32_t)w->x->meta_text.length;
        if (tn_html_append(&w->x->meta_text, v, n, TN_HTML_MAX_TEXT))
            w->datetime_length = (uint32_t)n;
    }
}

static void pop(walk *w)
{
    frame *f = &w->frames[--w->depth];
    if (f->kind == TN_HTML_KIND_I)
        return;
    end_block(w);
    tern_html *x = w->x;
    const tn_html_container *c = &x->containers[f->container];
    if (f->container != c->parent) {
        tn_html_container *p = &x->containers[c->parent];
        p->bytes += c->bytes;
        p->link_bytes += c->link_bytes;
        p->blocks += c->blocks;
        p->p_bytes += c->p_bytes;
    }
    uint32_t b = w->depth;
    while (b > 0 && w->frames[b - 1].kind == TN_HTML_KIND_I)
        b--;
    w->block_frame = b > 0 ? b - 1 : 0;
}

static void line_break(walk *w)
{
    w->breaks++;
    w->space = true;
    if (++w->brs >= 2)
        end_block(w);
}

/* An element is met. True to go into its children. */
static bool enter(walk *w, lxb_dom_node_t *node)
{
    uint32_t tag = TN_HTML_TAG_OTHER, kind = TN_HTML_KIND_I;
    if (node->local_name < TN_HTML_LEXBOR_TAGS && tn_html_tag_of[node->local_name] != 0) {
        tag = tn_html_tag_of[node->local_name];
        kind = tn_html_kind_of[tag];
    }
    if (kind == TN_HTML_KIND_S)
        return false;
    if (kind == TN_HTML_KIND_R) {
        line_break(w);
        return false;
    }
    if (kind == TN_HTML_KIND_M) {
        tn_html_fact(w->x, node, tag);
        return false;
    }
    if (w->depth >= TN_HTML_MAX_DEPTH) {
        w->x->truncated = true;
        return false;
    }
    if (kind != TN_HTML_KIND_I)
        end_block(w);
    frame *f = push(w, node, tag, kind);
    if (kind == TN_HTML_KIND_C) {
        control(w, node, f);
        pop(w);
        return false;
    }
    if (kind == TN_HTML_KIND_B)
        w->block_frame = w->depth - 1;
    else
        enter_inline(w, f);
    if (node->first_child == NULL) {
        pop(w);
        return false;
    }
    return true;
}


int tn_html_walk(tern_html *x, void *root)
{
    walk w = {.x = x, .frames = x->frames};
    lxb_dom_node_t *node = root;
    x->n_records = x->n_containers = 0;
    x->text.length = x->meta_text.length = 0;
    memset(x->meta, 0, sizeof x->meta);
    new_container(x, 0, 0);
    reset_block(&w);
    while (node != NULL && !w.full) {
        bool down = false;
        if (++w.nodes % 4096 == 0 && tn_html_late(x))
            return TERN_HTML_DEADLINE;
        if (node->type == LXB_DOM_NODE_TYPE_ELEMENT) {
            if (node->local_name == LXB_TAG_HTML || node->local_name == LXB_TAG_BODY)
                tn_html_root_fact(x, node, tn_html_tag_of[node->local_name]);
            down = enter(&w, node);
        } else if (node->type == LXB_DOM_NODE_TYPE_TEXT && w.depth > 0) {
            const lexbor_str_t *t = &((const lxb_dom_text_t *)node)->char_data.data;
            add_text(&w, (const char *)t->data, t->length, node);
        }
        if (down) {
            node = node->first_child;
            continue;
        }
        while (node != root && node->next == NULL) {
            node = node->parent;
            pop(&w);
        }
        node = node == root ? NULL : node->next;
    }
    while (w.depth > 0)
        pop(&w);
    if (x->n_records == 0) { /* a page without text has one empty block */
        w.full = false;
        memset(&w.frames[0], 0, sizeof w.frames[0]);
        w.frames[0].ancestors = w.frames[0].below;
        w.start = x->text.length;
        commit(&w, 0);
        if (x->n_records == 0)
            return TERN_HTML_MEMORY;
    }
    return tn_html_columns(x) ? TERN_HTML_OK : TERN_HTML_MEMORY;
}
