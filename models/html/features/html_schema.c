/*
 * html_schema.c - the types of schema.org that a page names: "@type" of its JSON-LD scripts, itemtype of its
 * microdata. They say much about what kind of page it is.
 *
 * A scan for the key and the names behind it, not a JSON parser: broken documents are common, and a name
 * inside a string that looks like a key costs nothing. Each type counts once, in order of appearance, as a
 * token of its lower-cased name; TN_HTML_SCHEMA_TOKENS of them are kept. Linear, bounded by
 * TN_HTML_MAX_SCHEMA. One thread at a time.
 */
#include <string.h>

#include "html_internal.h"

static bool name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

void tn_html_schema_type(tern_html *x, const char *s, size_t n)
{
    char low[48];
    size_t end = n < TN_HTML_MAX_ATTR_SCAN ? n : TN_HTML_MAX_ATTR_SCAN;
    while (end > 0 && !name_byte(s[end - 1]))
        end--;
    size_t start = end;
    while (start > 0 && name_byte(s[start - 1]) && end - start < sizeof low)
        start--;
    if (end == start || x->n_schema == TN_HTML_SCHEMA_TOKENS)
        return;
    for (size_t i = start; i < end; i++)
        low[i - start] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 : s[i]);
    uint16_t t = tn_html_token(tn_html_hash(TN_HTML_SALT_SCHEMA, low, end - start), TN_HTML_META_VOCAB);
    for (int i = 0; i < x->n_schema; i++)
        if (x->schema[i] == t)
            return;
    x->schema[x->n_schema++] = t;
}

static size_t skip_blank(const char *s, size_t n, size_t i)
{
    while (i < n && (unsigned char)s[i] <= ' ')
        i++;
    return i;
}

/* A string, or a list of strings, at i. */
static void read_types(tern_html *x, const char *s, size_t n, size_t i)
{
    i = skip_blank(s, n, i);
    bool list = i < n && s[i] == '[';
    i += list;
    do {
        i = skip_blank(s, n, i);
        if (i >= n || s[i] != '"')
            return;
        const char *name = s + i + 1;
        size_t room = n - i - 1 < TN_HTML_MAX_ATTR_SCAN ? n - i - 1 : TN_HTML_MAX_ATTR_SCAN;
        const char *end = memchr(name, '"', room);
        if (end == NULL)
            return;
        tn_html_schema_type(x, name, (size_t)(end - name));
        i = skip_blank(s, n, (size_t)(end - s) + 1);
    } while (list && i < n && s[i++] == ',' && x->n_schema < TN_HTML_SCHEMA_TOKENS);
}

void tn_html_schema_script(tern_html *x, const char *s, size_t n)
{
    static const char key[] = "\"@type\"";
    const size_t k = sizeof key - 1;
    if (n > TN_HTML_MAX_SCHEMA)
        n = TN_HTML_MAX_SCHEMA;
    for (size_t i = 0; i + k < n && x->n_schema < TN_HTML_SCHEMA_TOKENS;) {
        const char *at = memmem(s + i, n - i, key, k);
        if (at == NULL)
            return;
        i = skip_blank(s, n, (size_t)(at - s) + k);
        if (i < n && s[i] == ':')
            read_types(x, s, n, i + 1);
    }
}
