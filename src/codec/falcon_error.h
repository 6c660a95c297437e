/*
 * codec/falcon_error.h - errors as falcon 3.1 writes them: which form the Accept field asks for, and the
 * body.
 *
 * falcon is the framework of the SageMaker container's Python service. Follows falcon/app_helpers.py
 * (default_serialize_error), falcon/http_error.py (to_json, to_xml) and its copy of mimeparse. Pure, any
 * thread.
 */
#ifndef TN_CODEC_FALCON_ERROR_H
#define TN_CODEC_FALCON_ERROR_H

#include "base/buf.h"

typedef enum tn_falcon_form {
    TN_FALCON_NONE, /* nothing that the client takes: no body */
    TN_FALCON_JSON,
    TN_FALCON_XML,
    TN_FALCON_TEXT_XML
} tn_falcon_form;

/* The form for an Accept field; several fields are to be joined with ','. Absent or empty: JSON. */
tn_falcon_form tn_falcon_form_of(tn_str accept);
/* Content-Type of that form. With no body it is JSON's all the same, falcon's default. Static. */
tn_str tn_falcon_type(tn_falcon_form form);
/*
 * "404 Not Found", as falcon names statuses. Static, or in text (32 bytes) for those that it does not know.
 */
tn_str tn_falcon_status(int status, char text[32]);
/* Appends the body: title, and the description unless it is absent (ptr NULL). Nothing for TN_FALCON_NONE. */
void tn_falcon_body(tn_buf *out, tn_falcon_form form, tn_str title, tn_str description);

#endif
