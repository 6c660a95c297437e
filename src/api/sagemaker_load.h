/*
 * api/sagemaker_load.h - inside of api/sagemaker_models.h: requests that change which models there are. They
 * may have to wait for each other, so they are detached (api/request.h), and their answers are made at the
 * end. On the request's loop.
 */
#ifndef TN_API_SAGEMAKER_LOAD_H
#define TN_API_SAGEMAKER_LOAD_H

#include "api/request.h"
#include "api/sagemaker_table.h"

typedef enum tn_op_form {
    TN_OP_SUCCESS, /* {"success": text} */
    TN_OP_ERROR,   /* {"error": text} */
    TN_OP_TEXT,    /* the text, labelled JSON */
    TN_OP_FALCON   /* an exception that nobody catches: the text is for the log */
} tn_op_form;

/* In the request's arena, at the beginning of what belongs to it. */
typedef struct tn_model_op {
    tn_waiter waiter;
    tn_request *request;
    tn_str name;
    tn_op_form form;
    int status;
    tn_str text; /* in the arena, or static */
} tn_model_op;

/* NULL: was answered. */
tn_request *tn_model_op_request(tn_server *server, tn_exchange *ex);
/*
 * Detaches; again: called when somebody who was waited for has ended. A client that leaves changes nothing.
 */
void tn_model_op_start(tn_model_op *op, tn_request *r, void (*again)(tn_task *waiter));
/* Answers. The operation is gone afterwards. */
void tn_model_op_end(tn_model_op *op, tn_op_form form, int status, tn_str text);
/* The texts one behind the other, in the request's arena: names and paths may hold any character. */
tn_str tn_model_op_text(tn_request *r, const tn_str *texts, size_t n);
#define TN_OP_TEXT_OF(r, ...)                                                                                \
    tn_model_op_text((r), (const tn_str[]){__VA_ARGS__},                                                     \
                     sizeof((const tn_str[]){__VA_ARGS__}) / sizeof(tn_str))
/* "invalid model_name: 'x y'", in the request's arena. */
tn_str tn_model_bad_name(tn_request *r, tn_str name);

#endif
