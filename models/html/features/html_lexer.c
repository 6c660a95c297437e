/*
 * html_lexer.c - the fast states: text and tags (data_state), scripts and styles (raw_state).
 *
 * Both look from the token's first byte to its last, behind the chunk's end where need be (the page is one
 * piece of memory). A token in an uncommon form - character references, NUL, quotes within names - is given
 * back whole: the state becomes lexbor's own, which never looked at it. What is looked at in vain is at most
 * what lexbor then consumes, so all stays linear.
 */
#include "html_lexer.h"

#include <lexbor/core/swar.h>
#include <lexbor/html/tokenizer/state.h>
#include <lexbor/html/tokenizer/state_rawtext.h>
#include <lexbor/html/tokenizer/state_script.h>
#include <lexbor/html/tree.h>
#include <pthread.h>
#include <string.h>

#include "html_internal.h"

/* lexbor exports these without a header, and declares them where it uses them. */
lxb_dom_attr_data_t *lxb_dom_attr_local_name_append(lexbor_hash_t *hash, const lxb_char_t *name,
                                                    size_t length);
const lxb_tag_data_t *lxb_tag_append_lower(lexbor_hash_t *hash, const lxb_char_t *name, size_t length);

typedef const lxb_char_t *bytes;

/* ---- names ---- */

/* A name of up to 16 bytes in lower case, as two numbers. */
typedef struct key {
    uint64_t low, high;
} key;

typedef struct slot {
    key name;
    uint16_t value; /* 0: free */
} slot;

enum { TAG_SLOTS = 1024, NAME_SLOTS = 128 };
static slot tag_slots[TAG_SLOTS], name_slots[NAME_SLOTS];

/* Bytes of names: in lower case; 0 ends one: blanks, / > = quotes < and NUL. */
static uint8_t name_byte[256];
static bool blank_byte[256];

static const struct {
    const char *name;
    size_t length;
} attribute_names[TN_HTML_NAMES] = {
#define X(id, name) {name, sizeof(name) - 1},
    TN_HTML_NAME_TABLE(X)
#undef X
};

static uint32_t slot_of(key k, uint32_t slots)
{
    uint64_t h = (k.low ^ k.high * 0xC2B2AE3D27D4EB4Full) * 0x9E3779B97F4A7C15ull;
    return (uint32_t)(h >> 48) & (slots - 1);
}

static uint16_t look_up(const slot *table, uint32_t slots, key k)
{
    for (uint32_t i = slot_of(k, slots); table[i].value != 0; i = (i + 1) & (slots - 1))
        if (table[i].name.low == k.low && table[i].name.high == k.high)
            return table[i].value;
    return 0;
}

/*
 * Reads a name at s, which ends before `end` in a byte that ends names, else NULL; returns the byte behind.
 */
static inline bytes read_name(bytes s, bytes end, key *k)
{
    *k = (key){0, 0};
    for (uint32_t shift = 0; shift < 64 && s < end && name_byte[*s] != 0; shift += 8)
        k->low |= (uint64_t)name_byte[*s++] << shift;
    for (uint32_t shift = 0; shift < 64 && s < end && name_byte[*s] != 0; shift += 8)
        k->high |= (uint64_t)name_byte[*s++] << shift;
    if (s < end && name_byte[*s] != 0) { /* longer than any that is looked for */
        *k = (key){0, 0};
        while (s < end && name_byte[*s] != 0)
            s++;
    }
    return s < end ? s : NULL;
}

static void add_name(slot *table, uint32_t slots, const char *name, size_t n, uint16_t value)
{
    char text[18];
    key k;
    if (n == 0 || n > 16)
        return;
    memcpy(text, name, n);
    text[n] = '>';
    if (read_name((bytes)text, (bytes)text + n + 1, &k) != (bytes)text + n)
        return;
    uint32_t i = slot_of(k, slots);
    while (table[i].value != 0)
        i = (i + 1) & (slots - 1);
    table[i] = (slot){k, value};
}

static void make_tables(void)
{
    static const char ends[] = " \t\n\f\r/>=\"'<";
    for (int c = 1; c < 256; c++)
        name_byte[c] = (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    for (size_t i = 0; i < sizeof ends; i++)
        name_byte[(unsigned char)ends[i]] = 0;
    for (size_t i = 0; i < 5; i++)
        blank_byte[(unsigned char)ends[i]] = true;
    for (lxb_tag_id_t id = LXB_TAG_A; id < LXB_TAG__LAST_ENTRY; id++) {
        size_t n;
        const char *name = (const char *)lxb_tag_name_by_id(id, &n);
        if (name != NULL && name[0] >= 'a' && name[0] <= 'z')
            add_name(tag_slots, TAG_SLOTS, name, n, (uint16_t)id);
    }
    for (uint16_t i = 0; i < TN_HTML_NAMES; i++)
        add_name(name_slots, NAME_SLOTS, attribute_names[i].name, attribute_names[i].length,
                 (uint16_t)(i + 1));
}

/* ---- attributes ---- */

static bool is_read_on(int name, lxb_tag_id_t tag)
{
    switch (name) {
    case TN_HTML_NAME_LANG:
        return tag == LXB_TAG_HTML;
    case TN_HTML_NAME_CONTENT:
    case TN_HTML_NAME_HTTP_EQUIV:
    case TN_HTML_NAME_NAME:
    case TN_HTML_NAME_PROPERTY:
        return tag == LXB_TAG_META;
    case TN_HTML_NAME_HREF:
        return tag == LXB_TAG_LINK;
    case TN_HTML_NAME_TYPE: /* hidden inputs matter to tables, too */
        return tag == LXB_TAG_INPUT || tag == LXB_TAG_SCRIPT;
    case TN_HTML_NAME_PLACEHOLDER:
        return tag == LXB_TAG_INPUT || tag == LXB_TAG_TEXTAREA;
    case TN_HTML_NAME_VALUE:
    case TN_HTML_NAME_ARIA_LABEL:
        return tag == LXB_TAG_INPUT;
    case TN_HTML_NAME_DATETIME:
        return tag == LXB_TAG_TIME;
    default:
        return true;
    }
}

/* Of style only display:none is read, and of scripts only JSON-LD. */
static bool is_read_with(int name, lxb_tag_id_t tag, bytes value, size_t n)
{
    if (name == TN_HTML_NAME_STYLE)
        return value != NULL && tn_html_holds((const char *)value, n, "none");
    if (name == TN_HTML_NAME_TYPE && tag == LXB_TAG_SCRIPT)
        return value != NULL && tn_html_holds((const char *)value, n, "ld+json");
    return true;
}

bool tn_html_lexer_wants(const lxb_html_token_attr_t *a, lxb_tag_id_t tag)
{
    char text[18];
    key k;
    if (a->name == NULL || a->name->entry.length > 16)
        return false;
    const size_t n = a->name->entry.length;
    memcpy(text, lexbor_hash_entry_str(&a->name->entry), n);
    text[n] = '>';
    if (read_name((bytes)text, (bytes)text + n + 1, &k) != (bytes)text + n)
        return false;
    const int name = look_up(name_slots, NAME_SLOTS, k) - 1;
    return name >= 0 && is_read_on(name, tag) && is_read_with(name, tag, a->value, a->value_size);
}

/* One attribute of a start tag; value is NULL where it has none. false: it is odd, or memory is short. */
static bool keep_attribute(tn_html_lexer *l, lxb_html_tokenizer_t *tkz, int name, bytes value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (value[i] == '&' || value[i] == '\r' || value[i] == 0)
            return false;
    if (!is_read_with(name, tkz->token->tag_id, value, n))
        return true;
    if (l->names[name] == NULL)
        l->names[name] = lxb_dom_attr_local_name_append(tkz->attrs, (bytes)attribute_names[name].name,
                                                        attribute_names[name].length);
    lxb_html_token_attr_t *a = lxb_html_token_attr_append(tkz->token, tkz->dobj_token_attr);
    if (a == NULL || l->names[name] == NULL)
        return false;
    a->name = l->names[name];
    if (value == NULL)
        return true;
    a->value = lexbor_mraw_alloc(tkz->attrs_mraw, n + 1);
    if (a->value == NULL)
        return false;
    memcpy(a->value, value, n);
    a->value[n] = 0;
    a->value_size = n;
    a->value_begin = value;
    a->value_end = value + n;
    return true;
}

/* ---- tags ---- */

static inline bytes skip_blanks(bytes s, bytes end)
{
    while (s < end && blank_byte[*s])
        s++;
    return s;
}

/*
 * The value behind "=" at s, where *value stays NULL for none. Returns the byte behind, NULL: no end, or odd.
 */
static inline bytes read_value(bytes s, bytes end, bytes *value, size_t *n)
{
    s = skip_blanks(s, end);
    if (s == end)
        return NULL;
    if (*s == '>')
        return s;
    const lxb_char_t quote = *s;
    if (quote == '"' || quote == '\'') {
        bytes close = memchr(s + 1, quote, (size_t)(end - s - 1));
        if (close == NULL)
            return NULL;
        *value = s + 1;
        *n = (size_t)(close - s - 1);
        return close + 1;
    }
    *value = s;
    while (s < end && !blank_byte[*s] && *s != '>') {
        if (*s == 0)
            return NULL;
        s++;
    }
    *n = (size_t)(s - *value);
    return s;
}

/*
 * Attributes from s on; the wanted ones of a start tag go to the token (of two with one name the tree takes
 * the first). Returns the byte behind ">", or NULL, for one with too many of them as well: the guard counts
 * those.
 */
static bytes read_attributes(tn_html_lexer *l, lxb_html_tokenizer_t *tkz, bytes s)
{
    const bool close = tkz->token->type & LXB_HTML_TOKEN_TYPE_CLOSE;
    for (uint32_t count = 0; count <= TN_HTML_MAX_ATTRIBUTES; count++) {
        s = skip_blanks(s, l->end);
        while (s + 1 < l->end && *s == '/') {
            if (s[1] == '>')
                tkz->token->type |= LXB_HTML_TOKEN_TYPE_CLOSE_SELF;
            s = skip_blanks(s + 1, l->end);
        }
        if (s < l->end && *s == '>')
            return s + 1;
        key k;
        bytes begin = s, value = NULL;
        size_t n = 0;
        s = read_name(s, l->end, &k);
        if (s == NULL || s == begin)
            return NULL;
        s = skip_blanks(s, l->end);
        if (s < l->end && *s == '=')
            s = read_value(s + 1, l->end, &value, &n);
        else if (s < l->end && name_byte[*s] == 0 && *s != '/' && *s != '>')
            return NULL;
        if (s == NULL)
            return NULL;
        const int name = close ? -1 : look_up(name_slots, NAME_SLOTS, k) - 1;
        if (name >= 0 && is_read_on(name, tkz->token->tag_id) && !keep_attribute(l, tkz, name, value, n))
            return NULL;
    }
    return NULL;
}

/* Hands the token on. false: an error, which the tokenizer's status tells. */
static bool emit(lxb_html_tokenizer_t *tkz)
{
    tkz->token = tkz->callback_token_done(tkz, tkz->token, tkz->callback_token_ctx);
    if (tkz->token == NULL) {
        if (tkz->status == LXB_STATUS_OK)
            tkz->status = LXB_STATUS_ERROR;
        return false;
    }
    lxb_html_token_clean(tkz->token);
    tkz->pos = tkz->start;
    return true;
}

static bool emit_text(lxb_html_tokenizer_t *tkz, bytes begin, bytes end)
{
    lxb_html_token_t *t = tkz->token;
    const bool copied = tkz->pos != tkz->start;
    t->tag_id = LXB_TAG__TEXT;
    t->begin = begin;
    t->end = end;
    t->text_start = copied ? tkz->start : begin;
    t->text_end = copied ? tkz->pos : end;
    return emit(tkz);
}

/* lexbor's number of a tag; 0: no memory. */
static lxb_tag_id_t tag_id_of(lxb_html_tokenizer_t *tkz, key k, bytes name, size_t n)
{
    const lxb_tag_id_t known = look_up(tag_slots, TAG_SLOTS, k);
    if (known != 0)
        return known;
    const lxb_tag_data_t *d = lxb_tag_append_lower(tkz->tags, name, n);
    return d != NULL ? d->tag_id : 0;
}

/* The tag whose "<" is at s: its token is ready. Returns the byte behind it; NULL: left to lexbor. */
static bytes read_tag(tn_html_lexer *l, lxb_html_tokenizer_t *tkz, bytes s)
{
    lxb_html_token_t *t = tkz->token;
    key k;
    const bool close = s[1] == '/';
    t->begin = s + 1 + close;
    t->end = s = read_name(t->begin, l->end, &k);
    if (s != NULL && (blank_byte[*s] || *s == '/' || *s == '>')) {
        t->tag_id = tag_id_of(tkz, k, t->begin, (size_t)(s - t->begin));
        t->type = close ? LXB_HTML_TOKEN_TYPE_CLOSE : LXB_HTML_TOKEN_TYPE_OPEN;
        s = t->tag_id == 0 ? NULL : *s == '>' ? s + 1 : read_attributes(l, tkz, s);
        if (s != NULL)
            return s;
    }
    if (tkz->dobj_token_attr->allocated > 0)
        lexbor_dobject_clean(tkz->dobj_token_attr);
    lxb_html_token_clean(t);
    return NULL;
}

static bool emit_tag(tn_html_lexer *l, lxb_html_tokenizer_t *tkz)
{
    l->filtered = true;
    const bool done = emit(tkz);
    l->filtered = false;
    return done;
}

/* ---- text and tags ---- */

static bool is_letter(lxb_char_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

enum { TAG, COMMENT, OTHER };

static int markup_at(bytes s, bytes end)
{
    if (end - s < 4)
        return OTHER;
    if (is_letter(s[1]) || (s[1] == '/' && is_letter(s[2])))
        return TAG;
    return s[1] == '!' && s[2] == '-' && s[3] == '-' ? COMMENT : OTHER;
}

/* The byte behind the comment at s, or NULL. */
static bytes comment_end(bytes s, bytes end)
{
    bytes begin = s + 4;
    if (begin < end && *begin == '>')
        return begin + 1;
    if (begin + 1 < end && begin[0] == '-' && begin[1] == '>')
        return begin + 2;
    for (s = begin; s < end && (s = memchr(s, '>', (size_t)(end - s))) != NULL; s++)
        if ((s - begin >= 2 && s[-1] == '-' && s[-2] == '-') ||
            (s - begin >= 3 && s[-1] == '!' && s[-2] == '-' && s[-3] == '-'))
            return s + 1;
    return NULL;
}

/* The first of < & CR NUL. */
static inline bytes text_end(bytes s, bytes end)
{
    s = lexbor_swar_seek4(s, end, '<', '&', '\r', 0);
    while (s < end && *s != '<' && *s != '&' && *s != '\r' && *s != 0)
        s++;
    return s;
}

/*
 * The "<" that ends the text at s, or NULL. Text with CR is copied into the tokenizer's buffer, with LF in
 * its place.
 */
static bytes read_text(lxb_html_tokenizer_t *tkz, bytes s, bytes end)
{
    bytes from = s;
    for (s = text_end(s, end); s + 1 < end && *s == '\r'; s = text_end(s, end)) {
        if (lxb_html_tokenizer_temp_append(tkz, from, (size_t)(s - from)) != LXB_STATUS_OK ||
            lxb_html_tokenizer_temp_append(tkz, (bytes) "\n", 1) != LXB_STATUS_OK)
            return NULL;
        s += s[1] == '\n' ? 2 : 1;
        from = s;
    }
    if (s == end || *s != '<')
        return NULL;
    if (tkz->pos != tkz->start &&
        lxb_html_tokenizer_temp_append(tkz, from, (size_t)(s - from)) != LXB_STATUS_OK)
        return NULL;
    return s;
}

/* Where the tokenizer goes on. */
static bytes go_on(tn_html_lexer *l, bytes at)
{
    l->next = at;
    return at;
}

static bytes leave_to(lxb_html_tokenizer_t *tkz, lxb_html_tokenizer_state_f state, bytes at)
{
    tkz->state = state;
    return tkz->is_eof ? at : go_on(tkz->callback_token_ctx, at);
}

static bytes data_state(lxb_html_tokenizer_t *tkz, bytes s, bytes end)
{
    tn_html_lexer *l = tkz->callback_token_ctx;
    if (tkz->is_eof)
        return leave_to(tkz, lxb_html_tokenizer_state_data_before, s);
    while (s < end && tkz->state == data_state) {
        bytes at = read_text(tkz, s, l->end);
        const int what = at == NULL ? OTHER : markup_at(at, l->end);
        if (what == OTHER)
            return leave_to(tkz, lxb_html_tokenizer_state_data_before, s);
        if (at > s && !emit_text(tkz, s, at))
            return end;
        s = what == TAG ? read_tag(l, tkz, at) : comment_end(at, l->end);
        if (s == NULL)
            return leave_to(tkz, lxb_html_tokenizer_state_data_before, at);
        if (what == TAG && !emit_tag(l, tkz))
            return end;
    }
    return go_on(l, s);
}

/* ---- scripts and styles ---- */

static bool same_name(bytes s, bytes end, const char *name, size_t n)
{
    if ((size_t)(end - s) <= n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (name_byte[s[i]] != (uint8_t)name[i])
            return false;
    return true;
}

/*
 * Where "</script" or "</style" stands, or NULL. *hidden: a "<script" within may hide the end (the states
 * "double escaped").
 */
static bytes raw_end(bytes s, bytes end, const char *name, bool script, bool *hidden)
{
    const size_t n = strlen(name);
    for (; s < end && (s = memchr(s, '<', (size_t)(end - s))) != NULL; s++) {
        if (end - s > 2 && s[1] == '/' && same_name(s + 2, end, name, n) &&
            (blank_byte[s[2 + n]] || s[2 + n] == '/' || s[2 + n] == '>'))
            return s;
        if (script && same_name(s + 1, end, name, n)) {
            *hidden = true;
            return NULL;
        }
    }
    return NULL;
}

static bytes raw_state(lxb_html_tokenizer_t *tkz, bytes s, bytes end)
{
    tn_html_lexer *l = tkz->callback_token_ctx;
    const bool script = tkz->tmp_tag_id == LXB_TAG_SCRIPT;
    const lxb_html_tokenizer_state_f before =
        script ? lxb_html_tokenizer_state_script_data_before : lxb_html_tokenizer_state_rawtext_before;
    const lxb_dom_node_t *node = lxb_html_tree_current_node(tkz->tree);
    if (tkz->is_eof || node == NULL || node->local_name != tkz->tmp_tag_id)
        return leave_to(tkz, before, s);
    const char *name = script ? "script" : "style";
    bool hidden = false;
    bytes at = raw_end(s, l->end, name, script, &hidden);
    while (at == NULL && !hidden && l->more != NULL && l->more(l, s))
        at = raw_end(s, l->end, name, script, &hidden);
    /* Its text is read where it has attributes, and then as lexbor gives it: CR and NUL replaced. */
    if (at == NULL || (((const lxb_dom_element_t *)node)->first_attr != NULL &&
                       (memchr(s, '\r', (size_t)(at - s)) != NULL || memchr(s, 0, (size_t)(at - s)) != NULL)))
        return leave_to(tkz, before, s);
    if (at > s && !emit_text(tkz, s, at))
        return end;
    s = read_tag(l, tkz, at);
    if (s == NULL)
        return leave_to(tkz, before, at);
    tkz->state = data_state;
    if (!emit_tag(l, tkz))
        return end;
    return go_on(l, s);
}

/* ---- the guard's side ---- */

void tn_html_lexer_take_over(const tn_html_lexer *l, lxb_html_tokenizer_t *tkz)
{
    if (l->off)
        return;
    if (tkz->state == lxb_html_tokenizer_state_data_before)
        tkz->state = data_state;
    else if ((tkz->state == lxb_html_tokenizer_state_script_data_before &&
              tkz->tmp_tag_id == LXB_TAG_SCRIPT) ||
             (tkz->state == lxb_html_tokenizer_state_rawtext_before && tkz->tmp_tag_id == LXB_TAG_STYLE))
        tkz->state = raw_state;
}

void tn_html_lexer_begin(tn_html_lexer *l, lxb_html_tokenizer_t *tkz, const lxb_char_t *end)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_tables);
    memset(l->names, 0, sizeof l->names);
    l->end = end;
    l->next = NULL;
    l->filtered = false;
    l->more = NULL;
    tn_html_lexer_take_over(l, tkz);
}
