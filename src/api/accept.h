/*
 * api/accept.h - what a client can read: the Accept and Accept-Encoding fields (RFC 9110, 12.5.1 and 12.5.3),
 * and the Content-Type and Content-Encoding of what it sends. Pure, any thread.
 *
 * A field may come several times: each is added. Quality is in thousandths, -1 where a thing is not named.
 */
#ifndef TN_API_ACCEPT_H
#define TN_API_ACCEPT_H

#include "base/str.h"

/* What a predict call is written in. */
typedef enum tn_media {
    TN_MEDIA_JSON,
    TN_MEDIA_COMPACT,  /* application/json;format=compact */
    TN_MEDIA_PROTOBUF, /* application/x-protobuf: PredictRequest, PredictResponse */
    TN_MEDIA_NPY,      /* application/x-npy: one numpy array */
    TN_MEDIAS
} tn_media;

typedef struct tn_accept {
    int named[TN_MEDIAS];
    int place[TN_MEDIAS]; /* where in the field, from 0 */
    int any;              /* of the widest range that covers application/... */
    int n;
} tn_accept;

void tn_accept_init(tn_accept *a);
void tn_accept_add(tn_accept *a, tn_str field);
/*
 * The media that is liked best; of equals one that is named, the first of them. `usual` where the client
 * leaves it open, or wants what there is not: an answer of another form is better than none.
 */
tn_media tn_accept_choose(const tn_accept *a, tn_media usual);
/* Of a Content-Type field; JSON for what is unknown or absent. */
tn_media tn_media_of(tn_str content_type);
/* Content-Type of an answer. Static. */
tn_str tn_media_type(tn_media media);

typedef enum tn_content_coding {
    TN_CONTENT_IDENTITY,
    TN_CONTENT_GZIP,
    TN_CONTENT_DEFLATE,
    TN_CONTENT_ZSTD,
    TN_CONTENT_CODINGS,
    TN_CONTENT_UNKNOWN /* or several, one over the other */
} tn_content_coding;

typedef struct tn_accept_coding {
    int named[TN_CONTENT_CODINGS];
    int any; /* of "*" */
} tn_accept_coding;

void tn_accept_coding_init(tn_accept_coding *a);
void tn_accept_coding_add(tn_accept_coding *a, tn_str field);
/* zstd or gzip where the client likes one no less than plain bytes. *must: it refuses plain bytes. */
tn_content_coding tn_accept_coding_choose(const tn_accept_coding *a, bool *must);
/* Of a Content-Encoding field; IDENTITY when absent. */
tn_content_coding tn_content_coding_of(tn_str field);
/* "gzip", ... Static. */
tn_str tn_content_coding_name(tn_content_coding coding);

#endif
