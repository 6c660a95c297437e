/*
 * html_charset.c - which charset a page is in, and the page in valid UTF-8.
 *
 * The order is browsers' (WHATWG HTML 13.2.3.2): byte order mark, the charset of the caller's Content-Type,
 * <meta> within the first 1,024 bytes, and without any: UTF-8 when the bytes are valid UTF-8, else
 * windows-1252. Broken sequences in UTF-8 become U+FFFD, one for each maximal part (Encoding Standard, and
 * Unicode 3.9). Valid UTF-8 is not copied. The three Latin charsets have tables here (iso-8859-1 and ascii
 * mean windows-1252, as the Encoding Standard says); others go through iconv, with output bounded. A wrong
 * charset in <meta> never fails, one from the caller does.
 */
#include "html_internal.h"

#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <string.h>

/* windows-1252, 0x80..0x9F (Encoding Standard, index-windows-1252). */
static const uint16_t windows_1252[32] = {
    0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008D, 0x017D, 0x008F, 0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178,
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool blank(char c)
{
    return c == ' ' || (c >= 9 && c <= 13);
}

/* Length of the valid UTF-8 sequence at p (1..4), or minus the length of the maximal broken part (1..3). */
static int utf8_step(const unsigned char *p, size_t n)
{
    unsigned c = p[0], lo = 0x80, hi = 0xBF;
    int need;
    if (c < 0x80)
        return 1;
    if (c >= 0xC2 && c <= 0xDF)
        need = 1;
    else if (c >= 0xE0 && c <= 0xEF) {
        need = 2;
        lo = c == 0xE0 ? 0xA0 : 0x80;
        hi = c == 0xED ? 0x9F : 0xBF;
    } else if (c >= 0xF0 && c <= 0xF4) {
        need = 3;
        lo = c == 0xF0 ? 0x90 : 0x80;
        hi = c == 0xF4 ? 0x8F : 0xBF;
    } else
        return -1;
    for (int i = 1; i <= need; i++) {
        if ((size_t)i >= n || p[i] < lo || p[i] > hi)
            return -i;
        lo = 0x80;
        hi = 0xBF;
    }
    return need + 1;
}

size_t tn_html_valid_prefix(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        while (i + 32 <= n) {
            uint64_t w[4];
            memcpy(w, s + i, 32);
            if ((w[0] | w[1] | w[2] | w[3]) & 0x8080808080808080ull)
                break;
            i += 32;
        }
        while (i + 8 <= n) {
            uint64_t w;
            memcpy(&w, s + i, 8);
            if (w & 0x8080808080808080ull)
                break;
            i += 8;
        }
        if (i >= n)
            break;
        int k = utf8_step((const unsigned char *)s + i, n - i);
        if (k < 0)
            return i;
        i += (size_t)k;
    }
    return i;
}

bool tn_html_is_utf8(const char *bytes, size_t length)
{
    return tn_html_valid_prefix(bytes, length) == length;
}

#define DECODED_LIMIT ((size_t)TN_HTML_MAX_BYTES * 3u + 64u)

static int repair_utf8(tern_html *x, const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t ok = tn_html_valid_prefix(s + i, n - i);
        if (!tn_html_append(&x->decoded, s + i, ok, DECODED_LIMIT))
            return TERN_HTML_MEMORY;
        i += ok;
        if (i >= n)
            break;
        i += (size_t)-utf8_step((const unsigned char *)s + i, n - i);
        if (!tn_html_append(&x->decoded, "\xEF\xBF\xBD", 3, DECODED_LIMIT))
            return TERN_HTML_MEMORY;
    }
    return TERN_HTML_OK;
}

static int decode_latin(tern_html *x, const char *s, size_t n, bool is_8859_15)
{
    if (!tn_html_reserve(&x->decoded, n * 3))
        return TERN_HTML_MEMORY;
    char *o = x->decoded.data;
    for (size_t i = 0; i < n; i++) {
        unsigned c = (unsigned char)s[i];
        if (c >= 0x80 && c < 0xA0)
            c = windows_1252[c - 0x80];
        else if (is_8859_15) {
            static const uint16_t from[8] = {0xA4, 0xA6, 0xA8, 0xB4, 0xB8, 0xBC, 0xBD, 0xBE};
            static const uint16_t to[8] = {0x20AC, 0x0160, 0x0161, 0x017D, 0x017E, 0x0152, 0x0153, 0x0178};
            for (int k = 0; k < 8; k++)
                if (c == from[k]) {
                    c = to[k];
                    break;
                }
        }
        if (c < 0x80)
            *o++ = (char)c;
        else if (c < 0x800) {
            *o++ = (char)(0xC0 | c >> 6);
            *o++ = (char)(0x80 | (c & 63));
        } else {
            *o++ = (char)(0xE0 | c >> 12);
            *o++ = (char)(0x80 | (c >> 6 & 63));
            *o++ = (char)(0x80 | (c & 63));
        }
    }
    x->decoded.length = (size_t)(o - x->decoded.data);
    return TERN_HTML_OK;
}

/* Other charsets. TERN_HTML_CHARSET when iconv knows no such charset. */
static int decode_iconv(tern_html *x, const char *name, const char *s, size_t n)
{
    iconv_t cd = iconv_open("UTF-8", name);
    if (cd == (iconv_t)-1)
        return TERN_HTML_CHARSET;
    int rc = TERN_HTML_MEMORY;
    size_t room = n * 3 + 64;
    if (room > DECODED_LIMIT)
        room = DECODED_LIMIT;
    if (!tn_html_reserve(&x->decoded, room))
        goto out;
    char *in = (char *)(uintptr_t)s, *o = x->decoded.data;
    size_t left = n;
    while (left > 0) {
        size_t r = iconv(cd, &in, &left, &o, &room);
        if (r != (size_t)-1)
            continue;
        if (errno == E2BIG) { /* bounded: what does not fit is cut */
            x->truncated = true;
            break;
        }
        if (room < 3)
            break;
        memcpy(o, "\xEF\xBF\xBD", 3);
        o += 3;
        room -= 3;
        if (errno == EINVAL) /* the page ends within a character */
            break;
        in++;
        left--;
    }
    x->decoded.length = (size_t)(o - x->decoded.data);
    rc = TERN_HTML_OK;
    /* iconv's UTF-8 is trusted by nobody here: surrogates and the like are cut at the first. */
    x->decoded.length = tn_html_valid_prefix(x->decoded.data, x->decoded.length);
out:
    iconv_close(cd);
    return rc;
}

/*
 * Value after "charset" and '=' in [s, +n), as in WHATWG HTML 2.4.4 "extracting a character encoding from a
 * meta".
 */
static bool find_charset(const char *s, size_t n, char *out, size_t room)
{
    for (size_t i = 0; i + 7 <= n; i++) {
        static const char word[7] = {'c', 'h', 'a', 'r', 's', 'e', 't'};
        size_t j = 0;
        while (j < 7 && lower(s[i + j]) == word[j])
            j++;
        if (j < 7)
            continue;
        j = i + 7;
        while (j < n && blank(s[j]))
            j++;
        if (j >= n || s[j] != '=')
            continue;
        j++;
        while (j < n && (blank(s[j]) || s[j] == '"' || s[j] == '\''))
            j++;
        size_t k = 0;
        while (j < n && k + 1 < room && !blank(s[j]) && s[j] != '"' && s[j] != '\'' && s[j] != ';' &&
               s[j] != '>' && s[j] != '/' && s[j] > 32 && s[j] < 127)
            out[k++] = lower(s[j++]);
        out[k] = '\0';
        return k > 0;
    }
    return false;
}

/* The prescan: charset of the first <meta> that has one; comments are skipped. */
static bool prescan(const char *s, size_t n, char *out, size_t room)
{
    if (n > TN_HTML_PRESCAN_BYTES)
        n = TN_HTML_PRESCAN_BYTES;
    for (size_t i = 0; i + 6 < n; i++) {
        if (s[i] != '<')
            continue;
        if (i + 4 <= n && memcmp(s + i, "<!--", 4) == 0) {
            size_t j = i + 2;
            while (j + 3 <= n && memcmp(s + j, "-->", 3) != 0)
                j++;
            i = j;
            continue;
        }
        if (lower(s[i + 1]) != 'm' || lower(s[i + 2]) != 'e' || lower(s[i + 3]) != 't' ||
            lower(s[i + 4]) != 'a' || !(blank(s[i + 5]) || s[i + 5] == '/'))
            continue;
        size_t j = i + 5;
        while (j < n && s[j] != '>')
            j++;
        if (find_charset(s + i, j - i, out, room))
            return true;
    }
    return false;
}

static bool is_one_of(const char *name, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

static const char *const utf8_names[] = {"utf-8", "utf8", "unicode-1-1-utf-8", "x-unicode20utf8", NULL};

static int decode_as(tern_html *x, const char *s, size_t n, const char **utf8, size_t *utf8_length)
{
    static const char *const latin1[] = {"windows-1252", "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1",
                                         "latin-1",      "l1",         "ascii",     "us-ascii",   "cp1252",
                                         "x-cp1252",     "ansi",       NULL};
    static const char *const latin9[] = {"iso-8859-15", "iso8859-15", "iso_8859-15", "latin9",
                                         "latin-9",     "l9",         NULL};
    int rc;
    if (is_one_of(x->charset, utf8_names)) {
        memcpy(x->charset, "utf-8", 6);
        if (tn_html_is_utf8(s, n)) {
            *utf8 = s;
            *utf8_length = n;
            return TERN_HTML_OK;
        }
        rc = repair_utf8(x, s, n);
    } else if (is_one_of(x->charset, latin1)) {
        memcpy(x->charset, "windows-1252", 13);
        rc = decode_latin(x, s, n, false);
    } else if (is_one_of(x->charset, latin9))
        rc = decode_latin(x, s, n, true);
    else
        rc = decode_iconv(x, x->charset, s, n);
    *utf8 = x->decoded.data;
    *utf8_length = x->decoded.length;
    return rc;
}

bool tn_html_promises_utf8(tern_html *x, const char *bytes, size_t length, const char *content_type,
                           size_t content_type_length)
{
    const unsigned char *b = (const unsigned char *)bytes;
    const bool named = content_type != NULL &&
                       find_charset(content_type, content_type_length, x->charset, sizeof x->charset);
    /* Marks, and names that are not UTF-8's, are for tn_html_decode(). */
    if (length < 3 || b[0] >= 0xEF)
        return false;
    if ((named || prescan(bytes, length, x->charset, sizeof x->charset)) &&
        !is_one_of(x->charset, utf8_names))
        return false;
    memcpy(x->charset, "utf-8", 6);
    return true;
}

int tn_html_decode(tern_html *x, const char *bytes, size_t length, const char *content_type,
                   size_t content_type_length, const char **utf8, size_t *utf8_length)
{
    const unsigned char *b = (const unsigned char *)bytes;
    x->decoded.length = 0;
    if (length >= 3 && b[0] == 0xEF && b[1] == 0xBB && b[2] == 0xBF) {
        memcpy(x->charset, "utf-8", 6);
        return decode_as(x, bytes + 3, length - 3, utf8, utf8_length);
    }
    if (length >= 2 && ((b[0] == 0xFE && b[1] == 0xFF) || (b[0] == 0xFF && b[1] == 0xFE))) {
        memcpy(x->charset, b[0] == 0xFE ? "utf-16be" : "utf-16le", 9);
        return decode_as(x, bytes + 2, length - 2, utf8, utf8_length);
    }
    if (content_type != NULL &&
        find_charset(content_type, content_type_length, x->charset, sizeof x->charset)) {
        int rc = decode_as(x, bytes, length, utf8, utf8_length);
        if (rc == TERN_HTML_CHARSET)
            snprintf(x->message, sizeof x->message, "The charset \"%s\" of the Content-Type is not known.",
                     x->charset);
        return rc;
    }
    if (prescan(bytes, length, x->charset, sizeof x->charset)) {
        /* A page that its own prescan could read is not in UTF-16, whatever it says (WHATWG). */
        if (strncmp(x->charset, "utf-16", 6) == 0)
            memcpy(x->charset, "utf-8", 6);
        if (decode_as(x, bytes, length, utf8, utf8_length) == TERN_HTML_OK)
            return TERN_HTML_OK;
        x->decoded.length = 0;
    }
    snprintf(x->charset, sizeof x->charset, "%s", tn_html_is_utf8(bytes, length) ? "utf-8" : "windows-1252");
    return decode_as(x, bytes, length, utf8, utf8_length);
}
