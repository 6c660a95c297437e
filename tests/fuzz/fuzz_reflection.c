/*
 * tests/fuzz/fuzz_reflection.c - questions to server reflection, in gRPC's messages as they come from the
 * wire: every answer can be read again, and holds the question.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/reflection.h"
#include "codec/grpc_message.h"
#include "codec/pb_wire.h"

static void must(bool kept, const char *promise)
{
    if (kept)
        return;
    fprintf(stderr, "fuzz_reflection: not kept: %s\n", promise);
    abort();
}

static void check(tn_str answer, tn_str question)
{
    tn_pb at = tn_pb_from(answer);
    tn_pb_field f = {0};
    int said = 0;
    while (tn_pb_more(&at)) {
        must(tn_pb_next(&at, &f), "an answer is a message");
        if (f.number == 2)
            must(tn_str_eq(f.bytes, question), "an answer holds its question");
        said += f.number >= 4 && f.number <= 7;
    }
    must(said == 1, "one thing is said");
}

static void ask(tn_str question)
{
    static const tn_str services[] = {TN_STR_INIT("a.B"), TN_STR_INIT("c.D")};
    tn_buf out;
    tern_status st;
    tn_buf_init(&out, 1u << 19);
    if (tn_reflection_answer(question, services, 2, &out, &st) == TERN_OK)
        check(tn_buf_view(&out), question);
    tn_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_arena arena;
    tn_buf message;
    tern_status st;
    char room[512];
    const char *p = (const char *)data;
    size_t n = size;
    ask((tn_str){p, n});
    tn_arena_init(&arena, 1u << 20);
    tn_buf_init(&message, 1u << 16);
    tn_grpc_reader *r = tn_grpc_reader_new(TN_CODING_GZIP, 1u << 16, &arena);
    tn_grpc_event event = TN_GRPC_BEGIN;
    tn_str piece;
    while (event != TN_GRPC_NEED &&
           tn_grpc_read(r, &p, &n, room, sizeof room, &event, &piece, &st) == TERN_OK) {
        if (event == TN_GRPC_BEGIN)
            tn_buf_clear(&message);
        tn_buf_str(&message, piece);
        if (event == TN_GRPC_END)
            ask(tn_buf_view(&message));
    }
    tn_buf_free(&message);
    tn_arena_free(&arena);
    return 0;
}
