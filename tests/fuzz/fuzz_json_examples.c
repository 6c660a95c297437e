/*
 * fuzz_json_examples.c - REST classify and regress bodies: what becomes Examples must be Examples to the
 * reader of requests, too, byte for byte, when they come as a ClassificationRequest; and there are never more
 * bytes than the limit.
 */
#include <stdlib.h>

#include "codec/json_examples.h"
#include "codec/pb_examples.h"
#include "codec/pb_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST (1 << 20)

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void put(tn_buf *out, uint32_t field, tn_str bytes)
{
    uint8_t head[20];
    tn_buf_append(out, head, tn_pb_put_head(head, field, bytes.len));
    tn_buf_str(out, bytes);
}

/* ClassificationRequest{input{example_list{examples...}}} */
static void wrap(const tern_tensor *t, tn_buf *message)
{
    tn_buf list, input;
    tn_buf_init(&list, 4 * MOST);
    tn_buf_init(&input, 4 * MOST);
    tn_buf_init(message, 4 * MOST);
    for (int64_t i = 0; i < t->dims[0]; i++)
        put(&list, 1, tn_string_at(t, t->dims[0], i));
    put(&input, 1, tn_buf_view(&list));
    put(message, 2, tn_buf_view(&input));
    require(!message->failed);
    tn_buf_free(&list);
    tn_buf_free(&input);
}

static void read_back(const tern_tensor *t, tn_arena *arena)
{
    tn_buf message;
    tn_pb_examples e;
    tern_tensor again;
    tern_status st;
    wrap(t, &message);
    tern_code code = tn_pb_examples_read(tn_buf_view(&message), false, arena, &e, &st);
    /* Keys of Examples are UTF-8, which JSON's bytes need not be. */
    require(code == TERN_OK || code == TERN_INTERNAL);
    if (code == TERN_OK) {
        require(tn_pb_examples_tensor(&e, 4 * MOST, arena, &again, &st) == TERN_OK);
        require(again.size == t->size && memcmp(again.data, t->data, t->size) == 0);
        tn_tensor_release(&again);
    }
    tn_buf_free(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const tn_json_limits limits = {.max_depth = 100, .max_tensor_bytes = MOST, .max_tape_bytes = 16 * MOST};
    tn_arena arena;
    tn_json_examples e, checked;
    tern_status st;
    tn_arena_init(&arena, 64u << 20);
    const tn_str body = {(const char *)data, size};
    tern_code check = tn_json_check_examples(body, &limits, &arena, &checked, &st);
    tern_code code = tn_json_decode_examples(body, &limits, NULL, &arena, &e, &st);
    require(check == code || (check == TERN_OK && code == TERN_RESOURCE_EXHAUSTED));
    if (code == TERN_OK) {
        require(e.examples.dtype == TERN_STRING && e.examples.rank == 1 && e.examples.dims[0] > 0);
        require(e.examples.size <= 2 * MOST + 8);
        read_back(&e.examples, &arena);
    } else {
        require(e.examples.buffer == NULL && st.length > 0);
    }
    tn_tensor_release(&e.examples);
    tn_arena_free(&arena);
    return 0;
}
