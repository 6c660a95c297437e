/*
 * fuzz_pb_text.c - protobuf text files by the descriptors of the server's configuration; what parses is
 * printed as JSON.
 *
 * The first byte chooses the message; 'P' is PlatformConfigMap, which holds another message in an Any.
 */
#include <stdlib.h>

#include "codec/json.h"
#include "codec/pb_text.h"
#include "server_config.pb-c.h"
#include "session_config.pb-c.h"
#include "signature.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const ProtobufCMessageDescriptor *const types[] = {
        &tensorflow__serving__model_server_config__descriptor,
        &tensorflow__serving__batching_parameters__descriptor, &tensorflow__serving__sslconfig__descriptor,
        &tensorflow__config_proto__descriptor, &tensorflow__signature_def__descriptor};
    ProtobufCMessage *message;
    tern_status st;
    if (size == 0)
        return 0;
    const ProtobufCMessageDescriptor *type =
        data[0] == 'P' ? &tensorflow__serving__platform_config_map__descriptor : types[data[0] % 5];
    tern_code code = tn_pb_text_parse((tn_str){(const char *)data + 1, size - 1}, type, &message, &st);
    if (code != TERN_OK) {
        require(message == NULL && st.length > 0);
        return 0;
    }
    tn_arena arena;
    tn_buf out;
    const tn_json *tree;
    tn_arena_init(&arena, 256u << 20);
    tn_buf_init(&out, 16u << 20);
    tn_pb_json_write(message, &out);
    if (!out.failed)
        require(tn_json_parse(tn_buf_view(&out), 1000, &arena, &tree, &st) == TERN_OK);
    tn_buf_free(&out);
    tn_arena_free(&arena);
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}
