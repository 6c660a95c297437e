/*
 * api/envelope.h - answers in the words of SageMaker's runtime API: its errors as SDKs raise them.
 *
 * Shapes and statuses are those of botocore's service model sagemaker-runtime 2017-05-13 (ModelError,
 * ValidationError, ...); the type of an error is in the field x-amzn-errortype, its members are the JSON
 * body. The sentence of a ModelError is the one that SageMaker writes. What a local server has not, the
 * account, is zeros; the region is the one that the client signed for.
 */
#ifndef TN_API_ENVELOPE_H
#define TN_API_ENVELOPE_H

#include "api/server.h"

/* Longest Message and OriginalMessage (service model: Message). */
#define TN_ENVELOPE_MESSAGE 2048

/* What an answer tells of its request. All slices are lent. */
typedef struct tn_envelope {
    tn_str endpoint, variant;
    tn_str region;     /* "us-east-1" */
    tn_str request_id; /* x-amzn-requestid */
} tn_envelope;

typedef enum tn_fault {
    TN_FAULT_VALIDATION,  /* ValidationError, 400 */
    TN_FAULT_MODEL,       /* ModelError, 424 */
    TN_FAULT_NOT_READY,   /* ModelNotReadyException, 429 */
    TN_FAULT_UNAVAILABLE, /* ServiceUnavailable, 503 */
} tn_fault;

/*
 * The region of a request signed with AWS Signature Version 4: of its Authorization field, "us-east-1" where
 * there is none. The signature is not looked at.
 */
tn_str tn_envelope_region(const tn_exchange *ex);

/*
 * Answers with an error that is not the model's: {"Message": ...}. error_code: ErrorCode, or absent. server:
 * where it is counted; NULL: it has been.
 */
void tn_envelope_fault(tn_server *server, tn_exchange *ex, const tn_envelope *e, tn_fault fault,
                       tn_str error_code, tn_str message);
/*
 * Answers with the ModelError for what the model answered; counts nothing, that was done when it did. body:
 * as it is, cut where it is too long.
 */
void tn_envelope_model_error(tn_exchange *ex, const tn_envelope *e, int status, tn_str body);
/* The same as text: Message, for files of async invocations. Appends. */
void tn_envelope_model_text(tn_buf *out, const tn_envelope *e, int status, tn_str body);

#endif
