/*
 * html_answer.c - writes the answer: main text, title, author, date, and every block with its role.
 *
 * Title, author and date are the text of the block that the network names, where it is sure enough; else what
 * the page's own <meta> says. An author's block is cut down to the name ("By Jane Doe | May 3" gives "Jane
 * Doe"). All output goes through one growing buffer; a failed allocation is remembered and ends in NULL, so
 * no call in between is checked.
 */
#include "postprocess/html_answer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "features/html_internal.h"
#include "postprocess/html_dates.h"

static const char *const page_types[TERN_HTML_PAGE_TYPES] = {
    "article", "service", "forum", "product", "listing", "collection", "documentation"};
static const char *const languages[TERN_HTML_LANGUAGES] = {"en", "de", "fr", "es", "other"};
static const char *const roles[TERN_HTML_ROLES] = {"other",  "title",  "author", "date", "navigation",
                                                   "header", "footer", "aside",  "form", "comment"};

typedef struct out {
    tn_html_bytes b;
    bool failed;
} out;

/* A page's answer stays far below: 4,096 blocks and 4 MB of text, escaped. */
#define ANSWER_LIMIT ((size_t)64 << 20)

static void put(out *o, const char *s, size_t n)
{
    if (!o->failed && !tn_html_append(&o->b, s, n, ANSWER_LIMIT))
        o->failed = true;
}

static void puts_(out *o, const char *s)
{
    put(o, s, strlen(s));
}

static void put_number(out *o, uint32_t v)
{
    char d[12];
    int i = (int)sizeof d;
    do
        d[--i] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    put(o, d + i, sizeof d - (size_t)i);
}

/* 0.0000 to 1.0000; what is not a number is 0. */
static void put_probability(out *o, float p)
{
    uint32_t v = !(p > 0) ? 0 : p >= 1 ? 10000 : (uint32_t)(p * 10000.0f + 0.5f);
    char d[6] = {(char)('0' + v / 10000),     '.',
                 (char)('0' + v / 1000 % 10), (char)('0' + v / 100 % 10),
                 (char)('0' + v / 10 % 10),   (char)('0' + v % 10)};
    put(o, d, sizeof d);
}

/*
 * The inside of a JSON string (RFC 8259, 7). Bytes that are not UTF-8 become U+FFFD: the blocks never hold
 * such.
 */
static void put_escaped(out *o, const char *s, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    bool ascii_only = !tn_html_is_utf8(s, n);
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\' && !(ascii_only && c >= 0x80))
            continue;
        put(o, s + from, i - from);
        from = i + 1;
        if (c == '"' || c == '\\') {
            char e[2] = {'\\', (char)c};
            put(o, e, 2);
        } else if (c == '\n')
            put(o, "\\n", 2);
        else if (c >= 0x80)
            put(o, "\xEF\xBF\xBD", 3);
        else {
            char e[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            put(o, e, 6);
        }
    }
    put(o, s + from, n - from);
}

static void put_string(out *o, const char *s, size_t n)
{
    put(o, "\"", 1);
    put_escaped(o, s, n);
    put(o, "\"", 1);
}

/* n cut to at most max, not within a character. */
static size_t cut(const char *s, size_t n, size_t max)
{
    if (n <= max)
        return n;
    n = max;
    while (n > 0 && ((unsigned char)s[n] & 0xC0) == 0x80)
        n--;
    return n;
}

static void put_classes(out *o, const char *name, const float *p, const char *const *labels, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (p[i] > p[best])
            best = i;
    put(o, "\"", 1);
    puts_(o, name);
    puts_(o, "\": {\"label\": \"");
    puts_(o, labels[best]);
    puts_(o, "\", \"probability\": ");
    put_probability(o, p[best]);
    puts_(o, ", \"probabilities\": {");
    for (int i = 0; i < n; i++) {
        puts_(o, i > 0 ? ", \"" : "\"");
        puts_(o, labels[i]);
        puts_(o, "\": ");
        put_probability(o, p[i]);
    }
    puts_(o, "}}");
}

/*
 * Blocks with text at or above the threshold of a role, most probable first, the earlier one where two are
 * equal. Returns how many, at most CANDIDATES.
 */
enum { CANDIDATES = 5 };

static int best_blocks(const tern_html *x, const tern_html_outputs *y, int role, float threshold,
                       uint32_t found[CANDIDATES])
{
    int have = 0;
    for (uint32_t i = 0; i < y->n; i++) {
        float p = y->role[(size_t)i * TERN_HTML_ROLES + (size_t)role];
        if (!(p >= threshold) || x->records[i].length == 0)
            continue;
        int at = have;
        while (at > 0 && y->role[(size_t)found[at - 1] * TERN_HTML_ROLES + (size_t)role] < p)
            at--;
        if (at == CANDIDATES)
            continue;
        if (have < CANDIDATES)
            have++;
        memmove(found + at + 1, found + at, sizeof *found * (size_t)(have - 1 - at));
        found[at] = i;
    }
    return have;
}

static void put_field(out *o, const char *name, const char *s, size_t n)
{
    puts_(o, ", \"");
    puts_(o, name);
    puts_(o, "\": ");
    if (s == NULL || n == 0)
        puts_(o, "null");
    else
        put_string(o, s, cut(s, n, TN_HTML_ANSWER_FIELD));
}

/* ---- title, author, date ---- */

/* The block that the network names, unless it has no word in common with a title that the page states. */
static void put_title(out *o, const tern_html *x, const tern_html_outputs *y, float threshold)
{
    uint32_t found[CANDIDATES], n;
    const char *stated = tern_html_meta(x, TERN_HTML_META_OG_TITLE, &n);
    if (stated == NULL)
        stated = tern_html_meta(x, TERN_HTML_META_TITLE, &n);
    if (best_blocks(x, y, TERN_HTML_ROLE_TITLE, threshold, found) > 0) {
        const tn_html_record *r = &x->records[found[0]];
        if (stated == NULL || r->counts[TN_HTML_N_TITLE_WORDS] > 0) {
            put_field(o, "title", x->text.data + r->text, r->length);
            return;
        }
    }
    put_field(o, "title", stated, n);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool starts(const char *s, size_t n, const char *prefix)
{
    size_t k = strlen(prefix);
    if (n < k)
        return false;
    for (size_t i = 0; i < k; i++)
        if (lower(s[i]) != prefix[i])
            return false;
    return true;
}

/*
 * True where it went behind the first "by" of a short text: "Posted on May 3 by Jane Doe" gives "Jane Doe".
 */
static bool skip_by(const char **s, size_t *n)
{
    static const char *const words[] = {"by ",       "by: ",     "von ",        "von: ",   "par ",
                                        "por ",      "author: ", "autor: ",     "author ", "autor ",
                                        "autorin: ", "text: ",   "beitrag von "};
    size_t end = *n < 160 ? *n : 160;
    for (size_t i = 0; i < end; i++) {
        if (i > 0 && (*s)[i - 1] != ' ' && (*s)[i - 1] != '|')
            continue;
        for (size_t k = 0; k < sizeof words / sizeof *words; k++)
            if (starts(*s + i, *n - i, words[k])) {
                *s += i + strlen(words[k]);
                *n -= i + strlen(words[k]);
                return true;
            }
    }
    return false;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Where a name ends: before a separator, a date or what follows a name in a byline. */
static size_t name_end(const char *s, size_t n)
{
    static const char *const ends[] = {
        " | ",     " \xC2\xB7 ", " \xE2\x80\xA2 ", " - ",      " \xE2\x80\x93 ", " \xE2\x80\x94 ",
        " / ",     " // ",       " on ",           " am ",     " le ",           " (",
        " in ",    " um ",       " updated",       " Updated", " published",     " Published",
        " posted", ": ",         " vor ",          " ago"};
    for (size_t i = 1; i < n; i++) {
        if (s[i - 1] == ' ' && digit(s[i]))
            return i - 1;
        for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
            if (n - i >= strlen(ends[k]) && memcmp(s + i, ends[k], strlen(ends[k])) == 0)
                return i;
    }
    return n;
}

/* Whether no letter stands at i: so that "more" is not found in "Moreno". */
static bool ends_word(const char *s, size_t n, size_t i)
{
    return i >= n || s[i - 1] == ' ' || !((s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'z');
}

/* Texts that stand in bylines and are no names. */
static bool no_name(const char *s, size_t n)
{
    static const char *const words[] = {
        "share",     "tags",      "by",      "von",      "author",  "autor",  "written by", "posted",
        "last upd",  "update",    "publish", "read",     "comment", "edit",   "follow",     "artikel",
        "teilen",    "kommentar", "credit",  "photo",    "foto",    "quelle", "source",     "bild",
        "post view", "see all",   "zeige",   "table of", "copy",    "link",   "related",    "weiter",
        "datum",     "opinion",   "more",    "this ",    "filed",   "posted", "category",   "kategorie",
        "topics",    "related",   "likes",   "jan",      "feb",     "mar",    "apr",        "may",
        "jun",       "jul",       "aug",     "sep",      "sept",    "oct",    "nov",        "dec",
        "mehr"};
    size_t letters = 0, spaces = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        letters += (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? 1 : c >= 0xC3 && c != 0xE2; /* E2: mostly signs */
        spaces += c == ' ';
    }
    if (n < 2 || n > 100 || letters < 2 || spaces > 10 || digit(s[0]))
        return true;
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (starts(s, n, words[k]) && (strlen(words[k]) >= 6 || ends_word(s, n, strlen(words[k]))))
            return true;
    return false;
}

/* Cuts a month's name off the end: "wellbucket April" was cut before its day. */
static size_t without_month(const char *s, size_t n)
{
    char probe[32], date[11];
    size_t at = n;
    while (at > 0 && s[at - 1] != ' ')
        at--;
    if (at == 0 || n - at > 12)
        return n;
    memcpy(probe, s + at, n - at);
    memcpy(probe + (n - at), " 1, 2000", 8);
    return tern_html_find_date(probe, n - at + 8, 1, date) ? at - 1 : n;
}

/* The name in a block's text; false when there is none. */
static bool name_of(const char **s, size_t *n, bool *by)
{
    *by = skip_by(s, n);
    *n = name_end(*s, *n);
    while (*n > 0 && ((*s)[*n - 1] == ' ' || (*s)[*n - 1] == ',' || (*s)[*n - 1] == ':'))
        (*n)--;
    *n = without_month(*s, *n);
    return !no_name(*s, *n);
}

/* The name in block i, or in the next one where i holds no more than "By". */
static bool put_name(out *o, const tern_html *x, uint32_t i, bool only_by)
{
    for (uint32_t k = i; k <= i + 1 && k < x->n_records; k++) {
        const char *name = x->text.data + x->records[k].text;
        size_t length = x->records[k].length;
        bool by;
        if (name_of(&name, &length, &by) && (by || k > i || !only_by)) {
            put_field(o, "author", name, length);
            return true;
        }
        if (x->records[k].length > 16 || (only_by && !no_name(name, length)))
            break;
    }
    return false;
}

static void put_author(out *o, const tern_html *x, const tern_html_outputs *y, float threshold)
{
    uint32_t found[CANDIDATES], n;
    const char *s = tern_html_meta(x, TERN_HTML_META_AUTHOR, &n);
    if (s != NULL && !no_name(s, n) && memchr(s, '@', n) == NULL) {
        put_field(o, "author", s, n);
        return;
    }
    int have = best_blocks(x, y, TERN_HTML_ROLE_AUTHOR, threshold, found);
    for (int pass = 0; pass < 2; pass++) /* a name behind "by" goes before any other */
        for (int i = 0; i < have; i++)
            if (put_name(o, x, found[i], pass == 0))
                return;
    put_field(o, "author", NULL, 0);
}

/* The date in a block: its <time>, or its text. */
static bool date_of(const tern_html *x, const tn_html_record *r, int month_first, char date[11])
{
    if (r->datetime_length > 0 &&
        tern_html_find_date(x->meta_text.data + r->datetime, r->datetime_length, 0, date))
        return true;
    return tern_html_find_date(x->text.data + r->text, r->length, month_first, date) != 0;
}

/*
 * The date of the candidate that stands first in the page, of those that are about as probable as the best:
 * comments have dates too, and come later. A byline, which is an author's block, counts like a date's.
 */
static bool date_of_blocks(const tern_html *x, const tern_html_outputs *y, float threshold, char date[11])
{
    static const int roles_of_dates[] = {TERN_HTML_ROLE_DATE, TERN_HTML_ROLE_AUTHOR};
    int english = y->language[0] >= y->language[1] && y->language[0] >= y->language[2];
    uint32_t found[CANDIDATES], first = UINT32_MAX;
    float top = 0;
    for (int role = 0; role < 2; role++) {
        int have = best_blocks(x, y, roles_of_dates[role], threshold, found);
        for (int i = 0; i < have; i++) {
            char d[11];
            float p = y->role[(size_t)found[i] * TERN_HTML_ROLES + (size_t)roles_of_dates[role]];
            if (p < top * 0.5f || found[i] >= first || !date_of(x, &x->records[found[i]], english, d))
                continue;
            memcpy(date, d, sizeof d);
            first = found[i];
            top = p > top ? p : top;
        }
    }
    return first != UINT32_MAX;
}

static void put_date(out *o, const tern_html *x, const tern_html_outputs *y, float threshold)
{
    char date[11] = "";
    uint32_t n;
    const char *s = tern_html_meta(x, TERN_HTML_META_DATE, &n);
    bool ok = s != NULL && tern_html_find_date(s, n, 1, date);
    ok = ok || date_of_blocks(x, y, threshold, date);
    s = tern_html_meta(x, TERN_HTML_META_URL, &n);
    if (!ok && s != NULL)
        tern_html_find_date(s, n, 0, date);
    put_field(o, "date", date, strlen(date));
}

/* ---- text ---- */

static void put_main(out *o, const tern_html *x, const tern_html_outputs *y, float threshold)
{
    size_t total = 0;
    puts_(o, ", \"main_content\": \"");
    for (uint32_t i = 0; i < y->n && total < TN_HTML_ANSWER_MAIN; i++) {
        const tn_html_record *r = &x->records[i];
        if (!(y->main[i] >= threshold) || r->length == 0 || (r->context & TERN_HTML_IS_CONTROL))
            continue;
        if (total > 0)
            put(o, "\\n", 2);
        size_t n = cut(x->text.data + r->text, r->length, TN_HTML_ANSWER_MAIN - total);
        put_escaped(o, x->text.data + r->text, n);
        total += n + 1;
    }
    puts_(o, "\"");
}

static void put_blocks(out *o, const tern_html *x, const tern_html_outputs *y)
{
    puts_(o, ", \"blocks\": [");
    for (uint32_t i = 0; i < y->n; i++) {
        const tn_html_record *r = &x->records[i];
        const float *p = y->role + (size_t)i * TERN_HTML_ROLES;
        int best = 0;
        for (int k = 1; k < TERN_HTML_ROLES; k++)
            if (p[k] > p[best])
                best = k;
        puts_(o, i > 0 ? ",\n{\"text\": " : "\n{\"text\": ");
        put_string(o, x->text.data + r->text,
                   cut(x->text.data + r->text, r->length, TN_HTML_ANSWER_BLOCK_TEXT));
        puts_(o, ", \"tag\": \"");
        puts_(o, r->tags[0] == TN_HTML_TAG_OTHER ? "other" : tern_html_tag_name(r->tags[0]));
        puts_(o, "\", \"offset\": ");
        put_number(o, (uint32_t)r->counts[TN_HTML_N_OFFSET]);
        puts_(o, ", \"role\": \"");
        puts_(o, roles[best]);
        puts_(o, "\", \"role_probability\": ");
        put_probability(o, p[best]);
        puts_(o, ", \"main\": ");
        put_probability(o, y->main[i]);
        puts_(o, "}");
    }
    puts_(o, "\n]");
}

char *tern_html_answer(const tern_html *x, const tern_html_outputs *y, const tern_html_thresholds *t,
                       size_t *length)
{
    out o = {0};
    *length = 0;
    if (y->n != x->n_records)
        return NULL;
    puts_(&o, "{");
    put_classes(&o, "page_type", y->page_type, page_types, TERN_HTML_PAGE_TYPES);
    puts_(&o, ", ");
    put_classes(&o, "language", y->language, languages, TERN_HTML_LANGUAGES);
    put_title(&o, x, y, t->title);
    put_author(&o, x, y, t->author);
    put_date(&o, x, y, t->date);
    put_main(&o, x, y, t->main);
    puts_(&o, x->truncated ? ", \"truncated\": true" : ", \"truncated\": false");
    put_blocks(&o, x, y);
    puts_(&o, "}\n");
    put(&o, "", 1);
    if (o.failed) {
        free(o.b.data);
        return NULL;
    }
    *length = o.b.length - 1;
    return o.b.data;
}

void tern_html_answer_free(char *json)
{
    free(json);
}
