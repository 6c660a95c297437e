/*
 * api/sagemaker_service.h - answers in the forms of the container's Python service (falcon), for all that
 * stands in
 * for it: the service form itself, several models, scripts.
 *
 * On the exchange's loop. Each comes twice: for an exchange that has no request yet, which it takes, and for
 * a request, which it ends for the caller as tn_request_send() does. Texts are copied.
 */
#ifndef TN_API_SAGEMAKER_SERVICE_H
#define TN_API_SAGEMAKER_SERVICE_H

#include "api/request.h"
#include "api/sagemaker.h"

/*
 * falcon's errors: {"title": ..., "description": ...}, XML or nothing, by the Accept field. title absent (ptr
 * NULL): "404 Not Found"; description absent: none.
 */
void tn_service_error(tn_server *server, tn_exchange *ex, int status, tn_str title, tn_str description);
void tn_service_request_error(tn_request *r, int status, tn_str title, tn_str description);
/* 405, with the methods that are. */
void tn_service_not_allowed(tn_server *server, tn_exchange *ex, tn_str allow);
/* The service's own: {"error": ...}, as json.dumps() writes it. */
void tn_service_own_error(tn_server *server, tn_exchange *ex, int status, tn_str error);
void tn_service_request_own_error(tn_request *r, int status, tn_str error);
/* A text as it is, labelled application/json. */
void tn_service_text(tn_server *server, tn_exchange *ex, int status, tn_str text);
void tn_service_request_text(tn_request *r, int status, tn_str text);

/*
 * A field's value; fields of that name that come several times are joined with ',', in room (initialised by
 * the caller). Absent: {NULL, 0}.
 */
tn_str tn_service_header(const tn_exchange *ex, const char *name, tn_buf *room);

#endif
