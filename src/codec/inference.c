/* codec/inference.c - plans and checks: see codec/inference.h. */
#include "codec/inference.h"

#define TEXT_MAX (64u << 10) /* of a signature in an error; a status keeps the first bytes */

/* ---- a signature as protobuf's text form, for errors ---- */

static void put_escaped(tn_buf *out, tn_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '\n')
            tn_buf_z(out, "\\n");
        else if (c == '\r')
            tn_buf_z(out, "\\r");
        else if (c == '\t')
            tn_buf_z(out, "\\t");
        else if (c == '"' || c == '\'' || c == '\\')
            tn_buf_printf(out, "\\%c", c);
        else if (c < 0x20 || c >= 0x7F)
            tn_buf_printf(out, "\\%03o", c);
        else
            tn_buf_char(out, (char)c);
    }
}

static void put_text(tn_buf *out, const char *before, tn_str s)
{
    tn_buf_z(out, before);
    tn_buf_char(out, '"');
    put_escaped(out, s);
    tn_buf_z(out, "\"\n");
}

/* An entry of SignatureDef.inputs or outputs: key, TensorInfo. */
static void put_io(tn_buf *out, const char *field, const tern_io *io)
{
    const char *dtype = tn_dtype_enum_name(io->dtype);
    tn_buf_printf(out, "%s {\n", field);
    put_text(out, "  key: ", io->name);
    tn_buf_z(out, "  value {\n");
    if (io->tensor_name.len > 0)
        put_text(out, "    name: ", io->tensor_name);
    tn_buf_printf(out, "    dtype: %s\n    tensor_shape {\n", dtype != NULL ? dtype : "DT_INVALID");
    for (int32_t d = 0; d < io->rank; d++)
        if (io->dims[d] != 0)
            tn_buf_printf(out, "      dim {\n        size: %lld\n      }\n", (long long)io->dims[d]);
        else
            tn_buf_z(out, "      dim {\n      }\n");
    tn_buf_z(out, io->rank < 0 ? "      unknown_rank: true\n    }\n  }\n}\n" : "    }\n  }\n}\n");
}

static tern_code signature_error(const char *what, const tern_signature *s, tern_status *st)
{
    tn_buf text;
    tn_buf_init(&text, TEXT_MAX);
    tn_buf_z(&text, what);
    for (uint32_t i = 0; i < s->n_inputs; i++)
        put_io(&text, "inputs", &s->inputs[i]);
    for (uint32_t i = 0; i < s->n_outputs; i++)
        put_io(&text, "outputs", &s->outputs[i]);
    if (s->method_name.len > 0)
        put_text(&text, "method_name: ", s->method_name);
    tern_code code = tern_fail_bytes(st, TERN_INVALID_ARGUMENT, text.ptr, text.len);
    tn_buf_free(&text);
    return code;
}

/* ---- plan ---- */

static tern_code check_method_name(tn_infer_kind kind, const tern_signature *s, tern_status *st)
{
    const tn_str want = kind == TN_INFER_CLASSIFY ? TN_STR("tensorflow/serving/classify")
                                                  : TN_STR("tensorflow/serving/regress");
    if (tn_str_eq(s->method_name, want))
        return TERN_OK;
    return tern_fail(st, TERN_INVALID_ARGUMENT, "Expected %s signature method_name to be %s. Was: %.*s",
                     kind == TN_INFER_CLASSIFY ? "classification" : "regression", want.ptr,
                     TN_FMT(s->method_name));
}

static tern_code plan_classify(const tern_signature *s, tn_infer_task *out, tern_status *st)
{
    if (s->n_outputs != 1 && s->n_outputs != 2)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Expected one or two output Tensors, found %u",
                         s->n_outputs);
    if (tn_signature_input(s, TN_STR("inputs")) < 0)
        return signature_error("No classification inputs found in SignatureDef: ", s, st);
    int classes = tn_signature_output(s, TN_STR("classes"));
    int scores = tn_signature_output(s, TN_STR("scores"));
    if (classes < 0 && scores < 0)
        return signature_error("Expected classification signature outputs to contain at least one of "
                               "\"classes\" or \"scores\". Signature was: ",
                               s, st);
    /* One tensor under both names counts as the classes: the original finds it by the tensor's name. */
    if (classes >= 0 && scores >= 0 && s->outputs[classes].tensor_name.len > 0 &&
        tn_str_eq(s->outputs[classes].tensor_name, s->outputs[scores].tensor_name))
        scores = -1;
    out->has_classes = classes >= 0;
    out->has_scores = scores >= 0;
    if (classes >= 0)
        out->output_ids[out->n_outputs++] = (uint32_t)classes;
    if (scores >= 0)
        out->output_ids[out->n_outputs++] = (uint32_t)scores;
    return TERN_OK;
}

static tern_code plan_regress(const tern_signature *s, tn_infer_task *out, tern_status *st)
{
    if (s->n_outputs != 1)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Expected one output Tensor.");
    if (tn_signature_input(s, TN_STR("inputs")) < 0)
        return signature_error("No regression inputs found in SignatureDef: ", s, st);
    if (tn_signature_output(s, TN_STR("outputs")) < 0)
        return signature_error("No regression outputs found in SignatureDef: ", s, st);
    out->n_outputs = 1;
    return TERN_OK;
}

tern_code tn_infer_plan(tn_infer_kind kind, const tern_signature *s, bool check_method, tn_infer_task *out,
                        tern_status *st)
{
    *out = (tn_infer_task){.kind = kind, .signature = s};
    tern_code code = check_method ? check_method_name(kind, s, st) : TERN_OK;
    if (code != TERN_OK)
        return code;
    if (s->n_inputs != 1)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Expected one input Tensor.");
    return kind == TN_INFER_CLASSIFY ? plan_classify(s, out, st) : plan_regress(s, out, st);
}

/* ---- check ---- */

/* "[2,3]" */
static const char *shape_text(const tern_tensor *t, char *text, size_t size)
{
    size_t n = 0;
    text[n++] = '[';
    for (int32_t d = 0; d < t->rank && n < size; d++) {
        int w = snprintf(text + n, size - n, d > 0 ? ",%lld" : "%lld", (long long)t->dims[d]);
        n += w > 0 ? (size_t)w : 0;
    }
    if (n + 2 > size)
        n = size - 2;
    text[n] = ']';
    text[n + 1] = '\0';
    return text;
}

static const char *dtype_text(tern_dtype dtype)
{
    const char *name = tn_dtype_enum_name(dtype);
    return name != NULL ? name : "DT_INVALID";
}

static tern_code check_matrix(const char *what, const tern_tensor *t, tern_dtype want, int64_t n,
                              tern_status *st)
{
    char text[512];
    if (t->rank != 2)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Expected Tensor shape: [batch_size num_classes] but got %s",
                         shape_text(t, text, sizeof text));
    if (t->dtype != want)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Expected %s Tensor of %s. Got: %s", what,
                         dtype_text(want), dtype_text(t->dtype));
    if (t->dims[0] != n)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Expected %s output batch size of %lld. Got: %lld", what,
                         (long long)n, (long long)t->dims[0]);
    return TERN_OK;
}

static tern_code check_classify(const tn_infer_task *task, const tern_tensor *outputs, int64_t n,
                                tern_status *st)
{
    tern_code code = TERN_OK;
    const tern_tensor *scores = &outputs[task->has_classes];
    if (task->has_classes)
        code = check_matrix("classes", &outputs[0], TERN_STRING, n, st);
    if (code == TERN_OK && task->has_scores)
        code = check_matrix("scores", scores, TERN_FLOAT, n, st);
    if (code == TERN_OK && task->has_classes && task->has_scores && outputs[0].dims[1] != scores->dims[1])
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Tensors class and score should match in dim_size(1). Got %lld vs. %lld",
                         (long long)outputs[0].dims[1], (long long)scores->dims[1]);
    return code;
}

static tern_code check_regress(const tern_tensor *t, int64_t n, tern_status *st)
{
    char text[512];
    if (t->rank != 1 && !(t->rank == 2 && t->dims[1] == 1))
        return tern_fail(
            st, TERN_INVALID_ARGUMENT,
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got %s",
            shape_text(t, text, sizeof text));
    if (t->dims[0] != n)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "Input batch size did not match output batch size: %lld vs. %lld", (long long)n,
                         (long long)t->dims[0]);
    if (t->dtype != TERN_FLOAT)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Expected output Tensor of DT_FLOAT.  Got: %s",
                         dtype_text(t->dtype));
    return TERN_OK;
}

tern_code tn_infer_check(const tn_infer_task *task, const tern_tensor *outputs, int64_t n, tern_status *st)
{
    return task->kind == TN_INFER_CLASSIFY ? check_classify(task, outputs, n, st)
                                           : check_regress(&outputs[0], n, st);
}
