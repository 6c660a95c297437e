/*
 * html_names.c - see html_names.h. Lists of words were chosen on the pages of the training sets; what is not
 * on them stays.
 */
#include "postprocess/html_names.h"

#include <string.h>

#include "postprocess/html_dates.h"

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
    static const char *const words[] = {"by ",
                                        "by: ",
                                        "von ",
                                        "von: ",
                                        "par ",
                                        "por ",
                                        "author: ",
                                        "autor: ",
                                        "author ",
                                        "autor ",
                                        "autorin: ",
                                        "text: ",
                                        "beitrag von ",
                                        "thread starter ",
                                        "escribe ",
                                        "escrito por ",
                                        "ver\303\266ffentlicht von",
                                        "geschrieben von ",
                                        "auteur "};
    size_t end = *n < 160 ? *n : 160;
    if (*n > 4 && starts(*s, *n, "by") && (*s)[2] >= 'A' && (*s)[2] <= 'Z') { /* "ByJane Doe" */
        *s += 2;
        *n -= 2;
        return true;
    }
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
    static const char *const ends[] = {" | ",
                                       " \xC2\xB7 ",
                                       " \xE2\x80\xA2 ",
                                       " - ",
                                       " \xE2\x80\x93 ",
                                       " \xE2\x80\x94 ",
                                       " / ",
                                       " // ",
                                       " on ",
                                       " am ",
                                       " le ",
                                       " (",
                                       " in ",
                                       " um ",
                                       " updated",
                                       " Updated",
                                       " published",
                                       " Published",
                                       " posted",
                                       ": ",
                                       " vor ",
                                       " ago",
                                       "\n",
                                       " \xE2\x97\x8F ",
                                       " \xC2\xBB ",
                                       " \xE2\x80\xBA ",
                                       " & Reviewed",
                                       " Reviewed by",
                                       " Fact check",
                                       " Follow",
                                       " Senior ",
                                       " Staff ",
                                       " Contributor",
                                       " Last updated",
                                       " Date",
                                       " Posted",
                                       " geschrieben",
                                       " aktualisiert"};
    for (size_t i = 1; i < n; i++) {
        if (s[i - 1] == ' ' && digit(s[i]))
            return i - 1;
        for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
            if (s[i] == ends[k][0] && n - i >= strlen(ends[k]) &&
                memcmp(s + i, ends[k], strlen(ends[k])) == 0)
                return i;
    }
    return n;
}

/*
 * Where a role or another word is glued to a name of two words or more: "Jane DoeFounder", "Jane
 * Doe3.11.2023".
 */
static size_t glued_end(const char *s, size_t n)
{
    int words = 1;
    size_t letters = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        const bool small = s[i] >= 'a' && s[i] <= 'z';
        letters = s[i] == ' ' ? 0 : letters + 1;
        words += s[i] == ' ';
        if (words >= 2 && small && letters >= 4 && ((s[i + 1] >= 'A' && s[i + 1] <= 'Z') || digit(s[i + 1])))
            return i + 1;
    }
    return n;
}

/* Cuts what a person is behind a name of two words or more: "Jane Doe Senior Editor". */
static size_t without_role(const char *s, size_t n)
{
    static const char *const roles[] = {
        " senior ",   " editor",     " former ",    " founder",       " writer",   " reporter",
        " contribut", " author",     " journalist", " correspondent", " director", " ceo",
        " staff ",    " redakteur",  " freelance",  " review editor", " head of ", " co-founder",
        " managing ", " associate ", " assistant ", " news editor",   " product "};
    int words = 1;
    for (size_t i = 1; i < n; i++) {
        if (s[i] != ' ' || s[i - 1] == ' ')
            continue;
        for (size_t k = 0; words >= 2 && k < sizeof roles / sizeof *roles; k++)
            if (starts(s + i, n - i, roles[k]))
                return i;
        words++;
    }
    return n;
}

/* Whether no letter stands at i: so that "more" is not found in "Moreno". */
static bool ends_word(const char *s, size_t n, size_t i)
{
    return i >= n || s[i - 1] == ' ' || !((s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'z');
}

/* Texts that stand in bylines and are no names begin with these. */
static const char *const no_names[] = {"share",        "tags",
                                       "by",           "von",
                                       "author",       "autor",
                                       "written by",   "posted",
                                       "last upd",     "update",
                                       "publish",      "read",
                                       "comment",      "edit",
                                       "follow",       "artikel",
                                       "teilen",       "kommentar",
                                       "credit",       "photo",
                                       "foto",         "quelle",
                                       "source",       "bild",
                                       "post view",    "see all",
                                       "zeige",        "table of",
                                       "copy",         "link",
                                       "related",      "weiter",
                                       "datum",        "opinion",
                                       "more",         "this ",
                                       "filed",        "posted",
                                       "category",     "kategorie",
                                       "topics",       "related",
                                       "likes",        "jan",
                                       "feb",          "mar",
                                       "apr",          "may",
                                       "jun",          "jul",
                                       "aug",          "sep",
                                       "sept",         "oct",
                                       "nov",          "dec",
                                       "mehr",         "the author",
                                       "pdf",          "gef\xC3\xA4llt",
                                       "partager",     "ver\303\266ffentlicht",
                                       "aktualisiert", "january",
                                       "february",     "march",
                                       "april",        "june",
                                       "july",         "august",
                                       "september",    "october",
                                       "november",     "december",
                                       "januar",       "februar",
                                       "juli",         "oktober",
                                       "dezember",     "hace ",
                                       "publicado",    "liebe",
                                       "hi!",          "hello",
                                       "home",         "suche",
                                       "login",        "log out",
                                       "auteur",       "twitter",
                                       "facebook",     "email",
                                       "reviewed"};

static bool no_name(const char *s, size_t n)
{
    size_t letters = 0, spaces = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        letters += (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? 1 : c >= 0xC3 && c != 0xE2; /* E2: mostly signs */
        spaces += c == ' ';
        if (c == '?' || c == '!')
            return true;
    }
    if (n < 2 || n > 100 || letters < 2 || spaces > 10 || digit(s[0]))
        return true;
    for (size_t k = 0; k < sizeof no_names / sizeof *no_names; k++)
        if (starts(s, n, no_names[k]) && (strlen(no_names[k]) >= 6 || ends_word(s, n, strlen(no_names[k]))))
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

static bool separator(char c)
{
    return c == ' ' || c == ',' || c == ':' || c == '|' || c == '-' || c == '/';
}

tn_str tn_html_name_in(tn_str text, bool *by)
{
    const char *s = text.ptr;
    size_t n = text.len;
    while (n > 0 && separator(*s)) {
        s++;
        n--;
    }
    *by = n > 0 && skip_by(&s, &n);
    while (n > 0 && separator(*s)) {
        s++;
        n--;
    }
    if (n == 0)
        return TN_STR_NONE;
    n = name_end(s, n);
    n = without_role(s, glued_end(s, n));
    while (n > 0 && separator(s[n - 1]))
        n--;
    n = without_month(s, n);
    return no_name(s, n) ? TN_STR_NONE : (tn_str){s, n};
}

bool tn_html_name_of_group(tn_str name)
{
    static const char *const words[] = {"team",
                                        "staff",
                                        "editor",
                                        "editors",
                                        "editorial",
                                        "redaktion",
                                        "admin",
                                        "administrator",
                                        "inc",
                                        "llc",
                                        "ltd",
                                        "gmbh",
                                        "ag",
                                        "news",
                                        "press",
                                        "agency",
                                        "magazine",
                                        "group",
                                        "company",
                                        "media",
                                        "support",
                                        "office",
                                        "wire",
                                        "guest",
                                        "contributor",
                                        "user",
                                        "webmaster",
                                        "blog",
                                        "online",
                                        "dpa",
                                        "afp",
                                        "reuters",
                                        "services",
                                        "university",
                                        "institute",
                                        "department",
                                        "association",
                                        "foundation",
                                        "the",
                                        "co",
                                        "redaktionsteam",
                                        "author",
                                        "autor",
                                        "com",
                                        "de",
                                        "net",
                                        "org",
                                        "store",
                                        "shop",
                                        "studio"};
    size_t i = 0;
    while (i < name.len) {
        size_t from = i;
        while (i < name.len && (name.ptr[i] | 0x20) >= 'a' && (name.ptr[i] | 0x20) <= 'z')
            i++;
        for (size_t k = 0; i > from && k < sizeof words / sizeof *words; k++)
            if (i - from == strlen(words[k]) && starts(name.ptr + from, i - from, words[k]))
                return true;
        i += i == from;
    }
    return false;
}

int tn_html_name_words(tn_str name, int *capitals)
{
    int words = 0;
    *capitals = 0;
    for (size_t i = 0; i < name.len; i++) {
        const unsigned char c = (unsigned char)name.ptr[i];
        if (c == ' ' || (i > 0 && name.ptr[i - 1] != ' '))
            continue;
        words++;
        *capitals += (c >= 'A' && c <= 'Z') || c >= 0x80;
    }
    return words;
}
