/*
 * codec/sagemaker_json.h - JSON, JSON lines and strings of JSON values as the SageMaker container's proxy
 * makes TensorFlow Serving's requests of them, byte for byte.
 *
 * Nothing is parsed: the text is looked at for "instances", "inputs" or "examples" as a key anywhere, else
 * for lines (a closing and an opening bracket with nothing but blanks between them), else it is one instance,
 * or a list of them where it begins with two brackets. Linear time. Pure.
 */
#ifndef TN_CODEC_SAGEMAKER_JSON_H
#define TN_CODEC_SAGEMAKER_JSON_H

#include "base/region.h"

typedef enum tn_sagemaker_json {
    TN_SAGEMAKER_JSON_AS_IS, /* a request of TensorFlow Serving's already */
    TN_SAGEMAKER_JSON_LINES, /* {"instances":[LINE,LINE]}, or {"instances":LINE} where there is one */
    TN_SAGEMAKER_JSON_LIST,  /* {"instances":TEXT} */
    TN_SAGEMAKER_JSON_ONE    /* {"instances":[TEXT]} */
} tn_sagemaker_json;

/* text: valid UTF-8, as for all functions here. */
tn_sagemaker_json tn_sagemaker_json_look(tn_str text);
/* Appends the request; form: what look() said. Errors are those of the region. */
TERN_MUST_USE tern_code tn_sagemaker_json_convert(tn_str text, tn_sagemaker_json form, tn_region *out,
                                                  tern_status *st);

#endif
