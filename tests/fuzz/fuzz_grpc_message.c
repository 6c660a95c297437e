/*
 * tests/fuzz/fuzz_grpc_message.c - gRPC's messages as they arrive, compressed or not: however the bytes are
 * cut and whatever room there is, the same messages come out; and what is compressed here can be read again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "codec/grpc_message.h"

#define MAX_MESSAGE 100000

typedef struct told {
    uint64_t hash, bytes, ends;
    tern_code code;
} told;

static void must(bool kept, const char *promise)
{
    if (kept)
        return;
    fprintf(stderr, "fuzz_grpc_message: not kept: %s\n", promise);
    abort();
}

static void note(told *t, tn_grpc_event event, tn_str piece)
{
    for (size_t i = 0; i < piece.len; i++)
        t->hash = (t->hash ^ (unsigned char)piece.ptr[i]) * UINT64_C(1099511628211);
    t->bytes += piece.len;
    if (event == TN_GRPC_END) {
        t->hash = (t->hash ^ 256) * UINT64_C(1099511628211);
        t->ends++;
        t->bytes = 0;
    }
}

/* step: bytes of the input at a time; size: of the room. */
static told read_all(tn_coding coding, const char *bytes, size_t n, size_t step, size_t size)
{
    told t = {.hash = 7};
    tn_arena arena;
    tern_status st;
    char room[4096];
    tn_arena_init(&arena, 16u << 20);
    tn_grpc_reader *r = tn_grpc_reader_new(coding, MAX_MESSAGE, &arena);
    must(r != NULL, "there is memory");
    while (n > 0 && t.code == TERN_OK) {
        const char *p = bytes;
        size_t part = n < step ? n : step, left = part;
        for (;;) {
            tn_grpc_event event;
            tn_str piece;
            t.code = tn_grpc_read(r, &p, &left, room, size, &event, &piece, &st);
            if (t.code != TERN_OK)
                break;
            must((event == TN_GRPC_PIECE) == (piece.len > 0), "pieces have bytes, and only pieces do");
            note(&t, event, piece);
            must(t.bytes <= MAX_MESSAGE, "no message is larger than its limit");
            if (event == TN_GRPC_NEED) {
                must(left == 0, "all of the input is used");
                break;
            }
        }
        bytes += part;
        n -= part;
    }
    tn_arena_free(&arena);
    return t;
}

static void there_and_back(tn_coding coding, const char *bytes, size_t n)
{
    const tn_piece pieces[] = {{bytes, n / 3}, {bytes + n / 3, n - n / 3}};
    tn_buf out;
    tn_buf_init(&out, 1u << 20);
    tn_buf_append(&out, "\1\0\0\0\0", 5);
    if (tn_grpc_compress(coding, pieces, 2, &out)) {
        size_t length = out.len - 5;
        must(length < n, "what is compressed is smaller");
        for (int i = 0; i < 4; i++)
            out.ptr[1 + i] = (char)(length >> (24 - 8 * i));
        told want = {.hash = 7};
        note(&want, TN_GRPC_PIECE, (tn_str){bytes, n});
        note(&want, TN_GRPC_END, TN_STR_NONE);
        told got = read_all(coding, out.ptr, out.len, 77, 100);
        must(n > MAX_MESSAGE || (got.code == TERN_OK && got.hash == want.hash), "it is read as it was");
    } else {
        must(out.len == 5 && !out.failed, "what gets no smaller leaves no trace");
    }
    tn_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const char *bytes = (const char *)data + 2;
    size_t n = size - 2;
    tn_coding coding = (tn_coding)(data[0] % 3);
    size_t step = 1 + data[1] % 64, room = 1 + (size_t)data[0] * 16;
    told whole = read_all(coding, bytes, n, n, 4096);
    told cut = read_all(coding, bytes, n, step, room);
    must(whole.code == cut.code, "errors do not depend on how the bytes are cut");
    must(whole.code != TERN_OK || (whole.hash == cut.hash && whole.ends == cut.ends),
         "messages do not depend on how the bytes are cut");
    (void)tn_coding_accepted((tn_str){bytes, n}, TN_CODING_GZIP);
    if (n > 0)
        there_and_back(coding, bytes, n);
    return 0;
}
