/*
 * base/status.h - tern_status inside the server: names of the codes and their one mapping to HTTP.
 */
#ifndef TN_BASE_STATUS_H
#define TN_BASE_STATUS_H

#include "tern/status.h"

/* "INVALID_ARGUMENT" for TERN_INVALID_ARGUMENT; "UNKNOWN" for what is no code. Static. */
const char *tn_code_name(tern_code code);

/* HTTP status for a code, as TensorFlow Serving maps it (model_servers/http_server.cc: ToHTTPStatusCode). */
int tn_code_http(tern_code code);
/* The code that an HTTP status stands for: OK below 400, else the nearest of the mapping above. */
tern_code tn_http_code(int status);

#endif
