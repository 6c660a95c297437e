/*
 * codec/sagemaker_attributes.h - X-Amzn-SageMaker-Custom-Attributes as the container's proxy reads it.
 *
 * Anything in the header that looks like tfs-NAME=VALUE counts, wherever it begins (NAME: lower-case letters
 * and '-';
 * VALUE: up to the next comma, not empty); with a second '=' it is passed over. The last of a name wins.
 * Linear time. Pure.
 */
#ifndef TN_CODEC_SAGEMAKER_ATTRIBUTES_H
#define TN_CODEC_SAGEMAKER_ATTRIBUTES_H

#include "base/str.h"

/* Slices of the header; absent (ptr NULL) where it does not say. */
typedef struct tn_sagemaker_attributes {
    tn_str model_name;    /* tfs-model-name */
    tn_str model_version; /* tfs-model-version */
    tn_str method;        /* tfs-method */
} tn_sagemaker_attributes;

tn_sagemaker_attributes tn_sagemaker_attributes_read(tn_str header);

/* From 2.20 on a name, a version and a method have to look like one. */
bool tn_sagemaker_is_name(tn_str name); /* a letter or digit, then up to 254 of those, '.', '_', '-' */
bool tn_sagemaker_is_version(tn_str version);
bool tn_sagemaker_is_method(tn_str method);

#endif
