/*
 * codec/npy.c - see codec/npy.h. The header's dictionary is read by its grammar as numpy writes it and as
 * Python's ast.literal_eval would take it, as far as its three keys go: strings, True and False, tuples of
 * whole numbers.
 */
#include "codec/npy.h"

#define MAGIC       "\x93NUMPY"
#define MAGIC_BYTES 6
#define ALIGN       64
#define MAX_HEAD    (1u << 20)

static const struct {
    const char *descr; /* without the byte order */
    tern_dtype dtype;
    const char *name;
} dtypes[] = {
    {"f4", TERN_FLOAT, "float32"},       {"f8", TERN_DOUBLE, "float64"},
    {"f2", TERN_HALF, "float16"},        {"i1", TERN_INT8, "int8"},
    {"i2", TERN_INT16, "int16"},         {"i4", TERN_INT32, "int32"},
    {"i8", TERN_INT64, "int64"},         {"u1", TERN_UINT8, "uint8"},
    {"u2", TERN_UINT16, "uint16"},       {"u4", TERN_UINT32, "uint32"},
    {"u8", TERN_UINT64, "uint64"},       {"b1", TERN_BOOL, "bool"},
    {"c8", TERN_COMPLEX64, "complex64"}, {"c16", TERN_COMPLEX128, "complex128"},
    {"V2", TERN_BFLOAT16, "bfloat16"},
};
#define N_DTYPES (sizeof dtypes / sizeof dtypes[0])

const char *tn_npy_dtype_name(tern_dtype dtype)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (dtypes[i].dtype == dtype)
            return dtypes[i].name;
    return NULL;
}

typedef struct reader {
    const char *p;
    const char *end;
    tern_status *st;
} reader;

static tern_code bad(reader *r, const char *why)
{
    return tern_fail(r->st, TERN_INVALID_ARGUMENT, "The npy body cannot be read: %s", why);
}

static tern_code bad_head(reader *r)
{
    return bad(r, "its header is not a dictionary with 'descr', 'fortran_order' and 'shape'");
}

/* ---- the dictionary ---- */

static bool accept(reader *r, char c)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
        r->p++;
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

/* A string without escapes, in either kind of quotes. */
static bool string(reader *r, tn_str *s)
{
    char quote = '\'';
    if (!accept(r, quote)) {
        quote = '"';
        if (!accept(r, quote))
            return false;
    }
    const char *from = r->p;
    while (r->p < r->end && *r->p != quote && *r->p != '\\')
        r->p++;
    if (r->p == r->end || *r->p != quote)
        return false;
    *s = (tn_str){from, (size_t)(r->p++ - from)};
    return true;
}

static bool word(reader *r, tn_str want)
{
    if (!tn_str_starts((tn_str){r->p, (size_t)(r->end - r->p)}, want))
        return false;
    r->p += want.len;
    return true;
}

static bool boolean(reader *r, bool *value)
{
    accept(r, ' ');
    *value = word(r, TN_STR("True"));
    return *value || word(r, TN_STR("False"));
}

static tern_code shape(reader *r, tn_npy *out)
{
    out->rank = 0;
    if (!accept(r, '('))
        return bad_head(r);
    while (!accept(r, ')')) {
        const char *from = r->p; /* accept() skipped the blanks */
        while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
            r->p++;
        int64_t dim;
        if (!tn_str_i64((tn_str){from, (size_t)(r->p - from)}, &dim))
            return bad(r, "its shape is no tuple of whole numbers");
        if (out->rank == TERN_MAX_RANK)
            return bad(r, "it has too many dimensions");
        out->dims[out->rank++] = dim;
        accept(r, 'L'); /* as Python 2 wrote them */
        if (!accept(r, ',') && (r->p == r->end || *r->p != ')'))
            return bad_head(r);
    }
    return TERN_OK;
}

static tern_code dtype(reader *r, tn_str descr, tn_npy *out)
{
    const char order = descr.len > 0 ? descr.ptr[0] : '\0';
    const bool ordered = order == '<' || order == '>' || order == '=' || order == '|';
    tn_str kind = tn_str_sub(descr, ordered, descr.len);
    if (kind.len > 0 && (kind.ptr[0] == 'U' || kind.ptr[0] == 'S' || kind.ptr[0] == 'O'))
        return bad(r, "strings and objects have no npy form here; send them as application/json");
    for (size_t i = 0; i < N_DTYPES; i++)
        if (tn_str_eq(kind, tn_str_from(dtypes[i].descr)))
            out->dtype = dtypes[i].dtype;
    if (out->dtype == TERN_INVALID)
        return tern_fail(r->st, TERN_INVALID_ARGUMENT,
                         "The npy body cannot be read: no tensor has its dtype \"%.*s\"",
                         TN_FMT(tn_str_sub(descr, 0, 64)));
    if (order == '>' && tn_dtype_size(out->dtype) > 1)
        return bad(r, "its numbers are big-endian; send x.astype(x.dtype.newbyteorder('<'))");
    return TERN_OK;
}

static tern_code dictionary(reader *r, tn_npy *out)
{
    bool fortran = false;
    unsigned seen = 0;
    tern_code code = TERN_OK;
    if (!accept(r, '{'))
        return bad_head(r);
    while (code == TERN_OK && !accept(r, '}')) {
        tn_str key, descr;
        if (!string(r, &key) || !accept(r, ':'))
            return bad_head(r);
        if (tn_str_eq(key, TN_STR("descr"))) {
            seen |= 1;
            if (accept(r, '['))
                return bad(r, "it is an array of structures; send one plain array");
            code = string(r, &descr) ? dtype(r, descr, out) : bad_head(r);
        } else if (tn_str_eq(key, TN_STR("fortran_order"))) {
            seen |= 2;
            code = boolean(r, &fortran) ? TERN_OK : bad_head(r);
        } else if (tn_str_eq(key, TN_STR("shape"))) {
            seen |= 4;
            code = shape(r, out);
        } else {
            return bad_head(r);
        }
        if (code == TERN_OK && !accept(r, ',') && (r->p == r->end || *r->p != '}'))
            return bad_head(r);
    }
    if (code != TERN_OK)
        return code;
    if (seen != 7)
        return bad_head(r);
    if (fortran && out->rank > 1)
        return bad(r, "it is in Fortran order; send numpy.ascontiguousarray(x)");
    return TERN_OK;
}

/* ---- the file ---- */

tern_code tn_npy_read(tn_str text, tn_npy *out, tern_status *st)
{
    const unsigned char *p = (const unsigned char *)text.ptr;
    reader r = {.st = st};
    out->dtype = TERN_INVALID;
    if (text.len < MAGIC_BYTES + 4 || memcmp(p, MAGIC, MAGIC_BYTES) != 0)
        return bad(&r, "it does not begin as numpy.save() writes it");
    const unsigned version = p[MAGIC_BYTES];
    const size_t fixed = MAGIC_BYTES + 2 + (version == 1 ? 2 : 4);
    if (version < 1 || version > 3)
        return bad(&r, "its version is none of 1.0, 2.0 and 3.0");
    if (text.len < fixed)
        return bad(&r, "it is cut off in its header");
    size_t head = (size_t)p[8] | (size_t)p[9] << 8;
    if (version > 1)
        head |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
    if (head > MAX_HEAD || head > text.len - fixed)
        return bad(&r, "it is cut off in its header");
    r.p = text.ptr + fixed;
    r.end = r.p + head;
    tern_code code = dictionary(&r, out);
    if (code != TERN_OK)
        return code;
    size_t bytes;
    out->data = tn_str_sub(text, fixed + head, text.len);
    if (!tn_shape_count(out->rank, out->dims, &out->count) ||
        __builtin_mul_overflow((size_t)out->count, tn_dtype_size(out->dtype), &bytes))
        return bad(&r, "its shape has too many elements");
    if (bytes != out->data.len)
        return tern_fail(
            st, TERN_INVALID_ARGUMENT,
            "The npy body cannot be read: its shape and dtype want %zu bytes of elements, and %zu came",
            bytes, out->data.len);
    return TERN_OK;
}

bool tn_npy_write_head(const tern_tensor *t, tn_buf *out)
{
    const char *descr = NULL;
    for (size_t i = 0; i < N_DTYPES; i++)
        if (dtypes[i].dtype == t->dtype)
            descr = dtypes[i].descr;
    if (descr == NULL)
        return false;
    tn_buf text;
    tn_buf_init(&text, MAX_HEAD);
    const char order = tn_dtype_size(t->dtype) == 1 ? '|' : '<';
    tn_buf_printf(&text, "{'descr': '%c%s', 'fortran_order': False, 'shape': (", order, descr);
    for (int32_t i = 0; i < t->rank; i++)
        tn_buf_printf(&text, "%s%lld", i > 0 ? ", " : "", (long long)t->dims[i]);
    tn_buf_z(&text, t->rank == 1 ? ",), }" : "), }");
    /* The elements are to begin at a multiple of 64 bytes, the header ends in a newline. */
    bool is_long = text.len + 1 + ALIGN > UINT16_MAX;
    const size_t fixed = MAGIC_BYTES + 2 + (is_long ? 4 : 2);
    tn_buf_fill(&text, ' ', (ALIGN - (fixed + text.len + 1) % ALIGN) % ALIGN);
    tn_buf_char(&text, '\n');
    const char lead[12] = {'\x93',
                           'N',
                           'U',
                           'M',
                           'P',
                           'Y',
                           is_long ? 2 : 1,
                           0,
                           (char)text.len,
                           (char)(text.len >> 8),
                           (char)(text.len >> 16),
                           (char)(text.len >> 24)};
    tn_buf_append(out, lead, fixed);
    tn_buf_str(out, tn_buf_view(&text));
    bool good = !text.failed && !out->failed;
    tn_buf_free(&text);
    return good;
}
