/*
 * api/tfserving_json.h - the JSON of model status and metadata, as TensorFlow Serving prints it. Any thread.
 */
#ifndef TN_API_TFSERVING_JSON_H
#define TN_API_TFSERVING_JSON_H

#include "base/buf.h"
#include "model/model.h"

/* GET /v1/models/NAME[/versions/N]: GetModelStatusResponse. Labels are ignored, as in the original. */
TERN_MUST_USE tern_code tn_status_json(tn_models *models, const tn_target *target, tn_arena *arena,
                                       tn_buf *out, tern_status *st);
/* GET .../metadata: model_spec and the signatures. */
TERN_MUST_USE tern_code tn_metadata_json(tn_models *models, const tn_target *target, tn_arena *arena,
                                         tn_buf *out, tern_status *st);
/*
 * Appends the version's signatures as a serialized tensorflow.serving.SignatureDefMap: the model's own bytes
 * where the engine has them, else made from the signatures.
 */
void tn_signature_map(const tn_version *v, tn_buf *out);

#endif
