/*
 * codec/json_decode.c - the fast way from a predict body into tensors; see codec/json_predict.h.
 *
 * One pass: numbers go from the text into the tensor's memory, whose dtype the signature gives and whose
 * shape the lists give. Anything that it does not like, from a wrong type to an escape in a key, makes it
 * give up (false), and json_explain.c reads the body again to say what is wrong, or to find that nothing is.
 * A body that is still arriving is read the same way: `end` moves on, and where it does not, that is one more
 * thing not to like. What stands right before `end` is never the end of anything, so nothing is cut.
 * So this file knows no error texts, and must only never accept what the other would refuse, or read it
 * differently.
 */
#include <math.h>

#include "codec/json_explain.h"
#include "codec/json_numbers.h"
#include "codec/json_tape.h"
#include "codec/number.h"

#define FIRST_VALUES 512         /* room for so many values before the rest is estimated */
#define MAX_DIGITS   20          /* of 2^64 - 1 */
#define AHEAD        512         /* of a body that arrives, so much is there before a value is read */
#define ARRIVE       (64u << 10) /* and so much more is waited for at once */

typedef struct decoder {
    const char *p;
    const char *end;                            /* of what is there */
    const char *last;                           /* of the body: behind `end` while it arrives */
    size_t (*arrived)(void *context, size_t n); /* of a body that arrives, else NULL */
    void *context;
    const tern_signature *signature;
    tn_tensor_build *builds;
    tn_tensor_room room;
    tn_arena *arena;
    tern_status *st;
    const tern_signature_set *signatures;
    const tn_json_limits *limits;
    tn_str body;
    bool row;
} decoder;

/* The lists around one value: sizes known after the first list of a level was closed. */
typedef struct shape {
    int64_t dims[TERN_MAX_RANK];
    int64_t seen[TERN_MAX_RANK]; /* elements so far in the open list of that level */
    int32_t rank;                /* -1: not known yet */
} shape;

static inline const char *behind_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}

/* More of a body that arrives. false: there is none. */
static __attribute__((noinline)) bool arrive(decoder *d)
{
    const size_t known = (size_t)(d->end - d->body.ptr), want = known + ARRIVE;
    if (d->end == d->last)
        return false;
    const size_t have = d->arrived(d->context, want < d->body.len ? want : d->body.len);
    if (have <= known)
        return false;
    d->end = d->body.ptr + have;
    return true;
}

/* Waits until a value can be read, or the body's end is there. */
static inline bool is_ahead(decoder *d)
{
    while (d->end != d->last && d->end - d->p < AHEAD)
        if (!arrive(d))
            return false;
    return true;
}

static void skip_blanks(decoder *d)
{
    do
        d->p = behind_blanks(d->p, d->end);
    while (d->p == d->end && arrive(d));
}

static bool accept(decoder *d, char c)
{
    skip_blanks(d);
    if (d->p == d->end || *d->p != c)
        return false;
    d->p++;
    return true;
}

/* A string without escapes and control characters: the rest is for the thorough reader. */
static bool plain_string(decoder *d, tn_str *s)
{
    if (!accept(d, '"'))
        return false;
    const char *from = d->p;
    do
        while (d->p < d->end && *d->p != '"' && *d->p != '\\' && (unsigned char)*d->p >= 0x20)
            d->p++;
    while (d->p == d->end && arrive(d));
    if (d->p == d->end || *d->p != '"')
        return false;
    *s = (tn_str){from, (size_t)(d->p++ - from)};
    return true;
}

/* ---- values ---- */

/*
 * Room for the next values: after the first ones, as many as the rest of the body will bring at the rate so
 * far.
 */
static bool make_room(decoder *d, tn_tensor_build *b, const tn_typed *t, const char *from, char **at)
{
    const size_t rest = (size_t)(d->last - d->p);
    size_t more = rest / 2 < FIRST_VALUES ? rest / 2 + 1 : FIRST_VALUES;
    if (b->n_values > 0) {
        size_t used = (size_t)(d->p - from);
        more = (size_t)((double)b->n_values * (double)rest / (double)(used > 0 ? used : 1) * 1.02) + 64;
        if (more > rest / 2 + 64)
            more = rest / 2 + 64;
    }
    return tn_build_values(b, t, more, at, d->st) == TERN_OK;
}

static bool is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

/*
 * Digits at p, of which at least eight bytes can be read: how many there are, 8 at most, and their value. No
 * branch on each digit: lengths of numbers are hard to foretell.
 */
static inline size_t digits_of_eight(const char *p, uint64_t *value)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    x ^= UINT64_C(0x3030303030303030);
    /* The lowest byte over 9; carries go to higher bytes only. */
    uint64_t other = ((x + UINT64_C(0x7676767676767676)) | x) & UINT64_C(0x8080808080808080);
    size_t n = other != 0 ? (size_t)__builtin_ctzll(other) / 8 : 8;
    if (n == 0)
        return 0;
    x <<= 64 - 8 * n; /* zeros before the first digit */
    x = (x * (10 << 8 | 1)) >> 8 & UINT64_C(0x00FF00FF00FF00FF);
    x = (x * (100 << 16 | 1)) >> 16 & UINT64_C(0x0000FFFF0000FFFF);
    *value = (x * (UINT64_C(10000) << 32 | 1)) >> 32;
    return n;
}

/* A sign and digits that make 64 bits at most, whatever follows; 0 bytes when it is something else. */
static inline size_t whole_part(const char *p, const char *end, uint64_t *magnitude, bool *negative)
{
    const char *from = p;
    uint64_t v = 0;
    *negative = false;
    if (__builtin_expect(p < end && *p == '-', 0)) { /* most lists are of numbers without a sign */
        *negative = true;
        p++;
    }
    const char *first = p;
    size_t n = 0;
    if (end - p >= 8 && is_digit(p[1])) {
        n = digits_of_eight(p, &v);
        p += n;
    }
    if (n == 0 || n == 8) {
        while (p < end && is_digit(*p) && p - first < MAX_DIGITS)
            v = v * 10 + (uint64_t)(*p++ - '0');
        n = (size_t)(p - first);
    }
    if (n == 0 || (n > 1 && *first == '0'))
        return 0;
    if (n == MAX_DIGITS && (*first != '1' || v < UINT64_C(10000000000000000000)))
        return 0; /* more than 64 bits */
    *magnitude = v;
    return (size_t)(p - from);
}

/* Whether a number goes on behind its whole part. */
static inline bool goes_on(const char *p, const char *end)
{
    return p < end && (*p == '.' || (*p | 0x20) == 'e');
}

/* ".0" and no more: so are whole numbers written where a list is of floats. */
static inline bool only_point_zero(const char *p, const char *end)
{
    return end - p > 2 && p[0] == '.' && p[1] == '0' && !is_digit(p[2]) && (p[2] | 0x20) != 'e';
}

/* These read one value at p into the tensor's memory and return its bytes, or 0. */

static inline size_t put_whole(const char *p, const char *end, tern_dtype dtype, char *at)
{
    uint64_t v = 0;
    bool negative = false;
    size_t n = whole_part(p, end, &v, &negative);
    if (goes_on(p + n, end))
        return 0;
    negative = negative && v > 0;
    bool narrow = dtype == TERN_INT32 || dtype == TERN_INT16 || dtype == TERN_INT8 || dtype == TERN_UINT8;
    if (n == 0 || (narrow && v > (uint64_t)INT32_MAX + negative) ||
        (dtype == TERN_INT64 && v > (uint64_t)INT64_MAX + negative) ||
        (dtype == TERN_UINT32 && (negative || v > UINT32_MAX)) ||
        (dtype == TERN_UINT16 && (negative || v > UINT16_MAX)) || (dtype == TERN_UINT64 && negative))
        return 0;
    v = negative ? 0 - v : v;
    if (dtype == TERN_INT32)
        memcpy(at, &v, sizeof(int32_t)); /* little-endian */
    else if (dtype == TERN_INT64)
        memcpy(at, &v, sizeof v);
    else
        tn_build_put(dtype, at, v);
    return n;
}

/* 0e309: a zero with an exponent that is perhaps too big. For the thorough reader. */
static bool odd_zero(const char *p, size_t n)
{
    const char *end = p + n;
    while (p < end && (*p | 0x20) != 'e')
        p++;
    return end - p > 3 && p[1] != '-';
}

static inline size_t put_float(const char *p, const char *end, char *at)
{
    uint64_t v = 0;
    bool negative = false;
    float value;
    size_t n = end - p > 2 && p[1] == '.' && p[2] != '0' ? 0 : whole_part(p, end, &v, &negative);
    bool exact = n > 0 && v < (UINT64_C(1) << 53); /* as a double: rounded once */
    if (exact && !goes_on(p + n, end)) {
        value = negative && v > 0 ? -(float)(double)v : (float)(double)v;
    } else if (exact && only_point_zero(p + n, end)) {
        value = negative ? -(float)(double)v : (float)(double)v;
        n += 2;
    } else {
        n = tn_number_read_float(p, end, &value);
        if (n == 0 || isinf(value) || (value == 0 && odd_zero(p, n)))
            return 0;
    }
    memcpy(at, &value, sizeof value);
    return n;
}

static inline size_t put_double(const char *p, const char *end, char *at)
{
    double value;
    size_t n = tn_number_read_double(p, end, &value);
    if (n == 0 || isinf(value) || (value == 0 && odd_zero(p, n)))
        return 0;
    if (value == 0 && n == 2 && p[0] == '-')
        value = 0; /* "-0" is a whole number */
    memcpy(at, &value, sizeof value);
    return n;
}

/* half and bfloat16. Zeros and infinities are for the thorough reader when they have an exponent. */
static size_t put_short(const char *p, const char *end, tern_dtype dtype, char *at)
{
    uint16_t bits;
    size_t n =
        dtype == TERN_HALF ? tn_number_read_half(p, end, &bits) : tn_number_read_bfloat16(p, end, &bits);
    const uint16_t magnitude = bits & 0x7FFF, infinity = dtype == TERN_HALF ? 0x7C00 : 0x7F80;
    if (n == 0 || magnitude == infinity || (magnitude == 0 && odd_zero(p, n)))
        return 0;
    if (magnitude == 0 && n == 2)
        bits = 0; /* "-0" is a whole number */
    memcpy(at, &bits, sizeof bits);
    return n;
}

static size_t put_literal(const char *p, const char *end, char *at)
{
    tn_str rest = {p, (size_t)(end - p)};
    bool yes = tn_str_starts(rest, TN_STR("true"));
    if (!yes && !tn_str_starts(rest, TN_STR("false")))
        return 0;
    *at = yes;
    return yes ? 4 : 5;
}

static inline size_t put_value(const char *p, const char *end, tern_dtype dtype, char *at)
{
    switch (dtype) {
    case TERN_FLOAT:
        return put_float(p, end, at);
    case TERN_DOUBLE:
        return put_double(p, end, at);
    case TERN_INT32:
    case TERN_INT64:
    case TERN_INT16:
    case TERN_INT8:
    case TERN_UINT8:
    case TERN_UINT16:
    case TERN_UINT32:
    case TERN_UINT64:
        return put_whole(p, end, dtype, at);
    case TERN_BOOL:
        return put_literal(p, end, at);
    case TERN_HALF:
    case TERN_BFLOAT16:
        return put_short(p, end, dtype, at);
    default:
        return 0;
    }
}

static bool put_string(decoder *d, tn_tensor_build *b)
{
    tn_str s;
    if (!plain_string(d, &s))
        return false;
    tn_buf_str(&b->string_bytes, s);
    return tn_build_string(b, d->st) == TERN_OK;
}

/* A list of numbers without lists in it, from behind its '[' to behind its ']'. One copy for each dtype. */
static inline __attribute__((always_inline)) bool list_of(decoder *d, tn_tensor_build *b, tern_dtype dtype,
                                                          const tn_typed *t, const char *from)
{
    const char *p = d->p, *end = d->end;
    const size_t unit = t->unit;
    char *at = b->values != NULL ? (char *)b->values->data + b->n_values * unit : NULL;
    size_t left = b->cap_values - b->n_values;
    for (;;) {
        if (left == 0) {
            d->p = p;
            if (!make_room(d, b, t, from, &at))
                return false;
            left = b->cap_values - b->n_values;
        }
        if (__builtin_expect(end != d->last, 0)) {
            d->p = p;
            if (!is_ahead(d))
                return false;
            end = d->end;
        }
        p = behind_blanks(p, end);
        bool closed;
        size_t n = tn_json_numbers(dtype, &p, end, at, left, &closed);
        at += n * unit;
        left -= n;
        b->n_values += n;
        if (closed)
            break;
        if (left == 0)
            continue;
        n = put_value(p, end, dtype, at);
        if (n == 0)
            return false;
        at += unit;
        left--;
        b->n_values++;
        p += n;
        if (p < end && *p == ',') {
            p++;
            continue;
        }
        p = behind_blanks(p, end);
        if (p == end || (*p != ',' && *p != ']'))
            return false;
        if (*p++ == ']')
            break;
    }
    d->p = p;
    return true;
}

static bool flat_list(decoder *d, tn_tensor_build *b, const tn_typed *t, const char *from, int64_t *count)
{
    size_t before = b->n_values;
    bool good;
    switch (b->dtype) {
    case TERN_FLOAT:
        good = list_of(d, b, TERN_FLOAT, t, from);
        break;
    case TERN_INT32:
        good = list_of(d, b, TERN_INT32, t, from);
        break;
    case TERN_INT64:
        good = list_of(d, b, TERN_INT64, t, from);
        break;
    default:
        good = list_of(d, b, b->dtype, t, from);
    }
    *count = (int64_t)(b->n_values - before);
    return good;
}

static bool one_leaf(decoder *d, tn_tensor_build *b, const tn_typed *t, const char *from)
{
    char *at;
    if (b->dtype == TERN_STRING)
        return put_string(d, b);
    if (b->n_values < b->cap_values)
        at = (char *)b->values->data + b->n_values * t->unit;
    else if (!make_room(d, b, t, from, &at))
        return false;
    size_t n = put_value(d->p, d->end, b->dtype, at);
    d->p += n;
    b->n_values += n > 0;
    return n > 0;
}

/* A list of `level` was closed with so many elements: all of a level must be alike. */
static bool close_level(shape *s, int32_t level, int64_t count)
{
    if (s->rank < 0)
        return false; /* an empty list before any leaf: the thorough reader knows what that is */
    if (s->dims[level] < 0)
        s->dims[level] = count;
    return s->dims[level] == count;
}

/* A leaf, or a flat list of them, at this level of an open value. */
static bool leaf_level(shape *s, int32_t level)
{
    if (s->rank < 0)
        s->rank = level;
    return s->rank == level;
}

/*
 * One value, nested as it may be; the shape is checked while it goes. No recursion: `level` lists are open.
 */
static bool value(decoder *d, tn_tensor_build *b, const tn_typed *t, shape *s, const char *from)
{
    int32_t level = 0;
    for (;;) {
        skip_blanks(d);
        if (d->p == d->end || !is_ahead(d))
            return false;
        if (*d->p == '[') {
            if (level >= TERN_MAX_RANK - 1)
                return false;
            d->p++;
            skip_blanks(d);
            if (d->p == d->end)
                return false;
            if (s->rank < 0)
                s->dims[level] = -1;
            s->seen[level++] = 0;
            if (*d->p == '[')
                continue;
            if (b->dtype != TERN_STRING) {
                int64_t count;
                if (!leaf_level(s, level) || !flat_list(d, b, t, from, &count) ||
                    !close_level(s, level - 1, count))
                    return false;
                level--;
            } else if (!leaf_level(s, level) || !put_string(d, b)) {
                return false;
            }
        } else if (!leaf_level(s, level) || !one_leaf(d, b, t, from)) {
            return false;
        }
        /* Behind an element: close what ends here. */
        for (;;) {
            if (level == 0)
                return true;
            s->seen[level - 1]++;
            if (accept(d, ','))
                break;
            if (!accept(d, ']') || !close_level(s, level - 1, s->seen[level - 1]))
                return false;
            level--;
        }
    }
}

static bool set_shape(decoder *d, tn_tensor_build *b, const shape *s, int64_t batch)
{
    int32_t extra = batch >= 0, rank = s->rank + extra;
    int64_t *dims = tn_arena_array(d->arena, (size_t)(rank > 0 ? rank : 1), sizeof *dims);
    if (dims == NULL || rank > TERN_MAX_RANK)
        return false;
    if (extra)
        dims[0] = batch;
    for (int32_t i = 0; i < s->rank; i++)
        dims[extra + i] = s->dims[i];
    b->rank = rank;
    b->dims = dims;
    return tn_shape_count(rank, dims, &b->count);
}

static bool plain_value(decoder *d, tn_tensor_build *b)
{
    const tn_typed *t = tn_typed_of(b->dtype);
    shape s;
    s.rank = -1;
    return t != NULL && value(d, b, t, &s, d->p) && set_shape(d, b, &s, -1);
}

/* {"b64": "..."} may be a value, even where an input has that name: for the thorough reader. */
static bool looks_like_b64(tn_str key)
{
    return tn_str_eq(key, TN_STR("b64"));
}

/* ---- instances ---- */

/* [{"a": ..., "b": ...}, ...]: every object has every input once. */
static bool row_objects(decoder *d)
{
    const uint32_t n = d->signature->n_inputs;
    shape *shapes = tn_arena_array(d->arena, n, sizeof *shapes);
    int64_t *last = tn_arena_array(d->arena, n, sizeof *last);
    const char *from = d->p;
    int64_t count = 0;
    if (shapes == NULL || last == NULL)
        return false;
    for (uint32_t k = 0; k < n; k++) {
        shapes[k].rank = -1;
        last[k] = -1;
    }
    do {
        uint32_t here = 0;
        if (!accept(d, '{'))
            return false;
        do {
            tn_str key;
            int id =
                plain_string(d, &key) && !looks_like_b64(key) ? tn_signature_input(d->signature, key) : -1;
            if (id < 0 || last[id] == count || !accept(d, ':') ||
                !value(d, &d->builds[id], tn_typed_of(d->builds[id].dtype), &shapes[id], from))
                return false;
            last[id] = count;
            here++;
        } while (accept(d, ','));
        if (here != n || !accept(d, '}'))
            return false;
        count++;
    } while (accept(d, ','));
    if (!accept(d, ']'))
        return false;
    for (uint32_t k = 0; k < n; k++)
        if (!set_shape(d, &d->builds[k], &shapes[k], count))
            return false;
    return true;
}

static bool instances(decoder *d)
{
    const char *list = d->p;
    d->row = true;
    if (!accept(d, '['))
        return false;
    skip_blanks(d);
    if (d->p < d->end && *d->p == '{')
        return row_objects(d);
    /* A plain list is one value whose first dimension is the batch. */
    d->p = list;
    return d->signature->n_inputs == 1 && plain_value(d, &d->builds[0]) && d->builds[0].rank > 0;
}

/* ---- inputs ---- */

/* Any value, checked as JSON and dropped. */
static bool skip_value(decoder *d)
{
    tern_status ignored;
    tn_tape tape;
    if (d->end != d->last)
        return false; /* that reader needs all of it */
    tn_tape_init(&tape, d->body, (size_t)d->limits->max_tape_bytes);
    bool good = tn_tape_parse(&tape, (size_t)(d->p - d->body.ptr), d->limits->max_depth, &ignored) == TERN_OK;
    if (good)
        d->p = d->body.ptr + tape.end;
    tn_tape_free(&tape);
    return good;
}

static bool inputs(decoder *d)
{
    uint32_t here = 0;
    bool *done = tn_arena_zalloc(d->arena, d->signature->n_inputs);
    skip_blanks(d);
    if (done == NULL || d->p == d->end)
        return false;
    if (*d->p != '{')
        return d->signature->n_inputs == 1 && plain_value(d, &d->builds[0]);
    d->p++;
    do {
        tn_str key;
        if (!plain_string(d, &key) || looks_like_b64(key) || !accept(d, ':'))
            return false;
        int id = tn_signature_input(d->signature, key);
        if (id >= 0 && done[id])
            return false;
        if (id < 0 ? !skip_value(d) : !plain_value(d, &d->builds[id]))
            return false;
        if (id >= 0) {
            done[id] = true;
            here++;
        }
    } while (accept(d, ','));
    return here == d->signature->n_inputs && accept(d, '}');
}

/* ---- the document ---- */

static void free_builds(decoder *d)
{
    for (uint32_t k = 0; d->builds != NULL && k < d->signature->n_inputs; k++)
        tn_build_free(&d->builds[k]);
    d->builds = NULL;
}

/* Whether there are numbers of this dtype in JSON: the original has none of these three. */
static bool is_read(const decoder *d, tern_dtype dtype)
{
    return d->limits->extended || (dtype != TERN_HALF && dtype != TERN_BFLOAT16 && dtype != TERN_UINT16);
}

static bool use_signature(decoder *d, tn_str name)
{
    d->signature = tn_signatures_find(d->signatures, name.len > 0 ? name : TN_STR("serving_default"));
    if (d->signature == NULL || d->signature->n_inputs == 0)
        return false;
    d->builds = tn_arena_array(d->arena, d->signature->n_inputs, sizeof *d->builds);
    if (d->builds == NULL)
        return false;
    for (uint32_t k = 0; k < d->signature->n_inputs; k++) {
        tn_build_init(&d->builds[k], &d->room);
        d->builds[k].dtype = d->signature->inputs[k].dtype;
        if (tn_typed_of(d->builds[k].dtype) == NULL || !is_read(d, d->builds[k].dtype))
            return false;
    }
    return true;
}

/*
 * name: the signature when it is known before the body is read, else absent: then it is serving_default
 * unless the body says another before the tensors. *later gets a name that stands behind the tensors and is
 * another.
 */
static bool document(decoder *d, tn_str name, tn_str *later)
{
    bool tensors = false, named = name.ptr != NULL;
    if (named && !use_signature(d, name))
        return false;
    if (!accept(d, '{'))
        return false;
    do {
        tn_str key, asked;
        if (!plain_string(d, &key) || !accept(d, ':'))
            return false;
        if (tn_str_eq(key, TN_STR("signature_name"))) {
            if (!plain_string(d, &asked))
                return false;
            if (!named && !tensors && !use_signature(d, asked))
                return false;
            if (!named && tensors &&
                !tn_str_eq(asked.len > 0 ? asked : TN_STR("serving_default"), d->signature->name)) {
                *later = asked;
                return false;
            }
            named = true;
        } else if (tn_str_eq(key, TN_STR("instances")) || tn_str_eq(key, TN_STR("inputs"))) {
            if (tensors || (d->signature == NULL && !use_signature(d, TN_STR(""))))
                return false;
            if (!(key.len == 9 ? instances(d) : inputs(d)))
                return false;
            tensors = true;
        } else if (!skip_value(d)) {
            return false;
        }
    } while (accept(d, ','));
    return tensors && accept(d, '}');
}

/* true: decoded, or failed for a limit (code). false: to be read thoroughly. */
static bool decode(decoder *d, tn_str name, tn_str *later, tn_predict *out, tern_code *code)
{
    d->p = d->body.ptr;
    d->last = d->body.ptr + d->body.len;
    d->end = d->arrived == NULL ? d->last : d->p;
    d->signature = NULL;
    d->row = false;
    d->room = (tn_tensor_room){.max = (size_t)d->limits->max_tensor_bytes};
    bool good = document(d, name, later);
    if (good)
        *code = tn_json_finish(d->builds, d->signature, d->row, d->arena, out, d->st);
    else
        free_builds(d);
    return good;
}

tern_code tn_json_decode_predict(tn_str body, const tern_signature_set *signatures,
                                 const tn_json_limits *limits, tn_arena *arena, tn_predict *out,
                                 tern_status *st)
{
    decoder d = {.signatures = signatures, .limits = limits, .arena = arena, .st = st, .body = body};
    tn_str later = TN_STR_NONE;
    tern_code code = TERN_OK;
    *out = (tn_predict){0};
    if (decode(&d, TN_STR_NONE, &later, out, &code))
        return code;
    if (later.ptr != NULL && decode(&d, later, &later, out, &code))
        return code;
    return tn_json_explain(body, signatures, limits, arena, out, st);
}

bool tn_json_decode_arriving(tn_str body, size_t (*arrived)(void *context, size_t n), void *context,
                             const tern_signature_set *signatures, const tn_json_limits *limits,
                             tn_arena *arena, tn_predict *out)
{
    tern_status st;
    decoder d = {.signatures = signatures,
                 .limits = limits,
                 .arena = arena,
                 .st = &st,
                 .body = body,
                 .arrived = arrived,
                 .context = context};
    tn_str later = TN_STR_NONE;
    tern_code code = TERN_OK;
    *out = (tn_predict){0};
    return decode(&d, TN_STR_NONE, &later, out, &code) && code == TERN_OK;
}
