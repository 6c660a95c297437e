/*
 * fuzz_pb_predict.c - a PredictRequest fed at once and fed in pieces must give the same outcome and the same tensors; what it binds
 * to a signature is written as a PredictResponse, whose pieces must add up.
 *
 * The first two bytes choose the sizes of the pieces and how they are fed.
 */
#include <stdlib.h>

#include "codec/pb_predict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Field 1 is a float with a value of 2, scalar. */
static const char scale[] = "\x08\x01\x12\x00\x2A\x04\x00\x00\x00\x40";
static const tern_io inputs[] = {
    {.name = TN_STR_INIT("scale"), .dtype = TERN_FLOAT, .default_tensor = {scale, sizeof scale - 1}},
    {.name = TN_STR_INIT("x"), .dtype = TERN_FLOAT, .rank = -1}};
static const tern_io outputs[] = {{.name = TN_STR_INIT("y"), .dtype = TERN_FLOAT, .rank = -1},
                                  {.name = TN_STR_INIT("z"), .dtype = TERN_FLOAT, .rank = -1}};
static const tern_signature signature = {.name = TN_STR_INIT("serving_default"),
                                         .inputs = inputs,
                                         .n_inputs = 2,
                                         .outputs = outputs,
                                         .n_outputs = 2};

typedef struct outcome {
    tn_arena arena;
    tn_pb_predict_reader *reader;
    tern_code code;
} outcome;

static tern_code feed(tn_pb_predict_reader *r, const uint8_t *p, size_t n, unsigned step, bool in_place,
                      tern_status *st)
{
    while (n > 0) {
        char *room;
        size_t space, part = step > 0 && step < n ? step : n;
        tn_pb_predict_room(r, &room, &space);
        const void *from = p;
        if (in_place && space > 0) {
            part = part < space ? part : space;
            memcpy(room, p, part);
            from = room;
        }
        tern_code code = tn_pb_predict_feed(r, from, part, st);
        if (code != TERN_OK)
            return code;
        p += part;
        n -= part;
    }
    return tn_pb_predict_finish(r, st);
}

static void run(outcome *o, const uint8_t *p, size_t n, unsigned step, bool in_place)
{
    const tn_pb_predict_limits limits = {.max_tensor_bytes = 4 << 20, .max_inputs = 16};
    tern_status st;
    tn_arena_init(&o->arena, 64u << 20);
    o->reader = tn_pb_predict_new(&limits, &o->arena);
    require(o->reader != NULL);
    o->code = feed(o->reader, p, n, step, in_place, &st);
}

static void same_tensor(const tn_named_tensor *a, const tn_named_tensor *b)
{
    require(tn_str_eq(a->alias, b->alias) && a->valid == b->valid);
    if (!a->valid)
        return;
    const tern_tensor *x = &a->tensor, *y = &b->tensor;
    require(x->dtype == y->dtype && x->rank == y->rank && x->size == y->size);
    require(x->rank == 0 || memcmp(x->dims, y->dims, (size_t)x->rank * sizeof *x->dims) == 0);
    require(x->size == 0 || memcmp(x->data, y->data, x->size) == 0);
}

static void same(const outcome *a, const outcome *b)
{
    uint32_t n, m;
    require((a->code == TERN_OK) == (b->code == TERN_OK));
    if (a->code != TERN_OK)
        return;
    const tn_named_tensor *x = tn_pb_predict_inputs(a->reader, &n), *y = tn_pb_predict_inputs(b->reader, &m);
    require(n == m);
    for (uint32_t i = 0; i < n; i++)
        same_tensor(&x[i], &y[i]);
    tn_pb_predict_output_filter(a->reader, &n);
    tn_pb_predict_output_filter(b->reader, &m);
    require(n == m);
    require(tn_str_eq(tn_pb_predict_spec(a->reader)->name, tn_pb_predict_spec(b->reader)->name));
}

/* Every valid input goes out as an output; the pieces are as long as they say. */
static void write_back(outcome *o, bool as_content)
{
    uint32_t n, n_pieces, valid = 0;
    size_t total, sum = 0;
    tn_piece *pieces;
    tern_status st;
    tn_str names[16];
    tern_tensor tensors[16];
    const tn_named_tensor *sent = tn_pb_predict_inputs(o->reader, &n);
    for (uint32_t i = 0; i < n; i++)
        if (sent[i].valid && valid < 16) {
            names[valid] = sent[i].alias;
            tensors[valid++] = sent[i].tensor;
        }
    if (tn_pb_encode_predict(TN_STR("m"), 1, TN_STR("s"), names, tensors, valid, as_content, &o->arena,
                             &pieces, &n_pieces, &total, &st) != TERN_OK)
        return;
    for (uint32_t i = 0; i < n_pieces; i++) {
        char *copy = malloc(pieces[i].len + 1);
        require(copy != NULL);
        memcpy(copy, pieces[i].ptr, pieces[i].len);
        free(copy);
        sum += pieces[i].len;
    }
    require(sum == total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    outcome whole, pieces;
    tn_predict p;
    uint32_t *ids, n_ids;
    tern_status st;
    if (size < 2)
        return 0;
    run(&whole, data + 2, size - 2, 0, false);
    run(&pieces, data + 2, size - 2, 1 + data[0] % 9, data[1] & 1);
    same(&whole, &pieces);
    if (whole.code == TERN_OK) {
        write_back(&whole, data[1] & 2);
        if (tn_pb_predict_bind(pieces.reader, &signature, &pieces.arena, &p, &ids, &n_ids, &st) == TERN_OK) {
            require(p.n_inputs == 2 && n_ids >= 1);
            tn_predict_release(&p);
        }
    }
    tn_arena_free(&whole.arena);
    tn_arena_free(&pieces.arena);
    return 0;
}
