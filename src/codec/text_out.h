/*
 * codec/text_out.h - text that is made piece by piece into a region: small pieces are gathered first.
 *
 * An error (the region's limit, the budget, memory) is kept; what comes after it is dropped, and
 * tn_text_finish() tells. One thread at a time; the region is borrowed.
 */
#ifndef TN_CODEC_TEXT_OUT_H
#define TN_CODEC_TEXT_OUT_H

#include <string.h>

#include "base/region.h"

typedef struct tn_text_out {
    tn_region *region;
    tern_code code;
    tern_status status;
    size_t n;
    char few[4096];
} tn_text_out;

static inline void tn_text_start(tn_text_out *out, tn_region *region)
{
    out->region = region;
    out->code = TERN_OK;
    out->n = 0;
}

static inline void tn_text_flush(tn_text_out *out)
{
    if (out->code == TERN_OK && out->n > 0)
        out->code = tn_region_append(out->region, out->few, out->n, &out->status);
    out->n = 0;
}

static inline void tn_text_add(tn_text_out *out, const char *bytes, size_t n)
{
    if (n > sizeof out->few - out->n)
        tn_text_flush(out);
    if (n > sizeof out->few) {
        if (out->code == TERN_OK)
            out->code = tn_region_append(out->region, bytes, n, &out->status);
    } else if (n > 0) {
        memcpy(out->few + out->n, bytes, n);
        out->n += n;
    }
}

static inline void tn_text_str(tn_text_out *out, tn_str s)
{
    tn_text_add(out, s.ptr, s.len);
}

static inline void tn_text_char(tn_text_out *out, char c)
{
    if (out->n == sizeof out->few)
        tn_text_flush(out);
    out->few[out->n++] = c;
}

TERN_MUST_USE static inline tern_code tn_text_finish(tn_text_out *out, tern_status *st)
{
    tn_text_flush(out);
    if (out->code != TERN_OK)
        *st = out->status;
    return out->code;
}

#endif
