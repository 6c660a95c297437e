/*
 * api/accept.c - see api/accept.h. Elements are cut at commas and semicolons outside of quoted strings; what
 * does not follow the grammar counts as an element that nobody knows.
 */
#include "api/accept.h"

#include <limits.h>

#define FULL 1000

/* The text before the next `mark` outside of quotes, trimmed; *rest is what is behind it. */
static tn_str cut(tn_str *rest, char mark)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->len && (quoted || rest->ptr[i] != mark); i++) {
        if (rest->ptr[i] == '"')
            quoted = !quoted;
        else if (quoted && rest->ptr[i] == '\\' && i + 1 < rest->len)
            i++;
    }
    tn_str part = tn_str_trim(tn_str_sub(*rest, 0, i));
    *rest = tn_str_sub(*rest, i < rest->len ? i + 1 : i, rest->len);
    return part;
}

/* ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] ) in thousandths; 0 for anything else. */
static int quality(tn_str s)
{
    if (s.len == 0 || s.len > 5 || (s.ptr[0] != '0' && s.ptr[0] != '1') || (s.len > 1 && s.ptr[1] != '.'))
        return 0;
    int q = (s.ptr[0] - '0') * FULL, unit = FULL / 10;
    for (size_t i = 2; i < s.len; i++, unit /= 10) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return 0;
        q += (s.ptr[i] - '0') * unit;
    }
    return q <= FULL ? q : 0;
}

/* One element: its name, its weight, and the value of one parameter (absent when it is not there). */
static tn_str element(tn_str text, const char *wanted, tn_str *value, int *q)
{
    tn_str name = cut(&text, ';');
    *q = FULL;
    *value = TN_STR_NONE;
    while (text.len > 0) {
        tn_str parameter = cut(&text, ';');
        tn_str key = cut(&parameter, '=');
        parameter = tn_str_trim(parameter);
        if (parameter.len >= 2 && parameter.ptr[0] == '"' && parameter.ptr[parameter.len - 1] == '"')
            parameter = tn_str_sub(parameter, 1, parameter.len - 1);
        if (tn_str_ieq(key, TN_STR("q")))
            *q = quality(parameter);
        else if (tn_str_ieq(key, tn_str_from(wanted)))
            *value = parameter;
    }
    return name;
}

/* ---- media ---- */

static const struct {
    tn_str type;
    tn_media media;
} media_types[] = {
    {TN_STR_INIT("application/json"), TN_MEDIA_JSON},
    {TN_STR_INIT("application/x-protobuf"), TN_MEDIA_PROTOBUF},
    {TN_STR_INIT("application/protobuf"), TN_MEDIA_PROTOBUF},
    {TN_STR_INIT("application/vnd.google.protobuf"), TN_MEDIA_PROTOBUF},
    {TN_STR_INIT("application/x-npy"), TN_MEDIA_NPY},
    {TN_STR_INIT("application/npy"), TN_MEDIA_NPY},
};

static bool known_media(tn_str type, tn_media *media)
{
    for (size_t i = 0; i < sizeof media_types / sizeof media_types[0]; i++) {
        if (tn_str_ieq(type, media_types[i].type)) {
            *media = media_types[i].media;
            return true;
        }
    }
    return false;
}

void tn_accept_init(tn_accept *a)
{
    *a = (tn_accept){.any = -1};
    for (int m = 0; m < TN_MEDIAS; m++)
        a->named[m] = -1;
}

void tn_accept_add(tn_accept *a, tn_str field)
{
    while (field.len > 0) {
        tn_str format;
        int q;
        tn_str type = element(cut(&field, ','), "format", &format, &q);
        tn_media media;
        if (a->n < INT_MAX)
            a->n++;
        if (tn_str_eq(type, TN_STR("*/*"))) {
            a->any = a->any < 0 ? q : a->any;
        } else if (tn_str_ieq(type, TN_STR("application/*"))) {
            a->any = q;
        } else if (known_media(type, &media)) {
            if (media == TN_MEDIA_JSON && tn_str_ieq(format, TN_STR("compact")))
                media = TN_MEDIA_COMPACT;
            if (a->named[media] < q) {
                a->named[media] = q;
                a->place[media] = a->n;
            }
        }
    }
}

tn_media tn_accept_choose(const tn_accept *a, tn_media usual)
{
    tn_media best = usual;
    int best_q = 0, best_place = INT_MAX;
    for (int m = 0; m < TN_MEDIAS; m++) {
        bool named = a->named[m] >= 0;
        int q = named ? a->named[m] : m == (int)usual ? a->any : -1;
        int place = named ? a->place[m] : INT_MAX;
        if (q > best_q || (q > 0 && q == best_q && place < best_place)) {
            best = (tn_media)m;
            best_q = q;
            best_place = place;
        }
    }
    return best;
}

tn_media tn_media_of(tn_str content_type)
{
    tn_str unused;
    int q;
    tn_media media;
    return known_media(element(content_type, "format", &unused, &q), &media) ? media : TN_MEDIA_JSON;
}

tn_str tn_media_type(tn_media media)
{
    static const tn_str types[TN_MEDIAS] = {TN_STR_INIT("application/json"), TN_STR_INIT("application/json"),
                                            TN_STR_INIT("application/x-protobuf"),
                                            TN_STR_INIT("application/x-npy")};
    return types[media];
}

/* ---- codings ---- */

static const tn_str coding_names[TN_CONTENT_CODINGS] = {TN_STR_INIT("identity"), TN_STR_INIT("gzip"),
                                                        TN_STR_INIT("deflate"), TN_STR_INIT("zstd")};

static tn_content_coding known_coding(tn_str name)
{
    for (int c = 0; c < TN_CONTENT_CODINGS; c++)
        if (tn_str_ieq(name, coding_names[c]))
            return (tn_content_coding)c;
    return tn_str_ieq(name, TN_STR("x-gzip")) ? TN_CONTENT_GZIP : TN_CONTENT_UNKNOWN;
}

void tn_accept_coding_init(tn_accept_coding *a)
{
    a->any = -1;
    for (int c = 0; c < TN_CONTENT_CODINGS; c++)
        a->named[c] = -1;
}

void tn_accept_coding_add(tn_accept_coding *a, tn_str field)
{
    while (field.len > 0) {
        tn_str unused;
        int q;
        tn_str name = element(cut(&field, ','), "", &unused, &q);
        tn_content_coding coding = known_coding(name);
        if (tn_str_eq(name, TN_STR("*")))
            a->any = q;
        else if (coding != TN_CONTENT_UNKNOWN)
            a->named[coding] = q;
    }
}

tn_content_coding tn_accept_coding_choose(const tn_accept_coding *a, bool *must)
{
    static const tn_content_coding ours[] = {TN_CONTENT_ZSTD, TN_CONTENT_GZIP};
    const int plain = a->named[TN_CONTENT_IDENTITY];
    tn_content_coding best = TN_CONTENT_IDENTITY;
    int best_q = 0;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        int q = a->named[ours[i]] >= 0 ? a->named[ours[i]] : a->any;
        if (q > best_q) {
            best = ours[i];
            best_q = q;
        }
    }
    *must = best != TN_CONTENT_IDENTITY && (plain == 0 || (plain < 0 && a->any == 0));
    return plain > best_q ? TN_CONTENT_IDENTITY : best;
}

tn_content_coding tn_content_coding_of(tn_str field)
{
    tn_content_coding all = TN_CONTENT_IDENTITY;
    while (field.len > 0) {
        tn_str name = cut(&field, ',');
        tn_content_coding one = name.len == 0 ? TN_CONTENT_IDENTITY : known_coding(name);
        if (one == TN_CONTENT_IDENTITY)
            continue;
        all = all == TN_CONTENT_IDENTITY ? one : TN_CONTENT_UNKNOWN;
    }
    return all;
}

tn_str tn_content_coding_name(tn_content_coding coding)
{
    return coding < TN_CONTENT_CODINGS ? coding_names[coding] : TN_STR("unknown");
}
