/*
 * api/coding.h - bodies in a content coding: gzip (RFC 1952), deflate (RFC 1950, and the bare RFC 1951 that
 * some clients send), zstd (RFC 8878 with the window of RFC 9659). Pure but for memory; any thread, but not
 * on an event loop what is large.
 */
#ifndef TN_API_CODING_H
#define TN_API_CODING_H

#include "api/accept.h"
#include "base/buf.h"
#include "base/region.h"
#include "net/net.h"

/*
 * Inflates one stream that must fill the body. *plain is a region that the caller frees; it is empty when the
 * body is no such thing (TensorFlow Serving then reports an empty document). Memory is taken from the budget
 * as it is produced, at most a megabyte ahead. Only limits fail: INVALID_ARGUMENT over max bytes,
 * RESOURCE_EXHAUSTED over the budget.
 */
TERN_MUST_USE tern_code tn_inflate(tn_content_coding coding, tn_str body, tn_budget *budget, size_t max,
                                   tn_region *plain, tern_status *st);

/*
 * Appends the chunks, compressed by gzip or zstd as one stream, to out, which grows in steps of 16 kB. False
 * when its max is passed or memory is short; out then holds rubbish.
 */
bool tn_compress(tn_content_coding coding, const tn_chunk *chunks, size_t n, tn_buf *out);

#endif
