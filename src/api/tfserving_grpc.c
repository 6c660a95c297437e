/*
 * api/tfserving_grpc.c - the gRPC services: tensorflow.serving.PredictionService and ModelService. Others are
 * in grpc_services.c.
 *
 * Predict is decoded as it arrives and scheduled; calls on examples are in tfserving_examples.c; the other
 * calls are small and answered on the loop. Texts and codes as in
 * model_servers/{prediction_service_impl,model_service_impl}.cc and the recorded answers.
 */
#include "api/grpc.h"
#include "api/inference.h"
#include "api/tfserving_json.h"
#include "base/status.h"
#include "model_service.pb-c.h"

/* What grpc++ says of a message that is no such message. */
static tern_code broken(tern_status *st)
{
    return tern_fail_bytes(st, TERN_INTERNAL, "", 0);
}

/* ---- Predict ---- */


static tern_code predict_encode(tn_call *call, tern_status *st)
{
    tn_request *r = TN_CONTAINER(call, tn_request, call);
    tn_str *names = tn_arena_array(&call->arena, call->n_outputs, sizeof *names);
    if (names == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to write the answer; try again later");
    for (uint32_t i = 0; i < call->n_outputs; i++)
        names[i] = call->signature->outputs[call->output_ids[i]].name;
    tern_code code = tn_pb_encode_predict(call->version->model, call->version->number, call->signature->name,
                                          names, call->outputs, call->n_outputs, r->server->as_tensor_content,
                                          &call->arena, &r->pieces, &r->n_pieces, &r->pieces_bytes, st);
    if (code == TERN_OK)
        tn_grpc_pack_answer(r);
    call->stage_ns[TN_STAGE_ENCODE] = tn_call_lap(call);
    return code;
}

const tn_call_steps tn_grpc_predict_steps = {.name = "predict",
                                             .kind = TN_COST_GRPC,
                                             .method = TN_METHOD_GRPC_PREDICT,
                                             .encode = predict_encode,
                                             .done = tn_request_done};

tern_code tn_grpc_target(const tn_model_spec *spec, tn_target *target, tern_status *st)
{
    if (!spec->present)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Missing ModelSpec");
    if (spec->name.len == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "ModelSpec has no name specified.");
    *target = (tn_target){.name = spec->name,
                          .has_version = spec->has_version,
                          .version = spec->version,
                          .has_label = spec->has_label,
                          .label = spec->label};
    return TERN_OK;
}

static tern_code bind(tn_request *r, tn_pb_predict_reader *reader, tern_status *st)
{
    tn_target target;
    tern_code code = tn_grpc_target(tn_pb_predict_spec(reader), &target, st);
    if (code == TERN_OK)
        code = tn_request_acquire(r, &target, st);
    return code == TERN_OK ? tn_predict_bind(r->server, &r->call, reader, st) : code;
}

void tn_grpc_predict(tn_request *r, tn_pb_predict_reader *reader)
{
    int64_t start = tn_now_ns();
    tern_status st;
    tern_code code = bind(r, reader, &st);
    r->call.stage_ns[TN_STAGE_DECODE] = tn_now_ns() - start;
    if (code == TERN_OK)
        tn_request_submit(r);
    else
        tn_request_fail(r, &st);
}

/* ---- small calls ---- */

/* The message fields of a ModelSpec that protobuf-c unpacked. */
static tn_model_spec spec_of(const Tensorflow__Serving__ModelSpec *m)
{
    tn_model_spec spec = {.present = m != NULL};
    if (m == NULL)
        return spec;
    spec.name = tn_str_from(m->name);
    spec.signature_name = tn_str_from(m->signature_name);
    if (m->version_choice_case == TENSORFLOW__SERVING__MODEL_SPEC__VERSION_CHOICE_VERSION) {
        spec.has_version = true;
        spec.version = m->version->value;
    } else if (m->version_choice_case == TENSORFLOW__SERVING__MODEL_SPEC__VERSION_CHOICE_VERSION_LABEL) {
        spec.has_label = true;
        spec.label = tn_str_from(m->version_label);
    }
    return spec;
}

static tern_code pack(const ProtobufCMessage *message, tn_buf *out, tern_status *st)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    char *room = tn_buf_reserve(out, n);
    if (room == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "The answer is larger than --max_response_bytes");
    tn_buf_commit(out, protobuf_c_message_pack(message, (uint8_t *)room));
    return TERN_OK;
}

static tern_code pack_status(const tn_version_status *versions, uint32_t n, tn_arena *arena, tn_buf *out,
                             tern_status *st)
{
    Tensorflow__Serving__GetModelStatusResponse response =
        TENSORFLOW__SERVING__GET_MODEL_STATUS_RESPONSE__INIT;
    Tensorflow__Serving__ModelVersionStatus *items = tn_arena_array(arena, n, sizeof *items);
    Tensorflow__Serving__StatusProto *statuses = tn_arena_array(arena, n, sizeof *statuses);
    Tensorflow__Serving__ModelVersionStatus **list = tn_arena_array(arena, n, sizeof *list);
    if (items == NULL || statuses == NULL || list == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for this call; try again later");
    for (uint32_t i = 0; i < n; i++) {
        tensorflow__serving__status_proto__init(&statuses[i]);
        tensorflow__serving__model_version_status__init(&items[i]);
        tn_str message = tn_arena_dup(arena, versions[i].error_message);
        statuses[i].error_code = (Tensorflow__Error__Code)versions[i].error_code;
        if (message.len > 0)
            statuses[i].error_message = (char *)(uintptr_t)message.ptr;
        items[i].version = versions[i].version;
        items[i].state = (Tensorflow__Serving__ModelVersionStatus__State)versions[i].state;
        items[i].status = &statuses[i];
        list[i] = &items[i];
    }
    response.n_model_version_status = n;
    response.model_version_status = list;
    return pack(&response.base, out, st);
}

static tern_code get_model_status(tn_server *server, tn_str message, tn_arena *arena, tn_buf *out,
                                  tern_status *st)
{
    Tensorflow__Serving__GetModelStatusRequest *request =
        tensorflow__serving__get_model_status_request__unpack(NULL, message.len,
                                                              (const uint8_t *)message.ptr);
    const tn_version_status *versions;
    uint32_t n;
    if (request == NULL)
        return broken(st);
    tn_model_spec spec = spec_of(request->model_spec);
    tern_code code = spec.present ? TERN_OK : tern_fail(st, TERN_INVALID_ARGUMENT, "Missing ModelSpec");
    if (code == TERN_OK)
        code = tn_models_status(server->models, spec.name, spec.has_version, spec.version, arena, &versions,
                                &n, st);
    if (code == TERN_OK)
        code = pack_status(versions, n, arena, out, st);
    tensorflow__serving__get_model_status_request__free_unpacked(request, NULL);
    return code;
}

static tern_code pack_metadata(const tn_version *v, tn_arena *arena, tn_buf *out, tern_status *st)
{
    Tensorflow__Serving__GetModelMetadataResponse response =
        TENSORFLOW__SERVING__GET_MODEL_METADATA_RESPONSE__INIT;
    Tensorflow__Serving__GetModelMetadataResponse__MetadataEntry entry =
        TENSORFLOW__SERVING__GET_MODEL_METADATA_RESPONSE__METADATA_ENTRY__INIT;
    Tensorflow__Serving__GetModelMetadataResponse__MetadataEntry *entries[] = {&entry};
    Tensorflow__Serving__ModelSpec spec = TENSORFLOW__SERVING__MODEL_SPEC__INIT;
    Google__Protobuf__Int64Value version = GOOGLE__PROTOBUF__INT64_VALUE__INIT;
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    tn_str name = tn_arena_dup(arena, v->model);
    tn_buf map;
    tn_buf_init(&map, 256u << 20);
    tn_signature_map(v, &map);
    version.value = v->number;
    spec.name = (char *)(uintptr_t)name.ptr;
    spec.version_choice_case = TENSORFLOW__SERVING__MODEL_SPEC__VERSION_CHOICE_VERSION;
    spec.version = &version;
    any.type_url = (char *)(uintptr_t) "type.googleapis.com/tensorflow.serving.SignatureDefMap";
    any.value = (ProtobufCBinaryData){map.len, (uint8_t *)map.ptr};
    entry.key = (char *)(uintptr_t) "signature_def";
    entry.value = &any;
    response.model_spec = &spec;
    response.n_metadata = 1;
    response.metadata = entries;
    tern_code code = pack(&response.base, out, st);
    tn_buf_free(&map);
    return code;
}

static tern_code check_metadata_fields(const Tensorflow__Serving__GetModelMetadataRequest *request,
                                       tern_status *st)
{
    if (request->model_spec == NULL)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "Missing ModelSpec");
    if (request->n_metadata_field == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "GetModelMetadataRequest must specify at least one metadata_field");
    for (size_t i = 0; i < request->n_metadata_field; i++)
        if (strcmp(request->metadata_field[i], "signature_def") != 0)
            return tern_fail(st, TERN_INVALID_ARGUMENT, "Metadata field %s is not supported",
                             request->metadata_field[i]);
    return TERN_OK;
}

static tern_code get_model_metadata(tn_server *server, tn_str message, tn_arena *arena, tn_buf *out,
                                    tern_status *st)
{
    Tensorflow__Serving__GetModelMetadataRequest *request =
        tensorflow__serving__get_model_metadata_request__unpack(NULL, message.len,
                                                                (const uint8_t *)message.ptr);
    tn_version *v = NULL;
    tn_target target;
    if (request == NULL)
        return broken(st);
    tn_model_spec spec = spec_of(request->model_spec);
    tern_code code = check_metadata_fields(request, st);
    if (code == TERN_OK)
        code = tn_grpc_target(&spec, &target, st);
    if (code == TERN_OK)
        code = tn_models_acquire(server->models, &target, &v, st);
    if (code == TERN_OK)
        code = pack_metadata(v, arena, out, st);
    tn_version_release(v);
    tensorflow__serving__get_model_metadata_request__free_unpacked(request, NULL);
    return code;
}

/* ---- table ---- */

static const tn_grpc_method methods[] = {
    {.path = "/tensorflow.serving.PredictionService/Predict",
     .predict = true,
     .method = TN_METHOD_GRPC_PREDICT},
    {.path = "/tensorflow.serving.PredictionService/Classify",
     .method = TN_METHOD_GRPC_CLASSIFY,
     .steps = &tn_grpc_classify_steps,
     .start = tn_grpc_classify},
    {.path = "/tensorflow.serving.PredictionService/Regress",
     .method = TN_METHOD_GRPC_REGRESS,
     .steps = &tn_grpc_regress_steps,
     .start = tn_grpc_regress},
    {.path = "/tensorflow.serving.PredictionService/MultiInference",
     .method = TN_METHOD_GRPC_MULTI_INFERENCE,
     .steps = &tn_grpc_multi_steps,
     .start = tn_grpc_multi},
    {.path = "/tensorflow.serving.PredictionService/GetModelMetadata",
     .unary = get_model_metadata,
     .method = TN_METHOD_GRPC_METADATA,
     .names_model = true},
    {.path = "/tensorflow.serving.ModelService/GetModelStatus",
     .unary = get_model_status,
     .method = TN_METHOD_GRPC_STATUS,
     .names_model = true},
    {.path = "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
     .start = tn_grpc_reload,
     .method = TN_METHOD_GRPC_OTHER},
};

const tn_grpc_method *tn_grpc_find(const tn_server *server, tn_str path)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (tn_str_eq(path, tn_str_from(methods[i].path)))
            return &methods[i];
    return tn_grpc_find_other(server, path);
}
