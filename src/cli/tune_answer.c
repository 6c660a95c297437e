/*
 * cli/tune_answer.c - whether two settings answered the same: PredictResponse by the tensors in it
 * (tensorflow_serving/apis/predict.proto: outputs = 1, a map), JSON by its numbers and texts.
 */
#include <math.h>

#include "cli/tune.h"
#include "codec/close.h"
#include "codec/json.h"
#include "codec/pb_predict.h"
#include "codec/pb_wire.h"
#include "tensor/tensor.h"

#define ARENA_MAX ((size_t)4 << 30)
#define DEPTH     256

/* ---- PredictResponse ---- */

/* The next entry of the map. False: there is no further one, or the message is broken (*broken). */
static bool next_output(tn_pb *r, tn_str *alias, tn_str *tensor, bool *broken)
{
    tn_pb_field f;
    while (tn_pb_more(r)) {
        if (!tn_pb_next(r, &f)) {
            *broken = true;
            return false;
        }
        if (f.number != 1 || f.type != TN_PB_BYTES)
            continue;
        tn_pb entry = tn_pb_from(f.bytes);
        *alias = *tensor = TN_STR("");
        while (tn_pb_more(&entry)) {
            if (!tn_pb_next(&entry, &f)) {
                *broken = true;
                return false;
            }
            if (f.type == TN_PB_BYTES && f.number == 1)
                *alias = f.bytes;
            else if (f.type == TN_PB_BYTES && f.number == 2)
                *tensor = f.bytes;
        }
        return true;
    }
    return false;
}

static bool same_tensor(tn_str got, tn_str want, tn_arena *arena, double *worst)
{
    tern_tensor a = {0}, b = {0};
    tern_status st;
    bool same = tn_pb_read_tensor(got, arena, &a, &st) == TERN_OK;
    if (same) {
        same = tn_pb_read_tensor(want, arena, &b, &st) == TERN_OK;
        if (same) {
            same = tn_close(&a, &b, worst);
            tn_tensor_release(&b);
        }
        tn_tensor_release(&a);
    }
    return same;
}

static unsigned count_outputs(tn_str message, bool *broken)
{
    tn_pb r = tn_pb_from(message);
    tn_str alias, tensor;
    unsigned n = 0;
    while (next_output(&r, &alias, &tensor, broken))
        n++;
    return n;
}

static bool find_output(tn_str message, tn_str wanted, tn_str *tensor)
{
    tn_pb r = tn_pb_from(message);
    tn_str alias;
    bool broken = false;
    while (next_output(&r, &alias, tensor, &broken))
        if (tn_str_eq(alias, wanted))
            return true;
    return false;
}

static bool same_messages(tn_str got, tn_str want, tn_arena *arena, double *worst)
{
    tn_pb r = tn_pb_from(want);
    tn_str alias, tensor, mine;
    bool broken = false;
    bool same = count_outputs(got, &broken) == count_outputs(want, &broken) && !broken;
    while (same && next_output(&r, &alias, &tensor, &broken))
        same = find_output(got, alias, &mine) && same_tensor(mine, tensor, arena, worst);
    return same;
}

/* ---- JSON ---- */

static double largest(const tn_json *j)
{
    double most = j->type == TN_JSON_NUMBER ? fabs(j->number) : 0;
    for (const tn_json *child = j->first; child != NULL; child = child->next)
        most = fmax(most, largest(child));
    return most;
}

static bool same_value(const tn_json *got, const tn_json *want, double most, double *worst)
{
    const tn_json *a = got->first, *b = want->first;
    if (got->type != want->type || !tn_str_eq(got->key, want->key))
        return false;
    if (got->type == TN_JSON_NUMBER) {
        const double apart = fabs(got->number - want->number);
        if (most > 0)
            *worst = fmax(*worst, apart / most);
        return apart <= TN_CLOSE_RELATIVE * fabs(want->number) + TN_CLOSE_LARGEST * most;
    }
    if (got->boolean != want->boolean || !tn_str_eq(got->string, want->string))
        return false;
    for (; a != NULL && b != NULL; a = a->next, b = b->next)
        if (!same_value(a, b, most, worst))
            return false;
    return a == NULL && b == NULL;
}

static bool same_texts(tn_str got, tn_str want, tn_arena *arena, double *worst)
{
    const tn_json *a, *b;
    tern_status st;
    return tn_json_parse(got, DEPTH, arena, &a, &st) == TERN_OK &&
           tn_json_parse(want, DEPTH, arena, &b, &st) == TERN_OK && same_value(a, b, largest(b), worst);
}

bool tn_tune_same(tn_str got, tn_str want, bool json, double *worst)
{
    tn_arena arena;
    tn_arena_init(&arena, ARENA_MAX);
    bool same = json ? same_texts(got, want, &arena, worst) : same_messages(got, want, &arena, worst);
    tn_arena_free(&arena);
    return same;
}
