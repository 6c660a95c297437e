/*
 * codec/sagemaker_csv.h - CSV as the SageMaker container's proxy makes TensorFlow Serving's requests of it,
 * byte for byte, in both generations; what is no JSON then is for the JSON parser to say.
 *
 * {"instances":[LINE,LINE]}: a LINE in [ ] where it has several columns. Empty lines do not count. Up to
 * 2.19, all lines are numbers or none: the text's first character that is no blank decides (a quote, a digit,
 * or one of ".Ee+-"). Lines of numbers are left as they are; of others the whole is put in quotes, where the
 * first comma parts two strings and the first quote is escaped.
 * From 2.20 on, each field for itself: a comma inside quotes belongs to it, doubled quotes stand for one, and
 * what then is a JSON number is one, anything else a string. Quotes do not reach over line ends.
 * Linear time. Pure.
 */
#ifndef TN_CODEC_SAGEMAKER_CSV_H
#define TN_CODEC_SAGEMAKER_CSV_H

#include "base/region.h"

/* text: valid UTF-8. Appends the request. by_field: as from 2.20 on. Errors are those of the region. */
TERN_MUST_USE tern_code tn_sagemaker_csv_convert(tn_str text, bool by_field, tn_region *out, tern_status *st);

#endif
