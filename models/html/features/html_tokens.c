/*
 * html_tokens.c - from strings to token ids: words, class names, addresses; and the census of a text's bytes.
 *
 * ASCII only, by own tables: no locale and no ctype, so that every machine gives the same ids. Bytes from
 * 0x80 on are letters, but for U+2000..U+207F (general punctuation: dashes, quotes, bullets). Hashes are
 * FNV-1a with a salt byte first. Pure functions of their arguments; any thread.
 */
#include "html_internal.h"

#include <string.h>

/* Classes of bytes. */
enum { K_SYMBOL, K_SPACE, K_LOWER, K_UPPER, K_DIGIT, K_PUNCT, K_COMMA, K_STOP, K_LEAD, K_CONT };

/* Every byte's class; V(class) says what stands in the table. */
#define BYTE_TABLE(V)                                                                                        \
    {                                                                                                        \
        [0 ... 8] = V(K_SYMBOL), [9 ... 13] = V(K_SPACE),                                                    \
               [14 ... 31] = V(K_SYMBOL), [' '] = V(K_SPACE), ['!'] = V(K_STOP), ['"'] = V(K_PUNCT),         \
               ['#' ... '&'] = V(K_SYMBOL), ['\'' ... ')'] = V(K_PUNCT), ['*' ... '+'] = V(K_SYMBOL),        \
               [','] = V(K_COMMA), ['-'] = V(K_SYMBOL), ['.'] = V(K_STOP), ['/'] = V(K_SYMBOL),              \
               ['0' ... '9'] = V(K_DIGIT), [':' ... ';'] = V(K_PUNCT),                                       \
               ['<' ... '>'] = V(K_SYMBOL), ['?'] = V(K_STOP), ['@'] = V(K_SYMBOL),                          \
               ['A' ... 'Z'] = V(K_UPPER), ['[' ... '`'] = V(K_SYMBOL), ['a' ... 'z'] = V(K_LOWER),          \
               ['{' ... 127] = V(K_SYMBOL), [128 ... 191] = V(K_CONT), [192 ... 255] = V(K_LEAD),            \
    }

#define SAME(k) k
static const uint8_t class_of[256] = BYTE_TABLE(SAME);

static inline int byte_class(unsigned char c)
{
    return class_of[c];
}

/*
 * Eight counters of one byte each, added at once: upper, digit, punct, comma, symbol, lead, stop, word
 * letter.
 */
#define P(n) (1ull << (8 * (n)))
#define PACKED(k)                                                                                            \
    ((k) == K_UPPER    ? P(0) | P(7)                                                                         \
     : (k) == K_DIGIT  ? P(1) | P(7)                                                                         \
     : (k) == K_PUNCT  ? P(2)                                                                                \
     : (k) == K_COMMA  ? P(3)                                                                                \
     : (k) == K_SYMBOL ? P(4)                                                                                \
     : (k) == K_LEAD   ? P(5) | P(7)                                                                         \
     : (k) == K_STOP   ? P(6)                                                                                \
     : (k) == K_SPACE  ? 0                                                                                   \
                       : P(7))
static const uint64_t packed[256] = BYTE_TABLE(PACKED);

uint32_t tn_html_hash(uint32_t salt, const char *s, size_t n)
{
    uint32_t h = (TN_HTML_FNV_OFFSET ^ salt) * TN_HTML_FNV_PRIME;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * TN_HTML_FNV_PRIME;
    return h;
}

uint16_t tn_html_token(uint32_t hash, uint32_t vocab)
{
    return (uint16_t)(1u + hash % (vocab - 1u));
}

/*
 * What a byte of a word is hashed as: ASCII lower case, digits as '0', bytes >= 0x80 as they are; 0: no
 * letter.
 */
static const uint8_t fold[256] = {
    ['0' ... '9'] = '0', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e', ['F'] = 'f',
    ['G'] = 'g',         ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm',
    ['N'] = 'n',         ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't',
    ['U'] = 'u',         ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z', ['a'] = 'a',
    ['b'] = 'b',         ['c'] = 'c', ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h',
    ['i'] = 'i',         ['j'] = 'j', ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o',
    ['p'] = 'p',         ['q'] = 'q', ['r'] = 'r', ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v',
    ['w'] = 'w',         ['x'] = 'x', ['y'] = 'y', ['z'] = 'z',
};

/* Whether a letter or digit of a word stands at i. */
static inline bool word_byte(const char *s, size_t n, size_t i)
{
    unsigned char c = (unsigned char)s[i];
    if (c < 0x80)
        return fold[c] != 0;
    /* U+2000..U+207F is E2 80 xx and E2 81 80..BF: punctuation. */
    if (c == 0xE2 && i + 1 < n && (unsigned char)s[i + 1] <= 0x81)
        return false;
    if (c == 0xC2 && i + 1 < n && (unsigned char)s[i + 1] <= 0xBF) /* U+0080..U+00BF: signs, NBSP */
        return false;
    return true;
}

static inline size_t skip_sign(const char *s, size_t n, size_t i)
{
    unsigned char c = (unsigned char)s[i];
    size_t step = c < 0x80 ? 1 : c == 0xC2 ? 2 : 3;
    return i + step > n ? n : i + step;
}

static int is_month(const tern_html *x, uint32_t h)
{
    for (const uint32_t *m = x->months; *m != 0; m++)
        if (*m == h)
            return 1;
    return 0;
}

int tn_html_words(const tern_html *x, const char *s, size_t n, uint32_t salt, uint32_t vocab, uint16_t *out,
                  int max, int *years, int *months)
{
    int have = 0;
    size_t i = 0;
    while (i < n && have < max) {
        if (!word_byte(s, n, i)) {
            i = skip_sign(s, n, i);
            continue;
        }
        size_t start = i;
        uint32_t h = (TN_HTML_FNV_OFFSET ^ salt) * TN_HTML_FNV_PRIME;
        bool digits = true;
        while (i < n && word_byte(s, n, i)) {
            unsigned char c = (unsigned char)s[i];
            if (c < 0x80)
                c = fold[c];
            digits &= c == '0';
            if (i - start < TN_HTML_MAX_WORD)
                h = (h ^ c) * TN_HTML_FNV_PRIME;
            i++;
        }
        out[have++] = tn_html_token(h, vocab);
        if (years != NULL && digits && i - start == 4 &&
            ((s[start] == '1' && s[start + 1] == '9') || (s[start] == '2' && s[start + 1] == '0')))
            (*years)++;
        if (months != NULL && x->month_bits[h >> 3 & 31] >> (h & 7) & 1)
            *months += is_month(x, h);
    }
    return have;
}

/* "comment" in any case. */
static bool is_comment(const char *s)
{
    static const char word[7] = {'c', 'o', 'm', 'm', 'e', 'n', 't'};
    for (int i = 0; i < 7; i++)
        if ((s[i] | 0x20) != word[i])
            return false;
    return true;
}

int tn_html_names(const char *s, size_t n, uint32_t salt, uint32_t vocab, uint16_t *out, int have, int max,
                  bool *comment)
{
    if (n > TN_HTML_MAX_ATTR_SCAN)
        n = TN_HTML_MAX_ATTR_SCAN;
    size_t i = 0;
    while (i < n && have < max) {
        int k = byte_class((unsigned char)s[i]);
        if (k != K_LOWER && k != K_UPPER) {
            i++;
            continue;
        }
        size_t start = i;
        uint32_t h = (TN_HTML_FNV_OFFSET ^ salt) * TN_HTML_FNV_PRIME;
        int before = K_UPPER;
        while (i < n) {
            unsigned char c = (unsigned char)s[i];
            k = byte_class(c);
            if ((k != K_LOWER && k != K_UPPER) || (k == K_UPPER && before == K_LOWER))
                break;
            h = (h ^ (c | 0x20u)) * TN_HTML_FNV_PRIME;
            before = k;
            i++;
        }
        if (i - start < 2)
            continue;
        if (comment != NULL && i - start >= 7 && (s[start] | 0x20) == 'c' && is_comment(s + start))
            *comment = true;
        uint16_t t = tn_html_token(h, vocab);
        int j = 0;
        while (j < have && out[j] != t)
            j++;
        if (j == have)
            out[have++] = t;
    }
    return have;
}

void tn_html_months(tern_html *x)
{
    static const char *const names[] = {
        "january", "february",    "march",
        "april",   "may",         "june",
        "july",    "august",      "september",
        "october", "november",    "december",
        "jan",     "feb",         "mar",
        "apr",     "jun",         "jul",
        "aug",     "sep",         "sept",
        "oct",     "nov",         "dec",
        "januar",  "februar",     "m\xC3\xA4rz",
        "mai",     "juni",        "juli",
        "oktober", "dezember",    "okt",
        "dez",     "janvier",     "f\xC3\xA9vrier",
        "mars",    "avril",       "juin",
        "juillet", "ao\xC3\xBBt", "septembre",
        "octobre", "novembre",    "d\303\251cembre",
        "enero",   "febrero",     "marzo",
        "abril",   "mayo",        "junio",
        "julio",   "agosto",      "septiembre",
        "octubre", "noviembre",   "diciembre",
    };
    size_t n = sizeof names / sizeof *names;
    _Static_assert(sizeof names / sizeof *names < sizeof x->months / sizeof *x->months,
                   "room for the end mark");
    memset(x->month_bits, 0, sizeof x->month_bits);
    for (size_t i = 0; i < n; i++) {
        uint32_t h = x->months[i] = tn_html_hash(TN_HTML_SALT_TEXT, names[i], strlen(names[i]));
        x->month_bits[h >> 3 & 31] |= (uint8_t)(1u << (h & 7));
    }
    x->months[n] = 0;
}

/* Splits at everything but letters and digits; a run of digits is one '0'. */
static int url_part(const char *s, size_t n, uint32_t salt, int32_t *out, int have, int max)
{
    size_t i = 0;
    while (i < n && have < max) {
        int k = byte_class((unsigned char)s[i]);
        if (k == K_DIGIT) {
            while (i < n && byte_class((unsigned char)s[i]) == K_DIGIT)
                i++;
            out[have++] = tn_html_token(tn_html_hash(salt, "0", 1), TN_HTML_URL_VOCAB);
            continue;
        }
        if (k != K_LOWER && k != K_UPPER) {
            i++;
            continue;
        }
        uint32_t h = (TN_HTML_FNV_OFFSET ^ salt) * TN_HTML_FNV_PRIME;
        while (i < n && ((k = byte_class((unsigned char)s[i])) == K_LOWER || k == K_UPPER)) {
            unsigned char c = (unsigned char)s[i++];
            h = (h ^ (k == K_UPPER ? c + 32u : c)) * TN_HTML_FNV_PRIME;
        }
        out[have++] = tn_html_token(h, TN_HTML_URL_VOCAB);
    }
    return have;
}

static int32_t shape_token(char what, uint32_t value)
{
    char s[2] = {what, (char)('0' + (value < 9 ? value : 9))};
    return tn_html_token(tn_html_hash(TN_HTML_SALT_SHAPE, s, 2), TN_HTML_URL_VOCAB);
}

/* How many segments a path has, words and length of the last one, and what follows: its form says much. */
static void url_shape(const char *s, size_t n, int32_t out[TN_HTML_URL_SHAPE])
{
    uint32_t segments = 0, hyphens = 0, digits = 0, last = 0;
    size_t i = 0;
    for (; i < n && s[i] != '?' && s[i] != '#'; i++) {
        if (s[i] == '/') {
            if (i + 1 < n && s[i + 1] != '/' && s[i + 1] != '?' && s[i + 1] != '#') {
                segments++;
                hyphens = digits = last = 0;
            }
            continue;
        }
        last++;
        hyphens += s[i] == '-' || s[i] == '_';
        digits += byte_class((unsigned char)s[i]) == K_DIGIT;
    }
    out[0] = shape_token('s', segments);
    out[1] = shape_token('h', hyphens);
    out[2] = shape_token('l', last / 8);
    out[3] =
        shape_token('f', (i < n && s[i] == '?' ? 1u : 0u) + (digits > 0 ? 2u : 0u) + (digits > 5 ? 4u : 0u));
}

void tn_html_url(tern_html *x, const char *url, size_t n)
{
    memset(x->url_tokens, 0, sizeof x->url_tokens);
    if (url == NULL)
        return;
    if (n > TN_HTML_MAX_META_TEXT)
        n = TN_HTML_MAX_META_TEXT;
    size_t host = 0;
    for (size_t i = 0; i + 2 < n && i < 16; i++)
        if (url[i] == ':' && url[i + 1] == '/' && url[i + 2] == '/') {
            host = i + 3;
            break;
        }
    size_t path = host;
    if (host > 0)
        while (path < n && url[path] != '/' && url[path] != '?' && url[path] != '#')
            path++;
    int have = url_part(url + host, path - host, TN_HTML_SALT_HOST, x->url_tokens, 0, TN_HTML_URL_TOKENS / 4);
    url_part(url + path, n - path, TN_HTML_SALT_PATH, x->url_tokens, have,
             TN_HTML_URL_TOKENS - TN_HTML_URL_SHAPE);
    url_shape(url + path, n - path, x->url_tokens + TN_HTML_URL_TOKENS - TN_HTML_URL_SHAPE);
}

/* Places within page_meta: words of the title, then a few tokens of each other fact. */
enum { AT_TITLE = 0, AT_LANG = 24, AT_OGTYPE = 26, AT_GENERATOR = 28, AT_BODY = 30, AT_SCHEMA = 48 };

void tn_html_page_meta(tern_html *x)
{
    static const struct {
        uint8_t meta, at, end, salt;
    } parts[] = {
        {TERN_HTML_META_LANG, AT_LANG, AT_OGTYPE, TN_HTML_SALT_LANG},
        {TERN_HTML_META_OG_TYPE, AT_OGTYPE, AT_GENERATOR, TN_HTML_SALT_OGTYPE},
        {TERN_HTML_META_GENERATOR, AT_GENERATOR, AT_BODY, TN_HTML_SALT_GENERATOR},
        {TERN_HTML_META_BODY_CLASS, AT_BODY, AT_SCHEMA, TN_HTML_SALT_BODYCLASS},
    };
    uint16_t t[TN_HTML_PAGE_META];
    memset(x->page_meta, 0, sizeof x->page_meta);
    const tn_html_slice *m = &x->meta[TERN_HTML_META_TITLE];
    if (m->set) {
        int n = tn_html_words(x, x->meta_text.data + m->at, m->length, TN_HTML_SALT_TITLE, TN_HTML_META_VOCAB,
                              t, AT_LANG, NULL, NULL);
        for (int i = 0; i < n; i++)
            x->page_meta[i] = t[i];
    }
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        m = &x->meta[parts[p].meta];
        if (!m->set)
            continue;
        int n = tn_html_names(x->meta_text.data + m->at, m->length, parts[p].salt, TN_HTML_META_VOCAB, t, 0,
                              parts[p].end - parts[p].at, NULL);
        for (int i = 0; i < n; i++)
            x->page_meta[parts[p].at + i] = t[i];
    }
    for (int i = 0; i < x->n_schema; i++)
        x->page_meta[AT_SCHEMA + i] = x->schema[i];
}

/* Bytes of a currency sign at s[i]: $, U+00A3, U+00A5, U+20AC, U+20B9, U+20BD; 0: none. */
static size_t currency_at(const char *s, size_t n, size_t i)
{
    unsigned char c = (unsigned char)s[i];
    if (c == '$')
        return 1;
    if (c == 0xC2 && i + 1 < n)
        return (unsigned char)s[i + 1] == 0xA3 || (unsigned char)s[i + 1] == 0xA5 ? 2 : 0;
    if (c != 0xE2 || i + 2 >= n || (unsigned char)s[i + 1] != 0x82)
        return 0;
    unsigned char d = (unsigned char)s[i + 2];
    return d == 0xAC || d == 0xB9 || d == 0xBD ? 3 : 0;
}

int32_t tn_html_prices(const char *s, size_t n)
{
    int32_t prices = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = currency_at(s, n, i);
        if (k == 0)
            continue;
        size_t after = i + k + (i + k < n && s[i + k] == ' ');
        size_t before = i > 1 && s[i - 1] == ' ' ? i - 1 : i;
        prices += (after < n && byte_class((unsigned char)s[after]) == K_DIGIT) ||
                  (before > 0 && byte_class((unsigned char)s[before - 1]) == K_DIGIT);
        i += k - 1;
    }
    return prices;
}

bool tn_html_holds(const char *s, size_t n, const char *needle)
{
    size_t k = strlen(needle);
    if (n > TN_HTML_MAX_ATTR_SCAN)
        n = TN_HTML_MAX_ATTR_SCAN;
    for (size_t i = 0; i + k <= n; i++) {
        if ((s[i] | 0x20) != (needle[0] | 0x20))
            continue;
        size_t j = 0;
        while (j < k && (s[i + j] >= 'A' && s[i + j] <= 'Z' ? s[i + j] + 32 : s[i + j]) == needle[j])
            j++;
        if (j == k)
            return true;
    }
    return false;
}

void tn_html_count(const char *s, size_t n, tn_html_census *c)
{
    *c = (tn_html_census){0};
    uint64_t before = 0;
    for (size_t i = 0; i < n;) {
        size_t end = n - i > 255 ? i + 255 : n;
        uint64_t sum = 0, starts = 0;
        for (; i < end; i++) {
            uint64_t p = packed[(unsigned char)s[i]];
            sum += p & 0x00FFFFFFFFFFFFFFull;
            starts += (p & ~before) >> 56;
            before = p;
        }
        c->upper += (int32_t)(sum & 255);
        c->digits += (int32_t)(sum >> 8 & 255);
        c->punctuation += (int32_t)(sum >> 16 & 255);
        c->commas += (int32_t)(sum >> 24 & 255);
        c->symbols += (int32_t)(sum >> 32 & 255);
        c->non_ascii += (int32_t)(sum >> 40 & 255);
        c->sentences += (int32_t)(sum >> 48 & 255);
        c->words += (int32_t)starts;
    }
}
