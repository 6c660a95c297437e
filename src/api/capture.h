/*
 * api/capture.h - data capture: what a part of the requests sent and got, for SageMaker's Model Monitor.
 *
 * A tap hangs on a request that was drawn. Body and answer are copied into it as they pass, up to
 * --max_capture_bytes each and paid for from the budget of bytes in flight; when the answer is complete and
 * good the tap becomes a record (observe/capture.h), else it is dropped. It never makes a request fail or
 * wait. On the exchange's loop; NULL is a tap that catches nothing.
 */
#ifndef TN_API_CAPTURE_H
#define TN_API_CAPTURE_H

#include "api/server.h"
#include "observe/capture.h"

/* Made by cli/runtime.c; lives as long as the server. */
typedef struct tn_capture_settings {
    tn_capture *writer;
    double share;                 /* of requests, 0 to 1 */
    tn_str csv_types, json_types; /* "text/csv,..." */
} tn_capture_settings;

typedef struct tn_tap tn_tap;

/* NULL: this one was not drawn, or there is no capture. endpoint and variant name the folder. */
tn_tap *tn_tap_open(tn_server *server, const tn_exchange *ex, tn_str endpoint, tn_str variant);
void tn_tap_input(tn_tap *tap, const void *bytes, size_t n);
void tn_tap_head(tn_tap *tap, const tn_response *response);
void tn_tap_output(tn_tap *tap, const void *bytes, size_t n);
/* The end; the tap is gone. complete: the answer is whole. */
void tn_tap_close(tn_tap *tap, bool complete);
/* Head, output and end of a whole answer. */
void tn_tap_answer(tn_tap *tap, const tn_response *response);

/*
 * A client's request for an invocation (/invocations, /models/NAME/invoke): when it is drawn, it is handed to
 * `route` by a relay that taps it, and true is returned.
 */
bool tn_capture_route(tn_server *server, tn_exchange *ex, const tn_target_parts *parts,
                      void (*route)(tn_server *server, tn_exchange *ex));

#endif
