/*
 * codec/base64.h - base64 (RFC 4648, section 4) with the leniencies of the original: white space anywhere,
 * missing padding and dots as padding are fine; the URL-safe alphabet, wrong padding and other characters are
 * not. Pure, any thread.
 */
#ifndef TN_CODEC_BASE64_H
#define TN_CODEC_BASE64_H

#include "base/buf.h"

/* Upper bound of the decoded length. */
static inline size_t tn_base64_room(size_t length)
{
    return length / 4 * 3 + 3;
}
/*
 * Writes the decoded bytes to out (tn_base64_room() of them fit); *length gets their number. false: no
 * base64.
 */
bool tn_base64_decode(tn_str text, char *out, size_t *length);
/* Appends with padding. */
void tn_base64_encode(tn_str bytes, tn_buf *out);

#endif
