/*
 * engines/example/description.c - the reader of example.txt, the model file of the example engine.
 *
 * One statement a line, words separated by blanks, '#' begins a comment:
 *
 *     signature NAME [METHOD]              begins a signature (METHOD: tensorflow/serving/predict)
 *     input ALIAS DTYPE SHAPE              SHAPE: [] scalar, [-1,3] dims, ? unknown rank
 *     output ALIAS DTYPE SHAPE affine A B INPUT     A * INPUT + B, float only
 *     output ALIAS DTYPE SHAPE identity INPUT       any dtype; shares the input's memory
 *     output ALIAS DTYPE SHAPE column INPUT         the same with one dimension more, of 1
 *     output ALIAS float SHAPE length INPUT         bytes of each string, as a column
 *     sleep MS                             before computing; a deadline or cancel() ends it
 *     busy MS                              likewise, but nothing ends it
 *     fail CODE TEXT...                    the run fails with this tern_code and text
 *     hold MS                              keeps the inputs after the run, another thread releases them
 *     memory BYTES                         what memory_use() answers
 *
 * Statements sleep, busy and fail before the first signature are about load(). DTYPE is TensorFlow's short
 * name.
 * Pure: text in, structs out; slices point into the text.
 */
#include <stdlib.h>

#include "example.h"

typedef struct reader {
    tn_example_description *d;
    const char *at; /* in the current line */
    const char *end;
    int line;
    tern_status *st;
} reader;

static const struct {
    const char *name;
    tern_dtype dtype;
} dtype_names[] = {
    {"float", TERN_FLOAT},         {"double", TERN_DOUBLE},
    {"half", TERN_HALF},           {"bfloat16", TERN_BFLOAT16},
    {"int8", TERN_INT8},           {"int16", TERN_INT16},
    {"int32", TERN_INT32},         {"int64", TERN_INT64},
    {"uint8", TERN_UINT8},         {"uint16", TERN_UINT16},
    {"uint32", TERN_UINT32},       {"uint64", TERN_UINT64},
    {"complex64", TERN_COMPLEX64}, {"complex128", TERN_COMPLEX128},
    {"bool", TERN_BOOL},           {"string", TERN_STRING},
};

static bool is(tern_str s, const char *word)
{
    return s.len == strlen(word) && memcmp(s.ptr, word, s.len) == 0;
}

static int compare(tern_str a, tern_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static tern_code bad(reader *r, const char *why)
{
    return tern_fail(r->st, TERN_INVALID_ARGUMENT, "example.txt:%d: %s", r->line, why);
}

static void skip_blanks(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

/* The next word of the line; empty at its end. */
static tern_str word(reader *r)
{
    skip_blanks(r);
    const char *start = r->at;
    while (r->at < r->end && *r->at != ' ' && *r->at != '\t' && *r->at != '\r')
        r->at++;
    return (tern_str){start, (size_t)(r->at - start)};
}

/* The next word as a whole number; false when it is none. */
static bool number(reader *r, int64_t *value)
{
    char z[24], *stop = z;
    tern_str s = word(r);
    if (s.len == 0 || s.len >= sizeof z)
        return false;
    memcpy(z, s.ptr, s.len);
    z[s.len] = '\0';
    *value = strtoll(z, &stop, 10);
    return *stop == '\0';
}

static bool real(reader *r, float *value)
{
    char z[32], *stop = z;
    tern_str s = word(r);
    if (s.len == 0 || s.len >= sizeof z)
        return false;
    memcpy(z, s.ptr, s.len);
    z[s.len] = '\0';
    *value = strtof(z, &stop);
    return *stop == '\0';
}

static tern_code read_shape(reader *r, tn_example_io *io)
{
    tern_str s = word(r);
    if (is(s, "?")) {
        io->io.rank = -1;
        return TERN_OK;
    }
    if (s.len < 2 || s.ptr[0] != '[' || s.ptr[s.len - 1] != ']')
        return bad(r, "a shape is ? or [dims], without blanks");
    reader dims = {.at = s.ptr + 1, .end = s.ptr + s.len - 1};
    while (dims.at < dims.end) {
        const char *comma = memchr(dims.at, ',', (size_t)(dims.end - dims.at));
        reader one = {.at = dims.at, .end = comma != NULL ? comma : dims.end};
        if (io->io.rank == EXAMPLE_RANK_MAX)
            return bad(r, "a shape has too many dimensions");
        if (!number(&one, &io->dims[io->io.rank++]))
            return bad(r, "a dimension is a number, -1 where it is unknown");
        dims.at = comma != NULL ? comma + 1 : dims.end;
    }
    return TERN_OK;
}

/* ALIAS DTYPE SHAPE */
static tern_code read_io(reader *r, tn_example_io *io)
{
    io->io.name = word(r);
    tern_str dtype = word(r);
    for (size_t i = 0; i < sizeof dtype_names / sizeof dtype_names[0]; i++) {
        if (is(dtype, dtype_names[i].name))
            io->io.dtype = dtype_names[i].dtype;
    }
    if (io->io.dtype == TERN_INVALID)
        return bad(r, "expected an alias and a dtype");
    return read_shape(r, io);
}

static tern_code read_output(reader *r, tn_example_io *io)
{
    tern_code code = read_io(r, io);
    if (code != TERN_OK)
        return code;
    tern_str operation = word(r);
    io->affine = is(operation, "affine");
    io->length = is(operation, "length");
    io->column = io->length || is(operation, "column");
    if (!io->affine && !io->column && !is(operation, "identity"))
        return bad(r, "an output is affine A B INPUT, identity INPUT, column INPUT, or length INPUT");
    if (io->affine && (!real(r, &io->a) || !real(r, &io->b)))
        return bad(r, "affine needs two numbers");
    io->source = word(r);
    return TERN_OK;
}

/* sleep, busy, fail, hold: of the signature or of the load. */
static tern_code read_step(reader *r, tern_str what, tn_example_steps *steps)
{
    int64_t value = 0;
    if (!number(r, &value) || value < 0)
        return bad(r, "expected a statement as in the head of description.c, with a number");
    if (is(what, "sleep")) {
        steps->sleep_ms = value;
    } else if (is(what, "busy")) {
        steps->busy_ms = value;
    } else if (is(what, "hold")) {
        steps->hold_ms = value;
    } else if (is(what, "memory")) {
        r->d->memory = (uint64_t)value;
    } else if (is(what, "fail") && value >= TERN_CANCELLED && value <= TERN_UNAUTHENTICATED) {
        skip_blanks(r);
        steps->fail = (tern_code)value;
        steps->fail_text = (tern_str){r->at, (size_t)(r->end - r->at)};
    } else {
        return bad(r, "this is no statement");
    }
    return TERN_OK;
}

static tern_code read_line(reader *r)
{
    tn_example_description *d = r->d;
    tn_example_signature *s = d->n_signatures > 0 ? &d->signatures[d->n_signatures - 1] : NULL;
    tern_str what = word(r);
    if (what.len == 0 || what.ptr[0] == '#')
        return TERN_OK;
    if (is(what, "signature")) {
        if (d->n_signatures == EXAMPLE_SIGNATURES_MAX)
            return bad(r, "too many signatures");
        s = &d->signatures[d->n_signatures++];
        s->name = word(r);
        s->method_name = word(r);
        if (s->method_name.len == 0)
            s->method_name = (tern_str){"tensorflow/serving/predict", 26};
        return s->name.len > 0 ? TERN_OK : bad(r, "a signature needs a name");
    }
    bool input = is(what, "input");
    if (!input && !is(what, "output"))
        return read_step(r, what, s != NULL ? &s->steps : &d->load);
    if (s == NULL)
        return bad(r, "inputs and outputs stand after a signature");
    if ((input ? s->n_inputs : s->n_outputs) == EXAMPLE_IOS_MAX)
        return bad(r, "too many inputs or outputs");
    return input ? read_io(r, &s->inputs[s->n_inputs++]) : read_output(r, &s->outputs[s->n_outputs++]);
}

static int by_alias(const void *a, const void *b)
{
    return compare(((const tn_example_io *)a)->io.name, ((const tn_example_io *)b)->io.name);
}

static int by_name(const void *a, const void *b)
{
    return compare(((const tn_example_signature *)a)->name, ((const tn_example_signature *)b)->name);
}

/* Sorts, and points the public structs at their private ones, which no longer move. */
static void publish(tn_example_description *d)
{
    qsort(d->signatures, d->n_signatures, sizeof d->signatures[0], by_name);
    for (uint32_t i = 0; i < d->n_signatures; i++) {
        tn_example_signature *s = &d->signatures[i];
        qsort(s->inputs, s->n_inputs, sizeof s->inputs[0], by_alias);
        qsort(s->outputs, s->n_outputs, sizeof s->outputs[0], by_alias);
        for (uint32_t k = 0; k < s->n_inputs; k++) {
            s->inputs[k].io.dims = s->inputs[k].dims;
            s->public_inputs[k] = s->inputs[k].io;
        }
        for (uint32_t k = 0; k < s->n_outputs; k++) {
            s->outputs[k].io.dims = s->outputs[k].dims;
            s->public_outputs[k] = s->outputs[k].io;
        }
        d->public_signatures[i] = (tern_signature){
            .name = s->name,
            .method_name = s->method_name,
            .inputs = s->public_inputs,
            .n_inputs = s->n_inputs,
            .outputs = s->public_outputs,
            .n_outputs = s->n_outputs,
        };
    }
}

tern_code tn_example_read(tn_example_description *d, tern_status *st)
{
    reader r = {.d = d, .st = st};
    const char *at = d->text;
    while (*at != '\0') {
        size_t length = strcspn(at, "\n");
        r.at = at;
        r.end = at + length;
        r.line++;
        tern_code code = read_line(&r);
        if (code != TERN_OK)
            return code;
        at = r.end + (*r.end == '\n');
    }
    publish(d);
    return TERN_OK;
}
