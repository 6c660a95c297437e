/*
 * codec/falcon_error.c - see codec/falcon_error.h.
 */
#include "codec/falcon_error.h"

#include <stdio.h>
#include <string.h>

#include "codec/number.h"
#include "codec/python_text.h"

/* ---- Accept ---- */

/* What str.strip() takes away, as far as header fields can hold it. */
static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
}

static tn_str strip(tn_str s)
{
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = tn_str_sub(s, 1, s.len);
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* cgi.parse_header's pieces: cuts what stands before the next ';' that is not inside quotes off the front. */
static tn_str cut_piece(tn_str *rest)
{
    size_t quotes = 0, end = 0;
    for (; end < rest->len; end++) {
        const char c = rest->ptr[end];
        if (c == ';' && quotes % 2 == 0)
            break;
        quotes += c == '"' && (end == 0 || rest->ptr[end - 1] != '\\');
    }
    const tn_str piece = strip(tn_str_sub(*rest, 0, end));
    *rest = tn_str_sub(*rest, end + 1, rest->len);
    return piece;
}

/* float() of a quality, 1 for what is none or not within [0, 1]. */
static double quality(tn_str text)
{
    char number[64] = "0"; /* before a point that begins it */
    double value = 0;
    size_t n = 0;
    text = strip(text);
    if (text.len > 0 && text.ptr[0] == '+')
        text = tn_str_sub(text, 1, text.len);
    if (text.len == 0 || text.len > sizeof number - 3)
        return 1;
    if (text.ptr[0] == '.')
        n = 1;
    while (text.len > 1 && text.ptr[0] == '0' && text.ptr[1] >= '0' && text.ptr[1] <= '9')
        text = tn_str_sub(text, 1, text.len);
    memcpy(number + n, text.ptr, text.len);
    n += text.len;
    if (number[n - 1] == '.' && n > 1 && text.len > 1)
        number[n++] = '0';
    const size_t read = tn_number_read_double(number, number + n, &value);
    return read == n && value >= 0 && value <= 1 ? value : 1;
}

typedef struct media_range {
    tn_str type, subtype;
    double quality;
} media_range;

/* false: not of the form type/subtype. */
static bool read_range(tn_str text, media_range *range)
{
    tn_str full = cut_piece(&text);
    if (tn_str_eq(full, TN_STR("*")))
        full = TN_STR("*/*");
    const ptrdiff_t slash = tn_str_chr(full, '/');
    if (slash < 0 || tn_str_chr(tn_str_sub(full, (size_t)slash + 1, full.len), '/') >= 0)
        return false;
    *range = (media_range){.type = strip(tn_str_sub(full, 0, (size_t)slash)),
                           .subtype = strip(tn_str_sub(full, (size_t)slash + 1, full.len)),
                           .quality = 1};
    while (text.len > 0) {
        const tn_str piece = cut_piece(&text);
        const ptrdiff_t is = tn_str_chr(piece, '=');
        tn_str value = is >= 0 ? strip(tn_str_sub(piece, (size_t)is + 1, piece.len)) : TN_STR_NONE;
        if (is < 0 || !tn_str_ieq(strip(tn_str_sub(piece, 0, (size_t)is)), TN_STR("q")))
            continue;
        if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
            value = tn_str_sub(value, 1, value.len - 1);
        range->quality = quality(value);
    }
    return true;
}

/* How well a range fits: 100 for the type, 10 for the subtype; -1: not at all. */
static int fitness(const media_range *range, tn_str type, tn_str subtype)
{
    const bool same = tn_str_eq(range->type, type), same_sub = tn_str_eq(range->subtype, subtype);
    if ((!same && !tn_str_eq(range->type, TN_STR("*"))) ||
        (!same_sub && !tn_str_eq(range->subtype, TN_STR("*"))))
        return -1;
    return (same ? 100 : 0) + (same_sub ? 10 : 0);
}

/* Those that falcon can write; of equals the last one. */
static const struct {
    tn_falcon_form form;
    tn_str type, subtype;
} offered[] = {{TN_FALCON_XML, TN_STR_INIT("application"), TN_STR_INIT("xml")},
               {TN_FALCON_TEXT_XML, TN_STR_INIT("text"), TN_STR_INIT("xml")},
               {TN_FALCON_JSON, TN_STR_INIT("application"), TN_STR_INIT("json")}};
#define N_OFFERED (sizeof offered / sizeof offered[0])

/* mimeparse.best_match(): TN_FALCON_NONE where nothing matches, or the field cannot be read. */
static tn_falcon_form best_match(tn_str accept)
{
    int fits[N_OFFERED] = {-1, -1, -1};
    double likes[N_OFFERED] = {0};
    size_t best = 0;
    while (accept.len > 0) {
        const ptrdiff_t comma = tn_str_chr(accept, ',');
        const tn_str text = comma >= 0 ? tn_str_sub(accept, 0, (size_t)comma) : accept;
        media_range range;
        accept = comma >= 0 ? tn_str_sub(accept, (size_t)comma + 1, accept.len) : TN_STR_NONE;
        if (strip(text).len == 0)
            continue;
        if (!read_range(text, &range))
            return TN_FALCON_NONE;
        for (size_t i = 0; i < N_OFFERED; i++) {
            const int fit = fitness(&range, offered[i].type, offered[i].subtype);
            if (fit > fits[i]) {
                fits[i] = fit;
                likes[i] = range.quality;
            }
        }
    }
    for (size_t i = 1; i < N_OFFERED; i++)
        if (likes[i] > likes[best] || (likes[i] >= likes[best] && fits[i] >= fits[best]))
            best = i;
    return likes[best] > 0 ? offered[best].form : TN_FALCON_NONE;
}

static bool contains_nocase(tn_str s, tn_str part)
{
    for (size_t i = 0; i + part.len <= s.len; i++)
        if (tn_str_ieq(tn_str_sub(s, i, i + part.len), part))
            return true;
    return false;
}

tn_falcon_form tn_falcon_form_of(tn_str accept)
{
    if (accept.len == 0)
        return TN_FALCON_JSON;
    const tn_falcon_form form = best_match(accept);
    if (form != TN_FALCON_NONE)
        return form;
    if (contains_nocase(accept, TN_STR("+json")))
        return TN_FALCON_JSON;
    return contains_nocase(accept, TN_STR("+xml")) ? TN_FALCON_XML : TN_FALCON_NONE;
}

tn_str tn_falcon_type(tn_falcon_form form)
{
    return form == TN_FALCON_XML        ? TN_STR("application/xml")
           : form == TN_FALCON_TEXT_XML ? TN_STR("text/xml")
                                        : TN_STR("application/json");
}

/* ---- the body ---- */

tn_str tn_falcon_status(int status, char text[32])
{
    static const struct {
        int status;
        const char *name;
    } known[] = {{400, "400 Bad Request"},
                 {401, "401 Unauthorized"},
                 {403, "403 Forbidden"},
                 {404, "404 Not Found"},
                 {405, "405 Method Not Allowed"},
                 {406, "406 Not Acceptable"},
                 {408, "408 Request Timeout"},
                 {409, "409 Conflict"},
                 {411, "411 Length Required"},
                 {412, "412 Precondition Failed"},
                 {413, "413 Payload Too Large"},
                 {415, "415 Unsupported Media Type"},
                 {422, "422 Unprocessable Entity"},
                 {424, "424 Failed Dependency"},
                 {429, "429 Too Many Requests"},
                 {500, "500 Internal Server Error"},
                 {501, "501 Not Implemented"},
                 {502, "502 Bad Gateway"},
                 {503, "503 Service Unavailable"},
                 {504, "504 Gateway Timeout"},
                 {507, "507 Insufficient Storage"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].status == status)
            return tn_str_from(known[i].name);
    const int n = snprintf(text, 32, "%d Unknown", status);
    return (tn_str){text, (size_t)n};
}

static void put_xml(tn_buf *out, const char *name, tn_str text)
{
    if (text.len == 0) {
        tn_buf_printf(out, "<%s />", name);
        return;
    }
    tn_buf_printf(out, "<%s>", name);
    for (size_t i = 0; i < text.len; i++) {
        const char c = text.ptr[i];
        if (c == '&' || c == '<' || c == '>')
            tn_buf_z(out, c == '&' ? "&amp;" : c == '<' ? "&lt;" : "&gt;");
        else
            tn_buf_char(out, c);
    }
    tn_buf_printf(out, "</%s>", name);
}

void tn_falcon_body(tn_buf *out, tn_falcon_form form, tn_str title, tn_str description)
{
    if (form == TN_FALCON_JSON) {
        tn_buf_z(out, "{\"title\": ");
        tn_python_json_utf8(out, title);
        if (description.ptr != NULL) {
            tn_buf_z(out, ", \"description\": ");
            tn_python_json_utf8(out, description);
        }
        tn_buf_char(out, '}');
    } else if (form != TN_FALCON_NONE) {
        tn_buf_z(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><error>");
        put_xml(out, "title", title);
        if (description.ptr != NULL)
            put_xml(out, "description", description);
        tn_buf_z(out, "</error>");
    }
}
