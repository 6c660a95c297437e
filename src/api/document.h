/*
 * api/document.h - inside of document.c and document_isolated.c: documents for handlers.
 */
#ifndef TN_API_DOCUMENT_H
#define TN_API_DOCUMENT_H

#include "api/request.h"

/* Answers with that body and what r->job says besides. The body stays until the request goes. */
void tn_document_answer(tn_request *r, tn_str body);
/*
 * The request, whose head has been looked at, goes to the processes of its version's handler; reads the body.
 * On an error nothing was set up.
 */
TERN_MUST_USE tern_code tn_document_isolated(tn_request *r, tn_exchange *ex, tern_status *st);

#endif
