/*
 * fuzz_json_predict.c - predict bodies, read twice: what the fast decoder accepts, the thorough reader must
 * accept too, with the same tensors bit for bit; and what is decoded must print as an answer that is JSON
 * again.
 *
 * The first byte chooses the signature set, whether the dtypes of 16 bits are numbers, the layout, and
 * whether blanks follow, so that the reader of many numbers at once, which wants so many bytes, sees all of
 * the body.
 */
#include <stdlib.h>

#include "codec/json.h"
#include "codec/json_explain.h"
#include "codec/json_predict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

#define IO(alias, type)                                                                                      \
    {                                                                                                        \
        .name = TN_STR_INIT(alias), .dtype = (type), .rank = -1                                              \
    }
#define BLANKS   128
#define COUNT(a) (uint32_t)(sizeof(a) / sizeof((a)[0]))

static const tern_io f32[] = {IO("x", TERN_FLOAT)};
static const tern_io f64[] = {IO("x", TERN_DOUBLE)};
static const tern_io i32[] = {IO("x", TERN_INT32)};
static const tern_io u64[] = {IO("x", TERN_UINT64)};
static const tern_io i8[] = {IO("x", TERN_INT8)};
static const tern_io text[] = {IO("x_bytes", TERN_STRING)};
static const tern_io half[] = {IO("x", TERN_HALF)};
static const tern_io many[] = {IO("a", TERN_FLOAT), IO("b", TERN_INT64), IO("s", TERN_STRING),
                               IO("t", TERN_BOOL)};

#define SIGNATURE(title, ios)                                                                                \
    {                                                                                                        \
        .name = TN_STR_INIT(title), .inputs = (ios), .n_inputs = COUNT(ios)                                  \
    }
static const tern_signature sets[][2] = {
    {SIGNATURE("other", i32), SIGNATURE("serving_default", f32)},
    {SIGNATURE("other", f32), SIGNATURE("serving_default", f64)},
    {SIGNATURE("other", many), SIGNATURE("serving_default", i32)},
    {SIGNATURE("other", text), SIGNATURE("serving_default", u64)},
    {SIGNATURE("other", half), SIGNATURE("serving_default", i8)},
    {SIGNATURE("other", f32), SIGNATURE("serving_default", text)},
    {SIGNATURE("other", u64), SIGNATURE("serving_default", many)},
    {SIGNATURE("other", many), SIGNATURE("serving_default", half)},
};

static void same_tensors(const tn_predict *a, const tn_predict *b)
{
    require(a->signature == b->signature && a->row == b->row && a->n_inputs == b->n_inputs);
    for (uint32_t i = 0; i < a->n_inputs; i++) {
        const tern_tensor *x = &a->inputs[i], *y = &b->inputs[i];
        require(x->dtype == y->dtype && x->rank == y->rank && x->size == y->size);
        require(x->rank == 0 || memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims) == 0);
        require(x->size == 0 || memcmp(x->data, y->data, x->size) == 0);
    }
}

/*
 * Numbers and plain text come back as JSON; NaN and infinities are what the original prints, which is none.
 */
static void check_answer(const tn_predict *p, bool compact)
{
    tn_str names[8];
    tern_status st;
    tn_buf out;
    tn_buf_init(&out, 4u << 20);
    for (uint32_t i = 0; i < p->n_inputs; i++)
        names[i] = p->signature->inputs[i].name;
    tern_code code =
        tn_json_encode_predict(&(const tn_json_style){.row = p->row, .compact = compact, .extended = true},
                               names, p->inputs, p->n_inputs, &out, &st);
    if (code == TERN_OK) {
        tn_arena arena;
        const tn_json *tree;
        tn_arena_init(&arena, 256u << 20);
        require(tn_json_parse(tn_buf_view(&out), 1000, &arena, &tree, &st) == TERN_OK);
        require(tn_json_get(tree, p->row ? "predictions" : "outputs") != NULL);
        tn_arena_free(&arena);
    }
    tn_buf_free(&out);
}

/* A body that comes a few bytes at a time, and perhaps not all of it. */
typedef struct sender {
    tn_str whole;
    char *there;
    size_t have, step, stop;
} sender;

static size_t arrived(void *context, size_t n)
{
    sender *s = context;
    size_t to = s->have + s->step;
    require(n <= s->whole.len && n > s->have);
    to = to < s->stop ? to : s->stop;
    memcpy(s->there + s->have, s->whole.ptr + s->have, to - s->have);
    return s->have = to;
}

/* What is read while it arrives is what the whole body is. */
static void check_arriving(tn_str body, const tern_signature_set *set, const tn_json_limits *limits,
                           tern_code code, const tn_predict *whole)
{
    for (size_t turn = 0; turn < 2; turn++) {
        tn_arena arena;
        tn_predict p;
        sender s = {.whole = body,
                    .there = malloc(body.len + 1),
                    .step = 1 + body.len % 61,
                    .stop = turn == 0 ? body.len : body.len - body.len / 3};
        require(s.there != NULL);
        memset(s.there, '7', body.len);
        tn_arena_init(&arena, 64u << 20);
        if (tn_json_decode_arriving((tn_str){s.there, body.len}, arrived, &s, set, limits, &arena, &p)) {
            require(code == TERN_OK);
            same_tensors(&p, whole);
        }
        tn_predict_release(&p);
        tn_arena_free(&arena);
        free(s.there);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const tn_json_limits limits = {.max_depth = 600,
                                   .max_tensor_bytes = 16 << 20,
                                   .max_tape_bytes = 64 << 20,
                                   .extended = size > 0 && (data[0] & 8) != 0};
    if (size == 0)
        return 0;
    const tern_signature_set set = {.signatures = sets[data[0] % COUNT(sets)], .n_signatures = 2};
    /* A copy of its own size, so that reading beyond the end is seen. */
    const size_t blanks = (data[0] & 32) != 0 ? BLANKS : 0, length = size - 1 + blanks;
    char *body = malloc(length > 0 ? length : 1);
    require(body != NULL);
    memcpy(body, data + 1, size - 1);
    memset(body + size - 1, ' ', blanks);
    tn_str text_body = {body, length};
    tn_arena arena;
    tn_predict fast, slow;
    tern_status fast_st, slow_st;
    tn_arena_init(&arena, 64u << 20);
    tern_code fast_code = tn_json_decode_predict(text_body, &set, &limits, &arena, &fast, &fast_st);
    tern_code slow_code = tn_json_explain(text_body, &set, &limits, &arena, &slow, &slow_st);
    require(fast_code == slow_code);
    check_arriving(text_body, &set, &limits, fast_code, &fast);
    if (fast_code == TERN_OK) {
        same_tensors(&fast, &slow);
        check_answer(&fast, (data[0] & 16) != 0);
    } else {
        require(fast_st.length == slow_st.length &&
                memcmp(fast_st.message, slow_st.message, fast_st.length) == 0);
    }
    tn_predict_release(&fast);
    tn_predict_release(&slow);
    tn_arena_free(&arena);
    free(body);
    return 0;
}
