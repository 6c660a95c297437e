/*
 * html_source.c - the scan: from one '<' to the next, each byte looked at once.
 *
 * Whatever is met, the scan goes on where the last look ended, so that no input makes it quadratic.
 */
#include "postprocess/html_source.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

typedef struct span {
    const char *p;
    size_t n;
} span;

typedef struct tag {
    span href, type;
    size_t end; /* behind '>' */
} tag;

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool same(const char *s, size_t n, const char *word)
{
    for (size_t i = 0; word[i] != '\0'; i++)
        if (i >= n || lower(s[i]) != word[i])
            return false;
    return true;
}

static bool blank(char c)
{
    return c == ' ' || (c >= 9 && c <= 13);
}

/* ---- character references ---- */

static int digit_of(char c, int base)
{
    int v = c >= '0' && c <= '9' ? c - '0' : lower(c) >= 'a' && lower(c) <= 'f' ? lower(c) - 'a' + 10 : 99;
    return v < base ? v : -1;
}

/*
 * "&#8217;" at s: the character, and the bytes taken; 0 when it is none. Its UTF-8 is never longer than that.
 */
static size_t numeric_reference(const char *s, size_t n, uint32_t *c)
{
    int base = 10;
    size_t i = 2;
    if (i < n && lower(s[i]) == 'x') {
        base = 16;
        i++;
    }
    const size_t first = i;
    for (*c = 0; i < n && i < first + 7 && digit_of(s[i], base) >= 0; i++)
        *c = *c * (uint32_t)base + (uint32_t)digit_of(s[i], base);
    if (i == first || i >= n || s[i] != ';' || *c < 0x20 || *c > 0x10FFFF || (*c >= 0xD800 && *c < 0xE000))
        return 0;
    return i + 1;
}

static size_t reference(const char *s, size_t n, uint32_t *c)
{
    static const struct {
        const char *name;
        uint32_t c;
    } names[] = {{"&amp;", '&'},       {"&quot;", '"'},     {"&lt;", '<'},       {"&gt;", '>'},
                 {"&apos;", '\''},     {"&nbsp;", 0xA0},    {"&ndash;", 0x2013}, {"&mdash;", 0x2014},
                 {"&rsquo;", 0x2019},  {"&lsquo;", 0x2018}, {"&ldquo;", 0x201C}, {"&rdquo;", 0x201D},
                 {"&hellip;", 0x2026}, {"&auml;", 0xE4},    {"&ouml;", 0xF6},    {"&uuml;", 0xFC},
                 {"&Auml;", 0xC4},     {"&Ouml;", 0xD6},    {"&Uuml;", 0xDC},    {"&szlig;", 0xDF},
                 {"&eacute;", 0xE9},   {"&egrave;", 0xE8},  {"&reg;", 0xAE},     {"&bdquo;", 0x201E}};
    if (n > 2 && s[1] == '#')
        return numeric_reference(s, n, c);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t k = strlen(names[i].name);
        if (k <= n && memcmp(s, names[i].name, k) == 0) {
            *c = names[i].c;
            return k;
        }
    }
    return 0;
}

size_t tn_html_unescape(const char *s, size_t n, char *out)
{
    size_t length = 0;
    for (size_t i = 0; i < n;) {
        const char *sign = memchr(s + i, '&', n - i);
        const size_t plain = sign != NULL ? (size_t)(sign - s) - i : n - i;
        memmove(out + length, s + i, plain);
        length += plain;
        i += plain;
        if (sign == NULL)
            break;
        uint32_t c = 0;
        const size_t taken = reference(s + i, n - i, &c);
        if (taken == 0) {
            out[length++] = s[i++];
            continue;
        }
        length += tn_put_utf8(out + length, c);
        i += taken;
    }
    return length;
}

/* ---- tags ---- */

static size_t skip_blanks(const char *s, size_t i, size_t n)
{
    while (i < n && blank(s[i]))
        i++;
    return i;
}

/* The value behind "name" at s[i]; i moves on. */
static span attribute_value(const char *s, size_t *i, size_t n)
{
    span v = {NULL, 0};
    size_t k = skip_blanks(s, *i, n);
    if (k >= n || s[k] != '=')
        return v;
    k = skip_blanks(s, k + 1, n);
    const char quote = k < n && (s[k] == '"' || s[k] == '\'') ? s[k] : '\0';
    if (quote != '\0') {
        const char *close = memchr(s + k + 1, quote, n - k - 1);
        if (close == NULL) {
            *i = n;
            return v;
        }
        v = (span){s + k + 1, (size_t)(close - s) - k - 1};
        *i = (size_t)(close - s) + 1;
        return v;
    }
    const size_t from = k;
    while (k < n && !blank(s[k]) && s[k] != '>')
        k++;
    *i = k;
    return (span){s + from, k - from};
}

/* Reads the attributes of a start tag from s[i] on, behind its name. */
static tag read_tag(const char *s, size_t i, size_t n)
{
    tag t = {{NULL, 0}, {NULL, 0}, 0};
    if (n - i > TN_HTML_SOURCE_TAG)
        n = i + TN_HTML_SOURCE_TAG;
    while (i < n && s[i] != '>') {
        if (blank(s[i]) || s[i] == '/' || s[i] == '=') {
            i++;
            continue;
        }
        const size_t name = i;
        while (i < n && !blank(s[i]) && s[i] != '=' && s[i] != '>' && s[i] != '/')
            i++;
        const size_t length = i - name;
        const span v = attribute_value(s, &i, n);
        if (length != 4 || v.p == NULL)
            continue;
        if (same(s + name, 4, "href"))
            t.href = v;
        else if (same(s + name, 4, "type"))
            t.type = v;
    }
    t.end = i < n ? i + 1 : n;
    return t;
}

/* Where "</name" begins at or behind i; n when nowhere. */
static size_t find_close(const char *s, size_t i, size_t n, const char *name)
{
    while (i < n) {
        const char *p = memchr(s + i, '<', n - i);
        if (p == NULL)
            return n;
        i = (size_t)(p - s);
        if (i + 1 < n && s[i + 1] == '/' && same(s + i + 2, n - i - 2, name))
            return i;
        i++;
    }
    return n;
}

/* ---- what is kept ---- */

static void keep_script(tn_html_source *s, const char *page, size_t from, size_t to)
{
    if (s->n_scripts == TN_HTML_SOURCE_SCRIPTS || to - from > TN_HTML_SOURCE_SCRIPT)
        return;
    const uint32_t at = (uint32_t)s->text.length;
    if (tn_html_append(&s->text, page + from, to - from, TN_HTML_SOURCE_TEXT))
        s->scripts[s->n_scripts++] = (tn_html_script){at, (uint32_t)(to - from), (uint32_t)from};
}

static bool room_for_link(tn_html_source *s)
{
    if (s->n_links < s->cap_links)
        return true;
    if (s->n_links >= TN_HTML_SOURCE_LINKS)
        return false;
    const uint32_t cap = s->cap_links == 0 ? 256 : s->cap_links * 2;
    tn_html_link *l = realloc(s->links, sizeof *l * cap);
    if (l == NULL)
        return false;
    s->links = l;
    s->cap_links = cap;
    return true;
}

/* Text of [from, to) without tags and with single blanks; returns its length. */
static size_t shown(const char *page, size_t from, size_t to, char out[TN_HTML_SOURCE_SHOWN])
{
    char raw[TN_HTML_SOURCE_SHOWN];
    size_t n = 0;
    bool space = false;
    for (size_t i = from; i < to && n + 2 < sizeof raw; i++) {
        const char c = page[i];
        if (c == '<') {
            const char *end = memchr(page + i, '>', to - i);
            if (end == NULL)
                break;
            i = (size_t)(end - page);
        } else if ((unsigned char)c <= ' ') {
            space = n > 0;
        } else {
            if (space)
                raw[n++] = ' ';
            space = false;
            raw[n++] = c;
        }
    }
    while (n > 0 && (unsigned char)raw[n - 1] >= 0x80 && !tn_html_is_utf8(raw, n))
        n--; /* cut within a character */
    return tn_html_unescape(raw, n, out);
}

static void close_link(tn_html_source *s, const char *page, size_t at)
{
    char text[TN_HTML_SOURCE_SHOWN];
    tn_html_link *l = s->n_links > 0 ? &s->links[s->n_links - 1] : NULL;
    if (l == NULL || l->end != 0)
        return;
    l->end = (uint32_t)at;
    const size_t n = shown(page, l->start, at, text);
    l->text_at = (uint32_t)s->text.length;
    if (tn_html_append(&s->text, text, n, TN_HTML_SOURCE_TEXT))
        l->text_length = (uint32_t)n;
}

static void keep_link(tn_html_source *s, const char *page, span href, size_t start, size_t content)
{
    char address[TN_HTML_SOURCE_HREF];
    close_link(s, page, start);
    while (href.n > 0 && blank(href.p[0])) {
        href.p++;
        href.n--;
    }
    if (href.n == 0 || href.n > sizeof address || !room_for_link(s))
        return;
    const size_t n = tn_html_unescape(href.p, href.n, address);
    const uint32_t at = (uint32_t)s->text.length;
    if (tn_html_append(&s->text, address, n, TN_HTML_SOURCE_TEXT))
        s->links[s->n_links++] = (tn_html_link){.start = (uint32_t)content, .at = at, .length = (uint32_t)n};
}

static bool is_tag(const char *s, size_t n, const char *name)
{
    const size_t k = strlen(name);
    return n > k && same(s, n, name) && (blank(s[k]) || s[k] == '>' || s[k] == '/');
}

static size_t script(tn_html_source *s, const char *page, size_t i, size_t n)
{
    const tag t = read_tag(page, i + 7, n);
    const size_t end = find_close(page, t.end, n, "script");
    if (t.type.n >= 19 && same(t.type.p, t.type.n, "application/ld+json") && end < n)
        keep_script(s, page, t.end, end);
    return end;
}

/* Whether markup() looks for what begins like that behind '<'; most tags do not. */
static bool may_count(const char *p, size_t n)
{
    if (n >= 2 && p[0] == '/')
        return lower(p[1]) == 'a';
    return n >= 2 && (lower(p[0]) == 'a' || lower(p[0]) == 's' || p[0] == '!');
}

/* One '<' at i; returns where to go on. */
static size_t markup(tn_html_source *s, const char *page, size_t i, size_t n)
{
    const char *p = page + i + 1;
    const size_t room = n - i - 1;
    if (is_tag(p, room, "a")) {
        const tag t = read_tag(page, i + 2, n);
        keep_link(s, page, t.href, i, t.end);
        return t.end;
    }
    if (room > 2 && p[0] == '/' && is_tag(p + 1, room - 1, "a")) {
        close_link(s, page, i);
        return i + 3;
    }
    if (is_tag(p, room, "script"))
        return script(s, page, i, n);
    if (is_tag(p, room, "style"))
        return find_close(page, i + 6, n, "style");
    if (room >= 3 && memcmp(p, "!--", 3) == 0) {
        for (const char *q = p + 3; q < page + n && (q = memchr(q, '>', (size_t)(page + n - q))) != NULL; q++)
            if (q[-1] == '-' && q[-2] == '-')
                return (size_t)(q - page) + 1;
        return n;
    }
    return i + 1;
}

void tn_html_source_scan(tn_html_source *s, const char *utf8, size_t length)
{
    s->text.length = 0;
    s->n_links = s->n_scripts = 0;
    for (size_t i = 0; i < length;) {
        const char *p = memchr(utf8 + i, '<', length - i);
        if (p == NULL)
            break;
        i = (size_t)(p - utf8);
        i = may_count(p + 1, length - i - 1) ? markup(s, utf8, i, length) : i + 1;
    }
    close_link(s, utf8, length);
}

void tn_html_source_clear(tn_html_source *s)
{
    free(s->text.data);
    free(s->links);
    *s = (tn_html_source){0};
}
