/*
 * api/inflate.h - gzip bodies, bounded in output as they inflate. Pure but for memory; any thread.
 */
#ifndef TN_API_INFLATE_H
#define TN_API_INFLATE_H

#include "base/region.h"

/*
 * Inflates one gzip member (RFC 1952) that must fill the body. *plain is a region that the caller frees; it
 * is empty when the body is no such thing (TensorFlow Serving then reports an empty document). Only limits
 * fail: INVALID_ARGUMENT over max bytes, RESOURCE_EXHAUSTED over the budget.
 */
TERN_MUST_USE tern_code tn_inflate_gzip(tn_str body, tn_budget *budget, size_t max, tn_region *plain,
                                        tern_status *st);

#endif
