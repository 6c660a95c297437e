/*
 * codec/service_request.h - what the SageMaker container's Python service reads from a request's custom
 * attributes, and the path that it then asks TensorFlow Serving for.
 *
 * Follows tfs_utils.py of both generations (parse_tfs_custom_attributes, make_tfs_uri) and what requests and
 * urllib3 make of a URL. Pure, any thread.
 */
#ifndef TN_CODEC_SERVICE_REQUEST_H
#define TN_CODEC_SERVICE_REQUEST_H

#include "base/buf.h"

/* Slices of the field; absent (ptr NULL) where it does not say. The last of each counts. */
typedef struct tn_service_attributes {
    tn_str model_name, model_version, method;
} tn_service_attributes;

/*
 * Reads X-Amzn-SageMaker-Custom-Attributes: what matches tfs-[a-z-]+=[^,]+. With strict, as up to 2.19, false
 * when a value has a '=' (there an exception that nobody catches: 500).
 */
bool tn_service_attributes_read(tn_str field, bool strict, tn_service_attributes *out);
/*
 * 2.20 only: what is wrong with them, in the original's words, or absent. name: that of the model that is
 * asked.
 */
tn_str tn_service_attributes_fault(const tn_service_attributes *a, tn_str name);
/* 2.20: whether it may be a model's name: ^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$. */
bool tn_service_is_model_name(tn_str name);
/*
 * Appends "/v1/models/NAME[/versions/V]:METHOD", as it stands in a script's context.rest_uri behind the port.
 */
void tn_service_rest_path(tn_buf *out, tn_str name, const tn_service_attributes *a);
/* Whether that path is its own target: it has nothing that tn_service_target() would change. */
bool tn_service_is_plain(tn_str name, const tn_service_attributes *a);
/*
 * Appends the request target that requests.post() sends for such a path: without fragment, dot segments
 * resolved, percent-encoded where it must be. Bytes above 0x7F count as Latin-1 with latin1 (they came from a
 * header field), else as UTF-8.
 */
void tn_service_target(tn_buf *out, tn_str path, bool latin1);

#endif
