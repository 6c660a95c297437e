/*
 * html_dates.c - a small scanner for dates, in two steps: the text becomes numbers, month names and the
 * separators between them; then the first run of three that makes a date is taken. Bounded by 64 tokens; no
 * allocation. Any thread.
 */
#include "postprocess/html_dates.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { MAX_BYTES = 512, MAX_TOKENS = 64 };

typedef struct token {
    uint16_t number; /* value of digits, or the month of a name */
    uint8_t digits;  /* 0: a word */
    bool month;      /* a month's name */
    bool filler;     /* st, nd, de, of: may stand between */
    char before;     /* separator: '-', '/', '.', ' ' or 0 (none or other) */
} token;

static const struct {
    const char *name;
    uint8_t month;
} months[] = {
    {"january", 1},
    {"february", 2},
    {"march", 3},
    {"april", 4},
    {"may", 5},
    {"june", 6},
    {"july", 7},
    {"august", 8},
    {"september", 9},
    {"october", 10},
    {"november", 11},
    {"december", 12},
    {"jan", 1},
    {"feb", 2},
    {"mar", 3},
    {"apr", 4},
    {"jun", 6},
    {"jul", 7},
    {"aug", 8},
    {"sep", 9},
    {"sept", 9},
    {"oct", 10},
    {"nov", 11},
    {"dec", 12},
    {"januar", 1},
    {"j\xC3\xA4nner", 1},
    {"februar", 2},
    {"m\xC3\xA4rz", 3},
    {"mrz", 3},
    {"mai", 5},
    {"juni", 6},
    {"juli", 7},
    {"oktober", 10},
    {"okt", 10},
    {"dezember", 12},
    {"dez", 12},
    {"janvier", 1},
    {"janv", 1},
    {"f\xC3\xA9vrier", 2},
    {"f\xC3\xA9vr", 2},
    {"mars", 3},
    {"avril", 4},
    {"avr", 4},
    {"juin", 6},
    {"juillet", 7},
    {"juil", 7},
    {"ao\xC3\xBBt", 8},
    {"septembre", 9},
    {"octobre", 10},
    {"novembre", 11},
    {"d\xC3\xA9"
     "cembre",
     12},
    {"d\xC3\xA9"
     "c",
     12},
    {"enero", 1},
    {"ene", 1},
    {"febrero", 2},
    {"marzo", 3},
    {"abril", 4},
    {"abr", 4},
    {"mayo", 5},
    {"junio", 6},
    {"julio", 7},
    {"agosto", 8},
    {"ago", 8},
    {"septiembre", 9},
    {"octubre", 10},
    {"noviembre", 11},
    {"diciembre", 12},
    {"dic", 12},
};

static bool letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0xC0 || (c >= 0x80 && c < 0xC0);
}

static void classify(token *t, const char *s, size_t n)
{
    char low[16];
    if (n >= sizeof low)
        return;
    for (size_t i = 0; i < n; i++)
        low[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 : s[i]);
    low[n] = '\0';
    for (size_t i = 0; i < sizeof months / sizeof *months; i++)
        if (low[0] == months[i].name[0] && strcmp(low, months[i].name) == 0) {
            t->month = true;
            t->number = months[i].month;
            return;
        }
    static const char *const fillers[] = {"st", "nd", "rd", "th", "de", "del", "of", "er", "the"};
    for (size_t i = 0; i < sizeof fillers / sizeof *fillers; i++)
        if (low[0] == fillers[i][0] && strcmp(low, fillers[i]) == 0)
            t->filler = true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/*
 * Reads what stands between two tokens and returns its end. *kind: '-', '/', '.', ',' or ' ', or 0 for
 * anything else or more than three bytes.
 */
static size_t between(const char *s, size_t n, size_t i, char *kind)
{
    size_t start = i;
    *kind = 0;
    for (; i < n && !letter((unsigned char)s[i]) && !is_digit(s[i]); i++)
        if (*kind == 0 || *kind == ' ')
            *kind = s[i] == '-' || s[i] == '/' || s[i] == '.' || s[i] == ' ' || s[i] == ',' ? s[i] : 0;
    if (i - start > 3)
        *kind = 0;
    return i;
}

static size_t read_number(const char *s, size_t n, size_t i, token *t)
{
    size_t start = i;
    unsigned v = 0;
    for (; i < n && is_digit(s[i]); i++)
        v = v < 6000 ? v * 10 + (unsigned)(s[i] - '0') : 65535;
    t->digits = (uint8_t)(i - start < 9 ? i - start : 9);
    t->number = (uint16_t)(v < 65535 ? v : 65535);
    return i;
}

/* Fillers are left out: "20th of July" gives 20, July. */
static int scan(const char *s, size_t n, token *out)
{
    int have = 0;
    size_t i = 0;
    char before = ' ';
    while (i < n && have < MAX_TOKENS) {
        token t = {.before = before};
        if (is_digit(s[i]))
            i = read_number(s, n, i, &t);
        else if (letter((unsigned char)s[i])) {
            size_t start = i;
            while (i < n && letter((unsigned char)s[i]))
                i++;
            classify(&t, s + start, i - start);
        } else {
            i = between(s, n, i, &before);
            continue;
        }
        if (!t.filler)
            out[have++] = t;
        before = ' ';
    }
    return have;
}

static bool put(char out[11], unsigned y, unsigned m, unsigned d)
{
    static const uint8_t days[13] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (y < 1900 || y > 2099 || m < 1 || m > 12 || d < 1 || d > days[m])
        return false;
    const char text[11] = {(char)('0' + y / 1000),
                           (char)('0' + y / 100 % 10),
                           (char)('0' + y / 10 % 10),
                           (char)('0' + y % 10),
                           '-',
                           (char)('0' + m / 10),
                           (char)('0' + m % 10),
                           '-',
                           (char)('0' + d / 10),
                           (char)('0' + d % 10),
                           '\0'};
    memcpy(out, text, sizeof text);
    return true;
}

/* Three numbers with the same kind of separator. */
static bool numeric(const token *a, int month_first, char out[11])
{
    char sep = a[1].before;
    if (sep != a[2].before || (sep != '-' && sep != '/' && sep != '.'))
        return false;
    if (a[0].digits == 4)
        return put(out, a[0].number, a[1].number, a[2].number);
    if (a[0].digits > 2 || a[1].digits > 2 || (a[2].digits != 4 && a[2].digits != 2))
        return false;
    unsigned year = a[2].number;
    if (a[2].digits == 2)
        year += year < 70 ? 2000 : 1900;
    bool first = month_first && sep != '.';
    if (a[0].number > 12)
        first = false;
    else if (a[1].number > 12)
        first = true;
    return first ? put(out, year, a[0].number, a[1].number) : put(out, year, a[1].number, a[0].number);
}

int tern_html_find_date(const char *text, size_t length, int month_first, char out[11])
{
    token t[MAX_TOKENS];
    out[0] = '\0';
    int n = scan(text, length < MAX_BYTES ? length : MAX_BYTES, t);
    for (int i = 0; i + 2 < n; i++) {
        const token *a = t + i;
        if (a[0].digits > 0 && a[1].digits > 0 && a[2].digits > 0) {
            if (numeric(a, month_first, out))
                return 1;
        } else if (a[0].digits > 0 && a[1].month && a[2].digits == 4) { /* 20 July 2025 */
            if (a[0].digits <= 2 && put(out, a[2].number, a[1].number, a[0].number))
                return 1;
        } else if (a[0].month && a[1].digits > 0 && a[2].digits == 4) { /* July 20, 2025 */
            if (a[1].digits <= 2 && put(out, a[2].number, a[0].number, a[1].number))
                return 1;
        } else if (a[0].digits == 4 && a[1].month && a[2].digits > 0 && a[2].digits <= 2) { /* 2025 July 20 */
            if (put(out, a[0].number, a[1].number, a[2].number))
                return 1;
        }
    }
    return 0;
}
