/*
 * api/script_fields.h - what frames of handler scripts carry, beside the fields of handler/script_wire.h. The
 * other side is python/tern/worker/wire.py.
 *
 * CALL (STAGE start): the request: BODY or BODY_REF, and CONTEXT and LENGTH, which make the script's context
 * (in one piece, for most requests have that of the one before). ANSWER to it: the script's answer (STATUS,
 * CONTENT_TYPE, HEADER..., BODY or BODY_REF; or TITLE for an error in falcon's form), or, of an
 * input_handler, STAGE start with BODY or BODY_REF or tensors.
 * CALL (STAGE output): the model's answer: STATUS, BODY or BODY_REF or tensors. ANSWER: the script's answer.
 * ASK: tensors, and MODEL, VERSION, SIGNATURE, OUTPUT... RESULT: tensors, or ERROR with STATUS.
 * PART: BODY; the first one also CONTENT_TYPE, HEADER..., STATUS. MORE: nothing, or ERROR: nobody reads on.
 * The ANSWER behind it has STREAM: 1, or 0 when the answer broke off.
 */
#ifndef TN_API_SCRIPT_FIELDS_H
#define TN_API_SCRIPT_FIELDS_H

#include "handler/script_wire.h"

enum {
    TN_SCRIPT_BODY = TN_TAG_KIND + 1, /* bytes */
    TN_SCRIPT_BODY_REF,               /* tn_frame_ref */
    TN_SCRIPT_STAGE,                  /* u64: 0 start, 1 output */
    TN_SCRIPT_MODEL,                  /* text; absent: None */
    TN_SCRIPT_VERSION,                /* text */
    TN_SCRIPT_METHOD,                 /* text */
    TN_SCRIPT_REST_URI,               /* text */
    TN_SCRIPT_GRPC_PORT,              /* text */
    TN_SCRIPT_ATTRIBUTES,             /* text */
    TN_SCRIPT_CONTENT_TYPE,           /* text */
    TN_SCRIPT_ACCEPT,                 /* text */
    TN_SCRIPT_LENGTH,                 /* u64 */
    TN_SCRIPT_STATUS,                 /* u64 */
    TN_SCRIPT_HEADER,                 /* name, a NUL, value */
    TN_SCRIPT_TITLE,                  /* UTF-8 */
    TN_SCRIPT_DESCRIPTION,            /* UTF-8 */
    TN_SCRIPT_SIGNATURE,              /* UTF-8 */
    TN_SCRIPT_OUTPUT,                 /* UTF-8 */
    TN_SCRIPT_STREAM,                 /* u64 */
    TN_SCRIPT_CONTEXT,                /* a frame of its own: MODEL to ACCEPT */
};

enum { TN_SCRIPT_STAGE_START, TN_SCRIPT_STAGE_OUTPUT };

#endif
