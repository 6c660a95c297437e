/*
 * api/http.h - answers in HTTP's plain forms: JSON errors, short texts. For all surfaces but gRPC. On the
 * exchange's loop.
 */
#ifndef TN_API_HTTP_H
#define TN_API_HTTP_H

#include "api/request.h"
#include "base/status.h"

/* Gives a response without body a copy of text, which goes with it; no body when memory is short. */
void tn_http_copy_body(tn_response *response, tn_str text);
/* Answers an exchange that has no request yet, with a copied body. */
void tn_http_text(tn_server *server, tn_exchange *ex, int status, tn_str content_type, tn_str text,
                  tern_code code);
/* The same with header fields of the caller's, which are copied. */
void tn_http_send(tn_server *server, tn_exchange *ex, int status, const tn_header *headers, size_t n,
                  tn_str text, tern_code code);
/* The first with {"error": "..."} in TensorFlow Serving's form and the status that belongs to st->code. */
void tn_http_error(tn_server *server, tn_exchange *ex, const tern_status *st);
/* The same with a text of any length. */
void tn_http_error_text(tn_server *server, tn_exchange *ex, tern_code code, tn_str text);
/* tn_surface.error of REST and document calls. A handler's own status goes before that of the code. */
void tn_http_request_error(tn_request *r, const tern_status *st);
/* The body of that, appended. */
void tn_http_request_error_body(const tn_request *r, const tern_status *st, tn_buf *body);
/* Bytes that it may take. */
size_t tn_http_request_error_bound(const tn_request *r, const tern_status *st);
/* A good answer. The chunks, and what they point to, stay until the request goes. */
typedef struct tn_http_answer {
    tn_str content_type;
    int status;                         /* 0: 200 */
    tn_str coding;                      /* Content-Encoding, or absent */
    const tern_handler_header *headers; /* more of them, as a handler made them */
    uint32_t n_headers;
    bool varies; /* its form depends on Accept and Accept-Encoding */
    const tn_chunk *chunks;
    size_t n_chunks;
} tn_http_answer;

/*
 * Sends it; it counts as OK, or with a status of an error as what that stands for. With server-timing unless
 * the server is strict, and with the model and version that answered where extensions are on.
 */
void tn_http_request_send(tn_request *r, const tn_http_answer *answer);
/*
 * Appends the body of tn_http_request_error(). For errors without a text, which the original has, too,
 * nothing.
 */
void tn_http_request_error_body(const tn_request *r, const tern_status *st, tn_buf *out);
/* {"error": "message"} as TensorFlow Serving prints it: 4 spaces, no newline at the end. */
void tn_http_error_body(const tn_server *server, tn_buf *out, tn_str message);

#endif
