/*
 * codec/proxy_uri.h - paths as nginx, in front of the SageMaker container's parts, sees and passes them on.
 *
 * Pure. All work on bytes; each output is at most as long as said.
 */
#ifndef TN_CODEC_PROXY_URI_H
#define TN_CODEC_PROXY_URI_H

#include "base/str.h"

/*
 * A request's path (no query) as it is looked up: percent-encoding undone, "//" made one, "." and ".."
 * resolved, cut at '#'. out: path.len bytes. false: nginx answers 400 (above the root, "%XY" that is none,
 * "%00", control characters). Anything encoded counts as if it were not, but for "%23", "%25" and "%3F",
 * which end or begin nothing.
 */
bool tn_proxy_uri_normal(tn_str path, char *out, size_t *n);

/*
 * A path that the proxy's own code made (query cut off already), as it is looked up: only percent-encoding is
 * undone, and what is broken of it dropped. out: path.len bytes. false: it holds "/../" or a NUL, before or
 * after that: nginx refuses it.
 */
bool tn_proxy_uri_inner(tn_str path, char *out, size_t *n);

/* A path as it is passed on: what is not allowed in one is percent-encoded. out: 3 * path.len bytes. */
size_t tn_proxy_uri_escape(tn_str path, char *out);

/*
 * Media type that nginx gives to a path's extension (its mime.types), or the absent slice. "/ping.html":
 * text/html.
 */
tn_str tn_proxy_uri_type(tn_str path);

#endif
