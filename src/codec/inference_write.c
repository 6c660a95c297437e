/*
 * codec/inference_write.c - answers of Classify and Regress: see codec/inference.h.
 *
 * JSON in the original's layout: what belongs to one example stands in one line, a classification's results
 * close on a line of their own. Protobuf as C++ writes it: fields in order, defaults left out (a negative
 * zero is none).
 */
#include "codec/inference.h"
#include "codec/json.h"
#include "codec/number.h"
#include "codec/pb_spec.h"
#include "codec/pb_wire.h"

/* One task's outputs, checked: class c of example i. */
typedef struct view {
    const tern_tensor *classes, *scores; /* NULL: absent; regressions are scores of one class */
    int64_t n, width;
} view;

static view view_of(const tn_infer_task *task, const tern_tensor *outputs)
{
    if (task->kind == TN_INFER_REGRESS)
        return (view){.scores = &outputs[0], .n = outputs[0].dims[0], .width = 1};
    return (view){.classes = task->has_classes ? &outputs[0] : NULL,
                  .scores = task->has_scores ? &outputs[task->has_classes] : NULL,
                  .n = outputs[0].dims[0],
                  .width = outputs[0].dims[1]};
}

static tn_str label_at(const view *v, int64_t i, int64_t c)
{
    return v->classes != NULL ? tn_string_at(v->classes, v->n * v->width, i * v->width + c) : TN_STR("");
}

static float score_at(const view *v, int64_t i, int64_t c)
{
    return v->scores != NULL ? ((const float *)v->scores->data)[i * v->width + c] : 0;
}

/* ---- JSON ---- */

static void put_score(tn_buf *out, float score)
{
    char *to = tn_buf_reserve(out, TN_NUMBER_MAX);
    if (to != NULL)
        tn_buf_commit(out, tn_number_write_float(to, score));
}

static void put_classes(const view *v, int64_t i, const char *comma, tn_buf *out)
{
    tn_buf_char(out, '[');
    for (int64_t c = 0; c < v->width && !out->failed; c++) {
        tn_buf_z(out, c > 0 ? comma : "");
        tn_buf_char(out, '[');
        tn_json_quote_raw(out, label_at(v, i, c));
        tn_buf_z(out, comma);
        put_score(out, score_at(v, i, c));
        tn_buf_char(out, ']');
    }
    tn_buf_char(out, ']');
}

void tn_infer_json(const tn_infer_task *task, const tern_tensor *outputs, bool compact, tn_buf *out)
{
    const view v = view_of(task, outputs);
    const bool classify = task->kind == TN_INFER_CLASSIFY;
    const char *comma = compact ? "," : ", ";
    tn_buf_z(out, compact ? "{\"results\":[" : "{\n    \"results\": [");
    for (int64_t i = 0; i < v.n && !out->failed; i++) {
        tn_buf_z(out, i > 0 ? comma : "");
        if (classify)
            put_classes(&v, i, comma, out);
        else
            put_score(out, score_at(&v, i, 0));
    }
    tn_buf_z(out, compact ? "]}" : classify ? "\n    ]\n}" : "]\n}");
}

/* ---- protobuf ---- */

enum {
    CLASS_LABEL = 1,
    CLASS_SCORE = 2,
    REGRESSION_VALUE = 1,
    REPEATED = 1, /* classifications, classes, regressions */
    RESPONSE_RESULT = 1,
    RESPONSE_SPEC = 2,
    MULTI_RESULTS = 1,
    RESULT_SPEC = 1,
    RESULT_CLASSIFICATION = 2,
    RESULT_REGRESSION = 3
};

static size_t float_size(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits != 0 ? 1 + sizeof bits : 0;
}

static uint8_t *put_float(uint8_t *to, uint32_t field, float value)
{
    if (float_size(value) == 0)
        return to;
    *to++ = (uint8_t)(field << 3 | TN_PB_FIXED32);
    memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

/* Class{label, score} */
static size_t class_size(const view *v, int64_t i, int64_t c)
{
    size_t label = label_at(v, i, c).len;
    return (label > 0 ? tn_pb_head_size(CLASS_LABEL, label) + label : 0) + float_size(score_at(v, i, c));
}

static size_t classes_size(const view *v, int64_t i)
{
    size_t sum = 0;
    for (int64_t c = 0; c < v->width; c++) {
        size_t one = class_size(v, i, c);
        sum += tn_pb_head_size(REPEATED, one) + one;
    }
    return sum;
}

/* One element of classifications or regressions, without its head. */
static size_t element_size(const tn_infer_task *task, const view *v, int64_t i)
{
    return task->kind == TN_INFER_CLASSIFY ? classes_size(v, i) : float_size(score_at(v, i, 0));
}

/* ClassificationResult or RegressionResult */
static size_t result_size(const tn_infer_task *task, const view *v)
{
    size_t sum = 0;
    for (int64_t i = 0; i < v->n; i++) {
        size_t one = element_size(task, v, i);
        sum += tn_pb_head_size(REPEATED, one) + one;
    }
    return sum;
}

static uint8_t *put_class(uint8_t *to, const view *v, int64_t i, int64_t c)
{
    tn_str label = label_at(v, i, c);
    to += tn_pb_put_head(to, REPEATED, class_size(v, i, c));
    if (label.len > 0) {
        to += tn_pb_put_head(to, CLASS_LABEL, label.len);
        memcpy(to, label.ptr, label.len);
        to += label.len;
    }
    return put_float(to, CLASS_SCORE, score_at(v, i, c));
}

static uint8_t *put_result(uint8_t *to, const tn_infer_task *task, const view *v)
{
    for (int64_t i = 0; i < v->n; i++) {
        to += tn_pb_put_head(to, REPEATED, element_size(task, v, i));
        if (task->kind == TN_INFER_REGRESS)
            to = put_float(to, REGRESSION_VALUE, score_at(v, i, 0));
        else
            for (int64_t c = 0; c < v->width; c++)
                to = put_class(to, v, i, c);
    }
    return to;
}

void tn_infer_response(const tn_infer_task *task, const tern_tensor *outputs, tn_str model, int64_t version,
                       tn_buf *out)
{
    const view v = view_of(task, outputs);
    const size_t result = result_size(task, &v);
    const size_t whole = tn_pb_head_size(RESPONSE_RESULT, result) + result +
                         tn_pb_spec_size(RESPONSE_SPEC, model, version, task->signature->name);
    char *room = tn_buf_reserve(out, whole);
    if (room == NULL)
        return;
    uint8_t *to = (uint8_t *)room;
    to += tn_pb_put_head(to, RESPONSE_RESULT, result);
    to = put_result(to, task, &v);
    tn_pb_put_spec(to, RESPONSE_SPEC, model, version, task->signature->name);
    tn_buf_commit(out, whole);
}

void tn_infer_result(const tn_infer_task *task, const tern_tensor *outputs, tn_str model, int64_t version,
                     tn_buf *out)
{
    const view v = view_of(task, outputs);
    const uint32_t field = task->kind == TN_INFER_CLASSIFY ? RESULT_CLASSIFICATION : RESULT_REGRESSION;
    const size_t result = result_size(task, &v);
    const size_t inner = tn_pb_spec_size(RESULT_SPEC, model, version, task->signature->name) +
                         tn_pb_head_size(field, result) + result;
    const size_t whole = tn_pb_head_size(MULTI_RESULTS, inner) + inner;
    char *room = tn_buf_reserve(out, whole);
    if (room == NULL)
        return;
    uint8_t *to = (uint8_t *)room;
    to += tn_pb_put_head(to, MULTI_RESULTS, inner);
    to = tn_pb_put_spec(to, RESULT_SPEC, model, version, task->signature->name);
    to += tn_pb_put_head(to, field, result);
    put_result(to, task, &v);
    tn_buf_commit(out, whole);
}
